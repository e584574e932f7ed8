"""What is billed, added up stretch by stretch: exact quantities and amounts, nothing rounded."""

from collections.abc import Hashable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Generic, TypeVar

from cpo.domain.periods import Activity, Stretch
from cpo.domain.price_plan import (
    NWH_PER_WH,
    US_PER_S,
    Exact,
    LineKey,
    Part,
    Priced,
    PricePlan,
)
from cpo.domain.tariff import Dimension

Key = TypeVar("Key", bound=Hashable)

_NOTHING = Fraction(0)


class Tally(Generic[Key]):
    """Exact sums by key. Whole numbers and fractions are kept apart: adding whole ones is fast."""

    __slots__ = ("_fractions", "_wholes")

    def __init__(self) -> None:
        self._wholes: dict[Key, int] = {}
        self._fractions: dict[Key, Fraction] = {}

    def add(self, key: Key, quantity: Exact) -> None:
        """Add to the sum of a key."""
        if isinstance(quantity, int):
            self._wholes[key] = self._wholes.get(key, 0) + quantity
        else:
            self._wholes.setdefault(key, 0)
            self._fractions[key] = self._fractions.get(key, _NOTHING) + quantity

    def __getitem__(self, key: Key) -> Exact:
        whole = self._wholes[key]
        return whole + self._fractions[key] if key in self._fractions else whole

    def __iter__(self) -> Iterator[Key]:
        """Keys in order of first use."""
        return iter(self._wholes)

    def copy(self) -> "Tally[Key]":
        """A tally of its own with the same sums."""
        other: Tally[Key] = Tally()
        other._wholes = self._wholes.copy()
        other._fractions = self._fractions.copy()
        return other


class Ledger:
    """Quantities per line and amounts per part and rate, added up stretch by stretch."""

    __slots__ = (
        "elements",
        "energy",
        "expired",
        "first_use",
        "flat",
        "last",
        "parking",
        "plan",
        "priced",
        "quantities",
        "reserved",
        "reserved_flat",
        "stretches",
        "sums",
        "time",
    )

    def __init__(self, plan: PricePlan, *, expired: bool = False) -> None:
        self.plan = plan
        self.expired = expired
        self.quantities: Tally[LineKey] = Tally()
        self.elements: dict[LineKey, int] = {}
        self.first_use: dict[LineKey, int] = {}
        self.sums: Tally[tuple[Part, Decimal | None]] = Tally()
        # What a step_size is taken of: the last component that priced it and the whole of it.
        self.last: dict[str, Priced] = {}
        self.priced: Tally[tuple[Dimension, bool]] = Tally()
        self.flat = False
        self.reserved_flat = False
        self.energy: Exact = 0
        self.time: Exact = 0
        self.parking: Exact = 0
        self.reserved: Exact = 0
        self.stretches: list[tuple[Stretch, bool]] = []

    def copy(self) -> "Ledger":
        """A ledger of its own with the same entries."""
        other = Ledger(self.plan, expired=self.expired)
        other.quantities = self.quantities.copy()
        other.elements = self.elements.copy()
        other.first_use = self.first_use.copy()
        other.sums = self.sums.copy()
        other.last = self.last.copy()
        other.priced = self.priced.copy()
        other.flat, other.reserved_flat = self.flat, self.reserved_flat
        other.energy, other.time = self.energy, self.time
        other.parking, other.reserved = self.parking, self.reserved
        other.stretches = self.stretches.copy()
        return other

    def add(self, stretch: Stretch) -> None:
        """Price one stretch: each dimension by the first active element that has it (TAR-20)."""
        reserved = stretch.activity is Activity.RESERVED
        charged = self.reserved_flat if reserved else self.flat
        flat = None if charged else self.price_of(Dimension.FLAT, stretch)
        self._enter(stretch, flat is not None)
        if flat is not None:
            if reserved:
                self.reserved_flat = True
            else:
                self.flat = True
            self._bill(flat, 1)
        for dimension, quantity, step in (
            (Dimension.ENERGY, stretch.energy, "ENERGY"),
            (Dimension.TIME, stretch.time, "TIME"),
            (Dimension.PARKING_TIME, stretch.parking, "TIME"),
            (Dimension.TIME, stretch.reserved, "RESERVATION"),
        ):
            if quantity:
                found = self.price_of(dimension, stretch)
                if found is not None:
                    self._bill(found, quantity)
                    self.last[step] = found
        self.energy += stretch.energy
        self.time += stretch.time
        self.parking += stretch.parking
        self.reserved += stretch.reserved

    def price_of(self, dimension: Dimension, stretch: Stretch) -> Priced | None:
        """The component that prices a dimension in a stretch.

        Of a reservation that expired, what expiry costs counts before what any reservation costs
        (TAR-31).
        """
        plan, elements = self.plan, stretch.elements
        if stretch.activity is not Activity.RESERVED:
            return plan.first(dimension, elements & plan.session[dimension])
        special = elements & plan.expired[dimension] if self.expired else 0
        return plan.first(dimension, special or elements & plan.reserved[dimension])

    def _enter(self, stretch: Stretch, flat_here: bool) -> None:
        """Begin a stretch, unless it only goes on with the one before."""
        if self.stretches and not flat_here:
            before = self.stretches[-1][0]
            if before.activity is stretch.activity and before.elements == stretch.elements:
                return
        # Kept are the totals before the stretch, so that it may grow unseen.
        totals = Stretch(
            stretch.at,
            stretch.activity,
            stretch.elements,
            self.energy,
            self.time,
            self.parking,
            self.reserved,
        )
        self.stretches.append((totals, flat_here))

    def _bill(self, priced: Priced, quantity: Exact) -> None:
        line = priced.line
        self.quantities.add(line, quantity)
        known = self.elements.get(line, 0)
        self.elements[line] = known | 1 << priced.element
        if not known:
            self.first_use[line] = len(self.stretches)
        self.sums.add((priced.part, priced.component.vat), quantity * priced.rate)
        self.priced.add((line[0], line[1]), quantity)

    def surpluses(self) -> list[tuple[Priced, Exact]]:
        """What fills up the last block, once a session for each kind of step (TAR-35 to 39)."""
        found = []
        for priced in self.last.values():
            step = priced.component.step_size
            if step:
                dimension, reserved = priced.line[0], priced.line[1]
                unit = NWH_PER_WH if dimension is Dimension.ENERGY else US_PER_S
                surplus = _missing(self.priced[dimension, reserved], step * unit)
                if surplus:
                    found.append((priced, surplus))
        return found


def _missing(quantity: Exact, block: int) -> Exact:
    """What fills a quantity up to whole blocks."""
    if isinstance(quantity, int):
        return -quantity % block
    numerator, denominator = quantity.numerator, quantity.denominator
    return Fraction(-numerator % (block * denominator), denominator)
