"""Tells chargers what their transactions cost, where they said that they can show it.

A message goes when the session is published, so no more often than
`ocpi.session_update_interval`, and at the end.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any

import msgspec
import structlog

from cpo.domain.events import ChargingState
from cpo.domain.running_cost import COST_MESSAGES, final_cost, running_cost
from cpo.domain.session import Session
from cpo.domain.tokens import Token
from cpo.domain.transaction import Transaction, curve
from cpo.errors import CpoError
from cpo.services.billing import Billing
from cpo.services.displays import Display, Displays
from cpo.services.memory import Memory
from cpo.services.ports import StationLink

log = structlog.get_logger()

# 1.6 has no message of its own: a DataTransfer of the California pricing white paper carries it.
_WITH_COST_UPDATED = frozenset({"2.0.1", "2.1"})
_IDLE = frozenset({ChargingState.SUSPENDED_EV, ChargingState.EV_CONNECTED, ChargingState.IDLE})
_encoder = msgspec.json.Encoder(decimal_format="number")


class RunningCosts:
    """Sends costs to displays; give `session` to what publishes sessions, and await `close`."""

    def __init__(
        self, memory: Memory, displays: Displays, billing: Billing, *, now: Callable[[], datetime]
    ) -> None:
        self._memory = memory
        self._displays = displays
        self._billing = billing
        self._now = now
        self._tasks: set[asyncio.Task[None]] = set()

    def session(self, session: Session) -> None:
        """Tell a session's station what it costs by now, if it can show it."""
        state = self._memory.stations.get(session.station)
        if session.cost is None or state is None or state.link is None:
            return
        if self._shows_nothing(session.station):
            return
        transaction = next((t for t in state.transactions.values() if t.id == session.id), None)
        if transaction is not None:
            self._spawn(self._tell(state.link, transaction))

    def authorized(self, identity: str, id_token: str, token: Token | None) -> None:
        """Tell a station of 1.6 what its driver will pay, where it can show it (SetUserPrice)."""
        state = self._memory.stations.get(identity)
        if state is None or state.link is None or state.link.version in _WITH_COST_UPDATED:
            return
        if self._shows_nothing(identity):
            return
        text = self._billing.price_text(identity, token, self._now())
        if text is not None:
            self._spawn(self._tell_price(state.link, id_token, text))

    def _shows_nothing(self, identity: str) -> bool:
        """Whether a station has told lately that it shows no costs: most do not."""
        known = self._displays.known(identity)
        return known is not None and not known.costs

    def _spawn(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _tell(self, link: StationLink, transaction: Transaction) -> None:
        try:
            display = await self._displays.of(link)
            if display.costs:
                action, payload = self.message(link.version, transaction, display)
                await link.call(action, payload)
        except CpoError as error:
            log.info("running_cost.failed", station=link.identity, error=str(error))

    async def _tell_price(self, link: StationLink, id_token: str, text: str) -> None:
        try:
            if (await self._displays.of(link)).costs:
                data = {"idToken": id_token, "priceText": text}
                await link.call("DataTransfer", _transfer("SetUserPrice", data))
        except CpoError as error:
            log.info("user_price.failed", station=link.identity, error=str(error))

    def message(
        self, version: str, transaction: Transaction, display: Display
    ) -> tuple[str, dict[str, object]]:
        """Return the action and payload that tell a transaction's cost in an OCPP version."""
        snapshot = transaction.snapshot
        if snapshot is None:
            raise LookupError(transaction.id)
        if transaction.open:
            running = self._billing.live.price(transaction, snapshot)
            cost, energy_wh, metered_at = running.cost, running.energy_wh, running.metered_at
        else:
            energy = curve(transaction)
            cost = self._billing.cost(transaction, snapshot, energy, now=self._now())
            energy_wh, metered_at = energy.total_wh, transaction.ended_at or self._now()
        prices = running_cost(
            cost,
            transaction_id=None,
            at=metered_at,
            meter_wh=(transaction.begin_wh or 0) + energy_wh,
            session_wh=energy_wh,
            parking=bool(transaction.states) and transaction.states[-1][1] in _IDLE,
            places=display.decimals,
            statuses=version not in _WITH_COST_UPDATED,
        )
        if version in _WITH_COST_UPDATED:
            payload: dict[str, object] = {
                "totalCost": prices.pop("cost"),
                "transactionId": transaction.key,
            }
            if display.prices and transaction.open:
                payload["customData"] = {"vendorId": COST_MESSAGES} | prices
            return "CostUpdated", payload
        number = int(transaction.key)
        if not transaction.open:
            return "DataTransfer", _transfer("FinalCost", final_cost(cost, transaction_id=number))
        return "DataTransfer", _transfer("RunningCost", {"transactionId": number} | prices)


def _transfer(name: str, data: Mapping[str, Any]) -> dict[str, object]:
    return {
        "vendorId": COST_MESSAGES,
        "messageId": name,
        "data": _encoder.encode(data).decode(),
    }
