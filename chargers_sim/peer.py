"""The RPC end of a station: CALL and CALLRESULT over one socket.

Two of them. `PackagePeer` frames and checks everything with the public `ocpp`
package's own ChargePoint, dataclasses and schemas, so that the server under test
and the simulator cannot share a mistake. `LeanPeer` does only what a fleet of
thousands needs, without checking. Payloads are dictionaries in OCPP's spelling.
"""

import asyncio
import importlib
import inspect
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from chargers_sim.errors import AnsweredError, NotAnswered, SimError

Payload = dict[str, Any]
Handler = Callable[[Payload], Payload]
Note = Callable[..., None]
Gate = Callable[[str, Payload], bool]
# Takes the answer to a CALL, or why there is none.
Taken = Callable[[Payload | SimError], None]

# The fields of the package's messages; to look them up costs more than to send one.
_FIELDS: dict[Any, frozenset[str]] = {}

PACKAGES = {"1.6": "ocpp.v16", "2.0.1": "ocpp.v201", "2.1": "ocpp.v21"}


class Wire(Protocol):
    """What a peer needs of the line."""

    async def send(self, text: str) -> None:
        """Send one text frame."""

    async def recv(self) -> str:
        """Wait for the next text frame."""

    @property
    def ready(self) -> bool:
        """Say whether a frame can be sent at once."""

    def send_now(self, text: bytes) -> None:
        """Send one text frame at once, where `ready` says so."""

    def deliver_to(self, take: Callable[[bytes], bool]) -> None:
        """Give frames to a function as they come; what it refuses waits for `recv`."""


class Refused(Exception):
    """A handler refuses a CALL with an OCPP error code."""

    def __init__(self, code: str, description: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.description = description


class Peer(Protocol):
    """One end of the RPC layer."""

    async def listen(self) -> None:
        """Read and answer until the socket closes."""

    async def call(
        self,
        action: str,
        payload: Payload,
        *,
        message_id: str,
        timeout: float,
        checked: bool = True,
    ) -> Payload:
        """Send a CALL and wait for its answer; raises NotAnswered or AnsweredError."""

    @property
    def ready(self) -> bool:
        """Say whether `post` can send now."""

    def post(
        self, action: str, payload: Payload, message_id: str, timeout: float, taken: Taken
    ) -> None:
        """Send a CALL at once; its answer, or why there is none, goes to `taken`."""

    def forget(self) -> None:
        """Wait for no answer any more."""


class LeanPeer:
    """Framing without any check, for fleets."""

    def __init__(
        self, wire: Wire, handlers: Mapping[str, Handler], note: Note, gate: Gate | None = None
    ) -> None:
        self._gate = gate
        self._wire = wire
        self._handlers = handlers
        self._note = note
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, tuple[Taken, str, float, float]] = {}
        self._clock: asyncio.TimerHandle | None = None

    async def listen(self) -> None:
        """Read and answer until the socket closes."""
        self._wire.deliver_to(self._deliver)
        while True:
            text = await self._wire.recv()
            try:
                frame = msgspec.json.decode(text)
                kind, message_id = frame[0], frame[1]
            except (ValueError, LookupError, TypeError):
                self._note("unreadable", frame=text[:200])
                continue
            if kind == 2:
                if self._gate is not None and not self._gate(frame[2], frame[3]):
                    continue
                await self._wire.send(self._answer(message_id, frame[2], frame[3]))
            elif not self._take(message_id, frame[2] if kind == 3 else AnsweredError(*frame[2:5])):
                self._note("unexpected_answer", message_id=message_id)

    def _deliver(self, text: bytes) -> bool:
        """Take an answer as it comes; all else is for `listen`."""
        if not text.startswith(b"[3,"):
            return False
        try:
            _, message_id, answer = msgspec.json.decode(text)
        except ValueError:
            return False
        return self._take(message_id, answer)

    def _take(self, message_id: Any, answer: Payload | SimError) -> bool:
        waiting = self._waiting.pop(message_id, None) if isinstance(message_id, str) else None
        if waiting is None:
            return False
        waiting[0](answer)
        return True

    async def call(
        self,
        action: str,
        payload: Payload,
        *,
        message_id: str,
        timeout: float,
        checked: bool = True,  # noqa: ARG002 - nothing is checked here
    ) -> Payload:
        """Send a CALL and wait for its answer."""
        waiting: asyncio.Future[Payload] = self._loop.create_future()

        def taken(answer: Payload | SimError) -> None:
            if waiting.done():
                return
            if isinstance(answer, SimError):
                waiting.set_exception(answer)
            else:
                waiting.set_result(answer)

        text = self._expect(action, payload, message_id, timeout, taken)
        try:
            await self._wire.send(text.decode())
            return await waiting
        finally:
            self._waiting.pop(message_id, None)

    @property
    def ready(self) -> bool:
        """Say whether nothing stands in the way of a frame."""
        return self._wire.ready

    def post(
        self, action: str, payload: Payload, message_id: str, timeout: float, taken: Taken
    ) -> None:
        """Send a CALL at once; its answer, or why there is none, goes to `taken`."""
        self._wire.send_now(self._expect(action, payload, message_id, timeout, taken))

    def forget(self) -> None:
        """Wait for no answer any more."""
        self._waiting.clear()
        if self._clock is not None:
            self._clock.cancel()

    def _expect(
        self, action: str, payload: Payload, message_id: str, timeout: float, taken: Taken
    ) -> bytes:
        self._waiting[message_id] = taken, action, self._loop.time() + timeout, timeout
        if self._clock is None:
            self._clock = self._loop.call_later(timeout, self._expire)
        return msgspec.json.encode((2, message_id, action, payload))

    def _expire(self) -> None:
        # One timer looks after all answers: most come long before it, and cost none of their own.
        self._clock, now = None, self._loop.time()
        for message_id, (_, action, due, timeout) in [*self._waiting.items()]:
            if due <= now:
                problem = f"{action} was not answered in {timeout:g} s"
                self._take(message_id, NotAnswered(problem))
        if self._waiting and self._clock is None:
            soonest = min(due for _, _, due, _ in self._waiting.values())
            self._clock = self._loop.call_at(soonest, self._expire)

    def _answer(self, message_id: str, action: str, payload: Payload) -> str:
        handler = self._handlers.get(action)
        if handler is None:
            answer: list[Any] = [4, message_id, "NotImplemented", f"no {action} here", {}]
            return json.dumps(answer, separators=(",", ":"))
        try:
            answer = [3, message_id, handler(payload)]
        except Refused as refusal:
            answer = [4, message_id, refusal.code, refusal.description, {}]
        return json.dumps(answer, separators=(",", ":"))


def package_peer(
    version: str,
    identity: str,
    wire: Wire,
    handlers: Mapping[str, Handler],
    note: Note,
    gate: Gate | None = None,
) -> Peer:
    """Make the checking peer of one OCPP version, on the `ocpp` package's ChargePoint."""
    package = importlib.import_module(PACKAGES[version])
    calls = importlib.import_module(f"{PACKAGES[version]}.call")
    results = importlib.import_module(f"{PACKAGES[version]}.call_result")
    base = importlib.import_module("ocpp.charge_point")
    messages = importlib.import_module("ocpp.messages")
    exceptions = importlib.import_module("ocpp.exceptions")
    # A thread per check would cost more than the check.
    setattr(messages, "ASYNC_VALIDATION", False)  # noqa: B010 - the package is untyped
    quiet = logging.getLogger("chargers_sim.ocpp")
    quiet.setLevel(logging.CRITICAL + 1)

    class PackagePeer(package.ChargePoint):  # type: ignore[misc, name-defined]
        """A charge point of the package, fed from dictionaries."""

        def __init__(self) -> None:
            super().__init__(identity, wire, response_timeout=30, logger=quiet)
            self.route_map = {
                action: {"_on_action": self._run, "_skip_schema_validation": False}
                for action in handlers
            }
            self._asked: Any = None
            self._answered: Any = None

        async def listen(self) -> None:
            """Read and answer until the socket closes."""
            while True:
                text = await wire.recv()
                try:
                    await self.route_message(text)
                except (LookupError, TypeError, AttributeError):
                    note("unreadable", frame=str(text)[:200])

        async def _handle_call(self, msg: Any) -> None:
            self._asked = msg
            if gate is not None and not gate(msg.action, msg.payload):
                return
            if msg.action not in self.route_map:
                known = hasattr(calls, msg.action)
                code = "NotSupported" if known else "NotImplemented"
                error = [4, msg.unique_id, code, f"no {msg.action} here", {}]
                await self._send(json.dumps(error, separators=(",", ":")))
                return
            try:
                await super()._handle_call(msg)
            except exceptions.OCPPError as problem:
                note("schema_violation", action=msg.action, detail=_brief(problem))
                error = [4, msg.unique_id, problem.code, _brief(problem)[:255], {}]
                await self._send(json.dumps(error, separators=(",", ":")))

        @property
        def ready(self) -> bool:
            """Say that everything is to be checked first."""
            return False

        def post(self, *_: Any) -> None:
            """Refuse: who posts has not asked whether this peer is ready, and it never is."""
            raise RuntimeError("everything this peer sends is checked first: use call")

        def forget(self) -> None:
            """Forget nothing: a call ends with its task."""

        def _run(self, **_: Any) -> Any:
            action = self._asked.action
            try:
                answer = handlers[action](self._asked.payload)
            except Refused as refusal:
                kind = getattr(exceptions, f"{refusal.code}Error", exceptions.InternalError)
                raise kind(description=refusal.description, details={}) from None
            return getattr(results, action)(**base.camel_to_snake_case(answer))

        async def _get_specific_response(self, unique_id: str, timeout: float) -> Any:
            # Not the package's own wait: it loses a cancellation that meets the answer.
            async with asyncio.timeout(timeout):
                while True:
                    answer = await self._response_queue.get()
                    if answer.unique_id == unique_id:
                        self._answered = answer
                        return answer

        async def call(
            self,
            action: str,
            payload: Payload,
            *,
            message_id: str,
            timeout: float,
            checked: bool = True,
        ) -> Payload:
            """Send a CALL through the package and return the answer as it came."""
            self._response_timeout = timeout
            if not checked:
                return await self._call_unchecked(action, payload, message_id, timeout)
            self._answered = None
            snake = base.camel_to_snake_case(payload)
            if not self._spells(action, snake, payload):
                self._check(action, payload)
                return await self._call_unchecked(action, payload, message_id, timeout)
            request = getattr(calls, action)(**snake)
            try:
                await super().call(request, suppress=False, unique_id=message_id)
            except TimeoutError:
                raise NotAnswered(f"{action} was not answered in {timeout:g} s") from None
            except (exceptions.OCPPError, TypeError) as problem:
                if self._answered is None:
                    raise AnsweredError("NotSent", _brief(problem)) from problem
                if self._answered.message_type_id == messages.MessageType.CallResult:
                    note("schema_violation", action=f"{action} answer", detail=_brief(problem))
            return self._read(self._answered)

        def _spells(self, action: str, snake: Payload, payload: Payload) -> bool:
            # The package knows no `soC`, and misses a field here and there: then only its
            # schema is asked.
            call = getattr(calls, action)
            known = _FIELDS.get(call)
            if known is None:
                known = _FIELDS[call] = frozenset(inspect.signature(call).parameters)
            return set(snake) <= known and base.snake_to_camel_case(snake) == payload

        def _check(self, action: str, payload: Payload) -> None:
            try:
                messages._validate_payload(  # noqa: SLF001 - there is no other one
                    messages.Call("0", action, payload), version
                )
            except exceptions.OCPPError as problem:
                raise AnsweredError("NotSent", _brief(problem)) from problem

        async def _call_unchecked(
            self, action: str, payload: Payload, message_id: str, timeout: float
        ) -> Payload:
            text = messages.Call(message_id, action, payload).to_json()
            async with self._call_lock:
                await self._send(text)
                try:
                    answer = await self._get_specific_response(message_id, timeout)
                except TimeoutError:
                    raise NotAnswered(f"{action} was not answered in {timeout:g} s") from None
            return self._read(answer)

        def _read(self, answer: Any) -> Payload:
            if answer.message_type_id == messages.MessageType.CallError:
                raise AnsweredError(
                    answer.error_code, answer.error_description, answer.error_details
                )
            return dict(answer.payload)

    peer: Peer = PackagePeer()
    return peer


def _brief(problem: BaseException) -> str:
    details = getattr(problem, "details", None) or {}
    cause = details.get("cause") if isinstance(details, dict) else None
    return str(cause or problem).splitlines()[0][:300] if str(cause or problem) else "no detail"
