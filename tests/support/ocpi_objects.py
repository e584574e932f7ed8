"""Valid OCPI objects to begin a test with, in the spelling of a version."""

from decimal import Decimal
from typing import Any

STAMP = "2026-03-01T10:00:00Z"
LATER = "2026-03-01T10:05:00Z"


def owned(version: str) -> dict[str, str]:
    return {} if version == "2.1.1" else {"country_code": "NL", "party_id": "CPO"}


def price(version: str, amount: str) -> Any:
    value = Decimal(amount)
    if version == "2.1.1":
        return value
    return {"excl_vat": value} if version == "2.2.1" else {"before_taxes": value}


def connector(version: str) -> dict[str, Any]:
    volts = "voltage" if version == "2.1.1" else "max_voltage"
    amps = "amperage" if version == "2.1.1" else "max_amperage"
    return {
        "id": "1",
        "standard": "IEC_62196_T2",
        "format": "SOCKET",
        "power_type": "AC_3_PHASE",
        volts: 230,
        amps: 16,
        "last_updated": STAMP,
    }


def evse(version: str, uid: str = "EVSE-1") -> dict[str, Any]:
    return {
        "uid": uid,
        "evse_id": "NL*CPO*E1",
        "status": "AVAILABLE",
        "connectors": [connector(version)],
        "last_updated": STAMP,
    }


def location(version: str, object_id: str = "LOC-1") -> dict[str, Any]:
    more: dict[str, Any] = (
        {"type": "ON_STREET"}
        if version == "2.1.1"
        else {"publish": True, "time_zone": "Europe/Amsterdam"}
    )
    return {
        **owned(version),
        "id": object_id,
        "address": "Stationsplein 1",
        "city": "Utrecht",
        "postal_code": "3511ED",
        "country": "NLD",
        "coordinates": {"latitude": "52.089560", "longitude": "5.109720"},
        "evses": [evse(version)],
        "last_updated": STAMP,
        **more,
    }


def tariff(version: str, object_id: str = "T-1") -> dict[str, Any]:
    return {
        **owned(version),
        "id": object_id,
        "currency": "EUR",
        "elements": [
            {"price_components": [{"type": "ENERGY", "price": Decimal("0.45"), "step_size": 1}]}
        ],
        "last_updated": STAMP,
        **({"tax_included": "NO"} if version == "2.3.0" else {}),
    }


def cdr_token() -> dict[str, Any]:
    return {
        "country_code": "NL",
        "party_id": "MSP",
        "uid": "04A1B2C3D4E5F6",
        "type": "RFID",
        "contract_id": "NL-MSP-C04A1B2C3D",
    }


def period() -> dict[str, Any]:
    return {
        "start_date_time": STAMP,
        "dimensions": [{"type": "ENERGY", "volume": Decimal("1.5")}],
    }


def session(version: str, object_id: str = "S-1", status: str = "ACTIVE") -> dict[str, Any]:
    common = {
        **owned(version),
        "id": object_id,
        "kwh": Decimal("1.5"),
        "auth_method": "WHITELIST",
        "currency": "EUR",
        "status": status,
        "last_updated": STAMP,
    }
    if version == "2.1.1":
        return common | {
            "start_datetime": STAMP,
            "auth_id": "NL-MSP-C04A1B2C3D",
            "location": location(version),
        }
    return common | {
        "start_date_time": STAMP,
        "cdr_token": cdr_token(),
        "location_id": "LOC-1",
        "evse_uid": "EVSE-1",
        "connector_id": "1",
    }


def cdr(version: str, object_id: str = "CDR-1") -> dict[str, Any]:
    common = {
        **owned(version),
        "id": object_id,
        "start_date_time": STAMP,
        "auth_method": "WHITELIST",
        "currency": "EUR",
        "charging_periods": [period()],
        "total_cost": price(version, "0.675"),
        "total_energy": Decimal("1.5"),
        "total_time": Decimal("0.0833"),
        "last_updated": LATER,
    }
    if version == "2.1.1":
        return common | {
            "stop_date_time": LATER,
            "auth_id": "NL-MSP-C04A1B2C3D",
            "location": location(version),
        }
    site = {
        name: value
        for name, value in location(version).items()
        if name in {"id", "address", "city", "postal_code", "country", "coordinates"}
    }
    return common | {
        "end_date_time": LATER,
        "session_id": "S-1",
        "cdr_token": cdr_token(),
        "cdr_location": site
        | {
            "evse_uid": "EVSE-1",
            "evse_id": "NL*CPO*E1",
            "connector_id": "1",
            "connector_standard": "IEC_62196_T2",
            "connector_format": "SOCKET",
            "connector_power_type": "AC_3_PHASE",
        },
    }
