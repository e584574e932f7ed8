from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec

from cpo.domain.periods import Activity, MeterSample, Period, Record, StateChange
from cpo.domain.pricing import Breakdown, LivePrice, price
from cpo.domain.tariff import Tariff, parse_tariff
from cpo.domain.values import replace

ZONE = ZoneInfo("Europe/Amsterdam")
START = datetime(2026, 1, 5, 10, tzinfo=UTC)


def minutes(n):
    return START + timedelta(minutes=n)


def tariff(*elements, **more):
    listed = [
        {
            "price_components": [
                {"type": kind, "price": Decimal(str(p)), "vat": 21, "step_size": 1}
                for kind, p in element.items()
                if kind != "when"
            ],
            "restrictions": element.get("when"),
        }
        for element in elements
    ]
    return parse_tariff({"id": "T1", "currency": "EUR", "elements": listed, **more})


RECORD = Record(
    started_at=START,
    ended_at=minutes(45),
    meter=(MeterSample(minutes(30), Decimal(10000)),),
    states=(StateChange(minutes(30), Activity.PARKING),),
)


def test_a_session_without_known_tariff_still_has_periods():
    cost = price(RECORD, None, ZONE)

    assert [p.energy_wh for p in cost.periods] == [10000, 0]
    assert cost.periods[0].tariff_id is None


def test_what_is_stored_of_a_cost_survives_json():
    t = tariff({"FLAT": 1, "ENERGY": "0.3"}, {"PARKING_TIME": 2}, energy_mix=None)
    cost = price(RECORD, t, ZONE)

    for value, kind in (
        (cost.periods, tuple[Period, ...]),
        (cost.breakdown(), Breakdown),
        (t, Tariff),
        (RECORD, Record),
    ):
        assert msgspec.json.decode(msgspec.json.encode(value), type=kind) == value


def test_the_parts_of_a_cost_add_up_to_its_total():
    cost = price(
        RECORD, tariff({"FLAT": "0.3333", "ENERGY": "0.33333"}, {"PARKING_TIME": "1.00007"}), ZONE
    )

    for places in (0, 2, 3, 4):
        b = cost.breakdown(places)
        parts = [p for p in (b.fixed, b.energy, b.time, b.parking, b.reservation) if p]
        assert b.time is None
        assert sum(p.excl_vat for p in parts) == b.total.excl_vat
        assert sum(p.incl_vat for p in parts) == b.total.incl_vat
        for p in (*parts, b.total):
            assert sum(tax.amount for tax in p.taxes) == p.incl_vat - p.excl_vat


def test_live_cost_is_that_of_the_record_so_far():
    t = tariff({"ENERGY": "0.5", "when": {"max_kwh": 3}}, {"ENERGY": "0.3", "TIME": 1})
    live = LivePrice(t, ZONE)

    for n in range(1, 40):
        record = Record(
            started_at=START,
            meter=tuple(MeterSample(minutes(i), Decimal(i * 137)) for i in range(1, n)),
        )
        assert live.update(record).total == price(record, t, ZONE).total


def test_a_session_that_a_wrong_clock_made_decades_long_is_cut_in_its_last_months_only():
    day = {"TIME": 1, "when": {"start_time": "08:00", "end_time": "20:00"}}
    record = Record(started_at=datetime(1970, 1, 1, tzinfo=UTC), ended_at=START)

    cost = price(record, tariff(day, {"TIME": 2}), ZONE)

    assert 190 < len(cost.periods) < 210
    assert cost.time_s == (START - record.started_at).total_seconds()


def test_energy_drawn_within_the_clocks_resolution_is_billed():
    """A whole session within a second: start and stop carry the same time."""
    t = tariff({"ENERGY": "0.2", "when": {"max_kwh": 4}}, {"ENERGY": "0.5", "FLAT": 1})
    record = Record(started_at=START, ended_at=START, meter=(MeterSample(START, Decimal(10_000)),))

    cost = price(record, t, ZONE)

    assert cost.total.net == Decimal("4.8")
    assert sum(p.energy_wh for p in cost.periods) == 10_000


def test_energy_that_the_start_itself_shows_belongs_to_the_session():
    readings = (MeterSample(START, Decimal(0)), MeterSample(START, Decimal(500)))
    record = Record(
        started_at=START,
        ended_at=minutes(10),
        meter=(*readings, MeterSample(minutes(10), Decimal(2500))),
    )

    cost = price(record, tariff({"ENERGY": 1}), ZONE)

    assert cost.total.net == Decimal("2.5")
    (period,) = cost.periods
    assert period.energy_wh == 2500
    live = LivePrice(tariff({"ENERGY": 1}), ZONE)
    live.update(replace(record, meter=readings, ended_at=None))
    assert live.update(record).total == cost.total


def test_a_cancelled_reservation_costs_its_time_and_no_session():
    t = parse_tariff(
        {
            "id": "T",
            "currency": "EUR",
            "elements": [
                {
                    "price_components": [{"type": "TIME", "price": 6}],
                    "restrictions": {"reservation": "RESERVATION"},
                },
                {"price_components": [{"type": "FLAT", "price": 9}]},
            ],
        }
    )

    cost = price(Record(started_at=START, ended_at=minutes(20), only_reserved=True), t, ZONE)

    assert cost.total.net == 2
    assert [p.reserved_s for p in cost.periods] == [1200]
