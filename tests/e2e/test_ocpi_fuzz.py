"""Whatever a partner sends to any endpoint of any version: an envelope, never a 5xx (I17, S14, S19).

`CPO_FUZZ_REQUESTS` sets how many requests are made up for each version, `CPO_FUZZ_SEED` the seed.
"""

import copy
import os
import random
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio

from tests.e2e.conftest import VERSIONS, new_site
from tests.support.raw_emsp import RawEmsp, dumps

pytestmark = pytest.mark.asyncio(loop_scope="session")

COUNT = int(os.environ.get("CPO_FUZZ_REQUESTS", "250"))
SEED = int(os.environ.get("CPO_FUZZ_SEED", "20261122"))
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
NASTY = [
    None, True, False, 0, -1, 1, 10**18, -(10**30), 0.1, 1e-9, 1e300, "", " ", "\n", "x" * 40,
    "x" * 5000, "\u0000", "\ud800", "\u202e", "\u00e9", "'; DROP TABLE tokens; --", "../..", "%00",
    "<script>", "2026-02-30T00:00:00Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-14:00", "2026-01-01T00:00:00+99:99", "NaN", "http://[", "http://[::1",
    "http://x:99999999/", "http://0x7f.1/", "https://\u2468.com", "//", [], {}, [[]], [None], [1],
    [{}], {"": ""}, {"a": {"b": {}}}, ["x"] * 50,
]  # fmt: skip
SEGMENTS = ["", "%00", "%ff", "%2e%2e", "..%2f", "a%2Fb", "%E2%80%AE", "x" * 300, "%27%20OR%201=1",
            "%0d%0aX:1", "%", "%zz", "NL", "nl", "*", "#NA".replace("#", "%23"), "\u00e9".encode().hex()]  # fmt: skip
QUERIES = ["", "?", "?&&=&", "?limit=0", "?limit=-1", "?limit=1e9", "?offset=-1", "?offset=1e400",
           "?offset=999999999999999999999999", "?limit=1000000000&offset=1000000000000",
           "?date_from=%00", "?date_from=0000-00-00", "?date_from=9999-12-31T23:59:59Z",
           "?date_from=0001-01-01T00:00:00%2B14:00", "?date_to=9999-12-31T23:59:59-14:00",
           "?date_from=2026-01-01T00:00:00Z&date_to=2025-01-01T00:00:00Z", "?cursor=%00",
           "?cursor=WzEsImEiXQ", "?cursor=WzEsMl0", "?cursor=W10", "?cursor=bnVsbA",
           "?cursor=Wzk5OTk5OTk5OTk5OTk5OTk5OTk5OSwiYSJd", "?type=%00", "?type=RFID&type=X",
           "?type=%f0%28%8c%28", "?duration=-1&response_url=x", "?duration=1e9&response_url=http://[",
           "?duration=99999999999&response_url=http://127.0.0.1:1/", "?response_url=%00",
           "?duration=5&response_url=http%3A%2F%2F127.0.0.1%3A1%2Fx%3Fa%3Db%26c"]  # fmt: skip
HEADERS = [
    {},
    {"Content-Type": None},
    {"Content-Type": "text/plain"},
    {"Content-Type": "application/json; charset=utf-16"},
    {"Content-Encoding": "gzip"},
    {"Content-Encoding": "nonsense"},
    {"X-Request-ID": "x" * 3000},
    {"X-Request-ID": "\u00e9\u202e", "X-Correlation-ID": ""},
    {"OCPI-from-country-code": "XX", "OCPI-from-party-id": "YYY"},
    {"OCPI-from-country-code": "N\u00e9", "OCPI-from-party-id": "'"},
    {"OCPI-to-country-code": "NL", "OCPI-to-party-id": "x" * 500},
    {"OCPI-to-country-code": "NL"},
    {"Expect": "something"},
    {"Range": "bytes=0-1"},
    {"If-None-Match": "*"},
]
RAW = [b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"[" * 3000, b"{}{}",
       b'{"a":1e999}', b'{"a":' + b"9" * 5000 + b"}", b'{"a":1,"a":2}', b'{"uid":"\\ud800"}',
       b'{"uid":"\\u0000"}', b"NaN", b'{"a":' * 70 + b"1" + b"}" * 70, b"\x1f\x8b\x08"]  # fmt: skip


@pytest_asyncio.fixture(params=VERSIONS, loop_scope="session")
async def raw(request, cpo):
    async with RawEmsp(request.param, ("NL", f"F{request.param[2:].replace('.', '')}")) as partner:
        invited = await cpo.api("POST", "/partners", {"name": f"fuzz {request.param}"})
        assert (await partner.register(invited["versions_url"], invited["token_a"])).code == 1000
        yield partner
        await cpo.api("DELETE", f"/partners/{invited['id']}")


def bodies(raw, site):
    """Return one good body for everything that takes one, by (method, module, segments)."""
    token = raw.token("04F0220001")
    who = (*raw.party, "04F0220001")
    # Taken, and answered at once: nothing listens there.
    back = {"response_url": f"{raw.url}/result"}
    place = {"location_id": site.location, "evse_uid": site.evse}
    later = {"token": token, "expiry_date": "2030-01-01T00:00:00Z", "reservation_id": "1"}
    profile = {
        "charging_rate_unit": "A",
        "charging_profile_period": [{"start_period": 0, "limit": 6}],
    }
    client = {"party_id": raw.party[1], "country_code": raw.party[0], "role": "EMSP",
              "status": "CONNECTED", "last_updated": "2026-01-01T00:00:00Z"}  # fmt: skip
    found = {
        ("PUT", "tokens", who): token,
        ("PATCH", "tokens", who): {"valid": False, "last_updated": "2026-01-02T00:00:00Z"},
        ("POST", "commands", ("START_SESSION",)): back | place | {"token": token},
        ("POST", "commands", ("STOP_SESSION",)): back | {"session_id": "none"},
        ("POST", "commands", ("RESERVE_NOW",)): back | place | later,
        ("POST", "commands", ("CANCEL_RESERVATION",)): back | {"reservation_id": "1"},
        ("POST", "commands", ("UNLOCK_CONNECTOR",)): back | place | {"connector_id": "1"},
        ("PUT", "sessions", ("none", "charging_preferences")): {"profile_type": "FAST"},
        ("PUT", "chargingprofiles", ("none",)): back | {"charging_profile": profile},
        ("PUT", "hubclientinfo", raw.party): client,
        ("PUT", "credentials", ()): raw.credentials(url="http://127.0.0.1:1/versions"),
        ("POST", "credentials", ()): raw.credentials(),
    }
    return {key: body for key, body in found.items() if (key[1], "") in _modules(raw)}


def _modules(raw):
    return {(module, "") for module, _ in raw.endpoints}


def spoil(body, chance):
    """Return a copy with one or a few values anywhere in it replaced, dropped or added."""
    body = copy.deepcopy(body)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        node = body
        while isinstance(node, (dict, list)) and node:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            key = chance.choice(keys)
            if isinstance(node[key], (dict, list)) and node[key] and chance.random() < 0.7:
                node = node[key]
                continue
            how = chance.random()
            if how < 0.1 and isinstance(node, dict):
                del node[key]
            elif how < 0.15 and isinstance(node, dict):
                node[chance.choice(["", "x" * 200, "\u202e", "__class__", "valid"])] = "x"
            else:
                node[key] = copy.deepcopy(chance.choice(NASTY))
            break
    return body


def requests(raw, site, chance):
    """Make up requests without end."""
    good = bodies(raw, site)
    modules = sorted({module for module, _ in raw.endpoints})
    while True:
        headers = chance.choice(HEADERS) if chance.random() < 0.15 else {}
        query = chance.choice(QUERIES) if chance.random() < 0.3 else ""
        if chance.random() < 0.7:
            (method, module, segments), body = chance.choice(list(good.items()))
            path = [quote(s, safe="") for s in segments]
            if path and chance.random() < 0.2:
                path[chance.randrange(len(path))] = chance.choice(SEGMENTS)
            content = chance.choice(RAW) if chance.random() < 0.05 else dumps(spoil(body, chance))
        else:
            method, module = chance.choice(METHODS), chance.choice(modules)
            ours = [site.location, site.evse, "1", *raw.party, *SEGMENTS]
            path = [chance.choice(ours) for _ in range(chance.randrange(5))]
            content = chance.choice(RAW) if method not in {"GET", "HEAD", "TRACE"} else None
            if (method, module) == ("DELETE", "credentials"):
                continue  # that ends the connection, as it should
        if module == "credentials" and method in {"PUT", "POST"} and content is not None:
            # A good one would change the token of the next request.
            content = content.replace(raw.url.encode(), b"http://127.0.0.1:1")
        yield method, raw.at(module, *path) + query, content, headers


async def test_nothing_that_a_partner_sends_is_a_5xx(cpo, raw):
    """I17, S14, S19, TRANS-10: requests are made up from good ones, from a seed."""
    site = await new_site(cpo)
    chance = random.Random(f"{SEED} {raw.version}")
    found = []
    for number, (method, url, body, headers) in enumerate(requests(raw, site, chance)):
        if number == COUNT:
            break
        try:
            got = await raw.ask(method, url, raw=body, headers=headers)
        except aiohttp.ClientError as error:
            found.append(f"{method} {url} {headers} {body!r:.300} -> {error!r}")
            continue
        bad = got.status >= 500 or (got.code is None and method != "HEAD")
        if bad or got.headers.get("Content-Type") != "application/json":
            found.append(f"{method} {url} {headers} {body!r:.300} -> {got.status} {got.raw!r:.300}")

    assert found == []
    # And it is well afterwards.
    assert (await raw.ask("GET", raw.at("locations"))).code == 1000
