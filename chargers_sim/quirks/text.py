"""Deviations of the text: JSON, schemas, times, numbers."""

# ruff: noqa: D102 - each method is a hook that `Deviation` describes

import re
from typing import TYPE_CHECKING

from chargers_sim.deviation import Deviation
from chargers_sim.outbox import Payload
from chargers_sim.quirks.catalogue import V16, quirk

if TYPE_CHECKING:
    from chargers_sim.live import Station


@quirk(16, "broken-json")
class BrokenJson(Deviation):
    """Now and then sends JSON with a value missing."""

    _count = 0

    def text(self, text: str) -> str:
        self._count += 1
        if self._count % 4 == 0 and text.startswith("[2") and "BootNotification" not in text:
            return re.sub(r'":(\d+|"[^"]*")', '":', text, count=1)
        return text


@quirk(17, "schema-deviations")
class SchemaDeviations(Deviation):
    """Too long serials, unknown measurands, the unit Hz, numbers as strings, extra fields."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station
        if action == "BootNotification":
            inner = payload.get("chargingStation", payload)
            key = "serialNumber" if "chargingStation" in payload else "chargePointSerialNumber"
            inner[key] = "SN-" + "0123456789" * 6
        elif action == "StatusNotification":
            payload["vendorStatus"] = "green"
            if "connectorId" in payload and "evseId" not in payload:
                payload["connectorId"] = str(payload["connectorId"])
        for values in payload.get("meterValue", []):
            values["sampledValue"] += [
                {"value": "50", "measurand": "Frequency", "unit": "Hz"},
                {"value": "1", "measurand": "Grid.Mood"},
            ]
        return payload


@quirk(18, "odd-timestamps")
class OddTimestamps(Deviation):
    """Writes times without a zone, with +02, or from 1970."""

    _count = 0

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station
        if "timestamp" in payload:
            self._count += 1
            at = str(payload["timestamp"]).removesuffix("Z")
            if action == "StatusNotification" and self._count % 3 == 0:
                payload["timestamp"] = "1970-01-01T00:01:00Z"
            else:
                payload["timestamp"] = at if self._count % 2 else f"{at}+00"
        return payload


@quirk(19, "reads-only-z-times")
class ReadsOnlyZTimes(Deviation):
    """Cannot read +00:00 or microseconds in a time of the server: restarts over it."""

    def received(self, station: "Station", text: str) -> None:
        for at in re.findall(r'"(\d{4}-\d\d-\d\dT[^"]*)"', text):
            if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z", at):
                station.emit("unreadable_time", text=at)
                station.link.cut()
                return


@quirk(20, "fractional-registers", V16)
class FractionalRegisters(Deviation):
    """Sends meterStart and meterStop with decimals."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station, action
        for name in ("meterStart", "meterStop"):
            if name in payload:
                payload[name] = payload[name] + 0.5
        return payload
