"""Bad frames are answered with the right code, the connection stays, nothing is lost."""

import asyncio
import json
import os
import random

import pytest

from cpo.db.store import open_store
from cpo.ocpp.adapter import DIALECTS
from tests.support.bad_frames import bad_frames
from tests.support.charging import NOON, Charging
from tests.support.fuzz import Frames, objection
from tests.support.random_charges import Node, read

GENERATED = int(os.environ.get("CPO_FUZZ_FRAMES", "3000"))
FIRST = os.environ.get("CPO_FUZZ_SEED", "1")


async def test_i12_every_bad_frame_gets_its_code_and_the_line_lives(open_backend, version):
    backend = await open_backend(messages_per_second=0)
    await backend.register("CP1")
    charger = await backend.charger(version)
    corpus = bad_frames(version, DIALECTS[version].handlers)
    assert len(corpus) >= 200

    wrong = []
    for number, (name, text, codes) in enumerate(corpus):
        del charger.strays[:]
        await charger.socket.send(text)
        # Whatever it was, the next good call is answered, after it and in order.
        answer = await charger.frame(2, f"alive-{number}", "Heartbeat", {})
        if answer[0] != 3:
            wrong.append((name, "heartbeat", answer))
        got = {"silence"}
        if charger.strays:
            frame = charger.strays[0]
            got = {"result"} if frame[0] == 3 else {frame[2]}
        if not got <= codes:
            wrong.append((name, got, codes))
        # The same id with other content each time is never answered from the cache.
    assert wrong == []
    assert backend.server.online == 1


async def fuzz(store, station, version, seed, count):
    """Send generated frames of one station through the real loop; return what was wrong."""
    node = await Node.start(store, NOON, station)
    session, line = node.connect(station, version)
    line.sent = []
    frames = Frames(random.Random(seed), version, DIALECTS[version].handlers)
    wrong = []
    for number in range(count):
        text = frames.next()
        line.sent.clear()
        session.text_received(text)
        while session.busy:
            await asyncio.sleep(0)
        answers = [json.loads(answer) for answer in line.sent]
        said = objection(version, DIALECTS[version].handlers, text, answers)
        if said is None and not line.open:
            said = "the line was closed"
        if said is not None:
            wrong.append(f"seed {seed}, frame {number}: {said}: {text[:300]!r} {answers}")
        if len(wrong) > 5 or not line.open:
            break
    await node.kill()
    return wrong


@pytest.mark.timeout(7_200)
async def test_i12_i17_every_generated_frame_is_answered_as_it_must_be(tmp_path, version):
    """Good, spoilt, misshapen and garbled frames through the session, the services and SQLite.

    CPO_FUZZ_FRAMES sets how many, over all versions; CPO_FUZZ_SEED repeats a run.
    """
    stations = min(60, max(1, GENERATED // 75))
    store = await open_store(f"sqlite:///{tmp_path}/fuzz.db", vault_key=b"a key for tests")
    house = Charging(store=store)
    house.partner()
    await house.token("TAG")
    for number in range(stations):
        await house.site(f"F{number}", evses=2)
    runs = [
        fuzz(
            store, f"F{number}", version, f"{FIRST}-{version}-{number}", GENERATED // 3 // stations
        )
        for number in range(stations)
    ]
    wrong = [objection_ for found in await asyncio.gather(*runs) for objection_ in found]
    whole = read(store, "PRAGMA quick_check")
    await store.close()

    assert wrong == []
    assert whole == [("ok",)]


async def test_i12_generated_frames_over_a_socket_leave_the_line_open(open_backend, version):
    backend = await open_backend(messages_per_second=0)
    await backend.site("CP1", evses=2)
    await backend.register("CP1")
    charger = await backend.charger(version)
    frames = Frames(random.Random(f"{FIRST}-socket"), version, DIALECTS[version].handlers)

    wrong = []
    for number in range(200):
        text = frames.next()
        if not text.isprintable():
            continue  # what is no UTF-8 text never becomes a message
        del charger.strays[:]
        await charger.socket.send(text)
        answer = await charger.frame(2, f"alive-{number}", "Heartbeat", {})
        strays = [stray for stray in charger.strays if stray[0] != 2]
        said = objection(version, DIALECTS[version].handlers, text, strays)
        if said is not None or answer[0] != 3:
            wrong.append((said, text, strays, answer))
    assert wrong == []
    assert backend.server.online == 1


async def test_s22_bombs_cost_nothing(open_backend):
    backend = await open_backend(messages_per_second=0)
    await backend.register("CP1")
    charger = await backend.charger("1.6")
    bomb = '[2,"b","BootNotification",' + "[" * 100_000 + "]" * 100_000 + "]"
    for number in range(10):
        await charger.socket.send(bomb)
        answer = await charger.frame(2, f"after-{number}", "Heartbeat", {})
        assert answer[0] == 3

    assert backend.server.online == 1
