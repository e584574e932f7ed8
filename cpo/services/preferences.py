"""Drivers' charging preferences: kept with the session, they choose its tariff from then on."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

from cpo.domain.preferences import MOST_CHANGES, Preference, Preferred, judge
from cpo.domain.session import Session
from cpo.domain.transaction import Phase, Snapshot, Transaction
from cpo.domain.values import replace
from cpo.services.billing import Billing
from cpo.services.memory import Memory, StationState
from cpo.services.ports import Audit, Store, Work
from cpo.services.transactions import Transactions


class ChargingPreferences:
    """Takes what a driver prefers (SES-18)."""

    def __init__(
        self,
        memory: Memory,
        store: Store,
        billing: Billing,
        transactions: Transactions,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._memory = memory
        self._store = store
        self._billing = billing
        self._transactions = transactions
        self._now = now
        # With several nodes: has the one in charge of a station take them, told in plain values.
        self.elsewhere: Callable[[StationState, dict[str, Any]], Awaitable[bytes]] | None = None

    async def take(
        self,
        session: Session,
        profile_type: str,
        *,
        departure_time: datetime | None,
        energy_need: Decimal | None,
        discharge_allowed: bool | None,
        actor: str,
    ) -> Preferred:
        """Judge preferences and keep those that can be met; a session that is over has none.

        `energy_need` in kWh.
        """
        state = self._memory.stations.get(session.station)
        if state is None:
            return Preferred.NOT_POSSIBLE
        if self.elsewhere is not None and not self._memory.holds(state):
            answer = await self.elsewhere(
                state,
                {
                    "session": session.id,
                    "profile_type": profile_type,
                    "departure_time": departure_time and departure_time.isoformat(),
                    "energy_need": None if energy_need is None else str(energy_need),
                    "discharge_allowed": discharge_allowed,
                    "actor": actor,
                },
            )
            return Preferred(answer.decode())
        return await self._take(
            state,
            session.id,
            profile_type,
            departure_time=departure_time,
            energy_need=energy_need,
            discharge_allowed=discharge_allowed,
            actor=actor,
        )

    async def told(self, state: StationState, said: dict[str, Any]) -> bytes:
        """Take what another node was told about a session at a station of this one."""
        at, need = said["departure_time"], said["energy_need"]
        verdict = await self._take(
            state,
            said["session"],
            said["profile_type"],
            departure_time=datetime.fromisoformat(at) if at else None,
            energy_need=Decimal(need) if need is not None else None,
            discharge_allowed=said["discharge_allowed"],
            actor=said["actor"],
        )
        return str(verdict).encode()

    async def _take(
        self,
        state: StationState,
        session_id: str,
        profile_type: str,
        *,
        departure_time: datetime | None,
        energy_need: Decimal | None,
        discharge_allowed: bool | None,
        actor: str,
    ) -> Preferred:
        async with state.lock:
            transaction = _running(state, session_id)
            if transaction is None or transaction.snapshot is None:
                return Preferred.NOT_POSSIBLE
            snapshot = transaction.snapshot
            now = max(self._now(), transaction.started_at)
            tariff = self._billing.preferred(transaction, profile_type, now)
            if tariff is None:
                return Preferred.PROFILE_TYPE_NOT_SUPPORTED
            if len(snapshot.preferences) >= MOST_CHANGES:
                return Preferred.NOT_POSSIBLE
            verdict = judge(
                profile_type,
                departure_time=departure_time,
                energy_need=energy_need,
                now=now,
                max_power_w=_delivers(snapshot),
            )
            if verdict is not Preferred.ACCEPTED:
                return verdict
            preference = Preference(
                at=now,
                profile_type=profile_type,
                tariff=tariff,
                departure_time=departure_time,
                energy_need=energy_need,
                discharge_allowed=discharge_allowed,
            )
            preferences = (*snapshot.preferences, preference)
            after = replace(transaction, snapshot=replace(snapshot, preferences=preferences))
            work = Work()
            self._transactions.adopt(work, state, after)
            work.put(Audit(now, actor, "session.preferences", session_id, profile_type))
            self._memory.fence(work, state)
            await self._store.commit(work)
        return verdict


def _running(state: StationState, session_id: str) -> Transaction | None:
    found = (t for t in state.transactions.values() if t.id == session_id)
    return next((t for t in found if t.phase is Phase.ACTIVE), None)


def _delivers(snapshot: Snapshot) -> Decimal | None:
    connectors = [c for evse in snapshot.location.evses for c in evse.connectors]
    powers = [c.max_electric_power for c in connectors if c.max_electric_power]
    return Decimal(max(powers)) if powers else None
