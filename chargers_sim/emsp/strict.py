"""Strict checks of OCPI objects against the field tables of one version.

The tables under `fields/` hold names, types, cardinalities, lengths and enum values.
What they cannot say (formats of times and coordinates, fields that exclude each other)
is written here as rules beside them.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from chargers_sim.emsp import exact

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z")
_ASCII = re.compile(r"[\x20-\x7e]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_DATE = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")
_ALPHA2 = re.compile(r"[A-Z]{2}")
_ALPHA3 = re.compile(r"[A-Z]{3}")
_PARTY = re.compile(r"[A-Za-z0-9]{3}")
_LANGUAGE = re.compile(r"[A-Za-z]{2}")
_TOKEN = re.compile(r"[\x21-\x7e]+")

_FORMATS: dict[tuple[str, str], re.Pattern[str]] = {
    ("RegularHours", "period_begin"): _CLOCK,
    ("RegularHours", "period_end"): re.compile(_CLOCK.pattern + "|24:00"),
    ("TariffRestrictions", "start_time"): _CLOCK,
    ("TariffRestrictions", "end_time"): _CLOCK,
    ("TariffRestrictions", "start_date"): _DATE,
    ("TariffRestrictions", "end_date"): _DATE,
    ("Location", "country"): _ALPHA3,
    ("CdrLocation", "country"): _ALPHA3,
    ("Credentials", "token"): _TOKEN,
}
_FORMATS_OF_FIELD: dict[str, re.Pattern[str]] = {
    "country_code": _ALPHA2,
    "party_id": _PARTY,
    "currency": _ALPHA3,
    "language": _LANGUAGE,
}

# No CDR carries these: they describe a moment of a running session (SES-11).
_SESSION_ONLY = {"CURRENT", "ENERGY_EXPORT", "ENERGY_IMPORT", "POWER", "STATE_OF_CHARGE"}


@dataclass(frozen=True, slots=True)
class Deviation:
    """One place where an object breaks its table: where, and what is wrong."""

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}" if self.path else self.problem


Rule = Callable[[Mapping[str, Any]], Iterator[Deviation]]


class Tables:
    """The field tables of one OCPI version."""

    def __init__(self, version: str) -> None:
        source = resources.files("chargers_sim.emsp") / "fields" / f"{version}.json"
        document = exact.loads(source.read_bytes())
        self.version = version
        self._objects: dict[str, dict[str, dict[str, Any]]] = document["objects"]
        self._enums: dict[str, dict[str, Any]] = document["enums"]
        self._rules: dict[str, Rule] = {
            "CDR": _cdr_rule,
            "Location": _location_rule,
            "GeoLocation": self._coordinates_rule,
            "AdditionalGeoLocation": self._coordinates_rule,
            "Hours": self._hours_rule,
            "ChargingProfilePeriod": _limit_rule,
            "RegularHours": _weekday_rule,
        }

    def check(self, name: str, value: Any, *, partial: bool = False) -> list[Deviation]:
        """List every deviation of a value from the object called `name`.

        Args:
            name: an object of the tables, such as "Session".
            value: parsed JSON, fractions as `Decimal`.
            partial: whether required fields may be absent, as in a PATCH.
        """
        return list(self._object(name, value, "", partial=partial))

    def fields(self, name: str) -> list[str]:
        """Return the names of an object's fields."""
        return list(self._objects[name])

    def check_list(self, name: str, values: Any) -> list[Deviation]:
        """List every deviation in a list of objects."""
        if not isinstance(values, list):
            return [Deviation("data", f"list expected, got {_kind(values)}")]
        return [
            Deviation(f"[{number}].{deviation.path}", deviation.problem)
            for number, value in enumerate(values)
            for deviation in self.check(name, value)
        ]

    def _object(self, name: str, value: Any, path: str, *, partial: bool) -> Iterator[Deviation]:
        if not isinstance(value, dict):
            yield Deviation(path, f"object expected, got {_kind(value)}")
            return
        table = self._objects[name]
        prefix = f"{path}." if path else ""
        for field in value.keys() - table.keys():
            yield Deviation(prefix + field, f"not a field of {name} in {self.version}")
        for field, spec in table.items():
            yield from self._field(
                name, field, spec, value.get(field), prefix + field,
                absent=value.get(field) is None and (partial and field not in value),
            )  # fmt: skip
        rule = self._rules.get(name)
        if rule is not None and not partial:
            for deviation in rule(value):
                yield Deviation(prefix + deviation.path, deviation.problem)

    def _field(
        self,
        owner: str,
        field: str,
        spec: Mapping[str, Any],
        value: Any,
        path: str,
        *,
        absent: bool,
    ) -> Iterator[Deviation]:
        if absent:
            return
        card = spec["card"]
        if len(card) > 1:  # the envelope's data: whatever the request asked for
            return
        if value is None:
            # Hours of 2.1.1 are a choice of two fields; its own rule checks it.
            if card in "1+" and not (self.version == "2.1.1" and owner == "Hours"):
                yield Deviation(path, "required field missing")
            return
        if card in "1?":
            yield from self._value(owner, field, spec, value, path)
            return
        if not isinstance(value, list):
            yield Deviation(path, f"list expected, got {_kind(value)}")
            return
        if card == "+" and not value:
            yield Deviation(path, "at least one entry is required")
        for number, entry in enumerate(value):
            yield from self._value(owner, field, spec, entry, f"{path}[{number}]")

    def _value(
        self, owner: str, field: str, spec: Mapping[str, Any], value: Any, path: str
    ) -> Iterator[Deviation]:
        kind: str = spec["type"]
        if kind in self._objects:
            yield from self._object(kind, value, path, partial=False)
        elif kind in self._enums:
            yield from self._enum(kind, value, path)
        else:
            problem = _PRIMITIVES[kind](value)
            if problem is None and isinstance(value, str):
                problem = _text_problem(owner, field, value, spec.get("max_length"))
            if problem is not None:
                yield Deviation(path, problem)

    def _enum(self, kind: str, value: Any, path: str) -> Iterator[Deviation]:
        if not isinstance(value, str):
            yield Deviation(path, f"{kind} expected, got {_kind(value)}")
        elif value not in self._enums[kind]["values"] and not self._enums[kind]["open"]:
            yield Deviation(path, f"{value!r} is not a {kind} of {self.version}")

    def _coordinates_rule(self, value: Mapping[str, Any]) -> Iterator[Deviation]:
        digits = "6" if self.version == "2.1.1" else "5,7"
        for field, whole, limit in (("latitude", "1,2", 90), ("longitude", "1,3", 180)):
            text = value.get(field)
            if not isinstance(text, str):
                continue
            if re.fullmatch(rf"-?\d{{{whole}}}\.\d{{{digits}}}", text) is None:
                yield Deviation(field, f"{text!r} does not have {digits} decimals")
            elif abs(Decimal(text)) > limit:
                yield Deviation(field, f"{text} is beyond {limit} degrees")

    def _hours_rule(self, value: Mapping[str, Any]) -> Iterator[Deviation]:
        always = value.get("twentyfourseven")
        regular = value.get("regular_hours")
        if always is False and not regular:
            yield Deviation("regular_hours", "required when twentyfourseven is false")
        if self.version == "2.1.1" and always is None and not regular:
            yield Deviation(
                "twentyfourseven", "one of twentyfourseven and regular_hours is required"
            )


@cache
def tables(version: str) -> Tables:
    """Return the tables of a version, read once."""
    return Tables(version)


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _string(value: Any) -> str | None:
    if not isinstance(value, str):
        return f"string expected, got {_kind(value)}"
    return "control character in the text" if _CONTROL.search(value) else None


def _ci_string(value: Any) -> str | None:
    if not isinstance(value, str):
        return f"string expected, got {_kind(value)}"
    return None if _ASCII.fullmatch(value) else "not printable ASCII"


def _url(value: Any) -> str | None:
    if not isinstance(value, str):
        return f"URL expected, got {_kind(value)}"
    if len(value) > 255:
        return f"length {len(value)} > 255"
    parts = urlsplit(value)
    return None if parts.scheme in {"http", "https"} and parts.netloc else f"{value!r} is no URL"


def _date_time(value: Any) -> str | None:
    if not isinstance(value, str):
        return f"DateTime expected, got {_kind(value)}"
    if _DATE_TIME.fullmatch(value) is None:
        return f"{value!r} is not a UTC time with Z"
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return f"{value!r} is not a time"
    return None


def _number(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return f"number expected, got {_kind(value)}"
    if "E" in str(value):
        return f"{value} is written with an exponent"
    return f"{value} has more than 4 decimals" if value != round(value, 4) else None


def _int(value: Any) -> str | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return None if whole else f"int expected, got {_kind(value)}"


def _boolean(value: Any) -> str | None:
    return None if isinstance(value, bool) else f"boolean expected, got {_kind(value)}"


_PRIMITIVES: dict[str, Callable[[Any], str | None]] = {
    "string": _string,
    "String": _string,
    "CiString": _ci_string,
    "URL": _url,
    "DateTime": _date_time,
    "number": _number,
    "int": _int,
    "boolean": _boolean,
    "Array or Object or String": lambda _value: None,
}


def _text_problem(owner: str, field: str, value: str, max_length: int | None) -> str | None:
    if max_length is not None and len(value) > max_length:
        return f"length {len(value)} > {max_length}"
    pattern = _FORMATS.get((owner, field)) or _FORMATS_OF_FIELD.get(field)
    if pattern is not None and pattern.fullmatch(value) is None:
        return f"{value!r} has not the form of a {field}"
    return None


def _amount(price: Any) -> Decimal | int | None:
    if isinstance(price, dict):
        price = price.get("excl_vat", price.get("before_taxes"))
    return price if isinstance(price, int | Decimal) else None


def _cdr_rule(cdr: Mapping[str, Any]) -> Iterator[Deviation]:
    credit = cdr.get("credit") is True
    if credit and not cdr.get("credit_reference_id"):
        yield Deviation("credit_reference_id", "required in a credit CDR")
    amount = _amount(cdr.get("total_cost"))
    if amount is not None and amount < 0 and not credit:
        yield Deviation("total_cost", "negative outside a credit CDR")
    for number, period in enumerate(cdr.get("charging_periods") or []):
        for dimension in period.get("dimensions") or [] if isinstance(period, dict) else []:
            if isinstance(dimension, dict) and dimension.get("type") in _SESSION_ONLY:
                yield Deviation(
                    f"charging_periods[{number}]", f"{dimension['type']} is for Sessions only"
                )


def _location_rule(location: Mapping[str, Any]) -> Iterator[Deviation]:
    if location.get("publish") is True and location.get("publish_allowed_to"):
        yield Deviation("publish_allowed_to", "only allowed when publish is false")
    uids = [evse.get("uid") for evse in location.get("evses") or [] if isinstance(evse, dict)]
    if len(set(map(str, uids))) != len(uids):
        yield Deviation("evses", "the same uid twice")


def _limit_rule(period: Mapping[str, Any]) -> Iterator[Deviation]:
    limit = period.get("limit")
    if isinstance(limit, Decimal) and limit != round(limit, 1):
        yield Deviation("limit", f"{limit} has more than 1 decimal")


def _weekday_rule(hours: Mapping[str, Any]) -> Iterator[Deviation]:
    if hours.get("weekday") not in range(1, 8):
        yield Deviation("weekday", "1 (Monday) to 7 expected")
