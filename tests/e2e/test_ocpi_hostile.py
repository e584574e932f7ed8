"""A partner that is not polite, written without any code of the server or the double."""

import asyncio
import contextlib
import itertools

import pytest
import pytest_asyncio
from waiting import LONG, until

from tests.e2e.conftest import (
    PASSWORD,
    VERSIONS,
    Site,
    all_heard,
    location,
    new_site,
    tariff,
)
from tests.e2e.test_ocpi_parties import SECOND
from tests.support.cpo_process import CpoProcess
from tests.support.raw_emsp import RawEmsp, check, envelope

pytestmark = pytest.mark.asyncio(loop_scope="session")

_numbers = itertools.count(1)


@contextlib.asynccontextmanager
async def met(cpo, version, party=None, **invitation):
    """A raw partner that is registered; `partner` is its id."""
    async with RawEmsp(version, ("NL", party or f"H{next(_numbers):02}")) as raw:
        invited = await cpo.api("POST", "/partners", {"name": f"raw {version}", **invitation})
        raw.partner = invited["id"]
        answer = await raw.register(invited["versions_url"], invited["token_a"])
        assert check(version, "Credentials", answer.data) == []
        yield raw
        with contextlib.suppress(Exception):
            await cpo.api("DELETE", f"/partners/{raw.partner}")


@pytest_asyncio.fixture(loop_scope="session")
async def one(cpo):
    """A partner of 2.2.1, for what is the same in every version."""
    async with met(cpo, "2.2.1") as partner:
        yield partner
        assert partner.wrong() == []


@pytest_asyncio.fixture(params=VERSIONS, loop_scope="session")
async def raw(request, cpo):
    async with met(cpo, request.param) as partner:
        yield partner
        assert partner.wrong() == []


def results(raw):
    return [h for h in raw.heard if h.path.startswith("/result")]


async def started(raw, site, **more):
    """Ask for a start; return the server's answer."""
    app = raw.token("04HOST01", type="APP_USER" if raw.version != "2.1.1" else "OTHER")
    body = {
        "response_url": f"{raw.url}/result/{site.station}",
        "token": app,
        "location_id": site.location,
        "evse_uid": site.evse,
    }
    return await raw.ask("POST", raw.at("commands", "START_SESSION"), body | more)


def put(raw, module, id_):
    return lambda: [h for h in raw.of(module, "PUT") if id_ in h.segments]


# --- a whole charge, every byte judged ---------------------------------------------------------


@pytest.mark.parametrize("ocpp", ["1.6", "2.0.1"])
async def test_all_that_a_partner_hears_and_reads_of_a_charge_is_valid(cpo, raw, ocpp):
    """Promise 7, SES-3, SES-12, CDR-18, LOC-30: judged by a reader of the tables that is not ours."""
    site = await new_site(cpo, ocpp=ocpp)
    async with site.charger() as charger:
        await charger.boot()
        assert (await started(raw, site)).data["result"] == "ACCEPTED"
        await raw.until(lambda: results(raw), "the result")
        session = (await raw.until(lambda: raw.of("sessions", "PUT"), "the session"))[0].body
        stop = {"response_url": f"{raw.url}/result/stop", "session_id": session["id"].upper()}
        answer = await raw.ask("POST", raw.at("commands", "STOP_SESSION"), stop)
        cdr = (await raw.until(lambda: raw.of("cdrs", "POST"), "the CDR"))[0].body

    # Ids are compared without case (TRANS-21).
    assert answer.data["result"] == "ACCEPTED"
    name = "CommandResponse" if raw.version == "2.1.1" else "CommandResult"
    assert [p for h in results(raw) for p in check(raw.version, name, h.body)] == []
    for module, what in (("locations", "Location"), ("tariffs", "Tariff"), ("cdrs", "CDR")):
        pulled = await raw.ask("GET", raw.at(module))
        assert [p for thing in pulled.data for p in check(raw.version, what, thing)] == []
    assert (await raw.ask("GET", raw.at("cdrs"))).data == [cdr]
    pulled = await raw.ask("GET", raw.at("sessions") + "?date_from=2026-01-01T00:00:00Z")
    assert [p for thing in pulled.data for p in check(raw.version, "Session", thing)] == []
    assert [s["status"] for s in pulled.data] == ["COMPLETED"]


# --- the one result of a command ---------------------------------------------------------------


async def test_a_result_whose_answer_is_lost_is_not_posted_again(cpo, one):
    """I15, CMD-7 and CMD-8: it was sent, so the partner may have it."""

    async def cut(heard):
        return (0, b"", {}) if heard.path.startswith("/result") else None

    one.answering = cut
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        charger.answers["RemoteStartTransaction"] = lambda _: {"status": "Rejected"}
        await started(one, site)
        await one.until(lambda: results(one), "the result")
        # Longer than the pauses between three tries.
        await asyncio.sleep(3.5)

    assert len(results(one)) == 1


async def test_a_result_that_surely_was_not_taken_is_posted_as_long_as_it_is_waited_for(cpo, one):
    """CMD-8: an answer that says so is as sure as no connection."""

    async def busy(heard):
        if heard.path.startswith("/result") and len(results(one)) <= 3:
            return 503, envelope(None, 3000), {}
        return None

    one.answering = busy
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        charger.answers["RemoteStartTransaction"] = lambda _: {"status": "Rejected"}
        await started(one, site)
        await one.until(lambda: len(results(one)) == 4, "the fourth try")

    assert [h.answered for h in results(one)] == [503, 503, 503, 200]


async def test_a_server_killed_while_a_result_is_under_way_does_not_post_it_again(tmp_path):
    """I15: that it was about to leave was on disk before it left."""
    async with CpoProcess(tmp_path) as cpo, met(cpo, "2.2.1") as raw:
        asked = asyncio.Event()

        async def hang(heard):
            if heard.path.startswith("/result/CP"):
                asked.set()
                await asyncio.sleep(30)

        raw.answering = hang
        site, other = await new_site(cpo), await new_site(cpo)
        async with site.charger() as charger:
            await charger.boot()
            charger.answers["RemoteStartTransaction"] = lambda _: {"status": "Rejected"}
            await started(raw, site)
            async with asyncio.timeout(LONG):
                await asked.wait()
            await cpo.kill()
        raw.answering = None
        await cpo.start()
        # A command after the restart is told; the old result would have come before it.
        async with other.charger() as charger:
            await charger.boot()
            charger.answers["RemoteStartTransaction"] = lambda _: {"status": "Rejected"}
            await started(raw, other, response_url=f"{raw.url}/result/after")
            await raw.until(
                lambda: [h for h in results(raw) if h.path == "/result/after"], "the new result"
            )

        assert [h.path for h in results(raw)] == [f"/result/{site.station}", "/result/after"]


@pytest.mark.parametrize("ocpp", ["1.6", "2.0.1"])
async def test_a_charger_that_goes_while_it_is_asked_is_told_as_well(cpo, raw, ocpp):
    """CMD-2, CMD-7: one result, also when nothing comes back; S4: without the charger's name."""
    site = await new_site(cpo, ocpp=ocpp)
    async with site.charger() as charger:
        await charger.boot()
        charger.mute = True
        first = await started(raw, site)
        await until(lambda: [name for name, _ in charger.got if "Start" in name])
    heard = await raw.until(lambda: results(raw), "the result")
    again = await started(raw, site)
    offline = await started(raw, site, response_url=f"{raw.url}/result/offline")

    assert (first.data["result"], again.data["result"]) == ("ACCEPTED", "ACCEPTED")
    assert offline.data["result"] == "REJECTED"
    assert [h.body["result"] for h in heard] == ["TIMEOUT"]
    told = [first.raw, again.raw, offline.raw, *(h.raw for h in raw.heard)]
    assert [text for text in told if f'"{site.station}'.encode() in text] == []
    assert [text for text in told if f"'{site.station}'".encode() in text] == []


async def test_only_announced_commands_are_carried_out_where_the_contract_says_so(cpo):
    """CMD-17: at once, and without the station's hearing of it."""
    async with met(cpo, "2.2.1", policy={"commands_by_capability": True}) as one:
        site = await new_site(cpo, capabilities=["RFID_READER"])
        place = {"location_id": site.location, "evse_uid": site.evse}
        later = {"expiry_date": "2030-01-01T00:00:00Z", "reservation_id": "R1"}
        token = one.token("04CAP001", type="APP_USER")
        async with site.charger() as charger:
            await charger.boot()
            said = [
                (await one.ask("POST", one.at("commands", name), body)).data["result"]
                for name, body in (
                    ("START_SESSION", place | {"token": token}),
                    ("RESERVE_NOW", place | later | {"token": token}),
                    ("UNLOCK_CONNECTOR", place | {"connector_id": "1"}),
                )
                if body.setdefault("response_url", f"{one.url}/result")
            ]
            heard = [name for name, _ in charger.got if name != "TriggerMessage"]

        assert said == ["NOT_SUPPORTED"] * 3
        assert not {"RemoteStartTransaction", "ReserveNow", "UnlockConnector"} & set(heard)
        assert results(one) == []


# --- habits that answers teach -----------------------------------------------------------------


def whole(raw):
    """The status of the only EVSE in the newest whole location that a partner got."""
    return raw.of("locations", "PUT")[-1].body["evses"][0]["status"]


@pytest.mark.parametrize("status", [405, 501])
async def test_a_partner_without_patch_gets_whole_objects_from_then_on(cpo, status):
    """PUSH-4: learnt from the first answer, shown, and kept in the audit."""

    async def no_patch(heard):
        return (status, b"no", {}) if heard.method == "PATCH" else None

    site = await new_site(cpo)
    async with met(cpo, "2.2.1", policy={"locations": [site.location]}) as raw:
        raw.answering = no_patch
        await raw.until(put(raw, "locations", site.location), "the location")
        async with site.charger() as charger:
            await charger.boot()
            await raw.until(lambda: whole(raw) == "AVAILABLE", "Available")
            for _ in range(2):
                await charger.fault()
                await raw.until(lambda: whole(raw) == "OUTOFORDER", "Faulted")
                await charger.available()
                await raw.until(lambda: whole(raw) == "AVAILABLE", "Available")
        shown = await cpo.api("GET", f"/partners/{raw.partner}")
        probed = await cpo.api("POST", f"/partners/{raw.partner}/probe")

        assert len(raw.of("locations", "PATCH")) == 1
        assert shown["quirks"]["evse_patch"] is False
        assert probed["found"]["patch"] is False
        assert probed["quirks"]["evse_patch"] is False


async def test_a_partner_that_finds_nothing_to_patch_twice_gets_whole_objects(cpo):
    """PUSH-5: a 404 for what it has just taken says that PATCH is what it lacks."""

    async def not_there(heard):
        return (404, b"<html>", {}) if heard.method == "PATCH" else None

    site = await new_site(cpo)
    async with met(cpo, "2.2.1", policy={"locations": [site.location]}) as raw:
        raw.answering = not_there
        await raw.until(put(raw, "locations", site.location), "the location")
        async with site.charger() as charger:
            await charger.boot()
            await raw.until(lambda: whole(raw) == "AVAILABLE", "Available")
            for _ in range(3):
                await charger.fault()
                await raw.until(lambda: whole(raw) == "OUTOFORDER", "Faulted")
                await charger.available()
                await raw.until(lambda: whole(raw) == "AVAILABLE", "Available")
        shown = await cpo.api("GET", f"/partners/{raw.partner}")

        assert len(raw.of("locations", "PATCH")) == 2
        assert shown["quirks"]["evse_patch"] is False


async def test_a_partner_that_chokes_on_fractions_gets_whole_seconds(cpo):
    """TRANS-22: learnt from its refusal, and only if that helps."""

    def exact(heard):
        return b"." in heard.raw.partition(b'"last_updated":"')[2][:24]

    async def whole(heard):
        if heard.method == "PUT" and exact(heard):
            return 200, envelope(None, 2001) | {"status_message": "last_updated: bad date"}, {}
        return None

    async with met(cpo, "2.2.1") as raw:
        raw.answering = whole
        sites = {(await new_site(cpo)).location for _ in range(3)}
        await raw.until(
            lambda: sites <= {h.segments[-1] for h in raw.of("locations", "PUT") if not exact(h)},
            "all locations in whole seconds",
        )
        shown = await cpo.api("GET", f"/partners/{raw.partner}")

        await all_heard(cpo, raw.partner)
        assert shown["quirks"]["date_style"] == "seconds"


async def test_a_refusal_that_seconds_do_not_cure_leaves_the_dates_alone(cpo):
    """TRANS-22 and PUSH-6: the object is parked with the answer."""

    async def never(heard):
        if heard.method == "PUT" and heard.module == "locations":
            return 200, envelope(None, 2001) | {"status_message": "we do not like this date"}, {}
        return None

    site = await new_site(cpo)
    async with met(cpo, "2.2.1", policy={"locations": [site.location]}) as raw:
        raw.answering = never

        async def parked():
            items = (await cpo.api("GET", f"/partners/{raw.partner}/backlog"))["items"]
            return [i for i in items if i["parked"] and i["object"] == site.location]

        await until(parked)
        shown = await cpo.api("GET", f"/partners/{raw.partner}")

        assert "date_style" not in shown["quirks"]


async def test_options_tell_a_probe_whether_patch_is_taken(cpo):
    """PUSH-4: without any change at the partner."""

    async def allows(heard):
        return (204, b"", {"Allow": "GET, PUT"}) if heard.method == "OPTIONS" else None

    site = await new_site(cpo, ocpp=None)
    async with met(cpo, "2.2.1", policy={"locations": [site.location]}) as raw:
        raw.answering = allows
        probed = await cpo.api("POST", f"/partners/{raw.partner}/probe")

        asked = [h for h in raw.heard if h.method == "OPTIONS"]
        assert probed["found"]["patch"] is False
        assert probed["quirks"]["evse_patch"] is False
        assert [h.segments for h in asked] == [["NL", "CPO", site.location, site.evse]]
        assert raw.of("locations", "PATCH") == []


# --- tokens between platforms ------------------------------------------------------------------


async def renewed(raw, ours, *, shown=None):
    """Send a PUT with a new token of ours, by showing the newest token or another one."""
    raw.token_in = ours
    return await raw.ask("PUT", raw.at("credentials"), raw.credentials(), token=shown)


async def test_a_partner_that_missed_our_answer_may_renew_again_with_its_old_token(cpo, raw):
    """CRED-8: twice even, and each time the token it shows stays until a newer one is used."""
    first = raw.token_out
    lost = await renewed(raw, "raw-token-1")
    again = await renewed(raw, "raw-token-2", shown=first)
    third = await renewed(raw, "raw-token-3", shown=first)
    still = await raw.ask("GET", raw.at("credentials"), token=first)
    raw.token_out = third.data["token"]
    works = await raw.ask("GET", raw.at("credentials"))
    dead = [
        (await raw.ask("GET", raw.at("credentials"), token=t)).status
        for t in (first, lost.data["token"], again.data["token"])
    ]

    assert (again.code, third.code, still.code, works.code) == (1000, 1000, 1000, 1000)
    # The first use of the newest ended the others.
    assert dead == [401, 401, 401]
    site = await new_site(cpo)
    heard = await raw.until(put(raw, "locations", site.location), "the location")
    assert heard[0].headers["Authorization"] == raw.authorization("raw-token-3")


async def test_a_renewal_reads_the_endpoints_anew_though_the_version_stays(cpo, raw):
    """CRED-2: what moved meanwhile is found, and the next object goes there."""
    plain = raw.modules
    raw.modules = lambda: [e | {"url": e["url"].replace("/locations", "/moved")} for e in plain()]

    assert (await raw.ask("PUT", raw.at("credentials"), raw.credentials())).code == 1000

    site = await new_site(cpo)
    await raw.until(
        lambda: [h for h in raw.of("moved", "PUT") if h.segments[-1] == site.location], "the site"
    )
    assert put(raw, "locations", site.location)() == []


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ((404, envelope(None, 2000)), "Invalid"),
        ((404, b""), "Invalid"),
        ((200, envelope(None, 2004)), "Invalid"),
        ((500, b"broken"), "Accepted"),
    ],
    ids=["404", "404 without a word", "2004", "no answer"],
)
async def test_what_its_emsp_no_longer_knows_is_refused_and_silence_is_not_that(
    cpo, raw, answer, word
):
    """TOK-22: either means unknown; TOK-20: an ALLOWED_OFFLINE token may charge without answer."""

    async def answering(heard):
        return (*answer, {}) if heard.path.endswith("/authorize") else None

    raw.answering = answering
    card = f"04GONE{raw.version[2]}{raw.version[4]}"
    await raw.put_token(card, whitelist="ALLOWED_OFFLINE")
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()

        assert await charger.ask(card) == word


async def test_renewals_that_cross_end_well(cpo, one):
    """CRED-8: ours and the partner's at the same time; nobody waits for the other for ever."""
    ours = asyncio.Event()

    async def slow(heard):
        if heard.module == "credentials" and heard.method == "PUT":
            ours.set()
            theirs = await renewed(one, "raw-token-crossing")
            said = one.credentials(token="raw-token-after-ours")
            one.crossing = theirs
            one.token_out = heard.body["token"]
            return 200, envelope(said), {}
        return None

    one.answering = slow
    await cpo.api("POST", f"/partners/{one.partner}/rotate")
    one.answering = None

    # Told to come again, by what is no fault of the partner.
    assert one.crossing.code == 3000
    assert (await one.ask("GET", one.at("credentials"))).code == 1000
    site = await new_site(cpo)
    heard = await one.until(put(one, "locations", site.location), "the location")
    assert heard[0].headers["Authorization"] == one.authorization("raw-token-after-ours")


async def test_tokens_are_renewed_by_the_calendar_and_the_overlap_ends(tmp_path):
    """TRANS-7 and CRED-8: as the policy says; the old token ends though the new one is not used."""
    async with (
        CpoProcess(tmp_path, token_sync=0.2, overlap=1.5) as cpo,
        met(cpo, "2.2.1") as raw,
    ):
        first = raw.token_out

        async def take(heard):
            if heard.module == "credentials" and heard.method == "PUT":
                raw.fresh = heard.body["token"]
                return 200, envelope(raw.credentials(token=f"raw-{raw.fresh[:20]}")), {}
            return None

        raw.answering = take
        await cpo.api("PATCH", f"/partners/{raw.partner}", {"policy": {"rotate_every": 1}})
        await raw.until(lambda: raw.of("credentials", "PUT"), "a renewal")
        await cpo.api("PATCH", f"/partners/{raw.partner}", {"policy": {}})

        async def over():
            return (await raw.ask("GET", raw.at("credentials"), token=first)).status == 401

        await until(over)

        assert (await raw.ask("GET", raw.at("credentials"), token=raw.fresh)).code == 1000


async def test_the_operators_end_is_told_and_no_token_counts_any_more(cpo, raw):
    """CRED-9: both ways; afterwards the credentials are those of nobody."""
    out = raw.token_out
    await cpo.api("DELETE", f"/partners/{raw.partner}")

    told = raw.of("credentials", "DELETE")
    assert [h.headers["Authorization"] for h in told] == [raw.authorization("raw-emsp-token-0")]
    for method, body in (("GET", None), ("PUT", raw.credentials()), ("DELETE", None)):
        assert (await raw.ask(method, raw.at("credentials"), body, token=out)).status in {401, 405}


async def test_the_cards_of_an_emsp_that_left_start_nothing(cpo):
    """CRED-9, TOK-5: nobody would pay for it; the same card of another eMSP counts."""
    card, site, later = "04LEFT01", await new_site(cpo), await new_site(cpo)
    async with site.charger() as charger, later.charger() as other:
        await charger.boot()
        await other.boot()
        async with met(cpo, "2.2.1") as leaving:
            await leaving.put_token(card)
            assert await charger.ask(card) == "Accepted"
        # Elsewhere: a station's Authorize is remembered for its StartTransaction.
        gone = await other.ask(card)
        async with met(cpo, "2.2.1") as staying:
            await staying.put_token(card)
            back = await other.ask(card)

    assert (gone, back) == ("Invalid", "Accepted")


# --- several parties of ours -------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_a_second_party_of_ours_withdraws_is_withdrawn_under_its_name(tmp_path, version):
    """TAR-1 and OWN-4: over a restart too."""
    owner = {"country_code": "BE", "party_id": "CP2"}
    async with CpoProcess(tmp_path, more=SECOND) as cpo, met(cpo, version) as raw:
        await cpo.api("PUT", "/tariffs/T-BE", tariff("T-BE") | owner)
        await raw.until(put(raw, "tariffs", "T-BE"), "the tariff")

        async def away(heard):
            return (503, b"", {}) if heard.method == "DELETE" else None

        raw.answering = away
        await cpo.api("DELETE", "/tariffs/T-BE")
        await raw.until(lambda: raw.of("tariffs", "DELETE"), "a try")
        await cpo.kill()
        raw.answering = None
        await cpo.start()
        gone = await raw.until(
            lambda: [h for h in raw.of("tariffs", "DELETE") if h.answered == 200], "the DELETE"
        )

        assert gone[0].segments == ["BE", "CP2", "T-BE"]
        if version != "2.1.1":
            assert gone[0].headers["OCPI-from-party-id"] == "CP2"


@pytest.mark.parametrize("version", ["2.2.1", "2.3.0"])
async def test_a_result_comes_from_the_party_that_was_asked(tmp_path, version):
    """CMD-5, CMD-15 and HDR-3: several parties of ours on one connection, nobody names one."""
    async with CpoProcess(tmp_path, more=SECOND) as cpo, met(cpo, version) as raw:
        site = Site("LOC-BE", "EVSE-BE", "TAR-BE", "CP-BE", cpo, "1.6")
        owner = {"country_code": "BE", "party_id": "CP2"}
        await cpo.api("PUT", f"/stations/{site.station}", {"password": PASSWORD})
        await cpo.api("PUT", f"/tariffs/{site.tariff}", tariff(site.tariff) | owner)
        place = location(site) | owner
        place["evses"][0]["evse_id"] = "BE*CP2*EBE"
        await cpo.api("PUT", f"/locations/{site.location}", place)
        async with site.charger() as charger:
            await charger.boot()
            charger.answers["RemoteStartTransaction"] = lambda _: {"status": "Rejected"}
            assert (await started(raw, site)).data["result"] == "ACCEPTED"
            await raw.until(lambda: len(results(raw)) == 1, "the result")
            await raw.put_token("04BEFROM")
            await charger.begin("04BEFROM")
            session = (await raw.until(lambda: raw.of("sessions", "PUT"), "the session"))[0].body
            stop = {"response_url": f"{raw.url}/result/stop", "session_id": session["id"]}
            await raw.ask("POST", raw.at("commands", "STOP_SESSION"), stop)
            await raw.until(lambda: len(results(raw)) == 2, "the result of the stop")
            await raw.until(lambda: raw.of("cdrs", "POST"), "the CDR")
            reserve = {
                "response_url": f"{raw.url}/result/reserve",
                "token": raw.token("04BEFROM"),
                "location_id": "LOC-BE",
                "evse_uid": "EVSE-BE",
                "reservation_id": "R-BE",
                "expiry_date": "2099-01-01T00:00:00Z",
            }
            await raw.ask("POST", raw.at("commands", "RESERVE_NOW"), reserve)
            number = (await charger.wait_for("ReserveNow"))["reservationId"]
            await raw.until(lambda: len(results(raw)) == 3, "the result of the reservation")
            await cpo.api("POST", "/evses/EVSE-BE/cancel-reservation", {"reservation_id": number})
            await raw.until(lambda: len(results(raw)) == 4, "that we cancelled it")

        assert results(raw)[3].body["result"] == "CANCELED_RESERVATION"
        for told in results(raw):
            assert told.headers["OCPI-from-country-code"] == "BE", told.path
            assert told.headers["OCPI-from-party-id"] == "CP2", told.path


async def test_a_hubs_list_is_read_again_after_a_start(tmp_path):
    """HUB-3: what it told while we were away is in its list."""
    async with CpoProcess(tmp_path) as cpo, RawEmsp("2.2.1", ("NL", "HUB"), "HUB") as raw:
        invited = await cpo.api("POST", "/partners", {"name": "hub"})
        raw.partner = invited["id"]
        client = {
            "country_code": "NL", "party_id": "EMA", "role": "EMSP", "status": "CONNECTED",
            "last_updated": "2026-01-01T00:00:00Z",
        }  # fmt: skip

        async def listed(heard):
            return (200, envelope([client]), {}) if heard.module == "hubclientinfo" else None

        raw.answering = listed
        await raw.register(invited["versions_url"], invited["token_a"])
        await raw.until(lambda: raw.of("hubclientinfo", "GET"), "the list")
        await cpo.kill()
        raw.heard.clear()
        await cpo.start()
        await raw.until(lambda: raw.of("hubclientinfo", "GET"), "the list again")
        answer = await raw.ask("GET", raw.at("hubclientinfo", "NL", "EMA"))

        assert answer.data["status"] == "CONNECTED"


# --- many tokens -------------------------------------------------------------------------------


async def test_a_pull_shows_how_far_it_is_and_goes_on_after_a_kill(tmp_path):
    """TOK-10: not from the beginning; what a page after the kill holds is there in the end."""
    async with CpoProcess(tmp_path, token_sync=0.2) as cpo, RawEmsp("2.2.1", ("NL", "PUL")) as raw:
        released = asyncio.Event()

        async def paged(heard):
            if heard.module != "tokens":
                return None
            offset = int(heard.query.get("offset", "0"))
            if offset == 30:
                await released.wait()
            more = {"X-Total-Count": "50", "X-Limit": "10"}
            if offset < 40:
                more["Link"] = f'<{raw.url}/2.2.1/tokens?offset={offset + 10}>; rel="next"'
            return (
                200,
                envelope([raw.token(f"04PUL{n:03}") for n in range(offset, offset + 10)]),
                more,
            )

        raw.answering = paged
        invited = await cpo.api("POST", "/partners", {"name": "many tokens"})
        await raw.register(invited["versions_url"], invited["token_a"])
        await raw.until(
            lambda: [h for h in raw.of("tokens") if h.query.get("offset") == "30"], "page 4"
        )
        shown = (await cpo.api("GET", f"/partners/{invited['id']}"))["token_pull"]
        await cpo.kill()
        raw.heard.clear()
        released.set()
        await cpo.start()

        async def pulled():
            return (await cpo.api("GET", f"/partners/{invited['id']}"))["token_pull"] is None

        await until(pulled)
        last = await raw.ask("GET", raw.at("tokens", "NL", "PUL", "04PUL049"))

        assert (shown["count"], shown["total"]) == (30, 50)
        assert raw.of("tokens")[0].query["offset"] == "30"
        assert last.data["uid"] == "04PUL049"
