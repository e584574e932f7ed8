"""Who may import whom (pyproject.toml), and other rules of the house that a machine can check."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(
    path for package in ("cpo", "chargers_sim") for path in (ROOT / package).rglob("*.py")
)


def test_the_import_contracts_are_kept():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as m; m()",
            "--no-cache",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_domain_never_waits():
    for path in (ROOT / "cpo" / "domain").rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        assert not [n for n in nodes if isinstance(n, ast.Await | ast.AsyncFunctionDef)], path


def test_no_source_branches_on_a_version_number():
    """A dialect or an adapter object carries what differs."""
    branch = re.compile(r"""if .*\bversion\b *[!=]= *["'](1\.6|2\.)""")

    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in SOURCES
        if path.parts[-2] != "tests"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if branch.search(line) and path.is_relative_to(ROOT / "cpo")
    ]

    assert found == []


def test_nothing_is_promised_for_later():
    found = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if re.search(r"\b(TODO|FIXME)\b|NotImplementedError\(\)", path.read_text(encoding="utf-8"))
    ]

    assert found == []


def test_no_module_is_named_like_one_of_the_standard_library():
    names = {path.stem for path in SOURCES if path.is_relative_to(ROOT / "cpo")}

    assert names & (sys.stdlib_module_names - {"cli"}) == set()
