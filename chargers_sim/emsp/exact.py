"""JSON whose numbers stay exact: decimals are `Decimal`, never a binary fraction."""

import json
from decimal import Decimal
from typing import Any

import msgspec

_ENCODER = msgspec.json.Encoder(decimal_format="number")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object; a key given twice has no defined meaning."""
    built = dict(pairs)
    if len(built) != len(pairs):
        raise ValueError("an object names the same key twice")
    return built


def loads(text: bytes | str) -> Any:
    """Read JSON, with fractions as `Decimal`.

    Raises:
        ValueError: the text is not JSON, or not UTF-8.
    """
    return json.loads(
        text,
        parse_float=Decimal,
        parse_constant=_refuse_constant,
        object_pairs_hook=_unique,
    )


def dumps(value: Any) -> bytes:
    """Write JSON, with `Decimal` as plain numbers."""
    return _ENCODER.encode(value)
