"""Files that people write: read as text, parsed as TOML, refused with file and line."""

import re
import tomllib
from pathlib import Path
from typing import Any

from chargers_sim.errors import BadInput


def read_text(path: str | Path, hint: str = "") -> str:
    """Read a file as UTF-8; `hint` is added where it cannot be opened."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as problem:
        raise BadInput(f"{path}: {problem.strerror}{hint}") from problem
    except UnicodeDecodeError as problem:
        raise BadInput(f"{path}: not UTF-8 text (byte {problem.start})") from problem


def parse_toml(text: str, path: str) -> dict[str, Any]:
    """Parse TOML; the error names the file and the line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        said = str(problem)
        found = re.search(r"\(at line (\d+), column \d+\)", said)
        line = int(found[1]) if found else max(1, len(text.splitlines()))
        reason = re.sub(r" \(at .*\)$", "", said)
        raise BadInput(f"{path}:{line}: not TOML: {reason}") from problem


def check_writable(option: str, path: Path | None) -> None:
    """Make sure that a report can be written before the work begins."""
    if path is None:
        return
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else "no such folder"
        raise BadInput(f"{option}: {path}: {what}")
