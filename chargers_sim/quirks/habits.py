"""Deviations that belong nowhere else: passwords, EVSEs, triggers, patience."""

# ruff: noqa: D102 - each method is a hook that `Deviation` describes

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from chargers_sim.deviation import Deviation
from chargers_sim.line import Address
from chargers_sim.outbox import Payload
from chargers_sim.quirks.catalogue import V2, quirk

if TYPE_CHECKING:
    from chargers_sim.live import Station


@quirk(40, "hex-password")
class HexPassword(Deviation):
    """Takes the password as hexadecimal and sends the bytes it stands for."""

    def address(self, address: Address) -> Address:
        if isinstance(address.password, str):
            try:
                return replace(address, password=bytes.fromhex(address.password))
            except ValueError:
                return replace(address, password=address.password.encode().hex())
        return address


@quirk(41, "sloppy-evse", V2)
class SloppyEvse(Deviation):
    """Repeats the EVSE in every event without connectorId, and replays offline events as live."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        if action == "TransactionEvent":
            first = next(iter(station.model.outlets.values()))
            payload["evse"] = {"id": (payload.get("evse") or {"id": first.evse})["id"]}
            payload.pop("offline", None)
        return payload


@quirk(42, "no-trigger-reason", V2)
class NoTriggerReason(Deviation):
    """Leaves triggerReason out."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station, action
        payload.pop("triggerReason", None)
        return payload


@quirk(43, "drops-when-polled")
class DropsWhenPolled(Deviation):
    """Drops the line when asked more than three times within ten seconds."""

    def __init__(self) -> None:
        self._asked: list[float] = []

    def call(self, station: "Station", action: str, payload: Payload) -> bool:
        del action, payload
        now = asyncio.get_running_loop().time()
        self._asked = [at for at in self._asked if now - at < 10] + [now]
        if len(self._asked) > 3:
            self._asked.clear()
            station.emit("dropped_when_polled")
            station.link.cut()
            return False
        return True


@quirk(44, "careless-events")
class CarelessEvents(Deviation):
    """seqNo 0 for ever, Authorized for remote starts, status of 0, an end without its details."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station
        if action == "TransactionEvent":
            payload["seqNo"] = 0
            if payload.get("triggerReason") == "RemoteStart":
                payload["triggerReason"] = "Authorized"
            if payload["eventType"] == "Ended":
                payload.pop("evse", None)
                payload.pop("meterValue", None)
                payload["transactionInfo"].pop("stoppedReason", None)
        elif action == "StatusNotification" and "evseId" in payload:
            payload["connectorId"] = 0
        return payload
