"""Who is alive, by whoever looks: a clock that the test turns, and rows in a dictionary."""

import pytest

from cpo.errors import StoreUnavailable
from cpo.services.nodes import membership
from cpo.services.nodes.membership import Membership
from cpo.services.ports import Beats


class Book:
    """The rows of the nodes."""

    def __init__(self):
        self.beats = {}
        self.connected = set()
        self.leader = None
        self.away = False

    async def beat(self, node):
        if self.away:
            raise StoreUnavailable("away")
        alive = node in self.beats
        if alive:
            self.beats[node] += 1
        return Beats(alive, dict(self.beats), self.leader, frozenset(self.connected))

    async def bury(self, node, beat):
        if self.beats.get(node) != beat:
            return False
        del self.beats[node]
        return True

    async def lead(self, node):
        if self.leader in self.beats:
            return self.leader == node
        self.leader = node
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is turned."""

    class Clock:
        at = 1000.0

    monkeypatch.setattr(membership, "_now", lambda: Clock.at)
    return Clock


@pytest.fixture
def book():
    book = Book()
    book.beats = {"me": 0, "other": 0}
    book.connected = {"me", "other"}
    book.leader = "other"
    return book


@pytest.fixture
def me(book):
    return Membership(book, "me", timeout=10)


async def look_for(me, clock, seconds, step=1.0):
    end = clock.at + seconds
    while clock.at < end:
        clock.at += step
        await me._look()


async def test_a_node_that_beats_is_never_given_up(me, book, clock):
    for _ in range(60):
        book.beats["other"] += 1
        await look_for(me, clock, 1)

    assert me.alive == {"me", "other"}
    assert not me.leading


async def test_a_node_that_hangs_is_given_up_after_its_time_and_replaced(me, book, clock):
    led = []
    me.on_lead = lambda: led.append(clock.at)

    await look_for(me, clock, 9)
    assert "other" in me.alive
    await look_for(me, clock, 3)

    assert me.alive == {"me"}
    assert me.leading
    assert len(led) == 1


async def test_a_node_without_a_connection_is_given_up_sooner(me, book, clock):
    """P8: kill -9 takes the connection with it."""
    book.connected.discard("other")

    await look_for(me, clock, 5)

    assert me.leading


async def test_who_slept_itself_gives_nobody_up(me, book, clock):
    await look_for(me, clock, 2)
    clock.at += 3600
    await me._look()

    assert me.alive == {"me", "other"}


async def test_a_database_that_was_away_buries_nobody(me, book, clock):
    await look_for(me, clock, 2)
    book.away = True
    with pytest.raises(StoreUnavailable):
        await me._look()
    me._known.clear()  # what the loop does then
    book.away = False
    await look_for(me, clock, 9)

    assert "other" in me.alive


async def test_who_was_given_up_learns_it(me, book, clock):
    reasons = []
    me.on_lost = reasons.append
    await look_for(me, clock, 1)
    del book.beats["me"]
    await me._look()

    assert reasons == ["the other nodes took it for dead"]


async def test_who_cannot_show_to_be_alive_is_not_sure_to_lead(me, book, clock):
    """Promise 3: nothing leaves for a partner that a newer leader may have overtaken."""
    await look_for(me, clock, 1)
    assert me.sure()
    clock.at += 2

    assert not me.sure()
