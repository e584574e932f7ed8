"""What happened in a session, and the stretches in which no price can change."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, tzinfo
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

from cpo.domain.price_plan import (
    MILLI,
    NWH_PER_WH,
    US_PER_S,
    Bands,
    Exact,
    PricePlan,
    exact,
    to_us,
)
from cpo.domain.values import Named


class Activity(StrEnum):
    """What the time of a session is: charging, parking (the EV asks for nothing) or reserved."""

    CHARGING = "charging"
    PARKING = "parking"
    RESERVED = "reserved"


class MeterSample(NamedTuple):
    """Energy drawn since the session's start."""

    at: datetime
    energy_wh: Decimal


class StateChange(NamedTuple):
    """From here on the session is charging or parking."""

    at: datetime
    state: Activity


class PowerSample(NamedTuple):
    """Power; holds until the next sample."""

    at: datetime
    power_w: Decimal


class CurrentSample(NamedTuple):
    """Current, summed over the phases; holds until the next sample."""

    at: datetime
    current_a: Decimal


class Record(Named, frozen=True, kw_only=True):
    """Everything about one session that its price depends on.

    Energy runs in straight lines between the samples, from 0 at ``started_at`` unless a sample
    says otherwise, and stands still after the last one. Without states all of it is charging.
    The samples may come in any order. Energy that a reading at ``started_at`` itself shows was
    drawn in no time, as stations with coarse clocks have it.

    ``reserved_from`` precedes ``started_at``. A reservation without a session is ``only_reserved``
    from ``started_at`` to ``ended_at``, and ``reservation_expired`` unless it was cancelled.
    """

    started_at: datetime
    ended_at: datetime | None = None
    meter: tuple[MeterSample, ...] = ()
    states: tuple[StateChange, ...] = ()
    power: tuple[PowerSample, ...] = ()
    current: tuple[CurrentSample, ...] = ()
    reserved_from: datetime | None = None
    only_reserved: bool = False
    reservation_expired: bool = False

    @property
    def known_until(self) -> datetime:
        """The end, or the newest instant anything is known about."""
        if self.ended_at is not None:
            return self.ended_at
        return newest((self.meter, self.states, self.power, self.current), self.started_at)


class Volume(NamedTuple):
    """One dimension of a period as OCPI names it; times in hours, with the exact seconds."""

    type: str
    volume: Decimal
    seconds: Decimal | None = None


class Period(Named, frozen=True, kw_only=True):
    """A part of a session in which no price changed.

    It ends where the next one starts, the last at the end of the session. Power in W, current
    in A; both are there only where they could matter or were given.
    """

    started_at: datetime
    energy_wh: Decimal = Decimal(0)
    time_s: Decimal = Decimal(0)
    parking_s: Decimal = Decimal(0)
    reserved_s: Decimal = Decimal(0)
    min_power_w: Decimal | None = None
    max_power_w: Decimal | None = None
    min_current_a: Decimal | None = None
    max_current_a: Decimal | None = None
    tariff_id: str | None = None

    @property
    def volumes(self) -> tuple[Volume, ...]:
        """The dimensions as OCPI names them, in kWh, hours, kW and A.

        Charging names its energy also where there was none.
        """
        parked, reserved = self.parking_s > 0, self.reserved_s > 0
        charging = self.time_s > 0 or not (parked or reserved)
        found = []
        if self.energy_wh or charging:
            found.append(Volume("ENERGY", self.energy_wh / 1000))
        if charging:
            found.append(Volume("TIME", hours(self.time_s), self.time_s))
        if parked:
            found.append(Volume("PARKING_TIME", hours(self.parking_s), self.parking_s))
        if reserved:
            found.append(Volume("RESERVATION_TIME", hours(self.reserved_s), self.reserved_s))
        for name, value, factor in (
            ("MIN_POWER", self.min_power_w, 1000),
            ("MAX_POWER", self.max_power_w, 1000),
            ("MIN_CURRENT", self.min_current_a, 1),
            ("MAX_CURRENT", self.max_current_a, 1),
        ):
            if value is not None:
                found.append(Volume(name, value / factor))
        return tuple(found)


def hours(seconds: Decimal) -> Decimal:
    """Seconds as hours, to the tenth decimal."""
    return (seconds / 3600).quantize(Decimal("1e-10"))


class Stretch(NamedTuple):
    """A part of a session in which the same elements are active. Units of ``price_plan``."""

    at: Exact
    activity: Activity
    elements: int
    energy: Exact
    time: Exact
    parking: Exact
    reserved: Exact


class Timeline:
    """The samples of a record in order, ready to be cut; grows at its end.

    Duplicates and readings below an earlier one are left out (MAP-21).
    """

    def __init__(self, plan: PricePlan, zone: tzinfo, record: Record) -> None:
        self._plan = plan
        self._zone = zone
        self.started = to_us(record.started_at)
        self.origin = self.started if record.reserved_from is None else to_us(record.reserved_from)
        self._only_reserved = record.only_reserved or record.reservation_expired
        self._times, self._energies = self._register(record.meter)
        self._cuts: list[tuple[int, int]] = []
        self._cuts_until = self.started
        self._states: list[tuple[int, Activity]] = []
        self._power: list[tuple[int, Exact]] = []
        self._current: list[tuple[int, Exact]] = []
        self.add_states(sorted(record.states, key=_at))
        self.add_power(sorted(record.power, key=_at))
        self.add_current(sorted(record.current, key=_at))

    def _register(self, samples: Iterable[MeterSample]) -> tuple[list[int], list[Exact]]:
        ordered = [(to_us(at), exact(wh, NWH_PER_WH)) for at, wh in samples]
        ordered.sort()
        times: list[int] = []
        energies: list[Exact] = []
        highest: Exact = 0
        newest: int | None = None
        at_start: Exact | None = None
        for at, energy in ordered:
            if energy < highest:
                continue
            highest = energy
            if at == self.started and at_start is None:
                at_start = energy
            if at == newest:
                energies[-1] = energy
            else:
                newest = at
                times.append(at)
                energies.append(energy)
        later = bisect_right(times, self.started)
        self._base: Exact = 0
        if bisect_left(times, self.started) > 0:
            # Readings from before the session: the register did not begin at 0.
            line = _line(times, energies, self.started)
            self._base = line if at_start is None else at_start
        jump = 0 if at_start is None else energies[later - 1] - self._base
        return (
            [self.started, *times[later:]],
            [jump, *(energy - self._base for energy in energies[later:])],
        )

    @property
    def metered_until(self) -> int:
        """The instant of the last reading, or the start."""
        return self._times[-1]

    @property
    def last_state_at(self) -> int:
        """The instant of the last change of state, or 0."""
        return self._states[-1][0] if self._states else 0

    @property
    def last_power_at(self) -> int:
        """The instant of the last power that matters, or 0."""
        return self._power[-1][0] if self._power else 0

    @property
    def last_current_at(self) -> int:
        """The instant of the last current that matters, or 0."""
        return self._current[-1][0] if self._current else 0

    def add_meter(self, samples: Iterable[MeterSample]) -> None:
        """Append readings later than those before, in order; of one instant the highest counts."""
        for at, wh in samples:
            us, energy = to_us(at), exact(wh, NWH_PER_WH) - self._base
            if energy < self._energies[-1]:
                continue
            if us == self._times[-1]:
                self._energies[-1] = energy
            else:
                self._times.append(us)
                self._energies.append(energy)

    def add_states(self, changes: Iterable[StateChange]) -> None:
        """Append changes of state that are later than every other."""
        self._states.extend((to_us(at), state) for at, state in changes)

    def add_power(self, samples: Iterable[PowerSample]) -> None:
        """Append powers that are later than every other; only where the tariff asks for them."""
        if self._plan.power.bounds:
            self._power.extend((to_us(at), exact(w, MILLI)) for at, w in samples)

    def add_current(self, samples: Iterable[CurrentSample]) -> None:
        """Append currents that are later than every other; only where the tariff asks."""
        if self._plan.current.bounds:
            self._current.extend((to_us(at), exact(a, MILLI)) for at, a in samples)

    def energy_at(self, us: Exact) -> Exact:
        """The energy drawn until then."""
        return _line(self._times, self._energies, us)

    def reservation(self) -> list[Stretch]:
        """The time before the session for which its EVSE was held."""
        if self.origin == self.started:
            return []
        return self._reserved(self.origin, self.started)

    def _reserved(self, begin: int, end: int) -> list[Stretch]:
        plan = self._plan
        rest = plan.energy.at(0) & plan.power.unknown & plan.current.unknown
        cuts = plan.calendar(self.origin, begin, end, self._zone)
        ends = [at for at, _ in cuts[1:]] + [end]
        return [
            Stretch(at, Activity.RESERVED, mask & rest, 0, 0, 0, until - at)
            for (at, mask), until in zip(cuts, ends, strict=True)
        ]

    def cut(self, begin: int, end: int) -> list[Stretch]:
        """Cut [begin, end) wherever a price can change; one empty stretch for an empty session."""
        if self._only_reserved:
            return self._reserved(begin, end)
        if end <= begin and begin != self.started:
            return []
        plan = self._plan
        time_mask = plan.all
        energy, final = self.energy_at(begin), self.energy_at(end)
        energy_mask = plan.energy.at(energy)
        calendar = self._calendar(begin, end)
        power_mask = _held(self._power, plan.power, begin)
        current_mask = _held(self._current, plan.current, begin)
        activity = self._state_at(begin)
        changes: list[tuple[Exact, int, int | Activity]] = [(at, 0, mask) for at, mask in calendar]
        if plan.energy.bounds:
            changes += self._energy_changes(energy, final, end)
        if self._power:
            changes += _changes(2, self._power, plan.power, begin, end)
        if self._current:
            changes += _changes(3, self._current, plan.current, begin, end)
        i = bisect_right(self._states, begin, key=_first)
        while i < len(self._states) and self._states[i][0] < end:
            changes.append((self._states[i][0], 4, self._states[i][1]))
            i += 1
        changes.sort(key=_first)

        rest = calendar[0][1] & power_mask & current_mask
        stretches = self._at_once(begin, activity, rest) if begin == self.started else []
        for i, (at, axis, value) in enumerate(changes):
            if isinstance(value, Activity):
                activity = value
            elif axis == 0:
                time_mask = value
            elif axis == 1:
                energy_mask = value
            elif axis == 2:
                power_mask = value
            else:
                current_mask = value
            last = i + 1 == len(changes)
            until = end if last else changes[i + 1][0]
            if until == at and at != begin:
                continue
            reached = final if last else self.energy_at(until)
            length = until - at
            parked = activity is Activity.PARKING
            stretches.append(
                Stretch(
                    at,
                    activity,
                    time_mask & energy_mask & power_mask & current_mask,
                    reached - energy,
                    0 if parked else length,
                    length if parked else 0,
                    0,
                )
            )
            energy = reached
        return stretches

    def _state_at(self, us: int) -> Activity:
        i = bisect_right(self._states, us, key=_first)
        return self._states[i - 1][1] if i else Activity.CHARGING

    def _at_once(self, begin: int, activity: Activity, elements: int) -> list[Stretch]:
        """The energy that the start itself shows, cut where a price in kWh changes."""
        drawn, bands = self._energies[0], self._plan.energy
        if not drawn:
            return []
        marks = [0, *(bound for bound in bands.bounds if 0 < bound < drawn), drawn]
        return [
            Stretch(begin, activity, elements & bands.at(low), high - low, 0, 0, 0)
            for low, high in pairwise(marks)
        ]

    def _calendar(self, begin: int, end: int) -> list[tuple[int, int]]:
        """What :meth:`PricePlan.calendar` says, worked out ahead once the session goes on."""
        plan = self._plan
        if not self._cuts or end > self._cuts_until:
            known = self._cuts_until if self._cuts else begin
            ahead = end + _AHEAD if self._cuts else end
            self._cuts += plan.calendar(self.origin, known, ahead, self._zone)
            self._cuts_until = ahead
        first = bisect_right(self._cuts, begin, key=_first) - 1
        found = [(begin, self._cuts[first][1])]
        for at, mask in self._cuts[first + 1 :]:
            if at >= end:
                break
            if mask != found[-1][1]:
                found.append((at, mask))
        return found

    def _energy_changes(
        self, before: Exact, after: Exact, end: int
    ) -> Iterator[tuple[Exact, int, int]]:
        bands = self._plan.energy
        first = bisect_right(bands.bounds, before)
        for i in range(first, bisect_right(bands.bounds, after)):
            at = self._reaches(bands.bounds[i])
            if at < end:
                yield at, 1, bands.masks[i + 1]

    def _reaches(self, energy: Exact) -> Exact:
        """The first instant at which that much energy has been drawn."""
        i = bisect_left(self._energies, energy)
        return _between(
            energy, self._energies[i - 1], self._energies[i], self._times[i - 1], self._times[i]
        )


_first = itemgetter(0)
_AHEAD = 6 * 3600 * US_PER_S


def newest(series: Iterable[Sequence[tuple[datetime, object]]], least: datetime) -> datetime:
    """The latest instant of any of these samples, or ``least``."""
    for samples in series:
        for at, _ in samples:
            least = max(at, least)
    return least


def _at(sample: MeterSample | StateChange | PowerSample | CurrentSample) -> datetime:
    return sample.at


def _line(times: Sequence[int], energies: Sequence[Exact], us: Exact) -> Exact:
    i = bisect_right(times, us)
    if i == len(times):
        return energies[-1]
    return _between(us, times[i - 1], times[i], energies[i - 1], energies[i])


def _between(x: Exact, x0: Exact, x1: Exact, y0: Exact, y1: Exact) -> Exact:
    """The exact value at ``x`` on the straight line through two points."""
    rise, run = (y1 - y0) * (x - x0), x1 - x0
    if isinstance(rise, int) and isinstance(run, int):
        whole, rest = divmod(rise, run)
        if rest == 0:
            return y0 + whole
    value = y0 + Fraction(rise) / run
    return value.numerator if value.denominator == 1 else value


def _held(samples: Sequence[tuple[int, Exact]], bands: Bands, us: int) -> int:
    i = bisect_right(samples, us, key=_first)
    return bands.at(samples[i - 1][1]) if i else bands.unknown


def _changes(
    axis: int, samples: Sequence[tuple[int, Exact]], bands: Bands, begin: int, end: int
) -> Iterator[tuple[int, int, int]]:
    """Where inside (begin, end) a sample moves into another band."""
    mask = _held(samples, bands, begin)
    for i in range(bisect_right(samples, begin, key=_first), len(samples)):
        at, value = samples[i]
        if at >= end:
            return
        if (now := bands.at(value)) != mask:
            mask = now
            yield at, axis, now
