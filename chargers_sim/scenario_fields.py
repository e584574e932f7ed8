"""What the steps of a scenario take, which of it they need, and of what kind it is."""

from collections.abc import Mapping
from typing import Any

EXPECTATIONS: dict[str, tuple[str, ...]] = {
    "event": ("event", "match", "within"),
    "frame": ("action", "direction", "count", "match", "within"),
    "no-frame": ("action", "direction", "match", "after"),
    "answer": ("action", "match", "within"),
    "status": ("status", "connector", "within"),
    "meter": ("wh", "connector"),
    "all-answered": ("within",),
    "waiting": ("count",),
    "emsp": ("holds", "count", "match", "within"),
    "operator": ("path", "match", "within"),
}
SERVER: dict[str, tuple[str, ...]] = {
    "server-start": ("tag", "connector"),
    "server-stop": (),
    "server-call": ("action", "payload", "match"),
    "emsp-command": ("command", "fields", "match"),
    "emsp-fault": ("fault",),
    "operator": ("method", "path", "body", "match"),
    "note": ("text",),
}
NEEDED = {"event", "status", "wh", "holds", "command", "fault", "path", "text"}
"""What is needed wherever it is taken; so is the action, but for the frames one looks at."""
NEEDED_BY = {
    "frame": {"action"},
    "no-frame": {"action"},
    "answer": {"action"},
    "server-call": {"action"},
    "server-start": {"tag"},
    "waiting": {"count"},
}
TEXTS = {"event", "action", "status", "holds", "command", "path", "text", "tag", "method"}
TABLES = {"match", "payload", "fields", "fault"}
NUMBERS = {"within", "after"}
WHOLE = {"connector"}
HOLDS = ("cdrs", "sessions", "locations", "tariffs", "tokens", "commands", "authorizations")


def wrong_field(
    word: str, given: Mapping[str, Any], takes: tuple[str, ...]
) -> tuple[str | None, str] | None:
    """Find the first wrong field of a step that is none of the station's: its name and why."""
    for name, value in given.items():
        if name not in takes:
            listed = ", ".join(sorted(takes)) or "nothing"
            return name, f"{word} takes no {name!r}; it takes {listed}"
        said = _problem(name, value)
        if said is not None:
            return name, f"{name}: {said}: {value!r}"
    for name in takes:
        if name not in given and (name in NEEDED or name in NEEDED_BY.get(word, ())):
            return None, f"{word} needs {name!r}"
    return None


def _problem(name: str, value: Any) -> str | None:
    if isinstance(value, str) and value.startswith("{") and value.endswith("}"):
        # A variable: what it stands for is known only when the step runs.
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if name in TEXTS and not isinstance(value, str):
        return "not a text"
    if name in TABLES and not isinstance(value, dict):
        return "not a table"
    if name in NUMBERS and not (number and value >= 0):
        return "not a number of seconds"
    if name in WHOLE and not (isinstance(value, int) and number and value >= 0):
        return "not a whole number"
    if name == "direction" and value not in {"in", "out"}:
        return "neither 'in' nor 'out'"
    if name == "holds" and value not in HOLDS:
        return f"none of {', '.join(HOLDS)}"
    if name == "count" and not (isinstance(value, (int, str)) and not isinstance(value, bool)):
        return "not a number"
    return None
