"""Locations in the words of each version."""

from datetime import timedelta
from typing import Any

import pytest
from ocpi_charges import STAMP, location

from cpo.errors import NotFound
from cpo.ocpi import exact_json
from cpo.ocpi.dialect import Codec, DateStyle, Quirks, Rendered, Stamps
from cpo.ocpi.dialects import DIALECTS
from cpo.ocpi.v221 import words

STATUSES = {"EVSE-1": "AVAILABLE", "EVSE-2": "CHARGING", "EVSE-3": "OUTOFORDER"}
STAMPS = Stamps(location=STAMP)

each_version = pytest.mark.parametrize(
    "codec", [pytest.param(d.codec, id=d.version) for d in DIALECTS.values()]
)
V211, V221, V230 = (DIALECTS[version].codec for version in ("2.1.1", "2.2.1", "2.3.0"))


def read(rendered: Rendered) -> Any:
    assert rendered.problems == ()
    return exact_json.decode(rendered.text)


def render(codec: Codec, of: Any = None, **more: Any) -> Any:
    return read(codec.location(of or location(), statuses=STATUSES, stamps=STAMPS, **more))


@each_version
def test_a_location_of_ours_is_valid_in_every_version(codec: Codec) -> None:
    """Promise 7"""
    document = render(codec)

    assert document["id"] == "LOC-1"
    assert [evse["status"] for evse in document["evses"]] == ["AVAILABLE", "CHARGING", "OUTOFORDER"]


@each_version
def test_nothing_of_the_hardware_reaches_a_partner(codec: Codec) -> None:
    """BR-08: the OCPP identity appears nowhere."""
    assert b"hidden" not in codec.location(location(), statuses={}, stamps=STAMPS).text
    assert b"ocpp" not in codec.location(location(), statuses={}, stamps=STAMPS).text


@each_version
def test_neither_nulls_nor_empty_lists_are_sent(codec: Codec) -> None:
    """TRANS-20"""
    text = codec.location(location(name=None, evses=[]), statuses={}, stamps=STAMPS).text

    assert b"null" not in text
    assert b"[]" not in text


@each_version
def test_coordinates_have_six_decimals(codec: Codec) -> None:
    """LOC-40"""
    somewhere = location(coordinates={"latitude": "51.9", "longitude": "-4.1234567"})

    assert render(codec, somewhere)["coordinates"] == {
        "latitude": "51.900000",
        "longitude": "-4.123457",
    }


@each_version
def test_an_evse_of_unknown_state_says_so(codec: Codec) -> None:
    document = read(codec.location(location(), statuses={}, stamps=STAMPS))

    assert {evse["status"] for evse in document["evses"]} == {"UNKNOWN"}


@each_version
def test_each_part_has_its_own_last_updated(codec: Codec) -> None:
    """LOC-14"""
    stamps = Stamps(
        location=STAMP,
        evses={"EVSE-1": STAMP - timedelta(hours=1)},
        connectors={("EVSE-1", "1"): STAMP - timedelta(hours=2)},
    )

    document = read(codec.location(location(), statuses={}, stamps=stamps))

    assert document["last_updated"] == "2026-06-01T13:30:00.250Z"
    assert document["evses"][0]["last_updated"] == "2026-06-01T12:30:00.250Z"
    assert document["evses"][0]["connectors"][0]["last_updated"] == "2026-06-01T11:30:00.250Z"
    assert document["evses"][1]["last_updated"] == "2026-06-01T13:30:00.250Z"


@each_version
@pytest.mark.parametrize(
    ("style", "text"),
    [
        (DateStyle.EXACT, "2026-06-01T13:30:00.250Z"),
        (DateStyle.SECONDS, "2026-06-01T13:30:00Z"),
        (DateStyle.MILLISECONDS, "2026-06-01T13:30:00.250Z"),
    ],
)
def test_instants_are_written_as_the_partner_reads_them(
    codec: Codec, style: DateStyle, text: str
) -> None:
    """TRANS-22"""
    assert render(codec, quirks=Quirks(date_style=style))["last_updated"] == text


def test_whole_seconds_get_three_digits_where_a_partner_wants_them() -> None:
    stamps = Stamps(location=STAMP.replace(microsecond=0))
    quirks = Quirks(date_style=DateStyle.MILLISECONDS)

    document = read(V221.location(location(), statuses={}, stamps=stamps, quirks=quirks))

    assert document["last_updated"] == "2026-06-01T13:30:00.000Z"


@each_version
def test_an_evse_and_a_connector_can_be_had_alone(codec: Codec) -> None:
    """LOC-21"""
    whole = render(codec)
    evse = read(codec.evse(location(), "evse-1", statuses=STATUSES, stamps=STAMPS))
    connector = read(codec.connector(location(), "EVSE-1", "1", stamps=STAMPS))

    assert evse == whole["evses"][0]
    assert connector == whole["evses"][0]["connectors"][0]


@each_version
def test_an_unknown_evse_or_connector_is_not_found(codec: Codec) -> None:
    """LOC-21"""
    with pytest.raises(NotFound):
        codec.evse(location(), "EVSE-9", statuses={}, stamps=STAMPS)
    with pytest.raises(NotFound):
        codec.connector(location(), "EVSE-1", "9", stamps=STAMPS)


@each_version
def test_a_status_change_is_one_small_patch(codec: Codec) -> None:
    """LOC-31"""
    assert exact_json.decode(codec.evse_status("CHARGING", STAMP)) == {
        "status": "CHARGING",
        "last_updated": "2026-06-01T13:30:00.250Z",
    }


def test_2_3_0_says_everything() -> None:
    """Section 19: AFIR fields, parking, plug and charge."""
    rendered = V230.location(location(), statuses=STATUSES, stamps=STAMPS)
    document = read(rendered)

    assert rendered.left_out == ()
    assert document["help_phone"] == "+31101234567"
    assert document["parking_places"][0]["vehicle_types"] == ["DISABLED", "PERSONAL_VEHICLE"]
    evse = document["evses"][2]
    assert evse["parking"] == [{"parking_id": "P1"}]
    assert evse["parking_restrictions"] == ["EV_ONLY", "TAXIS"]
    assert evse["connectors"][0]["capabilities"] == ["ISO_15118_2_PLUG_AND_CHARGE"]
    assert evse["connectors"][1]["standard"] == "MCS"


def test_2_2_1_hears_nothing_of_what_came_later() -> None:
    """LOC-47"""
    rendered = V221.location(location(), statuses=STATUSES, stamps=STAMPS)
    document = read(rendered)

    assert "parking_places" not in document
    assert "help_phone" not in document
    evse = document["evses"][2]
    assert evse["parking_restrictions"] == ["EV_ONLY"]
    assert [connector["id"] for connector in evse["connectors"]] == ["1"]
    assert "evses[2].connectors[1] (MCS)" in rendered.left_out


def test_2_1_1_has_its_own_fields() -> None:
    """LOC-42, LOC-43, LOC-48"""
    document = render(V211)

    assert document["type"] == "OTHER"
    assert document["energy_mix"]["environ_impact"] == [
        {"source": "CARBON_DIOXIDE", "amount": exact_json.decode(b"12.5")}
    ]
    assert document["facilities"] == ["HOTEL"]
    assert document.keys().isdisjoint({"country_code", "party_id", "publish", "parking_type"})
    connector = document["evses"][0]["connectors"][0]
    assert (connector["voltage"], connector["amperage"], connector["tariff_id"]) == (
        920,
        200,
        "T-1",
    )
    assert connector.keys().isdisjoint({"max_voltage", "max_amperage", "tariff_ids"})


@pytest.mark.parametrize(
    ("parking_type", "type_"),
    [
        ("ON_STREET", "ON_STREET"),
        ("PARKING_GARAGE", "PARKING_GARAGE"),
        ("ALONG_MOTORWAY", "OTHER"),
        ("ON_DRIVEWAY", "OTHER"),
        (None, "UNKNOWN"),
    ],
)
def test_2_1_1_has_a_type_for_every_kind_of_parking(parking_type: str | None, type_: str) -> None:
    """LOC-42"""
    assert render(V211, location(parking_type=parking_type))["type"] == type_


def test_2_1_1_hears_only_of_plugs_and_powers_it_knows() -> None:
    """LOC-47"""
    rendered = V211.location(location(), statuses=STATUSES, stamps=STAMPS)
    document = read(rendered)

    assert [[c["id"] for c in evse["connectors"]] for evse in document["evses"]] == [
        ["1", "2"],
        ["1"],
        ["1"],
    ]
    assert document["evses"][0]["capabilities"] == ["RFID_READER"]
    assert "evses[1].connectors[1] (AC_2_PHASE)" in rendered.left_out


@pytest.mark.parametrize("codec", [V211, V221])
def test_an_evse_is_left_out_when_no_connector_is_left(codec: Codec) -> None:
    """LOC-47"""
    evse = {
        "uid": "EVSE-9",
        "connectors": [
            {
                "id": "1",
                "standard": "MCS",
                "format": "CABLE",
                "power_type": "DC",
                "max_voltage": 900,
                "max_amperage": 400,
            }
        ],
    }
    strange = location(evses=[evse])

    rendered = codec.location(strange, statuses={}, stamps=STAMPS)

    assert "evses" not in read(rendered)
    assert "evses[0]" in rendered.left_out


def test_2_1_1_says_either_always_or_when() -> None:
    """LOC-45"""
    hours = [{"weekday": 1, "period_begin": "08:00", "period_end": "20:00"}]
    by_day = location(opening_times={"twentyfourseven": False, "regular_hours": hours})
    always = location(opening_times={"twentyfourseven": True, "regular_hours": hours})

    assert render(V211, by_day)["opening_times"] == {"regular_hours": hours}
    assert render(V211, always)["opening_times"] == {"twentyfourseven": True}


def test_a_long_address_is_shortened_for_2_1_1_only() -> None:
    """Section 18: cut."""
    long = location(address="Straat van de Europese Samenwerking tussen de Volkeren 1234")

    assert render(V211, long)["address"] == "Straat van de Europese Samenwerking tussen de"
    assert render(V221, long)["address"].endswith("1234")


def test_2_1_1_holds_back_what_it_would_show_to_everybody() -> None:
    """LOC-15"""
    rendered = V211.location(location(publish=False), statuses={}, stamps=STAMPS)

    assert [problem.field for problem in rendered.problems] == ["publish"]
    assert rendered.held_back is not None


def test_2_1_1_holds_back_a_location_without_postal_code_and_names_the_field() -> None:
    """LOC-42, promise 7"""
    rendered = V211.location(location(postal_code=None), statuses={}, stamps=STAMPS)

    assert [problem.field for problem in rendered.problems] == ["postal_code"]
    assert rendered.held_back == "postal_code: required"


@each_version
def test_a_partner_may_see_other_tariffs(codec: Codec) -> None:
    """LOC-22"""
    theirs = {("EVSE-1", "1"): ["T-CONTRACT"]}

    connector = render(codec, tariff_ids=theirs)["evses"][0]["connectors"][0]

    assert connector.get("tariff_ids", [connector.get("tariff_id")]) == ["T-CONTRACT"]


def test_tokens_of_a_type_2_2_1_lacks_are_not_named_in_it() -> None:
    seen_by = [{"uid": "A", "type": "EMAID"}, {"uid": "B", "type": "RFID"}]
    hidden = location(publish=False, publish_allowed_to=seen_by)

    assert render(V230, hidden)["publish_allowed_to"] == seen_by
    assert render(V221, hidden)["publish_allowed_to"] == seen_by[1:]


@each_version
def test_a_public_id_that_was_taken_over_is_dropped_from_the_removed_evse(codec: Codec) -> None:
    """LOC-4"""
    old, new = (
        {
            "uid": uid,
            "evse_id": "NL*CPO*E1",
            "status": status,
            "connectors": [
                {
                    "id": "1",
                    "standard": "CHADEMO",
                    "format": "CABLE",
                    "power_type": "DC",
                    "max_voltage": 500,
                    "max_amperage": 125,
                }
            ],
        }
        for uid, status in (("OLD", "REMOVED"), ("NEW", "PLANNED"))
    )

    kept = render(codec, location(evses=[old]))["evses"]
    taken = render(codec, location(evses=[old, new]))["evses"]

    assert [evse.get("evse_id") for evse in kept] == ["NL*CPO*E1"]
    assert [evse.get("evse_id") for evse in taken] == [None, "NL*CPO*E1"]


@each_version
@pytest.mark.parametrize("status", sorted(words.STATUSES))
def test_every_status_has_its_word(codec: Codec, status: str) -> None:
    """LOC-12"""
    document = read(codec.location(location(), statuses={"EVSE-1": status}, stamps=STAMPS))

    assert document["evses"][0]["status"] == status


@each_version
def test_a_location_says_its_country_and_its_zone(codec: Codec) -> None:
    """LOC-41"""
    document = render(codec)

    assert document["country"] == "NLD"
    assert document["time_zone"] == "Europe/Amsterdam"
    assert document.get("country_code", "NL") == "NL"


@pytest.mark.parametrize("codec", [V221, V230])
def test_a_power_below_volts_times_amperes_is_said(codec: Codec) -> None:
    """LOC-44"""
    connector = render(codec)["evses"][0]["connectors"][0]

    assert (connector["max_voltage"], connector["max_amperage"]) == (920, 200)
    assert connector["max_electric_power"] == 150_000


@each_version
def test_without_operator_it_is_the_party_of_the_credentials(codec: Codec) -> None:
    """LOC-46"""
    assert "operator" not in render(codec, location(operator=None))


def test_plug_and_charge_is_said_of_the_connector_that_has_it() -> None:
    """LOC-50"""
    first, second = render(V230)["evses"][0]["connectors"]

    assert first["capabilities"] == ["ISO_15118_2_PLUG_AND_CHARGE"]
    assert "capabilities" not in second
