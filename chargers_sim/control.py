"""Every action of a running station over HTTP, and a look at it.

`GET /` the state, `GET /events?after=N` and `GET /frames?after=N` as NDJSON,
`POST /steps/{name}` with the step's arguments as JSON, `GET /steps` what there is.
Loopback only unless told otherwise; it is a tool for a bench, not for the internet.
"""

import asyncio
import json
from typing import Any

from aiohttp import web

from chargers_sim.clock import iso
from chargers_sim.errors import BadInput, SimError
from chargers_sim.listening import listen, stop_listening
from chargers_sim.live import Station
from chargers_sim.steps import STEPS, run_step

STATION = web.AppKey("station", Station)


def state(station: Station) -> dict[str, Any]:
    """Describe a station as it stands."""
    model = station.model
    return {
        "identity": station.identity,
        "ocpp": station.version,
        "online": station.is_online,
        "now": iso(station.now),
        "waiting": [m.action for m in station.outbox],
        "faults": [{"do": r.do, "action": r.action, "hits": r.hits} for r in station.faults.rules],
        "connectors": [
            {
                "connector": o.number,
                "evse": o.evse,
                "status": model.status(o),
                "plugged": o.plugged,
                "power_w": model.power_w(o),
                "meter_wh": str(o.meter.register_wh()),
                "transaction": None
                if o.transaction is None or not o.charging
                else {
                    "id": o.transaction.number or o.transaction.ref,
                    "id_tag": None if o.transaction.token is None else o.transaction.token.value,
                    "started_at": iso(o.transaction.started_ms),
                },
            }
            for o in model.outlets.values()
        ],
    }


async def _state(request: web.Request) -> web.Response:
    return web.json_response(state(request.app[STATION]))


async def _steps(_: web.Request) -> web.Response:
    return web.json_response({name: step.does for name, step in sorted(STEPS.items())})


async def _events(request: web.Request) -> web.Response:
    station = request.app[STATION]
    after = _number(request.query.get("after", "0"))
    first = station.events_log.count - len(station.events)
    lines = [
        json.dumps({"n": n, **event})
        for n, event in enumerate(station.events, start=first + 1)
        if n > after
    ]
    return web.Response(text="\n".join(lines) + "\n", content_type="application/x-ndjson")


async def _frames(request: web.Request) -> web.Response:
    station = request.app[STATION]
    after = _number(request.query.get("after", "0"))
    lines = [
        json.dumps({"n": n, "at": iso(at), "dir": direction, "frame": text})
        for n, (at, direction, text) in enumerate(station.frames, start=1)
        if n > after
    ]
    return web.Response(text="\n".join(lines) + "\n", content_type="application/x-ndjson")


async def _do(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    text = await request.text()
    try:
        given = json.loads(text) if text else {}
        result = await run_step(request.app[STATION], name, given, "step")
    except json.JSONDecodeError as problem:
        return web.json_response({"error": f"not JSON: {problem}"}, status=400)
    except BadInput as problem:
        return web.json_response({"error": str(problem)}, status=400)
    except SimError as problem:
        return web.json_response({"error": str(problem)}, status=409)
    return web.json_response({"result": result, "state": state(request.app[STATION])})


def _number(text: str) -> int:
    if not text.isdigit():
        raise web.HTTPBadRequest(text=json.dumps({"error": f"after: not a number: {text!r}"}))
    return int(text)


class Control:
    """The HTTP control of one station."""

    def __init__(self, station: Station, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host, self._port = host, port
        app = web.Application()
        app[STATION] = station
        app.add_routes(
            [
                web.get("/", _state),
                web.get("/steps", _steps),
                web.get("/events", _events),
                web.get("/frames", _frames),
                web.post("/steps/{name}", _do),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        self._server: asyncio.Server | None = None
        self.url = ""

    async def start(self) -> str:
        """Listen; returns the address."""
        await self._runner.setup()
        try:
            self._server = await listen(self._runner, self._host, self._port)
        except OSError as problem:
            raise BadInput(f"--control: port {self._port}: {problem.strerror}") from problem
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://{self._host}:{port}"
        return self.url

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            await stop_listening(self._server)
        await self._runner.cleanup()
