"""Pushing many changed objects to one healthy partner, beside a bare aiohttp client.

Registers a receiver with `cpo serve`, marks all of its locations as changed (resync) and takes
the time until the last has arrived, with the server's CPU. The bare client, a process of its own,
sends the very same bodies with as many requests in flight. Both alternate; medians over the rounds.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import uvloop
from backend import Backend
from load import cpu_seconds
from ocpi_pages import fill_locations
from receiver import Receiver

BARE = """
import asyncio, json, sys, time, resource
import aiohttp, uvloop
url, path, in_flight = sys.argv[1], sys.argv[2], int(sys.argv[3])
bodies = [line.split("\\t", 1) for line in open(path)]
async def main():
    queue = iter(bodies)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        async def lane():
            for target, body in queue:
                async with session.put(url + target, data=body.encode()) as response:
                    await response.read()
        cpu, started = time.process_time(), time.perf_counter()
        await asyncio.gather(*(lane() for _ in range(in_flight)))
        print(json.dumps([time.perf_counter() - started, time.process_time() - cpu]))
uvloop.run(main())
"""


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run the rounds and return the figures."""
    bodies: dict[str, bytes] = {}
    done = asyncio.Event()
    wanted = [0]

    def arrived(_: float, method: str, path: str, body: bytes) -> None:
        if method == "PUT" and path.startswith("/locations/"):
            bodies[path] = body
            wanted[0] -= 1
            if wanted[0] == 0:
                done.set()

    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cpo-push-")))
        url = f"sqlite:///{directory / 'cpo.db'}"
        await fill_locations(url, args.objects)
        backend = Backend(
            database=url, CPO_OCPI__PUSH__DRAIN_RATE="0", CPO_OCPI__REQUESTS_PER_SECOND="0"
        )
        stack.callback(backend.close)
        receiver = await stack.enter_async_context(Receiver("AAA", arrived))
        invited = await asyncio.to_thread(backend.api, "POST", "/partners", {"name": "AAA"})
        wanted[0] = args.objects
        await receiver.register(invited["versions_url"], invited["token_a"])
        await asyncio.wait_for(done.wait(), 300)
        file = backend.directory / "bodies"
        lines = [f"{path}\t{body.decode()}\n" for path, body in bodies.items()]
        await asyncio.to_thread(file.write_text, "".join(lines))
        ours: list[tuple[float, float]] = []
        bare: list[tuple[float, float]] = []
        for _ in range(args.rounds):
            done.clear()
            wanted[0] = args.objects
            cpu, started = cpu_seconds(backend.pid), time.perf_counter()
            await asyncio.to_thread(backend.api, "POST", f"/partners/{invited['id']}/resync", {})
            await asyncio.wait_for(done.wait(), 300)
            wall = time.perf_counter() - started
            await asyncio.sleep(0.5)
            ours.append((wall, cpu_seconds(backend.pid) - cpu))
            done.clear()
            wanted[0] = args.objects
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", BARE, receiver.url, str(file), str(args.in_flight)),
                stdout=subprocess.PIPE,
            )
            output, _ = await process.communicate()
            bare.append(tuple(json.loads(output)))
    return {
        "objects": args.objects,
        "body_bytes": round(statistics.mean(map(len, bodies.values()))),
        "ours": figures(ours, args.objects),
        "bare_aiohttp": figures(bare, args.objects),
        "wall_ratio": round(median(ours, 0) / median(bare, 0), 2),
        "cpu_ratio": round(median(ours, 1) / median(bare, 1), 2),
    }


def median(rounds: list[tuple[float, float]], index: int) -> float:
    """Return the median over the rounds."""
    return statistics.median(pair[index] for pair in rounds)


def figures(rounds: list[tuple[float, float]], count: int) -> dict[str, Any]:
    """Return seconds, rate and CPU per object."""
    return {
        "seconds": round(median(rounds, 0), 3),
        "objects_per_second": round(count / median(rounds, 0)),
        "cpu_us_per_object": round(median(rounds, 1) / count * 1e6),
        "rounds_s": [round(wall, 3) for wall, _ in rounds],
    }


def main() -> None:
    """Read the command line and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=5000)
    parser.add_argument("--in-flight", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    print(json.dumps(uvloop.run(measure(parser.parse_args())), indent=2))


if __name__ == "__main__":
    main()
