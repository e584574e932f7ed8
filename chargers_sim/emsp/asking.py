"""What the double asks a CPO for: lists, tokens, commands, charging profiles."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import aiohttp

from chargers_sim.emsp.books import Owner, Shelf
from chargers_sim.emsp.caller import Answered, Caller, CallFailed
from chargers_sim.emsp.dialect import Dialect
from chargers_sim.emsp.drivers import Driver, Drivers
from chargers_sim.emsp.editions import RECEIVER, SENDER, Edition
from chargers_sim.emsp.journal import Journal, ocpi_time
from chargers_sim.emsp.orders import Order
from chargers_sim.emsp.peers import NotConnected, Peer, below
from chargers_sim.emsp.strict import tables
from chargers_sim.emsp.watching import Watching

_PULLED = {"locations": "Location", "tariffs": "Tariff", "sessions": "Session", "cdrs": "CDR"}
PREFIX = "/ocpi/emsp"
"""Where our OCPI URLs begin."""

_LONG_AGO = "2000-01-01T00:00:00Z"


class Asking(Watching):
    """The addresses and requests of an eMSP; the double sets its state."""

    parties: list[Owner]
    hub: Owner | None
    versions: list[str]
    dialect: Dialect
    now: Callable[[], datetime]
    drivers: Drivers
    journal: Journal
    orders: dict[str, Order]
    peers: list[Peer]
    hub_clients: Shelf
    _url: str
    _http: aiohttp.ClientSession | None

    def url_of(self, path: str) -> str:
        """Return one of our OCPI URLs, in the dialect's way."""
        return f"{self._url}{PREFIX}/{path}{'/' if self.dialect.trailing_slash else ''}"

    def module_url(self, edition: Edition, module: str) -> str:
        """Return the URL we publish for a module."""
        return self.url_of(f"{edition.version}/{module}")

    @property
    def http(self) -> aiohttp.ClientSession:
        """The client that all requests go through."""
        if self._http is None:
            raise NotConnected("the double is not started")
        return self._http

    @property
    def peer(self) -> Peer:
        """The CPO registered last.

        Raises:
            NotConnected: none is registered.
        """
        for peer in reversed(self.peers):
            if peer.registered:
                return peer
        raise NotConnected("no CPO is registered")

    def caller(
        self,
        peer: Peer | None = None,
        *,
        routed: bool = True,
        sender: Owner | None = None,
        to: Owner | None = None,
    ) -> Caller:
        """Return a caller with the working token of a registered CPO."""
        peer = peer or self.peer
        if peer.edition is None or peer.token_out is None:
            raise NotConnected(f"{peer.name} is not registered")
        caller = self.caller_for_token(peer.name, peer.token_out, peer.edition)
        if not (routed and peer.edition.routing):
            return caller
        source, target = sender or self.parties[0], to or peer.party
        route = {
            "OCPI-from-country-code": self.shown(source[0]),
            "OCPI-from-party-id": self.shown(source[1]),
            "OCPI-to-country-code": target[0],
            "OCPI-to-party-id": target[1],
        }
        return replace(caller, route=route)

    def caller_for_token(self, name: str, token: str, edition: Edition) -> Caller:
        """Return a caller that shows a certain token."""
        return Caller(
            http=self.http, journal=self.journal, peer=name, token=token,
            base64_token=self.codes(edition), edition=edition,
        )  # fmt: skip

    def codes(self, edition: Edition) -> bool:
        """Whether tokens travel in Base64 between us and a platform of this version."""
        coding = self.dialect.token_coding
        return edition.base64_token if coding == "version" else coding == "base64"

    def endpoint(self, module: str, role: str, peer: Peer | None = None) -> str:
        """Return the CPO's URL of a module.

        Raises:
            NotConnected: it offers none.
        """
        peer = peer or self.peer
        url = peer.endpoint(module, role)
        if url is None:
            raise NotConnected(f"{peer.name} offers no {module} as {role}")
        return url

    async def pages(
        self, module: str, *, peer: Peer | None = None, **query: Any
    ) -> AsyncIterator[tuple[list[Any], Answered]]:
        """Yield the pages of one of the CPO's lists, following Link."""
        peer = peer or self.peer
        if module == "sessions":
            query = {"date_from": _LONG_AGO} | query
        url = self.endpoint(module, SENDER, peer)
        if query:
            url += "?" + urlencode(query)
        caller = self.caller(peer)
        async for page in caller.pages(
            f"pull {module}", url, module=module, wanted=_PULLED[module]
        ):
            yield page

    async def fetch(self, module: str, *, peer: Peer | None = None, **query: Any) -> list[Any]:
        """Return one of the CPO's lists, without keeping it.

        Raises:
            CallFailed: a page could not be had.
        """
        return [thing async for page, _ in self.pages(module, peer=peer, **query) for thing in page]

    async def pull(
        self, modules: Iterable[str] = tuple(_PULLED), *, peer: Peer | None = None, **query: Any
    ) -> dict[str, dict[str, Any]]:
        """Pull the CPO's lists and keep them; say per module how much came.

        A pull of locations or tariffs without filter replaces what was held (PAG-7).

        Raises:
            CallFailed: a page could not be had; what came before it is kept.
        """
        peer = peer or self.peer
        pulled: dict[str, dict[str, Any]] = {}
        for module in modules:
            found: list[tuple[Owner, str, dict[str, Any]]] = []
            pages, total = 0, None
            async for page, answer in self.pages(module, peer=peer, **query):
                pages += 1
                total = answer.headers.get("X-Total-Count")
                found += [self._owned(thing, peer) for thing in page if isinstance(thing, dict)]
            shelf = getattr(self.books, module)
            if not query and module in {"locations", "tariffs"}:
                shelf.replace_all(found)
            else:
                for owner, id_, thing in found:
                    shelf.put(owner, id_, thing)
            pulled[module] = {"count": len(found), "pages": pages, "total": total}
        self.changed()
        return pulled

    def _owned(self, thing: dict[str, Any], peer: Peer) -> tuple[Owner, str, dict[str, Any]]:
        country, party = thing.get("country_code"), thing.get("party_id")
        named = isinstance(country, str) and isinstance(party, str)
        owner = (str(country), str(party)) if named else peer.party
        return owner, str(thing.get("id")), thing

    async def send_token(
        self, fields: Mapping[str, Any], *, push: bool = True, method: str = "PUT"
    ) -> Driver:
        """Add or change a driver's token and tell every registered CPO.

        Args:
            fields: of the token, in 2.3.0 spelling, and `authorize`.
            push: whether to tell anybody.
            method: PUT (whole) or PATCH (only these fields).

        Raises:
            BadToken: a field is unknown.
            CallFailed: a CPO did not take it.
        """
        driver = self.drivers.change(fields)
        if not push:
            return driver
        for peer in [peer for peer in self.peers if peer.registered]:
            await self._push_token(peer, driver, fields, method)
        return driver

    async def _push_token(
        self, peer: Peer, driver: Driver, fields: Mapping[str, Any], method: str
    ) -> None:
        if peer.edition is None:
            return
        body = self.shown_token(driver, peer.edition)
        if method == "PATCH":
            named = {*fields, "last_updated"} - {"uid", "type"}
            body = {name: value for name, value in body.items() if name in named}
        owner = driver.token["country_code"], driver.token["party_id"]
        parts = [self.shown(owner[0]), self.shown(owner[1]), driver.token["uid"]]
        url = below(self.endpoint("tokens", RECEIVER, peer), *parts)
        if peer.edition.owner_in_body:
            url += "?" + urlencode({"type": driver.token["type"]})
        await self.caller(peer, sender=owner).request(
            "push token", method, url, body=body, module="tokens",
            object_name="/".join(["tokens", *parts]),
        )  # fmt: skip

    async def command(
        self, command: str, *, wait: float = 60, peer: Peer | None = None, **fields: Any
    ) -> Order:
        """Send a command and wait for its final result.

        Args:
            command: such as START_SESSION.
            wait: seconds for the result; 0 does not wait.
            peer: which CPO, when several are registered.
            fields: of the command's object. `token` may be a uid; a `reservation_id`, an
                `expiry_date` (15 minutes) and the `response_url` are made up when absent.

        Raises:
            CallFailed: the request itself failed.
            NotConnected: no CPO takes commands.
        """
        peer = peer or self.peer
        edition = _edition(peer)
        order = Order(id=str(uuid.uuid4()), command=command, peer=peer.name, sent=None)
        response_url = f"{self.module_url(edition, 'commands').rstrip('/')}/{command}/{order.id}"
        order.sent = self._command_body(command, edition, {"response_url": response_url} | fields)
        self.orders[order.id] = order
        url = below(self.endpoint("commands", RECEIVER, peer), command)
        answer = await self.caller(peer).request(
            command, "POST", url, body=order.sent, module="commands", good_only=False
        )
        await self._note_response(order, answer, "CommandResponse", wait)
        return order

    async def charging_profile(
        self,
        method: str,
        session_id: str,
        *,
        wait: float = 60,
        peer: Peer | None = None,
        charging_profile: Mapping[str, Any] | None = None,
        duration: int | None = None,
    ) -> Order:
        """Set (PUT), ask for (GET) or clear (DELETE) the charging profile of a session.

        Args:
            method: PUT, GET or DELETE.
            session_id: which session.
            wait: seconds for the result; 0 does not wait.
            peer: which CPO, when several are registered.
            charging_profile: the ChargingProfile object, for PUT.
            duration: seconds to look ahead, for GET.

        Raises:
            CallFailed: the request itself failed.
            NotConnected: no CPO offers the module.
        """
        peer = peer or self.peer
        order = Order(
            id=str(uuid.uuid4()), command=f"{method} profile", peer=peer.name, sent=charging_profile
        )
        ours = self.module_url(_edition(peer), "chargingprofiles").rstrip("/")
        response_url = f"{ours}/{method}/{order.id}"
        url = below(self.endpoint("chargingprofiles", RECEIVER, peer), session_id)
        body = None
        if method == "PUT":
            body = {"charging_profile": charging_profile or {}, "response_url": response_url}
        else:
            query = {"response_url": response_url}
            url += "?" + urlencode(query if duration is None else {"duration": duration} | query)
        self.orders[order.id] = order
        answer = await self.caller(peer).request(
            order.command, method, url, body=body, module="chargingprofiles", good_only=False,
            object_name=f"chargingprofiles/{session_id}",
        )  # fmt: skip
        await self._note_response(order, answer, "ChargingProfileResponse", wait)
        return order

    async def charging_preferences(
        self, session_id: str, preferences: Mapping[str, Any], *, peer: Peer | None = None
    ) -> Answered:
        """PUT ChargingPreferences of a session; return the answer, good or not (SES-18)."""
        url = below(self.endpoint("sessions", SENDER, peer), session_id, "charging_preferences")
        return await self.caller(peer).request(
            "charging preferences", "PUT", url, body=dict(preferences),
            module="sessions", good_only=False,
        )  # fmt: skip

    async def announce_client(
        self, client: Owner, *, status: str, role: str = "EMSP", push: bool = True
    ) -> dict[str, Any]:
        """As a hub, note whether a party is reachable and tell every registered CPO (HUB-1).

        Raises:
            CallFailed: a CPO did not take it.
        """
        country, party = client
        entry = {
            "party_id": party,
            "country_code": country,
            "role": role,
            "status": status,
            "last_updated": ocpi_time(self.now()),
        }
        self.hub_clients.put(client, role, entry)
        for peer in [peer for peer in self.peers if peer.registered and push]:
            url = below(self.endpoint("hubclientinfo", RECEIVER, peer), country, party)
            await self.caller(peer, routed=False).request(
                "client info", "PUT", url, body=entry, module="hubclientinfo"
            )
        return entry

    async def _note_response(self, order: Order, answer: Answered, name: str, wait: float) -> None:
        order.response = answer.data
        self.changed()
        if not answer.good and not isinstance(answer.data, dict):
            said = f"HTTP {answer.status}, OCPI {answer.status_code} {answer.message or ''}"
            raise CallFailed(order.command, said.rstrip(), answer=answer)
        version = answer.exchange.version or "2.3.0"
        for deviation in tables(version).check(name, answer.data):
            self.journal.blame(answer.exchange, name, deviation.path, deviation.problem)
        if isinstance(answer.data, dict) and answer.data.get("result") == "ACCEPTED" and wait > 0:
            await order.finished(wait)

    def _command_body(
        self, command: str, edition: Edition, fields: Mapping[str, Any]
    ) -> dict[str, Any]:
        body = dict(fields)
        if isinstance(body.get("token"), str):
            driver = self.drivers.find(body["token"])
            if driver is None:
                raise NotConnected(f"we have no token {body['token']!r}")
            body["token"] = self.shown_token(driver, edition)
        if command == "RESERVE_NOW":
            number = uuid.uuid4().int % 1_000_000
            body.setdefault("reservation_id", str(number))
            body.setdefault("expiry_date", ocpi_time(self.now() + timedelta(minutes=15)))
            if edition.contract_field == "auth_id" and str(body["reservation_id"]).isdigit():
                body["reservation_id"] = int(body["reservation_id"])
        return body

    # --- how it writes --------------------

    def shown(self, code: str) -> str:
        """Write a country or party code in the dialect's way."""
        return code.lower() if self.dialect.lower_case else code

    def written(self, at: str) -> str:
        """Write a time in the dialect's way."""
        tail = {"Z": "Z", "none": "", "offset": "+00:00"}[self.dialect.dates]
        return at.removesuffix("Z") + tail

    def shown_token(self, driver: Driver, edition: Edition) -> dict[str, Any]:
        """Render a token in a version and in the dialect's way."""
        token = edition.token(driver.token)
        token["last_updated"] = self.written(token["last_updated"])
        for name in ("country_code", "party_id"):
            if name in token:
                token[name] = self.shown(token[name])
        return token


def _edition(peer: Peer) -> Edition:
    if peer.edition is None:
        raise NotConnected(f"{peer.name} is not registered")
    return peer.edition
