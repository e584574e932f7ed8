"""ocpp-conformance 3.5: transactions of OCPP 1.6."""

from itertools import pairwise

import pytest

from cpo.domain.session import SessionStatus
from cpo.services.ports import StationDocument

REASONS = [
    "EmergencyStop",
    "EVDisconnected",
    "HardReset",
    "PowerLoss",
    "Reboot",
    "Remote",
    "SoftReset",
    "UnlockCommand",
    "DeAuthorized",
    "Other",
]


async def test_tx16_01_a_charge_is_one_session_and_one_cdr(charge, books):
    assert (await charge.start())["idTagInfo"] == {"status": "Accepted"}
    assert books.only_session.status is SessionStatus.ACTIVE
    for value in ("1500", "2000", "2500"):
        await charge.meter(value)
    await charge.stop(reason="Local")

    assert books.only_session.status is SessionStatus.COMPLETED
    assert books.only_cdr.energy_wh == 2000
    assert books.only_session.energy_wh == 2000


async def test_tx16_02_the_same_start_again_is_the_same_transaction(charge, books):
    first = await charge.start()
    second = await charge.start()

    assert first == second
    assert len(books.transactions) == 1


async def test_tx16_03_a_start_repeated_after_the_stop_reopens_nothing(charge, books):
    first = await charge.start()
    await charge.stop()

    assert await charge.start() == first
    assert books.only_session.status is SessionStatus.COMPLETED
    assert len(books.cdrs) == 1


async def test_tx16_04_q22_a_start_whose_answer_was_cut_is_one_transaction(backend, charge, books):
    first = await charge.start()
    charge.charger.socket.transport.abort()
    charge.charger = await backend.charger("1.6", boot=False)

    assert await charge.start() == first
    assert len(books.transactions) == 1


async def test_tx16_05_two_connectors_in_the_same_second_are_two_transactions(charge, books):
    first = await charge.start(connectorId=1)
    second = await charge.start(connectorId=2)

    assert first["transactionId"] != second["transactionId"]


async def test_tx16_06_a_new_start_at_a_busy_connector_ends_the_old_one(charge, books, backend):
    first = await charge.start()
    second = await charge.start(timestamp=backend.at(minutes=-10))

    by_key = {t.key: t for t in books.transactions}
    assert not by_key[str(first["transactionId"])].open
    assert "interrupted" in by_key[str(first["transactionId"])].flags
    assert by_key[str(second["transactionId"])].open


async def test_tx16_07_a_second_stop_changes_nothing(charge, books):
    await charge.start()
    await charge.stop(meterStop=3000)
    await charge.stop(meterStop=9999)

    assert books.only_cdr.energy_wh == 2000


async def test_tx16_08_q24_an_unknown_stop_is_answered_and_kept(charge, books):
    charge.id = 123456

    assert await charge.stop() == {}
    assert books.orphans[0].transaction == "123456"
    assert books.cdrs == []


@pytest.mark.parametrize("number", [-1, 0])
async def test_tx16_09_q23_a_stop_without_an_id_ends_the_only_open_transaction(
    charge, books, number
):
    await charge.start()
    charge.id = number
    await charge.meter("2000")
    await charge.stop()

    assert books.only_cdr.energy_wh == 2000


async def test_tx16_09_a_repeated_stop_without_an_id_does_not_end_the_next_transaction(
    backend, charge, books
):
    await charge.start(timestamp=backend.at(hours=-3))
    stop = {"transactionId": -1, "meterStop": 3000, "timestamp": backend.at(hours=-2)}
    await charge.stop(**stop)
    await charge.start(meterStart=3000)

    await charge.stop(**stop)

    assert [transaction.open for transaction in books.transactions] == [False, True]
    assert books.only_cdr.energy_wh == 2000
    assert books.orphans == []


async def test_tx16_08_tx16_09_of_two_open_ones_time_and_register_tell_which_a_stop_ends(
    backend, charge, books
):
    await backend.site("CP1", evses=2)
    await charge.start(meterStart=1000)
    await charge.start(connectorId=2, meterStart=7_000_000)

    await charge.stop(transactionId=-1, meterStop=7_000_500)

    assert [transaction.open for transaction in books.transactions] == [True, False]
    assert books.only_cdr.energy_wh == 500


async def test_tx16_09_a_stop_without_an_id_that_fits_none_is_kept_apart(backend, charge, books):
    await charge.start(meterStart=7_000_000)

    await charge.stop(transactionId=0, meterStop=1200)

    assert books.transactions[0].open
    assert [orphan.action for orphan in books.orphans] == ["StopTransaction"]


async def test_tx16_10_s6_sec09_a_stop_of_another_stations_transaction_changes_nothing(
    backend, charge, books
):
    await charge.start()
    await backend.register("CP2")
    other = await backend.charger("1.6", "CP2")

    answer = await other.call(
        "StopTransaction", transactionId=charge.id, meterStop=9, timestamp=backend.at()
    )

    assert answer == {}
    assert books.transactions[0].open
    assert books.cdrs == []
    assert foreign_ids(backend) == [("CP2", f"names transaction {charge.id} of another station")]


async def test_tx16_10_sec09_readings_under_another_stations_id_change_nothing_there(
    backend, charge, books
):
    await charge.start()
    await backend.register("CP2")
    other = await backend.charger("1.6", "CP2")
    for transaction in (charge.id, charge.id + 1, -1):
        value = {"timestamp": backend.at(), "sampledValue": [{"value": "9000"}]}
        answer = await other.call(
            "MeterValues", connectorId=1, transactionId=transaction, meterValue=[value]
        )
        assert answer == {}

    assert books.transactions[0].samples == ()
    assert [station for station, _ in foreign_ids(backend)] == ["CP2"]


async def test_tx16_08_br09_a_stop_of_nobody_is_never_billed(backend, charge, books):
    """A record that fits nothing waits for the operator, however long."""
    await charge.charger.call(
        "StopTransaction", transactionId=424242, meterStop=9000, timestamp=backend.at()
    )
    backend.later(hours=72)
    await charge.start()
    await charge.stop()

    assert len(books.orphans) == 1
    assert foreign_ids(backend) == []
    assert books.only_cdr.energy_wh == 2000


def foreign_ids(backend):
    rows = backend.store.rows.get(StationDocument, {}).values()
    return [
        (row.station, row.document["info"])
        for row in rows
        if row.kind == "security-event" and row.document["type"] == "ForeignTransactionId"
    ]


async def test_tx16_11_q28_a_stop_without_tag_and_reason_is_local(charge, books):
    await charge.start()
    await charge.stop()

    assert books.transactions[0].stopped_reason == "Local"


async def test_tx16_12_a_stop_by_another_tag_closes_too(charge, books):
    await charge.start()

    answer = await charge.stop(idTag="SOMEBODY")

    assert answer["idTagInfo"]["status"] == "Invalid"
    assert not books.transactions[0].open


@pytest.mark.parametrize("reason", REASONS)
async def test_tx16_13_every_reason_is_kept(charge, books, reason):
    await charge.start()
    await charge.stop(reason=reason)

    assert books.transactions[0].stopped_reason == reason


async def test_tx16_13_a_power_loss_is_told_hours_after_the_boot(backend, charge, books):
    await charge.start()
    await charge.meter("2500", -30)
    charge.charger.socket.transport.abort()
    backend.later(hours=3)
    charge.charger = await backend.charger("1.6")
    assert books.transactions[0].open
    backend.later(hours=2)
    cut = backend.at(hours=-5, minutes=-20)

    await charge.stop(reason="PowerLoss", meterStop=2600, timestamp=cut)

    assert books.only_session.status is SessionStatus.COMPLETED
    assert books.only_cdr.energy_wh == 1600
    assert (backend.clock - books.only_cdr.end_date_time).total_seconds() == 320 * 60
    assert books.only_cdr.hold == ()


async def test_tx16_14_s7_q37_a_meter_that_fell_is_not_billed(charge, books):
    await charge.start(meterStart=5000)
    await charge.stop(meterStop=4000)

    assert books.only_cdr.energy_wh == 0
    assert books.only_cdr.hold


async def test_tx16_15_a_stop_of_zero_gives_way_to_trusted_readings(charge, books):
    await charge.start(meterStart=1000)
    await charge.meter("6000")
    await charge.stop(meterStop=0)

    assert books.only_cdr.energy_wh == 5000
    assert books.only_cdr.flags


async def test_tx16_16_an_offline_charge_that_comes_late_keeps_its_own_times(
    backend, charge, books
):
    await charge.start(timestamp=backend.at(hours=-2))
    await charge.stop(timestamp=backend.at(hours=-1))

    assert books.only_cdr.start_date_time == backend.clock.replace(hour=backend.clock.hour - 2)
    assert books.only_cdr.end_date_time == backend.clock.replace(hour=backend.clock.hour - 1)


async def test_tx16_17_q29_a_stop_whose_start_never_came_is_kept_for_the_operator(charge, books):
    charge.id = 77
    await charge.stop(idTag="TAG")

    (orphan,) = books.orphans
    assert '"meterStop"' in orphan.payload
    assert orphan.reason == "transaction unknown at this station"


async def test_tx16_17_registers_before_bound_what_a_stop_of_nobody_is_about(
    backend, charge, books
):
    for connector, begin in ((1, 1000), (2, 5000)):
        await charge.start(
            connectorId=connector, meterStart=begin, timestamp=backend.at(hours=-4 + connector)
        )
        await charge.stop(
            meterStop=begin + 1000, timestamp=backend.at(hours=-4 + connector, minutes=30)
        )

    for stop, bounds in ((9500, ["1 at most 7.5", "2 at most 3.5"]), (4000, ["1 at most 2"])):
        await charge.stop(transactionId=424242, meterStop=stop)
        assert books.orphans[-1].reason == "; ".join(
            ["transaction unknown at this station", *(f"at EVSE {bound} kWh" for bound in bounds)]
        )


async def test_tx16_19_meter_values_after_the_stop_leave_the_cdr_alone(charge, books):
    await charge.start()
    await charge.stop()
    before = books.only_cdr
    session = books.only_session
    await charge.meter("9000")

    assert (books.only_cdr, books.only_session) == (before, session)
    stored = await charge.backend.store.transaction(session.id)
    assert [sample.register_wh for sample in stored.samples] == [9000]


async def test_tx16_20_q26_q27_sec10_ids_are_31_bit_positive_and_not_in_sequence(
    charge, books, backend
):
    ids = []
    for minutes in range(-20, 0, 4):
        await charge.start(timestamp=backend.at(minutes=minutes))
        await charge.stop(timestamp=backend.at(minutes=minutes + 1))
        ids.append(charge.id)

    assert all(1 <= number <= 2**31 - 1 for number in ids)
    assert len(set(ids)) == len(ids)
    assert not any(b - a in (1, -1) for a, b in pairwise(ids))


async def test_tx16_21_registers_in_transaction_data_that_differ_are_noted(charge, books):
    await charge.start(meterStart=1000)
    await charge.stop(
        meterStop=3000,
        transactionData=[
            {
                "timestamp": charge.backend.at(minutes=-1),
                "sampledValue": [{"value": "2990", "context": "Transaction.End"}],
            }
        ],
    )

    assert "stop_values_differ" in books.only_cdr.flags


async def test_tx16_21_both_ends_as_the_meter_named_them_win(charge, books):
    await charge.start(meterStart=1000)
    ends = (("Transaction.Begin", "1005", -60), ("Transaction.End", "2990", -1))
    await charge.stop(
        meterStop=3000,
        transactionData=[
            {
                "timestamp": charge.backend.at(minutes=minutes),
                "sampledValue": [{"value": value, "context": context}],
            }
            for context, value, minutes in ends
        ],
    )

    assert books.only_cdr.energy_wh == 1985
    assert "stop_values_differ" in books.only_cdr.flags


async def test_of08_energy_between_a_stop_and_the_next_start_is_noted(backend, charge, books):
    await charge.start(meterStart=1000, timestamp=backend.at(hours=-3))
    await charge.stop(meterStop=2000, timestamp=backend.at(hours=-2))
    await charge.start(meterStart=5000)
    await charge.stop(meterStop=6000)
    await charge.start(meterStart=6000, timestamp=backend.at(seconds=-30))

    noted = ["energy_missing_before" in one.flags for one in books.transactions]
    assert noted == [False, True, False]


async def test_tx16_22_q20_fractions_of_wh_are_exact(charge, books):
    await charge.start(meterStart=1500.5)
    await charge.stop(meterStop=2000.25)

    assert str(books.only_cdr.energy_wh) == "499.75"


async def test_tx16_25_a_stop_before_its_start_is_answered_and_flagged(charge, books, backend):
    await charge.start(timestamp=backend.at(hours=-1))
    await charge.stop(timestamp=backend.at(hours=-2))

    assert "stop_before_start" in books.transactions[0].flags
    for told in (books.only_session, books.only_cdr):
        assert told.end_date_time == told.start_date_time


async def test_au06_a_blocked_tag_gets_an_id_and_a_word(backend, charge, books):
    await backend.token("BLOCKED", valid=False)

    answer = await charge.start(idTag="BLOCKED")

    assert answer["transactionId"] > 0
    assert answer["idTagInfo"]["status"] == "Blocked"
    await charge.stop(reason="DeAuthorized")
    assert books.only_session.status is SessionStatus.INVALID
    assert books.cdrs == []


async def test_of01_a_charge_cut_after_every_message_is_the_charge_uncut(backend, charge, books):
    """Each message is sent, its answer lost, and sent again on a new connection."""
    steps = [
        charge.start,
        lambda: charge.meter("1500", -30),
        lambda: charge.meter("2000", -20),
        charge.stop,
    ]
    for step in steps:
        await step()
        charge.charger.socket.transport.abort()
        charge.charger = await backend.charger("1.6", boot=False)
        await step()

    assert books.only_cdr.energy_wh == 2000
    assert len(books.transactions) == 1


async def test_of03_three_offline_charges_are_three_sessions_in_order(backend, charge, books):
    for hours in (-8, -5, -2):
        await charge.start(timestamp=backend.at(hours=hours), meterStart=1000 - hours)
        await charge.stop(timestamp=backend.at(hours=hours + 1), meterStop=1500 - hours)

    assert len(books.cdrs) == 3
    starts = [cdr.start_date_time for cdr in books.cdrs]
    assert starts == sorted(starts)
