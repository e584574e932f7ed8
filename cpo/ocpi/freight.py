"""What a push carries: the newest state of an object in the partner's words, and where to."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from cpo.domain.partner import Partner
from cpo.domain.session import SessionStatus
from cpo.domain.tokens import Token
from cpo.domain.values import Named
from cpo.ocpi.client import Line
from cpo.ocpi.delivery import put_whole
from cpo.ocpi.dialect import ChargingProfile, Dialect, Rendered
from cpo.ocpi.shelf import Shelf
from cpo.services.hub_clients import HubClients
from cpo.services.memory import Memory
from cpo.services.ports import Kind, Store

Item = tuple[Kind, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveProfile:
    """What limits a session now: whose it is, whose driver's, and the profile."""

    us: tuple[str, str]
    them: tuple[str, str] | None
    profile: ChargingProfile


# Finds a session's active profile.
ActiveProfiles = Callable[[str], ActiveProfile | None]


class Parcel(Named, frozen=True):
    """One request to a partner.

    Args:
        method, url, body: the request.
        us: the party of ours it is sent for.
        them: the party it is for, where a hub passes it on.
        full: the whole object, not a part of it.
        unit: what must not be in flight twice: a location with its EVSEs, a session, …
        after: marks that must be settled first (PUSH-3).
        last_updated: of the state that is sent.
        last: no newer state of this object will follow.
    """

    method: str
    url: str
    body: bytes | None
    us: tuple[str, str]
    full: bool
    unit: str
    after: tuple[Item, ...] = ()
    last_updated: datetime | None = None
    last: bool = False
    them: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class HeldBack:
    """An object that must not be sent as it is (promise 7)."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotNow:
    """The party it is for cannot be reached behind its hub; it waits until that is told anew."""

    reason: str


class Nothing:
    """There is nothing to send: the object is gone, or the partner has no place for it."""


NOTHING = Nothing()
Packed = Parcel | HeldBack | NotNow | Nothing


class Speaks(Protocol):
    """How partners are spoken to (the registration's side); `party` is the first of ours."""

    @property
    def party(self) -> tuple[str, str]:
        """The first of our parties."""
        ...

    def dialect(self, partner: Partner, version: str) -> Dialect:
        """Return how a partner speaks a version."""
        ...

    def line(
        self,
        partner: Partner,
        us: tuple[str, str] | None = None,
        them: tuple[str, str] | None = None,
    ) -> Line:
        """Return how a registered partner is spoken to."""
        ...


class Freight:
    """Packs what has to be sent, from the newest state there is."""

    def __init__(
        self, memory: Memory, store: Store, shelf: Shelf, speaks: Speaks, hubs: HubClients
    ) -> None:
        self._hubs = hubs
        self.active_profile: ActiveProfiles = lambda _: None
        self._sites = memory.sites
        self._store = store
        self._shelf = shelf
        self._speaks = speaks

    def unit(self, kind: Kind, object_id: str) -> str:
        """Return what must not be in flight twice at a partner."""
        if kind is Kind.EVSE:
            return f"{Kind.LOCATION}/{object_id.partition('/')[0]}"
        return f"{kind}/{object_id}"

    def parts(self, location_id: str) -> list[Item]:
        """Return the marks that a location sent whole settles."""
        location = self._sites.locations.get(location_id)
        evses = () if location is None else location.evses
        return [
            (Kind.LOCATION, location_id),
            *((Kind.EVSE, f"{location_id}/{evse.uid}") for evse in evses),
        ]

    async def pack(
        self, partner: Partner, item: Item, *, confirmed: Callable[[str], bool], failed: bool
    ) -> Packed:
        """Pack the newest state of an object for a partner.

        Args:
            partner: for whom; registered.
            item: kind and id.
            confirmed: whether the partner has confirmed a unit before.
            failed: the last attempt failed, or its outcome is unknown.
        """
        if partner.version is None:
            return NOTHING
        kind, object_id = item
        dialect = self._speaks.dialect(partner, partner.version)
        if kind is Kind.TARIFF:
            return self._tariff(partner, dialect, object_id)
        if kind is Kind.LOCATION:
            return self._location(partner, dialect, object_id)
        if kind is Kind.EVSE:
            return self._evse(partner, dialect, object_id, confirmed=confirmed, failed=failed)
        if kind is Kind.SESSION:
            return await self._session(
                partner, dialect, object_id, confirmed=confirmed, failed=failed
            )
        if kind is Kind.CDR:
            return await self._cdr(partner, dialect, object_id)
        if kind is Kind.ACTIVE_PROFILE:
            return self._active_profile(partner, dialect, object_id)
        return NOTHING

    def _url(self, partner: Partner, base: str, *segments: str) -> str:
        return self._speaks.line(partner).url(base, *segments)

    def _tariff(self, partner: Partner, dialect: Dialect, tariff_id: str) -> Packed:
        base = partner.endpoint("tariffs", "RECEIVER")
        if base is None:
            return NOTHING
        unit = self.unit(Kind.TARIFF, tariff_id)
        tariff = self._sites.tariffs.get(tariff_id)
        visible = self._shelf.tariff_ids(partner, None)
        if tariff is None or (visible is not None and not visible(tariff_id)):
            party = (
                (tariff.country_code, tariff.party_id)
                if tariff is not None
                else self._sites.withdrawn.get(tariff_id) or self._speaks.party
            )
            return Parcel(
                method="DELETE",
                url=self._url(partner, base, *party, tariff_id),
                body=None,
                us=party,
                full=True,
                unit=unit,
                # One that is gone is named by nobody (TAR-2); of a contract it was till now.
                after=()
                if tariff is None
                else tuple((Kind.LOCATION, id_) for id_ in self._sites.places_of(tariff_id)),
            )
        rendered = self._shelf.tariff(dialect, tariff_id)
        if rendered is None:
            return NOTHING
        if rendered.held_back is not None:
            return HeldBack(rendered.held_back)
        party = (tariff.country_code, tariff.party_id)
        return Parcel(
            method="PUT",
            url=self._url(partner, base, *party, tariff_id),
            body=rendered.text,
            us=party,
            full=True,
            unit=unit,
            last_updated=self._sites.tariff_stamps.get(tariff_id),
        )

    def _location(self, partner: Partner, dialect: Dialect, location_id: str) -> Packed:
        base = partner.endpoint("locations", "RECEIVER")
        location = self._sites.locations.get(location_id)
        if base is None or location is None:
            return NOTHING
        shown = self._shelf.location(dialect, location_id, partner)
        # Only who has seen it is told of a location that it may not see.
        rendered = shown.rendered if shown else self._shelf.withdrawn(dialect, location_id)
        if rendered is None:
            return NOTHING
        if rendered.held_back is not None:
            return HeldBack(rendered.held_back)
        party = (location.country_code, location.party_id)
        return Parcel(
            method="PUT",
            url=self._url(partner, base, *party, location.id),
            body=rendered.text,
            us=party,
            full=True,
            unit=self.unit(Kind.LOCATION, location_id),
            after=tuple([(Kind.TARIFF, id_) for id_ in shown.tariffs]) if shown else (),
            last_updated=self._sites.stamps.get(location_id),
        )

    def _evse(
        self,
        partner: Partner,
        dialect: Dialect,
        object_id: str,
        *,
        confirmed: Callable[[str], bool],
        failed: bool,
    ) -> Packed:
        location_id, _, uid = object_id.partition("/")
        location = self._sites.locations.get(location_id)
        base = partner.endpoint("locations", "RECEIVER")
        if base is None or location is None:
            return NOTHING
        unit = self.unit(Kind.EVSE, object_id)
        state = self._sites.statuses.get((location_id, uid))
        evse = next((evse for evse in location.evses if evse.uid == uid), None)
        stamp = None if evse is None else self._sites.evse_stamp(location_id, evse)
        whole = put_whole(
            patch=dialect.quirks.evse_patch,
            confirmed=confirmed(unit),
            failed=failed,
            final=False,
            vanished=state is None or stamp is None,
        )
        if whole or state is None or stamp is None:
            return self._location(partner, dialect, location_id)
        # Nothing of a location that is held back may reach the partner by its parts either.
        if self._shelf.site(location_id, partner) is None:
            return NOTHING
        party = (location.country_code, location.party_id)
        return Parcel(
            method="PATCH",
            url=self._url(partner, base, *party, location_id, uid),
            body=dialect.codec.evse_status(state.status, stamp, dialect.quirks),
            us=party,
            full=False,
            unit=unit,
            last_updated=stamp,
        )

    async def _session(
        self,
        partner: Partner,
        dialect: Dialect,
        session_id: str,
        *,
        confirmed: Callable[[str], bool],
        failed: bool,
    ) -> Packed:
        base = partner.endpoint("sessions", "RECEIVER")
        session = await self._store.session(session_id)
        if base is None or session is None or session.status not in dialect.session_statuses:
            return NOTHING
        unit = self.unit(Kind.SESSION, session_id)
        final = session.status in {SessionStatus.COMPLETED, SessionStatus.INVALID}
        whole = put_whole(
            patch=dialect.quirks.session_patch,
            confirmed=confirmed(unit),
            failed=failed,
            final=final,
            vanished=False,
        )
        rendered: Rendered = (
            self._shelf.session(dialect, session)
            if whole
            else dialect.codec.session_patch(session, dialect.quirks)
        )
        if rendered.held_back is not None:
            return HeldBack(rendered.held_back)
        them = _behind(partner, session.token)
        if them is not None and not self._hubs.reachable(partner.id, them):
            return NotNow(f"{them[0]}/{them[1]} is not connected to the hub")
        party = (session.country_code, session.party_id)
        return Parcel(
            method="PUT" if whole else "PATCH",
            url=self._url(partner, base, *party, session_id),
            body=rendered.text,
            us=party,
            full=whole,
            unit=unit,
            last_updated=session.last_updated,
            last=final,
            them=them,
        )

    async def _cdr(self, partner: Partner, dialect: Dialect, cdr_id: str) -> Packed:
        base = partner.endpoint("cdrs", "RECEIVER")
        cdr = await self._store.cdr(cdr_id)
        if cdr is None or cdr.hold:
            return NOTHING
        if cdr.credit and not dialect.credit_cdrs:
            return HeldBack("credit: this version has no credit CDRs, settle it outside OCPI")
        rendered = self._shelf.cdr(dialect, cdr)
        if rendered.held_back is not None:
            return HeldBack(rendered.held_back)
        if base is None:
            return HeldBack("the partner has no endpoint for CDRs: it has to fetch them")
        them = _behind(partner, cdr.token)
        if them is not None and not self._hubs.reachable(partner.id, them):
            return NotNow(f"{them[0]}/{them[1]} is not connected to the hub")
        return Parcel(
            method="POST",
            url=self._url(partner, base),
            body=rendered.text,
            us=(cdr.country_code, cdr.party_id),
            full=True,
            unit=self.unit(Kind.CDR, cdr_id),
            after=((Kind.SESSION, cdr.session_id),)
            + (((Kind.CDR, cdr.credit_reference_id),) if cdr.credit_reference_id else ()),
            last_updated=cdr.last_updated,
            last=True,
            them=them,
        )

    def _active_profile(self, partner: Partner, dialect: Dialect, session_id: str) -> Packed:
        base = partner.endpoint("chargingprofiles", "SENDER")
        found = self.active_profile(session_id)
        if base is None or found is None:
            return NOTHING
        them = found.them if partner.is_hub else None
        if them is not None and not self._hubs.reachable(partner.id, them):
            return NotNow(f"{them[0]}/{them[1]} is not connected to the hub")
        return Parcel(
            method="PUT",
            url=self._url(partner, base, session_id),
            body=dialect.codec.active_charging_profile(found.profile),
            us=found.us,
            full=True,
            unit=self.unit(Kind.ACTIVE_PROFILE, session_id),
            them=them,
        )


def _behind(partner: Partner, token: Token | None) -> tuple[str, str] | None:
    """Return the eMSP that a hub has to pass an object on to; never a broadcast (HUB-6)."""
    if token is None or not partner.is_hub:
        return None
    return token.country_code, token.party_id
