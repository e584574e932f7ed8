"""What an operator may enter of a location: word lists, forms, and rules within one object.

The shape is that of OCPI 2.3.0, with the bindings to hardware beside it.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cpo.domain.reading import (
    ascii_text,
    degrees,
    list_of,
    moment,
    not_negative,
    number,
    one_of,
    record,
    shaped,
    text,
    truth,
    url,
    whole,
)
from cpo.errors import Invalid

CAPABILITIES = frozenset(
    {
        "CHARGING_PREFERENCES_CAPABLE",
        "CHARGING_PROFILE_CAPABLE",
        "CHIP_CARD_SUPPORT",
        "CONTACTLESS_CARD_SUPPORT",
        "CREDIT_CARD_PAYABLE",
        "DEBIT_CARD_PAYABLE",
        "PED_TERMINAL",
        "REMOTE_START_STOP_CAPABLE",
        "RESERVABLE",
        "RFID_READER",
        "START_SESSION_CONNECTOR_REQUIRED",
        "TOKEN_GROUP_CAPABLE",
        "UNLOCK_CAPABLE",
    }
)
CONNECTOR_CAPABILITIES = frozenset({"ISO_15118_20_PLUG_AND_CHARGE", "ISO_15118_2_PLUG_AND_CHARGE"})
CONNECTOR_FORMATS = frozenset({"CABLE", "SOCKET"})
CONNECTOR_STANDARDS = frozenset(
    {
        "CHADEMO",
        "CHAOJI",
        *(f"DOMESTIC_{letter}" for letter in "ABCDEFGHIJKLMNO"),
        "GBT_AC",
        "GBT_DC",
        "IEC_60309_2_single_16",
        "IEC_60309_2_three_16",
        "IEC_60309_2_three_32",
        "IEC_60309_2_three_64",
        "IEC_62196_T1",
        "IEC_62196_T1_COMBO",
        "IEC_62196_T2",
        "IEC_62196_T2_COMBO",
        "IEC_62196_T3A",
        "IEC_62196_T3C",
        "MCS",
        "NEMA_10_30",
        "NEMA_10_50",
        "NEMA_14_30",
        "NEMA_14_50",
        "NEMA_5_20",
        "NEMA_6_30",
        "NEMA_6_50",
        "PANTOGRAPH_BOTTOM_UP",
        "PANTOGRAPH_TOP_DOWN",
        "SAE_J3400",
        "TESLA_R",
        "TESLA_S",
    }
)
ENERGY_SOURCES = frozenset(
    {"COAL", "GAS", "GENERAL_FOSSIL", "GENERAL_GREEN", "NUCLEAR", "SOLAR", "WATER", "WIND"}
)
ENVIRONMENTAL_IMPACTS = frozenset({"CARBON_DIOXIDE", "NUCLEAR_WASTE"})
FACILITIES = frozenset(
    {
        "AIRPORT",
        "BIKE_SHARING",
        "BUS_STOP",
        "CAFE",
        "CARPOOL_PARKING",
        "FUEL_STATION",
        "HOTEL",
        "MALL",
        "METRO_STATION",
        "MUSEUM",
        "NATURE",
        "PARKING_LOT",
        "RECREATION_AREA",
        "RESTAURANT",
        "SPORT",
        "SUPERMARKET",
        "TAXI_STAND",
        "TRAIN_STATION",
        "TRAM_STOP",
        "WIFI",
    }
)
IMAGE_CATEGORIES = frozenset(
    {"CHARGER", "ENTRANCE", "LOCATION", "NETWORK", "OPERATOR", "OTHER", "OWNER"}
)
OPERATOR_STATUSES = frozenset({"BLOCKED", "INOPERATIVE", "PLANNED", "REMOVED"})
PARKING_DIRECTIONS = frozenset({"ANGLE", "PARALLEL", "PERPENDICULAR"})
PARKING_POSITIONS = frozenset({"CENTER", "LEFT", "RIGHT"})
PARKING_RESTRICTIONS = frozenset(
    {
        "CUSTOMERS",
        "DISABLED",
        "EMPLOYEES",
        "EV_ONLY",
        "MOTORCYCLES",
        "PLUGGED",
        "TAXIS",
        "TENANTS",
    }
)
PARKING_TYPES = frozenset(
    {
        "ALONG_MOTORWAY",
        "ON_DRIVEWAY",
        "ON_STREET",
        "PARKING_GARAGE",
        "PARKING_LOT",
        "UNDERGROUND_GARAGE",
    }
)
POWER_TYPES = frozenset({"AC_1_PHASE", "AC_2_PHASE", "AC_2_PHASE_SPLIT", "AC_3_PHASE", "DC"})
STATUSES = OPERATOR_STATUSES | {"AVAILABLE", "CHARGING", "OUTOFORDER", "RESERVED", "UNKNOWN"}
TOKEN_TYPES = frozenset({"AD_HOC_USER", "APP_USER", "EMAID", "OTHER", "RFID"})
VEHICLE_TYPES = frozenset(
    {
        "BUS",
        "DISABLED",
        "MOTORCYCLE",
        "PERSONAL_VEHICLE",
        "PERSONAL_VEHICLE_WITH_TRAILER",
        "RIGID",
        "SEMI_TRACTOR",
        "TRUCK_WITH_TRAILER",
        "VAN",
    }
)


def _time_zone(value: Any, path: str) -> str:
    name: str = text(255, least=1)(value, path)
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Invalid(path, f"{name!r} is no IANA time zone") from None
    return name


def _binding(value: Any, path: str) -> dict[str, Any]:
    read: dict[str, Any] = _BINDING(value, path)
    if ("evse_id" in read) == ("connector_ids" in read):
        raise Invalid(path, "either evse_id or connector_ids is required")
    return read


def _connector_ids(value: Any, path: str) -> dict[str, int]:
    if not isinstance(value, Mapping) or not value:
        raise Invalid(path, "connector ids with their 1.6 connectorId are expected")
    return {str(name): whole(1, 2**31 - 1)(item, f"{path}.{name}") for name, item in value.items()}


def _names_somebody(token: dict[str, Any], prefix: str) -> None:
    named = (
        "group_id" in token
        or {"uid", "type"} <= token.keys()
        or {"visual_number", "issuer"} <= token.keys()
    )
    if not named:
        raise Invalid(
            prefix.rstrip("."), "uid and type, visual_number and issuer, or group_id is required"
        )


def _only_when_not_public(location: dict[str, Any], prefix: str) -> None:
    if location["publish"] and "publish_allowed_to" in location:
        raise Invalid(f"{prefix}publish_allowed_to", "only with publish false")


def _says_when(hours: dict[str, Any], prefix: str) -> None:
    if not hours["twentyfourseven"] and "regular_hours" not in hours:
        raise Invalid(f"{prefix}regular_hours", "required when twentyfourseven is false")


def _adds_up(mix: dict[str, Any], prefix: str) -> None:
    seen: dict[str, set[str]] = {"source": set(), "category": set()}
    for name, kind in (("energy_sources", "source"), ("environ_impact", "category")):
        for index, item in enumerate(mix.get(name, ())):
            if item[kind] in seen[kind]:
                raise Invalid(f"{prefix}{name}[{index}].{kind}", f"{item[kind]} is given twice")
            seen[kind].add(item[kind])
    sources = mix.get("energy_sources", ())
    # Each may have been rounded up to a whole percent.
    if sum(item["percentage"] for item in sources) > 100 + Decimal(len(sources)) / 2:
        raise Invalid(f"{prefix}energy_sources", "the percentages add up to more than 100")


def _ends_later(span: dict[str, Any], prefix: str) -> None:
    if span.get("period_end", "Z") <= span["period_begin"]:
        raise Invalid(f"{prefix}period_end", "not later than period_begin")


_ID = ascii_text(36)
_CLOCK_TIME = shaped(r"([01]\d|2[0-3]):[0-5]\d|24:00", "a time HH:MM")
_DISPLAY_TEXT = record(
    {"language": shaped("[a-z]{2}", "an ISO 639-1 code"), "text": text(512, least=1)}
)
_DISPLAY_TEXTS = list_of(_DISPLAY_TEXT)
_IMAGE = record(
    {"url": url, "category": one_of(IMAGE_CATEGORIES), "type": ascii_text(4)},
    {"thumbnail": url, "width": whole(1, 99_999), "height": whole(1, 99_999)},
)
_IMAGES = list_of(_IMAGE)
_BUSINESS_DETAILS = record({"name": text(100, least=1)}, {"website": url, "logo": _IMAGE})
_POINT = {"latitude": degrees(90), "longitude": degrees(180)}
_EXCEPTIONS = list_of(record({"period_begin": moment, "period_end": moment}, rule=_ends_later))
_HOURS = record(
    {"twentyfourseven": truth},
    {
        "regular_hours": list_of(
            record(
                {"weekday": whole(1, 7), "period_begin": _CLOCK_TIME, "period_end": _CLOCK_TIME},
                rule=_ends_later,
            )
        ),
        "exceptional_openings": _EXCEPTIONS,
        "exceptional_closings": _EXCEPTIONS,
    },
    rule=_says_when,
)
ENERGY_MIX = record(
    {"is_green_energy": truth},
    {
        "energy_sources": list_of(
            record({"source": one_of(ENERGY_SOURCES), "percentage": not_negative(100)})
        ),
        "environ_impact": list_of(
            record({"category": one_of(ENVIRONMENTAL_IMPACTS), "amount": not_negative()})
        ),
        "supplier_name": text(64),
        "energy_product_name": text(64),
    },
    rule=_adds_up,
)
_PUBLISH_TOKEN = record(
    {},
    {
        "uid": _ID,
        "type": one_of(TOKEN_TYPES),
        "visual_number": text(64),
        "issuer": text(64),
        "group_id": _ID,
    },
    rule=_names_somebody,
)
_PARKING = record(
    {
        "id": _ID,
        "vehicle_types": list_of(one_of(VEHICLE_TYPES), least=1),
        "restricted_to_type": truth,
        "reservation_required": truth,
    },
    {
        "physical_reference": text(12),
        "max_vehicle_weight": number,
        "max_vehicle_height": number,
        "max_vehicle_length": number,
        "max_vehicle_width": number,
        "parking_space_length": number,
        "parking_space_width": number,
        "dangerous_goods_allowed": truth,
        "direction": one_of(PARKING_DIRECTIONS),
        "drive_through": truth,
        "time_limit": number,
        "roofed": truth,
        "images": _IMAGES,
        "lighting": truth,
        "refrigeration_outlet": truth,
        "standards": list_of(_ID),
        "apds_reference": ascii_text(255),
    },
)
_BINDING = record(
    {"station": ascii_text(255)},
    {"evse_id": whole(1, 2**31 - 1), "connector_ids": _connector_ids},
)
_CONNECTOR = record(
    {
        "id": _ID,
        "standard": one_of(CONNECTOR_STANDARDS),
        "format": one_of(CONNECTOR_FORMATS),
        "power_type": one_of(POWER_TYPES),
        "max_voltage": whole(1, 100_000),
        "max_amperage": whole(1, 100_000),
    },
    {
        "max_electric_power": whole(1, 100_000_000),
        "tariff_ids": list_of(_ID),
        "terms_and_conditions": url,
        "capabilities": list_of(one_of(CONNECTOR_CAPABILITIES)),
    },
)
_EVSE = record(
    {"uid": _ID, "connectors": list_of(_CONNECTOR, least=1)},
    {
        "evse_id": ascii_text(48),
        "status": one_of(STATUSES),
        "ocpp": _binding,
        "home_charger_of": list_of(ascii_text(36, least=1)),
        "capabilities": list_of(one_of(CAPABILITIES)),
        "status_schedule": list_of(
            record(
                {"period_begin": moment, "status": one_of(STATUSES)},
                {"period_end": moment},
                rule=_ends_later,
            )
        ),
        "floor_level": text(4),
        "coordinates": record(_POINT),
        "physical_reference": text(16),
        "directions": _DISPLAY_TEXTS,
        "parking_restrictions": list_of(one_of(PARKING_RESTRICTIONS)),
        "images": _IMAGES,
        "parking": list_of(
            record({"parking_id": _ID}, {"evse_position": one_of(PARKING_POSITIONS)})
        ),
        "accepted_service_providers": list_of(text(50, least=1)),
    },
)
LOCATION = record(
    {
        "id": _ID,
        "country_code": shaped("[A-Za-z]{2}", "an ISO 3166 alpha-2 code"),
        "party_id": shaped("[A-Za-z0-9]{3}", "a party id of 3 characters"),
        "publish": truth,
        "address": text(255, least=1),
        "city": text(45, least=1),
        "country": shaped("[A-Z]{3}", "an ISO 3166 alpha-3 code"),
        "coordinates": record(_POINT),
        "time_zone": _time_zone,
    },
    {
        "publish_allowed_to": list_of(_PUBLISH_TOKEN),
        "name": text(255),
        "postal_code": text(10),
        "state": text(45),
        "related_locations": list_of(record(_POINT, {"name": _DISPLAY_TEXT})),
        "parking_type": one_of(PARKING_TYPES),
        "evses": list_of(_EVSE),
        "directions": _DISPLAY_TEXTS,
        "operator": _BUSINESS_DETAILS,
        "suboperator": _BUSINESS_DETAILS,
        "owner": _BUSINESS_DETAILS,
        "facilities": list_of(one_of(FACILITIES)),
        "opening_times": _HOURS,
        "charging_when_closed": truth,
        "images": _IMAGES,
        "energy_mix": ENERGY_MIX,
        "parking_places": list_of(_PARKING),
        "help_phone": ascii_text(25),
    },
    rule=_only_when_not_public,
)
