"""A station in the words of OCPP 1.6 with the security extension."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from chargers_sim.clock import iso
from chargers_sim.errors import SimError
from chargers_sim.happenings import Charged, Happening, Metered, StatusChanged
from chargers_sim.meter import Reading
from chargers_sim.outbox import Outgoing, Payload
from chargers_sim.outlet import Token, Transaction
from chargers_sim.peer import Handler
from chargers_sim.tokens import Verdict
from chargers_sim.v16_commands import Commands16
from chargers_sim.v16_keys import Keys16
from chargers_sim.v16_security import Security16
from chargers_sim.v16_smart import Smart16
from chargers_sim.v16_words import meter_value, read_verdict, reason_word, transaction_number

if TYPE_CHECKING:
    from chargers_sim.live import Station


class V16:
    """The 1.6 side of a station."""

    def __init__(self, station: "Station") -> None:
        self._station = station
        self._keys = Keys16(station)
        self.handlers: dict[str, Handler] = {
            **self._keys.handlers,
            **Commands16(station, self._keys).handlers,
            **Smart16(station).handlers,
            **Security16(station).handlers,
        }

    # Words

    def boot(self) -> Payload:
        """Write the BootNotification."""
        template = self._station.template
        return {
            "chargePointVendor": template.vendor,
            "chargePointModel": template.model,
            "chargePointSerialNumber": self._station.serial,
            "firmwareVersion": self._station.firmware,
            "meterSerialNumber": f"{self._station.serial}-M1",
        }

    def render(self, happening: Happening) -> list[Outgoing]:
        """Put a happening into 1.6 messages."""
        match happening:
            case StatusChanged():
                return [self._status(happening)]
            case Metered():
                payload = {
                    "connectorId": happening.outlet,
                    "meterValue": [meter_value(happening.reading)],
                }
                return [Outgoing(action="MeterValues", payload=payload)]
            case Charged(kind="Started"):
                return [self._start(happening)]
            case Charged(kind="Ended"):
                return [self._stop(happening)]
            case Charged(reading=Reading()):
                return [self._meter_values(happening)]
        return []

    async def authorize(self, token: Token) -> Verdict:
        """Send Authorize."""
        answer = await self._station.call("Authorize", {"idTag": token.value})
        return read_verdict(answer["idTagInfo"])

    def _status(self, change: StatusChanged) -> Outgoing:
        payload = {
            "connectorId": change.outlet,
            "errorCode": change.error,
            "status": change.status,
            "timestamp": iso(change.at_ms),
        }
        return Outgoing(action="StatusNotification", payload=payload)

    def _start(self, charge: Charged) -> Outgoing:
        transaction, station = charge.transaction, self._station
        tag = "" if transaction.token is None else transaction.token.value
        payload: Payload = {
            "connectorId": transaction.outlet,
            "idTag": tag,
            "meterStart": int(transaction.meter_start_wh),
            "timestamp": iso(charge.at_ms),
        }
        if transaction.reservation_id is not None:
            payload["reservationId"] = transaction.reservation_id

        def answered(answer: Payload) -> None:
            transaction.number = int(answer["transactionId"])
            verdict = read_verdict(answer["idTagInfo"])
            station.tokens.learn(tag, verdict, station.now)
            station.emit(
                "transaction_started",
                transactionId=transaction.number,
                connector=transaction.outlet,
                id_tag=tag,
                meter_wh=str(transaction.meter_start_wh),
                status=verdict.status,
                started_at=iso(transaction.started_ms),
            )
            if not verdict.accepted:
                station.admission.deauthorize(transaction, verdict.status)

        return Outgoing(
            action="StartTransaction",
            payload=payload,
            keep=True,
            transaction=transaction,
            on_answer=answered,
            on_failure=self._gave_up("StartTransaction"),
            journal=self._journal("StartTransaction", transaction, payload),
        )

    def _meter_values(self, charge: Charged) -> Outgoing:
        transaction = charge.transaction
        assert charge.reading is not None  # noqa: S101 - render matched it
        values = [meter_value(charge.reading)]

        def payload() -> Payload:
            return {
                "connectorId": transaction.outlet,
                "transactionId": transaction_number(transaction),
                "meterValue": values,
            }

        def answered(_: Payload) -> None:
            self._station.emit(
                "metered",
                transactionId=transaction.number,
                connector=transaction.outlet,
                values=values[0]["sampledValue"],
            )

        return Outgoing(
            action="MeterValues",
            payload=payload,
            keep=True,
            transaction=transaction,
            on_answer=None if self._station.link.settings.lean else answered,
        )

    def _stop(self, charge: Charged) -> Outgoing:
        transaction, station = charge.transaction, self._station
        stop_wh = transaction.meter_stop_wh or Decimal(0)

        def payload() -> Payload:
            stop: Payload = {
                "transactionId": transaction_number(transaction),
                "meterStop": int(stop_wh),
                "timestamp": iso(charge.at_ms),
                "reason": reason_word(charge.reason),
            }
            if charge.token is not None:
                stop["idTag"] = charge.token.value
            if data := [meter_value(r) for r in transaction.history if r.samples]:
                stop["transactionData"] = data
            return stop

        def answered(_: Payload) -> None:
            station.emit(
                "transaction_ended",
                transactionId=transaction.number,
                connector=transaction.outlet,
                meter_start_wh=str(transaction.meter_start_wh),
                meter_wh=str(stop_wh),
                energy_wh=str(stop_wh - transaction.meter_start_wh),
                reason=charge.reason,
                started_at=iso(transaction.started_ms),
                ended_at=iso(charge.at_ms),
            )

        return Outgoing(
            action="StopTransaction",
            payload=payload,
            keep=True,
            transaction=transaction,
            on_answer=answered,
            on_failure=self._gave_up("StopTransaction"),
            journal=self._journal("StopTransaction", transaction, {"meterStop": int(stop_wh)}),
        )

    def _journal(self, action: str, transaction: Transaction, facts: Payload) -> Payload:
        station = self._station
        return station.journal.invoke(
            station.identity, action, iso(station.now), ref=transaction.ref, **facts
        )

    def _gave_up(self, action: str) -> Any:
        def tell(problem: SimError) -> None:
            self._station.emit("gave_up", action=action, detail=str(problem))

        return tell

    # Configuration

    def observe(self) -> None:
        """Do nothing: 1.6 watches nothing."""

    def booted(self, interval: int) -> None:
        """Note the heartbeat interval of a BootNotification's answer."""
        self._keys.booted(interval)

    def configure(self, name: str, value: str) -> None:
        """Change a key at the station itself, read-only ones too."""
        self._keys.configure(name, value)

    def dump(self) -> dict[str, Any]:
        """Write the keys down."""
        return self._keys.dump()

    def load(self, kept: dict[str, Any]) -> None:
        """Read the keys back."""
        self._keys.load(kept)
