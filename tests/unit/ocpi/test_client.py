"""Requests to partners, against a real server on loopback that misbehaves on demand."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web

from cpo.domain.values import replace
from cpo.ocpi.client import Answer, Client, Line, PageFailed, first_object
from cpo.ocpi.delivery import Failure
from cpo.ocpi.envelope import success
from cpo.ocpi.guard import UrlGuard

AT = datetime(2026, 3, 1, tzinfo=UTC)
LINE = Line(
    partner_id="p1", token="secret-token", encoded_token=True, us=("NL", "CPO"), them=("DE", "MSP")
)
NOTHING = success(None, AT)
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def partner(handler: Handler):
    server = web.Server(handler)
    runner = web.ServerRunner(server, shutdown_timeout=0.01, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    async with Client(UrlGuard(allow_private=True), timeout=30) as client:
        yield client, f"http://127.0.0.1:{port}"
    await runner.cleanup()


def answering(status=200, body=NOTHING, **headers):
    async def handler(request):
        return web.Response(status=status, body=body, headers=headers)

    return handler


async def ask(handler, line=LINE, **options) -> Answer:
    async with partner(handler) as (client, url):
        return await client.request(line, "GET", url, **options)


async def test_HDR_1_HDR_3_every_request_carries_token_ids_and_routing():
    seen = {}

    async def handler(request):
        seen.update(request.headers)
        seen["body"] = await request.read()
        return web.Response(body=success(b"[]", AT))

    async with partner(handler) as (client, url):
        answer = await client.request(LINE, "PUT", url, body=b"{}", correlation_id="chain-1")

    assert answer.ok
    assert seen["Authorization"] == "Token c2VjcmV0LXRva2Vu"
    assert seen["X-Correlation-ID"] == "chain-1"
    assert len(seen["X-Request-ID"]) == 36
    assert seen["Content-Type"] == "application/json"
    assert [
        seen[f"OCPI-{h}"]
        for h in ("from-country-code", "from-party-id", "to-country-code", "to-party-id")
    ] == ["NL", "CPO", "DE", "MSP"]
    assert seen["body"] == b"{}"


async def test_HDR_3_unrouted_requests_carry_no_routing():
    seen = {}

    async def handler(request):
        seen.update(request.headers)
        return web.Response(body=success(None, AT))

    await ask(handler, routed=False)

    assert not any(name.lower().startswith("ocpi-") for name in seen)


async def test_HDR_6_open_routing_leaves_the_receiver_out():
    seen = {}

    async def handler(request):
        seen.update(request.headers)
        return web.Response(body=success(None, AT))

    await ask(handler, replace(LINE, them=None))

    assert "OCPI-from-party-id" in seen
    assert "OCPI-to-party-id" not in seen


@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [
        (200, success(None, AT), None),
        (204, b"", None),
        (200, b"<html>login</html>", Failure.SERVER),
        (200, b'{"status_code":2001,"status_message":"no"}', Failure.REFUSED),
        (200, b"\xff\xfe", Failure.SERVER),
        (200, b"[" * 100_000, Failure.SERVER),
        (500, b"", Failure.SERVER),
        (401, b"", Failure.UNAUTHORIZED),
        (404, b"", Failure.MISSING),
    ],
)
async def test_TRANS_15_answers_are_classified(status, body, failure):
    assert (await ask(answering(status, body))).failure is failure


async def test_the_operator_reads_what_the_partner_said():
    answer = await ask(answering(400, b'{"status_code":2001,"status_message":"kwh missing"}'))

    assert answer.detail == "HTTP 400, OCPI 2001 kwh missing"


async def test_a_pause_asked_for_is_reported():
    answer = await ask(answering(429, b"", **{"Retry-After": "7"}))

    assert (answer.failure, answer.retry_after) == (Failure.BUSY, 7)


async def test_a_silent_partner_is_given_up():
    async def handler(request):
        await asyncio.sleep(30)

    async with partner(handler) as (client, url):
        answer = await client.request(LINE, "GET", url, timeout=0.05)

    assert (answer.failure, answer.http_status) == (Failure.NETWORK, None)


async def test_S25_a_dripping_answer_is_given_up():
    async def handler(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.01)

    async with partner(handler) as (client, url):
        answer = await client.request(LINE, "GET", url, timeout=0.2)

    assert answer.failure is Failure.NETWORK


async def test_nobody_listening_is_a_network_failure():
    async with Client(UrlGuard(allow_private=True)) as client:
        answer = await client.request(LINE, "GET", "http://127.0.0.1:1/")

    assert answer.failure is Failure.NETWORK


async def test_a_cut_connection_is_a_network_failure():
    async def handler(request):
        request.transport.abort()

    assert (await ask(handler)).failure is Failure.NETWORK


async def test_S18_a_compressed_bomb_is_not_unpacked():
    bomb = gzip.compress(b" " * (64 * 1024 * 1024))

    answer = await ask(answering(200, bomb, **{"Content-Encoding": "gzip"}))

    assert answer.failure is Failure.SERVER
    assert "larger" in answer.detail


async def test_S18_redirects_are_not_followed():
    answer = await ask(answering(302, b"", Location="http://127.0.0.1:1/"))

    assert (answer.http_status, answer.failure) == (302, Failure.SERVER)


async def test_a_dialect_may_follow_redirects_to_the_same_host_only():
    async def handler(request):
        if request.path == "/":
            return web.Response(status=307, headers={"Location": "/there"})
        if request.path == "/there":
            return web.Response(body=success(b"7", AT))
        return web.Response(status=308, headers={"Location": "http://localhost:1/"})

    line = replace(LINE, redirects=True)
    async with partner(handler) as (client, url):
        assert (await client.request(line, "GET", url + "/")).data == 7
        assert (await client.request(line, "GET", url + "/away")).http_status == 308


async def test_S18_a_private_address_is_refused_without_the_switch():
    async with Client(UrlGuard()) as client:
        literal = await client.request(LINE, "GET", "https://127.0.0.1/")
        name = await client.request(LINE, "GET", "https://localhost/")

    assert literal.failure is Failure.REFUSED
    assert (name.failure, "not public" in name.detail) == (Failure.NETWORK, True)


def lists(count, size, *, loop_at=None, shrink_at=None):
    """A partner's list of numbers; may link in a circle, or lose its first object."""

    async def handler(request):
        offset = int(request.query.get("offset", 0))
        numbers = list(range(count))
        if shrink_at is not None and offset >= shrink_at:
            numbers = numbers[1:]
        page = numbers[offset : offset + size]
        headers = {"X-Total-Count": str(len(numbers))}
        following = 0 if offset == loop_at else offset + size
        if following < len(numbers):
            headers["Link"] = f'<{request.url.with_query(offset=following)}>; rel="next"'
        return web.Response(body=success(json.dumps(page).encode(), AT), headers=headers)

    return handler


async def read_all(handler, line=LINE):
    async with partner(handler) as (client, url):
        return [item async for page in client.pages(line, url) for item in page.items]


async def test_PAG_5_all_pages_are_read_by_their_links():
    assert await read_all(lists(25, 10)) == list(range(25))


async def test_PAG_6_a_circle_of_links_ends():
    assert await read_all(lists(25, 10, loop_at=10)) == [*range(20), *range(10)]


async def test_PAG_6_an_empty_list_is_one_page():
    assert await read_all(lists(0, 10)) == []


@pytest.mark.parametrize(("data", "listed"), [(b"[]", True), (b"{}", False), (b"null", False)])
async def test_an_answer_without_a_list_is_no_empty_list(data, listed):
    async def handler(request):
        return web.Response(body=success(data, AT))

    async with partner(handler) as (client, url):
        [page] = [page async for page in client.pages(LINE, url)]

    assert (page.items, page.listed) == ([], listed)


async def test_PAG_5_a_list_that_shrank_is_read_again_one_back():
    """Object 0 vanished after the first page: 10 moved into the first page."""
    assert 10 in await read_all(lists(25, 10, shrink_at=10))


async def test_a_page_that_fails_says_where_to_go_on():
    async def handler(request):
        if "offset" in request.query:
            return web.Response(status=500)
        return await lists(25, 10)(request)

    async with partner(handler) as (client, url):
        with pytest.raises(PageFailed) as caught:
            [page async for page in client.pages(LINE, url)]

    assert caught.value.url.endswith("offset=10")


async def test_PAG_8_the_date_filter_is_encoded():
    seen = []

    async def handler(request):
        seen.append(request.path_qs)
        return web.Response(body=success(b"[]", AT))

    async with partner(handler) as (client, url):
        async for _ in client.pages(replace(LINE, page_size=20), url, since=AT):
            pass

    assert seen == ["/?date_from=2026-03-01T00%3A00%3A00Z&limit=20"]


def test_an_object_wrapped_in_a_list_is_unwrapped():
    assert first_object([{"id": 1}]) == {"id": 1}
    assert first_object({"id": 1}) == {"id": 1}


def test_URL_1_a_partner_may_want_a_slash_at_the_end():
    line = replace(LINE, trailing_slash=True)

    assert line.url("https://p.example/x", "a/b") == "https://p.example/x/a%2Fb/"
    assert line.url("https://p.example/x/?k=1") == "https://p.example/x/?k=1"
