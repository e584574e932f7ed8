"""The server as a process, over its public interface only."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any, Self

import aiohttp
from ports import free_port
from waiting import LONG, START

from chargers_sim.emsp import exact

ROOT = Path(__file__).parents[2]
KEY = "e2e-operator-key-0123456789abcdef"

CONFIG = """
[[parties]]
country_code = "NL"
party_id = "CPO"
currency = "EUR"
time_zone = "Europe/Amsterdam"
business_details = {{ name = "E2E Charging" }}

[database]
url = "sqlite:///{directory}/cpo.db"

[ocpp]
host = "127.0.0.1"
port = {ocpp}
connects_per_minute = 0
offline_grace = {offline_grace}
call_timeout = 30
refresh_delay = 86400
start_timeout = 0.5

[[ocpp.quirk_profiles]]
name = "first firmware"
vendor = "Quirky*"
firmware = "1.*"
intake = "strict"

[[ocpp.quirk_profiles]]
name = "later firmware"
vendor = "quirky*"
firmware = "2.*"
too_long = ["idTag"]
triggers = "off"

[ocpi]
host = "127.0.0.1"
port = {ocpi}
allow_private_urls = true
status_debounce = 0.05
session_update_interval = 0.2
authorize_timeout = {authorize_timeout}
command_timeout = {command_timeout}
requests_per_second = 0
token_sync_interval = {token_sync}
rotation_overlap = {overlap}

[ocpi.push]
backoff_min = 0.05
backoff_max = 0.5
timeout = {push_timeout}
drain_rate = 500

[operator]
host = "127.0.0.1"
port = {operator}

[[operator.api_keys]]
name = "e2e"
key = "{key}"
scopes = ["admin", "operate", "read"]
"""


class Refused(Exception):
    """The operator API did not do what was asked."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"HTTP {status}: {body}")
        self.status = status
        self.body = body


class CpoProcess:
    """One `cpo serve` on free ports; started again it keeps ports and database."""

    def __init__(
        self,
        directory: Path,
        *,
        offline_grace: float = 86_400,
        token_sync: float = 3600,
        overlap: float = 900,
        authorize_timeout: float = 30,
        command_timeout: float = 30,
        push_timeout: float = 30,
        more: str = "",
        environment: dict[str, str] | None = None,
    ) -> None:
        """Prepare a server; `more` is appended to its settings file, `environment` wins over it."""
        self._environment = environment or {}
        self.directory = directory
        self.urls: dict[str, str] = {}
        self.errors = directory / "stderr.log"
        self._settings = {
            "offline_grace": offline_grace,
            "token_sync": token_sync,
            "overlap": overlap,
            "authorize_timeout": authorize_timeout,
            "command_timeout": command_timeout,
            "push_timeout": push_timeout,
        }
        self._more = more
        self._ports = {name: free_port() for name in ("ocpp", "ocpi", "operator")}
        self._process: asyncio.subprocess.Process | None = None
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        if self._http is not None:
            await self._http.close()

    async def start(self) -> None:
        config = self.directory / "config.toml"
        config.write_text(
            CONFIG.format(directory=self.directory, key=KEY, **self._settings, **self._ports)
            + self._more
        )
        with self.errors.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "cpo", "serve", "--config", str(config),
                stdout=asyncio.subprocess.PIPE, stderr=errors, cwd=self.directory,
                env={**os.environ, "PYTHONPATH": str(ROOT), **self._environment},
            )  # fmt: skip
        async with asyncio.timeout(START):
            while (line := (await self._process.stdout.readline()).decode().strip()) != "ready":
                if not line:
                    raise RuntimeError(f"cpo serve ended: {self.errors.read_text()[-2000:]}")
                words = line.split()
                if words[0] == "listening":
                    self.urls[words[1]] = words[2]

    async def stop(self) -> int:
        """End it as an operator does."""
        return await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it without any warning."""
        await self._end(signal.SIGKILL)

    async def _end(self, how: signal.Signals) -> int:
        if self._process is None or self._process.returncode is not None:
            return 0
        self._process.send_signal(how)
        async with asyncio.timeout(START):
            return await self._process.wait()

    @property
    def versions_url(self) -> str:
        return self.urls["ocpi"]

    def tracebacks(self) -> str:
        """What the log says of crashes inside."""
        text = self.errors.read_text()
        at = text.find("Traceback")
        return "" if at < 0 else text[max(0, at - 500) : at + 3000]

    async def api(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the operator API; raises Refused for anything but 2xx."""
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LONG))
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        data = None if body is None else exact.dumps(body)
        url = f"{self.urls['operator']}/api/v1{path}"
        async with self._http.request(method, url, data=data, headers=headers) as response:
            text = await response.read()
            answer = exact.loads(text) if text else None
            if response.status >= 300:
                raise Refused(response.status, answer)
            return answer
