"""The eMSP double itself: one server, one store, one journal, any number of CPOs."""

import asyncio
import ssl
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, Self

import aiohttp
from aiohttp import web

from chargers_sim.emsp.asking import PREFIX, Asking
from chargers_sim.emsp.books import Books, Owner, Shelf
from chargers_sim.emsp.control import Control
from chargers_sim.emsp.dialect import Dialect
from chargers_sim.emsp.drivers import SAMPLE_TOKENS, Drivers
from chargers_sim.emsp.editions import EDITIONS
from chargers_sim.emsp.faults import Fault, Faults
from chargers_sim.emsp.gateway import Gateway
from chargers_sim.emsp.journal import Journal, Violation, utc_now
from chargers_sim.emsp.orders import Order
from chargers_sim.emsp.peers import Peer, new_token
from chargers_sim.emsp.registration import Registration
from chargers_sim.listening import listen, stop_listening


class Emsp(Asking):
    """An eMSP that a CPO can register with, push to and be commanded by.

    Use it as an asynchronous context manager; it listens while the context lasts.
    What it holds is in `locations`, `tariffs`, `sessions` and `cdrs`, by id, as parsed
    JSON with fractions as `Decimal`; what the CPO did wrong is in `violations`.
    """

    def __init__(
        self,
        party: Owner = ("NL", "MSP"),
        *,
        parties: Iterable[Owner] | None = None,
        hub: Owner | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        public_url: str | None = None,
        tls: ssl.SSLContext | None = None,
        versions: Iterable[str] = tuple(EDITIONS),
        token_a: str | None = None,
        tokens: Iterable[Mapping[str, Any]] = SAMPLE_TOKENS,
        generated_tokens: int = 0,
        keep: int | None = None,
        dialect: Dialect | None = None,
        seed: int = 0,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Describe a double; nothing listens yet.

        Args:
            party: country code and party id, when there is one party only.
            parties: all parties behind this platform, in place of `party`.
            hub: the hub's own country code and party id; makes the double a hub.
            host: address to listen on.
            port: port to listen on, 0 for a free one.
            public_url: how others reach it, when not by host and port.
            tls: certificate and key to serve https with; plain http when absent.
            versions: OCPI versions offered.
            token_a: the token a CPO registers with; made up when absent.
            tokens: drivers' tokens it starts with.
            generated_tokens: how many more tokens it has, made up when asked for.
            keep: how many exchanges the journal keeps; all when absent.
            dialect: deviations from the book.
            seed: of faults that strike by chance.
            now: the clock of `last_updated` and of the journal.
        """
        self.parties = [(c.upper(), p.upper()) for c, p in (parties or [party])]
        self.hub = (hub[0].upper(), hub[1].upper()) if hub else None
        self.versions = [version for version in EDITIONS if version in set(versions)]
        self.dialect = dialect or Dialect()
        self.now = now
        self.books = Books()
        self.drivers = Drivers(self.parties[0], generated=generated_tokens, now=now)
        for token in tokens:
            self.drivers.change(token)
        self.faults = Faults(seed=seed)
        self.journal = Journal(keep=keep, now=now)
        self.orders: dict[str, Order] = {}
        self.authorizations: list[dict[str, Any]] = []
        self.hub_clients = Shelf("client")
        self.token_a = token_a or new_token()
        self.peers = [Peer(name="invited", tokens_in=[self.token_a])]
        self.registration = Registration(self)
        self._host, self._port, self._public_url = host, port, public_url
        self._tls = tls
        self._url = ""
        self._exit = AsyncExitStack()
        self._http: aiohttp.ClientSession | None = None
        self._change = asyncio.Event()

    # --- life --------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be used.
        """
        app = web.Application(client_max_size=64 * 1024 * 1024)
        Control(self).mount(app)
        app.router.add_route("*", PREFIX + "/{path:.*}", Gateway(self).handle)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        try:
            await runner.setup()
            self._exit.push_async_callback(runner.cleanup)
            server = await listen(runner, self._host, self._port, tls=self._tls)
            self._exit.push_async_callback(stop_listening, server)
            host, port = server.sockets[0].getsockname()[:2]
            scheme = "http" if self._tls is None else "https"
            self._url = (self._public_url or f"{scheme}://{host}:{port}").rstrip("/")
            self._http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
            # aiohttp repeats a PUT or GET unasked when the connection breaks, which would
            # hide the CPO's fault from the journal; there is no public switch.
            self._http._retry_connection = False  # noqa: SLF001
            self._exit.push_async_callback(self._http.close)
        except BaseException:
            await self._exit.aclose()
            raise

    async def stop(self) -> None:
        """Stop listening and close all connections."""
        await self._exit.aclose()

    # --- addresses --------------------

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return self._url

    @property
    def versions_url(self) -> str:
        """The URL a CPO is given together with the token A."""
        return self.url_of("versions")

    # --- what it holds --------------------

    @property
    def violations(self) -> list[Violation]:
        """Every breach of OCPI seen so far."""
        return self.journal.violations

    def state(self) -> dict[str, Any]:
        """Return all it holds, by module."""
        return {
            "url": self._url,
            "versions_url": self.versions_url,
            "parties": [{"country_code": c, "party_id": p} for c, p in self.parties],
            "hub": None if self.hub is None else "".join(self.hub),
            "peers": [peer.as_json() for peer in self.peers if peer.registered],
            "locations": [thing for _, thing in self.books.locations.items()],
            "tariffs": [thing for _, thing in self.books.tariffs.items()],
            "sessions": [thing for _, thing in self.books.sessions.items()],
            "cdrs": [thing for _, thing in self.books.cdrs.items()],
            "tokens": [driver.token for driver in self.drivers.listed()],
            "authorizations": self.authorizations,
            "commands": [order.as_json() for order in self.orders.values()],
            "active_charging_profiles": self.books.active_profiles,
            "clients": [thing for _, thing in self.books.clients.items()],
            "faults": [fault.as_json() for fault in self.faults.rules],
            "violations": [violation.as_json() for violation in self.violations],
        }

    # --- registration --------------------

    async def register(
        self,
        versions_url: str,
        token_a: str,
        *,
        version: str | None = None,
        base64_token: bool | None = None,
    ) -> Peer:
        """Register with a CPO.

        Args:
            versions_url: the CPO's versions URL.
            token_a: the one-time token it handed out.
            version: the version to use; the highest common one when absent.
            base64_token: how to show the token, when not as the version says.

        Raises:
            CallFailed: a step failed; nothing of the attempt is kept.
        """
        return await self.registration.register(
            versions_url, token_a, version=version, base64_token=base64_token
        )

    def invite(self, token_a: str | None = None) -> str:
        """Return a fresh token A that a CPO may register with."""
        token = token_a or new_token()
        self.peers.append(Peer(name="invited", tokens_in=[token]))
        return token

    # --- faults --------------------

    def fail(self, do: str, *, times: int | None = 1, **match_and_options: Any) -> Fault:
        """Let requests go wrong: `fail("500", module="cdrs", times=3)`.

        Raises:
            BadFault: the fault or an option is unknown.
        """
        names = ("module", "method", "path", "object")
        match = {name: match_and_options.pop(name) for name in names if name in match_and_options}
        fault = Fault.read({"do": do, "times": times, "match": match, **match_and_options})
        self.faults.add(fault)
        return fault
