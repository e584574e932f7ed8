"""Jobs at stations: logs, firmware, displays, customers, data; followed, retried, ended by silence.

A job is on disk before its request leaves, so that it outlives a restart of ours; each attempt is
sent once. Where the operator names no server, a file goes to or comes from us. What a station
reports in parts stays with the documents about it, where it is gathered.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import structlog

from cpo.domain import job as fold
from cpo.domain.command import CommandKind, Outcome, Reply, StationCommand
from cpo.domain.job import OF_FILES, Job, JobKind, JobState, job_document, read_job
from cpo.errors import Conflict, CpoError, Invalid, NotFound
from cpo.services.files import FIRMWARE, Files, Pass, StoredFile
from cpo.services.memory import Memory
from cpo.services.ports import Audit, Now, StationDocument, StationLink, Store, Work

log = structlog.get_logger()

# Kept beside the documents about stations, under a name that no station can have.
SHELF: Final = "\x1fjobs"
_KIND: Final = "job"
_COMMANDS: Final = {
    JobKind.LOG: CommandKind.GET_LOG,
    JobKind.FIRMWARE: CommandKind.UPDATE_FIRMWARE,
    JobKind.SET_DISPLAY_MESSAGE: CommandKind.SET_DISPLAY_MESSAGE,
    JobKind.GET_DISPLAY_MESSAGES: CommandKind.GET_DISPLAY_MESSAGES,
    JobKind.CLEAR_DISPLAY_MESSAGE: CommandKind.CLEAR_DISPLAY_MESSAGE,
    JobKind.CUSTOMER_INFORMATION: CommandKind.CUSTOMER_INFORMATION,
    JobKind.DATA_TRANSFER: CommandKind.DATA_TRANSFER,
}
# Of these only one at a time is of use; of the others a station may have some under way.
_ALONE: Final = OF_FILES | {JobKind.GET_DISPLAY_MESSAGES, JobKind.CUSTOMER_INFORMATION}
_MOST_AT_ONCE: Final = 32
# What the words of a version do not suffice for.
_LACKING: Final = {"1.6": frozenset(JobKind) - OF_FILES - {JobKind.DATA_TRANSFER}}
# Where the parts of a report are gathered, and the kind of job that asked for it.
_OF_REPORTS: Final = {
    "display-messages": JobKind.GET_DISPLAY_MESSAGES,
    "customer-information": JobKind.CUSTOMER_INFORMATION,
}
_REPORTS: Final = {kind: name for name, kind in _OF_REPORTS.items()}
_NOTHING: Final = "Unknown"
"""How a station says that it shows no such message."""
# What a station's messages are kept as, and the kind of job that they are about.
_OF_DOCUMENTS: Final = {"log-job": JobKind.LOG, "firmware-job": JobKind.FIRMWARE}
_LATE: Final = timedelta(hours=1)
"""How long after its end a job is still told what its station says of it."""
_FOR_BOOT: Final = timedelta(days=7)
"""How long a job waits for a station that is offline."""


class Links(Protocol):
    """Finds the live connection of a station."""

    def link(self, identity: str) -> StationLink | None:
        """Return the live connection of a station, or None when it is offline."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRules:
    """How long a station may be silent about a job, and what then; seconds."""

    log_timeout: float
    firmware_timeout: float
    answer_timeout: float
    retries: int
    retry_interval: float
    keep: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """What somebody wants; None: as the settings say."""

    kind: JobKind
    station: str
    requested_by: str
    parameters: Mapping[str, Any]
    timeout: float | None = None
    retries: int | None = None
    retry_interval: float | None = None


class Jobs:
    """Carries jobs out."""

    def __init__(
        self, memory: Memory, store: Store, links: Links, files: Files, rules: JobRules,
        *, now: Now, base_url: Callable[[], str],
    ) -> None:  # fmt: skip
        self._memory = memory
        self._store = store
        self._links = links
        self._files = files
        self._rules = rules
        self._now = now
        self._base_url = base_url
        self._jobs: dict[str, Job] = {}
        self._attempts: dict[str, asyncio.Task[None]] = {}
        self._saving: set[asyncio.Task[None]] = set()
        files.on_received.append(self._received)
        files.on_delivered.append(self._delivered)

    async def load(self) -> None:
        """Read the jobs that have not ended; an attempt that was under way goes on."""
        for found in await self._store.documents(SHELF, _KIND):
            job = read_job(found.document)
            if not job.ended:
                self._jobs[job.id] = job

    # --- the operator -----------------------------------------------------------------------------

    async def create(self, request: JobRequest) -> Job:
        """Take a job on; its request leaves at once when the station is there.

        Raises NotFound, Invalid, or Conflict while the station has such a job.
        """
        if request.station not in self._memory.stations:
            raise NotFound("station", request.station)
        running = [j for j in self._of(request.station, request.kind) if not j.ended]
        if running and (request.kind in _ALONE or len(running) >= _MOST_AT_ONCE):
            raise Conflict(f"job {running[0].id!r} is under way at station {request.station!r}")
        self._check(request)
        link = self._links.link(request.station)
        if link is not None and (lack := _lack(request.kind, link)) is not None:
            raise Conflict(lack)
        rules, now = self._rules, self._now()
        by_kind = {JobKind.LOG: rules.log_timeout, JobKind.FIRMWARE: rules.firmware_timeout}
        # What data means, and whether it may come twice, is the vendor's business.
        retries = 0 if request.kind is JobKind.DATA_TRANSFER else rules.retries
        job = Job(
            id=f"{now:%Y%m%d%H%M%S}-{secrets.token_hex(5)}",
            kind=request.kind,
            station=request.station,
            requested_by=request.requested_by,
            created_at=now,
            parameters=request.parameters,
            timeout=_or(request.timeout, by_kind.get(request.kind, rules.answer_timeout)),
            retries=_or(request.retries, retries),
            retry_interval=_or(request.retry_interval, rules.retry_interval),
            due_at=now,
        )
        work = Work()
        work.put(Audit(now, request.requested_by, f"job.{job.kind}", job.station, job.id))
        await self._commit(work, job, before=None)
        self._start(job)
        return self._jobs.get(job.id, job)

    def _check(self, request: JobRequest) -> None:
        given = request.parameters
        if request.kind is JobKind.FIRMWARE:
            if ("firmware" in given) == ("location" in given):
                raise Invalid("firmware", "name a firmware of ours, or a location")
            if "firmware" in given:
                self._files.path(self._files.get(FIRMWARE, given["firmware"]))
            if ("signing_certificate" in given) != ("signature" in given):
                raise Invalid("signature", "comes with signing_certificate")
        if request.kind is JobKind.CUSTOMER_INFORMATION:
            if not given.get("report") and not given.get("clear"):
                raise Invalid("report", "say report, clear or both")
            if len(_CUSTOMERS.intersection(given)) != 1:
                raise Invalid("customer_identifier", f"name one of {', '.join(sorted(_CUSTOMERS))}")

    async def get(self, id: str) -> Job:
        """Return a job as it is on disk; NotFound for none."""
        found = await self._store.document(SHELF, _KIND, id)
        if found is None:
            raise NotFound("job", id)
        return read_job(found.document)

    async def result(self, job: Job) -> list[Any] | None:
        """Return what a station has reported for a job so far; None where it reports nothing."""
        kind = _REPORTS.get(job.kind)
        if kind is None or job.request_id is None or job.ends_with_answer:
            return None
        found = await self._store.document(job.station, kind, str(job.request_id))
        return list(found.document["items"]) if found is not None else []

    async def all(self, station: str | None = None) -> list[Job]:
        """Return every job that is kept, or those of a station, newest first."""
        found = [read_job(d.document) for d in await self._store.documents(SHELF, _KIND)]
        kept = [job for job in found if station is None or job.station == station]
        return sorted(kept, key=lambda job: job.id, reverse=True)

    async def cancel(self, id: str, *, actor: str) -> Job:
        """Stop following a job and withdraw its URL; Conflict when it has ended.

        No OCPP message takes back what a station has begun.
        """
        job = self._jobs.get(id) or await self.get(id)
        if job.ended:
            raise Conflict(f"job {id!r} has ended")
        ended = fold.cancelled(job, f"cancelled by {actor}", at=self._now())
        work = Work()
        work.put(Audit(self._now(), actor, "job.cancel", job.station, id))
        await self._commit(work, ended, before=job)
        return ended

    # --- what moves jobs --------------------------------------------------------------------------

    async def progress(
        self, work: Work, station: str, kind: str, status: str, request_id: int | None, at: datetime
    ) -> None:
        """Follow what a station tells of its work, in the unit of work of its message."""
        wanted = _OF_DOCUMENTS.get(kind)
        for job in self._of(station, wanted) if wanted is not None else ():
            # What has no number is about the newest job (1.6, and 2.x that forgets it).
            if request_id in (job.request_id, None) or job.request_id is None:
                self._put(work, fold.progressed(job, status, at=at))
                return

    async def reported(
        self, work: Work, station: str, kind: str, request_id: int, parts: int, complete: bool,
        at: datetime,
    ) -> None:  # fmt: skip
        """Follow the parts of a report, in the unit of work of its message."""
        wanted = _OF_REPORTS.get(kind)
        for job in self._of(station, wanted) if wanted is not None else ():
            if job.request_id == request_id:
                moved = fold.reported(job, parts, complete=complete, at=at)
                cleared = moved.ended and moved.parameters.get("clear")
                self._put(work, _about_nobody(moved) if cleared else moved)

    def _of(self, station: str, kind: JobKind) -> list[Job]:
        found = [j for j in self._jobs.values() if (j.station, j.kind) == (station, kind)]
        return sorted(found, key=lambda job: job.id, reverse=True)

    def booted(self, identity: str) -> None:
        """See whether a station came up with the firmware that it was given."""
        state = self._memory.stations.get(identity)
        firmware = state.record.boot.firmware_version if state and state.record.boot else None
        for job in self._of(identity, JobKind.FIRMWARE):
            moved = fold.booted(job, firmware, at=self._now())
            if moved is not job:
                self._later(moved)

    def _received(self, work: Work, by: Pass, file: StoredFile) -> None:
        job = self._jobs.get(by.job)
        if job is not None:
            self._put(work, fold.received(job, file.id, at=self._now()))

    async def _delivered(self, by: Pass) -> None:
        job = self._jobs.get(by.job)
        if job is not None:
            await self._save(fold.delivered(job, at=self._now()))

    async def sweep(self) -> None:
        """Look at every job once: whose turn it is, who is silent, what may be forgotten."""
        now = self._now()
        for job in list(self._jobs.values()):
            if job.ended:
                if job.finished_at is not None and now - job.finished_at > _LATE:
                    del self._jobs[job.id]
                continue
            moved = fold.expired(fold.silent(job, now=now), now=now, after=_FOR_BOOT)
            if moved is not job:
                log.warning("job.moved", job=job.id, station=job.station, state=str(moved.state))
                await self._save(moved)
            elif job.station not in self._memory.stations:
                await self._save(fold.cancelled(job, "the station was removed", at=now))
            else:
                self._start(job)

    async def forget(self) -> None:
        """Delete jobs that ended long ago; their logs go by `files.keep_uploads`."""
        if not self._rules.keep:
            return
        oldest = self._now() - timedelta(seconds=self._rules.keep)
        work = Work()
        for found in await self._store.documents(SHELF, _KIND):
            job = read_job(found.document)
            if job.ended and job.finished_at is not None and job.finished_at < oldest:
                work.delete(found)
                await self._forget_result(work, job)
        if work.ops:
            await self._store.commit(work)

    async def _forget_result(self, work: Work, job: Job) -> None:
        kind = _REPORTS.get(job.kind)
        if kind is not None and job.request_id is not None:
            found = await self._store.document(job.station, kind, str(job.request_id))
            if found is not None:
                work.delete(found)

    # --- an attempt -------------------------------------------------------------------------------

    def _start(self, job: Job) -> None:
        """Begin an attempt when it is due and the station is there."""
        due = job.state is JobState.WAITING and (job.due_at is None or job.due_at <= self._now())
        link = self._links.link(job.station)
        if not due or link is None or job.id in self._attempts:
            return
        task = asyncio.get_running_loop().create_task(self._attempt(job, link))
        self._attempts[job.id] = task
        task.add_done_callback(lambda done: self._over(job.id, done))

    def _over(self, id: str, task: "asyncio.Task[None]") -> None:
        self._attempts.pop(id, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, CpoError):
                raise error
            log.warning("job.not_sent", job=id, error=str(error))

    async def _attempt(self, job: Job, link: StationLink) -> None:
        if (lack := _lack(job.kind, link)) is not None:
            await self._save(fold.impossible(job, lack, at=self._now()))
            return
        work, before = Work(), job
        job = fold.sent(job, secrets.randbelow(2**31 - 1) + 1, at=self._now())
        parameters = {**job.parameters, "request_id": job.request_id}
        if job.kind in OF_FILES:
            self._files.withdraw(work, job.id)
            parameters["location"] = job.parameters.get("location") or self._own_location(work, job)
        await self._commit(work, job, before=before)
        command = StationCommand(kind=_COMMANDS[job.kind], parameters=parameters)
        reply = await link.execute(command)
        newest = self._jobs.get(job.id, job)
        if newest.attempt == job.attempt and not newest.ended:
            await self._save(self._answered(newest, reply))
        if job.parameters.get("clear") and reply.outcome is Outcome.ACCEPTED:
            await self._forget_customers(job.station)

    async def _forget_customers(self, station: str) -> None:
        """Forget whom jobs at a station were about: it has cleared a customer (FW-11)."""
        for job in await self.all(station):
            newest = self._jobs.get(job.id, job)
            if newest.ended and _CUSTOMERS.intersection(newest.parameters):
                await self._save(_about_nobody(newest))

    def _own_location(self, work: Work, job: Job) -> str:
        file = self._files.get(FIRMWARE, job.parameters["firmware"]) if (
            job.kind is JobKind.FIRMWARE
        ) else None  # fmt: skip
        secret = self._files.grant(
            work, job=job.id, station=job.station, file=file.id if file is not None else None
        )
        return f"{self._base_url()}/{secret}"

    def _answered(self, job: Job, reply: Reply) -> Job:
        at = self._now()
        match reply.outcome:
            case Outcome.ACCEPTED:
                return fold.accepted(job, at=at, answer=reply.payload)
            case Outcome.TIMEOUT:
                # It may have heard it and do it: only its silence ends the attempt.
                return replace(job, detail="the station did not answer")
            case Outcome.OFFLINE:
                return fold.not_sent(job, at=at, due_at=at)
        if job.kind is JobKind.GET_DISPLAY_MESSAGES and reply.payload.get("status") == _NOTHING:
            return fold.nothing_found(job, at=at)
        word = reply.detail or str(reply.outcome)
        return fold.refused(job, word, at=at, answer=reply.payload)

    # --- memory and disk --------------------------------------------------------------------------

    def _put(self, work: Work, job: Job) -> None:
        """Note a job's newest state: memory leads, the disk follows with the unit of work."""
        self._jobs[job.id] = job
        document = StationDocument(SHELF, _KIND, job.id, job_document(job), self._now())
        if job.ended:
            self._files.withdraw(work, job.id)
        work.put(document)
        work.then(lambda _: self._written(job))

    def _written(self, job: Job) -> None:
        newest = self._jobs.get(job.id)
        if newest is not None and newest is not job:
            # Two units of work were under way at once, and may have been kept in either order.
            self._later(newest)

    async def _save(self, job: Job) -> None:
        work = Work()
        self._put(work, job)
        await self._store.commit(work)

    async def _commit(self, work: Work, job: Job, *, before: Job | None) -> None:
        """Write a job that must be on disk before anything follows from it."""
        self._put(work, job)
        try:
            await self._store.commit(work)
        except CpoError:
            if before is None:
                self._jobs.pop(job.id, None)
            elif self._jobs.get(job.id) is job:
                self._jobs[job.id] = before
            raise

    def _later(self, job: Job) -> None:
        task = asyncio.get_running_loop().create_task(self._save(job))
        self._jobs[job.id] = job
        self._saving.add(task)
        task.add_done_callback(self._saved)

    def _saved(self, task: "asyncio.Task[None]") -> None:
        self._saving.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("job.not_kept", error=str(error))

    async def settled(self) -> None:
        """Wait until no attempt and no write is under way."""
        while self._attempts or self._saving:
            await asyncio.gather(*self._attempts.values(), *self._saving, return_exceptions=True)

    async def close(self) -> None:
        """Stop; the next start goes on from what is on disk."""
        for task in (*self._attempts.values(), *self._saving):
            task.cancel()
        await asyncio.gather(*self._attempts.values(), *self._saving, return_exceptions=True)


_CUSTOMERS: Final = frozenset({"customer_identifier", "id_token", "customer_certificate"})


def _about_nobody(job: Job) -> Job:
    kept = {n: v for n, v in job.parameters.items() if n not in _CUSTOMERS}
    return replace(job, parameters=kept)


def _lack(kind: JobKind, link: StationLink) -> str | None:
    """Say why a station cannot be asked for such a job at all."""
    if kind not in _LACKING.get(link.version, ()):
        return None
    return f"station {link.identity!r} speaks OCPP {link.version}, which has no {kind}"


def _or(given: Any, default: Any) -> Any:
    return default if given is None else given
