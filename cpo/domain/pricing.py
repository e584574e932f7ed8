"""The one pricing function: live cost, CDR, `cpo price` and the operator's try-out use it.

Nothing is rounded inside. Amounts are rounded once, where a :class:`Price` or :class:`Breakdown`
is made of a :class:`Cost`.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo
from decimal import Decimal
from fractions import Fraction
from functools import partial
from itertools import chain
from typing import NamedTuple

from cpo.domain.amounts import Amount, Breakdown, Line, Price, Tax
from cpo.domain.cost import Cost, Ended
from cpo.domain.ledger import Ledger
from cpo.domain.periods import (
    Activity,
    CurrentSample,
    MeterSample,
    Period,
    PowerSample,
    Record,
    StateChange,
    Stretch,
    Timeline,
    newest,
)
from cpo.domain.price_plan import (
    MILLI,
    NWH_PER_WH,
    US_PER_S,
    Exact,
    PricePlan,
    exact,
    plan_of,
    to_us,
)
from cpo.domain.tariff import Tariff
from cpo.domain.values import replace

__all__ = [
    "Amount",
    "Breakdown",
    "Cost",
    "Line",
    "LivePrice",
    "Price",
    "Samples",
    "Tax",
    "price",
    "price_periods",
]

NO_TARIFF = Tariff(id="", currency="XXX", elements=())
"""Stands for an unknown tariff: cuts the periods, prices nothing."""


def price(
    record: Record, tariff: Tariff | None, zone: tzinfo, *, until: datetime | None = None
) -> Cost:
    """Price a session, or what there is of it until some instant.

    Args:
        record: What happened.
        tariff: The tariff of the session's start; None when none is known: the periods are cut,
            but the amounts mean nothing.
        zone: The time zone of the Location, for restrictions in local time.
        until: Where to stop; the end, or the newest sample, unless given.
    """
    return LivePrice(tariff, zone).update(record, until=until)


class Samples(NamedTuple):
    """What became known of a session since it was priced last."""

    meter: tuple[MeterSample, ...] = ()
    states: tuple[StateChange, ...] = ()
    power: tuple[PowerSample, ...] = ()
    current: tuple[CurrentSample, ...] = ()


class LivePrice:
    """The cost of a running session, carried forward sample by sample.

    Gives exactly what :func:`price` gives for the same record. What lies before the last meter
    sample is settled once; a record that does not merely continue the one before (a sample that
    came late) is priced anew.
    """

    def __init__(self, tariff: Tariff | None, zone: tzinfo) -> None:
        self._plan = plan_of(NO_TARIFF if tariff is None else tariff)
        self._zone = zone
        self._record: Record | None = None
        # What came since: joining long tuples at each reading would cost more than its price.
        self._added: list[Samples] = []
        self._ended: list[Ended] = []
        self._timeline: Timeline
        self._ledger: Ledger
        self._done = 0
        self._newest: datetime
        self._metered = False

    def update(self, record: Record, *, until: datetime | None = None) -> Cost:
        """The cost with everything in the record, which mostly has grown by one sample."""
        old = None if self._record is None else _joined(self._record, self._added)
        self._record, self._added = record, []
        new = None if old is None else _new_samples(old, record)
        if new is None or not self._take(new):
            self._start(record)
        return self._cost(record, until)

    def add(self, samples: Samples, *, until: datetime | None = None) -> Cost:
        """The cost with some samples more than the record had; cheaper than the whole record.

        ``update`` must have been called before.
        """
        if self._record is None:
            raise LookupError("there is no record to add to")
        self._added.append(samples)
        if not self._take(samples):
            self._restart(_joined(self._record, self._added))
        return self._cost(self._record, until)

    def _restart(self, record: Record) -> None:
        self._record, self._added = record, []
        self._start(record)

    def _cost(self, record: Record, until: datetime | None) -> Cost:
        end = to_us(until or record.ended_at or self._newest)
        if end < self._done:
            self._restart(record := _joined(record, self._added))
        end = max(end, self._timeline.started)
        settled = min(end, self._timeline.metered_until)
        if settled > self._done:
            self._settle(self._ledger, settled)
            self._done = settled
        ledger = self._ledger.copy()
        self._settle(ledger, end)
        known = partial(_joined, record, self._added, len(self._added))
        return Cost(ledger, end=end, record=known, zone=self._zone, ended=self._ended)

    def _start(self, record: Record) -> None:
        self._timeline = Timeline(self._plan, self._zone, record)
        self._ledger = Ledger(self._plan, expired=record.reservation_expired)
        for stretch in self._timeline.reservation():
            self._ledger.add(stretch)
        self._done = self._timeline.started
        self._newest = record.known_until
        self._metered = bool(record.meter)

    def _settle(self, ledger: Ledger, end: int) -> None:
        for stretch in self._timeline.cut(self._done, end):
            ledger.add(stretch)

    def _take(self, new: Samples) -> bool:
        """Take in samples that continue what is known; False when one belongs before it."""
        timeline, done = self._timeline, self._done
        # Readings up to the start also say what the register showed then.
        alone = timeline.metered_until == timeline.started
        if (alone and new.meter and self._metered) or not (
            _follow(new.meter, timeline.metered_until + 1)
            and _follow(new.states, max(done, timeline.last_state_at))
            and _follow(new.power, max(done, timeline.last_power_at))
            and _follow(new.current, max(done, timeline.last_current_at))
        ):
            return False
        timeline.add_meter(new.meter)
        timeline.add_states(new.states)
        timeline.add_power(new.power)
        timeline.add_current(new.current)
        self._metered = self._metered or bool(new.meter)
        self._newest = newest(new, self._newest)
        return True


def _joined(record: Record, added: Sequence[Samples], count: int | None = None) -> Record:
    """A record with the first so many of what was added to it; all, unless said otherwise."""
    added = added[:count]
    if not added:
        return record
    return replace(
        record,
        meter=(*record.meter, *chain.from_iterable(new.meter for new in added)),
        states=(*record.states, *chain.from_iterable(new.states for new in added)),
        power=(*record.power, *chain.from_iterable(new.power for new in added)),
        current=(*record.current, *chain.from_iterable(new.current for new in added)),
    )


def _follow(samples: Sequence[tuple[datetime, object]], since: int) -> bool:
    for sample in samples:
        at = to_us(sample[0])
        if at < since:
            return False
        since = at
    return True


def _new_samples(old: Record, new: Record) -> Samples | None:
    """What the new record has at its end; None when it differs elsewhere."""
    if (old.started_at, old.reserved_from, old.only_reserved, old.reservation_expired) != (
        new.started_at,
        new.reserved_from,
        new.only_reserved,
        new.reservation_expired,
    ):
        return None
    lengths = (len(old.meter), len(old.states), len(old.power), len(old.current))
    if (
        new.meter[: lengths[0]] != old.meter
        or new.states[: lengths[1]] != old.states
        or new.power[: lengths[2]] != old.power
        or new.current[: lengths[3]] != old.current
    ):
        return None
    return Samples(
        new.meter[lengths[0] :],
        new.states[lengths[1] :],
        new.power[lengths[2] :],
        new.current[lengths[3] :],
    )


def price_periods(
    periods: Iterable[Period],
    tariff: Tariff,
    zone: tzinfo,
    *,
    ended_at: datetime,
    started_at: datetime | None = None,
    reservation_expired: bool = False,
) -> Cost:
    """Price charging periods as a CDR lists them.

    A period in which a price changes is split, its volumes spread evenly over it (TAR-33). Power
    and current hold until a later period names others.
    """
    plan = plan_of(tariff)
    ledger = Ledger(plan, expired=reservation_expired)
    ordered = sorted(periods, key=lambda period: period.started_at)
    origin = to_us(started_at or (ordered[0].started_at if ordered else ended_at))
    power, current = plan.power.unknown, plan.current.unknown
    energy: Exact = 0
    for i, period in enumerate(ordered):
        last = i + 1 == len(ordered)
        end = to_us(ended_at if last else ordered[i + 1].started_at)
        if (known := _momentary(period.max_power_w, period.min_power_w)) is not None:
            power = plan.power.at(exact(known, MILLI))
        if (known := _momentary(period.max_current_a, period.min_current_a)) is not None:
            current = plan.current.at(exact(known, MILLI))
        for stretch in _split(
            plan, zone, origin, period, max(end, to_us(period.started_at)), energy
        ):
            mask = stretch.elements & power & current
            ledger.add(stretch._replace(elements=mask))
        energy += exact(period.energy_wh, NWH_PER_WH)
    return Cost(ledger, end=to_us(ended_at), zone=zone)


def _momentary(most: Decimal | None, least: Decimal | None) -> Decimal | None:
    return least if most is None else most


def _split(
    plan: PricePlan, zone: tzinfo, origin: int, period: Period, end: int, before: Exact
) -> list[Stretch]:
    """Cut a period by time and energy; the cuts are fractions of it from 0 to 1."""
    begin = to_us(period.started_at)
    drawn = exact(period.energy_wh, NWH_PER_WH)
    cuts: list[tuple[Exact, int, int]] = [
        (Fraction(at - begin, end - begin) if end > begin else 0, 0, mask)
        for at, mask in plan.calendar(origin, begin, end, zone)
    ]
    for bound, mask in zip(plan.energy.bounds, plan.energy.masks[1:], strict=True):
        if before < bound < before + drawn:
            cuts.append((Fraction(bound - before) / drawn, 1, mask))
    cuts.sort(key=lambda cut: cut[0])
    times = [exact(s, US_PER_S) for s in (period.time_s, period.parking_s, period.reserved_s)]
    time_mask, energy_mask = plan.all, plan.energy.at(before)
    stretches: list[Stretch] = []
    for i, (at, axis, mask) in enumerate(cuts):
        if axis == 0:
            time_mask = mask
        else:
            energy_mask = mask
        until = cuts[i + 1][0] if i + 1 < len(cuts) else 1
        if until == at:
            continue
        share = until - at
        charging, parking, reserved = (share * length for length in times)
        here = begin + at * (end - begin)
        if reserved:
            stretches.append(
                Stretch(here, Activity.RESERVED, time_mask & energy_mask, 0, 0, 0, reserved)
            )
        if not reserved or charging or parking or drawn:
            activity = Activity.PARKING if parking and not charging else Activity.CHARGING
            stretches.append(
                Stretch(
                    here, activity, time_mask & energy_mask, share * drawn, charging, parking, 0
                )
            )
    return stretches
