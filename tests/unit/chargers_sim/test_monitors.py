"""Monitors of OCPP 2.x fire: thresholds, deltas, periods, their levels, bases and reports."""

from typing import Any

import pytest

from chargers_sim.live import Station
from tests.unit.chargers_sim.test_maintenance import ask

SENSOR = {
    "component": {"name": "ExternalTemperatureSensor"},
    "variable": {"name": "Temperature"},
}
POWER = {"component": {"name": "EVSE", "evse": {"id": 1}}, "variable": {"name": "Power"}}
TEMPERATURE = "ExternalTemperatureSensor.Temperature"


def monitor(place: dict[str, Any], kind: str, value: float, severity: int = 5, **more: Any) -> Any:
    return {**place, "type": kind, "value": value, "severity": severity, **more}


async def put(loose, settle, *monitors: Any) -> list[dict[str, Any]]:
    answer = await ask(loose, settle, "SetVariableMonitoring", {"setMonitoringData": monitors})
    return answer["setMonitoringResult"]


def told(loose) -> list[tuple[Any, ...]]:
    data = [d for e in loose.of("NotifyEvent") for d in e["eventData"]]
    return [
        (d["variableMonitoringId"], d["trigger"], d["actualValue"], d.get("cleared")) for d in data
    ]


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
async def test_thresholds_fire_once_and_are_cleared(loose, settle, version) -> None:
    """N07: UpperThreshold and LowerThreshold."""
    async with Station(loose.url, "CP1", ocpp=version) as station:
        results = await put(
            loose,
            settle,
            monitor(SENSOR, "UpperThreshold", 60),
            monitor(SENSOR, "LowerThreshold", 0),
        )
        upper, lower = (r["id"] for r in results)
        for value in ("61", "65", "60", "-4", "3"):
            station.force_variable(TEMPERATURE, value)
        await station.settle()

    assert [r["status"] for r in results] == ["Accepted", "Accepted"]
    assert told(loose) == [
        (upper, "Alerting", "61", False),
        (upper, "Alerting", "60", True),
        (lower, "Alerting", "-4", False),
        (lower, "Alerting", "3", True),
    ]
    event = loose.of("NotifyEvent")[0]["eventData"][0]
    assert event["eventNotificationType"] == "CustomMonitor"
    assert event["component"] == SENSOR["component"]
    ids = [d["eventId"] for e in loose.of("NotifyEvent") for d in e["eventData"]]
    assert len(set(ids)) == len(ids)


async def test_a_threshold_fires_by_what_the_station_does(loose, settle) -> None:
    """The power of an EVSE goes up and down with a charge; the event names the transaction."""
    async with Station(loose.url, "CP1", ocpp="2.0.1") as station:
        await put(loose, settle, monitor(POWER, "UpperThreshold", 5_000))
        await station.plug()
        await station.swipe("TAG1")
        await station.charge(kwh=5, seconds=1800)
        await station.stop()

    first, second = loose.of("NotifyEvent")
    assert first["eventData"][0]["actualValue"] == "10000"
    assert (
        first["eventData"][0]["transactionId"]
        == loose.events()[0]["transactionInfo"]["transactionId"]
    )
    assert second["eventData"][0]["cleared"] is True


async def test_a_delta_fires_at_each_such_step(loose, settle) -> None:
    """N07: Delta on a number and on a word."""
    state = {"component": {"name": "ChargingStation"}, "variable": {"name": "AvailabilityState"}}
    async with Station(loose.url, "CP1", ocpp="2.0.1") as station:
        results = await put(loose, settle, monitor(SENSOR, "Delta", 5), monitor(state, "Delta", 1))
        number, word = (r["id"] for r in results)
        for value in ("28", "30", "34", "24"):
            station.force_variable(TEMPERATURE, value)
        await station.set_operative(operative=False)
        await station.settle()

    assert told(loose) == [
        (number, "Delta", "30", None),
        (number, "Delta", "24", None),
        (word, "Delta", "Unavailable", None),
    ]


@pytest.mark.parametrize("kind", ["Periodic", "PeriodicClockAligned"])
async def test_a_period_fires_until_it_is_cleared(loose, settle, kind) -> None:
    """N08: while station time passes."""
    async with Station(loose.url, "CP1", ocpp="2.0.1") as station:
        (result,) = await put(loose, settle, monitor(SENSOR, kind, 60))
        await station.advance(240)
        fired = len(told(loose))
        times = [e["generatedAt"] for e in loose.of("NotifyEvent")]
        cleared = await ask(loose, settle, "ClearVariableMonitoring", {"id": [result["id"], 99]})
        await station.advance(240)

    assert fired == 4
    assert len(told(loose)) == fired
    assert {t[1] for t in told(loose)} == {"Periodic"}
    if kind == "PeriodicClockAligned":
        assert all(t.endswith(":00Z") for t in times)
    assert [c["status"] for c in cleared["clearMonitoringResult"]] == ["Accepted", "NotFound"]


async def test_a_transaction_monitor_sleeps_between_transactions(loose, settle) -> None:
    async with Station(loose.url, "CP1", ocpp="2.0.1") as station:
        await put(loose, settle, monitor(SENSOR, "Periodic", 60, transaction=True))
        await station.advance(180)
        before = len(told(loose))
        await station.plug()
        await station.swipe("TAG1")
        await station.advance(180)

    assert (before, len(told(loose))) == (0, 3)


async def test_the_level_keeps_lesser_events_back(loose, settle) -> None:
    """N05: SetMonitoringLevel."""
    async with Station(loose.url, "CP1", ocpp="2.0.1") as station:
        await put(loose, settle, monitor(SENSOR, "UpperThreshold", 60, severity=6))
        good = await ask(loose, settle, "SetMonitoringLevel", {"severity": 5})
        bad = await ask(loose, settle, "SetMonitoringLevel", {"severity": 11})
        station.force_variable(TEMPERATURE, "70")
        await station.settle()

    assert (good["status"], bad["status"]) == ("Accepted", "Rejected")
    assert told(loose) == []


async def test_the_base_removes_what_was_added(loose, settle) -> None:
    """N03: SetMonitoringBase HardWiredOnly, FactoryDefault; the maker's monitor is of another kind."""
    async with Station(loose.url, "CP1", ocpp="2.1") as station:
        await put(loose, settle, monitor(SENSOR, "UpperThreshold", 60))
        await ask(loose, settle, "SetMonitoringBase", {"monitoringBase": "HardWiredOnly"})
        station.force_variable(TEMPERATURE, "85")
        station.force_variable(TEMPERATURE, "20")
        none = await ask(loose, settle, "GetMonitoringReport", {"requestId": 1})
        await ask(loose, settle, "SetMonitoringBase", {"monitoringBase": "FactoryDefault"})
        station.force_variable(TEMPERATURE, "85")
        await ask(loose, settle, "GetMonitoringReport", {"requestId": 2})
        await station.settle()

    assert none["status"] == "EmptyResultSet"
    (event,) = loose.of("NotifyEvent")
    assert event["eventData"][0]["eventNotificationType"] == "PreconfiguredMonitor"
    (report,) = loose.of("NotifyMonitoringReport")
    assert report["monitor"][0]["variableMonitoring"][0]["value"] == 80


async def test_reports_are_chosen_by_kind_and_come_in_parts(loose, settle) -> None:
    """N02: monitoringCriteria, componentVariable, tbc."""
    many = [monitor(SENSOR, "Delta", 5, severity=s) for s in range(10)]
    more = [monitor(POWER, "Delta", 5, severity=s) for s in range(10)]
    third = [monitor(POWER, "UpperThreshold", 5, severity=s) for s in range(10)]
    async with Station(loose.url, "CP1", ocpp="2.0.1") as station:
        await put(loose, settle, *many, *more, *third)
        await ask(loose, settle, "GetMonitoringReport", {"requestId": 1})
        await station.settle()
        whole = loose.of("NotifyMonitoringReport")
        chosen = {"requestId": 2, "monitoringCriteria": ["ThresholdMonitoring"]}
        await ask(loose, settle, "GetMonitoringReport", chosen)
        named = {"requestId": 3, "componentVariable": [SENSOR]}
        await ask(loose, settle, "GetMonitoringReport", named)
        await station.settle()

    reports = loose.of("NotifyMonitoringReport")
    assert [(r["seqNo"], r["tbc"]) for r in whole] == [(0, True), (1, False)]
    # The maker's own threshold is there too.
    counts = {n: sum(len(r["monitor"]) for r in reports if r["requestId"] == n) for n in (1, 2, 3)}
    assert counts == {1: 31, 2: 11, 3: 11}


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (monitor({**SENSOR, "variable": {"name": "Mood"}}, "Delta", 1), "UnknownVariable"),
        (monitor({**SENSOR, "component": {"name": "Soul"}}, "Delta", 1), "UnknownComponent"),
        (monitor(SENSOR, "Periodic", 0), "Rejected"),
        (monitor(SENSOR, "Delta", 1, id=77), "Rejected"),
        (monitor(SENSOR, "Delta", 1, severity=12), "Rejected"),
        (monitor(SENSOR, "UpperThreshold", 90, severity=2), "Duplicate"),
        (
            monitor(
                {"component": {"name": "EVSE", "evse": {"id": 1}}, "variable": {"name": "Problem"}},
                "UpperThreshold",
                1,
            ),
            "UnsupportedMonitorType",
        ),
        (
            monitor(
                {"component": {"name": "TxCtrlr"}, "variable": {"name": "TxStartPoint"}},
                "Delta",
                1,
            ),
            "Rejected",
        ),
    ],
)
async def test_a_monitor_that_cannot_be_is_refused_with_the_reason(
    loose, settle, asked, status
) -> None:
    """N04."""
    async with Station(loose.url, "CP1", ocpp="2.0.1"):
        (result,) = await put(loose, settle, asked)

    assert result["status"] == status
