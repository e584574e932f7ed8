"""Messages waiting to be sent, in order, over lost lines."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from chargers_sim.errors import SimError
from chargers_sim.outlet import Transaction

Payload = dict[str, Any]
Resend = Literal["same", "new", "half"]


@dataclass(slots=True, kw_only=True, eq=False)
class Outgoing:
    """One CALL to the server.

    A `keep` message survives a lost line and is sent again until it is
    answered; the others fail with the line. A payload may be a function, for
    what is known only when its turn comes (a 1.6 transaction id).
    """

    action: str
    payload: Payload | Callable[[], Payload]
    keep: bool = False
    checked: bool = True
    on_answer: Callable[[Payload], None] | None = None
    on_failure: Callable[[SimError], None] | None = None
    journal: dict[str, Any] | None = None
    message_ids: list[str] = field(default_factory=list)
    refusals: int = 0
    done: asyncio.Future[Payload] | None = None
    transaction: Transaction | None = None

    def content(self) -> Payload:
        """Give the payload as it is known now."""
        return self.payload() if callable(self.payload) else self.payload

    def resolve(self, answer: Payload) -> None:
        """Hand the answer to whoever waits."""
        if self.on_answer is not None:
            self.on_answer(answer)
        if self.done is not None and not self.done.done():
            self.done.set_result(answer)

    def fail(self, problem: SimError) -> None:
        """Tell whoever waits that there will be no answer."""
        if self.on_failure is not None:
            self.on_failure(problem)
        if self.done is not None and not self.done.done():
            self.done.set_exception(problem)


class Outbox:
    """The queue of one station."""

    def __init__(self) -> None:
        self.on_put: Callable[[], None] | None = None
        self._waiting: deque[Outgoing] = deque()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Outgoing]:
        return iter(self._waiting)

    def put(self, message: Outgoing) -> None:
        """Add a message at the end."""
        self._waiting.append(message)
        self._empty.clear()
        if self.on_put is not None:
            self.on_put()

    @property
    def head(self) -> Outgoing | None:
        """The message whose turn it is."""
        return self._waiting[0] if self._waiting else None

    def remove(self, message: Outgoing) -> None:
        """Take a message out, wherever it stands."""
        if message in self._waiting:
            self._waiting.remove(message)
        if not self._waiting:
            self._empty.set()

    def drop_volatile(self, problem: SimError) -> None:
        """Fail what does not survive a lost line."""
        for message in [m for m in self._waiting if not m.keep]:
            self.remove(message)
            message.fail(problem)

    async def emptied(self) -> None:
        """Wait until nothing is left."""
        # An answer may put the next message in before the waiter has its turn.
        while self._waiting:
            await self._empty.wait()
