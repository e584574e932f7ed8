"""Routes of the operator API: one table for the server and for its OpenAPI description."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web
from pydantic import BaseModel

from cpo.config import Scope
from cpo.errors import Invalid
from cpo.web.auth import Actor
from cpo.web.body import write_json

if TYPE_CHECKING:
    from cpo.web.services import OperatorServices

DEFAULT_LIMIT = 100
MOST_LIMIT = 1000
LONGEST_CURSOR = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, authorized, its body checked."""

    services: "OperatorServices"
    request: web.Request
    actor: Actor
    body: Any = None
    preset: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Mapping[str, str]:
        """Return the parts of the path that are parameters."""
        return self.request.match_info

    @property
    def query(self) -> Mapping[str, str]:
        """Return the query; what it leaves out may be preset by a page of the console."""
        return {**self.preset, **self.request.query}

    def limit(self) -> int:
        """Return how many items a page may have; raises Invalid."""
        text = self.query.get("limit", str(DEFAULT_LIMIT))
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST_LIMIT):
            raise Invalid("limit", f"is not a number from 1 to {MOST_LIMIT}")
        return int(text)

    def newest_first(self) -> bool:
        """Return in which order a list is wanted; raises Invalid."""
        order = self.query.get("order", "newest")
        if order not in {"newest", "oldest"}:
            raise Invalid("order", "is newest or oldest")
        return order == "newest"

    def cursor(self) -> str | None:
        """Return where the page starts."""
        cursor = self.query.get("cursor") or None
        if cursor is not None and (len(cursor) > LONGEST_CURSOR or not cursor.isprintable()):
            raise Invalid("cursor", "is none of ours")
        return cursor


Answer = web.StreamResponse | Mapping[str, Any] | None
Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A query parameter or header, for the description."""

    name: str
    meaning: str
    place: str = "query"
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})


PAGING = (
    Parameter(
        name="limit",
        meaning="Most items of the page",
        schema={
            "type": "integer",
            "minimum": 1,
            "maximum": MOST_LIMIT,
            "default": DEFAULT_LIMIT,
        },
    ),
    Parameter(name="cursor", meaning="`next_cursor` of the page before"),
)
ORDERED = (
    *PAGING,
    Parameter(
        name="order",
        meaning="By the time of the last change",
        schema={"enum": ["newest", "oldest"], "default": "newest"},
    ),
)
IDEMPOTENCY = Parameter(
    name="Idempotency-Key",
    meaning="Repeats with the same key answer with the first command instead of a new one",
    place="header",
    schema={"type": "string", "maxLength": 255},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A call of the operator API; `path` is below /api/v1 and `{name}` marks parameters.

    `body` is the model of the request's body, or a plain schema for OCPI objects. `answer` is the
    schema of what comes back, None for an empty 204. With `raw` the body is any bytes, which the
    handler reads.
    """

    method: str
    path: str
    handler: Handler
    scope: Scope
    summary: str
    tag: str
    body: type[BaseModel] | Mapping[str, Any] | None = None
    answer: Mapping[str, Any] | None = None
    status: int = 200
    raw: bool = False
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()


def answered(value: Answer, status: int) -> web.StreamResponse:
    """Return what a handler gave as a response."""
    if isinstance(value, web.StreamResponse):
        return value
    if value is None:
        return web.Response(status=204)
    return web.Response(body=write_json(value), status=status, content_type="application/json")


def ref(name: str) -> dict[str, Any]:
    """Return a reference to a schema of the description."""
    return {"$ref": f"#/components/schemas/{name}"}


def list_of(name: str) -> dict[str, Any]:
    """Return the schema of a page of objects."""
    return {
        "type": "object",
        "required": ["items", "next_cursor"],
        "properties": {
            "items": {"type": "array", "items": ref(name)},
            "next_cursor": {"type": ["string", "null"]},
        },
    }
