"""Transactions: recorded once however often they are told, answered, published, billed."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import structlog

from cpo.domain.clock import never_set
from cpo.domain.command import Command, reservation_number
from cpo.domain.events import (
    EventKind,
    IdToken,
    MeterReport,
    Sample,
    StatusReport,
    TransactionEvent,
)
from cpo.domain.session import Session
from cpo.domain.tokens import AuthMethod, Authorization, Verdict, alias_of
from cpo.domain.transaction import (
    BATTERY_HIDDEN,
    WAITS_ARE_PARKING,
    WRITTEN_OFF,
    Phase,
    Transaction,
    add_samples,
    assume_ended,
    begin,
    begins_another,
    ended_by,
    event_key,
    fold,
    last_register,
    may_end,
    reserved,
    same_but_for_readings,
    start_key,
    with_status,
)
from cpo.domain.usage import RESERVATION_KEY
from cpo.domain.values import replace
from cpo.errors import CpoError
from cpo.services.authorization import Authorizations
from cpo.services.billing import Billing
from cpo.services.intake import TokenAnswer, TransactionAnswer
from cpo.services.memory import Memory, StationState
from cpo.services.meter_keys import keys_behind
from cpo.services.ports import Orphan, Readings, Store, Work
from cpo.services.publishing import Publishing

log = structlog.get_logger()

_LARGEST_ID = 2**31 - 1
_MATCHED = "matched_without_id"
_HOUR_S, _DAY_S = 3_600, 86_400
# What a charger may draw for itself between two charges.
_UNTOLD_WH = 500


class Transactions:
    """Keeps charging transactions, from the first event to the CDR."""

    def __init__(
        self,
        memory: Memory,
        store: Store,
        authorizations: Authorizations,
        billing: Billing,
        publishing: Publishing,
        *,
        now: Callable[[], datetime],
        update_interval: float,
        settle_time: float,
    ) -> None:
        self._memory = memory
        self._store = store
        self._authorizations = authorizations
        self._billing = billing
        self._publishing = publishing
        self._now = now
        self._update_interval = update_interval
        self._settle_time = settle_time
        self._published_at: dict[str, datetime] = {}
        # What open sessions cost so far, as it was last published.
        self._running_costs: dict[str, Decimal] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_session: list[Callable[[Session], None]] = []
        # Hears of a station that names a transaction of another: unit, station, id, time.
        self.on_foreign: list[Callable[[Work, str, str, datetime], None]] = []

    # --- from the station ---------------------------------------------------------------------

    async def take(
        self, work: Work, state: StationState, event: TransactionEvent, *, raw: str
    ) -> TransactionAnswer:
        """Record an event; the same event again changes nothing and is answered the same."""
        if never_set(event.at):
            event = _on_time(event, 0.0)
        if event.transaction is None and event.kind is EventKind.STARTED:
            return await self._start(work, state, event)
        transaction = await self._find(state, event)
        if transaction is not None and begins_another(transaction, event):
            await self._close_reused(work, state, transaction, event)
            transaction = None
        if transaction is None and event.seq is None:
            return await self._orphan(work, state, event, raw)
        if transaction is None:
            event = _on_time(event, _begin_offset(state, event))
            transaction = self._begin(state, event.transaction or "", event)
            return await self._record(work, state, None, transaction, event)
        event = _on_time(event, transaction.clock_offset_s)
        return await self._record(work, state, transaction, fold(transaction, event), event)

    async def _start(
        self, work: Work, state: StationState, event: TransactionEvent
    ) -> TransactionAnswer:
        identity = state.record.identity
        await self._load_history(state)
        key = state.starts.get(start_key(identity, event))
        known = state.transactions.get(key) if key is not None else None
        if known is not None:
            answer = await self._token_answer(state, event.id_token, known)
            return TransactionAnswer(transaction=known.key, token=answer)
        older = state.open_at(event.evse_id)
        if older is not None:
            await self._close_interrupted(work, state, older, event)
        number = str(secrets.randbelow(_LARGEST_ID) + 1)
        event = _on_time(event, _begin_offset(state, event))
        transaction = begin(
            self._billing.session_id("1.6", start_key(identity, event)), identity, number, event
        )
        return await self._record(work, state, None, transaction, event)

    def _begin(self, state: StationState, key: str, event: TransactionEvent) -> Transaction:
        identity = state.record.identity
        start = (event.told_at or event.at).isoformat()
        return begin(self._billing.session_id("2", identity, key, start), identity, key, event)

    async def _find(self, state: StationState, event: TransactionEvent) -> Transaction | None:
        """Find the transaction an event belongs to; one of another station never (S6)."""
        key = event.transaction or ""
        found = state.transactions.get(key)
        nameless = event.seq is None and _never_given(key)
        if found is None and not nameless:
            await self._load_history(state)
            found = state.transactions.get(key)
            if found is None and event.kind is not EventKind.STARTED:
                # A start that the last transactions do not know is new: nothing to read.
                found = await self._store.transaction_by_key(state.record.identity, key)
        found = await self._whole(state, found)
        if found is None and nameless:
            return await self._without_id(state, event)
        return found

    async def _without_id(self, state: StationState, event: TransactionEvent) -> Transaction | None:
        """Find whose end a stop is that names no transaction, by time and register (TX16-09)."""
        await self._load_history(state)
        for transaction in state.transactions.values():
            if ended_by(transaction, event):
                return await self._whole(state, transaction)  # told before
        fitting = [one for one in state.open_transactions() if may_end(one, event)]
        if len(fitting) != 1:
            return None
        return replace(fitting[0], flags=fitting[0].flags | {_MATCHED})

    async def _whole(
        self, state: StationState, transaction: Transaction | None
    ) -> Transaction | None:
        """Return a transaction with its readings, read again where memory let them go."""
        if transaction is None or transaction.key not in state.thin:
            return transaction
        found = await self._store.transaction(transaction.id)
        if found is None:
            state.forget(transaction.key)
        return found

    async def _load_history(self, state: StationState) -> None:
        """Read a station's last transactions once, so that old resends are recognised."""
        if state.history_loaded:
            return
        recent = await self._store.recent_transactions(state.record.identity, 32)
        newest: dict[str, Transaction] = {}
        for transaction in recent:
            newest.setdefault(transaction.key, transaction)  # ids of 2.x may come again
        for transaction in reversed(newest.values()):
            if transaction.key not in state.transactions:
                state.recall(transaction)
        state.history_loaded = True

    async def _orphan(
        self, work: Work, state: StationState, event: TransactionEvent, raw: str
    ) -> TransactionAnswer:
        """Keep what fits nothing for the operator; the station gets its answer all the same."""
        work.put(
            Orphan(
                station=state.record.identity,
                at=event.received_at,
                reason="; ".join(
                    [
                        "transaction unknown at this station",
                        *_candidate(state, event),
                        *_bounds(state, event),
                    ]
                ),
                action="StopTransaction" if event.kind is EventKind.ENDED else str(event.kind),
                payload=raw,
                transaction=event.transaction,
            )
        )
        log.warning("transaction.unmatched", station=state.record.identity)
        self._foreign(work, state, event.transaction, event.received_at)
        token = None
        if event.id_token is not None:
            token = await self._token_answer(state, event.id_token, None)
        return TransactionAnswer(transaction=event.transaction or "", token=token)

    def _foreign(self, work: Work, state: StationState, key: str | None, at: datetime) -> None:
        """Tell of an id of ours that belongs to another station (TX16-10, SEC-09)."""
        if key is None or _never_given(key):
            return
        if any(key in other.transactions for other in self._memory.stations.values()):
            for tell in self.on_foreign:
                tell(work, state.record.identity, key, at)

    async def _record(
        self,
        work: Work,
        state: StationState,
        before: Transaction | None,
        after: Transaction,
        event: TransactionEvent,
    ) -> TransactionAnswer:
        token_answer = None
        if (
            after is not before
            and event.told_at is not None
            and (before is None or event.kind is EventKind.ENDED)
            and _implausible(event.told_at, event.received_at)
        ):
            after = replace(after, flags=after.flags | {"clock_implausible"})
        if before is None:
            offset = _begin_offset(state, event)
            if offset:
                after = replace(after, clock_offset_s=offset)
            if "clock_implausible" not in after.flags and offset != state.clock.offset_s:
                after = replace(after, flags=after.flags | {"clock_ahead"})
            if event.kind is EventKind.STARTED and _energy_missing(state, after):
                log.warning("transaction.energy_missing_before", station=state.record.identity)
                after = replace(after, flags=after.flags | {"energy_missing_before"})
            after = self._after_reservation(work, state, after, event)
        if event.id_token is not None:
            after, token_answer = await self._authorized(state, after, event)
        elif after.token is None:
            after = self._remote(state, after, event)
        if after.snapshot is None or (before is not None and _tariff_may_differ(before, after)):
            after = self._placed(after)
        if before is after:
            cost = self._running_costs.get(after.id)
            return TransactionAnswer(transaction=after.key, token=token_answer, total_cost=cost)
        cost = await self._keep(work, state, before, after, event)
        return TransactionAnswer(
            transaction=after.key,
            token=token_answer,
            total_cost=cost,
            incomplete=event.kind is EventKind.ENDED and bool(after.missing),
        )

    def _placed(self, transaction: Transaction) -> Transaction:
        """Fix what holds for a transaction, once it is known where it is.

        A station with one EVSE need not say; that it has not is known at the end.
        """
        if transaction.evse_id is None and transaction.open:
            return transaction
        snapshot = self._billing.snapshot(transaction)
        if snapshot is None:
            return transaction
        token, flags = transaction.token, transaction.flags
        if token is not None and self._publishing.waits_are_parking(token.partner_id):
            flags |= {WAITS_ARE_PARKING}
        if token is not None and self._publishing.hides_battery(token.partner_id):
            flags |= {BATTERY_HIDDEN}
        return replace(transaction, snapshot=snapshot, flags=flags)

    async def _keep(
        self,
        work: Work,
        state: StationState,
        before: Transaction | None,
        after: Transaction,
        event: TransactionEvent | None,
    ) -> Decimal | None:
        changed = before is None or not same_but_for_readings(before, after)
        if changed:
            self._publishing.charge(work, state, after)
        if event is not None and (event.samples or event.seq is not None):
            key = event_key(event) if event.seq is not None else None
            work.add(Readings(after.id, event.received_at, event.samples, key))
        if not after.open:
            return await self._settle(work, state, before, after)
        work.then(lambda _: state.remember(after))
        if changed:
            work.put(after)
        if changed and (before is None or _another_session(before, after)):
            self._publish(work, after)
        else:
            self._publish_later(work, state, after)
        return self._running_costs.get(after.id)

    async def _authorized(
        self, state: StationState, transaction: Transaction, event: TransactionEvent
    ) -> tuple[Transaction, TokenAnswer]:
        token = event.id_token
        assert token is not None  # noqa: S101 - the caller looked
        if event.kind is EventKind.ENDED or transaction.token is not None:
            return await self._by_another(state, transaction, token)
        decision = await self._authorizations.authorize_start(
            state, token, evse_id=transaction.evse_id
        )
        transaction = _with_decision(transaction, decision)
        expected = self._authorizations.expected(
            state.record.identity,
            token.value,
            evse_id=transaction.evse_id,
            remote_start_id=event.remote_start_id,
            take=True,
        )
        if expected is not None:
            transaction = replace(
                transaction,
                command_id=expected.command_id,
                token=expected.token,
                verdict=Verdict.ACCEPTED,
                phase=Phase.ACTIVE if transaction.open else transaction.phase,
                auth_method=AuthMethod.COMMAND,
                authorization_reference=expected.authorization_reference,
            )
            decision = Authorization(
                verdict=Verdict.ACCEPTED,
                token=expected.token,
                auth_method=AuthMethod.COMMAND,
                authorization_reference=expected.authorization_reference,
            )
            self._authorizations.remember(state, token, decision)
        elif self._authorizations.passed_over(state.record.identity, transaction.evse_id):
            flags = transaction.flags | {"another_token_than_asked"}
            transaction = replace(transaction, flags=flags)
        return transaction, self._authorizations.answer(decision)

    async def _by_another(
        self, state: StationState, transaction: Transaction, token: IdToken
    ) -> tuple[Transaction, TokenAnswer]:
        """Answer about who stops or joins a transaction; a stop by a stranger is noted (TX16-12).

        One of the starter's group may, and a master pass (AU-11, C01.FR.03).
        """
        if self._is_starter(transaction, token):
            return transaction, await self._token_answer(state, token, transaction)
        decision = await self._authorizations.authorize(state, token, evse_id=None, again=True)
        if (
            not transaction.open
            and transaction.token is not None
            and "stopped_by_another_token" not in transaction.flags
            and not self._authorizations.may_stop(decision.token, transaction.token)
        ):
            flags = transaction.flags | {"stopped_by_another_token"}
            transaction = replace(transaction, flags=flags)
        return transaction, self._authorizations.answer(decision)

    def _is_starter(self, transaction: Transaction | None, token: IdToken) -> bool:
        return (
            transaction is not None
            and transaction.id_token is not None
            and transaction.verdict is not None
            and transaction.id_token.value.upper() == token.value.upper()
        )

    def _remote(
        self, state: StationState, transaction: Transaction, event: TransactionEvent
    ) -> Transaction:
        """Tie a transaction to the remote start that names it or that it names (TX20-23, CM-10)."""
        expected = self._authorizations.expected(
            state.record.identity,
            None,
            evse_id=transaction.evse_id,
            remote_start_id=event.remote_start_id,
            take=True,
            transaction=transaction.key,
        )
        if expected is None:
            return transaction
        return replace(
            transaction,
            command_id=expected.command_id,
            token=expected.token,
            verdict=Verdict.ACCEPTED,
            phase=Phase.ACTIVE if transaction.open else transaction.phase,
            auth_method=AuthMethod.COMMAND,
            authorization_reference=expected.authorization_reference,
        )

    async def _token_answer(
        self, state: StationState, token: IdToken | None, transaction: Transaction | None
    ) -> TokenAnswer:
        if token is None:
            return TokenAnswer(Verdict.INVALID)
        if (
            transaction is not None
            and transaction.verdict is not None
            and self._is_starter(transaction, token)
        ):
            group = transaction.token.group_id if transaction.token else None
            return TokenAnswer(transaction.verdict, group)
        decision = await self._authorizations.authorize(state, token, evse_id=None, again=True)
        return self._authorizations.answer(decision)

    async def _close_interrupted(
        self, work: Work, state: StationState, older: Transaction, event: TransactionEvent
    ) -> None:
        """End a transaction that a new one at the same connector shows to be over (TX16-06)."""
        ended = assume_ended(
            older, at=event.received_at, reason="interrupted", register_wh=event.meter_wh
        )
        log.warning("transaction.interrupted", station=state.record.identity, session=older.id)
        await self._keep(work, state, older, ended, None)

    async def _close_reused(
        self, work: Work, state: StationState, older: Transaction, event: TransactionEvent
    ) -> None:
        """Settle a transaction whose id its station uses for another: nothing of it will come."""
        if older.settled:
            return
        flags = {"events_missing"} if older.missing else set()
        if older.open:
            older = assume_ended(older, at=event.received_at, reason="interrupted")
            log.warning("transaction.interrupted", station=state.record.identity, session=older.id)
        older = replace(older, flags=older.flags | flags)
        await self._bill(work, state, await self._attributed(state, older))

    # --- reservations ---------------------------------------------------------------------------

    async def reserve(self, command: Command) -> None:
        """Make the Session of an accepted reservation (SES-19); the same id replaces it."""
        state = self._memory.stations.get(command.station)
        until = _instant(command.parameters.get("expiry_date_time"))
        if state is None or command.token is None or until is None:
            return
        key = _reservation_key(command)
        async with state.lock:
            before = state.transactions.get(key)
            if before is not None and not before.open:
                before = None
            now = self._now()
            transaction = Transaction(
                id=before.id if before is not None else self._billing.session_id("r", command.id),
                station=command.station,
                key=key,
                phase=Phase.RESERVED,
                started_at=before.started_at if before is not None else now,
                received_at=now,
                evse_id=command.evse_id,
                connector_id=command.connector_id,
                id_token=IdToken(command.token.uid),
                token=command.token,
                verdict=Verdict.ACCEPTED,
                auth_method=AuthMethod.COMMAND,
                authorization_reference=command.authorization_reference,
                command_id=command.id,
                reserved_until=until,
            )
            snapshot = self._billing.snapshot(transaction)
            if snapshot is None:
                return
            transaction = replace(transaction, snapshot=snapshot)
            work = Work()
            work.put(transaction)
            work.then(lambda _: state.remember(transaction))
            work.then(lambda _: self._expire_later(state, transaction))
            self._publish(work, transaction)
            self._memory.fence(work, state)
            await self._store.commit(work)

    async def cancel_reservation(self, command: Command) -> None:
        """End the Session of a cancelled reservation."""
        state = self._memory.stations.get(command.station)
        key = _reservation_key(command)
        if state is not None:
            await self._end_reservation(state, key, expired=False)

    async def reservation_gone(self, state: StationState, number: int, *, expired: bool) -> None:
        """End the Session of a reservation that its station dropped (H04)."""
        key = f"{RESERVATION_KEY}{number}"
        if key in state.transactions:
            await self._end_reservation(state, key, expired=expired)

    def _expire_later(self, state: StationState, transaction: Transaction) -> None:
        until = transaction.reserved_until or transaction.started_at
        wait = max((until - self._now()).total_seconds(), 0.0)
        asyncio.get_running_loop().call_later(
            wait, self._spawn, self._expire, state, transaction.key
        )

    async def _expire(self, state: StationState, key: str) -> None:
        transaction = state.transactions.get(key)
        if transaction is not None and transaction.phase is Phase.RESERVED:
            if transaction.reserved_until is not None and transaction.reserved_until > self._now():
                self._expire_later(state, transaction)  # it was prolonged meanwhile
                return
            await self._end_reservation(state, key, expired=True)

    async def _end_reservation(self, state: StationState, key: str, *, expired: bool) -> None:
        async with state.lock:
            transaction = state.transactions.get(key)
            if transaction is None or transaction.phase is not Phase.RESERVED:
                return
            if not self._memory.holds(state):
                return
            work = Work()
            await self._bill(work, state, reserved(transaction, at=self._now(), expired=expired))
            self._memory.fence(work, state)
            await self._store.commit(work)

    def _after_reservation(
        self, work: Work, state: StationState, transaction: Transaction, event: TransactionEvent
    ) -> Transaction:
        """Let the session that a reservation led to carry on the reservation's Session."""
        for held in state.transactions.values():
            if held.phase is not Phase.RESERVED:
                continue
            named = held.key == f"{RESERVATION_KEY}{event.reservation_id}"
            same = (
                held.id_token is not None
                and event.id_token is not None
                and event.id_token.value.upper()
                in {held.id_token.value.upper(), alias_of(held.id_token.value).upper()}
                and held.evse_id in (None, transaction.evse_id)
            )
            if named or same:
                work.then(partial(_forget, state, held.key))
                return replace(
                    transaction,
                    id=held.id,
                    reserved_from=held.started_at,
                    authorization_reference=held.authorization_reference,
                )
        return transaction

    # --- meter values and status ----------------------------------------------------------------

    async def meter_values(self, work: Work, state: StationState, report: MeterReport) -> None:
        """Add readings to the transaction they belong to, if there is one (MV-09, MV-10)."""
        named = await self._named(state, report.transaction)
        if named is None and report.transaction is not None:
            self._foreign(work, state, report.transaction, report.received_at)
        transaction = named if named is not None else state.open_at(report.evse_id)
        if transaction is None or not report.samples:
            return
        offset = transaction.clock_offset_s
        if offset:
            report = replace(report, samples=_shifted(report.samples, offset))
        arrived = report.received_at
        if _implausible(report.samples[-1].at, arrived):
            samples = tuple(replace(sample, at=arrived) for sample in report.samples)
            report = replace(report, samples=samples)
        if named is None and report.samples[-1].at < transaction.started_at:
            return  # of an earlier one at the same connector
        samples = add_samples(transaction.samples, report.samples)
        if samples == transaction.samples:
            return
        work.add(Readings(transaction.id, report.received_at, report.samples))
        if not transaction.open:
            return  # the CDR stays as it is (TX16-19)
        after = replace(transaction, samples=samples)
        if named is None and report.transaction is not None and _MATCHED not in after.flags:
            after = replace(after, flags=after.flags | {_MATCHED})
            work.put(after)
        work.then(lambda _: state.remember(after))
        self._publish_later(work, state, after)

    async def _named(self, state: StationState, key: str | None) -> Transaction | None:
        """Return the transaction that readings name, one that ended before our start too."""
        if key is None:
            return None
        if key not in state.transactions and not _never_given(key):
            await self._load_history(state)
        return await self._whole(state, state.transactions.get(key))

    def status(
        self, work: Work, state: StationState, report: StatusReport, *, told_at: datetime
    ) -> None:
        """Let a 1.6 status cut the session into charging and parking (MAP-23)."""
        transaction = state.open_at(report.evse_id)
        if transaction is None:
            return
        if transaction.clock_offset_s != state.clock.offset_s:
            shift = timedelta(seconds=transaction.clock_offset_s)
            report = replace(report, at=told_at + shift)
        after = with_status(transaction, report)
        if after is transaction:
            return
        work.put(after)
        work.then(lambda _: state.remember(after))
        self._publish_later(work, state, after)

    def adopt(self, work: Work, state: StationState, transaction: Transaction) -> None:
        """Keep a changed form of an open transaction and publish it; the caller has the lock."""
        work.put(transaction)
        work.then(lambda _: state.remember(transaction))
        self._publish(work, transaction)

    # --- sessions and CDRs ----------------------------------------------------------------------

    def _publish(self, work: Work, transaction: Transaction) -> Session | None:
        session = self._billing.session(transaction)
        if session is None:
            return None
        work.put(session)
        self._publishing.session(work, session.id, session.partner_id)
        now = self._now()
        cost = _total(session)
        if cost is not None:
            self._running_costs[session.id] = cost

        def remember(_: datetime) -> None:
            self._published_at[session.id] = now
            timer = self._timers.pop(session.id, None)
            if timer is not None:
                timer.cancel()
            for listener in self.on_session:
                listener(session)

        work.then(remember)
        return session

    def _publish_later(self, work: Work, state: StationState, transaction: Transaction) -> None:
        """Publish now if the last time is long enough ago, else at the end of the window."""
        if transaction.id in self._timers:
            return
        last = self._published_at.get(transaction.id)
        now = self._now()
        wait = self._update_interval - (now - last).total_seconds() if last is not None else 0.0
        if wait <= 0:
            self._publish(work, transaction)
            return

        def start_timer(_: datetime) -> None:
            self._timers[transaction.id] = asyncio.get_running_loop().call_later(
                wait, self._spawn, self._refresh, state, transaction.key
            )

        work.then(start_timer)

    async def _refresh(self, state: StationState, key: str) -> None:
        async with state.lock:
            transaction = state.transactions.get(key)
            if transaction is None:
                return
            self._timers.pop(transaction.id, None)
            if not transaction.open or not self._memory.holds(state):
                return
            work = Work()
            if self._publish(work, transaction) is not None:
                self._memory.fence(work, state)
                await self._store.commit(work)

    async def _settle(
        self, work: Work, state: StationState, before: Transaction | None, after: Transaction
    ) -> Decimal | None:
        """Close the books of an ended transaction, or wait for events that are still missing."""
        first = before is None or before.open
        # An end that came before its start: the start is as good as missing (TX20-07, TX20-14).
        incomplete = bool(after.missing) or (
            "start_unknown" in after.flags and after.first_seq is not None
        )
        if incomplete and (first or not self._overdue(after)):
            work.put(after)
            work.then(lambda _: state.remember(after))
            self._publish(work, after)
            if first:
                work.then(lambda _: self._settle_later(state, after))
            return None
        return await self._bill(work, state, after)

    def _overdue(self, transaction: Transaction) -> bool:
        since = transaction.end_received_at
        return since is None or self._now() - since >= timedelta(seconds=self._settle_time)

    def _settle_later(self, state: StationState, transaction: Transaction) -> None:
        asyncio.get_running_loop().call_later(
            self._settle_time, self._spawn, self._close_books, state, transaction.key
        )

    async def _close_books(self, state: StationState, key: str) -> None:
        async with state.lock:
            transaction = state.transactions.get(key)
            if transaction is None or transaction.open or not self._memory.holds(state):
                return
            work = Work()
            missing = replace(transaction, flags=transaction.flags | {"events_missing"})
            missing = await self._attributed(state, missing)
            await self._bill(work, state, missing)
            self._memory.fence(work, state)
            await self._store.commit(work)

    async def _attributed(self, state: StationState, transaction: Transaction) -> Transaction:
        """Take whoever stopped a charge for whoever started it, when the start never came.

        Its CDR is held for the operator as long as the start is unknown (TX20-14).
        """
        token = transaction.id_token
        if token is None or transaction.verdict is not None:
            return transaction
        decision = await self._authorizations.authorize(
            state, token, evse_id=transaction.evse_id, again=True
        )
        transaction = _with_decision(transaction, decision)
        return replace(transaction, snapshot=self._billing.snapshot(transaction))

    async def _bill(
        self, work: Work, state: StationState, transaction: Transaction
    ) -> Decimal | None:
        """Write the final Session and its one CDR, unless that was done before (promise 2)."""
        if "settled" in transaction.flags and not (
            "held" in transaction.flags and await self._held(transaction)
        ):
            work.put(transaction)
            work.then(lambda _: state.remember(transaction))
            return None
        session = self._billing.session(transaction)
        cdr = None
        if session is not None:
            keys = await keys_behind(self._store, transaction)
            cdr = self._billing.cdr(transaction, session, keys=keys)
        if cdr is not None:
            cdr = self._publishing.judged(cdr)
        flags = (transaction.flags - {"held"}) | {"settled"}
        if cdr is not None and cdr.hold:
            flags |= {"held"}
        settled = replace(transaction, flags=flags)
        work.put(settled)
        work.then(lambda _: state.remember(settled))
        if session is None:
            if transaction.snapshot is None:
                log.warning(
                    "transaction.without_location",
                    station=transaction.station,
                    transaction=transaction.key,
                    evse_id=transaction.evse_id,
                )
            return None
        work.put(session)
        self._publishing.session(work, session.id, session.partner_id)
        if cdr is not None:
            work.put(cdr)
            if not cdr.hold:
                self._publishing.cdr(work, cdr.id, cdr.partner_id)
        self._published_at.pop(transaction.id, None)
        timer = self._timers.pop(transaction.id, None)
        if timer is not None:
            timer.cancel()

        def tell(_: datetime) -> None:
            for listener in self.on_session:
                listener(session)

        work.then(tell)
        self._running_costs.pop(session.id, None)
        return _total(session)

    async def _held(self, transaction: Transaction) -> bool:
        """Whether the CDR waits for the operator: then new facts may still change it."""
        cdr = await self._store.cdr_of_session(transaction.id)
        return cdr is not None and bool(cdr.hold)

    async def end_assumed(
        self, state: StationState, key: str, *, reason: str, invalid: bool = False
    ) -> None:
        """End a transaction whose stop will not come; its CDR is held for the operator.

        Where `invalid`, its Session is INVALID instead of COMPLETED.
        """
        async with state.lock:
            transaction = state.transactions.get(key)
            if transaction is None or not transaction.open:
                return
            work = Work()
            ended = assume_ended(transaction, at=self._now(), reason=reason)
            if invalid:
                ended = replace(ended, flags=ended.flags | {WRITTEN_OFF})
            log.warning(
                "transaction.end_assumed",
                station=state.record.identity,
                session=ended.id,
                reason=reason,
            )
            await self._keep(work, state, transaction, ended, None)
            self._memory.fence(work, state)
            await self._store.commit(work)

    async def place(self, state: StationState, transaction: Transaction) -> bool:
        """Settle an ended transaction whose EVSE got its Location only now; False when it has none.

        What it would have cost then is not known: its CDR is held for the operator.
        """
        async with state.lock:
            known = await self._whole(state, state.transactions.get(transaction.key))
            transaction = known or transaction
            if transaction.open or transaction.snapshot is not None:
                return False
            snapshot = self._billing.snapshot(transaction)
            if snapshot is None:
                return False
            settled = transaction.settled
            flags = (transaction.flags - {"settled"}) | {"placed_later"}
            placed = replace(transaction, snapshot=snapshot, flags=flags)
            work = Work()
            if settled:
                await self._bill(work, state, placed)
            else:  # it still waits for events that are missing
                work.put(placed)
                work.then(lambda _: state.remember(placed))
                self._publish(work, placed)
            self._memory.fence(work, state)
            await self._store.commit(work)
            return True

    async def recover(self) -> None:
        """After a start: close the books of what ended but waited for missing events."""
        for state in self._memory.stations.values():
            self.resume(state)

    def resume(self, state: StationState) -> None:
        """Go on with what waited for its time at a station, after its state was loaded."""
        for transaction in list(state.transactions.values()):
            if transaction.phase is Phase.RESERVED:
                self._expire_later(state, transaction)
            elif not transaction.open and not transaction.settled:
                self._settle_later(state, transaction)

    # --- tasks ------------------------------------------------------------------------------------

    def _spawn(
        self,
        job: Callable[[StationState, str], Coroutine[Any, Any, None]],
        state: StationState,
        key: str,
    ) -> None:
        task = asyncio.get_running_loop().create_task(job(state, key))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, CpoError):
                raise error
            log.error("session.refresh_failed", error=str(error))

    async def close(self) -> None:
        """Stop all timers; what they would have done is done at the next start."""
        for timer in self._timers.values():
            timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _never_given(key: str) -> bool:
    """Tell whether a 1.6 charger cannot have this id from us: -1, 0, 2^63-1 (TX16-09, Q23).

    Chargers send such ids when they never got one (errata 3.18).
    """
    if not (key.isascii() and key.isdecimal() and len(key) <= 10):
        return True
    return not 0 < int(key) <= _LARGEST_ID


def _at(sample: Sample) -> datetime:
    return sample.at


def _energy_missing(state: StationState, transaction: Transaction) -> bool:
    """Tell whether the register rose between the last charge at a connector and this (OF-08)."""
    ended = [
        (one.ended_at, last_register(one))
        for one in state.transactions.values()
        if one.evse_id == transaction.evse_id and one.ended_at is not None
    ]
    begin = transaction.begin_wh
    if begin is None:
        told = (s.register_wh for s in sorted(transaction.samples, key=_at))
        begin = next((wh for wh in told if wh is not None), None)
    if not ended or begin is None:
        return False
    ended_at, end_wh = max(ended, key=lambda end: end[0])
    return end_wh is not None and ended_at <= transaction.started_at and begin > end_wh + _UNTOLD_WH


def _candidate(state: StationState, event: TransactionEvent) -> list[str]:
    """Name the one open transaction that a stop of nobody may end, by time and register (TX16-08).

    It is not ended: an id that we could have given may be of a charge that another system began.
    """
    if event.kind is not EventKind.ENDED:
        return []
    fitting = [one for one in state.open_transactions() if may_end(one, event)]
    if len(fitting) != 1:
        return []
    return [f"it may be the end of {fitting[0].key} at EVSE {fitting[0].evse_id}"]


def _bounds(state: StationState, event: TransactionEvent) -> list[str]:
    """Say how much a stop of nobody can be about, by the registers before it (TX16-17)."""
    newest: dict[int | None, tuple[datetime, Decimal]] = {}
    for one in state.transactions.values():
        wh = last_register(one)
        if one.ended_at is None or one.ended_at > event.at or wh is None:
            continue
        known = newest.get(one.evse_id)
        if known is None or known[0] < one.ended_at:
            newest[one.evse_id] = (one.ended_at, wh)
    if event.meter_wh is None:
        return []
    return [
        f"at EVSE {evse_id} at most {(event.meter_wh - wh) / 1000:f} kWh"
        for evse_id, (_, wh) in newest.items()
        if event.meter_wh >= wh
    ]


def _begin_offset(state: StationState, event: TransactionEvent) -> float:
    """Return by how much the times of a charge that begins are corrected.

    By what is known of the station's clock; and what lies hours ahead of its arrival cannot be
    late, so the clock is ahead by that much at least (BO-18): no partner sees a charge of the
    future, and its length stays as told. Minutes are left to what is learned of the clock.
    """
    offset: float = state.clock.offset_s
    told_at = event.told_at or event.at
    ahead = (told_at - event.received_at).total_seconds() + offset
    if _HOUR_S <= ahead <= _DAY_S:
        offset -= ahead
    return offset


def _on_time(event: TransactionEvent, offset_s: float) -> TransactionEvent:
    """Correct an event's times by a clock's offset; what it is known by stays as it was told.

    What lies before any charger or a day ahead of us cannot be: the arrival stands for it (MAP-25).
    """
    if offset_s and event.told_at is None:
        event = replace(
            event,
            at=event.at + timedelta(seconds=offset_s),
            told_at=event.told_at or event.at,
            samples=_shifted(event.samples, offset_s),
        )
    arrived = event.received_at
    if _implausible(event.at, arrived):
        event = replace(
            event,
            at=arrived,
            told_at=event.told_at or event.at,
            samples=tuple(replace(sample, at=arrived) for sample in event.samples),
        )
    return event


def _shifted(samples: tuple[Sample, ...], offset_s: float) -> tuple[Sample, ...]:
    shift = timedelta(seconds=offset_s)
    return tuple(replace(sample, at=sample.at + shift) for sample in samples)


def _implausible(at: datetime, received_at: datetime) -> bool:
    """Tell whether a time cannot be: before any charger, or ahead of its arrival by a day."""
    return never_set(at) or at > received_at + timedelta(days=1)


def _total(session: Session) -> Decimal | None:
    """Return what a driver pays for a session so far, with tax where it is known."""
    if session.cost is None:
        return None
    total = session.cost.total
    return total.incl_vat if total.incl_vat is not None else total.excl_vat


def _tariff_may_differ(before: Transaction, after: Transaction) -> bool:
    """Tell whether whose charge it is, or at which connector, is known only now (TX20-05)."""
    return (before.token is None and after.token is not None) or (
        before.connector_id is None and after.connector_id is not None
    )


def _another_session(before: Transaction, after: Transaction) -> bool:
    """Tell whether a change is one that partners must hear of at once."""
    return (
        before.phase is not after.phase
        or before.verdict is not after.verdict
        or before.token is not after.token
        or before.snapshot is not after.snapshot
    )


def _forget(state: StationState, key: str, _: datetime) -> None:
    state.forget(key)


def _reservation_key(command: Command) -> str:
    """Return the key of a reservation's Session: by the number that its charger knows."""
    return f"{RESERVATION_KEY}{reservation_number(command.parameters.get('reservation_id') or 0)}"


def _instant(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value
    return datetime.fromisoformat(value) if isinstance(value, str) else None


def _with_decision(transaction: Transaction, decision: Authorization) -> Transaction:
    accepted = decision.verdict is Verdict.ACCEPTED
    phase = transaction.phase
    if accepted and phase is Phase.PENDING:
        phase = Phase.ACTIVE
    return replace(
        transaction,
        verdict=decision.verdict,
        token=decision.token,
        auth_method=decision.auth_method,
        authorization_reference=decision.authorization_reference
        or transaction.authorization_reference,
        phase=phase,
    )
