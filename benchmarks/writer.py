"""What it costs to make facts durable: candidates for the store's writer, side by side.

Every candidate gets the same units, as an inbound OCPP message makes them (a frame log entry, and
by turns readings or a connector's state with a dirty mark), from stations that each wait for
their commit before they go on. Candidates alternate; the median of the rounds counts. CPU is that
of this process, read from the operating system, with the stations' own share beside it.

    python benchmarks/writer.py --rounds 5 --seconds 3 --stations 200
    python benchmarks/writer.py --postgres postgresql://postgres@127.0.0.1/bench
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import sqlalchemy
import uvloop
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.ext.asyncio import create_async_engine

from cpo.db import migrate, rows
from cpo.db.postgres import PostgresLine
from cpo.db.sqlite import SqliteLine
from cpo.db.statements import Compiler, Write
from cpo.db.store import open_store
from cpo.db.writer import Unit, Writer, following
from cpo.domain.events import Availability, Sample
from cpo.domain.station import ConnectorState
from cpo.services.ports import Frame, Kind, Readings, Work

VALUES = ",".join(
    f'{{"value":"{n}.5","measurand":"Current.Import","phase":"L{n % 3 + 1}"}}' for n in range(8)
)
METER = f'{{"connectorId":1,"transactionId":7,"meterValue":[{{"sampledValue":[{VALUES}]}}]}}'
STATUS = '{"connectorId":1,"errorCode":"NoError","status":"Charging"}'
KEY = b"benchmark"
ROWS_A_MESSAGE = 7 / 3

Commit = Callable[[Work], Awaitable[object]]
Candidate = Callable[[str], Awaitable[tuple[Commit, Callable[[], Awaitable[None]]]]]


def utc_now() -> datetime:
    return datetime.now(UTC)


def work_of(station: str, n: int) -> Work:
    """Return what one message writes: 2.33 rows on average."""
    now = utc_now()
    work = Work()
    if n % 3 == 0:
        work.put(
            ConnectorState(
                station=station,
                evse_id=1,
                connector_id=1,
                availability=Availability.OCCUPIED,
                at=now,
                received_at=now,
            )
        )
        work.mark(("p1",), Kind.EVSE, station)
        work.add(Frame(station, now, "in", "StatusNotification", str(n), STATUS, "{}"))
    else:
        sample = Sample(now, Decimal(n), Decimal(7400), Decimal(16), Decimal(50))
        work.add(Readings(station, now, (sample,)))
        work.add(Frame(station, now, "in", "MeterValues", str(n), METER, "{}"))
    return work


def unit_of(work: Work) -> Unit:
    ops = [(rows.WRITERS[type(v)].put, rows.WRITERS[type(v)].values(v)) for _, v in work.ops]
    return Unit(ops, [(m.partner_id, m.kind.value, m.object_id) for m in work.marks])


class Unconverted(Compiler):
    """Leaves the conversion of values to SQLAlchemy, which does it in its own way."""

    def _converter(self, type_: object) -> None:
        del type_


class Core:
    """Statements of Core as SQLAlchemy runs them itself: with dictionaries."""

    def __init__(self) -> None:
        self.compiler = Unconverted("sqlite")
        self._last = utc_now()
        self._known: dict[str, tuple[Write, sqlalchemy.sql.ClauseElement]] = {}
        for write in (rows.MARK, *(r.put for r in rows.WRITERS.values() if r.put)):
            self._known[self.compiler(write).sql] = (write, write.build("sqlite"))

    def runnable(self, sql: str, values: Sequence[tuple]) -> tuple:
        write, statement = self._known[sql]
        names = [f"p_{name}" for name in write.columns]
        return statement, [dict(zip(names, row, strict=True)) for row in values]


def configure(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: object, _: object) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begun(connection: object) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


class SyncCoreLine(Core):
    """SQLAlchemy's sync engine in a thread of its own."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._engine = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False})
        configure(self._engine)

    async def write(self, build: Callable, *, now: datetime, stamped: bool) -> datetime:
        del stamped
        self._last = following(self._last, now)
        groups = [self.runnable(*group) for group in build(self._last)]
        await asyncio.get_running_loop().run_in_executor(None, self._run, groups)
        return self._last

    def _run(self, groups: Sequence[tuple]) -> None:
        with self._engine.begin() as connection:
            for statement, values in groups:
                connection.execute(statement, values)

    async def close(self) -> None:
        self._engine.dispose()


class AiosqliteLine(Core):
    """SQLAlchemy's async engine over aiosqlite."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
        configure(self._engine.sync_engine)

    async def write(self, build: Callable, *, now: datetime, stamped: bool) -> datetime:
        del stamped
        self._last = following(self._last, now)
        async with self._engine.begin() as connection:
            for group in build(self._last):
                await connection.execute(*self.runnable(*group))
        return self._last

    async def close(self) -> None:
        await self._engine.dispose()


async def nothing(url: str) -> tuple[Commit, Callable[[], Awaitable[None]]]:
    """Units are made and dropped: the share of the stations themselves."""
    del url
    loop = asyncio.get_running_loop()
    waiting: list[asyncio.Future] = []

    def release() -> None:
        released = waiting[:]
        waiting.clear()
        for future in released:
            future.set_result(None)

    async def commit(work: Work) -> None:
        del work
        future = loop.create_future()
        if not waiting:
            loop.call_soon(release)
        waiting.append(future)
        await future

    async def close() -> None:
        pass

    return commit, close


def grouped(line: Callable[[str], object]) -> Candidate:
    async def start(url: str) -> tuple[Commit, Callable[[], Awaitable[None]]]:
        writer = Writer(line(url), mark=rows.MARK, now=utc_now, released=lambda *_: None)

        async def commit(work: Work) -> None:
            await writer.submit(unit_of(work))

        return commit, writer.close

    return start


async def one_by_one(url: str) -> tuple[Commit, Callable[[], Awaitable[None]]]:
    """A transaction per message through aiosqlite: what the naive design costs."""
    line = AiosqliteLine(path_of(url))
    lock = asyncio.Lock()

    async def commit(work: Work) -> None:
        unit = unit_of(work)

        def build(stamp: datetime) -> list[tuple]:
            marks = [(rows.MARK, (*mark, 1, stamp)) for mark in unit.marks]
            return [(line.compiler(write).sql, [row]) for write, row in unit.ops + marks]

        async with lock:
            await line.write(build, now=utc_now(), stamped=True)

    return commit, line.close


async def the_store(url: str) -> tuple[Commit, Callable[[], Awaitable[None]]]:
    store = await open_store(url, vault_key=KEY)
    return store.commit, store.close


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def opened(url: str) -> SqliteLine:
    line = SqliteLine(path_of(url))
    line.open()
    return line


SQLITE: dict[str, Candidate] = {
    "no store": nothing,
    "aiosqlite, a transaction per message": one_by_one,
    "aiosqlite under SQLAlchemy, grouped": grouped(lambda url: AiosqliteLine(path_of(url))),
    "SQLAlchemy Core in a thread, grouped": grouped(lambda url: SyncCoreLine(path_of(url))),
    "sqlite3 in a thread, grouped": grouped(opened),
    "the store as it is (SQLite)": the_store,
}
POSTGRES: dict[str, Candidate] = {
    "asyncpg, grouped": grouped(PostgresLine),
    "the store as it is (PostgreSQL)": the_store,
}


async def measure(candidate: Candidate, url: str, *, stations: int, seconds: float) -> dict:
    commit, close = await candidate(url)
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def station(k: int) -> None:
        name = f"CP{k:05}"
        n = k
        while (began := time.perf_counter()) < end:
            await commit(work_of(name, n))
            latencies.append(time.perf_counter() - began)
            n += 1

    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*map(station, range(stations)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    await close()
    latencies.sort()
    count = len(latencies)
    return {
        "us_per_message": cpu / count * 1e6,
        "messages_per_s": count / wall,
        "p50_ms": latencies[count // 2] * 1e3,
        "p99_ms": latencies[int(count * 0.99)] * 1e3,
    }


def fdatasync_ms(folder: str, rounds: int = 300) -> tuple[float, float]:
    """Return p50 and p99 of a write and fdatasync of a page on this disk."""
    taken = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(rounds):
            began = time.perf_counter()
            os.write(file.fileno(), b"x" * 4096)
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - began) * 1e3)
    taken.sort()
    return taken[rounds // 2], taken[int(rounds * 0.99)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each candidate in a round")
    parser.add_argument("--stations", type=int, default=200)
    parser.add_argument("--postgres", help="address of an empty database that may be written to")
    parser.add_argument("--only", help="part of the candidates' names")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    candidates = [(name, candidate, None) for name, candidate in SQLITE.items()]
    if arguments.postgres:
        candidates += [(n, candidate, arguments.postgres) for n, candidate in POSTGRES.items()]
    if arguments.only:
        candidates = [c for c in candidates if c[0] == "no store" or arguments.only in c[0]]
    results: dict[str, list[dict]] = {name: [] for name, *_ in candidates}
    for _ in range(arguments.rounds):
        for name, candidate, url in candidates:
            with tempfile.TemporaryDirectory() as folder:
                address = url or f"sqlite:///{folder}/cpo.db"

                async def run(candidate: Candidate = candidate, address: str = address) -> dict:
                    await migrate.check(address)
                    return await measure(
                        candidate,
                        address,
                        stations=arguments.stations,
                        seconds=arguments.seconds,
                    )

                results[name].append(uvloop.run(run()))
    table = {
        name: {key: statistics.median(r[key] for r in found) for key in found[0]}
        for name, found in results.items()
    }
    own = table["no store"]["us_per_message"]
    for figures in table.values():
        figures["us_per_row"] = (figures["us_per_message"] - own) / ROWS_A_MESSAGE
    disk = fdatasync_ms(tempfile.gettempdir())
    if arguments.json:
        print(json.dumps({"candidates": table, "fdatasync_ms": disk}))
        return
    print(f"fdatasync of this disk: p50 {disk[0]:.2f} ms, p99 {disk[1]:.2f} ms")
    print(f"{'candidate':42}{'us/message':>11}{'us/row':>8}{'msg/s':>9}{'p50 ms':>8}{'p99 ms':>8}")
    for name, figures in table.items():
        print(
            f"{name:42}{figures['us_per_message']:11.1f}{figures['us_per_row']:8.1f}"
            f"{figures['messages_per_s']:9.0f}{figures['p50_ms']:8.1f}{figures['p99_ms']:8.1f}"
        )


if __name__ == "__main__":
    main()
