"""The other ends a scenario can look at and drive: the eMSP double and the operator API."""

import json
from typing import Any
from urllib.parse import quote

import aiohttp

from chargers_sim.errors import SimError


class EndFailed(SimError):
    """The other end refused or did not answer."""


class End:
    """One HTTP end that speaks JSON."""

    def __init__(self, name: str, url: str, key: str | None = None) -> None:
        self.name = name
        self._url = url.rstrip("/")
        self._key = key

    async def ask(self, method: str, path: str, body: Any = None, timeout: float = 60) -> Any:
        """Send one request and give the JSON of a 2xx answer."""
        headers = {} if self._key is None else {"Authorization": f"Bearer {self._key}"}
        limit = aiohttp.ClientTimeout(total=timeout)
        try:
            async with (
                aiohttp.ClientSession(timeout=limit, headers=headers) as session,
                session.request(method, self._url + path, json=body) as answer,
            ):
                text = await answer.text()
                if answer.status >= 300:
                    raise EndFailed(f"{self.name}: {method} {path}: {answer.status} {text[:300]}")
                return json.loads(text) if text else None
        except (aiohttp.ClientError, TimeoutError) as problem:
            said = problem or "timeout"
            raise EndFailed(f"{self.name}: {method} {path}: {said}") from problem


class EmspEnd(End):
    """The eMSP double, over its /double interface."""

    def __init__(self, url: str) -> None:
        super().__init__("the eMSP double", url)
        self._before: dict[str, set[str]] = {}

    async def remember(self) -> None:
        """Note what it holds before the scenario: only what comes after counts."""
        for kind in ("sessions", "cdrs"):
            self._before[kind] = {self._identity(o) for o in await self._all(kind)}

    async def holds(self, kind: str) -> list[Any]:
        """List what it holds of a kind that it did not hold before."""
        known = self._before.get(kind, set())
        return [o for o in await self._all(kind) if self._identity(o) not in known]

    async def command(self, name: str, fields: dict[str, Any]) -> Any:
        """Send an OCPI command to the CPO and give its final result."""
        return await self.ask("POST", f"/double/commands/{name}", fields, timeout=90)

    async def _all(self, kind: str) -> list[Any]:
        state = await self.ask("GET", "/double/state")
        held = state.get(kind, [])
        values = list(held.values()) if isinstance(held, dict) else list(held)
        flat: list[Any] = []
        for value in values:
            flat += value if isinstance(value, list) else [value]
        return [v.get("body", v) if isinstance(v, dict) else v for v in flat]

    @staticmethod
    def _identity(held: Any) -> str:
        return str(held.get("id") or held.get("uid")) if isinstance(held, dict) else str(held)


class OperatorEnd(End):
    """The operator API of the CPO."""

    def __init__(self, url: str, key: str | None) -> None:
        super().__init__("the operator API", url, key)

    async def call(self, identity: str, action: str, payload: dict[str, Any]) -> Any:
        """Let the server send a CALL to the station; gives the outcome."""
        path = f"/api/v1/stations/{quote(identity, safe='')}/call"
        return await self.ask("POST", path, {"action": action, "payload": payload})

    async def places(self, identity: str) -> list[dict[str, str]] | None:
        """Tell location and EVSE of each of a station's EVSEs; None if they are not known yet."""
        answer = await self.ask("GET", f"/api/v1/stations/{quote(identity, safe='')}/discovered")
        bound = [evse["bound_to"] for evse in answer.get("evses", ()) if evse.get("bound_to")]
        if not bound and answer.get("unknown"):
            return None
        return [{"location": b["location"], "evse": b["evse_uid"]} for b in bound]
