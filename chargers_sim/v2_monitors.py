"""Monitors of OCPP 2.x: thresholds, deltas and periods on variables, told by NotifyEvent."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from chargers_sim.clock import iso
from chargers_sim.outbox import Outgoing, Payload
from chargers_sim.peer import Handler
from chargers_sim.v2_model import DeviceModel, named
from chargers_sim.variables import Variable

if TYPE_CHECKING:
    from chargers_sim.live import Station

THRESHOLDS = frozenset({"UpperThreshold", "LowerThreshold"})
PERIODS = frozenset({"Periodic", "PeriodicClockAligned"})
KNOWN = THRESHOLDS | PERIODS | {"Delta"}
CRITERIA = {
    "ThresholdMonitoring": THRESHOLDS,
    "DeltaMonitoring": frozenset({"Delta"}),
    "PeriodicMonitoring": PERIODS,
}
REPORT_PART = 20


@dataclass(slots=True, kw_only=True)
class Monitor:
    """One monitor; `exceeded` and `last` are what it has told."""

    number: int
    variable: Variable
    kind: str
    value: Decimal
    severity: int
    transaction: bool = False
    origin: str = "CustomMonitor"
    exceeded: bool = False
    last: str | None = field(default=None)

    def exceeds(self, value: Decimal) -> bool:
        """Say whether a value is beyond the threshold."""
        return value > self.value if self.kind == "UpperThreshold" else value < self.value


class Monitors:
    """The monitors of one station."""

    def __init__(self, station: "Station", model: DeviceModel) -> None:
        self._station = station
        self._model = model
        self._level = 9
        self._events = 0
        self.all: dict[int, Monitor] = {}
        self.on_period: Callable[[int, str], bool] | None = None
        self._from_factory()
        self.handlers: dict[str, Handler] = {
            "ClearVariableMonitoring": self._clear,
            "GetMonitoringReport": self._get_report,
            "SetMonitoringBase": self._set_base,
            "SetMonitoringLevel": self._set_level,
            "SetVariableMonitoring": self._set,
        }

    def observe(self) -> None:
        """Look at all variables that are watched and tell what became of them."""
        if not self._model.on("MonitoringCtrlr", "Enabled"):
            return
        for monitor in self.all.values():
            if monitor.kind not in PERIODS and self._applies(monitor):
                self._look(monitor)

    def alarm(self, number: int) -> None:
        """The period of a monitor is over."""
        monitor = self.all.get(number)
        if monitor is None:
            return
        self._arm(monitor)
        if not self._applies(monitor) or not self._model.on("MonitoringCtrlr", "Enabled"):
            return
        value = self._model.present(monitor.variable)
        if self.on_period is None or not self.on_period(number, value):
            self._tell(monitor, value, "Periodic")

    def event(self, data: Payload, severity: int = 0) -> Outgoing:
        """Make a NotifyEvent of one event; its id and time are added."""
        self._events += 1
        told = {"eventId": self._events, "timestamp": iso(self._station.now), **data}
        queued = self._model.number("MonitoringCtrlr", "OfflineQueuingSeverity")
        payload = {"generatedAt": iso(self._station.now), "seqNo": 0, "eventData": [told]}
        return Outgoing(action="NotifyEvent", payload=payload, keep=severity <= queued)

    def _applies(self, monitor: Monitor) -> bool:
        return not monitor.transaction or self._transaction(monitor) is not None

    def _transaction(self, monitor: Monitor) -> str | None:
        evse, model = monitor.variable.evse, self._station.model
        for transaction in model.transactions():
            if evse is None or model.outlet(transaction.outlet).evse == evse:
                return transaction.ref
        return None

    def _look(self, monitor: Monitor) -> None:
        text = self._model.present(monitor.variable)
        if monitor.kind == "Delta":
            before, monitor.last = monitor.last, monitor.last or text
            if before is not None and _moved(before, text, monitor.value):
                monitor.last = text
                self._tell(monitor, text, "Delta")
            return
        value = _number(text)
        if value is None or monitor.exceeds(value) == monitor.exceeded:
            return
        monitor.exceeded = not monitor.exceeded
        self._tell(monitor, text, "Alerting", cleared=not monitor.exceeded)

    def _tell(self, monitor: Monitor, value: str, trigger: str, *, cleared: bool = False) -> None:
        if monitor.severity > self._level:
            return
        data: Payload = {
            "trigger": trigger,
            "actualValue": value,
            "variableMonitoringId": monitor.number,
            "eventNotificationType": monitor.origin,
            **monitor.variable.place(),
        }
        if monitor.kind in THRESHOLDS:
            data["cleared"] = cleared
        if (ref := self._transaction(monitor)) is not None:
            data["transactionId"] = ref
        if self._station.version != "2.0.1":
            data["severity"] = monitor.severity
        self._station.send(self.event(data, monitor.severity))
        self._station.emit(
            "monitor", id=monitor.number, trigger=trigger, value=value, cleared=cleared
        )

    def _arm(self, monitor: Monitor) -> None:
        if monitor.kind not in PERIODS:
            return
        step, now_ms = int(monitor.value * 1000), self._station.now
        aligned = monitor.kind == "PeriodicClockAligned"
        due_ms = (now_ms // step + 1) * step if aligned else now_ms + step
        self._station.model.alarms[f"monitor {monitor.number}"] = due_ms

    def _from_factory(self) -> None:
        """Watch the temperature, as a station does when it comes from its maker."""
        for variable in self._model.variables:
            if (variable.component, variable.name) == ("ExternalTemperatureSensor", "Temperature"):
                self.all[1] = Monitor(
                    number=1,
                    variable=variable,
                    kind="UpperThreshold",
                    value=Decimal(80),
                    severity=2,
                    origin="PreconfiguredMonitor",
                )

    # Asked by the server

    def _set(self, request: Payload) -> Payload:
        results = [self._set_one(asked) for asked in request["setMonitoringData"]]
        self._station.emit("command", action="SetVariableMonitoring", request=request)
        self._station.later(self._start())
        return {"setMonitoringResult": results}

    async def _start(self) -> None:
        self._station.dispatch()

    def _set_one(self, asked: Payload) -> Payload:
        result: Payload = {
            "type": asked["type"],
            "severity": asked["severity"],
            "component": asked["component"],
            "variable": asked["variable"],
        }
        found = self._model.variables.find(asked)
        if isinstance(found, str):
            return {**result, "status": found}
        status = self._verdict(asked, found)
        if status != "Accepted":
            return {**result, "status": status}
        number = asked.get("id") or max(self.all, default=0) + 1
        monitor = Monitor(
            number=number,
            variable=found,
            kind=asked["type"],
            value=Decimal(str(asked["value"])),
            severity=asked["severity"],
            transaction=asked.get("transaction", False),
        )
        self.all[number] = monitor
        if monitor.kind == "Delta":
            monitor.last = self._model.present(found)
        self._arm(monitor)
        return {**result, "status": "Accepted", "id": number}

    def _verdict(self, asked: Payload, found: Variable) -> str:
        kind, numeric = asked["type"], found.kind in {"integer", "decimal"}
        if kind not in KNOWN or (kind in THRESHOLDS and not numeric):
            return "UnsupportedMonitorType"
        if "id" in asked and asked["id"] not in self.all:
            return "Rejected"
        if not found.monitored or not 0 <= asked["severity"] <= 9:
            return "Rejected"
        if (kind in PERIODS or (kind == "Delta" and numeric)) and asked["value"] <= 0:
            return "Rejected"
        same = (kind, asked["severity"])
        for other in self.all.values():
            if (
                other.variable is found
                and (other.kind, other.severity) == same
                and other.number != asked.get("id")
            ):
                return "Duplicate"
        return "Accepted"

    def _clear(self, request: Payload) -> Payload:
        results = [{"id": n, "status": self._forget(n)} for n in request["id"]]
        self._station.emit("command", action="ClearVariableMonitoring", request=request)
        return {"clearMonitoringResult": results}

    def _forget(self, number: int) -> str:
        if self.all.pop(number, None) is None:
            return "NotFound"
        self._station.model.alarms.pop(f"monitor {number}", None)
        return "Accepted"

    def _get_report(self, request: Payload) -> Payload:
        kinds = [CRITERIA[c] for c in request.get("monitoringCriteria") or CRITERIA]
        wanted = request.get("componentVariable")
        found = [
            m
            for m in self.all.values()
            if any(m.kind in kind for kind in kinds)
            and (not wanted or any(named(w, m.variable) for w in wanted))
        ]
        if not found:
            return self._station.answer("GetMonitoringReport", request, "EmptyResultSet")
        parts = [found[i : i + REPORT_PART] for i in range(0, len(found), REPORT_PART)]
        for seq, part in enumerate(parts):
            payload = {
                "requestId": request["requestId"],
                "seqNo": seq,
                "tbc": seq < len(parts) - 1,
                "generatedAt": iso(self._station.now),
                "monitor": [self._report_line(m) for m in part],
            }
            self._station.send(Outgoing(action="NotifyMonitoringReport", payload=payload))
        return self._station.answer("GetMonitoringReport", request, "Accepted")

    def _report_line(self, monitor: Monitor) -> Payload:
        line: Payload = {
            "id": monitor.number,
            "transaction": monitor.transaction,
            "value": float(monitor.value),
            "type": monitor.kind,
            "severity": monitor.severity,
        }
        if self._station.version != "2.0.1":
            line["eventNotificationType"] = monitor.origin
        return {**monitor.variable.place(), "variableMonitoring": [line]}

    def _set_base(self, request: Payload) -> Payload:
        base = request["monitoringBase"]
        kept = {"All": {"CustomMonitor"}}.get(base, set())
        for number in [n for n, m in self.all.items() if m.origin not in kept]:
            self._forget(number)
        if base != "HardWiredOnly" and 1 not in self.all:
            self._from_factory()
        return self._station.answer("SetMonitoringBase", request, "Accepted")

    def _set_level(self, request: Payload) -> Payload:
        good = 0 <= request["severity"] <= 9
        if good:
            self._level = request["severity"]
        return self._station.answer(
            "SetMonitoringLevel", request, "Accepted" if good else "Rejected"
        )


def _number(text: Any) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def _moved(before: str, now: str, delta: Decimal) -> bool:
    left, right = _number(before), _number(now)
    if left is None or right is None:
        return before != now
    return abs(left - right) >= delta
