"""Which element of a tariff prices which dimension, answered by a few bit operations.

Every restriction cuts its own axis (time of day, day, date, duration, energy, power, current)
into bands in which it does not change. For each band a bit mask says which elements allow it: the
elements active at an instant are the AND of the masks, and the lowest bit of those that have a
component of a dimension is the one that counts (TAR-20, TAR-21).

Numbers are exact: time in microseconds since 1970, energy in billionths of a Wh, power and current
in thousandths of a W and an A; each an ``int`` wherever it can be and a ``Fraction`` where an
interpolation leaves no whole number.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from cpo.domain.tariff import (
    Dimension,
    Element,
    PriceComponent,
    ReservationKind,
    Restrictions,
    Tariff,
)

Exact = int | Fraction

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
US_PER_S = 1_000_000
US_PER_MINUTE = 60 * US_PER_S
US_PER_DAY = 86_400 * US_PER_S
NWH_PER_WH = 1_000_000_000
MILLI = 1000
_MICROSECOND = timedelta(microseconds=1)
_MOST_CUT = 100 * US_PER_DAY


def to_us(instant: datetime) -> int:
    """Microseconds since 1970 of an aware instant."""
    return (instant - EPOCH) // _MICROSECOND


def to_instant(us: Exact) -> datetime:
    """The instant nearest to that many microseconds since 1970."""
    whole = us if isinstance(us, int) else round(us)
    return EPOCH + timedelta(microseconds=whole)


def exact(value: Decimal, factor: int) -> Exact:
    """Multiply a decimal without losing a digit; an int where the product is whole."""
    numerator, denominator = value.as_integer_ratio()
    if denominator == 1:
        return numerator * factor
    whole, rest = divmod(numerator * factor, denominator)
    return whole if rest == 0 else Fraction(numerator * factor, denominator)


@dataclass(frozen=True, slots=True)
class Bands:
    """Which elements allow a value: ``masks[i]`` holds between ``bounds[i - 1]`` and ``[i]``."""

    bounds: list[Exact]
    masks: list[int]

    def at(self, value: Exact) -> int:
        """The elements that allow this value."""
        return self.masks[bisect_right(self.bounds, value)]

    @property
    def unknown(self) -> int:
        """The elements that allow a value nobody measured: no minimum matches, every maximum does.

        That is what they allow below every bound (TAR-29).
        """
        return self.masks[0]

    def across(self, value: Exact | None) -> list[tuple[Exact, int]]:
        """Each bound with the elements allowed on its other side, seen from a value."""
        here = 0 if value is None else bisect_right(self.bounds, value)
        return [
            (bound, self.masks[i if i < here else i + 1]) for i, bound in enumerate(self.bounds)
        ]


Limits = Callable[[Restrictions], tuple[Exact | None, Exact | None]]


def _bands(restrictions: Sequence[Restrictions], limits: Limits) -> Bands:
    pairs = [limits(r) for r in restrictions]
    bounds = sorted({bound for pair in pairs for bound in pair if bound is not None})
    masks = []
    for value in (None, *bounds):
        mask = 0
        for i, (least, most) in enumerate(pairs):
            reached = least is None or (value is not None and value >= least)
            exceeded = most is not None and value is not None and value >= most
            mask |= (reached and not exceeded) << i
        masks.append(mask)
    return Bands(bounds, masks)


def _scaled(name: str, factor: int) -> Limits:
    def limits(r: Restrictions) -> tuple[Exact | None, Exact | None]:
        least, most = getattr(r, f"min_{name}"), getattr(r, f"max_{name}")
        return (
            None if least is None else exact(Decimal(least), factor),
            None if most is None else exact(Decimal(most), factor),
        )

    return limits


def _day_numbers(r: Restrictions) -> tuple[Exact | None, Exact | None]:
    first = EPOCH.date().toordinal()
    return (
        None if r.start_date is None else r.start_date.toordinal() - first,
        None if r.end_date is None else r.end_date.toordinal() - first,
    )


def _instants(r: Restrictions) -> tuple[Exact | None, Exact | None]:
    return (
        None if r.since is None else to_us(r.since),
        None if r.until is None else to_us(r.until),
    )


def _minute(wall: time) -> int:
    return wall.hour * 60 + wall.minute


def _allows_minute(r: Restrictions, minute: int) -> bool:
    """Whether a minute of the local day lies in the element's hours (TAR-25)."""
    start = 0 if r.start_time is None else _minute(r.start_time)
    # Midnight as the end is the end of the day, and so is a missing end.
    end = 1440 if r.end_time is None else _minute(r.end_time) or 1440
    if r.start_time is not None and r.end_time is not None and r.start_time == r.end_time:
        return True
    if start < end:
        return start <= minute < end
    return minute >= start or minute < end


def _minutes(restrictions: Sequence[Restrictions]) -> Bands:
    bounds = sorted(
        {
            _minute(wall)
            for r in restrictions
            for wall in (r.start_time, r.end_time)
            if wall is not None
        }
        - {0}
    )
    masks = [
        sum(_allows_minute(r, minute) << i for i, r in enumerate(restrictions))
        for minute in (0, *bounds)
    ]
    return Bands(list(bounds), masks)


class Part(StrEnum):
    """The parts of a cost that a CDR names (CDR-11)."""

    FIXED = "fixed"
    ENERGY = "energy"
    TIME = "time"
    PARKING = "parking"
    RESERVATION = "reservation"


_CACHED_PLANS = 256
_plans: dict[int, "PricePlan"] = {}


def plan_of(tariff: Tariff) -> "PricePlan":
    """The plan of a tariff; that of one priced lately is not made again."""
    plan = _plans.get(id(tariff))
    # A plan keeps its tariff alive, so that no other can get its id while it is here.
    if plan is None or plan.tariff is not tariff:
        if len(_plans) >= _CACHED_PLANS:
            _plans.clear()
        plan = _plans[id(tariff)] = PricePlan(tariff)
    return plan


LineKey = tuple[Dimension, bool, Decimal, Decimal | None]


@dataclass(frozen=True, slots=True, eq=False)
class Priced:
    """A price component at its place in the tariff.

    ``line`` is the line of the bill it adds to: dimension, whether of a reservation, price, VAT.
    ``rate`` times a quantity (nWh, microseconds, or 1 for FLAT) is the amount in units of
    ``1 / PricePlan.unit`` of the currency.
    """

    element: int
    component: PriceComponent
    part: Part
    line: LineKey
    rate: int


_PARTS = {
    Dimension.FLAT: Part.FIXED,
    Dimension.ENERGY: Part.ENERGY,
    Dimension.TIME: Part.TIME,
    Dimension.PARKING_TIME: Part.PARKING,
}

# One kWh is 10**12 nWh and one hour 3.6 * 10**9 us: 9 * 10**12 is a multiple of both.
_UNIT = 9 * 10**12
_RATES = {
    Dimension.FLAT: _UNIT,
    Dimension.ENERGY: 9,
    Dimension.TIME: 2500,
    Dimension.PARKING_TIME: 2500,
}


class PricePlan:
    """A tariff made ready for pricing; holds nothing of any session.

    An amount times ``unit`` is whole wherever its quantity is, and times ``tax_unit`` again its
    gross amount too: that is the net one times ``gross_of[rate]``.
    """

    def __init__(self, tariff: Tariff) -> None:
        self.tariff = tariff
        restrictions = [element.restrictions for element in tariff.elements]
        self.energy = _bands(restrictions, _scaled("kwh", 1000 * NWH_PER_WH))
        self.power = _bands(restrictions, _scaled("power", 1000 * MILLI))
        self.current = _bands(restrictions, _scaled("current", MILLI))
        self.duration = _bands(restrictions, _scaled("duration", US_PER_S))
        self.instant = _bands(restrictions, _instants)
        self.minute = _minutes(restrictions)
        self.date = _bands(restrictions, _day_numbers)
        self.weekdays = [
            sum(
                (not r.day_of_week or day in r.day_of_week) << i for i, r in enumerate(restrictions)
            )
            for day in range(7)
        ]
        self.all = (1 << len(restrictions)) - 1
        self.daily = bool(
            self.minute.bounds or self.date.bounds or any(m != self.all for m in self.weekdays)
        )
        self._midnight = bool(self.date.bounds) or any(m != self.all for m in self.weekdays)
        self._day_bounds = sorted(
            {int(minute) * US_PER_MINUTE for minute in self.minute.bounds} | {0}
            if self._midnight or self.minute.masks[0] != self.minute.masks[-1]
            else {int(minute) * US_PER_MINUTE for minute in self.minute.bounds}
        )
        decimals = max(
            (-int(c.price.as_tuple().exponent) for e in tariff.elements for c in e.components),
            default=0,
        )
        scale = 10 ** max(decimals, 0)
        self.unit: int = _UNIT * scale
        rates = {c.vat for e in tariff.elements for c in e.components if c.vat is not None}
        self.tax_unit: int = 100 * 10 ** max(
            (-int(rate.as_tuple().exponent) for rate in rates if rate.as_tuple().exponent),
            default=0,
        )
        self.gross_of: dict[Decimal | None, int] = {
            rate: self.tax_unit + int(rate * self.tax_unit / 100) for rate in rates
        }
        self._priced = [
            {c.type: _priced(i, element, c, scale) for c in element.components}
            for i, element in enumerate(tariff.elements)
        ]
        self.session = self._columns(None)
        self.reserved = self._columns(ReservationKind.RESERVATION)
        self.expired = self._columns(ReservationKind.RESERVATION_EXPIRES)

    def _columns(self, kind: ReservationKind | None) -> dict[Dimension, int]:
        """For each dimension the elements of a kind that have a component of it."""
        return {
            dimension: sum(
                (dimension in priced and element.restrictions.reservation is kind) << i
                for i, (priced, element) in enumerate(
                    zip(self._priced, self.tariff.elements, strict=True)
                )
            )
            for dimension in Dimension
        }

    def first(self, dimension: Dimension, elements: int) -> Priced | None:
        """The component of the first of these elements; None when there is none.

        ``elements`` may only name elements that have one: AND it with ``session``, ``reserved``
        or ``expired``.
        """
        if not elements:
            return None
        return self._priced[(elements & -elements).bit_length() - 1][dimension]

    def calendar(self, started: int, begin: int, end: int, zone: tzinfo) -> list[tuple[int, int]]:
        """Cut [begin, end) where time alone can change a price.

        Answers (from, elements allowed from then on); the first begins at ``begin``, also when
        the stretch is empty. ``started`` is where durations count from. Wall times are those of
        the zone, on the UTC axis: the hour that clocks repeat counts twice and the one they skip
        not at all (TAR-32).
        """
        durations = self.duration.bounds
        if not self.daily and not durations and not self.instant.bounds:
            return [(begin, self.all)]
        instants = {begin}
        instants.update(int(bound) for bound in self.instant.bounds if begin < bound < end)
        for bound in durations:
            if begin < started + bound < end:
                instants.add(started + int(bound))
        offsets = [(begin, _offset(begin, zone))]
        if self.daily:
            # A clock set to 1970 makes sessions of decades; they are held, not worth the work.
            within = max(begin, end - _MOST_CUT)
            instants.add(within)
            offsets = [*offsets[: within != begin], *_offsets(within, end, zone)]
            for i, (since, offset) in enumerate(offsets):
                until = offsets[i + 1][0] if i + 1 < len(offsets) else end
                instants.add(since)
                if since < within:
                    continue
                first = (since + offset) // US_PER_DAY * US_PER_DAY - offset
                for day in range(first, until, US_PER_DAY):
                    instants.update(
                        at for bound in self._day_bounds if since < (at := day + bound) < until
                    )
        cuts: list[tuple[int, int]] = []
        section = 0
        for at in sorted(instants):
            while section + 1 < len(offsets) and offsets[section + 1][0] <= at:
                section += 1
            mask = self._allowed(at + offsets[section][1], at - started) & self.instant.at(at)
            if not cuts or cuts[-1][1] != mask:
                cuts.append((at, mask))
        return cuts

    def _allowed(self, local: int, elapsed: int) -> int:
        mask = self.duration.at(elapsed)
        if self.daily:
            day, rest = divmod(local, US_PER_DAY)
            # 1970-01-01 was a Thursday.
            mask &= self.minute.at(rest // US_PER_MINUTE) & self.weekdays[(day + 3) % 7]
            mask &= self.date.at(day)
        return mask


def _priced(i: int, element: Element, component: PriceComponent, scale: int) -> Priced:
    dimension = component.type
    reserved = element.restrictions.reservation is not None
    part = Part.RESERVATION if reserved else _PARTS[dimension]
    kinds = {c.type for c in element.components}
    if part is Part.FIXED and kinds == {Dimension.FLAT, Dimension.PARKING_TIME}:
        part = Part.PARKING
    return Priced(
        element=i,
        component=component,
        part=part,
        line=(dimension, reserved, component.price, component.vat),
        rate=int(component.price * scale) * _RATES[dimension],
    )


def _offset(us: int, zone: tzinfo) -> int:
    return (to_instant(us).astimezone(zone).utcoffset() or timedelta()) // _MICROSECOND


def _offsets(begin: int, end: int, zone: tzinfo) -> list[tuple[int, int]]:
    """The zone's offsets from UTC between two instants, as (from, offset) in microseconds."""
    found = [(begin, _offset(begin, zone))]
    step = US_PER_DAY // 2
    at = begin
    while at < end:
        nxt = min(at + step, end)
        offset = _offset(nxt, zone)
        if offset != found[-1][1]:
            low, high = at, nxt
            while high - low > 1:
                middle = (low + high) // 2
                if _offset(middle, zone) == found[-1][1]:
                    low = middle
                else:
                    high = middle
            if high < end:
                found.append((high, offset))
        at = nxt
    return found
