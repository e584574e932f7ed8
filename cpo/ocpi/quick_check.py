"""The strict check again, twenty times cheaper, for what is nearly always right.

Every object that leaves is checked against its field table (promise 7). The models that know the
tables take some 100 µs for it, more than everything else of rendering together. From the same
models this module makes msgspec types, which read the rendered text once. What they accept the
models accept too; what they do not, for whatever reason, the models judge and explain.
"""

import re
import types
import typing
from functools import cache
from typing import Annotated, Any, Literal

import msgspec
from annotated_types import Len, MinLen
from pydantic.fields import FieldInfo

from cpo.ocpi.fields import CiText, Kind, OneOf, Shape, Text, Url, Wire

# Days that every such month has: a 29th of February is left to the model.
_DAY = r"((0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)"
_INSTANT = rf"^[12]\d{{3}}-{_DAY}T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{{1,3}})?Z$"
_LATITUDE = r"^-?(\d|[1-8]\d)\.\d{6}$"
_LONGITUDE = r"^-?(\d|\d\d|1[0-7]\d)\.\d{6}$"
_URL = r"^(?i:https?)://[!-~]+$"
# Five decimals and more at the end of a number: in texts a quotation mark would follow.
_TOO_FINE = re.compile(rb"\.\d{5,}[,}\]]")


def passes(model: type[Wire], text: bytes, *, partial: bool = False) -> bool:
    """Tell whether rendered JSON is certainly an object as its field table wants it.

    False means only that it is not certain. An escape in a text, a letter beyond ASCII or a null
    are beyond what is looked at here.
    """
    if not text.isascii() or b"\\" in text or b"\x7f" in text or b"null" in text:
        return False
    decoder = _decoder(model, partial)
    if decoder is None or _TOO_FINE.search(text):
        return False
    try:
        decoder.decode(text)
    except msgspec.ValidationError:
        return False
    return True


@cache
def _decoder(model: type[Wire], partial: bool) -> "msgspec.json.Decoder[Any] | None":
    struct = _struct(model, partial)
    return None if struct is None else msgspec.json.Decoder(struct)


@cache
def _struct(model: type[Wire], partial: bool = False) -> Any:
    """Make the msgspec type of a model; None when the model has a rule that cannot be carried."""
    rules = []
    for decorator in model.__pydantic_decorators__.model_validators.values():
        if decorator.info.mode == "after":
            rule = getattr(decorator.func, "rule", None)
            if rule is None:
                return None
            rules.append(rule)
    listed: list[Any] = []
    for name, info in model.model_fields.items():
        type_ = _type(info)
        if type_ is None:
            return None
        if info.is_required() and not partial:
            listed.append((name, type_))
        else:
            # The default stands for "absent"; a null in the text never comes this far.
            is_list = info.default == []
            listed.append((name, type_ if is_list else type_ | None, [] if is_list else None))
    namespace: dict[str, Any] = {
        name: member
        for parent in reversed(model.__mro__)
        for name, member in vars(parent).items()
        if issubclass(parent, Wire) and parent is not Wire and isinstance(member, property)
    }
    if rules and not partial:
        namespace["__post_init__"] = _follow(tuple(rules))
    return msgspec.defstruct(
        model.__name__,
        listed,
        namespace=namespace,
        forbid_unknown_fields=True,
        kw_only=True,
    )


def _follow(rules: tuple[Any, ...]) -> Any:
    def check(self: Any) -> None:
        for rule in rules:
            if rule(self) is not None:
                raise ValueError

    return check


def _type(info: FieldInfo) -> Any:
    """Return the msgspec type of a field, None when there is none."""
    annotation: Any = info.annotation
    marks = list(info.metadata)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        (annotation,) = [one for one in typing.get_args(annotation) if one is not types.NoneType]
    if typing.get_origin(annotation) is list:
        least = max((m.min_length for m in marks if isinstance(m, (Len, MinLen))), default=0)
        (item,) = typing.get_args(annotation)
        checked = _single(item, [])
        if checked is None:
            return None
        return Annotated[list[checked], msgspec.Meta(min_length=least)]  # type: ignore[valid-type]
    return _single(annotation, marks)


def _single(annotation: Any, marks: list[Any]) -> Any:
    if typing.get_origin(annotation) is Annotated:
        marks = [*annotation.__metadata__, *marks]
        annotation = annotation.__origin__
    if isinstance(annotation, type) and issubclass(annotation, Wire):
        return _struct(annotation)
    if annotation is bool:
        return bool
    result: Any = None
    shape: str | None = None
    for mark in marks:
        match mark:
            case OneOf(values):
                return Literal[tuple(sorted(values))]
            case Kind("DateTime"):
                return Annotated[str, msgspec.Meta(pattern=_INSTANT)]
            case Kind("number"):
                return int | float
            case Kind("int"):
                return int
            case Kind("string", 10):
                return Annotated[str, msgspec.Meta(pattern=_LATITUDE)]
            case Kind("string", 11):
                return Annotated[str, msgspec.Meta(pattern=_LONGITUDE)]
            case Url(most):
                return Annotated[str, msgspec.Meta(pattern=_URL, max_length=most)]
            case Text(most) | CiText(most):
                result = most
            case Shape(pattern):
                shape = f"^(?:{pattern})$"
            case _:
                pass
    return Annotated[str, msgspec.Meta(max_length=result, pattern=shape)]
