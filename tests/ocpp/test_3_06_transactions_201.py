"""ocpp-conformance 3.6: transactions of OCPP 2.0.1 (and 2.1)."""

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest

from cpo.domain.location import location_document
from cpo.domain.session import SessionStatus
from cpo.services.authorization import Expected
from tests.ocpp.conftest import Books, Charge201
from tests.support.fuzz import schema

TOKEN = {"idToken": "TAG", "type": "ISO14443"}


async def test_tx20_01_a_charge_is_one_session_and_one_cdr(charge201, books):
    answer = await charge201.start()
    for minutes, wh in ((-40, 1500), (-30, 2000), (-20, 2500)):
        assert await charge201.update(wh, minutes) == {}
    await charge201.end()

    assert answer["idTokenInfo"]["status"] == "Accepted"
    assert books.only_session.status is SessionStatus.COMPLETED
    assert books.only_cdr.energy_wh == 2000


async def test_tx20_02_tx20_03_evse_and_token_may_come_later(charge201, books):
    await charge201.start(evse=None, idToken=None, triggerReason="EVDetected")
    await charge201.update(evse={"id": 1, "connectorId": 1}, idToken=None)
    assert [s.status for s in books.sessions] in ([], [SessionStatus.PENDING])

    answer = await charge201.update(1600, -25, idToken=TOKEN, triggerReason="Authorized")

    assert answer["idTokenInfo"]["status"] == "Accepted"
    assert books.only_session.status is SessionStatus.ACTIVE


async def test_tx20_04_au08_only_an_event_with_a_token_is_answered_with_token_info(charge201):
    assert "idTokenInfo" in await charge201.start()
    assert "idTokenInfo" not in await charge201.update()


async def test_tx20_05_what_was_said_once_holds(charge201, books):
    await charge201.start()
    await charge201.update()
    await charge201.end()

    transaction = books.transactions[0]
    assert (transaction.evse_id, transaction.connector_id) == (1, 1)


@pytest.mark.parametrize("connector", [1, 2])
async def test_tx20_05_a_connector_that_is_told_later_brings_its_own_tariff(
    backend, charge201, books, connector
):
    """Until then it is not known which of two it is, and each has its own price."""
    energy = {"type": "ENERGY", "price": Decimal("0.90"), "step_size": 1}
    document = {"currency": "EUR", "elements": [{"price_components": [energy]}]}
    await backend.sites.put_tariff("T2", document, actor="test")
    place = location_document(backend.memory.sites.locations["L-CP1"])
    for evse in place["evses"]:
        evse["ocpp"] = {"station": "CP1", "evse_id": 1}
        other = {**evse["connectors"][0], "id": "2", "tariff_ids": ["T2"]}
        evse["connectors"] = [*evse["connectors"], other]
    await backend.sites.put_location("L-CP1", place, actor="test")

    await charge201.start(evse={"id": 1})
    await charge201.update(evse={"id": 1, "connectorId": connector})
    await charge201.end()

    snapshot = books.only_cdr.snapshot
    assert snapshot.connector_id == str(connector)
    assert snapshot.tariff.id == f"T{connector}"
    assert books.only_cdr.cost.total.excl_vat == {1: Decimal("0.6"), 2: Decimal("1.8")}[connector]


@pytest.mark.parametrize("evses", [1, 2])
async def test_tx20_02_a_station_of_one_evse_need_not_name_it_to_be_billed(
    backend, charge201, books, evses
):
    await backend.site("CP1", evses=evses)
    await backend.register("CP1")
    await charge201.start(evse=None)
    await charge201.update()
    await charge201.end()

    assert [cdr.energy_wh for cdr in books.cdrs] == [2000] * (evses == 1)


@pytest.mark.parametrize("of", ["2.0.1", "2.1"])
async def test_tx20_23_the_number_of_a_remote_start_ties_a_charge_to_its_command(
    backend, books, of
):
    """Whatever its trigger says, and whichever token it carries; another number does not."""
    charge = Charge201(backend, await backend.charger(of))
    token = await backend.token("FAR", whitelist="NEVER")
    for number in (7, 8):
        backend.authorizations.expect(
            "CP1",
            Expected(
                token=token,
                until=backend.clock + timedelta(minutes=2),
                command_id=f"C{number}",
                evse_id=1,
                remote_start_id=number,
                authorization_reference=f"REF{number}",
            ),
        )
    await charge.start(info={"remoteStartId": 8}, triggerReason="Authorized")
    (transaction,) = books.transactions
    assert (transaction.command_id, transaction.authorization_reference) == ("C8", "REF8")
    await charge.end()

    assert books.only_cdr.auth_method == "COMMAND"
    assert books.only_cdr.token.uid == "FAR"


async def test_tx20_06_q41_a_gap_holds_the_cdr_until_it_is_filled(charge201, books):
    await charge201.start()
    charge201.seq = 3
    await charge201.end()
    assert books.cdrs == []

    charge201.seq = 1
    await charge201.update(1500, -40)
    await charge201.update(2000, -30)

    assert books.only_cdr.energy_wh == 2000


async def test_tx20_06_a_gap_that_is_never_filled_holds_the_cdr_only_so_long(
    backend, charge201, books
):
    await charge201.start()
    charge201.seq = 3
    await charge201.end()

    async with asyncio.timeout(30):
        while not books.cdrs:
            await asyncio.sleep(0.01)
    assert "events_missing" in books.transactions[0].flags


async def test_tx20_07_e31_the_end_may_come_first(charge201, books):
    await charge201.start()
    charge201.seq = 3
    await charge201.end(3000, -1)
    charge201.seq = 1
    await charge201.update(1500, -40)
    await charge201.update(2500, -20)

    assert books.only_session.status is SessionStatus.COMPLETED
    assert books.only_cdr.energy_wh == 2000


async def test_tx20_08_the_same_event_again_has_one_effect(charge201, books):
    await charge201.start()
    charge201.seq = 0
    await charge201.start()

    assert len(books.transactions) == 1


async def test_tx20_09_q44_a_station_that_always_counts_0_loses_nothing(charge201, books):
    await charge201.start()
    for minutes, wh in ((-40, 1500), (-20, 2500)):
        charge201.seq = 0
        await charge201.update(wh, minutes)
    charge201.seq = 0
    await charge201.end()

    assert books.only_cdr.energy_wh == 2000
    assert len(books.transactions[0].samples) == 4


async def test_tx20_10_tx20_11_counting_anew_or_on_is_both_fine(charge201, books):
    await charge201.start(minutes=-60)
    await charge201.end(minutes=-50)
    charge201.id = "tx-2"
    await charge201.start(minutes=-40)
    await charge201.end(minutes=-30)
    charge201.id, charge201.seq = "tx-3", 0
    await charge201.start(minutes=-20)
    await charge201.end(minutes=-10)

    assert len(books.cdrs) == 3


async def test_tx20_12_offline_events_keep_their_own_times(backend, charge201, books):
    status = {"evseId": 1, "connectorId": 1, "connectorStatus": "Available"}
    await charge201.charger.call("StatusNotification", timestamp=backend.at(), **status)
    before = books.evse_states
    await charge201.start(minutes=-300, offline=True)
    assert books.evse_states == before
    await charge201.end(minutes=-200, offline=True)

    cdr = books.only_cdr
    assert (backend.clock - cdr.start_date_time).total_seconds() == 300 * 60
    assert (backend.clock - cdr.end_date_time).total_seconds() == 200 * 60
    assert books.only_session.status is SessionStatus.COMPLETED
    assert books.evse_states == before


async def test_tx20_06_e31_a_charge_that_ended_with_a_gap_is_asked_about(backend, charge201, books):
    await charge201.start()
    charge201.seq = 3
    await charge201.end()

    await backend.until(lambda: charge201.charger.asked)

    assert charge201.charger.asked == [("GetTransactionStatus", {"transactionId": "tx-1"})]


async def test_tx20_13_an_update_without_start_opens_a_transaction(charge201, books):
    await charge201.update(evse={"id": 1, "connectorId": 1}, idToken=TOKEN)

    assert "start_unknown" in books.transactions[0].flags


async def test_tx20_14_an_end_alone_is_a_session_whose_cdr_waits_for_the_operator(
    backend, charge201, books
):
    charge201.seq = 4
    answer = await charge201.end(evse={"id": 1, "connectorId": 1}, idToken=TOKEN)
    await backend.until(lambda: books.cdrs)

    assert answer["idTokenInfo"]["status"] == "Accepted"
    assert books.only_session.status is SessionStatus.COMPLETED
    assert "start_unknown" in books.only_cdr.hold


async def test_tx20_14_an_end_of_nobody_is_kept_without_a_session(charge201, books):
    assert await charge201.end() == {}

    assert not books.transactions[0].open
    assert books.sessions == []


async def test_tx20_15_no_reason_is_local(charge201, books):
    await charge201.start()
    await charge201.end()

    assert books.transactions[0].stopped_reason == "Local"


@pytest.mark.parametrize(
    "state", ["Charging", "EVConnected", "SuspendedEV", "SuspendedEVSE", "Idle"]
)
async def test_tx20_16_every_charging_state_is_kept(charge201, books, state):
    await charge201.start(info={"chargingState": state})

    assert books.transactions[0].states[0][1].value == state


@pytest.mark.parametrize("of", ["2.0.1", "2.1"])
async def test_tx20_16_periods_are_cut_where_the_state_changes(backend, books, of):
    charge = Charge201(backend, await backend.charger(of))
    await charge.start(info={"chargingState": "EVConnected"})
    told = ((-50, "Charging"), (-40, "SuspendedEVSE"), (-30, "SuspendedEV"), (-10, "Idle"))
    for minutes, state in told:
        await charge.update(None, minutes, info={"chargingState": state})
    await charge.end(minutes=-5)

    # Waiting for the site is charging, waiting for the car is parking.
    periods = [(p.time_s, p.parking_s) for p in books.only_cdr.periods]
    assert periods == [(0, 600), (1200, 0), (0, 1500)]


@pytest.mark.parametrize(
    "trigger",
    [
        "Authorized",
        "CablePluggedIn",
        "ChargingRateChanged",
        "ChargingStateChanged",
        "Deauthorized",
        "EnergyLimitReached",
        "EVCommunicationLost",
        "EVConnectTimeout",
        "MeterValueClock",
        "MeterValuePeriodic",
        "TimeLimitReached",
        "Trigger",
        "UnlockCommand",
        "StopAuthorized",
        "EVDeparted",
        "EVDetected",
        "RemoteStop",
        "RemoteStart",
        "AbnormalCondition",
        "SignedDataReceived",
        "ResetCommand",
    ],
)
async def test_tx20_16_every_trigger_is_taken(charge201, books, trigger):
    await charge201.start(triggerReason=trigger)

    assert len(books.transactions) == 1


async def test_tx20_16_every_trigger_of_2_1_is_taken_too(backend, books):
    charge = Charge201(backend, await backend.charger("2.1"))
    known = schema("2.1", "TransactionEvent")["definitions"]["TriggerReasonEnumType"]["enum"]
    assert len(known) > 21
    await charge.start()
    for trigger in known:
        await charge.update(None, triggerReason=trigger)

    assert [t.open for t in books.transactions] == [True]
    assert backend.metrics.ocpp_deviations._series == {}


async def test_tx20_20_a_deauthorised_start_is_no_cdr(charge201, books):
    unknown = {"idToken": "NOBODY", "type": "ISO14443"}
    answer = await charge201.start(idToken=unknown)
    await charge201.end(info={"stoppedReason": "DeAuthorized"}, triggerReason="Deauthorized")

    assert answer["idTokenInfo"]["status"] in {"Invalid", "Unknown"}
    assert books.cdrs == []
    assert books.only_session.status is SessionStatus.INVALID


async def test_tx20_21_an_id_used_again_after_a_reboot_is_a_new_transaction(charge201, books):
    await charge201.start(minutes=-60)
    await charge201.end(minutes=-40)
    charge201.seq = 0
    await charge201.start(minutes=-30)
    await charge201.end(minutes=-20)

    assert len(books.cdrs) == 2


async def test_tx20_21_after_a_restart_a_repeat_belongs_to_the_newest_of_its_id(
    backend, charge201, books
):
    await charge201.start(minutes=-60)
    await charge201.end(minutes=-40)
    charge201.seq = 0
    await charge201.start(minutes=-30)
    await charge201.end(minutes=-20)
    state = backend.memory.stations["CP1"]
    state.load(state.record, state.connectors.values(), [])

    charge201.seq = 0
    await charge201.start(minutes=-30)
    assert [session.status for session in books.sessions] == [SessionStatus.COMPLETED] * 2
    await charge201.end(minutes=-20)
    assert [cdr.energy_wh for cdr in books.cdrs] == [2000, 2000]


@pytest.mark.parametrize("on", [True, False], ids=["counting on", "counting anew"])
async def test_tx20_21_an_id_used_again_while_its_end_was_lost_is_a_new_transaction(
    charge201, books, on
):
    await charge201.start(1000, minutes=-60)
    await charge201.update(2000, minutes=-50)
    if not on:
        charge201.seq = 0
    await charge201.start(5000, minutes=-30)
    await charge201.end(6000, minutes=-20)

    first, second = books.cdrs
    assert (first.energy_wh, second.energy_wh) == (1000, 1000)
    assert "estimated_end" in first.hold
    assert second.hold == ()


async def test_tx20_21_an_id_used_again_ends_the_wait_for_what_is_missing(open_backend):
    backend = await open_backend()
    backend.transactions._settle_time = 3600
    await backend.site("CP1")
    await backend.register("CP1")
    backend.partner()
    await backend.token("TAG")
    charge = Charge201(backend, await backend.charger("2.0.1"))
    await charge.start(1000, minutes=-60)
    charge.seq = 3
    await charge.end(3000, minutes=-50)
    charge.seq = 0
    await charge.start(3000, minutes=-30)

    assert Books(backend).only_cdr.energy_wh == 2000
    assert "events_missing" in Books(backend).only_cdr.flags


@pytest.mark.parametrize("minutes", [-60, -59])
async def test_tx20_08_tx20_21_a_start_told_again_is_no_other_transaction(
    charge201, books, minutes
):
    """Also where its time was corrected meanwhile."""
    await charge201.start(minutes=-60)
    charge201.seq = 0
    await charge201.start(minutes=minutes)
    await charge201.end()

    assert books.only_cdr.energy_wh == 2000


async def test_tx20_08_tx20_21_a_start_told_again_under_way_does_not_cut_the_charge(
    charge201, books
):
    """With the time of now, and the register that it began with."""
    await charge201.start(1000, minutes=-60)
    await charge201.update(2000, minutes=-50)
    charge201.seq = 0
    await charge201.start(1000, minutes=-45)
    charge201.seq = 2
    await charge201.end(3000, minutes=-1)

    assert books.only_cdr.energy_wh == 2000
    assert books.only_cdr.time_s == 59 * 60


async def test_tx20_22_ids_are_compared_exactly_and_may_be_too_long(charge201, books):
    charge201.id = "A" * 40
    await charge201.start()
    charge201.id, charge201.seq = "a" * 40, 0
    await charge201.start(minutes=-50, evse={"id": 2, "connectorId": 1})

    assert len(books.transactions) == 2


async def test_tx20_24_begin_and_end_readings_count_once(charge201, books):
    await charge201.start(1000)
    await charge201.end(
        meterValue=[
            {
                "timestamp": charge201.backend.at(minutes=-60),
                "sampledValue": [{"value": 1000, "context": "Transaction.Begin"}],
            },
            {
                "timestamp": charge201.backend.at(minutes=-1),
                "sampledValue": [{"value": 3000, "context": "Transaction.End"}],
            },
        ]
    )

    assert books.only_cdr.energy_wh == 2000


async def test_tx20_25_what_21_adds_is_accepted_and_kept(backend, books):
    charge = Charge201(backend, await backend.charger("2.1"))
    await charge.start(info={"transactionLimit": {"maxEnergy": 10000}, "operationMode": "Idle"})
    nothing = {"currency": "EUR", "typeOfCost": "NormalCost", "total": {"exclTax": 0}}
    usage = {"energy": 2, "chargingTime": 3540, "idleTime": 0}
    await charge.end(costDetails={"totalCost": nothing, "totalUsage": usage})

    assert books.only_cdr.energy_wh == 2000
    assert backend.metrics.ocpp_deviations._series == {}
    started, ended = [
        frame.payload async for frame in backend.store.frames("CP1", action="TransactionEvent")
    ]
    assert '"costDetails"' in ended
    assert '"transactionLimit"' in started


async def test_tx20_26_two_evses_do_not_mix(backend, books, charge201):
    from tests.ocpp.conftest import Charge201

    await backend.site("CP1", evses=2)
    await backend.register("CP1")
    other = Charge201(backend, charge201.charger)
    other.id = "tx-2"
    await charge201.start(1000, -60)
    await other.start(50_000, -60, evse={"id": 2, "connectorId": 1})
    await charge201.update(1500, -40)
    await other.update(50_100, -40)
    await charge201.end(3000)
    await other.end(50_300)

    assert sorted(cdr.energy_wh for cdr in books.cdrs) == [300, 2000]
