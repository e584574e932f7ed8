"""An eMSP as bare HTTP and JSON: neither the double nor the server, and not polite.

It hears everything that the server sends, validates it against the field tables with a reader of
its own, and sends whatever a test wants, however wrong.
"""

import asyncio
import base64
import itertools
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import aiohttp
from aiohttp import web
from waiting import LONG
from yarl import URL

from chargers_sim.listening import listen, stop_listening

STAMP = "2026-01-01T00:00:00Z"
RECEIVERS = {
    "locations": "RECEIVER",
    "sessions": "RECEIVER",
    "cdrs": "RECEIVER",
    "tariffs": "RECEIVER",
    "tokens": "SENDER",
    "commands": "SENDER",
}
NOT_IN_211 = {"chargingprofiles": "SENDER", "hubclientinfo": "SENDER"}
FOUND_IN = {"locations": "Location", "sessions": "Session", "cdrs": "CDR", "tariffs": "Tariff"}


@dataclass(slots=True)
class Heard:
    """A request of the server, and what it was answered."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    raw: bytes
    body: Any
    answered: int = 0

    @property
    def segments(self) -> list[str]:
        """The path behind the module, as it came over the wire."""
        return [s for s in self.path.split("/") if s][2:]

    @property
    def module(self) -> str:
        parts = [s for s in self.path.split("/") if s]
        return parts[1] if len(parts) > 1 else ""


@dataclass(slots=True)
class Got:
    """What the server answered."""

    status: int
    headers: Mapping[str, str]
    raw: bytes
    envelope: Any = None

    @property
    def code(self) -> int | None:
        return self.envelope.get("status_code") if isinstance(self.envelope, dict) else None

    @property
    def data(self) -> Any:
        return self.envelope.get("data") if isinstance(self.envelope, dict) else None

    @property
    def message(self) -> str:
        return str(self.envelope.get("status_message", ""))


# Answers a request: None leaves it to the usual answer, else (HTTP status, body, headers).
Answering = Callable[[Heard], Awaitable[tuple[int, Any, dict[str, str]] | None]]


@dataclass
class RawEmsp:
    """One partner; `url` is its own root, `endpoints` are the server's, by (module, role)."""

    version: str
    party: tuple[str, str] = ("NL", "RAW")
    role: str = "EMSP"
    endpoints: dict[tuple[str, str], str] = field(default_factory=dict)
    heard: list[Heard] = field(default_factory=list)
    tokens: list[dict[str, Any]] = field(default_factory=list)
    answering: Answering | None = None
    token_in: str = "raw-emsp-token-0"
    token_out: str = ""
    versions_url: str = ""
    url: str = ""
    partner: str = ""

    async def __aenter__(self) -> Self:
        self._numbers = itertools.count(1)
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        await self._runner.setup()
        self._server = await listen(self._runner, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(LONG), skip_auto_headers=("Content-Type", "User-Agent")
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()
        await stop_listening(self._server)
        await self._runner.cleanup()

    # --- asking ---------------------------------------------------------------------------------

    def authorization(self, token: str | None = None) -> str:
        token = self.token_out if token is None else token
        if self.version != "2.1.1":
            token = base64.b64encode(token.encode()).decode()
        return f"Token {token}"

    async def ask(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        headers: Mapping[str, str | None] | None = None,
        raw: bytes | None = None,
        token: str | None = None,
    ) -> Got:
        """Send a request; a header given as None is left out."""
        number = next(self._numbers)
        usual: dict[str, str | None] = {
            "Authorization": self.authorization(token),
            "X-Request-ID": f"raw-request-{number}",
            "X-Correlation-ID": f"raw-correlation-{number}",
        }
        data = raw if raw is not None else None if body is None else dumps(body)
        if data is not None:
            usual["Content-Type"] = "application/json"
        sent = {k: v for k, v in {**usual, **(headers or {})}.items() if v is not None}
        async with self._http.request(
            method, URL(url, encoded=True), data=data, headers=sent, allow_redirects=False
        ) as response:
            text = await response.read()
            try:
                envelope = loads(text) if text else None
            except ValueError:
                envelope = None
            return Got(response.status, response.headers, text, envelope)

    def at(self, module: str, *segments: str, role: str | None = None) -> str:
        """Return the server's URL of a module, with segments as they are to be sent."""
        base = next(
            url
            for (name, its), url in self.endpoints.items()
            if name == module and role in (None, its)
        )
        return "/".join((base.rstrip("/"), *segments))

    async def register(self, versions_url: str, token_a: str) -> Got:
        """Register with the server, as its invitation says."""
        self.versions_url = versions_url
        versions = await self.ask("GET", versions_url, token=token_a)
        details_url = {v["version"]: v["url"] for v in versions.data}[self.version]
        details = await self.ask("GET", details_url, token=token_a)
        self.learn(details.data)
        answer = await self.ask("POST", self.at("credentials"), self.credentials(), token=token_a)
        if answer.code == 1000:
            self.token_out = answer.data["token"]
        return answer

    def learn(self, details: Any) -> None:
        """Take over the endpoints of version details."""
        self.endpoints = {
            (e["identifier"], e.get("role", "")): e["url"] for e in details["endpoints"]
        }

    def credentials(self, **changes: Any) -> dict[str, Any]:
        """Return our credentials in the words of the version."""
        country, party = self.party
        business = {"name": f"Raw {party}"}
        who = {"country_code": country, "party_id": party, "business_details": business}
        common = {"token": self.token_in, "url": f"{self.url}/versions"}
        if self.version == "2.1.1":
            return common | who | changes
        return common | {"roles": [{"role": self.role, **who}]} | changes

    def token(self, uid: str, **changes: Any) -> dict[str, Any]:
        """Return a token of ours in the words of the version."""
        country, party = self.party
        plain = {
            "uid": uid,
            "type": "RFID",
            "issuer": "Raw",
            "valid": True,
            "whitelist": "ALWAYS",
            "last_updated": STAMP,
        }
        contract = f"{country}-{party}-C{uid}"[:36]
        if self.version == "2.1.1":
            return plain | {"auth_id": contract} | changes
        who = {"country_code": country, "party_id": party, "contract_id": contract}
        return plain | who | changes

    async def put_token(self, uid: str, **changes: Any) -> Got:
        """Push a token of ours."""
        return await self.ask(
            "PUT", self.at("tokens", *self.party, uid), self.token(uid, **changes)
        )

    # --- hearing --------------------------------------------------------------------------------

    def of(self, module: str, method: str | None = None) -> list[Heard]:
        """Return what the server sent to one of our modules."""
        return [h for h in self.heard if h.module == module and method in (None, h.method)]

    async def until(self, test: Callable[[], Any], what: str = "it") -> Any:
        """Wait until a test holds, and return what it found."""
        try:
            async with asyncio.timeout(LONG):
                while not (found := test()):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            seen = [(h.method, h.path, h.raw[:200], h.answered) for h in self.heard[-8:]]
            raise AssertionError(f"{what} did not come; last heard: {seen}") from None
        return found

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        raw = await request.read()
        try:
            body = loads(raw) if raw else None
        except ValueError:
            body = "not JSON"
        target = urlsplit(request.raw_path)
        query = dict(parse_qsl(target.query, keep_blank_values=True))
        heard = Heard(request.method, target.path, query, request.headers, raw, body)
        self.heard.append(heard)
        found = None if self.answering is None else await self.answering(heard)
        status, answer, headers = found or self.usual(heard)
        heard.answered = status
        if status == 0:
            assert request.transport is not None
            request.transport.abort()
        text = answer if isinstance(answer, bytes) else dumps(answer)
        echoed = {
            name: request.headers[name]
            for name in ("X-Request-ID", "X-Correlation-ID")
            if name in request.headers
        }
        return web.Response(
            status=status or 500,
            body=text,
            headers={"Content-Type": "application/json", **echoed, **headers},
        )

    def usual(self, heard: Heard) -> tuple[int, Any, dict[str, str]]:
        """Answer as a plain partner does."""
        if heard.path == "/versions":
            return said([{"version": self.version, "url": f"{self.url}/{self.version}"}])
        if heard.path == f"/{self.version}":
            return said({"version": self.version, "endpoints": self.modules()})
        if heard.module == "tokens" and heard.method == "GET":
            return said(self.tokens)
        if heard.module == "cdrs" and heard.method == "POST":
            return 201, envelope(None), {"Location": f"{self.url}/{self.version}/cdrs/1"}
        if heard.method == "GET":
            return 404, envelope(None, 2003), {}
        return said(None)

    def modules(self) -> list[dict[str, str]]:
        """Return our endpoints."""
        roles = {"credentials": "SENDER"} | RECEIVERS
        if self.version != "2.1.1":
            roles |= NOT_IN_211
        return [
            {"identifier": module, "url": f"{self.url}/{self.version}/{module}"}
            | ({} if self.version == "2.1.1" else {"role": role})
            for module, role in roles.items()
        ]

    # --- judging --------------------------------------------------------------------------------

    def wrong(self) -> list[str]:
        """Judge everything heard so far against the field tables of the version."""
        found = []
        for heard in self.heard:
            name = FOUND_IN.get(heard.module)
            if name is None or heard.body is None:
                continue
            where = f"{heard.method} {heard.path}"
            if heard.method == "PUT" and heard.module == "locations":
                name = ("Location", "EVSE", "Connector")[len(heard.segments) - 3]
            if heard.method == "PATCH":
                name = "EVSE" if heard.module == "locations" else name
                found += [f"{where}: {p}" for p in check(self.version, name, heard.body, part=True)]
            elif heard.method in {"PUT", "POST"}:
                found += [f"{where}: {p}" for p in check(self.version, name, heard.body)]
        return found


# --- JSON and field tables ----------------------------------------------------------------------

_TABLES: dict[str, Any] = {}
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z?")


def loads(text: bytes) -> Any:
    """Read JSON with exact numbers."""
    return json.loads(text, parse_float=Decimal)


def dumps(value: Any) -> bytes:
    """Write JSON; a Decimal as the number that it is."""
    text = json.dumps(value, default=lambda d: {"\x00": str(d)}, ensure_ascii=False)
    return re.sub(r'\{"\\u0000": "([^"]*)"\}', r"\1", text).encode("utf-8", "surrogatepass")


def envelope(data: Any, code: int = 1000) -> dict[str, Any]:
    return {"status_code": code, "timestamp": STAMP} | ({} if data is None else {"data": data})


def said(data: Any) -> tuple[int, Any, dict[str, str]]:
    return 200, envelope(data), {}


def tables(version: str) -> Any:
    """Return the field tables of a version."""
    if version not in _TABLES:
        folder = Path(__file__).parents[1] / "fixtures" / "ocpi-field-tables"
        _TABLES[version] = json.loads((folder / f"{version}.json").read_text())
    return _TABLES[version]


def check(version: str, name: str, value: Any, *, part: bool = False) -> list[str]:
    """Return what is wrong with an object; `part` is a PATCH, where fields may be missing."""
    if not isinstance(value, dict):
        return [f"{name} is no object"]
    fields = tables(version)["objects"][name]
    found = [f"{name}.{key} is not in the table" for key in value if key not in fields]
    for key, rule in fields.items():
        many, needed = rule["card"] in "*+", rule["card"] in "1+"
        given = value.get(key)
        if given is None:
            if key in value:
                found.append(f"{name}.{key} is null")
            elif needed and not part:
                found.append(f"{name}.{key} is missing")
            continue
        if many and not isinstance(given, list):
            found.append(f"{name}.{key} is no list")
            continue
        if rule["card"] == "+" and not given:
            found.append(f"{name}.{key} is an empty list")
        for one in given if many else [given]:
            found += [f"{name}.{key}: {p}" for p in _value(version, rule, one)]
    return found


def _value(version: str, rule: Mapping[str, Any], value: Any) -> list[str]:
    kind, book = rule["type"], tables(version)
    if kind in book["objects"]:
        return check(version, kind, value)
    if kind in book["enums"]:
        enum = book["enums"][kind]
        return [] if enum["open"] or value in enum["values"] else [f"{value!r} is no {kind}"]
    if kind == "boolean":
        return [] if isinstance(value, bool) else [f"{value!r} is no boolean"]
    if kind == "int":
        return [] if type(value) is int else [f"{value!r} is no int"]
    if kind == "number":
        good = type(value) in (int, Decimal) and value == round(value, 4)
        return [] if good else [f"{value!r} is no number of 4 decimals"]
    if not isinstance(value, str):
        return [f"{value!r} is no text"]
    problems = []
    if kind == "DateTime" and not (_DATE.fullmatch(value) and len(value) <= 25):
        problems.append(f"{value!r} is no DateTime")
    if kind == "CiString" and not all(" " <= c <= "~" for c in value):
        problems.append(f"{value!r} is no CiString")
    if kind == "URL" and not value.startswith(("http://", "https://")):
        problems.append(f"{value!r} is no URL")
    if not all(c.isprintable() for c in value):
        problems.append(f"{value!r} is not printable")
    if len(value) > rule.get("max_length", 10**9):
        problems.append(f"{value!r} is longer than {rule['max_length']}")
    return problems
