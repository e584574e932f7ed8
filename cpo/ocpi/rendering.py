"""What rendering has in common in all versions: volumes that add up, texts that fit, instants."""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from cpo.domain.events import SignedReading
from cpo.domain.money import CURRENCIES, round_half_up, share_out
from cpo.domain.periods import Period
from cpo.domain.pricing import Breakdown, Price
from cpo.domain.tariff import DAYS, PriceComponent, Restrictions, Tariff, TaxIncluded
from cpo.domain.values import replace
from cpo.errors import Invalid
from cpo.ocpi import exact_json
from cpo.ocpi.dialect import DateStyle, Quirks, Rendered
from cpo.ocpi.fields import Wire
from cpo.ocpi.quick_check import passes

WH_PER_KWH = Decimal(1000)
S_PER_HOUR = Decimal(3600)
W_PER_KW = Decimal(1000)

Number = Decimal | int
Write = Callable[[datetime], str]


def instant_writer(style: DateStyle) -> Write:
    """Return how a partner wants instants to be written."""
    if style is DateStyle.SECONDS:
        return lambda at: exact_json.instant(at.replace(microsecond=0))
    if style is DateStyle.MILLISECONDS:
        return _with_milliseconds
    return exact_json.instant


def _with_milliseconds(at: datetime) -> str:
    text = exact_json.instant(at)
    return text if "." in text else text.removesuffix("Z") + ".000Z"


def compact(document: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is absent: neither nulls nor empty lists are sent (TRANS-20)."""
    # Most values are true, and comparing each with a list would cost more than all the rest.
    return {
        name: value
        for name, value in document.items()
        if value is not None and (value or not isinstance(value, list))
    }


def rendered(
    model: type[Wire],
    document: dict[str, Any],
    left_out: Iterable[str] = (),
    *,
    partial: bool = False,
    problems: Sequence[Invalid] = (),
) -> Rendered:
    """Write an object and check it against its field table (promise 7)."""
    text = exact_json.encode_document(document)
    found = (
        () if passes(model, text, partial=partial) else model.problems(document, partial=partial)
    )
    return Rendered(text=text, problems=(*problems, *found), left_out=tuple(left_out))


def problems_in(model: type[Wire], document: dict[str, Any]) -> Sequence[Invalid]:
    """Check a part of an object against its field table."""
    if passes(model, exact_json.encode_document(document)):
        return ()
    return model.problems(document)


def message(model: type[Wire], document: dict[str, Any]) -> bytes:
    """Write a small message of ours.

    Raises:
        Invalid: names the field, should a setting or a caller have made it impossible.
    """
    text = exact_json.encode_document(document)
    if not passes(model, text):
        for problem in model.problems(document):
            raise problem
    return text


@dataclass(frozen=True, slots=True)
class Volumes:
    """The volumes of a session, rounded so that the periods add up to the totals (promise 6)."""

    kwh: Number
    hours: Number
    parking_hours: Number
    periods: tuple[tuple[Period, tuple[tuple[str, Number], ...]], ...]


def volumes(periods: Sequence[Period], energy_wh: Decimal) -> Volumes:
    """Round the volumes of periods to 4 decimals of kWh and hours.

    Rounded are the sums since the start and not the parts: the last sum is the rounded total, and
    a period keeps its volume when later ones are added.
    """
    kwh = exact_json.number(energy_wh / WH_PER_KWH)
    sums = {"energy": Decimal(0), "time": Decimal(0), "parking": Decimal(0), "reserved": Decimal(0)}
    shown: dict[str, Number] = dict.fromkeys(sums, 0)
    last_metered = max((i for i, p in enumerate(periods) if not p.reserved_s), default=-1)

    def grow(name: str, by: Decimal, per_unit: Decimal) -> Number:
        sums[name] += by
        before, after = shown[name], exact_json.number(sums[name] / per_unit)
        shown[name] = after
        return exact_json.number(after - before)

    listed = []
    for index, period in enumerate(periods):
        dimensions: list[tuple[str, Number]] = []
        energy = grow("energy", period.energy_wh, WH_PER_KWH)
        if index == last_metered:
            energy = exact_json.number(energy + kwh - shown["energy"])
            shown["energy"] = kwh
        if not period.reserved_s:
            dimensions.append(("ENERGY", energy))
        for dimension, name, seconds in (
            ("TIME", "time", period.time_s),
            ("PARKING_TIME", "parking", period.parking_s),
            ("RESERVATION_TIME", "reserved", period.reserved_s),
        ):
            if seconds:
                dimensions.append((dimension, grow(name, seconds, S_PER_HOUR)))
        for dimension, value, per_unit in (
            ("MIN_CURRENT", period.min_current_a, Decimal(1)),
            ("MAX_CURRENT", period.max_current_a, Decimal(1)),
            ("MIN_POWER", period.min_power_w, W_PER_KW),
            ("MAX_POWER", period.max_power_w, W_PER_KW),
        ):
            if value is not None:
                dimensions.append((dimension, exact_json.number(value / per_unit)))
        listed.append((period, tuple(dimensions)))
    return Volumes(
        kwh=kwh,
        hours=exact_json.number(shown["time"] + shown["parking"]),
        parking_hours=shown["parking"],
        periods=tuple(listed),
    )


def rounded(cost: Breakdown, currency: str, quirks: Quirks) -> Breakdown:
    """Return a cost as a partner wants it: with four decimals, or with the currency's own."""
    if not quirks.currency_decimals:
        return cost
    places = CURRENCIES[currency]
    total = _rounded_price(cost.total, places)
    names = [name for name in _PARTS if getattr(cost, name) is not None]
    parts: list[Price] = [getattr(cost, name) for name in names]
    nets = _shares(total.excl_vat, [part.excl_vat for part in parts], places)
    grosses = _shares(total.incl_vat, [part.incl_vat for part in parts], places)
    changed: dict[str, Any] = {
        name: replace(_rounded_price(part, places), excl_vat=net, incl_vat=gross)
        for name, part, net, gross in zip(names, parts, nets, grosses, strict=True)
    }
    return replace(cost, total=total, **changed)


def negated(price: Price) -> Price:
    """Return what a credit gives back."""
    return Price(
        excl_vat=None if price.excl_vat is None else 0 - price.excl_vat,
        incl_vat=None if price.incl_vat is None else 0 - price.incl_vat,
        taxes=tuple(replace(tax, amount=0 - tax.amount) for tax in price.taxes),
    )


_PARTS = ("fixed", "energy", "time", "parking", "reservation")


def _rounded_price(price: Price, places: int) -> Price:
    return Price(
        excl_vat=None if price.excl_vat is None else _round(price.excl_vat, places),
        incl_vat=None if price.incl_vat is None else _round(price.incl_vat, places),
        taxes=tuple(replace(tax, amount=_round(tax.amount, places)) for tax in price.taxes),
    )


def _round(amount: Decimal, places: int) -> Decimal:
    return round_half_up(Fraction(amount), places)


def _shares(
    total: Decimal | None, parts: Sequence[Decimal | None], places: int
) -> Sequence[Decimal | None]:
    known = [part for part in parts if part is not None]
    if total is None or len(known) < len(parts):
        return [None if part is None else _round(part, places) for part in parts]
    return share_out(total, [Fraction(part) for part in known], places)


def shortened(text: str | None, most: int) -> str | None:
    """Cut a text to its limit, at the last space where that loses little (CDR-17)."""
    if text is None or len(text) <= most:
        return text
    space = text.rfind(" ", most * 2 // 3, most + 1)
    return text[: most if space < 0 else space].rstrip()


def net_price(tariff: Tariff, component: PriceComponent) -> Decimal | None:
    """Return a price without tax, None where it includes a tax of unknown rate.

    A price as it was stated is never rounded: told otherwise than billed, it would be wrong.
    """
    if tariff.tax_included is not TaxIncluded.YES:
        return component.price
    if component.vat is None:
        return None
    return Decimal(exact_json.number(component.price * 100 / (100 + component.vat)))


def restrictions_document(restrictions: Restrictions) -> dict[str, Any]:
    """Render the restrictions of an element; without any it is empty."""
    document = {
        name: getattr(restrictions, name)
        for name in (
            "min_kwh",
            "max_kwh",
            "min_current",
            "max_current",
            "min_power",
            "max_power",
            "min_duration",
            "max_duration",
        )
    }
    for name in ("start_time", "end_time"):
        at = getattr(restrictions, name)
        document[name] = at and f"{at:%H:%M}" if at is not None else None
    for name in ("start_date", "end_date"):
        day = getattr(restrictions, name)
        document[name] = day and day.isoformat()
    document["day_of_week"] = [DAYS[day] for day in restrictions.day_of_week]
    document["reservation"] = restrictions.reservation and str(restrictions.reservation)
    return compact(document)


def signed_values(signed: Sequence[SignedReading]) -> list[dict[str, str]]:
    """Render signed readings: `signed_data` is base64, `plain_data` what can be read (CDR-16).

    What the charger sent is never changed: base64 stays as it came.
    """
    values = []
    for reading in signed:
        plain = _decoded(reading.data)
        values.append(
            {
                "nature": reading.nature,
                "plain_data": reading.data if plain is None else plain,
                "signed_data": base64.b64encode(reading.data.encode()).decode()
                if plain is None
                else reading.data,
            }
        )
    return values


def encoding_method(signed: Sequence[SignedReading]) -> str:
    """Name the encoding of signed readings, from the data where the charger does not say."""
    for reading in signed:
        if reading.method:
            return reading.method
    text = signed[0].data
    return "OCMF" if (_decoded(text) or text).startswith("OCMF|") else "UNKNOWN"


def _decoded(data: str) -> str | None:
    """Return the readable text in base64, or None when it is no base64 or not readable."""
    try:
        text = base64.b64decode(data, validate=True).decode()
    except (ValueError, binascii.Error):
        return None
    return text if text.isprintable() else None
