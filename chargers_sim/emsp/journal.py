"""The record of every exchange, noted when it arrives and completed when it ends."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

_CHANGING = {"PUT", "PATCH", "POST", "DELETE"}


def utc_now() -> datetime:
    """Return the present time, aware."""
    return datetime.now(UTC)


def ocpi_time(at: datetime) -> str:
    """Write an instant as OCPI does: UTC, milliseconds, Z."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request and its answer, from the double's side.

    `arrived` and `finished` are seconds of a monotonic clock; `at` is the wall clock at
    arrival. `read` says that the request was read to its end, `applied` that it changed
    what the double holds: a request answered with 500 was read but not applied.
    """

    number: int
    direction: str
    at: str
    arrived: float
    method: str
    path: str
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    readable: bool = True
    """Whether the body, if any, was JSON; else `body` is its text."""
    read: bool = False
    applied: bool = False
    fault: str | None = None
    version: str | None = None
    module: str | None = None
    object: str | None = None
    """module/country/party/id[/…] of the object it is about."""
    peer: str | None = None
    status: int | None = None
    status_code: int | None = None
    response_headers: dict[str, str] = field(default_factory=dict)
    response: Any = None
    error: str | None = None
    violations: list[str] = field(default_factory=list)
    finished: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as an object for NDJSON."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Violation:
    """One breach of OCPI by the other side, and the exchange in which it happened."""

    exchange: int
    version: str | None
    object: str
    path: str
    problem: str

    def __str__(self) -> str:
        where = f"{self.object}.{self.path}" if self.path else self.object
        return f"#{self.exchange} {self.version or '-'} {where}: {self.problem}"

    def as_json(self) -> dict[str, Any]:
        """Return it as an object for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


class Journal:
    """All exchanges in order of arrival, and all violations found in them."""

    def __init__(self, *, keep: int | None = None, now: Callable[[], datetime] = utc_now) -> None:
        """Begin empty; of more than `keep` exchanges the oldest are forgotten."""
        self._keep = keep
        self._now = now
        self._count = 0
        self.exchanges: list[Exchange] = []
        self.violations: list[Violation] = []

    def open(self, direction: str, method: str, path: str, **known: Any) -> Exchange:
        """Note a request at its arrival, before anything of it is judged."""
        exchange = Exchange(
            number=self._count + 1,
            direction=direction,
            at=self._now().astimezone(UTC).isoformat(timespec="microseconds"),
            arrived=time.monotonic(),
            method=method,
            path=path,
            **known,
        )
        self._count += 1
        self.exchanges.append(exchange)
        if self._keep is not None and len(self.exchanges) > 2 * self._keep:
            del self.exchanges[: -self._keep]
        return exchange

    def close(self, exchange: Exchange) -> None:
        """Note that an exchange is over."""
        exchange.finished = time.monotonic()

    def blame(self, exchange: Exchange, object_name: str, path: str, problem: str) -> None:
        """Record a breach of OCPI by the other side."""
        violation = Violation(exchange.number, exchange.version, object_name, path, problem)
        self.violations.append(violation)
        exchange.violations.append(str(violation))

    def received(
        self, module: str | None = None, *, method: str | None = None, object_id: str | None = None
    ) -> list[Exchange]:
        """Return incoming exchanges, filtered by module, method and object id."""
        return [
            exchange
            for exchange in self.exchanges
            if exchange.direction == "in"
            and module in (None, exchange.module)
            and method in (None, exchange.method)
            and (object_id is None or object_id in (exchange.object or "").split("/"))
        ]

    def overlaps(self) -> Iterator[tuple[Exchange, Exchange]]:
        """Yield pairs of changing requests that were in flight for one object at once."""
        return overlapping(self.exchanges)


def overlapping(exchanges: Iterable[Exchange]) -> Iterator[tuple[Exchange, Exchange]]:
    """Yield pairs of changing requests that were in flight for one object at once."""
    still_open: dict[str, list[Exchange]] = {}
    for exchange in exchanges:
        if exchange.direction != "in" or exchange.method not in _CHANGING:
            continue
        if exchange.object is None:
            continue
        running = [
            other
            for other in still_open.get(exchange.object, [])
            if other.finished is None or other.finished > exchange.arrived
        ]
        for other in running:
            yield other, exchange
        still_open[exchange.object] = [*running, exchange]
