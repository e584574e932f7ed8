"""A tariff written as an OCPI object again: the operator sees what was entered."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import Any

from cpo.domain.tariff import DAYS, Element, PriceLimit, Restrictions, Tariff


def tariff_document(tariff: Tariff) -> dict[str, Any]:
    """Return the OCPI object of a tariff; `parse_tariff` reads it back unchanged.

    In the spelling of 2.3.0 where the tariff says if its prices include tax, else of 2.2.1.
    Amounts are Decimals.
    """
    document: dict[str, Any] = {
        "country_code": tariff.country_code or None,
        "party_id": tariff.party_id or None,
        "id": tariff.id,
        "currency": tariff.currency,
        "type": _plain(tariff.type),
        "tax_included": _plain(tariff.tax_included) if tariff.tax_stated else None,
        "tariff_alt_text": [
            {"language": text.language, "text": text.text} for text in tariff.alt_text
        ]
        or None,
        "tariff_alt_url": tariff.alt_url,
        "min_price": _limit(tariff.min_price, new=tariff.tax_stated),
        "max_price": _limit(tariff.max_price, new=tariff.tax_stated),
        "elements": [_element(element) for element in tariff.elements],
        "start_date_time": _plain(tariff.valid_from),
        "end_date_time": _plain(tariff.valid_until),
        "energy_mix": tariff.energy_mix,
        "last_updated": _plain(tariff.last_updated),
    }
    return _given(document)


def _given(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if value is not None}


def _plain(value: datetime | date | time | StrEnum | Decimal | int | None) -> Any:
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case time():
            return value.strftime("%H:%M")
        case StrEnum():
            return value.value
    return value


def _limit(limit: PriceLimit | None, *, new: bool) -> dict[str, Any] | None:
    if limit is None:
        return None
    before, after = ("before_taxes", "after_taxes") if new else ("excl_vat", "incl_vat")
    return _given({before: limit.excl_vat, after: limit.incl_vat})


def _element(element: Element) -> dict[str, Any]:
    document: dict[str, Any] = {
        "price_components": [
            _given(
                {
                    "type": component.type.value,
                    "price": component.price,
                    "vat": component.vat,
                    "step_size": component.step_size,
                }
            )
            for component in element.components
        ]
    }
    if element.restrictions != Restrictions():
        document["restrictions"] = _restrictions(element.restrictions)
    return document


def _restrictions(restrictions: Restrictions) -> dict[str, Any]:
    document = {
        name: _plain(getattr(restrictions, name))
        for name in Restrictions.__dataclass_fields__
        if name != "day_of_week"
    }
    if restrictions.day_of_week:
        document["day_of_week"] = [DAYS[day] for day in restrictions.day_of_week]
    return _given(document)
