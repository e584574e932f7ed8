"""Neutral commands to EVSEs and stations, and their outcomes."""

from datetime import UTC
from typing import Annotated, Any, Literal, Self

from aiohttp import web
from pydantic import (
    AfterValidator,
    AliasChoices,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from cpo.domain.command import Command, CommandKind
from cpo.domain.tokens import Token, Whitelist
from cpo.errors import Conflict, Invalid, NotFound
from cpo.services.commands import Request
from cpo.web.api import shapes
from cpo.web.body import write_json
from cpo.web.routes import IDEMPOTENCY, ORDERED, Answer, Call, Route, list_of, ref

FORBID = ConfigDict(extra="forbid", defer_build=True)
Timeout = Annotated[float | None, Field(ge=0.05, le=600)]


class Body(BaseModel):
    """What every command may say; `timeout` in seconds."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, defer_build=True)

    timeout: Timeout = None


class TokenRef(BaseModel):
    """A token by its uid, or one of nobody's list described in full."""

    model_config = FORBID

    uid: str = Field(min_length=1, max_length=36)
    type: str = Field("RFID", max_length=36)
    contract_id: str | None = Field(None, max_length=36)


class Start(Body):
    """Start charging for a token."""

    token: TokenRef | str = Field(
        validation_alias=AliasChoices("token", "token_uid", "id_token", "uid"),
        serialization_alias="token",
    )
    connector_id: str | None = Field(None, max_length=36)
    authorization_reference: str | None = Field(None, max_length=36)
    profile: "Profile | None" = None


class Stop(Body):
    """Stop a session; without `session_id` the one that runs at the EVSE."""

    session_id: str | None = Field(None, max_length=64)


class Unlock(Body):
    """Unlock the connector."""

    connector_id: str | None = Field(None, max_length=36)


class Reserve(Body):
    """Reserve the EVSE for a token until an instant."""

    token: TokenRef | str = Field(
        validation_alias=AliasChoices("token", "token_uid", "id_token", "uid"),
        serialization_alias="token",
    )
    expiry_date: AwareDatetime = Field(
        validation_alias=AliasChoices("expiry_date", "expiry_date_time", "until"),
        serialization_alias="expiry_date",
    )
    reservation_id: str | int | None = None
    connector_id: str | None = Field(None, max_length=36)


class CancelReservation(Body):
    """Cancel a reservation by its id."""

    reservation_id: str | int


class Availability(Body):
    """Take an EVSE or station out of service, or back in."""

    operational_status: Literal["Operative", "Inoperative"]
    connector_id: str | None = Field(None, max_length=36)


def _reset_type(value: str) -> str:
    known = {"soft": "OnIdle", "onidle": "OnIdle", "hard": "Immediate", "immediate": "Immediate"}
    if value.lower() not in known:
        raise ValueError("must be OnIdle (Soft) or Immediate (Hard)")
    return known[value.lower()]


class Reset(Body):
    """Restart the station (or an EVSE of a 2.x one): OnIdle (Soft) or Immediate (Hard)."""

    type: Annotated[str, AfterValidator(_reset_type)] = "OnIdle"
    evse_id: int | None = Field(None, ge=0)


class Trigger(Body):
    """Ask the station for a message, e.g. StatusNotification, Heartbeat, MeterValues."""

    requested_message: str = Field(
        min_length=1,
        max_length=50,
        pattern=r"^[A-Za-z]+$",
        validation_alias=AliasChoices("requested_message", "message"),
        serialization_alias="requested_message",
    )
    evse_id: int | None = Field(None, ge=0)
    connector_id: int | None = Field(None, ge=0)


class Variable(BaseModel):
    """`component` and `variable` of OCPP 2.x, names or objects; or a `key` of OCPP 1.6."""

    model_config = FORBID

    key: str | None = Field(None, min_length=1, max_length=103)
    component: str | dict[str, Any] | None = None
    variable: str | dict[str, Any] | None = None
    attribute_type: Literal["Actual", "Target", "MinSet", "MaxSet"] | None = None

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.key is None and (self.component is None or self.variable is None):
            raise ValueError("name a key, or component and variable")
        return self


class SetVariable(Variable):
    """A variable and its new value."""

    value: str = Field(max_length=2500)


class GetVariables(Body):
    """Read variables; none named: all of them."""

    variables: list[Variable | str] = Field([], max_length=1000)


class SetVariables(Body):
    """Write variables."""

    variables: list[SetVariable] = Field(min_length=1, max_length=100)


class OfEvse(Body):
    """For one EVSE by its OCPP number; 0 or none means the station."""

    evse_id: int | None = Field(None, ge=0, le=1_000_000)


class Profile(BaseModel):
    """A ChargingProfile in the spelling of OCPP 2.x; the station's version is spelled for it."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    chargingProfilePurpose: str  # noqa: N815 - OCPP's spelling
    chargingProfileKind: str  # noqa: N815 - OCPP's spelling
    stackLevel: int = Field(ge=0)  # noqa: N815 - OCPP's spelling
    chargingSchedule: dict[str, Any] | list[dict[str, Any]] = Field(min_length=1)  # noqa: N815

    @field_validator("chargingSchedule")
    @classmethod
    def _periods(cls, value: Any) -> Any:
        schedules = value if isinstance(value, list) else [value]
        for schedule in schedules:
            periods = schedule.get("chargingSchedulePeriod")
            if not isinstance(periods, list) or not all(isinstance(p, dict) for p in periods):
                raise ValueError("each needs a list chargingSchedulePeriod")
        return value


class SetProfile(OfEvse):
    """Set a charging profile."""

    profile: Profile


class ClearProfile(OfEvse):
    """Clear charging profiles: by id, or all that fit."""

    profile_id: int | None = None
    purpose: str | None = Field(None, max_length=50)
    stack_level: int | None = Field(None, ge=0)


class CompositeSchedule(OfEvse):
    """Ask which limits hold for the next `duration` seconds."""

    duration: int = Field(ge=1, le=31_536_000)
    charging_rate_unit: Literal["A", "W"] | None = None


class LocalEntry(BaseModel):
    """A token of the local list; without `status` it is taken off."""

    model_config = FORBID

    id_token: str = Field(min_length=1, max_length=36)
    type: str | None = Field(None, max_length=20)
    status: str | None = Field(None, max_length=20)
    group_id: str | None = Field(None, max_length=36)


class LocalList(Body):
    """Send the local authorization list, whole or what changed."""

    version: int = Field(ge=1)
    update_type: Literal["Full", "Differential"] = "Full"
    entries: list[LocalEntry] = Field([], max_length=10_000)


EVSE_COMMANDS: dict[CommandKind, tuple[type[Body], str]] = {
    CommandKind.START_SESSION: (Start, "Start charging for a token"),
    CommandKind.STOP_SESSION: (Stop, "Stop the session that runs at the EVSE, or the one named"),
    CommandKind.UNLOCK: (Unlock, "Unlock the connector"),
    CommandKind.RESERVE: (
        Reserve,
        "Reserve the EVSE for a token; without `reservation_id` the command's id is the one",
    ),
    CommandKind.CANCEL_RESERVATION: (CancelReservation, "Cancel a reservation"),
    CommandKind.AVAILABILITY: (Availability, "Take the EVSE out of service, or back in"),
}
STATION_COMMANDS: dict[CommandKind, tuple[type[Body], str]] = {
    CommandKind.RESET: (Reset, "Restart the station"),
    CommandKind.TRIGGER: (Trigger, "Ask for a message"),
    CommandKind.AVAILABILITY: (Availability, "Take the station out of service, or back in"),
    CommandKind.GET_VARIABLES: (GetVariables, "Read configuration keys or variables"),
    CommandKind.SET_VARIABLES: (SetVariables, "Write configuration keys or variables"),
    CommandKind.CLEAR_CACHE: (Body, "Clear the authorization cache"),
    CommandKind.SET_CHARGING_PROFILE: (SetProfile, "Set a charging profile"),
    CommandKind.CLEAR_CHARGING_PROFILE: (ClearProfile, "Clear charging profiles"),
    CommandKind.GET_COMPOSITE_SCHEDULE: (CompositeSchedule, "Read the composite schedule"),
    CommandKind.SEND_LOCAL_LIST: (LocalList, "Send the local authorization list"),
    CommandKind.GET_LOCAL_LIST_VERSION: (Body, "Read the local list's version"),
}


async def _token(call: Call, given: TokenRef | str) -> Token:
    """Find the token somebody named by its uid; one that nobody holds is taken at its word."""
    named = TokenRef(uid=given) if isinstance(given, str) else given
    if not named.uid.isprintable():
        raise Invalid("token", "must be printable")
    held = await call.services.store.tokens_by_uid(named.uid)
    if held:
        return min(held, key=lambda t: (t.partner_id is not None, not t.valid))
    country_code, party_id = call.services.parties[0]
    return Token(
        country_code=country_code,
        party_id=party_id,
        uid=named.uid,
        type=named.type,
        contract_id=named.contract_id or named.uid,
        issuer="operator",
        valid=True,
        whitelist=Whitelist.ALWAYS,
    )


def _running(call: Call, evse_uid: str) -> str | None:
    """Return the id of the session that runs at an EVSE."""
    for state in call.services.stations.all():
        for _, evse in call.services.memory.sites.evses_of(state.record.identity):
            if evse.uid.lower() != evse_uid.lower() or evse.binding is None:
                continue
            numbers: set[int | None] = set(evse.binding.connector_ids.values())
            numbers = numbers or {evse.binding.evse_id}
            for transaction in state.open_transactions():
                if transaction.evse_id in numbers:
                    return transaction.id
    return None


def _parameters(body: Body) -> dict[str, Any]:
    named = {"timeout", "token", "authorization_reference", "session_id"}
    given = body.model_dump(mode="python", exclude_none=True, exclude=named)
    if isinstance(body, Reserve):
        given["expiry_date_time"] = body.expiry_date.astimezone(UTC)
        del given["expiry_date"]
    return given


async def _issue(call: Call, kind: CommandKind, request: dict[str, Any]) -> Answer:
    body = call.body
    key = call.request.headers.get("Idempotency-Key")
    if key is not None and (not 1 <= len(key) <= 255 or not key.isprintable()):
        raise Invalid("Idempotency-Key", "must have 1 to 255 printable characters")
    token = getattr(body, "token", None)
    connector = getattr(body, "connector_id", None)
    reservation = getattr(body, "reservation_id", None)
    command = await call.services.commands.request(
        Request(
            kind=kind,
            requested_by=call.actor.name,
            token=await _token(call, token) if token is not None else None,
            connector_id=connector if isinstance(connector, str) else None,
            authorization_reference=getattr(body, "authorization_reference", None),
            reservation_id=str(reservation) if reservation is not None else None,
            parameters=_parameters(body),
            idempotency_key=f"{call.actor.name}|{key}" if key is not None else None,
            timeout=body.timeout,
            **request,
        )
    )
    return _accepted(command)


def _accepted(command: Command) -> web.Response:
    return web.Response(
        body=write_json(shapes.command(command)),
        status=202,
        content_type="application/json",
        headers={"Location": f"/api/v1/commands/{command.id}"},
    )


def _to_evse(kind: CommandKind) -> Any:
    async def send(call: Call) -> Answer:
        uid = call.path["uid"]
        if call.services.memory.sites.find_evse(uid) is None:
            raise NotFound("evse", uid)
        request: dict[str, Any] = {"evse_uid": uid}
        if kind is CommandKind.STOP_SESSION:
            request["session_id"] = call.body.session_id or _running(call, uid)
            if request["session_id"] is None:
                raise Conflict(f"no session runs at EVSE {uid!r}")
        return await _issue(call, kind, request)

    return send


def _to_station(kind: CommandKind) -> Any:
    async def send(call: Call) -> Answer:
        identity = call.path["identity"]
        if call.services.stations.find(identity) is None:
            raise NotFound("station", identity)
        return await _issue(call, kind, {"station": identity})

    return send


async def list_(call: Call) -> Answer:
    """Return a page of commands."""
    page = await call.services.store.page(
        "commands", limit=call.limit(), cursor=call.cursor(), newest_first=call.newest_first()
    )
    items = [shapes.command(value) for value, _ in page.items]
    return {"items": items, "next_cursor": page.next_cursor}


async def get(call: Call) -> Answer:
    """Return a command and its outcome."""
    id_ = call.path["id"]
    value = await call.services.store.command(id_)
    if value is None:
        raise NotFound("command", id_)
    return shapes.command(value) | {"start": await call.services.starts.view(value)}


ROUTES = (
    *(
        Route(
            method="POST",
            path=f"/evses/{{uid}}/{kind.value}",
            handler=_to_evse(kind),
            scope="operate",
            tag="commands",
            summary=summary,
            body=model,
            answer=ref("Command"),
            status=202,
            parameters=(IDEMPOTENCY,),
            errors=(404, 409),
        )
        for kind, (model, summary) in EVSE_COMMANDS.items()
    ),
    *(
        Route(
            method="POST",
            path=f"/stations/{{identity}}/{kind.value}",
            handler=_to_station(kind),
            scope="operate",
            tag="commands",
            summary=summary,
            body=model,
            answer=ref("Command"),
            status=202,
            parameters=(IDEMPOTENCY,),
            errors=(404, 409),
        )
        for kind, (model, summary) in STATION_COMMANDS.items()
    ),
    Route(
        method="GET",
        path="/commands",
        handler=list_,
        scope="read",
        tag="commands",
        summary="List commands",
        answer=list_of("Command"),
        parameters=ORDERED,
    ),
    Route(
        method="GET",
        path="/commands/{id}",
        handler=get,
        scope="read",
        tag="commands",
        summary="Show a command and its outcome",
        answer=ref("Command"),
        errors=(404,),
    ),
)
