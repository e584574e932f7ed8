"""What a station tells about itself, kept and waited for."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from chargers_sim.errors import NotAnswered

Event = dict[str, Any]


class Events:
    """The last events of a station, numbered from 0."""

    def __init__(self, on_event: Callable[[Event], None] | None, keep: int = 5_000) -> None:
        self.kept: deque[Event] = deque(maxlen=keep)
        self.count = 0
        self._on_event = on_event
        self._seen: dict[str, int] = {}
        self._happened = asyncio.Event()

    def add(self, event: Event) -> None:
        """Keep an event and wake whoever waits."""
        self.count += 1
        self.kept.append(event)
        self._happened.set()
        if self._on_event is not None:
            self._on_event(event)

    def wake(self) -> None:
        """Wake whoever waits, without an event."""
        self._happened.set()

    async def next(self) -> None:
        """Wait until something happens."""
        self._happened.clear()
        await self._happened.wait()

    def find(
        self, name: str, fits: Callable[[Event], str | None]
    ) -> tuple[Event | None, str | None]:
        """Find the first event of a name not found before; else why the last one does not fit."""
        problem: str | None = f"no event {name}"
        first = self.count - len(self.kept)
        for number, event in enumerate(self.kept, start=first):
            if event["event"] != name or number < self._seen.get(name, 0):
                continue
            difference = fits(event)
            if difference is None:
                self._seen[name] = number + 1
                return event, None
            problem = f"event {name}: {difference}"
        return None, problem

    async def wait_for(self, name: str, timeout: float, match: dict[str, Any]) -> Event:
        """Wait for the next event of that name with these facts."""

        def fits(event: Event) -> str | None:
            wrong = [k for k, v in match.items() if event.get(k) != v]
            return f"{wrong[0]} is {event.get(wrong[0])!r}" if wrong else None

        problem: str | None = None
        try:
            async with asyncio.timeout(timeout):
                while True:
                    event, problem = self.find(name, fits)
                    if event is not None:
                        return event
                    await self.next()
        except TimeoutError:
            raise NotAnswered(f"no {name} within {timeout:g} s: {problem}") from None
