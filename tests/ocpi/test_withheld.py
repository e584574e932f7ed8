"""What must not be sent as it is: held back, its field named, the operator told (promise 7)."""

import ocpi_charges
import pytest
from partner_world import TOKEN, registered
from waiting import until

from chargers_sim.emsp import Emsp
from cpo.domain.values import replace
from cpo.services.ports import Kind, Work

VERSIONS = ["2.1.1", "2.2.1", "2.3.0"]
LONG = "x" * 300


def objects(partner_id, *, good):
    """One of each kind; what is not good got past all our checks but the last."""
    changes = {} if good else {"currency": "EU"}
    session = ocpi_charges.session(partner_id=partner_id)
    cdr = ocpi_charges.cdr(partner_id=partner_id)
    return {
        (Kind.TARIFF, "T-9"): replace(ocpi_charges.tariff(), id="T-9", **changes),
        (Kind.LOCATION, "L-9"): replace(
            ocpi_charges.location(), id="L-9", **({} if good else {"city": LONG})
        ),
        (Kind.SESSION, session.id): replace(session, **changes),
        (Kind.CDR, cdr.id): replace(cdr, **changes),
    }


async def keep(world, found, *, mark=()):
    """Store objects as a fault of ours would leave them, and remember those that are in memory."""
    sites = world.memory.sites
    work = Work()
    for (kind, id_), value in found.items():
        work.put(value)
        work.mark(mark, kind, id_)
    stamp = await world.store.commit(work)
    for (kind, id_), value in found.items():
        if kind is Kind.TARIFF:
            sites.tariffs[id_], sites.tariff_stamps[id_] = value, stamp
        elif kind is Kind.LOCATION:
            sites.put(value, stamp)


def named(world, partner):
    """What the operator finds: the field that is wrong, by object."""
    return {
        (mark.kind, mark.object_id): mark.last_error.partition(":")[0]
        for mark in world.partners.backlog(partner.id)
        if mark.parked
    }


def wrong(found):
    """The field that is wrong in each of them."""
    return {item: "city" if item[0] is Kind.LOCATION else "currency" for item in found}


async def lists(ask, version):
    """The ids in all lists that a partner may ask for."""
    found = set()
    for module in ("tariffs", "locations", "sessions", "cdrs"):
        told = await ask("GET", f"{version}/{module}?date_from=2020-01-01T00:00:00Z")
        assert told.said == (200, 1000)
        found |= {item["id"] for item in told.data}
    return found


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_is_withheld_from_who_asks_is_named_to_the_operator(world, version):
    partner = await registered(world, version=version)
    bad = objects(partner.id, good=False)
    await keep(world, bad)
    ask = world.ask(TOKEN)

    for _ in range(2):
        assert await lists(ask, version) == set()
        assert named(world, partner) == wrong(bad)
        world.side.withheld._found.clear()  # as a start does: the next to ask finds it again

    good = objects(partner.id, good=True)
    await keep(world, good)

    assert await lists(ask, version) == {id_ for _, id_ in good}
    assert named(world, partner) == {}


@pytest.mark.parametrize("version", VERSIONS)
async def test_one_object_that_is_asked_for_and_withheld_is_named_too(world, version):
    partner = await registered(world, version=version)
    await keep(world, {i: v for i, v in objects(partner.id, good=False).items() if i[1] == "L-9"})
    told = await world.ask(TOKEN)("GET", f"{version}/locations/L-9")

    assert (told.http, named(world, partner)) == (404, {(Kind.LOCATION, "L-9"): "city"})


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_is_not_pushed_as_it_is_is_named_to_the_operator(world, version):
    async with Emsp(versions=[version]) as emsp:
        partner = await world.partners.connect("double", emsp.versions_url, emsp.invite())
        bad = objects(partner.id, good=False)
        heard = len(emsp.journal.received())
        await keep(world, bad, mark=[partner.id])
        # The CDR waits for its Session, and that is held back: it is settled by being parked.
        await until(lambda: named(world, partner) == wrong(bad))

        assert emsp.journal.received()[heard:] == []
        assert emsp.violations == []

        good = objects(partner.id, good=True)
        await keep(world, good, mark=[partner.id])
        await until(lambda: world.partners.backlog(partner.id) == [])

        assert set(emsp.locations) | set(emsp.tariffs) == {"L-9", "T-9"}
        assert emsp.violations == []
