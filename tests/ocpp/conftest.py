"""A whole station side over real sockets: services, a store in memory, and chargers by hand."""

import asyncio
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from waiting import LONG, until
from websockets.asyncio.client import ClientConnection, connect
from websockets.headers import build_authorization_basic

from cpo.config import Ocpp
from cpo.domain.station import Station
from cpo.ocpp.adapter import ocpp_server
from cpo.ocpp.server import OcppServer
from cpo.services.equipment import Equipment
from cpo.services.passwords import Passwords
from cpo.telemetry import Metrics
from tests.support.charging import Charging

PASSWORD = "0123456789abcdef"
SUBPROTOCOL = {"1.6": "ocpp1.6", "2.0.1": "ocpp2.0.1", "2.1": "ocpp2.1"}


class Charger:
    """A charge point by hand: says what it is told to, answers what it is asked."""

    def __init__(self, socket: ClientConnection, version: str) -> None:
        self.socket = socket
        self.version = version
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}
        self.silent = False
        self._ids = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[list[Any]]] = {}
        self.strays: list[list[Any]] = []
        self._stray = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for text in self.socket:
            frame = json.loads(text, parse_float=Decimal)
            if frame[0] == 2:
                self.asked.append((frame[2], frame[3]))
                answer = self.answers.get(frame[2], {"status": "Accepted"})
                if self.silent or answer is None:
                    continue
                if callable(answer):
                    answer = answer(frame[3])
                kind = [4, frame[1], *answer, {}] if isinstance(answer, tuple) else None
                await self.socket.send(json.dumps(kind or [3, frame[1], answer]))
            elif (waiter := self._waiting.pop(str(frame[1]), None)) is not None:
                waiter.set_result(frame)
            else:
                self.strays.append(frame)
                self._stray.set()

    async def frame(self, *frame: Any) -> list[Any]:
        """Send a frame and return the frame that answers its id."""
        waiter: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting[str(frame[1])] = waiter
        await self.socket.send(json.dumps(frame))
        async with asyncio.timeout(LONG):
            return await waiter

    async def call(self, action: str, /, **payload: Any) -> dict[str, Any]:
        """Send a call and return the payload of its result."""
        answer = await self.frame(2, f"m{next(self._ids)}", action, payload)
        assert answer[0] == 3, answer
        result: dict[str, Any] = answer[2]
        return result

    async def error(self, action: str, /, **payload: Any) -> str:
        """Send a call that is refused and return the code."""
        answer = await self.frame(2, f"m{next(self._ids)}", action, payload)
        assert answer[0] == 4, answer
        assert answer[4] == {}
        return str(answer[2])

    async def raw(self, text: str) -> list[Any]:
        """Send any text and return the frame that comes back under an id nobody waits for."""
        self._stray.clear()
        await self.socket.send(text)
        async with asyncio.timeout(LONG):
            await self._stray.wait()
        return self.strays[-1]

    async def raw_send(self, *frame: Any) -> None:
        """Send a frame that is not answered."""
        await self.socket.send(json.dumps(frame))

    async def boot(self) -> dict[str, Any]:
        """Introduce itself."""
        if self.version == "1.6":
            return await self.call(
                "BootNotification", chargePointVendor="ACME", chargePointModel="One"
            )
        return await self.call(
            "BootNotification",
            reason="PowerUp",
            chargingStation={"vendorName": "ACME", "model": "Two"},
        )

    async def close(self) -> None:
        """Hang up."""
        await self.socket.close()
        await asyncio.gather(self._reader, return_exceptions=True)


class Backend(Charging):
    """The station side, listening."""

    server: OcppServer
    port: int

    def passwords(self) -> Passwords:
        return Passwords(b"test")

    def later(self, **delta: float) -> None:
        """Let time pass."""
        self.clock += timedelta(**delta)

    def at(self, **delta: float) -> str:
        """A time relative to the backend's, as chargers write it."""
        return (self.clock + timedelta(**delta)).strftime("%Y-%m-%dT%H:%M:%SZ")

    async def register(self, identity: str = "CP1", **fields: Any) -> None:
        record = Station(identity=identity, password_hash=self.passwords().hash(PASSWORD), **fields)
        await self.stations.register(record, actor="test")

    async def charger(
        self,
        version: str = "1.6",
        identity: str = "CP1",
        *,
        boot: bool = True,
        answers: dict[str, Any] | None = None,
    ) -> Charger:
        """Connect a charger; what it is asked as soon as it is there needs its `answers` now."""
        socket = await connect(
            f"ws://127.0.0.1:{self.port}/ocpp/{identity}",
            subprotocols=[SUBPROTOCOL[version]],
            additional_headers={"Authorization": build_authorization_basic(identity, PASSWORD)},
            proxy=None,
            ping_interval=None,
            open_timeout=LONG,
        )
        charger = Charger(socket, version)
        charger.answers.update(answers or {})
        self.chargers.append(charger)
        if boot:
            assert (await charger.boot())["status"] == "Accepted"
        return charger

    async def charger_over_tls(
        self, version: str, context: ssl.SSLContext, identity: str = "CP1"
    ) -> Charger:
        socket = await connect(
            f"wss://127.0.0.1:{self.port}/ocpp/{identity}",
            ssl=context,
            subprotocols=[SUBPROTOCOL[version]],
            additional_headers={"Authorization": build_authorization_basic(identity, PASSWORD)},
            proxy=None,
            ping_interval=None,
            open_timeout=LONG,
        )
        charger = Charger(socket, version)
        self.chargers.append(charger)
        assert (await charger.boot())["status"] == "Accepted"
        return charger

    chargers: list[Charger]

    async def sessions(self) -> list[Any]:
        return list(self.store.rows.get(_session_type(), {}).values())

    async def until(self, condition: Callable[[], bool]) -> None:
        await until(condition)


def _session_type() -> type:
    from cpo.domain.session import Session

    return Session


BackendMaker = Callable[..., Awaitable[Backend]]


@pytest.fixture
async def open_backend() -> AsyncIterator[BackendMaker]:
    running: list[tuple[Backend, Any]] = []

    async def make(
        *, context: ssl.SSLContext | None = None, contracts: Any = None, **settings: Any
    ) -> Backend:
        backend = Backend()
        backend.chargers = []
        backend.metrics = Metrics()
        options = {
            "host": "127.0.0.1",
            "port": 0,
            "connects_per_minute": 0,
            "accepts_per_second": 0,
            "call_timeout": 30,
            # What a station has not told is asked for in tests of just that.
            "refresh_delay": 86_400,
            **settings,
        }
        equipment = Equipment(backend.store, now=lambda: backend.clock)
        backend.transactions.on_foreign.append(equipment.foreign_transaction)
        backend.server, notes = ocpp_server(
            Ocpp(**options),
            backend.stations,
            backend.store,
            backend.passwords(),
            drain_timeout=0.2,
            now=lambda: backend.clock,
            tls=context,
            metrics=backend.metrics,
            contracts=contracts,
            equipment=equipment,
        )
        backend.port = await backend.server.start()
        backend.notes = notes
        running.append((backend, notes))
        return backend

    yield make
    for backend, notes in running:
        for charger in backend.chargers:
            await charger.close()
        await backend.server.stop()
        await notes.close()
        await backend.transactions.close()
        await backend.stations.close()
        await backend.commands.close()


@pytest.fixture
async def backend(open_backend: BackendMaker) -> Backend:
    backend = await open_backend()
    await backend.site("CP1")
    await backend.register("CP1")
    backend.partner()
    await backend.token("TAG")
    return backend


@pytest.fixture(params=["1.6", "2.0.1", "2.1"])
def version(request: pytest.FixtureRequest) -> str:
    """Every version in turn."""
    return str(request.param)


class Books:
    """What came of it all: transactions, sessions, CDRs, orphans."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def _all(self, kind: str) -> list[Any]:
        rows = self._backend.store.rows
        return [row for type_, by_key in rows.items() if type_.__name__ == kind
                for row in by_key.values()]  # fmt: skip

    @property
    def transactions(self) -> list[Any]:
        return list(self._backend.memory.stations["CP1"].transactions.values())

    @property
    def sessions(self) -> list[Any]:
        return self._all("Session")

    @property
    def cdrs(self) -> list[Any]:
        return self._all("Cdr")

    @property
    def evse_states(self) -> list[Any]:
        return self._all("EvseState")

    @property
    def orphans(self) -> list[Any]:
        return self._all("Orphan")

    @property
    def only_cdr(self) -> Any:
        (cdr,) = self.cdrs
        return cdr

    @property
    def only_session(self) -> Any:
        (session,) = self.sessions
        return session


@pytest.fixture
def books(backend: Backend) -> Books:
    return Books(backend)


class Charge16:
    """A 1.6 charge, step by step, with everything overridable."""

    def __init__(self, backend: Backend, charger: Charger) -> None:
        self.backend = backend
        self.charger = charger
        self.id: int = 0

    async def start(self, **fields: Any) -> dict[str, Any]:
        payload = {
            "connectorId": 1,
            "idTag": "TAG",
            "meterStart": 1000,
            "timestamp": self.backend.at(hours=-1),
            **fields,
        }
        answer = await self.charger.call("StartTransaction", **payload)
        self.id = answer["transactionId"]
        return answer

    async def meter(self, value: Any = "1500", minutes: float = -30, **fields: Any) -> Any:
        sampled = {"value": value, **fields.pop("sampled", {})}
        payload = {
            "connectorId": 1,
            "transactionId": self.id,
            "meterValue": [
                {"timestamp": self.backend.at(minutes=minutes), "sampledValue": [sampled]}
            ],
            **fields,
        }
        return await self.charger.call("MeterValues", **payload)

    async def stop(self, **fields: Any) -> dict[str, Any]:
        payload = {
            "transactionId": self.id,
            "meterStop": 3000,
            "timestamp": self.backend.at(minutes=-1),
            **fields,
        }
        return await self.charger.call("StopTransaction", **payload)

    async def status(self, word: str, connector: int = 1, **fields: Any) -> Any:
        return await self.charger.call(
            "StatusNotification",
            **{"connectorId": connector, "errorCode": "NoError", "status": word, **fields},
        )


class Charge201:
    """A 2.0.1 charge, event by event."""

    def __init__(self, backend: Backend, charger: Charger) -> None:
        self.backend = backend
        self.charger = charger
        self.seq = 0
        self.id = "tx-1"

    async def event(
        self, kind: str, minutes: float = 0, wh: Any = None, *, info: Any = None, **fields: Any
    ) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "eventType": kind,
            "timestamp": self.backend.at(minutes=minutes),
            "triggerReason": "MeterValuePeriodic",
            "seqNo": self.seq,
            "transactionInfo": {"transactionId": self.id, **(info or {})},
        }
        self.seq += 1
        if wh is not None:
            context = {"Started": "Transaction.Begin", "Ended": "Transaction.End"}.get(
                kind, "Sample.Periodic"
            )
            payload["meterValue"] = [
                {
                    "timestamp": payload["timestamp"],
                    "sampledValue": [{"value": wh, "context": context}],
                }
            ]
        payload.update(fields)
        # None: a field that is not there.
        told = {name: value for name, value in payload.items() if value is not None}
        return await self.charger.call("TransactionEvent", **told)

    async def start(self, wh: Any = 1000, minutes: float = -60, **fields: Any) -> dict[str, Any]:
        defaults = {
            "evse": {"id": 1, "connectorId": 1},
            "idToken": {"idToken": "TAG", "type": "ISO14443"},
            "triggerReason": "Authorized",
        }
        return await self.event("Started", minutes, wh, **{**defaults, **fields})

    async def update(self, wh: Any = 1500, minutes: float = -30, **fields: Any) -> dict[str, Any]:
        return await self.event("Updated", minutes, wh, **fields)

    async def end(self, wh: Any = 3000, minutes: float = -1, **fields: Any) -> dict[str, Any]:
        return await self.event("Ended", minutes, wh, **{"triggerReason": "EVDeparted", **fields})


@pytest.fixture
async def charge(backend: Backend) -> Charge16:
    return Charge16(backend, await backend.charger("1.6"))


@pytest.fixture
async def charge201(backend: Backend) -> Charge201:
    return Charge201(backend, await backend.charger("2.0.1"))
