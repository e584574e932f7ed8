"""Cars that say what they need (2.x, K15): each gets a schedule within the limits that hold.

The schedule is a TxProfile on the lowest stack level: the profiles of partners, of the operator and
of a site's cap lead before it, so that it never hides one of them; it is computed anew when they
change. What was computed, and what the station said to it, is kept as `charging-plan`.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import structlog

from cpo.domain.command import Command, CommandKind, Outcome
from cpo.domain.limits import (
    Purpose,
    Step,
    capped,
    composite,
    differences,
    read_composite,
    scheduled,
)
from cpo.domain.needs import Needs, few, most_of, read_needs, supply_for
from cpo.domain.session import Session
from cpo.errors import CpoError, Invalid
from cpo.services.commands import Request
from cpo.services.equipment import CHOSEN
from cpo.services.limits import TOLERANCE_A, Limits
from cpo.services.memory import Memory
from cpo.services.ports import StationDocument, Store, Work
from cpo.services.share_profiles import SLACK, profile_number, rate_unit

log = structlog.get_logger()

ACTOR: Final = "charging needs"
NEEDS: Final = "charging-needs"
PLAN: Final = "charging-plan"
STACK_LEVEL: Final = 0
_AHEAD: Final = timedelta(hours=24)
_MOST_PERIODS: Final = 24
_CHANGES: Final = (CommandKind.SET_CHARGING_PROFILE, CommandKind.CLEAR_CHARGING_PROFILE)


class ChargingNeeds:
    """Answers cars with schedules."""

    def __init__(
        self, memory: Memory, store: Store, limits: Limits, *, now: Callable[[], datetime],
        delay: float = 0.1,
    ) -> None:  # fmt: skip
        self._memory = memory
        self._store = store
        self._limits = limits
        self._now = now
        self._delay = delay
        self._waiting: set[tuple[str, int]] = set()
        self._again: set[tuple[str, int]] = set()
        self._working: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._comparing: set[asyncio.Task[None]] = set()
        self._renegotiated: dict[tuple[str, int], str] = {}
        self._anew: set[tuple[str, int]] = set()

    async def asked(self, work: Work, station: str, sent: dict[str, Any], at: datetime) -> str:
        """Take a car's needs in; returns the status for the answer, the schedule follows it."""
        evse_id = int(sent["evseId"])
        work.put(StationDocument(station, NEEDS, str(evse_id), dict(sent), at))
        try:
            read_needs(sent)
        except Invalid as error:
            log.info("needs.rejected", station=station, problem=str(error))
            return "Rejected"
        work.then(lambda _: self.touch(station, evse_id))
        state = self._memory.stations.get(station)
        running = self._limits.running(state, evse_id) if state is not None else None
        return "Accepted" if running is not None else "Processing"

    def session(self, session: Session) -> None:
        """A transaction began: what its car asked for before can be answered now."""
        for station, evse_id in [key for key in self._waiting if key[0] == session.station]:
            self.touch(station, evse_id)

    def limits_changed(self, station: str) -> None:
        """Somebody's limit came or went: schedules that were sent are computed anew."""
        state = self._memory.stations.get(station)
        for transaction in state.open_transactions() if state is not None else ():
            if transaction.evse_id is not None:
                self.touch(station, transaction.evse_id)

    async def command_finished(self, command: Command) -> None:
        """A profile of somebody else was set or cleared."""
        if (
            command.kind in _CHANGES
            and command.requested_by != ACTOR
            and command.outcome is Outcome.ACCEPTED
        ):
            self.limits_changed(command.station)

    # --- what cars choose ------------------------------------------------------------------------

    def chosen(self, station: str, evse_id: int) -> None:
        """A car told which schedule it follows: compare it with what holds there (K17)."""
        task = asyncio.get_running_loop().create_task(self._compare(station, evse_id))
        self._comparing.add(task)
        task.add_done_callback(self._compared)

    def _compared(self, task: "asyncio.Task[None]") -> None:
        self._comparing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, CpoError):
                raise error
            log.warning("schedule.not_compared", error=str(error))

    async def _compare(self, station: str, evse_id: int) -> None:
        """Note where a schedule is above the limits; once in a transaction the car is told anew."""
        state = self._memory.stations.get(station)
        kept = await self._store.document(station, CHOSEN, str(evse_id))
        if state is None or kept is None:
            return
        sent = kept.document["chargingSchedule"]
        supply = self._limits.supply(station, evse_id)
        theirs = read_composite(
            {"schedule": sent, "scheduleStart": kept.document["timeBase"]},
            supply=supply,
            now=self._now(),
        )
        seconds = min(int(sent.get("duration") or _AHEAD.total_seconds()), _AHEAD.total_seconds())
        ours = await self._limits.schedule(station, evse_id, int(seconds))
        found = differences(
            ours.steps, theirs, start=ours.start, end=ours.end, supply=supply,
            tolerance_w=supply.watts(TOLERANCE_A),
        ) if theirs else ()  # fmt: skip
        above = [d for d in found if d.theirs_w is None or d.theirs_w > (d.ours_w or 0)]
        running = self._limits.running(state, evse_id)
        document = {
            **kept.document,
            "transaction": running.transaction if running is not None else None,
            "compared_at": self._now().isoformat(),
            "above": [
                {
                    "start": d.start.isoformat(),
                    "end": d.end.isoformat(),
                    "ours_w": d.ours_w,
                    "car_w": d.theirs_w,
                }
                for d in above
            ],
        }
        work = Work()
        work.put(StationDocument(station, CHOSEN, str(evse_id), document, kept.at))
        await self._store.commit(work)
        if not above:
            return
        log.warning("schedule.above_limits", station=station, evse=evse_id, times=len(above))
        key = (station, evse_id)
        if running is not None and self._renegotiated.get(key) != running.transaction:
            self._renegotiated[key] = running.transaction
            self._anew.add(key)
            self.touch(*key)

    # --- work -------------------------------------------------------------------------------------

    def touch(self, station: str, evse_id: int) -> None:
        """See to an EVSE soon."""
        key = (station, evse_id)
        self._again.add(key)
        if key not in self._working:
            self._start(key, self._work(key))

    def _start(self, key: tuple[str, int], job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._working[key] = task
        task.add_done_callback(lambda done: self._ended(key, done))

    def _ended(self, key: tuple[str, int], task: "asyncio.Task[None]") -> None:
        self._working.pop(key, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    async def _work(self, key: tuple[str, int]) -> None:
        # The answer to the station's own call goes out first, and changes come together.
        await asyncio.sleep(self._delay)
        while key in self._again:
            self._again.discard(key)
            try:
                await self._plan(*key)
            except CpoError as error:
                log.warning("needs.not_answered", station=key[0], evse=key[1], error=str(error))

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        while self._working or self._comparing:
            doing = [*self._working.values(), *self._comparing]
            await asyncio.gather(*doing, return_exceptions=True)

    async def close(self) -> None:
        """Stop what is under way."""
        self._again.clear()
        tasks = [*self._working.values(), *self._comparing]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _plan(self, station: str, evse_id: int) -> None:
        state = self._memory.stations.get(station)
        asked = await self._store.document(station, NEEDS, str(evse_id))
        if state is None or asked is None:
            return
        running = self._limits.running(state, evse_id)
        if running is None:
            self._waiting.add((station, evse_id))
            return
        self._waiting.discard((station, evse_id))
        transaction = state.transactions[running.transaction]
        if asked.at < transaction.received_at - _AHEAD:
            return  # the needs of another day's car
        try:
            needs = read_needs(asked.document)
        except Invalid:
            return  # the car was told so
        profile = await self._profile(station, evse_id, needs)
        before = await self._store.document(station, PLAN, str(evse_id))
        anew = (station, evse_id) in self._anew
        self._anew.discard((station, evse_id))
        if before is not None and not anew and _same(before.document, profile, running.transaction):
            return
        command = await self._limits.asking.run(
            Request(
                kind=CommandKind.SET_CHARGING_PROFILE,
                requested_by=ACTOR,
                station=station,
                parameters={"evse_id": evse_id, "profile": profile},
            )
        )
        work = Work()
        document = {
            "transaction": running.transaction,
            "asked_at": asked.at.isoformat(),
            "profile": profile,
            "outcome": str(command.outcome),
            "detail": command.detail,
            "command": command.id,
        }
        work.put(StationDocument(station, PLAN, str(evse_id), document, self._now()))
        await self._store.commit(work)

    async def _profile(self, station: str, evse_id: int, needs: Needs) -> dict[str, Any]:
        """Compute the schedule: as much as the car takes, within what all others allow."""
        now = self._now()
        supply = supply_for(needs, self._limits.supply(station, evse_id))
        number = profile_number(station, str(evse_id), Purpose.TX, evse_id)
        others = [p for p in await self._limits.profiles(station) if p.id != number]
        state = self._memory.stations[station]
        steps = composite(
            others, evse_id=evse_id, start=now, duration=_AHEAD, supply=supply,
            running=await self._limits.running_with_priority(state, evse_id),
        )  # fmt: skip
        steps = few(
            capped(steps, most_of(needs, supply)),
            min(needs.most_periods or _MOST_PERIODS, _MOST_PERIODS),
        )
        # A station whose clock is behind must not find the schedule in its future.
        steps = (Step(now - SLACK, steps[0].limit_w), *steps[1:])
        unit = await rate_unit(self._store, station, dc=needs.dc)
        bounded = replace(supply, most_w=most_of(needs, supply))
        return {
            "id": number,
            "stackLevel": STACK_LEVEL,
            "chargingProfilePurpose": str(Purpose.TX),
            "chargingProfileKind": "Absolute",
            "chargingSchedule": {
                "chargingRateUnit": unit,
                "startSchedule": (now - SLACK).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "chargingSchedulePeriod": scheduled(steps, unit=unit, supply=bounded),
            },
        }


def _same(plan: dict[str, Any], profile: dict[str, Any], transaction: str) -> bool:
    """Tell whether the station has this schedule already: one step that did not change."""
    if plan["outcome"] != Outcome.ACCEPTED or plan["transaction"] != transaction:
        return False
    old = plan["profile"]["chargingSchedule"]["chargingSchedulePeriod"]
    new = profile["chargingSchedule"]["chargingSchedulePeriod"]
    return len(old) == len(new) == 1 and _values(old[0]) == _values(new[0])


def _values(period: dict[str, Any]) -> dict[str, Any]:
    return {name: Decimal(str(value)) for name, value in period.items()}
