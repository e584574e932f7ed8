"""Bodies of requests: read within limits, exact numbers, nothing that a database cannot keep."""

import asyncio
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from pydantic import BaseModel, ValidationError

from cpo.errors import Invalid
from cpo.web.problems import NotJson

Model = TypeVar("Model", bound=BaseModel)

DEEPEST = 32
# Slow senders are cut: aiohttp itself waits for ever.
READ_SECONDS = 15

_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


async def read_json(request: web.Request) -> Any:
    """Return the parsed body, `{}` for none; numbers with a point are Decimals.

    Raises:
        NotJson: it is not JSON, or not within the limits.
        Invalid: a text or number in it cannot be stored.
    """
    try:
        async with asyncio.timeout(READ_SECONDS):
            raw = await request.read()
    except TimeoutError:
        raise NotJson("", f"the body did not arrive within {READ_SECONDS} s") from None
    if not raw.strip():
        return {}
    try:
        value = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, ArithmeticError) as error:
        raise NotJson("", f"the body is not JSON: {error}") from None
    except RecursionError:
        raise NotJson("", "the body is nested too deep") from None
    _check(value, "", 0)
    return value


def write_json(value: Any) -> bytes:
    """Return a value as JSON: Decimals as exact numbers, instants with Z."""
    return _encoder.encode(value)


def parse(model: type[Model], value: Any) -> Model:
    """Return a body as its model; raises Invalid naming the field."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Invalid(_dotted(first["loc"]), _plain(first["msg"])) from None


def check_text(text: str, name: str) -> None:
    """Refuse a text that a database cannot keep.

    Raises:
        Invalid: it has a NUL character or half of a surrogate pair.
    """
    if "\0" in text:
        raise Invalid(name, "has a NUL character")
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise Invalid(name, "has half a character")


def _plain(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _dotted(loc: tuple[int | str, ...]) -> str:
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.removeprefix(".")


def _check(value: Any, path: str, depth: int) -> None:
    if depth > DEEPEST:
        raise NotJson("", "the body is nested too deep")
    match value:
        case dict():
            for key, inner in value.items():
                _check(key, path, depth)
                _check(inner, f"{path}.{key}" if path else key, depth + 1)
        case list():
            for index, inner in enumerate(value):
                _check(inner, f"{path}[{index}]", depth + 1)
        case str():
            check_text(value, path)
        case int() if abs(value) >= 1 << 63:
            raise Invalid(path, "is too large a number")
        case Decimal() if not value.is_finite() or abs(value.adjusted()) > 40:
            raise Invalid(path, "is no usable number")
