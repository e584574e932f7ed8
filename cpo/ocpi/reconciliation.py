"""What a partner holds of ours against what we hold: compared, reported, repaired (PUSH-13)."""

import asyncio
import random
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeGuard
from urllib.parse import urljoin

import structlog

from cpo.domain.partner import Partner, PartnerStatus
from cpo.errors import Conflict, CpoError, Invalid
from cpo.ocpi import exact_json
from cpo.ocpi.client import Answer, Client, first_object
from cpo.ocpi.delivery import PARTNER_FAULTS
from cpo.ocpi.dialect import Rendered
from cpo.ocpi.envelope import instant
from cpo.ocpi.freight import Speaks
from cpo.ocpi.shelf import Shelf
from cpo.services.memory import Memory
from cpo.services.partners import Partners
from cpo.services.ports import Kind, Now, Store, Work

log = structlog.get_logger()

SESSIONS_BACK = timedelta(days=30)
NIGHTLY_SAMPLE = 100
MOST_NAMED = 1000


class Reconciliation:
    """Asks a partner's receiver endpoints for what we pushed."""

    def __init__(
        self,
        *,
        client: Client,
        speaks: Speaks,
        partners: Partners,
        store: Store,
        memory: Memory,
        shelf: Shelf,
        now: Now,
    ) -> None:
        self._client = client
        self._speaks = speaks
        self._partners = partners
        self._store = store
        self._sites = memory.sites
        self._shelf = shelf
        self._now = now

    async def nightly(self) -> None:
        """Look at some objects of every partner, chosen by chance, and repair what differs."""
        for partner in self._partners.all():
            if partner.status is PartnerStatus.CONNECTED:
                try:
                    await self.run(partner, repair=True, most=NIGHTLY_SAMPLE)
                except CpoError as error:
                    log.warning("partner.not_compared", partner=partner.id, error=str(error))

    async def run(
        self, partner: Partner, *, repair: bool, most: int | None = None
    ) -> dict[str, Any]:
        """Compare and report; with `repair` what is missing or differs is marked unheard.

        Returns `checked`, `equal`, `missing`, `different` (kind, object, fields), `not_checked`
        (kind -> why), `repaired`. Stops with the reason in `stopped` when the partner is unwell.
        """
        if partner.status is not PartnerStatus.CONNECTED or partner.version is None:
            raise Conflict(f"partner {partner.name!r} is not connected")
        dialect = self._speaks.dialect(partner, partner.version)
        report: dict[str, Any] = {
            "checked": 0,
            "equal": 0,
            "missing": [],
            "different": [],
            "not_checked": {},
            "repaired": 0,
        }
        wrong: list[tuple[Kind, str]] = []
        async for kind, object_id, url, ours in self._objects(partner, dialect, report, most):
            answer = await self._client.request(self._speaks.line(partner), "GET", url)
            if answer.failure in PARTNER_FAULTS:
                report["stopped"] = answer.detail
                break
            if answer.http_status == 405:
                report["not_checked"][str(kind)] = "the partner does not show its objects"
                continue
            report["checked"] += 1
            fields = _differences(ours, answer)
            if fields is None:
                _name(report["missing"], {"kind": kind, "object": object_id})
            elif fields:
                _name(report["different"], {"kind": kind, "object": object_id, "fields": fields})
            else:
                report["equal"] += 1
                continue
            if kind is not Kind.CDR or fields is None:
                # A CDR is sealed: a different one is for a person, a missing one is sent.
                wrong.append((kind, object_id))
        if repair and wrong:
            work = Work()
            for kind, object_id in wrong:
                work.mark([partner.id], kind, object_id)
            await self._store.commit(work)
            report["repaired"] = len(wrong)
        log.info(
            "partner.compared",
            partner=partner.id,
            checked=report["checked"],
            equal=report["equal"],
            repaired=report["repaired"],
        )
        return report

    async def _objects(
        self, partner: Partner, dialect: Any, report: dict[str, Any], most: int | None
    ) -> Any:
        line = self._speaks.line(partner)
        base = partner.endpoint("tariffs", "RECEIVER")
        if base is not None:
            visible = self._shelf.tariff_ids(partner, None)
            for tariff in _some(self._sites.tariffs.values(), most):
                rendered = self._shelf.tariff(dialect, tariff.id)
                if _sendable(rendered) and (visible is None or visible(tariff.id)):
                    url = line.url(base, tariff.country_code, tariff.party_id, tariff.id)
                    yield Kind.TARIFF, tariff.id, url, rendered.text
        base = partner.endpoint("locations", "RECEIVER")
        if base is not None:
            for location in _some(self._sites.locations.values(), most):
                shown = self._shelf.location(dialect, location.id, partner)
                if shown is not None and _sendable(rendered := shown.rendered):
                    url = line.url(base, location.country_code, location.party_id, location.id)
                    yield Kind.LOCATION, location.id, url, rendered.text
        base = partner.endpoint("sessions", "RECEIVER")
        if base is not None:
            async for session in self._recent(partner, "sessions", most):
                rendered = self._shelf.session(dialect, session)
                if _sendable(rendered):
                    url = line.url(base, session.country_code, session.party_id, session.id)
                    yield Kind.SESSION, session.id, url, rendered.text
        base = partner.endpoint("cdrs", "RECEIVER")
        if base is None:
            return
        async for cdr in self._recent(partner, "cdrs", most):
            rendered = self._shelf.cdr(dialect, cdr)
            if cdr.hold or not _sendable(rendered):
                continue
            delivery = await self._store.delivery(partner.id, Kind.CDR, cdr.id)
            if delivery is None or delivery.location is None:
                report["not_checked"]["cdr"] = "some have no address at the partner"
                continue
            yield Kind.CDR, cdr.id, urljoin(base, delivery.location), rendered.text

    async def _recent(self, partner: Partner, kind: str, most: int | None) -> Any:
        cursor: str | None = None
        left = most
        while left is None or left > 0:
            page = await self._store.page(
                kind,
                limit=min(100, left or 100),
                cursor=cursor,
                date_from=self._now() - SESSIONS_BACK,
                partner_id=partner.id,
            )
            for found, _ in page.items:
                yield found
            cursor = page.next_cursor
            left = None if left is None else left - len(page.items)
            if cursor is None:
                return
            await asyncio.sleep(0)


def _some(objects: Any, most: int | None) -> Iterator[Any]:
    found = list(objects)
    if most is not None and len(found) > most:
        found = random.sample(found, most)
    yield from found


def _sendable(rendered: Rendered | None) -> TypeGuard[Rendered]:
    return rendered is not None and not rendered.problems


def _name(found: list[Any], entry: dict[str, Any]) -> None:
    if len(found) < MOST_NAMED:
        found.append(entry)


def _differences(ours: bytes, answer: Answer) -> list[str] | None:
    """Return the fields in which a partner's object differs from ours; None when it has none."""
    theirs = first_object(answer.data)
    if not answer.ok or not isinstance(theirs, dict):
        return None
    return sorted(differing(exact_json.decode(ours), theirs))


def differing(ours: Any, theirs: Any, path: str = "") -> set[str]:
    """Return the paths at which two objects differ in what they mean.

    Absent, null and empty are the same (TRANS-20); so are instants and numbers written otherwise,
    and texts in another case. `last_updated` is not compared: our repairs would never end.
    """
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found: set[str] = set()
        for name in ours.keys() | theirs.keys():
            if name != "last_updated":
                found |= differing(
                    ours.get(name), theirs.get(name), f"{path}.{name}" if path else name
                )
        return found
    if isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            return {path}
        return {
            p
            for n, (one, other) in enumerate(zip(ours, theirs, strict=True))
            for p in differing(one, other, f"{path}[{n}]")
        }
    return set() if _same(ours, theirs) else {path}


def _same(ours: Any, theirs: Any) -> bool:
    if ours in (None, [], {}) and theirs in (None, [], {}):
        return True
    if isinstance(ours, str) and isinstance(theirs, str):
        if ours.casefold() == theirs.casefold():
            return True
        try:
            return instant(ours, "") == instant(theirs, "")
        except Invalid:
            return False
    if isinstance(ours, bool) or isinstance(theirs, bool):
        return ours is theirs
    if isinstance(ours, int | Decimal) and isinstance(theirs, int | Decimal | str):
        try:
            return Decimal(ours) == Decimal(theirs)
        except ArithmeticError:
            return False
    return bool(ours == theirs)
