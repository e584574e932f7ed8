"""Firmware updates and log uploads: what is really fetched, checked, sent, and told of it.

Files go over HTTP and HTTPS (GET and PUT). An address of any other kind fails, as does a
server that is not there or refuses. `breaks` lets a stage fail on demand.
"""

import asyncio
import contextlib
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import aiohttp

from chargers_sim.clock import iso, now_ms
from chargers_sim.firmware_signature import check_certificate, check_signature
from chargers_sim.outbox import Outgoing, Payload

if TYPE_CHECKING:
    from chargers_sim.live import Station

Told = Callable[[str], Outgoing]
Stage = Literal["download", "signature", "install", "upload"]
STAGES = ("download", "signature", "install", "upload")
LARGEST = 256 << 20
VERSION = re.compile(rb"version[ =:\"']{1,4}(\d+(?:\.\d+)+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """A firmware update as asked for; `many_words` says that each stage has a word."""

    address: str
    tell: Told
    retrieve_ms: int | None = None
    install_ms: int | None = None
    retries: int = 0
    retry_seconds: float = 0
    certificate: str | None = None
    signature: str | None = None
    many_words: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A log as asked for; `oldest_ms` and `latest_ms` choose the frames."""

    address: str
    name: str
    tell: Told
    oldest_ms: int | None = None
    latest_ms: int | None = None
    retries: int = 0
    retry_seconds: float = 0
    tells_cancelled: bool = False


class Maintenance:
    """One job of each kind at a time; a new one replaces the old."""

    def __init__(self, station: "Station", pause_seconds: float = 0.02) -> None:
        self._station = station
        self._pause = pause_seconds
        self._update: Update | None = None
        self._upload: Upload | None = None
        self._alarms: dict[str, asyncio.Event] = {}
        self.breaks: set[str] = set()
        """The stages that fail on demand: download, signature, install, upload."""
        self.firmware_status = "Idle"
        self.log_status = "Idle"
        self.firmware_sha256: str | None = None
        """Of the last firmware that was fetched."""

    def update(self, job: Update) -> bool:
        """Start an update in the background; True if it took the place of another."""
        replaced, self._update = self._update is not None, job
        self._station.later(self._run_update(job))
        return replaced

    def upload(self, job: Upload) -> bool:
        """Start an upload in the background; True if it took the place of another."""
        before, self._upload = self._upload, job
        if before is not None and before.tells_cancelled:
            self._tell(before, "AcceptedCanceled")
        self._station.later(self._run_upload(job))
        return before is not None

    def present_firmware(self) -> Outgoing | None:
        """Tell once more how far the present update is; None if there is none."""
        return None if self._update is None else self._update.tell(self.firmware_status)

    def present_log(self) -> Outgoing | None:
        """Tell once more how far the present upload is; None if there is none."""
        return None if self._upload is None else self._upload.tell(self.log_status)

    def alarm(self, name: str) -> None:
        """An instant that a job waits for has come."""
        waiting = self._alarms.pop(name, None)
        if waiting is not None:
            waiting.set()

    # Firmware

    async def _run_update(self, job: Update) -> None:
        try:
            status = await self._steps_of(job)
        finally:
            current = job is self._update
            self._update = None if current else self._update
        if not current:
            return
        self._tell_firmware(job, status)
        self._station.emit("firmware", status=status, version=self._station.firmware)

    async def _steps_of(self, job: Update) -> str:
        """Do an update; the answer is the status that ends it."""
        if job.retrieve_ms is not None and job.retrieve_ms > self._today():
            if job.many_words:
                self._tell_firmware(job, "DownloadScheduled")
            await self._until("retrieve", job.retrieve_ms)
        await asyncio.sleep(self._pause)
        self._tell_firmware(job, "Downloading")
        image = await self.fetch(job.address, job.retries, job.retry_seconds)
        if image is None:
            return "DownloadFailed"
        self._tell_firmware(job, "Downloaded")
        if job.signature is not None and job.certificate is not None:
            sound = "signature" not in self.breaks
            if not (sound and check_signature(image, job.signature, job.certificate)):
                self._station.security_event("InvalidFirmwareSignature")
                return "InvalidSignature"
            self._tell_firmware(job, "SignatureVerified")
        await self._wait_to_install(job)
        self._tell_firmware(job, "Installing")
        await asyncio.sleep(self._pause)
        if "install" in self.breaks:
            return "InstallationFailed"
        if job is self._update:
            await self._install(job, image)
        return "Installed"

    async def _wait_to_install(self, job: Update) -> None:
        station = self._station
        later = job.install_ms is not None and job.install_ms > self._today()
        if job.many_words and (later or any(station.model.transactions())):
            self._tell_firmware(job, "InstallScheduled")
        if later:
            await self._until("install", job.install_ms or 0)
        while any(station.model.transactions()):
            await station.events_log.next()

    async def _install(self, job: Update, image: bytes) -> None:
        """Take the version the image names, or that its address does, and boot with it."""
        station = self._station
        found = VERSION.search(image[: 1 << 20])
        name = job.address.rsplit("/", 1)[-1]
        named = re.search(r"\d+(?:\.\d+)+", name)
        if found is not None:
            station.firmware = found[1].decode()[:50]
        elif named is not None:
            station.firmware = named[0][:50]
        if job.many_words:
            self._tell_firmware(job, "InstallRebooting")
        await station.reboot("FirmwareUpdate")
        if job.many_words:
            station.security_event("FirmwareUpdated", station.firmware)

    def _tell_firmware(self, job: Update, status: str) -> None:
        if job is self._update or self._update is None:
            self.firmware_status = status
            self._tell(job, status)

    async def fetch(self, address: str, retries: int, retry_seconds: float) -> bytes | None:
        """Get a firmware file, trying that many times more; None if it could not be had."""
        for attempt in range(retries + 1):
            if attempt:
                await self._wait_to_retry(retry_seconds)
            if (image := await self._get(address)) is not None:
                self.firmware_sha256 = hashlib.sha256(image).hexdigest()
                return image
        return None

    async def _get(self, address: str) -> bytes | None:
        if "download" in self.breaks or not address.startswith(("http://", "https://")):
            return None
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, ValueError, OSError):
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session,
                session.get(address, ssl=self._station.address.tls or True) as answer,
            ):
                if answer.status >= 300 or (answer.content_length or 0) > LARGEST:
                    return None
                return await answer.read()
        return None

    # Logs

    async def _run_upload(self, job: Upload) -> None:
        self.log_status = "Uploading"
        self._tell(job, "Uploading")
        await asyncio.sleep(self._pause)
        done = False
        for attempt in range(job.retries + 1):
            if attempt:
                await self._wait_to_retry(job.retry_seconds)
            if job is self._upload and (done := await self._put(job)):
                break
        if job is not self._upload:
            return
        self._upload, self.log_status = None, "Uploaded" if done else "UploadFailure"
        self._tell(job, self.log_status)
        self._station.emit("log_upload", status=self.log_status)

    async def _put(self, job: Upload) -> bool:
        """Send the frames of this station."""
        if "upload" in self.breaks or not job.address.startswith(("http://", "https://")):
            return False
        oldest, latest = job.oldest_ms or 0, job.latest_ms
        lines = [
            f"{iso(at)} {way} {text}"
            for at, way, text in self._station.frames
            if at >= oldest and (latest is None or at <= latest)
        ]
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, ValueError, OSError):
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session,
                session.put(
                    f"{job.address.rstrip('/')}/{job.name}",
                    data="\n".join(lines),
                    ssl=self._station.address.tls or True,
                ) as answer,
            ):
                return answer.status < 300
        return False

    # Time

    def _today(self) -> int:
        """Tell up to when a job is due: a virtual clock that stands keeps no server waiting."""
        now = self._station.now
        return max(now, now_ms()) if self._station.clock.virtual else now

    async def _until(self, name: str, at_ms: int) -> None:
        """Wait for an instant of the station's time."""
        alarm = f"maintenance {name}"
        self._station.model.alarms[alarm] = at_ms
        self._alarms[alarm] = waiting = asyncio.Event()
        self._station.dispatch()
        await waiting.wait()

    async def _wait_to_retry(self, seconds: float) -> None:
        clock = self._station.clock
        await asyncio.sleep(self._pause if clock.virtual else seconds / clock.speed)

    def _tell(self, job: Update | Upload, status: str) -> None:
        message = job.tell(status)
        # A restart between two statuses must not lose one.
        message.keep = True
        self._station.send(message)


def told(action: str, **facts: object) -> Told:
    """Make what tells a status in a message of that name."""

    def message(status: str) -> Outgoing:
        payload: Payload = {"status": status, **facts}
        return Outgoing(action=action, payload=payload)

    return message


def certificate_problem(station: "Station", pem: str) -> str | None:
    """Say what is wrong with a firmware signing certificate, given the roots of the station."""
    roots = [i.pem for i in station.certificates.installed if "Manufacturer" in i.use]
    return check_certificate(pem, roots)
