from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpo.domain.money import CURRENCIES, plain, round_half_up, share_out


@pytest.mark.parametrize(
    ("amount", "places", "expected"),
    [
        (Fraction(1, 8), 2, "0.13"),
        (Fraction(-1, 8), 2, "-0.13"),
        (Fraction(1, 3), 4, "0.3333"),
        (Fraction(2, 3), 0, "1"),
        (5, 2, "5.00"),
        (Fraction(1, 2), 0, "1"),
        (10**20, 2, "100000000000000000000.00"),
    ],
)
def test_half_goes_away_from_zero(amount, places, expected):
    """TAR-41."""
    assert str(round_half_up(amount, places)) == expected


def test_an_amount_may_be_counted_in_parts():
    assert round_half_up(25, 2, 200) == Decimal("0.13")


@pytest.mark.parametrize(
    ("value", "text"),
    [("1.500", "1.5"), ("10", "10"), ("1E+3", "1000"), ("-0.0", "0"), ("0.000001", "0.000001")],
)
def test_a_number_is_written_without_exponent_and_trailing_zeros(value, text):
    assert plain(Decimal(value)) == text


@given(
    st.lists(st.fractions(0, 1000, max_denominator=10**6), min_size=1, max_size=6),
    st.integers(0, 6),
)
def test_shares_add_up_to_the_rounded_whole_and_are_off_by_less_than_a_unit(parts, places):
    total = round_half_up(sum(parts), places)

    shares = share_out(total, parts, places)

    assert sum(shares) == total
    for share, part in zip(shares, parts, strict=True):
        assert abs(Fraction(share) - part) <= Fraction(1, 10**places)


def test_a_total_that_a_limit_changed_leaves_the_parts_as_they_are():
    assert share_out(Decimal(5), [Fraction(10), Fraction(20)], 2) == [10, 20]


def test_currencies_know_their_decimals():
    assert (CURRENCIES["EUR"], CURRENCIES["JPY"], CURRENCIES["KWD"], CURRENCIES["CLF"]) == (
        2,
        0,
        3,
        4,
    )
    assert "XXX" not in CURRENCIES
