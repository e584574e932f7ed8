"""Logs and metrics: how both are set up, what must never be in a log line, and all metric names."""

import asyncio
import hashlib
import logging
import re
import secrets
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

HIDDEN = "********"

# Compared without case, `_` and `-`: id_tag, idTag and ID-TAG are the same key.
SECRET_KEYS = frozenset(
    [
        "password",
        "token",
        "tokena",
        "tokenb",
        "tokenc",
        "credentials",
        "authorization",
        "authorizationkey",
        "apikey",
        "operatorkey",
        "secret",
        "secretkey",
        "basicauthpassword",
        "privatekey",
        "cookie",
        "setcookie",
    ]
)
PERSONAL_KEYS = frozenset(
    [
        "idtag",
        "idtoken",
        "parentidtag",
        "groupidtoken",
        "tokenuid",
        "uid",
        "contractid",
        "authid",
        "visualnumber",
        "licenseplate",
        "emaid",
    ]
)
VALUE_KEYS = frozenset(["value", "attributeValue", "attribute_value"])
_CREDENTIALS = re.compile(r"\b(Basic|Bearer|Token)\s+[A-Za-z0-9+/=._~-]{6,}")
_URL_PASSWORD = re.compile(r"(?<=://)([^/@:\s]*):[^@/\s]+@")
_NOISY_LOGGERS = ("aiohttp", "asyncio", "websockets", "ocpp", "sqlalchemy", "alembic", "nats")


def _plain(key: str) -> str:
    return key.replace("_", "").replace("-", "").lower()


class Masker:
    """Hides secrets, and makes personal values recognisable without showing them."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = (key or secrets.token_bytes(32))[:64]

    def personal(self, value: str) -> str:
        """Return a keyed hash and the last four characters of a token uid."""
        digest = hashlib.blake2b(value.encode("utf-8", "replace"), digest_size=4, key=self._key)
        return f"{digest.hexdigest()}…{value[-4:] if len(value) > 6 else ''}"

    def clean(self, value: Any, key: str = "") -> Any:
        """Return a copy of a log value that is safe to write."""
        name = _plain(key)
        if isinstance(value, Mapping):
            hide = VALUE_KEYS if self._names_a_secret(value) else ()
            return {
                str(k): HIDDEN if k in hide else self.clean(v, str(k)) for k, v in value.items()
            }
        if name in SECRET_KEYS and value is not None:
            return HIDDEN
        if isinstance(value, list | tuple):
            return [self.clean(item, key) for item in value]
        if isinstance(value, str):
            if name in PERSONAL_KEYS:
                return self.personal(value)
            value = _CREDENTIALS.sub(rf"\1 {HIDDEN}", value)
            return _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", value)
        return value

    @staticmethod
    def _names_a_secret(value: Mapping[Any, Any]) -> bool:
        # ChangeConfiguration and SetVariables: one field names what the other one holds.
        variable = value.get("variable")
        names = (value.get("key"), variable.get("name") if isinstance(variable, Mapping) else None)
        return any(isinstance(n, str) and _plain(n) in SECRET_KEYS for n in names)

    def __call__(self, _logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        """Clean a log line; the form in which structlog calls it."""
        return {key: self.clean(value, key) for key, value in event.items()}


def configure_logs(
    *, level: str = "info", form: str = "auto", key: bytes | None = None, out: TextIO | None = None
) -> None:
    """Send every log line of this process to standard error.

    Args:
        level: lowest level written.
        form: `json`, `text`, or `auto` for text on a terminal.
        key: of the hash that stands for token uids, so that nodes agree on it.
        out: where to write instead of standard error.
    """
    stream = out or sys.stderr
    text = form == "text" or (form == "auto" and stream.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty())
        if text
        else structlog.processors.JSONRenderer(ensure_ascii=True)
    )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        *([] if text else [structlog.processors.format_exc_info]),
        Masker(key),
    ]
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    # The `ocpp` package writes whole frames, with their tokens and keys, at info.
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A metric family as the catalogue shows it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


Labels = tuple[str, ...]

# A family never grows beyond this: what a peer can choose must not fill our memory.
MAX_SERIES = 2000
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class _Family:
    kind = ""

    def __init__(self, name: str, meaning: str, labels: Iterable[str] = ()) -> None:
        self.described = Described(name=name, kind=self.kind, labels=tuple(labels), meaning=meaning)
        self._other = ("other",) * len(self.described.labels)

    def _bounded(self, series: Mapping[Labels, Any], labels: Labels) -> Labels:
        if len(labels) != len(self.described.labels):
            raise ValueError(f"{self.described.name} has labels {self.described.labels}")
        return labels if labels in series or len(series) < MAX_SERIES else self._other

    def metrics(self) -> Iterator[Metric]:
        """Yield what is exposed."""
        raise NotImplementedError


class Counter(_Family):
    """Counts, without a lock: only the event loop's thread counts."""

    kind = "counter"

    def __init__(self, name: str, meaning: str, labels: Iterable[str] = ()) -> None:
        super().__init__(name, meaning, labels)
        self._series: dict[Labels, float] = {} if self.described.labels else {(): 0}

    def inc(self, *labels: str, by: float = 1) -> None:
        """Count one more, or `by` more."""
        try:
            self._series[labels] += by
        except KeyError:
            labels = self._bounded(self._series, labels)
            self._series[labels] = self._series.get(labels, 0) + by

    def value(self, *labels: str) -> float:
        """Return the present count."""
        return self._series.get(labels, 0)

    def metrics(self) -> Iterator[Metric]:
        """Yield what is exposed."""
        described = self.described
        family = CounterMetricFamily(described.name, described.meaning, labels=described.labels)
        for labels, value in list(self._series.items()):
            family.add_metric(labels, value)
        yield family


class Gauge(_Family):
    """A value that goes up and down: set, or read from its source when scraped."""

    kind = "gauge"

    def __init__(self, name: str, meaning: str, labels: Iterable[str] = ()) -> None:
        super().__init__(name, meaning, labels)
        self._series: dict[Labels, float] = {}
        self._source: Callable[[], Mapping[Labels, float]] | None = None

    def set(self, value: float, *labels: str) -> None:
        """Set the value."""
        self._series[self._bounded(self._series, labels)] = value

    def read_from(self, source: Callable[[], Mapping[Labels, float]]) -> None:
        """Take the values from a function, label values to value, at each scrape."""
        self._source = source

    def metrics(self) -> Iterator[Metric]:
        """Yield what is exposed."""
        described = self.described
        family = GaugeMetricFamily(described.name, described.meaning, labels=described.labels)
        for labels, value in (self._source() if self._source else dict(self._series)).items():
            family.add_metric(labels, value)
        yield family


class Histogram(_Family):
    """How values spread over fixed buckets."""

    kind = "histogram"

    def __init__(
        self,
        name: str,
        meaning: str,
        labels: Iterable[str] = (),
        buckets: tuple[float, ...] = SECONDS,
    ) -> None:
        super().__init__(name, meaning, labels)
        self._bounds = buckets
        self._series: dict[Labels, list[float]] = {}

    def observe(self, value: float, *labels: str) -> None:
        """Take a value, in the unit that the metric's name states."""
        row = self._series.get(labels)
        if row is None:
            labels = self._bounded(self._series, labels)
            # One count for each bucket, one for what is above, and the sum.
            row = self._series.setdefault(labels, [0.0] * (len(self._bounds) + 2))
        row[bisect_left(self._bounds, value)] += 1
        row[-1] += value

    def metrics(self) -> Iterator[Metric]:
        """Yield what is exposed."""
        described = self.described
        family = HistogramMetricFamily(described.name, described.meaning, labels=described.labels)
        for labels, row in list(self._series.items()):
            total = 0.0
            buckets: list[tuple[str, float]] = []
            for bound, count in zip((*map(str, self._bounds), "+Inf"), row[:-1], strict=True):
                total += count
                buckets.append((bound, total))
            family.add_metric(labels, buckets, row[-1])
        yield family


class Metrics(Collector):
    """Every metric of this process, in a registry of its own.

    Labels are bounded: never a station, transaction or token. `partner` is one of the registered.
    """

    def __init__(self) -> None:
        self.build_info = Gauge("cpo_build_info", "Always 1", ["version"])
        self.ocpp_connections = Gauge("cpo_ocpp_connections", "Connected stations", ["version"])
        self.ocpp_handshakes = Counter(
            "cpo_ocpp_handshakes_total",
            "Connection attempts by outcome: accepted, replaced, or the reason of a refusal",
            ["outcome"],
        )
        self.ocpp_messages = Counter(
            "cpo_ocpp_messages_total",
            "OCPP messages; direction in or out, outcome result, error or timeout",
            ["version", "direction", "action", "outcome"],
        )
        self.ocpp_handler_duration = Histogram(
            "cpo_ocpp_handler_duration_seconds",
            "From a station's request to our answer, commit included",
            ["version"],
        )
        self.ocpp_call_duration = Histogram(
            "cpo_ocpp_call_duration_seconds",
            "From our request to the station's answer",
            ["version"],
        )
        self.ocpp_deviations = Counter(
            "cpo_ocpp_deviations_total", "Messages repaired by a lenient rule", ["rule"]
        )
        self.certificates = Gauge(
            "cpo_certificates",
            "Certificates by how near their end is: ok, soon, expired",
            ["state"],
        )
        self.security_events = Counter(
            "cpo_security_events_total",
            "Security events that stations told of; a type that is in no list counts as other",
            ["type", "critical"],
        )
        self.evses = Gauge("cpo_evses", "EVSEs by OCPI status", ["status"])
        self.transactions_active = Gauge("cpo_transactions_active", "Transactions under way")
        self.transactions = Counter(
            "cpo_transactions_total",
            "Ended sessions: completed, invalid, corrected by a late message",
            ["outcome"],
        )
        self.energy_delivered = Counter(
            "cpo_energy_delivered_watt_hours_total", "Energy of all ended transactions"
        )
        self.commands = Counter(
            "cpo_commands_total", "Neutral commands by outcome", ["command", "outcome"]
        )
        self.command_duration = Histogram(
            "cpo_command_duration_seconds", "From a command to its outcome", ["command"]
        )
        self.ocpi_requests = Counter(
            "cpo_ocpi_requests_total",
            "OCPI requests; direction in or out, outcome is the HTTP status class or error",
            ["partner", "version", "module", "direction", "outcome"],
        )
        self.ocpi_request_duration = Histogram(
            "cpo_ocpi_request_duration_seconds", "OCPI requests", ["direction"]
        )
        self.outbox_pending = Gauge(
            "cpo_outbox_pending",
            "Objects of which a partner lacks the newest state",
            ["partner", "kind"],
        )
        self.outbox_oldest_age = Gauge(
            "cpo_outbox_oldest_age_seconds", "Age of the oldest of these", ["partner"]
        )
        self.outbox_dead = Counter(
            "cpo_outbox_dead_total",
            "Objects parked because a partner refuses them, or withheld because a field is wrong",
            ["partner", "kind"],
        )
        self.publish_delay = Histogram(
            "cpo_publish_delay_seconds", "From a station's message to the partner's 2xx", ["kind"]
        )
        self.event_loop_lag = Gauge(
            "cpo_event_loop_lag_seconds", "How late the event loop ran a timer"
        )
        self.db_transaction_duration = Histogram(
            "cpo_db_transaction_duration_seconds", "One group commit"
        )
        self.db_batch_size = Histogram(
            "cpo_db_batch_units",
            "Units of work in one group commit",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
        )
        self.operator_requests = Counter(
            "cpo_operator_requests_total",
            "Requests to the operator API",
            ["method", "route", "status"],
        )
        self.operator_logins_failed = Counter(
            "cpo_operator_logins_failed_total", "Requests with a wrong operator key"
        )
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)

    def committed(self, seconds: float, units: int) -> None:
        """Take note of a group commit."""
        self.db_transaction_duration.observe(seconds)
        self.db_batch_size.observe(units)

    def families(self) -> list[_Family]:
        """Return all families, in the order of the catalogue."""
        return [value for value in vars(self).values() if isinstance(value, _Family)]

    def catalogue(self) -> list[Described]:
        """Return name, kind, labels and meaning of every family."""
        return [family.described for family in self.families()]

    def collect(self) -> Iterator[Metric]:
        """Yield everything; called by the registry."""
        for family in self.families():
            yield from family.metrics()

    def describe(self) -> Iterator[Metric]:
        """Yield nothing: the registry need not know the names beforehand."""
        return iter(())

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format (version 0.0.4)."""
        return generate_latest(self.registry)


async def watch_loop(metrics: Metrics, interval: float = 0.5) -> None:
    """Measure for ever how late the event loop runs."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval
        await asyncio.sleep(interval)
        metrics.event_loop_lag.set(max(0.0, loop.time() - due))
