"""The fold over a transaction's events (sections 3.5 and 3.6 of the cases)."""

import itertools
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cpo.domain.events import (
    Availability,
    ChargingState,
    EventKind,
    IdToken,
    Sample,
    StatusReport,
    TransactionEvent,
)
from cpo.domain.transaction import (
    Phase,
    assume_ended,
    begin,
    curve,
    event_key,
    fold,
    restored,
    same_but_for_readings,
    start_key,
    with_status,
)
from cpo.domain.values import replace

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def at(minutes):
    return NOON + timedelta(minutes=minutes)


def start(**changes):
    event = TransactionEvent(
        kind=EventKind.STARTED,
        at=NOON,
        received_at=NOON,
        evse_id=1,
        connector_id=1,
        id_token=IdToken("TAG"),
        meter_wh=Decimal(1000),
    )
    return replace(event, **changes)


def stop(minutes=60, wh=5000, **changes):
    event = TransactionEvent(
        kind=EventKind.ENDED,
        at=at(minutes),
        received_at=at(minutes),
        transaction="77",
        meter_wh=Decimal(wh),
    )
    return replace(event, **changes)


def step(seq, kind=EventKind.UPDATED, minutes=None, wh=None, **changes):
    """A 2.x TransactionEvent."""
    moment = at(seq if minutes is None else minutes)
    event = TransactionEvent(
        kind=kind,
        at=moment,
        received_at=moment,
        transaction="TX",
        seq=seq,
        evse_id=1,
        trigger="MeterValuePeriodic",
        samples=() if wh is None else (Sample(moment, Decimal(wh)),),
    )
    return replace(event, **changes)


def opened(**changes):
    return begin("S1", "CP", "77", start(**changes))


def told(events):
    transaction = begin("S1", "CP", "TX", events[0])
    for event in events[1:]:
        transaction = fold(transaction, event)
    return transaction


def test_a_start_and_a_stop_make_one_ended_transaction():
    """TX16-01."""
    transaction = fold(opened(), stop())

    assert transaction.phase is Phase.ENDED
    assert transaction.ended_at == at(60)
    assert curve(transaction).total_wh == Decimal(4000)


def test_the_content_of_a_start_is_its_key_not_its_message():
    """TX16-02, Q21, Q22: same charger, connector, idTag (without case), time, register."""
    assert start_key("CP", start()) == start_key("CP", start(id_token=IdToken("tag")))
    assert start_key("CP", start()) != start_key("CP", start(evse_id=2))
    assert start_key("CP", start()) != start_key("CP", start(at=at(1)))
    assert start_key("CP", start()) != start_key("CP", start(meter_wh=Decimal(1001)))


def test_a_repeated_stop_changes_nothing():
    """TX16-07."""
    once = fold(opened(), stop())

    assert fold(once, stop()) is once


def test_a_stop_with_other_values_leaves_the_first_and_is_flagged():
    """TX16-07, P2."""
    twice = fold(fold(opened(), stop()), stop(wh=9000))

    assert curve(twice).total_wh == Decimal(4000)
    assert "stop_repeated_differently" in twice.flags


def test_a_stop_without_reason_is_local():
    """TX16-11, TX20-15."""
    assert fold(opened(), stop()).stopped_reason == "Local"


@pytest.mark.parametrize(
    "reason",
    ["EmergencyStop", "EVDisconnected", "HardReset", "PowerLoss", "Reboot", "Remote", "SoftReset",
     "UnlockCommand", "DeAuthorized", "Other"],
)  # fmt: skip
def test_every_stop_reason_is_kept(reason):
    """TX16-13."""
    assert fold(opened(), stop(stopped_reason=reason)).stopped_reason == reason


def test_a_stop_before_the_start_is_flagged():
    """TX16-25."""
    assert "stop_before_start" in fold(opened(), stop(minutes=-5)).flags


def test_the_same_event_twice_has_one_effect():
    """TX20-08."""
    event = step(1, wh=500)
    once = told([step(0, EventKind.STARTED), event])

    assert fold(once, event) is once


def test_events_with_the_same_number_but_other_content_both_count():
    """TX20-09: a client that always sends seqNo 0."""
    transaction = told(
        [
            step(0, EventKind.STARTED, minutes=0),
            step(0, minutes=5, wh=100),
            step(0, minutes=9, wh=300),
        ]
    )

    assert len(transaction.samples) == 2


def test_gaps_are_known_until_they_are_filled():
    """TX20-06, E_31."""
    transaction = told([step(0, EventKind.STARTED), step(1), step(4, EventKind.ENDED)])
    assert transaction.missing == {2, 3}

    assert fold(fold(transaction, step(2)), step(3)).missing == frozenset()


def test_late_events_are_merged_but_never_reopen():
    """TX20-07."""
    ended = told([step(0, EventKind.STARTED), step(5, EventKind.ENDED)])
    late = fold(ended, step(3, wh=700))

    assert late.phase is Phase.ENDED
    assert [s.register_wh for s in late.samples] == [Decimal(700)]


def test_numbers_may_go_on_over_transactions():
    """TX20-11."""
    transaction = told([step(117, EventKind.STARTED), step(118), step(119, EventKind.ENDED)])

    assert transaction.missing == frozenset()


def test_what_later_events_leave_out_stays():
    """TX20-05."""
    transaction = told(
        [
            step(0, EventKind.STARTED, connector_id=2, id_token=IdToken("T", "ISO14443")),
            step(1, evse_id=None),
        ]
    )

    assert (transaction.evse_id, transaction.connector_id) == (1, 2)
    assert transaction.id_token == IdToken("T", "ISO14443")


def test_an_update_without_a_start_opens_a_flagged_transaction():
    """TX20-13."""
    transaction = told([step(3, wh=100)])

    assert transaction.open
    assert "start_unknown" in transaction.flags


def test_a_late_start_settles_the_flag():
    """TX20-13."""
    transaction = told([step(3, wh=100), step(0, EventKind.STARTED)])

    assert "start_unknown" not in transaction.flags
    assert transaction.started_at == at(0)


def test_the_order_of_arrival_does_not_change_the_energy():
    """OF-01, MAP-25."""
    events = [
        step(0, EventKind.STARTED, wh=1000),
        step(1, wh=1500),
        step(2, wh=2500),
        step(3, EventKind.ENDED, wh=4000),
    ]
    totals = {curve(told(list(order))).total_wh for order in itertools.permutations(events)}

    assert totals == {Decimal(3000)}


def test_readings_that_come_again_count_once():
    samples = (Sample(at(1), Decimal(1200)), Sample(at(2), Decimal(1300)))
    once = told([step(0, EventKind.STARTED), step(1, samples=samples)])

    assert fold(once, step(2, samples=samples)).samples == samples


def test_states_cut_the_session():
    """TX20-16."""
    transaction = told(
        [
            step(0, EventKind.STARTED, charging_state=ChargingState.CHARGING),
            step(1, charging_state=ChargingState.CHARGING),
            step(2, charging_state=ChargingState.SUSPENDED_EV),
        ]
    )

    assert transaction.states == (
        (at(0), ChargingState.CHARGING),
        (at(2), ChargingState.SUSPENDED_EV),
    )


def test_a_1_6_status_tells_the_state():
    """MAP-23."""
    report = StatusReport(
        evse_id=1,
        connector_id=1,
        availability=Availability.OCCUPIED,
        activity="SuspendedEV",
        at=at(10),
        received_at=at(10),
    )

    assert with_status(opened(), report).states == ((at(10), ChargingState.SUSPENDED_EV),)


def test_an_assumed_end_is_replaced_by_the_real_one():
    """TX16-06."""
    assumed = assume_ended(opened(), at=at(90), reason="interrupted")
    assert assumed.flags >= {"estimated_end", "interrupted"}

    real = fold(assumed, stop())

    assert real.ended_at == at(60)
    assert not real.flags & {"estimated_end", "interrupted"}


def test_a_restored_transaction_equals_the_one_that_was_stored():
    """OF-02: what memory knows can be read back from the rows."""
    events = [step(0, EventKind.STARTED, wh=1000), step(1, wh=1500), step(4, wh=2000)]
    transaction = told(events)
    row = replace(
        transaction,
        samples=(),
        seen=frozenset(),
        first_seq=None,
        last_seq=None,
        missing=frozenset(),
    )

    back = restored(row, [s for e in events for s in e.samples], [event_key(e) for e in events])

    assert back == transaction


def test_readings_alone_are_no_reason_to_write_the_transaction():
    before = told([step(0, EventKind.STARTED)])

    assert same_but_for_readings(before, fold(before, step(1, wh=100)))
    assert not same_but_for_readings(before, fold(before, step(1, EventKind.ENDED)))


def test_random_histories_with_repeats_and_disorder_end_alike():
    """OF-01: any order, any repeats, the same books."""
    events = [
        step(0, EventKind.STARTED, wh=0),
        *(step(n, wh=n * 100) for n in range(1, 12)),
        step(12, EventKind.ENDED, wh=1200),
    ]
    dice = random.Random(7)
    for _ in range(200):
        history = events + dice.choices(events, k=6)
        dice.shuffle(history)
        transaction = told(history)
        assert curve(transaction).total_wh == Decimal(1200)
        assert transaction.missing == frozenset()
        assert transaction.phase is Phase.ENDED
