"""How an answer, or the error in its place, crosses from node to node."""

import msgspec

from cpo import errors
from cpo.errors import CpoError, StationTimeout

OK = b"+"
FAILED = b"-"

# What the node that holds a station may raise for it; the asker gets the same error.
_KNOWN = {
    kind.__name__: kind
    for kind in (
        errors.Conflict,
        errors.Invalid,
        errors.NotFound,
        errors.Refused,
        errors.StationOffline,
        errors.StationRefused,
        errors.StationTimeout,
        errors.StationUnclear,
        errors.StoreUnavailable,
    )
}
_PARTS = {
    "Invalid": ("field", "problem"),
    "NotFound": ("kind", "id"),
    "StationOffline": ("identity",),
    "StationRefused": ("code", "description"),
    "StationUnclear": ("code", "description"),
}


def answered(answer: bytes) -> bytes:
    """Write an answer down."""
    return OK + answer


def failed(error: CpoError) -> bytes:
    """Write an error down."""
    name = type(error).__name__
    parts = [getattr(error, part) for part in _PARTS.get(name, ())] or [str(error)]
    return FAILED + msgspec.json.encode([name, *parts])


def read(frame: bytes) -> bytes:
    """Return the answer in a frame, or raise the error in it."""
    if frame[:1] == OK:
        return frame[1:]
    try:
        name, *parts = msgspec.json.decode(frame[1:], type=list[str])
        kind = _KNOWN[name]
    except (ValueError, KeyError) as error:
        raise StationTimeout("the other node answered with nonsense") from error
    raise kind(*parts)
