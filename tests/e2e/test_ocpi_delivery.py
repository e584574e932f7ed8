"""What a partner does wrong loses nothing, repeats nothing wrongly and disturbs nobody else."""

import asyncio
from decimal import Decimal

import pytest
import pytest_asyncio

from chargers_sim.emsp.invariants import journal_breaches, sessions_match_cdrs, unfinished
from tests.e2e.conftest import (
    VERSIONS,
    all_heard,
    double,
    joined,
    location,
    new_site,
    tariff,
    uid,
)
from tests.e2e.test_ocpi_charging import at_site, charge, of
from tests.support.cpo_process import CpoProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(params=VERSIONS, loop_scope="session")
async def partner(request, cpo):
    """An eMSP for one test, since it may end up distrusted."""
    async with double(request.param) as emsp:
        id_ = await joined(cpo, emsp)
        yield emsp
        emsp.faults.clear()
        await cpo.api("DELETE", f"/partners/{id_}")


async def known(emsp):
    await emsp.send_token({"uid": uid(emsp)})
    return uid(emsp)


FAULTS = (
    *("500", "503", "429", "3000", "slow", "reset", "apply-then-reset", "html", "not-json"),
    *("redirect", "wrong-length", "empty", "drip", "gzip-bomb", "huge"),
)


EVERYWHERE = ("500", "apply-then-reset")
"""Delivery is the same in every version: all faults are tried in one, these in the others too."""


@pytest.mark.parametrize(
    ("partner", "do"),
    [
        *(("2.2.1", do) for do in FAULTS),
        *((version, do) for version in ("2.1.1", "2.3.0") for do in EVERYWHERE),
    ],
    indirect=["partner"],
)
async def test_a_charge_is_delivered_once_through_faults(cpo, partner, do):
    """I1, I2, I7, PUSH-2, PUSH-5: whatever the partner does to the first requests, in the end all is there once."""
    token = await known(partner)
    site = await new_site(cpo)
    await partner.wait_until(lambda: partner.locations.get(site.location))
    for module in ("sessions", "cdrs"):
        partner.fail(do, module=module, times=2, seconds=0.2, megabytes=64)

    await charge(site, token)
    await partner.wait_until(
        lambda: (
            [s["status"] for s in of(partner.sessions, site)] == ["COMPLETED"]
            and of(partner.cdrs, site)
        ),
    )

    cdrs = {e.body["id"] for e in partner.journal.received("cdrs", method="POST") if e.read}
    assert len(cdrs) == 1
    assert [str(b) for b in journal_breaches(partner.journal.exchanges)] == []
    assert [str(b) for b in sessions_match_cdrs(partner.books)] == []


@pytest.mark.parametrize("status", ["302", "307", "308"])
async def test_our_token_never_follows_a_redirect_to_another_host(cpo, partner, status):
    """URL-4."""
    async with double("2.2.1") as trap:
        target = f"{trap.url}/ocpi/emsp/2.2.1/tariffs/x"
        partner.fail(status, module="locations", times=2, location=target)
        site = await new_site(cpo)
        await partner.wait_until(lambda: partner.locations.get(site.location))

        assert trap.journal.exchanges == []


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_request_that_timed_out_is_sent_again(tmp_path, version):
    async with CpoProcess(tmp_path, push_timeout=2) as cpo, double(version) as partner:
        await joined(cpo, partner)
        token = await known(partner)
        site = await new_site(cpo)
        partner.fail("apply-then-timeout", module="cdrs", seconds=3600)

        await charge(site, token)

        await partner.wait_until(lambda: [e for e in partner.journal.received("cdrs") if e.status])
        assert len(of(partner.cdrs, site)) == 1
        assert [str(b) for b in journal_breaches(partner.journal.exchanges)] == []


async def test_an_object_a_partner_refuses_is_parked_and_resent_on_change(cpo, partner):
    """PUSH-6: 2xxx parks the object with the partner's words until it changes."""
    partner.fail("2001", module="tariffs", object="PARKED", times=1)
    await cpo.api("PUT", "/tariffs/PARKED", tariff("PARKED"))
    await partner.wait_until(lambda: partner.journal.received("tariffs", object_id="PARKED"))
    await asyncio.sleep(0.5)

    assert len(partner.journal.received("tariffs", object_id="PARKED")) == 1
    await cpo.api("PUT", "/tariffs/PARKED", tariff("PARKED", price="0.99"))
    await partner.wait_until(lambda: partner.tariffs.get("PARKED"))
    await cpo.api("DELETE", "/tariffs/PARKED")


async def test_a_patch_of_an_unknown_object_becomes_a_put(cpo, partner):
    """OWN-3, LOC-32, PUSH-4 and PUSH-5."""
    site = await new_site(cpo)
    await partner.wait_until(lambda: partner.locations.get(site.location))
    partner.books.locations.replace_all([])

    async with site.charger() as charger:
        await charger.boot()
        await partner.wait_for_evse(site.evse, status="AVAILABLE")

    assert site.location in partner.locations


async def test_the_newest_state_only_reaches_a_partner_that_was_away(cpo, partner):
    """PUSH-1: ten changes while it is down are one request afterwards."""
    site = await new_site(cpo)
    await partner.wait_until(lambda: partner.locations.get(site.location))
    partner.fail("503", times=None)
    for _ in range(5):
        for status in ("OUTOFORDER", "INOPERATIVE"):
            place = location(site)
            place["evses"][0] |= {"status": status, "physical_reference": status[:12]}
            await cpo.api("PUT", f"/locations/{site.location}", place)
    await partner.wait_until(lambda: partner.faults.rules[0].struck)
    before = len(partner.journal.received("locations", object_id=site.location))

    partner.faults.clear()
    await partner.wait_for_evse(site.evse, status="INOPERATIVE")
    await asyncio.sleep(0.3)

    after = [
        exchange
        for exchange in partner.journal.received("locations", object_id=site.location)[before:]
        if exchange.status in {200, 201}
    ]
    assert len(after) <= 2


async def test_a_dead_partner_does_not_delay_another(cpo, doubles, partner):
    """I11."""
    partner.fail("timeout", times=None, seconds=30)
    healthy = next(d for d in doubles.values() if d.versions != partner.versions)
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        await healthy.wait_for_evse(site.evse, status="AVAILABLE")
        await charger.fault()
        await healthy.wait_for_evse(site.evse, status="OUTOFORDER")


async def test_a_full_resync_sends_everything_again(cpo, partner):
    """PUSH-11."""
    site = await new_site(cpo)
    await partner.wait_until(lambda: partner.locations.get(site.location))
    partner.books.locations.replace_all([])
    id_ = next(
        entry["id"]
        for entry in (await cpo.api("GET", "/partners?limit=1000"))["items"]
        if entry["version"] == partner.versions[0]
        and any(role["party_id"] == partner.parties[0][1] for role in entry["roles"])
    )

    await cpo.api("POST", f"/partners/{id_}/resync")

    await partner.wait_until(lambda: partner.locations.get(site.location))


@pytest.mark.parametrize("version", VERSIONS)
async def test_nothing_is_lost_or_repeated_over_a_kill(tmp_path, version):
    """I1, I2, I5, I22 and PUSH-10: killed in the middle of charges, started again, all arrives once."""
    async with CpoProcess(tmp_path) as cpo, double(version) as emsp:
        partner = await joined(cpo, emsp)
        token = emsp.drivers.listed()[0].token["uid"]
        await emsp.send_token({"uid": token})
        sites = [await new_site(cpo) for _ in range(2)]
        emsp.fail("500", module="cdrs", times=None)
        await charge(sites[0], token, wh=3000)
        async with sites[1].charger() as charger:
            await charger.boot()
            charger.go_back(hours=2)
            await charger.begin(token)
            transaction = charger.transaction
            past = charger.past
            await cpo.kill()

        await cpo.start()
        emsp.faults.clear()
        async with sites[1].charger() as charger:
            charger.transaction, charger.past = transaction, past
            charger.pass_time(hours=1)
            await charger.end(7000)
        await emsp.wait_until(lambda: all(of(emsp.cdrs, site) for site in sites))
        await emsp.wait_until(lambda: not list(unfinished(emsp.books)))

        energies = [of(emsp.cdrs, site)[0]["total_energy"] for site in sites]
        assert energies == [Decimal(3), Decimal(7)]
        assert len(emsp.cdrs) == len(emsp.sessions) == 2
        assert [str(b) for b in journal_breaches(emsp.journal.exchanges)] == []
        assert [str(violation) for violation in emsp.violations] == []
        await all_heard(cpo, partner)
        seen = len(emsp.journal.received())
        await cpo.stop()
        await cpo.start()
        await asyncio.sleep(1)
        again = [e for e in emsp.journal.received()[seen:] if e.method != "GET"]
        assert [(e.method, e.object) for e in again] == []
        assert cpo.tracebacks() == ""
        # Which of two comes first nobody promises.
        assert [sum(at_site(s, site) for s in emsp.sessions.values()) for site in sites] == [1, 1]
