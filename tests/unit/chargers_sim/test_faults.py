"""Every fault of the line does what its name says; TLS in profiles 2 and 3."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from waiting import LONG, until
from websockets.asyncio.server import serve

from chargers_sim.certificates import tls_context
from chargers_sim.errors import BadInput, Unreachable
from chargers_sim.faults import KINDS, Faults, Rule
from chargers_sim.live import Station
from chargers_sim.steps import run_step

FRAME = '[2,"1","Heartbeat",{"a":{"b":1,"c":2}}]'


def judged(rule: Rule, direction: str = "out", action: str = "Heartbeat") -> list[str]:
    return Faults([rule]).judge(direction, FRAME, action).texts


def test_an_unknown_fault_is_named() -> None:
    with pytest.raises(BadInput, match="fly"):
        Rule(do="fly")


@pytest.mark.parametrize(
    ("rule", "texts"),
    [
        (Rule(do="drop"), []),
        (Rule(do="repeat", copies=2), [FRAME] * 3),
        (Rule(do="half"), [FRAME[: len(FRAME) // 2]]),
        (Rule(do="wrong-type"), ['[9,"1","Heartbeat",{"a":{"b":1,"c":2}}]']),
        (Rule(do="edit", payload={"a": {"b": None}}), ['[2,"1","Heartbeat",{"a":{"c":2}}]']),
        (Rule(do="drop", action="Authorize"), [FRAME]),
        (Rule(do="drop", direction="in"), [FRAME]),
        (Rule(do="drop", times=0), [FRAME]),
        (Rule(do="drop", only={"a": 5}), [FRAME]),
    ],
)
def test_a_rule_changes_the_frames_it_is_meant_for(rule, texts) -> None:
    assert judged(rule) == texts


def test_a_rule_strikes_after_some_and_so_many_times() -> None:
    faults = Faults([Rule(do="drop", skip=1, times=2)])
    texts = [faults.judge("out", FRAME, None).texts for _ in range(5)]

    assert [bool(t) for t in texts] == [True, False, False, True, True]


def test_two_frames_change_places() -> None:
    faults = Faults([Rule(do="reorder", times=1)])
    texts = [faults.judge("out", f'[2,"{n}","Heartbeat",{{}}]', None).texts for n in (1, 2)]

    assert [t[4] for t in texts[1]] == ["2", "1"]


def test_a_chance_is_the_same_for_the_same_seed() -> None:
    def pattern(seed: int) -> list[bool]:
        faults = Faults([Rule(do="drop", chance=0.5)], seed=seed)
        return [bool(faults.judge("out", FRAME, None).texts) for _ in range(40)]

    assert pattern(1) == pattern(1)
    assert pattern(1) != pattern(2)


@pytest.mark.parametrize(
    "kind", sorted(set(KINDS) - {"wrong-answer", "corrupt", "half", "wrong-type", "edit"})
)
async def test_a_charge_survives_the_fault(loose, kind) -> None:
    rule = Rule(do=kind, action="StartTransaction", times=1, seconds=0.05)
    async with Station(
        loose.url,
        "CP1",
        faults=Faults([rule]),
        reconnect=(0.01, 0.1),
        message_timeout=1,
        retry_seconds=0.01,
    ) as station:
        await station.plug()
        await station.swipe("TAG1")
        await station.charge(kwh=1, seconds=120)
        await station.stop()

        assert [o["outcome"] for o in station.journal.operations] == ["ok", "ok"]
    assert rule.hits == 1


async def test_a_wrong_answer_reaches_the_server(loose, settle) -> None:
    async with Station(loose.url, "CP1") as station:
        station.add_fault("wrong-answer", action="ClearCache")
        await loose.command("ClearCache", {})
        await settle(lambda: loose.answered)

    assert loose.answered[0][2] == {"unexpected": "answer"}


async def test_a_second_socket_takes_over_and_the_old_one_closes_later(system) -> None:
    async with Station(system.url, "CP1", reconnect=(0.01, 0.1)) as station:
        await run_step(station, "second-socket", {"seconds": "0.1"})
        await station.call("Heartbeat")

    assert system.connections == 2


async def test_another_version_can_be_offered(system) -> None:
    async with Station(system.url, "CP1", reconnect=(0.01, 0.1)) as station:
        await run_step(station, "offer", {"subprotocols": "ocpp0.1"})
        await station.wait_for("connect_failed")


@pytest.fixture
async def secure(system, tmp_path):
    """The same central system behind TLS, asking for client certificates if told to."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")

    async def start(*, client: bool) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("127.0.0.1").configure_cert(context)
        if client:
            ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        server = await serve(
            system.handle, "127.0.0.1", 0, ssl=context, subprotocols=["ocpp1.6"], close_timeout=0.2
        )
        servers.append(server)
        return f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}/ocpp"

    servers: list[Any] = []
    yield ca, tmp_path, start
    for server in servers:
        server.close()
        await server.wait_closed()


async def test_profile_2_checks_the_server_by_its_ca(secure) -> None:
    _, folder, start = secure
    url = await start(client=False)
    async with Station(url, "CP1", tls=tls_context(ca=folder / "ca.pem")) as station:
        await station.call("Heartbeat")


async def test_a_wrong_certificate_is_one_clear_line(secure) -> None:
    _, _, start = secure
    url = await start(client=False)
    station = Station(url, "CP1", tls=tls_context())
    station.start()
    await until(lambda: station.link.problem)
    with pytest.raises(Unreachable, match="TLS failed"):
        await station.online(timeout=0)
    await station.close()


async def test_profile_3_shows_its_own_certificate(secure) -> None:
    ca, folder, start = secure
    url = await start(client=True)
    own = ca.issue_cert("CP1")
    own.cert_chain_pems[0].write_to_path(folder / "own.pem")
    own.private_key_pem.write_to_path(folder / "own.key")
    context = tls_context(
        ca=folder / "ca.pem", certificate=folder / "own.pem", key=folder / "own.key"
    )
    async with Station(url, "CP1", tls=context) as station:
        await station.call("Heartbeat")


def test_a_broken_certificate_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no")
    with pytest.raises(BadInput, match=r"bad\.pem"):
        tls_context(ca=tmp_path / "bad.pem")


async def test_a_fleet_charges_and_comes_back_after_a_blackout(system) -> None:
    from chargers_sim.fleet import Fleet, Plan

    plan = Plan(
        url=system.url, stations=6, ocpp="1.6,2.0.1", ramp=0.1, charging=1, speed=100, duration=300
    )
    fleet = Fleet(plan)
    over = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fleet.live(over))
        await until(lambda: fleet.tally.events["transaction_started"] >= 6)
        await fleet.blackout(0.1)
        await asyncio.gather(*(s.online(timeout=LONG) for s in fleet.stations))
        over.set()
    summary = fleet.tally.summary(fleet.stations, 1, 1)
    await fleet.close()

    assert summary["online"] == 6
    assert summary["transactions_started"] >= 6
    assert summary["answer_ms"]["p50"] > 0
    assert not summary["problems"]
