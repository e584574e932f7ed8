"""cpo/ocpp/session.py: order, one call at a time, nothing blocks the reading."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from cpo.errors import Invalid, StationOffline, StationRefused, StationTimeout, StoreUnavailable
from cpo.ocpp import frames
from cpo.ocpp.frames import Fault, FrameRules
from cpo.ocpp.session import CallFault, Inbound, Session, SessionLimits


class FakeSocket:
    """Keeps what is written to it."""

    def __init__(self) -> None:
        self.sent: list[list[Any]] = []
        self.paused = False
        self.close_code: int | None = None

    def send(self, text: str) -> bool:
        self.sent.append(json.loads(text))
        return self.close_code is None

    async def drained(self) -> None:
        return

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def close_soon(self, code: int, reason: str) -> None:
        self.close_code = code


class FakeHandler:
    """Answers with what it is told to, and remembers what it heard."""

    def __init__(self) -> None:
        self.calls: list[Inbound] = []
        self.faults: list[Fault] = []
        self.sent_calls: list[tuple[str, str | None]] = []
        self.strays: list[tuple[str, str | None]] = []
        self.act: Callable[[Inbound], Awaitable[None]] | None = None

    async def handle(self, call: Inbound) -> str:
        self.calls.append(call)
        if self.act is not None:
            await self.act(call)
        return frames.result_text(call.message_id, {"n": len(self.calls)})

    def faulted(self, fault: Fault, text: str) -> None:
        self.faults.append(fault)

    def sent(self, action: str, message_id: str, payload: str, answer: str | None) -> None:
        self.sent_calls.append((action, answer))

    def deviates(self, what: str, action: str = "", path: str = "") -> None:
        return

    def stray(self, message_id: str, action: str | None, text: str) -> None:
        self.strays.append((message_id, action))


class Station:
    """The far end of a session under test."""

    def __init__(self, session: Session, socket: FakeSocket, handler: FakeHandler) -> None:
        self.session = session
        self.socket = socket
        self.handler = handler

    def says(self, *frame: Any) -> None:
        self.session.text_received(json.dumps(frame))

    async def settles(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    @property
    def heard(self) -> list[list[Any]]:
        return self.socket.sent


async def make(
    limits: SessionLimits | None = None, rules: FrameRules = frames.V16
) -> tuple[Station, asyncio.Task[None]]:
    socket, handler = FakeSocket(), FakeHandler()
    session = Session("CP1", rules, socket, limits or SessionLimits())
    session.handler = handler
    task = asyncio.create_task(session.run())
    await asyncio.sleep(0)
    return Station(session, socket, handler), task


@pytest.fixture
async def station() -> AsyncIterator[Station]:
    station, task = await make()
    yield station
    station.session.closed()
    await task


async def test_a_call_is_answered_under_its_id(station: Station) -> None:
    station.says(2, "a", "Heartbeat", {})
    await station.settles()

    assert station.heard == [[3, "a", {"n": 1}]]


async def test_rp20_calls_without_waiting_are_answered_in_order(station: Station) -> None:
    for name in "abc":
        station.says(2, name, "Heartbeat", {})
    await station.settles()

    assert [frame[1] for frame in station.heard] == ["a", "b", "c"]


async def test_rp16_the_same_frame_twice_has_one_effect_and_two_answers(station: Station) -> None:
    station.says(2, "a", "Heartbeat", {})
    await station.settles()
    station.says(2, "a", "Heartbeat", {})
    await station.settles()

    assert len(station.handler.calls) == 1
    assert station.heard == [[3, "a", {"n": 1}], [3, "a", {"n": 1}]]


async def test_rp17_the_same_id_with_another_payload_is_a_new_call(station: Station) -> None:
    station.says(2, "a", "Heartbeat", {})
    station.says(2, "a", "Heartbeat", {"x": 1})
    await station.settles()

    assert station.heard == [[3, "a", {"n": 1}], [3, "a", {"n": 2}]]


async def test_rp27_a_failing_handler_is_an_internal_error_without_internals(
    station: Station,
) -> None:
    async def fail(call: Inbound) -> None:
        raise ZeroDivisionError("secret detail")

    station.handler.act = fail
    station.says(2, "a", "Heartbeat", {})
    await station.settles()
    station.handler.act = None
    station.says(2, "b", "Heartbeat", {})
    await station.settles()

    assert station.heard == [[4, "a", "InternalError", "", {}], [3, "b", {"n": 2}]]


async def test_rp26_a_store_that_is_down_is_an_error_and_the_retry_is_handled(
    station: Station,
) -> None:
    async def fail(call: Inbound) -> None:
        raise StoreUnavailable("down")

    station.handler.act = fail
    station.says(2, "a", "StartTransaction", {})
    await station.settles()
    station.handler.act = None
    station.says(2, "a", "StartTransaction", {})
    await station.settles()

    assert [frame[0] for frame in station.heard] == [4, 3]


async def test_a_handler_may_refuse_with_a_code(station: Station) -> None:
    async def refuse(call: Inbound) -> None:
        raise CallFault("SecurityError", "boot first")

    station.handler.act = refuse
    station.says(2, "a", "Heartbeat", {})
    await station.settles()

    assert station.heard == [[4, "a", "SecurityError", "boot first", {}]]


async def test_rp22_rp23_answers_pass_a_handler_that_is_waiting(station: Station) -> None:
    got: list[dict[str, Any]] = []

    async def ask_back(call: Inbound) -> None:
        got.append(await station.session.call("ClearCache", {}))

    station.handler.act = ask_back
    station.says(2, "a", "Heartbeat", {})
    await station.settles()
    question = station.heard[-1]
    station.says(3, question[1], {"status": "Accepted"})
    await station.settles()

    assert question[2] == "ClearCache"
    assert got == [{"status": "Accepted"}]
    assert station.heard[-1] == [3, "a", {"n": 1}]


async def test_rp21_our_calls_go_out_one_by_one_in_order(station: Station) -> None:
    calls = [asyncio.create_task(station.session.call("ClearCache", {})) for _ in range(3)]
    for count in (1, 2, 3):
        await station.settles()
        assert len(station.heard) == count
        station.says(3, station.heard[-1][1], {"status": "Accepted"})

    assert await asyncio.gather(*calls) == [{"status": "Accepted"}] * 3


async def test_rp21_the_queue_is_bounded_and_the_oldest_gives_way() -> None:
    station, task = await make(SessionLimits(queued_calls=2))
    calls = [asyncio.create_task(station.session.call("ClearCache", {})) for _ in range(4)]
    await station.settles()

    with pytest.raises(StationTimeout):
        await calls[1]
    station.session.closed()
    await asyncio.gather(*calls, return_exceptions=True)
    await task


async def test_rp24_a_lost_socket_fails_all_calls_at_once(station: Station) -> None:
    calls = [asyncio.create_task(station.session.call("ClearCache", {})) for _ in range(3)]
    await station.settles()
    station.session.closed()

    results = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(result) for result in results] == [StationOffline] * 3


async def test_a_call_error_is_a_refusal(station: Station) -> None:
    call = asyncio.create_task(station.session.call("ClearCache", {}))
    await station.settles()
    station.says(4, station.heard[-1][1], "NotSupported", "never", {})

    with pytest.raises(StationRefused) as caught:
        await call

    assert caught.value.code == "NotSupported"


async def test_rp30_our_calls_are_checked_before_they_leave(station: Station) -> None:
    with pytest.raises(Invalid):
        await station.session.call("ChangeAvailability", {"connectorId": "x"})
    with pytest.raises(Invalid):
        await station.session.call("NoSuchThing", {})

    assert station.heard == []


async def test_rp30_ids_of_our_calls_are_unique_and_short(station: Station) -> None:
    ids = []
    for _ in range(3):
        call = asyncio.create_task(station.session.call("ClearCache", {}))
        await station.settles()
        ids.append(station.heard[-1][1])
        station.says(3, ids[-1], {"status": "Accepted"})
        await call

    assert len(set(ids)) == 3
    assert all(len(message_id) <= 36 for message_id in ids)


async def test_rp18_answers_to_nothing_are_ignored(station: Station) -> None:
    station.says(3, "zzz", {})
    station.says(4, "zzz", "InternalError", "", {})
    station.says(2, "a", "Heartbeat", {})
    await station.settles()

    assert station.heard == [[3, "a", {"n": 1}]]


async def test_rp19_a_late_answer_does_not_reach_the_next_caller() -> None:
    station, task = await make()
    with pytest.raises(StationTimeout):
        await station.session.call("ClearCache", {}, timeout=0.01)
    late = station.heard[-1][1]
    call = asyncio.create_task(station.session.call("ClearCache", {}))
    await station.settles()
    station.says(3, late, {"status": "Rejected"})
    station.says(3, station.heard[-1][1], {"status": "Accepted"})

    assert await call == {"status": "Accepted"}
    station.session.closed()
    await task


async def test_rp25_three_silences_in_a_row_end_the_connection() -> None:
    station, task = await make()
    for _ in range(3):
        with pytest.raises(StationTimeout):
            await station.session.call("ClearCache", {}, timeout=0.01)

    assert station.socket.close_code == 1012
    station.session.closed()
    await task


async def test_rp08_a_send_is_handled_and_never_answered() -> None:
    station, task = await make(rules=frames.V21)
    station.says(6, "a", "NotifyPeriodicEventStream", {})
    await station.settles()

    assert len(station.handler.calls) == 1
    assert station.heard == []
    station.session.closed()
    await task


async def test_rp09_a_refused_result_is_noted(station: Station) -> None:
    station.session.rules = frames.V21
    station.says(5, "a", "FormatViolation", "", {})
    station.says(2, "b", "Heartbeat", {})
    await station.settles()

    assert station.heard == [[3, "b", {"n": 1}]]


async def test_a_flood_stops_the_reading_and_loses_nothing(station: Station) -> None:
    gate = asyncio.Event()

    async def wait(call: Inbound) -> None:
        await gate.wait()

    station.handler.act = wait
    station.says(2, "0", "Heartbeat", {})
    await station.settles()
    for number in range(1, 40):
        station.says(2, str(number), "Heartbeat", {})
    assert station.socket.paused
    gate.set()
    for _ in range(10):
        await station.settles()

    assert [frame[1] for frame in station.heard] == [str(number) for number in range(40)]
    assert not station.socket.paused


async def test_messages_above_the_rate_wait() -> None:
    station, task = await make(SessionLimits(messages_per_second=50, messages_burst=2))
    started = asyncio.get_running_loop().time()
    for number in range(4):
        station.says(2, str(number), "Heartbeat", {})
    while len(station.heard) < 4:
        await asyncio.sleep(0.002)

    assert asyncio.get_running_loop().time() - started >= 0.035
    station.session.closed()
    await task


async def test_twenty_bad_frames_in_a_row_end_the_connection(station: Station) -> None:
    for _ in range(19):
        station.session.text_received("nonsense")
    assert station.socket.close_code is None
    station.session.text_received("nonsense")

    assert station.socket.close_code == 1008


async def test_a_good_frame_forgives_the_bad_ones(station: Station) -> None:
    for _ in range(3):
        for _ in range(19):
            station.session.text_received("nonsense")
        station.says(2, "a", "Heartbeat", {})
        await station.settles()

    assert station.socket.close_code is None


async def test_every_call_of_ours_is_noted_with_its_answer(station: Station) -> None:
    call = asyncio.create_task(station.session.call("ClearCache", {}))
    await station.settles()
    station.says(3, station.heard[-1][1], {"status": "Accepted"})
    await call

    assert station.handler.sent_calls == [("ClearCache", '{"status":"Accepted"}')]
