"""Timed jobs: APScheduler only ticks, the work and its due times are ours (design D17)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from cpo.domain.transaction import Transaction
from cpo.errors import CpoError
from cpo.services.memory import Memory, StationState
from cpo.services.transactions import Transactions

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Job:
    """Something to do every so often; `lease` names the lease row that makes it one node's."""

    name: str
    every: float
    run: Callable[[], Awaitable[object]]


async def run_job(job: Job) -> None:
    """Run a job once; a failure is logged and the next tick tries again."""
    try:
        await job.run()
    except CpoError as error:
        log.warning("job.failed", job=job.name, error=str(error))
    except asyncio.CancelledError:
        raise


class StaleTransactions:
    """Ends transactions whose stop will not come any more, with the evidence there is (N15)."""

    def __init__(
        self,
        memory: Memory,
        transactions: Transactions,
        *,
        now: Callable[[], datetime],
        after: float,
        invalid: bool = False,
    ) -> None:
        self._memory = memory
        self._transactions = transactions
        self._invalid = invalid
        self._now = now
        self._after = timedelta(seconds=after)

    async def sweep(self) -> None:
        """Look at every open transaction once (TX16-18, MAP-26)."""
        for state in list(self._memory.stations.values()):
            if not self._memory.holds(state):
                continue
            for transaction in state.open_transactions():
                if self._stale(state, transaction):
                    await self._transactions.end_assumed(
                        state, transaction.key, reason="stale", invalid=self._invalid
                    )

    def _stale(self, state: StationState, transaction: Transaction) -> bool:
        """Stale: no reading for the time, and the connector is free or the station silent."""
        last = max((s.at for s in transaction.samples), default=transaction.started_at)
        heard = max(last, transaction.received_at)
        if self._now() - heard < self._after:
            return False
        connectors = [c for c in state.connectors.values() if c.evse_id == transaction.evse_id]
        free = bool(connectors) and all(c.availability == "Available" for c in connectors)
        silent = state.seen_at is None or self._now() - state.seen_at >= self._after
        return free or silent
