"""Values of the hot path: immutable, cheap to make and to change.

A frozen dataclass of thirty fields takes some 25 µs to copy with one change, a frozen struct less
than one; a charger's message makes or changes half a dozen of them (docs/decisions, 0004).
"""

import dataclasses
from collections.abc import Callable
from decimal import Decimal
from threading import Lock
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_DECODERS: dict[Any, Callable[[str | bytes], Any]] = {}
_BUILDING = Lock()


def decoder(type_: type[T]) -> Callable[[str | bytes], T]:
    """Return what reads a type from its JSON text, from any thread.

    What msgspec notes at a class while it builds is incomplete for a moment, and another thread
    that builds then reads it as it is and crashes the process: so one builds at a time.
    """
    found = _DECODERS.get(type_)
    if found is None:
        with _BUILDING:
            found = _DECODERS.get(type_)
            if found is None:
                found = msgspec.json.Decoder(type_, float_hook=Decimal).decode
                _DECODERS[type_] = found
    return found


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
