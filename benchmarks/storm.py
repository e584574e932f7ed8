"""A reconnect storm: all chargers lose the line at once, come back, log in and boot.

Against `python -m cpo serve` with SQLite and everything on, pinned to one core where asked for. A
second, small fleet keeps charging meanwhile: how long its transactions wait is measured too. Each
lost charger tries at once, then again after 1, 2, 4, 4 … seconds plus up to 2, as EVerest's libocpp
does by default (a Retry-After that is longer is heeded). With --baseline the same storm is played
against a bare `websockets` server that authenticates nobody and stores nothing. Prints one JSON
object per storm: `seconds` until the last is back and booted, `longest_wait` of any charger.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop
from backend import PASSWORD, Backend
from connections import BOOT, register
from ingest import Peer
from load import Load, Station, cpu_seconds

HERE = Path(__file__).resolve().parent
BACK_OFF = (1, 2, 4)


class Refused(Exception):
    """The handshake was not answered with 101."""


class Charger:
    """One charger that comes back until it is booted."""

    def __init__(self, storm: "Storm", number: int) -> None:
        self.storm = storm
        self.number = number
        self.station: Station | None = None
        self.waited = 0.0

    async def come_back(self, dice: random.Random) -> None:
        """Connect and boot, with the back-off of a charger."""
        began = time.perf_counter()
        tries = 0
        while True:
            try:
                await self._enter()
                break
            except (OSError, TimeoutError):
                self.storm.refusals += 1
            await asyncio.sleep(BACK_OFF[min(tries, 2)] + dice.random() * 2)
            tries += 1
        self.waited = time.perf_counter() - began

    async def _enter(self) -> None:
        loop = asyncio.get_running_loop()
        transport, station = await loop.create_connection(
            lambda: Station(self.storm.load, self.number), "127.0.0.1", self.storm.port
        )
        try:
            async with asyncio.timeout(60):
                await station.ready
        except BaseException:
            transport.abort()
            raise
        self.station = station
        booted = loop.create_future()
        station.heard = lambda: booted.done() or booted.set_result(None)
        station.say("BootNotification", BOOT)
        async with asyncio.timeout(60):
            await booted

    def lose(self) -> None:
        """Lose the line without a goodbye."""
        if self.station is not None:
            self.station.transport.abort()
            self.station = None


class Storm:
    """The whole fleet."""

    def __init__(self, port: int, count: int, prefix: str = "C") -> None:
        self.port = port
        self.load = _load(prefix)
        self.chargers = [Charger(self, number) for number in range(count)]
        self.refusals = 0

    async def blow(self) -> dict[str, Any]:
        """Cut everybody and wait until all are back."""
        for charger in self.chargers:
            charger.lose()
        await asyncio.sleep(0)
        self.refusals = 0
        began = time.perf_counter()
        dice = random.Random(1)
        await asyncio.gather(*(charger.come_back(dice) for charger in self.chargers))
        waits = sorted(charger.waited for charger in self.chargers)
        return {
            "seconds": round(time.perf_counter() - began, 2),
            "longest_wait": round(waits[-1], 2),
            "median_wait": round(waits[len(waits) // 2], 2),
            "refusals": self.refusals,
        }


def _load(prefix: str) -> Load:
    load = Load(
        argparse.Namespace(
            version="1.6",
            prefix=prefix,
            password=PASSWORD,
            path="/ocpp",
            rate=0,
            days_ago=1,
            tags=0,
        )
    )
    load.closed_loop = False
    return load


class Others:
    """Chargers that stay connected and charge, one message each `pause` seconds."""

    def __init__(self, port: int, count: int, pause: float) -> None:
        self.storm = Storm(port, count, prefix="S")
        self.pause = pause
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Connect, then charge for ever."""
        await self.storm.blow()
        self.storm.load.counting = True
        for charger in self.storm.chargers:
            self.tasks.append(asyncio.create_task(self._charge(charger)))

    async def _charge(self, charger: Charger) -> None:
        station = charger.station
        assert station is not None
        station.count = 0
        await asyncio.sleep(random.random() * self.pause)
        while True:
            if not station.waiting:
                station.next()
            await asyncio.sleep(self.pause)

    def waits(self) -> dict[str, Any]:
        """Return how long answers took since the last time, in ms, and forget them."""
        found = sorted(self.storm.load.latencies)
        self.storm.load.latencies.clear()
        pending = sum(c.station.waiting for c in self.storm.chargers if c.station is not None)
        if not found:
            return {"answers": 0, "unanswered": pending}
        return {
            "answers": len(found),
            "unanswered": pending,
            "errors": self.storm.load.errors,
            "p50_ms": round(found[len(found) // 2] * 1e3, 1),
            "p99_ms": round(found[int(len(found) * 0.99)] * 1e3, 1),
            "max_ms": round(found[-1] * 1e3, 1),
        }

    def close(self) -> None:
        """Stop charging."""
        for task in self.tasks:
            task.cancel()


async def measure(args: argparse.Namespace) -> None:
    """Play the storms that were asked for."""
    if args.baseline:
        bare = Peer(args.server_core, sys.executable, str(HERE / "peers.py"), "bare")
        storm = Storm(bare.ocpp_port, args.stations)
        await storm.blow()
        cpu = cpu_seconds(bare.pid)
        report = await storm.blow()
        cpu = cpu_seconds(bare.pid) - cpu
        print(json.dumps({"server": "bare websockets", **report, "cpu_seconds": round(cpu, 2)}))
        for charger in storm.chargers:
            charger.lose()
        bare.close()
    database = f"sqlite:///{args.folder}/storm.db"
    backend = Backend(database=database, core=args.server_core)
    await asyncio.to_thread(register, backend, args.stations)
    await asyncio.to_thread(backend.furnish, "S", args.others)
    await asyncio.to_thread(backend.close)
    for limit in args.limits.split(","):
        backend = Backend(
            database=database, core=args.server_core, CPO_OCPP__ACCEPTS_PER_SECOND=limit,
            CPO_OCPP__REFRESH_DELAY="600",
        )  # fmt: skip
        try:
            others = Others(backend.ocpp_port, args.others, 1.0)
            await others.start()
            storm = Storm(backend.ocpp_port, args.stations)
            first = await storm.blow()
            await asyncio.sleep(3)
            others.waits()
            await asyncio.sleep(5)
            calm = others.waits()
            cpu, own = cpu_seconds(backend.pid), cpu_seconds(os.getpid())
            report = await storm.blow()
            cpu, own = cpu_seconds(backend.pid) - cpu, cpu_seconds(os.getpid()) - own
            print(
                json.dumps(
                    {
                        "server": "cpo",
                        "stations": args.stations,
                        "accepts_per_second": float(limit),
                        **report,
                        "cpu_seconds": round(cpu, 2),
                        "client_cpu_seconds": round(own, 2),
                        "after_a_start": first["seconds"],
                        "others_before": calm,
                        "others_meanwhile": others.waits(),
                    }
                ),
                flush=True,
            )
            others.close()
            for charger in [*storm.chargers, *others.storm.chargers]:
                charger.lose()
        finally:
            await asyncio.to_thread(backend.close)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stations", type=int, default=10_000)
    parser.add_argument("--others", type=int, default=100, help="chargers that stay and charge")
    parser.add_argument("--limits", default="0,200,20", help="ocpp.accepts_per_second, in turn")
    parser.add_argument("--baseline", action="store_true")
    parser.add_argument("--server-core", type=int, default=None)
    parser.add_argument("--client-core", type=int, default=None)
    parser.add_argument("--folder", default=None, help="where the database goes")
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if args.stations + args.others + 300 > hard:
        sys.exit(f"{args.stations} stations need more file handles than the {hard} allowed here")
    if args.client_core is not None:
        os.sched_setaffinity(0, {args.client_core})
    with tempfile.TemporaryDirectory(prefix="cpo-storm-") as folder:
        args.folder = args.folder or folder
        uvloop.run(measure(args))


if __name__ == "__main__":
    main()
