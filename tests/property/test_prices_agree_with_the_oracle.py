"""The product and a brute-force calculation agree on random tariffs and sessions.

``CPO_PRICE_CASES=10000`` runs as many; the default keeps the suite fast.
"""

import os
import random
from fractions import Fraction

import pytest

from cpo.errors import Invalid
from cpo.services.try_out import read_case
from tests.support import price_oracle, price_samples

CASES = int(os.environ.get("CPO_PRICE_CASES", "100"))
BATCH = 50


@pytest.mark.timeout(0)
@pytest.mark.parametrize("batch", range((CASES + BATCH - 1) // BATCH))
def test_a_price_is_that_of_the_second_by_second_calculation(batch):
    """TAR-20 to TAR-23, TAR-25 to TAR-41."""
    rng = random.Random(f"prices {batch}")
    priced = 0
    while priced < BATCH:
        case = price_samples.case(rng)
        try:
            read = read_case(case)
        except Invalid as refused:
            # Chance makes some limits contradict each other; nothing else may be refused.
            if not refused.field.endswith((".min_price", ".end_date")):
                raise
            continue
        priced += 1
        cost = read.cost
        net, gross, limit, bill = price_oracle.price(case, case["tariffs"][0])

        assert cost.total.net == net, case
        if bill.quantities:
            assert cost.total.gross == gross, case
            assert cost.price_limit == limit, case
        lines = {
            (
                line.dimension.value,
                line.reservation,
                Fraction(line.unit_price),
                None if line.vat is None else Fraction(line.vat),
            ): (line.quantity, line.step_surplus)
            for line in cost.lines
        }
        expected = {}
        for key, quantity in bill.quantities.items():
            per = 1000 if key[0] == "ENERGY" else 1
            if case["tariffs"][0].get("tax_included") == "N/A":
                key = (*key[:3], None)  # noqa: PLW2901
            have = expected.get(key, (0, 0))
            expected[key] = (
                have[0] + quantity / per,
                have[1] + bill.surplus.get(key, Fraction(0)) / per,
            )
        if case["tariffs"][0].get("tax_included") == "N/A":
            assert set(lines) == set(expected)
        else:
            assert lines == expected, case
