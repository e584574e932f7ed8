"""Deviations at boot: loops, lost configuration, no boot at all."""

# ruff: noqa: D102 - each method is a hook that `Deviation` describes

import asyncio
from typing import TYPE_CHECKING, ClassVar

from chargers_sim.deviation import Deviation
from chargers_sim.outbox import Payload
from chargers_sim.quirks.catalogue import quirk

if TYPE_CHECKING:
    from chargers_sim.live import Station


@quirk(11, "boot-loop")
class BootLoop(Deviation):
    """Starts over when a CALL comes within a second of its boot."""

    def __init__(self) -> None:
        self._quiet_until = 0.0
        self._loops = 0

    def online(self, station: "Station", times: int) -> None:
        del station, times
        self._quiet_until = asyncio.get_running_loop().time() + 0.8

    def call(self, station: "Station", action: str, payload: Payload) -> bool:
        del action, payload
        early = asyncio.get_running_loop().time() < self._quiet_until
        if (early or not station.is_online) and self._loops < 5:
            self._loops += 1
            station.emit("boot_loop", times=self._loops)
            station.later(station.reboot("HardReset"))
            return False
        return True


@quirk(12, "forgets-configuration")
class ForgetsConfiguration(Deviation):
    """Loses its configuration at every reboot."""

    def online(self, station: "Station", times: int) -> None:
        if times > 1:
            station.factory_settings()


@quirk(13, "no-boot")
class NoBoot(Deviation):
    """Sends no BootNotification, not even at the first connection."""

    def boots(self) -> bool:
        return False


@quirk(14, "trigger-boot-reboots")
class TriggerBootReboots(Deviation):
    """Really restarts on TriggerMessage(BootNotification)."""

    def call(self, station: "Station", action: str, payload: Payload) -> bool:
        if action == "TriggerMessage" and payload.get("requestedMessage") == "BootNotification":
            station.later(station.reboot("HardReset"))
        return True


@quirk(15, "status-while-pending")
class StatusWhilePending(Deviation):
    """Sends StatusNotification before its boot is accepted."""

    impatient: ClassVar[bool] = True
