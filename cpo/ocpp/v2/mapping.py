"""OCPP 2.0.1 and 2.1 payloads to neutral events, and neutral answers to payloads. Pure."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from cpo.domain.events import (
    Availability,
    Boot,
    ChargingState,
    EventKind,
    IdToken,
    MeterReport,
    Sample,
    SignedReading,
    StatusReport,
    TransactionEvent,
)
from cpo.domain.metering import ENERGY_REGISTER, RawValues, samples_at
from cpo.ocpp.values import read_instant, read_told, write_instant
from cpo.services.intake import BootAnswer, TokenAnswer

AVAILABILITY: Final = {
    "Available": Availability.AVAILABLE,
    "Occupied": Availability.OCCUPIED,
    "Reserved": Availability.RESERVED,
    "Unavailable": Availability.UNAVAILABLE,
    "Faulted": Availability.FAULTED,
}
CHARGING_STATES: Final = {state.value: state for state in ChargingState}
EVENT_KINDS: Final = {kind.value: kind for kind in EventKind}
_SIGNED_NATURE: Final = {"Transaction.Begin": "Start", "Transaction.End": "End"}
_AVAILABILITY_COMPONENTS: Final = frozenset({"Connector", "EVSE", "ChargingStation"})
_MAX_ID_TOKEN: Final = 36
_MAX_MESSAGE: Final = 512


def boot(payload: dict[str, Any]) -> Boot:
    """Read a BootNotificationRequest."""
    station = payload["chargingStation"]
    modem = station.get("modem") or {}
    return Boot(
        vendor=station["vendorName"],
        model=station["model"],
        serial_number=station.get("serialNumber"),
        firmware_version=station.get("firmwareVersion"),
        iccid=modem.get("iccid"),
        imsi=modem.get("imsi"),
        reason=payload.get("reason"),
    )


def boot_answer(answer: BootAnswer) -> dict[str, Any]:
    """Write a BootNotificationResponse."""
    return {
        "status": answer.status,
        "currentTime": write_instant(answer.now),
        "interval": answer.interval,
    }


def status_report(payload: dict[str, Any], received_at: datetime) -> StatusReport:
    """Read a StatusNotificationRequest; evse 0, connector 0 is the station itself (ST-04)."""
    return StatusReport(
        evse_id=payload["evseId"],
        connector_id=payload["connectorId"],
        availability=AVAILABILITY.get(payload["connectorStatus"], Availability.UNKNOWN),
        at=read_instant(payload.get("timestamp"), received_at),
        received_at=received_at,
    )


def status_reports(payload: dict[str, Any], received_at: datetime) -> list[StatusReport]:
    """Read the availability out of a NotifyEventRequest (ST-03): the newer way to say it."""
    reports = []
    for event in payload["eventData"]:
        component = event["component"]
        if (
            event["variable"]["name"] != "AvailabilityState"
            or component["name"] not in _AVAILABILITY_COMPONENTS
        ):
            continue
        evse = component.get("evse") or {}
        evse_id = evse.get("id", 0)
        reports.append(
            StatusReport(
                evse_id=evse_id,
                connector_id=evse.get("connectorId", 1 if evse_id else 0),
                availability=AVAILABILITY.get(event["actualValue"], Availability.UNKNOWN),
                at=read_instant(event.get("timestamp"), received_at),
                received_at=received_at,
                info=event.get("techInfo"),
                vendor_error_code=event.get("techCode"),
            )
        )
    return reports


def id_token(token: dict[str, Any] | None) -> IdToken | None:
    """Read an IdTokenType; NoAuthorization identifies nobody (AU-09)."""
    if not token or token.get("type") == "NoAuthorization":
        return None
    return IdToken(token["idToken"], token.get("type", ""))


def id_token_info(answer: TokenAnswer) -> dict[str, Any]:
    """Write an IdTokenInfoType."""
    info: dict[str, Any] = {"status": answer.verdict.value}
    if answer.group is not None and len(answer.group) <= _MAX_ID_TOKEN:
        info["groupIdToken"] = {"idToken": answer.group, "type": "Central"}
    if answer.expires_at is not None:
        info["cacheExpiryDateTime"] = write_instant(answer.expires_at)
    if answer.message:
        info["personalMessage"] = {"format": "UTF8", "content": answer.message[:_MAX_MESSAGE]}
    return info


def transaction_event(payload: dict[str, Any], received_at: datetime) -> TransactionEvent:
    """Read a TransactionEventRequest."""
    info = payload["transactionInfo"]
    evse = payload.get("evse") or {}
    kind = EVENT_KINDS[payload["eventType"]]
    reason = info.get("stoppedReason")
    if reason is None and kind is EventKind.ENDED:
        reason = "Local"  # what the absence means (TX20-15)
    readings = payload.get("meterValue")
    return TransactionEvent(
        kind=kind,
        at=read_told(payload.get("timestamp"), received_at),
        received_at=received_at,
        transaction=info["transactionId"],
        seq=payload.get("seqNo", 0),
        evse_id=evse.get("id"),
        connector_id=evse.get("connectorId"),
        id_token=id_token(payload.get("idToken")),
        samples=samples(readings, received_at) if readings else (),
        charging_state=CHARGING_STATES.get(info.get("chargingState", "")),
        trigger=payload.get("triggerReason"),
        stopped_reason=reason,
        offline=payload.get("offline", False),
        remote_start_id=info.get("remoteStartId"),
        reservation_id=payload.get("reservationId"),
    )


def meter_report(payload: dict[str, Any], received_at: datetime) -> MeterReport:
    """Read a MeterValuesRequest."""
    return MeterReport(
        evse_id=payload["evseId"],
        samples=samples(payload.get("meterValue") or (), received_at),
        received_at=received_at,
    )


def samples(meter_values: Any, received_at: datetime) -> tuple[Sample, ...]:
    """Read a list of MeterValueType; one sample per instant and reading context."""
    told: list[tuple[datetime, list[RawValues]]] = []
    for meter_value in meter_values:
        at = read_instant(meter_value.get("timestamp"), received_at)
        values: list[RawValues] = []
        for sampled in meter_value.get("sampledValue") or ():
            get = sampled.get
            value = get("value")
            if value is None:
                continue
            unit = get("unitOfMeasure")
            signed = get("signedMeterValue")
            context = get("context", "Sample.Periodic")
            values.append(
                (
                    value,
                    get("measurand", ENERGY_REGISTER),
                    unit.get("unit") if unit else None,
                    unit.get("multiplier", 0) if unit else 0,
                    get("phase"),
                    get("location", "Outlet"),
                    context,
                    _signed(signed, context, at) if signed else None,
                )
            )
        told.append((at, values))
    return samples_at(told)


def _signed(signed: dict[str, Any], context: str, at: datetime) -> SignedReading:
    return SignedReading(
        nature=_SIGNED_NATURE.get(context, "Intermediate"),
        data=signed["signedMeterData"],
        method=signed.get("encodingMethod"),
        public_key=signed.get("publicKey") or None,
        at=at,
    )


def total_cost(cost: Decimal) -> Decimal:
    """Write a cost with the decimals that a display shows."""
    return cost.quantize(Decimal("0.01"))


def reported_variable(item: dict[str, Any]) -> dict[str, Any]:
    """Read a ReportDataType."""
    return {
        "component": item["component"],
        "variable": item["variable"],
        "attributes": item["variableAttribute"],
        "characteristics": item.get("variableCharacteristics"),
    }
