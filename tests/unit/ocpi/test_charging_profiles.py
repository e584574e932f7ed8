"""Charging profiles between OCPI's words and OCPP's."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import ocpi_charges
import pytest

from cpo.ocpi.dialect import ChargingProfile
from cpo.ocpi.modules.charging_profiles import (
    _response_url,
    composite,
    profile_number,
    station_profile,
)

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)


def test_CP_7_a_profile_becomes_a_limit_on_the_transaction_without_a_number_of_phases():
    profile = ChargingProfile(
        charging_rate_unit="A",
        periods=((0, Decimal(16)), (900, Decimal("6.25"))),
        duration=3600,
        min_charging_rate=Decimal(6),
    )
    written = station_profile(ocpi_charges.session(), profile)

    assert written["chargingProfilePurpose"] == "TxProfile"
    assert written["chargingProfileKind"] == "Relative"
    assert written["chargingSchedule"] == {
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [
            {"startPeriod": 0, "limit": 16},
            {"startPeriod": 900, "limit": 6.2},
        ],
        "duration": 3600,
        "minChargingRate": 6,
    }


def test_CP_5_a_start_makes_it_absolute():
    profile = ChargingProfile(
        charging_rate_unit="W", periods=((0, Decimal(11000)),), start_date_time=AT
    )
    written = station_profile(ocpi_charges.session(), profile)

    assert written["chargingProfileKind"] == "Absolute"
    assert written["chargingSchedule"]["startSchedule"] == "2026-06-01T12:00:00Z"


def test_CP_7_each_session_has_a_profile_number_of_its_own_that_stays():
    numbers = {profile_number(f"S-{n}") for n in range(1000)}

    assert len(numbers) == 1000
    assert all(0 < n < 2**31 for n in numbers)
    assert profile_number("S-1") == profile_number("S-1")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(
            {
                "status": "Accepted",
                "connectorId": 1,
                "scheduleStart": "2026-06-01T12:00:00Z",
                "chargingSchedule": {
                    "duration": 600,
                    "chargingRateUnit": "A",
                    "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16.0}],
                },
            },
            id="OCPP 1.6",
        ),
        pytest.param(
            {
                "status": "Accepted",
                "schedule": {
                    "evseId": 1,
                    "duration": 600,
                    "scheduleStart": "2026-06-01T12:00:00Z",
                    "chargingRateUnit": "A",
                    "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16.0}],
                },
            },
            id="OCPP 2.0.1",
        ),
    ],
)
def test_CP_2_the_stations_schedule_becomes_the_active_profile(answer):
    assert composite(answer, AT) == ChargingProfile(
        charging_rate_unit="A",
        periods=((0, Decimal("16.0")),),
        start_date_time=AT,
        duration=600,
    )


@pytest.mark.parametrize(
    "answer", [{}, {"schedule": 5}, {"schedule": {"chargingSchedulePeriod": [{"limit": "x"}]}}]
)
def test_a_schedule_nobody_can_read_is_none(answer):
    assert composite(answer, AT) is None


@dataclass
class Asked:
    raw_query: str
    query: dict


@pytest.mark.parametrize(
    ("raw", "parsed", "expected"),
    [
        (
            "duration=60&response_url=https%3A%2F%2Fe.example%2Fr%3Fa%3D1%26b%3D2",
            "https://e.example/r?a=1&b=2",
            "https://e.example/r?a=1&b=2",
        ),
        (
            "duration=60&response_url=https://e.example/r?a=1&b=2",
            "https://e.example/r?a=1",
            "https://e.example/r?a=1&b=2",
        ),
        (
            "response_url=https://e.example/r?a=1&b=2&duration=60",
            "https://e.example/r?a=1",
            "https://e.example/r?a=1&b=2",
        ),
        ("duration=60", "", ""),
    ],
)
def test_CP_9_a_response_url_is_read_encoded_and_plain(raw, parsed, expected):
    query = {"response_url": parsed} if parsed else {}

    assert _response_url(Asked(raw, query)) == expected
