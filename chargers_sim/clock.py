"""The station's clock: real, faster than real, or virtual.

Inside the simulator an instant is an integer number of milliseconds since the
epoch, UTC. Meter readings and the timestamps of messages follow this clock.
"""

import asyncio
import functools
import time
from datetime import UTC, datetime

from chargers_sim.errors import BadInput


def now_ms() -> int:
    """Read the computer's own clock."""
    return time.time_ns() // 1_000_000


def iso(at_ms: int) -> str:
    """Write an instant as the protocols want it: UTC, Z, milliseconds at most."""
    seconds, millis = divmod(at_ms, 1000)
    text = _second(seconds)
    return f"{text}.{millis:03d}Z" if millis else f"{text}Z"


@functools.lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    # The stations of a fleet share their seconds.
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


def parse(text: str) -> int:
    """Read an RFC 3339 instant; without a zone it is UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as problem:
        raise BadInput(f"not a time: {text!r}") from problem
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return round(at.timestamp() * 1000)


class Clock:
    """A clock that runs, at the computer's pace or `speed` times faster."""

    virtual = False

    def __init__(self, *, speed: float = 1, start_ms: int | None = None) -> None:
        if speed <= 0:
            raise BadInput(f"the speed of the clock must be above 0, not {speed}")
        self.speed = speed
        self._start_ms = now_ms() if start_ms is None else start_ms
        self._since = time.monotonic()

    def now(self) -> int:
        """Tell the station's time in milliseconds."""
        return self._start_ms + int((time.monotonic() - self._since) * 1000 * self.speed)

    async def reach(self, at_ms: int) -> None:
        """Wait until the station's time is `at_ms`."""
        while (ahead := at_ms - self.now()) > 0:  # noqa: ASYNC110 - the clock may be set meanwhile
            await asyncio.sleep(ahead / 1000 / self.speed)

    def jump(self, seconds: float) -> None:
        """Set the clock forward or back, as a technician or a bad battery does."""
        self._start_ms += round(seconds * 1000)


class VirtualClock(Clock):
    """A clock that stands still until told to move: hours pass in no time.

    `ends_in` seconds before now is where it starts by default, so that a charge
    of that length ends about now and no timestamp lies in the future.
    """

    virtual = True

    def __init__(self, *, start_ms: int | None = None, ends_in: float = 0) -> None:
        super().__init__()
        self._now_ms = now_ms() - round(ends_in * 1000) if start_ms is None else start_ms
        # Whole seconds keep the timestamps of a planned charge round.
        self._now_ms -= self._now_ms % 1000

    def now(self) -> int:
        """Tell the station's time in milliseconds."""
        return self._now_ms

    async def reach(self, at_ms: int) -> None:
        """Be there at once."""
        self._now_ms = max(self._now_ms, at_ms)

    def jump(self, seconds: float) -> None:
        """Set the clock forward or back."""
        self._now_ms += round(seconds * 1000)
