"""TR-26: the server is told to end while stations are there, and comes back."""

import asyncio
import json

from running import Cpo, password
from waiting import LONG, until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.support.raw_charger import Charger16, Charger201

STATIONS = 100
KINDS = {"down-16": Charger16, "down-201": Charger201}


async def told_to_go(cpo, identity, ready, times):
    """Be connected and ask without a pause until the line is closed.

    Returns how the line was closed, and the calls that were not answered.
    """
    socket = await connect(
        f"{cpo.ocpp_url}/{identity}", subprotocols=["ocpp1.6"], proxy=None, open_timeout=LONG
    )
    asked = answered = 0
    try:
        async with asyncio.timeout(LONG):
            while True:
                await socket.send(json.dumps([2, str(asked), "Heartbeat", {}]))
                asked += 1
                assert json.loads(await socket.recv())[1] == str(answered)
                answered += 1
                ready.add(identity)
    except ConnectionClosed as closed:
        times.append(asyncio.get_running_loop().time())
        return closed.rcvd.code if closed.rcvd else None, asked - answered


async def test_tr26_a_hundred_stations_are_told_one_after_the_other_and_go_on_without_a_boot(
    tmp_path,
):
    """Each by a close frame, spread over the time there is; charges go on after the restart."""
    settings = {"server.drain_timeout": "6", "ocpp.unknown_stations": "register"}
    async with Cpo(tmp_path, **settings) as cpo:
        await cpo.equip(KINDS)
        body = {"type": "RFID", "contract_id": "DRIVER", "valid": True}
        await cpo.api("PUT", "/tokens/DRIVER", body)
        ready, times = set(), []
        others = [
            asyncio.create_task(told_to_go(cpo, f"many-{number}", ready, times))
            for number in range(STATIONS)
        ]
        chargers = [kind(cpo.ocpp_url, name, password(name)) for name, kind in KINDS.items()]
        for charger in chargers:
            await charger.__aenter__()
            charger.go_back(hours=1)
            await charger.boot()
            assert await charger.begin("DRIVER") == "Accepted"
        await until(lambda: len(ready) == STATIONS)

        assert await cpo.stop() == 0
        ends = await asyncio.gather(*others)
        for charger in chargers:
            await charger.__aexit__()
        assert {code for code, _ in ends} == {1001}
        # A call that met the close may go unanswered: it is sent again. More than one never.
        assert {lost for _, lost in ends} <= {0, 1}
        assert max(times) - min(times) > 1

        await cpo.start()
        for charger in chargers:
            await charger.__aenter__()
            charger.pass_time(minutes=30)
            await charger.meter(2000)
            charger.pass_time(minutes=20)
            await charger.end(5000)
            await charger.__aexit__()

        async def billed():
            _, found = await cpo.api("GET", "/cdrs")
            return len(found["items"]) == len(KINDS) and found["items"]

        cdrs = await until(billed)
        _, sessions = await cpo.api("GET", "/sessions")

    assert {session["status"] for session in sessions["items"]} == {"COMPLETED"}
    assert len(sessions["items"]) == len(cdrs) == len(KINDS)
