"""The PyPI package `extrawest-ocpi` serving one page of CDRs from memory, over and over.

    PYTHON_OF_THE_PEER peer_ocpi.py PAGE.json

`PAGE.json` is an answer of ours, so both send the same objects. It needs the package and `uvicorn`
in an environment of its own; `ocpi_pages.py --peer` starts it. Prints its port.
"""

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TRAILING_SLASH", "false")

import uvicorn
from py_ocpi import get_application
from py_ocpi.core.authentication.authenticator import Authenticator
from py_ocpi.core.enums import ModuleID, RoleEnum
from py_ocpi.modules.versions.enums import VersionNumber

TOKEN = "benchmark-token-of-the-partner"  # noqa: S105 - loopback only
CDRS = json.loads(Path(sys.argv[1]).read_text())["data"]


class FromMemory:
    """What the package asks for objects: always the same page of a long list."""

    @classmethod
    async def list(cls, *_: Any, **__: Any) -> tuple[list[Any], int, bool]:
        return CDRS, 1_000_000, False


class Known(Authenticator):
    """Knows the one token."""

    @classmethod
    async def get_valid_token_c(cls) -> list[str]:
        return [TOKEN]

    @classmethod
    async def get_valid_token_a(cls) -> list[str]:
        return []


app = get_application(
    version_numbers=[VersionNumber.v_2_2_1],
    roles=[RoleEnum.cpo],
    crud=FromMemory,
    modules=[ModuleID.cdrs],
    authenticator=Known,
)
listening = socket.socket()
listening.bind(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
config = uvicorn.Config(app, log_level="critical", access_log=False)
uvicorn.Server(config).run(sockets=[listening])
