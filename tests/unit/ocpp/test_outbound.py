"""cpo/ocpp/v16/outbound.py and v2/outbound.py: every command in every version."""

from datetime import UTC, datetime
from typing import Any

import pytest

from cpo.domain.command import CommandKind, Outcome, StationCommand
from cpo.errors import Invalid
from cpo.ocpp import validation
from cpo.ocpp.adapter import DIALECTS

SCHEDULE = {
    "chargingRateUnit": "A",
    "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16, "numberPhases": 3}],
}
PROFILE = {
    "id": 1,
    "stackLevel": 0,
    "chargingProfilePurpose": "TxProfile",
    "chargingProfileKind": "Absolute",
    "chargingSchedule": [SCHEDULE],
}
EXPIRY = datetime(2026, 1, 1, 10, tzinfo=UTC)
VARIABLES = {
    "1.6": [{"key": "HeartbeatInterval", "value": 60}],
    "2.0.1": [{"component": "OCPPCommCtrlr", "variable": "HeartbeatInterval", "value": 60}],
    "2.1": [{"component": "OCPPCommCtrlr", "variable": "HeartbeatInterval", "value": 60}],
}


NOT_IN_16 = {
    CommandKind.SET_DISPLAY_MESSAGE,
    CommandKind.GET_DISPLAY_MESSAGES,
    CommandKind.CLEAR_DISPLAY_MESSAGE,
    CommandKind.CUSTOMER_INFORMATION,
}


def command(kind: CommandKind, version: str) -> StationCommand:
    parameters: dict[CommandKind, dict[str, Any]] = {
        CommandKind.RESERVE: {"reservation_id": "R-1", "expiry_date_time": EXPIRY},
        CommandKind.CANCEL_RESERVATION: {"reservation_id": "R-1"},
        CommandKind.TRIGGER: {"requested_message": "StatusNotification"},
        CommandKind.GET_VARIABLES: {"variables": VARIABLES[version]},
        CommandKind.SET_VARIABLES: {"variables": VARIABLES[version]},
        CommandKind.SET_CHARGING_PROFILE: {"profile": PROFILE},
        CommandKind.GET_COMPOSITE_SCHEDULE: {"duration": 3600, "charging_rate_unit": "A"},
        CommandKind.SEND_LOCAL_LIST: {
            "version": 3,
            "update_type": "Differential",
            "entries": [
                {"id_token": "A" * 36, "type": "RFID", "status": "Accepted", "group_id": "G"},
                {"id_token": "B", "type": "RFID"},
            ],
        },
        CommandKind.GET_LOG: {
            "location": "http://h/transfer/s",
            "request_id": 4,
            "log_type": "SecurityLog",
            "oldest": "2026-01-01T00:00:00Z",
        },
        CommandKind.UPDATE_FIRMWARE: {
            "location": "http://h/transfer/s",
            "request_id": 4,
            "retrieve_at": EXPIRY,
            "signing_certificate": "C",
            "signature": "S",
        },
        CommandKind.SET_DISPLAY_MESSAGE: {
            "id": 3,
            "content": "Hello",
            "language": "en",
            "state": "Idle",
            "start_at": "2026-01-01T00:00:00Z",
            "transaction": "T",
        },
        CommandKind.GET_DISPLAY_MESSAGES: {"request_id": 4, "ids": [3], "priority": "InFront"},
        CommandKind.CLEAR_DISPLAY_MESSAGE: {"id": 3},
        CommandKind.CUSTOMER_INFORMATION: {
            "request_id": 4,
            "report": True,
            "id_token": "AABB",
            "id_token_type": "RFID",
        },
        CommandKind.DATA_TRANSFER: {"vendor_id": "V", "message_id": "M", "data": "text"},
        CommandKind.CALL: {"action": "ClearCache"},
    }
    return StationCommand(
        kind=kind,
        evse_id=1,
        connector_id=1,
        id_token="a" * 30,
        id_token_type="RFID",
        group_id="G",
        remote_start_id=77,
        transaction="12",
        parameters=parameters.get(kind, {}),
    )


@pytest.mark.parametrize("version", list(DIALECTS))
@pytest.mark.parametrize("kind", list(CommandKind))
def test_rp30_every_command_is_valid_in_every_version(kind: CommandKind, version: str) -> None:
    if version == "1.6" and kind in NOT_IN_16:
        with pytest.raises(Invalid, match=r"OCPP 1\.6 has no such request"):
            DIALECTS[version].outbound.requests(command(kind, version))
        return
    requests = DIALECTS[version].outbound.requests(command(kind, version))

    assert requests
    for request in requests:
        validation.check(version, request.action, request.payload)


def test_cm06_long_tokens_get_a_stable_alias_at_16_chargers() -> None:
    outbound = DIALECTS["1.6"].outbound
    first, second = (
        outbound.requests(command(CommandKind.START_SESSION, "1.6"))[0].payload["idTag"]
        for _ in range(2)
    )

    assert first == second
    assert len(first) <= 20


def test_cm09_a_remote_start_of_2x_has_its_id_and_no_transaction_in_the_profile() -> None:
    start = StationCommand(
        kind=CommandKind.START_SESSION,
        evse_id=1,
        id_token="AABB",
        remote_start_id=77,
        parameters={"profile": PROFILE},
    )

    (request,) = DIALECTS["2.0.1"].outbound.requests(start)

    assert request.payload["remoteStartId"] == 77
    assert request.payload["chargingProfile"]["chargingProfilePurpose"] == "TxProfile"
    assert "transactionId" not in request.payload["chargingProfile"]
    validation.check("2.0.1", request.action, request.payload)


def test_bo14_all_configuration_is_asked_for_with_an_empty_request() -> None:
    everything = StationCommand(kind=CommandKind.GET_VARIABLES)

    (request,) = DIALECTS["1.6"].outbound.requests(everything)

    assert (request.action, request.payload) == ("GetConfiguration", {})


@pytest.mark.parametrize(
    ("version", "kind", "answer", "outcome"),
    [
        ("1.6", CommandKind.START_SESSION, {"status": "Accepted"}, Outcome.ACCEPTED),
        ("1.6", CommandKind.START_SESSION, {"status": "Rejected"}, Outcome.REJECTED),
        ("1.6", CommandKind.UNLOCK, {"status": "Unlocked"}, Outcome.ACCEPTED),
        ("1.6", CommandKind.UNLOCK, {"status": "UnlockFailed"}, Outcome.FAILED),
        ("1.6", CommandKind.UNLOCK, {"status": "NotSupported"}, Outcome.NOT_SUPPORTED),
        ("1.6", CommandKind.RESERVE, {"status": "Occupied"}, Outcome.EVSE_OCCUPIED),
        ("1.6", CommandKind.RESERVE, {"status": "Faulted"}, Outcome.EVSE_INOPERATIVE),
        ("1.6", CommandKind.RESERVE, {"status": "Unavailable"}, Outcome.EVSE_INOPERATIVE),
        ("1.6", CommandKind.RESERVE, {"status": "Rejected"}, Outcome.REJECTED),
        (
            "1.6",
            CommandKind.CANCEL_RESERVATION,
            {"status": "Rejected"},
            Outcome.UNKNOWN_RESERVATION,
        ),
        ("1.6", CommandKind.AVAILABILITY, {"status": "Scheduled"}, Outcome.SCHEDULED),
        ("1.6", CommandKind.TRIGGER, {"status": "NotImplemented"}, Outcome.NOT_SUPPORTED),
        ("1.6", CommandKind.SET_VARIABLES, {"status": "RebootRequired"}, Outcome.ACCEPTED),
        ("1.6", CommandKind.SET_VARIABLES, {"status": "NotSupported"}, Outcome.NOT_SUPPORTED),
        ("2.0.1", CommandKind.UNLOCK, {"status": "UnlockFailed"}, Outcome.FAILED),
        (
            "2.0.1",
            CommandKind.UNLOCK,
            {"status": "OngoingAuthorizedTransaction"},
            Outcome.REJECTED,
        ),
        ("2.0.1", CommandKind.UNLOCK, {"status": "UnknownConnector"}, Outcome.REJECTED),
        ("2.0.1", CommandKind.RESET, {"status": "Scheduled"}, Outcome.SCHEDULED),
        (
            "2.0.1",
            CommandKind.SET_VARIABLES,
            {"setVariableResult": [{"attributeStatus": "UnknownVariable"}]},
            Outcome.REJECTED,
        ),
        ("2.1", CommandKind.START_SESSION, {"status": "Accepted"}, Outcome.ACCEPTED),
    ],
)
def test_cm03_cm13_cm16_answers_become_outcomes(
    version: str, kind: CommandKind, answer: dict[str, Any], outcome: Outcome
) -> None:
    reply = DIALECTS[version].outbound.reply(command(kind, version), [answer])

    assert reply.outcome is outcome
    assert (reply.detail is None) == (outcome is Outcome.ACCEPTED)


def test_cm25_each_variables_own_status_is_kept() -> None:
    answer = {
        "setVariableResult": [
            {"attributeStatus": "Accepted"},
            {"attributeStatus": "UnknownComponent"},
        ]
    }

    reply = DIALECTS["2.0.1"].outbound.reply(command(CommandKind.SET_VARIABLES, "2.0.1"), [answer])

    assert reply.outcome is Outcome.REJECTED
    assert reply.payload == answer


@pytest.mark.parametrize("version", list(DIALECTS))
def test_a_missing_parameter_is_named(version: str) -> None:
    with pytest.raises(Invalid) as caught:
        DIALECTS[version].outbound.requests(StationCommand(kind=CommandKind.TRIGGER))

    assert caught.value.field == "requested_message"
