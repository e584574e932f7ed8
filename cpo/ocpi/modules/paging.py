"""Pages of lists, from memory and from the store, in the order of (last_updated, id)."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cpo.ocpi.dialect import Rendered
from cpo.ocpi.envelope import Key, Paging, page_headers, read_cursor, write_cursor
from cpo.ocpi.exchange import LARGEST_PAGE, Call, Reply
from cpo.services.ports import TextPage
from cpo.services.recency import Recency


@dataclass(frozen=True, slots=True)
class Slice:
    """The ids of one page, how many match in all, and the cursor of the next page."""

    ids: Sequence[str]
    total: int
    cursor: str | None


def page_of(recency: Recency, paging: Paging, visible: Callable[[str], bool] | None) -> Slice:
    """Cut one page out of objects held in memory.

    A filter on `last_updated` includes its start and not its end (PAG-1).
    """
    order = recency.ordered()
    start = 0 if paging.since is None else bisect_left(order, (paging.since, ""))
    end = len(order) if paging.until is None else bisect_left(order, (paging.until, ""))
    matching = order[start:end] if visible is not None or start or end < len(order) else order
    if visible is not None:
        matching = [entry for entry in matching if visible(entry[1])]
    first = paging.offset
    if paging.cursor is not None:
        after = read_cursor(paging.cursor)
        first = bisect_right(matching, (after.last_updated, after.id))
    page = matching[first : first + paging.limit]
    more = first + len(page) < len(matching) and bool(page)
    return Slice(
        ids=[id_ for _, id_ in page],
        total=len(matching),
        cursor=write_cursor(Key(*page[-1])) if more else None,
    )


def page_reply(
    call: Call,
    paging: Paging,
    texts: Sequence[Rendered | None],
    *,
    sent: int,
    total: int,
    cursor: str | None,
) -> Reply:
    """Answer with a page; what must not be sent is left out, not sent wrong (promise 7)."""
    shown = b",".join([t.text for t in texts if t is not None and not t.problems])
    return _reply(call, paging, shown, sent=sent, total=total, cursor=cursor)


def texts_reply(call: Call, paging: Paging, page: TextPage) -> Reply:
    """Answer with a page of texts as the store keeps them."""
    return _reply(
        call, paging, page.joined, sent=page.count, total=page.total, cursor=page.next_cursor
    )


def _reply(
    call: Call, paging: Paging, shown: bytes, *, sent: int, total: int, cursor: str | None
) -> Reply:
    headers = page_headers(
        call.url, paging, total=total, largest=LARGEST_PAGE, sent=sent, cursor=cursor
    )
    return Reply(data=b"[%b]" % shown, headers=headers)
