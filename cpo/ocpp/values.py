"""Times and numbers as all OCPP versions write them."""

from datetime import UTC, datetime
from typing import Any, Final

# Clocks that were never set start in one of these years; no charger reports from before.
_EARLIEST_YEAR: Final = 2010
_LATEST_YEAR: Final = 2200
_NEVER_SET: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FAR_AHEAD: Final = datetime(_LATEST_YEAR, 1, 1, tzinfo=UTC)


def read_instant(text: Any, received_at: datetime) -> datetime:
    """Read a time as tolerantly as possible; the arrival where it tells nothing (BO-18, BO-19).

    A missing zone means UTC. Reads "2026-01-01T10:00:00", "…+02", "…+0200", "…Z" and any number
    of decimals.
    """
    at = _read(text)
    if at is None or not _EARLIEST_YEAR <= at.year < _LATEST_YEAR:
        return received_at
    return at


def read_told(text: Any, received_at: datetime) -> datetime:
    """Read a time as it was told, however wrong: a charge is known by it, and doubted for it.

    One that nobody can read is that of a clock that was never set; so a repeat has the same one.
    The arrival stands only for a time that is not there.
    """
    at = _read(text)
    if at is None:
        return _NEVER_SET if isinstance(text, str) else received_at
    if at.year < _NEVER_SET.year:
        return _NEVER_SET
    return min(at, _FAR_AHEAD)


def _read(text: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        if not isinstance(text, str):
            return None
        try:
            at = datetime.fromisoformat(text.strip().upper().replace(" ", "T", 1))
        except ValueError:
            return None
    if at.tzinfo is None:
        return at.replace(tzinfo=UTC)
    if at.tzinfo is UTC:
        return at
    try:
        return at.astimezone(UTC)
    except OverflowError:
        return None


def write_instant(at: datetime) -> str:
    """Write a time as every charger can read it: UTC with Z, milliseconds at most (Q19)."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
