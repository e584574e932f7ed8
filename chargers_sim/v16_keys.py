"""The configuration keys of OCPP 1.6 and how they shape a station's behaviour."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Literal

from chargers_sim.errors import BadInput
from chargers_sim.measurands import OF_VERSION, known_to
from chargers_sim.outbox import Payload
from chargers_sim.peer import Handler
from chargers_sim.settings import ENERGY

if TYPE_CHECKING:
    from chargers_sim.live import Station

FEATURES = "Core,FirmwareManagement,LocalAuthListManagement,Reservation,SmartCharging,RemoteTrigger"


@dataclass(slots=True)
class Key:
    """A configuration key."""

    value: str
    readonly: bool = False
    reboot: bool = False
    kind: Literal["str", "int", "bool", "measurands"] = "str"

    def accepts(self, value: str) -> bool:
        """Check a value against the kind."""
        if self.kind == "bool":
            return value.lower() in {"true", "false"}
        if self.kind == "int":
            try:
                return Decimal(value) == int(value) and int(value) >= 0
            except (InvalidOperation, ValueError):
                return False
        if self.kind == "measurands":
            named = [m.strip() for m in value.split(",") if m.strip()]
            return all(m in OF_VERSION["1.6"] for m in named)
        return len(value) <= 500


def standard_keys(
    connectors: int,
    sampled: Iterable[str],
    sample_s: int,
    aligned_s: int,
    aligned: Iterable[str] = (ENERGY,),
) -> dict[str, Key]:
    """List the keys of a full 1.6 station with their values from the factory."""
    told = ",".join(known_to("1.6", sampled))
    return {
        "AllowOfflineTxForUnknownId": Key("false", kind="bool"),
        "AuthorizationCacheEnabled": Key("true", kind="bool"),
        "AuthorizeRemoteTxRequests": Key("false", kind="bool"),
        "BlinkRepeat": Key("0", kind="int"),
        "ClockAlignedDataInterval": Key(str(aligned_s), kind="int"),
        "ConnectionTimeOut": Key("60", kind="int"),
        "ConnectorPhaseRotation": Key("NotApplicable"),
        "GetConfigurationMaxKeys": Key("100", readonly=True, kind="int"),
        "HeartbeatInterval": Key("300", kind="int"),
        "LightIntensity": Key("50", kind="int"),
        "LocalAuthorizeOffline": Key("true", kind="bool"),
        "LocalPreAuthorize": Key("false", kind="bool"),
        "MaxEnergyOnInvalidId": Key("0", kind="int"),
        "MeterValuesAlignedData": Key(",".join(known_to("1.6", aligned)), kind="measurands"),
        "MeterValuesSampledData": Key(told, kind="measurands"),
        "MeterValueSampleInterval": Key(str(sample_s), kind="int"),
        "MinimumStatusDuration": Key("0", kind="int"),
        "NumberOfConnectors": Key(str(connectors), readonly=True, kind="int"),
        "ResetRetries": Key("1", kind="int"),
        "StopTransactionOnEVSideDisconnect": Key("true", kind="bool"),
        "StopTransactionOnInvalidId": Key("true", kind="bool"),
        "StopTxnAlignedData": Key("", kind="measurands"),
        "StopTxnSampledData": Key(ENERGY, kind="measurands"),
        "SupportedFeatureProfiles": Key(FEATURES, readonly=True),
        "TransactionMessageAttempts": Key("3", kind="int"),
        "TransactionMessageRetryInterval": Key("60", kind="int"),
        "UnlockConnectorOnEVSideDisconnect": Key("true", kind="bool"),
        "WebSocketPingInterval": Key("20", kind="int"),
        "LocalAuthListEnabled": Key("true", kind="bool"),
        "LocalAuthListMaxLength": Key("10000", readonly=True, kind="int"),
        "SendLocalListMaxLength": Key("1000", readonly=True, kind="int"),
        "ReserveConnectorZeroSupported": Key("true", readonly=True, kind="bool"),
        "ChargeProfileMaxStackLevel": Key("8", readonly=True, kind="int"),
        "ChargingScheduleAllowedChargingRateUnit": Key("Current,Power", readonly=True),
        "ChargingScheduleMaxPeriods": Key("48", readonly=True, kind="int"),
        "MaxChargingProfilesInstalled": Key("32", readonly=True, kind="int"),
        "SupportedFileTransferProtocols": Key("HTTP,HTTPS", readonly=True),
        "AdditionalRootCertificateCheck": Key("false", readonly=True, kind="bool"),
        "CertificateSignedMaxChainSize": Key("10000", readonly=True, kind="int"),
        "CertificateStoreMaxLength": Key("50", readonly=True, kind="int"),
        "CpoName": Key("Example CPO"),
        "SecurityProfile": Key("1", kind="int"),
    }


class Keys16:
    """The keys of one station: told, changed, obeyed."""

    def __init__(self, station: "Station") -> None:
        self._station = station
        template = station.template
        self.keys = standard_keys(
            len(station.model.outlets),
            template.sampled,
            template.sample_seconds,
            template.aligned_seconds,
            template.aligned,
        )
        for name, value in template.configuration.items():
            self._put(name, value)
        self.handlers: dict[str, Handler] = {
            "ChangeConfiguration": self._change,
            "GetConfiguration": self._get,
        }
        self.apply()

    def on(self, name: str) -> bool:
        """Say whether a switch is on."""
        key = self.keys.get(name)
        return key is not None and key.value.lower() == "true"

    def number(self, name: str) -> int:
        """Read a key that is a number."""
        return int(self.keys[name].value)

    def measurands(self, name: str) -> tuple[str, ...]:
        """Read a key that lists measurands."""
        return tuple(m.strip() for m in self.keys[name].value.split(",") if m.strip())

    def set(self, name: str, value: str) -> str:
        """Change a key; the answer is the protocol's status word."""
        if name == "AuthorizationKey":
            return self._new_password(value)
        key = self.keys.get(name)
        if key is None:
            return "NotSupported"
        if key.readonly or not key.accepts(value):
            return "Rejected"
        self._put(name, value)
        self.apply()
        self._station.model.schedule(self._station.now)
        self._station.dispatch()
        return "RebootRequired" if key.reboot else "Accepted"

    def configure(self, name: str, value: str) -> None:
        """Change a key at the station itself, read-only ones too; raises BadInput."""
        key = self.keys.get(name)
        if key is None:
            raise BadInput(f"no configuration key {name!r}; known are {', '.join(self.keys)}")
        if not key.accepts(value):
            raise BadInput(f"{name}: not a value of this key: {value!r}")
        self._put(name, value)
        self.apply()

    def booted(self, interval: int) -> None:
        """Note the heartbeat interval of a BootNotification's answer."""
        self.keys["HeartbeatInterval"].value = str(interval)

    def dump(self) -> dict[str, Any]:
        """Write the keys down."""
        return {name: key.value for name, key in self.keys.items()}

    def load(self, kept: dict[str, Any]) -> None:
        """Read the keys back."""
        for name, value in kept.items():
            changed = name not in self.keys or self.keys[name].value != str(value)
            if changed:
                self._put(name, str(value))
        self.apply()

    def apply(self) -> None:
        """Let the model and the token store behave as the keys say."""
        settings, tokens = self._station.model.settings, self._station.tokens
        settings.sample_seconds = self.number("MeterValueSampleInterval")
        settings.aligned_seconds = self.number("ClockAlignedDataInterval")
        settings.end_seconds = settings.sample_seconds
        settings.end_aligned_seconds = settings.aligned_seconds
        settings.connection_seconds = self.number("ConnectionTimeOut")
        settings.status_seconds = self.number("MinimumStatusDuration")
        settings.sampled = self.measurands("MeterValuesSampledData")
        settings.aligned = self.measurands("MeterValuesAlignedData")
        settings.begin = (ENERGY,)
        settings.end = self.measurands("StopTxnSampledData")
        settings.end_aligned = self.measurands("StopTxnAlignedData")
        settings.stop_on_unplug = self.on("StopTransactionOnEVSideDisconnect")
        settings.stop_on_invalid = self.on("StopTransactionOnInvalidId")
        settings.invalid_wh = self.number("MaxEnergyOnInvalidId")
        settings.reserve_any = self.on("ReserveConnectorZeroSupported")
        tokens.list_enabled = self.on("LocalAuthListEnabled")
        tokens.max_entries = self.number("LocalAuthListMaxLength")
        tokens.max_sent = self.number("SendLocalListMaxLength")
        tokens.cache_enabled = self.on("AuthorizationCacheEnabled")
        tokens.pre_authorize = self.on("LocalPreAuthorize")
        tokens.authorize_offline = self.on("LocalAuthorizeOffline")
        tokens.allow_offline_unknown = self.on("AllowOfflineTxForUnknownId")

    def _put(self, name: str, value: str) -> None:
        key = self.keys.get(name)
        if key is None:
            self.keys[name] = Key(value)
        else:
            key.value = value
        link = self._station.link
        # What the tester set up for the line holds until somebody changes the key.
        match name:
            case "HeartbeatInterval":
                link.beat_every(int(value))
            case "TransactionMessageAttempts":
                link.settings.attempts = max(1, int(value))
            case "TransactionMessageRetryInterval":
                link.settings.retry_seconds = int(value)
            case "WebSocketPingInterval":
                pings = int(value) or None
                self._station.address = replace(self._station.address, ping_seconds=pings)

    def _get(self, request: Payload) -> Payload:
        asked = request.get("key") or list(self.keys)
        known = [
            {"key": k, "readonly": self.keys[k].readonly, "value": self.keys[k].value}
            for k in asked
            if k in self.keys
        ]
        answer: Payload = {"configurationKey": known}
        if unknown := [k for k in asked if k not in self.keys]:
            answer["unknownKey"] = unknown
        self._station.emit("command", action="GetConfiguration", request=request)
        return answer

    def _change(self, request: Payload) -> Payload:
        status = self.set(request["key"], request["value"])
        self._station.emit("command", action="ChangeConfiguration", request=request, status=status)
        return {"status": status}

    def _new_password(self, value: str) -> str:
        if not 16 <= len(value) <= 40:
            return "Rejected"
        self._station.change_password(value)
        return "Accepted"
