"""Memory per idle connection, a burst at one instant, and the growth of cost.

Against `python -m cpo serve` with SQLite and everything on. Memory is the resident size of the
server's process as the operating system counts it, before and after N stations have connected and
booted. The burst sends one MeterValues of an open transaction from every station in the same
instant: time until the last durable answer. The growth is the cost of a message with all stations
sending, over that with a hundred. Prints one JSON object per part as soon as it is known.
"""

import argparse
import asyncio
import json
import os
import resource
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop
from backend import PASSWORD, Backend
from load import SAMPLED_16, Clock, Load, Station, cpu_seconds

HERE = Path(__file__).resolve().parent
_ONE_CHARGE = 19
BOOT = '{"chargePointVendor":"Load","chargePointModel":"1"}'


def resident_kib(pid: int) -> int:
    """Return the resident memory of a process in KiB."""
    with open(f"/proc/{pid}/status") as file:  # noqa: PTH123 - /proc
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0


class Fleet:
    """Many stations, each with its own identity, that come back when they are refused."""

    def __init__(self, port: int, count: int, *, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self.count = count
        self.tls = tls
        namespace = argparse.Namespace(
            version="1.6", prefix="C", password=PASSWORD, path="/ocpp", rate=0, days_ago=1, tags=0
        )
        self.load = Load(namespace)
        self.load.closed_loop = False
        self.stations: dict[int, Station] = {}
        self.refusals = 0
        self.transactions: dict[int, int] = {}
        self._charging: set[Station] = set()

    async def connect_all(self, *, at_once: int = 200) -> dict[str, float]:
        """Bring every station in and let it boot; refused ones try again after a second."""
        gate = asyncio.Semaphore(at_once)
        began = time.perf_counter()
        waits: list[float] = []

        async def one(number: int) -> None:
            while True:
                async with gate:
                    try:
                        station = await self._enter(number)
                        break
                    except (OSError, TimeoutError):
                        self.refusals += 1
                await asyncio.sleep(1)
            self.stations[number] = station
            await _answered(station)
            waits.append(time.perf_counter() - began)

        await asyncio.gather(*(one(number) for number in range(self.count)))
        return {"seconds": max(waits), "refusals": self.refusals}

    async def _enter(self, number: int) -> Station:
        loop = asyncio.get_running_loop()
        _, station = await asyncio.wait_for(
            loop.create_connection(
                lambda: Station(self.load, number), "127.0.0.1", self.port, ssl=self.tls
            ),
            30,
        )
        await asyncio.wait_for(station.ready, 30)
        station.say("BootNotification", BOOT)
        return station

    async def begin(self) -> None:
        """Start a transaction at every station."""
        at = Clock(self.load.start).next(0)
        for number, station in self.stations.items():
            station.count += 1
            station.say(
                "StartTransaction",
                f'{{"connectorId":1,"idTag":"TAG{number}","meterStart":0,"timestamp":"{at}"}}',
            )
        for number, station in self.stations.items():
            await _answered(station)
            self.transactions[number] = json.loads(station.last)[2]["transactionId"]

    async def burst(self) -> dict[str, float]:
        """Send one MeterValues from every station in the same instant."""
        at = Clock(datetime.now(UTC)).next(0)
        self.load.latencies.clear()
        self.load.errors = 0
        self.load.counting = True
        began = time.perf_counter()
        for number, station in self.stations.items():
            station.count += 1
            station.say(
                "MeterValues",
                f'{{"connectorId":1,"transactionId":{self.transactions[number]},'
                f'"meterValue":[{{"timestamp":"{at}","sampledValue":[{SAMPLED_16 % number}]}}]}}',
            )
        for station in self.stations.values():
            await _answered(station)
        seconds = time.perf_counter() - began
        self.load.counting = False
        return {"seconds": seconds, "errors": self.load.errors}

    async def cost(self, pid: int, active: int, seconds: float) -> float:
        """Return the server's CPU in µs a message when `active` stations send in a closed loop."""
        loop = self.load
        chosen = list(self.stations.values())[:active]
        loop.closed_loop = True
        loop.running = True
        fresh = [station for station in chosen if station not in self._charging]
        for station in fresh:
            station.count = 0
        self._charging.update(fresh)
        for station in chosen:
            station.next()
        # A station's first charge reads its history and its token once: that is no running cost.
        while any(station.count <= _ONE_CHARGE for station in fresh):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        loop.latencies.clear()
        loop.counting = True
        cpu = cpu_seconds(pid)
        await asyncio.sleep(seconds)
        cpu = cpu_seconds(pid) - cpu
        count = len(loop.latencies)
        loop.counting = loop.closed_loop = False
        while any(station.waiting for station in chosen):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        return cpu / count * 1e6

    def close(self) -> None:
        """Hang up."""
        for station in self.stations.values():
            station.transport.close()
        self.stations.clear()


async def _answered(station: Station) -> None:
    """Wait for what a station waits for."""
    if not station.waiting:
        return
    heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    station.heard = lambda: None if heard.done() else heard.set_result(None)
    await heard
    station.heard = None


def register(backend: Backend, count: int) -> None:
    """Enter the stations."""
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda n: backend.api("PUT", f"/stations/C{n}", {"password": PASSWORD}),
                range(count),
            )
        )


def certificate(folder: Path) -> dict[str, str]:
    """Make a self-signed P-256 certificate and return the settings that use it."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    return {
        "CPO_OCPP__TLS__CERTIFICATE": str(folder / "cert.pem"),
        "CPO_OCPP__TLS__KEY": str(folder / "key.pem"),
    }


async def measure(args: argparse.Namespace) -> AsyncIterator[dict[str, Any]]:
    """Run the parts and tell the figures of each."""
    tls, environment = None, {}
    if args.tls:
        environment = certificate(Path(args.folder))
        tls = ssl.create_default_context()
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    database = f"sqlite:///{args.folder}/bench.db"
    started = time.perf_counter()
    backend = Backend(database=database, core=args.server_core, **environment)
    yield {
        "part": "start",
        "seconds": time.perf_counter() - started,
        "cpu_seconds": cpu_seconds(backend.pid),
        "mib": resident_kib(backend.pid) / 1024,
    }
    try:
        await asyncio.to_thread(register, backend, args.stations)
        backend.close()
        backend = Backend(database=database, core=args.server_core, **environment)
        await asyncio.sleep(1)
        empty = resident_kib(backend.pid)
        fleet = Fleet(backend.ocpp_port, args.stations, tls=tls)
        cpu = cpu_seconds(backend.pid)
        storm = await fleet.connect_all()
        cpu = cpu_seconds(backend.pid) - cpu
        await asyncio.sleep(2)
        full = resident_kib(backend.pid)
        yield {
            "part": "idle",
            "stations": args.stations,
            "tls": args.tls,
            "kib_per_connection": (full - empty) / args.stations,
            "empty_mib": empty / 1024,
            "connect_and_boot_seconds": storm["seconds"],
            "cpu_us_per_connect_and_boot": cpu / args.stations * 1e6,
            "refusals": storm["refusals"],
        }
        await fleet.begin()
        for _ in range(args.rounds):
            cpu = cpu_seconds(backend.pid)
            found = await fleet.burst()
            cpu = cpu_seconds(backend.pid) - cpu
            yield {"part": "burst", "stations": args.stations, **found, "cpu_seconds": cpu}
        few, many = [], []
        for _ in range(args.rounds):
            few.append(await fleet.cost(backend.pid, 100, args.seconds))
            many.append(await fleet.cost(backend.pid, args.stations, args.seconds))
        few.sort()
        many.sort()
        yield {
            "part": "growth",
            "us_per_message_100": few[len(few) // 2],
            f"us_per_message_{args.stations}": many[len(many) // 2],
            "ratio": many[len(many) // 2] / few[len(few) // 2],
        }
        fleet.close()
    finally:
        backend.close()


async def show(args: argparse.Namespace) -> None:
    """Print each part when it is known."""
    async for line in measure(args):
        print(json.dumps(line), flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stations", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--server-core", type=int, default=None)
    parser.add_argument("--client-core", type=int, default=None)
    parser.add_argument("--folder", default=None, help="where the database goes")
    args = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if soft < args.stations + 300 > hard:
        sys.exit(f"{args.stations} stations need more file handles than the {hard} allowed here")
    if args.client_core is not None:
        os.sched_setaffinity(0, {args.client_core})
    with tempfile.TemporaryDirectory(prefix="cpo-connections-") as folder:
        args.folder = args.folder or folder
        uvloop.run(show(args))


if __name__ == "__main__":
    main()
