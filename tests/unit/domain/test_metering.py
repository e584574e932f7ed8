"""Readings into exact Wh, and registers into a session's energy (section 3.7 of the cases)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cpo.domain.events import Sample
from cpo.domain.metering import RawValue, energy_curve, parse_value, sample_of

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def at(minutes):
    return NOON + timedelta(minutes=minutes)


def reg(minutes, wh, context="Sample.Periodic"):
    return Sample(at(minutes), Decimal(wh), context=context)


def test_a_bare_value_is_the_import_register_in_wh():
    """MV-01."""
    assert sample_of(NOON, [RawValue("1500")]).register_wh == Decimal(1500)


@pytest.mark.parametrize(
    ("value", "unit", "multiplier"),
    [("1.2", "kWh", 0), ("1200", "Wh", 0), ("12", "Wh", 2), ("12000", "Wh", -1), ("1.2", "Wh", 3)],
)
def test_units_and_multipliers_come_to_the_same(value, unit, multiplier):
    """MV-02, MV-03."""
    sample = sample_of(NOON, [RawValue(value, unit=unit, multiplier=multiplier)])

    assert sample.register_wh == Decimal(1200)


def test_a_missing_unit_is_that_of_the_measurand():
    """MV-04."""
    sample = sample_of(
        NOON, [RawValue("11000", "Power.Active.Import"), RawValue("16", "Current.Import")]
    )

    assert (sample.power_w, sample.current_a) == (Decimal(11000), Decimal(16))


def test_phases_are_summed_where_there_is_no_total():
    """MV-05, MV-06."""
    values = [RawValue("16", "Current.Import", phase=phase) for phase in ("L1", "L2-N", "L3", "N")]

    assert sample_of(NOON, values).current_a == Decimal(48)


def test_the_total_wins_over_its_phases():
    """MV-05."""
    values = [RawValue("900"), *(RawValue("300", phase=phase) for phase in ("L1", "L2", "L3"))]

    assert sample_of(NOON, values).register_wh == Decimal(900)


def test_only_the_outlet_counts():
    """MV-07."""
    assert sample_of(NOON, [RawValue("900", location="Inlet")]).register_wh is None


def test_unknown_measurands_and_contexts_do_no_harm():
    """MV-18."""
    sample = sample_of(
        NOON, [RawValue("50", "Frequency", unit="Hz"), RawValue("7", "Request.Energy")]
    )

    assert sample == Sample(NOON)


@pytest.mark.parametrize(
    ("text", "number"), [("12,5", "12.5"), (" 7 ", "7"), ("", None), ("NaN", None), ("inf", None)]
)
def test_odd_texts_are_read_or_skipped(text, number):
    """MV-19."""
    assert parse_value(text) == (Decimal(number) if number else None)


def test_energy_is_end_minus_start():
    """MAP-21, TX16-01."""
    curve = energy_curve(
        [reg(10, 1500), reg(20, 2500)],
        started_at=NOON,
        begin_wh=Decimal(1000),
        ended_at=at(30),
        end_wh=Decimal("4000.5"),
    )

    assert curve.total_wh == Decimal("3000.5")
    assert curve.flags == frozenset()
    assert curve.points == (
        (NOON, Decimal(0)),
        (at(10), Decimal(500)),
        (at(20), Decimal(1500)),
        (at(30), Decimal("3000.5")),
    )


def test_begin_and_end_readings_of_2x_are_used_once():
    """TX20-24."""
    curve = energy_curve(
        [reg(0, 100, "Transaction.Begin"), reg(30, 700), reg(60, 1100, "Transaction.End")],
        started_at=NOON,
        begin_wh=None,
        ended_at=at(60),
    )

    assert curve.total_wh == Decimal(1000)


def test_the_order_of_samples_does_not_matter():
    samples = [reg(10, 1500), reg(20, 2500), reg(15, 1900)]
    keywords = {"started_at": NOON, "begin_wh": Decimal(1000), "ended_at": at(30)}

    one = energy_curve(samples, **keywords)

    assert energy_curve(samples[::-1], **keywords) == one


def test_a_stop_below_the_start_bills_nothing_and_is_flagged():
    """TX16-14, I3."""
    curve = energy_curve(
        [], started_at=NOON, begin_wh=Decimal(5000), ended_at=at(30), end_wh=Decimal(4000)
    )

    assert curve.total_wh == 0
    assert "meter_stop_below_start" in curve.flags


def test_a_stop_in_whole_wh_does_not_contradict_finer_samples():
    """meterStop of 1.6 is a whole number; the readings beside it have decimals."""
    curve = energy_curve(
        [
            reg(30, "1237167.890"),
            reg(60, "1239767.890"),
            reg(60, "1239767.890", "Transaction.End"),
        ],
        started_at=NOON,
        begin_wh=Decimal(1234567),
        ended_at=at(60),
        end_wh=Decimal(1239767),
    )

    assert curve.total_wh == 5200
    assert curve.flags == frozenset()


def test_a_zero_stop_after_trusted_readings_uses_the_last_of_them():
    """TX16-15."""
    curve = energy_curve(
        [reg(10, 3000), reg(20, 6000)],
        started_at=NOON,
        begin_wh=Decimal(1000),
        ended_at=at(30),
        end_wh=Decimal(0),
    )

    assert curve.total_wh == Decimal(5000)
    assert "meter_stop_implausible" in curve.flags


def test_a_register_that_fell_goes_on_from_there():
    """MV-13."""
    curve = energy_curve(
        [reg(10, 2000), reg(20, 100), reg(30, 600)],
        started_at=NOON,
        begin_wh=Decimal(1000),
        ended_at=at(30),
    )

    assert curve.total_wh == Decimal(1500)
    assert "meter_reset" in curve.flags


def test_a_leading_zero_is_no_baseline_for_an_odometer():
    """MV-11, P11."""
    curve = energy_curve(
        [reg(1, 909_948), reg(30, 912_948)], started_at=NOON, begin_wh=Decimal(0), ended_at=at(30)
    )

    assert curve.total_wh == Decimal(3000)
    assert "begin_rejected" in curve.flags


def test_samples_may_count_from_the_start_of_the_session():
    """MV-12."""
    curve = energy_curve(
        [reg(10, 500), reg(20, 900), reg(30, 1500)],
        started_at=NOON,
        begin_wh=Decimal(800_000),
        ended_at=at(30),
    )

    assert curve.total_wh == Decimal(1500)
    assert "session_relative" in curve.flags


def test_a_spike_is_not_energy():
    """MV-14, S7."""
    curve = energy_curve(
        [reg(10, 2000), reg(11, 1_002_000), reg(20, 3000)],
        started_at=NOON,
        begin_wh=Decimal(1000),
        ended_at=at(20),
    )

    assert curve.total_wh == Decimal(2000)
    assert "implausible_jump" in curve.flags


def test_intervals_count_only_without_a_register():
    """MV-08."""
    curve = energy_curve(
        [Sample(at(15), interval_wh=Decimal(250)), Sample(at(30), interval_wh=Decimal(300))],
        started_at=NOON,
        begin_wh=None,
        ended_at=at(30),
    )

    assert curve.total_wh == Decimal(550)


def test_power_alone_gives_an_estimate():
    curve = energy_curve(
        [Sample(NOON, power_w=Decimal(6000)), Sample(at(30), power_w=Decimal(3000))],
        started_at=NOON,
        begin_wh=None,
        ended_at=NOON + HOUR,
    )

    assert curve.total_wh == Decimal(4500)
    assert curve.estimated


def test_energy_never_falls():
    curve = energy_curve(
        [reg(5, 10), reg(6, 3), reg(7, 9), reg(8, 1)], started_at=NOON, begin_wh=Decimal(0)
    )

    totals = [wh for _, wh in curve.points]
    assert totals == sorted(totals)


def test_a_whole_charge_told_within_seconds_counts():
    """OF-03: made-up times of an offline charge are no reason to doubt a car's worth of energy."""
    curve = energy_curve(
        [], started_at=NOON, begin_wh=Decimal(0), ended_at=at(0.02), end_wh=Decimal(80_000)
    )

    assert curve.total_wh == Decimal(80_000)
    assert curve.flags == frozenset()
