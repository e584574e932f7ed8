"""The double's OCPI server: notes each request at arrival, then judges and answers it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from chargers_sim.emsp import exact, hostile
from chargers_sim.emsp.asking import PREFIX
from chargers_sim.emsp.editions import EDITIONS, Edition
from chargers_sim.emsp.faults import Fault
from chargers_sim.emsp.journal import Exchange, ocpi_time
from chargers_sim.emsp.peers import Peer, decoded
from chargers_sim.emsp.receiver import NO_DATA, NOT_FOUND, Call, Receiver, Reply

if TYPE_CHECKING:
    from chargers_sim.emsp.double import Emsp

_BARE_MODULES = {"credentials", "hubclientinfo", "clientinfo"}
_ROUTING = {
    "OCPI-from-country-code": "OCPI-to-country-code",
    "OCPI-from-party-id": "OCPI-to-party-id",
    "OCPI-to-country-code": "OCPI-from-country-code",
    "OCPI-to-party-id": "OCPI-from-party-id",
}


class Gateway:
    """Everything below `/ocpi/emsp`."""

    def __init__(self, emsp: "Emsp") -> None:
        self._emsp = emsp
        self._receiver = Receiver(emsp)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Journal and answer one request."""
        path, _, query = request.raw_path.partition("?")
        exchange = self._emsp.journal.open(
            "in", request.method, path, query=query, headers=dict(request.headers)
        )
        try:
            response = await self._serve(request, exchange, path)
            if exchange.error is None:
                exchange.status = response.status
            return response
        finally:
            self._emsp.journal.close(exchange)
            self._emsp.changed()

    async def _serve(
        self, request: web.Request, exchange: Exchange, path: str
    ) -> web.StreamResponse:
        segments = [unquote(part) for part in path.removeprefix(PREFIX).split("/") if part]
        edition, module, ids = _target(segments)
        exchange.version = edition.version if edition else None
        exchange.module = module
        if module is not None and ids:
            exchange.object = "/".join([module, *ids])
        strike = self._emsp.faults.strike
        facts: dict[str, Any] = {"module": module, "method": request.method, "path": path}
        if fault := strike(**facts, ids=ids, unread=True):
            exchange.fault = fault.do
            return self._cut(request, exchange)
        text = await request.read()
        exchange.read = True
        _parse_into(exchange, text)
        peer, token = self._who(exchange, edition)
        if peer is None:
            return self._respond(exchange, Reply(status=401, code=2000, message="unknown token"))
        exchange.peer = peer.name
        named = exchange.body if isinstance(exchange.body, dict) else {}
        ids_named = [*ids, str(named.get("id", "")), str(named.get("session_id", ""))]
        fault = strike(**facts, ids=ids_named)

        async def answer() -> Reply:
            return await self._answer(exchange, edition, module, ids, peer, token, request.query)

        if fault is None:
            return self._respond(exchange, await answer())
        exchange.fault = fault.do
        return await self._go_wrong(request, exchange, fault, answer)

    async def _go_wrong(
        self,
        request: web.Request,
        exchange: Exchange,
        fault: Fault,
        answer: Callable[[], Awaitable[Reply]],
    ) -> web.StreamResponse:
        do = fault.do
        if do == "slow":
            reply = await answer()
            await asyncio.sleep(0.3 if fault.seconds is None else fault.seconds)
            return self._respond(exchange, reply)
        if do == "empty":
            await answer()
            return web.Response()
        if do == "apply-then-reset":
            await answer()
            return self._cut(request, exchange)
        if do in {"timeout", "apply-then-timeout"}:
            if do == "apply-then-timeout":
                await answer()
            await asyncio.sleep(60 if fault.seconds is None else fault.seconds)
            return self._cut(request, exchange)
        if do == "huge":
            return await hostile.huge(request, fault.megabytes)
        if do == "gzip-bomb":
            return await hostile.gzip_bomb(request, fault.megabytes)
        if do == "drip":
            return await hostile.drip(request, 60 if fault.seconds is None else fault.seconds)
        if do == "wrong-length":
            return await hostile.wrong_length(request)
        return self._plain_fault(request, exchange, fault)

    def _cut(self, request: web.Request, exchange: Exchange) -> web.StreamResponse:
        exchange.error = "connection reset, nothing answered"
        return hostile.reset(request)

    def _plain_fault(
        self, request: web.Request, exchange: Exchange, fault: Fault
    ) -> web.StreamResponse:
        if fault.do == "html":
            page = "<!doctype html><title>Maintenance</title><p>Back soon.</p>"
            return web.Response(text=page, content_type="text/html")
        if fault.do == "not-json":
            return web.Response(text='{"status_code": 1000,', content_type="application/json")
        code = 302 if fault.do == "redirect" else int(fault.do)
        if 300 <= code < 400:
            target = fault.location or str(request.url.with_path("/double/redirected"))
            return web.Response(status=code, headers={"Location": target})
        if code >= 1000:
            return self._respond(exchange, Reply(code=code, message=f"fault {code} on demand"))
        headers = {"Retry-After": str(fault.retry_after)} if code in {429, 503} else {}
        ocpi_code = 3000 if code >= 500 else 2000
        reply = Reply(status=code, code=ocpi_code, message="fault on demand", headers=headers)
        return self._respond(exchange, reply)

    async def _answer(
        self,
        exchange: Exchange,
        edition: Edition | None,
        module: str | None,
        ids: list[str],
        peer: Peer,
        token: str,
        query: Mapping[str, str],
    ) -> Reply:
        registration = self._emsp.registration
        if module == "versions":
            return Reply(data=registration.versions()) if exchange.method == "GET" else NOT_FOUND
        if edition is None or edition.version not in self._emsp.versions:
            return NOT_FOUND
        if module is None:
            return Reply(data=registration.details(edition))
        call = Call(
            method=exchange.method, edition=edition, module=module, ids=ids, query=query,
            headers=exchange.headers, body=exchange.body, peer=peer, token=token, exchange=exchange,
        )  # fmt: skip
        self._check_body(exchange)
        if module == "credentials":
            return await registration.answer(call)
        if not peer.registered:
            # TRANS-5: a registration token opens versions and credentials only.
            return Reply(status=401, code=2000, message="not registered")
        if peer.edition is not edition:
            self._blame(
                exchange, "request", f"registered with another version than {edition.version}"
            )
        if edition.routing and module not in _BARE_MODULES:
            self._check_routing(exchange, peer)
        if not exchange.readable:
            return Reply(status=400, code=2001, message="not JSON")
        return await self._receiver.answer(call)

    def _who(self, exchange: Exchange, edition: Edition | None) -> tuple[Peer | None, str]:
        """Find the peer by its token, raw or in Base64, and check which it used."""
        scheme, _, shown = _header(exchange.headers, "Authorization").partition(" ")
        if scheme.lower() != "token":
            return None, ""
        plain = decoded(shown)
        for token, coded in ((shown, False), (plain, True)):
            for peer in self._emsp.peers:
                if token is None or token not in peer.tokens_in:
                    continue
                if token == peer.tokens_in[0] and not peer.renewing:
                    # First use of the newest token ends the older ones (CRED-8).
                    del peer.tokens_in[1:]
                wanted = edition or peer.edition
                if wanted is not None and coded is not self._emsp.codes(wanted):
                    says = "Base64" if self._emsp.codes(wanted) else "the token itself"
                    self._blame(exchange, "Authorization", f"{says} expected (TRANS-3)")
                return peer, token
        return None, ""

    def _check_body(self, exchange: Exchange) -> None:
        for name in ("X-Request-ID", "X-Correlation-ID"):
            if not _header(exchange.headers, name):
                self._blame(exchange, name, "missing (HDR-1)")
        if exchange.method in {"PUT", "PATCH", "POST"}:
            kind = _header(exchange.headers, "Content-Type").partition(";")[0].strip()
            if exchange.body is not None and kind != "application/json":
                self._blame(exchange, "Content-Type", f"application/json expected, got {kind!r}")
            if not exchange.readable:
                self._blame(exchange, "body", "not JSON")

    def _check_routing(self, exchange: Exchange, peer: Peer) -> None:
        """Check the routing headers: from a party of theirs, to one of ours (HDR-3..6)."""
        sender = [_header(exchange.headers, f"OCPI-from-{part}") for part in _PARTS]
        target = [_header(exchange.headers, f"OCPI-to-{part}") for part in _PARTS]
        several = len(self._emsp.parties) > 1 or len(peer.roles) > 1 or self._emsp.hub is not None
        if not all(sender):
            if several:
                self._blame(exchange, "OCPI-from", "missing (HDR-3)")
        elif not peer.owns(sender[0], sender[1]):
            self._blame(exchange, "OCPI-from", f"{'/'.join(sender)} is no party of this platform")
        ours = {*self._emsp.parties, *([self._emsp.hub] if self._emsp.hub else [])}
        if not all(target):
            open_routing = exchange.module == "tokens" and self._emsp.hub is not None
            if several and not open_routing:
                self._blame(exchange, "OCPI-to", "missing (HDR-3)")
        elif (target[0].upper(), target[1].upper()) not in ours:
            self._blame(exchange, "OCPI-to", f"{'/'.join(target)} is no party of ours")
        elif (
            self._emsp.hub == (target[0].upper(), target[1].upper())
            and exchange.module in {"sessions", "cdrs"}
            and self._emsp.hub not in self._emsp.parties
        ):
            self._blame(exchange, "OCPI-to", f"{exchange.module} sent as broadcast (HUB-6)")

    def _respond(self, exchange: Exchange, reply: Reply) -> web.Response:
        headers = dict(reply.headers)
        for name in ("X-Request-ID", "X-Correlation-ID"):
            if value := _header(exchange.headers, name):
                headers[name] = value
        for asked, answered in _ROUTING.items():
            if value := _header(exchange.headers, asked):
                headers[answered] = value
        exchange.response_headers = headers
        exchange.status_code = reply.code
        changing = exchange.method in {"PUT", "PATCH", "POST", "DELETE"}
        if (
            self._emsp.dialect.omit_data
            and reply.data is NO_DATA
            and changing
            and reply.code < 2000
        ):
            return web.Response(status=reply.status, headers=headers)
        envelope: dict[str, Any] = {} if reply.data is NO_DATA else {"data": reply.data}
        envelope["status_code"] = reply.code
        if reply.message is not None:
            envelope["status_message"] = reply.message
        envelope["timestamp"] = self._emsp.written(ocpi_time(self._emsp.now()))
        exchange.response = envelope
        return web.Response(
            status=reply.status,
            body=exact.dumps(envelope),
            content_type="application/json",
            headers=headers,
        )

    def _blame(self, exchange: Exchange, where: str, problem: str) -> None:
        self._emsp.journal.blame(exchange, "request", where, problem)


_PARTS = ("country-code", "party-id")


def _parse_into(exchange: Exchange, text: bytes) -> None:
    if not text:
        return
    try:
        exchange.body = exact.loads(text)
    except ValueError:
        exchange.readable = False
        exchange.body = text.decode(errors="replace")


def _header(headers: Mapping[str, str], name: str) -> str:
    wanted = name.lower()
    return next((value for key, value in headers.items() if key.lower() == wanted), "")


def _target(segments: list[str]) -> tuple[Edition | None, str | None, list[str]]:
    """Split a path into version, module and ids."""
    if segments == ["versions"]:
        return None, "versions", []
    if not segments or segments[0] not in EDITIONS:
        return None, "unknown", []
    edition = EDITIONS[segments[0]]
    return edition, segments[1] if len(segments) > 1 else None, segments[2:]
