"""The websocket of one station: address, credentials, faults, trace."""

import asyncio
import base64
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.typing import Subprotocol

from chargers_sim.errors import BadInput, StationOffline, Unreachable
from chargers_sim.faults import Direction, Faults
from chargers_sim.lean import LeanConnection
from chargers_sim.outbox import Resend

OnFrame = Callable[[Direction, str], None]

CLOSE_SECONDS = 2
# A peer that lets the buffers of both ends fill up and reads nothing is as good as gone.
WRITE_SECONDS = 30

SUBPROTOCOLS = {"1.6": "ocpp1.6", "2.0.1": "ocpp2.0.1", "2.1": "ocpp2.1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where and as whom a station connects."""

    url: str
    identity: str
    password: str | bytes | None = None
    subprotocols: tuple[str, ...] = ("ocpp1.6",)
    user: str | None = None
    tls: ssl.SSLContext | None = None
    ping_seconds: float | None = 20
    open_seconds: float = 10
    compression: bool = False
    answer_pings: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    append_identity: bool = True
    drop_headers: tuple[str, ...] = ()

    @property
    def uri(self) -> str:
        """The address with the identity as last segment."""
        base = self.url.rstrip("/")
        return f"{base}/{quote(self.identity, safe='')}" if self.append_identity else self.url

    def authorization(self) -> dict[str, str]:
        """HTTP Basic, as security profiles 1 and 2 ask."""
        if self.password is None:
            return {}
        secret = self.password.encode() if isinstance(self.password, str) else self.password
        user = (self.identity if self.user is None else self.user).encode()
        return {"Authorization": "Basic " + base64.b64encode(user + b":" + secret).decode()}


@dataclass(slots=True, kw_only=True)
class LinkSettings:
    """How a line behaves; times in seconds.

    `queue_all` keeps every message over a lost line, not only those of transactions. After more
    than `offline_threshold` without a line every status is told again, else those that changed.
    """

    resend: Resend = "same"
    reconnect: tuple[float, float] = (1, 60)
    message_timeout: float = 30
    retry_seconds: float = 60
    attempts: int = 3
    lean: bool = False
    boot_on_reconnect: bool = False
    heartbeat: bool = True
    queue_all: bool = False
    offline_threshold: float | None = None
    on_frame: Callable[[Direction, str], None] | None = None
    on_latency: Callable[[str, float], None] | None = None


async def dial(address: Address, *, lean: bool = False) -> ClientConnection:
    """Open the socket; raises Unreachable with one clear line."""
    offered = [Subprotocol(name) for name in address.subprotocols]
    if not address.url.startswith(("ws://", "wss://")):
        raise BadInput(f"the address must start with ws:// or wss://, not {address.url!r}")
    try:
        connection = await connect(
            address.uri,
            subprotocols=offered or None,
            additional_headers={**address.authorization(), **address.headers},
            ssl=address.tls if address.url.startswith("wss://") else None,
            compression="deflate" if address.compression else None,
            ping_interval=None if lean else address.ping_seconds,
            ping_timeout=address.ping_seconds,
            open_timeout=address.open_seconds,
            close_timeout=CLOSE_SECONDS,
            max_size=1 << 20,
            proxy=None,
            create_connection=LeanConnection if lean else _without(address.drop_headers),
        )
    except InvalidURI as problem:
        raise BadInput(f"not an address: {address.uri}") from problem
    except InvalidHandshake as problem:
        raise Unreachable(f"{address.uri} refused the handshake: {problem}") from problem
    except ssl.SSLError as problem:
        reason = problem.reason or str(problem)
        raise Unreachable(f"{address.uri}: TLS failed: {reason}") from problem
    except (OSError, TimeoutError, EOFError) as problem:
        raise Unreachable(f"{address.uri} cannot be reached: {problem or 'timeout'}") from problem
    if offered and connection.subprotocol is None:
        await say_goodbye(connection)
        raise Unreachable(f"{address.uri} speaks none of {', '.join(offered)}")
    if isinstance(connection, LeanConnection) and address.ping_seconds is not None:
        connection.ping_every(address.ping_seconds)
    return connection


def _without(names: tuple[str, ...]) -> type[ClientConnection]:
    # A handshake that lacks headers every client sends has to be made on purpose.
    if not names:
        return ClientConnection

    class Bare(ClientConnection):
        """A connection whose request lacks some headers."""

        async def handshake(self, *args: Any, **kwargs: Any) -> None:
            """Perform the opening handshake."""
            make = self.protocol.connect

            def connect_without() -> Request:
                request = make()
                for name in names:
                    del request.headers[name]
                return request

            self.protocol.connect = connect_without  # type: ignore[method-assign]
            await super().handshake(*args, **kwargs)

    return Bare


class Line:
    """One open socket, with the faults in force between station and server."""

    def __init__(
        self,
        connection: ClientConnection,
        faults: Faults,
        on_frame: OnFrame,
        rewrite: Callable[[str], str] | None = None,
        *,
        watched: bool = True,
    ) -> None:
        self._rewrite = rewrite
        self.connection = connection
        # Where nobody looks at the frames, they need not be waited for.
        self._quick: LeanConnection | None = None
        if isinstance(connection, LeanConnection) and not watched:
            self._quick = connection
        self._faults = faults
        self._on_frame = on_frame
        self._asked: dict[str, str] = {}

    @property
    def subprotocol(self) -> str | None:
        """What the server chose."""
        return self.connection.subprotocol

    @property
    def ready(self) -> bool:
        """Say whether a frame can be sent at once."""
        return self._quick is not None and self._quick.ready and not self._faults.rules

    def send_now(self, text: bytes) -> None:
        """Send one frame at once, where `ready` says so."""
        assert self._quick is not None  # noqa: S101 - else it is not ready
        self._quick.write_text(text)

    def deliver_to(self, take: Callable[[bytes], bool]) -> None:
        """Give frames to a function as they come; what it refuses waits for `recv`."""
        if self._quick is not None:
            self._quick.deliver = lambda text: not self._faults.rules and take(text)

    async def send(self, text: str) -> None:
        """Send one frame, as the faults allow."""
        if self._rewrite is not None:
            text = self._rewrite(text)
        self._on_frame("out", text)
        if not self._faults.rules:
            await self._write(text)
            return
        verdict = self._faults.judge("out", text, self._action("out", text))
        if verdict.delay:
            await asyncio.sleep(verdict.delay)
        if verdict.cut == "before":
            self.cut()
            raise StationOffline("the line was cut before the frame left")
        if verdict.cut == "half":
            self.half_frame(text)
            # What was written must be on its way before the socket goes.
            await asyncio.sleep(0.01)
            self.cut()
            raise StationOffline("the line was cut in the middle of a frame")
        for each in verdict.texts:
            await self._write(each)
        if verdict.cut == "after":
            if verdict.cut_delay:
                await asyncio.sleep(verdict.cut_delay)
            self.cut()
            raise StationOffline("the line was cut after the frame left")

    async def send_raw(self, text: str | bytes) -> None:
        """Send anything, past all faults."""
        self._on_frame("out", text if isinstance(text, str) else text.decode(errors="replace"))
        await self._write(text)

    async def recv(self) -> str:
        """Wait for the next frame that the faults let through."""
        while True:
            try:
                text = await self.connection.recv(decode=True)
            except ConnectionClosed as problem:
                raise StationOffline(f"the server closed the line: {problem}") from problem
            assert isinstance(text, str)  # noqa: S101 - decode=True says so
            if not self._faults.rules:
                self._on_frame("in", text)
                return text
            verdict = self._faults.judge("in", text, self._action("in", text))
            if verdict.delay:
                await asyncio.sleep(verdict.delay)
            if verdict.cut:
                self.cut()
                raise StationOffline("the line was cut before the frame was read")
            for each in verdict.texts[:1]:
                self._on_frame("in", each)
                return each

    def write_bytes(self, data: bytes) -> None:
        """Put bytes on the wire that no websocket library would."""
        self.connection.transport.write(data)

    def half_frame(self, text: str) -> None:
        """Send the first half of a frame's bytes, and no more."""
        data = Frame(Opcode.TEXT, text.encode()).serialize(mask=True)
        self.write_bytes(data[: len(data) // 2])

    def cut(self) -> None:
        """Tear the TCP connection down without a word."""
        self.connection.transport.abort()

    async def close(self) -> None:
        """Close as a well-behaved client does."""
        await say_goodbye(self.connection)

    async def _write(self, text: str | bytes) -> None:
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self.connection.send(text)
        except ConnectionClosed as problem:
            raise StationOffline(f"the line is closed: {problem}") from problem
        except TimeoutError:
            self.cut()
            raise StationOffline(
                f"the server has not read for {WRITE_SECONDS} s, the line was cut"
            ) from None

    def _action(self, direction: Direction, text: str) -> str | None:
        try:
            frame: Any = json.loads(text)
            if frame[0] in {2, 6}:
                self._asked[f"{direction}{frame[1]}"] = str(frame[2])
                return str(frame[2])
            other = "in" if direction == "out" else "out"
            return self._asked.pop(f"{other}{frame[1]}", None)
        except (ValueError, LookupError, TypeError):
            return None


async def say_goodbye(connection: ClientConnection) -> None:
    """Close a socket with the closing handshake, or without it if the server does not read."""
    try:
        async with asyncio.timeout(2 * CLOSE_SECONDS):
            await connection.close()
    except TimeoutError:
        connection.transport.abort()


def mute_pongs(connection: ClientConnection) -> None:
    """Make a socket leave every ping unanswered."""
    if isinstance(connection, LeanConnection):
        connection.answers_pings = False
    protocol = connection.protocol
    send = protocol.send_frame

    def send_all_but_pongs(frame: Frame) -> None:
        if frame.opcode is not Opcode.PONG:
            send(frame)

    protocol.send_frame = send_all_but_pongs  # type: ignore[method-assign]
