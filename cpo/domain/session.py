"""The charging session as partners see it: one per transaction (or unused reservation)."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from cpo.domain.periods import Period
from cpo.domain.pricing import Breakdown
from cpo.domain.tokens import AuthMethod, Token
from cpo.domain.transaction import WRITTEN_OFF, Phase, Snapshot, Transaction


class SessionStatus(StrEnum):
    """The states of a Session (OCPI SessionStatus)."""

    ACTIVE = "ACTIVE"
    COMPLETED = "COMPLETED"
    INVALID = "INVALID"
    PENDING = "PENDING"
    RESERVATION = "RESERVATION"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session in its newest published form.

    `partner_id` is the token's eMSP, None for our own drivers. `energy_wh` is exact; `periods`
    add up to it. `snapshot` is what held at the start; it is None only when no EVSE is bound to the
    station, and then the session concerns no partner. `soc_percent` is what the car's battery last
    said.
    """

    id: str
    country_code: str
    party_id: str
    partner_id: str | None
    station: str
    start_date_time: datetime
    status: SessionStatus
    energy_wh: Decimal
    token: Token | None
    auth_method: AuthMethod
    snapshot: Snapshot | None
    currency: str
    end_date_time: datetime | None = None
    authorization_reference: str | None = None
    meter_id: str | None = None
    soc_percent: Decimal | None = None
    periods: tuple[Period, ...] = ()
    cost: Breakdown | None = None
    flags: frozenset[str] = frozenset()
    last_updated: datetime | None = None


_STATUS = {
    Phase.RESERVED: SessionStatus.RESERVATION,
    Phase.PENDING: SessionStatus.PENDING,
    Phase.ACTIVE: SessionStatus.ACTIVE,
    Phase.ENDED: SessionStatus.COMPLETED,
}


def session_status(transaction: Transaction) -> SessionStatus:
    """Map a transaction's state to the Session's (section 6 of the conformance cases; SES-3)."""
    if transaction.phase is Phase.ENDED and (
        transaction.token is None or WRITTEN_OFF in transaction.flags
    ):
        return SessionStatus.INVALID
    return _STATUS[transaction.phase]
