"""What the operator does with CDRs: release what is held, credit, bill anew, explain."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from cpo.domain.cdr import Cdr
from cpo.domain.ids import derived_id
from cpo.domain.quality import signed_check
from cpo.domain.transaction import Transaction
from cpo.domain.values import replace
from cpo.errors import Conflict, NotFound
from cpo.services.billing import Billing
from cpo.services.meter_keys import keys_behind
from cpo.services.ports import Audit, Store, Work
from cpo.services.publishing import Publishing


class Cdrs:
    """Keeps CDRs as they were made: a correction is a credit and a new one (CDR-6)."""

    def __init__(
        self,
        store: Store,
        billing: Billing,
        publishing: Publishing,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._billing = billing
        self._publishing = publishing
        self._now = now

    async def get(self, cdr_id: str) -> Cdr:
        """Return a CDR; NotFound when there is none."""
        cdr: Cdr | None = await self._store.cdr(cdr_id)
        if cdr is None:
            raise NotFound("cdr", cdr_id)
        return cdr

    async def release(self, cdr_id: str, *, actor: str) -> Cdr:
        """Send a CDR that was held for the operator; Conflict when it was not held."""
        cdr = await self.get(cdr_id)
        if not cdr.hold:
            raise Conflict(f"CDR {cdr_id!r} is not held")
        released = replace(cdr, hold=())
        work = Work()
        work.put(released)
        self._publishing.cdr(work, cdr.id, cdr.partner_id)
        work.put(Audit(self._now(), actor, "cdr.release", cdr_id, ", ".join(cdr.hold)))
        await self._store.commit(work)
        return released

    async def credit(
        self, cdr_id: str, *, actor: str, corrected: bool = False
    ) -> tuple[Cdr, Cdr | None]:
        """Credit a CDR, and bill the session anew from what is known now where that is asked for.

        The credit is a copy with another id whose total is negated when it is rendered; asking
        again returns the same credit. Conflict for a held CDR (nothing was billed) or a credit.
        """
        cdr = await self.get(cdr_id)
        if cdr.credit:
            raise Conflict(f"CDR {cdr_id!r} is a credit itself")
        if cdr.hold:
            raise Conflict(f"CDR {cdr_id!r} is held: nothing was billed yet")
        credit_id = f"{cdr.id}-C"
        known: Cdr | None = await self._store.cdr(credit_id)
        new_id = derived_id(self._billing.secret, "cdr", cdr.id, "corrected")
        if known is not None:
            return known, await self._store.cdr(new_id)
        credit = replace(
            cdr,
            id=credit_id,
            credit=True,
            credit_reference_id=cdr.id,
            last_updated=None,
        )
        work = Work()
        work.put(credit)
        self._publishing.cdr(work, credit.id, credit.partner_id)
        renewed = None
        if corrected:
            renewed = await self._renewed(cdr, new_id)
            work.put(renewed)
            self._publishing.cdr(work, renewed.id, renewed.partner_id)
        work.put(Audit(self._now(), actor, "cdr.credit", cdr_id))
        await self._store.commit(work)
        return credit, renewed

    async def _renewed(self, cdr: Cdr, new_id: str) -> Cdr:
        transaction: Transaction | None = await self._store.transaction(cdr.session_id)
        if transaction is None:
            raise Conflict(f"the transaction of CDR {cdr.id!r} is not kept any more")
        session = self._billing.session(transaction)
        keys = await keys_behind(self._store, transaction)
        renewed = self._billing.cdr(transaction, session, keys=keys) if session else None
        if renewed is None:
            raise Conflict(f"the session of CDR {cdr.id!r} cannot be billed")
        return replace(renewed, id=new_id, hold=())

    async def explain(self, cdr_id: str) -> dict[str, Any]:
        """Say where each line of a CDR's price comes from: element, quantity, readings, frames."""
        cdr = await self.get(cdr_id)
        transaction: Transaction | None = await self._store.transaction(cdr.session_id)
        if transaction is None:
            raise Conflict(f"the transaction of CDR {cdr_id!r} is not kept any more")
        frames = [
            {
                "at": frame.at,
                "action": frame.action,
                "message_id": frame.message_id,
                "payload": frame.payload,
            }
            async for frame in self._store.frames(
                transaction.station,
                since=transaction.received_at,
                until=transaction.end_received_at,
                limit=None,
            )
            if frame.action in _BEHIND
        ]
        keys = await keys_behind(self._store, transaction)
        check = signed_check(cdr.signed, cdr.energy_wh, keys=keys, evse_id=transaction.evse_id)
        return {
            "cdr": cdr.id,
            "session": cdr.session_id,
            "currency": cdr.currency,
            "flags": sorted(cdr.flags),
            "hold": list(cdr.hold),
            "doubts": [asdict(reason) for reason in self._billing.doubts(transaction, cdr.flags)],
            "signed": asdict(check) if check is not None else None,
            "lines": [asdict(line) for line in self._billing.lines(transaction)],
            "samples": [
                {"at": s.at, "register_wh": s.register_wh, "context": s.context}
                for s in sorted(transaction.samples, key=lambda s: s.at)
            ],
            "frames": frames[::-1],
        }


_BEHIND = frozenset({"StartTransaction", "StopTransaction", "MeterValues", "TransactionEvent"})
