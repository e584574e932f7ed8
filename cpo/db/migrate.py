"""Brings a database to the schema of this version, and back (`cpo migrate`).

Each step runs in one transaction: a crash leaves the old schema or the new one.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine, event, exc, inspect, text

from cpo.db.address import Address
from cpo.errors import Misconfigured, StoreUnavailable

T = TypeVar("T")

# The newest migration; kept here so that a start needs no alembic. A test compares them.
HEAD = "0005"
MIGRATION_LOCK = 0x63706F  # "cpo", for PostgreSQL's advisory locks
PAGE_SIZE = 8192
_SCRIPTS = Path(__file__).parent / "migrations"


async def current(url: str) -> str | None:
    """Return the revision of a database, None when it is empty."""
    async with _connected(Address.of(url)) as run:
        revision: str | None = await run(_revision)
    return revision


async def status(url: str) -> dict[str, Any]:
    """Return the revision of the database, the newest one, and whether they are the same."""
    revision = await current(url)
    return {"revision": revision, "newest": HEAD, "up_to_date": revision == HEAD}


async def up(url: str, revision: str = "head") -> None:
    """Bring a database to a revision, by default the newest."""
    await _alembic(url, "upgrade", revision)


async def down(url: str, revision: str = "-1") -> None:
    """Take a database back, by default by one revision."""
    await _alembic(url, "downgrade", revision)


async def check(url: str) -> None:
    """Migrate an empty database; refuse one whose schema is not this version's."""
    revision = await current(url)
    if revision is None:
        await up(url)
        return
    if revision == HEAD:
        return
    if revision > HEAD:
        raise Misconfigured(
            "database.url",
            f"its schema {revision} is newer than {HEAD}, the newest that this version knows",
        )
    raise Misconfigured(
        "database.url", f"its schema is {revision}, this version needs {HEAD}: run `cpo migrate up`"
    )


async def _alembic(url: str, verb: str, revision: str) -> None:
    from alembic import command  # noqa: PLC0415 - only a migration pays for it
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))

    def run(connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            # Two nodes that start at once: the second finds the work done.
            connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
        config.attributes["connection"] = connection
        getattr(command, verb)(config, revision)

    async with _connected(Address.of(url)) as connected:
        await connected(run)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(
        text("SELECT version_num FROM alembic_version")
    ).scalar()
    return revision


@asynccontextmanager
async def _connected(address: Address) -> AsyncIterator[Callable[[Callable[[Connection], T]], Any]]:
    """Yield what runs a function in a transaction of its own."""
    if address.is_sqlite:
        engine = create_engine(f"sqlite:///{address.path}")
        event.listen(engine, "connect", _by_hand)
        event.listen(engine, "begin", _begin)

        def in_transaction(function: Callable[[Connection], T]) -> T:
            with engine.begin() as connection:
                return function(connection)

        try:
            yield lambda function: asyncio.to_thread(in_transaction, function)
        except (exc.DBAPIError, OSError) as error:
            raise StoreUnavailable(f"{address.path}: {error}") from error
        finally:
            engine.dispose()
        return
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 - not for SQLite

    server = create_async_engine(address.sqlalchemy)

    async def run(function: Callable[[Connection], T]) -> T:
        async with server.begin() as connection:
            return await connection.run_sync(function)

    try:
        yield run
    except (exc.DBAPIError, OSError, TimeoutError) as error:
        raise StoreUnavailable(str(error) or type(error).__name__) from error
    finally:
        await server.dispose()


def _by_hand(connection: Any, _: Any) -> None:
    # The driver's own way begins no transaction before DDL.
    connection.isolation_level = None
    # Counts only while the file is empty (decision 0037).
    connection.execute(f"PRAGMA page_size={PAGE_SIZE}")
    connection.execute("PRAGMA journal_mode=WAL").fetchone()
    connection.execute("PRAGMA synchronous=FULL")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
