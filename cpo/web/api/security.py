"""Certificates and when they end, renewals, passwords, and the stations' security events."""

from dataclasses import asdict
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from cpo.services.issued_certificates import FOR_US
from cpo.web.api import shapes
from cpo.web.routes import PAGING, Answer, Call, Parameter, Route


class RenewBody(BaseModel):
    """Which certificate: the one shown to us, or with `for_cars` the one of ISO 15118."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    for_cars: bool = Field(False, strict=True)


async def certificates(call: Call) -> Answer:
    """Return the expiry calendar."""
    wanted = call.query.get("state")
    found = await call.services.security.certificates()
    items = [entry for entry in found if wanted is None or entry["state"] == wanted]
    return {"items": items, "next_cursor": None}


async def renew(call: Call) -> Answer:
    """Ask a station for a new certificate request."""
    return await call.services.security.renew(
        call.path["identity"], for_cars=call.body.for_cars, actor=call.actor.name
    )


class RevokeBody(BaseModel):
    """Which certificates, by serial number in hex; all of the station without. And why."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    serials: list[str] | None = Field(None, min_length=1, max_length=100)
    compromised: bool = Field(False, strict=True)


async def issued(call: Call) -> Answer:
    """Return what our authorities signed for a station."""
    found = await call.services.security.issued(call.path["identity"])
    return {"items": [asdict(one) for one in found], "next_cursor": None}


async def revoke(call: Call) -> Answer:
    """Revoke certificates of a station."""
    identity, body = call.path["identity"], call.body
    gone = await call.services.security.revoke(
        identity, body.serials, compromised=body.compromised, actor=call.actor.name
    )
    return {"station": identity, "revoked": gone}


async def refused(call: Call) -> Answer:
    """Return the connections that were refused last, at this node, newest first."""
    limit = call.limit()
    found = call.services.refused()
    start = int(cursor) if (cursor := call.cursor() or "0").isdecimal() else 0
    return {
        "items": list(found[start : start + limit]),
        "next_cursor": str(start + limit) if len(found) > start + limit else None,
    }


async def revocation_list(call: Call) -> Answer:
    """Return the revocation list of one of our authorities."""
    use = call.query.get("use", FOR_US)
    text = await call.services.security.revocation_list(use)
    return web.Response(text=text, content_type="application/pem-certificate-chain")


async def rotate(call: Call) -> Answer:
    """Give a station a new random password."""
    return await call.services.security.rotate_password(
        call.path["identity"], actor=call.actor.name
    )


async def events(call: Call) -> Answer:
    """Return a page of security events, newest first."""
    limit = call.limit()
    critical = call.query.get("critical", "").lower() == "true"
    found = await call.services.security.events(critical=critical)
    start = int(cursor) if (cursor := call.cursor() or "0").isdecimal() else 0
    page = found[start : start + limit]
    return {
        "items": [{"station": kept.station, **shapes.document(kept)} for kept in page],
        "next_cursor": str(start + limit) if len(found) > start + limit else None,
    }


_ITEMS: dict[str, Any] = {
    "type": "object",
    "required": ["items", "next_cursor"],
    "properties": {"items": {"type": "array"}, "next_cursor": {"type": ["string", "null"]}},
}
_STATUS: dict[str, Any] = {
    "type": "object",
    "required": ["station", "status"],
    "properties": {
        "station": {"type": "string"},
        "status": {"type": "string", "description": "The station's own word"},
        "rotating": {
            "type": "boolean",
            "description": "Until the station has come in with the new password",
        },
    },
}
_REVOKED: dict[str, Any] = {
    "type": "object",
    "required": ["station", "revoked"],
    "properties": {
        "station": {"type": "string"},
        "revoked": {"type": "array", "items": {"type": "string"}},
    },
}

ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/certificates",
        handler=certificates,
        scope="read",
        tag="security",
        summary="Show which certificates end when: ours, the stations', and those installed there",
        answer=_ITEMS,
        parameters=(Parameter(name="state", meaning="Only `ok`, `soon` or `expired` ones"),),
    ),
    Route(
        method="GET",
        path="/security-events",
        handler=events,
        scope="read",
        tag="security",
        summary="Show the security events of all stations, newest first",
        answer=_ITEMS,
        parameters=(*PAGING, Parameter(name="critical", meaning="`true`: only critical ones")),
    ),
    Route(
        method="POST",
        path="/stations/{identity}/renew-certificate",
        handler=renew,
        scope="operate",
        tag="security",
        summary="Ask a station for a new certificate request, which is then signed",
        body=RenewBody,
        answer=_STATUS,
        errors=(404, 409),
    ),
    Route(
        method="GET",
        path="/stations/{identity}/issued-certificates",
        handler=issued,
        scope="read",
        tag="security",
        summary="Show what our own authorities signed for a station, and what of it is revoked",
        answer=_ITEMS,
        errors=(404,),
    ),
    Route(
        method="POST",
        path="/stations/{identity}/revoke-certificates",
        handler=revoke,
        scope="admin",
        tag="security",
        summary="Revoke what we signed for a station, and end its connection",
        body=RevokeBody,
        answer=_REVOKED,
        errors=(404,),
    ),
    Route(
        method="GET",
        path="/refused-connections",
        handler=refused,
        scope="read",
        tag="security",
        summary="Show who was refused at the stations' port since the start: identity, path, "
        "address, reason, count",
        answer=_ITEMS,
        parameters=PAGING,
    ),
    Route(
        method="GET",
        path="/certificates/revocation-list",
        handler=revocation_list,
        scope="read",
        tag="security",
        summary="Download the revocation list (PEM) of one of our own authorities",
        answer={"type": "string"},
        parameters=(
            Parameter(name="use", meaning="What it signs for; ChargingStationCertificate"),
        ),
        errors=(404,),
    ),
    Route(
        method="POST",
        path="/stations/{identity}/rotate-password",
        handler=rotate,
        scope="admin",
        tag="security",
        summary="Give a station a new random password; the old one ends with its first use",
        answer=_STATUS,
        errors=(404, 409),
    ),
)
