"""In what each station deviates from the protocol: counted in memory, kept a little later.

What is lost of the counts in a crash is a number, not a fact.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from cpo.errors import CpoError
from cpo.services.ports import StationDocument, Store, Work

log = structlog.get_logger()

KIND: Final = "deviation"
_DELAY: Final = 2.0
_MOST: Final = 200
"""Different deviations of one station; further ones are counted as one."""
_MORE: Final = "further ones"


@dataclass(slots=True)
class _Seen:
    count: int
    first: datetime
    last: datetime
    action: str
    where: str
    what: str


class DeviationBook:
    """Counts deviations by station, action, place and kind."""

    def __init__(self, store: Store, *, delay: float = _DELAY) -> None:
        self._store = store
        self._delay = delay
        self._new: dict[str, dict[str, _Seen]] = {}
        self._known: dict[str, set[str]] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, station: str, action: str, where: str, what: str, at: datetime) -> None:
        """Count one; places in lists are one place."""
        place = "/".join("*" if step.isdigit() else step for step in where.split("/"))
        key = f"{action}|{place}|{what}"[:200]
        known = self._known.setdefault(station, set())
        if key not in known and len(known) >= _MOST:
            action, place, what, key = "", "", _MORE, _MORE
        known.add(key)
        seen = self._new.setdefault(station, {}).get(key)
        if seen is None:
            self._new[station][key] = _Seen(1, at, at, action, place, what)
        else:
            seen.count += 1
            seen.last = at
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._later())

    async def _later(self) -> None:
        while self._new:
            await asyncio.sleep(self._delay)
            await self.flush()

    async def flush(self) -> None:
        """Write what was counted."""
        new, self._new = self._new, {}
        try:
            for station, by_key in new.items():
                await self._write(station, by_key)
        except CpoError as error:
            log.warning("ocpp.deviations_not_kept", error=str(error))

    async def _write(self, station: str, by_key: dict[str, _Seen]) -> None:
        known = {d.key: d.document for d in await self._store.documents(station, KIND)}
        work = Work()
        for key, seen in by_key.items():
            before = known.get(key)
            document = {
                "action": seen.action,
                "where": seen.where,
                "what": seen.what,
                "count": seen.count + (before["count"] if before else 0),
                "first": before["first"] if before else seen.first.isoformat(),
                "last": seen.last.isoformat(),
            }
            work.put(StationDocument(station, KIND, key, document, seen.last))
        await self._store.commit(work)

    async def close(self) -> None:
        """Write the rest."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.flush()
