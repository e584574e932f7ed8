"""Stations: registered by the operator, seen live, spoken to."""

import base64
import json
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from cpo.domain import discovery
from cpo.domain.station import Approval, Station
from cpo.domain.values import replace
from cpo.errors import Invalid, NotFound, StationRefused, StationTimeout
from cpo.services.limits import evse_numbers
from cpo.services.ports import Frame
from cpo.web.api import shapes
from cpo.web.body import write_json
from cpo.web.routes import PAGING, Answer, Call, Parameter, Route, list_of, ref

NDJSON = "application/x-ndjson"


class Habits(BaseModel):
    """Deviations of a charger that are put up with, or not; what is left out is as usual."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    assume_version: Literal["1.6", "2.0.1", "2.1"] | None = None
    """For a charger that names no subprotocol."""
    pings: Literal["on", "off"] | None = None
    """Off for a charger that cannot answer WebSocket pings."""
    compression: Literal["on", "off"] | None = None
    """Off for a charger whose permessage-deflate is broken (`ocpp.compression`)."""
    intake: Literal["lenient", "strict"] | None = None
    """Strict for a charger under test: what breaks the schema is refused."""
    local_list: Literal["auto", "on", "off"] | None = None
    """Whether its local authorization list is kept in step with the tokens."""
    triggers: Literal["on", "off"] | None = None
    """Off for a charger that TriggerMessage upsets: it is not asked for what it has not told."""
    energy_unit: Literal["Wh", "kWh"] | None = None
    """KWh for a charger whose meter counts kWh and calls them Wh."""
    inventory: Literal["on", "off"] | None = None
    """Off for a charger that the question for its whole configuration upsets."""
    close: Literal["frame", "cut"] | None = None
    """Cut for a charger that never returns after a WebSocket close: its line is dropped instead."""
    tags: Literal["any", "hex"] | None = None
    """Hex for a charger that takes hexadecimal tags only in a remote start: others get an alias."""
    fixed_tag: Annotated[str, Field(min_length=1, max_length=20)] | None = None
    """For a charger that takes one tag of its own only in a remote start, whoever it is for."""


class StationBody(BaseModel):
    """What the operator says of a station; what is left out keeps its value."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    password: str | None = Field(None, min_length=1, max_length=64)
    ocpp_versions: list[Literal["1.6", "2.0.1", "2.1"]] | None = Field(None, min_length=1)
    security_profile: int | None = Field(None, ge=0, le=3, strict=True)
    allow_without_password: bool | None = Field(None, strict=True)
    approval: Approval | None = None
    habits: Habits | None = None


class CallBody(BaseModel):
    """Any OCPP request of the station's version; `timeout` in seconds."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    action: str = Field(min_length=1, max_length=50, pattern=r"^[A-Za-z0-9]+$")
    payload: dict[str, Any] = {}
    timeout: float | None = Field(None, ge=0.05, le=600)


async def put(call: Call) -> Answer:
    """Register a station, or change it."""
    identity, body = call.path["identity"], call.body
    stations = call.services.stations
    known = stations.find(identity)
    record = known or Station(identity=identity, security_profile=0)
    given = body.model_dump(exclude_none=True)
    password = given.pop("password", None)
    if password is not None:
        given["password_hash"] = call.services.hash_password(identity, password)
        given["previous_password_hash"] = None
    if "habits" in given:
        given["settings"] = given.pop("habits")
    if "ocpp_versions" in given:
        given["ocpp_versions"] = tuple(given["ocpp_versions"])
    if known is None or known.approval is Approval.PENDING:
        given.setdefault("approval", Approval.APPROVED)
    await stations.register(replace(record, **given), actor=call.actor.name)
    shown = shapes.station(stations.state(identity), call.services.memory.sites)
    return web.Response(
        body=write_json(shown),
        status=200 if known else 201,
        content_type="application/json",
    )


async def get(call: Call) -> Answer:
    """Return a station."""
    identity = call.path["identity"]
    shown = shapes.station(call.services.stations.state(identity), call.services.memory.sites)
    found = await call.services.store.documents(identity, "variable")
    deviations = await call.services.store.documents(identity, "deviation")
    habits = call.services.stations.habits(identity)
    repairs = call.services.stations.repairs(identity)
    return shown | {
        "variables": [{"key": kept.key} | kept.document for kept in found],
        "effective_habits": {
            name: {"value": habit.value, "from": habit.source} for name, habit in habits.items()
        },
        "repairs": {name: sorted(fields) for name, fields in repairs.items()},
        "deviations": [kept.document for kept in deviations],
    }


async def discovered(call: Call) -> Answer:
    """Return the EVSEs and connectors that a station tells of, as a location takes them."""
    identity = call.path["identity"]
    state = call.services.stations.state(identity)
    variables = await call.services.store.documents(identity, "variable")
    found = discovery.discovered([kept.document for kept in variables], state.connectors)
    bound = {
        number: {"location": location.id, "evse_uid": evse.uid}
        for location, evse in call.services.memory.sites.evses_of(identity)
        for number in evse_numbers(evse)
    }
    return {
        "station": identity,
        "inventory": bool(variables),
        "evses": [
            {
                "evse_id": evse.number,
                "reported": evse.reported,
                "bound_to": bound.get(evse.number),
                "offer": discovery.offer(evse, identity),
            }
            for evse in found
        ],
        # What a location names, and the station does not.
        "unknown": sorted(set(bound) - {evse.number for evse in found}),
    }


async def documents(call: Call) -> Answer:
    """Return what a station tells of itself beyond its status, by kind and key."""
    identity, limit = call.path["identity"], call.limit()
    if call.services.stations.find(identity) is None:
        raise NotFound("station", identity)
    found = await call.services.store.documents(
        identity, call.query.get("kind") or None, prefix=call.query.get("prefix", "")
    )
    start = int(cursor) if (cursor := call.cursor() or "0").isdecimal() else 0
    page = found[start : start + limit]
    return {
        "items": [shapes.document(kept) for kept in page],
        "next_cursor": str(start + limit) if len(found) > start + limit else None,
    }


async def delete(call: Call) -> Answer:
    """Remove a station and close its connection."""
    await call.services.stations.remove(call.path["identity"], actor=call.actor.name)
    return None


async def list_(call: Call) -> Answer:
    """Return a page of stations by identity."""
    after, limit = call.cursor() or "", call.limit()
    online = call.query.get("online")
    found = [
        state
        for state in call.services.stations.all()
        if state.record.identity > after
        and (online is None or state.online == (online.lower() == "true"))
    ]
    page = found[:limit]
    return {
        "items": [shapes.station(state, call.services.memory.sites) for state in page],
        "next_cursor": page[-1].record.identity if len(found) > limit else None,
    }


async def call_station(call: Call) -> Answer:
    """Send any request and return what the station answered."""
    body = call.body
    try:
        payload = await call.services.commands.call(
            call.path["identity"],
            body.action,
            body.payload,
            actor=call.actor.name,
            timeout=body.timeout,
        )
    except StationRefused as error:
        return {"outcome": "error", "code": error.code, "description": error.description}
    except StationTimeout:
        return {"outcome": "timeout"}
    return {"outcome": "result", "payload": payload}


def _instant(call: Call, *names: str) -> datetime | None:
    name = next((name for name in names if call.query.get(name)), None)
    if name is None:
        return None
    text = call.query[name]
    try:
        # A query turns the + of an offset into a space.
        value = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        raise Invalid(name, "is not an instant like 2026-01-31T12:00:00Z") from None
    if value.tzinfo is None:
        raise Invalid(name, "has no offset, for example Z")
    return value


async def unplaced(call: Call) -> Answer:
    """List the charges at EVSEs that no Location has."""
    found = await call.services.placing.unplaced(call.path["identity"], call.limit())
    return {"items": [shapes.unplaced(one) for one in found], "next_cursor": None}


async def messages(call: Call) -> Answer:
    """Return the frame log, newest first; with Accept: application/x-ndjson all of it."""
    identity = call.path["identity"]
    stations = call.services.stations
    if stations.find(identity) is None:
        raise NotFound("station", identity)
    action = call.query.get("action") or None
    since = _instant(call, "since", "from", "date_from")
    until = _instant(call, "until", "to", "date_to")
    as_lines = (
        NDJSON in call.request.headers.get("Accept", "") or call.query.get("format") == "ndjson"
    )
    if as_lines:
        limit = call.limit() if "limit" in call.query else None
        frames = call.services.store.frames(
            identity, action=action, since=since, until=until, limit=limit
        )
        return await _stream(call.request, frames)
    limit, shown = call.limit(), _resumed(call.cursor())
    if shown is not None:
        until = shown[0]
    found: list[Frame] = []
    passed = shown is None
    async for frame in call.services.store.frames(
        identity, action=action, since=since, until=until, limit=None
    ):
        if passed:
            found.append(frame)
            if len(found) > limit:
                break
        elif (frame.at, frame.direction, frame.message_id) == shown:
            passed = True
    page = found[:limit]
    return {
        "items": [shapes.frame(frame) for frame in page],
        "next_cursor": _cursor(page[-1]) if len(found) > limit else None,
    }


def _cursor(frame: Frame) -> str:
    """Return a cursor that stands behind a frame."""
    text = json.dumps([frame.at.isoformat(), frame.direction, frame.message_id])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _resumed(cursor: str | None) -> tuple[datetime, str, str] | None:
    """Read the last frame that was shown off a cursor."""
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        at, direction, message_id = json.loads(text)
        instant = datetime.fromisoformat(at)
    except (ValueError, TypeError, RecursionError):
        raise Invalid("cursor", "is none of ours") from None
    if instant.tzinfo is None:
        raise Invalid("cursor", "is none of ours")
    return instant, str(direction), str(message_id)


async def _stream(request: web.Request, frames: AsyncIterator[Frame]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": NDJSON})
    await response.prepare(request)
    async for frame in frames:
        await response.write(write_json(shapes.frame(frame)) + b"\n")
    await response.write_eof()
    return response


CALL_ANSWER: Mapping[str, Any] = {
    "type": "object",
    "required": ["outcome"],
    "properties": {
        "outcome": {"enum": ["result", "error", "timeout"]},
        "payload": {"type": "object"},
        "code": {"type": "string"},
        "description": {"type": "string"},
    },
}

ROUTES = (
    Route(
        method="GET",
        path="/stations",
        handler=list_,
        scope="read",
        tag="stations",
        summary="List stations by identity",
        answer=list_of("Station"),
        parameters=(*PAGING, Parameter(name="online", meaning="Only those (not) connected now")),
    ),
    Route(
        method="PUT",
        path="/stations/{identity}",
        handler=put,
        scope="admin",
        tag="stations",
        summary="Register a station, or change it",
        body=StationBody,
        answer=ref("Station"),
    ),
    Route(
        method="GET",
        path="/stations/{identity}",
        handler=get,
        scope="read",
        tag="stations",
        summary="Show a station",
        answer=ref("Station"),
        errors=(404,),
    ),
    Route(
        method="DELETE",
        path="/stations/{identity}",
        handler=delete,
        scope="admin",
        tag="stations",
        summary="Remove a station; its connection is closed",
        status=204,
        errors=(404,),
    ),
    Route(
        method="POST",
        path="/stations/{identity}/call",
        handler=call_station,
        scope="operate",
        tag="stations",
        summary="Send any OCPP request of the station's version",
        body=CallBody,
        answer=CALL_ANSWER,
        errors=(404, 409),
    ),
    Route(
        method="GET",
        path="/stations/{identity}/discovered",
        handler=discovered,
        scope="read",
        tag="stations",
        summary="Show the EVSEs and connectors that it tells of, as `PUT /locations` takes them, "
        "and which of them a location has",
        answer={
            "type": "object",
            "required": ["station", "inventory", "evses", "unknown"],
            "properties": {
                "station": {"type": "string"},
                "inventory": {"type": "boolean"},
                "evses": {"type": "array", "items": {"type": "object"}},
                "unknown": {"type": "array", "items": {"type": "integer"}},
            },
        },
        errors=(404,),
    ),
    Route(
        method="GET",
        path="/stations/{identity}/documents",
        handler=documents,
        scope="read",
        tag="stations",
        summary="Show what it tells of itself: variable, monitor, event, security-event, "
        "firmware-job, log-job, charging-limit, report and more kinds",
        answer=list_of("Document"),
        errors=(404,),
        parameters=(
            *PAGING,
            Parameter(name="kind", meaning="Only this kind"),
            Parameter(name="prefix", meaning="Only keys that begin so"),
        ),
    ),
    Route(
        method="GET",
        path="/stations/{identity}/unplaced",
        handler=unplaced,
        scope="read",
        tag="stations",
        summary="List ended charges at EVSEs that no Location has, newest first; putting the "
        "Location settles them, and their CDRs are held",
        answer=list_of("Unplaced"),
        errors=(404,),
        parameters=(Parameter(name="limit", meaning="How many"),),
    ),
    Route(
        method="GET",
        path="/stations/{identity}/messages",
        handler=messages,
        scope="read",
        tag="stations",
        summary="Show the frame log, newest first; NDJSON with Accept: application/x-ndjson",
        answer=list_of("Frame"),
        errors=(404,),
        parameters=(
            *PAGING,
            Parameter(name="action", meaning="Only this OCPP action"),
            Parameter(name="since", meaning="Only from this instant on"),
            Parameter(name="until", meaning="Only up to this instant"),
            Parameter(name="format", meaning="`ndjson` for one object a line, all of them"),
        ),
    ),
)
