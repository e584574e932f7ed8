"""Which EVSEs and connectors a station has, by all that it told: offered for a location. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

# OCPP's ConnectorType in OCPI's words; the first letter says cable, socket or wireless.
_STANDARDS: Final = {
    "CCCS1": "IEC_62196_T1_COMBO",
    "CCCS2": "IEC_62196_T2_COMBO",
    "CG105": "CHADEMO",
    "CTESLA": "TESLA_S",
    "CTYPE1": "IEC_62196_T1",
    "CTYPE2": "IEC_62196_T2",
    "S309-1P-16A": "IEC_60309_2_single_16",
    "S309-1P-32A": "IEC_60309_2_single_16",
    "S309-3P-16A": "IEC_60309_2_three_16",
    "S309-3P-32A": "IEC_60309_2_three_32",
    "SBS1361": "DOMESTIC_G",
    "SCEE-7-7": "DOMESTIC_F",
    "STYPE2": "IEC_62196_T2",
    "STYPE3": "IEC_62196_T3A",
    "PAN": "PANTOGRAPH_BOTTOM_UP",
}
_DC: Final = frozenset({"IEC_62196_T1_COMBO", "IEC_62196_T2_COMBO", "CHADEMO", "TESLA_S"})
_AC: Final = {1: "AC_1_PHASE", 2: "AC_2_PHASE", 3: "AC_3_PHASE"}
_MOST: Final = 1000
"""EVSEs of one station; what claims more is not believed."""


@dataclass(slots=True)
class FoundEvse:
    """An EVSE with its connectors by number; each has what OCPI says of connectors, as known."""

    number: int
    phases: int | None = None
    power_w: int | None = None
    connectors: dict[int, dict[str, Any]] = field(default_factory=dict)
    reported: bool = False
    """Whether it told a status, not only its existence."""


def discovered(
    variables: Iterable[Mapping[str, Any]], statuses: Iterable[tuple[int, int]]
) -> list[FoundEvse]:
    """Return the EVSEs that variables (2.x), configuration keys (1.6) and statuses tell of."""
    found: dict[int, FoundEvse] = {}

    def evse(number: int) -> FoundEvse:
        return found.setdefault(number, FoundEvse(number))

    for item in variables:
        component, name = item["component"], str(item["variable"]["name"])
        place = component.get("evse") or {}
        number = place.get("id")
        if component["name"] == "Configuration" and name == "NumberOfConnectors":
            for one in range(1, min(_whole(item) or 0, _MOST) + 1):
                evse(one).connectors.setdefault(1, {})
        elif isinstance(number, int) and 0 < number <= _MOST:
            if component["name"] == "EVSE":
                _of_evse(evse(number), name, item)
            elif component["name"] == "Connector":
                connector = evse(number).connectors.setdefault(place.get("connectorId", 1), {})
                _of_connector(connector, name, item)
    for number, connector_number in statuses:
        if 0 < number <= _MOST:
            evse(number).reported = True
            evse(number).connectors.setdefault(connector_number or 1, {})
    return [found[number] for number in sorted(found)]


def _of_evse(evse: FoundEvse, name: str, item: Mapping[str, Any]) -> None:
    if name == "SupplyPhases":
        evse.phases = _whole(item)
    elif name == "Power":
        most = (item.get("characteristics") or {}).get("maxLimit")
        evse.power_w = int(most) if most is not None else _whole(item)


def _of_connector(connector: dict[str, Any], name: str, item: Mapping[str, Any]) -> None:
    value = _value(item)
    if name == "ConnectorType" and value is not None:
        connector["ocpp_type"] = value
        standard = _STANDARDS.get(value.upper())
        if standard is not None:
            connector["standard"] = standard
            connector["format"] = "SOCKET" if value.upper().startswith("S") else "CABLE"
    elif name == "SupplyPhases":
        connector["phases"] = _whole(item)


def offer(evse: FoundEvse, station: str) -> dict[str, Any]:
    """Write an EVSE as a location takes it, without the ids that the operator gives."""
    connectors = []
    for number, known in sorted(evse.connectors.items()):
        phases = known.get("phases") or evse.phases
        dc = known.get("standard") in _DC
        power_type = "DC" if dc else _AC.get(phases or 0)
        made = {
            "id": str(number),
            "standard": known.get("standard"),
            "format": known.get("format"),
            "power_type": power_type,
            "max_electric_power": evse.power_w,
        }
        connectors.append({name: value for name, value in made.items() if value is not None})
    return {"ocpp": {"station": station, "evse_id": evse.number}, "connectors": connectors}


def _value(item: Mapping[str, Any]) -> str | None:
    for attribute in item.get("attributes") or ():
        if attribute.get("type", "Actual") == "Actual" and attribute.get("value") is not None:
            return str(attribute["value"])
    return None


def _whole(item: Mapping[str, Any]) -> int | None:
    value = _value(item)
    return int(value) if value is not None and value.isdecimal() and len(value) < 10 else None
