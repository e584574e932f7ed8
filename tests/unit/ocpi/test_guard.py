"""Which addresses a partner may send us to (S18, URL-4)."""

import socket

import aiohttp
import pytest

from cpo.errors import Invalid
from cpo.ocpi.guard import AddressRefused, UrlGuard, is_public


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
        "not an address",
    ],
)
def test_S18_addresses_of_this_machine_and_private_networks_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
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
    "host", ["169.254.169.254", "[::ffff:169.254.169.254]", "[fe80::1]", "[fd00:ec2::254]"]
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
