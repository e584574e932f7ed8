"""Times and numbers as all OCPP versions write them."""

from datetime import UTC, datetime
from typing import Any, Final

# Clocks that were never set start in one of these years; no charger reports from before.
_EARLIEST_YEAR: Final = 2010
_LATEST_YEAR: Final = 2200


def read_instant(text: Any, received_at: datetime) -> datetime:
    """Read a time as tolerantly as possible; the arrival where it tells nothing (BO-18, BO-19).

    A missing zone means UTC. Reads "2026-01-01T10:00:00", "…+02", "…+0200", "…Z" and any number
    of decimals.
    """
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        if not isinstance(text, str):
            return received_at
        try:
            at = datetime.fromisoformat(text.strip().upper().replace(" ", "T", 1))
        except ValueError:
            return received_at
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    elif at.tzinfo is not UTC:
        try:
            at = at.astimezone(UTC)
        except OverflowError:
            return received_at
    if not _EARLIEST_YEAR <= at.year < _LATEST_YEAR:
        return received_at
    return at


def write_instant(at: datetime) -> str:
    """Write a time as every charger can read it: UTC with Z, milliseconds at most (Q19)."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
