"""Bad frames for every action that stations send, made from the schemas: at least 200 a version.

Each is (name, text, codes): `codes` are the error codes that may answer it; a result is right where
it holds "result", silence where it holds "silence".
"""

import copy
import json

from cpo.ocpp import validation
from cpo.ocpp.frames import RULES

AT = "2026-06-01T10:00:00Z"
LENIENT = {"result"}


def sample(version, action):
    """The smallest valid payload of an action."""
    schema = validation._schema(version, action, response=False)
    return _value(schema, schema)


def _value(schema, root):
    if "$ref" in schema:
        schema = root["definitions"][schema["$ref"].rsplit("/", 1)[-1]]
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        wanted = schema.get("required", ())
        return {name: _value(schema["properties"][name], root) for name in wanted}
    if kind == "array":
        return [_value(schema["items"], root)]
    if kind == "string":
        return AT if schema.get("format") == "date-time" else "x"
    if kind == "boolean":
        return True
    return 1


def leaves(value, path=()):
    """Every place in a payload, the objects and lists in it too."""
    for key, child in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key), child
        if isinstance(child, dict | list):
            yield from leaves(child, (*path, key))


def spoilt(payload, path, change):
    """The payload with one place changed; no `change` removes it."""
    payload = copy.deepcopy(payload)
    parent = payload
    for step in path[:-1]:
        parent = parent[step]
    if change is None:
        del parent[path[-1]]
    else:
        parent[path[-1]] = change()
    return payload


def bad_payloads(version, actions):
    """Spoil every place of every action's payload."""
    rules = RULES[version]
    gone = {rules.occurrence_violation}
    wrong = {"TypeConstraintViolation"}
    bounds = {"PropertyConstraintViolation"}
    for action in sorted(actions - validation.SENDS):
        payload = sample(version, action)
        for path, value in leaves(payload):
            where = f"{action}/{'/'.join(map(str, path))}"
            if isinstance(path[-1], str):
                yield f"{where} missing", action, spoilt(payload, path, None), gone | LENIENT
            yield (
                f"{where} object",
                action,
                spoilt(payload, path, lambda: {"no": 1}),
                wrong
                | (
                    # An object may stand for a list of one: what is wrong then is what is in it.
                    gone | LENIENT if isinstance(value, dict | list) else set()
                ),
            )
            yield (
                f"{where} nested list",
                action,
                spoilt(payload, path, lambda: [[]]),
                wrong | (gone | LENIENT if isinstance(value, dict | list) else set()),
            )
            yield (
                f"{where} null",
                action,
                spoilt(payload, path, lambda: None),
                (wrong | gone | LENIENT),
            )
            yield (
                f"{where} boolean",
                action,
                spoilt(payload, path, lambda: True),
                (
                    wrong
                    if isinstance(value, int) and not isinstance(value, bool)
                    else wrong | bounds | LENIENT
                ),
            )
            if isinstance(value, int):
                huge = spoilt(payload, path, lambda: 10**30)
                yield (
                    f"{where} huge",
                    action,
                    huge,
                    bounds | wrong | (LENIENT if version != "1.6" else set()),
                )
                text = spoilt(payload, path, lambda: "many")
                # A reading that nobody can read is left out, the message counts (MV-19).
                reading = "sampledValue" in path and path[-1] == "value"
                yield f"{where} text", action, text, LENIENT if reading else wrong
            if isinstance(value, str):
                long = spoilt(payload, path, lambda: "y" * 5000)
                yield f"{where} long", action, long, bounds | LENIENT


def bad_frames(version, actions):
    """All of them as texts."""
    rules = RULES[version]
    form, odd = {rules.format_violation}, {rules.not_a_message}
    silent = {"silence"}
    unreadable = odd if rules.answers_unreadable else silent
    frames = [
        ("empty", "", unreadable),
        ("garbage", "\x7fELF", unreadable),
        ("a word", "hello", unreadable),
        ("cut off", '[2,"1","Heartbeat"', unreadable | form),
        ("NaN", '[2,"1","Heartbeat",{"a":NaN}]', unreadable | form),
        ("Infinity", '[2,"1","Heartbeat",{"a":Infinity}]', unreadable | form),
        ("comma", '[2,"1","Heartbeat",{"a":1,}]', unreadable | form),
        ("single quotes", "[2,'1','Heartbeat',{}]", unreadable),
        ("object", "{}", unreadable),
        ("null", "null", unreadable),
        ("number", "7", unreadable),
        ("string", '"x"', unreadable),
        ("empty list", "[]", unreadable),
        ("list of null", "[null]", unreadable),
        ("type as text", '["2","1","Heartbeat",{}]', unreadable),
        ("type as boolean", '[true,"1","Heartbeat",{}]', unreadable),
        ("type as fraction", '[2.0,"1","Heartbeat",{}]', unreadable),
        ("type only", "[2]", odd),
        ("no action", '[2,"1"]', form),
        ("no payload", '[2,"1","Heartbeat"]', form),
        ("five elements", '[2,"1","Heartbeat",{},1]', odd),
        ("payload list", '[2,"1","Heartbeat",[]]', form),
        ("payload text", '[2,"1","Heartbeat","x"]', form),
        ("payload number", '[2,"1","Heartbeat",1]', form),
        ("action number", '[2,"1",5,{}]', form),
        ("action list", '[2,"1",["Heartbeat"],{}]', form),
        ("action object", '[2,"1",{"a":1},{}]', form),
        ("id null", '[2,null,"Heartbeat",{}]', odd),
        ("id object", '[2,{},"Heartbeat",{}]', odd),
        ("id list", '[2,[],"Heartbeat",{}]', odd),
        ("id of 100 characters", f'[2,"{"x" * 100}","Heartbeat",{{}}]', odd),
        ("id of 10,000 characters", f'[2,"{"x" * 10_000}","Heartbeat",{{}}]', odd),
        ("repeated key", '[2,"1","Heartbeat",{"a":1,"a":2}]', form),
        ("NUL", '[2,"1","Heartbeat",{"a":"\\u0000"}]', form),
        ("NUL in the id", '[2,"\\u0000","Heartbeat",{}]', odd),
        ("NUL in the id, surrogate", '[2,"\\u0000","Heartbeat",{"a":"\\ud800"}]', odd),
        ("escaped id, surrogate", '[2,"\\u0031","Heartbeat",{"a":"\\ud800"}]', form),
        ("lone surrogate", '[2,"1","Heartbeat",{"a":"\\ud800"}]', form),
        ("lone surrogate in the id", '[2,"\\udfff","Heartbeat",{}]', odd),
        ("1e400", '[2,"1","Heartbeat",{"a":1e400}]', form),
        ("5,000 digits", f'[2,"1","Heartbeat",{{"a":{"1" * 5000}}}]', form),
        ("33 lists deep", f'[2,"1","Heartbeat",{{"a":{"[" * 33}{"]" * 33}}}]', form),
        ("10,000 lists deep", f'[2,"1","Heartbeat",{{"a":{"[" * 10_000}{"]" * 10_000}}}]', form),
        ("5,000 objects deep", '[2,"1","Heartbeat",' + '{"a":' * 5000 + "1" + "}" * 5001, form
         | unreadable),
        ("unknown action", '[2,"1","Nonsense",{}]', {"NotImplemented"}),
        ("wrong case", '[2,"1","heartbeat",{}]', {"NotImplemented"}),
        ("empty action", '[2,"1","",{}]', {"NotImplemented"}),
        ("SQL as action", '[2,"1","x\'; DROP TABLE y;--",{}]', {"NotImplemented"}),
        ("our own action", '[2,"1","ClearCache",{}]', {"NotSupported"}),
        ("result nobody waits for", '[3,"zz",{}]', silent),
        ("error nobody waits for", '[4,"zz","InternalError","",{}]', silent),
        ("short error", '[4,"zz","InternalError"]', silent),
        ("result without payload", '[3,"zz"]', silent),
        ("result of a list", '[3,"zz",[]]', silent),
    ]  # fmt: skip
    if rules.unknown_type is not None:
        frames.append(("type 9", '[9,"1","x",{}]', {rules.unknown_type}))
        frames.append(("type -1", '[-1,"1","x",{}]', {rules.unknown_type}))
    else:
        frames.append(("type 9", '[9,"1","x",{}]', silent))
        frames.append(("type -1", '[-1,"1","x",{}]', silent))
    for name, action, payload, codes in bad_payloads(version, set(actions)):
        frames.append((name, json.dumps([2, "1", action, payload]), codes))
    return frames
