"""The device model of a 2.x station: components, variables, attributes. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from chargers_sim.measurands import MEASURANDS, OF_VERSION, known_to
from chargers_sim.outbox import Payload
from chargers_sim.settings import ENERGY

# Where network profiles can be kept; 0 is what the station was started with.
SLOTS = tuple(str(n) for n in range(6))

Place = tuple[str, int | None, int | None]


@dataclass(slots=True, kw_only=True)
class Variable:
    """One variable of one component."""

    component: str
    name: str
    value: str
    instance: str | None = None
    evse: int | None = None
    connector: int | None = None
    readonly: bool = False
    writeonly: bool = False
    reboot: bool = False
    kind: Literal["string", "integer", "boolean", "decimal", "OptionList", "MemberList"] = "string"
    unit: str | None = None
    allowed: tuple[str, ...] = ()
    highest: int | None = None
    monitored: bool = False
    forced: str | None = None

    @property
    def key(self) -> tuple[str, int | None, int | None, str, str | None]:
        """What identifies it, without regard to case."""
        instance = None if self.instance is None else self.instance.casefold()
        return (
            self.component.casefold(),
            self.evse,
            self.connector,
            self.name.casefold(),
            instance,
        )

    def place(self) -> Payload:
        """Name it as messages do: component and variable."""
        component: Payload = {"name": self.component}
        if self.evse is not None:
            component["evse"] = {"id": self.evse}
            if self.connector is not None:
                component["evse"]["connectorId"] = self.connector
        variable: Payload = {"name": self.name}
        if self.instance is not None:
            variable["instance"] = self.instance
        return {"component": component, "variable": variable}

    def accepts(self, value: str) -> bool:
        """Check a value against the type."""
        match self.kind:
            case "integer":
                return value.lstrip("-").isdigit() and int(value) >= 0
            case "boolean":
                return value in {"true", "false"}
            case "MemberList":
                return not self.allowed or all(
                    v.strip() in self.allowed for v in value.split(",") if v.strip()
                )
            case "OptionList":
                return not self.allowed or value in self.allowed
            case _:
                return len(value) <= 2500


class Variables:
    """All variables of one station."""

    def __init__(self, variables: Iterable[Variable]) -> None:
        self._all = {v.key: v for v in variables}

    def __iter__(self) -> Any:
        return iter(self._all.values())

    def get(self, component: str, name: str) -> str:
        """Read a station-level variable that is known to exist."""
        return self._all[component.casefold(), None, None, name.casefold(), None].value

    def set(self, component: str, name: str, value: str) -> None:
        """Write a station-level variable from inside."""
        self._all[component.casefold(), None, None, name.casefold(), None].value = value

    def find(self, wanted: dict[str, Any]) -> Variable | str:
        """Find what a GetVariables or SetVariables item names, or the reason why not."""
        component, variable = wanted["component"], wanted["variable"]
        evse = component.get("evse") or {}
        place = (component["name"].casefold(), evse.get("id"), evse.get("connectorId"))
        instance = variable.get("instance")
        key = (*place, variable["name"].casefold(), instance.casefold() if instance else None)
        found = self._all.get(key)
        if found is not None:
            return found
        known = any(k[:3] == place for k in self._all)
        return "UnknownVariable" if known else "UnknownComponent"

    def dump(self) -> dict[str, Any]:
        """Write what can be changed down, for the state file."""
        return {
            f"{v.component}.{v.name}": v.value
            for v in self._all.values()
            if v.evse is None and not v.readonly
        }

    def load(self, kept: dict[str, Any]) -> None:
        """Read values back."""
        for name, value in kept.items():
            component, _, variable = name.partition(".")
            key = (component.casefold(), None, None, variable.casefold(), None)
            if key in self._all:
                self._all[key].value = str(value)


def standard(
    *,
    version: str,
    outlets: Iterable[tuple[int, int, str, int]],
    sampled: Iterable[str],
    aligned: Iterable[str],
    sample_seconds: int,
    aligned_seconds: int,
    vendor: str,
    model: str,
    serial: str,
) -> list[Variable]:
    """List the variables of a full station; outlets are (evse, connector, type, watts)."""
    known = tuple(m for m in MEASURANDS if m in OF_VERSION[version])
    energy = ENERGY
    told = ",".join(known_to(version, sampled))

    def v(component: str, name: str, value: object, **more: Any) -> Variable:
        return Variable(component=component, name=name, value=str(value), **more)

    def measurands(name: str, value: str) -> Variable:
        component, _, variable = name.partition(".")
        return v(component, variable, value, kind="MemberList", allowed=known)

    live: dict[str, Any] = {"readonly": True, "monitored": True}
    listed = [
        v("ChargingStation", "VendorName", vendor, readonly=True),
        v("ChargingStation", "Model", model, readonly=True),
        v("ChargingStation", "SerialNumber", serial, readonly=True),
        v("ChargingStation", "AvailabilityState", "", readonly=True, monitored=True),
        v("ChargingStation", "Available", "true", readonly=True, kind="boolean"),
        v("ChargingStation", "Power", 0, **live, kind="decimal", unit="W"),
        v("ChargingStation", "Problem", "false", **live, kind="boolean"),
        v("Controller", "FirmwareVersion", "", readonly=True, monitored=True),
        v("ExternalTemperatureSensor", "Temperature", 24, **live, kind="decimal", unit="Celsius"),
        v("OCPPCommCtrlr", "HeartbeatInterval", 300, kind="integer", unit="s"),
        v("OCPPCommCtrlr", "WebSocketPingInterval", 20, kind="integer", unit="s"),
        v("OCPPCommCtrlr", "RetryBackOffRepeatTimes", 5, kind="integer"),
        v("OCPPCommCtrlr", "RetryBackOffRandomRange", 10, kind="integer", unit="s"),
        v("OCPPCommCtrlr", "RetryBackOffWaitMinimum", 1, kind="integer", unit="s"),
        v("OCPPCommCtrlr", "ActiveNetworkProfile", 0, readonly=True, kind="integer"),
        v(
            "OCPPCommCtrlr",
            "NetworkConfigurationPriority",
            "0",
            kind="MemberList",
            allowed=SLOTS,
            reboot=True,
        ),
        v("OCPPCommCtrlr", "NetworkProfileConnectionAttempts", 3, kind="integer"),
        v("OCPPCommCtrlr", "OfflineThreshold", 60, kind="integer", unit="s"),
        v("OCPPCommCtrlr", "QueueAllMessages", "false", kind="boolean"),
        v("OCPPCommCtrlr", "MessageTimeout", 30, instance="Default", kind="integer", unit="s"),
        v(
            "OCPPCommCtrlr",
            "MessageAttempts",
            3,
            instance="TransactionEvent",
            kind="integer",
        ),
        v(
            "OCPPCommCtrlr",
            "MessageAttemptInterval",
            60,
            instance="TransactionEvent",
            kind="integer",
            unit="s",
        ),
        v("OCPPCommCtrlr", "FileTransferProtocols", "HTTP,HTTPS", readonly=True),
        v("OCPPCommCtrlr", "UnlockOnEVSideDisconnect", "true", kind="boolean"),
        v("OCPPCommCtrlr", "ResetRetries", 1, kind="integer"),
        v("DeviceDataCtrlr", "ItemsPerMessage", 50, instance="GetReport", readonly=True),
        v("DeviceDataCtrlr", "ItemsPerMessage", 50, instance="GetVariables", readonly=True),
        v("DeviceDataCtrlr", "ItemsPerMessage", 50, instance="SetVariables", readonly=True),
        v("DeviceDataCtrlr", "BytesPerMessage", 65536, instance="GetReport", readonly=True),
        v("DeviceDataCtrlr", "BytesPerMessage", 65536, instance="GetVariables", readonly=True),
        v("DeviceDataCtrlr", "BytesPerMessage", 65536, instance="SetVariables", readonly=True),
        v("SecurityCtrlr", "BasicAuthPassword", "", writeonly=True),
        v("SecurityCtrlr", "Identity", serial, readonly=True),
        v("SecurityCtrlr", "OrganizationName", "Example CPO"),
        v("SecurityCtrlr", "SecurityProfile", 1, readonly=True, kind="integer"),
        v("SecurityCtrlr", "CertificateEntries", 0, readonly=True, kind="integer"),
        v("AuthCtrlr", "AuthorizeRemoteStart", "false", kind="boolean"),
        v("AuthCtrlr", "LocalAuthorizeOffline", "true", kind="boolean"),
        v("AuthCtrlr", "LocalPreAuthorize", "false", kind="boolean"),
        v("AuthCtrlr", "OfflineTxForUnknownIdEnabled", "false", kind="boolean"),
        v("AuthCtrlr", "MasterPassGroupId", ""),
        v("AuthCacheCtrlr", "Enabled", "true", kind="boolean"),
        v("AuthCacheCtrlr", "LifeTime", 0, kind="integer", unit="s"),
        v("LocalAuthListCtrlr", "Enabled", "true", kind="boolean"),
        v("LocalAuthListCtrlr", "Entries", 0, readonly=True, kind="integer"),
        v("LocalAuthListCtrlr", "ItemsPerMessage", 1000, readonly=True, kind="integer"),
        v("LocalAuthListCtrlr", "BytesPerMessage", 65536, readonly=True, kind="integer"),
        v("TxCtrlr", "EVConnectionTimeOut", 60, kind="integer", unit="s"),
        v("TxCtrlr", "MaxEnergyOnInvalidId", 0, kind="integer", unit="Wh"),
        v("TxCtrlr", "StopTxOnEVSideDisconnect", "true", kind="boolean"),
        v("TxCtrlr", "StopTxOnInvalidId", "true", kind="boolean"),
        v(
            "TxCtrlr",
            "TxStartPoint",
            "PowerPathClosed",
            kind="MemberList",
            allowed=(
                "ParkingBayOccupied",
                "EVConnected",
                "Authorized",
                "DataSigned",
                "PowerPathClosed",
                "EnergyTransfer",
            ),
        ),
        v(
            "TxCtrlr",
            "TxStopPoint",
            "Authorized,EVConnected",
            kind="MemberList",
            allowed=(
                "ParkingBayOccupied",
                "EVConnected",
                "Authorized",
                "DataSigned",
                "PowerPathClosed",
                "EnergyTransfer",
            ),
        ),
        v("SampledDataCtrlr", "Enabled", "true", kind="boolean"),
        v("SampledDataCtrlr", "TxUpdatedInterval", sample_seconds, kind="integer", unit="s"),
        v("SampledDataCtrlr", "TxEndedInterval", 0, kind="integer", unit="s"),
        measurands("SampledDataCtrlr.TxStartedMeasurands", energy),
        measurands("SampledDataCtrlr.TxUpdatedMeasurands", told),
        measurands("SampledDataCtrlr.TxEndedMeasurands", energy),
        v("AlignedDataCtrlr", "Enabled", "true", kind="boolean"),
        v("AlignedDataCtrlr", "Interval", aligned_seconds, kind="integer", unit="s"),
        v("AlignedDataCtrlr", "TxEndedInterval", 0, kind="integer", unit="s"),
        v("AlignedDataCtrlr", "SendDuringIdle", "false", kind="boolean"),
        measurands("AlignedDataCtrlr.Measurands", ",".join(known_to(version, aligned))),
        measurands("AlignedDataCtrlr.TxEndedMeasurands", energy),
        v("ClockCtrlr", "DateTime", "", readonly=True),
        v("ClockCtrlr", "TimeSource", "Heartbeat"),
        v("ClockCtrlr", "TimeZone", "Etc/UTC"),
        v("ReservationCtrlr", "Enabled", "true", kind="boolean"),
        v("ReservationCtrlr", "NonEvseSpecific", "true", readonly=True, kind="boolean"),
        v("SmartChargingCtrlr", "Enabled", "true", kind="boolean"),
        v("SmartChargingCtrlr", "ProfileStackLevel", 8, readonly=True, kind="integer"),
        v("SmartChargingCtrlr", "RateUnit", "A,W", readonly=True),
        v("SmartChargingCtrlr", "PeriodsPerSchedule", 48, readonly=True, kind="integer"),
        v("SmartChargingCtrlr", "Entries", 0, instance="ChargingProfiles", readonly=True),
        v("ISO15118Ctrlr", "Enabled", "true", kind="boolean"),
        v("ISO15118Ctrlr", "PnCEnabled", "true", kind="boolean"),
        v("ISO15118Ctrlr", "CentralContractValidationAllowed", "false", kind="boolean"),
        v("ISO15118Ctrlr", "ContractValidationOffline", "false", kind="boolean"),
        v("ISO15118Ctrlr", "SeccId", serial, readonly=True),
        v("DisplayMessageCtrlr", "DisplayMessages", 0, readonly=True, kind="integer"),
        v("MonitoringCtrlr", "Enabled", "true", kind="boolean"),
        v("MonitoringCtrlr", "OfflineQueuingSeverity", 4, kind="integer"),
        v("CustomizationCtrlr", "CustomImplementationEnabled", "false", readonly=True),
    ]
    register = {**live, "kind": "decimal", "unit": "Wh"}
    for evse, connector, kind, watts in outlets:
        if not any(x.component == "EVSE" and x.evse == evse for x in listed):
            listed += [
                v("EVSE", "AvailabilityState", "", evse=evse, **live),
                v("EVSE", "Available", "true", evse=evse, readonly=True, kind="boolean"),
                v("EVSE", "Power", 0, evse=evse, **live, kind="decimal", unit="W", highest=watts),
                v("EVSE", "Problem", "false", evse=evse, **live, kind="boolean"),
                v("EVSE", "SupplyPhases", 3, evse=evse, readonly=True, kind="integer"),
                v("FiscalMetering", "EnergyImportRegister", 0, evse=evse, **register),
            ]
        at = {"evse": evse, "connector": connector, "readonly": True}
        listed += [
            v("Connector", "AvailabilityState", "", monitored=True, **at),
            v("Connector", "Available", "true", kind="boolean", **at),
            v("Connector", "ConnectorType", kind, **at),
        ]
    return listed
