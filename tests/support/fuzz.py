"""Generated frames, good and bad, and a second opinion on how each must be answered.

The opinion rests on Python's own JSON reader and the schemas as the `ocpp` package ships them; it
shares no code with the frame reader it judges.
"""

import json
import re
from functools import cache
from importlib import resources

import jsonschema_rs

FOLDERS = {"1.6": "v16", "2.0.1": "v201", "2.1": "v21"}
WORDS = ("", "x", "TAG", "0", "-1", "Accepted", "2026-06-01T10:00:00Z", "yesterday", "é", "\n",
         "'; DROP TABLE stations;--", "<b>", "y" * 300, "9" * 40, "\u202e", "Wh")  # fmt: skip
NUMBERS = (0, 1, 2, -1, 7, 2**31, 2**63, -(2**63) - 1, 10**30, 1.5, -0.0, 1e20)
PIECES = ["[", "]", "{", "}", '"', ",", ":", "\\", "\\u0000", "null", "1e9", "-", "0", "\U0001f50c",
          '"a":', "true", " ", "\n", "9" * 30, "é", "[2,", "\\ud800", "1.0", "NaN", "1e999",
          "[" * 40, '{"a":' * 40, "\x00", "\ufeff"]  # fmt: skip
CONSTRAINTS = {
    "1.6": {"OccurenceConstraintViolation", "FormationViolation"},
    "2.0.1": {"OccurrenceConstraintViolation", "FormatViolation"},
}
CONSTRAINTS["2.1"] = CONSTRAINTS["2.0.1"]
COMMON = {"TypeConstraintViolation", "PropertyConstraintViolation", "ProtocolError"}
FORMAT = {"1.6": "FormationViolation", "2.0.1": "FormatViolation", "2.1": "FormatViolation"}
SEND_ONLY = {"NotifyPeriodicEventStream"}


@cache
def schema(version, action):
    """Return the request schema of an action, or None when the version has no such action."""
    folder = resources.files("ocpp").joinpath(FOLDERS[version], "schemas")
    for name in (f"{action}Request.json", f"{action}.json"):
        if re.fullmatch(r"\w+\.json", name) and folder.joinpath(name).is_file():
            return json.loads(folder.joinpath(name).read_text("utf-8-sig"))
    return None


@cache
def validator(version, action):
    return jsonschema_rs.validator_for(schema(version, action), validate_formats=False)


class Frames:
    """Makes frames of one version; every choice comes from `dice`."""

    def __init__(self, dice, version, actions):
        self.dice = dice
        self.version = version
        self.actions = sorted(actions)
        self._count = 0

    def next(self):
        """Return the text of one more frame."""
        dice = self.dice
        self._count += 1
        action = dice.choice(self.actions)
        root = schema(self.version, action)
        payload = self._value(root, root, 0)
        frame = [6 if action in SEND_ONLY else 2, f"f{self._count}", action, payload]
        fate = dice.random()
        if fate < 0.35:
            return json.dumps(frame)
        if fate < 0.65:
            self._spoil(payload)
            return json.dumps(frame)
        if fate < 0.75:
            return json.dumps(self._misshape(frame))
        return self._garble(json.dumps(frame))

    def _value(self, part, root, depth):
        dice = self.dice
        if "$ref" in part:
            part = root["definitions"][part["$ref"].rsplit("/", 1)[-1]]
        if "enum" in part:
            return dice.choice(part["enum"])
        kind = part.get("type")
        if kind == "object":
            wanted = set(part.get("required", ()))
            return {
                name: self._value(inner, root, depth + 1)
                for name, inner in part.get("properties", {}).items()
                if name in wanted or (name != "customData" and depth < 4 and dice.random() < 0.25)
            }
        if kind == "array":
            count = max(part.get("minItems", 0), dice.choice((1, 1, 1, 2)))
            count = min(count, part.get("maxItems", count))
            return [self._value(part["items"], root, depth + 1) for _ in range(count)]
        if kind == "string":
            if part.get("format") == "date-time":
                return f"2026-06-01T1{dice.randint(0, 1)}:{dice.randint(10, 59)}:00Z"
            return dice.choice(("1", "17", "abc", "TAG"))[: part.get("maxLength", 20)]
        if kind == "boolean":
            return dice.random() < 0.5
        low = part.get("minimum", 0)
        number = low + dice.randint(0, 3)
        return min(number, part["maximum"]) if "maximum" in part else number

    def _spoil(self, payload):
        """Change one to three places of a payload."""
        dice = self.dice
        for _ in range(dice.randint(1, 3)):
            places = list(_places(payload))
            if not places:
                payload[dice.choice(("extra", "customData", "idTag"))] = self._odd()
                continue
            parent, key = dice.choice(places)
            fate = dice.random()
            if fate < 0.25:
                del parent[key]
            elif fate < 0.35 and isinstance(parent, dict):
                parent[dice.choice(("extra", "x" * 200, "", "customData"))] = self._odd()
            else:
                parent[key] = self._odd()

    def _odd(self):
        dice = self.dice
        return dice.choice(
            (
                None,
                True,
                [],
                {},
                [[]],
                {"a": {"b": []}},
                dice.choice(WORDS),
                dice.choice(WORDS),
                dice.choice(NUMBERS),
                [dice.choice(WORDS)] * dice.choice((1, 50)),
            )
        )

    def _misshape(self, frame):
        dice = self.dice
        fate = dice.randrange(8)
        if fate == 0:
            return frame[: dice.randrange(4)]
        if fate == 1:
            return [*frame, self._odd()]
        if fate == 2:
            return [dice.choice((3, 4, 5, 6, 7, 9, -1, 0, "2", 2.0, None, [], 10**20)), *frame[1:]]
        if fate == 3:
            return [2, dice.choice((None, 1, "", "y" * 37, "y" * 65, [], {}, "\n")), *frame[2:]]
        if fate == 4:
            wrong = dice.choice((None, 5, [], "Nonsense", "", "boot", "ClearCache", "Heartbeat "))
            return [2, frame[1], wrong, frame[3]]
        if fate == 5:
            return [2, frame[1], frame[2], self._odd()]
        if fate == 6:
            return dice.choice(({}, None, "x", 7, [], [[]], {"2": frame}))
        return [frame]

    def _garble(self, text):
        dice = self.dice
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(text) + 1)
            text = text[:at] + dice.choice(PIECES) + text[at + dice.choice((0, 0, 1, 3, 20)) :]
        return text


def _places(value):
    for key, child in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(child, dict | list):
            yield from _places(child)


def _refuse(constant):
    raise ValueError(constant)


def _once(pairs):
    if len({key for key, _ in pairs}) != len(pairs):
        raise LookupError
    return dict(pairs)


def objection(version, handled, text, answers):
    """Say what is wrong with the frames that answered a text, None when nothing is.

    `handled` are the actions that a station may send.
    """
    for answer in answers:
        if answer[0] == 4 and (len(answer) != 5 or answer[4] != {} or len(answer[3]) > 255):
            return f"a CALLERROR of the wrong shape {answer}"
        if answer[0] == 4 and answer[2] == "InternalError":
            return "an internal error"
    if len(answers) > 1:
        return f"{len(answers)} answers"
    try:
        message = json.loads(text.lstrip("\ufeff"), parse_constant=_refuse, object_pairs_hook=_once)
    except LookupError:
        message = None  # a key that is there twice: it depends on where
    except (ValueError, RecursionError):
        return _of_unreadable(version, answers)
    if message is None:
        return None
    if not isinstance(message, list) or not message or type(message[0]) is not int:
        return _of_unreadable(version, answers)
    if message[0] in (3, 4) or (version == "2.1" and message[0] in (5, 6)):
        return "an answer nobody may give" if answers else None
    if message[0] != 2:
        if version != "2.0.1":
            return "an answer to an unknown type" if answers else None
        return None if _code(answers) == "MessageTypeNotSupported" else "MessageTypeNotSupported?"
    return _of_call(version, handled, text, message, answers)


def _code(answers):
    if not answers:
        return "silence"
    return answers[0][2] if answers[0][0] == 4 else "result"


def _of_unreadable(version, answers):
    code = _code(answers)
    if version == "1.6":
        return None if code in ("silence", "FormationViolation") else code
    if answers and code == "RpcFrameworkError" and answers[0][1] == "-1":
        return None
    # JSON to some readers and not to others: thousands of digits, lone surrogates.
    return None if code == FORMAT[version] else f"{code} instead of RpcFrameworkError"


def _of_call(version, handled, text, message, answers):
    message_id = message[1] if len(message) > 1 else None
    if not answers:
        return "a readable call got no answer"
    code = _code(answers)
    whole = len(message) == 4 and isinstance(message[2], str) and isinstance(message[3], dict)
    if not isinstance(message_id, str) or not 0 < len(message_id) <= 36:
        return None  # each version has its own way; the corpus tells them apart
    if answers[0][1] not in (message_id, "-1"):
        return f"answered under the id {answers[0][1]!r}"
    if _guarded(message_id) and (answers[0][1], code) == ("-1", "RpcFrameworkError"):
        return None  # an id that cannot be written back is none
    guarded = _guarded(text)
    if guarded and code == FORMAT[version]:
        return None
    if not whole:
        tolerated = {FORMAT[version], "RpcFrameworkError"}
        if len(message) == 4 and message[3] is None:
            return None
        return None if code in tolerated else f"misshapen, answered with {code}"
    action, payload = message[2], message[3]
    if schema(version, action) is None:
        return None if code == "NotImplemented" else f"unknown action answered with {code}"
    if action not in handled or action in SEND_ONLY:
        return None if code == "NotSupported" else f"{action} answered with {code}"
    if validator(version, action).is_valid(payload):
        wide = re.search(r"\d{16,}|[eE]", text) is not None or guarded
        return None if code == "result" or wide else f"valid {action} answered with {code}"
    allowed = CONSTRAINTS[version] | COMMON | {"result"}
    return None if code in allowed else f"invalid {action} answered with {code}"


def _guarded(text):
    """Whether a text holds what no store keeps: NUL, surrogates, depth, numbers without bounds."""
    return (
        "\\u" in text
        or "\0" in text
        or any("\ud800" <= character <= "\udfff" for character in text)
        or text.count("[") + text.count("{") > 32
        or re.search(r"\d{30,}|[eE][+-]?\d{2,}", text) is not None
    )
