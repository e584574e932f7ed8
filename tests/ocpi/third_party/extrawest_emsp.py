"""An eMSP made of the PyPI package `extrawest-ocpi`: everything it takes passes its own models.

    PYTHON extrawest_emsp.py VERSION TOKEN_A CARD

Runs in an environment that has the package and `uvicorn`. Prints its port; `GET /held` shows what it
holds, by module and id in lower case.
"""

import json
import os
import socket
import sys
import uuid
from typing import Any

VERSION, TOKEN_A, CARD = sys.argv[1:]
listening = socket.socket()
listening.bind(("127.0.0.1", 0))
PORT = listening.getsockname()[1]
# Read when the package is imported.
os.environ |= {"OCPI_HOST": f"127.0.0.1:{PORT}", "PROTOCOL": "http"}

import uvicorn  # noqa: E402
from py_ocpi import get_application  # noqa: E402
from py_ocpi.core.authentication.authenticator import Authenticator  # noqa: E402
from py_ocpi.core.crud import Crud  # noqa: E402
from py_ocpi.core.enums import ModuleID, RoleEnum  # noqa: E402
from py_ocpi.modules.versions.enums import VersionNumber  # noqa: E402

held: dict[str, dict[str, Any]] = {}
tokens_c: list[str] = []
asked: list[Any] = []
WHO = {"country_code": "NL", "party_id": "XTR", "business_details": {"name": "Extrawest"}}


def token() -> dict[str, Any]:
    """The one card, in the words of the version."""
    plain = {"uid": CARD, "type": "RFID", "issuer": "Extrawest", "valid": True,
             "whitelist": "NEVER", "last_updated": "2026-01-01T00:00:00Z"}  # fmt: skip
    if VERSION == "2.1.1":
        return plain | {"auth_id": "NL-XTR-C1"}
    return plain | {"country_code": "NL", "party_id": "XTR", "contract_id": "NL-XTR-C1"}


def credentials() -> dict[str, Any]:
    """Our credentials with a new token for the other side."""
    tokens_c.append(str(uuid.uuid4()))
    mine = {"token": tokens_c[-1], "url": f"http://127.0.0.1:{PORT}/ocpi/versions"}
    return mine | (WHO if VERSION == "2.1.1" else {"roles": [{"role": "EMSP", **WHO}]})


class Books(Crud):
    """Keeps in memory what the package hands over."""

    @classmethod
    async def get(cls, module: ModuleID, role: RoleEnum, id: Any, *_: Any, **__: Any) -> Any:
        if module is ModuleID.tokens:
            return token() if str(id).lower() == CARD.lower() else None
        return held.get(module.value, {}).get(str(id).lower())

    @classmethod
    async def list(cls, *_: Any, **__: Any) -> tuple[list[Any], int, bool]:
        return [token()], 1, True

    @classmethod
    async def create(cls, module: ModuleID, role: RoleEnum, data: Any, *_: Any, **__: Any) -> Any:
        if module is ModuleID.credentials_and_registration:
            held["credentials"] = {"theirs": data}
            return credentials()
        held.setdefault(module.value, {})[str(data["id"]).lower()] = data
        return data

    @classmethod
    async def update(
        cls, module: ModuleID, role: RoleEnum, data: Any, id: Any, *_: Any, **__: Any
    ) -> Any:
        return await cls.create(module, role, data)

    @classmethod
    async def delete(cls, module: ModuleID, role: RoleEnum, id: Any, *_: Any, **__: Any) -> None:
        held.get(module.value, {}).pop(str(id).lower(), None)

    @classmethod
    async def do(cls, *_: Any, data: Any = None, **__: Any) -> Any:
        asked.append(data)
        return {"allowed": "ALLOWED", "token": token(), "location": data["location_reference"]}


class Known(Authenticator):
    """Token A until it has registered, and every token C."""

    @classmethod
    async def get_valid_token_c(cls) -> list[str]:
        return tokens_c

    @classmethod
    async def get_valid_token_a(cls) -> list[str]:
        return [] if tokens_c else [TOKEN_A]


app = get_application(
    version_numbers=[VersionNumber(VERSION)],
    roles=[RoleEnum.emsp],
    crud=Books,
    modules=[
        ModuleID.credentials_and_registration,
        ModuleID.locations,
        ModuleID.sessions,
        ModuleID.cdrs,
        ModuleID.tariffs,
        ModuleID.tokens,
    ],
    authenticator=Known,
)


@app.get("/held")
async def show() -> Any:
    """Show everything."""
    return json.loads(json.dumps(held | {"asked": asked}, default=str))


print(PORT, flush=True)
config = uvicorn.Config(app, log_level="critical", access_log=False)
uvicorn.Server(config).run(sockets=[listening])
