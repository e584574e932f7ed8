"""The quick check never accepts what the models would refuse."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from ocpi_charges import STAMP, cdr, location, session, tariff, token

from cpo.ocpi import exact_json
from cpo.ocpi.dialect import Stamps
from cpo.ocpi.dialects import DIALECTS
from cpo.ocpi.fields import Wire
from cpo.ocpi.quick_check import passes
from cpo.ocpi.v211 import wire as v211
from cpo.ocpi.v221 import wire as v221
from cpo.ocpi.v230 import wire as v230

TABLES = {
    version: json.loads(
        (Path(__file__).parents[2] / f"fixtures/ocpi-field-tables/{version}.json").read_text()
    )
    for version in ("2.1.1", "2.2.1", "2.3.0")
}
MODULES = {"2.1.1": v211, "2.2.1": v221, "2.3.0": v230}
RENDERED = [
    pytest.param(getattr(MODULES[version], name), render(dialect.codec), id=f"{version} {name}")
    for version, dialect in DIALECTS.items()
    for name, render in {
        "Location": lambda codec: codec.location(
            location(), statuses={}, stamps=Stamps(location=STAMP)
        ),
        "Session": lambda codec: codec.session(session()),
        "Cdr": lambda codec: codec.cdr(cdr()),
        "Tariff": lambda codec: codec.tariff(tariff()),
        "Token": lambda codec: codec.token(token()),
    }.items()
]
WRONG: list[Any] = [
    None,
    True,
    7,
    -1,
    Decimal("0.5"),
    Decimal("0.12345"),
    "",
    "x",
    "x" * 6000,
    "a\nb",
    "\x7f",
    "Ünïcode",
    "2026-02-30T00:00:00Z",
    "2026-06-01T12:00:00+00:00",
    "0000-01-01T00:00:00Z",
    "ftp://a.example",
    "https://a b",
    "91.000000",
    "24:01",
    [],
    [1],
    ["x"],
    {},
    {"x": 1},
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of everything inside a document."""
    found = []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        found.append((*path, key))
        if isinstance(item, (dict, list)):
            found += places(item, (*path, key))
    return found


def with_change(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy of a document with one thing changed, or taken away by `...`."""
    changed = exact_json.decode(exact_json.encode(document))
    target = changed
    for key in path[:-1]:
        target = target[key]
    if value is ...:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return changed


@pytest.mark.parametrize(("model", "rendered"), RENDERED)
def test_what_is_right_passes_quickly(model: type[Wire], rendered: Any) -> None:
    assert passes(model, rendered.text)


@pytest.mark.parametrize(("model", "rendered"), RENDERED)
def test_nothing_passes_that_the_model_refuses(model: type[Wire], rendered: Any) -> None:
    """Promise 7"""
    document = exact_json.decode(rendered.text)
    for path in places(document):
        for value in [..., *WRONG]:
            wrong = with_change(document, path, value)
            if passes(model, exact_json.encode_document(wrong)):
                assert model.problems(wrong) == (), (path, value)


@pytest.mark.parametrize(("model", "rendered"), RENDERED)
def test_a_field_too_many_does_not_pass(model: type[Wire], rendered: Any) -> None:
    document = exact_json.decode(rendered.text) | {"colour": "red"}

    assert not passes(model, exact_json.encode_document(document))


@pytest.mark.parametrize(
    ("at", "quick"),
    [
        ("2026-06-30T23:59:59Z", True),
        ("2026-12-31T00:00:00.123Z", True),
        ("2026-06-31T00:00:00Z", False),
        ("2028-02-29T00:00:00Z", False),  # the model's business
        ("2026-06-30T24:00:00Z", False),
    ],
)
def test_the_calendar_is_known(at: str, quick: bool) -> None:
    text = exact_json.encode_document({"period_begin": at, "period_end": at})

    assert passes(v221.ExceptionalPeriod, text) is quick


def test_rules_about_fields_together_hold() -> None:
    """LOC-45, CDR-6"""
    assert not passes(v221.Hours, b'{"twentyfourseven":false}')
    document = exact_json.decode(DIALECTS["2.2.1"].codec.cdr(cdr()).text)

    negative = document | {"total_cost": {"excl_vat": -1}}
    assert not passes(v221.Cdr, exact_json.encode_document(negative))
    credit = negative | {"credit": True, "credit_reference_id": "CDR-1"}
    assert passes(v221.Cdr, exact_json.encode_document(credit))


def test_a_patch_may_lack_what_it_does_not_change() -> None:
    """OWN-2"""
    text = b'{"status":"CHARGING","last_updated":"2026-06-01T12:00:00Z"}'

    assert passes(v221.Evse, text, partial=True)
    assert not passes(v221.Evse, text)
    assert not passes(v221.Evse, text.replace(b"CHARGING", b"BUSY"), partial=True)


def test_a_rule_that_cannot_be_carried_over_is_left_to_the_model() -> None:
    assert not passes(v221.StartSession, b"{}")
