"""A partner that only polls misses nothing, whatever happens meanwhile (I9)."""

import asyncio
import contextlib

import pytest

from chargers_sim.emsp import CallFailed
from chargers_sim.emsp.invariants import digest
from tests.e2e.conftest import all_heard, double, joined, new_site, uid
from tests.e2e.test_ocpi_charging import charge, of
from tests.support.cpo_process import CpoProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

MODULES = ("locations", "sessions", "cdrs")


class Mirror:
    """What a partner knows that asks every now and then for what changed."""

    def __init__(self, emsp):
        self.emsp = emsp
        self.held = {module: {} for module in MODULES}
        self.newest = dict.fromkeys(MODULES)
        self.polls = 0

    async def poll(self):
        for module in MODULES:
            since = {"date_from": self.newest[module]} if self.newest[module] else {}
            for thing in await self.emsp.fetch(module, limit=3, **since):
                self.held[module][thing["id"]] = thing
                newest = self.newest[module] or ""
                self.newest[module] = max(newest, thing["last_updated"])
        self.polls += 1

    async def follow(self):
        while True:
            # While the server is down, a poll fails and the next one begins where it was.
            with contextlib.suppress(CallFailed):
                await self.poll()
            await asyncio.sleep(0.2)


async def test_a_mirror_by_date_equals_a_full_pull(tmp_path):
    """I9 and I10: under load, with a kill in between; paging is the same in every version."""
    async with CpoProcess(tmp_path) as cpo, double("2.2.1") as emsp:
        partner = await joined(cpo, emsp)
        await emsp.send_token({"uid": uid(emsp)})
        sites = [await new_site(cpo, ocpp=ocpp) for ocpp in ("1.6", "2.0.1") * 2]
        mirror = Mirror(emsp)
        following = asyncio.create_task(mirror.follow())

        await asyncio.gather(*(charge(site, uid(emsp)) for site in sites))
        await cpo.kill()
        await cpo.start()
        await asyncio.gather(*(charge(site, uid(emsp)) for site in sites))
        await emsp.wait_until(lambda: all(len(of(emsp.cdrs, s)) == 2 for s in sites))
        await all_heard(cpo, partner)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await mirror.poll()

        assert mirror.polls > 2
        for module in MODULES:
            served = {thing["id"]: digest(thing) for thing in await emsp.fetch(module)}
            mirrored = {id_: digest(thing) for id_, thing in mirror.held[module].items()}
            assert mirrored == served, module
        assert [str(violation) for violation in emsp.violations] == []


async def test_paging_while_objects_change_loses_nothing(cpo, emsp):
    """I9: what was there when the pull began is in it, whatever moves meanwhile."""
    sites = [await new_site(cpo) for _ in range(7)]
    wanted = {site.location for site in sites}
    seen = set()

    pages = 0
    async for page, _ in emsp.pages("locations", limit=2):
        seen |= {thing["id"] for thing in page}
        pages += 1
        if pages > 4:
            continue
        async with sites[0].charger() as charger:
            await charger.boot()
            await charger.fault()
        await new_site(cpo)

    assert wanted <= seen
