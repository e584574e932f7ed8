"""Who is alive, and who leads: rows of PostgreSQL, over a connection of their own."""

import asyncio
import contextlib
from typing import Any

import asyncpg

from cpo.db.address import Address
from cpo.db.migrate import MIGRATION_LOCK
from cpo.errors import StoreUnavailable
from cpo.services.ports import Beats, Seat

CONNECT_TIMEOUT = 3.0
LEADER = "leader"

NODE_LOCK = 0x63706F02
# The lock a node holds goes with its connection, as soon as its process is gone.
LOOK = """
SELECT n.id, n.beat, (SELECT owner FROM leases WHERE name = $1) AS leader, EXISTS (
    SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND d.datname = current_database()
      AND l.classid::bigint = $2 AND l.objid::bigint = hashtext(n.id) & 4294967295) AS connected
FROM nodes n"""

# Only several nodes look for marks by their generation. Of two that start at once the second would
# fail without the lock: it looks whether the index is there before the first one's is seen.
MARKS_INDEX = f"""
SELECT pg_advisory_xact_lock({MIGRATION_LOCK});
CREATE INDEX IF NOT EXISTS ix_dirty_marks_generation ON dirty_marks (generation)"""

# A leader whose node is gone leads no more; of several that try, the row's lock lets one through.
LEAD = """
INSERT INTO leases (name, owner, until, epoch) VALUES ($1, $2, '9999-12-31 00:00:00+00', 1)
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, epoch = leases.epoch + 1
WHERE leases.owner = excluded.owner
   OR NOT EXISTS (SELECT 1 FROM nodes WHERE nodes.id = leases.owner)
RETURNING owner"""

# Stations that no living node answers for.
ADOPT = """
INSERT INTO station_owners (station, node, epoch, since, online)
SELECT identity, $1, 1, now(), '' FROM stations
ON CONFLICT (station) DO UPDATE
SET node = excluded.node, epoch = station_owners.epoch + 1, since = now(), online = ''
WHERE NOT EXISTS (SELECT 1 FROM nodes WHERE nodes.id = station_owners.node)
RETURNING station, epoch"""


class Members:
    """The nodes on one database."""

    def __init__(self, address: Address, *, patience: float) -> None:
        """Prepare; `patience` in seconds is how long a statement may take."""
        self._url = address.url
        self._patience = patience
        self._connection: Any = None
        self._joined: str | None = None
        self._lock = asyncio.Lock()

    async def join(self, node: str) -> None:
        """Become known as alive."""
        self._joined = node
        await self._run("execute", MARKS_INDEX)
        await self._run(
            "execute", "INSERT INTO nodes (id, beat, since) VALUES ($1, 0, now())", node
        )

    async def leave(self, node: str) -> None:
        """End being alive: what this node answered for is free at once."""
        await self._run("execute", "DELETE FROM nodes WHERE id = $1", node)

    async def beat(self, node: str) -> Beats:
        """Show that a node is alive; return everybody's beats, and who leads."""
        alive = await self._run(
            "fetchval", "UPDATE nodes SET beat = beat + 1 WHERE id = $1 RETURNING 1", node
        )
        found = await self._run("fetch", LOOK, LEADER, NODE_LOCK)
        return Beats(
            alive=alive is not None,
            beats={row["id"]: row["beat"] for row in found},
            leader=found[0]["leader"] if found else None,
            connected=frozenset(row["id"] for row in found if row["connected"]),
        )

    async def bury(self, node: str, beat: int) -> bool:
        """Give up a node that has not beaten since; False when it did."""
        found = await self._run(
            "fetchval", "DELETE FROM nodes WHERE id = $1 AND beat = $2 RETURNING 1", node, beat
        )
        return found is not None

    async def lead(self, node: str) -> bool:
        """Become the leader unless a living node is."""
        return await self._run("fetchval", LEAD, LEADER, node) is not None

    async def adopt(self, node: str) -> list[Seat]:
        """Answer for all stations that no living node answers for."""
        found = await self._run("fetch", ADOPT, node)
        return [Seat(row["station"], row["epoch"]) for row in found]

    async def forget_changes(self, seconds: float) -> None:
        """Forget which objects changed longer ago than every living node has read."""
        await self._run(
            "execute",
            "DELETE FROM changes WHERE last_updated < now() - make_interval(secs => $1)",
            seconds,
        )

    async def close(self) -> None:
        """Let the connection go."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError):
                await connection.close(timeout=CONNECT_TIMEOUT)

    async def _run(self, verb: str, statement: str, *values: Any) -> Any:
        async with self._lock:
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await asyncpg.connect(
                        self._url,
                        timeout=CONNECT_TIMEOUT,
                        command_timeout=max(self._patience, 1.0),
                        server_settings={"application_name": "cpo node", "jit": "off"},
                    )
                    if self._joined is not None:
                        await self._connection.execute(
                            "SELECT pg_advisory_lock_shared($1, hashtext($2))",
                            NODE_LOCK,
                            self._joined,
                        )
                return await getattr(self._connection, verb)(statement, *values)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if self._connection is not None:
                    self._connection.terminate()
                    self._connection = None
                raise StoreUnavailable(str(error) or type(error).__name__) from error
