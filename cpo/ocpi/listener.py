"""HTTP as partners may use it: bounded in time and size, and answered in OCPI's envelope.

aiohttp's own server has no limit on how long a request may take to arrive; one
that sends its headers byte by byte would hold a connection for ever.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from cpo.ocpi.envelope import Status, failure

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request may take: seconds, and bytes after unpacking."""

    header_time: float = 10.0
    body_time: float = 15.0
    idle_time: float = 60.0
    body_bytes: int = 1024 * 1024


class PartnerProtocol(web.RequestHandler):
    """One connection of a partner; dropped when a request's headers take too long."""

    __slots__ = ("_deadline", "_header_time")

    def __init__(self, manager: "Listener", header_time: float, **options: Any) -> None:
        super().__init__(manager, loop=asyncio.get_running_loop(), **options)
        self._header_time = header_time
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start waiting for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Stop waiting once the headers of a request are complete."""
        super().data_received(data)
        if self._messages or self._current_request is not None:
            self._stop()
        elif self._deadline is None and data:
            self._wait()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop waiting."""
        self._stop()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,  # noqa: ARG002 - the partner is not told
        message: str | None = None,  # noqa: ARG002 - the partner is not told
    ) -> web.StreamResponse:
        """Answer what is not even HTTP in the envelope, without saying what we run on."""
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer has been sent already")
        response = envelope_response(
            status, Status.CLIENT_ERROR if status < 500 else Status.SERVER_ERROR, "not HTTP"
        )
        response.force_close()
        return response

    def log_exception(self, *args: Any, **options: Any) -> None:
        """Keep quiet about bodies that cannot be unpacked: whoever sent one was told."""
        if not isinstance(options.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **options)

    def _wait(self) -> None:
        self._deadline = asyncio.get_running_loop().call_later(self._header_time, self._give_up)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        busy = self._messages or self._current_request is not None
        if self.transport is not None and not busy:
            self.transport.abort()


class Listener(web.Server):
    """The server that partners connect to. `start` binds, `stop` drains."""

    def __init__(self, handler: Handler, limits: Limits) -> None:
        super().__init__(handler, request_factory=self._request)
        self._limits = limits
        self._runner: asyncio.Server | None = None

    def __call__(self) -> web.RequestHandler:
        """Make the protocol for one connection."""
        return PartnerProtocol(
            self,
            self._limits.header_time,
            keepalive_timeout=self._limits.idle_time,
            access_log=None,
            lingering_time=1.0,
        )

    async def start(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        bound: socket.socket | None = None,
    ) -> int:
        """Listen, and return the port; on a socket that is bound already where one is given."""
        loop = asyncio.get_running_loop()
        if bound is not None:
            self._runner = await loop.create_server(self, sock=bound, ssl=tls, backlog=1024)
        else:
            self._runner = await loop.create_server(self, host, port, ssl=tls, backlog=1024)
        found: int = self._runner.sockets[0].getsockname()[1]
        return found

    async def stop(self, *, within: float = 5.0) -> None:
        """Accept nothing more, let what is under way end, close."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None
        self.pre_shutdown()
        await self.shutdown(within)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: Any,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        return web.BaseRequest(
            message,
            payload,
            protocol,
            writer,
            task,
            asyncio.get_running_loop(),
            client_max_size=self._limits.body_bytes,
        )


def envelope_response(
    http: int, status: int, message: str, headers: dict[str, str] | None = None
) -> web.Response:
    """Make an error answer without anything of the request."""
    return web.Response(
        status=http,
        body=failure(status, message, datetime.now(UTC)),
        headers={**PLAIN_HEADERS, **(headers or {})},
    )


# aiohttp would name itself and its version (S21).
PLAIN_HEADERS = {"Content-Type": "application/json", "Server": "cpo"}
