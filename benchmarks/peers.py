"""What the ingest benchmark compares with: bare `websockets`, and the `ocpp` package as shipped.

Prints `ready PORT`. Neither stores or decides anything.
"""

import argparse
import asyncio
from datetime import UTC, datetime
from typing import Any

import uvloop
from ocpp.routing import on
from ocpp.v16 import ChargePoint as ChargePoint16
from ocpp.v16 import call_result as result_16
from ocpp.v201 import ChargePoint as ChargePoint201
from ocpp.v201 import call_result as result_201
from websockets.asyncio.server import ServerConnection, serve


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Empty16(ChargePoint16):  # type: ignore[misc]
    """Handlers that do nothing, in the way of the package's own example."""

    @on("BootNotification")
    async def on_boot(self, **_: Any) -> Any:
        return result_16.BootNotification(current_time=_now(), interval=300, status="Accepted")

    @on("Heartbeat")
    async def on_heartbeat(self, **_: Any) -> Any:
        return result_16.Heartbeat(current_time=_now())

    @on("StatusNotification")
    async def on_status(self, **_: Any) -> Any:
        return result_16.StatusNotification()

    @on("Authorize")
    async def on_authorize(self, **_: Any) -> Any:
        return result_16.Authorize(id_tag_info={"status": "Accepted"})

    @on("StartTransaction")
    async def on_start(self, **_: Any) -> Any:
        return result_16.StartTransaction(transaction_id=1, id_tag_info={"status": "Accepted"})

    @on("MeterValues")
    async def on_meter_values(self, **_: Any) -> Any:
        return result_16.MeterValues()

    @on("StopTransaction")
    async def on_stop(self, **_: Any) -> Any:
        return result_16.StopTransaction()


class Empty201(ChargePoint201):  # type: ignore[misc]
    """The same for OCPP 2.0.1."""

    @on("BootNotification")
    async def on_boot(self, **_: Any) -> Any:
        return result_201.BootNotification(current_time=_now(), interval=300, status="Accepted")

    @on("Heartbeat")
    async def on_heartbeat(self, **_: Any) -> Any:
        return result_201.Heartbeat(current_time=_now())

    @on("StatusNotification")
    async def on_status(self, **_: Any) -> Any:
        return result_201.StatusNotification()

    @on("Authorize")
    async def on_authorize(self, **_: Any) -> Any:
        return result_201.Authorize(id_token_info={"status": "Accepted"})

    @on("TransactionEvent")
    async def on_event(self, **_: Any) -> Any:
        return result_201.TransactionEvent()


async def canned(socket: ServerConnection) -> None:
    """Answer everything with the same bytes."""
    async for _ in socket:
        await socket.send('[3,"canned",{}]')


async def package(socket: ServerConnection) -> None:
    """Hand the connection to the `ocpp` package."""
    identity = socket.request.path.rsplit("/", 1)[-1]  # type: ignore[union-attr]
    kind = Empty16 if socket.subprotocol == "ocpp1.6" else Empty201
    await kind(identity, socket).start()


async def run(which: str) -> None:
    handler = canned if which == "bare" else package
    async with serve(
        handler,
        "127.0.0.1",
        0,
        subprotocols=["ocpp1.6", "ocpp2.0.1"],  # type: ignore[list-item]
        compression=None,
    ) as server:
        print("ready", next(iter(server.sockets)).getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=["bare", "package"])
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="uvloop")
    args = parser.parse_args()
    (uvloop.run if args.loop == "uvloop" else asyncio.run)(run(args.which))


if __name__ == "__main__":
    main()
