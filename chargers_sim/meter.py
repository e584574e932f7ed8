"""The electricity meter of an outlet: registers and everything it can tell. Pure.

Power is in watts at the outlet: positive into the car, negative out of it.
"""

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import ClassVar

from chargers_sim.car import MJ_PER_WH, Car
from chargers_sim.errors import BadInput
from chargers_sim.measurands import MEASURANDS

# The least current of a car under the rules for AC (IEC 61851).
LEAST_AMPERES = 6
# What gets lost in the cable, of the energy that went through it.
CABLE_LOSS_PERCENT = 1
# What only the car knows.
TELL_CAR = frozenset(
    m for m in MEASURANDS if m == "SoC" or m.startswith(("Display.", "EnergyRequest."))
)
LINES = ("L1", "L2", "L3")
THOUSANDS = {"W": "kW", "var": "kvar", "VA": "kVA", "Wh": "kWh", "varh": "kvarh", "VAh": "kVAh"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One value as read: physical value and unit, before any protocol."""

    measurand: str
    value: Decimal
    unit: str
    phase: str | None = None
    location: str = "Outlet"
    signed: str | None = None
    public_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All samples of one instant."""

    at_ms: int
    context: str
    samples: tuple[Sample, ...]


@dataclass(slots=True, kw_only=True)
class Moment:
    """What flows at the instant of a reading, and what the car tells."""

    power_w: int
    offered_w: int | None = None
    soc: Decimal | None = None
    car: Car | None = None
    setpoint_w: int | None = None
    series: str = "Sample"
    phases: int = 3
    volts: list[Decimal] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Meter:
    """A meter with its registers; knows the grid it hangs on.

    `register_unit` kWh and `power_unit` kW tell thousands; `by_phase` tells power and
    energy of each line beside their sum.
    """

    serial: str = "MTR-000001"
    register_mj: int = 0
    exported_mj: int = 0
    phases: int = 3
    voltage_v: int = 230
    direct_current: bool = False
    power_factor: Decimal = Decimal(1)
    decimals: int = 0
    register_unit: str = "Wh"
    power_unit: str = "W"
    by_phase: bool = False
    noise: random.Random | None = None
    _marks: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    _base_mj: tuple[int, int] = (0, 0)

    def count(self, taken_mj: int) -> None:
        """Count energy that went into the car, or (below 0) came out of it."""
        if taken_mj >= 0:
            self.register_mj += taken_mj
        else:
            self.exported_mj -= taken_mj

    def register_wh(self) -> Decimal:
        """Read the import register in Wh, cut to the meter's resolution."""
        return self._wh(self.register_mj)

    def exported_wh(self) -> Decimal:
        """Read the export register in Wh, cut to the meter's resolution."""
        return self._wh(self.exported_mj)

    def set_register_wh(self, wh: Decimal) -> None:
        """Put the register to a value, as a swap or a reset of the meter does."""
        self.register_mj = int(wh * MJ_PER_WH)
        self._base_mj = self.register_mj, self.exported_mj
        self._marks.clear()

    def begin_intervals(self) -> None:
        """Let the sampled interval registers begin anew, as a transaction does."""
        self._base_mj = self.register_mj, self.exported_mj
        self._marks = {key: mark for key, mark in self._marks.items() if key[0] == "Clock"}

    def read(
        self,
        measurands: Iterable[str],
        *,
        power_w: int,
        offered_w: int | None,
        soc: Decimal | None,
        car: Car | None = None,
        setpoint_w: int | None = None,
        series: str = "Sample",
    ) -> list[Sample]:
        """Read the asked measurands at the present power; what nobody can tell is left out.

        Interval registers begin anew with each reading of a `series`; an empty one only looks.
        """
        phases = 1 if self.direct_current else self.phases
        if car is not None and not self.direct_current:
            phases = min(phases, car.phases)
        now = Moment(
            power_w=power_w,
            offered_w=offered_w,
            soc=soc,
            car=car,
            setpoint_w=setpoint_w,
            series=series,
            phases=phases,
        )
        samples: list[Sample] = []
        for measurand in measurands:
            samples += self.teller(measurand)(self, measurand, now)
        return samples

    # Energy

    def _wh(self, millijoules: int) -> Decimal:
        scale = int(10**self.decimals)
        return Decimal(millijoules * scale // MJ_PER_WH) / scale

    def _tangent(self) -> Decimal:
        if self.power_factor == 1:
            return Decimal(0)
        return Decimal(f"{math.tan(math.acos(float(self.power_factor))):.6f}")

    def _register(self, measurand: str, registers: tuple[int, int]) -> tuple[Decimal, str]:
        """Give the energy behind a measurand in its base unit, at import and export registers."""
        taken, given = self._wh(registers[0]), self._wh(registers[1])
        _, kind, direction = measurand.split(".")[:3]
        wh = {"Export": given, "Net": taken - given}.get(direction, taken)
        if kind == "Reactive":
            return (wh * self._tangent()).quantize(Decimal(1)), "varh"
        if kind == "Apparent":
            return (wh / self.power_factor).quantize(Decimal(1)), "VAh"
        return wh, "Wh"

    def _energy(self, measurand: str, now: Moment) -> list[Sample]:
        value, unit = self._register(measurand, (self.register_mj, self.exported_mj))
        return self._with_phases(measurand, value, unit, now)

    def _interval(self, measurand: str, now: Moment) -> list[Sample]:
        # A station keeps to its setpoint: what flowed is what was set.
        if "Setpoint" in measurand and now.setpoint_w is None:
            return []
        value, unit = self._register(measurand, (self.register_mj, self.exported_mj))
        mark = now.series or "Sample", measurand
        since = self._marks.get(mark)
        if since is None:
            since = self._register(measurand, self._base_mj)[0]
        if now.series:
            self._marks[mark] = value
        return [self._energy_sample(measurand, value - since, unit)]

    def _cable_loss(self, measurand: str, _: Moment) -> list[Sample]:
        lost = self.register_wh() * CABLE_LOSS_PERCENT / 100
        return [self._energy_sample(measurand, lost.quantize(Decimal(1)), "Wh")]

    def _local_generation(self, measurand: str, _: Moment) -> list[Sample]:
        # Nothing is generated on this site.
        return [self._energy_sample(measurand, Decimal(0), "Wh")]

    def _energy_sample(
        self, measurand: str, value: Decimal, unit: str, phase: str | None = None
    ) -> Sample:
        if self.register_unit == "kWh":
            value, unit = value / 1000, THOUSANDS[unit]
        return Sample(measurand=measurand, value=value, unit=unit, phase=phase)

    # Power

    def _power(self, measurand: str, now: Moment) -> list[Sample]:
        watts = max(0, now.power_w if measurand.endswith("Import") else -now.power_w)
        if "Reactive" in measurand:
            return self._with_phases(measurand, Decimal(int(watts * self._tangent())), "var", now)
        return self._with_phases(measurand, Decimal(watts), "W", now)

    def _offered(self, measurand: str, now: Moment) -> list[Sample]:
        watts = self._most_w(measurand, now)
        if measurand.startswith("Power"):
            return [self._power_sample(measurand, Decimal(watts), "W")]
        amperes = Decimal(watts) / now.phases / self.voltage_v
        return [Sample(measurand=measurand, value=amperes.quantize(Decimal("0.1")), unit="A")]

    def _most_w(self, measurand: str, now: Moment) -> int:
        if ".Export." in measurand:
            return 0 if now.car is None else now.car.discharge_w
        return self._capacity_w() if now.offered_w is None else now.offered_w

    def _least(self, measurand: str, now: Moment) -> list[Sample]:
        amperes = 0 if ".Export." in measurand else LEAST_AMPERES
        if measurand.startswith("Current"):
            return [Sample(measurand=measurand, value=Decimal(amperes), unit="A")]
        watts = Decimal(amperes * self.voltage_v * now.phases)
        return [self._power_sample(measurand, watts, "W")]

    def _setpoint(self, measurand: str, now: Moment) -> list[Sample]:
        if now.setpoint_w is None:
            return []
        residual = measurand.endswith("Residual")
        watts = now.setpoint_w - now.power_w if residual else now.setpoint_w
        return [self._power_sample(measurand, Decimal(watts), "W")]

    def _factor(self, measurand: str, _: Moment) -> list[Sample]:
        return [Sample(measurand=measurand, value=self.power_factor, unit="")]

    def _power_sample(
        self, measurand: str, value: Decimal, unit: str, phase: str | None = None
    ) -> Sample:
        if self.power_unit == "kW":
            value, unit = value / 1000, THOUSANDS[unit]
        return Sample(measurand=measurand, value=value, unit=unit, phase=phase)

    def _with_phases(self, measurand: str, value: Decimal, unit: str, now: Moment) -> list[Sample]:
        make = self._energy_sample if unit.endswith("h") else self._power_sample
        samples = [make(measurand, value, unit)]
        if self.by_phase and not self.direct_current:
            # The first line carries the rest, so that the lines add up to the sum.
            each = (value / now.phases).quantize(value, rounding="ROUND_DOWN")
            first = value - each * (now.phases - 1)
            for line, part in zip(LINES, [first, *[each] * (now.phases - 1)], strict=False):
                samples.append(make(measurand, part, unit, line))
        return samples

    # Current, voltage, frequency

    def _current(self, measurand: str, now: Moment) -> list[Sample]:
        watts = Decimal(max(0, now.power_w if measurand.endswith("Import") else -now.power_w))
        return [
            Sample(
                measurand=measurand,
                value=(watts / now.phases / volts / self.power_factor).quantize(Decimal("0.01")),
                unit="A",
                phase=None if self.direct_current else line,
            )
            for volts, line in zip(self._volts(now), LINES, strict=False)
        ]

    def _voltage(self, measurand: str, now: Moment) -> list[Sample]:
        return [
            Sample(
                measurand=measurand,
                value=volts,
                unit="V",
                phase=None if self.direct_current else f"{line}-N",
            )
            for volts, line in zip(self._volts(now), LINES, strict=False)
        ]

    def _volts(self, now: Moment) -> list[Decimal]:
        if not now.volts:
            noise, nominal = self.noise, self.voltage_v
            # The grid wanders by about one percent.
            now.volts = [
                Decimal(nominal)
                if noise is None
                else Decimal(f"{noise.gauss(nominal, nominal / 100):.1f}")
                for _ in range(now.phases)
            ]
        return now.volts

    def _voltage_bound(self, measurand: str, _: Moment) -> list[Sample]:
        lowest, highest = (150, 1000) if self.direct_current else (207, 253)
        volts = Decimal(lowest if measurand.endswith("Minimum") else highest)
        return [Sample(measurand=measurand, value=volts, unit="V")]

    def _frequency(self, measurand: str, _: Moment) -> list[Sample]:
        return [Sample(measurand=measurand, value=Decimal("50.00"), unit="Hz")]

    # The station's body

    def _temperature(self, measurand: str, now: Moment) -> list[Sample]:
        value = (Decimal(24) + abs(Decimal(now.power_w)) / 2000).quantize(Decimal("0.1"))
        return [Sample(measurand=measurand, value=value, unit="Celsius", location="Body")]

    def _fan(self, measurand: str, now: Moment) -> list[Sample]:
        turns = Decimal(1200 if now.power_w else 0)
        return [Sample(measurand=measurand, value=turns, unit="", location="Body")]

    # The car

    def _soc(self, measurand: str, now: Moment) -> list[Sample]:
        if now.soc is None:
            return []
        return [Sample(measurand=measurand, value=now.soc, unit="Percent", location="EV")]

    def _display(self, measurand: str, now: Moment) -> list[Sample]:
        car, soc = now.car, now.soc
        if car is None or soc is None:
            return []
        name = measurand.partition(".")[2]
        value: Decimal | None
        if name.startswith("RemainingTimeTo"):
            value, unit = _seconds_to(_target(name, car), soc, car, now.power_w), "s"
        elif name == "BatteryEnergyCapacity":
            value, unit = Decimal(car.battery_wh), "Wh"
        elif name == "ChargingComplete":
            value, unit = Decimal(int(soc >= car.target_soc)), ""
        elif name == "InletHot":
            value, unit = Decimal(0), ""
        else:
            value, unit = _target(name, car), "Percent"
        if value is None:
            return []
        return [Sample(measurand=measurand, value=value, unit=unit, location="EV")]

    def _request(self, measurand: str, now: Moment) -> list[Sample]:
        car, soc = now.car, now.soc
        if car is None or soc is None:
            return []
        bulk = car.taper_from if measurand.endswith("Bulk") else _target(measurand, car)
        wanted = (bulk - soc) * car.battery_wh / 100
        value = wanted.quantize(Decimal(1))
        return [Sample(measurand=measurand, value=value, unit="Wh", location="EV")]

    def _capacity_w(self) -> int:
        return self.voltage_v * 32 * self.phases

    # Who tells what: by the whole name, else by its beginning and end

    _by_name: ClassVar[dict[str, "Teller"]] = {
        "Display.PresentSOC": _soc,
        "Energy.Active.Import.CableLoss": _cable_loss,
        "Energy.Active.Import.LocalGeneration.Register": _local_generation,
        "Frequency": _frequency,
        "Power.Active.Residual": _setpoint,
        "Power.Active.Setpoint": _setpoint,
        "Power.Factor": _factor,
        "RPM": _fan,
        "SoC": _soc,
        "Temperature": _temperature,
        "Voltage": _voltage,
    }
    _by_ends: ClassVar[tuple[tuple[str, str, "Teller"], ...]] = (
        ("Display.", "", _display),
        ("EnergyRequest.", "", _request),
        ("Voltage.", "", _voltage_bound),
        ("", ".Interval", _interval),
        ("Energy.", "", _energy),
        ("", "Offered", _offered),
        ("", "Minimum", _least),
        ("Current.", "", _current),
        ("Power.", "", _power),
    )

    @classmethod
    def teller(cls, measurand: str) -> "Teller":
        """Find what tells a measurand."""
        tell = _FOUND.get(measurand)
        if tell is None:
            if measurand not in MEASURANDS:
                known = ", ".join(MEASURANDS)
                raise BadInput(f"unknown measurand {measurand!r}; known are {known}")
            tell = cls._by_name.get(measurand) or next(
                tell
                for begins, ends, tell in cls._by_ends
                if measurand.startswith(begins) and measurand.endswith(ends)
            )
            _FOUND[measurand] = tell
        return tell


Teller = Callable[[Meter, str, Moment], list[Sample]]
_FOUND: dict[str, Teller] = {}


def _target(name: str, car: Car) -> Decimal:
    for word, soc in (("Minimum", car.least_soc), ("Maximum", car.most_soc)):
        if word in name:
            return soc
    return car.target_soc


def _seconds_to(wanted: Decimal, soc: Decimal, car: Car, power_w: int) -> Decimal | None:
    if soc >= wanted:
        return Decimal(0)
    if power_w <= 0:
        return None
    missing_wh = (wanted - soc) * car.battery_wh / 100
    return (missing_wh * 3600 / power_w).quantize(Decimal(1))
