"""The requests of ours in every version, made from the schemas themselves."""

import json
from importlib import resources

from cpo.ocpp import validation
from cpo.ocpp.adapter import DIALECTS

FOLDERS = {"1.6": "v16", "2.0.1": "v201", "2.1": "v21"}
COUNTS = {"1.6": 26, "2.0.1": 40, "2.1": 55}
# The web payment of 2.1 is begun by the backend; stations that tell it are understood as well.
BOTH_WAYS = {"DataTransfer", "NotifyWebPaymentStarted"}


def outgoing(version):
    names = validation.actions(version) - set(DIALECTS[version].handlers) - validation.SENDS
    return sorted(names | (BOTH_WAYS & validation.actions(version)))


def schema(version, action, *, response):
    folder = resources.files("ocpp").joinpath(FOLDERS[version], "schemas")
    for suffix in ("Response",) if response else ("Request", ""):
        entry = folder.joinpath(f"{action}{suffix}.json")
        if entry.is_file():
            return json.loads(entry.read_text("utf-8-sig"))
    raise AssertionError(action)


def least(part, whole):
    """Return the smallest value that a schema allows."""
    if "$ref" in part:
        return least(whole["definitions"][part["$ref"].rsplit("/", 1)[1]], whole)
    if "enum" in part:
        return part["enum"][0]
    kind = part.get("type")
    if kind == "object" or "properties" in part:
        return {name: least(part["properties"][name], whole) for name in part.get("required", ())}
    if kind == "array":
        return [least(part["items"], whole) for _ in range(part.get("minItems", 0))]
    if kind in ("integer", "number"):
        return int(part.get("minimum", 1)) or 1
    if kind == "boolean":
        return True
    form = part.get("format")
    if form == "date-time":
        return "2026-01-01T00:00:00Z"
    return "http://h/p" if form == "uri" else "x"
