"""What stations tell of themselves beyond status and transactions: kept, shown, alarmed.

The device model, firmware and log jobs, security events, charging limits, reports in several parts.
Nothing here is read per message; a document is found by station, kind and key.
"""

from bisect import bisect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final

import structlog

from cpo.domain.urls import MASK
from cpo.services.ports import StationDocument, Store, Work

log = structlog.get_logger()

# Security events that the operator is told of at once (1.6 whitepaper and 2.0.1, appendix 1).
CRITICAL_EVENTS: Final = frozenset(
    {
        "FirmwareUpdated",
        "SettingSystemTime",
        "StartupOfTheDevice",
        "ResetOrReboot",
        "SecurityLogWasCleared",
        "MemoryExhaustion",
        "TamperDetectionActivated",
        "InvalidFirmwareSignature",
        "InvalidFirmwareSigningCertificate",
        "InvalidCsmsCertificate",
        "InvalidCentralSystemCertificate",
        "InvalidChargingStationCertificate",
        "InvalidChargePointCertificate",
        "InvalidTLSVersion",
        "InvalidTLSCipherSuite",
        "FailedToAuthenticateAtCsms",
        "FailedToAuthenticateAtCentralSystem",
        "CsmsFailedToAuthenticate",
        "CentralSystemFailedToAuthenticate",
        "AttemptedReplayAttacks",
        # Ours: a station names a transaction that belongs to another.
        "ForeignTransactionId",
    }
)
# Those that are kept without an alarm; together the types that the standards name.
OTHER_EVENTS: Final = frozenset(
    {
        "ReconfigurationOfSecurityParameters",
        "AttemptedReplayAttacksDetected",
        "FirmwareUpdateFailed",
        "MaintenanceLoginAccepted",
        "MaintenanceLoginFailed",
    }
)
# From these states a firmware or log job does not come back.
FINAL_STATES: Final = frozenset(
    {
        "Installed",
        "DownloadFailed",
        "InstallationFailed",
        "InstallVerificationFailed",
        "InvalidSignature",
        "RevokedCertificate",
        "Published",
        "PublishFailed",
        "InvalidChecksum",
        "Uploaded",
        "UploadFailed",
        "UploadFailure",
        "BadMessage",
        "PermissionDenied",
        "NotSupportedOperation",
        "AcceptedCanceled",
    }
)
# What a new train of statuses begins with; anything else after an end is late, not another try.
_BEGINNINGS: Final = frozenset({"DownloadScheduled", "Downloading", "Uploading"})
_IDLE: Final = "Idle"
_FAILED_STATES: Final = FINAL_STATES - {"Installed", "Published", "Uploaded", "AcceptedCanceled"}
CHOSEN: Final = "charging-schedule"
_SWAP_STATES: Final = {
    "BatteryIn": "in", "BatteryOut": "done", "BatteryOutTimeout": "not taken",
}  # fmt: skip
_SWAPPED: Final = {"BatteryIn": "in", "BatteryOut": "out"}
_HISTORY: Final = 50
_MAX_ITEMS: Final = 20_000
_MAX_PARTS: Final = 5_000
_NAMED_MISSING: Final = 100
_STREAMED: Final = 500
"""Values of one stream that are kept."""
Progress = Callable[[Work, str, str, str, int | None, datetime], Awaitable[None]]
"""Hears of a job's status: unit of work, station, kind, status, request id, time."""

Report = Callable[[Work, str, str, int, int, bool, datetime], Awaitable[None]]
"""Hears of a report: unit of work, station, kind, request id, parts so far, complete, time."""

Needs = Callable[[Work, str, dict[str, Any], datetime], Awaitable[str]]
"""Decides about a car's needs: unit of work, station, message, time; the status to answer."""

SECRET_VARIABLES: Final = frozenset({"authorizationkey", "basicauthpassword"})
"""Names of variables whose values are kept by nobody (SEC-13), in lower case."""

CURRENT: Final = "current"
"""The key of a job that has no request id (OCPP 1.6 without its security extension)."""


class Equipment:
    """Keeps documents about stations."""

    def __init__(self, store: Store, *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self.on_progress: list[Progress] = []
        self.on_report: list[Report] = []
        self.on_limit: list[Callable[[str], None]] = []
        self.on_needs: Needs | None = None
        self.on_schedule: list[Callable[[str, int], None]] = []
        self.on_security_event: list[Callable[[str, bool], None]] = []

    def keep(
        self, work: Work, station: str, kind: str, key: str, document: dict[str, Any], at: datetime
    ) -> None:
        """Keep a document in its newest form."""
        work.put(StationDocument(station, kind, key, document, at))

    async def forget(self, work: Work, station: str, kind: str, prefix: str = "") -> int:
        """Remove the documents of a kind whose key begins with something; returns how many."""
        found = await self._store.documents(station, kind, prefix=prefix)
        for document in found:
            work.delete(document)
        return len(found)

    def forget_one(self, work: Work, station: str, kind: str, key: str) -> None:
        """Remove one document, if it is there."""
        work.delete(StationDocument(station, kind, key, {}, self._now()))

    def security_event(
        self, work: Work, station: str, name: str, info: str | None, *, at: datetime, now: datetime
    ) -> None:
        """Keep a security event, and raise it where it matters (FW-06)."""
        critical = name in CRITICAL_EVENTS
        document = {"type": name, "info": info, "critical": critical, "timestamp": at.isoformat()}
        self.keep(work, station, "security-event", f"{now.isoformat()}|{name}"[:200], document, now)
        if critical:
            log.warning("station.security_event", station=station, type=name)

        def tell(_: datetime) -> None:
            for listener in self.on_security_event:
                listener(name, critical)

        work.then(tell)

    def foreign_transaction(self, work: Work, station: str, key: str, at: datetime) -> None:
        """Raise that a station names a transaction that belongs to another (TX16-10, SEC-09)."""
        told = f"names transaction {key} of another station"
        self.security_event(work, station, "ForeignTransactionId", told, at=at, now=at)

    async def charging_needs(
        self, work: Work, station: str, sent: dict[str, Any], at: datetime
    ) -> str:
        """Hand a car's needs to who makes schedules; returns the status to answer (K15)."""
        if self.on_needs is None:
            self.keep(work, station, "charging-needs", str(sent["evseId"]), sent, at)
            return "Rejected"
        return await self.on_needs(work, station, sent, at)

    def schedule_chosen(
        self, work: Work, station: str, sent: dict[str, Any], *, at: datetime
    ) -> None:
        """Keep what a car has chosen; who makes schedules compares it then (K15, K17)."""
        self.keep(work, station, CHOSEN, str(sent["evseId"]), sent, at)

        def tell(_: datetime) -> None:
            for listener in self.on_schedule:
                listener(station, int(sent["evseId"]))

        work.then(tell)

    async def battery_swap(
        self, work: Work, station: str, sent: dict[str, Any], *, at: datetime
    ) -> None:
        """Join the messages of one swap (S01, S02)."""
        key = str(sent["requestId"])
        known = await self._store.document(station, "battery-swap", key)
        event = sent["eventType"]
        document: dict[str, Any] = {
            "requestId": sent["requestId"],
            "in": [],
            "out": [],
            **(known.document if known is not None else {}),
            "idToken": sent["idToken"],
            "state": _SWAP_STATES[event],
        }
        if event in _SWAPPED:
            document[_SWAPPED[event]] = sent["batteryData"]
        times = dict(document.get("times", {}))
        document["times"] = {**times, event: times.get(event, at.isoformat())}
        if event == "BatteryOutTimeout":
            log.warning("station.battery_not_taken", station=station, request=sent["requestId"])
        self.keep(work, station, "battery-swap", key, document, at)

    async def der_alarm(
        self, work: Work, station: str, sent: dict[str, Any], *, at: datetime
    ) -> None:
        """Raise an alarm of a control, or note its end (R04)."""
        ended = sent.get("alarmEnded", False)
        kind = (sent["controlType"], sent.get("gridEventFault"))
        for known in await self._store.documents(station, "der-alarm") if ended else ():
            told = known.document
            if (told["controlType"], told.get("gridEventFault")) == kind and not told["ended_at"]:
                document = {**told, "ended_at": sent["timestamp"]}
                self.keep(work, station, "der-alarm", known.key, document, at)
        if not ended:
            key = f"{sent['controlType']}|{sent['timestamp']}"[:200]
            self.keep(work, station, "der-alarm", key, {**sent, "ended_at": None}, at)
            log.warning("station.der_alarm", station=station, control=sent["controlType"])

    async def der_started(
        self, work: Work, station: str, sent: dict[str, Any], *, at: datetime
    ) -> None:
        """Note whether a control is at work, and what it superseded (R04)."""
        self.keep(work, station, "der-control", sent["controlId"], sent, at)
        for id_ in sent.get("supersededIds") or () if sent["started"] else ():
            setting = await self._store.document(station, "der-setting", id_)
            if setting is not None:
                document = {**setting.document, "superseded_by": sent["controlId"]}
                self.keep(work, station, "der-setting", id_, document, at)

    def limit_changed(self, work: Work, station: str) -> None:
        """Note that somebody else's limit on a station came or went (K12, K13)."""

        def tell(_: datetime) -> None:
            for listener in self.on_limit:
                listener(station)

        work.then(tell)

    async def job_progress(
        self,
        work: Work,
        station: str,
        kind: str,
        status: str,
        request_id: int | None,
        *,
        at: datetime,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Note how far a firmware or log job has come; any order is taken (FW-01, FW-02)."""
        key = CURRENT if request_id is None else str(request_id)
        known = await self._store.document(station, kind, key)
        document: dict[str, Any] = dict(known.document) if known is not None else {"request": None}
        history = [*document.get("history", ()), {"status": status, "at": at.isoformat()}]
        document["history"] = history[-_HISTORY:]
        late = document.get("finished") and status not in _BEGINNINGS and status not in FINAL_STATES
        if status != _IDLE and not late:
            document |= {
                "status": status,
                "finished": status in FINAL_STATES,
                "failed": status in _FAILED_STATES,
            }
        for name, value in (("status", status), ("finished", False), ("failed", False)):
            document.setdefault(name, value)
        if details:
            document["details"] = dict(details)
        self.keep(work, station, kind, key, document, at)
        if status in _FAILED_STATES:
            log.warning("station.job_failed", station=station, job=kind, status=status)
        for listener in self.on_progress:
            await listener(work, station, kind, status, request_id, at)

    def job_requested(
        self,
        work: Work,
        station: str,
        kind: str,
        request_id: int | None,
        request: Mapping[str, Any],
        answer: Mapping[str, Any],
        *,
        at: datetime,
    ) -> None:
        """Open a job for a request that the station has answered."""
        key = CURRENT if request_id is None else str(request_id)
        status = str(answer.get("status", "Accepted"))
        document = {
            "request": dict(request),
            "answer": dict(answer),
            "status": status,
            "finished": status == "Rejected",
            "failed": status == "Rejected",
            "history": [{"status": status, "at": at.isoformat()}],
        }
        self.keep(work, station, kind, key, document, at)

    async def gather(
        self,
        work: Work,
        station: str,
        kind: str,
        request_id: int,
        items: Sequence[Any],
        *,
        seq: int | None,
        more: bool,
        at: datetime,
    ) -> None:
        """Join the parts of a report; it is complete when the last and all before it are there.

        A part that came already changes nothing, also when the report was complete. After
        `asked_again`, or with another beginning, it is a new report.
        """
        key = str(request_id)
        known = await self._store.document(station, kind, key)
        document = dict(known.document) if known is not None else _empty_report()
        part = _place(document, seq, items)
        if document.get("asked_again") or (
            document.get("complete") and _begins(document, seq, part, items)
        ):
            document = _empty_report()
            part = seq or 0
        if part not in document["parts"] and len(document["parts"]) < _MAX_PARTS:
            _insert(document, part, items)
        if not more:
            document["last"] = part
        last = document["last"]
        # By far not all of them where a station says that its second part is the billionth.
        came = set(document["parts"])
        missing = list(islice((n for n in range((last or 0) + 1) if n not in came), _NAMED_MISSING))
        document["missing"] = missing if last is not None else []
        document["complete"] = last is not None and not missing
        self.keep(work, station, kind, key, document, at)
        for listener in self.on_report:
            await listener(
                work, station, kind, request_id, len(document["parts"]), document["complete"], at
            )

    async def asked_again(self, work: Work, station: str, kind: str, request_id: int) -> None:
        """Note that a report is asked for under a number that another had: that one gives way."""
        known = await self._store.document(station, kind, str(request_id))
        if known is not None:
            document = {**known.document, "asked_again": True}
            self.keep(work, station, kind, known.key, document, self._now())

    def variables(
        self, work: Work, station: str, reported: Iterable[Mapping[str, Any]], *, at: datetime
    ) -> None:
        """Keep variables of the device model, each under its own name (BO-14, BO-16)."""
        for item in reported:
            attributes = item.get("attributes", [])
            if item["variable"]["name"].lower() in SECRET_VARIABLES:
                attributes = [a | {"value": MASK} if a.get("value") else a for a in attributes]
            document = {
                "component": item["component"],
                "variable": item["variable"],
                "attributes": attributes,
                "characteristics": item.get("characteristics"),
            }
            self.keep(work, station, "variable", variable_key(item), document, at)

    async def attribute(
        self,
        work: Work,
        station: str,
        item: Mapping[str, Any],
        value: str | None,
        *,
        kind: str,
        at: datetime,
    ) -> None:
        """Keep one attribute's value of a variable, leaving the others as they are."""
        known = await self._store.document(station, "variable", variable_key(item))
        document: dict[str, Any] = (
            dict(known.document) if known is not None else {"characteristics": None}
        )
        attributes = [a for a in document.get("attributes", ()) if a.get("type", "Actual") != kind]
        attributes.append({"type": kind, "value": value})
        document |= {
            "component": item["component"],
            "variable": item["variable"],
            "attributes": attributes,
        }
        self.keep(work, station, "variable", variable_key(item), document, at)

    async def observed(
        self, work: Work, station: str, item: Mapping[str, Any], value: Any, *, at: datetime
    ) -> None:
        """Note the value of a known variable that an event or a stream told of (N07, N15)."""
        if await self._store.document(station, "variable", variable_key(item)) is not None:
            await self.attribute(work, station, item, str(value), kind="Actual", at=at)

    async def stream_data(
        self, work: Work, station: str, stream: int, sent: Mapping[str, Any], *, at: datetime
    ) -> None:
        """Keep the newest values of a stream, and the last of them in the device model (N15)."""
        key = str(stream)
        known = await self._store.document(station, "event-stream-data", key)
        before = known.document.get("values", []) if known is not None else []
        came = [
            {"basetime": sent.get("basetime"), "t": one.get("t"), "v": one.get("v")}
            for one in sent.get("data") or ()
        ]
        document = {**sent, "values": [*before, *came][-_STREAMED:]}
        self.keep(work, station, "event-stream-data", key, document, at)
        opened = await self._store.document(station, "event-stream", key)
        if opened is None or not came:
            return
        number = opened.document["constantStreamData"]["variableMonitoringId"]
        monitor = await self._store.document(station, "monitor", str(number))
        if monitor is not None:
            await self.observed(work, station, monitor.document, came[-1]["v"], at=at)

    async def documents(self, station: str, kind: str | None = None) -> list[StationDocument]:
        """Return what is kept of a station."""
        return await self._store.documents(station, kind)

    async def document(self, station: str, kind: str, key: str) -> StationDocument | None:
        """Return one document."""
        return await self._store.document(station, kind, key)

    async def commit(self, work: Work) -> None:
        """Write what was kept outside a call of the station."""
        if work.ops:
            await self._store.commit(work)

    def now(self) -> datetime:
        """Return the present time."""
        return self._now()


def _empty_report() -> dict[str, Any]:
    return {"items": [], "parts": [], "sizes": [], "last": None}


def _place(document: Mapping[str, Any], seq: int | None, items: Sequence[Any]) -> int:
    """Return the number of a part: its own, else that of its twin, else the next."""
    parts: list[int] = document["parts"]
    if seq is not None:
        return seq
    return next((n for n in parts if _items_of(document, n) == list(items)), len(parts))


def _begins(document: Mapping[str, Any], seq: int | None, part: int, items: Sequence[Any]) -> bool:
    """Tell whether a part begins another report than the complete one that is known."""
    if seq is None:
        return part not in document["parts"]
    return seq == 0 and _items_of(document, 0) not in (None, list(items))


def _items_of(document: Mapping[str, Any], part: int) -> list[Any] | None:
    """Return what a part brought; None where it did not come, or nobody knows any more."""
    parts, sizes = document["parts"], document.get("sizes", ())
    if part not in parts or len(sizes) != len(parts):
        return None
    place = parts.index(part)
    start = sum(sizes[:place])
    return list(document["items"][start : start + sizes[place]])


def _insert(document: dict[str, Any], part: int, items: Sequence[Any]) -> None:
    """Put a part of a report where it belongs, in whatever order the parts come."""
    parts, known = list(document["parts"]), list(document["items"])
    # What was begun by an older version of ours does not know how long its parts were.
    sizes = list(document.get("sizes", ())) or [0] * len(parts)
    place = bisect(parts, part)
    before = sum(sizes[:place]) if any(sizes) else len(known)
    taken = list(items)[: _MAX_ITEMS - len(known)]
    document["parts"] = [*parts[:place], part, *parts[place:]]
    document["sizes"] = [*sizes[:place], len(taken), *sizes[place:]]
    document["items"] = [*known[:before], *taken, *known[before:]]


def variable_key(item: Mapping[str, Any]) -> str:
    """Return the one name of a variable: Component[instance]@evse.connector/Variable[instance]."""
    component, variable = item["component"], item["variable"]
    place = ""
    if evse := component.get("evse"):
        place = f"@{evse['id']}"
        if "connectorId" in evse:
            place += f".{evse['connectorId']}"
    return f"{_named(component)}{place}/{_named(variable)}"


def _named(part: Mapping[str, Any]) -> str:
    instance = part.get("instance")
    return f"{part['name']}[{instance}]" if instance else str(part["name"])
