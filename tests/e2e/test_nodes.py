"""Several nodes on one PostgreSQL and one NATS: two real processes, asked from outside."""

import asyncio
import base64
import contextlib
import itertools

import aiohttp
import pytest
import pytest_asyncio
from several import NatsServer, Pair, ready
from torture import torture
from waiting import LONG, until
from websockets.exceptions import ConnectionClosed

from chargers_sim.emsp.faults import Fault
from tests.conftest import absent
from tests.e2e.conftest import PASSWORD, double, joined, new_site, uid
from tests.support.cpo_process import CpoProcess, Refused
from tests.support.raw_charger import CHARGERS

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.postgres,
    pytest.mark.nats,
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bus():
    if not NatsServer.installed():
        absent("nats", "there is no nats-server on the PATH")
    server = NatsServer()
    server.start()
    await server.started()
    yield server
    server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nodes(tmp_path_factory, module_postgres_url, bus):
    pair = Pair(tmp_path_factory.mktemp("nodes"), module_postgres_url, bus)
    await pair.start()
    yield pair
    await pair.stop()
    for node in pair.nodes:
        assert node.tracebacks() == ""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def emsp(nodes):
    made = double("2.2.1")
    await made.start()
    _, other = await nodes.roles()
    await joined(other, made)
    yield made
    await made.stop()


def at(node, site):
    """This site's charger, connecting to a node."""
    return CHARGERS[site.ocpp](node.urls["ocpp"], site.station, PASSWORD)


def cdrs_of(emsp, site):
    return [cdr for cdr in emsp.cdrs.values() if site.location in str(cdr)]


async def online(node, site, wanted=True):
    async def found():
        shown = await node.api("GET", f"/stations/{site.station}")
        return shown["online"] is wanted

    await until(found)


async def test_both_nodes_say_who_leads(nodes):
    """Health names the leader and the state of bus and database."""
    lead, other = await nodes.roles()
    first, second = await ready(lead), await ready(other)

    assert (first["ready"], second["ready"]) == (True, True)
    assert first["leader"] == second["leader"] == first["node"] != second["node"]
    assert first["bus"] == second["bus"] == "connected"


@pytest.mark.parametrize("ocpp", ["1.6", "2.0.1"])
@pytest.mark.parametrize("holder", ["leader", "other"])
async def test_a_charge_on_one_node_commanded_at_the_other(nodes, emsp, ocpp, holder):
    """D14, CM-22: what is given at any node reaches the station wherever it is."""
    here, there = await nodes.roles()
    if holder == "other":
        here, there = there, here
    site = await new_site(there, ocpp=ocpp)
    async with at(here, site) as charger:
        await charger.boot()
        await online(there, site)
        order = await emsp.command(
            "START_SESSION",
            token=uid(emsp),
            location_id=site.location,
            evse_uid=site.evse,
            wait=LONG,
        )
        assert order.outcome == "ACCEPTED", order.as_json()
        session = await emsp.wait_until(
            lambda: next((s for s in emsp.sessions.values() if site.location in str(s)), None)
        )
        assert session["auth_method"] == "COMMAND"
        action, payload = (
            ("GetConfiguration", {"key": ["HeartbeatInterval"]})
            if ocpp == "1.6"
            else ("ClearCache", {})
        )
        answer = await there.api(
            "POST", f"/stations/{site.station}/call", {"action": action, "payload": payload}
        )
        assert answer["outcome"] == "result"
        stop = await there.api("POST", f"/evses/{site.evse}/stop", {})
        await until(lambda: _done(there, stop["id"]))
        await until(lambda: cdrs_of(emsp, site))

    # The server asks for settings on its own account too, a while after a boot.
    assert charger.got.count((action, payload)) == 1
    assert len(cdrs_of(emsp, site)) == 1


async def _done(node, command):
    shown = await node.api("GET", f"/commands/{command}")
    return shown["outcome"] is not None and shown


@pytest.mark.parametrize("ocpp", ["1.6", "2.0.1"])
async def test_cm22_a_node_that_dies_with_a_command_ends_it_once_for_all(nodes, emsp, ocpp):
    """P6, CM-22: heard but never answered; the caller is told, and nobody sends it again."""
    lead, other = await nodes.roles()
    site = await new_site(lead, ocpp=ocpp)
    async with at(other, site) as charger:
        await charger.boot()
        await online(lead, site)
        charger.mute = True
        command = await lead.api("POST", f"/stations/{site.station}/reset", {"type": "OnIdle"})
        await charger.wait_for("Reset")
        await other.kill()
        done = await until(lambda: _done(lead, command["id"]))
    assert done["outcome"] in {"TIMEOUT", "OFFLINE", "FAILED"}, done
    async with at(lead, site) as charger:
        await charger.boot()
        await online(lead, site)
        path, clear = f"/stations/{site.station}/call", {"action": "ClearCache", "payload": {}}
        await lead.api("POST", path, clear)
        assert charger.count("Reset") == 0
    await other.start()
    await nodes.roles()
    again = await lead.api("GET", f"/commands/{command['id']}")
    assert again["outcome"] == done["outcome"]


async def test_a_station_moves_in_the_middle_of_a_charge(nodes, emsp):
    """OF-05, OF-06, I16: one transaction; the old socket is closed and goes mute."""
    lead, other = await nodes.roles()
    site = await new_site(lead)
    async with at(lead, site) as old:
        await old.boot()
        await old.begin(uid(emsp))
        await old.meter(1000)
        async with at(other, site) as new:
            # The same start again, on both sockets at once: who answers gives the same id.
            start = {
                "connectorId": 1,
                "idTag": uid(emsp),
                "meterStart": 1000,
                "timestamp": "2026-01-05T10:00:00.000Z",
            }
            lingering = asyncio.create_task(old.call("StartTransaction", start))
            new.transaction = (await new.call("StartTransaction", start))["transactionId"]
            await until(lambda: old._socket.close_code)
            if lingering.done():
                with contextlib.suppress(ConnectionClosed):
                    assert lingering.result()["transactionId"] == new.transaction
            lingering.cancel()
            await new.meter(3000)
            stop = await lead.api("POST", f"/evses/{site.evse}/stop", {})
            await until(lambda: _done(lead, stop["id"]))
            assert new.count("RemoteStopTransaction") == 1
            assert old.count("RemoteStopTransaction") == 0
            await until(lambda: len(_ended(emsp, site)) == 2)

    # The charge that was under way at the connector, and the one that began there.
    assert len(cdrs_of(emsp, site)) == len({c["session_id"] for c in cdrs_of(emsp, site)})


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
async def test_of05_of06_a_station_of_2x_moves_in_the_middle_of_a_charge(nodes, emsp, version):
    """OF-05, OF-06: events on both sockets at once are one charge; the old one hears nothing."""
    lead, other = await nodes.roles()
    site = await new_site(lead, ocpp=version)
    async with at(lead, site) as old:
        await old.boot()
        begun, read = old.time(), old.time()
        old.time = lambda: begun
        assert await old.begin(uid(emsp)) == "Accepted"
        old.time = lambda: read
        await old.meter(1000)
        async with at(other, site) as new:
            new.transaction, new._uid = old.transaction, old._uid
            new._after = lambda *_: None
            # The same events again, on both sockets at once, as a station whose answers were lost.
            old._sequence, old.time, new.time = itertools.count(), lambda: begun, lambda: begun
            late = asyncio.create_task(_started_again(old))
            answer = await _started_again(new)
            assert answer["idTokenInfo"]["status"] == "Accepted"
            await until(lambda: old._socket.close_code)
            late.cancel()
            new.time = lambda: read
            await new.meter(1000)
            del new.time
            await new.meter(2000)
            stop = await lead.api("POST", f"/evses/{site.evse}/stop", {})
            await until(lambda: _done(lead, stop["id"]))
            assert new.count("RequestStopTransaction") == 1
            assert old.count("RequestStopTransaction") == 0
            await new.end(3000)
            await until(lambda: cdrs_of(emsp, site) and _ended(emsp, site))

    assert len(_ended(emsp, site)) == 1
    assert [cdr["total_energy"] for cdr in cdrs_of(emsp, site)] == [3]


async def _started_again(charger):
    return await charger._event(
        "Started", "Authorized", 0, {"chargingState": "Charging"}, with_token=True
    )


def _ended(emsp, site):
    return [
        s for s in emsp.sessions.values() if site.location in str(s) and s["status"] == "COMPLETED"
    ]


@pytest.mark.parametrize("victim", ["leader", "other"])
async def test_a_node_is_killed_in_the_middle_of_a_charge(nodes, emsp, victim):
    """Promises 2, 3 and 8: what it held and what it had to send arrives once."""
    lead, other = await nodes.roles()
    dead, alive = (lead, other) if victim == "leader" else (other, lead)
    site = await new_site(alive)
    async with at(dead, site) as charger:
        await charger.boot()
        assert await charger.begin(uid(emsp)) == "Accepted"
        await charger.meter(1000)
        transaction = charger.transaction
        # Unheard of by the partner when the node dies: the other one has to send it.
        emsp.faults.add(Fault(do="500", times=3))
        await charger.meter(2000)
        await dead.kill()
    async with at(alive, site) as charger:
        charger.transaction = transaction
        await charger.meter(3000)
        await charger.end(4000)
        await emsp.wait_until(lambda: cdrs_of(emsp, site))
        await until(lambda: _leads(alive))
        await online(alive, site)
        answer = await alive.api(
            "POST", f"/stations/{site.station}/call", {"action": "ClearCache", "payload": {}}
        )
        assert answer["outcome"] == "result"

    assert [cdr["total_energy"] for cdr in cdrs_of(emsp, site)] == [4]
    assert len(_ended(emsp, site)) == 1
    emsp.faults.clear()
    await dead.start()
    await nodes.roles()


async def _leads(node):
    return (await ready(node))["leading"]


async def test_the_bus_goes_and_comes_back(nodes, emsp, bus):
    """Promise 4: charge points are served without it, the rest fails clearly, and all heals."""
    lead, other = await nodes.roles()
    site = await new_site(lead)
    path = f"/stations/{site.station}/call"
    call = {"action": "ClearCache", "payload": {}}
    async with at(other, site) as charger:
        await charger.boot()
        await online(lead, site)
        bus.stop()
        await until(lambda: _bus(lead, "away"))
        await until(lambda: _bus(other, "away"))

        assert await charger.begin(uid(emsp)) == "Accepted"
        await charger.meter(1000)
        # It is the other node's; the leader hears of it from the database.
        await emsp.wait_until(
            lambda: [s for s in emsp.sessions.values() if site.location in str(s)],
        )
        with pytest.raises(Refused) as refused:
            await lead.api("POST", path, call)
        assert refused.value.status == 409
        with pytest.raises(Refused) as refused:
            await other.api("GET", f"/stations/{site.station}")
        assert refused.value.status == 503
        command = await lead.api("POST", f"/evses/{site.evse}/stop", {})
        done = await until(lambda: _done(lead, command["id"]))
        assert done["outcome"] == "OFFLINE"
        assert charger.count("RemoteStopTransaction") == 0

        bus.start()
        await bus.started()
        await until(lambda: _bus(lead, "connected"))
        await until(lambda: _bus(other, "connected"))
        assert (await until(lambda: _called(other, path, call)))["outcome"] == "result"
        await charger.end(2000)
        await emsp.wait_until(lambda: cdrs_of(emsp, site))

    assert len(cdrs_of(emsp, site)) == 1


async def _called(node, path, call):
    with contextlib.suppress(Refused):
        return await node.api("POST", path, call)


async def _bus(node, state):
    return (await ready(node))["bus"] == state


async def test_what_one_node_is_told_holds_at_the_other(nodes, emsp):
    """Passwords, tokens, tariffs and removals: in force everywhere once they were answered."""
    lead, other = await nodes.roles()
    site = await new_site(other)
    async with at(other, site) as charger:
        await charger.boot()
        assert await charger.ask("OWN-1") == "Invalid"
        await lead.api("PUT", "/tokens/OWN-1", {"type": "RFID", "contract_id": "C1", "valid": True})
        await until(lambda: _asked(charger, "OWN-1", "Accepted"))
        await lead.api(
            "PUT", "/tokens/OWN-1", {"type": "RFID", "contract_id": "C1", "valid": False}
        )
        await until(lambda: _asked(charger, "OWN-1", "Blocked", "Invalid"))
        # Changed and removed by the node in charge, on the word of the other.
        new = "another-station-password-0123456789"
        await lead.api("PUT", f"/stations/{site.station}", {"password": new})
    async with CHARGERS["1.6"](other.urls["ocpp"], site.station, new) as charger:
        await charger.boot()
        await online(lead, site)
        await lead.api("DELETE", f"/stations/{site.station}")
        await until(lambda: charger._socket.close_code)
    with pytest.raises(Refused) as refused:
        await other.api("GET", f"/stations/{site.station}")
    assert refused.value.status == 404


async def _asked(charger, token, *wanted):
    return await charger.ask(token) in wanted


async def test_a_partner_that_polls_any_node_misses_nothing(nodes, emsp):
    """I9: last_updated rises over both nodes, and lists have what was answered."""
    lead, other = await nodes.roles()
    site = await new_site(lead)
    async with at(other, site) as charger:
        await charger.boot()
        for status in ("Unavailable", "Available", "Unavailable"):
            await charger.status(status)
            for node in (other, lead):
                url = node.versions_url.replace("/ocpi/versions", "/ocpi/2.2.1/locations")
                shown = await _location(emsp, url, site)
                wanted = "AVAILABLE" if status == "Available" else "INOPERATIVE"
                assert shown["evses"][0]["status"] == wanted


async def _location(emsp, url, site):
    token = base64.b64encode(emsp.peers[-1].token_out.encode()).decode()
    headers = {"Authorization": f"Token {token}"}
    async with aiohttp.ClientSession(headers=headers) as http, http.get(url) as answer:
        page = (await answer.json())["data"]
    return next(found for found in page if found["id"] == site.location)


async def test_several_nodes_need_postgresql(tmp_path, bus):
    """A clear error that names the setting."""
    node = CpoProcess(tmp_path, environment={"CPO_BUS__URL": bus.url})

    with pytest.raises(RuntimeError, match=r"database\.url"):
        await node.start()
    assert node.tracebacks() == ""


async def test_all_nodes_need_the_same_secret(tmp_path, nodes, bus, module_postgres_url):
    """A node that could not read what the others seal is refused, with the setting named."""
    await nodes.roles()
    environment = {
        "CPO_DATABASE__URL": module_postgres_url,
        "CPO_BUS__URL": bus.url,
        "CPO_SERVER__SECRET_KEY": "another-secret-than-that-of-the-others-01",
    }

    with pytest.raises(RuntimeError, match=r"server\.secret_key"):
        await CpoProcess(tmp_path, environment=environment).start()


async def test_the_books_of_two_nodes_are_right_after_kills(tmp_path, empty_postgres_url, bus):
    """I1 to I7, I22 with two nodes: chargers reconnect to any, either is killed."""
    journal, wrong = await torture(
        tmp_path, seconds=3, seed=7, chargers=4, database=empty_postgres_url, least_kills=1,
        least_stops=5, nodes=2, bus=bus.url,
    )  # fmt: skip

    assert wrong == []
    assert journal.stops() > 4
