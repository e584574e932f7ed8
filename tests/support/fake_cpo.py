"""A CPO just big enough to try the eMSP double with; shares no code with either side."""

import base64
import json
import uuid
from decimal import Decimal
from typing import Any, Self
from urllib.parse import quote

import aiohttp
from aiohttp import web

from chargers_sim.listening import listen, stop_listening

STAMP = "2026-03-01T10:00:00Z"


class FakeCpo:
    """Serves versions, credentials, lists, tokens and commands of one OCPI version."""

    def __init__(self, version: str = "2.2.1") -> None:
        self.version = version
        self.token_in = "fake-cpo-token-a"
        self.token_out = ""
        self.lists: dict[str, list[dict[str, Any]]] = {}
        self.page_size = 2
        self.seen: list[tuple[str, str, Any, dict[str, str]]] = []
        self.command_response: Any = {"result": "ACCEPTED", "timeout": 30}
        self.command_results: list[Any] = [{"result": "ACCEPTED"}]
        self.partner_endpoints: dict[str, str] = {}
        self.credentials_status = 1000
        self._response_urls: list[str] = []

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        self._server = await listen(self._runner, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.http = aiohttp.ClientSession()
        # aiohttp would silently repeat a PUT when the connection breaks.
        self.http._retry_connection = False
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()
        await stop_listening(self._server)
        await self._runner.cleanup()

    @property
    def versions_url(self) -> str:
        return f"{self.url}/versions"

    @property
    def coded(self) -> bool:
        return self.version != "2.1.1"

    def credentials(self, token: str) -> dict[str, Any]:
        party = {
            "business_details": {"name": "Fake CPO"},
            "party_id": "CPO",
            "country_code": "NL",
        }
        head = {"token": token, "url": self.versions_url}
        return head | ({"roles": [{"role": "CPO", **party}]} if self.coded else party)

    async def register_with(self, versions_url: str, token_a: str) -> None:
        """Play the sender's part of the handshake."""
        versions = await self.ask("GET", versions_url, token=token_a)
        url = next(v["url"] for v in versions["data"] if v["version"] == self.version)
        details = await self.ask("GET", url, token=token_a)
        self.partner_endpoints = {e["identifier"]: e["url"] for e in details["data"]["endpoints"]}
        self.token_in = "fake-cpo-token-b"
        answer = await self.ask(
            "POST",
            self.partner_endpoints["credentials"],
            token=token_a,
            body=self.credentials(self.token_in),
        )
        assert answer["status_code"] == 1000, answer
        self.token_out = answer["data"]["token"]

    async def ask(
        self,
        method: str,
        url: str,
        *,
        token: str,
        body: Any = None,
        status: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        coded = base64.b64encode(token.encode()).decode() if self.coded else token
        sent = {
            "Authorization": f"Token {coded}",
            "X-Request-ID": str(uuid.uuid4()),
            "X-Correlation-ID": str(uuid.uuid4()),
        }
        if body is not None:
            sent["Content-Type"] = "application/json"
        async with self.http.request(
            method,
            url,
            headers=sent | (headers or {}),
            data=None if body is None else body if isinstance(body, bytes) else _dumps(body),
            allow_redirects=False,
        ) as response:
            text = await response.read()
            self.last = response
            if status is not None:
                assert response.status == status, text
            return json.loads(text, parse_float=Decimal) if text else None

    async def push(
        self,
        method: str,
        module: str,
        *ids: str,
        body: Any = None,
        query: str = "",
        status: int | None = None,
    ) -> Any:
        """Send a request to a module of the partner."""
        url = "/".join([self.partner_endpoints[module].rstrip("/"), *(quote(i, "") for i in ids)])
        return await self.ask(method, url + query, token=self.token_out, body=body, status=status)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.read()
        body = json.loads(text, parse_float=Decimal) if text else None
        path = request.path.strip("/")
        self.seen.append((request.method, request.raw_path, body, dict(request.headers)))
        headers = {
            n: request.headers[n]
            for n in ("X-Request-ID", "X-Correlation-ID")
            if n in request.headers
        }
        shown = request.headers.get("Authorization", "").removeprefix("Token ")
        known = {self.token_in}
        if self.coded:
            known.add(base64.b64encode(self.token_in.encode()).decode())
        if shown not in known:
            return _envelope(None, 2000, status=401, headers=headers)
        data, code = await self._answer(request, path, body, headers)
        return _envelope(data, code, headers=headers)

    async def _answer(
        self, request: web.Request, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[Any, int]:
        base = f"{self.url}/{self.version}"
        if path == "versions":
            return [{"version": self.version, "url": base}], 1000
        if path == self.version:
            roles = {"tokens": "RECEIVER", "commands": "RECEIVER", "chargingprofiles": "RECEIVER"}
            names = ["credentials", "locations", "tariffs", "sessions", "cdrs", *roles]
            if not self.coded:
                names.remove("chargingprofiles")
            return {
                "version": self.version,
                "endpoints": [
                    {"identifier": name, "url": f"{base}/{name}"}
                    | ({"role": roles.get(name, "SENDER")} if self.coded else {})
                    for name in names
                ],
            }, 1000
        module, *ids = path.removeprefix(self.version + "/").split("/")
        if module == "credentials":
            if self.credentials_status != 1000:
                return None, self.credentials_status
            if request.method == "DELETE":
                return None, 1000
            # Read the partner's versions before answering, as the specification wants.
            versions = await self.ask("GET", body["url"], token=body["token"])
            url = next(v["url"] for v in versions["data"] if v["version"] == self.version)
            details = await self.ask("GET", url, token=body["token"])
            self.partner_endpoints = {
                e["identifier"]: e["url"] for e in details["data"]["endpoints"]
            }
            self.token_out = body["token"]
            self.token_in = f"fake-cpo-{uuid.uuid4()}"
            return self.credentials(self.token_in), 1000
        if module in self.lists and not ids:
            return self._page(request, module, headers), 1000
        if module in {"commands", "chargingprofiles"}:
            url = (body or {}).get("response_url") or request.query["response_url"]
            self._response_urls.append(url)
            for result in self.command_results:
                await self.ask("POST", url, token=self.token_out, body=result)
            return self.command_response, 1000
        return None, 1000

    def _page(self, request: web.Request, module: str, headers: dict[str, str]) -> Any:
        offset = int(request.query.get("offset", 0))
        things = self.lists[module]
        page = things[offset : offset + self.page_size]
        headers["X-Total-Count"] = str(len(things))
        headers["X-Limit"] = str(self.page_size)
        after = offset + len(page)
        if after < len(things):
            headers["Link"] = (
                f'<{self.url}/{self.version}/{module}?offset={after}&limit={self.page_size}>; rel="next"'
            )
        return page


def _dumps(value: Any) -> bytes:
    def plain(thing: Any) -> Any:
        if isinstance(thing, Decimal):
            return float(thing)
        raise TypeError(type(thing))

    return json.dumps(value, default=plain).encode()


def _envelope(data: Any, code: int, *, status: int = 200, headers: dict[str, str]) -> web.Response:
    envelope: dict[str, Any] = {"status_code": code, "timestamp": STAMP}
    if data is not None:
        envelope["data"] = data
    return web.Response(
        status=status, body=_dumps(envelope), content_type="application/json", headers=headers
    )
