"""From a station's StatusNotification to the partner: how long, with a dead partner beside it.

Starts `cpo serve` (durable SQLite), connects OCPP 1.6 stations, registers a receiver and partners
that are dead or hang, sends status changes at random instants and takes the time from the frame's
sending to the PATCH's full arrival. A second part does the same with MeterValues from other
stations beside it. The disk's own fdatasync is measured before and after, in the same directory.
"""

import argparse
import asyncio
import base64
import json
import os
import random
import statistics
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from backend import PASSWORD, Backend
from load import cpu_seconds
from receiver import Receiver
from websockets.asyncio.client import ClientConnection, connect

MIX = ("Available", "Faulted", "Unavailable", "Preparing")


async def station(port: int, identity: str) -> ClientConnection:
    """Connect a 1.6 station and boot it."""
    basic = base64.b64encode(f"{identity}:{PASSWORD}".encode()).decode()
    link = await connect(
        f"ws://127.0.0.1:{port}/ocpp/{identity}",
        subprotocols=["ocpp1.6"],
        additional_headers={"Authorization": f"Basic {basic}"},
        compression=None,
        ping_interval=None,
        proxy=None,
    )
    boot = {"chargePointVendor": "Bench", "chargePointModel": "One"}
    await link.send(json.dumps([2, "boot", "BootNotification", boot]))
    await answered(link, "boot")
    return link


async def answered(link: ClientConnection, message_id: str) -> None:
    """Wait for the answer to a call; calls of the backend are refused."""
    while True:
        frame = json.loads(await link.recv())
        if frame[0] == 2:
            await link.send(json.dumps([4, frame[1], "NotImplemented", "", {}]))
        elif frame[1] == message_id:
            return


def fdatasync_ms(directory: Path, count: int = 300) -> tuple[float, float]:
    """Return (p50, p99) of writing 4 KiB and fdatasync, in milliseconds."""
    times = []
    with (directory / "probe").open("wb") as file:
        for _ in range(count):
            file.write(b"x" * 4096)
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - started) * 1000)
    (directory / "probe").unlink()
    return quantiles(times)


def quantiles(times: list[float]) -> tuple[float, float]:
    """Return (p50, p99)."""
    ordered = sorted(times)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


class Trial:
    """One round: statuses out, pushes in."""

    def __init__(self) -> None:
        self.sent: dict[tuple[str, str], float] = {}
        self.delays: list[float] = []
        self.current: dict[str, str] = {}

    def arrived(self, at: float, method: str, path: str, body: bytes) -> None:
        """Take a push: the delay counts from the sending of the status it shows."""
        parts = path.split("/")
        if method == "PATCH" and len(parts) == 6:
            self._seen(parts[5], json.loads(body)["status"], at)
        elif method == "PUT" and parts[1] == "locations" and len(parts) == 5:
            for evse in json.loads(body)["evses"]:
                self._seen(evse["uid"], evse["status"], at)

    def _seen(self, uid: str, status: str, at: float) -> None:
        sent = self.sent.pop((uid, status), None)
        if sent is not None:
            self.delays.append((at - sent) * 1000)


OCPI = {
    "Available": "AVAILABLE",
    "Faulted": "OUTOFORDER",
    "Unavailable": "INOPERATIVE",
    "Preparing": "CHARGING",
}


async def statuses(
    trial: Trial, links: list[ClientConnection], uids: list[str], count: int, rate: float
) -> None:
    """Send status changes of random stations at random instants, each a real change."""
    pending: dict[int, asyncio.Task[None]] = {}
    order = random.sample(range(len(links)), len(links))
    for n in range(count):
        await asyncio.sleep(random.expovariate(rate))
        index = order[n % len(order)]
        if index in pending:
            await pending.pop(index)
        uid = uids[index]
        status = random.choice([s for s in MIX if OCPI[s] != trial.current.get(uid)])
        trial.current[uid] = OCPI[status]
        message_id = f"s{n}"
        payload = {
            "connectorId": 1,
            "errorCode": "NoError" if status != "Faulted" else "OtherError",
            "status": status,
            "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        }
        text = json.dumps([2, message_id, "StatusNotification", payload])
        trial.sent[uid, OCPI[status]] = time.monotonic()
        await links[index].send(text)
        pending[index] = asyncio.create_task(answered(links[index], message_id))
    await asyncio.gather(*pending.values())
    deadline = time.monotonic() + 5
    while trial.sent and time.monotonic() < deadline:  # noqa: ASYNC110 - filled by a callback
        await asyncio.sleep(0.01)


async def measure(args: argparse.Namespace) -> dict[str, object]:
    """Run everything and return the figures."""
    random.seed(args.seed)
    trial = Trial()
    async with AsyncExitStack() as stack:
        backend = Backend(
            CPO_OCPI__STATUS_DEBOUNCE="0.05",
            CPO_OCPI__REQUESTS_PER_SECOND="0",
            CPO_OCPI__PUSH__TIMEOUT="2",
        )
        stack.callback(backend.close)
        await asyncio.to_thread(backend.furnish, "P", args.stations)
        if args.meter_values:
            await asyncio.to_thread(backend.furnish, "M", args.meter_stations)
        healthy = await stack.enter_async_context(Receiver("AAA", trial.arrived))
        await register(backend, healthy)
        for number in range(args.dead):
            # Half of them refuse connections, half take a request and never answer.
            other = Receiver(f"D{number:02d}", lambda *_: None)
            await other.__aenter__()
            await register(backend, other)
            if number % 2:
                other.mode = "hang"
                stack.push_async_callback(other.__aexit__, None, None, None)
            else:
                await other.__aexit__(None, None, None)
        links = []
        for number in range(args.stations):
            links.append(await station(backend.ocpp_port, f"P{number}"))
            stack.push_async_callback(links[-1].close)
        uids = [f"uid-P-{number}" for number in range(args.stations)]
        # Everybody known and confirmed once before anything is timed.
        await statuses(trial, links, uids, 2 * args.stations, 200.0)
        report: dict[str, object] = {
            "disk_fdatasync_ms_p50_p99_before": rounded(fdatasync_ms(backend.directory)),
            "alone": await rounds(trial, links, uids, args),
        }
        if args.meter_values:
            load = subprocess.Popen(  # noqa: ASYNC220 - starting it may take its time
                [
                    sys.executable,
                    str(Path(__file__).with_name("meter_load.py")),
                    *("--port", str(backend.ocpp_port)),
                    *("--rate", str(args.meter_values)),
                    *("--stations", str(args.meter_stations)),
                ],
                stdout=subprocess.PIPE,
                text=True,
            )
            try:
                assert load.stdout is not None
                await asyncio.to_thread(load.stdout.readline)
                cpu, started = cpu_seconds(backend.pid), time.monotonic()
                key = f"with_{args.meter_values}_meter_values_a_second"
                report[key] = await rounds(trial, links, uids, args)
                busy = (cpu_seconds(backend.pid) - cpu) / (time.monotonic() - started)
                report["server_busy_meanwhile"] = round(busy, 2)
            finally:
                load.terminate()
                load.wait()
        report["disk_fdatasync_ms_p50_p99_after"] = rounded(fdatasync_ms(backend.directory))
    return report


async def register(backend: Backend, receiver: Receiver) -> None:
    """Invite a receiver and let it register."""
    invited = await asyncio.to_thread(backend.api, "POST", "/partners", {"name": receiver.party})
    await receiver.register(invited["versions_url"], invited["token_a"])


async def rounds(
    trial: Trial, links: list[ClientConnection], uids: list[str], args: argparse.Namespace
) -> dict[str, object]:
    """Return the figures of all rounds: medians over the rounds, and each round."""
    found = []
    lost = 0
    for _ in range(args.rounds):
        trial.delays.clear()
        trial.sent.clear()
        await statuses(trial, links, uids, args.changes, args.rate)
        lost += len(trial.sent)
        found.append(quantiles(trial.delays))
    return {
        "p50_ms": round(statistics.median(p50 for p50, _ in found), 2),
        "p99_ms": round(statistics.median(p99 for _, p99 in found), 2),
        "rounds": [rounded(pair) for pair in found],
        "superseded_or_lost": lost,
    }


def rounded(pair: tuple[float, float]) -> list[float]:
    """Round for print."""
    return [round(value, 2) for value in pair]


def main() -> None:
    """Read the command line and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stations", type=int, default=200)
    parser.add_argument("--changes", type=int, default=250, help="status changes in a round")
    parser.add_argument("--rate", type=float, default=50.0, help="status changes a second")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dead", type=int, default=1, help="partners that are dead or hang")
    parser.add_argument("--meter-values", type=int, default=1000, help="a second, beside; 0 = none")
    parser.add_argument("--meter-stations", type=int, default=500, help="that send them")
    parser.add_argument("--seed", type=int, default=1)
    print(json.dumps(uvloop.run(measure(parser.parse_args())), indent=2))


if __name__ == "__main__":
    main()
