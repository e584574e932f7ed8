"""What configuration keys (1.6) and variables (2.x) do to a station's behaviour."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chargers_sim.errors import BadInput, NotPossible
from chargers_sim.live import Station
from chargers_sim.outlet import Token
from chargers_sim.station import Model
from chargers_sim.template import Template

ENERGY = "Energy.Active.Import.Register"
LATER = (datetime.now(UTC) + timedelta(hours=5)).strftime("%Y-%m-%dT%H:%M:%SZ")


def station(system: Any, ocpp: str = "1.6", connectors: int = 1, **configuration: str) -> Station:
    named = {name.replace("__", "."): value for name, value in configuration.items()}
    plain = Template(configuration=named)
    return Station(
        system.url,
        "CP1",
        ocpp=ocpp,
        connectors=connectors,
        template=None if connectors > 1 else plain,
        reconnect=(0.01, 0.1),
    )


async def charge(station: Station, seconds: int = 600) -> None:
    await station.plug()
    await station.swipe("TAG1")
    await station.charge(kwh=3, seconds=seconds)
    await station.stop()


def contexts(data: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(d["sampledValue"][0]["context"], d["sampledValue"][0]["measurand"]) for d in data]


async def test_a_stop_carries_the_samples_of_its_charge_1_6(system) -> None:
    """StopTxnSampledData and StopTxnAlignedData at their intervals, begin and end."""
    keys = {
        "StopTxnSampledData": ENERGY,
        "StopTxnAlignedData": "Power.Active.Import",
        "MeterValueSampleInterval": "200",
        "ClockAlignedDataInterval": "300",
    }
    async with station(system, **keys) as made:
        await charge(made)

    (stop,) = system.of("StopTransaction")
    told = contexts(stop["transactionData"])
    assert told[0] == ("Transaction.Begin", ENERGY)
    assert told[-1] == ("Transaction.End", ENERGY)
    assert told.count(("Sample.Periodic", ENERGY)) == 3
    assert told.count(("Sample.Clock", "Power.Active.Import")) == 2
    assert stop["transactionData"][-1]["sampledValue"][0]["value"] == "3000"


async def test_a_stop_may_carry_nothing_1_6(system) -> None:
    async with station(system, StopTxnSampledData="") as made:
        await charge(made)

    assert "transactionData" not in system.of("StopTransaction")[0]


async def test_an_end_carries_what_its_variables_say_2_0_1(system) -> None:
    """SampledDataCtrlr.TxEndedInterval, AlignedDataCtrlr.TxEndedInterval and their measurands."""
    variables = {
        "SampledDataCtrlr__TxEndedInterval": "200",
        "AlignedDataCtrlr__TxEndedInterval": "300",
        "AlignedDataCtrlr__TxEndedMeasurands": "Voltage",
    }
    async with station(system, "2.0.1", **variables) as made:
        await charge(made)

    told = [c for c, _ in contexts(system.events()[-1]["meterValue"])]
    assert told[0] == "Transaction.Begin"
    assert told[-1] == "Transaction.End"
    assert told.count("Sample.Periodic") == 3
    assert told.count("Sample.Clock") == 2


async def test_clock_aligned_values_may_be_told_only_when_idle_2_0_1(system) -> None:
    """AlignedDataCtrlr.SendDuringIdle."""
    variables = {"AlignedDataCtrlr__Interval": "300", "AlignedDataCtrlr__SendDuringIdle": "true"}
    async with station(system, "2.0.1", **variables) as made:
        await charge(made)
        during = len(system.of("MeterValues"))
        await made.unplug()
        await made.advance(600)

    assert (during, len(system.of("MeterValues"))) == (0, 2)
    assert "MeterValueClock" not in {e["triggerReason"] for e in system.events()}


def test_a_long_charge_keeps_no_more_samples_than_a_station_can() -> None:
    made = Model(Template().build("SN"))
    made.settings.sample_seconds, made.settings.end_seconds = 0, 10
    made.run_to(0)
    made.plug(1, 0)
    made.authorize(1, Token("TAG1"), 0)
    made.run_to(36_000_000)
    made.stop(1, 36_000_000)

    history = made.outlet(1).transaction.history
    assert 100 <= len(history) <= 201
    assert (history[0].context, history[-1].context) == ("Transaction.Begin", "Transaction.End")


@pytest.mark.parametrize(
    ("stop", "allowed", "energy", "reason"),
    [
        ("true", "0", 0, "DeAuthorized"),
        ("true", "500", 500, "DeAuthorized"),
        ("false", "0", 0, "Local"),
        ("false", "500", 500, "Local"),
    ],
)
async def test_a_refused_token_gets_what_the_keys_allow_1_6(
    system, stop, allowed, energy, reason
) -> None:
    """TX16: StopTransactionOnInvalidId and MaxEnergyOnInvalidId."""
    keys = {"StopTransactionOnInvalidId": stop, "MaxEnergyOnInvalidId": allowed}
    async with station(system, AllowOfflineTxForUnknownId="true", **keys) as made:
        await made.cut()
        await made.plug()
        await made.swipe("BLOCKED")
        await made.reconnect()
        if any(made.model.transactions()):
            await made.charge(kwh=3, seconds=600)
            shown = made.model.status(made.model.outlet(1))
        if any(made.model.transactions()):
            assert shown == "SuspendedEVSE"
            await made.stop()

    (ended,) = system.of("StopTransaction")
    assert (ended["meterStop"], ended["reason"]) == (energy, reason)


async def test_a_refused_token_gets_no_energy_but_stays_2_0_1(system) -> None:
    """E05: TxCtrlr.StopTxOnInvalidId false: Updated with Deauthorized, SuspendedEVSE."""
    variables = {
        "TxCtrlr__StopTxOnInvalidId": "false",
        "AuthCtrlr__OfflineTxForUnknownIdEnabled": "true",
    }
    async with station(system, "2.0.1", **variables) as made:
        await made.cut()
        await made.plug()
        await made.swipe("BLOCKED")
        await made.reconnect()
        await made.charge(kwh=3, seconds=600)

        (told,) = [e for e in system.events() if e["triggerReason"] == "Deauthorized"]
        assert told["eventType"] == "Updated"
        assert told["transactionInfo"]["chargingState"] == "SuspendedEVSE"
        assert made.model.outlet(1).meter.register_wh() == 0


async def test_a_status_is_told_only_when_it_has_lasted(system) -> None:
    """MinimumStatusDuration: what passes quickly is not told, what stays is, with its own time."""
    async with station(system, MinimumStatusDuration="30") as made:
        await made.plug()
        began = made.now
        await made.advance(10)
        await made.unplug()
        await made.advance(60)
        quick = [s["status"] for s in system.of("StatusNotification")]
        await made.plug()
        came = made.now
        await made.advance(60)

    told = system.of("StatusNotification")[-1]
    assert quick == ["Available"] * len(quick)
    assert told["status"] == "Preparing"
    assert came > began
    assert datetime.fromisoformat(told["timestamp"]).timestamp() * 1000 == came


@pytest.mark.parametrize("ocpp", ["1.6", "2.0.1"])
async def test_any_connector_is_reserved(system, settle, ocpp) -> None:
    """Connector 0, or no EVSE: one of two stays free, and only its holder gets the last one."""
    if ocpp == "1.6":
        asked = {
            "connector_id": 0,
            "expiry_date": LATER,
            "id_tag": "HOLDER",
            "reservation_id": 7,
        }
    else:
        token = {"id_token": "HOLDER", "type": "ISO14443"}
        asked = {"id": 7, "expiry_date_time": LATER, "id_token": token}
    async with station(system, ocpp, connectors=2) as made:
        answer = await system.ask("CP1", "ReserveNow", **asked)
        one = made.model.status(made.model.outlet(1))
        await made.plug(1)
        await made.swipe("SOMEONE", 1)
        last = made.model.status(made.model.outlet(2))
        with pytest.raises(NotPossible, match="reserved for another"):
            await made.swipe("SOMEONE2", 2)
        await made.plug(2)
        await made.swipe("HOLDER", 2)

        assert answer.status == "Accepted"
        assert (one, last) == ("Available", "Reserved")
        assert not made.model.body.reserved
    if ocpp == "1.6":
        assert system.of("StartTransaction")[-1]["reservationId"] == 7
    else:
        assert (
            next(e for e in reversed(system.events()) if e["eventType"] == "Started")[
                "reservationId"
            ]
            == 7
        )


async def test_a_reserved_connector_is_for_its_holder(system) -> None:
    """A remote start for somebody else is refused; a fault takes the reservation away."""
    token = {"id_token": "HOLDER", "type": "ISO14443"}
    other = {"id_token": "OTHER", "type": "ISO14443"}
    async with station(system, "2.0.1") as made:
        reserved = await system.ask(
            "CP1", "ReserveNow", id=7, evse_id=1, expiry_date_time=LATER, id_token=token
        )
        refused = await system.ask(
            "CP1", "RequestStartTransaction", remote_start_id=1, evse_id=1, id_token=other
        )
        await made.fault("GroundFailure")
        await made.settle()

    assert (reserved.status, refused.status) == ("Accepted", "Rejected")
    (gone,) = system.of("ReservationStatusUpdate")
    assert gone == {"reservationId": 7, "reservationUpdateStatus": "Removed"}


async def test_the_server_shapes_the_line(system) -> None:
    """HeartbeatInterval, TransactionMessageAttempts and ...RetryInterval, WebSocketPingInterval."""
    async with station(system) as made:
        for key, value in (
            ("TransactionMessageAttempts", "7"),
            ("TransactionMessageRetryInterval", "9"),
            ("WebSocketPingInterval", "0"),
        ):
            answer = await system.ask("CP1", "ChangeConfiguration", key=key, value=value)
            assert answer.status == "Accepted"
        told = await system.ask("CP1", "GetConfiguration", key=["HeartbeatInterval"])

        assert (made.link.settings.attempts, made.link.settings.retry_seconds) == (7, 9)
        assert made.address.ping_seconds is None
        assert told.configuration_key[0]["value"] == "300"


async def test_a_list_longer_than_a_station_takes_is_refused(system) -> None:
    """SendLocalListMaxLength."""
    entries = [{"id_tag": f"T{n}", "id_tag_info": {"status": "Accepted"}} for n in range(3)]
    async with station(system) as made:
        made.configure("SendLocalListMaxLength", "2")
        answer = await system.ask(
            "CP1",
            "SendLocalList",
            list_version=1,
            update_type="Full",
            local_authorization_list=entries,
        )

    assert answer.status == "Failed"


async def test_a_key_is_changed_at_the_station_and_a_wrong_one_is_named(system) -> None:
    async with station(system) as made:
        made.configure("MeterValueSampleInterval", "7")
        assert made.model.settings.sample_seconds == 7
        with pytest.raises(BadInput, match="no configuration key 'Colour'"):
            made.configure("Colour", "red")
        with pytest.raises(BadInput, match="MeterValueSampleInterval: not a value"):
            made.configure("MeterValueSampleInterval", "often")
    async with station(system, "2.0.1") as made:
        with pytest.raises(BadInput, match=r"no variable TxCtrlr\.Colour"):
            made.configure("TxCtrlr.Colour", "red")
