"""Migrations, with data, on both databases."""

import asyncio
import contextlib
import sqlite3
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, event, text

from cpo.db import frame_log, migrate
from cpo.db.address import Address
from cpo.db.store import open_store
from cpo.db.tables import metadata
from cpo.domain.station import Station
from cpo.errors import Misconfigured
from cpo.services.ports import Kind, Work


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty_url(request):
    name = "sqlite_url" if request.param == "sqlite" else "empty_postgres_url"
    return request.getfixturevalue(name)


# Partial, or of an expression: what a database tells of them is not what was said.
PECULIAR_INDEXES = (
    "uq_transactions_given_key",
    "ix_transactions_open",
    "ix_commands_unfinished",
    "ix_cdrs_held",
    "ix_messages_block",
)


async def run(url, function):
    async with migrate._connected(Address.of(url)) as connected:
        return await connected(function)


def test_there_is_one_head_and_the_start_knows_it():
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))

    assert ScriptDirectory.from_config(config).get_heads() == [migrate.HEAD]


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
async def test_the_migrations_make_the_tables_that_the_code_names(empty_url):
    await migrate.up(empty_url)

    def named(name, kind, parents):
        return name not in PECULIAR_INDEXES

    def differences(connection):
        context = MigrationContext.configure(connection, opts={"include_name": named})
        return compare_metadata(context, metadata)

    assert await run(empty_url, differences) == []


async def test_looking_for_a_stations_frames_reads_nothing_but_the_index(sqlite_url):
    """A scan of millions of frames would go unnoticed by every other test."""
    await migrate.up(sqlite_url)
    plans = []

    def explain(connection, cursor, statement, parameters, context, many):
        raw = connection.connection.driver_connection
        plans.extend(row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))

    engine = create_engine(f"sqlite:///{Address.of(sqlite_url).path}")
    event.listen(engine, "before_cursor_execute", explain)
    sought = frame_log.Sought("CP1", since=datetime(2026, 1, 1, tzinfo=UTC))
    with engine.connect() as connection:
        frame_log._places(connection, sought, range(3))
        found, plans[:] = list(plans), []
        frame_log._bounds(connection, sought)
    engine.dispose()

    assert found == [
        "SEARCH messages USING COVERING INDEX ix_messages_block (<expr>=? AND station=? AND at>?)"
    ]
    # The first and the last row of the table, not all that are between.
    assert plans.count("SEARCH messages") == 2
    assert not [step for step in plans if step.startswith("SCAN messages")]


async def test_an_empty_database_migrates_itself(empty_url):
    assert (await migrate.status(empty_url))["revision"] is None
    store = await open_store(empty_url, vault_key=b"k")
    await store.close()

    assert await migrate.status(empty_url) == {
        "revision": migrate.HEAD,
        "newest": migrate.HEAD,
        "up_to_date": True,
    }


async def test_a_newer_schema_is_refused(empty_url):
    """1.8: an older program must not write to it."""
    await migrate.up(empty_url)
    await run(empty_url, lambda c: c.execute(text("UPDATE alembic_version SET version_num='9999'")))

    with pytest.raises(Misconfigured, match="newer"):
        await open_store(empty_url, vault_key=b"k")


async def test_an_older_schema_asks_for_the_migration(empty_url):
    await migrate.up(empty_url)
    await run(empty_url, lambda c: c.execute(text("UPDATE alembic_version SET version_num='0000'")))

    with pytest.raises(Misconfigured, match="cpo migrate up"):
        await open_store(empty_url, vault_key=b"k")


async def test_a_filled_database_goes_down_and_up_again(empty_url):
    store = await open_store(empty_url, vault_key=b"k")
    work = Work()
    work.put(Station(identity="CP1", last_seen_at=datetime(2026, 1, 1, tzinfo=UTC)))
    work.mark(["p1"], Kind.CDR, "c1")
    await store.commit(work)
    await store.close()

    await migrate.down(empty_url, "base")
    assert (await migrate.status(empty_url))["revision"] is None
    await migrate.up(empty_url)
    store = await open_store(empty_url, vault_key=b"k")
    assert await store.stations() == []
    await store.close()


OPEN = """
import asyncio, sys
from cpo.db.store import open_store

async def main():
    store = await open_store(sys.argv[1], vault_key=b"k")
    await store.ping()
    await store.close()

asyncio.run(main())
"""


async def test_two_processes_that_start_at_once_on_an_empty_database_both_succeed(empty_url):
    started = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", OPEN, empty_url, stderr=asyncio.subprocess.PIPE
        )
        for _ in range(2)
    ]
    errors = [(await process.communicate())[1] for process in started]

    assert [process.returncode for process in started] == [0, 0], errors


async def test_a_new_file_has_pages_of_8_kib_and_an_older_one_keeps_its_own(sqlite_url, tmp_path):
    """Decision 0037: whatever the pages of a file are, it is served and migrated."""
    older = tmp_path / "older.db"
    with contextlib.closing(sqlite3.connect(older)) as connection:
        connection.execute("PRAGMA page_size=4096")
        connection.execute("VACUUM")

    async def size(url):
        await migrate.up(url)
        return await run(url, lambda c: c.execute(text("PRAGMA page_size")).scalar())

    assert await size(sqlite_url) == 8192
    assert await size(f"sqlite:///{older}") == 4096
