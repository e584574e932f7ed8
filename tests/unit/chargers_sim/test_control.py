import asyncio
import json
import sys

import pytest

from chargers_sim.control import Control
from chargers_sim.ends import End, EndFailed
from chargers_sim.errors import BadInput
from chargers_sim.live import Station
from tests.unit.chargers_sim.test_maintenance import ROOT, ask


async def test_every_step_can_be_done_over_http(system) -> None:
    async with Station(system.url, "CP1") as station:
        control = Control(station)
        end = End("the station", await control.start())
        await end.ask("POST", "/steps/plug", {})
        await end.ask("POST", "/steps/swipe", {"tag": "TAG1"})
        done = await end.ask("POST", "/steps/charge", {"kwh": "1.5", "seconds": 600})
        seen = await end.ask("GET", "/")
        steps = await end.ask("GET", "/steps")
        await control.stop()

    assert done["state"]["connectors"][0]["status"] == "Charging"
    assert seen["connectors"][0]["meter_wh"] == "1500"
    assert {"plug", "power-loss", "raw"} <= set(steps)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/steps/fly", {}, "400"),
        ("/steps/plug", {"height": 3}, "400"),
        ("/steps/plug", [1], "400"),
        ("/steps/unplug", {}, "409"),
    ],
)
async def test_what_cannot_be_done_is_said_in_one_line(system, path, body, status) -> None:
    async with Station(system.url, "CP1") as station:
        control = Control(station)
        end = End("the station", await control.start())
        with pytest.raises(EndFailed, match=status):
            await end.ask("POST", path, body)
        await control.stop()


async def test_a_station_remembers_its_state_over_a_restart(system, tmp_path) -> None:
    """Register, configuration, a running transaction and what was not answered."""
    path = tmp_path / "cp1.json"
    async with Station(system.url, "CP1", state=path) as station:
        await system.ask("CP1", "ChangeConfiguration", key="ConnectionTimeOut", value="9")
        await station.plug()
        await station.swipe("TAG1")
        await station.charge(kwh=2, seconds=600)
        await station.cut()
        await station.charge(kwh=1, seconds=300)
    waiting = json.loads(path.read_text())["waiting"]

    async with Station(system.url, "CP1", state=path) as station:
        assert station.model.settings.connection_seconds == 9
        assert station.model.outlet(1).meter.register_wh() == 3000

    (stop,) = system.of("StopTransaction")
    assert len(waiting) == 5
    assert len(system.of("MeterValues")) == 15
    assert (stop["reason"], stop["meterStop"], stop["transactionId"]) == ("PowerLoss", 3000, 1)


async def test_a_start_that_waited_over_a_restart_gives_the_stop_its_number(
    system, tmp_path
) -> None:
    path = tmp_path / "cp1.json"
    async with Station(system.url, "CP1", state=path) as station:
        station.tokens.allow_offline_unknown = True
        await station.cut()
        await station.plug()
        await station.swipe("TAG1")
        await station.charge(kwh=1, seconds=120)
        await station.stop()
    async with Station(system.url, "CP1", state=path):
        pass

    (stop,) = system.of("StopTransaction")
    assert stop["transactionId"] == 1


async def test_a_foreign_state_file_is_refused_with_its_name(system, tmp_path) -> None:
    path = tmp_path / "cp1.json"
    path.write_text("{}")

    with pytest.raises(BadInput, match=r"cp1\.json"):
        await Station(system.url, "CP1", state=path).open()


async def run_sim(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "chargers_sim",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_one_charge_as_a_process_prints_events_and_exits_0(system) -> None:
    code, out, err = await run_sim(
        *("run", "--url", system.url, "--identity", "CP1", "--ocpp", "2.0.1", "--virtual"),
        *("--charge", "kwh=12.345,seconds=3600,idle=900", "--json"),
    )
    events = {e["event"]: e for e in map(json.loads, out.splitlines())}

    assert (code, err) == (0, "")
    assert events["transaction_ended"]["energy_wh"] == "12345"
    assert system.events()[-1]["eventType"] == "Ended"


async def test_what_run_traced_replay_sends_in_the_same_version(system, tmp_path) -> None:
    """The version is in the trace; of a trace that does not say it, BootNotification tells."""
    path, silent = tmp_path / "frames.jsonl", tmp_path / "silent.jsonl"
    ran, _, _ = await run_sim(
        *("run", "--url", system.url, "--identity", "CP1", "--ocpp", "2.0.1", "--virtual"),
        *("--charge", "kwh=1,seconds=120", "--trace", str(path)),
    )
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    silent.write_text(
        "".join(json.dumps({k: v for k, v in x.items() if k != "ocpp"}) + "\n" for x in lines)
    )
    again = [
        json.loads((await run_sim("replay", str(p), "--url", system.url, "--json"))[1])
        for p in (path, silent)
    ]

    assert ran == 0
    assert {line["ocpp"] for line in lines} == {"2.0.1"}
    assert [told["differences"] for told in again] == [[], []]
    assert again[0]["sent"] == again[0]["answered"] > 5


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--url", "http://x", "--identity", "A"),
        ("run", "--url", "ws://127.0.0.1:1/ocpp", "--identity", "A", "--connect-timeout", "0.2"),
        ("run", "--url", "ws://x", "--identity", "A", "--charge", "kwh=1"),
        ("run", "--url", "ws://x", "--identity", "A", "--script", "fly"),
        ("run", "--url", "ws://x", "--identity", "A", "--quirk", "fly"),
        ("run", "--url", "ws://x", "--identity", "A", "--fault", "do=fly"),
        ("run", "--url", "ws://x", "--identity", "A", "--template", "fly"),
        ("run", "--url", "wss://x", "--identity", "A", "--ca", "fly.pem"),
        ("scenario", "fly.toml", "--url", "ws://x"),
        ("replay", "fly.jsonl", "--url", "ws://x"),
        ("fleet", "--url", "ws://x", "--stations", "1", "--identity", "{x}"),
        ("nothing",),
    ],
)
async def test_bad_input_is_one_clear_line_and_exit_2(arguments) -> None:
    code, _, err = await run_sim(*arguments)

    assert code == 2
    assert "Traceback" not in err
    assert err.strip()


async def test_help_is_there_without_loading_the_machinery() -> None:
    code, out, _ = await run_sim("--help")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import sys, chargers_sim.cli as c; c._run(['--help']);"
        "print([m for m in ('websockets', 'ocpp', 'aiohttp', 'textual') if m in sys.modules])",
        stdout=asyncio.subprocess.PIPE,
    )
    loaded, _ = await process.communicate()

    assert code == 0
    assert "scenario" in out
    assert loaded.decode().splitlines()[-1] == "[]"


@pytest.mark.parametrize("ocpp", ["1.6", "2.0.1"])
async def test_reservations_profiles_and_roots_outlast_a_restart(
    loose, settle, tmp_path, ocpp
) -> None:
    path, later = tmp_path / "cp1.json", "2099-01-01T00:00:00Z"
    period = {"startPeriod": 0, "limit": 4000}
    schedule = {"chargingRateUnit": "W", "chargingSchedulePeriod": [period]}
    kind = {"stackLevel": 0, "chargingProfilePurpose": "TxDefaultProfile"}
    if ocpp == "1.6":
        profile = {**kind, "chargingProfileId": 3, "chargingProfileKind": "Relative"}
        limit = {"connectorId": 1, "csChargingProfiles": {**profile, "chargingSchedule": schedule}}
        use, held = "CentralSystemRootCertificate", {"connectorId": 1, "reservationId": 7}
        held |= {"expiryDate": later, "idTag": "HOLDER"}
    else:
        profile = {**kind, "id": 3, "chargingProfileKind": "Relative"}
        listed = {**profile, "chargingSchedule": [{"id": 1, **schedule}]}
        limit = {"evseId": 1, "chargingProfile": listed}
        use, held = "CSMSRootCertificate", {"evseId": 1, "id": 7, "expiryDateTime": later}
        held |= {"idToken": {"idToken": "HOLDER", "type": "ISO14443"}}
    root = {"certificateType": use, "certificate": ROOT}
    async with Station(loose.url, "CP1", ocpp=ocpp, state=path):
        for action, payload in (
            ("SetChargingProfile", limit),
            ("ReserveNow", held),
            ("InstallCertificate", root),
        ):
            assert await ask(loose, settle, action, payload) == {"status": "Accepted"}
    async with Station(loose.url, "CP1", ocpp=ocpp, state=path) as station:
        outlet = station.model.outlet(1)

        assert station.model.status(outlet) == "Reserved"
        assert [(p.number, p.limits[0].value) for p in station.profiles.installed] == [(3, 4000)]
        assert [i.use for i in station.certificates.installed] == [use]
