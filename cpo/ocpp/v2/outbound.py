"""Neutral commands as OCPP 2.0.1 and 2.1 calls, and what the answers mean. Pure."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

from cpo.domain.command import (
    CommandKind,
    Outcome,
    Reply,
    StationCommand,
    reservation_number,
)
from cpo.domain.tokens import ocpp_type
from cpo.errors import Invalid
from cpo.ocpp.contract import Request
from cpo.ocpp.values import write_instant

_STATUS: Final = {
    "Accepted": Outcome.ACCEPTED,
    "Scheduled": Outcome.SCHEDULED,
    "RebootRequired": Outcome.ACCEPTED,
    "Unlocked": Outcome.ACCEPTED,
    "UnlockFailed": Outcome.FAILED,
    "OngoingAuthorizedTransaction": Outcome.REJECTED,
    "UnknownConnector": Outcome.REJECTED,
    "NotSupported": Outcome.NOT_SUPPORTED,
    "NotImplemented": Outcome.NOT_SUPPORTED,
    "NotSupportedAttributeType": Outcome.NOT_SUPPORTED,
    "Faulted": Outcome.EVSE_INOPERATIVE,
    "Unavailable": Outcome.EVSE_INOPERATIVE,
    "Occupied": Outcome.EVSE_OCCUPIED,
    "Failed": Outcome.FAILED,
    "VersionMismatch": Outcome.FAILED,
    "AcceptedCanceled": Outcome.ACCEPTED,
}
_ITEMS: Final = 10
"""Variables in one message to a station that does not say how many it takes."""

_TRIGGERS: Final = {
    "SignChargePointCertificate": "SignChargingStationCertificate",
    "DiagnosticsStatusNotification": "LogStatusNotification",
}


def id_token(value: str, kind: str | None) -> dict[str, Any]:
    """Write an IdTokenType; a token whose kind OCPP does not know is one of ours (Central)."""
    return {"idToken": value, "type": ocpp_type(kind, value)}


def _start(command: StationCommand) -> list[Request]:
    payload: dict[str, Any] = {
        "remoteStartId": command.remote_start_id or 0,
        "idToken": id_token(command.id_token or "", command.id_token_type),
    }
    if command.evse_id:
        payload["evseId"] = command.evse_id
    if command.group_id and len(command.group_id) <= 36:
        payload["groupIdToken"] = {"idToken": command.group_id, "type": "Central"}
    if profile := command.parameters.get("profile"):
        payload["chargingProfile"] = profile_2(profile)
    return [Request("RequestStartTransaction", payload)]


def _stop(command: StationCommand) -> list[Request]:
    return [Request("RequestStopTransaction", {"transactionId": command.transaction or ""})]


def _unlock(command: StationCommand) -> list[Request]:
    payload = {"evseId": command.evse_id or 1, "connectorId": command.connector_id or 1}
    return [Request("UnlockConnector", payload)]


def _reserve(command: StationCommand) -> list[Request]:
    payload: dict[str, Any] = {
        "id": reservation_number(_needed(command, "reservation_id")),
        "expiryDateTime": _instant(command, "expiry_date_time"),
        "idToken": id_token(command.id_token or "", command.id_token_type),
    }
    if command.evse_id:
        payload["evseId"] = command.evse_id
    if command.group_id and len(command.group_id) <= 36:
        payload["groupIdToken"] = {"idToken": command.group_id, "type": "Central"}
    return [Request("ReserveNow", payload)]


def _cancel_reservation(command: StationCommand) -> list[Request]:
    number = reservation_number(_needed(command, "reservation_id"))
    return [Request("CancelReservation", {"reservationId": number})]


def _evse(command: StationCommand) -> dict[str, Any]:
    if not command.evse_id:
        return {}
    evse: dict[str, Any] = {"id": command.evse_id}
    if command.connector_id:
        evse["connectorId"] = command.connector_id
    return {"evse": evse}


def _availability(command: StationCommand) -> list[Request]:
    status = command.parameters.get("operational_status", "Operative")
    return [Request("ChangeAvailability", {"operationalStatus": status, **_evse(command)})]


def _reset(command: StationCommand) -> list[Request]:
    kind = command.parameters.get("type", "OnIdle")
    payload: dict[str, Any] = {"type": {"Hard": "Immediate", "Soft": "OnIdle"}.get(kind, kind)}
    if command.evse_id:
        payload["evseId"] = command.evse_id
    return [Request("Reset", payload)]


def _trigger(command: StationCommand) -> list[Request]:
    message = _needed(command, "requested_message")
    payload = {"requestedMessage": _TRIGGERS.get(message, message), **_evse(command)}
    return [Request("TriggerMessage", payload)]


def _get_variables(command: StationCommand) -> list[Request]:
    wanted = [_variable(variable) for variable in command.parameters.get("variables") or ()]
    if not wanted:
        request_id = command.parameters.get("request_id", 0)
        return [Request("GetBaseReport", {"requestId": request_id, "reportBase": "FullInventory"})]
    return [Request("GetVariables", {"getVariableData": part}) for part in _parts(command, wanted)]


def _set_variables(command: StationCommand) -> list[Request]:
    wanted = [
        {**_variable(variable), "attributeValue": str(variable["value"])}
        for variable in _needed(command, "variables")
    ]
    return [Request("SetVariables", {"setVariableData": part}) for part in _parts(command, wanted)]


def _parts(command: StationCommand, wanted: list[Any]) -> Iterator[list[Any]]:
    """Cut variables into what one message may hold (BO-17)."""
    size = command.parameters.get("items_per_message") or _ITEMS
    return (wanted[first : first + size] for first in range(0, len(wanted), size))


def _variable(given: Any) -> dict[str, Any]:
    """Read a variable: {"component", "variable", …} or "Component.Variable"."""
    if isinstance(given, str):
        component, dot, variable = given.partition(".")
        if not dot:
            raise Invalid("variables", "say Component.Variable")
        return {"component": {"name": component}, "variable": {"name": variable}}
    if "key" in given:
        return _variable(given["key"])
    try:
        component, variable = given["component"], given["variable"]
    except KeyError as missing:
        raise Invalid("variables", f"{missing.args[0]} is needed") from None
    written: dict[str, Any] = {
        "component": {"name": component} if isinstance(component, str) else component,
        "variable": {"name": variable} if isinstance(variable, str) else variable,
    }
    if kind := given.get("attribute_type") or given.get("attributeType"):
        written["attributeType"] = kind
    return written


def _set_profile(command: StationCommand) -> list[Request]:
    profile = profile_2(_needed(command, "profile"))
    if command.transaction is not None and profile["chargingProfilePurpose"] == "TxProfile":
        profile["transactionId"] = command.transaction
    payload = {"evseId": command.evse_id or 0, "chargingProfile": profile}
    return [Request("SetChargingProfile", payload)]


def profile_2(profile: dict[str, Any]) -> dict[str, Any]:
    """Complete a charging profile written as in 2.x: schedules are a list and have ids."""
    written = dict(profile)
    schedules = profile["chargingSchedule"]
    if not isinstance(schedules, list):
        schedules = [schedules]
    written["chargingSchedule"] = [
        {"id": number, **schedule} for number, schedule in enumerate(schedules, start=1)
    ]
    return written


def _clear_profile(command: StationCommand) -> list[Request]:
    given = command.parameters
    payload: dict[str, Any] = {}
    if "profile_id" in given:
        payload["chargingProfileId"] = given["profile_id"]
    criteria: dict[str, Any] = {}
    if command.evse_id is not None:
        criteria["evseId"] = command.evse_id
    if "purpose" in given:
        criteria["chargingProfilePurpose"] = given["purpose"]
    if "stack_level" in given:
        criteria["stackLevel"] = given["stack_level"]
    if criteria:
        payload["chargingProfileCriteria"] = criteria
    return [Request("ClearChargingProfile", payload)]


def _composite_schedule(command: StationCommand) -> list[Request]:
    payload = {"evseId": command.evse_id or 0, "duration": _needed(command, "duration")}
    if unit := command.parameters.get("charging_rate_unit"):
        payload["chargingRateUnit"] = unit
    return [Request("GetCompositeSchedule", payload)]


def _send_local_list(command: StationCommand) -> list[Request]:
    entries = []
    for entry in command.parameters.get("entries") or ():
        item: dict[str, Any] = {"idToken": id_token(entry["id_token"], entry.get("type"))}
        if status := entry.get("status"):
            item["idTokenInfo"] = {"status": status}
            if entry.get("group_id") and len(entry["group_id"]) <= 36:
                item["idTokenInfo"]["groupIdToken"] = {
                    "idToken": entry["group_id"],
                    "type": "Central",
                }
            if expires_at := entry.get("expires_at"):
                item["idTokenInfo"]["cacheExpiryDateTime"] = (
                    write_instant(expires_at) if isinstance(expires_at, datetime) else expires_at
                )
        entries.append(item)
    payload: dict[str, Any] = {
        "versionNumber": _needed(command, "version"),
        "updateType": command.parameters.get("update_type", "Full"),
    }
    if entries:
        payload["localAuthorizationList"] = entries
    return [Request("SendLocalList", payload)]


def _get_log(command: StationCommand) -> list[Request]:
    given = command.parameters
    log = {"remoteLocation": _needed(command, "location")} | _given(
        oldestTimestamp=given.get("oldest"), latestTimestamp=given.get("latest")
    )
    payload = {
        "logType": given.get("log_type", "DiagnosticsLog"),
        "requestId": _needed(command, "request_id"),
        "log": log,
    }
    return [Request("GetLog", payload)]


def _update_firmware(command: StationCommand) -> list[Request]:
    given = command.parameters
    firmware = {
        "location": _needed(command, "location"),
        "retrieveDateTime": _instant(command, "retrieve_at"),
    } | _given(
        installDateTime=given.get("install_at"),
        signingCertificate=given.get("signing_certificate"),
        signature=given.get("signature"),
    )
    payload = {"requestId": _needed(command, "request_id"), "firmware": firmware}
    return [Request("UpdateFirmware", payload)]


def _set_display_message(command: StationCommand) -> list[Request]:
    given = command.parameters
    content = {
        "format": given.get("format", "UTF8"),
        "content": _needed(command, "content"),
    } | _given(language=given.get("language"))
    message: dict[str, Any] = {
        "id": _needed(command, "id"),
        "priority": given.get("priority", "NormalCycle"),
        "message": content,
    } | _given(
        state=given.get("state"),
        startDateTime=given.get("start_at"),
        endDateTime=given.get("end_at"),
        transactionId=given.get("transaction"),
        display=given.get("display"),
    )
    return [Request("SetDisplayMessage", {"message": message})]


def _get_display_messages(command: StationCommand) -> list[Request]:
    given = command.parameters
    payload = {"requestId": _needed(command, "request_id")} | _given(
        id=given.get("ids"), priority=given.get("priority"), state=given.get("state")
    )
    return [Request("GetDisplayMessages", payload)]


def _clear_display_message(command: StationCommand) -> list[Request]:
    return [Request("ClearDisplayMessage", {"id": _needed(command, "id")})]


def _customer_information(command: StationCommand) -> list[Request]:
    given = command.parameters
    token = given.get("id_token")
    payload = {
        "requestId": _needed(command, "request_id"),
        "report": bool(given.get("report")),
        "clear": bool(given.get("clear")),
    } | _given(
        customerIdentifier=given.get("customer_identifier"),
        idToken=id_token(token, given.get("id_token_type")) if token else None,
        customerCertificate=given.get("customer_certificate"),
    )
    return [Request("CustomerInformation", payload)]


def _data_transfer(command: StationCommand) -> list[Request]:
    given = command.parameters
    payload = {"vendorId": _needed(command, "vendor_id")} | _given(
        messageId=given.get("message_id"), data=given.get("data")
    )
    return [Request("DataTransfer", payload)]


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _call(command: StationCommand) -> list[Request]:
    return [Request(_needed(command, "action"), command.parameters.get("payload") or {})]


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
    CommandKind.SET_DISPLAY_MESSAGE: _set_display_message,
    CommandKind.GET_DISPLAY_MESSAGES: _get_display_messages,
    CommandKind.CLEAR_DISPLAY_MESSAGE: _clear_display_message,
    CommandKind.CUSTOMER_INFORMATION: _customer_information,
    CommandKind.DATA_TRANSFER: _data_transfer,
    CommandKind.CALL: _call,
}


def _needed(command: StationCommand, name: str) -> Any:
    value = command.parameters.get(name)
    if value is None:
        raise Invalid(name, "is needed")
    return value


def _instant(command: StationCommand, name: str) -> str:
    value = _needed(command, name)
    return write_instant(value) if isinstance(value, datetime) else str(value)


INVENTORY: Final = Request("GetBaseReport", {"requestId": 0, "reportBase": "FullInventory"})


def status_of(evse_id: int, connector_id: int) -> Request:
    """Return the call that asks for the status of a connector."""
    evse = {"id": evse_id, "connectorId": connector_id}
    return Request("TriggerMessage", {"requestedMessage": "StatusNotification", "evse": evse})


def transaction_status(transaction: str) -> Request:
    """Return the call that asks whether a transaction goes on (E14)."""
    return Request("GetTransactionStatus", {"transactionId": transaction})


class Outbound2:
    """Implements Outbound for OCPP 2.0.1 and 2.1."""

    def requests(self, command: StationCommand) -> list[Request]:
        """Return the calls that carry a command out."""
        return _REQUESTS[command.kind](command)

    def reply(self, command: StationCommand, answers: list[dict[str, Any]]) -> Reply:
        """Read the answer; of several variables the first that was refused decides."""
        answer = dict(answers[0]) if answers else {}
        for further in answers[1:]:
            for name, items in further.items():
                if isinstance(items, list):
                    answer[name] = [*answer.get(name, ()), *items]
        status = answer.get("status")
        if status is None:
            results = answer.get("setVariableResult") or answer.get("getVariableResult") or ()
            statuses = [result.get("attributeStatus", "") for result in results]
            status = next((s for s in statuses if s not in ("Accepted", "RebootRequired")), None)
            if status is None:
                return Reply(outcome=Outcome.ACCEPTED, payload=answer)
        outcome = outcome_of(status)
        if command.kind is CommandKind.CANCEL_RESERVATION and outcome is Outcome.REJECTED:
            outcome = Outcome.UNKNOWN_RESERVATION
        reason = (answer.get("statusInfo") or {}).get("reasonCode")
        detail = None if outcome is Outcome.ACCEPTED else ": ".join(filter(None, (status, reason)))
        return Reply(outcome=outcome, payload=answer, detail=detail)


def outcome_of(status: str) -> Outcome:
    """Return what a status word of 2.x means; an unknown word is a no."""
    return _STATUS.get(status, Outcome.REJECTED)
