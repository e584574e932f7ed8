"""Locations and tariffs: what the operator enters, publishes and withdraws."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cpo.domain.location import Evse, Location, dated, parse_location, public_ids
from cpo.domain.station import EvseStatus
from cpo.domain.tariff import Tariff, parse_tariff
from cpo.domain.values import replace
from cpo.errors import Conflict, Invalid, NotFound
from cpo.services.memory import WITHDRAWN, Memory
from cpo.services.ports import Audit, EvseState, StationDocument, Store, Work
from cpo.services.publishing import Publishing

MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class LocationView:
    """A location as it is published now: its data, EVSE statuses and instants of change."""

    location: Location
    statuses: Mapping[str, EvseStatus]
    last_updated: datetime
    evse_last_updated: Mapping[str, datetime]


class SiteBook:
    """Keeps locations and tariffs."""

    def __init__(
        self,
        memory: Memory,
        store: Store,
        publishing: Publishing,
        *,
        now: Callable[[], datetime],
        parties: Iterable[tuple[str, str]],
    ) -> None:
        self._memory = memory
        self._store = store
        self._publishing = publishing
        self._now = now
        self._parties = tuple(parties)
        self.on_location: list[Callable[[str], None]] = []

    # --- locations --------------------------------------------------------------------------------

    def view(self, location_id: str) -> LocationView:
        """Return a location with its statuses; NotFound when there is none."""
        sites = self._memory.sites
        location = sites.locations.get(location_id)
        if location is None:
            raise NotFound("location", location_id)
        stamp = sites.stamps[location_id]
        statuses: dict[str, EvseStatus] = {}
        stamps: dict[str, datetime] = {}
        for evse in location.evses:
            state = sites.statuses.get((location_id, evse.uid))
            statuses[evse.uid] = state.status if state else EvseStatus.UNKNOWN
            stamps[evse.uid] = sites.evse_stamp(location_id, evse) or stamp
        return LocationView(location, statuses, stamp, stamps)

    def locations(self) -> list[Location]:
        """Return every location."""
        return list(self._memory.sites.locations.values())

    async def put_location(
        self, location_id: str, body: Mapping[str, Any], *, actor: str
    ) -> LocationView:
        """Add or change a location from the operator's OCPI object (contract 4).

        EVSEs that are left out become REMOVED: an EVSE is never deleted (LOC-10). Raises Invalid
        naming the field.
        """
        sites = self._memory.sites
        location = parse_location(
            body, location_id=location_id, default_party=self._parties[0] if self._parties else None
        )
        self._check(location)
        known = sites.locations.get(location_id)
        if known is not None:
            kept = {evse.uid for evse in location.evses}
            gone = tuple(
                replace(evse, binding=None, operator_status="REMOVED")
                for evse in known.evses
                if evse.uid not in kept
            )
            location = replace(location, evses=location.evses + gone)
        location = dated(location, known, self._next_instant(location_id))
        if location == known:
            # A nightly import of what is known already is no change: nobody fetches it again.
            return self.view(location_id)
        work = Work()
        work.put(location)
        self._write_statuses(work, location)
        self._publishing.location(work, location, known)
        work.put(Audit(self._now(), actor, "location.put", location_id))
        work.then(lambda stamp: sites.put(location, stamp))
        await self._store.commit(work)
        for hear in self.on_location:
            hear(location.id)
        return self.view(location_id)

    async def remove_location(self, location_id: str, *, actor: str) -> None:
        """Withdraw a location: all of its EVSEs are REMOVED, and stay so (LOC-10)."""
        location = self.view(location_id).location
        removed = replace(
            location,
            evses=tuple(
                replace(evse, binding=None, operator_status="REMOVED") for evse in location.evses
            ),
        )
        removed = dated(removed, location, self._next_instant(location_id))
        work = Work()
        work.put(removed)
        self._write_statuses(work, removed)
        self._publishing.location(work, removed)
        work.put(Audit(self._now(), actor, "location.delete", location_id))
        work.then(lambda stamp: self._memory.sites.put(removed, stamp))
        await self._store.commit(work)

    def _next_instant(self, location_id: str) -> datetime:
        """Return the time, later than all instants of a location, and not after its next one."""
        now = self._now()
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        last = self._memory.sites.stamps.get(location_id)
        return now if last is None else max(now, last + MILLISECOND)

    def _write_statuses(self, work: Work, location: Location) -> None:
        """Publish each EVSE anew whose status or data changed (LOC-14)."""
        sites = self._memory.sites
        previous = sites.locations.get(location.id)
        before = previous.evses if previous is not None else ()
        for evse in location.evses:
            state = (
                self._memory.stations.get(evse.binding.station)
                if evse.binding is not None
                else None
            )
            if state is not None and not self._memory.holds(state):
                continue  # the node in charge of it writes its status, once it hears of this
            status = self._publishing.status_of(evse, state)
            known = sites.statuses.get((location.id, evse.uid))
            if known is not None and known.status is status and evse in before:
                continue
            published = EvseState(location.id, evse.uid, status)
            work.put(published)
            key = (location.id, evse.uid)
            work.then(
                lambda stamp, key=key, published=published: sites.statuses.__setitem__(  # type: ignore[misc]
                    key, replace(published, last_updated=stamp)
                )
            )

    def _check(self, location: Location) -> None:
        self._check_party(location)
        stations = self._memory.stations
        for index, evse in enumerate(location.evses):
            for name, value in public_ids(evse):
                # Whoever reads it may try to connect in that station's place (SEC-04).
                if not stations.keys().isdisjoint((value, value.upper(), value.lower())):
                    raise Invalid(f"evses[{index}].{name}", "equal to the identity of a station")
            if evse.binding is None:
                continue
            for other, taken in self._memory.sites.evses_of(evse.binding.station):
                same = (other.id, taken.uid) == (location.id, evse.uid)
                if not same and other.id != location.id and _overlap(evse, taken):
                    raise Invalid(
                        f"evses[{index}].ocpp",
                        f"is bound to EVSE {taken.uid!r} of location {other.id!r} already",
                    )

    def _check_party(self, owned: Location | Tariff) -> None:
        party = (owned.country_code.upper(), owned.party_id.upper())
        if self._parties and party not in {(c.upper(), p.upper()) for c, p in self._parties}:
            raise Invalid("party_id", f"{party[0]}/{party[1]} is none of the configured parties")

    # --- tariffs ----------------------------------------------------------------------------------

    def tariff(self, tariff_id: str) -> tuple[Tariff, datetime]:
        """Return a tariff and when it changed; NotFound when there is none."""
        sites = self._memory.sites
        if tariff_id not in sites.tariffs:
            raise NotFound("tariff", tariff_id)
        return sites.tariffs[tariff_id], sites.tariff_stamps[tariff_id]

    def tariffs(self) -> list[tuple[Tariff, datetime]]:
        """Return every tariff with its instant of change."""
        sites = self._memory.sites
        return [
            (tariff, sites.tariff_stamps[tariff_id]) for tariff_id, tariff in sites.tariffs.items()
        ]

    async def put_tariff(self, tariff_id: str, body: Mapping[str, Any], *, actor: str) -> Tariff:
        """Add or change a tariff; running sessions keep the form they started with (D11).

        Raises Invalid naming the field of what cannot be priced without guessing, or of a party
        that is none of ours.
        """
        named = str(body.get("id", tariff_id))
        if named.lower() != tariff_id.lower():
            raise Invalid("id", f"is {named!r}, but the URL says {tariff_id!r}")
        filled = {"id": tariff_id, **body}
        if self._parties:
            filled.setdefault("country_code", self._parties[0][0])
            filled.setdefault("party_id", self._parties[0][1])
        filled.setdefault("last_updated", self._now().isoformat().replace("+00:00", "Z"))
        tariff = parse_tariff(filled)
        self._check_party(tariff)
        sites = self._memory.sites
        known = sites.tariffs.get(tariff.id)
        if known is not None and replace(tariff, last_updated=known.last_updated) == known:
            return known
        work = Work()
        work.put(tariff)
        self._publishing.tariff(work, tariff.id, tariff)
        work.put(Audit(self._now(), actor, "tariff.put", tariff.id))
        if tariff.id in sites.withdrawn:
            work.delete(_withdrawn(tariff, self._now()))

        def remember(stamp: datetime) -> None:
            sites.withdrawn.pop(tariff.id, None)
            # The operator's own last_updated is of another clock, and may stay the same.
            sites.tariffs[tariff.id] = replace(tariff, last_updated=stamp)
            sites.tariff_stamps[tariff.id] = stamp

        work.then(remember)
        await self._store.commit(work)
        return sites.tariffs[tariff.id]

    async def remove_tariff(self, tariff_id: str, *, actor: str) -> None:
        """Remove a tariff that no connector refers to (TAR-2)."""
        tariff, _ = self.tariff(tariff_id)
        for location in self._memory.sites.locations.values():
            for evse in location.evses:
                if evse.operator_status != "REMOVED" and any(
                    tariff_id in connector.tariff_ids for connector in evse.connectors
                ):
                    raise Conflict(f"tariff {tariff_id!r} is in use at location {location.id!r}")
        work = Work()
        work.delete(tariff)
        work.put(_withdrawn(tariff, self._now()))
        self._publishing.tariff(work, tariff_id, None)
        work.put(Audit(self._now(), actor, "tariff.delete", tariff_id))
        sites = self._memory.sites

        def forget(_: datetime) -> None:
            sites.withdrawn[tariff_id] = (tariff.country_code, tariff.party_id)
            sites.tariffs.pop(tariff_id, None)
            sites.tariff_stamps.pop(tariff_id, None)

        work.then(forget)
        await self._store.commit(work)


def _withdrawn(tariff: Tariff, at: datetime) -> StationDocument:
    """Return what is kept of a tariff that is gone: whose it was."""
    party = [tariff.country_code, tariff.party_id]
    return StationDocument(WITHDRAWN, "tariff", tariff.id, {"party": party}, at)


def _overlap(one: Evse, other: Evse) -> bool:
    if one.binding is None or other.binding is None or one.binding.station != other.binding.station:
        return False
    return bool(_numbers(one) & _numbers(other))


def _numbers(evse: Evse) -> set[int | None]:
    binding = evse.binding
    if binding is None:
        return set()
    return set(binding.connector_ids.values()) if binding.connector_ids else {binding.evse_id}
