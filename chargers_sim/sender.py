"""What waits in the outbox goes out: one message at a time, in order, until it is answered.

Where a peer can send without waiting (a fleet's), a message leaves as it is put in and its
answer is taken as it comes. Whatever takes time (a full line, a fault, a refusal that is tried
again) is left to the task that runs `send_all`.
"""

import asyncio
import json
import os
import time
from functools import partial
from typing import TYPE_CHECKING

from chargers_sim.errors import AnsweredError, NotAnswered, SimError
from chargers_sim.line import LinkSettings
from chargers_sim.outbox import Outbox, Outgoing, Payload
from chargers_sim.peer import Peer

if TYPE_CHECKING:
    from chargers_sim.live import Station


class Sender:
    """Sends the messages of one station, over one line after the other."""

    def __init__(self, station: "Station", settings: LinkSettings, outbox: Outbox) -> None:
        self.sent_at = 0.0
        """When the last message left, by the loop's clock."""
        self._station = station
        self._settings = settings
        self._outbox = outbox
        self._messages_sent = 0
        self._asking = False
        self._takes_time = asyncio.Event()
        self._failed: tuple[Outgoing, BaseException] | None = None

    async def send_all(self, peer: Peer) -> None:
        """Send whatever is put into the outbox, until the line is gone."""
        self._asking, self._failed = False, None
        self._outbox.on_put = go_on = partial(self._go_on, peer)
        try:
            while True:
                self._takes_time.clear()
                go_on()
                await self._takes_time.wait()
                failed, head = self._failed, self._outbox.head
                self._failed = None
                if failed is not None:
                    await self._not_answered(*failed)
                elif head is not None:
                    await self._send(peer, head)
                self._asking = False
        finally:
            self._outbox.on_put = None
            peer.forget()

    def _go_on(self, peer: Peer) -> None:
        """Send the next message if none is under way."""
        message = None if self._asking else self._outbox.head
        if message is None:
            return
        self._asking = True
        if not peer.ready:
            self._takes_time.set()
            return
        payload, message_id = self._prepared(message)
        taken = partial(self._taken, peer, message, payload, time.perf_counter())
        peer.post(message.action, payload, message_id, self._settings.message_timeout, taken)

    def _taken(
        self,
        peer: Peer,
        message: Outgoing,
        payload: Payload,
        began: float,
        answer: Payload | SimError,
    ) -> None:
        if isinstance(answer, SimError):
            self._failed = message, answer
            self._takes_time.set()
            return
        try:
            self._answered(message, payload, began, answer)
        except (LookupError, TypeError, ValueError) as problem:
            # An answer that nobody can read is for the task to stumble over.
            self._failed = message, problem
            self._takes_time.set()
            return
        self._asking = False
        self._go_on(peer)

    async def _send(self, peer: Peer, message: Outgoing) -> None:
        station = self._station
        payload, message_id = self._prepared(message)
        began = time.perf_counter()
        try:
            answer = await peer.call(
                message.action,
                payload,
                message_id=message_id,
                timeout=self._settings.message_timeout,
                checked=message.checked,
            )
        except (NotAnswered, AnsweredError) as problem:
            await self._not_answered(message, problem)
            return
        if not all(d.understands(message.action, answer) for d in station.deviations):
            station.emit("not_understood", action=message.action, answer=answer)
            await asyncio.sleep(self._settings.retry_seconds)
            return
        self._answered(message, payload, began, answer)

    def _prepared(self, message: Outgoing) -> tuple[Payload, str]:
        payload = message.content()
        if self._station.deviations:
            payload = self.deviated(message.action, payload)
            message.checked = False
        message_id = self._message_id(message)
        message.message_ids.append(message_id)
        if message.journal is not None:
            message.journal["message_ids"].append(message_id)
        self.sent_at = asyncio.get_running_loop().time()
        return payload, message_id

    def _answered(self, message: Outgoing, payload: Payload, began: float, answer: Payload) -> None:
        station = self._station
        if self._settings.on_latency is not None:
            self._settings.on_latency(message.action, time.perf_counter() - began)
        self._outbox.remove(message)
        if message.journal is not None:
            message.journal.update(outcome="ok", answer=answer, sent=payload)
            station.journal.write(message.journal)
        message.resolve(answer)
        station.save()

    async def _not_answered(self, message: Outgoing, problem: BaseException) -> None:
        if isinstance(problem, AnsweredError):
            await self._refused(message, problem)
        elif isinstance(problem, NotAnswered):
            self._station.emit("not_answered", action=message.action)
            if not message.keep:
                self._outbox.remove(message)
                message.fail(problem)
        else:
            raise problem

    async def _refused(self, message: Outgoing, problem: AnsweredError) -> None:
        station, settings = self._station, self._settings
        message.refusals += 1
        station.emit(
            "refused", action=message.action, code=problem.code, detail=problem.description
        )
        if message.keep and message.refusals < settings.attempts:
            await asyncio.sleep(settings.retry_seconds * message.refusals)
            return
        self._outbox.remove(message)
        if message.journal is not None:
            message.journal.update(outcome="refused", answer={"error": problem.code})
            station.journal.write(message.journal)
        message.fail(problem)

    # Ids and deviations

    def _message_id(self, message: Outgoing) -> str:
        resend = self._settings.resend
        again = resend == "same" or (resend == "half" and self._station.random.random() < 0.5)
        if message.message_ids and again:
            return message.message_ids[-1]
        return self.fresh_id()

    def fresh_id(self) -> str:
        """Make the id of the next message."""
        chosen = new_id()
        self._messages_sent += 1
        for deviation in self._station.deviations:
            chosen = deviation.message_id(chosen, self._messages_sent)
        return chosen

    def deviated(self, action: str, payload: Payload) -> Payload:
        """Let the quirks change what is sent."""
        if self._station.deviations:
            payload = json.loads(json.dumps(payload))
        for deviation in self._station.deviations:
            payload = deviation.payload(self._station, action, payload)
        return payload


def new_id() -> str:
    """Make a message id that no other connection of this station has used: a UUID, made quickly."""
    digits = os.urandom(15).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[12:15]}-a{digits[15:18]}-{digits[18:]}"
