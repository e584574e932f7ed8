"""Which addresses a partner may send us to (S18, URL-4)."""

import asyncio
import socket
from dataclasses import replace
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import web

import cpo.ocpi.guard as guard_module
from cpo.errors import Invalid
from cpo.ocpi.client import Client, Line, PageFailed
from cpo.ocpi.envelope import success
from cpo.ocpi.guard import AddressRefused, UrlGuard, is_public

AT = datetime(2026, 3, 1, tzinfo=UTC)
LINE = Line(partner_id="p1", token="secret-token", encoded_token=True)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "192.0.0.192",
        "168.63.129.16",
        "100.100.100.200",
        "192.88.99.1",
        "0.1.2.3",
        "fd20:ce::254",
        "fec0::1",
        "64:ff9b:1::7f00:1",
        "::ffff:0:7f00:1",
        "2001:2::1",
        "3fff::1",
        "5f00::1",
        "not an address",
    ],
)
def test_S18_addresses_of_this_machine_and_private_networks_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "2606:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2a00:1450::1",
        "2001:4860::8",
    ],
)
def test_public_addresses_are_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://emsp.example/ocpi",
        "file:///etc/passwd",
        "ftp://emsp.example/",
        "//emsp.example/",
        "emsp.example/ocpi",
        "https://",
        "https://user:secret@emsp.example/",
        "https://127.0.0.1/",
        "https://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://emsp.example:99999/",
        "https://emsp.example/a b",
        "https://emsp.example/\r\nX: y",
        "https://emsp.example\\@127.0.0.1/",
        "https://ex\u00e4mple/",
        "https://emsp.example/" + "a" * 2048,
        "",
        None,
        7,
        ["https://emsp.example/"],
    ],
)
def test_S18_a_url_that_may_not_be_used_is_refused_with_its_field(url):
    with pytest.raises(Invalid) as caught:
        UrlGuard().check(url, "response_url")

    assert caught.value.field == "response_url"


def test_a_public_https_url_is_taken_as_it_is():
    assert UrlGuard().check("https://emsp.example/x?y=1", "url") == "https://emsp.example/x?y=1"


def test_the_switch_allows_plain_http_and_loopback():
    guard = UrlGuard(allow_private=True)

    assert guard.check("http://127.0.0.1:9/ocpi", "url") == "http://127.0.0.1:9/ocpi"


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[fd20:ce::254]",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "[64:ff9b::a9fe:a9fe]",
        "[::ffff:0:a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
    ],
)
def test_S18_metadata_services_stay_out_of_reach_even_with_the_switch(host):
    with pytest.raises(Invalid):
        UrlGuard(allow_private=True).check(f"http://{host}/", "url")


def test_the_refused_address_is_named():
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.7"):
        UrlGuard().socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("10.0.0.7", 443)))


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:{port}/",
        "https://[::ffff:127.0.0.1]:{port}/",
        "https://0x7f.1:{port}/",
        "https://2130706433:{port}/",
        "https://017700000001:{port}/",
        "https://0x7f000001:{port}/",
        "https://127.1:{port}/",
        "https://0:{port}/",
        "https://0.0.0.0:{port}/",
        "https://[::1]:{port}/",
        "https://[::ffff:7f00:1]:{port}/",
        "https://[0:0:0:0:0:ffff:127.0.0.1]:{port}/",
        "https://127.0.0.1.:{port}/",
        "https://localhost:{port}/",
    ],
)
async def test_S18_no_spelling_of_loopback_is_ever_connected_to(url):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        port = listener.getsockname()[1]
        connector = aiohttp.TCPConnector(socket_factory=UrlGuard().socket)
        async with aiohttp.ClientSession(connector=connector) as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get(url.format(port=port))

        with pytest.raises(BlockingIOError):
            listener.accept()


async def test_S18_a_name_that_turns_private_is_not_connected_to(monkeypatch):
    """What a name meant when it was looked at first says nothing of where it leads now."""
    answers = ["203.0.113.9", "127.0.0.1", "::ffff:10.0.0.1", "169.254.169.254"]
    asked, sent_to = [], []

    async def resolve(_self, host, port, **_):
        asked.append(host)
        address = answers[len(asked) - 1]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        where = (address, port, 0, 0) if ":" in address else (address, port)
        return [(family, socket.SOCK_STREAM, 6, "", where)]

    async def connect(_self, _sock, where):
        sent_to.append(where[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", resolve)
    monkeypatch.setattr(asyncio.selector_events.BaseSelectorEventLoop, "sock_connect", connect)
    # The documentation's network stands for the public one.
    monkeypatch.setattr(guard_module, "_is_global", lambda a: str(a) == "203.0.113.9")
    failures = []
    for _ in answers:
        # A client each: it keeps what a name means for a few seconds.
        async with Client(UrlGuard(), timeout=5) as client:
            answer = await client.request(LINE, "GET", "https://rebind.example/ocpi")
            failures.append((answer.unsent, "is not public" in answer.detail))

    assert asked == ["rebind.example"] * 4
    assert sent_to == ["203.0.113.9"]
    assert failures == [(True, False), (True, True), (True, True), (True, True)]


class OnlyOne(UrlGuard):
    """Takes one address of this machine for public and the others for private."""

    def allows(self, address):
        return address == "127.0.0.1"


@pytest.mark.parametrize("how", ["next page", "redirect", "redirect for one known to send them"])
async def test_S18_neither_a_page_nor_a_redirect_leads_to_another_address(how):
    """URL-4: each address is looked at, also when the first one was good."""
    reached, asked = [], []

    async def inside(request):
        reached.append(request.path)
        return web.Response(body=success(b"[]", AT))

    async def outside(request):
        asked.append(request.path)
        there = f"http://127.0.0.2:{ports[1]}/inside"
        if how == "next page":
            return web.Response(
                body=success(b"[1]", AT), headers={"Link": f'<{there}>; rel="next"'}
            )
        return web.Response(status=307, headers={"Location": there})

    runners, ports = [], []
    for host, handler in (("127.0.0.1", outside), ("127.0.0.2", inside)):
        runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.01)
        await runner.setup()
        await web.TCPSite(runner, host, 0).start()
        runners.append(runner)
        ports.append(runner.addresses[0][1])
    line = replace(LINE, redirects=how != "redirect")
    async with Client(OnlyOne(allow_private=True), timeout=5) as client:
        pages = client.pages(line, f"http://127.0.0.1:{ports[0]}/list")
        with pytest.raises(PageFailed):
            async for _ in pages:
                pass
    for runner in runners:
        await runner.cleanup()

    assert asked == ["/list"]
    assert reached == []
