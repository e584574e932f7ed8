"""Distributed energy resources (OCPP 2.1): what grid controls a station has, and what they do."""

from typing import Any

from cpo.errors import NotFound
from cpo.web.api import shapes
from cpo.web.routes import Answer, Call, Route

_KINDS = {
    "settings": "der-setting",
    "controls": "der-control",
    "alarms": "der-alarm",
    "reports": "der-report",
}


async def get(call: Call) -> Answer:
    """Return what we set, which controls are at work, what is alarmed, and what was reported."""
    identity = call.path["identity"]
    if call.services.stations.find(identity) is None:
        raise NotFound("station", identity)
    found = {
        name: [shapes.document(d) for d in await call.services.store.documents(identity, kind)]
        for name, kind in _KINDS.items()
    }
    return {
        "station": identity,
        "at_work": [c["document"]["controlId"] for c in found["controls"] if _started(c)],
        "open_alarms": sum(a["document"]["ended_at"] is None for a in found["alarms"]),
        **found,
    }


def _started(control: dict[str, Any]) -> bool:
    return control["document"].get("started") is True


_LIST: dict[str, Any] = {"type": "array", "items": {"type": "object"}}
_DER: dict[str, Any] = {
    "type": "object",
    "required": ["station", "at_work", "open_alarms", *_KINDS],
    "properties": {
        "station": {"type": "string"},
        "at_work": {"type": "array", "items": {"type": "string"}},
        "open_alarms": {"type": "integer"},
        **dict.fromkeys(_KINDS, _LIST),
    },
}

ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/stations/{identity}/der",
        handler=get,
        scope="read",
        tag="stations",
        summary="Show its grid controls: what we set, what is at work, alarms, reports (OCPP 2.1)",
        answer=_DER,
        errors=(404,),
    ),
)
