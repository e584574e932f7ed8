"""Charging profiles as a station obeys them: stacking, recurrence, composite schedule. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, Literal

from chargers_sim.outlet import Outlet, Transaction

Purpose = Literal["Station", "External", "TxDefault", "Tx", "Priority", "Local"]
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """From `start_s` seconds after the schedule's start, at most so much (None: no limit)."""

    start_s: int
    value: Decimal | None
    phases: int | None = None


@dataclass(slots=True, kw_only=True)
class Profile:
    """A charging profile; outlet 0 is the station. `unit` is A (per phase) or W."""

    number: int
    outlet: int
    purpose: Purpose
    stack: int
    kind: Literal["Absolute", "Recurring", "Relative", "Dynamic"]
    unit: str
    limits: list[Limit]
    recurrence: str | None = None
    valid_from_ms: int | None = None
    valid_to_ms: int | None = None
    start_ms: int | None = None
    duration_s: int | None = None
    transaction: str | int | None = None
    source: dict[str, object] = field(default_factory=dict)

    def at(self, now_ms: int, began_ms: int | None) -> tuple[Limit | None, int | None]:
        """Give the limit in force and the instant at which that can change."""
        if self.valid_from_ms is not None and now_ms < self.valid_from_ms:
            return None, self.valid_from_ms
        if self.valid_to_ms is not None and now_ms >= self.valid_to_ms:
            return None, None
        start_ms = self._start(now_ms, began_ms)
        if start_ms is None:
            return None, self.valid_to_ms
        if now_ms < start_ms:
            return None, _earliest(start_ms, self.valid_to_ms)
        since_s = (now_ms - start_ms) / 1000
        repeats = start_ms + self._period_ms() if self.kind == "Recurring" else None
        if self.duration_s is not None and since_s >= self.duration_s:
            return None, _earliest(repeats, self.valid_to_ms)
        held: Limit | None = None
        change: int | None = None
        for limit in self.limits:
            if limit.start_s <= since_s:
                held = limit
            else:
                change = start_ms + limit.start_s * 1000
                break
        ends = None if self.duration_s is None else start_ms + self.duration_s * 1000
        return held, _earliest(change, ends, repeats, self.valid_to_ms)

    def _start(self, now_ms: int, began_ms: int | None) -> int | None:
        match self.kind:
            case "Relative":
                return began_ms
            case "Recurring":
                start = 0 if self.start_ms is None else self.start_ms
                period = self._period_ms()
                return start + (now_ms - start) // period * period
            case _:
                return began_ms if self.start_ms is None else self.start_ms

    def _period_ms(self) -> int:
        return 7 * DAY_MS if self.recurrence == "Weekly" else DAY_MS


class Profiles:
    """The profiles of one station and what follows from them."""

    def __init__(self, running: Callable[[], Iterable[Transaction]]) -> None:
        self.installed: list[Profile] = []
        self.priority: set[str] = set()
        """The transactions for which the driver has priority (2.1)."""
        self._running = running

    def install(self, profile: Profile) -> None:
        """Add a profile; it replaces one with its number, or its place in the stack."""

        def same(other: Profile) -> bool:
            place = (other.purpose, other.stack, other.outlet, other.transaction)
            return other.number == profile.number or place == (
                profile.purpose,
                profile.stack,
                profile.outlet,
                profile.transaction,
            )

        self.installed = [p for p in self.installed if not same(p)]
        self.installed.append(profile)

    def clear(
        self,
        *,
        number: int | None = None,
        outlet: int | None = None,
        purpose: Purpose | None = None,
        stack: int | None = None,
    ) -> int:
        """Remove the profiles that fit all that is given; tells how many."""
        kept = [
            p
            for p in self.installed
            if (number is not None and p.number != number)
            or (outlet is not None and p.outlet != outlet)
            or (purpose is not None and p.purpose != purpose)
            or (stack is not None and p.stack != stack)
        ]
        removed = len(self.installed) - len(kept)
        self.installed = kept
        return removed

    def hold(self, source: str, outlet: int, limit: Limit) -> None:
        """Take a limit from outside, such as an energy management system's."""
        self.lift(source, outlet)
        self.installed.append(
            Profile(
                number=-1,
                outlet=outlet,
                purpose="External",
                stack=0,
                kind="Absolute",
                unit="W",
                limits=[limit],
                start_ms=0,
                source={"source": source},
            )
        )

    def lift(self, source: str, outlet: int) -> None:
        """Let a limit from outside go."""
        self.installed = [
            p
            for p in self.installed
            if p.purpose != "External" or p.outlet != outlet or p.source.get("source") != source
        ]

    def forget_transaction(self, transaction: Transaction) -> None:
        """Drop the profiles of a transaction that has ended."""
        ids = {transaction.ref, transaction.number}
        self.priority.discard(transaction.ref)
        self.installed = [
            p
            for p in self.installed
            if p.purpose != "Tx"
            or (
                p.outlet != transaction.outlet
                if p.transaction is None
                else p.transaction not in ids
            )
        ]

    def dump(self) -> list[dict[str, Any]]:
        """Write down what outlasts a restart: all but the profiles of transactions."""
        lasting = [p for p in self.installed if p.purpose not in {"Tx", "External"}]
        return [{**asdict(p), "limits": [_limit_text(x) for x in p.limits]} for p in lasting]

    def load(self, kept: list[dict[str, Any]]) -> None:
        """Read the profiles back."""
        for saved in kept:
            limits = [
                Limit(start_s=s, value=None if v is None else Decimal(v), phases=p)
                for s, v, p in saved["limits"]
            ]
            self.install(Profile(**{**saved, "limits": limits}))

    def limit_w(self, outlet: Outlet, now_ms: int) -> tuple[int | None, int | None]:
        """Give the limit at an outlet in watts and the instant of its next change."""
        if not self.installed:
            return None, None
        transaction = outlet.transaction if outlet.charging else None
        began = None if transaction is None else transaction.started_ms
        own, own_change = self._best("Tx", outlet, transaction, now_ms, began)
        if transaction is not None and transaction.ref in self.priority:
            first, first_change = self._best("Priority", outlet, transaction, now_ms, began)
            own, own_change = first, _earliest(own_change, first_change)
        elif own is None:
            fallback, change = self._best("TxDefault", outlet, transaction, now_ms, began)
            own, own_change = fallback, _earliest(own_change, change)
        result, change = own, own_change
        for purpose in ("Station", "External"):
            shared, shared_change = self._best(purpose, outlet, transaction, now_ms, began)
            change = _earliest(change, shared_change)
            if shared is not None:
                if purpose == "Station":
                    # What is made on the spot comes on top of what the grid gives.
                    made, made_change = self._best("Local", outlet, transaction, now_ms, began)
                    shared, change = shared + (made or 0), _earliest(change, made_change)
                active = max(1, sum(1 for _ in self._running()))
                result = shared // active if result is None else min(result, shared // active)
        if change is not None and change <= now_ms:
            change = now_ms + 1000
        return result, change

    def composite(
        self, outlet: Outlet, now_ms: int, duration_s: int, unit: str
    ) -> list[tuple[int, Decimal]]:
        """List (seconds from now, limit in the unit) for a while."""
        volts = _volts(outlet)
        full_w = outlet.max_power_w
        at_ms, end_ms = now_ms, now_ms + duration_s * 1000
        steps: list[tuple[int, Decimal]] = []
        while at_ms < end_ms:
            watts, change = self.limit_w(outlet, at_ms)
            value = Decimal(full_w if watts is None else min(watts, full_w))
            if unit == "A":
                value = value / volts / outlet.meter.phases
            value = value.quantize(Decimal("0.1"))
            if not steps or steps[-1][1] != value:
                steps.append(((at_ms - now_ms) // 1000, value))
            if change is None:
                break
            at_ms = change
        return steps

    def _best(
        self,
        purpose: Purpose,
        outlet: Outlet,
        transaction: Transaction | None,
        now_ms: int,
        began_ms: int | None,
    ) -> tuple[int | None, int | None]:
        ids = set() if transaction is None else {transaction.ref, transaction.number}
        change: int | None = None
        best: tuple[int, int, int | None] | None = None
        for profile in self.installed:
            if profile.purpose != purpose or profile.outlet not in {0, outlet.number}:
                continue
            if purpose == "Tx" and (
                transaction is None
                or (profile.transaction is not None and profile.transaction not in ids)
            ):
                continue
            limit, until = profile.at(now_ms, began_ms)
            change = _earliest(change, until)
            if limit is None:
                continue
            rank = (profile.stack, profile.outlet != 0)
            if best is None or rank > best[:2]:
                best = (*rank, _watts(limit, profile.unit, outlet))
        return (None if best is None else best[2]), change


def _limit_text(limit: Limit) -> list[Any]:
    return [limit.start_s, None if limit.value is None else str(limit.value), limit.phases]


def _watts(limit: Limit, unit: str, outlet: Outlet) -> int | None:
    if limit.value is None:
        return None
    if unit == "W":
        return int(limit.value)
    phases = min(limit.phases or outlet.meter.phases, outlet.meter.phases)
    return int(limit.value * _volts(outlet) * phases)


def _volts(outlet: Outlet) -> int:
    return outlet.meter.voltage_v


def _earliest(*instants: int | None) -> int | None:
    known = [i for i in instants if i is not None]
    return min(known) if known else None
