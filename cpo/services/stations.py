"""Stations: boot, status, sign of life, online and offline, and what the operator registers."""

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, Protocol

import structlog

from cpo.domain.clock import never_set
from cpo.domain.events import (
    Availability,
    Boot,
    EventKind,
    IdToken,
    MeterReport,
    StatusReport,
    TransactionEvent,
)
from cpo.domain.ids import IDENTITY
from cpo.domain.location import public_ids
from cpo.domain.quirk_profiles import Habit, QuirkProfile, habits_of, remote_tag, repairs_of
from cpo.domain.station import (
    Approval,
    ConnectorState,
    EvseStatus,
    Station,
    fold_status,
    introduced,
)
from cpo.domain.tokens import Token, Verdict
from cpo.domain.values import replace
from cpo.errors import CpoError, Invalid, NotFound, StationOffline
from cpo.services.authorization import Authorizations
from cpo.services.intake import BootAnswer, TokenAnswer, TransactionAnswer
from cpo.services.issued_certificates import IssuedCertificates
from cpo.services.memory import Memory, StationState, numbers_of
from cpo.services.ports import Audit, Seat, StationLink, Store, Work
from cpo.services.publishing import Publishing
from cpo.services.transactions import Transactions

log = structlog.get_logger()


class Seats(Protocol):
    """Which node is in charge of which station, where there are several."""

    async def take(self, state: StationState, version: str) -> bool:
        """Be in charge of a station that is connected here; hold its lock.

        True when another node was before: the state has then been read anew.
        """
        ...

    async def first(self, identity: str) -> Seat:
        """Be in charge of a station that is new."""
        ...

    async def lost(self, state: StationState) -> bool:
        """Look whether another node is in charge by now, and give way to it."""
        ...

    async def offline(self, state: StationState) -> None:
        """Tell the other nodes that a station has no connection here any more."""
        ...

    async def register(self, state: StationState, record: Station, *, actor: str) -> Station:
        """Have the node in charge change a station."""
        ...

    async def remove(self, state: StationState, *, actor: str) -> None:
        """Have the node in charge remove a station."""
        ...


class Prices(Protocol):
    """Says what a driver will pay."""

    async def told(
        self,
        identity: str,
        token: Token | None,
        answer: TokenAnswer,
        *,
        evse_id: int | None,
        started: bool = False,
    ) -> TokenAnswer:
        """Return an answer with what the station can show of it."""
        ...


class Stations:
    """Implements Intake: everything that stations report comes in here."""

    def __init__(
        self,
        memory: Memory,
        store: Store,
        authorizations: Authorizations,
        transactions: Transactions,
        publishing: Publishing,
        *,
        now: Callable[[], datetime],
        heartbeat_interval: float,
        offline_grace: float,
    ) -> None:
        self._memory = memory
        self._store = store
        self._authorizations = authorizations
        self._transactions = transactions
        self._publishing = publishing
        self._now = now
        self._heartbeat_interval = heartbeat_interval
        self._offline_grace = offline_grace
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_reservation_gone: list[Callable[[str, int, bool], Awaitable[None]]] = []
        self.quirk_profiles: Sequence[QuirkProfile] = ()
        self.certificates = IssuedCertificates(memory, store, now=now)
        self.on_boot: list[Callable[[str], None]] = []
        self.on_authorized: list[Callable[[str, str, Token | None], None]] = []
        self.prices: Prices | None = None
        # With several nodes: who is in charge of which station.
        self.seats: Seats | None = None

    # --- what the transport asks ----------------------------------------------------------------

    def find(self, identity: str) -> Station | None:
        """Return a station's record from memory."""
        state = self._memory.stations.get(identity)
        return state.record if state is not None else None

    async def reservation_gone(self, identity: str, number: int, *, expired: bool) -> None:
        """Learn that a station holds a reservation no more, by the station's own number of it."""
        state = self._state(identity)
        await self._transactions.reservation_gone(state, number, expired=expired)
        for listener in self.on_reservation_gone:
            await listener(identity, number, expired)

    def habits(self, identity: str) -> dict[str, Habit]:
        """Return the habits that hold for a station, its own and those of its kind."""
        record = self.find(identity)
        return habits_of(record, self.quirk_profiles) if record is not None else {}

    def remote_tag(self, identity: str, uid: str) -> str:
        """Return the tag that stands for a uid in a remote start at a station (Q33)."""
        return remote_tag(uid, self.habits(identity))

    def repairs(self, identity: str) -> dict[str, frozenset[str]]:
        """Return the repair rules that hold for a station beside the usual ones."""
        record = self.find(identity)
        return repairs_of(record, self.quirk_profiles) if record is not None else {}

    def lock(self, identity: str) -> asyncio.Lock:
        """Return the lock that keeps one station's facts in order."""
        return self._state(identity).lock

    def link(self, identity: str) -> StationLink | None:
        """Return the live connection of a station, if there is one here."""
        state = self._memory.stations.get(identity)
        return state.link if state is not None else None

    def connected(self, link: StationLink) -> None:
        """Note a new live connection; it replaces an older one of the same identity."""
        state = self._state(link.identity)
        if self.seats is not None:
            state.arriving = link
            self._spawn(self._arrive(state, link))
            return
        self._linked(state, link)
        if state.gone or state.record.ocpp_version != link.version:
            self._spawn(self._came_back(state, link.version))

    def _linked(self, state: StationState, link: StationLink) -> None:
        state.link = link
        state.told.clear()
        state.seen_at = self._now()
        if state.offline_timer is not None:
            state.offline_timer.cancel()
            state.offline_timer = None

    async def _arrive(self, state: StationState, link: StationLink) -> None:
        async with state.lock:
            if state.arriving is link:
                await self.in_charge(link)

    async def in_charge(self, link: StationLink) -> None:
        """Be the one that may write about the station behind a connection; hold its lock.

        With several nodes the state is then read anew: what the node before wrote counts. Raises
        StationOffline when a newer connection has taken this one's place.
        """
        state = self._state(link.identity)
        if self.seats is None or (state.link is link and state.seat is not None):
            return
        if state.arriving is not link:
            raise StationOffline(link.identity)
        taken = await self.seats.take(state, link.version)
        if state.arriving is not link:
            raise StationOffline(link.identity)
        state.arriving = None
        self._linked(state, link)
        if taken:
            self._transactions.resume(state)
            self._doubt_if_gone(state)
        if taken or state.gone or state.record.ocpp_version != link.version:
            await self._come_back(state, link.version)

    @property
    def shared(self) -> bool:
        """Whether there are several nodes, so that being in charge of a station is a question."""
        return self.seats is not None

    async def fresh(self) -> bool:
        """Learn what other nodes know of stations; False where there are none."""
        if self.seats is None:
            return False
        try:
            await self._memory.fresh()
        except CpoError as error:
            log.warning("station.not_looked_up", error=str(error))
            return False
        return True

    def fence(self, work: Work, identity: str) -> None:
        """Let a unit be kept only while this node is in charge of the station; else Conflict."""
        self._memory.fence(work, self._state(identity))

    async def replaced(self, link: StationLink) -> bool:
        """Tell whether another node has taken over the station behind a connection."""
        state = self._state(link.identity)
        return self.seats is not None and await self.seats.lost(state)

    def disconnected(self, link: StationLink) -> None:
        """Note that a connection ended; a stale one changes nothing (TR-23)."""
        state = self._memory.stations.get(link.identity)
        if state is not None and state.arriving is link:
            state.arriving = None
        if state is None or state.link is not link:
            return
        state.link = None
        self.expect_back(state)
        if self.seats is not None:
            self._spawn(self.seats.offline(state))

    def expect_back(self, state: StationState) -> None:
        """Start the grace time after which a silent station's EVSEs are UNKNOWN."""
        if state.offline_timer is not None:
            state.offline_timer.cancel()
        state.offline_timer = asyncio.get_running_loop().call_later(
            self._offline_grace, self._grace_over, state
        )

    def _grace_over(self, state: StationState) -> None:
        state.offline_timer = None
        if state.link is None and not state.gone and self._memory.holds(state):
            self._spawn(self._went(state))

    async def _went(self, state: StationState) -> None:
        async with state.lock:
            if state.link is not None or not self._memory.holds(state):
                return
            work = Work()
            self._publishing.station(work, state, gone=True)
            state.gone = True
            if work.ops:
                self._memory.fence(work, state)
                await self._store.commit(work)
        log.info("station.lost", station=state.record.identity)

    def _doubt_if_gone(self, state: StationState) -> None:
        """Doubt the statuses of a station that partners were told nothing is known of (BR-02)."""
        shown = {
            self._memory.sites.status(location.id, evse.uid)
            for location, evse in self._memory.sites.evses_of(state.record.identity)
        }
        if shown == {EvseStatus.UNKNOWN}:
            state.doubt()

    async def _came_back(self, state: StationState, version: str) -> None:
        async with state.lock:
            await self._come_back(state, version)

    async def _come_back(self, state: StationState, version: str) -> None:
        work = Work()
        record = replace(state.record, ocpp_version=version, last_seen_at=self._now())
        work.put(record)
        if state.gone:
            state.doubt()
        state.gone = False
        self._publishing.station(work, state, gone=False)
        work.then(lambda _: _keep(state, record))
        self._memory.fence(work, state)
        await self._store.commit(work)

    async def publish_anew(self, identity: str) -> None:
        """Fold a station's EVSEs anew after another node changed where they stand."""
        state = self._state(identity)
        async with state.lock:
            await self._publish(state)

    async def _publish(self, state: StationState) -> None:
        if not self._memory.holds(state):
            return
        work = Work()
        self._publishing.station(work, state)
        if work.ops:
            self._memory.fence(work, state)
            await self._store.commit(work)

    # --- Intake -----------------------------------------------------------------------------------

    def accepts(self, identity: str) -> bool:
        """Tell whether a station may send anything but BootNotification (B02.FR.09, errata 3.8)."""
        return _BOOT_STATUS[self._state(identity).record.approval] == "Accepted"

    def untold_connectors(self, identity: str) -> list[tuple[int, int]]:
        """Return the (EVSE, connector) numbers whose status was told, but not lately.

        Lately: on this connection, and since the station's boot.
        """
        state = self._state(identity)
        return sorted(key for key in state.connectors.keys() - state.told if key[0] != 0)

    def never_told_connectors(self, identity: str) -> list[tuple[int, int]]:
        """Return those of its locations that a station has never told the status of (ST-11)."""
        state = self._state(identity)
        heard_of = {evse_id for evse_id, _ in state.connectors}
        numbers = {
            (evse_id, 1 if state.record.ocpp_version == "1.6" else connector_id)
            for _, evse in self._memory.sites.evses_of(identity)
            for evse_id, connector_id in numbers_of(evse)
        }
        return sorted(key for key in numbers if key[0] not in heard_of)

    async def statuses_lost(self, identity: str) -> None:
        """Learn that a station booted and did not tell its statuses: they are unknown (ST-11)."""
        state = self._state(identity)
        async with state.lock:
            if state.doubt():
                await self._publish(state)

    async def status_refused(
        self, identity: str, connector: tuple[int, int], *, booted: bool
    ) -> None:
        """Learn that a station does not tell the status of a connector when asked.

        One that came back without a boot tells what changes: it is what it was. After a boot it is
        none of the station's any more, where others of its EVSE were told.
        """
        state = self._state(identity)
        async with state.lock:
            if connector in state.told:
                return
            if booted and not any(key[0] == connector[0] for key in state.told):
                return
            if booted:
                state.connectors.pop(connector, None)
            state.doubted.discard(connector)
            await self._publish(state)

    def doubtful_keys(self, identity: str, *, booted: bool) -> list[str]:
        """Return the station's own ids of transactions that it should be asked about.

        After a boot those are all that are open, else those of which messages are missing.
        """
        known = self._state(identity).transactions.values()
        return [
            one.key
            for one in known
            if (booted and one.running) or (one.missing and not one.settled)
        ]

    async def transaction_lost(self, identity: str, key: str) -> None:
        """End a transaction that its station knows nothing of any more (TX20-18)."""
        state = self._state(identity)
        await self._transactions.end_assumed(state, key, reason="not_ongoing")

    def certificate_names(self, identity: str) -> frozenset[str]:
        """Return the common names that a station's certificate may carry beside its identity.

        Its serial number is what it says of itself: one that is another station's identity is not
        taken (SEC-18).
        """
        boot = self._state(identity).record.boot
        serial = boot.serial_number if boot is not None else None
        if not serial or serial in self._memory.stations:
            return frozenset()
        return frozenset({serial})

    def evse_names(self, identity: str) -> frozenset[str]:
        """Return the EVSE ids that a station's certificate for cars may carry."""
        evses = self._memory.sites.evses_of(identity)
        return frozenset(evse.evse_id for _, evse in evses if evse.evse_id)

    async def boot(self, work: Work, identity: str, boot: Boot, *, at: datetime) -> BootAnswer:
        """Take a BootNotification in; open transactions stay open (BO-08)."""
        state = self._state(identity)
        record = introduced(state.record, boot, at=at)
        work.put(record)
        state.seen_at = at

        def remember(_: datetime) -> None:
            _keep(state, record)
            state.told.clear()
            for listener in self.on_boot:
                listener(identity)

        work.then(remember)
        # A tenth of spread keeps a fleet that booted together from beating together.
        interval = max(1, round(self._heartbeat_interval * random.uniform(0.9, 1.1)))
        return BootAnswer(_BOOT_STATUS[record.approval], self._now(), interval)

    def seen(self, identity: str, *, at: datetime) -> None:
        """Note a sign of life, in memory only: it is not worth a write."""
        self._state(identity).seen_at = at

    async def status(self, work: Work, identity: str, report: StatusReport) -> None:
        """Take a connector's status in (ST-01 to ST-05)."""
        state = self._state(identity)
        state.seen_at = report.received_at
        self._listen(work, state, report.at, report.received_at)
        told_at = report.at
        if state.clock.offset_s:
            report = replace(report, at=state.clock.corrected(told_at))
        if report.at > report.received_at:
            # A clock that runs ahead must not hide the reports after it was corrected.
            report = replace(report, at=report.received_at)
        self._note_number(state, report.evse_id)
        key = (report.evse_id, report.connector_id)
        known = state.connectors.get(key)
        folded = fold_status(known, report, station=identity)
        if folded is None:
            state.told.add(key)
            return
        self._transactions.status(work, state, report, told_at=told_at)
        work.put(folded)
        work.then(lambda _: _told(state, folded))
        self._publishing.station(work, state, connector=folded)

    async def authorize(
        self, identity: str, token: IdToken, *, evse_id: int | None = None
    ) -> TokenAnswer:
        """Decide about an idToken."""
        state = self._state(identity)
        decision = await self._authorizations.authorize(state, token, evse_id=evse_id)
        if (
            self._authorizations.is_master_pass(decision.token)
            and state.record.ocpp_version in _NO_MASTER_PASS
            and not state.open_transactions()
        ):
            # A 1.6 station knows no master pass: what it asks about it would start (AU-11).
            return TokenAnswer(Verdict.INVALID)
        answer = self._authorizations.answer(decision)
        if decision.verdict is Verdict.ACCEPTED:
            for heard in self.on_authorized:
                heard(identity, token.value, decision.token)
            if self.prices is not None:
                answer = await self.prices.told(identity, decision.token, answer, evse_id=evse_id)
        return answer

    async def transaction(
        self, work: Work, identity: str, event: TransactionEvent, *, raw: str
    ) -> TransactionAnswer:
        """Take a step of a transaction in."""
        state = self._state(identity)
        state.seen_at = event.received_at
        if not event.offline and not never_set(event.at):
            self._listen(work, state, event.at, event.received_at)
        answer = await self._transactions.take(work, state, event, raw=raw)
        if (
            self.prices is not None
            and event.kind is EventKind.STARTED
            and event.id_token is not None
            and answer.token is not None
            and answer.token.verdict is Verdict.ACCEPTED
        ):
            # After a remote start this is the first answer about the token (I01).
            decision = self._authorizations.recent(state, event.id_token)
            told = await self.prices.told(
                identity,
                decision.token if decision is not None else None,
                answer.token,
                evse_id=event.evse_id,
                started=True,
            )
            answer = dataclasses.replace(answer, token=told)
        return answer

    async def meter_values(self, work: Work, identity: str, report: MeterReport) -> None:
        """Take meter values outside a transaction event in."""
        state = self._state(identity)
        state.seen_at = report.received_at
        if report.samples:
            self._listen(work, state, report.samples[-1].at, report.received_at)
        self._note_number(state, report.evse_id)
        await self._transactions.meter_values(work, state, report)

    def _note_number(self, state: StationState, evse_id: int) -> None:
        """Note a number that no location binds, where there are some that do (MV-24)."""
        if evse_id == 0 or evse_id in state.strange:
            return
        identity = state.record.identity
        if self._memory.sites.strange(identity, evse_id):
            state.strange.add(evse_id)
            log.warning("station.topology_mismatch", station=identity, evse_id=evse_id)

    def _listen(self, work: Work, state: StationState, at: datetime, received_at: datetime) -> None:
        """Learn the offset of a station's clock, and keep it when it changed."""
        if state.clock.heard(at, received_at):
            record = replace(state.record, clock_offset_s=round(state.clock.offset_s, 1))
            work.put(record)
            work.then(lambda _: _keep(state, record))
            log.warning(
                "station.clock_is_off",
                station=record.identity,
                offset_seconds=record.clock_offset_s,
            )

    # --- what the operator does -------------------------------------------------------------------

    async def register(self, record: Station, *, actor: str) -> Station:
        """Add or change a station; what it said of itself stays.

        Raises Invalid for an identity that OCPP cannot carry or that a partner can see (SEC-04).
        """
        if not IDENTITY.fullmatch(record.identity):
            raise Invalid("identity", "1 to 48 of A-Z a-z 0-9 * - _ . : + | @ = and space")
        known = self._memory.stations.get(record.identity)
        if known is not None and not self._memory.holds(known) and self.seats is not None:
            return await self.seats.register(known, record, actor=actor)
        for location in self._memory.sites.locations.values():
            for evse in location.evses:
                if record.identity.lower() in {value.lower() for _, value in public_ids(evse)}:
                    raise Invalid("identity", "equals an id that partners can see")
        work = Work()
        if known is not None:
            record = replace(
                record,
                boot=known.record.boot,
                booted_at=known.record.booted_at,
                last_seen_at=known.record.last_seen_at,
                ocpp_version=known.record.ocpp_version,
                certificates=known.record.certificates,
                revoked_certificates=known.record.revoked_certificates,
            )
        else:
            gone = await self.certificates.revoked_before(record.identity)
            record = replace(record, certificates=(), revoked_certificates=gone)
        work.put(record)
        work.put(Audit(self._now(), actor, "station.put", record.identity))
        state = known or StationState(record)
        if known is None and self.seats is not None:
            state.seat = await self.seats.first(record.identity)

        def remember(_: datetime) -> None:
            _keep(state, record)
            self._memory.stations.setdefault(record.identity, state)

        work.then(remember)
        self._publishing.station(work, state)
        self._memory.fence(work, state)
        await self._store.commit(work)
        return record

    async def change_password(
        self, identity: str, *, current: str | None, previous: str | None
    ) -> None:
        """Keep which password hashes a station may come in with (SEC-15, FW-09)."""
        state = self._state(identity)
        record = replace(state.record, password_hash=current, previous_password_hash=previous)
        work = Work()
        work.put(record)
        work.put(Audit(self._now(), "ocpp", "station.password", identity))
        work.then(lambda _: _keep(state, record))
        self._memory.fence(work, state)
        await self._store.commit(work)

    async def change_profile(self, identity: str, *, floor: int, asked: int | None) -> None:
        """Keep below which security profile a station is refused, and which it was told to use."""
        state = self._state(identity)
        record = replace(state.record, security_profile=floor, security_profile_asked=asked)
        work = Work()
        work.put(record)
        work.put(Audit(self._now(), "ocpp", "station.security-profile", identity))
        work.then(lambda _: _keep(state, record))
        self._memory.fence(work, state)
        await self._store.commit(work)

    async def admit(self, identity: str) -> Station:
        """Keep a station that nobody registered as pending (`ocpp.unknown_stations`)."""
        return await self.register(
            Station(
                identity=identity,
                approval=Approval.PENDING,
                allow_without_password=True,
                security_profile=0,
            ),
            actor="self",
        )

    async def remove(self, identity: str, *, actor: str) -> None:
        """Remove a station: its connection is closed and its EVSEs are PLANNED again."""
        state = self._state(identity)
        if self.seats is not None and not self._memory.holds(state):
            await self.seats.remove(state, actor=actor)
            return
        work = Work()
        work.delete(state.record)
        await self.certificates.removed(work, identity)
        work.put(Audit(self._now(), actor, "station.delete", identity))
        for location, evse in self._memory.sites.evses_of(identity):
            self._publishing.evse(work, location, evse, None)
        work.then(lambda _: self._memory.stations.pop(identity, None))
        self._memory.fence(work, state)
        await self._store.commit(work)
        if state.link is not None:
            await state.link.close(1008, "station removed")

    def state(self, identity: str) -> StationState:
        """Return everything known about a station; NotFound when there is none."""
        return self._state(identity)

    def all(self) -> list[StationState]:
        """Return every station, by identity."""
        return [self._memory.stations[i] for i in sorted(self._memory.stations)]

    def _state(self, identity: str) -> StationState:
        state = self._memory.stations.get(identity)
        if state is None:
            raise NotFound("station", identity)
        return state

    async def look_again(self) -> None:
        """Publish what changes only because time passes: a cable that blocks by now."""
        for state in list(self._memory.stations.values()):
            if any(c.availability is Availability.OCCUPIED for c in state.connectors.values()):
                async with state.lock:
                    await self._publish(state)

    async def start(self) -> None:
        """After a start nobody is connected yet: everybody gets the grace time to come back."""
        for state in self._memory.stations.values():
            self._doubt_if_gone(state)
            self.expect_back(state)

    # --- tasks ------------------------------------------------------------------------------------

    def _spawn(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, CpoError):
                raise error
            log.error("station.update_failed", error=str(error))

    async def close(self) -> None:
        """Stop the timers."""
        for state in self._memory.stations.values():
            if state.offline_timer is not None:
                state.offline_timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


_NO_MASTER_PASS = frozenset({"1.6"})
_BOOT_STATUS = {
    Approval.APPROVED: "Accepted",
    Approval.PENDING: "Accepted",
    Approval.WAITING: "Pending",
    Approval.REJECTED: "Rejected",
}


def _keep(state: StationState, record: Station) -> None:
    state.record = record


def _told(state: StationState, connector: ConnectorState) -> None:
    key = (connector.evse_id, connector.connector_id)
    state.since[key] = state.told_since(connector)
    state.connectors[key] = connector
    state.told.add(key)
    state.doubted.discard(key)
