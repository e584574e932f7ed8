"""A power cap per location, shared over its EVSEs and kept whatever the stations do.

Each EVSE has a TxDefaultProfile, so that nothing draws more than was planned before we hear of it,
and each running transaction a TxProfile with its share. Less is told first; more only as far as
what all others may still draw leaves room. Who cannot be reached, or does not obey, keeps what it
was last told reserved. All of it is on disk: a restart goes on with the same books.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import structlog

from cpo.domain.command import Command, CommandKind, Outcome
from cpo.domain.events import Availability
from cpo.domain.limits import Purpose
from cpo.domain.location import Location
from cpo.domain.session import Session
from cpo.domain.sharing import Claim, Policy, affordable, allocate, plan
from cpo.errors import CpoError, Invalid, NotFound
from cpo.services.commands import Request
from cpo.services.limits import Limits
from cpo.services.memory import Memory
from cpo.services.ports import Audit, StationDocument, Store, Work
from cpo.services.share_profiles import Outlet, ShareProfiles, outlet_of, profile_number

log = structlog.get_logger()

# Kept beside the documents about stations, under a name that no station can have.
SHELF: Final = "\x1fsite limits"
ACTOR: Final = "site limit"
_REFUSED_FOR: Final = timedelta(minutes=10)
# After any other outcome (a connection that broke, silence) it may have been obeyed all the same.
_REFUSALS: Final = frozenset({Outcome.REJECTED, Outcome.NOT_SUPPORTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteLimit:
    """What the operator set for a location."""

    max_power_w: Decimal
    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What an EVSE was last told, in watts; `default_w` None: nothing yet.

    `bound` is whom: what one station was told, another that takes its place has not heard.
    """

    default_w: Decimal | None = None
    tx_w: Decimal | None = None
    transaction: str | None = None
    bound: str | None = None


class SiteLimits:
    """Keeps locations below their caps."""

    def __init__(
        self, memory: Memory, store: Store, limits: Limits, *, now: Callable[[], datetime],
        call_timeout: float,
        boot_delay: float = 1.0,
    ) -> None:  # fmt: skip
        self._memory = memory
        self._store = store
        self._limits = limits
        self._profiles = ShareProfiles(store, limits, now=now)
        self._now = now
        self._timeout = min(call_timeout, 10.0)
        self._boot_delay = boot_delay
        self._booting: dict[str, asyncio.TimerHandle] = {}
        self._caps: dict[str, SiteLimit] = {}
        self._told: dict[tuple[str, str], Told] = {}
        self._refused: dict[tuple[str, str], datetime] = {}
        # Where somebody else's profile came or went since ours was written, and where nobody knows
        # whether a raise was heard.
        self._stale: set[tuple[str, str]] = set()
        # Whose stations booted: what they were told is struck off on disk as well.
        self._struck: set[tuple[str, str]] = set()
        # What their EVSEs had, in case that they kept it.
        self._kept: dict[tuple[str, str], Decimal] = {}
        # Stations that refused a TxProfile, with the transaction it was for.
        self._without_tx: dict[str, str] = {}
        self._again: set[str] = set()
        self._working: dict[str, asyncio.Task[None]] = {}

    async def load(self) -> None:
        """Read the caps and what was told."""
        for found in await self._store.documents(SHELF):
            given = found.document
            if found.kind == "cap":
                self._caps[found.key] = SiteLimit(
                    max_power_w=Decimal(str(given["max_power_w"])), policy=Policy(given["policy"])
                )
            else:
                location, _, uid = found.key.partition("|")
                self._told[location, uid] = Told(
                    default_w=_watts(given["default_w"]),
                    tx_w=_watts(given["tx_w"]),
                    transaction=given["transaction"],
                    bound=given.get("bound"),
                )
                # A raise may have been under way when we stopped: it is told once more.
                self._stale.add((location, uid))

    # --- the operator -----------------------------------------------------------------------------

    async def put(
        self, location_id: str, *, max_power_w: Decimal, policy: Policy, actor: str
    ) -> None:
        """Set or change a location's cap; the stations are told in the background."""
        location = self._location(location_id)
        if max_power_w < 0:
            raise Invalid("max_power_w", "is negative")
        limit = SiteLimit(max_power_w=max_power_w, policy=policy)
        work = Work()
        document = {"max_power_w": str(max_power_w), "policy": str(policy)}
        work.put(StationDocument(SHELF, "cap", location.id, document, self._now()))
        work.put(Audit(self._now(), actor, "limit.put", location.id, f"{max_power_w} W {policy}"))
        work.then(lambda _: self._caps.__setitem__(location.id, limit))
        await self._store.commit(work)
        self._refused = {k: at for k, at in self._refused.items() if k[0] != location.id}
        self.touch(location.id)

    async def remove(self, location_id: str, *, actor: str) -> None:
        """Take a location's cap off; its profiles are cleared where the stations are online."""
        cap = self._caps.get(location_id)
        if cap is None:
            raise NotFound("limit of location", location_id)
        outlets = self._outlets(location_id)
        work = Work()
        work.delete(StationDocument(SHELF, "cap", location_id, {}, self._now()))
        self._strike(work, [k for k in self._told if k[0] == location_id])
        work.put(Audit(self._now(), actor, "limit.delete", location_id))
        work.then(lambda _: self._forget(location_id))
        await self._store.commit(work)
        self._start(location_id, self._clear(location_id, outlets))

    def view(self, location_id: str) -> dict[str, Any]:
        """Return a location's cap with the share of each EVSE; NotFound without one."""
        location = self._location(location_id)
        cap = self._caps.get(location.id)
        if cap is None:
            raise NotFound("limit of location", location_id)
        outlets = self._outlets(location.id)
        held = {o.uid: self._held(location.id, o) for o in outlets}
        total = sum(held.values(), Decimal(0))
        return {
            "location": location.id,
            "max_power_w": cap.max_power_w,
            "policy": cap.policy,
            "allotted_w": total,
            "exceeded": total > cap.max_power_w,
            "shares": [self._share(location.id, o, held[o.uid]) for o in outlets],
        }

    def _share(self, location_id: str, outlet: Outlet, held: Decimal) -> dict[str, Any]:
        told = self._known(location_id, outlet)
        refused = self._refused.get((location_id, outlet.uid))
        if told.default_w is None:
            state = "refused" if refused is not None else "untold"
        elif not outlet.online:
            state = "reserved"
        else:
            state = "charging" if outlet.running is not None else "standby"
        return {
            "evse_uid": outlet.uid,
            "station": outlet.station,
            "share_w": held,
            "max_power_w": outlet.most_w,
            "online": outlet.online,
            "session_id": outlet.session,
            "state": state,
        }

    # --- what makes shares move -------------------------------------------------------------------

    def session_changed(self, session: Session) -> None:
        """A transaction began, ended or went on."""
        if self._caps and session.snapshot is not None:
            self.touch(session.snapshot.location.id)

    def booted(self, identity: str) -> None:
        """A station introduced itself: it is told again, a while after its answer (BO-09)."""
        if not self._caps:
            return
        before = self._booting.pop(identity, None)
        if before is not None:
            before.cancel()
        self._strike_off(identity)
        self._booting[identity] = asyncio.get_running_loop().call_later(
            self._boot_delay, self._after_boot, identity
        )

    def _after_boot(self, identity: str) -> None:
        self._booting.pop(identity, None)
        self._without_tx.pop(identity, None)
        self._strike_off(identity)
        for location, evse in self._memory.sites.evses_of(identity):
            key = (location.id, evse.uid)
            self._refused.pop(key, None)
            if key in self._told:
                outlet = outlet_of(self._memory, evse, booting=self._booting)
                if self._known(location.id, outlet).default_w is not None:
                    self._kept[key] = self._held(location.id, outlet)
                # Nobody knows what it kept: until it is told again it may draw all it can.
                self._told[key] = Told()
            self.touch(location.id)

    def _strike_off(self, identity: str) -> None:
        """Have what a station was told gone from disk: a restart of ours must not believe it."""
        for location, evse in self._memory.sites.evses_of(identity):
            if (location.id, evse.uid) in self._told:
                self._struck.add((location.id, evse.uid))
                self.touch(location.id)

    async def command_finished(self, command: Command) -> None:
        """Somebody else's profile came or went: ours must not hide it."""
        if (
            self._caps
            and command.requested_by != ACTOR
            and command.outcome is Outcome.ACCEPTED
            and command.kind
            in (CommandKind.SET_CHARGING_PROFILE, CommandKind.CLEAR_CHARGING_PROFILE)
        ):
            for location, evse in self._memory.sites.evses_of(command.station):
                if location.id in self._caps:
                    self._stale.add((location.id, evse.uid))
                    self.touch(location.id)

    async def sweep(self) -> None:
        """Look at every capped location once: who came back without a boot, who was silent."""
        for location_id in list(self._caps):
            self.touch(location_id)

    def touch(self, location_id: str) -> None:
        """See to a location soon."""
        if location_id not in self._caps:
            return
        self._again.add(location_id)
        if location_id not in self._working:
            self._start(location_id, self._work(location_id))

    async def _work(self, location_id: str) -> None:
        while location_id in self._again:
            self._again.discard(location_id)
            try:
                await self._rebalance(location_id)
            except CpoError as error:
                log.warning("limit.not_applied", location=location_id, error=str(error))

    def _start(self, location_id: str, job: Any) -> None:
        before = self._working.get(location_id)

        async def run() -> None:
            if before is not None:
                await asyncio.gather(before, return_exceptions=True)
            await job

        task = asyncio.get_running_loop().create_task(run())
        self._working[location_id] = task
        task.add_done_callback(lambda done: self._ended(location_id, done))

    def _ended(self, location_id: str, task: "asyncio.Task[None]") -> None:
        if self._working.get(location_id) is task:
            del self._working[location_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
        if location_id in self._again and location_id not in self._working:
            self.touch(location_id)

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        while self._working or self._booting:
            await asyncio.gather(*self._working.values(), return_exceptions=True)
            await asyncio.sleep(0.001)

    async def close(self) -> None:
        """Stop what is under way; the books are on disk."""
        self._caps = {}
        for timer in self._booting.values():
            timer.cancel()
        for task in list(self._working.values()):
            task.cancel()
        await asyncio.gather(*self._working.values(), return_exceptions=True)

    # --- sharing ----------------------------------------------------------------------------------

    async def _rebalance(self, location_id: str) -> None:
        cap = self._caps.get(location_id)
        if cap is None or location_id not in self._memory.sites.locations:
            return
        struck = [key for key in self._struck if key[0] == location_id]
        if struck:
            work = Work()
            self._strike(work, struck)
            await self._store.commit(work)
            self._struck.difference_update(struck)
        outlets = {o.uid: o for o in self._outlets(location_id)}
        within = [o for o in outlets.values() if o.online and not self._refuses(location_id, o)]
        held = {uid: self._held(location_id, o) for uid, o in outlets.items()}
        reach = {o.uid for o in within}
        reserved = sum((w for uid, w in held.items() if uid not in reach), Decimal(0))
        targets = allocate(cap.max_power_w, reserved, [_claim(o) for o in within], cap.policy)
        steps = plan(targets, {uid: held[uid] for uid in reach})
        # Who booted may have kept what it had: it is told no more than that before others obey.
        lower = {
            uid: min(share, self._kept.get((location_id, uid), share))
            for uid, share in steps.lower.items()
        }
        raise_ = {**steps.raise_, **{u: w for u, w in steps.lower.items() if w > lower[u]}}
        await self._tell_all(location_id, outlets, lower)
        # What was only half told, or hides a partner's limit, is told again at no more power.
        same = {
            uid: share
            for uid, share in targets.items()
            if share == held[uid] and self._half_told(location_id, outlets[uid])
        }
        await self._tell_all(location_id, outlets, same)
        held = {uid: self._held(location_id, o) for uid, o in outlets.items()}
        wanted = {uid: share for uid, share in raise_.items() if share > held[uid]}
        granted = affordable(cap.max_power_w, held, wanted)
        await self._tell_all(location_id, outlets, granted)

    async def _tell_all(
        self, location_id: str, outlets: Mapping[str, Outlet], shares: Mapping[str, Decimal]
    ) -> None:
        await asyncio.gather(
            *(self._tell(location_id, outlets[uid], share) for uid, share in shares.items())
        )

    async def _tell(self, location_id: str, outlet: Outlet, share: Decimal) -> None:
        """Tell an EVSE its share: as a default, and for its transaction."""
        default = self._known(location_id, outlet).default_w
        by_tx = self._takes_tx(outlet)
        unsure = (location_id, outlet.uid) in self._stale
        if default is None or default > share or (not by_tx and (unsure or default != share)):
            standby = min(share, outlet.least_w) if by_tx else share
            if not await self._tell_default(location_id, outlet, standby):
                return
        if by_tx:
            await self._tell_tx(location_id, outlet, share)

    async def _tell_tx(self, location_id: str, outlet: Outlet, share: Decimal) -> None:
        assert outlet.running is not None  # noqa: S101 - the caller looked
        key, transaction = (location_id, outlet.uid), outlet.running.transaction
        before = self._known(location_id, outlet)
        after = replace(before, tx_w=share, transaction=transaction)
        old = before.tx_w if before.transaction == transaction else None
        raised = old is None or share > old
        if raised:
            await self._note(location_id, outlet.uid, after)
        self._stale.discard(key)
        outcome = await self._send(
            outlet,
            number=outlet.number,
            session=outlet.session,
            profile=await self._profiles.for_transaction(location_id, outlet, share),
        )
        if outcome is Outcome.ACCEPTED:
            if not raised:
                await self._note(location_id, outlet.uid, after)
            return
        if raised and (outcome is None or outcome in _REFUSALS):
            await self._note(location_id, outlet.uid, before)
        if outcome in _REFUSALS:
            # Some stations know no TxProfile: the default limits the transaction as well.
            self._without_tx[outlet.station] = transaction
            await self._tell_default(location_id, outlet, share)
        elif outcome is not None:
            self._stale.add(key)

    def _takes_tx(self, outlet: Outlet) -> bool:
        return (
            outlet.running is not None
            and outlet.session is not None
            and self._without_tx.get(outlet.station) != outlet.running.transaction
        )

    async def _tell_default(self, location_id: str, outlet: Outlet, share: Decimal) -> bool:
        key = (location_id, outlet.uid)
        before = self._known(location_id, outlet)
        after = replace(before, default_w=share, bound=_bound(outlet))
        raised = before.default_w is not None and share > before.default_w
        if raised:
            await self._note(location_id, outlet.uid, after)
        for number in outlet.numbers:
            outcome = await self._send(
                outlet,
                number=number,
                profile=await self._profiles.share(
                    location_id, outlet, number, Purpose.TX_DEFAULT, share
                ),
            )
            if outcome is Outcome.ACCEPTED:
                continue
            if outcome is not None and outcome not in _REFUSALS:
                self._stale.add(key)
            elif raised and number == outlet.numbers[0]:
                # Where an earlier one took it, the EVSE may draw that already.
                await self._note(location_id, outlet.uid, before)
            if outcome in _REFUSALS:
                self._refused[key] = self._now()
                log.warning("limit.refused", location=location_id, station=outlet.station)
            return False
        if not self._takes_tx(outlet):
            self._stale.discard(key)
        self._refused.pop(key, None)
        self._kept.pop(key, None)
        if not raised:
            await self._note(location_id, outlet.uid, after)
        return True

    async def _send(
        self, outlet: Outlet, *, number: int, profile: dict[str, Any], session: str | None = None
    ) -> Outcome | None:
        """Send a profile; returns what became of it, None when it was never sent."""
        parameters: dict[str, Any] = {"profile": profile}
        if session is None:
            parameters["evse_id"] = number
        try:
            command = await self._limits.asking.run(
                Request(
                    kind=CommandKind.SET_CHARGING_PROFILE,
                    requested_by=ACTOR,
                    station=outlet.station,
                    session_id=session,
                    parameters=parameters,
                    timeout=self._timeout,
                )
            )
        except CpoError as error:
            # The transaction ended, or the station was removed, while we got here.
            log.info("limit.not_sent", station=outlet.station, reason=str(error))
            return None
        return command.outcome or Outcome.TIMEOUT

    async def _note(self, location_id: str, uid: str, told: Told) -> None:
        document = {k: str(v) if isinstance(v, Decimal) else v for k, v in asdict(told).items()}
        work = Work()
        work.put(StationDocument(SHELF, "told", f"{location_id}|{uid}", document, self._now()))
        work.then(lambda _: self._told.__setitem__((location_id, uid), told))
        await self._store.commit(work)

    def _strike(self, work: Work, keys: Iterable[tuple[str, str]]) -> None:
        for key in keys:
            work.delete(StationDocument(SHELF, "told", "|".join(key), {}, self._now()))

    async def _clear(self, location_id: str, outlets: Iterable[Outlet]) -> None:
        # What was still under way when the cap went has noted what is cleared here.
        late = [key for key in self._told if key[0] == location_id]
        if late:
            work = Work()
            self._strike(work, late)
            work.then(lambda _: [self._told.pop(key, None) for key in late] and None)
            await self._store.commit(work)
        for outlet in outlets:
            for purpose in (Purpose.TX, Purpose.TX_DEFAULT):
                for number in outlet.numbers:
                    try:
                        await self._limits.asking.run(
                            Request(
                                kind=CommandKind.CLEAR_CHARGING_PROFILE,
                                requested_by=ACTOR,
                                station=outlet.station,
                                parameters={
                                    "profile_id": profile_number(
                                        location_id, outlet.uid, purpose, number
                                    )
                                },
                                timeout=self._timeout,
                            )
                        )
                    except CpoError as error:
                        log.info("limit.not_cleared", station=outlet.station, error=str(error))

    # --- the site ---------------------------------------------------------------------------------

    def _location(self, location_id: str) -> Location:
        for location in self._memory.sites.locations.values():
            if location.id.lower() == location_id.lower():
                return location
        raise NotFound("location", location_id)

    def _outlets(self, location_id: str) -> list[Outlet]:
        location = self._memory.sites.locations.get(location_id)
        if location is None:
            return []
        return [
            outlet_of(self._memory, evse, booting=self._booting)
            for evse in location.evses
            if evse.binding is not None and evse.operator_status != "REMOVED"
        ]

    def _held(self, location_id: str, outlet: Outlet) -> Decimal:
        """Return the most that an EVSE may draw by what it was told."""
        told = self._known(location_id, outlet)
        if told.default_w is None:
            return outlet.most_w
        if told.tx_w is None:
            return told.default_w
        if outlet.running is None:
            if self._only_assumed(outlet, told.transaction):
                return max(told.default_w, told.tx_w)
            return told.default_w
        if told.transaction != outlet.running.transaction:
            return told.default_w
        return max(told.default_w, told.tx_w)

    def _only_assumed(self, outlet: Outlet, transaction: str | None) -> bool:
        """Tell whether we ended a transaction of whose station nobody has heard since.

        Its car may still charge; a connector that is free again says that it does not.
        """
        state = self._memory.stations.get(outlet.station)
        ended = state.transactions.get(transaction or "") if state is not None else None
        if state is None or ended is None or not {"estimated_end", "stale"} <= ended.flags:
            return False
        here = [c for c in state.connectors.values() if c.evse_id == ended.evse_id]
        return not here or any(c.availability != Availability.AVAILABLE for c in here)

    def _known(self, location_id: str, outlet: Outlet) -> Told:
        """Return what the station that an EVSE has now was told about it."""
        told = self._told.get((location_id, outlet.uid), Told())
        return told if told.bound in (None, _bound(outlet)) else Told()

    def _half_told(self, location_id: str, outlet: Outlet) -> bool:
        told = self._known(location_id, outlet)
        if told.default_w is None:
            return (location_id, outlet.uid) in self._kept
        if not self._takes_tx(outlet) or outlet.running is None:
            return (location_id, outlet.uid) in self._stale
        return (
            (location_id, outlet.uid) in self._stale
            or told.tx_w is None
            or told.transaction != outlet.running.transaction
        )

    def _refuses(self, location_id: str, outlet: Outlet) -> bool:
        since = self._refused.get((location_id, outlet.uid))
        return since is not None and self._now() - since < _REFUSED_FOR

    def _forget(self, location_id: str) -> None:
        self._caps.pop(location_id, None)
        self._told = {k: v for k, v in self._told.items() if k[0] != location_id}
        self._refused = {k: v for k, v in self._refused.items() if k[0] != location_id}
        self._stale = {k for k in self._stale if k[0] != location_id}
        self._kept = {k: v for k, v in self._kept.items() if k[0] != location_id}


def _bound(outlet: Outlet) -> str:
    return f"{outlet.station}:{','.join(map(str, outlet.numbers))}"


def _claim(outlet: Outlet) -> Claim:
    since = outlet.running.began if outlet.running is not None else None
    return Claim(evse=outlet.uid, min_w=outlet.least_w, max_w=outlet.most_w, since=since)


def _watts(text: str | None) -> Decimal | None:
    return Decimal(text) if text is not None else None
