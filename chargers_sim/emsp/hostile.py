"""Answers that no well-meaning partner gives: cut, endless, lying about their length."""

import asyncio
import gzip
import socket
import struct

from aiohttp import web

_CHUNK = b" " * 65536


def reset(request: web.Request) -> web.Response:
    """Cut the connection with RST, without any answer."""
    transport = request.transport
    if transport is not None:
        peer: socket.socket | None = transport.get_extra_info("socket")
        if peer is not None:
            # Linger of zero seconds turns the close into a reset.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


async def huge(request: web.Request, megabytes: int) -> web.StreamResponse:
    """Answer 200 with JSON that begins well and then does not end for `megabytes`."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"status_code":1000,"data":"')
    for _ in range(megabytes * 16):
        await response.write(_CHUNK)
    await response.write_eof(b'"}')
    return response


async def gzip_bomb(request: web.Request, megabytes: int) -> web.StreamResponse:
    """Answer 200 with a small compressed body that unpacks to `megabytes`."""
    packed = gzip.compress(
        b'{"status_code":1000,"data":"' + _CHUNK * (megabytes * 16) + b'"}', compresslevel=9
    )
    response = web.StreamResponse(
        headers={
            "Content-Type": "application/json",
            "Content-Encoding": "gzip",
            "Content-Length": str(len(packed)),
        }
    )
    await response.prepare(request)
    await response.write_eof(packed)
    return response


async def drip(request: web.Request, seconds: float) -> web.StreamResponse:
    """Answer 200 one byte at a time, for as long as `seconds`."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for _ in range(int(seconds / 0.05)):
        await response.write(b" ")
        await asyncio.sleep(0.05)
    await response.write_eof()
    return response


async def wrong_length(request: web.Request) -> web.StreamResponse:
    """Promise more bytes than are sent, and hang up."""
    body = b'{"status_code":1000,"timestamp":"2026-01-01T00:00:00Z"}'
    response = web.StreamResponse(
        headers={"Content-Type": "application/json", "Content-Length": str(len(body) + 100)}
    )
    response.force_close()
    await response.prepare(request)
    await response.write(body)
    if request.transport is not None:
        request.transport.close()
    return response
