"""Where an object stands in a long list, without counting from its beginning (design D20).

OCPI's `offset` and `X-Total-Count` make a database walk over everything before the page: at the
end of a million rows 169 times the first page. A ladder keeps the key of every thousandth row, so
that no more than a rung's rows are walked over.
"""

import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, select, tuple_

from cpo.db.swift import Swift

RUNG = 1000
# Shorter lists are walked over: that is quicker than to keep a ladder right.
SHORT = 20_000
# A ladder of a list whose rows move is built anew when it was used for this many times as long
# as building takes: never more than a few percent of a reader's time.
PATIENCE = 20
AT_LEAST_S = 1.0

Key = tuple[Any, ...]
Values = Mapping[str, Any]


class Order:
    """What a list is ordered by, and the statements that count in it, built once.

    Args:
        columns: the last ones make the order unique.
        conditions: what belongs to the list; their parameters come with each call.
    """

    def __init__(
        self, columns: Sequence[ColumnElement[Any]], conditions: Sequence[ColumnElement[bool]]
    ) -> None:
        self.columns = columns
        self.conditions = conditions
        here = tuple_(*columns)
        counting = select(func.count()).select_from(columns[0].table).where(*conditions)
        first = columns[0]
        before = first < bindparam("b0", type_=first.type)
        self.count = counting
        self.count_after = counting.where(here > self.bound("a"))
        self.count_before = counting.where(before)
        self.count_between = self.count_after.where(before)
        # Only the keys are walked over: they are all in one index.
        self.next = select(*columns).where(*conditions).order_by(*columns).limit(1)
        self.next_after = self.next.where(here > self.bound("a"))
        self._steps: dict[int, tuple[Select[Any], Select[Any]]] = {}

    def steps(self, rung: int) -> tuple[Select[Any], Select[Any]]:
        """Return the statements that find the key of a rung, from the beginning and from a key."""
        if rung not in self._steps:
            self._steps[rung] = (self.next.offset(rung - 1), self.next_after.offset(rung - 1))
        return self._steps[rung]

    def bound(self, prefix: str) -> ColumnElement[Any]:
        """Return a key as parameters named after the prefix."""
        return tuple_(
            *(bindparam(f"{prefix}{n}", type_=c.type) for n, c in enumerate(self.columns))
        )


def key_values(prefix: str, key: Key) -> dict[str, Any]:
    """Return the parameters of a key."""
    return {f"{prefix}{n}": value for n, value in enumerate(key)}


class Ladder:
    """The keys of every thousandth row of one list, in the list's order.

    Args:
        order: the list's order.
        values: the parameters of the order's conditions.
        swift: runs the statements.
        rung: how many rows apart the keys are.
        short: up to how many rows no keys are kept.
    """

    def __init__(
        self,
        order: Order,
        values: Values,
        *,
        swift: Swift,
        rung: int = RUNG,
        short: int = SHORT,
    ) -> None:
        self._swift = swift
        self._rung, self._short = rung, short
        self._order = order
        self._values = dict(values)
        self._next, self._next_after = order.steps(rung)
        self._rungs: list[Key] = []
        self._built_at = 0.0
        self._took = 0.0
        self._building = False
        self._seen_moves = -1
        self._long = False

    def total(self, connection: Connection, moves: int) -> int:
        """Return how many rows there are; `moves` counts changes that may have moved rows."""
        if not self._long:
            count = self._number(connection, self._order.count)
            self._long = count > self._short
            return count
        if self._is_stale(moves):
            self._climb(connection, moves, anew=True)
        more = self._after_last_rung(connection)
        if more >= self._rung:
            self._climb(connection, moves, anew=False)
            more = self._after_last_rung(connection)
        return len(self._rungs) * self._rung + more

    def before(self, connection: Connection, at: Any) -> int:
        """Return how many rows stand before an instant."""
        if not self._long:
            return self._number(connection, self._order.count_before, b0=at)
        index = bisect_left(self._rungs, at, key=lambda rung: rung[0])
        if not index:
            return self._number(connection, self._order.count_before, b0=at)
        last = key_values("a", self._rungs[index - 1])
        return index * self._rung + self._number(
            connection, self._order.count_between, b0=at, **last
        )

    def start(self, position: int) -> tuple[Key | None, int]:
        """Return a key, and how many rows after it are to be skipped to stand at a position."""
        if not self._long or position < self._rung or not self._rungs:
            return None, position
        index = min(position // self._rung, len(self._rungs))
        return self._rungs[index - 1], position - index * self._rung

    def _after_last_rung(self, connection: Connection) -> int:
        if not self._rungs:
            return self._number(connection, self._order.count)
        last = key_values("a", self._rungs[-1])
        return self._number(connection, self._order.count_after, **last)

    def _is_stale(self, moves: int) -> bool:
        if moves == self._seen_moves:
            return False
        age = time.monotonic() - self._built_at
        return not self._rungs or age >= max(PATIENCE * self._took, AT_LEAST_S)

    def _climb(self, connection: Connection, moves: int, *, anew: bool) -> None:
        """Find the rungs that are missing, or all of them; another reader may be at it already."""
        if self._building:
            return
        self._building = True
        try:
            began = time.monotonic()
            rungs = [] if anew else list(self._rungs)
            while rung := self._next_rung(connection, rungs[-1] if rungs else None):
                rungs.append(rung)
            if anew:
                self._built_at = time.monotonic()
                self._took = self._built_at - began
                self._seen_moves = moves
            self._rungs = rungs
        finally:
            self._building = False

    def _next_rung(self, connection: Connection, last: Key | None) -> Key | None:
        if last is None:
            found = self._swift.rows(connection, self._next, self._values)
        else:
            values = self._values | key_values("a", last)
            found = self._swift.rows(connection, self._next_after, values)
        return tuple(found[0]) if found else None

    def _number(self, connection: Connection, counting: Select[Any], **values: Any) -> int:
        count: int = self._swift.rows(connection, counting, self._values | values)[0][0]
        return count
