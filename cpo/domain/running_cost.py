"""What a charger is told about the cost of its transaction, for its display.

OCPP 1.6 has no message for it: stations that say so understand the DataTransfer messages of the
Open Charge Alliance's application note on California pricing requirements.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any

from cpo.domain.cost import Cost
from cpo.domain.money import CURRENCIES, round_half_up
from cpo.domain.periods import MeterSample, Record
from cpo.domain.pricing import price
from cpo.domain.tariff import Dimension, Tariff

COST_MESSAGES = "org.openchargealliance.costmsg"
# Statuses of 1.6 with which the other price of time begins (MAP-23).
_BEGINS_PARKING = ("SuspendedEV", "Finishing")
_ENDS_PARKING = ("Charging", "SuspendedEVSE")
LONGEST_OUTLOOK = timedelta(days=1)
_PER = {
    Dimension.ENERGY: " per kWh",
    Dimension.TIME: " per hour",
    Dimension.PARKING_TIME: " per hour of parking",
    Dimension.FLAT: " once",
}
_PRICES = {
    Dimension.ENERGY: "kWhPrice",
    Dimension.TIME: "hourPrice",
    Dimension.FLAT: "flatFee",
}


def total_shown(cost: Cost) -> Decimal:
    """Return what the driver pays so far, including tax where known, as a display shows it."""
    price = cost.price(CURRENCIES.get(cost.currency, 2))
    return price.before_taxes if price.incl_vat is None else price.incl_vat


def running_cost(
    cost: Cost,
    *,
    transaction_id: int | None,
    at: datetime,
    meter_wh: Decimal,
    session_wh: Decimal,
    parking: bool,
    places: int | None = None,
    statuses: bool = False,
) -> dict[str, Any]:
    """Return the data of a RunningCost message: the cost so far, the prices now and those to come.

    Prices include tax where it is known. ``meter_wh`` is the register the cost was worked out at,
    ``session_wh`` what was drawn until then. Where prices will change, the station is asked for a
    reading of that moment; with ``statuses`` also for one when the car stops or resumes.
    """
    message: dict[str, Any] = {} if transaction_id is None else {"transactionId": transaction_id}
    message |= {
        "timestamp": _text(at),
        "meterValue": int(meter_wh),
        "cost": total_shown(cost),
        "state": "Idle" if parking else "Charging",
        **_named(cost, cost.unit_prices_at_end, places),
    }
    ahead = cost.outlook(LONGEST_OUTLOOK)
    trigger: dict[str, Any] = {}
    if ahead.at is not None:
        message["nextPeriod"] = {
            "atTime": _text(ahead.at),
            **_named(cost, ahead.prices, places),
        }
        trigger["atTime"] = _text(ahead.at)
    if ahead.energy_wh is not None:
        trigger["atEnergykWh"] = (meter_wh - session_wh + ahead.energy_wh) / 1000
    if ahead.power_w is not None:
        trigger["atPowerkW"] = ahead.power_w / 1000
    now = cost.unit_prices_at_end
    if statuses and now.get(Dimension.TIME, 0) != now.get(Dimension.PARKING_TIME, 0):
        trigger["atCPStatus"] = list(_ENDS_PARKING if parking else _BEGINS_PARKING)
    if trigger:
        message["triggerMeterValue"] = trigger
    return message


def price_text(tariff: Tariff, zone: tzinfo, at: datetime, *, language: str = "en") -> str:
    """Return in words what a charge that starts now costs, for a display.

    What the tariff says itself comes first: in the driver's language (ISO 639-1), else in English,
    else as it is.
    """
    for wanted in (language.lower(), "en", ""):
        for told in tariff.alt_text:
            if told.language.lower().startswith(wanted):
                return told.text
    start = Record(started_at=at, ended_at=at, meter=(MeterSample(at, Decimal(0)),))
    cost = price(start, tariff, zone)
    prices = prices_now(cost, cost.unit_prices_at_start)
    words = [
        f"{format(amount.normalize(), 'f')} {tariff.currency}{_PER[dimension]}"
        for dimension, amount in prices.items()
    ]
    return ", ".join(words) or "free"


def final_cost(cost: Cost, *, transaction_id: int) -> dict[str, Any]:
    """Return the data of a FinalCost message."""
    total = total_shown(cost)
    return {
        "transactionId": transaction_id,
        "cost": total,
        "priceText": f"Total: {format(total, 'f')} {cost.currency}",
    }


def prices_now(
    cost: Cost, prices: Mapping[Dimension, Fraction], places: int | None = None
) -> dict[Dimension, Decimal]:
    """Round unit prices for a display, to at least four decimals unless it has its own number."""
    places = max(CURRENCIES.get(cost.currency, 2), 4) if places is None else places
    return {dimension: round_half_up(amount, places) for dimension, amount in prices.items()}


def _named(
    cost: Cost, prices: Mapping[Dimension, Fraction], places: int | None
) -> dict[str, dict[str, Decimal]]:
    now = prices_now(cost, prices, places)
    found = {
        "chargingPrice": {name: now[kind] for kind, name in _PRICES.items() if kind in now},
    }
    if Dimension.PARKING_TIME in now:
        found["idlePrice"] = {"hourPrice": now[Dimension.PARKING_TIME]}
    return found


def _text(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
