"""The handshake in both directions, in every OCPI version, over real sockets."""

import asyncio

import aiohttp
import pytest

from chargers_sim.emsp import CallFailed, Dialect
from tests.e2e.conftest import VERSIONS, double, joined, new_site

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


async def status(cpo, partner_id):
    return await cpo.api("GET", f"/partners/{partner_id}")


@pytest.mark.parametrize("by_us", [True, False], ids=["eMSP starts", "CPO starts"])
async def test_the_two_register_and_objects_flow(cpo, version, by_us):
    """CRED-1 to CRED-6."""
    async with double(version) as emsp:
        partner = await joined(cpo, emsp, by_us=by_us)
        shown = await status(cpo, partner)
        site = await new_site(cpo)
        await emsp.wait_until(lambda: emsp.locations.get(site.location))

        assert shown["version"] == version
        assert emsp.peer.party == ("NL", "CPO")
        assert [str(violation) for violation in emsp.violations] == []
        await cpo.api("DELETE", f"/partners/{partner}")


async def test_the_highest_common_version_is_chosen(cpo):
    """V-5."""
    async with double("2.2.1") as emsp:
        emsp.versions = list(VERSIONS)
        partner = await joined(cpo, emsp, by_us=False)

        assert (await status(cpo, partner))["version"] == "2.3.0"
        await cpo.api("DELETE", f"/partners/{partner}")


async def test_token_a_works_once(cpo, version):
    """CRED-6 and TRANS-5."""
    invitation = await cpo.api("POST", "/partners", {"name": "once"})
    async with double(version) as emsp, double(version) as other:
        await emsp.register(invitation["versions_url"], invitation["token_a"])

        with pytest.raises(CallFailed, match="401"):
            await other.register(invitation["versions_url"], invitation["token_a"])
        await cpo.api("DELETE", f"/partners/{invitation['id']}")


async def test_tokens_are_renewed_from_both_sides_and_work_goes_on(cpo, version):
    """CRED-7 and CRED-8."""
    async with double(version) as emsp:
        partner = await joined(cpo, emsp)
        first = emsp.peer.token_out, list(emsp.peer.tokens_in)

        await emsp.registration.rotate(emsp.peer)
        await cpo.api("POST", f"/partners/{partner}/rotate")
        await emsp.wait_until(lambda: first[1][0] not in emsp.peer.tokens_in)

        site = await new_site(cpo)
        await emsp.wait_until(lambda: emsp.locations.get(site.location))
        assert emsp.peer.token_out != first[0]
        assert await emsp.fetch("tariffs") != []
        await cpo.api("DELETE", f"/partners/{partner}")


async def test_a_deleted_connection_ends_both_ways(cpo, version):
    """CRED-9."""
    async with double(version) as emsp, double(version) as other:
        partner, stays = await joined(cpo, emsp), await joined(cpo, other)
        caller, url = emsp.caller(), emsp.endpoint("tariffs", "SENDER")

        await emsp.registration.unregister(emsp.peer)

        answer = await caller.request("get", "GET", url, module="tariffs", good_only=False)
        assert answer.status == 401
        assert (await status(cpo, partner))["status"] == "disconnected"
        site = await new_site(cpo)
        await other.wait_until(lambda: other.locations.get(site.location))
        assert not any(site.location in str(e.object) for e in emsp.journal.exchanges)
        await cpo.api("DELETE", f"/partners/{partner}")
        await cpo.api("DELETE", f"/partners/{stays}")


async def test_our_operator_can_end_it_too(cpo, version):
    async with double(version) as emsp:
        partner = await joined(cpo, emsp)
        caller, url = emsp.caller(), emsp.endpoint("tariffs", "SENDER")

        await cpo.api("DELETE", f"/partners/{partner}")

        answer = await caller.request("get", "GET", url, module="tariffs", good_only=False)
        assert answer.status == 401


async def test_a_partner_that_cannot_be_called_back_is_told_3001(cpo, version):
    """CRED-3: nothing is kept, and token A still works afterwards."""
    invitation = await cpo.api("POST", "/partners", {"name": "shy"})
    async with double(version) as emsp:
        emsp.fail("500", module="versions", times=1)
        with pytest.raises(CallFailed) as failure:
            await emsp.register(invitation["versions_url"], invitation["token_a"])
        assert failure.value.answer.status_code in {3000, 3001}

        await emsp.register(invitation["versions_url"], invitation["token_a"])
        await cpo.api("DELETE", f"/partners/{invitation['id']}")


async def test_a_connect_that_fails_names_the_step(cpo):
    """CRED-5."""
    async with double("2.2.1") as emsp:
        emsp.fail("500", module="credentials")
        body = {
            "name": "broken",
            "versions_url": emsp.versions_url,
            "token_a": emsp.token_a,
        }
        async with aiohttp.ClientSession() as http:
            from tests.support.cpo_process import KEY

            async with http.post(
                f"{cpo.urls['operator']}/api/v1/partners/connect",
                json=body,
                headers={"Authorization": f"Bearer {KEY}"},
            ) as response:
                answer = await response.json(content_type=None)

    assert response.status == 502
    assert {"step", "detail"} <= answer.keys()


@pytest.mark.parametrize("coding", ["raw", "base64"])
async def test_a_token_is_understood_raw_and_coded(cpo, version, coding):
    """TRANS-4."""
    async with double(version, dialect=Dialect(token_coding=coding)) as emsp:
        invitation = await cpo.api("POST", "/partners", {"name": f"{coding} {version}"})
        await emsp.register(invitation["versions_url"], invitation["token_a"])

        assert isinstance(await emsp.fetch("tariffs"), list)
        await cpo.api("DELETE", f"/partners/{invitation['id']}")


async def test_drivers_tokens_are_pulled_after_the_registration(cpo, version):
    """TOK-10: page by page, through Link."""
    tokens = [{"uid": f"04P{version.replace('.', '')}{n:04}"} for n in range(25)]
    async with double(version, tokens=tokens, dialect=Dialect(page_size=10)) as emsp:
        partner = await joined(cpo, emsp)

        def pulled():
            asked = emsp.journal.received("tokens", method="GET")
            return len([exchange for exchange in asked if exchange.status == 200]) >= 3

        await emsp.wait_until(pulled)
        await cpo.api("DELETE", f"/partners/{partner}")


async def test_tokens_are_renewed_again_and_again_while_objects_flow(cpo, version):
    """CRED-7, CRED-8 and TRANS-7: no request is lost, and nobody is locked out."""
    async with double(version) as emsp:
        partner = await joined(cpo, emsp)
        site = await new_site(cpo)
        async with site.charger() as charger:
            await charger.boot()
            for _ in range(4):
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(charger.fault())
                    tasks.create_task(emsp.registration.rotate(emsp.peer))
                await charger.available()
                await cpo.api("POST", f"/partners/{partner}/rotate")
            await charger.fault()
            await emsp.wait_for_evse(site.evse, status="OUTOFORDER")

        refused = [
            exchange.object for exchange in emsp.journal.received() if exchange.status == 401
        ]
        assert refused == []
        assert (await status(cpo, partner))["status"] == "connected"
        await cpo.api("DELETE", f"/partners/{partner}")
