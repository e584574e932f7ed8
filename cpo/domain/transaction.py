"""A transaction: the fold over its events, however late, doubled or out of order they come.

Status drives the EVSE, transactions drive the Session. A transaction is found by the station's own
id (`key`); `id` is ours and becomes the OCPI Session's id.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from cpo.domain.events import (
    ChargingState,
    EventKind,
    IdToken,
    Sample,
    StatusReport,
    TransactionEvent,
)
from cpo.domain.ids import instant_key
from cpo.domain.location import Location
from cpo.domain.metering import EnergyCurve, energy_curve, jumps
from cpo.domain.preferences import Preference, tariff_over_time
from cpo.domain.tariff import Tariff
from cpo.domain.tokens import AuthMethod, Token, Verdict
from cpo.domain.values import Named, replace

# Its end was assumed, and its session told to be invalid: that stays so, whatever comes later.
WRITTEN_OFF = "written_off"

# Its partner's contract, when it began: SuspendedEVSE is parking.
WAITS_ARE_PARKING = "suspended_evse_is_parking"

# Likewise: how full the car's battery is concerns nobody else.
BATTERY_HIDDEN = "state_of_charge_hidden"


class Phase(StrEnum):
    """How far a transaction has come."""

    RESERVED = "reserved"  # nothing charges yet: an EVSE is kept free for a token
    PENDING = "pending"  # begun at the charger, nobody accepted yet
    ACTIVE = "active"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What held when the session began: later edits of tariff, location or token do not count.

    Only `preferences` are added while it goes on. `location` carries only the EVSE and connector of
    the session. (OCPI 2.2.1 mod_cdrs; D11)
    """

    country_code: str
    party_id: str
    location: Location
    evse_uid: str
    connector_id: str
    tariff: Tariff | None
    currency: str
    preferences: tuple[Preference, ...] = ()

    @property
    def tariffs(self) -> tuple[Tariff, ...]:
        """Every tariff that priced some of the session, in order of first use."""
        if self.tariff is None:
            return ()
        return tuple(
            {t.id: t for t in (self.tariff, *(p.tariff for p in self.preferences))}.values()
        )

    @property
    def last_tariff(self) -> Tariff | None:
        """The tariff in force by now."""
        return self.preferences[-1].tariff if self.preferences else self.tariff

    @property
    def price_tariff(self) -> Tariff | None:
        """What the session is priced with: its tariff, or all that preferences made of it."""
        if self.tariff is None or not self.preferences:
            return self.tariff
        return tariff_over_time(self.tariff, self.preferences)


class Transaction(Named, frozen=True, kw_only=True):
    """A charging transaction as far as it is known.

    `begin_wh` and `end_wh` are the registers of 1.6 meterStart and meterStop. `seen` holds a key of
    each 2.x event taken in, so that a repeat changes nothing. `missing` are sequence numbers that
    have not come. `start_key` is the content of a 1.6 StartTransaction.
    `clock_offset_s` is what its times were corrected by: one
    offset for all of it, whatever is learned of the station's clock meanwhile.
    `reserved_from` is when a reservation began that led to it, or that it still is (RESERVED).
    """

    id: str
    station: str
    key: str
    phase: Phase
    started_at: datetime
    received_at: datetime
    start_key: str | None = None
    evse_id: int | None = None
    connector_id: int | None = None
    begin_wh: Decimal | None = None
    end_wh: Decimal | None = None
    ended_at: datetime | None = None
    end_received_at: datetime | None = None
    stopped_reason: str | None = None
    id_token: IdToken | None = None
    verdict: Verdict | None = None
    token: Token | None = None
    auth_method: AuthMethod | None = None
    authorization_reference: str | None = None
    remote_start_id: int | None = None
    reservation_id: int | None = None
    command_id: str | None = None
    reserved_from: datetime | None = None
    reserved_until: datetime | None = None
    states: tuple[tuple[datetime, ChargingState], ...] = ()
    first_seq: int | None = None
    last_seq: int | None = None
    missing: frozenset[int] = frozenset()
    seen: frozenset[str] = frozenset()
    samples: tuple[Sample, ...] = ()
    flags: frozenset[str] = frozenset()
    clock_offset_s: float = 0.0
    snapshot: Snapshot | None = None

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.phase is not Phase.ENDED

    @property
    def running(self) -> bool:
        """Whether the charger still counts on it; a reservation has no transaction yet."""
        return self.phase is Phase.ACTIVE or self.phase is Phase.PENDING

    @property
    def settled(self) -> bool:
        """Whether it has ended and its books are closed."""
        return self.phase is Phase.ENDED and "settled" in self.flags


def start_key(station: str, event: TransactionEvent) -> str:
    """Return the content key of a 1.6 StartTransaction (reliability 1.3; TX16-02).

    The message id is no part of it: chargers resend with the same or with a new one.
    """
    token = event.id_token.value.upper() if event.id_token else ""
    return "|".join(
        (
            station,
            str(event.evse_id),
            token,
            instant_key(event.told_at or event.at),
            str(event.meter_wh),
        )
    )


def event_key(event: TransactionEvent) -> str:
    """Return the content key of a 2.x TransactionEvent (TX20-08, TX20-09).

    Some clients send 0 as every seqNo, so the number alone is not enough.
    """
    return f"{event.seq}|{event.kind[0]}|{instant_key(event.told_at or event.at)}|{event.trigger}"


def begins_another(transaction: Transaction, event: TransactionEvent) -> bool:
    """Tell whether a start names an id that its station has used before (TX20-21).

    It does not when it may be the transaction's own start, late or told again.
    """
    if event.kind is not EventKind.STARTED or event.seq is None:
        return False
    if event_key(event) in transaction.seen:
        return False
    at = event.at + timedelta(seconds=transaction.clock_offset_s)
    if transaction.ended_at is not None and not transaction.open:
        return at > transaction.ended_at
    if event.seq == transaction.last_seq and len(transaction.seen) == 1:
        return False  # nothing else was told of it: its start, with another time
    begin = _first_register(event.samples)
    if begin and begin == _first_register(transaction.samples):
        return False  # the meter stands where it began: told again with the time of now
    known = [at for at, _ in transaction.states] + [s.at for s in transaction.samples]
    return at > max([transaction.started_at, *known])


def _first_register(samples: Sequence[Sample]) -> Decimal | None:
    told = (s for s in samples if s.register_wh is not None)
    first = min(told, key=lambda sample: sample.at, default=None)
    return None if first is None else first.register_wh


def begin(id: str, station: str, key: str, event: TransactionEvent) -> Transaction:
    """Open a transaction from the first event of it that arrived, whichever that was."""
    transaction = Transaction(
        id=id,
        station=station,
        key=key,
        phase=Phase.PENDING,
        started_at=event.at,
        received_at=event.received_at,
        start_key=start_key(station, event)
        if event.transaction is None and event.kind is EventKind.STARTED
        else None,
        flags=frozenset() if event.kind is EventKind.STARTED else frozenset({"start_unknown"}),
    )
    return fold(transaction, event)


def fold(transaction: Transaction, event: TransactionEvent) -> Transaction:
    """Take one event in; the same event twice changes nothing (TX20-05 to TX20-14, TX16-07).

    Events that come after the end only add readings and settle gaps; they never reopen.
    """
    if event.seq is not None:
        key = event_key(event)
        if key in transaction.seen:
            return transaction
        transaction = replace(_numbered(transaction, event.seq), seen=transaction.seen | {key})
    elif (
        event.kind is EventKind.ENDED
        and transaction.phase is Phase.ENDED
        and "estimated_end" not in transaction.flags
    ):
        # A time that cannot be gave way to the arrival, which is another one each time.
        replaced = event.told_at is not None and event.at == event.received_at
        same = transaction.end_wh == event.meter_wh and (
            transaction.ended_at == event.at or replaced
        )
        if same or "stop_repeated_differently" in transaction.flags:
            return transaction
        # The first stop holds; that another said otherwise is evidence for the operator.
        return replace(transaction, flags=transaction.flags | {"stop_repeated_differently"})

    changes: dict[str, Any] = {}
    if event.evse_id is not None and transaction.evse_id is None:
        changes["evse_id"] = event.evse_id
    if event.connector_id is not None and transaction.connector_id is None:
        changes["connector_id"] = event.connector_id
    if event.id_token is not None and transaction.id_token is None:
        changes["id_token"] = event.id_token
    if event.remote_start_id is not None:
        changes["remote_start_id"] = event.remote_start_id
    if event.reservation_id is not None:
        changes["reservation_id"] = event.reservation_id
    if event.samples:
        changes["samples"] = add_samples(transaction.samples, event.samples)
    if event.charging_state is not None:
        changes["states"] = _with_state(transaction.states, event.at, event.charging_state)
    if event.kind is EventKind.STARTED:
        if "start_unknown" in transaction.flags:
            changes["started_at"] = event.at
        if event.meter_wh is not None:
            changes["begin_wh"] = event.meter_wh
        changes["flags"] = transaction.flags - {"start_unknown"}
    elif event.kind is EventKind.ENDED:
        changes["phase"] = Phase.ENDED
        changes["end_wh"] = event.meter_wh
        changes["ended_at"] = event.at
        changes["end_received_at"] = event.received_at
        changes["stopped_reason"] = event.stopped_reason or "Local"
        # A real end replaces one that we had to assume.
        flags = transaction.flags - {"estimated_end", "interrupted"}
        if event.at < transaction.started_at:
            flags |= {"stop_before_start"}
        changes["flags"] = flags
    return replace(transaction, **changes) if changes else transaction


def add_samples(known: tuple[Sample, ...], new: Sequence[Sample]) -> tuple[Sample, ...]:
    """Add readings that are not known yet (the charger repeats MeterValues, too)."""
    if known and new and new[0].at > known[-1].at:
        return known + tuple(new)
    fresh = tuple(sample for sample in new if sample not in known)
    return known + fresh


def with_status(transaction: Transaction, report: StatusReport) -> Transaction:
    """Let a 1.6 status tell whether the car charges or only stands there (MAP-23)."""
    state = _STATE_OF_ACTIVITY.get(report.activity or "")
    if state is None or not transaction.open or report.at < transaction.started_at:
        return transaction
    return replace(transaction, states=_with_state(transaction.states, report.at, state))


def activity(transaction: Transaction | None, *, since: datetime) -> str:
    """Return what a cable is in for, in the words of 1.6: of 2.x, the transaction tells.

    Args:
        transaction: the newest at the EVSE.
        since: when the cable was first told to be in.
    """
    if transaction is None:
        return "Preparing"
    if not transaction.running:
        after = transaction.ended_at is not None and transaction.ended_at >= since
        return "Finishing" if after else "Preparing"
    told = [state for _, state in transaction.states]
    if told and (known := _ACTIVITY_OF_STATE.get(told[-1])) is not None:
        return known
    # Connected or idle: before the energy flowed, or after it was stopped.
    if any(state in _ACTIVITY_OF_STATE for state in told):
        return "Finishing"
    return "Charging" if transaction.verdict is Verdict.ACCEPTED else "Preparing"


def last_change(transaction: Transaction) -> datetime:
    """Return when a transaction last told that what the car does has changed."""
    changed = transaction.states[-1][0] if transaction.states else transaction.started_at
    return max(transaction.ended_at, changed) if transaction.ended_at is not None else changed


_ACTIVITY_OF_STATE = {
    ChargingState.CHARGING: "Charging",
    ChargingState.SUSPENDED_EV: "SuspendedEV",
    ChargingState.SUSPENDED_EVSE: "SuspendedEVSE",
}
_STATE_OF_ACTIVITY = {
    "Charging": ChargingState.CHARGING,
    "SuspendedEV": ChargingState.SUSPENDED_EV,
    "SuspendedEVSE": ChargingState.SUSPENDED_EVSE,
    "Finishing": ChargingState.EV_CONNECTED,
}


def _with_state(
    states: tuple[tuple[datetime, ChargingState], ...], at: datetime, state: ChargingState
) -> tuple[tuple[datetime, ChargingState], ...]:
    if states and states[-1][0] <= at:
        if states[-1][1] is state:
            return states
        return (*states, (at, state))
    return tuple(sorted({*states, (at, state)}, key=lambda entry: entry[0]))


def _numbered(transaction: Transaction, seq: int) -> Transaction:
    """Keep track of sequence numbers that have not come (TX20-06, TX20-11)."""
    first, last = transaction.first_seq, transaction.last_seq
    if first is None or last is None:
        return replace(transaction, first_seq=seq, last_seq=seq)
    if seq in transaction.missing:
        return replace(transaction, missing=transaction.missing - {seq})
    if seq > last:
        missing = transaction.missing | _gap(last, seq)
        return replace(transaction, missing=missing, last_seq=seq)
    if seq < first:
        missing = transaction.missing | _gap(seq, first)
        return replace(transaction, missing=missing, first_seq=seq)
    return transaction


def _gap(low: int, high: int) -> frozenset[int]:
    # A jump of thousands is a counter that started anew, not thousands of lost messages.
    return frozenset(range(low + 1, high)) if high - low <= 1000 else frozenset()


def assume_ended(
    transaction: Transaction, *, at: datetime, reason: str, register_wh: Decimal | None = None
) -> Transaction:
    """End a transaction whose stop will not come, on the evidence there is (TX16-06, TX16-18).

    The end is its last reading, its last register that with which the next one at the connector
    begins, where that is known (OF-07); the flags hold its CDR for the operator. Should the real
    stop come after all, it replaces this.
    """
    last_wh = last_register(transaction)
    if register_wh is not None and (last_wh is None or register_wh < last_wh):
        register_wh = None  # another meter, or one that was set back
    last = max((sample.at for sample in transaction.samples), default=None)
    ended_at = (
        last
        if last is not None and last >= transaction.started_at
        else min(at, transaction.started_at)
    )
    return replace(
        transaction,
        phase=Phase.ENDED,
        ended_at=ended_at,
        end_received_at=at,
        end_wh=register_wh,
        stopped_reason="Other",
        flags=transaction.flags | {"estimated_end", reason},
    )


def last_register(transaction: Transaction) -> Decimal | None:
    """Return the last register that was told of a transaction."""
    if transaction.end_wh is not None:
        return transaction.end_wh
    told = [sample for sample in transaction.samples if sample.register_wh is not None]
    if not told:
        return transaction.begin_wh
    return max(told, key=lambda sample: sample.at).register_wh


def thinned(transaction: Transaction) -> Transaction:
    """Return what a transaction is known by, without what it was billed from.

    The register it ended at stays, in `samples` where no stop told it.
    """
    register = last_register(transaction) if transaction.end_wh is None else None
    last = transaction.ended_at or transaction.started_at
    return replace(
        transaction,
        samples=() if register is None else (Sample(last, register_wh=register),),
        states=(),
        seen=frozenset(),
        snapshot=None,
    )


def same_but_for_readings(one: Transaction, other: Transaction) -> bool:
    """Tell whether two forms of a transaction differ in nothing but what Readings rows keep."""
    return one is other or one == replace(
        other,
        samples=one.samples,
        seen=one.seen,
        first_seq=one.first_seq,
        last_seq=one.last_seq,
        missing=one.missing,
    )


def restored(
    transaction: Transaction, samples: Sequence[Sample], event_keys: Sequence[str]
) -> Transaction:
    """Return a stored transaction with the readings that were stored beside it."""
    restored_transaction = replace(
        transaction,
        samples=tuple(dict.fromkeys(samples)),
        seen=frozenset(event_keys),
        first_seq=None,
        last_seq=None,
        missing=frozenset(),
    )
    for seq in sorted(int(key.split("|", 1)[0]) for key in event_keys):
        restored_transaction = _numbered(restored_transaction, seq)
    return restored_transaction


def may_end(transaction: Transaction, event: TransactionEvent) -> bool:
    """Tell whether a stop without a usable id can be this transaction's (TX16-08, TX16-09).

    It must lie after the start, and the register must not have fallen or jumped.
    """
    at = event.at + timedelta(seconds=transaction.clock_offset_s)
    if at < transaction.started_at:
        return False
    begin = transaction.begin_wh
    if event.meter_wh is None or begin is None:
        return True
    return event.meter_wh >= begin and not jumps(
        (transaction.started_at, begin), (at, event.meter_wh)
    )


def ended_by(transaction: Transaction, event: TransactionEvent) -> bool:
    """Tell whether a transaction has already ended by just this stop."""
    at = event.at + timedelta(seconds=transaction.clock_offset_s)
    return (
        transaction.phase is Phase.ENDED
        and transaction.ended_at == at
        and transaction.end_wh == event.meter_wh
    )


def reserved(transaction: Transaction, *, at: datetime, expired: bool) -> Transaction:
    """End a reservation that no session followed (SES-19, CDR-12)."""
    ended_at = transaction.reserved_until if expired and transaction.reserved_until else at
    flags = transaction.flags | ({"reservation_expired"} if expired else {"reservation_cancelled"})
    return replace(
        transaction,
        phase=Phase.ENDED,
        ended_at=max(ended_at, transaction.started_at),
        end_received_at=at,
        flags=flags,
    )


def curve(transaction: Transaction) -> EnergyCurve:
    """Return the energy of the transaction over time."""
    return energy_curve(
        transaction.samples,
        started_at=transaction.started_at,
        begin_wh=transaction.begin_wh,
        ended_at=transaction.ended_at,
        end_wh=transaction.end_wh,
    )
