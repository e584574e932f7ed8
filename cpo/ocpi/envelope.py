"""What surrounds every OCPI message: status codes, the envelope, paging. Pure.

The one place where errors become HTTP and OCPI status codes, and where the
parameters and headers of paged lists are read and written.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import msgspec

from cpo.domain.values import Value
from cpo.errors import (
    Conflict,
    CpoError,
    Invalid,
    NotFound,
    PartnerUnreachable,
    Refused,
    StationOffline,
    StationRefused,
    StationTimeout,
    StoreUnavailable,
)

DEFAULT_LIMIT = 50
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
# What most ids are made of, and nothing that a URL must not hold.
_PLAIN = re.compile(r"[A-Za-z0-9_-]+").fullmatch
# Beyond this an offset is past the end of any list, and past what a database
# takes as an integer.
LARGEST_OFFSET = 2**53


class Status(IntEnum):
    """OCPI status codes (chapter "Status codes")."""

    SUCCESS = 1000
    CLIENT_ERROR = 2000
    INVALID = 2001
    NOT_ENOUGH = 2002
    UNKNOWN_LOCATION = 2003
    UNKNOWN_TOKEN = 2004
    SERVER_ERROR = 3000
    CLIENT_API_UNUSABLE = 3001
    UNSUPPORTED_VERSION = 3002
    ENDPOINTS_MISSING = 3003
    HUB_ERROR = 4000
    HUB_UNKNOWN_RECEIVER = 4001
    HUB_TIMEOUT = 4002
    HUB_NOT_CONNECTED = 4003


class Failed(CpoError):
    """An OCPI request that ends with exactly this HTTP and OCPI status."""

    def __init__(self, http: int, status: int, message: str) -> None:
        super().__init__(message)
        self.http = http
        self.status = status


STATUS: dict[type[CpoError], tuple[int, Status]] = {
    # A request that was read and may be asked is answered with HTTP 200, even
    # when what it says is wrong (TRANS-13).
    Invalid: (200, Status.INVALID),
    Conflict: (200, Status.CLIENT_ERROR),
    Refused: (403, Status.CLIENT_ERROR),
    NotFound: (404, Status.CLIENT_ERROR),
    PartnerUnreachable: (200, Status.CLIENT_API_UNUSABLE),
    StationOffline: (200, Status.SERVER_ERROR),
    StationTimeout: (200, Status.SERVER_ERROR),
    StationRefused: (200, Status.SERVER_ERROR),
    StoreUnavailable: (503, Status.SERVER_ERROR),
}

UNKNOWN_KIND = {
    "location": Status.UNKNOWN_LOCATION,
    "evse": Status.UNKNOWN_LOCATION,
    "connector": Status.UNKNOWN_LOCATION,
    "token": Status.UNKNOWN_TOKEN,
}


def status_of(error: CpoError) -> tuple[int, int]:
    """Return the HTTP status and the OCPI status code for an error."""
    if isinstance(error, Failed):
        return error.http, error.status
    if isinstance(error, NotFound):
        return 404, UNKNOWN_KIND.get(error.kind, Status.CLIENT_ERROR)
    return next((STATUS[t] for t in type(error).__mro__ if t in STATUS), (500, Status.SERVER_ERROR))


def ocpi_time(at: datetime) -> str:
    """Write an instant as OCPI does: UTC, `Z`, whole seconds or milliseconds (TRANS-22)."""
    digits = "milliseconds" if at.microsecond else "seconds"
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=digits) + "Z"


def instant(text: str, field: str) -> datetime:
    """Read an instant a partner sent, leniently: offsets, no designator, any fraction.

    Raises Invalid with the field's name. What has no designator is UTC (TRANS-22).
    """
    cleaned = text.strip()
    # A plus sign that nobody encoded arrives as a space (PAG-8).
    if len(cleaned) > 6 and cleaned[-6] == " ":
        cleaned = f"{cleaned[:-6]}+{cleaned[-5:]}"
    try:
        at = datetime.fromisoformat(cleaned)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(field, f"{text[:40]!r} is not a date and time") from None
    return at


def success(data: bytes | None, at: datetime) -> bytes:
    """Wrap JSON text in the envelope of a success; None leaves `data` out (TRANS-19)."""
    tail = b'"status_code":1000,"status_message":"Success","timestamp":"%b"}' % (
        ocpi_time(at).encode()
    )
    # A page is large: each further step would copy it once more.
    return b"{" + tail if data is None else b"".join((b'{"data":', data, b",", tail))


def failure(status: int, message: str, at: datetime, data: bytes | None = None) -> bytes:
    """Wrap an error in the envelope; the message is cut to what a log line bears."""
    fields = msgspec.json.encode(
        {"status_code": int(status), "status_message": message[:255], "timestamp": ocpi_time(at)}
    )
    return fields if data is None else b'{"data":' + data + b"," + fields[1:]


class Envelope(Value, frozen=True):
    """A partner's answer as read: `status_code` is None when it was not OCPI."""

    status_code: int | None
    message: str = ""
    data: Any = None

    @property
    def succeeded(self) -> bool:
        """Whether the OCPI status says success: 1000 to 1999."""
        return self.status_code is not None and 1000 <= self.status_code <= 1999


def read_envelope(parsed: Any) -> Envelope:
    """Read what a partner answered; never fails, whatever it is."""
    if not isinstance(parsed, Mapping):
        return Envelope(None)
    code = parsed.get("status_code")
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) == 4:
        code = int(code)
    if isinstance(code, bool) or not isinstance(code, int):
        return Envelope(None)
    message = parsed.get("status_message")
    return Envelope(code, message if isinstance(message, str) else "", parsed.get("data"))


@dataclass(frozen=True, slots=True)
class Key:
    """The place of an object in a list: lists are ordered by (last_updated, id)."""

    last_updated: datetime
    id: str


@dataclass(frozen=True, slots=True)
class Paging:
    """The parameters of a list request.

    `cursor` stands for the last object of the page before, and wins over `offset`.
    `since` is inclusive, `until` exclusive, both of `last_updated` (PAG-1).
    """

    offset: int = 0
    limit: int = DEFAULT_LIMIT
    since: datetime | None = None
    until: datetime | None = None
    cursor: str | None = None


def read_paging(query: Mapping[str, str], *, largest: int) -> Paging:
    """Read the parameters of a list request; raises Invalid with the parameter's name.

    A limit above `largest` is cut to it, not refused (PAG-3).
    """
    limit = _whole(query.get("limit"), "limit")
    if limit is not None and limit < 1:
        raise Invalid("limit", "must be at least 1")
    since = query.get("date_from")
    until = query.get("date_to")
    return Paging(
        offset=min(_whole(query.get("offset"), "offset") or 0, LARGEST_OFFSET),
        limit=min(limit or DEFAULT_LIMIT, largest),
        since=instant(since, "date_from") if since else None,
        until=instant(until, "date_to") if until else None,
        cursor=query.get("cursor") or None,
    )


def _whole(text: str | None, field: str) -> int | None:
    if text is None or not text.strip():
        return None
    cleaned = text.strip()
    if not (cleaned.isascii() and cleaned.isdigit() and len(cleaned) <= 30):
        raise Invalid(field, f"{text[:40]!r} is not a whole number from 0")
    return int(cleaned)


def write_cursor(key: Key) -> str:
    """Make the opaque text that stands for a place in a list."""
    micros = (key.last_updated - EPOCH) // MICROSECOND
    return base64.urlsafe_b64encode(f"{micros}:{key.id}".encode()).decode().rstrip("=")


def read_cursor(text: str) -> Key:
    """Read what `write_cursor` made; raises Invalid for anything else."""
    try:
        plain = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        micros, id = plain.split(":", 1)  # noqa: A001 - the word of the trade
        return Key(EPOCH + timedelta(microseconds=int(micros)), id)
    except (ValueError, OverflowError, binascii.Error):
        raise Invalid("cursor", "is not one of ours") from None


def page_headers(
    url: str, paging: Paging, *, total: int, largest: int, sent: int, cursor: str | None
) -> dict[str, str]:
    """Make the headers of one page (PAG-2).

    Args:
        url: the list's address without query.
        paging: what was asked.
        total: how many objects match and this partner may see.
        largest: our biggest page, `X-Limit`.
        sent: how many objects this page holds.
        cursor: the place of its last object when another page follows.
    """
    headers = {"X-Total-Count": str(total), "X-Limit": str(largest)}
    if cursor is not None:
        query: dict[str, str] = {}
        if paging.since is not None:
            query["date_from"] = exact_time(paging.since)
        if paging.until is not None:
            query["date_to"] = exact_time(paging.until)
        query["offset"] = str(paging.offset + sent)
        query["limit"] = str(paging.limit)
        query["cursor"] = cursor
        headers["Link"] = f'<{url}?{urlencode(query)}>; rel="next"'
    return headers


def exact_time(at: datetime) -> str:
    """Write an instant with all its digits, for a filter that must not move."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def next_link(header: str | None) -> str | None:
    """Find the address of the next page in a Link header; None when there is none."""
    for part in (header or "").split(","):
        address, _, parameters = part.partition(";")
        address = address.strip()
        relations = parameters.replace('"', "").replace("'", "").replace(" ", "").lower()
        if address.startswith("<") and address.endswith(">") and "rel=next" in relations.split(";"):
            return address[1:-1].strip()
    return None


def join(base: str, *segments: str) -> str:
    """Put path segments behind a partner's URL with exactly one slash each (URL-1, URL-2).

    A query the partner published stays at the end. Without segments the URL stays as it was
    published: there are partners that answer a module's own URL only with its slash.
    """
    if not segments:
        return base
    path, question, query = base.partition("?")
    path = path.rstrip("/")
    for segment in segments:
        path += "/" + (segment if _PLAIN(segment) else quote(segment, safe=""))
    return path + question + query


def with_query(url: str, parameters: Mapping[str, str | None]) -> str:
    """Add query parameters to a URL; those that are None are left out."""
    path, _, query = url.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    pairs += [(name, value) for name, value in parameters.items() if value is not None]
    return f"{path}?{urlencode(pairs)}" if pairs else path
