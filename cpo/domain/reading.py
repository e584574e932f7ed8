"""Checks for values that people enter: each returns the value in its one form, or names the field.

A check takes a value of parsed JSON and the path of its field, for example
`evses[0].connectors[1].standard`, and raises `Invalid` with that path. Checks are combined to
describe whole objects as data.
"""

import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from cpo.errors import Invalid

Check = Callable[[Any, str], Any]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NOT_PRINTABLE_ASCII = re.compile(r"[^\x20-\x7e]")


def text(most: int, *, least: int = 0) -> Check:
    """Accept a text without control characters."""

    def check(value: Any, path: str) -> str:
        if not isinstance(value, str):
            raise Invalid(path, "a text is expected")
        if _CONTROL.search(value):
            raise Invalid(path, "a control character")
        if not least <= len(value) <= most:
            raise Invalid(path, "empty" if len(value) < least else f"longer than {most} characters")
        return value

    return check


def ascii_text(most: int, *, least: int = 1) -> Check:
    """Accept an identifier: printable ASCII, in which case does not count."""
    as_text = text(most, least=least)

    def check(value: Any, path: str) -> str:
        checked: str = as_text(value, path)
        if _NOT_PRINTABLE_ASCII.search(checked):
            raise Invalid(path, "a character that is not printable ASCII")
        return checked

    return check


def shaped(pattern: str, meaning: str) -> Check:
    """Accept a text of one form."""
    matches = re.compile(pattern).fullmatch

    def check(value: Any, path: str) -> str:
        if not isinstance(value, str) or not matches(value):
            raise Invalid(path, f"not {meaning}")
        return value

    return check


def one_of(values: AbstractSet[str]) -> Check:
    """Accept a word of a list."""

    def check(value: Any, path: str) -> str:
        if not isinstance(value, str) or value not in values:
            raise Invalid(path, f"{str(value)[:40]!r} is not one of {', '.join(sorted(values))}")
        return value

    return check


def truth(value: Any, path: str) -> bool:
    """Accept true or false."""
    if not isinstance(value, bool):
        raise Invalid(path, "true or false is expected")
    return value


def whole(least: int, most: int) -> Check:
    """Accept a whole number, also when it is written with an empty fraction."""

    def check(value: Any, path: str) -> int:
        amount: Decimal | int = number(value, path)
        if amount != int(amount):
            raise Invalid(path, "a whole number is expected")
        if not least <= amount <= most:
            raise Invalid(path, f"not between {least} and {most}")
        return int(amount)

    return check


def number(value: Any, path: str) -> Decimal | int:
    """Accept a number of at most 4 decimals."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float):
        value = Decimal(repr(value))
    if not isinstance(value, Decimal) or not value.is_finite():
        raise Invalid(path, "a number is expected")
    if abs(value) >= 10**12:
        raise Invalid(path, "too large")
    if value == int(value):
        return int(value)
    if value != round(value, 4):
        raise Invalid(path, "more than 4 decimals")
    return value.normalize()


def not_negative(most: int | None = None) -> Check:
    """Accept a number of at most 4 decimals from 0 on."""

    def check(value: Any, path: str) -> Decimal | int:
        amount = number(value, path)
        if amount < 0:
            raise Invalid(path, "must not be negative")
        if most is not None and amount > most:
            raise Invalid(path, f"more than {most}")
        return amount

    return check


def url(value: Any, path: str) -> str:
    """Accept an absolute http or https URL."""
    checked: str = ascii_text(255)(value, path)
    if not checked.lower().startswith(("http://", "https://")) or " " in checked:
        raise Invalid(path, "not an absolute http or https URL")
    return checked


def moment(value: Any, path: str) -> str:
    """Accept an instant; it is kept as text in UTC."""
    try:
        at = datetime.fromisoformat(value)
        utc = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise Invalid(path, "not an instant such as 2026-01-31T12:00:00Z") from None
    return utc.replace(tzinfo=None, microsecond=0).isoformat() + "Z"


def degrees(limit: int) -> Check:
    """Accept a coordinate as text or number; it is kept as text with 6 decimals."""

    def check(value: Any, path: str) -> str:
        digits = str(value) if isinstance(value, (int, float, Decimal)) else value
        if (
            isinstance(value, bool)
            or not isinstance(digits, str)
            or not re.fullmatch(r"[+-]?\d{1,3}(\.\d{1,20})?", digits)
        ):
            raise Invalid(path, "a coordinate is written 52.370216")
        rounded = round(Decimal(digits), 6) + 0  # no "-0.000000"
        if abs(rounded) > limit:
            raise Invalid(path, f"beyond {limit} degrees")
        return f"{rounded:.6f}"

    return check


def list_of(check_item: Check, *, least: int = 0, most: int = 10_000) -> Check:
    """Accept a list, with null for an empty one."""

    def check(value: Any, path: str) -> list[Any]:
        items = [] if value is None else value
        if not isinstance(items, list):
            raise Invalid(path, "a list is expected")
        if not least <= len(items) <= most:
            raise Invalid(path, f"at least {least} required" if len(items) < least else "too many")
        return [check_item(item, f"{path}[{index}]") for index, item in enumerate(items)]

    return check


def record(
    required: Mapping[str, Check],
    optional: Mapping[str, Check] | None = None,
    *,
    rule: Callable[[dict[str, Any], str], None] | None = None,
) -> Check:
    """Accept an object.

    Null counts as absent, empty lists are left out, unknown fields are ignored. `rule` looks at
    the fields together.
    """
    optional = optional or {}

    def check(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise Invalid(path, "an object is expected")
        prefix = f"{path}." if path else ""
        read: dict[str, Any] = {}
        for name, check_field in required.items():
            if value.get(name) is None:
                raise Invalid(f"{prefix}{name}", "required")
            read[name] = check_field(value[name], f"{prefix}{name}")
        for name, check_field in optional.items():
            if value.get(name) is not None:
                checked = check_field(value[name], f"{prefix}{name}")
                if checked != []:
                    read[name] = checked
        if rule is not None:
            rule(read, prefix)
        return read

    return check
