"""The bus of a single process: a dictionary."""

import asyncio
from collections import defaultdict
from collections.abc import Callable

from cpo.errors import StationOffline, StationTimeout
from cpo.services.ports import Answerer, Seat


class LocalBus:
    """Finds stations of this process."""

    def __init__(self) -> None:
        self._seats: dict[Seat, Answerer] = {}
        self._ears: dict[str, list[Callable[[bytes], None]]] = defaultdict(list)

    @property
    def connected(self) -> bool:
        """Whether others can be reached now: there are none."""
        return True

    async def serve(self, seat: Seat, answer: Answerer) -> None:
        """Answer for a station until it is released."""
        self._seats[seat] = answer

    async def release(self, seat: Seat) -> None:
        """Stop answering for a station."""
        self._seats.pop(seat, None)

    async def ask(self, seat: Seat, question: bytes, *, timeout: float) -> bytes:
        """Ask the holder of a station."""
        answer = self._seats.get(seat)
        if answer is None:
            raise StationOffline(seat.station)
        try:
            async with asyncio.timeout(timeout):
                return await answer(question)
        except TimeoutError as error:
            raise StationTimeout(f"no answer for {seat.station!r} within {timeout} s") from error

    async def tell(self, topic: str, news: bytes) -> None:
        """Tell all who listen to a topic."""
        for hear in self._ears[topic]:
            hear(news)

    async def listen(self, topic: str, hear: Callable[[bytes], None]) -> None:
        """Hear what is told about a topic."""
        self._ears[topic].append(hear)

    async def close(self) -> None:
        """Forget everything."""
        self._seats.clear()
        self._ears.clear()
