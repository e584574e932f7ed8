"""What a station is made of: outlets, tokens, transactions, reservations. Plain data."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from chargers_sim.car import Draw
from chargers_sim.meter import Meter, Reading

Status = Literal[
    "Available",
    "Preparing",
    "Charging",
    "SuspendedEV",
    "SuspendedEVSE",
    "Finishing",
    "Reserved",
    "Unavailable",
    "Faulted",
]


@dataclass(frozen=True, slots=True)
class Token:
    """What a driver holds to the reader."""

    value: str
    kind: str = "ISO14443"


@dataclass(slots=True, kw_only=True)
class Transaction:
    """A transaction from the station's point of view.

    `history` is what is told at its end. Once the server has refused the token, energy flows up
    to the register `allowance_mj` and is `blocked` then.
    """

    ref: str
    outlet: int
    started_ms: int
    meter_start_wh: Decimal
    token: Token | None = None
    group: str | None = None
    number: int | None = None
    remote_start_id: int | None = None
    reservation_id: int | None = None
    state: str = "EVConnected"
    seq: int = 0
    ended_ms: int | None = None
    meter_stop_wh: Decimal | None = None
    reason: str | None = None
    token_told: bool = False
    power_cut_ms: int | None = None
    history: list[Reading] = field(default_factory=list)
    allowance_mj: int | None = None
    blocked: bool = False

    @property
    def running(self) -> bool:
        """Say whether it has not ended."""
        return self.ended_ms is None


@dataclass(slots=True, kw_only=True)
class Reservation:
    """A reservation the server made."""

    number: int
    token: str
    expires_ms: int
    group: str | None = None


@dataclass(slots=True, kw_only=True)
class Outlet:
    """A socket or a cable with plug."""

    number: int
    evse: int
    connector: int
    max_power_w: int
    meter: Meter
    plugged: bool = False
    token: Token | None = None
    token_group: str | None = None
    token_since_ms: int = 0
    remote_start_id: int | None = None
    draw: Draw | None = None
    ends_with_plan: bool = False
    transaction: Transaction | None = None
    reservation: Reservation | None = None
    operative: bool = True
    inoperative_later: bool = False
    fault: str | None = None
    lock_works: bool = True
    shown: Status | None = None
    pending: Status | None = None
    pending_since_ms: int = 0
    next_sample_ms: int | None = None
    next_kept_ms: int | None = None
    finished: bool = False

    @property
    def charging(self) -> bool:
        """Say whether a transaction is running here."""
        return self.transaction is not None and self.transaction.running
