"""AU-12, TOK-30: local lists from the real server to the simulator's stations, and used offline."""

import contextlib

from running import Cpo, password
from waiting import LONG, until

from chargers_sim import Station

VERSIONS = ("1.6", "2.0.1", "2.1")


async def own_token(cpo, uid, **fields):
    await cpo.api(
        "PUT", f"/tokens/{uid}", {"type": "RFID", "contract_id": uid, "valid": True, **fields}
    )


def station(cpo, version):
    name = f"list-{version.replace('.', '')}"
    return Station(cpo.ocpp_url, name, ocpp=version, password=password(name), retry_seconds=0.1)


def sent(one):
    """The lists that the server sent to a station, as (type, version)."""
    return [
        (
            e["request"]["updateType"],
            e["request"].get("listVersion", e["request"].get("versionNumber")),
        )
        for e in one.events
        if e["event"] == "command" and e["action"] == "SendLocalList"
    ]


async def has(cpo, name, version):
    """Wait until the server knows that a station has a version of its list."""

    async def there():
        _, view = await cpo.api("GET", f"/stations/{name}/local-list")
        return (view["state"], view["version"]) == ("in-step", version)

    await until(there)


async def test_au12_lists_follow_the_tokens_are_used_offline_and_outlive_kill_9(tmp_path):
    settings = {"ocpp.refresh_delay": "0.1", "ocpp.local_list.interval": "0.1"}
    async with Cpo(tmp_path, **settings) as cpo, contextlib.AsyncExitStack() as stack:
        names = {version: f"list-{version.replace('.', '')}" for version in VERSIONS}
        await cpo.equip(names.values())
        await own_token(cpo, "STAFF-1", group_id="STAFF")
        await own_token(cpo, "STAFF-2")
        stations = {v: await stack.enter_async_context(station(cpo, v)) for v in VERSIONS}
        for version, one in stations.items():
            await has(cpo, names[version], 1)
            assert set(one.tokens.listed) == {"staff-1", "staff-2"}
            assert one.tokens.listed["staff-1"].group == "STAFF"

        await own_token(cpo, "STAFF-2", valid=False)
        for version, one in stations.items():
            await has(cpo, names[version], 2)
            assert set(one.tokens.listed) == {"staff-1"}
            assert sent(one) == [("Full", 1), ("Differential", 2)]

        await cpo.kill()
        for one in stations.values():
            await until(lambda one=one: not one.is_online)
            assert await one.swipe("STAFF-2") == "Invalid"
            assert await one.swipe("STAFF-1") == "Accepted"
        await cpo.start()
        for one in stations.values():
            await one.online(timeout=LONG)
        await own_token(cpo, "STAFF-3")
        for version, one in stations.items():
            await has(cpo, names[version], 3)
            assert set(one.tokens.listed) == {"staff-1", "staff-3"}
            assert sent(one)[-1] == ("Differential", 3)
            path = f"/stations/{names[version]}/local-list/sync"
            _, view = await cpo.api("POST", path, {"full": True})
            assert (sent(one)[-1], view["version"]) == (("Full", 4), 4)
        _, overview = await cpo.api("GET", "/local-lists")
        assert overview["states"] == {"in-step": 3}
