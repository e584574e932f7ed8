"""Field types of the wire models, and their two readings.

The same model reads what partners send and checks what is sent to them:

- *strict*, for what leaves: exactly the field table of the version, nothing more, nothing sloppy;
- *tolerant*, for what arrives: nulls, unknown fields, numbers as text, offsets in instants and
  unknown values of open lists are taken as what they obviously mean (TRANS-20 to TRANS-26). A
  number for a text is not among them: the zeros that an id began with are gone from it. Nor is a
  word for a boolean: whoever writes "yes" may mean something else by "no".

A model knows nothing of the difference; its field types ask the reading they are validated in.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Annotated, Any, Final, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from cpo.errors import Invalid

STRICT: Final = "strict"
TOLERANT: Final = "tolerant"

_MOST_DECIMALS = 4
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_STRICT_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z")
_LONG_FRACTION = re.compile(r"(\.\d{6})\d+")
_DECIMAL_TEXT = re.compile(r"[+-]?\d{1,20}(\.\d{1,20})?")


def problem(text: str) -> PydanticCustomError:
    """Make the error by which a validator says what is wrong with its field."""
    # The text becomes a template in which braces mean something.
    return PydanticCustomError("ocpi", "{text}", {"text": text})


@dataclass(frozen=True, slots=True)
class Text:
    """OCPI `string`: case counts, printable, at most `most` characters."""

    most: int | None = None

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.with_info_after_validator_function(
            _printable, core_schema.str_schema(max_length=self.most)
        )


@dataclass(frozen=True, slots=True)
class CiText:
    """OCPI `CiString`: case does not count, printable ASCII, at most `most` characters.

    The sender's spelling is kept; whoever compares folds the case.
    """

    most: int | None = None

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            _printable_ascii, core_schema.str_schema(max_length=self.most)
        )


@dataclass(frozen=True, slots=True)
class Url:
    """OCPI `URL`: an absolute http or https URL of at most 255 characters."""

    most: int = 255

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.with_info_after_validator_function(
            _absolute_url, core_schema.str_schema()
        )


@dataclass(frozen=True, slots=True)
class OneOf:
    """A value of a list; of an open list an arriving unknown value is kept as text (TRANS-24)."""

    values: frozenset[str]
    open: bool = False

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        values, is_open = self.values, self.open

        def check(value: str, info: ValidationInfo) -> str:
            if value in values or (is_open and info.context != STRICT and 0 < len(value) <= 255):
                return value
            raise problem(f"{value[:40]!r} is not one of {', '.join(sorted(values))}")

        return core_schema.with_info_after_validator_function(check, core_schema.str_schema())


@dataclass(frozen=True, slots=True)
class Shape:
    """A form that a text of ours must have; what arrives is not held to it."""

    pattern: str
    meaning: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        matches, meaning = re.compile(self.pattern).fullmatch, self.meaning

        def check(value: str, info: ValidationInfo) -> str:
            if info.context == STRICT and not matches(value):
                raise problem(f"{value[:40]!r} is not {meaning}")
            return value

        return core_schema.with_info_after_validator_function(check, handler(source))


def _printable(value: str, info: ValidationInfo) -> str:
    # isprintable() is far cheaper, and stricter: it also refuses the no-break space.
    if info.context == STRICT and not value.isprintable() and _CONTROL.search(value):
        raise problem("a control character")
    return value


def _printable_ascii(value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise problem("a character that is not printable ASCII")
    return value


def _absolute_url(value: str, info: ValidationInfo) -> str:
    if not value.lower().startswith(("http://", "https://")):
        raise problem("not an absolute http or https URL")
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise problem("a character that no URL may hold")
    if info.context == STRICT and len(value) > 255:
        raise problem("longer than 255 characters")
    return value


def _read_instant(value: Any, info: ValidationInfo) -> datetime:
    """Read a DateTime (TRANS-22); without a designator it is UTC."""
    if not isinstance(value, str):
        raise problem("a DateTime is a text")
    if info.context == STRICT and not _STRICT_INSTANT.fullmatch(value):
        raise problem("a DateTime is written 2026-01-31T12:00:00Z")
    try:
        text = _LONG_FRACTION.sub(r"\1", value.strip()) if len(value) > 24 else value.strip()
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise problem(f"{value[:40]!r} is not a DateTime") from None


def _read_number(value: Any, info: ValidationInfo) -> Decimal:
    """Read a number (TRANS-23)."""
    if isinstance(value, str) and info.context != STRICT and _DECIMAL_TEXT.fullmatch(value):
        value = Decimal(value)
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise problem("a number is expected")
    read = Decimal(value)
    if not read.is_finite():
        raise problem("a number is expected")
    exponent = read.as_tuple().exponent
    if info.context == STRICT and isinstance(exponent, int) and exponent < -_MOST_DECIMALS:
        raise problem("more than 4 decimals")
    return read


def _read_integer(value: Any, info: ValidationInfo) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if info.context != STRICT:
        try:
            read = Decimal(value) if isinstance(value, (str, Decimal)) else None
        except InvalidOperation:
            read = None
        if (
            read is not None
            and read.is_finite()
            and abs(read) < 10**18
            and read == read.to_integral_value()
        ):
            return int(read)
    raise problem("a whole number is expected")


def _read_coordinate(value: Any, info: ValidationInfo, limit: int) -> str:
    if info.context == STRICT:
        if not isinstance(value, str) or not re.fullmatch(r"-?\d{1,3}\.\d{6}", value):
            raise problem("a coordinate is a text with 6 decimals")
    elif isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        value = str(value)
    elif not isinstance(value, str) or not re.fullmatch(r"\s*[+-]?\d{1,3}(\.\d{1,20})?\s*", value):
        raise problem("a coordinate is a text of digits")
    text: str = value
    if abs(Decimal(text)) > limit:
        raise problem(f"beyond {limit} degrees")
    return text


def _read_latitude(value: Any, info: ValidationInfo) -> str:
    return _read_coordinate(value, info, 90)


def _read_longitude(value: Any, info: ValidationInfo) -> str:
    return _read_coordinate(value, info, 180)


@dataclass(frozen=True, slots=True)
class Kind:
    """Names the field table's type of a field whose Python type does not say it."""

    name: str
    most: int | None = None


Instant = Annotated[datetime, PlainValidator(_read_instant), Kind("DateTime")]
Number = Annotated[Decimal, PlainValidator(_read_number), Kind("number")]
Integer = Annotated[int, PlainValidator(_read_integer), Kind("int")]
Latitude = Annotated[str, PlainValidator(_read_latitude), Kind("string", 10)]
Longitude = Annotated[str, PlainValidator(_read_longitude), Kind("string", 11)]
WebAddress = Annotated[str, Url()]

Ci2 = Annotated[str, CiText(2)]
Ci3 = Annotated[str, CiText(3)]
Ci4 = Annotated[str, CiText(4)]
Ci36 = Annotated[str, CiText(36)]
Ci39 = Annotated[str, CiText(39)]
Ci48 = Annotated[str, CiText(48)]

CountryCode = Annotated[str, CiText(2), Shape(r"[A-Za-z]{2}", "an ISO 3166 alpha-2 code")]
Country = Annotated[str, Text(3), Shape(r"[A-Z]{3}", "an ISO 3166 alpha-3 code")]
Currency = Annotated[str, Text(3), Shape(r"[A-Z]{3}", "an ISO 4217 code")]
Language = Annotated[str, Text(2), Shape(r"[a-z]{2}", "an ISO 639-1 code")]
ClockTime = Annotated[str, Text(5), Shape(r"([01]\d|2[0-3]):[0-5]\d|24:00", "a time HH:MM")]
CalendarDate = Annotated[
    str, Text(10), Shape(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])", "a date YYYY-MM-DD")
]

Str2 = Annotated[str, Text(2)]
Str3 = Annotated[str, Text(3)]
Str5 = Annotated[str, Text(5)]
Str10 = Annotated[str, Text(10)]
Str36 = Annotated[str, Text(36)]
Str39 = Annotated[str, Text(39)]
Str45 = Annotated[str, Text(45)]
Str64 = Annotated[str, Text(64)]
Str255 = Annotated[str, Text(255)]
Str512 = Annotated[str, Text(512)]


def strict_rule(rule: Callable[[Any], str | None]) -> Any:
    """Make a method of a model say what is wrong with its fields together, in what leaves.

    The method returns the problem, or None.
    """

    def check(self: Any, info: ValidationInfo) -> Any:
        if info.context == STRICT:
            found = rule(self)
            if found is not None:
                raise problem(found)
        return self

    check.rule = rule  # type: ignore[attr-defined]
    return model_validator(mode="after")(check)


class Wire(BaseModel):
    """An object of OCPI as it stands in a message."""

    # Built at first use: most processes speak one version, and read few of its objects.
    model_config = ConfigDict(frozen=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, value: Any, info: ValidationInfo) -> Any:
        """Take null as absent (TRANS-20); none is ever sent."""
        if not isinstance(value, dict) or None not in value.values():
            return value
        if info.context != STRICT:
            return {name: item for name, item in value.items() if item is not None}
        name = next(name for name, item in value.items() if item is None)
        raise problem(f"{name} is null")

    @classmethod
    def read(cls, value: Any) -> Self:
        """Read what a partner sent, with patience.

        Raises:
            Invalid: names the first field that cannot be understood.
        """
        try:
            return cls.model_validate(value, strict=True, extra="ignore", context=TOLERANT)
        except ValidationError as error:
            raise problems_of(error)[0] from None

    @classmethod
    def problems(cls, value: Any, *, partial: bool = False) -> tuple[Invalid, ...]:
        """Check what is to be sent against the field table; nothing found is an empty tuple.

        Args:
            value: the object as it will be written, in Python's types.
            partial: it is the body of a PATCH, in which required fields may be missing.
        """
        try:
            cls.model_validate(value, strict=True, extra="forbid", context=STRICT)
        except ValidationError as error:
            return problems_of(error, partial=partial)
        return ()


@cache
def field_names(model: type[Wire]) -> frozenset[str]:
    """Return the names of a model's fields."""
    return frozenset(model.model_fields)


W = TypeVar("W", bound=Wire)


def read_all(model: type[W], items: Iterable[Any]) -> tuple[list[W], list[Invalid]]:
    """Read the items of a pulled list: the good ones, and what is wrong with the others (TRANS-26).

    The fields of the problems begin with the index of their item.
    """
    good: list[W] = []
    bad: list[Invalid] = []
    for index, item in enumerate(items):
        try:
            good.append(model.read(item))
        except Invalid as problem:
            path = f"[{index}].{problem.field}" if problem.field else f"[{index}]"
            bad.append(Invalid(path, problem.problem))
    return good, bad


def problems_of(error: ValidationError, *, partial: bool = False) -> tuple[Invalid, ...]:
    """Turn pydantic's findings into the fields and problems a partner can understand."""
    return tuple(
        Invalid(_path(found["loc"]), _WORDING.get(found["type"], found["msg"]))
        for found in error.errors(include_url=False, include_input=False)
        if not (partial and found["type"] == "missing" and len(found["loc"]) == 1)
    )


_WORDING = {
    "missing": "required",
    "extra_forbidden": "no field of this OCPI version",
    "model_type": "an object is expected",
    "list_type": "a list is expected",
    "string_type": "a text is expected",
    "bool_type": "true or false is expected",
    "bool_parsing": "true or false is expected",
}


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path
