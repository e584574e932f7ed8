"""Where a 2.x station connects: network profiles, their order, and what comes after the first."""

import contextlib
from typing import Any

import pytest
from websockets.asyncio.server import serve

from chargers_sim.live import Station
from tests.support.ports import free_port
from tests.unit.chargers_sim.conftest import PACKAGES, LooseSystem, _any_or_none
from tests.unit.chargers_sim.test_maintenance import ask

VERSIONS = {"2.0.1": "OCPP20", "2.1": "OCPP21"}


@contextlib.asynccontextmanager
async def another_server():
    central = LooseSystem()
    async with serve(
        central.handle,
        "127.0.0.1",
        0,
        subprotocols=list(PACKAGES),
        select_subprotocol=_any_or_none,
        close_timeout=0.2,
    ) as server:
        central.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/other"
        yield central


def profile(url: str, version: str = "2.0.1", **more: Any) -> dict[str, Any]:
    return {
        "ocppVersion": VERSIONS[version],
        "ocppTransport": "JSON",
        "ocppCsmsUrl": url,
        "messageTimeout": 30,
        "securityProfile": 0,
        "ocppInterface": "Wired0",
        **more,
    }


async def put(central, settle, slot: int, data: dict[str, Any]) -> dict[str, Any]:
    request = {"configurationSlot": slot, "connectionData": data}
    return await ask(central, settle, "SetNetworkProfile", request)


async def change(central, settle, name: str, value: str) -> str:
    place = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": name}}
    data = {"setVariableData": [{**place, "attributeValue": value}]}
    answer = await ask(central, settle, "SetVariables", data)
    return answer["setVariableResult"][0]["attributeStatus"]


async def read(central, settle, component: str, name: str) -> str:
    place = {"component": {"name": component}, "variable": {"name": name}}
    answer = await ask(central, settle, "GetVariables", {"getVariableData": [place]})
    return answer["getVariableResult"][0]["attributeValue"]


@pytest.mark.parametrize("version", list(VERSIONS))
async def test_b09_b10_a_station_moves_to_the_server_of_its_first_profile(
    loose, settle, version
) -> None:
    """B09.FR.01, B10.FR.01: the new order holds from the next boot on."""
    async with (
        another_server() as other,
        Station(loose.url, "CP1", ocpp=version, reconnect=(0.01, 0.1)) as station,
    ):
        taken = await put(loose, settle, 1, profile(other.url, version))
        order = await change(loose, settle, "NetworkConfigurationPriority", "1,0")
        stayed = not other.of("BootNotification")
        await ask(loose, settle, "Reset", {"type": "Immediate"})
        await settle(lambda: other.of("BootNotification") and station.is_online)
        active = await read(other, settle, "OCPPCommCtrlr", "ActiveNetworkProfile")
        await station.plug()
        await station.swipe("TAG1")

    assert (taken["status"], order, stayed) == ("Accepted", "RebootRequired", True)
    assert active == "1"
    assert len(loose.of("BootNotification")) == 1
    assert other.of("TransactionEvent")


async def test_b10_a_server_that_is_not_there_gives_way_to_the_next(loose, settle) -> None:
    """B10.FR.03: after NetworkProfileConnectionAttempts the next profile has its turn."""
    nowhere = f"ws://127.0.0.1:{free_port()}/ocpp"
    async with Station(loose.url, "CP1", ocpp="2.0.1", reconnect=(0.01, 0.02)) as station:
        await put(loose, settle, 1, profile(nowhere))
        await change(loose, settle, "NetworkProfileConnectionAttempts", "2")
        await change(loose, settle, "NetworkConfigurationPriority", "1,0")
        await ask(loose, settle, "Reset", {"type": "Immediate"})
        await settle(lambda: len(loose.of("BootNotification")) == 2)

        failed = [e for e in station.events if e["event"] == "connect_failed"]
        used = [e["slot"] for e in station.events if e["event"] == "network_profile"]
    assert len(failed) == 2
    assert used == [1, 0]


@pytest.mark.parametrize(
    ("slot", "more", "reason"),
    [
        pytest.param(0, {}, "InvalidConfSlot", id="the slot in use"),
        pytest.param(9, {}, "InvalidConfSlot", id="no such slot"),
        pytest.param(1, {"ocppTransport": "SOAP"}, "InvalidNetworkConf", id="SOAP"),
        pytest.param(1, {"ocppVersion": "OCPP16"}, "InvalidNetworkConf", id="another version"),
        pytest.param(1, {"securityProfile": 2}, "InvalidNetworkConf", id="TLS over ws"),
        pytest.param(1, {"ocppCsmsUrl": "ws://"}, "InvalidNetworkConf", id="no host"),
        pytest.param(1, {"ocppCsmsUrl": "ws://x:99999"}, "InvalidNetworkConf", id="no port"),
        pytest.param(1, {"ocppCsmsUrl": "http://x"}, "InvalidNetworkConf", id="no websocket"),
        pytest.param(
            1,
            {"securityProfile": 3, "ocppCsmsUrl": "wss://x"},
            "InvalidNetworkConf",
            id="no own certificate",
        ),
    ],
)
async def test_b09_a_profile_that_cannot_be_used_is_rejected(
    loose, settle, slot, more, reason
) -> None:
    """B09.FR.02."""
    async with Station(loose.url, "CP1", ocpp="2.0.1"):
        answer = await put(loose, settle, slot, profile("ws://127.0.0.1:1/x", **more))

    assert answer["status"] == "Rejected"
    assert answer["statusInfo"]["reasonCode"] == reason


async def test_b09_a_lower_security_profile_is_rejected(loose, settle) -> None:
    loose.passwords["CP1"] = "a-long-password-1"
    async with Station(loose.url, "CP1", ocpp="2.0.1", password="a-long-password-1"):
        shown = await read(loose, settle, "SecurityCtrlr", "SecurityProfile")
        answer = await put(loose, settle, 1, profile("ws://127.0.0.1:1/x"))

    assert shown == "1"
    assert answer["statusInfo"]["reasonCode"] == "NoSecurityDowngrade"


async def test_b09_an_order_of_slots_without_profile_is_rejected(loose, settle) -> None:
    async with Station(loose.url, "CP1", ocpp="2.0.1"):
        empty = await change(loose, settle, "NetworkConfigurationPriority", "2,0")
        words = await change(loose, settle, "NetworkConfigurationPriority", "first")

    assert (empty, words) == ("Rejected", "Rejected")


async def test_network_profiles_outlast_a_restart(loose, settle, tmp_path) -> None:
    """The state file keeps the profiles; the new program connects by the first of them."""
    state = tmp_path / "cp1.json"
    async with another_server() as other:
        async with Station(loose.url, "CP1", ocpp="2.0.1", state=state):
            await put(loose, settle, 1, profile(other.url))
            await change(loose, settle, "NetworkConfigurationPriority", "1")
        async with Station(loose.url, "CP1", ocpp="2.0.1", state=state):
            assert other.of("BootNotification")


@pytest.mark.parametrize(("dark", "told"), [(30, 0), (90, 2)])
async def test_b04_all_statuses_are_told_after_a_long_time_offline(loose, dark, told) -> None:
    """B04.FR.01, B04.FR.02: OfflineThreshold is 60 s; a shorter gap tells only what changed."""
    async with Station(
        loose.url, "CP1", ocpp="2.0.1", connectors=2, reconnect=(0.01, 0.1)
    ) as station:
        before = len(loose.of("StatusNotification"))
        await station.cut()
        await station.advance(dark)
        await station.reconnect()
        await station.settle()

    assert len(loose.of("StatusNotification")) - before == told


async def test_b04_a_status_that_changed_offline_is_told(loose) -> None:
    async with Station(
        loose.url, "CP1", ocpp="2.0.1", connectors=2, reconnect=(0.01, 0.1)
    ) as station:
        await station.cut()
        await station.plug(2)
        await station.reconnect()
        await station.settle()

    last = loose.of("StatusNotification")[-1]
    assert (last["evseId"], last["connectorStatus"]) == (2, "Occupied")


@pytest.mark.parametrize(("queues", "told"), [("false", 0), ("true", 3)])
async def test_messages_outside_of_transactions_wait_only_if_all_are_queued(
    loose, settle, queues, told
) -> None:
    """OCPPCommCtrlr.QueueAllMessages."""
    async with Station(loose.url, "CP1", ocpp="2.0.1", reconnect=(0.01, 0.1)) as station:
        station.configure("AlignedDataCtrlr.Interval", "60")
        station.configure("OCPPCommCtrlr.OfflineThreshold", "3600")
        await change(loose, settle, "QueueAllMessages", queues)
        await station.cut()
        await station.advance(180)
        await station.plug()
        await station.unplug()
        await station.reconnect()
        await station.settle()

    at = [v["meterValue"][0]["timestamp"] for v in loose.of("MeterValues")]
    assert len(at) == told
    assert at == sorted(at)
    statuses = [s["connectorStatus"] for s in loose.of("StatusNotification")]
    assert statuses == ["Available", *(["Occupied"] if told else []), "Available"]


@pytest.mark.parametrize(
    ("lifetime", "later", "status"),
    [
        pytest.param("0", 3_600, "Accepted", id="no lifetime"),
        pytest.param("600", 300, "Accepted", id="in time"),
        pytest.param("600", 601, "Expired", id="over"),
    ],
)
async def test_c10_a_cached_token_lives_as_long_as_it_is_used(
    loose, lifetime, later, status
) -> None:
    """C10: AuthCacheCtrlr.LifeTime counts from the last use."""
    async with Station(loose.url, "CP1", ocpp="2.0.1", reconnect=(0.01, 0.1)) as station:
        station.configure("AuthCacheCtrlr.LifeTime", lifetime)
        await station.swipe("TAG1")
        await station.advance(300)
        await station.cut()
        assert await station.swipe("TAG1") == "Accepted"
        await station.advance(later)

        assert await station.swipe("TAG1") == status


@pytest.mark.parametrize("ocpp", ["1.6", "2.0.1"])
async def test_the_server_says_until_when_a_token_is_good(loose, monkeypatch, ocpp) -> None:
    """C10: cacheExpiryDateTime; 1.6: expiryDate."""
    key = "expiryDate" if ocpp == "1.6" else "cacheExpiryDateTime"
    reply = loose.reply

    def dated(action, payload):
        answer = reply(action, payload)
        for info in ("idTagInfo", "idTokenInfo"):
            if info in answer:
                answer[info] = {"status": "Accepted", key: loose.now()}
        return answer

    loose.reply = dated
    async with Station(loose.url, "CP1", ocpp=ocpp, reconnect=(0.01, 0.1)) as station:
        online = await station.swipe("TAG1")
        await station.advance(120)
        await station.cut()

        assert (online, await station.swipe("TAG1")) == ("Accepted", "Expired")
