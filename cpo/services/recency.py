"""Instants of change by id, and the ids in their order."""

from bisect import bisect_left, insort
from collections.abc import Iterator, MutableMapping, Sequence
from datetime import datetime


class Recency(MutableMapping[str, datetime]):
    """When each object last changed; `ordered` lists them by (instant, id).

    The order is brought up to date when it is asked for: a change costs no more than in a dict.
    `moves` counts the changes.
    """

    __slots__ = ("_changed", "_in_order", "_order", "_stamps", "moves")

    def __init__(self) -> None:
        self.moves = 0
        self._stamps: dict[str, datetime] = {}
        self._in_order: dict[str, datetime] = {}
        self._order: list[tuple[datetime, str]] = []
        self._changed: set[str] = set()

    def __getitem__(self, key: str) -> datetime:
        return self._stamps[key]

    def __setitem__(self, key: str, stamp: datetime) -> None:
        self._stamps[key] = stamp
        self._changed.add(key)
        self.moves += 1

    def __delitem__(self, key: str) -> None:
        del self._stamps[key]
        self._changed.add(key)
        self.moves += 1

    def __iter__(self) -> Iterator[str]:
        return iter(self._stamps)

    def __len__(self) -> int:
        return len(self._stamps)

    def __contains__(self, key: object) -> bool:
        return key in self._stamps

    def ordered(self) -> Sequence[tuple[datetime, str]]:
        """Return all of (instant, id), oldest first; not to be changed."""
        if not self._changed:
            return self._order
        if len(self._changed) * 8 > len(self._stamps):
            self._order = sorted((stamp, key) for key, stamp in self._stamps.items())
            self._in_order = dict(self._stamps)
        else:
            for key in self._changed:
                old, new = self._in_order.pop(key, None), self._stamps.get(key)
                if old is not None:
                    del self._order[bisect_left(self._order, (old, key))]
                if new is not None:
                    insort(self._order, (new, key))
                    self._in_order[key] = new
        self._changed.clear()
        return self._order
