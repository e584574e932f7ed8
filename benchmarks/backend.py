"""Starts the backend as a user would, for the benchmarks: `python -m cpo serve` on free ports."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

KEY = "benchmark-operator-key"
PASSWORD = "load-load-load-load"  # noqa: S105 - loopback only
ROOT = Path(__file__).resolve().parent.parent


class Backend:
    """A running `cpo serve` with its own directory."""

    def __init__(self, *, database: str | None = None, core: int | None = None, **env: str) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="cpo-bench-")
        self.directory = Path(self._directory.name)
        url = database or f"sqlite:///{self.directory / 'cpo.db'}"
        config = self.directory / "config.toml"
        config.write_text(
            "[[parties]]\n"
            'country_code = "NL"\nparty_id = "CPO"\ncurrency = "EUR"\n'
            'time_zone = "Europe/Amsterdam"\n'
            'business_details = { name = "Benchmark" }\n\n'
            "[[operator.api_keys]]\n"
            f'name = "benchmark"\nkey = "{KEY}"\nscopes = ["admin"]\n'
        )
        settings = {
            "CPO_DATABASE__URL": url,
            "CPO_SERVER__SECRET_KEY": "benchmark-secret-key-of-32-characters",
            "CPO_OCPP__PORT": "0",
            "CPO_OCPP__HOST": "127.0.0.1",
            "CPO_OCPI__PORT": "0",
            "CPO_OCPI__HOST": "127.0.0.1",
            "CPO_OPERATOR__PORT": "0",
            "CPO_OCPI__ALLOW_PRIVATE_URLS": "true",
            # What is measured is the cost of a message, not the limits.
            "CPO_OCPP__MESSAGES_PER_SECOND": "0",
            "CPO_OCPP__CONNECTS_PER_MINUTE": "0",
            "CPO_OCPP__ACCEPTS_PER_SECOND": "0",
            **env,
        }
        self.log = (self.directory / "log").open("wb")
        prefix = ["taskset", "-c", str(core)] if core is not None else []
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "cpo", "serve", "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=self.log,
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(ROOT), **settings},
            text=True,
        )
        self.urls: dict[str, str] = {}
        assert self.process.stdout is not None
        for line in self.process.stdout:
            words = line.split()
            if words[:1] == ["listening"]:
                self.urls[words[1]] = words[2]
            if line.strip() == "ready":
                break
        else:
            raise RuntimeError((self.directory / "log").read_text()[-2000:])

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self.process.pid

    @property
    def ocpp_port(self) -> int:
        """Where charge points connect."""
        return int(self.urls["ocpp"].split(":")[2].split("/")[0])

    def api(self, method: str, path: str, body: object = None) -> Any:
        """Call the operator API."""
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self.urls['operator']}/api/v1{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
            text = answer.read()
        return json.loads(text) if text else None

    def furnish(self, prefix: str, count: int) -> None:
        """Register stations with a location, a tariff and a token each session uses."""
        component = {"type": "ENERGY", "price": 0.30, "vat": 21, "step_size": 1}
        self.api(
            "PUT",
            f"/tariffs/T{prefix}",
            {"currency": "EUR", "elements": [{"price_components": [component]}]},
        )
        for number in range(count):
            identity = f"{prefix}{number}"
            self.api("PUT", f"/stations/{identity}", {"password": PASSWORD})
            self.api(
                "PUT",
                f"/tokens/TAG{number}",
                {"type": "RFID", "contract_id": f"NL-CPO-C{number:08d}", "valid": True},
            )
            self.api("PUT", f"/locations/L{identity}", _location(prefix, number))

    def close(self) -> None:
        """Stop the server and remove its directory."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self._directory.cleanup()


def _location(prefix: str, number: int) -> dict[str, Any]:
    connector = {
        "id": "1",
        "standard": "IEC_62196_T2",
        "format": "SOCKET",
        "power_type": "AC_3_PHASE",
        "max_voltage": 230,
        "max_amperage": 32,
        "tariff_ids": [f"T{prefix}"],
    }
    return {
        "publish": True,
        "name": f"Benchmark {number}",
        "address": "Street 1",
        "city": "Town",
        "country": "NLD",
        "coordinates": {"latitude": "52.100000", "longitude": "5.100000"},
        "time_zone": "Europe/Amsterdam",
        "evses": [
            {
                "uid": f"uid-{prefix}-{number}",
                "evse_id": f"NL*CPO*E{prefix}{number}",
                "ocpp": {"station": f"{prefix}{number}", "evse_id": 1},
                "connectors": [connector],
            }
        ],
    }


def wait_quiet(seconds: float = 0.5) -> None:
    """Let the machine settle between two measurements."""
    time.sleep(seconds)
