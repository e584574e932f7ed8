"""What something costs: a tariff tried on a past session, an estimate, a partner's month."""

from dataclasses import asdict
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from cpo.domain.statement import statement_csv
from cpo.domain.tariff import TariffType, instant
from cpo.errors import Invalid, NotFound
from cpo.services.prices import Prices
from cpo.web.routes import Answer, Call, Parameter, Route


class TryBody(BaseModel):
    """A past session and the tariff to try on it: one of ours, or one written out."""

    model_config = ConfigDict(extra="forbid")

    session_id: str = Field(min_length=1, max_length=36)
    tariff_id: str | None = Field(None, max_length=36)
    tariff: dict[str, Any] | None = None


def _prices(call: Call) -> Prices:
    services = call.services
    return Prices(services.store, services.memory.sites, now=services.now)


async def try_tariff(call: Call) -> Answer:
    """Price a past session by another tariff."""
    body: TryBody = call.body
    return await _prices(call).try_on(body.session_id, tariff_id=body.tariff_id, body=body.tariff)


async def estimate(call: Call) -> Answer:
    """Estimate what a charge at an EVSE costs."""
    kind = call.query.get("type")
    if kind is not None and kind not in list(TariffType):
        raise Invalid("type", f"is none of {', '.join(TariffType)}")
    return _prices(call).estimate(
        call.path["uid"],
        kwh=_number(call, "kwh"),
        charging_s=_number(call, "charging_seconds"),
        parking_s=_number(call, "parking_seconds", default="0"),
        at=_at(call),
        type=TariffType(kind) if kind is not None else None,
    )


async def statement(call: Call) -> Answer:
    """Sum up a partner's month, as JSON or CSV."""
    partner_id = call.path["id"]
    if call.services.partners.get(partner_id) is None:
        raise NotFound("partner", partner_id)
    form = call.query.get("format", "json")
    if form not in {"json", "csv"}:
        raise Invalid("format", "is json or csv")
    found = await _prices(call).statement(
        partner_id,
        month=call.query.get("month", ""),
        time_zone=call.query.get("time_zone", "UTC"),
    )
    if form == "json":
        return asdict(found)
    return web.Response(
        text=statement_csv(found),
        content_type="text/csv",
        charset="utf-8",
        headers={"Content-Disposition": f'attachment; filename="statement-{found.month}.csv"'},
    )


def _number(call: Call, name: str, default: str | None = None) -> Decimal:
    text = call.query.get(name, default)
    if text is None:
        raise Invalid(name, "is missing")
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise Invalid(name, "is not a number") from None
    if not value.is_finite() or not 0 <= value <= 10**7:
        raise Invalid(name, "is out of range")
    return value


def _at(call: Call) -> datetime | None:
    text = call.query.get("at")
    return None if text is None else instant(text, "at")


_PRICED = {"type": "object", "description": "What `cpo price` prints for a raw record"}
_POSITIVE = {"type": "number", "minimum": 0}

ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/prices/try",
        handler=try_tariff,
        scope="read",
        tag="prices",
        summary="Price a past session by another tariff; nothing is kept",
        body=TryBody,
        answer=_PRICED,
        errors=(404, 409),
    ),
    Route(
        method="GET",
        path="/evses/{uid}/estimate",
        handler=estimate,
        scope="read",
        tag="prices",
        summary="Estimate what a charge costs by the tariff in force",
        answer=_PRICED,
        parameters=(
            Parameter(name="kwh", meaning="Energy, drawn evenly", schema=_POSITIVE),
            Parameter(name="charging_seconds", meaning="Charging time", schema=_POSITIVE),
            Parameter(name="parking_seconds", meaning="Time parked afterwards", schema=_POSITIVE),
            Parameter(name="at", meaning="Start; now when absent", schema={"format": "date-time"}),
            Parameter(
                name="type", meaning="Tariff type", schema={"enum": [t.value for t in TariffType]}
            ),
        ),
        errors=(404, 409),
    ),
    Route(
        method="GET",
        path="/partners/{id}/statement",
        handler=statement,
        scope="read",
        tag="prices",
        summary="Sum up the CDRs and credits that were issued to a partner in a month",
        answer={"type": "object"},
        parameters=(
            Parameter(name="month", meaning="Like 2026-01"),
            Parameter(name="time_zone", meaning="IANA zone in which months begin; UTC"),
            Parameter(
                name="format",
                meaning="json, or csv for the lines",
                schema={"enum": ["json", "csv"], "default": "json"},
            ),
        ),
        errors=(404,),
    ),
)
