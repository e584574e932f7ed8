import copy
from decimal import Decimal
from typing import Any

import pytest

from cpo.domain.location import Binding, Location, location_document, parse_location
from cpo.errors import Invalid, NotFound


def body() -> dict[str, Any]:
    return {
        "country_code": "NL",
        "party_id": "EXA",
        "id": "L1",
        "publish": True,
        "name": "Harbour",
        "address": "Quay 1",
        "city": "Rotterdam",
        "postal_code": "3011",
        "country": "NLD",
        "coordinates": {"latitude": "51.9244", "longitude": "4.477733"},
        "time_zone": "Europe/Amsterdam",
        "parking_type": "ON_STREET",
        "opening_times": {
            "twentyfourseven": False,
            "regular_hours": [{"weekday": 1, "period_begin": "08:00", "period_end": "20:00"}],
            "exceptional_closings": [
                {
                    "period_begin": "2026-12-25T00:00:00+01:00",
                    "period_end": "2026-12-26T00:00:00+01:00",
                }
            ],
        },
        "energy_mix": {
            "is_green_energy": True,
            "energy_sources": [{"source": "WIND", "percentage": Decimal("99.5")}],
        },
        "parking_places": [
            {
                "id": "P1",
                "vehicle_types": ["PERSONAL_VEHICLE"],
                "restricted_to_type": True,
                "reservation_required": False,
            }
        ],
        "evses": [
            {
                "uid": "E1",
                "evse_id": "NL*EXA*E1",
                "ocpp": {"station": "CP-A", "evse_id": 1},
                "capabilities": ["RFID_READER"],
                "physical_reference": "7",
                "parking": [{"parking_id": "P1", "evse_position": "LEFT"}],
                "connectors": [
                    {
                        "id": "1",
                        "standard": "IEC_62196_T2",
                        "format": "SOCKET",
                        "power_type": "AC_3_PHASE",
                        "max_voltage": 230,
                        "max_amperage": 32,
                        "max_electric_power": 22_000,
                        "tariff_ids": ["T1"],
                        "terms_and_conditions": "https://cpo.example/terms",
                        "last_updated": "2020-01-01T00:00:00Z",
                    }
                ],
            },
            {
                "uid": "E2",
                "evse_id": "NL*EXA*E2",
                "ocpp": {"station": "CP-A", "connector_ids": {"a": 2, "b": 3}},
                "connectors": [
                    {
                        "id": letter,
                        "standard": "CHADEMO",
                        "format": "CABLE",
                        "power_type": "DC",
                        "max_voltage": 400,
                        "max_amperage": 125,
                    }
                    for letter in "ab"
                ],
            },
        ],
    }


def changed(path: str, value: object) -> dict[str, Any]:
    """Return the body with one field set; a path like `evses.0.uid`."""
    whole: Any = body()
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    target = whole
    for part in way:
        target = target[part]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return whole


def test_what_the_system_computes_with_is_typed() -> None:
    location = parse_location(body())

    assert (location.country_code, location.party_id, location.id) == ("NL", "EXA", "L1")
    assert (location.latitude, location.longitude) == ("51.924400", "4.477733")
    evse = location.evse("e1")
    assert evse.binding == Binding(station="CP-A", evse_id=1)
    assert evse.capabilities == ("RFID_READER",)
    connector = evse.connector("1")
    assert connector.max_electric_power == 22_000
    assert connector.tariff_ids == ("T1",)
    assert location.stations == {"CP-A"}


def test_an_evse_may_unite_several_connectors_of_1_6() -> None:
    """LOC-6"""
    binding = parse_location(body()).evse("E2").binding

    assert binding == Binding(station="CP-A", connector_ids={"a": 2, "b": 3})


def test_descriptions_are_carried_without_loss() -> None:
    location = parse_location(body())

    assert location.details["energy_mix"]["energy_sources"][0]["percentage"] == Decimal("99.5")
    assert location.details["parking_places"][0]["id"] == "P1"
    assert location.evses[0].details["parking"] == [{"parking_id": "P1", "evse_position": "LEFT"}]


@pytest.mark.parametrize(("given", "kept"), [(99.5, Decimal("99.5")), (Decimal("7.00"), 7), (8, 8)])
def test_numbers_are_kept_exactly(given: object, kept: object) -> None:
    location = parse_location(changed("energy_mix.energy_sources.0.percentage", given))

    assert location.details["energy_mix"]["energy_sources"][0]["percentage"] == kept


def test_instants_are_kept_in_utc() -> None:
    """LOC-45: exceptional periods are UTC."""
    closings = parse_location(body()).details["opening_times"]["exceptional_closings"]

    assert closings == [
        {"period_begin": "2026-12-24T23:00:00Z", "period_end": "2026-12-25T23:00:00Z"}
    ]


def test_the_document_reads_back_as_the_same_location() -> None:
    location = parse_location(body())

    assert parse_location(location_document(location)) == location


def test_reading_changes_nothing_of_the_body() -> None:
    given = body()
    before = copy.deepcopy(given)

    parse_location(given, location_id="L1")

    assert given == before


def test_nulls_empty_lists_and_unknown_fields_are_left_out() -> None:
    """TRANS-20, TRANS-24"""
    given = body() | {"name": None, "images": [], "directions": None, "colour": "red"}

    document = location_document(parse_location(given))

    assert document.keys() & {"name", "images", "directions", "colour"} == set()


def test_id_and_party_may_come_from_outside_the_body() -> None:
    given = body()
    for name in ("id", "country_code", "party_id"):
        del given[name]

    location = parse_location(given, location_id="L9", default_party=("DE", "ABC"))

    assert (location.id, location.country_code, location.party_id) == ("L9", "DE", "ABC")


def test_an_id_that_differs_from_the_url_is_refused() -> None:
    with pytest.raises(Invalid, match="differs") as refused:
        parse_location(body(), location_id="L2")

    assert refused.value.field == "id"


@pytest.mark.parametrize("word", ["PLANNED", "INOPERATIVE", "BLOCKED", "REMOVED"])
def test_the_operators_word_is_kept(word: str) -> None:
    """MAP-13"""
    assert parse_location(changed("evses.0.status", word)).evses[0].operator_status == word


@pytest.mark.parametrize("word", ["AVAILABLE", "CHARGING", "OUTOFORDER", "RESERVED", "UNKNOWN"])
def test_what_only_the_charger_can_say_is_not_taken_from_the_operator(word: str) -> None:
    """Contract, section 4: a status in the body holds only for four values."""
    assert parse_location(changed("evses.0.status", word)).evses[0].operator_status is None


def test_an_evse_without_binding_is_accepted() -> None:
    assert parse_location(changed("evses.0.ocpp", ...)).evses[0].binding is None


def test_a_planned_evse_needs_no_public_id() -> None:
    given = changed("evses.0.ocpp", ...)
    del given["evses"][0]["evse_id"]

    assert parse_location(given).evses[0].evse_id is None


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        pytest.param("address", ..., "address", id="required field missing"),
        pytest.param("address", None, "address", id="required field null"),
        pytest.param("address", 7, "address", id="wrong type"),
        pytest.param("address", "a" * 256, "address", id="too long"),
        pytest.param("address", "Quay\n1", "address", id="control character"),
        pytest.param("publish", "yes", "publish", id="no boolean"),
        pytest.param("country", "NL", "country", id="alpha-2 for alpha-3"),
        pytest.param("party_id", "EXAM", "party_id", id="party id"),
        pytest.param("id", "L" * 37, "id", id="id too long"),
        pytest.param("id", "Ł1", "id", id="id not ascii"),
        pytest.param("time_zone", "Europe/Nowhere", "time_zone", id="no time zone"),
        pytest.param("time_zone", "../etc", "time_zone", id="path as time zone"),
        pytest.param("time_zone", "Europe", "time_zone", id="folder as time zone"),
        pytest.param("coordinates.latitude", "91.0", "coordinates.latitude", id="latitude"),
        pytest.param("coordinates.longitude", "x", "coordinates.longitude", id="no digits"),
        pytest.param("coordinates.longitude", True, "coordinates.longitude", id="boolean"),
        pytest.param("parking_type", "ON_WATER", "parking_type", id="unknown word"),
        pytest.param("evses", {}, "evses", id="object for a list"),
        pytest.param("evses.0", 1, "evses[0]", id="number for an object"),
        pytest.param("evses.0.uid", "", "evses[0].uid", id="empty uid"),
        pytest.param("evses.1.uid", "e1", "evses[1].uid", id="uid twice"),
        pytest.param("evses.1.evse_id", "nl*exa*e1", "evses[1].evse_id", id="evse_id twice"),
        pytest.param("evses.0.evse_id", ..., "evses[0].evse_id", id="LOC-4"),
        pytest.param("evses.0.status", "BROKEN", "evses[0].status", id="unknown status"),
        pytest.param("evses.0.connectors", [], "evses[0].connectors", id="no connector"),
        pytest.param("evses.0.connectors.0.standard", "T2", "evses[0].connectors[0].standard", id="plug"),
        pytest.param("evses.0.connectors.0.max_voltage", Decimal("230.5"), "evses[0].connectors[0].max_voltage", id="fraction of a volt"),
        pytest.param("evses.0.connectors.0.max_amperage", 0, "evses[0].connectors[0].max_amperage", id="no ampere"),
        pytest.param("evses.0.connectors.0.terms_and_conditions", "ftp://x", "evses[0].connectors[0].terms_and_conditions", id="url"),
        pytest.param("evses.1.connectors.1.id", "A", "evses[1].connectors[1].id", id="connector twice"),
        pytest.param("evses.0.ocpp", {"station": "CP-A"}, "evses[0].ocpp", id="binding to nothing"),
        pytest.param("evses.0.ocpp", {"evse_id": 1}, "evses[0].ocpp.station", id="no station"),
        pytest.param("evses.0.ocpp.evse_id", 0, "evses[0].ocpp.evse_id", id="evse 0 is the station"),
        pytest.param("evses.0.ocpp.evse_id", 3, "evses[1].ocpp", id="bound twice"),
        pytest.param("evses.1.ocpp.connector_ids", [2], "evses[1].ocpp.connector_ids", id="list of connectors"),
        pytest.param("opening_times.exceptional_closings.0.period_end", "soon", "opening_times.exceptional_closings[0].period_end", id="no instant"),
        pytest.param("energy_mix.energy_sources.0.percentage", Decimal("0.12345"), "energy_mix.energy_sources[0].percentage", id="too fine"),
        pytest.param("energy_mix.energy_sources.0.percentage", "9", "energy_mix.energy_sources[0].percentage", id="text for a number"),
        pytest.param("evses.1.ocpp.connector_ids", {"a": 2}, "evses[1].ocpp.connector_ids", id="connector not bound"),
        pytest.param("evses.1.ocpp.connector_ids", {"a": 2, "c": 3}, "evses[1].ocpp.connector_ids", id="unknown connector bound"),
        pytest.param("evses.1.ocpp.connector_ids", {"a": 2, "b": 2}, "evses[1].ocpp", id="one number twice"),
        pytest.param("evses.0.parking.0.parking_id", "P2", "evses[0].parking[0].parking_id", id="LOC-49"),
        pytest.param("opening_times.regular_hours", [], "opening_times.regular_hours", id="LOC-45"),
        pytest.param("opening_times.regular_hours.0.period_end", "08:00", "opening_times.regular_hours[0].period_end", id="LOC-45 no span"),
        pytest.param("opening_times.regular_hours.0.weekday", 8, "opening_times.regular_hours[0].weekday", id="weekday"),
        pytest.param("publish_allowed_to", [{"uid": "1", "type": "RFID"}], "publish_allowed_to", id="LOC-15 public"),
        pytest.param("energy_mix.energy_sources.0.percentage", Decimal("NaN"), "energy_mix.energy_sources[0].percentage", id="not finite"),
        pytest.param("energy_mix.energy_sources.0.percentage", Decimal("1E+40"), "energy_mix.energy_sources[0].percentage", id="absurd"),
    ],
)  # fmt: skip
def test_an_error_names_the_field(path: str, value: object, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_location(changed(path, value))

    assert refused.value.field == field


@pytest.mark.parametrize("name", ["uid", "evse_id", "physical_reference"])
def test_an_ocpp_identity_never_becomes_public(name: str) -> None:
    """BR-08, SEC-04"""
    with pytest.raises(Invalid, match="OCPP identity") as refused:
        parse_location(changed(f"evses.1.{name}", "cp-a"))

    assert refused.value.field == f"evses[1].{name}"


@pytest.mark.parametrize(
    ("token", "accepted"),
    [
        ({"uid": "1", "type": "RFID"}, True),
        ({"visual_number": "1", "issuer": "EXA"}, True),
        ({"group_id": "G"}, True),
        ({"uid": "1"}, False),
        ({"issuer": "EXA"}, False),
    ],
)
def test_visibility_is_limited_to_tokens_that_are_named(
    token: dict[str, str], accepted: bool
) -> None:
    """LOC-15"""
    given = body() | {"publish": False, "publish_allowed_to": [token]}

    if accepted:
        assert parse_location(given).publish_allowed_to == (token,)
    else:
        with pytest.raises(Invalid, match="required") as refused:
            parse_location(given)
        assert refused.value.field == "publish_allowed_to[0]"


def test_a_removed_evse_frees_its_hardware_and_its_public_id() -> None:
    """LOC-4, MAP-1"""
    given = changed("evses.0.status", "REMOVED")
    given["evses"].append(copy.deepcopy(given["evses"][0]) | {"uid": "E3", "status": None})

    location = parse_location(given)

    assert location.evse("E3").evse_id == location.evse("E1").evse_id


def test_an_unknown_evse_or_connector_is_not_found() -> None:
    location = parse_location(body())

    with pytest.raises(NotFound):
        location.evse("E9")
    with pytest.raises(NotFound):
        location.evse("E1").connector("9")


@pytest.mark.parametrize("given", [None, [], "x", 1])
def test_a_body_that_is_no_object_is_refused(given: Any) -> None:
    with pytest.raises(Invalid):
        parse_location(given)


def test_a_location_without_evses_is_accepted() -> None:
    location = parse_location(changed("evses", ...))

    assert isinstance(location, Location)
    assert location.evses == ()


def test_connector_ids_are_unique_in_their_evse_only() -> None:
    """LOC-5"""
    given = body()
    given["evses"][1]["connectors"][0]["id"] = "1"
    given["evses"][1]["ocpp"]["connector_ids"] = {"1": 2, "b": 3}

    location = parse_location(given)

    assert location.evse("E1").connector("1") != location.evse("E2").connector("1")


def test_a_uid_is_ours_and_occurs_once() -> None:
    """LOC-3"""
    with pytest.raises(Invalid, match="occurs twice"):
        parse_location(changed("evses.1.uid", "E1"))
