"""Identifiers that we give: stable, unguessable, and never derived from an OCPP identity openly."""

import re
import uuid
from datetime import UTC, datetime, timedelta

IDENTITY = re.compile(r"[A-Za-z0-9*\-_.:+|@= ]{1,48}")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def derived_id(secret: uuid.UUID, *parts: str) -> str:
    """Return an id that the same facts always give, and that tells nothing about them.

    A retry, a crash in between and a restored backup must all end at the same Session and CDR
    (invariants I1, I2, I21); `secret` is the instance's own, so that the OCPP identity cannot be
    guessed from the id (SEC-04).
    """
    return str(uuid.uuid5(secret, "\x1f".join(parts)))


def instant_key(at: datetime) -> str:
    """Spell an instant for use in a key: microseconds since 1970."""
    return str((at - _EPOCH) // _MICROSECOND)
