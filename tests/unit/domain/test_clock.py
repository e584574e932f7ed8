"""The offset of a station's clock is learned from what arrives live (BO-18, Q18, P10)."""

from datetime import UTC, datetime, timedelta

from cpo.domain.clock import StationClock

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def told(clock, *pairs):
    """Each pair: (arrival, what the station's clock showed), in seconds after noon."""
    for received, shown in pairs:
        clock.heard(NOON + timedelta(seconds=shown), NOON + timedelta(seconds=received))
    return clock.offset_s


def test_a_right_clock_has_no_offset():
    assert told(StationClock(), (0, 0), (60, 59), (120, 118), (180, 180)) == 0


def test_a_clock_that_is_an_hour_behind_is_corrected():
    clock = StationClock()

    assert told(clock, (0, -3600), (60, -3540), (120, -3481), (180, -3420)) == 3600
    assert clock.corrected(NOON) == NOON + timedelta(hours=1)


def test_a_clock_that_runs_ahead_is_corrected_at_once():
    """Times ahead of ours cannot be late messages."""
    assert told(StationClock(), (0, 7200), (1, 7201), (2, 7202), (3, 7203)) == -7200


def test_the_queue_of_an_offline_hour_is_no_wrong_clock():
    """TX16-16: each message is late by another time."""
    replayed = [(n / 10, -3600 + n * 300) for n in range(10)]

    assert told(StationClock(), *replayed) == 0


def test_two_old_messages_in_the_same_moment_are_no_wrong_clock():
    assert told(StationClock(), (0, -3600), (0.1, -3600), (0.2, -3600), (0.3, -3600)) == 0


def test_a_clock_that_was_set_right_is_trusted_again():
    clock = StationClock(offset_s=3600)

    assert told(clock, (0, 0), (60, 60), (120, 119), (180, 180)) == 0
