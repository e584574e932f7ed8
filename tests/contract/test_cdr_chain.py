"""The hash chain over CDRs, over the real stores (N25)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from charging import NOON, Charging

from cpo.domain.events import EventKind, IdToken, TransactionEvent
from cpo.domain.values import replace
from cpo.services.cdr_chain import CdrChain
from cpo.services.ports import Work


@pytest.fixture
async def charging(store):
    world = Charging(store=store)
    world.partner()
    await world.site()
    await world.token()
    return world


async def charge(charging, number, *, end=5000):
    begun = NOON + timedelta(hours=number)
    start = TransactionEvent(
        kind=EventKind.STARTED,
        at=begun,
        received_at=begun,
        evse_id=1,
        connector_id=1,
        id_token=IdToken("TAG"),
        meter_wh=Decimal(1000),
    )
    answer = await charging.told(start)
    stopped = begun + timedelta(minutes=30)
    await charging.told(
        TransactionEvent(
            kind=EventKind.ENDED,
            at=stopped,
            received_at=stopped,
            transaction=answer.transaction,
            meter_wh=Decimal(end),
        )
    )


def chain_of(store):
    return CdrChain(store, now=lambda: datetime.now(UTC))


async def test_every_billed_cdr_is_a_link_and_an_untouched_chain_holds(charging, store):
    chain = chain_of(store)
    await charge(charging, 0)
    await chain.extend()
    for number in range(1, 5):
        await charge(charging, number)

    [party] = await chain.verify()

    assert (party["length"], party["broken"]) == (5, None)
    assert (party["country_code"], party["party_id"]) == ("NL", "CPO")


async def test_the_chain_goes_on_after_a_restart(charging, store):
    await charge(charging, 0)
    await chain_of(store).extend()
    await charge(charging, 1)

    [party] = await chain_of(store).verify()

    assert (party["length"], party["broken"]) == (2, None)


async def test_a_changed_cdr_is_named(charging, store):
    chain = chain_of(store)
    for number in range(3):
        await charge(charging, number)
    await chain.extend()
    page = await store.page("cdrs", limit=10)
    victim = page.items[1][0]
    work = Work()
    work.put(replace(victim, energy_wh=victim.energy_wh + 1))
    await store.commit(work)

    [party] = await chain.verify()

    assert party["broken"] == victim.id


async def test_what_is_held_is_sealed_when_it_is_released(charging, store):
    chain = chain_of(store)
    await charge(charging, 0, end=500)
    assert await chain.extend() == 0
    page = await store.page("cdrs", limit=10)
    work = Work()
    work.put(replace(page.items[0][0], hold=()))
    await store.commit(work)

    assert await chain.extend() == 1


async def test_what_was_read_to_its_end_is_not_read_again(charging, store):
    """CDRs of one commit share their instant, so the last instant alone does not tell."""
    chain, read = chain_of(store), []
    page = store.page

    async def noted(*args, **query):
        found = await page(*args, **query)
        read.extend(cdr.id for cdr, _ in found.items)
        return found

    store.page = noted
    await charge(charging, 0)
    await charge(charging, 1)
    assert (await chain.extend(), len(read)) == (2, 2)
    assert (await chain.extend(), len(read)) == (0, 2)
    await charge(charging, 2)
    assert (await chain.extend(), len(read)) == (1, 3)
