"""Deviations of the meter: units, registers, phases."""

# ruff: noqa: D102 - each method is a hook that `Deviation` describes

from typing import TYPE_CHECKING

from chargers_sim.deviation import Deviation
from chargers_sim.outbox import Payload
from chargers_sim.quirks.catalogue import quirk
from chargers_sim.quirks.samples import energy, put

if TYPE_CHECKING:
    from chargers_sim.live import Station


@quirk(34, "kwh-as-wh")
class KwhAsWh(Deviation):
    """Writes kWh and labels them Wh."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station, action
        for sample in energy(payload):
            put(sample, round(float(sample["value"]) / 1000, 3))
        return payload


@quirk(35, "session-relative-samples")
class SessionRelativeSamples(Deviation):
    """Keeps the lifetime register at both ends, but samples count from the session's start."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        middle = action == "MeterValues" or payload.get("eventType") == "Updated"
        if middle:
            running = next(iter(station.model.transactions()), None)
            start = 0 if running is None else running.meter_start_wh
            for sample in energy(payload):
                put(sample, float(sample["value"]) - float(start))
        return payload


@quirk(36, "zero-at-begin")
class ZeroAtBegin(Deviation):
    """Gives 0 as the first reading of a transaction, a placeholder."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station
        if "meterStart" in payload:
            payload["meterStart"] = 0
        if payload.get("eventType") == "Started" or action == "StopTransaction":
            for values in [*payload.get("meterValue", []), *payload.get("transactionData", [])]:
                for sample in energy({"meterValue": [values]}):
                    if sample.get("context") == "Transaction.Begin":
                        put(sample, 0)
        return payload


@quirk(37, "stop-below-start")
class StopBelowStart(Deviation):
    """Gives a final reading below the first one."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station
        if action == "StopTransaction":
            payload["meterStop"] = -5
        if action == "StopTransaction" or payload.get("eventType") == "Ended":
            for sample in energy(payload):
                put(sample, -5)
        return payload


@quirk(38, "frozen-register")
class FrozenRegister(Deviation):
    """The register stands still, then falls to zero during a session."""

    _count = 0

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station
        if action == "MeterValues" or payload.get("eventType") == "Updated":
            for sample in energy(payload):
                self._count += 1
                put(sample, 1000 if self._count % 4 else 0)
        return payload


@quirk(39, "odd-phases")
class OddPhases(Deviation):
    """Labels currents L1-N and leaves the totals out."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station, action
        for values in payload.get("meterValue", []):
            for sample in values["sampledValue"]:
                if sample.get("measurand") == "Current.Import" and "phase" in sample:
                    sample["phase"] = f"{sample['phase'].removesuffix('-N')}-N"
            values["sampledValue"] = [
                s for s in values["sampledValue"] if s.get("measurand") != "Power.Active.Import"
            ] or values["sampledValue"]
        return payload
