"""What one node asks of another over the bus: a head of JSON, a line break, and a body.

Delivered at most once, never repeated (promise 5). A node answers what it can answer for: a
question about a station that it is no longer in charge of is StationOffline.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from cpo.domain.command import Outcome, Reply, StationCommand
from cpo.domain.values import decoder
from cpo.errors import CpoError, StationOffline, StationTimeout
from cpo.services.ports import Bus, Seat

T = TypeVar("T")

# What a node may need beyond what the station may: its own queue, and the way.
MARGIN = 5.0
# A command may be several requests, each of which waits for its turn and for its answer.
SHARE = 4

Head = dict[str, Any]
Errand = Callable[[Head, bytes], Awaitable[bytes]]

_encoder = msgspec.json.Encoder(decimal_format="number")
_head = msgspec.json.Decoder(dict[str, Any])


def write(value: Any) -> bytes:
    """Write a value of the domain down; decimals keep all their digits."""
    return _encoder.encode(value)


def read(body: bytes, type_: type[T]) -> T:
    """Read a value of the domain."""
    return decoder(type_)(body)


class Errands:
    """The line of this node to all others; `kinds` says what it does for them."""

    def __init__(self, bus: Bus, node: str) -> None:
        self.node = node
        self.kinds: dict[str, Errand] = {}
        self._bus = bus
        self._gone: dict[str, asyncio.Future[None]] = {}

    async def start(self) -> None:
        """Answer from now on."""
        await self._bus.serve(seat_of(self.node), self._answer)

    async def stop(self) -> None:
        """Answer no more."""
        await self._bus.release(seat_of(self.node))

    async def ask(
        self, node: str, kind: str, head: Head, body: bytes = b"", *, timeout: float
    ) -> bytes:
        """Have a node do something, and return its answer.

        Raises StationOffline when it cannot be reached or does not do that any more,
        StationTimeout when no answer came: then it may have been done all the same.
        """
        question = write(head | {"kind": kind}) + b"\n" + body
        if node == self.node:
            return await self._answer(question)
        gone = self._gone.get(node)
        if gone is None or gone.done():
            gone = self._gone[node] = asyncio.get_running_loop().create_future()
        asking = asyncio.ensure_future(self._bus.ask(seat_of(node), question, timeout=timeout))
        either: set[asyncio.Future[Any]] = {asking, gone}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return asking.result()
        finally:
            asking.cancel()
        raise StationTimeout("the node that was asked is gone")

    def known(self) -> set[str]:
        """Return the nodes that were asked something."""
        return set(self._gone)

    def forget(self, node: str) -> None:
        """Wait no longer for a node that is gone."""
        gone = self._gone.pop(node, None)
        if gone is not None and not gone.done():
            gone.set_result(None)

    async def _answer(self, question: bytes) -> bytes:
        text, _, body = question.partition(b"\n")
        head = _head.decode(text)
        errand = self.kinds.get(str(head.get("kind")))
        if errand is None:
            raise StationOffline(str(head.get("station", "")))
        return await errand(head, body)


def seat_of(node: str) -> Seat:
    """Return where a node is asked: not a name that a station can have."""
    return Seat(f"\x1fnode/{node}", 0)


class RemoteLink:
    """The live connection of a station to another node."""

    def __init__(
        self, errands: Errands, node: str, seat: Seat, version: str, *, call_timeout: float
    ) -> None:
        self.identity = seat.station
        self.version = version
        self.node = node
        self.seat = seat
        self._errands = errands
        self._call_timeout = call_timeout

    async def ask(
        self, kind: str, head: Head, body: bytes = b"", *, timeout: float | None = None
    ) -> bytes:
        """Ask the node in charge; errors are about the station."""
        seconds = self._call_timeout if timeout is None else timeout
        try:
            return await self._errands.ask(
                self.node,
                kind,
                {"station": self.identity, "epoch": self.seat.epoch} | head,
                body,
                timeout=seconds * SHARE + MARGIN,
            )
        except StationOffline:
            raise StationOffline(self.identity) from None

    async def execute(self, command: StationCommand, *, timeout: float | None = None) -> Reply:
        """Send a neutral command once; whatever comes of it is an outcome."""
        try:
            answer = await self.ask(
                "execute", {"timeout": timeout}, write(command), timeout=timeout
            )
        except StationOffline as error:
            return Reply(outcome=Outcome.OFFLINE, detail=str(error))
        except StationTimeout as error:
            return Reply(outcome=Outcome.TIMEOUT, detail=str(error))
        except CpoError as error:
            return Reply(outcome=Outcome.FAILED, detail=str(error))
        return read(answer, Reply)

    async def call(
        self, action: str, payload: dict[str, Any], *, timeout: float | None = None
    ) -> dict[str, Any]:
        """Send any request of the station's version; raises as the station's own node does."""
        head = {"action": action, "timeout": timeout}
        return read(await self.ask("call", head, write(payload), timeout=timeout), dict[str, Any])

    async def close(self, code: int, reason: str) -> None:
        """Close the connection."""
        await self.ask("close", {"code": code, "reason": reason})
