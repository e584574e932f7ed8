"""The device model of a 2.x station at work: told, changed, reported, obeyed."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chargers_sim.clock import iso
from chargers_sim.errors import BadInput
from chargers_sim.measurands import known_to
from chargers_sim.outbox import Outgoing, Payload
from chargers_sim.peer import Handler
from chargers_sim.v2_network import chosen
from chargers_sim.variables import Variable, Variables, standard

if TYPE_CHECKING:
    from chargers_sim.live import Station

REPORT_PART = 20
# What the schema lets a list of values be; all measurands of 2.1 are longer.
LONGEST_LIST = 1_000


class DeviceModel:
    """Variables, and the behaviour that follows from them."""

    def __init__(self, station: "Station") -> None:
        self._station = station
        template = station.template
        self.variables = Variables(
            standard(
                version=station.version,
                outlets=[(o.evse, o.connector, o.kind, o.max_power_w) for o in template.outlets],
                sampled=template.sampled,
                aligned=template.aligned,
                sample_seconds=template.sample_seconds,
                aligned_seconds=template.aligned_seconds,
                vendor=template.vendor,
                model=template.model,
                serial=station.serial,
            )
        )
        for name, value in template.configuration.items():
            self.variables.load({name: value})
        self.checks: dict[tuple[str, str], Callable[[str], bool]] = {}
        """What a value must fulfil beside its type, by component and name."""
        self.handlers: dict[str, Handler] = {
            "GetBaseReport": self._get_base_report,
            "GetReport": self._get_report,
            "GetVariables": self._get_variables,
            "SetVariables": self._set_variables,
        }
        self.apply()

    def on(self, component: str, name: str) -> bool:
        """Say whether a switch is on."""
        return self.variables.get(component, name).lower() == "true"

    def number(self, component: str, name: str) -> int:
        """Read a variable that is a whole number."""
        return int(self.variables.get(component, name))

    def listed(self, component: str, name: str) -> tuple[str, ...]:
        """Read a variable that is a list."""
        value = self.variables.get(component, name)
        return tuple(v.strip() for v in value.split(",") if v.strip())

    def present(self, variable: Variable) -> str:
        """Give the value a variable has now; some follow from what goes on at the station."""
        if variable.forced is not None:
            return variable.forced
        tell = _LIVE.get((variable.component, variable.name))
        return variable.value if tell is None else tell(self._station, variable)

    def configure(self, named: str, value: str) -> None:
        """Change `Component.Variable` at the station itself, read-only ones too; raises BadInput.

        A variable with instances is named `Component.Variable.Instance`.
        """
        component, _, rest = named.partition(".")
        name, _, instance = rest.partition(".")
        key = (component.casefold(), None, None, name.casefold(), instance.casefold() or None)
        found = next((v for v in self.variables if v.key == key), None)
        if found is None:
            raise BadInput(f"no variable {named} in this station's device model")
        if not self._takes(found, value):
            raise BadInput(f"{named}: not a value of this variable: {value!r}")
        found.value = value
        self._shape_line(found)
        self.apply()

    def force(self, named: str, value: str | None, *, evse: int | None = None) -> None:
        """Let `Component.Variable` show a value whatever goes on; None lets it go again."""
        component, _, name = named.partition(".")
        fits = [
            v
            for v in self.variables
            if (v.component.casefold(), v.name.casefold())
            == (component.casefold(), name.casefold())
            and v.evse == evse
        ]
        if not fits:
            place = "" if evse is None else f" of EVSE {evse}"
            raise BadInput(f"no variable {named}{place} in this station's device model")
        for variable in fits:
            variable.forced = value

    def apply(self) -> None:
        """Let the model and the token store behave as the variables say."""
        settings, tokens = self._station.model.settings, self._station.tokens
        sampled = self.on("SampledDataCtrlr", "Enabled")
        aligned = self.on("AlignedDataCtrlr", "Enabled")
        settings.sample_seconds = self.number("SampledDataCtrlr", "TxUpdatedInterval") * sampled
        settings.end_seconds = self.number("SampledDataCtrlr", "TxEndedInterval") * sampled
        settings.aligned_seconds = self.number("AlignedDataCtrlr", "Interval") * aligned
        settings.end_aligned_seconds = self.number("AlignedDataCtrlr", "TxEndedInterval") * aligned
        settings.aligned_while_charging = not self.on("AlignedDataCtrlr", "SendDuringIdle")
        settings.connection_seconds = self.number("TxCtrlr", "EVConnectionTimeOut")
        settings.sampled = self._measurands("SampledDataCtrlr", "TxUpdatedMeasurands")
        settings.aligned = self._measurands("AlignedDataCtrlr", "Measurands")
        settings.begin = self._measurands("SampledDataCtrlr", "TxStartedMeasurands")
        settings.end = self._measurands("SampledDataCtrlr", "TxEndedMeasurands")
        settings.end_aligned = self._measurands("AlignedDataCtrlr", "TxEndedMeasurands")
        settings.start_points = frozenset(self.listed("TxCtrlr", "TxStartPoint"))
        settings.stop_points = frozenset(self.listed("TxCtrlr", "TxStopPoint"))
        settings.stop_on_unplug = self.on("TxCtrlr", "StopTxOnEVSideDisconnect")
        settings.stop_on_invalid = self.on("TxCtrlr", "StopTxOnInvalidId")
        settings.invalid_wh = self.number("TxCtrlr", "MaxEnergyOnInvalidId")
        settings.reserve_any = self.on("ReservationCtrlr", "NonEvseSpecific")
        self._station.link.settings.queue_all = self.on("OCPPCommCtrlr", "QueueAllMessages")
        self._station.link.settings.offline_threshold = self.number(
            "OCPPCommCtrlr", "OfflineThreshold"
        )
        tokens.list_enabled = self.on("LocalAuthListCtrlr", "Enabled")
        tokens.max_sent = self.number("LocalAuthListCtrlr", "ItemsPerMessage")
        tokens.cache_enabled = self.on("AuthCacheCtrlr", "Enabled")
        tokens.lifetime_seconds = self.number("AuthCacheCtrlr", "LifeTime")
        tokens.pre_authorize = self.on("AuthCtrlr", "LocalPreAuthorize")
        tokens.authorize_offline = self.on("AuthCtrlr", "LocalAuthorizeOffline")
        tokens.allow_offline_unknown = self.on("AuthCtrlr", "OfflineTxForUnknownIdEnabled")
        tokens.master_group = self.variables.get("AuthCtrlr", "MasterPassGroupId") or None

    def dump(self) -> dict[str, Any]:
        """Write the variables down."""
        return self.variables.dump()

    def load(self, kept: dict[str, Any]) -> None:
        """Read the variables back."""
        self.variables.load(kept)
        self.apply()

    def report(self, request_id: int, chosen: list[Variable]) -> None:
        """Send NotifyReport in parts."""
        parts = [chosen[i : i + REPORT_PART] for i in range(0, len(chosen), REPORT_PART)] or [[]]
        for seq, part in enumerate(parts):
            payload: Payload = {
                "requestId": request_id,
                "generatedAt": iso(self._station.now),
                "seqNo": seq,
                "tbc": seq < len(parts) - 1,
            }
            if part:
                payload["reportData"] = [self._report_line(v) for v in part]
            self._station.send(Outgoing(action="NotifyReport", payload=payload))

    def _measurands(self, component: str, name: str) -> tuple[str, ...]:
        return known_to(self._station.version, self.listed(component, name))

    def _get_variables(self, request: Payload) -> Payload:
        results = [self._read(wanted) for wanted in request["getVariableData"]]
        self._station.emit("command", action="GetVariables", request=request)
        return {"getVariableResult": results}

    def _read(self, wanted: Payload) -> Payload:
        result: Payload = {"component": wanted["component"], "variable": wanted["variable"]}
        kind = wanted.get("attributeType")
        if kind is not None:
            result["attributeType"] = kind
        found = self.variables.find(wanted)
        if isinstance(found, str):
            return {**result, "attributeStatus": found}
        if kind not in {None, "Actual"}:
            return {**result, "attributeStatus": "NotSupportedAttributeType"}
        if found.writeonly:
            return {**result, "attributeStatus": "Rejected"}
        return {**result, "attributeStatus": "Accepted", "attributeValue": self.present(found)}

    def _set_variables(self, request: Payload) -> Payload:
        results = [self._write(wanted) for wanted in request["setVariableData"]]
        self.apply()
        self._station.model.schedule(self._station.now)
        self._station.dispatch()
        self._station.emit("command", action="SetVariables", request=request)
        return {"setVariableResult": results}

    def _write(self, wanted: Payload) -> Payload:
        result: Payload = {"component": wanted["component"], "variable": wanted["variable"]}
        kind, value = wanted.get("attributeType"), wanted["attributeValue"]
        if kind is not None:
            result["attributeType"] = kind
        found = self.variables.find(wanted)
        if isinstance(found, str):
            status = found
        elif kind not in {None, "Actual"}:
            status = "NotSupportedAttributeType"
        elif found.readonly or not self._takes(found, value):
            status = "Rejected"
        elif (found.component, found.name) == ("SecurityCtrlr", "BasicAuthPassword"):
            status = "Accepted" if 16 <= len(value) <= 64 else "Rejected"
            if status == "Accepted":
                self._station.change_password(value)
        else:
            found.value = value
            self._shape_line(found)
            status = "RebootRequired" if found.reboot else "Accepted"
        return {**result, "attributeStatus": status}

    def _takes(self, variable: Variable, value: str) -> bool:
        check = self.checks.get((variable.component, variable.name))
        return variable.accepts(value) and (check is None or check(value))

    def _shape_line(self, changed: Variable) -> None:
        # What the tester set up for the line holds until the server changes the variable.
        station, settings = self._station, self._station.link.settings
        match changed.name, changed.instance:
            case "HeartbeatInterval", _:
                station.link.beat_every(int(changed.value))
            case "WebSocketPingInterval", _:
                pings = int(changed.value) or None
                station.address = replace(station.address, ping_seconds=pings)
            case "MessageAttempts", "TransactionEvent":
                settings.attempts = max(1, int(changed.value))
            case "MessageAttemptInterval", "TransactionEvent":
                settings.retry_seconds = int(changed.value)
            case "MessageTimeout", "Default":
                settings.message_timeout = max(1, int(changed.value))
            case (("RetryBackOffWaitMinimum" | "RetryBackOffRepeatTimes"), _):
                shortest = self.number("OCPPCommCtrlr", "RetryBackOffWaitMinimum")
                times = self.number("OCPPCommCtrlr", "RetryBackOffRepeatTimes")
                settings.reconnect = (shortest, shortest * 2**times)

    def _get_base_report(self, request: Payload) -> Payload:
        kind = request["reportBase"]
        if kind == "SummaryInventory":
            chosen = [v for v in self.variables if v.name in {"AvailabilityState", "Problem"}]
        elif kind == "ConfigurationInventory":
            chosen = [v for v in self.variables if not v.readonly]
        else:
            chosen = list(self.variables)
        self.report(request["requestId"], chosen)
        return self._station.answer("GetBaseReport", request, "Accepted")

    def _get_report(self, request: Payload) -> Payload:
        wanted = request.get("componentVariable")
        chosen = [v for v in self.variables if not wanted or any(named(w, v) for w in wanted)]
        if not chosen:
            return self._station.answer("GetReport", request, "EmptyResultSet")
        self.report(request["requestId"], chosen)
        return self._station.answer("GetReport", request, "Accepted")

    def _report_line(self, variable: Variable) -> Payload:
        mutability = "ReadOnly" if variable.readonly else "ReadWrite"
        attribute: Payload = {
            "type": "Actual",
            "mutability": "WriteOnly" if variable.writeonly else mutability,
        }
        if not variable.writeonly:
            attribute["value"] = self.present(variable)
        shape: Payload = {"dataType": variable.kind, "supportsMonitoring": variable.monitored}
        if variable.unit is not None:
            shape["unit"] = variable.unit
        if variable.highest is not None:
            shape["maxLimit"] = variable.highest
        values = ",".join(variable.allowed)
        if values and len(values) <= LONGEST_LIST:
            shape["valuesList"] = values
        return {
            **variable.place(),
            "variableAttribute": [attribute],
            "variableCharacteristics": shape,
        }


def named(wanted: Payload, variable: Variable) -> bool:
    """Say whether a ComponentVariable names this variable."""
    component, asked = wanted["component"], wanted.get("variable")
    if component["name"].casefold() != variable.component.casefold():
        return False
    evse = component.get("evse") or {}
    if evse.get("id", variable.evse) != variable.evse:
        return False
    return asked is None or asked["name"].casefold() == variable.name.casefold()


Tell = Callable[["Station", Variable], str]


def _availability(station: "Station", variable: Variable) -> str:
    model = station.model
    if variable.evse is None:
        return model.report(0, station.now).status
    outlets = [
        o
        for o in model.outlets.values()
        if o.evse == variable.evse and variable.connector in {None, o.connector}
    ]
    statuses = {model.status(o) for o in outlets}
    for status in ("Faulted", "Reserved", "Available", "Unavailable"):
        if statuses == {status}:
            return status
    return "Occupied"


def _power(station: "Station", variable: Variable) -> str:
    outlets = [o for o in station.model.outlets.values() if variable.evse in {None, o.evse}]
    return str(sum(station.model.power_w(o) for o in outlets))


def _register(station: "Station", variable: Variable) -> str:
    outlets = [o for o in station.model.outlets.values() if o.evse == variable.evse]
    return str(sum(o.meter.register_wh() for o in outlets))


def _problem(station: "Station", variable: Variable) -> str:
    faults: Iterable[str | None] = (
        o.fault for o in station.model.outlets.values() if variable.evse in {None, o.evse}
    )
    broken = station.model.fault is not None or any(faults)
    return str(broken).lower()


def _active_network(station: "Station", _: Variable) -> str:
    networks = chosen(station)
    return "0" if networks is None else str(networks.active)


_LIVE: dict[tuple[str, str], Tell] = {
    ("ChargingStation", "AvailabilityState"): _availability,
    ("ChargingStation", "Power"): _power,
    ("ChargingStation", "Problem"): _problem,
    ("OCPPCommCtrlr", "ActiveNetworkProfile"): _active_network,
    ("SecurityCtrlr", "SecurityProfile"): lambda station, _: str(station.security_profile),
    ("ClockCtrlr", "DateTime"): lambda station, _: iso(station.now),
    ("Connector", "AvailabilityState"): _availability,
    ("Controller", "FirmwareVersion"): lambda station, _: station.firmware,
    ("EVSE", "AvailabilityState"): _availability,
    ("EVSE", "Power"): _power,
    ("EVSE", "Problem"): _problem,
    ("FiscalMetering", "EnergyImportRegister"): _register,
    ("LocalAuthListCtrlr", "Entries"): lambda station, _: str(len(station.tokens.listed)),
    ("SecurityCtrlr", "CertificateEntries"): lambda station, _: str(
        len(station.certificates.installed)
    ),
    ("SmartChargingCtrlr", "Entries"): lambda station, _: str(len(station.profiles.installed)),
}
