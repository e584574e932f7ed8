"""What the sharing of a location's power tells an EVSE: its share, as charging profiles."""

import hashlib
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from cpo.domain.limits import Purpose, Running, Step, Supply, capped, composite, scheduled
from cpo.domain.location import Evse
from cpo.services.limits import Limits, evse_numbers, running_at, supply_of
from cpo.services.memory import Memory
from cpo.services.ports import Store

STACK_LEVEL: Final = 2
"""Above the profiles of partners (1) and below what an operator may want to put on top."""
LEAST_A: Final = 6
_AHEAD: Final = timedelta(hours=24)
# A station whose clock is behind must not find the schedule in its future.
SLACK: Final = timedelta(hours=1)
_MOST_PERIODS: Final = 24
_UNIT_VARIABLES: Final = (
    "Configuration/ChargingScheduleAllowedChargingRateUnit",
    "SmartChargingCtrlr/RateUnit",
)
_LEVEL_VARIABLES: Final = (
    "Configuration/ChargeProfileMaxStackLevel",
    "SmartChargingCtrlr/ProfileStackLevel",
)
_AMPERE_WORDS: Final = frozenset({"Current", "A"})
_WATT_WORDS: Final = frozenset({"Power", "W"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlet:
    """An EVSE as this service sees it at one instant."""

    uid: str
    station: str
    numbers: tuple[int, ...]
    number: int
    supply: Supply
    dc: bool
    online: bool
    running: Running | None
    session: str | None

    @property
    def most_w(self) -> Decimal:
        """The most that it can draw."""
        return self.supply.most_w or Decimal(0)

    @property
    def least_w(self) -> Decimal:
        """The least with which a car charges: 6 A; a DC charger has no such bound."""
        return Decimal(0) if self.dc else min(self.supply.watts(Decimal(LEAST_A)), self.most_w)


def outlet_of(memory: Memory, evse: Evse, *, booting: Container[str]) -> Outlet:
    """Return an EVSE that is bound to a station, as it is now; one that boots is not there."""
    assert evse.binding is not None  # noqa: S101 - the caller looked
    state = memory.stations.get(evse.binding.station)
    numbers = evse_numbers(evse)
    running, session, number = None, None, numbers[0]
    for candidate in numbers if state is not None else ():
        assert state is not None  # noqa: S101 - no numbers otherwise
        found = running_at(state, candidate)
        if found is not None and (running is None or found.began > running.began):
            running, number = found, candidate
            session = state.transactions[found.transaction].id
    return Outlet(
        uid=evse.uid,
        station=evse.binding.station,
        numbers=numbers,
        number=number,
        supply=supply_of(evse.connectors),
        dc=any(c.power_type == "DC" for c in evse.connectors),
        online=state is not None and state.online and evse.binding.station not in booting,
        running=running,
        session=session,
    )


class ShareProfiles:
    """Writes shares in the units and stack levels that stations take."""

    def __init__(self, store: Store, limits: Limits, *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._limits = limits
        self._now = now

    async def share(
        self, location_id: str, outlet: Outlet, number: int, purpose: Purpose, share: Decimal
    ) -> dict[str, Any]:
        """Write a share as a profile of 2.x for one of an EVSE's OCPP numbers."""
        unit = await rate_unit(self._store, outlet.station, dc=outlet.dc)
        periods = scheduled([Step(self._now(), share)], unit=unit, supply=outlet.supply)
        return {
            "id": profile_number(location_id, outlet.uid, purpose, number),
            "stackLevel": await self._level(outlet),
            "chargingProfilePurpose": str(purpose),
            "chargingProfileKind": "Relative",
            "chargingSchedule": {"chargingRateUnit": unit, "chargingSchedulePeriod": periods},
        }

    async def for_transaction(
        self, location_id: str, outlet: Outlet, share: Decimal
    ) -> dict[str, Any]:
        """Write the share as a TxProfile; where a partner limits the transaction further, its word.

        Ours stands above the partner's, so it has to say what both of them say (CP-5).
        """
        made = await self.share(location_id, outlet, outlet.number, Purpose.TX, share)
        others = [
            profile
            for profile in await self._limits.profiles(outlet.station)
            if profile.purpose is Purpose.TX
            and profile.id != made["id"]
            # Lower ones are schedules of cars, made from this share: they follow it.
            and profile.stack_level > 0
            and profile.evse_id in (0, outlet.number)
        ]
        if not others:
            return made
        now = self._now()
        steps = capped(
            composite(
                others, evse_id=outlet.number, start=now, duration=_AHEAD, supply=outlet.supply,
                running=outlet.running,
            ),
            share,
        )  # fmt: skip
        unit = made["chargingSchedule"]["chargingRateUnit"]
        shifted = [Step(now - SLACK, steps[0].limit_w), *_few(steps)[1:]]
        return {
            **made,
            "chargingProfileKind": "Absolute",
            "chargingSchedule": {
                "chargingRateUnit": unit,
                "startSchedule": (now - SLACK).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "chargingSchedulePeriod": scheduled(shifted, unit=unit, supply=outlet.supply),
            },
        }

    async def _level(self, outlet: Outlet) -> int:
        """Return our stack level, or the highest that the station has."""
        most = await _said(self._store, outlet.station, _LEVEL_VARIABLES)
        return min(STACK_LEVEL, int(most)) if most.isdecimal() else STACK_LEVEL


async def rate_unit(store: Store, station: str, *, dc: bool) -> str:
    """Return the unit of limits that a station takes; ampere for AC where it does not say."""
    words = set((await _said(store, station, _UNIT_VARIABLES)).replace(" ", "").split(",")) - {""}
    if words and not words & _AMPERE_WORDS:
        return "W"
    if words and not words & _WATT_WORDS:
        return "A"
    return "W" if dc else "A"


async def _said(store: Store, station: str, names: Iterable[str]) -> str:
    """Return what a station said of itself under the first of these names that it has."""
    for name in names:
        known = await store.document(station, "variable", name)
        for attribute in known.document.get("attributes") or () if known else ():
            if attribute.get("value"):
                return str(attribute["value"])
    return ""


def _few(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return as many steps as any station takes; the last says the least of all it stands for."""
    if len(steps) <= _MOST_PERIODS:
        return steps
    tail = steps[_MOST_PERIODS - 1 :]
    least = min((s.limit_w for s in tail if s.limit_w is not None), default=None)
    return (*steps[: _MOST_PERIODS - 1], Step(tail[0].at, least))


def profile_number(location_id: str, uid: str, purpose: Purpose, number: int) -> int:
    """Return the positive 31-bit number a station knows one of these profiles by."""
    text = f"site {location_id}|{uid}|{purpose}|{number}"
    digest = hashlib.blake2b(text.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % (2**31 - 1) + 1
