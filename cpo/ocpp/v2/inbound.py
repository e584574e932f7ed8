"""What OCPP 2.0.1 and 2.1 stations send: read, hand over, answer."""

from typing import Any, Final

from cpo.domain.tokens import Verdict
from cpo.ocpp import certificates
from cpo.ocpp.contract import Arrival, Caller, Desk, Followup, InboundHandler
from cpo.ocpp.v2 import mapping
from cpo.ocpp.v2.outbound import INVENTORY
from cpo.ocpp.values import read_instant, write_instant
from cpo.services.equipment import variable_key
from cpo.services.intake import TokenAnswer

_INVENTORY: Final = INVENTORY.payload["requestId"]


async def boot_notification(desk: Desk, call: Arrival) -> dict[str, Any]:
    """B01: registration with the time and the heartbeat interval."""
    boot = mapping.boot(call.payload)
    return mapping.boot_answer(
        await desk.intake.boot(call.work, call.identity, boot, at=call.received_at)
    )


async def heartbeat(desk: Desk, call: Arrival) -> dict[str, Any]:
    """G02: nothing but the time."""
    desk.intake.seen(call.identity, at=call.received_at)
    return {"currentTime": write_instant(call.received_at)}


async def status_notification(desk: Desk, call: Arrival) -> dict[str, Any]:
    """G01: a connector's status."""
    report = mapping.status_report(call.payload, call.received_at)
    await desk.intake.status(call.work, call.identity, report)
    return {}


async def notify_event(desk: Desk, call: Arrival) -> dict[str, Any]:
    """N07: events of the device model; availability among them (ST-03)."""
    desk.intake.seen(call.identity, at=call.received_at)
    for report in mapping.status_reports(call.payload, call.received_at):
        await desk.intake.status(call.work, call.identity, report)
    for event in call.payload["eventData"]:
        if event["variable"]["name"] != "AvailabilityState":
            key = f"{variable_key(event)}|{event['eventId']}"
            desk.equipment.keep(
                call.work, call.identity, "event", key[:200], dict(event), call.received_at
            )
            await desk.equipment.observed(
                call.work, call.identity, event, event["actualValue"], at=call.received_at
            )
    return {}


async def authorize(desk: Desk, call: Arrival) -> dict[str, Any]:
    """C01: may this token charge?"""
    token = mapping.id_token(call.payload["idToken"])

    async def decide() -> TokenAnswer:
        if token is None:
            return TokenAnswer(Verdict.INVALID)
        return await desk.intake.authorize(call.identity, token)

    answer, status = await certificates.with_certificate(desk, call, decide)
    payload: dict[str, Any] = {"idTokenInfo": mapping.id_token_info(answer)}
    if answer.tariff is not None:
        payload["tariff"] = answer.tariff
    if status is not None:
        payload["certificateStatus"] = status.value
    return payload


async def transaction_event(desk: Desk, call: Arrival) -> dict[str, Any]:
    """E01 to E15: a step of a transaction. Never refused."""
    event = mapping.transaction_event(call.payload, call.received_at)
    answer = await desk.intake.transaction(call.work, call.identity, event, raw=call.text)
    payload: dict[str, Any] = {}
    if answer.total_cost is not None:
        payload["totalCost"] = mapping.total_cost(answer.total_cost)
    if answer.token is not None:
        payload["idTokenInfo"] = mapping.id_token_info(answer.token)
    if answer.incomplete:
        desk.afterwards(_ask_for_the_rest(answer.transaction))
    return payload


def _ask_for_the_rest(transaction: str) -> Followup:
    """E14: ask about what ended with gaps: stations then send the rest (TX20-06)."""

    async def ask(call: Caller) -> None:
        await call("GetTransactionStatus", {"transactionId": transaction})

    return ask


async def meter_values(desk: Desk, call: Arrival) -> dict[str, Any]:
    """J01: readings outside a transaction event."""
    report = mapping.meter_report(call.payload, call.received_at)
    await desk.intake.meter_values(call.work, call.identity, report)
    return {}


async def data_transfer(desk: Desk, call: Arrival) -> dict[str, Any]:
    """P02: nobody here knows any vendor's own messages."""
    desk.intake.seen(call.identity, at=call.received_at)
    return {"status": "UnknownVendorId"}


async def notify_report(desk: Desk, call: Arrival) -> dict[str, Any]:
    """B07: a part of the device model; each variable is kept under its own name (BO-16)."""
    payload = call.payload
    reported = [mapping.reported_variable(item) for item in payload.get("reportData") or ()]
    desk.equipment.variables(call.work, call.identity, reported, at=call.received_at)
    # Of the inventory, which is everything, no second list is kept.
    names = [] if payload["requestId"] == _INVENTORY else [variable_key(item) for item in reported]
    await _gather(desk, call, "report", names)
    return {}


async def notify_monitoring_report(desk: Desk, call: Arrival) -> dict[str, Any]:
    """N02: the monitors that are set on variables."""
    items = call.payload.get("monitor") or ()
    for item in items:
        for monitor in item["variableMonitoring"]:
            desk.equipment.keep(
                call.work,
                call.identity,
                "monitor",
                str(monitor["id"]),
                {"component": item["component"], "variable": item["variable"], **monitor},
                call.received_at,
            )
    await _gather(desk, call, "monitoring-report", items)
    return {}


async def notify_customer_information(desk: Desk, call: Arrival) -> dict[str, Any]:
    """N09: what the station knows of a customer, in pieces of text (FW-11)."""
    await _gather(desk, call, "customer-information", [call.payload["data"]])
    return {}


async def notify_display_messages(desk: Desk, call: Arrival) -> dict[str, Any]:
    """O03: the messages on the station's display."""
    await _gather(desk, call, "display-messages", call.payload.get("messageInfo") or ())
    return {}


async def report_charging_profiles(desk: Desk, call: Arrival) -> dict[str, Any]:
    """K09: the charging profiles that are in force."""
    source = {
        "evseId": call.payload["evseId"],
        "chargingLimitSource": call.payload["chargingLimitSource"],
    }
    items = [{**source, **profile} for profile in call.payload["chargingProfile"]]
    await _gather(desk, call, "charging-profiles", items)
    if source["chargingLimitSource"] == "CSO":
        # Profiles of ours that it has: known from now on even where our own note of them is lost.
        for profile in call.payload["chargingProfile"]:
            document = {"evse_id": source["evseId"], "profile": profile}
            desk.equipment.keep(
                call.work, call.identity, "charging-profile", str(profile["id"]), document,
                call.received_at,
            )  # fmt: skip
    return {}


async def _gather(desk: Desk, call: Arrival, kind: str, items: Any) -> None:
    desk.intake.seen(call.identity, at=call.received_at)
    await desk.equipment.gather(
        call.work,
        call.identity,
        kind,
        call.payload["requestId"],
        items,
        seq=call.payload.get("seqNo"),
        more=call.payload.get("tbc", False),
        at=call.received_at,
    )


async def firmware_status(desk: Desk, call: Arrival) -> dict[str, Any]:
    """L01: how far a firmware update has come."""
    await _job(desk, call, "firmware-job")
    return {}


async def publish_firmware_status(desk: Desk, call: Arrival) -> dict[str, Any]:
    """L03: how far a local controller has come with publishing firmware."""
    await _job(
        desk, call, "publish-firmware-job", details={"location": call.payload.get("location")}
    )
    return {}


async def log_status(desk: Desk, call: Arrival) -> dict[str, Any]:
    """N01: how far an upload of logs has come."""
    await _job(desk, call, "log-job")
    return {}


async def _job(
    desk: Desk, call: Arrival, kind: str, *, details: dict[str, Any] | None = None
) -> None:
    desk.intake.seen(call.identity, at=call.received_at)
    await desk.equipment.job_progress(
        call.work,
        call.identity,
        kind,
        call.payload["status"],
        call.payload.get("requestId"),
        at=call.received_at,
        details=details,
    )


async def security_event(desk: Desk, call: Arrival) -> dict[str, Any]:
    """A04: something about the station's security happened (FW-06)."""
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


async def notify_charging_limit(desk: Desk, call: Arrival) -> dict[str, Any]:
    """K12: somebody else limits the station."""
    limit = call.payload["chargingLimit"]
    evse_id = call.payload.get("evseId", 0)
    key = f"{limit['chargingLimitSource']}|{evse_id}"
    _keep(desk, call, "charging-limit", key)
    desk.equipment.limit_changed(call.work, call.identity)
    return {}


async def cleared_charging_limit(desk: Desk, call: Arrival) -> dict[str, Any]:
    """K13: that limit is gone."""
    desk.intake.seen(call.identity, at=call.received_at)
    source, evse_id = call.payload["chargingLimitSource"], call.payload.get("evseId")
    if evse_id is None:
        await desk.equipment.forget(call.work, call.identity, "charging-limit", f"{source}|")
    else:
        key = f"{source}|{evse_id}"
        desk.equipment.forget_one(call.work, call.identity, "charging-limit", key)
    desk.equipment.limit_changed(call.work, call.identity)
    return {}


async def notify_ev_charging_needs(desk: Desk, call: Arrival) -> dict[str, Any]:
    """K15: what a car asks for. Kept; its schedule follows the answer."""
    desk.intake.seen(call.identity, at=call.received_at)
    status = await desk.equipment.charging_needs(
        call.work, call.identity, dict(call.payload), call.received_at
    )
    return {"status": status}


async def notify_ev_charging_schedule(desk: Desk, call: Arrival) -> dict[str, Any]:
    """K15, K17: what the car has chosen. Taken whatever it is, then compared with the limits."""
    desk.intake.seen(call.identity, at=call.received_at)
    desk.equipment.schedule_chosen(
        call.work, call.identity, dict(call.payload), at=call.received_at
    )
    return {"status": "Accepted"}


async def reservation_status(desk: Desk, call: Arrival) -> dict[str, Any]:
    """H04: a reservation has expired or was removed at the station: it is held here no more."""
    _keep(desk, call, "reservation", str(call.payload["reservationId"]))
    word = call.payload["reservationUpdateStatus"]

    async def gone(_: Caller) -> None:
        await desk.intake.reservation_gone(
            call.identity, call.payload["reservationId"], expired=word == "Expired"
        )

    # After the answer: the reservation's own unit of work waits for this one.
    if word in ("Expired", "Removed"):
        desk.afterwards(gone)
    return {}


def _keep(desk: Desk, call: Arrival, kind: str, key: str) -> None:
    desk.intake.seen(call.identity, at=call.received_at)
    desk.equipment.keep(call.work, call.identity, kind, key, dict(call.payload), call.received_at)


# Characters that 2.0.1 allows for what is relayed.
_LONGEST_OCSP: Final = 5_500
_LONGEST_EXI: Final = 7_500

HANDLERS: Final[dict[str, InboundHandler]] = {
    "Authorize": authorize,
    "BootNotification": boot_notification,
    "ClearedChargingLimit": cleared_charging_limit,
    "DataTransfer": data_transfer,
    "FirmwareStatusNotification": firmware_status,
    "Get15118EVCertificate": certificates.get_ev_certificate(_LONGEST_EXI),
    "GetCertificateStatus": certificates.get_certificate_status(_LONGEST_OCSP),
    "Heartbeat": heartbeat,
    "LogStatusNotification": log_status,
    "MeterValues": meter_values,
    "NotifyChargingLimit": notify_charging_limit,
    "NotifyCustomerInformation": notify_customer_information,
    "NotifyDisplayMessages": notify_display_messages,
    "NotifyEVChargingNeeds": notify_ev_charging_needs,
    "NotifyEVChargingSchedule": notify_ev_charging_schedule,
    "NotifyEvent": notify_event,
    "NotifyMonitoringReport": notify_monitoring_report,
    "NotifyReport": notify_report,
    "PublishFirmwareStatusNotification": publish_firmware_status,
    "ReportChargingProfiles": report_charging_profiles,
    "ReservationStatusUpdate": reservation_status,
    "SecurityEventNotification": security_event,
    "SignCertificate": certificates.sign_certificate,
    "StatusNotification": status_notification,
    "TransactionEvent": transaction_event,
}
