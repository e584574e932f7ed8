"""The clock drives the model: what is due happens when it is due."""

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chargers_sim.live import Station


class Timer:
    """Rings when something happens by itself at a station; a virtual clock is led by hand."""

    def __init__(self, station: "Station") -> None:
        self._station = station
        self._handle: asyncio.TimerHandle | None = None
        self._due: int | None = None
        self._started = False

    def start(self) -> None:
        """Ring from now on."""
        self._started = True
        self.arm()

    def stop(self) -> None:
        """Ring no more."""
        self._started = False
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    async def pass_until(self, at_ms: int) -> None:
        """Let station time pass: at once with a virtual clock, else by waiting."""
        if not self._station.clock.virtual:
            await self._station.clock.reach(at_ms)
            self._station.model.run_to(at_ms)
            await self._station.settled()
            return
        while (due := self._station.model.next_due()) is not None and due <= at_ms:
            await self._station.clock.reach(due)
            self._station.model.run_to(due)
            await self._station.settled()
        await self._station.clock.reach(at_ms)
        self._station.model.run_to(at_ms)
        await self._station.settled()

    def arm(self) -> None:
        """Ring at the next instant at which something happens by itself."""
        # A timer costs a fleet of thousands less than a task that sleeps.
        if self._station.clock.virtual or not self._started:
            return
        due = self._station.model.next_due()
        if self._handle is not None:
            if due is not None and due == self._due:
                return
            self._handle.cancel()
            self._handle = None
        self._due = due
        if due is not None:
            ahead = max(0.0, (due - self._station.now) / 1000 / self._station.clock.speed)
            loop = asyncio.get_running_loop()
            self._handle = loop.call_later(ahead, self._ring)

    def _ring(self) -> None:
        due, self._handle, self._due = self._due, None, None
        if due is not None:
            self._station.model.come(due)
        self._station.dispatch()
