"""Which partners must hear of which object."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Protocol

from cpo.domain.cdr import Cdr
from cpo.domain.events import Availability
from cpo.domain.location import Evse, Location
from cpo.domain.partner import Partner, PartnerStatus
from cpo.domain.policy import SUPPRESSED, suppressed
from cpo.domain.station import Approval, ConnectorState, EvseStatus, StatusRules, evse_status
from cpo.domain.tariff import Tariff, undoubted
from cpo.domain.transaction import Transaction, activity, last_change
from cpo.domain.values import replace
from cpo.services.memory import Memory, StationState, belongs
from cpo.services.ports import EvseState, Kind, Work


class PartnerBook(Protocol):
    """The partners this node knows, by id."""

    def all(self) -> Iterable[Partner]:
        """Return every partner."""
        ...

    def get(self, partner_id: str) -> Partner | None:
        """Return one partner."""
        ...


_LIVE = (PartnerStatus.CONNECTED, PartnerStatus.SUSPENDED)
_MODULE = {
    Kind.LOCATION: "locations",
    Kind.EVSE: "locations",
    Kind.TARIFF: "tariffs",
    Kind.SESSION: "sessions",
    Kind.CDR: "cdrs",
}


class Publishing:
    """Turns changes into dirty marks of the partners concerned."""

    def __init__(
        self, memory: Memory, partners: PartnerBook, rules: StatusRules,
        *, now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:  # fmt: skip
        self._memory = memory
        self._partners = partners
        self.rules = rules
        self._now = now

    def listeners(self, kind: Kind) -> list[Partner]:
        """Return the connected partners that take objects of a kind (PUSH-9)."""
        module = _MODULE[kind]
        return [
            partner
            for partner in self._partners.all()
            if partner.status in _LIVE and partner.endpoint(module, "RECEIVER") is not None
        ]

    def sees(self, partner: Partner, location: Location) -> bool:
        """Tell whether a partner may see a location.

        2.1.1 has no `publish`: what must not be shown is not sent there (LOC-15). A partner's
        policy may name the locations that it sees.
        """
        wanted = partner.policy.get("locations")
        if wanted is not None and location.id not in wanted:
            return False
        return location.publish or partner.version != "2.1.1"

    def sees_tariff(self, partner: Partner, tariff_id: str) -> bool:
        """Tell whether a partner may see a tariff: its policy may name those of its contract."""
        wanted = partner.policy.get("tariffs")
        return wanted is None or tariff_id in wanted

    def waits_are_parking(self, partner_id: str | None) -> bool:
        """Tell whether a partner's contract calls it parking when the EVSE gives no energy."""
        partner = self._partners.get(partner_id) if partner_id is not None else None
        return partner is not None and bool(partner.policy.get("suspended_evse_is_parking"))

    def hides_battery(self, partner_id: str | None) -> bool:
        """Tell whether a partner's contract keeps from it how full the car's battery is."""
        partner = self._partners.get(partner_id) if partner_id is not None else None
        return partner is not None and partner.policy.get("state_of_charge") is False

    def named(
        self,
        partner: Partner,
        tariff_ids: Sequence[str],
        tariffs: Mapping[str, Tariff] | None = None,
    ) -> list[str]:
        """Return which of a connector's tariffs a partner is told of: those that it would pay.

        Neither those of other contracts (LOC-22) nor a second one of a type at a time (TAR-5).
        `tariffs` are those that there are, where that is not what it is now.
        """
        seen = [id_ for id_ in tariff_ids if self.sees_tariff(partner, id_)]
        known = self._memory.sites.tariffs if tariffs is None else tariffs
        in_force = {t.id for t in undoubted([known[id_] for id_ in seen if id_ in known])}
        return [id_ for id_ in seen if id_ in in_force or id_ not in known]

    def everything(self, partner: Partner) -> Iterable[tuple[Kind, str]]:
        """Yield the tariffs and locations that a partner is to hear of, in that order (PUSH-3)."""
        sites = self._memory.sites
        if partner.endpoint("tariffs", "RECEIVER") is not None:
            for tariff_id in list(sites.tariffs):
                if self.sees_tariff(partner, tariff_id):
                    yield Kind.TARIFF, tariff_id
        if partner.endpoint("locations", "RECEIVER") is not None:
            for location in list(sites.locations.values()):
                if self.sees(partner, location):
                    yield Kind.LOCATION, location.id

    def audience(self, location: Location, kind: Kind) -> list[str]:
        """Return the partners that must hear of a change at a location."""
        return [p.id for p in self.listeners(kind) if self.sees(p, location)]

    def location(self, work: Work, location: Location, before: Location | None = None) -> None:
        """Note that a location's data changed; who may no longer see it has to hear that, too."""
        concerned = [
            p.id
            for p in self.listeners(Kind.LOCATION)
            if self.sees(p, location) or (before is not None and self.sees(p, before))
        ]
        work.mark(concerned, Kind.LOCATION, location.id)

    def tariff(self, work: Work, tariff_id: str, after: Tariff | None) -> None:
        """Note that a tariff changed, came, or went; of others' contracts nobody hears (LOC-22).

        Which of its several tariffs a connector shows depends on all of them (TAR-5): locations
        that show others from now on have changed, too.
        """
        concerned = [p.id for p in self.listeners(Kind.TARIFF) if self.sees_tariff(p, tariff_id)]
        work.mark(concerned, Kind.TARIFF, tariff_id)
        known = self._memory.sites.tariffs
        now = {id_: tariff for id_, tariff in known.items() if id_ != tariff_id}
        if after is not None:
            now[tariff_id] = after
        before = known.get(tariff_id)
        if before is not None and after is not None and _terms(before) == _terms(after):
            return
        self._shown_otherwise(work, tariff_id, now)

    def _shown_otherwise(self, work: Work, tariff_id: str, now: Mapping[str, Tariff]) -> None:
        """Note the locations of which a partner sees other tariffs once there are those of now."""
        pushed = {p.id for p in self.listeners(Kind.LOCATION)}
        live = [p for p in self._partners.all() if p.status in _LIVE]

        @cache
        def concerned(ids: tuple[str, ...]) -> list[Partner]:
            return [p for p in live if self.named(p, ids) != self.named(p, ids, now)]

        for location in list(self._memory.sites.locations.values()):
            told = {
                partner.id
                for evse in location.evses
                for connector in evse.connectors
                if len(connector.tariff_ids) > 1 and tariff_id in connector.tariff_ids
                for partner in concerned(connector.tariff_ids)
                if self.sees(partner, location)
            }
            if told:
                self._touch(work, location.id)
                work.mark(sorted(told & pushed), Kind.LOCATION, location.id)

    def contract(self, work: Work, before: Partner, after: Partner) -> None:
        """Note what a changed contract makes a partner see otherwise: to be heard, and to be read.

        Its locations get a new last_updated, so that one that polls finds them (LOC-22). All of it
        is in the unit that keeps the contract: what was left for later, nobody would know of.
        """
        if after.status not in _LIVE:
            return
        tariffs, places = self._seen_otherwise(before, after)
        pushed = after.endpoint("tariffs", "RECEIVER"), after.endpoint("locations", "RECEIVER")
        if pushed[0] is not None:
            for tariff_id in tariffs:
                work.mark([after.id], Kind.TARIFF, tariff_id)
        for location_id in places:
            self._touch(work, location_id)
            if pushed[1] is not None:
                work.mark([after.id], Kind.LOCATION, location_id)

    def _seen_otherwise(self, before: Partner, after: Partner) -> tuple[list[str], list[str]]:
        sites = self._memory.sites
        tariffs = {
            id_
            for id_ in sites.tariffs
            if self.sees_tariff(before, id_) is not self.sees_tariff(after, id_)
        }
        places = [
            location.id
            for location in sites.locations.values()
            if self.sees(before, location) is not self.sees(after, location)
            or (
                self.sees(after, location)
                and any(
                    not tariffs.isdisjoint(c.tariff_ids)
                    for evse in location.evses
                    for c in evse.connectors
                )
            )
        ]
        return sorted(tariffs), places

    def _touch(self, work: Work, location_id: str) -> None:
        work.touch(Kind.LOCATION, location_id)
        work.then(partial(self._touched, location_id))

    def _touched(self, location_id: str, stamp: datetime) -> None:
        if location_id in self._memory.sites.stamps:
            self._memory.sites.stamps[location_id] = stamp

    def session(self, work: Work, session_id: str, partner_id: str | None) -> None:
        """Note that a session changed: its token's partner must hear of it (SES-1)."""
        if partner_id is not None and self._takes(partner_id, Kind.SESSION):
            work.mark([partner_id], Kind.SESSION, session_id)

    def judged(self, cdr: Cdr) -> Cdr:
        """Hold a CDR back that its partner's contract says is too small to be sent."""
        partner = self._partners.get(cdr.partner_id) if cdr.partner_id is not None else None
        if partner is None or not suppressed(partner.policy, cdr):
            return cdr
        return replace(cdr, hold=(*cdr.hold, SUPPRESSED))

    def cdr(self, work: Work, cdr_id: str, partner_id: str | None) -> None:
        """Note that a CDR was made: its token's partner must get it (PUSH-8)."""
        if partner_id is not None and self._partners.get(partner_id) is not None:
            work.mark([partner_id], Kind.CDR, cdr_id)

    def _takes(self, partner_id: str, kind: Kind) -> bool:
        return any(p.id == partner_id for p in self.listeners(kind))

    def station(
        self,
        work: Work,
        state: StationState,
        *,
        connector: ConnectorState | None = None,
        gone: bool | None = None,
    ) -> None:
        """Fold a station's EVSEs anew and note those whose published status changed.

        Args:
            work: the unit that carries the change.
            state: the station.
            connector: a connector's new state that memory does not have yet.
            gone: whether the station counts as offline, where that changes now.
        """
        identity = state.record.identity
        for location, evse in self._memory.sites.evses_of(identity):
            if (
                connector is not None
                and connector.evse_id != 0
                and not any(belongs(evse, (connector,)))
            ):
                continue
            self.evse(work, location, evse, state, connector=connector, gone=gone)

    def evse(
        self,
        work: Work,
        location: Location,
        evse: Evse,
        state: StationState | None,
        *,
        connector: ConnectorState | None = None,
        gone: bool | None = None,
        transaction: Transaction | None = None,
    ) -> None:
        """Fold one EVSE anew; write and mark it when its published status changed."""
        status = self.status_of(
            evse, state, connector=connector, gone=gone, transaction=transaction
        )
        known = self._memory.sites.statuses.get((location.id, evse.uid))
        if known is not None and known.status is status:
            return
        published = EvseState(location.id, evse.uid, status)
        work.put(published)
        work.mark(self.audience(location, Kind.EVSE), Kind.EVSE, f"{location.id}/{evse.uid}")
        sites = self._memory.sites

        def remember(stamp: object) -> None:
            sites.statuses[location.id, evse.uid] = EvseState(
                location.id,
                evse.uid,
                status,
                stamp,  # type: ignore[arg-type]
            )
            if location.id in sites.stamps:
                sites.stamps[location.id] = stamp  # type: ignore[assignment]

        work.then(remember)

    def status_of(
        self,
        evse: Evse,
        state: StationState | None,
        *,
        connector: ConnectorState | None = None,
        gone: bool | None = None,
        transaction: Transaction | None = None,
    ) -> EvseStatus:
        """Return what an EVSE's published status has to be now."""
        operator = EvseStatus(evse.operator_status) if evse.operator_status else None
        if state is None or state.record.approval is not Approval.APPROVED:
            return operator or EvseStatus.PLANNED
        states = dict(state.connectors)
        doubted = state.doubted
        if connector is not None:
            key = (connector.evse_id, connector.connector_id)
            states[key] = connector
            doubted = doubted - {key}
        connectors: Iterable[ConnectorState] = belongs(evse, states.values())
        lasted = None
        if self.rules.told_apart:
            connectors, lasted = self._uses(state, connectors, transaction)
        ever = state.online or state.record.booted_at is not None or bool(states)
        numbers = evse.binding.connector_ids.values() if evse.binding else ()
        evse_id = evse.binding.evse_id if evse.binding else None
        return evse_status(
            connectors,
            lasted=lasted,
            doubted=doubted,
            whole=states.get((0, 0)) or states.get((0, 1)),
            online=not (state.gone if gone is None else gone),
            in_transaction=any(
                t.evse_id == evse_id or t.evse_id in numbers for t in state.running.values()
            ),
            operator=operator,
            bound=ever,
            rules=self.rules,
        )

    def charge(self, work: Work, state: StationState, transaction: Transaction) -> None:
        """Fold the EVSE of a transaction anew, where that says what its cable is in for."""
        if not self.rules.told_apart:
            return
        for location, evse in self._memory.sites.evses_of(state.record.identity):
            if evse.binding is not None and evse.binding.evse_id == transaction.evse_id:
                self.evse(work, location, evse, state, transaction=transaction)

    def _uses(
        self,
        state: StationState,
        connectors: Iterable[ConnectorState],
        transaction: Transaction | None,
    ) -> tuple[list[ConnectorState], dict[tuple[int, int], timedelta]]:
        """Say of cables that are in what they are there for, and for how long."""
        found = list(connectors)
        lasted: dict[tuple[int, int], timedelta] = {}
        for place, one in enumerate(found):
            if one.availability is not Availability.OCCUPIED:
                continue
            since = state.told_since(one)
            if one.activity is None:
                newest = state.newest_at(one.evse_id)
                if transaction is not None and (
                    newest is None or newest.started_at <= transaction.started_at
                ):
                    newest = transaction
                word = activity(newest, since=since)
                if word == "Finishing" and newest is not None:
                    since = max(since, last_change(newest))
                found[place] = replace(one, activity=word)
            lasted[one.evse_id, one.connector_id] = self._now() - since
        return found, lasted


def _terms(tariff: Tariff) -> tuple[object, ...]:
    """Return what decides beside which other tariffs a tariff counts (TAR-5)."""
    return (tariff.type, tariff.valid_from, tariff.valid_until)
