"""TAR-25, TAR-26, TAR-32: where time alone can change a price."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from cpo.domain.price_plan import PricePlan, to_instant, to_us
from cpo.domain.tariff import parse_tariff


def cuts(begin, end, zone, **when):
    element = {"price_components": [{"type": "TIME", "price": 1}]}
    tariff = parse_tariff(
        {
            "id": "T",
            "currency": "EUR",
            "elements": [{**element, "restrictions": when or None}, element],
        },
        ours=False,
    )
    us = to_us(begin)
    found = PricePlan(tariff).calendar(us, us, to_us(end), ZoneInfo(zone))
    return [(to_instant(at).strftime("%d %H:%M"), mask & 1) for at, mask in found]


def test_without_restrictions_of_time_nothing_is_cut():
    begin = datetime(2026, 1, 1, tzinfo=UTC)

    assert cuts(begin, begin + timedelta(days=30), "Europe/Amsterdam") == [("01 00:00", 1)]


def test_spring_forward_cuts_at_the_jump():
    """TAR-32."""
    begin = datetime(2026, 3, 29, tzinfo=UTC)

    assert cuts(begin, begin + timedelta(hours=3), "Europe/Amsterdam", end_time="02:30") == [
        ("29 00:00", 1),
        ("29 01:00", 0),
    ]


def test_fall_back_matches_the_repeated_half_hour_twice():
    """TAR-32."""
    begin = datetime(2026, 10, 24, 23, tzinfo=UTC)

    found = cuts(
        begin, begin + timedelta(hours=4), "Europe/Amsterdam", start_time="02:30", end_time="03:00"
    )

    assert found == [
        ("24 23:00", 0),
        ("25 00:30", 1),
        ("25 01:00", 0),
        ("25 01:30", 1),
        ("25 02:00", 0),
    ]


@pytest.mark.parametrize("zone", ["Pacific/Apia", "Asia/Kathmandu", "America/St_Johns", "UTC"])
def test_midnight_is_that_of_the_zone(zone):
    begin = datetime(2026, 6, 1, 3, 17, tzinfo=UTC)
    days = ["MONDAY", "WEDNESDAY", "FRIDAY", "SUNDAY"]

    found = cuts(begin, begin + timedelta(days=5), zone, day_of_week=days)

    local = [
        datetime.strptime(f"2026-06-{at}", "%Y-%m-%d %H:%M")
        .replace(tzinfo=UTC)
        .astimezone(ZoneInfo(zone))
        for at, _ in found[1:]
    ]
    assert local
    assert all((at.hour, at.minute) == (0, 0) for at in local)


def test_a_duration_cuts_once():
    begin = datetime(2026, 6, 1, tzinfo=UTC)

    assert cuts(begin, begin + timedelta(hours=1), "UTC", min_duration=600) == [
        ("01 00:00", 0),
        ("01 00:10", 1),
    ]


def test_an_empty_stretch_still_knows_what_is_active():
    begin = datetime(2026, 6, 1, 12, tzinfo=UTC)

    assert cuts(begin, begin, "UTC", start_time="11:00", end_time="13:00") == [("01 12:00", 1)]
