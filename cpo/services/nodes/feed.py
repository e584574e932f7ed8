"""Keeps this node's memory up to date with what other nodes write.

The bus says that something was written, a counter in the database says what has been seen: a
message that is lost costs a moment, never a change.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Protocol

import structlog

from cpo.domain.location import Location
from cpo.domain.partner import Partner
from cpo.domain.session import Session
from cpo.domain.tariff import Tariff
from cpo.errors import CpoError, StoreUnavailable
from cpo.services.equipment import Progress, Report
from cpo.services.memory import Memory
from cpo.services.partners import Partners
from cpo.services.ports import (
    Bus,
    DirtyMark,
    EvseState,
    News,
    StationDocument,
    StationPart,
    Store,
    Work,
)
from cpo.services.tokens import Tokens

log = structlog.get_logger()

TOPIC = "written"
# What is written in quick succession is told, and read, together.
PAUSE = 0.005
AT_ONCE = 500
ATTEMPTS_AT_AGREEMENT = 50
MOST_TOLD = 10_000


class Newsroom(Protocol):
    """What was written, by any node, and the newest form of it."""

    async def stamp(self) -> datetime:
        """Return the newest stamp: everything up to it is visible."""
        ...

    async def since(self, seen: datetime, *, marks: bool) -> News:
        """Return what was committed after a stamp, by any node."""
        ...

    async def stations(
        self, identities: Sequence[str], *, readings: bool
    ) -> dict[str, StationPart]:
        """Return stations as they are stored; absent ones are left out."""
        ...

    async def locations(
        self, ids: Sequence[str]
    ) -> tuple[list[tuple[Location, datetime]], list[EvseState]]:
        """Return locations with their last_updated, and the statuses of their EVSEs."""
        ...

    async def tariffs(self, ids: Sequence[str]) -> list[tuple[Tariff, datetime]]:
        """Return tariffs with their last_updated."""
        ...

    async def partners(self, ids: Sequence[str]) -> list[Partner]:
        """Return partners."""
        ...

    async def sessions(self, ids: Sequence[str]) -> list[Session]:
        """Return sessions."""
        ...


class Feed:
    """Reads what changed since it looked last."""

    def __init__(
        self,
        *,
        node: str,
        memory: Memory,
        partners: Partners,
        tokens: Tokens,
        newsroom: Newsroom,
        store: Store,
        bus: Bus,
        poll_interval: float,
    ) -> None:
        self._node = node.encode()
        self._memory = memory
        self._partners = partners
        self._tokens = tokens
        self._newsroom = newsroom
        self._store = store
        self._bus = bus
        self._poll = poll_interval
        self._begun = self._done = 0
        self._untold = False
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._telling: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None
        self._seen: datetime | None = None
        # The leader alone writes partners, tariffs, tokens and locations: what it holds is newest.
        self.leading = False
        self.on_stations: Callable[[Sequence[str]], Awaitable[None]] | None = None
        self.on_place: list[Callable[[str], None]] = []
        self.on_marks: list[Callable[[Sequence[DirtyMark]], None]] = []
        self.on_sessions: list[Callable[[Session], None]] = []
        self.on_progress: list[Progress] = []
        self.on_report: list[Report] = []
        # When what was told last of a job's document was noted.
        self._told: dict[str, str] = {}
        self.moved: Callable[[str], None] = lambda _: None

    def begin(self, stamp: datetime) -> None:
        """Note from where on changes count; what was loaded afterwards has the older ones."""
        self._seen = stamp

    async def start(self) -> None:
        """Follow what is written."""
        await self._bus.listen(TOPIC, self._heard)
        self._following = asyncio.create_task(self._follow(), name="feed")

    async def stop(self) -> None:
        """Follow no more."""
        for task in (self._following, self._telling):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    def written(self, _: datetime) -> None:
        """Tell the other nodes that this one wrote something they hold in memory."""
        self._untold = True
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        # The first leaves at once; what follows within the pause leaves at its end.
        while self._untold:
            self._untold = False
            await self._bus.tell(TOPIC, self._node)
            await asyncio.sleep(PAUSE)

    def _heard(self, news: bytes) -> None:
        if news != self._node:
            self._wake.set()

    async def _follow(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self.catch_up()
            except CpoError as error:
                log.warning("feed.behind", error=str(error))
            except Exception:
                # A supervised loop: one thing that cannot be read must not stop the rest.
                log.exception("feed.failed")
                await asyncio.sleep(self._poll)
            await asyncio.sleep(PAUSE)

    async def catch_up(self) -> None:
        """Learn everything that was committed before the call."""
        asked = self._begun
        async with self._lock:
            if self._done > asked:
                return  # a round that began after we asked has ended
            self._begun += 1
            current = self._begun
            await self._round()
            self._done = current

    async def agree(self) -> None:
        """Learn everything, until nothing in memory is newer than what was read.

        Else a list could show what was written last without what was written just before it, and
        who goes on from the newest instant would miss that (promise 3).
        """
        for _ in range(ATTEMPTS_AT_AGREEMENT):
            await self.catch_up()
            order = self._memory.sites.stamps.ordered()
            if not order or self._seen is None or order[-1][0] <= self._seen:
                return
        raise StoreUnavailable("too much is written at the moment")

    async def _round(self) -> None:
        if self._seen is None:
            return
        news = await self._newsroom.since(self._seen, marks=self.leading)
        changed: dict[str, list[str]] = defaultdict(list)
        for kind, key in news.changes:
            changed[kind].append(key)
        if not self.leading:
            await self._apply_led(changed)
        for ids in _parts(changed["location"]):
            await self.places(ids)
        if self.on_stations is not None:
            for ids in _parts(changed["station"]):
                await self.on_stations(ids)
        if changed["session"]:
            self.moved("sessions")
            await self._tell_sessions(changed["session"])
        if self.on_progress:
            for key in changed["job"]:
                await self._tell_progress(key)
        for hear in self.on_marks:
            if news.marks:
                hear(news.marks)
        self._seen = news.stamp

    async def _apply_led(self, changed: dict[str, list[str]]) -> None:
        sites = self._memory.sites
        for ids in _parts(changed["partner"]):
            self._partners.changed_elsewhere(ids, await self._newsroom.partners(ids))
        for ids in _parts(changed["tariff"]):
            found = {tariff.id: (tariff, at) for tariff, at in await self._newsroom.tariffs(ids)}
            for id_ in ids:
                if id_ in found:
                    sites.tariffs[id_], sites.tariff_stamps[id_] = found[id_]
                else:
                    sites.tariffs.pop(id_, None)
                    sites.tariff_stamps.pop(id_, None)
        if changed["token"]:
            self._tokens.changed_elsewhere(changed["token"])

    async def places(self, ids: Sequence[str]) -> None:
        """Read locations and the statuses of their EVSEs anew."""
        sites = self._memory.sites
        found, statuses = await self._newsroom.locations(ids)
        for state in statuses:
            key = (state.location_id, state.evse_uid)
            known = sites.statuses.get(key)
            if known is None or _newer(state.last_updated, known.last_updated):
                sites.statuses[key] = state
        for location, stamp in found:
            known_stamp = sites.stamps.get(location.id)
            if known_stamp is not None and stamp < known_stamp:
                continue  # written here meanwhile: the next round reads that
            if self.leading or sites.locations.get(location.id) == location:
                # Only a status changed.
                sites.stamps[location.id] = stamp
                continue
            sites.put(location, stamp)
            for hear in self.on_place:
                hear(location.id)

    async def _tell_sessions(self, ids: Sequence[str]) -> None:
        if not self.on_sessions:
            return
        for part in _parts(ids):
            for session in await self._newsroom.sessions(part):
                state = self._memory.stations.get(session.station)
                if state is not None and state.seat is None:
                    for hear in self.on_sessions:
                        hear(session)

    async def _tell_progress(self, key: str) -> None:
        """Tell how far a station of another node has come with a job."""
        station, kind, number = key.split("\x1f")
        state = self._memory.stations.get(station)
        if state is None or state.seat is not None:
            return
        found = await self._store.document(station, kind, number)
        if found is None:
            self._told.pop(key, None)
            return
        request_id = int(number) if number.lstrip("-").isdecimal() else None
        work = Work()
        if request_id is not None and "parts" in found.document:
            parts, complete = len(found.document["parts"]), found.document.get("complete", False)
            for told in self.on_report:
                await told(work, station, kind, request_id, parts, complete, found.at)
        for status, at in self._news_of(key, found):
            for hear in self.on_progress:
                await hear(work, station, kind, status, request_id, at)
        if work.ops:
            await self._store.commit(work)

    def _news_of(self, key: str, found: StationDocument) -> list[tuple[str, datetime]]:
        """Return what a job's document tells that was not told before; of a new one the last."""
        history = found.document.get("history") or ()
        known = self._told.get(key)
        news = [note for note in history if known is not None and note["at"] > known]
        if known is None:
            news = list(history[-1:])
        if history:
            if len(self._told) >= MOST_TOLD:
                self._told.clear()
            self._told[key] = history[-1]["at"]
        return [(str(note["status"]), datetime.fromisoformat(note["at"])) for note in news]


def _newer(one: datetime | None, other: datetime | None) -> bool:
    return other is None or (one is not None and one >= other)


def _parts(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE)]
