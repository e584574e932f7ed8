"""Reservations that partners hold: their ids stay theirs, chargers get ours (CMD-14)."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from cpo.services.ports import StationDocument, Store, Work

# Kept beside the documents about stations, under a name that no station can have.
SHELF = "\x1freservations"
KIND = "reservation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """One reservation of a partner.

    `id` is the partner's, `number` the charger's. `response_url` is where the partner hears when
    we cancel it (CMD-15), `asked_by` the party behind a hub that made it. `before` is the one that
    it replaces, until the station took it.
    """

    partner_id: str
    id: str
    number: int
    station: str
    location_id: str
    evse_uid: str
    expires_at: datetime
    response_url: str
    version: str
    asked_by: Sequence[str] | None = None
    before: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        """What distinguishes it from those of other partners."""
        return reservation_key(self.partner_id, self.id)


def reservation_key(partner_id: str, reservation_id: str) -> str:
    """Return the key of a partner's reservation; ids are compared without case."""
    return f"{partner_id}/{reservation_id.lower()}"


def charger_number(partner_id: str, reservation_id: str) -> int:
    """Return the positive 31-bit number that chargers know a reservation by.

    The same reservation always has the same number, so that a repeated one replaces it.
    """
    digest = hashlib.blake2b(reservation_key(partner_id, reservation_id).encode(), digest_size=4)
    return int.from_bytes(digest.digest(), "big") % (2**31 - 1) + 1


class Reservations:
    """The reservations that live, in memory and on disk."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._held: dict[str, Reservation] = {}

    async def load(self) -> None:
        """Read what was held before the last stop."""
        for found in await self._store.documents(SHELF, KIND):
            reservation = _read(found.document)
            self._held[reservation.key] = reservation

    def find(self, partner_id: str, reservation_id: str) -> Reservation | None:
        """Return a partner's reservation that has not expired."""
        held = self._held.get(reservation_key(partner_id, reservation_id))
        return held if held is not None and held.expires_at > self._now() else None

    def by_number(self, station: str, number: int) -> Reservation | None:
        """Return the reservation that a charger knows by a number."""
        return next(
            (r for r in self._held.values() if (r.station, r.number) == (station, number)), None
        )

    async def hold(self, reservation: Reservation) -> None:
        """Keep a reservation; one with the same id is replaced."""
        known = self.find(reservation.partner_id, reservation.id)
        if known is not None:
            reservation = replace(reservation, before=_plain(replace(known, before=None)))
        work = Work()
        work.put(_document(reservation, self._now()))
        for expired in [r for r in self._held.values() if r.expires_at <= self._now()]:
            if expired.key != reservation.key:  # an id that is used again is kept anew
                self._drop(work, expired)
        work.then(lambda _: self._held.__setitem__(reservation.key, reservation))
        await self._store.commit(work)

    async def refused(self, reservation: Reservation) -> None:
        """Forget a reservation that its station did not take; the one before it still stands."""
        before = None if reservation.before is None else _read(reservation.before)
        if before is None or before.expires_at <= self._now():
            await self.end(reservation)
            return
        work = Work()
        work.put(_document(before, self._now()))
        work.then(lambda _: self._held.__setitem__(before.key, before))
        await self._store.commit(work)

    def moved_from(self, reservation: Reservation) -> Reservation | None:
        """Return the one that it replaced at another station, which holds that still."""
        if reservation.before is None or reservation.before["station"] == reservation.station:
            return None
        return _read(reservation.before)

    async def end(self, reservation: Reservation) -> None:
        """Forget a reservation."""
        work = Work()
        self._drop(work, reservation)
        await self._store.commit(work)

    def _drop(self, work: Work, reservation: Reservation) -> None:
        work.delete(_document(reservation, self._now()))
        work.then(lambda _: self._held.pop(reservation.key, None) and None)


def _document(reservation: Reservation, at: datetime) -> StationDocument:
    return StationDocument(SHELF, KIND, reservation.key, _plain(reservation), at)


def _plain(reservation: Reservation) -> dict[str, Any]:
    document: dict[str, Any] = {
        name: getattr(reservation, name) for name in Reservation.__dataclass_fields__
    }
    document["expires_at"] = reservation.expires_at.isoformat()
    return document


def _read(document: dict[str, Any]) -> Reservation:
    return Reservation(**{**document, "expires_at": datetime.fromisoformat(document["expires_at"])})
