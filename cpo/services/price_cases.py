"""`cpo price`: price the cases in files, one line of JSON each."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from cpo.errors import Invalid
from cpo.services.try_out import price_case

BROKEN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What to print and how to exit: 0, or 2 when a case was broken."""

    exit_code: int
    lines: tuple[str, ...]
    errors: tuple[str, ...]


def run(paths: Sequence[str]) -> Outcome:
    """Price every file in order; a broken one is named with the field and skipped."""
    lines, errors = [], []
    for path in paths:
        try:
            lines.append(dump(price_case(_read(path))))
        except Invalid as e:
            errors.append(f"{path}: {e}")
    return Outcome(
        exit_code=BROKEN if errors or not paths else 0, lines=tuple(lines), errors=tuple(errors)
    )


def dump(answer: dict[str, Any]) -> str:
    """Write an answer as one line of JSON with exact numbers."""
    return msgspec.json.Encoder(decimal_format="number").encode(answer).decode()


def _read(path: str) -> Any:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise Invalid("", f"cannot be read: {e}") from None
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, RecursionError) as e:
        raise Invalid("", f"is not JSON: {e}") from None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a number")


def main(arguments: Sequence[str]) -> int:
    """Price the named files onto standard output."""
    outcome = run(arguments)
    for line in outcome.lines:
        sys.stdout.write(line + "\n")
    for error in outcome.errors:
        sys.stderr.write(error + "\n")
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
