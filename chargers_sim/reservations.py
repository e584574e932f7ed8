"""Outlets kept for somebody: made, used, given up, run out. Pure."""

from collections.abc import Iterable

from chargers_sim.body import Body
from chargers_sim.happenings import ReservationEnded
from chargers_sim.outlet import Outlet, Reservation, Status, Token, Transaction
from chargers_sim.statuses import Statuses


class Reservations:
    """The reservations of one station."""

    def __init__(self, body: Body, statuses: Statuses) -> None:
        self._body = body
        self._statuses = statuses

    def make(self, number: int, reservation: Reservation, at_ms: int) -> str:
        """Keep an outlet (0: any one) for a token; the answer is the protocol's status word."""
        if number == 0 and not self._body.settings.reserve_any:
            return "Rejected"
        words: dict[Status, str] = {"Faulted": "Faulted", "Unavailable": "Unavailable"}
        if number == 0:
            others = [r for r in self._body.reserved if r.number != reservation.number]
            plain = [self._statuses.plain(o) for o in self._body.outlets.values()]
            if plain.count("Available") > len(others):
                self._body.reserved = [*others, reservation]
                self._statuses.refresh(at_ms)
                return "Accepted"
            return words.get(plain[0], "Occupied") if len(set(plain)) == 1 else "Occupied"
        outlet = self._body.outlets[number]
        status = self._statuses.of(outlet)
        same = outlet.reservation is not None and outlet.reservation.number == reservation.number
        if status == "Available" or (status == "Reserved" and same):
            outlet.reservation = reservation
            self._statuses.refresh(at_ms)
            return "Accepted"
        return words.get(status, "Occupied")

    def cancel(self, number: int, at_ms: int) -> bool:
        """Forget a reservation by its number."""
        kept = [r for r in self._body.reserved if r.number != number]
        found, self._body.reserved = len(kept) < len(self._body.reserved), kept
        for outlet in self._body.outlets.values():
            if outlet.reservation is not None and outlet.reservation.number == number:
                outlet.reservation, found = None, True
        self._statuses.refresh(at_ms)
        return found

    def against(self, outlet: Outlet, token: Token, group: str | None = None) -> bool:
        """Say whether an outlet is kept for somebody else."""
        if outlet.reservation is not None:
            return not _holds(outlet.reservation, token, group)
        if any(_holds(r, token, group) for r in self._body.reserved):
            return False
        free = sum(self._statuses.plain(o) == "Available" for o in self._body.outlets.values())
        # The car may be here already: then this outlet is none of the free ones.
        takes_one = self._statuses.plain(outlet) == "Available"
        return bool(self._body.reserved) and free - takes_one < len(self._body.reserved)

    def use(self, outlet: Outlet, transaction: Transaction) -> None:
        """Let a transaction take the reservation that was made for its token."""
        token, group = transaction.token, transaction.group
        if token is None:
            return
        held = outlet.reservation
        if held is not None and _holds(held, token, group):
            transaction.reservation_id, outlet.reservation = held.number, None
            return
        for held in self._body.reserved:
            if _holds(held, token, group):
                transaction.reservation_id = held.number
                self._body.reserved.remove(held)
                return

    def drop(self, outlets: Iterable[int]) -> None:
        """Give up the reservations of outlets that are no more to be had."""
        for number in outlets:
            held, self._body.outlets[number].reservation = (
                self._body.outlets[number].reservation,
                None,
            )
            if held is not None:
                self._body.happened.append(ReservationEnded(number=held.number, why="Removed"))

    def expire(self, at_ms: int) -> None:
        """End those that have run out."""
        for outlet in self._body.outlets.values():
            held = outlet.reservation
            if held is not None and at_ms >= held.expires_ms:
                outlet.reservation = None
                self._body.happened.append(ReservationEnded(number=held.number, why="Expired"))
        for held in [r for r in self._body.reserved if at_ms >= r.expires_ms]:
            self._body.reserved.remove(held)
            self._body.happened.append(ReservationEnded(number=held.number, why="Expired"))


def _holds(held: Reservation, token: Token, group: str | None) -> bool:
    same = token.value.casefold() == held.token.casefold()
    return same or (held.group is not None and held.group == group)
