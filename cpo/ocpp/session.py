"""One station's socket: its calls in order, ours one at a time, every readable frame answered.

What arrives is sorted as it arrives: answers go straight to the call that waits for them, calls
queue for the one handler of the station. So a handler may wait for anything, even for an answer
of the station, and never blocks the reading. Back-pressure is not reading, never dropping.
"""

import asyncio
import itertools
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol, cast

import msgspec
import structlog

from cpo.errors import (
    StationOffline,
    StationRefused,
    StationTimeout,
    StationUnclear,
    StoreUnavailable,
)
from cpo.ocpp import frames, validation
from cpo.ocpp.frames import Answer, Call, Failure, Fault, FrameRules

log = structlog.get_logger()

CLOSE_POLICY: Final = 1008
CLOSE_RESTART: Final = 1012

_READ_AHEAD: Final = 16
"""Calls waiting for the handler; from here on the socket is not read."""
_FLOOD_AHEAD: Final = 4
"""Calls that are here unanswered before a station over its limit counts as flooding."""
_CACHED_ANSWERS: Final = 8
_RESENT_WITHIN: Final = 60.0
"""Seconds in which the same frame again is a repeat: some chargers number all they send alike."""
_CALL_HEAD: Final = f"[{frames.CALL},"
_RESULT_HEAD: Final = f"[{frames.CALL_RESULT},"
_EXPIRED_CALLS: Final = 16


class CallFault(Exception):
    """A handler refuses a call with a CALLERROR."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description


class Inbound(msgspec.Struct, gc=False):
    """A call of the station, as its handler gets it."""

    message_id: str | int
    action: str
    payload: dict[str, Any]
    text: str
    received_at: datetime
    wants_answer: bool
    deviation: str | None

    def take_payload(self) -> dict[str, Any]:
        """Return the payload and let go of it.

        A handler that waits for a commit should not hold it meanwhile: hundreds do, and what the
        next call is read into is then memory that the processor's cache has lost.
        """
        payload, self.payload = self.payload, {}
        return payload


class Handler(Protocol):
    """What a session needs of the adapter behind it."""

    async def handle(self, call: Inbound) -> str:
        """Act on a call and return the text of the answering frame.

        Raises CallFault for a CALLERROR; anything else becomes InternalError.
        """
        ...

    def faulted(self, fault: Fault, text: str) -> None:
        """Note a frame that was no message."""
        ...

    def deviates(self, what: str, action: str = "", path: str = "") -> None:
        """Count something in which the station is not as it should be, and where."""
        ...

    def sent(self, action: str, message_id: str, payload: str, answer: str | None) -> None:
        """Note a call of ours and what came back (None: nothing)."""
        ...

    def stray(self, message_id: str, action: str | None, text: str) -> None:
        """Note an answer that nobody waits for: too late for a call of ours, or to none."""
        ...


class Socket(Protocol):
    """What a session needs of a websocket; `cpo.ocpp.transport` provides it."""

    def send(self, text: str) -> bool:
        """Write a text frame; False when the socket is no longer open."""
        ...

    async def drained(self) -> None:
        """Wait until the peer has taken enough of what was written."""
        ...

    def pause(self) -> None:
        """Stop reading."""
        ...

    def resume(self) -> None:
        """Read again."""
        ...

    def close_soon(self, code: int, reason: str) -> None:
        """Start the closing handshake, and cut the line if it is not answered."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """What one station may ask of us. Times in seconds."""

    call_timeout: float = 30
    queued_calls: int = 32
    messages_per_second: float = 10
    """0: no limit."""
    messages_burst: int = 100
    flood_until_closed: int = 300
    """Messages over the limit in a row, sent without waiting for answers; 0: never closed."""
    timeouts_until_closed: int = 3
    faults_until_closed: int = 20


_message_ids: Final = itertools.count(1)
# Ours are unique over all connections and restarts, as 2.x asks.
_ID_PREFIX: Final = secrets.token_hex(6)


def new_message_id() -> str:
    """Return an id that no other call of ours has, of at most 36 characters."""
    return f"{_ID_PREFIX}-{next(_message_ids)}"


class _Pending:
    __slots__ = ("action", "answer", "message_id")

    def __init__(self, message_id: str, action: str, answer: asyncio.Future[Any]) -> None:
        self.message_id = message_id
        self.action = action
        self.answer = answer


class Session:
    """The conversation over one socket.

    The owner feeds it with `text_received` and `closed`, and runs `run` as the one task of the
    connection; `run` returns when the socket is gone and what arrived before has been handled.
    """

    __slots__ = (
        "_answered",
        "_calling",
        "_closed",
        "_expired",
        "_faults",
        "_flood",
        "_inbox",
        "_loop",
        "_paused",
        "_pending",
        "_refilled_at",
        "_timeouts",
        "_tokens",
        "_waiting",
        "_wakeup",
        "clock",
        "handler",
        "identity",
        "last_heard",
        "limits",
        "rules",
        "socket",
        "superseded",
    )

    def __init__(
        self,
        identity: str,
        rules: FrameRules,
        socket: Socket,
        limits: SessionLimits,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.identity = identity
        self.rules = rules
        self.socket = socket
        self.limits = limits
        self.clock = clock
        self.handler: Handler
        self.superseded = False
        self._loop = asyncio.get_running_loop()
        self.last_heard = self._loop.time()
        # A text alone is a call that is read when its turn comes.
        self._inbox: list[tuple[Call, str] | str] = []
        self._wakeup: asyncio.Future[None] | None = None
        self._paused = False
        self._closed = False
        self._calling = False
        self._pending: _Pending | None = None
        self._waiting: deque[asyncio.Future[None]] | None = None
        self._expired: dict[str, str] | None = None
        self._answered: dict[str | int, tuple[int, str, float]] = {}
        self._timeouts = 0
        self._faults = 0
        self._flood = 0
        self._tokens = float(limits.messages_burst)
        self._refilled_at = self.last_heard

    # --- what the socket reports ---------------------------------------------------------------

    def text_received(self, text: str) -> None:
        """Take a text frame: sorts it, runs no business code, never raises."""
        self.last_heard = self._loop.time()
        wakeup = self._wakeup
        if wakeup is not None and not self._inbox and text.startswith(_CALL_HEAD):
            # Nothing is before it: it is read where it is handled, while it is in the cache.
            self._inbox.append(text)
            if not wakeup.done():
                wakeup.set_result(None)
            return
        self._sort(frames.parse(text, self.rules), text)

    def binary_received(self) -> None:
        """Note that a message came in a binary frame (TR-14)."""
        self.handler.deviates("binary frame")

    def _sort(self, frame: frames.Frame, text: str) -> None:
        if type(frame) is Call:
            self._faults = 0
            self._inbox.append((frame, text))
            if self._wakeup is not None:
                if not self._wakeup.done():
                    self._wakeup.set_result(None)
            elif len(self._inbox) >= _READ_AHEAD and not self._paused:
                self._paused = True
                self.socket.pause()
        elif type(frame) is Answer:
            self._settle(frame, text)
        elif type(frame) is Failure:
            self._fail(frame, text)
        elif type(frame) is Fault:
            self._take_fault(frame, text)

    def closed(self) -> None:
        """Note that the socket is gone: whoever waits for the station learns it at once (RP-24)."""
        self._closed = True
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)
        offline = StationOffline(self.identity)
        if self._pending is not None and not self._pending.answer.done():
            self._pending.answer.set_exception(offline)
        for turn in self._waiting or ():
            if not turn.done():
                turn.set_exception(offline)

    def supersede(self) -> None:
        """Give way to a newer connection of the same station."""
        self.superseded = True
        self._inbox.clear()
        self.closed()
        self.socket.close_soon(CLOSE_POLICY, "superseded")

    def close(self, code: int, reason: str) -> None:
        """End the conversation; the answer in the making still goes out if there is time."""
        self.socket.close_soon(code, reason)

    @property
    def gone(self) -> bool:
        """Whether the socket is gone."""
        return self._closed

    @property
    def busy(self) -> bool:
        """Whether calls of the station wait or are being handled."""
        return bool(self._inbox) or self._wakeup is None

    def _take_fault(self, fault: Fault, text: str) -> None:
        self._faults += 1
        self.handler.faulted(fault, text)
        if fault.answer is not None:
            self.socket.send(fault.answer)
        if self._faults >= self.limits.faults_until_closed:
            log.warning("ocpp.closed_for_faults", station=self.identity, faults=self._faults)
            self.socket.close_soon(CLOSE_POLICY, "too many bad frames")

    # --- calls of the station ------------------------------------------------------------------

    async def run(self) -> None:
        """Handle the station's calls, one after the other, until the socket is gone."""
        inbox = self._inbox
        while True:
            if not inbox:
                if self._closed:
                    return
                self._wakeup = self._loop.create_future()
                await self._wakeup
                self._wakeup = None
                continue
            entry = inbox.pop(0)
            if self._paused and len(inbox) < _READ_AHEAD // 2:
                self._paused = False
                self.socket.resume()
            if self.limits.messages_per_second and not await self._take_token():
                continue
            call = self._read(entry)
            del entry
            if call is not None:
                await self._answer(call)

    def _read(self, entry: tuple[Call, str] | str) -> Inbound | None:
        """Make what a handler gets of what came in; None for what was no call after all."""
        if type(entry) is str:
            frame = frames.parse(entry, self.rules)
            if type(frame) is not Call:
                self._sort(frame, entry)
                return None
            self._faults = 0
            call, text = frame, entry
        else:
            call, text = cast("tuple[Call, str]", entry)
        return Inbound(
            call.message_id,
            call.action,
            call.payload,
            text,
            self.clock(),
            call.wants_answer,
            call.deviation,
        )

    async def _take_token(self) -> bool:
        """Wait until the station may send again; False when it is sent away for a flood."""
        now = self._loop.time()
        rate = self.limits.messages_per_second
        self._tokens = min(
            float(self.limits.messages_burst), self._tokens + (now - self._refilled_at) * rate
        )
        self._refilled_at = now
        self._tokens -= 1
        if self._tokens >= 0:
            return True
        # Who waits for answers never has more calls here than one or two.
        self._flood = self._flood + 1 if len(self._inbox) >= _FLOOD_AHEAD else 0
        if self._flood == self.limits.flood_until_closed > 0:
            log.warning("ocpp.closed_for_flood", station=self.identity, alarm=True)
            self._inbox.clear()
            self.socket.close_soon(CLOSE_POLICY, "too many messages")
            return False
        await asyncio.sleep(-self._tokens / rate)
        return True

    async def _answer(self, call: Inbound) -> None:
        known = self._answered.get(call.message_id)
        fingerprint = hash(call.text)
        if known is not None:
            if known[0] == fingerprint and self.last_heard - known[2] < _RESENT_WITHIN:
                # The same frame again on one connection: same answer, no second effect (RP-16).
                self.socket.send(known[1])
                return
            call.deviation = call.deviation or "message id used again"  # RP-17
        try:
            answer = await self.handler.handle(call)
        except CallFault as fault:
            answer = frames.error_text(call.message_id, fault.code, fault.description)
        except StoreUnavailable as error:
            # Never a result for what is not on disk; the station will send it again (RP-26).
            log.warning("ocpp.store_unavailable", station=self.identity, error=str(error))
            self._send(call, frames.error_text(call.message_id, "InternalError", "try again"))
            return
        except Exception:
            if self.superseded:
                return
            # One of the supervised loops: whatever a handler does, the conversation goes on.
            log.exception("ocpp.handler_failed", station=self.identity, action=call.action)
            answer = frames.error_text(call.message_id, "InternalError", "")
        if answer.startswith(_RESULT_HEAD):  # what was refused had no effect
            if len(self._answered) >= _CACHED_ANSWERS:
                del self._answered[next(iter(self._answered))]
            self._answered[call.message_id] = (fingerprint, answer, self._loop.time())
        if self._send(call, answer):
            await self.socket.drained()

    def _send(self, call: Inbound, answer: str) -> bool:
        return call.wants_answer and self.socket.send(answer)

    # --- calls to the station ------------------------------------------------------------------

    async def call(
        self,
        action: str,
        payload: dict[str, Any],
        *,
        timeout: float | None = None,
        forgive_silence: bool = False,
    ) -> dict[str, Any]:
        """Call the station and return the payload of its answer; one call at a time, in order.

        `timeout` in seconds counts once for waiting one's turn and once for the answer. Silence
        that is forgiven is not counted among those that end the connection.

        Raises:
            Invalid: the version has no such action, or the payload breaks its schema.
            StationOffline: there is no connection, or it went away.
            StationTimeout: no answer in time; the station may still act on it.
            StationRefused: the station answered with an error.
            StationUnclear: its answer is of no use.
        """
        version = self.rules.version
        validation.check_call(version, action, payload)
        if self._closed:
            raise StationOffline(self.identity)
        patience = self.limits.call_timeout if timeout is None else timeout
        await self._take_turn(patience)
        message_id = new_message_id()
        text = frames.encode_json(payload)
        pending = _Pending(message_id, action, self._loop.create_future())
        self._pending = pending
        answer: Any = None
        try:
            if not self.socket.send(frames.call_text(message_id, action, payload)):
                raise StationOffline(self.identity)
            try:
                async with asyncio.timeout(patience):
                    answer = await pending.answer
            except TimeoutError:
                self._expire(pending, forgiven=forgive_silence)
                raise StationTimeout(f"{action}: no answer in {patience:g} s") from None
        finally:
            self._pending = None
            self._pass_turn()
            self.handler.sent(
                action, message_id, text, None if answer is None else frames.encode_json(answer)
            )
        self._timeouts = 0
        if isinstance(answer, Failure):
            raise StationRefused(answer.code, answer.description)
        result: dict[str, Any] = answer
        try:
            for one in validation.answer(version, action, result):
                self.handler.deviates(f"answer: {one.kind}", action, one.path)
        except validation.Violation as violation:
            self.handler.deviates("answer: not readable", action)
            if self.rules.sends:
                text = frames.result_error_text(message_id, violation.code, violation.description)
                self.socket.send(text)
            raise StationUnclear(violation.code, f"its answer: {violation.description}") from None
        return result

    def send_message(self, action: str, payload: dict[str, Any]) -> None:
        """Send a message that is never answered (SEND of OCPP 2.1)."""
        text = frames.encode_json([frames.SEND, new_message_id(), action, payload])
        if not self.socket.send(text):
            raise StationOffline(self.identity)

    async def _take_turn(self, patience: float) -> None:
        if not self._calling:
            self._calling = True
            return
        if self._waiting is None:
            self._waiting = deque()
        if len(self._waiting) >= self.limits.queued_calls:
            oldest = self._waiting.popleft()
            if not oldest.done():
                oldest.set_exception(StationTimeout("gave way to newer calls"))
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(turn)
        try:
            # Not wait_for: up to Python 3.11 it loses a cancellation that meets the turn.
            async with asyncio.timeout(patience):
                await asyncio.shield(turn)
        except BaseException as error:
            if not turn.done():
                self._waiting.remove(turn)
                turn.cancel()
            elif not turn.cancelled() and turn.exception() is None:
                self._pass_turn()  # it came in the same moment as the end of our patience
            if isinstance(error, TimeoutError):
                raise StationTimeout("the station is busy with earlier calls") from None
            raise

    def _pass_turn(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._calling = False

    def _expire(self, pending: _Pending, *, forgiven: bool) -> None:
        if self._expired is None:
            self._expired = {}
        elif len(self._expired) >= _EXPIRED_CALLS:
            del self._expired[next(iter(self._expired))]
        self._expired[pending.message_id] = pending.action
        if forgiven:
            return
        self._timeouts += 1
        log.info("ocpp.call_timed_out", station=self.identity, action=pending.action)
        if self._timeouts >= self.limits.timeouts_until_closed:
            # Heartbeats come but our calls go nowhere: only a new connection cures it (RP-25).
            log.warning("ocpp.closed_as_deaf", station=self.identity, alarm=True)
            self.socket.close_soon(CLOSE_RESTART, "calls are not answered")

    def _settle(self, answer: Answer, text: str) -> None:
        pending = self._pending
        if pending is not None and pending.message_id == answer.message_id:
            if not pending.answer.done():
                pending.answer.set_result(answer.payload)
        else:
            self._note_stray(answer.message_id, text)

    def _fail(self, failure: Failure, text: str) -> None:
        if failure.of_result:
            log.warning(
                "ocpp.result_refused",
                station=self.identity,
                message_id=failure.message_id,
                code=failure.code,
            )
            return
        pending = self._pending
        if pending is not None and pending.message_id == failure.message_id:
            if not pending.answer.done():
                pending.answer.set_result(failure)
        else:
            self._note_stray(failure.message_id, text)

    def _note_stray(self, message_id: str, text: str) -> None:
        late_for = self._expired.pop(message_id, None) if self._expired else None
        if late_for is not None:
            self._timeouts = 0
        self.handler.stray(message_id, late_for, text)
