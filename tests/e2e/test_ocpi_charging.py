"""Whole charges of both OCPP versions arrive as Sessions and CDRs in every OCPI version."""

import asyncio
from decimal import Decimal

import pytest
from waiting import until

from chargers_sim.emsp.invariants import differences, net, sessions_match_cdrs
from tests.e2e.conftest import VERSIONS, double, joined, new_site, uid

pytestmark = pytest.mark.asyncio(loop_scope="session")


def start_of(thing):
    return thing.get("start_date_time") or thing["start_datetime"]


def end_of(thing):
    return thing.get("end_date_time") or thing.get("end_datetime") or thing.get("stop_date_time")


def at_site(thing, site):
    place = thing.get("cdr_location") or thing.get("location") or {"id": thing.get("location_id")}
    return place["id"] == site.location


def of(things, site):
    return [thing for thing in things.values() if at_site(thing, site)]


async def known(emsp, letter="A"):
    """Push the token, so that the server surely has it, and return its uid."""
    await emsp.send_token({"uid": uid(emsp, letter)})
    return uid(emsp, letter)


async def charge(site, token, *, hours=1.0, wh=10_000):
    """Play a charge of the past: an hour at full power."""
    async with site.charger() as charger:
        await charger.boot()
        charger.go_back(hours=hours + 0.5)
        verdict = await charger.begin(token)
        charger.pass_time(hours=hours / 2)
        await charger.meter(wh // 2)
        charger.pass_time(hours=hours / 2)
        await charger.end(wh)
        return verdict


@pytest.mark.parametrize("ocpp", ["1.6", "2.0.1", "2.1"])
async def test_a_charge_becomes_one_session_and_one_exact_cdr(cpo, emsp, ocpp):
    """I1, I2, I3 and I4: 10 kWh at 0.40 and 1 h at 2.00, 21 % VAT."""
    site = await new_site(cpo, ocpp=ocpp)
    assert await charge(site, await known(emsp)) == "Accepted"

    cdr = await emsp.wait_until(lambda: next(iter(of(emsp.cdrs, site)), None))
    sessions = of(emsp.sessions, site)

    assert [session["status"] for session in sessions] == ["COMPLETED"]
    assert cdr["total_energy"] == sessions[0]["kwh"] == 10
    assert cdr["total_time"] == 1
    assert net(cdr["total_cost"]) == Decimal("6.00")
    assert net(sessions[0]["total_cost"]) == Decimal("6.00")
    if emsp.versions == ["2.2.1"]:
        assert cdr["total_cost"]["incl_vat"] == Decimal("7.26")
    if emsp.versions == ["2.3.0"]:
        assert sum(tax["amount"] for tax in cdr["total_cost"]["taxes"]) == Decimal("1.26")
    assert (start_of(cdr), end_of(cdr)) == (start_of(sessions[0]), end_of(sessions[0]))
    assert cdr["auth_method"] == sessions[0]["auth_method"]


async def test_a_running_session_is_active_and_grows(cpo, emsp):
    """SES-5, SES-7 and SES-8."""
    site = await new_site(cpo)
    token = await known(emsp)
    async with site.charger() as charger:
        await charger.boot()
        charger.go_back(hours=2)
        await charger.begin(token)
        await emsp.wait_until(lambda: of(emsp.sessions, site))
        charger.pass_time(hours=1)
        await charger.meter(4000)
        grown = await emsp.wait_until(
            lambda: next((s for s in of(emsp.sessions, site) if s["kwh"] == 4), None)
        )
        await emsp.wait_for_evse(site.evse, status="CHARGING")

        assert grown["status"] == "ACTIVE"
        await charger.end(5000)
        await emsp.wait_until(lambda: of(emsp.cdrs, site))


async def test_the_final_session_comes_before_its_cdr(cpo, emsp):
    """PUSH-3."""
    site = await new_site(cpo)
    await charge(site, await known(emsp))
    await emsp.wait_until(lambda: of(emsp.cdrs, site))

    session = of(emsp.sessions, site)[0]["id"]
    order = [
        exchange.module
        for exchange in emsp.journal.received()
        if (exchange.module == "cdrs" and session in str(exchange.body))
        or (
            exchange.module == "sessions"
            and session in str(exchange.object)
            and isinstance(exchange.body, dict)
            and exchange.body.get("status") == "COMPLETED"
        )
    ]
    if emsp.versions != ["2.1.1"]:
        assert order == ["sessions", "cdrs"]


async def test_other_partners_hear_nothing_of_it(cpo, doubles, emsp):
    """I8 and PUSH-9: a session and its CDR go to the token's owner only."""
    site = await new_site(cpo)
    await charge(site, await known(emsp))
    await emsp.wait_until(lambda: of(emsp.cdrs, site))

    for other in doubles.values():
        if other is not emsp:
            assert of(other.sessions, site) == []
            assert of(other.cdrs, site) == []
            assert not any(at_site(thing, site) for thing in await other.fetch("sessions"))
            assert not any(at_site(thing, site) for thing in await other.fetch("cdrs"))


async def test_what_was_pushed_of_a_charge_is_what_is_served(cpo, emsp):
    """I10."""
    site = await new_site(cpo)
    await charge(site, await known(emsp))
    await emsp.wait_until(lambda: of(emsp.cdrs, site))

    served = {
        module: [thing for thing in await emsp.fetch(module) if at_site(thing, site)]
        for module in ("sessions", "cdrs")
    }
    assert [len(things) for things in served.values()] == [1, 1]
    ids = {thing["id"] for things in served.values() for thing in things}
    breaches = [b for b in differences(emsp.books, served) if any(i in b.object for i in ids)]
    assert [str(breach) for breach in breaches] == []
    unbilled = [b for b in sessions_match_cdrs(emsp.books) if any(i in b.object for i in ids)]
    assert [str(breach) for breach in unbilled] == []


async def test_a_token_that_is_never_whitelisted_is_asked_about(cpo, emsp):
    """TOK-20 and TOK-21."""
    site = await new_site(cpo)
    await emsp.send_token({"uid": uid(emsp, "C"), "whitelist": "NEVER"})
    before = len(emsp.authorizations)
    async with site.charger() as charger:
        await charger.boot()
        assert await charger.ask(uid(emsp, "C")) == "Accepted"

    asked = emsp.authorizations[before:]
    assert [entry["uid"] for entry in asked] == [uid(emsp, "C")]
    assert asked[0]["location"]["location_id"] == site.location


@pytest.mark.parametrize("word", ["BLOCKED", "EXPIRED", "NO_CREDIT", "NOT_ALLOWED"])
async def test_a_refusal_of_the_emsp_reaches_the_charger(cpo, emsp, word):
    """TOK-22."""
    token = f"{uid(emsp, 'F')}{word[:4]}"
    await emsp.send_token({"uid": token, "whitelist": "NEVER", "authorize": word})
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        assert await charger.ask(token) in {"Blocked", "Expired", "Invalid"}


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_emsp_that_does_not_answer_in_time_closes_the_door(impatient, version):
    """TOK-24: NEVER fails closed."""
    site = await new_site(impatient)
    async with double(version) as emsp, site.charger() as charger:
        partner = await joined(impatient, emsp)
        token = uid(emsp, "G")
        late = {"allowed": "ALLOWED", "delay": 3600}
        await emsp.send_token({"uid": token, "whitelist": "NEVER", "authorize": late})
        await charger.boot()
        assert await charger.ask(token) == "Invalid"
        await impatient.api("DELETE", f"/partners/{partner}")


async def test_an_allowed_offline_token_is_accepted_when_its_emsp_is_away(cpo, emsp):
    """TOK-20."""
    token = uid(emsp, "E")
    await emsp.send_token({"uid": token, "whitelist": "ALLOWED_OFFLINE"})
    emsp.fail("503", module="tokens", path="*authorize*", times=None)
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        assert await charger.ask(token) == "Accepted"


async def test_an_invalid_token_is_refused_and_a_valid_one_again_accepted(cpo, emsp):
    """TOK-1: PUT and PATCH change what a charger hears."""
    token = uid(emsp, "H")
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        await emsp.send_token({"uid": token, "whitelist": "ALWAYS", "valid": False})
        assert await charger.ask(token) != "Accepted"

        await emsp.send_token({"uid": token, "valid": True}, method="PATCH")
        assert await charger.ask(token) == "Accepted"


async def test_a_token_nobody_knows_is_refused(cpo, emsp):
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        assert await charger.ask("04NOBODYKNOWS") == "Invalid"


async def test_charges_at_once_stay_apart(cpo, emsp):
    token = await known(emsp, "B")
    sites = [await new_site(cpo) for _ in range(4)]

    await asyncio.gather(*(charge(s, token, wh=1000 * n) for n, s in enumerate(sites, 1)))

    await emsp.wait_until(lambda: all(of(emsp.cdrs, site) for site in sites))
    assert [of(emsp.cdrs, s)[0]["total_energy"] for s in sites] == [1, 2, 3, 4]


async def test_a_credit_cdr_takes_back_the_cost_only(cpo, emsp):
    """CDR-6; 2.1.1 has none (CDR-5)."""
    site = await new_site(cpo)
    await charge(site, await known(emsp))
    cdr = await emsp.wait_until(lambda: next(iter(of(emsp.cdrs, site)), None))

    if emsp.versions == ["2.1.1"]:
        return
    await cpo.api("POST", f"/cdrs/{cdr['id']}/credit")

    credit = await emsp.wait_until(
        lambda: next((c for c in of(emsp.cdrs, site) if c.get("credit")), None)
    )
    assert credit["credit_reference_id"] == cdr["id"]
    assert net(credit["total_cost"]) == -net(cdr["total_cost"])
    assert credit["total_energy"] == cdr["total_energy"]


async def test_a_credit_for_a_partner_of_2_1_1_is_left_to_the_operator(cpo):
    """CDR-5, CDR-6: it is held back with the reason, and no list shows it."""
    async with double("2.1.1") as emsp:
        partner = await joined(cpo, emsp)
        site = await new_site(cpo)
        await charge(site, await known(emsp))
        cdr = await emsp.wait_until(lambda: next(iter(of(emsp.cdrs, site)), None))
        await cpo.api("POST", f"/cdrs/{cdr['id']}/credit")

        async def held_back():
            items = (await cpo.api("GET", f"/partners/{partner}/backlog"))["items"]
            return next((i for i in items if i["kind"] == "cdr" and i["parked"]), None)

        held = await until(held_back)
        pulled = await emsp.fetch("cdrs")
        await cpo.api("DELETE", f"/partners/{partner}")

    assert held["object"] != cdr["id"]
    assert "settle it outside OCPI" in held["last_error"]
    assert [c["id"] for c in emsp.cdrs.values()] == [c["id"] for c in pulled] == [cdr["id"]]
