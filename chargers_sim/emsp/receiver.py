"""The eMSP's side of the OCPI modules: what it answers to each request of a CPO."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from chargers_sim.emsp.books import Owner, Shelf, Unknown
from chargers_sim.emsp.drivers import Driver, new_reference
from chargers_sim.emsp.editions import Edition
from chargers_sim.emsp.journal import Exchange
from chargers_sim.emsp.peers import Peer
from chargers_sim.emsp.strict import tables

if TYPE_CHECKING:
    from chargers_sim.emsp.double import Emsp

NO_DATA: Any = object()
"""Stands for an answer without a `data` field."""

OK = 1000
INVALID = 2001
UNKNOWN_LOCATION = 2003
UNKNOWN_TOKEN = 2004

_STORED = {"PUT", "PATCH", "POST", "DELETE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to an OCPI module, read and attributed to a peer."""

    method: str
    edition: Edition
    module: str
    ids: list[str]
    """Decoded path segments behind the module."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    peer: Peer
    token: str
    """The token the peer showed, decoded."""
    exchange: Exchange


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What is answered: HTTP status, OCPI status, data, more headers."""

    status: int = 200
    code: int = OK
    data: Any = NO_DATA
    message: str | None = None
    headers: dict[str, str] = field(default_factory=dict)


METHOD_NOT_ALLOWED = Reply(status=405, code=2000, message="method not allowed")
NOT_FOUND = Reply(status=404, code=2000, message="not found")


class Receiver:
    """Answers the functional modules; credentials and versions live elsewhere."""

    def __init__(self, emsp: "Emsp") -> None:
        self._emsp = emsp
        self._modules = {
            "locations": self._locations,
            "tariffs": self._tariffs,
            "sessions": self._sessions,
            "cdrs": self._cdrs,
            "commands": self._results,
            "chargingprofiles": self._profiles,
            "hubclientinfo": self._clients,
            "clientinfo": self._clients,
        }

    async def answer(self, call: Call) -> Reply:
        """Answer one request; what it changes is changed before anything is awaited."""
        if call.module == "tokens":
            return await self._tokens(call)
        handler = self._modules.get(call.module)
        if handler is None:
            return NOT_FOUND
        try:
            reply = handler(call)
        except Unknown as missing:
            code = UNKNOWN_LOCATION if call.module == "locations" else 2000
            return Reply(status=404, code=code, message=str(missing))
        if call.method in _STORED and reply.status < 300 and reply.code == OK:
            call.exchange.applied = True
            self._emsp.changed()
        return reply

    # --- locations, tariffs, sessions --------------------

    def _locations(self, call: Call) -> Reply:
        if not 3 <= len(call.ids) <= 5:
            return NOT_FOUND
        owner, ids = self._owner(call), call.ids[2:]
        name = ("Location", "EVSE", "Connector")[len(ids) - 1]
        books = self._emsp.books
        if call.method == "GET":
            return self._one(self._place(owner, ids))
        if call.method == "PUT":
            if refusal := self._judge(call, name, id_field="uid" if len(ids) == 2 else "id"):
                return refusal
            if len(ids) == 1:
                fresh = books.locations.put(owner, ids[0], call.body)
            elif len(ids) == 2:
                fresh = books.put_evse(owner, ids[0], ids[1], call.body)
            else:
                fresh = books.put_connector(owner, ids[0], ids[1], ids[2], call.body)
            return Reply(status=201 if fresh else 200)
        if call.method == "PATCH":
            self._place(owner, ids)
            if refusal := self._judge_patch(call, name):
                return refusal
            merged = books.patch_place(owner, ids, call.body)
            return self._after_patch(call, name, merged)
        return METHOD_NOT_ALLOWED

    def _place(self, owner: Owner, ids: list[str]) -> dict[str, Any]:
        books = self._emsp.books
        if len(ids) == 1:
            return books.locations.get(owner, ids[0])
        if len(ids) == 2:
            return books.get_evse(owner, ids[0], ids[1])
        return books.get_connector(owner, ids[0], ids[1], ids[2])

    def _tariffs(self, call: Call) -> Reply:
        shelf = self._emsp.books.tariffs
        if len(call.ids) != 3:
            return NOT_FOUND
        owner, id_ = self._owner(call), call.ids[2]
        if call.method == "DELETE":
            shelf.drop(owner, id_)
            return Reply()
        if call.method == "PATCH" and call.edition.owner_in_body:
            self._blame(call, "request", "", f"tariffs have no PATCH in {call.edition.version}")
        return self._object(call, "Tariff", shelf, owner, id_)

    def _sessions(self, call: Call) -> Reply:
        if len(call.ids) != 3:
            return NOT_FOUND
        return self._object(
            call, "Session", self._emsp.books.sessions, self._owner(call), call.ids[2]
        )

    def _object(self, call: Call, name: str, shelf: Shelf, owner: Owner, id_: str) -> Reply:
        if call.method == "GET":
            return self._one(shelf.get(owner, id_))
        if call.method == "PUT":
            if refusal := self._judge(call, name):
                return refusal
            return Reply(status=201 if shelf.put(owner, id_, call.body) else 200)
        if call.method != "PATCH":
            return METHOD_NOT_ALLOWED
        held = shelf.get(owner, id_)
        if refusal := self._judge_patch(call, name):
            return refusal
        if name == "Session":
            held = self._emsp.books.patch_session(
                owner, id_, call.body, append=call.edition.periods_append
            )
        else:
            held.update(call.body)
        return self._after_patch(call, name, held)

    def _after_patch(self, call: Call, name: str, merged: dict[str, Any]) -> Reply:
        for deviation in tables(call.edition.version).check(name, merged):
            self._blame(call, f"{name} after PATCH", deviation.path, deviation.problem)
        return Reply()

    # --- CDRs --------------------

    def _cdrs(self, call: Call) -> Reply:
        shelf = self._emsp.books.cdrs
        if call.method == "GET" and len(call.ids) == 3:
            return self._one(shelf.get((call.ids[0], call.ids[1]), call.ids[2]))
        if call.method != "POST" or call.ids:
            return METHOD_NOT_ALLOWED
        if refusal := self._judge(call, "CDR", id_field=None):
            return refusal
        owner, id_ = self._cdr_owner(call), str(call.body.get("id"))
        call.exchange.object = f"cdrs/{owner[0]}/{owner[1]}/{id_}"
        location = self._cdr_url(call, owner, id_)
        try:
            held = shelf.get(owner, id_)
        except Unknown:
            shelf.put(owner, id_, call.body)
            return Reply(status=201, headers=location)
        if held != call.body:
            self._blame(call, "CDR", "", f"{id_} was sent before with another body (CDR-1)")
        if self._emsp.dialect.duplicate_cdr == "refuse":
            return Reply(code=2000, message=f"duplicate CDR {id_}")
        return Reply(headers=location)

    def _cdr_owner(self, call: Call) -> Owner:
        if not call.edition.owner_in_body:
            return call.peer.party
        owner = str(call.body.get("country_code")), str(call.body.get("party_id"))
        self._check_owner(call, owner)
        return owner

    def _cdr_url(self, call: Call, owner: Owner, id_: str) -> dict[str, str]:
        style = self._emsp.dialect.cdr_location
        if style == "missing":
            return {}
        url = self._emsp.module_url(call.edition, "cdrs").rstrip("/")
        if style == "relative":
            url = "/" + url.split("/", 3)[3]
        return {"Location": "/".join([url, *(quote(part, safe="") for part in (*owner, id_))])}

    # --- tokens --------------------

    async def _tokens(self, call: Call) -> Reply:
        if call.method == "GET" and not call.ids:
            return self._token_page(call)
        if call.method == "POST" and len(call.ids) == 2 and call.ids[1] == "authorize":
            return await self._authorize(call)
        return METHOD_NOT_ALLOWED if call.ids == [] else NOT_FOUND

    def _token_page(self, call: Call) -> Reply:
        largest = self._emsp.dialect.page_size
        numbers = {"offset": 0, "limit": largest}
        for name, least in (("offset", 0), ("limit", 1)):
            raw = call.query.get(name)
            if raw is None:
                continue
            if not raw.isdigit() or int(raw) < least:
                return Reply(code=INVALID, message=f"{name} must be a number from {least}")
            numbers[name] = int(raw)
        offset, limit = numbers["offset"], min(numbers["limit"], largest)
        dates = {name: _plain_date(call.query.get(name)) for name in ("date_from", "date_to")}
        page, total = self._emsp.drivers.page(offset, limit, **dates)
        return Reply(
            data=[self._emsp.shown_token(driver, call.edition) for driver in page],
            headers=self._page_headers(call, offset, limit, len(page), total),
        )

    def _page_headers(
        self, call: Call, offset: int, limit: int, count: int, total: int
    ) -> dict[str, str]:
        dialect = self._emsp.dialect
        headers = {"X-Limit": str(dialect.page_size)}
        shown = {"right": total, "page": count, "wrong": total + 7}.get(dialect.total)
        if shown is not None:
            headers["X-Total-Count"] = str(shown)
        if offset + count < total and dialect.link != "missing":
            step = 0 if dialect.link == "same" else count
            query = {**call.query, "offset": offset + step, "limit": limit}
            url = self._emsp.module_url(call.edition, "tokens") + "?" + urlencode(query)
            if dialect.link == "relative":
                url = "/" + url.split("/", 3)[3]
            headers["Link"] = f'<{url}>; rel="next"'
        return headers

    async def _authorize(self, call: Call) -> Reply:
        if call.body is None:
            self._blame(call, "LocationReferences", "", "not sent with authorize (TOK-21)")
        else:
            self._check(call, "LocationReferences", call.body)
        kind = call.query.get("type") or call.query.get("token_type")
        driver = self._emsp.drivers.find(call.ids[0], kind)
        record = {
            "at": call.exchange.at,
            "uid": call.ids[0],
            "type": kind,
            "location": call.body,
            "allowed": None,
            "authorization_reference": None,
        }
        self._emsp.authorizations.append(record)
        reply = self._decision(call, driver, record)
        call.exchange.applied = True
        self._emsp.changed()
        if driver is not None and driver.answer.delay > 0:
            await asyncio.sleep(driver.answer.delay)
        return reply

    def _decision(self, call: Call, driver: Driver | None, record: dict[str, Any]) -> Reply:
        if driver is None or driver.answer.unknown:
            style = self._emsp.dialect.unknown_token
            return Reply(
                status=200 if style == "2004" else 404,
                code=2000 if style == "404" else UNKNOWN_TOKEN,
                message="unknown token",
            )
        answer = driver.answer
        allowed = answer.allowed or ("ALLOWED" if driver.token["valid"] else "BLOCKED")
        data: dict[str, Any] = {"allowed": allowed}
        location = answer.location if answer.location is not None else call.body
        if location is not None:
            data["location"] = location
        if call.edition.owner_in_body:
            data["token"] = answer.token or self._emsp.shown_token(driver, call.edition)
            if allowed == "ALLOWED":
                reference = answer.authorization_reference or new_reference()
                data["authorization_reference"] = reference
                record["authorization_reference"] = reference
        if answer.info is not None:
            data["info"] = answer.info
        record["allowed"] = allowed
        return Reply(data=data)

    # --- results of commands and charging profiles --------------------

    def _results(self, call: Call) -> Reply:
        if call.method != "POST" or len(call.ids) != 2:
            return NOT_FOUND
        return self._result(call, call.ids[1], call.edition.result_object)

    def _profiles(self, call: Call) -> Reply:
        if call.method == "PUT" and len(call.ids) == 1:
            self._check(call, "ActiveChargingProfile", call.body)
            self._emsp.books.active_profiles[call.ids[0]] = call.body
            return Reply()
        if call.method != "POST" or len(call.ids) != 2:
            return NOT_FOUND
        name = {
            "PUT": "ChargingProfileResult",
            "GET": "ActiveChargingProfileResult",
            "DELETE": "ClearProfileResult",
        }.get(call.ids[0], "ChargingProfileResult")
        return self._result(call, call.ids[1], name)

    def _result(self, call: Call, order_id: str, name: str) -> Reply:
        order = self._emsp.orders.get(order_id)
        if order is None:
            self._blame(call, name, "", f"result for {order_id!r}, which was never asked for")
            return NOT_FOUND
        body = call.body
        if isinstance(body, dict) and "status_code" in body and "data" in body:
            self._blame(call, name, "", "wrapped in an envelope (CMD-4)")
            body = body["data"]
        self._check(call, name, body)
        if not isinstance(body, dict):
            return Reply(code=INVALID, message=f"{name} expected")
        if order.results and body.get("result") != "CANCELED_RESERVATION":
            self._blame(call, name, "", f"second result for {order_id} (CMD-7)")
        order.add_result(body)
        return Reply()

    # --- hub client info --------------------

    def _clients(self, call: Call) -> Reply:
        if call.method == "GET" and not call.ids:
            clients = [client for _, client in self._emsp.hub_clients.items()]
            count = str(len(clients))
            return Reply(data=clients, headers={"X-Total-Count": count, "X-Limit": count})
        if len(call.ids) != 2:
            return NOT_FOUND
        owner = call.ids[0], call.ids[1]
        if call.method == "GET":
            return self._one(self._emsp.books.clients.get(owner, ""))
        if call.method != "PUT":
            return METHOD_NOT_ALLOWED
        self._check(call, "ClientInfo", call.body)
        fresh = self._emsp.books.clients.put(owner, "", call.body)
        return Reply(status=201 if fresh else 200)

    # --- checks --------------------

    def _one(self, thing: Any) -> Reply:
        return Reply(data=[thing] if self._emsp.dialect.list_for_object else thing)

    def _owner(self, call: Call) -> Owner:
        owner = call.ids[0], call.ids[1]
        self._check_owner(call, owner)
        return owner

    def _check_owner(self, call: Call, owner: Owner) -> None:
        if not call.peer.owns(*owner):
            self._blame(call, "request", "", f"{'/'.join(owner)} is no party of this platform")

    def _judge(self, call: Call, name: str, *, id_field: str | None = "id") -> Reply | None:
        """Check an object sent whole; return a refusal when it cannot or must not be kept."""
        if not isinstance(call.body, dict):
            self._blame(call, name, "", "object expected")
            return Reply(code=INVALID, message=f"{name} expected")
        bad = self._check(call, name, call.body)
        if id_field is not None:
            bad += self._check_ids(call, name, id_field)
        if bad and self._emsp.dialect.refuse_invalid:
            return Reply(code=INVALID, message=bad[0])
        return None

    def _check_ids(self, call: Call, name: str, id_field: str) -> list[str]:
        expected = {id_field: call.ids[-1]}
        if call.edition.owner_in_body and len(call.ids) == 3:
            expected |= {"country_code": call.ids[0], "party_id": call.ids[1]}
        found: list[str] = []
        for field_name, in_url in expected.items():
            in_body = str(call.body.get(field_name))
            if in_body.casefold() != in_url.casefold():
                problem = f"{in_body!r} in the body, {in_url!r} in the URL (TRANS-17)"
                self._blame(call, name, field_name, problem)
                found.append(f"{field_name}: {problem}")
        return found

    def _judge_patch(self, call: Call, name: str) -> Reply | None:
        if not isinstance(call.body, dict):
            self._blame(call, name, "", "object expected")
            return Reply(code=INVALID, message=f"{name} expected")
        bad = self._check(call, name, call.body, partial=True)
        if call.edition.patch_dated and "last_updated" not in call.body:
            self._blame(call, name, "last_updated", "missing in a PATCH (TRANS-18)")
            bad.append("last_updated: missing")
        if bad and self._emsp.dialect.refuse_invalid:
            return Reply(code=INVALID, message=bad[0])
        return None

    def _check(self, call: Call, name: str, value: Any, *, partial: bool = False) -> list[str]:
        deviations = tables(call.edition.version).check(name, value, partial=partial)
        for deviation in deviations:
            self._blame(call, name, deviation.path, deviation.problem)
        return [str(deviation) for deviation in deviations]

    def _blame(self, call: Call, name: str, path: str, problem: str) -> None:
        self._emsp.journal.blame(call.exchange, name, path, problem)


def _plain_date(text: str | None) -> str | None:
    """Return a date of a query in the form our last_updated has (PAG-8)."""
    if text is None:
        return None
    text = re.sub(r"(Z|[+ ]00:00)$", "", text)
    head, _, fraction = text.partition(".")
    return f"{head}.{fraction.ljust(3, '0')[:3]}Z"
