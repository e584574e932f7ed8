import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from cpo.config import HOLD_REASONS, NOTED_REASONS
from cpo.domain.events import SignedReading
from cpo.domain.periods import MeterSample, PowerSample, Record
from cpo.domain.quality import DOUBTS, QualityRules, signed_check, signed_flags, verdict
from cpo.domain.tariff import parse_tariff

START = datetime(2026, 1, 5, 10, tzinfo=UTC)


RULES = QualityRules(holding=frozenset(HOLD_REASONS))
UTC_ZONE = ZoneInfo("UTC")


def record(*readings):
    return Record(
        started_at=START,
        ended_at=START + timedelta(hours=5),
        meter=tuple(MeterSample(START + timedelta(minutes=m), Decimal(wh)) for m, wh in readings),
    )


def tariff(*elements):
    return parse_tariff({"id": "T", "currency": "EUR", "elements": list(elements)})


def energy(price, **restrictions):
    component = {"type": "ENERGY", "price": price, "step_size": 1}
    return {"price_components": [component], "restrictions": restrictions}


def hourly(price, **restrictions):
    component = {"type": "TIME", "price": price, "step_size": 1}
    return {"price_components": [component], "restrictions": restrictions}


FLAT_PRICE = tariff(energy(Decimal("0.4")))


def codes(record, flags, *, rules=RULES, tariff=FLAT_PRICE, zone=UTC_ZONE, max_power_w=None):
    found = verdict(record, flags, rules=rules, tariff=tariff, zone=zone, max_power_w=max_power_w)
    return [(r.code, r.holds) for r in found]


def test_nothing_speaks_against_an_ordinary_session():
    assert codes(record((0, 0), (30, 3000), (60, 6000)), set()) == []


def test_what_was_noticed_is_said_in_words_and_whether_it_holds_the_cdr():
    """CDR-22, MAP-26, MAP-21."""
    flags = {"estimated_end", "meter_reset", "session_relative", "settled"}
    found = verdict(record(), flags, rules=RULES, tariff=None, zone=UTC_ZONE)

    assert [(r.code, r.holds) for r in found] == [
        ("estimated_end", True),
        ("meter_reset", True),
        ("session_relative", False),
    ]
    assert all(r.text for r in found)


def test_every_reason_is_one_that_the_settings_know():
    assert {*HOLD_REASONS, *NOTED_REASONS} == DOUBTS
    assert not {*HOLD_REASONS} & {*NOTED_REASONS}


def test_the_operator_chooses_what_holds():
    rules = QualityRules(holding=frozenset({"session_relative"}))

    assert codes(record(), {"meter_reset", "session_relative"}, rules=rules) == [
        ("meter_reset", False),
        ("session_relative", True),
    ]


GAP = record((0, 0), (10, 1000), (190, 9000))  # 10:10 to 13:10, 1 to 9 kWh


@pytest.mark.parametrize(
    ("elements", "holds"),
    [
        ([energy(1)], False),
        ([energy(1, end_time="12:00"), energy(2)], True),
        ([energy(1, end_time="10:05"), energy(2)], False),
        ([energy(1, start_time="14:00"), energy(2)], False),
        ([energy(1, day_of_week=["MONDAY"]), energy(2)], False),
        ([energy(1, max_duration=7200), energy(2)], True),
        ([energy(1, max_kwh=5), energy(2)], False),
        ([energy(1, min_power=11), energy(2)], True),
        ([energy(1, max_current=16), energy(2)], True),
        ([hourly(1, end_time="12:00"), hourly(2), energy(1)], False),
        ([hourly(1, max_kwh=5), hourly(2), energy(1)], True),
        ([hourly(1, max_kwh=50), hourly(2), energy(1)], False),
        ([hourly(1, max_power=5), hourly(2)], True),
        ([energy(1, end_time="12:00", reservation="RESERVATION"), energy(2)], False),
    ],
)
def test_a_gap_holds_where_the_price_may_have_changed_within_it(elements, holds):
    if elements[0]["restrictions"].get("reservation"):
        elements[0]["price_components"][0]["type"] = "TIME"

    assert codes(GAP, set(), tariff=tariff(*elements)) == [("gap", holds)]


def test_a_gap_over_a_local_midnight_holds_where_the_day_matters():
    days = tariff(energy(1, day_of_week=["MONDAY"]), energy(2))

    assert codes(GAP, set(), tariff=days, zone=ZoneInfo("Europe/Amsterdam")) == [("gap", False)]
    # 10:10Z to 13:10Z is 23:10 to 02:10 in Auckland.
    assert codes(GAP, set(), tariff=days, zone=ZoneInfo("Pacific/Auckland")) == [("gap", True)]


def test_a_gap_without_energy_is_none():
    assert codes(record((0, 0), (10, 1000), (240, 1000)), set()) == []


def test_how_long_a_gap_may_be_is_a_setting():
    rules = replace(RULES, longest_gap=timedelta(hours=4))

    assert codes(GAP, set(), rules=rules) == []


def test_much_more_energy_than_the_connector_delivers_holds():
    """S7: more than the power allows, over a time that no clock explains."""
    jump = record((0, 0), (10, 9000))

    assert codes(jump, set(), max_power_w=Decimal(11_000)) == [("implausible_power", True)]
    assert codes(jump, set(), max_power_w=Decimal(30_000)) == [("implausible_power", False)]
    assert codes(jump, set(), max_power_w=Decimal(60_000)) == []
    assert codes(jump, set()) == []


def test_a_jump_between_readings_a_minute_apart_holds_where_those_around_it_show_it():
    jump = record(*((m, 100 * m + (20_000 if m > 30 else 0)) for m in range(60)))

    assert codes(jump, set(), max_power_w=Decimal(11_000)) == [("implausible_power", True)]


def test_a_whole_session_in_seconds_is_a_matter_of_clocks_and_only_noted():
    quick = record((0, 0), (1, 40_000))

    assert codes(quick, set(), max_power_w=Decimal(11_000)) == [("implausible_power", False)]


def signed(begin, end):
    registers = [{"TX": "B", "RV": begin, "RU": "kWh"}, {"TX": "E", "RV": end, "RU": "kWh"}]
    data = "OCMF|" + json.dumps({"RD": registers}) + '|{"SD":"00"}'
    return [SignedReading(nature="End", data=data, method="OCMF")]


def test_a_session_without_signed_values_has_no_flags_of_them():
    assert signed_flags(signed_check((), Decimal(1))) == frozenset()


def test_signed_energy_that_differs_is_flagged():
    readings = signed(1, 3)

    assert signed_flags(signed_check(readings, Decimal(2000))) == frozenset()
    assert signed_flags(signed_check(readings, Decimal(2500))) == {"signed_differs"}


def powered(*readings, watts):
    made = record(*readings)
    samples = tuple(PowerSample(reading.at, Decimal(watts)) for reading in made.meter)
    return Record(
        started_at=made.started_at, ended_at=made.ended_at, meter=made.meter, power=samples
    )


def test_mv15_q34_a_register_of_kwh_that_is_called_wh_holds():
    """By the power beside it: 11 kW for an hour are not 11 Wh."""
    assert codes(powered((0, 0), (30, 5), (60, 11), watts=11_000), set()) == [
        ("unit_suspect", True)
    ]


@pytest.mark.parametrize(
    ("readings", "watts"),
    [
        (((0, 0), (30, 5500), (60, 11_000)), 11_000),
        (((0, 0), (30, 0), (60, 0)), 11_000),
        (((0, 0), (30, 0), (60, 1)), 300),
        (((0, 0), (30, 50), (60, 110)), 11_000),
    ],
    ids=["as it should be", "nothing drawn", "too little to say", "a hundredth"],
)
def test_mv15_other_registers_are_not_suspected(readings, watts):
    assert ("unit_suspect", True) not in codes(powered(*readings, watts=watts), set())
