from decimal import Decimal
from typing import Any

import pytest
from waiting import until

from chargers_sim.car import Battery, Car
from chargers_sim.errors import NotPossible, Unreachable
from chargers_sim.faults import Faults, Rule
from chargers_sim.live import Station
from chargers_sim.template import load_template


@pytest.mark.parametrize("lean", [False, True])
async def test_a_1_6_charge_is_told_with_exact_energy_and_times(system, lean) -> None:
    """TX16-01: one transaction, kWh = (stop - start) / 1000."""
    async with Station(system.url, "CP1", ocpp="1.6", lean=lean) as station:
        await station.plug()
        assert await station.swipe("TAG1") == "Accepted"
        await station.charge(kwh="12.345", seconds=3600, idle_seconds=900)
        await station.stop()
        await station.unplug()

    (start,) = system.of("StartTransaction")
    (stop,) = system.of("StopTransaction")
    statuses = [s["status"] for s in system.of("StatusNotification") if s["connectorId"] == 1]
    assert stop["meterStop"] - start["meterStart"] == 12345
    assert stop["idTag"] == "TAG1"
    assert statuses == [
        "Available",
        "Preparing",
        "Charging",
        "SuspendedEV",
        "Finishing",
        "Available",
    ]
    assert len(system.of("MeterValues")) == 75


async def test_a_2_0_1_charge_numbers_its_events_and_ends_exactly(system) -> None:
    """E01, J02: seqNo from 0 without a gap, energy to the Wh."""
    async with Station(system.url, "CP2", ocpp="2.0.1") as station:
        await station.plug()
        await station.swipe("TAG1")
        await station.charge(kwh="12.345", seconds=3600)
        await station.stop()
        await station.unplug()

    events = system.events()
    begin = events[0]["meterValue"][0]["sampledValue"][0]["value"]
    end = events[-1]["meterValue"][-1]["sampledValue"][0]["value"]
    statuses = [s["connectorStatus"] for s in system.of("StatusNotification")]
    assert statuses == ["Available", "Occupied", "Available"]
    assert [e["seqNo"] for e in events] == list(range(len(events)))
    assert [events[0]["eventType"], events[-1]["eventType"]] == ["Started", "Ended"]
    assert events[-1]["transactionInfo"]["stoppedReason"] == "Local"
    assert end - begin == 12345


async def test_a_car_that_carries_its_contract_authorizes_itself(loose) -> None:
    """C07: Authorize with an eMAID and the hashes of the contract certificate."""
    async with Station(loose.url, "CP1", ocpp="2.0.1") as station:
        await station.plug_and_charge("NL-ABC-C12345678-X")
        await station.charge(kwh=1, seconds=60)
        await station.stop()

    (asked,) = loose.of("Authorize")
    assert asked["idToken"] == {"idToken": "NL-ABC-C12345678-X", "type": "eMAID"}
    assert asked["iso15118CertificateHashData"][0]["hashAlgorithm"] == "SHA256"
    assert loose.events()[0]["idToken"]["type"] == "eMAID"


async def test_a_status_may_come_as_an_event_and_energy_with_a_multiplier(loose) -> None:
    template = load_template("status-by-events")
    async with Station(loose.url, "CP1", ocpp="2.0.1", template=template) as station:
        await station.plug()
        await station.swipe("TAG1")
        await station.charge(kwh="1.5", seconds=60)
        await station.stop()

    ended = loose.events()[-1]["meterValue"][-1]["sampledValue"][0]
    values = [e["eventData"][0]["actualValue"] for e in loose.of("NotifyEvent")]
    assert values == ["Available", "Occupied"]
    assert not loose.of("StatusNotification")
    assert (ended["value"], ended["unitOfMeasure"]) == (1.5, {"unit": "Wh", "multiplier": 3})


async def test_a_refused_token_starts_nothing(system) -> None:
    async with Station(system.url, "CP1") as station:
        await station.plug()
        status = await station.swipe("BLOCKED")

        assert status == "Invalid"
        assert not system.of("StartTransaction")
        with pytest.raises(NotPossible):
            await station.stop()


@pytest.mark.parametrize(("resend", "ids"), [("same", 1), ("new", 2)])
async def test_a_start_whose_answer_is_cut_is_sent_again(system, resend, ids) -> None:
    """TX16-04: the socket is cut after the frame left; the same content comes again."""
    faults = Faults([Rule(do="cut-after-send", action="StartTransaction", times=1, seconds=0.05)])
    async with Station(
        system.url, "CP1", faults=faults, resend=resend, reconnect=(0.01, 0.1)
    ) as station:
        await station.plug()
        await station.swipe("TAG1")
        await station.charge(kwh=1, seconds=60)
        await station.stop()
        operations = station.journal.operations

    starts = system.of("StartTransaction")
    assert starts[0] == starts[-1]
    assert len(set(operations[0]["message_ids"])) == ids
    assert [o["outcome"] for o in operations] == ["ok", "ok"]


async def test_an_offline_charge_is_replayed_in_order(system) -> None:
    """TX16-16: start, values and stop come late, with their own timestamps."""
    async with Station(system.url, "CP1", reconnect=(0.01, 0.1)) as station:
        station.tokens.allow_offline_unknown = True
        await station.cut()
        await station.plug()
        await station.swipe("TAG1")
        await station.charge(kwh=2, seconds=600)
        await station.stop()
        assert not system.of("StartTransaction")
        await station.reconnect()

    actions = [a for _, a, _ in system.calls if a in {"StartTransaction", "StopTransaction"}]
    (stop,) = system.of("StopTransaction")
    assert actions == ["StartTransaction", "StopTransaction"]
    assert stop["transactionId"] == 1
    assert system.of("BootNotification") == system.of("BootNotification")[:1]


async def test_power_loss_ends_the_transaction_at_the_moment_of_the_cut(system) -> None:
    """032_1: boot, then StopTransaction(PowerLoss)."""
    async with Station(system.url, "CP1", reconnect=(0.01, 0.1)) as station:
        await station.plug()
        await station.swipe("TAG1")
        await station.charge(kwh=5, seconds=1800)
        await station.lose_power()
        await station.advance(7200)
        await station.regain_power()

    (stop,) = system.of("StopTransaction")
    assert stop["reason"] == "PowerLoss"
    assert stop["meterStop"] == 5000
    assert len(system.of("BootNotification")) == 2


async def test_remote_start_and_stop_run_a_transaction_1_6(system) -> None:
    async with Station(system.url, "CP1") as station:
        await station.plug()
        answer = await system.ask("CP1", "RemoteStartTransaction", id_tag="TAG9", connector_id=1)
        started = await station.wait_for("transaction_started")
        await station.charge(kwh=3, seconds=600)
        await system.ask("CP1", "RemoteStopTransaction", transaction_id=started["transactionId"])
        ended = await station.wait_for("transaction_ended")

    assert answer.status == "Accepted"
    assert (ended["reason"], ended["energy_wh"]) == ("Remote", "3000")


async def test_remote_start_and_stop_run_a_transaction_2_0_1(system) -> None:
    async with Station(system.url, "CP1", ocpp="2.0.1") as station:
        await station.plug()
        await system.ask(
            "CP1",
            "RequestStartTransaction",
            id_token={"id_token": "TAG9", "type": "Central"},
            remote_start_id=77,
            evse_id=1,
        )
        started = await station.wait_for("transaction_started")
        await system.ask("CP1", "RequestStopTransaction", transaction_id=started["transactionId"])
        await station.wait_for("transaction_ended")

    first, last = system.events()[0], system.events()[-1]
    assert first["triggerReason"] == "RemoteStart"
    assert first["transactionInfo"]["remoteStartId"] == 77
    assert last["transactionInfo"]["stoppedReason"] == "Remote"


async def test_a_wrong_password_is_one_clear_line(system) -> None:
    system.passwords["CP1"] = "right"

    station = Station(system.url, "CP1", password="wrong")
    station.start()
    await until(lambda: station.link.problem)
    with pytest.raises(Unreachable, match="401"):
        await station.online(timeout=0)
    await station.close()


async def test_a_reset_ends_transactions_and_boots_again(system) -> None:
    async with Station(system.url, "CP1", reconnect=(0.01, 0.1)) as station:
        await station.plug()
        await station.swipe("TAG1")
        await system.ask("CP1", "Reset", type="Soft")
        await station.wait_for("transaction_ended")
        await station.wait_for("booted")
        await station.wait_for("booted")

    assert system.of("StopTransaction")[0]["reason"] == "SoftReset"
    assert len(system.of("BootNotification")) == 2


async def test_keys_are_read_and_written(system) -> None:
    """019, 021: the sample interval changes what the station sends."""
    async with Station(system.url, "CP1") as station:
        await system.ask("CP1", "ChangeConfiguration", key="MeterValueSampleInterval", value="600")
        read = await system.ask("CP1", "GetConfiguration", key=["MeterValueSampleInterval", "Foo"])
        bad = await system.ask("CP1", "ChangeConfiguration", key="ConnectionTimeOut", value="x")
        await station.plug()
        await station.swipe("TAG1")
        await station.charge(kwh=6, seconds=3600)

    assert read.configuration_key[0]["value"] == "600"
    assert read.unknown_key == ["Foo"]
    assert bad.status == "Rejected"
    assert len(system.of("MeterValues")) == 6


async def test_variables_are_read_written_and_reported(system) -> None:
    """B05, B06, B07: SetVariables, GetVariables, GetBaseReport in parts."""
    item = {"component": {"name": "SampledDataCtrlr"}, "variable": {"name": "TxUpdatedInterval"}}
    async with Station(system.url, "CP1", ocpp="2.0.1") as station:
        done = await system.ask(
            "CP1", "SetVariables", set_variable_data=[{**item, "attribute_value": "600"}]
        )
        read = await system.ask("CP1", "GetVariables", get_variable_data=[item])
        await system.ask("CP1", "GetBaseReport", request_id=5, report_base="FullInventory")
        await station.settle()

    reports = system.of("NotifyReport")
    assert done.set_variable_result[0]["attribute_status"] == "Accepted"
    assert read.get_variable_result[0]["attribute_value"] == "600"
    assert [r["tbc"] for r in reports] == [True] * (len(reports) - 1) + [False]


async def test_a_pending_station_sends_nothing_until_accepted(system, settle) -> None:
    """BO-03: no StatusNotification before the boot is accepted."""
    system.boot_status = "Pending"
    station = Station(system.url, "CP1")
    station.start()
    await station.wait_for("booted")
    assert not system.of("StatusNotification")
    system.boot_status = "Accepted"
    await system.ask("CP1", "TriggerMessage", requested_message="BootNotification")
    await station.online()

    assert {s["connectorId"] for s in system.of("StatusNotification")} == {0, 1}
    await station.close()


async def test_plans_deliver_to_the_wh_however_time_is_cut(system) -> None:
    async with Station(system.url, "CP1") as station:
        await station.plug()
        await station.swipe("TAG1")
        await station.charge(kwh="0.001", seconds=7)
        await station.charge(kwh="7.777", seconds=3333)
        await station.charge(kwh="0.222", seconds=1)

        assert station.model.outlet(1).meter.register_wh() == Decimal(8000)


async def test_a_charging_profile_is_obeyed_and_pausing_shows_suspended_evse(system) -> None:
    """057: a TxProfile holds back the car; 0 A suspends the charge by the station."""

    def profile(number: int, *limits: tuple[int, float]) -> dict[str, Any]:
        return {
            "charging_profile_id": number,
            "stack_level": 0,
            "charging_profile_purpose": "TxProfile",
            "charging_profile_kind": "Relative",
            "charging_schedule": {
                "charging_rate_unit": "W",
                "charging_schedule_period": [
                    {"start_period": start, "limit": limit} for start, limit in limits
                ],
            },
        }

    async with Station(system.url, "CP1") as station:
        await station.plug(draw=Battery(Car(ramp_seconds=0)))
        await station.swipe("TAG1")
        answer = await system.ask(
            "CP1",
            "SetChargingProfile",
            connector_id=1,
            cs_charging_profiles=profile(1, (0, 6000.0), (600, 0.0), (1200, 3000.0)),
        )
        await station.advance(1800)
        schedule = await system.ask("CP1", "GetCompositeSchedule", connector_id=1, duration=600)
        meter_wh = station.model.outlet(1).meter.register_wh()
        await station.stop()

    statuses = [s["status"] for s in system.of("StatusNotification") if s["connectorId"] == 1]
    assert answer.status == "Accepted"
    assert meter_wh == 1000 + 500
    assert statuses[2:6] == ["Charging", "SuspendedEVSE", "Charging", "Finishing"]
    assert schedule.charging_schedule["charging_schedule_period"][0]["limit"] == Decimal("4.3")


async def test_profiles_of_2_0_1_are_reported_and_cleared(system) -> None:
    """K09, K10: GetChargingProfiles, ClearChargingProfile."""
    profile = {
        "id": 4,
        "stack_level": 1,
        "charging_profile_purpose": "ChargingStationMaxProfile",
        "charging_profile_kind": "Absolute",
        "charging_schedule": [
            {
                "id": 1,
                "start_schedule": "2020-01-01T00:00:00Z",
                "charging_rate_unit": "W",
                "charging_schedule_period": [{"start_period": 0, "limit": 7000.0}],
            }
        ],
    }
    async with Station(system.url, "CP1", ocpp="2.0.1") as station:
        await system.ask("CP1", "SetChargingProfile", evse_id=0, charging_profile=profile)
        await system.ask("CP1", "GetChargingProfiles", request_id=9, charging_profile={})
        await station.settle()
        offered = station.model.offer_w(station.model.outlet(1))
        cleared = await system.ask("CP1", "ClearChargingProfile", charging_profile_id=4)
        again = await system.ask("CP1", "ClearChargingProfile", charging_profile_id=4)

    assert offered == 7000
    assert system.of("ReportChargingProfiles")[0]["chargingProfile"][0]["id"] == 4
    assert (cleared.status, again.status) == ("Accepted", "Unknown")
