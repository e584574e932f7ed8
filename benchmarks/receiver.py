"""An eMSP just big enough to be pushed to: registers with the backend, notes what arrives."""

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any, Self

import aiohttp
from aiohttp import web

STAMP = "2026-01-01T00:00:00Z"
MODULES = ("locations", "tariffs", "sessions", "cdrs")


class Receiver:
    """A partner of OCPI 2.2.1; `arrived` is called with (monotonic time, method, path, body)."""

    def __init__(self, party: str, arrived: Callable[[float, str, str, bytes], None]) -> None:
        self.party = party
        self.arrived = arrived
        # `ok`, `hang` (takes requests and never answers) or `away` (cuts every connection).
        self.mode = "ok"
        self.refused = 0
        self.url = ""
        self.token_out = ""

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(
            web.Server(self._answer), shutdown_timeout=0.1, handler_cancellation=True
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def register(self, versions_url: str, token_a: str) -> None:
        """Register with the backend."""
        details = versions_url.replace("/versions", "/2.2.1")
        headers = {"Authorization": f"Token {b64encode(token_a.encode()).decode()}"}
        role = {
            "role": "EMSP",
            "country_code": "NL",
            "party_id": self.party,
            "business_details": {"name": f"Receiver {self.party}"},
        }
        body = {"token": f"token-of-{self.party}", "url": f"{self.url}/versions", "roles": [role]}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"{details}/credentials", json=body) as response,
        ):
            answer = await response.json()
        if answer["status_code"] != 1000:
            raise RuntimeError(f"not registered: {answer}")
        self.token_out = answer["data"]["token"]

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        path = request.path
        if path == "/versions":
            return _said([{"version": "2.2.1", "url": f"{self.url}/2.2.1"}])
        if path == "/2.2.1":
            endpoints = [
                {"identifier": m, "role": "RECEIVER", "url": f"{self.url}/{m}"} for m in MODULES
            ]
            endpoints.append(
                {"identifier": "credentials", "role": "SENDER", "url": f"{self.url}/credentials"}
            )
            return _said({"version": "2.2.1", "endpoints": endpoints})
        if self.mode == "away" and request.transport is not None:
            self.refused += 1
            request.transport.abort()
            return _said(None)
        if self.mode == "hang":
            await asyncio.sleep(3600)
        self.arrived(time.monotonic(), request.method, path, body)
        return _said(None)


def _said(data: Any) -> web.Response:
    envelope = {"status_code": 1000, "timestamp": STAMP}
    if data is not None:
        envelope["data"] = data
    return web.Response(body=json.dumps(envelope).encode(), content_type="application/json")
