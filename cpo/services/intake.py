"""What the OCPP adapter calls for everything that stations report.

Each call adds what it wants to keep to the given unit of work and returns what the station is
to be answered. The adapter renders the answer, adds the frame to the same unit, commits it, and
only then sends the answer: `async with intake.lock(identity)` around all of it keeps one station's
facts in order.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from cpo.domain.events import Boot, IdToken, MeterReport, StatusReport, TransactionEvent
from cpo.domain.tokens import Verdict
from cpo.services.ports import StationLink, Work


@dataclass(frozen=True, slots=True)
class BootAnswer:
    """What BootNotification is answered with; `interval` in seconds.

    `status` is Accepted, Pending or Rejected, as every OCPP version spells it.
    """

    status: str
    now: datetime
    interval: int


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """What a station hears about an idToken.

    `group` is the parentIdTag or groupIdToken; `expires_at` limits how long the station caches.
    `tariff` is the driver's own, as OCPP 2.1 writes it.
    """

    verdict: Verdict
    group: str | None = None
    expires_at: datetime | None = None
    message: str | None = None
    tariff: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class TransactionAnswer:
    """What a transaction message is answered with.

    `transaction` is the id we gave (1.6 StartTransaction); `token` is None when the event named no
    idToken; `total_cost` is the session's cost incl. tax so far, for 2.x. `incomplete` says that
    it has just ended while events of it are missing.
    """

    transaction: str
    token: TokenAnswer | None = None
    total_cost: Decimal | None = None
    incomplete: bool = False


class Intake(Protocol):
    """The stations' side of the services."""

    def lock(self, identity: str) -> asyncio.Lock:
        """Return the lock that keeps one station's facts in order."""
        ...

    def connected(self, link: StationLink) -> None:
        """Note a new live connection; it replaces an older one of the same identity."""
        ...

    def disconnected(self, link: StationLink) -> None:
        """Note that a connection ended; one that was replaced before changes nothing."""
        ...

    def accepts(self, identity: str) -> bool:
        """Tell whether a station may send anything but BootNotification."""
        ...

    def certificate_names(self, identity: str) -> frozenset[str]:
        """Return the common names that a station's certificate may carry beside its identity."""
        ...

    def evse_names(self, identity: str) -> frozenset[str]:
        """Return the EVSE ids that a station's certificate for cars may carry."""
        ...

    async def boot(self, work: Work, identity: str, boot: Boot, *, at: datetime) -> BootAnswer:
        """Take a BootNotification in."""
        ...

    def seen(self, identity: str, *, at: datetime) -> None:
        """Note a sign of life."""
        ...

    async def reservation_gone(self, identity: str, number: int, *, expired: bool) -> None:
        """Learn that a station holds a reservation no more."""
        ...

    async def status(self, work: Work, identity: str, report: StatusReport) -> None:
        """Take a connector's status in."""
        ...

    async def authorize(
        self, identity: str, token: IdToken, *, evse_id: int | None = None
    ) -> TokenAnswer:
        """Decide about an idToken."""
        ...

    async def transaction(
        self, work: Work, identity: str, event: TransactionEvent, *, raw: str
    ) -> TransactionAnswer:
        """Take a step of a transaction in; never refuses one (raw is kept for orphans)."""
        ...

    async def meter_values(self, work: Work, identity: str, report: MeterReport) -> None:
        """Take meter values outside a transaction event in."""
        ...
