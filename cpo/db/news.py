"""What other nodes wrote: read by commit stamp, so that nothing is missed and nothing read twice.

Stamps rise in commit order over all nodes (docs/decisions/0001): once a stamp is seen in the
instance's row, everything with an older one is visible.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, select

from cpo.db import rows
from cpo.db.reads import Reads
from cpo.db.sealing import Seal
from cpo.db.tables import metadata
from cpo.db.writer import generation_of
from cpo.domain.location import Location
from cpo.domain.partner import Partner
from cpo.domain.session import Session
from cpo.domain.tariff import Tariff
from cpo.domain.transaction import Transaction
from cpo.services.ports import DirtyMark, EvseState, News, Seat, StationPart

INSTANCE = metadata.tables["instance"]
CHANGES = metadata.tables["changes"]
_TX = rows.TRANSACTIONS.c
_OPEN = rows.with_snapshot(rows.TRANSACTIONS).where(_TX.phase != "ended")


class Newsroom:
    """Reads what changed, and the newest form of what nodes keep in memory."""

    def __init__(
        self,
        reads: Reads,
        seal: Seal,
        transactions: Callable[[Select[Any]], Awaitable[list[Transaction]]],
    ) -> None:
        self._reads = reads
        self._seal = seal
        self._transactions = transactions

    async def stamp(self) -> datetime:
        """Return the newest stamp: everything up to it is visible."""
        found: datetime = await self._reads.run(
            lambda c: c.execute(select(INSTANCE.c.last_stamp)).scalar_one()
        )
        return found

    async def since(self, seen: datetime, *, marks: bool) -> News:
        """Return what was committed after a stamp, by any node."""

        def read(connection: Connection) -> News:
            newest = connection.execute(select(INSTANCE.c.last_stamp)).scalar_one()
            if newest <= seen:
                return News(seen, (), ())
            changed = connection.execute(
                select(CHANGES.c.kind, CHANGES.c.key)
                .where(CHANGES.c.last_updated > seen, CHANGES.c.last_updated <= newest)
                .order_by(CHANGES.c.last_updated)
            ).all()
            found: list[DirtyMark] = []
            if marks:
                newer = select(rows.MARKS).where(
                    rows.MARKS.c.generation > generation_of(seen),
                    rows.MARKS.c.generation <= generation_of(newest),
                )
                found = [
                    rows.dirty_mark(row)
                    for row in connection.execute(newer.order_by(rows.MARKS.c.generation)).all()
                ]
            return News(newest, tuple((row.kind, row.key) for row in changed), tuple(found))

        return await self._reads.run(read)

    async def stations(
        self, identities: Sequence[str], *, readings: bool
    ) -> dict[str, StationPart]:
        """Return stations as they are stored, with who answers for them; absent ones are left out.

        Their transactions carry readings only where those are wanted.
        """
        names = list(identities)

        def read(connection: Connection) -> dict[str, StationPart]:
            def all_of(table: Any, column: Any) -> Sequence[Any]:
                return connection.execute(select(table).where(column.in_(names))).all()

            owners = {row.station: row for row in all_of(rows.OWNERS, rows.OWNERS.c.station)}
            found = {}
            for row in all_of(rows.STATIONS, rows.STATIONS.c.identity):
                owner = owners.get(row.identity)
                found[row.identity] = StationPart(
                    record=rows.station(row),
                    node=owner.node if owner is not None else "",
                    seat=Seat(row.identity, owner.epoch) if owner is not None else None,
                    online=owner.online if owner is not None else "",
                )
            connectors = rows.CONNECTOR_STATES
            for row in all_of(connectors, connectors.c.station):
                if row.station in found:
                    found[row.station].connectors.append(rows.connector_state(row))
            if not readings:
                for row in connection.execute(_OPEN.where(_TX.station.in_(names))).all():
                    if row.station in found:
                        found[row.station].transactions.append(rows.transaction(row, ()))
            return found

        found = await self._reads.run(read)
        if readings:
            for transaction in await self._transactions(_OPEN.where(_TX.station.in_(names))):
                if transaction.station in found:
                    found[transaction.station].transactions.append(transaction)
        return found

    async def locations(
        self, ids: Sequence[str]
    ) -> tuple[list[tuple[Location, datetime]], list[EvseState]]:
        """Return locations with their last_updated, and the published statuses of their EVSEs."""

        def read(
            connection: Connection,
        ) -> tuple[list[tuple[Location, datetime]], list[EvseState]]:
            # Statuses first: the location's stamp is then not older than what it carries.
            statuses = connection.execute(
                select(rows.EVSE_STATES).where(rows.EVSE_STATES.c.location_id.in_(list(ids)))
            ).all()
            found = connection.execute(
                select(rows.LOCATIONS).where(rows.LOCATIONS.c.id.in_(list(ids)))
            ).all()
            return [rows.location(r) for r in found], [rows.evse_state(r) for r in statuses]

        return await self._reads.run(read)

    async def tariffs(self, ids: Sequence[str]) -> list[tuple[Tariff, datetime]]:
        """Return tariffs with their last_updated."""
        wanted = select(rows.TARIFFS).where(rows.TARIFFS.c.id.in_(list(ids)))
        found = await self._reads.run(lambda c: c.execute(wanted).all())
        return [rows.tariff(row) for row in found]

    async def partners(self, ids: Sequence[str]) -> list[Partner]:
        """Return partners."""
        wanted = select(rows.PARTNERS).where(rows.PARTNERS.c.id.in_(list(ids)))
        found = await self._reads.run(lambda c: c.execute(wanted).all())
        return [rows.partner(row, self._seal) for row in found]

    async def sessions(self, ids: Sequence[str]) -> list[Session]:
        """Return sessions."""
        wanted = rows.with_snapshot(rows.SESSIONS).where(rows.SESSIONS.c.id.in_(list(ids)))
        found = await self._reads.run(lambda c: c.execute(wanted).all())
        return [rows.session(row) for row in found]
