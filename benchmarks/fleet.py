"""How many stations one simulator process carries, and what a message costs it.

    python benchmarks/fleet.py --stations 5000 --seconds 60
    python benchmarks/fleet.py --charges

The first connects a fleet (half 1.6, half 2.0.1, all charging) to a server of its own
with canned answers and reads memory and CPU of both from the operating system. The
second plays whole charges with the virtual clock and times them.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import uvloop
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from chargers_sim import Station  # noqa: E402 - after the path is set
from chargers_sim.fleet import Fleet, Plan, spare_collector  # noqa: E402 - after the path is set

NOW = "2026-01-01T00:00:00Z"
numbers = itertools.count(1)


def answer(action, payload):
    """Give what a server without any logic would say."""
    accepted = {"status": "Accepted"}
    if action == "BootNotification":
        return {"currentTime": NOW, "interval": 300, "status": "Accepted"}
    if action == "Heartbeat":
        return {"currentTime": NOW}
    if action == "Authorize":
        return {"idTagInfo" if "idTag" in payload else "idTokenInfo": accepted}
    if action == "StartTransaction":
        return {"transactionId": next(numbers), "idTagInfo": accepted}
    if action == "TransactionEvent" and "idToken" in payload:
        return {"idTokenInfo": accepted}
    return {}


async def canned(port):
    """Serve canned answers until killed."""

    async def handle(connection):
        with contextlib.suppress(ConnectionClosed):
            async for text in connection:
                frame = json.loads(text)
                if frame[0] == 2:
                    reply = [3, frame[1], answer(frame[2], frame[3])]
                    await connection.send(json.dumps(reply, separators=(",", ":")))

    async with serve(
        handle,
        "127.0.0.1",
        port,
        subprotocols=["ocpp1.6", "ocpp2.0.1", "ocpp2.1"],
        compression=None,
        ping_interval=None,
        backlog=4096,
    ) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()


def cpu_seconds(pid):
    """Read a process's CPU time from the operating system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid="self"):
    """Read a process's resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


async def fleet(url, server_pid, stations, seconds, ramp, sample):
    """Run the fleet and tell memory and CPU."""
    plan = Plan(
        url=url,
        stations=stations,
        ocpp="1.6,2.0.1",
        password="a-good-password-{n}",  # noqa: S106 - the stations register themselves
        tags="TAG",
        ramp=ramp,
        seconds=seconds,
        charging=1,
        duration=100_000,
        sample=sample,
    )
    empty = rss_mib()
    driven = Fleet(plan)
    spare_collector()
    until = asyncio.Event()

    async def watch():
        await asyncio.sleep(ramp + 10)
        own, server = cpu_seconds(os.getpid()), cpu_seconds(server_pid)
        before = sum(driven.tally.answers.values())
        await asyncio.sleep(seconds)
        sent = sum(driven.tally.answers.values()) - before
        own, server = cpu_seconds(os.getpid()) - own, cpu_seconds(server_pid) - server
        print(
            json.dumps(
                {
                    "stations": stations,
                    "online": sum(s.is_online for s in driven.stations),
                    "charging": sum(any(s.model.transactions()) for s in driven.stations),
                    "rss_mib": round(rss_mib(), 1),
                    "rss_mib_max": round(
                        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1
                    ),
                    "kib_per_station": round((rss_mib() - empty) * 1024 / stations, 1),
                    "messages": sent,
                    "messages_per_second": round(sent / seconds, 1),
                    "own_cpu_us_per_message": round(own / sent * 1e6, 1) if sent else None,
                    "server_cpu_us_per_message": round(server / sent * 1e6, 1) if sent else None,
                    "problems": dict(driven.tally.problems.most_common(5)),
                }
            ),
            flush=True,
        )
        until.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch())
        tasks.create_task(driven.live(until))


async def charges(url, rounds):
    """Time whole charges of an hour with the virtual clock."""
    for version in ("1.6", "2.0.1", "2.1"):
        taken = []
        for n in range(rounds):
            began = time.perf_counter()
            async with Station(url, f"V{version}-{n}", ocpp=version) as station:
                await station.plug()
                await station.swipe("TAG1")
                await station.charge(kwh="12.345", seconds=3600, idle_seconds=900)
                await station.stop()
                await station.unplug()
            taken.append(time.perf_counter() - began)
        taken.sort()
        middle = taken[len(taken) // 2]
        print(
            json.dumps(
                {"ocpp": version, "median_s": round(middle, 3), "max_s": round(taken[-1], 3)}
            )
        )


def start_cpo(folder):
    """Start the real server on a database of its own; return process and address."""
    config = Path(folder) / "config.toml"
    config.write_text(
        '[[parties]]\ncountry_code = "NL"\nparty_id = "CPO"\ncurrency = "EUR"\n'
        'time_zone = "Europe/Amsterdam"\nbusiness_details = {name = "Bench"}\n'
    )
    settings = {
        "database.url": f"sqlite:///{folder}/cpo.db",
        "ocpp.host": "127.0.0.1",
        "ocpp.unknown_stations": "register",
        "ocpp.connects_per_minute": 0,
        "ocpp.accepts_per_second": 0,
        "ocpp.messages_per_second": 0,
        "ocpp.port": 0,
        "ocpi.port": 0,
        "operator.port": 0,
    }
    sets = [part for k, v in settings.items() for part in ("--set", f"{k}={v}")]
    server = subprocess.Popen(
        [sys.executable, "-m", "cpo", "serve", "--config", str(config), *sets],
        stdout=subprocess.PIPE,
        stderr=(Path(folder) / "log").open("w"),
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    url = operator = key = None
    for line in server.stdout:
        if line.startswith("operator key:"):
            key = line.split()[-1]
        if line.startswith("listening ocpp"):
            url = line.split()[-1]
        if line.startswith("listening operator"):
            operator = line.split()[-1]
        if line.strip() == "ready":
            break
    token = {"type": "RFID", "contract_id": "NLCPOC00000001X", "valid": True}
    request = urllib.request.Request(  # noqa: S310 - the server just started
        f"{operator}/api/v1/tokens/TAG",
        method="PUT",
        data=json.dumps(token).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).close()  # noqa: S310 - the same
    return server, url


def main():
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--stations", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--ramp", type=float, default=20)
    parser.add_argument("--sample", type=int, default=30, help="MeterValues every so many seconds")
    parser.add_argument("--charges", action="store_true", help="time charges instead")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--cpo", action="store_true", help="against `cpo serve`, not canned answers"
    )
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if given.serve:
        uvloop.run(canned(0))
        return
    folder = tempfile.TemporaryDirectory()
    if given.cpo:
        server, url = start_cpo(folder.name)
    else:
        server = subprocess.Popen(
            [sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True
        )
        url = f"ws://127.0.0.1:{int(server.stdout.readline())}/ocpp"
    try:
        if given.charges:
            uvloop.run(charges(url, given.rounds))
        else:
            uvloop.run(
                fleet(url, server.pid, given.stations, given.seconds, given.ramp, given.sample)
            )
    finally:
        server.kill()
        server.wait()
        folder.cleanup()


if __name__ == "__main__":
    main()
