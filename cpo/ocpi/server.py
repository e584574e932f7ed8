"""What partners reach: one door for all versions, modules behind it.

Finds the version and the module, authenticates, keeps the limits, echoes ids
and routing, and turns whatever a module does into OCPI's envelope.
"""

import asyncio
import math
import re
import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import structlog
from aiohttp import web

from cpo.domain.partner import Endpoint, Partner, PartnerStatus
from cpo.errors import CpoError, Invalid
from cpo.ocpi import exact_json
from cpo.ocpi.access import presented
from cpo.ocpi.delivery import Allowance
from cpo.ocpi.dialect import Dialect, Quirks
from cpo.ocpi.envelope import Failed, Status, failure, status_of, success
from cpo.ocpi.exchange import Call, Module, NotAllowed, Party, Reply, find
from cpo.ocpi.listener import PLAIN_HEADERS, Limits, Listener
from cpo.services.partners import Caller, Partners
from cpo.services.ports import Now
from cpo.telemetry import Metrics

log = structlog.get_logger()

MOST_IN_FLIGHT = 8
MOST_WAITING = 100
READABLE_ID = re.compile(r"[!-~]{1,128}")
COUNTRY = re.compile(r"[A-Za-z]{2}")
PARTY = re.compile(r"[A-Za-z0-9]{1,3}")
# Routing headers do not belong on these (HDR-3).
UNROUTED = frozenset({"credentials", "hubclientinfo", "versions"})
METHODS = frozenset({"GET", "PUT", "POST", "PATCH", "DELETE", "HEAD"})


@dataclass(slots=True)
class Traffic:
    """What one partner has under way."""

    allowance: Allowance
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_IN_FLIGHT))
    waiting: int = 0


class Server:
    """Answers partners. `public_url` is known only when the port is: see `start`."""

    def __init__(
        self,
        *,
        partners: Partners,
        dialects: Mapping[str, Dialect],
        modules: Sequence[Module],
        parties: Sequence[Party],
        now: Now,
        metrics: Metrics,
        requests_per_second: float = 50.0,
        limits: Limits | None = None,
    ) -> None:
        self._partners = partners
        self._dialects = dialects
        self._modules = {module.identifier: module for module in modules}
        self._parties = frozenset((c.upper(), p.upper()) for c, p in parties)
        self._now = now
        self._metrics = metrics
        self._rate = requests_per_second
        self._limits = limits or Limits()
        self._traffic: dict[str, Traffic] = {}
        # The dialect of each partner and version, for the partner as it was then.
        self._spoken: dict[tuple[str, str], tuple[Partner, Dialect]] = {}
        self._listener = Listener(self._handle, self._limits)
        self.public_url = ""
        self.on_seen: list[Callable[[str], None]] = []

    async def start(
        self,
        host: str,
        port: int,
        public_url: str | None,
        *,
        bound: socket.socket | None = None,
    ) -> int:
        """Listen, and return the port; without a public URL it is this machine and the port.

        `bound` is a socket that listens already.
        """
        found = await self._listener.start(host, port, bound=bound)
        self.public_url = public_url or f"http://127.0.0.1:{found}"
        return found

    async def stop(self, *, within: float = 5.0) -> None:
        """Stop listening and let what is under way end."""
        await self._listener.stop(within=within)

    @property
    def versions_url(self) -> str:
        """Where partners start."""
        return f"{self.public_url}/ocpi/versions"

    def details_url(self, version: str) -> str:
        """Where the modules of a version are listed."""
        return f"{self.public_url}/ocpi/{version}"

    def module_url(self, version: str, module: str) -> str:
        """Where a module is."""
        return f"{self.public_url}/ocpi/{version}/{module}"

    def offered(self, partner: Partner) -> list[str]:
        """Return the versions a partner is offered, oldest first (V-4)."""
        wanted = partner.policy.get("versions")
        return [v for v in self._dialects if wanted is None or v in wanted]

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        started = asyncio.get_running_loop().time()
        headers = dict(PLAIN_HEADERS)
        headers["X-Request-ID"] = _id(request.headers.get("X-Request-ID"))
        headers["X-Correlation-ID"] = _id(request.headers.get("X-Correlation-ID"))
        label = _Label()
        sent: Callable[[], None] | None = None
        try:
            reply = await self._answer(request, headers, label)
            sent = reply.sent
            body = (
                success(reply.data, self._now())
                if reply.status == Status.SUCCESS
                else failure(reply.status, reply.message, self._now(), reply.data)
            )
            headers.update(reply.headers)
            http = reply.http
        except CpoError as error:
            http, status = status_of(error)
            if isinstance(error, exact_json.NotJson):
                http = 400
            if isinstance(error, TooMany):
                headers["Retry-After"] = str(max(1, math.ceil(error.wait)))
            if isinstance(error, NotAllowed):
                headers["Allow"] = ", ".join(error.allowed)
            body = failure(status, str(error), self._now())
        except web.HTTPRequestEntityTooLarge:
            http = 413
            body = failure(
                Status.CLIENT_ERROR, f"larger than {self._limits.body_bytes} bytes", self._now()
            )
        except (ConnectionError, web.RequestPayloadError):
            http = 400
            body = failure(Status.CLIENT_ERROR, "the body cannot be read", self._now())
        except Exception:
            # The last line of a supervised loop: a fault of ours must not end the connection
            # without an answer, nor tell the partner about our insides.
            log.exception("ocpi.request_failed", partner=label.partner, module=label.module)
            http = 500
            body = failure(Status.SERVER_ERROR, "internal error", self._now())
        response = web.Response(status=http, body=body, headers=headers)
        if (http in {408, 413, 429} and request.can_read_body) or request.content.exception():
            # What is left of the body cannot be told from the next request.
            response.force_close()
        self._metrics.ocpi_requests.inc(
            label.partner, label.version, label.module, "in", f"{http // 100}xx"
        )
        self._metrics.ocpi_request_duration.observe(
            asyncio.get_running_loop().time() - started, "in"
        )
        if sent is not None:
            try:
                await response.prepare(request)
                await response.write_eof()
            finally:
                sent()
        return response

    async def _answer(
        self, request: web.BaseRequest, headers: dict[str, str], label: "_Label"
    ) -> Reply:
        path, _, raw_query = _target(request)
        try:
            segments = tuple(unquote(s, errors="strict") for s in path.split("/") if s)
        except UnicodeDecodeError:
            raise Failed(404, Status.CLIENT_ERROR, "there is nothing at this address") from None
        if len(segments) < 2 or segments[0] != "ocpi":
            raise Failed(404, Status.CLIENT_ERROR, "there is nothing at this address")
        if not all(s.isprintable() and len(s) <= 255 for s in segments):
            raise Failed(404, Status.CLIENT_ERROR, "there is nothing at this address")
        caller, token = self._authenticate(request)
        label.partner = caller.partner.id
        traffic = self._admitted(caller.partner.id)
        traffic.waiting += 1
        try:
            async with traffic.gate:
                return await self._routed(
                    request, headers, label, caller, token, _Address(segments, raw_query)
                )
        finally:
            traffic.waiting -= 1

    async def _routed(
        self,
        request: web.BaseRequest,
        headers: dict[str, str],
        label: "_Label",
        caller: Caller,
        token: str,
        address: "_Address",
    ) -> Reply:
        """Answer a request of a partner that was let in."""
        segments, raw_query = address
        partner = await self._partners.seen(caller)
        for listener in self.on_seen:
            listener(partner.id)
        if segments[1] == "versions" and len(segments) == 2:
            label.module = "versions"
            _only_get(request.method)
            return self._versions(partner)
        dialect = self._dialect(partner, segments[1])
        label.version = dialect.version
        if len(segments) == 2:
            label.module = "versions"
            _only_get(request.method)
            return self._details(dialect)
        module = self._module(dialect, segments[2])
        label.module = module.identifier
        if caller.registering and module.identifier != "credentials":
            raise Failed(401, Status.CLIENT_ERROR, "this token is for registration only")
        if not caller.registering and partner.status is PartnerStatus.DISCONNECTED:
            raise Failed(401, Status.CLIENT_ERROR, "not registered")
        method = "GET" if request.method == "HEAD" else request.method
        route = find(module.routes, method, len(segments) - 3)
        us, them = None, None
        if module.identifier not in UNROUTED:
            us, them = self._route(request, partner, headers)
        pairs = parse_qsl(raw_query, keep_blank_values=True)
        call = Call(
            method=method,
            segments=segments[3:],
            query=dict(reversed(pairs)),
            raw_query=raw_query,
            body=await self._body(request),
            partner=partner,
            token=token,
            registering=caller.registering,
            dialect=dialect,
            now=self._now(),
            url=self.module_url(dialect.version, module.identifier),
            correlation_id=headers["X-Correlation-ID"],
            acts_for=partial(self._partners.speaks_for, partner),
            us=us,
            them=them,
        )
        return await route(call)

    def _authenticate(self, request: web.BaseRequest) -> tuple[Caller, str]:
        tokens = presented(request.headers.get("Authorization"))
        for token in tokens:
            caller = self._partners.identify((token,))
            if caller is not None:
                return caller, token
        raise Failed(401, Status.CLIENT_ERROR, "the token is missing or not known")

    def _admitted(self, partner_id: str) -> Traffic:
        """Let a partner's request in, or raise Failed with 429."""
        now = asyncio.get_running_loop().time()
        traffic = self._traffic.get(partner_id)
        if traffic is None:
            burst = 2 * self._rate
            traffic = Traffic(Allowance(self._rate, burst, burst, now))
            self._traffic[partner_id] = traffic
        traffic.allowance, wait = traffic.allowance.take(now)
        if wait > 0 or traffic.waiting >= MOST_WAITING:
            raise TooMany(wait)
        return traffic

    async def _body(self, request: web.BaseRequest) -> bytes:
        if not request.can_read_body:
            return b""
        try:
            async with asyncio.timeout(self._limits.body_time):
                return await request.read()
        except TimeoutError:
            raise Failed(408, Status.CLIENT_ERROR, "the body took too long") from None

    def _route(
        self, request: web.BaseRequest, partner: Partner, headers: dict[str, str]
    ) -> tuple[Party | None, Party | None]:
        """Read the routing headers, and write those of the answer: swapped (HDR-3)."""
        them = _party(request, "from")
        us = _party(request, "to")
        if them is not None:
            if partner.roles and not partner.speaks_for(*them):
                raise Invalid("OCPI-from-party-id", "is not one of your parties")
            headers["OCPI-to-country-code"], headers["OCPI-to-party-id"] = them
        if us is not None:
            headers["OCPI-from-country-code"], headers["OCPI-from-party-id"] = us
        ours = us if us is not None and _upper(us) in self._parties else None
        return ours, them

    def _dialect(self, partner: Partner, version: str) -> Dialect:
        kept = self._spoken.get((partner.id, version))
        if kept is not None and kept[0] is partner:
            return kept[1]
        if version not in self.offered(partner):
            raise Failed(404, Status.UNSUPPORTED_VERSION, "this version is not offered")
        dialect = self._dialects[version].for_partner(Quirks.of(partner.quirks))
        self._spoken[partner.id, version] = (partner, dialect)
        return dialect

    def _module(self, dialect: Dialect, name: str) -> Module:
        identifier = ALIASES.get(name, name)
        module = self._modules.get(identifier)
        if module is None or identifier not in dialect.modules:
            raise Failed(404, Status.CLIENT_ERROR, "there is no such module in this version")
        return module

    def _versions(self, partner: Partner) -> Reply:
        offered = self.offered(partner)
        codec = self._dialects[offered[-1]].codec
        return Reply(data=codec.versions([(v, self.details_url(v)) for v in offered]))

    def _details(self, dialect: Dialect) -> Reply:
        endpoints = [
            Endpoint(
                identifier=m.identifier,
                role=m.role,
                url=self.module_url(dialect.version, m.identifier),
            )
            for m in self._modules.values()
            if m.identifier in dialect.modules
        ]
        return Reply(data=dialect.codec.version_details(endpoints))


# An example of the hub client info chapter spells its path so (HUB-7).
ALIASES = {"clientinfo": "hubclientinfo"}


class TooMany(Failed):
    """A partner asks more often than agreed."""

    def __init__(self, wait: float) -> None:
        super().__init__(429, Status.CLIENT_ERROR, "too many requests")
        self.wait = wait


@dataclass(slots=True)
class _Label:
    """What the metrics say of a request; known step by step."""

    partner: str = "unknown"
    version: str = ""
    module: str = ""


class _Address(NamedTuple):
    """What was asked for: the path, decoded, and the query as it came."""

    segments: tuple[str, ...]
    raw_query: str


def _id(given: str | None) -> str:
    """Return the id to echo: the partner's own, or a new one where it gave none (HDR-1, S19)."""
    return given if given and READABLE_ID.fullmatch(given) else str(uuid.uuid4())


def _target(request: web.BaseRequest) -> tuple[str, str, str]:
    raw = request.raw_path
    if not raw.startswith("/"):
        parts = urlsplit(raw)
        return parts.path, "?", parts.query
    return raw.partition("?")


def _party(request: web.BaseRequest, side: str) -> Party | None:
    country = request.headers.get(f"OCPI-{side}-country-code", "").strip()
    party = request.headers.get(f"OCPI-{side}-party-id", "").strip()
    if not country and not party:
        return None
    if not COUNTRY.fullmatch(country):
        raise Invalid(f"OCPI-{side}-country-code", "is no country code")
    if not PARTY.fullmatch(party):
        raise Invalid(f"OCPI-{side}-party-id", "is no party id")
    return country, party


def _upper(party: Party) -> Party:
    return party[0].upper(), party[1].upper()


def _only_get(method: str) -> None:
    if method not in {"GET", "HEAD"}:
        raise NotAllowed(["GET"])
