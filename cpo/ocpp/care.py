"""What a station is asked once it is there: statuses that got lost, its boot data, its inventory.

Never before the answer to its boot (Q11), each at most once per connection (Q14), slowly over all
stations (Q43), and without holding silence against it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from cpo.domain.quirk_profiles import Habit
from cpo.domain.station import Station
from cpo.errors import CpoError
from cpo.ocpp.contract import Dialect, Request
from cpo.ocpp.limits import Bucket

log = structlog.get_logger()

_STATUSES_PER_SECOND: Final = 50
_INVENTORIES_PER_SECOND: Final = 5


class Patient(Protocol):
    """Calls a station without holding silence against it."""

    async def ask(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Call the station."""
        ...


@dataclass(slots=True)
class Heard:
    """What a station has told since it connected."""

    booted: bool = False
    status: bool = False


class Turns:
    """Turns at a rate, first come first served.

    Only the first in the queue looks at the clock: thousands that wait after a restart cost
    nothing.
    """

    def __init__(self, rate: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._bucket = Bucket(rate, rate, self._loop.time())
        self._first = asyncio.Lock()

    async def take(self) -> None:
        """Wait for a turn."""
        async with self._first:
            while not self._bucket.take(self._loop.time()):  # noqa: ASYNC110 - a rate has no event
                await asyncio.sleep(self._bucket.wait(self._loop.time()))


class Care:
    """Asks the stations of this node, all of them together not faster than the limits."""

    def __init__(self, *, delay: float) -> None:
        self.delay = delay
        self._turns: dict[float, Turns] = {}
        self._inventoried: set[str] = set()

    async def look_after(
        self,
        station: Patient,
        heard: Heard,
        dialect: Dialect,
        *,
        find: Callable[[], Station | None],
        habits: Callable[[], Mapping[str, Habit]] = dict,
        connectors: Callable[[], list[tuple[int, int]]],
        inventoried: Callable[[], Awaitable[bool]],
        open_transactions: Callable[[], list[str]],
        lost: Callable[[str], Awaitable[None]],
    ) -> None:
        """Wait, then ask for what the station has not told by itself."""
        await asyncio.sleep(self.delay)
        record = find()
        if record is None:
            return
        off = {name for name, habit in habits().items() if habit.value == "off"}
        triggers = "triggers" not in off
        if record.boot is None and not heard.booted:
            if not triggers:
                return
            await self._turn(_STATUSES_PER_SECOND)
            boot = Request("TriggerMessage", {"requestedMessage": "BootNotification"})
            await self._ask(station, boot)
            return
        if not heard.status and triggers:
            for evse_id, connector_id in connectors():
                await self._turn(_STATUSES_PER_SECOND)
                await self._ask(station, dialect.status_of(evse_id, connector_id))
        if heard.booted and dialect.transaction_status is not None:
            for key in open_transactions():
                await self._turn(_STATUSES_PER_SECOND)
                answer = await self._ask(station, dialect.transaction_status(key))
                # Neither going on nor waiting in its queue: the end was lost (TX20-18).
                if answer is not None and not (
                    answer.get("ongoingIndicator", True) or answer.get("messagesInQueue", True)
                ):
                    await lost(key)
        # Once per station while this node runs: one that refuses would refuse again.
        wanted = heard.booted and "inventory" not in off
        if wanted and record.identity not in self._inventoried:
            self._inventoried.add(record.identity)
            await self._turn(_INVENTORIES_PER_SECOND)
            if not await inventoried():
                await self._ask(station, dialect.inventory)

    async def _turn(self, rate: float) -> None:
        turns = self._turns.get(rate)
        if turns is None:
            turns = self._turns[rate] = Turns(rate)
        await turns.take()

    async def _ask(self, station: Patient, request: Request) -> dict[str, Any] | None:
        try:
            return await station.ask(request.action, request.payload)
        except CpoError as error:
            log.info("ocpp.not_told", action=request.action, error=str(error))
            return None
