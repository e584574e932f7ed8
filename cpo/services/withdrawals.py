"""What follows when a token is withdrawn: caches are emptied, and by policy its sessions stop.

The local lists follow by themselves (local_lists.py).
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import structlog

from cpo.domain.command import Command, CommandKind, Outcome, StationCommand
from cpo.domain.tokens import Token
from cpo.errors import CpoError
from cpo.services.commands import Request
from cpo.services.memory import Memory
from cpo.services.ports import StationDocument, StationLink, Store, Work
from cpo.services.token_use import TokenUse

log = structlog.get_logger()

KIND: Final = "cache-to-clear"
_DELAY: Final = 1.0
_AT_ONCE: Final = 20
_REMEMBERED: Final = 50_000
# Where a station says that it keeps no cache.
_SWITCHES: Final = ("Configuration/AuthorizationCacheEnabled", "AuthCacheCtrlr/Enabled")


class Links(Protocol):
    """Finds the live connection of a station."""

    def link(self, identity: str) -> StationLink | None:
        """Return the live connection of a station, or None when it is offline."""
        ...


class Stops(Protocol):
    """Asks stations to do something."""

    async def request(self, request: Request) -> Command:
        """Take a command on."""
        ...


class Withdrawals:
    """Lets no station go on accepting a token that was withdrawn (AU-13)."""

    def __init__(
        self,
        memory: Memory,
        store: Store,
        links: Links,
        use: TokenUse,
        commands: Stops,
        *,
        now: Callable[[], datetime],
        clear_caches: bool = True,
        stop_sessions: bool = False,
        delay: float = _DELAY,
    ) -> None:
        self._memory = memory
        self._store = store
        self._links = links
        self._use = use
        self._commands = commands
        self._now = now
        self._clear_caches = clear_caches
        self._stop_sessions = stop_sessions
        self._delay = delay
        self._withdrawn: dict[str, None] = {}
        self._to_clear: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._clearing: set[str] = set()
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def load(self) -> None:
        """Read which stations' caches were still to be emptied."""
        self._to_clear = {found.station for found in await self._store.documents_of_kind(KIND)}

    def tokens_changed(self, tokens: Sequence[Token]) -> None:
        """Act on those that were valid until now; one that is told again changes nothing."""
        fresh = []
        for token in tokens:
            key = f"{token.partner_id}|{token.uid.upper()}"
            if token.valid:
                self._withdrawn.pop(key, None)
            elif key not in self._withdrawn:
                self._withdrawn[key] = None
                fresh.append(token)
        while len(self._withdrawn) > _REMEMBERED:
            self._withdrawn.pop(next(iter(self._withdrawn)))
        if not fresh:
            return
        if self._clear_caches:
            stations = {s for token in fresh for s in self._use.stations(token.uid)}
            stations &= self._memory.stations.keys()
            if stations:
                self._spawn(self._note(stations))
        if self._stop_sessions:
            self._spawn(self._stop(fresh))

    async def _note(self, stations: Iterable[str]) -> None:
        """Keep which caches are to be emptied before any is: a restart forgets none."""
        work = Work()
        for station in stations:
            work.put(StationDocument(station, KIND, KIND, {}, self._now()))
        await self._store.commit(work)
        self._to_clear.update(stations)
        await asyncio.sleep(self._delay)
        await self.sweep()

    async def sweep(self) -> None:
        """Empty the caches of those stations that are here; the others when they are back."""
        for station in sorted(self._to_clear - self._clearing):
            if self._links.link(station) is not None:
                self._clearing.add(station)
                self._spawn(self._clear(station))

    async def _clear(self, station: str) -> None:
        try:
            async with self._turns:
                link = self._links.link(station)
                if link is None:
                    return
                outcome: Outcome | None = None
                if await self._caches(station):
                    reply = await link.execute(StationCommand(kind=CommandKind.CLEAR_CACHE))
                    outcome = reply.outcome
                if outcome in (Outcome.TIMEOUT, Outcome.OFFLINE):
                    return
                # A station that refuses has no cache: asking again would change nothing.
                work = Work()
                work.delete(StationDocument(station, KIND, KIND, {}, self._now()))
                await self._store.commit(work)
                self._to_clear.discard(station)
                log.info("station.cache_cleared", station=station, outcome=outcome)
        finally:
            self._clearing.discard(station)

    async def _caches(self, station: str) -> bool:
        for name in _SWITCHES:
            kept = await self._store.document(station, "variable", name)
            for attribute in kept.document.get("attributes") or () if kept is not None else ():
                if str(attribute.get("value")).lower() == "false":
                    return False
        return True

    async def _stop(self, tokens: Sequence[Token]) -> None:
        withdrawn = {(token.partner_id, token.uid.upper()) for token in tokens}
        for state in list(self._memory.stations.values()):
            for transaction in state.open_transactions():
                token = transaction.token
                if token is None or (token.partner_id, token.uid.upper()) not in withdrawn:
                    continue
                log.warning(
                    "session.token_withdrawn",
                    station=state.record.identity,
                    session=transaction.id,
                )
                await self._commands.request(
                    Request(
                        kind=CommandKind.STOP_SESSION,
                        requested_by="policy:token-withdrawn",
                        session_id=transaction.id,
                    )
                )

    def _spawn(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, CpoError):
                raise error
            log.warning("withdrawal.not_carried_out", error=str(error))

    async def close(self) -> None:
        """Stop what is under way; the next start goes on with it."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
