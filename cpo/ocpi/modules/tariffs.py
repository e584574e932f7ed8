"""Tariffs, sender interface: the list."""

from collections.abc import Mapping

from cpo.ocpi.exchange import Call, Reply, Route
from cpo.ocpi.modules.paging import page_of, page_reply
from cpo.ocpi.shelf import Shelf
from cpo.services.memory import Memory
from cpo.services.ports import Kind


class Tariffs:
    """Shows a partner the tariffs it may see."""

    identifier = "tariffs"
    role = "SENDER"

    def __init__(self, memory: Memory, shelf: Shelf) -> None:
        self._sites = memory.sites
        self._shelf = shelf
        self.routes: Mapping[tuple[str, int], Route] = {("GET", 0): self.list}

    async def list(self, call: Call) -> Reply:
        """Answer a page."""
        paging = call.paging()
        page = page_of(
            self._sites.tariff_stamps, paging, self._shelf.tariff_ids(call.partner, call.us)
        )
        texts = [self._shelf.tariff(call.dialect, id_) for id_ in page.ids]
        for id_, text in zip(page.ids, texts, strict=True):
            if text is not None:
                self._shelf.withheld.look(call.partner.id, Kind.TARIFF, id_, text)
        return page_reply(
            call, paging, texts, sent=len(page.ids), total=page.total, cursor=page.cursor
        )
