"""Amounts of money as they leave: exact, or rounded with their parts and taxes adding up."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from cpo.domain.tariff import Dimension
from cpo.domain.values import Named


class Amount(NamedTuple):
    """An exact amount before and after tax; None where it cannot be known."""

    net: Fraction | None
    gross: Fraction | None


class Tax(Named, frozen=True, kw_only=True):
    """What one tax rate adds to a price; the rate in percent."""

    rate: Decimal
    amount: Decimal


class Price(Named, frozen=True, kw_only=True):
    """A rounded amount before and after tax.

    ``excl_vat`` is None where prices include a tax of unknown rate, ``incl_vat`` where no tax is
    known of. ``taxes`` add up to the difference, except where a price limit cut in.
    """

    excl_vat: Decimal | None
    incl_vat: Decimal | None
    taxes: tuple[Tax, ...] = ()

    @property
    def before_taxes(self) -> Decimal:
        """The net amount, or the gross one where no net is known (a field OCPI requires)."""
        known = self.incl_vat if self.excl_vat is None else self.excl_vat
        return Decimal(0) if known is None else known


class Breakdown(Named, frozen=True, kw_only=True):
    """The rounded cost and its parts, which add up to it unless ``price_limit`` applied.

    A part of which nothing was billed is None.
    """

    total: Price
    fixed: Price | None = None
    energy: Price | None = None
    time: Price | None = None
    parking: Price | None = None
    reservation: Price | None = None
    price_limit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What was billed of one dimension at one price.

    ``quantity`` is in kWh, seconds or times (FLAT), with ``step_surplus`` of it added to fill up
    a block. ``elements`` are the places in the tariff the price came from.
    """

    dimension: Dimension
    reservation: bool
    quantity: Fraction
    step_surplus: Fraction
    unit_price: Decimal
    vat: Decimal | None
    amount: Amount
    elements: tuple[int, ...]
