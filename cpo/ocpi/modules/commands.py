"""Commands, receiver interface: what partners may have our stations do."""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta

import structlog

from cpo.domain.command import Command, CommandKind, Outcome
from cpo.domain.location import Evse
from cpo.domain.session import SessionStatus
from cpo.domain.station import EvseStatus
from cpo.domain.tokens import Token
from cpo.errors import Conflict, CpoError, Invalid, NotFound
from cpo.ocpi.client import Client
from cpo.ocpi.dialect import CommandRequest
from cpo.ocpi.envelope import Status
from cpo.ocpi.exchange import Call, Party, Reply, Route
from cpo.ocpi.modules.sessions import find_session
from cpo.ocpi.results import Results
from cpo.ocpi.shelf import Shelf, Site
from cpo.services.commands import Commands as CommandBook
from cpo.services.commands import Request
from cpo.services.memory import Memory
from cpo.services.ports import Store
from cpo.services.reservations import Reservation, Reservations, charger_number

log = structlog.get_logger()

# The station gets this share of the time the eMSP waits, so that a TIMEOUT still reaches it.
STATION_SHARE = 0.8
# Nobody knows whether the station took the reservation: its partner can cancel it.
_MAY_HOLD = frozenset({Outcome.TIMEOUT, Outcome.OFFLINE})


class NotDone(Exception):
    """A command ends at once: its response and the OCPI status it comes with."""

    def __init__(
        self, result: str, message: str | None = None, status: int = Status.SUCCESS
    ) -> None:
        super().__init__(message)
        self.result = result
        self.message = message
        self.status = status


class Commands:
    """Takes commands; whether a station obeyed is told later, at the response URL."""

    identifier = "commands"
    role = "RECEIVER"

    def __init__(
        self,
        *,
        memory: Memory,
        store: Store,
        shelf: Shelf,
        client: Client,
        results: Results,
        reservations: Reservations,
        timeout: float,
    ) -> None:
        self._memory = memory
        self._store = store
        self._shelf = shelf
        self._guard = client.guard
        self._results = results
        self._reservations = reservations
        self._timeout = timeout
        self._book: CommandBook | None = None
        # Until when the station of an EVSE may still answer a start, by the EVSE's uid.
        self._starting: dict[str, datetime] = {}
        self.routes: Mapping[tuple[str, int], Route] = {("POST", 1): self.post}
        results.before.append(self._settle)

    def attach(self, book: CommandBook) -> None:
        """Say who carries commands out."""
        self._book = book
        book.on_finished.append(self._results.finished)

    async def post(self, call: Call) -> Reply:
        """Answer at once whether a command can be forwarded (CMD-2)."""
        name = call.segments[0].upper()
        if name not in call.dialect.commands:
            raise NotFound("command", call.segments[0])
        emsp = next((r for r in call.partner.roles if r.role == "EMSP"), None)
        request = call.dialect.codec.read_command(
            name,
            call.json(),
            owner=(emsp.country_code, emsp.party_id) if emsp is not None else None,
            partner_id=call.partner.id,
        )
        self._guard.check(request.response_url, "response_url")
        try:
            await self._take(call, request)
        except NotDone as answer:
            return self._reply(call, answer.result, answer.message, answer.status)
        return self._reply(call, "ACCEPTED")

    def _reply(
        self, call: Call, result: str, message: str | None = None, status: int = Status.SUCCESS
    ) -> Reply:
        seconds = max(1, round(self._timeout))
        return Reply(
            data=call.dialect.codec.command_response(result, seconds, message),
            status=status,
            message=message or "Success",
        )

    async def _take(self, call: Call, request: CommandRequest) -> None:
        if self._book is None:
            raise NotDone("REJECTED", "no stations here")
        keys = _keys(call, request, self._timeout)
        for key in keys:
            known = await self._store.command_by_idempotency_key(key)
            if known is not None and call.now < known.deadline:
                _repeat(known)
                return
        wanted = await self._wanted(call, request)
        self._one_start(call, wanted)
        try:
            command = await self._book.request(
                Request(
                    kind=wanted.kind,
                    requested_by=f"partner {call.partner.name}",
                    station=wanted.station,
                    evse_uid=wanted.evse_uid,
                    location_id=wanted.location_id,
                    connector_id=wanted.connector_id,
                    token=wanted.token,
                    session_id=wanted.session_id,
                    authorization_reference=wanted.authorization_reference,
                    reservation_id=request.reservation_id,
                    parameters=wanted.parameters,
                    partner_id=call.partner.id,
                    response_url=request.response_url,
                    version=call.dialect.version,
                    asked_of=call.us or wanted.asked_of or self._party(wanted),
                    asked_by=call.them,
                    idempotency_key=keys[0],
                    timeout=self._timeout * STATION_SHARE,
                )
            )
        except (NotFound, Conflict) as error:
            self._starting.pop(wanted.evse_uid or "", None)
            await self._not_reserved(call, wanted, request)
            kind = error.kind if isinstance(error, NotFound) else None
            # How a station calls itself is not the partner's business (S4).
            message = "the EVSE has no station" if kind == "station" else str(error)
            raise NotDone("UNKNOWN_SESSION" if kind == "session" else "REJECTED", message) from None
        if command.refused_at_once:
            self._starting.pop(wanted.evse_uid or "", None)
            await self._not_reserved(call, wanted, request)
        _repeat(command)

    def _one_start(self, call: Call, wanted: Request) -> None:
        """Let one start at a time go to an EVSE (S24): nobody fills a station's queue."""
        if wanted.kind is not CommandKind.START_SESSION or wanted.evse_uid is None:
            return
        if self._is_started(wanted.evse_uid, call.now):
            raise NotDone("REJECTED", "the EVSE is being started already")
        patience = timedelta(seconds=self._timeout * STATION_SHARE)
        self._starting[wanted.evse_uid] = call.now + patience

    def _is_started(self, evse_uid: str, now: datetime) -> bool:
        until = self._starting.get(evse_uid)
        return until is not None and now < until

    async def _not_reserved(self, call: Call, wanted: Request, request: CommandRequest) -> None:
        """Take back what was held for a reservation that no station was asked for."""
        if wanted.kind is CommandKind.RESERVE:
            held = self._reservations.find(call.partner.id, request.reservation_id or "")
            if held is not None:
                await self._reservations.refused(held)

    def _party(self, wanted: Request) -> Party | None:
        """Return whose location a command is for, to answer in that party's name."""
        location = self._memory.sites.locations.get(wanted.location_id or "")
        return None if location is None else (location.country_code, location.party_id)

    async def _wanted(self, call: Call, request: CommandRequest) -> Request:
        match request.name:
            case "START_SESSION":
                return self._start(call, request)
            case "STOP_SESSION":
                return await self._stop(call, request)
            case "RESERVE_NOW":
                return await self._reserve(call, request)
            case "CANCEL_RESERVATION":
                return self._cancel(call, request)
            case "UNLOCK_CONNECTOR":
                return self._unlock(call, request)
            case _:
                raise NotDone("NOT_SUPPORTED")

    def _start(self, call: Call, request: CommandRequest) -> Request:
        token = _own_token(call, request)
        site, evse = self._evse(call, request, need=False)
        evse = evse or self._free(site, call.now)
        _announced(call, evse, "REMOTE_START_STOP_CAPABLE")
        if (
            "START_SESSION_CONNECTOR_REQUIRED" in evse.capabilities
            and request.connector_id is None
            and len(evse.connectors) > 1
        ):
            raise Invalid("connector_id", "is required for this EVSE")
        return Request(
            kind=CommandKind.START_SESSION,
            requested_by="",
            location_id=site.location.id,
            evse_uid=evse.uid,
            connector_id=_connector(evse, request.connector_id),
            token=token,
            authorization_reference=request.authorization_reference,
        )

    async def _stop(self, call: Call, request: CommandRequest) -> Request:
        session = await find_session(self._store, request.session_id or "")
        if session is None:
            raise NotDone("UNKNOWN_SESSION")
        if session.partner_id != call.partner.id:
            raise NotDone("REJECTED", "not a session of yours")
        if session.status is not SessionStatus.ACTIVE and session.status is not (
            SessionStatus.PENDING
        ):
            raise NotDone("REJECTED", "the session has ended")
        return Request(
            kind=CommandKind.STOP_SESSION,
            requested_by="",
            session_id=session.id,
            asked_of=(session.country_code, session.party_id),
        )

    async def _reserve(self, call: Call, request: CommandRequest) -> Request:
        token = _own_token(call, request)
        site, evse = self._evse(call, request, need=False)
        partner_id, reservation_id = call.partner.id, request.reservation_id or ""
        held = self._reservations.find(partner_id, reservation_id)
        if evse is None and held is not None and held.location_id == site.location.id:
            evse = next((e for e in site.location.evses if e.uid == held.evse_uid), None)
        evse = evse or self._free(site, call.now)
        _announced(call, evse, "RESERVABLE")
        expires_at = request.expiry_date
        if expires_at is None or expires_at <= call.now:
            raise Invalid("expiry_date", "is in the past")
        if evse.binding is None:
            raise NotDone("REJECTED", "the EVSE has no station")
        number = charger_number(partner_id, reservation_id)
        await self._reservations.hold(
            Reservation(
                partner_id=partner_id,
                id=reservation_id,
                number=number,
                station=evse.binding.station,
                location_id=site.location.id,
                evse_uid=evse.uid,
                expires_at=expires_at,
                response_url=request.response_url,
                version=call.dialect.version,
                asked_by=call.them,
            )
        )
        return Request(
            kind=CommandKind.RESERVE,
            requested_by="",
            location_id=site.location.id,
            evse_uid=evse.uid,
            connector_id=_connector(evse, request.connector_id),
            token=token,
            authorization_reference=request.authorization_reference,
            parameters={
                "reservation_id": number,
                "expiry_date_time": expires_at.isoformat().replace("+00:00", "Z"),
            },
        )

    def _cancel(self, call: Call, request: CommandRequest) -> Request:
        held = self._reservations.find(call.partner.id, request.reservation_id or "")
        if held is None:
            raise NotDone("REJECTED", "unknown reservation")
        return Request(
            kind=CommandKind.CANCEL_RESERVATION,
            requested_by="",
            location_id=held.location_id,
            evse_uid=held.evse_uid,
            parameters={"reservation_id": held.number},
        )

    def _unlock(self, call: Call, request: CommandRequest) -> Request:
        if call.partner.policy.get("unlock") is False:
            raise NotDone("NOT_SUPPORTED", "not part of the contract")
        site, evse = self._evse(call, request, need=True)
        if evse is None:
            raise Invalid("evse_uid", "is missing")
        _announced(call, evse, "UNLOCK_CAPABLE")
        return Request(
            kind=CommandKind.UNLOCK,
            requested_by="",
            location_id=site.location.id,
            evse_uid=evse.uid,
            connector_id=_connector(evse, request.connector_id),
        )

    def _evse(self, call: Call, request: CommandRequest, *, need: bool) -> tuple[Site, Evse | None]:
        """Find location and EVSE; unknown ones are REJECTED with 2003 (CMD-6)."""
        site = self._shelf.site(request.location_id or "", call.partner)
        if site is None:
            raise NotDone("REJECTED", "unknown location", Status.UNKNOWN_LOCATION)
        if request.evse_uid is None:
            if need:
                raise Invalid("evse_uid", "is missing")
            if request.connector_id is not None:
                raise Invalid("evse_uid", "is needed with a connector_id")
            return site, None
        evse = next(
            (e for e in site.location.evses if e.uid.lower() == request.evse_uid.lower()), None
        )
        if evse is None:
            raise NotDone("REJECTED", "unknown EVSE", Status.UNKNOWN_LOCATION)
        if site.statuses.get(evse.uid) in {EvseStatus.REMOVED, EvseStatus.PLANNED}:
            raise NotDone("REJECTED", "the EVSE is not in service")
        return site, evse

    def _free(self, site: Site, now: datetime) -> Evse:
        """Choose an EVSE that is free and can be reached (CMD-10)."""
        for evse in site.location.evses:
            station = self._memory.stations.get(evse.binding.station) if evse.binding else None
            if (
                station is not None
                and station.online
                and site.statuses.get(evse.uid) == EvseStatus.AVAILABLE
                and not self._is_started(evse.uid, now)
            ):
                return evse
        raise NotDone("REJECTED", "no EVSE is available")

    async def _settle(self, command: Command) -> None:
        """Keep the books of starts and of reservations when a command about one ended."""
        if command.kind is CommandKind.START_SESSION:
            self._starting.pop(command.evse_uid or "", None)
        elif command.kind is CommandKind.RESERVE and command.partner_id is not None:
            held = self._reservations.find(command.partner_id, command.reservation_id or "")
            if held is not None:
                await self._reserved(held, command)
        elif command.kind is CommandKind.CANCEL_RESERVATION and command.outcome is Outcome.ACCEPTED:
            await self._cancelled(command)

    async def _reserved(self, held: Reservation, command: Command) -> None:
        before = self._reservations.moved_from(held)
        if command.outcome is Outcome.ACCEPTED:
            if before is not None:
                await self._release(before)
        elif before is not None or command.outcome not in _MAY_HOLD:
            await self._reservations.refused(held)

    async def _release(self, before: Reservation) -> None:
        """Have the station that a reservation was moved away from let it go."""
        if self._book is None:
            return
        try:
            await self._book.request(
                Request(
                    kind=CommandKind.CANCEL_RESERVATION,
                    requested_by="moved reservation",
                    station=before.station,
                    reservation_id=str(before.number),
                    parameters={"reservation_id": before.number},
                )
            )
        except CpoError as error:
            log.warning("reservation.not_released", station=before.station, error=str(error))

    async def _cancelled(self, command: Command) -> None:
        if command.partner_id is not None:
            held = self._reservations.find(command.partner_id, command.reservation_id or "")
        else:
            text = str(command.reservation_id or "")
            held = (
                self._reservations.by_number(command.station, int(text))
                if text.isdecimal()
                else None
            )
        if held is None:
            return
        await self._reservations.end(held)
        if command.partner_id is None:
            await self.cancelled_by_us(held)

    async def gone_at_station(self, station: str, number: int, expired: bool) -> None:
        """Forget a reservation that its station dropped; its partner is told unless it expired."""
        held = self._reservations.by_number(station, number)
        if held is None:
            return
        await self._reservations.end(held)
        if not expired:
            await self.cancelled_by_us(held)

    async def cancelled_by_us(self, held: Reservation) -> None:
        """Tell a partner that we cancelled its reservation (CMD-15); 2.1.1 has no word for it."""
        location = self._memory.sites.locations.get(held.location_id)
        await self._results.cancelled(
            held.partner_id,
            held.version,
            held.response_url,
            us=None if location is None else (location.country_code, location.party_id),
            them=None if held.asked_by is None else (held.asked_by[0], held.asked_by[1]),
        )


def _keys(call: Call, request: CommandRequest, timeout: float) -> tuple[str, str]:
    """Return what a repeat of this command is found by: in this stretch of time and the last.

    The same request within its timeout is not sent again (reliability 1.3).
    """
    digest = hashlib.sha256(
        b"\0".join((call.partner.id.encode(), request.name.encode(), call.body))
    ).hexdigest()
    stretch = int(call.now.timestamp() // max(timeout, 1.0))
    return f"ocpi:{digest}:{stretch}", f"ocpi:{digest}:{stretch - 1}"


def _repeat(command: Command) -> None:
    """Answer for a command; one that could not even be sent is REJECTED at once (CMD-6)."""
    if command.refused_at_once:
        raise NotDone("REJECTED", "the station is offline")


def _announced(call: Call, evse: Evse, capability: str) -> None:
    """Refuse what an EVSE does not announce, where the contract says so (CMD-17).

    Otherwise the station answers for itself: capabilities are only what an operator entered.
    """
    wanted = call.partner.policy.get("commands_by_capability")
    if wanted and capability not in evse.capabilities:
        raise NotDone("NOT_SUPPORTED", f"the EVSE does not announce {capability}")


def _own_token(call: Call, request: CommandRequest) -> Token:
    token = request.token
    if token is None:
        raise Invalid("token", "is missing")
    if not call.acts_for(token.country_code, token.party_id):
        raise Invalid("token.party_id", "is not one of your parties")
    return token


def _connector(evse: Evse, wanted: str | None) -> str | None:
    if wanted is None:
        return None
    for connector in evse.connectors:
        if connector.id.lower() == wanted.lower():
            return connector.id
    raise Invalid("connector_id", "is not one of this EVSE")
