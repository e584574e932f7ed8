"""Prices derived by hand; each case says how (TAR-20 to TAR-43, contract of `cpo price`)."""

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from cpo.services.try_out import price_case

HERE = Path(__file__).parent / "pricing"
CASES = [
    case
    for name in ("audit.json", "combinations.json", "restrictions.json", "rules.json")
    for case in json.loads((HERE / name).read_text(), parse_float=Decimal)["cases"]
]


@pytest.mark.parametrize("golden", CASES, ids=lambda golden: golden["name"])
def test_a_case_costs_what_was_derived_by_hand(golden):
    """TAR-6, TAR-8 to TAR-10, TAR-20 to TAR-41, TAR-43, MAP-21, MAP-23."""
    answer = price_case(golden["case"])

    assert part_of(golden["expect"], answer) == golden["expect"], golden["why"]


@pytest.mark.parametrize(
    "golden", [c for c in CASES if "period_starts" in c], ids=lambda golden: golden["name"]
)
def test_periods_are_cut_where_the_price_changes_and_nowhere_else(golden):
    """CDR-8, TAR-33."""
    periods = price_case(golden["case"])["charging_periods"]

    assert [p["start_date_time"] for p in periods] == golden["period_starts"], golden["why"]


@pytest.mark.parametrize(
    "golden",
    [c for c in CASES if "charging_periods" not in c["case"]["session"]],
    ids=lambda golden: golden["name"],
)
def test_the_periods_cost_what_the_record_they_were_cut_from_costs(golden):
    whole = price_case(golden["case"])
    session = golden["case"]["session"]
    listed = {
        "start_date_time": session["start_date_time"],
        "end_date_time": session["end_date_time"],
        "charging_periods": whole["charging_periods"],
    }

    again = price_case({**golden["case"], "session": listed})

    for side in ("excl_vat", "incl_vat"):
        one, other = (x["total_cost_unrounded"][side] for x in (whole, again))
        assert one == other or abs(Fraction(one) - Fraction(other)) <= Fraction(1, 10**6)


def part_of(expected, answer):
    """The answer, reduced to what the case names."""
    if isinstance(expected, dict) and isinstance(answer, dict):
        return {key: part_of(value, answer.get(key)) for key, value in expected.items()}
    if isinstance(expected, list) and isinstance(answer, list) and len(expected) == len(answer):
        return [part_of(e, a) for e, a in zip(expected, answer, strict=True)]
    return answer
