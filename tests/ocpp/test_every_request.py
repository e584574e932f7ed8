"""Every request of every version leaves over a real socket, and its answer comes back.

Requests and answers are the least that the schemas ask for, made from the schemas themselves.
"""

import contextlib
import copy

import pytest

from cpo.errors import Invalid, StationRefused
from cpo.ocpp import validation
from cpo.ocpp.adapter import DIALECTS
from cpo.services.ports import StationDocument
from tests.support.requests import BOTH_WAYS, COUNTS, FOLDERS, least, outgoing, schema


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


GARBAGE = (5, "x", None, True, [], {}, [5], [None], ["x"], [{}], {"status": 5}, "2" * 300, -(2**63))


def most(part, whole, depth=0):
    """Return a value with all that a schema knows, some levels deep."""
    if "$ref" in part:
        return most(whole["definitions"][part["$ref"].rsplit("/", 1)[1]], whole, depth)
    if "properties" in part and depth < 5:
        names = set(part["properties"]) - {"customData"}
        return {name: most(part["properties"][name], whole, depth + 1) for name in sorted(names)}
    if part.get("type") == "array":
        count = max(2, part.get("minItems", 0))
        return [most(part["items"], whole, depth + 1) for _ in range(count)]
    return least(part, whole)


def places(value, steps=()):
    if steps:
        yield steps
    if isinstance(value, dict | list):
        for step, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(part, (*steps, step))


@pytest.mark.parametrize("version", list(FOLDERS))
def test_rp11_whatever_an_answer_holds_is_repaired_or_refused(version):
    """What is left has no value of a wrong type and no object that lacks a field."""
    count = 0
    for action in outgoing(version):
        whole = schema(version, action, response=True)
        full = most(whole, whole)
        for steps in places(full):
            for bad in GARBAGE:
                told = copy.deepcopy(full)
                part = told
                for step in steps[:-1]:
                    part = part[step]
                part[steps[-1]] = copy.deepcopy(bad)
                count += 1
                try:
                    validation.answer(version, action, told)
                except validation.Violation:
                    continue
                for error in validation._compiled(version, action, True).iter_errors(told):
                    assert error.kind.name != "type", (action, steps, bad)
                    assert error.kind.name != "required" or not error.instance_path, (action, told)
    assert count > 500


@pytest.mark.parametrize("version", list(FOLDERS))
async def test_rp11_an_answer_that_is_garbage_is_refused_and_the_next_one_taken(backend, version):
    """2.1 hears of it by CALLRESULTERROR; nobody else would know that type."""
    charger = await backend.charger(version)
    link = backend.stations.link("CP1")
    for action in outgoing(version):
        whole = schema(version, action, response=True)
        request = schema(version, action, response=False)
        payload, right = least(request, request), least(whole, whole)
        for name in whole["properties"]:
            for bad in ("x", ["x"], {"a": 1}):
                charger.answers[action] = {**right, name: bad}
                with contextlib.suppress(StationRefused):
                    await link.call(action, payload)
        charger.answers[action] = right
        assert await link.call(action, payload) == right


@pytest.mark.parametrize(("version", "told"), [("2.0.1", 0), ("2.1", 1)])
async def test_rp09_a_result_of_no_use_is_told_to_be_one(backend, version, told):
    """And stands among the deviations of its station."""
    charger = await backend.charger(version)
    link = backend.stations.link("CP1")
    asked = {"getVariableData": [{"component": {"name": "C"}, "variable": {"name": "V"}}]}
    charger.answers["GetVariables"] = {"getVariableResult": "none"}
    with pytest.raises(StationRefused, match="getVariableResult: wrong type"):
        await link.call("GetVariables", asked)
    await charger.call("Heartbeat")

    errors = [frame for frame in charger.strays if frame[0] == 5]
    assert [frame[2:] for frame in errors] == [
        ["TypeConstraintViolation", "getVariableResult: wrong type", {}]
    ] * told
    await backend.notes.deviations.flush()
    rows = [row for _, row in backend.store.log if isinstance(row, StationDocument)]
    kept = [row.document for row in rows if row.kind == "deviation"]
    assert [(d["action"], d["what"]) for d in kept] == [("GetVariables", "answer: not readable")]
