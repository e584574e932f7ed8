"""The control API of the double, below `/double`: look, break, command."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from chargers_sim.emsp import exact
from chargers_sim.emsp.caller import CallFailed
from chargers_sim.emsp.drivers import BadToken
from chargers_sim.emsp.faults import BadFault, Fault
from chargers_sim.emsp.invariants import differences, holdings, journal_breaches
from chargers_sim.emsp.peers import NotConnected

if TYPE_CHECKING:
    from chargers_sim.emsp.double import Emsp

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BadRequest(ValueError):
    """A control request cannot be understood."""


class Control:
    """The double's own API; none of it is OCPI."""

    def __init__(self, emsp: "Emsp") -> None:
        self._emsp = emsp

    def mount(self, app: web.Application) -> None:
        """Add the routes."""
        routes: list[tuple[str, str, Handler]] = [
            ("GET", "/double/state", self._state),
            ("GET", "/double/exchanges", self._exchanges),
            ("GET", "/double/violations", self._violations),
            ("GET", "/double/faults", self._faults),
            ("POST", "/double/faults", self._add_fault),
            ("DELETE", "/double/faults", self._clear_faults),
            ("POST", "/double/tokens", self._tokens),
            ("POST", "/double/commands/{command}", self._command),
            ("POST", "/double/chargingprofiles/{session_id}", self._profile),
            ("POST", "/double/charging_preferences/{session_id}", self._preferences),
            ("POST", "/double/clients", self._client),
            ("GET", "/double/holdings", self._holdings),
            ("POST", "/double/reconcile", self._reconcile),
            ("GET", "/double/check", self._check),
            ("POST", "/double/register", self._register),
            ("POST", "/double/rotate", self._rotate),
            ("POST", "/double/unregister", self._unregister),
            ("POST", "/double/invite", self._invite),
            ("POST", "/double/pull", self._pull),
        ]
        for method, path, handler in routes:
            app.router.add_route(method, path, _guarded(handler))

    async def _state(self, _request: web.Request) -> web.Response:
        return _json(self._emsp.state())

    async def _exchanges(self, request: web.Request) -> web.StreamResponse:
        """Send the journal as NDJSON; `module`, `method`, `object` and `after` filter it."""
        after = int(request.query.get("after", 0))
        wanted = {name: request.query.get(name) for name in ("module", "method", "direction")}
        object_name = request.query.get("object")
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        for exchange in list(self._emsp.journal.exchanges):
            if exchange.number <= after or any(
                value is not None and value != getattr(exchange, name)
                for name, value in wanted.items()
            ):
                continue
            if object_name is not None and object_name not in (exchange.object or "").split("/"):
                continue
            await response.write(exact.dumps(exchange.as_json()) + b"\n")
        await response.write_eof()
        return response

    async def _violations(self, _request: web.Request) -> web.Response:
        return _json([violation.as_json() for violation in self._emsp.violations])

    async def _faults(self, _request: web.Request) -> web.Response:
        return _json([fault.as_json() for fault in self._emsp.faults.rules])

    async def _add_fault(self, request: web.Request) -> web.Response:
        raw = await _body(request)
        added = [Fault.read(entry) for entry in (raw if isinstance(raw, list) else [raw])]
        for fault in added:
            self._emsp.faults.add(fault)
        return _json([fault.as_json() for fault in added], status=201)

    async def _clear_faults(self, _request: web.Request) -> web.Response:
        self._emsp.faults.clear()
        return web.Response(status=204)

    async def _tokens(self, request: web.Request) -> web.Response:
        """Add or change tokens; `push` false keeps them to ourselves, `method` may be PATCH."""
        raw = await _body(request)
        entries = raw if isinstance(raw, list) else [raw]
        tokens = []
        for entry in entries:
            fields = _object(entry)
            push, method = fields.pop("push", True), str(fields.pop("method", "PUT"))
            driver = await self._emsp.send_token(fields, push=bool(push), method=method)
            tokens.append(driver.token)
        return _json(tokens if isinstance(raw, list) else tokens[0])

    async def _command(self, request: web.Request) -> web.Response:
        """Send a command and answer with its final result; `wait` is in seconds."""
        fields = _object(await _body(request))
        wait = float(fields.pop("wait", 60))
        order = await self._emsp.command(request.match_info["command"], wait=wait, **fields)
        return _json(order.as_json())

    async def _profile(self, request: web.Request) -> web.Response:
        """Set, ask for or clear a session's profile; answers with the final result."""
        fields = _object(await _body(request))
        order = await self._emsp.charging_profile(
            str(fields.pop("method", "PUT")),
            request.match_info["session_id"],
            wait=float(fields.pop("wait", 60)),
            **fields,
        )
        return _json(order.as_json())

    async def _preferences(self, request: web.Request) -> web.Response:
        """Send charging preferences; answers with what the CPO said."""
        answer = await self._emsp.charging_preferences(
            request.match_info["session_id"], _object(await _body(request))
        )
        return _json({"status": answer.status, "answer": answer.exchange.response})

    async def _client(self, request: web.Request) -> web.Response:
        raw = _object(await _body(request))
        entry = await self._emsp.announce_client(
            (str(raw.pop("country_code", "")), str(raw.pop("party_id", ""))), **raw
        )
        return _json(entry)

    async def _holdings(self, _request: web.Request) -> web.Response:
        return _json(holdings(self._emsp.books))

    async def _reconcile(self, request: web.Request) -> web.Response:
        """Pull the CPO's lists without keeping them and say what differs."""
        raw = _object(await _body(request))
        modules = raw.get("modules") or ["locations", "tariffs", "sessions", "cdrs"]
        served = {module: await self._emsp.fetch(module) for module in modules}
        return _json([str(found) for found in differences(self._emsp.books, served)])

    async def _check(self, _request: web.Request) -> web.Response:
        """Check the invariants that the journal alone can show."""
        return _json([str(found) for found in journal_breaches(self._emsp.journal.exchanges)])

    async def _register(self, request: web.Request) -> web.Response:
        raw = _object(await _body(request))
        for name in ("versions_url", "token_a"):
            if not isinstance(raw.get(name), str):
                raise BadRequest(f"{name} is missing")
        peer = await self._emsp.register(
            raw["versions_url"],
            raw["token_a"],
            version=raw.get("version"),
            base64_token=raw.get("base64_token"),
        )
        return _json(peer.as_json(), status=201)

    async def _rotate(self, request: web.Request) -> web.Response:
        raw = _object(await _body(request))
        await self._emsp.registration.rotate(self._emsp.peer, version=raw.get("version"))
        return _json(self._emsp.peer.as_json())

    async def _unregister(self, _request: web.Request) -> web.Response:
        await self._emsp.registration.unregister(self._emsp.peer)
        return web.Response(status=204)

    async def _invite(self, request: web.Request) -> web.Response:
        raw = _object(await _body(request))
        token = self._emsp.invite(raw.get("token_a"))
        return _json({"versions_url": self._emsp.versions_url, "token_a": token}, status=201)

    async def _pull(self, request: web.Request) -> web.Response:
        """Pull lists: `modules`, and a query such as `date_from` or `limit`."""
        raw = _object(await _body(request))
        modules = raw.pop("modules", None)
        pulled = await (
            self._emsp.pull(**raw) if modules is None else self._emsp.pull(modules, **raw)
        )
        return _json(pulled)


def _json(value: Any, *, status: int = 200) -> web.Response:
    return web.Response(status=status, body=exact.dumps(value), content_type="application/json")


async def _body(request: web.Request) -> Any:
    text = await request.read()
    try:
        return exact.loads(text) if text else {}
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error


def _object(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise BadRequest("an object is expected")
    return raw


def _guarded(handler: Handler) -> Handler:
    """Answer our own errors as one clear line of JSON."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except (BadRequest, BadFault, BadToken, KeyError, TypeError, ValueError) as error:
            return _json({"error": str(error)}, status=400)
        except NotConnected as error:
            return _json({"error": str(error)}, status=409)
        except CallFailed as failure:
            said = {"error": str(failure), "step": failure.step, "detail": failure.detail}
            if failure.answer is not None:
                said["answer"] = failure.answer.exchange.response
            return _json(said, status=502)

    return guarded
