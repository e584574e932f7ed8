"""Every field of what partners send, missing, null, of wrong type, too long: 2xxx, never 5xx."""

import pytest

from chargers_sim.emsp.strict import tables
from tests.e2e.conftest import new_site, uid

pytestmark = pytest.mark.asyncio(loop_scope="session")

WRONG = {
    "missing": None,
    "null": None,
    "number": 5,
    "text": "not-that",
    "list": [],
    "object": {},
    "boolean": True,
    "too long": "x" * 300,
}


def spoilt(thing, field, how):
    if how == "missing":
        return {name: value for name, value in thing.items() if name != field}
    return thing | {field: WRONG[how]}


def must_be_refused(version, name, thing):
    """Whether a tolerant reader has to refuse it too: what is required is not there."""
    return any(
        deviation.problem == "required field missing"
        for deviation in tables(version).check(name, thing)
    )


async def send_all(emsp, name, thing, method, url, module):
    """Send every spoilt form of an object; return what was wrong with the answers."""
    version = emsp.versions[0]
    caller, found = emsp.caller(), []
    for field in tables(version).fields(name):
        for how in WRONG:
            body = spoilt(thing, field, how)
            answer = await caller.request(
                f"{name}.{field} {how}", method, url, body=body, module=module, good_only=False
            )
            said = f"{name}.{field} {how}: HTTP {answer.status} {answer.status_code}"
            if answer.status >= 500 or answer.status_code is None:
                found.append(said)
            elif answer.status_code == 2003:
                continue  # a location of that name is simply not there
            elif must_be_refused(version, name, body) and not 2000 <= answer.status_code < 3000:
                found.append(f"{said} accepted")
            elif 2000 <= answer.status_code < 3000 and field not in (answer.message or ""):
                found.append(f"{said} does not name it: {answer.message}")
    return found


async def test_a_spoilt_token_changes_nothing(cpo, emsp):
    """TOK-3 and TRANS-13."""
    await emsp.send_token({"uid": uid(emsp)})
    driver = emsp.drivers.find(uid(emsp))
    token = emsp.shown_token(driver, emsp.peer.edition)
    country, party = emsp.parties[0]
    url = f"{emsp.endpoint('tokens', 'RECEIVER').rstrip('/')}/{country}/{party}/{token['uid']}"

    found = await send_all(emsp, "Token", token, "PUT", url, "tokens")

    assert found == []


async def test_a_spoilt_start_is_refused(cpo, emsp):
    """CMD-6."""
    site = await new_site(cpo)
    token = emsp.shown_token(emsp.drivers.find(uid(emsp)), emsp.peer.edition)
    body = {
        "response_url": f"{emsp.url}/ocpi/emsp/{emsp.versions[0]}/commands/START_SESSION/none",
        "token": token,
        "location_id": site.location,
        "evse_uid": site.evse,
    }
    url = f"{emsp.endpoint('commands', 'RECEIVER').rstrip('/')}/START_SESSION"

    found = await send_all(emsp, "StartSession", body, "POST", url, "commands")

    assert found == []


async def test_spoilt_credentials_do_not_end_the_connection(cpo, emsp):
    """CRED-3."""
    edition = emsp.peer.edition
    body = emsp.registration.credentials(edition, "a-new-token")
    url = emsp.endpoint("credentials", "SENDER")
    spoilt_bodies = [
        spoilt(body, field, how)
        for field in tables(edition.version).fields("Credentials")
        for how in WRONG
        if must_be_refused(edition.version, "Credentials", spoilt(body, field, how))
    ]
    caller = emsp.caller(routed=False)

    answers = [
        await caller.request("put", "PUT", url, body=b, module="credentials", good_only=False)
        for b in spoilt_bodies
    ]

    assert [a.exchange.body for a in answers if not 2000 <= (a.status_code or 0) < 4000] == []
    assert await emsp.fetch("tariffs") is not None


@pytest.mark.parametrize("body", [b"{", b"[]", b"5", b'"x"', b"null", b"\xff\xfe", b"[" * 5000])
async def test_what_is_no_object_is_refused(cpo, emsp, body):
    """TRANS-12."""
    country, party = emsp.parties[0]
    url = f"{emsp.endpoint('tokens', 'RECEIVER').rstrip('/')}/{country}/{party}/X"
    headers = emsp.caller()._headers("tokens", with_body=True)

    async with emsp.http.put(url, data=body, headers=headers) as response:
        envelope = await response.json()

    assert response.status in {200, 400}
    assert 2000 <= envelope["status_code"] < 3000


@pytest.mark.parametrize("path", ["locations", "tariffs", "sessions", "cdrs"])
@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-1", "limit=x", "offset=-1", "offset=x", "date_from=yesterday",
     "date_from=2026-13-01T00:00:00Z", "date_to=x"],
)  # fmt: skip
async def test_a_bad_query_is_2001(cpo, emsp, path, query):
    """PAG-3."""
    url = f"{emsp.endpoint(path, 'SENDER')}?{query}"
    if path == "sessions" and "date_from" not in query:
        url += "&date_from=2026-01-01T00:00:00Z"

    answer = await emsp.caller().request("list", "GET", url, module=path, good_only=False)

    assert (answer.status, answer.status_code) == (200, 2001)


async def test_a_token_of_a_foreign_party_is_refused(cpo, emsp):
    """TRANS-6 and TOK-3."""
    token = emsp.shown_token(emsp.drivers.find(uid(emsp)), emsp.peer.edition)
    url = f"{emsp.endpoint('tokens', 'RECEIVER').rstrip('/')}/DE/ZZZ/{token['uid']}"

    answer = await emsp.caller().request(
        "put", "PUT", url, body=token, module="tokens", good_only=False
    )

    assert answer.status in {200, 404}
    assert answer.status_code >= 2000


@pytest.mark.parametrize(
    "target",
    ["ftp://127.0.0.1/x", "file:///etc/passwd", "x", ""],
)
async def test_a_response_url_that_leads_astray_is_refused(cpo, emsp, target):
    """URL-4."""
    url = f"{emsp.endpoint('commands', 'RECEIVER').rstrip('/')}/STOP_SESSION"

    answer = await emsp.caller().request(
        "stop", "POST", url, body={"response_url": target, "session_id": "x"}, module="commands",
        good_only=False,
    )  # fmt: skip

    assert answer.status in {200, 400}
    assert answer.status_code == 2001


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "POST", "DELETE"])
async def test_odd_paths_and_methods_are_never_5xx(cpo, emsp, method):
    """TRANS-10: every answer carries the envelope."""
    base = emsp.endpoint("locations", "SENDER").rstrip("/").rsplit("/", 1)[0]
    for path in ("", "nothing", "locations/a/b/c/d/e/f", "tokens/%00", "commands/NO_SUCH",
                 "sessions/x/charging_preferences", "cdrs/%2e%2e%2f", "tariffs/" + "x" * 3000):  # fmt: skip
        answer = await emsp.caller().request(
            "odd", method, f"{base}/{path}", body={} if method != "GET" else None,
            module="locations", good_only=False,
        )  # fmt: skip
        assert answer.status < 500, path
        assert answer.status_code is not None, (path, answer.status)
