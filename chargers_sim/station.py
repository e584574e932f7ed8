"""A charging station as a state machine: cable, door, power, money aside. Pure.

Nothing here waits, reads a clock or draws a random number of its own: every
action carries its instant, and what follows from it is a list of happenings
that the protocol adapters put into words. Outlets are numbered 1..n as OCPP 1.6
numbers connectors; each belongs to an EVSE, and outlets of one EVSE share its power.
"""

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from chargers_sim.car import MJ_PER_WH, ChargingState, Draw, Plan
from chargers_sim.errors import BadInput, NotPossible
from chargers_sim.happenings import (
    Alarm,
    Charged,
    Happening,
    Metered,
    ReservationEnded,
    StatusChanged,
)
from chargers_sim.meter import TELL_CAR, Reading, Sample
from chargers_sim.outlet import Outlet, Reservation, Status, Token, Transaction
from chargers_sim.settings import Settings

# Later than anything that happens.
NEVER = 1 << 62

# Readings kept for the last message of a transaction.
MOST_KEPT = 200

TRIGGER_OF_REASON = {
    "Local": "StopAuthorized",
    "Remote": "RemoteStop",
    "EVDisconnected": "EVCommunicationLost",
    "DeAuthorized": "Deauthorized",
    "PowerLoss": "AbnormalCondition",
    "EmergencyStop": "AbnormalCondition",
    "Reboot": "AbnormalCondition",
    "HardReset": "ResetCommand",
    "SoftReset": "ResetCommand",
    "UnlockCommand": "UnlockCommand",
    "EnergyLimitReached": "EnergyLimitReached",
    "TimeLimitReached": "TimeLimitReached",
    "MasterPass": "StopAuthorized",
    "Other": "AbnormalCondition",
}


class Model:
    """The station's outlets and what happens at them."""

    def __init__(
        self,
        outlets: Sequence[Outlet],
        settings: Settings | None = None,
        *,
        new_ref: Callable[[], str] = lambda: str(uuid.uuid4()),
        signer: Callable[[Outlet, Reading], Sample | None] | None = None,
    ) -> None:
        if not outlets:
            raise BadInput("a station needs at least one outlet")
        self.outlets = {outlet.number: outlet for outlet in outlets}
        self.settings = settings or Settings()
        self.limit_w: Callable[[Outlet, int], tuple[int | None, int | None]] = _no_limit
        self.operative = True
        self.fault: str | None = None
        self.door_open = False
        self.powered = True
        self.alarms: dict[str, int] = {}
        self.reservations: list[Reservation] = []
        self._new_ref = new_ref
        self._signer = signer
        self._now_ms: int | None = None
        self._next_aligned_ms: int | None = None
        self._next_kept_ms: int | None = None
        self._shown: Status | None = None
        self._happened: list[Happening] = []

    # What happened

    def drain(self) -> list[Happening]:
        """Take what happened since the last call."""
        happened, self._happened = self._happened, []
        return happened

    def outlet(self, number: int) -> Outlet:
        """Find an outlet by its number."""
        try:
            return self.outlets[number]
        except KeyError:
            known = ", ".join(map(str, self.outlets))
            raise NotPossible(f"no connector {number}; this station has {known}") from None

    def find(self, *, evse: int, connector: int | None = None) -> Outlet | None:
        """Find an outlet by EVSE and connector; the busy or first one of the EVSE."""
        of_evse = [o for o in self.outlets.values() if o.evse == evse]
        if connector is not None:
            return next((o for o in of_evse if o.connector == connector), None)
        busy = [o for o in of_evse if o.charging or o.plugged]
        return next(iter(busy or of_evse), None)

    def transactions(self) -> Iterable[Transaction]:
        """List the running transactions."""
        for outlet in self.outlets.values():
            if outlet.transaction is not None and outlet.transaction.running:
                yield outlet.transaction

    def running(self, *, number: int | None = None, ref: str | None = None) -> Transaction | None:
        """Find a running transaction by the server's number or by our reference."""
        for transaction in self.transactions():
            if (ref is not None and transaction.ref == ref) or (
                number is not None and transaction.number == number
            ):
                return transaction
        return None

    # What people do

    def plug(self, number: int, at_ms: int, draw: Draw | None = None) -> None:
        """Connect a car."""
        outlet = self.outlet(number)
        self._move_to(at_ms)
        if outlet.plugged:
            raise NotPossible(f"connector {number} has a car already")
        if any(o.plugged for o in self._siblings(outlet)):
            raise NotPossible(f"the other plug of EVSE {outlet.evse} is in use")
        outlet.plugged, outlet.draw, outlet.finished = True, draw, False
        if outlet.charging:
            self._update(outlet, at_ms, "CablePluggedIn")
            self._set_state(outlet, at_ms)
        elif outlet.token is not None or (
            self.settings.start_points & {"EVConnected", "ParkingBayOccupied"}
            and self._usable(outlet)
        ):
            self._start(outlet, at_ms, "CablePluggedIn")
        self.refresh(at_ms)

    def unplug(self, number: int, at_ms: int) -> None:
        """Take the plug out of the car."""
        outlet = self.outlet(number)
        self._move_to(at_ms)
        if not outlet.plugged:
            raise NotPossible(f"connector {number} has no car")
        outlet.plugged = False
        if outlet.charging:
            if self.settings.stop_on_unplug:
                self.stop(number, at_ms, "EVDisconnected")
            else:
                self._set_state(outlet, at_ms)
        outlet.draw, outlet.finished, outlet.ends_with_plan = None, False, False
        self.refresh(at_ms)

    def authorize(
        self,
        number: int,
        token: Token,
        at_ms: int,
        *,
        group: str | None = None,
        remote_start_id: int | None = None,
        trigger: str = "Authorized",
    ) -> None:
        """Let an accepted token start a transaction here, at once or when a car comes."""
        outlet = self.outlet(number)
        self._move_to(at_ms)
        if not self._usable(outlet):
            raise NotPossible(f"connector {number} is {self.status(outlet)}")
        if not outlet.charging and self.reserved_against(outlet, token, group):
            raise NotPossible(f"connector {number} is reserved for another token")
        outlet.token, outlet.token_group, outlet.token_since_ms = token, group, at_ms
        outlet.remote_start_id = remote_start_id
        transaction = outlet.transaction
        if transaction is not None and transaction.running:
            if transaction.token is None:
                transaction.token, transaction.group = token, group
                transaction.remote_start_id = remote_start_id
                self._update(outlet, at_ms, trigger)
                self._set_state(outlet, at_ms)
        elif outlet.plugged or "Authorized" in self.settings.start_points:
            self._start(outlet, at_ms, trigger)
        self.refresh(at_ms)

    def stop(
        self,
        number: int,
        at_ms: int,
        reason: str = "Local",
        *,
        token: Token | None = None,
        trigger: str | None = None,
    ) -> None:
        """End the running transaction."""
        outlet = self.outlet(number)
        self._move_to(at_ms)
        transaction = outlet.transaction
        if transaction is None or not transaction.running:
            raise NotPossible(f"no transaction is running on connector {number}")
        trigger = trigger or TRIGGER_OF_REASON.get(reason, "AbnormalCondition")
        outlet.token = outlet.remote_start_id = None
        outlet.next_sample_ms = outlet.next_kept_ms = None
        outlet.ends_with_plan = False
        lasts_to_unplug = "Authorized" not in self.settings.stop_points
        if lasts_to_unplug and outlet.plugged and reason in {"Local", "Remote"}:
            transaction.state, transaction.reason = "EVConnected", reason
            outlet.draw = Plan([])
            self._tell(outlet, "Updated", at_ms, trigger, "Transaction.End", token=token)
        else:
            transaction.ended_ms = at_ms
            transaction.meter_stop_wh = outlet.meter.register_wh()
            transaction.reason = transaction.reason or reason
            transaction.state = "EVConnected" if outlet.plugged else "Idle"
            self._tell(outlet, "Ended", at_ms, trigger, "Transaction.End", token=token)
            outlet.finished = outlet.plugged
            if outlet.inoperative_later:
                outlet.operative, outlet.inoperative_later = False, False
        self.refresh(at_ms)

    def refuse(self, transaction: Transaction, at_ms: int) -> None:
        """The server does not accept the token: no more energy, or none beyond the allowance."""
        outlet = self.outlet(transaction.outlet)
        self._move_to(at_ms)
        if outlet.transaction is not transaction or not transaction.running:
            return
        allowed_mj = self.settings.invalid_wh * MJ_PER_WH
        transaction.allowance_mj = outlet.meter.register_mj + allowed_mj
        self._check_allowance(outlet, at_ms)
        self.refresh(at_ms)

    def _check_allowance(self, outlet: Outlet, at_ms: int) -> None:
        transaction = outlet.transaction
        if transaction is None or not transaction.running or transaction.allowance_mj is None:
            return
        if outlet.meter.register_mj < transaction.allowance_mj:
            return
        transaction.allowance_mj = None
        if self.settings.stop_on_invalid:
            self.stop(outlet.number, at_ms, "DeAuthorized")
            return
        transaction.blocked, transaction.state = True, "SuspendedEVSE"
        self._update(outlet, at_ms, "Deauthorized")

    def give(self, number: int, draw: Draw, at_ms: int, *, then_stop: bool = False) -> None:
        """Let the car at this outlet draw by another plan from now on."""
        outlet = self.outlet(number)
        self._move_to(at_ms)
        outlet.draw, outlet.ends_with_plan = draw, then_stop
        self._set_state(outlet, at_ms)
        self.refresh(at_ms)

    def reconsider(self, at_ms: int) -> None:
        """Look at the limits again: someone changed them."""
        self._move_to(at_ms)
        for outlet in self.outlets.values():
            self._set_state(outlet, at_ms)
        self.refresh(at_ms)

    def set_fault(self, number: int, code: str | None, at_ms: int) -> None:
        """Break an outlet (0: the station) with an error code, or mend it with None."""
        self._move_to(at_ms)
        if number == 0:
            self.fault = code
        else:
            outlet = self.outlet(number)
            outlet.fault = code
            if code is not None and outlet.charging:
                self.stop(number, at_ms, "Other")
        if code is not None:
            self._drop_reservations([*self.outlets] if number == 0 else [number])
        self.refresh(at_ms)

    def set_operative(self, number: int, at_ms: int, *, operative: bool) -> bool:
        """Change availability (0: the station); False if it waits for a transaction's end."""
        self._move_to(at_ms)
        targets = list(self.outlets.values()) if number == 0 else [self.outlet(number)]
        at_once = True
        for outlet in targets:
            if not operative and outlet.charging:
                outlet.inoperative_later, at_once = True, False
            else:
                outlet.operative, outlet.inoperative_later = operative, False
                if not operative:
                    self._drop_reservations([outlet.number])
        if number == 0:
            self.operative = operative or not at_once
        self.refresh(at_ms)
        return at_once

    def reserve(self, number: int, reservation: Reservation, at_ms: int) -> str:
        """Keep an outlet (0: any one) for a token; the answer is the protocol's status word."""
        self._move_to(at_ms)
        if number == 0 and not self.settings.reserve_any:
            return "Rejected"
        words: dict[Status, str] = {"Faulted": "Faulted", "Unavailable": "Unavailable"}
        if number == 0:
            others = [r for r in self.reservations if r.number != reservation.number]
            plain = [self._plain_status(o) for o in self.outlets.values()]
            if plain.count("Available") > len(others):
                self.reservations = [*others, reservation]
                self.refresh(at_ms)
                return "Accepted"
            return words.get(plain[0], "Occupied") if len(set(plain)) == 1 else "Occupied"
        outlet = self.outlet(number)
        status = self.status(outlet)
        same = outlet.reservation is not None and outlet.reservation.number == reservation.number
        if status == "Available" or (status == "Reserved" and same):
            outlet.reservation = reservation
            self.refresh(at_ms)
            return "Accepted"
        return words.get(status, "Occupied")

    def cancel_reservation(self, number: int, at_ms: int) -> bool:
        """Forget a reservation by its number."""
        self._move_to(at_ms)
        kept = [r for r in self.reservations if r.number != number]
        found, self.reservations = len(kept) < len(self.reservations), kept
        for outlet in self.outlets.values():
            if outlet.reservation is not None and outlet.reservation.number == number:
                outlet.reservation, found = None, True
        self.refresh(at_ms)
        return found

    def reserved_against(self, outlet: Outlet, token: Token, group: str | None = None) -> bool:
        """Say whether an outlet is kept for somebody else."""
        if outlet.reservation is not None:
            return not _holds(outlet.reservation, token, group)
        if any(_holds(r, token, group) for r in self.reservations):
            return False
        free = sum(self._plain_status(o) == "Available" for o in self.outlets.values())
        # The car may be here already: then this outlet is none of the free ones.
        takes_one = self._plain_status(outlet) == "Available"
        return bool(self.reservations) and free - takes_one < len(self.reservations)

    def _drop_reservations(self, outlets: Iterable[int]) -> None:
        for number in outlets:
            held, self.outlets[number].reservation = self.outlets[number].reservation, None
            if held is not None:
                self._happened.append(ReservationEnded(number=held.number, why="Removed"))

    def trigger(self, number: int, at_ms: int) -> None:
        """Tell the state of a running transaction because the server asks."""
        outlet = self.outlet(number)
        self._move_to(at_ms)
        if outlet.charging:
            self._tell(outlet, "Updated", at_ms, "Trigger", "Trigger")

    def unlock(self, number: int, at_ms: int) -> bool:
        """Open the lock of a socket; ends a running transaction. False if it jams."""
        outlet = self.outlet(number)
        self._move_to(at_ms)
        if outlet.charging:
            self.stop(number, at_ms, "UnlockCommand")
        return outlet.lock_works

    def lose_power(self, at_ms: int) -> None:
        """The mains fail: nothing is told, transactions are where they were."""
        self._move_to(at_ms)
        self.powered = False
        for transaction in self.transactions():
            transaction.power_cut_ms = at_ms

    def regain_power(self, at_ms: int, *, resume: bool = False) -> None:
        """The mains are back: interrupted transactions end, at the time of the cut."""
        self.powered, self._now_ms = True, at_ms
        self._schedule_aligned(at_ms)
        for outlet in self.outlets.values():
            outlet.shown = outlet.pending = None
            if outlet.charging and not resume and outlet.transaction is not None:
                cut_ms = outlet.transaction.power_cut_ms
                self.stop(outlet.number, at_ms if cut_ms is None else cut_ms, "PowerLoss")
            elif not outlet.charging:
                outlet.token = None
        self._shown = None
        self._now_ms = at_ms
        self.refresh(at_ms)

    def forget_shown(self, at_ms: int) -> None:
        """Tell every status again, as after a boot."""
        self._shown = None
        for outlet in self.outlets.values():
            outlet.shown = outlet.pending = None
        self.refresh(at_ms, station=True)

    # Time

    def next_due(self) -> int | None:
        """Tell the next instant at which something happens by itself."""
        now_ms = self._now_ms
        if now_ms is None or not self.powered:
            return None
        soonest = min(self.alarms.values(), default=NEVER)
        if self._next_aligned_ms is not None:
            soonest = min(soonest, self._next_aligned_ms)
        if self._next_kept_ms is not None:
            soonest = min(soonest, self._next_kept_ms)
        for held in self.reservations:
            soonest = min(soonest, held.expires_ms)
        for outlet in self.outlets.values():
            soonest = min(soonest, self._due_at(outlet, now_ms))
        return None if soonest == NEVER else max(soonest, now_ms)

    def _due_at(self, outlet: Outlet, now_ms: int) -> int:
        """Tell when something happens at an outlet by itself."""
        soonest = NEVER
        transaction = outlet.transaction
        if transaction is not None and transaction.ended_ms is None:
            offered, until = self.limit_w(outlet, now_ms)
            if until is not None:
                soonest = until
            if outlet.draw is not None and self._flows(outlet):
                change = outlet.draw.next_change_ms(self._offer(outlet, offered))
                if change is not None and now_ms + change < soonest:
                    soonest = now_ms + change
            if outlet.next_sample_ms is not None and outlet.next_sample_ms < soonest:
                soonest = outlet.next_sample_ms
            if outlet.next_kept_ms is not None and outlet.next_kept_ms < soonest:
                soonest = outlet.next_kept_ms
            if transaction.allowance_mj is not None:
                soonest = min(soonest, self._allowance_end(outlet, transaction, now_ms))
        elif outlet.token is not None and self.settings.connection_seconds:
            soonest = outlet.token_since_ms + self.settings.connection_seconds * 1000
        if outlet.reservation is not None:
            soonest = min(soonest, outlet.reservation.expires_ms)
        if outlet.pending is not None:
            lasted_ms = outlet.pending_since_ms + self.settings.status_seconds * 1000
            soonest = min(soonest, lasted_ms)
        return soonest

    def _allowance_end(self, outlet: Outlet, transaction: Transaction, now_ms: int) -> int:
        """Tell when the allowance of a refused token is used up at the earliest."""
        # A car on its curve may take more in a moment than it does now.
        car = getattr(outlet.draw, "car", None)
        most_w = self.power_w(outlet) if car is None else car.max_power_w
        left_mj = (transaction.allowance_mj or 0) - outlet.meter.register_mj
        return now_ms + max(1, -(-left_mj // most_w)) if most_w > 0 else NEVER

    def come(self, due_ms: int) -> None:
        """Let the instant come that `next_due` told, if nothing has changed since."""
        self._move_to(due_ms)
        self._do_due(due_ms)

    def run_to(self, at_ms: int) -> None:
        """Let time pass until then; call it at least at each due instant."""
        if self._now_ms is None:
            self._now_ms = at_ms
        while (due := self.next_due()) is not None and due <= at_ms:
            before = self._now_ms
            self._move_to(due)
            self._do_due(due)
            if due == before and self.next_due() == due:
                # A draw that changes nothing must not stop the clock.
                break
        self._move_to(at_ms)

    def _do_due(self, at_ms: int) -> None:
        aligned = self._next_aligned_ms is not None and at_ms >= self._next_aligned_ms
        kept = self._next_kept_ms is not None and at_ms >= self._next_kept_ms
        if aligned or kept:
            self._schedule_aligned(at_ms)
        for name in [name for name, due_ms in self.alarms.items() if due_ms <= at_ms]:
            del self.alarms[name]
            self._happened.append(Alarm(name=name, at_ms=at_ms))
        for outlet in self.outlets.values():
            self._set_state(outlet, at_ms)
            self._check_allowance(outlet, at_ms)
            if outlet.charging:
                self._keep(outlet, at_ms, aligned=kept)
                self._sample(outlet, at_ms, aligned=aligned)
                draw = outlet.draw
                if outlet.ends_with_plan and isinstance(draw, Plan) and draw.finished:
                    self.stop(outlet.number, at_ms, "Local", token=None)
            else:
                if aligned and self.settings.aligned:
                    reading = self._read(outlet, at_ms, "Sample.Clock", self.settings.aligned)
                    self._happened.append(Metered(outlet=outlet.number, reading=reading))
                timeout = self.settings.connection_seconds * 1000
                if outlet.token and timeout and at_ms >= outlet.token_since_ms + timeout:
                    outlet.token = outlet.remote_start_id = None
            held = outlet.reservation
            if held is not None and at_ms >= held.expires_ms:
                outlet.reservation = None
                self._happened.append(ReservationEnded(number=held.number, why="Expired"))
        for held in [r for r in self.reservations if at_ms >= r.expires_ms]:
            self.reservations.remove(held)
            self._happened.append(ReservationEnded(number=held.number, why="Expired"))
        self.refresh(at_ms)

    def _sample(self, outlet: Outlet, at_ms: int, *, aligned: bool) -> None:
        if outlet.next_sample_ms is not None and at_ms >= outlet.next_sample_ms:
            outlet.next_sample_ms += self.settings.sample_seconds * 1000
            self._tell(outlet, "Updated", at_ms, "MeterValuePeriodic", "Sample.Periodic")
        if aligned and self.settings.aligned and self.settings.aligned_while_charging:
            self._tell(outlet, "Updated", at_ms, "MeterValueClock", "Sample.Clock")

    def _remember(self, transaction: Transaction, reading: Reading) -> None:
        transaction.history.append(reading)
        if len(transaction.history) > MOST_KEPT:
            # Short of memory, every second one goes; the first stays.
            transaction.history = [transaction.history[0], *transaction.history[2::2]]

    def _keep(self, outlet: Outlet, at_ms: int, *, aligned: bool) -> None:
        """Keep readings for the last message of a transaction."""
        transaction, settings = outlet.transaction, self.settings
        if transaction is None:
            return
        if outlet.next_kept_ms is not None and at_ms >= outlet.next_kept_ms:
            outlet.next_kept_ms += settings.end_seconds * 1000
            reading = self._read(outlet, at_ms, "Sample.Periodic", settings.end, series="Kept")
            self._remember(transaction, reading)
        if aligned and settings.end_aligned:
            reading = self._read(
                outlet, at_ms, "Sample.Clock", settings.end_aligned, series="Kept clock"
            )
            self._remember(transaction, reading)

    def schedule(self, at_ms: int) -> None:
        """Plan the next clock-aligned values after a change of the settings."""
        if self._now_ms is None:
            self._now_ms = at_ms
        self._schedule_aligned(at_ms)
        for outlet in self.outlets.values():
            if outlet.charging:
                self._schedule_samples(outlet, at_ms)

    def _schedule_samples(self, outlet: Outlet, at_ms: int) -> None:
        step, kept = self.settings.sample_seconds * 1000, self.settings.end_seconds * 1000
        outlet.next_sample_ms = at_ms + step if step and self.settings.sampled else None
        outlet.next_kept_ms = at_ms + kept if kept and self.settings.end else None

    def _schedule_aligned(self, at_ms: int) -> None:
        def following(seconds: int) -> int | None:
            step = seconds * 1000
            return (at_ms // step + 1) * step if step else None

        self._next_aligned_ms = following(self.settings.aligned_seconds)
        self._next_kept_ms = following(self.settings.end_aligned_seconds)

    def _move_to(self, at_ms: int) -> None:
        if self._now_ms is None or at_ms < self._now_ms:
            # A clock that was set back: energy does not run backwards.
            self._now_ms = at_ms
            return
        elapsed, self._now_ms = at_ms - self._now_ms, at_ms
        if not elapsed or not self.powered:
            return
        for outlet in self.outlets.values():
            if outlet.draw is not None and self._flows(outlet):
                offered, _ = self.limit_w(outlet, at_ms - elapsed)
                taken = outlet.draw.take(elapsed, self._offer(outlet, offered))
                outlet.meter.count(taken)

    # What the outlet shows

    def status(self, outlet: Outlet) -> Status:
        """Derive what an outlet shows from what is going on."""
        status = self._plain_status(outlet)
        if status == "Available" and self.reservations:
            # Where all that are free are spoken for, each of them is.
            free = sum(self._plain_status(o) == "Available" for o in self.outlets.values())
            return "Reserved" if free <= len(self.reservations) else status
        return status

    def _plain_status(self, outlet: Outlet) -> Status:
        if outlet.fault or self.fault:
            return "Faulted"
        if outlet.charging and outlet.transaction is not None:
            state = outlet.transaction.state
            if state in {"Charging", "SuspendedEV", "SuspendedEVSE"}:
                return state  # type: ignore[return-value]
            return "Finishing" if outlet.transaction.reason else "Preparing"
        if not outlet.operative or not self.operative:
            return "Unavailable"
        if outlet.plugged:
            return "Finishing" if outlet.finished and outlet.token is None else "Preparing"
        if outlet.token is not None:
            return "Preparing"
        if any(o.plugged or o.charging for o in self._siblings(outlet)):
            return "Unavailable"
        return "Reserved" if outlet.reservation else "Available"

    def power_w(self, outlet: Outlet) -> int:
        """Tell the power that flows at an outlet now."""
        if outlet.draw is None or not self._flows(outlet) or not self.powered:
            return 0
        return outlet.draw.power_w(self.offer_w(outlet))

    def offer_w(self, outlet: Outlet) -> int | None:
        """Tell what the station offers the car at an outlet; None is all it has."""
        offered, _ = self.limit_w(outlet, self._now_ms or 0)
        return self._offer(outlet, offered)

    def read(self, number: int, at_ms: int, context: str) -> Reading:
        """Read an outlet's meter now."""
        self._move_to(at_ms)
        return self._read(self.outlet(number), at_ms, context, self.settings.sampled)

    def report(self, number: int, at_ms: int) -> StatusChanged:
        """Say what an outlet (0: the station) shows now, changed or not."""
        if number == 0:
            status: Status = "Available" if self.operative else "Unavailable"
            status = "Faulted" if self.fault else status
            fault = self.fault
        else:
            outlet = self.outlet(number)
            status, fault = self.status(outlet), outlet.fault or self.fault
        error = (fault or "OtherError") if status == "Faulted" else "NoError"
        return StatusChanged(outlet=number, status=status, error=error, at_ms=at_ms, asked=True)

    def refresh(self, at_ms: int, *, station: bool = False) -> None:
        """Tell the statuses that changed."""
        own: Status = "Faulted" if self.fault else "Available" if self.operative else "Unavailable"
        if own != self._shown and (station or self._shown is not None):
            self._happened.append(
                StatusChanged(outlet=0, status=own, error=self.fault or "NoError", at_ms=at_ms)
            )
        if station or self._shown is not None:
            self._shown = own
        for outlet in self.outlets.values():
            status, since_ms = self.status(outlet), at_ms
            if status == outlet.shown:
                outlet.pending = None
                continue
            if self.settings.status_seconds and outlet.shown is not None:
                # A status counts when it has lasted (MinimumStatusDuration).
                if outlet.pending != status:
                    outlet.pending, outlet.pending_since_ms = status, at_ms
                since_ms = outlet.pending_since_ms
            if at_ms >= since_ms + self.settings.status_seconds * 1000 or outlet.shown is None:
                outlet.shown, outlet.pending = status, None
                error = (outlet.fault or self.fault or "NoError") if status == "Faulted" else ""
                self._happened.append(
                    StatusChanged(
                        outlet=outlet.number,
                        status=status,
                        error=error or "NoError",
                        at_ms=since_ms,
                    )
                )

    # Inside

    def _siblings(self, outlet: Outlet) -> list[Outlet]:
        return [o for o in self.outlets.values() if o.evse == outlet.evse and o is not outlet]

    def _usable(self, outlet: Outlet) -> bool:
        return self.status(outlet) not in {"Faulted", "Unavailable"}

    def _flows(self, outlet: Outlet) -> bool:
        transaction = outlet.transaction
        return (
            transaction is not None
            and transaction.running
            and outlet.plugged
            and (transaction.token is not None)
            and transaction.reason is None
            and not transaction.blocked
        )

    def _offer(self, outlet: Outlet, limited_w: int | None) -> int | None:
        if isinstance(outlet.draw, Plan):
            # A plan is exact: only a charging profile may hold it back.
            return None if limited_w is None else max(0, limited_w)
        return outlet.max_power_w if limited_w is None else min(outlet.max_power_w, limited_w)

    def _start(self, outlet: Outlet, at_ms: int, trigger: str) -> None:
        token = outlet.token
        transaction = Transaction(
            ref=self._new_ref(),
            outlet=outlet.number,
            started_ms=at_ms,
            meter_start_wh=outlet.meter.register_wh(),
            token=token,
            group=outlet.token_group,
            remote_start_id=outlet.remote_start_id,
        )
        self._use_reservation(outlet, transaction)
        outlet.meter.begin_intervals()
        outlet.transaction, outlet.finished = transaction, False
        if outlet.remote_start_id is not None and trigger == "Authorized":
            trigger = "RemoteStart"
        self._tell(outlet, "Started", at_ms, trigger, "Transaction.Begin")
        self._schedule_samples(outlet, at_ms)
        self._set_state(outlet, at_ms)

    def _use_reservation(self, outlet: Outlet, transaction: Transaction) -> None:
        token, group = transaction.token, transaction.group
        if token is None:
            return
        held = outlet.reservation
        if held is not None and _holds(held, token, group):
            transaction.reservation_id, outlet.reservation = held.number, None
            return
        for held in self.reservations:
            if _holds(held, token, group):
                transaction.reservation_id = held.number
                self.reservations.remove(held)
                return

    def _update(self, outlet: Outlet, at_ms: int, trigger: str) -> None:
        self._tell(outlet, "Updated", at_ms, trigger, None)

    def _set_state(self, outlet: Outlet, at_ms: int) -> None:
        transaction = outlet.transaction
        if transaction is None or not transaction.running or transaction.reason is not None:
            return
        state: str
        if not outlet.plugged:
            state = "Idle"
        elif transaction.token is None:
            state = "EVConnected"
        else:
            state = self._charging_state(outlet)
        if state != transaction.state:
            transaction.state = state
            self._update(outlet, at_ms, "ChargingStateChanged")

    def _charging_state(self, outlet: Outlet) -> ChargingState:
        if outlet.transaction is not None and outlet.transaction.blocked:
            return "SuspendedEVSE"
        wants: ChargingState = "Charging" if outlet.draw is None else outlet.draw.wants
        return "SuspendedEVSE" if wants == "Charging" and self.offer_w(outlet) == 0 else wants

    def _read(
        self,
        outlet: Outlet,
        at_ms: int,
        context: str,
        measurands: Sequence[str],
        *,
        series: str = "Sample",
    ) -> Reading:
        draw, offered_w = outlet.draw, self.offer_w(outlet)
        flows = draw is not None and self.powered and self._flows(outlet)
        samples = outlet.meter.read(
            measurands,
            power_w=draw.power_w(offered_w) if draw is not None and flows else 0,
            offered_w=offered_w,
            soc=None if draw is None or TELL_CAR.isdisjoint(measurands) else draw.soc,
            car=getattr(draw, "car", None),
            series="" if context == "Trigger" else "Clock" if context == "Sample.Clock" else series,
        )
        reading = Reading(at_ms=at_ms, context=context, samples=tuple(samples))
        signed = None if self._signer is None else self._signer(outlet, reading)
        if signed is not None:
            return Reading(at_ms=at_ms, context=context, samples=(*samples, signed))
        return reading

    def _told_reading(
        self, outlet: Outlet, transaction: Transaction, at_ms: int, context: str
    ) -> Reading:
        settings = self.settings
        if context == "Transaction.Begin":
            # Read once (it may be signed), told at the start and again at the end.
            both = tuple(dict.fromkeys((*settings.begin, *settings.end)))
            reading = self._read(outlet, at_ms, context, both)
            transaction.history.append(_only(reading, settings.end))
            return _only(reading, settings.begin)
        if context == "Transaction.End":
            reading = self._read(outlet, at_ms, context, settings.end, series="Kept")
            transaction.history = [r for r in transaction.history if r.context != context]
            transaction.history.append(reading)
            return reading
        clock = context == "Sample.Clock"
        return self._read(outlet, at_ms, context, settings.aligned if clock else settings.sampled)

    def _tell(
        self,
        outlet: Outlet,
        kind: Literal["Started", "Updated", "Ended"],
        at_ms: int,
        trigger: str,
        context: str | None,
        *,
        token: Token | None = None,
    ) -> None:
        transaction = outlet.transaction
        if transaction is None:
            return
        reading = self._told_reading(outlet, transaction, at_ms, context) if context else None
        if token is None and transaction.token is not None and not transaction.token_told:
            token, transaction.token_told = transaction.token, True
        self._happened.append(
            Charged(
                kind=kind,
                trigger=trigger,
                transaction=transaction,
                at_ms=at_ms,
                seq=transaction.seq,
                state=transaction.state,
                reading=reading,
                token=token,
                reason=transaction.reason if kind == "Ended" else None,
            )
        )
        transaction.seq += 1


def _only(reading: Reading, measurands: tuple[str, ...]) -> Reading:
    samples = tuple(s for s in reading.samples if s.signed or s.measurand in measurands)
    return Reading(at_ms=reading.at_ms, context=reading.context, samples=samples)


def _holds(held: Reservation, token: Token, group: str | None) -> bool:
    same = token.value.casefold() == held.token.casefold()
    return same or (held.group is not None and held.group == group)


def _no_limit(_outlet: Outlet, _at_ms: int) -> tuple[int | None, int | None]:
    return None, None
