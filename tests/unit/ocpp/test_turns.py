"""The rates at which stations are asked for what they have not told."""

import asyncio

from cpo.domain.station import Boot, Station
from cpo.ocpp import care
from cpo.ocpp.adapter import DIALECTS


async def test_q43_thousands_that_wait_for_their_turn_do_not_all_look_at_the_clock(monkeypatch):
    class Gate:
        open = False
        looks = 0

        def __init__(self, *_):
            pass

        def take(self, _):
            Gate.looks += 1
            return self.open

        def wait(self, _):
            return 0

    monkeypatch.setattr(care, "Bucket", Gate)
    turns = care.Turns(5)
    order = []

    async def one(number):
        await turns.take()
        order.append(number)

    waiting = [asyncio.create_task(one(number)) for number in range(100)]
    for _ in range(50):
        await asyncio.sleep(0)
    assert Gate.looks <= 50

    waiting[1].cancel()  # A station that is gone gives its place up.
    Gate.open = True
    await asyncio.gather(*waiting, return_exceptions=True)

    assert order == [0, *range(2, 100)]


async def test_q43_a_station_is_not_asked_more_than_it_bears(monkeypatch):
    """The pickiest seen drops its line when asked more than three times within ten seconds."""
    now, asked = [0.0], []

    async def sleep(seconds):
        now[0] += seconds

    class Box:
        async def ask(self, action, payload):
            asked.append((now[0], action))
            return {"status": "Accepted"}

    async def uninventoried():
        return False

    async def nothing(*_):
        """Nothing of this is lost or refused here."""

    monkeypatch.setattr(asyncio, "sleep", sleep)
    record = Station(identity="CP1", boot=Boot(vendor="Picky", model="1"))
    await care.Care(delay=10).look_after(
        Box(), care.Heard(booted=True), DIALECTS["2.0.1"],
        find=lambda: record,
        untold=lambda: [(n, 1) for n in range(1, 4)],
        never_told=lambda: [(n, 1) for n in range(4, 7)],
        statuses_lost=nothing,
        status_refused=nothing,
        inventoried=uninventoried,
        transactions=lambda: ["tx-1", "tx-2"],
        lost=nothing,
    )  # fmt: skip

    assert [action for _, action in asked] == [
        *["TriggerMessage"] * 3, *["GetTransactionStatus"] * 2, "GetBaseReport",
        *["TriggerMessage"] * 3,
    ]  # fmt: skip
    times = [at for at, _ in asked]
    assert all(later - earlier > 10 for earlier, later in zip(times, times[3:], strict=False))
