"""Stations on one side, services on the other: one unit of work per call, answered after commit."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Protocol

import structlog

from cpo.config import Ocpp, Tls
from cpo.domain.command import CommandKind, Outcome, Reply, StationCommand
from cpo.domain.quirk_profiles import Habit
from cpo.domain.station import Station
from cpo.domain.values import replace
from cpo.errors import (
    Conflict,
    CpoError,
    Invalid,
    NotFound,
    StationOffline,
    StationRefused,
    StationTimeout,
    StationUnclear,
)
from cpo.ocpp import frames, outcomes, validation
from cpo.ocpp.care import Care, Heard
from cpo.ocpp.certificates import STATION_CERTIFICATE
from cpo.ocpp.contract import Arrival, Desk, Dialect, Followup, InboundHandler
from cpo.ocpp.credentials import StationCredentials
from cpo.ocpp.deviations import DeviationBook
from cpo.ocpp.frames import Fault
from cpo.ocpp.relabel import relabelled
from cpo.ocpp.relay import Relay, contracts_of
from cpo.ocpp.server import OcppServer, OcppServerSettings
from cpo.ocpp.session import CallFault, Inbound, Session, SessionLimits
from cpo.ocpp.v2 import inbound as inbound_2
from cpo.ocpp.v2 import outbound as outbound_2
from cpo.ocpp.v2 import v21
from cpo.ocpp.v2.outbound import Outbound2
from cpo.ocpp.v16 import inbound as inbound_16
from cpo.ocpp.v16 import outbound as outbound_16
from cpo.ocpp.v16.outbound import Outbound16
from cpo.ocpp.validation import STRICT, Leniency, lenient
from cpo.services.authority import Authority
from cpo.services.contracts import Contracts
from cpo.services.equipment import CRITICAL_EVENTS, OTHER_EVENTS, Equipment
from cpo.services.intake import Intake
from cpo.services.issued_certificates import IssuedCertificates
from cpo.services.passwords import Passwords
from cpo.services.payments import Payments
from cpo.services.ports import Frame, StationLink, Store, Work
from cpo.services.vat_numbers import VatNumbers, VatRules
from cpo.telemetry import Metrics

log = structlog.get_logger()

DIALECTS: Final = {
    "1.6": Dialect(
        version="1.6",
        handlers=inbound_16.HANDLERS,
        outbound=Outbound16(),
        inventory=outbound_16.INVENTORY,
        inventoried=outcomes.INVENTORY_16,
        status_of=outbound_16.status_of,
    ),
    "2.0.1": Dialect(
        version="2.0.1",
        handlers=inbound_2.HANDLERS,
        outbound=Outbound2(),
        inventory=outbound_2.INVENTORY,
        inventoried=("report", str(outbound_2.INVENTORY.payload["requestId"])),
        status_of=outbound_2.status_of,
        transaction_status=outbound_2.transaction_status,
    ),
    "2.1": Dialect(
        version="2.1",
        handlers=v21.HANDLERS,
        outbound=Outbound2(),
        inventory=outbound_2.INVENTORY,
        inventoried=("report", str(outbound_2.INVENTORY.payload["requestId"])),
        status_of=outbound_2.status_of,
        transaction_status=outbound_2.transaction_status,
    ),
}


@dataclass(frozen=True, slots=True)
class Route:
    """What a call of one action goes through: the strict checks of both payloads, its handler."""

    takes: Callable[[Any], bool]
    handler: InboundHandler
    gives: Callable[[Any], bool]


_ROUTES: Final[dict[str, dict[str, Route]]] = {version: {} for version in DIALECTS}


def _route(version: str, action: str) -> Route | None:
    """Return an action's route, None for one that no station of the version sends."""
    handler = DIALECTS[version].handlers.get(action)
    if handler is None:
        return None
    answered = action not in validation.SENDS
    takes = validation.checker(version, action)
    gives = validation.checker(version, action, response=True) if answered else takes
    route = _ROUTES[version][action] = Route(takes, handler, gives)
    return route


# The web payment of 2.1 is begun by us; stations that tell of it are understood as well.
_BOTH_WAYS: Final = frozenset({"DataTransfer", "NotifyWebPaymentStarted"})
_ONLY_THEIRS: Final = {
    version: (validation.SENDS | dialect.handlers.keys()) - _BOTH_WAYS
    for version, dialect in DIALECTS.items()
}
_NEED_APPROVAL: Final = frozenset({CommandKind.START_SESSION, CommandKind.RESERVE})
_METERED: Final = frozenset(
    {"StartTransaction", "StopTransaction", "MeterValues", "TransactionEvent"}
)
# What tells how many variables go into one message, in 1.6 and in 2.x.
_ITEMS_PER_MESSAGE: Final = {
    CommandKind.GET_VARIABLES: (
        "Configuration/GetConfigurationMaxKeys",
        "DeviceDataCtrlr/ItemsPerMessage[GetVariables]",
    ),
    CommandKind.SET_VARIABLES: ("", "DeviceDataCtrlr/ItemsPerMessage[SetVariables]"),
}
_TAKEN: Final = frozenset({"Accepted", "RebootRequired"})
_NAMED_DEVIATIONS: Final = 20
_MAX_LOGGED: Final = 16_384
_FOLLOWUP_DELAY: Final = 0.05
"""Seconds; the answer to the station's own call goes out first."""
_NOTE_DELAY: Final = 0.2
_PATIENCE_WITH_SEATS: Final = 100
_MAX_NOTES: Final = 5_000
# Three heartbeats that were missed, of an interval that was told with a tenth of spread (BO-13).
_SILENT_BEATS: Final = 3.3


class Registry(Intake, Protocol):
    """The services as this adapter uses them: the intake, and the stations' records in memory."""

    @property
    def shared(self) -> bool:
        """Whether there are several nodes, so that being in charge of a station is a question."""
        ...

    async def in_charge(self, link: StationLink) -> None:
        """Be the one that may write about the station behind a connection; hold its lock."""
        ...

    def fence(self, work: Work, identity: str) -> None:
        """Let a unit be kept only while this node is in charge of the station; else Conflict."""
        ...

    async def replaced(self, link: StationLink) -> bool:
        """Tell whether another node has taken over the station behind a connection."""
        ...

    async def fresh(self) -> bool:
        """Learn what other nodes know of stations; False where there are none."""
        ...

    def find(self, identity: str) -> Station | None:
        """Return a station's record."""
        ...

    async def admit(self, identity: str) -> Station:
        """Keep a station that nobody registered as pending."""
        ...

    async def change_password(
        self, identity: str, *, current: str | None, previous: str | None
    ) -> None:
        """Keep which password hashes a station may come in with."""
        ...

    async def change_profile(self, identity: str, *, floor: int, asked: int | None) -> None:
        """Keep below which security profile a station is refused, and which it was told to use."""
        ...

    def habits(self, identity: str) -> Mapping[str, Habit]:
        """Return the habits that hold for a station."""
        ...

    def repairs(self, identity: str) -> Mapping[str, frozenset[str]]:
        """Return the repair rules that hold for a station beside the usual ones."""
        ...

    def untold_connectors(self, identity: str) -> list[tuple[int, int]]:
        """Return the (EVSE, connector) numbers whose status was told, but not lately."""
        ...

    def never_told_connectors(self, identity: str) -> list[tuple[int, int]]:
        """Return those of its locations that a station has never told the status of."""
        ...

    async def statuses_lost(self, identity: str) -> None:
        """Learn that a station booted and did not tell its statuses."""
        ...

    async def status_refused(
        self, identity: str, connector: tuple[int, int], *, booted: bool
    ) -> None:
        """Learn that a station does not tell the status of a connector when asked."""
        ...

    @property
    def certificates(self) -> IssuedCertificates:
        """The register of what our own authorities signed for stations."""
        ...

    def doubtful_keys(self, identity: str, *, booted: bool) -> list[str]:
        """Return the station's own ids of transactions that it should be asked about."""
        ...

    async def transaction_lost(self, identity: str, key: str) -> None:
        """Learn that a station knows nothing of an open transaction any more."""
        ...


class FrameNotes:
    """Frames that belong to no unit of work, written together a little later.

    What is lost of them in a crash is log, not fact.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.deviations = DeviationBook(store)
        self._notes: list[Frame] = []
        self._flush: asyncio.Task[None] | None = None

    def add(self, frame: Frame) -> None:
        """Take a frame; when the store does not keep up, log rows go first."""
        if len(self._notes) < _MAX_NOTES:
            self._notes.append(frame)
        if self._flush is None or self._flush.done():
            self._flush = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        while self._notes:
            await asyncio.sleep(_NOTE_DELAY)
            await self.flush()

    async def flush(self) -> None:
        """Write what was taken."""
        notes, self._notes = self._notes, []
        if not notes:
            return
        work = Work()
        for frame in notes:
            work.put(frame)
        try:
            await self._store.commit(work)
        except CpoError as error:
            log.warning("ocpp.frames_not_logged", count=len(notes), error=str(error))

    async def close(self) -> None:
        """Write the rest."""
        if self._flush is not None:
            self._flush.cancel()
            await asyncio.gather(self._flush, return_exceptions=True)
        await self.flush()
        await self.deviations.close()


@dataclass(frozen=True, slots=True)
class Services:
    """What every connection of this node uses."""

    intake: Registry
    equipment: Equipment
    store: Store
    notes: FrameNotes
    passwords: Passwords
    care: Care
    now: Callable[[], datetime]
    authorities: Mapping[str, Authority]
    contracts: Contracts
    payments: Payments
    vat_numbers: VatNumbers
    metrics: Metrics | None = None


class StationConnection:
    """One live connection: handles what the station sends, and carries commands to it.

    Implements `cpo.ocpp.server.StationHandler` towards the socket and
    `cpo.services.ports.StationLink` towards the services.
    """

    def __init__(self, session: Session, services: Services) -> None:
        self.identity = session.identity
        self.version = session.rules.version
        self._session = session
        self._services = services
        self._dialect = DIALECTS[self.version]
        self._routes = _ROUTES[self.version]
        self._leniency = _leniency(services.intake, session.identity)
        self._in_kwh = _counts_kwh(services.intake, session.identity)
        self._desk = Desk(
            services.intake,
            services.equipment,
            services.authorities,
            services.contracts,
            services.intake.certificates,
            services.payments,
            services.vat_numbers,
            self._afterwards,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._heard = Heard()
        self._lock = services.intake.lock(self.identity)
        self._shared = services.intake.shared

    # --- from the station ----------------------------------------------------------------------

    def connected(self) -> None:
        """Tell the services that the station is here, and see to what it does not tell."""
        self._services.intake.connected(self)
        self._look_after()

    def _look_after(self) -> None:
        self._cared = self._own(
            self._services.care.look_after(
                self,
                self._heard,
                self._dialect,
                find=lambda: self._services.intake.find(self.identity),
                accepts=lambda: self._services.intake.accepts(self.identity),
                habits=lambda: self._services.intake.habits(self.identity),
                untold=lambda: self._services.intake.untold_connectors(self.identity),
                never_told=lambda: self._services.intake.never_told_connectors(self.identity),
                statuses_lost=lambda: self._services.intake.statuses_lost(self.identity),
                status_refused=lambda connector, booted: self._services.intake.status_refused(
                    self.identity, connector, booted=booted
                ),
                inventoried=self._inventoried,
                transactions=self._doubtful,
                lost=lambda key: self._services.intake.transaction_lost(self.identity, key),
                gone=lambda: self._session.gone,
            )
        )

    def _doubtful(self) -> list[str]:
        booted = self._heard.booted
        return self._services.intake.doubtful_keys(self.identity, booted=booted)

    async def _inventoried(self) -> bool:
        # Some of its variables may be known without: templates and local lists ask for them.
        kept = await self._services.equipment.document(self.identity, *self._dialect.inventoried)
        return kept is not None and bool(kept.document.get("complete"))

    def _own(self, job: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def ask(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Call the station for its own good; silence is not held against it."""
        return await self.call(action, payload, forgive_silence=True)

    def disconnected(self) -> None:
        """Tell the services that this connection is gone, and end what was to be done with it."""
        for task in self._tasks:
            task.cancel()
        self._services.intake.disconnected(self)

    def _afterwards(self, followup: Followup) -> None:
        self._own(self._follow_up(followup))

    async def _follow_up(self, followup: Followup) -> None:
        await asyncio.sleep(_FOLLOWUP_DELAY)
        try:
            await followup(self.ask)
        except CpoError as error:
            log.warning("ocpp.followup_failed", station=self.identity, error=str(error))

    async def handle(self, call: Inbound) -> str:
        """Act on a call in one unit of work; the answer's text, once all of it is on disk."""
        metrics = self._services.metrics
        began = time.perf_counter()
        outcome = "error"
        try:
            answer = await self._handle(call)
        except CallFault as fault:
            answer = frames.error_text(call.message_id, fault.code, fault.description)
            self._note(call, answer, None)
            return answer
        except NotFound as error:
            if error.kind != "station":
                raise
            # Removed while connected: its connection is about to be closed.
            raise CallFault("SecurityError", "not registered") from None
        else:
            outcome = "result"
            return answer
        finally:
            if metrics is not None:
                action = call.action if call.action in self._dialect.handlers else "other"
                metrics.ocpp_messages.inc(self.version, "in", action, outcome)
                metrics.ocpp_handler_duration.observe(time.perf_counter() - began, self.version)

    async def _handle(self, call: Inbound) -> str:
        action = call.action
        intake = self._services.intake
        route = self._routes.get(action) or _route(self.version, action)
        if route is None or (call.wants_answer and action in validation.SENDS):
            known = action in validation.actions(self.version)
            raise CallFault("NotSupported" if known else "NotImplemented", action[:60])
        deviations: tuple[validation.Deviation, ...] = ()
        if not route.takes(call.payload):
            try:
                deviations = validation.intake(self.version, action, call.payload, self._leniency)
            except validation.Violation as violation:
                raise CallFault(violation.code, violation.description) from None
        if action not in self._dialect.before_boot and not intake.accepts(self.identity):
            raise CallFault("SecurityError", "not accepted yet")
        work = Work()
        sent = call.take_payload()
        if self._in_kwh and action in _METERED:
            sent = relabelled(sent)
        arrival = Arrival(self.identity, action, sent, call.text, call.received_at, work)
        del sent
        async with self._lock:
            if self._shared:
                await self._take_charge()
            payload = await route.handler(self._desk, arrival)
            if call.wants_answer and not route.gives(payload):
                validation.check(self.version, action, payload, response=True)
            answer = frames.result_text(call.message_id, payload)
            del arrival, payload  # See take_payload.
            frame = self._frame(call, answer, deviations)
            if not work.ops and not work.callbacks:
                self._services.notes.add(frame)
                return answer
            work.put(frame)
            if self._shared:
                await self._commit_in_charge(work)
            else:
                await self._services.store.commit(work)
        if action == "BootNotification":
            self._heard.booted = True
            if not self._heard.asked and self._cared.done():
                # It had not booted, or was not accepted, when its turn was.
                self._look_after()
            # It may be of a kind that is known, or have new firmware.
            self._leniency = _leniency(intake, self.identity)
            self._in_kwh = _counts_kwh(intake, self.identity)
        return answer

    async def _take_charge(self) -> None:
        try:
            await self._services.intake.in_charge(self)
        except (Conflict, StationOffline):
            self._session.supersede()
            raise

    async def _commit_in_charge(self, work: Work) -> None:
        """Commit unless another node has taken the station over: then this socket goes mute."""
        try:
            self._services.intake.fence(work, self.identity)
            await self._services.store.commit(work)
        except Conflict:
            if await self._services.intake.replaced(self):
                self._session.supersede()
                raise StationOffline(self.identity) from None
            raise

    def _frame(
        self, call: Inbound, answer: str, deviations: tuple[validation.Deviation, ...]
    ) -> Frame:
        noted = None
        if deviations or call.deviation:
            self._count(call, deviations)
            if self._services.metrics is not None:
                for deviation in deviations:
                    self._services.metrics.ocpp_deviations.inc(deviation.kind)
            noted = "; ".join(
                [*([call.deviation] if call.deviation else ())]
                + [f"{d.path or '.'}: {d.kind}" for d in deviations[:_NAMED_DEVIATIONS]]
                + (
                    [f"and {more} more"]
                    if (more := len(deviations) - _NAMED_DEVIATIONS) > 0
                    else []
                )
            )
        return Frame(
            self.identity,
            call.received_at,
            "in",
            call.action,
            str(call.message_id),
            outcomes.without_customers(call.action, call.text),
            answer,
            noted,
        )

    def _count(self, call: Inbound, deviations: tuple[validation.Deviation, ...]) -> None:
        book = self._services.notes.deviations
        if call.deviation:
            book.add(self.identity, call.action, "", call.deviation, call.received_at)
        for one in deviations:
            book.add(self.identity, call.action, one.path, one.kind, call.received_at)

    def _note(self, call: Inbound, answer: str, deviation: str | None) -> None:
        self._services.notes.add(
            Frame(
                self.identity,
                call.received_at,
                "in",
                call.action[:60],
                str(call.message_id),
                outcomes.without_customers(call.action, call.text),
                answer,
                deviation,
            )
        )

    def faulted(self, fault: Fault, text: str) -> None:
        """Log a frame that was no message."""
        log.info("ocpp.bad_frame", station=self.identity, reason=fault.reason)
        book = self._services.notes.deviations
        book.add(self.identity, "", "", f"bad frame: {fault.reason}", self._services.now())
        self._services.notes.add(
            Frame(
                self.identity,
                self._services.now(),
                "in",
                "",
                "",
                _storable(text),
                fault.answer,
                fault.reason,
            )
        )

    def deviates(self, what: str, action: str = "", path: str = "") -> None:
        """Count a deviation of the line itself, or of an answer."""
        now = self._services.now()
        self._services.notes.deviations.add(self.identity, action, path, what, now)

    def stray(self, message_id: str, action: str | None, text: str) -> None:
        """Log an answer that nobody waits for, and count it (RP-18, RP-19)."""
        reason = "answer to no call" if action is None else "answer came too late"
        log.info("ocpp.stray_answer", station=self.identity, reason=reason, action=action)
        now = self._services.now()
        self._services.notes.deviations.add(self.identity, action or "", "", reason, now)
        shown = outcomes.masked(_storable(text))
        if action is not None:
            shown = outcomes.without_customers(action, shown)
        self._services.notes.add(
            Frame(
                self.identity, now, "in", action or "", _storable(message_id)[:64], shown,
                None, reason,
            )
        )  # fmt: skip

    # --- to the station ------------------------------------------------------------------------

    def sent(self, action: str, message_id: str, payload: str, answer: str | None) -> None:
        """Log a call of ours."""
        payload = outcomes.masked(outcomes.without_customers(action, payload))
        answer = outcomes.masked(answer)
        self._services.notes.add(
            Frame(self.identity, self._services.now(), "out", action, message_id, payload, answer)
        )

    async def call(
        self,
        action: str,
        payload: dict[str, Any],
        *,
        timeout: float | None = None,
        forgive_silence: bool = False,
    ) -> dict[str, Any]:
        """Send any request of the station's version, schema-checked, and return its answer.

        What the answer tells of the station is kept before it is returned.
        """
        if action in _ONLY_THEIRS[self.version]:
            raise Invalid("action", f"{action} is what stations send")
        validation.check_call(self.version, action, payload)
        if action in outcomes.REPORTS:
            await self._expect_report(outcomes.REPORTS[action], payload["requestId"])
        if action == "DeleteCertificate":
            await self._spare_the_last_root(payload, timeout)
        record = self._services.intake.find(self.identity)
        profile = outcomes.new_profile(action, payload)
        if profile is not None and record is not None and profile < record.security_profile:
            raise Invalid("securityProfile", "is below the one that the station must use")
        password = outcomes.new_password(action, payload)
        if password is None:
            answer = await self._counted_call(
                action, payload, timeout, forgive_silence=forgive_silence
            )
        else:
            answer = await self._change_password(password, action, payload, timeout)
        if profile is not None and record is not None and answer.get("status") in _TAKEN:
            await self._services.intake.change_profile(
                self.identity, floor=record.security_profile, asked=profile
            )
        if action in outcomes.KEPT:
            work = Work()
            async with self._lock:
                await outcomes.keep(
                    self._services.equipment, work, self.identity, action, payload, answer
                )
                if self._shared:
                    self._services.intake.fence(work, self.identity)
                await self._services.equipment.commit(work)
        return answer

    async def _expect_report(self, kind: str, request_id: int) -> None:
        """Let go of a report that came under the same number, before the first part is here."""
        equipment, work = self._services.equipment, Work()
        async with self._lock:
            await equipment.asked_again(work, self.identity, kind, request_id)
            if self._shared and work.ops:
                self._services.intake.fence(work, self.identity)
            await equipment.commit(work)

    async def _spare_the_last_root(self, payload: dict[str, Any], timeout: float | None) -> None:
        """Refuse what would cut the station off (FW-08); it says itself which roots it has now."""
        question = outcomes.OUR_ROOTS[self.version]
        # One that cannot tell is judged by what is known of it.
        with contextlib.suppress(StationRefused, Invalid):
            await self.call("GetInstalledCertificateIds", dict(question), timeout=timeout)
        await outcomes.check_root(self._services.equipment, self.identity, payload)

    async def _change_password(
        self, password: str, action: str, payload: dict[str, Any], timeout: float | None
    ) -> dict[str, Any]:
        """Give the station a new password: both are good until it has come in with the new one.

        So nothing is lost when the answer is (SEC-15); only a plain no takes the new one back.
        """
        services = self._services
        record = services.intake.find(self.identity)
        before = (record.password_hash, record.previous_password_hash) if record else (None, None)
        await services.intake.change_password(
            self.identity, current=services.passwords.hash(password), previous=before[0]
        )
        try:
            answer = await self._counted_call(action, payload, timeout)
            refused = outcomes.password_refused(action, answer)
        except StationUnclear:
            raise
        except (StationRefused, Invalid):
            await services.intake.change_password(
                self.identity, current=before[0], previous=before[1]
            )
            raise
        if refused:
            await services.intake.change_password(
                self.identity, current=before[0], previous=before[1]
            )
        return answer

    async def _counted_call(
        self,
        action: str,
        payload: dict[str, Any],
        timeout: float | None,
        *,
        forgive_silence: bool = False,
    ) -> dict[str, Any]:
        metrics = self._services.metrics
        began = time.perf_counter()
        outcome = "error"
        try:
            answer = await self._session.call(
                action, payload, timeout=timeout, forgive_silence=forgive_silence
            )
            outcome = "result"
        except StationTimeout:
            outcome = "timeout"
            raise
        finally:
            if metrics is not None:
                self._count_call(metrics, action, outcome, time.perf_counter() - began)
        return answer

    def _count_call(self, metrics: Metrics, action: str, outcome: str, seconds: float) -> None:
        known = action if action in validation.actions(self.version) else "other"
        metrics.ocpp_messages.inc(self.version, "out", known, outcome)
        metrics.ocpp_call_duration.observe(seconds, self.version)

    async def execute(self, command: StationCommand, *, timeout: float | None = None) -> Reply:
        """Send a neutral command once; whatever the station does is an outcome."""
        outbound = self._dialect.outbound
        if command.kind in _NEED_APPROVAL and not self._services.intake.accepts(self.identity):
            return Reply(outcome=Outcome.REJECTED, detail="the station is not accepted yet")
        command = await self._within_limits(command)
        try:
            answers = [
                await self.call(request.action, request.payload, timeout=timeout)
                for request in outbound.requests(command)
            ]
        except Invalid as invalid:
            return Reply(outcome=Outcome.FAILED, detail=str(invalid))
        except StationOffline as offline:
            return Reply(outcome=Outcome.OFFLINE, detail=str(offline))
        except StationTimeout as silence:
            return Reply(outcome=Outcome.TIMEOUT, detail=str(silence))
        except StationRefused as refusal:
            return Reply(outcome=_outcome_of_error(refusal.code), detail=str(refusal))
        return outbound.reply(command, answers)

    async def _within_limits(self, command: StationCommand) -> StationCommand:
        """Note in a command how much the station takes in one message, by its own word."""
        names = _ITEMS_PER_MESSAGE.get(command.kind)
        if names is None:
            return command
        known = await self._services.equipment.document(
            self.identity, "variable", names[self.version != "1.6"]
        )
        attributes = known.document.get("attributes") or () if known is not None else ()
        said = [str(a.get("value")) for a in attributes if a.get("type", "Actual") == "Actual"]
        if not said or not said[0].isdecimal() or int(said[0]) < 1:
            return command
        parameters = {**command.parameters, "items_per_message": int(said[0])}
        return replace(command, parameters=parameters)

    async def close(self, code: int, reason: str) -> None:
        """End the connection."""
        self._session.close(code, reason)


def _outcome_of_error(code: str) -> Outcome:
    if code in ("NotSupported", "NotImplemented"):
        return Outcome.NOT_SUPPORTED
    return Outcome.FAILED


def _storable(text: str) -> str:
    return text[:_MAX_LOGGED].replace("\0", "\ufffd").encode(errors="replace").decode()


class Directory:
    """Implements the handshake's view of the stations over the services' memory."""

    def __init__(self, registry: Registry, passwords: Passwords, *, register: bool) -> None:
        self._registry = registry
        self._passwords = passwords
        self._register = register
        self._tasks: set[asyncio.Task[None]] = set()

    def find(self, identity: str) -> StationCredentials | None:
        """Return what the handshake must know of a station."""
        station = self._registry.find(identity)
        return self._credentials(station) if station is not None else None

    def _credentials(self, station: Station) -> StationCredentials:
        return _credentials(station, self._registry.habits(station.identity))

    def matches(self, identity: str, password: bytes) -> bool:
        """Compare a password in constant time; for a stranger it takes as long, and never fits."""
        station = self._registry.find(identity) or _STRANGER
        return self._passwords.matches(station, password)

    def came_in(self, identity: str, password: bytes) -> None:
        """End the old password of a station that came in with the new one."""
        station = self._registry.find(identity)
        if station is None or station.previous_password_hash is None:
            return
        only_new = replace(station, previous_password_hash=None)
        if self._passwords.matches(only_new, password):
            task = asyncio.get_running_loop().create_task(self._settle(only_new))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def secured(self, identity: str, profile: int) -> None:
        """Make a profile that a station was told to use, and has come in with, its floor."""
        station = self._registry.find(identity)
        asked = station.security_profile_asked if station is not None else None
        if station is None or asked is None or profile < asked:
            return
        task = asyncio.get_running_loop().create_task(self._raise_floor(station, asked))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _raise_floor(self, station: Station, profile: int) -> None:
        floor = max(profile, station.security_profile)
        try:
            await _once_in_charge(
                lambda: self._registry.change_profile(station.identity, floor=floor, asked=None)
            )
        except CpoError as error:
            log.warning("ocpp.profile_not_kept", station=station.identity, error=str(error))

    async def _settle(self, station: Station) -> None:
        try:
            await _once_in_charge(
                lambda: self._registry.change_password(
                    station.identity, current=station.password_hash, previous=None
                )
            )
        except CpoError as error:
            log.warning("ocpp.password_not_settled", station=station.identity, error=str(error))

    def showed(self, identity: str, serial: str) -> None:
        """End the older certificates of a station that came in with a newer one of ours."""
        station = self._registry.find(identity)
        if station is not None and serial in station.certificates[1:]:
            task = asyncio.get_running_loop().create_task(self._supersede(identity, serial))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _supersede(self, identity: str, serial: str) -> None:
        try:
            await _once_in_charge(lambda: self._registry.certificates.used(identity, serial))
        except CpoError as error:
            log.warning("ocpp.certificate_not_revoked", station=identity, error=str(error))

    async def fresh(self) -> bool:
        """Learn what other nodes know of stations; False where there are none."""
        return await self._registry.fresh()

    async def register(self, identity: str, address: str) -> StationCredentials | None:
        """Take an unknown station in as pending, where the settings say so."""
        if not self._register:
            return None
        try:
            station = await self._registry.admit(identity)
        except CpoError as error:
            log.warning("ocpp.not_registered", station=identity, address=address, error=str(error))
            return None
        return self._credentials(station)


async def _once_in_charge(change: Callable[[], Awaitable[None]]) -> None:
    """Change a record; one of several nodes is in charge of it only once it is connected here."""
    for _ in range(_PATIENCE_WITH_SEATS):
        try:
            await change()
        except Conflict:
            await asyncio.sleep(_FOLLOWUP_DELAY)
        else:
            return


_STRANGER: Final = Station(identity="?")


def _leniency(registry: Registry, identity: str) -> Leniency:
    intake = registry.habits(identity).get("intake")
    if intake is not None and intake.value == "strict":
        return STRICT
    return lenient(registry.repairs(identity))


def _counts_kwh(registry: Registry, identity: str) -> bool:
    unit = registry.habits(identity).get("energy_unit")
    return unit is not None and unit.value == "kWh"


def _credentials(station: Station, habits: Mapping[str, Habit]) -> StationCredentials:
    settings = {name: habit.value for name, habit in habits.items()}
    return StationCredentials(
        identity=station.identity,
        has_password=station.password_hash is not None,
        allow_without_password=station.allow_without_password,
        security_profile=station.security_profile,
        versions=station.ocpp_versions,
        revoked_certificates=station.revoked_certificates,
        assume_version=settings.get("assume_version"),
        pings=settings.get("pings") != "off",
        compression=settings.get("compression") != "off",
        strict=settings.get("intake") == "strict",
        cuts=settings.get("close") == "cut",
    )


def _count_event(metrics: Metrics, name: str, critical: bool) -> None:
    known = name in CRITICAL_EVENTS or name in OTHER_EVENTS
    metrics.security_events.inc(name if known else "other", str(critical).lower())


def authorities_of(tls: Tls, now: Callable[[], datetime]) -> dict[str, Authority]:
    """Load who signs what stations ask to have signed, by the use of the certificate."""
    validity = timedelta(days=tls.certificate_days)
    found = {}
    if tls.authority_certificate and tls.authority_key:
        found[STATION_CERTIFICATE] = Authority.load(
            tls.authority_certificate,
            tls.authority_key,
            validity=validity,
            now=now,
            organizations=tls.authority_organizations,
        )
    if tls.v2g_authority_certificate and tls.v2g_authority_key:
        v2g = Authority.load(
            tls.v2g_authority_certificate,
            tls.v2g_authority_key,
            validity=validity,
            now=now,
            organizations=tls.authority_organizations,
        )
        found |= {"V2GCertificate": v2g, "V2G20Certificate": v2g}
    return found


def ocpp_server(
    settings: Ocpp,
    stations: Registry,
    store: Store,
    passwords: Passwords,
    *,
    drain_timeout: float = 10,
    tls: ssl.SSLContext | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    metrics: Metrics | None = None,
    equipment: Equipment | None = None,
    contracts: Contracts | None = None,
    vat_numbers: VatNumbers | None = None,
    authorities: Mapping[str, Authority] | None = None,
) -> tuple[OcppServer, FrameNotes]:
    """Build the charge points' door from the settings.

    Stop the server first, then close the notes.
    """
    notes = FrameNotes(store)
    equipment = equipment or Equipment(store, now=now)
    if metrics is not None:
        equipment.on_security_event.append(partial(_count_event, metrics))
    care = Care(delay=settings.refresh_delay)
    if contracts is None:
        contracts = contracts_of(settings.plug_and_charge, Relay(None), now=now)
    services = Services(
        stations,
        equipment,
        store,
        notes,
        passwords,
        care,
        now,
        authorities if authorities is not None else authorities_of(settings.tls, now),
        contracts,
        Payments(store),
        vat_numbers or VatNumbers(Relay(None), VatRules()),
        metrics,
    )

    def connection(session: Session, _known: StationCredentials) -> StationConnection:
        session.clock = now
        return StationConnection(session, services)

    server = OcppServer(
        OcppServerSettings(
            host=settings.host,
            port=settings.port,
            path=settings.path,
            unknown_stations=settings.unknown_stations,
            unknown_identity_status=settings.unknown_identity_status,
            min_security_profile=settings.min_security_profile,
            connects_per_minute=settings.connects_per_minute,
            accepts_per_second=settings.accepts_per_second,
            max_connections=settings.max_connections,
            max_handshakes=settings.max_handshakes,
            max_frame_bytes=settings.max_frame_bytes,
            compression=settings.compression,
            handshake_timeout=settings.handshake_timeout,
            ping_interval=settings.ping_interval,
            ping_timeout=settings.ping_timeout,
            silence_timeout=settings.heartbeat_interval * _SILENT_BEATS,
            drain_timeout=drain_timeout,
            limits=SessionLimits(
                call_timeout=settings.call_timeout,
                messages_per_second=settings.messages_per_second,
                messages_burst=settings.messages_burst,
                flood_until_closed=settings.flood_limit,
            ),
        ),
        Directory(stations, passwords, register=settings.unknown_stations == "register"),
        connection,
        tls=tls,
        count=metrics.ocpp_handshakes.inc if metrics is not None else lambda _: None,
    )
    return server, notes
