"""What counts as a difference between our object and the partner's."""

from decimal import Decimal

import pytest

from cpo.ocpi.reconciliation import differing


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"a": 1}, {"a": 1, "b": None, "c": [], "last_updated": "x"}),
        ({"a": Decimal("1.50")}, {"a": Decimal("1.5")}),
        ({"a": Decimal("1.50")}, {"a": "1.5"}),
        ({"at": "2026-01-01T00:00:00Z"}, {"at": "2026-01-01T00:00:00.000+00:00"}),
        ({"id": "NL*CPO*E1"}, {"id": "nl*cpo*e1"}),
        ({"a": [{"b": 1}], "c": {}}, {"a": [{"b": 1, "d": None}]}),
    ],
)
def test_PUSH_13_the_same_said_otherwise_is_no_difference(ours, theirs):
    assert differing(ours, theirs) == set()


@pytest.mark.parametrize(
    ("ours", "theirs", "paths"),
    [
        ({"status": "AVAILABLE"}, {"status": "CHARGING"}, {"status"}),
        ({"a": 1}, {}, {"a"}),
        ({}, {"a": "more"}, {"a"}),
        ({"a": True}, {"a": 1}, {"a"}),
        ({"a": [1, 2]}, {"a": [1]}, {"a"}),
        ({"e": [{"s": "x"}, {"s": "y"}]}, {"e": [{"s": "x"}, {"s": "z"}]}, {"e[1].s"}),
        ({"a": Decimal(1)}, {"a": "one"}, {"a"}),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, {"a.b.c"}),
    ],
)
def test_PUSH_13_a_difference_is_named_by_its_path(ours, theirs, paths):
    assert differing(ours, theirs) == paths
