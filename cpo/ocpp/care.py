"""What a station is asked once it is there: statuses that got lost, its boot data, its inventory.

Never before the answer to its boot (Q11), each at most once per connection (Q14), slowly at each
station and over all of them (Q43), and without holding silence against it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from cpo.domain.quirk_profiles import Habit
from cpo.domain.station import Station
from cpo.errors import CpoError, StationOffline, StationRefused
from cpo.ocpp.contract import Dialect, Request
from cpo.ocpp.limits import Bucket

log = structlog.get_logger()

_STATUSES_PER_SECOND: Final = 50
_INVENTORIES_PER_SECOND: Final = 5
# What a station that knows no TriggerMessage says to it.
_NEVER: Final = frozenset({"NotImplemented", "NotSupported"})
_PAUSE: Final = 4.0
_PAUSE_OF_DELAY: Final = 0.4
"""Seconds between two questions to one station: where the first one comes early, less."""


class Patient(Protocol):
    """Calls a station without holding silence against it."""

    async def ask(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Call the station."""
        ...


@dataclass(slots=True)
class Heard:
    """What a station has told since it connected."""

    booted: bool = False
    asked: bool = False
    """Whether it was asked for all that it had not told."""


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
        # Who cannot be asked for statuses, with the firmware that cannot (CM-15).
        self._untriggerable: set[tuple[str, str | None]] = set()
        self._asked_to_boot: set[str] = set()

    async def look_after(
        self,
        station: Patient,
        heard: Heard,
        dialect: Dialect,
        *,
        find: Callable[[], Station | None],
        accepts: Callable[[], bool] = lambda: True,
        habits: Callable[[], Mapping[str, Habit]] = dict,
        untold: Callable[[], list[tuple[int, int]]],
        never_told: Callable[[], list[tuple[int, int]]],
        statuses_lost: Callable[[], Awaitable[None]],
        status_refused: Callable[[tuple[int, int], bool], Awaitable[None]],
        inventoried: Callable[[], Awaitable[bool]],
        transactions: Callable[[], list[str]],
        lost: Callable[[str], Awaitable[None]],
        gone: Callable[[], bool] = lambda: False,
    ) -> None:
        """Wait, then ask for what the station has not told by itself.

        One that is not accepted is asked nothing: it is looked after once it was, at its next boot.
        """
        await asyncio.sleep(self.delay)
        record = find()
        if record is None or not accepts():
            return
        off = {name for name, habit in habits().items() if habit.value == "off"}
        triggers = "triggers" not in off
        if record.boot is None and not heard.booted:
            # Once: there are chargers that really start anew, and come back without a boot (Q14).
            if not triggers or record.identity in self._asked_to_boot:
                return
            self._asked_to_boot.add(record.identity)
            await self._turn(_STATUSES_PER_SECOND)
            boot = Request("TriggerMessage", {"requestedMessage": "BootNotification"})
            await self._ask(station, boot)
            if not heard.booted:
                return
            await asyncio.sleep(self.delay)
        heard.asked = True
        firmware = record.boot.firmware_version if record.boot is not None else None
        kind = (record.identity, firmware)

        async def ask_for_statuses(connectors: Iterable[tuple[int, int]]) -> None:
            for connector in connectors:
                if triggers and kind not in self._untriggerable:
                    await self._turn(_STATUSES_PER_SECOND)
                    answer = await self._asked_for_status(station, dialect.status_of(*connector))
                    if answer in _NEVER:
                        self._untriggerable.add(kind)
                    if answer not in ("Accepted", None):
                        await status_refused(connector, heard.booted)
                    await self._pause()
                else:
                    await status_refused(connector, heard.booted)

        silent = untold()
        if silent and heard.booted:
            await statuses_lost()
        await ask_for_statuses(silent)
        if dialect.transaction_status is not None:
            for key in transactions():
                await self._turn(_STATUSES_PER_SECOND)
                answer = await self._ask(station, dialect.transaction_status(key))
                # Stations send what is missing (TX20-06). Neither going on nor waiting in the
                # queue: the end was lost (TX20-18).
                if answer is not None and not (
                    answer.get("ongoingIndicator", True) or answer.get("messagesInQueue", True)
                ):
                    await lost(key)
                await self._pause()
        # Once per station while this node runs: one that refuses would refuse again. One whose line
        # broke meanwhile has not refused.
        wanted = heard.booted and "inventory" not in off
        if wanted and record.identity not in self._inventoried:
            await self._turn(_INVENTORIES_PER_SECOND)
            if not await inventoried():
                await self._ask(station, dialect.inventory)
                await self._pause()
            if not gone():
                self._inventoried.add(record.identity)
        await ask_for_statuses(never_told())

    async def _turn(self, rate: float) -> None:
        turns = self._turns.get(rate)
        if turns is None:
            turns = self._turns[rate] = Turns(rate)
        await turns.take()

    async def _asked_for_status(self, station: Patient, request: Request) -> str | None:
        """Return what a station says to being asked, None when it is gone."""
        try:
            return str((await station.ask(request.action, request.payload)).get("status"))
        except StationOffline:
            return None
        except StationRefused as error:
            log.info("ocpp.not_told", action=request.action, error=str(error))
            return error.code
        except CpoError as error:
            log.info("ocpp.not_told", action=request.action, error=str(error))
            return "silent"

    async def _pause(self) -> None:
        """Leave a station in peace between two questions: polling upsets some (Q43)."""
        await asyncio.sleep(min(_PAUSE, self.delay * _PAUSE_OF_DELAY))

    async def _ask(self, station: Patient, request: Request) -> dict[str, Any] | None:
        try:
            return await station.ask(request.action, request.payload)
        except CpoError as error:
            log.info("ocpp.not_told", action=request.action, error=str(error))
            return None
