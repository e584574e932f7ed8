"""Long lists: any page by key or by offset, with its total, and texts that are rendered once."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from waiting import looked

from cpo.db.pages import Pages
from cpo.errors import Invalid
from cpo.services.ports import Kind, Listed, Work
from tests.support.stored_objects import cdr, work
from tests.support.stored_objects import token as a_token

RUNG = 3


def token(n, partner="p1"):
    return a_token(f"{n:04}", partner_id=partner)


async def put(store, *tokens):
    work = Work()
    for found in tokens:
        work.put(found)
    return await store.commit(work)


@pytest.fixture
async def long_list(store):
    """Seventeen tokens in commits of one to three, in a store whose ladder has short rungs."""
    store._pages = Pages(rung=RUNG, short=5)
    stamps, n = [], 0
    while n < 17:
        size = min(1 + n % 3, 17 - n)
        stamps += [await put(store, *(token(n + k) for k in range(size)))] * size
        n += size
    await put(store, *(token(100 + k, "p2") for k in range(4)))
    store.stamps = stamps
    return store


async def uids(store, **query):
    page = await store.page("tokens", **query)
    return [found.uid for found, _ in page.items], page.total


async def test_every_offset_leads_to_its_row(long_list):
    """PAG: an offset computed by the partner."""
    names = [f"{n:04}" for n in range(17)]
    for offset in range(20):
        expected = names[offset : offset + 4]
        assert await uids(long_list, limit=4, offset=offset, partner_id="p1") == (expected, 17)


async def test_offsets_and_totals_count_from_date_from_to_date_to(long_list):
    names = [f"{n:04}" for n in range(17)]
    stamps = long_list.stamps
    for first in range(0, 17, 2):
        for last in range(0, 17, 3):
            since, until = stamps[first], stamps[last]
            inside = [n for n, at in zip(names, stamps, strict=True) if since <= at < until]
            for offset in (0, 1, 4):
                found = await uids(
                    long_list,
                    limit=3,
                    offset=offset,
                    partner_id="p1",
                    date_from=since,
                    date_to=until,
                )
                assert found == (inside[offset : offset + 3], len(inside))


async def test_a_list_that_grows_is_right_at_once(long_list):
    assert (await uids(long_list, limit=1, partner_id="p1"))[1] == 17
    for n in range(17, 30):
        await put(long_list, token(n))
        assert await uids(long_list, limit=2, offset=n, partner_id="p1") == ([f"{n:04}"], n + 1)


async def test_a_list_whose_rows_moved_is_right_again_soon(long_list):
    assert (await uids(long_list, limit=1, partner_id="p1"))[1] == 17
    await put(long_list, *(token(n) for n in range(0, 17, 2)))

    async def page():
        return await uids(long_list, limit=3, offset=8, partner_id="p1")

    await looked(page, lambda found: found == (["0000", "0002", "0004"], 17))


async def test_going_by_cursor_gives_every_row_once(long_list):
    seen, cursor = [], None
    while True:
        page = await long_list.page("tokens", limit=4, cursor=cursor)
        seen += [found.uid for found, _ in page.items]
        assert page.total == 21
        cursor = page.next_cursor
        if cursor is None:
            break

    assert seen == [f"{n:04}" for n in range(17)] + [f"{100 + n:04}" for n in range(4)]


async def test_a_partner_that_polls_misses_nothing_while_objects_change(store):
    """I9: a mirror fed by date_from = the newest last_updated seen equals the whole list."""
    mirror, newest, stop = {}, datetime(2000, 1, 1, tzinfo=UTC), False

    async def poll():
        nonlocal newest
        cursor = None
        since = newest
        while True:
            page = await store.page("tokens", limit=7, date_from=since, cursor=cursor)
            for found, at in page.items:
                mirror[found.uid] = found
                newest = max(newest, at)
            cursor = page.next_cursor
            if cursor is None:
                return

    async def write(k):
        for n in range(25):
            await put(store, replace(token(k * 10 + n % 10), issuer=f"{k}-{n}"))

    async def poller():
        while not stop:
            await poll()
            await asyncio.sleep(0)

    polling = asyncio.create_task(poller())
    await asyncio.gather(*(write(k) for k in range(4)))
    stop = True
    await polling
    await poll()
    page = await store.page("tokens", limit=100)

    assert len(page.items) == 40
    assert mirror == {found.uid: found for found, _ in page.items}


# --- texts ------------------------------------------------------------------------------------


class Renderer:
    def __init__(self):
        self.rendered = []

    def __call__(self, value):
        self.rendered.append(value.id)
        return "" if value.id == "hidden" else f"<{value.id} {value.last_updated.isoformat()}>"


@pytest.fixture
async def cdrs(store):
    """A store with three CDRs of three commits."""
    store.stamps = [await store.commit(work(add=[cdr(name)])) for name in ("a", "b", "hidden")]
    return store


async def test_a_text_is_rendered_once_and_kept(cdrs):
    """D20."""
    render = Renderer()
    first = await cdrs.page_texts("cdrs", "2.2.1", render, limit=2)
    rest = await cdrs.page_texts("cdrs", "2.2.1", render, limit=2, cursor=first.next_cursor)
    await cdrs.ping()
    again = await cdrs.page_texts("cdrs", "2.2.1", render, limit=9)

    shown = f"<a {cdrs.stamps[0].isoformat()}>,<b {cdrs.stamps[1].isoformat()}>".encode()
    assert (first.joined, first.count, first.total) == (shown, 2, 3)
    assert (rest.joined, rest.count, rest.total, rest.next_cursor) == (b"", 1, 3, None)
    assert (again.joined, again.count, again.total, again.next_cursor) == (shown, 3, 3, None)
    assert sorted(render.rendered) == ["a", "b", "hidden"]


@pytest.mark.parametrize("short", [5, 1000])
async def test_a_total_counts_what_a_list_shows_and_offsets_do_too(store, short):
    """PAG-2: held CDRs stand in no list, credit CDRs in none of OCPI 2.1.1; with ladder and without."""
    store._pages = Pages(rung=RUNG, short=short)
    kinds = [
        {"hold": ("suppressed_by_policy",)} if n % 5 == 1 else {"hold": ("too_long",)} if n % 7 == 2
        else {"credit": True} if n % 4 == 3 else {}
        for n in range(40)
    ]  # fmt: skip
    for n, kind in enumerate(kinds):
        await store.commit(work(add=[replace(cdr(f"{n:02}"), partner_id="p1", **kind)]))

    for listed, hidden in ((Listed.LATER, {"hold"}), (Listed.ALWAYS, {"hold", "credit"})):
        shown = [f"<{n:02}>" for n, kind in enumerate(kinds) if not hidden & kind.keys()]
        for offset in range(0, len(shown) + 2, 3):
            page = await store.page_texts(
                "cdrs", f"form {listed}", lambda c: f"<{c.id}>", limit=4, offset=offset,
                partner_id="p1", listed=listed,
            )  # fmt: skip
            assert page.joined == ",".join(shown[offset : offset + 4]).encode()
            assert (page.count, page.total) == (len(shown[offset : offset + 4]), len(shown))

    released = Work()
    released.put(replace(cdr("01"), partner_id="p1"))
    await store.commit(released)
    page = await store.page_texts("cdrs", "form 1", lambda c: f"<{c.id}>", limit=99,
                                  partner_id="p1", listed=Listed.ALWAYS)  # fmt: skip
    assert page.joined.endswith(b",<01>")
    assert (page.total, page.count) == (len(shown) + 1, len(shown) + 1)


async def test_kept_texts_come_in_the_order_of_the_list_page_by_page(store):
    """PAG: commits of several objects, so that an instant is shared and the id decides."""
    store._pages = Pages(rung=RUNG, short=5)
    names = [f"{n:02}" for n in range(12)]
    for start in range(0, 12, 3):
        await store.commit(work(add=[cdr(name) for name in reversed(names[start : start + 3])]))

    async def page(**query):
        return await store.page_texts("cdrs", "2.2.1", lambda found: found.id, **query)

    await page(limit=50)
    await store.ping()
    for limit in (1, 2, 5, 12, 13):
        seen, cursor = [], None
        while True:
            found = await page(limit=limit, cursor=cursor)
            assert (found.total, found.count) == (12, len(found.joined.split(b",")))
            seen += found.joined.decode().split(",")
            cursor = found.next_cursor
            if cursor is None:
                break
        assert seen == names
    for offset in range(14):
        found = await page(limit=4, offset=offset)
        assert found.joined == ",".join(names[offset : offset + 4]).encode()
        assert (found.count, found.total) == (len(names[offset : offset + 4]), 12)
        assert (found.next_cursor is None) == (offset + 4 >= 12)


async def test_texts_of_another_form_are_their_own(cdrs):
    render = Renderer()
    await cdrs.page_texts("cdrs", "2.2.1", render, limit=1)
    await cdrs.ping()
    await cdrs.page_texts("cdrs", "2.1.1", render, limit=1)

    assert render.rendered == ["a", "a"]


async def test_a_text_of_an_object_that_changed_is_rendered_again(cdrs):
    render = Renderer()
    await cdrs.page_texts("cdrs", "2.2.1", render, limit=9)
    await cdrs.ping()
    touched = Work()
    touched.touch(Kind.CDR, "a")
    stamp = await cdrs.commit(touched)
    page = await cdrs.page_texts("cdrs", "2.2.1", render, limit=9)

    assert page.joined.endswith(f",<a {stamp.isoformat()}>".encode())
    assert sorted(render.rendered) == ["a", "a", "b", "hidden"]


async def test_kinds_without_an_id_of_one_part_have_no_texts(store):
    with pytest.raises(Invalid):
        await store.page_texts("tokens", "2.2.1", str, limit=1)
