"""Chargers that never give up, a server that is killed, and the books compared afterwards.

The chargers speak raw JSON over a socket of their own (no code of the server or the simulator).
An operation counts as done only when its answer was read; otherwise it is sent again, with the same
or with a new message id, until it was. What was answered must be in the books exactly once
(reliability: invariants I1, I2, I3, I5, I6, I7, I19, I22).

By hand, longer: `python tests/support/torture.py --seconds 120 --seed 5 [--database URL]`.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import random
import sqlite3
import sys
import tempfile
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).parent)]

import asyncpg
from running import Cpo, evse_uid, password
from several import NatsServer, Nodes
from waiting import LONG, until
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from chargers_sim import Emsp


@dataclass
class Charge:
    """What a charger did and what it knows to have been answered."""

    station: str
    started_at: str
    begin_wh: int
    end_wh: int | None = None
    start_answered: bool = False
    stop_answered: bool = False
    ids: set = field(default_factory=set)
    accepted: bool = True


@dataclass
class Journal:
    """All charges of all chargers, and what went wrong on the way."""

    charges: list = field(default_factory=list)
    status: dict = field(default_factory=dict)
    sent: int = 0
    resent: int = 0
    cut: int = 0
    kills: int = 0
    refusals: list = field(default_factory=list)

    def stops(self):
        """Return how many charges came to an end that was answered."""
        return sum(charge.stop_answered for charge in self.charges)


class Charger:
    """One charge point; `cuts` is how often it drops the line instead of reading an answer."""

    def __init__(self, identity, version, cpo, journal, dice, *, tag, cuts):
        self.identity = identity
        self.version = version
        self.cpo = cpo
        self.journal = journal
        self.dice = dice
        self.tag = tag
        self.cuts = cuts
        self.register = dice.randrange(1000, 900_000)
        self.clock = datetime(2026, 6, 1, 8, tzinfo=UTC) + timedelta(seconds=dice.randrange(3600))
        self.socket = None

    def now(self, seconds=0):
        """Let the charger's own clock go on; every instant it names is another one."""
        self.clock += timedelta(seconds=seconds, milliseconds=1)
        return self.clock.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    async def line(self):
        """Return a live socket; connect as often as it takes."""
        credentials = base64.b64encode(f"{self.identity}:{password(self.identity)}".encode())
        while self.socket is None:
            try:
                self.socket = await connect(
                    f"{self.cpo.ocpp_url}/{self.identity}",
                    subprotocols=[f"ocpp{self.version}"],
                    additional_headers={"Authorization": f"Basic {credentials.decode()}"},
                    open_timeout=LONG,
                    ping_interval=None,
                )
            except (OSError, TimeoutError, WebSocketException):
                await asyncio.sleep(self.dice.uniform(0.02, 0.2))
        return self.socket

    async def drop(self):
        """Cut the line without a word."""
        if self.socket is not None:
            self.socket.transport.abort()
            self.socket = None

    async def call(self, action, payload):
        """Send a message until its answer was read."""
        message_id = str(uuid.uuid4())
        self.journal.sent += 1
        while True:
            socket = await self.line()
            try:
                await socket.send(json.dumps([2, message_id, action, payload]))
                if self.dice.random() < self.cuts:
                    self.journal.cut += 1
                    await asyncio.sleep(self.dice.uniform(0, 0.02))
                    raise ConnectionError("cut on purpose")
                while True:
                    async with asyncio.timeout(30):
                        frame = json.loads(await socket.recv())
                    if frame[0] == 2:
                        await socket.send(json.dumps([4, frame[1], "NotImplemented", "", {}]))
                    elif frame[1] == message_id and frame[0] == 3:
                        return frame[2]
                    elif frame[1] == message_id:
                        self.journal.refusals.append((self.identity, action, frame[2:]))
                        raise ConnectionError("refused")
            except (OSError, TimeoutError, WebSocketException):
                await self.drop()
                self.journal.resent += 1
                if self.dice.random() < 0.5:
                    message_id = str(uuid.uuid4())
                await asyncio.sleep(self.dice.uniform(0.01, 0.1))

    async def run(self, stop):
        """Charge and charge until told to stop; the last charge is brought to its end."""
        await self.boot()
        while not stop.is_set():
            await self.charge()
            await asyncio.sleep(self.dice.uniform(0, 0.05))
        await self.drop()

    def _charge(self):
        charge = Charge(self.identity, self.now(30), self.register)
        self.journal.charges.append(charge)
        return charge

    def _deliver(self):
        self.register += self.dice.randrange(1, 4000)
        return self.register


class Charger16(Charger):
    """An OCPP 1.6 charge point."""

    async def boot(self):
        await self.call(
            "BootNotification", {"chargePointVendor": "Torture", "chargePointModel": "16"}
        )
        await self.status("Available")

    async def status(self, status):
        await self.call(
            "StatusNotification",
            {"connectorId": 1, "errorCode": "NoError", "status": status, "timestamp": self.now()},
        )
        self.journal.status[self.identity] = "AVAILABLE" if status == "Available" else "CHARGING"

    async def charge(self):
        await self.status("Preparing")
        charge = self._charge()
        start = {
            "connectorId": 1,
            "idTag": self.tag,
            "meterStart": self.register,
            "timestamp": charge.started_at,
        }
        answer = await self.call("StartTransaction", start)
        charge.start_answered = True
        charge.ids.add(answer["transactionId"])
        charge.accepted = answer["idTagInfo"]["status"] == "Accepted"
        if self.dice.random() < 0.2:
            # The charger lost the answer after all and asks again.
            charge.ids.add((await self.call("StartTransaction", start))["transactionId"])
        await self.status("Charging")
        for _ in range(self.dice.randrange(4)):
            await self.call(
                "MeterValues",
                {
                    "connectorId": 1,
                    "transactionId": answer["transactionId"],
                    "meterValue": [
                        {
                            "timestamp": self.now(60),
                            "sampledValue": [{"value": str(self._deliver()), "unit": "Wh"}],
                        }
                    ],
                },
            )
        charge.end_wh = self._deliver()
        stop = {
            "transactionId": answer["transactionId"],
            "meterStop": charge.end_wh,
            "timestamp": self.now(60),
            "idTag": self.tag,
        }
        await self.call("StopTransaction", stop)
        charge.stop_answered = True
        if self.dice.random() < 0.2:
            await self.call("StopTransaction", stop)
        await self.status("Finishing")
        await self.status("Available")


class Charger201(Charger):
    """An OCPP 2.0.1 charging station."""

    async def boot(self):
        await self.call(
            "BootNotification",
            {
                "reason": "PowerUp",
                "chargingStation": {"vendorName": "Torture", "model": "201"},
            },
        )
        await self.status("Available")

    async def status(self, status):
        await self.call(
            "StatusNotification",
            {
                "timestamp": self.now(),
                "connectorStatus": status,
                "evseId": 1,
                "connectorId": 1,
            },
        )
        self.journal.status[self.identity] = "AVAILABLE" if status == "Available" else "CHARGING"

    def _reading(self, at, context):
        return [
            {
                "timestamp": at,
                "sampledValue": [
                    {
                        "value": self.register,
                        "context": context,
                        "measurand": "Energy.Active.Import.Register",
                    }
                ],
            }
        ]

    async def charge(self):
        await self.status("Occupied")
        charge = self._charge()
        transaction = str(uuid.UUID(int=self.dice.getrandbits(128)))
        seq = 0

        def event(kind, trigger, context, at, **more):
            nonlocal seq
            body = {
                "eventType": kind,
                "timestamp": at,
                "triggerReason": trigger,
                "seqNo": seq,
                "transactionInfo": {"transactionId": transaction, "chargingState": "Charging"},
                "evse": {"id": 1, "connectorId": 1},
                "meterValue": self._reading(at, context),
                **more,
            }
            seq += 1
            return body

        token = {"idToken": {"idToken": self.tag, "type": "ISO14443"}}
        answer = await self.call(
            "TransactionEvent",
            event("Started", "Authorized", "Transaction.Begin", charge.started_at, **token),
        )
        charge.start_answered = True
        charge.ids.add(transaction)
        charge.accepted = answer["idTokenInfo"]["status"] == "Accepted"
        for _ in range(self.dice.randrange(4)):
            self._deliver()
            update = event("Updated", "MeterValuePeriodic", "Sample.Periodic", self.now(60))
            await self.call("TransactionEvent", update)
            if self.dice.random() < 0.2:
                await self.call("TransactionEvent", update)
        charge.end_wh = self._deliver()
        await self.call(
            "TransactionEvent",
            event("Ended", "StopAuthorized", "Transaction.End", self.now(60)),
        )
        charge.stop_answered = True
        await self.status("Available")


async def torture(
    folder,
    *,
    seconds,
    seed,
    chargers=8,
    database=None,
    cuts=0.12,
    kills=True,
    least_kills=0,
    least_stops=0,
    least_cuts=0,
    nodes=1,
    bus=None,
):
    """Run it all; returns (journal, what is wrong).

    With several `nodes` they share the PostgreSQL at `database` and the NATS server at `bus`; each
    kill is of one of them, chargers reconnect to any. It goes on for `seconds`, and on a slow
    machine until there were as many kills, answered stops and cut replies as are wanted at least.
    """
    dice = random.Random(seed)
    server = (
        Cpo(folder, database=database)
        if nodes == 1
        else Nodes(
            folder, count=nodes, database=database, bus=bus, dice=random.Random(dice.random())
        )
    )
    journal = Journal()
    stations = [f"TORTURE-{n}" for n in range(chargers)]
    async with (
        Emsp(party=("NL", "MSP")) as emsp,
        server as cpo,
    ):
        await cpo.equip(stations)
        await cpo.partner(emsp)
        tag = next(t for t in emsp.state()["tokens"] if t["whitelist"] == "ALWAYS")["uid"]
        emsp.fail("500", rate=0.05, times=None)
        emsp.fail("apply-then-reset", rate=0.05, times=None)
        stop = asyncio.Event()
        kinds = (Charger16, Charger201)
        running = [
            asyncio.create_task(
                kinds[n % 2](
                    station,
                    ("1.6", "2.0.1")[n % 2],
                    cpo,
                    journal,
                    random.Random(dice.random()),
                    tag=tag,
                    cuts=cuts,
                ).run(stop)
            )
            for n, station in enumerate(stations)
        ]
        end = asyncio.get_running_loop().time() + seconds
        while (
            asyncio.get_running_loop().time() < end
            or journal.kills < least_kills
            or journal.stops() < least_stops
            or journal.cut < least_cuts
        ):
            await asyncio.sleep(dice.uniform(0.8, 2.3))
            if kills:
                await cpo.kill()
                journal.kills += 1
                await cpo.start()
        stop.set()
        async with asyncio.timeout(300):
            await asyncio.gather(*running)
        emsp.faults.rules.clear()
        await quiet(cpo)
        wrong = await check(cpo, emsp, journal, stations)
        # A quiet system is quiet: a restart sends nothing again (I22).
        before = len(emsp.journal.exchanges)
        await (cpo.kill() if nodes == 1 else cpo.kill_all())
        await cpo.start()
        await quiet(cpo)
        await asyncio.sleep(1)
        pushed = [
            exchange
            for exchange in emsp.journal.exchanges[before:]
            if exchange.direction == "in" and exchange.method in ("PUT", "PATCH", "POST")
        ]
        if pushed:
            wrong.append(f"I22: {len(pushed)} requests sent again after a quiet restart")
        await cpo.stop()
    wrong += check_database(cpo.database)
    return journal, wrong


async def quiet(cpo):
    """Wait until no partner waits for anything.

    The last marks are cleared on disk a moment after memory: a kill in between may repeat a
    request, and is not quiet yet.
    """

    async def nothing_left():
        _, partners = await cpo.api("GET", "/partners")
        for partner in partners["items"]:
            _, backlog = await cpo.api("GET", f"/partners/{partner['id']}/backlog")
            if backlog["items"]:
                return False
        return await unheard_on_disk(cpo.database) == 0

    await until(nothing_left)


async def unheard_on_disk(url):
    """Count what partners have not heard of yet as a start would find it."""
    statement = "SELECT count(*) FROM dirty_marks"
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            return connection.execute(statement).fetchone()[0]
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def check(cpo, emsp, journal, stations):
    """Compare what chargers were answered with what the partner holds."""
    from chargers_sim.emsp.invariants import journal_breaches

    wrong = [f"I5/I7: {breach}" for breach in journal_breaches(emsp.journal.exchanges)]
    wrong += [f"invalid object: {violation}" for violation in emsp.violations]
    wrong += [f"refused: {refusal}" for refusal in journal.refusals]
    where = {evse_uid(index): station for index, station in enumerate(stations)}
    sessions, cdrs = {}, {}
    for session in emsp.state()["sessions"]:
        key = (where[session["evse_uid"]], instant(session["start_date_time"]))
        sessions.setdefault(key, []).append(session)
    for cdr in emsp.state()["cdrs"]:
        cdrs.setdefault(cdr["session_id"], []).append(cdr)
    known = set()
    for charge in journal.charges:
        key = (charge.station, instant(charge.started_at))
        known.add(key)
        found = sessions.get(key, [])
        label = f"{charge.station} {charge.started_at}"
        if charge.start_answered and not charge.accepted:
            wrong.append(f"token refused at {label}")
            continue
        if len(charge.ids) > 1:
            wrong.append(f"I1: {len(charge.ids)} transaction ids for one start at {label}")
        if charge.start_answered and len(found) != 1:
            wrong.append(f"I1: {len(found)} sessions for the answered start at {label}")
            continue
        if not charge.stop_answered:
            continue
        session = found[0]
        bills = cdrs.get(session["id"], [])
        if session["status"] != "COMPLETED":
            wrong.append(f"I5: session {session['status']} after the answered stop at {label}")
        if len(bills) != 1:
            _, ours = await cpo.api("GET", f"/sessions/{session['id']}")
            wrong.append(f"I2: {len(bills)} CDRs for the answered stop at {label}: {ours}")
            continue
        kwh = Decimal(charge.end_wh - charge.begin_wh) / 1000
        if not number(bills[0]["total_energy"]) == number(session["kwh"]) == kwh:
            wrong.append(f"I3: {bills[0]['total_energy']} / {session['kwh']} kWh, not {kwh}")
        parts = sum(
            number(d["volume"])
            for p in bills[0]["charging_periods"]
            for d in p["dimensions"]
            if d["type"] == "ENERGY"
        )
        if parts != kwh:
            wrong.append(f"I3: periods add up to {parts}, not {kwh}")
        cost = number(bills[0]["total_cost"]["excl_vat"])
        if cost != kwh * Decimal("0.5"):
            wrong.append(f"I4: cost {cost}, not {kwh * Decimal('0.5')}")
    wrong += [f"I1: a session nobody started: {key}" for key in sessions if key not in known]
    for found in emsp.state()["locations"]:
        for evse in found["evses"]:
            expected = journal.status[where[evse["uid"]]]
            if evse["status"] != expected:
                wrong.append(f"I6: {evse['uid']} is {evse['status']}, the charger said {expected}")
    return wrong


def check_database(url):
    """Look into the file the server left (I19)."""
    if not url.startswith("sqlite"):
        return []
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        wrong = [f"I19: {row}" for row in connection.execute("PRAGMA integrity_check")]
        wrong += [f"I19: {row}" for row in connection.execute("PRAGMA foreign_key_check")]
    connection.close()
    return [line for line in wrong if line != "I19: ('ok',)"]


def number(value):
    """Read a JSON number exactly."""
    return Decimal(str(value))


def instant(text):
    """Read an instant to the second: OCPI may carry whole seconds."""
    return datetime.fromisoformat(text).replace(microsecond=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--chargers", type=int, default=8)
    parser.add_argument("--database", help="URL of an empty database; default SQLite")
    parser.add_argument("--no-kills", action="store_true")
    parser.add_argument("--nodes", type=int, default=1, help="needs --database and --bus")
    parser.add_argument("--bus", help="URL of a NATS server; default one of our own")
    given = parser.parse_args()
    own_bus = NatsServer() if given.nodes > 1 and given.bus is None else None
    if own_bus is not None:
        own_bus.start()
        asyncio.run(own_bus.started())
    with tempfile.TemporaryDirectory() as folder:
        journal, wrong = asyncio.run(
            torture(
                folder,
                seconds=given.seconds,
                seed=given.seed,
                chargers=given.chargers,
                database=given.database,
                kills=not given.no_kills,
                nodes=given.nodes,
                bus=own_bus.url if own_bus is not None else given.bus,
            )
        )
        if own_bus is not None:
            own_bus.stop()
        for line in wrong[:40]:
            print("WRONG", line)
        if wrong:
            for log in sorted(Path(folder).rglob("server.log")):
                print(*log.read_text().splitlines()[-15:], sep="\n")
    print(
        f"seed {given.seed}: {journal.kills} kills, {len(journal.charges)} charges "
        f"({journal.stops()} stops answered), {journal.sent} messages, {journal.resent} resent, "
        f"{journal.cut} replies cut, {len(wrong)} breaches"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
