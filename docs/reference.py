"""Writes what is generated: `config.toml` and the pages of `docs/reference/`.

`python docs/reference.py` writes them, `tests/test_docs.py` compares them.
"""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from cpo.cli import main
from cpo.config import Key, catalogue
from cpo.domain.policy import RULES
from cpo.domain.quirks import Quirks
from cpo.telemetry import MAX_SERIES, Metrics
from cpo.web.routes import Route
from cpo.web.server import ROUTES

ROOT = Path(__file__).resolve().parent.parent
SEPARATE = "# " + "-" * 78


def toml_value(value: Any) -> str:
    """Return a value as TOML writes it; JSON is the same for what settings hold."""
    return json.dumps(value)


def explained(key: Key) -> str:
    """Return a setting's meaning with its unit and choices."""
    text = key.meaning[:1].upper() + key.meaning[1:] + "."
    if key.choices and key.choices != (True, False):
        text += " One of " + ", ".join(f"`{choice}`" for choice in key.choices) + "."
    if key.unit:
        text += f" Unit: {key.unit}."
    return text


def comment(text: str) -> Iterator[str]:
    """Yield lines of a comment, at most 98 columns."""
    line = "#"
    for word in text.replace("`", "").split():
        if len(line) + len(word) > 97:
            yield line
            line = "#"
        line += f" {word}"
    yield line


def config_toml() -> str:
    """Return `config.toml`: every key with default, unit and comment."""
    lines = [
        *comment(
            "Every setting of cpo with its default. All are optional; a line that is commented "
            "out shows a setting without default. An environment variable wins over this file "
            "(CPO_OCPP__PORT=9001; CPO_DATABASE__URL_FILE=/run/secrets/url reads the value from "
            "a file), and the command line (cpo serve --set ocpp.port=9001) wins over both. "
            "Made by docs/reference.py."
        )
    ]
    section = None
    for key in catalogue():
        parent, _, name = key.path.rpartition(".")
        absent = parent in ("operator.api_keys[]", "ocpp.quirk_profiles[]")
        if key.section is not section:
            section = key.section
            header = f"[[{parent[:-2]}]]" if parent.endswith("[]") else f"[{parent}]"
            lines += ["", SEPARATE, *comment(section.__doc__ or "")]
            lines.append(("# " if absent else "") + header.replace("[].", "."))
        value = '"…"' if key.default is None else toml_value(key.default)
        lines += ["", *comment(explained(key))]
        lines.append(("# " if absent or key.default is None else "") + f"{name} = {value}")
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """Return the reference page of the settings."""
    lines = [
        "# Settings",
        "",
        "A TOML file (`--config`, else `CPO_CONFIG`, else `config.toml` in the working directory)",
        "< the environment < the command line. `cpo check-config` shows what holds, and where",
        "each value came from. An unknown key is an error that names the nearest known one.",
        "",
        "- In the environment a key is `CPO_` and its path in capitals with `__` for each dot:",
        "  `ocpi.push.timeout` is `CPO_OCPI__PUSH__TIMEOUT`. Arrays are JSON:",
        '  `CPO_OPERATOR__API_KEYS=[{"name": "ops", "key": "…", "scopes": ["admin"]}]`.',
        "- `…_FILE` names a file that holds the value: `CPO_DATABASE__URL_FILE=/run/secrets/url`.",
        "- On the command line: `cpo serve --set ocpi.push.timeout=5`.",
        "- Every duration is a number of seconds and may be as small as 0.05. Port 0 picks a free",
        "  one. A rate of 0 means no limit.",
    ]
    section = None
    for key in catalogue():
        if key.section is not section:
            section = key.section
            title = key.path.rpartition(".")[0]
            lines += ["", f"## `{title}`", "", section.__doc__ or "", ""]
            lines += ["| key | default | meaning |", "|---|---|---|"]
        default = "unset" if key.default is None else f"`{toml_value(key.default)}`"
        lines.append(f"| `{key.path}` | {default} | {explained(key)} |")
    return "\n".join(lines) + "\n"


def metrics_page() -> str:
    """Return the reference page of the metrics."""
    lines = [
        "# Metrics",
        "",
        "Prometheus text at `/metrics` of the operator's port. Times are in seconds, energy in Wh.",
        "No label holds a station, a transaction or a token; a family never has more than",
        f"{MAX_SERIES} series, what goes beyond is counted as `other`.",
        "",
        "| metric | kind | labels | meaning |",
        "|---|---|---|---|",
    ]
    for family in Metrics().catalogue():
        labels = ", ".join(f"`{label}`" for label in family.labels) or "none"
        lines.append(f"| `{family.name}` | {family.kind} | {labels} | {family.meaning} |")
    return "\n".join(lines) + "\n"


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its full name."""
    for name in group.list_commands(click.Context(group)):
        command = group.commands[name]
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def cli_page() -> str:
    """Return the reference page of the commands."""
    lines = [
        "# Commands",
        "",
        "Every command takes `--json`: one object, or one object a line for lists. Exit codes:",
        "0 ok, 1 failed, 2 usage, 3 not found, 4 refused. `NO_COLOR` is honoured. Completion:",
        '`eval "$(_CPO_COMPLETE=bash_source cpo)"` (also `zsh_source`, `fish_source`).',
        "",
        "The nouns talk to the operator API at `--url` (else `CPO_URL`, else the settings), with",
        "the key in `--key-file` (else `CPO_KEY`, `CPO_KEY_FILE`, else the settings).",
    ]
    for name, command in commands(main, "cpo"):
        context = click.Context(command, info_name=name, terminal_width=90)
        lines += ["", f"## `{name}`", "", "```", command.get_help(context), "```"]
    return "\n".join(lines) + "\n"


def api_page() -> str:
    """Return the reference page of the operator API."""
    lines = [
        "# Operator API",
        "",
        "Below `/api/v1` on the operator's port; the same as OpenAPI 3.1 at",
        "`/api/v1/openapi.json`. Send `Authorization: Bearer KEY`. A key has scopes: `read`,",
        "`operate` (reads and sends commands) or `admin` (everything).",
        "",
        "Errors are `application/problem+json`; `field` names what is wrong in a body (422). Lists",
        'are `{"items": […], "next_cursor": …}`, paged with `limit` and `cursor`. Commands take an',
        "`Idempotency-Key`. Every change writes an audit row.",
        "",
        "Without a key: `/health/live`, `/health/ready`, `/health/startup`, `/metrics`.",
    ]
    tag = None
    for route in ROUTES:
        if route.tag != tag:
            tag = route.tag
            lines += ["", f"## {tag.capitalize()}", "", "| call | scope | |", "|---|---|---|"]
        lines.append(f"| `{route.method} {route.path}` | {route.scope} | {told(route)} |")
    return "\n".join(lines) + "\n"


def told(route: Route) -> str:
    """Return what a route does, with the fields of its body."""
    text = route.summary + "."
    if isinstance(route.body, type):
        fields = [
            f"`{name}`" + ("" if info.is_required() else "?")
            for name, info in route.body.model_fields.items()
        ]
        text += f" Body: {', '.join(fields)}."
    elif route.body is not None:
        text += f" Body: {route.body['description']}."
    return text.replace("|", "\\|")


def partners_page() -> str:
    """Return the reference page of what can be set for a partner."""
    lines = [
        "# What can be set for a partner",
        "",
        "With `PATCH /api/v1/partners/{id}` (or at once with an invitation or a connection):",
        "`quirks` are its habits, where they differ from the OCPI version it speaks (`POST",
        "/api/v1/partners/{id}/probe` measures most of them); `policy` is what its contract says.",
        "",
        "## `policy`",
        "",
        "| name | value | meaning |",
        "|---|---|---|",
    ]
    for name, (meaning, form, _) in RULES.items():
        lines.append(f"| `{name}` | {form} | {meaning} |")
    lines += ["", "## `quirks`", "", "| name | default | meaning |", "|---|---|---|"]
    source = Path(inspect.getfile(Quirks)).read_text(encoding="utf-8")
    for one in fields(Quirks):
        found = re.search(rf"^    {one.name}: [^#\n]*(?:# (.*))?$", source, re.MULTILINE)
        meaning = (found[1] if found else None) or one.name.replace("_", " ")
        default = "as the version" if one.default is None else f"`{toml_value(one.default)}`"
        lines.append(f"| `{one.name}` | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def pages() -> Mapping[str, str]:
    """Return every generated file: path from the root to text."""
    return {
        "config.toml": config_toml(),
        "docs/reference/settings.md": settings_page(),
        "docs/reference/metrics.md": metrics_page(),
        "docs/reference/cli.md": cli_page(),
        "docs/reference/api.md": api_page(),
        "docs/reference/partners.md": partners_page(),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")
        print(path)
