"""Tariffs in the words of each version."""

from decimal import Decimal
from typing import Any

import pytest
from ocpi_charges import tariff

from cpo.domain.tariff import Dimension, Element, PriceComponent, parse_tariff
from cpo.domain.values import replace
from cpo.ocpi import exact_json
from cpo.ocpi.dialect import Codec, Rendered
from cpo.ocpi.dialects import DIALECTS

each_version = pytest.mark.parametrize(
    "codec", [pytest.param(d.codec, id=d.version) for d in DIALECTS.values()]
)
V211, V221, V230 = (DIALECTS[version].codec for version in ("2.1.1", "2.2.1", "2.3.0"))


def read(rendered: Rendered) -> Any:
    assert rendered.problems == ()
    return exact_json.decode(rendered.text)


def energy(price: str, vat: int | None = None, **restrictions: Any) -> dict[str, Any]:
    component = {"type": "ENERGY", "price": Decimal(price), "step_size": 1}
    if vat is not None:
        component["vat"] = vat
    return {"price_components": [component], "restrictions": restrictions or None}


@each_version
def test_a_tariff_of_ours_is_valid_in_every_version(codec: Codec) -> None:
    """Promise 7"""
    document = read(codec.tariff(tariff()))

    assert document["id"] == "T-1"
    assert document["elements"][1]["restrictions"] == {
        "start_time": "00:00",
        "end_time": "23:00",
        "max_kwh": Decimal("100.5"),
        "day_of_week": ["MONDAY", "SUNDAY"],
    }


@pytest.mark.parametrize("codec", [V221, V230])
def test_what_is_rendered_prices_the_same(codec: Codec) -> None:
    """Read back by our own reader, the tariff is the one that was rendered."""
    original = tariff(
        min_price={"excl_vat": Decimal("0.5"), "incl_vat": Decimal("0.6")},
        start_date_time="2026-01-01T00:00:00Z",
        end_date_time="2027-01-01T00:00:00Z",
        tariff_alt_url="https://cpo.example/tariff",
        energy_mix={"is_green_energy": True},
    )

    again = parse_tariff(read(codec.tariff(original)))

    assert replace(again, tax_stated=False) == original


def test_2_2_1_states_prices_without_vat() -> None:
    """TAR-9, TAR-10"""
    gross = tariff(
        tax_included="YES",
        elements=[energy("0.484", 21)],
        max_price={"before_taxes": Decimal(10), "after_taxes": Decimal("12.1")},
    )

    document = read(V221.tariff(gross))

    assert document["elements"][0]["price_components"][0]["price"] == Decimal("0.4")
    assert document["max_price"] == {"excl_vat": 10, "incl_vat": Decimal("12.1")}
    assert "tax_included" not in document


def test_2_3_0_states_prices_as_the_operator_did() -> None:
    """TAR-9, TAR-10"""
    gross = tariff(
        tax_included="YES",
        elements=[energy("0.484", 21)],
        max_price={"before_taxes": Decimal(10), "after_taxes": Decimal("12.1")},
    )

    document = read(V230.tariff(gross))

    assert document["tax_included"] == "YES"
    assert document["elements"][0]["price_components"][0]["price"] == Decimal("0.484")
    assert document["max_price"] == {"before_taxes": 10, "after_taxes": Decimal("12.1")}


@pytest.mark.parametrize("codec", [V211, V221])
def test_a_price_with_a_tax_of_unknown_rate_is_held_back(codec: Codec) -> None:
    """Promise 7: no version below 2.3.0 can say it."""
    rendered = codec.tariff(tariff(tax_included="YES", elements=[energy("0.5")]))

    (problem,) = rendered.problems
    assert problem.field.startswith("elements[0].price_components[0]")


@pytest.mark.parametrize(
    ("stated", "vat", "said"),
    [
        (None, 21, "NO"),
        (None, None, "N/A"),
        ("NO", None, "NO"),
        ("N/A", None, "N/A"),
        ("YES", 21, "YES"),
    ],
)
def test_2_3_0_says_whether_taxes_are_included(
    stated: str | None, vat: int | None, said: str
) -> None:
    """Section 19"""
    one = tariff(tax_included=stated, elements=[energy("0.5", vat)])

    assert read(V230.tariff(one))["tax_included"] == said


def test_2_1_1_has_prices_without_tax_and_no_limits() -> None:
    """TAR-9, TAR-10"""
    rendered = V211.tariff(
        tariff(
            min_price={"excl_vat": Decimal(1)},
            start_date_time="2026-01-01T00:00:00Z",
            elements=[energy("0.484", 21)],
            tax_included="YES",
        )
    )
    document = read(rendered)

    assert document["elements"][0]["price_components"] == [
        {"type": "ENERGY", "price": Decimal("0.4"), "step_size": 1}
    ]
    assert document.keys() == {"id", "currency", "tariff_alt_text", "elements", "last_updated"}
    assert set(rendered.left_out) == {"type", "min_price", "start_date_time"}


def test_2_1_1_hears_nothing_of_reservations() -> None:
    """TAR-31"""
    reserved = {
        "price_components": [{"type": "FLAT", "price": Decimal(2), "step_size": 1}],
        "restrictions": {"reservation": "RESERVATION"},
    }

    rendered = V211.tariff(tariff(elements=[energy("0.4"), reserved]))

    assert len(read(rendered)["elements"]) == 1
    assert "elements[1]" in rendered.left_out


def test_2_1_1_holds_back_a_tariff_that_depends_on_current() -> None:
    """TAR-29: without the restriction the price would be wrong."""
    rendered = V211.tariff(tariff(elements=[energy("0.4", max_current=Decimal(16)), energy("0.5")]))

    assert [problem.field for problem in rendered.problems] == [
        "elements[0].restrictions.max_current"
    ]


def test_2_1_1_spells_the_environmental_impact_its_own_way() -> None:
    """LOC-48"""
    mix = {
        "is_green_energy": False,
        "environ_impact": [{"category": "NUCLEAR_WASTE", "amount": Decimal("0.001")}],
    }

    document = read(V211.tariff(tariff(energy_mix=mix)))

    assert document["energy_mix"]["environ_impact"] == [
        {"source": "NUCLEAR_WASTE", "amount": Decimal("0.001")}
    ]


@pytest.mark.parametrize("codec", [V221, V230])
def test_all_restrictions_are_stated(codec: Codec) -> None:
    restrictions = {
        "start_time": "22:00",
        "end_time": "06:00",
        "start_date": "2026-01-01",
        "end_date": "2026-12-31",
        "min_kwh": Decimal("1.5"),
        "max_kwh": 30,
        "min_current": 6,
        "max_current": 32,
        "min_power": 4,
        "max_power": Decimal("22.1"),
        "min_duration": 60,
        "max_duration": 7200,
        "day_of_week": ["SATURDAY"],
        "reservation": "RESERVATION_EXPIRES",
    }
    flat = {"price_components": [{"type": "FLAT", "price": 1, "step_size": 1}]}

    document = read(codec.tariff(tariff(elements=[flat | {"restrictions": restrictions}])))

    assert document["elements"][0]["restrictions"] == restrictions


@each_version
def test_a_free_tariff_is_stated_as_free(codec: Codec) -> None:
    """TAR-8"""
    free = tariff(elements=[{"price_components": [{"type": "FLAT", "price": 0, "step_size": 0}]}])

    component = read(codec.tariff(free))["elements"][0]["price_components"][0]

    assert component["price"] == 0


@each_version
def test_a_price_finer_than_ocpis_numbers_is_held_back_rather_than_told_wrongly(
    codec: Codec,
) -> None:
    """TRANS-23, promise 7"""
    rendered = codec.tariff(replace(tariff(), elements=fine()))

    assert [problem.field for problem in rendered.problems] == [
        "elements[0].price_components[0].price"
    ]


def fine() -> Any:
    component = PriceComponent(type=Dimension.ENERGY, price=Decimal("0.12345"), step_size=1)
    return (Element(components=(component,)),)


@each_version
def test_the_text_for_drivers_stands_beside_the_prices(codec: Codec) -> None:
    """TAR-7"""
    document = read(codec.tariff(tariff()))

    assert document["tariff_alt_text"] == [{"language": "en", "text": "0.39 a kWh"}]
    assert len(document["elements"]) == 3
