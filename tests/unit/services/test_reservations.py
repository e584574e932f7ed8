"""Reservations of partners, in memory and on disk."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from memory_store import MemoryStore

from cpo.services.reservations import Reservation, Reservations

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


async def test_an_id_that_is_used_again_after_it_expired_outlives_a_restart():
    """The old one of that name is not deleted after the new one was kept."""
    clock, store = [NOON], MemoryStore()
    held = Reservations(store, lambda: clock[0])
    first = Reservation(
        partner_id="P1", id="R-1", number=7, station="CP1", location_id="L1", evse_uid="E1",
        expires_at=NOON + timedelta(hours=1), response_url="https://msp/r", version="2.2.1",
    )  # fmt: skip
    await held.hold(first)
    await held.hold(replace(first, id="R-2", number=8))
    clock[0] += timedelta(hours=2)

    await held.hold(replace(first, expires_at=NOON + timedelta(hours=5)))

    again = Reservations(store, lambda: clock[0])
    await again.load()
    for book in (held, again):
        found = book.find("P1", "R-1")
        assert found is not None
        assert found.expires_at == NOON + timedelta(hours=5)
        assert book.by_number("CP1", 8) is None
