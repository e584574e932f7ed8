"""The worked examples of the OCPI texts (TAR-20 to TAR-41)."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from cpo.services.try_out import price_case, rfc3339

HERE = Path(__file__).parent / "pricing"
ZONE = ZoneInfo("Europe/Amsterdam")


def load(name):
    return json.loads((HERE / name).read_text(), parse_float=Decimal)


CASES = load("worked-cases.json")["cases"]
TARIFFS = load("worked-tariffs.json")
DIMENSIONS = {"reservation": "RESERVATION_TIME", "charging": "TIME", "parking": "PARKING_TIME"}


def ocpi_tariff(name):
    compact = TARIFFS[name]
    elements = []
    for element in compact["elements"]:
        components = [{"type": k, **v} for k, v in element.items() if k != "when"]
        elements.append({"price_components": components, "restrictions": element.get("when")})
    return {**compact, "id": name[:36], "elements": elements}


def session(phases):
    at = datetime(2024, 1, 15, 8, tzinfo=UTC)
    if "start_local" in phases[0]:
        at = datetime.fromisoformat(phases[0]["start_local"]).replace(tzinfo=ZONE).astimezone(UTC)
    start, periods = at, []
    for phase in phases:
        dimensions = []
        if "kwh" in phase:
            dimensions.append({"type": "ENERGY", "volume": phase["kwh"]})
        if "seconds" in phase:
            dimensions.append({"type": DIMENSIONS[phase["kind"]], "seconds": phase["seconds"]})
        if "power_kw" in phase:
            dimensions.append({"type": "MAX_POWER", "volume": phase["power_kw"]})
        if "current_a" in phase:
            dimensions.append({"type": "MAX_CURRENT", "volume": phase["current_a"]})
        periods.append({"start_date_time": rfc3339(at), "dimensions": dimensions})
        at += timedelta(seconds=float(phase.get("seconds", 0)))
    return {
        "start_date_time": rfc3339(start),
        "end_date_time": rfc3339(at),
        "reservation_expired": any(phase.get("expired", False) for phase in phases),
        "charging_periods": periods,
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_worked_example_costs_what_the_rules_say(case):
    """TAR-20 to TAR-23, TAR-25, TAR-26, TAR-29 to TAR-31, TAR-34 to TAR-41, TAR-44."""
    answer = price_case(
        {
            "time_zone": "Europe/Amsterdam",
            "tariffs": [ocpi_tariff(case["tariff"])],
            "session": session(case["phases"]),
        }
    )

    got = answer["total_cost_unrounded"]
    excl, incl = case["expected"]["excl"], case["expected"]["incl"]
    if case["id"] == "T20-a":
        # Prices include tax and no rate is given: the gross amount is all that is known.
        excl, incl = None, case["expected"]["excl"]
    if case["id"] == "T5-a":
        # Nothing billed has a tax rate.
        incl = None
    assert same(got["excl_vat"], excl)
    assert same(got["incl_vat"], incl)


def same(got, expected):
    if got is None or expected is None:
        return got is None and expected is None
    return abs(Fraction(got) - Fraction(str(expected))) < Fraction(1, 10**6)
