"""What a driver prefers of a charge, and how that changes its price (SES-18, TAR-43)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from cpo.domain.tariff import Tariff, TariffType
from cpo.domain.values import replace

MOST_CHANGES = 50
"""So often may a session's preferences change: each makes its price more work."""


class Preferred(StrEnum):
    """What a session's preferences are answered (OCPI ChargingPreferencesResponse)."""

    ACCEPTED = "ACCEPTED"
    DEPARTURE_REQUIRED = "DEPARTURE_REQUIRED"
    ENERGY_NEED_REQUIRED = "ENERGY_NEED_REQUIRED"
    NOT_POSSIBLE = "NOT_POSSIBLE"
    PROFILE_TYPE_NOT_SUPPORTED = "PROFILE_TYPE_NOT_SUPPORTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """What was preferred from an instant on; `energy_need` in kWh.

    `tariff` prices the session from then on.
    """

    at: datetime
    profile_type: str
    tariff: Tariff
    departure_time: datetime | None = None
    energy_need: Decimal | None = None
    discharge_allowed: bool | None = None


def tariff_type(profile_type: str) -> TariffType:
    """Return the type of the tariffs that serve a profile type."""
    if profile_type == "REGULAR":
        return TariffType.REGULAR
    return TariffType(f"PROFILE_{profile_type}")


def suits(tariff: Tariff, first: Tariff) -> bool:
    """Tell whether a session that began under one tariff can go on under another.

    Amounts of two currencies, or with and without tax, have no sum.
    """
    return tariff.currency == first.currency and tariff.tax_included is first.tax_included


def judge(
    profile_type: str,
    *,
    departure_time: datetime | None,
    energy_need: Decimal | None,
    now: datetime,
    max_power_w: Decimal | None,
) -> Preferred:
    """Say whether a profile with a tariff of its own can be had.

    A charge can only be put into cheap or green hours by who knows when it must be done and how
    much it takes.
    """
    if profile_type in {"CHEAP", "GREEN"}:
        if departure_time is None:
            return Preferred.DEPARTURE_REQUIRED
        if energy_need is None:
            return Preferred.ENERGY_NEED_REQUIRED
    if departure_time is None:
        return Preferred.ACCEPTED
    left = Decimal(str((departure_time - now).total_seconds()))
    if left <= 0:
        return Preferred.NOT_POSSIBLE
    if energy_need is None or max_power_w is None:
        return Preferred.ACCEPTED
    # kWh against watts over seconds.
    if energy_need * 3_600_000 > max_power_w * left:
        return Preferred.NOT_POSSIBLE
    return Preferred.ACCEPTED


def tariff_over_time(first: Tariff, preferences: Sequence[Preference]) -> Tariff:
    """Put together what prices a session whose preferences changed.

    Each tariff's elements count while it is in force. What counts from the session's start (kWh,
    durations, the one FLAT, step_size) goes on; the price limits are those of the last.
    """
    spans: list[tuple[datetime | None, Tariff]] = [(None, first)]
    for preference in preferences:
        if preference.tariff != spans[-1][1]:
            spans.append((preference.at, preference.tariff))
    if len(spans) == 1:
        return first
    last = spans[-1][1]
    ends = [since for since, _ in spans[1:]]
    elements = tuple(
        replace(
            element,
            restrictions=replace(element.restrictions, since=since, until=until),
            place=(tariff.id, number),
        )
        for (since, tariff), until in zip(spans, (*ends, None), strict=True)
        for number, element in enumerate(tariff.elements)
    )
    begin = datetime.min.replace(tzinfo=preferences[0].at.tzinfo)
    changes = tuple((since or begin, tariff.id) for since, tariff in spans)
    return replace(last, elements=elements, changes=changes)
