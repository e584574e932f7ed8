"""OCPP 2.1: dynamic profiles, V2G setpoints, DER controls, battery swap, payments, streams."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from chargers_sim.car import Car
from chargers_sim.live import Station
from chargers_sim.steps import run_step
from tests.unit.chargers_sim.test_iso15118 import clean
from tests.unit.chargers_sim.test_maintenance import ask


def profile(kind: str = "Absolute", purpose: str = "TxDefaultProfile", **period: Any) -> Any:
    more = {"dynUpdateInterval": 60} if kind == "Dynamic" else {}
    start = {"startSchedule": "2020-01-01T00:00:00Z"} if kind == "Absolute" else {}
    schedule = {
        "id": 1,
        **start,
        "chargingRateUnit": "W",
        "chargingSchedulePeriod": [{"startPeriod": 0, **period}],
    }
    return {
        "evseId": 1,
        "chargingProfile": {
            "id": 6,
            "stackLevel": 0,
            "chargingProfilePurpose": purpose,
            "chargingProfileKind": kind,
            "chargingSchedule": [schedule],
            **more,
        },
    }


async def charging(station: Station, car: Car) -> None:
    await station.plug(car=car)
    await station.swipe("TAG1")


async def test_a_dynamic_profile_is_pulled_at_its_interval(loose, settle) -> None:
    """K28: dynUpdateInterval, PullDynamicScheduleUpdate; the answer is obeyed."""
    async with Station(loose.url, "CP1", ocpp="2.1") as station:
        await charging(station, Car())
        await ask(loose, settle, "SetChargingProfile", profile("Dynamic", limit=9_000))
        before = station.model.offer_w(station.model.outlet(1))
        for _ in range(3):
            await station.advance(60)
            count = len(loose.of("PullDynamicScheduleUpdate"))
            await settle(lambda count=count: station.model.alarms.get("pull 6", 0) > station.now)
            assert count <= len(loose.of("PullDynamicScheduleUpdate"))
        after = station.model.offer_w(station.model.outlet(1))

    assert (before, after) == (9_000, 2_000)
    assert len(loose.of("PullDynamicScheduleUpdate")) == 3


async def test_a_setpoint_below_zero_takes_energy_out_of_the_car(loose, settle) -> None:
    """Q: V2X with a central setpoint: the car gives until it has no more to spare."""
    car = Car(battery_wh=10_000, soc=50, least_soc=20, discharge_w=4_000)
    async with Station(loose.url, "CP1", ocpp="2.1") as station:
        await charging(station, car)
        meter = station.model.outlet(1).meter
        taken = meter.register_wh()
        await ask(
            loose,
            settle,
            "SetChargingProfile",
            profile(setpoint=-3_000, operationMode="CentralSetpoint"),
        )
        await station.advance(1_800)
        half_hour = meter.exported_wh()
        await station.advance(7_200)

        assert half_hour == 1_500
        assert meter.exported_wh() == 3_000
        assert meter.register_wh() == taken


async def test_priority_lifts_the_driver_over_the_others(loose, settle) -> None:
    """K21: a PriorityCharging profile counts while UsePriorityCharging says so."""
    async with Station(loose.url, "CP1", ocpp="2.1") as station:
        await charging(station, Car())
        slow = profile(limit=2_000)
        fast = profile(purpose="PriorityCharging", limit=8_000)
        fast["chargingProfile"]["id"] = 7
        for each in (slow, fast):
            await ask(loose, settle, "SetChargingProfile", each)
        ref = loose.events()[0]["transactionInfo"]["transactionId"]
        offers = [station.model.offer_w(station.model.outlet(1))]
        for active in (True, False):
            request = {"transactionId": ref, "activate": active}
            await ask(loose, settle, "UsePriorityCharging", request)
            offers.append(station.model.offer_w(station.model.outlet(1)))
        await station.settle()

    assert offers == [2_000, 8_000, 2_000]
    assert [p["activated"] for p in loose.of("NotifyPriorityCharging")] == [True, False]


async def test_a_limit_from_outside_is_told_and_lifted(loose) -> None:
    """K11, K13: NotifyChargingLimit, ClearedChargingLimit."""
    async with Station(loose.url, "CP1", ocpp="2.0.1") as station:
        await charging(station, Car())
        await run_step(station, "external-limit", {"watts": 3_000})
        held = station.model.offer_w(station.model.outlet(1))
        await run_step(station, "external-limit", {})
        free = station.model.offer_w(station.model.outlet(1))

        assert clean(station)
    assert (held, free) == (3_000, 22_000)
    assert loose.of("NotifyChargingLimit")[0]["chargingLimit"] == {"chargingLimitSource": "EMS"}
    assert loose.of("ClearedChargingLimit") == [{"chargingLimitSource": "EMS"}]


def control(number: str, priority: int = 1, **more: Any) -> dict[str, Any]:
    body = {"priority": priority, "displacement": 0.95, "excitation": True, **more}
    return {
        "isDefault": "startTime" not in more,
        "controlId": number,
        "controlType": "FixedPFInject",
        "fixedPFInject": body,
    }


async def test_der_controls_are_set_reported_superseded_and_cleared(loose, settle) -> None:
    """R04: SetDERControl, GetDERControl with ReportDERControl, ClearDERControl, NotifyDERAlarm."""
    async with Station(loose.url, "CP1", ocpp="2.1") as station:
        first = await ask(loose, settle, "SetDERControl", control("A", 5))
        second = await ask(loose, settle, "SetDERControl", control("B", 1))
        wrong = await ask(
            loose,
            settle,
            "SetDERControl",
            {"isDefault": True, "controlId": "C", "controlType": "VoltVar"},
        )
        got = await ask(loose, settle, "GetDERControl", {"requestId": 4})
        await station.settle()
        gone = await ask(loose, settle, "ClearDERControl", {"isDefault": True, "controlId": "A"})
        none = await ask(loose, settle, "ClearDERControl", {"isDefault": True, "controlId": "A"})
        alarm = {"control": "FixedPFInject", "fault": "OverVoltage"}
        await run_step(station, "der-alarm", alarm)

        assert clean(station)
    assert first == {"status": "Accepted"}
    assert second == {"status": "Accepted", "supersededIds": ["A"]}
    assert wrong["status"] == "Rejected"
    assert got["status"] == "Accepted"
    reports = loose.of("ReportDERControl")
    assert [r["tbc"] for r in reports] == [True, False]
    assert [r["fixedPFInject"][0]["isSuperseded"] for r in reports] == [True, False]
    assert (gone["status"], none["status"]) == ("Accepted", "NotFound")
    assert loose.of("NotifyDERAlarm")[0]["gridEventFault"] == "OverVoltage"


async def test_a_scheduled_der_control_tells_its_begin_and_end(loose, settle) -> None:
    """R04: NotifyDERStartStop."""
    async with Station(loose.url, "CP1", ocpp="2.1") as station:
        start = datetime.fromtimestamp(station.now / 1000, UTC) + timedelta(seconds=60)
        request = control("A", startTime=start.isoformat(), duration=120)
        await ask(loose, settle, "SetDERControl", request)
        await station.advance(30)
        early = len(loose.of("NotifyDERStartStop"))
        await station.advance(300)

        assert clean(station)
    told = [(p["controlId"], p["started"]) for p in loose.of("NotifyDERStartStop")]
    assert early == 0
    assert told == [("A", True), ("A", False)]


async def test_batteries_are_swapped(loose, settle) -> None:
    """S01 to S03: BatterySwap by hand and at the server's request."""
    asked = {"requestId": 12, "idToken": {"idToken": "TAG1", "type": "ISO14443"}}
    async with Station(loose.url, "CP1", ocpp="2.1") as station:
        await run_step(station, "battery-swap", {"tag": "TAG1"})
        answer = await ask(loose, settle, "RequestBatterySwap", asked)
        await settle(lambda: len(loose.of("BatterySwap")) == 2)

        assert clean(station)
    put, taken = loose.of("BatterySwap")
    assert answer["status"] == "Accepted"
    assert (put["eventType"], taken["eventType"]) == ("BatteryIn", "BatteryOut")
    assert taken["requestId"] == 12


async def test_payments_and_signals_have_their_messages(loose, settle) -> None:
    """C20, C23, C25, R: NotifySettlement, NotifyWebPaymentStarted, VatNumberValidation, AFRRSignal."""
    async with Station(loose.url, "CP1", ocpp="2.1") as station:
        await run_step(station, "settle-payment", {"amount": "12.34"})
        vat = await run_step(station, "validate-vat", {"number": "NL123456789B01"})
        await run_step(station, "web-payment", {})
        web = await ask(loose, settle, "NotifyWebPaymentStarted", {"evseId": 1, "timeout": 60})
        signal = {"timestamp": "2026-01-01T00:00:00Z", "signal": -3}
        answer = await ask(loose, settle, "AFRRSignal", signal)

        assert clean(station)
    assert loose.of("NotifySettlement")[0]["settlementAmount"] == 12.34
    assert vat["vatNumber"] == "NL123456789B01"
    assert loose.of("NotifyWebPaymentStarted")[0]["evseId"] == 1
    assert (web, answer) == ({}, {"status": "Accepted"})


async def test_a_periodic_monitor_goes_over_its_stream(loose, settle) -> None:
    """N11, N15: OpenPeriodicEventStream; then NotifyPeriodicEventStream and no NotifyEvent."""
    place = {"component": {"name": "EVSE", "evse": {"id": 1}}, "variable": {"name": "Power"}}
    asked = {**place, "type": "Periodic", "value": 10, "severity": 8}

    def sent() -> list[Any]:
        return [json.loads(t) for t in loose.raw if '"NotifyPeriodicEventStream"' in str(t)]

    async with Station(loose.url, "CP1", ocpp="2.1") as station:
        answer = await ask(loose, settle, "SetVariableMonitoring", {"setMonitoringData": [asked]})
        number = answer["setMonitoringResult"][0]["id"]
        await run_step(station, "open-stream", {"stream": 1, "monitor": number})
        await station.advance(30)
        await settle(lambda: len(sent()) == 3)

    assert loose.of("NotifyEvent") == []
    assert {f[0] for f in sent()} == {6}
    assert sent()[0][3]["data"][0]["v"] == "0"
