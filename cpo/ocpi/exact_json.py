"""Exact decimals both ways: JSON as OCPI means it.

Energy and money must survive the trip: a number with a fraction is read as a Decimal and written as
the same digits, never through a float. What cannot be JSON of OCPI (not UTF-8, nested without end,
NUL, numbers of absurd size) is refused before any of our code looks at it.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Any

import msgspec

from cpo.errors import Invalid

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 64
# Larger than any amount, energy or time of the trade, smaller than what makes arithmetic slow.
_MAX_DIGITS = 60
_MAX_MAGNITUDE = 30

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_OCPI_DECIMALS = Decimal("0.0001")

_ENCODER = msgspec.json.Encoder(decimal_format="number")
# The encoder writes a Decimal as str() does and an instant with microseconds: both are so rare that
# the text is searched for them. A match inside a string only costs a second look.
_EXPONENT = re.compile(rb"E[+-]\d")
_LOOSE_INSTANT = re.compile(rb'\.\d{4,}(?:Z|[+-]\d\d:\d\d)"|\d[+-]\d\d:\d\d"')


class NotJson(Invalid):
    """The body is not JSON, or not JSON that this system is willing to look at."""

    def __init__(self, problem: str) -> None:
        super().__init__("", problem)


def decode(raw: bytes, *, max_bytes: int = MAX_BYTES) -> Any:
    """Read JSON; a number with a fraction or an exponent becomes a Decimal.

    Of a key that occurs twice the last value counts.

    Raises:
        NotJson: not UTF-8 JSON, larger than `max_bytes`, nested deeper than 64, with a NUL in a
            text, or with a number of more than 60 digits.
    """
    if len(raw) > max_bytes:
        raise NotJson(f"larger than {max_bytes} bytes")
    try:
        value = _DECODER.decode(raw.removeprefix(_BYTE_ORDER_MARK))
    except RecursionError:
        raise NotJson(f"nested deeper than {MAX_DEPTH}") from None
    except ValueError as error:
        raise NotJson(f"not JSON: {error}") from None
    # Counting is far cheaper than walking, and no ordinary message needs the walk.
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH):
        raise NotJson(f"nested deeper than {MAX_DEPTH}")
    if rb"\u0000" in raw:
        _refuse_nul(value)
    return value


def encode(value: Any) -> bytes:
    """Write JSON: Decimals as plain digits without exponent, instants as UTC with `Z`.

    Raises:
        ValueError: a Decimal that is not finite, or an instant without a time zone.
    """
    text = _ENCODER.encode(value)
    if _has_loose_number(text) or _LOOSE_INSTANT.search(text):
        text = _ENCODER.encode(_plain(value))
    return text


def encode_document(document: Any) -> bytes:
    """Write JSON as `encode` does, of a value in which instants are texts already."""
    text = _ENCODER.encode(document)
    if _has_loose_number(text):
        text = _ENCODER.encode(_plain(document))
    return text


def _has_loose_number(text: bytes) -> bool:
    # An expression that begins with a fixed letter is far faster than one that begins with a digit.
    if (b"E+" in text or b"E-" in text) and any(
        text[found.start() - 1 : found.start()].isdigit() for found in _EXPONENT.finditer(text)
    ):
        return True
    return b"NaN" in text or b"Infinity" in text


def number(value: Decimal | int) -> Decimal | int:
    """Round to the 4 decimals of OCPI's number type, half up, without trailing zeros."""
    if isinstance(value, int):
        return value
    rounded = value.quantize(_OCPI_DECIMALS, ROUND_HALF_UP)
    whole = rounded.to_integral_value()
    if rounded == whole:
        return int(whole)
    return rounded.normalize()


# The same few instants come again: in each part of an object, and in each form of it.
@lru_cache(maxsize=4096)
def instant(at: datetime) -> str:
    """Write an instant as OCPI's DateTime: UTC, `Z`, whole seconds or milliseconds.

    Cut and not rounded, so that an instant never moves into the future.
    """
    if at.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    timespec = "milliseconds" if utc.microsecond >= 1000 else "seconds"
    return utc.isoformat(timespec=timespec)[: -len("+00:00")] + "Z"


def _decimal(text: str) -> Decimal:
    if len(text) > _MAX_DIGITS:
        raise ValueError("a number of too many digits")
    value = Decimal(text)
    if value and abs(value.adjusted()) > _MAX_MAGNITUDE:
        raise ValueError("a number out of range")
    return value


_DECODER = msgspec.json.Decoder(float_hook=_decimal)


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(limit):
        children = [
            child for node in level for child in (node.values() if isinstance(node, dict) else node)
        ]
        level = [child for child in children if isinstance(child, (dict, list))]
    return bool(level)


def _refuse_nul(value: Any) -> None:
    pending: list[Any] = [value]
    while pending:
        node = pending.pop()
        if isinstance(node, str):
            if "\x00" in node:
                raise NotJson("a NUL character in a text")
        elif isinstance(node, dict):
            pending.extend(node)
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)


def _plain(value: Any) -> Any:
    """Return the same value with every Decimal and instant in its plainest form."""
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError("a number that is not finite")
        if value == value.to_integral_value():
            return int(value)
        # str(), which the encoder uses, has an exponent below 0.000001.
        return msgspec.Raw(format(value, "f").encode())
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
