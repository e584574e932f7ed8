"""What charge points report, in one shape for all OCPP versions.

The shape is that of OCPP 2.x: a station has EVSEs, an EVSE has connectors. For OCPP 1.6 the
adapter sets `evse_id` to the connectorId and `connector_id` to 1; 0 means the whole station.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from cpo.domain.values import Named, Value


class Availability(StrEnum):
    """What a connector says of itself (OCPP 2.0.1 ConnectorStatusEnumType)."""

    AVAILABLE = "Available"
    OCCUPIED = "Occupied"
    RESERVED = "Reserved"
    UNAVAILABLE = "Unavailable"
    FAULTED = "Faulted"
    UNKNOWN = "Unknown"


class ChargingState(StrEnum):
    """What happens between the EVSE and the car (OCPP 2.0.1 ChargingStateEnumType)."""

    CHARGING = "Charging"
    EV_CONNECTED = "EVConnected"
    SUSPENDED_EV = "SuspendedEV"
    SUSPENDED_EVSE = "SuspendedEVSE"
    IDLE = "Idle"


class EventKind(StrEnum):
    """Where in a transaction an event stands (OCPP 2.0.1 TransactionEventEnumType)."""

    STARTED = "Started"
    UPDATED = "Updated"
    ENDED = "Ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """A station introduced itself (BootNotification)."""

    vendor: str
    model: str
    serial_number: str | None = None
    firmware_version: str | None = None
    meter_type: str | None = None
    meter_serial_number: str | None = None
    iccid: str | None = None
    imsi: str | None = None
    reason: str | None = None


class StatusReport(Named, frozen=True, kw_only=True):
    """A connector's status, from StatusNotification or NotifyEvent(AvailabilityState).

    `at` is the charger's own time where it gave one, else the arrival. `activity` is what
    OCPP 1.6 says beyond availability (Preparing, Charging, SuspendedEV, SuspendedEVSE,
    Finishing); OCPP 2.x says it in TransactionEvents.
    """

    evse_id: int
    connector_id: int
    availability: Availability
    at: datetime
    received_at: datetime
    activity: str | None = None
    error_code: str | None = None
    info: str | None = None
    vendor_error_code: str | None = None


class IdToken(Value, frozen=True):
    """Who identifies at a charger; 1.6 idTags have the type "" (compared without case)."""

    value: str
    type: str = ""


@dataclass(frozen=True, slots=True)
class SignedReading:
    """A meter reading signed by the meter, carried on untouched.

    `nature` is Start, End or Intermediate; `data` is what the charger sent (OCMF text, hex or
    base64); `method` e.g. OCMF.
    """

    nature: str
    data: str
    method: str | None = None
    public_key: str | None = None
    at: datetime | None = None


class Sample(Value, frozen=True):
    """All that a meter said at one instant, in Wh, W, A, V and percent; phases already summed.

    `register_wh` is the import register at the outlet, an odometer, `net_wh` one of import less
    export. `context` is the OCPP
    reading context (Sample.Periodic, Transaction.Begin, Transaction.End, Sample.Clock …).
    """

    at: datetime
    register_wh: Decimal | None = None
    power_w: Decimal | None = None
    current_a: Decimal | None = None
    soc_percent: Decimal | None = None
    export_wh: Decimal | None = None
    interval_wh: Decimal | None = None
    voltage_v: Decimal | None = None
    context: str = "Sample.Periodic"
    signed: SignedReading | None = None
    net_wh: Decimal | None = None


class MeterReport(Named, frozen=True, kw_only=True):
    """Meter values outside a transaction event (MeterValues of both versions).

    `transaction` is the station's transaction id, where it named one.
    """

    evse_id: int
    samples: tuple[Sample, ...]
    received_at: datetime
    transaction: str | None = None


class TransactionEvent(Named, frozen=True, kw_only=True):
    """One step of a transaction, as every OCPP version reports it.

    1.6: StartTransaction is STARTED with `transaction` None (we give the id) and `meter_wh` =
    meterStart; StopTransaction is ENDED with `meter_wh` = meterStop; `seq` is None.
    2.x: TransactionEvent as it is; `transaction` is the station's own id.
    `told_at` is the time as the station gave it, where `at` was corrected by its clock's offset:
    a repeat must be recognised whatever was learned meanwhile.
    """

    kind: EventKind
    at: datetime
    received_at: datetime
    transaction: str | None = None
    seq: int | None = None
    evse_id: int | None = None
    connector_id: int | None = None
    id_token: IdToken | None = None
    group_id_token: IdToken | None = None
    meter_wh: Decimal | None = None
    samples: tuple[Sample, ...] = ()
    charging_state: ChargingState | None = None
    trigger: str | None = None
    stopped_reason: str | None = None
    offline: bool = False
    remote_start_id: int | None = None
    reservation_id: int | None = None
    told_at: datetime | None = None
