"""What `cpo migrate`, `cpo backup` and `cpo restore` do: blocking, for the command line."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cpo.db import migrate
from cpo.db.address import Address
from cpo.db.columns import instant, microseconds
from cpo.db.writer import following
from cpo.errors import Conflict, Invalid, Misconfigured, NotFound, StoreUnavailable

LOCK_TIMEOUT = 5.0


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database to a revision, by default the newest."""
    asyncio.run(migrate.up(url, revision))


def downgrade(url: str, revision: str = "-1") -> None:
    """Take the database back, by default by one revision."""
    asyncio.run(migrate.down(url, revision))


def status(url: str) -> dict[str, Any]:
    """Return the database's revision, the newest, and whether they are the same."""
    return asyncio.run(migrate.status(url))


def backup(url: str, file: Path) -> None:
    """Write a consistent copy of the SQLite database; the server may run meanwhile.

    Everything that was answered before the backup began is in it. Raises Conflict when the file
    is there already, NotFound when there is no database, StoreUnavailable when it cannot be read
    or written.
    """
    path = _sqlite_path(url, "pg_dump")
    if not path.exists():
        raise NotFound("database", str(path))
    if file.exists():
        raise Conflict(f"{file} is there already")
    fresh = file.with_name(file.name + ".part")
    fresh.unlink(missing_ok=True)
    try:
        with contextlib.closing(_connect(path)) as connection:
            # The incremental copy of SQLite starts again at every foreign write and never ends
            # under load; VACUUM INTO reads one snapshot.
            connection.execute("VACUUM INTO ?", (str(fresh),))
        _check(fresh)
        _flush(fresh)
        fresh.replace(file)
        _flush(file.parent)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"the backup was not written: {error}") from error
    finally:
        fresh.unlink(missing_ok=True)


def restore(url: str, file: Path, *, overwrite: bool = False) -> None:
    """Put a backup in the place of the SQLite database; the server must not run.

    Session and CDR ids go on as they were, for the secret they are derived with is in the
    backup. Partners may know newer states than the backup does, so everything that can change
    is newer from now on, and due to every partner. What was there stays beside it as
    `<name>.before-restore`, unless `overwrite` says otherwise.

    Raises Invalid for a file that is no intact backup, Conflict when the server runs.
    """
    path = _sqlite_path(url, "pg_restore")
    if not file.is_file():
        raise NotFound("backup", str(file))
    fresh = path.with_name(path.name + ".restoring")
    try:
        shutil.copyfile(file, fresh)
        _check(fresh)
        _make_current(fresh)
        _flush(fresh)
        if path.exists():
            _take_down(path)
            if overwrite:
                path.unlink()
            else:
                path.replace(path.with_name(path.name + ".before-restore"))
        fresh.replace(path)
        _flush(path.parent)
    except OSError as error:
        raise StoreUnavailable(f"the backup was not restored: {error}") from error
    except sqlite3.DatabaseError as error:
        raise Invalid("file", f"{file} is not a backup of this program: {error}") from error
    finally:
        fresh.unlink(missing_ok=True)


def _sqlite_path(url: str, tool: str) -> Path:
    path = Address.of(url).path
    if path is None:
        raise Misconfigured("database.url", f"for PostgreSQL use {tool}; see docs/operations.md")
    return path


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, timeout=LOCK_TIMEOUT)


def _check(path: Path) -> None:
    """Raise Invalid or a database error for a file that is not intact, or not ours."""
    with contextlib.closing(_connect(path)) as connection:
        (answer,) = connection.execute("PRAGMA integrity_check").fetchone()
        if answer != "ok":
            raise Invalid("file", f"the copy is damaged: {answer}")
        (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        if revision > migrate.HEAD:
            raise Invalid("file", f"its schema {revision} is newer than {migrate.HEAD}")


def _make_current(path: Path) -> None:
    """Let everything that may have changed since the backup be told again, as newer."""
    now = datetime.now(UTC)
    with contextlib.closing(_connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        (last,) = connection.execute("SELECT last_stamp FROM instance").fetchone()
        stamp = following(instant(last), now)
        at, generation = microseconds(stamp), round(stamp.timestamp() * 1000)
        connection.execute("UPDATE instance SET last_stamp = ?, restored_at = ?", (at, at))
        for statement in _NEWER:
            connection.execute(statement, (at,))
        connection.execute(_DUE_AGAIN, {"generation": generation, "at": at})
        connection.execute("COMMIT")


_NEWER = (
    "UPDATE locations SET last_updated = ?",
    "UPDATE evse_states SET last_updated = ?",
    "UPDATE tariffs SET last_updated = ?",
    "UPDATE sessions SET last_updated = ? WHERE status NOT IN ('COMPLETED', 'INVALID')",
)
# A CDR that the backup knows to be confirmed stays so; the others go out (again).
_DUE_AGAIN = """
WITH connected AS (
    SELECT id FROM partners WHERE json_extract(body, '$.status') = 'connected'
), due AS (
    SELECT c.id AS partner_id, 'location' AS kind, l.id AS object_id
    FROM locations l, connected c
    UNION ALL SELECT c.id, 'tariff', t.id FROM tariffs t, connected c
    UNION ALL SELECT c.id, 'session', s.id FROM sessions s JOIN connected c ON c.id = s.partner_id
    WHERE s.status NOT IN ('COMPLETED', 'INVALID')
    UNION ALL SELECT c.id, 'cdr', r.id FROM cdrs r JOIN connected c ON c.id = r.partner_id
    WHERE NOT EXISTS (
        SELECT 1 FROM deliveries d
        WHERE d.partner_id = r.partner_id AND d.kind = 'cdr' AND d.object_id = r.id)
)
INSERT INTO dirty_marks (partner_id, kind, object_id, generation, since, attempts, parked)
SELECT partner_id, kind, object_id, :generation, :at, 0, 0 FROM due WHERE true
ON CONFLICT (partner_id, kind, object_id) DO UPDATE SET generation = excluded.generation"""


def _take_down(path: Path) -> None:
    """Check the write-ahead log in; Conflict when another process has the database open."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=1)) as connection:
        try:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE").fetchone()
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError as error:
            raise Conflict(f"{path} is in use: stop the server first") from error
        except sqlite3.DatabaseError:
            # What is to be replaced may be damaged beyond opening; that is why it is replaced.
            return
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Have a file's content, or a folder's entries, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
