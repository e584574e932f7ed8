"""C07, M01, M06: the real server as a process, a responder and a provider, a simulated station."""

import asyncio
import datetime as dt
import json
import os
import signal
import sys
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer
from contract_pki import EMAID, Mobility, pem
from running import Cpo, password
from waiting import START

from chargers_sim import Station
from chargers_sim.contract import read_contract
from chargers_sim.template import load_template


async def test_c50_c51_c52_m24_m26_plug_and_charge_from_end_to_end(tmp_path):
    mobility = Mobility(dt.datetime.now(dt.UTC).replace(microsecond=0))
    wanted = []

    async def provide(request):
        wanted.append(await request.json())
        return web.json_response({"exiResponse": "ZXhp"})

    app = web.Application()
    app.router.add_post("/ocsp", mobility.respond)
    app.router.add_post("/provider", provide)
    roots = tmp_path / "roots.pem"
    roots.write_text(pem(mobility.root.certificate, mobility.sub.certificate))
    async with TestServer(app) as servers:
        settings = {
            "ocpp.plug_and_charge.roots": str(roots),
            "ocpp.plug_and_charge.ocsp_responder": str(servers.make_url("/ocsp")),
            "ocpp.plug_and_charge.ocsp_cache": "0",
            "ocpp.plug_and_charge.provider_url": str(servers.make_url("/provider")),
        }
        async with Cpo(tmp_path, **settings) as cpo:
            await cpo.equip(["pnc-1"])
            uid = EMAID.replace("-", "")
            await cpo.api(
                "PUT", f"/tokens/{uid}", {"type": "EMAID", "contract_id": uid, "valid": True}
            )
            async with Station(
                cpo.ocpp_url, "pnc-1", ocpp="2.0.1", password=password("pnc-1"),
                template=load_template("plug-and-charge"),
            ) as station:  # fmt: skip
                token = {"idToken": EMAID, "type": "eMAID"}
                hashes = [mobility.contract.hash_data(), mobility.sub.hash_data()]

                by_hash = await station.call(
                    "Authorize", {"idToken": token, "iso15118CertificateHashData": hashes}
                )
                by_chain = await station.call(
                    "Authorize", {"idToken": token, "certificate": mobility.chain()}
                )
                station.contract = {"iso15118CertificateHashData": hashes}
                assert await station.plug_and_charge(EMAID) == "Accepted"
                await station.charge(kwh=2, seconds=600)
                await station.stop()
                await station.unplug()
                mobility.revoked.add(mobility.contract.certificate.serial_number)
                revoked = await station.call(
                    "Authorize", {"idToken": token, "iso15118CertificateHashData": hashes}
                )
                status = await station.call(
                    "GetCertificateStatus", {"ocspRequestData": mobility.contract.hash_data()}
                )
                car = await station.call(
                    "Get15118EVCertificate",
                    {"iso15118SchemaVersion": "x", "action": "Install", "exiRequest": "cmVx"},
                )
                await station.settle()
            _, sessions = await cpo.api("GET", "/sessions")

    assert by_hash["certificateStatus"] == by_chain["certificateStatus"] == "Accepted"
    assert by_hash["idTokenInfo"]["status"] == "Accepted"
    assert revoked["certificateStatus"] == "CertificateRevoked"
    assert revoked["idTokenInfo"]["status"] == "Invalid"
    assert status["status"] == "Accepted"
    assert car == {"status": "Accepted", "exiResponse": "ZXhp"}
    assert wanted == [{"iso15118SchemaVersion": "x", "action": "Install", "exiRequest": "cmVx"}]
    assert uid in json.dumps(sessions)


async def test_c50_a_contract_revoked_on_the_command_line_is_refused(tmp_path):
    """C07: `chargers-sim contract --ocsp` vouches for a car until `--revoke`, and after `--restore`."""
    folder = tmp_path / "contracts"

    async def command(*more):
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "chargers_sim", "contract", *more, "--folder", str(folder),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip

    async def told(*more):
        process = await command(*more)
        async with asyncio.timeout(START):
            said, _ = await process.communicate()
        assert process.returncode == 0
        return said.decode()

    responder = await command("NL-SIM-C12345678-X", "--ocsp", "0")
    try:
        async with asyncio.timeout(START):
            said = [(await responder.stdout.readline()).decode().split() for _ in range(3)]
        kept = dict(said)
        settings = {
            "ocpp.plug_and_charge.roots": kept["roots"],
            "ocpp.plug_and_charge.ocsp_responder": kept["ocsp"],
            "ocpp.plug_and_charge.ocsp_cache": "0",
        }
        async with Cpo(tmp_path, **settings) as cpo:
            await cpo.equip(["pnc-1"])
            uid = "NLSIMC12345678X"
            token = {"type": "EMAID", "contract_id": uid, "valid": True}
            await cpo.api("PUT", f"/tokens/{uid}", token)
            contract = read_contract(Path(kept["contract"]))
            async with Station(
                cpo.ocpp_url, "pnc-1", ocpp="2.1", password=password("pnc-1"),
            ) as station:  # fmt: skip

                async def plugged():
                    status = await station.plug_and_charge(uid, contract=contract)
                    charging = any(station.model.transactions())
                    await station.unplug()
                    return status, charging

                good = await plugged()
                await told("NL-SIM-C12345678-X", "--revoke")
                revoked = await plugged()
                await told("NL-SIM-C12345678-X", "--restore")
                restored = await plugged()
                answers = [
                    json.loads(text)[2].get("certificateStatus")
                    for _, way, text in station.frames
                    if way == "in" and "certificateStatus" in text
                ]
    finally:
        responder.send_signal(signal.SIGINT)
        async with asyncio.timeout(START):
            await responder.wait()

    assert [good, revoked, restored] == [
        ("Accepted", True),
        ("CertificateRevoked", False),
        ("Accepted", True),
    ]
    assert answers == ["Accepted", "CertificateRevoked", "Accepted"]
    assert responder.returncode == 0
