"""What the database keeps of several nodes: who is alive, who leads, what changed."""

import asyncio

import pytest

from cpo.db.address import Address
from cpo.db.members import Members
from cpo.db.store import open_store
from cpo.domain.station import Station
from cpo.errors import Conflict, StoreUnavailable
from cpo.services.ports import Kind, Work

pytestmark = pytest.mark.postgres
KEY = b"a key for tests"


@pytest.fixture
async def nodes(postgres_url):
    """Two nodes: a store and a connection for its sign of life each."""
    opened = []
    for name in ("one", "two"):
        store = await open_store(postgres_url, vault_key=KEY, node=name)
        book = Members(store.address, patience=5)
        await book.join(name)
        opened.append((store, book))
    yield opened
    for store, book in opened:
        await book.close()
        await store.close()


async def test_many_nodes_may_start_at_once(postgres_url):
    """The first start of several nodes makes what only they need, once."""
    address = Address.of(postgres_url)
    books = [Members(address, patience=30) for _ in range(8)]
    try:
        for book in books:
            await book._run("fetchval", "SELECT 1")  # connected: nothing keeps them apart
        for _ in range(5):
            await books[0]._run("execute", "DROP INDEX IF EXISTS ix_dirty_marks_generation")
            await asyncio.gather(*(book.join(f"node-{n}") for n, book in enumerate(books)))
            for n, book in enumerate(books):
                await book.leave(f"node-{n}")
    finally:
        for book in books:
            await book.close()


def writing(*rows):
    work = Work()
    for row in rows:
        work.put(row)
    return work


async def test_a_node_that_was_given_up_writes_nothing_any_more(nodes):
    """D2: a leader that only thinks it leads is fenced off, with all it does."""
    (one, _), (two, book) = nodes
    await one.commit(writing(Station(identity="CP1")))
    beats = await book.beat("two")
    assert await book.bury("one", beats.beats["one"])

    with pytest.raises(StoreUnavailable):
        await one.commit(writing(Station(identity="CP2")))
    await two.commit(writing(Station(identity="CP3")))

    assert {s.identity for s in await two.stations()} == {"CP1", "CP3"}


async def test_a_node_that_beat_meanwhile_is_not_given_up(nodes):
    (_, first), (_, second) = nodes
    before = (await second.beat("two")).beats["one"]
    await first.beat("one")

    assert not await second.bury("one", before)


async def test_one_node_leads_until_it_is_gone(nodes):
    (_, first), (_, second) = nodes

    assert await first.lead("one")
    assert not await second.lead("two")
    assert await first.lead("one")
    await first.leave("one")
    assert await second.lead("two")
    assert (await second.beat("two")).leader == "two"


async def test_a_connection_that_is_there_is_seen(nodes):
    (_, first), (_, second) = nodes
    assert (await second.beat("two")).connected == {"one", "two"}

    await first.close()

    assert (await second.beat("two")).connected == {"two"}


async def test_stations_of_a_node_that_is_gone_are_adopted_once(nodes):
    (one, first), (two, second) = nodes
    for identity in ("CP1", "CP2", "CP3"):
        await one.commit(writing(Station(identity=identity)))
    held = await one.take_station("CP1", "one", online="1.6")
    other = await two.take_station("CP2", "two", online="2.0.1")
    assert [seat.station for seat in await second.adopt("two")] == ["CP3"]
    await first.leave("one")

    [adopted] = await second.adopt("two")

    assert adopted.station == "CP1"
    assert adopted.epoch == held.epoch + 1
    assert await second.adopt("two") == []
    assert (await two.seat("CP2")) == other


async def test_what_changed_is_told_once_to_each(nodes):
    (one, _), (two, _) = nodes
    seen = await two.newsroom.stamp()
    work = writing(Station(identity="CP1"))
    work.mark(["partner"], Kind.LOCATION, "LOC1")
    await one.commit(work)

    news = await two.newsroom.since(seen, marks=True)

    assert news.changes == (("station", "CP1"),)
    assert [(m.partner_id, m.object_id) for m in news.marks] == [("partner", "LOC1")]
    assert (await two.newsroom.since(news.stamp, marks=True)).changes == ()
    await two.commit(writing(Station(identity="CP1", approval="rejected")))
    again = await one.newsroom.since(news.stamp, marks=True)
    assert again.changes == (("station", "CP1"),)
    assert again.marks == ()


async def test_a_station_is_read_with_who_answers_for_it(nodes):
    (one, _), (two, _) = nodes
    await one.commit(writing(Station(identity="CP1"), Station(identity="CP2")))
    seat = await one.take_station("CP1", "one", online="1.6")

    found = await two.newsroom.stations(["CP1", "CP2", "CP9"], readings=True)

    assert sorted(found) == ["CP1", "CP2"]
    assert (found["CP1"].node, found["CP1"].seat, found["CP1"].online) == ("one", seat, "1.6")
    assert (found["CP2"].node, found["CP2"].seat) == ("", None)
    await one.show_online(seat, "")
    assert (await two.newsroom.stations(["CP1"], readings=False))["CP1"].online == ""


async def test_a_unit_of_the_node_before_is_refused(nodes):
    """OF-05: what the old node still has of a station is not kept."""
    (one, _), (two, _) = nodes
    await one.commit(writing(Station(identity="CP1")))
    old = await one.take_station("CP1", "one")
    new = await two.take_station("CP1", "two")
    late, fresh = writing(Station(identity="CP1")), writing(Station(identity="CP1"))
    late.fence(old)
    fresh.fence(new)

    with pytest.raises(Conflict):
        await one.commit(late)
    await two.commit(fresh)


async def test_one_process_and_several_nodes_do_not_share_a_database(nodes, postgres_url):
    """A server that runs alone would know nothing of what the nodes write."""
    with pytest.raises(StoreUnavailable, match="another process"):
        await open_store(postgres_url, vault_key=KEY, alone=True)
