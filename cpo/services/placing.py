"""Charges at EVSEs that no Location has: shown to the operator, settled once one does."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from cpo.domain.transaction import Transaction
from cpo.errors import CpoError, NotFound
from cpo.services.memory import Memory
from cpo.services.ports import Store
from cpo.services.transactions import Transactions

log = structlog.get_logger()

# A visit to a site that was forgotten: more of them are settled by putting the Location again.
MOST = 500


class Placing:
    """Finds ended charges without a Location, and settles them when theirs is entered.

    Their price is that of the tariff entered by then, so that their CDRs wait for the operator.
    """

    def __init__(self, memory: Memory, store: Store, transactions: Transactions) -> None:
        self._memory = memory
        self._store = store
        self._transactions = transactions
        self._tasks: set[asyncio.Task[None]] = set()

    async def unplaced(self, identity: str, limit: int) -> list[Transaction]:
        """Return a station's ended charges without a Location, newest first.

        Raises NotFound for an unknown station.
        """
        if identity not in self._memory.stations:
            raise NotFound("station", identity)
        return await self._store.unplaced_transactions(identity, limit)

    def location_changed(self, location_id: str) -> None:
        """Settle what was charged before at the EVSEs that a Location has now."""
        location = self._memory.sites.locations.get(location_id)
        if location is None:
            return
        for identity in {e.binding.station for e in location.evses if e.binding is not None}:
            self._spawn(self._place(identity))

    async def _place(self, identity: str) -> None:
        state = self._memory.stations.get(identity)
        if state is None or not self._memory.holds(state):
            return  # the node in charge of it does this, once it hears of the Location
        for transaction in await self._store.unplaced_transactions(identity, MOST):
            if await self._transactions.place(state, transaction):
                log.warning("transaction.placed_later", station=identity, session=transaction.id)

    async def close(self) -> None:
        """Stop what is under way; the next change of the Location goes on with it."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, CpoError):
                raise error
            log.error("transaction.not_placed", error=str(error))
