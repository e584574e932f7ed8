"""Every wire model against the field tables of its version: names, types, lengths, enums."""

import json
import types
import typing
from pathlib import Path
from typing import Any

import annotated_types
import pytest
from pydantic.fields import FieldInfo

from cpo.ocpi.fields import CiText, Kind, OneOf, Text, Url, Wire
from cpo.ocpi.v211 import wire as v211
from cpo.ocpi.v221 import wire as v221
from cpo.ocpi.v230 import wire as v230

TABLES = {
    version: json.loads(
        (Path(__file__).parents[2] / f"fixtures/ocpi-field-tables/{version}.json").read_text()
    )
    for version in ("2.1.1", "2.2.1", "2.3.0")
}
MODULES = {"2.1.1": v211, "2.2.1": v221, "2.3.0": v230}
WORDS = {"2.1.1": v211.words, "2.2.1": v221.words, "2.3.0": v221.words}
CLASS_NAMES = {"CDR": "Cdr", "EVSE": "Evse", "EVSEParking": "EvseParking"}

# Where a model is meant to differ from the table.
DEVIATIONS = {
    ("2.1.1", "Hours", "twentyfourseven", "card"): "one of twentyfourseven and regular_hours",
    ("2.3.0", "EVSE", "accepted_service_providers", "type"): "String is string",
    ("2.3.0", "Parking", "physical_reference", "type"): "String is string",
}
# The envelope is read and written by cpo.ocpi.envelope.
NO_MODELS = {"ResponseFormat"}
# Enums that no field has: the response to charging preferences is bare, a command is in the URL.
CONSTANTS = {
    "CommandType": "COMMANDS",
    "ChargingPreferencesResponse": "CHARGING_PREFERENCES_RESPONSES",
}

OBJECTS = [
    pytest.param(version, name, id=f"{version} {name}")
    for version, table in TABLES.items()
    for name in table["objects"]
    if name not in NO_MODELS
]
ENUMS = [
    pytest.param(version, name, id=f"{version} {name}")
    for version, table in TABLES.items()
    for name in table["enums"]
]


def model(version: str, name: str) -> type[Wire]:
    return getattr(MODULES[version], CLASS_NAMES.get(name, name))


def described(info: FieldInfo) -> dict[str, Any]:
    """Describe a model's field in the words of the tables."""
    annotation: Any = info.annotation
    marks = list(info.metadata)
    optional = False
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        (annotation,) = [a for a in typing.get_args(annotation) if a is not type(None)]
        optional = True
    card = "?" if optional else "1"
    if typing.get_origin(annotation) is list:
        card = (
            "+"
            if any(isinstance(m, (annotated_types.Len, annotated_types.MinLen)) for m in marks)
            else "*"
        )
        (annotation,) = typing.get_args(annotation)
        marks = []
    if typing.get_origin(annotation) is typing.Annotated:
        marks += annotation.__metadata__
        annotation = annotation.__origin__
    for mark in marks:
        match mark:
            case Text(most):
                return {"type": "string", "card": card, "max_length": most}
            case CiText(most):
                return {"type": "CiString", "card": card, "max_length": most}
            case Url():
                return {"type": "URL", "card": card, "max_length": None}
            case Kind(name, most):
                return {"type": name, "card": card, "max_length": most}
            case OneOf(values, is_open):
                return {"values": values, "open": is_open, "card": card, "max_length": None}
    if annotation is bool:
        return {"type": "boolean", "card": card, "max_length": None}
    return {"class": annotation, "card": card, "max_length": None}


@pytest.mark.parametrize(("version", "name"), OBJECTS)
def test_a_model_has_exactly_the_fields_of_its_table(version: str, name: str) -> None:
    assert set(model(version, name).model_fields) == set(TABLES[version]["objects"][name])


@pytest.mark.parametrize(("version", "name"), OBJECTS)
def test_every_field_is_as_its_table_says(version: str, name: str) -> None:
    for field, spec in TABLES[version]["objects"][name].items():
        compare(version, name, field, spec)


def compare(version: str, name: str, field: str, spec: dict[str, Any]) -> None:
    found = described(model(version, name).model_fields[field])
    table = TABLES[version]

    def same(aspect: str, expected: object, actual: object) -> None:
        if (version, name, field, aspect) in DEVIATIONS:
            assert expected != actual, f"{field}: no deviation any more"
        else:
            assert expected == actual, f"{field}: {aspect}"

    same("card", spec["card"], found["card"])
    if spec["type"] in table["enums"]:
        assert found["values"] == set(table["enums"][spec["type"]]["values"]), field
    elif spec["type"] in table["objects"]:
        assert found["class"] is model(version, spec["type"]), field
    else:
        same("type", spec["type"], found["type"])
        most = None if spec["type"] == "int" else spec.get("max_length")
        same("max_length", most, found["max_length"])


@pytest.mark.parametrize(("version", "name"), ENUMS)
def test_an_enum_is_used_or_named(version: str, name: str) -> None:
    table = TABLES[version]
    used = any(
        spec["type"] == name for fields in table["objects"].values() for spec in fields.values()
    )
    constant = CONSTANTS.get(name)

    assert used or constant
    if constant:
        assert getattr(WORDS[version], constant) == set(table["enums"][name]["values"])


def test_open_enums_of_2_3_0_are_open_in_every_version() -> None:
    """TRANS-24"""
    open_names = {name for name, enum in TABLES["2.3.0"]["enums"].items() if enum.get("open")}
    for version, table in TABLES.items():
        for name, fields in table["objects"].items():
            for field, spec in fields.items():
                if name not in NO_MODELS and spec["type"] in table["enums"]:
                    found = described(model(version, name).model_fields[field])
                    # 2.1.1's LocationType became the open ParkingType.
                    expected = spec["type"] in open_names | {"LocationType"}
                    assert found["open"] is expected, (version, name, field)


def test_the_operators_words_are_those_of_2_3_0() -> None:
    from cpo.domain import site_checks

    enums = {name: set(enum["values"]) for name, enum in TABLES["2.3.0"]["enums"].items()}

    assert enums["Capability"] == site_checks.CAPABILITIES
    assert enums["ConnectorCapability"] == site_checks.CONNECTOR_CAPABILITIES
    assert enums["ConnectorFormat"] == site_checks.CONNECTOR_FORMATS
    assert enums["ConnectorType"] == site_checks.CONNECTOR_STANDARDS
    assert enums["EnergySourceCategory"] == site_checks.ENERGY_SOURCES
    assert enums["EnvironmentalImpactCategory"] == site_checks.ENVIRONMENTAL_IMPACTS
    assert enums["Facility"] == site_checks.FACILITIES
    assert enums["ImageCategory"] == site_checks.IMAGE_CATEGORIES
    assert enums["ParkingDirection"] == site_checks.PARKING_DIRECTIONS
    assert enums["EVSEPosition"] == site_checks.PARKING_POSITIONS
    assert enums["ParkingRestriction"] == site_checks.PARKING_RESTRICTIONS
    assert enums["ParkingType"] == site_checks.PARKING_TYPES
    assert enums["PowerType"] == site_checks.POWER_TYPES
    assert enums["Status"] == site_checks.STATUSES
    assert enums["TokenType"] == site_checks.TOKEN_TYPES
    assert enums["VehicleType"] == site_checks.VEHICLE_TYPES
