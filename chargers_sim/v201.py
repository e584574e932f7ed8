"""A station in the words of OCPP 2.0.1."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from chargers_sim.clock import iso
from chargers_sim.errors import SimError
from chargers_sim.happenings import (
    Alarm,
    Charged,
    Happening,
    Metered,
    ReservationEnded,
    StatusChanged,
)
from chargers_sim.meter import Reading
from chargers_sim.outbox import Outgoing, Payload
from chargers_sim.outlet import Outlet, Token
from chargers_sim.peer import Handler
from chargers_sim.profiles import Limit
from chargers_sim.tokens import Verdict
from chargers_sim.v2_commands import Commands2
from chargers_sim.v2_device import Device2
from chargers_sim.v2_iso15118 import Iso15118
from chargers_sim.v2_model import DeviceModel
from chargers_sim.v2_monitors import Monitors
from chargers_sim.v2_network import Networks
from chargers_sim.v2_publish import Publisher
from chargers_sim.v2_security import Security2
from chargers_sim.v2_smart import Smart2
from chargers_sim.v2_words import id_token, meter_value, read_verdict, sampled_value

if TYPE_CHECKING:
    from chargers_sim.live import Station

OCCUPIED = frozenset({"Preparing", "Charging", "SuspendedEV", "SuspendedEVSE", "Finishing"})

# The words of 1.6 that the model speaks, where 2.x has others.
REASONS = {
    "HardReset": "ImmediateReset",
    "SoftReset": "Reboot",
    "UnlockCommand": "Other",
}


class V201:
    """The 2.0.1 side of a station."""

    def __init__(self, station: "Station") -> None:
        self._station = station
        self._told: dict[int, str] = {}
        self.model = DeviceModel(station)
        self.monitors = Monitors(station, self.model)
        self.iso15118 = Iso15118(station, self.model)
        self.networks = Networks(station, self.model)
        self.model.checks["OCPPCommCtrlr", "NetworkConfigurationPriority"] = self.networks.has
        self.handlers: dict[str, Handler] = {
            **self.model.handlers,
            **self.monitors.handlers,
            **Commands2(station, self.model).handlers,
            **Smart2(station, self.iso15118).handlers,
            **Security2(station).handlers,
            **Device2(station).handlers,
            **self.networks.handlers,
        }
        self.publisher: Publisher | None = None
        if station.template.local_controller:
            self.publisher = Publisher(station)
            self.handlers |= self.publisher.handlers

    # Words

    def boot(self) -> Payload:
        """Write the BootNotification."""
        template = self._station.template
        self._told.clear()
        reason = {"HardReset": "RemoteReset", "SoftReset": "ScheduledReset"}
        return {
            "reason": reason.get(self._station.boot_reason, self._station.boot_reason),
            "chargingStation": {
                "vendorName": template.vendor,
                "model": template.model,
                "serialNumber": self._station.serial,
                "firmwareVersion": self._station.firmware,
            },
        }

    def render(self, happening: Happening) -> list[Outgoing]:
        """Put a happening into messages."""
        match happening:
            case StatusChanged(outlet=0):
                # 2.x has no status of the station itself: it is told by the device model.
                return []
            case Alarm():
                self.alarm(happening.name)
                return []
            case StatusChanged():
                return self._status(happening)
            case Metered():
                outlet = self._station.model.outlet(happening.outlet)
                payload = {"evseId": outlet.evse, "meterValue": [self._value(happening.reading)]}
                return [Outgoing(action="MeterValues", payload=payload)]
            case ReservationEnded():
                payload = {
                    "reservationId": happening.number,
                    "reservationUpdateStatus": happening.why,
                }
                return [Outgoing(action="ReservationStatusUpdate", payload=payload)]
            case Charged():
                told = [self._transaction_event(happening)]
                if happening.kind == "Started" and self._station.template.iso15118:
                    outlet = self._station.model.outlet(happening.transaction.outlet)
                    told.append(self.iso15118.needs(outlet))
                return told
        return []

    async def authorize(self, token: Token) -> Verdict:
        """Send Authorize."""
        if token.kind == "eMAID":
            return await self.iso15118.authorize(token)
        answer = await self._station.call("Authorize", {"idToken": id_token(token)})
        return read_verdict(answer["idTokenInfo"])

    async def external_limit(self, source: str, watts: Decimal | None, number: int) -> Payload:
        """Take a limit that is not the server's, or let it go, and tell of it."""
        station = self._station
        payload: Payload = {} if not number else {"evseId": station.model.outlet(number).evse}
        if watts is None:
            station.change_limits(lambda: station.profiles.lift(source, number))
            payload["chargingLimitSource"] = source
            return await station.call("ClearedChargingLimit", payload)
        limit = Limit(start_s=0, value=watts)
        station.change_limits(lambda: station.profiles.hold(source, number, limit))
        period = [{"startPeriod": 0, "limit": float(watts)}]
        schedule = {"id": 1, "chargingRateUnit": "W", "chargingSchedulePeriod": period}
        payload |= {
            "chargingLimit": {"chargingLimitSource": source},
            "chargingSchedule": [schedule],
        }
        return await station.call("NotifyChargingLimit", payload)

    def _status(self, change: StatusChanged) -> list[Outgoing]:
        outlet = self._station.model.outlet(change.outlet)
        status = "Occupied" if change.status in OCCUPIED else change.status
        # Five statuses of 1.6 are one here: a change among them is none.
        if self._told.get(change.outlet) == status and not change.asked:
            return []
        self._told[change.outlet] = status
        if self._station.template.status_by_events:
            return [self._availability_event(change, outlet, status)]
        payload = {
            "timestamp": iso(change.at_ms),
            "connectorStatus": status,
            "evseId": outlet.evse,
            "connectorId": outlet.connector,
        }
        return [Outgoing(action="StatusNotification", payload=payload)]

    def _availability_event(self, change: StatusChanged, outlet: Outlet, status: str) -> Outgoing:
        # The other way to tell a status: an event of the connector's AvailabilityState.
        data = {
            "timestamp": iso(change.at_ms),
            "trigger": "Delta",
            "actualValue": status,
            "eventNotificationType": "HardWiredNotification",
            "component": {
                "name": "Connector",
                "evse": {"id": outlet.evse, "connectorId": outlet.connector},
            },
            "variable": {"name": "AvailabilityState"},
        }
        told = self.monitors.event(data)
        told.keep = False
        return told

    def _value(self, reading: Reading) -> Payload:
        return meter_value(reading, self._station.template.multiplier)

    def alarm(self, name: str) -> None:
        """An instant that this adapter asked to be told of has come."""
        kind, _, number = name.partition(" ")
        if kind == "monitor":
            self.monitors.alarm(int(number))

    def _transaction_event(self, charge: Charged) -> Outgoing:
        station, transaction = self._station, charge.transaction
        outlet = station.model.outlet(transaction.outlet)
        info: Payload = {"transactionId": transaction.ref, "chargingState": charge.state}
        if charge.reason is not None:
            info["stoppedReason"] = REASONS.get(charge.reason, charge.reason)
        remote = charge.trigger == "RemoteStart" or charge.kind == "Started"
        if remote and transaction.remote_start_id is not None:
            info["remoteStartId"] = transaction.remote_start_id
        payload: Payload = {
            "eventType": charge.kind,
            "timestamp": iso(charge.at_ms),
            "triggerReason": charge.trigger,
            "seqNo": charge.seq,
            "transactionInfo": info,
            "evse": {"id": outlet.evse, "connectorId": outlet.connector},
        }
        if not station.is_online:
            payload["offline"] = True
        if charge.token is not None:
            payload["idToken"] = id_token(charge.token)
        if charge.kind == "Started" and transaction.reservation_id is not None:
            payload["reservationId"] = transaction.reservation_id
        readings = transaction.history if charge.kind == "Ended" else [charge.reading]
        if values := [self._value(r) for r in readings if r is not None and r.samples]:
            payload["meterValue"] = values
        journal = None
        if charge.kind != "Updated":
            journal = station.journal.invoke(
                station.identity,
                f"TransactionEvent.{charge.kind}",
                iso(station.now),
                ref=transaction.ref,
                meter_wh=str(transaction.meter_stop_wh or transaction.meter_start_wh),
            )
        return Outgoing(
            action="TransactionEvent",
            payload=payload,
            keep=True,
            transaction=transaction,
            on_answer=self._answered(charge),
            on_failure=self._gave_up(charge.kind),
            journal=journal,
        )

    def _answered(self, charge: Charged) -> Any:
        station, transaction = self._station, charge.transaction
        tag = None if transaction.token is None else transaction.token.value
        facts: Payload = {"transactionId": transaction.ref, "connector": transaction.outlet}

        def started(verdict: Verdict | None) -> None:
            station.emit(
                "transaction_started",
                **facts,
                id_tag=tag,
                meter_wh=str(transaction.meter_start_wh),
                status=None if verdict is None else verdict.status,
                started_at=iso(transaction.started_ms),
            )

        def ended() -> None:
            stop_wh = transaction.meter_stop_wh or Decimal(0)
            station.emit(
                "transaction_ended",
                **facts,
                meter_start_wh=str(transaction.meter_start_wh),
                meter_wh=str(stop_wh),
                energy_wh=str(stop_wh - transaction.meter_start_wh),
                reason=charge.reason,
                started_at=iso(transaction.started_ms),
                ended_at=iso(charge.at_ms),
            )

        def answered(answer: Payload) -> None:
            info = answer.get("idTokenInfo")
            verdict = None if info is None else read_verdict(info)
            if verdict is not None and charge.token is not None:
                station.tokens.learn(charge.token.value, verdict, station.now)
            if charge.kind == "Started":
                started(verdict)
            elif charge.kind == "Ended":
                ended()
            elif charge.reading is not None and not station.link.settings.lean:
                values = [sampled_value(s, charge.reading.context) for s in charge.reading.samples]
                station.emit("metered", **facts, values=values)
            if (cost := answer.get("totalCost")) is not None:
                station.emit("cost", **facts, total_cost=cost)
            if verdict is not None and not verdict.accepted and charge.kind != "Ended":
                station.admission.deauthorize(transaction, verdict.status)

        return answered

    def _gave_up(self, kind: str) -> Any:
        def tell(problem: SimError) -> None:
            self._station.emit("gave_up", action=f"TransactionEvent.{kind}", detail=str(problem))

        return tell

    # Configuration

    def observe(self) -> None:
        """Look at what is watched, after something may have changed."""
        if self.monitors.all:
            self.monitors.observe()

    def booted(self, interval: int) -> None:
        """Note the heartbeat interval of a BootNotification's answer."""
        self.model.variables.set("OCPPCommCtrlr", "HeartbeatInterval", str(interval))

    def configure(self, name: str, value: str) -> None:
        """Change Component.Variable at the station itself, read-only ones too."""
        self.model.configure(name, value)

    def dump(self) -> dict[str, Any]:
        """Write the variables down."""
        return self.model.dump()

    def load(self, kept: dict[str, Any]) -> None:
        """Read the variables back."""
        self.model.load(kept)
