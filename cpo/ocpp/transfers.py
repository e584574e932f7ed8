"""Where stations fetch firmware and leave logs: HTTP, by one-time URLs.

`GET …/transfer/{secret}` sends the file the secret stands for, whole or in ranges;
`PUT` or `POST …/transfer/{secret}[/name]` takes one. Everything else, and every secret that is
good for nothing (any more), gets the same 404. Bytes go between socket and disk in blocks.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from aiohttp import BodyPartReader, web

from cpo.errors import Conflict, CpoError, NotFound, StoreUnavailable
from cpo.services.files import Files, NoRoom, Pass, StoredFile, TooLarge

log = structlog.get_logger()

PATH: Final = "/transfer"
_BLOCK: Final = 1 << 18
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_HEADERS: Final = {
    "Server": "cpo",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_BUSY: Final = {"Retry-After": "30"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRules:
    """Where it listens; `idle_timeout` in seconds between two blocks of a file."""

    host: str
    port: int
    idle_timeout: float
    most_at_once: int
    drain_timeout: float


class TransferServer:
    """Serves passes of `Files` to stations."""

    def __init__(
        self, rules: TransferRules, files: Files, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self._rules = rules
        self._files = files
        self._tls = tls
        self._running = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen; returns the port."""
        app = web.Application(middlewares=[self._guard], client_max_size=1)
        app.router.add_get(f"{PATH}/{{secret}}", self._send, allow_head=True)
        app.router.add_get(f"{PATH}/{{secret}}/{{name:.*}}", self._send, allow_head=True)
        for method in ("PUT", "POST"):
            app.router.add_route(method, f"{PATH}/{{secret}}", self._take)
            app.router.add_route(method, f"{PATH}/{{secret}}/{{name:.*}}", self._take)
        # No access log: the secrets are in the paths.
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=self._rules.drain_timeout
        )
        await self._runner.setup()
        await web.TCPSite(
            self._runner, self._rules.host, self._rules.port, ssl_context=self._tls
        ).start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening; transfers under way have the drain time to end."""
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._running >= self._rules.most_at_once:
            return _told(503, "busy", _BUSY)
        self._running += 1
        try:
            return await handler(request)
        except NotFound:
            return _told(404, "not found")
        except web.HTTPException:
            return _told(404, "not found")
        except TooLarge as error:
            return _told(413, str(error))
        except NoRoom:
            log.warning("transfer.no_room")
            return _told(507, "no room", _BUSY)
        except Conflict as error:
            return _told(409, str(error))
        except StoreUnavailable:
            return _told(503, "try again later", _BUSY)
        except TimeoutError:
            return _told(408, "too slow")
        except CpoError as error:
            return _told(400, str(error))
        finally:
            self._running -= 1

    # --- to a station -----------------------------------------------------------------------------

    async def _send(self, request: web.Request) -> web.StreamResponse:
        one = self._files.find(request.match_info["secret"], upload=False)
        file = self._files.get("firmware", one.file or "")
        path = self._files.path(file)
        try:
            span = request.http_range
            start, end, _ = slice(span.start, span.stop).indices(file.size)
            ranged = span.start is not None or span.stop is not None
        except ValueError:
            start, end, ranged = 0, 0, True
        if ranged and start >= end:
            return _told(416, "no such range", {"Content-Range": f"bytes */{file.size}"})
        response = web.StreamResponse(status=206 if ranged else 200, headers=_file_headers(file))
        if ranged:
            response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        response.content_length = end - start
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        await self._copy(path, start, end, response)
        await response.write_eof()
        if end == file.size:
            await self._files.delivered(one)
        return response

    async def _copy(self, path: Path, start: int, end: int, response: web.StreamResponse) -> None:
        source = await asyncio.to_thread(path.open, "rb")
        try:
            await asyncio.to_thread(source.seek, start)
            while start < end:
                block = await asyncio.to_thread(source.read, min(_BLOCK, end - start))
                if not block:
                    raise ConnectionResetError("the file became shorter")
                async with asyncio.timeout(self._rules.idle_timeout):
                    await response.write(block)
                start += len(block)
        finally:
            await asyncio.to_thread(source.close)

    # --- from a station ---------------------------------------------------------------------------

    async def _take(self, request: web.Request) -> web.StreamResponse:
        one = self._files.find(request.match_info["secret"], upload=True)
        if (length := request.content_length) is not None and length > self._files.most_upload:
            raise TooLarge(self._files.most_upload)
        name = request.match_info.get("name") or f"{one.station}.log"
        if request.content_type.startswith("multipart/"):
            return await self._take_form(request, one, name)
        await self._files.receive(one, name, self._blocks(request))
        return _told(201, "received")

    async def _take_form(self, request: web.Request, one: Pass, name: str) -> web.StreamResponse:
        """Take the first file of a form: some chargers upload as browsers do."""
        try:
            reader = await request.multipart()
            while (part := await reader.next()) is not None:
                if isinstance(part, BodyPartReader) and part.filename:
                    await self._files.receive(one, part.filename or name, self._parts(part))
                    return _told(201, "received")
        except (ValueError, AssertionError):
            return _told(400, "the form cannot be read")
        return _told(400, "the form has no file")

    async def _blocks(self, request: web.Request) -> AsyncIterator[bytes]:
        while True:
            async with asyncio.timeout(self._rules.idle_timeout):
                block = await request.content.readany()
            if not block:
                return
            yield block

    async def _parts(self, part: BodyPartReader) -> AsyncIterator[bytes]:
        while True:
            async with asyncio.timeout(self._rules.idle_timeout):
                block = await part.read_chunk(_BLOCK)
            if not block:
                return
            yield bytes(block)


def _file_headers(file: StoredFile) -> dict[str, str]:
    return {
        **_HEADERS,
        "Content-Type": "application/octet-stream",
        "Accept-Ranges": "bytes",
        "ETag": f'"{file.sha256}"',
    }


def _told(status: int, text: str, more: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers={**_HEADERS, **(more or {})})
