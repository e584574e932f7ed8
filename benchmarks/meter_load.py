"""Sends MeterValues at a fixed rate from stations of their own, as company for other benchmarks.

Prints a line when it is under way. Each station has one open transaction; a message is eight
sampled values, and the next of the same station waits for the answer.
"""

import argparse
import asyncio
import base64
import json
import time
from datetime import UTC, datetime

import uvloop
from backend import PASSWORD
from load import SAMPLED_16
from websockets.asyncio.client import connect


async def run(args: argparse.Namespace) -> None:
    """Connect and send until ended."""
    links = await asyncio.gather(*(_station(args, n) for n in range(args.stations)))
    print("under way", flush=True)
    await asyncio.gather(*(_send(link, args, n) for n, link in enumerate(links)))


async def _station(args: argparse.Namespace, number: int):
    identity = f"{args.prefix}{number}"
    basic = base64.b64encode(f"{identity}:{PASSWORD}".encode()).decode()
    link = await connect(
        f"ws://127.0.0.1:{args.port}/ocpp/{identity}",
        subprotocols=["ocpp1.6"],
        additional_headers={"Authorization": f"Basic {basic}"},
        compression=None,
        ping_interval=None,
        proxy=None,
    )
    boot = {"chargePointVendor": "Bench", "chargePointModel": "Load"}
    await _call(link, "BootNotification", boot)
    start = {
        "connectorId": 1,
        "idTag": f"TAG{number}",
        "meterStart": 0,
        "timestamp": _now(),
    }
    answer = await _call(link, "StartTransaction", start)
    return link, answer["transactionId"]


async def _call(link, action: str, payload: dict) -> dict:
    await link.send(json.dumps([2, "x", action, payload]))
    while True:
        frame = json.loads(await link.recv())
        if frame[0] == 2:
            await link.send(json.dumps([4, frame[1], "NotImplemented", "", {}]))
        elif frame[1] == "x":
            return frame[2] if frame[0] == 3 else {}


async def _send(pair, args: argparse.Namespace, number: int) -> None:
    link, transaction = pair
    every = args.stations / args.rate
    due = time.monotonic() + every * number / args.stations
    register = 0
    while True:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        due += every
        register += 3
        values = SAMPLED_16 % register
        await link.send(
            f'[2,"m","MeterValues",{{"connectorId":1,"transactionId":{transaction},'
            f'"meterValue":[{{"timestamp":"{_now()}","sampledValue":[{values}]}}]}}]'
        )
        while True:
            frame = await link.recv()
            if frame.startswith(('[3,"m"', '[4,"m"')):
                break


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, default=1000.0, help="messages a second")
    parser.add_argument("--stations", type=int, default=500)
    parser.add_argument("--prefix", default="M", help="of the stations' identities")
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
