from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from cpo.errors import Invalid
from cpo.ocpi import exact_json
from cpo.ocpi.exact_json import NotJson


def test_a_price_survives_the_trip_digit_by_digit() -> None:
    """TRANS-23: Decimal inside, a JSON number outside."""
    text = b'{"excl_vat":4.0492,"kwh":0.1000}'

    value = exact_json.decode(text)

    assert value == {"excl_vat": Decimal("4.0492"), "kwh": Decimal("0.1000")}
    assert exact_json.encode(value) == text


def test_no_number_is_written_with_an_exponent() -> None:
    """TRANS-23"""
    value = [Decimal("1E+2"), Decimal("1E-9"), Decimal("-2.50E-8"), Decimal("0E-10")]

    assert exact_json.encode(value) == b"[100,0.000000001,-0.0000000250,0]"


def test_a_text_that_looks_like_an_exponent_stays_a_text() -> None:
    assert exact_json.encode({"uid": "1E2"}) == b'{"uid":"1E2"}'


def test_instants_are_written_in_utc_with_z_and_milliseconds_at_most() -> None:
    """TRANS-22"""
    amsterdam = timezone(timedelta(hours=2))
    value = [
        datetime(2026, 7, 1, 12, 0, 0, 123_999, tzinfo=UTC),
        datetime(2026, 7, 1, 12, 0, tzinfo=amsterdam),
    ]

    assert exact_json.encode(value) == b'["2026-07-01T12:00:00.123Z","2026-07-01T10:00:00Z"]'


@pytest.mark.parametrize(
    ("microsecond", "text"),
    [
        (0, "2026-07-01T10:00:00Z"),
        (999, "2026-07-01T10:00:00Z"),
        (1_000, "2026-07-01T10:00:00.001Z"),
        (999_999, "2026-07-01T10:00:00.999Z"),
    ],
)
def test_an_instant_is_cut_to_milliseconds(microsecond: int, text: str) -> None:
    """TRANS-22: at most 25 characters, never in the future."""
    assert exact_json.instant(datetime(2026, 7, 1, 10, 0, 0, microsecond, tzinfo=UTC)) == text


def test_an_instant_without_a_zone_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="time zone"):
        exact_json.instant(datetime(2026, 7, 1, 10))


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        (Decimal("0.00005"), Decimal("0.0001")),
        (Decimal("0.00004"), Decimal(0)),
        (Decimal("-0.00005"), Decimal("-0.0001")),
        (Decimal("12.3400"), Decimal("12.34")),
        (Decimal("1E+3"), Decimal(1000)),
        (7, 7),
    ],
)
def test_numbers_have_four_decimals_at_most_rounded_half_up(
    value: Decimal | int, rounded: Decimal | int
) -> None:
    """TRANS-23"""
    assert exact_json.number(value) == rounded
    assert b"E" not in exact_json.encode(exact_json.number(value))


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut short"),
        pytest.param(b"<html>", id="html"),
        pytest.param(b"NaN", id="nan"),
        pytest.param(b"[1,]", id="trailing comma"),
        pytest.param(b'"\xff"', id="not utf-8"),
        pytest.param(b'"\xed\xa0\x80"', id="surrogate in utf-8"),
        pytest.param(b'"\\udc00"', id="half a surrogate pair"),
        pytest.param(b'{"a":["x\\u0000"]}', id="nul in a text"),
        pytest.param(b'{"\\u0000":1}', id="nul in a key"),
        pytest.param(b"[" * 65 + b"]" * 65, id="too deep"),
        pytest.param(b"[" * 100_000, id="far too deep"),
        pytest.param(b'{"a":' * 70 + b"1" + b"}" * 70, id="too deep in objects"),
        pytest.param(b"1e31", id="huge number"),
        pytest.param(b"1e999999999", id="number that would fill the memory"),
        pytest.param(b"0." + b"1" * 70, id="number of many digits"),
        pytest.param(b"1" * 5000, id="integer of many digits"),
    ],
)
def test_what_is_not_json_of_ocpi_is_refused(raw: bytes) -> None:
    """TRANS-12"""
    with pytest.raises(NotJson):
        exact_json.decode(raw)


def test_a_body_above_the_limit_is_not_even_parsed() -> None:
    with pytest.raises(Invalid, match="larger than 10 bytes"):
        exact_json.decode(b"[1,2,3,4,5,6]", max_bytes=10)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        pytest.param(b'{"a":1,"a":2}', {"a": 2}, id="the last of two equal keys counts"),
        pytest.param(b"\xef\xbb\xbf{}", {}, id="byte order mark"),
        pytest.param(b"[" * 64 + b"]" * 64, None, id="64 levels"),
        pytest.param(b"[" + b"[]," * 100 + b"[]]", None, id="broad is not deep"),
        pytest.param(rb'"\\u0000"', r"\u0000", id="a backslash is no nul"),
        pytest.param(b"1e2", Decimal(100), id="exponents are read"),
    ],
)
def test_what_partners_send_in_good_faith_is_read(raw: bytes, value: object) -> None:
    read = exact_json.decode(raw)

    assert value is None or read == value


def test_a_number_that_is_not_finite_is_never_written() -> None:
    with pytest.raises(ValueError, match="not finite"):
        exact_json.encode([Decimal("NaN")])


def test_a_document_is_written_without_exponents_too() -> None:
    document = {"uid": "DE-EMP-1E-7", "volume": [Decimal("1E-7"), 1, Decimal("2.50")]}

    assert exact_json.encode_document(document) == (
        b'{"uid":"DE-EMP-1E-7","volume":[0.0000001,1,2.50]}'
    )
