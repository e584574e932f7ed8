"""Reading: connections of their own, so that no reader waits for the writer or holds it up."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, QueuePool, create_engine, exc

from cpo.db.address import Address
from cpo.errors import StoreUnavailable

T = TypeVar("T")
READERS = 4
LOCK_TIMEOUT = 5.0


class Reads(Protocol):
    """Runs functions that read."""

    async def run(self, function: Callable[[Connection], T]) -> T:
        """Run a function with a connection; StoreUnavailable when the database does not answer."""
        ...

    async def close(self) -> None:
        """Let all connections go."""
        ...


def reads_of(address: Address) -> Reads:
    """Return the reading side of a database."""
    return SqliteReads(address.path) if address.path else PostgresReads(address)


class SqliteReads:
    """A few threads with a connection each; none of them ever writes or checkpoints."""

    def __init__(self, path: Path) -> None:
        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=LOCK_TIMEOUT
            )
            connection.execute("PRAGMA query_only=ON")
            connection.execute("PRAGMA cache_size=-4096")
            return connection

        self._engine: Engine = create_engine(
            "sqlite://",
            creator=connect,
            poolclass=QueuePool,
            pool_size=READERS,
            max_overflow=0,
            pool_reset_on_return=None,
            execution_options={"isolation_level": "AUTOCOMMIT"},
        )
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="sqlite reader")
        # Each thread keeps its connection: taking one from the pool costs as much as a short read.
        self._own = threading.local()
        self._kept: set[Connection] = set()

    async def run(self, function: Callable[[Connection], T]) -> T:
        """Run a function in a reader's thread."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, self._in_thread, function)
        except (exc.DBAPIError, sqlite3.Error) as error:
            raise StoreUnavailable(_detail(error)) from error

    def _in_thread(self, function: Callable[[Connection], T]) -> T:
        connection: Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = self._engine.connect()
            self._kept.add(connection)
        try:
            return function(connection)
        except (exc.DBAPIError, sqlite3.Error):
            # Whatever is wrong with it, the next one is fresh.
            self._own.connection = None
            self._kept.discard(connection)
            connection.invalidate()
            connection.close()
            raise

    async def close(self) -> None:
        """Let all connections go."""
        await asyncio.to_thread(self._threads.shutdown)
        for connection in self._kept:
            connection.close()
        self._kept.clear()
        self._engine.dispose()


class PostgresReads:
    """A pool of connections without transactions around single reads."""

    def __init__(self, address: Address) -> None:
        from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 - not for SQLite

        self._engine = create_async_engine(
            address.sqlalchemy,
            pool_size=READERS,
            max_overflow=READERS,
            pool_timeout=10,
            pool_pre_ping=False,
            isolation_level="AUTOCOMMIT",
            connect_args={
                "timeout": LOCK_TIMEOUT,
                "command_timeout": 30,
                "server_settings": {"application_name": "cpo reader", "jit": "off"},
            },
        )

    async def run(self, function: Callable[[Connection], T]) -> T:
        """Run a function with a connection of the pool."""
        for attempt in (1, 2):
            try:
                async with self._engine.connect() as connection:
                    return await connection.run_sync(function)
            except exc.DBAPIError as error:
                # A server that was restarted leaves dead connections; the next one is fresh.
                if error.connection_invalidated and attempt == 1:
                    continue
                raise StoreUnavailable(_detail(error)) from error
            except (exc.SQLAlchemyError, OSError, TimeoutError) as error:
                raise StoreUnavailable(_detail(error)) from error
        raise StoreUnavailable("the database does not answer")

    async def close(self) -> None:
        """Let all connections go."""
        await self._engine.dispose()


def _detail(error: Any) -> str:
    return str(getattr(error, "orig", None) or error) or type(error).__name__
