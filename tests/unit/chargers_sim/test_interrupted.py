"""Ctrl-C on a simulated charger that is connecting, as a technician presses it."""

import asyncio
import os
import signal
import sys

from waiting import LONG


async def test_ctrl_c_ends_a_station_that_waits_for_a_silent_server():
    knocked = asyncio.Event()

    async def say_nothing(reader, writer):
        knocked.set()
        await reader.read()  # up to its end
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ocpp"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chargers_sim", "run", "--url", url, "--identity", "CP1",
        "--connect-timeout", "3600",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    async with asyncio.timeout(LONG):
        await knocked.wait()
        process.send_signal(signal.SIGINT)
        _, said = await process.communicate()
    server.close()

    assert process.returncode == 130
    assert b"Traceback" not in said
