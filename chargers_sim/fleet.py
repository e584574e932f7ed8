"""Many stations in one process: seeded behaviour, ramp, blackout, a summary with percentiles."""

import asyncio
import contextlib
import gc
import json
import random
import signal
import ssl
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from chargers_sim.car import Battery, Car
from chargers_sim.clock import Clock
from chargers_sim.errors import BadInput, SimError
from chargers_sim.line import SUBPROTOCOLS
from chargers_sim.live import Station
from chargers_sim.template import OutletPlan, Template

# Chargers ping rarely; more often, thousands of them would send more pings than messages.
PING_SECONDS = 60
# What a shell says of a command that Ctrl-C ended (128 + SIGINT).
INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a fleet is and does; durations in seconds, `charging` is the share that charges."""

    url: str
    stations: int
    identity: str = "SIM{n:05d}"
    password: str | None = None
    ocpp: str = "1.6"
    seconds: float = 60
    ramp: float = 10
    charging: float = 0.3
    duration: float = 1800
    sample: int = 60
    tags: str = "TAG{n:05d}"
    speed: float = 1
    blackout: float | None = None
    dark: float = 5
    seed: str = "0"
    as_json: bool = False
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        for version in self.versions:
            if version not in SUBPROTOCOLS:
                raise BadInput(f"--ocpp: unknown version {version!r}")
        for name in ("identity", "password", "tags"):
            self.named(name, 1)
        if not 0 <= self.charging <= 1:
            raise BadInput(f"--charging must be between 0 and 1, not {self.charging}")

    @property
    def versions(self) -> list[str]:
        """The OCPP versions, taken in turn."""
        return [v.strip() for v in self.ocpp.split(",")]

    def named(self, field_name: str, n: int) -> str | None:
        """Fill the number of a station into one of the patterns."""
        pattern: str | None = getattr(self, field_name)
        if pattern is None:
            return None
        try:
            return pattern.format(n=n)
        except (LookupError, ValueError) as problem:
            raise BadInput(f"--{field_name}: {pattern!r} is not a pattern with {{n}}") from problem


@dataclass(slots=True)
class Tally:
    """What a fleet has seen."""

    events: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)

    def event(self, event: dict[str, Any]) -> None:
        """Count an event."""
        name = event["event"]
        self.events[name] += 1
        if name in {"connect_failed", "problem", "refused", "gave_up"}:
            self.problems[str(event.get("detail") or event.get("code"))[:120]] += 1

    def latency(self, action: str, seconds: float) -> None:
        """Count an answer."""
        self.answers[action] += 1
        self.latencies.append(seconds)

    def summary(self, stations: list[Station], elapsed: float, cpu: float) -> dict[str, Any]:
        """Add everything up; times in milliseconds."""
        sent = sum(self.answers.values())
        return {
            "stations": len(stations),
            "online": sum(s.is_online for s in stations),
            "seconds": round(elapsed, 3),
            "answers": sent,
            "answers_per_second": round(sent / elapsed, 1) if elapsed else 0,
            "cpu_us_per_message": round(cpu / sent * 1e6, 1) if sent else None,
            "by_action": dict(self.answers.most_common()),
            "answer_ms": percentiles(self.latencies),
            "transactions_started": self.events["transaction_started"],
            "transactions_ended": self.events["transaction_ended"],
            "disconnects": self.events["disconnected"],
            "waiting": sum(len(s.outbox) for s in stations),
            "problems": dict(self.problems.most_common(10)),
        }


def percentiles(seconds: list[float]) -> dict[str, float] | None:
    """Give p50, p90, p99 and the largest, in milliseconds."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    points = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    last = len(ordered) - 1
    return {name: round(ordered[int(last * p)] * 1000, 2) for name, p in points.items()}


class Fleet:
    """Stations with their behaviour; usable as a library too."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.tally = Tally()
        template = Template(
            outlets=(OutletPlan(evse=1),),
            sample_seconds=plan.sample,
            sampled=("Energy.Active.Import.Register", "Power.Active.Import"),
            # A history of every charge in every stop would be the memory of thousands.
            configuration={"StopTxnSampledData": ""},
        )
        self.stations = [
            Station(
                plan.url,
                plan.named("identity", n) or "",
                ocpp=plan.versions[n % len(plan.versions)],
                password=plan.named("password", n),
                clock=Clock(speed=plan.speed),
                seed=plan.seed,
                template=template,
                on_event=self.tally.event,
                tls=plan.tls,
                on_latency=self.tally.latency,
                lean=True,
                reconnect=(1, 30),
                settle_timeout=3600,
            )
            for n in range(1, plan.stations + 1)
        ]
        for station in self.stations:
            station.address = replace(station.address, ping_seconds=PING_SECONDS)

    async def live(self, until: asyncio.Event) -> None:
        """Let every station live until the event."""
        async with asyncio.TaskGroup() as tasks:
            lives = [
                tasks.create_task(self._station(n, station, until))
                for n, station in enumerate(self.stations, start=1)
            ]
            await until.wait()
            for life in lives:
                life.cancel()

    async def _station(self, n: int, station: Station, until: asyncio.Event) -> None:
        plan = self.plan
        rng = random.Random(f"fleet {plan.seed} {n}")
        # All are there for half of the time at least.
        ramp = min(plan.ramp, plan.seconds / 2)
        await asyncio.sleep(ramp * (n - 1) / plan.stations)
        station.start()
        tag = plan.named("tags", n) or "TAG"
        charges = rng.random() < plan.charging
        while not until.is_set():
            if not charges:
                await until.wait()
                return
            try:
                await station.online(timeout=3600)
                await self._session(station, rng, tag)
            except SimError as problem:
                self.tally.problems[str(problem)[:120]] += 1
                await asyncio.sleep(5)

    async def _session(self, station: Station, rng: random.Random, tag: str) -> None:
        car = Car.random(rng)
        outlet = station.model.outlet(1)
        if not outlet.plugged:
            await station.plug(1, draw=Battery(car))
        if await station.swipe(tag) != "Accepted":
            await station.unplug(1)
            await asyncio.sleep(30 / self.plan.speed)
            return
        await asyncio.sleep(rng.expovariate(1 / self.plan.duration) / self.plan.speed)
        if outlet.charging:
            await station.stop(1)
        await station.unplug(1)
        await asyncio.sleep(rng.uniform(5, 60) / self.plan.speed)

    async def blackout(self, seconds: float) -> None:
        """Tear all lines down at once; they come back by themselves afterwards."""
        await asyncio.gather(*(s.cut() for s in self.stations))
        await asyncio.sleep(seconds)
        for station in self.stations:
            station.allow_line()

    async def close(self) -> None:
        """End all stations."""
        await asyncio.gather(*(s.close() for s in self.stations))


def spare_collector() -> None:
    """Let the garbage collector look less often: thousands of stations live to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


async def drive(plan: Plan) -> int:
    """Run a fleet for its time, show progress, print the summary; 0 if all were online.

    Ctrl-C ends it early, with the summary of what was until then.
    """
    fleet = Fleet(plan)
    spare_collector()
    until, left = asyncio.Event(), asyncio.Event()
    for ending in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(ending, left.set)
    began, cpu = time.monotonic(), time.process_time()

    async def conduct() -> None:
        ends = began + plan.seconds
        dark_at = None if plan.blackout is None else began + plan.blackout
        while (now := time.monotonic()) < ends and not left.is_set():
            if dark_at is not None and now >= dark_at:
                dark_at = None
                await fleet.blackout(plan.dark)
            _progress(fleet, now - began)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(1.0, max(0.01, ends - now))):
                    await left.wait()
        until.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(conduct())
        tasks.create_task(fleet.live(until))
    elapsed = time.monotonic() - began
    summary = fleet.tally.summary(fleet.stations, elapsed, time.process_time() - cpu)
    await fleet.close()
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    _print(summary, as_json=plan.as_json)
    if left.is_set():
        return INTERRUPTED
    return 0 if summary["online"] == plan.stations else 1


def _progress(fleet: Fleet, elapsed: float) -> None:
    if not sys.stderr.isatty():
        return
    online = sum(s.is_online for s in fleet.stations)
    charging = sum(any(s.model.transactions()) for s in fleet.stations)
    sys.stderr.write(
        f"\r{elapsed:6.0f} s  online {online}/{len(fleet.stations)}  charging {charging}  "
        f"answers {sum(fleet.tally.answers.values())}  "
        f"waiting {sum(len(s.outbox) for s in fleet.stations)}   "
    )
    sys.stderr.flush()


def _print(summary: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(summary) + "\n")
        return
    for name, value in summary.items():
        sys.stdout.write(f"{name:>22}  {value}\n")
