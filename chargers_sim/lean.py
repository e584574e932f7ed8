"""The websocket of a fleet's station: whole frames in and out at once.

Thousands of stations in one process are mostly small texts out and small answers in. Those
are written and read here, without a task, a queue or a generator for each; whatever else a
websocket does (handshake, fragments, closing) is left to the library.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.protocol import State

try:
    from websockets.speedups import apply_mask
except ImportError:  # no wheel for this platform
    from websockets.utils import apply_mask

TEXT, ASKED, PONG = 0x81, 0x89, 0x8A
# What a ping of ours says is nothing, so there is nothing to mask.
PING = b"\x89\x80\x00\x00\x00\x00"
# A beginning longer than this goes to the library, which knows what is too much.
MOST_HELD = 1 << 17


class LeanConnection(ClientConnection):
    """A connection that gives each text to `deliver` first; what that refuses, `recv` gives."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.deliver: Callable[[bytes], bool] | None = None
        self.answers_pings = True
        self._held = b""
        self._framed = False
        self._passes = False
        self._heard = True
        self._ping: asyncio.TimerHandle | None = None

    # Out

    @property
    def ready(self) -> bool:
        """Say whether a frame can be written at once."""
        return self.protocol.state is State.OPEN and not (self.paused or self.send_in_progress)

    def write_text(self, text: bytes) -> None:
        """Write a frame; the connection must be ready for it."""
        size = len(text)
        if size < 126:
            head = bytes((TEXT, 0x80 | size))
        elif size < 1 << 16:
            head = bytes((TEXT, 0xFE, size >> 8, size & 0xFF))
        else:
            head = bytes((TEXT, 0xFF)) + size.to_bytes(8)
        mask = os.urandom(4)
        self.transport.write(head + mask + apply_mask(text, mask))

    def ping_every(self, seconds: float) -> None:
        """Ping for ever; a server that says nothing at all until the next ping is gone."""
        self._ping = self.loop.call_later(seconds, self._ping_again, seconds)

    def _ping_again(self, seconds: float) -> None:
        if not self._heard or self.protocol.state is not State.OPEN:
            # Nor is a closing handshake waited for any longer.
            self.set_connection_exc(TimeoutError(f"nothing came in {seconds:g} s after a ping"))
            self.transport.abort()
            return
        self._heard = False
        self.transport.write(PING)
        self.ping_every(seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        if self._ping is not None:
            self._ping.cancel()
        super().connection_lost(exc)

    # In

    def data_received(self, data: bytes) -> None:
        """Cut what came into frames."""
        self._heard = True
        if self._held:
            data, self._held = self._held + data, b""
        if self._passes:
            super().data_received(data)
        elif self._framed:
            self._cut(data)
        else:
            self._shake_hands(data)

    def _shake_hands(self, data: bytes) -> None:
        # Frames may follow the server's half of the handshake in the same breath.
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            self._keep(data)
            return
        super().data_received(data[:end])
        self._framed = self.protocol.state is State.OPEN
        self._passes = not self._framed
        if end < len(data):
            self.data_received(data[end:])

    def _cut(self, data: bytes) -> None:
        at, size = 0, len(data)
        while size - at >= 2:
            start, length = at + 2, data[at + 1]
            if length > 126:
                # A huge frame, or a masked one, which a server must not send.
                self._pass(data[at:])
                return
            if length == 126:
                if size - at < 4:
                    break
                start, length = at + 4, data[at + 2] << 8 | data[at + 3]
            end = start + length
            if end > size:
                break
            self._take(data[at], data[start:end], data[at:end])
            at = end
        self._keep(data[at:])

    def _take(self, kind: int, payload: bytes, frame: bytes) -> None:
        if kind == TEXT and self.deliver is not None and self.deliver(payload):
            return
        if kind == ASKED and len(payload) < 126 and self.ready:
            if self.answers_pings:
                mask = os.urandom(4)
                head = bytes((PONG, 0x80 | len(payload)))
                self.transport.write(head + mask + apply_mask(payload, mask))
        elif kind != PONG or self.pending_pings:
            super().data_received(frame)

    def _keep(self, data: bytes) -> None:
        if len(data) < MOST_HELD:
            self._held = data
        else:
            self._pass(data)

    def _pass(self, data: bytes) -> None:
        """Leave the cutting to the library from here on."""
        self._passes = True
        super().data_received(data)
