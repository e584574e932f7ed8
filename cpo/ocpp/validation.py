"""Payloads against the schemas of the `ocpp` package, and the repair of what chargers get wrong.

A validator is compiled once per version, action and direction. What fails the strict check is
repaired by rules that are data, every deviation named; what no rule covers is a `Violation` with
the error code of the version.
"""

import dataclasses
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib import resources
from typing import Any, Final

import jsonschema_rs

from cpo.errors import Invalid
from cpo.ocpp.frames import RULES

_FOLDERS: Final = {"1.6": "v16", "2.0.1": "v201", "2.1": "v21"}

# Bounds for integers whose schema names none: wider than any legal value, storable everywhere.
# Other numbers were bounded when the frame was read.
_INTEGER_BOUNDS: Final = {"minimum": -(1 << 63), "maximum": (1 << 63) - 1}

_MAX_REPAIRED_ITEMS: Final = 3000
"""Finding every error of a payload costs some 50 µs each; a larger one is refused at its first."""

SENDS: Final = frozenset({"NotifyPeriodicEventStream"})
"""Messages of 2.1 that exist only as SEND and have no answer."""

_MAX_ROUNDS: Final = 8
"""Repairs uncover further errors (an array inside a wrapped object); this bounds the rounds."""


class Violation(Exception):
    """A payload breaks its schema beyond repair."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description


@dataclass(frozen=True, slots=True)
class Deviation:
    """One thing in which a charger's payload differs from the schema, and was put up with."""

    action: str
    path: str
    """Where, as "meterValue/0/timestamp"."""
    kind: str
    """The schema keyword broken: type, maxLength, enum, additionalProperties, required."""


@cache
def actions(version: str) -> frozenset[str]:
    """Return the names of all requests of a version, in both directions, SENDs included."""
    names = set()
    for entry in resources.files("ocpp").joinpath(_FOLDERS[version], "schemas").iterdir():
        name = entry.name.removesuffix(".json")
        if name == entry.name or name.endswith("Response"):
            continue
        names.add(name.removesuffix("Request"))
    return frozenset(names)


def _schema(version: str, action: str, *, response: bool) -> dict[str, Any]:
    folder = resources.files("ocpp").joinpath(_FOLDERS[version], "schemas")
    # Requests of 1.6 and the SENDs of 2.1 have no suffix.
    suffixes = ("Response",) if response else ("Request", "")
    for suffix in suffixes:
        entry = folder.joinpath(f"{action}{suffix}.json")
        if entry.is_file():
            schema: dict[str, Any] = json.loads(entry.read_text("utf-8-sig"))
            _bound_integers(schema)
            return schema
    raise KeyError(action)


def _bound_integers(schema: Any) -> None:
    if isinstance(schema, dict):
        if schema.get("type") == "integer":
            for keyword, bound in _INTEGER_BOUNDS.items():
                schema.setdefault(keyword, bound)
        for part in schema.values():
            _bound_integers(part)
    elif isinstance(schema, list):
        for part in schema:
            _bound_integers(part)


@cache
def _compiled(version: str, action: str, response: bool) -> Any:
    # Draft 4 is what the package itself checks with, whatever draft its schemas declare.
    return jsonschema_rs.Draft4Validator(_schema(version, action, response=response))


@cache
def checker(version: str, action: str, *, response: bool = False) -> Callable[[Any], bool]:
    """Return the compiled strict check of one message.

    Raises:
        KeyError: the version does not know the action.
    """
    check: Callable[[Any], bool] = _compiled(version, action, response).is_valid
    return check


def check(version: str, action: str, payload: Mapping[str, Any], *, response: bool = False) -> None:
    """Check strictly.

    Raises:
        Violation: with the error code of the version and the place.
    """
    if checker(version, action, response=response)(payload):
        return
    raise _first_violation(version, action, payload, response=response)


def check_call(version: str, action: str, payload: Mapping[str, Any]) -> None:
    """Check a request of ours before it leaves.

    Raises:
        Invalid: the version has no such action, or the payload breaks its schema.
    """
    try:
        check(version, action, payload)
    except KeyError:
        raise Invalid("action", f"OCPP {version} has no {action}") from None
    except Violation as violation:
        raise Invalid("payload", violation.description) from None


def _first_violation(version: str, action: str, payload: Any, *, response: bool) -> Violation:
    validator = _compiled(version, action, response)
    if _items(payload, _MAX_REPAIRED_ITEMS) > _MAX_REPAIRED_ITEMS:
        try:
            validator.validate(payload)
        except jsonschema_rs.ValidationError as first:
            return _violation(version, first)
    errors = list(validator.iter_errors(payload))
    # A missing field says more than the surplus one that was meant to be it.
    error = min(errors, key=lambda error: _ORDER.get(error.kind.name, 9))
    return _violation(version, error)


_ORDER: Final = {"required": 0, "type": 1, "enum": 2, "additionalProperties": 5}


def _violation(version: str, error: Any) -> Violation:
    rules = RULES[version]
    kind = error.kind.name
    path = _path(error)
    if kind in ("required", "minItems", "maxItems"):
        code = rules.occurrence_violation
    elif kind == "type":
        code = "TypeConstraintViolation"
    elif kind == "additionalProperties":
        code = rules.format_violation
    else:
        code = "PropertyConstraintViolation"
    where = f"{path}: " if path else ""
    return Violation(code, f"{where}{_WORDS.get(kind, kind)}{_names(error)}")


_WORDS: Final = {
    "required": "required field missing",
    "additionalProperties": "unknown field: ",
    "type": "wrong type",
    "enum": "not one of the allowed values",
    "maxLength": "too long",
    "minLength": "too short",
    "minItems": "too few items",
    "maxItems": "too many items",
    "maximum": "too large",
    "minimum": "too small",
    "multipleOf": "too many decimals",
}


def _names(error: Any) -> str:
    # Never the values: a description may end in logs, and may be hostile.
    if error.kind.name == "additionalProperties":
        return ", ".join(str(name)[:40] for name in error.kind.unexpected[:3])
    return ""


def _path(error: Any) -> str:
    steps = [str(step) for step in error.instance_path]
    if error.kind.name == "required":
        steps.append(str(error.kind.property))
    return "/".join(steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leniency:
    """What is put up with in inbound payloads. Data: quirk profiles may carry their own."""

    convert: bool = True
    """Numbers for strings and the other way round, where nothing is lost."""
    extra_properties: bool = True
    too_long: frozenset[str] = field(default_factory=frozenset)
    """Fields that may be longer than the schema says, by name; "*" is any."""
    open_enums: frozenset[str] = field(default_factory=frozenset)
    """Fields whose unknown values are kept, by name."""
    empty: frozenset[str] = field(default_factory=frozenset)
    """Lists that may be empty although the schema asks for one item, by name."""
    defaults: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    """(action, field) that may be missing, and what stands in. None: the mapping copes."""
    fractions: frozenset[str] = field(default_factory=frozenset)
    """Integer fields in which some chargers send fractions, kept exactly."""
    unreadable: frozenset[str] = field(default_factory=frozenset)
    """Lists whose items may hold a text that is no number as their value: it is left out."""


def _shipped() -> Leniency:
    """Read the repair rules that come with the package."""
    text = resources.files("cpo.ocpp").joinpath("repairs.toml").read_text("utf-8")
    rules = tomllib.loads(text)
    return Leniency(
        too_long=frozenset(rules["too_long"]),
        open_enums=frozenset(rules["open_enums"]),
        empty=frozenset(rules["empty"]),
        fractions=frozenset(rules["fractions"]),
        unreadable=frozenset(rules["unreadable"]),
        defaults={(m["action"], m["field"]): m.get("value") for m in rules["missing"]},
    )


DEFAULT_LENIENCY: Final = _shipped()
STRICT: Final = Leniency(convert=False, extra_properties=False)


def lenient(repairs: Mapping[str, frozenset[str]]) -> Leniency:
    """Return the usual leniency with further fields under its rules (quirk profiles)."""
    if not repairs:
        return DEFAULT_LENIENCY
    usual = DEFAULT_LENIENCY
    return dataclasses.replace(
        usual, **{name: getattr(usual, name) | fields for name, fields in repairs.items()}
    )


def intake(
    version: str,
    action: str,
    payload: dict[str, Any],
    leniency: Leniency,
) -> tuple[Deviation, ...]:
    """Check an inbound request and repair it in place where the rules allow.

    Returns:
        What was put up with; empty for a payload as it should be.

    Raises:
        Violation: what is wrong cannot be put up with.
        KeyError: the version does not know the action.
    """
    if checker(version, action)(payload):
        return ()
    if leniency is STRICT or _items(payload, _MAX_REPAIRED_ITEMS) > _MAX_REPAIRED_ITEMS:
        raise _first_violation(version, action, payload, response=False)
    validator = _compiled(version, action, False)
    deviations: dict[tuple[str, str], Deviation] = {}
    for _ in range(_MAX_ROUNDS):
        changed = False
        fatal = None
        for error in validator.iter_errors(payload):
            path = _path(error)
            kind = error.kind.name
            if (path, kind) in deviations and kind != "type":
                continue
            verdict = _repair(action, payload, error, leniency)
            if verdict is None:
                fatal = fatal or error
                continue
            deviations[path, kind] = Deviation(action, path, kind)
            changed = changed or verdict
        if fatal is not None:
            raise _violation(version, fatal)
        if not changed:
            break
    return tuple(deviations.values())


def answer(version: str, action: str, payload: dict[str, Any]) -> tuple[Deviation, ...]:
    """Check what a station answered to a call of ours, and repair it in place.

    What cannot be read is taken out, with as little around it as must be; what merely lacks a
    field of the answer itself, or says more than it may, is left for the reader.

    Returns:
        What was put up with; empty for a payload as it should be.

    Raises:
        Violation: nothing of use is left.
    """
    if checker(version, action, response=True)(payload):
        return ()
    if _items(payload, _MAX_REPAIRED_ITEMS) > _MAX_REPAIRED_ITEMS:
        raise _first_violation(version, action, payload, response=True)
    validator = _compiled(version, action, True)
    deviations: dict[tuple[str, str], Deviation] = {}
    lost: dict[str, Any] = {}
    for _ in range(_MAX_ROUNDS):
        changed = False
        unreadable: set[tuple[Any, ...]] = set()
        for error in validator.iter_errors(payload):
            path, kind, steps = _path(error), error.kind.name, tuple(error.instance_path)
            verdict = _repair(action, payload, error, DEFAULT_LENIENCY)
            if verdict is None and kind == "required" and path in lost:
                raise _violation(version, lost[path])
            if verdict is None and steps and kind in ("type", "required"):
                unreadable.add(steps)
                lost["/".join(map(str, steps))] = error
            deviations[path, kind] = Deviation(action, path, kind)
            changed = changed or bool(verdict)
        _take_out(payload, unreadable)
        if not changed and not unreadable:
            break
    return tuple(deviations.values())


def _take_out(payload: dict[str, Any], places: set[tuple[Any, ...]]) -> None:
    """Remove what is at these places, the last of a list and the innermost first."""

    def order(steps: tuple[Any, ...]) -> list[tuple[int, str]]:
        return [(step, "") if isinstance(step, int) else (-1, step) for step in steps]

    for steps in sorted(places, key=order, reverse=True):
        del _at(payload, list(steps[:-1]))[steps[-1]]


def _items(value: Any, limit: int) -> int:
    """Count the values in a payload, up to a little above a limit."""
    count = 0
    rest: list[Any] = [value]
    while rest and count <= limit:
        item = rest.pop()
        count += 1
        if isinstance(item, dict):
            rest.extend(item.values())
        elif isinstance(item, list):
            rest.extend(item)
    return count


def _repair(action: str, payload: dict[str, Any], error: Any, leniency: Leniency) -> bool | None:
    """Put up with one error: True when the payload was changed, None when it cannot be."""
    steps = error.instance_path
    name = next((step for step in reversed(steps) if isinstance(step, str)), "")
    kind = error.kind.name
    if kind == "additionalProperties":
        return False if leniency.extra_properties else None
    if kind == "required":
        missing = error.kind.property
        if (action, missing) not in leniency.defaults:
            return None
        default = leniency.defaults[action, missing]
        if default is None:
            return False
        _at(payload, steps)[missing] = default
        return True
    if kind in ("maxLength", "minLength"):
        return False if name in leniency.too_long or "*" in leniency.too_long else None
    if kind == "minItems":
        return False if name in leniency.empty else None
    if kind == "maxItems":
        return False if leniency.extra_properties else None
    if kind == "enum" and not (error.instance is None and leniency.convert and steps):
        return False if name in leniency.open_enums else None
    if kind == "multipleOf":
        return False
    if kind == "format":
        # Times without zone and the like: the mapping reads what can be read, else takes the
        # time of arrival.
        return False
    if kind in ("type", "enum") and leniency.convert and steps:
        types = error.kind.types if kind == "type" else []
        return _convert(payload, steps, types, name, leniency)
    return None


def _convert(
    payload: dict[str, Any], steps: list[Any], types: list[str], name: str, leniency: Leniency
) -> bool | None:
    parent = _at(payload, steps[:-1])
    if isinstance(parent, dict) and steps[-1] not in parent:
        return True  # another error of the same value has removed it
    value = parent[steps[-1]]
    if value is None:
        # An optional field that is null means that it is not there; if required, the next round
        # of the check says so.
        if isinstance(parent, dict):
            del parent[steps[-1]]
            return True
        return None
    if "integer" in types and name in leniency.fractions and isinstance(value, Decimal):
        return False
    for kind in types:
        converted = _CONVERSIONS[kind](value) if kind in _CONVERSIONS else None
        if converted is not None:
            parent[steps[-1]] = converted
            return True
    if isinstance(value, str) and steps[-1] == "value" and leniency.unreadable.intersection(steps):
        del parent["value"]
        return True
    return None


def _at(payload: Any, steps: list[Any]) -> Any:
    for step in steps:
        payload = payload[step]
    return payload


def _to_string(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | Decimal) else None


def _to_integer(value: Any) -> int | None:
    number = _to_number(value)
    if number is None or number != number.to_integral_value():
        return None
    return int(number)


def _to_number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | Decimal | int):
        return None
    try:
        number = Decimal(value.strip().replace(",", ".") if isinstance(value, str) else value)
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) <= 32 else None


def _to_boolean(value: Any) -> bool | None:
    return {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else None


def _to_array(value: Any) -> list[Any] | None:
    return [value] if isinstance(value, dict) else None


_CONVERSIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "string": _to_string,
    "integer": _to_integer,
    "number": _to_number,
    "boolean": _to_boolean,
    "array": _to_array,
}
