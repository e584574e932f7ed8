"""The real server as a process: started, asked, killed, started again."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import aiohttp
from ports import free_port
from waiting import LONG, START, until

ROOT = Path(__file__).resolve().parents[2]


class Cpo:
    """`cpo serve` on a database of its own, with ports that stay the same over restarts."""

    def __init__(self, folder, *, database=None, **settings):
        self.folder = Path(folder)
        self.database = database or f"sqlite:///{self.folder / 'cpo.db'}"
        self.ports = {name: free_port() for name in ("ocpp", "ocpi", "operator")}
        self.key = "torture-" + "k" * 32
        self.settings = {
            "database.url": self.database,
            "ocpp.host": "127.0.0.1",
            "ocpi.host": "127.0.0.1",
            "ocpi.allow_private_urls": "true",
            "ocpi.push.backoff_min": "0.05",
            "ocpi.push.backoff_max": "0.5",
            "ocpi.push.drain_rate": "1000",
            "ocpi.status_debounce": "0.05",
            "ocpi.session_update_interval": "0.2",
            "ocpp.connects_per_minute": "0",
            "ocpp.accepts_per_second": "0",
            "ocpp.messages_per_second": "0",
            **{f"{name}.port": str(port) for name, port in self.ports.items()},
            **settings,
        }
        self.process = None
        self.starts = 0
        self._http = None

    @property
    def ocpp_url(self):
        return f"ws://127.0.0.1:{self.ports['ocpp']}/ocpp"

    @property
    def versions_url(self):
        return f"http://127.0.0.1:{self.ports['ocpi']}/ocpi/versions"

    @property
    def console_url(self):
        return f"http://127.0.0.1:{self.ports['operator']}"

    @property
    def api_url(self):
        return f"{self.console_url}/api/v1"

    async def __aenter__(self):
        self._http = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self.key}"}, timeout=aiohttp.ClientTimeout(LONG)
        )
        config = self.folder / "config.toml"
        config.write_text(
            "[[parties]]\n"
            'country_code = "NL"\nparty_id = "CPO"\ncurrency = "EUR"\n'
            'time_zone = "Europe/Amsterdam"\nbusiness_details = {name = "Test"}\n'
            f'[[operator.api_keys]]\nname = "test"\nkey = "{self.key}"\nscopes = ["admin"]\n'
        )
        await self.start()
        return self

    async def __aexit__(self, *_):
        await self.stop()
        await self._http.close()

    async def start(self):
        """Start the server and wait for its `ready` line."""
        self.starts += 1
        sets = [part for k, v in self.settings.items() for part in ("--set", f"{k}={v}")]
        with (self.folder / "server.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "cpo",
                "serve",
                "--config",
                str(self.folder / "config.toml"),
                *sets,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        async with asyncio.timeout(START):
            while (line := await self.process.stdout.readline()) != b"ready\n":
                if not line:
                    raise AssertionError(f"the server did not start:\n{self.log()[-3000:]}")

    def log(self):
        """Return what the server wrote to standard error so far."""
        return (self.folder / "server.log").read_text(errors="replace")

    async def kill(self):
        """End the server as a power switch would."""
        self.process.kill()
        await self.process.wait()

    async def stop(self):
        """End the server politely; returns its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(LONG):
            return await self.process.wait()

    async def api(self, method, path, body=None, *, ok=True):
        """Call the operator API; returns (status, parsed body)."""
        async with self._http.request(method, self.api_url + path, json=body) as response:
            text = await response.text()
            answer = json.loads(text) if text else None
            if ok and response.status >= 400:
                raise AssertionError(f"{method} {path}: {response.status} {text[:500]}")
            return response.status, answer

    async def equip(self, stations, *, versions=("1.6", "2.0.1", "2.1"), evses=1, elements=None):
        """Register stations with one location each and one tariff for all."""
        await self.api(
            "PUT",
            "/tariffs/T1",
            {
                "currency": "EUR",
                "elements": elements
                or [{"price_components": [{"type": "ENERGY", "price": 0.5, "step_size": 1}]}],
            },
        )
        for index, station in enumerate(stations):
            await self.api(
                "PUT",
                f"/stations/{station}",
                {"password": password(station), "ocpp_versions": list(versions)},
            )
            await self.api("PUT", f"/locations/LOC-{index}", location(station, index, evses=evses))

    async def partner(self, emsp, *, version="2.2.1", name="double"):
        """Invite a partner and let the double register with us."""
        _, invitation = await self.api("POST", "/partners", {"name": name})
        await emsp.register(invitation["versions_url"], invitation["token_a"], version=version)

        async def pulled():
            _, partner = await self.api("GET", f"/partners/{invitation['id']}")
            return partner["tokens_pulled_at"] and partner

        return await until(pulled)


def password(station):
    """Return the password of a station of these tests."""
    return f"password-of-{station}-0"


def evse_uid(index, number=1):
    """Return the uid of a station's EVSE; it must not tell the station's identity."""
    return f"evse-{index:05}-{number}"


def location(station, index, *, evses=1):
    """Return an OCPI Location with the station's EVSEs."""
    return {
        "country_code": "NL",
        "party_id": "CPO",
        "publish": True,
        "address": "Street 1",
        "city": "Town",
        "postal_code": "1234AB",
        "country": "NLD",
        "coordinates": {"latitude": "52.100000", "longitude": "5.100000"},
        "time_zone": "Europe/Amsterdam",
        "evses": [
            {
                "uid": evse_uid(index, n),
                "evse_id": f"NL*CPO*E{index:05}*{n}",
                "ocpp": {"station": station, "evse_id": n},
                "connectors": [
                    {
                        "id": "1",
                        "standard": "IEC_62196_T2",
                        "format": "SOCKET",
                        "power_type": "AC_3_PHASE",
                        "max_voltage": 230,
                        "max_amperage": 32,
                        "tariff_ids": ["T1"],
                    }
                ],
            }
            for n in range(1, evses + 1)
        ],
    }
