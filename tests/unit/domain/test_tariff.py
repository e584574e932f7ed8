from copy import deepcopy
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest

from cpo.domain.tariff import (
    Dimension,
    ReservationKind,
    TariffType,
    TaxIncluded,
    choose_tariff,
    parse_tariff,
    undoubted,
)
from cpo.errors import Invalid

PLAIN = {
    "country_code": "NL",
    "party_id": "ABC",
    "id": "T1",
    "currency": "EUR",
    "elements": [
        {
            "price_components": [
                {"type": "ENERGY", "price": Decimal("0.35"), "vat": 21, "step_size": 1},
                {"type": "TIME", "price": 2, "step_size": 60},
            ],
            "restrictions": {"start_time": "08:00", "max_kwh": 10},
        },
        {"price_components": [{"type": "FLAT", "price": 1, "step_size": 1}]},
    ],
    "last_updated": "2026-01-01T00:00:00Z",
}


def changed(path, value):
    obj = deepcopy(PLAIN)
    at = obj
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return obj


def test_the_221_spelling_is_read():
    tariff = parse_tariff(
        {
            **PLAIN,
            "type": "REGULAR",
            "min_price": {"excl_vat": 1, "incl_vat": 2},
            "tariff_alt_text": [{"language": "en", "text": "cheap"}],
            "tariff_alt_url": "https://example.com/t",
            "start_date_time": "2026-01-01T00:00:00Z",
            "end_date_time": "2027-01-01T00:00:00Z",
        }
    )

    assert (tariff.country_code, tariff.party_id, tariff.id) == ("NL", "ABC", "T1")
    assert tariff.type is TariffType.REGULAR
    assert tariff.tax_included is TaxIncluded.NO
    assert not tariff.tax_stated
    assert (tariff.min_price.excl_vat, tariff.min_price.incl_vat) == (1, 2)
    assert tariff.alt_text[0].text == "cheap"
    assert tariff.valid_until == datetime(2027, 1, 1, tzinfo=UTC)
    component = tariff.elements[0].components[0]
    assert (component.type, component.price, component.vat, component.step_size) == (
        Dimension.ENERGY,
        Decimal("0.35"),
        21,
        1,
    )


def test_the_230_spelling_is_read():
    tariff = parse_tariff(
        {**PLAIN, "tax_included": "YES", "max_price": {"before_taxes": 8, "after_taxes": 9}}
    )

    assert tariff.tax_included is TaxIncluded.YES
    assert tariff.tax_stated
    assert (tariff.max_price.excl_vat, tariff.max_price.incl_vat) == (8, 9)


def test_the_211_spelling_is_read():
    tariff = parse_tariff(
        {
            "id": "T1",
            "currency": "EUR",
            "elements": [{"price_components": [{"type": "FLAT", "price": "0.00", "step_size": 0}]}],
            "last_updated": "2015-06-29T20:39:09Z",
        }
    )

    assert tariff.elements[0].components[0].price == 0
    assert tariff.country_code == ""


def test_every_restriction_is_read():
    when = {
        "start_time": "22:00",
        "end_time": "06:00",
        "start_date": "2026-01-01",
        "end_date": "2026-02-01",
        "min_kwh": 1,
        "max_kwh": 2,
        "min_current": 3,
        "max_current": 4,
        "min_power": 5,
        "max_power": 6,
        "min_duration": 7,
        "max_duration": 8,
        "day_of_week": ["SUNDAY", "MONDAY"],
        "reservation": None,
    }
    found = parse_tariff(changed(["elements", 0, "restrictions"], when)).elements[0].restrictions

    assert (found.start_time, found.end_time) == (time(22), time(6))
    assert (found.start_date, found.end_date) == (date(2026, 1, 1), date(2026, 2, 1))
    assert (found.min_kwh, found.max_kwh, found.min_current, found.max_current) == (1, 2, 3, 4)
    assert (found.min_power, found.max_power, found.min_duration, found.max_duration) == (
        5,
        6,
        7,
        8,
    )
    assert found.day_of_week == (0, 6)
    assert found.reservation is None


def test_a_float_means_the_digits_that_were_written():
    obj = changed(["elements", 0, "price_components", 0, "price"], 0.1)

    assert parse_tariff(obj).elements[0].components[0].price == Decimal("0.1")


E0 = ["elements", 0]
P0 = [*E0, "price_components", 0]
R0 = [*E0, "restrictions"]
REFUSED = [
    (["currency"], None, "currency"),
    (["currency"], "EURO", "currency"),
    (["currency"], "XXX", "currency"),
    (["currency"], 978, "currency"),
    (["id"], None, "id"),
    (["id"], "x" * 37, "id"),
    (["type"], "CHEAP", "type"),
    (["tax_included"], "MAYBE", "tax_included"),
    (["elements"], [], "elements"),
    (["elements"], None, "elements"),
    (["elements", 0], "x", "elements[0]"),
    ([*E0, "price_components"], [], "elements[0].price_components"),
    (P0, 5, "elements[0].price_components[0]"),
    ([*P0, "type"], None, "elements[0].price_components[0].type"),
    ([*P0, "type"], "SESSION", "elements[0].price_components[0].type"),
    ([*P0, "type"], ["ENERGY"], "elements[0].price_components[0].type"),
    ([*P0, "type"], "TIME", "elements[0].price_components[1].type"),
    ([*P0, "price"], None, "elements[0].price_components[0].price"),
    ([*P0, "price"], "cheap", "elements[0].price_components[0].price"),
    ([*P0, "price"], True, "elements[0].price_components[0].price"),
    ([*P0, "price"], -1, "elements[0].price_components[0].price"),
    ([*P0, "price"], Decimal("NaN"), "elements[0].price_components[0].price"),
    ([*P0, "price"], Decimal("1e99"), "elements[0].price_components[0].price"),
    ([*P0, "vat"], -1, "elements[0].price_components[0].vat"),
    ([*P0, "step_size"], -1, "elements[0].price_components[0].step_size"),
    ([*P0, "step_size"], Decimal("1.5"), "elements[0].price_components[0].step_size"),
    (R0, [], "elements[0].restrictions"),
    ([*R0, "max_speed"], 1, "elements[0].restrictions.max_speed"),
    ([*R0, "start_time"], "24:00", "elements[0].restrictions.start_time"),
    ([*R0, "start_time"], "8:00", "elements[0].restrictions.start_time"),
    ([*R0, "end_time"], "18:60", "elements[0].restrictions.end_time"),
    ([*R0, "end_time"], 18, "elements[0].restrictions.end_time"),
    ([*R0, "start_date"], "2026-02-30", "elements[0].restrictions.start_date"),
    ([*R0, "end_date"], "20260101", "elements[0].restrictions.end_date"),
    ([*R0, "day_of_week"], ["MON"], "elements[0].restrictions.day_of_week"),
    ([*R0, "day_of_week"], "MONDAY", "elements[0].restrictions.day_of_week"),
    ([*R0, "min_kwh"], 10, "elements[0].restrictions.max_kwh"),
    ([*R0, "min_kwh"], 11, "elements[0].restrictions.max_kwh"),
    ([*R0, "min_kwh"], -1, "elements[0].restrictions.min_kwh"),
    ([*R0, "min_duration"], "soon", "elements[0].restrictions.min_duration"),
    ([*R0, "reservation"], "YES", "elements[0].restrictions.reservation"),
    ([*R0, "reservation"], "RESERVATION", "elements[0].price_components[0].type"),
    (["min_price"], 5, "min_price"),
    (["min_price"], {}, "min_price.excl_vat"),
    (["max_price"], {"excl_vat": -1}, "max_price.excl_vat"),
    (["start_date_time"], "tomorrow", "start_date_time"),
    (["start_date_time"], "2026-01-01", "start_date_time"),
    (["end_date_time"], "0001-01-01T00:00:00Z", "end_date_time"),
    (["tariff_alt_text"], "text", "tariff_alt_text"),
    (["tariff_alt_text"], [{"language": "en"}], "tariff_alt_text[0]"),
    (["tariff_alt_text"], [{"language": "eng", "text": "x"}], "tariff_alt_text[0].language"),
    (["energy_mix"], 5, "energy_mix"),
    (["energy_mix"], {}, "energy_mix.is_green_energy"),
    (
        ["energy_mix"],
        {"is_green_energy": True, "energy_sources": [{"source": "SUN", "percentage": 1}]},
        "energy_mix.energy_sources[0].source",
    ),
    (
        ["energy_mix"],
        {"is_green_energy": True, "energy_sources": [{"source": "SOLAR", "percentage": -1}]},
        "energy_mix.energy_sources[0].percentage",
    ),
    (
        ["energy_mix"],
        {"is_green_energy": True, "energy_sources": [{"source": "SOLAR", "percentage": 101}]},
        "energy_mix.energy_sources[0].percentage",
    ),
    (
        ["energy_mix"],
        {
            "is_green_energy": True,
            "energy_sources": [
                {"source": "SOLAR", "percentage": 60},
                {"source": "WIND", "percentage": 60},
            ],
        },
        "energy_mix.energy_sources",
    ),
    (
        ["energy_mix"],
        {
            "is_green_energy": True,
            "energy_sources": [
                {"source": "SOLAR", "percentage": 40},
                {"source": "SOLAR", "percentage": 60},
            ],
        },
        "energy_mix.energy_sources[1].source",
    ),
    (
        ["energy_mix"],
        {
            "is_green_energy": False,
            "environ_impact": [{"category": "NUCLEAR_WASTE", "amount": -3}],
        },
        "energy_mix.environ_impact[0].amount",
    ),
    ([*P0, "price"], Decimal("0." + "1" * 41), "elements[0].price_components[0].price"),
    ([*R0, "max_kwh"], 0, "elements[0].restrictions.max_kwh"),
    ([*R0, "max_power"], 0, "elements[0].restrictions.max_power"),
    (["id"], "é", "id"),
    (["id"], "  ", "id"),
    (["tariff_alt_url"], "javascript:alert(1)", "tariff_alt_url"),
    (["tariff_alt_url"], "https://" + "a" * 248, "tariff_alt_url"),
]


@pytest.mark.parametrize(("path", "value", "field"), REFUSED, ids=lambda v: str(v)[:50])
def test_what_cannot_be_priced_without_guessing_is_refused_with_its_field(path, value, field):
    with pytest.raises(Invalid) as refused:
        parse_tariff(changed(path, value))

    assert refused.value.field == field
    assert refused.value.problem


def test_an_element_that_others_leave_nothing_to_is_refused():
    """The first element that has a dimension counts (TAR-20), so this one never does."""

    def element(*kinds, **restrictions):
        components = [{"type": kind, "price": 1, "step_size": 1} for kind in kinds]
        return {"price_components": components, "restrictions": restrictions}

    def read(*elements, ours=True):
        return parse_tariff({"id": "T", "currency": "EUR", "elements": [*elements]}, ours=ours)

    dead = [element("ENERGY"), element("TIME"), element("ENERGY", "TIME")]
    with pytest.raises(Invalid) as refused:
        read(*dead)
    assert refused.value.field == "elements[2]"
    assert len(read(*dead, ours=False).elements) == 3
    assert read(element("ENERGY"), element("ENERGY", max_kwh=5))
    assert read(element("ENERGY", max_kwh=5), element("ENERGY", "TIME", max_kwh=5))


def test_limits_that_contradict_each_other_are_refused():
    with pytest.raises(Invalid, match="min_price"):
        parse_tariff({**PLAIN, "min_price": {"excl_vat": 5}, "max_price": {"excl_vat": 4}})


def test_a_validity_that_ends_before_it_begins_is_refused():
    with pytest.raises(Invalid, match="end_date_time"):
        parse_tariff(
            {
                **PLAIN,
                "start_date_time": "2026-01-02T00:00:00Z",
                "end_date_time": "2026-01-01T00:00:00Z",
            }
        )


@pytest.mark.parametrize("obj", [None, [], "x", 5])
def test_a_tariff_is_an_object(obj):
    with pytest.raises(Invalid):
        parse_tariff(obj)


def test_in_a_partners_tariff_the_first_of_two_prices_of_a_dimension_counts():
    """TAR-24."""
    obj = changed([*P0, "type"], "TIME")

    tariff = parse_tariff(obj, ours=False)

    assert [c.price for c in tariff.elements[0].components] == [Decimal("0.35")]


def test_a_partners_tariff_needs_no_id():
    obj = deepcopy(PLAIN)
    del obj["id"]

    assert parse_tariff(obj, ours=False).id == ""


def test_a_reservation_element_is_read():
    obj = changed(["elements", 1, "restrictions"], {"reservation": "RESERVATION_EXPIRES"})

    kind = parse_tariff(obj).elements[1].restrictions.reservation

    assert kind is ReservationKind.RESERVATION_EXPIRES


def tariff(id_, **more):
    return parse_tariff({**PLAIN, "id": id_, **more})


def test_the_first_valid_tariff_of_the_type_or_without_type_is_chosen():
    """TAR-6, TAR-27, MAP-27."""
    old = tariff("old", end_date_time="2026-01-01T00:00:00Z")
    green = tariff("green", type="PROFILE_GREEN")
    plain = tariff("plain")
    at = datetime(2026, 1, 1, tzinfo=UTC)

    assert choose_tariff([old, green, plain], at) is green
    assert choose_tariff([old, green, plain], at, TariffType.AD_HOC_PAYMENT) is plain
    assert choose_tariff([old], at) is None


def test_of_two_tariffs_of_one_type_at_once_the_first_counts():
    """TAR-5: which of them applies would be a guess."""
    a, b = tariff("a"), tariff("b")

    assert undoubted([a, b]) == [a]
    assert undoubted([b, a]) == [b]


def test_tariffs_that_follow_each_other_or_differ_in_type_may_stand_side_by_side():
    """TAR-5."""
    first = tariff("a", end_date_time="2026-06-01T00:00:00Z")
    second = tariff("b", start_date_time="2026-06-01T00:00:00Z")
    green = tariff("c", type="PROFILE_GREEN")

    assert undoubted([first, second, green]) == [first, second, green]
    assert undoubted([second, first]) == [second, first]
