"""Every shipped scenario passes against the real server, seen from charger, operator and eMSP."""

import asyncio
import contextlib
import os
import sys

import pytest
import pytest_asyncio
import trustme
from aiohttp.test_utils import TestServer
from running import Cpo, evse_uid, password
from waiting import LONG, START

from chargers_sim import Emsp
from chargers_sim.contract import Folder, contract_for
from chargers_sim.contract_cli import responder
from chargers_sim.ends import EmspEnd, OperatorEnd
from chargers_sim.faults import Rule
from chargers_sim.runner import Runner
from chargers_sim.scenario import load, shipped
from chargers_sim.scenario_cli import station_for

RUNS = [
    pytest.param(name, version, id=f"{name}-{version}")
    for name, path in shipped().items()
    for version in load(str(path)).versions
]


def identity(name, version):
    return f"{name}-{version.replace('.', '')}"


@contextlib.asynccontextmanager
async def world(folder, **settings):
    """The server as a process and a registered eMSP double."""
    stations = [identity(*run.values) for run in RUNS]
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(folder / "authority.pem")
    authority.private_key_pem.write_to_path(folder / "authority.key")
    settings["ocpp.tls.authority_certificate"] = str(folder / "authority.pem")
    settings["ocpp.tls.authority_key"] = str(folder / "authority.key")
    contracts = Folder(folder / "contracts")
    settings["ocpp.plug_and_charge.roots"] = str(contracts.roots)
    contract = contracts.contract("NL-SIM-C12345678-X")
    async with TestServer(responder(contracts)) as ocsp:
        settings["ocpp.plug_and_charge.ocsp_responder"] = str(ocsp.make_url("/"))
        async with running(folder, stations, settings) as (cpo, emsp, tag):
            yield cpo, emsp, tag, stations, str(contract)


@contextlib.asynccontextmanager
async def running(folder, stations, settings):
    async with Cpo(folder, **settings) as cpo, Emsp(party=("NL", "MSP")) as emsp:
        await cpo.equip(stations)
        await cpo.partner(emsp)
        tag = next(t for t in emsp.state()["tokens"] if t["whitelist"] == "ALWAYS")["uid"]
        yield cpo, emsp, tag


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def roaming(tmp_path_factory):
    async with world(tmp_path_factory.mktemp("scenarios")) as whole:
        yield whole


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broken")
    async with world(folder, **{"ocpp.call_timeout": "0.5", "ocpi.command_timeout": "1"}) as whole:
        yield whole


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("name", "version"), RUNS)
async def test_scenario(roaming, name, version):
    """TX16-01, TX16-04, TX16-07, TX16-13, TX16-14, TX16-16, TX16-23 and their 2.x counterparts."""
    cpo, emsp, tag, stations, contract = roaming
    scenario, me = load(name), identity(name, version)
    options = {
        "url": cpo.ocpp_url,
        "identity": me,
        "password": password(me),
        "patience": LONG,
    }
    index = stations.index(me)
    runner = Runner(
        scenario,
        station_for(scenario, version, options),
        emsp=EmspEnd(emsp.url),
        operator=OperatorEnd(cpo.api_url.removesuffix("/api/v1"), cpo.key),
        variables={
            "tag": tag,
            "contract": contract,
            "location": f"LOC-{index}",
            "evse": evse_uid(index),
        },
        patience=LONG,
    )

    verdict = await runner.run()

    told = [
        f"{r.step.line}: {r.title}: {r.detail}" for r in verdict.results if r.outcome == "failed"
    ]
    assert not told
    assert verdict.problem is None
    assert not emsp.violations


@pytest.mark.asyncio(loop_scope="module")
async def test_scenarios_run_side_by_side_at_one_double_judge_only_their_own_charges(roaming):
    """Several processes at once: the operator API tells each which EVSE is its own."""
    cpo, emsp, tag, *_ = roaming
    name, versions = "commissioning-local", ("1.6", "2.0.1", "2.1")

    async def run(version):
        me = identity(name, version)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "chargers_sim", "scenario", name, "--ocpp", version,
            "--url", cpo.ocpp_url, "--identity", me, "--password", password(me), "--tag", tag,
            "--emsp", emsp.url, "--operator", cpo.console_url, "--operator-key", cpo.key,
            "--patience", str(LONG),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        async with asyncio.timeout(START):
            said, _ = await process.communicate()
        return process.returncode, said.decode()

    ended = await asyncio.gather(*(run(version) for version in versions))

    assert [code for code, _ in ended] == [0, 0, 0], "\n".join(said for _, said in ended)
    assert not any("skip" in said for _, said in ended), ended


STOP = {"1.6": "StopTransaction", "2.0.1": "TransactionEvent", "2.1": "TransactionEvent"}


def wrong_stop(version):
    """The last register is three kWh off: the bill is wrong."""
    if version == "1.6":
        return Rule(do="edit", action="StopTransaction", payload={"meterStop": 9_000})
    sample = {"value": 9_000, "context": "Transaction.End"}
    value = [{"timestamp": "2026-01-01T00:00:00Z", "sampledValue": [sample]}]
    ended = {"meterValue": value}
    return Rule(do="edit", action="TransactionEvent", payload=ended, only={"eventType": "Ended"})


def unanswered(version):
    """The server's answer to the last message never comes."""
    return Rule(do="drop", action=STOP[version], direction="in")


def deaf_to(*actions):
    """The station never hears of it."""

    def breaks(version):
        return Rule(do="drop", action=actions[version != "1.6"], direction="in")

    return breaks


def stranger(_):
    """The car shows hashes of certificates that nobody vouches for."""
    shown = {"iso15118CertificateHashData": contract_for("NLSIMC12345678X").hash_data()}
    return Rule(do="edit", action="Authorize", payload=shown)


BREAKS = {
    "plug-and-charge": stranger,
    "clock-jump": unanswered,
    "commissioning-fault": wrong_stop,
    "commissioning-line-lost": wrong_stop,
    "commissioning-local": wrong_stop,
    "commissioning-remote": deaf_to("RemoteStartTransaction", "RequestStartTransaction"),
    "commissioning-reset": deaf_to("Reset", "Reset"),
    "commissioning-suspended": wrong_stop,
    "commissioning-unlock": deaf_to("UnlockConnector", "UnlockConnector"),
    "certificate-renewal": deaf_to("ExtendedTriggerMessage", "TriggerMessage"),
    "offline-hour": wrong_stop,
    "power-loss": wrong_stop,
    "repeated-stop": wrong_stop,
    "reservation": deaf_to("ReserveNow", "ReserveNow"),
    "smart-charging": deaf_to("SetChargingProfile", "SetChargingProfile"),
    "wrong-meter": unanswered,
}


def test_each_shipped_scenario_has_its_way_of_being_broken():
    assert set(BREAKS) == set(shipped())


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("name", "version"), RUNS)
async def test_scenario_fails_when_what_it_checks_is_broken(broken, name, version):
    cpo, emsp, tag, stations, contract = broken
    scenario, me = load(name), identity(name, version)
    options = {
        "url": cpo.ocpp_url,
        "identity": me,
        "password": password(me),
        "patience": 1,
    }
    station = station_for(scenario, version, options)
    station.faults.add(BREAKS[name](version))
    station.link.settings.message_timeout, station.settle_timeout = 0.3, 1
    index = stations.index(me)
    runner = Runner(
        scenario,
        station,
        emsp=EmspEnd(emsp.url),
        operator=OperatorEnd(cpo.api_url.removesuffix("/api/v1"), cpo.key),
        variables={
            "tag": tag,
            "contract": contract,
            "location": f"LOC-{index}",
            "evse": evse_uid(index),
        },
        patience=1,
    )

    assert not (await runner.run()).passed
