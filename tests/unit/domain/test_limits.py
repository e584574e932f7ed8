"""Charging profiles: read, stacked, put beside the station's word (OCPP 1.6 3.13, 2.x K)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cpo.domain.limits import (
    Difference,
    Running,
    Step,
    Supply,
    capped,
    composite,
    differences,
    limit_at,
    read_composite,
    read_external,
    read_profile,
    scheduled,
)
from cpo.errors import Invalid

T0 = datetime(2026, 6, 1, 12, tzinfo=UTC)
SUPPLY = Supply(most_w=Decimal(22080))
HOUR = timedelta(hours=1)


def at(**delta):
    return T0 + timedelta(**delta)


def made(number=1, purpose="TxDefaultProfile", *, evse=1, stack=0, kind="Absolute", unit="W",
         periods=((0, 10000),), transaction=None, start=T0, duration=None, **fields):  # fmt: skip
    schedule = {
        "chargingRateUnit": unit,
        "chargingSchedulePeriod": [{"startPeriod": s, "limit": limit} for s, limit in periods],
    }
    if start is not None:
        schedule["startSchedule"] = start.isoformat()
    if duration is not None:
        schedule["duration"] = duration
    sent = {
        "id": number,
        "stackLevel": stack,
        "chargingProfilePurpose": purpose,
        "chargingProfileKind": kind,
        "chargingSchedule": [schedule],
        **fields,
    }
    if transaction is not None:
        sent["transactionId"] = transaction
    return read_profile(sent, evse)


def steps(*profiles, evse=1, hours=1, running=None):
    found = composite(
        profiles, evse_id=evse, start=T0, duration=hours * HOUR, supply=SUPPLY, running=running
    )
    return [(int((s.at - T0).total_seconds()), s.limit_w) for s in found]


def test_both_spellings_read_the_same():
    """CM-18: limits and units are kept in 1.6 and 2.x."""
    sent = {
        "chargingProfileId": 7,
        "transactionId": 99,
        "stackLevel": 3,
        "chargingProfilePurpose": "ChargePointMaxProfile",
        "chargingProfileKind": "Recurring",
        "recurrencyKind": "Daily",
        "validFrom": "2026-01-01T00:00:00Z",
        "validTo": "2027-01-01T00:00:00Z",
        "chargingSchedule": {
            "duration": 600,
            "startSchedule": "2026-01-01T00:00:00Z",
            "chargingRateUnit": "A",
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 8.1, "numberPhases": 1}],
        },
    }
    newer = {
        **sent,
        "id": 7,
        "chargingProfilePurpose": "ChargingStationMaxProfile",
        "transactionId": "99",
        "chargingSchedule": [{"id": 1, **sent["chargingSchedule"]}],
    }
    del newer["chargingProfileId"]

    assert read_profile(sent, 0) == read_profile(newer, 0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"chargingProfilePurpose": "Wish"}, "chargingProfilePurpose"),
        ({"chargingProfileKind": "Someday"}, "chargingProfileKind"),
        ({"chargingProfileKind": "Recurring"}, "recurrencyKind"),
        ({"stackLevel": -1}, "stackLevel"),
        ({"validFrom": "noon"}, "validFrom"),
        ({"chargingSchedule": []}, "chargingSchedule"),
        ({"chargingSchedule": [{"chargingRateUnit": "VA"}]}, "chargingRateUnit"),
        ({"chargingSchedule": [{"chargingRateUnit": "W"}]}, "chargingSchedulePeriod"),
    ],
)
def test_a_broken_profile_names_its_field(change, field):
    sent = {
        "id": 1, "stackLevel": 0, "chargingProfilePurpose": "TxProfile",
        "chargingProfileKind": "Absolute",
        "chargingSchedule": [{
            "chargingRateUnit": "W",
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 1}],
        }],
    }  # fmt: skip
    with pytest.raises(Invalid) as caught:
        read_profile(sent | change, 1)

    assert caught.value.field == field


@pytest.mark.parametrize(
    ("periods", "field"),
    [
        ([{"startPeriod": 5, "limit": 1}], "chargingSchedulePeriod[0].startPeriod"),
        ([{"startPeriod": 0, "limit": -1}], "chargingSchedulePeriod[0].limit"),
        ([{"startPeriod": 0, "limit": "x"}], "chargingSchedulePeriod[0].limit"),
        (
            [{"startPeriod": 0, "limit": 1, "numberPhases": 4}],
            "chargingSchedulePeriod[0].numberPhases",
        ),
        (
            [{"startPeriod": 0, "limit": 1}, {"startPeriod": 0, "limit": 2}],
            "chargingSchedulePeriod",
        ),
        ([7], "chargingSchedulePeriod[0]"),
    ],
)
def test_broken_periods_name_their_field(periods, field):
    with pytest.raises(Invalid) as caught:
        read_external(
            {"chargingSchedule": [{"chargingRateUnit": "W", "chargingSchedulePeriod": periods}]}
        )

    assert caught.value.field == field


def test_the_highest_stack_level_leads_where_it_says_something():
    """K01.FR.38; 1.6 3.13.2: below it the next level shows through."""
    low = made(1, stack=0, periods=((0, 9000),))
    high = made(2, stack=5, periods=((0, 4000), (600, 20000)), duration=1200)

    assert steps(low, high) == [(0, 4000), (600, 20000), (1200, 9000)]


def test_the_evses_own_profile_leads_on_equal_levels():
    station, own = made(1, evse=0, periods=((0, 5000),)), made(2, evse=1, periods=((0, 7000),))

    assert steps(station, own) == [(0, 7000)]
    assert steps(station, own, evse=2) == [(0, 5000)]


def test_a_tx_profile_leads_before_the_default_during_its_transaction_only():
    """CM-18: a TxProfile belongs to one live transaction."""
    default = made(1, periods=((0, 5000),), stack=9)
    tx = made(2, "TxProfile", periods=((0, 7000),), transaction="T1")

    assert steps(default, tx, running=Running("T1", T0)) == [(0, 7000)]
    assert steps(default, tx, running=Running("T2", T0)) == [(0, 5000)]
    assert steps(default, tx) == [(0, 5000)]


def test_the_station_and_others_limit_every_evse():
    own = made(1, periods=((0, 9000), (1200, 2000)))
    station = made(2, "ChargingStationMaxProfile", evse=0, periods=((0, 8000),))
    (outside,) = read_external({
        "chargingLimit": {"chargingLimitSource": "SO"},
        "chargingSchedule": [{
            "id": 1, "chargingRateUnit": "W", "startSchedule": at(minutes=10).isoformat(),
            "duration": 300, "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 3000}],
        }],
    })  # fmt: skip

    assert steps(own, station, outside) == [(0, 8000), (600, 3000), (900, 8000), (1200, 2000)]
    assert steps(own, station, outside, evse=0) == [(0, 8000), (600, 3000), (900, 8000)]


def outside(source, evse, *limits):
    """What somebody outside says of a station or an EVSE, in as many schedules as limits."""
    schedules = [
        {"id": n, "chargingRateUnit": "W", "startSchedule": T0.isoformat(),
         "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit}]}
        for n, limit in enumerate(limits)
    ]  # fmt: skip
    return read_external(
        {"chargingLimit": {"chargingLimitSource": source}, "evseId": evse,
         "chargingSchedule": schedules}
    )  # fmt: skip


def test_the_least_of_all_that_others_say_counts():
    """K12: the grid limits the station, a home's manager an EVSE; neither lifts the other."""
    grid, home = outside("SO", 0, 5000), outside("EMS", 1, 9000)

    assert steps(*grid, *home) == steps(*home, *grid) == [(0, 5000)]
    assert steps(*outside("SO", 1, 5000), *outside("EMS", 1, 9000)) == [(0, 5000)]
    assert steps(*outside("SO", 1, 9000), *outside("EMS", 1, 5000)) == [(0, 5000)]
    assert steps(*outside("SO", 1, 5000, 9000)) == [(0, 5000)]


def test_a_limit_without_schedule_limits_nothing_we_can_compute():
    assert read_external({"chargingLimit": {"chargingLimitSource": "EMS"}}) == []


def test_relative_schedules_count_from_the_start_of_the_transaction():
    relative = made(kind="Relative", start=None, periods=((0, 3000), (1800, 9000)))

    began = at(minutes=-20)

    assert steps(relative, running=Running("T1", began)) == [(0, 3000), (600, 9000)]
    assert steps(relative) == [(0, 3000), (1800, 9000)]


@pytest.mark.parametrize(("word", "days"), [("Daily", 1), ("Weekly", 7)])
def test_recurring_schedules_begin_again(word, days):
    night = made(
        kind="Recurring", recurrencyKind=word, start=at(days=-70, hours=1), duration=3600,
        periods=((0, 0),),
    )  # fmt: skip

    assert steps(night, hours=3) == [(0, None), (3600, 0), (7200, None)]
    later, _ = limit_at([night], at(days=days, hours=1.5), evse_id=1, supply=SUPPLY, running=None)
    assert later == 0


def test_a_profile_holds_only_while_it_is_valid():
    short = made(
        validFrom=at(minutes=10).isoformat(), validTo=at(minutes=20).isoformat(),
    )  # fmt: skip

    assert steps(short) == [(0, None), (600, 10000), (1200, None)]


def test_amperes_are_per_phase():
    three = made(unit="A", periods=((0, 16),))

    assert steps(three) == [(0, 16 * 230 * 3)]
    one = Supply(phases=1)
    found, _ = limit_at([three], T0, evse_id=1, supply=one, running=None)
    assert found == 16 * 230


def test_a_dynamic_profile_counts_from_its_last_update():
    """K28: it is over when no update came for its duration."""
    dynamic = made(kind="Dynamic", start=None, duration=300, periods=((0, 4000),),
                   dynUpdateTime=T0.isoformat())  # fmt: skip

    assert steps(dynamic) == [(0, 4000), (300, None)]


def test_a_profile_replaces_that_of_its_number_and_that_in_its_place():
    """1.6 3.13.2; K01.FR.05 and K01.FR.06."""
    first = made(1, stack=3)

    assert made(1, stack=9).replaces(first)
    assert made(2, stack=3).replaces(first)
    assert not made(2, stack=3, evse=2).replaces(first)
    assert not made(2, stack=4).replaces(first)


def test_steps_are_written_in_either_unit_and_never_above_the_limit():
    found = capped([Step(T0, Decimal(20000)), Step(at(minutes=5), None)], Decimal(10000))

    assert scheduled(found, unit="W", supply=SUPPLY) == [{"startPeriod": 0, "limit": 10000}]
    assert scheduled(found, unit="A", supply=SUPPLY) == [
        {"startPeriod": 0, "limit": Decimal("14.4"), "numberPhases": 3}
    ]


def test_no_limit_is_written_as_the_most_there_is():
    assert scheduled([Step(T0, None)], unit="A", supply=SUPPLY)[0]["limit"] == 32
    with pytest.raises(Invalid):
        scheduled([Step(T0, None)], unit="A", supply=Supply())


@pytest.mark.parametrize(
    "answer",
    [
        {"status": "Accepted", "connectorId": 1, "scheduleStart": "2026-06-01T12:00:00Z",
         "chargingSchedule": {"chargingRateUnit": "A",
                              "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 10}]}},
        {"status": "Accepted",
         "schedule": {"evseId": 1, "duration": 60, "scheduleStart": "2026-06-01T12:00:00Z",
                      "chargingRateUnit": "W",
                      "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 6900}]}},
    ],
)  # fmt: skip
def test_the_stations_answer_is_read_in_both_spellings(answer):
    assert read_composite(answer, supply=SUPPLY, now=at(hours=9)) == (Step(T0, Decimal(6900)),)


def test_an_answer_without_schedule_is_empty():
    assert read_composite({"status": "Rejected"}, supply=SUPPLY, now=T0) == ()


def compared(ours, theirs, **fields):
    return differences(
        [Step(at(minutes=m), w) for m, w in ours],
        [Step(at(minutes=m), w) for m, w in theirs],
        start=T0,
        end=T0 + HOUR,
        supply=SUPPLY,
        **fields,
    )


def test_differences_are_listed_by_stretch():
    """Our composite schedule beside the station's."""
    found = compared([(0, 5000), (30, 8000)], [(0, 5000), (10, 6000), (20, 6000), (30, 8000)])

    assert found == (Difference(at(minutes=10), at(minutes=30), 5000, 6000),)


def test_what_the_evse_can_give_limits_both():
    assert compared([(0, 50000)], [(0, 22080)]) == ()


def test_small_differences_do_not_count():
    assert compared([(0, 5000)], [(0, 5040)], tolerance_w=Decimal(50)) == ()


def test_a_station_that_says_nothing_differs_where_we_have_a_limit():
    (found,) = compared([(0, 5000)], [])

    assert (found.ours_w, found.theirs_w) == (5000, SUPPLY.most_w)
