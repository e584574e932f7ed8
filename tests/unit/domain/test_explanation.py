import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest

from cpo.domain.explanation import explain, restrictions_given, restrictions_text
from cpo.domain.periods import Activity, MeterSample, Record, StateChange
from cpo.domain.pricing import price
from cpo.domain.tariff import parse_tariff
from cpo.errors import Invalid
from cpo.services.try_out import read_case
from tests.support import price_samples

ZONE = ZoneInfo("Europe/Amsterdam")
START = datetime(2026, 1, 5, 10, tzinfo=UTC)


def minutes(n):
    return START + timedelta(minutes=n)


def component(kind, price_, step=0, vat=21):
    return {"type": kind, "price": Decimal(price_), "step_size": step, "vat": vat}


TARIFF = parse_tariff(
    {
        "id": "T",
        "currency": "EUR",
        "elements": [
            {
                "price_components": [component("ENERGY", "0.20"), component("FLAT", "1")],
                "restrictions": {"end_time": "11:30", "max_kwh": 10, "day_of_week": ["MONDAY"]},
            },
            {
                "price_components": [
                    component("ENERGY", "0.30", 500),
                    component("PARKING_TIME", "6", 600),
                ]
            },
            {
                "price_components": [component("TIME", "4")],
                "restrictions": {"reservation": "RESERVATION"},
            },
        ],
    }
)
RECORD = Record(
    reserved_from=minutes(-15),
    started_at=START,
    ended_at=minutes(75),
    meter=(MeterSample(minutes(60), Decimal(8100)),),
    states=(StateChange(minutes(60), Activity.PARKING),),
)


def test_each_line_names_its_elements_their_restrictions_and_the_stretches():
    lines = explain(price(RECORD, TARIFF, ZONE))

    reserved, flat, cheap, dear, parking = lines
    assert reserved.reservation
    assert reserved.text == "900 s of reservation at 4 per hour = 1 EUR, 21 % VAT"
    assert flat.text == "once for the session: 1 = 1 EUR, 21 % VAT"
    (use,) = cheap.uses
    assert (use.begins_at, use.ends_at, use.quantity, use.element) == (
        START,
        minutes(30),
        Decimal("4.05"),
        0,
    )
    assert use.because == "end_time 11:30, max_kwh 10, day_of_week MONDAY"
    assert (dear.step_size, dear.step_surplus) == (500, Decimal("0.4"))
    assert dear.text == (
        "4.45 kWh (0.4 kWh of them fill up a block of 500 Wh) at 0.3 per kWh = 1.335 EUR, 21 % VAT"
    )
    assert parking.uses[0].because == "always"
    assert parking.quantity == 1200


def test_the_stretches_of_a_line_and_its_surplus_are_its_quantity():
    rng = random.Random("explained")
    for _ in range(150):
        try:
            cost = read_case(price_samples.case(rng)).cost
        except Invalid:  # chance makes limits that contradict each other
            continue
        by_line = {}
        for use in cost.uses:
            by_line[use.line] = by_line.get(use.line, Fraction(0)) + use.quantity
        assert by_line == {
            key: line.quantity - line.step_surplus
            for key, line in zip(cost.line_keys, cost.lines, strict=True)
        }
        assert len(explain(cost)) == len(cost.lines)


@pytest.mark.parametrize("name", ["min_kwh", "max_power", "min_duration"])
def test_a_restriction_is_named_as_in_ocpi(name):
    element = {"price_components": [component("TIME", "1")], "restrictions": {name: 5}}
    tariff = parse_tariff({"id": "T", "currency": "EUR", "elements": [element]})

    assert restrictions_given(tariff.elements[0].restrictions) == {name: "5"}
    assert restrictions_text(tariff.elements[0].restrictions) == f"{name} 5"
