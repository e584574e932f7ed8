"""Locations, tariffs, sessions, CDRs and tokens as partners read and write them."""

import copy
from datetime import UTC, datetime, timedelta

import ocpi_charges
import pytest
from partner_world import TOKEN, registered

from cpo.domain.location import location_document
from cpo.domain.station import Station
from cpo.ocpi.envelope import next_link
from cpo.services.memory import StationState
from cpo.services.ports import Work

VERSIONS = ["2.1.1", "2.2.1", "2.3.0"]


async def store(world, *rows):
    for row in rows:
        work = Work()
        work.put(row)
        await world.store.commit(work)


async def walk(ask, path):
    """Follow the links of a list; returns all objects and the pages' headers."""
    items, headers = [], []
    while path:
        told = await ask("GET", path)
        assert told.said == (200, 1000)
        items += told.data
        headers.append(told.headers)
        path = next_link(told.headers.get("Link"))
    return items, headers


# --- lists ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
async def test_PAG_2_a_list_is_walked_by_its_links(world, partner, version):
    for n in range(7):
        await world.location(f"L-{n}")
    items, headers = await walk(world.ask(TOKEN, version), f"{version}/locations?limit=3")

    assert [i["id"] for i in items] == [f"L-{n}" for n in range(7)]
    assert {h["X-Total-Count"] for h in headers} == {"7"}
    assert {h["X-Limit"] for h in headers} == {"1000"}
    assert len(headers) == 3


async def test_PAG_1_the_start_of_a_filter_counts_and_its_end_does_not(world, ask):
    for n in range(3):
        await world.location(f"L-{n}")
    stamps = [i["last_updated"] for i in (await ask("GET", "2.2.1/locations")).data]
    exact = [world.memory.sites.stamps[f"L-{n}"].isoformat() for n in range(3)]
    first = exact[1].replace("+00:00", "Z")
    told = await ask(
        "GET", f"2.2.1/locations?date_from={first}&date_to={exact[2].replace('+00:00', 'Z')}"
    )

    assert [i["id"] for i in told.data] == ["L-1"]
    assert sorted(stamps) == stamps


async def test_PAG_8_dates_may_be_encoded_plain_or_with_an_offset(world, ask):
    await world.location()
    for text in (
        "2020-01-01T00:00:00Z",
        "2020-01-01T00%3A00%3A00%2B01%3A00",
        "2020-01-01T00:00:00+01:00",
    ):
        assert len((await ask("GET", f"2.2.1/locations?date_from={text}")).data) == 1


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=-1", "offset=-1", "date_from=x", "date_to=x", "cursor=%25"]
)
@pytest.mark.parametrize("module", ["locations", "tariffs", "cdrs", "sessions"])
async def test_PAG_3_S20_bad_parameters_are_2001_with_the_name(world, ask, module, query):
    if module == "sessions" and "date_from" not in query:
        query += "&date_from=2020-01-01T00:00:00Z"
    told = await ask("GET", f"2.2.1/{module}?{query}")

    assert told.said == (200, 2001)
    assert query.split("=")[0] in told.body["status_message"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=1000000000",
        "offset=1000000000000000000000",
        "date_from=2099-01-01T00:00:00Z&date_to=2000-01-01T00:00:00Z",
    ],
)
@pytest.mark.parametrize("module", ["locations", "tariffs", "cdrs"])
async def test_S20_absurd_parameters_give_a_page_not_an_error(world, ask, module, query):
    assert (await ask("GET", f"2.2.1/{module}?{query}")).said == (200, 1000)


async def test_I9_what_changes_while_a_list_is_walked_is_not_missed(world, ask):
    for n in range(6):
        await world.location(f"L-{n}")
    seen, path = {}, "2.2.1/locations?limit=2"
    while path:
        told = await ask("GET", path)
        seen |= {i["id"]: i["last_updated"] for i in told.data}
        path = next_link(told.headers.get("Link"))
        if len(seen) == 2:
            await world.status("L-0", "L-0-E1", "CHARGING")
            await world.status("L-5", "L-5-E1", "CHARGING")
    full = {i["id"]: i["last_updated"] for i in (await ask("GET", "2.2.1/locations")).data}

    assert seen == full


async def test_D5_polling_from_the_newest_instant_seen_misses_nothing(world, ask):
    mirror, newest = {}, "2020-01-01T00:00:00Z"
    for n in range(10):
        await world.location(f"L-{n % 3}", name=f"name {n}")
        for item in (await ask("GET", f"2.2.1/locations?date_from={newest}")).data:
            mirror[item["id"]] = item
            newest = max(newest, item["last_updated"])
    full = {i["id"]: i for i in (await ask("GET", "2.2.1/locations")).data}

    assert mirror == full


# --- locations ------------------------------------------------------------------------------------


async def test_LOC_21_location_evse_and_connector_are_found_without_case(world, ask):
    await world.location("Loc-1")

    assert (await ask("GET", "2.2.1/locations/LOC-1")).data["id"] == "Loc-1"
    assert (await ask("GET", "2.2.1/locations/loc-1/LOC-1-E1")).data["uid"] == "Loc-1-E1"
    assert (await ask("GET", "2.2.1/locations/loc-1/loc-1-e1/1")).data["id"] == "1"


@pytest.mark.parametrize("path", ["L-9", "L-1/none", "L-1/L-1-E1/9"])
async def test_LOC_21_what_is_not_there_is_404(world, ask, path):
    await world.location()

    assert (await ask("GET", f"2.2.1/locations/{path}")).said == (404, 2003)


def stamps_of(location):
    """The stamps of a location, of its EVSEs, and of each one's connectors."""
    return (
        location["last_updated"],
        [evse["last_updated"] for evse in location["evses"]],
        [[c["last_updated"] for c in evse["connectors"]] for evse in location["evses"]],
    )


async def change_connector(world, evse=0):
    """Enter other data of one connector, and nothing else."""
    body = location_document(world.memory.sites.locations["L-1"])
    body["evses"][evse]["connectors"][0]["max_amperage"] += 1
    await world.sites.put_location("L-1", body, actor="test")


@pytest.mark.parametrize("version", VERSIONS)
async def test_LOC_14_a_status_moves_the_evse_and_its_location_and_no_connector(
    world, ask, version
):
    await world.location(evses=2)
    before = (await ask("GET", f"{version}/locations/L-1")).data
    await world.status("L-1", "L-1-E1", "CHARGING")
    after = (await ask("GET", f"{version}/locations/L-1")).data

    assert after["evses"][0]["status"] == "CHARGING"
    assert after["last_updated"] > before["last_updated"]
    assert after["evses"][0]["last_updated"] == after["last_updated"]
    assert stamps_of(after)[1][1] == stamps_of(before)[1][1]
    assert stamps_of(after)[2] == stamps_of(before)[2]


@pytest.mark.parametrize("version", VERSIONS)
async def test_LOC_14_other_data_move_the_connector_its_evse_and_its_location(world, ask, version):
    await world.location(evses=2)
    await world.status("L-1", "L-1-E1", "CHARGING")
    whole, evses, connectors = stamps_of((await ask("GET", f"{version}/locations/L-1")).data)
    await change_connector(world)
    moved, new_evses, new_connectors = stamps_of(
        (await ask("GET", f"{version}/locations/L-1")).data
    )

    assert moved >= new_evses[0] >= new_connectors[0][0] > whole
    assert (new_evses[1], new_connectors[1]) == (evses[1], connectors[1])


async def test_LOC_14_other_data_move_the_evse_also_where_another_node_has_the_station(world, ask):
    """That node writes the EVSE's status, when it changes; here it does not."""
    await world.location()
    await world.status("L-1", "L-1-E1", "CHARGING")
    before = (await ask("GET", "2.2.1/locations/L-1")).data
    world.memory.shared = True
    world.memory.stations["CP-L-1"] = StationState(Station(identity="CP-L-1"))
    await change_connector(world)
    after = (await ask("GET", "2.2.1/locations/L-1")).data

    assert after["evses"][0]["status"] == "CHARGING"
    assert after["evses"][0]["last_updated"] > before["evses"][0]["last_updated"]


async def test_LOC_14_what_is_entered_again_as_it_is_is_no_change(world, ask):
    """A nightly import must not make every partner fetch everything anew."""
    await world.tariff("T-1")
    await world.location(tariff="T-1", evses=2)
    before = [(await ask("GET", f"2.2.1/{module}")).data for module in ("tariffs", "locations")]
    await world.tariff("T-1")
    await world.location(tariff="T-1", evses=2)
    after = [(await ask("GET", f"2.2.1/{module}")).data for module in ("tariffs", "locations")]

    assert after == before


async def test_I7_a_tariff_is_as_new_as_its_last_change_whatever_its_operator_wrote(world, ask):
    body = {
        "currency": "EUR",
        "last_updated": "2026-01-01T00:00:00Z",
        "elements": [{"price_components": [{"type": "FLAT", "price": 1, "step_size": 1}]}],
    }
    told = []
    for price in (1, 2):
        body["elements"][0]["price_components"][0]["price"] = price
        await world.sites.put_tariff("T-1", copy.deepcopy(body), actor="test")
        [shown] = (await ask("GET", "2.2.1/tariffs")).data
        told.append(shown["last_updated"])
    since = (await ask("GET", f"2.2.1/tariffs?date_from={told[1]}")).data
    await world.memory.load(world.store)
    [loaded] = (await ask("GET", "2.2.1/tariffs")).data

    assert "2026-01-01" not in told[0]
    assert told[0] < told[1] == since[0]["last_updated"] == loaded["last_updated"]


async def test_LOC_10_a_withdrawn_location_stays_as_removed(world, ask):
    await world.location()
    await world.sites.remove_location("L-1", actor="test")
    listed = (await ask("GET", "2.2.1/locations")).data

    assert [e["status"] for e in listed[0]["evses"]] == ["REMOVED"]
    assert (await ask("GET", "2.2.1/locations/L-1")).http == 200


async def test_visibility_a_partner_sees_only_the_locations_of_its_contract(world, partner, ask):
    await world.location("L-1")
    await world.location("L-2")
    await world.partners.change(partner.id, policy={"locations": ["L-2"]})
    told = await ask("GET", "2.2.1/locations")

    assert [i["id"] for i in told.data] == ["L-2"]
    assert told.headers["X-Total-Count"] == "1"
    assert (await ask("GET", "2.2.1/locations/L-1")).http == 404


async def test_S4_the_ocpp_identity_reaches_no_partner(world, ask):
    await world.location()
    for path in ("2.2.1/locations", "2.2.1/locations/L-1", "2.3.0/locations", "2.1.1/locations"):
        told = await ask("GET", path)
        assert "CP-L-1" not in str(told.body)


# --- sessions and CDRs ----------------------------------------------------------------------------


async def test_SES_1_CDR_3_S16_a_partner_sees_only_its_own_sessions_and_cdrs(world, partner, ask):
    other = await registered(world, name="OTH", token="other-token")
    for number, owner in enumerate((partner.id, other.id, None)):
        await store(
            world,
            ocpi_charges.session(id=f"S-{number}", partner_id=owner),
            ocpi_charges.cdr(id=f"C-{number}", session_id=f"S-{number}", partner_id=owner),
        )
    sessions = await ask("GET", "2.2.1/sessions?date_from=2020-01-01T00:00:00Z")
    cdrs = await ask("GET", "2.2.1/cdrs")

    assert [s["id"] for s in sessions.data] == ["S-0"]
    assert [c["id"] for c in cdrs.data] == ["C-0"]
    assert (sessions.headers["X-Total-Count"], cdrs.headers["X-Total-Count"]) == ("1", "1")


async def test_SES_17_sessions_without_date_from_are_2001(ask):
    told = await ask("GET", "2.2.1/sessions")

    assert told.said == (200, 2001)
    assert "date_from" in told.body["status_message"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_I2_a_cdr_reads_the_same_however_often(world, partner, version):
    await store(world, ocpi_charges.cdr(partner_id=partner.id))
    ask = world.ask(TOKEN, version)
    first = (await ask("GET", f"{version}/cdrs")).data

    assert first
    assert (await ask("GET", f"{version}/cdrs")).data == first


async def test_a_cdr_that_is_held_for_a_person_is_not_shown(world, partner, ask):
    await store(world, ocpi_charges.cdr(partner_id=partner.id, hold=("too much energy",)))

    assert (await ask("GET", "2.2.1/cdrs")).data == []


async def test_CDR_5_credit_cdrs_do_not_exist_in_2_1_1(world, partner):
    await store(
        world,
        ocpi_charges.cdr(id="C-1-C", partner_id=partner.id, credit=True, credit_reference_id="C-1"),
    )

    assert (await world.ask(TOKEN)("GET", "2.1.1/cdrs")).data == []
    assert len((await world.ask(TOKEN)("GET", "2.2.1/cdrs")).data) == 1


async def test_SES_18_preferences_of_an_evse_that_takes_none_are_404_with_2001(world, partner, ask):
    await store(world, ocpi_charges.session(partner_id=partner.id))
    told = await ask(
        "PUT", "2.2.1/sessions/SESSION-1/charging_preferences", {"profile_type": "REGULAR"}
    )

    assert told.said == (404, 2001)


async def test_SES_18_preferences_of_somebody_elses_session_are_404(world, ask):
    other = await registered(world, name="OTH", token="other-token")
    await store(world, ocpi_charges.session(partner_id=other.id))
    told = await ask(
        "PUT", "2.2.1/sessions/SESSION-1/charging_preferences", {"profile_type": "REGULAR"}
    )

    assert told.said == (404, 2000)


# --- tokens ---------------------------------------------------------------------------------------

STAMP = datetime(2026, 1, 1, tzinfo=UTC)


def token(version="2.2.1", **changes):
    at = changes.pop("at", STAMP)
    body = {
        "country_code": "NL",
        "party_id": "MSP",
        "uid": "ABC123",
        "type": "RFID",
        "contract_id": "NL-MSP-C1",
        "issuer": "MSP",
        "valid": True,
        "whitelist": "ALWAYS",
        "last_updated": at.isoformat().replace("+00:00", "Z"),
    } | changes
    if version == "2.1.1":
        body["auth_id"] = body.pop("contract_id")
        del body["country_code"], body["party_id"]
    return body


@pytest.mark.parametrize("version", VERSIONS)
async def test_TOK_1_a_token_is_put_changed_and_read(world, partner, version):
    ask = world.ask(TOKEN, version)
    path = f"{version}/tokens/NL/MSP/ABC123"
    later = (STAMP + timedelta(hours=1)).isoformat().replace("+00:00", "Z")

    assert (await ask("GET", path)).said[0] == 404
    assert (await ask("PUT", path, token(version))).said == (201, 1000)
    assert (await ask("PUT", path, token(version))).said == (200, 1000)
    assert (await ask("PATCH", path, {"valid": False, "last_updated": later})).said == (200, 1000)
    told = await ask("GET", path)
    assert told.data["valid"] is False
    assert told.data["last_updated"] == later


async def test_TOK_4_uids_are_compared_without_case_and_kept_as_spelled(world, ask):
    await ask("PUT", "2.2.1/tokens/NL/MSP/abc123", token(uid="aBc123"))

    assert (await ask("GET", "2.2.1/tokens/nl/msp/ABC123")).data["uid"] == "aBc123"


async def test_TOK_2_the_type_is_part_of_the_key(world, ask):
    path = "2.2.1/tokens/NL/MSP/ABC123"
    await ask("PUT", f"{path}?type=APP_USER", token(type="APP_USER"))
    only = await ask("GET", path)
    await ask("PUT", path, token())

    assert (await ask("GET", f"{path}?type=RFID")).data["type"] == "RFID"
    assert (await ask("GET", path)).data["type"] == "RFID"
    assert (await ask("GET", f"{path}?type=APP_USER")).data["type"] == "APP_USER"
    assert (await ask("GET", f"{path}?type=OTHER")).http == 404
    assert only.data["type"] == "APP_USER"


async def test_TOK_2_a_partner_that_never_says_the_type_finds_its_token_again(world, ask):
    """It puts an app's token without `?type=`, and changes it in the same way."""
    path = "2.2.1/tokens/NL/MSP/ABC123"
    later = (STAMP + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    await ask("PUT", path, token(type="APP_USER"))
    patched = await ask("PATCH", path, {"valid": False, "last_updated": later})

    assert patched.said == (200, 1000)
    assert (await ask("GET", path)).data["valid"] is False


@pytest.mark.parametrize(
    ("path", "changes", "field"),
    [
        ("NL/MSP/OTHER", {}, "uid"),
        ("NL/MSP/ABC123", {"country_code": "DE"}, "country_code"),
        ("NL/MSP/ABC123", {"party_id": "XXX"}, "party_id"),
        ("NL/MSP/ABC123?type=OTHER", {}, "type"),
    ],
)
async def test_TRANS_17_TOK_3_a_body_that_differs_from_the_url_is_2001(ask, path, changes, field):
    told = await ask("PUT", f"2.2.1/tokens/{path}", token(**changes))

    assert told.said == (200, 2001)
    assert field in told.body["status_message"]


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH"])
async def test_S16_OWN_4_tokens_of_a_foreign_party_are_404(world, ask, method):
    body = None if method == "GET" else token(country_code="DE", party_id="XXX")

    assert (await ask(method, "2.2.1/tokens/DE/XXX/ABC123", body)).http == 404


async def test_TOK_6_S16_another_partner_cannot_reach_a_token(world, partner, ask):
    await registered(world, name="OTH", token="other-token")
    await ask("PUT", "2.2.1/tokens/NL/MSP/ABC123", token())
    other = world.ask("other-token")

    for method, body in (
        ("GET", None),
        ("PATCH", {"valid": False, "last_updated": "2030-01-01T00:00:00Z"}),
        ("PUT", token(valid=False)),
    ):
        assert (await other(method, "2.2.1/tokens/NL/MSP/ABC123", body)).http == 404
    assert (await ask("GET", "2.2.1/tokens/NL/MSP/ABC123")).data["valid"] is True


async def test_S23_an_older_state_changes_nothing(world, ask):
    path = "2.2.1/tokens/NL/MSP/ABC123"
    await ask("PUT", path, token(valid=False))
    told = await ask("PUT", path, token(valid=True, at=STAMP - timedelta(days=1)))

    assert told.said == (200, 1000)
    assert (await ask("GET", path)).data["valid"] is False


async def test_S23_what_a_connection_before_left_does_not_stand_against_a_new_one(world, partner):
    """CRED-9: the same eMSP, invited anew; its token is no newer than the one it gave us then."""
    newer = token(at=STAMP + timedelta(days=1), valid=False)
    assert (await world.ask(TOKEN)("PUT", "2.2.1/tokens/NL/MSP/ABC123", newer)).code == 1000
    await world.partners.disconnect(partner.id)
    await registered(world, token="token-of-the-second")
    ask = world.ask("token-of-the-second")

    assert (await ask("PUT", "2.2.1/tokens/NL/MSP/ABC123", token())).said == (201, 1000)
    assert (await ask("GET", "2.2.1/tokens/NL/MSP/ABC123")).data == token()


async def test_TRANS_18_a_patch_without_last_updated_is_2001(world, ask):
    await ask("PUT", "2.2.1/tokens/NL/MSP/ABC123", token())
    told = await ask("PATCH", "2.2.1/tokens/NL/MSP/ABC123", {"valid": False})

    assert told.said == (200, 2001)
    assert "last_updated" in told.body["status_message"]


async def test_S17_TRANS_24_fields_we_do_not_know_are_ignored(world, ask):
    body = token(partner_id="somebody-else", owner="me", nonsense={"a": [1]})

    assert (await ask("PUT", "2.2.1/tokens/NL/MSP/ABC123", body)).said == (201, 1000)
    found = await world.store.tokens_by_uid("ABC123")
    assert found[0].partner_id != "somebody-else"


BROKEN = [
    pytest.param(field, value, id=f"{field}={str(value)[:12]!r}")
    for field, values in {
        "country_code": [None, 5, "NLD", "", {}],
        "party_id": [None, 5, "TOOLONG", ""],
        "uid": [None, 5, "x" * 37, "", "a\x01b"],
        "type": [None, []],
        "contract_id": [None, {}, "x" * 37],
        "issuer": [None, [], "x" * 65],
        "valid": [None, "perhaps", 7, []],
        "whitelist": [None, 5, "SOMETIMES"],
        "last_updated": [None, 5, "yesterday", "2026-99-99T00:00:00Z"],
        "visual_number": [[], "x" * 65],
        "group_id": [[], "x" * 37],
        "language": [[], "nld"],
        "default_profile_type": [5, "SLOW"],
        "energy_contract": [5, {}, {"supplier_name": "x" * 65}],
    }.items()
    for value in values
]


@pytest.mark.parametrize(("field", "value"), BROKEN)
async def test_TRANS_13_every_broken_field_is_named_and_nothing_is_kept(world, ask, field, value):
    told = await ask("PUT", "2.2.1/tokens/NL/MSP/ABC123", token() | {field: value})

    assert (told.http, told.code // 1000) == (200, 2)
    assert field in told.body["status_message"]
    assert await world.store.tokens_by_uid("ABC123") == []


@pytest.mark.parametrize(
    "field", ["uid", "type", "contract_id", "issuer", "valid", "whitelist", "last_updated"]
)
async def test_TRANS_13_every_missing_field_is_named(ask, field):
    body = token()
    del body[field]
    told = await ask("PUT", "2.2.1/tokens/NL/MSP/ABC123", body)

    assert told.said == (200, 2001)
    assert field in told.body["status_message"]
