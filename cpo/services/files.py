"""Files that stations fetch and send: firmware images, logs. On disk, never in memory.

A station gets in by a pass: an unguessable part of a URL, for one file in one direction, good once
and for a while. Passes and what is known of files are on disk before anybody hears of them.
"""

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any, Final

import structlog

from cpo.errors import Conflict, CpoError, NotFound
from cpo.services.ports import Audit, Now, StationDocument, Store, Work

log = structlog.get_logger()

# Kept beside the documents about stations, under a name that no station can have.
SHELF: Final = "\x1ffiles"
FILE: Final = "file"
TICKET: Final = "pass"
LOG: Final = "log"
FIRMWARE: Final = "firmware"
_PART: Final = ".part"
_BLOCK: Final = 1 << 18
_LONGEST_NAME: Final = 200


class TooLarge(CpoError):
    """A file is longer than the settings allow; nothing of it was kept."""

    def __init__(self, most: int) -> None:
        super().__init__(f"the file is longer than {most} bytes")
        self.most = most


class NoRoom(CpoError):
    """All files together take the room that the settings allow, or the disk is full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """What is known of a file; its bytes lie under its id."""

    id: str
    kind: str
    name: str
    size: int
    sha256: str
    at: str
    station: str | None = None
    job: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What a station may do once: send a file, or fetch `file`."""

    key: str
    job: str
    station: str
    expires_at: datetime
    file: str | None = None

    @property
    def upload(self) -> bool:
        """Whether it is for sending."""
        return self.file is None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRules:
    """Limits: sizes in bytes, lifetimes in seconds (0: for ever)."""

    directory: Path
    max_upload_bytes: int
    max_firmware_bytes: int
    max_total_bytes: int
    link_lifetime: float
    keep_uploads: float


class Files:
    """Keeps files and hands out passes."""

    def __init__(self, store: Store, rules: FileRules, *, now: Now) -> None:
        self._store = store
        self._rules = rules
        self._now = now
        self._files: dict[str, StoredFile] = {}
        self._passes: dict[str, Pass] = {}
        self._busy: set[str] = set()
        self.most_upload = rules.max_upload_bytes
        self.on_received: list[Callable[[Work, Pass, StoredFile], None]] = []
        self.on_delivered: list[Callable[[Pass], Awaitable[None]]] = []

    async def load(self) -> None:
        """Read what is known, and remove what a crash left half written."""
        for found in await self._store.documents(SHELF):
            if found.kind == FILE:
                self._files[found.key] = StoredFile(**found.document)
            else:
                given = found.document
                expires = datetime.fromisoformat(given["expires_at"])
                self._passes[found.key] = Pass(**given | {"expires_at": expires})
        await asyncio.to_thread(self._tidy)

    def _tidy(self) -> None:
        """Delete files that nobody knows of: their upload was cut, or never committed."""
        if not self._rules.directory.is_dir():
            return
        for path in self._rules.directory.iterdir():
            if path.name.removesuffix(_PART) not in self._files or path.name.endswith(_PART):
                path.unlink(missing_ok=True)

    # --- files ------------------------------------------------------------------------------------

    def all(self, kind: str) -> list[StoredFile]:
        """Return the files of a kind, newest first."""
        found = (file for file in self._files.values() if file.kind == kind)
        return sorted(found, key=lambda file: (file.at, file.id), reverse=True)

    def get(self, kind: str, id: str) -> StoredFile:
        """Return a file; NotFound for none."""
        file = self._files.get(id)
        if file is None or file.kind != kind:
            raise NotFound(kind, id)
        return file

    def path(self, file: StoredFile) -> Path:
        """Return where a file's bytes are; NotFound when somebody removed them."""
        path = self._rules.directory / file.id
        if not path.is_file():
            raise NotFound(file.kind, file.id)
        return path

    async def put_firmware(
        self, name: str, chunks: AsyncIterator[bytes], *, actor: str
    ) -> StoredFile:
        """Keep a firmware image; raises TooLarge or NoRoom."""
        file = await self._write(FIRMWARE, name, chunks, self._rules.max_firmware_bytes)
        work = Work()
        work.put(Audit(self._now(), actor, "firmware.put", file.id, f"{file.name} {file.sha256}"))
        await self._keep(work, file)
        return file

    async def remove(self, kind: str, id: str, *, actor: str) -> None:
        """Remove a file; Conflict while a station may still fetch it."""
        file = self.get(kind, id)
        if any(one.file == id for one in self._passes.values()):
            raise Conflict(f"a job still needs {kind} {id!r}")
        work = Work()
        work.put(Audit(self._now(), actor, f"{kind}.delete", id, file.name))
        await self._drop(work, file)

    async def _keep(self, work: Work, file: StoredFile) -> None:
        work.put(StationDocument(SHELF, FILE, file.id, asdict(file), self._now()))
        work.then(lambda _: self._files.__setitem__(file.id, file))
        try:
            await self._store.commit(work)
        except BaseException:
            await asyncio.to_thread((self._rules.directory / file.id).unlink, missing_ok=True)
            raise

    async def _drop(self, work: Work, file: StoredFile) -> None:
        work.delete(StationDocument(SHELF, FILE, file.id, {}, self._now()))
        work.then(lambda _: self._files.pop(file.id, None) and None)
        await self._store.commit(work)
        await asyncio.to_thread((self._rules.directory / file.id).unlink, missing_ok=True)

    async def _write(
        self, kind: str, name: str, chunks: AsyncIterator[bytes], most: int,
        *, station: str | None = None, job: str | None = None,
    ) -> StoredFile:  # fmt: skip
        """Write a stream to disk, durably, block by block."""
        room = self._rules.max_total_bytes - sum(f.size for f in self._files.values())
        id_ = secrets.token_hex(16)
        part = self._rules.directory / f"{id_}{_PART}"
        digest, size, block = hashlib.sha256(), 0, bytearray()
        try:
            out = await asyncio.to_thread(self._open, part)
            try:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > most:
                        raise TooLarge(most)
                    if size > room:
                        raise NoRoom("there is no room for another file (files.max_total_bytes)")
                    digest.update(chunk)
                    block += chunk
                    if len(block) >= _BLOCK:
                        await asyncio.to_thread(out.write, bytes(block))
                        block.clear()
                await asyncio.to_thread(self._finish, out, bytes(block), part)
            finally:
                await asyncio.to_thread(out.close)
        except OSError as error:
            await asyncio.to_thread(part.unlink, missing_ok=True)
            raise NoRoom(f"the file cannot be written: {error.strerror}") from None
        except BaseException:
            await asyncio.to_thread(part.unlink, missing_ok=True)
            raise
        return StoredFile(
            id=id_, kind=kind, name=_plain(name), size=size, sha256=digest.hexdigest(),
            at=self._now().isoformat(), station=station, job=job,
        )  # fmt: skip

    def _open(self, part: Path) -> IO[bytes]:
        self._rules.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    def _finish(self, out: IO[bytes], rest: bytes, part: Path) -> None:
        out.write(rest)
        out.flush()
        os.fsync(out.fileno())
        part.rename(part.with_suffix(""))
        folder = os.open(self._rules.directory, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    # --- passes -----------------------------------------------------------------------------------

    def grant(self, work: Work, *, job: str, station: str, file: str | None = None) -> str:
        """Make a pass within a unit of work; returns the secret that goes into the URL.

        Only a hash of it is kept.
        """
        secret = secrets.token_urlsafe(32)
        granted = Pass(
            key=_hashed(secret), job=job, station=station, file=file,
            expires_at=self._now() + timedelta(seconds=self._rules.link_lifetime),
        )  # fmt: skip
        document = asdict(granted) | {"expires_at": granted.expires_at.isoformat()}
        work.put(StationDocument(SHELF, TICKET, granted.key, document, self._now()))
        work.then(lambda _: self._passes.__setitem__(granted.key, granted))
        return secret

    def withdraw(self, work: Work, job: str) -> None:
        """End the passes of a job."""
        for one in [p for p in self._passes.values() if p.job == job]:
            self._end(work, one)

    def _end(self, work: Work, one: Pass) -> None:
        work.delete(StationDocument(SHELF, TICKET, one.key, {}, self._now()))
        work.then(lambda _: self._passes.pop(one.key, None) and None)

    def find(self, secret: str, *, upload: bool) -> Pass:
        """Return what a secret is good for; NotFound where it is for nothing (any more)."""
        one = self._passes.get(_hashed(secret))
        if one is None or one.upload != upload or one.expires_at <= self._now():
            raise NotFound("file", "")
        return one

    async def receive(self, one: Pass, name: str, chunks: AsyncIterator[bytes]) -> StoredFile:
        """Take a station's file; the pass is used up once it is here whole.

        Raises TooLarge, NoRoom, or Conflict while the same pass is in use.
        """
        if one.key in self._busy:
            raise Conflict("this upload is under way")
        self._busy.add(one.key)
        try:
            file = await self._write(
                LOG, name, chunks, self._rules.max_upload_bytes, station=one.station, job=one.job
            )
            work = Work()
            self._end(work, one)
            for listener in self.on_received:
                listener(work, one, file)
            await self._keep(work, file)
        finally:
            self._busy.discard(one.key)
        log.info("file.received", station=one.station, job=one.job, size=file.size)
        return file

    async def delivered(self, one: Pass) -> None:
        """Use a pass up: the station has the whole file."""
        if one.key not in self._passes:
            return
        work = Work()
        self._end(work, one)
        await self._store.commit(work)
        for listener in self.on_delivered:
            await listener(one)

    async def sweep(self) -> None:
        """Delete passes that have expired, and uploads that were kept long enough."""
        now = self._now()
        work = Work()
        for one in list(self._passes.values()):
            if one.expires_at <= now and one.key not in self._busy:
                self._end(work, one)
        if work.ops:
            await self._store.commit(work)
        if not self._rules.keep_uploads:
            return
        oldest = (now - timedelta(seconds=self._rules.keep_uploads)).isoformat()
        for file in [f for f in self._files.values() if f.kind == LOG and f.at < oldest]:
            await self._drop(Work(), file)


def _hashed(secret: str) -> str:
    return hashlib.blake2b(secret.encode(), digest_size=24).hexdigest()


def _plain(name: str) -> str:
    """Return the last part of a name that somebody gave, safe to show and to save under."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(c for c in last if c.isprintable() and c not in '"<>:|?*').strip(" .")
    return kept.encode(errors="replace").decode()[:_LONGEST_NAME] or "file"


def shown(file: StoredFile) -> dict[str, Any]:
    """Return a file as it is shown."""
    return asdict(file)
