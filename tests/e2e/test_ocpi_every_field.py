"""Every field of every object a partner sends, at every depth, spoilt in every way.

What the field tables demand and the spoilt object lacks is refused: HTTP 200, 2xxx, the field named,
and nothing of what is stored has changed.
"""

import contextlib
import copy

import pytest
import pytest_asyncio

from tests.e2e.conftest import VERSIONS, new_site
from tests.e2e.test_ocpi_hostile import met
from tests.support.raw_emsp import RawEmsp, tables

pytestmark = pytest.mark.asyncio(loop_scope="session")

COMMANDS = {
    "StartSession": "START_SESSION",
    "StopSession": "STOP_SESSION",
    "ReserveNow": "RESERVE_NOW",
    "CancelReservation": "CANCEL_RESERVATION",
    "UnlockConnector": "UNLOCK_CONNECTOR",
}
FROM_PARTNERS = {
    "RemoteStartTransaction", "RemoteStopTransaction", "ReserveNow", "CancelReservation",
    "UnlockConnector", "SetChargingProfile", "ClearChargingProfile", "GetCompositeSchedule",
}  # fmt: skip
LATER = "2030-01-01T00:00:00Z"
# Read as text whatever they are (TRANS-24).
OPEN = {"TokenType", "ImageCategory"}
OF_KIND = {
    "boolean": (bool,),
    "int": (int,),
    "number": (int, float),
}
ANY = (5, 1.5, "not-that", True, [], {}, [None], ["x"], {"x": "y"})


def fits(kind, many, value):
    """Whether a value is of the JSON type that a field has."""
    if many:
        return isinstance(value, list)
    if isinstance(value, bool) or kind == "boolean":
        return isinstance(value, bool) and kind == "boolean"
    return isinstance(value, OF_KIND.get(kind, (str,)))


def spoilt(version, name, body, path=()):
    """Yield (where, how, body) for everything that can be wrong with one field of an object."""
    book = tables(version)
    for field, rule in book["objects"][name].items():
        kind, card = rule["type"], rule["card"]
        many, here = card in "*+", (*path, field)

        def changed(value, field=field):
            return body | {field: value}

        if card in "1+":
            yield here, "missing", {k: v for k, v in body.items() if k != field}
            yield here, "null", changed(None)
        if card == "+":
            yield here, "empty", changed([])
        is_object, enum = kind in book["objects"], book["enums"].get(kind)
        for value in ANY:
            if is_object and not many:
                wrong = not isinstance(value, dict)
            elif many:
                wrong = not isinstance(value, list) or value not in ([], ["x"])
                wrong = wrong or (is_object and value == ["x"])
            else:
                wrong = not fits(kind, many, value)
            if wrong:
                yield here, f"{value!r}", changed(value)
        if "max_length" in rule and kind != "URL":
            long = "x" * (rule["max_length"] + 1)
            yield here, "too long", changed([long] if many else long)
        if enum is not None and not enum["open"] and kind not in OPEN:
            yield here, "unknown", changed(["NO_SUCH"] if many else "NO_SUCH")
        if kind in {"DateTime", "URL"} and not many:
            yield here, "no such form", changed("2026-02-30T25:00:00Z")
        if is_object and field in body:
            inner = body[field][0] if many else body[field]
            for where, how, new in spoilt(version, kind, inner, here):
                yield where, how, changed([new] if many else new)


async def refusals(raw, name, body, send, kept):
    """Send all spoilt forms of an object; return what was wrong with the answers."""
    found, count = [], 0
    before = await kept()
    for where, how, new in spoilt(raw.version, name, copy.deepcopy(body)):
        got = await send(new)
        count += 1
        said = f"{name} {'.'.join(where)} {how}: HTTP {got.status} {got.code} {got.message}"
        if got.status != 200 or not 2000 <= (got.code or 0) < 3000:
            found.append(said)
        elif where[-1] not in got.message:
            found.append(f"{said} (not named)")
        if (after := await kept()) != before:
            found.append(f"{said} (changed from {before} to {after})")
            before = after
    assert count >= 10
    return found


def whole_token(raw, uid):
    """A token with all its fields."""
    more = {"visual_number": "NL-1", "language": "nl"}
    if raw.version != "2.1.1":
        contract = {"supplier_name": "Green", "contract_id": "C1"}
        more |= {"group_id": "G1", "default_profile_type": "GREEN", "energy_contract": contract}
    return raw.token(uid, **more)


@pytest_asyncio.fixture(params=VERSIONS, loop_scope="session")
async def raw(request, cpo):
    async with met(cpo, request.param) as partner:
        yield partner


@contextlib.asynccontextmanager
async def hub_of(cpo, version):
    """A raw partner that is a hub, in the words of its version (CRED-13)."""
    async with RawEmsp(version, ("NL", f"Y{version[2:3]}{version[4:5]}")) as hub:
        if version == "2.2.1":
            hub.role = "HUB"
        else:
            plain = hub.credentials
            hub.credentials = lambda **more: plain(hub_party_id="".join(hub.party), **more)
        invited = await cpo.api("POST", "/partners", {"name": f"hub {version}"})
        assert (await hub.register(invited["versions_url"], invited["token_a"])).code == 1000
        yield hub
        await cpo.api("DELETE", f"/partners/{invited['id']}")


async def commands_of(cpo, raw):
    """How many commands were ever made of this partner's requests."""
    listed = await cpo.api("GET", "/commands?limit=200&order=newest")
    return sum(c.get("partner") == raw.partner for c in listed["items"])


async def test_a_token(cpo, raw):
    """TOK-1, TOK-3, TRANS-13."""
    token, url = whole_token(raw, "04FIELD1"), raw.at("tokens", *raw.party, "04FIELD1")
    assert (await raw.ask("PUT", url, token)).code == 1000

    async def kept():
        return (await raw.ask("GET", url)).data

    found = await refusals(raw, "Token", token, lambda new: raw.ask("PUT", url, new), kept)

    assert found == [], "\n".join(found)


async def test_a_patch_of_a_token(cpo, raw):
    """OWN-2, TRANS-13: a field may be missing or null, but not be of a wrong kind."""
    token, url = whole_token(raw, "04FIELD2"), raw.at("tokens", *raw.party, "04FIELD2")
    assert (await raw.ask("PUT", url, token)).code == 1000
    found = []
    for where, how, new in spoilt(raw.version, "Token", token):
        if how in {"missing", "null"} and len(where) == 1:
            continue
        patch = {where[0]: new[where[0]], "last_updated": LATER} | (
            {"last_updated": new["last_updated"]} if where[0] == "last_updated" else {}
        )
        got = await raw.ask("PATCH", url, patch)
        if got.status != 200 or not 2000 <= (got.code or 0) < 3000 or where[-1] not in got.message:
            found.append(f"{where} {how}: HTTP {got.status} {got.code} {got.message}")

    assert found == [], "\n".join(found)
    assert (await raw.ask("GET", url)).data == token


async def test_the_commands(cpo, raw):
    """CMD-3, CMD-6, CMD-9: all of them, and no station hears of any."""
    site = await new_site(cpo)
    back = {"response_url": f"{raw.url}/result/field"}
    place = {"location_id": site.location, "evse_uid": site.evse}
    token, more = whole_token(raw, "04FIELD3"), {}
    if raw.version != "2.1.1":
        more = {"authorization_reference": "A1"}
    id_ = 7 if raw.version == "2.1.1" else "R7"
    good = {
        "StartSession": back | place | more | {"token": token},
        "StopSession": back | {"session_id": "S1"},
        "ReserveNow": back | place | more
        | {"token": token, "expiry_date": LATER, "reservation_id": id_},
        "UnlockConnector": back | place | {"connector_id": "1"},
    }  # fmt: skip
    if raw.version != "2.1.1":
        good["StartSession"]["connector_id"] = "1"
        good["CancelReservation"] = back | {"reservation_id": id_}

    async def kept():
        return None

    async with site.charger() as charger:
        await charger.boot()
        found, made = [], await commands_of(cpo, raw)
        for name, body in good.items():
            url = raw.at("commands", COMMANDS[name])
            found += await refusals(
                raw, name, body, lambda new, url=url: raw.ask("POST", url, new), kept
            )
        asked = [call for call in charger.got if call[0] in FROM_PARTNERS]

    assert found == [], "\n".join(found)
    assert await commands_of(cpo, raw) == made
    assert asked == []
    assert [h.path for h in raw.heard if h.path.startswith("/result")] == []


async def test_profiles_and_preferences(cpo, raw):
    """CP-1, SES-18, CP-9: of a charge that runs; its station hears of none."""
    if raw.version == "2.1.1":
        assert not any(module == "chargingprofiles" for module, _ in raw.endpoints)
        return
    site = await new_site(cpo)
    profile = {
        "start_date_time": "2026-01-01T00:00:00Z",
        "duration": 60,
        "charging_rate_unit": "A",
        "min_charging_rate": 1,
        "charging_profile_period": [{"start_period": 0, "limit": 6}],
    }
    body = {"charging_profile": profile, "response_url": f"{raw.url}/result/profile"}
    wish = {"profile_type": "REGULAR", "departure_time": LATER, "energy_need": 5,
            "discharge_allowed": False}  # fmt: skip

    async def kept():
        return None

    async with site.charger() as charger:
        await charger.boot()
        await raw.put_token("04FIELD4")
        await charger.begin("04FIELD4")
        session = (await raw.until(lambda: raw.of("sessions", "PUT"), "the session"))[0].body["id"]
        url, made = raw.at("chargingprofiles", session), await commands_of(cpo, raw)
        found = await refusals(
            raw, "SetChargingProfile", body, lambda new: raw.ask("PUT", url, new), kept
        )
        wishing = raw.at("sessions", session, "charging_preferences")
        found += await refusals(
            raw, "ChargingPreferences", wish, lambda new: raw.ask("PUT", wishing, new), kept
        )
        back = "response_url=http%3A%2F%2F127.0.0.1%3A1%2F"
        for method, query, field in (
            ("GET", "", "response_url"),
            ("GET", back, "duration"),
            ("GET", f"duration=x&{back}", "duration"),
            ("GET", f"duration=-5&{back}", "duration"),
            ("GET", f"duration=1.5&{back}", "duration"),
            ("GET", f"duration=999999999999&{back}", "duration"),
            ("GET", "duration=60", "response_url"),
            ("GET", "duration=60&response_url=", "response_url"),
            ("GET", "duration=60&response_url=file%3A%2F%2F%2Fetc%2Fpasswd", "response_url"),
            ("DELETE", "", "response_url"),
            ("DELETE", "response_url=x", "response_url"),
        ):
            got = await raw.ask(method, f"{url}?{query}")
            if got.status != 200 or got.code != 2001 or field not in got.message:
                found.append(f"{method} {query}: HTTP {got.status} {got.code} {got.message}")
        asked = [call for call in charger.got if call[0] in FROM_PARTNERS]

    assert found == [], "\n".join(found)
    assert await commands_of(cpo, raw) == made
    assert asked == []


async def test_credentials(cpo, raw):
    """CRED-3, CRED-11: PUT; the connection stays what it was."""
    logo = {"url": "https://emsp.example/logo.png", "category": "OPERATOR", "type": "png"}
    details = {"name": "Raw", "website": "https://emsp.example/", "logo": logo}
    body = raw.credentials()
    who = body if raw.version == "2.1.1" else body["roles"][0]
    who["business_details"] = details
    url = raw.at("credentials")

    async def kept():
        shown = await raw.ask("GET", url)
        partner = await cpo.api("GET", f"/partners/{raw.partner}")
        return shown.data, {k: partner[k] for k in ("status", "version", "roles", "endpoints")}

    found = await refusals(raw, "Credentials", body, lambda new: raw.ask("PUT", url, new), kept)

    assert found == [], "\n".join(found)


@pytest.mark.parametrize("version", ["2.2.1", "2.3.0"])
async def test_client_info(cpo, version):
    """HUB-1."""
    async with hub_of(cpo, version) as hub:
        info = {"party_id": "FLD", "country_code": "DE", "role": "EMSP", "status": "CONNECTED",
                "last_updated": "2026-01-01T00:00:00Z"}  # fmt: skip
        url = hub.at("hubclientinfo", "DE", "FLD")
        assert (await hub.ask("PUT", url, info)).code == 1000

        async def kept():
            return (await hub.ask("GET", url)).data

        found = await refusals(hub, "ClientInfo", info, lambda new: hub.ask("PUT", url, new), kept)

    assert found == [], "\n".join(found)
