"""The operator's server: API under /api/v1, health, metrics, console."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import structlog
from aiohttp import web

import cpo
from cpo.errors import CpoError
from cpo.telemetry import Metrics, watch_loop
from cpo.web import body as bodies
from cpo.web.api import (
    commands,
    der,
    jobs,
    limits,
    local_lists,
    meter_keys,
    openapi,
    partners,
    prices,
    records,
    security,
    sites,
    station_tariffs,
    stations,
    templates,
)
from cpo.web.auth import Keys
from cpo.web.body import check_text
from cpo.web.console.logins import Logins
from cpo.web.console.server import Console
from cpo.web.observing import Observer
from cpo.web.problems import TooManyFailures, Unauthorized, problem, told
from cpo.web.routes import Call, Route, answered
from cpo.web.services import OperatorServices

log = structlog.get_logger()

API = "/api/v1"
ROUTES: tuple[Route, ...] = (
    *stations.ROUTES,
    *station_tariffs.ROUTES,
    *der.ROUTES,
    *templates.ROUTES,
    *local_lists.ROUTES,
    *security.ROUTES,
    *meter_keys.ROUTES,
    *sites.ROUTES,
    *partners.ROUTES,
    *records.ROUTES,
    *limits.ROUTES,
    *jobs.ROUTES,
    *prices.ROUTES,
    *commands.ROUTES,
)
MOST_BYTES = 1 << 20
READINESS_SECONDS = 3
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": with it a browser sends "Origin: null" with the forms of our own pages.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


class OperatorApi:
    """Serves the operator API and the console; mount `application()` on a runner."""

    def __init__(
        self, services: OperatorServices, keys: Keys, metrics: Metrics, *, observe: bool = True
    ) -> None:
        """Build it; `observe` feeds the metrics, which one of several nodes does by itself."""
        self._services = services
        self._keys = keys
        self._metrics = metrics
        if observe:
            Observer(metrics, services.memory, services.transactions, services.commands)
        self._description = b""

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(middlewares=[self._guard], client_max_size=MOST_BYTES)
        for route in ROUTES:
            app.router.add_route(route.method, API + route.path, self._handler(route))
        app.router.add_get(f"{API}/openapi.json", self._openapi)
        app.router.add_get("/health/live", self._live)
        app.router.add_get("/health/ready", self._ready)
        app.router.add_get("/health/startup", self._ready)
        app.router.add_get("/health/leader", self._live)
        app.router.add_get("/metrics", self._scrape)
        Console(self._services, self._keys, Logins()).mount(app)
        app.on_response_prepare.append(_harden)
        app.cleanup_ctx.append(self._watching)
        return app

    async def _watching(self, _: web.Application) -> AsyncIterator[None]:
        watch = asyncio.create_task(watch_loop(self._metrics))
        yield
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch

    def _handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        services = self._services

        async def handle(request: web.Request) -> web.StreamResponse:
            actor = self._keys.actor(
                request.headers.get("Authorization"), address=request.remote or ""
            )
            actor.require(route.scope)
            if services.memory.shared:
                with contextlib.suppress(CpoError):
                    await services.memory.fresh()
            for name, text in (*request.match_info.items(), *request.query.items()):
                check_text(text, name)
            body = None
            if route.body is not None:
                body = await bodies.read_json(request)
                if isinstance(route.body, type):
                    body = bodies.parse(route.body, body)
            call = Call(services=self._services, request=request, actor=actor, body=body)
            return answered(await route.handler(call), route.status)

        return handle

    @web.middleware
    async def _guard(self, request: web.Request, handler: Next) -> web.StreamResponse:
        """Turn every failure into an answer, and count it."""
        try:
            answer = await handler(request)
        except CpoError as error:
            if isinstance(error, Unauthorized | TooManyFailures):
                self._metrics.operator_logins_failed.inc()
                log.warning("operator.key_refused", address=request.remote, path=request.path)
            answer = told(error)
        except web.HTTPException as error:
            # A redirect is an answer, the rest gets the form of all our errors.
            if error.status < 400:
                raise
            answer = problem(error.status, error.reason)
            for name in ("Allow",):
                if name in error.headers:
                    answer.headers[name] = error.headers[name]
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:
            reference = secrets.token_hex(8)
            log.exception("operator.request_failed", path=request.path, reference=reference)
            answer = problem(500, f"an error of ours, logged as {reference}")
        self._count(request, answer.status)
        return answer

    def _count(self, request: web.Request, status: int) -> None:
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "none"
        self._metrics.operator_requests.inc(request.method, route, f"{status // 100}xx")

    async def _openapi(self, _: web.Request) -> web.Response:
        # Made when somebody asks: it builds the schemas of all bodies.
        self._description = self._description or bodies.write_json(openapi.description(ROUTES))
        return web.Response(body=self._description, content_type="application/json")

    async def _live(self, _: web.Request) -> web.Response:
        return _json({"live": True, "version": cpo.__version__})

    async def _ready(self, _: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(READINESS_SECONDS):
                reasons = list(await self._services.readiness())
        except TimeoutError:
            reasons = ["the database does not answer"]
        return readiness(reasons, self._services.condition())

    async def _scrape(self, _: web.Request) -> web.Response:
        return web.Response(
            body=self._metrics.render(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )


def readiness(reasons: Sequence[str], condition: Mapping[str, object]) -> web.Response:
    """Return the answer of /health/ready: `condition` tells of parts that may be away for a while.

    A bus that is away is no reason to send charge points elsewhere.
    """
    if reasons:
        return _json({"ready": False, "reasons": reasons, **condition}, status=503)
    return _json({"ready": True, "version": cpo.__version__, **condition})


class NodeApi:
    """What a node answers by itself while another one serves the operators: health and metrics."""

    def __init__(
        self,
        readiness: Callable[[], Awaitable[Sequence[str]]],
        condition: Callable[[], Mapping[str, object]],
        metrics: Metrics,
    ) -> None:
        self._readiness = readiness
        self._condition = condition
        self._metrics = metrics

    def application(self) -> web.Application:
        """Return the aiohttp application; each of its answers ends the connection."""
        app = web.Application(client_max_size=MOST_BYTES)
        app.router.add_get("/health/live", self._live)
        app.router.add_get("/health/ready", self._ready)
        app.router.add_get("/health/startup", self._ready)
        app.router.add_get("/health/leader", self._follows)
        app.router.add_get("/metrics", self._scrape)
        app.on_response_prepare.append(_harden)
        app.on_response_prepare.append(_last)
        return app

    async def _live(self, _: web.Request) -> web.Response:
        return _json({"live": True, "version": cpo.__version__})

    async def _follows(self, _: web.Request) -> web.Response:
        return _json({"leading": False, "version": cpo.__version__}, status=503)

    async def _ready(self, _: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(READINESS_SECONDS):
                reasons = list(await self._readiness())
        except TimeoutError:
            reasons = ["the database does not answer"]
        return readiness(reasons, self._condition())

    async def _scrape(self, _: web.Request) -> web.Response:
        return web.Response(
            body=self._metrics.render(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )


def answered_here(path: str) -> bool:
    """Tell whether every node answers a path of the operator's port by itself."""
    return path.startswith("/health/") or path.partition("?")[0] == "/metrics"


async def _last(_: web.Request, answer: web.StreamResponse) -> None:
    end_after(answer)


def end_after(answer: web.StreamResponse) -> None:
    """End the connection after an answer, and say so: its headers are made already."""
    answer.force_close()
    answer.headers["Connection"] = "close"


async def _harden(_: web.Request, answer: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        answer.headers.setdefault(name, value)
    # Which library in which version serves is nobody's business (S21).
    answer.headers["Server"] = "cpo"


def _json(value: Mapping[str, object], *, status: int = 200) -> web.Response:
    return web.Response(
        body=bodies.write_json(value), status=status, content_type="application/json"
    )
