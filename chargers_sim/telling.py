"""What a station tells of a transaction, and the readings that go with it. Pure."""

from collections.abc import Callable, Sequence
from typing import Literal

from chargers_sim.body import Body
from chargers_sim.happenings import Charged
from chargers_sim.meter import TELL_CAR, Reading, Sample
from chargers_sim.outlet import Outlet, Token, Transaction
from chargers_sim.supply import Supply

# Readings kept for the last message of a transaction.
MOST_KEPT = 200

# Why a station says that it tells something, by the reason of a transaction's end.
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

Sign = Callable[[Outlet, Reading], Sample | None]


class Telling:
    """The readings of one station's meters, and the messages about its transactions."""

    def __init__(self, body: Body, supply: Supply, signer: Sign | None) -> None:
        self._body = body
        self._supply = supply
        self._signer = signer

    def tell(
        self,
        outlet: Outlet,
        kind: Literal["Started", "Updated", "Ended"],
        at_ms: int,
        trigger: str,
        context: str | None,
        *,
        token: Token | None = None,
    ) -> None:
        """Tell of a transaction; `context` says which reading goes with it."""
        transaction = outlet.transaction
        if transaction is None:
            return
        reading = self._told_reading(outlet, transaction, at_ms, context) if context else None
        if token is None and transaction.token is not None and not transaction.token_told:
            token, transaction.token_told = transaction.token, True
        self._body.happened.append(
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

    def update(self, outlet: Outlet, at_ms: int, trigger: str) -> None:
        """Tell that a transaction goes on, without a reading."""
        self.tell(outlet, "Updated", at_ms, trigger, None)

    def sample(self, outlet: Outlet, at_ms: int, *, aligned: bool) -> None:
        """Tell the values that are due."""
        if outlet.next_sample_ms is not None and at_ms >= outlet.next_sample_ms:
            outlet.next_sample_ms += self._body.settings.sample_seconds * 1000
            self.tell(outlet, "Updated", at_ms, "MeterValuePeriodic", "Sample.Periodic")
        if aligned and self._body.settings.aligned and self._body.settings.aligned_while_charging:
            self.tell(outlet, "Updated", at_ms, "MeterValueClock", "Sample.Clock")

    def keep(self, outlet: Outlet, at_ms: int, *, aligned: bool) -> None:
        """Keep readings for the last message of a transaction."""
        transaction, settings = outlet.transaction, self._body.settings
        if transaction is None:
            return
        if outlet.next_kept_ms is not None and at_ms >= outlet.next_kept_ms:
            outlet.next_kept_ms += settings.end_seconds * 1000
            reading = self.read(outlet, at_ms, "Sample.Periodic", settings.end, series="Kept")
            self._remember(transaction, reading)
        if aligned and settings.end_aligned:
            reading = self.read(
                outlet, at_ms, "Sample.Clock", settings.end_aligned, series="Kept clock"
            )
            self._remember(transaction, reading)

    def _remember(self, transaction: Transaction, reading: Reading) -> None:
        transaction.history.append(reading)
        if len(transaction.history) > MOST_KEPT:
            # Short of memory, every second one goes; the first stays.
            transaction.history = [transaction.history[0], *transaction.history[2::2]]

    def schedule(self, outlet: Outlet, at_ms: int) -> None:
        """Plan the next sampled values of a charge."""
        step, kept = (
            self._body.settings.sample_seconds * 1000,
            self._body.settings.end_seconds * 1000,
        )
        outlet.next_sample_ms = at_ms + step if step and self._body.settings.sampled else None
        outlet.next_kept_ms = at_ms + kept if kept and self._body.settings.end else None

    def read(
        self,
        outlet: Outlet,
        at_ms: int,
        context: str,
        measurands: Sequence[str],
        *,
        series: str = "Sample",
    ) -> Reading:
        """Read an outlet's meter; interval registers begin anew with each of a `series`."""
        draw, offered_w = outlet.draw, self._supply.offer_w(outlet)
        flows = draw is not None and self._body.powered and self._supply.flows(outlet)
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
        settings = self._body.settings
        if context == "Transaction.Begin":
            # Read once (it may be signed), told at the start and again at the end.
            both = tuple(dict.fromkeys((*settings.begin, *settings.end)))
            reading = self.read(outlet, at_ms, context, both)
            transaction.history.append(_only(reading, settings.end))
            return _only(reading, settings.begin)
        if context == "Transaction.End":
            reading = self.read(outlet, at_ms, context, settings.end, series="Kept")
            transaction.history = [r for r in transaction.history if r.context != context]
            transaction.history.append(reading)
            return reading
        clock = context == "Sample.Clock"
        return self.read(outlet, at_ms, context, settings.aligned if clock else settings.sampled)


def _only(reading: Reading, measurands: tuple[str, ...]) -> Reading:
    samples = tuple(s for s in reading.samples if s.signed or s.measurand in measurands)
    return Reading(at_ms=reading.at_ms, context=reading.context, samples=samples)
