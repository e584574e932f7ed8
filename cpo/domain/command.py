"""Neutral commands to stations, the same for all OCPP versions, and their outcomes."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Any

from cpo.domain.tokens import Token


class CommandKind(StrEnum):
    """What a station can be asked to do."""

    START_SESSION = "start"
    STOP_SESSION = "stop"
    UNLOCK = "unlock"
    RESERVE = "reserve"
    CANCEL_RESERVATION = "cancel-reservation"
    AVAILABILITY = "availability"
    RESET = "reset"
    TRIGGER = "trigger"
    GET_VARIABLES = "get-variables"
    SET_VARIABLES = "set-variables"
    CLEAR_CACHE = "clear-cache"
    SET_CHARGING_PROFILE = "set-charging-profile"
    CLEAR_CHARGING_PROFILE = "clear-charging-profile"
    GET_COMPOSITE_SCHEDULE = "get-composite-schedule"
    SEND_LOCAL_LIST = "send-local-list"
    GET_LOCAL_LIST_VERSION = "get-local-list-version"
    GET_LOG = "get-log"
    UPDATE_FIRMWARE = "update-firmware"
    SET_DISPLAY_MESSAGE = "set-display-message"
    GET_DISPLAY_MESSAGES = "get-display-messages"
    CLEAR_DISPLAY_MESSAGE = "clear-display-message"
    CUSTOMER_INFORMATION = "customer-information"
    DATA_TRANSFER = "data-transfer"
    CALL = "call"


class Outcome(StrEnum):
    """How a command ended."""

    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    FAILED = "FAILED"
    NOT_SUPPORTED = "NOT_SUPPORTED"
    EVSE_OCCUPIED = "EVSE_OCCUPIED"
    EVSE_INOPERATIVE = "EVSE_INOPERATIVE"
    UNKNOWN_RESERVATION = "UNKNOWN_RESERVATION"
    SCHEDULED = "SCHEDULED"
    TIMEOUT = "TIMEOUT"
    OFFLINE = "OFFLINE"


class CommandState(StrEnum):
    """How far a command has come."""

    QUEUED = "queued"
    SENT = "sent"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class StationCommand:
    """What goes to the station, in neutral words.

    `evse_id` and `connector_id` are OCPP numbers (for 1.6 `evse_id` is the connectorId); 0 or None
    means the whole station. `id_token` is what the charger gets (an alias where the uid is too
    long for 1.6). `transaction` is the station's own transaction id. Everything else is in
    `parameters`, named as in OCPP 2.x: type ("OnIdle", "Immediate"), requested_message,
    operational_status, reservation_id, expiry_date_time, variables, profile, …
    """

    kind: CommandKind
    evse_id: int | None = None
    connector_id: int | None = None
    id_token: str | None = None
    id_token_type: str | None = None
    group_id: str | None = None
    remote_start_id: int | None = None
    transaction: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the station made of a command; `payload` is its own answer."""

    outcome: Outcome
    payload: dict[str, Any] = field(default_factory=dict)
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command as a resource: who asked, what came of it.

    Sent to the station at most once (promise 5): `state` SENT is on disk before the frame leaves.
    `response_url` and `partner_id` are set for commands that came by OCPI, `asked_of` and
    `asked_by` are our party and theirs (country code, party id) where the request named them.
    `reporting_at` is on disk before the one CommandResult leaves, `reported_at` when it was
    delivered or given up.
    """

    id: str
    kind: CommandKind
    station: str
    requested_by: str
    created_at: datetime
    deadline: datetime
    state: CommandState = CommandState.QUEUED
    outcome: Outcome | None = None
    detail: str | None = None
    payload: dict[str, Any] = field(default_factory=dict)
    evse_id: int | None = None
    connector_id: int | None = None
    evse_uid: str | None = None
    location_id: str | None = None
    token: Token | None = None
    authorization_reference: str | None = None
    remote_start_id: int | None = None
    reservation_id: str | None = None
    session_id: str | None = None
    partner_id: str | None = None
    response_url: str | None = None
    version: str | None = None
    idempotency_key: str | None = None
    finished_at: datetime | None = None
    reporting_at: datetime | None = None
    reported_at: datetime | None = None
    asked_of: tuple[str, str] | None = None
    asked_by: tuple[str, str] | None = None
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def refused_at_once(self) -> bool:
        """Whether its station was offline when it came: who asked was told so at once."""
        return self.outcome is Outcome.OFFLINE and self.finished_at == self.created_at


def reservation_number(reservation_id: str | int) -> int:
    """Return the number under which a charger knows a reservation, the same for the same id."""
    if isinstance(reservation_id, int):
        return reservation_id
    if reservation_id.isdecimal() and len(reservation_id) < 10:
        return int(reservation_id)
    digest = blake2b(reservation_id.encode(), digest_size=4, person=b"reservation").digest()
    return int.from_bytes(digest, "big") & 0x7FFFFFFF
