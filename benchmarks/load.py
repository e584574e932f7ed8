"""A load client for OCPP-J servers: charging sessions over many connections, cheap per message.

Messages are made from templates and sent as ready websocket frames over plain sockets; answers are
only counted, timed and looked at as far as a session needs. Prints one JSON object. With --rate
the messages leave at fixed instants (each connection still waits for its answers); without, as
fast as the answers come.
"""

import argparse
import asyncio
import base64
import itertools
import json
import os
import random
import resource
import statistics
import struct
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime, timedelta

import uvloop

SUBPROTOCOLS = {"1.6": "ocpp1.6", "2.0.1": "ocpp2.0.1"}
_MEASURANDS = [
    ("Energy.Active.Import.Register", "Wh", None),
    ("Power.Active.Import", "W", None),
    ("Current.Import", "A", "L1"),
    ("Current.Import", "A", "L2"),
    ("Current.Import", "A", "L3"),
    ("Voltage", "V", "L1"),
    ("Voltage", "V", "L2"),
    ("SoC", "Percent", None),
]
_VALUES = ["%d", "11040", "16.0", "16.0", "16.0", "229.8", "230.1", "55"]


def _sampled_16() -> str:
    parts = []
    for (measurand, unit, phase), value in zip(_MEASURANDS, _VALUES, strict=True):
        item = {
            "value": value,
            "context": "Sample.Periodic",
            "format": "Raw",
            "measurand": measurand,
            "location": "EV" if measurand == "SoC" else "Outlet",
            "unit": unit,
        }
        if phase:
            item["phase"] = phase
        parts.append(json.dumps(item, separators=(",", ":")))
    return ",".join(parts)


def _sampled_201() -> str:
    parts = []
    for (measurand, unit, phase), value in zip(_MEASURANDS, _VALUES, strict=True):
        item = {
            "value": "@",
            "context": "Sample.Periodic",
            "measurand": measurand,
            "location": "EV" if measurand == "SoC" else "Outlet",
            "unitOfMeasure": {"unit": unit},
        }
        if phase:
            item["phase"] = phase
        parts.append(json.dumps(item, separators=(",", ":")).replace('"@"', value))
    return ",".join(parts)


SAMPLED_16, SAMPLED_201 = _sampled_16(), _sampled_201()
Script = Generator[tuple[str, str], bytes, None]


class Clock:
    """A charger's time: runs a minute per reading, so that every message has its own stamp."""

    def __init__(self, start: datetime) -> None:
        self.at = start

    def next(self, seconds: int) -> str:
        self.at += timedelta(seconds=seconds)
        return self.at.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def sessions_16(tags: Iterator[str], clock: Clock) -> Script:
    """Charging sessions of 19 messages each: (action, payload) out, the answer's bytes in."""
    meter = 1_000_000

    def status(word: str) -> tuple[str, str]:
        return (
            "StatusNotification",
            f'{{"connectorId":1,"errorCode":"NoError","status":"{word}",'
            f'"timestamp":"{clock.next(1)}"}}',
        )

    while True:
        tag = next(tags)
        yield status("Preparing")
        yield "Authorize", f'{{"idTag":"{tag}"}}'
        answer = yield (
            "StartTransaction",
            f'{{"connectorId":1,"idTag":"{tag}","meterStart":{meter},"timestamp":"{clock.next(1)}"}}',
        )
        number = _transaction_id(answer)
        yield status("Charging")
        for step in range(10):
            meter += 184
            yield (
                "MeterValues",
                f'{{"connectorId":1,"transactionId":{number},"meterValue":[{{"timestamp":'
                f'"{clock.next(60)}","sampledValue":[{SAMPLED_16 % meter}]}}]}}',
            )
            if step in (3, 7):
                yield "Heartbeat", "{}"
        yield status("Finishing")
        yield (
            "StopTransaction",
            f'{{"transactionId":{number},"idTag":"{tag}","meterStop":{meter},'
            f'"timestamp":"{clock.next(1)}","reason":"Local"}}',
        )
        yield status("Available")


def _transaction_id(answer: bytes) -> int:
    try:
        return int(json.loads(answer)[2]["transactionId"])
    except (ValueError, KeyError, IndexError, TypeError):
        return 1


def sessions_201(tags: Iterator[str], clock: Clock) -> Script:
    """The same session in OCPP 2.0.1."""
    meter = 1_000_000

    def status(word: str) -> tuple[str, str]:
        return (
            "StatusNotification",
            f'{{"timestamp":"{clock.next(1)}","connectorStatus":"{word}","evseId":1,"connectorId":1}}',
        )

    while True:
        tag = next(tags)
        transaction, seq = str(uuid.uuid4()), 0

        def event(
            kind: str,
            trigger: str,
            seconds: int,
            more: str = "",
            info: str = "",
            *,
            of: str,
            n: int,
        ) -> tuple[str, str]:
            return (
                "TransactionEvent",
                f'{{"eventType":"{kind}","timestamp":"{clock.next(seconds)}","triggerReason":'
                f'"{trigger}","seqNo":{n},"transactionInfo":{{"transactionId":"{of}"{info}}}'
                f"{more}}}",
            )

        token = f',"idToken":{{"idToken":"{tag}","type":"ISO14443"}}'
        evse = ',"evse":{"id":1,"connectorId":1}'
        charging = ',"chargingState":"Charging"'
        yield status("Occupied")
        yield "Authorize", f'{{"idToken":{{"idToken":"{tag}","type":"ISO14443"}}}}'
        yield event("Started", "Authorized", 1, evse + token, charging, of=transaction, n=seq)
        for step in range(10):
            meter += 184
            seq += 1
            values = (
                f',"meterValue":[{{"timestamp":"{clock.at.strftime("%Y-%m-%dT%H:%M:%S.000Z")}",'
                f'"sampledValue":[{SAMPLED_201 % meter}]}}]'
            )
            yield event(
                "Updated", "MeterValuePeriodic", 60, evse + values, charging, of=transaction, n=seq
            )
            if step in (3, 7):
                yield "Heartbeat", "{}"
        yield status("Occupied")
        yield event(
            "Ended", "EVDeparted", 1, evse + token, ',"stoppedReason":"Local"', of=transaction,
            n=seq + 1,
        )  # fmt: skip
        yield status("Occupied")
        yield status("Available")


def token_uid(n: int) -> str:
    """Return the uid of one of many tokens."""
    return f"{n * 2654435761 % 2**32:08X}{n:06X}"


def any_of(count: int) -> Iterator[str]:
    """Yield uids of so many tokens, drawn by chance."""
    while True:
        yield token_uid(random.randrange(count))


class Station(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: "Load", number: int) -> None:
        self.load = load
        self.identity = f"{load.prefix}{number}"
        self.buffer = b""
        self.open = False
        self.waiting = False
        self.sent_at = 0.0
        self.due_at = 0.0
        maker = sessions_16 if load.version == "1.6" else sessions_201
        tags = any_of(load.tags) if load.tags else itertools.repeat(f"TAG{number}")
        self.script = maker(tags, Clock(load.start))
        self.count = 0
        self.heard: Callable[[], object] | None = None
        """Told of each answer."""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        key = base64.b64encode(os.urandom(16)).decode()
        login = base64.b64encode(f"{self.identity}:{self.load.password}".encode()).decode()
        self.transport.write(
            (
                f"GET {self.load.path}/{self.identity} HTTP/1.1\r\nHost: load\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Protocol: {SUBPROTOCOLS[self.load.version]}\r\n"
                f"Authorization: Basic {login}\r\n\r\n"
            ).encode()
        )

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer + data if self.buffer else data
        if not self.open:
            head, end, buffer = buffer.partition(b"\r\n\r\n")
            if not end:
                self.buffer = head
                return
            if b" 101 " not in head[:20]:
                self.ready.set_exception(ConnectionError(head.split(b"\r\n")[0].decode()))
                return
            self.open = True
            self.ready.set_result(None)
        while len(buffer) >= 2:
            length, offset = buffer[1] & 127, 2
            if length == 126:
                if len(buffer) < 4:
                    break
                length, offset = struct.unpack_from("!H", buffer, 2)[0], 4
            end = offset + length
            if len(buffer) < end:
                break
            if buffer[0] & 15 == 1:
                self.answered(buffer[offset:end])
            elif buffer[0] & 15 == 9:
                self.transport.write(b"\x8a\x80\0\0\0\0")
            buffer = buffer[end:]
        self.buffer = buffer

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self.load.lost += 1

    def answered(self, text: bytes) -> None:
        load = self.load
        if text.startswith(b"[2,"):
            # The server asks for something: a charger that knows nothing of it says so.
            self._write(f'[4,{json.dumps(json.loads(text)[1])},"NotSupported","",{{}}]'.encode())
            return
        self.waiting = False
        if load.counting:
            load.latencies.append(time.perf_counter() - (self.due_at or self.sent_at))
            if not text.startswith(b"[3,"):
                load.errors += 1
                load.first_error = load.first_error or text[:300].decode(errors="replace")
        self.last = text
        if self.heard is not None:
            self.heard()
        if load.closed_loop and load.running:
            self.next()

    def next(self) -> None:
        if self.count:
            action, payload = self.script.send(self.last)
        else:
            action, payload = next(self.script)
        self.count += 1
        self.say(action, payload)

    def say(self, action: str, payload: str) -> None:
        # 36 characters, as a UUID has.
        message_id = f"{self.identity[:12]:0>12}-{self.count:023d}"
        self.waiting = True
        self.sent_at = time.perf_counter()
        self._write(f'[2,"{message_id}","{action}",{payload}]'.encode())

    def _write(self, text: bytes) -> None:
        size = len(text)
        # A mask of zeros is a mask.
        if size < 126:
            head = struct.pack("!BBI", 0x81, 0x80 | size, 0)
        else:
            head = struct.pack("!BBHI", 0x81, 0x80 | 126, size, 0)
        self.transport.write(head + text)


class Load:
    """All connections of a run."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.version = args.version
        self.prefix = args.prefix
        self.password = args.password
        self.path = args.path
        self.closed_loop = not args.rate
        self.rate = args.rate
        self.tags = args.tags
        self.start = datetime.now(UTC) - timedelta(days=args.days_ago)
        self.latencies: list[float] = []
        self.errors = 0
        self.first_error: str | None = None
        self.lost = 0
        self.running = True
        self.counting = False


async def run(args: argparse.Namespace) -> dict[str, object]:
    """Connect, boot, warm up, measure."""
    loop = asyncio.get_running_loop()
    load = Load(args)
    stations = []
    for number in range(args.connections):
        _, station = await loop.create_connection(
            lambda number=number: Station(load, number), args.host, args.port
        )
        await asyncio.wait_for(station.ready, 10)
        stations.append(station)
    for station in stations:
        if args.version == "1.6":
            station.say("BootNotification", '{"chargePointVendor":"Load","chargePointModel":"1"}')
        else:
            station.say(
                "BootNotification",
                '{"reason":"PowerUp","chargingStation":{"model":"1","vendorName":"Load"}}',
            )
    load.closed_loop = False
    while any(station.waiting for station in stations):  # noqa: ASYNC110 - set-up only
        await asyncio.sleep(0.01)
    load.closed_loop = not args.rate
    for station in stations:
        station.count = 0
    pid = args.server_pid
    if load.closed_loop:
        for station in stations:
            station.next()
        await asyncio.sleep(args.warm_up)
    else:
        pacer = loop.create_task(_pace(load, stations))
        await asyncio.sleep(args.warm_up)
    load.counting = True
    cpu_server, cpu_self = cpu_seconds(pid), _own_cpu()
    started = time.perf_counter()
    await asyncio.sleep(args.seconds)
    elapsed = time.perf_counter() - started
    cpu_server, cpu_self = cpu_seconds(pid) - cpu_server, _own_cpu() - cpu_self
    load.counting = load.running = False
    if not load.closed_loop:
        pacer.cancel()
    count = len(load.latencies)
    for station in stations:
        station.transport.close()
    ordered = sorted(load.latencies)
    return {
        "messages": count,
        "seconds": elapsed,
        "errors": load.errors,
        "first_error": load.first_error,
        "lost": load.lost,
        "server_cpu_us_per_message": cpu_server / count * 1e6 if count else None,
        "server_busy": cpu_server / elapsed,
        "client_busy": cpu_self / elapsed,
        "p50_ms": statistics.median(ordered) * 1e3 if ordered else None,
        "p99_ms": ordered[int(len(ordered) * 0.99)] * 1e3 if ordered else None,
    }


async def _pace(load: Load, stations: list[Station]) -> None:
    """Send at fixed instants, round robin; late answers make late messages, and that counts."""
    began, sent = time.perf_counter(), 0
    turn = 0
    while load.running:
        due = int((time.perf_counter() - began) * load.rate)
        while sent < due:
            station = stations[turn % len(stations)]
            turn += 1
            if station.waiting:
                if turn % len(stations) == 0:
                    break
                continue
            sent += 1
            station.due_at = began + sent / load.rate
            station.next()
        await asyncio.sleep(0.001)


def cpu_seconds(pid: int) -> float:
    """Return the CPU that a process has used, as the operating system counts it."""
    if not pid:
        return 0.0
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - /proc
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Run one measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/ocpp")
    parser.add_argument("--version", choices=list(SUBPROTOCOLS), default="1.6")
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--warm-up", type=float, default=1)
    parser.add_argument("--rate", type=float, default=0, help="messages a second; 0: closed loop")
    parser.add_argument("--prefix", default="LOAD")
    parser.add_argument("--password", default="load-load-load-load")
    parser.add_argument("--days-ago", type=float, default=30, help="when the sessions happen")
    parser.add_argument("--server-pid", type=int, default=0, help="whose CPU to read")
    parser.add_argument("--core", type=int, default=None, help="run on this core only")
    parser.add_argument(
        "--tags", type=int, default=0, help="each session with another of so many tokens"
    )
    args = parser.parse_args()
    if args.core is not None:
        os.sched_setaffinity(0, {args.core})
    print(json.dumps(uvloop.run(run(args))))


if __name__ == "__main__":
    main()
