"""The console: log-in, pages, buttons, what is live."""

import asyncio
import json
import re
from datetime import timedelta
from decimal import Decimal

import pytest
from charging import NOON
from operating import ADMIN, READ, Operating

from cpo.domain.events import Boot, EventKind, IdToken, TransactionEvent
from cpo.services.ports import Audit, Frame, Orphan, StationDocument, Work
from cpo.web.auth import Actor
from cpo.web.console.logins import IDLE_SECONDS, LONGEST_SECONDS, Logins
from cpo.web.console.pages import PAGES

EVIL = "<img src=x onerror=alert(1)>"


class Browser:
    """Follows redirects, keeps cookies, sends forms as a browser does."""

    def __init__(self, world):
        self.world = world
        self.client = world.client
        self.origin = str(self.client.make_url("/")).rstrip("/")

    async def get(self, path):
        answer = await self.client.get(path)
        return answer.status, await answer.text(), answer

    async def post(self, path, fields, *, origin=None, follow=True):
        headers = {"Origin": origin or self.origin}
        answer = await self.client.post(path, data=fields, headers=headers, allow_redirects=follow)
        return answer.status, await answer.text(), answer

    async def login(self, key=ADMIN, **query):
        return await self.post("/login", {"key": key})

    async def form_token(self, path="/"):
        _, page, _ = await self.get(path)
        return re.search(r'name="form_token" value="([^"]+)"', page)[1]


@pytest.fixture
async def browser():
    world = Operating()
    await world.client.start_server()
    await world.charging.site(evses=1)
    yield Browser(world)
    await world.charging.commands.close()
    await world.charging.stations.close()
    await world.client.close()


async def test_without_a_login_every_page_leads_to_the_form(browser):
    """S26."""
    for page in PAGES:
        status, text, answer = await browser.get(re.sub(r"{\w+}", "x", page.path))
        assert status == 200
        assert answer.url.path == "/login", page.path
        assert "Operator key" in text


async def test_a_wrong_key_does_not_log_in(browser):
    status, text, answer = await browser.login("wrong")

    assert status == 401
    assert "not known" in text
    assert answer.cookies == {}


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(browser):
    _, _, answer = await browser.post("/login", {"key": ADMIN}, follow=False)

    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert ADMIN not in cookie


async def test_after_the_login_one_is_where_one_wanted_to_go(browser):
    _, _, answer = await browser.post("/login?next=%2Fstations%2FCP1", {"key": ADMIN})

    assert answer.url.path == "/stations/CP1"


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example"])
async def test_the_login_leads_to_no_other_server(browser, target):
    answer = await browser.client.post(
        "/login", params={"next": target}, data={"key": ADMIN}, allow_redirects=False
    )

    assert answer.headers["Location"] == "/"


async def charged(browser):
    world = browser.world
    world.charging.partner()
    await world.partner()
    await world.charging.token()
    begin = TransactionEvent(
        kind=EventKind.STARTED, at=NOON, received_at=NOON, evse_id=1, connector_id=1,
        id_token=IdToken("TAG"), meter_wh=Decimal(1000),
    )  # fmt: skip
    answer = await world.charging.told(begin)
    at = NOON + timedelta(hours=1)
    end = TransactionEvent(
        kind=EventKind.ENDED, at=at, received_at=at, transaction=answer.transaction,
        meter_wh=Decimal(11_000),
    )  # fmt: skip
    await world.charging.told(end)
    _, page, _ = await world.ask("GET", "/api/v1/cdrs")
    return page["items"][0]


async def test_every_page_shows_what_is_there(browser):
    await browser.login()
    cdr = await charged(browser)
    world = browser.world
    _, command, _ = await world.ask("POST", "/api/v1/stations/CP1/reset", {})
    work = Work()
    work.add(Frame("CP1", NOON, "in", "Heartbeat", "m1", "{}", "{}"))
    work.put(StationDocument("CP1", "variable", "A/B", {"attributes": [EVIL]}, NOON))
    event = {"type": EVIL, "info": EVIL, "critical": True}
    work.put(StationDocument("CP1", "security-event", "1", event, NOON))
    work.add(Orphan("CP1", NOON, "no such transaction", "StopTransaction", "[...]"))
    await world.store.commit(work)
    world.connect("CP1")
    _, job, _ = await world.ask("POST", "/api/v1/stations/CP1/get-log", {})
    names = {
        "/jobs/{id}": f"/jobs/{job['id']}",
        "/stations/{identity}": "/stations/CP1",
        "/stations/{identity}/documents": "/stations/CP1/documents?kind=variable",
        "/locations/{id}": "/locations/L-CP1",
        "/tariffs/{id}": "/tariffs/T1",
        "/sessions/{id}": f"/sessions/{cdr['session_id']}",
        "/cdrs/{id}": f"/cdrs/{cdr['id']}",
        "/partners/{id}": "/partners/P1",
        "/commands/{id}": f"/commands/{command['id']}",
    }
    for page in PAGES:
        status, text, answer = await browser.get(names.get(page.path, page.path))
        assert status == 200, (page.path, text)
        assert "</html>" in text
        assert EVIL not in text
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        # The policy forbids it, and no page needs it.
        assert not re.search(r"<script(?! src=)|<[^>]*\s(on\w+|style)=", text), page.path


async def test_a_page_says_that_something_is_not_there(browser):
    await browser.login()

    for path in ("/stations/none", "/cdrs/none", "/partners/none"):
        status, text, _ = await browser.get(path)
        assert status == 404
        assert "not found" in text


async def test_what_a_station_says_never_becomes_markup(browser):
    """S10, SEC-12."""
    world = browser.world
    async with world.charging.stations.lock("CP1"):
        work = Work()
        boot = Boot(vendor=EVIL, model="\u202e" + EVIL, firmware_version="=cmd|' /C calc'!A0")
        await world.charging.stations.boot(work, "CP1", boot, at=NOON)
        work.add(Frame("CP1", NOON, "in", "BootNotification", EVIL, json.dumps({"a": EVIL}), None))
        await world.store.commit(work)
    await browser.login()

    for path in ("/stations", "/stations/CP1", "/"):
        _, text, _ = await browser.get(path)
        assert EVIL not in text

    assert "&lt;img src=x" in (await browser.get("/stations"))[1]


async def test_a_button_sends_a_command_and_shows_it(browser):
    await browser.login()
    link = browser.world.connect("CP1")
    token = await browser.form_token("/stations/CP1")

    status, _, answer = await browser.post(
        "/do/stations/CP1/reset", {"form_token": token, "type": "Immediate"}
    )

    assert status == 200
    assert answer.url.path.startswith("/commands/")
    for _ in range(100):
        if link.executed:
            break
        await asyncio.sleep(0)
    assert link.executed[0].parameters["type"] == "Immediate"
    assert [a.actor for a in browser.world.store.all(Audit)][-1] == "key:boss"


async def test_a_log_is_fetched_by_a_button_and_its_job_is_a_page(browser):
    """Logs: the job with all that came of it, and a button to let go of it."""
    await browser.login()
    token = await browser.form_token("/stations/CP1")

    _, page, answer = await browser.post(
        "/do/stations/CP1/get-log", {"form_token": token, "log_type": "DiagnosticsLog"}
    )
    path = answer.url.path
    _, listed, _ = await browser.get("/jobs?station=CP1")
    _, after, again = await browser.post(f"/do{path}/cancel", {"form_token": token, "next": path})

    assert path.startswith("/jobs/")
    assert "waiting" in page
    assert path in listed
    assert again.url.path == path
    assert "cancelled" in after


async def test_a_form_of_another_site_does_nothing(browser):
    """S27."""
    await browser.login()
    link = browser.world.connect("CP1")
    token = await browser.form_token("/stations/CP1")

    without, _, _ = await browser.post("/do/stations/CP1/reset", {"type": "Immediate"})
    wrong, _, _ = await browser.post("/do/stations/CP1/reset", {"form_token": "x"})
    foreign, _, _ = await browser.post(
        "/do/stations/CP1/reset", {"form_token": token}, origin="https://evil.example"
    )

    assert (without, wrong, foreign) == (403, 403, 403)
    assert link.executed == []


async def test_who_may_only_read_sends_no_command(browser):
    await browser.login(READ)
    token = await browser.form_token("/stations/CP1")

    status, text, _ = await browser.post("/do/stations/CP1/reset", {"form_token": token})

    assert status == 403
    assert "no scope" in text
    assert (await browser.get("/audit"))[0] == 403


async def test_a_bad_value_in_a_form_is_told(browser):
    await browser.login()
    token = await browser.form_token("/stations/CP1")

    status, text, _ = await browser.post(
        "/do/stations/CP1/reset", {"form_token": token, "type": "Gently"}
    )

    assert status == 422
    assert "must be OnIdle" in text


async def test_only_listed_actions_have_a_button(browser):
    await browser.login()
    token = await browser.form_token()

    status, _, _ = await browser.post("/do/stations/CP1/call", {"form_token": token})

    assert status in (404, 405)


async def test_after_the_logout_the_cookie_is_worth_nothing(browser):
    await browser.login()
    cookie = browser.client.session.cookie_jar.filter_cookies(browser.client.make_url("/"))
    kept = {name: morsel.value for name, morsel in cookie.items()}
    await browser.post("/logout", {"form_token": await browser.form_token()})

    answer = await browser.client.get("/stations", cookies=kept)

    assert answer.url.path == "/login"


async def test_changes_arrive_as_events(browser):
    await browser.login()
    answer = await browser.client.get("/live")
    first = await answer.content.readuntil(b"\n\n")
    browser.world.connect("CP1")
    second = await answer.content.readuntil(b"\n\n")
    answer.close()

    assert answer.headers["Content-Type"] == "text/event-stream"
    online = [json.loads(e.split(b"data: ")[1])["stations"]["online"] for e in (first, second)]
    assert online == [0, 1]


async def test_without_a_login_nothing_is_live(browser):
    assert (await browser.client.get("/live")).status == 401


@pytest.mark.parametrize("name", ["console.css", "console.js"])
async def test_static_files_need_no_login(browser, name):
    answer = await browser.client.get(f"/static/{name}")

    assert answer.status == 200
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["..%2fserver.py", "none.js"])
async def test_nothing_else_is_served_as_a_file(browser, name):
    """S11."""
    assert (await browser.client.get(f"/static/{name}")).status == 404


def test_a_login_ends_when_unused_and_after_half_a_day():
    now = 0.0
    logins = Logins(clock=lambda: now)
    cookie = logins.begin(Actor("key:a", frozenset()))

    for now in range(0, LONGEST_SECONDS, IDLE_SECONDS):  # noqa: B007 - the clock reads it
        assert logins.find(cookie) is not None
    now = LONGEST_SECONDS + 1.0
    assert logins.find(cookie) is None

    fresh = logins.begin(Actor("key:a", frozenset()))
    now += IDLE_SECONDS + 1
    assert logins.find(fresh) is None


def test_each_login_gets_a_cookie_of_its_own():
    logins = Logins()
    actor = Actor("key:a", frozenset())

    assert logins.begin(actor) != logins.begin(actor)
