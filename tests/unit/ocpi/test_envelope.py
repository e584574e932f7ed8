"""Status codes, the envelope and paging."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpo.errors import Conflict, CpoError, Invalid, NotFound, StationOffline, StoreUnavailable
from cpo.ocpi.envelope import (
    Failed,
    Key,
    Paging,
    failure,
    instant,
    join,
    next_link,
    ocpi_time,
    page_headers,
    read_cursor,
    read_envelope,
    read_paging,
    status_of,
    success,
    with_query,
    write_cursor,
)

AT = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Invalid("evse_uid", "is missing"), (200, 2001)),
        (NotFound("location", "L1"), (404, 2003)),
        (NotFound("token", "T1"), (404, 2004)),
        (NotFound("session", "SESSION-1"), (404, 2000)),
        (Conflict("open"), (200, 2000)),
        (StationOffline("CP1"), (200, 3000)),
        (StoreUnavailable("full"), (503, 3000)),
        (Failed(405, 2000, "registered already"), (405, 2000)),
        (CpoError("anything"), (500, 3000)),
    ],
)
def test_TRANS_13_each_error_has_one_http_and_one_ocpi_status(error, expected):
    assert status_of(error) == expected


def test_TRANS_10_success_carries_data_code_and_timestamp():
    body = json.loads(success(b'{"a":1}', AT))

    assert body == {
        "data": {"a": 1},
        "status_code": 1000,
        "status_message": "Success",
        "timestamp": "2026-03-01T12:00:00.123Z",
    }


def test_TRANS_19_no_data_means_no_field():
    assert "data" not in json.loads(success(None, AT))


def test_TRANS_10_an_error_may_carry_data_beside_its_message():
    body = json.loads(failure(2003, 'unknown "location"', AT, b'{"result":"REJECTED"}'))

    assert body["status_code"] == 2003
    assert body["status_message"] == 'unknown "location"'
    assert body["data"] == {"result": "REJECTED"}


def test_TRANS_22_times_are_sent_in_utc_with_z():
    local = datetime(2026, 7, 1, 2, 0, tzinfo=timezone(timedelta(hours=2)))

    assert ocpi_time(local) == "2026-07-01T00:00:00Z"


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T12:00:00Z",
        "2026-03-01T12:00:00",
        "2026-03-01T12:00:00.000",
        "2026-03-01T14:00:00+02:00",
        "2026-03-01T14:00:00 02:00",
        "2026-03-01T12:00:00.000000000Z",
    ],
)
def test_TRANS_22_times_are_read_leniently(text):
    assert instant(text, "date_from") == datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-99-01T00:00:00Z", "0001-01-01T00:00:00+09:00"]
)
def test_a_time_that_is_none_is_refused_with_its_field(text):
    with pytest.raises(Invalid) as caught:
        instant(text, "date_to")

    assert caught.value.field == "date_to"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"status_code": 1000}, 1000),
        ({"status_code": "2001"}, 2001),
        ({"status_code": True}, None),
        ({"status_code": None}, None),
        ({}, None),
        ([], None),
        ("<html>", None),
    ],
)
def test_any_answer_is_read_without_failing(answer, code):
    assert read_envelope(answer).status_code == code


def test_TRANS_15_success_is_the_whole_thousand():
    assert read_envelope({"status_code": 1999}).succeeded
    assert not read_envelope({"status_code": 2000}).succeeded


def test_PAG_3_limit_above_ours_is_cut():
    assert read_paging({"limit": "1000000000"}, largest=100).limit == 100


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"offset": "-5"}, "offset"),
        ({"offset": "1e3"}, "offset"),
        ({"offset": "9" * 31}, "offset"),
        ({"date_from": "soon"}, "date_from"),
        ({"date_to": "2026-13-01"}, "date_to"),
    ],
)
def test_PAG_3_a_bad_parameter_is_named(query, field):
    with pytest.raises(Invalid) as caught:
        read_paging(query, largest=100)

    assert caught.value.field == field


def test_S20_a_huge_offset_is_past_the_end_not_an_error():
    assert read_paging({"offset": "9" * 30}, largest=100).offset == 2**53


def test_PAG_2_the_link_carries_every_filter():
    paging = Paging(offset=100, limit=50, since=AT, until=AT + timedelta(days=1))

    headers = page_headers(
        "https://cpo.example/ocpi/2.2.1/cdrs",
        paging,
        total=1234,
        largest=100,
        sent=50,
        cursor="C-1",
    )

    assert headers["X-Total-Count"] == "1234"
    assert headers["X-Limit"] == "100"
    link = next_link(headers["Link"])
    assert link is not None
    again = read_paging(
        dict(p.split("=") for p in link.replace("%3A", ":").split("?")[1].split("&")), largest=100
    )
    assert again == Paging(
        offset=150, limit=50, since=paging.since, until=paging.until, cursor="C-1"
    )


def test_PAG_2_the_last_page_has_no_link():
    headers = page_headers(
        "https://cpo.example/x", Paging(), total=3, largest=100, sent=3, cursor=None
    )

    assert "Link" not in headers


@pytest.mark.parametrize("text", ["%%%", "AAAA", "MTIz", "\u00e4", "9" * 200])
def test_a_cursor_that_is_not_ours_is_refused(text):
    with pytest.raises(Invalid) as caught:
        read_cursor(text)

    assert caught.value.field == "cursor"


@given(
    st.datetimes(
        min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)
    ),
    st.text(min_size=1, max_size=36),
)
def test_a_cursor_comes_back_as_it_went(at, id):
    try:
        id.encode()
    except UnicodeEncodeError:
        return

    assert read_cursor(write_cursor(Key(at, id))) == Key(at, id)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('<https://p.example/x?offset=50>; rel="next"', "https://p.example/x?offset=50"),
        ("<https://p.example/x>; rel=next", "https://p.example/x"),
        (
            '<https://p.example/a>; rel="prev", <https://p.example/b>; rel="next"',
            "https://p.example/b",
        ),
        ('<https://p.example/a>; rel="last"', None),
        ("garbage", None),
        ("", None),
        (None, None),
    ],
)
def test_PAG_5_the_next_link_is_found_however_it_is_written(header, expected):
    assert next_link(header) == expected


def test_URL_1_exactly_one_slash_joins_a_url_and_its_segments():
    assert (
        join("https://p.example/sessions/", "NL", "ABC", "1")
        == "https://p.example/sessions/NL/ABC/1"
    )
    assert join("https://p.example/sessions", "NL") == "https://p.example/sessions/NL"
    assert join("https://p.example/s?k=1", "NL") == "https://p.example/s/NL?k=1"


def test_S19_URL_2_segments_are_percent_encoded():
    assert (
        join("https://p.example/t", "a/b?c#d%..\r\n")
        == "https://p.example/t/a%2Fb%3Fc%23d%25..%0D%0A"
    )


def test_query_parameters_are_added_to_those_there():
    assert (
        with_query("https://p.example/t?a=1", {"b": "x y", "c": None})
        == "https://p.example/t?a=1&b=x+y"
    )
