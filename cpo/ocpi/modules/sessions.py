"""Sessions, sender interface: the partner's own sessions, and what its drivers prefer."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from cpo.domain.preferences import Preferred
from cpo.domain.session import Session, SessionStatus
from cpo.errors import Invalid, NotFound
from cpo.ocpi.envelope import Failed, Status
from cpo.ocpi.exchange import Call, Reply, Route
from cpo.ocpi.modules.paging import texts_reply
from cpo.ocpi.shelf import Shelf
from cpo.services.memory import Memory
from cpo.services.ports import Listed, Store


class PreferenceBook(Protocol):
    """Who keeps drivers' preferences."""

    async def take(
        self,
        session: Session,
        profile_type: str,
        *,
        departure_time: datetime | None,
        energy_need: Decimal | None,
        discharge_allowed: bool | None,
        actor: str,
    ) -> Preferred:
        """Judge preferences and keep those that can be met."""
        ...


class Sessions:
    """Shows a partner the sessions of its tokens (SES-1)."""

    identifier = "sessions"
    role = "SENDER"

    def __init__(self, store: Store, shelf: Shelf, memory: Memory) -> None:
        self._sites = memory.sites
        self._store = store
        self._shelf = shelf
        self._book: PreferenceBook | None = None
        self.routes: Mapping[tuple[str, int], Route] = {
            ("GET", 0): self.list,
            ("PUT", 2): self.preferences,
        }

    def attach(self, book: PreferenceBook) -> None:
        """Say who takes preferences; they are not possible before."""
        self._book = book

    async def list(self, call: Call) -> Reply:
        """Answer a page; `date_from` is required here and only here (SES-17)."""
        paging = call.paging()
        if paging.since is None and not call.partner.policy.get("sessions_without_date_from"):
            raise Invalid("date_from", "is required for sessions")
        page = await self._store.page_texts(
            "sessions",
            self._shelf.form(call.dialect),
            self._shelf.shown_session(call.dialect, call.partner),
            limit=paging.limit,
            cursor=paging.cursor,
            offset=paging.offset,
            date_from=paging.since,
            date_to=paging.until,
            partner_id=call.partner.id,
            party=call.us,
            listed=(
                Listed.LATER
                if SessionStatus.RESERVATION in call.dialect.session_statuses
                else Listed.ALWAYS
            ),
        )
        return texts_reply(call, paging, page)

    async def preferences(self, call: Call) -> Reply:
        """Answer a driver's preferences (SES-18).

        An EVSE that is not capable is HTTP 404 with 2001.
        """
        if call.segments[1] != "charging_preferences" or not call.dialect.routing_headers:
            raise Failed(404, Status.CLIENT_ERROR, "there is nothing at this address")
        wanted = call.dialect.codec.read_charging_preferences(call.json())
        session = await find_session(self._store, call.segments[0])
        if session is None or session.partner_id != call.partner.id:
            raise NotFound("session", call.segments[0])
        if wanted.energy_need is not None and wanted.energy_need < 0:
            raise Invalid("energy_need", "must not be negative")
        if not self._capable(session):
            raise Failed(404, Status.INVALID, "the EVSE takes no charging preferences")
        if self._book is None:
            return _answer(Preferred.NOT_POSSIBLE)
        verdict = await self._book.take(
            session,
            wanted.profile_type,
            departure_time=wanted.departure_time,
            energy_need=wanted.energy_need,
            discharge_allowed=wanted.discharge_allowed,
            actor=f"partner {call.partner.id}",
        )
        return _answer(verdict)

    def _capable(self, session: Session) -> bool:
        snapshot = session.snapshot
        location = None if snapshot is None else self._sites.locations.get(snapshot.location.id)
        if location is None or snapshot is None:
            return False
        evse = next((e for e in location.evses if e.uid == snapshot.evse_uid), None)
        return evse is not None and "CHARGING_PREFERENCES_CAPABLE" in evse.capabilities


async def find_session(store: Store, session_id: str) -> Session | None:
    """Find a session by its id as a partner may spell it: ours are in lower case (TRANS-21)."""
    session: Session | None = await store.session(session_id)
    if session is None and session_id != session_id.lower():
        session = await store.session(session_id.lower())
    return session


def _answer(verdict: Preferred) -> Reply:
    return Reply(data=f'"{verdict}"'.encode())
