"""One of our tariffs as a station of OCPP 2.1 takes it (chapter I), where it can be said so. Pure.

A station only shows prices and running costs by it: the bill stays ours. What OCPP has no word for
is refused with the field named, so that no driver is shown a price that we do not charge.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from cpo.domain.tariff import (
    Dimension,
    PriceComponent,
    ReservationKind,
    Restrictions,
    Tariff,
    TaxIncluded,
)
from cpo.errors import Invalid

_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MINUTES: Final = Decimal(60)
_EXACT: Final = Decimal("0.0000000001")
_THOUSAND: Final = Decimal(1000)
_LONGEST_ID: Final = 60
_PLACES: Final = {
    (Dimension.ENERGY, False): ("energy", "priceKwh"),
    (Dimension.TIME, False): ("chargingTime", "priceMinute"),
    (Dimension.PARKING_TIME, False): ("idleTime", "priceMinute"),
    (Dimension.FLAT, False): ("fixedFee", "priceFixed"),
    (Dimension.TIME, True): ("reservationTime", "priceMinute"),
    (Dimension.FLAT, True): ("reservationFixed", "priceFixed"),
}
_FIXED: Final = ("fixedFee", "reservationFixed")


def station_tariff(tariff: Tariff) -> dict[str, Any]:
    """Write a tariff as TariffType of OCPP 2.1.

    Raises:
        Invalid: names what a station cannot be told.
    """
    if len(tariff.id) > _LONGEST_ID:
        raise Invalid("id", f"is longer than {_LONGEST_ID} characters")
    if tariff.tax_included is TaxIncluded.YES:
        raise Invalid("tax_included", "stations take prices without tax only")
    if tariff.valid_until is not None:
        raise Invalid("end_date_time", "stations know no end of a tariff")
    written: dict[str, Any] = {"tariffId": tariff.id, "currency": tariff.currency}
    taxes: dict[str, Decimal | None] = {}
    for number, element in enumerate(tariff.elements):
        kind = element.restrictions.reservation
        if kind is ReservationKind.RESERVATION_EXPIRES:
            raise Invalid(f"elements[{number}].restrictions.reservation", "cannot be said")
        for index, component in enumerate(element.components):
            path = f"elements[{number}].price_components[{index}]"
            place = _PLACES.get((component.type, kind is not None))
            if place is None:
                raise Invalid(f"{path}.type", "cannot be said of a reservation")
            group, name = place
            if component.step_size > 1:
                raise Invalid(f"{path}.step_size", "stations do not round up")
            if taxes.setdefault(group, component.vat) != component.vat:
                raise Invalid(f"{path}.vat", "differs from that of the same dimension before")
            price: dict[str, Any] = {
                name: _price(component),
                **_conditions(
                    element.restrictions, f"elements[{number}].restrictions", fixed=group in _FIXED
                ),
            }
            written.setdefault(group, {"prices": []})["prices"].append(price)
    for group, vat in taxes.items():
        if vat is not None:
            written[group]["taxRates"] = [{"type": "vat", "tax": vat}]
    if tariff.valid_from is not None:
        written["validFrom"] = tariff.valid_from.strftime("%Y-%m-%dT%H:%M:%SZ")
    for name, limit in (("minCost", tariff.min_price), ("maxCost", tariff.max_price)):
        if limit is not None:
            amounts = {"exclTax": limit.excl_vat, "inclTax": limit.incl_vat}
            written[name] = {key: value for key, value in amounts.items() if value is not None}
    return written


def _price(component: PriceComponent) -> Decimal:
    if component.type in (Dimension.TIME, Dimension.PARKING_TIME):
        return (component.price / _MINUTES).quantize(_EXACT).normalize() + Decimal(0)
    return component.price


def _conditions(given: Restrictions, path: str, *, fixed: bool) -> Mapping[str, Any]:
    always = {
        "startTimeOfDay": f"{given.start_time:%H:%M}" if given.start_time else None,
        "endTimeOfDay": f"{given.end_time:%H:%M}" if given.end_time else None,
        "validFromDate": given.start_date.isoformat() if given.start_date else None,
        "validToDate": given.end_date.isoformat() if given.end_date else None,
        "dayOfWeek": [_DAYS[day] for day in given.day_of_week] or None,
    }
    measured = {
        "minEnergy": _thousands(given.min_kwh),
        "maxEnergy": _thousands(given.max_kwh),
        "minCurrent": given.min_current,
        "maxCurrent": given.max_current,
        "minPower": _thousands(given.min_power),
        "maxPower": _thousands(given.max_power),
        "minTime": given.min_duration,
        "maxTime": given.max_duration,
    }
    measured = {name: value for name, value in measured.items() if value is not None}
    if fixed and measured:
        raise Invalid(path, "a fixed price cannot depend on what is measured")
    if given.since is not None or given.until is not None:
        raise Invalid(path, "prices of a part of a session cannot be said")
    said = {name: value for name, value in always.items() if value is not None} | measured
    return {"conditions": said} if said else {}


def _thousands(value: Decimal | None) -> Decimal | None:
    return value * _THOUSAND if value is not None else None
