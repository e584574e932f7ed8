"""How far the record of a session can be trusted, with the reasons in words."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING

from cpo.domain.events import SignedReading
from cpo.domain.gaps import price_may_change
from cpo.domain.periods import Activity, MeterSample, Record
from cpo.domain.price_plan import plan_of
from cpo.domain.tariff import Dimension, Tariff

if TYPE_CHECKING:
    from cpo.domain.meter_keys import MeterKey
    from cpo.domain.signed_values import SignedCheck

# A meter may round up what power allows, and clocks jitter.
_MARGIN = Decimal("1.1")
_GRACE_S = 60
# Less energy by power and time says nothing of a unit; a thousand, give or take half of it.
_TELLING_WH = 1000
_FEWEST, _MOST = 500, 2000
# Within less a clock that was set may explain any power; over more it does not.
_SPAN = timedelta(minutes=5)

_WORDS = {
    "meter_reset": "the register fell and went on: the meter was replaced or began anew",
    "meter_stop_below_start": "the register at the stop is below the one at the start",
    "meter_stop_implausible": "the register at the stop is below readings before it",
    "implausible_jump": "a reading rose faster than any connector delivers and was not counted",
    "dip_ignored": "readings far below those around them were not counted",
    "energy_missing_before": "the register rose between the charge before and this one",
    "session_relative": "readings count from zero although the start value is an odometer",
    "begin_rejected": "the start value 0 was not believed: the next reading was an odometer",
    "estimated": "no register told the energy: it is the integral of power",
    "no_energy": "nothing told the energy",
    "energy_exported": "the car gave energy back; what it took is billed whole",
    "stop_values_differ": "the stop was told with two different registers",
    "stop_repeated_differently": "the stop was told again with other values; the first counts",
    "start_unknown": "the start was never told; the first message counts as it",
    "estimated_end": "the stop was never told; the end is the last reading, or the next start's",
    "interrupted": "another transaction began before this one was told to have ended",
    "stale": "nothing was heard for longer than allowed",
    "stopped_by_another_token": "a token of no group of the starter's stopped it",
    "stop_before_start": "the stop was told to lie before the start",
    "clock_implausible": "the station's clock was wrong",
    "clock_ahead": "the station's clock ran ahead: the charge stands when it was told of",
    "tariff_unknown": "the connector names a tariff that was not there when the session began",
    "another_token_than_asked": "a remote start of another token was awaited at its EVSE",
    "written_off": "nothing was heard for so long that the session was told to be invalid",
    "placed_later": "its Location was entered after it ended: the tariff is the one of then",
    "events_missing": "messages with numbers in between never came",
    "matched_without_id": "readings came without the transaction's id and were matched",
    "signed_invalid": "a signed reading does not fit its signature",
    "signed_differs": "the signed energy is not the energy that is billed",
    "signed_contradicts": "the meter signed, by a key we know, another energy than is billed",
    "signed_key_differs": "the key sent along is not the meter's key as we know it",
}

DOUBTS = frozenset({*_WORDS, "gap", "implausible_power", "unit_suspect"})
"""Every reason a verdict can name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRules:
    """What the operator calls doubtful (`billing` in the settings).

    ``holding`` names the reasons for which a CDR waits. ``power_margin`` times what the connector
    delivers is more than its readings may show over five minutes or longer.
    """

    holding: frozenset[str]
    longest_gap: timedelta = timedelta(hours=1)
    power_margin: Decimal = Decimal(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Something that speaks against a record; `holds` when the CDR waits for the operator."""

    code: str
    text: str
    holds: bool


def verdict(
    record: Record,
    flags: Collection[str],
    *,
    rules: QualityRules,
    tariff: Tariff | None,
    zone: tzinfo,
    max_power_w: Decimal | None = None,
) -> tuple[Reason, ...]:
    """Say what is doubtful about a session; nothing when it is all in order (CDR-22).

    Args:
        record: What happened.
        flags: What the folds of its events and readings noticed.
        rules: What holds a CDR.
        tariff: What it was priced with: a gap in which the price could not change is harmless.
        zone: The time zone of the Location.
        max_power_w: What the connector delivers, where that is known.
    """
    reasons = [
        Reason(
            code=flag,
            text=_WORDS[flag],
            holds=flag in rules.holding
            and (flag != "no_energy" or _priced_by_energy(record, tariff)),
        )
        for flag in sorted(flags)
        if flag in _WORDS
    ]
    readings = (MeterSample(record.started_at, Decimal(0)), *sorted(record.meter))
    reasons += _gaps(record, readings, rules, tariff, zone)
    if max_power_w is not None:
        reasons += _too_fast(readings, rules, max_power_w)
    reasons += _mislabelled(record, rules)
    return tuple(reasons)


def _priced_by_energy(record: Record, tariff: Tariff | None) -> bool:
    """Whether the car may have charged, and energy has a price: then no reading is not nothing."""
    if tariff is None or record.only_reserved:
        return False
    if not plan_of(tariff).session[Dimension.ENERGY]:
        return False
    return not record.states or any(s.state is Activity.CHARGING for s in record.states)


def _gaps(
    record: Record,
    readings: Sequence[MeterSample],
    rules: QualityRules,
    tariff: Tariff | None,
    zone: tzinfo,
) -> Iterator[Reason]:
    for one, other in pairwise(readings):
        drawn, apart = other.energy_wh - one.energy_wh, other.at - one.at
        if drawn <= 0 or apart <= rules.longest_gap:
            continue
        text = f"no reading for {apart}, in which {drawn / 1000:f} kWh were drawn"
        matters = tariff is not None and price_may_change(record, one, other, tariff, zone)
        text += "; the price may have changed within" if matters else "; their price is the same"
        yield Reason(code="gap", text=text, holds=matters and "gap" in rules.holding)


def _too_fast(
    readings: Sequence[MeterSample], rules: QualityRules, max_power_w: Decimal
) -> Iterator[Reason]:
    """Name readings that rose faster than the connector delivers (S7).

    It holds where that goes on for longer than a clock that was set could explain.
    """
    holds = "implausible_power" in rules.holding and any(
        _too_much(one, other, max_power_w * rules.power_margin)
        for one, other in _apart(readings, _SPAN)
    )
    for one, other in pairwise(readings):
        if _too_much(one, other, max_power_w * _MARGIN):
            drawn, apart = other.energy_wh - one.energy_wh, other.at - one.at
            text = (
                f"{drawn / 1000:f} kWh within {apart} are more than "
                f"{max_power_w / 1000:f} kW deliver"
            )
            yield Reason(code="implausible_power", text=text, holds=holds)


def _mislabelled(record: Record, rules: QualityRules) -> Iterator[Reason]:
    """Name a register that rose a thousandth of what power and time make (MV-15)."""
    powers = sorted(record.power)
    if len(powers) < 2:
        return
    begin, end = powers[0].at, powers[-1].at
    within = [reading.energy_wh for reading in sorted(record.meter) if begin <= reading.at <= end]
    if len(within) < 2:
        return
    expected = sum(
        (one.power_w * _seconds(one.at, other.at) / 3600 for one, other in pairwise(powers)),
        Decimal(0),
    )
    drawn = within[-1] - within[0]
    if expected >= _TELLING_WH and drawn > 0 and _FEWEST < expected / drawn < _MOST:
        text = f"the register rose by {drawn:f} Wh where its power makes {expected:.0f}: kWh?"
        yield Reason(code="unit_suspect", text=text, holds="unit_suspect" in rules.holding)


def _seconds(one: datetime, other: datetime) -> Decimal:
    return Decimal((other - one) // timedelta(milliseconds=1)) / 1000


def _apart(
    readings: Sequence[MeterSample], span: timedelta
) -> Iterator[tuple[MeterSample, MeterSample]]:
    """Yield each reading with the first that is at least a span later."""
    later = 0
    for one in readings:
        while later < len(readings) and readings[later].at - one.at < span:
            later += 1
        if later == len(readings):
            return
        yield one, readings[later]


def _too_much(one: MeterSample, other: MeterSample, power_w: Decimal) -> bool:
    apart = max(other.at - one.at, timedelta(0))
    seconds = Decimal(apart // timedelta(milliseconds=1)) / 1000
    return (other.energy_wh - one.energy_wh) * 3600 > power_w * (seconds + _GRACE_S)


def signed_check(
    readings: Sequence[SignedReading],
    energy_wh: Decimal,
    *,
    keys: Sequence["MeterKey"] = (),
    evse_id: int | None = None,
) -> "SignedCheck | None":
    """Check a session's signed readings; None when there are none."""
    if not readings:
        return None
    from cpo.domain.signed_values import check_signed  # noqa: PLC0415 - keeps the memory low

    return check_signed(readings, energy_wh=energy_wh, keys=keys, evse_id=evse_id)


def signed_flags(check: "SignedCheck | None") -> frozenset[str]:
    """Return the flags that a session's signed readings give rise to."""
    if check is None:
        return frozenset()
    found = {
        "signed_invalid": check.signature == "invalid",
        "signed_key_differs": check.key_differs,
        "signed_contradicts": check.contradicts,
        "signed_differs": check.differs and not check.contradicts,
    }
    return frozenset(flag for flag, raised in found.items() if raised)
