"""An eMSP double of OCPI 2.1.1, 2.2.1 and 2.3.0: receives, checks strictly, records, commands."""

from chargers_sim.emsp.caller import CallFailed
from chargers_sim.emsp.dialect import Dialect
from chargers_sim.emsp.double import Emsp
from chargers_sim.emsp.journal import Exchange, Violation
from chargers_sim.emsp.peers import NotConnected

__all__ = ["CallFailed", "Dialect", "Emsp", "Exchange", "NotConnected", "Violation"]
