"""The operator API as the commands use it: plain HTTP from the standard library."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

from cpo import errors


class Unreachable(errors.CpoError):
    """The operator API does not answer."""


class Failed(errors.CpoError):
    """The operator API answered with an error that is nobody's fault here."""


@dataclass(frozen=True, slots=True)
class OperatorApi:
    """The operator API at a base URL, used with a key; `timeout` in seconds."""

    base_url: str
    key: str | None = None
    timeout: float = 60

    def get(self, path: str, **query: Any) -> Any:
        """Return what GET answers."""
        return self.request("GET", path, query=query)

    def pages(self, path: str, *, most: int | None = None, **query: Any) -> Iterator[Any]:
        """Yield the items of a list, page after page, at most so many."""
        cursor: str | None = None
        left = most
        while left is None or left > 0:
            size = 100 if left is None else min(left, 100)
            page = self.get(path, limit=size, cursor=cursor, **query)
            yield from page["items"]
            left = None if left is None else left - len(page["items"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Return the parsed answer of a request, None for an empty one.

        Raises:
            NotFound, Refused, Conflict, Invalid, Failed: what the API said.
            Unreachable: it said nothing.
        """
        raw = self.raw(method, path, body, query=query, headers=headers)
        return json.loads(raw) if raw else None

    def raw(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Return the bytes of an answer; raises as `request`."""
        given = {k: v for k, v in (query or {}).items() if v is not None}
        url = self.base_url + path + ("?" + urllib.parse.urlencode(given) if given else "")
        request = urllib.request.Request(url, method=method)  # noqa: S310 - the operator's own URL
        request.add_header("Accept", "application/json")
        if self.key:
            request.add_header("Authorization", f"Bearer {self.key}")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        # No proxy from the environment: the API is on this machine or on a private network.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=self.timeout) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.UNAUTHORIZED and not self.key:
                raise errors.Refused("no operator key: set CPO_KEY or give --key-file") from None
            raise _told(path, error.code, error.read()) from None
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise Unreachable(f"{self.base_url} does not answer: {reason}") from None


def quoted(part: str) -> str:
    """Return a part of a path, percent-encoded."""
    return urllib.parse.quote(part, safe="")


def _told(path: str, status: int, raw: bytes) -> errors.CpoError:
    try:
        problem = json.loads(raw)
        detail = str(problem.get("detail") or problem.get("title") or status)
        field, step = str(problem.get("field") or ""), str(problem.get("step") or "")
    except (ValueError, AttributeError):
        detail, field, step = f"HTTP {status}", "", ""
    match status:
        case 400 | 422:
            return errors.Invalid(field, detail.removeprefix(f"{field}: ") if field else detail)
        case 401 | 403:
            return errors.Refused(detail)
        case 404:
            return _Missing(f"{path}: not found" if detail.startswith("HTTP ") else detail)
        case 409:
            return errors.Conflict(detail)
        case _:
            return Failed(f"{step}: {detail}" if step else f"HTTP {status}: {detail}")


class _Missing(errors.NotFound):
    def __init__(self, detail: str) -> None:
        errors.CpoError.__init__(self, detail)
        self.kind = self.id = ""
