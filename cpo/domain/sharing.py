"""A power cap shared over the EVSEs of a location. Pure.

Whatever happens, the shares and what must stay reserved add up to at most the cap, as long as what
is reserved does (who cannot be reached keeps what it was last told, K01.FR.29).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum
from typing import Final

ZERO: Final = Decimal(0)
_WATT: Final = Decimal(1)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


class Policy(StrEnum):
    """How a cap is shared."""

    EQUAL = "equal"  # everybody the same, what somebody cannot use goes to the others
    FIRST_COME = "first-come"  # who came first gets all it can use


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An EVSE that can be told its share.

    `since` is when its transaction began, None without one: then it only stands by, and gets its
    minimum from what is left, so that a transaction can begin with it. `min_w` is the least with
    which a car charges at all: less than that is nothing. (IEC 61851: 6 A)
    """

    evse: str
    min_w: Decimal
    max_w: Decimal
    since: datetime | None = None


def allocate(
    cap_w: Decimal, reserved_w: Decimal, claims: Iterable[Claim], policy: Policy
) -> dict[str, Decimal]:
    """Share what a cap leaves beside what is reserved; in whole watts, in each 0 or its minimum up.

    Those with a transaction come first, by the time it began; who gets no minimum gets nothing.
    """
    order = sorted(claims, key=lambda c: (c.since is None, c.since or _LAST, c.evse))
    left = max(cap_w - reserved_w, ZERO).quantize(_WATT, ROUND_DOWN)
    shares = {claim.evse: ZERO for claim in order}
    active = [claim for claim in order if claim.since is not None and claim.max_w >= claim.min_w]
    if policy is Policy.FIRST_COME:
        for claim in active:
            share = min(claim.max_w, left)
            if share < claim.min_w:
                continue
            shares[claim.evse] = share
            left -= share
    else:
        served = _served(active, left)
        left -= _share_equally(served, left, shares)
    for claim in order:
        if claim.since is None and 0 < claim.min_w <= left:
            shares[claim.evse] = claim.min_w
            left -= claim.min_w
    return shares


def _served(active: Sequence[Claim], left: Decimal) -> list[Claim]:
    """Return those whose minimum fits, in their order."""
    served = []
    for claim in active:
        if claim.min_w <= left:
            served.append(claim)
            left -= claim.min_w
    return served


def _share_equally(claims: Sequence[Claim], left: Decimal, shares: dict[str, Decimal]) -> Decimal:
    """Fill all to the one highest level that fits, within each one's bounds; return the sum."""

    def filled(level: int) -> dict[str, Decimal]:
        return {c.evse: max(min(Decimal(level), c.max_w), c.min_w) for c in claims}

    low, high = 0, int(max((c.max_w for c in claims), default=ZERO)) + 1
    while low < high:
        middle = (low + high + 1) // 2
        if sum(filled(middle).values(), ZERO) <= left:
            low = middle
        else:
            high = middle - 1
    found = filled(low)
    shares |= found
    return sum(found.values(), ZERO)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to tell the EVSEs: first who gets less, and only when they obey, who gets more."""

    lower: Mapping[str, Decimal]
    raise_: Mapping[str, Decimal]


def plan(targets: Mapping[str, Decimal], held: Mapping[str, Decimal]) -> Plan:
    """Compare shares with what each EVSE may draw at present by what it was told."""
    return Plan(
        {evse: share for evse, share in targets.items() if share < held[evse]},
        {evse: share for evse, share in targets.items() if share > held[evse]},
    )


def affordable(
    cap_w: Decimal, held: Mapping[str, Decimal], wanted: Mapping[str, Decimal]
) -> dict[str, Decimal]:
    """Return the raises that fit under a cap now, with what all others may still draw.

    One that does not fit whole is left out, it comes with the next look.
    """
    total = sum(held.values(), ZERO)
    granted = {}
    for evse, share in wanted.items():
        if total - held[evse] + share <= cap_w:
            granted[evse] = share
            total += share - held[evse]
    return granted
