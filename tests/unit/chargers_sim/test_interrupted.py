"""Ctrl-C on a simulated charger that is connecting, as a technician presses it."""

import asyncio
import json
import os
import signal
import sys

from waiting import LONG, START, until


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


async def test_ctrl_c_ends_a_fleet_with_the_summary_of_what_was(loose):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chargers_sim", "fleet", "--url", loose.url, "--stations", "3",
        "--seconds", "86400", "--ramp", "0", "--json",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    await until(lambda: len(loose.of("BootNotification")) == 3, seconds=START)
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(LONG):
        told, said = await process.communicate()

    assert json.loads(told)["stations"] == 3
    assert process.returncode == 130
    assert said == b""


async def test_ctrl_d_ends_a_station_led_by_keys(loose):
    screen, keys = os.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chargers_sim", "run", "--url", loose.url, "--identity", "CP1",
        stdin=keys, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    os.close(keys)
    await until(lambda: loose.of("StatusNotification"), seconds=START)
    os.write(screen, b"\x04")
    async with asyncio.timeout(LONG):
        _, said = await process.communicate()
    os.close(screen)

    assert process.returncode == 0
    assert b"Traceback" not in said
