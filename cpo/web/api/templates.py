"""Settings templates, and how a station's settings stand beside them."""

from typing import Any

from aiohttp import web

from cpo.errors import Invalid
from cpo.web.body import write_json
from cpo.web.routes import Answer, Call, Route

_LONGEST_ID = 50


async def list_(call: Call) -> Answer:
    """Return every template."""
    return {"items": call.services.templates.all(), "next_cursor": None}


async def get(call: Call) -> Answer:
    """Return a template."""
    return call.services.templates.get(call.path["id"])


async def put(call: Call) -> Answer:
    """Create or replace a template."""
    id_, templates = call.path["id"], call.services.templates
    if len(id_) > _LONGEST_ID or not id_.isprintable():
        raise Invalid("id", f"is longer than {_LONGEST_ID} characters, or not printable")
    new = await templates.put(id_, call.body, actor=call.actor.name)
    return web.Response(
        body=write_json(templates.get(id_)),
        status=201 if new else 200,
        content_type="application/json",
    )


async def delete(call: Call) -> Answer:
    """Forget a template."""
    await call.services.templates.remove(call.path["id"], actor=call.actor.name)
    return None


async def show(call: Call) -> Answer:
    """Return a station's settings as wanted and as they are."""
    return await call.services.templates.view(call.path["identity"])


async def apply(call: Call) -> Answer:
    """Write what differs now, without waiting for a boot."""
    return await call.services.templates.apply_now(call.path["identity"], actor=call.actor.name)


_SETTING: dict[str, Any] = {
    "type": "object",
    "required": ["value"],
    "properties": {
        "key": {"type": "string", "description": "Configuration key of OCPP 1.6"},
        "component": {"description": "Name or ComponentType of 2.x", "type": ["string", "object"]},
        "variable": {"description": "Name or VariableType of 2.x", "type": ["string", "object"]},
        "value": {"type": ["string", "number", "boolean"]},
    },
}
_PATTERN = {"type": ["string", "null"], "description": "A pattern as in file names, like `ABB*`"}
_TEMPLATE: dict[str, Any] = {
    "type": "object",
    "description": "`vendor`, `model`, `firmware` (patterns, all optional) and `settings`: "
    "`{key: value}` for OCPP 1.6, or a list of `{key | component + variable, value}`",
    "properties": {
        "local_list": {
            "enum": ["auto", "on", "off", None],
            "description": "Whether local authorization lists are kept; then `settings` may be "
            "left out",
        },
        "vendor": _PATTERN,
        "model": _PATTERN,
        "firmware": _PATTERN,
        "settings": {
            "oneOf": [
                {"type": "array", "items": _SETTING},
                {"type": "object", "description": "Values by keys of OCPP 1.6"},
            ]
        },
    },
}
_STANDING: dict[str, Any] = {
    "type": "object",
    "required": ["station", "templates", "drift", "items"],
    "properties": {
        "station": {"type": "string"},
        "templates": {"type": "array"},
        "drift": {"type": "integer", "description": "How many are not as wanted"},
        "often_booted": {"type": "boolean"},
        "items": {"type": "array"},
    },
}

ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/settings-templates",
        handler=list_,
        scope="read",
        tag="settings",
        summary="List settings templates",
        answer={"type": "object"},
    ),
    Route(
        method="PUT",
        path="/settings-templates/{id}",
        handler=put,
        scope="admin",
        tag="settings",
        summary="Say how stations of a vendor, model and firmware shall be set at each boot",
        body=_TEMPLATE,
        answer=_TEMPLATE,
    ),
    Route(
        method="GET",
        path="/settings-templates/{id}",
        handler=get,
        scope="read",
        tag="settings",
        summary="Show a settings template",
        answer=_TEMPLATE,
        errors=(404,),
    ),
    Route(
        method="DELETE",
        path="/settings-templates/{id}",
        handler=delete,
        scope="admin",
        tag="settings",
        summary="Forget a settings template",
        status=204,
        errors=(404,),
    ),
    Route(
        method="GET",
        path="/stations/{identity}/settings",
        handler=show,
        scope="read",
        tag="settings",
        summary="Show a station's settings as wanted and as they are (drift)",
        answer=_STANDING,
        errors=(404,),
    ),
    Route(
        method="POST",
        path="/stations/{identity}/apply-settings",
        handler=apply,
        scope="operate",
        tag="settings",
        summary="Write what differs now, also what the station refused before",
        answer=_STANDING,
        errors=(404, 409),
    ),
)
