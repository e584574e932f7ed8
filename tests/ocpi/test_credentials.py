"""The handshake, in both directions and all versions, and what may go wrong in it."""

import asyncio

import pytest
from partner_world import TOKEN, partner_world, registered
from waiting import until

from chargers_sim.emsp import Emsp
from cpo.domain.partner import PartnerStatus
from cpo.errors import NotFound, PartnerUnreachable

VERSIONS = ["2.1.1", "2.2.1", "2.3.0"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_CRED_6_a_partner_registers_and_its_one_time_token_dies(world, version):
    invited = await world.partners.invite("double")
    async with Emsp(versions=[version]) as emsp:
        await emsp.register(world.side.versions_url, invited.token_a)
        partner = world.partners.known(invited.partner.id)

        assert (partner.status, partner.version) == (PartnerStatus.CONNECTED, version)
        assert emsp.violations == []
    assert (await world.ask(invited.token_a)("GET", "versions")).http == 401


@pytest.mark.parametrize("version", VERSIONS)
async def test_CRED_4_we_register_and_are_called_back_meanwhile(world, version):
    async with Emsp(versions=[version]) as emsp:
        partner = await world.partners.connect("double", emsp.versions_url, emsp.invite())

        assert (partner.status, partner.version) == (PartnerStatus.CONNECTED, version)
        assert partner.has_party("NL", "MSP")


@pytest.mark.parametrize("version", VERSIONS)
async def test_CRED_4_PUSH_11_nothing_is_sent_before_our_answer_to_a_handshake(
    world, version, monkeypatch
):
    """The partner cannot know us yet: it would refuse what we have for it."""
    await world.tariff()
    invited = await world.partners.invite("double")
    marked = world.partners.registered

    async def slowly(partner):
        """Many objects take their time, and the answer comes after them."""
        await marked(partner)
        await asyncio.sleep(0.3)

    monkeypatch.setattr(world.partners, "registered", slowly)
    async with Emsp(versions=[version]) as emsp:
        await emsp.register(world.side.versions_url, invited.token_a)
        await until(lambda: "T-1" in emsp.tariffs)
        seen = [(e.status, e.object) for e in emsp.journal.received()]

    assert [one for one in seen if one[0] == 401] == []


@pytest.mark.parametrize("version", VERSIONS)
async def test_CRED_7_we_rotate_the_tokens(world, version):
    async with Emsp(versions=[version]) as emsp:
        partner = await world.partners.connect("double", emsp.versions_url, emsp.invite())
        rotated = await world.partners.rotate(partner.id)
        await world.tariff()
        await _settled(world, partner.id)

        assert rotated.token_out != partner.token_out
        assert rotated.token_in_hashes[0] != partner.token_in_hashes[0]
        assert "T-1" in emsp.tariffs


async def test_S15_of_twenty_posts_at_once_one_wins(world):
    async with Emsp(versions=["2.2.1"]) as emsp:
        invited = await world.partners.invite("double")
        emsp_token = emsp.invite()
        body = {
            "token": emsp_token,
            "url": emsp.versions_url,
            "roles": [
                {
                    "role": "EMSP",
                    "country_code": "NL",
                    "party_id": "MSP",
                    "business_details": {"name": "MSP"},
                }
            ],
        }
        ask = world.ask(invited.token_a)
        told = await asyncio.gather(*(ask("POST", "2.2.1/credentials", body) for _ in range(20)))

    said = sorted(t.http for t in told)
    assert said.count(200) == 1
    assert set(said) <= {200, 401, 405}


async def test_CRED_1_post_when_registered_and_put_when_not_are_405(world, ask):
    assert (await ask("POST", "2.2.1/credentials", {})).http == 405
    invited = await world.partners.invite("new")
    for method in ("PUT", "DELETE"):
        told = await world.ask(invited.token_a)(method, "2.2.1/credentials", {})
        assert told.http == 405


async def test_TRANS_5_the_one_time_token_opens_nothing_but_the_handshake(world):
    invited = await world.partners.invite("new")
    ask = world.ask(invited.token_a)

    assert (await ask("GET", "versions")).http == 200
    assert (await ask("GET", "2.2.1")).http == 200
    for module in ("locations", "tokens/NL/MSP/1", "cdrs", "sessions", "tariffs"):
        assert (await ask("GET", f"2.2.1/{module}")).http == 401


async def test_CRED_10_get_shows_our_roles_and_the_callers_own_token(world, ask):
    data = (await ask("GET", "2.2.1/credentials")).data

    assert data["token"] == TOKEN
    assert data["url"] == world.side.versions_url
    assert [(r["role"], r["party_id"]) for r in data["roles"]] == [("CPO", "CPO")]


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("http://127.0.0.1:1/versions", 3001),
        ("ftp://emsp.example/versions", 2001),
        ("not a url", 2001),
    ],
)
async def test_CRED_3_a_failed_callback_keeps_nothing_and_the_invitation(world, url, status):
    invited = await world.partners.invite("new")
    ask = world.ask(invited.token_a)
    role = {
        "role": "EMSP",
        "country_code": "DE",
        "party_id": "NEW",
        "business_details": {"name": "New"},
    }
    told = await ask("POST", "2.2.1/credentials", {"token": "x", "url": url, "roles": [role]})

    assert told.said == (200, status)
    assert world.partners.known(invited.partner.id) == invited.partner
    assert (await ask("GET", "versions")).http == 200


async def test_CRED_3_a_version_the_partner_does_not_have_is_3002(world):
    async with Emsp(versions=["2.1.1"]) as emsp:
        invited = await world.partners.invite("new")
        role = {
            "role": "EMSP",
            "country_code": "DE",
            "party_id": "NEW",
            "business_details": {"name": "New"},
        }
        body = {"token": emsp.invite(), "url": emsp.versions_url, "roles": [role]}
        told = await world.ask(invited.token_a)("POST", "2.2.1/credentials", body)

    assert told.said == (200, 3002)


@pytest.mark.parametrize("missing", ["token", "url", "roles"])
async def test_a_missing_field_is_named(world, missing):
    invited = await world.partners.invite("new")
    body = {"token": "x", "url": "http://127.0.0.1:1/", "roles": []}
    del body[missing]
    told = await world.ask(invited.token_a)("POST", "2.2.1/credentials", body)

    assert told.said == (200, 2001)
    assert missing in told.body["status_message"]


async def test_S16_a_party_that_is_ours_cannot_register(world):
    invited = await world.partners.invite("new")
    role = {
        "role": "EMSP",
        "country_code": "NL",
        "party_id": "CPO",
        "business_details": {"name": "New"},
    }
    body = {"token": "x", "url": "http://127.0.0.1:1/", "roles": [role]}
    told = await world.ask(invited.token_a)("POST", "2.2.1/credentials", body)

    assert told.said == (200, 2001)
    assert "roles[0].party_id" in told.body["status_message"]


async def test_CRED_9_after_delete_no_token_counts(world, partner, ask):
    assert (await ask("DELETE", "2.2.1/credentials")).said == (200, 1000)
    assert (await ask("GET", "versions")).http == 401
    assert world.partners.known(partner.id).status is PartnerStatus.DISCONNECTED


async def test_CRED_8_the_old_token_lives_until_the_new_one_is_used(world):
    async with Emsp(versions=["2.2.1"]) as emsp:
        invited = await world.partners.invite("double")
        await emsp.register(world.side.versions_url, invited.token_a)
        partner = world.partners.known(invited.partner.id)
        before = partner.token_in_hashes[0]
        body = {
            "token": emsp.invite(),
            "url": emsp.versions_url,
            "roles": [
                {
                    "role": "EMSP",
                    "country_code": "NL",
                    "party_id": "MSP",
                    "business_details": {"name": "MSP"},
                }
            ],
        }
        token = next(p for p in emsp.peers if p.registered).token_out
        told = await world.ask(token)("PUT", "2.2.1/credentials", body)
        new = told.data["token"]

        assert world.partners.known(partner.id).token_in_hashes[1] == before
        assert (await world.ask(token)("GET", "versions")).http == 200
        assert (await world.ask(new)("GET", "versions")).http == 200
        assert (await world.ask(token)("GET", "versions")).http == 401


async def test_connect_says_at_which_step_it_failed_and_keeps_nothing(world):
    with pytest.raises(PartnerUnreachable) as caught:
        await world.partners.connect("gone", "http://127.0.0.1:1/versions", "token-a")

    assert caught.value.step == "versions"
    assert list(world.partners.all()) == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://emsp.example/versions", "must be https"),
        ("https://10.0.0.7/versions", "points at an address that is not public"),
    ],
)
async def test_S18_connect_names_the_setting_for_tests_and_private_networks(tmp_path, url, said):
    async with partner_world(f"sqlite:///{tmp_path}/cpo.db", allow_private_urls=False) as world:
        with pytest.raises(PartnerUnreachable) as caught:
            await world.partners.connect("near", url, "token-a")

    assert caught.value.step == "settings"
    assert f"versions_url: {said}" in str(caught.value)
    assert "ocpi.allow_private_urls" in str(caught.value)


async def test_S18_no_setting_is_named_where_none_would_help(tmp_path):
    async with partner_world(f"sqlite:///{tmp_path}/cpo.db", allow_private_urls=False) as world:
        with pytest.raises(PartnerUnreachable) as caught:
            await world.partners.connect("cloud", "http://169.254.169.254/versions", "token-a")

    assert "points at an address that is not public" in str(caught.value)
    assert "allow_private_urls" not in str(caught.value)


async def test_connect_refuses_a_token_that_the_partner_does_not_know(world):
    async with Emsp() as emsp:
        emsp.invite()
        with pytest.raises(PartnerUnreachable) as caught:
            await world.partners.connect("double", emsp.versions_url, "wrong")

    assert caught.value.step == "versions"


async def test_a_party_that_is_connected_already_is_refused_at_once(world):
    async with Emsp() as one, Emsp() as other:
        await world.partners.connect("one", one.versions_url, one.invite())
        with pytest.raises(PartnerUnreachable) as caught:
            await world.partners.connect("other", other.versions_url, other.invite())

    assert caught.value.step == "credentials"
    assert len(list(world.partners.all())) == 1


async def test_S13_no_token_that_we_issued_is_on_disk(world, tmp_path):
    invited = await world.partners.invite("secret")
    async with Emsp(versions=["2.2.1"]) as emsp:
        await emsp.register(world.side.versions_url, invited.token_a)
    partner = world.partners.known(invited.partner.id)
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("cpo.db*"))

    assert invited.token_a.encode() not in raw
    assert partner.token_out.encode() not in raw


async def test_PUSH_11_a_new_partner_gets_all_tariffs_and_locations(world):
    await world.tariff()
    await world.location(tariff="T-1", evses=2)
    invited = await world.partners.invite("double")
    async with Emsp(versions=["2.2.1"]) as emsp:
        await emsp.register(world.side.versions_url, invited.token_a)
        await _settled(world, invited.partner.id)

        assert set(emsp.tariffs) == {"T-1"}
        assert set(emsp.locations) == {"L-1"}
        assert emsp.violations == []


async def test_what_is_not_there_is_not_found(world):
    with pytest.raises(NotFound):
        await world.partners.resync("nobody")


async def test_partners_come_back_after_a_restart(world):
    partner = await registered(world)
    world.partners._partners.clear()
    world.partners._by_hash.clear()
    await world.partners.load()

    assert world.partners.known(partner.id) == partner


async def _settled(world, partner_id):
    await asyncio.sleep(0.02)
    await until(lambda: not world.partners.backlog(partner_id))


async def test_S28_what_a_partner_does_to_its_connection_is_in_the_audit(world):
    """Who it says it is stands there, too: a hub would be seen to have become one."""
    async with Emsp(("DE", "EMP"), versions=["2.2.1"]) as emsp:
        invited = await world.partners.invite("double")
        await emsp.register(world.side.versions_url, invited.token_a)
        emsp.parties.append(("NL", "EMP"))
        await emsp.registration.rotate(emsp.peer)
        await emsp.registration.unregister(emsp.peer)
    page = await world.store.page("audit", limit=50)
    rows = sorted(
        (row for row, _ in page.items if row.subject == invited.partner.id), key=lambda r: r.at
    )

    assert [(row.actor, row.action, row.detail) for row in rows[1:]] == [
        ("partner double", "partner.registered", "2.2.1: EMSP DE-EMP"),
        ("partner double", "partner.renewed", "2.2.1: EMSP DE-EMP, EMSP NL-EMP"),
        ("partner double", "partner.left", ""),
    ]
