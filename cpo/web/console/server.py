"""Serves the console: log-in, pages, buttons, and what is live."""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
import structlog
from aiohttp import web

import cpo
from cpo.errors import CpoError
from cpo.services.ports import Audit, Work
from cpo.web.api import commands, jobs, partners, records
from cpo.web.auth import Actor, Keys
from cpo.web.body import check_text, parse, write_json
from cpo.web.console.logins import COOKIE, LONGEST_SECONDS, Login, Logins, genuine
from cpo.web.console.pages import ACTIONS, PAGES, Page, summary
from cpo.web.problems import TooManyFailures, Unauthorized, status_of
from cpo.web.routes import Call, Route
from cpo.web.services import OperatorServices

if TYPE_CHECKING:
    from jinja2 import Environment

log = structlog.get_logger()

HERE = Path(__file__).parent
LIVE_SECONDS = 1.0
MOST_LIVE = 50
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Console:
    """The pages under /."""

    def __init__(self, services: OperatorServices, keys: Keys, logins: Logins) -> None:
        self._services = services
        self._keys = keys
        self._logins = logins
        self._live = 0
        self._read_at, self._read = -LIVE_SECONDS, b""
        self._closing = asyncio.Event()
        self._static = {
            path.name: (path.read_bytes(), _TYPES[path.suffix])
            for path in (HERE / "static").iterdir()
            if path.suffix in _TYPES
        }

    @cached_property
    def _templates(self) -> "Environment":
        # Imported with the first page: a server without console visitors saves the memory.
        from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415

        templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        templates.filters |= {
            "shown": shown,
            "part": _part,
            "instant": _instant,
            "pretty": _pretty,
            "compact": _compact,
        }
        templates.globals["version"] = cpo.__version__
        return templates

    def mount(self, app: web.Application) -> None:
        """Add the console's routes to an application."""
        app.router.add_get("/login", self._login_form)
        app.router.add_post("/login", self._login)
        app.router.add_post("/logout", self._logout)
        app.router.add_get("/live", self._stream)
        app.router.add_get("/static/{name}", self._file)
        for page in PAGES:
            app.router.add_get(page.path, self._shown(page))
        for route in (*commands.ROUTES, *jobs.ROUTES, *partners.ROUTES, *records.ROUTES):
            if route.method == "POST" and route.path in ACTIONS:
                app.router.add_post(f"/do{route.path}", self._done(route))
        app.on_shutdown.append(self._shutdown)

    # --- who ----------------------------------------------------------------

    def _login_of(self, request: web.Request) -> Login:
        login = self._logins.find(request.cookies.get(COOKIE))
        if login is None:
            raise web.HTTPSeeOther(f"/login?next={quote(request.path_qs, safe='')}")
        return login

    async def _login_form(self, request: web.Request) -> web.Response:
        return self._page("login.html", {"problem": None, "next": _local(request)})

    async def _login(self, request: web.Request) -> web.Response:
        _same_origin(request)
        form = await request.post()
        key = str(form.get("key", "")).strip()
        try:
            actor = self._keys.actor_of_key(key, address=request.remote or "")
        except (Unauthorized, TooManyFailures) as error:
            log.warning("console.login_refused", address=request.remote)
            context = {"problem": str(error), "next": _local(request)}
            return self._page("login.html", context, status=status_of(error))
        await self._note(actor, "console.login")
        self._logins.end(request.cookies.get(COOKIE))
        answer = web.HTTPSeeOther(_local(request))
        answer.set_cookie(
            COOKIE,
            self._logins.begin(actor),
            max_age=LONGEST_SECONDS,
            httponly=True,
            samesite="Strict",
            secure=request.secure or request.headers.get("X-Forwarded-Proto") == "https",
        )
        raise answer

    async def _logout(self, request: web.Request) -> web.Response:
        await self._genuine(request)
        self._logins.end(request.cookies.get(COOKIE))
        answer = web.HTTPSeeOther("/login")
        answer.del_cookie(COOKIE)
        raise answer

    async def _note(self, actor: Actor, action: str) -> None:
        work = Work()
        work.add(Audit(self._services.now(), actor.name, action, actor.name))
        await self._services.store.commit(work)

    async def _genuine(self, request: web.Request) -> Login:
        """Return who sent a form; raises when it is not from one of our own pages (S27)."""
        _same_origin(request)
        login = self._login_of(request)
        form = await request.post()
        if not genuine(login, str(form.get("form_token", ""))):
            raise web.HTTPForbidden(text="the form is not from this console")
        return login

    # --- pages ----------------------------------------------------------------

    def _shown(self, page: Page) -> Handler:
        async def show(request: web.Request) -> web.Response:
            login = self._login_of(request)
            context: dict[str, Any] = {}
            try:
                login.actor.require(page.scope)  # type: ignore[arg-type]
                _check(request)
                for name, handler in page.handlers.items():
                    call = Call(
                        services=self._services,
                        request=request,
                        actor=login.actor,
                        preset=page.preset,
                    )
                    context[name] = await _answer(handler(call), optional=name == "explained")
            except CpoError as error:
                return self._page(
                    "problem.html", {"problem": str(error)}, login, status=status_of(error)
                )
            context["query"] = dict(request.query)
            return self._page(page.template, context, login)

        return show

    def _page(
        self,
        template: str,
        context: Mapping[str, Any],
        login: Login | None = None,
        *,
        status: int = 200,
    ) -> web.Response:
        text = self._templates.get_template(template).render(
            **context,
            actor=login.actor if login else None,
            form_token=login.form_token if login else "",
        )
        return web.Response(
            text=text,
            status=status,
            content_type="text/html",
            headers={"Content-Security-Policy": POLICY},
        )

    async def _file(self, request: web.Request) -> web.Response:
        found = self._static.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        body, kind = found
        return web.Response(
            body=body,
            content_type=kind,
            charset="utf-8",
            headers={"Cache-Control": "max-age=300"},
        )

    # --- buttons ----------------------------------------------------------------

    def _done(self, route: Route) -> Handler:
        async def do(request: web.Request) -> web.Response:
            login = await self._genuine(request)
            form = await request.post()
            given = {
                name: value
                for name, value in form.items()
                if name not in {"form_token", "next"} and isinstance(value, str) and value != ""
            }
            try:
                login.actor.require(route.scope)
                _check(request)
                for name, value in given.items():
                    check_text(value, name)
                body = parse(route.body, given) if isinstance(route.body, type) else None
                call = Call(services=self._services, request=request, actor=login.actor, body=body)
                answer = await route.handler(call)
            except CpoError as error:
                return self._page(
                    "problem.html", {"problem": str(error)}, login, status=status_of(error)
                )
            target = str(form.get("next", "/"))
            if isinstance(answer, web.Response) and "Location" in answer.headers:
                target = answer.headers["Location"].removeprefix("/api/v1")
            raise web.HTTPSeeOther(_safe(target))

        return do

    # --- live ----------------------------------------------------------------

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Send the overview as server-sent events whenever it changes."""
        cookie = request.cookies.get(COOKIE)
        if self._logins.find(cookie) is None:
            raise web.HTTPUnauthorized(text="log in first")
        if self._live >= MOST_LIVE:
            raise web.HTTPServiceUnavailable(
                text="too many live pages", headers={"Retry-After": "30"}
            )
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        self._live += 1
        try:
            await self._send_changes(answer, cookie)
        finally:
            self._live -= 1
        return answer

    async def _send_changes(self, answer: web.StreamResponse, cookie: str | None) -> None:
        last, quiet = b"", 0
        while not self._closing.is_set() and self._logins.find(cookie) is not None:
            now = self._overview()
            quiet += 1
            if now != last:
                last, quiet = now, 0
                await answer.write(b"event: overview\ndata: " + now + b"\n\n")
            elif quiet >= 15:
                quiet = 0
                await answer.write(b": still here\n\n")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LIVE_SECONDS):
                    await self._closing.wait()

    def _overview(self) -> bytes:
        """Return the overview; all who watch share one reading a second."""
        now = asyncio.get_running_loop().time()
        if now - self._read_at >= LIVE_SECONDS / 2:
            self._read_at, self._read = now, write_json(summary(self._services))
        return self._read

    async def _shutdown(self, _: web.Application) -> None:
        self._closing.set()


async def _answer(given: Awaitable[Any], *, optional: bool) -> Any:
    try:
        return await given
    except CpoError:
        if not optional:
            raise
        return None


def _check(request: web.Request) -> None:
    for name, text in (*request.match_info.items(), *request.query.items()):
        check_text(text, name)


def _same_origin(request: web.Request) -> None:
    origin = request.headers.get("Origin")
    if origin is not None and re.sub(r"^https?://", "", origin) != request.host:
        raise web.HTTPForbidden(text="the form is not from this console")


def _local(request: web.Request) -> str:
    return _safe(request.query.get("next", "/"))


def _safe(target: str) -> str:
    """Return a path on this server, never another server."""
    local = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if local and target.isprintable() else "/"


def shown(value: Any) -> str:
    """Return a value as people read it."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return _instant(value)
        case Decimal():
            return f"{value:f}"
        case Enum():
            return str(value.value)
        case list() | tuple():
            return ", ".join(shown(item) for item in value) or "-"
        case dict():
            return ", ".join(f"{name}: {shown(item)}" for name, item in value.items()) or "-"
    return str(value)


def _instant(value: datetime | str | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.strftime("%Y-%m-%d %H:%M:%S")


def _pretty(value: Any) -> str:
    """Return a value as indented JSON."""
    return msgspec.json.format(write_json(value), indent=2).decode()


def _compact(value: Any) -> str:
    """Return a value as one line of JSON, a text as it is."""
    if value is None or isinstance(value, str):
        return value or "-"
    return write_json(value).decode()


def _part(value: str) -> str:
    """Return a part of a path."""
    return quote(value, safe="")
