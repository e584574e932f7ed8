"""What one node knows without asking the database: stations, their open transactions, sites.

Loaded at start; afterwards the disk follows it: every change is made by a unit of work whose
callback, after the commit, puts the new value here. Nothing on the path of a message reads the
database (design D2).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from cpo.domain.clock import StationClock
from cpo.domain.location import Evse, Location
from cpo.domain.station import ConnectorState, EvseStatus, Station
from cpo.domain.tariff import Tariff
from cpo.domain.tokens import Authorization, Token
from cpo.domain.transaction import Transaction, thinned
from cpo.errors import Conflict
from cpo.services.ports import EvseState, Seat, StationLink, Store, Work
from cpo.services.recency import Recency

# Kept beside the documents about stations, under a name that no station can have.
WITHDRAWN = "\x1fwithdrawn"


@dataclass(slots=True)
class StationState:
    """A station as this node holds it. `lock` keeps its facts in order, one unit at a time."""

    record: Station
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    connectors: dict[tuple[int, int], ConnectorState] = field(default_factory=dict)
    transactions: dict[str, Transaction] = field(default_factory=dict)
    running: dict[str, Transaction] = field(default_factory=dict)
    thin: set[str] = field(default_factory=set)
    """Keys of ended transactions that are held without their readings, states and snapshot."""
    whole: list[str] = field(default_factory=list)
    """Keys of ended transactions that are held with all of that, the newest last."""
    starts: dict[str, str] = field(default_factory=dict)
    history_loaded: bool = False
    link: StationLink | None = None
    # With several nodes: our right to write about it, None while another node has that; and a
    # new connection here that is not in charge yet.
    seat: Seat | None = None
    arriving: StationLink | None = None
    holder: str = ""
    gone: bool = False
    offline_timer: asyncio.TimerHandle | None = None
    seen_at: datetime | None = None
    clock: StationClock = field(default_factory=StationClock)
    # Connectors (EVSE, connector) whose status was told on this connection and since its boot;
    # and those that have to tell it anew before it counts for partners (BR-02, ST-11).
    told: set[tuple[int, int]] = field(default_factory=set)
    doubted: set[tuple[int, int]] = field(default_factory=set)
    # Since when connectors have been what they are, where that was not first told lately.
    since: dict[tuple[int, int], datetime] = field(default_factory=dict)
    strange: set[int] = field(default_factory=set)
    """EVSE or connector numbers it has named that no location binds (MV-24)."""
    authorizations: dict[str, tuple[Authorization, datetime]] = field(default_factory=dict)

    @property
    def online(self) -> bool:
        """Whether a live connection is there."""
        return self.link is not None

    def told_since(self, connector: ConnectorState) -> datetime:
        """Return since when a connector has been what it tells."""
        key = (connector.evse_id, connector.connector_id)
        known = self.connectors.get(key)
        if (
            known is None
            or known.availability is not connector.availability
            or known.activity != connector.activity
        ):
            return connector.at
        return self.since.get(key, known.at)

    def newest_at(self, evse_id: int) -> Transaction | None:
        """Return the newest transaction at an EVSE, ended or not."""
        found = [t for t in self.transactions.values() if t.evse_id == evse_id]
        return max(found, key=lambda t: t.started_at, default=None)

    def doubt(self) -> bool:
        """Let no status count that was not told by now; False where all were."""
        before = len(self.doubted)
        self.doubted |= {key for key in self.connectors if key not in self.told and key[0] != 0}
        return len(self.doubted) != before

    def load(
        self,
        record: Station,
        connectors: Iterable[ConnectorState],
        transactions: Iterable[Transaction],
    ) -> None:
        """Be as it is stored: what was known before may be older."""
        self.record = record
        self.clock = StationClock(record.clock_offset_s)
        self.connectors = {(c.evse_id, c.connector_id): c for c in connectors}
        self.doubted.clear()
        self.since.clear()
        self.transactions, self.running, self.starts = {}, {}, {}
        self.thin, self.whole = set(), []
        self.history_loaded = False
        self.authorizations.clear()
        for transaction in transactions:
            self.remember(transaction)

    def open_transactions(self) -> list[Transaction]:
        """Return the transactions that have not ended."""
        return list(self.running.values())

    def open_at(self, evse_id: int | None) -> Transaction | None:
        """Return the open transaction at an EVSE, the newest where there are several."""
        found = [t for t in self.running.values() if t.evse_id == evse_id]
        return max(found, key=lambda t: t.started_at, default=None)

    def remember(self, transaction: Transaction) -> None:
        """Keep a transaction; of ended ones only the newest with their readings, the old not."""
        self.transactions[transaction.key] = transaction
        self.thin.discard(transaction.key)
        if transaction.running:
            self.running[transaction.key] = transaction
        else:
            self.running.pop(transaction.key, None)
        if transaction.start_key is not None:
            before = self.starts.get(transaction.start_key)
            if before is not None and before != transaction.key:
                # The same start, under an id that was never told.
                self.forget(before)
            self.starts[transaction.start_key] = transaction.key
        if transaction.settled:
            self._shelve(transaction.key)
        if len(self.transactions) > _KEPT:
            for key, old in list(self.transactions.items()):
                if len(self.transactions) <= _KEPT:
                    break
                if not old.open:
                    self.forget(key)

    def recall(self, transaction: Transaction) -> None:
        """Keep an ended transaction that was read without its readings, to know it again."""
        self.remember(transaction)
        if transaction.settled:
            self.whole.remove(transaction.key)
            self.thin.add(transaction.key)

    def forget(self, key: str) -> None:
        """Know nothing of a transaction any more; the database still does."""
        known = self.transactions.pop(key, None)
        self.running.pop(key, None)
        self.thin.discard(key)
        if key in self.whole:
            self.whole.remove(key)
        if known is not None and known.start_key is not None:
            self.starts.pop(known.start_key, None)

    def _shelve(self, key: str) -> None:
        """Let go of the readings of all but the last ended transactions: some hold thousands."""
        if key in self.whole:
            self.whole.remove(key)
        self.whole.append(key)
        while len(self.whole) > _WHOLE:
            old = self.whole.pop(0)
            known = self.transactions.get(old)
            if known is not None and known.settled:
                self.transactions[old] = thinned(known)
                self.thin.add(old)


# How many stations' numbers are kept for which it is known whether they are bound.
_NUMBERS = 100_000
# How many transactions of a station stay in memory for chargers that resend old ones.
_KEPT = 64
# How many of those that ended keep their readings: what still comes is nearly always of these.
_WHOLE = 2


@dataclass(frozen=True, slots=True)
class Outlet:
    """Where an OCPP EVSE or connector stands in a Location."""

    location_id: str
    evse_uid: str
    connector_id: str


class Sites:
    """Locations with their tariffs and published EVSE statuses, and what binds them to stations."""

    def __init__(self) -> None:
        self.locations: dict[str, Location] = {}
        self.stamps = Recency()
        self.statuses: dict[tuple[str, str], EvseState] = {}
        self.tariffs: dict[str, Tariff] = {}
        self.tariff_stamps = Recency()
        # Whose the tariffs were that are gone: their partners are told under that party.
        self.withdrawn: dict[str, tuple[str, str]] = {}
        self._by_station: dict[str, list[tuple[Location, Evse]]] = {}
        # Asked with each message of a station, and the same until a location changes.
        self._strange: dict[tuple[str, int], bool] = {}

    def put(self, location: Location, stamp: datetime) -> None:
        """Keep a location in its newest form."""
        self.drop(location.id)
        self._strange.clear()
        self.locations[location.id] = location
        self.stamps[location.id] = stamp
        for evse in location.evses:
            if evse.binding is not None:
                self._by_station.setdefault(evse.binding.station, []).append((location, evse))

    def drop(self, location_id: str) -> None:
        """Forget a location."""
        known = self.locations.pop(location_id, None)
        if known is None:
            return
        self._strange.clear()
        self.stamps.pop(location_id, None)
        for station in known.stations:
            left = [entry for entry in self.evses_of(station) if entry[0].id != location_id]
            if left:
                self._by_station[station] = left
            else:
                self._by_station.pop(station, None)

    def evse_stamp(self, location_id: str, evse: Evse) -> datetime | None:
        """Return when an EVSE's status or data last changed; None where neither is known."""
        state = self.statuses.get((location_id, evse.uid))
        reported = state.last_updated if state is not None else None
        if reported is None or evse.changed_at is None:
            return reported or evse.changed_at
        return max(reported, evse.changed_at)

    def evses_of(self, station: str) -> list[tuple[Location, Evse]]:
        """Return the EVSEs that are bound to a station."""
        return self._by_station.get(station, [])

    def outlet(
        self, station: str, evse_id: int | None, connector_id: int | None
    ) -> tuple[Location, Evse, str] | None:
        """Find the EVSE and connector a station's numbers stand for.

        A station with one EVSE needs no number. The connector is the one named like the OCPP
        number, else the only one or the one at that place in the list.
        """
        entries = self._by_station.get(station, [])
        if evse_id is None:
            if len(entries) != 1:
                return None
            location, evse = entries[0]
            return location, evse, _connector(evse, connector_id)
        for location, evse in entries:
            binding = evse.binding
            if binding is None:
                continue
            if binding.connector_ids:
                for ocpi_id, number in binding.connector_ids.items():
                    if number == evse_id:
                        return location, evse, ocpi_id
            elif binding.evse_id == evse_id:
                return location, evse, _connector(evse, connector_id)
        return None

    def strange(self, station: str, evse_id: int) -> bool:
        """Tell whether a station's number is bound to nothing, where others of it are (MV-24)."""
        found = self._strange.get((station, evse_id))
        if found is None:
            found = bool(self.evses_of(station)) and self.outlet(station, evse_id, None) is None
            if len(self._strange) >= _NUMBERS:
                self._strange.clear()
            self._strange[station, evse_id] = found
        return found

    def place(self, station: str, evse_id: int | None) -> tuple[Location, tuple[Evse, ...]] | None:
        """Find the location of a station and the EVSEs that its number may stand for.

        Without a number, or with one that is not known, these are all that the station has there.
        """
        found = self.outlet(station, evse_id, None)
        if found is not None:
            return found[0], (found[1],)
        entries = self._by_station.get(station, [])
        if not entries:
            return None
        location = entries[0][0]
        return location, tuple(evse for its, evse in entries if its is location)

    def status(self, location_id: str, evse_uid: str) -> EvseStatus:
        """Return the published status of an EVSE."""
        state = self.statuses.get((location_id, evse_uid))
        return state.status if state is not None else EvseStatus.UNKNOWN

    def find_evse(self, uid: str) -> tuple[Location, Evse] | None:
        """Find an EVSE by its uid."""
        for location in self.locations.values():
            for evse in location.evses:
                if evse.uid.lower() == uid.lower():
                    return location, evse
        return None

    def bound_to(self, station: str) -> list[tuple[Location, Evse]]:
        """Return the EVSEs that are bound to a station, with their locations."""
        return list(self._by_station.get(station, []))

    def places_of(self, tariff_id: str) -> list[str]:
        """Return the ids of the locations where a connector names a tariff."""
        return [
            location.id
            for location in self.locations.values()
            if any(tariff_id in c.tariff_ids for evse in location.evses for c in evse.connectors)
        ]

    def tariffs_of(self, evse: Evse, connector_id: str) -> list[Tariff]:
        """Return the tariffs that a connector refers to, in its order."""
        for connector in evse.connectors:
            if connector.id == connector_id:
                return [self.tariffs[i] for i in connector.tariff_ids if i in self.tariffs]
        return []


def _connector(evse: Evse, number: int | None) -> str:
    ids = [connector.id for connector in evse.connectors]
    if number is not None and str(number) in ids:
        return str(number)
    if number is not None and 1 <= number <= len(ids):
        return ids[number - 1]
    return ids[0] if ids else "1"


def numbers_of(evse: Evse) -> Iterator[tuple[int, int]]:
    """Yield the (EVSE, connector) numbers that a station has for an EVSE (MAP-2)."""
    binding = evse.binding
    if binding is None:
        return
    if binding.connector_ids:
        yield from ((number, 1) for number in binding.connector_ids.values())
    elif binding.evse_id:
        for place, connector in enumerate(evse.connectors, 1):
            id_ = connector.id
            yield binding.evse_id, int(id_) if id_.isdecimal() and int(id_) else place


def belongs(evse: Evse, states: Iterable[ConnectorState]) -> Iterator[ConnectorState]:
    """Yield the connector states that belong to an EVSE."""
    binding = evse.binding
    if binding is None:
        return
    numbers = set(binding.connector_ids.values()) if binding.connector_ids else {binding.evse_id}
    for state in states:
        if state.evse_id in numbers and state.evse_id != 0:
            yield state


class KnownTokens:
    """Tokens that were asked for lately, by uid without case; unknown uids are kept as empty.

    `version` tells a reader whether a token changed while it was reading.
    """

    def __init__(self, size: int = 100_000) -> None:
        self.version = 0
        self._size = size
        self._tokens: OrderedDict[str, tuple[Token, ...]] = OrderedDict()

    def get(self, uid: str) -> tuple[Token, ...] | None:
        """Return the tokens of a uid, or None when it was not asked for yet."""
        key = uid.upper()
        found = self._tokens.get(key)
        if found is not None:
            self._tokens.move_to_end(key)
        return found

    def put(self, uid: str, tokens: tuple[Token, ...], version: int) -> None:
        """Keep what was read, unless something changed since the reading began."""
        if version != self.version:
            return
        self._tokens[uid.upper()] = tokens
        if len(self._tokens) > self._size:
            self._tokens.popitem(last=False)

    def forget(self, uids: Iterable[str]) -> None:
        """Forget uids whose tokens changed."""
        self.version += 1
        for uid in uids:
            self._tokens.pop(uid.upper(), None)


class Memory:
    """All of it."""

    def __init__(self) -> None:
        self.tokens = KnownTokens()
        self.stations: dict[str, StationState] = {}
        self.sites = Sites()
        # With several nodes: each station is written about by one of them only.
        self.shared = False
        self._fresh: Callable[[], Awaitable[None]] | None = None
        self._agreed: Callable[[], Awaitable[None]] | None = None

    def share(
        self, *, fresh: Callable[[], Awaitable[None]], agreed: Callable[[], Awaitable[None]]
    ) -> None:
        """Be one of several memories; see `fresh` and `agreed`."""
        self.shared, self._fresh, self._agreed = True, fresh, agreed

    async def fresh(self) -> None:
        """Learn of everything that any node has committed so far."""
        if self._fresh is not None:
            await self._fresh()

    async def agreed(self) -> None:
        """Learn of everything, until nothing here is newer than something not learnt yet.

        A list in the order of change that is made right afterwards leaves nothing out.
        """
        if self._agreed is not None:
            await self._agreed()

    def holds(self, state: StationState) -> bool:
        """Tell whether this node may write about a station."""
        return not self.shared or state.seat is not None

    def fence(self, work: Work, state: StationState) -> None:
        """Let a unit about a station be kept only while this node is in charge of it.

        Raises Conflict when it is known not to be; the commit raises it when that turns out then.
        """
        if not self.shared:
            return
        if state.seat is None:
            raise Conflict(f"another node is in charge of station {state.record.identity!r}")
        work.fence(state.seat)

    async def load(self, store: Store) -> None:
        """Read everything that is needed to serve, once, at start."""
        for record in await store.stations():
            self.stations[record.identity] = StationState(
                record, clock=StationClock(record.clock_offset_s)
            )
        for state in await store.connector_states():
            if state.station in self.stations:
                self.stations[state.station].connectors[state.evse_id, state.connector_id] = state
        for transaction in await store.open_transactions():
            if transaction.station in self.stations:
                self.stations[transaction.station].remember(transaction)
        for location, stamp in await store.locations():
            self.sites.put(location, stamp)
        for tariff, stamp in await store.tariffs():
            self.sites.tariffs[tariff.id] = tariff
            self.sites.tariff_stamps[tariff.id] = stamp
        for found in await store.documents(WITHDRAWN, "tariff"):
            country_code, party_id = found.document["party"]
            self.sites.withdrawn[found.key] = (country_code, party_id)
        for evse in await store.evse_states():
            self.sites.statuses[evse.location_id, evse.evse_uid] = evse
