"""Whole flows with the eMSP double: hubs, strict partners, comparison, probe, several parties."""

import asyncio
import contextlib
import copy
from dataclasses import replace
from datetime import timedelta
from urllib.parse import unquote

import ocpi_charges
import pytest
import structlog.testing
from partner_world import partner_world, registered
from waiting import until

from chargers_sim.emsp import Dialect, Emsp
from cpo.domain.location import location_document
from cpo.domain.partner import Partner, PartnerStatus
from cpo.domain.tariff import Tariff
from cpo.domain.tokens import Token, Whitelist
from cpo.services.ports import Kind, Work

VERSIONS = ["2.1.1", "2.2.1", "2.3.0"]
HUB = ("NL", "HUB")


async def quiet(world, partner_id):
    """Wait until nothing but parked objects is unheard."""
    await asyncio.sleep(0.02)
    await until(lambda: all(m.parked for m in world.partners.backlog(partner_id)))


async def pulled(world, partner):
    """Wait until the pull of tokens in the background has ended, well or not."""
    await until(world.side.puller._running[partner.id].done)


def header(exchange, name):
    return {k.lower(): v for k, v in exchange.headers.items()}.get(name.lower())


async def connected(world, emsp):
    partner = await world.partners.connect("double", emsp.versions_url, emsp.invite())
    await quiet(world, partner.id)
    return partner


async def charge(world, partner, number=1, **changes):
    """Write a finished session and its CDR, and mark both."""
    session = ocpi_charges.session(id=f"S-{number}", partner_id=partner.id, **changes)
    cdr = ocpi_charges.cdr(
        id=f"C-{number}", session_id=f"S-{number}", partner_id=partner.id, **changes
    )
    work = Work()
    work.put(session)
    work.put(cdr)
    work.mark([partner.id], Kind.SESSION, session.id)
    work.mark([partner.id], Kind.CDR, cdr.id)
    await world.store.commit(work)


@pytest.mark.parametrize("version", VERSIONS)
async def test_PUSH_3_CDR_2_a_session_and_then_its_cdr_reach_the_emsp(world, version):
    async with Emsp(("DE", "EMP"), versions=[version]) as emsp:
        partner = await connected(world, emsp)
        await charge(world, partner)
        await quiet(world, partner.id)

        assert list(emsp.sessions) == ["S-1"]
        assert list(emsp.cdrs) == ["C-1"]
        assert emsp.violations == []
        kinds = [
            e.path.split("/")[4] for e in emsp.journal.exchanges if e.method in ("PUT", "POST")
        ]
        assert kinds.index("sessions") < kinds.index("cdrs")


@pytest.mark.parametrize("do", ["500", "reset", "timeout", "html", "429", "apply-then-reset"])
async def test_D4_CDR_19_faults_lose_nothing_and_double_nothing(tmp_path, do):
    patience = {"timeout": 3} if do == "timeout" else {}
    async with (
        partner_world(f"sqlite:///{tmp_path}/cpo.db", push=patience) as world,
        Emsp(("DE", "EMP"), versions=["2.2.1"]) as emsp,
    ):
        partner = await connected(world, emsp)
        emsp.fail(do, times=3, module="cdrs")
        emsp.fail(do, times=2, module="sessions")
        for number in range(3):
            await charge(world, partner, number)
        await quiet(world, partner.id)

        assert sorted(emsp.cdrs) == ["C-0", "C-1", "C-2"]
        assert sorted(emsp.sessions) == ["S-0", "S-1", "S-2"]
        assert [v for v in emsp.violations if v.object != "request"] == []


async def test_OFF_1_a_strict_partner_hears_of_a_failed_session_only_by_asking(world):
    async with Emsp(("DE", "EMP"), versions=["2.2.1"]) as emsp:
        partner = await connected(world, emsp)
        await world.partners.change(partner.id, policy={"strict": True})
        emsp.fail("500", times=1, module="sessions")
        await charge(world, partner)
        await quiet(world, partner.id)
        pulled = await emsp.fetch("sessions", date_from="2020-01-01T00:00:00Z")

        assert list(emsp.sessions) == []
        assert [s["id"] for s in pulled] == ["S-1"]


async def test_a_parked_object_can_be_sent_again(world):
    async with Emsp(("DE", "EMP"), versions=["2.2.1"]) as emsp:
        partner = await connected(world, emsp)
        emsp.fail("2001", times=1, module="cdrs")
        await charge(world, partner)
        await quiet(world, partner.id)
        parked = [m.object_id for m in world.partners.backlog(partner.id)]
        await world.partners.resend(partner.id, Kind.CDR, "C-1")
        await quiet(world, partner.id)

        assert parked in (["C-1"], [])
        assert list(emsp.cdrs) == ["C-1"]
        assert world.partners.backlog(partner.id) == []


# --- hubs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2.2.1", "2.3.0"])
async def test_CRED_13_HDR_5_a_hub_gets_locations_for_itself_and_cdrs_for_the_emsp(world, version):
    async with Emsp(parties=[("DE", "EMP")], hub=HUB, versions=[version]) as hub:
        await world.location()
        partner = await connected(world, hub)
        await charge(world, partner)
        await quiet(world, partner.id)
        to = {
            e.path.split("/")[4]: header(e, "OCPI-to-party-id")
            for e in hub.journal.exchanges
            if e.method in ("PUT", "POST")
            and e.path.split("/")[4] in ("locations", "cdrs", "sessions")
        }

        assert partner.is_hub
        assert to == {"locations": "HUB", "sessions": "EMP", "cdrs": "EMP"}
        assert hub.violations == []


@pytest.mark.parametrize("version", ["2.2.1", "2.3.0"])
async def test_HUB_2_nothing_is_sent_to_a_party_that_is_offline_until_it_is_back(world, version):
    async with Emsp(parties=[("DE", "EMP")], hub=HUB, versions=[version]) as hub:
        partner = await connected(world, hub)
        await hub.announce_client(("DE", "EMP"), status="OFFLINE")
        await charge(world, partner)
        await until(lambda: all(m.last_error for m in world.partners.backlog(partner.id)))
        await asyncio.sleep(0.1)
        held = dict(hub.cdrs.items()), [m.last_error for m in world.partners.backlog(partner.id)]
        await hub.announce_client(("DE", "EMP"), status="CONNECTED")
        await quiet(world, partner.id)

        assert held[0] == {}
        assert "DE/EMP is not connected to the hub" in held[1]
        assert list(hub.cdrs) == ["C-1"]


async def test_HUB_1_only_a_hub_tells_who_is_connected(world, partner, ask):
    body = {
        "country_code": "NL",
        "party_id": "MSP",
        "role": "EMSP",
        "status": "CONNECTED",
        "last_updated": "2026-01-01T00:00:00Z",
    }

    assert (await ask("PUT", "2.2.1/hubclientinfo/NL/MSP", body)).http == 404
    assert (await ask("PUT", "2.2.1/clientinfo/NL/MSP", body)).http == 404


@pytest.mark.parametrize("version", ["2.2.1", "2.3.0"])
@pytest.mark.parametrize("owner", [("NL", "MSP"), ("NL", "CPO")], ids=["a partner's", "ours"])
async def test_S16_a_hub_does_not_speak_for_those_who_are_here_themselves(world, version, owner):
    """That somebody is a hub is its own word: it takes no token of others over (TRANS-6)."""
    direct = await registered(world)
    card = {
        "country_code": owner[0],
        "party_id": owner[1],
        "uid": "04DIRECT",
        "type": "RFID",
        "contract_id": "NL-MSP-C1",
        "issuer": "MSP",
        "valid": True,
        "whitelist": "ALWAYS",
        "last_updated": "2026-01-01T00:00:00Z",
    }
    mine = Token(
        **{k: v for k, v in card.items() if k not in ("whitelist", "last_updated")},
        whitelist=Whitelist.ALWAYS,
        partner_id=direct.id if owner == ("NL", "MSP") else None,
    )
    work = Work()
    world.tokens.write(work, mine)
    await world.store.commit(work)
    held = await world.store.token(*owner, "04DIRECT", "RFID")
    async with Emsp(parties=[("DE", "EMP")], hub=HUB, versions=[version], tokens=[card]) as hub:
        partner = await world.partners.connect("hub", hub.versions_url, hub.invite())
        await pulled(world, partner)
        stolen = card | {"valid": False, "last_updated": "2026-02-01T00:00:00Z"}
        url = f"{hub.endpoint('tokens', 'RECEIVER')}/{owner[0]}/{owner[1]}/04DIRECT"
        caller = hub.caller()
        told = [
            await caller.request(m, m, url, body=b, module="tokens", good_only=False)
            for m, b in (("PUT", stolen), ("PATCH", stolen), ("GET", None))
        ]
        await world.partners.disconnect(partner.id)

    assert partner.is_hub
    assert [t.status for t in told] == [404] * 3
    assert (held.valid, held.partner_id) == (True, mine.partner_id)
    assert await world.store.token(*owner, "04DIRECT", "RFID") == held


async def test_S16_a_party_that_a_hub_lists_may_still_register_itself(world):
    async with (
        Emsp(parties=[("DE", "EMP")], hub=HUB, versions=["2.3.0"]) as hub,
        Emsp(("DE", "EMP"), versions=["2.3.0"]) as emsp,
    ):
        await connected(world, hub)
        partner = await connected(world, emsp)

    assert partner.status is PartnerStatus.CONNECTED


# --- comparison and probe ---------------------------------------------------------------------------


async def test_PUSH_13_what_a_partner_lost_or_changed_is_found_and_repaired(world):
    async with Emsp(("DE", "EMP"), versions=["2.2.1"]) as emsp:
        await world.tariff()
        await world.location("L-1", tariff="T-1")
        await world.location("L-2")
        partner = await connected(world, emsp)
        emsp.locations["L-1"]["name"] = "somebody's idea"
        emsp.books.locations.drop(("NL", "CPO"), "L-2")
        report = await world.partners.compare(partner.id)
        await quiet(world, partner.id)

        assert report["checked"] == 3
        assert {e["object"] for e in report["different"] + report["missing"]} == {"L-1", "L-2"}
        assert (await world.partners.compare(partner.id))["equal"] == 3


async def test_PUSH_13_a_comparison_without_repair_only_tells(world):
    async with Emsp(("DE", "EMP"), versions=["2.2.1"]) as emsp:
        await world.location()
        partner = await connected(world, emsp)
        emsp.locations["L-1"]["city"] = "Elsewhere"
        report = await world.partners.compare(partner.id, repair=False)

        assert report["different"] == [{"kind": Kind.LOCATION, "object": "L-1", "fields": ["city"]}]
        assert report["repaired"] == 0


async def test_TRANS_4_the_probe_finds_which_codings_of_the_token_a_partner_takes(world):
    async with Emsp(("DE", "EMP"), versions=["2.2.1"]) as emsp:
        partner = await connected(world, emsp)
        found = (await world.partners.probe(partner.id))["found"]

        assert (found["token_base64"], found["token_raw"]) == (True, True)
        assert (found["tokens_page"], found["tokens_total"]) == (7, 7)


async def test_the_probe_finds_objects_wrapped_in_lists(world):
    async with Emsp(
        ("DE", "EMP"), versions=["2.2.1"], dialect=Dialect(list_for_object=True)
    ) as emsp:
        await world.location()
        partner = await connected(world, emsp)
        result = await world.partners.probe(partner.id)

        assert result["found"]["object_in_list"] is True
        assert world.partners.known(partner.id).quirks["lists_for_objects"] is True
        assert (await world.partners.compare(partner.id))["equal"] == 1


async def test_visibility_a_tariff_of_another_contract_is_not_even_named(world):
    async with Emsp(("DE", "EMP"), versions=["2.2.1"]) as emsp:
        partner = await connected(world, emsp)
        await world.partners.change(partner.id, policy={"tariffs": ["T-1"]})
        await world.tariff("T-1")
        await world.tariff("T-2")
        await quiet(world, partner.id)
        pulled = [t["id"] for t in await emsp.fetch("tariffs")]
        await world.sites.remove_tariff("T-2", actor="test")
        await quiet(world, partner.id)

        assert list(emsp.tariffs) == ["T-1"]
        assert pulled == ["T-1"]
        assert not any("T-2" in e.path for e in emsp.journal.exchanges)


async def two_contracts(world):
    """A location whose connector has the tariffs of two contracts side by side."""
    await world.tariff("LIST", "0.50")
    await world.tariff("DEAL", "0.40")
    await world.location(tariff="LIST")
    place = copy.deepcopy(location_document(world.memory.sites.locations["L-1"]))
    place["evses"][0]["connectors"][0]["tariff_ids"] = ["LIST", "DEAL"]
    await world.sites.put_location("L-1", place, actor="test")


def tariffs_in(location):
    connector = location["evses"][0]["connectors"][0]
    return connector.get("tariff_ids") or [connector["tariff_id"]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("contract", "told"), [(["DEAL"], "DEAL"), (None, "LIST")], ids=["a contract", "none"]
)
async def test_LOC_22_TAR_5_a_connector_names_the_tariff_that_the_partner_pays(
    world, version, contract, told
):
    async with Emsp(("DE", "EMP"), versions=[version]) as emsp:
        partner = await connected(world, emsp)
        await world.partners.change(partner.id, policy={"tariffs": contract})
        await two_contracts(world)
        await quiet(world, partner.id)
        [pulled] = await emsp.fetch("locations")
        url = f"{emsp.endpoint('locations', 'SENDER')}/L-1/L-1-E1"
        evse = (await emsp.caller().request("evse", "GET", url, module="locations")).data
        connector = (await emsp.caller().request("c", "GET", f"{url}/1", module="locations")).data

    assert tariffs_in(emsp.locations["L-1"]) == tariffs_in(pulled) == [told]
    assert tariffs_in({"evses": [evse]}) == tariffs_in({"evses": [{"connectors": [connector]}]})
    assert tariffs_in({"evses": [evse]}) == [told]


@pytest.mark.parametrize("version", VERSIONS)
async def test_LOC_22_a_new_contract_is_told_at_once(world, version):
    """TAR-2: the new tariff, the location that names it, and only then the end of the old one."""
    async with Emsp(("DE", "EMP"), versions=[version]) as emsp:
        partner = await connected(world, emsp)
        await world.partners.change(partner.id, policy={"tariffs": ["LIST"]})
        await two_contracts(world)
        await quiet(world, partner.id)
        before = world.memory.sites.stamps["L-1"]
        heard = len(emsp.journal.received())
        await world.partners.change(partner.id, policy={"tariffs": ["DEAL"]})
        await quiet(world, partner.id)
        said = [
            (e.method, e.path.rstrip("/").rpartition("/")[2])
            for e in emsp.journal.received()[heard:]
        ]

    assert said == [("PUT", "DEAL"), ("PUT", "L-1"), ("DELETE", "LIST")]
    assert tariffs_in(emsp.locations["L-1"]) == ["DEAL"]
    assert list(emsp.tariffs) == ["DEAL"]
    assert world.memory.sites.stamps["L-1"] > before


async def change_tariff(world, tariff_id, **changes):
    body = {
        "currency": "EUR",
        "elements": [{"price_components": [{"type": "ENERGY", "price": 0.3, "step_size": 1}]}],
    }
    await world.sites.put_tariff(tariff_id, body | changes, actor="test")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"type": "AD_HOC_PAYMENT"}, ["LIST", "DEAL"]),
        ({"start_date_time": "2030-01-01T00:00:00Z"}, ["LIST", "DEAL"]),
        ({"tariff_alt_url": "https://example.com/deal"}, ["LIST"]),
    ],
    ids=["type", "validity", "neither"],
)
async def test_TAR_5_LOC_22_a_changed_tariff_changes_what_connectors_show(
    world, version, changed, told
):
    """LOC-14: told to those who see it otherwise, and to be found by those who only ask."""
    async with Emsp(("DE", "EMP"), versions=[version]) as emsp:
        partner = await connected(world, emsp)
        await two_contracts(world)
        await change_tariff(world, "LIST", end_date_time="2029-12-31T23:00:00Z")
        await world.location("L-9", tariff="DEAL")
        await quiet(world, partner.id)
        before = dict(world.memory.sites.stamps)
        await change_tariff(world, "DEAL", **changed)
        stored = {place.id: stamp for place, stamp in await world.store.locations()}
        stamps = dict(world.memory.sites.stamps)
        await quiet(world, partner.id)
        since = max(before.values()) + timedelta(milliseconds=1)
        found = [
            place["id"] for place in await emsp.fetch("locations", date_from=since.isoformat())
        ]

    # Version 2.1.1 has one tariff to a connector.
    expected = told[:1] if version == "2.1.1" else told
    assert tariffs_in(emsp.locations["L-1"]) == expected
    assert stored == stamps
    assert found == ([] if told == ["LIST"] else ["L-1"])


async def test_TAR_5_a_tariff_that_comes_changes_what_those_see_whom_its_contract_concerns(world):
    """In the unit that keeps the tariff: nobody is left untold when the server dies then."""
    contracts = {"ALL": None, "TWO": ["LIST", "DEAL"], "ONE": ["LIST"], "NON": ["OTHER"]}
    receivers = [(m, "RECEIVER", f"http://127.0.0.1:9/{m}") for m in ("locations", "tariffs")]
    for name, tariffs in contracts.items():
        policy = {"tariffs": tariffs}
        await registered(world, name=name, token=name, endpoints=receivers, policy=policy)
    await world.tariff("LIST")
    await world.location(tariff="LIST")
    place = copy.deepcopy(location_document(world.memory.sites.locations["L-1"]))
    place["evses"][0]["connectors"][0]["tariff_ids"] = ["LIST", "DEAL"]
    await world.sites.put_location("L-1", place, actor="test")
    before = world.memory.sites.stamps["L-1"]
    units = []
    commit = world.store.commit

    async def noted(work):
        units.append(work)
        return await commit(work)

    world.store.commit = noted
    await world.tariff("DEAL")

    names = {partner.id: partner.name for partner in world.partners.all()}
    [unit] = [u for u in units if any(isinstance(row, Tariff) for _, row in u.ops)]
    marked = {names[m.partner_id] for m in unit.marks if m.kind is Kind.LOCATION}
    assert marked == {"ALL", "TWO"}
    assert world.memory.sites.stamps["L-1"] > before


@pytest.mark.parametrize("places", [1, 600])
async def test_LOC_22_a_new_contract_is_kept_with_what_has_to_be_told_of_it(world, places):
    """A server that dies right after the partner was kept knows at its start whom to tell what."""
    receivers = [(m, "RECEIVER", f"http://127.0.0.1:9/{m}") for m in ("locations", "tariffs")]
    partner = await registered(world, endpoints=receivers, policy={"locations": []})
    await world.tariff("LIST")
    for n in range(places):
        await world.location(f"L-{n}", tariff="LIST")
    commit = world.store.commit

    async def dies_afterwards(work):
        if any(isinstance(row, Partner) for _, row in work.ops):
            world.store.commit = None
        return await commit(work)

    world.store.commit = dies_afterwards
    with contextlib.suppress(TypeError):  # what came after it would not be written any more
        await world.partners.change(partner.id, policy={"tariffs": ["DEAL"]})
    world.store.commit = commit

    marked = {(m.kind, m.object_id) for m in await world.store.dirty()}
    assert marked >= {(Kind.LOCATION, f"L-{n}") for n in range(places)}
    assert (Kind.TARIFF, "LIST") in marked
    assert {place.id: stamp for place, stamp in await world.store.locations()} == dict(
        world.memory.sites.stamps
    )


def statuses_in(location):
    return [evse["status"] for evse in location["evses"]]


@pytest.mark.parametrize("version", VERSIONS)
async def test_LOC_10_what_a_contract_no_longer_shows_is_removed(world, version):
    async with Emsp(("DE", "EMP"), versions=[version]) as emsp:
        partner = await connected(world, emsp)
        await world.partners.change(partner.id, policy={"locations": ["L-1"]})
        await world.location("L-1", evses=2)
        await world.location("L-2")
        await quiet(world, partner.id)
        seen = list(emsp.locations)
        await world.partners.change(partner.id, policy={"locations": ["L-2"]})
        await quiet(world, partner.id)
        removed = statuses_in(emsp.locations["L-1"])
        await world.partners.change(partner.id, policy={})
        await quiet(world, partner.id)

        assert seen == ["L-1"]
        assert removed == ["REMOVED", "REMOVED"]
        assert statuses_in(emsp.locations["L-1"]) == ["PLANNED", "PLANNED"]
        assert statuses_in(emsp.locations["L-2"]) == ["PLANNED"]
        assert emsp.violations == []


@pytest.mark.parametrize("version", VERSIONS)
async def test_LOC_15_a_location_that_is_no_longer_public_is_not_left_as_it_was(world, version):
    """2.1.1 cannot say that it is not public any more: there it is REMOVED."""
    async with Emsp(("DE", "EMP"), versions=[version]) as emsp:
        partner = await connected(world, emsp)
        await world.location()
        await quiet(world, partner.id)
        await world.location(publish=False)
        await quiet(world, partner.id)
        held = emsp.locations["L-1"]
        await world.location("L-9", publish=False)
        await quiet(world, partner.id)

    assert (held.get("publish"), statuses_in(held)) == (
        (None, ["REMOVED"]) if version == "2.1.1" else (False, ["PLANNED"])
    )
    # What it never saw is not told of either.
    assert ("L-9" in emsp.locations) is (version != "2.1.1")


# --- tokens ---------------------------------------------------------------------------------------


async def test_TOK_10_TRANS_26_all_pages_of_tokens_are_pulled(world):
    tokens = [{"uid": f"T{n:03d}"} for n in range(35)]
    async with Emsp(
        ("DE", "EMP"), versions=["2.2.1"], tokens=tokens, dialect=Dialect(page_size=10)
    ) as emsp:
        partner = await connected(world, emsp)
        await until(lambda: world.partners.known(partner.id).tokens_pulled_at)

        assert (await world.store.page("tokens", limit=100)).total == 35


async def test_a_pull_of_tokens_goes_on_where_it_stopped(world):
    tokens = [{"uid": f"T{n:03d}"} for n in range(35)]
    async with Emsp(
        ("DE", "EMP"), versions=["2.2.1"], tokens=tokens, dialect=Dialect(page_size=10)
    ) as emsp:
        emsp.fail("500", times=1, module="tokens", skip=2)
        partner = await connected(world, emsp)
        await pulled(world, partner)
        stopped = world.partners.known(partner.id).token_pull
        await world.side.puller.pull(partner.id)

        assert (await world.store.page("tokens", limit=100)).total == 35
        if stopped is not None:
            assert "offset=" in stopped.next_url


async def test_PAG_7_a_token_that_a_full_pull_no_longer_shows_is_not_valid(world):
    tokens = [{"uid": "KEPT"}, {"uid": "GONE"}]
    async with Emsp(("DE", "EMP"), versions=["2.2.1"], tokens=tokens) as emsp:
        partner = await connected(world, emsp)
        await pulled(world, partner)
        emsp.drivers._held.pop(("gone", "RFID"))
        await world.side.puller.registered(partner)
        await pulled(world, partner)
        found = {t.uid: t.valid for t, _ in (await world.store.page("tokens", limit=10)).items}

        assert found == {"KEPT": True, "GONE": False}


def held(found):
    return {t.uid: t.valid for t, _ in found.items}


@pytest.mark.parametrize("version", VERSIONS)
async def test_TOK_10_a_token_that_cannot_be_read_stays_as_we_hold_it(world, version):
    """TRANS-26: it is in the list, so that it is not gone; the others are as they are now."""
    tokens = [{"uid": uid} for uid in ("KEPT", "Spoilt", "GONE")]
    async with Emsp(("DE", "EMP"), versions=[version], tokens=tokens) as emsp:
        partner = await connected(world, emsp)
        await pulled(world, partner)
        emsp.drivers._held.pop(("gone", "RFID"))
        emsp.drivers._held["spoilt", "RFID"].token.update(uid=" SPOILT", valid="perhaps")
        with structlog.testing.capture_logs() as said:
            await world.side.puller.registered(partner)
            await pulled(world, partner)

        expected = {"KEPT": True, "Spoilt": True, "GONE": False}
        assert held(await world.store.page("tokens", limit=10)) == expected
        [told] = [entry for entry in said if entry["event"] == "token.unreadable"]
        assert [(t["uid"], t["field"]) for t in told["tokens"]] == [("SPOILT", "[1].valid")]


@pytest.mark.parametrize("page", range(2))
@pytest.mark.parametrize("uid", [None, " ", 5, []], ids=repr)
async def test_TOK_10_nothing_is_withdrawn_when_a_token_came_without_a_uid(world, page, uid):
    """Which of those that are missing it is, nobody knows; wherever in the list it stood."""
    tokens = [{"uid": "FIRST"}, {"uid": "GONE"}, {"uid": "LAST"}]
    spoilt = ("first", "last")[page]
    async with Emsp(
        ("DE", "EMP"), versions=["2.2.1"], tokens=tokens, dialect=Dialect(page_size=1)
    ) as emsp:
        partner = await connected(world, emsp)
        await pulled(world, partner)
        emsp.drivers._held.pop(("gone", "RFID"))
        emsp.drivers._held[spoilt, "RFID"].token.update(uid=uid, valid="perhaps")
        with structlog.testing.capture_logs() as said:
            await world.side.puller.registered(partner)
            await pulled(world, partner)

        found = held(await world.store.page("tokens", limit=10))
        assert found == {"FIRST": True, "GONE": True, "LAST": True}
        assert "token.nothing_withdrawn" in [entry["event"] for entry in said]
        assert world.partners.known(partner.id).token_pull is None


async def test_TOK_10_a_pull_that_is_cut_short_remembers_that_a_token_had_no_uid(world):
    tokens = [{"uid": "FIRST"}, {"uid": "GONE"}, {"uid": "LAST"}]
    async with Emsp(
        ("DE", "EMP"), versions=["2.2.1"], tokens=tokens, dialect=Dialect(page_size=1)
    ) as emsp:
        partner = await connected(world, emsp)
        await pulled(world, partner)
        emsp.drivers._held.pop(("gone", "RFID"))
        emsp.drivers._held["first", "RFID"].token["uid"] = None
        emsp.fail("500", times=1, module="tokens", skip=1)
        await world.side.puller.registered(partner)
        await pulled(world, partner)
        [stored] = await world.store.partners()
        await world.partners.load()
        await world.side.puller.pull(partner.id)

        assert stored.token_pull.blurred
        found = held(await world.store.page("tokens", limit=10))
        assert found == {"FIRST": True, "GONE": True, "LAST": True}


async def test_TOK_10_an_answer_without_a_list_withdraws_nothing(world):
    async with Emsp(("DE", "EMP"), versions=["2.2.1"], tokens=[{"uid": "KEPT"}]) as emsp:
        partner = await connected(world, emsp)
        await pulled(world, partner)
        keep = world.side.puller._keep

        async def without_list(partner, progress, page, asked_at):
            return await keep(partner, progress, replace(page, items=[], listed=False), asked_at)

        world.side.puller._keep = without_list
        await world.side.puller.registered(partner)
        await pulled(world, partner)

        assert held(await world.store.page("tokens", limit=10)) == {"KEPT": True}


async def page_meets(world, emsp, partner, *puts):
    """Pull all tokens anew; the partner says `puts` after its page was read, before it is kept."""
    puller = world.side.puller
    keep = puller._keep

    async def kept_late(*page):
        puller._keep = keep
        for put in puts:
            await emsp.send_token(put)
        return await keep(*page)

    puller._keep = kept_late
    await puller.registered(partner)
    await pulled(world, partner)
    return held(await world.store.page("tokens", limit=10))


T1, T2 = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("at", [T1, T2], ids=["of the same instant", "newer"])
async def test_S23_a_page_does_not_replace_what_was_put_after_it(world, version, at):
    tokens = [{"uid": "A", "last_updated": T1}, {"uid": "B", "last_updated": T1}]
    async with Emsp(("DE", "EMP"), versions=[version], tokens=tokens) as emsp:
        partner = await connected(world, emsp)
        await pulled(world, partner)
        put = {"uid": "A", "valid": False, "last_updated": at}

        assert await page_meets(world, emsp, partner, put) == {"A": False, "B": True}


@pytest.mark.parametrize(("at", "valid"), [(T1, False), (T2, True)], ids=["older", "as old"])
async def test_S23_a_list_says_nothing_that_is_older_than_what_we_hold(world, at, valid):
    """A list from a stale copy; what it names is there nevertheless."""
    async with Emsp(
        ("DE", "EMP"), versions=["2.2.1"], tokens=[{"uid": "A", "last_updated": T1}]
    ) as emsp:
        partner = await connected(world, emsp)
        await pulled(world, partner)
        await emsp.send_token({"uid": "A", "valid": False, "last_updated": T2})
        [(_, since)] = await world.store.tokens_held(partner.id, ["A"])
        await until(lambda: world.side.puller._instant() > since)
        emsp.drivers.change({"uid": "A", "valid": True, "last_updated": at})
        await world.side.puller.registered(partner)
        await pulled(world, partner)

        assert held(await world.store.page("tokens", limit=10)) == {"A": valid}


async def test_PAG_7_what_is_put_while_missing_tokens_are_withdrawn_is_valid(world):
    tokens = [{"uid": "KEPT"}, {"uid": "BACK"}]
    async with Emsp(("DE", "EMP"), versions=["2.2.1"], tokens=tokens) as emsp:
        partner = await connected(world, emsp)
        await pulled(world, partner)
        emsp.drivers._held.pop(("back", "RFID"))
        read = world.store.page

        async def put_meanwhile(*args, **filters):
            world.store.page = read
            page = await read(*args, **filters)
            await emsp.send_token({"uid": "BACK"})
            return page

        world.store.page = put_meanwhile
        await world.side.puller.registered(partner)
        await pulled(world, partner)

        assert held(await world.store.page("tokens", limit=10)) == {"KEPT": True, "BACK": True}


async def test_S23_states_of_one_token_are_compared_and_kept_one_after_the_other(world):
    async with Emsp(("DE", "EMP"), versions=["2.2.1"], tokens=[{"uid": "A"}]) as emsp:
        partner = await connected(world, emsp)
        await pulled(world, partner)
        async with world.tokens.alone(["a"]):
            put = asyncio.create_task(emsp.send_token({"uid": "A", "group_id": "PUT"}))
            patch = asyncio.create_task(
                emsp.send_token({"uid": "A", "valid": False}, method="PATCH")
            )
            await world.side.puller.registered(partner)
            for n in range(5):
                await emsp.send_token({"uid": f"B{n}"})
            [untouched] = await world.store.tokens_by_uid("A")
            waiting = [put.done(), patch.done(), world.side.puller._running[partner.id].done()]
        await asyncio.gather(put, patch)
        await pulled(world, partner)
        [token] = await world.store.tokens_by_uid("A")

    assert (untouched.group_id, untouched.valid, waiting) == (None, True, [False] * 3)
    assert (token.group_id, token.valid) == ("PUT", False)


async def test_TOK_11_the_next_pull_asks_for_what_changed_since_the_last_one_began(world):
    async with Emsp(("DE", "EMP"), versions=["2.2.1"]) as emsp:
        partner = await connected(world, emsp)
        await until(lambda: world.partners.known(partner.id).tokens_pulled_at)
        began = world.partners.known(partner.id).tokens_pulled_at
        await world.side.puller.pull(partner.id)
        asked = [e.query for e in emsp.journal.exchanges if e.module == "tokens"][-1]

        assert "date_from=" in asked
        assert unquote(asked.split("date_from=")[1].split("&")[0]) < began.isoformat()


# --- several parties --------------------------------------------------------------------------------


async def test_CRED_12_several_parties_of_ours_on_one_connection(tmp_path):
    parties = [
        {"country_code": "NL", "party_id": p, "business_details": {"name": p}}
        for p in ("ONE", "TWO")
    ]
    async with partner_world(f"sqlite:///{tmp_path}/cpo.db", parties=parties) as world:
        await world.location("L-1", country_code="NL", party_id="ONE")
        await world.location("L-2", country_code="NL", party_id="TWO")
        async with Emsp(("DE", "EMP"), versions=["2.2.1"]) as emsp:
            partner = await connected(world, emsp)
            sent = {
                e.path: header(e, "OCPI-from-party-id")
                for e in emsp.journal.exchanges
                if e.method == "PUT" and "/locations/" in e.path
            }
            roles = [r.party_id for r in emsp.peers[-1].roles]

            assert sent == {
                "/ocpi/emsp/2.2.1/locations/NL/ONE/L-1": "ONE",
                "/ocpi/emsp/2.2.1/locations/NL/TWO/L-2": "TWO",
            }
            assert sorted(roles) == ["ONE", "TWO"]
            assert partner.roles[0].party_id == "EMP"
