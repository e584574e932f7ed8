"""Hub client info, receiver interface: a hub tells who is connected to it."""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from cpo.domain.partner import Partner
from cpo.errors import CpoError, Invalid, NotFound
from cpo.ocpi.client import Client, PageFailed
from cpo.ocpi.dialect import ClientInfo
from cpo.ocpi.envelope import Failed, Status
from cpo.ocpi.exchange import CREATED, OK, Call, Reply, Route
from cpo.ocpi.freight import Speaks
from cpo.services.hub_clients import HubClient, HubClients

log = structlog.get_logger()


class HubClientInfo:
    """Takes and shows what a hub says of the parties behind it (HUB-1)."""

    identifier = "hubclientinfo"
    role = "RECEIVER"

    def __init__(
        self, clients: HubClients, client: Client, speaks: Speaks, told: Callable[[str], None]
    ) -> None:
        self._clients = clients
        self._client = client
        self._speaks = speaks
        self._told = told
        self._tasks: set[asyncio.Task[None]] = set()
        self.routes: Mapping[tuple[str, int], Route] = {("GET", 2): self.get, ("PUT", 2): self.put}

    async def get(self, call: Call) -> Reply:
        """Answer what we hold of a party."""
        _only_hubs(call)
        known = self._clients.find(call.partner.id, *call.segments)
        if known is None:
            raise NotFound("client", "/".join(call.segments))
        info = ClientInfo(
            country_code=known.country_code,
            party_id=known.party_id,
            role=known.role,
            status=known.status,
            last_updated=known.last_updated,
        )
        return Reply(data=call.dialect.codec.client_info(info))

    async def put(self, call: Call) -> Reply:
        """Take what the hub says; a party we did not know is new (HUB-7)."""
        _only_hubs(call)
        info = call.dialect.codec.read_client_info(call.json())
        country_code, party_id = call.segments
        if info.country_code.upper() != country_code.upper():
            raise Invalid("country_code", "differs from the one in the URL")
        if info.party_id.upper() != party_id.upper():
            raise Invalid("party_id", "differs from the one in the URL")
        new = self._clients.find(call.partner.id, country_code, party_id) is None
        await self._clients.put([_kept(call.partner.id, info)])
        self._told(call.partner.id)
        return CREATED if new else OK

    async def registered(self, partner: Partner) -> None:
        """Read a hub's list in the background: its POST is still waiting for our answer."""
        if partner.is_hub:
            task = asyncio.create_task(self.pull(partner))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Stop reading."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def pull(self, partner: Partner) -> None:
        """Read a hub's list, at registration and at the start (HUB-3)."""
        url = partner.endpoint("hubclientinfo", "SENDER")
        if url is None or partner.version is None or not partner.is_hub:
            return
        codec = self._speaks.dialect(partner, partner.version).codec
        try:
            async for page in self._client.pages(self._speaks.line(partner), url, routed=False):
                good = []
                for item in page.items:
                    try:
                        good.append(_kept(partner.id, codec.read_client_info(item)))
                    except Invalid as error:
                        log.warning("hub.client_unreadable", hub=partner.id, problem=str(error))
                await self._clients.put(good)
        except (PageFailed, CpoError) as error:
            log.warning("hub.clients_not_read", hub=partner.id, error=str(error))
        self._told(partner.id)


def _kept(hub: str, info: ClientInfo) -> HubClient:
    return HubClient(
        hub=hub,
        country_code=info.country_code,
        party_id=info.party_id,
        role=info.role,
        status=info.status,
        last_updated=info.last_updated,
    )


def _only_hubs(call: Call) -> None:
    if not call.partner.is_hub:
        raise Failed(404, Status.CLIENT_ERROR, "only a hub tells who is connected to it")
