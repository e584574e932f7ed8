"""Who is alive, and who leads.

Every node counts up a row of its own. One whose count stands still for `node_timeout` (less when
its connection is gone too), seen by a node that could read all the while, is given up: its row is
deleted, and with that the database takes nothing from it any more. No clocks are compared, and a
database that was away buries nobody.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import structlog

from cpo.errors import CpoError
from cpo.services.ports import Beats, Seat

log = structlog.get_logger()

BEATS_IN_TIMEOUT = 5
LONGEST_PAUSE = 0.5
# A node that is silent and has no connection to the database either is given up sooner: its
# process is gone. After a restart of the database all are back well within this time.
WITHOUT_CONNECTION = 3.0


class MemberBook(Protocol):
    """The rows of the nodes."""

    async def join(self, node: str) -> None:
        """Become known as alive."""
        ...

    async def leave(self, node: str) -> None:
        """End being alive."""
        ...

    async def beat(self, node: str) -> Beats:
        """Show that a node is alive; return everybody's beats, and who leads."""
        ...

    async def bury(self, node: str, beat: int) -> bool:
        """Give up a node that has not beaten since; False when it did."""
        ...

    async def lead(self, node: str) -> bool:
        """Become the leader unless a living node is."""
        ...

    async def adopt(self, node: str) -> list[Seat]:
        """Answer for all stations that no living node answers for."""
        ...

    async def forget_changes(self, seconds: float) -> None:
        """Forget which objects changed longer ago than every living node has read."""
        ...


class Membership:
    """This node among the others.

    `on_change` hears of nodes that came or went, `on_lead` when this one has to lead, `on_lost`
    when the others gave it up: from then on nothing it does is kept, so it has to end.
    """

    def __init__(self, book: MemberBook, node: str, *, timeout: float) -> None:
        self.node = node
        self.leader: str | None = None
        self.alive: frozenset[str] = frozenset({node})
        self.on_change: list[Callable[[frozenset[str]], None]] = []
        self.on_lead: Callable[[], None] = lambda: None
        self.on_lost: Callable[[str], None] = lambda _: None
        self._book = book
        self._timeout = timeout
        self._pause = min(timeout / BEATS_IN_TIMEOUT, LONGEST_PAUSE)
        self._beaten_at = 0.0
        self._looked_at = 0.0
        self._known: dict[str, tuple[int, float]] = {}
        self._settled: frozenset[str] = frozenset()
        self._wake = asyncio.Event()
        self._beating: asyncio.Task[None] | None = None

    @property
    def leading(self) -> bool:
        """Whether this node leads, as far as it knows."""
        return self.leader == self.node

    def sure(self) -> bool:
        """Tell whether no other node can have given this one up yet."""
        return _now() - self._beaten_at < min(self._timeout, WITHOUT_CONNECTION) / 2

    async def start(self) -> None:
        """Join, find out who leads, lead if nobody does; then show to be alive for ever."""
        await self._book.join(self.node)
        await self._look()
        self._beating = asyncio.create_task(self._beat_for_ever(), name="membership")

    async def stop(self) -> None:
        """Leave: the others take over at once."""
        if self._beating is not None:
            self._beating.cancel()
            with suppress(asyncio.CancelledError):
                await self._beating
        with suppress(CpoError):
            await self._book.leave(self.node)

    def look_now(self) -> None:
        """Look at the others without waiting: one came or went."""
        self._wake.set()

    async def _beat_for_ever(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._look()
            except CpoError as error:
                # Who cannot read must not judge others by it.
                self._known.clear()
                log.warning("nodes.not_seen", error=str(error))

    async def _look(self) -> None:
        begun = _now()
        if begun - self._looked_at > self._timeout / 2:
            # This node slept itself: what stood still meanwhile says nothing of the others.
            self._known.clear()
        beats = await self._book.beat(self.node)
        if not beats.alive:
            self.on_lost("the other nodes took it for dead")
            return
        self._beaten_at = self._looked_at = begun
        await self._bury(beats)
        self.alive = frozenset(beats.beats)
        self.leader = beats.leader if beats.leader in self.alive else None
        if self.leader is None and await self._book.lead(self.node):
            self.leader = self.node
            log.info("nodes.leading", node=self.node)
            self.on_lead()
        if self.alive != self._settled:
            for hear in self.on_change:
                hear(self.alive)
            self._settled = self.alive

    async def _bury(self, beats: Beats) -> None:
        now = _now()
        for node, beat in list(beats.beats.items()):
            known = self._known.get(node)
            if node == self.node or known is None or known[0] != beat:
                self._known[node] = (beat, now)
            elif now - known[1] >= self._patience(node, beats) and await self._book.bury(
                node, beat
            ):
                log.warning("nodes.given_up", node=node)
                del beats.beats[node]
        for node in self._known.keys() - beats.beats.keys():
            del self._known[node]

    def _patience(self, node: str, beats: Beats) -> float:
        if node in beats.connected:
            return self._timeout
        return min(self._timeout, WITHOUT_CONNECTION)


def _now() -> float:
    return asyncio.get_running_loop().time()
