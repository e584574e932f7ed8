"""No wait of the simulator lasts for ever, whatever the other end does or leaves out."""

import asyncio
import json

import pytest
from waiting import LONG, until

from chargers_sim import line as lines
from chargers_sim.deviation import Deviation
from chargers_sim.errors import NotAnswered, NotPossible, StationOffline
from chargers_sim.live import Station
from chargers_sim.outbox import Outbox, Outgoing
from chargers_sim.tasks import end_all

QUICK = {"reconnect": (0.01, 0.1), "retry_seconds": 0.01}


class AtTheAnswer(Deviation):
    """Does something in the very moment in which an answer arrives."""

    def __init__(self) -> None:
        self.do = None

    def received(self, station, text) -> None:
        if self.do is not None and json.loads(text)[0] == 3:
            do, self.do = self.do, None
            do()


def attentive(url, **more) -> tuple[Station, AtTheAnswer]:
    cp, moment = Station(url, "CP1", **{**QUICK, **more}), AtTheAnswer()
    cp.deviations.append(moment)
    return cp, moment


@pytest.mark.parametrize("lean", [False, True])
async def test_a_line_left_in_the_moment_of_an_answer_is_followed_by_another(loose, lean) -> None:
    """Q4: the second socket is opened just as the answer on the first comes in."""
    cp, moment = attentive(loose.url, lean=lean)
    await cp.open()
    first = cp.line
    moment.do = cp.link._leave.set
    await asyncio.gather(cp.call("Heartbeat"), return_exceptions=True)

    await until(lambda: cp.is_online and cp.line is not first)
    async with asyncio.timeout(LONG):
        await cp.call("Heartbeat")
        await cp.close()
    assert loose.connections == 2


@pytest.mark.parametrize("lean", [False, True])
async def test_a_station_closed_in_the_moment_of_an_answer_is_closed(loose, lean) -> None:
    cp, moment = attentive(loose.url, lean=lean)
    await cp.open()
    closing = []
    moment.do = lambda: closing.append(asyncio.create_task(cp.close()))
    await asyncio.gather(cp.call("Heartbeat"), return_exceptions=True)

    async with asyncio.timeout(LONG):
        await closing[0]
    assert not cp._owned


async def test_a_task_that_loses_a_cancellation_is_ended_all_the_same() -> None:
    deaf_to = 2

    async def hard_of_hearing() -> None:
        nonlocal deaf_to
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                deaf_to -= 1
                if deaf_to < 0:
                    raise

    task = asyncio.create_task(hard_of_hearing())
    await asyncio.sleep(0)
    async with asyncio.timeout(LONG):
        await end_all([task])
    assert task.cancelled()


async def test_who_is_cancelled_while_ending_tasks_passes_it_on_afterwards() -> None:
    ended = asyncio.Event()

    async def slow_to_go() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            ended.set()

    task = asyncio.create_task(slow_to_go())
    await asyncio.sleep(0)
    ending = asyncio.create_task(end_all([task]))
    await asyncio.sleep(0)
    ending.cancel()
    await asyncio.wait([ending], timeout=LONG)
    assert ending.cancelled()
    assert task.done()


async def test_a_call_without_an_answer_ends_even_if_the_station_stays_away(loose) -> None:
    """Q5: nobody will ever answer a station that does not come back."""
    cp = Station(loose.url, "CP1", quirks=["no-return-after-close"], **QUICK)
    async with cp:
        await loose.sockets[-1].close()
        await cp.wait_for("stays_away")
        with pytest.raises(NotAnswered, match="Heartbeat"):
            await cp.call("Heartbeat", timeout=0.1)
        assert len(cp.outbox) == 0


async def test_a_line_held_down_while_it_is_dialled_stays_down(loose, monkeypatch) -> None:
    from chargers_sim import link

    dialled, go_on, dial = asyncio.Event(), asyncio.Event(), link.dial

    async def slow_dial(address, **how):
        connection = await dial(address, **how)
        dialled.set()
        await go_on.wait()
        return connection

    cp = Station(loose.url, "CP1", **QUICK)
    monkeypatch.setattr(link, "dial", slow_dial)
    cp.start()
    async with asyncio.timeout(LONG):
        await dialled.wait()
    await cp.cut()
    go_on.set()
    async with asyncio.timeout(LONG):
        await loose.sockets[0].wait_closed()
    assert cp.line is None
    await cp.reconnect()
    await cp.close()


async def test_a_server_that_reads_nothing_does_not_hold_a_station(monkeypatch, loose) -> None:
    monkeypatch.setattr(lines, "WRITE_SECONDS", 0.2)
    monkeypatch.setattr(lines, "CLOSE_SECONDS", 0.1)
    cp = Station(loose.url, "CP1", **QUICK)
    await cp.open()
    loose.sockets[-1].transport.pause_reading()

    async def fill() -> None:
        for _ in range(200):
            await cp.raw("x" * 1_000_000)

    with pytest.raises(StationOffline):
        await fill()
    async with asyncio.timeout(LONG):
        await cp.close()


async def test_settled_means_that_the_answer_led_to_nothing_more() -> None:
    outbox = Outbox()

    def put(action, then=None) -> Outgoing:
        message = Outgoing(action=action, payload={}, on_answer=then)
        outbox.put(message)
        return message

    first = put("StartTransaction", lambda _: put("StopTransaction"))
    settled = asyncio.create_task(outbox.emptied())
    await asyncio.sleep(0)
    outbox.remove(first)
    first.resolve({})
    await asyncio.sleep(0.01)
    assert not settled.done()
    outbox.remove(outbox.head)
    async with asyncio.timeout(LONG):
        await settled


async def test_a_wrong_step_leaves_no_task_behind(loose) -> None:
    async with Station(loose.url, "CP1", **QUICK) as cp:
        with pytest.raises(NotPossible):
            await cp.charge(kwh=1, seconds=60)
    assert not cp._owned
