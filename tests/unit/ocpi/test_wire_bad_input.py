"""Every field of every object: missing, null, of wrong type, too long, of unknown value.

The objects are made from the field tables, so that no field can be forgotten. Whatever is wrong,
the answer is `Invalid` with the field's path, never another error (issue of bad input).
"""

import json
from pathlib import Path
from typing import Any

import pytest

from cpo.errors import Invalid
from cpo.ocpi.fields import Wire
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
CLASS_NAMES = {"CDR": "Cdr", "EVSE": "Evse", "EVSEParking": "EvseParking"}
OBJECTS = [
    pytest.param(version, name, id=f"{version} {name}")
    for version, table in TABLES.items()
    for name in table["objects"]
    if name != "ResponseFormat"
]

# Values whose form the tables do not tell.
FORMS = {
    "country": "NLD",
    "country_code": "NL",
    "currency": "EUR",
    "language": "en",
    "latitude": "52.370216",
    "longitude": "4.895168",
    "period_begin": "08:00",
    "period_end": "09:00",
    "start_time": "08:00",
    "end_time": "09:00",
    "start_date": "2026-01-01",
    "end_date": "2026-02-01",
    "hub_party_id": "NLHUB",
    "weekday": 3,
}


def example(version: str, name: str, *, full: bool) -> dict[str, Any]:
    """Make an object with all of its fields, or with the required ones only."""
    return {
        field: value(version, field, spec, full=full)
        for field, spec in TABLES[version]["objects"][name].items()
        if full or spec["card"] in "1+"
    }


def value(version: str, field: str, spec: dict[str, Any], *, full: bool) -> Any:
    one = single(version, field, spec, full=full)
    return [one] if spec["card"] in "*+" else one


def single(version: str, field: str, spec: dict[str, Any], *, full: bool) -> Any:
    table, kind = TABLES[version], spec["type"]
    if kind in table["objects"]:
        return example(version, kind, full=full)
    if kind in table["enums"]:
        return table["enums"][kind]["values"][0]
    match kind:
        case "DateTime":
            return "2026-06-01T12:00:00Z"
        case "boolean":
            return True
        case "URL":
            return "https://a.example/b"
        case "number" | "int":
            return FORMS.get(field, 7)
        case _:
            return FORMS.get(field, "A" * min(spec.get("max_length", 8), 8))


def model(version: str, name: str) -> type[Wire]:
    return getattr(MODULES[version], CLASS_NAMES.get(name, name))


def refusal(of: type[Wire], data: Any) -> str | None:
    """Return the field that is named when data is refused, None when it is taken."""
    try:
        of.read(data)
    except Invalid as refused:
        return refused.field
    return None


@pytest.mark.parametrize(("version", "name"), OBJECTS)
def test_a_good_object_is_read(version: str, name: str) -> None:
    assert model(version, name).read(example(version, name, full=True))
    assert model(version, name).read(example(version, name, full=False))


@pytest.mark.parametrize(("version", "name"), OBJECTS)
def test_a_required_field_that_is_missing_or_null_is_named(version: str, name: str) -> None:
    for field, spec in TABLES[version]["objects"][name].items():
        if spec["card"] not in "1+" or (name, field) == ("Hours", "twentyfourseven"):
            continue
        good = example(version, name, full=False)
        without = {other: item for other, item in good.items() if other != field}
        for bad in (without, good | {field: None}):
            with pytest.raises(Invalid) as refused:
                model(version, name).read(bad)
            assert (refused.value.field, refused.value.problem) == (field, "required")


@pytest.mark.parametrize(("version", "name"), OBJECTS)
def test_an_optional_field_may_be_null(version: str, name: str) -> None:
    """TRANS-20"""
    good = example(version, name, full=False)
    for field, spec in TABLES[version]["objects"][name].items():
        if spec["card"] in "?*":
            assert model(version, name).read(good | {field: None})


@pytest.mark.parametrize(("version", "name"), OBJECTS)
def test_a_field_of_wrong_type_is_named(version: str, name: str) -> None:
    """Nothing but Invalid comes of it, and it begins with the field."""
    good = example(version, name, full=True)
    for field in TABLES[version]["objects"][name]:
        for wrong in ({"x": []}, [{"x": []}], [[]], True, "\x00", 10**40, "🚗" * 6000):
            field_named = refusal(model(version, name), good | {field: wrong})
            assert field_named is None or field_named.split(".")[0].split("[")[0] in (field, "")


@pytest.mark.parametrize(("version", "name"), OBJECTS)
def test_a_text_that_is_too_long_is_named(version: str, name: str) -> None:
    good = example(version, name, full=True)
    for field, spec in TABLES[version]["objects"][name].items():
        if spec["type"].lower() not in ("string", "cistring") or "max_length" not in spec:
            continue
        if field in ("latitude", "longitude"):
            continue
        long = "A" * (spec["max_length"] + 1)
        with pytest.raises(Invalid) as refused:
            model(version, name).read(good | {field: [long] if spec["card"] in "*+" else long})
        assert refused.value.field.split("[")[0] == field


@pytest.mark.parametrize(("version", "name"), OBJECTS)
def test_an_unknown_word_is_kept_in_an_open_list_and_named_in_a_closed_one(
    version: str, name: str
) -> None:
    """TRANS-24"""
    enums = TABLES["2.3.0"]["enums"]
    good = example(version, name, full=True)
    for field, spec in TABLES[version]["objects"][name].items():
        if spec["type"] not in TABLES[version]["enums"]:
            continue
        is_open = spec["type"] == "LocationType" or enums.get(spec["type"], {}).get("open", False)
        bad = good | {field: ["NEW_WORD"] if spec["card"] in "*+" else "NEW_WORD"}
        if is_open:
            assert model(version, name).read(bad)
        else:
            with pytest.raises(Invalid) as refused:
                model(version, name).read(bad)
            assert refused.value.field.split("[")[0] == field


@pytest.mark.parametrize(("version", "name"), OBJECTS)
def test_what_is_no_such_object_is_refused(version: str, name: str) -> None:
    for data in (None, [], "x", 1, True):
        with pytest.raises(Invalid):
            model(version, name).read(data)


@pytest.mark.parametrize(("version", "name"), OBJECTS)
def test_unknown_fields_are_passed_over(version: str, name: str) -> None:
    """TRANS-24, TRANS-27"""
    good = example(version, name, full=True)

    assert model(version, name).read(good | {"x_new": {"a": [1]}}) == model(version, name).read(
        good
    )
