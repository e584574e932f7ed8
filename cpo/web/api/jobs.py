"""Jobs at stations (logs, firmware, displays, customers, data), and the files of some of them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from aiohttp import web
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from cpo.domain.job import Job, JobKind, job_document, shown_parameters
from cpo.errors import Conflict, Invalid, NotFound
from cpo.services.files import FIRMWARE, LOG, StoredFile, shown
from cpo.services.jobs import JobRequest
from cpo.web.body import write_json
from cpo.web.routes import PAGING, Answer, Call, Handler, Parameter, Route, list_of, ref

_IDLE = 60
_BLOCK = 1 << 18
_DAY = 86_400
Url = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9+.-]*://\S+$", max_length=512)]


Id = Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)]
Priority = Literal["AlwaysFront", "InFront", "NormalCycle"]
Showing = Literal["Charging", "Faulted", "Idle", "Unavailable", "Suspended", "Discharging"]


class _JobBody(BaseModel):
    """What every job may say: how patient we are (seconds), how often it is tried again."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    timeout: float | None = Field(None, ge=0.05, le=30 * _DAY)
    retries: int | None = Field(None, ge=0, le=20)
    retry_interval: float | None = Field(None, ge=0.05, le=_DAY)


class LogJob(_JobBody):
    """Fetch a log; without `location` it comes to us."""

    location: Url | None = None
    log_type: Literal["DiagnosticsLog", "SecurityLog", "DataCollectorLog"] = "DiagnosticsLog"
    oldest: AwareDatetime | None = None
    latest: AwareDatetime | None = None


class FirmwareJob(_JobBody):
    """Update firmware: one of ours by its id, or from a `location`.

    `version` is what the station will boot with: then its boot ends the job as well.
    """

    location: Url | None = None
    firmware: str | None = Field(None, min_length=1, max_length=64)
    version: str | None = Field(None, min_length=1, max_length=50)
    retrieve_at: AwareDatetime | None = None
    install_at: AwareDatetime | None = None
    signing_certificate: str | None = Field(None, min_length=1, max_length=5500)
    signature: str | None = Field(None, min_length=1, max_length=800)


class SetDisplayMessage(_JobBody):
    """Show a message on the display; one with the same id takes its place."""

    id: Id
    content: str = Field(min_length=1, max_length=1024)
    format: Literal["ASCII", "HTML", "URI", "UTF8", "QRCODE"] = "UTF8"
    language: str | None = Field(None, min_length=1, max_length=8)
    priority: Priority = "NormalCycle"
    state: Showing | None = None
    start_at: AwareDatetime | None = None
    end_at: AwareDatetime | None = None
    transaction: str | None = Field(None, min_length=1, max_length=36)


class GetDisplayMessages(_JobBody):
    """Ask which messages the display shows: all, or those with the given marks."""

    ids: list[Id] | None = Field(None, min_length=1, max_length=1000)
    priority: Priority | None = None
    state: Showing | None = None


class ClearDisplayMessage(_JobBody):
    """Take a message off the display."""

    id: Id


class CertificateHash(BaseModel):
    """A customer's certificate as OCPP names it."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    hashAlgorithm: Literal["SHA256", "SHA384", "SHA512"]  # noqa: N815 - OCPP's own names
    issuerNameHash: str = Field(min_length=1, max_length=128)  # noqa: N815
    issuerKeyHash: str = Field(min_length=1, max_length=128)  # noqa: N815
    serialNumber: str = Field(min_length=1, max_length=40)  # noqa: N815


class CustomerInformation(_JobBody):
    """Ask what a station knows of a customer, or have it forget that, or both."""

    report: bool = Field(default=False, strict=True)
    clear: bool = Field(default=False, strict=True)
    customer_identifier: str | None = Field(None, min_length=1, max_length=64)
    id_token: str | None = Field(None, min_length=1, max_length=255)
    id_token_type: str | None = Field(None, min_length=1, max_length=20)
    customer_certificate: CertificateHash | None = None


class DataTransfer(_JobBody):
    """Send what only a vendor knows the meaning of; 1.6 takes a text as `data`."""

    vendor_id: str = Field(min_length=1, max_length=255)
    message_id: str | None = Field(None, min_length=1, max_length=50)
    data: Any = None


_PATIENCE = frozenset({"timeout", "retries", "retry_interval"})


def _job(job: Job) -> dict[str, Any]:
    return job_document(job) | {"parameters": shown_parameters(job)}


async def _create(call: Call, kind: JobKind) -> Answer:
    body: _JobBody = call.body
    given = body.model_dump(exclude_none=True)
    patience = {name: given.pop(name) for name in _PATIENCE & given.keys()}
    for name in ("oldest", "latest", "retrieve_at", "install_at", "start_at", "end_at"):
        if name in given:
            given[name] = given[name].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if kind is JobKind.FIRMWARE:
        given.setdefault("retrieve_at", call.services.now().strftime("%Y-%m-%dT%H:%M:%SZ"))
    job = await call.services.jobs.create(
        JobRequest(
            kind=kind,
            station=call.path["identity"],
            requested_by=call.actor.name,
            parameters=given,
            **patience,
        )
    )
    return web.Response(
        body=write_json(_job(job)),
        status=202,
        content_type="application/json",
        headers={"Location": f"/api/v1/jobs/{job.id}"},
    )


async def get_log(call: Call) -> Answer:
    """Let a station send a log."""
    return await _create(call, JobKind.LOG)


async def update_firmware(call: Call) -> Answer:
    """Let a station update its firmware."""
    return await _create(call, JobKind.FIRMWARE)


async def set_display_message(call: Call) -> Answer:
    """Show a message on a station's display."""
    return await _create(call, JobKind.SET_DISPLAY_MESSAGE)


async def get_display_messages(call: Call) -> Answer:
    """Ask a station which messages its display shows."""
    return await _create(call, JobKind.GET_DISPLAY_MESSAGES)


async def clear_display_message(call: Call) -> Answer:
    """Take a message off a station's display."""
    return await _create(call, JobKind.CLEAR_DISPLAY_MESSAGE)


async def customer_information(call: Call) -> Answer:
    """Ask what a station knows of a customer, or have it forget that."""
    return await _create(call, JobKind.CUSTOMER_INFORMATION)


async def data_transfer(call: Call) -> Answer:
    """Send a station data of its vendor's."""
    return await _create(call, JobKind.DATA_TRANSFER)


async def list_(call: Call) -> Answer:
    """Return a page of jobs, newest first."""
    after, limit = call.cursor(), call.limit()
    station = call.path.get("identity") or call.query.get("station") or None
    if "identity" in call.path and call.services.stations.find(call.path["identity"]) is None:
        raise NotFound("station", call.path["identity"])
    state = call.query.get("state")
    found = [
        job
        for job in await call.services.jobs.all(station)
        if (after is None or job.id < after) and (state is None or job.state == state)
    ]
    page = found[:limit]
    return {
        "items": [_job(job) for job in page],
        "next_cursor": page[-1].id if len(found) > limit else None,
    }


async def get(call: Call) -> Answer:
    """Return a job, with what its station has reported for it so far."""
    job = await call.services.jobs.get(call.path["id"])
    return {**_job(job), "result": await call.services.jobs.result(job)}


async def cancel(call: Call) -> Answer:
    """Stop following a job."""
    return _job(await call.services.jobs.cancel(call.path["id"], actor=call.actor.name))


async def get_file(call: Call) -> Answer:
    """Send the log that a job brought."""
    job = await call.services.jobs.get(call.path["id"])
    if job.file is None:
        raise Conflict(f"job {job.id!r} has brought no file")
    files = call.services.files
    file = files.get(LOG, job.file)
    return await _download(call.request, files.path(file), file)


async def _download(request: web.Request, path: Path, file: StoredFile) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={
            "Content-Type": "application/octet-stream",
            # A log is a stranger's text: it is saved, never shown.
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
            "ETag": f'"{file.sha256}"',
        }
    )
    response.content_length = file.size
    source = await asyncio.to_thread(path.open, "rb")
    try:
        await response.prepare(request)
        while block := await asyncio.to_thread(source.read, _BLOCK):
            async with asyncio.timeout(_IDLE):
                await response.write(block)
        await response.write_eof()
    finally:
        await asyncio.to_thread(source.close)
    return response


async def put_firmware(call: Call) -> Answer:
    """Keep a firmware image: the body is the file."""
    name = call.query.get("name", "")
    if not 1 <= len(name) <= 255 or not name.isprintable():
        raise Invalid("name", "say in the query how the file is called")
    file = await call.services.files.put_firmware(
        name, _blocks(call.request), actor=call.actor.name
    )
    return web.Response(
        body=write_json(shown(file)), status=201, content_type="application/json",
        headers={"Location": f"/api/v1/firmware/{file.id}"},
    )  # fmt: skip


async def _blocks(request: web.Request) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(_IDLE):
                block = await request.content.readany()
        except TimeoutError:
            raise Invalid("", f"no byte of the file came for {_IDLE} s") from None
        if not block:
            return
        yield block


async def list_firmware(call: Call) -> Answer:
    """Return a page of firmware images, newest first."""
    after, limit = call.cursor(), call.limit()
    found = call.services.files.all(FIRMWARE)
    start = next((n + 1 for n, file in enumerate(found) if file.id == after), 0)
    page = found[start : start + limit]
    return {
        "items": [shown(file) for file in page],
        "next_cursor": page[-1].id if len(found) > start + limit else None,
    }


async def get_firmware(call: Call) -> Answer:
    """Return what is known of a firmware image."""
    return shown(call.services.files.get(FIRMWARE, call.path["id"]))


async def delete_firmware(call: Call) -> Answer:
    """Remove a firmware image."""
    await call.services.files.remove(FIRMWARE, call.path["id"], actor=call.actor.name)
    return None


_STATE = Parameter(name="state", meaning="Only jobs in this state")


def _route(name: str, handler: Handler, body: type[BaseModel], summary: str) -> Route:
    return Route(
        method="POST",
        path=f"/stations/{{identity}}/{name}",
        handler=handler,
        scope="operate",
        tag="jobs",
        summary=summary,
        body=body,
        answer=ref("Job"),
        status=202,
        errors=(404, 409),
    )


ROUTES: tuple[Route, ...] = (
    _route(
        "set-display-message",
        set_display_message,
        SetDisplayMessage,
        "Show a message on its display: SetDisplayMessage of 2.x",
    ),
    _route(
        "get-display-messages",
        get_display_messages,
        GetDisplayMessages,
        "Ask which messages its display shows: GetDisplayMessages of 2.x, reports joined",
    ),
    _route(
        "clear-display-message",
        clear_display_message,
        ClearDisplayMessage,
        "Take a message off its display: ClearDisplayMessage of 2.x",
    ),
    _route(
        "customer-information",
        customer_information,
        CustomerInformation,
        "Ask what it knows of a customer, or clear it: CustomerInformation of 2.x, reports joined",
    ),
    _route(
        "data-transfer",
        data_transfer,
        DataTransfer,
        "Send data of its vendor's: DataTransfer; once, unless `retries` says otherwise",
    ),
    Route(
        method="POST",
        path="/stations/{identity}/get-log",
        handler=get_log,
        scope="operate",
        tag="jobs",
        summary="Fetch a log: GetLog, or GetDiagnostics of 1.6; it comes to us or to `location`",
        body=LogJob,
        answer=ref("Job"),
        status=202,
        errors=(404, 409),
    ),
    Route(
        method="POST",
        path="/stations/{identity}/update-firmware",
        handler=update_firmware,
        scope="operate",
        tag="jobs",
        summary="Update firmware: UpdateFirmware, or SignedUpdateFirmware of 1.6",
        body=FirmwareJob,
        answer=ref("Job"),
        status=202,
        errors=(404, 409),
    ),
    Route(
        method="GET",
        path="/jobs",
        handler=list_,
        scope="read",
        tag="jobs",
        summary="List jobs, newest first",
        answer=list_of("Job"),
        parameters=(*PAGING, Parameter(name="station", meaning="Only of this station"), _STATE),
    ),
    Route(
        method="GET",
        path="/stations/{identity}/jobs",
        handler=list_,
        scope="read",
        tag="jobs",
        summary="List a station's jobs, newest first",
        answer=list_of("Job"),
        parameters=(*PAGING, _STATE),
        errors=(404,),
    ),
    Route(
        method="GET",
        path="/jobs/{id}",
        handler=get,
        scope="read",
        tag="jobs",
        summary="Show a job with all that the station told of it",
        answer=ref("Job"),
        errors=(404,),
    ),
    Route(
        method="POST",
        path="/jobs/{id}/cancel",
        handler=cancel,
        scope="operate",
        tag="jobs",
        summary="Stop following a job and withdraw its URL",
        answer=ref("Job"),
        errors=(404, 409),
    ),
    Route(
        method="GET",
        path="/jobs/{id}/file",
        handler=get_file,
        scope="read",
        tag="jobs",
        summary="Download the log that a job brought",
        answer={"type": "string", "format": "binary"},
        errors=(404, 409),
    ),
    Route(
        method="POST",
        path="/firmware",
        handler=put_firmware,
        scope="admin",
        tag="jobs",
        summary="Upload a firmware image: the body is the file",
        answer=ref("StoredFile"),
        status=201,
        raw=True,
        parameters=(Parameter(name="name", meaning="How the file is called"),),
        errors=(413, 507),
    ),
    Route(
        method="GET",
        path="/firmware",
        handler=list_firmware,
        scope="read",
        tag="jobs",
        summary="List firmware images, newest first",
        answer=list_of("StoredFile"),
        parameters=PAGING,
    ),
    Route(
        method="GET",
        path="/firmware/{id}",
        handler=get_firmware,
        scope="read",
        tag="jobs",
        summary="Show a firmware image",
        answer=ref("StoredFile"),
        errors=(404,),
    ),
    Route(
        method="DELETE",
        path="/firmware/{id}",
        handler=delete_firmware,
        scope="admin",
        tag="jobs",
        summary="Remove a firmware image",
        status=204,
        errors=(404, 409),
    ),
)
