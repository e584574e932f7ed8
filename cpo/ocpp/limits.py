"""Counting what strangers and stations may do: token buckets that forget."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime


class Bucket:
    """`burst` things at once, refilled at `rate` a second."""

    __slots__ = ("_burst", "_rate", "_tokens", "_updated_at")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._updated_at = now

    def take(self, now: float) -> bool:
        """Take one if there is one."""
        self._refill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def wait(self, now: float) -> float:
        """Return the seconds until the next one."""
        self._refill(now)
        return max(0.0, (1 - self._tokens) / self._rate)

    def full(self, now: float) -> bool:
        """Tell whether nothing has been taken lately, so that the bucket can be forgotten."""
        self._refill(now)
        return self._tokens >= self._burst

    def _refill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._updated_at) * self._rate)
        self._updated_at = now


class Turnstile:
    """Lets `rate` a second in, and whoever was turned away `patience` seconds ago at any rate.

    So a limit spreads a rush but starves nobody. Strangers wait like everybody else, so that the
    limit tells nobody who is known; but they are remembered apart, at most `capacity` of each, so
    that they push nobody out. A wait that nobody came back from within four times the patience is
    forgotten. Times in seconds.
    """

    def __init__(
        self,
        *,
        rate: float,
        clock: Callable[[], float],
        patience: float = 15,
        capacity: int = 50_000,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._patience = patience
        self._capacity = capacity
        self._bucket = Bucket(rate, max(rate, 1), clock()) if rate else None
        self._known: dict[str, float] = {}
        self._strangers: dict[str, float] = {}

    def take(self, key: str, *, known: bool) -> bool:
        """Let one in if there is room for it, or if it has waited long enough."""
        if self._bucket is None:
            return True
        now = self._clock()
        waiting = self._known if known else self._strangers
        since = waiting.get(key, now)
        late = self._patience <= now - since <= 4 * self._patience
        if late or self._bucket.take(now):
            waiting.pop(key, None)
            return True
        if since == now or now - since > 4 * self._patience:
            waiting.pop(key, None)
            if len(waiting) >= self._capacity:
                del waiting[next(iter(waiting))]
            waiting[key] = now
        return False

    def wait(self) -> float:
        """Return the seconds after which it is worth coming back."""
        return min(self._patience, len(self._known) / self._rate) if self._rate else 0.0


class Buckets:
    """One bucket per key, at most `capacity` of them; full ones are forgotten first."""

    def __init__(
        self, *, rate: float, burst: float, clock: Callable[[], float], capacity: int = 50_000
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._capacity = capacity
        self._buckets: dict[tuple[str, ...], Bucket] = {}

    def take(self, *key: str) -> bool:
        """Take one for a key; with a rate of 0 there is no limit."""
        if not self._rate:
            return True
        now = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._capacity:
                self._forget(now)
            bucket = self._buckets[key] = Bucket(self._rate, self._burst, now)
        return bucket.take(now)

    def exhausted(self, *key: str) -> bool:
        """Tell whether a key has nothing left, without taking."""
        bucket = self._buckets.get(key)
        return bucket is not None and bucket.wait(self._clock()) > 0

    def wait(self, *key: str) -> float:
        """Return the seconds until a key has one again."""
        bucket = self._buckets.get(key)
        return bucket.wait(self._clock()) if bucket is not None else 0.0

    def _forget(self, now: float) -> None:
        for key in [key for key, bucket in self._buckets.items() if bucket.full(now)]:
            del self._buckets[key]
        while len(self._buckets) >= self._capacity:
            del self._buckets[next(iter(self._buckets))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Attempts of one identity from one address that were refused; `path` as it was asked for."""

    identity: str
    path: str
    address: str
    reason: str
    count: int
    first: datetime
    last: datetime


class RefusedAttempts:
    """The newest refused connections, for whoever looks for a charger that does not get in (TR-06).

    In memory and bounded: strangers can write nothing.
    """

    def __init__(self, *, most: int = 1_000) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[str, str], Refused] = OrderedDict()

    def add(self, identity: str, path: str, address: str, reason: str, *, at: datetime) -> None:
        """Note an attempt."""
        key = (identity, address)
        known = self._kept.pop(key, None)
        self._kept[key] = Refused(
            identity=identity,
            path=path[:200],
            address=address,
            reason=reason,
            count=known.count + 1 if known is not None else 1,
            first=known.first if known is not None else at,
            last=at,
        )
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def all(self) -> list[Refused]:
        """Return them, the newest first."""
        return list(reversed(self._kept.values()))
