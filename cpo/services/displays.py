"""What stations can show drivers: costs, prices, tariffs. Their own word decides, nothing else.

1.6 says it by the configuration key `CustomDisplayCostAndPrice`, 2.x by `TariffCostCtrlr.Enabled`.
A station that has not said it is asked once, some time after a boot.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from cpo.domain.command import CommandKind, StationCommand
from cpo.domain.running_cost import COST_MESSAGES
from cpo.domain.station import Approval
from cpo.services.memory import Memory
from cpo.services.ports import StationLink, Store

log = structlog.get_logger()

_CONTROLLER: Final = "TariffCostCtrlr"
_SHOWS_COST: Final = {
    "1.6": "Configuration/CustomDisplayCostAndPrice",
    "2": f"{_CONTROLLER}/Enabled[Cost]",
}
_SHOWS_TARIFF: Final = {"2": f"{_CONTROLLER}/Enabled[Tariff]"}
_SHOWS_PRICES: Final = {"2": f"CustomizationCtrlr/CustomImplementationEnabled[{COST_MESSAGES}]"}
_DECIMALS: Final = {
    "1.6": "Configuration/NumberOfDecimalsForCostValues",
    "2": f"{_CONTROLLER}/NumberOfDecimalsForCostValues",
}
_QUESTIONS: Final[dict[str, list[dict[str, Any]]]] = {
    "1.6": [
        {"key": "CustomDisplayCostAndPrice"},
        {"key": "NumberOfDecimalsForCostValues"},
    ],
    "2": [
        {"component": _CONTROLLER, "variable": {"name": "Enabled", "instance": "Cost"}},
        {"component": _CONTROLLER, "variable": {"name": "Enabled", "instance": "Tariff"}},
        {"component": _CONTROLLER, "variable": "NumberOfDecimalsForCostValues"},
        {
            "component": "CustomizationCtrlr",
            "variable": {"name": "CustomImplementationEnabled", "instance": COST_MESSAGES},
        },
    ],
}
_KNOWN_FOR: Final = timedelta(minutes=5)
_MOST_KNOWN: Final = 100_000
_AT_ONCE: Final = 20
_DIGITS: Final = frozenset("012345678")


@dataclass(frozen=True, slots=True)
class Display:
    """What a station has said that it can show, and with how many decimals.

    `costs` are running totals, `prices` those of the California pricing note beside them, `tariffs`
    what a driver will pay. A station of 1.6 that shows costs shows prices, too.
    """

    costs: bool = False
    prices: bool = False
    tariffs: bool = False
    decimals: int | None = None


class Displays:
    """Knows what stations show; give `booted` to what hears of boots, and await `close`."""

    def __init__(
        self, memory: Memory, store: Store, *, now: Callable[[], datetime], delay: float = 10.0
    ) -> None:
        self._memory = memory
        self._store = store
        self._now = now
        self._delay = delay
        self._known: dict[str, tuple[Display, datetime]] = {}
        self._asked: dict[str, str | None] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def known(self, identity: str) -> Display | None:
        """Return what is known of a station without looking it up; None when that is too old."""
        known = self._known.get(identity)
        return known[0] if known is not None and self._now() - known[1] < _KNOWN_FOR else None

    async def of(self, link: StationLink) -> Display:
        """Return what a station can show."""
        display = self.known(link.identity)
        if display is None:
            display = await self._read(link.identity, link.version)
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[link.identity] = (display, self._now())
        return display

    async def _read(self, identity: str, version: str) -> Display:
        form = _form(version)
        costs = await self._told(identity, _SHOWS_COST.get(form)) == "true"
        tariffs = await self._told(identity, _SHOWS_TARIFF.get(form)) == "true"
        if not costs:
            return Display(tariffs=tariffs)
        decimals = await self._told(identity, _DECIMALS.get(form))
        return Display(
            costs=True,
            prices=await self._told(identity, _SHOWS_PRICES.get(form)) == "true",
            tariffs=tariffs,
            decimals=int(decimals) if decimals in _DIGITS else None,
        )

    async def _told(self, identity: str, key: str | None) -> str | None:
        """Return what a station told of a variable, in lower case."""
        found = await self._store.document(identity, "variable", key) if key else None
        values = [
            str(attribute.get("value", "")).lower()
            for attribute in (found.document.get("attributes", ()) if found is not None else ())
            if attribute.get("type", "Actual") == "Actual"
        ]
        return values[0] if values else None

    # --- asking -----------------------------------------------------------------------------------

    def booted(self, identity: str) -> None:
        """Have a station asked that has not said what it shows, once for each firmware."""
        self._known.pop(identity, None)
        state = self._memory.stations.get(identity)
        if state is None or state.record.approval in (Approval.WAITING, Approval.REJECTED):
            return
        boot = state.record.boot
        firmware = boot.firmware_version if boot is not None else None
        asked = identity in self._asked and self._asked[identity] == firmware
        if asked or identity in self._tasks:
            return
        self._asked[identity] = firmware
        task = asyncio.get_running_loop().create_task(self._ask(identity))
        self._tasks[identity] = task
        task.add_done_callback(lambda _: self._tasks.pop(identity, None))

    async def _ask(self, identity: str) -> None:
        await asyncio.sleep(self._delay)
        async with self._turns:
            state = self._memory.stations.get(identity)
            link = state.link if state is not None else None
            if link is None:
                self._asked.pop(identity, None)
                return
            form = _form(link.version)
            if await self._told(identity, _SHOWS_COST[form]) is not None:
                return
            reply = await link.execute(
                StationCommand(
                    kind=CommandKind.GET_VARIABLES, parameters={"variables": _QUESTIONS[form]}
                )
            )
            self._known.pop(identity, None)
            log.debug("display.asked", station=identity, outcome=reply.outcome.value)

    async def idle(self) -> None:
        """Wait until everything that was to be asked is asked."""
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def close(self) -> None:
        """Stop asking; the next boot does it."""
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


def _form(version: str) -> str:
    return version if version in _QUESTIONS else "2"
