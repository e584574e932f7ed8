"""A tariff is shown as it was entered."""

import pytest

from cpo.domain.tariff import parse_tariff
from cpo.domain.tariff_document import tariff_document

FULL = {
    "country_code": "NL",
    "party_id": "CPO",
    "id": "T1",
    "currency": "EUR",
    "type": "REGULAR",
    "tariff_alt_text": [{"language": "en", "text": "cheap at night"}],
    "tariff_alt_url": "https://example.com/t1",
    "min_price": {"excl_vat": "1.00", "incl_vat": "1.21"},
    "max_price": {"excl_vat": "50"},
    "elements": [
        {
            "price_components": [
                {"type": "ENERGY", "price": "0.45", "vat": "21", "step_size": 1000},
                {"type": "TIME", "price": "2", "step_size": 60},
            ],
            "restrictions": {
                "start_time": "22:00",
                "end_time": "06:00",
                "start_date": "2026-01-01",
                "end_date": "2027-01-01",
                "day_of_week": ["MONDAY", "SUNDAY"],
                "min_kwh": "1.5",
                "max_duration": 3600,
                "reservation": None,
            },
        },
        {"price_components": [{"type": "FLAT", "price": "0.5", "step_size": 1}]},
    ],
    "start_date_time": "2026-01-01T00:00:00Z",
    "end_date_time": "2027-01-01T00:00:00Z",
    "last_updated": "2026-01-01T00:00:00Z",
}
NEW = {
    "id": "T2",
    "currency": "EUR",
    "tax_included": "NO",
    "min_price": {"before_taxes": "1.00"},
    "elements": [{"price_components": [{"type": "ENERGY", "price": "0.45", "step_size": 1}]}],
}


@pytest.mark.parametrize("body", [FULL, NEW], ids=["2.2.1", "2.3.0"])
def test_a_written_tariff_reads_back_unchanged(body):
    tariff = parse_tariff(body)

    assert parse_tariff(tariff_document(tariff)) == tariff


def test_the_spelling_follows_the_version():
    assert "excl_vat" in tariff_document(parse_tariff(FULL))["min_price"]
    assert "before_taxes" in tariff_document(parse_tariff(NEW))["min_price"]
    assert "tax_included" not in tariff_document(parse_tariff(FULL))
