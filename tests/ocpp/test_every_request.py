"""Every request of every version leaves over a real socket, and its answer comes back.

Requests and answers are the least that the schemas ask for, made from the schemas themselves.
"""

import json
from importlib import resources

import pytest

from cpo.errors import Invalid
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


@pytest.mark.parametrize("version", list(FOLDERS))
async def test_rp30_every_request_leaves_and_its_answer_comes_back(backend, version):
    charger = await backend.charger(version)
    link = backend.stations.link("CP1")
    names = outgoing(version)
    assert len(names) == COUNTS[version], names
    for action in names:
        whole = schema(version, action, response=True)
        request = schema(version, action, response=False)
        answer = charger.answers[action] = least(whole, whole)
        payload = least(request, request)
        assert await link.call(action, payload) == answer, action
        assert charger.asked[-1] == (action, payload)


@pytest.mark.parametrize("version", list(FOLDERS))
async def test_rp30_what_is_no_request_of_ours_is_not_sent(backend, version):
    """What only stations send, what no version knows, and payloads that lack a field."""
    charger = await backend.charger(version)
    link = backend.stations.link("CP1")
    before = len(charger.asked)
    for action in sorted({*DIALECTS[version].handlers, *validation.SENDS, "Nonsense"} - BOTH_WAYS):
        with pytest.raises(Invalid, match="action"):
            await link.call(action, {})
    for action in outgoing(version):
        whole = schema(version, action, response=False)
        payload = least(whole, whole)
        for field in whole.get("required", ()):
            lacking = {name: value for name, value in payload.items() if name != field}
            with pytest.raises(Invalid, match=f"{field}: required"):
                await link.call(action, lacking)
            with pytest.raises(Invalid, match=field):
                await link.call(action, {**payload, field: None})
        with pytest.raises(Invalid, match="surplus"):
            await link.call(action, {**payload, "surplus": 1})

    assert charger.asked[before:] == []
