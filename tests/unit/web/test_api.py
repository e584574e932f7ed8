"""The operator API (contract section 4), over the real services and a store in memory."""

import asyncio
import io
import json
import re
from datetime import timedelta
from decimal import Decimal

import pytest
from charging import NOON
from operating import ADMIN, OPERATE, READ, Operating

from cpo.domain.command import Outcome, Reply
from cpo.domain.events import EventKind, IdToken, TransactionEvent
from cpo.domain.values import replace
from cpo.errors import StationRefused, StationTimeout, StoreUnavailable
from cpo.services.ports import Audit, DirtyMark, Frame, Kind, StationDocument, Work

API = "/api/v1"
TARIFF = {
    "currency": "EUR",
    "elements": [{"price_components": [{"type": "ENERGY", "price": 0.30, "step_size": 1}]}],
}


@pytest.fixture
async def world():
    made = Operating()
    await made.client.start_server()
    yield made
    await made.charging.commands.close()
    await made.charging.stations.close()
    await made.client.close()


@pytest.fixture
async def site(world):
    await world.charging.site(evses=1)
    return world


EVSE = "CP1-uid-1-x"


async def charged(world, *, partner=True):
    """Play a charge of 10 kWh, and return its CDR's id."""
    if partner:
        world.charging.partner()
    await world.charging.token()
    begin = TransactionEvent(
        kind=EventKind.STARTED, at=NOON, received_at=NOON, evse_id=1, connector_id=1,
        id_token=IdToken("TAG"), meter_wh=Decimal(1000),
    )  # fmt: skip
    answer = await world.charging.told(begin)
    at = NOON + timedelta(hours=1)
    end = TransactionEvent(
        kind=EventKind.ENDED, at=at, received_at=at, transaction=answer.transaction,
        meter_wh=Decimal(11_000),
    )  # fmt: skip
    await world.charging.told(end)
    _, page, _ = await world.ask("GET", f"{API}/cdrs")
    return page["items"][0]["id"]


# --- who may -----------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer wrong-key"])
async def test_without_a_known_key_nothing_is_told(world, header):
    """S26."""
    headers = {"Authorization": header} if header is not None else {}

    status, problem, answer = await world.ask("GET", f"{API}/stations", key=None, headers=headers)

    assert status == 401
    assert answer["Content-Type"].startswith("application/problem+json")
    assert answer["WWW-Authenticate"].startswith("Bearer")
    assert "items" not in problem


@pytest.mark.parametrize(
    ("key", "method", "path", "allowed"),
    [
        (READ, "GET", "/stations", True),
        (READ, "PUT", "/stations/CP9", False),
        (READ, "POST", f"/evses/{EVSE}/unlock", False),
        (READ, "GET", "/audit", False),
        (READ, "POST", "/stations/CP1/call", False),
        (OPERATE, "GET", "/stations", True),
        (OPERATE, "POST", f"/evses/{EVSE}/unlock", True),
        (OPERATE, "PUT", "/stations/CP9", False),
        (ADMIN, "PUT", "/stations/CP9", True),
        (ADMIN, "POST", f"/evses/{EVSE}/unlock", True),
    ],
)
async def test_scopes_say_what_a_key_may_do(site, key, method, path, allowed):
    """S12: also who may tell a station from where to take firmware and where to put its logs."""
    status, _, _ = await site.ask(method, API + path, {} if method != "GET" else None, key=key)

    assert (status != 403) == allowed


async def test_guessing_keys_is_slowed_down_but_does_not_lock_out_who_is_in(world):
    """S2, S26: the limit holds for the address, not for a key that it used before."""
    await world.ask("GET", f"{API}/stations")
    statuses = [(await world.ask("GET", f"{API}/stations", key=f"guess-{n}"))[0] for n in range(40)]

    assert statuses.count(401) == 20
    assert statuses[-1] == 429
    assert (await world.ask("GET", f"{API}/stations"))[0] == 200
    assert (await world.ask("GET", f"{API}/stations", key=READ))[0] == 429

    world.time += 60
    assert (await world.ask("GET", f"{API}/stations", key=READ))[0] == 200


async def test_a_key_with_strange_characters_is_unknown_not_an_error(world):
    """S14."""
    assert (await world.ask("GET", f"{API}/stations", key="\u00e9\u00ff"))[0] == 401


# --- stations ----------------------------------------------------------------------------------


async def test_a_station_is_registered_shown_changed_and_removed(world):
    body = {"password": "a-good-long-password", "ocpp_versions": ["1.6"], "security_profile": 1}

    created, shown, _ = await world.ask("PUT", f"{API}/stations/CP1", body)
    changed, again, _ = await world.ask("PUT", f"{API}/stations/CP1", {"security_profile": 2})
    gone, _, _ = await world.ask("DELETE", f"{API}/stations/CP1")
    missing, _, _ = await world.ask("GET", f"{API}/stations/CP1")

    assert (created, changed, gone, missing) == (201, 200, 204, 404)
    assert shown["online"] is False
    assert shown["has_password"]
    assert "password" not in json.dumps(shown).replace("has_password", "").replace(
        "allow_without_password", ""
    )
    assert again["security_profile"] == 2
    assert again["ocpp_versions"] == ["1.6"]
    assert again["has_password"]


async def test_q1_q7_a_stations_habits_are_kept_and_shown(world):
    habits = {"assume_version": "1.6", "pings": "off", "intake": "strict"}
    await world.ask("PUT", f"{API}/stations/CP1", {"habits": habits})
    _, shown, _ = await world.ask("GET", f"{API}/stations/CP1")
    status, _, _ = await world.ask("PUT", f"{API}/stations/CP1", {"habits": {"pings": "maybe"}})

    assert shown["habits"] == habits
    assert status == 422


async def test_a_station_shows_its_evses_with_their_published_status(site):
    link = site.connect("CP1", version="2.0.1")

    _, shown, _ = await site.ask("GET", f"{API}/stations/CP1")

    assert shown["online"] is True
    assert shown["version"] == link.version
    assert [evse["uid"] for evse in shown["evses"]] == [EVSE]
    assert shown["evses"][0]["location"] == "L-CP1"


async def test_removing_a_station_closes_its_connection(site):
    link = site.connect("CP1")

    await site.ask("DELETE", f"{API}/stations/CP1")

    assert link.closed is not None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"passwort": "x"}, "passwort"),
        ({"ocpp_versions": ["1.7"]}, "ocpp_versions[0]"),
        ({"ocpp_versions": []}, "ocpp_versions"),
        ({"security_profile": 4}, "security_profile"),
        ({"security_profile": "1"}, "security_profile"),
        ({"allow_without_password": "yes"}, "allow_without_password"),
        ({"password": ""}, "password"),
        ({"password": "a\0b"}, "password"),
        ({"password": 5}, "password"),
        ([], ""),
        ("x", ""),
    ],
)
async def test_a_bad_station_is_refused_with_the_field_named(world, body, field):
    status, problem, _ = await world.ask("PUT", f"{API}/stations/CP1", body)

    assert status == 422
    assert problem.get("field", "") == field


@pytest.mark.parametrize(
    "raw",
    [b"{", b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000, b'{"a":' * 50 + b"1" + b"}" * 50, b"\x00"],
    ids=["cut", "no utf-8", "nan", "deep list", "deep object", "nul"],
)
async def test_a_body_that_is_no_json_is_a_bad_request(world, raw):
    status, problem, _ = await world.ask("PUT", f"{API}/stations/CP1", raw=raw)

    assert status == 400
    assert problem["status"] == 400


async def test_a_body_that_is_too_large_is_refused(world):
    status, _, _ = await world.ask("PUT", f"{API}/stations/CP1", raw=io.BytesIO(b" " * (1 << 21)))

    assert status == 413


async def test_stations_are_paged_by_identity(world):
    for number in range(5):
        await world.ask("PUT", f"{API}/stations/CP{number}", {})

    _, first, _ = await world.ask("GET", f"{API}/stations?limit=3")
    _, second, _ = await world.ask("GET", f"{API}/stations?limit=3&cursor={first['next_cursor']}")

    assert [s["identity"] for s in first["items"] + second["items"]] == [
        f"CP{number}" for number in range(5)
    ]
    assert second["next_cursor"] is None


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=1001", "limit=-1", "limit=²"])
async def test_a_bad_page_size_is_refused(world, query):
    status, problem, _ = await world.ask("GET", f"{API}/stations?{query}")

    assert (status, problem["field"]) == (422, "limit")


# --- any OCPP request, the frame log -------------------------------------------------------------


async def test_any_request_is_sent_and_answered(site):
    site.connect("CP1", answer={"status": "Accepted"})

    status, answer, _ = await site.ask(
        "POST", f"{API}/stations/CP1/call", {"action": "Reset", "payload": {"type": "Soft"}}
    )

    assert (status, answer) == (200, {"outcome": "result", "payload": {"status": "Accepted"}})
    assert [a.action for a in site.store.all(Audit)][-1] == "call.Reset"


@pytest.mark.parametrize(
    ("raised", "answer"),
    [
        (
            StationRefused("NotSupported", "no"),
            {"outcome": "error", "code": "NotSupported", "description": "no"},
        ),
        (StationTimeout("silent"), {"outcome": "timeout"}),
    ],
)
async def test_what_the_station_does_is_an_outcome_not_an_error(site, raised, answer):
    site.connect("CP1", answer=raised)

    status, told, _ = await site.ask("POST", f"{API}/stations/CP1/call", {"action": "Reset"})

    assert (status, told) == (200, answer)


async def test_a_call_to_a_station_that_is_offline_is_a_conflict(site):
    status, _, _ = await site.ask("POST", f"{API}/stations/CP1/call", {"action": "Reset"})

    assert status == 409


async def test_a_call_to_an_unknown_station_is_not_found(world):
    assert (await world.ask("POST", f"{API}/stations/X/call", {"action": "Reset"}))[0] == 404


@pytest.fixture
async def frames(site):
    work = Work()
    for number in range(6):
        at = NOON + timedelta(seconds=number // 3)
        action = "Heartbeat" if number % 2 else "StatusNotification"
        work.add(Frame("CP1", at, "in", action, f"m{number}", "{}", "{}"))
    await site.store.commit(work)
    return site


async def test_the_frame_log_is_paged_newest_first_without_gap_or_repeat(frames):
    seen, cursor = [], None
    for _ in range(4):
        query = f"limit=2&cursor={cursor}" if cursor else "limit=2"
        _, page, _ = await frames.ask("GET", f"{API}/stations/CP1/messages?{query}")
        seen += [item["message_id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert len(seen) == 6
    assert set(seen[:3]) == {"m3", "m4", "m5"}
    assert set(seen[3:]) == {"m0", "m1", "m2"}


async def test_the_frame_log_is_filtered_by_action_and_time(frames):
    since = "2026-06-01T12:00:01Z"
    _, page, _ = await frames.ask(
        "GET", f"{API}/stations/CP1/messages?action=Heartbeat&since={since}"
    )

    assert sorted(item["message_id"] for item in page["items"]) == ["m3", "m5"]


async def test_the_frame_log_is_exported_as_ndjson(frames):
    _, raw, headers = await frames.ask(
        "GET", f"{API}/stations/CP1/messages", headers={"Accept": "application/x-ndjson"}
    )

    assert headers["Content-Type"] == "application/x-ndjson"
    assert len([json.loads(line) for line in raw.splitlines()]) == 6


@pytest.mark.parametrize(
    "query", ["since=yesterday", "since=2026-01-01T00:00:00", "cursor=x~y", "cursor=W10"]
)
async def test_a_bad_instant_is_refused(frames, query):
    assert (await frames.ask("GET", f"{API}/stations/CP1/messages?{query}"))[0] == 422


# --- locations, tariffs, tokens ------------------------------------------------------------------


async def test_a_tariff_of_another_party_is_refused(world):
    """TAR-1: what we publish is ours; a partner would find no role of ours for it."""
    body = TARIFF | {"country_code": "DE", "party_id": "XYZ"}

    status, problem, _ = await world.ask("PUT", f"{API}/tariffs/T9", body)

    assert status == 422
    assert problem["field"] == "party_id"
    assert (await world.ask("GET", f"{API}/tariffs/T9"))[0] == 404


async def test_a_tariff_comes_back_as_it_was_put(world):
    created, shown, _ = await world.ask("PUT", f"{API}/tariffs/T1", TARIFF)
    _, got, _ = await world.ask("GET", f"{API}/tariffs/T1")

    assert created == 201
    assert shown == got
    assert got["elements"] == TARIFF["elements"]
    assert got["id"] == "T1"


async def test_a_tariff_that_cannot_be_priced_is_refused_with_the_field_named(world):
    body = {**TARIFF, "currency": "XXZ"}

    status, problem, _ = await world.ask("PUT", f"{API}/tariffs/T1", body)

    assert (status, problem["field"]) == (422, "currency")


async def test_a_tariff_in_use_is_not_withdrawn(site):
    assert (await site.ask("DELETE", f"{API}/tariffs/T1"))[0] == 409


async def test_a_location_shows_bindings_and_statuses(site):
    _, shown, _ = await site.ask("GET", f"{API}/locations/L-CP1")

    (evse,) = shown["evses"]
    assert evse["ocpp"] == {"station": "CP1", "evse_id": 1}
    assert evse["status"] == "PLANNED"


async def test_withdrawing_a_location_publishes_removed(site):
    await site.ask("DELETE", f"{API}/locations/L-CP1")

    _, shown, _ = await site.ask("GET", f"{API}/locations/L-CP1")
    assert shown["evses"][0]["status"] == "REMOVED"


async def test_a_bad_location_is_refused_with_the_field_named(site):
    _, shown, _ = await site.ask("GET", f"{API}/locations/L-CP1")
    shown["evses"][0]["connectors"][0]["standard"] = "PLUG"

    status, problem, _ = await site.ask("PUT", f"{API}/locations/L-CP1", shown)

    assert (status, problem["field"]) == (422, "evses[0].connectors[0].standard")


async def test_a_location_can_be_put_back_as_it_was_got(site):
    _, shown, _ = await site.ask("GET", f"{API}/locations/L-CP1")

    status, again, _ = await site.ask("PUT", f"{API}/locations/L-CP1", shown)

    assert status == 200
    assert again["evses"][0]["connectors"] == shown["evses"][0]["connectors"]


async def test_a_token_of_our_own_is_put_and_removed(world):
    body = {"type": "RFID", "contract_id": "NL-CPO-1", "valid": True}

    created, shown, _ = await world.ask("PUT", f"{API}/tokens/04AABB", body)
    _, page, _ = await world.ask("GET", f"{API}/tokens")
    gone, _, _ = await world.ask("DELETE", f"{API}/tokens/04AABB")
    missing, _, _ = await world.ask("GET", f"{API}/tokens/04AABB")

    assert (created, gone, missing) == (201, 204, 404)
    assert shown["partner"] is None
    assert [token["uid"] for token in page["items"]] == ["04AABB"]


# --- partners ------------------------------------------------------------------------------------


async def test_an_invitation_gives_the_token_and_where_to_go(world):
    status, made, _ = await world.ask("POST", f"{API}/partners", {"name": "MSP", "roles": ["EMSP"]})
    _, shown, _ = await world.ask("GET", f"{API}/partners/{made['id']}")

    assert status == 201
    assert made["versions_url"] == "http://127.0.0.1:1/ocpi/versions"
    assert len(made["token_a"]) > 20
    assert shown["status"] == "invited"
    assert made["token_a"] not in json.dumps(shown)


async def test_a_failed_handshake_says_at_which_step(world):
    world.registrar.fails_at = "versions"
    body = {"name": "MSP", "versions_url": "http://msp/versions", "token_a": "secret-token-a"}

    status, problem, _ = await world.ask("POST", f"{API}/partners/connect", body)

    assert status == 502
    assert (problem["step"], problem["detail"]) == ("versions", "the partner answered 500")


async def test_a_partner_never_shows_its_tokens(world):
    """S13."""
    await world.partner()

    _, shown, _ = await world.ask("GET", f"{API}/partners/P1")

    assert "canary" not in json.dumps(shown)
    assert shown["roles"] == [{"role": "EMSP", "country_code": "NL", "party_id": "MSP", "name": ""}]


async def test_a_backlog_says_what_and_why(world):
    await world.partner()
    world.lanes.marks["P1"] = [
        DirtyMark("P1", Kind.CDR, "C1", 7, NOON, attempts=3, last_error="500", parked=True)
    ]

    _, page, _ = await world.ask("GET", f"{API}/partners/P1/backlog")
    _, outbox, _ = await world.ask("GET", f"{API}/outbox")

    (item,) = page["items"]
    assert {k: item[k] for k in ("kind", "object", "attempts", "last_error", "parked")} == {
        "kind": "cdr",
        "object": "C1",
        "attempts": 3,
        "last_error": "500",
        "parked": True,
    }
    assert item["since"] == "2026-06-01T12:00:00Z"
    assert outbox["items"][0]["partner"] == "P1"


async def test_partners_are_rotated_resynchronised_and_removed(world):
    await world.partner()

    assert (await world.ask("POST", f"{API}/partners/P1/rotate"))[0] == 200
    assert (await world.ask("POST", f"{API}/partners/P1/resync"))[0] == 202
    assert (await world.ask("DELETE", f"{API}/partners/P1"))[0] == 204
    assert [told[0] for told in world.registrar.told] == ["rotate", "disconnect"]


@pytest.mark.parametrize("call", ["", "/backlog", "/rotate", "/resync", "/resend"])
async def test_an_unknown_partner_is_not_found(world, call):
    method = "GET" if call in ("", "/backlog") else "POST"
    body = {"kind": "cdr", "object": "x"} if call == "/resend" else None

    assert (await world.ask(method, f"{API}/partners/none{call}", body))[0] == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"versions_url": "http://a", "token_a": "x"}, "name"),
        ({"name": "a", "versions_url": "ftp://a/long", "token_a": "x"}, "versions_url"),
        ({"name": "a", "versions_url": "http://a\r\nb", "token_a": "x"}, "versions_url"),
        ({"name": "a", "versions_url": "http://a/b", "token_a": "x\ny"}, "token_a"),
    ],
)
async def test_a_bad_connection_request_is_refused_with_the_field_named(world, body, field):
    """S19."""
    status, problem, _ = await world.ask("POST", f"{API}/partners/connect", body)

    assert (status, problem["field"]) == (422, field)


# --- commands ------------------------------------------------------------------------------------


async def finished(world, command):
    for _ in range(200):
        _, shown, _ = await world.ask("GET", f"{API}/commands/{command['id']}")
        if shown["state"] == "done":
            return shown
    raise AssertionError("the command did not end")


async def test_a_command_is_a_resource_with_its_outcome(site):
    link = site.connect("CP1")
    await site.charging.token()

    status, command, headers = await site.ask(
        "POST", f"{API}/evses/{EVSE}/start", {"token": "TAG", "connector_id": "1"}
    )
    done = await finished(site, command)

    assert status == 202
    assert headers["Location"] == f"{API}/commands/{command['id']}"
    assert done["outcome"] == "ACCEPTED"
    (sent,) = link.executed
    assert (sent.kind, sent.evse_id, sent.id_token) == ("start", 1, "TAG")
    assert [a.action for a in site.store.all(Audit)][-1] == "command.start"


async def test_the_same_idempotency_key_sends_nothing_twice(site):
    """P6."""
    link = site.connect("CP1")
    headers = {"Idempotency-Key": "k1"}

    first = await site.ask("POST", f"{API}/evses/{EVSE}/unlock", {}, headers=headers)
    await finished(site, first[1])
    second = await site.ask("POST", f"{API}/evses/{EVSE}/unlock", {}, headers=headers)
    other = await site.ask("POST", f"{API}/evses/{EVSE}/unlock", {}, headers=headers, key=OPERATE)
    await finished(site, other[1])

    assert second[1]["id"] == first[1]["id"]
    assert other[1]["id"] != first[1]["id"]
    assert len(link.executed) == 2


async def test_repeats_at_the_same_moment_send_nothing_twice(site):
    """P6."""
    link = site.connect("CP1")
    headers = {"Idempotency-Key": "k1"}

    answers = await asyncio.gather(
        *(site.ask("POST", f"{API}/evses/{EVSE}/unlock", {}, headers=headers) for _ in range(5))
    )
    await finished(site, answers[0][1])

    assert len({command["id"] for _, command, _ in answers}) == 1
    assert len(link.executed) == 1


async def test_a_command_to_a_station_that_is_offline_ends_at_once(site):
    _, command, _ = await site.ask("POST", f"{API}/evses/{EVSE}/unlock", {})

    assert (command["state"], command["outcome"]) == ("done", "OFFLINE")


async def test_stop_finds_the_session_that_runs_at_the_evse(site):
    link = site.connect("CP1")
    site.charging.partner()
    await site.charging.token()
    begin = TransactionEvent(
        kind=EventKind.STARTED, at=NOON, received_at=NOON, evse_id=1, connector_id=1,
        id_token=IdToken("TAG"), meter_wh=Decimal(0),
    )  # fmt: skip
    answer = await site.charging.told(begin)

    _, command, _ = await site.ask("POST", f"{API}/evses/{EVSE}/stop")
    await finished(site, command)

    assert link.executed[0].transaction == answer.transaction


async def test_stop_without_a_session_is_a_conflict(site):
    assert (await site.ask("POST", f"{API}/evses/{EVSE}/stop", {}))[0] == 409


@pytest.mark.parametrize(
    ("body", "sent"),
    [({"type": "Soft"}, "OnIdle"), ({"type": "Hard"}, "Immediate"), ({}, "OnIdle")],
)
async def test_a_reset_is_spelled_as_in_ocpp_2(site, body, sent):
    link = site.connect("CP1")

    _, command, _ = await site.ask("POST", f"{API}/stations/CP1/reset", body)
    await finished(site, command)

    assert link.executed[0].parameters["type"] == sent


async def test_a_rejection_is_an_outcome(site):
    site.connect("CP1", reply=Reply(outcome=Outcome.REJECTED, detail="busy"))

    _, command, _ = await site.ask("POST", f"{API}/stations/CP1/reset", {})

    assert (await finished(site, command))["outcome"] == "REJECTED"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (f"/evses/{EVSE}/start", {}, "token"),
        (f"/evses/{EVSE}/start", {"token": {"uid": ""}}, "token"),
        (f"/evses/{EVSE}/reserve", {"token": "T", "expiry_date": "soon"}, "expiry_date"),
        (f"/evses/{EVSE}/availability", {"operational_status": "Off"}, "operational_status"),
        (f"/evses/{EVSE}/unlock", {"connector_id": "9"}, "connector_id"),
        ("/stations/CP1/reset", {"type": "Gently"}, "type"),
        ("/stations/CP1/trigger", {}, "requested_message"),
        ("/stations/CP1/set-variables", {"variables": []}, "variables"),
        ("/stations/CP1/set-variables", {"variables": [{"value": "1"}]}, "variables[0]"),
        ("/stations/CP1/set-charging-profile", {"profile": {}}, "profile.charging"),
        ("/stations/CP1/get-composite-schedule", {}, "duration"),
        ("/stations/CP1/send-local-list", {"version": 0}, "version"),
        ("/stations/CP1/reset", {"timeout": 0}, "timeout"),
    ],
)
async def test_a_bad_command_is_refused_with_the_field_named(site, path, body, field):
    status, problem, _ = await site.ask("POST", API + path, body)

    assert status == 422
    assert problem["field"].startswith(field)


async def test_what_a_station_tells_of_itself_is_shown(site):
    work = Work()
    for number in range(3):
        body = {"attributes": [{"type": "Actual", "value": str(number)}]}
        work.put(StationDocument("CP1", "variable", f"OCPPCommCtrlr/V{number}", body, NOON))
    work.put(StationDocument("CP1", "security-event", "1", {"type": "Tamper"}, NOON))
    await site.store.commit(work)

    _, station, _ = await site.ask("GET", f"{API}/stations/CP1")
    _, events, _ = await site.ask("GET", f"{API}/stations/CP1/documents?kind=security-event")
    _, first, _ = await site.ask("GET", f"{API}/stations/CP1/documents?limit=3")
    query = f"limit=3&cursor={first['next_cursor']}"
    _, second, _ = await site.ask("GET", f"{API}/stations/CP1/documents?{query}")

    assert [v["key"] for v in station["variables"]] == [f"OCPPCommCtrlr/V{n}" for n in range(3)]
    assert station["variables"][2]["attributes"] == [{"type": "Actual", "value": "2"}]
    assert [e["document"] for e in events["items"]] == [{"type": "Tamper"}]
    assert len(first["items"]) + len(second["items"]) == 4


async def test_a_partner_is_probed_and_compared(world):
    await world.partner()
    world.partners.inspector = Inspector()

    _, found, _ = await world.ask("POST", f"{API}/partners/P1/probe")
    _, report, _ = await world.ask("POST", f"{API}/partners/P1/reconcile", {"repair": False})

    assert found["quirks"] == {"trailing_slash": True}
    assert report == {"repaired": False}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"policy": {"version": ["2.2.1"]}}, "policy.version"),
        ({"policy": {"versions": "2.2.1"}}, "policy.versions"),
        ({"policy": {"versions": ["3.0"]}}, "policy.versions"),
        ({"policy": {"locations": [5]}}, "policy.locations"),
        ({"policy": {"strict": "yes"}}, "policy.strict"),
        ({"policy": {"min_cdr_kwh": -1}}, "policy.min_cdr_kwh"),
        ({"quirks": {"slash": True}}, "quirks.slash"),
        ({"quirks": {"page_size": 0}}, "quirks.page_size"),
    ],
)
async def test_habits_and_contracts_that_mean_nothing_are_refused(world, body, field):
    await world.partner()

    status, problem, _ = await world.ask("PATCH", f"{API}/partners/P1", body)

    assert (status, problem["field"]) == (422, field)


async def test_habits_and_contract_of_a_partner_are_changed(world):
    await world.partner()
    body = {"quirks": {"trailing_slash": True}, "policy": {"versions": ["2.2.1"], "strict": True}}

    status, shown, _ = await world.ask("PATCH", f"{API}/partners/P1", body)

    assert status == 200
    assert (shown["quirks"], shown["policy"]) == (body["quirks"], body["policy"])


async def test_a_cdr_too_small_for_the_contract_is_held_back(site):
    """Contract section 5, promise 2: by default every CDR is sent, a policy may suppress some."""
    partner = site.charging.partner()
    site.charging.partners.by_id["P1"] = replace(partner, policy={"min_cdr_kwh": 10.5})
    cdr_id = await charged(site, partner=False)

    _, cdr, _ = await site.ask("GET", f"{API}/cdrs/{cdr_id}")

    assert cdr["hold"] == ["suppressed_by_policy"]
    assert Kind.CDR not in {mark.kind for mark in site.store.marks}


class Inspector:
    async def probe(self, partner):
        return {"tokens": "raw"}, {"trailing_slash": True}

    async def compare(self, partner, *, repair):
        return {"repaired": repair}


@pytest.mark.parametrize("path", ["/evses/none/unlock", "/stations/none/reset", "/commands/none"])
async def test_commands_to_nobody_are_not_found(site, path):
    method = "GET" if path.startswith("/commands") else "POST"

    assert (await site.ask(method, API + path, {} if method == "POST" else None))[0] == 404


# --- sessions and CDRs -----------------------------------------------------------------------------


async def test_a_charge_is_seen_as_session_and_cdr(site):
    cdr_id = await charged(site)

    _, cdr, _ = await site.ask("GET", f"{API}/cdrs/{cdr_id}")
    _, session, _ = await site.ask("GET", f"{API}/sessions/{cdr['session_id']}")
    _, page, _ = await site.ask("GET", f"{API}/sessions")

    assert cdr["kwh"] == 10
    assert cdr["total_cost"] == {"excl_vat": 3, "incl_vat": 3.6}
    assert session["status"] == "COMPLETED"
    assert session["cdr"] == cdr_id
    assert [item["id"] for item in page["items"]] == [session["id"]]


async def test_a_cdr_is_explained_and_credited_once(site):
    cdr_id = await charged(site)

    _, explained, _ = await site.ask("GET", f"{API}/cdrs/{cdr_id}/explain")
    status, credit, _ = await site.ask("POST", f"{API}/cdrs/{cdr_id}/credit")
    _, again, _ = await site.ask("POST", f"{API}/cdrs/{cdr_id}/credit", {})

    assert explained["lines"][0]["dimension"] == "ENERGY"
    assert status == 201
    assert credit["credit"] is True
    assert credit["credit_reference_id"] == cdr_id
    assert again["id"] == credit["id"]


@pytest.mark.parametrize("path", ["/sessions/x", "/cdrs/x", "/cdrs/x/explain"])
async def test_what_is_not_there_is_not_found(world, path):
    assert (await world.ask("GET", API + path))[0] == 404


# --- health, metrics, description ------------------------------------------------------------------


async def test_readiness_tells_its_reasons(world):
    assert (await world.ask("GET", "/health/ready", key=None))[0] == 200

    world.reasons = ["the database does not answer"]
    status, told, _ = await world.ask("GET", "/health/ready", key=None)

    assert status == 503
    assert told == {"ready": False, "reasons": ["the database does not answer"]}
    assert (await world.ask("GET", "/health/live", key=None))[0] == 200


async def test_metrics_count_requests_by_route_not_by_path(world):
    await world.ask("GET", f"{API}/stations/CP-SECRET-1")

    _, raw, headers = await world.ask("GET", "/metrics", key=None)

    text = raw.decode()
    assert headers["Content-Type"].startswith("text/plain")
    assert 'route="/api/v1/stations/{identity}",status="4xx"} 1.0' in text
    assert "CP-SECRET-1" not in text


async def test_metrics_show_what_the_services_know(site):
    site.connect("CP1", version="2.0.1")
    await charged(site)
    _, command, _ = await site.ask("POST", f"{API}/stations/CP1/reset", {})
    await finished(site, command)

    _, raw, _ = await site.ask("GET", "/metrics", key=None)

    text = raw.decode()
    assert 'cpo_ocpp_connections{version="2.0.1"} 1.0' in text
    assert 'cpo_transactions_total{outcome="completed"} 1.0' in text
    assert "cpo_energy_delivered_watt_hours_total 10000.0" in text
    assert "cpo_transactions_active 0.0" in text
    assert 'cpo_commands_total{command="reset",outcome="ACCEPTED"} 1.0' in text
    assert 'cpo_build_info{version="' in text


async def test_every_change_leaves_an_audit_row(site):
    """S28."""
    await site.ask("PUT", f"{API}/stations/CP7", {})
    await site.ask("PUT", f"{API}/tokens/T", {"type": "RFID"})
    await site.ask("POST", f"{API}/partners", {"name": "MSP"})

    _, page, _ = await site.ask("GET", f"{API}/audit?order=oldest")

    assert [(row["actor"], row["action"]) for row in page["items"]][-3:] == [
        ("key:boss", "station.put"),
        ("key:boss", "token.put"),
        ("key:boss", "partner.invited"),
    ]


async def test_a_database_that_is_down_is_said_so(world):
    world.store.fail = StoreUnavailable("no space left")

    status, problem, _ = await world.ask("PUT", f"{API}/stations/CP1", {})

    assert (status, problem["detail"]) == (503, "no space left")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/api/v1/nothing", 404), ("TRACE", "/api/v1/stations", 405)],
)
async def test_what_is_no_call_is_told_as_a_problem(world, method, path, status):
    """S21."""
    got, problem, headers = await world.ask(method, path)

    assert (got, problem["status"]) == (status, status)
    assert "aiohttp" not in str(headers).lower()


async def test_no_answer_tells_the_server_or_may_be_kept(world):
    _, _, headers = await world.ask("GET", f"{API}/stations")

    assert "aiohttp" not in headers.get("Server", "").lower()
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_every_path_parameter_is_a_word():
    from cpo.web.server import ROUTES

    for route in ROUTES:
        assert re.fullmatch(r"(/[a-z-]+|/{[a-z]+})+", route.path), route.path
