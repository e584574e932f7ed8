"""Requests of the double to a CPO: headers, envelope, paging; every one is journalled."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from chargers_sim.emsp import exact
from chargers_sim.emsp.editions import Edition
from chargers_sim.emsp.journal import Exchange, Journal
from chargers_sim.emsp.peers import encoded
from chargers_sim.emsp.strict import tables

_MOST_PAGES = 10_000
_LINK = re.compile(r"""<([^>]*)>((?:[^,"]|"[^"]*")*)""")


class CallFailed(Exception):
    """The CPO could not be reached, or answered with anything but success."""

    def __init__(self, step: str, detail: str, *, answer: "Answered | None" = None) -> None:
        super().__init__(f"{step}: {detail}")
        self.step = step
        self.detail = detail
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that was received, whatever it says."""

    status: int
    status_code: int | None
    message: str | None
    data: Any
    headers: Mapping[str, str]
    exchange: Exchange

    @property
    def good(self) -> bool:
        """Whether HTTP and OCPI both say success (TRANS-15)."""
        in_ocpi = self.status_code is None or 1000 <= self.status_code < 2000
        return 200 <= self.status < 300 and in_ocpi


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Sends requests with one token to one platform."""

    http: aiohttp.ClientSession
    journal: Journal
    peer: str
    token: str
    base64_token: bool
    edition: Edition | None = None
    route: Mapping[str, str] | None = None
    timeout: float = 30

    async def request(
        self,
        step: str,
        method: str,
        url: str,
        *,
        body: Any = None,
        module: str | None = None,
        object_name: str | None = None,
        headers: Mapping[str, str] | None = None,
        good_only: bool = True,
    ) -> Answered:
        """Send one request and read its answer.

        Args:
            step: what is being done, for the error.
            method: HTTP method.
            url: absolute URL, encoded.
            body: sent as JSON unless None.
            module: OCPI module, for the journal; those with routing headers get them.
            object_name: what it is about, for the journal.
            headers: more headers, or other values for ours.
            good_only: whether an answer that is no success raises.

        Raises:
            CallFailed: no answer, or (with `good_only`) an answer that is no success.
        """
        sent = self._headers(module, body is not None) | dict(headers or {})
        target = URL(url, encoded=True)
        exchange = self.journal.open(
            "out", method, target.raw_path, query=target.raw_query_string, headers=sent, body=body,
            module=module, object=object_name, peer=self.peer,
            version=self.edition.version if self.edition else None,
        )  # fmt: skip
        try:
            async with asyncio.timeout(self.timeout):
                async with self.http.request(
                    method,
                    target,
                    data=None if body is None else exact.dumps(body),
                    headers=sent,
                    allow_redirects=False,
                ) as response:
                    exchange.status = response.status
                    exchange.response_headers = dict(response.headers)
                    text = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            exchange.error = f"{type(error).__name__}: {error}".rstrip(": ")
            raise CallFailed(step, f"{url}: {exchange.error}") from error
        finally:
            self.journal.close(exchange)
        answer = self._read(exchange, text)
        if good_only and not answer.good:
            said = (
                f"HTTP {answer.status}, OCPI {answer.status_code} {answer.message or ''}".rstrip()
            )
            raise CallFailed(step, f"{url}: {said}", answer=answer)
        return answer

    async def pages(
        self, step: str, url: str, *, module: str, wanted: str
    ) -> AsyncIterator[tuple[list[Any], Answered]]:
        """Yield page after page of a list, by following Link only (PAG-5, PAG-6).

        Raises:
            CallFailed: a page could not be had.
        """
        seen: set[str] = set()
        next_url: str | None = url
        while next_url is not None and next_url not in seen and len(seen) < _MOST_PAGES:
            seen.add(next_url)
            answer = await self.request(step, "GET", next_url, module=module)
            data = answer.data if isinstance(answer.data, list) else []
            self._check_page(answer, data, wanted)
            yield data, answer
            link = _next_link(answer.headers.get("Link", ""))
            next_url = urljoin(next_url, link) if link and data else None

    def _headers(self, module: str | None, with_body: bool) -> dict[str, str]:
        token = encoded(self.token) if self.base64_token else self.token
        headers = {
            "Authorization": f"Token {token}",
            "X-Request-ID": str(uuid.uuid4()),
            "X-Correlation-ID": str(uuid.uuid4()),
        }
        if with_body:
            headers["Content-Type"] = "application/json"
        if self.route and module not in {None, "versions", "credentials", "hubclientinfo"}:
            headers |= self.route
        return headers

    def _read(self, exchange: Exchange, text: bytes) -> Answered:
        status = exchange.status or 0
        headers = _Headers(exchange.response_headers)
        self._check_ids(exchange, headers)
        if not text:
            return Answered(status, None, None, None, headers, exchange)
        try:
            envelope = exact.loads(text)
        except ValueError:
            exchange.response = text[:2000].decode(errors="replace")
            self._blame(exchange, "envelope", "", "the answer is not JSON")
            return Answered(status, -1, None, None, headers, exchange)
        exchange.response = envelope
        if not isinstance(envelope, dict):
            self._blame(exchange, "envelope", "", "the answer is not an envelope")
            return Answered(status, -1, None, None, headers, exchange)
        checked = tables(self.edition.version if self.edition else "2.3.0")
        for deviation in checked.check("ResponseFormat", envelope):
            self._blame(exchange, "envelope", deviation.path, deviation.problem)
        if status >= 500:
            self._blame(exchange, "envelope", "", f"HTTP {status}")
        code = envelope.get("status_code")
        exchange.status_code = code if isinstance(code, int) else -1
        message = envelope.get("status_message")
        return Answered(
            status, exchange.status_code, message, envelope.get("data"), headers, exchange
        )

    def _check_ids(self, exchange: Exchange, headers: Mapping[str, str]) -> None:
        for name in ("X-Request-ID", "X-Correlation-ID"):
            if headers.get(name) != exchange.headers[name]:
                self._blame(exchange, "headers", name, "not repeated in the answer")

    def _check_page(self, answer: Answered, data: list[Any], wanted: str) -> None:
        version = self.edition.version if self.edition else "2.3.0"
        for deviation in tables(version).check_list(wanted, answer.data):
            self._blame(answer.exchange, wanted, deviation.path, deviation.problem)
        for name in ("X-Total-Count", "X-Limit"):
            if not answer.headers.get(name, "").isdigit():
                self._blame(answer.exchange, "headers", name, "missing in a list")
        limit = answer.headers.get("X-Limit", "")
        if limit.isdigit() and len(data) > int(limit):
            self._blame(answer.exchange, "headers", "X-Limit", "the page holds more than that")

    def _blame(self, exchange: Exchange, name: str, path: str, problem: str) -> None:
        self.journal.blame(exchange, name, path, problem)


class _Headers(dict[str, str]):
    """Headers found whatever the case of their name (HDR-9)."""

    def __init__(self, raw: Mapping[str, str]) -> None:
        super().__init__({name.lower(): value for name, value in raw.items()})

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


def _next_link(header: str) -> str | None:
    for url, parameters in _LINK.findall(header):
        if re.search(r'rel\s*=\s*"?next"?', parameters):
            return str(url)
    return None
