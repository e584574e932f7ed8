"""Locations and tariffs: OCPI objects as the operator enters them."""

from typing import Any

from aiohttp import web

from cpo.errors import Invalid, NotFound
from cpo.web.api import shapes
from cpo.web.body import write_json
from cpo.web.routes import PAGING, Answer, Call, Route, list_of, ref


def _object(call: Call) -> dict[str, Any]:
    if not isinstance(call.body, dict):
        raise Invalid("", "the body is not an object")
    return call.body


def _created(shown: dict[str, Any], *, new: bool) -> Answer:
    return web.Response(
        body=write_json(shown), status=201 if new else 200, content_type="application/json"
    )


def _cut(items: list[tuple[str, dict[str, Any]]], limit: int, *, more: bool) -> dict[str, Any]:
    return {
        "items": [shown for _, shown in items[:limit]],
        "next_cursor": items[limit - 1][0] if more else None,
    }


async def list_locations(call: Call) -> Answer:
    """Return a page of locations by id."""
    after, limit, sites = call.cursor() or "", call.limit(), call.services.sites
    ids = sorted(location.id for location in sites.locations() if location.id > after)
    page = [(id_, shapes.location(sites.view(id_))) for id_ in ids[:limit]]
    return _cut(page, limit, more=len(ids) > limit)


async def put_location(call: Call) -> Answer:
    """Create or replace a location."""
    id_, sites = call.path["id"], call.services.sites
    new = id_ not in {location.id for location in sites.locations()}
    view = await sites.put_location(id_, _object(call), actor=call.actor.name)
    return _created(shapes.location(view), new=new)


async def get_location(call: Call) -> Answer:
    """Return a location with the published statuses of its EVSEs."""
    return shapes.location(call.services.sites.view(call.path["id"]))


async def delete_location(call: Call) -> Answer:
    """Withdraw a location."""
    await call.services.sites.remove_location(call.path["id"], actor=call.actor.name)
    return None


async def list_tariffs(call: Call) -> Answer:
    """Return a page of tariffs by id."""
    after, limit = call.cursor() or "", call.limit()
    found = sorted(
        ((value.id, value, at) for value, at in call.services.sites.tariffs() if value.id > after),
        key=lambda entry: entry[0],
    )
    page = [(id_, shapes.tariff(value, at)) for id_, value, at in found[:limit]]
    return _cut(page, limit, more=len(found) > limit)


async def put_tariff(call: Call) -> Answer:
    """Create or replace a tariff."""
    id_, sites = call.path["id"], call.services.sites
    new = not any(value.id == id_ for value, _ in sites.tariffs())
    value = await sites.put_tariff(id_, _object(call), actor=call.actor.name)
    return _created(shapes.tariff(*sites.tariff(value.id)), new=new)


async def get_tariff(call: Call) -> Answer:
    """Return a tariff."""
    return shapes.tariff(*call.services.sites.tariff(call.path["id"]))


async def delete_tariff(call: Call) -> Answer:
    """Withdraw a tariff."""
    await call.services.sites.remove_tariff(call.path["id"], actor=call.actor.name)
    return None


async def list_tokens(call: Call) -> Answer:
    """Return a page of tokens: our own drivers' and the partners'."""
    page = await call.services.store.page("tokens", limit=call.limit(), cursor=call.cursor())
    return {
        "items": [shapes.token(value) for value, _ in page.items],
        "next_cursor": page.next_cursor,
    }


async def put_token(call: Call) -> Answer:
    """Create or replace a token of one of our own drivers."""
    uid, tokens = call.path["uid"], call.services.tokens
    try:
        await tokens.own(uid)
        new = False
    except NotFound:
        new = True
    value = await tokens.put_own(uid, _object(call), actor=call.actor.name)
    return _created(shapes.token(value), new=new)


async def get_token(call: Call) -> Answer:
    """Return a token of one of our own drivers."""
    return shapes.token(await call.services.tokens.own(call.path["uid"]))


async def delete_token(call: Call) -> Answer:
    """Remove a token of one of our own drivers."""
    await call.services.tokens.remove_own(call.path["uid"], actor=call.actor.name)
    return None


_LOCATION = {
    "type": "object",
    "description": "OCPI Location, 2.3.0 or 2.2.1 spelling; each EVSE may carry "
    '`"ocpp": {"station": identity, "evse_id": number}` or `connector_ids`, and '
    '`"home_charger_of": [contract ids]`: whose charges there are compensated',
}
_TARIFF = {"type": "object", "description": "OCPI Tariff, 2.3.0 or 2.2.1 spelling"}
_TOKEN = {
    "type": "object",
    "description": "`type`, `contract_id`, `valid`, `group_id`, `issuer`, `whitelist`, "
    "`visual_number`, `expires_at`, `language`; all optional",
}


def _crud(noun: str, id_: str, schema: str, body: dict[str, Any], handlers: Any) -> list[Route]:
    list_, put, get, delete = handlers
    one = f"/{noun}/{{{id_}}}"
    singular = noun[:-1]
    return [
        Route(
            method="GET",
            path=f"/{noun}",
            handler=list_,
            scope="read",
            tag=noun,
            summary=f"List {noun}",
            answer=list_of(schema),
            parameters=PAGING,
        ),
        Route(
            method="PUT",
            path=one,
            handler=put,
            scope="admin",
            tag=noun,
            summary=f"Create or replace a {singular}",
            body=body,
            answer=ref(schema),
        ),
        Route(
            method="GET",
            path=one,
            handler=get,
            scope="read",
            tag=noun,
            summary=f"Show a {singular}",
            answer=ref(schema),
            errors=(404,),
        ),
        Route(
            method="DELETE",
            path=one,
            handler=delete,
            scope="admin",
            tag=noun,
            summary=f"Withdraw a {singular}",
            status=204,
            errors=(404, 409),
        ),
    ]


ROUTES = (
    *_crud(
        "locations",
        "id",
        "Location",
        _LOCATION,
        (list_locations, put_location, get_location, delete_location),
    ),
    *_crud(
        "tariffs", "id", "Tariff", _TARIFF, (list_tariffs, put_tariff, get_tariff, delete_tariff)
    ),
    *_crud("tokens", "uid", "Token", _TOKEN, (list_tokens, put_token, get_token, delete_token)),
)
