"""The writer's line to SQLite: one connection in one thread of its own.

Measured against SQLAlchemy's async and sync engines (docs/decisions/0002): the standard library's
module fed with statements that Core compiled once costs a fraction of either. The connection
writes, and does the checkpoints: SQLite before 3.51.3 can corrupt its WAL when two do.
"""

import asyncio
import contextlib
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import structlog

from cpo.db.columns import instant, microseconds
from cpo.db.statements import Compiler
from cpo.db.writer import Group, Rejected, following, wait_for_clock
from cpo.errors import StoreUnavailable

log = structlog.get_logger()

SAFE_VERSION = (3, 51, 3)
LOCK_TIMEOUT = 5.0  # seconds that another process may hold the file
LARGEST_WAL = 64 * 1024 * 1024
PAGES_PER_CHECKPOINT = 1000


def connect(path: Path, lock_timeout: float = LOCK_TIMEOUT) -> sqlite3.Connection:
    """Open the writing connection with full durability."""
    connection = sqlite3.connect(
        path,
        isolation_level=None,
        check_same_thread=False,
        timeout=lock_timeout,
        cached_statements=512,
    )
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"wal_autocheckpoint={PAGES_PER_CHECKPOINT}",
        f"journal_size_limit={LARGEST_WAL}",
        "cache_size=-65536",
        "temp_store=MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchone()
    return connection


class SqliteLine:
    """Runs batches in a thread, so that the loop never waits for the disk."""

    def __init__(
        self, path: Path, *, lock_timeout: float = LOCK_TIMEOUT, alone: bool = False
    ) -> None:
        self._alone = alone
        self._held: int | None = None
        self.compiler = Compiler("sqlite")
        self._path = path
        self._lock_timeout = lock_timeout
        self._connection: sqlite3.Connection | None = None
        self._last: datetime | None = None
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[tuple[Sequence[Group], asyncio.Future[None]] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._work, name="sqlite writer", daemon=True)

    def open(self) -> None:
        """Connect, read the last stamp, and start the thread."""
        if self._alone:
            self._held = _hold(self._path)
        connection = self._connection = connect(self._path, self._lock_timeout)
        (last,) = connection.execute("SELECT last_stamp FROM instance").fetchone()
        self._last = instant(last)
        self._thread.start()

    async def write(
        self, build: Callable[[datetime], Sequence[Group]], *, now: datetime, stamped: bool
    ) -> datetime:
        """Run a batch; see Line."""
        assert self._last is not None  # noqa: S101 - open() came first
        stamp = following(self._last, now)
        groups = build(stamp)
        if stamped:
            pause = wait_for_clock(stamp, now)
            if pause:
                await asyncio.sleep(pause)
            # Kept with the batch, so that a restart with a clock set back goes on after it.
            groups = [*groups, (KEEP_STAMP, [[microseconds(stamp)]])]
            self._last = stamp
        if groups:
            done: asyncio.Future[None] = self._loop.create_future()
            self._jobs.put((groups, done))
            await done
        return stamp

    async def close(self) -> None:
        """Check the log in and close the connection."""
        self._jobs.put(None)
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def wal_bytes(self) -> int:
        """Return the size of the write-ahead log."""
        try:
            return os.stat(f"{self._path}-wal").st_size  # noqa: PTH116 - the name is not a suffix
        except OSError:
            return 0

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                self._disconnect()
                return
            groups, done = job
            error = self._run(groups)
            self._loop.call_soon_threadsafe(_settle, done, error)

    def _run(self, groups: Sequence[Group]) -> Exception | None:
        try:
            if self._connection is None:
                self._connection = connect(self._path, self._lock_timeout)
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            for sql, rows in groups:
                connection.executemany(sql, rows)
            connection.execute("COMMIT")
        except sqlite3.IntegrityError as error:
            self._roll_back()
            taken = error.sqlite_errorcode in _TAKEN
            return Rejected(str(error), taken=taken)
        except (sqlite3.DataError, OverflowError, UnicodeError) as error:
            self._roll_back()
            return Rejected(str(error))
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            self._roll_back()
            if code in (sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH) or (
                isinstance(error, sqlite3.ProgrammingError | sqlite3.InterfaceError) and not code
            ):
                return Rejected(str(error))
            if code not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL):
                # After a failed fsync the pages in memory may not be what is on disk.
                self._disconnect()
            log.warning("store.write_failed", detail=str(error), code=code)
            return StoreUnavailable(str(error))
        return None

    def _roll_back(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


def _hold(path: Path) -> int:
    """Be the only server on this file; the lock ends with the process, however it ends."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreUnavailable("another process serves this database") from error
    return descriptor


KEEP_STAMP = "UPDATE instance SET last_stamp = ?"
# The last one is a station's fence: its epoch is not the newest.
_TAKEN = (
    sqlite3.SQLITE_CONSTRAINT_UNIQUE,
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
    sqlite3.SQLITE_CONSTRAINT_ROWID,
    sqlite3.SQLITE_CONSTRAINT_NOTNULL,
)


def _settle(done: asyncio.Future[None], error: Exception | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
