"""What running charges cost: carried on from reading to reading, never worked out twice."""

from collections import OrderedDict
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cpo.domain.events import ChargingState, Sample
from cpo.domain.metering import jumps
from cpo.domain.periods import MeterSample, StateChange
from cpo.domain.pricing import Cost, LivePrice, Samples, price
from cpo.domain.transaction import Snapshot, Transaction, curve
from cpo.domain.usage import activities, activity_of, currents, powers, usage
from cpo.domain.values import replace

# Below this a price from the beginning takes no longer than to carry one on, and nothing is kept.
FEW_SAMPLES = 8
# So many charges are carried on at most, those that changed last: each keeps its readings again.
MOST_KEPT = 4096

_ENDS = frozenset({"Transaction.Begin", "Transaction.End"})


class Running(NamedTuple):
    """An open charge as it is now: energy in Wh, what was noticed, its cost, the last instant."""

    energy_wh: Decimal
    flags: frozenset[str]
    cost: Cost
    metered_at: datetime


class LivePrices:
    """Prices open transactions; the same as from the beginning, to the last digit (SES-16).

    A transaction that only goes on (later readings of a register that rises, later states) is
    carried on; anything else (a late reading, a register that falls, other preferences) is priced
    from the beginning.
    """

    def __init__(self, *, most: int = MOST_KEPT, few: int = FEW_SAMPLES) -> None:
        self._most, self._few = most, few
        self._kept: OrderedDict[str, _Carried] = OrderedDict()

    def price(self, transaction: Transaction, snapshot: Snapshot) -> Running:
        """Return what an open transaction costs by now."""
        known = self._kept.get(transaction.id)
        if known is not None:
            self._kept.move_to_end(transaction.id)
            running = known.carry_on(transaction, snapshot)
            if running is not None:
                return running
            del self._kept[transaction.id]
        energy = curve(transaction)
        record = usage(transaction, energy, now=transaction.started_at)
        end = record.ended_at or transaction.started_at
        zone = ZoneInfo(snapshot.location.time_zone)
        metered_at = energy.points[-1][0] if energy.points else transaction.started_at
        if energy.flags or energy.register is None or len(transaction.samples) < self._few:
            cost = price(record, snapshot.price_tariff, zone)
            return Running(energy.total_wh, energy.flags, cost, metered_at)
        live = LivePrice(snapshot.price_tariff, zone)
        states = tuple(activities(transaction))
        cost = live.update(replace(record, ended_at=None, states=states), until=end)
        running = Running(energy.total_wh, energy.flags, cost, metered_at)
        if _steady(transaction, energy.register[1]):
            carried = _Carried(transaction, live, running, energy.register, end, states[-1])
            self._kept[transaction.id] = carried
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return running

    def forget(self, transaction_id: str) -> None:
        """Drop what was kept of a transaction."""
        self._kept.pop(transaction_id, None)


def _steady(transaction: Transaction, register_wh: Decimal) -> bool:
    """Tell whether later readings cannot change how the earlier ones were understood.

    They do while the start value may still turn out to be of another kind (MV-11, MV-12).
    """
    registers = [s for s in transaction.samples if s.register_wh is not None]
    in_order = all(a.at < b.at for a, b in pairwise(registers))
    return (
        in_order
        and len(registers) > 1
        and registers[0].at > transaction.started_at
        and register_wh >= (transaction.begin_wh or 0)
    )


def _goes_on(now: tuple[object, ...], before: tuple[object, ...]) -> bool:
    """Tell whether a tuple is another with more at its end.

    Its ends tell: what is in between is never replaced, and to look at all would cost more than
    the price.
    """
    if not before or len(now) < len(before):
        return not before
    return now[0] is before[0] and now[len(before) - 1] is before[-1]


class _Carried:
    """One transaction's price, as far as it was carried."""

    __slots__ = ("_end", "_live", "_register", "_running", "_state", "_transaction")

    def __init__(
        self,
        transaction: Transaction,
        live: LivePrice,
        running: Running,
        register: tuple[datetime, Decimal],
        end: datetime,
        state: StateChange,
    ) -> None:
        self._transaction = transaction
        self._live = live
        self._running = running
        self._register = register
        self._end = end
        self._state = state

    def carry_on(self, transaction: Transaction, snapshot: Snapshot) -> Running | None:
        """Take in what is new of a transaction; None when it does not merely go on."""
        before = self._transaction
        if (
            transaction.snapshot is not before.snapshot
            or snapshot is not before.snapshot
            or transaction.started_at != before.started_at
            or transaction.begin_wh != before.begin_wh
            or transaction.reserved_from != before.reserved_from
            or not _goes_on(transaction.samples, before.samples)
            or not _goes_on(transaction.states, before.states)
        ):
            return None
        meter = self._meter(transaction.samples[len(before.samples) :])
        states = self._states(transaction.states[len(before.states) :])
        if meter is None or states is None:
            return None
        samples = transaction.samples[len(before.samples) :]
        self._transaction = transaction
        new = Samples(meter, states, powers(samples), currents(samples))
        cost = self._live.add(new, until=self._end)
        energy_wh, metered_at = self._running.energy_wh, self._running.metered_at
        if meter:
            metered_at, energy_wh = meter[-1]
        self._running = Running(energy_wh, self._running.flags, cost, metered_at)
        return self._running

    def _meter(self, samples: tuple[Sample, ...]) -> tuple[MeterSample, ...] | None:
        found = []
        register, end = self._register, self._end
        energy_wh, last = self._running.energy_wh, self._last_sample_at()
        for sample in samples:
            if sample.context in _ENDS or sample.at <= last:
                return None
            last = sample.at
            end = max(end, sample.at)
            if sample.register_wh is None:
                continue
            reading = (sample.at, sample.register_wh)
            if reading[0] <= register[0] or reading[1] < register[1] or jumps(register, reading):
                return None
            energy_wh += reading[1] - register[1]
            register = reading
            found.append(MeterSample(sample.at, energy_wh))
        self._register, self._end = register, end
        return tuple(found)

    def _last_sample_at(self) -> datetime:
        samples = self._transaction.samples
        return samples[-1].at if samples else self._transaction.started_at

    def _states(
        self, states: tuple[tuple[datetime, ChargingState], ...]
    ) -> tuple[StateChange, ...] | None:
        found = []
        for at, state in states:
            if at <= self._state.at:
                return None
            self._end = max(self._end, at)
            activity = activity_of(self._transaction, state)
            if activity is not self._state.state:
                self._state = StateChange(at, activity)
                found.append(self._state)
        return tuple(found)
