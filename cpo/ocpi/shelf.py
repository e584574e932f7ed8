"""Our objects in the words of partners: rendered once per form, used until they change (D20)."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any

from cpo import __version__
from cpo.domain.cdr import Cdr
from cpo.domain.location import Location
from cpo.domain.partner import Partner
from cpo.domain.session import Session
from cpo.domain.station import EvseStatus
from cpo.domain.tariff import Tariff
from cpo.domain.values import Value, replace
from cpo.ocpi.dialect import Dialect, Rendered, Stamps
from cpo.ocpi.withheld import Withheld
from cpo.services.memory import Memory
from cpo.services.ports import Kind
from cpo.services.publishing import Publishing

Visible = Callable[[str], bool]

# Locations and tariffs, as text of about 3 kB each.
DEFAULT_SIZE = 20_000


@dataclass(frozen=True, slots=True)
class Site:
    """A location with the statuses of its EVSEs and its instants of change."""

    location: Location
    statuses: Mapping[str, str]
    stamps: Stamps


class Shown(Value, frozen=True):
    """An object as a partner gets it.

    Args:
        stamp: of the state that was rendered.
        tariffs: those that it names.
        prices: how often tariffs had changed, where it depends on what they say.
    """

    rendered: Rendered
    stamp: datetime | None
    tariffs: tuple[str, ...] = ()
    prices: int | None = None


class Shelf:
    """Renders what partners see of us, and keeps the newest text of each object and form."""

    def __init__(
        self,
        memory: Memory,
        publishing: Publishing,
        withheld: Withheld,
        size: int = DEFAULT_SIZE,
    ) -> None:
        self.withheld = withheld
        self._sites = memory.sites
        self._publishing = publishing
        self._size = size
        self._texts: OrderedDict[tuple[Any, ...], Shown] = OrderedDict()
        self._contracts: dict[str, tuple[Sequence[str], int]] = {}
        self._numbers = count(1)

    # --- what a partner may see -------------------------------------------------------------

    def location_ids(self, partner: Partner, us: tuple[str, str] | None) -> Visible | None:
        """Return the test for locations that a partner sees; None when it sees all of them."""
        limited = partner.policy.get("locations") is not None or partner.version == "2.1.1"
        if us is None and not limited:
            return None
        return lambda id_: (
            (location := self._sites.locations.get(id_)) is not None
            and _of_party(location, us)
            and self._publishing.sees(partner, location)
        )

    def tariff_ids(self, partner: Partner, us: tuple[str, str] | None) -> Visible | None:
        """Return the test for tariffs that a partner sees; None when it sees all of them."""
        if us is None and partner.policy.get("tariffs") is None:
            return None
        return lambda id_: (
            (tariff := self._sites.tariffs.get(id_)) is not None
            and _of_party(tariff, us)
            and self._publishing.sees_tariff(partner, id_)
        )

    def named_tariffs(
        self, location: Location, partner: Partner
    ) -> dict[tuple[str, str], list[str]] | None:
        """Return which tariffs a partner's connectors name, by (uid, connector id) (LOC-22).

        None where that is what the operator entered.
        """
        if partner.policy.get("tariffs") is None and not _in_doubt(location):
            return None
        return {
            (evse.uid, connector.id): self._publishing.named(partner, connector.tariff_ids)
            for evse in location.evses
            for connector in evse.connectors
        }

    def site(self, location_id: str, partner: Partner | None) -> Site | None:
        """Return a location as it is now, when there is one and the partner may see it.

        Ids are compared without case (TRANS-21).
        """
        location = self._sites.locations.get(location_id) or next(
            (
                found
                for id_, found in self._sites.locations.items()
                if id_.lower() == location_id.lower()
            ),
            None,
        )
        if location is None or (
            partner is not None and not self._publishing.sees(partner, location)
        ):
            return None
        sites = self._sites
        statuses: dict[str, str] = {}
        evses: dict[str, datetime] = {}
        connectors: dict[tuple[str, str], datetime] = {}
        for evse in location.evses:
            state = sites.statuses.get((location.id, evse.uid))
            if state is not None:
                statuses[evse.uid] = state.status
            stamp = sites.evse_stamp(location.id, evse)
            if stamp is not None:
                evses[evse.uid] = stamp
            for connector in evse.connectors:
                if connector.changed_at is not None:
                    connectors[evse.uid, connector.id] = connector.changed_at
        stamps = Stamps(location=sites.stamps[location.id], evses=evses, connectors=connectors)
        return Site(location, statuses, stamps)

    # --- texts ------------------------------------------------------------------------------

    def location(self, dialect: Dialect, location_id: str, partner: Partner) -> Shown | None:
        """Render a location whole; None when the partner may not see it."""
        return self._locations(dialect, (location_id,), partner)[0]

    def locations(
        self, dialect: Dialect, ids: Sequence[str], partner: Partner
    ) -> list[Rendered | None]:
        """Render locations that a partner asks for; None for those that it may not see."""
        found = self._locations(dialect, ids, partner)
        for id_, shown in zip(ids, found, strict=True):
            if shown is not None:
                self.withheld.look(partner.id, Kind.LOCATION, id_, shown.rendered)
        return [None if shown is None else shown.rendered for shown in found]

    def _locations(
        self, dialect: Dialect, ids: Sequence[str], partner: Partner
    ) -> list[Shown | None]:
        form, contract = dialect.form, self._contract(partner)
        sites, texts, sees = self._sites, self._texts, self._publishing.sees
        found: list[Shown | None] = []
        for id_ in ids:
            kept = texts.get(("location", id_, contract, *form))
            if (
                kept is None
                or kept.stamp != sites.stamps.get(id_)
                or (kept.prices is not None and kept.prices != sites.tariff_stamps.moves)
            ):
                found.append(self._location(dialect, id_, partner))
                continue
            location = sites.locations.get(id_)
            shown = location is not None and sees(partner, location)
            found.append(kept if shown else None)
        return found

    def _location(self, dialect: Dialect, location_id: str, partner: Partner) -> Shown | None:
        site = self.site(location_id, partner)
        if site is None:
            return None
        named = self.named_tariffs(site.location, partner)
        rendered = dialect.codec.location(
            site.location,
            statuses=site.statuses,
            stamps=site.stamps,
            tariff_ids=named,
            quirks=dialect.quirks,
        )
        lists: Iterable[Sequence[str]] = (
            (c.tariff_ids for evse in site.location.evses for c in evse.connectors)
            if named is None
            else named.values()
        )
        shown = Shown(
            rendered,
            site.stamps.location,
            tuple(sorted({id_ for ids in lists for id_ in ids})),
            # What it says depends on tariffs too, which change without it.
            self._sites.tariff_stamps.moves if _in_doubt(site.location) else None,
        )
        return self._keep(("location", location_id, self._contract(partner), *dialect.form), shown)

    def _contract(self, partner: Partner) -> int:
        """Return a number for what a partner sees of tariffs: 0 is all of them."""
        wanted = partner.policy.get("tariffs")
        if wanted is None:
            return 0
        known = self._contracts.get(partner.id)
        if known is None or known[0] is not wanted:
            known = self._contracts[partner.id] = (wanted, next(self._numbers))
        return known[1]

    def withdrawn(self, dialect: Dialect, location_id: str) -> Rendered | None:
        """Render a location for a partner that no longer sees it: all of it is REMOVED (LOC-10)."""
        site = self.site(location_id, None)
        if site is None:
            return None
        found = self._removed(dialect, site, site.location)
        if found.problems and not site.location.publish:
            # 2.1.1 cannot say that it is no longer public, and the partner knows the place.
            return self._removed(dialect, site, replace(site.location, publish=True))
        return found

    def _removed(self, dialect: Dialect, site: Site, location: Location) -> Rendered:
        return dialect.codec.location(
            location,
            statuses=dict.fromkeys((evse.uid for evse in location.evses), EvseStatus.REMOVED),
            stamps=Stamps(location=site.stamps.location),
            tariff_ids={(e.uid, c.id): () for e in location.evses for c in e.connectors},
            quirks=dialect.quirks,
        )

    def tariff(self, dialect: Dialect, tariff_id: str) -> Rendered | None:
        """Render a tariff; None when there is none."""
        tariff = self._sites.tariffs.get(tariff_id)
        if tariff is None:
            return None
        stamp = self._sites.tariff_stamps.get(tariff_id)
        key = ("tariff", tariff_id, *dialect.form)
        kept = self._texts.get(key)
        if kept is None or kept.stamp != stamp:
            kept = self._keep(key, Shown(dialect.codec.tariff(tariff, dialect.quirks), stamp))
        return kept.rendered

    def session(self, dialect: Dialect, session: Session) -> Rendered:
        """Render a session whole; it changes before anybody asks for the same text again."""
        return dialect.codec.session(session, dialect.quirks)

    def cdr(self, dialect: Dialect, cdr: Cdr) -> Rendered:
        """Render a CDR; it is sent once, and lists have its text from the store."""
        return dialect.codec.cdr(cdr, dialect.quirks)

    @staticmethod
    def form(dialect: Dialect) -> str:
        """Name what stored texts of this dialect have in common, and with no other."""
        words = (__version__, *dialect.form)
        return "|".join(str(word) for word in words)

    def shown_session(self, dialect: Dialect, partner: Partner) -> Callable[[Session], str | None]:
        """Return what writes a session for a list.

        "" where there is nothing to show, None where it must not be shown as it is.
        """

        def render(session: Session) -> str | None:
            if session.status not in dialect.session_statuses:
                return ""
            rendered = dialect.codec.session(session, dialect.quirks)
            self.withheld.look(partner.id, Kind.SESSION, session.id, rendered)
            return None if rendered.problems else rendered.text.decode()

        return render

    def shown_cdr(self, dialect: Dialect, partner: Partner) -> Callable[[Cdr], str | None]:
        """Return what writes a CDR for a list.

        "" where there is nothing to show, None where it must not be shown as it is.
        """

        def render(cdr: Cdr) -> str | None:
            if cdr.hold or (cdr.credit and not dialect.credit_cdrs):
                return ""
            rendered = dialect.codec.cdr(cdr, dialect.quirks)
            self.withheld.look(partner.id, Kind.CDR, cdr.id, rendered)
            return None if rendered.problems else rendered.text.decode()

        return render

    def _keep(self, key: tuple[Any, ...], shown: Shown) -> Shown:
        self._texts[key] = shown
        if len(self._texts) > self._size:
            self._texts.popitem(last=False)
        return shown


def _in_doubt(location: Location) -> bool:
    """Whether a connector names several tariffs, of which a partner may not be meant to see all."""
    return any(len(c.tariff_ids) > 1 for evse in location.evses for c in evse.connectors)


def _of_party(found: Location | Tariff, us: tuple[str, str] | None) -> bool:
    if us is None:
        return True
    return (found.country_code.upper(), found.party_id.upper()) == (us[0].upper(), us[1].upper())
