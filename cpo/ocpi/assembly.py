"""The partner side as a whole: built here, started and stopped in order."""

import socket
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

from cpo.config import Settings
from cpo.domain.partner import Partner, PartnerStatus, PartyRole
from cpo.ocpi.authorizer import RealTime
from cpo.ocpi.client import Client
from cpo.ocpi.delivery import Patience
from cpo.ocpi.dialects import DIALECTS
from cpo.ocpi.freight import Freight
from cpo.ocpi.guard import UrlGuard
from cpo.ocpi.modules.cdrs import Cdrs
from cpo.ocpi.modules.charging_profiles import ChargingProfiles
from cpo.ocpi.modules.commands import Commands
from cpo.ocpi.modules.credentials import Credentials
from cpo.ocpi.modules.hub_client_info import HubClientInfo
from cpo.ocpi.modules.locations import Locations
from cpo.ocpi.modules.sessions import PreferenceBook, Sessions
from cpo.ocpi.modules.tariffs import Tariffs
from cpo.ocpi.modules.tokens import Tokens
from cpo.ocpi.probe import Probe
from cpo.ocpi.pull import TokenPuller
from cpo.ocpi.push import Pace, Push
from cpo.ocpi.reconciliation import Reconciliation
from cpo.ocpi.registration import Registration
from cpo.ocpi.results import Results
from cpo.ocpi.server import Server
from cpo.ocpi.shelf import Shelf
from cpo.ocpi.withheld import Withheld
from cpo.services.commands import Commands as CommandBook
from cpo.services.hub_clients import HubClients
from cpo.services.memory import Memory
from cpo.services.partners import Partners
from cpo.services.ports import Now, Store
from cpo.services.publishing import Publishing
from cpo.services.renewals import Renewals
from cpo.services.reservations import Reservations
from cpo.services.tokens import Tokens as TokenBook
from cpo.services.upkeep import Job
from cpo.telemetry import Metrics


class PartnerSide:
    """Everything towards partners. `authorizer` may be used before `start`."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        memory: Memory,
        publishing: Publishing,
        partners: Partners,
        tokens: TokenBook,
        metrics: Metrics,
        now: Now,
    ) -> None:
        ocpi = settings.ocpi
        patience = Patience(shortest=ocpi.push.backoff_min, longest=ocpi.push.backoff_max)
        self._settings = ocpi
        self._drain = settings.server.drain_timeout * 0.1
        self._partners = partners
        partners.parties = frozenset(
            (party.country_code.upper(), party.party_id.upper()) for party in settings.parties
        )
        self.client = Client(
            UrlGuard(allow_private=ocpi.allow_private_urls), timeout=ocpi.push.timeout
        )
        roles = [
            PartyRole(
                role="CPO",
                country_code=party.country_code,
                party_id=party.party_id,
                name=party.business_details.name,
                details=(
                    {"website": party.business_details.website}
                    if party.business_details.website
                    else None
                ),
            )
            for party in settings.parties
        ]
        self.registration = Registration(
            partners=partners,
            client=self.client,
            dialects=DIALECTS,
            roles=roles,
            versions_url=lambda: self.versions_url,
            now=now,
        )
        self.authorizer = RealTime(
            self.client, self.registration, timeout=ocpi.authorize_timeout, patience=patience
        )
        self.withheld = Withheld(metrics, now)
        partners.withheld = self.withheld.marks
        self.shelf = Shelf(memory, publishing, self.withheld)
        self.hubs = HubClients(store)
        self.freight = Freight(memory, store, self.shelf, self.registration, self.hubs)
        self.push = Push(
            store=store,
            partners=partners,
            client=self.client,
            freight=self.freight,
            speaks=self.registration,
            pace=Pace(
                patience=patience,
                status_debounce=ocpi.status_debounce,
                drain_rate=ocpi.push.drain_rate,
            ),
            now=now,
            metrics=metrics,
            refresh=self.registration.refresh,
        )
        self.puller = TokenPuller(
            client=self.client,
            speaks=self.registration,
            partners=partners,
            store=store,
            tokens=tokens,
            now=now,
            every=ocpi.token_sync_interval,
        )
        self.reconciliation = Reconciliation(
            client=self.client,
            speaks=self.registration,
            partners=partners,
            store=store,
            memory=memory,
            shelf=self.shelf,
            now=now,
        )
        partners.overlap = timedelta(seconds=ocpi.rotation_overlap)
        self.renewals = Renewals(partners, now=now, every=ocpi.rotate_every)
        self._probe = Probe(
            self.client, self.registration, memory, self.push.state, publishing.sees
        )
        self.results = Results(
            client=self.client,
            speaks=self.registration,
            partners=partners,
            store=store,
            dialects=DIALECTS,
            now=now,
        )
        self.reservations = Reservations(store, now)
        self.commands = Commands(
            memory=memory,
            store=store,
            shelf=self.shelf,
            client=self.client,
            results=self.results,
            reservations=self.reservations,
            timeout=ocpi.command_timeout,
        )
        self.charging_profiles = ChargingProfiles(
            store=store,
            client=self.client,
            results=self.results,
            dialects=DIALECTS,
            now=now,
            timeout=ocpi.command_timeout,
        )
        self.freight.active_profile = self.charging_profiles.active
        self.hub_client_info = HubClientInfo(
            self.hubs, self.client, self.registration, self.push.reachable
        )
        self.sessions = Sessions(store, self.shelf, memory)
        self.server = Server(
            partners=partners,
            dialects=DIALECTS,
            modules=[
                Credentials(self.registration),
                Locations(memory, self.shelf),
                Tariffs(memory, self.shelf),
                self.sessions,
                Cdrs(store, self.shelf),
                Tokens(store, tokens),
                self.commands,
                self.charging_profiles,
                self.hub_client_info,
            ],
            parties=[(p.country_code, p.party_id) for p in settings.parties],
            now=now,
            metrics=metrics,
            requests_per_second=ocpi.requests_per_second,
        )
        self._stack = AsyncExitStack()
        self._open = False

    def attach_commands(self, book: CommandBook) -> None:
        """Say who carries commands out; partners' commands are refused before."""
        self.commands.attach(book)
        self.charging_profiles.attach(book)

    def attach_preferences(self, book: PreferenceBook) -> None:
        """Say who keeps drivers' preferences."""
        self.sessions.attach(book)

    @property
    def public_url(self) -> str:
        """The base of every URL told to partners; known after `start`."""
        return self.server.public_url

    @property
    def versions_url(self) -> str:
        """Where partners start; known after `start`."""
        return self.server.versions_url

    @property
    def jobs(self) -> list[Job]:
        """What has to be done every so often."""
        every = min(self._settings.token_sync_interval, 60.0)
        return [
            Job("token_pull", every, self.puller.sweep),
            Job("token_renewal", every, self.renewals.sweep),
            Job("reconciliation", 24 * 3600.0, self.reconciliation.nightly),
        ]

    async def compare(self, partner: Partner, *, repair: bool) -> dict[str, Any]:
        """Compare what a partner holds with what we hold."""
        return await self.reconciliation.run(partner, repair=repair)

    async def probe(self, partner: Partner) -> tuple[dict[str, Any], dict[str, Any]]:
        """Measure a partner's habits."""
        return await self._probe.run(partner)

    async def open(self) -> None:
        """Open the client: from here on partners can be asked about tokens."""
        if not self._open:
            self._open = True
            await self._stack.enter_async_context(self.client)

    async def start(self, *, bound: socket.socket | None = None) -> int:
        """Listen, send what is unheard; returns the port. `bound` is a socket that listens."""
        await self.reservations.load()
        await self.hubs.load()
        await self.charging_profiles.load()
        await self.open()
        self._stack.push_async_callback(self.results.stop)
        port = await self.server.start(
            self._settings.host, self._settings.port, self._settings.public_url, bound=bound
        )
        self._stack.push_async_callback(self.server.stop, within=self._drain)
        self._partners.registrar = self.registration
        self._partners.lanes = self.push
        self._partners.inspector = self
        self.registration.hold, self.registration.let_go = self.push.hold, self.push.let_go
        self.registration.on_registered.append(self.puller.registered)
        self.registration.on_registered.append(self.hub_client_info.registered)
        self._stack.push_async_callback(self.hub_client_info.stop)
        self._stack.push_async_callback(self.puller.stop)
        self.server.on_seen.append(self.push.called)
        self._stack.push_async_callback(self.push.stop)
        await self.push.start()
        for partner in self._partners.all():
            # What a hub told while we were away is in its list (HUB-3).
            if partner.status is PartnerStatus.CONNECTED:
                await self.hub_client_info.registered(partner)
                if partner.token_pull is not None:
                    self.puller.start(partner.id)  # the last stop cut it short
        return port

    async def stop(self) -> None:
        """Stop in the reverse order; nothing unsent is lost."""
        await self._stack.aclose()


def partner_side(
    settings: Settings,
    *,
    store: Store,
    memory: Memory,
    publishing: Publishing,
    partners: Partners,
    tokens: TokenBook,
    metrics: Metrics,
    now: Now,
) -> PartnerSide:
    """Build the partner side."""
    partners.audience = publishing
    return PartnerSide(
        settings,
        store=store,
        memory=memory,
        publishing=publishing,
        partners=partners,
        tokens=tokens,
        metrics=metrics,
        now=now,
    )
