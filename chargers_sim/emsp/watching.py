"""Waiting for what a CPO sends."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from chargers_sim.emsp.books import Books

T = TypeVar("T")


class Watching:
    """What the double holds, by id, and waiting for more of it."""

    books: Books
    patience: float = 30
    """How many seconds the waits below last where no `timeout` is given."""
    _change: asyncio.Event

    @property
    def locations(self) -> dict[str, dict[str, Any]]:
        """Locations by id."""
        return self.books.locations.by_id()

    @property
    def tariffs(self) -> dict[str, dict[str, Any]]:
        """Tariffs by id."""
        return self.books.tariffs.by_id()

    @property
    def sessions(self) -> dict[str, dict[str, Any]]:
        """Sessions by id."""
        return self.books.sessions.by_id()

    @property
    def cdrs(self) -> dict[str, dict[str, Any]]:
        """CDRs by id."""
        return self.books.cdrs.by_id()

    def changed(self) -> None:
        """Wake whoever waits for something to arrive."""
        self._change.set()
        self._change = asyncio.Event()

    async def wait_until(self, found: Callable[[], T | None], *, timeout: float | None = None) -> T:
        """Return what `found` returns as soon as that is true.

        Raises:
            TimeoutError: it was not within `timeout` seconds.
        """
        async with asyncio.timeout(self.patience if timeout is None else timeout):
            while True:
                change = self._change
                if result := found():
                    return result
                await change.wait()

    async def wait_for_cdr(
        self,
        cdr_id: str | None = None,
        *,
        session_id: str | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Return a CDR as soon as it is here: this one, that of a session, or any.

        Raises:
            TimeoutError: it did not come within `timeout` seconds.
        """
        return await self.wait_until(
            lambda: next(
                (
                    cdr
                    for id_, cdr in self.cdrs.items()
                    if cdr_id in (None, id_) and session_id in (None, cdr.get("session_id"))
                ),
                None,
            ),
            timeout=timeout,
        )

    async def wait_for_session(
        self,
        session_id: str | None = None,
        *,
        status: str | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Return a session as soon as it is here, and in this status when one is given.

        Raises:
            TimeoutError: it did not come within `timeout` seconds.
        """
        return await self.wait_until(
            lambda: next(
                (
                    session
                    for id_, session in self.sessions.items()
                    if session_id in (None, id_) and status in (None, session.get("status"))
                ),
                None,
            ),
            timeout=timeout,
        )

    async def wait_for_evse(
        self, uid: str, *, status: str | None = None, timeout: float | None = None
    ) -> dict[str, Any]:  # fmt: skip
        """Return an EVSE as soon as it is here, and in this status when one is given.

        Raises:
            TimeoutError: it did not come within `timeout` seconds.
        """
        return await self.wait_until(
            lambda: next(
                (
                    evse
                    for location in self.locations.values()
                    for evse in location.get("evses") or []
                    if evse.get("uid") == uid and status in (None, evse.get("status"))
                ),
                None,
            ),
            timeout=timeout,
        )
