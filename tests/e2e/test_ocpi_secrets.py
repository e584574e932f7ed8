"""What must stay inside: identities, transaction numbers, passwords and tokens."""

import asyncio

import pytest
from waiting import until

from tests.e2e.conftest import PASSWORD, double, joined, new_site, uid
from tests.e2e.test_ocpi_charging import charge, of
from tests.support.cpo_process import KEY, CpoProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("ocpp", ["1.6", "2.0.1"])
async def test_neither_identity_nor_transaction_of_a_charger_reaches_a_partner(cpo, emsp, ocpp):
    """MAP-1, MAP-3, MAP-4 and LOC-3: ids towards partners are our own."""
    await emsp.send_token({"uid": uid(emsp)})
    site = await new_site(cpo, ocpp=ocpp)
    async with site.charger() as charger:
        await charger.boot()
        charger.go_back(hours=1)
        await charger.begin(uid(emsp))
        charger.pass_time(minutes=30)
        await charger.end(1000)
    await emsp.wait_until(lambda: of(emsp.cdrs, site))

    sent = " ".join(str(exchange.body) for exchange in emsp.journal.received())
    sent += str(await emsp.fetch("sessions")) + str(await emsp.fetch("cdrs"))
    assert f"'{site.station}'" not in sent
    assert str(charger.transaction) not in sent


async def test_the_end_of_the_transaction_is_the_end_of_the_session(cpo, emsp):
    """MAP-24: what follows while the cable is still in is nobody's charge."""
    await emsp.send_token({"uid": uid(emsp)})
    site = await new_site(cpo)
    await charge(site, uid(emsp), wh=2000)
    cdr = await emsp.wait_until(lambda: next(iter(of(emsp.cdrs, site)), None))
    async with site.charger() as charger:
        await charger.status("Finishing")
        await asyncio.sleep(0.3)
        await charger.available()
    await asyncio.sleep(0.3)

    assert of(emsp.cdrs, site) == [cdr]
    assert of(emsp.sessions, site)[0]["kwh"] == 2


async def test_no_secret_stands_in_the_log(tmp_path):
    """S18 and I18."""
    async with CpoProcess(tmp_path) as cpo, double("2.2.1") as emsp:
        partner = await joined(cpo, emsp, by_us=False)
        tokens = [emsp.token_a, *emsp.peer.tokens_in, emsp.peer.token_out]
        await emsp.send_token({"uid": uid(emsp)})
        site = await new_site(cpo)
        emsp.fail("401", module="cdrs")
        await charge(site, uid(emsp))
        await emsp.wait_until(lambda: emsp.journal.received("cdrs"))
        await cpo.api("POST", f"/partners/{partner}/rotate")
        tokens += [*emsp.peer.tokens_in, emsp.peer.token_out]
        await cpo.stop()
        log = cpo.errors.read_text()

    assert [token for token in (*tokens, PASSWORD, KEY) if token and token in log] == []
    assert uid(emsp) not in log


async def test_tokens_are_pulled_again_from_where_the_last_pull_began(tmp_path):
    """TOK-10 and TOK-11."""
    async with CpoProcess(tmp_path, token_sync=1) as cpo, double("2.2.1") as emsp:
        await joined(cpo, emsp)

        def dated():
            pulls = emsp.journal.received("tokens", method="GET")
            return [exchange for exchange in pulls if "date_from" in exchange.query]

        found = await emsp.wait_until(dated)
        await emsp.send_token({"uid": "04LATER"}, push=False)
        seen = len(dated())
        await emsp.wait_until(lambda: len(dated()) > seen + 1)
        site = await new_site(cpo)
        async with site.charger() as charger:
            await charger.boot()
            word = await charger.ask("04LATER")

    assert found[0].status == 200
    assert word == "Accepted"
    assert [entry for entry in emsp.authorizations if entry["uid"] == "04LATER"] == []


async def test_what_waits_for_a_partner_is_shown(cpo):
    """PUSH-12: object, since when, how often tried, and what the partner said."""
    async with double("2.2.1") as emsp:
        partner = await joined(cpo, emsp)
        emsp.fail("503", module="locations", times=None)
        site = await new_site(cpo)

        async def tried():
            items = (await cpo.api("GET", f"/partners/{partner}/backlog"))["items"]
            return any(item["attempts"] for item in items) and items

        items = await until(tried)
        assert any(site.location in item["object"] for item in items)
        entry = max(items, key=lambda item: item["attempts"])
        assert entry["attempts"] >= 1
        assert "503" in entry["last_error"]
        assert {"kind", "object", "since", "parked"} <= entry.keys()
        await cpo.api("DELETE", f"/partners/{partner}")


async def test_a_contract_by_cable_is_asked_at_its_issuer(cpo, doubles):
    """TOK-27: an EMAID is not pushed but asked about, as such."""
    emsp = doubles["2.3.0"]
    emaid = f"NL{emsp.parties[0][1]}C00000001"
    await emsp.send_token({"uid": emaid, "type": "EMAID", "contract_id": emaid}, push=False)
    site = await new_site(cpo, ocpp="2.0.1")
    async with site.charger() as charger:
        await charger.boot()
        answer = await charger.call("Authorize", {"idToken": {"idToken": emaid, "type": "eMAID"}})

    asked = [entry for entry in emsp.authorizations if entry["uid"] == emaid]
    assert answer["idTokenInfo"]["status"] == "Accepted"
    assert [entry["type"] for entry in asked] == ["EMAID"]
