"""What a station is at this moment, for all that look at it. Plain data."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from chargers_sim.happenings import Happening
from chargers_sim.outlet import Outlet, Reservation, Transaction
from chargers_sim.settings import Settings


@dataclass(slots=True, kw_only=True)
class Body:
    """Outlets, settings, power; what happened and is not told yet.

    `reserved` are reservations for any outlet; one for a certain outlet is that outlet's.
    """

    outlets: dict[int, Outlet]
    settings: Settings
    operative: bool = True
    fault: str | None = None
    powered: bool = True
    now_ms: int | None = None
    reserved: list[Reservation] = field(default_factory=list)
    happened: list[Happening] = field(default_factory=list)

    def siblings(self, outlet: Outlet) -> list[Outlet]:
        """List the other outlets of the same EVSE."""
        return [o for o in self.outlets.values() if o.evse == outlet.evse and o is not outlet]

    def transactions(self) -> Iterator[Transaction]:
        """List the running transactions."""
        for outlet in self.outlets.values():
            if outlet.transaction is not None and outlet.transaction.running:
                yield outlet.transaction
