"""Values of the hot path: immutable, cheap to make and to change.

A frozen dataclass of thirty fields takes some 25 µs to copy with one change, a frozen struct less
than one; a charger's message makes or changes half a dozen of them (docs/decisions, 0004).
"""

import dataclasses
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class Value(msgspec.Struct, frozen=True):
    """An immutable value whose fields may be given by position or by name."""


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable value whose fields are given by name."""


def replace(value: T, **changes: Any) -> T:
    """Return a copy of a value, struct or dataclass, with some fields changed."""
    if isinstance(value, msgspec.Struct):
        changed: T = msgspec.structs.replace(value, **changes)
        return changed
    return dataclasses.replace(value, **changes)  # type: ignore[type-var]
