"""What cars ask for, and which part of an EVSE's supply they use."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpo.domain.limits import Running, Step, Supply, limit_at, read_profile
from cpo.domain.needs import few, most_of, read_needs, supply_for
from cpo.errors import Invalid

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SUPPLY = Supply(voltage=Decimal(230), phases=3, most_w=Decimal(11_040))


def sent(transfer, **parameters):
    return {"evseId": 1, "chargingNeeds": {"requestedEnergyTransfer": transfer, **parameters}}


def ac(transfer, amperes):
    parameters = {
        "energyAmount": 1, "evMinCurrent": 6, "evMaxCurrent": amperes, "evMaxVoltage": 230,
    }  # fmt: skip
    return sent(transfer, acChargingParameters=parameters)


@pytest.mark.parametrize(
    ("transfer", "amperes", "watts"),
    [
        ("AC_single_phase", 32, 16 * 230),
        ("AC_two_phase", 10, 10 * 230 * 2),
        ("AC_three_phase", 13, 13 * 230 * 3),
        ("AC_three_phase", 63, 11_040),
    ],
)
def test_k15_a_car_takes_its_phases_and_no_more_than_there_is(transfer, amperes, watts):
    needs = read_needs(ac(transfer, amperes))
    assert most_of(needs, supply_for(needs, SUPPLY)) == watts


def test_k15_direct_current_is_the_least_of_what_it_says():
    parameters = {"evMaxCurrent": 200, "evMaxVoltage": 400, "evMaxPower": 50_000}
    assert read_needs(sent("DC", dcChargingParameters=parameters)).most_w == 50_000
    both = {"maxChargePower": 7_000}
    assert read_needs(sent("DC_BPT", v2xChargingParameters=both)).most_w == 7_000


@pytest.mark.parametrize("transfer", ["DC", "AC_three_phase", "WPT"])
def test_k15_needs_without_a_power_are_invalid(transfer):
    with pytest.raises(Invalid, match="chargingNeeds"):
        read_needs(sent(transfer))


limits = st.none() | st.integers(0, 50_000).map(Decimal)


@given(st.lists(limits, min_size=1, max_size=60), st.integers(1, 30))
def test_few_steps_never_allow_more_than_all_of_them(values, most):
    steps = [Step(NOON + timedelta(minutes=n), value) for n, value in enumerate(values)]
    cut = few(steps, most)
    assert len(cut) <= most
    for step in steps:
        held = [c for c in cut if c.at <= step.at][-1].limit_w
        assert step.limit_w is None or (held is not None and held <= step.limit_w)


def profile(number, purpose, watts, level=0):
    schedule = {
        "chargingRateUnit": "W",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": watts}],
    }
    return read_profile(
        {
            "id": number, "stackLevel": level, "chargingProfilePurpose": purpose,
            "chargingProfileKind": "Relative", "chargingSchedule": schedule,
        },
        1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("priority", "external", "local", "expected"),
    [
        (False, None, None, 5_000),
        (True, None, None, 9_000),
        (True, 4_000, None, 4_000),
        (True, 4_000, 3_000, 7_000),
        (False, 4_000, 3_000, 5_000),
        (True, 8_000, 3_000, 9_000),
    ],
)
def test_21_priority_leads_and_local_generation_is_added(priority, external, local, expected):
    """PriorityCharging and LocalGeneration of 2.1 in the composite."""
    installed = [
        profile(1, "TxProfile", 5_000),
        profile(2, "PriorityCharging", 9_000),
    ]
    if external is not None:
        installed.append(profile(3, "ChargingStationExternalConstraints", external))
    if local is not None:
        installed.append(profile(4, "LocalGeneration", local))
    running = Running("tx", NOON, priority)
    found, _ = limit_at(installed, NOON, evse_id=1, supply=SUPPLY, running=running)
    assert found == expected
