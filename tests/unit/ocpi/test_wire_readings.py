"""The two readings of one model: strict for what leaves, tolerant for what arrives."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from cpo.errors import Invalid
from cpo.ocpi.fields import read_all
from cpo.ocpi.v211 import wire as v211
from cpo.ocpi.v221 import wire as v221
from cpo.ocpi.v230 import wire as v230

STAMP = "2026-06-01T12:00:00Z"


def connector(**changes: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "standard": "IEC_62196_T2",
        "format": "SOCKET",
        "power_type": "AC_3_PHASE",
        "max_voltage": 230,
        "max_amperage": 16,
        "last_updated": STAMP,
    } | changes


def evse(**changes: Any) -> dict[str, Any]:
    return {
        "uid": "E1",
        "status": "AVAILABLE",
        "connectors": [connector()],
        "last_updated": STAMP,
    } | changes


def fields(model: type[v221.Wire], value: Any) -> list[str]:
    return [problem.field for problem in model.problems(value)]


# --- strict -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"id": 1}, "id", id="number for a text"),
        pytest.param({"id": "x" * 37}, "id", id="too long"),
        pytest.param({"id": "Ø1"}, "id", id="not ASCII"),
        pytest.param({"id": "a\tb"}, "id", id="control character"),
        pytest.param({"standard": "HOSE"}, "standard", id="unknown value of an open list"),
        pytest.param({"format": "HOSE"}, "format", id="unknown value of a closed list"),
        pytest.param({"max_voltage": "230"}, "max_voltage", id="text for a number"),
        pytest.param({"max_voltage": Decimal(230)}, "max_voltage", id="decimal for a whole number"),
        pytest.param({"max_voltage": True}, "max_voltage", id="boolean for a number"),
        pytest.param({"last_updated": "2026-06-01T12:00:00+00:00"}, "last_updated", id="offset"),
        pytest.param({"last_updated": "2026-06-01T12:00:00"}, "last_updated", id="no Z"),
        pytest.param({"last_updated": "2026-06-01T12:00:00.1234Z"}, "last_updated", id="4 digits"),
        pytest.param({"last_updated": "2026-13-01T12:00:00Z"}, "last_updated", id="month 13"),
        pytest.param({"last_updated": datetime(2026, 6, 1, tzinfo=UTC)}, "last_updated", id="object"),
        pytest.param({"terms_and_conditions": "www.cpo.example"}, "terms_and_conditions", id="no URL"),
        pytest.param({"terms_and_conditions": "https://a b"}, "terms_and_conditions", id="space in URL"),
        pytest.param({"terms_and_conditions": "https://" + "a" * 250}, "terms_and_conditions", id="long URL"),
        pytest.param({"colour": "red"}, "colour", id="unknown field"),
        pytest.param({"tariff_ids": "T"}, "tariff_ids", id="text for a list"),
        pytest.param({"tariff_ids": ["T", 1]}, "tariff_ids[1]", id="in a list"),
        pytest.param({"format": ...}, "format", id="missing"),
    ],
)  # fmt: skip
def test_nothing_wrong_gets_out(change: dict[str, Any], field: str) -> None:
    """Promise 7"""
    value = {name: one for name, one in connector(**change).items() if one is not ...}

    assert fields(v221.Connector, value) == [field]


def test_nulls_do_not_get_out() -> None:
    """TRANS-20"""
    (problem,) = v221.Connector.problems(connector(terms_and_conditions=None))

    assert "terms_and_conditions" in problem.problem


def test_the_path_leads_to_the_field() -> None:
    value = evse(connectors=[connector(), connector(format="X")])

    assert fields(v221.Evse, value) == ["connectors[1].format"]


def test_every_problem_is_named() -> None:
    assert fields(v221.Connector, connector(format="X", id="")) == ["format"]
    assert set(fields(v221.Connector, {})) == {
        "id",
        "standard",
        "format",
        "power_type",
        "max_voltage",
        "max_amperage",
        "last_updated",
    }


def test_an_evse_keeps_at_least_one_connector() -> None:
    """LOC-11"""
    assert fields(v221.Evse, evse(connectors=[])) == ["connectors"]


@pytest.mark.parametrize(
    ("volume", "accepted"),
    [
        (Decimal("0.1234"), True),
        (Decimal("0.12345"), False),
        (7, True),
        (Decimal("NaN"), False),
        ("1", False),
        (True, False),
        (1.5, False),
    ],
)
def test_numbers_have_four_decimals_at_most(volume: object, accepted: bool) -> None:
    """TRANS-23"""
    found = v221.CdrDimension.problems({"type": "ENERGY", "volume": volume})

    assert (found == ()) is accepted


@pytest.mark.parametrize(
    ("latitude", "accepted"),
    [
        ("52.370216", True),
        ("-52.370216", True),
        ("52.37", False),
        ("52.3702161", False),
        ("90.000001", False),
        (Decimal("52.370216"), False),
    ],
)
def test_coordinates_are_texts_with_six_decimals(latitude: object, accepted: bool) -> None:
    """LOC-40"""
    found = v221.GeoLocation.problems({"latitude": latitude, "longitude": "4.895168"})

    assert (found == ()) is accepted


@pytest.mark.parametrize(
    ("hours", "accepted"),
    [
        ({"twentyfourseven": True}, True),
        ({"twentyfourseven": False}, False),
        ({"twentyfourseven": False, "regular_hours": [(1, "08:00", "20:00")]}, True),
        ({"twentyfourseven": False, "regular_hours": [(1, "20:00", "08:00")]}, False),
        ({"twentyfourseven": False, "regular_hours": [(8, "08:00", "20:00")]}, False),
        ({"twentyfourseven": False, "regular_hours": [(1, "8:00", "20:00")]}, False),
    ],
)
def test_opening_hours_say_when(hours: dict[str, Any], accepted: bool) -> None:
    """LOC-45"""
    value = dict(hours)
    if "regular_hours" in value:
        value["regular_hours"] = [
            {"weekday": day, "period_begin": begin, "period_end": end}
            for day, begin, end in value["regular_hours"]
        ]

    assert (v221.Hours.problems(value) == ()) is accepted


@pytest.mark.parametrize(
    ("hours", "accepted"),
    [
        ({"twentyfourseven": True}, True),
        ({}, False),
        ({"twentyfourseven": True, "regular_hours": [{"weekday": 1, "period_begin": "08:00", "period_end": "09:00"}]}, False),
        ({"regular_hours": [{"weekday": 1, "period_begin": "08:00", "period_end": "09:00"}]}, True),
        ({"regular_hours": [{"weekday": 0, "period_begin": "08:00", "period_end": "09:00"}]}, False),
        ({"regular_hours": [{"weekday": 1, "period_begin": "08:00", "period_end": "08:00"}]}, False),
    ],
)  # fmt: skip
def test_opening_hours_of_2_1_1_say_when_once(hours: dict[str, Any], accepted: bool) -> None:
    """LOC-45"""
    assert (v211.Hours.problems(hours) == ()) is accepted


@pytest.mark.parametrize(
    ("shown_to", "accepted"),
    [({"group_id": "G"}, True), ({"uid": "1"}, False), ({"uid": "1", "type": "RFID"}, True)],
)
def test_visibility_names_somebody(shown_to: dict[str, str], accepted: bool) -> None:
    """LOC-15"""
    assert (v221.PublishTokenType.problems(shown_to) == ()) is accepted


def test_a_public_location_is_shown_to_all() -> None:
    """LOC-15"""
    location = {
        "country_code": "NL",
        "party_id": "CPO",
        "id": "L",
        "publish": True,
        "publish_allowed_to": [{"group_id": "G"}],
        "address": "Quay 1",
        "city": "Rotterdam",
        "country": "NLD",
        "coordinates": {"latitude": "51.904722", "longitude": "4.484722"},
        "time_zone": "Europe/Amsterdam",
        "last_updated": STAMP,
    }

    assert len(v221.Location.problems(location)) == 1
    assert v221.Location.problems(location | {"publish": False}) == ()
    assert v221.Location.read(location).publish is True


@pytest.mark.parametrize("dimension", sorted(v221.words.SESSION_ONLY_DIMENSIONS))
def test_momentary_values_stay_out_of_cdrs(dimension: str) -> None:
    """SES-11"""
    from ocpi_charges import cdr

    from cpo.ocpi import exact_json
    from cpo.ocpi.v221.codec import CODEC

    document = exact_json.decode(CODEC.cdr(cdr()).text)
    document["charging_periods"][0]["dimensions"].append({"type": dimension, "volume": 1})

    (problem,) = v221.Cdr.problems(document)
    assert dimension in problem.problem


def test_a_patch_lacks_what_it_does_not_change_and_nothing_else() -> None:
    """OWN-2"""
    patch = {"status": "CHARGING", "last_updated": STAMP}

    assert v221.Evse.problems(patch, partial=True) == ()
    assert v221.Evse.problems({"status": "BUSY"}, partial=True)[0].field == "status"
    assert v221.Evse.problems({"connectors": [{}]}, partial=True)[0].field == "connectors[0].id"


def test_a_cdr_of_a_partner_is_read_however_it_counts() -> None:
    """Only what we send is held to the rules of billing."""
    from ocpi_charges import cdr

    from cpo.ocpi import exact_json
    from cpo.ocpi.v221.codec import CODEC

    document = exact_json.decode(CODEC.cdr(cdr()).text)
    document["total_cost"] = {"excl_vat": Decimal(-1)}

    assert v221.Cdr.problems(document) != ()
    assert v221.Cdr.read(document).total_cost.net == -1


# --- tolerant -----------------------------------------------------------------------------------


def test_what_is_obviously_meant_is_taken() -> None:
    """TRANS-20 to TRANS-24, trap 30"""
    read = v221.Connector.read(
        connector(
            standard="HOSE",
            max_voltage="230",
            max_amperage=Decimal("16.0"),
            tariff_ids=None,
            terms_and_conditions=None,
            colour="red",
            last_updated="2026-06-01T14:00:00.1234567+02:00",
        )
    )

    assert (read.standard, read.max_voltage, read.max_amperage) == ("HOSE", 230, 16)
    assert read.tariff_ids == []
    assert read.terms_and_conditions is None
    assert read.last_updated == datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-06-01T12:00:00", datetime(2026, 6, 1, 12, tzinfo=UTC)),
        ("2026-06-01T12:00:00+00:00", datetime(2026, 6, 1, 12, tzinfo=UTC)),
        ("2026-06-01T12:00:00.5Z", datetime(2026, 6, 1, 12, 0, 0, 500_000, tzinfo=UTC)),
        (" 2026-06-01T12:00:00Z ", datetime(2026, 6, 1, 12, tzinfo=UTC)),
    ],
)
def test_instants_are_read_in_every_usual_form(text: str, at: datetime) -> None:
    """TRANS-22"""
    assert v221.Connector.read(connector(last_updated=text)).last_updated == at


@pytest.mark.parametrize(
    "text", ["", "now", "2026-02-30T00:00:00Z", "0001-01-01T00:00:00+14:00", 0]
)
def test_what_is_no_instant_is_refused(text: object) -> None:
    with pytest.raises(Invalid) as refused:
        v221.Connector.read(connector(last_updated=text))

    assert refused.value.field == "last_updated"


@pytest.mark.parametrize(
    ("volume", "read"),
    [("1.50", Decimal("1.50")), (2, Decimal(2)), (Decimal("0.123456"), Decimal("0.123456"))],
)
def test_numbers_are_read_exactly(volume: object, read: Decimal) -> None:
    """TRANS-23"""
    assert v221.CdrDimension.read({"type": "ENERGY", "volume": volume}).volume == read


@pytest.mark.parametrize("volume", ["", "1e5", "NaN", [], {}, True, Decimal("Infinity"), "1,5"])
def test_what_is_no_number_is_refused(volume: object) -> None:
    with pytest.raises(Invalid) as refused:
        v221.CdrDimension.read({"type": "ENERGY", "volume": volume})

    assert refused.value.field == "volume"


@pytest.mark.parametrize("value", ["", "x", "1.5", Decimal("1.5"), Decimal("1E+30"), [], True])
def test_what_is_no_whole_number_is_refused(value: object) -> None:
    with pytest.raises(Invalid) as refused:
        v221.Connector.read(connector(max_voltage=value))

    assert refused.value.field == "max_voltage"


@pytest.mark.parametrize("latitude", ["52.37", "52", Decimal("52.37"), 52, "+52.3702161"])
def test_coordinates_are_read_in_every_usual_form(latitude: object) -> None:
    read = v221.GeoLocation.read({"latitude": latitude, "longitude": "4.895168"})

    assert Decimal(read.latitude).to_integral_value() == 52


@pytest.mark.parametrize("latitude", ["north", "", "91", True, None, [], "52,37"])
def test_what_is_no_coordinate_is_refused(latitude: object) -> None:
    with pytest.raises(Invalid) as refused:
        v221.GeoLocation.read({"latitude": latitude, "longitude": "4.895168"})

    assert refused.value.field == "latitude"


def test_a_closed_list_stays_closed() -> None:
    """TRANS-24: only open lists may grow."""
    with pytest.raises(Invalid) as refused:
        v221.Connector.read(connector(format="HOSE"))

    assert refused.value.field == "format"
    assert "CABLE, SOCKET" in refused.value.problem


def test_an_absurd_value_of_an_open_list_is_refused() -> None:
    with pytest.raises(Invalid):
        v221.Connector.read(connector(standard="H" * 300))
    with pytest.raises(Invalid):
        v221.Connector.read(connector(standard=""))


def test_texts_of_partners_may_have_line_breaks() -> None:
    text = {"language": "DE", "text": "Willkommen\nbei uns"}

    assert v221.DisplayText.read(text).text == "Willkommen\nbei uns"
    assert fields(v221.DisplayText, text) == ["language", "text"]


def test_both_lengths_of_the_editions_of_2_3_0_are_taken() -> None:
    """0.1: build edition 2, accept edition 1."""
    signed = {"nature": "Start", "signed_data": "AA=="}

    assert v230.SignedValue.read(signed | {"plain_data": "x" * 512}).plain_data
    assert v230.SignedValue.read(signed | {"plain_data": "x" * 5000}).plain_data


def test_a_list_is_read_item_by_item() -> None:
    """TRANS-26"""
    good, bad = read_all(v221.Connector, [connector(), connector(id=None), None])

    assert [one.id for one in good] == ["1"]
    assert [problem.field for problem in bad] == ["[1].id", "[2]"]


def test_braces_in_a_value_do_not_break_the_message() -> None:
    with pytest.raises(Invalid, match=r"\{x\}"):
        v221.Connector.read(connector(format="{x}"))
