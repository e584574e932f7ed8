"""Chargers that misbehave at random, against the real intake: adapter, services and a SQLite file.

A `Node` is one life of the station side over a store; it is killed by letting go of it. A
`RandomCharger` makes up charges, queues what a charger says of them, and delivers the queue over a
line that loses messages and answers, with repeats, gaps, disorder and reconnects. What it really
charged is in `charges`.
"""

import asyncio
import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta

from cpo.config import Ocpp
from cpo.ocpp.adapter import ocpp_server
from cpo.ocpp.credentials import StationCredentials
from cpo.ocpp.frames import RULES
from cpo.ocpp.session import Session, SessionLimits
from cpo.services.passwords import Passwords
from cpo.services.ports import Work
from tests.support.charging import NOON, Charging

BEGIN = NOON - timedelta(hours=48)
# Only what fails anyway waits this long, however slow the machine is.
PATIENCE = 1_200
LIMITS = SessionLimits(messages_per_second=0, faults_until_closed=1_000_000)


class Line:
    """A websocket without a network: what was answered, by message id."""

    def __init__(self):
        self.open = True
        self.answers = {}
        self.sent = None
        """The texts that were sent, where somebody wants to look at them."""
        self.session = None

    def send(self, text):
        if not self.open:
            return False
        kind, message_id, *rest = json.loads(text)
        if kind == 2:
            # This charger knows nothing of what it is asked.
            refusal = json.dumps([4, message_id, "NotImplemented", "", {}])
            asyncio.get_running_loop().call_soon(self.session.text_received, refusal)
            return True
        if self.sent is not None:
            self.sent.append(text)
        waiter = self.answers.get(message_id)
        if waiter is not None and not waiter.done():
            waiter.set_result((kind, *rest))
        return True

    async def drained(self):
        pass

    def pause(self):
        pass

    def resume(self):
        pass

    def close_soon(self, _code, _reason):
        self.open = False


class Node:
    """One life of the station side."""

    def __init__(self, store, *, settle_time):
        self.store = store
        self.house = Charging(store=store, settle_time=settle_time)
        self.house.partner()
        # The server is never started: what it makes of a connection is what is wanted.
        self.server, self.notes = ocpp_server(
            Ocpp(refresh_delay=3600),
            self.house.stations,
            store,
            Passwords(b"test"),
            now=lambda: self.house.clock,
        )
        self.sessions = {}
        self.tasks = set()

    @classmethod
    async def start(cls, store, clock, station, *, settle_time=3600.0):
        """Start over a store, as after any crash; the other stations of the file are not its."""
        node = cls(store, settle_time=settle_time)
        node.house.clock = clock
        stations = node.house.memory.stations
        await node.house.memory.load(store)
        for identity in stations.keys() - {station}:
            del stations[identity]
        await node.house.transactions.recover()
        return node

    def connect(self, identity, version):
        """Bring a station in; an older connection of it gives way."""
        line = Line()
        session = Session(identity, RULES[version], line, LIMITS)
        handler = self.server._handlers(session, StationCredentials(identity=identity))
        session.handler = handler
        line.session = session
        older = self.sessions.get(identity)
        self.sessions[identity] = session
        if older is not None:
            older.supersede()
        handler.connected()
        task = asyncio.get_running_loop().create_task(self._converse(session, handler))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return session, line

    async def _converse(self, session, handler):
        try:
            await session.run()
        finally:
            handler.disconnected()

    async def kill(self):
        """End it without a goodbye: nothing in the making is finished."""
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.notes.close()
        await self.house.transactions.close()
        await self.house.stations.close()
        await self.house.commands.close()
        # The dead write nothing: what it had handed over is on disk before the next life reads.
        await self.store.commit(Work())


@dataclass
class Charge:
    """What really happened, and which parts of it the charger will ever tell."""

    number: int
    evse: int
    begin: int
    """The register at the start, in Wh."""
    starts: int
    """Minutes after BEGIN."""
    ends: int
    readings: list = field(default_factory=list)
    """(minute, register) between start and end."""
    energy: int = 0
    tells_start: bool = True
    tells_stop: bool = True
    hears_start: bool = True
    """1.6: whether the answer to its start ever comes through; else it goes on with -1."""
    gaps: bool = False
    key: str = ""
    """2.x: the charger's own id."""
    given: int | None = None
    """1.6: the id that the backend gave, once an answer came through."""
    ids: set = field(default_factory=set)
    """All ids that were ever answered to its start."""


@dataclass
class Message:
    """One message of the charger's queue; `payload` is made when it is sent."""

    minute: int
    action: str
    payload: object
    charge: Charge | None = None
    kind: str = ""
    message_id: str = ""
    of_transaction: bool = False


def stamp(minute, second=0):
    at = BEGIN + timedelta(minutes=minute, seconds=second)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


class RandomCharger:
    """One charger and all that goes wrong with it; every choice comes from `dice`."""

    def __init__(self, dice, store, identity, version):
        self.dice = dice
        self.store = store
        self.identity = identity
        self.version = version
        self.charges = self._charges()
        self.history = []
        self._ids = 0
        self._session = self._line = None

    # --- what happens ---------------------------------------------------------------------------

    def _charges(self):
        dice = self.dice
        charges = []
        free_at, register = {1: 0, 2: 3}, {1: dice.choice((0, 1_000)), 2: 7_000_000}
        for number in range(dice.randint(1, 4)):
            evse = dice.choice((1, 2))
            starts = free_at[evse] + dice.randint(1, 90)
            ends = starts + dice.randint(2, 300)
            charge = Charge(number, evse, register[evse], starts, ends)
            charge.key = f"{self.identity}-t{number}"
            charge.energy = dice.choice((0, dice.randint(1, 500), dice.randint(500, 60_000)))
            minutes = sorted(dice.sample(range(starts + 1, ends), min(ends - starts - 1, 5)))
            for minute in minutes[: dice.randint(0, 5)]:
                share = charge.energy * (minute - starts) // (ends - starts)
                charge.readings.append((minute, charge.begin + share))
            charge.tells_start = dice.random() > 0.06
            charge.tells_stop = dice.random() > 0.06
            charge.hears_start = self.version != "1.6" or dice.random() > 0.05
            charge.gaps = dice.random() < 0.2
            charges.append(charge)
            free_at[evse] = ends + 1
            register[evse] += charge.energy
        return charges

    def queue(self):
        """Return what the charger says of it all, in the order in which it happened."""
        make = self._messages_16 if self.version == "1.6" else self._messages_2
        messages = [message for charge in self.charges for message in make(charge)]
        messages.sort(key=lambda message: message.minute)
        if self.version != "1.6":
            self._number(messages)
        return messages

    def _status(self, minute, charge, word):
        if self.version == "1.6":
            payload = {"connectorId": charge.evse, "errorCode": "NoError", "status": word}
        else:
            known = {"Charging": "Occupied", "Finishing": "Occupied", "Preparing": "Occupied"}
            payload = {
                "evseId": charge.evse,
                "connectorId": 1,
                "connectorStatus": known.get(word, word),
            }
        payload["timestamp"] = stamp(minute)
        return Message(minute, "StatusNotification", lambda: payload, charge, "status")

    def _messages_16(self, charge):
        dice = self.dice
        start = {
            "connectorId": charge.evse,
            "idTag": dice.choice(("TAG", "tag")),
            "meterStart": charge.begin,
            "timestamp": stamp(charge.starts),
        }
        invented = -1 if charge.tells_start else dice.randint(1, 2**31 - 1)
        number = lambda: charge.given if charge.given is not None else invented  # noqa: E731
        if charge.tells_start:
            yield Message(charge.starts, "StartTransaction", lambda: start, charge, "start",
                          of_transaction=True)  # fmt: skip
        yield self._status(charge.starts, charge, "Charging")
        for minute, register in charge.readings:
            if charge.gaps and dice.random() < 0.5:
                continue
            value = (
                {"value": str(register / 1000), "unit": "kWh"}
                if dice.random() < 0.2
                else {"value": str(register)}
            )
            sampled = [{"timestamp": stamp(minute), "sampledValue": [value]}]
            yield Message(
                minute,
                "MeterValues",
                lambda sampled=sampled: {
                    "connectorId": charge.evse,
                    "transactionId": number(),
                    "meterValue": sampled,
                },
                charge,
                "meter",
                of_transaction=True,
            )
        if charge.tells_stop:
            yield Message(
                charge.ends,
                "StopTransaction",
                lambda: {
                    "transactionId": number(),
                    "meterStop": charge.begin + charge.energy,
                    "timestamp": stamp(charge.ends),
                },
                charge,
                "stop",
                of_transaction=True,
            )
        yield self._status(charge.ends, charge, "Available")

    def _messages_2(self, charge):
        dice = self.dice
        token = {"idToken": "TAG", "type": "ISO14443"}
        steps = [("Started", charge.starts, charge.begin)]
        steps += [("Updated", minute, register) for minute, register in charge.readings]
        steps.append(("Ended", charge.ends, charge.begin + charge.energy))
        late_token = dice.random() < 0.2 and len(steps) > 2
        for index, (kind, minute, register) in enumerate(steps):
            told = {
                "Started": charge.tells_start,
                "Updated": not charge.gaps or dice.random() < 0.5,
                "Ended": charge.tells_stop,
            }[kind]
            payload = {
                "eventType": kind,
                "timestamp": stamp(minute),
                "triggerReason": "MeterValuePeriodic",
                "transactionInfo": {"transactionId": charge.key},
                "meterValue": [self._reading(kind, minute, register)],
            }
            if kind == "Started" or dice.random() < 0.3:
                payload["evse"] = {"id": charge.evse, "connectorId": 1}
            if index == (1 if late_token else 0) or kind == "Ended":
                payload["idToken"] = token
            message = Message(minute, "TransactionEvent", lambda payload=payload: payload, charge,
                              kind, of_transaction=True)  # fmt: skip
            message.told = told
            message.body = payload
            yield message
            if kind != "Updated":
                word = "Charging" if kind == "Started" else "Available"
                yield self._status(minute, charge, word)

    def _reading(self, kind, minute, register):
        context = {"Started": "Transaction.Begin", "Ended": "Transaction.End"}
        value = {"value": register, "context": context.get(kind, "Sample.Periodic")}
        if self.dice.random() < 0.2:
            value |= {"value": register / 1000, "unitOfMeasure": {"unit": "kWh"}}
        elif self.dice.random() < 0.2:
            value |= {"value": register / 100, "unitOfMeasure": {"unit": "Wh", "multiplier": 2}}
        return {"timestamp": stamp(minute), "sampledValue": [value]}

    def _number(self, messages):
        """Give the events their numbers in one of the ways that chargers have."""
        way = self.dice.choice(("own", "own", "own", "continuous", "constant"))
        counts = {}
        for message in messages:
            if message.action != "TransactionEvent":
                continue
            of = message.charge.key if way == "own" else ""
            counts[of] = counts.get(of, -1) + 1
            message.body["seqNo"] = 0 if way == "constant" else counts[of]
            if way == "constant" and message.kind == "Updated" and "idToken" in message.body:
                message.told = True  # nothing would tell that the driver's token is missing
        self.in_order = way == "constant"
        messages[:] = [message for message in messages if getattr(message, "told", True)]

    # --- how it is told -------------------------------------------------------------------------

    async def play(self):
        """Tell everything, then end this life of the backend."""
        self.node = await Node.start(self.store, BEGIN, self.identity)
        queue = self.queue()
        offline_until, held = -1, []
        for message in queue:
            if message.minute >= offline_until and self.dice.random() < 0.1:
                offline_until = message.minute + self.dice.randint(5, 600)
            if message.minute < offline_until:
                self._cut()
                if message.of_transaction:
                    held.append(message)
                continue
            if held:
                await self._replay(held, max(offline_until, message.minute))
                held = []
            await self._deliver(message)
        if held:
            await self._replay(held, max(offline_until, queue[-1].minute))
        self.settled = unheld_cdrs(self.store, self.identity)
        for message in self.dice.sample(self.history, len(self.history) // 4):
            await self._say(message, again=True)
        await self.node.kill()

    async def _replay(self, held, minute):
        """Deliver what queued up while offline; 2.x events sometimes in disorder."""
        if self.version != "1.6":
            for message in held:
                message.body["offline"] = True
            if not self.in_order and self.dice.random() < 0.4:
                for at in range(len(held) - 1):
                    if self.dice.random() < 0.5:
                        held[at], held[at + 1] = held[at + 1], held[at]
        late = None
        if len(held) > 2 and self.dice.random() < 0.3 and self.version != "1.6":
            late = held.pop(0) if not self.in_order else None
        for message in held:
            await self._deliver(message, minute)
        if late is not None:
            await self._deliver(late, minute)

    async def _deliver(self, message, minute=None):
        """Send until answered, with all that may go wrong on the way."""
        self._now(max(message.minute, minute or 0))
        dice = self.dice
        while True:
            fate = dice.random()
            if fate < 0.80:
                await self._say(message)
                break
            if fate < 0.85:  # lost on the way
                self._cut()
            elif fate < 0.90:  # handled, but the answer is lost
                await self._say(message, heard=False)
                self._cut()
            elif fate < 0.95:  # a new connection comes while the old one is at work
                self._send(message)
                await asyncio.sleep(0)
                self._connect()
            elif fate < 0.98:  # the backend is killed at work
                self._send(message)
                for _ in range(dice.randint(0, 6)):
                    await asyncio.sleep(0)
                await self._restart()
            else:
                await self._restart()
            if dice.random() < 0.5:
                message.message_id = ""
        self.history.append(message)
        while dice.random() < 0.12:
            await self._say(message, again=True)

    def _now(self, minute):
        clock = BEGIN + timedelta(minutes=minute, seconds=2)
        self.node.house.clock = max(self.node.house.clock, clock)

    async def _restart(self):
        self._cut()
        clock = self.node.house.clock
        await self.node.kill()
        self.node = await Node.start(self.store, clock, self.identity)

    def _cut(self):
        if self._session is not None:
            self._line.open = False
            self._session.closed()
            self._session = None

    def _connect(self):
        if self._line is not None:
            self._line.open = False
        self._session, self._line = self.node.connect(self.identity, self.version)

    def _send(self, message, *, again=False):
        if self._session is None:
            self._connect()
        if not message.message_id or (again and self.dice.random() < 0.5):
            self._ids += 1
            message.message_id = f"{self.identity}-{self._ids}"
        answer = asyncio.get_running_loop().create_future()
        self._line.answers[message.message_id] = answer
        call = [2, message.message_id, message.action, message.payload()]
        self._session.text_received(json.dumps(call))
        return answer

    async def _say(self, message, *, heard=True, again=False):
        async with asyncio.timeout(PATIENCE):
            kind, *rest = await self._send(message, again=again)
        assert kind == 3, f"{message.action} answered with {rest}"
        if message.kind == "start":
            number = rest[0]["transactionId"]
            message.charge.ids.add(number)
            if heard and message.charge.hears_start:
                message.charge.given = number


# --- what the database holds afterwards ----------------------------------------------------------


def read(store, query, *values):
    """Read the SQLite file with a connection of our own."""
    with closing(sqlite3.connect(store.address.path)) as connection:
        return connection.execute(query, values).fetchall()


def bodies(store, table, station):
    """Return the objects of a station, as they are stored."""
    found = read(store, f"SELECT body FROM {table} WHERE station = ?", station)
    return [json.loads(body) for (body,) in found]


def cdrs(store, station):
    """Return a station's CDRs, credits excepted."""
    query = (
        "SELECT c.body FROM cdrs c JOIN sessions s ON s.id = c.session_id"
        " WHERE s.station = ? AND NOT c.credit"
    )
    return [json.loads(body) for (body,) in read(store, query, station)]


def unheld_cdrs(store, station):
    """Return the CDRs that are already for partners: those may never change again."""
    return {cdr["id"]: cdr for cdr in cdrs(store, station) if not cdr.get("hold")}


async def close_books(store, station, clock):
    """Start once more with no patience for missing events, until every ended charge is settled."""
    node = await Node.start(store, clock, station, settle_time=0.0)
    try:
        async with asyncio.timeout(PATIENCE):
            while any(
                transaction["phase"] == "ended" and "settled" not in transaction["flags"]
                for transaction in bodies(store, "transactions", station)
            ):
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError("ended, but its books are never closed") from None
    finally:
        await node.kill()


def objections(charger):
    """Compare the database with what really happened; return what is wrong in words."""
    store, station = charger.store, charger.identity
    by_key = {}
    for transaction in bodies(store, "transactions", station):
        by_key.setdefault(transaction["key"], []).append(transaction)
    sessions = {session["id"]: session for session in bodies(store, "sessions", station)}
    bills = {}
    for cdr in cdrs(store, station):
        bills.setdefault(cdr["session_id"], []).append(cdr)
    orphans = read(store, "SELECT action FROM orphans WHERE station = ?", station)
    wrong = []
    for charge in charger.charges:
        where = f"charge {charge.number}"
        if len(charge.ids) > 1:
            wrong.append(f"{where}: one start got the ids {charge.ids}")
        key = str(next(iter(charge.ids), "")) if charger.version == "1.6" else charge.key
        found = by_key.pop(key, [])
        if len(found) > 1:
            wrong.append(f"{where}: {len(found)} transactions")
        if not found:
            wrong += _without_start(charger, charge, where, orphans)
            continue
        wrong += [f"{where}: {fault}" for fault in _compared(charger, charge, found[0], sessions,
                                                             bills, orphans)]  # fmt: skip
        sessions.pop(found[0]["id"], None)
    wrong += [f"a transaction that never was: {key}" for key in by_key]
    wrong += [f"a session that never was: {session}" for session in sessions.values()]
    for cdr_id, before in charger.settled.items():
        after = unheld_cdrs(store, station).get(cdr_id, {})
        changed = [(n, before[n], after.get(n)) for n in before if before[n] != after.get(n)]
        if changed:
            wrong.append(f"CDR {cdr_id} changed after it was for the partner: {changed}")
    return wrong


def _without_start(charger, charge, where, orphans):
    """Judge a charge of which the backend has no transaction."""
    if charger.version != "1.6":
        told = [m for m in charger.history if m.charge is charge and m.action == "TransactionEvent"]
        return [f"{where}: lost"] if told else []
    if charge.tells_start:
        return [f"{where}: lost"]
    if charge.tells_stop and ("StopTransaction",) not in orphans:
        return [f"{where}: the stop is lost"]
    return []


def _compared(charger, charge, transaction, sessions, bills, orphans):
    """Compare one charge with its transaction, its session and its CDR."""
    session = sessions.get(transaction["id"])
    if session is None and transaction["evse_id"] is None:
        return  # nobody was told where it was
    if session is None and transaction["id_token"] is None:
        return  # nor whose
    if session is None:
        yield "no session"
        return
    made = bills.get(session["id"], [])
    if len(made) > 1:
        yield f"{len(made)} CDRs"
    ended = transaction["phase"] == "ended" and "estimated_end" not in transaction["flags"]
    if charge.tells_stop and not ended and (charge.hears_start or not orphans):
        yield f"its stop is lost, flags {transaction['flags']}"
    if not charge.tells_stop and ended:
        yield "ended though nobody said so"
    if (session["status"] == "COMPLETED") is not (transaction["phase"] == "ended"):
        yield f"session {session['status']}, transaction {transaction['phase']}"
    if ended and not charge.tells_start and any(not cdr["hold"] for cdr in made):
        yield "billed without a start"
    # Readings of a charge whose start never came count for the one that is still open there.
    mingled = any(
        other.evse == charge.evse and other.number > charge.number and not other.tells_start
        for other in charger.charges
    )
    if session["energy_wh"] > charge.energy and not (mingled and not ended):
        yield f"{session['energy_wh']} Wh instead of {charge.energy}"
    if not (ended and charge.tells_start):
        if any(not cdr["hold"] for cdr in made) and charge.tells_start:
            yield "billed without an end"
        return
    if [cdr["energy_wh"] for cdr in made] != [charge.energy]:
        yield f"CDRs of {[cdr['energy_wh'] for cdr in made]} Wh instead of one of {charge.energy}"
    if session["energy_wh"] != charge.energy:
        yield f"session of {session['energy_wh']} Wh instead of {charge.energy}"
