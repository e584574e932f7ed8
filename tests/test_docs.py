"""What a user sees is documented, and what is generated is current."""

import importlib.util
import re
from pathlib import Path

import click
import pytest

from cpo import __version__
from cpo.cli import main
from cpo.config import catalogue, load
from cpo.errors import CpoError
from cpo.telemetry import Metrics

ROOT = Path(__file__).resolve().parent.parent


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def generated():
    return loaded("reference").pages()


@pytest.mark.parametrize("path", sorted(generated()))
def test_generated_pages_are_current(path):
    """`python docs/reference.py` writes them."""
    assert (ROOT / path).read_text(encoding="utf-8") == generated()[path]


def test_the_shipped_settings_file_holds_the_defaults():
    assert load(ROOT / "config.toml", environ={}).settings == load(environ={}).settings


def test_the_shipped_settings_file_names_every_key():
    text = (ROOT / "config.toml").read_text(encoding="utf-8")
    named = re.findall(r"^(?:# )?([a-z0-9_]+) = ", text, flags=re.MULTILINE)

    assert named == [key.path.rpartition(".")[2] for key in catalogue()]


PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    if "node_modules" not in path.parts
)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)

    broken = [
        link for link in links if "://" not in link and not (page.parent / link).resolve().exists()
    ]

    assert broken == []


def test_the_coverage_page_names_only_tests_that_stand_for_the_requirement():
    """`python docs/coverage.py` writes it."""
    coverage = loaded("coverage")
    named = set(coverage.tests())
    page = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")

    claimed = re.findall(r"^\| (\S+) \| \S+ \| `(\S+)`", page, re.MULTILINE)

    assert len(claimed) > 400
    assert [claim for claim in claimed if claim not in named] == []


def test_every_requirement_is_on_the_coverage_page():
    coverage = loaded("coverage")
    page = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")

    missing = [
        id_ for _, id_, level in coverage.requirements() if f"| {id_} | {level} |" not in page
    ]

    assert missing == []


def test_every_setting_is_read_somewhere():
    sources = "\n".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "cpo").rglob("*.py")
        if path.name != "config.py"
    )

    unread = [
        key.path
        for key in catalogue()
        if not re.search(rf"\.{key.path.rpartition('.')[2]}\b", sources)
    ]

    assert unread == []


def test_every_metric_is_fed_somewhere():
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "cpo").rglob("*.py"))
    names = [name for name, family in vars(Metrics()).items() if hasattr(family, "described")]

    unfed = [
        name
        for name in names
        if not re.search(rf"\b{name}\.(inc|set|observe|read_from)\b", sources)
    ]

    assert unfed == []


def test_the_version_is_the_same_everywhere():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

    assert f'version = "{__version__}"' in project


def test_the_tree_of_errors_is_drawn_in_full():
    import cpo.errors

    kinds = [kind.__name__ for kind in CpoError.__subclasses__() if kind.__module__ == "cpo.errors"]

    for name in kinds:
        assert re.search(rf"── {name}\b", cpo.errors.__doc__)


def test_the_readme_names_only_commands_that_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    for noun, verb in re.findall(r"\bcpo ([a-z-]+)(?: ([a-z]+))?", text):
        command = main.commands.get(noun)
        if isinstance(command, click.Group):
            assert verb in command.commands, f"cpo {noun} {verb}"
        elif f"cpo {noun}" in re.findall(r"cpo [a-z-]+", "".join(re.findall(r"`[^`]+`", text))):
            assert command is not None, f"cpo {noun}"


def test_every_message_of_charge_points_is_documented():
    from cpo.ocpp.adapter import DIALECTS

    page = (ROOT / "docs" / "ocpp.md").read_text()
    actions = {action for dialect in DIALECTS.values() for action in dialect.handlers}

    assert {action for action in actions if action not in page} == set()
