"""What is shipped: pinned dependencies, an image that runs as nobody, a way to report weaknesses."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_every_dependency_is_pinned_with_hashes_and_no_index_is_named():
    """S32."""
    lock = read("requirements.lock")
    entries = re.findall(
        r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==(\S+)((?:.*\\\n)(?:\s+--hash=\S+.*\n?)+)",
        lock,
        re.MULTILINE,
    )

    assert len(entries) == len(re.findall(r"^[A-Za-z0-9]", lock, re.MULTILINE))
    assert "://" not in lock
    assert "--index" not in lock


def test_what_the_project_asks_for_is_what_is_locked():
    """S32."""
    locked = {
        name.lower().replace("_", "-"): version
        for name, version in re.findall(
            r"^([A-Za-z0-9_.-]+)==([^\s;]+)", read("requirements.lock"), re.MULTILINE
        )
    }
    project = tomllib.loads(read("pyproject.toml"))
    asked = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]

    for requirement in asked:
        name, version = re.match(
            r"([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([^\s;]+)", requirement
        ).groups()
        assert locked[name.lower().replace("_", "-")] == version


def test_the_image_runs_as_nobody_and_tells_its_health():
    """S33."""
    stages = re.split(r"^FROM ", read("Dockerfile"), flags=re.MULTILINE)[1:]

    assert len(stages) == 2
    final = stages[-1]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", final, re.MULTILINE)
    assert "HEALTHCHECK" in final
    assert '"cpo", "health"' in final
    assert "--require-hashes" in stages[0]


def test_the_service_unit_and_the_compose_file_give_away_no_right_that_is_not_needed():
    """S33."""
    unit, compose = read("deploy/cpo.service"), read("deploy/compose.yaml")

    for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet=\n"):
        assert line in unit
    for line in ("read_only: true", "cap_drop: [ALL]", "no-new-privileges:true"):
        assert line in compose
    assert "PASSWORD:" not in compose.replace("PASSWORD_FILE:", "")


def test_there_is_a_way_to_report_a_weakness():
    """S35."""
    policy = read("SECURITY.md")

    assert "48 hours" in policy
    assert "in private" in policy


def test_the_continuous_checks_call_what_people_call():
    script = read(".ci/run")

    for call in (
        "make install",
        "make test",
        "ruff format --check",
        "mypy",
        "lint-imports",
        "cpo demo --once --json",
    ):
        assert call in script
