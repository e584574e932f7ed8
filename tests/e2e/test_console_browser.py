"""The console in a real browser: what a person sees and presses, over a real charge."""

import re

import pytest
import pytest_asyncio
from browser import Browser
from running import Cpo, password
from waiting import LONG, until

from chargers_sim import Emsp, Station

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def charged(chromium, tmp_path_factory):
    """A server with one whole charge, billed to the eMSP double, and its charger still online."""
    async with Cpo(tmp_path_factory.mktemp("console")) as cpo, Emsp(party=("NL", "MSP")) as emsp:
        await cpo.equip(["CP1"])
        await cpo.partner(emsp)
        tag = next(t for t in emsp.state()["tokens"] if t["whitelist"] == "ALWAYS")["uid"]
        station = Station(cpo.ocpp_url, "CP1", ocpp="1.6", password=password("CP1"))
        async with station:
            await station.plug()
            await station.swipe(tag)
            await station.charge(kwh=3, seconds=300)
            await station.stop()
            await station.unplug()
            await emsp.wait_for_cdr(timeout=LONG)
            yield cpo


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(charged, tmp_path_factory):
    """A browser that is logged in."""
    async with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        await browser.go(f"{charged.console_url}/login")
        await browser.run(
            f"document.querySelector('#key').value = '{charged.key}';"
            "document.querySelector('form.login button').click()"
        )
        await browser.until("location.pathname === '/' && document.querySelector('nav')")
        yield browser


async def test_every_page_opens_and_breaks_no_rule_of_its_own(charged, browser):
    """S27: no script error, nothing that the content security policy had to forbid."""
    pages = await browser.run(
        "[...document.querySelectorAll('nav a')].map(a => a.getAttribute('href'))"
    )
    assert len(pages) >= 10
    for page in pages:
        await browser.go(charged.console_url + page)
        assert await browser.run("document.querySelector('h1').textContent"), page
        first = await browser.run("document.querySelector('main table a')?.href")
        if first:
            await browser.go(first)
            assert await browser.run("document.querySelector('h1').textContent"), first
    assert browser.complaints == []


async def test_the_price_of_a_cdr_is_explained(charged, browser):
    await browser.go(f"{charged.console_url}/cdrs")
    await browser.go(await browser.run("document.querySelector('main table a').href"))

    told = await browser.text()

    assert "Where the price comes from" in told
    assert re.search(r"3 kWh at [0-9.]+ per kWh", told)
    assert "StopTransaction" in told


async def test_a_button_reaches_the_charger_and_its_answer_comes_back(charged, browser):
    await browser.go(f"{charged.console_url}/stations/CP1")
    await browser.run(
        "[...document.querySelectorAll('button')]"
        ".find(b => b.textContent.includes('Ask for status')).click()"
    )
    await browser.until("location.pathname.startsWith('/commands/')")

    await browser.until("document.body.innerText.includes('ACCEPTED')")

    async def logged():
        _, sent = await charged.api("GET", "/stations/CP1/messages?action=TriggerMessage")
        return sent["items"]

    await until(logged)  # what we send is logged a moment later


async def test_the_overview_follows_what_happens_without_a_reload(charged, browser):
    await browser.go(f"{charged.console_url}/")
    await browser.run("window.stays = true")
    before = int(await browser.run("document.querySelector('[data-live=stations]').textContent"))

    await charged.api("PUT", "/stations/ANOTHER", {"allow_without_password": True})

    await browser.until(
        f"document.querySelector('[data-live=stations]').textContent == '{before + 1}'"
    )
    assert await browser.run("window.stays") is True


async def test_who_logs_out_sees_nothing_more(charged, browser, tmp_path):
    async with Browser(tmp_path) as other:
        await other.go(f"{charged.console_url}/cdrs")
        assert "Operator key" in await other.text()
        await other.run(
            "document.querySelector('#key').value = 'wrong';"
            "document.querySelector('form.login button').click()"
        )
        await other.until("document.querySelector('.problem')")
        assert "CDR" not in await other.text()
