"""What OCPP 1.6 stations send: read, hand over, answer."""

from typing import Any, Final

from cpo.domain.events import IdToken
from cpo.domain.running_cost import COST_MESSAGES
from cpo.ocpp.certificates import sign_certificate
from cpo.ocpp.contract import Arrival, Desk, InboundHandler
from cpo.ocpp.v16 import mapping
from cpo.ocpp.values import read_instant, write_instant


async def boot_notification(desk: Desk, call: Arrival) -> dict[str, Any]:
    """BO-01: registration with the time and the heartbeat interval."""
    boot = mapping.boot(call.payload)
    return mapping.boot_answer(
        await desk.intake.boot(call.work, call.identity, boot, at=call.received_at)
    )


async def heartbeat(desk: Desk, call: Arrival) -> dict[str, Any]:
    """BO-12: nothing but the time."""
    desk.intake.seen(call.identity, at=call.received_at)
    return {"currentTime": write_instant(call.received_at)}


async def status_notification(desk: Desk, call: Arrival) -> dict[str, Any]:
    """ST-01: a connector's status."""
    report = mapping.status_report(call.payload, call.received_at)
    await desk.intake.status(call.work, call.identity, report)
    return {}


async def authorize(desk: Desk, call: Arrival) -> dict[str, Any]:
    """AU-01: may this tag charge?"""
    answer = await desk.intake.authorize(call.identity, IdToken(call.payload["idTag"]))
    return {"idTagInfo": mapping.id_tag_info(answer)}


async def start_transaction(desk: Desk, call: Arrival) -> dict[str, Any]:
    """TX16-01: a transaction begins; it gets its id here."""
    event = mapping.start_of_transaction(call.payload, call.received_at)
    answer = await desk.intake.transaction(call.work, call.identity, event, raw=call.text)
    token = answer.token
    return {
        "transactionId": int(answer.transaction),
        "idTagInfo": mapping.id_tag_info(token) if token else {"status": "Invalid"},
    }


async def stop_transaction(desk: Desk, call: Arrival) -> dict[str, Any]:
    """TX16-01: a transaction ends. Never refused, known or not."""
    event = mapping.end_of_transaction(call.payload, call.received_at)
    answer = await desk.intake.transaction(call.work, call.identity, event, raw=call.text)
    return {"idTagInfo": mapping.id_tag_info(answer.token)} if answer.token else {}


async def meter_values(desk: Desk, call: Arrival) -> dict[str, Any]:
    """MV-01: readings, of a transaction or of the meter alone."""
    report = mapping.meter_report(call.payload, call.received_at)
    await desk.intake.meter_values(call.work, call.identity, report)
    return {}


async def data_transfer(desk: Desk, call: Arrival) -> dict[str, Any]:
    """CM-20: of vendors' own messages only those about costs are known.

    ConnectorUnplugged ends the idle time after a transaction for a display; it is no part of the
    session (MAP-24), so there is nothing to do but to know of it.
    """
    desk.intake.seen(call.identity, at=call.received_at)
    if call.payload["vendorId"] != COST_MESSAGES:
        return {"status": "UnknownVendorId"}
    known = call.payload.get("messageId") == "ConnectorUnplugged"
    return {"status": "Accepted" if known else "UnknownMessageId"}


async def firmware_status(desk: Desk, call: Arrival) -> dict[str, Any]:
    """FW-01: how far a firmware update has come, signed or not."""
    desk.intake.seen(call.identity, at=call.received_at)
    await desk.equipment.job_progress(
        call.work,
        call.identity,
        "firmware-job",
        call.payload["status"],
        call.payload.get("requestId"),
        at=call.received_at,
    )
    return {}


async def log_status(desk: Desk, call: Arrival) -> dict[str, Any]:
    """FW-03, FW-04: how far an upload of diagnostics or logs has come."""
    desk.intake.seen(call.identity, at=call.received_at)
    await desk.equipment.job_progress(
        call.work,
        call.identity,
        "log-job",
        call.payload["status"],
        call.payload.get("requestId"),
        at=call.received_at,
    )
    return {}


async def security_event(desk: Desk, call: Arrival) -> dict[str, Any]:
    """FW-06: something about the station's security happened."""
    desk.intake.seen(call.identity, at=call.received_at)
    desk.equipment.security_event(
        call.work,
        call.identity,
        call.payload["type"],
        call.payload.get("techInfo"),
        at=read_instant(call.payload.get("timestamp"), call.received_at),
        now=call.received_at,
    )
    return {}


HANDLERS: Final[dict[str, InboundHandler]] = {
    "Authorize": authorize,
    "BootNotification": boot_notification,
    "DataTransfer": data_transfer,
    "DiagnosticsStatusNotification": log_status,
    "FirmwareStatusNotification": firmware_status,
    "Heartbeat": heartbeat,
    "LogStatusNotification": log_status,
    "MeterValues": meter_values,
    "SecurityEventNotification": security_event,
    "SignCertificate": sign_certificate,
    "SignedFirmwareStatusNotification": firmware_status,
    "StartTransaction": start_transaction,
    "StatusNotification": status_notification,
    "StopTransaction": stop_transaction,
}
