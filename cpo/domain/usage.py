"""A transaction in the shape that is priced."""

from collections.abc import Sequence
from datetime import datetime

from cpo.domain.events import ChargingState, Sample
from cpo.domain.metering import EnergyCurve
from cpo.domain.periods import (
    Activity,
    CurrentSample,
    MeterSample,
    PowerSample,
    Record,
    StateChange,
)
from cpo.domain.transaction import WAITS_ARE_PARKING, Transaction

RESERVATION_KEY = "#reservation-"
"""How the keys of reservations begin, which have no transaction at the station."""

_PARKING = frozenset({ChargingState.SUSPENDED_EV, ChargingState.EV_CONNECTED, ChargingState.IDLE})


def usage(transaction: Transaction, energy: EnergyCurve, *, now: datetime) -> Record:
    """Bring a transaction into the shape that is priced (MAP-23).

    SuspendedEVSE counts as charging: the car still asks for power (2.3.0 wording), unless the
    partner's contract said otherwise when it began. Before the first state the car charges.
    """
    start = transaction.started_at
    if transaction.key.startswith(RESERVATION_KEY):
        until = transaction.ended_at or start
        expired = "reservation_expired" in transaction.flags
        return Record(
            started_at=start, ended_at=until, only_reserved=True, reservation_expired=expired
        )
    last = max(
        (
            *(at for at, _ in energy.points[-1:]),
            *(s.at for s in transaction.samples[-1:]),
            *(at for at, _ in transaction.states[-1:]),
            start,
        )
    )
    end = transaction.ended_at or max(last, min(now, last))
    end = max(end, start)
    states = [change for change in activities(transaction) if change.at < end]
    samples = sorted(transaction.samples, key=lambda s: s.at)
    return Record(
        started_at=start,
        ended_at=end,
        reserved_from=transaction.reserved_from,
        meter=tuple(MeterSample(max(at, start), wh) for at, wh in energy.points),
        states=tuple(states),
        power=powers(samples),
        current=currents(samples),
    )


def activity_of(transaction: Transaction, state: ChargingState) -> Activity:
    """Return what a state of the charger is to the price of a transaction."""
    waits = state is ChargingState.SUSPENDED_EVSE and WAITS_ARE_PARKING in transaction.flags
    return Activity.PARKING if waits or state in _PARKING else Activity.CHARGING


def activities(transaction: Transaction) -> list[StateChange]:
    """Return when charging and parking began; what was before the start counts at the start."""
    start = transaction.started_at
    changes = [StateChange(start, Activity.CHARGING)]
    for at, state in transaction.states:
        activity, moment = activity_of(transaction, state), max(at, start)
        if changes[-1].at == moment:
            changes[-1] = StateChange(moment, activity)
        elif changes[-1].state is not activity:
            changes.append(StateChange(moment, activity))
    return changes


def powers(samples: Sequence[Sample]) -> tuple[PowerSample, ...]:
    """Return the power of those samples that tell it."""
    return tuple(PowerSample(s.at, s.power_w) for s in samples if s.power_w is not None)


def currents(samples: Sequence[Sample]) -> tuple[CurrentSample, ...]:
    """Return the current of those samples that tell it."""
    return tuple(CurrentSample(s.at, s.current_a) for s in samples if s.current_a is not None)
