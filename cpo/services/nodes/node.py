"""One of several nodes: its parts, started and stopped in order."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from cpo.errors import CpoError
from cpo.services.authorization import Authorizations
from cpo.services.memory import Memory
from cpo.services.nodes.errands import Errands
from cpo.services.nodes.feed import Feed, Newsroom
from cpo.services.nodes.membership import MemberBook, Membership
from cpo.services.nodes.seats import Seats
from cpo.services.partners import Partners
from cpo.services.ports import Bus, Store
from cpo.services.stations import Stations
from cpo.services.tokens import Tokens
from cpo.services.transactions import Transactions

log = structlog.get_logger()

MEMBERS = "members"
# Objects that changed longer ago than this many seconds are in everybody's memory.
CHANGES_KEPT = 86_400.0


class Node:
    """Implements nothing by itself: `errands`, `feed`, `membership` and `seats` do.

    `lead` is what a node does to become the leader; when it fails, the node ends.
    """

    def __init__(
        self,
        *,
        memory: Memory,
        store: Store,
        newsroom: Newsroom,
        book: MemberBook,
        bus: Bus,
        membership: Membership,
        partners: Partners,
        tokens: Tokens,
        poll_interval: float,
    ) -> None:
        self.id = node = membership.node
        self._memory = memory
        self._store = store
        self._newsroom = newsroom
        self._book = book
        self._bus = bus
        self.errands = Errands(bus, node)
        self.membership = membership
        self.feed = Feed(
            node=node,
            memory=memory,
            partners=partners,
            tokens=tokens,
            newsroom=newsroom,
            store=store,
            bus=bus,
            poll_interval=poll_interval,
        )
        self.seats: Seats
        self.lead: Callable[[], Awaitable[None]] | None = None
        self.on_alive: list[Callable[[frozenset[str]], None]] = []
        self._promoted = False
        self._tasks: set[asyncio.Task[None]] = set()

    def attach(
        self,
        stations: Stations,
        transactions: Transactions,
        authorizations: Authorizations,
        *,
        call_timeout: float,
    ) -> None:
        """Say who keeps the stations of this node."""
        self.seats = Seats(
            node=self.id,
            memory=self._memory,
            store=self._store,
            newsroom=self._newsroom,
            feed=self.feed,
            errands=self.errands,
            stations=stations,
            transactions=transactions,
            authorizations=authorizations,
            call_timeout=call_timeout,
        )
        self.seats.leader = lambda: self.membership.leader
        stations.seats = self.seats

    async def begin(self) -> None:
        """Take part; lead where nobody does."""
        await self.errands.start()
        await self.feed.catch_up()
        await self._stations_of_all()
        await self.feed.start()
        await self._bus.listen(MEMBERS, lambda _: self.membership.look_now())
        self.membership.on_change.append(self._came_or_went)
        self.membership.on_lead = lambda: self._spawn(self._lead_or_end())
        if self.membership.leading:
            await self._lead()
        await self._bus.tell(MEMBERS, self.id.encode())

    async def _stations_of_all(self) -> None:
        """Learn where every station is connected."""
        identities = sorted(self._memory.stations)
        for start in range(0, len(identities), 500):
            await self.seats.changed(identities[start : start + 500])

    async def _lead_or_end(self) -> None:
        try:
            await self._lead()
        except Exception:
            log.exception("nodes.could_not_lead")
            self.membership.on_lost("it could not lead")

    async def _lead(self) -> None:
        # Everything that the leader before wrote, then no more of what only leaders write.
        await self.feed.catch_up()
        self.feed.leading = True
        await self._adopt()
        if self.lead is not None:
            await self.lead()
        self._promoted = True

    def _came_or_went(self, alive: frozenset[str]) -> None:
        for node in self.errands.known() - alive:
            self.errands.forget(node)
        for hear in self.on_alive:
            hear(alive)
        if self._promoted:
            self._spawn(self._adopt())

    async def _adopt(self) -> None:
        """Answer for the stations of nodes that are gone."""
        try:
            await self.seats.adopt(await self._book.adopt(self.id))
        except CpoError as error:
            log.warning("stations.not_adopted", error=str(error))
            await asyncio.sleep(1)
            self._spawn(self._adopt())

    async def tidy(self) -> None:
        """Forget changes that everybody has read."""
        await self._book.forget_changes(CHANGES_KEPT)

    async def stop(self) -> None:
        """Take part no more; what this node did is free for the others afterwards."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.seats.stop()
        await self.feed.stop()
        await self.errands.stop()

    def _spawn(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
