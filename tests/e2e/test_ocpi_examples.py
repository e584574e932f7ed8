"""The specification's own example objects, sent to a real server or taken from it.

Those that are right are taken whole. What deviates from the field tables of its own version is
refused with its field named, nothing is a 5xx, and what is stored stays as it was.

The specification's files are under a licence of their own and no part of this project: the tests
read them from the folder that CPO_TEST_OCPI_EXAMPLES names (one folder a version, in it one a
module, as in the `examples/` of `ocpi/ocpi`), and are skipped without it. What deviates in the same
ways, in objects of our own, is in test_ocpi_every_field.py and test_ocpi_bad_input.py.
"""

import contextlib
import json
import os
import re
from pathlib import Path

import pytest
import pytest_asyncio
from waiting import until

from cpo.ocpi import exact_json
from cpo.ocpi.dialects import DIALECTS
from cpo.ocpi.envelope import read_envelope
from cpo.ocpi.v211 import wire as v211
from cpo.ocpi.v221 import wire as v221
from cpo.ocpi.v230 import wire as v230
from tests.e2e.conftest import VERSIONS
from tests.e2e.test_ocpi_every_field import hub_of
from tests.support.cpo_process import CpoProcess
from tests.support.raw_emsp import RawEmsp, loads

GIVEN = os.environ.get("CPO_TEST_OCPI_EXAMPLES")
FOLDER = Path(GIVEN or "nowhere").resolve()
pytestmark = pytest.mark.asyncio(loop_scope="session")
with_examples = pytest.mark.skipif(GIVEN is None, reason="CPO_TEST_OCPI_EXAMPLES is not set")
WIRE = {"2.1.1": v211, "2.2.1": v221, "2.3.0": v230}
# Example tokens are of TNM, in two countries.
PARTIES = (("NL", "TNM"), ("DE", "TNM"))

_EVSE = {
    "connectors[0].power_type",
    "connectors[0].last_updated",
    "physical_reference",
}
# In what examples of objects that a CPO sends do not fit the tables of their version.
DEVIATING = {
    "2.1.1/cdrs/cdr_example.json": {
        "location.country",
        "tariffs[0].elements[0].price_components[0].price",
    },
    "2.1.1/sessions/session_example_1_simple_start.json": {"location.country"},
    "2.1.1/sessions/session_example_2_short_finished.json": {"location.country"},
    "2.1.1/tariffs/tariff_put_example.json": {"last_updated"},
    "2.1.1/locations/location_put_example_add_evse.json": {
        *_EVSE, "connectors[0].voltage", "connectors[0].amperage", "floor_level", "last_updated",
    },
    "2.2.1/tariffs/tariff_put_example.json": {"last_updated"},
    "2.2.1/locations/location_put_example_add_evse.json": {
        *_EVSE, "connectors[0].max_voltage", "connectors[0].max_amperage", "floor",
    },
    "2.3.0/cdrs/cdr_example.json": {"tariffs[0].tax_included"},
    "2.3.0/tariffs/tariff_put_example.json": {"last_updated"},
    "2.3.0/locations/location_put_example_add_evse.json": {
        *_EVSE, "connectors[0].max_voltage", "connectors[0].max_amperage", "floor",
    },
}  # fmt: skip


def named(path):
    return path.relative_to(FOLDER).as_posix()


def of(version, module, *, patch=False):
    """The examples of a module, by file; those of a PATCH apart."""
    found = sorted((FOLDER / version / module).glob("*.json"))
    return {named(f): loads(f.read_bytes()) for f in found if ("patch" in f.name) is patch}


def examples(*modules, versions=VERSIONS):
    return [
        pytest.param(path, id=named(path))
        for version in versions
        for module in modules
        for path in sorted((FOLDER / version / module).glob("*.json"))
    ]


@contextlib.asynccontextmanager
async def issuer(cpo, version, answering=None):
    """The party whose tokens the examples show."""
    async with RawEmsp(version, PARTIES[0], answering=answering) as partner:
        plain = partner.credentials
        if version != "2.1.1":
            partner.credentials = lambda **changes: plain(roles=roles(PARTIES), **changes)
        invited = await cpo.api("POST", "/partners", {"name": f"examples {version}"})
        partner.partner = invited["id"]
        assert (await partner.register(invited["versions_url"], invited["token_a"])).code == 1000
        yield partner
        await cpo.api("DELETE", f"/partners/{invited['id']}")


@pytest_asyncio.fixture(params=VERSIONS, loop_scope="session")
async def raw(request, cpo):
    async with issuer(cpo, request.param) as partner:
        yield partner


def roles(parties):
    return [
        {"role": "EMSP", "country_code": c, "party_id": p, "business_details": {"name": p}}
        for c, p in parties
    ]


def token_url(raw, token):
    owner = token.get("country_code", raw.party[0]), token.get("party_id", raw.party[1])
    kind = "" if raw.version == "2.1.1" else f"?type={token['type']}"
    return raw.at("tokens", *owner, token["uid"]) + kind


# --- what comes in ------------------------------------------------------------------------------


@with_examples
async def test_example_tokens_are_taken_whole_and_changed(raw):
    """What is served is what was sent; the PATCH of 2.1.1 has no last_updated."""
    tokens = of(raw.version, "tokens")
    assert len(tokens) >= 2
    [patch] = of(raw.version, "tokens", patch=True).values()
    for name, token in tokens.items():
        url = token_url(raw, token)

        put = await raw.ask("PUT", url, token)
        held = await raw.ask("GET", url)
        patched = await raw.ask("PATCH", url, patch)
        after = await raw.ask("GET", url)

        assert (put.code, patched.code) == (1000, 1000), name
        assert held.data == token, name
        assert after.data == token | patch, name


@pytest.mark.parametrize("version", VERSIONS)
@with_examples
async def test_an_example_list_of_tokens_is_pulled(cpo, version):
    """The envelope, too, is the specification's."""
    [path] = (FOLDER / version / "transport").glob("*get_token_list*.json")
    body = path.read_bytes()
    tokens = loads(body)["data"]

    async def listing(heard):
        ours = heard.module == "tokens" and heard.method == "GET"
        return (200, body, {}) if ours else None

    async with issuer(cpo, version, listing) as raw:

        async def all_held():
            held = [(await raw.ask("GET", token_url(raw, token))).data for token in tokens]
            return held == tokens

        await until(all_held)


@with_examples
async def test_example_credentials_are_taken(cpo, raw):
    """Of one party, of two roles, of three white labels; but for their URL."""
    for name, example in of(raw.version, "credentials").items():
        got = await raw.ask(
            "PUT", raw.at("credentials"), example | {"url": raw.credentials()["url"]}
        )
        assert got.code == 1000, (name, got.message)
        raw.token_out = got.data["token"]
        partner = await cpo.api("GET", f"/partners/{raw.partner}")
        listed = example.get("roles") or [example | {"role": "EMSP"}]

        assert [(r["role"], r["party_id"]) for r in partner["roles"]] == [
            (r["role"], r["party_id"]) for r in listed
        ], name


@pytest.mark.parametrize("version", ["2.2.1", "2.3.0"])
async def test_the_example_of_client_info_is_refused(cpo, version):
    """HUB-1: as printed it is no JSON, and without its comma it lacks last_updated."""
    good = {"country_code": "NL", "party_id": "ALL", "role": "CPO", "status": "PLANNED"}
    printed = json.dumps(good).replace("}", ",}").encode()
    async with hub_of(cpo, version) as hub:
        url = hub.at("hubclientinfo", "NL", "ALL")

        no_json = await hub.ask("PUT", url, raw=printed)
        lacking = await hub.ask("PUT", url, good)
        held = await hub.ask("GET", url)

    assert (no_json.status, 2000 <= no_json.code < 3000) == (400, True)
    assert (lacking.status, lacking.code) == (200, 2001)
    assert "last_updated" in lacking.message
    assert held.status == 404


@with_examples
async def test_examples_of_what_a_cpo_owns_are_not_taken_from_partners(cpo, raw):
    """No 5xx, an envelope, and nothing of it is there afterwards."""
    for module in ("locations", "sessions", "cdrs", "tariffs"):
        for name, example in of(raw.version, module).items():
            for method, url in (
                ("PUT", raw.at(module, "NL", "CPO", str(example.get("id", "X")))),
                ("PATCH", raw.at(module, "NL", "CPO", str(example.get("id", "X")))),
                ("POST", raw.at(module)),
            ):
                got = await raw.ask(method, url, example)
                assert got.status in {404, 405}, (name, method, got.status)
                assert 2000 <= got.code < 3000, (name, method)
        found = await raw.ask("GET", raw.at(module) + "?date_from=2000-01-01T00:00:00Z")
        ids = {example.get("id") for example in of(raw.version, module).values()}
        assert not ids & {thing["id"] for thing in found.data}


# --- what we read of others ---------------------------------------------------------------------


@pytest.mark.parametrize("path", examples("versions", "transport"))
@with_examples
async def test_examples_of_answers_are_understood(path):
    """A version nobody speaks among them is passed over."""
    value, version = exact_json.decode(path.read_bytes()), path.parts[-3]
    codec = DIALECTS[version].codec
    if path.parts[-2] == "transport":
        envelope = read_envelope(value)
        assert envelope.succeeded is ("error" not in path.name)
        value = envelope.data
    if "error" in path.name:
        assert (envelope.status_code, value) == (2001, None)
    elif "token_list" in path.name:
        good, bad = codec.read_tokens(value, owner=PARTIES[0])
        assert (len(good), bad) == (3, [])
    elif "token" in path.name:
        assert codec.read_token(value, owner=PARTIES[0]).uid == value["uid"]
    elif "info" in path.name:
        assert codec.read_versions(value) == [(v["version"], v["url"]) for v in value]
    else:
        endpoints = codec.read_version_details(value)
        assert [e.url for e in endpoints] == [e["url"] for e in value["endpoints"]]


# --- what goes out ------------------------------------------------------------------------------


def model_of(path):
    """Return the wire model of an example, whether it is a part, and its value."""
    value, module, name = exact_json.decode(path.read_bytes()), path.parts[-2], path.name
    words = WIRE[path.parts[-3]]
    if "energymix" in name:
        return words.EnergyMix, False, value["energy_mix"]
    if "hours" in name and "garage" not in name:
        return words.Hours, False, value.get("opening_times", value)
    if module != "locations":
        model = {"cdrs": words.Cdr, "sessions": words.Session, "tariffs": words.Tariff}[module]
    elif "add_evse" in name or "remove_evse" in name or "status" in name:
        model = words.Evse
    else:
        model = words.Connector if "tariff" in name else words.Location
    return model, "patch" in name, value


@pytest.mark.parametrize("path", examples("locations", "sessions", "cdrs", "tariffs"))
@with_examples
async def test_the_strict_check_finds_what_deviates_and_nothing_else(path):
    """What it would hold back is wrong, what it lets pass is right."""
    model, part, value = model_of(path)

    problems = model.problems(value, partial=part)

    assert {problem.field for problem in problems} == DEVIATING.get(named(path), set())


# What older versions cannot say without telling a wrong price.
UNSAID = {
    "2.1.1": r"elements\[\d\]\.(restrictions\.m.._current|price_components\[\d\]\.price): ",
    "2.2.1": r"elements\[\d\]\.price_components\[\d\]\.vat: ",
    "2.3.0": r"nothing",
}
# 2.1.1 wants one of the two, which its table cannot say.
EITHER = "Hours.twentyfourseven is missing"


async def held_back(cpo, partner):
    """Wait until all is sent that can be, and return what cannot: (module, id) and why."""

    async def settled():
        items = (await cpo.api("GET", f"/partners/{partner}/backlog"))["items"]
        return {"items": items} if all(item["parked"] for item in items) else None

    items = (await until(settled))["items"]
    return {(f"{i['kind']}s", i["object"]): i["last_error"] for i in items}


@pytest.mark.parametrize("version", ["2.2.1", "2.3.0"])
@with_examples
async def test_example_places_and_prices_reach_partners_of_all_versions_whole(tmp_path, version):
    """Entered by an operator under our own name; what partners get is valid."""
    ours = {"country_code": "NL", "party_id": "CPO"}
    async with CpoProcess(tmp_path) as cpo, contextlib.AsyncExitStack() as stack:
        partners = [
            await stack.enter_async_context(RawEmsp(v, ("NL", f"X{v[2]}{v[4]}"))) for v in VERSIONS
        ]
        for raw in partners:
            invited = await cpo.api("POST", "/partners", {"name": raw.version})
            await raw.register(invited["versions_url"], invited["token_a"])
            raw.partner = invited["id"]
        entered = {}
        for name, example in {**of(version, "tariffs"), **of(version, "locations")}.items():
            if "id" in example:
                module, id_ = name.split("/")[1], f"{example['id'][:30]}-{len(entered)}"
                entered[module, id_] = example.get("publish", True)
                await cpo.api("PUT", f"/{module}/{id_}", example | ours | {"id": id_})

        for raw in partners:
            # What a version cannot say is held back, with the field named.
            parked = await held_back(cpo, raw.partner)
            old = raw.version == "2.1.1"
            assert old or raw.version < version or parked == {}
            assert [p for p in parked.values() if not re.match(UNSAID[raw.version], p)] == []
            put = {(h.module, h.segments[-1]) for h in raw.heard if h.method == "PUT"}
            assert put | set(parked) == {
                key for key, public in entered.items() if public or not old
            }
            assert [p for p in raw.wrong() if not (old and p.endswith(EITHER))] == []
        assert cpo.tracebacks() == ""
