"""What payment terminals of stations settled, beside what we billed for it (2.1, C20)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import structlog

from cpo.services.ports import StationDocument, Store, Work

log = structlog.get_logger()

SETTLEMENT: Final = "settlement"
WEB_PAYMENT: Final = "web-payment"
_NO_MONEY: Final = frozenset({"Rejected", "Failed"})
_PAID: Final = "Settled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """A settlement with its session and the total that was billed for it, tax included.

    `difference` is what was settled above that; None while either is not known.
    """

    station: str
    document: Mapping[str, Any]
    at: datetime
    session_id: str | None = None
    cdr_id: str | None = None
    currency: str | None = None
    billed: Decimal | None = None

    @property
    def difference(self) -> Decimal | None:
        """Return what was settled above what was billed."""
        if self.billed is None or self.document.get("status") != _PAID:
            return None
        return Decimal(str(self.document["settlementAmount"])) - self.billed


class Payments:
    """Keeps settlements, and puts them beside sessions."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def settled(self, work: Work, station: str, sent: Mapping[str, Any], at: datetime) -> None:
        """Keep a settlement; the same one again replaces it."""
        work.put(StationDocument(station, SETTLEMENT, sent["pspRef"][:200], dict(sent), at))
        if sent["status"] in _NO_MONEY:
            log.warning("station.not_settled", station=station, status=sent["status"])

    async def all(self) -> list[Settlement]:
        """Return the settlements of all stations, newest first."""
        found = await self._store.documents_of_kind(SETTLEMENT)
        shown = [await self._beside(document) for document in found]
        return sorted(shown, key=lambda s: (s.at, s.station), reverse=True)

    async def of_session(self, session_id: str) -> list[Settlement]:
        """Return the settlements of one session."""
        transaction = await self._store.transaction(session_id)
        if transaction is None:
            return []
        found = await self._store.documents(transaction.station, SETTLEMENT)
        return [
            await self._beside(document)
            for document in found
            if document.document.get("transactionId") == transaction.key
        ]

    async def _beside(self, kept: StationDocument) -> Settlement:
        key = kept.document.get("transactionId")
        transaction = await self._store.transaction_by_key(kept.station, str(key)) if key else None
        cdr = await self._store.cdr_of_session(transaction.id) if transaction is not None else None
        total = cdr.cost.total if cdr is not None and cdr.cost is not None else None
        return Settlement(
            station=kept.station,
            document=kept.document,
            at=kept.at,
            session_id=transaction.id if transaction is not None else None,
            cdr_id=cdr.id if cdr is not None else None,
            currency=cdr.currency if cdr is not None else None,
            billed=(total.incl_vat if total.incl_vat is not None else total.excl_vat)
            if total is not None
            else None,
        )
