"""Pricing cases: a tariff tried on a session that is written down, without database or server.

The format is that of ``cpo price`` (docs/pricing.md). Everything here is a pure function.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cpo.domain.money import plain, round_half_up
from cpo.domain.periods import (
    Activity,
    CurrentSample,
    MeterSample,
    Period,
    PowerSample,
    Record,
    StateChange,
)
from cpo.domain.pricing import Cost, Line, price, price_periods
from cpo.domain.tariff import (
    Dimension,
    Tariff,
    TariffType,
    amount,
    choose_tariff,
    instant,
    parse_tariff,
)
from cpo.errors import Invalid

_LONGEST = timedelta(days=100)
_RAW = ("meter_samples", "power_samples", "current_samples", "states")

_TIMES = frozenset({"TIME", "PARKING_TIME", "RESERVATION_TIME"})
_FIELDS = {
    "ENERGY": ("energy_wh", 1000),
    "TIME": ("time_s", 3600),
    "PARKING_TIME": ("parking_s", 3600),
    "RESERVATION_TIME": ("reserved_s", 3600),
    "MIN_POWER": ("min_power_w", 1000),
    "MAX_POWER": ("max_power_w", 1000),
    "MIN_CURRENT": ("min_current_a", 1),
    "MAX_CURRENT": ("max_current_a", 1),
}
# The mean of a period stands for both ends where these are not given.
_MEANS = {
    "POWER": ("min_power_w", "max_power_w", 1000),
    "CURRENT": ("min_current_a", "max_current_a", 1),
}
_WITHOUT_PRICE = {"ENERGY_EXPORT", "ENERGY_IMPORT", "STATE_OF_CHARGE", "FLAT"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A session with the tariff that applies to it."""

    zone: tzinfo
    tariff: Tariff
    started_at: datetime
    ended_at: datetime
    reservation_expired: bool = False
    periods: tuple[Period, ...] = ()
    record: Record | None = None

    @property
    def cost(self) -> Cost:
        """What the session costs."""
        if self.record is not None:
            return price(self.record, self.tariff, self.zone)
        return price_periods(
            self.periods,
            self.tariff,
            self.zone,
            started_at=self.started_at,
            ended_at=self.ended_at,
            reservation_expired=self.reservation_expired,
        )


def read_case(obj: Any) -> Case:
    """Read a pricing case.

    Raises:
        Invalid: Something is missing or makes no sense; ``field`` is its path.
    """
    case = _object(obj, "", "a case")
    zone = read_zone(case.get("time_zone"))
    tariffs = _tariffs(case.get("tariffs"))
    wanted = case.get("tariff_type")
    if wanted is not None and wanted not in list(TariffType):
        raise Invalid("tariff_type", f"{wanted!r} is none of {', '.join(TariffType)}")
    session = _object(case.get("session"), "session", "the session")
    started_at = _instant(session, "start_date_time")
    ended_at = _instant(session, "end_date_time")
    if ended_at < started_at:
        raise Invalid("session.end_date_time", "lies before start_date_time")
    if ended_at - started_at > _LONGEST:
        raise Invalid("session.end_date_time", "no session lasts more than 100 days")
    expired = session.get("reservation_expired")
    if not isinstance(expired, bool | None):
        raise Invalid("session.reservation_expired", "must be true or false")
    tariff = choose_tariff(tariffs, started_at, wanted and TariffType(wanted))
    if tariff is None:
        raise Invalid("tariffs", "none is valid at the session's start")
    raw = [name for name in _RAW if session.get(name) is not None]
    listed = session.get("charging_periods")
    if listed is not None and raw:
        raise Invalid(f"session.{raw[0]}", "give either charging_periods or the raw record")
    if listed is None and not raw:
        raise Invalid("session.charging_periods", "missing, and so is meter_samples")
    return Case(
        zone=zone,
        tariff=tariff,
        started_at=started_at,
        ended_at=ended_at,
        reservation_expired=bool(expired),
        periods=() if listed is None else _periods(listed, started_at, ended_at),
        record=_record(session, started_at, ended_at, bool(expired)) if raw else None,
    )


def price_case(obj: Any) -> dict[str, Any]:
    """Price a case; the answer is the object that ``cpo price`` prints."""
    case = read_case(obj)
    return priced(case.cost, with_periods=case.record is not None)


def priced(cost: Cost, *, with_periods: bool) -> dict[str, Any]:
    """Show a cost as `cpo price` does."""
    whole, total = cost.price(), cost.total
    answer: dict[str, Any] = {
        "currency": cost.currency,
        "total_cost": {
            "excl_vat": _money(whole.excl_vat),
            "incl_vat": _money(whole.incl_vat),
        },
        "total_cost_unrounded": {"excl_vat": _six(total.net), "incl_vat": _six(total.gross)},
        "price_limit": cost.price_limit,
        "tariff_id": cost.tariff.id or None,
        "lines": [_line(line) for line in cost.lines],
    }
    if with_periods:
        answer["charging_periods"] = [_period(period) for period in cost.periods]
    return answer


def read_zone(value: Any, where: str = "time_zone") -> ZoneInfo:
    """Read the name of an IANA time zone."""
    if value is None:
        raise Invalid(where, "missing")
    if isinstance(value, str):
        try:
            return ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass
    raise Invalid(where, f"{value!r} is not a time zone")


def _tariffs(listed: Any) -> list[Tariff]:
    if not isinstance(listed, list) or not listed:
        raise Invalid("tariffs", "at least one tariff is needed")
    tariffs = []
    for i, item in enumerate(listed):
        try:
            tariffs.append(parse_tariff(item, ours=False))
        except Invalid as e:
            raise Invalid(f"tariffs[{i}]" + (f".{e.field}" if e.field else ""), e.problem) from None
    return tariffs


def _periods(listed: Any, started_at: datetime, ended_at: datetime) -> tuple[Period, ...]:
    if not isinstance(listed, list) or not listed:
        raise Invalid("session.charging_periods", "at least one period is needed")
    periods = []
    for i, item in enumerate(listed):
        at = f"session.charging_periods[{i}]"
        period = _object(item, at, "a period")
        begins_at = _instant(period, "start_date_time", at)
        if not started_at <= begins_at <= ended_at:
            raise Invalid(f"{at}.start_date_time", "lies outside the session")
        dimensions = period.get("dimensions")
        if not isinstance(dimensions, list) or not dimensions:
            raise Invalid(f"{at}.dimensions", "must be a list of at least one dimension")
        periods.append(Period(started_at=begins_at, **_volumes(dimensions, f"{at}.dimensions")))
    return tuple(periods)


def _volumes(dimensions: list[Any], at: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    means: dict[str, Decimal] = {}
    for i, item in enumerate(dimensions):
        where = f"{at}[{i}]"
        dimension = _object(item, where, "a dimension")
        name = dimension.get("type")
        if not isinstance(name, str):
            raise Invalid(f"{where}.type", "missing")
        volume = amount(dimension, "volume", where)
        seconds = amount(dimension, "seconds", where)
        if volume is None and seconds is None:
            raise Invalid(f"{where}.volume", "missing")
        if name not in _FIELDS and name not in _MEANS and name not in _WITHOUT_PRICE:
            raise Invalid(f"{where}.type", f"{name!r} is not a dimension")
        field, factor = _FIELDS.get(name, ("", 0))
        if field in found:
            raise Invalid(f"{where}.type", f"{name} is given twice")
        if name in _TIMES:
            found[field] = seconds if seconds is not None else (volume or Decimal(0)) * 3600
            continue
        if seconds is not None:
            raise Invalid(f"{where}.seconds", f"{name} is no time")
        value = volume or Decimal(0)
        if field:
            found[field] = value * factor
        elif name in _MEANS:
            least, most, factor = _MEANS[name]
            means |= {least: value * factor, most: value * factor}
    return means | found


def _record(
    session: Mapping[str, Any], started_at: datetime, ended_at: datetime, expired: bool
) -> Record:
    register = _samples(session, "meter_samples", "total_kwh")
    states = []
    for i, (at, item, where) in enumerate(_timed(session, "states")):
        state = item.get("state")
        if state not in (Activity.CHARGING.value, Activity.PARKING.value):
            raise Invalid(f"{where}.state", f"{state!r} is neither charging nor parking")
        states.append((at, i, StateChange(at, Activity(state))))
    return Record(
        started_at=started_at,
        ended_at=ended_at,
        meter=_drawn(register, started_at),
        states=tuple(change for _, _, change in sorted(states)),
        power=tuple(
            PowerSample(at, value * 1000)
            for at, value in _samples(session, "power_samples", "power_kw")
        ),
        current=tuple(
            CurrentSample(at, value)
            for at, value in _samples(session, "current_samples", "current_a")
        ),
        reservation_expired=expired,
    )


def _drawn(
    register: list[tuple[datetime, Decimal]], started_at: datetime
) -> tuple[MeterSample, ...]:
    """Turn readings of a register into energy since its first one.

    A reading below the one before is a mistake when a later one is up again, and left out; else
    the register began anew, and what follows is added to what was there (MV-13).
    """
    register = sorted(register)
    if not register:
        return ()
    drawn = Decimal(0)
    samples = [] if register[0][0] <= started_at else [MeterSample(started_at, drawn)]
    highest = register[0][1]
    for i, (at, value) in enumerate(register):
        if value < highest:
            if any(later >= highest for _, later in register[i + 1 :]):
                continue
            highest = value
        drawn += value - highest
        highest = value
        samples.append(MeterSample(at, drawn * 1000))
    return tuple(samples)


def _samples(session: Mapping[str, Any], name: str, field: str) -> list[tuple[datetime, Decimal]]:
    found = []
    for at, item, where in _timed(session, name):
        value = amount(item, field, where)
        if value is None:
            raise Invalid(f"{where}.{field}", "missing")
        found.append((at, value))
    return sorted(found)


def _timed(session: Mapping[str, Any], name: str) -> list[tuple[datetime, Mapping[str, Any], str]]:
    listed = session.get(name)
    if listed is None:
        return []
    if not isinstance(listed, list):
        raise Invalid(f"session.{name}", "must be a list")
    found = []
    for i, item in enumerate(listed):
        where = f"session.{name}[{i}]"
        sample = _object(item, where, "a sample")
        found.append((_instant(sample, "at", where), sample, where))
    return found


def _instant(obj: Mapping[str, Any], name: str, at: str = "session") -> datetime:
    value = obj.get(name)
    if value is None:
        raise Invalid(f"{at}.{name}", "missing")
    return instant(value, f"{at}.{name}")


def _object(value: Any, where: str, what: str) -> Mapping[str, Any]:
    if value is None:
        raise Invalid(where, "missing")
    if not isinstance(value, Mapping):
        raise Invalid(where, f"{what} is an object")
    return value


def _money(value: Decimal | None) -> str | None:
    return None if value is None else format(value, "f")


def _six(value: Fraction | None) -> str | None:
    return None if value is None else format(round_half_up(value, 6), "f")


def _quantity(value: Fraction) -> str:
    """An exact quantity as text; one without end is cut at the ninth decimal."""
    return plain(round_half_up(value, 9))


def _line(line: Line) -> dict[str, Any]:
    billed = {
        Dimension.ENERGY: "billed_kwh",
        Dimension.FLAT: "billed_count",
    }.get(line.dimension, "billed_seconds")
    answer: dict[str, Any] = {"dimension": line.dimension.value}
    if line.reservation:
        answer["reservation"] = True
    answer[billed] = _quantity(line.quantity)
    if line.step_surplus:
        answer["step_size_surplus"] = _quantity(line.step_surplus)
    return answer | {
        "unit_price": plain(line.unit_price),
        "vat": None if line.vat is None else plain(line.vat),
        "excl_vat": _six(line.amount.net),
        "incl_vat": _six(line.amount.gross),
    }


def _period(period: Period) -> dict[str, Any]:
    dimensions = []
    for volume in period.volumes:
        dimension: dict[str, Any] = {"type": volume.type, "volume": _number(volume.volume)}
        if volume.seconds is not None:
            dimension["seconds"] = _number(volume.seconds)
        dimensions.append(dimension)
    return {"start_date_time": rfc3339(period.started_at), "dimensions": dimensions}


def _number(value: Decimal) -> Decimal:
    return Decimal(plain(value))


def rfc3339(instant: datetime) -> str:
    """An instant in UTC as OCPI writes it, with fractions only where there are any."""
    text = instant.strftime("%Y-%m-%dT%H:%M:%S")
    if instant.microsecond:
        text += f".{instant.microsecond:06}".rstrip("0")
    return text + "Z"
