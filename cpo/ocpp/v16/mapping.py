"""OCPP 1.6 payloads to neutral events, and neutral answers to 1.6 payloads. Pure."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from cpo.domain.events import (
    Availability,
    Boot,
    EventKind,
    IdToken,
    MeterReport,
    Sample,
    SignedReading,
    StatusReport,
    TransactionEvent,
)
from cpo.domain.metering import ENERGY_REGISTER, RawValues, samples_at
from cpo.domain.tokens import Verdict, alias_of
from cpo.ocpp.values import read_instant, read_told, write_instant
from cpo.services.intake import BootAnswer, TokenAnswer

AVAILABILITY: Final = {
    "Available": Availability.AVAILABLE,
    "Preparing": Availability.OCCUPIED,
    "Charging": Availability.OCCUPIED,
    "SuspendedEV": Availability.OCCUPIED,
    "SuspendedEVSE": Availability.OCCUPIED,
    "Finishing": Availability.OCCUPIED,
    "Reserved": Availability.RESERVED,
    "Unavailable": Availability.UNAVAILABLE,
    "Faulted": Availability.FAULTED,
}
_ACTIVITIES: Final = frozenset(
    {"Preparing", "Charging", "SuspendedEV", "SuspendedEVSE", "Finishing"}
)

# 1.6 knows fewer reasons to refuse than the newer versions.
ID_TAG_STATUS: Final = {
    Verdict.ACCEPTED: "Accepted",
    Verdict.BLOCKED: "Blocked",
    Verdict.EXPIRED: "Expired",
    Verdict.INVALID: "Invalid",
    Verdict.CONCURRENT: "ConcurrentTx",
    Verdict.NO_CREDIT: "Blocked",
    Verdict.NOT_ALLOWED_HERE: "Invalid",
    Verdict.UNKNOWN: "Invalid",
}
_SIGNED_NATURE: Final = {"Transaction.Begin": "Start", "Transaction.End": "End"}


def boot(payload: dict[str, Any]) -> Boot:
    """Read a BootNotification.req."""
    return Boot(
        vendor=payload["chargePointVendor"],
        model=payload["chargePointModel"],
        serial_number=payload.get("chargePointSerialNumber")
        or payload.get("chargeBoxSerialNumber"),
        firmware_version=payload.get("firmwareVersion"),
        meter_type=payload.get("meterType"),
        meter_serial_number=payload.get("meterSerialNumber"),
        iccid=payload.get("iccid"),
        imsi=payload.get("imsi"),
    )


def boot_answer(answer: BootAnswer) -> dict[str, Any]:
    """Write a BootNotification.conf."""
    return {
        "status": answer.status,
        "currentTime": write_instant(answer.now),
        "interval": answer.interval,
    }


def status_report(payload: dict[str, Any], received_at: datetime) -> StatusReport:
    """Read a StatusNotification.req; connector 0 is the station as a whole."""
    connector = payload["connectorId"]
    status = payload["status"]
    error = payload["errorCode"]
    return StatusReport(
        evse_id=connector,
        connector_id=1 if connector else 0,
        availability=AVAILABILITY.get(status, Availability.UNKNOWN),
        at=read_instant(payload.get("timestamp"), received_at),
        received_at=received_at,
        activity=status if status in _ACTIVITIES else None,
        error_code=None if error == "NoError" else error,
        info=payload.get("info"),
        vendor_error_code=payload.get("vendorErrorCode"),
    )


def id_tag_info(answer: TokenAnswer) -> dict[str, Any]:
    """Write an IdTagInfo."""
    info: dict[str, Any] = {"status": ID_TAG_STATUS[answer.verdict]}
    if answer.group is not None:
        info["parentIdTag"] = alias_of(answer.group)  # TOK-29
    if answer.expires_at is not None:
        info["expiryDate"] = write_instant(answer.expires_at)
    return info


def start_of_transaction(payload: dict[str, Any], received_at: datetime) -> TransactionEvent:
    """Read a StartTransaction.req."""
    return TransactionEvent(
        kind=EventKind.STARTED,
        at=read_told(payload.get("timestamp"), received_at),
        received_at=received_at,
        evse_id=payload["connectorId"],
        connector_id=1,
        id_token=IdToken(payload["idTag"]),
        meter_wh=Decimal(payload["meterStart"]),
        reservation_id=payload.get("reservationId"),
    )


def end_of_transaction(payload: dict[str, Any], received_at: datetime) -> TransactionEvent:
    """Read a StopTransaction.req; no reason means Local (1.6, section 6.45)."""
    id_tag = payload.get("idTag")
    return TransactionEvent(
        kind=EventKind.ENDED,
        at=read_told(payload.get("timestamp"), received_at),
        received_at=received_at,
        transaction=str(payload["transactionId"]),
        id_token=IdToken(id_tag) if id_tag else None,
        meter_wh=Decimal(payload["meterStop"]),
        samples=samples(payload.get("transactionData") or (), received_at),
        stopped_reason=payload.get("reason", "Local"),
    )


def meter_report(payload: dict[str, Any], received_at: datetime) -> MeterReport:
    """Read a MeterValues.req."""
    transaction = payload.get("transactionId")
    return MeterReport(
        evse_id=payload["connectorId"],
        samples=samples(payload.get("meterValue") or (), received_at),
        received_at=received_at,
        transaction=None if transaction is None else str(transaction),
    )


def samples(meter_values: Any, received_at: datetime) -> tuple[Sample, ...]:
    """Read a list of MeterValue; one sample per instant and reading context."""
    told: list[tuple[datetime, list[RawValues]]] = []
    for meter_value in meter_values:
        at = read_instant(meter_value.get("timestamp"), received_at)
        values: list[RawValues] = []
        for sampled in meter_value.get("sampledValue") or ():
            get = sampled.get
            value = get("value")
            if value is None:
                continue
            context = get("context", "Sample.Periodic")
            signed = _signed(value, context, at) if get("format") == "SignedData" else None
            values.append(
                (
                    value if signed is None else "",
                    get("measurand", ENERGY_REGISTER),
                    get("unit"),
                    0,
                    get("phase"),
                    get("location", "Outlet"),
                    context,
                    signed,
                )
            )
        told.append((at, values))
    return samples_at(told)


def _signed(value: Any, context: str, at: datetime) -> SignedReading:
    # Never parsed: hex, base64 or OCMF text, whatever the meter signed (MV-16).
    data = str(value)
    return SignedReading(
        nature=_SIGNED_NATURE.get(context, "Intermediate"),
        data=data,
        method="OCMF" if data.startswith("OCMF|") else None,
        at=at,
    )
