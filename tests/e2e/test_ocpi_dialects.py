"""Partners with habits of their own, in each version: everything arrives all the same."""

import asyncio
import re

import pytest
from waiting import until

from chargers_sim.emsp import Dialect
from chargers_sim.emsp.invariants import journal_breaches
from tests.e2e.conftest import VERSIONS, all_heard, double, joined, new_site, uid
from tests.e2e.test_ocpi_charging import charge, of
from tests.e2e.test_ocpi_hostile import met
from tests.support.cpo_process import CpoProcess
from tests.support.raw_emsp import RawEmsp, envelope

pytestmark = pytest.mark.asyncio(loop_scope="session")

HABITS = [
    pytest.param({"trailing_slash": True}, id="URL-1 slash at the end"),
    pytest.param({"list_for_object": True}, id="a list for one object"),
    pytest.param({"omit_data": True}, id="TRANS-15 and TRANS-19 empty answers"),
    pytest.param({"total": "wrong", "page_size": 2}, id="PAG-6 wrong total"),
    pytest.param({"total": "missing", "page_size": 2}, id="PAG-6 no total"),
    pytest.param({"link": "same", "page_size": 2}, id="PAG-6 link to itself"),
    pytest.param({"link": "relative", "page_size": 2}, id="relative link"),
    pytest.param({"cdr_location": "relative"}, id="URL-4 relative Location"),
    pytest.param({"cdr_location": "missing"}, id="CDR-2 no Location"),
    pytest.param({"duplicate_cdr": "refuse"}, id="CDR-19 duplicates refused"),
    pytest.param({"dates": "offset"}, id="TRANS-22 times with offset"),
    pytest.param({"dates": "none"}, id="TRANS-22 times without designator"),
    pytest.param({"lower_case": True}, id="TRANS-21 lower case ids"),
    pytest.param({"refuse_invalid": True}, id="TRANS-20 strict receiver"),
    pytest.param({"unknown_token": "404"}, id="TOK-22 unknown is 404"),
    pytest.param({"unknown_token": "2004"}, id="TOK-22 unknown is 2004"),
]


@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_charge_is_delivered_to_a_partner_with_habits(cpo, version, habit):
    async with double(version, dialect=Dialect.read(habit)) as emsp:
        partner = await joined(cpo, emsp, by_us=version == "2.1.1")
        await emsp.send_token({"uid": uid(emsp)})
        site = await new_site(cpo)
        emsp.fail("apply-then-reset", module="cdrs")
        async with site.charger() as charger:
            await charger.boot()
            assert await charger.ask("04NOBODYKNOWS") == "Invalid"
        await charge(site, uid(emsp))
        await emsp.wait_until(lambda: of(emsp.cdrs, site))
        await emsp.wait_for_evse(site.evse, status="AVAILABLE")
        await all_heard(cpo, partner)

        assert [s["status"] for s in of(emsp.sessions, site)] == ["COMPLETED"]
        assert [str(breach) for breach in journal_breaches(emsp.journal.exchanges)] == []
        assert [str(violation) for violation in emsp.violations] == []
        await cpo.api("DELETE", f"/partners/{partner}")


async def test_the_books_of_a_partner_are_compared_and_repaired(cpo, emsp):
    """LOC-33 and PUSH-13: what it lost or changed is found and sent again."""
    site = await new_site(cpo)
    await emsp.wait_until(lambda: emsp.locations.get(site.location))
    await emsp.wait_until(lambda: emsp.tariffs.get(site.tariff))
    partner = await partner_of(cpo, emsp)
    emsp.books.locations.drop(("NL", "CPO"), site.location)
    emsp.tariffs[site.tariff]["currency"] = "SEK"

    await cpo.api("POST", f"/partners/{partner}/reconcile", {"repair": True})

    await emsp.wait_until(lambda: emsp.locations.get(site.location))
    await emsp.wait_until(lambda: emsp.tariffs[site.tariff]["currency"] == "EUR")


async def partner_of(cpo, emsp):
    party = emsp.parties[0][1]
    entries = (await cpo.api("GET", "/partners?limit=500"))["items"]
    return next(
        entry["id"]
        for entry in entries
        if any(role["party_id"] == party for role in entry["roles"])
    )


async def test_a_partner_is_measured_by_a_probe(cpo):
    """The coding of tokens, the slash at the end, redirects, PATCH, lists for objects, page sizes."""
    await new_site(cpo)

    async def peculiar(heard):
        if heard.headers["Authorization"] != f"Token {raw.token_in}":
            return 401, envelope(None, 2001), {}
        if heard.module == "locations" and heard.method == "OPTIONS":
            return 200, b"", {"Allow": "GET, PUT"}
        if heard.module == "locations" and heard.method == "GET":
            if not heard.path.endswith("/"):
                return 307, b"", {"Location": f"{heard.path}/"}
            return 200, envelope([{"id": heard.segments[2]}]), {}
        if heard.module == "tokens" and heard.method == "GET":
            return 200, envelope([raw.token("P1"), raw.token("P2")]), {"X-Total-Count": "7"}
        return None

    async with met(cpo, "2.2.1") as raw:
        raw.answering = peculiar
        answer = await cpo.api("POST", f"/partners/{raw.partner}/probe")
        raw.answering = None

    assert answer["found"] == {
        "token_base64": False,
        "token_raw": True,
        "no_slash_after_segments": False,
        "slash_after_segments": True,
        "redirects": True,
        "object_in_list": True,
        "empty_data": False,
        "patch": False,
        "tokens_total": 7,
        "tokens_page": 2,
        "tokens_has_next": False,
        "dates": ["seconds", "with Z"],
        "dates_taken": ["seconds", "fractions"],
    }
    assert answer["quirks"] == {
        "base64_tokens": False,
        "trailing_slash": True,
        "evse_patch": False,
        "lists_for_objects": True,
    }


@pytest.mark.parametrize(
    ("form", "style"),
    [(r"...................Z", "seconds"), (r".*\.\d+Z", "milliseconds"), (r".*", None)],
)
async def test_a_probe_finds_what_dates_a_partner_takes(cpo, form, style):
    """It asks for tokens since an instant in both ways; who takes both is written to as ever."""

    async def picky(heard):
        date = heard.query.get("date_from")
        if heard.module != "tokens" or date is None or re.fullmatch(form, date):
            return None
        return 200, envelope(None, 2001), {}

    async with met(cpo, "2.2.1") as raw:
        raw.answering = picky
        answer = await cpo.api("POST", f"/partners/{raw.partner}/probe")
        raw.answering = None

    assert answer["quirks"].get("date_style") == style
    assert len(answer["found"]["dates_taken"]) == (1 if style else 2)


async def test_one_object_may_come_as_a_list_of_one(cpo):
    """Version details, credentials and real-time authorization, as PyPI extrawest-ocpi answers."""
    card = "04LIST01"

    async def listing(heard):
        if heard.path == "/2.2.1":
            return 200, envelope([{"version": "2.2.1", "endpoints": raw.modules()}]), {}
        if heard.module == "credentials" and heard.method in {"POST", "PUT"}:
            raw.token_out = heard.body["token"]
            return 200, envelope([raw.credentials()]), {}
        if heard.path.endswith("/authorize"):
            return 200, envelope([{"allowed": "ALLOWED", "token": raw.token(card)}]), {}
        return None

    site = await new_site(cpo)
    async with RawEmsp("2.2.1", ("NL", "LST")) as raw, site.charger() as charger:
        raw.answering = listing
        body = {"name": "lists", "versions_url": f"{raw.url}/versions", "token_a": "token-a-" * 3}
        partner = await cpo.api("POST", "/partners/connect", body)
        await charger.boot()
        word = await charger.ask(card)
        await cpo.api("DELETE", f"/partners/{partner['id']}")

    assert (partner["status"], partner["version"]) == ("connected", "2.2.1")
    assert word == "Accepted"


def starts(charger):
    return [name for name, _ in charger.got if "Start" in name]


@pytest.mark.parametrize(
    ("version", "ocpp"), [("2.1.1", "1.6"), ("2.2.1", "2.0.1"), ("2.3.0", "1.6")]
)
async def test_a_command_is_told_once_over_a_kill(tmp_path, version, ocpp):
    """I15: the charger is asked at most once and one result comes, though the server died."""
    async with CpoProcess(tmp_path) as cpo, double(version) as emsp:
        await joined(cpo, emsp)
        site = await new_site(cpo, ocpp=ocpp)
        async with site.charger() as charger:
            charger.mute = True
            await emsp.wait_until(lambda: emsp.locations.get(site.location))
            charger.mute = False
            await charger.boot()
            await emsp.wait_for_evse(site.evse, status="AVAILABLE")
            charger.mute = True
            order = await emsp.command(
                "START_SESSION", token=uid(emsp), location_id=site.location, evse_uid=site.evse,
                wait=0,
            )  # fmt: skip
            await until(lambda: starts(charger))
            await cpo.kill()
        await cpo.start()
        async with site.charger() as again:
            await again.boot()
            await emsp.wait_until(lambda: order.results)
            await asyncio.sleep(1)

        assert order.response["result"] == "ACCEPTED"
        assert len(starts(charger)) == 1
        assert starts(again) == []
        assert [result["result"] for result in order.results] in (["TIMEOUT"], ["FAILED"])
