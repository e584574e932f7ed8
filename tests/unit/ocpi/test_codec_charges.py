"""Sessions and CDRs in the words of each version."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from ocpi_charges import NOON, cdr, location, record, session, snapshot, tariff, token

from cpo.domain.events import SignedReading
from cpo.domain.periods import Period
from cpo.domain.pricing import Breakdown, Price, Tax
from cpo.domain.session import SessionStatus
from cpo.domain.tokens import AuthMethod
from cpo.domain.values import replace
from cpo.ocpi import exact_json
from cpo.ocpi.dialect import Codec, Quirks, Rendered
from cpo.ocpi.dialects import DIALECTS

each_version = pytest.mark.parametrize(
    "codec", [pytest.param(d.codec, id=d.version) for d in DIALECTS.values()]
)
V211, V221, V230 = (DIALECTS[version].codec for version in ("2.1.1", "2.2.1", "2.3.0"))


def read(rendered: Rendered) -> Any:
    assert rendered.problems == ()
    return exact_json.decode(rendered.text)


def total(document: Any, dimension: str) -> Decimal:
    return sum(
        (
            one["volume"]
            for period in document["charging_periods"]
            for one in period["dimensions"]
            if one["type"] == dimension
        ),
        Decimal(0),
    )


# --- both ---------------------------------------------------------------------------------------


@each_version
def test_the_periods_add_up_to_the_totals(codec: Codec) -> None:
    """Promise 6, SES-9, CDR-10"""
    running, final = read(codec.session(session())), read(codec.cdr(cdr()))

    assert total(running, "ENERGY") == running["kwh"] == Decimal("20.1235")
    assert total(final, "ENERGY") == final["total_energy"] == running["kwh"]
    assert total(final, "TIME") + total(final, "PARKING_TIME") == final["total_time"]
    assert total(final, "PARKING_TIME") == final["total_parking_time"]


@each_version
def test_no_rounding_is_lost_over_many_periods(codec: Codec) -> None:
    """Promise 6: a third of a Wh a thousand times."""
    periods = tuple(
        Period(
            started_at=NOON + timedelta(seconds=i),
            energy_wh=Decimal("0.3333"),
            time_s=Decimal(1),
        )
        for i in range(1000)
    )
    final = cdr(periods=periods, energy_wh=Decimal("333.3"))

    document = read(codec.cdr(final))

    assert total(document, "ENERGY") == document["total_energy"] == Decimal("0.3333")
    assert total(document, "TIME") == document["total_time"] == Decimal("0.2778")


@each_version
def test_a_period_keeps_its_volume_when_later_ones_are_added(codec: Codec) -> None:
    """SES-7: a period that was sent is never told differently."""
    final = session()
    first = final.periods[0]
    early = replace(final, periods=final.periods[:1], energy_wh=first.energy_wh)

    then = read(codec.session(early))["charging_periods"][0]
    later = read(codec.session(final))["charging_periods"][0]

    assert then == later


@each_version
def test_the_instants_are_those_of_the_charge(codec: Codec) -> None:
    periods = read(codec.cdr(cdr()))["charging_periods"]

    assert [period["start_date_time"] for period in periods] == [
        "2026-06-01T12:00:00Z",
        "2026-06-01T12:59:00Z",
    ]


@each_version
def test_the_station_is_not_named(codec: Codec) -> None:
    """BR-08"""
    assert b"hidden" not in codec.session(session()).text
    assert b"hidden" not in codec.cdr(cdr()).text


@each_version
def test_what_is_missing_holds_the_object_back_with_the_field_named(codec: Codec) -> None:
    """Promise 7, OWN-1: a PUT has all required fields."""
    rendered = codec.cdr(cdr(last_updated=None))

    assert [problem.field for problem in rendered.problems] == ["last_updated"]
    assert exact_json.decode(rendered.text)["id"] == "CDR-1"


@each_version
def test_a_session_nobody_identified_for_is_held_back(codec: Codec) -> None:
    rendered = codec.session(session(token=None))

    assert [problem.field for problem in rendered.problems] in (["cdr_token"], ["auth_id"])


@each_version
def test_money_may_have_the_currencys_own_decimals(codec: Codec) -> None:
    """Promise 6: a setting per partner; the parts still add up."""
    document = read(codec.cdr(cdr(), Quirks(currency_decimals=True)))

    cost = document["total_cost"]
    if isinstance(cost, dict):
        net = cost.get("excl_vat", cost.get("before_taxes"))
        parts = [
            part.get("excl_vat", part.get("before_taxes"))
            for name in ("fixed", "energy", "time", "parking", "reservation")
            if (part := document.get(f"total_{name}_cost"))
        ]
        assert sum(parts) == net
        cost = net
    assert cost == Decimal("9.90")


# --- sessions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [V221, V230])
def test_a_session_names_token_location_evse_and_connector(codec: Codec) -> None:
    """SES-12, SES-14"""
    document = read(codec.session(session()))

    assert document["cdr_token"] == {
        "country_code": "DE",
        "party_id": "EMP",
        "uid": "04A2B3C4",
        "type": "RFID",
        "contract_id": "DE-EMP-C12345678-X",
    }
    assert (document["location_id"], document["evse_uid"], document["connector_id"]) == (
        "LOC-1",
        "EVSE-1",
        "1",
    )
    assert document["authorization_reference"] == "ref-1"
    assert document["auth_method"] == "COMMAND"
    assert document["charging_periods"][0]["tariff_id"] == "T-1"


@pytest.mark.parametrize("codec", [V221, V230])
def test_mv23_ses11_the_state_of_charge_stands_in_the_session_and_in_no_cdr(codec: Codec) -> None:
    """SES-11"""
    told = codec.session(session(soc_percent=Decimal(55)))
    periods = [[d["type"] for d in p["dimensions"]] for p in read(told)["charging_periods"]]
    untold = read(codec.session(session()))["charging_periods"]

    assert told.problems == ()
    assert periods[-1][-1] == "STATE_OF_CHARGE"
    assert total(read(told), "STATE_OF_CHARGE") == 55
    assert not any("STATE_OF_CHARGE" in types for types in periods[:-1])
    assert periods[-1][:-1] == [d["type"] for d in untold[-1]["dimensions"]]
    # Neither an empty list nor 2.1.1 has a place for it.
    assert read(codec.session(session(soc_percent=Decimal(55), periods=())))["kwh"] > 0
    assert b"STATE_OF_CHARGE" not in V211.session(session(soc_percent=Decimal(55))).text


def test_a_session_of_2_1_1_has_its_own_fields() -> None:
    """SES-12: embedded location with only the EVSE and connector; SES-15"""
    document = read(V211.session(session()))

    assert document["start_datetime"] == "2026-06-01T12:00:00Z"
    assert document["end_datetime"] == "2026-06-01T13:30:00Z"
    assert document["auth_id"] == "DE-EMP-C12345678-X"
    (evse,) = document["location"]["evses"]
    assert evse["uid"] == "EVSE-1"
    assert [connector["id"] for connector in evse["connectors"]] == ["1"]
    assert document["total_cost"] == Decimal("9.8984")
    assert "tariff_id" not in document["charging_periods"][0]


def test_the_embedded_evse_is_charging_while_the_session_runs() -> None:
    running = session(status=SessionStatus.ACTIVE, end_date_time=None)

    assert read(V211.session(running))["location"]["evses"][0]["status"] == "CHARGING"


@pytest.mark.parametrize("word", ["AUTH_REQUEST", "WHITELIST"])
def test_2_1_1_has_no_word_for_a_remote_start(word: str) -> None:
    """SES-13: settable per partner."""
    quirks = Quirks(command_auth_method=word)

    assert read(V211.session(session(), quirks))["auth_method"] == word
    assert (
        read(V211.session(session(auth_method=AuthMethod.WHITELIST), quirks))["auth_method"]
        == "WHITELIST"
    )


@pytest.mark.parametrize("codec", [V221, V230])
def test_a_reservation_without_evse_says_not_available(codec: Codec) -> None:
    """SES-12, TRANS-25"""
    held = replace(snapshot(), evse_uid="", connector_id="")
    reserved = session(status=SessionStatus.RESERVATION, snapshot=held, end_date_time=None)

    document = read(codec.session(reserved))

    assert (document["evse_uid"], document["connector_id"]) == ("#NA", "#NA")


@pytest.mark.parametrize("codec", [V221, V230])
def test_a_charge_without_evse_is_held_back_instead(codec: Codec) -> None:
    """TRANS-25: not for laziness."""
    held = replace(snapshot(), evse_uid="", connector_id="")

    rendered = codec.session(session(snapshot=held))

    assert [problem.field for problem in rendered.problems] == ["evse_uid", "connector_id"]


def test_2_1_1_has_no_session_for_a_reservation() -> None:
    rendered = V211.session(session(status=SessionStatus.RESERVATION))

    assert [problem.field for problem in rendered.problems] == ["status"]


@each_version
def test_a_put_clears_the_periods_by_an_empty_list(codec: Codec) -> None:
    """SES-6"""
    fresh = session(periods=(), energy_wh=Decimal(0), status=SessionStatus.ACTIVE)

    assert read(codec.session(fresh))["charging_periods"] == []


@each_version
def test_a_patch_never_carries_periods(codec: Codec) -> None:
    """SES-6, SES-7, TRANS-18: they would be appended."""
    running = session(status=SessionStatus.ACTIVE, end_date_time=None)

    document = read(codec.session_patch(running))

    assert document.keys() == {
        "kwh",
        "auth_method",
        "currency",
        "total_cost",
        "status",
        "last_updated",
    }


@each_version
def test_a_session_without_tariff_has_no_cost(codec: Codec) -> None:
    """SES-15: absent does not mean free."""
    held = replace(snapshot(), tariff=None)

    assert "total_cost" not in read(codec.session(session(snapshot=held)))


# --- CDRs ---------------------------------------------------------------------------------------


def test_2_2_1_has_amounts_without_and_with_vat() -> None:
    document = read(V221.cdr(cdr()))

    assert document["total_cost"] == {"excl_vat": Decimal("9.8984"), "incl_vat": Decimal("11.791")}
    assert document["total_fixed_cost"] == {
        "excl_vat": Decimal("0.5"),
        "incl_vat": Decimal("0.605"),
    }


def test_2_3_0_has_one_tax_for_each_rate() -> None:
    """Section 19"""
    document = read(V230.cdr(cdr()))

    assert document["total_cost"] == {
        "before_taxes": Decimal("9.8984"),
        "taxes": [
            {"name": "VAT", "percentage": 21, "amount": Decimal("1.7531")},
            {"name": "VAT", "percentage": 9, "amount": Decimal("0.1395")},
        ],
    }


def test_2_3_0_has_no_taxes_where_none_is_known() -> None:
    """Section 19: incl_vat unknown."""
    untaxed = tariff(
        elements=[
            {"price_components": [{"type": "ENERGY", "price": Decimal("0.4"), "step_size": 1}]}
        ]
    )

    document = read(V230.cdr(cdr(held=snapshot(priced_by=untaxed))))

    assert document["total_cost"] == {"before_taxes": Decimal("8.0496")}


def test_taxes_that_do_not_explain_the_difference_become_one_that_does() -> None:
    """A price limit may cut in net and gross apart (TAR-40)."""
    total = Price(
        excl_vat=Decimal(50),
        incl_vat=Decimal(55),
        taxes=(Tax(rate=Decimal(21), amount=Decimal("1.1")),),
    )

    document = read(V230.cdr(cdr(cost=Breakdown(total=total))))

    assert document["total_cost"] == {
        "before_taxes": 50,
        "taxes": [{"name": "VAT", "amount": 5}],
    }


def test_a_cdr_of_2_1_1_has_its_own_fields() -> None:
    """CDR-18"""
    document = read(V211.cdr(cdr()))

    assert document["stop_date_time"] == "2026-06-01T13:30:00Z"
    assert document["auth_id"] == "DE-EMP-C12345678-X"
    assert len(document["location"]["evses"]) == 1
    assert document["total_cost"] == Decimal("9.8984")
    assert document["charging_periods"][0]["dimensions"][-1] == {"type": "FLAT", "volume": 1}
    assert "vat" not in document["tariffs"][0]["elements"][0]["price_components"][0]


@pytest.mark.parametrize("codec", [V221, V230])
def test_a_cdr_names_the_place_as_it_was(codec: Codec) -> None:
    """CDR-1, LOC-4"""
    place = read(codec.cdr(cdr()))["cdr_location"]

    assert (place["evse_uid"], place["evse_id"], place["connector_id"]) == (
        "EVSE-1",
        "NL*CPO*E1",
        "1",
    )
    assert place["connector_standard"] == "IEC_62196_T2_COMBO"
    assert place["coordinates"] == {"latitude": "51.904722", "longitude": "4.484722"}


@pytest.mark.parametrize("codec", [V221, V230])
def test_the_address_in_a_cdr_is_shortened(codec: Codec) -> None:
    """CDR-17"""
    site = location(
        address="Straat van de Europese Samenwerking tussen de Volkeren 1234",
        state="Mecklenburg-Vorpommern",
    )
    rendered = codec.cdr(cdr(held=snapshot(of=site)))
    place = read(rendered)["cdr_location"]

    assert place["address"] == "Straat van de Europese Samenwerking tussen de"
    assert place["state"] == "Mecklenburg-Vorpomme"
    assert "cdr_location.address (shortened)" in rendered.left_out


def test_a_plug_2_2_1_lacks_holds_the_cdr_back() -> None:
    """LOC-47, promise 7"""
    held = replace(snapshot(), evse_uid="EVSE-3", connector_id="2")

    assert V230.cdr(cdr(held=held)).problems == ()
    assert [problem.field for problem in V221.cdr(cdr(held=held)).problems] == [
        "cdr_location.connector_standard"
    ]


@pytest.mark.parametrize("codec", [V221, V230])
def test_a_credit_cdr_negates_the_total_alone(codec: Codec) -> None:
    """CDR-6"""
    original = read(codec.cdr(cdr()))
    credit = cdr(id="CDR-1-C", credit=True, credit_reference_id="CDR-1")

    document = read(codec.cdr(credit))

    changed = {name for name in document if document[name] != original.get(name)}
    assert changed == {"id", "credit", "credit_reference_id", "total_cost"}
    assert document["total_cost"] in (
        {"excl_vat": Decimal("-9.8984"), "incl_vat": Decimal("-11.791")},
        {
            "before_taxes": Decimal("-9.8984"),
            "taxes": [
                {"name": "VAT", "percentage": 21, "amount": Decimal("-1.7531")},
                {"name": "VAT", "percentage": 9, "amount": Decimal("-0.1395")},
            ],
        },
    )


@pytest.mark.parametrize("codec", [V221, V230])
def test_a_negative_total_without_credit_is_held_back(codec: Codec) -> None:
    """CDR-6: negative totals exactly there."""
    wrong = cdr(cost=Breakdown(total=Price(excl_vat=Decimal(-1), incl_vat=None)))

    assert codec.cdr(wrong).held_back is not None


def test_2_1_1_has_no_credit_cdr() -> None:
    """CDR-6: settle outside OCPI."""
    credit = cdr(credit=True, credit_reference_id="CDR-0")

    assert "credit" in [problem.field for problem in V211.cdr(credit).problems]


@pytest.mark.parametrize("codec", [V221, V230])
def test_a_credit_without_reference_is_held_back(codec: Codec) -> None:
    """CDR-6"""
    assert codec.cdr(cdr(credit=True)).held_back is not None


@pytest.mark.parametrize("codec", [V221, V230])
def test_a_reservation_never_used_may_lack_its_evse(codec: Codec) -> None:
    """CDR-12"""
    held = replace(snapshot(), evse_uid="", connector_id="")
    reserved = (Period(started_at=NOON, reserved_s=Decimal(1800)),)
    unused = cdr(held=held, periods=reserved, energy_wh=Decimal(0), session_id="")

    document = read(codec.cdr(unused))

    place = document["cdr_location"]
    assert {place["evse_uid"], place["evse_id"], place["connector_id"]} == {"#NA"}
    assert "session_id" not in document
    assert document["charging_periods"][0]["dimensions"] == [
        {"type": "RESERVATION_TIME", "volume": Decimal("0.5")}
    ]
    assert document["total_time"] == 0


@pytest.mark.parametrize("codec", [V221, V230])
def test_signed_readings_are_carried_untouched(codec: Codec) -> None:
    """CDR-16"""
    plain = 'OCMF|{"FV":"1.0"}|{"SD":"30"}'
    encoded = "T0NNRnx7fXx7fQ=="
    signed = (
        SignedReading(nature="Start", data=plain, public_key="3059"),
        SignedReading(nature="End", data=encoded),
    )

    data = read(codec.cdr(cdr(signed=signed)))["signed_data"]

    assert data["encoding_method"] == "OCMF"
    assert data["public_key"] == "3059"
    start, end = data["signed_values"]
    assert start["plain_data"] == plain
    assert start["signed_data"] == "T0NNRnx7IkZWIjoiMS4wIn18eyJTRCI6IjMwIn0="
    assert end == {"nature": "End", "plain_data": "OCMF|{}|{}", "signed_data": encoded}


@each_version
def test_a_tariff_that_a_version_cannot_state_does_not_hold_up_the_bill(codec: Codec) -> None:
    """CDR-9: the tariff is optional in a CDR, the amount is not."""
    odd = replace(tariff(), last_updated=None)
    rendered = codec.cdr(cdr(held=snapshot(priced_by=odd)))

    assert "tariffs" not in read(rendered)
    assert any(name.startswith("tariffs (last_updated") for name in rendered.left_out)


@each_version
def test_the_tariff_of_the_charge_is_in_the_cdr(codec: Codec) -> None:
    """CDR-9"""
    document = read(codec.cdr(cdr()))

    assert [one["id"] for one in document["tariffs"]] == ["T-1"]


@pytest.mark.parametrize("codec", [V221, V230])
def test_powers_and_currents_are_in_kw_and_ampere(codec: Codec) -> None:
    periods = (
        Period(
            started_at=NOON,
            energy_wh=Decimal(1000),
            time_s=Decimal(3600),
            min_power_w=Decimal(500),
            max_power_w=Decimal("1500.55"),
            min_current_a=Decimal(6),
            max_current_a=Decimal("16.25"),
        ),
    )

    (period,) = read(codec.cdr(cdr(periods=periods, energy_wh=Decimal(1000))))["charging_periods"]

    volumes = {one["type"]: one["volume"] for one in period["dimensions"]}
    assert volumes["MIN_POWER"] == Decimal("0.5")
    assert volumes["MAX_POWER"] == Decimal("1.5006")
    assert volumes["MAX_CURRENT"] == Decimal("16.25")


def test_a_token_type_2_2_1_lacks_is_other_there() -> None:
    driver = token(type="EMAID")

    assert read(V221.cdr(cdr(token=driver)))["cdr_token"]["type"] == "OTHER"
    assert read(V230.cdr(cdr(token=driver)))["cdr_token"]["type"] == "EMAID"


@each_version
def test_a_charge_of_no_time_and_no_energy_is_still_one_period(codec: Codec) -> None:
    """CDR-8, promise 2: zero-energy sessions too."""
    empty = record(minutes=0, parked=0, energy_wh="0")
    document = read(codec.cdr(cdr(empty)))

    assert len(document["charging_periods"]) == 1
    assert document["total_energy"] == 0


@pytest.mark.parametrize("codec", [V221, V230])
@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"data": "OCMF|{" + "x" * 4000}, "signed_values[0].signed_data"),
        ({"public_key": "k" * 513}, "public_key"),
        ({"method": "Größe"}, "encoding_method"),
    ],
)
def test_mv17_signed_readings_that_no_field_takes_do_not_keep_a_charge_from_being_billed(
    codec: Codec, changed: dict[str, str], field: str
) -> None:
    """CDR-16: signed data is optional, and what is left out is named."""
    signed = SignedReading(**{"nature": "End", "data": "AA==", "method": "OCMF"} | changed)
    rendered = codec.cdr(cdr(signed=(signed,)))

    assert rendered.problems == ()
    assert "signed_data" not in read(rendered)
    assert any(field in left for left in rendered.left_out)


def test_signed_readings_are_left_out_of_2_1_1() -> None:
    signed = (SignedReading(nature="End", data="x", method="EDL40"),)

    assert "signed_data" in V211.cdr(cdr(signed=signed)).left_out
    assert read(V221.cdr(cdr(signed=signed)))["signed_data"]["encoding_method"] == "EDL40"


def test_a_session_without_a_place_is_held_back_in_every_version() -> None:
    for codec in (V211, V221, V230):
        assert codec.session(session(snapshot=None)).held_back is not None


@each_version
def test_a_cdr_without_tariff_has_none_in_it(codec: Codec) -> None:
    assert "tariffs" not in read(codec.cdr(cdr(held=replace(snapshot(), tariff=None))))


def test_a_negative_total_of_2_1_1_is_held_back() -> None:
    wrong = cdr(cost=Breakdown(total=Price(excl_vat=Decimal(-1), incl_vat=None)))

    assert V211.cdr(wrong).held_back is not None


def test_amounts_of_unknown_tax_are_rounded_each_for_itself() -> None:
    """TAR-9: a gross price without rate has no net amount; what is owed is said."""
    part = Price(excl_vat=None, incl_vat=Decimal("1.2345"))
    cost = Breakdown(total=part, energy=part)

    document = read(V221.cdr(cdr(cost=cost), Quirks(currency_decimals=True)))

    assert document["total_cost"] == {"excl_vat": Decimal("1.23"), "incl_vat": Decimal("1.23")}
    assert document["total_energy_cost"] == document["total_cost"]


def test_a_partner_of_2_1_1_may_want_the_end_by_another_name_too() -> None:
    """Peers that require a field that is not in the table (extrawest-ocpi)."""
    rendered = V211.cdr(cdr(), Quirks(cdr_end_date_time=True))
    document = read(rendered)

    assert document["end_date_time"] == document["stop_date_time"] == "2026-06-01T13:30:00Z"
    assert "end_date_time" not in read(V211.cdr(cdr()))


@each_version
def test_every_period_of_charging_has_its_energy_and_no_running_totals(codec: Codec) -> None:
    """SES-10"""
    for period in read(codec.session(session()))["charging_periods"]:
        words = [one["type"] for one in period["dimensions"]]

        assert words.count("ENERGY") == 1
        assert not {"ENERGY_IMPORT", "ENERGY_EXPORT"} & set(words)


@each_version
def test_session_and_cdr_cost_the_same(codec: Codec) -> None:
    """SES-16"""
    assert read(codec.session(session()))["total_cost"] == read(codec.cdr(cdr()))["total_cost"]


@pytest.mark.parametrize("codec", [V221, V230])
def test_the_parts_of_the_cost_add_up(codec: Codec) -> None:
    """CDR-11, promise 6"""
    document = read(codec.cdr(cdr()))

    def net(price: Any) -> Decimal:
        amount: Decimal = price.get("excl_vat", price.get("before_taxes"))
        return amount

    parts = [
        net(document[f"total_{name}_cost"])
        for name in ("fixed", "energy", "time", "parking", "reservation")
        if f"total_{name}_cost" in document
    ]
    assert sum(parts) == net(document["total_cost"])


@each_version
def test_a_cdr_is_as_old_as_its_making(codec: Codec) -> None:
    """CDR-4"""
    assert read(codec.cdr(cdr()))["last_updated"] == "2026-06-01T13:30:00.250Z"


@pytest.mark.parametrize("codec", [V221, V230])
def test_a_cdr_names_its_session_and_the_emsps_token(codec: Codec) -> None:
    """CDR-13, CDR-14"""
    document = read(codec.cdr(cdr()))

    assert document["session_id"] == "SESSION-1"
    assert document["auth_method"] == "COMMAND"
    assert (document["cdr_token"]["country_code"], document["cdr_token"]["party_id"]) == (
        "DE",
        "EMP",
    )


@pytest.mark.parametrize("codec", [V221, V230])
def test_what_is_ours_names_us(codec: Codec) -> None:
    """OWN-4: the body says the same as the URL."""
    for rendered in (codec.session(session()), codec.cdr(cdr()), codec.tariff(tariff())):
        document = read(rendered)

        assert (document["country_code"], document["party_id"]) == ("NL", "CPO")
