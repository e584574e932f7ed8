"""A simulator of charge points and of an eMSP; shares no code with cpo.

from chargers_sim import Station, Emsp
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chargers_sim.live import Station

__all__ = ["Car", "Clock", "Faults", "Journal", "Rule", "Station", "VirtualClock"]

_HOMES = {
    "Car": "chargers_sim.car",
    "Clock": "chargers_sim.clock",
    "Emsp": "chargers_sim.emsp",
    "Faults": "chargers_sim.faults",
    "Journal": "chargers_sim.journal",
    "Rule": "chargers_sim.faults",
    "Station": "chargers_sim.live",
    "VirtualClock": "chargers_sim.clock",
}


def __getattr__(name: str) -> Any:
    # Loaded at first use, so that `chargers-sim --help` stays quick.
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'chargers_sim' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
