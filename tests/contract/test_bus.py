"""The bus: the same tests over one process and over NATS."""

import asyncio
import uuid

import pytest
from waiting import LONG, until

from cpo.bus.choice import open_bus
from cpo.bus.frames import read
from cpo.errors import (
    Conflict,
    Invalid,
    Misconfigured,
    NotFound,
    StationOffline,
    StationRefused,
    StationTimeout,
    StoreUnavailable,
)
from cpo.services.ports import Seat


@pytest.fixture(params=["local", pytest.param("nats", marks=pytest.mark.nats)])
async def nodes(request):
    """Two nodes of one system: the same bus twice where there is only one process."""
    if request.param == "local":
        one = await open_bus("local:")
        two = one
    else:
        url = request.getfixturevalue("nats_url")
        one, two = await open_bus(url), await open_bus(url)
    yield one, two
    await one.close()
    await two.close()


@pytest.fixture
def seat():
    """A station nobody else in this test run has; its name holds what NATS gives a meaning."""
    return Seat(f"CP.*>{uuid.uuid4().hex}", 3)


async def test_a_question_reaches_the_node_that_holds_the_station(nodes, seat):
    one, two = nodes

    async def answer(question):
        return question + b"!"

    await one.serve(seat, answer)

    assert await two.ask(seat, b"reset", timeout=LONG) == b"reset!"
    assert await one.ask(seat, b"", timeout=LONG) == b"!"


async def test_a_station_that_nobody_holds_is_offline_at_once(nodes, seat):
    """D14."""
    with pytest.raises(StationOffline) as offline:
        await nodes[0].ask(seat, b"reset", timeout=LONG)
    assert offline.value.identity == seat.station


async def test_a_released_station_is_offline(nodes, seat):
    async def answer(question):
        return question

    await nodes[0].serve(seat, answer)
    await nodes[0].release(seat)

    with pytest.raises(StationOffline):
        await nodes[1].ask(seat, b"reset", timeout=LONG)


async def test_a_holder_with_an_older_epoch_is_not_asked(nodes, seat):
    """I16: commands go to the newest socket only."""
    asked = []

    async def answer(question):
        asked.append(question)
        return b""

    await nodes[0].serve(Seat(seat.station, seat.epoch - 1), answer)

    with pytest.raises(StationOffline):
        await nodes[1].ask(seat, b"reset", timeout=LONG)
    assert asked == []


async def test_a_silent_holder_is_a_timeout_and_was_asked_once(nodes, seat):
    """P6: never sent again."""
    asked = []

    async def answer(question):
        asked.append(question)
        await asyncio.Event().wait()

    await nodes[0].serve(seat, answer)

    with pytest.raises(StationTimeout):
        await nodes[1].ask(seat, b"reset", timeout=0.05)
    await until(lambda: asked)
    assert asked == [b"reset"]


async def test_a_slow_station_does_not_keep_others_waiting(nodes, seat):
    other = Seat(seat.station + "-other", 1)
    free = asyncio.Event()

    async def slow(question):
        await free.wait()
        return b"slow"

    async def quick(question):
        return b"quick"

    await nodes[0].serve(seat, slow)
    await nodes[0].serve(other, quick)
    waiting = asyncio.create_task(nodes[1].ask(seat, b"", timeout=LONG))
    assert await nodes[1].ask(other, b"", timeout=LONG) == b"quick"
    free.set()

    assert await waiting == b"slow"


@pytest.mark.parametrize(
    "error",
    [
        StationOffline("CP1"),
        StationRefused("NotSupported", "no"),
        StationTimeout("silent"),
        Invalid("payload.type", "is missing"),
        NotFound("evse", "E1"),
        Conflict("busy"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_of_the_holder_reaches_the_asker(nodes, seat, error):
    async def answer(question):
        raise error

    await nodes[0].serve(seat, answer)

    with pytest.raises(type(error)) as raised:
        await nodes[1].ask(seat, b"reset", timeout=LONG)
    assert str(raised.value) == str(error)
    assert vars(raised.value) == vars(error)


async def test_news_reach_all_who_listen(nodes):
    topic = uuid.uuid4().hex
    heard = asyncio.Queue()
    await nodes[0].listen(topic, lambda news: heard.put_nowait(("one", news)))
    await nodes[1].listen(topic, lambda news: heard.put_nowait(("two", news)))
    await nodes[1].tell(topic, b"wake")

    async with asyncio.timeout(30):
        assert {await heard.get(), await heard.get()} == {("one", b"wake"), ("two", b"wake")}


@pytest.mark.nats
async def test_a_bus_that_is_gone_means_offline_not_later(nats_url, seat):
    bus = await open_bus(nats_url)
    await bus.close()

    with pytest.raises(StationOffline):
        await bus.ask(seat, b"reset", timeout=LONG)


async def test_a_bus_that_does_not_answer_is_unavailable():
    with pytest.raises(StoreUnavailable):
        await open_bus("nats://127.0.0.1:1")


async def test_an_unknown_bus_is_refused():
    with pytest.raises(Misconfigured) as refused:
        await open_bus("redis://x")
    assert refused.value.key == "bus.url"


@pytest.mark.parametrize("frame", [b"", b"-", b"-{}", b'-["Unknown","x"]', b"-\xff"])
def test_nonsense_from_another_node_is_a_timeout(frame):
    with pytest.raises(StationTimeout):
        read(frame)
