"""The eMSP double against a fake CPO: what it keeps, answers, records and breaks on demand."""

import asyncio
import contextlib
import json
import socket
from decimal import Decimal

import aiohttp
import pytest

from chargers_sim.emsp import CallFailed, Dialect, Emsp
from tests.support import ocpi_objects as objects
from tests.support.fake_cpo import FakeCpo
from tests.support.waiting import LONG

VERSIONS = ("2.1.1", "2.2.1", "2.3.0")


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture
async def cpo(version):
    async with FakeCpo(version) as cpo:
        yield cpo


@pytest.fixture
async def emsp():
    async with Emsp() as emsp:
        yield emsp


@pytest.fixture
async def pair(emsp, cpo):
    await cpo.register_with(emsp.versions_url, emsp.token_a)
    return emsp, cpo


async def test_a_cpo_registers_with_it(emsp, cpo):
    await cpo.register_with(emsp.versions_url, emsp.token_a)

    assert emsp.peer.edition.version == cpo.version
    assert emsp.peer.party == ("NL", "CPO")
    assert emsp.violations == []


async def test_token_a_is_dead_after_the_registration(pair):
    emsp, cpo = pair

    await cpo.ask("GET", emsp.versions_url, token=emsp.token_a, status=401)


async def test_a_second_post_of_credentials_is_405(pair):
    _emsp, cpo = pair

    url = cpo.partner_endpoints["credentials"]
    await cpo.ask("POST", url, token=cpo.token_out, body=cpo.credentials("x"), status=405)


async def test_it_registers_with_a_cpo(emsp, cpo):
    await emsp.register(cpo.versions_url, cpo.token_in)

    assert emsp.peer.registered
    assert emsp.peer.tokens_in == [cpo.token_out]
    assert emsp.violations == []


async def test_a_failed_registration_leaves_nothing(emsp, cpo):
    cpo.credentials_status = 3001

    with pytest.raises(CallFailed, match="credentials"):
        await emsp.register(cpo.versions_url, cpo.token_in)

    assert not any(peer.registered for peer in emsp.peers)
    assert len(emsp.peers) == 1


async def test_a_location_is_kept_and_its_evse_patched(pair):
    emsp, cpo = pair
    await cpo.push(
        "PUT", "locations", "NL", "CPO", "LOC-1", body=objects.location(cpo.version), status=201
    )

    await cpo.push(
        "PATCH", "locations", "NL", "CPO", "LOC-1", "EVSE-1",
        body={"status": "CHARGING", "last_updated": objects.LATER}, status=200,
    )  # fmt: skip

    location = emsp.locations["LOC-1"]
    assert location["evses"][0]["status"] == "CHARGING"
    assert location["last_updated"] == objects.LATER
    assert emsp.violations == []


async def test_an_unknown_location_is_404_on_patch(pair):
    _, cpo = pair

    answer = await cpo.push(
        "PATCH", "locations", "NL", "CPO", "LOC-9", body={"last_updated": objects.LATER}, status=404
    )

    assert answer["status_code"] == 2003


async def test_what_was_put_can_be_got(pair):
    _, cpo = pair
    tariff = objects.tariff(cpo.version)
    await cpo.push("PUT", "tariffs", "NL", "CPO", "T-1", body=tariff)

    answer = await cpo.push("GET", "tariffs", "NL", "CPO", "T-1", status=200)

    assert answer["data"] == tariff


async def test_a_deleted_tariff_is_gone(pair):
    emsp, cpo = pair
    await cpo.push("PUT", "tariffs", "NL", "CPO", "T-1", body=objects.tariff(cpo.version))

    await cpo.push("DELETE", "tariffs", "NL", "CPO", "T-1", status=200)

    assert emsp.tariffs == {}
    await cpo.push("DELETE", "tariffs", "NL", "CPO", "T-1", status=404)


async def test_periods_of_a_patch_are_appended_from_2_2_1_on(pair):
    emsp, cpo = pair
    body = objects.session(cpo.version) | {"charging_periods": [objects.period()]}
    await cpo.push("PUT", "sessions", "NL", "CPO", "S-1", body=body)

    await cpo.push(
        "PATCH", "sessions", "NL", "CPO", "S-1",
        body={"charging_periods": [objects.period()], "last_updated": objects.LATER},
    )  # fmt: skip

    count = 1 if cpo.version == "2.1.1" else 2
    assert len(emsp.sessions["S-1"]["charging_periods"]) == count


async def test_a_cdr_is_kept_exactly_and_answered_with_its_location(pair):
    emsp, cpo = pair
    cdr = objects.cdr(cpo.version)

    await cpo.push("POST", "cdrs", body=cdr, status=201)

    assert emsp.cdrs["CDR-1"]["total_energy"] == Decimal("1.5")
    assert emsp.violations == []
    found = await cpo.ask("GET", cpo.last.headers["Location"], token=cpo.token_out, status=200)
    assert found["data"] == cdr


async def test_the_same_cdr_twice_is_kept_once(pair):
    emsp, cpo = pair
    for _ in range(2):
        answer = await cpo.push("POST", "cdrs", body=objects.cdr(cpo.version))
        assert answer["status_code"] == 1000

    assert len(emsp.cdrs) == 1
    assert emsp.violations == []


async def test_a_changed_cdr_is_a_violation_and_the_first_one_stays(pair):
    emsp, cpo = pair
    await cpo.push("POST", "cdrs", body=objects.cdr(cpo.version))

    await cpo.push("POST", "cdrs", body=objects.cdr(cpo.version) | {"remark": "changed"})

    assert "remark" not in emsp.cdrs["CDR-1"]
    assert ["CDR-1" in violation.problem for violation in emsp.violations] == [True]


async def test_an_invalid_object_is_kept_and_blamed(pair):
    emsp, cpo = pair
    session = objects.session(cpo.version) | {"currency": "EURO"}

    await cpo.push("PUT", "sessions", "NL", "CPO", "S-1", body=session, status=201)

    assert emsp.sessions["S-1"]["currency"] == "EURO"
    assert [violation.path for violation in emsp.violations] == ["currency"]


async def test_a_strict_partner_refuses_an_invalid_object(cpo):
    async with Emsp(dialect=Dialect(refuse_invalid=True)) as emsp:
        await cpo.register_with(emsp.versions_url, emsp.token_a)
        session = objects.session(cpo.version) | {"currency": "EURO"}

        answer = await cpo.push("PUT", "sessions", "NL", "CPO", "S-1", body=session, status=200)

        assert answer["status_code"] == 2001
        assert emsp.sessions == {}


async def test_a_foreign_party_in_the_url_is_blamed(pair):
    emsp, cpo = pair

    await cpo.push("PUT", "tariffs", "DE", "XYZ", "T-1", body=objects.tariff(cpo.version))

    assert "DE/XYZ is no party of this platform" in str(emsp.violations[0])


async def test_ids_with_slashes_and_spaces_are_understood(pair):
    emsp, cpo = pair
    id_ = "T/1 #x"

    await cpo.push("PUT", "tariffs", "NL", "CPO", id_, body=objects.tariff(cpo.version, id_))

    assert list(emsp.tariffs) == [id_]
    assert emsp.violations == []


async def test_a_body_that_is_no_json_is_400(pair):
    emsp, cpo = pair

    await cpo.push("PUT", "tariffs", "NL", "CPO", "T-1", body=b"{", status=400)

    assert emsp.tariffs == {}


async def test_an_unknown_token_is_401(pair):
    emsp, cpo = pair

    answer = await cpo.ask("GET", emsp.versions_url, token="wrong", status=401)

    assert answer["status_code"] == 2000


async def test_tokens_are_served_in_pages(cpo):
    async with Emsp(dialect=Dialect(page_size=3)) as emsp:
        await cpo.register_with(emsp.versions_url, emsp.token_a)
        first = await cpo.push("GET", "tokens", status=200)
        link = cpo.last.headers["Link"]

        assert len(first["data"]) == 3
        assert cpo.last.headers["X-Total-Count"] == str(len(emsp.drivers))
        assert cpo.last.headers["X-Limit"] == "3"
        second = await cpo.ask("GET", link.split(">")[0][1:], token=cpo.token_out, status=200)
        assert second["data"][0]["uid"] not in {token["uid"] for token in first["data"]}


async def test_a_valid_token_is_allowed_and_a_blocked_one_not(pair):
    emsp, cpo = pair
    body = {"location_id": "LOC-1", "evse_uids": ["EVSE-1"]}

    good = await cpo.push("POST", "tokens", "04A1B2C3D4E5F6", "authorize", body=body)
    bad = await cpo.push("POST", "tokens", "04BLOCKED00001", "authorize", body=body)

    assert good["data"]["allowed"] == "ALLOWED"
    assert bad["data"]["allowed"] == "BLOCKED"
    assert [entry["uid"] for entry in emsp.authorizations] == ["04A1B2C3D4E5F6", "04BLOCKED00001"]
    assert emsp.violations == []


async def test_an_authorization_can_be_told_what_to_answer(pair):
    emsp, cpo = pair
    await emsp.send_token(
        {"uid": "04NEW", "authorize": {"allowed": "NO_CREDIT", "delay": 0.01}}, push=False
    )

    answer = await cpo.push("POST", "tokens", "04NEW", "authorize", body={"location_id": "LOC-1"})

    assert answer["data"]["allowed"] == "NO_CREDIT"


async def test_an_unknown_token_is_404_with_2004(pair):
    _, cpo = pair

    answer = await cpo.push(
        "POST", "tokens", "NOBODY", "authorize", body={"location_id": "LOC-1"}, status=404
    )

    assert answer["status_code"] == 2004


async def test_a_changed_token_is_pushed(pair):
    emsp, cpo = pair

    await emsp.send_token({"uid": "04 X/1", "valid": False})

    method, path, body, _ = cpo.seen[-1]
    assert method == "PUT"
    assert path.startswith(f"/{cpo.version}/tokens/NL/MSP/04%20X%2F1")
    assert body["valid"] is False
    assert ("contract_id" in body) is (cpo.version != "2.1.1")


async def test_a_command_is_sent_and_its_result_awaited(pair):
    emsp, cpo = pair

    order = await emsp.command("START_SESSION", token="04A1B2C3D4E5F6", location_id="LOC-1")

    assert order.outcome == "ACCEPTED"
    assert cpo.seen[-1][2]["token"]["uid"] == "04A1B2C3D4E5F6"


async def test_a_second_result_of_a_command_is_blamed(pair):
    emsp, cpo = pair
    cpo.command_results *= 2

    await emsp.command("UNLOCK_CONNECTOR", location_id="L", evse_uid="E", connector_id="1")

    assert any("second result" in violation.problem for violation in emsp.violations)


async def test_a_result_in_an_envelope_is_blamed_and_understood(pair):
    """CMD-4: the result is posted as the bare object."""
    emsp, cpo = pair
    cpo.command_results = [
        {"data": {"result": "REJECTED"}, "status_code": 1000, "timestamp": objects.STAMP}
    ]

    order = await emsp.command("STOP_SESSION", session_id="S-1")

    assert order.outcome == "REJECTED"
    assert any("envelope" in violation.problem for violation in emsp.violations)


async def test_it_pulls_by_following_links(pair):
    emsp, cpo = pair
    cpo.lists["locations"] = [objects.location(cpo.version, f"L-{n}") for n in range(5)]

    pulled = await emsp.pull(["locations"])

    assert pulled["locations"] == {"count": 5, "pages": 3, "total": "5"}
    assert list(emsp.locations) == [f"L-{n}" for n in range(5)]
    assert emsp.violations == []


async def test_a_full_pull_replaces_what_was_held(pair):
    """PAG-7: what is missing in a complete pull is no longer valid."""
    emsp, cpo = pair
    await cpo.push("PUT", "tariffs", "NL", "CPO", "OLD", body=objects.tariff(cpo.version, "OLD"))
    cpo.lists["tariffs"] = [objects.tariff(cpo.version, "NEW")]

    await emsp.pull(["tariffs"])

    assert list(emsp.tariffs) == ["NEW"]


@pytest.mark.parametrize(
    ("do", "http", "code"),
    [
        pytest.param("500", 500, 3000, id="server error"),
        pytest.param("429", 429, 2000, id="too many"),
        pytest.param("2001", 200, 2001, id="refused inside the envelope"),
        pytest.param("3000", 200, 3000, id="failed inside the envelope"),
    ],
)
async def test_a_status_on_demand_comes_once_and_applies_nothing(pair, do, http, code):
    emsp, cpo = pair
    emsp.fail(do, module="tariffs", retry_after=7)
    tariff = objects.tariff(cpo.version)

    answer = await cpo.push("PUT", "tariffs", "NL", "CPO", "T-1", body=tariff, status=http)

    assert answer["status_code"] == code
    assert emsp.tariffs == {}
    record = emsp.journal.received("tariffs")[-1]
    assert (record.read, record.applied, record.fault) == (True, False, do)
    assert record.body["id"] == "T-1"
    if do == "429":
        assert cpo.last.headers["Retry-After"] == "7"
    await cpo.push("PUT", "tariffs", "NL", "CPO", "T-1", body=tariff, status=201)


@pytest.mark.parametrize("do", ["reset", "apply-then-reset", "timeout", "apply-then-timeout"])
async def test_a_cut_connection_applies_only_when_told(pair, do):
    emsp, cpo = pair
    emsp.fail(do, module="tariffs", seconds=0.01)

    with pytest.raises(aiohttp.ClientError):
        await cpo.push("PUT", "tariffs", "NL", "CPO", "T-1", body=objects.tariff(cpo.version))

    record = emsp.journal.received("tariffs")[-1]
    assert record.read is (do != "reset")
    assert record.applied is do.startswith("apply")
    assert bool(emsp.tariffs) is do.startswith("apply")


async def test_html_and_redirects_on_demand(pair):
    emsp, cpo = pair
    url = f"{cpo.partner_endpoints['tariffs']}/NL/CPO/T-1"
    emsp.fail("html")
    emsp.fail("redirect")
    headers = {"Authorization": f"Token {cpo.token_out}"}

    async with cpo.http.get(url, headers=headers) as page:
        assert page.content_type == "text/html"
    async with cpo.http.get(url, headers=headers, allow_redirects=False) as moved:
        assert moved.status == 302


async def test_a_fault_strikes_only_the_named_object(pair):
    emsp, cpo = pair
    emsp.fail("500", object="T-2", times=None)

    await cpo.push("PUT", "tariffs", "NL", "CPO", "T-1", body=objects.tariff(cpo.version))
    await cpo.push(
        "PUT", "tariffs", "NL", "CPO", "T-2", body=objects.tariff(cpo.version, "T-2"), status=500
    )
    emsp.fail("503", object="CDR-1")
    await cpo.push("POST", "cdrs", body=objects.cdr(cpo.version), status=503)


async def test_requests_in_flight_at_once_for_one_object_are_seen(pair):
    """I7: never two requests in flight for one object."""
    emsp, cpo = pair
    emsp.fail("slow", times=None, seconds=0.5)
    tariff = objects.tariff(cpo.version)

    await asyncio.gather(
        *(cpo.push("PUT", "tariffs", "NL", "CPO", "T-1", body=tariff) for _ in range(2)),
        cpo.push("PUT", "tariffs", "NL", "CPO", "T-2", body=objects.tariff(cpo.version, "T-2")),
    )

    assert [first.object for first, _ in emsp.journal.overlaps()] == ["tariffs/NL/CPO/T-1"]


async def test_a_cdr_can_be_waited_for(pair):
    emsp, cpo = pair

    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(emsp.wait_for_cdr("CDR-1"))
        tasks.create_task(cpo.push("POST", "cdrs", body=objects.cdr(cpo.version)))

    assert waiting.result()["id"] == "CDR-1"


async def test_an_uncoded_token_is_blamed_but_understood():
    """TRANS-3 and TRANS-4."""
    async with Emsp() as emsp, FakeCpo("2.2.1") as cpo:
        await cpo.register_with(emsp.versions_url, emsp.token_a)
        headers = {"Authorization": f"Token {cpo.token_out}"}

        async with cpo.http.get(cpo.partner_endpoints["tokens"], headers=headers) as response:
            assert response.status == 200

        assert "Base64 expected" in str(emsp.violations[0])


async def test_tokens_are_renewed_by_the_cpo_with_an_overlap(pair):
    """CRED-8: the old token works until the new one is first used."""
    emsp, cpo = pair
    old = cpo.token_out
    url = cpo.partner_endpoints["credentials"]

    answer = await cpo.ask("PUT", url, token=old, body=cpo.credentials(cpo.token_in))
    await cpo.ask("GET", emsp.versions_url, token=old, status=200)
    await cpo.ask("GET", emsp.versions_url, token=answer["data"]["token"], status=200)

    await cpo.ask("GET", emsp.versions_url, token=old, status=401)


async def test_tokens_are_renewed_from_our_side(pair):
    emsp, cpo = pair
    old = cpo.token_out

    await emsp.registration.rotate(emsp.peer)

    assert cpo.token_out != old
    await cpo.push("GET", "tokens", status=200)


async def test_the_connection_is_ended_from_either_side(pair):
    _emsp, cpo = pair

    await cpo.ask("DELETE", cpo.partner_endpoints["credentials"], token=cpo.token_out, status=200)

    await cpo.push("GET", "tokens", status=401)


async def test_the_control_api_shows_and_drives_it(pair):
    emsp, cpo = pair
    async with aiohttp.ClientSession(base_url=emsp.url + "/") as http:
        async with http.post("double/faults", json={"match": {"module": "cdrs"}, "do": "500"}) as r:
            assert r.status == 201
        await cpo.push("POST", "cdrs", body=objects.cdr(cpo.version), status=500)
        await cpo.push("POST", "cdrs", body=objects.cdr(cpo.version), status=201)
        async with http.get("double/state") as r:
            state = await r.json()
        async with http.get("double/exchanges", params={"module": "cdrs"}) as r:
            lines = [json.loads(line) for line in (await r.text()).splitlines()]
        async with http.post(
            "double/commands/STOP_SESSION", json={"session_id": "S-1", "wait": 5}
        ) as r:
            order = await r.json()
        async with http.post("double/tokens", json={"uid": "04NEW", "authorize": "BLOCKED"}) as r:
            token = await r.json()

    assert [cdr["id"] for cdr in state["cdrs"]] == ["CDR-1"]
    assert [line["status"] for line in lines] == [500, 201]
    assert lines[0]["headers"]["Content-Type"] == "application/json"
    assert (order["outcome"], order["response"]["result"]) == ("ACCEPTED", "ACCEPTED")
    assert token["uid"] == "04NEW"


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        pytest.param("faults", {"do": "explode"}, "explode", id="unknown fault"),
        pytest.param("faults", {"do": "500", "tims": 2}, "tims", id="unknown key"),
        pytest.param("tokens", {"uid": "1", "colour": "red"}, "colour", id="unknown token field"),
        pytest.param("register", {"versions_url": "http://x"}, "token_a", id="missing token"),
    ],
)
async def test_a_bad_control_request_is_named(emsp, path, body, word):
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{emsp.url}/double/{path}", json=body) as response,
    ):
        assert response.status == 400
        assert word in (await response.json())["error"]


async def test_a_command_without_a_cpo_is_409(emsp):
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{emsp.url}/double/commands/STOP_SESSION", json={}) as response,
    ):
        assert response.status == 409


async def test_connections_that_come_while_it_stops_are_not_lost():
    """asyncio forgets what it accepts in the turn in which it stops to listen."""
    emsp = Emsp(("NL", "ABC"))
    await emsp.start()
    host, port = emsp.url.removeprefix("http://").split(":")
    clients = [socket.create_connection((host, int(port))) for _ in range(20)]
    await asyncio.sleep(0)  # accepted, and not more
    await emsp.stop()
    # A connection that nobody closed would stay open as long as this test waits.
    async with asyncio.timeout(LONG):
        for client in clients:
            client.setblocking(False)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
            client.close()
