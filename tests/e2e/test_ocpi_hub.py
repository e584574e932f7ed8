"""Hubs of 2.2.1 and 2.3.0: several parties behind one connection, some of them away."""

import pytest
import pytest_asyncio
from waiting import LONG

from tests.e2e.conftest import double, joined, new_site
from tests.e2e.test_ocpi_charging import charge, of
from tests.e2e.test_ocpi_smart_charging import COMPOSITE_201

pytestmark = pytest.mark.asyncio(loop_scope="session")

PARTY = ("country-code", "party-id")


@pytest_asyncio.fixture(params=["2.2.1", "2.3.0"], loop_scope="session")
async def hub(request, cpo):
    """A hub with two eMSPs behind it, one in the role list or announced as the version wants."""
    version = request.param
    first, second = (("DE", f"{letter}{version[2]}{version[0]}") for letter in "PQ")
    tokens = [
        {"uid": f"04{party[1]}AA", "country_code": "DE", "party_id": party[1]}
        for party in (first, second)
    ]
    hub = double(version, tokens=tokens, hub=("NL", f"H{version[2]}{version[0]}"))
    hub.parties = [first, second]
    hub.drivers.owner = first
    async with hub:
        partner = await joined(cpo, hub)
        if version == "2.2.1":
            for party in (first, second):
                await hub.announce_client(party, status="CONNECTED")
        yield hub
        await cpo.api("DELETE", f"/partners/{partner}")
        assert [str(violation) for violation in hub.violations] == []


async def was_pulled(hub):
    """Wait for the pull of tokens that follows the registration."""
    return await hub.wait_until(lambda: hub.journal.received("tokens", method="GET"))


async def test_locations_reach_a_hub(cpo, hub):
    """HDR-5."""
    site = await new_site(cpo)
    await hub.wait_until(lambda: hub.locations.get(site.location))


async def test_a_charge_of_a_party_behind_a_hub_is_addressed_to_it(cpo, hub):
    """HDR-3 and HUB-6."""
    country, party = hub.parties[1]
    token = f"04{party}AA"
    await hub.send_token({"uid": token})
    site = await new_site(cpo)
    await charge(site, token)
    cdr = await hub.wait_until(lambda: next(iter(of(hub.cdrs, site)), None))

    assert cdr["cdr_token"]["party_id"] == party
    for exchange in hub.journal.received():
        if exchange.module in {"sessions", "cdrs"} and token in str(exchange.body):
            headers = {name.lower(): value for name, value in exchange.headers.items()}
            assert headers["ocpi-to-country-code"] == country
            assert headers["ocpi-to-party-id"] == party
            assert headers["ocpi-from-party-id"] == "CPO"


async def test_nothing_is_sent_to_a_party_that_is_away_and_all_of_it_afterwards(cpo, hub):
    """HUB-2."""
    party = hub.parties[0]
    token = f"04{party[1]}AA"
    await hub.send_token({"uid": token})
    await hub.announce_client(party, status="OFFLINE")
    site = await new_site(cpo)
    await charge(site, token)
    await hub.wait_until(lambda: hub.locations.get(site.location))
    assert of(hub.sessions, site) == []

    await hub.announce_client(party, status="CONNECTED")

    await hub.wait_until(lambda: of(hub.cdrs, site))


async def test_a_client_that_a_hub_announced_is_told_back(cpo, hub):
    """HUB-1: GET returns what is held."""
    country, party = hub.parties[0]
    await hub.announce_client(hub.parties[0], status="CONNECTED")
    url = hub.endpoint("hubclientinfo", "RECEIVER").rstrip("/")

    answer = await hub.caller(routed=False).request(
        "client", "GET", f"{url}/{country}/{party}", module="hubclientinfo"
    )

    assert answer.data["party_id"] == party
    assert answer.data["status"] == "CONNECTED"


@pytest.mark.parametrize("path", ["hubclientinfo", "clientinfo"])
async def test_client_info_is_taken_under_both_spellings_and_without_routing(hub, path):
    """HUB-1, HUB-4 and HUB-7."""
    base = hub.endpoint("hubclientinfo", "RECEIVER").rstrip("/").removesuffix("hubclientinfo")
    entry = {
        "party_id": "NEW",
        "country_code": "DE",
        "role": "EMSP",
        "status": "PLANNED",
        "last_updated": "2026-01-01T00:00:00Z",
    }

    answer = await hub.caller(routed=False).request(
        "client", "PUT", f"{base}{path}/DE/NEW", body=entry, module="hubclientinfo", good_only=False
    )

    assert answer.status_code == 1000


async def test_an_unknown_card_is_asked_about_without_naming_a_party(cpo, hub):
    """HDR-6 and TOK-26: open routing."""
    await was_pulled(hub)
    card = f"04OPEN{hub.parties[0][1]}"
    await hub.send_token({"uid": card}, push=False)
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        assert await charger.ask(card) == "Accepted"

    asked = [e for e in hub.journal.received("tokens", method="POST") if card in e.path]
    headers = {name.lower() for name in asked[0].headers}
    assert "ocpi-from-party-id" in headers
    assert "ocpi-to-party-id" not in headers


async def test_tokens_of_everybody_are_pulled_from_the_hub_itself(hub):
    """HDR-7: get-all goes to the hub, the owner stands in each object."""
    pulled = (await was_pulled(hub))[0]
    headers = {name.lower(): value for name, value in pulled.headers.items()}

    assert (headers["ocpi-to-country-code"], headers["ocpi-to-party-id"]) == hub.hub


async def test_what_a_party_behind_a_hub_asks_for_is_answered_to_it(cpo, hub):
    """HDR-3, CMD-5, CMD-15 and CP-3: results, a profile that changed, a reservation taken back."""
    country, party = hub.parties[0]
    token = f"04{party}AA"
    await hub.send_token({"uid": token})
    site = await new_site(cpo, ocpp="2.0.1")
    place = {"location_id": site.location, "evse_uid": site.evse}
    async with site.charger() as charger:
        charger.answers["GetCompositeSchedule"] = lambda _payload: COMPOSITE_201
        await charger.boot()
        await hub.command("RESERVE_NOW", token=token, reservation_id="R-HUB", wait=LONG, **place)
        number = (await charger.wait_for("ReserveNow"))["id"]
        await cpo.api("POST", f"/evses/{site.evse}/cancel-reservation", {"reservation_id": number})
        await charger.wait_for("CancelReservation")
        await hub.command("START_SESSION", token=token, wait=LONG, **place)
        session = await hub.wait_until(
            lambda: next((s for s in of(hub.sessions, site) if s["status"] == "ACTIVE"), None)
        )
        profile = {
            "charging_rate_unit": "A",
            "charging_profile_period": [{"start_period": 0, "limit": 10}],
        }
        await hub.charging_profile("PUT", session["id"], charging_profile=profile, wait=LONG)
        await hub.wait_until(lambda: hub.books.active_profiles.get(session["id"]))
        await hub.command("STOP_SESSION", session_id=session["id"], wait=LONG)
        await hub.wait_until(lambda: of(hub.cdrs, site))
        await hub.wait_until(
            lambda: "CANCELED_RESERVATION" in str([o.results for o in hub.orders.values()])
        )

    told = [
        e
        for module in ("commands", "chargingprofiles")
        for e in hub.journal.received(module)
        if e.method in {"POST", "PUT"}
    ]
    routed = {
        tuple({k.lower(): v for k, v in e.headers.items()}.get(f"ocpi-to-{part}") for part in PARTY)
        for e in told
    }
    # Results of three commands and of the profile, the profile itself, the end of the reservation.
    assert len(told) >= 6
    assert routed == {(country, party)}
