"""What commands print, and with which code they exit."""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from cpo import errors

FAILED = 1
USAGE = 2
NOT_FOUND = 3
REFUSED = 4

_CODES: dict[type[errors.CpoError], int] = {
    errors.Invalid: USAGE,
    errors.Misconfigured: USAGE,
    errors.NotFound: NOT_FOUND,
    errors.Refused: REFUSED,
    errors.Conflict: REFUSED,
}


def exit_code(error: errors.CpoError) -> int:
    """Return the exit code that stands for an error."""
    return next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), FAILED)


def styled(text: str, **style: Any) -> str:
    """Return text in a style where somebody sees it: on a terminal without NO_COLOR."""
    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return text
    return click.style(text, **style)


def print_object(value: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one object: a line of JSON, or indented for people."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=None if as_json else 2))


def print_list(
    items: Iterable[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool
) -> None:
    """Print a list: NDJSON, or a table with the given columns (dotted paths)."""
    if as_json:
        for item in items:
            click.echo(json.dumps(item, ensure_ascii=False))
        return
    rows = [[_cell(item, column) for column in columns] for item in items]
    print_table([column.rsplit(".", 1)[-1] for column in columns], rows)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their header, in columns."""
    widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]
    for number, line in enumerate((header, *rows)):
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        text = "  ".join(cells).rstrip()
        click.echo(styled(text, bold=True) if number == 0 else text)


def _cell(item: Mapping[str, Any], column: str) -> str:
    value: Any = item
    for name in column.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(str(entry) for entry in value)
    # What a station or partner sent must not steer the terminal (S10).
    return "".join(char if char.isprintable() else "�" for char in str(value))
