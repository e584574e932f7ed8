"""A charging station as a state machine: cable, door, power, money aside. Pure.

Nothing here waits, reads a clock or draws a random number of its own: every
action carries its instant, and what follows from it is a list of happenings
that the protocol adapters put into words. Outlets are numbered 1..n as OCPP 1.6
numbers connectors; each belongs to an EVSE, and outlets of one EVSE share its power.
"""

import uuid
from collections.abc import Callable, Iterable, Sequence

from chargers_sim.body import Body
from chargers_sim.car import MJ_PER_WH, Draw, Plan
from chargers_sim.errors import BadInput, NotPossible
from chargers_sim.happenings import Alarm, Happening, Metered, StatusChanged
from chargers_sim.meter import Reading
from chargers_sim.outlet import Outlet, Reservation, Status, Token, Transaction
from chargers_sim.reservations import Reservations
from chargers_sim.settings import Settings
from chargers_sim.statuses import Statuses
from chargers_sim.supply import Supply
from chargers_sim.telling import TRIGGER_OF_REASON, Sign, Telling

# Later than anything that happens.
NEVER = 1 << 62


class Model:
    """The station's outlets and what happens at them."""

    def __init__(
        self,
        outlets: Sequence[Outlet],
        settings: Settings | None = None,
        *,
        new_ref: Callable[[], str] = lambda: str(uuid.uuid4()),
        signer: Sign | None = None,
    ) -> None:
        if not outlets:
            raise BadInput("a station needs at least one outlet")
        self.body = Body(
            outlets={outlet.number: outlet for outlet in outlets}, settings=settings or Settings()
        )
        self.outlets = self.body.outlets
        self.settings = self.body.settings
        self.door_open = False
        self.alarms: dict[str, int] = {}
        self.supply = Supply(self.body)
        self._statuses = Statuses(self.body)
        self.reservations = Reservations(self.body, self._statuses)
        self._telling = Telling(self.body, self.supply, signer)
        self._new_ref = new_ref
        self._next_aligned_ms: int | None = None
        self._next_kept_ms: int | None = None

    # What happened

    def drain(self) -> list[Happening]:
        """Take what happened since the last call."""
        happened, self.body.happened = self.body.happened, []
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
        return self.body.transactions()

    @property
    def powered(self) -> bool:
        """Say whether the mains are there."""
        return self.body.powered

    @property
    def fault(self) -> str | None:
        """Tell what is broken about the station as a whole."""
        return self.body.fault

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
        if any(o.plugged for o in self.body.siblings(outlet)):
            raise NotPossible(f"the other plug of EVSE {outlet.evse} is in use")
        outlet.plugged, outlet.draw, outlet.finished = True, draw, False
        if outlet.charging:
            self._telling.update(outlet, at_ms, "CablePluggedIn")
            self._set_state(outlet, at_ms)
        elif outlet.token is not None or (
            self.settings.start_points & {"EVConnected", "ParkingBayOccupied"}
            and self._statuses.usable(outlet)
        ):
            self._start(outlet, at_ms, "CablePluggedIn")
        self._statuses.refresh(at_ms)

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
        self._statuses.refresh(at_ms)

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
        if not self._statuses.usable(outlet):
            raise NotPossible(f"connector {number} is {self._statuses.of(outlet)}")
        if not outlet.charging and self.reservations.against(outlet, token, group):
            raise NotPossible(f"connector {number} is reserved for another token")
        outlet.token, outlet.token_group, outlet.token_since_ms = token, group, at_ms
        outlet.remote_start_id = remote_start_id
        transaction = outlet.transaction
        if transaction is not None and transaction.running:
            if transaction.token is None:
                transaction.token, transaction.group = token, group
                transaction.remote_start_id = remote_start_id
                self._telling.update(outlet, at_ms, trigger)
                self._set_state(outlet, at_ms)
        elif outlet.plugged or "Authorized" in self.settings.start_points:
            self._start(outlet, at_ms, trigger)
        self._statuses.refresh(at_ms)

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
            self._telling.tell(outlet, "Updated", at_ms, trigger, "Transaction.End", token=token)
        else:
            transaction.ended_ms = at_ms
            transaction.meter_stop_wh = outlet.meter.register_wh()
            transaction.reason = transaction.reason or reason
            transaction.state = "EVConnected" if outlet.plugged else "Idle"
            self._telling.tell(outlet, "Ended", at_ms, trigger, "Transaction.End", token=token)
            outlet.finished = outlet.plugged
            if outlet.inoperative_later:
                outlet.operative, outlet.inoperative_later = False, False
        self._statuses.refresh(at_ms)

    def refuse(self, transaction: Transaction, at_ms: int) -> None:
        """The server does not accept the token: no more energy, or none beyond the allowance."""
        outlet = self.outlet(transaction.outlet)
        self._move_to(at_ms)
        if outlet.transaction is not transaction or not transaction.running:
            return
        allowed_mj = self.settings.invalid_wh * MJ_PER_WH
        transaction.allowance_mj = outlet.meter.register_mj + allowed_mj
        self._check_allowance(outlet, at_ms)
        self._statuses.refresh(at_ms)

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
        self._telling.update(outlet, at_ms, "Deauthorized")

    def give(self, number: int, draw: Draw, at_ms: int, *, then_stop: bool = False) -> None:
        """Let the car at this outlet draw by another plan from now on."""
        outlet = self.outlet(number)
        self._move_to(at_ms)
        outlet.draw, outlet.ends_with_plan = draw, then_stop
        self._set_state(outlet, at_ms)
        self._statuses.refresh(at_ms)

    def reconsider(self, at_ms: int) -> None:
        """Look at the limits again: someone changed them."""
        self._move_to(at_ms)
        for outlet in self.outlets.values():
            self._set_state(outlet, at_ms)
        self._statuses.refresh(at_ms)

    def set_fault(self, number: int, code: str | None, at_ms: int) -> None:
        """Break an outlet (0: the station) with an error code, or mend it with None."""
        self._move_to(at_ms)
        if number == 0:
            self.body.fault = code
        else:
            outlet = self.outlet(number)
            outlet.fault = code
            if code is not None and outlet.charging:
                self.stop(number, at_ms, "Other")
        if code is not None:
            self.reservations.drop([*self.outlets] if number == 0 else [number])
        self._statuses.refresh(at_ms)

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
                    self.reservations.drop([outlet.number])
        if number == 0:
            self.body.operative = operative or not at_once
        self._statuses.refresh(at_ms)
        return at_once

    def reserve(self, number: int, reservation: Reservation, at_ms: int) -> str:
        """Keep an outlet (0: any one) for a token; the answer is the protocol's status word."""
        self._move_to(at_ms)
        return self.reservations.make(number, reservation, at_ms)

    def cancel_reservation(self, number: int, at_ms: int) -> bool:
        """Forget a reservation by its number."""
        self._move_to(at_ms)
        return self.reservations.cancel(number, at_ms)

    def reserved_against(self, outlet: Outlet, token: Token, group: str | None = None) -> bool:
        """Say whether an outlet is kept for somebody else."""
        return self.reservations.against(outlet, token, group)

    def trigger(self, number: int, at_ms: int) -> None:
        """Tell the state of a running transaction because the server asks."""
        outlet = self.outlet(number)
        self._move_to(at_ms)
        if outlet.charging:
            self._telling.tell(outlet, "Updated", at_ms, "Trigger", "Trigger")

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
        self.body.powered = False
        for transaction in self.transactions():
            transaction.power_cut_ms = at_ms

    def regain_power(self, at_ms: int, *, resume: bool = False) -> None:
        """The mains are back: interrupted transactions end, at the time of the cut."""
        self.body.powered, self.body.now_ms = True, at_ms
        self._schedule_aligned(at_ms)
        self._statuses.forget()
        for outlet in self.outlets.values():
            if outlet.charging and not resume and outlet.transaction is not None:
                cut_ms = outlet.transaction.power_cut_ms
                self.stop(outlet.number, at_ms if cut_ms is None else cut_ms, "PowerLoss")
            elif not outlet.charging:
                outlet.token = None
        self.body.now_ms = at_ms
        self._statuses.refresh(at_ms)

    # Time

    def next_due(self) -> int | None:
        """Tell the next instant at which something happens by itself."""
        now_ms = self.body.now_ms
        if now_ms is None or not self.body.powered:
            return None
        soonest = min(self.alarms.values(), default=NEVER)
        if self._next_aligned_ms is not None:
            soonest = min(soonest, self._next_aligned_ms)
        if self._next_kept_ms is not None:
            soonest = min(soonest, self._next_kept_ms)
        for held in self.body.reserved:
            soonest = min(soonest, held.expires_ms)
        for outlet in self.outlets.values():
            soonest = min(soonest, self._due_at(outlet, now_ms))
        return None if soonest == NEVER else max(soonest, now_ms)

    def _due_at(self, outlet: Outlet, now_ms: int) -> int:
        """Tell when something happens at an outlet by itself."""
        soonest = NEVER
        transaction = outlet.transaction
        if transaction is not None and transaction.ended_ms is None:
            offered, until = self.supply.limit_w(outlet, now_ms)
            if until is not None:
                soonest = until
            if outlet.draw is not None and self.supply.flows(outlet):
                change = outlet.draw.next_change_ms(self.supply.offer(outlet, offered))
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
        most_w = self.supply.power_w(outlet) if car is None else car.max_power_w
        left_mj = (transaction.allowance_mj or 0) - outlet.meter.register_mj
        return now_ms + max(1, -(-left_mj // most_w)) if most_w > 0 else NEVER

    def come(self, due_ms: int) -> None:
        """Let the instant come that `next_due` told, if nothing has changed since."""
        self._move_to(due_ms)
        self._do_due(due_ms)

    def run_to(self, at_ms: int) -> None:
        """Let time pass until then; call it at least at each due instant."""
        if self.body.now_ms is None:
            self.body.now_ms = at_ms
        while (due := self.next_due()) is not None and due <= at_ms:
            before = self.body.now_ms
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
            self.body.happened.append(Alarm(name=name, at_ms=at_ms))
        for outlet in self.outlets.values():
            self._set_state(outlet, at_ms)
            self._check_allowance(outlet, at_ms)
            if outlet.charging:
                self._telling.keep(outlet, at_ms, aligned=kept)
                self._telling.sample(outlet, at_ms, aligned=aligned)
                draw = outlet.draw
                if outlet.ends_with_plan and isinstance(draw, Plan) and draw.finished:
                    self.stop(outlet.number, at_ms, "Local", token=None)
            else:
                if aligned and self.settings.aligned:
                    reading = self._telling.read(
                        outlet, at_ms, "Sample.Clock", self.settings.aligned
                    )
                    self.body.happened.append(Metered(outlet=outlet.number, reading=reading))
                timeout = self.settings.connection_seconds * 1000
                if outlet.token and timeout and at_ms >= outlet.token_since_ms + timeout:
                    outlet.token = outlet.remote_start_id = None
        self.reservations.expire(at_ms)
        self._statuses.refresh(at_ms)

    def schedule(self, at_ms: int) -> None:
        """Plan the next clock-aligned values after a change of the settings."""
        if self.body.now_ms is None:
            self.body.now_ms = at_ms
        self._schedule_aligned(at_ms)
        for outlet in self.outlets.values():
            if outlet.charging:
                self._telling.schedule(outlet, at_ms)

    def _schedule_aligned(self, at_ms: int) -> None:
        def following(seconds: int) -> int | None:
            step = seconds * 1000
            return (at_ms // step + 1) * step if step else None

        self._next_aligned_ms = following(self.settings.aligned_seconds)
        self._next_kept_ms = following(self.settings.end_aligned_seconds)

    def _move_to(self, at_ms: int) -> None:
        if self.body.now_ms is None or at_ms < self.body.now_ms:
            # A clock that was set back: energy does not run backwards.
            self.body.now_ms = at_ms
            return
        elapsed, self.body.now_ms = at_ms - self.body.now_ms, at_ms
        if not elapsed or not self.body.powered:
            return
        self.supply.flow(at_ms - elapsed, elapsed)

    # What is seen

    def status(self, outlet: Outlet) -> Status:
        """Tell what an outlet shows."""
        return self._statuses.of(outlet)

    def report(self, number: int, at_ms: int) -> StatusChanged:
        """Say what an outlet (0: the station) shows now, changed or not."""
        return self._statuses.report(number, at_ms)

    def forget_shown(self, at_ms: int) -> None:
        """Tell every status again, as after a boot."""
        self._statuses.forget()
        self._statuses.refresh(at_ms, station=True)

    def power_w(self, outlet: Outlet) -> int:
        """Tell the power that flows at an outlet now."""
        return self.supply.power_w(outlet)

    def offer_w(self, outlet: Outlet) -> int | None:
        """Tell what the station offers the car at an outlet; None is all it has."""
        return self.supply.offer_w(outlet)

    def read(self, number: int, at_ms: int, context: str) -> Reading:
        """Read an outlet's meter now."""
        self._move_to(at_ms)
        return self._telling.read(self.outlet(number), at_ms, context, self.settings.sampled)

    # Inside

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
        self.reservations.use(outlet, transaction)
        outlet.meter.begin_intervals()
        outlet.transaction, outlet.finished = transaction, False
        if outlet.remote_start_id is not None and trigger == "Authorized":
            trigger = "RemoteStart"
        self._telling.tell(outlet, "Started", at_ms, trigger, "Transaction.Begin")
        self._telling.schedule(outlet, at_ms)
        self._set_state(outlet, at_ms)

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
            state = self.supply.charging_state(outlet)
        if state != transaction.state:
            transaction.state = state
            self._telling.update(outlet, at_ms, "ChargingStateChanged")
