"""The measurands of the three versions of OCPP, by name."""

from collections.abc import Iterable
from typing import Any, Final

COMMON: Final = (
    "Current.Export",
    "Current.Import",
    "Current.Offered",
    "Energy.Active.Export.Interval",
    "Energy.Active.Export.Register",
    "Energy.Active.Import.Interval",
    "Energy.Active.Import.Register",
    "Energy.Reactive.Export.Interval",
    "Energy.Reactive.Export.Register",
    "Energy.Reactive.Import.Interval",
    "Energy.Reactive.Import.Register",
    "Frequency",
    "Power.Active.Export",
    "Power.Active.Import",
    "Power.Factor",
    "Power.Offered",
    "Power.Reactive.Export",
    "Power.Reactive.Import",
    "SoC",
    "Voltage",
)
ONLY_16: Final = ("RPM", "Temperature")
SINCE_201: Final = (
    "Energy.Active.Net",
    "Energy.Apparent.Export",
    "Energy.Apparent.Import",
    "Energy.Apparent.Net",
    "Energy.Reactive.Net",
)
SINCE_21: Final = (
    "Current.Export.Minimum",
    "Current.Export.Offered",
    "Current.Import.Minimum",
    "Current.Import.Offered",
    "Display.BatteryEnergyCapacity",
    "Display.ChargingComplete",
    "Display.InletHot",
    "Display.MaximumSOC",
    "Display.MinimumSOC",
    "Display.PresentSOC",
    "Display.RemainingTimeToMaximumSOC",
    "Display.RemainingTimeToMinimumSOC",
    "Display.RemainingTimeToTargetSOC",
    "Display.TargetSOC",
    "Energy.Active.Import.CableLoss",
    "Energy.Active.Import.LocalGeneration.Register",
    "Energy.Active.Setpoint.Interval",
    "EnergyRequest.Bulk",
    "EnergyRequest.Maximum",
    "EnergyRequest.Maximum.V2X",
    "EnergyRequest.Minimum",
    "EnergyRequest.Minimum.V2X",
    "EnergyRequest.Target",
    "Power.Active.Residual",
    "Power.Active.Setpoint",
    "Power.Export.Minimum",
    "Power.Export.Offered",
    "Power.Import.Minimum",
    "Power.Import.Offered",
    "Voltage.Maximum",
    "Voltage.Minimum",
)

MEASURANDS: Final = tuple(sorted((*COMMON, *ONLY_16, *SINCE_201, *SINCE_21)))
OF_VERSION: Final[dict[str, frozenset[str]]] = {
    "1.6": frozenset((*COMMON, *ONLY_16)),
    "2.0.1": frozenset((*COMMON, *SINCE_201)),
    "2.1": frozenset((*COMMON, *SINCE_201, *SINCE_21)),
}


def known_to(version: str, measurands: Iterable[str]) -> tuple[str, ...]:
    """Keep what a version has a word for, in the given order."""
    known = OF_VERSION[version]
    return tuple(m for m in measurands if m in known)


def in_words(fact: object) -> object:
    """Return sampled values as one would read them aloud, `Current.Import.L1=16A`; else the fact.

    Takes SampledValue of OCPP 1.6 and of 2.x, whose multiplier is a power of ten.
    """
    if not isinstance(fact, list) or not all(isinstance(v, dict) and "value" in v for v in fact):
        return fact
    return ",".join(_aloud(value) for value in fact)


def _aloud(sampled: dict[str, Any]) -> str:
    unit, power = sampled.get("unit", ""), ""
    if "unitOfMeasure" in sampled:
        unit = sampled["unitOfMeasure"].get("unit", "")
        multiplier = sampled["unitOfMeasure"].get("multiplier", 0)
        power = f"e{multiplier}" if multiplier else ""
    name = sampled.get("measurand", "Energy.Active.Import.Register")
    if "phase" in sampled:
        name += f".{sampled['phase']}"
    return f"{name}={sampled['value']}{power}{unit}"
