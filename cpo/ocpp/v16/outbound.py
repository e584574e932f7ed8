"""Neutral commands as OCPP 1.6 calls, and what the answers mean. Pure."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from cpo.domain.command import (
    CommandKind,
    Outcome,
    Reply,
    StationCommand,
    reservation_number,
)
from cpo.domain.tokens import alias_of
from cpo.errors import Invalid
from cpo.ocpp.contract import Request
from cpo.ocpp.values import write_instant

_STATUS: Final = {
    "Accepted": Outcome.ACCEPTED,
    "Scheduled": Outcome.SCHEDULED,
    "RebootRequired": Outcome.ACCEPTED,
    "Unlocked": Outcome.ACCEPTED,
    "UnlockFailed": Outcome.FAILED,
    "NotSupported": Outcome.NOT_SUPPORTED,
    "NotImplemented": Outcome.NOT_SUPPORTED,
    "Faulted": Outcome.EVSE_INOPERATIVE,
    "Unavailable": Outcome.EVSE_INOPERATIVE,
    "Occupied": Outcome.EVSE_OCCUPIED,
    "Failed": Outcome.FAILED,
    "VersionMismatch": Outcome.FAILED,
    "AcceptedCanceled": Outcome.ACCEPTED,
    "Unknown": Outcome.REJECTED,
}
# The security extension asks for these by a message of its own.
_EXTENDED_TRIGGERS: Final = frozenset(
    {"LogStatusNotification", "SignChargePointCertificate", "SignChargingStationCertificate"}
)
_PROFILE_FIELDS: Final = {
    "id": "chargingProfileId",
    "stackLevel": "stackLevel",
    "chargingProfilePurpose": "chargingProfilePurpose",
    "chargingProfileKind": "chargingProfileKind",
    "recurrencyKind": "recurrencyKind",
    "validFrom": "validFrom",
    "validTo": "validTo",
}


def _start(command: StationCommand) -> list[Request]:
    payload: dict[str, Any] = {"idTag": alias_of(command.id_token or "")}
    if command.evse_id:
        payload["connectorId"] = command.evse_id
    if profile := command.parameters.get("profile"):
        payload["chargingProfile"] = profile_16(profile)
    return [Request("RemoteStartTransaction", payload)]


def _stop(command: StationCommand) -> list[Request]:
    return [Request("RemoteStopTransaction", {"transactionId": int(command.transaction or 0)})]


def _unlock(command: StationCommand) -> list[Request]:
    return [Request("UnlockConnector", {"connectorId": command.evse_id or 1})]


def _reserve(command: StationCommand) -> list[Request]:
    payload = {
        "connectorId": command.evse_id or 0,
        "expiryDate": _instant(command, "expiry_date_time"),
        "idTag": alias_of(command.id_token or ""),
        "reservationId": reservation_number(_needed(command, "reservation_id")),
    }
    if command.group_id:
        payload["parentIdTag"] = alias_of(command.group_id)
    return [Request("ReserveNow", payload)]


def _cancel_reservation(command: StationCommand) -> list[Request]:
    number = reservation_number(_needed(command, "reservation_id"))
    return [Request("CancelReservation", {"reservationId": number})]


def _availability(command: StationCommand) -> list[Request]:
    payload = {
        "connectorId": command.evse_id or 0,
        "type": command.parameters.get("operational_status", "Operative"),
    }
    return [Request("ChangeAvailability", payload)]


def _reset(command: StationCommand) -> list[Request]:
    kind = command.parameters.get("type", "OnIdle")
    return [Request("Reset", {"type": {"Immediate": "Hard", "OnIdle": "Soft"}.get(kind, kind)})]


def _trigger(command: StationCommand) -> list[Request]:
    message = _needed(command, "requested_message")
    payload: dict[str, Any] = {"requestedMessage": message}
    if command.evse_id:
        payload["connectorId"] = command.evse_id
    if message in _EXTENDED_TRIGGERS:
        if message == "SignChargingStationCertificate":
            payload["requestedMessage"] = "SignChargePointCertificate"
        return [Request("ExtendedTriggerMessage", payload)]
    return [Request("TriggerMessage", payload)]


def _get_variables(command: StationCommand) -> list[Request]:
    keys = [_key(variable) for variable in command.parameters.get("variables") or ()]
    size = command.parameters.get("items_per_message") or len(keys)
    parts = [keys[first : first + size] for first in range(0, len(keys), size or 1)]
    return [Request("GetConfiguration", {"key": part} if part else {}) for part in parts or [[]]]


def _set_variables(command: StationCommand) -> list[Request]:
    return [
        Request("ChangeConfiguration", {"key": _key(variable), "value": str(variable["value"])})
        for variable in _needed(command, "variables")
    ]


def _key(variable: Any) -> str:
    if isinstance(variable, str):
        return variable
    key = variable.get("key") or variable.get("variable")
    if isinstance(key, dict):
        key = key.get("name")
    if not isinstance(key, str):
        raise Invalid("variables", "each needs a key")
    return key


def _set_profile(command: StationCommand) -> list[Request]:
    profile = profile_16(_needed(command, "profile"))
    if command.transaction is not None and profile["chargingProfilePurpose"] == "TxProfile":
        profile["transactionId"] = int(command.transaction)
    payload = {"connectorId": command.evse_id or 0, "csChargingProfiles": profile}
    return [Request("SetChargingProfile", payload)]


def _clear_profile(command: StationCommand) -> list[Request]:
    given = command.parameters
    payload: dict[str, Any] = {}
    if "profile_id" in given:
        payload["id"] = given["profile_id"]
    if command.evse_id is not None:
        payload["connectorId"] = command.evse_id
    if "purpose" in given:
        payload["chargingProfilePurpose"] = _PURPOSES.get(given["purpose"], given["purpose"])
    if "stack_level" in given:
        payload["stackLevel"] = given["stack_level"]
    return [Request("ClearChargingProfile", payload)]


def _composite_schedule(command: StationCommand) -> list[Request]:
    payload = {
        "connectorId": command.evse_id or 0,
        "duration": _needed(command, "duration"),
    }
    if unit := command.parameters.get("charging_rate_unit"):
        payload["chargingRateUnit"] = unit
    return [Request("GetCompositeSchedule", payload)]


def _send_local_list(command: StationCommand) -> list[Request]:
    entries = []
    for entry in command.parameters.get("entries") or ():
        item: dict[str, Any] = {"idTag": alias_of(entry["id_token"])}
        if status := entry.get("status"):
            item["idTagInfo"] = {"status": status}
            if entry.get("group_id"):
                item["idTagInfo"]["parentIdTag"] = alias_of(entry["group_id"])
            if expires_at := entry.get("expires_at"):
                item["idTagInfo"]["expiryDate"] = (
                    write_instant(expires_at) if isinstance(expires_at, datetime) else expires_at
                )
        entries.append(item)
    payload: dict[str, Any] = {
        "listVersion": _needed(command, "version"),
        "updateType": command.parameters.get("update_type", "Full"),
    }
    if entries:
        payload["localAuthorizationList"] = entries
    return [Request("SendLocalList", payload)]


def _get_log(command: StationCommand) -> list[Request]:
    given, place = command.parameters, _needed(command, "location")
    oldest, latest = given.get("oldest"), given.get("latest")
    if given.get("log_type", "DiagnosticsLog") == "DiagnosticsLog":
        span = _given(startTime=oldest, stopTime=latest)
        return [Request("GetDiagnostics", {"location": place, **span})]
    log = {"remoteLocation": place, **_given(oldestTimestamp=oldest, latestTimestamp=latest)}
    number = _needed(command, "request_id")
    return [Request("GetLog", {"logType": given["log_type"], "requestId": number, "log": log})]


def _update_firmware(command: StationCommand) -> list[Request]:
    given, place = command.parameters, _needed(command, "location")
    begin = _instant(command, "retrieve_at")
    if "signature" not in given:
        return [Request("UpdateFirmware", {"location": place, "retrieveDate": begin})]
    firmware = {
        "location": place,
        "retrieveDateTime": begin,
        "signingCertificate": given["signing_certificate"],
        "signature": given["signature"],
        **_given(installDateTime=given.get("install_at")),
    }
    payload = {"requestId": _needed(command, "request_id"), "firmware": firmware}
    return [Request("SignedUpdateFirmware", payload)]


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _call(command: StationCommand) -> list[Request]:
    return [Request(_needed(command, "action"), command.parameters.get("payload") or {})]


def _not_in_16(command: StationCommand) -> list[Request]:
    raise Invalid(str(command.kind), "OCPP 1.6 has no such request")


def _data_transfer(command: StationCommand) -> list[Request]:
    payload = {"vendorId": _needed(command, "vendor_id")}
    given = {"messageId": "message_id", "data": "data"}
    for theirs, ours in given.items():
        if command.parameters.get(ours) is not None:
            payload[theirs] = command.parameters[ours]
    return [Request("DataTransfer", payload)]


_REQUESTS: Final[dict[CommandKind, Callable[[StationCommand], list[Request]]]] = {
    CommandKind.START_SESSION: _start,
    CommandKind.STOP_SESSION: _stop,
    CommandKind.UNLOCK: _unlock,
    CommandKind.RESERVE: _reserve,
    CommandKind.CANCEL_RESERVATION: _cancel_reservation,
    CommandKind.AVAILABILITY: _availability,
    CommandKind.RESET: _reset,
    CommandKind.TRIGGER: _trigger,
    CommandKind.GET_VARIABLES: _get_variables,
    CommandKind.SET_VARIABLES: _set_variables,
    CommandKind.CLEAR_CACHE: lambda _: [Request("ClearCache")],
    CommandKind.SET_CHARGING_PROFILE: _set_profile,
    CommandKind.CLEAR_CHARGING_PROFILE: _clear_profile,
    CommandKind.GET_COMPOSITE_SCHEDULE: _composite_schedule,
    CommandKind.SEND_LOCAL_LIST: _send_local_list,
    CommandKind.GET_LOCAL_LIST_VERSION: lambda _: [Request("GetLocalListVersion")],
    CommandKind.GET_LOG: _get_log,
    CommandKind.UPDATE_FIRMWARE: _update_firmware,
    CommandKind.SET_DISPLAY_MESSAGE: _not_in_16,
    CommandKind.GET_DISPLAY_MESSAGES: _not_in_16,
    CommandKind.CLEAR_DISPLAY_MESSAGE: _not_in_16,
    CommandKind.CUSTOMER_INFORMATION: _not_in_16,
    CommandKind.DATA_TRANSFER: _data_transfer,
    CommandKind.CALL: _call,
}

_PURPOSES: Final = {"ChargingStationMaxProfile": "ChargePointMaxProfile"}


def profile_16(profile: dict[str, Any]) -> dict[str, Any]:
    """Rewrite a charging profile of 2.x as one of 1.6; one of 1.6 passes as it is."""
    if "chargingProfileId" in profile:
        return dict(profile)
    written = {
        ours: profile[theirs] for theirs, ours in _PROFILE_FIELDS.items() if theirs in profile
    }
    written["chargingProfilePurpose"] = _PURPOSES.get(
        written["chargingProfilePurpose"], written["chargingProfilePurpose"]
    )
    schedule = profile["chargingSchedule"]
    # 2.x allows up to three schedules (for ISO 15118); 1.6 has exactly one.
    schedule = dict(schedule[0] if isinstance(schedule, list) else schedule)
    schedule.pop("id", None)
    schedule.pop("salesTariff", None)
    schedule["chargingSchedulePeriod"] = [
        {name: period[name] for name in ("startPeriod", "limit", "numberPhases") if name in period}
        for period in schedule["chargingSchedulePeriod"]
    ]
    written["chargingSchedule"] = schedule
    return written


def _needed(command: StationCommand, name: str) -> Any:
    value = command.parameters.get(name)
    if value is None:
        raise Invalid(name, "is needed")
    return value


def _instant(command: StationCommand, name: str) -> str:
    value = _needed(command, name)
    return write_instant(value) if isinstance(value, datetime) else str(value)


INVENTORY: Final = Request("GetConfiguration")


def status_of(evse_id: int, _connector_id: int) -> Request:
    """Return the call that asks for the status of a connector."""
    return Request(
        "TriggerMessage", {"requestedMessage": "StatusNotification", "connectorId": evse_id}
    )


class Outbound16:
    """Implements Outbound for OCPP 1.6."""

    def requests(self, command: StationCommand) -> list[Request]:
        """Return the calls that carry a command out."""
        return _REQUESTS[command.kind](command)

    def reply(self, command: StationCommand, answers: list[dict[str, Any]]) -> Reply:
        """Read the answers; the first that is no yes decides."""
        if command.kind is CommandKind.SET_VARIABLES:
            statuses = [str(answer.get("status", "")) for answer in answers]
            worst = next((s for s in statuses if s not in ("Accepted", "RebootRequired")), None)
            results = {"statuses": statuses}
            return Reply(
                outcome=outcome_of(worst) if worst else Outcome.ACCEPTED,
                payload=results,
                detail=worst,
            )
        if command.kind is CommandKind.GET_VARIABLES:
            return Reply(outcome=Outcome.ACCEPTED, payload=_joined(answers))
        answer = answers[0] if answers else {}
        status = answer.get("status")
        if status is None and command.kind is CommandKind.GET_LOG and not answer.get("fileName"):
            return Reply(
                outcome=Outcome.REJECTED, payload=answer, detail="there are no diagnostics"
            )
        if status is None:
            return Reply(outcome=Outcome.ACCEPTED, payload=answer)
        outcome = outcome_of(status)
        if command.kind is CommandKind.CANCEL_RESERVATION and outcome is Outcome.REJECTED:
            outcome = Outcome.UNKNOWN_RESERVATION
        detail = None if outcome is Outcome.ACCEPTED else str(status)
        return Reply(outcome=outcome, payload=answer, detail=detail)


def _joined(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Join the answers to a question that was asked in parts (BO-14)."""
    joined: dict[str, list[Any]] = {}
    for answer in answers:
        for name in ("configurationKey", "unknownKey"):
            if answer.get(name) is not None:
                joined.setdefault(name, []).extend(answer[name])
    return joined


def outcome_of(status: str) -> Outcome:
    """Return what a status word of 1.6 means; an unknown word is a no."""
    return _STATUS.get(status, Outcome.REJECTED)
