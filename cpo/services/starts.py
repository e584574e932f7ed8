"""Remote starts that a station accepted: whether their transaction comes (CM-02, CM-11, CM-24).

What the partner was told stays; the command shows what became of the start. A start that comes too
late is still linked. Kept beside the commands, so that a restart of ours forgets none.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from cpo.domain.command import Command, CommandKind, Outcome
from cpo.domain.session import Session
from cpo.services.commands import START_WINDOW, Commands
from cpo.services.memory import Memory, StationState
from cpo.services.ports import StationDocument, Store, Work

log = structlog.get_logger()

# Kept beside the documents about stations, under a name that no station can have.
SHELF: Final = "\x1fremote starts"
_KIND: Final = "start"
AWAITED: Final = "awaited"
STARTED: Final = "started"
MISSING: Final = "missing"
_KEPT: Final = timedelta(days=90)
# How long a station itself waits for the cable after an authorization.
_TIMEOUTS: Final = (
    "Configuration/ConnectionTimeOut",
    "TxCtrlr/EVConnectionTimeOut",
    "TxCtrlr/EVConnectionTimeout",
)
_MARGIN: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What became of an accepted remote start.

    `other_session_id` is the session that its station began with another token instead (CM-05).
    """

    command: str
    station: str
    due_at: datetime
    state: str = AWAITED
    session_id: str | None = None
    evse_uid: str | None = None
    other_session_id: str | None = None


class Starts:
    """Watches over accepted remote starts."""

    def __init__(
        self, memory: Memory, store: Store, commands: Commands,
        *, now: Callable[[], datetime], wait: float,
    ) -> None:  # fmt: skip
        self._memory = memory
        self._store = store
        self._commands = commands
        self._now = now
        self._wait = timedelta(seconds=wait)
        self._open: dict[str, Start] = {}
        self._changed: dict[str, Start] = {}

    async def load(self) -> None:
        """Read the starts that are still awaited; their transactions are linked when they come."""
        for found in await self._store.documents(SHELF, _KIND):
            start = _read(found.document)
            command = await self._store.command(start.command)
            if command is None or self._now() - command.created_at > START_WINDOW:
                continue
            if start.state != STARTED:
                self._commands.expect(command)
                self._open[start.command] = start

    async def view(self, command: Command) -> dict[str, Any] | None:
        """Return what became of a command that was a remote start; None for any other."""
        if command.kind is not CommandKind.START_SESSION:
            return None
        found = await self._store.document(SHELF, _KIND, command.id)
        return dict(found.document) if found is not None else None

    async def finished(self, command: Command) -> None:
        """Begin to wait for the transaction of an accepted start."""
        if (
            command.kind is not CommandKind.START_SESSION
            or command.outcome is not Outcome.ACCEPTED
            or command.finished_at is None
        ):
            return
        start = Start(
            command=command.id,
            station=command.station,
            evse_uid=command.evse_uid,
            due_at=command.finished_at + await self._patience(command.station),
        )
        state = self._memory.stations.get(command.station)
        session = _session_of(state, command.id) if state is not None else None
        if session is not None:
            # It came before the answer to the start did (CM-04).
            start = replace(start, state=STARTED, session_id=session)
        else:
            self._open[command.id] = start
        await self._keep(start)

    async def _patience(self, station: str) -> timedelta:
        for name in _TIMEOUTS:
            known = await self._store.document(station, "variable", name)
            for attribute in known.document.get("attributes") or () if known else ():
                value = str(attribute.get("value") or "")
                if attribute.get("type", "Actual") == "Actual" and value.isdecimal():
                    return timedelta(seconds=min(int(value), 86_400)) + _MARGIN
        return self._wait

    def session(self, session: Session) -> None:
        """See whether a session is what an open start was for; kept by the next sweep."""
        if not any(start.station == session.station for start in self._open.values()):
            return
        state = self._memory.stations.get(session.station)
        for start in list(self._open.values()):
            if state is not None and _session_of(state, start.command) == session.id:
                self._changed[start.command] = replace(start, state=STARTED, session_id=session.id)
                del self._open[start.command]
            elif start.other_session_id is None and _instead(session, start):
                # What was asked for will not come; should it all the same, it is linked.
                missing = replace(start, state=MISSING, other_session_id=session.id)
                self._open[start.command] = self._changed[start.command] = missing
                log.warning("command.another_started", station=start.station, id=start.command)

    async def sweep(self) -> None:
        """Keep what changed, and report what did not come in time."""
        now = self._now()
        for id_, start in list(self._changed.items()):
            await self._keep(start)
            self._changed.pop(id_, None)
        for start in list(self._open.values()):
            if start.state == AWAITED and start.due_at <= now:
                missing = replace(start, state=MISSING)
                self._open[start.command] = missing
                log.warning("command.start_never_came", station=start.station, id=start.command)
                await self._keep(missing)
            elif start.due_at + START_WINDOW <= now:
                del self._open[start.command]

    async def forget(self) -> None:
        """Delete what is known of starts long ago."""
        work = Work()
        for found in await self._store.documents(SHELF, _KIND):
            if _read(found.document).due_at + _KEPT < self._now():
                work.delete(found)
        if work.ops:
            await self._store.commit(work)

    async def _keep(self, start: Start) -> None:
        work = Work()
        document = asdict(start) | {"due_at": start.due_at.isoformat()}
        work.put(StationDocument(SHELF, _KIND, start.command, document, self._now()))
        await self._store.commit(work)


def _session_of(state: StationState, command: str) -> str | None:
    return next((t.id for t in state.transactions.values() if t.command_id == command), None)


def _instead(session: Session, start: Start) -> bool:
    return (
        session.station == start.station
        and "another_token_than_asked" in session.flags
        and session.snapshot is not None
        and session.snapshot.evse_uid == start.evse_uid
    )


def _read(document: dict[str, Any]) -> Start:
    return Start(**document | {"due_at": datetime.fromisoformat(document["due_at"])})
