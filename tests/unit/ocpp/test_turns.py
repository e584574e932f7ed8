"""The rates at which stations are asked for what they have not told."""

import asyncio

from cpo.ocpp import care


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
