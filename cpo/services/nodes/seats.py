"""Which node is in charge of which station: a row with an epoch, and what follows from it.

Who is in charge writes about the station, with a fence; everybody else reads. The node with the
connection is in charge; the leader is of those whose node is gone, until they come back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import msgspec
import structlog

from cpo.domain.command import Command, CommandKind, StationCommand
from cpo.domain.station import Station
from cpo.errors import Conflict, CpoError, NotFound, StationOffline, StoreUnavailable
from cpo.services.authorization import Authorizations, Expected
from cpo.services.issued_certificates import IssuedCertificates
from cpo.services.memory import Memory, StationState
from cpo.services.nodes.errands import Errands, Head, RemoteLink, read, write
from cpo.services.nodes.feed import Feed, Newsroom
from cpo.services.ports import Seat, StationPart, Store
from cpo.services.preferences import ChargingPreferences
from cpo.services.stations import Stations
from cpo.services.transactions import Transactions

log = structlog.get_logger()

AT_ONCE = 500
CLOSE_POLICY = 1008
ERRAND_TIME = 15.0


class Seats:
    """Implements `cpo.services.stations.Seats`, and what other nodes ask about stations here."""

    def __init__(
        self,
        *,
        node: str,
        memory: Memory,
        store: Store,
        newsroom: Newsroom,
        feed: Feed,
        errands: Errands,
        stations: Stations,
        transactions: Transactions,
        authorizations: Authorizations,
        call_timeout: float,
    ) -> None:
        self._node = node
        self._memory = memory
        self._store = store
        self._newsroom = newsroom
        self._feed = feed
        self._errands = errands
        self._stations = stations
        self._transactions = transactions
        self._authorizations = authorizations
        self._call_timeout = call_timeout
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_boot: list[Callable[[str], None]] = []
        self.on_reservation_gone: list[Callable[[str, int, bool], Awaitable[None]]] = []
        # Which node leads: it keeps the books of reservations.
        self.leader: Callable[[], str | None] = lambda: None
        stations.on_reservation_gone.append(self._tell_reservation)
        feed.on_stations = self.changed
        feed.on_place.append(self._place_changed)
        errands.kinds |= {
            "execute": self._execute,
            "call": self._call,
            "close": self._close,
            "expect": self._expect,
            "reserve": self._reserve,
            "register": self._register,
            "remove": self._remove,
            "reservation-gone": self._reservation_gone,
        }

    async def stop(self) -> None:
        """Stop what is under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- being in charge ------------------------------------------------------------------------

    async def take(self, state: StationState, version: str) -> bool:
        """Be in charge of a station that is connected here; see `stations.Seats`."""
        if state.seat is not None:
            await self._store.show_online(state.seat, version)
            return False
        identity = state.record.identity
        await self._feed.catch_up()
        seat = await self._store.take_station(identity, self._node, online=version)
        part = (await self._newsroom.stations([identity], readings=True)).get(identity)
        if part is None:
            raise NotFound("station", identity)
        if part.seat != seat:
            raise Conflict(f"another node took {identity!r} meanwhile")
        # Nobody else writes about it from here on, so this is all there is.
        places = {location.id for location, _ in self._memory.sites.evses_of(identity)}
        if places:
            await self._feed.places(sorted(places))
        state.load(part.record, part.connectors, part.transactions)
        state.seat, state.holder, state.gone = seat, self._node, False
        log.info("station.taken", station=identity, epoch=seat.epoch)
        return True

    async def first(self, identity: str) -> Seat:
        """Be in charge of a station that is new."""
        return await self._store.take_station(identity, self._node)

    async def offline(self, state: StationState) -> None:
        """Tell the other nodes that a station has no connection here any more."""
        if state.seat is not None and state.link is None and state.arriving is None:
            await self._store.show_online(state.seat, "")

    async def lost(self, state: StationState) -> bool:
        """Look whether another node is in charge by now, and give way to it."""
        if state.seat is not None:
            await self.changed([state.record.identity])
        return state.seat is None

    async def adopt(self, seats: Sequence[Seat]) -> None:
        """Be in charge of stations whose node is gone, until they come back somewhere."""
        for start in range(0, len(seats), AT_ONCE):
            part = seats[start : start + AT_ONCE]
            found = await self._newsroom.stations([s.station for s in part], readings=True)
            for seat in part:
                if seat.station in found:
                    await self._adopt(seat, found[seat.station])
        if seats:
            log.info("stations.adopted", count=len(seats))

    async def _adopt(self, seat: Seat, part: StationPart) -> None:
        state = self._memory.stations.get(seat.station)
        if state is None:
            state = self._memory.stations[seat.station] = StationState(part.record)
        async with state.lock:
            if part.seat != seat or state.seat is not None or state.arriving is not None:
                return
            state.load(part.record, part.connectors, part.transactions)
            state.link = None
            state.seat, state.holder, state.gone = seat, self._node, False
        self._stations.expect_back(state)
        self._transactions.resume(state)

    # --- what other nodes did -------------------------------------------------------------------

    async def changed(self, identities: Sequence[str]) -> None:
        """Read stations anew that were written about, unless this node is in charge of them."""
        wanted = [i for i in identities if not self._certain(i)]
        if not wanted:
            return
        parts = await self._newsroom.stations(wanted, readings=False)
        for identity in wanted:
            self._apply(identity, parts.get(identity))

    def _certain(self, identity: str) -> bool:
        """Whether nothing can be learnt: a connection is about to take the station."""
        state = self._memory.stations.get(identity)
        return state is not None and state.arriving is not None

    def _apply(self, identity: str, part: StationPart | None) -> None:
        state = self._memory.stations.get(identity)
        if part is None:
            if state is not None and state.seat is None:
                self._memory.stations.pop(identity, None)
            return
        if state is None:
            state = self._memory.stations[identity] = StationState(part.record)
        if state.arriving is not None:
            return
        if state.seat is not None:
            if part.seat is None or part.seat.epoch <= state.seat.epoch:
                return
            self._give_way(state)
        booted = part.record.booted_at != state.record.booted_at
        state.load(part.record, part.connectors, part.transactions)
        state.holder = part.node
        state.link = None
        if part.online and part.seat is not None and part.node != self._node:
            state.link = RemoteLink(
                self._errands, part.node, part.seat, part.online, call_timeout=self._call_timeout
            )
        if part.node == self._node and part.seat is not None:
            # Taken for a connection that went before it was in charge: nobody else can be.
            self._spawn(self.adopt([part.seat]))
        if booted:
            for hear in self.on_boot:
                hear(identity)

    def _give_way(self, state: StationState) -> None:
        link, state.link, state.seat = state.link, None, None
        if state.offline_timer is not None:
            state.offline_timer.cancel()
            state.offline_timer = None
        log.info("station.given_up", station=state.record.identity)
        if link is not None:
            self._spawn(link.close(CLOSE_POLICY, "superseded"))

    def _place_changed(self, location_id: str) -> None:
        location = self._memory.sites.locations.get(location_id)
        if location is None:
            return
        for identity in {e.binding.station for e in location.evses if e.binding is not None}:
            state = self._memory.stations.get(identity)
            if state is not None and state.seat is not None:
                self._spawn(self._stations.publish_anew(identity))

    def _spawn(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, CpoError):
                raise error
            log.warning("station.not_settled", error=str(error))

    # --- what the leader has other nodes do -----------------------------------------------------

    async def register(self, state: StationState, record: Station, *, actor: str) -> Station:
        """Have the node in charge change a station."""
        answer = await self._ask(state, "register", {"actor": actor}, write(record))
        return read(answer, Station)

    async def remove(self, state: StationState, *, actor: str) -> None:
        """Have the node in charge remove a station."""
        await self._ask(state, "remove", {"actor": actor})

    async def expect(self, station: str, expected: Expected) -> None:
        """Have the node in charge remember a remote start, so that it knows its transaction."""
        state = self._stations.state(station)
        if self._memory.holds(state):
            self._authorizations.expect(station, expected)
        else:
            await self._ask(state, "expect", {}, write(expected))

    async def reserve(self, command: Command) -> None:
        """Have the node in charge make, or end, the Session of a reservation."""
        state = self._stations.state(command.station)
        if self._memory.holds(state):
            await self._reserved(command)
        else:
            await self._ask(state, "reserve", {}, write(command))

    async def _tell_reservation(self, station: str, number: int, expired: bool) -> None:
        leader = self.leader()
        if leader is not None and leader != self._node:
            head = {"station": station, "number": number, "expired": expired}
            self._spawn(self._send(leader, "reservation-gone", head))

    async def _send(self, node: str, kind: str, head: Head) -> None:
        await self._errands.ask(node, kind, head, timeout=ERRAND_TIME)

    async def _reservation_gone(self, head: Head, _: bytes) -> bytes:
        for hear in self.on_reservation_gone:
            await hear(str(head["station"]), int(head["number"]), bool(head["expired"]))
        return b""

    def share_preferences(self, preferences: ChargingPreferences) -> None:
        """Have the node in charge of a station take what drivers prefer there."""

        async def elsewhere(state: StationState, said: dict[str, Any]) -> bytes:
            return await self._ask(state, "prefer", said)

        async def told(head: Head, _: bytes) -> bytes:
            return await preferences.told(self._held(head), head)

        preferences.elsewhere = elsewhere
        self._errands.kinds["prefer"] = told

    def share_revocations(self, issued: IssuedCertificates) -> None:
        """Have the node in charge of a station revoke its certificates."""

        async def elsewhere(state: StationState, said: dict[str, Any]) -> bytes:
            return await self._ask(state, "revoke", said)

        async def told(head: Head, _: bytes) -> bytes:
            station = self._held(head).record.identity
            reason, actor = str(head["reason"]), str(head["actor"])
            gone = await issued.revoke(station, head["serials"], reason=reason, actor=actor)
            return msgspec.json.encode(gone)

        issued.elsewhere = elsewhere
        self._errands.kinds["revoke"] = told

    async def _ask(self, state: StationState, kind: str, head: Head, body: bytes = b"") -> bytes:
        identity = state.record.identity
        if not state.holder:
            raise StoreUnavailable(f"no node is in charge of station {identity!r} yet: try again")
        try:
            answer = await self._errands.ask(
                state.holder, kind, {"station": identity} | head, body, timeout=ERRAND_TIME
            )
        except StationOffline:
            raise StoreUnavailable(
                f"the node in charge of station {identity!r} cannot be reached: try again"
            ) from None
        await self._feed.catch_up()
        return answer

    # --- what this node does for others ---------------------------------------------------------

    def _held(self, head: Head) -> StationState:
        """Return a station that this node is in charge of, in the epoch that was meant."""
        identity = str(head["station"])
        state = self._memory.stations.get(identity)
        epoch = head.get("epoch")
        if state is None or state.seat is None or epoch not in (None, state.seat.epoch):
            raise StationOffline(identity)
        return state

    async def _execute(self, head: Head, body: bytes) -> bytes:
        link = self._held(head).link
        if link is None:
            raise StationOffline(str(head["station"]))
        return write(await link.execute(read(body, StationCommand), timeout=head["timeout"]))

    async def _call(self, head: Head, body: bytes) -> bytes:
        link = self._held(head).link
        if link is None:
            raise StationOffline(str(head["station"]))
        payload = read(body, dict[str, Any])
        return write(await link.call(str(head["action"]), payload, timeout=head["timeout"]))

    async def _close(self, head: Head, _: bytes) -> bytes:
        link = self._held(head).link
        if link is not None:
            await link.close(int(head["code"]), str(head["reason"]))
        return b""

    async def _expect(self, head: Head, body: bytes) -> bytes:
        state = self._held(head)
        self._authorizations.expect(state.record.identity, read(body, Expected))
        return b""

    async def _reserve(self, head: Head, body: bytes) -> bytes:
        self._held(head)
        await self._reserved(read(body, Command))
        return b""

    async def _reserved(self, command: Command) -> None:
        if command.kind is CommandKind.RESERVE:
            await self._transactions.reserve(command)
        else:
            await self._transactions.cancel_reservation(command)

    async def _register(self, head: Head, body: bytes) -> bytes:
        self._held(head)
        return write(await self._stations.register(read(body, Station), actor=str(head["actor"])))

    async def _remove(self, head: Head, _: bytes) -> bytes:
        state = self._held(head)
        await self._stations.remove(state.record.identity, actor=str(head["actor"]))
        return b""
