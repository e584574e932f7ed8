"""What a car takes: a battery with its charging curve, or an exact plan. Pure.

Energy is counted in whole millijoules (1 Wh = 3,600,000 mJ), time in whole
milliseconds and power in whole watts, so that one watt over one millisecond is
one millijoule and nothing is ever rounded away.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Literal, Protocol

MJ_PER_WH = 3_600_000

ChargingState = Literal["Charging", "SuspendedEV", "SuspendedEVSE"]


class Draw(Protocol):
    """The car's side of a running charge."""

    @property
    def wants(self) -> ChargingState:
        """Say what the car does by itself: Charging or SuspendedEV."""

    @property
    def soc(self) -> Decimal | None:
        """State of charge in percent, if this car tells it."""

    def power_w(self, offered_w: int | None) -> int:
        """Tell the present power under the station's offer (None: no limit)."""

    def next_change_ms(self, offered_w: int | None) -> int | None:
        """Tell in how many milliseconds the car changes by itself."""

    def take(self, elapsed_ms: int, offered_w: int | None) -> int:
        """Let time pass and return the energy taken, in millijoules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One stretch of a plan: so much energy in so much time."""

    seconds: Decimal
    wh: Decimal = Decimal(0)
    state: ChargingState = "Charging"


class Plan:
    """A draw that delivers exactly what is asked, to the millijoule.

    If the station offers less than the plan wants, the stretch grows longer
    until its energy is in.
    """

    soc: Decimal | None = None

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._left = [
            (int(s.seconds * 1000), int(s.wh * MJ_PER_WH), s.state) for s in segments if s.seconds
        ]
        self._state: ChargingState = segments[0].state if segments else "Charging"

    @property
    def finished(self) -> bool:
        """Say whether all stretches are over."""
        return not self._left

    @property
    def wants(self) -> ChargingState:
        """Say what the car does; after the last stretch it stays as it was."""
        return self._left[0][2] if self._left else self._state

    def power_w(self, offered_w: int | None) -> int:
        """Tell the present power in watts."""
        if not self._left or self._left[0][2] != "Charging":
            return 0
        ms, mj, _ = self._left[0]
        nominal = round(mj / ms)
        return nominal if offered_w is None else min(nominal, offered_w)

    def next_change_ms(self, offered_w: int | None) -> int | None:
        """Tell when the present stretch ends."""
        if not self._left:
            return None
        ms, mj, _ = self._left[0]
        if offered_w is not None and mj > offered_w * ms:
            return None if offered_w == 0 else -(-mj // offered_w)
        return ms

    def take(self, elapsed_ms: int, offered_w: int | None) -> int:
        """Let time pass; several stretches may end in it."""
        taken = 0
        while elapsed_ms > 0 and self._left:
            ms, mj, state = self._left[0]
            limited = offered_w is not None and mj > offered_w * ms
            if limited:
                offer = offered_w or 0
                spent = elapsed_ms if offer == 0 else min(elapsed_ms, -(-mj // offer))
                got = min(mj, offer * spent)
                rest = mj - got
                ms = -(-ms * rest // mj) if rest else 0
            else:
                spent = min(elapsed_ms, ms)
                got = mj if spent == ms else mj * spent // ms
                rest, ms = mj - got, ms - spent
            taken += got
            elapsed_ms -= spent
            if ms:
                self._left[0] = (ms, rest, state)
            else:
                self._state = state
                self._left.pop(0)
        return taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Car:
    """A car as the cable sees it; with `discharge_w` it can give energy back (V2G)."""

    battery_wh: int = 60_000
    soc: Decimal = Decimal(30)
    target_soc: Decimal = Decimal(100)
    max_power_w: int = 11_000
    phases: int = 3
    ramp_seconds: int = 10
    taper_from: Decimal = Decimal(80)
    tells_soc: bool = True
    discharge_w: int = 0
    least_soc: Decimal = Decimal(20)
    most_soc: Decimal = Decimal(100)

    @classmethod
    def random(cls, rng: random.Random, *, max_power_w: int = 11_000) -> "Car":
        """Make one of the cars that come along, from a seeded source."""
        return replace(
            cls(),
            battery_wh=rng.choice((38_000, 52_000, 64_000, 77_000, 95_000)),
            soc=Decimal(rng.randrange(8, 65)),
            max_power_w=min(max_power_w, rng.choice((3_680, 7_360, 11_000, 22_000, 150_000))),
            phases=rng.choice((1, 3, 3)),
        )


@dataclass(slots=True)
class Battery:
    """A car being charged: ramps up, holds, tapers, stops when full."""

    car: Car
    step_ms: int = 30_000
    _stored_mj: int = field(init=False)
    _full_mj: int = field(init=False)
    _battery_mj: int = field(init=False)
    _taper_mj: int = field(init=False)
    _running_ms: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._battery_mj = self.car.battery_wh * MJ_PER_WH
        self._stored_mj = int(self.car.soc * self._battery_mj / 100)
        self._full_mj = int(self.car.target_soc * self._battery_mj / 100)
        self._taper_mj = int(self.car.taper_from * self._battery_mj / 100)

    @property
    def soc(self) -> Decimal | None:
        """State of charge in percent, one decimal."""
        if not self.car.tells_soc:
            return None
        return Decimal(self._stored_mj * 1000 // self._battery_mj) / 10

    @property
    def wants(self) -> ChargingState:
        """A full car suspends."""
        return "SuspendedEV" if self._stored_mj >= self._full_mj else "Charging"

    def power_w(self, offered_w: int | None) -> int:
        """Follow ramp, curve and offer; an offer below 0 asks for energy back."""
        if offered_w is not None and offered_w < 0:
            return -min(-offered_w, self.car.discharge_w) if self._spare_mj() > 0 else 0
        if self._stored_mj >= self._full_mj:
            return 0
        car = self.car
        power, ramp_ms = car.max_power_w, car.ramp_seconds * 1000
        if self._running_ms < ramp_ms:
            power = power * max(1000, self._running_ms) // ramp_ms
        if self._stored_mj > self._taper_mj:
            left = (self._battery_mj - self._stored_mj) * power
            power = max(left // (self._battery_mj - self._taper_mj), power // 20)
        return power if offered_w is None else min(power, offered_w)

    def next_change_ms(self, offered_w: int | None) -> int | None:
        """Tell when it will be full at the earliest; on its curve it changes without a notice."""
        if offered_w is not None and offered_w < 0:
            gives = min(-offered_w, self.car.discharge_w)
            return max(1, -(-self._spare_mj() // gives)) if gives and self._spare_mj() > 0 else None
        most = self.car.max_power_w if offered_w is None else min(self.car.max_power_w, offered_w)
        if most == 0 or self._stored_mj >= self._full_mj:
            return None
        return max(1, -(-(self._full_mj - self._stored_mj) // most))

    def _spare_mj(self) -> int:
        return self._stored_mj - int(self.car.least_soc * self._battery_mj / 100)

    def _step(self, power_w: int) -> int:
        if power_w < 0:
            return max(1, min(self.step_ms, -(-self._spare_mj() // -power_w)))
        # Short enough for the curve to look smooth, and never past full.
        step = 1000 if self._running_ms < self.car.ramp_seconds * 1000 else self.step_ms
        return max(1, min(step, -(-(self._full_mj - self._stored_mj) // power_w)))

    def take(self, elapsed_ms: int, offered_w: int | None) -> int:
        """Let time pass and store what came."""
        taken = 0
        while elapsed_ms > 0:
            power_w = self.power_w(offered_w)
            if power_w == 0:
                break
            step = min(self._step(power_w), elapsed_ms)
            got = power_w * step
            self._stored_mj += got
            self._running_ms += step
            taken += got
            elapsed_ms -= step
        return taken
