"""The line of a fleet's station: what a websocket may bring is taken, however it is cut."""

import asyncio
import json
import struct
from contextlib import asynccontextmanager

import pytest
from waiting import LONG, until
from websockets.utils import accept_key

from chargers_sim import Station
from chargers_sim.clock import Clock
from chargers_sim.errors import NotAnswered
from chargers_sim.faults import Rule
from chargers_sim.line import mute_pongs

QUICK = {"reconnect": (0.01, 0.1), "retry_seconds": 0.01}
BOOT = {"currentTime": "2026-01-01T00:00:00Z", "interval": 300, "status": "Accepted"}


def frame(payload, *, kind: int = 1, final: bool = True, masked: bool = False) -> bytes:
    """Write a frame by hand, as a server would not mask it."""
    data = (
        payload if isinstance(payload, bytes) else json.dumps(payload).replace(", ", ",").encode()
    )
    first, mask = kind | (0x80 if final else 0), 0x80 if masked else 0
    if len(data) < 126:
        head = struct.pack("!BB", first, mask | len(data))
    elif len(data) < 1 << 16:
        head = struct.pack("!BBH", first, mask | 126, len(data))
    else:
        head = struct.pack("!BBQ", first, mask | 127, len(data))
    return head + (b"\0\0\0\0" if masked else b"") + data


class RawSystem:
    """A central system made of bytes: `answer` says what goes back for a frame that came."""

    def __init__(self) -> None:
        self.frames = []
        self.kinds = []
        self.ponged = []
        self.connections = 0
        self.writer = None
        self.answer = self.whole
        self.with_handshake = b""
        self.pongs = True
        self.closes = True

    def whole(self, asked) -> list[bytes]:
        return [frame(self.reply(asked))]

    def reply(self, asked):
        payload = BOOT if asked[2] == "BootNotification" else {}
        if asked[2] == "Authorize":
            payload = {"idTagInfo": {"status": "Accepted"}}
        if asked[2] == "StartTransaction":
            payload = {"idTagInfo": {"status": "Accepted"}, "transactionId": 7}
        return [3, asked[1], payload]

    def of(self, action):
        return [f for f in self.frames if f[0] == 2 and f[2] == action]

    async def serve(self, reader, writer) -> None:
        self.connections += 1
        self.writer = writer
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            key = next(
                x.split(": ")[1]
                for x in head.split("\r\n")
                if x.lower().startswith("sec-websocket-key")
            )
            writer.write(
                (
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                    f"Connection: Upgrade\r\nSec-WebSocket-Accept: {accept_key(key)}\r\n"
                    "Sec-WebSocket-Protocol: ocpp1.6\r\n\r\n"
                ).encode()
                + self.with_handshake
            )
            while True:
                kind, data = await self.read(reader)
                self.kinds.append(kind)
                if kind == 10:
                    self.ponged.append(data)
                if kind == 9 and self.pongs:
                    writer.write(frame(data, kind=10))
                if kind == 8 and self.closes:
                    return
                if kind != 1:
                    continue
                asked = json.loads(data)
                self.frames.append(asked)
                for part in self.answer(asked) if asked[0] == 2 else ():
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def read(self, reader):
        first, second = await reader.readexactly(2)
        assert second & 0x80, "a client masks"
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", await reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await reader.readexactly(8))
        mask = await reader.readexactly(4)
        data = await reader.readexactly(size)
        return first & 0x0F, bytes(b ^ mask[i % 4] for i, b in enumerate(data))


@asynccontextmanager
async def lean_station(system, **more):
    server = await asyncio.start_server(system.serve, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ocpp"
    try:
        async with Station(url, "CP1", **{"lean": True, **QUICK, **more}) as station:
            yield station
    finally:
        server.close()
        if system.writer is not None:
            system.writer.close()
        await server.wait_closed()


async def charge(station) -> None:
    await station.plug()
    await station.swipe("TAG1")
    await station.charge(kwh=1, seconds=600)
    await station.stop()
    await station.unplug()


def in_bytes(system, asked):
    return [bytes([b]) for b in frame(system.reply(asked))]


def in_fragments(system, asked):
    data = frame(system.reply(asked))[2:]
    return [
        frame(data[:5], final=False),
        frame(b"", kind=9),
        frame(data[5:9], kind=0, final=False),
        frame(data[9:], kind=0),
    ]


def with_a_pong_before(system, asked):
    return [frame(b"unasked", kind=10) + frame(system.reply(asked))]


def with_a_call_behind(system, asked):
    call = [2, f"c{asked[1]}", "TriggerMessage", {"requestedMessage": "Nonsense"}]
    return [frame(system.reply(asked)) + frame(call)]


def with_spaces(system, asked):
    return [frame(b" " + json.dumps(system.reply(asked), indent=1).encode())]


def at_length(system, asked):
    kind, message_id, payload = system.reply(asked)
    return [frame([kind, message_id, payload | {"filler": "x" * 300}])]


def at_great_length(system, asked):
    kind, message_id, payload = system.reply(asked)
    text = frame([kind, message_id, payload | {"filler": "x" * 70_000}])
    return [text[:20], text[20:]]


@pytest.mark.parametrize(
    "answer",
    [
        in_bytes,
        in_fragments,
        with_a_pong_before,
        with_a_call_behind,
        with_spaces,
        at_length,
        at_great_length,
    ],
    ids=lambda f: f.__name__,
)
async def test_a_charge_is_told_however_the_answers_are_cut(answer) -> None:
    system = RawSystem()
    system.answer = lambda asked: answer(system, asked)
    async with lean_station(system) as station:
        await charge(station)
        if answer is with_a_call_behind:
            asked = {f"c{f[1]}" for f in system.frames if f[0] == 2}
            await until(lambda: asked == {f[1] for f in system.frames if f[0] in {3, 4}})

    (stop,) = system.of("StopTransaction")
    assert stop[3]["transactionId"] == 7
    assert stop[3]["meterStop"] == 1000
    assert system.connections == 1
    if answer is in_fragments:
        assert 10 in system.kinds


async def test_a_frame_that_comes_with_the_handshake_is_taken() -> None:
    system = RawSystem()
    system.with_handshake = frame([2, "early", "ClearCache", {}])
    async with lean_station(system):
        await until(lambda: any(f[0] != 2 and f[1] == "early" for f in system.frames))


async def test_a_long_message_leaves_in_one_frame() -> None:
    system = RawSystem()
    async with lean_station(system) as station:
        for size in (100, 1000, 70_000):
            await station.call("DataTransfer", {"vendorId": "V", "data": "x" * size})

    assert [len(f[3]["data"]) for f in system.of("DataTransfer")] == [100, 1000, 70_000]


async def test_a_masked_frame_of_a_server_ends_the_line() -> None:
    """RFC 6455 5.1: a client closes the connection when it meets a masked frame."""
    system = RawSystem()
    async with lean_station(system) as station:
        system.writer.write(frame([3, "x", {}], masked=True))
        await station.wait_for("disconnected", timeout=LONG)
        await until(lambda: system.connections == 2)


async def test_a_server_that_leaves_pings_unanswered_and_says_nothing_is_gone() -> None:
    system = RawSystem()
    system.pongs = False
    async with lean_station(system) as station:
        station.line.connection.ping_every(0.05)
        await station.wait_for("disconnected", timeout=LONG)
        await until(lambda: system.connections == 2)


async def test_a_server_that_does_not_see_a_closing_through_is_left() -> None:
    system = RawSystem()
    system.closes = False
    async with lean_station(system) as station:
        station.line.connection.ping_every(0.05)
        system.writer.write(frame([3, "x", {}], masked=True))
        await station.wait_for("disconnected", timeout=LONG)


async def test_a_server_that_answers_pings_keeps_its_line() -> None:
    system = RawSystem()
    async with lean_station(system) as station:
        station.line.connection.ping_every(0.05)
        await until(lambda: system.kinds.count(9) > 4)
        assert system.connections == 1


async def test_a_ping_of_the_server_comes_back_as_it_was_unless_it_is_to_be_left() -> None:
    """RFC 6455 5.5.3: a pong carries what the ping carried. Q7: a station that answers none."""
    system = RawSystem()
    async with lean_station(system) as station:
        system.writer.write(frame(b"are you there", kind=9) + frame(b"", kind=9))
        await until(lambda: system.ponged == [b"are you there", b""])
        mute_pongs(station.line.connection)
        system.writer.write(frame(b"and now", kind=9))
        await station.call("Heartbeat")
        assert len(system.ponged) == 2


async def test_what_is_not_answered_is_sent_again_under_its_id() -> None:
    """TX16-08: a transaction's message is repeated until it is answered."""
    system = RawSystem()
    left = ["StartTransaction", "StartTransaction"]

    def hesitant(asked):
        if asked[2] in left:
            left.remove(asked[2])
            return []
        return system.whole(asked)

    system.answer = hesitant
    async with lean_station(system, message_timeout=0.05) as station:
        await charge(station)

    starts = system.of("StartTransaction")
    assert len(starts) == 3
    assert len({f[1] for f in starts}) == 1
    assert [e["action"] for e in station.events if e["event"] == "not_answered"] == [
        "StartTransaction"
    ] * 2


async def test_a_refusal_is_tried_again_and_then_given_up() -> None:
    system = RawSystem()

    def refusing(asked):
        if asked[2] == "StopTransaction":
            return [frame([4, asked[1], "InternalError", "no", {}])]
        return system.whole(asked)

    system.answer = refusing
    async with lean_station(system, attempts=3) as station:
        await charge(station)

    assert len(system.of("StopTransaction")) == 3
    assert station.journal.of(action="StopTransaction", outcome="refused")


@pytest.mark.parametrize("lean", [False, True])
async def test_an_answer_that_nobody_can_read_is_a_problem_and_no_silence(lean) -> None:
    system = RawSystem()

    def odd(asked):
        if asked[2] == "StartTransaction":
            return [frame([3, asked[1], {"idTagInfo": {"status": "Accepted"}}])]
        return system.whole(asked)

    system.answer = odd
    async with lean_station(system, lean=lean) as station:
        await station.plug()
        await asyncio.gather(station.swipe("TAG1"), return_exceptions=True)
        problem = await station.wait_for("problem", timeout=LONG)
        assert "transactionId" in problem["detail"]


async def test_a_fault_put_in_force_meets_the_frames_of_a_lean_line_too() -> None:
    system = RawSystem()
    async with lean_station(system, message_timeout=0.2) as station:
        station.faults.add(Rule(do="drop", action="Heartbeat", direction="in", times=1))
        station.faults.add(Rule(do="repeat", action="DataTransfer", copies=2))
        with pytest.raises(NotAnswered):
            await station.call("Heartbeat", timeout=0.1)
        await station.call("DataTransfer", {"vendorId": "V"})
        station.faults.clear()
        await station.call("Heartbeat")

    assert len(system.of("DataTransfer")) == 3
    assert len(system.of("Heartbeat")) == 2


async def test_messages_that_wait_for_a_line_leave_in_order_once_it_is_there() -> None:
    """TX16-09: nothing is lost over a line that was down."""
    system = RawSystem()
    async with lean_station(system) as station:
        await station.plug()
        await station.swipe("TAG1")
        await station.cut()
        await station.charge(kwh=1, seconds=600)
        await station.stop()
        await station.reconnect()

    told = [f[2] for f in system.frames if f[0] == 2 and f[2] in {"MeterValues", "StopTransaction"}]
    assert told == ["MeterValues"] * 10 + ["StopTransaction"]


async def test_a_beat_comes_after_a_silence_on_a_lean_line() -> None:
    system = RawSystem()
    async with lean_station(system, clock=Clock()) as station:
        station.link.beat_every(0.05)
        await until(lambda: len(system.of("Heartbeat")) > 2)
