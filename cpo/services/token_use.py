"""Where and when tokens were used lately, as sessions tell: what local lists and caches go by."""

from collections import OrderedDict
from datetime import datetime
from typing import Final

from cpo.domain.session import Session
from cpo.services.ports import Store

_READ: Final = 5_000
_PAGE: Final = 100
_KEPT: Final = 50_000
_STATIONS: Final = 50


class TokenUse:
    """Remembers the last use of each token and the stations it was used at; bounded."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last: OrderedDict[str, datetime] = OrderedDict()
        self._stations: dict[str, list[str]] = {}

    async def load(self) -> None:
        """Read the newest sessions."""
        # Sessions are large, with their tariff and location; what counts of them is not.
        found: list[tuple[str, datetime, str]] = []
        cursor, read = None, 0
        while read < _READ:
            page = await self._store.page("sessions", limit=_PAGE, cursor=cursor, newest_first=True)
            found += [use for session, _ in page.items if (use := _use(session)) is not None]
            cursor, read = page.next_cursor, read + len(page.items)
            if cursor is None:
                break
        for use in reversed(found):
            self._learn(*use)

    def session(self, session: Session) -> None:
        """Learn of a session in its newest form."""
        use = _use(session)
        if use is not None:
            self._learn(*use)

    def _learn(self, key: str, at: datetime, station: str) -> None:
        last = self._last.get(key)
        if last is None or at > last:
            self._last[key] = at
            self._last.move_to_end(key)
        stations = self._stations.setdefault(key, [])
        if station not in stations:
            stations.append(station)
            del stations[:-_STATIONS]
        if len(self._last) > _KEPT:
            oldest, _ = self._last.popitem(last=False)
            self._stations.pop(oldest, None)

    def last(self, uid: str) -> float:
        """Return when a token was used last, in seconds; 0 for never."""
        at = self._last.get(uid.upper())
        return at.timestamp() if at is not None else 0.0

    def stations(self, uid: str) -> tuple[str, ...]:
        """Return the stations a token was used at lately."""
        return tuple(self._stations.get(uid.upper(), ()))


def _use(session: Session) -> tuple[str, datetime, str] | None:
    """Return whose token began a session, when and where; None where no token is known."""
    if session.token is None:
        return None
    return session.token.uid.upper(), session.start_date_time, session.station
