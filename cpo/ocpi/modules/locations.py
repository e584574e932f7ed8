"""Locations, sender interface: the list, and a Location, EVSE or Connector (LOC-20, LOC-21)."""

from collections.abc import Mapping

from cpo.errors import NotFound
from cpo.ocpi.dialect import Rendered
from cpo.ocpi.exchange import Call, Reply, Route
from cpo.ocpi.modules.paging import page_of, page_reply
from cpo.ocpi.shelf import Shelf, Site
from cpo.services.memory import Memory
from cpo.services.ports import Kind


class Locations:
    """Shows a partner the locations it may see."""

    identifier = "locations"
    role = "SENDER"

    def __init__(self, memory: Memory, shelf: Shelf) -> None:
        self._memory = memory
        self._sites = memory.sites
        self._shelf = shelf
        self.routes: Mapping[tuple[str, int], Route] = {
            ("GET", 0): self.list,
            ("GET", 1): self.get,
            ("GET", 2): self.get,
            ("GET", 3): self.get,
        }

    async def list(self, call: Call) -> Reply:
        """Answer a page; a hit is the whole Location with all its EVSEs."""
        paging = call.paging()
        await self._memory.agreed()
        page = page_of(self._sites.stamps, paging, self._shelf.location_ids(call.partner, call.us))
        texts = self._shelf.locations(call.dialect, page.ids, call.partner)
        return page_reply(
            call, paging, texts, sent=len(page.ids), total=page.total, cursor=page.cursor
        )

    async def get(self, call: Call) -> Reply:
        """Answer one object; what a partner may not see does not exist for it."""
        await self._memory.agreed()
        site = self._shelf.site(call.segments[0], call.partner)
        if site is None:
            raise NotFound("location", call.segments[0])
        rendered = self._render(call, site)
        if len(call.segments) == 1:
            self._shelf.withheld.look(call.partner.id, Kind.LOCATION, site.location.id, rendered)
        return _sendable(rendered)

    def _render(self, call: Call, site: Site) -> Rendered:
        codec, quirks, location = call.dialect.codec, call.dialect.quirks, site.location
        named = self._shelf.named_tariffs(location, call.partner)
        if len(call.segments) == 1:
            return codec.location(
                location,
                statuses=site.statuses,
                stamps=site.stamps,
                tariff_ids=named,
                quirks=quirks,
            )
        evse = next((e for e in location.evses if e.uid.lower() == call.segments[1].lower()), None)
        if evse is None:
            raise NotFound("evse", call.segments[1])
        if len(call.segments) == 2:
            return codec.evse(
                location,
                evse.uid,
                statuses=site.statuses,
                stamps=site.stamps,
                tariff_ids=named,
                quirks=quirks,
            )
        connector = next(
            (c for c in evse.connectors if c.id.lower() == call.segments[2].lower()), None
        )
        if connector is None:
            raise NotFound("connector", call.segments[2])
        return codec.connector(
            location,
            evse.uid,
            connector.id,
            stamps=site.stamps,
            tariff_ids=named,
            quirks=quirks,
        )


def _sendable(rendered: Rendered) -> Reply:
    if rendered.problems:
        raise NotFound("location", "this one, which is held back until it is complete")
    return Reply(data=rendered.text)
