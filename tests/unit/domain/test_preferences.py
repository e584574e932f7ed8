"""SES-18, TAR-43: a profile's tariff prices a session from the moment it was preferred."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from cpo.domain.explanation import explain
from cpo.domain.periods import MeterSample, Record
from cpo.domain.preferences import Preference, judge, suits, tariff_over_time, tariff_type
from cpo.domain.pricing import LivePrice, Samples, price
from cpo.domain.tariff import parse_tariff
from cpo.domain.values import replace

ZONE = ZoneInfo("Europe/Amsterdam")
START = datetime(2026, 1, 5, 10, tzinfo=UTC)


def at(minutes):
    return START + timedelta(minutes=minutes)


def component(type_, price, step=1, vat=None):
    made = {"type": type_, "price": Decimal(str(price)), "step_size": step}
    return made | ({} if vat is None else {"vat": vat})


def tariff(id_, *components, currency="EUR", **more):
    elements = [{"price_components": list(components)}]
    return parse_tariff({"id": id_, "currency": currency, "elements": elements, **more})


def record(*readings, minutes=120):
    meter = tuple(MeterSample(at(m), Decimal(str(kwh)) * 1000) for m, kwh in readings)
    return Record(started_at=START, ended_at=at(minutes), meter=meter)


def preferring(*tariffs):
    """Prefer tariffs at the minutes given."""
    return [Preference(at=at(m), profile_type="GREEN", tariff=t) for m, t in tariffs]


REGULAR = tariff("R", component("ENERGY", "0.50"), component("TIME", 1, 600), component("FLAT", 2))
GREEN = tariff("G", component("ENERGY", "0.30", 1000), component("FLAT", 9), type="PROFILE_GREEN")
SESSION = record((0, 0), (60, 10), (120, "15.5"))


def test_the_past_keeps_its_price_and_the_last_block_is_filled_up_once():
    """The worked example of docs/pricing.md; TAR-35: never at a switch between tariffs."""
    cost = price(SESSION, tariff_over_time(REGULAR, preferring((60, GREEN))), ZONE)

    lines = [(line.dimension, line.quantity, line.unit_price) for line in cost.lines]
    assert lines == [
        ("FLAT", 1, Decimal(2)),
        ("ENERGY", 10, Decimal("0.50")),
        ("TIME", 3600, Decimal(1)),
        ("ENERGY", 6, Decimal("0.30")),
    ]
    assert cost.price().excl_vat == Decimal("9.80")


def test_each_period_says_which_tariff_it_is_of():
    """CDR-9."""
    cost = price(SESSION, tariff_over_time(REGULAR, preferring((60, GREEN), (90, REGULAR))), ZONE)

    assert [(p.started_at, p.tariff_id) for p in cost.periods] == [
        (START, "R"),
        (at(60), "G"),
        (at(90), "R"),
    ]
    assert sum(p.energy_wh for p in cost.periods) == 15_500


def test_a_period_begins_also_where_the_new_tariff_has_the_same_price():
    same = tariff("S", component("ENERGY", "0.50"), component("TIME", 1, 600))

    cost = price(SESSION, tariff_over_time(REGULAR, preferring((60, same))), ZONE)

    assert [p.tariff_id for p in cost.periods] == ["R", "S"]


def test_limits_in_kwh_and_durations_count_from_the_sessions_start():
    steps = parse_tariff(
        {
            "id": "S",
            "currency": "EUR",
            "elements": [
                {"price_components": [component("ENERGY", 9)], "restrictions": {"max_kwh": 12}},
                {
                    "price_components": [component("ENERGY", 5)],
                    "restrictions": {"min_duration": 6600},
                },
                {"price_components": [component("ENERGY", 1)]},
            ],
        }
    )
    plain = tariff("P", component("ENERGY", 0))

    cost = price(
        record((0, 0), (60, 10), (120, 16)),
        tariff_over_time(plain, preferring((60, steps))),
        ZONE,
    )

    # 10 kWh free, 2 at 9 (to 11:20), 3 at 1 (to 11:50), 1 at 5.
    assert cost.price().excl_vat == 18 + 3 + 5


def test_the_price_limits_are_those_of_the_last_tariff():
    cheap = tariff("C", component("ENERGY", "0.01"), min_price={"excl_vat": 50})

    assert (
        price(SESSION, tariff_over_time(REGULAR, preferring((60, cheap))), ZONE).price().excl_vat
        == 50
    )
    both = tariff_over_time(REGULAR, preferring((60, cheap), (90, REGULAR)))
    assert price(SESSION, both, ZONE).price_limit is None


def test_to_prefer_what_is_there_changes_nothing():
    assert tariff_over_time(REGULAR, preferring((30, REGULAR), (60, REGULAR))) is REGULAR
    assert tariff_over_time(REGULAR, []) is REGULAR


@pytest.mark.parametrize("minute", [0, 1, 37, 60, 119])
def test_a_switch_between_equal_tariffs_costs_what_one_costs(minute):
    again = replace(REGULAR, id="R2")

    switched = price(SESSION, tariff_over_time(REGULAR, preferring((minute, again))), ZONE)

    assert switched.total == price(SESSION, REGULAR, ZONE).total


def test_it_is_explained_by_the_tariffs_and_their_own_elements():
    lines = explain(price(SESSION, tariff_over_time(REGULAR, preferring((60, GREEN))), ZONE))

    energy = [use for line in lines if line.dimension == "ENERGY" for use in line.uses]
    assert [(use.tariff, use.element) for use in energy] == [("R", 0), ("G", 0)]
    assert [line.step_size for line in lines] == [None, None, None, 1000]


def test_a_live_price_goes_on_over_the_switch():
    """SES-16."""
    over = tariff_over_time(REGULAR, preferring((60, GREEN)))
    live = LivePrice(over, ZONE)
    live.update(Record(started_at=START))
    for sample in SESSION.meter:
        cost = live.add(Samples(meter=(sample,)))

    assert cost.total == price(SESSION, over, ZONE).total
    assert cost.periods == price(SESSION, over, ZONE).periods


def test_amounts_of_two_kinds_are_not_added_up():
    assert suits(GREEN, REGULAR)
    assert not suits(tariff("F", component("ENERGY", 1), currency="CHF"), REGULAR)
    assert not suits(tariff("Y", component("ENERGY", 1), tax_included="YES"), REGULAR)


def test_each_profile_has_its_type_of_tariff():
    found = [tariff_type(profile) for profile in ("REGULAR", "CHEAP", "FAST", "GREEN")]

    assert found == ["REGULAR", "PROFILE_CHEAP", "PROFILE_FAST", "PROFILE_GREEN"]


@pytest.mark.parametrize(
    ("profile", "minutes", "need", "power", "answer"),
    [
        ("FAST", None, None, None, "ACCEPTED"),
        ("REGULAR", None, None, 11_000, "ACCEPTED"),
        ("CHEAP", None, 20, None, "DEPARTURE_REQUIRED"),
        ("GREEN", None, None, None, "DEPARTURE_REQUIRED"),
        ("CHEAP", 60, None, None, "ENERGY_NEED_REQUIRED"),
        ("CHEAP", 60, 11, 11_000, "ACCEPTED"),
        ("CHEAP", 60, "11.1", 11_000, "NOT_POSSIBLE"),
        ("CHEAP", 60, 500, None, "ACCEPTED"),
        ("FAST", 60, 20, 11_000, "NOT_POSSIBLE"),
        ("FAST", -1, None, 11_000, "NOT_POSSIBLE"),
        ("GREEN", 0, 1, 11_000, "NOT_POSSIBLE"),
    ],
)
def test_what_preferences_are_answered(profile, minutes, need, power, answer):
    """SES-18."""
    assert (
        judge(
            profile,
            departure_time=None if minutes is None else at(minutes),
            energy_need=None if need is None else Decimal(str(need)),
            now=START,
            max_power_w=None if power is None else Decimal(power),
        )
        == answer
    )
