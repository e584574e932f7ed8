"""The double as a hub, as several parties, with dialects, hostile, and with less usual modules."""

import json
import ssl

import aiohttp
import pytest
import trustme

from chargers_sim.emsp import Dialect, Emsp
from tests.support import ocpi_objects as objects
from tests.support.fake_cpo import FakeCpo

BODY = {"location_id": "LOC-1", "evse_uids": ["EVSE-1"]}


async def connected(emsp, cpo):
    await cpo.register_with(emsp.versions_url, emsp.token_a)
    return emsp, cpo


def routed(sender="CPO", to="MSP"):
    return {
        "OCPI-from-country-code": "NL",
        "OCPI-from-party-id": sender,
        "OCPI-to-country-code": "NL",
        "OCPI-to-party-id": to,
    }


async def put_tariff(cpo, headers):
    url = cpo.partner_endpoints["tariffs"] + "/NL/CPO/T-1"
    await cpo.ask(
        "PUT", url, token=cpo.token_out, body=objects.tariff(cpo.version), headers=headers
    )


async def test_routing_headers_are_swapped_in_the_answer():
    """HDR-3."""
    async with Emsp() as emsp, FakeCpo() as cpo:
        await connected(emsp, cpo)

        await put_tariff(cpo, routed())

        assert cpo.last.headers["OCPI-from-party-id"] == "MSP"
        assert cpo.last.headers["OCPI-to-party-id"] == "CPO"
        assert emsp.violations == []


async def test_several_parties_want_routing_headers_to_one_of_them():
    """HDR-3."""
    async with Emsp(parties=[("NL", "MSP"), ("DE", "TWO")]) as emsp, FakeCpo() as cpo:
        await connected(emsp, cpo)

        await put_tariff(cpo, {})
        await put_tariff(cpo, routed(to="XXX"))
        await put_tariff(cpo, routed())

        problems = [violation.problem for violation in emsp.violations]
        assert problems == ["missing (HDR-3)", "missing (HDR-3)", "NL/XXX is no party of ours"]


async def test_a_hub_is_a_role_in_2_2_1_and_a_field_in_2_3_0():
    """CRED-13."""
    for version in ("2.2.1", "2.3.0"):
        async with Emsp(hub=("NL", "HUB")) as emsp, FakeCpo(version) as cpo:
            await connected(emsp, cpo)
            answer = await cpo.push("GET", "credentials")
            roles = [role["role"] for role in answer["data"]["roles"]]

            assert roles == (["HUB"] if version == "2.2.1" else ["EMSP"])
            assert answer["data"].get("hub_party_id") == (None if version == "2.2.1" else "NLHUB")


async def test_a_hub_tells_which_parties_are_reachable_and_lists_them():
    """HUB-1 and HUB-3."""
    async with Emsp(hub=("NL", "HUB")) as emsp, FakeCpo() as cpo:
        await connected(emsp, cpo)
        emsp.peer.endpoints["hubclientinfo", "RECEIVER"] = f"{cpo.url}/2.2.1/hubclientinfo"

        await emsp.announce_client(("DE", "ONE"), status="OFFLINE")

        method, path, body, headers = cpo.seen[-1]
        assert (method, path) == ("PUT", "/2.2.1/hubclientinfo/DE/ONE")
        assert (body["status"], "OCPI-from-party-id" in headers) == ("OFFLINE", False)
        assert (await cpo.push("GET", "hubclientinfo"))["data"] == [body]


async def test_a_session_sent_as_broadcast_to_a_hub_is_blamed():
    """HUB-6: tariffs may go to the hub itself, sessions may not."""
    async with Emsp(hub=("NL", "HUB")) as emsp, FakeCpo() as cpo:
        await connected(emsp, cpo)
        await put_tariff(cpo, routed(to="HUB"))
        assert emsp.violations == []

        url = cpo.partner_endpoints["sessions"] + "/NL/CPO/S-1"
        body = objects.session("2.2.1")
        await cpo.ask("PUT", url, token=cpo.token_out, body=body, headers=routed(to="HUB"))

        assert "broadcast" in str(emsp.violations[0])


@pytest.mark.parametrize(
    ("dialect", "header", "value"),
    [
        pytest.param({"total": "missing"}, "X-Total-Count", None, id="no total"),
        pytest.param({"total": "page"}, "X-Total-Count", "2", id="total of the page"),
        pytest.param({"total": "wrong"}, "X-Total-Count", "14", id="wrong total"),
        pytest.param({"link": "missing"}, "Link", None, id="no link"),
        pytest.param({"link": "same"}, "Link", "offset=0", id="link to itself"),
        pytest.param({"link": "relative"}, "Link", "</ocpi", id="relative link"),
        pytest.param({"trailing_slash": True}, "Link", "tokens/?", id="trailing slash"),
    ],
)
async def test_lists_can_be_wrong_in_the_ways_of_partners(dialect, header, value):
    async with Emsp(dialect=Dialect.read({"page_size": 2} | dialect)) as emsp, FakeCpo() as cpo:
        await connected(emsp, cpo)

        await cpo.push("GET", "tokens")

        found = cpo.last.headers.get(header)
        assert (found is None) if value is None else value in found


async def test_dates_case_and_lists_follow_the_dialect():
    dialect = Dialect(dates="offset", lower_case=True, list_for_object=True, omit_data=True)
    async with Emsp(dialect=dialect) as emsp, FakeCpo() as cpo:
        await connected(emsp, cpo)
        tokens = await cpo.push("GET", "tokens")
        put = await cpo.push("PUT", "tariffs", "NL", "CPO", "T-1", body=objects.tariff("2.2.1"))
        tariff = await cpo.push("GET", "tariffs", "NL", "CPO", "T-1")

    assert tokens["data"][0]["last_updated"].endswith("+00:00")
    assert tokens["data"][0]["country_code"] == "nl"
    assert put is None
    assert isinstance(tariff["data"], list)


@pytest.mark.parametrize(("style", "http", "code"), [("404", 404, 2000), ("2004", 200, 2004)])
async def test_an_unknown_token_is_denied_in_the_way_of_the_dialect(style, http, code):
    async with Emsp(dialect=Dialect(unknown_token=style)) as emsp, FakeCpo() as cpo:
        await connected(emsp, cpo)

        answer = await cpo.push("POST", "tokens", "NOBODY", "authorize", body=BODY, status=http)

        assert answer["status_code"] == code


async def test_a_duplicate_cdr_can_be_refused_and_its_location_be_relative():
    dialect = Dialect(duplicate_cdr="refuse", cdr_location="relative")
    async with Emsp(dialect=dialect) as emsp, FakeCpo() as cpo:
        await connected(emsp, cpo)
        await cpo.push("POST", "cdrs", body=objects.cdr("2.2.1"), status=201)
        location = cpo.last.headers["Location"]
        answer = await cpo.push("POST", "cdrs", body=objects.cdr("2.2.1"), status=200)

    assert location == "/ocpi/emsp/2.2.1/cdrs/NL/CPO/CDR-1"
    assert answer["status_code"] == 2000


async def test_a_raw_token_is_shown_and_wanted_by_a_raw_dialect():
    async with Emsp(dialect=Dialect(token_coding="raw")) as emsp, FakeCpo() as cpo:
        await connected(emsp, cpo)

        assert "the token itself expected" in str(emsp.violations[0])
        assert emsp.caller().base64_token is False


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
async def test_a_charging_profile_is_asked_for_and_its_result_awaited(method):
    """CP-1 and CP-2."""
    async with Emsp() as emsp, FakeCpo() as cpo:
        await connected(emsp, cpo)

        order = await emsp.charging_profile(
            method, "S-1", charging_profile={"charging_rate_unit": "W"}, duration=600
        )

        assert order.outcome == "ACCEPTED"
        assert cpo.seen[-1][:2][0] == method
        assert emsp.violations == []


async def test_an_active_profile_is_kept():
    """CP-3."""
    profile = {
        "start_date_time": objects.STAMP,
        "charging_profile": {
            "charging_rate_unit": "W",
            "charging_profile_period": [{"start_period": 0, "limit": 11000}],
        },
    }
    async with Emsp() as emsp, FakeCpo() as cpo:
        await connected(emsp, cpo)

        await cpo.push("PUT", "chargingprofiles", "S-1", body=profile, status=200)

        assert emsp.books.active_profiles == {"S-1": profile}
        assert emsp.violations == []


async def test_a_cancelled_reservation_is_no_second_result():
    """CMD-15: CANCELED_RESERVATION comes to the response_url of RESERVE_NOW."""
    async with Emsp() as emsp, FakeCpo() as cpo:
        await connected(emsp, cpo)
        order = await emsp.command("RESERVE_NOW", token="04A1B2C3D4E5F6", location_id="LOC-1")

        await cpo.ask(
            "POST", order.sent["response_url"], token=cpo.token_out,
            body={"result": "CANCELED_RESERVATION"},
        )  # fmt: skip

        assert [result["result"] for result in order.results] == [
            "ACCEPTED",
            "CANCELED_RESERVATION",
        ]
        assert emsp.violations == []


async def test_hostile_answers_come_as_ordered():
    async with Emsp() as emsp, FakeCpo() as cpo:
        await connected(emsp, cpo)
        url = cpo.partner_endpoints["tariffs"] + "/NL/CPO/T-1"
        headers = {"Authorization": f"Token {cpo.token_out}"}
        for do in ("huge", "gzip-bomb", "drip", "wrong-length", "not-json", "empty"):
            emsp.fail(do, megabytes=1, seconds=0.2)

        sizes = []
        for _ in range(3):
            async with cpo.http.get(url, headers=headers) as response:
                sizes.append(len(await response.read()))
        with pytest.raises(aiohttp.ClientPayloadError):
            async with cpo.http.get(url, headers=headers) as response:
                await response.read()
        async with cpo.http.get(url, headers=headers) as response:
            with pytest.raises(json.JSONDecodeError):
                await response.json()
        async with cpo.http.get(url, headers=headers) as response:
            assert await response.read() == b""

    assert sizes[0] > 1024 * 1024
    assert sizes[1] > 1024 * 1024
    assert sizes[2] == 4


async def test_the_double_says_what_it_holds_and_what_differs():
    async with Emsp() as emsp, FakeCpo() as cpo:
        await connected(emsp, cpo)
        await cpo.push("PUT", "tariffs", "NL", "CPO", "T-1", body=objects.tariff("2.2.1"))
        cpo.lists["tariffs"] = [objects.tariff("2.2.1") | {"currency": "SEK"}]
        async with aiohttp.ClientSession(base_url=emsp.url + "/") as http:
            async with http.get("double/holdings") as response:
                held = await response.json()
            async with http.post("double/reconcile", json={"modules": ["tariffs"]}) as response:
                found = await response.json()
            async with http.get("double/check") as response:
                breaches = await response.json()

    assert held["tariffs"]["NL/CPO/T-1"]["last_updated"] == objects.STAMP
    assert found == ["I10 tariffs/T-1: currency: held 'EUR', served 'SEK'"]
    assert breaches == []


async def test_a_pull_stops_at_a_link_that_points_at_itself():
    """PAG-6."""
    async with Emsp() as emsp, FakeCpo() as cpo:
        await connected(emsp, cpo)
        cpo.lists["tariffs"] = [objects.tariff("2.2.1", f"T-{n}") for n in range(3)]
        cpo.page_size = 2
        cpo._page = lambda request, module, headers: (
            headers.update(Link=f'<{cpo.url}{request.raw_path}>; rel="next"') or cpo.lists[module]
        )

        pulled = await emsp.pull(["tariffs"])

        assert pulled["tariffs"]["pages"] == 1


async def test_a_published_slash_is_kept_on_the_module_and_not_doubled_below_it():
    """URL-1: a partner that answers only with the slash would redirect a POST."""
    async with Emsp() as emsp, FakeCpo() as cpo:
        await connected(emsp, cpo)
        for key, url in emsp.peer.endpoints.items():
            emsp.peer.endpoints[key] = url + "/"

        await emsp.send_token({"uid": "04A"})
        await emsp.registration.rotate(emsp.peer)

        paths = [path for method, path, _, _ in cpo.seen if method == "PUT"]
        assert paths[0] == "/2.2.1/tokens/NL/MSP/04A?type=RFID"


async def test_a_million_tokens_are_served_without_being_held():
    dialect = Dialect(page_size=100)
    async with Emsp(generated_tokens=1_000_000, dialect=dialect) as emsp, FakeCpo() as cpo:
        await connected(emsp, cpo)
        held = len(emsp.drivers) - 1_000_000

        last = await cpo.push("GET", "tokens", query=f"?offset={held + 999_999}&limit=100")
        uid = last["data"][0]["uid"]
        answer = await cpo.push("POST", "tokens", uid, "authorize", body=BODY, status=200)

        assert len(last["data"]) == 1
        assert cpo.last.headers.get("Link") is None
        assert answer["data"]["allowed"] == "ALLOWED"
        await cpo.push("POST", "tokens", "04FFEE0FFFFFFFF", "authorize", body=BODY, status=404)


async def test_a_journal_can_forget_its_oldest_exchanges():
    async with Emsp(keep=5) as emsp, FakeCpo() as cpo:
        await connected(emsp, cpo)
        for _ in range(30):
            await cpo.push("GET", "tokens")

        assert len(emsp.journal.exchanges) <= 10
        assert emsp.journal.exchanges[-1].number > 30


async def test_it_can_be_reached_by_https():
    """TRANS-1."""
    authority = trustme.CA()
    server, client = (
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        ssl.create_default_context(),
    )
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    async with Emsp(tls=server) as emsp, aiohttp.ClientSession() as http:
        assert emsp.versions_url.startswith("https://127.0.0.1:")
        async with http.get(emsp.versions_url, ssl=client) as response:
            assert response.status == 401
