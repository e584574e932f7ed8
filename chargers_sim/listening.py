"""Ports that are given up without losing track of a connection."""

import asyncio
import ssl

from aiohttp import web


async def listen(
    runner: web.AppRunner | web.ServerRunner,
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
) -> asyncio.Server:
    """Let a runner that was set up take connections; port 0 is any that is free.

    Raises OSError where the address cannot be used.
    """
    assert runner.server is not None  # noqa: S101 - it was set up
    return await asyncio.get_running_loop().create_server(runner.server, host, port, ssl=tls)


async def stop_listening(server: asyncio.Server) -> None:
    """Close a listening server; connections that it has just taken are known to it by then.

    asyncio loses those that it accepted in the same turn of the loop as the close: their transport
    is never attached, and their socket stays open until the collector finds it.
    """
    loop = asyncio.get_running_loop()
    for one in server.sockets:
        loop.remove_reader(one.fileno())
    # Those that are accepted but not attached: a turn to start their task, and one to run it.
    for _ in range(3):
        await asyncio.sleep(0)
    server.close()
