"""CDRs, sender interface: the list of the partner's own CDRs."""

from collections.abc import Mapping

from cpo.ocpi.exchange import Call, Reply, Route
from cpo.ocpi.modules.paging import texts_reply
from cpo.ocpi.shelf import Shelf
from cpo.services.ports import Listed, Store


class Cdrs:
    """Shows a partner the CDRs of its tokens (CDR-3); those held for a person are not shown."""

    identifier = "cdrs"
    role = "SENDER"

    def __init__(self, store: Store, shelf: Shelf) -> None:
        self._store = store
        self._shelf = shelf
        self.routes: Mapping[tuple[str, int], Route] = {("GET", 0): self.list}

    async def list(self, call: Call) -> Reply:
        """Answer a page."""
        paging = call.paging()
        page = await self._store.page_texts(
            "cdrs",
            self._shelf.form(call.dialect),
            self._shelf.shown_cdr(call.dialect, call.partner),
            limit=paging.limit,
            cursor=paging.cursor,
            offset=paging.offset,
            date_from=paging.since,
            date_to=paging.until,
            partner_id=call.partner.id,
            party=call.us,
            listed=Listed.LATER if call.dialect.credit_cdrs else Listed.ALWAYS,
        )
        return texts_reply(call, paging, page)
