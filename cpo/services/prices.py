"""Prices for the operator: a tariff tried on a past session, an estimate, a month's statement."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from cpo.domain.cdr import Cdr
from cpo.domain.estimate import imagined
from cpo.domain.pricing import price
from cpo.domain.statement import Statement, month_bounds, statement
from cpo.domain.tariff import Tariff, TariffType, choose_tariff, parse_tariff
from cpo.domain.transaction import curve
from cpo.domain.usage import usage
from cpo.errors import Conflict, Invalid, NotFound
from cpo.services.memory import Sites
from cpo.services.ports import Kind, Now, Store
from cpo.services.try_out import priced, read_zone

_PAGE = 500
_LONGEST = timedelta(days=31)


class Prices:
    """Answers what something costs, would cost or came to; changes nothing."""

    def __init__(self, store: Store, sites: Sites, *, now: Now) -> None:
        self._store = store
        self._sites = sites
        self._now = now

    async def try_on(
        self, session_id: str, *, tariff_id: str | None = None, body: Any = None
    ) -> dict[str, Any]:
        """Price a past session by another tariff, one of ours or one that is only written down.

        Answers what `cpo price` prints for a raw record. Raises NotFound, Invalid with the field
        of the tariff, and Conflict when the session's readings are not kept any more.
        """
        if (tariff_id is None) == (body is None):
            raise Invalid("tariff_id", "give either tariff_id or tariff")
        tariff = self._tariff(tariff_id) if tariff_id is not None else _parsed(body)
        transaction = await self._store.transaction(session_id)
        if transaction is None:
            raise NotFound("session", session_id)
        if transaction.snapshot is None:
            raise Conflict(f"session {session_id!r} was at no known location")
        record = usage(transaction, curve(transaction), now=self._now())
        zone = ZoneInfo(transaction.snapshot.location.time_zone)
        return priced(price(record, tariff, zone), with_periods=True)

    def estimate(
        self,
        evse_uid: str,
        *,
        kwh: Decimal,
        charging_s: Decimal,
        parking_s: Decimal = Decimal(0),
        at: datetime | None = None,
        type: TariffType | None = None,
    ) -> dict[str, Any]:
        """Estimate what a charge at an EVSE costs by the tariff in force, and say which it is.

        Raises NotFound for the EVSE, Conflict when no tariff is in force there, Invalid when the
        charge is longer than a month.
        """
        found = self._sites.find_evse(evse_uid)
        if found is None:
            raise NotFound("evse", evse_uid)
        if charging_s + parking_s > _LONGEST // timedelta(seconds=1):
            raise Invalid("charging_seconds", "no charge lasts more than a month")
        location, evse = found
        begins_at = at or self._now()
        for connector in evse.connectors:
            tariff = choose_tariff(self._sites.tariffs_of(evse, connector.id), begins_at, type)
            if tariff is not None:
                break
        else:
            raise Conflict(f"no tariff is in force at EVSE {evse_uid!r}")
        record = imagined(
            at=begins_at,
            energy_wh=kwh * 1000,
            charging=timedelta(microseconds=int(charging_s * 1_000_000)),
            parking=timedelta(microseconds=int(parking_s * 1_000_000)),
        )
        cost = price(record, tariff, ZoneInfo(location.time_zone))
        return priced(cost, with_periods=True)

    async def statement(self, partner_id: str, *, month: str, time_zone: str = "UTC") -> Statement:
        """Sum up a partner's CDRs and credits of a month (`2026-01`)."""
        first, following = month_bounds(month, read_zone(time_zone))
        cdrs: list[Cdr] = []
        cursor = None
        while True:
            page = await self._store.page(
                "cdrs",
                limit=_PAGE,
                cursor=cursor,
                date_from=first,
                date_to=following,
                partner_id=partner_id,
            )
            cdrs += [cdr for cdr, _ in page.items if cdr.partner_id == partner_id]
            cursor = page.next_cursor
            if cursor is None:
                break
        confirmed: dict[str, datetime] = {}
        for cdr in cdrs:
            delivery = await self._store.delivery(partner_id, Kind.CDR, cdr.id)
            if delivery is not None:
                confirmed[cdr.id] = delivery.confirmed_at
        return statement(
            cdrs, partner_id=partner_id, month=month, time_zone=time_zone, confirmed=confirmed
        )

    def _tariff(self, tariff_id: str) -> Tariff:
        found = self._sites.tariffs.get(tariff_id)
        if found is None:
            raise NotFound("tariff", tariff_id)
        return found


def _parsed(body: Mapping[str, Any]) -> Tariff:
    try:
        return parse_tariff(body, ours=False)
    except Invalid as refused:
        field = f"tariff.{refused.field}" if refused.field else "tariff"
        raise Invalid(field, refused.problem) from None
