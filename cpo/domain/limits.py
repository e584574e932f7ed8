"""Charging profiles: how they stack, and the one schedule that follows from all of them.

The rules are those of OCPP 1.6, 3.13, and of 2.0.1 and 2.1, chapter K. A profile is read from
either spelling. Everything is compared in watts; a limit in amperes is per phase.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, Final

from cpo.errors import Invalid

TENTH: Final = Decimal("0.1")


class Purpose(StrEnum):
    """What a profile limits, in the words of 2.x."""

    STATION = "ChargingStationMaxProfile"
    EXTERNAL = "ChargingStationExternalConstraints"
    TX_DEFAULT = "TxDefaultProfile"
    TX = "TxProfile"
    PRIORITY = "PriorityCharging"  # 2.1: instead of the two above while it is switched on
    LOCAL = "LocalGeneration"  # 2.1: comes on top of what others allow


class ProfileKind(StrEnum):
    """What the times of a schedule count from."""

    ABSOLUTE = "Absolute"
    RECURRING = "Recurring"
    RELATIVE = "Relative"
    DYNAMIC = "Dynamic"  # 2.1: one limit that is changed while it holds


_PURPOSES_16: Final = {"ChargePointMaxProfile": Purpose.STATION}
_RECURRENCE: Final = {"Daily": timedelta(days=1), "Weekly": timedelta(days=7)}
_DEFAULT_PHASES: Final = 3
_MOST_PERIODS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Period:
    """From `start_s` seconds after the schedule's start, at most `limit` (None: no limit)."""

    start_s: int
    limit: Decimal | None
    phases: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A charging profile as it is installed; `evse_id` 0 is the station.

    `unit` is W (in all) or A (per phase). `transaction` is the station's own id.
    """

    id: int
    evse_id: int
    purpose: Purpose
    stack_level: int
    kind: ProfileKind
    unit: str
    periods: tuple[Period, ...]
    recurrence: timedelta | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    start_at: datetime | None = None
    duration_s: int | None = None
    transaction: str | None = None

    def at(self, at: datetime, began: datetime | None) -> tuple[Period | None, datetime | None]:
        """Return what holds at an instant, and when that may change.

        `began` is when the transaction began, which relative schedules count from.
        """
        if self.valid_from is not None and at < self.valid_from:
            return None, self.valid_from
        if self.valid_to is not None and at >= self.valid_to:
            return None, None
        start = self._start(at, began)
        if start is None:
            return None, self.valid_to
        if at < start:
            return None, _earliest(start, self.valid_to)
        repeats = start + self.recurrence if self.recurrence is not None else None
        ends = start + timedelta(seconds=self.duration_s) if self.duration_s is not None else None
        if ends is not None and at >= ends:
            return None, _earliest(repeats, self.valid_to)
        since = (at - start).total_seconds()
        held, change = None, None
        for period in self.periods:
            if period.start_s > since:
                change = start + timedelta(seconds=period.start_s)
                break
            held = period
        return held, _earliest(change, ends, repeats, self.valid_to)

    def _start(self, at: datetime, began: datetime | None) -> datetime | None:
        if self.kind is ProfileKind.RELATIVE or self.start_at is None:
            return began
        if self.recurrence is None or at < self.start_at:
            return self.start_at
        return self.start_at + (at - self.start_at) // self.recurrence * self.recurrence

    def replaces(self, other: "Profile") -> bool:
        """Tell whether installing this one removes another (1.6, 3.13.2; K01.FR.05, K01.FR.06)."""
        return self.id == other.id or (
            (self.purpose, self.stack_level, self.evse_id, self.transaction)
            == (other.purpose, other.stack_level, other.evse_id, other.transaction)
        )


def _earliest(*instants: datetime | None) -> datetime | None:
    return min((i for i in instants if i is not None), default=None)


# --- reading -------------------------------------------------------------------------------------


def read_profile(sent: Mapping[str, Any], evse_id: int) -> Profile:
    """Read a ChargingProfile of 1.6 or 2.x; of several schedules the first counts.

    Raises:
        Invalid: names the field that cannot be used.
    """
    schedule = _schedule(sent)
    purpose = _word(sent, "chargingProfilePurpose")
    kind = _word(sent, "chargingProfileKind")
    if kind not in set(ProfileKind):
        raise Invalid("chargingProfileKind", f"{kind!r} is unknown")
    if _PURPOSES_16.get(purpose, purpose) not in set(Purpose):
        raise Invalid("chargingProfilePurpose", f"{purpose!r} is unknown")
    recurrence = None
    if kind == ProfileKind.RECURRING:
        recurrence = _RECURRENCE.get(_word(sent, "recurrencyKind"))
        if recurrence is None:
            raise Invalid("recurrencyKind", "is Daily or Weekly")
    start = _instant(schedule, "startSchedule")
    if kind == ProfileKind.DYNAMIC:
        start = _instant(sent, "dynUpdateTime") or start
    transaction = sent.get("transactionId")
    return Profile(
        id=_whole(sent, "chargingProfileId" if "chargingProfileId" in sent else "id"),
        evse_id=evse_id,
        purpose=Purpose(_PURPOSES_16.get(purpose, purpose)),
        stack_level=_whole(sent, "stackLevel"),
        kind=ProfileKind(kind),
        unit=_unit(schedule),
        periods=read_periods(schedule),
        recurrence=recurrence,
        valid_from=_instant(sent, "validFrom"),
        valid_to=_instant(sent, "validTo"),
        start_at=start,
        duration_s=_whole(schedule, "duration") if "duration" in schedule else None,
        transaction=str(transaction) if transaction is not None else None,
    )


def read_external(sent: Mapping[str, Any]) -> list[Profile]:
    """Read a NotifyChargingLimit (2.x, K12): somebody else's limit on the station or an EVSE.

    Their ids are negative: what others say does not stack, each of it holds beside the rest.
    A notification without a schedule says only that there is a limit: nothing to compute with.
    """
    found = []
    for number, schedule in enumerate(sent.get("chargingSchedule") or ()):
        found.append(
            Profile(
                id=-1 - number,
                evse_id=int(sent.get("evseId", 0)),
                purpose=Purpose.EXTERNAL,
                stack_level=number,
                kind=ProfileKind.ABSOLUTE,
                unit=_unit(schedule),
                periods=read_periods(schedule),
                start_at=_instant(schedule, "startSchedule"),
                duration_s=_whole(schedule, "duration") if "duration" in schedule else None,
            )
        )
    return found


def read_periods(schedule: Mapping[str, Any]) -> tuple[Period, ...]:
    """Read chargingSchedulePeriod; raises Invalid."""
    name = "chargingSchedulePeriod"
    given = schedule.get(name)
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise Invalid(name, "a list of periods is expected")
    if len(given) > _MOST_PERIODS:
        raise Invalid(name, f"has more than {_MOST_PERIODS} periods")
    periods = []
    for index, sent in enumerate(given):
        if not isinstance(sent, Mapping):
            raise Invalid(f"{name}[{index}]", "an object is expected")
        limit = sent.get("limit")
        try:
            value = None if limit is None else Decimal(str(limit))
        except InvalidOperation:
            raise Invalid(f"{name}[{index}].limit", "a number is expected") from None
        if value is not None and (not value.is_finite() or value < 0):
            raise Invalid(f"{name}[{index}].limit", "is negative")
        phases = sent.get("numberPhases")
        if phases is not None and (not isinstance(phases, int) or not 1 <= phases <= 3):
            raise Invalid(f"{name}[{index}].numberPhases", "is 1 to 3")
        periods.append(Period(_whole(sent, "startPeriod"), value, phases))
    starts = [period.start_s for period in periods]
    if starts[0] != 0:
        raise Invalid(f"{name}[0].startPeriod", "is not 0")
    if starts != sorted(set(starts)):
        raise Invalid(name, "its periods do not follow each other")
    return tuple(periods)


def _schedule(sent: Mapping[str, Any]) -> Mapping[str, Any]:
    schedule = sent.get("chargingSchedule")
    if isinstance(schedule, Sequence) and not isinstance(schedule, str) and schedule:
        schedule = schedule[0]
    if not isinstance(schedule, Mapping):
        raise Invalid("chargingSchedule", "is missing")
    return schedule


def _unit(schedule: Mapping[str, Any]) -> str:
    unit = schedule.get("chargingRateUnit")
    if unit not in ("A", "W"):
        raise Invalid("chargingRateUnit", "is A or W")
    return str(unit)


def _word(sent: Mapping[str, Any], name: str) -> str:
    value = sent.get(name)
    if not isinstance(value, str):
        raise Invalid(name, "is missing")
    return value


def _whole(sent: Mapping[str, Any], name: str) -> int:
    value = sent.get(name)
    if isinstance(value, Decimal) and value == value.to_integral_value():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Invalid(name, "a whole number is expected")
    return value


def _instant(sent: Mapping[str, Any], name: str) -> datetime | None:
    value = sent.get(name)
    if value is None or isinstance(value, datetime):
        return value
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise Invalid(name, "is no instant") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


# --- the composite -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """What feeds an EVSE: volt between line and neutral, phases, and the most it can give."""

    voltage: Decimal = Decimal(230)
    phases: int = 3
    most_w: Decimal | None = None

    def watts(self, amperes: Decimal, phases: int | None = None) -> Decimal:
        """Return the power of a current per phase."""
        return amperes * self.voltage * min(phases or _DEFAULT_PHASES, self.phases)

    def amperes(self, watts: Decimal) -> Decimal:
        """Return the current per phase of a power, never more than it."""
        return (watts / (self.voltage * self.phases)).quantize(TENTH, ROUND_DOWN)


@dataclass(frozen=True, slots=True)
class Running:
    """The transaction at an EVSE: the station's id of it, and its start."""

    transaction: str
    began: datetime
    priority: bool = False
    """Whether priority charging is switched on for it (2.1, K21, K22)."""


@dataclass(frozen=True, slots=True)
class Step:
    """From an instant on, at most `limit_w` (None: no limit)."""

    at: datetime
    limit_w: Decimal | None


def limit_at(
    profiles: Iterable[Profile],
    at: datetime,
    *,
    evse_id: int,
    supply: Supply,
    running: Running | None,
) -> tuple[Decimal | None, datetime | None]:
    """Return the limit at an EVSE at an instant, in watts, and when it may change.

    Within a purpose the highest stack level that says something at that instant leads, on equal
    levels the profile of the EVSE before that of the station. A TxProfile of the running
    transaction leads before the TxDefaultProfile. Of that, the station's and all external limits
    the least counts. Of 2.1: while priority charging is on its profile leads before both, and local
    generation is added to the external limit. For EVSE 0 only the station's and external limits
    count. (1.6, 3.13.2 and 3.13.3; K01.FR.38 to K01.FR.40)
    """
    changes: list[datetime] = []
    best: dict[Purpose, tuple[tuple[int, bool], Decimal | None]] = {}
    told: list[Decimal | None] = []
    for profile in profiles:
        if profile.evse_id not in (0, evse_id):
            continue
        if profile.purpose is Purpose.TX and (
            running is None or not evse_id or profile.transaction not in (None, running.transaction)
        ):
            continue
        if profile.purpose is Purpose.PRIORITY and (running is None or not running.priority):
            continue
        period, change = profile.at(at, running.began if running is not None else None)
        if change is not None:
            changes.append(change)
        if period is None:
            continue
        if profile.purpose is Purpose.EXTERNAL and profile.id < 0:
            told.append(_in_watts(profile, period, supply))
            continue
        rank = (profile.stack_level, profile.evse_id != 0)
        if profile.purpose not in best or rank > best[profile.purpose][0]:
            best[profile.purpose] = (rank, _in_watts(profile, period, supply))
    own = best.get(Purpose.PRIORITY) or best.get(Purpose.TX) or best.get(Purpose.TX_DEFAULT)
    limits = [own[1]] if own is not None and evse_id else []
    if Purpose.STATION in best:
        limits.append(best[Purpose.STATION][1])
    if Purpose.EXTERNAL in best:
        told.append(best[Purpose.EXTERNAL][1])
    limits += [_added(limit, best.get(Purpose.LOCAL)) for limit in told]
    known = [limit for limit in limits if limit is not None]
    return min(known, default=None), min((c for c in changes if c > at), default=None)


def _added(
    limit: Decimal | None, local: tuple[tuple[int, bool], Decimal | None] | None
) -> Decimal | None:
    """Return what others allow together with what is generated on the spot."""
    if limit is None or local is None or local[1] is None:
        return limit
    return limit + local[1]


def _in_watts(profile: Profile, period: Period, supply: Supply) -> Decimal | None:
    if period.limit is None or profile.unit == "W":
        return period.limit
    return supply.watts(period.limit, period.phases)


def composite(
    profiles: Sequence[Profile],
    *,
    evse_id: int,
    start: datetime,
    duration: timedelta,
    supply: Supply,
    running: Running | None = None,
) -> tuple[Step, ...]:
    """Return the limits of a stretch of time as steps; neighbours differ.

    Without a running transaction it is what one that began at `start` would get.
    """
    if running is None:
        running = Running("", start)
    steps: list[Step] = []
    at: datetime | None = start
    while at is not None and at < start + duration:
        limit, change = limit_at(profiles, at, evse_id=evse_id, supply=supply, running=running)
        if not steps or steps[-1].limit_w != limit:
            steps.append(Step(at, limit))
        at = change
    return tuple(steps)


def capped(steps: Iterable[Step], cap_w: Decimal) -> tuple[Step, ...]:
    """Return steps with nothing above a cap."""
    made: list[Step] = []
    for step in steps:
        limit = cap_w if step.limit_w is None else min(step.limit_w, cap_w)
        if not made or made[-1].limit_w != limit:
            made.append(Step(step.at, limit))
    return tuple(made)


def scheduled(steps: Sequence[Step], *, unit: str, supply: Supply) -> list[dict[str, Any]]:
    """Write steps as chargingSchedulePeriod, seconds from the first step.

    A step without a limit is written as the most that the EVSE can give; raises Invalid when that
    is not known either.
    """
    periods: list[dict[str, Any]] = []
    for step in steps:
        limit = step.limit_w if step.limit_w is not None else supply.most_w
        if limit is None:
            raise Invalid("limit", "neither a limit nor the EVSE's power is known")
        value = supply.amperes(limit) if unit == "A" else limit.quantize(TENTH, ROUND_DOWN)
        period: dict[str, Any] = {
            "startPeriod": int((step.at - steps[0].at).total_seconds()),
            "limit": _short(value),
        }
        if unit == "A":
            period["numberPhases"] = supply.phases
        if periods and periods[-1]["startPeriod"] == period["startPeriod"]:
            periods.pop()
        periods.append(period)
    return periods


def _short(value: Decimal) -> Decimal | int:
    return int(value) if value == value.to_integral_value() else value


# --- beside the station's own word ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """A stretch in which the station's schedule is not ours; limits in watts, None: none."""

    start: datetime
    end: datetime
    ours_w: Decimal | None
    theirs_w: Decimal | None


def read_composite(answer: Mapping[str, Any], *, supply: Supply, now: datetime) -> tuple[Step, ...]:
    """Read the answer to GetCompositeSchedule of either version; empty when it has no schedule."""
    sent = answer.get("schedule") or answer.get("chargingSchedule")
    if not isinstance(sent, Mapping):
        return ()
    start = (
        _instant(answer, "scheduleStart")
        or _instant(sent, "scheduleStart")
        or _instant(sent, "startSchedule")
        or now
    )
    unit = _unit(sent)
    steps = []
    for period in read_periods(sent):
        limit = period.limit
        if limit is not None and unit == "A":
            limit = supply.watts(limit, period.phases)
        steps.append(Step(start + timedelta(seconds=period.start_s), limit))
    return tuple(steps)


def differences(
    ours: Sequence[Step],
    theirs: Sequence[Step],
    *,
    start: datetime,
    end: datetime,
    supply: Supply,
    tolerance_w: Decimal = Decimal(0),
) -> tuple[Difference, ...]:
    """List where two schedules differ by more than a tolerance; neighbours alike are one.

    What the EVSE can give at most limits both; where we know no limit at all, any word of the
    station's fits. Where the station's schedule has not begun, its first step counts: its clock may
    be a little ahead.
    """
    ours_at, theirs_at = _reader(ours, supply.most_w), _reader(theirs, supply.most_w)
    cuts = sorted({start, *(s.at for s in (*ours, *theirs) if start < s.at < end)})
    found: list[Difference] = []
    for begin, stop in zip(cuts, [*cuts[1:], end], strict=True):
        mine, other = ours_at(begin), theirs_at(begin)
        if mine is None or (other is not None and abs(mine - other) <= tolerance_w):
            continue
        last = found[-1] if found else None
        if last is not None and (last.end, last.ours_w, last.theirs_w) == (begin, mine, other):
            found[-1] = Difference(last.start, stop, mine, other)
        else:
            found.append(Difference(begin, stop, mine, other))
    return tuple(found)


def _reader(steps: Sequence[Step], most_w: Decimal | None) -> Callable[[datetime], Decimal | None]:
    def limit(at: datetime) -> Decimal | None:
        held = steps[0].limit_w if steps else None
        for step in steps:
            if step.at > at:
                break
            held = step.limit_w
        if most_w is not None:
            return most_w if held is None else min(held, most_w)
        return held

    return limit
