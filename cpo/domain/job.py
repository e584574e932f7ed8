"""Jobs that may take a station longer than an answer, or have to wait for it. Pure.

A job is a chain of attempts. What a station tells in FirmwareStatusNotification,
DiagnosticsStatusNotification and LogStatusNotification moves it, or the parts of its report, or
its answer is the end already; silence ends an attempt.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from cpo.domain.urls import without_secrets

_HISTORY: Final = 100


class JobKind(StrEnum):
    """What a station is to do."""

    LOG = "log"
    FIRMWARE = "firmware"
    SET_DISPLAY_MESSAGE = "set-display-message"
    GET_DISPLAY_MESSAGES = "get-display-messages"
    CLEAR_DISPLAY_MESSAGE = "clear-display-message"
    CUSTOMER_INFORMATION = "customer-information"
    DATA_TRANSFER = "data-transfer"


OF_FILES: Final = frozenset({JobKind.LOG, JobKind.FIRMWARE})
_OF_ANSWERS: Final = frozenset(
    {JobKind.SET_DISPLAY_MESSAGE, JobKind.CLEAR_DISPLAY_MESSAGE, JobKind.DATA_TRANSFER}
)


class JobState(StrEnum):
    """How far a job has come."""

    WAITING = "waiting"  # for its turn, its station, or the next attempt
    SENT = "sent"  # the request has left, no answer yet
    RUNNING = "running"  # the station has accepted it
    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


ENDED: Final = frozenset({JobState.DONE, JobState.FAILED, JobState.TIMED_OUT, JobState.CANCELLED})
_GOOD: Final = {JobKind.LOG: "Uploaded", JobKind.FIRMWARE: "Installed"}
# Words of all versions that end an attempt badly.
_BAD: Final = {
    JobKind.LOG: frozenset(
        {"UploadFailed", "UploadFailure", "BadMessage", "PermissionDenied", "NotSupportedOperation"}
    ),
    JobKind.FIRMWARE: frozenset(
        {
            "DownloadFailed",
            "InstallationFailed",
            "InstallVerificationFailed",
            "InvalidSignature",
            "RevokedCertificate",
        }
    ),
}
# After these the same request would end the same way.
_HOPELESS: Final = frozenset(
    {
        "BadMessage",
        "NotSupportedOperation",
        "InvalidSignature",
        "InvalidCertificate",
        "RevokedCertificate",
    }
)
_CANCELLED: Final = "AcceptedCanceled"
_IDLE: Final = "Idle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job with everything that became of it.

    `parameters` say what is wanted, `timeout` and `retry_interval` are seconds. `request_id` is
    that of the running attempt, None for messages of 1.6 that have none. `heard_at` is the last
    sign of it, `due_at` when the next attempt may begin. `file` is the id of an uploaded log,
    `answer` what the station answered where that is the result, `parts` how many parts of its
    report have come.
    """

    id: str
    kind: JobKind
    station: str
    requested_by: str
    created_at: datetime
    parameters: Mapping[str, Any]
    timeout: float
    retries: int
    retry_interval: float
    state: JobState = JobState.WAITING
    detail: str | None = None
    status: str | None = None
    attempt: int = 0
    request_id: int | None = None
    due_at: datetime | None = None
    heard_at: datetime | None = None
    finished_at: datetime | None = None
    file: str | None = None
    answer: Mapping[str, Any] | None = None
    parts: int = 0
    history: tuple[Mapping[str, Any], ...] = field(default_factory=tuple)

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in ENDED

    @property
    def own_place(self) -> bool:
        """Whether the file goes to or comes from us, not a server that the operator named."""
        return "location" not in self.parameters

    @property
    def ends_with_answer(self) -> bool:
        """Whether nothing follows the station's answer."""
        if self.kind is JobKind.CUSTOMER_INFORMATION:
            return not self.parameters.get("report")
        return self.kind in _OF_ANSWERS


def sent(job: Job, request_id: int, *, at: datetime) -> Job:
    """Begin the next attempt; kept before the request leaves."""
    job = replace(
        job,
        state=JobState.SENT,
        attempt=job.attempt + 1,
        request_id=request_id,
        status=None,
        detail=None,
        due_at=None,
        heard_at=at,
        parts=0,
    )
    return _noted(job, "sent", at)


def not_sent(job: Job, *, at: datetime, due_at: datetime) -> Job:
    """Take an attempt back that found its station offline."""
    return replace(
        job,
        state=JobState.WAITING,
        attempt=job.attempt - 1,
        due_at=due_at,
        heard_at=at,
        detail="the station is offline",
        history=job.history[:-1],
    )


def accepted(job: Job, *, at: datetime, answer: Mapping[str, Any] | None = None) -> Job:
    """Note that the station will do it, or has; what it has told meanwhile stays."""
    if job.state is not JobState.SENT:
        return job
    job = _noted(replace(job, state=JobState.RUNNING, heard_at=at), "Accepted", at)
    if not job.ends_with_answer:
        return job
    return _ended(replace(job, answer=answer), JobState.DONE, None, at)


def nothing_found(job: Job, *, at: datetime) -> Job:
    """End a job whose station has nothing to report."""
    return _ended(_noted(job, "nothing found", at), JobState.DONE, None, at)


def reported(job: Job, parts: int, *, complete: bool, at: datetime) -> Job:
    """Note how many parts of its report have come; with the last of them the job is done."""
    if parts != job.parts:
        job = _noted(replace(job, parts=parts), f"parts that came: {parts}", at)
    job = replace(job, heard_at=at)
    if job.ended:
        return job
    if complete:
        return _ended(job, JobState.DONE, None, at)
    return replace(job, state=JobState.RUNNING, detail=None)


def refused(job: Job, word: str, *, at: datetime, answer: Mapping[str, Any] | None = None) -> Job:
    """End a job that the station will not do."""
    job = replace(_noted(job, word, at), answer=answer if job.ends_with_answer else None)
    return _ended(job, JobState.FAILED, f"the station answered: {word}", at)


def impossible(job: Job, detail: str, *, at: datetime) -> Job:
    """End a job that cannot be asked of its station; nothing was sent."""
    return _ended(job, JobState.FAILED, detail, at)


def progressed(job: Job, status: str, *, at: datetime) -> Job:
    """Follow a status of the station; any order is taken, and repeats change nothing (FW-01)."""
    if status == _IDLE or (status == job.status and not job.ended):
        return replace(job, heard_at=at)
    job = _noted(replace(job, status=status, heard_at=at), status, at)
    if job.state is JobState.CANCELLED:
        return job
    if status == _GOOD.get(job.kind):
        return _done(job, at)
    if job.ended:
        return job
    if status == _CANCELLED:
        return _ended(job, JobState.CANCELLED, "the station gave it up for another", at)
    if status in _BAD.get(job.kind, ()):
        return _again(job, JobState.FAILED, f"the station reported {status}", at)
    return replace(job, state=JobState.RUNNING, detail=None)


def _done(job: Job, at: datetime) -> Job:
    if job.kind is JobKind.LOG and job.own_place and job.file is None:
        return _again(job, JobState.FAILED, "reported as uploaded, but no file came", at)
    return _ended(job, JobState.DONE, None, at)


def received(job: Job, file: str, *, at: datetime) -> Job:
    """Note the uploaded file: the job is done, whatever the station says of it later."""
    job = _noted(replace(job, file=file, heard_at=at), "file received", at)
    return job if job.state is JobState.CANCELLED else _ended(job, JobState.DONE, None, at)


def delivered(job: Job, *, at: datetime) -> Job:
    """Note that the station has fetched the whole firmware."""
    return _noted(replace(job, heard_at=at), "file fetched", at)


def booted(job: Job, firmware: str | None, *, at: datetime) -> Job:
    """End an update whose firmware the station boots with, even where it never says so (FW-02)."""
    if job.ended or job.kind is not JobKind.FIRMWARE or job.attempt == 0:
        return job
    job = replace(_noted(job, f"booted with firmware {firmware}", at), heard_at=at)
    wanted = job.parameters.get("version")
    return _ended(job, JobState.DONE, None, at) if wanted and wanted == firmware else job


def silent(job: Job, *, now: datetime) -> Job:
    """End an attempt of which nothing was heard for too long."""
    if job.state not in (JobState.SENT, JobState.RUNNING) or job.heard_at is None:
        return job
    if now - job.heard_at < timedelta(seconds=job.timeout):
        return job
    return _again(
        _noted(job, "silence", now),
        JobState.TIMED_OUT,
        f"nothing was heard of it for {job.timeout:g} s",
        now,
    )


def cancelled(job: Job, detail: str, *, at: datetime) -> Job:
    """End a job that nobody wants any more."""
    return _ended(job, JobState.CANCELLED, detail, at)


def expired(job: Job, *, now: datetime, after: timedelta) -> Job:
    """End a job whose station does not come back."""
    if job.state is not JobState.WAITING or now - job.created_at < after:
        return job
    return _ended(job, JobState.TIMED_OUT, job.detail or "its turn never came", now)


def _again(job: Job, state: JobState, detail: str, at: datetime) -> Job:
    """Wait for another attempt where one is left, else end."""
    if job.attempt > job.retries or job.status in _HOPELESS:
        return _ended(job, state, detail, at)
    return replace(
        job,
        state=JobState.WAITING,
        detail=detail,
        due_at=at + timedelta(seconds=job.retry_interval),
    )


def _ended(job: Job, state: JobState, detail: str | None, at: datetime) -> Job:
    kept = shown_parameters(job)
    return replace(job, state=state, detail=detail, finished_at=at, due_at=None, parameters=kept)


def shown_parameters(job: Job) -> dict[str, Any]:
    """Return what is wanted, without what an address has of credentials (FW-05)."""
    given = dict(job.parameters)
    if isinstance(given.get("location"), str):
        given["location"] = without_secrets(given["location"])
    return given


def _noted(job: Job, what: str, at: datetime) -> Job:
    note = {"at": at.isoformat(), "attempt": job.attempt, "what": what[:100]}
    return replace(job, history=(*job.history, note)[-_HISTORY:])


# --- on disk --------------------------------------------------------------------------------------

_INSTANTS: Final = ("created_at", "due_at", "heard_at", "finished_at")


def job_document(job: Job) -> dict[str, Any]:
    """Return a job as it is stored."""
    document = {name: getattr(job, name) for name in Job.__dataclass_fields__}
    for name in _INSTANTS:
        if document[name] is not None:
            document[name] = document[name].isoformat()
    return document | {
        "kind": str(job.kind),
        "state": str(job.state),
        "parameters": dict(job.parameters),
        "history": [dict(note) for note in job.history],
    }


def read_job(document: Mapping[str, Any]) -> Job:
    """Read a job that was stored."""
    given = dict(document)
    for name in _INSTANTS:
        if given[name] is not None:
            given[name] = datetime.fromisoformat(given[name])
    for name in ("timeout", "retry_interval"):
        given[name] = float(given[name])
    return Job(
        **given
        | {
            "kind": JobKind(given["kind"]),
            "state": JobState(given["state"]),
            "history": tuple(given["history"]),
        }
    )
