"""Transport: tokens, envelope, ids, routing, limits (chapters "Transport and format")."""

import asyncio
import base64
import contextlib
import gzip
import io

import pytest
from partner_world import TOKEN, partner_world, registered
from waiting import LONG


async def test_TRANS_5_a_missing_or_unknown_token_is_401_with_the_envelope(world):
    for asked in (world.ask("unknown"), world.ask("x" * 300)):
        told = await asked("GET", "versions")
        assert told.said == (401, 2000)
        assert "timestamp" in told.body


@pytest.mark.parametrize(
    "value",
    [
        TOKEN,
        base64.b64encode(TOKEN.encode()).decode(),
        base64.b64encode(TOKEN.encode() + b"\n").decode(),
    ],
)
async def test_TRANS_4_the_token_may_be_raw_encoded_or_encoded_with_a_newline(ask, value):
    told = await ask("GET", "versions", headers={"Authorization": f"Token {value}"})

    assert told.said == (200, 1000)


@pytest.mark.parametrize(
    "value", ["Token \u00e4", "Token /w==", "Token AAAA", "Bearer x", "Token", "\t"]
)
async def test_S14_odd_tokens_are_401_and_never_an_error_of_ours(ask, value):
    told = await ask("GET", "versions", headers={"Authorization": value})

    assert told.said == (401, 2000)


async def test_TRANS_10_every_answer_is_the_envelope_in_json(ask):
    for path in ("versions", "2.2.1", "2.2.1/nothing", "9.9", "2.2.1/locations/none"):
        told = await ask("GET", path)
        assert told.headers["Content-Type"] == "application/json"
        assert {"status_code", "timestamp"} <= set(told.body)


@pytest.mark.parametrize("raw", ["{", "", "\xff", "[1,2", "nul", '{"a":NaN}', "{" * 100_000])
async def test_TRANS_12_what_is_not_json_is_400(ask, raw):
    told = await ask("PUT", "2.2.1/tokens/NL/MSP/1", raw=raw.encode("latin-1"))

    assert told.said == (400, 2001)


@pytest.mark.parametrize("body", ["[]", "1", '"text"', "null", "true"])
async def test_TRANS_13_json_that_is_no_object_is_2001(ask, body):
    told = await ask("PUT", "2.2.1/tokens/NL/MSP/1", raw=body.encode())

    assert told.said == (200, 2001)


async def test_TRANS_11_the_content_type_may_be_missing_or_name_a_charset(ask):
    for headers in ({"Content-Type": "application/json; charset=utf-8"}, {"Content-Type": ""}):
        told = await ask("PUT", "2.2.1/tokens/NL/MSP/1", raw=b"{}", headers=headers)
        assert told.said == (200, 2001)


async def test_HDR_1_message_ids_are_repeated(ask):
    told = await ask("GET", "versions", headers={"X-Request-ID": "r-1", "X-Correlation-ID": "c-1"})

    assert (told.headers["X-Request-ID"], told.headers["X-Correlation-ID"]) == ("r-1", "c-1")


@pytest.mark.parametrize("odd", [None, "", "\u00e4", "x" * 200, "a b"])
async def test_S19_HDR_1_odd_message_ids_are_replaced_not_refused(ask, odd):
    headers = {} if odd is None else {"X-Request-ID": odd}

    told = await ask("GET", "versions", headers=headers)

    assert told.http == 200
    assert len(told.headers["X-Request-ID"]) == 36


async def test_HDR_3_routing_is_swapped_in_the_answer(ask):
    told = await ask(
        "GET",
        "2.2.1/locations",
        headers={
            "OCPI-from-country-code": "NL",
            "OCPI-from-party-id": "MSP",
            "OCPI-to-country-code": "NL",
            "OCPI-to-party-id": "CPO",
        },
    )

    assert told.http == 200
    assert [told.headers[f"OCPI-{n}"] for n in ("from-party-id", "to-party-id")] == ["CPO", "MSP"]


async def test_HDR_4_routing_may_be_missing(ask):
    assert (await ask("GET", "2.2.1/locations")).said == (200, 1000)


async def test_S16_TRANS_6_a_party_of_somebody_else_in_the_headers_is_refused(ask):
    told = await ask(
        "GET",
        "2.2.1/locations",
        headers={"OCPI-from-country-code": "DE", "OCPI-from-party-id": "XXX"},
    )

    assert told.said == (200, 2001)
    assert "OCPI-from-party-id" in told.body["status_message"]


async def test_URL_1_a_slash_at_the_end_changes_nothing(ask):
    for path in ("versions/", "2.2.1/", "2.2.1/locations/", "2.2.1/credentials/"):
        assert (await ask("GET", path)).said == (200, 1000)


async def test_URL_2_segments_are_decoded_once(ask):
    told = await ask("GET", "2.2.1/tokens/NL/MSP/a%2Fb%25")

    assert told.http == 404
    assert "a/b%" in told.body["status_message"]


@pytest.mark.parametrize(
    "path",
    [
        "2.2.1/locations/%00",
        "2.2.1/locations/%ff",
        "2.2.1/locations/..%2f..%2fetc",
        "2.2.1/locations/%E2%80%AE",
        "2.2.1/locations/" + "a" * 5000,
        "%2e%2e/versions",
        "2.2.1/locations/a/b/c/d/e",
    ],
)
async def test_S11_odd_paths_are_not_found_and_never_an_error_of_ours(ask, path):
    assert (await ask("GET", path)).http in {400, 404}


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "POST", "DELETE", "PATCH"])
async def test_S21_methods_that_are_not_there_are_405(ask, method):
    told = await ask(method, "2.2.1/locations")

    assert told.http == 405
    assert told.headers["Allow"] == "GET"


async def test_S21_the_server_does_not_say_what_it_runs_on(ask):
    told = await ask("GET", "versions")

    assert told.headers["Server"] == "cpo"


async def test_limits_a_body_over_one_mebibyte_is_413(ask):
    told = await ask("PUT", "2.2.1/tokens/NL/MSP/1", raw=io.BytesIO(b" " * (1024 * 1024 + 1)))

    assert told.http == 413


async def test_limits_a_compressed_bomb_is_413(ask):
    told = await ask(
        "PUT",
        "2.2.1/tokens/NL/MSP/1",
        raw=gzip.compress(b" " * 50_000_000),
        headers={"Content-Encoding": "gzip"},
    )

    assert told.http == 413


async def test_limits_a_partner_that_asks_too_often_is_429_with_a_pause(tmp_path):
    async with partner_world(f"sqlite:///{tmp_path}/cpo.db", requests_per_second=2) as world:
        await registered(world)
        told = [await world.ask(TOKEN)("GET", "versions") for _ in range(6)]

        assert [t.http for t in told][:4] == [200] * 4
        assert told[-1].http == 429
        assert int(told[-1].headers["Retry-After"]) >= 1


async def test_limits_a_request_that_never_ends_its_headers_is_dropped(world):
    world.side.server._listener._limits = type(world.side.server._limits)(header_time=0.1)
    host, port = world.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /ocpi/versions HTTP/1.1\r\nX-Slow: ")
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()


async def test_what_is_not_http_gets_an_envelope(world):
    host, port = world.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"\x16\x03\x01 nonsense\r\n\r\n")
    answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.")
    assert b'"status_code":2000' in answer


INNER = b"GET /ocpi/versions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def sent_raw(world, head, body):
    """Send a PUT with these headers and this body, and return all that comes back."""
    host, port = world.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    line = b"PUT /ocpi/2.2.1/tokens/NL/MSP/X HTTP/1.1\r\nHost: x\r\n"
    writer.write(line + head % len(body) + b"\r\n\r\n" + body)
    async with asyncio.timeout(LONG):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nContent-Length: %d",
        b"Content-Length: %d\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: %d",
        b"Transfer-Encoding: chunked, identity\r\nX: %d",
        b"Transfer-Encoding : chunked\r\nX: %d",
        b"Content-Length: +%d",
        b"Content-Length: 0x%x",
    ],
    ids=["two", "both", "both the other way", "chunked not last", "a blank", "a sign", "hex"],
)
async def test_S21_no_second_request_hides_in_the_body_of_another(world, head):
    """Two readings of one length: the connection ends instead of going on with the rest."""
    answer = await sent_raw(world, head, b"0\r\n\r\n" + INNER)

    assert answer.count(b"HTTP/1.") == 1
    assert b" 400 " in answer.partition(b"\r\n")[0]


async def test_S21_two_requests_in_a_row_are_two(world):
    answer = await sent_raw(world, b"Content-Length: 0\r\nX: %d", INNER)

    assert answer.count(b"HTTP/1.1 401") == 2


async def test_V_1_versions_and_details_name_absolute_urls(world, ask):
    versions = (await ask("GET", "versions")).data
    assert [v["version"] for v in versions] == ["2.1.1", "2.2.1", "2.3.0"]
    for version in versions:
        told = await ask("GET", version["url"])
        modules = {e["identifier"] for e in told.data["endpoints"]}
        assert {"credentials", "locations", "sessions", "cdrs", "tariffs", "tokens"} <= modules
        assert all(e["url"].startswith(world.url) for e in told.data["endpoints"])
        assert ("role" in told.data["endpoints"][0]) == (version["version"] != "2.1.1")


async def test_V_4_a_partner_may_be_offered_fewer_versions(world, partner, ask):
    await world.partners.change(partner.id, policy={"versions": ["2.2.1"]})

    assert [v["version"] for v in (await ask("GET", "versions")).data] == ["2.2.1"]
    assert (await ask("GET", "2.3.0")).said == (404, 3002)
