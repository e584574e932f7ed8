"""Each of the 44 deviations is visible to a server that looks at it."""

import asyncio
import re
from typing import Any

import pytest

from chargers_sim import quirks
from chargers_sim.errors import BadInput, Unreachable
from chargers_sim.live import Station
from chargers_sim.quirks import samples


def station(system: Any, name: str, version: str = "1.6", **more: Any) -> Station:
    return Station(
        system.url,
        "CP1",
        ocpp=version,
        quirks=[name],
        reconnect=(0.01, 0.1),
        retry_seconds=0,
        **more,
    )


async def whole_charge(cp: Station) -> None:
    cp.model.outlet(1).meter.set_register_wh(500_000)
    await cp.plug()
    await cp.swipe("TAG1")
    await cp.charge(kwh=3, seconds=300)
    await cp.stop()
    await cp.unplug()


def test_the_catalogue_has_all_44_each_with_a_name_and_a_sentence() -> None:
    assert sorted(q.number for q in quirks.CATALOGUE.values()) == list(range(1, 45))
    assert all(q.does.endswith(".") for q in quirks.CATALOGUE.values())


def test_an_unknown_quirk_is_named() -> None:
    with pytest.raises(BadInput, match="no-such"):
        quirks.make(["no-such"], "1.6")
    with pytest.raises(BadInput, match=r"2\.0\.1"):
        quirks.make(["q42"], "1.6")


@pytest.mark.parametrize(
    ("name", "version"),
    [
        (q.name, v)
        for q in quirks.CATALOGUE.values()
        for v in q.versions
        if v != "2.1" and q.number not in {2, 5, 6, 9, 10, 11, 16}
    ],
)
async def test_a_charge_with_the_quirk_comes_to_its_end(loose, name, version) -> None:
    async with station(loose, name, version) as cp:
        await whole_charge(cp)

    assert loose.calls


async def test_q1_offers_no_subprotocol(loose) -> None:
    async with station(loose, "no-subprotocol"):
        assert loose.offered == [None]


async def test_q2_leaves_the_connection_header_out(loose) -> None:
    with pytest.raises(Unreachable):
        await station(loose, "no-connection-upgrade", connect_timeout=0.3).open()


async def test_q3_writes_the_address_in_odd_ways(loose) -> None:
    async with station(loose, "odd-url") as cp:
        await cp.cut()
        await cp.reconnect()

    assert loose.paths[0] == "/ocpp//CP1"
    assert loose.paths[1] == "/ocpp/CP1/"


async def test_q4_has_two_sockets_and_closes_the_old_one_later(loose) -> None:
    async with station(loose, "second-socket") as cp:
        await cp.wait_for("old_socket_closed")
        assert loose.connections == 2
        await whole_charge(cp)
        assert loose.connections == 2


async def test_q5_stays_away_after_a_clean_close(loose) -> None:
    async with station(loose, "no-return-after-close") as cp:
        await loose.sockets[0].close()
        await cp.wait_for("stays_away")

    assert loose.connections == 1


@pytest.mark.parametrize("name", ["half-open", "no-pong"])
async def test_q6_and_q7_leave_pings_unanswered(loose, name) -> None:
    async with station(loose, name) as cp:
        if name == "half-open":
            await cp.wait_for("deaf")
        pong = await loose.sockets[-1].ping()
        await asyncio.sleep(0.1)

        assert not pong.done()
        pong.add_done_callback(lambda done: done.exception())


async def test_q9_breaks_the_line_by_a_compressed_frame(loose) -> None:
    cp = station(loose, "compressed-frame")
    cp.start()
    ended = await cp.wait_for("disconnected")
    assert "1002" in ended["detail"]
    await cp.close()


async def test_q10_answers_no_call_until_it_reconnects(loose, settle) -> None:
    async with station(loose, "deaf-to-calls") as cp:
        await loose.command("ClearCache", {})
        await cp.call("Heartbeat")
        assert not loose.answered
        await cp.cut()
        await cp.reconnect()
        await loose.command("ClearCache", {})
        await settle(lambda: loose.answered)


async def test_q11_boots_again_when_called_too_early(loose) -> None:
    async with station(loose, "boot-loop") as cp:
        await loose.command("ClearCache", {})
        await cp.wait_for("boot_loop")
        await cp.wait_for("booted")
        await cp.wait_for("booted")


async def test_q12_forgets_its_configuration_at_a_reboot(loose, settle) -> None:
    async with station(loose, "forgets-configuration") as cp:
        await loose.command("ChangeConfiguration", {"key": "ConnectionTimeOut", "value": "7"})
        await settle(lambda: cp.model.settings.connection_seconds == 7)
        await cp.reboot()
        await cp.wait_for("factory_settings")
        assert cp.model.settings.connection_seconds == 60


async def test_q13_never_boots(loose) -> None:
    async with station(loose, "no-boot") as cp:
        await whole_charge(cp)

    assert not loose.of("BootNotification")
    assert loose.of("StatusNotification")


async def test_q14_restarts_when_a_boot_is_triggered(loose, settle) -> None:
    async with station(loose, "trigger-boot-reboots"):
        await loose.command("TriggerMessage", {"requestedMessage": "BootNotification"})
        await settle(lambda: loose.connections == 2)


async def test_q15_tells_its_status_while_pending(loose, settle) -> None:
    loose.boot_status = "Pending"
    cp = station(loose, "status-while-pending")
    cp.start()
    await settle(lambda: loose.of("StatusNotification"))
    await cp.close()


async def test_q16_sends_broken_json_and_repeats_it(loose) -> None:
    async with station(loose, "broken-json", message_timeout=0.1) as cp:
        await whole_charge(cp)

    broken = [t for t in loose.raw if re.search(r'":[,}]', str(t))]
    assert broken
    assert loose.of("StopTransaction")


async def test_q19_drops_the_line_over_a_time_it_cannot_read(loose) -> None:
    loose.now = lambda: "2026-01-01T00:00:00.123456+00:00"
    cp = station(loose, "reads-only-z-times")
    cp.start()
    await cp.wait_for("unreadable_time")
    await cp.close()


async def test_q30_loses_the_stop_of_a_power_cut(loose) -> None:
    async with station(loose, "stop-lost-at-power-cut") as cp:
        await cp.plug()
        await cp.swipe("TAG1")
        await cp.lose_power()
        await cp.regain_power()

    assert not loose.of("StopTransaction")


async def test_q33_refuses_a_tag_that_is_not_hexadecimal(loose, settle) -> None:
    async with station(loose, "hex-tags-only"):
        await loose.command("RemoteStartTransaction", {"idTag": "DRIVER", "connectorId": 1})
        await settle(lambda: loose.answered)
        assert loose.answered[0][2] == {"status": "Rejected"}
        await loose.command("RemoteStartTransaction", {"idTag": "04AF", "connectorId": 1})
        await settle(lambda: len(loose.answered) == 2)
        assert loose.answered[1][2] == {"status": "Accepted"}


async def test_q40_sends_the_bytes_of_a_hex_password(loose) -> None:
    loose.passwords["CP1"] = "Secret"
    async with station(loose, "hex-password", password="536563726574"):
        pass


async def test_q43_drops_the_line_when_polled(loose, settle) -> None:
    async with station(loose, "drops-when-polled") as cp:
        for _ in range(4):
            await loose.command("TriggerMessage", {"requestedMessage": "Heartbeat"})
        await cp.wait_for("dropped_when_polled")
        await settle(lambda: loose.connections == 2)


def register(payload: dict[str, Any]) -> list[Any]:
    return [s["value"] for s in samples.energy(payload)]


PAYLOADS_16 = {
    "schema-deviations": lambda s: len(s.of("BootNotification")[0]["chargePointSerialNumber"]) > 25,
    "odd-timestamps": lambda s: not s.of("StartTransaction")[0]["timestamp"].endswith("Z"),
    "fractional-registers": lambda s: s.of("StopTransaction")[0]["meterStop"] == 503000.5,
    "repeats-message-ids": lambda s: s.ids[0] == "1",
    "repeated-start": lambda s: (
        s.of("StartTransaction")[0] == s.of("StartTransaction")[1] and len(set(s.ids)) == len(s.ids)
    ),
    "wild-transaction-ids": lambda s: (
        {v["transactionId"] for v in s.of("MeterValues")} == {-1, 0, 2**63 - 1}
    ),
    "stop-of-the-unknown": lambda s: len(s.of("StopTransaction")) == 2,
    "values-without-transaction": lambda s: all(
        "transactionId" not in v for v in s.of("MeterValues")
    ),
    "stop-without-tag": lambda s: not {"idTag", "reason"} & set(s.of("StopTransaction")[0]),
    "lost-start": lambda s: not s.of("StartTransaction") and s.of("StopTransaction"),
    "status-order": lambda s: (
        next(a for _, a, p in s.calls if "Charging" in p.values() or a == "StartTransaction")
        == "StatusNotification"
    ),
    "kwh-as-wh": lambda s: float(register(s.of("MeterValues")[0])[0]) < 600,
    "session-relative-samples": lambda s: float(register(s.of("MeterValues")[0])[0]) == 600,
    "zero-at-begin": lambda s: s.of("StartTransaction")[0]["meterStart"] == 0,
    "stop-below-start": lambda s: s.of("StopTransaction")[0]["meterStop"] == -5,
    "frozen-register": lambda s: {register(v)[0] for v in s.of("MeterValues")} == {"1000", "0"},
    "odd-phases": lambda s: any(
        x.get("phase") == "L1-N" and x["measurand"] == "Current.Import"
        for x in s.of("MeterValues")[0]["meterValue"][0]["sampledValue"]
    ),
}


@pytest.mark.parametrize("name", PAYLOADS_16)
async def test_the_content_of_1_6_messages_deviates(loose, name) -> None:
    async with station(loose, name) as cp:
        await whole_charge(cp)

    assert PAYLOADS_16[name](loose)


PAYLOADS_2 = {
    "colliding-ids": lambda s: re.fullmatch(
        r"1-\d{4}-\d\d-\d\d", s.events()[0]["transactionInfo"]["transactionId"]
    ),
    "sloppy-evse": lambda s: all(e["evse"] == {"id": 1} for e in s.events()),
    "no-trigger-reason": lambda s: all("triggerReason" not in e for e in s.events()),
    "careless-events": lambda s: {e["seqNo"] for e in s.events()} == {0},
    "lost-start": lambda s: "Started" not in {e["eventType"] for e in s.events()},
}


@pytest.mark.parametrize("name", PAYLOADS_2)
async def test_the_content_of_2_0_1_messages_deviates(loose, name) -> None:
    async with station(loose, name, "2.0.1") as cp:
        await whole_charge(cp)

    assert PAYLOADS_2[name](loose)


async def test_q27_takes_the_id_zero_for_none(loose) -> None:
    loose.numbers = iter([0, 5])
    async with station(loose, "zero-means-none") as cp:
        await cp.plug()
        await cp.swipe("TAG1")
        await cp.stop()

    assert len(loose.of("StartTransaction")) == 2


async def test_q31_ends_the_charge_when_the_limit_is_too_low(loose, settle) -> None:
    profile = {
        "chargingProfileId": 1,
        "stackLevel": 0,
        "chargingProfilePurpose": "TxDefaultProfile",
        "chargingProfileKind": "Absolute",
        "chargingSchedule": {
            "chargingRateUnit": "A",
            "startSchedule": "2020-01-01T00:00:00Z",
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 0}],
        },
    }
    async with station(loose, "ends-below-minimum") as cp:
        await cp.plug()
        await cp.swipe("TAG1")
        await loose.command("SetChargingProfile", {"connectorId": 1, "csChargingProfiles": profile})
        await cp.wait_for("transaction_ended")
