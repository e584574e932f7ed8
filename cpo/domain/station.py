"""A station, its connectors, and the fold of their reports into one OCPI EVSE status."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cpo.domain.events import Availability, Boot, StatusReport
from cpo.domain.values import Named, replace


class EvseStatus(StrEnum):
    """The status of an EVSE as partners see it (OCPI Status)."""

    AVAILABLE = "AVAILABLE"
    BLOCKED = "BLOCKED"
    CHARGING = "CHARGING"
    INOPERATIVE = "INOPERATIVE"
    OUTOFORDER = "OUTOFORDER"
    PLANNED = "PLANNED"
    REMOVED = "REMOVED"
    RESERVED = "RESERVED"
    UNKNOWN = "UNKNOWN"


class Approval(StrEnum):
    """Whether the operator lets a station work.

    PENDING came by itself (`ocpp.unknown_stations = "register"`): it is served, but its EVSEs are
    not published. WAITING and REJECTED are the operator's word, told to it at its boot.
    """

    APPROVED = "approved"
    PENDING = "pending"
    WAITING = "waiting"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """A charge point as the operator registered it and as it introduced itself.

    `password_hash` is a keyed hash; `previous_password_hash` holds during a rotation.
    `security_profile` is a floor: a connection below it is refused. `security_profile_asked` is
    what the station was told to use: the floor, once it has come in with it (FW-10).
    `certificates` are the serial numbers (hex) of those that we signed for it to show to us, the
    oldest first; `revoked_certificates` those that it may not come in with any more.
    """

    identity: str
    password_hash: str | None = None
    previous_password_hash: str | None = None
    ocpp_versions: tuple[str, ...] = ("1.6", "2.0.1", "2.1")
    security_profile: int = 1
    allow_without_password: bool = False
    approval: Approval = Approval.APPROVED
    boot: Boot | None = None
    booted_at: datetime | None = None
    last_seen_at: datetime | None = None
    ocpp_version: str | None = None
    settings: Mapping[str, str] | None = None
    clock_offset_s: float = 0.0
    security_profile_asked: int | None = None
    certificates: tuple[str, ...] = ()
    revoked_certificates: tuple[str, ...] = ()


class ConnectorState(Named, frozen=True, kw_only=True):
    """The newest status of one connector; (0, 0) is the station as a whole."""

    station: str
    evse_id: int
    connector_id: int
    availability: Availability
    at: datetime
    received_at: datetime
    activity: str | None = None
    error_code: str | None = None
    info: str | None = None
    vendor_error_code: str | None = None


@dataclass(frozen=True, slots=True)
class StatusRules:
    """The settings of the mapping table (each row may be set by the operator).

    Where `preparing` or `finishing` is BLOCKED, it is so only after `blocked_after`.
    """

    available: EvseStatus = EvseStatus.AVAILABLE
    preparing: EvseStatus = EvseStatus.CHARGING
    charging: EvseStatus = EvseStatus.CHARGING
    suspended_ev: EvseStatus = EvseStatus.CHARGING
    suspended_evse: EvseStatus = EvseStatus.CHARGING
    finishing: EvseStatus = EvseStatus.CHARGING
    reserved: EvseStatus = EvseStatus.RESERVED
    unavailable: EvseStatus = EvseStatus.INOPERATIVE
    faulted: EvseStatus = EvseStatus.OUTOFORDER
    blocked_after: timedelta = timedelta(0)

    @property
    def told_apart(self) -> bool:
        """Whether it makes a difference what a cable that is in is there for."""
        rows = (self.charging, self.suspended_ev, self.suspended_evse, self.finishing)
        return any(row is not self.preparing for row in rows)

    @property
    def waits(self) -> bool:
        """Whether a status may change only because time passes."""
        return bool(self.blocked_after) and EvseStatus.BLOCKED in (self.preparing, self.finishing)

    def occupied(self, activity: str | None, lasted: timedelta | None) -> EvseStatus:
        """Return what an EVSE is whose cable is in, by what that is there for."""
        status = {
            "Preparing": self.preparing,
            "SuspendedEV": self.suspended_ev,
            "SuspendedEVSE": self.suspended_evse,
            "Finishing": self.finishing,
        }.get(activity or "", self.charging)
        early = lasted is not None and lasted < self.blocked_after
        if early and status is EvseStatus.BLOCKED and activity in ("Preparing", "Finishing"):
            return EvseStatus.CHARGING
        return status


def fold_status(
    known: ConnectorState | None, report: StatusReport, *, station: str
) -> ConnectorState | None:
    """Return the connector's new state, or None when the report is older than what is known.

    Equal times are taken in order of arrival (ST-05). Chargers tell whole seconds, and a report
    without a time has that of its arrival: so whole seconds are compared.
    """
    if known is not None and report.at.replace(microsecond=0) < known.at.replace(microsecond=0):
        return None
    return ConnectorState(
        station=station,
        evse_id=report.evse_id,
        connector_id=report.connector_id,
        availability=report.availability,
        at=report.at,
        received_at=report.received_at,
        activity=report.activity,
        error_code=report.error_code,
        info=report.info,
        vendor_error_code=report.vendor_error_code,
    )


def connector_status(
    state: ConnectorState, rules: StatusRules, *, lasted: timedelta | None = None
) -> EvseStatus:
    """Map one connector's state, and how long it has lasted, to OCPI (MAP-10)."""
    match state.availability:
        case Availability.AVAILABLE:
            return rules.available
        case Availability.OCCUPIED:
            return rules.occupied(state.activity, lasted)
        case Availability.RESERVED:
            return rules.reserved
        case Availability.UNAVAILABLE:
            return rules.unavailable
        case Availability.FAULTED:
            return rules.faulted
        case Availability.UNKNOWN:
            return EvseStatus.UNKNOWN


# Several connectors on one EVSE: the first of these that any connector has wins (MAP-11).
_PRIORITY = (
    EvseStatus.CHARGING,
    EvseStatus.BLOCKED,
    EvseStatus.RESERVED,
    EvseStatus.AVAILABLE,
    EvseStatus.INOPERATIVE,
    EvseStatus.OUTOFORDER,
    EvseStatus.UNKNOWN,
)


def evse_status(
    connectors: Iterable[ConnectorState],
    *,
    doubted: Collection[tuple[int, int]] = (),
    whole: ConnectorState | None,
    online: bool,
    in_transaction: bool,
    operator: EvseStatus | None,
    bound: bool,
    rules: StatusRules,
    lasted: Mapping[tuple[int, int], timedelta] | None = None,
) -> EvseStatus:
    """Fold everything known about an EVSE into its OCPI status (MAP-10 to MAP-13, ST-02).

    Args:
        connectors: the newest states of the connectors that belong to the EVSE.
        doubted: the (EVSE, connector) numbers that have to tell their status anew: a station that
            comes back is not what it was when it went (BR-02).
        whole: the state of connector 0, which overlays all others when not Available.
        online: False once the station has been gone longer than the grace time.
        in_transaction: a transaction is open at this EVSE.
        operator: the operator's own word, which beats the charger's.
        bound: a station is named for the EVSE; without one it is PLANNED.
        rules: the settings of the mapping.
        lasted: how long connectors have been what they are, by their numbers.
    """
    if operator is not None:
        return operator
    if not bound:
        return EvseStatus.PLANNED
    if not online:
        return EvseStatus.UNKNOWN
    parts = list(connectors)
    if len(parts) > 1:
        # What 2.x says of an EVSE (connector 0) lies over its connectors, as the station does.
        level = next((state for state in parts if state.connector_id == 0), None)
        if level is not None:
            parts.remove(level)
            if _overlays(level) and (
                not _overlays(whole) or level.availability is Availability.FAULTED
            ):
                whole = level
    mapped: set[EvseStatus] = set()
    silent = False
    for state in parts:
        key = (state.evse_id, state.connector_id)
        if key in doubted:
            silent = True
            continue
        since = lasted.get(key) if lasted is not None else None
        mapped.add(connector_status(state, rules, lasted=since))
    if silent:
        # One cable in use is enough to know; for anything else all have to be heard.
        return EvseStatus.CHARGING if EvseStatus.CHARGING in mapped else EvseStatus.UNKNOWN
    if whole is not None and _overlays(whole):
        overlay = connector_status(whole, rules)
        # A worse state of its own stays visible below the overlay.
        return rules.faulted if mapped == {rules.faulted} else overlay
    if not mapped:
        return EvseStatus.CHARGING if in_transaction else EvseStatus.UNKNOWN
    return next((status for status in _PRIORITY if status in mapped), EvseStatus.UNKNOWN)


def _overlays(whole: ConnectorState | None) -> bool:
    return whole is not None and whole.availability in (
        Availability.FAULTED,
        Availability.UNAVAILABLE,
    )


def introduced(station: Station, boot: Boot, *, at: datetime) -> Station:
    """Return the station with what its BootNotification said."""
    return replace(station, boot=boot, booted_at=at, last_seen_at=at)
