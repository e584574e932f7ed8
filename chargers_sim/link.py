"""The life of a station's line: connect, boot, beat, come back.

What waits to be sent is the sender's. What must not be lost (`keep`) stays at the head of the
outbox until it is answered, over as many lines as it takes.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from websockets.asyncio.client import ClientConnection

from chargers_sim.errors import AnsweredError, NotAnswered, SimError, StationOffline, Unreachable
from chargers_sim.faults import Direction
from chargers_sim.line import Line, LinkSettings, dial, say_goodbye
from chargers_sim.outbox import Outbox, Outgoing, Payload
from chargers_sim.peer import Handler, LeanPeer, Peer, package_peer
from chargers_sim.sender import Sender, new_id
from chargers_sim.tasks import end_all
from chargers_sim.v2_network import chosen

if TYPE_CHECKING:
    from chargers_sim.live import Station


class Link:
    """A station's way to the server."""

    def __init__(self, station: "Station", settings: LinkSettings) -> None:
        self.settings = settings
        self.outbox = Outbox()
        self._sender = Sender(station, settings, self.outbox)
        self.line: Line | None = None
        self.frames: deque[tuple[int, Direction, str]] = deque(maxlen=0 if settings.lean else 5_000)
        self.frame_count = 0
        self.needs_boot = True
        self.missed_statuses: set[int] = set()
        self.problem: SimError | None = None
        self.wanted = asyncio.Event()
        self.wanted.set()
        self._station = station
        self._online = asyncio.Event()
        self._down = asyncio.Event()
        self._down.set()
        self._boot_again = asyncio.Event()
        self._leave = asyncio.Event()
        self._closing = False
        self._deaf = False
        self._abandoned: ClientConnection | None = None
        self._stale: list[ClientConnection] = []
        self._times_online = 0
        self._heartbeat_seconds: float | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._lost_ms: int | None = None
        self._to_refuse: set[str] = set()

    @property
    def online(self) -> bool:
        """Connected and accepted by the server."""
        return self._online.is_set()

    # From outside

    def cut(self) -> None:
        """Tear the line down at once; it comes back if it is wanted."""
        if self.line is not None:
            self.line.cut()

    async def hold_down(self) -> None:
        """Tear the line down and keep it down."""
        self.wanted.clear()
        self.cut()
        await self._down.wait()

    async def hang_up(self) -> None:
        """Close the line as a well-behaved client does; it comes back if it is wanted."""
        self._online.clear()
        if self.line is not None:
            await self.line.close()

    async def close(self) -> None:
        """Close the line for good."""
        self._closing = True
        self.wanted.clear()
        if self._beat is not None:
            self._beat.cancel()
        for old in self._stale:
            old.transport.abort()
        if self.line is not None and self._deaf:
            self.line.cut()
        elif self.line is not None:
            await self.line.close()

    def boot_again(self) -> None:
        """Send a BootNotification at the server's wish."""
        if self.online:
            boot = self._station.adapter.boot()
            message = Outgoing(action="BootNotification", payload=boot, on_answer=self._booted)
            self.outbox.put(message)
        else:
            self._boot_again.set()

    async def abandon(self, *, close_after: float) -> None:
        """Connect anew while the old socket stays open; close that one later."""
        await asyncio.sleep(0.05)
        if self.line is None:
            return
        old = self._abandoned = self.line.connection
        self.needs_boot = True
        self._leave.set()
        await asyncio.sleep(close_after)
        await say_goodbye(old)
        self._station.emit("old_socket_closed")

    async def go_deaf(self) -> None:
        """Believe in the connection while nothing is read any more, not even pings."""
        await self.outbox.emptied()
        if self.line is not None:
            self.line.connection.transport.pause_reading()
            self._deaf = True
            self._station.emit("deaf")

    def beat_every(self, seconds: float) -> None:
        """Send a heartbeat after that long a silence; 0 sends none."""
        self._heartbeat_seconds = seconds or None
        self._arm_heartbeat()

    def refuse_next(self, action: str) -> None:
        """Answer Rejected to the CALL at hand."""
        self._to_refuse.add(action)

    # The line's life

    async def live(self) -> None:
        """Connect whenever the line is wanted, serve it, come back."""
        station, failures = self._station, 0
        while not self._closing:
            await self.wanted.wait()
            address = station.address
            for deviation in station.deviations:
                address = deviation.address(address)
            try:
                connection = await dial(address, lean=self.settings.lean and not station.deviations)
            except Unreachable as problem:
                self.problem = problem
                station.emit("connect_failed", detail=str(problem))
                failures += 1
                if (networks := chosen(station)) is not None:
                    networks.failed()
                await self._pause(failures)
                continue
            failures = 0
            if (networks := chosen(station)) is not None:
                networks.connected()
            if not self.wanted.is_set():
                # Held down while it was being dialled.
                connection.transport.abort()
                continue
            await self._hold(connection)
            self.needs_boot = self.needs_boot or self.settings.boot_on_reconnect
            clean = connection.close_code in {1000, 1001, 1012}
            if not all(d.comes_back(clean=clean) for d in station.deviations):
                station.emit("stays_away")
                return
            if not self._closing and self._abandoned is not connection:
                await self._pause(1)

    async def _hold(self, connection: ClientConnection) -> None:
        station = self._station
        for deviation in station.deviations:
            deviation.connection(connection)
        rewrite = self._rewrite if station.deviations else None
        watched = bool(self.frames.maxlen or self.settings.on_frame or station.deviations)
        self.line = Line(connection, station.faults, self._frame, rewrite, watched=watched)
        self._down.clear()
        station.emit("connected", subprotocol=self.line.subprotocol)
        why = "closed"
        try:
            why = await self._serve(self.line)
        finally:
            if self._abandoned is connection:
                self._stale.append(connection)
            else:
                self.line.cut()
            self.line, self._lost_ms = None, station.now
            self._down.set()
            self._online.clear()
            self._arm_heartbeat()
            self.outbox.drop_volatile(StationOffline(f"{station.identity} lost the line"))
            station.emit("disconnected", detail=why)

    async def _pause(self, failures: int) -> None:
        shortest, longest = self.settings.reconnect
        pause = min(longest, shortest * 2 ** min(failures - 1, 16))
        await asyncio.sleep(pause * (0.5 + self._station.random.random() / 2))

    async def _serve(self, line: Line) -> str:
        peer = self._peer(line)
        self._leave.clear()
        works = (peer.listen(), self._talk(peer), self._wait_to_leave())
        tasks = [asyncio.create_task(work) for work in works]
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_all(tasks)
        first_ended = sorted(tasks, key=lambda task: task not in ended)
        problems = [task.exception() for task in first_ended if not task.cancelled()]
        for problem in problems:
            if problem is not None and not isinstance(problem, StationOffline):
                raise problem
        # The first reason is the reason; what else broke with the line says nothing new.
        return next((str(problem) for problem in problems if problem is not None), "closed")

    def _peer(self, line: Line) -> Peer:
        station = self._station
        gate = self._gate if station.deviations else None
        if self.settings.lean:
            return LeanPeer(line, self._handlers(), station.emit, gate)
        return package_peer(
            station.version, station.identity, line, self._handlers(), station.emit, gate
        )

    def _handlers(self) -> dict[str, Handler]:
        station = self._station
        if not station.deviations:
            return station.adapter.handlers

        def guarded(action: str) -> Handler:
            def handle(request: Payload) -> Payload:
                if action in self._to_refuse:
                    self._to_refuse.discard(action)
                    return {"status": "Rejected"}
                return station.adapter.handlers[action](request)

            return handle

        return {action: guarded(action) for action in station.adapter.handlers}

    async def _wait_to_leave(self) -> None:
        await self._leave.wait()
        raise StationOffline("left for a new connection")

    async def _talk(self, peer: Peer) -> None:
        station = self._station
        if self.needs_boot and any(d.boots() is False for d in station.deviations):
            self.needs_boot = False
            station.model.forget_shown(station.now)
        if self.needs_boot:
            await self._boot(peer)
            station.model.forget_shown(station.now)
            self.missed_statuses.clear()
            self._online.set()
            station.dispatch()
        else:
            self._online.set()
            for number in self._statuses_to_tell():
                station.tell_status(number)
        station.events_log.wake()
        self._sender.sent_at = asyncio.get_running_loop().time()
        self._arm_heartbeat()
        self._times_online += 1
        for deviation in station.deviations:
            deviation.online(station, self._times_online)
        station.dispatch()
        await self._sender.send_all(peer)

    def _statuses_to_tell(self) -> list[int]:
        """List the outlets whose status the server has to hear after a time without a line."""
        missed, self.missed_statuses = self.missed_statuses, set()
        threshold, lost_ms = self.settings.offline_threshold, self._lost_ms
        if threshold is None or lost_ms is None:
            return sorted(missed)
        # OCPP 2.x B04.FR.01 and B04.FR.02.
        long = self._station.now - lost_ms > threshold * 1000
        return sorted(self._station.model.outlets if long else missed)

    # Boot and heartbeat

    async def _boot(self, peer: Peer) -> None:
        station = self._station
        while True:
            self._boot_again.clear()
            try:
                answer = await peer.call(
                    "BootNotification",
                    self._sender.deviated("BootNotification", station.adapter.boot()),
                    message_id=self._sender.fresh_id(),
                    timeout=self.settings.message_timeout,
                    checked=not station.deviations,
                )
            except (NotAnswered, AnsweredError) as problem:
                station.emit("problem", detail=str(problem))
                answer = {"status": "Rejected", "interval": self.settings.reconnect[1]}
            self._booted(answer)
            if answer["status"] == "Accepted":
                self.needs_boot = False
                return
            if any(d.impatient for d in station.deviations):
                await self._tell_too_early(peer)
            try:
                async with asyncio.timeout(max(0.1, float(answer.get("interval") or 10))):
                    await self._boot_again.wait()
            except TimeoutError:
                pass

    async def _tell_too_early(self, peer: Peer) -> None:
        station = self._station
        for number in station.model.outlets:
            for message in station.adapter.render(station.model.report(number, station.now)):
                try:
                    await peer.call(
                        message.action,
                        message.content(),
                        message_id=new_id(),
                        timeout=self.settings.message_timeout,
                    )
                except (NotAnswered, AnsweredError) as problem:
                    station.emit("refused", action=message.action, detail=str(problem))

    def _booted(self, answer: Payload) -> None:
        status, interval = str(answer.get("status")), answer.get("interval")
        if status == "Accepted" and interval:
            self.beat_every(float(interval))
            self._station.adapter.booted(int(interval))
        self._station.emit("booted", status=status, interval=interval)

    def _arm_heartbeat(self) -> None:
        # A timer costs a fleet of thousands less than a wait with a deadline per message.
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None
        if self.online and self.settings.heartbeat and self._heartbeat_seconds:
            loop = asyncio.get_running_loop()
            wait = max(0.05, self._heartbeat_seconds - (loop.time() - self._sender.sent_at))
            self._beat = loop.call_later(wait, self._heartbeat)

    def _heartbeat(self) -> None:
        self._beat = None
        if not self.online:
            return
        quiet = asyncio.get_running_loop().time() - self._sender.sent_at
        if not len(self.outbox) and quiet >= (self._heartbeat_seconds or 0) * 0.99:
            self.outbox.put(Outgoing(action="Heartbeat", payload={}))
        self._arm_heartbeat()

    # Frames

    def _rewrite(self, text: str) -> str:
        for deviation in self._station.deviations:
            text = deviation.text(text)
        return text

    def _gate(self, action: str, payload: Payload) -> bool:
        return all(d.call(self._station, action, payload) for d in self._station.deviations)

    def _frame(self, direction: Direction, text: str) -> None:
        if direction == "in":
            for deviation in self._station.deviations:
                deviation.received(self._station, text)
        self.frame_count += 1
        if self.frames.maxlen:
            self.frames.append((self._station.now, direction, text))
        if self.settings.on_frame is not None:
            self.settings.on_frame(direction, text)
