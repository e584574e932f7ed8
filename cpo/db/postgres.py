"""The writer's line to PostgreSQL: one asyncpg connection with prepared statements.

One connection is enough: several were measured to gain nothing under group commit
(docs/decisions/0002), and it keeps the order of commits. Several nodes on one database take
their stamps from one row, whose lock they hold until they have committed.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import structlog

from cpo.db.statements import Compiler
from cpo.db.writer import Group, Rejected, following, wait_for_clock
from cpo.errors import StoreUnavailable

log = structlog.get_logger()

CONNECT_TIMEOUT = 5.0
STATEMENT_TIMEOUT = 15.0
PAUSE_BETWEEN_CONNECTS = 0.2
ATTEMPTS_AT_DEADLOCK = 3
SERVER_LOCK = 0x63706F01
# The server may notice only after a moment that a process was killed.
PATIENCE_WITH_THE_DEAD = 2.0

NEXT_STAMP = """
UPDATE instance SET last_stamp = greatest(
    date_trunc('milliseconds', $1::timestamptz), last_stamp + interval '1 millisecond')
RETURNING last_stamp"""

# A node that the others gave up has no row: nothing of it is kept any more. The lock makes them
# wait, before they give it up, until what is being written is committed.
ALIVE = "SELECT 1 FROM nodes WHERE id = $1 FOR KEY SHARE"

# Classes of SQLSTATE that speak of the server's state, not of what it was given:
# connection, transaction rollback, resources, operator, system; and a standby after failover.
_SERVER = ("08", "25", "40", "53", "55", "57", "58", "F0", "XX")
# A unique key; and a station's fence, whose epoch is not the newest.
_TAKEN = ("23505", "23502")
_AGAIN = ("40001", "40P01")


class PostgresLine:
    """Runs batches on one connection, which it opens again when it was lost."""

    def __init__(self, url: str, *, alone: bool = False, node: str | None = None) -> None:
        self.compiler = Compiler("postgresql")
        self._url = url
        self._alone = alone
        self._node = node
        self._connection: Any = None
        self._prepared: dict[str, Any] = {}
        self._not_before = 0.0
        self._stamp: datetime | None = None

    async def open(self) -> None:
        """Connect and check that the server keeps what it confirms."""
        connection = await self._connected()
        if await connection.fetchval("SHOW fsync") != "on":
            log.warning("store.not_durable", setting="fsync", value="off")
        if await connection.fetchval("SHOW full_page_writes") != "on":
            log.warning("store.not_durable", setting="full_page_writes", value="off")

    async def write(
        self, build: Callable[[datetime], Sequence[Group]], *, now: datetime, stamped: bool
    ) -> datetime:
        """Run a batch; see Line."""
        for attempt in range(1, ATTEMPTS_AT_DEADLOCK + 1):
            connection = await self._connected()
            try:
                return await self._write(connection, build, now=now, stamped=stamped)
            except asyncpg.PostgresError as error:
                await self._roll_back(connection)
                state = error.sqlstate or ""
                if state in _AGAIN and attempt < ATTEMPTS_AT_DEADLOCK:
                    continue
                if not state.startswith(_SERVER):
                    raise Rejected(str(error), taken=state in _TAKEN) from error
                if connection.is_closed() or state.startswith(("08", "25", "57", "58")):
                    await self._disconnect()
                log.warning("store.write_failed", detail=str(error), code=state)
                raise StoreUnavailable(str(error)) from error
            except Rejected:
                await self._roll_back(connection)
                raise
            except (OSError, TimeoutError, asyncpg.InterfaceError) as error:
                if isinstance(error, asyncpg.DataError) and not connection.is_closed():
                    await self._roll_back(connection)
                    raise Rejected(str(error)) from error
                await self._disconnect()
                log.warning("store.write_failed", detail=str(error) or type(error).__name__)
                raise StoreUnavailable(str(error) or type(error).__name__) from error
        raise StoreUnavailable("the database kept finding deadlocks")

    async def close(self) -> None:
        """Let the connection go."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError):
                await connection.close(timeout=CONNECT_TIMEOUT)

    async def _write(
        self,
        connection: Any,
        build: Callable[[datetime], Sequence[Group]],
        *,
        now: datetime,
        stamped: bool,
    ) -> datetime:
        last = self._stamp
        if last is not None and stamped:
            pause = wait_for_clock(following(last, now), now)
            if pause:
                await asyncio.sleep(pause)
                now = now + timedelta(seconds=pause)
        await connection.execute("BEGIN")
        if self._node is not None and not await (await self._statement(connection, ALIVE)).fetchval(
            self._node
        ):
            await self._roll_back(connection)
            raise StoreUnavailable("the other nodes took this one for dead")
        if stamped:
            stamp: datetime = await (await self._statement(connection, NEXT_STAMP)).fetchval(now)
        else:
            stamp = now if last is None else following(last, now)
        for sql, rows in build(stamp):
            await (await self._statement(connection, sql)).executemany(rows)
        await connection.execute("COMMIT")
        self._stamp = stamp
        return stamp

    async def _statement(self, connection: Any, sql: str) -> Any:
        statement = self._prepared.get(sql)
        if statement is None:
            statement = self._prepared[sql] = await connection.prepare(sql)
        return statement

    async def _connected(self) -> Any:
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        if time.monotonic() < self._not_before:
            raise StoreUnavailable("the database cannot be reached")
        self._prepared = {}
        try:
            connection = await asyncpg.connect(
                self._url,
                timeout=CONNECT_TIMEOUT,
                command_timeout=STATEMENT_TIMEOUT,
                server_settings={"application_name": "cpo writer", "jit": "off"},
            )
            if await connection.fetchval("SHOW synchronous_commit") == "off":
                # The server's default would confirm what a power cut then takes back.
                log.warning("store.synchronous_commit_was_off")
                await connection.execute("SET synchronous_commit = on")
            if self._alone:
                await _hold(connection, "pg_try_advisory_lock")
            elif self._node is not None:
                await _hold(connection, "pg_try_advisory_lock_shared")
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._not_before = time.monotonic() + PAUSE_BETWEEN_CONNECTS
            raise StoreUnavailable(str(error) or type(error).__name__) from error
        self._connection = connection
        return connection

    async def _roll_back(self, connection: Any) -> None:
        try:
            if connection.is_in_transaction():
                await connection.execute("ROLLBACK")
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await self._disconnect()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


async def _hold(connection: Any, lock: str) -> None:
    """Be the only server on this database, or one of its nodes; it ends with the connection."""
    deadline = time.monotonic() + PATIENCE_WITH_THE_DEAD
    while not await connection.fetchval(f"SELECT {lock}($1)", SERVER_LOCK):
        if time.monotonic() >= deadline:
            connection.terminate()
            raise StoreUnavailable("another process serves this database")
        await asyncio.sleep(0.1)
