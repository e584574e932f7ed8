"""The frame log, read newest first.

Its index is by block, station and time: a block is 1,024 rows as they were written. So the index
grows at its end, as the log does, and a batch touches one or two of its pages however many
stations are in it (docs/decisions/0036). A station's frames are looked up block by block.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, func, literal_column, select

from cpo.db import rows
from cpo.db.reads import Reads
from cpo.services.ports import Frame

FRAMES_A_READ = 500
BLOCK_BITS = 10
_FIRST_LOOK = 4
_LONGEST_LOOK = 256
# How far our clock may be set back, or those of several nodes differ, and all is still found.
_CLOCK_STEP = timedelta(hours=1)

Place = tuple[datetime, int]
"""When a frame happened, and its id."""

_TABLE = rows.MESSAGES.c
# As the index has it, so that the databases see that they can use it.
_BLOCK: ColumnElement[int] = _TABLE.id.bitwise_rshift(literal_column(str(BLOCK_BITS)))
# Each by itself: asked for both at once, SQLite goes through the whole table.
_ENDS = select(
    select(func.min(_TABLE.id)).scalar_subquery(), select(func.max(_TABLE.id)).scalar_subquery()
)
_FIRST_FROM = select(_TABLE.at).where(_TABLE.id >= bindparam("id")).order_by(_TABLE.id).limit(1)


@dataclass(frozen=True, slots=True)
class Sought:
    """Which frames are wanted; `since` and `until` are the first and last instant."""

    station: str
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def newest_first(reads: Reads, sought: Sought, limit: int | None) -> AsyncIterator[Frame]:
    """Return frames in the order in which they happened, newest first; `limit` None for all."""
    first, block = await reads.run(partial(_bounds, sought=sought))
    look = _FIRST_LOOK
    held: list[Place] = []
    left = limit
    while block >= first or held:
        lowest = max(first, block - look + 1)
        blocks = range(lowest, block + 1)
        found = await reads.run(partial(_places, sought=sought, blocks=blocks))
        block = lowest - 1
        if len(found) < FRAMES_A_READ:
            look = min(look * 2, _LONGEST_LOOK)
        elif len(found) > 4 * FRAMES_A_READ:
            look = max(look // 2, 1)
        # By time, not by id: frames that need not be durable at once are written a little later.
        # So those of one look are given out when the look before it in time has been taken.
        merged = sorted(held + found, reverse=True)
        ready, held = merged[: len(held)], merged[len(held) :]
        while ready and left != 0:
            size = FRAMES_A_READ if left is None or sought.action else min(left, FRAMES_A_READ)
            part, ready = ready[:size], ready[size:]
            for row in await reads.run(partial(_frames, sought=sought, places=part)):
                if left == 0:
                    return
                yield rows.frame(row)
                left = None if left is None else left - 1
        if left == 0:
            return


def _bounds(connection: Connection, sought: Sought) -> tuple[int, int]:
    """Return the oldest and the newest block to look at; where there is none, (0, -1)."""
    oldest, newest = connection.execute(_ENDS).one()
    if oldest is None:
        return 0, -1
    low, high = oldest, newest
    if sought.since is not None:
        low, _ = _around(connection, sought.since - _CLOCK_STEP, oldest, newest)
    if sought.until is not None:
        _, high = _around(connection, sought.until + _CLOCK_STEP, oldest, newest)
    return low >> BLOCK_BITS, high >> BLOCK_BITS


def _around(connection: Connection, instant: datetime, low: int, high: int) -> tuple[int, int]:
    """Return ids not a block apart, between which what was written at an instant stands."""
    while high - low >= 1 << BLOCK_BITS:
        middle = (low + high) // 2
        at = connection.execute(_FIRST_FROM, {"id": middle}).scalar_one()
        low, high = (middle, high) if at < instant else (low, middle)
    return low, high


def _places(connection: Connection, sought: Sought, blocks: Sequence[int]) -> list[Place]:
    """Return where a station's frames in some blocks stand, from the index alone."""
    if not blocks:
        return []
    statement = select(_TABLE.at, _TABLE.id).where(
        _BLOCK.in_(list(blocks)), _TABLE.station == sought.station
    )
    if sought.since is not None:
        statement = statement.where(_TABLE.at >= sought.since)
    if sought.until is not None:
        statement = statement.where(_TABLE.at <= sought.until)
    return [(at, id_) for at, id_ in connection.execute(statement)]


def _frames(connection: Connection, sought: Sought, places: Sequence[Place]) -> Sequence[Any]:
    """Return the rows of some frames, newest first."""
    statement = select(rows.MESSAGES).where(_TABLE.id.in_([id_ for _, id_ in places]))
    if sought.action is not None:
        statement = statement.where(_TABLE.action == sought.action)
    return connection.execute(statement.order_by(_TABLE.at.desc(), _TABLE.id.desc())).all()
