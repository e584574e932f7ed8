"""The words of an OCPP version for what happens at a station, chosen by the version."""

import importlib
from typing import TYPE_CHECKING, Any, Protocol

from chargers_sim.happenings import Happening
from chargers_sim.outbox import Outgoing, Payload
from chargers_sim.outlet import Token
from chargers_sim.peer import Handler
from chargers_sim.tokens import Verdict

if TYPE_CHECKING:
    from chargers_sim.live import Station


class Adapter(Protocol):
    """One OCPP version's words for what happens at a station."""

    handlers: dict[str, Handler]

    def boot(self) -> Payload:
        """Write the BootNotification."""

    def render(self, happening: Happening) -> list[Outgoing]:
        """Put a happening into messages."""

    async def authorize(self, token: Token) -> Verdict:
        """Ask the server about a token."""

    def observe(self) -> None:
        """Look at what is watched, after something may have changed."""

    def booted(self, interval: int) -> None:
        """Note the heartbeat interval of a BootNotification's answer."""

    def configure(self, name: str, value: str) -> None:
        """Change a key or variable at the station itself; raises BadInput."""

    def dump(self) -> dict[str, Any]:
        """Write the configuration down for the state file."""

    def load(self, kept: dict[str, Any]) -> None:
        """Read the configuration back."""


# Each version is loaded only when a station speaks it.
ADAPTERS = {
    "1.6": ("chargers_sim.v16", "V16"),
    "2.0.1": ("chargers_sim.v201", "V201"),
    "2.1": ("chargers_sim.v21", "V21"),
}


def make_adapter(version: str, station: "Station") -> Adapter:
    """Make the adapter of a station."""
    module, name = ADAPTERS[version]
    adapter: Adapter = getattr(importlib.import_module(module), name)(station)
    return adapter
