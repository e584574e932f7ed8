"""Meter readings: units, phases, register resets, and the energy of a session."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from cpo.domain.events import Sample, SignedReading

ENERGY_REGISTER = "Energy.Active.Import.Register"

_ENERGY_UNITS = {"wh": 1, "kwh": 1000}
_ZERO = Decimal(0)
# Beyond ten to the power of this no meter counts, in any unit.
_MOST_DIGITS = 15
# Less energy by power than this says nothing against registers that stand still.
_TELLING_WH = 1000
_FULL = 100  # percent
# No connector delivers more; what rises faster is a broken reading, not energy (MV-14).
MAX_PLAUSIBLE_POWER_W = Decimal(1_000_000)
# Clocks jitter, and offline charges come with times that were made up: only what no car can
# take in at once is called implausible.
_GRACE_WH = Decimal(100_000)
# Readings in a row that a meter may show wrong before it is taken for another meter.
_LONGEST_DIP = 3


class RawValue(NamedTuple):
    """One sampled value as the charger sent it, before units and phases are settled."""

    value: str | Decimal | int
    measurand: str = ENERGY_REGISTER
    unit: str | None = None
    multiplier: int = 0
    phase: str | None = None
    location: str = "Outlet"
    context: str = "Sample.Periodic"
    signed: SignedReading | None = None


def parse_value(value: str | Decimal | int) -> Decimal | None:
    """Read a sampled value; None when it is no number that a meter can show (MV-19)."""
    try:
        number = Decimal(value)  # forgives blanks around a number
    except InvalidOperation:
        try:
            number = Decimal(str(value).replace(",", "."))
        except InvalidOperation:
            return None
    return number if number.is_finite() and abs(number.adjusted()) <= _MOST_DIGITS else None


@lru_cache(maxsize=256)
def _factor(measurand: str, unit: str) -> int | None:
    """What a unit multiplies by; None where it is none of energy, and energy it should be.

    Other quantities are not billed: a unit that nobody knows is taken for theirs.
    """
    folded = unit.strip().casefold()
    if measurand.startswith("Energy."):
        return _ENERGY_UNITS.get(folded)
    return 1000 if folded == "kw" else 1


RawValues = tuple[
    str | Decimal | int, str, str | None, int, str | None, str, str, SignedReading | None
]
"""The fields of a RawValue without its name: half of what comes in is this, so it must be cheap."""


def samples_of(at: datetime, values: Sequence[RawValues]) -> list[Sample]:
    """Return one sample for each reading context that the values of one instant carry."""
    contexts = {value[6] for value in values}
    if len(contexts) < 2:
        found = [sample_of(at, values)]
    else:
        found = [
            sample_of(at, [value for value in values if value[6] == context])
            for context in sorted(contexts)
        ]
    if any(sample.signed for sample in found):
        # A meter may sign several registers at once (MV-17).
        kept = [sample.signed for sample in found]
        found += [
            Sample(at, context=v[6], signed=v[7]) for v in values if v[7] not in (None, *kept)
        ]
    return found


def samples_at(told: Sequence[tuple[datetime, list[RawValues]]]) -> tuple[Sample, ...]:
    """Return the samples of several instants.

    Values of one instant belong together also where a station tells each by itself, as long as
    none of them comes twice.
    """
    if len(told) == 1:
        return tuple(samples_of(*told[0]))
    together: list[tuple[datetime, list[RawValues]]] = []
    for at, values in told:
        if together and together[-1][0] == at:
            known = {_kind(value) for value in together[-1][1]}
            if known.isdisjoint(map(_kind, values)):
                together[-1][1].extend(values)
                continue
        together.append((at, list(values)))
    return tuple(sample for at, values in together for sample in samples_of(at, values))


def _kind(value: RawValues) -> tuple[str | None, ...]:
    return value[1], value[4], value[5], value[6]


def sample_of(at: datetime, values: Iterable[RawValues]) -> Sample:
    """Bring the values of one instant together: units to Wh, W, A, V; phases summed (MV-01 to 08).

    A value without a phase is the total and wins over the sum of its phases (MV-05); N is not
    summed, L1-N counts as L1 (MV-06); only the outlet counts (MV-07); voltage is a mean.
    """
    totals: dict[str, Decimal] = {}
    phases: dict[str, dict[str, Decimal]] = {}
    context = "Sample.Periodic"
    signed: SignedReading | None = None
    own = _UNITS.get
    for value, measurand, unit, multiplier, phase, location, reading_context, signature in values:
        if signature is not None:
            signed = signature
        if measurand not in _WANTED or (location != "Outlet" and measurand != "SoC"):
            continue
        number = parse_value(value)
        if number is None:
            continue
        if unit is not None and unit != own(measurand):
            factor = _factor(measurand, unit[:16])
            if factor is None:
                continue  # 50 Hz are no Wh (MV-18)
            if factor != 1:
                number *= factor
        if multiplier:
            if abs(multiplier) > _MOST_DIGITS:
                continue
            number = number.scaleb(multiplier)
        context = reading_context
        if phase is None:
            totals[measurand] = number
        elif phase in _PHASES:
            phases.setdefault(measurand, {})[phase[:2]] = number
    if phases:
        for measurand, by_phase in phases.items():
            if measurand not in totals:
                total = sum(by_phase.values(), _ZERO)
                totals[measurand] = total / len(by_phase) if measurand == "Voltage" else total
    get = totals.get
    return Sample(
        at,
        get(ENERGY_REGISTER),
        get("Power.Active.Import"),
        get("Current.Import"),
        get("SoC"),
        get("Energy.Active.Export.Register"),
        get("Energy.Active.Import.Interval"),
        get("Voltage"),
        context,
        signed,
        get(_NET),
    )


_NET = "Energy.Active.Net"
_UNITS = {
    ENERGY_REGISTER: "Wh",
    "Power.Active.Import": "W",
    "Current.Import": "A",
    "SoC": "Percent",
    "Voltage": "V",
}
_WANTED = frozenset(
    {
        ENERGY_REGISTER,
        _NET,
        "Power.Active.Import",
        "Current.Import",
        "SoC",
        "Energy.Active.Export.Register",
        "Energy.Active.Import.Interval",
        "Voltage",
    }
)
_PHASES = frozenset({"L1", "L2", "L3", "L1-N", "L2-N", "L3-N"})


def last_soc(samples: Sequence[Sample]) -> Decimal | None:
    """Return the state of charge that was told last, in percent; what cannot be one counts not."""
    told = (sample.soc_percent for sample in reversed(samples))
    return next((soc for soc in told if soc is not None and 0 <= soc <= _FULL), None)


@dataclass(frozen=True, slots=True)
class EnergyCurve:
    """The energy of a session over time, and what was odd about its readings.

    `points` are (instant, Wh since the start), sorted, never falling. `estimated` is set when
    no register told the energy. `register` is the last one that counted, as the meter shows it.
    """

    points: tuple[tuple[datetime, Decimal], ...]
    flags: frozenset[str]
    estimated: bool = False
    register: tuple[datetime, Decimal] | None = None

    @property
    def total_wh(self) -> Decimal:
        """The energy of the whole session so far, in Wh."""
        return self.points[-1][1] if self.points else _ZERO


def energy_curve(
    samples: Sequence[Sample],
    *,
    started_at: datetime,
    begin_wh: Decimal | None,
    ended_at: datetime | None = None,
    end_wh: Decimal | None = None,
    max_power_w: Decimal = MAX_PLAUSIBLE_POWER_W,
) -> EnergyCurve:
    """Fold the readings of a session into its energy over time (MAP-21, section 7 of the cases).

    Order of trust: registers named Transaction.Begin/End, `begin_wh`/`end_wh` (1.6 meterStart and
    meterStop), register samples, a net register, interval values, the integral of power (flagged
    `estimated`).

    Flags: `meter_reset` (the register fell and went on), `meter_stop_below_start`,
    `meter_stop_implausible` (a stop value below trusted readings), `implausible_jump`
    (a reading that rises faster than `max_power_w` allows is not counted), `dip_ignored` (a few
    readings below those around them are not counted), `session_relative`
    (samples count from zero while the start value is an odometer), `begin_rejected`,
    `energy_exported` (the car gave some back, which nothing is taken off for), `no_energy`,
    `estimated`.
    """
    ordered = sorted(samples, key=lambda s: s.at)
    exports = [sample.export_wh for sample in ordered if sample.export_wh is not None]
    flags = {"energy_exported"} if exports and exports[-1] > exports[0] else set()
    registers: list[tuple[datetime, Decimal]] = []
    begin_sample: tuple[datetime, Decimal] | None = None
    end_sample: tuple[datetime, Decimal] | None = None
    for sample in ordered:
        wh = sample.register_wh
        if wh is None:
            continue
        if sample.context == "Transaction.Begin" and begin_sample is None:
            begin_sample = (sample.at, wh)
        elif sample.context == "Transaction.End":
            end_sample = (sample.at, wh)
        else:
            registers.append((sample.at, wh))
    if begin_wh is not None and begin_wh < 0:
        flags.add("begin_rejected")  # an odometer is never below zero
        begin_wh = None
    base = begin_sample[1] if begin_sample is not None and begin_wh is None else begin_wh
    named = _named_ends(begin_sample, end_sample)
    if named is not None:
        base = named[0]
    if base is None and not registers and end_sample is None and end_wh is None:
        found = _without_registers(ordered, started_at=started_at, ended_at=ended_at)
        return replace(found, flags=found.flags | flags)
    if ended_at is not None:
        told = [base, end_wh, *(end_sample or ())[1:], *(wh for _, wh in registers)]
        better = _where_they_stand(told, ordered, started_at=started_at, ended_at=ended_at)
        if better is not None:
            return replace(better, flags=better.flags | flags)

    readings = [reading for reading in registers if ended_at is None or reading[0] <= ended_at]
    # The start is known at the start; a first sample a moment later must not move it.
    if base is not None:
        readings.insert(0, (started_at, base))
    stop = end_sample[1] if end_sample is not None else end_wh
    if end_sample is not None and end_wh is not None and end_sample[1] != end_wh:
        if abs(end_sample[1] - end_wh) >= 1:
            flags.add("stop_values_differ")
        stop = named[1] if named is not None else end_wh
    if stop is not None:
        # A register in whole Wh (meterStop of 1.6) cuts what samples tell more finely.
        readings = [(at, stop if 0 < wh - stop < 1 else wh) for at, wh in readings]
        last = max((wh for _, wh in readings), default=None)
        first = readings[0][1] if readings else None
        if first is not None and stop < first and not _relative(readings[1:], first):
            if last is not None and last > first:
                flags.add("meter_stop_implausible")
            else:
                flags.add("meter_stop_below_start")
            stop = None
        elif (
            last is not None
            and first is not None
            and first <= stop < last
            and not _relative(readings[1:], first)
        ):
            flags.add("meter_stop_implausible")
    if stop is not None:
        at = ended_at or (end_sample[0] if end_sample is not None else started_at)
        readings = [reading for reading in readings if reading[0] < at or reading[0] <= started_at]
        if base is not None and len(readings) > 1 and base <= stop:
            settled = _settled_between(readings[1:], base, stop, ends_named=named is not None)
            if settled is not None and not jumps(readings[0], (at, stop), max_power_w):
                flags.add("session_relative" if settled else "dip_ignored")
                readings[1:] = settled
        readings.append((at, stop))

    if base is not None and len(readings) > 1 and _relative(readings[1:], base):
        flags.add("session_relative")
        readings[0] = (started_at, _ZERO)
    elif base == 0 and len(readings) > 1 and jumps(readings[0], readings[1], max_power_w):
        flags.add("begin_rejected")
        if len(readings) == 2:
            flags.add("implausible_jump")  # nothing else tells what was charged
        readings[0] = (started_at, readings[1][1])

    points: list[tuple[datetime, Decimal]] = []
    total = _ZERO
    previous: tuple[datetime, Decimal] | None = None
    for index, (at, wh) in enumerate(readings):
        if previous is None:
            points.append((min(at, started_at), _ZERO))
            previous = (at, wh)
            continue
        delta = wh - previous[1]
        if delta < 0 and _recovers(readings[index + 1 :], previous, max_power_w):
            flags.add("dip_ignored")
            continue
        if delta < 0:
            # The meter was replaced or started anew: what it shows now was not all ours.
            flags.add("meter_reset")
            delta = _ZERO
        elif jumps(previous, (at, wh), max_power_w):
            flags.add("implausible_jump")
            continue
        total += delta
        previous = (at, wh)
        if points[-1][0] == at:
            points[-1] = (at, total)
        else:
            points.append((at, total))
    if ended_at is not None and points and points[-1][0] < ended_at:
        points.append((ended_at, total))
    return EnergyCurve(tuple(points), frozenset(flags), register=previous)


def _named_ends(
    begin: tuple[datetime, Decimal] | None, end: tuple[datetime, Decimal] | None
) -> tuple[Decimal, Decimal] | None:
    """Return both ends as the meter itself named them; a placeholder 0 is none (Q36)."""
    if begin is None or end is None or not 0 < begin[1] <= end[1]:
        return None
    return begin[1], end[1]


def _settled_between(
    readings: Sequence[tuple[datetime, Decimal]],
    base: Decimal,
    stop: Decimal,
    *,
    ends_named: bool,
) -> list[tuple[datetime, Decimal]] | None:
    """Return what readings between two odometer values mean that are not of that odometer.

    All of them are below the start, and the stop is not. Those that count up from zero are the
    session's own energy (Q35). Others say nothing where the meter itself named both ends (Q38);
    else this is None: it cannot be told here.
    """
    if any(wh >= base for _, wh in readings):
        return None
    if _relative(readings, base) and base + readings[-1][1] <= stop:
        return [(at, base + wh) for at, wh in readings]
    return [] if ends_named else None


def _recovers(
    later: Sequence[tuple[datetime, Decimal]],
    level: tuple[datetime, Decimal],
    max_power_w: Decimal,
) -> bool:
    """Whether the register soon stands where it stood before it fell: then it never fell (Q38)."""
    for reading in later[:_LONGEST_DIP]:
        if reading[1] >= level[1]:
            return not jumps(level, reading, max_power_w)
    return False


def _relative(readings: Sequence[tuple[datetime, Decimal]], base: Decimal) -> bool:
    """Whether the readings count from zero although the start value is an odometer (MV-12)."""
    if base <= 0 or len(readings) < 2:  # one low value alone is a broken stop, not a habit
        return False
    values = [wh for _, wh in readings]
    return max(values) < base and all(a <= b for a, b in pairwise(values))


def _where_they_stand(
    told: Sequence[Decimal | None],
    samples: Sequence[Sample],
    *,
    started_at: datetime,
    ended_at: datetime,
) -> EnergyCurve | None:
    """The energy of a charge whose registers do not say it; None where they do.

    One reading alone is no difference. Registers that never moved are believed, unless intervals or
    power say that energy was drawn; where all are 0 there is no register.
    """
    values = [wh for wh in told if wh is not None]
    if len(set(values)) > 1:
        return None
    found = _without_registers(samples, started_at=started_at, ended_at=ended_at)
    if len(values) == 1:
        return found
    if found.total_wh < _TELLING_WH and (found.estimated or found.total_wh <= 0 or values[0]):
        return None
    if values[0] == 0 and not found.estimated:
        return found
    return replace(found, flags=found.flags | {"estimated"}, estimated=True)


def jumps(
    a: tuple[datetime, Decimal],
    b: tuple[datetime, Decimal],
    max_power_w: Decimal = MAX_PLAUSIBLE_POWER_W,
) -> bool:
    """Tell whether a register rises from `a` to `b` faster than any connector delivers (MV-14)."""
    beyond = b[1] - a[1] - _GRACE_WH
    if beyond <= 0:
        return False
    seconds = max(Decimal((b[0] - a[0]).total_seconds()), _ZERO)
    return beyond * 3600 > max_power_w * seconds


def _without_registers(
    samples: Sequence[Sample], *, started_at: datetime, ended_at: datetime | None
) -> EnergyCurve:
    """Energy from a net register, interval values, or else power, as an estimate (MV-08)."""
    points: list[tuple[datetime, Decimal]] = [(started_at, _ZERO)]
    total = _ZERO
    within = [s for s in samples if ended_at is None or s.at <= ended_at]
    nets = [(s.at, s.net_wh) for s in within if s.net_wh is not None]
    if len(nets) > 1:
        return EnergyCurve(_closed(points + _net(nets), ended_at), frozenset())
    intervals = _intervals(within, started_at)
    if intervals:
        for at, wh in intervals.items():
            total += wh
            points.append((at, total))
        return EnergyCurve(_closed(points, ended_at), frozenset())
    powers = [(s.at, s.power_w) for s in within if s.power_w is not None]
    for index, (at, power) in enumerate(powers):
        until = powers[index + 1][0] if index + 1 < len(powers) else (ended_at or at)
        seconds = Decimal((until - at).total_seconds())
        if power is not None and seconds > 0:
            total += power * seconds / 3600
            points.append((until, total))
    flags = frozenset({"estimated"}) if powers else frozenset({"no_energy"})
    return EnergyCurve(_closed(points, ended_at), flags, estimated=bool(powers))


def _intervals(samples: Sequence[Sample], started_at: datetime) -> dict[datetime, Decimal]:
    """The intervals of a charge, each once.

    An end repeats them: of one instant one counts. Those by the clock run beside the others.
    """
    told = [
        s
        for s in samples
        if s.interval_wh is not None
        and s.interval_wh >= 0
        and s.at >= started_at
        and s.context != "Transaction.Begin"
    ]
    own = [s for s in told if s.context != "Sample.Clock"]
    return {s.at: s.interval_wh or _ZERO for s in own or told}


def _net(readings: Sequence[tuple[datetime, Decimal]]) -> list[tuple[datetime, Decimal]]:
    """What a register of import less export comes to: what was given back is not billed."""
    first = readings[0][1]
    total = max(readings[-1][1] - first, _ZERO)
    points = []
    reached = _ZERO
    for at, wh in readings:
        reached = max(reached, min(wh - first, total))
        points.append((at, reached))
    return points


def _closed(
    points: list[tuple[datetime, Decimal]], ended_at: datetime | None
) -> tuple[tuple[datetime, Decimal], ...]:
    if ended_at is not None and points[-1][0] < ended_at:
        points.append((ended_at, points[-1][1]))
    return tuple(points)
