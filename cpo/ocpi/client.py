"""Requests to partners: what goes out, and what may come back.

A request never raises for what a partner may do; every outcome is an Answer
that says what is to be done about it. Addresses are guarded, redirects are not
followed (but for one dialect), answers are bounded in size and time.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit
from uuid import UUID

import aiohttp
import structlog
from yarl import URL

from cpo.domain.values import Named, replace
from cpo.errors import Invalid
from cpo.ocpi import exact_json
from cpo.ocpi.access import authorization
from cpo.ocpi.delivery import Failure, failure_of, is_duplicate, retry_after
from cpo.ocpi.envelope import (
    Envelope,
    exact_time,
    join,
    next_link,
    ocpi_time,
    read_envelope,
    with_query,
)
from cpo.ocpi.guard import UrlGuard

log = structlog.get_logger()

LARGEST_ANSWER = 1024 * 1024
CONNECT_TIMEOUT = 3.0
# Shorter than what servers keep (uvicorn: 5 s), so that no request meets a closing connection.
KEEP_ALIVE = 4.0
LONGEST_PAUSE_ASKED = 3600.0
MOST_PAGES = 100_000
NO_ANSWER = Envelope(None)
# Names of requests: they must differ, and need not be hard to guess.
_CHANCE = random.Random()

Party = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Line:
    """How one partner is spoken to; made once from the partner and its dialect.

    `us` and `them` are the parties of the routing headers; `us` None leaves them
    all out (2.1.1), `them` None is open routing (HDR-6).
    """

    partner_id: str
    token: str
    encoded_token: bool
    us: Party | None = None
    them: Party | None = None
    trailing_slash: bool = False
    redirects: bool = False
    empty_data: bool = True
    page_size: int | None = None
    dates_with_z: bool = True

    def url(self, base: str, *segments: str) -> str:
        """Put segments behind one of the partner's URLs, in its habit of ending them."""
        joined = join(base, *segments)
        if not self.trailing_slash or (not segments and joined.partition("?")[0].endswith("/")):
            return joined
        path, question, query = joined.partition("?")
        return f"{path.rstrip('/')}/{question}{query}"

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """What every request to this partner carries."""
        return {
            "User-Agent": "cpo",
            "Authorization": authorization(self.token, encoded=self.encoded_token),
        }

    @cached_property
    def routed_headers(self) -> Mapping[str, str]:
        """The same, with the routing headers."""
        headers = dict(self.headers)
        if self.us is not None:
            headers["OCPI-from-country-code"], headers["OCPI-from-party-id"] = self.us
            if self.them is not None:
                headers["OCPI-to-country-code"], headers["OCPI-to-party-id"] = self.them
        return headers


class Answer(Named, frozen=True):
    """What came of a request. `failure` None is success; `http_status` None is no answer."""

    http_status: int | None = None
    envelope: Envelope = NO_ANSWER
    failure: Failure | None = None
    detail: str = ""
    location: str | None = None
    next_url: str | None = None
    total: int | None = None
    retry_after: float | None = None
    redirected: bool = False
    # No connection came about: the partner cannot have seen the request.
    unsent: bool = False
    allow: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the partner took it."""
        return self.failure is None

    @property
    def data(self) -> Any:
        """What the partner gave, None when nothing."""
        return self.envelope.data

    @property
    def duplicate(self) -> bool:
        """Whether the partner says that it has the object already (CDR-19)."""
        return self.failure is not None and is_duplicate(self.http_status, self.envelope)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRead:
    """One page of a partner's list, with the address of the next, None after the last.

    `listed` is False where no list came: its items are not known to be none.
    """

    url: str
    items: list[Any]
    next_url: str | None
    total: int | None
    listed: bool = True


class PageFailed(Exception):
    """A page of a list could not be read; `url` is where to go on."""

    def __init__(self, url: str, answer: Answer) -> None:
        super().__init__(answer.detail)
        self.url = url
        self.answer = answer


@dataclass(slots=True)
class Client:
    """Sends OCPI requests. One for all partners: connections are pooled per host.

    Args:
        guard: decides about partner-given URLs.
        timeout: seconds for one request in all.
    """

    guard: UrlGuard
    timeout: float = 10.0
    _session: aiohttp.ClientSession | None = field(default=None, init=False)

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            limit=0, socket_factory=self.guard.socket, keepalive_timeout=KEEP_ALIVE
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        # aiohttp would repeat a GET, PUT or DELETE by itself after a broken connection, with the
        # same X-Request-ID and unseen by the lanes; it has no public switch for that.
        self._session._retry_connection = False  # noqa: SLF001
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self,
        line: Line,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        routed: bool = True,
        correlation_id: str | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """Send one request and read the answer.

        Args:
            line: how the partner is spoken to.
            method: the HTTP method.
            url: a URL of the partner.
            body: JSON text.
            routed: send routing headers; not on versions, credentials and hubclientinfo (HDR-3).
            correlation_id: of the chain this belongs to; None begins one.
            timeout: seconds in all, instead of the usual.
        """
        request_id = str(UUID(int=_CHANCE.getrandbits(128), version=4))
        headers = {
            **(line.routed_headers if routed else line.headers),
            "X-Request-ID": request_id,
            "X-Correlation-ID": correlation_id or request_id,
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        limit = self.timeout if timeout is None else timeout
        return await self._send(line, method, url, headers, body, limit)

    async def _send(
        self,
        line: Line,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        seconds: float,
    ) -> Answer:
        try:
            async with asyncio.timeout(seconds):
                redirected = False
                for _ in range(3):
                    self.guard.check(url, "url")
                    answer, moved = await self._once(method, url, headers, body)
                    if moved is None or not line.redirects or not _same_host(url, moved):
                        break
                    url, redirected = moved, True
                if redirected:
                    answer = replace(answer, redirected=True)
        except Invalid as error:
            return Answer(failure=Failure.REFUSED, detail=str(error), unsent=True)
        except TimeoutError:
            return Answer(failure=Failure.NETWORK, detail=f"no answer within {seconds:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # ValueError: a header or URL from the partner that aiohttp cannot write.
            unsent = isinstance(error, (aiohttp.ClientConnectorError, ValueError))
            return Answer(failure=Failure.NETWORK, detail=_reason(error), unsent=unsent)
        return answer

    async def _once(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[Answer, str | None]:
        if self._session is None:
            raise RuntimeError("the client is not open")
        request = self._session.request(
            method,
            # Encoded already, and yarl would decode what need not be encoded.
            URL(url, encoded=True),
            headers=headers,
            data=body,
            allow_redirects=False,
            timeout=_TIMEOUT,
        )
        async with request as response:
            raw = b""
            while chunk := await response.content.readany():
                raw += chunk
                if len(raw) > LARGEST_ANSWER:
                    response.close()
                    return Answer(
                        http_status=response.status,
                        failure=Failure.SERVER,
                        detail=f"answer larger than {LARGEST_ANSWER} bytes",
                    ), None
            answer = _answer(response, raw)
            moved = response.headers.get("Location") if response.status in {307, 308} else None
            return answer, urljoin(url, moved) if moved else None

    async def pages(
        self,
        line: Line,
        url: str,
        *,
        since: datetime | None = None,
        routed: bool = True,
        most: int = MOST_PAGES,
    ) -> AsyncIterator[PageRead]:
        """Read a partner's list page by page, following its links only (PAG-5, PAG-6).

        `url` may be the list's or that of a page where an earlier reading stopped.

        Raises:
            PageFailed: a page could not be read.
        """
        if since is not None:
            text = ocpi_time(since) if line.dates_with_z else exact_time(since).rstrip("Z")
            url = with_query(url, {"date_from": text})
        if line.page_size is not None and "limit=" not in url:
            url = with_query(url, {"limit": str(line.page_size)})
        seen: set[str] = set()
        total: int | None = None
        for _ in range(most):
            seen.add(url)
            answer = await self.request(line, "GET", url, routed=routed)
            if not answer.ok:
                raise PageFailed(url, answer)
            shrunk = total is not None and answer.total is not None and answer.total < total
            total = answer.total
            if shrunk and (back := _step_back(url)) is not None and back not in seen:
                # Something vanished before this page: what moved into the gap is read again.
                url = back
                continue
            listed = isinstance(answer.data, list)
            items = answer.data if listed else []
            following = urljoin(url, answer.next_url) if answer.next_url else None
            if not items or following in seen:
                following = None
            yield PageRead(
                url=url, items=items, next_url=following, total=answer.total, listed=listed
            )
            if following is None:
                return
            url = following


_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)


def _answer(response: aiohttp.ClientResponse, raw: bytes) -> Answer:
    status, headers = response.status, response.headers
    envelope = NO_ANSWER
    if raw:
        try:
            envelope = read_envelope(exact_json.decode(raw))
        except exact_json.NotJson:
            envelope = NO_ANSWER
    failure = failure_of(status, envelope, empty=not raw)
    total = headers.get("X-Total-Count", "").strip()
    return Answer(
        http_status=status,
        envelope=envelope,
        failure=failure,
        detail="" if failure is None else describe(status, envelope, raw),
        location=headers.get("Location"),
        next_url=next_link(headers.get("Link")),
        total=int(total) if total.isascii() and total.isdigit() and len(total) < 16 else None,
        retry_after=None if failure is None else retry_after(headers, longest=LONGEST_PAUSE_ASKED),
        allow=headers.get("Allow"),
    )


def describe(http_status: int, envelope: Envelope, raw: bytes) -> str:
    """Say in one line what a partner answered, for the operator."""
    if envelope.status_code is not None:
        return f"HTTP {http_status}, OCPI {envelope.status_code} {envelope.message}"[:400].strip()
    text = raw[:200].decode("ascii", "replace").replace("\ufffd", "?")
    start = "".join(c if c.isprintable() else " " for c in text)
    return f"HTTP {http_status}, not OCPI: {start}".strip(": ")


def first_object(data: Any) -> Any:
    """Return the object a partner was asked for, also where it wrapped it in a list."""
    return data[0] if isinstance(data, list) and len(data) == 1 else data


def _reason(error: Exception) -> str:
    inner = getattr(error, "os_error", None) or error
    return f"{type(inner).__name__}: {inner}"[:300]


def _same_host(url: str, other: str) -> bool:
    a, b = urlsplit(url), urlsplit(other)
    return (a.scheme, a.netloc) == (b.scheme, b.netloc)


def _step_back(url: str) -> str | None:
    path, _, query = url.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    offset = next((v for k, v in pairs if k == "offset"), "")
    if not offset.isdigit() or int(offset) == 0:
        return None
    changed = [(k, str(int(v) - 1) if k == "offset" else v) for k, v in pairs]
    return f"{path}?{urlencode(changed)}"
