"""Meters that count kWh and call them Wh, where the operator says so of a station (MV-15, Q34)."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

_ENERGY: Final = "Energy."
_MISLABELLED: Final = (None, "Wh")
# Whole Wh by the standard, in the messages of 1.6.
_REGISTERS: Final = ("meterStart", "meterStop")
_LISTS: Final = ("meterValue", "transactionData")


def relabelled(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message with its energies called what they are: kWh, and registers in Wh."""
    changed = dict(payload)
    for name in _REGISTERS:
        if name in changed:
            changed[name] = Decimal(str(changed[name])) * 1000
    for name in _LISTS:
        if name in changed:
            changed[name] = [_values(one) for one in changed[name] or ()]
    return changed


def _values(one: Mapping[str, Any]) -> dict[str, Any]:
    return {**one, "sampledValue": [_sampled(value) for value in one.get("sampledValue") or ()]}


def _sampled(value: Mapping[str, Any]) -> dict[str, Any]:
    if not value.get("measurand", "Energy.Active.Import.Register").startswith(_ENERGY):
        return dict(value)
    unit = value.get("unitOfMeasure")
    if isinstance(unit, Mapping):
        known = unit.get("unit") in _MISLABELLED
        return {**value, "unitOfMeasure": {**unit, "unit": "kWh"}} if known else dict(value)
    if value.get("unit") in _MISLABELLED and value.get("format", "Raw") == "Raw":
        # One of the two is what the version reads.
        return {**value, "unit": "kWh", "unitOfMeasure": {"unit": "kWh"}}
    return dict(value)
