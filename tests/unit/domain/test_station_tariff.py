"""Our tariffs in the words of OCPP 2.1, and what those words cannot say."""

import copy
from decimal import Decimal

import pytest

from cpo.domain.station_tariff import station_tariff
from cpo.domain.tariff import parse_tariff
from cpo.errors import Invalid
from cpo.ocpp import validation

NIGHT = {"start_time": "22:00", "end_time": "06:00", "day_of_week": ["MONDAY", "SUNDAY"]}
TARIFF = {
    "country_code": "NL",
    "party_id": "CPO",
    "id": "T1",
    "currency": "EUR",
    "min_price": {"excl_vat": Decimal("0.5")},
    "elements": [
        {
            "price_components": [
                {"type": "ENERGY", "price": Decimal("0.25"), "vat": 21, "step_size": 1}
            ],
            "restrictions": {**NIGHT, "max_kwh": Decimal(20)},
        },
        {
            "price_components": [
                {"type": "ENERGY", "price": Decimal("0.40"), "vat": 21, "step_size": 1},
                {"type": "TIME", "price": 3, "step_size": 0},
                {"type": "PARKING_TIME", "price": 6, "step_size": 1},
                {"type": "FLAT", "price": 1, "step_size": 1},
            ]
        },
        {
            "price_components": [{"type": "TIME", "price": 2, "step_size": 1}],
            "restrictions": {"reservation": "RESERVATION"},
        },
    ],
}


def test_each_dimension_keeps_its_prices_in_order_with_their_conditions():
    made = station_tariff(parse_tariff(TARIFF))
    validation.check_call("2.1", "SetDefaultTariff", {"evseId": 0, "tariff": made})
    cheap, usual = made["energy"]["prices"]
    assert cheap["priceKwh"] == Decimal("0.25")
    assert cheap["conditions"] == {
        "startTimeOfDay": "22:00", "endTimeOfDay": "06:00", "dayOfWeek": ["Monday", "Sunday"],
        "maxEnergy": 20_000,
    }  # fmt: skip
    assert usual == {"priceKwh": Decimal("0.40")}
    assert made["energy"]["taxRates"] == [{"type": "vat", "tax": 21}]
    assert made["chargingTime"]["prices"] == [{"priceMinute": Decimal("0.05")}]
    assert made["idleTime"]["prices"] == [{"priceMinute": Decimal("0.1")}]
    assert made["fixedFee"]["prices"] == [{"priceFixed": 1}]
    assert made["reservationTime"]["prices"] == [{"priceMinute": Decimal("0.0333333333")}]
    assert made["minCost"] == {"exclTax": Decimal("0.5")}


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("elements", 1, "price_components", 0, "step_size"), 300, "step_size"),
        (("elements", 1, "price_components", 0, "vat"), 9, "vat"),
        (("end_date_time",), "2030-01-01T00:00:00Z", "end_date_time"),
        (("tax_included",), "YES", "tax_included"),
        (("elements", 2, "restrictions", "reservation"), "RESERVATION_EXPIRES", "reservation"),
        (("elements", 1, "restrictions"), {"min_kwh": 5}, "restrictions"),
    ],
)
def test_what_cannot_be_said_is_named(path, value, field):
    tariff = copy.deepcopy(TARIFF)
    place = tariff
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    if path == ("tax_included",):
        del tariff["min_price"]
        for element in tariff["elements"]:
            for component in element["price_components"]:
                component.pop("vat", None)
    with pytest.raises(Invalid, match=field):
        station_tariff(parse_tariff(tariff))
