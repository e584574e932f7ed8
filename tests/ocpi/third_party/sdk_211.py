"""A client made of the PyPI package `ocpi-211-sdk`: it reads what a CPO serves with its own models.

    PYTHON sdk_211.py OCPI_URL TOKEN_A LOCATION EVSE

Runs in an environment that has the package. `OCPI_URL` is where the versions are listed below.
Prints one JSON object of what it read, and ends. The package brings no server: the few answers that
registration asks of a partner are given here.
"""

import json
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ocpplab_ocpi_211 import OcpiClient
from ocpplab_ocpi_211.types.business_details import BusinessDetails

OCPI_URL, TOKEN_A, LOCATION, EVSE = sys.argv[1:]
AT = "2026-01-01T00:00:00Z"


class Ours(BaseHTTPRequestHandler):
    """Our versions, and one module."""

    def do_GET(self) -> None:
        here = f"http://127.0.0.1:{self.server.server_address[1]}"
        data: Any = [{"version": "2.1.1", "url": f"{here}/2.1.1"}]
        if self.path == "/2.1.1":
            endpoints = [
                {"identifier": name, "url": f"{here}/2.1.1/{name}"}
                for name in ("credentials", "tokens")
            ]
            data = {"version": "2.1.1", "endpoints": endpoints}
        elif self.path.startswith("/2.1.1/tokens"):
            data = []
        text = json.dumps({"data": data, "status_code": 1000, "timestamp": AT}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def client(base: str, token: str) -> OcpiClient:
    """Return a client with a token; the package leaves the word before it to its user."""
    return OcpiClient(base_url=base, api_key=f"Token {token}", timeout=60)


server = ThreadingHTTPServer(("127.0.0.1", 0), Ours)
threading.Thread(target=server.serve_forever, daemon=True).start()
read: dict[str, Any] = {}
versions = client(OCPI_URL, TOKEN_A).versions.get_versions()
read["versions"] = [one.version for one in versions.data]
registered = client(f"{OCPI_URL}/2.1.1", TOKEN_A).credentials.post_credentials(
    token="the-token-of-the-sdk",
    url=f"http://127.0.0.1:{server.server_address[1]}/versions",
    business_details=BusinessDetails(name="SDK"),
    party_id="SDK",
    country_code="NL",
)
read["registered"] = [registered.status_code, registered.data.party_id]
cpo = client(f"{OCPI_URL}/2.1.1", registered.data.token)
read["credentials"] = cpo.credentials.get_credentials().data.token == registered.data.token
read["locations"] = [one.id for one in cpo.locations.get_locations(limit=500).data]
read["location"] = cpo.locations.get_location_by_location_id(LOCATION).data.id
evse = cpo.locations.get_evse_by_location_id_and_evse_uid(LOCATION, EVSE).data
read["evse"] = [evse.uid, evse.status]
connector = cpo.locations.get_connector_by_location_id_evse_uid_and_connector_id(
    LOCATION, EVSE, evse.connectors[0].id
).data
read["connector"] = [connector.id, connector.tariff_id]
read["tariffs"] = [one.id for one in cpo.tariffs.get_tariffs(limit=500).data]
# Of the two types that its call has, only `type` gets into the body.
put = cpo.tokens.put_token(
    "NL", "SDK", "04SDK1", uid="04SDK1", token_type="RFID", type="RFID", auth_id="NL-SDK-C1",
    issuer="SDK", valid=True, whitelist="ALLOWED", last_updated=AT,
)  # fmt: skip
token = cpo.tokens.get_token_by_id("NL", "SDK", "04SDK1").data
read["token"] = [put.status_code, token.uid, token.auth_id, token.valid]
read["sessions"] = cpo.sessions.get_sessions(date_from=datetime(2026, 1, 1, tzinfo=UTC)).data
read["cdrs"] = cpo.cd_rs.get_cdrs().data
read["left"] = cpo.credentials.delete_credentials()["status_code"]
print(json.dumps(read))
