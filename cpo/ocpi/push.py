"""Pushing to partners: one lane each, newest state only, until it is confirmed (design D4).

A commit wakes the lanes of the partners concerned (D21). A lane knows which of
its objects the partner has not heard of; what is sent is made from the newest
state at the moment of sending. Nothing waits behind another partner.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappop, heappush
from itertools import count
from typing import Any

import structlog

from cpo.domain.partner import Partner, PartnerStatus
from cpo.domain.quirks import Quirks
from cpo.domain.values import replace
from cpo.errors import CpoError, StoreUnavailable
from cpo.ocpi.client import Answer, Client
from cpo.ocpi.delivery import (
    CLOSED,
    FRESH,
    PARTNER_FAULTS,
    Allowance,
    Attempts,
    Breaker,
    Failure,
    Patience,
    held_until,
)
from cpo.ocpi.freight import Freight, HeldBack, Item, Nothing, NotNow, Parcel, Speaks
from cpo.ocpi.habits import Lessons
from cpo.services.partners import Partners
from cpo.services.ports import Delivery, DirtyMark, Kind, Now, Store, Work
from cpo.telemetry import Metrics

log = structlog.get_logger()

# An object that leaves: for whom, what, and its unit.
Departure = tuple[Partner, Item, str]

MOST_IN_FLIGHT = 4
ORDER = {
    Kind.TARIFF: 0,
    Kind.LOCATION: 1,
    Kind.EVSE: 2,
    Kind.SESSION: 3,
    Kind.ACTIVE_PROFILE: 4,
    Kind.CDR: 5,
}
# What is settled is written down together: after so many seconds, or when there is so much.
NOTES_AFTER = 0.05
NOTES_AT_ONCE = 200
# Nothing waits longer for the answer to a handshake, in seconds: whoever should tell of it is gone.
LONGEST_HOLD = 30.0
# A slow look at everything, for what a lost wake-up or a missed timer might leave behind.
SWEEP_INTERVAL = 60.0
# Finding a moved endpoint is tried at most this often, in seconds.
REFRESH_INTERVAL = 600.0


@dataclass(slots=True)
class Load:
    """An object that a partner has not heard of in its newest form."""

    mark: DirtyMark
    attempts: Attempts = FRESH
    held_until: float = 0.0
    # Piled up in an outage or before a start: leaves at the drain rate.
    piled_up: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How lanes go, in seconds; `drain_rate` is objects a second after an outage, 0 = no limit."""

    patience: Patience = field(default_factory=Patience)
    status_debounce: float = 1.0
    drain_rate: float = 50.0
    in_flight: int = MOST_IN_FLIGHT


class Push:
    """All lanes of this node."""

    def __init__(
        self,
        *,
        store: Store,
        partners: Partners,
        client: Client,
        freight: Freight,
        speaks: Speaks,
        pace: Pace,
        now: Now,
        metrics: Metrics,
        refresh: Callable[[Partner], Any] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.store = store
        self.partners = partners
        self.client = client
        self.freight = freight
        self.speaks = speaks
        self.pace = pace
        self.now = now
        self.metrics = metrics
        self.refresh = refresh
        self.jitter = jitter
        # One of several nodes asks before each request whether it may still be the one that sends.
        self.may_send: Callable[[], bool] = lambda: True
        self._lanes: dict[str, Lane] = {}
        # Whose handshake is not answered yet, and until when that is waited for at most.
        self._held: dict[str, float] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._stopped = False

    async def start(self) -> None:
        """Load what is unheard and begin to send."""
        self.store.on_commit(self.committed)
        # Parents first, so that nothing is packed only to wait for what stands behind it.
        marks = await self.store.dirty()
        marks.sort(key=lambda m: (ORDER[m.kind], m.since))
        for mark in marks:
            self._lane(mark.partner_id).load(mark, backlog=True)
        del marks
        self.metrics.outbox_pending.read_from(self._pending)
        self.metrics.outbox_oldest_age.read_from(self._ages)
        self._sweeper = asyncio.create_task(self._sweep())
        for lane in self._lanes.values():
            lane.pump()

    async def stop(self) -> None:
        """Stop sending; what is under way is cut, and stays unheard."""
        self._stopped = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for lane in self._lanes.values():
            await lane.stop()

    def hold(self, partner_id: str) -> None:
        """Send a partner nothing while it waits for our answer to its handshake.

        It cannot know us before: what reached it would be refused, and be taken for a failure.
        """
        self._held[partner_id] = _now() + LONGEST_HOLD

    def let_go(self, partner_id: str) -> None:
        """Send a partner what waits for it."""
        self._held.pop(partner_id, None)
        lane = self._lanes.get(partner_id)
        if lane is not None and not self._stopped:
            lane.pump()

    def held_until(self, partner_id: str, now: float) -> float | None:
        """Tell until when nothing is sent to a partner, None when it is."""
        until = self._held.get(partner_id) if self._held else None
        return until if until is not None and until > now else None

    def committed(self, marks: Sequence[DirtyMark]) -> None:
        """Take the marks of a commit and wake the lanes concerned."""
        if self._stopped:
            return
        woken = set()
        for mark in marks:
            lane = self._lane(mark.partner_id)
            lane.load(mark, backlog=False)
            woken.add(lane)
        for lane in woken:
            lane.pump()

    def changed(self, partner: Partner) -> None:
        """Take note that a partner's connection changed: it is tried again at once."""
        lane = self._lanes.get(partner.id)
        if lane is not None and not self._stopped:
            lane.changed(partner)

    def called(self, partner_id: str) -> None:
        """Take note that a partner called us: it is alive, so a probe is due (PUSH-7)."""
        lane = self._lanes.get(partner_id)
        if lane is not None and not self._stopped:
            lane.alive()

    def reachable(self, partner_id: str) -> None:
        """Take note that a hub told anew who is connected to it (HUB-2)."""
        lane = self._lanes.get(partner_id)
        if lane is not None and not self._stopped:
            lane.reachable()

    def backlog(self, partner_id: str) -> list[DirtyMark]:
        """Return what a partner has not confirmed yet, oldest first."""
        lane = self._lanes.get(partner_id)
        return [] if lane is None else lane.backlog()

    def state(self, partner_id: str) -> dict[str, Any]:
        """Return how sending to a partner goes."""
        lane = self._lanes.get(partner_id)
        return {} if lane is None else lane.state()

    def _lane(self, partner_id: str) -> "Lane":
        lane = self._lanes.get(partner_id)
        if lane is None:
            lane = self._lanes[partner_id] = Lane(self, partner_id)
        return lane

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            for lane in list(self._lanes.values()):
                lane.pump()

    def _pending(self) -> dict[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {}
        for lane in self._lanes.values():
            for kind, number in lane.pending().items():
                found[lane.partner_id, kind] = number
        return found

    def _ages(self) -> dict[tuple[str, ...], float]:
        now = self.now()
        return {
            (lane.partner_id,): (now - oldest).total_seconds()
            for lane in self._lanes.values()
            if (oldest := lane.oldest()) is not None
        }


class Lane:
    """What goes to one partner."""

    def __init__(self, push: Push, partner_id: str) -> None:
        self._push = push
        self.partner_id = partner_id
        self._loads: dict[Item, Load] = {}
        # How many of them are EVSEs: a location sent whole settles those of its own.
        self._statuses = 0
        # Ready to be looked at, in order; what piled up in an outage goes slower.
        self._fresh: dict[Item, None] = {}
        self._backlog: dict[Item, None] = {}
        self._turn_of_fresh = True
        self._later: list[tuple[float, int, Item]] = []
        self._waiting: dict[Item, list[Item]] = {}
        self._aside: dict[Item, None] = {}
        self._busy: set[str] = set()
        self._in_flight = 0
        self._order = count()
        partner = push.partners.get(partner_id)
        self._connection = None if partner is None else _connection(partner)
        self._alive_at = 0.0
        self._lessons = Lessons()
        self._confirmed: set[str] = set()
        self._sent_at: dict[Item, float] = {}
        self._breaker: Breaker = CLOSED
        self._successes = 0
        self._refreshed_at: float | None = None
        self._last_error: str | None = None
        self._last_success: datetime | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._notes = Work()
        self._notes_timer: asyncio.TimerHandle | None = None
        self._writing: set[asyncio.Task[None]] = set()
        rate = push.pace.drain_rate
        self._allowance = Allowance(rate, max(rate / 10, 1.0), max(rate / 10, 1.0), 0.0)

    # --- what there is to send ------------------------------------------------------------------

    def load(self, mark: DirtyMark, *, backlog: bool) -> None:
        """Take a mark in: a new generation unparks and forgets earlier failures."""
        item = (mark.kind, mark.object_id)
        known = self._loads.get(item)
        if known is not None:
            if mark.generation <= known.mark.generation:
                return
            mark = replace(mark, since=known.mark.since)
        parked = mark.parked and known is None
        load = Load(mark, piled_up=backlog or self._breaker.until is not None)
        if known is not None:
            load.piled_up |= known.piled_up
        if mark.attempts or parked:
            load.attempts = Attempts(mark.attempts, 0.0, mark.last_error or "", parked=parked)
        if known is not None and not known.attempts.parked:
            load.attempts = known.attempts
        self._loads[item] = load
        self._statuses += known is None and mark.kind is Kind.EVSE
        if parked:
            return
        if mark.kind is Kind.EVSE:
            load.held_until = held_until(
                self._sent_at.get(item), self._push.pace.status_debounce, urgent=False
            )
        self._enqueue(item)

    def _enqueue(self, item: Item) -> None:
        """Put an object last in line, or aside until it is due."""
        self._fresh.pop(item, None)
        self._backlog.pop(item, None)
        load = self._loads[item]
        due = max(load.attempts.due, load.held_until)
        if due > _now():
            heappush(self._later, (due, next(self._order), item))
        else:
            self._line_up(item, load)

    def _line_up(self, item: Item, load: Load) -> None:
        (self._backlog if load.piled_up else self._fresh)[item] = None

    def _found_well(self) -> None:
        if self._breaker.until is not None:
            self._no_longer_wait()
        self._breaker = self._breaker.succeeded()

    def _no_longer_wait(self) -> None:
        """Let what failed leave: it was the partner that it waited for."""
        later, self._later = self._later, []
        for _, _, item in later:
            load = self._loads.get(item)
            if load is not None and not load.attempts.parked:
                load.attempts = replace(load.attempts, due=0.0)
                self._enqueue(item)

    def changed(self, partner: Partner) -> None:
        """The partner registered anew or moved: what it confirmed before counts no more."""
        connection = _connection(partner)
        if connection == self._connection:
            return
        self._connection = connection
        self._lessons = Lessons()
        self._confirmed.clear()
        self._breaker = CLOSED
        for item, load in self._loads.items():
            if not load.attempts.parked:
                load.attempts = replace(load.attempts, due=0.0)
                self._enqueue(item)
        self.pump()

    def reachable(self) -> None:
        """A party behind this hub may be connected again: what waited for it is looked at."""
        aside, self._aside = self._aside, {}
        for item in aside:
            load = self._loads.get(item)
            if load is not None:
                load.piled_up = True
                self._enqueue(item)
        self.pump()

    def alive(self) -> None:
        """The partner called us: the next probe may leave now."""
        now = _now()
        breaker = self._breaker
        if breaker.until is None or breaker.until <= now or breaker.reason is not Failure.NETWORK:
            return
        if now - self._alive_at >= self._push.pace.patience.shortest:
            self._alive_at = now
            self._breaker = replace(breaker, until=now)
            self._no_longer_wait()
            self.pump()

    # --- sending --------------------------------------------------------------------------------

    def pump(self) -> None:
        """Start every request that may leave now, and be woken when the next one may."""
        self._pump(spare=False)

    def _pump(self, *, spare: bool) -> Departure | None:
        """Start every request that may leave now; a caller with a spare task gets the first."""
        partner = self._push.partners.get(self.partner_id)
        if partner is None or partner.status is not PartnerStatus.CONNECTED:
            return None
        first: Departure | None = None
        now = _now()
        held = self._push.held_until(self.partner_id, now)
        if held is not None:
            self._wake_at(held)
            return None
        while self._later and self._later[0][0] <= now:
            item = heappop(self._later)[2]
            load = self._loads.get(item)
            if load is not None:
                self._line_up(item, load)
        wake: float | None = None
        while self._breaker.allows(now, self._in_flight, limit=self._push.pace.in_flight):
            item_or_none, wake = self._next(now)
            if item_or_none is None:
                break
            unit = self._push.freight.unit(*item_or_none)
            self._busy.add(unit)
            self._in_flight += 1
            departure = (partner, item_or_none, unit)
            if spare and first is None:
                first = departure
                continue
            task = asyncio.create_task(self._run(departure))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        until = self._breaker.until
        if until is not None and until > now:
            wake = until if self._loads else None
        elif self._later:
            wake = _earlier(wake, self._later[0][0])
        if wake is not None:
            self._wake_at(wake)
        return first

    def _next(self, now: float) -> tuple[Item | None, float | None]:
        """Take the next object that may leave; else say when one of the backlog may.

        Where the partner is slower than the drain rate, changes and backlog take turns: neither may
        keep the other waiting.
        """
        item = self._pick(self._fresh) if self._turn_of_fresh else None
        self._turn_of_fresh = False
        if item is not None:
            return item, None
        later: float | None = None
        if self._backlog:
            allowance, wait = self._allowance.take(now)
            item = self._pick(self._backlog) if not wait else None
            if item is not None:
                self._allowance = allowance
                self._turn_of_fresh = True
                return item, None
            later = now + wait if wait else None
        return self._pick(self._fresh), later

    def _pick(self, queue: dict[Item, None]) -> Item | None:
        """Take the first whose unit is not under way; drop what is settled or parked."""
        unit_of = self._push.freight.unit
        while True:
            for item in queue:
                load = self._loads.get(item)
                stale = load is None or load.attempts.parked
                if stale or unit_of(*item) not in self._busy:
                    break
            else:
                return None
            del queue[item]
            if not stale:
                return item

    async def _run(self, departure: Departure | None) -> None:
        """Send one object, then the next: a task each would cost a twentieth of the whole."""
        while departure is not None:
            answered = await self._send(*departure)
            # What nobody answered may not have been waited for: the loop has others to serve, too.
            departure = self._pump(spare=answered)

    async def _send(self, partner: Partner, item: Item, unit: str) -> bool:
        """Send one object; returns whether the partner answered."""
        work = Work()
        answered = False
        try:
            answered = await self._deliver(partner, item, unit, work)
        except CpoError as error:
            # The store did not answer: the mark is still there, and so is the object.
            log.warning("push.postponed", partner=self.partner_id, kind=item[0], error=str(error))
            self._again(item, 1.0)
        except Exception:
            # A supervised loop: one object that we cannot even pack must not end the lane.
            log.exception("push.broken", partner=self.partner_id, kind=item[0], object=item[1])
            self._park(item, "internal error: see the log", work)
        finally:
            self._busy.discard(unit)
            self._in_flight -= 1
        if work.ops:
            self._note_down(work)
        return answered

    def _note_down(self, work: Work) -> None:
        """Write soon, with what other requests settle meanwhile.

        No request need wait for the disk: a mark that a crash leaves behind is sent once more, in
        its newest form.
        """
        self._notes.ops.extend(work.ops)
        if len(self._notes.ops) >= NOTES_AT_ONCE:
            self._write_notes()
        elif self._notes_timer is None:
            loop = asyncio.get_running_loop()
            self._notes_timer = loop.call_later(NOTES_AFTER, self._write_notes)

    def _write_notes(self) -> None:
        if self._notes_timer is not None:
            self._notes_timer.cancel()
            self._notes_timer = None
        work, self._notes = self._notes, Work()
        if work.ops:
            task = asyncio.create_task(self._commit(work))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)

    async def _commit(self, work: Work) -> None:
        try:
            await self._push.store.commit(work)
        except CpoError as error:
            log.warning("push.not_noted", partner=self.partner_id, error=str(error))

    async def _deliver(self, partner: Partner, item: Item, unit: str, work: Work) -> bool:
        load = self._loads.get(item)
        if load is None:
            return False
        push = self._push
        # Marks that come while it is packed or under way are of a newer state.
        generations = self._generations(item, unit)
        packed = await push.freight.pack(
            partner,
            item,
            confirmed=self._confirmed.__contains__,
            failed=load.attempts.count > 0,
        )
        if isinstance(packed, Nothing):
            self._settle(item, generations, None, None, work)
            return False
        if isinstance(packed, HeldBack):
            self._park(item, packed.reason, work)
            return False
        if isinstance(packed, NotNow):
            self._aside[item] = None
            load.attempts = replace(load.attempts, error=packed.reason)
            return False
        blocker = next((i for i in packed.after if self._pending_item(i)), None)
        if blocker is not None:
            self._waiting.setdefault(blocker, []).append(item)
            # Nothing was sent: the drain rate counts requests.
            self._allowance = self._allowance.give_back()
            return False
        if not push.may_send():
            raise StoreUnavailable("it is not sure that this node still leads")
        answer = await push.client.request(
            push.speaks.line(partner, packed.us, packed.them),
            packed.method,
            packed.url,
            body=packed.body,
        )
        self._note(item, packed, answer)
        if answer.ok or (item[0] is Kind.CDR and answer.duplicate) or _gone(packed, answer):
            self._found_well()
            self._lessons.succeeded(item, packed)
            self._successes += 1
            self._last_success = push.now()
            self._confirmed.add(packed.unit)
            if packed.last:
                self._confirmed.discard(packed.unit)
            self._settle(item, generations, packed, answer, work)
        elif not await self._learnt(partner, item, packed, answer):
            self._failed(partner, item, load, packed, answer, work)
            if answer.failure is Failure.MISSING and packed.full:
                await self._look_for_endpoints(partner)
        return answer.http_status is not None

    async def _learnt(self, partner: Partner, item: Item, parcel: Parcel, answer: Answer) -> bool:
        """Learn from a failure; returns whether the object is to be sent in another way at once."""
        quirks = Quirks.of(partner.quirks)
        confirmed = parcel.unit in self._confirmed
        learnt, again = self._lessons.failed(item, parcel, answer, quirks, confirmed=confirmed)
        if learnt:
            await self._push.partners.learn(self.partner_id, learnt, why=answer.detail)
        if again:
            # What was refused was the way, not the object; the whole of it follows.
            self._confirmed.discard(parcel.unit)
            self._enqueue(item)
        return again

    def _generations(self, item: Item, unit: str) -> dict[Item, int]:
        loads = self._loads
        found = {item: loads[item].mark.generation}
        if item[0] is Kind.EVSE or (item[0] is Kind.LOCATION and self._statuses):
            for part in self._push.freight.parts(unit.partition("/")[2]):
                load = loads.get(part)
                if load is not None:
                    found[part] = load.mark.generation
        return found

    def _pending_item(self, item: Item) -> bool:
        load = self._loads.get(item)
        return load is not None and not load.attempts.parked

    def _settle(
        self,
        item: Item,
        generations: dict[Item, int],
        parcel: Parcel | None,
        answer: Answer | None,
        work: Work,
    ) -> None:
        """Clear the marks that a request settled, unless something changed meanwhile."""
        push = self._push
        if parcel is None or not parcel.full:
            generations = {item: generations[item]}
        now, moment = _now(), push.now()
        for one, generation in generations.items():
            load = self._loads.get(one)
            if load is None:
                continue
            if load.mark.generation == generation:
                work.delete(load.mark)
                del self._loads[one]
                self._statuses -= one[0] is Kind.EVSE
                self._fresh.pop(one, None)
                self._backlog.pop(one, None)
                push.metrics.publish_delay.observe(
                    max(0.0, (moment - load.mark.since).total_seconds()), one[0]
                )
            else:
                work.delete(replace(load.mark, generation=generation))
                load.attempts, load.piled_up = FRESH, False
                load.mark = replace(load.mark, since=moment)
                if one[0] is Kind.EVSE:
                    load.held_until = now + push.pace.status_debounce
                self._enqueue(one)
            if one[0] is Kind.EVSE:
                self._remember_sent(one, now)
            self._release(one)
        if parcel is not None and answer is not None and item[0] in {Kind.SESSION, Kind.CDR}:
            work.put(
                Delivery(
                    self.partner_id,
                    item[0],
                    item[1],
                    moment,
                    parcel.last_updated,
                    answer.location,
                    None if answer.ok else answer.detail,
                )
            )

    def _failed(
        self,
        partner: Partner,
        item: Item,
        load: Load,
        parcel: Parcel,
        answer: Answer,
        work: Work,
    ) -> None:
        failure = answer.failure
        if failure is None:
            return
        push, now = self._push, _now()
        patience = push.pace.patience
        well = self._breaker.failures == 0 and self._successes > 0
        if failure in PARTNER_FAULTS:
            opened = self._breaker.until
            self._breaker = self._breaker.failed(
                failure, now, patience, jitter=push.jitter(), asked=answer.retry_after
            )
            if opened is None and self._breaker.until is not None:
                self._opened(failure, answer)
        else:
            # It answered, and not about itself: the partner is well.
            self._found_well()
            well = True
        if partner.policy.get("strict") and parcel.full:
            self._given_up(item, load, answer, work)
            return
        load.attempts = load.attempts.failed(
            failure,
            answer.detail,
            now,
            patience,
            jitter=push.jitter(),
            full=parcel.full,
            partner_well=well,
        )
        if failure is Failure.BUSY:
            # Not this object's fault: it leaves with the next.
            load.attempts = replace(load.attempts, due=0.0, parked=False)
        if not parcel.full or failure is Failure.MISSING:
            self._confirmed.discard(parcel.unit)
        if load.attempts.parked:
            self._park(item, answer.detail, work)
            return
        self._enqueue(item)

    def _given_up(self, item: Item, load: Load, answer: Answer, work: Work) -> None:
        """A strict partner gets nothing twice: it fetches what it missed (OFF-1)."""
        if item[0] is Kind.CDR:
            self._park(item, f"not repeated to a strict partner: {answer.detail}", work)
        else:
            self._settle(item, {item: load.mark.generation}, None, None, work)

    async def _look_for_endpoints(self, partner: Partner) -> None:
        refresh, now = self._push.refresh, _now()
        if refresh is None or (
            self._refreshed_at is not None and now - self._refreshed_at < REFRESH_INTERVAL
        ):
            return
        self._refreshed_at = now
        try:
            await refresh(partner)
        except CpoError as error:
            log.info("partner.endpoints_not_read", partner=self.partner_id, error=str(error))

    def _opened(self, failure: Failure, answer: Answer) -> None:
        # What is unheard by now, and what comes until it is well, will leave at the drain rate.
        for load in self._loads.values():
            load.piled_up = True
        self._backlog.update(self._fresh)
        self._fresh.clear()
        say = log.error if failure is Failure.UNAUTHORIZED else log.warning
        say(
            "partner.unwell",
            partner=self.partner_id,
            failure=failure,
            detail=answer.detail,
            unheard=len(self._loads),
        )

    def _park(self, item: Item, reason: str, work: Work) -> None:
        """Stop trying an object until it changes or somebody resends it; the answer is kept."""
        load = self._loads.get(item)
        if load is None:
            return
        load.attempts = replace(load.attempts, parked=True, error=reason)
        self._fresh.pop(item, None)
        self._backlog.pop(item, None)
        self._release(item)
        self._push.metrics.outbox_dead.inc(self.partner_id, item[0])
        log.error(
            "push.parked", partner=self.partner_id, kind=item[0], object=item[1], reason=reason
        )
        load.mark = replace(
            load.mark, attempts=max(load.attempts.count, 1), last_error=reason, parked=True
        )
        work.put(load.mark)

    def _release(self, item: Item) -> None:
        """Let go what waited for this object."""
        for waiting in self._waiting.pop(item, ()):
            load = self._loads.get(waiting)
            if load is not None:
                self._line_up(waiting, load)

    def _again(self, item: Item, seconds: float) -> None:
        load = self._loads.get(item)
        if load is not None:
            load.attempts = replace(load.attempts, due=_now() + seconds)
            self._enqueue(item)

    def _remember_sent(self, item: Item, now: float) -> None:
        if len(self._sent_at) > 4096:
            limit = now - self._push.pace.status_debounce
            self._sent_at = {i: at for i, at in self._sent_at.items() if at > limit}
        self._sent_at[item] = now

    def _note(self, item: Item, parcel: Parcel, answer: Answer) -> None:
        push = self._push
        outcome = f"{answer.http_status // 100}xx" if answer.http_status else "error"
        push.metrics.ocpi_requests.inc(self.partner_id, "", item[0], "out", outcome)
        if not answer.ok:
            self._last_error = answer.detail
            log.info(
                "ocpi.push_failed",
                partner=self.partner_id,
                kind=item[0],
                object=item[1],
                method=parcel.method,
                failure=answer.failure,
                detail=answer.detail,
            )

    def _wake_at(self, at: float) -> None:
        if self._timer is not None:
            if self._timer_at <= at and not self._timer.cancelled():
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = asyncio.get_running_loop().call_at(at, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self.pump()

    async def stop(self) -> None:
        """Cut what is under way, and keep what is settled."""
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._write_notes()
        await asyncio.gather(*self._writing, return_exceptions=True)

    # --- looked at by operators -----------------------------------------------------------------

    def backlog(self) -> list[DirtyMark]:
        """Return what is unheard, oldest first."""
        marks = [
            replace(
                load.mark,
                attempts=load.attempts.count,
                last_error=load.attempts.error or load.mark.last_error,
                parked=load.attempts.parked,
            )
            for load in self._loads.values()
        ]
        return sorted(marks, key=lambda mark: mark.since)

    def state(self) -> dict[str, Any]:
        """Return how sending goes, in plain values."""
        until = self._breaker.until
        return {
            "breaker": self._breaker.state,
            "reason": self._breaker.reason,
            "next_attempt_in_s": None if until is None else max(0.0, until - _now()),
            "in_flight": self._in_flight,
            "unheard": len(self._loads),
            "parked": sum(load.attempts.parked for load in self._loads.values()),
            "oldest_since": self.oldest(),
            "last_error": self._last_error,
            "last_success_at": self._last_success,
            "patch_taken": self._lessons.taken,
        }

    def pending(self) -> dict[str, int]:
        """Return how many objects of each kind are unheard."""
        found: dict[str, int] = {}
        for kind, _ in self._loads:
            found[kind] = found.get(kind, 0) + 1
        return found

    def oldest(self) -> datetime | None:
        """Return since when the oldest object is unheard."""
        return min((load.mark.since for load in self._loads.values()), default=None)


def _connection(partner: Partner) -> tuple[Any, ...]:
    """Return what a lane's knowledge of its partner holds for."""
    return (partner.status, partner.version, partner.endpoints, partner.token_out)


def _gone(parcel: Parcel, answer: Answer) -> bool:
    """Whether a DELETE found nothing: then it is done."""
    return parcel.method == "DELETE" and answer.failure is Failure.MISSING


def _now() -> float:
    return asyncio.get_running_loop().time()


def _earlier(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
