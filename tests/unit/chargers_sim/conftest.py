"""A small central system on the `ocpp` package, for testing the simulator without cpo."""

from __future__ import annotations

import base64
import contextlib
import importlib
import itertools
import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from ocpp.routing import on
from waiting import until
from websockets.asyncio.server import ServerConnection, serve

logging.getLogger("ocpp").setLevel(logging.CRITICAL)
PACKAGES = {"ocpp1.6": "ocpp.v16", "ocpp2.0.1": "ocpp.v201", "ocpp2.1": "ocpp.v21"}


class CentralSystem:
    """Answers everything a station says and keeps it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.ids: list[str] = []
        self.peers: dict[str, Any] = {}
        self.boot_status = "Accepted"
        self.invalid: set[str] = {"BLOCKED"}
        self.passwords: dict[str, str] = {}
        self.numbers = itertools.count(1)
        self.starts: dict[Any, int] = {}
        self.url = ""
        self.connections = 0

    def of(self, action: str) -> list[dict[str, Any]]:
        return [payload for _, name, payload in self.calls if name == action]

    def events(self) -> list[dict[str, Any]]:
        return self.of("TransactionEvent")

    async def ask(self, identity: str, action: str, **payload: Any) -> Any:
        peer = self.peers[identity]
        return await peer.call(getattr(peer.package_call, action)(**payload), suppress=False)

    def now(self) -> str:
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def check(self, connection: ServerConnection, request: Any) -> Any:
        identity = request.path.rsplit("/", 1)[-1]
        expected = self.passwords.get(identity)
        if expected is None:
            return None
        given = request.headers.get("Authorization", "").removeprefix("Basic ")
        if base64.b64decode(given).decode() != f"{identity}:{expected}":
            return connection.respond(401, "no\n")
        return None

    async def handle(self, connection: ServerConnection) -> None:
        identity = connection.request.path.rsplit("/", 1)[-1]
        self.connections += 1
        package = PACKAGES[connection.subprotocol]
        peer = _peer_class(package)(self, identity, connection, package)
        self.peers[identity] = peer
        # A closed socket ends the peer, whatever it says.
        with contextlib.suppress(Exception):
            await peer.start()


def _peer_class(package: str) -> type[Any]:
    base = importlib.import_module(package).ChargePoint
    result = importlib.import_module(f"{package}.call_result")

    class Peer(base):
        def __init__(self, system: CentralSystem, identity: str, connection: Any, name: str):
            super().__init__(identity, connection)
            self.system = system
            self.package_call = importlib.import_module(f"{name}.call")

        async def route_message(self, raw: str) -> None:
            frame = json.loads(raw)
            if frame[0] == 2:
                self.system.calls.append((self.id, frame[2], frame[3]))
                self.system.ids.append(frame[1])
            await super().route_message(raw)

        @on("BootNotification")
        def boot(self, **_: Any) -> Any:
            return result.BootNotification(
                current_time=self.system.now(), interval=300, status=self.system.boot_status
            )

        @on("Heartbeat")
        def heartbeat(self, **_: Any) -> Any:
            return result.Heartbeat(current_time=self.system.now())

        @on("StatusNotification")
        def status(self, **_: Any) -> Any:
            return result.StatusNotification()

        @on("MeterValues")
        def meter_values(self, **_: Any) -> Any:
            return result.MeterValues()

        @on("Authorize")
        def authorize(self, **request: Any) -> Any:
            if "id_tag" in request:
                return result.Authorize(id_tag_info={"status": self.verdict(request["id_tag"])})
            tag = request["id_token"]["id_token"]
            return result.Authorize(id_token_info={"status": self.verdict(tag)})

        @on("StartTransaction")
        def start_transaction(self, **request: Any) -> Any:
            key = (request["connector_id"], request["timestamp"], request["meter_start"])
            number = self.system.starts.get(key) or next(self.system.numbers)
            self.system.starts[key] = number
            return result.StartTransaction(
                transaction_id=number,
                id_tag_info={"status": self.verdict(request["id_tag"])},
            )

        @on("StopTransaction")
        def stop_transaction(self, **_: Any) -> Any:
            return result.StopTransaction()

        @on("TransactionEvent")
        def transaction_event(self, **request: Any) -> Any:
            if "id_token" not in request:
                return result.TransactionEvent()
            tag = request["id_token"]["id_token"]
            return result.TransactionEvent(id_token_info={"status": self.verdict(tag)})

        @on("NotifyReport")
        def notify_report(self, **_: Any) -> Any:
            return result.NotifyReport()

        @on("SecurityEventNotification")
        def security_event(self, **_: Any) -> Any:
            return result.SecurityEventNotification()

        @on("ReportChargingProfiles")
        def report_profiles(self, **_: Any) -> Any:
            return result.ReportChargingProfiles()

        @on("ReservationStatusUpdate")
        def reservation_status(self, **_: Any) -> Any:
            return result.ReservationStatusUpdate()

        def verdict(self, tag: str) -> str:
            return "Invalid" if tag in self.system.invalid else "Accepted"

    return Peer


@pytest.fixture
async def system():
    central = CentralSystem()
    async with serve(
        central.handle,
        "127.0.0.1",
        0,
        subprotocols=list(PACKAGES),
        process_request=central.check,
        close_timeout=0.2,
    ) as server:
        port = server.sockets[0].getsockname()[1]
        central.url = f"ws://127.0.0.1:{port}/ocpp"
        yield central


@pytest.fixture
def settle():
    return until


class LooseSystem(CentralSystem):
    """Reads whatever JSON comes and answers it kindly, without checking anything."""

    def __init__(self) -> None:
        super().__init__()
        self.raw: list[str | bytes] = []
        self.paths: list[str] = []
        self.offered: list[str | None] = []
        self.sockets: list[ServerConnection] = []
        self.unanswered: list[str] = []
        self.answered: list[list[Any]] = []
        self.errors: list[str] = []

    def check(self, connection: ServerConnection, request: Any) -> Any:
        self.paths.append(request.path)
        self.offered.append(request.headers.get("Sec-WebSocket-Protocol"))
        return super().check(connection, request)

    async def handle(self, connection: ServerConnection) -> None:
        self.connections += 1
        self.sockets.append(connection)
        with contextlib.suppress(Exception):
            async for text in connection:
                self.raw.append(text)
                try:
                    frame = json.loads(text)
                except ValueError:
                    continue
                if frame[0] != 2:
                    self.answered.append(frame)
                    continue
                self.calls.append(("", frame[2], frame[3]))
                self.ids.append(frame[1])
                if frame[2] in self.unanswered:
                    continue
                await connection.send(json.dumps([3, frame[1], self.reply(frame[2], frame[3])]))

    async def command(self, action: str, payload: dict[str, Any]) -> None:
        await self.sockets[-1].send(json.dumps([2, f"cs{next(self.numbers)}", action, payload]))

    def reply(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        accepted = {"status": "Accepted"}
        match action:
            case "BootNotification":
                return {"currentTime": self.now(), "interval": 300, "status": self.boot_status}
            case "Heartbeat":
                return {"currentTime": self.now()}
            case "Authorize" if "idTag" in payload:
                return {"idTagInfo": accepted}
            case "Authorize":
                return {"idTokenInfo": accepted}
            case "StartTransaction":
                return {"transactionId": next(self.numbers), "idTagInfo": accepted}
            case "TransactionEvent" if "idToken" in payload:
                return {"idTokenInfo": accepted}
            case "Get15118EVCertificate":
                return {"status": "Accepted", "exiResponse": "AAAA"}
            case "GetCertificateStatus":
                return {"status": "Accepted", "ocspResult": "AAAA"}
            case "GetCertificateChainStatus":
                asked = payload["certificateStatusRequests"]
                told = {"status": "Good", "nextUpdate": self.now()}
                return {
                    "certificateStatus": [
                        {
                            **told,
                            "source": a["source"],
                            "certificateHashData": a["certificateHashData"],
                        }
                        for a in asked
                    ]
                }
            case "VatNumberValidation":
                return {**accepted, "vatNumber": payload["vatNumber"]}
            case "PullDynamicScheduleUpdate":
                return {**accepted, "scheduleUpdate": {"limit": 2_000}}
            case (
                "NotifyEVChargingNeeds"
                | "NotifyEVChargingSchedule"
                | "OpenPeriodicEventStream"
                | "SignCertificate"
            ):
                return accepted
        return {}


@pytest.fixture
async def loose():
    central = LooseSystem()
    async with serve(
        central.handle,
        "127.0.0.1",
        0,
        subprotocols=list(PACKAGES),
        process_request=central.check,
        select_subprotocol=_any_or_none,
        close_timeout=0.2,
    ) as server:
        port = server.sockets[0].getsockname()[1]
        central.url = f"ws://127.0.0.1:{port}/ocpp"
        yield central


def _any_or_none(_: ServerConnection, offered: Any) -> Any:
    return offered[0] if offered else None
