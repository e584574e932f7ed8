"""What a car asks for (NotifyEVChargingNeeds of 2.x), and the schedule it gets. Pure.

The schedule is as much as the car can take, within all limits that hold at its EVSE.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from cpo.domain.limits import Step, Supply
from cpo.errors import Invalid

_AC_PHASES: Final = {"AC_single_phase": 1, "AC_two_phase": 2, "AC_three_phase": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a car can take: `phases` None for DC; `most_a` per phase, `most_w` in all."""

    phases: int | None
    most_a: Decimal | None = None
    most_w: Decimal | None = None
    energy_wh: Decimal | None = None
    departure: datetime | None = None
    most_periods: int | None = None

    @property
    def dc(self) -> bool:
        """Whether it charges with direct current."""
        return self.phases is None


def read_needs(sent: Mapping[str, Any]) -> Needs:
    """Read a NotifyEVChargingNeedsRequest of 2.0.1 or 2.1.

    Raises:
        Invalid: it does not say how much the car can take.
    """
    asked = sent["chargingNeeds"]
    transfer = str(asked.get("requestedEnergyTransfer", ""))
    ac, dc = asked.get("acChargingParameters"), asked.get("dcChargingParameters")
    both = asked.get("v2xChargingParameters") or {}
    phases = None
    if transfer.startswith("AC") or (ac and not dc):
        phases = _AC_PHASES.get(transfer, 3)
    most_a, most_w, energy = None, _number(both, "maxChargePower"), None
    if phases is not None and ac:
        most_a, energy = _number(ac, "evMaxCurrent"), _number(ac, "energyAmount")
    elif phases is None and dc:
        energy = _number(dc, "energyAmount")
        current, voltage = _number(dc, "evMaxCurrent"), _number(dc, "evMaxVoltage")
        product = current * voltage if current is not None and voltage is not None else None
        given = [w for w in (_number(dc, "evMaxPower"), product, most_w) if w is not None]
        most_w = min(given, default=None)
    if most_a is None:
        most_a = _number(both, "maxChargeCurrent") if phases is not None else None
    if most_a is None and most_w is None:
        raise Invalid("chargingNeeds", "do not say how much the car can take")
    tuples = sent.get("maxScheduleTuples")
    return Needs(
        phases=phases,
        most_a=most_a,
        most_w=most_w,
        energy_wh=energy if energy is not None else _number(both, "evTargetEnergyRequest"),
        departure=_instant(asked.get("departureTime")),
        most_periods=tuples if isinstance(tuples, int) and tuples > 0 else None,
    )


def supply_for(needs: Needs, supply: Supply) -> Supply:
    """Return the part of an EVSE's supply that a car uses: one with fewer phases gets less."""
    if needs.phases is None or needs.phases >= supply.phases:
        return supply
    most = supply.most_w * needs.phases / supply.phases if supply.most_w is not None else None
    return replace(supply, phases=needs.phases, most_w=most)


def most_of(needs: Needs, supply: Supply) -> Decimal:
    """Return the most that a car takes from a supply (that of `supply_for`), in watts."""
    given = [w for w in (needs.most_w, supply.most_w) if w is not None]
    if needs.most_a is not None:
        given.append(supply.watts(needs.most_a, needs.phases))
    return min(given)


def few(steps: Sequence[Step], most: int) -> tuple[Step, ...]:
    """Return at most so many steps; the last says the least of all it stands for."""
    if len(steps) <= most:
        return tuple(steps)
    tail = steps[most - 1 :]
    least = min((s.limit_w for s in tail if s.limit_w is not None), default=None)
    return (*steps[: most - 1], Step(tail[0].at, least))


def _number(sent: Mapping[str, Any], name: str) -> Decimal | None:
    value = sent.get(name)
    try:
        number = Decimal(str(value)) if value is not None else None
    except InvalidOperation:
        return None
    return number if number is not None and number.is_finite() and number >= 0 else None


def _instant(value: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo is not None else None
