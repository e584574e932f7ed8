"""The page that says what we say: no field and no habit is forgotten."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from cpo.domain.quirks import Quirks
from cpo.ocpi.fields import Wire
from cpo.ocpi.v211 import wire as v211
from cpo.ocpi.v221 import wire as v221
from cpo.ocpi.v230 import wire as v230

PAGE = (Path(__file__).parents[3] / "docs/reference/ocpi-objects.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(
    ("title", "models"),
    [
        (title, [getattr(version, name) for version in (v211, v221, v230)])
        for title, name in [
            ("Location", "Location"),
            ("EVSE", "Evse"),
            ("Connector", "Connector"),
            ("Session", "Session"),
            ("CDR", "Cdr"),
            ("Tariff", "Tariff"),
            ("Token", "Token"),
        ]
    ],
)
def test_every_field_is_explained(title: str, models: list[type[Wire]]) -> None:
    named = set(re.findall(r"`([a-z_]+)", section(title)))

    assert {field for model in models for field in model.model_fields} - named == set()


def test_every_habit_is_explained() -> None:
    table = section("Habits of a partner")
    rows = dict(re.findall(r"^\| `([a-z0-9_]+)` \| ([^|]+) \|", table, flags=re.MULTILINE))

    assert list(rows) == [one.name for one in fields(Quirks)]
    for one in fields(Quirks):
        if isinstance(one.default, bool):
            assert rows[one.name] == f"`{str(one.default).lower()}`"
