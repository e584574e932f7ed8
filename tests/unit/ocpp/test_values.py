"""cpo/ocpp/values.py: times as tolerantly read as strictly written."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from cpo.ocpp.values import read_instant, write_instant

ARRIVAL = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TEN = datetime(2026, 1, 1, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-01-01T10:00:00Z", TEN),
        ("2026-01-01T10:00:00", TEN),
        ("2026-01-01T12:00:00+02", TEN),
        ("2026-01-01T12:00:00+0200", TEN),
        ("2026-01-01T12:00:00+02:00", TEN),
        ("2026-01-01t10:00:00z", TEN),
        ("2026-01-01 10:00:00", TEN),
        (" 2026-01-01T10:00:00Z ", TEN),
        ("2026-01-01T10:00:00.1234567Z", TEN + timedelta(microseconds=123456)),
    ],
)
def test_bo19_reads_every_spelling_of_a_time(text: str, at: datetime) -> None:
    assert read_instant(text, ARRIVAL) == at


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "yesterday",
        "9999-99-99T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-10:00",
        "1970-01-01T00:00:00Z",
        12,
    ],
)
def test_bo18_takes_the_arrival_where_a_time_tells_nothing(text: object) -> None:
    assert read_instant(text, ARRIVAL) == ARRIVAL


def test_q19_writes_utc_with_z_and_milliseconds() -> None:
    at = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))

    assert write_instant(at) == "2026-01-01T10:00:00.123Z"
