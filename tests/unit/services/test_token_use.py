"""What is remembered of where and when tokens were used."""

from dataclasses import dataclass
from datetime import timedelta

from cpo.domain.values import replace
from cpo.services.ports import Page
from cpo.services.token_use import TokenUse
from tests.support import ocpi_charges


def used(number, uid, station):
    session = ocpi_charges.session(id=f"s{number}", station=station)
    return replace(
        session,
        start_date_time=session.start_date_time + timedelta(hours=number),
        token=uid and replace(session.token, uid=uid),
    )


@dataclass
class Stored:
    """Sessions, newest first, in pages; counts how many a page held at most."""

    sessions: list
    largest: int = 0

    async def page(self, kind, *, limit, cursor, newest_first):
        assert (kind, newest_first) == ("sessions", True)
        start = int(cursor or 0)
        items = [(session, None) for session in self.sessions[::-1][start : start + limit]]
        self.largest = max(self.largest, len(items))
        more = start + limit < len(self.sessions)
        return Page(items, len(self.sessions), str(start + limit) if more else None)


async def test_the_newest_sessions_tell_when_and_where_a_token_was_used():
    sessions = [
        used(0, "a", "ST-1"),
        used(1, "B", "ST-2"),
        used(2, "A", "ST-3"),
        used(3, None, "X"),
    ]
    use = TokenUse(Stored(sessions))
    await use.load()

    assert use.last("A") == sessions[2].start_date_time.timestamp()
    assert use.stations("a") == ("ST-1", "ST-3")
    assert use.last("b") == sessions[1].start_date_time.timestamp()
    assert (use.last("C"), use.stations("C")) == (0.0, ())


async def test_a_start_holds_no_more_than_a_page_of_sessions_and_5000_in_all():
    """A session is 25 kB in memory with its tariff and location; thousands were 120 MiB."""
    stored = Stored([used(number % 100, f"T{number}", "ST-1") for number in range(5200)])
    use = TokenUse(stored)
    await use.load()

    assert stored.largest == 100
    assert use.last("T5199") > 0
    assert use.last("T200") > 0
    assert use.last("T199") == 0.0
