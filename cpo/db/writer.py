"""The one group-commit writer (design D3): the same loop for SQLite and PostgreSQL.

Stations, partners and operators hand in units; the writer takes all that are ready, writes them
in one transaction, waits until it is on disk, then releases those who wait. While the disk
works, the next batch gathers by itself, so full durability costs no throughput.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec
import structlog

from cpo.db.statements import Compiler, Prepared, Row, Write
from cpo.errors import Conflict, CpoError, Invalid, StoreUnavailable

log = structlog.get_logger()

Group = tuple[str, list[list[Any]]]
Op = tuple[Write, Row]
MILLISECOND = timedelta(milliseconds=1)
# How long a batch gathers when one was written just before, in seconds; as often again as that
# brings enough units to be worth it: a batch costs what six of them do beside their rows.
LINGER = 0.002
MOST_LINGERS = 10
DENSE = 6
REST = 0.001
# A stamp further ahead of the clock than this comes from a clock that was set back: waiting for
# the clock would then stop the store, so stamps go on from where they were.
PATIENCE = timedelta(milliseconds=2)


class Rejected(Exception):
    """The database refused a statement for what it says, not for its own state.

    `taken` is set when a unique key was there already.
    """

    def __init__(self, detail: str, *, taken: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.taken = taken


class Line(Protocol):
    """The writer's connection to one kind of database."""

    compiler: Compiler

    async def write(
        self, build: Callable[[datetime], Sequence[Group]], *, now: datetime, stamped: bool
    ) -> datetime:
        """Run what `build` returns, in order, in one transaction; return once it is durable.

        Returns the commit's stamp, which `build` was given. A batch that is `stamped` gets one
        later than every stamp before, over the store's whole life and all its processes.

        Raises Rejected, or StoreUnavailable when the database did not take it.
        """
        ...

    async def close(self) -> None:
        """Let the connection go."""
        ...


class Unit(msgspec.Struct, eq=False):
    """What belongs together: kept whole or not at all.

    `marks` are (partner, kind, object); `committed` gets the stamp once the unit is on disk.
    """

    ops: list[Op]
    marks: list[tuple[str, str, str]] = []
    callbacks: Sequence[Callable[[datetime], object]] = ()
    committed: asyncio.Future[datetime] | None = None


class Plan:
    """The rows of a batch grouped by statement, so that each statement runs once.

    Statements on one row keep the order in which they were added; of different rows no order is
    promised, for they become visible at once.
    """

    def __init__(self, compiler: Compiler) -> None:
        self._compiler = compiler
        # The statements on one table share one list.
        self._ops: dict[Write, list[Op]] = {}
        self._tables: dict[str, tuple[list[Write], list[Op]]] = {}

    def add(self, ops: Iterable[Op]) -> None:
        """Add rows of statements."""
        known = self._ops
        for op in ops:
            found = known.get(op[0])
            if found is None:
                found = self._meet(op[0])
            found.append(op)

    def _meet(self, write: Write) -> list[Op]:
        writes, ops = self._tables.setdefault(write.table.name, ([], []))
        writes.append(write)
        self._ops[write] = ops
        return ops

    @property
    def stamped(self) -> bool:
        """Whether anything in it carries the commit's stamp."""
        return any(write.stamps for write in self._ops)

    def groups(self, stamp: datetime) -> list[Group]:
        """Return the groups in the order in which they must run.

        Raises ValueError, TypeError or OverflowError for what the database cannot keep.
        """
        compiler = self._compiler
        converted = compiler.stamp(stamp) if compiler.stamp else stamp
        groups: list[Group] = []
        for writes, ops in self._tables.values():
            if len(writes) == 1:
                prepared = compiler(writes[0])
                groups.append((prepared.sql, prepared.convert([op[1] for op in ops], converted)))
                continue
            table = _TablePlan()
            for write, row in ops:
                prepared = compiler(write)
                table.add(prepared, prepared.convert([row], converted)[0])
            groups += [(prepared.sql, rows) for prepared, rows in table.groups]
        return groups


class _TablePlan:
    def __init__(self) -> None:
        self.groups: list[tuple[Prepared, list[list[Any]]]] = []
        self._latest: dict[Row, int] | None = None
        self._floor = 0

    def add(self, prepared: Prepared, row: list[Any]) -> None:
        groups = self.groups
        if not groups:
            groups.append((prepared, [row]))
            return
        if len(groups) == 1 and groups[0][0] is prepared:
            groups[0][1].append(row)
            return
        latest = self._latest
        if latest is None:
            # Only now that a second statement meets the table must its rows be told apart.
            first, rows = groups[0]
            latest = self._latest = {_key_of(first, known): 0 for known in rows}
        if prepared.sweeping or groups[-1][0].sweeping:
            self._floor = len(groups) if groups[-1][0] is not prepared else len(groups) - 1
        key = _key_of(prepared, row)
        start = max(self._floor, latest.get(key, 0))
        for index in range(start, len(groups)):
            if groups[index][0] is prepared:
                groups[index][1].append(row)
                latest[key] = index
                return
        latest[key] = len(groups)
        groups.append((prepared, [row]))


def _key_of(prepared: Prepared, row: Sequence[Any]) -> Row:
    return tuple([row[position] for position in prepared.key])


class Writer:
    """Gathers units and writes them in batches, in the order in which they came.

    Args:
        line: the connection to the database.
        mark: the statement that sets a dirty mark; its row is (partner, kind, object,
            generation, since).
        now: the present time.
        released: told of each batch's marks after its commit, with the stamp.
    """

    def __init__(
        self,
        line: Line,
        *,
        mark: Write,
        now: Callable[[], datetime],
        released: Callable[[Sequence[tuple[str, str, str]], datetime], None],
    ) -> None:
        self._line = line
        self._mark = mark
        self._now = now
        self._released = released
        self._ready: list[Unit] = []
        self._wake = asyncio.Event()
        self._closing = False
        self.observed: Callable[[float, int], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._gather(), name="store writer")

    @property
    def waiting(self) -> int:
        """How many units have not been taken yet."""
        return len(self._ready)

    def submit(self, unit: Unit) -> asyncio.Future[datetime]:
        """Take a unit; the future gets the stamp of its commit, or the error."""
        future = unit.committed = self._loop.create_future()
        if self._closing:
            future.set_exception(StoreUnavailable("the store is closed"))
            return future
        self._ready.append(unit)
        self._wake.set()
        return future

    async def close(self) -> None:
        """Write what was handed in, then let the connection go."""
        self._closing = True
        self._wake.set()
        await self._task
        await self._line.close()

    async def _gather(self) -> None:
        written = -REST
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._ready:
                if self._loop.time() - written < REST:
                    # Under load a batch is worth waiting for: what it costs beside its rows is
                    # spent once. After a rest the first unit leaves at once.
                    await self._linger()
                batch = self._ready
                self._ready = []
                await self._write(batch)
                written = self._loop.time()
            if self._closing:
                return

    async def _linger(self) -> None:
        """Wait while units come thick and fast, but not for ever."""
        for _ in range(MOST_LINGERS):
            before = len(self._ready)
            await asyncio.sleep(LINGER)
            if len(self._ready) - before < DENSE:
                return

    async def _write(self, batch: list[Unit]) -> None:
        begun = self._loop.time()
        try:
            stamp = await self._commit(batch)
        except Rejected as rejected:
            if len(batch) == 1:
                _fail(batch[0], _error(rejected))
                return
            # Halving finds one bad unit among a thousand in some twenty commits, and the order
            # of the others is kept.
            middle = len(batch) // 2
            await self._write(batch[:middle])
            await self._write(batch[middle:])
        except CpoError as error:
            for unit in batch:
                _fail(unit, error)
        except Exception:
            # A mistake of ours must not leave every station waiting for ever.
            log.exception("store.batch_failed", units=len(batch))
            for unit in batch:
                _fail(unit, StoreUnavailable("the store failed; see the log"))
        else:
            if self.observed is not None:
                self.observed(self._loop.time() - begun, len(batch))
            self._release(batch, stamp)

    async def _commit(self, batch: Sequence[Unit]) -> datetime:
        plan = Plan(self._line.compiler)
        marks: dict[tuple[str, str, str], None] = {}
        for unit in batch:
            plan.add(unit.ops)
            for mark in unit.marks:
                marks[mark] = None

        def build(stamp: datetime) -> Sequence[Group]:
            setting = Plan(self._line.compiler)
            generation = generation_of(stamp)
            setting.add((self._mark, (*mark, generation, stamp)) for mark in marks)
            try:
                return plan.groups(stamp) + setting.groups(stamp)
            except (ValueError, TypeError, OverflowError) as error:
                raise Rejected(str(error)) from error

        return await self._line.write(build, now=self._now(), stamped=bool(marks) or plan.stamped)

    def _release(self, batch: Sequence[Unit], stamp: datetime) -> None:
        marks: dict[tuple[str, str, str], None] = {}
        for unit in batch:
            for callback in unit.callbacks:
                try:
                    callback(stamp)
                except Exception:
                    log.exception("store.callback_failed")
            for mark in unit.marks:
                marks[mark] = None
            if unit.committed is not None and not unit.committed.done():
                unit.committed.set_result(stamp)
        if marks:
            self._released(list(marks), stamp)


def generation_of(stamp: datetime) -> int:
    """Return the generation that a commit's marks get: unique over the store's whole life."""
    return round(stamp.timestamp() * 1000)


def following(last: datetime, now: datetime) -> datetime:
    """Return the stamp after `last`: now in whole milliseconds, or a millisecond later than last.

    Whole milliseconds, because that is what partners get to see.
    """
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    return max(now, last + MILLISECOND)


def wait_for_clock(stamp: datetime, now: datetime) -> float:
    """Return the seconds to wait so that stamps do not run ahead of the clock under load."""
    ahead = stamp - now
    return ahead.total_seconds() if timedelta(0) < ahead <= PATIENCE else 0.0


def _fail(unit: Unit, error: Exception) -> None:
    if unit.committed is not None and not unit.committed.done():
        unit.committed.set_exception(error)


def _error(rejected: Rejected) -> CpoError:
    if rejected.taken:
        return Conflict(rejected.detail)
    return Invalid("", f"cannot be stored: {rejected.detail}")
