"""Tariffs: the superset of OCPI 2.1.1, 2.2.1 and 2.3.0, read from either spelling.

A tariff that could only be priced by guessing is refused with the field named.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, TypeVar

from cpo.domain.money import CURRENCIES
from cpo.domain.site_checks import ENERGY_MIX
from cpo.errors import Invalid

DAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")


class Dimension(StrEnum):
    """What a price component charges for."""

    FLAT = "FLAT"
    ENERGY = "ENERGY"
    TIME = "TIME"
    PARKING_TIME = "PARKING_TIME"


class TariffType(StrEnum):
    """Whom or which charging preference a tariff is meant for."""

    AD_HOC_PAYMENT = "AD_HOC_PAYMENT"
    PROFILE_CHEAP = "PROFILE_CHEAP"
    PROFILE_FAST = "PROFILE_FAST"
    PROFILE_GREEN = "PROFILE_GREEN"
    REGULAR = "REGULAR"


class TaxIncluded(StrEnum):
    """Whether the prices of a tariff contain tax (OCPI 2.3.0)."""

    YES = "YES"
    NO = "NO"
    NOT_APPLICABLE = "N/A"


class ReservationKind(StrEnum):
    """Which reservations an element prices."""

    RESERVATION = "RESERVATION"
    RESERVATION_EXPIRES = "RESERVATION_EXPIRES"


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplayText:
    """A text for drivers in one language."""

    language: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceComponent:
    """One price: per kWh, per hour or once.

    ``vat`` is in percent; ``step_size`` in Wh or seconds, 0 when nothing is rounded up.
    """

    type: Dimension
    price: Decimal
    vat: Decimal | None = None
    step_size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Restrictions:
    """When an element is active. Minima are inclusive, maxima exclusive, times are local.

    Units: kWh, A (sum over the phases), kW, seconds since the session's start.
    ``day_of_week`` counts from Monday = 0; empty means every day. ``since`` and ``until`` are no
    part of OCPI: they bound what a tariff prices in a session that changed its tariff.
    """

    start_time: time | None = None
    end_time: time | None = None
    start_date: date | None = None
    end_date: date | None = None
    min_kwh: Decimal | None = None
    max_kwh: Decimal | None = None
    min_current: Decimal | None = None
    max_current: Decimal | None = None
    min_power: Decimal | None = None
    max_power: Decimal | None = None
    min_duration: int | None = None
    max_duration: int | None = None
    day_of_week: tuple[int, ...] = ()
    reservation: ReservationKind | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """Price components that share their restrictions.

    ``place`` is the id of the tariff it is of and its number there, where several tariffs price
    one session.
    """

    components: tuple[PriceComponent, ...]
    restrictions: Restrictions = Restrictions()
    place: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceLimit:
    """A least or greatest amount of a session, before and after tax, each for itself."""

    excl_vat: Decimal | None
    incl_vat: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """What a session costs, with everything any OCPI version says about it.

    ``tax_stated`` tells whether the object said if its prices include tax (2.3.0); without, they
    do not. ``changes`` says from when on which tariff's elements count, where it is put together
    from those that priced one session.
    """

    id: str
    currency: str
    elements: tuple[Element, ...]
    country_code: str = ""
    party_id: str = ""
    type: TariffType | None = None
    tax_included: TaxIncluded = TaxIncluded.NO
    tax_stated: bool = False
    alt_text: tuple[DisplayText, ...] = ()
    alt_url: str | None = None
    min_price: PriceLimit | None = None
    max_price: PriceLimit | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    energy_mix: Mapping[str, Any] | None = field(default=None, hash=False)
    changes: tuple[tuple[datetime, str], ...] = ()
    last_updated: datetime | None = None

    def valid_at(self, instant: datetime) -> bool:
        """Tell whether sessions that start at this instant may use the tariff (TAR-27)."""
        return not (
            (self.valid_from is not None and instant < self.valid_from)
            or (self.valid_until is not None and instant >= self.valid_until)
        )


def choose_tariff(
    tariffs: Iterable[Tariff],
    at: datetime,
    type: TariffType | None = None,
) -> Tariff | None:
    """Take the first tariff that is valid at the start and, where asked, of that type.

    A tariff without type serves every type (TAR-6).
    """
    for tariff in tariffs:
        if tariff.valid_at(at) and (type is None or tariff.type in (type, None)):
            return tariff
    return None


def undoubted(tariffs: Sequence[Tariff]) -> list[Tariff]:
    """Leave out those beside which another of their type, named before, is in force (TAR-5).

    A connector may name the tariffs of several contracts; of what one partner sees of them only
    the first counts, as it does when a charge is billed.
    """
    kept: list[Tariff] = []
    for tariff in tariffs:
        if not any(one.type == tariff.type and _meet(one, tariff) for one in kept):
            kept.append(tariff)
    return kept


def _meet(one: Tariff, other: Tariff) -> bool:
    """Whether there is an instant at which both are valid."""
    return not (_ends_before(one, other) or _ends_before(other, one))


def _ends_before(one: Tariff, other: Tariff) -> bool:
    ends, begins = one.valid_until, other.valid_from
    return ends is not None and begins is not None and ends <= begins


def parse_tariff(obj: Mapping[str, Any], *, ours: bool = True) -> Tariff:
    """Read an OCPI Tariff object in the spelling of 2.1.1, 2.2.1 or 2.3.0.

    Ours must be beyond doubt: also refused are a second component of one dimension in an element
    (TAR-24), a reservation element with other than FLAT and TIME (TAR-31), and a missing id. In a
    partner's tariff the first component counts and such prices never apply.

    Raises:
        Invalid: The tariff cannot be priced without guessing; ``field`` is the path to the spot.
    """
    if not isinstance(obj, Mapping):
        raise Invalid("", "a tariff is an object")
    currency = _text(obj, "currency", required=True)
    if currency.upper() not in CURRENCIES:
        raise Invalid("currency", f"{currency!r} is not a known currency")
    listed = obj.get("elements")
    if not isinstance(listed, list) or not listed:
        raise Invalid("elements", "at least one element is needed")
    mix = obj.get("energy_mix")
    tariff = Tariff(
        id=_text(obj, "id", required=ours, longest=36),
        currency=currency.upper(),
        elements=tuple(_element(e, f"elements[{i}]", ours) for i, e in enumerate(listed)),
        country_code=_text(obj, "country_code", longest=2).upper(),
        party_id=_text(obj, "party_id", longest=3).upper(),
        type=_choice(obj, "type", TariffType, "type"),
        tax_included=_choice(obj, "tax_included", TaxIncluded, "tax_included") or TaxIncluded.NO,
        tax_stated=obj.get("tax_included") is not None,
        alt_text=_alt_text(obj.get("tariff_alt_text")),
        alt_url=_text(obj, "tariff_alt_url") or None,
        min_price=_limit(obj, "min_price"),
        max_price=_limit(obj, "max_price"),
        valid_from=_instant(obj, "start_date_time"),
        valid_until=_instant(obj, "end_date_time"),
        energy_mix=None if mix is None else ENERGY_MIX(mix, "energy_mix"),
        last_updated=_instant(obj, "last_updated"),
    )
    if tariff.valid_from and tariff.valid_until and tariff.valid_from >= tariff.valid_until:
        raise Invalid("end_date_time", "must lie after start_date_time")
    if tariff.min_price and tariff.max_price:
        for least, most in (
            (tariff.min_price.excl_vat, tariff.max_price.excl_vat),
            (tariff.min_price.incl_vat, tariff.max_price.incl_vat),
        ):
            if least is not None and most is not None and least > most:
                raise Invalid("min_price", "must not be greater than max_price")
    if ours:
        _check_ours(tariff)
    return tariff


def _check_ours(tariff: Tariff) -> None:
    """Refuse what no operator can have meant: elements that never count, what no partner reads."""
    if not (tariff.id.isascii() and tariff.id.isprintable() and tariff.id.strip()):
        raise Invalid("id", "must be of printable ASCII characters")
    if tariff.alt_url is not None and not _URL.fullmatch(tariff.alt_url):
        raise Invalid("tariff_alt_url", "must be an http or https URL of at most 255 characters")
    priced: dict[Restrictions, dict[Dimension, int]] = {}
    for i, element in enumerate(tariff.elements):
        for measure in ("kwh", "current", "power", "duration"):
            if getattr(element.restrictions, f"max_{measure}") == 0:
                raise Invalid(
                    f"elements[{i}].restrictions.max_{measure}",
                    "must be greater than 0: the element would never count",
                )
        before = priced.setdefault(element.restrictions, {})
        kinds = [component.type for component in element.components]
        if all(kind in before for kind in kinds):
            raise Invalid(
                f"elements[{i}]",
                f"never counts: elements[{before[kinds[0]]}] has the same restrictions",
            )
        for kind in kinds:
            before.setdefault(kind, i)


def _element(obj: Any, at: str, ours: bool) -> Element:
    if not isinstance(obj, Mapping):
        raise Invalid(at, "an element is an object")
    listed = obj.get("price_components")
    if not isinstance(listed, list) or not listed:
        raise Invalid(f"{at}.price_components", "at least one price component is needed")
    restrictions = _restrictions(obj.get("restrictions"), f"{at}.restrictions")
    components: dict[Dimension, PriceComponent] = {}
    for i, item in enumerate(listed):
        where = f"{at}.price_components[{i}]"
        component = _component(item, where)
        if ours and component.type in components:
            raise Invalid(f"{where}.type", f"{component.type} is priced twice in one element")
        if (
            ours
            and restrictions.reservation
            and component.type not in (Dimension.FLAT, Dimension.TIME)
        ):
            raise Invalid(f"{where}.type", "a reservation is priced by FLAT and TIME only")
        components.setdefault(component.type, component)
    return Element(components=tuple(components.values()), restrictions=restrictions)


def _component(obj: Any, at: str) -> PriceComponent:
    if not isinstance(obj, Mapping):
        raise Invalid(at, "a price component is an object")
    dimension = _choice(obj, "type", Dimension, f"{at}.type")
    if dimension is None:
        raise Invalid(f"{at}.type", "missing")
    price = amount(obj, "price", at)
    if price is None:
        raise Invalid(f"{at}.price", "missing")
    return PriceComponent(
        type=dimension,
        price=price,
        vat=amount(obj, "vat", at),
        step_size=_whole(obj, "step_size", at) or 0,
    )


_RESTRICTION_FIELDS = frozenset(Restrictions.__dataclass_fields__)


def _restrictions(obj: Any, at: str) -> Restrictions:
    if obj is None:
        return Restrictions()
    if not isinstance(obj, Mapping):
        raise Invalid(at, "restrictions are an object")
    for name, value in obj.items():
        if name not in _RESTRICTION_FIELDS and value is not None:
            raise Invalid(f"{at}.{name}", "unknown restriction")
    found = Restrictions(
        start_time=_wall_time(obj, "start_time", at),
        end_time=_wall_time(obj, "end_time", at),
        start_date=_date(obj, "start_date", at),
        end_date=_date(obj, "end_date", at),
        min_kwh=amount(obj, "min_kwh", at),
        max_kwh=amount(obj, "max_kwh", at),
        min_current=amount(obj, "min_current", at),
        max_current=amount(obj, "max_current", at),
        min_power=amount(obj, "min_power", at),
        max_power=amount(obj, "max_power", at),
        min_duration=_whole(obj, "min_duration", at),
        max_duration=_whole(obj, "max_duration", at),
        day_of_week=_days(obj.get("day_of_week"), f"{at}.day_of_week"),
        reservation=_choice(obj, "reservation", ReservationKind, f"{at}.reservation"),
    )
    if found.start_date and found.end_date and found.start_date >= found.end_date:
        raise Invalid(f"{at}.end_date", "must lie after start_date (it is exclusive)")
    for measure in ("kwh", "current", "power", "duration"):
        least, most = getattr(found, f"min_{measure}"), getattr(found, f"max_{measure}")
        if least is not None and most is not None and least >= most:
            raise Invalid(f"{at}.max_{measure}", f"must be greater than min_{measure}")
    return found


def amount(obj: Mapping[str, Any], name: str, at: str = "") -> Decimal | None:
    """Read a number that cannot be negative, exactly; None where the field is absent."""
    value = obj.get(name)
    if value is None:
        return None
    where = f"{at}.{name}" if at else name
    number: Decimal | None = None
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            # repr() of a float is the shortest text that means it: the digits that were sent.
            number = Decimal(value.strip() if isinstance(value, str) else repr(value))
        except InvalidOperation:
            number = None
    if number is None or not number.is_finite() or abs(number.adjusted()) > 18:
        raise Invalid(where, f"{value!r} is not a number")
    if len(number.as_tuple().digits) > _MOST_DIGITS:
        raise Invalid(where, f"has more than {_MOST_DIGITS} digits")
    if number < 0:
        raise Invalid(where, "must not be negative")
    return number


def _whole(obj: Mapping[str, Any], name: str, at: str) -> int | None:
    number = amount(obj, name, at)
    if number is None:
        return None
    if number != number.to_integral_value():
        raise Invalid(f"{at}.{name}", "must be a whole number")
    return int(number)


def _text(
    obj: Mapping[str, Any], name: str, *, required: bool = False, longest: int | None = None
) -> str:
    value = obj.get(name)
    if value is None or value == "":
        if required:
            raise Invalid(name, "missing")
        return ""
    if not isinstance(value, str):
        raise Invalid(name, "must be a text")
    if longest is not None and len(value) > longest:
        raise Invalid(name, f"longer than {longest} characters")
    return value


_MOST_DIGITS = 40
_URL = re.compile(r"https?://[!-~]{1,247}", re.IGNORECASE)
_Choice = TypeVar("_Choice", bound=StrEnum)


def _choice(
    obj: Mapping[str, Any], name: str, choices: type[_Choice], where: str
) -> _Choice | None:
    value = obj.get(name)
    if value is None:
        return None
    try:
        return choices(value)
    except ValueError:
        raise Invalid(where, f"{value!r} is none of {', '.join(choices)}") from None


def _limit(obj: Mapping[str, Any], name: str) -> PriceLimit | None:
    value = obj.get(name)
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise Invalid(name, "must be an object with an amount before and after tax")
    before = "before_taxes" if "before_taxes" in value else "excl_vat"
    after = "after_taxes" if "after_taxes" in value else "incl_vat"
    limit = PriceLimit(excl_vat=amount(value, before, name), incl_vat=amount(value, after, name))
    if limit.excl_vat is None and limit.incl_vat is None:
        raise Invalid(f"{name}.{before}", "missing")
    return limit


def instant(value: Any, where: str) -> datetime:
    """Read an OCPI DateTime as an aware instant in UTC; one without zone is UTC (TRANS-24)."""
    if isinstance(value, datetime):
        found = value
    else:
        if not isinstance(value, str) or "T" not in value.upper():
            raise Invalid(where, f"{value!r} is not a date and time")
        try:
            found = datetime.fromisoformat(value.upper())
        except ValueError:
            raise Invalid(where, f"{value!r} is not a date and time") from None
    if not 1970 <= found.year < 9999:
        raise Invalid(where, f"{value!r} is not of our time")
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _instant(obj: Mapping[str, Any], name: str) -> datetime | None:
    value = obj.get(name)
    return None if value is None else instant(value, name)


_WALL_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


def _wall_time(obj: Mapping[str, Any], name: str, at: str) -> time | None:
    value = obj.get(name)
    if value is None:
        return None
    match = _WALL_TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise Invalid(f"{at}.{name}", f"{value!r} is not a time from 00:00 to 23:59")
    return time(int(match[1]), int(match[2]))


def _date(obj: Mapping[str, Any], name: str, at: str) -> date | None:
    value = obj.get(name)
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise Invalid(f"{at}.{name}", f"{value!r} is not a date")


def _days(value: Any, where: str) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise Invalid(where, "must be a list of days")
    for day in value:
        if day not in DAYS:
            raise Invalid(where, f"{day!r} is not a day of the week")
    return tuple(sorted({DAYS.index(day) for day in value}))


def _alt_text(value: Any) -> tuple[DisplayText, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise Invalid("tariff_alt_text", "must be a list")
    texts = []
    for i, item in enumerate(value):
        if not isinstance(item, Mapping):
            raise Invalid(f"tariff_alt_text[{i}]", "must be an object")
        language, text = item.get("language"), item.get("text")
        if not isinstance(language, str) or not isinstance(text, str):
            raise Invalid(f"tariff_alt_text[{i}]", "needs language and text")
        if len(language) != 2:
            raise Invalid(f"tariff_alt_text[{i}].language", "must be two letters (ISO 639-1)")
        if len(text) > 512:
            raise Invalid(f"tariff_alt_text[{i}].text", "longer than 512 characters")
        texts.append(DisplayText(language=language, text=text))
    return tuple(texts)
