"""The websocket under a session: the only module that knows how frames get on and off the wire.

It speaks to the sans-I/O core of `websockets` directly, without its per-message queue and its
keepalive task per connection; so another implementation of `cpo.ocpp.session.Socket` (picows, say)
can stand in here.
"""

import asyncio
import select
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, Protocol, cast

from websockets.asyncio.server import ServerConnection
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import Event, State

try:
    from websockets.speedups import apply_mask
except ImportError:  # no wheel for this platform
    from websockets.utils import apply_mask

_CLOSE_TIMEOUT: Final = 5.0
_GRACE: Final = 1.0
"""Seconds at the door in which nobody is in the way."""
# To look a member up in its enum takes ten times as long as a name of the module.
_OPEN: Final = State.OPEN
# After these a charger is to come back at once.
_TO_RETURN: Final = frozenset({CloseCode.GOING_AWAY, CloseCode.SERVICE_RESTART})

# RFC 6455, section 5.2.
_FINAL_TEXT: Final = 0x81
_MASKED: Final = 0x80
_MASKED_HEAD: Final = 6
_LENGTH_IN_16_BITS: Final = 126

_COME_BACK: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: %d\r\nConnection: close\r\n"
    b"Content-Length: 0\r\n\r\n"
)


class Receiver(Protocol):
    """Who is told what arrives."""

    last_heard: float

    def text_received(self, text: str) -> None:
        """Take a whole message."""
        ...

    def binary_received(self) -> None:
        """Learn that what comes next came in a binary frame."""
        ...

    def closed(self) -> None:
        """Learn that the socket is gone."""
        ...


class Doorman:
    """Looks at a request target before anything is spent on it, and keeps crowds from the door.

    `look` returns None to go on, or the seconds after which to come back. `patience` is how long
    the first bytes may take, in seconds; `entering` are the connections whose have not come,
    `shaking` those whose request is not whole. Where both together are more than `most`, those who
    have stood there for a whole second have to go, the first ones first, until they are not. A
    fleet that returns at once is no crowd: who has said all stands here no more, and what nobody
    has read yet is not held against anybody, however long we take. `on_crowd` hears of each that
    had to go.
    """

    def __init__(
        self,
        look: Callable[[str], int | None],
        *,
        patience: float,
        most: int,
        on_crowd: Callable[[], None],
    ) -> None:
        self.look = look
        self.patience = patience
        self.entering: dict[asyncio.Transport, None] = {}
        self.shaking: dict[asyncio.Transport, None] = {}
        self._most = most
        self._on_crowd = on_crowd
        self._watching = False

    def arrived(self, transport: asyncio.Transport) -> None:
        """Take a connection in that has not said anything yet."""
        self.entering[transport] = None
        if not self._watching and self._crowded():
            self._watch()

    def _crowded(self) -> bool:
        return len(self.entering) + len(self.shaking) > self._most

    def _watch(self) -> None:
        self._watching = True
        here = [*self.shaking, *self.entering]
        asyncio.get_running_loop().call_later(_GRACE, self._thin_out, here)

    def _thin_out(self, here: list[asyncio.Transport]) -> None:
        there = [one for one in here if one in self.entering or one in self.shaking]
        for transport in _silent(there) if self._crowded() else ():
            if not self._crowded():
                break
            self.gone(transport)
            transport.abort()
            self._on_crowd()
        self._watching = False
        if self._crowded():
            self._watch()

    def spoke(self, transport: asyncio.Transport) -> None:
        """Note that somebody's first bytes are here."""
        if transport in self.entering:
            del self.entering[transport]
            self.shaking[transport] = None

    def gone(self, transport: asyncio.Transport) -> None:
        """Forget a connection: it has said all, or is lost."""
        self.entering.pop(transport, None)
        self.shaking.pop(transport, None)


def _silent(transports: list[asyncio.Transport]) -> list[asyncio.Transport]:
    """Return those of which nothing waits to be read.

    A loop that is busy for seconds, as when a whole fleet returns, comes late to what was said.
    """
    if not hasattr(select, "poll"):
        return transports  # Windows
    waiting = select.poll()
    handles = {}
    for transport in transports:
        handle = transport.get_extra_info("socket").fileno()
        if handle >= 0:
            handles[handle] = transport
            waiting.register(handle, select.POLLIN)
    said = {handle for handle, _ in waiting.poll(0)}
    return [transport for handle, transport in handles.items() if handle not in said]


class StationSocket(ServerConnection):
    """A server connection that hands each message over as it arrives.

    With a doorman nothing of the library runs before the first bytes are here: whom he turns away
    costs a fraction of a handshake.
    """

    def __init__(self, *args: Any, doorman: Doorman | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._doorman = doorman
        self._entering: asyncio.Transport | None = None
        self._shaking: asyncio.Transport | None = None
        self._dawdling: asyncio.TimerHandle | None = None
        self._known_to_library = False

    receiver: Receiver | None = None
    _fragments: list[bytes] | None = None
    unanswered_pings: int = 0
    muted: bool = False
    credentials: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first bytes, where there is a doorman."""
        transport = cast("asyncio.Transport", transport)
        if self._doorman is None:
            self._shake_hands(transport)
            return
        self._entering = transport
        self._dawdling = self.loop.call_later(self._doorman.patience, transport.abort)
        self._doorman.arrived(transport)

    def _shake_hands(self, transport: asyncio.Transport) -> None:
        self._known_to_library = True
        super().connection_made(transport)

    def _enter(self, doorman: Doorman, transport: asyncio.Transport, data: bytes) -> None:
        """Turn a connection away by its first bytes, or let the library shake hands."""
        doorman.spoke(transport)
        self._shaking = transport
        self._spoken()
        target = data[4 : data.find(b" ", 4)] if data.startswith(b"GET ") else b""
        later = doorman.look(target.decode("latin-1"))
        if later is not None:
            transport.write(_COME_BACK % later)
            transport.close()
            return
        self._shake_hands(transport)
        super().data_received(data)

    def _spoken(self) -> None:
        self._entering = None
        if self._dawdling is not None:
            self._dawdling.cancel()
            self._dawdling = None

    def _leave_the_door(self) -> None:
        """Learn that the peer has said all that it has to, or is gone."""
        at_door = self._entering or self._shaking
        if at_door is not None and self._doorman is not None:
            self._doorman.gone(at_door)
            self._shaking = None
        self._spoken()

    def eof_received(self) -> None:
        """Let a connection go that ended before it said anything."""
        if self._known_to_library:
            super().eof_received()

    def data_received(self, data: bytes) -> None:
        """Take bytes off the wire.

        What chargers send is whole text frames: those are read here at a third of the cost;
        everything else goes through the library's parser.
        """
        receiver, protocol = self.receiver, self.protocol
        if self._entering is not None and self._doorman is not None:
            self._enter(self._doorman, self._entering, data)
            return
        if (
            receiver is None
            or protocol.reader.buffer
            or protocol.current_size is not None
            or protocol.state is not _OPEN
        ):
            super().data_received(data)
            return
        start, end = 0, len(data)
        while end - start >= _MASKED_HEAD and data[start] == _FINAL_TEXT:
            length, head = data[start + 1] - _MASKED, start + _MASKED_HEAD
            if length == _LENGTH_IN_16_BITS:
                length, head = int.from_bytes(data[start + 2 : start + 4], "big"), head + 2
            elif not 0 <= length < _LENGTH_IN_16_BITS:
                break
            stop = head + length
            if stop > end or length > (protocol.max_message_size or length):
                break
            start = stop
            self._deliver(apply_mask(data[head:stop], data[head - 4 : head]), receiver)
            if protocol.state is not _OPEN:
                break
        if start < end:
            super().data_received(data[start:] if start else data)

    def process_event(self, event: Event) -> None:
        """Take one event of the protocol: the handshake, or a frame."""
        receiver = self.receiver
        if type(event) is Request:
            self._leave_the_door()
        if receiver is None or type(event) is not Frame:
            super().process_event(event)
            return
        opcode = event.opcode
        if opcode is Opcode.PONG:
            self.unanswered_pings = 0
            receiver.last_heard = self.loop.time()
        elif opcode is Opcode.PING:
            receiver.last_heard = self.loop.time()
        elif opcode is not Opcode.CLOSE:
            self._take_data(event, receiver)

    def _take_data(self, frame: Frame, receiver: Receiver) -> None:
        if self.muted:
            return
        if frame.opcode is Opcode.BINARY:
            # Seen: JSON in binary frames. It is read as text all the same (TR-14).
            if self.credentials is not None and self.credentials.strict:
                self.close_soon(CloseCode.UNSUPPORTED_DATA, "binary frame")
                return
            receiver.binary_received()
        data = frame.data
        if self._fragments is not None or not frame.fin:
            if self._fragments is None:
                self._fragments = []
            self._fragments.append(bytes(data))
            if not frame.fin:
                return
            data = b"".join(self._fragments)
            self._fragments = None
        self._deliver(data, receiver)

    def _deliver(self, data: bytes | bytearray | memoryview, receiver: Receiver) -> None:
        self.unanswered_pings = 0
        try:
            text = str(data, "utf-8")
        except UnicodeDecodeError:
            self.close_soon(1007, "not UTF-8")
            return
        receiver.text_received(text)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the session and let the library clean up."""
        self._leave_the_door()
        if not self._known_to_library:
            return
        super().connection_lost(exc)
        if self.receiver is not None:
            self.receiver.closed()

    def limit_messages(self, max_bytes: int) -> None:
        """Set the longest message taken; longer ones end the connection with 1009."""
        self.protocol.max_message_size = max_bytes

    # --- cpo.ocpp.session.Socket ---------------------------------------------------------------

    def send(self, text: str) -> bool:  # type: ignore[override]
        """Write a text frame; False when the socket is no longer open."""
        if self.protocol.state is not _OPEN:
            return False
        if self.protocol.extensions:
            self.protocol.send_text(text.encode())
            self.send_data()
            return True
        data = text.encode()
        size = len(data)
        if size < _LENGTH_IN_16_BITS:
            head = bytes((_FINAL_TEXT, size))
        elif size < 1 << 16:
            head = bytes((_FINAL_TEXT, _LENGTH_IN_16_BITS, size >> 8, size & 255))
        else:
            head = bytes((_FINAL_TEXT, 127)) + size.to_bytes(8, "big")
        self.transport.write(head + data)
        return True

    async def drained(self) -> None:
        """Wait until the peer has taken enough of what was written."""
        if self.paused:
            await self.drain()

    def pause(self) -> None:
        """Stop reading."""
        if self.protocol.state is _OPEN:
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self.protocol.state is _OPEN:
            self.transport.resume_reading()

    def ping_soon(self) -> None:
        """Send a ping without waiting for the pong."""
        if self.protocol.state is _OPEN:
            self.unanswered_pings += 1
            self.protocol.send_ping(b"")
            self.send_data()

    def close_soon(self, code: int, reason: str) -> None:
        """Start the closing handshake, and cut the line if it is not answered in time.

        Nothing that comes after a close for a breach of policy is taken in.
        """
        if self.protocol.state is not _OPEN:
            return
        if code in _TO_RETURN and self.credentials is not None and self.credentials.cuts:
            # It would not come back after a close (Q5): what was written goes out, then the line
            # is gone.
            self.transport.close()
            self.loop.call_later(_CLOSE_TIMEOUT, self.cut)
            return
        self.muted = code == CloseCode.POLICY_VIOLATION
        if self._fragments is not None:
            self._fragments = None
        self.protocol.send_close(code, reason)
        self.send_data()
        # Reading may be paused, and the peer's close must come through.
        self.transport.resume_reading()
        self.loop.call_later(_CLOSE_TIMEOUT, self.cut)

    def cut(self) -> None:
        """Drop the TCP connection at once."""
        self.transport.abort()


def answer_http(
    connection: ServerConnection, status: HTTPStatus, text: str, **headers: str
) -> Response:
    """Build a plain answer that ends the handshake."""
    response = connection.respond(status, text)
    for name, value in headers.items():
        response.headers[name.replace("_", "-")] = value
    return response


def peer_address(connection: ServerConnection) -> str:
    """Return the address of the other end, without port."""
    address = connection.remote_address
    return str(address[0]) if address else ""


def peer_certificate(connection: ServerConnection) -> dict[str, Any] | None:
    """Return the client certificate of a TLS connection as `ssl` describes it, if it sent one."""
    tls = connection.transport.get_extra_info("ssl_object")
    return cast("dict[str, Any] | None", tls.getpeercert()) if tls is not None else None


def is_encrypted(connection: ServerConnection) -> bool:
    """Tell whether TLS ends here."""
    return connection.transport.get_extra_info("ssl_object") is not None


def header(request: Request, name: str) -> str | None:
    """Return a header that may be given once; one that is repeated counts as malformed ("")."""
    values = request.headers.get_all(name)
    if not values:
        return None
    return values[0] if len(values) == 1 else ""
