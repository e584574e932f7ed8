"""The deviations of real chargers, by number and name.

Each is a way in which a charger in the field was seen to break or bend the rules;
the docstring is what `chargers-sim quirks` shows. A server has to live with all of them.
"""

# ruff: noqa: D102 - each method is a hook that `Deviation` describes

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame, Opcode

from chargers_sim.deviation import Deviation
from chargers_sim.errors import BadInput
from chargers_sim.happenings import Charged, Happening, StatusChanged
from chargers_sim.line import Address, mute_pongs
from chargers_sim.outbox import Outgoing, Payload

if TYPE_CHECKING:
    from chargers_sim.live import Station


@dataclass(frozen=True, slots=True)
class Quirk:
    """One entry of the catalogue."""

    number: int
    name: str
    does: str
    versions: tuple[str, ...]
    make: type[Deviation]


CATALOGUE: dict[str, Quirk] = {}
V16 = ("1.6",)
V2 = ("2.0.1", "2.1")
ALL = ("1.6", "2.0.1", "2.1")


def quirk(number: int, name: str, versions: tuple[str, ...] = ALL) -> Any:
    """Enter a deviation in the catalogue."""

    def enter(make: type[Deviation]) -> type[Deviation]:
        does = (make.__doc__ or "").splitlines()[0]
        CATALOGUE[name] = Quirk(number, name, does, versions, make)
        return make

    return enter


def make(names: Iterable[str], version: str, where: str = "--quirk") -> list[Deviation]:
    """Make the deviations of that name (or number: `q17`)."""
    numbered = {f"q{q.number}": q for q in CATALOGUE.values()}
    made = []
    for name in names:
        entry = CATALOGUE.get(name) or numbered.get(name.lower())
        if entry is None:
            known = ", ".join(sorted(CATALOGUE))
            raise BadInput(f"{where}: unknown quirk {name!r}; known are {known}")
        if version not in entry.versions:
            raise BadInput(f"{where}: {entry.name} is a quirk of OCPP {', '.join(entry.versions)}")
        made.append(entry.make())
    return made


def _energy(payload: Payload) -> Iterable[Payload]:
    """Give each energy register sample of a message, wherever it is."""
    for values in [*payload.get("meterValue", []), *payload.get("transactionData", [])]:
        for sample in values["sampledValue"]:
            named = sample.get("measurand", "Energy.Active.Import.Register")
            if named == "Energy.Active.Import.Register":
                yield sample


def _put(sample: Payload, value: Any) -> None:
    sample["value"] = str(value) if isinstance(sample["value"], str) else value


# The connection


@quirk(1, "no-subprotocol")
class NoSubprotocol(Deviation):
    """Offers no Sec-WebSocket-Protocol at all."""

    def address(self, address: Address) -> Address:
        return replace(address, subprotocols=())


@quirk(2, "no-connection-upgrade")
class NoConnectionUpgrade(Deviation):
    """Sends the handshake without `Connection: Upgrade`."""

    def address(self, address: Address) -> Address:
        return replace(address, drop_headers=("Connection",))


@quirk(3, "odd-url")
class OddUrl(Deviation):
    """Writes the address with the identity twice, a double slash or a slash at the end."""

    _tries = 0

    def address(self, address: Address) -> Address:
        self._tries += 1
        base, name = address.url.rstrip("/"), address.identity
        forms = (f"{base}//{name}", f"{base}/{name}/", f"{base}/{name}?x=1", f"{base}/{name}")
        form = forms[(self._tries - 1) % len(forms)]
        return replace(address, url=form, append_identity=False)


@quirk(4, "second-socket")
class SecondSocket(Deviation):
    """Opens a new connection while the old one is open, and closes the old one later."""

    def online(self, station: "Station", times: int) -> None:
        if times == 1:
            station.later(station.link.abandon(close_after=0.3))


@quirk(5, "no-return-after-close")
class NoReturnAfterClose(Deviation):
    """Never connects again after a clean close by the server."""

    def comes_back(self, *, clean: bool) -> bool:
        return not clean


@quirk(6, "half-open")
class HalfOpen(Deviation):
    """Believes it is connected while nothing arrives: reads nothing, answers no ping."""

    def online(self, station: "Station", times: int) -> None:
        if times == 1:
            station.later(station.link.go_deaf())


@quirk(7, "no-pong")
class NoPong(Deviation):
    """Answers no ping, ever, and heartbeats happily."""

    def connection(self, connection: ClientConnection) -> None:
        mute_pongs(connection)


@quirk(8, "heartbeat-only")
class HeartbeatOnly(Deviation):
    """Is silent but for the heartbeat at exactly its interval: no pings of its own."""

    def address(self, address: Address) -> Address:
        return replace(address, ping_seconds=None)


@quirk(9, "compressed-frame")
class CompressedFrame(Deviation):
    """Sends a frame marked as compressed although nothing was negotiated."""

    def online(self, station: "Station", times: int) -> None:
        if times == 1 and station.line is not None:
            frame = bytearray(Frame(Opcode.TEXT, b"\xaa\x56\x4a\x2d").serialize(mask=True))
            frame[0] |= 0x40
            station.line.write_bytes(bytes(frame))


@quirk(10, "deaf-to-calls")
class DeafToCalls(Deviation):
    """Heartbeats fine but leaves every CALL unanswered until it reconnects."""

    _online = 0

    def online(self, station: "Station", times: int) -> None:
        del station
        self._online = times

    def call(self, station: "Station", action: str, payload: Payload) -> bool:
        del station, action, payload
        return self._online > 1


# Boot


@quirk(11, "boot-loop")
class BootLoop(Deviation):
    """Starts over when a CALL comes within a second of its boot."""

    def __init__(self) -> None:
        self._quiet_until = 0.0
        self._loops = 0

    def online(self, station: "Station", times: int) -> None:
        del station, times
        self._quiet_until = asyncio.get_running_loop().time() + 0.8

    def call(self, station: "Station", action: str, payload: Payload) -> bool:
        del action, payload
        early = asyncio.get_running_loop().time() < self._quiet_until
        if (early or not station.is_online) and self._loops < 5:
            self._loops += 1
            station.emit("boot_loop", times=self._loops)
            station.later(station.reboot("HardReset"))
            return False
        return True


@quirk(12, "forgets-configuration")
class ForgetsConfiguration(Deviation):
    """Loses its configuration at every reboot."""

    def online(self, station: "Station", times: int) -> None:
        if times > 1:
            station.factory_settings()


@quirk(13, "no-boot")
class NoBoot(Deviation):
    """Sends no BootNotification, not even at the first connection."""

    def boots(self) -> bool:
        return False


@quirk(14, "trigger-boot-reboots")
class TriggerBootReboots(Deviation):
    """Really restarts on TriggerMessage(BootNotification)."""

    def call(self, station: "Station", action: str, payload: Payload) -> bool:
        if action == "TriggerMessage" and payload.get("requestedMessage") == "BootNotification":
            station.later(station.reboot("HardReset"))
        return True


@quirk(15, "status-while-pending")
class StatusWhilePending(Deviation):
    """Sends StatusNotification before its boot is accepted."""

    impatient: ClassVar[bool] = True


# Text


@quirk(16, "broken-json")
class BrokenJson(Deviation):
    """Now and then sends JSON with a value missing."""

    _count = 0

    def text(self, text: str) -> str:
        self._count += 1
        if self._count % 4 == 0 and text.startswith("[2") and "BootNotification" not in text:
            return re.sub(r'":(\d+|"[^"]*")', '":', text, count=1)
        return text


@quirk(17, "schema-deviations")
class SchemaDeviations(Deviation):
    """Too long serials, unknown measurands, the unit Hz, numbers as strings, extra fields."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station
        if action == "BootNotification":
            inner = payload.get("chargingStation", payload)
            key = "serialNumber" if "chargingStation" in payload else "chargePointSerialNumber"
            inner[key] = "SN-" + "0123456789" * 6
        elif action == "StatusNotification":
            payload["vendorStatus"] = "green"
            if "connectorId" in payload and "evseId" not in payload:
                payload["connectorId"] = str(payload["connectorId"])
        for values in payload.get("meterValue", []):
            values["sampledValue"] += [
                {"value": "50", "measurand": "Frequency", "unit": "Hz"},
                {"value": "1", "measurand": "Grid.Mood"},
            ]
        return payload


@quirk(18, "odd-timestamps")
class OddTimestamps(Deviation):
    """Writes times without a zone, with +02, or from 1970."""

    _count = 0

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station
        if "timestamp" in payload:
            self._count += 1
            at = str(payload["timestamp"]).removesuffix("Z")
            if action == "StatusNotification" and self._count % 3 == 0:
                payload["timestamp"] = "1970-01-01T00:01:00Z"
            else:
                payload["timestamp"] = at if self._count % 2 else f"{at}+00"
        return payload


@quirk(19, "reads-only-z-times")
class ReadsOnlyZTimes(Deviation):
    """Cannot read +00:00 or microseconds in a time of the server: restarts over it."""

    def received(self, station: "Station", text: str) -> None:
        for at in re.findall(r'"(\d{4}-\d\d-\d\dT[^"]*)"', text):
            if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z", at):
                station.emit("unreadable_time", text=at)
                station.link.cut()
                return


@quirk(20, "fractional-registers", V16)
class FractionalRegisters(Deviation):
    """Sends meterStart and meterStop with decimals."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station, action
        for name in ("meterStart", "meterStop"):
            if name in payload:
                payload[name] = payload[name] + 0.5
        return payload


@quirk(21, "repeats-message-ids")
class RepeatsMessageIds(Deviation):
    """Counts message ids from 1 after every power-up."""

    def message_id(self, proposed: str, number: int) -> str:
        del proposed
        return str(number)


@quirk(22, "repeated-start")
class RepeatedStart(Deviation):
    """Sends the start of a transaction twice, with a new message id."""

    def messages(
        self, station: "Station", happening: Happening, messages: list[Outgoing]
    ) -> list[Outgoing]:
        del station
        if isinstance(happening, Charged) and happening.kind == "Started":
            return [*messages, *(again(m) for m in messages)]
        return messages


@quirk(23, "wild-transaction-ids", V16)
class WildTransactionIds(Deviation):
    """Writes -1, 0 or 2^63-1 as transaction id in MeterValues and StopTransaction."""

    _count = 0

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station
        if action in {"MeterValues", "StopTransaction"} and "transactionId" in payload:
            self._count += 1
            payload["transactionId"] = (-1, 0, 2**63 - 1)[self._count % 3]
        return payload


@quirk(24, "stop-of-the-unknown", V16)
class StopOfTheUnknown(Deviation):
    """After each stop sends one for a transaction nobody knows, until it gets a result."""

    def messages(
        self, station: "Station", happening: Happening, messages: list[Outgoing]
    ) -> list[Outgoing]:
        del station
        if not (isinstance(happening, Charged) and happening.kind == "Ended"):
            return messages
        extra = []
        for message in messages:
            if message.action == "StopTransaction":
                unknown = again(message)
                unknown.payload = {**message.content(), "transactionId": 1_999_999_999}
                extra.append(unknown)
        return [*messages, *extra]


@quirk(25, "values-without-transaction", V16)
class ValuesWithoutTransaction(Deviation):
    """Sends MeterValues of a transaction without its id."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station
        if action == "MeterValues":
            payload.pop("transactionId", None)
        return payload


@quirk(26, "colliding-ids", V2)
class CollidingIds(Deviation):
    """Uses the number of the EVSE and the day as transaction id, so that ids collide."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station
        if action == "TransactionEvent":
            evse = (payload.get("evse") or {"id": 1})["id"]
            payload["transactionInfo"]["transactionId"] = f"{evse}-{payload['timestamp'][:10]}"
        return payload


@quirk(27, "zero-means-none", V16)
class ZeroMeansNone(Deviation):
    """Treats the transaction id 0 as no transaction: sends the start again."""

    def understands(self, action: str, answer: Payload) -> bool:
        return action != "StartTransaction" or answer.get("transactionId") != 0


@quirk(28, "stop-without-tag", V16)
class StopWithoutTag(Deviation):
    """Sends StopTransaction without idTag and without reason."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station
        if action == "StopTransaction":
            payload.pop("idTag", None)
            payload.pop("reason", None)
        return payload


@quirk(29, "lost-start")
class LostStart(Deviation):
    """Loses the start of a transaction: only values and the stop come."""

    def messages(
        self, station: "Station", happening: Happening, messages: list[Outgoing]
    ) -> list[Outgoing]:
        del station
        if isinstance(happening, Charged) and happening.kind == "Started":
            return [m for m in messages if m.action == "StatusNotification"]
        return messages


@quirk(30, "stop-lost-at-power-cut")
class StopLostAtPowerCut(Deviation):
    """After a power cut the stop is missing."""

    def messages(
        self, station: "Station", happening: Happening, messages: list[Outgoing]
    ) -> list[Outgoing]:
        del station
        lost = isinstance(happening, Charged) and happening.reason == "PowerLoss"
        return [] if lost else messages


@quirk(31, "ends-below-minimum")
class EndsBelowMinimum(Deviation):
    """Ends the transaction when the limit falls below 6 A, instead of suspending it."""

    def messages(
        self, station: "Station", happening: Happening, messages: list[Outgoing]
    ) -> list[Outgoing]:
        if isinstance(happening, Charged) and happening.state == "SuspendedEVSE":
            transaction = happening.transaction
            if transaction.running:
                station.later(station.end(transaction, "Other"))
        return messages


@quirk(32, "status-order")
class StatusOrder(Deviation):
    """Tells Charging before the start, Available right after the stop, Finishing too early."""

    def messages(
        self, station: "Station", happening: Happening, messages: list[Outgoing]
    ) -> list[Outgoing]:
        if not isinstance(happening, Charged) or happening.kind == "Updated":
            return messages
        word = "Charging" if happening.kind == "Started" else "Available"
        early = StatusChanged(
            outlet=happening.transaction.outlet,
            status=word,  # type: ignore[arg-type]
            error="NoError",
            at_ms=happening.at_ms,
            asked=True,
        )
        return [*station.adapter.render(early), *messages]


@quirk(33, "hex-tags-only")
class HexTagsOnly(Deviation):
    """Refuses a remote start whose token is not hexadecimal."""

    def call(self, station: "Station", action: str, payload: Payload) -> bool:
        if action in {"RemoteStartTransaction", "RequestStartTransaction"}:
            token = payload.get("idTag") or payload.get("idToken", {}).get("idToken", "")
            if not re.fullmatch(r"[0-9A-Fa-f]+", token):
                station.link.refuse_next(action)
        return True


# The meter


@quirk(34, "kwh-as-wh")
class KwhAsWh(Deviation):
    """Writes kWh and labels them Wh."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station, action
        for sample in _energy(payload):
            _put(sample, round(float(sample["value"]) / 1000, 3))
        return payload


@quirk(35, "session-relative-samples")
class SessionRelativeSamples(Deviation):
    """Keeps the lifetime register at both ends, but samples count from the session's start."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        middle = action == "MeterValues" or payload.get("eventType") == "Updated"
        if middle:
            running = next(iter(station.model.transactions()), None)
            start = 0 if running is None else running.meter_start_wh
            for sample in _energy(payload):
                _put(sample, float(sample["value"]) - float(start))
        return payload


@quirk(36, "zero-at-begin")
class ZeroAtBegin(Deviation):
    """Gives 0 as the first reading of a transaction, a placeholder."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station
        if "meterStart" in payload:
            payload["meterStart"] = 0
        if payload.get("eventType") == "Started" or action == "StopTransaction":
            for values in [*payload.get("meterValue", []), *payload.get("transactionData", [])]:
                for sample in _energy({"meterValue": [values]}):
                    if sample.get("context") == "Transaction.Begin":
                        _put(sample, 0)
        return payload


@quirk(37, "stop-below-start")
class StopBelowStart(Deviation):
    """Gives a final reading below the first one."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station
        if action == "StopTransaction":
            payload["meterStop"] = -5
        if action == "StopTransaction" or payload.get("eventType") == "Ended":
            for sample in _energy(payload):
                _put(sample, -5)
        return payload


@quirk(38, "frozen-register")
class FrozenRegister(Deviation):
    """The register stands still, then falls to zero during a session."""

    _count = 0

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station
        if action == "MeterValues" or payload.get("eventType") == "Updated":
            for sample in _energy(payload):
                self._count += 1
                _put(sample, 1000 if self._count % 4 else 0)
        return payload


@quirk(39, "odd-phases")
class OddPhases(Deviation):
    """Labels currents L1-N and leaves the totals out."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station, action
        for values in payload.get("meterValue", []):
            for sample in values["sampledValue"]:
                if sample.get("measurand") == "Current.Import" and "phase" in sample:
                    sample["phase"] = f"{sample['phase'].removesuffix('-N')}-N"
            values["sampledValue"] = [
                s for s in values["sampledValue"] if s.get("measurand") != "Power.Active.Import"
            ] or values["sampledValue"]
        return payload


# The rest


@quirk(40, "hex-password")
class HexPassword(Deviation):
    """Takes the password as hexadecimal and sends the bytes it stands for."""

    def address(self, address: Address) -> Address:
        if isinstance(address.password, str):
            try:
                return replace(address, password=bytes.fromhex(address.password))
            except ValueError:
                return replace(address, password=address.password.encode().hex())
        return address


@quirk(41, "sloppy-evse", V2)
class SloppyEvse(Deviation):
    """Repeats the EVSE in every event without connectorId, and replays offline events as live."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        if action == "TransactionEvent":
            first = next(iter(station.model.outlets.values()))
            payload["evse"] = {"id": (payload.get("evse") or {"id": first.evse})["id"]}
            payload.pop("offline", None)
        return payload


@quirk(42, "no-trigger-reason", V2)
class NoTriggerReason(Deviation):
    """Leaves triggerReason out."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station, action
        payload.pop("triggerReason", None)
        return payload


@quirk(43, "drops-when-polled")
class DropsWhenPolled(Deviation):
    """Drops the line when asked more than three times within ten seconds."""

    def __init__(self) -> None:
        self._asked: list[float] = []

    def call(self, station: "Station", action: str, payload: Payload) -> bool:
        del action, payload
        now = asyncio.get_running_loop().time()
        self._asked = [at for at in self._asked if now - at < 10] + [now]
        if len(self._asked) > 3:
            self._asked.clear()
            station.emit("dropped_when_polled")
            station.link.cut()
            return False
        return True


@quirk(44, "careless-events")
class CarelessEvents(Deviation):
    """seqNo 0 for ever, Authorized for remote starts, status of 0, an end without its details."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station
        if action == "TransactionEvent":
            payload["seqNo"] = 0
            if payload.get("triggerReason") == "RemoteStart":
                payload["triggerReason"] = "Authorized"
            if payload["eventType"] == "Ended":
                payload.pop("evse", None)
                payload.pop("meterValue", None)
                payload["transactionInfo"].pop("stoppedReason", None)
        elif action == "StatusNotification" and "evseId" in payload:
            payload["connectorId"] = 0
        return payload


def again(message: Outgoing) -> Outgoing:
    """Make a second message of the same content, with a message id of its own."""
    return Outgoing(
        action=message.action, payload=message.payload, keep=message.keep, checked=False
    )


def show() -> str:
    """Write the catalogue as a table."""
    rows = sorted(CATALOGUE.values(), key=lambda q: q.number)
    return "\n".join(
        f"q{q.number:<3} {q.name:<28} {'/'.join(q.versions):<14} {q.does}" for q in rows
    )
