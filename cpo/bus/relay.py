"""Partners and operators may connect to any node: this one hands their connections to the leader.

Bytes in, bytes out: nothing of HTTP is read but the first line, where this node may answer itself.
Each piece is an errand that the other side confirms, so a slow reader slows the writer, and a
piece that is lost ends the connection instead of leaving a hole in it.
"""

import asyncio
import socket
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from cpo.errors import CpoError, StationOffline
from cpo.services.nodes.errands import Errands, Head

log = structlog.get_logger()

PIECE = 64 * 1024
PIECE_TIME = 30.0
LONGEST_LINE = 16 * 1024
FIRST_LINE_TIME = 10.0
LINGER = 1.0
MOST_CONNECTIONS = 2_000

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Door:
    """A port that partners or operators connect to.

    `own` says where this node answers by itself, by the path of a connection's first request.
    """

    name: str
    socket: socket.socket
    sorry: Callable[[], bytes]
    own: Callable[[str], Address | None] = lambda _: None


@dataclass(eq=False, slots=True)
class _Stream:
    """One connection: the end of it on this node, and the node that has the other end."""

    id: str
    peer: str
    writer: asyncio.StreamWriter
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


class Relay:
    """Both ends of the connections that are handed over.

    Args:
        errands: the line to the other nodes.
        leader: which node leads, None when nobody does.
    """

    def __init__(self, errands: Errands, *, leader: Callable[[], str | None]) -> None:
        self._errands = errands
        self._leader = leader
        self._doors: dict[str, asyncio.Server] = {}
        # Where connections that other nodes hand over to this one go, while it leads.
        self.inside: dict[str, Address] = {}
        self._streams: dict[str, _Stream] = {}
        errands.kinds |= {
            "relay-open": self._opened,
            "relay-data": self._arrived,
            "relay-end": self._ended,
        }

    async def open(self, door: Door) -> None:
        """Take connections at a port for the leader."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await self._hand_over(door, reader, writer)
            except (OSError, asyncio.LimitOverrunError, asyncio.IncompleteReadError, TimeoutError):
                pass
            finally:
                writer.close()

        # A copy: the port itself stays open when this node becomes the leader.
        self._doors[door.name] = await asyncio.start_server(
            serve, sock=door.socket.dup(), limit=LONGEST_LINE
        )

    async def close(self) -> None:
        """Take no more connections; those that are there are cut."""
        for server in self._doors.values():
            server.close()
        self._doors.clear()
        for stream in list(self._streams.values()):
            self._cut(stream)

    def forget(self, alive: frozenset[str]) -> None:
        """Cut the connections whose other node is gone."""
        for stream in list(self._streams.values()):
            if stream.peer not in alive:
                self._cut(stream)

    # --- the end where the client is --------------------------------------------------------------

    async def _hand_over(
        self, door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async with asyncio.timeout(FIRST_LINE_TIME):
            first = await reader.readuntil(b"\n")
        own = door.own(_path(first))
        if own is not None:
            await _join(reader, writer, own, first)
            return
        leader = self._leader()
        if leader == self._errands.node and door.name in self.inside:
            # It came just before this node began to lead.
            await _join(reader, writer, self.inside[door.name], first)
            return
        stream = _Stream(uuid.uuid4().hex, leader or "", writer)
        if len(self._streams) >= MOST_CONNECTIONS or stream.peer in {"", self._errands.node}:
            await _sorry(door, reader, writer)
            return
        self._streams[stream.id] = stream
        try:
            try:
                await self._errands.ask(
                    stream.peer,
                    "relay-open",
                    {"stream": stream.id, "door": door.name, "from": self._errands.node},
                    first,
                    timeout=PIECE_TIME,
                )
            except CpoError as error:
                log.info("relay.not_opened", door=door.name, error=str(error))
                await _sorry(door, reader, writer)
                return
            await self._pump(stream, reader)
            # The client may only have ended its own half: the answer still comes.
            await _closed(writer)
        finally:
            self._streams.pop(stream.id, None)

    # --- both ends --------------------------------------------------------------------------------

    async def _pump(self, stream: _Stream, reader: asyncio.StreamReader) -> None:
        """Send what one end reads to the other, until it ends."""
        head: Head = {"stream": stream.id}
        try:
            while piece := await reader.read(PIECE):
                await self._errands.ask(stream.peer, "relay-data", head, piece, timeout=PIECE_TIME)
        except CpoError as error:
            log.info("relay.broken", error=str(error))
            self._cut(stream)
            return
        except OSError:
            self._cut(stream)
        with suppress(CpoError):
            await self._errands.ask(stream.peer, "relay-end", head, timeout=PIECE_TIME)

    def _cut(self, stream: _Stream) -> None:
        self._streams.pop(stream.id, None)
        stream.writer.transport.abort()

    def _stream(self, head: Head) -> _Stream:
        stream = self._streams.get(str(head["stream"]))
        if stream is None:
            raise StationOffline("the connection")
        return stream

    async def _arrived(self, head: Head, body: bytes) -> bytes:
        stream = self._stream(head)
        try:
            stream.writer.write(body)
            await stream.writer.drain()
        except OSError:
            self._cut(stream)
            raise StationOffline("the connection") from None
        return b""

    async def _ended(self, head: Head, _: bytes) -> bytes:
        stream = self._streams.get(str(head["stream"]))
        if stream is not None:
            self._streams.pop(stream.id, None)
            stream.writer.close()
        return b""

    # --- the end at the leader --------------------------------------------------------------------

    async def _opened(self, head: Head, body: bytes) -> bytes:
        address = self.inside.get(str(head["door"]))
        if address is None or len(self._streams) >= MOST_CONNECTIONS:
            raise StationOffline("the leader")
        try:
            reader, writer = await asyncio.open_connection(*address, limit=PIECE)
        except OSError:
            raise StationOffline("the leader") from None
        stream = _Stream(str(head["stream"]), str(head["from"]), writer)
        self._streams[stream.id] = stream
        writer.write(body)
        task = asyncio.get_running_loop().create_task(self._answer(stream, reader))
        stream.tasks.add(task)
        task.add_done_callback(stream.tasks.discard)
        return b""

    async def _answer(self, stream: _Stream, reader: asyncio.StreamReader) -> None:
        try:
            await self._pump(stream, reader)
        finally:
            self._streams.pop(stream.id, None)
            stream.writer.close()


async def _join(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: Address, first: bytes
) -> None:
    """Let a connection be answered by a server of this very process."""
    inner_reader, inner_writer = await asyncio.open_connection(*address)
    inner_writer.write(first)

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while piece := await source.read(PIECE):
            target.write(piece)
            await target.drain()

    asking = asyncio.ensure_future(copy(reader, inner_writer))
    try:
        # It answers one request on each connection, and then ends it.
        await copy(inner_reader, writer)
    finally:
        asking.cancel()
        with suppress(asyncio.CancelledError, OSError):
            await asking
        inner_writer.close()


async def _sorry(door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say that nobody can answer now, and let the client read it before the line goes."""
    writer.write(door.sorry())
    writer.write_eof()
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER):
            while await reader.read(PIECE):
                pass


async def _closed(writer: asyncio.StreamWriter) -> None:
    with suppress(TimeoutError, OSError):
        async with asyncio.timeout(PIECE_TIME):
            await writer.wait_closed()


def _path(first: bytes) -> str:
    words = first.split(b" ")
    return words[1].decode("latin-1") if len(words) > 1 else ""


def refusal(body: bytes, content_type: str) -> bytes:
    """Return an HTTP answer that says to come back soon."""
    return (
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nConnection: close\r\n"
        + f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


def sorry_partner() -> bytes:
    """Return what a partner hears while nobody leads."""
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = f'{{"status_code":3000,"status_message":"try again soon","timestamp":"{at}"}}'
    return refusal(text.encode(), "application/json")


def sorry_operator() -> bytes:
    """Return what an operator hears while nobody leads."""
    text: dict[str, Any] = {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "the leading node cannot be reached: try again soon",
    }

    return refusal(msgspec.json.encode(text), "application/problem+json")


def listen(host: str, port: int) -> socket.socket:
    """Bind a port, so that it can be handed from one server to another without a gap."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind((host, port))
    found.listen(1024)
    found.setblocking(False)
    return found


def inside_of(bound: socket.socket) -> Address:
    """Return where this process reaches a port of its own."""
    host, port = bound.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - not a bind
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104 - not a bind
    return host, port
