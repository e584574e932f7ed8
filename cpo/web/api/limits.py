"""Limits: charging profiles of stations, composite schedules, power caps of locations."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from cpo.domain.limits import Step
from cpo.domain.sharing import Policy
from cpo.errors import Invalid, NotFound
from cpo.services.limits import Schedule
from cpo.web.api import shapes
from cpo.web.body import write_json
from cpo.web.routes import Answer, Call, Parameter, Route, ref

_HOUR = 3600
_LONGEST = 7 * 24 * _HOUR
_MOST_W = 10**10


class SiteLimitBody(BaseModel):
    """The most that all EVSEs of a location draw together, and how it is shared."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    max_power_w: Decimal = Field(ge=0, le=_MOST_W, allow_inf_nan=False)
    policy: Policy = Policy.EQUAL


class CompareBody(BaseModel):
    """For which EVSE (its OCPP number, 0 for the station) and how many seconds from now."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    evse_id: int = Field(1, ge=0, le=1_000_000)
    duration: int = Field(_HOUR, ge=1, le=_LONGEST)


class DynamicBody(BaseModel):
    """The new limit of a dynamic profile, in its own unit."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    profile_id: int
    limit: Decimal = Field(ge=0, le=_MOST_W, allow_inf_nan=False)


def _number(call: Call, name: str, default: int, most: int) -> int:
    text = call.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= most):
        raise Invalid(name, f"is not a number up to {most}")
    return int(text)


def _steps(steps: Iterable[Step]) -> list[dict[str, Any]]:
    return [{"start_date_time": step.at, "limit_w": step.limit_w} for step in steps]


def _schedule(found: Schedule) -> dict[str, Any]:
    return {
        "start": found.start,
        "end": found.end,
        "max_power_w": found.supply.most_w,
        "composite": _steps(found.steps),
    }


async def get(call: Call) -> Answer:
    """Return what limits a station, and the schedule that follows for one EVSE."""
    identity, limits = call.path["identity"], call.services.limits
    evse_id = _number(call, "evse_id", 1, 1_000_000)
    found = await limits.schedule(
        identity, evse_id, _number(call, "duration", _HOUR, _LONGEST) or _HOUR
    )
    kept = await limits.documents(identity)
    return {
        "evse_id": evse_id,
        **_schedule(found),
        "profiles": [shapes.document(d) for d in kept["charging-profile"]],
        "external": [shapes.document(d) for d in kept["charging-limit"]],
        "needs": [shapes.document(d) for d in kept["charging-needs"]],
        "plans": [shapes.document(d) for d in kept["charging-plan"]],
        "schedules": [shapes.document(d) for d in kept["charging-schedule"]],
    }


async def compare(call: Call) -> Answer:
    """Put the station's own composite schedule beside ours."""
    body: CompareBody = call.body
    found = await call.services.limits.compare(
        call.path["identity"], body.evse_id, body.duration, actor=call.actor.name
    )
    return {
        "evse_id": body.evse_id,
        "outcome": found.command.outcome,
        "detail": found.command.detail,
        **_schedule(found.ours),
        "station": _steps(found.theirs),
        "differences": [
            {"start": d.start, "end": d.end, "ours_w": d.ours_w, "station_w": d.theirs_w}
            for d in found.differences
        ],
    }


async def update_dynamic(call: Call) -> Answer:
    """Change the limit of a dynamic profile."""
    body: DynamicBody = call.body
    return await call.services.limits.update_dynamic(
        call.path["identity"], body.profile_id, body.limit, actor=call.actor.name
    )


async def get_site(call: Call) -> Answer:
    """Return a location's cap and shares."""
    return call.services.site_limits.view(call.path["id"])


async def put_site(call: Call) -> Answer:
    """Set or change a location's cap."""
    body: SiteLimitBody = call.body
    sites = call.services.site_limits
    try:
        sites.view(call.path["id"])
        status = 200
    except NotFound:
        status = 201
    await sites.put(
        call.path["id"], max_power_w=body.max_power_w, policy=body.policy, actor=call.actor.name
    )
    return web.Response(
        body=write_json(sites.view(call.path["id"])), status=status, content_type="application/json"
    )


async def delete_site(call: Call) -> Answer:
    """Take a location's cap off."""
    await call.services.site_limits.remove(call.path["id"], actor=call.actor.name)
    return None


_LIMITS = {"type": "object", "description": "Limits in watts, from instants on"}

ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/stations/{identity}/limits",
        handler=get,
        scope="read",
        tag="limits",
        summary="Show profiles, limits of others, what cars ask for, and the composite schedule",
        answer=_LIMITS,
        parameters=(
            Parameter(name="evse_id", meaning="OCPP number of the EVSE, 0 for the station; 1"),
            Parameter(name="duration", meaning="Seconds from now; 3600"),
        ),
        errors=(404,),
    ),
    Route(
        method="POST",
        path="/stations/{identity}/compare-limits",
        handler=compare,
        scope="operate",
        tag="limits",
        summary="Put the station's composite schedule beside ours",
        body=CompareBody,
        answer=_LIMITS,
        errors=(404,),
    ),
    Route(
        method="POST",
        path="/stations/{identity}/dynamic-limit",
        handler=update_dynamic,
        scope="operate",
        tag="limits",
        summary="Change the limit of a dynamic profile (OCPP 2.1)",
        body=DynamicBody,
        answer={"type": "object"},
        errors=(404, 409),
    ),
    Route(
        method="PUT",
        path="/locations/{id}/limit",
        handler=put_site,
        scope="operate",
        tag="limits",
        summary="Set the power cap of a location and how its EVSEs share it",
        body=SiteLimitBody,
        answer=ref("SiteLimit"),
        errors=(404,),
    ),
    Route(
        method="GET",
        path="/locations/{id}/limit",
        handler=get_site,
        scope="read",
        tag="limits",
        summary="Show a location's power cap and the share of each EVSE",
        answer=ref("SiteLimit"),
        errors=(404,),
    ),
    Route(
        method="DELETE",
        path="/locations/{id}/limit",
        handler=delete_site,
        scope="operate",
        tag="limits",
        summary="Take the power cap off",
        status=204,
        errors=(404,),
    ),
)
