"""Who is connected to a hub, as the hub tells us; it decides who may be sent to (HUB-2)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cpo.services.ports import StationDocument, Store, Work

# Kept beside the documents about stations, under a name that no station can have.
SHELF = "\x1fhub clients"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubClient:
    """A party behind a hub; `status` is CONNECTED, OFFLINE, PLANNED or SUSPENDED."""

    hub: str
    country_code: str
    party_id: str
    role: str
    status: str
    last_updated: datetime

    @property
    def key(self) -> tuple[str, str, str]:
        """The hub's partner id and the party, folded."""
        return self.hub, self.country_code.upper(), self.party_id.upper()


class HubClients:
    """The parties behind hubs, in memory and on disk."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._clients: dict[tuple[str, str, str], HubClient] = {}

    async def load(self) -> None:
        """Read what hubs told before the last stop."""
        for found in await self._store.documents(SHELF):
            told = found.document
            client = HubClient(
                **{**told, "last_updated": datetime.fromisoformat(told["last_updated"])}
            )
            self._clients[client.key] = client

    def find(self, hub: str, country_code: str, party_id: str) -> HubClient | None:
        """Return what a hub told of a party."""
        return self._clients.get((hub, country_code.upper(), party_id.upper()))

    def reachable(self, hub: str, party: tuple[str, str]) -> bool:
        """Whether a party may be sent to; one the hub never told of may."""
        client = self.find(hub, *party)
        return client is None or client.status == "CONNECTED"

    async def put(self, clients: Iterable[HubClient]) -> None:
        """Keep what a hub told; what is older than what is known changes nothing."""
        work = Work()
        for client in clients:
            known = self._clients.get(client.key)
            if known is not None and client.last_updated < known.last_updated:
                continue
            document = {name: getattr(client, name) for name in HubClient.__dataclass_fields__}
            document["last_updated"] = client.last_updated.isoformat()
            party = f"{client.key[1]}/{client.key[2]}"
            work.put(StationDocument(SHELF, client.hub, party, document, client.last_updated))
            work.then(lambda _, client=client: self._clients.__setitem__(client.key, client))  # type: ignore[misc]
        if work.ops:
            await self._store.commit(work)
