"""Renewing the tokens between partners and us by the calendar (TRANS-7)."""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from cpo.domain.partner import Partner, PartnerStatus
from cpo.errors import CpoError
from cpo.services.partners import Partners

log = structlog.get_logger()

# A renewal that failed is tried again after this share of the period.
AGAIN = 0.1


class Renewals:
    """Renews each connected partner's tokens in time.

    Args:
        partners: the partners.
        now: the clock.
        every: seconds between renewals; a partner's policy `rotate_every` wins; 0 is never.
    """

    def __init__(self, partners: Partners, *, now: Callable[[], datetime], every: float) -> None:
        self._partners = partners
        self._now = now
        self._every = every
        self._failed_at: dict[str, datetime] = {}

    async def sweep(self) -> None:
        """Renew what is due, one partner after the other."""
        for partner in list(self._partners.all()):
            if not self._due(partner):
                continue
            try:
                await self._partners.rotate(partner.id, actor="calendar")
                self._failed_at.pop(partner.id, None)
            except CpoError as error:
                self._failed_at[partner.id] = self._now()
                log.warning("partner.not_renewed", partner=partner.id, error=str(error))

    def _due(self, partner: Partner) -> bool:
        wanted = partner.policy.get("rotate_every")
        period = float(self._every if wanted is None else wanted)
        last = partner.token_in_rotated_at or partner.registered_at
        if not period or last is None or partner.status is not PartnerStatus.CONNECTED:
            return False
        now, failed_at = self._now(), self._failed_at.get(partner.id)
        if failed_at is not None and now - failed_at < timedelta(seconds=period * AGAIN):
            return False
        return now - last >= timedelta(seconds=period)
