"""Fixtures for all tests: databases, and servers that may be absent.

What needs a server is skipped with the reason when it is not reachable, and fails instead when
CPO_TEST_REQUIRE names it (`postgres`, `nats`, `browser`).
"""

import asyncio
import os
import socket
import uuid
from urllib.parse import urlsplit

import asyncpg
import pytest
from browser import CHROMIUM
from hypothesis import HealthCheck, settings

POSTGRES = os.environ.get("CPO_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")

# On a busy machine every example is slow: that is no finding.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


def absent(name: str, reason: str) -> None:
    """Skip a test whose server is not there, or fail it where the server is required."""
    if name in os.environ.get("CPO_TEST_REQUIRE", "").replace(" ", "").split(","):
        pytest.fail(f"{name} is required (CPO_TEST_REQUIRE) but {reason}")
    pytest.skip(f"{name} is absent: {reason}")


async def _server(statement: str, url: str) -> None:
    connection = await asyncpg.connect(url, timeout=30)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _run(statement: str, url: str = POSTGRES) -> None:
    with asyncio.Runner() as runner:
        runner.run(_server(statement, url))


@pytest.fixture(scope="session")
def postgres_problem():
    """Why PostgreSQL cannot be used, or None."""
    try:
        _run("SELECT 1")
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        return f"{POSTGRES.rsplit('@', 1)[-1]}: {error or type(error).__name__}"
    return None


def _database_url(name: str) -> str:
    return f"{POSTGRES.rsplit('/', 1)[0]}/{name}"


@pytest.fixture(scope="session")
def migrated_postgres(postgres_problem):
    """The address of a database with all tables, and the statements that empty them."""
    if postgres_problem:
        absent("postgres", postgres_problem)
    from cpo.db import migrate
    from cpo.db.tables import metadata

    name = f"cpo_test_{uuid.uuid4().hex[:12]}"
    _run(f"CREATE DATABASE {name}")
    with asyncio.Runner() as runner:
        runner.run(migrate.up(_database_url(name)))
    emptied = [f"DELETE FROM {table};" for table in metadata.tables if table != "instance"]
    yield _database_url(name), " ".join([*emptied, "UPDATE instance SET last_stamp = 'epoch'"])
    _run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_postgres_url(postgres_problem):
    """The address of a fresh PostgreSQL database without tables."""
    if postgres_problem:
        absent("postgres", postgres_problem)
    name = f"cpo_test_{uuid.uuid4().hex[:12]}"
    _run(f"CREATE DATABASE {name}")
    yield _database_url(name)
    _run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def module_postgres_url(postgres_problem):
    """The address of a PostgreSQL database without tables, for all tests of a module."""
    if postgres_problem:
        absent("postgres", postgres_problem)
    name = f"cpo_test_{uuid.uuid4().hex[:12]}"
    _run(f"CREATE DATABASE {name}")
    yield _database_url(name)
    _run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_url(migrated_postgres):
    """The address of a PostgreSQL database with all tables, empty."""
    url, emptying = migrated_postgres
    _run(emptying, url)
    return url


@pytest.fixture
def sqlite_url(tmp_path):
    """The address of a fresh SQLite database."""
    return f"sqlite:///{tmp_path / 'cpo.db'}"


DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=DATABASES)
def database_url(request):
    """The address of a fresh database, of each kind in turn."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
async def store(database_url):
    """An open store, on each kind of database in turn."""
    from cpo.db.store import open_store

    store = await open_store(database_url, vault_key=b"a key for tests")
    yield store
    await store.close()


NATS = os.environ.get("CPO_TEST_NATS", "nats://127.0.0.1:4222")


@pytest.fixture(scope="session")
def nats_url():
    """The address of a NATS server."""
    address = urlsplit(NATS)
    try:
        socket.create_connection((address.hostname, address.port or 4222), timeout=30).close()
    except OSError as error:
        absent("nats", f"{address.hostname}:{address.port or 4222}: {error}")
    return NATS


@pytest.fixture(scope="session")
def chromium():
    """The path of a Chromium."""
    if CHROMIUM is None:
        absent("browser", "no chromium is installed")
    return CHROMIUM
