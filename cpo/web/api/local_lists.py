"""Local authorization lists: how they stand at each station, and bringing one up to date now."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cpo.web.routes import Answer, Call, Route


class SyncBody(BaseModel):
    """How to bring a list up to date; `full` sends all of it, whatever the station has."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    full: bool = Field(False, strict=True)


async def overview(call: Call) -> Answer:
    """Return how the list of every station stands."""
    return {**call.services.local_lists.overview(), "next_cursor": None}


async def show(call: Call) -> Answer:
    """Return how a station's list stands."""
    return call.services.local_lists.view(call.path["identity"])


async def sync(call: Call) -> Answer:
    """Bring a station's list up to date and return how it stands then."""
    return await call.services.local_lists.sync_now(
        call.path["identity"], whole=call.body.full, actor=call.actor.name
    )


_STANDING: dict[str, Any] = {
    "type": "object",
    "required": ["station", "mode", "state", "version", "entries"],
    "properties": {
        "station": {"type": "string"},
        "mode": {"enum": ["auto", "on", "off"]},
        "state": {
            "enum": [
                "unknown", "in-step", "pending", "failed", "not-supported", "disabled", "off",
            ]
        },
        "version": {"type": "integer", "description": "The version the station has; 0 for none"},
        "entries": {"type": "integer"},
        "synced_at": {"type": ["string", "null"]},
        "error": {"type": ["string", "null"]},
        "tries": {"type": "integer", "description": "Failures since it was last in step"},
        "online": {"type": "boolean"},
    },
}  # fmt: skip

ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/local-lists",
        handler=overview,
        scope="read",
        tag="authorization",
        summary="Show how the local authorization list of every station stands",
        answer={
            "type": "object",
            "required": ["items", "states"],
            "properties": {
                "items": {"type": "array", "items": _STANDING},
                "states": {"type": "object", "description": "How many lists stand how"},
                "next_cursor": {"type": "null"},
            },
        },
    ),
    Route(
        method="GET",
        path="/stations/{identity}/local-list",
        handler=show,
        scope="read",
        tag="authorization",
        summary="Show how a station's local authorization list stands",
        answer=_STANDING,
        errors=(404,),
    ),
    Route(
        method="POST",
        path="/stations/{identity}/local-list/sync",
        handler=sync,
        scope="operate",
        tag="authorization",
        summary="Bring a station's local authorization list up to date now",
        body=SyncBody,
        answer=_STANDING,
        errors=(404, 409),
    ),
)
