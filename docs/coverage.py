"""Writes `docs/coverage.md`: which tests stand for which requirement.

A requirement's id counts where it stands in a test's name (`test_tx16_02_…`), docstring or
parameters; "ST-01 to ST-05" and "Q1 to Q4" name all between. `docs/requirements-ids.txt` lists the
ids (book, id, level), `docs/coverage-notes.txt` says why one is not done (id, reason).
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BOOKS = {
    "OCPI": "OCPI: M must, S should, R our own rule",
    "OCPP": "OCPP: conformance and security cases",
    "quirks": "Quirks of real chargers",
    "security": "Security requirements",
    "invariants": "Invariants that hold after every crash",
}
ID = re.compile(r"\b([A-Z]{1,6}\d{0,2})-(\d+)(?:\s*(?:to|\u2013|\.\.)\s*\1?-?(\d+))?\b")
# Not with a zero before it: S01 is a use case of OCPP 2.1, and no threat.
SHORT = re.compile(r"\b([SIQ])([1-9]\d?)(?:\s*(?:to|-|\u2013)\s*\1([1-9]\d?))?\b")


def requirements() -> list[tuple[str, str, str]]:
    """Return (book, id, level) of every requirement."""
    lines = (ROOT / "docs" / "requirements-ids.txt").read_text(encoding="utf-8").splitlines()
    return [(book, id_, level) for book, id_, level in (line.split() for line in lines)]


def notes() -> Mapping[str, str]:
    """Return why a requirement is not done, by id."""
    lines = (ROOT / "docs" / "coverage-notes.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition(" ") for line in lines if line.strip())
    return {id_: reason for id_, _, reason in pairs}


def ids_in(text: str) -> Iterator[str]:
    """Yield the ids that a text names, ranges ("ST-01 to ST-05") one by one."""
    for prefix, first, last in ID.findall(text):
        yield f"{prefix}-{first}"
        for number in range(int(first) + 1, int(last or first) + 1):
            yield f"{prefix}-{number:0{len(first)}}"
    for letter, first, last in SHORT.findall(text):
        for number in range(int(first), int(last or first) + 1):
            yield f"{letter}{number}"


def ids_of_name(name: str, known: Mapping[str, str]) -> Iterator[str]:
    """Yield the ids in a test's name: `test_tx16_04_q22_…`, `test_rp11_rp12_…`."""
    words = name.lower().split("_")
    for first, second in zip(words, [*words[1:], ""], strict=True):
        for word in (first, first + second):
            if word in known:
                yield known[word]


def tests() -> Iterator[tuple[str, str]]:
    """Yield (id, test) for every id that a test names."""
    known = {id_.lower().replace("-", ""): id_ for _, id_, _ in requirements()}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        where = path.relative_to(ROOT / "tests").as_posix()
        constants = dict(_constants(module))
        for node in ast.walk(module):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if not node.name.startswith("test_"):
                continue
            text = f"{ast.get_docstring(node) or ''} {_parameters(node, constants)}"
            for id_ in {*ids_in(text), *ids_of_name(node.name, known)}:
                yield id_, f"{where}::{node.name}"


def _constants(module: ast.Module) -> Iterator[tuple[str, str]]:
    for node in module.body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, ast.unparse(node.value)


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef, constants: Mapping[str, str]) -> str:
    """Return the source of a test's decorators and of the lists that they name."""
    names = {
        inner.id
        for decorator in node.decorator_list
        for inner in ast.walk(decorator)
        if isinstance(inner, ast.Name)
    }
    written = [ast.unparse(decorator) for decorator in node.decorator_list]
    return " ".join([*written, *(constants.get(name, "") for name in names)])


def page() -> str:
    """Return the page."""
    found: dict[str, set[str]] = defaultdict(set)
    for id_, test in tests():
        found[id_].add(test)
    explained = notes()
    listed = requirements()
    lines = [
        "# Coverage of the requirements",
        "",
        "Made by `python docs/coverage.py` from the tests. A requirement counts as covered when a",
        "test names its id; whether that test shows all of it is for the reader to judge.",
        "",
        "| book | requirements | with a test | explained |",
        "|---|---|---|---|",
    ]
    for book in BOOKS:
        ids = [id_ for b, id_, _ in listed if b == book]
        covered = sum(id_ in found for id_ in ids)
        told = sum(id_ in explained and id_ not in found for id_ in ids)
        lines.append(f"| {book} | {len(ids)} | {covered} | {told} |")
    for book, title in BOOKS.items():
        lines += ["", f"## {title}", "", "| id | level | tests |", "|---|---|---|"]
        for b, id_, level in listed:
            if b == book:
                lines.append(f"| {id_} | {level} | {_shown(found.get(id_), explained.get(id_))} |")
    return "\n".join(lines) + "\n"


def _shown(tests_: set[str] | None, reason: str | None) -> str:
    if not tests_:
        return reason or "none"
    first, *others = sorted(tests_)
    text = f"`{first}`"
    return f"{text} and {len(others)} more" if others else text


if __name__ == "__main__":
    (ROOT / "docs" / "coverage.md").write_text(page(), encoding="utf-8")
    print("docs/coverage.md")
