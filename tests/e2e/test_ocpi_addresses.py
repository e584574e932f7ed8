"""Where a partner may send the server: every address that it gives, spelt in every way (S18, URL-4).

A trap listens on this machine, which no address of a partner may lead to here.
"""

import asyncio
import contextlib

import pytest
from waiting import until

from tests.e2e.conftest import new_site
from tests.e2e.test_ocpi_hostile import met
from tests.support.cpo_process import CpoProcess, Refused
from tests.support.raw_emsp import RawEmsp

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Refused when read.
LITERALS = ["127.0.0.1", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "10.0.0.1",
            "169.254.169.254", "[fd00:ec2::254]", "[fe80::1]", "[64:ff9b::7f00:1]", "168.63.129.16",
            "user:secret@emsp.example", "emsp.example\\@127.0.0.1"]  # fmt: skip
# Names as far as their letters go: what they lead to shows when the socket is made.
NAMES = ["localhost", "127.1", "0", "0x7f.1", "0x7f000001", "2130706433", "017700000001"]


@contextlib.asynccontextmanager
async def trap():
    """A port of this machine, and who came to it."""
    came = []

    async def caught(_reader, writer):
        came.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(caught, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], came


@contextlib.asynccontextmanager
async def strict(tmp_path):
    """A server that takes public addresses only, and a partner it met before it did."""
    cpo = CpoProcess(tmp_path)
    async with cpo, met(cpo, "2.2.1") as raw:
        await cpo.stop()
        closed = CpoProcess(tmp_path, environment={"CPO_OCPI__ALLOW_PRIVATE_URLS": "false"})
        async with closed:
            port = closed.urls["ocpi"].split(":")[2].split("/")[0]
            raw.endpoints = {
                key: f"http://127.0.0.1:{port}/{url.split('/', 3)[3]}"
                for key, url in raw.endpoints.items()
            }
            yield closed, raw


async def test_no_address_of_a_partner_leads_inside(tmp_path):
    """Versions, credentials, response URLs, and what is stored from before; over sockets."""
    async with (
        contextlib.AsyncExitStack() as stack,
        trap() as (port, came),
        strict(tmp_path) as (cpo, raw),
    ):
        heard = len(raw.heard)
        addresses = [f"https://{host}:{port}" for host in (*LITERALS, *NAMES)]
        addresses += [f"http://127.0.0.1:{port}", "file:///etc/passwd", f"//127.0.0.1:{port}"]

        invited = await cpo.api("POST", "/partners", {"name": "evil"})
        evil = RawEmsp("2.2.1", ("NL", "EVL"))
        evil.endpoints = raw.endpoints
        await stack.enter_async_context(evil)
        for address in addresses:
            # We are told where to register.
            body = {"name": "x", "versions_url": f"{address}/versions", "token_a": "t" * 20}
            with pytest.raises(Refused) as refused:
                await cpo.api("POST", "/partners/connect", body)
            assert refused.value.status in {422, 502}, address
            # A partner that registers says where it is.
            told = await evil.ask(
                "POST", evil.at("credentials"), evil.credentials(url=f"{address}/versions"),
                token=invited["token_a"],
            )  # fmt: skip
            assert told.code in {2001, 3001}, (address, told.envelope)
            # A registered one changes it.
            moved = raw.credentials(url=f"{address}/versions")
            told = await raw.ask("PUT", raw.at("credentials"), moved)
            assert told.code in {2001, 3001}, (address, told.envelope)

        site = await new_site(cpo)
        async with site.charger() as charger:
            await charger.boot()
            charger.answers["RemoteStartTransaction"] = lambda _: {"status": "Rejected"}
            for address in addresses:
                body = {
                    "response_url": f"{address}/result",
                    "token": raw.token("04TRAP", type="APP_USER"),
                    "location_id": site.location,
                    "evse_uid": site.evse,
                }
                told = await raw.ask("POST", raw.at("commands", "START_SESSION"), body)
                named = address.split("://")[-1].rsplit(":", 1)[0] in NAMES
                assert told.code == (1000 if named else 2001), (address, told.envelope)
                profile = await raw.ask(
                    "DELETE", f"{raw.at('chargingprofiles', 'none')}?response_url={address}/x"
                )
                assert profile.code == (1000 if named else 2001), (address, profile.envelope)
            # The results had somewhere to go only by name; what the names mean stopped them.
            await until(
                lambda: cpo.errors.read_text().count("command.result_not_taken") >= len(NAMES)
            )

        # What is stored from before is looked at anew each time.
        await raw.put_token("04TRAP2", whitelist="NEVER")
        await cpo.api("POST", f"/partners/{raw.partner}/resync")

        async def tried():
            backlog = (await cpo.api("GET", f"/partners/{raw.partner}/backlog"))["items"]
            return any(item["last_error"] for item in backlog)

        await until(tried)
        assert cpo.tracebacks() == ""
        assert came == []
        assert len(raw.heard) == heard
