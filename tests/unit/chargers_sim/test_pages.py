"""The simulator's generated pages are current, and its commands are documented."""

import importlib.util
from pathlib import Path

import pytest

from chargers_sim.cli import COMMANDS

DOCS = Path(__file__).resolve().parents[3] / "docs" / "simulator"


def generated():
    spec = importlib.util.spec_from_file_location("simulator_pages", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pages()


@pytest.mark.parametrize("path", sorted(generated()))
def test_the_page_is_current(path):
    """`python docs/simulator/generate.py` writes it."""
    assert (DOCS.parents[1] / path).read_text() == generated()[path]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_command_is_in_the_guide(command):
    pages = (DOCS / "README.md").read_text() + (DOCS / "emsp.md").read_text()

    assert f"chargers-sim {command}" in pages
