from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from cpo.domain.pricing import Breakdown, Price, Tax
from cpo.domain.statement import month_bounds, statement, statement_csv
from cpo.errors import Invalid

AT = datetime(2026, 1, 10, tzinfo=UTC)


def cdr(id_, *, net="10.00", taxes=(("21", "2.10"),), currency="EUR", **more):
    gross = Decimal(net) + sum(Decimal(amount) for _, amount in taxes)
    price = Price(
        excl_vat=Decimal(net),
        incl_vat=gross if taxes else None,
        taxes=tuple(Tax(rate=Decimal(r), amount=Decimal(a)) for r, a in taxes),
    )
    return SimpleNamespace(
        **{
            "id": id_,
            "session_id": f"S-{id_}",
            "start_date_time": AT,
            "end_date_time": AT,
            "last_updated": AT,
            "snapshot": SimpleNamespace(location=SimpleNamespace(id="L1"), evse_uid="E1"),
            "token": SimpleNamespace(contract_id="NL-MSP-1", uid="TAG"),
            "energy_wh": Decimal(12500),
            "currency": currency,
            "cost": Breakdown(total=price),
            "credit": False,
            "credit_reference_id": None,
            "hold": (),
            **more,
        }
    )


def month_of(*cdrs, confirmed=None):
    return statement(
        cdrs, partner_id="P1", month="2026-01", time_zone="UTC", confirmed=confirmed or {}
    )


def test_sums_are_per_currency_and_tax_rate():
    found = month_of(
        cdr("A"),
        cdr("B", net="5.00", taxes=(("9", "0.45"), ("21", "0.21"))),
        cdr("C", net="7.00", taxes=(), currency="SEK"),
    )

    euro, krona = found.sums
    assert (euro.currency, euro.cdrs, euro.kwh) == ("EUR", 2, 25)
    assert (euro.excl_vat, euro.incl_vat) == (15, Decimal("17.76"))
    assert [(t.rate, t.amount) for t in euro.taxes] == [(9, Decimal("0.45")), (21, Decimal("2.31"))]
    assert (krona.excl_vat, krona.incl_vat, krona.taxes) == (7, 7, ())


def test_a_credit_takes_away_what_it_credits():
    found = month_of(cdr("A"), cdr("A-C", credit=True, credit_reference_id="A"))

    (total,) = found.sums
    assert (total.cdrs, total.credits, total.kwh, total.excl_vat, total.incl_vat) == (1, 1, 0, 0, 0)
    assert [line.excl_vat for line in found.lines] == [10, -10]


def test_what_the_partner_has_not_confirmed_is_named():
    found = month_of(cdr("A"), cdr("B"), confirmed={"A": AT})

    assert found.unconfirmed == ("B",)


def test_what_is_held_is_in_no_sum():
    found = month_of(cdr("A", hold=("estimated",)))

    assert (found.held, found.lines, found.sums) == (("A",), (), ())


def test_the_csv_has_a_column_for_each_tax_rate_and_exact_numbers():
    found = month_of(cdr("A"), cdr("B", net="5.00", taxes=(("9", "0.45"),)))

    head, first, second = statement_csv(found).splitlines()
    assert "tax_9_percent,tax_21_percent" in head
    assert ",12.5,EUR,10.00,12.10,,2.10,false,," in first
    assert ",5.00,5.45,0.45,,false,," in second


def test_a_text_that_a_spreadsheet_would_compute_is_quoted():
    """SEC-12: no text is a formula."""
    found = month_of(cdr("A", token=SimpleNamespace(contract_id="=1+1", uid="TAG")))

    assert ",'=1+1," in statement_csv(found)


def test_a_month_begins_at_local_midnight():
    first, following = month_bounds("2025-12", ZoneInfo("Europe/Amsterdam"))

    assert first == datetime(2025, 11, 30, 23, tzinfo=UTC)
    assert following == datetime(2025, 12, 31, 23, tzinfo=UTC)


@pytest.mark.parametrize("month", ["", "2026", "2026-13", "26-01-01", "9999-12"])
def test_what_is_no_month_is_refused(month):
    with pytest.raises(Invalid):
        month_bounds(month, UTC)
