"""Single rules of OCPI, each seen from the partner's side of real sockets."""

import asyncio
from decimal import Decimal
from urllib.parse import quote

import pytest
from waiting import LONG, until

from chargers_sim.emsp.journal import ocpi_time, utc_now
from tests.e2e.conftest import double, joined, location, new_site, uid
from tests.e2e.test_ocpi_charging import at_site, charge, of
from tests.e2e.test_ocpi_commands import newer

pytestmark = pytest.mark.asyncio(loop_scope="session")


def token_url(emsp, token_uid):
    country, party = emsp.parties[0]
    base = emsp.endpoint("tokens", "RECEIVER").rstrip("/")
    return f"{base}/{country}/{party}/{quote(token_uid, safe='')}"


def own_token(emsp, letter="A"):
    return emsp.shown_token(emsp.drivers.find(uid(emsp, letter)), emsp.peer.edition)


async def ask(emsp, method, url, *, module="tokens", **options):
    return await emsp.caller().request(
        "rule", method, url, module=module, good_only=False, **options
    )


def lowered(exchange):
    return {name.lower(): value for name, value in exchange.headers.items()}


# --- transport ---


async def test_odd_ids_in_urls_are_encoded_both_ways(cpo, emsp):
    """URL-2."""
    odd = f"04 /#?{emsp.versions[0]}"
    await emsp.send_token({"uid": odd})

    answer = await ask(emsp, "GET", token_url(emsp, odd))

    assert answer.data["uid"] == odd


async def test_modules_are_where_the_version_details_say(cpo):
    """URL-3 and V-1: here under another name of the host than the versions."""
    async with double("2.2.1") as emsp:
        plain = emsp.url_of
        emsp.url_of = lambda path: (
            plain(path)
            if path in ("versions", "2.2.1")
            else plain(path).replace("127.0.0.1", "localhost")
        )
        partner = await joined(cpo, emsp)
        site = await new_site(cpo)
        await emsp.wait_until(lambda: emsp.locations.get(site.location))

        hosts = {lowered(e)["host"].split(":")[0] for e in emsp.journal.received("locations")}
        assert hosts == {"localhost"}
        await cpo.api("DELETE", f"/partners/{partner}")


async def test_every_request_shows_a_token_and_an_id_of_its_own(cpo, emsp):
    """TRANS-2, HDR-1 and HDR-2."""
    site = await new_site(cpo)
    await emsp.wait_until(lambda: emsp.locations.get(site.location))

    headers = [lowered(exchange) for exchange in emsp.journal.received()]
    ids = [header["x-request-id"] for header in headers]
    sent = {exchange.headers["X-Request-ID"] for exchange in emsp.journal.exchanges
            if exchange.direction == "out"}  # fmt: skip

    assert all(header["authorization"].startswith("Token ") for header in headers)
    assert len(set(ids)) == len(ids)
    assert not sent & set(ids)


async def test_routing_headers_are_always_sent_from_2_2_1_on(cpo, emsp):
    """HDR-3."""
    site = await new_site(cpo)
    await emsp.wait_until(lambda: emsp.locations.get(site.location))

    header = lowered(emsp.journal.received("locations", object_id=site.location)[-1])
    assert ("ocpi-from-party-id" in header) is newer(emsp)
    if newer(emsp):
        assert header["ocpi-from-party-id"] == "CPO"
        assert header["ocpi-to-party-id"] == emsp.parties[0][1]


@pytest.mark.parametrize("kind", [None, "application/json; charset=utf-8", "application/json"])
async def test_the_content_type_may_be_missing_or_say_its_charset(cpo, emsp, kind):
    """TRANS-11."""
    headers = emsp.caller()._headers("tokens", with_body=False)
    if kind:
        headers["Content-Type"] = kind
    body = await asyncio.to_thread(_json, own_token(emsp))

    async with emsp.http.put(
        token_url(emsp, uid(emsp)), data=body, headers=headers, skip_auto_headers=["Content-Type"]
    ) as response:
        envelope = await response.json()

    assert (response.status in {200, 201}, envelope["status_code"]) == (True, 1000)


def _json(thing):
    from chargers_sim.emsp import exact

    return exact.dumps(thing)


async def test_header_names_in_any_case_and_missing_routing_are_fine(cpo, emsp):
    """HDR-4, HDR-9 and HDR-10."""
    headers = {
        "aUTHORIZATION": emsp.caller()._headers(None, with_body=False)["Authorization"],
        "x-request-id": "abc",
    }
    async with emsp.http.get(emsp.endpoint("tariffs", "SENDER"), headers=headers) as response:
        envelope = await response.json()

    assert envelope["status_code"] == 1000
    assert response.headers["X-Request-ID"] == "abc"


async def test_another_id_in_the_body_than_in_the_url_is_2001(cpo, emsp):
    """TRANS-17 and TOK-3."""
    answer = await ask(emsp, "PUT", token_url(emsp, "OTHER"), body=own_token(emsp))

    assert (answer.status, answer.status_code) == (200, 2001)


async def test_unknown_things_have_codes_of_their_own(cpo, emsp):
    """TRANS-16 and TRANS-14: 2004 for tokens from 2.2.1 on, 2003 for locations."""
    token = await ask(emsp, "GET", token_url(emsp, "NOBODY"))
    order = await emsp.command("START_SESSION", token=uid(emsp), location_id="NOWHERE")

    assert token.status == 404
    assert token.status_code in ({2000, 2004} if not newer(emsp) else {2004})
    assert order.response["result"] == "REJECTED"


@pytest.mark.parametrize("form", ["{}Z", "{}", "{}.000Z", "{}%2B00:00"])
async def test_dates_in_a_query_are_understood_plain_and_encoded(cpo, emsp, form):
    """PAG-8 and TRANS-22."""
    await new_site(cpo)
    date = form.format("2026-01-01T00:00:00")
    for text in (date, date.replace(":", "%3A")):
        answer = await ask(
            emsp, "GET", f"{emsp.endpoint('tariffs', 'SENDER')}?date_from={text}", module="tariffs"
        )
        assert answer.status_code == 1000
        assert answer.data


async def test_versions_answer_any_token_of_the_partner_and_change_nothing(cpo, emsp):
    """V-2 and V-6."""
    invitation = await cpo.api("POST", "/partners", {"name": f"just looking {emsp.versions}"})
    caller = emsp.caller_for_token("look", invitation["token_a"], emsp.peer.edition)
    for _ in range(3):
        answer = await caller.request("versions", "GET", invitation["versions_url"])
    refused = await caller.request(
        "tariffs", "GET", emsp.endpoint("tariffs", "SENDER"), good_only=False
    )

    assert {entry["version"] for entry in answer.data} == {"2.1.1", "2.2.1", "2.3.0"}
    assert all(entry["url"].startswith(cpo.versions_url.removesuffix("/versions"))
               for entry in answer.data)  # fmt: skip
    assert refused.status == 401
    await cpo.api("DELETE", f"/partners/{invitation['id']}")


# --- credentials ---


async def test_our_credentials_name_us_and_the_token_in_use(cpo, emsp):
    """CRED-10, CRED-11 and CRED-17."""
    url = emsp.endpoint("credentials", "SENDER")
    answer = await emsp.caller(routed=False).request("get", "GET", url, module="credentials")

    assert answer.data["token"] == emsp.peer.token_out
    assert len(answer.data["token"]) <= 64
    assert all("!" <= letter <= "~" for letter in answer.data["token"])
    role = answer.data["roles"][0] if newer(emsp) else answer.data
    assert (role["country_code"], role["party_id"]) == ("NL", "CPO")


async def test_changed_roles_are_taken_over_by_put(cpo):
    """CRED-14."""
    async with double("2.2.1") as emsp:
        partner = await joined(cpo, emsp)
        emsp.parties.append(("BE", emsp.parties[0][1]))

        await emsp.registration.rotate(emsp.peer)

        roles = (await cpo.api("GET", f"/partners/{partner}"))["roles"]
        assert {role["country_code"] for role in roles} == {"NL", "BE"}
        await cpo.api("DELETE", f"/partners/{partner}")


# --- locations, sessions, CDRs, tariffs ---


async def test_a_list_by_date_gives_whole_locations(cpo, emsp):
    """LOC-20 and LOC-14: a change of one EVSE is a change of its Location."""
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        since = ocpi_time(utc_now())
        await charger.fault()

        async def listed():
            found = await emsp.fetch("locations", date_from=since)
            return next((thing for thing in found if thing["id"] == site.location), None)

        whole = await until(listed)

    assert whole["evses"][0]["connectors"][0]["id"] == "1"
    assert whole["last_updated"] >= whole["evses"][0]["last_updated"] >= since


async def test_a_changed_connector_is_a_change_of_its_evse_and_of_its_location(cpo, emsp):
    """LOC-14: and an EVSE whose data stay the same keeps its stamp."""
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        known = await emsp.wait_for_evse(site.evse, status="AVAILABLE")
    body = location(site)
    await cpo.api("PUT", f"/locations/{site.location}", body)
    body["evses"][0]["connectors"][0]["max_amperage"] = 32
    second = dict(body["evses"][0]) | {"uid": f"{site.evse}-B", "evse_id": "NL*CPO*EB"}
    second.pop("ocpp")
    body["evses"].append(second)
    await cpo.api("PUT", f"/locations/{site.location}", body)

    def changed():
        held = emsp.locations.get(site.location)
        evse = held["evses"][0]
        field = "amperage" if emsp.versions == ["2.1.1"] else "max_amperage"
        return held if evse["connectors"][0][field] == 32 else None

    held = await emsp.wait_until(changed)
    evse, connector = held["evses"][0], held["evses"][0]["connectors"][0]
    assert evse["last_updated"] > known["last_updated"]
    assert held["last_updated"] >= evse["last_updated"] >= connector["last_updated"]
    assert connector["last_updated"] > known["last_updated"]

    body["name"] = "Another name"
    await cpo.api("PUT", f"/locations/{site.location}", body)
    renamed = await emsp.wait_until(
        lambda: (
            held if (held := emsp.locations.get(site.location))["name"] == "Another name" else None
        )
    )
    assert renamed["evses"][0]["last_updated"] == evse["last_updated"]
    assert renamed["last_updated"] > held["last_updated"]


async def test_a_flapping_status_is_sent_seldom_and_rightly(cpo, emsp):
    """LOC-34 and OFF-1: the first at once, then the newest."""
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        await emsp.wait_for_evse(site.evse, status="AVAILABLE")
        before = len(emsp.journal.received("locations", object_id=site.location))
        began = asyncio.get_running_loop().time()
        for _ in range(15):
            await charger.fault()
            await charger.available()
        await charger.fault()
        await emsp.wait_for_evse(site.evse, status="OUTOFORDER")
        await asyncio.sleep(0.3)

    windows = (asyncio.get_running_loop().time() - began) / 0.05
    after = len(emsp.journal.received("locations", object_id=site.location)) - before
    assert emsp.locations[site.location]["evses"][0]["status"] == "OUTOFORDER"
    assert after <= windows + 2


async def test_an_unpublished_location_is_not_shown_but_billed(cpo, emsp):
    """LOC-15 and CDR-15."""
    site = await new_site(cpo)
    hidden = location(site) | {"publish": False}
    await cpo.api("PUT", f"/locations/{site.location}", hidden)
    await emsp.send_token({"uid": uid(emsp)})

    await charge(site, uid(emsp))

    await emsp.wait_until(lambda: of(emsp.cdrs, site))
    held = emsp.locations.get(site.location)
    assert held is None or held.get("publish") is False or not newer(emsp)


async def test_sessions_without_a_date_are_refused(cpo, emsp):
    """SES-17 and SES-1: the date is required; what comes is the partner's own."""
    answer = await ask(emsp, "GET", emsp.endpoint("sessions", "SENDER"), module="sessions")
    own = await emsp.fetch("sessions")

    assert (answer.status, answer.status_code) == (200, 2001)
    for session in own:
        contract = session["cdr_token"]["contract_id"] if newer(emsp) else session["auth_id"]
        assert emsp.parties[0][1] in contract


async def test_a_cdr_comes_soon_and_is_repeated_under_its_id(cpo, emsp):
    """CDR-2, CDR-3, CDR-4 and CDR-19."""
    site = await new_site(cpo)
    await emsp.send_token({"uid": uid(emsp)})
    emsp.fail("apply-then-reset", module="cdrs", times=2)
    await charge(site, uid(emsp))
    cdr = await emsp.wait_until(lambda: next(iter(of(emsp.cdrs, site)), None))
    await emsp.wait_until(
        lambda: [e for e in emsp.journal.received("cdrs", object_id=cdr["id"]) if e.status]
    )

    posts = emsp.journal.received("cdrs", method="POST", object_id=cdr["id"])
    assert all(exchange.body == cdr for exchange in posts)
    assert cdr["last_updated"] > (cdr.get("end_date_time") or cdr["stop_date_time"])


async def test_a_session_without_energy_is_billed_too(cpo, emsp):
    """CDR-20."""
    site = await new_site(cpo)
    await emsp.send_token({"uid": uid(emsp)})

    await charge(site, uid(emsp), wh=0, hours=0.5)

    cdr = await emsp.wait_until(lambda: next(iter(of(emsp.cdrs, site)), None))
    assert (cdr["total_energy"], cdr["total_time"]) == (0, Decimal("0.5"))


async def test_a_pull_of_tariffs_shows_exactly_those_in_force(cpo, emsp):
    """TAR-3."""
    site = await new_site(cpo)
    await emsp.wait_until(lambda: emsp.tariffs.get(site.tariff))

    pulled = {thing["id"] for thing in await emsp.fetch("tariffs")}

    assert site.tariff in pulled
    assert pulled >= set(emsp.tariffs)


# --- tokens ---


async def test_a_partner_sees_only_its_own_tokens(cpo, doubles, emsp):
    """TOK-6 and I8."""
    other = next(d for d in doubles.values() if d is not emsp)
    await other.send_token({"uid": uid(other)})
    country, party = other.parties[0]
    base = emsp.endpoint("tokens", "RECEIVER").rstrip("/")

    answer = await ask(emsp, "GET", f"{base}/{country}/{party}/{uid(other)}")

    assert answer.status in {200, 404}
    assert answer.status_code >= 2000
    assert answer.data in (None, [])


async def test_a_token_both_emsps_pushed_is_billed_once(cpo, doubles, emsp):
    """TOK-5: the same card at two eMSPs is kept twice and used once."""
    other = next(d for d in doubles.values() if d is not emsp)
    card = f"04SAME{emsp.parties[0][1]}"
    for partner in (emsp, other):
        await partner.send_token({"uid": card, "whitelist": "ALWAYS"})
    site = await new_site(cpo)

    await charge(site, card)

    def billed():
        return [cdr for partner in (emsp, other) for cdr in of(partner.cdrs, site)]

    await until(billed)
    await asyncio.sleep(0.5)
    assert len(billed()) == 1


async def test_an_unknown_card_is_asked_about_at_those_who_answer(cpo, emsp):
    """TOK-23 and TOK-26; a 2.1.1 partner gives no token back, so it cannot be billed."""
    card = f"04FRESH{emsp.parties[0][1]}"
    await emsp.send_token({"uid": card}, push=False)
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        word = await charger.ask(card)

    assert word == ("Accepted" if newer(emsp) else "Invalid")
    if newer(emsp):
        assert [e["uid"] for e in emsp.authorizations if e["uid"] == card] == [card]


async def test_authorize_is_asked_whatever_the_evse_does(cpo, emsp):
    """TOK-21 and TOK-25: the eMSP is told the place, not its state."""
    card = f"04PLACE{emsp.parties[0][1]}"
    await emsp.send_token({"uid": card, "whitelist": "NEVER"})
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        await charger.fault()
        await charger.ask(card)

    asked = next(entry for entry in emsp.authorizations if entry["uid"] == card)
    assert asked["location"] == {"location_id": site.location, "evse_uids": [site.evse]}


async def test_an_authorize_that_names_no_evse_is_asked_with_all_of_the_station(cpo, emsp):
    """TOK-21 and TOK-22: a 2.x Authorize says nothing of the place; one allowed EVSE is enough."""
    card = f"04TWO{emsp.parties[0][1]}"
    await emsp.send_token({"uid": card, "whitelist": "NEVER"})
    site = await new_site(cpo, ocpp="2.0.1")
    entered = location(site)
    (first,) = entered["evses"]
    second = {"uid": f"{site.evse}-b", "evse_id": f"{first['evse_id']}B",
              "ocpp": {"station": site.station, "evse_id": 2}}  # fmt: skip
    await cpo.api(
        "PUT", f"/locations/{site.location}", entered | {"evses": [first, first | second]}
    )
    async with site.charger() as charger:
        await charger.boot()
        word = await charger.ask(card)

    asked = next(entry for entry in emsp.authorizations if entry["uid"] == card)
    assert word == "Accepted"
    assert asked["location"] == {
        "location_id": site.location,
        "evse_uids": [site.evse, second["uid"]],
    }


async def test_a_started_session_is_not_asked_about_again(cpo, emsp):
    """TOK-28, CMD-9 and CMD-19: the command is the authorization."""
    card = f"04CMD{emsp.parties[0][1]}"
    await emsp.send_token({"uid": card, "whitelist": "NEVER", "authorize": "BLOCKED"})
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        order = await emsp.command(
            "START_SESSION", token=card, location_id=site.location, evse_uid=site.evse, wait=LONG
        )
        assert order.outcome == "ACCEPTED"
        await emsp.wait_until(lambda: [s for s in emsp.sessions.values() if at_site(s, site)])
        assert await charger.ask(card) == "Accepted"
        await charger.end(5)

    assert [entry for entry in emsp.authorizations if entry["uid"] == card] == []


# --- commands and hubs ---


async def test_a_result_that_did_not_get_through_is_posted_again(cpo, emsp):
    """CMD-5 and CMD-8: with our token, our ids, and only until it is taken."""
    site = await new_site(cpo)
    emsp.fail("500", module="commands")
    async with site.charger() as charger:
        await charger.boot()
        order = await emsp.command(
            "START_SESSION",
            token=uid(emsp),
            location_id=site.location,
            evse_uid=site.evse,
            wait=LONG,
        )
        await asyncio.sleep(0.3)
        await emsp.wait_until(lambda: [s for s in emsp.sessions.values() if at_site(s, site)])
        await charger.end(5)

    posts = emsp.journal.received("commands", object_id=order.id)
    assert [exchange.status for exchange in posts] == [500, 200]
    assert len(order.results) == 1


async def test_a_response_url_that_is_not_encoded_is_taken_whole(cpo, emsp):
    """CP-9."""
    if not newer(emsp):
        return
    base = emsp.endpoint("chargingprofiles", "RECEIVER").rstrip("/")
    ours = f"{emsp.url}/ocpi/emsp/{emsp.versions[0]}/chargingprofiles/GET/x?a=1&b=2"

    answer = await ask(
        emsp, "GET", f"{base}/NO-SUCH?duration=60&response_url={ours}", module="chargingprofiles"
    )

    assert answer.status_code == 1000
    assert answer.data["result"] == "UNKNOWN_SESSION"


@pytest.mark.parametrize("code", ["4000", "4002", "4003"])
async def test_a_hub_that_cannot_pass_it_on_gets_it_later(cpo, emsp, code):
    """HUB-5."""
    site = await new_site(cpo)
    await emsp.wait_until(lambda: emsp.locations.get(site.location))
    emsp.fail(code, module="locations", object=site.location, times=2)
    async with site.charger() as charger:
        await charger.boot()
        await emsp.wait_for_evse(site.evse, status="AVAILABLE")
