"""What happens at a station, for the protocol adapters to put into words."""

from dataclasses import dataclass
from typing import Literal

from chargers_sim.meter import Reading
from chargers_sim.outlet import Status, Token, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusChanged:
    """An outlet (0: the station) shows another status."""

    outlet: int
    status: Status
    error: str
    at_ms: int
    asked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Charged:
    """A transaction started, went on or ended; a snapshot of that moment."""

    kind: Literal["Started", "Updated", "Ended"]
    trigger: str
    transaction: Transaction
    at_ms: int
    seq: int
    state: str
    reading: Reading | None
    token: Token | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """Clock-aligned values of an outlet without a transaction."""

    outlet: int
    reading: Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservationEnded:
    """A reservation ran out or lost its outlet."""

    number: int
    why: Literal["Expired", "Removed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An instant that somebody asked to be told of has come."""

    name: str
    at_ms: int


Happening = StatusChanged | Charged | Metered | ReservationEnded | Alarm
