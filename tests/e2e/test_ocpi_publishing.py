"""Locations, statuses and tariffs arrive at eMSPs of every OCPI version."""

from decimal import Decimal

import pytest
from waiting import until

from chargers_sim.emsp.invariants import differences
from tests.e2e.conftest import double, joined, location, new_site, tariff
from tests.support.cpo_process import CpoProcess, Refused

pytestmark = pytest.mark.asyncio(loop_scope="session")


def found(emsp, site):
    return emsp.locations.get(site.location)


async def test_a_new_location_arrives_with_its_tariff_before_it(cpo, emsp):
    """TAR-2: the tariff is there before a connector refers to it. LOC-30."""
    site = await new_site(cpo)
    await emsp.wait_until(lambda: found(emsp, site))

    pushed = [exchange.object for exchange in emsp.journal.received() if exchange.method == "PUT"]
    assert f"tariffs/NL/CPO/{site.tariff}" in pushed
    assert pushed.index(f"tariffs/NL/CPO/{site.tariff}") < pushed.index(
        f"locations/NL/CPO/{site.location}"
    )


@pytest.mark.parametrize("ocpp", ["1.6", "2.0.1"])
async def test_the_status_of_a_charger_arrives(cpo, emsp, ocpp):
    """LOC-31 and MAP-10."""
    site = await new_site(cpo, ocpp=ocpp)
    async with site.charger() as charger:
        await charger.boot()
        await emsp.wait_for_evse(site.evse, status="AVAILABLE")

        await charger.fault()
        await emsp.wait_for_evse(site.evse, status="OUTOFORDER")

        await charger.available()
        await emsp.wait_for_evse(site.evse, status="AVAILABLE")


def told_of(emsp, site):
    """Return what the double was sent of the EVSE alone, in order of arrival."""
    return [
        exchange
        for exchange in emsp.journal.received()
        if exchange.module == "locations" and str(exchange.object).endswith(f"/{site.evse}")
    ]


@pytest.mark.parametrize("ocpp", ["1.6", "2.0.1", "2.1"])
async def test_br01_a_status_change_is_one_patch_and_times_strictly_rise(cpo, emsp, ocpp):
    """BR-01, ST-01: each change is told once, and what is no change is not told."""
    site = await new_site(cpo, ocpp=ocpp)
    statuses = {"Available": "AVAILABLE", "Unavailable": "INOPERATIVE", "Faulted": "OUTOFORDER"}
    async with site.charger() as charger:
        await charger.boot()
        await emsp.wait_for_evse(site.evse, status="AVAILABLE")
        before = len(told_of(emsp, site))
        for _ in range(2):
            for word in ("Unavailable", "Faulted", "Available"):
                await charger.status(word)
                await charger.status(word)
                await emsp.wait_for_evse(site.evse, status=statuses[word])
        told = told_of(emsp, site)[before:]

    assert [exchange.method for exchange in told] == ["PATCH"] * 6
    assert [exchange.body["status"] for exchange in told] == [
        "INOPERATIVE", "OUTOFORDER", "AVAILABLE",
    ] * 2  # fmt: skip
    times = [exchange.body["last_updated"] for exchange in told]
    assert times == sorted(set(times))


@pytest.mark.parametrize("ocpp", ["1.6", "2.0.1", "2.1"])
async def test_st06_a_flapping_status_is_gathered_for_partners_and_kept_whole(tmp_path, ocpp):
    """The first change leaves at once, the last at the end of the window; every report is kept."""
    window = {"CPO_OCPI__STATUS_DEBOUNCE": "5"}
    async with CpoProcess(tmp_path, environment=window) as cpo, double("2.2.1") as emsp:
        await joined(cpo, emsp)
        site = await new_site(cpo, ocpp=ocpp)
        async with site.charger() as charger:
            await charger.boot()
            await emsp.wait_for_evse(site.evse, status="AVAILABLE")
            before = len(told_of(emsp, site))
            for _ in range(10):
                await charger.status("Faulted")
                await charger.status("Available")
            await charger.status("Unavailable")
            await emsp.wait_for_evse(site.evse, status="INOPERATIVE")

            async def kept():
                path = f"/stations/{site.station}/messages?action=StatusNotification&limit=100"
                reports = (await cpo.api("GET", path))["items"]
                return len(reports) >= 22 and reports

            reports = await until(kept)

    assert len(told_of(emsp, site)) - before < 10
    assert sum("Faulted" in str(report["payload"]) for report in reports) == 10


async def test_an_evse_without_station_is_planned(cpo, emsp):
    site = await new_site(cpo, ocpp=None)

    await emsp.wait_for_evse(site.evse, status="PLANNED")


async def test_the_operators_word_on_a_status_holds(cpo, emsp):
    """MAP-13."""
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        await emsp.wait_for_evse(site.evse, status="AVAILABLE")
        await cpo.api("PUT", f"/locations/{site.location}", location(site, status="INOPERATIVE"))
        await emsp.wait_for_evse(site.evse, status="INOPERATIVE")


async def test_a_removed_location_is_published_as_removed(cpo, emsp):
    """LOC-10."""
    site = await new_site(cpo)
    await emsp.wait_until(lambda: found(emsp, site))

    await cpo.api("DELETE", f"/locations/{site.location}")

    await emsp.wait_for_evse(site.evse, status="REMOVED")


async def test_a_changed_tariff_arrives(cpo, emsp):
    site = await new_site(cpo)
    await emsp.wait_until(lambda: emsp.tariffs.get(site.tariff))

    await cpo.api("PUT", f"/tariffs/{site.tariff}", tariff(site.tariff, price="0.55"))

    def component():
        first = emsp.tariffs[site.tariff]["elements"][0]["price_components"][0]
        return first["price"] == Decimal("0.55")

    await emsp.wait_until(component)


async def test_an_unused_tariff_is_deleted_at_the_partner(cpo, emsp):
    """TAR-1."""
    id_ = f"UNUSED-{emsp.versions[0]}"
    await cpo.api("PUT", f"/tariffs/{id_}", tariff(id_))
    await emsp.wait_until(lambda: id_ in emsp.tariffs)

    await cpo.api("DELETE", f"/tariffs/{id_}")

    await emsp.wait_until(lambda: id_ not in emsp.tariffs)


async def test_what_was_pushed_is_what_is_served(cpo, emsp):
    """I10."""
    site = await new_site(cpo)
    await emsp.wait_until(lambda: found(emsp, site))

    for module in ("locations", "tariffs"):
        served = [
            thing
            for thing in await emsp.fetch(module)
            if thing["id"] in {site.location, site.tariff}
        ]
        held = {thing["id"] for thing in served}
        assert len(served) == 1
        breaches = differences(emsp.books, {module: served})
        assert [str(b) for b in breaches if any(id_ in b.object for id_ in held)] == []


async def test_lists_come_in_pages_that_lose_nothing(cpo, emsp):
    """PAG-1 to PAG-5."""
    sites = [await new_site(cpo) for _ in range(5)]

    pages = [page async for page, _ in emsp.pages("locations", limit=2)]

    assert max(len(page) for page in pages) <= 2
    ids = [thing["id"] for page in pages for thing in page]
    assert len(ids) == len(set(ids))
    assert {site.location for site in sites} <= set(ids)


async def test_a_list_by_date_holds_only_what_changed_since(cpo, emsp):
    """PAG-1: date_from is inclusive, date_to exclusive."""
    await new_site(cpo)
    newest = max(thing["last_updated"] for thing in await emsp.fetch("locations"))
    site = await new_site(cpo)

    later = await emsp.fetch("locations", date_from=newest)
    before = await emsp.fetch("locations", date_to=newest)

    assert site.location in {thing["id"] for thing in later}
    assert site.location not in {thing["id"] for thing in before}
    assert newest in {thing["last_updated"] for thing in later}
    assert newest not in {thing["last_updated"] for thing in before}


async def test_a_single_object_is_served_and_an_unknown_one_is_404(cpo, emsp):
    """LOC-21 and TRANS-14."""
    site = await new_site(cpo)
    url = emsp.endpoint("locations", "SENDER").rstrip("/")
    caller = emsp.caller()

    evse = await caller.request(
        "get", "GET", f"{url}/{site.location}/{site.evse}", module="locations"
    )
    connector = await caller.request(
        "get", "GET", f"{url}/{site.location}/{site.evse}/1", module="locations"
    )
    unknown = await caller.request(
        "get", "GET", f"{url}/NOWHERE", module="locations", good_only=False
    )

    assert (evse.data["uid"], connector.data["id"]) == (site.evse, "1")
    assert unknown.status == 404
    assert unknown.status_code >= 2000


async def test_a_location_the_specification_forbids_is_refused_with_the_field_named(cpo):
    site = await new_site(cpo)
    broken = location(site)
    broken["evses"][0]["connectors"][0]["standard"] = "NO_SUCH_PLUG"

    with pytest.raises(Refused) as refused:
        await cpo.api("PUT", f"/locations/{site.location}", broken)

    assert refused.value.status in {400, 422}
    assert "standard" in str(refused.value.body)
