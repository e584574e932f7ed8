"""The charge detail record: the one billing document, sealed when it is made."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from cpo.domain.events import SignedReading
from cpo.domain.periods import Period
from cpo.domain.pricing import Breakdown
from cpo.domain.tokens import AuthMethod, Token
from cpo.domain.transaction import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Cdr:
    """A CDR; never changed after it was made (OCPI mod_cdrs; CDR-1).

    `energy_wh` and the seconds are exact; output rounds. `hold` names the reasons for which it
    waits for the operator instead of being sent.
    """

    id: str
    session_id: str
    country_code: str
    party_id: str
    partner_id: str | None
    start_date_time: datetime
    end_date_time: datetime
    token: Token
    auth_method: AuthMethod
    snapshot: Snapshot
    currency: str
    periods: tuple[Period, ...]
    cost: Breakdown
    energy_wh: Decimal
    time_s: Decimal
    parking_s: Decimal
    authorization_reference: str | None = None
    meter_id: str | None = None
    signed: tuple[SignedReading, ...] = ()
    remark: str | None = None
    credit: bool = False
    credit_reference_id: str | None = None
    home_charging_compensation: bool | None = None
    flags: frozenset[str] = frozenset()
    hold: tuple[str, ...] = ()
    last_updated: datetime | None = None
