"""Several CPO parties of ours on one connection, partners that were away, strict ones, and policies."""

import asyncio

import pytest
import pytest_asyncio

from chargers_sim.emsp.invariants import journal_breaches, sessions_match_cdrs, unfinished
from tests.e2e.conftest import (
    PASSWORD,
    VERSIONS,
    Site,
    all_heard,
    double,
    joined,
    location,
    new_site,
    tariff,
    uid,
)
from tests.e2e.test_ocpi_charging import charge, of
from tests.support.cpo_process import CpoProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECOND = """
[[parties]]
country_code = "BE"
party_id = "CP2"
currency = "EUR"
time_zone = "Europe/Brussels"
business_details = { name = "Second" }
"""


@pytest_asyncio.fixture(loop_scope="session")
async def two(tmp_path):
    """A server of two CPO parties."""
    async with CpoProcess(tmp_path, more=SECOND) as cpo:
        yield cpo
        assert cpo.tracebacks() == ""


async def site_of_second(cpo):
    site = Site("LOC-BE", "EVSE-BE", "TAR-BE", "CP-BE", cpo, "1.6")
    owner = {"country_code": "BE", "party_id": "CP2"}
    await cpo.api("PUT", f"/stations/{site.station}", {"password": PASSWORD})
    await cpo.api("PUT", f"/tariffs/{site.tariff}", tariff(site.tariff) | owner)
    place = location(site) | owner
    place["evses"][0]["evse_id"] = "BE*CP2*EBE"
    await cpo.api("PUT", f"/locations/{site.location}", place)
    return site


@pytest.mark.parametrize("version", ["2.2.1", "2.3.0"])
async def test_each_of_our_parties_speaks_for_its_own(two, version):
    """CRED-12, HDR-3 and OWN-4."""
    async with double(version) as emsp:
        await joined(two, emsp)
        await emsp.send_token({"uid": uid(emsp)})
        first, second = await new_site(two), await site_of_second(two)
        await charge(first, uid(emsp))
        await charge(second, uid(emsp))
        await emsp.wait_until(lambda: of(emsp.cdrs, first) and of(emsp.cdrs, second))

        assert {(r.country_code, r.party_id) for r in emsp.peer.roles} == {
            ("NL", "CPO"),
            ("BE", "CP2"),
        }
        owners = {cdr["cdr_location"]["id"]: cdr["party_id"] for cdr in emsp.cdrs.values()}
        assert owners == {first.location: "CPO", second.location: "CP2"}
        assert emsp.locations["LOC-BE"]["party_id"] == "CP2"
        for exchange in emsp.journal.received():
            if exchange.object and exchange.object.startswith(("tariffs/BE", "locations/BE")):
                headers = {name.lower(): value for name, value in exchange.headers.items()}
                assert headers["ocpi-from-party-id"] == "CP2"
        assert [str(violation) for violation in emsp.violations] == []


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_partner_that_was_away_gets_each_object_once(cpo, version):
    """PUSH-1, PUSH-7, PUSH-8 and OFF-2: many charges meanwhile, all there once afterwards."""
    async with double(version) as emsp:
        partner = await joined(cpo, emsp)
        await emsp.send_token({"uid": uid(emsp)})
        emsp.fail("503", times=None)
        sites = [await new_site(cpo, ocpp=ocpp) for ocpp in ("1.6", "2.0.1") * 3]
        for hours in (1.0, 0.8, 0.6):  # at times of their own, else they would be repeats
            await asyncio.gather(*(charge(s, uid(emsp), wh=1000, hours=hours) for s in sites))

        emsp.faults.clear()
        await emsp.wait_until(lambda: all(len(of(emsp.cdrs, s)) == 3 for s in sites))
        await emsp.wait_until(lambda: not list(unfinished(emsp.books)))
        await all_heard(cpo, partner)

        sent = [e.object for e in emsp.journal.received("sessions") if e.status in {200, 201}]
        assert len(sent) == len(set(sent)) == 18
        assert [str(b) for b in sessions_match_cdrs(emsp.books)] == []
        assert [str(b) for b in journal_breaches(emsp.journal.exchanges)] == []
        await cpo.api("DELETE", f"/partners/{partner}")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_strict_partner_is_not_pushed_to_twice(cpo, version):
    """OFF-1: it fetches what it missed; what it fetches is complete."""
    async with double(version) as emsp:
        partner = await joined(cpo, emsp)
        await cpo.api("PATCH", f"/partners/{partner}", {"policy": {"strict": True}})
        site = await new_site(cpo)
        await emsp.wait_until(lambda: emsp.locations.get(site.location))
        before = len(emsp.journal.received("locations", object_id=site.location))
        emsp.fail("500", module="locations", object=site.location)
        async with site.charger() as charger:
            await charger.boot()
            await emsp.wait_until(
                lambda: (
                    len(emsp.journal.received("locations", object_id=site.location)) > before
                    and emsp.faults.rules[0].spent
                )
            )
            await asyncio.sleep(1)

        tries = emsp.journal.received("locations", object_id=site.location)[before:]
        assert len([e for e in tries if e.object.endswith(site.location)]) <= 1
        served = next(t for t in await emsp.fetch("locations") if t["id"] == site.location)
        assert served["evses"][0]["status"] in {"AVAILABLE", "UNKNOWN"}
        await cpo.api("DELETE", f"/partners/{partner}")


async def test_a_partner_may_be_kept_to_an_older_version(cpo):
    """V-4 and V-5: a ceiling per partner."""
    async with double("2.3.0") as emsp:
        emsp.versions = ["2.1.1", "2.2.1", "2.3.0"]
        invitation = await cpo.api("POST", "/partners", {"name": "kept low"})
        await cpo.api(
            "PATCH", f"/partners/{invitation['id']}", {"policy": {"versions": ["2.1.1", "2.2.1"]}}
        )

        peer = await emsp.register(invitation["versions_url"], invitation["token_a"])

        assert peer.edition.version == "2.2.1"
        await cpo.api("DELETE", f"/partners/{invitation['id']}")
