"""Charging profiles and limits of stations: what is installed, what follows from it, what they say.

The profiles that a station took are documents of its own (kind "charging-profile"), as are the
limits of others ("charging-limit"), what cars ask for ("charging-needs") and what they chose
("charging-schedule").
"""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import structlog

from cpo.domain.command import Command, CommandKind, CommandState, Outcome
from cpo.domain.limits import (
    Difference,
    Profile,
    ProfileKind,
    Purpose,
    Running,
    Step,
    Supply,
    composite,
    differences,
    read_composite,
    read_external,
    read_profile,
)
from cpo.domain.location import Connector, Evse
from cpo.domain.values import replace
from cpo.errors import Conflict, Invalid, NotFound
from cpo.services.commands import START_WINDOW, Commands, Request
from cpo.services.memory import Memory, StationState
from cpo.services.ports import Audit, StationDocument, Store, Work

log = structlog.get_logger()

PROFILE: Final = "charging-profile"
EXTERNAL: Final = "charging-limit"
PRIORITY: Final = "priority-charging"
# Half an ampere of rounding in a station is nobody's mistake.
TOLERANCE_A: Final = Decimal("0.5")
_MARGIN: Final = 5.0
# A start may be noted a moment before the answer to the request that caused it.
_CLOCK_SLACK: Final = timedelta(seconds=30)


def supply_of(connectors: Sequence[Connector]) -> Supply:
    """Return what feeds an EVSE, by its strongest connector."""
    supplies = [_supply(connector) for connector in connectors]
    return max(supplies, key=lambda s: s.most_w or Decimal(0), default=Supply())


def _supply(connector: Connector) -> Supply:
    voltage = Decimal(connector.max_voltage)
    return Supply(voltage=voltage, phases=connector.phases, most_w=connector.most_w)


class Asking:
    """Sends commands and waits for their ends."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._waiting: dict[str, asyncio.Future[Command]] = {}
        commands.on_finished.append(self._finished)

    async def _finished(self, command: Command) -> None:
        waiter = self._waiting.get(command.id)
        if waiter is not None and not waiter.done():
            waiter.set_result(command)

    async def run(self, request: Request) -> Command:
        """Carry a command out; one whose end is never told is a TIMEOUT."""
        command = await self._commands.request(request)
        if command.state is CommandState.DONE:
            return command
        waiter: asyncio.Future[Command] = asyncio.get_running_loop().create_future()
        self._waiting[command.id] = waiter
        seconds = (command.deadline - command.created_at).total_seconds() + _MARGIN
        try:
            async with asyncio.timeout(seconds):
                return await waiter
        except TimeoutError:
            return replace(command, state=CommandState.DONE, outcome=Outcome.TIMEOUT)
        finally:
            del self._waiting[command.id]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The limits at an EVSE over a stretch of time, by what we know is installed."""

    start: datetime
    end: datetime
    supply: Supply
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Our schedule beside the station's."""

    ours: Schedule
    command: Command
    theirs: tuple[Step, ...]
    differences: tuple[Difference, ...]


class Limits:
    """Shows and compares the limits of stations, and changes dynamic ones."""

    def __init__(
        self, memory: Memory, store: Store, commands: Commands, *, now: Callable[[], datetime]
    ) -> None:
        self._memory = memory
        self._store = store
        self._commands = commands
        self._now = now
        self.asking = Asking(commands)

    async def documents(self, identity: str) -> dict[str, list[StationDocument]]:
        """Return what is known of a station's limits, by kind; NotFound for no station.

        TxProfiles of transactions that are over went with them, and are forgotten here.
        """
        state = self._state(identity)
        running = {t.key for t in state.open_transactions()}
        found: dict[str, list[StationDocument]] = {
            kind: await self._store.documents(identity, kind)
            for kind in (PROFILE, EXTERNAL, "charging-needs", "charging-plan", "charging-schedule")
        }
        found[PROFILE] = await self._settled(state, found[PROFILE], running)
        return found

    async def _settled(
        self, state: StationState, profiles: list[StationDocument], running: set[str]
    ) -> list[StationDocument]:
        """Forget profiles of transactions that are over; tie those of remote starts to theirs."""
        work, kept = Work(), []
        for document in profiles:
            bound: StationDocument | None = document
            if document.document.get("remote_start") is not None:
                bound = _bound(document, state, self._now())
            if bound is None or _over(bound.document["profile"], running):
                work.delete(document)
                continue
            if bound is not document:
                work.put(bound)
            kept.append(bound)
        if work.ops:
            await self._store.commit(work)
        return kept

    async def profiles(self, identity: str) -> list[Profile]:
        """Return what limits a station, its own profiles and those of others."""
        found = await self.documents(identity)
        made = []
        for document in found[PROFILE]:
            try:
                made.append(
                    read_profile(document.document["profile"], int(document.document["evse_id"]))
                )
            except Invalid as error:
                # A purpose we cannot compute with (2.1: priority, local generation).
                log.info("limits.profile_skipped", station=identity, problem=str(error))
        for document in found[EXTERNAL]:
            try:
                made += read_external(document.document)
            except Invalid as error:
                log.info("limits.external_skipped", station=identity, problem=str(error))
        return made

    def supply(self, identity: str, evse_id: int) -> Supply:
        """Return what feeds an EVSE by its location; 3 x 230 V for one that is bound nowhere."""
        found = self._memory.sites.outlet(identity, evse_id or None, None)
        return supply_of(found[1].connectors) if found is not None else Supply()

    async def schedule(self, identity: str, evse_id: int, seconds: int) -> Schedule:
        """Compute the composite schedule at an EVSE from now on."""
        state = self._state(identity)
        start = self._now()
        supply = self.supply(identity, evse_id)
        duration = timedelta(seconds=seconds)
        steps = composite(
            await self.profiles(identity),
            evse_id=evse_id,
            start=start,
            duration=duration,
            supply=supply,
            running=await self.running_with_priority(state, evse_id),
        )
        return Schedule(start=start, end=start + duration, supply=supply, steps=steps)

    def running(self, state: StationState, evse_id: int | None) -> Running | None:
        """Return the transaction that runs at an EVSE."""
        return running_at(state, evse_id)

    async def running_with_priority(self, state: StationState, evse_id: int) -> Running | None:
        """Return it with whether priority charging is on for it (2.1)."""
        running = running_at(state, evse_id)
        if running is None:
            return None
        known = await self._store.document(state.record.identity, PRIORITY, running.transaction)
        on = known is not None and bool(known.document.get("activated"))
        return dataclasses.replace(running, priority=on)

    async def compare(self, identity: str, evse_id: int, seconds: int, *, actor: str) -> Comparison:
        """Ask the station for its composite schedule and list where it is not ours."""
        command = await self.asking.run(
            Request(
                kind=CommandKind.GET_COMPOSITE_SCHEDULE,
                requested_by=actor,
                station=identity,
                parameters={"evse_id": evse_id, "duration": seconds},
            )
        )
        ours = await self.schedule(identity, evse_id, seconds)
        theirs: tuple[Step, ...] = ()
        found: tuple[Difference, ...] = ()
        if command.outcome is Outcome.ACCEPTED:
            theirs = read_composite(command.payload, supply=ours.supply, now=ours.start)
            found = differences(
                ours.steps,
                theirs,
                start=ours.start,
                end=ours.end,
                supply=ours.supply,
                tolerance_w=ours.supply.watts(TOLERANCE_A),
            )
        return Comparison(ours=ours, command=command, theirs=theirs, differences=found)

    async def update_dynamic(
        self, identity: str, profile_id: int, limit: Decimal, *, actor: str
    ) -> dict[str, Any]:
        """Change the limit of a dynamic profile (2.1, K28); returns what the station answered.

        An offline station pulls the new limit when it is back. Raises NotFound, Conflict when the
        profile is not dynamic, StationTimeout, StationRefused.
        """
        self._state(identity)
        known = await self._store.document(identity, PROFILE, str(profile_id))
        if known is None:
            raise NotFound("charging profile", str(profile_id))
        if known.document["profile"]["chargingProfileKind"] != ProfileKind.DYNAMIC:
            raise Conflict(f"profile {profile_id} is not dynamic")
        work = Work()
        work.put(updated(known, limit, self._now()))
        work.put(Audit(self._now(), actor, "limit.dynamic", identity, f"{profile_id}: {limit}"))
        await self._store.commit(work)
        try:
            return await self._commands.call(
                identity,
                "UpdateDynamicSchedule",
                {"chargingProfileId": profile_id, "scheduleUpdate": {"limit": limit}},
                actor=actor,
            )
        except Conflict:
            return {"status": "Offline"}

    def _state(self, identity: str) -> StationState:
        state = self._memory.stations.get(identity)
        if state is None:
            raise NotFound("station", identity)
        return state


def running_at(state: StationState, evse_id: int | None) -> Running | None:
    """Return the transaction that runs at an EVSE."""
    found = state.open_at(evse_id)
    if found is None or not found.running:
        return None
    return Running(found.key, found.started_at)


def evse_numbers(evse: Evse) -> tuple[int, ...]:
    """Return the OCPP numbers that an EVSE stands for at its station (MAP-2)."""
    binding = evse.binding
    if binding is None:
        return ()
    return tuple(binding.connector_ids.values()) or (binding.evse_id or 1,)


def updated(known: StationDocument, limit: Decimal, at: datetime) -> StationDocument:
    """Return a dynamic profile's document with a new limit."""
    profile = dict(known.document["profile"])
    schedules = profile["chargingSchedule"]
    first = dict(schedules[0] if isinstance(schedules, list) else schedules)
    period = {**first["chargingSchedulePeriod"][0], "limit": limit}
    first["chargingSchedulePeriod"] = [period]
    profile["chargingSchedule"] = [first]
    profile["dynUpdateTime"] = at.isoformat()
    document = {**known.document, "profile": profile}
    return StationDocument(known.station, known.kind, known.key, document, at)


def _bound(document: StationDocument, state: StationState, now: datetime) -> StationDocument | None:
    """Return the profile of a remote start with its transaction; None when that never came."""
    began = document.at - _CLOCK_SLACK
    here = int(document.document["evse_id"])
    found = [
        t for t in state.transactions.values() if t.received_at >= began and here in (0, t.evse_id)
    ]
    if not found:
        return document if now - document.at < START_WINDOW else None
    first = min(found, key=lambda t: t.received_at)
    known = dict(document.document)
    del known["remote_start"]
    known["evse_id"] = first.evse_id or here
    known["profile"] = {**known["profile"], "transactionId": first.key}
    return StationDocument(document.station, PROFILE, document.key, known, document.at)


def _over(profile: Mapping[str, Any], running: set[str]) -> bool:
    transaction = profile.get("transactionId")
    return (
        profile["chargingProfilePurpose"] == Purpose.TX
        and transaction is not None
        and str(transaction) not in running
    )
