"""OCPP-J frames: text to messages, messages to text, and the answer to what is no message.

Pure. A frame that can be read is either a message or a `Fault` that says which CALLERROR the
station gets (or none), in the words of its OCPP version. Numbers stay exact: integers are int,
everything else is Decimal.
"""

import json
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn

import msgspec

CALL: Final = 2
CALL_RESULT: Final = 3
CALL_ERROR: Final = 4
CALL_RESULT_ERROR: Final = 5
SEND: Final = 6

MAX_DEPTH: Final = 32
MAX_EXPONENT: Final = 32
MAX_DIGITS: Final = 64
MAX_ID_LENGTH: Final = 36
TOLERATED_ID_LENGTH: Final = 64
UNREADABLE_ID: Final = "-1"
"""What OCPP 2.x writes in place of a message id that could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRules:
    """What one OCPP version says about frames and the names of its error codes."""

    version: str
    format_violation: str
    occurrence_violation: str
    not_a_message: str
    """The code for a frame that is no RPC message at all."""
    answers_unreadable: bool
    """Whether a frame without readable id is answered, with `UNREADABLE_ID`."""
    unknown_type: str | None
    """The code for an unknown message type; None where such frames are to be ignored."""
    sends: bool
    """Whether message types 5 and 6 exist."""


V16 = FrameRules(
    version="1.6",
    format_violation="FormationViolation",
    occurrence_violation="OccurenceConstraintViolation",  # misspelt in the specification
    not_a_message="FormationViolation",
    answers_unreadable=False,
    unknown_type=None,
    sends=False,
)
V201 = FrameRules(
    version="2.0.1",
    format_violation="FormatViolation",
    occurrence_violation="OccurrenceConstraintViolation",
    not_a_message="RpcFrameworkError",
    answers_unreadable=True,
    unknown_type="MessageTypeNotSupported",
    sends=False,
)
V21 = FrameRules(
    version="2.1",
    format_violation="FormatViolation",
    occurrence_violation="OccurrenceConstraintViolation",
    not_a_message="RpcFrameworkError",
    answers_unreadable=True,
    unknown_type=None,
    sends=True,
)
RULES: Final[dict[str, FrameRules]] = {rules.version: rules for rules in (V16, V201, V21)}


class Call(msgspec.Struct, frozen=True, gc=False):
    """A request that wants an answer, or with `wants_answer` false a SEND of OCPP 2.1."""

    message_id: str | int
    action: str
    payload: dict[str, Any]
    wants_answer: bool = True
    deviation: str | None = None
    """What was tolerated in the frame itself, for the station's record."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The station's CALLRESULT to a call of ours."""

    message_id: str
    payload: dict[str, Any]


class Failure(msgspec.Struct, frozen=True, gc=False):
    """The station's CALLERROR to a call of ours, or its CALLRESULTERROR to a result of ours."""

    message_id: str
    code: str
    description: str
    of_result: bool = False


class Fault(msgspec.Struct, frozen=True, gc=False):
    """A frame that is no message: why, and the CALLERROR it earns, if any."""

    reason: str
    answer: str | None = None


Frame = Call | Answer | Failure | Fault


def _read_number(digits: str) -> Decimal:
    """Read a number that is no integer, exactly, unless its size is absurd."""
    try:
        number = Decimal(digits)
    except InvalidOperation:  # an exponent beyond what even Decimal holds
        raise ValueError("a number is too large or too small") from None
    if abs(number.adjusted()) > MAX_EXPONENT or len(digits) > MAX_DIGITS:
        raise ValueError("a number is too large or too small")
    return number


_decode = msgspec.json.Decoder(float_hook=_read_number).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode

# What can still be told of a frame that is not to be parsed: its type and id.
_HEAD = re.compile(r'\s*\[\s*(-?\d{1,4000})\s*,(?:\s*("(?:[^"\\]|\\.){1,400}")\s*,)?')
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def encode_json(value: object) -> str:
    """Write JSON with exact decimals."""
    return _encode(value).decode()


def call_text(message_id: str, action: str, payload: object) -> str:
    """Write a CALL."""
    return _encode((CALL, message_id, action, payload)).decode()


def result_text(message_id: str | int, payload: object) -> str:
    """Write a CALLRESULT."""
    return _encode((CALL_RESULT, message_id, payload)).decode()


def error_text(message_id: str | int, code: str, description: str) -> str:
    """Write a CALLERROR. The description is cut to the 255 characters that 2.x allows."""
    return _encode((CALL_ERROR, message_id, code, description[:255], {})).decode()


def result_error_text(message_id: str, code: str, description: str) -> str:
    """Write a CALLRESULTERROR (2.1): the station's result is good for nothing."""
    return _encode((CALL_RESULT_ERROR, message_id, code, description[:255], {})).decode()


class _Unacceptable(Exception):
    """The text is JSON, or nearly, but breaks a guard."""


def parse(text: str, rules: FrameRules) -> Frame:
    """Read one text frame. Never raises."""
    try:
        message = _decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        # RecursionError: nested deeper than the parser goes. UnicodeEncodeError: a lone surrogate.
        return _explain(text, rules)
    # An object that names a key twice loses a colon when written again; depth needs brackets.
    # These tests are cheap and may cry wolf, never miss: the slow check has the last word.
    again = _encode(message)
    repeated = again != text.encode() and text.count(":") != again.count(b":")
    deep = text.count("{") + text.count("[") > MAX_DEPTH
    # Hardly any frame has a backslash, and to look for one character is ten times as quick.
    if repeated or deep or ("\\" in text and "\\u0000" in text):
        try:
            _check_guards(text, message, repeated=repeated, deep=deep)
        except _Unacceptable as reason:
            return _refuse_known(message, str(reason), rules)
    return _classify(message, rules)


def _classify(message: Any, rules: FrameRules) -> Frame:
    if type(message) is not list or not message or type(message[0]) is not int:
        return _unreadable("not an RPC message", rules)
    kind = message[0]
    if kind == CALL:
        return _read_call(message, rules)
    if kind == CALL_RESULT:
        return _read_result(message)
    if kind == CALL_ERROR:
        return _read_failure(message, of_result=False)
    if rules.sends:
        if kind == SEND:
            return _read_send(message)
        if kind == CALL_RESULT_ERROR:
            return _read_failure(message, of_result=True)
    if rules.unknown_type is None:
        return Fault(f"unknown message type {kind}")
    return Fault(
        f"unknown message type {kind}",
        error_text(_answerable_id(message), rules.unknown_type, f"message type {kind}"),
    )


def _read_call(message: list[Any], rules: FrameRules) -> Call | Fault:
    if len(message) == 4:
        _, message_id, action, payload = message
        if (
            type(message_id) is str
            and 0 < len(message_id) <= MAX_ID_LENGTH
            and type(action) is str
            and type(payload) is dict
        ):
            return Call(message_id, action, payload)
    return _read_odd_call(message, rules)


def _read_odd_call(message: list[Any], rules: FrameRules) -> Call | Fault:
    """Read a CALL that is not as it should be, but perhaps good enough."""
    message_id = message[1] if len(message) > 1 else None
    deviation = None
    if type(message_id) is str and 0 < len(message_id) <= TOLERATED_ID_LENGTH:
        if len(message_id) > MAX_ID_LENGTH:
            deviation = f"message id of {len(message_id)} characters"
    elif not rules.answers_unreadable and (
        message_id == "" or (type(message_id) is int and abs(message_id) < 1 << 63)
    ):
        # 1.6 names no code for a bad id, and chargers that number their calls exist.
        deviation = "message id is no text" if message_id else "message id is empty"
    else:
        return Fault(
            "message id cannot be used",
            error_text(UNREADABLE_ID, rules.not_a_message, "the message id cannot be used"),
        )
    if len(message) < 3 or type(message[2]) is not str:
        problem = "the action is no text"
        return Fault(problem, error_text(message_id, rules.format_violation, problem))
    if len(message) > 4:
        problem = f"a CALL has 4 elements, not {len(message)}"
        return Fault(problem, error_text(message_id, rules.not_a_message, problem))
    if len(message) == 4 and type(message[3]) is dict:
        return Call(message_id, message[2], message[3], deviation=deviation)
    if len(message) == 4 and message[3] is None:
        return Call(message_id, message[2], {}, deviation="payload null")
    problem = "the payload is no object"
    return Fault(problem, error_text(message_id, rules.format_violation, problem))


def _read_send(message: list[Any]) -> Call | Fault:
    if (
        len(message) == 4
        and type(message[1]) is str
        and type(message[2]) is str
        and type(message[3]) is dict
    ):
        return Call(message[1], message[2], message[3], wants_answer=False)
    return Fault("malformed SEND")  # a SEND is never answered


def _read_result(message: list[Any]) -> Answer | Fault:
    if len(message) == 3 and type(message[1]) is str:
        payload = message[2]
        if type(payload) is dict:
            return Answer(message[1], payload)
        if payload is None:
            return Answer(message[1], {})
    return Fault("malformed CALLRESULT")


def _read_failure(message: list[Any], *, of_result: bool) -> Failure | Fault:
    # Seen: three elements, without description and details.
    if len(message) >= 3 and type(message[1]) is str and type(message[2]) is str:
        description = message[3] if len(message) > 3 and type(message[3]) is str else ""
        return Failure(message[1], message[2], description, of_result)
    return Fault("malformed CALLERROR")


def _unreadable(reason: str, rules: FrameRules) -> Fault:
    if not rules.answers_unreadable:
        return Fault(reason)
    return Fault(reason, error_text(UNREADABLE_ID, rules.not_a_message, reason))


def _answerable_id(message: list[Any]) -> str:
    message_id = message[1] if len(message) > 1 else None
    if type(message_id) is not str or "\0" in message_id:
        return UNREADABLE_ID
    return message_id if 0 < len(message_id) <= TOLERATED_ID_LENGTH else UNREADABLE_ID


def _refuse_known(message: Any, reason: str, rules: FrameRules) -> Fault:
    """Refuse a frame that was parsed but breaks a guard."""
    if type(message) is not list or not message or type(message[0]) is not int:
        return _unreadable(reason, rules)
    return _refuse(message[0], _answerable_id(message), reason, rules)


def _refuse(kind: int, message_id: str, reason: str, rules: FrameRules) -> Fault:
    """Refuse a message of a kind, under its id or `UNREADABLE_ID`."""
    if kind == CALL:
        unknown = message_id == UNREADABLE_ID
        code = rules.not_a_message if unknown else rules.format_violation
        return Fault(reason, error_text(message_id, code, reason))
    known = kind in _ANSWERS or (rules.sends and kind in _OF_21)
    if known or rules.unknown_type is None:
        return Fault(reason)
    return Fault(reason, error_text(message_id, rules.unknown_type, reason))


_ANSWERS: Final = frozenset({CALL_RESULT, CALL_ERROR})
_OF_21: Final = frozenset({CALL_RESULT_ERROR, SEND})


def _written_id(literal: str) -> str | None:
    """Read a message id as it stands in a text, None where it cannot be written back."""
    try:
        message_id: str = json.loads(literal)
        message_id.encode()
    except ValueError:
        return None
    usable = 0 < len(message_id) <= TOLERATED_ID_LENGTH and "\0" not in message_id
    return message_id if usable else None


def _explain(text: str, rules: FrameRules) -> Frame:
    """Say what is wrong with a text that the parser refused."""
    if text.startswith("\ufeff"):
        return parse(text.lstrip("\ufeff"), rules)
    text = text.encode(errors="replace").decode()  # what is echoed can be written
    reason, is_json = "not JSON", False
    try:
        json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=dict)
    except RecursionError:
        reason, is_json = f"nested deeper than {MAX_DEPTH}", True
    except ValueError as error:
        # Python refuses to read integers of thousands of digits with a plain ValueError.
        if not isinstance(error, json.JSONDecodeError) and "digits" in str(error):
            reason, is_json = "a number is too large", True
    else:
        reason, is_json = "a string or number that cannot be stored", True
    head = _HEAD.match(text)
    if head is None or not (is_json or (head[2] and not rules.answers_unreadable)):
        return _unreadable(reason, rules)
    message_id = _written_id(head[2]) if head[2] else None
    if message_id is None and not is_json:
        return _unreadable(reason, rules)
    return _refuse(int(head[1]), message_id or UNREADABLE_ID, reason, rules)


def _refuse_constant(constant: str) -> NoReturn:
    raise json.JSONDecodeError(f"{constant} is not JSON", constant, 0)


def _check_guards(text: str, message: Any, *, repeated: bool, deep: bool) -> None:
    if deep and _depth_exceeds(message, MAX_DEPTH):
        raise _Unacceptable(f"nested deeper than {MAX_DEPTH}")
    if "\\u0000" in text and _ESCAPED_NUL.search(text):
        raise _Unacceptable("a NUL character")
    if repeated:
        json.loads(text, object_pairs_hook=_refuse_repeated_keys, parse_float=str)


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise _Unacceptable("an object names a key twice")


def _depth_exceeds(value: Any, limit: int) -> bool:
    level: list[Any] = [value]
    for _ in range(limit):
        inner: list[Any] = []
        for item in level:
            children = item.values() if type(item) is dict else item
            inner.extend([child for child in children if type(child) in (dict, list)])
        if not inner:
            return False
        level = inner
    return True
