"""Chargers of OCPP 1.6 and 2.0.1 as bare JSON over a socket: neither the simulator nor the server."""

import asyncio
import base64
import contextlib
import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from waiting import LONG, until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

Answering = Callable[[dict[str, Any]], dict[str, Any]]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class CallError(Exception):
    """The server answered CALLERROR."""


class Charger:
    """One charger with one EVSE and one connector."""

    protocol = ""

    def __init__(self, url: str, identity: str, password: str) -> None:
        self.identity = identity
        self._url = f"{url}/{identity}"
        self._password = password
        self._numbers = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Answering] = {}
        self.mute = False
        """Whether calls of the server are taken but never answered."""
        self._later: set[asyncio.Task[Any]] = set()
        self.past: datetime | None = None
        """When set, transactions happen then: a charge replayed after an offline time."""

    async def __aenter__(self) -> Self:
        secret = base64.b64encode(f"{self.identity}:{self._password}".encode()).decode()
        self._socket: ClientConnection = await connect(
            self._url,
            subprotocols=[self.protocol],
            additional_headers={"Authorization": f"Basic {secret}"},
            open_timeout=LONG,
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()
        await self._reading
        for task in self._later:
            task.cancel()

    def time(self) -> str:
        at = self.past or datetime.now(UTC)
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def go_back(self, **delta: float) -> None:
        """Let transactions begin that long ago."""
        self.past = datetime.now(UTC).replace(microsecond=0) - timedelta(**delta)

    def pass_time(self, **delta: float) -> None:
        if self.past is not None:
            self.past += timedelta(**delta)

    async def call(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        id_ = f"{self.identity}-{next(self._numbers)}"
        self._waiting[id_] = answer = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps([2, id_, action, payload]))
        async with asyncio.timeout(LONG):
            return await answer

    async def wait_for(self, action: str) -> dict[str, Any]:
        """Return the payload of a call of the server, as soon as it is here."""
        found = await until(lambda: [payload for name, payload in self.got if name == action])
        return found[-1]

    def got_of(self, action: str) -> list[dict[str, Any]]:
        """Return the payloads of one kind of the server's calls."""
        return [payload for name, payload in self.got if name == action]

    def count(self, action: str) -> int:
        return sum(name == action for name, _ in self.got)

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            await self._read_until_closed()

    async def _read_until_closed(self) -> None:
        async for text in self._socket:
            kind, id_, *rest = json.loads(text)
            if kind == 2:
                self.got.append((rest[0], rest[1]))
                if self.mute:
                    continue
                answer = self.answers.get(rest[0], self.by_default)(rest[1])
                await self._socket.send(json.dumps([3, id_, answer]))
                self._after(rest[0], rest[1], answer)
            elif (waiting := self._waiting.pop(id_, None)) is not None and not waiting.done():
                if kind == 3:
                    waiting.set_result(rest[0])
                else:
                    waiting.set_exception(CallError(f"{rest}"))

    def later(self, doing: Any) -> None:
        task = asyncio.create_task(doing)
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    def by_default(self, _payload: dict[str, Any]) -> dict[str, Any]:
        return {"status": "Accepted"}

    def _after(self, action: str, payload: dict[str, Any], answer: dict[str, Any]) -> None:
        raise NotImplementedError

    async def boot(self) -> None:
        raise NotImplementedError

    async def available(self) -> None:
        raise NotImplementedError

    async def begin(self, uid: str, *, start_id: int | None = None) -> str:
        """Start charging; return what the server says of the token."""
        raise NotImplementedError

    async def meter(self, wh: int) -> None:
        raise NotImplementedError

    async def end(self, wh: int) -> None:
        raise NotImplementedError

    async def ask(self, uid: str) -> str:
        """Return the server's word on a token."""
        raise NotImplementedError


class Charger16(Charger):
    """OCPP 1.6."""

    protocol = "ocpp1.6"
    transaction: int = 0

    async def boot(self) -> None:
        await self.call("BootNotification", {"chargePointVendor": "Raw", "chargePointModel": "One"})
        await self.status("Available", connector=0)
        await self.available()

    async def status(self, status: str, *, connector: int = 1, error: str = "NoError") -> None:
        await self.call(
            "StatusNotification",
            {
                "connectorId": connector,
                "status": status,
                "errorCode": error,
                "timestamp": _now(),
            },
        )

    async def available(self) -> None:
        await self.status("Available")

    async def fault(self) -> None:
        await self.status("Faulted", error="GroundFailure")

    async def ask(self, uid: str) -> str:
        return (await self.call("Authorize", {"idTag": uid}))["idTagInfo"]["status"]

    async def begin(self, uid: str, *, start_id: int | None = None) -> str:
        await self.status("Preparing")
        answer = await self.call(
            "StartTransaction",
            {"connectorId": 1, "idTag": uid, "meterStart": 1000, "timestamp": self.time()},
        )
        self.transaction = answer["transactionId"]
        await self.status("Charging")
        return answer["idTagInfo"]["status"]

    async def meter(self, wh: int) -> None:
        await self.call(
            "MeterValues",
            {
                "connectorId": 1,
                "transactionId": self.transaction,
                "meterValue": [
                    {
                        "timestamp": self.time(),
                        "sampledValue": [
                            {
                                "value": str(1000 + wh),
                                "measurand": "Energy.Active.Import.Register",
                                "unit": "Wh",
                            }
                        ],
                    }
                ],
            },
        )

    async def end(self, wh: int) -> None:
        await self.call(
            "StopTransaction",
            {
                "transactionId": self.transaction,
                "meterStop": 1000 + wh,
                "timestamp": self.time(),
                "reason": "Local",
            },
        )
        await self.available()

    def by_default(self, payload: dict[str, Any]) -> dict[str, Any]:
        return {"status": "Accepted"}

    def _after(self, action: str, payload: dict[str, Any], answer: dict[str, Any]) -> None:
        if answer.get("status") != "Accepted":
            return
        if action == "RemoteStartTransaction":
            self.later(self.begin(payload["idTag"]))
        elif action == "RemoteStopTransaction":
            self.later(self._remote_stop())

    async def _remote_stop(self) -> None:
        await self.end(5)


class Charger201(Charger):
    """OCPP 2.0.1."""

    protocol = "ocpp2.0.1"
    _serial = itertools.count(1)

    def __init__(self, url: str, identity: str, password: str) -> None:
        super().__init__(url, identity, password)
        self._sequence = itertools.count()
        self.transaction = ""
        self._uid = ""

    async def boot(self) -> None:
        await self.call(
            "BootNotification",
            {
                "reason": "PowerUp",
                "chargingStation": {"vendorName": "Raw", "model": "Two"},
            },
        )
        await self.available()

    async def status(self, status: str) -> None:
        await self.call(
            "StatusNotification",
            {
                "timestamp": _now(),
                "connectorStatus": status,
                "evseId": 1,
                "connectorId": 1,
            },
        )

    async def available(self) -> None:
        await self.status("Available")

    async def fault(self) -> None:
        await self.status("Faulted")

    async def ask(self, uid: str) -> str:
        answer = await self.call("Authorize", {"idToken": self._token(uid)})
        return answer["idTokenInfo"]["status"]

    async def begin(self, uid: str, *, start_id: int | None = None) -> str:
        await self.status("Occupied")
        self._uid = uid
        self._sequence = itertools.count()
        self.transaction = f"{self.identity}-tx-{next(self._serial)}"
        info = {} if start_id is None else {"remoteStartId": start_id}
        answer = await self._event(
            "Started", "RemoteStart" if start_id is not None else "Authorized", 0,
            {"chargingState": "Charging", **info}, with_token=True,
        )  # fmt: skip
        return answer.get("idTokenInfo", {}).get("status", "")

    async def meter(self, wh: int) -> None:
        await self._event("Updated", "MeterValuePeriodic", wh, {"chargingState": "Charging"})

    async def end(self, wh: int) -> None:
        await self._event(
            "Ended", "StopAuthorized", wh, {"chargingState": "Idle", "stoppedReason": "Local"}
        )
        await self.available()

    async def _event(
        self, kind: str, trigger: str, wh: int, info: dict[str, Any], *, with_token: bool = False
    ) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "eventType": kind,
            "timestamp": self.time(),
            "triggerReason": trigger,
            "seqNo": next(self._sequence),
            "transactionInfo": {"transactionId": self.transaction, **info},
            "evse": {"id": 1, "connectorId": 1},
            "meterValue": [
                {
                    "timestamp": self.time(),
                    "sampledValue": [
                        {
                            "value": 1000 + wh,
                            "measurand": "Energy.Active.Import.Register",
                            "context": {
                                "Started": "Transaction.Begin",
                                "Updated": "Sample.Periodic",
                                "Ended": "Transaction.End",
                            }[kind],
                            "unitOfMeasure": {"unit": "Wh"},
                        }
                    ],
                }
            ],
        }
        if with_token:
            payload["idToken"] = self._token(self._uid)
        return await self.call("TransactionEvent", payload)

    def _token(self, uid: str) -> dict[str, str]:
        return {"idToken": uid, "type": "ISO14443" if len(uid) <= 20 else "Central"}

    def by_default(self, payload: dict[str, Any]) -> dict[str, Any]:
        return {"status": "Accepted"}

    def _after(self, action: str, payload: dict[str, Any], answer: dict[str, Any]) -> None:
        if answer.get("status") != "Accepted":
            return
        if action == "RequestStartTransaction":
            self.later(self.begin(payload["idToken"]["idToken"], start_id=payload["remoteStartId"]))
        elif action == "RequestStopTransaction":
            self.later(self._remote_stop())

    async def _remote_stop(self) -> None:
        await self.end(5)


class Charger21(Charger201):
    """OCPP 2.1, which speaks as 2.0.1 does here."""

    protocol = "ocpp2.1"


CHARGERS = {"1.6": Charger16, "2.0.1": Charger201, "2.1": Charger21}
