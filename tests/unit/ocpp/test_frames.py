"""cpo/ocpp/frames.py: what is a message, and what a station hears about what is none."""

import json
from decimal import Decimal

import pytest

from cpo.ocpp import frames
from cpo.ocpp.frames import V16, V21, V201, Answer, Call, Failure, Fault, FrameRules, parse


def error_of(text: str, rules: FrameRules) -> tuple[str, str] | None:
    fault = parse(text, rules)
    assert isinstance(fault, Fault)
    if fault.answer is None:
        return None
    kind, message_id, code, description, details = json.loads(fault.answer)
    assert kind == 4
    assert details == {}
    assert len(description) <= 255
    return message_id, code


def test_reads_a_call() -> None:
    frame = parse('[2,"19","Heartbeat",{}]', V16)

    assert frame == Call("19", "Heartbeat", {})


def test_numbers_stay_exact() -> None:
    frame = parse('[2,"1","X",{"a":12345.678901234567890123,"b":9007199254740993}]', V201)

    assert isinstance(frame, Call)
    assert frame.payload == {"a": Decimal("12345.678901234567890123"), "b": 9007199254740993}


@pytest.mark.parametrize("rules", [V16, V201, V21], ids=lambda rules: rules.version)
def test_reads_answers(rules: FrameRules) -> None:
    assert parse('[3,"1",{"a":1}]', rules) == Answer("1", {"a": 1})
    assert parse('[3,"1",null]', rules) == Answer("1", {})
    assert parse('[4,"1","NotSupported","no",{}]', rules) == Failure("1", "NotSupported", "no")


@pytest.mark.parametrize("rules", [V16, V201, V21], ids=lambda rules: rules.version)
def test_rp18_an_error_of_three_elements_is_an_error(rules: FrameRules) -> None:
    assert parse('[4,"1","InternalError"]', rules) == Failure("1", "InternalError", "")


def test_rp04_malformed_json_is_left_unanswered_in_16() -> None:
    assert error_of("nonsense", V16) is None


def test_rp04_malformed_json_with_a_readable_id_gets_an_error_in_16() -> None:
    assert error_of('[2,"7","Heartbeat",{]', V16) == ("7", "FormationViolation")


@pytest.mark.parametrize("rules", [V201, V21], ids=lambda rules: rules.version)
@pytest.mark.parametrize("text", ["nonsense", '[2,"7","Heartbeat",{]', "", "{}", "[]", "null"])
def test_rp05_what_cannot_be_read_gets_the_id_minus_one_in_2x(text: str, rules: FrameRules) -> None:
    assert error_of(text, rules) == ("-1", "RpcFrameworkError")


@pytest.mark.parametrize("rules", [V16, V21], ids=lambda rules: rules.version)
def test_rp06_unknown_message_types_are_ignored(rules: FrameRules) -> None:
    assert error_of('[9,"1","X",{}]', rules) is None


def test_rp07_unknown_message_types_are_refused_in_201() -> None:
    assert error_of('[9,"1","X",{}]', V201) == ("1", "MessageTypeNotSupported")
    assert error_of('[6,"1","X",{}]', V201) == ("1", "MessageTypeNotSupported")


def test_rp08_sends_exist_in_21_and_want_no_answer() -> None:
    frame = parse('[6,"1","NotifyPeriodicEventStream",{}]', V21)

    assert frame == Call("1", "NotifyPeriodicEventStream", {}, wants_answer=False)


def test_rp09_a_callresulterror_is_told_from_an_error_to_a_call() -> None:
    assert parse('[5,"1","GenericError","bad",{}]', V21) == Failure(
        "1", "GenericError", "bad", True
    )


@pytest.mark.parametrize(
    ("rules", "code"), [(V16, "FormationViolation"), (V201, "FormatViolation")]
)
@pytest.mark.parametrize("payload", ["[]", '"x"', "1", "true"])
def test_rp14_a_payload_that_is_no_object_is_refused(
    payload: str, rules: FrameRules, code: str
) -> None:
    assert error_of(f'[2,"1","Heartbeat",{payload}]', rules) == ("1", code)


@pytest.mark.parametrize(
    ("rules", "code"), [(V16, "FormationViolation"), (V201, "FormatViolation")]
)
def test_rp14_a_missing_payload_is_refused_and_null_is_an_empty_one(
    rules: FrameRules, code: str
) -> None:
    assert error_of('[2,"1","Heartbeat"]', rules) == ("1", code)
    frame = parse('[2,"1","Heartbeat",null]', rules)
    assert isinstance(frame, Call)
    assert frame.payload == {}
    assert frame.deviation is not None


@pytest.mark.parametrize("message_id", ["1", '""'])
def test_rp15_odd_ids_are_answered_as_they_are_in_16(message_id: str) -> None:
    frame = parse(f'[2,{message_id},"Heartbeat",{{}}]', V16)

    assert isinstance(frame, Call)
    assert frame.message_id == json.loads(message_id)
    assert frame.deviation is not None


@pytest.mark.parametrize("message_id", ["1", '""', "null", "{}", f'"{"x" * 65}"', "1.5", "true"])
def test_rp15_ids_that_cannot_be_used_are_refused_in_2x(message_id: str) -> None:
    assert error_of(f'[2,{message_id},"Heartbeat",{{}}]', V201) == ("-1", "RpcFrameworkError")


@pytest.mark.parametrize("rules", [V16, V201, V21], ids=lambda rules: rules.version)
def test_rp15_ids_up_to_64_characters_are_put_up_with(rules: FrameRules) -> None:
    frame = parse(f'[2,"{"x" * 64}","Heartbeat",{{}}]', rules)

    assert isinstance(frame, Call)
    assert frame.deviation is not None


POISON = [
    pytest.param('{"a":1,"a":2}', id="repeated key"),
    pytest.param('{"a":{"b":1,"b":1}}', id="repeated key inside"),
    pytest.param('{"a":"\\u0000"}', id="NUL"),
    pytest.param('{"\\u0000":1}', id="NUL in a key"),
    pytest.param('{"a":"\\ud800"}', id="lone high surrogate"),
    pytest.param('{"a":"\\udc00x"}', id="lone low surrogate"),
    pytest.param('{"a":1e400}', id="1e400"),
    pytest.param('{"a":-1e-999999999}', id="tiny"),
    pytest.param('{"a":1e' + "9" * 30 + "}", id="an exponent beyond Decimal"),
    pytest.param('{"a":' + "1" * 5000 + "}", id="5000 digits"),
    pytest.param('{"a":' + "[" * 32 + "]" * 32 + "}", id="33 deep"),
    pytest.param('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", id="100,000 deep"),
    pytest.param('{"a":' * 2_000 + "1" + "}" * 2_000, id="2,000 objects deep"),
]


@pytest.mark.parametrize("payload", POISON)
@pytest.mark.parametrize(
    ("rules", "code"),
    [(V16, "FormationViolation"), (V201, "FormatViolation"), (V21, "FormatViolation")],
)
def test_rp28_poison_is_refused_under_its_own_id(
    payload: str, rules: FrameRules, code: str
) -> None:
    assert error_of(f'[2,"p1","BootNotification",{payload}]', rules) == ("p1", code)


@pytest.mark.parametrize("payload", POISON)
@pytest.mark.parametrize("rules", [V16, V201, V21])
def test_rp28_poison_is_refused_whatever_its_id(payload: str, rules: FrameRules) -> None:
    """An id with escapes is read; one that cannot be written back is not known."""
    escaped = f'[2,"p\\u0031","BootNotification",{payload}]'
    assert error_of(escaped, rules) == ("p1", rules.format_violation)
    for unusable in ("p\\u0000", "p\\ud800", "p" * 65):
        frame = f'[2,"{unusable}","BootNotification",{payload}]'
        assert error_of(frame, rules)[0] == "-1"


@pytest.mark.parametrize("rules", [V16, V201, V21])
@pytest.mark.parametrize("id_", ["1e999", '{"a":1e999}', "[[1e999]]"])
def test_rp15_rp28_a_call_whose_id_is_poison_is_answered(rules: FrameRules, id_: str) -> None:
    assert error_of(f'[2,{id_},"Heartbeat",{{}}]', rules) == ("-1", rules.not_a_message)


def test_rp06_rp07_a_poisoned_frame_of_an_unknown_type_is_one_of_an_unknown_type() -> None:
    for poison in ("1e999", '"\\u0000"', '"\\ud800"', "[" * 40 + "]" * 40):
        for kind in ("29", "-1", "2" + "9" * 30, "2" * 3000):
            poisoned = f'[{kind},"1","Heartbeat",{{"a":{poison}}}]'
            assert error_of(poisoned, V201) == ("1", "MessageTypeNotSupported")
            for rules in (V16, V21):
                assert error_of(poisoned, rules) is None


def test_rp05_a_poisoned_text_that_is_no_message_is_one_that_cannot_be_read() -> None:
    for text in ('{"a":"\\u0000"}', '["\\u0000"]', '"\\u0000"'):
        assert error_of(text, V201) == ("-1", "RpcFrameworkError")
        assert error_of(text, V16) is None


@pytest.mark.parametrize("rules", [V16, V201, V21])
def test_rp18_a_poisoned_result_is_no_call_whatever_its_id(rules: FrameRules) -> None:
    for id_ in ("1", "\\u0031", "\\u0000"):
        fault = parse(f'[3,"{id_}",{{"a":"\\ud800"}}]', rules)
        assert isinstance(fault, Fault)
        assert fault.answer is None


def test_rp28_nan_is_not_json() -> None:
    assert error_of('[2,"1","X",{"a":NaN}]', V201) == ("-1", "RpcFrameworkError")
    assert error_of('[2,"1","X",{"a":NaN}]', V16) == ("1", "FormationViolation")


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param('{"a":"\\\\u0000"}', id="an escaped backslash before u0000"),
        pytest.param('{"a":"12:30","b":"\\u003a"}', id="colons, also escaped"),
        pytest.param('{"a":' + "[" * 20 + "]" * 20 + "}", id="deep but allowed"),
        pytest.param('{"a":[' + ",".join(["{}"] * 100) + "]}", id="many brackets"),
        pytest.param('{"a":"E+E-","b":1e3}', id="exponents"),
        pytest.param('{"a":"\\ud83d\\ude97"}', id="a surrogate pair"),
    ],
)
def test_what_only_looks_like_poison_is_a_call(payload: str) -> None:
    assert isinstance(parse(f'[2,"1","X",{payload}]', V16), Call)


def test_a_byte_order_mark_and_a_newline_are_put_up_with() -> None:
    assert parse('\ufeff[2,"1","X",{}]\n', V16) == Call("1", "X", {})


def test_writes_exact_numbers() -> None:
    assert frames.result_text("1", {"a": Decimal("12.340")}) == '[3,"1",{"a":12.340}]'


def test_error_descriptions_are_cut() -> None:
    text = frames.error_text("1", "InternalError", "x" * 1000)

    assert len(json.loads(text)[3]) == 255
