"""The strict checker: valid objects pass, each kind of deviation is named."""

from decimal import Decimal

import pytest

from chargers_sim.emsp import exact
from chargers_sim.emsp.strict import tables
from tests.support import ocpi_objects as objects

VERSIONS = ("2.1.1", "2.2.1", "2.3.0")
MAKERS = {
    "Location": objects.location,
    "Tariff": objects.tariff,
    "Session": objects.session,
    "CDR": objects.cdr,
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MAKERS)
def test_a_valid_object_has_no_deviation(version, name):
    assert tables(version).check(name, MAKERS[name](version)) == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MAKERS)
def test_every_required_field_is_missed(version, name):
    whole = MAKERS[name](version)
    required = {
        field for field, spec in tables(version)._objects[name].items() if spec["card"] in "1+"
    }

    for field in required:
        rest = {key: value for key, value in whole.items() if key != field}
        deviations = tables(version).check(name, rest)
        assert [str(d) for d in deviations if d.path == field] == [
            f"{field}: required field missing"
        ]


@pytest.mark.parametrize(
    ("name", "field", "value", "problem"),
    [
        pytest.param("Session", "kwh", "1.5", "number expected, got str", id="number as text"),
        pytest.param("Session", "kwh", True, "number expected", id="boolean as number"),
        pytest.param("Session", "kwh", Decimal("1.23456"), "4 decimals", id="decimals"),
        pytest.param("Session", "currency", "EURO", "length 4 > 3", id="too long"),
        pytest.param("Session", "currency", "eur", "form of a currency", id="currency form"),
        pytest.param("Session", "status", "RESERVED", "is not a SessionStatus", id="enum"),
        pytest.param("Session", "colour", "red", "not a field of Session", id="unknown field"),
        pytest.param("Session", "id", "ÄÖÜ", "not printable ASCII", id="CiString"),
        pytest.param(
            "Session",
            "start_date_time",
            "2026-03-01T10:00:00+00:00",
            "UTC time with Z",
            id="offset",
        ),
        pytest.param(
            "Session", "start_date_time", "2026-02-30T10:00:00Z", "is not a time", id="no such day"
        ),
        pytest.param("Location", "name", "a\nb", "control character", id="control character"),
        pytest.param("Location", "country", "NL", "form of a country", id="alpha-2 country"),
        pytest.param("Location", "evses", {}, "list expected", id="object for list"),
        pytest.param("Location", "publish", "true", "boolean expected", id="boolean as text"),
        pytest.param("Location", "help_phone", "1", "not a field", id="field of 2.3.0"),
        pytest.param("Tariff", "elements", [], "at least one entry", id="empty list"),
        pytest.param("Tariff", "tariff_alt_url", "example", "is no URL", id="URL"),
        pytest.param("CDR", "total_cost", {"excl_vat": -1}, "negative", id="negative total"),
        pytest.param("CDR", "credit", True, "required in a credit CDR", id="credit reference"),
    ],
)
def test_a_deviation_is_named(name, field, value, problem):
    thing = MAKERS[name]("2.2.1") | {field: value}

    assert any(problem in str(d) for d in tables("2.2.1").check(name, thing))


def test_a_deviation_inside_a_list_carries_its_path():
    location = objects.location("2.2.1")
    location["evses"][0]["connectors"][0]["max_voltage"] = "230"

    deviations = tables("2.2.1").check("Location", location)

    assert [d.path for d in deviations] == ["evses[0].connectors[0].max_voltage"]


@pytest.mark.parametrize(
    ("version", "latitude", "good"),
    [
        ("2.1.1", "52.089560", True),
        ("2.1.1", "52.08956", False),
        ("2.2.1", "52.08956", True),
        ("2.2.1", "152.08956", False),
        ("2.3.0", "91.000000", False),
    ],
)
def test_coordinates_have_the_decimals_of_their_version(version, latitude, good):
    """LOC-40."""
    place = {"latitude": latitude, "longitude": "5.109720"}

    assert (tables(version).check("GeoLocation", place) == []) is good


def test_an_open_enum_of_2_3_0_takes_new_values_and_a_closed_one_of_2_2_1_does_not():
    """TRANS-24."""
    for version, count in (("2.2.1", 1), ("2.3.0", 0)):
        connector = objects.connector(version) | {"standard": "FUTURE_PLUG"}
        assert len(tables(version).check("Connector", connector)) == count


def test_a_patch_may_leave_out_required_fields_but_not_null_them():
    checked = tables("2.2.1")

    assert checked.check("EVSE", {"status": "CHARGING"}, partial=True) == []
    assert checked.check("EVSE", {"status": None}, partial=True) != []


def test_dimensions_of_sessions_are_not_for_cdrs():
    """SES-11."""
    cdr = objects.cdr("2.2.1")
    cdr["charging_periods"][0]["dimensions"][0]["type"] = "POWER"

    assert [d.path for d in tables("2.2.1").check("CDR", cdr)] == ["charging_periods[0]"]


def test_json_numbers_stay_exact():
    assert exact.dumps(exact.loads(b'{"a": 4.04920, "b": 1}')) == b'{"a":4.04920,"b":1}'


@pytest.mark.parametrize("text", [b'{"a": NaN}', b'{"a": 1, "a": 2}', b"{"])
def test_what_is_no_clean_json_is_refused(text):
    with pytest.raises(ValueError):
        exact.loads(text)
