"""ocpp-conformance 3.11 and what is left of 3.1 to 3.10: outages, repeats, odd lives of connections."""

import asyncio

import pytest
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed

from cpo.domain.command import CommandKind, Outcome, StationCommand
from cpo.domain.station import Approval
from cpo.errors import StoreUnavailable
from cpo.services.upkeep import StaleTransactions

TOKEN = {"idToken": "TAG", "type": "ISO14443"}


async def test_of09_a_database_that_comes_back_takes_the_retries(charge, books):
    start = {"timestamp": charge.backend.at(hours=-1)}
    for _ in range(3):
        charge.backend.store.fail = StoreUnavailable("away")
        with pytest.raises(AssertionError, match="InternalError"):
            await charge.start(**start)
    await charge.start(**start)
    charge.backend.store.fail = StoreUnavailable("away")
    with pytest.raises(AssertionError, match="InternalError"):
        await charge.stop()
    await charge.stop()

    assert books.only_cdr.energy_wh == 2000


async def test_of04_a_status_that_overtakes_the_queued_stop_changes_no_session(charge, books):
    await charge.start()
    await charge.status("Available")
    assert books.only_session.status == "ACTIVE"
    await charge.stop()

    assert books.only_session.status == "COMPLETED"
    assert books.only_cdr.energy_wh == 2000


async def test_tx16_18_q30_of07_a_stop_that_never_comes_is_assumed_with_evidence(charge, books):
    await charge.start()
    await charge.meter("2500", -30)
    charge.backend.later(hours=72)
    await StaleTransactions(
        charge.backend.memory,
        charge.backend.transactions,
        now=lambda: charge.backend.clock,
        after=24 * 3600,
    ).sweep()

    transaction = books.transactions[0]
    assert not transaction.open
    assert "estimated_end" in transaction.flags
    assert all(cdr.hold for cdr in books.cdrs)


@pytest.mark.parametrize(("next_start", "wh"), [(4000, 3000), (2000, 1500), (100, 1500)])
async def test_of07_the_next_start_tells_the_register_that_the_lost_stop_did_not(
    charge, books, next_start, wh
):
    """Held for the operator all the same; a register that fell tells nothing."""
    await charge.start(meterStart=1000)
    await charge.meter("2500", -30)
    await charge.start(meterStart=next_start, timestamp=charge.backend.at(minutes=-5))

    (cdr,) = books.cdrs
    assert cdr.energy_wh == wh
    assert "estimated_end" in cdr.hold


async def test_of07_of08_what_was_drawn_after_an_assumed_end_is_noted_at_the_next_start(
    charge, books
):
    await charge.start(meterStart=1000)
    await charge.meter("2500", -30)
    charge.backend.later(hours=72)
    transactions = charge.backend.transactions
    stale = StaleTransactions(
        charge.backend.memory, transactions, now=lambda: charge.backend.clock, after=24 * 3600
    )
    await stale.sweep()
    await charge.start(meterStart=4000)

    noted = ["energy_missing_before" in one.flags for one in books.transactions]
    assert noted == [False, True]


async def test_tx20_17_a_car_that_is_unplugged_and_back_continues_its_session(charge201, books):
    await charge201.start(info={"chargingState": "Charging"})
    await charge201.update(
        1500, -40, triggerReason="EVCommunicationLost", info={"chargingState": "Idle"}
    )
    await charge201.update(
        1500, -30, triggerReason="CablePluggedIn", info={"chargingState": "EVConnected"}
    )
    await charge201.update(2000, -20, info={"chargingState": "Charging"})
    await charge201.end()

    assert len(books.sessions) == 1
    assert [state.value for _, state in books.transactions[0].states] == [
        "Charging",
        "Idle",
        "EVConnected",
        "Charging",
    ]


async def test_mv23_the_state_of_charge_is_kept_with_its_instant(charge, books):
    await charge.start()
    await charge.meter("55", sampled={"measurand": "SoC", "unit": "Percent", "location": "EV"})

    assert books.transactions[0].samples[0].soc_percent == 55
    await charge.meter("155", sampled={"measurand": "SoC", "unit": "Percent", "location": "EV"})
    await charge.stop()
    assert books.transactions[0].samples[-1].soc_percent == 155
    assert books.only_session.soc_percent == 55  # no battery is fuller than full


async def test_bo04_a_station_that_was_approved_is_accepted_at_its_next_boot(backend, version):
    await backend.register("CP1", approval=Approval.WAITING)
    charger = await backend.charger(version, boot=False)
    assert (await charger.boot())["status"] == "Pending"

    await backend.register("CP1", approval=Approval.APPROVED)

    assert (await charger.boot())["status"] == "Accepted"
    assert "currentTime" in await charger.call("Heartbeat")


async def test_bo05_nothing_is_started_at_a_station_that_is_not_accepted(backend, version):
    await backend.register("CP1", approval=Approval.WAITING)
    charger = await backend.charger(version, boot=False)
    command = StationCommand(kind=CommandKind.START_SESSION, evse_id=1, id_token="TAG")

    reply = await backend.stations.link("CP1").execute(command)

    assert reply.outcome is Outcome.REJECTED
    assert charger.asked == []


async def test_bo10_boot_after_boot_is_answered_each_time(backend, version):
    charger = await backend.charger(version)
    for _ in range(5):
        assert (await charger.boot())["status"] == "Accepted"

    assert charger.asked == []


async def test_tr20_q8_a_station_that_only_listens_is_not_closed(open_backend):
    backend = await open_backend(ping_interval=0.05, ping_timeout=20)
    await backend.register("CP1")
    charger = await backend.charger("1.6")
    await asyncio.sleep(0.4)

    assert backend.server.online == 1
    assert "currentTime" in await charger.call("Heartbeat")


async def test_tr25_q6_a_half_open_line_does_not_lock_its_station_out(backend):
    first = await backend.charger("1.6")
    first.socket.transport.pause_reading()  # it hears nothing any more, and says nothing
    second = await backend.charger("1.6", boot=False)

    assert "currentTime" in await second.call("Heartbeat")
    first.socket.transport.resume_reading()


async def test_sec06_a_takeover_from_elsewhere_is_counted(backend):
    """And told with both addresses; an alarm when it goes on and on (TR-24)."""
    await backend.charger("1.6")
    with capture_logs() as logs:
        await backend.charger("1.6")

        for _ in range(100):
            await backend.charger("1.6")
            if logs[-1].get("alarm"):
                break

    told = [line for line in logs if line["event"] == "ocpp.connection_superseded"]
    assert {(line["address"], line["before"]) for line in told} == {("127.0.0.1", "127.0.0.1")}
    # The tenth within a minute is the alarm.
    assert [line["alarm"] for line in told] == [False] * (len(told) - 1) + [True]
    assert len(told) == 10
    assert backend.metrics.ocpp_handshakes.value("replaced") == len(told)


async def test_bo17_many_variables_are_asked_for_in_several_messages(backend):
    charger = await backend.charger("2.0.1")

    def found(payload):
        return {
            "getVariableResult": [
                {**wanted, "attributeStatus": "Accepted", "attributeValue": "1"}
                for wanted in payload["getVariableData"]
            ]
        }

    charger.answers["GetVariables"] = found
    command = StationCommand(
        kind=CommandKind.GET_VARIABLES,
        parameters={"variables": [f"C.V{n}" for n in range(50)]},
    )
    reply = await backend.stations.link("CP1").execute(command)

    assert [len(payload["getVariableData"]) for _, payload in charger.asked] == [10] * 5
    assert len(reply.payload["getVariableResult"]) == 50


async def limited(backend, version, most):
    """A charger that takes so many variables in one message and says so."""
    charger = await backend.charger(version)
    link = backend.stations.link("CP1")
    if version == "1.6":
        limit = {"key": "GetConfigurationMaxKeys", "readonly": True, "value": str(most)}
        charger.answers["GetConfiguration"] = {"configurationKey": [limit]}
        await link.call("GetConfiguration", {})
        charger.answers["GetConfiguration"] = lambda payload: {
            "configurationKey": [
                {"key": key, "readonly": False, "value": "1"}
                for key in payload["key"] if key != "V3"
            ],
            "unknownKey": [key for key in payload["key"] if key == "V3"],
        }  # fmt: skip
        return charger, link
    data = [
        {
            "component": {"name": "DeviceDataCtrlr"},
            "variable": {"name": "ItemsPerMessage", "instance": name},
            "variableAttribute": [{"value": str(most)}],
        }
        for name in ("GetVariables", "SetVariables")
    ]
    await charger.call(
        "NotifyReport", requestId=0, seqNo=0, generatedAt=backend.at(), reportData=data
    )

    def answer(payload):
        ((kind, wanted),) = payload.items()
        got = {"attributeValue": "1"} if kind == "getVariableData" else {}
        told = [
            {"component": w["component"], "variable": w["variable"],
             "attributeStatus": "Accepted", **got} for w in wanted
        ]  # fmt: skip
        return {kind.replace("Data", "Result"): told}

    charger.answers |= {"GetVariables": answer, "SetVariables": answer}
    return charger, link


async def test_bo14_bo17_a_station_is_asked_for_no_more_at_once_than_it_says(backend, version):
    charger, link = await limited(backend, version, 4)
    charger.asked.clear()
    names = [f"V{n}" if version == "1.6" else f"C.V{n}" for n in range(10)]

    reply = await link.execute(
        StationCommand(kind=CommandKind.GET_VARIABLES, parameters={"variables": names})
    )

    field = "key" if version == "1.6" else "getVariableData"
    assert [len(payload[field]) for _, payload in charger.asked] == [4, 4, 2]
    assert reply.outcome is Outcome.ACCEPTED
    if version == "1.6":
        assert len(reply.payload["configurationKey"]) == 9
        assert reply.payload["unknownKey"] == ["V3"]
    else:
        assert len(reply.payload["getVariableResult"]) == 10
    if version != "1.6":
        charger.asked.clear()
        wanted = [
            {"component": {"name": "C"}, "variable": {"name": f"V{n}"}, "value": "1"}
            for n in range(10)
        ]
        await link.execute(
            StationCommand(kind=CommandKind.SET_VARIABLES, parameters={"variables": wanted})
        )
        assert [len(payload["setVariableData"]) for _, payload in charger.asked] == [4, 4, 2]


async def test_q39_a_meter_that_names_phases_against_neutral_is_summed(charge, books):
    await charge.start()
    phases = [{"value": "500", "phase": f"L{n}-N"} for n in (1, 2, 3)]
    await charge.meter(
        meterValue=[
            {"timestamp": charge.backend.at(minutes=-30), "sampledValue": phases},
        ]
    )

    assert books.transactions[0].samples[0].register_wh == 1500


async def test_sec23_a_message_that_swells_when_it_is_unpacked_is_refused():
    """The size counts after inflation."""
    import zlib

    from websockets.asyncio.client import connect
    from websockets.headers import build_authorization_basic

    from cpo.ocpp.server import OcppServer, OcppServerSettings
    from tests.unit.ocpp.test_server import Directory, Echo

    directory = Directory()
    directory.add("CP1")
    settings = OcppServerSettings(
        host="127.0.0.1", port=0, compression=True, max_frame_bytes=10_000, drain_timeout=0.1
    )
    server = OcppServer(settings, directory, lambda session, _: Echo(session))
    port = await server.start()
    async with connect(
        f"ws://127.0.0.1:{port}/ocpp/CP1",
        subprotocols=["ocpp1.6"],
        additional_headers={"Authorization": build_authorization_basic("CP1", "0123456789abcdef")},
        proxy=None,
    ) as socket:
        assert len(zlib.compress(b"0" * 5_000_000)) < 10_000
        await socket.send("0" * 5_000_000)
        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()
    await server.stop()

    assert caught.value.rcvd.code == 1009
