"""What a step of a scenario says in a report, in words."""

from collections.abc import Mapping
from typing import Any

LONGEST = 60


def title(kind: str, word: str, given: Mapping[str, Any]) -> str:
    """Say in one line what a step does or what it expects."""
    rest = dict(given)
    fits = _fits(rest.pop("match", None))
    if kind == "expect":
        return _expectation(word, rest) + fits
    action, shown = rest.get("action"), rest.get("fault")
    match word:
        case "server-start":
            return f"the server starts a charge for {rest.get('tag')}"
        case "server-stop":
            return "the server stops the charge"
        case "server-call":
            return f"the server sends {action}{_answered(fits)}"
        case "emsp-command":
            return f"the eMSP sends {rest.get('command')}{_answered(fits)}"
        case "emsp-fault":
            return f"the eMSP is made to fail: {_short(shown)}"
        case "operator":
            return f"the operator: {rest.get('method', 'POST')} {rest.get('path')}{fits}"
        case "note":
            return str(rest.get("text"))
    facts = " ".join(f"{name}={_short(value)}" for name, value in rest.items())
    return f"{word} {facts}".strip()


def _expectation(word: str, given: Mapping[str, Any]) -> str:
    action, count = given.get("action"), given.get("count")
    comes_in = given.get("direction") == "in"
    who = "the server" if comes_in else "the station"
    times = "" if count is None else f" {count} times" if count != 1 else " once"
    match word:
        case "event":
            return f"{given.get('event')} happens"
        case "frame":
            return f"{who} sends {action}{times}"
        case "no-frame":
            return f"{who} sends no {action}"
        case "answer":
            return f"{action} is answered"
        case "status":
            return f"connector {given.get('connector', 1)} is {given.get('status')}"
        case "meter":
            return f"the meter shows {given.get('wh')} Wh"
        case "all-answered":
            return "everything that was sent is answered"
        case "waiting":
            return f"{count} messages wait for the line"
        case "emsp":
            return f"the eMSP holds {1 if count is None else count} new {given.get('holds')}"
        case _:
            return f"GET {given.get('path')}"


def _fits(match: Any) -> str:
    if not isinstance(match, dict) or not match:
        return ""
    return ", " + ", ".join(f"{path} {_wanted(value)}" for path, value in match.items())


def _answered(fits: str) -> str:
    return fits and f" and gets{fits.removeprefix(',')}"


def _wanted(value: Any) -> str:
    if value == "*":
        return "given"
    if value == "-":
        return "absent"
    return _short(value) if str(value)[:1] in "<>!~" else f"= {_short(value)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
