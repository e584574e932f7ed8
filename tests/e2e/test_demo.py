"""`cpo demo --once --json`: whole charges over real sockets, seen by the partner."""

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Play it once, in an empty directory, and return what it printed."""
    here = tmp_path_factory.mktemp("demo")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CPO_")}
    done = subprocess.run(
        [sys.executable, "-m", "cpo", "demo", "--once", "--json"],
        cwd=here,
        env=environment | {"PYTHONPATH": str(ROOT), "TMPDIR": str(here)},
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout, parse_float=Decimal), here


def test_each_ocpp_version_gives_one_cdr_at_the_partner(demo):
    told, _ = demo

    assert sorted(cdr["total_energy"] for cdr in told["cdrs"]) == [
        Decimal("8.1"),
        Decimal("12.345"),
    ]


def test_the_price_is_right(demo):
    """12.345 kWh at 0.45 and a quarter of an hour parked at 6.00, 21 % VAT: 5.55525 + 1.50."""
    told, _ = demo
    costs = {cdr["total_energy"]: cdr["total_cost"] for cdr in told["cdrs"]}

    assert costs[Decimal("12.345")] == {
        "excl_vat": Decimal("7.0553"),
        "incl_vat": Decimal("8.5369"),
    }
    assert costs[Decimal("8.1")] == {"excl_vat": Decimal("3.645"), "incl_vat": Decimal("4.4105")}


def test_the_sessions_are_completed_and_belong_to_the_cdrs(demo):
    told, _ = demo

    assert {s["status"] for s in told["sessions"]} == {"COMPLETED"}
    assert {s["id"] for s in told["sessions"]} == {cdr["session_id"] for cdr in told["cdrs"]}


def test_nothing_is_left_behind(demo):
    _, here = demo

    assert list(here.iterdir()) == []
