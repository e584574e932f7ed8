"""What OCPP 2.1 adds to 2.0.1."""

from typing import Any, Final

from cpo.ocpp import certificates
from cpo.ocpp.contract import Arrival, Desk, InboundHandler
from cpo.ocpp.v2.inbound import HANDLERS as HANDLERS_201


def _keep(desk: Desk, call: Arrival, kind: str, key: str) -> None:
    desk.intake.seen(call.identity, at=call.received_at)
    desk.equipment.keep(
        call.work, call.identity, kind, key[:200], dict(call.payload), call.received_at
    )


async def battery_swap(desk: Desk, call: Arrival) -> dict[str, Any]:
    """S01, S02: batteries went in, then others out; one document for each swap."""
    desk.intake.seen(call.identity, at=call.received_at)
    await desk.equipment.battery_swap(
        call.work, call.identity, dict(call.payload), at=call.received_at
    )
    return {}


async def notify_der_alarm(desk: Desk, call: Arrival) -> dict[str, Any]:
    """R04: the grid did something that a control reacts to, or that is over."""
    desk.intake.seen(call.identity, at=call.received_at)
    await desk.equipment.der_alarm(
        call.work, call.identity, dict(call.payload), at=call.received_at
    )
    return {}


async def notify_der_start_stop(desk: Desk, call: Arrival) -> dict[str, Any]:
    """R04: a scheduled control has begun or ended, and which others it supersedes."""
    desk.intake.seen(call.identity, at=call.received_at)
    await desk.equipment.der_started(
        call.work, call.identity, dict(call.payload), at=call.received_at
    )
    return {}


_DER_CONTROLS = (
    "curve",
    "enterService",
    "fixedPFAbsorb",
    "fixedPFInject",
    "fixedVar",
    "freqDroop",
    "gradient",
    "limitMaxDischarge",
)


async def report_der_control(desk: Desk, call: Arrival) -> dict[str, Any]:
    """R04: the controls that are set, in parts."""
    desk.intake.seen(call.identity, at=call.received_at)
    parts = {name: call.payload.get(name, ()) for name in _DER_CONTROLS}
    await desk.equipment.gather(
        call.work,
        call.identity,
        "der-report",
        call.payload["requestId"],
        [{"control": name, **item} for name, items in parts.items() for item in items],
        seq=None,
        more=call.payload.get("tbc", False),
        at=call.received_at,
    )
    return {}


async def notify_priority_charging(desk: Desk, call: Arrival) -> dict[str, Any]:
    """K22: the driver asked for priority, or the station ended it."""
    _keep(desk, call, "priority-charging", call.payload["transactionId"])
    # Other profiles hold with it: schedules that were made for cars are made anew.
    desk.equipment.limit_changed(call.work, call.identity)
    return {}


async def notify_settlement(desk: Desk, call: Arrival) -> dict[str, Any]:
    """C20: a payment terminal has settled; receipts are its own."""
    desk.intake.seen(call.identity, at=call.received_at)
    desk.payments.settled(call.work, call.identity, call.payload, call.received_at)
    return {}


async def notify_web_payment_started(desk: Desk, call: Arrival) -> dict[str, Any]:
    """C23: somebody pays by a QR code."""
    _keep(desk, call, "web-payment", str(call.payload["evseId"]))
    return {}


async def open_event_stream(desk: Desk, call: Arrival) -> dict[str, Any]:
    """N11: the station will stream the values of a monitored variable."""
    _keep(desk, call, "event-stream", str(call.payload["constantStreamData"]["id"]))
    return {"status": "Accepted"}


async def close_event_stream(desk: Desk, call: Arrival) -> dict[str, Any]:
    """N13: that stream has ended."""
    desk.intake.seen(call.identity, at=call.received_at)
    known = await desk.equipment.document(call.identity, "event-stream", str(call.payload["id"]))
    if known is not None:
        call.work.delete(known)
    return {}


async def notify_event_stream(desk: Desk, call: Arrival) -> dict[str, Any]:
    """N15: values of a stream (a SEND: nobody answers it)."""
    desk.intake.seen(call.identity, at=call.received_at)
    await desk.equipment.stream_data(
        call.work, call.identity, call.payload["id"], dict(call.payload), at=call.received_at
    )
    return {}


async def pull_dynamic_schedule(desk: Desk, call: Arrival) -> dict[str, Any]:
    """K28: the station asks for the newest limit of a dynamic profile."""
    desk.intake.seen(call.identity, at=call.received_at)
    number = str(call.payload["chargingProfileId"])
    known = await desk.equipment.document(call.identity, "charging-profile", number)
    if known is None or known.document["profile"]["chargingProfileKind"] != "Dynamic":
        return {"status": "Rejected"}
    schedules = known.document["profile"]["chargingSchedule"]
    first = schedules[0] if isinstance(schedules, list) else schedules
    period = first["chargingSchedulePeriod"][0]
    update = {name: period[name] for name in _DYNAMIC if name in period}
    return {"status": "Accepted", "scheduleUpdate": update}


# What may change in a dynamic profile (ChargingScheduleUpdateType).
_DYNAMIC: Final = (
    "limit",
    "limit_L2",
    "limit_L3",
    "dischargeLimit",
    "dischargeLimit_L2",
    "dischargeLimit_L3",
    "setpoint",
    "setpoint_L2",
    "setpoint_L3",
    "setpointReactive",
    "setpointReactive_L2",
    "setpointReactive_L3",
)


async def vat_number(desk: Desk, call: Arrival) -> dict[str, Any]:
    """C25: the validation service knows; without one no number is valid."""
    desk.intake.seen(call.identity, at=call.received_at)
    number = call.payload["vatNumber"]
    valid, company = await desk.vat_numbers.company(number)
    answer = {"status": "Accepted" if valid else "Rejected", "vatNumber": number}
    if company is not None:
        answer["company"] = company
    if "evseId" in call.payload:
        answer["evseId"] = call.payload["evseId"]
    return answer


# Characters that 2.1 allows for what is relayed.
_LONGEST_OCSP: Final = 18_000
_LONGEST_EXI: Final = 17_000

HANDLERS: Final[dict[str, InboundHandler]] = {
    **HANDLERS_201,
    "BatterySwap": battery_swap,
    "ClosePeriodicEventStream": close_event_stream,
    "Get15118EVCertificate": certificates.get_ev_certificate(_LONGEST_EXI),
    "GetCertificateChainStatus": certificates.get_chain_status,
    "GetCertificateStatus": certificates.get_certificate_status(_LONGEST_OCSP),
    "NotifyDERAlarm": notify_der_alarm,
    "NotifyDERStartStop": notify_der_start_stop,
    "NotifyPeriodicEventStream": notify_event_stream,
    "NotifyPriorityCharging": notify_priority_charging,
    "NotifySettlement": notify_settlement,
    "NotifyWebPaymentStarted": notify_web_payment_started,
    "OpenPeriodicEventStream": open_event_stream,
    "PullDynamicScheduleUpdate": pull_dynamic_schedule,
    "ReportDERControl": report_der_control,
    "VatNumberValidation": vat_number,
}
