"""Pages of what is held in memory."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpo.errors import Invalid
from cpo.ocpi.envelope import Paging
from cpo.ocpi.modules.paging import page_of
from cpo.services.recency import Recency

START = datetime(2026, 1, 1, tzinfo=UTC)


def recency(count):
    held = Recency()
    for n in range(count):
        held[f"L{n:03d}"] = START + timedelta(minutes=n)
    return held


def ids(*numbers):
    return [f"L{n:03d}" for n in numbers]


def test_PAG_1_offset_and_limit_cut_a_page():
    page = page_of(recency(10), Paging(offset=3, limit=2), None)

    assert (list(page.ids), page.total, page.cursor is None) == (ids(3, 4), 10, False)


def test_PAG_2_the_last_page_has_no_cursor():
    assert page_of(recency(10), Paging(offset=8, limit=2), None).cursor is None
    assert page_of(recency(10), Paging(offset=50, limit=2), None).cursor is None


def test_PAG_1_the_filter_includes_its_start_and_not_its_end():
    paging = Paging(since=START + timedelta(minutes=2), until=START + timedelta(minutes=5))

    page = page_of(recency(10), paging, None)

    assert (list(page.ids), page.total) == (ids(2, 3, 4), 3)


def test_PAG_2_the_total_counts_only_what_the_partner_sees():
    page = page_of(recency(10), Paging(limit=2), lambda id_: id_ in ids(1, 3, 5))

    assert (list(page.ids), page.total) == (ids(1, 3), 3)


def test_the_cursor_wins_over_the_offset():
    held = recency(10)
    first = page_of(held, Paging(limit=4), None)

    assert list(page_of(held, Paging(limit=4, offset=1, cursor=first.cursor), None).ids) == ids(
        4, 5, 6, 7
    )


def test_a_broken_cursor_is_named():
    with pytest.raises(Invalid) as caught:
        page_of(recency(3), Paging(cursor="nonsense"), None)

    assert caught.value.field == "cursor"


@given(
    st.integers(1, 30),
    st.integers(1, 7),
    st.lists(st.tuples(st.integers(0, 10), st.integers(0, 29)), max_size=20),
)
def test_I9_whatever_changes_while_it_is_walked_nothing_is_missed(count, limit, changes):
    held = recency(count)
    clock = START + timedelta(days=1)
    seen, cursor, step = {}, None, 0
    while True:
        page = page_of(held, Paging(limit=limit, cursor=cursor), None)
        seen |= {id_: held[id_] for id_ in page.ids}
        cursor = page.cursor
        if cursor is None:
            break
        for at, number in changes:
            if at == step and f"L{number:03d}" in held:
                clock += timedelta(seconds=1)
                held[f"L{number:03d}"] = clock
        step += 1

    assert seen == dict(held)
