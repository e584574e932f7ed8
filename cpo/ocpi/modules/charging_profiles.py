"""Charging profiles, receiver interface: limits that an eMSP sets on its driver's session (CP)."""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

import structlog

from cpo.domain.command import Command, CommandKind, Outcome
from cpo.domain.session import Session, SessionStatus
from cpo.errors import Conflict, CpoError, Invalid, NotFound
from cpo.ocpi import exact_json
from cpo.ocpi.client import Client
from cpo.ocpi.dialect import ChargingProfile, Dialect
from cpo.ocpi.envelope import instant
from cpo.ocpi.exchange import Call, Reply, Route
from cpo.ocpi.freight import ActiveProfile
from cpo.ocpi.modules.sessions import find_session
from cpo.ocpi.results import Results
from cpo.services.commands import Commands as CommandBook
from cpo.services.commands import Request
from cpo.services.ports import Kind, Now, StationDocument, Store, Work

log = structlog.get_logger()

# Kept beside the documents about stations, under a name that no station can have.
SHELF = "\x1fcharging profiles"
STACK_LEVEL = 1
STATION_SHARE = 0.8
# How far ahead an active profile is told (CP-3: 5 to 60 minutes).
AHEAD = timedelta(minutes=60)
LONGEST_QUESTION = 24 * 3600
# Why a station is asked for what holds; after a profile was cleared there may be none.
CHANGED, CLEARED = "active profile", "active profile after clearing"


class ChargingProfiles:
    """Sets, clears and shows the charging profile of a partner's session, at the station."""

    identifier = "chargingprofiles"
    role = "RECEIVER"

    def __init__(
        self,
        *,
        store: Store,
        client: Client,
        results: Results,
        dialects: Mapping[str, Dialect],
        now: Now,
        timeout: float,
        interval: float = 60.0,
    ) -> None:
        self._store = store
        self._guard = client.guard
        self._dialects = dialects
        self._now = now
        self._timeout = timeout
        self._interval = timedelta(seconds=interval)
        self._book: CommandBook | None = None
        self._set_at: dict[str, datetime] = {}
        # Sessions whose partner once set a profile and is told of every change since (CP-3).
        self._told: dict[str, dict[str, Any]] = {}
        self.routes: Mapping[tuple[str, int], Route] = {
            ("GET", 1): self.get,
            ("PUT", 1): self.put,
            ("DELETE", 1): self.delete,
        }
        results.before.append(self._finished)
        for kind in (CommandKind.SET_CHARGING_PROFILE, CommandKind.CLEAR_CHARGING_PROFILE):
            results.body[kind] = self._plain_result
        results.body[CommandKind.GET_COMPOSITE_SCHEDULE] = self._profile_result

    async def load(self) -> None:
        """Read which sessions' partners are told of changes."""
        for found in await self._store.documents(SHELF):
            self._told[found.key] = found.document

    def attach(self, book: CommandBook) -> None:
        """Say who carries commands out."""
        self._book = book

    async def put(self, call: Call) -> Reply:
        """Set the profile."""
        profile, response_url = call.dialect.codec.read_set_charging_profile(call.json())
        self._guard.check(response_url, "response_url")
        session, refusal = await self._session(call)
        if session is None:
            return self._reply(call, refusal)
        last = self._set_at.get(session.id)
        if last is not None and call.now - last < self._interval:
            return self._reply(call, "TOO_OFTEN")
        reply = await self._ask(
            call,
            session,
            CommandKind.SET_CHARGING_PROFILE,
            response_url,
            {"profile": station_profile(session, profile)},
        )
        self._set_at = {s: at for s, at in self._set_at.items() if call.now - at < self._interval}
        self._set_at[session.id] = call.now
        return reply

    async def delete(self, call: Call) -> Reply:
        """Clear the profile; only ours, never one of the operator (CP-7)."""
        response_url = self._guard.check(_response_url(call), "response_url")
        session, refusal = await self._session(call)
        if session is None:
            return self._reply(call, refusal)
        return await self._ask(
            call,
            session,
            CommandKind.CLEAR_CHARGING_PROFILE,
            response_url,
            {"profile_id": profile_number(session.id)},
        )

    async def get(self, call: Call) -> Reply:
        """Ask the station which limits hold from now on."""
        response_url = self._guard.check(_response_url(call), "response_url")
        duration = call.query.get("duration", "")
        if not (duration.isascii() and duration.isdigit() and 1 <= len(duration) <= 9):
            raise Invalid("duration", "must be a number of seconds")
        session, refusal = await self._session(call)
        if session is None:
            return self._reply(call, refusal)
        return await self._ask(
            call,
            session,
            CommandKind.GET_COMPOSITE_SCHEDULE,
            response_url,
            {"duration": min(int(duration), LONGEST_QUESTION)},
        )

    async def _session(self, call: Call) -> tuple[Session | None, str]:
        """Find the partner's own running session; else say why not (CP-4)."""
        session = await find_session(self._store, call.segments[0])
        if session is None or session.partner_id != call.partner.id:
            return None, "UNKNOWN_SESSION"
        if session.status is not SessionStatus.ACTIVE:
            return None, "REJECTED"
        return session, ""

    async def _ask(
        self,
        call: Call,
        session: Session,
        kind: CommandKind,
        response_url: str,
        parameters: dict[str, Any],
    ) -> Reply:
        if self._book is None:
            return self._reply(call, "REJECTED")
        try:
            command = await self._book.request(
                Request(
                    kind=kind,
                    requested_by=f"partner {call.partner.name}",
                    session_id=session.id,
                    parameters=parameters,
                    partner_id=call.partner.id,
                    response_url=response_url,
                    version=call.dialect.version,
                    asked_of=(session.country_code, session.party_id),
                    asked_by=call.them,
                    timeout=self._timeout * STATION_SHARE,
                )
            )
        except (NotFound, Conflict):
            return self._reply(call, "REJECTED")
        if command.refused_at_once:
            return self._reply(call, "REJECTED")
        return self._reply(call, "ACCEPTED")

    def _reply(self, call: Call, result: str) -> Reply:
        seconds = max(1, round(self._timeout))
        return Reply(data=call.dialect.codec.charging_profile_response(result, seconds))

    # --- results --------------------------------------------------------------------------------

    def _plain_result(self, command: Command) -> bytes:
        codec = self._dialects[command.version or "2.2.1"].codec
        return codec.charging_profile_result(_result(command))

    def _profile_result(self, command: Command) -> bytes:
        codec = self._dialects[command.version or "2.2.1"].codec
        profile = composite(command.payload, self._now())
        if command.outcome is not Outcome.ACCEPTED or profile is None:
            return codec.charging_profile_result(
                "REJECTED" if command.outcome is not Outcome.ACCEPTED else "UNKNOWN"
            )
        return codec.charging_profile_result("ACCEPTED", profile)

    # --- the active profile, told when it changes -------------------------------------------------

    def active(self, session_id: str) -> ActiveProfile | None:
        """Return a session's active profile, for the push."""
        told = self._told.get(session_id)
        if told is None or told.get("profile") is None:
            return None
        owner, driver = told["party"], told.get("driver")
        return ActiveProfile(
            us=(owner[0], owner[1]),
            them=None if driver is None else (driver[0], driver[1]),
            profile=_read(told["profile"]),
        )

    async def changed(self, session_id: str, why: str = CHANGED) -> None:
        """A session's limits changed otherwise: its station is asked what holds now (CP-3)."""
        if session_id not in self._told or self._book is None:
            return
        try:
            await self._book.request(
                Request(
                    kind=CommandKind.GET_COMPOSITE_SCHEDULE,
                    requested_by=why,
                    session_id=session_id,
                    parameters={"duration": int(AHEAD.total_seconds())},
                    timeout=self._timeout,
                )
            )
        except CpoError as error:
            log.info("profile.not_asked", session=session_id, error=str(error))

    async def _finished(self, command: Command) -> None:
        if command.kind is CommandKind.GET_COMPOSITE_SCHEDULE:
            await self._answered(command)
            return
        if command.outcome is not Outcome.ACCEPTED:
            return
        if command.kind not in {
            CommandKind.SET_CHARGING_PROFILE,
            CommandKind.CLEAR_CHARGING_PROFILE,
        }:
            return
        if command.session_id is not None and command.partner_id is not None:
            if command.kind is CommandKind.SET_CHARGING_PROFILE:
                await self._subscribe(command.session_id, command.partner_id)
            cleared = command.kind is CommandKind.CLEAR_CHARGING_PROFILE
            await self.changed(command.session_id, CLEARED if cleared else CHANGED)
            return
        # The operator changed limits of a station: all sessions told of there may be concerned.
        for session_id, told in list(self._told.items()):
            if told.get("station") == command.station:
                await self.changed(session_id)

    async def _answered(self, command: Command) -> None:
        """Tell what a station says that holds; where no profile is left, what the EVSE can do."""
        if command.session_id not in self._told or command.requested_by not in {CHANGED, CLEARED}:
            return
        profile = None
        if command.outcome is Outcome.ACCEPTED:
            profile = composite(command.payload, self._now())
        if command.requested_by == CLEARED and (profile is None or not profile.periods):
            profile = await self._maximum(command.session_id)
        await self._tell(command.session_id, profile)

    async def _maximum(self, session_id: str) -> ChargingProfile | None:
        session: Session | None = await self._store.session(session_id)
        if session is None or session.snapshot is None:
            return None
        places = (c for evse in session.snapshot.location.evses for c in evse.connectors)
        most = max((c.max_amperage for c in places), default=None)
        if most is None:
            return None
        return ChargingProfile(
            charging_rate_unit="A",
            periods=((0, Decimal(most)),),
            start_date_time=self._now().replace(microsecond=0),
            duration=int(AHEAD.total_seconds()),
        )

    async def _subscribe(self, session_id: str, partner_id: str) -> None:
        session: Session | None = await self._store.session(session_id)
        if session is None or session_id in self._told:
            return
        for old in list(self._told):
            known: Session | None = await self._store.session(old)
            if known is None or known.status is not SessionStatus.ACTIVE:
                await self._keep(old, None)
        await self._keep(
            session_id,
            {
                "partner_id": partner_id,
                "station": session.station,
                "party": [session.country_code, session.party_id],
                "driver": session.token and [session.token.country_code, session.token.party_id],
                "profile": None,
            },
        )

    async def _tell(self, session_id: str, profile: ChargingProfile | None) -> None:
        told = self._told.get(session_id)
        if told is None or profile is None:
            return
        document = _written(profile)
        if document == told.get("profile"):
            return
        await self._keep(session_id, {**told, "profile": document}, mark=told["partner_id"])

    async def _keep(
        self, session_id: str, document: dict[str, Any] | None, *, mark: str | None = None
    ) -> None:
        work = Work()
        row = StationDocument(SHELF, "session", session_id, document or {}, self._now())
        if document is None:
            work.delete(row)
            work.then(lambda _: self._told.pop(session_id, None) and None)
        else:
            work.put(row)
            work.then(lambda _: self._told.__setitem__(session_id, document))
        if mark is not None:
            work.mark([mark], Kind.ACTIVE_PROFILE, session_id)
        await self._store.commit(work)


def profile_number(session_id: str) -> int:
    """Return the positive 31-bit number a station knows a session's profile by."""
    digest = hashlib.blake2b(f"profile {session_id}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % (2**31 - 1) + 1


def station_profile(session: Session, profile: ChargingProfile) -> dict[str, Any]:
    """Write a partner's profile as OCPP 2.x does: a limit on the session's transaction (CP-7)."""
    schedule: dict[str, Any] = {
        "chargingRateUnit": profile.charging_rate_unit,
        "chargingSchedulePeriod": [
            {"startPeriod": start, "limit": _one_decimal(limit)} for start, limit in profile.periods
        ]
        or [{"startPeriod": 0, "limit": _one_decimal(profile.min_charging_rate or Decimal(0))}],
    }
    if profile.duration is not None:
        schedule["duration"] = profile.duration
    if profile.start_date_time is not None:
        schedule["startSchedule"] = exact_json.instant(profile.start_date_time)
    if profile.min_charging_rate is not None:
        schedule["minChargingRate"] = _one_decimal(profile.min_charging_rate)
    return {
        "id": profile_number(session.id),
        "stackLevel": STACK_LEVEL,
        "chargingProfilePurpose": "TxProfile",
        "chargingProfileKind": "Relative" if profile.start_date_time is None else "Absolute",
        "chargingSchedule": schedule,
    }


def composite(answer: Mapping[str, Any], now: datetime) -> ChargingProfile | None:
    """Read the answer to GetCompositeSchedule of either OCPP; None when no schedule is in it."""
    schedule = answer.get("schedule") or answer.get("chargingSchedule")
    if not isinstance(schedule, Mapping):
        return None
    start = (
        answer.get("scheduleStart")
        or schedule.get("scheduleStart")
        or schedule.get("startSchedule")
    )
    periods = schedule.get("chargingSchedulePeriod") or []
    try:
        return ChargingProfile(
            charging_rate_unit=str(schedule.get("chargingRateUnit", "W")),
            periods=tuple((int(p["startPeriod"]), Decimal(str(p["limit"]))) for p in periods),
            start_date_time=instant(str(start), "scheduleStart") if start else now,
            duration=int(schedule["duration"]) if "duration" in schedule else None,
        )
    except (Invalid, ArithmeticError, KeyError, TypeError, ValueError):
        return None


def _one_decimal(limit: Decimal) -> float | int:
    """Write a limit for OCPP's JSON: watt or ampere, one decimal, never energy or money."""
    rounded = limit.quantize(Decimal("0.1"))
    return int(rounded) if rounded == rounded.to_integral_value() else float(rounded)


def _result(command: Command) -> str:
    if command.outcome is Outcome.ACCEPTED:
        return "ACCEPTED"
    if str(command.payload.get("status", "")) == "Unknown":
        return "UNKNOWN"
    return "REJECTED"


def _written(profile: ChargingProfile) -> dict[str, Any]:
    return {
        "unit": profile.charging_rate_unit,
        "periods": [[start, str(limit)] for start, limit in profile.periods],
        "start": profile.start_date_time.isoformat() if profile.start_date_time else None,
        "duration": profile.duration,
    }


def _read(document: Mapping[str, Any]) -> ChargingProfile:
    start = document["start"]
    return ChargingProfile(
        charging_rate_unit=document["unit"],
        periods=tuple((int(at), Decimal(limit)) for at, limit in document["periods"]),
        start_date_time=datetime.fromisoformat(start) if start else None,
        duration=document["duration"],
    )


def _response_url(call: Call) -> str:
    """Return the response URL of a query, also with its own `?` and `&` left unencoded (CP-9)."""
    given = call.query.get("response_url", "")
    name, _, rest = call.raw_query.partition("response_url=")
    if not rest or "://" not in rest.partition("&")[0] or "&" not in rest:
        return given
    # Unencoded: everything that follows belongs to it, but for a duration at its end.
    head, mark, tail = rest.rpartition("&duration=")
    if mark and tail.isdigit() and "duration=" not in name:
        rest = head
    return unquote(rest)
