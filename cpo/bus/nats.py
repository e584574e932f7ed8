"""The bus of several nodes: NATS, request and reply to the node that holds a station (D14).

Core NATS delivers at most once, which is what commands want (promise 6): nothing is kept, and
nothing is sent again. That nobody holds a station is known at once.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import nats
import nats.errors
import structlog

from cpo.bus import frames
from cpo.errors import CpoError, StationOffline, StationTimeout, StoreUnavailable
from cpo.services.ports import Answerer, Seat

log = structlog.get_logger()

PREFIX = "cpo"
CONNECT_TIMEOUT = 3.0


async def connect(url: str) -> "NatsBus":
    """Connect to a NATS server; StoreUnavailable when it does not answer."""
    bus = NatsBus()
    await bus.open(url)
    return bus


class NatsBus:
    """Finds stations of all nodes."""

    def __init__(self) -> None:
        self._client: Any = None
        self._seats: dict[Seat, Any] = {}
        self._answering: set[asyncio.Task[None]] = set()

    async def open(self, url: str) -> None:
        """Connect; a lost connection is made again, with all that is served."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                self._client = await nats.connect(
                    url,
                    name="cpo",
                    connect_timeout=CONNECT_TIMEOUT,
                    max_reconnect_attempts=-1,
                    allow_reconnect=True,
                    # What could not be sent at once must not reach a station later.
                    pending_size=1,
                    error_cb=_failed,
                    disconnected_cb=_disconnected,
                )
        except (OSError, TimeoutError, nats.errors.Error) as error:
            raise StoreUnavailable(f"bus: {error or type(error).__name__}") from error

    @property
    def connected(self) -> bool:
        """Whether others can be reached now."""
        return self._client is not None and bool(self._client.is_connected)

    async def serve(self, seat: Seat, answer: Answerer) -> None:
        """Answer for a station until it is released."""

        async def heard(message: Any) -> None:
            # A slow station must not keep the others of this node waiting.
            task = asyncio.get_running_loop().create_task(_answer(message, answer))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

        await self.release(seat)
        self._seats[seat] = await self._client.subscribe(_subject(seat), cb=heard)
        # Only after the server knows of it may others be told that the station is here.
        await self._client.flush(CONNECT_TIMEOUT)

    async def release(self, seat: Seat) -> None:
        """Stop answering for a station."""
        subscription = self._seats.pop(seat, None)
        if subscription is not None and not self._client.is_closed:
            await subscription.unsubscribe()

    async def ask(self, seat: Seat, question: bytes, *, timeout: float) -> bytes:
        """Ask the holder of a station, wherever it is."""
        if not self._client.is_connected:
            raise StationOffline(seat.station)
        try:
            message = await self._client.request(_subject(seat), question, timeout=timeout)
        except (nats.errors.NoRespondersError, nats.errors.OutboundBufferLimitError) as error:
            raise StationOffline(seat.station) from error
        except (TimeoutError, nats.errors.Error) as error:
            raise StationTimeout(f"no answer for {seat.station!r} within {timeout} s") from error
        return frames.read(message.data)

    async def tell(self, topic: str, news: bytes) -> None:
        """Tell all who listen to a topic; what is told while the bus is away is lost."""
        if self._client.is_connected:
            await self._client.publish(f"{PREFIX}.news.{topic}", news)

    async def listen(self, topic: str, hear: Callable[[bytes], None]) -> None:
        """Hear what is told about a topic, by any node, this one too."""

        async def heard(message: Any) -> None:
            hear(message.data)

        await self._client.subscribe(f"{PREFIX}.news.{topic}", cb=heard)
        await self._client.flush(CONNECT_TIMEOUT)

    async def close(self) -> None:
        """Leave the bus; what is being answered is cut off."""
        for task in list(self._answering):
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)
        if self._client is not None and not self._client.is_closed:
            await self._client.close()


def _subject(seat: Seat) -> str:
    # Identities may hold dots and stars, which mean something in a subject.
    return f"{PREFIX}.station.{seat.station.encode().hex()}.{seat.epoch}"


async def _answer(message: Any, answer: Answerer) -> None:
    try:
        frame = frames.answered(await answer(message.data))
    except CpoError as error:
        frame = frames.failed(error)
    try:
        await message.respond(frame)
    except nats.errors.Error as error:
        log.warning("bus.answer_lost", error=str(error))


async def _failed(error: Exception) -> None:
    log.warning("bus.failed", error=str(error) or type(error).__name__)


async def _disconnected() -> None:
    log.warning("bus.disconnected")
