"""The OpenAPI 3.1 description, made from the table of routes and the bodies' models."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

import cpo
from cpo.domain.job import JobKind
from cpo.web.routes import Route

_BYTES = "application/octet-stream"
_TEXT = {"type": "string"}
_MAYBE = {"type": ["string", "null"]}
_INSTANT = {"type": ["string", "null"], "format": "date-time"}
_NUMBER = {"type": "number"}
_BOOL = {"type": "boolean"}
_LIST = {"type": "array"}
_OBJECT = {"type": "object"}
_MONEY = {
    "type": ["object", "null"],
    "properties": {
        "excl_vat": {"type": ["number", "null"]},
        "incl_vat": {"type": ["number", "null"]},
    },
}


def _shape(required: Mapping[str, Any], **optional: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **optional},
    }


SCHEMAS: dict[str, Any] = {
    "Problem": {
        "description": "RFC 9457; `field` names what is wrong, `step` where a handshake failed",
        **_shape(
            {"type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT},
            field=_TEXT,
            step=_TEXT,
            code=_TEXT,
        ),
    },
    "Station": _shape(
        {
            "identity": _TEXT,
            "online": _BOOL,
            "approval": _TEXT,
            "version": _MAYBE,
            "vendor": _MAYBE,
            "model": _MAYBE,
            "firmware": _MAYBE,
            "last_seen": _INSTANT,
            "evses": _LIST,
        },
        variables=_LIST,
        connectors=_LIST,
        transactions=_LIST,
        ocpp_versions=_LIST,
        security_profile={"type": "integer"},
        allow_without_password=_BOOL,
        has_password=_BOOL,
        topology_mismatch=_LIST,
        charging_without_transaction=_LIST,
        clock_offset=_NUMBER,
        serial_number=_MAYBE,
        booted_at=_INSTANT,
        habits=_OBJECT,
        effective_habits={
            "type": "object",
            "description": "Habits that hold, each with `value` and `from`: the station, or the "
            "profile of its kind",
        },
        repairs=_OBJECT,
        deviations={
            "type": "array",
            "description": "In what it deviates: `action`, `where`, `what`, `count`, `first`, "
            "`last`",
        },
    ),
    "Document": _shape({"kind": _TEXT, "key": _TEXT, "document": _OBJECT, "at": _INSTANT}),
    "Frame": _shape(
        {
            "at": _INSTANT,
            "direction": {"enum": ["in", "out"]},
            "action": _TEXT,
            "message_id": _TEXT,
            "payload": {"description": "What was said; null where the frame is unreadable"},
            "frame": _TEXT,
        },
        answer={"description": "What was answered, or `error`, `description`, `details`"},
        answer_frame=_MAYBE,
        deviations=_MAYBE,
    ),
    "Location": {
        "description": "OCPI 2.3.0 Location; EVSEs carry `ocpp` and their published `status`",
        **_shape({"id": _TEXT, "last_updated": _INSTANT}),
    },
    "SiteLimit": _shape(
        {
            "location": _TEXT,
            "max_power_w": _NUMBER,
            "policy": {"enum": ["equal", "first-come"]},
            "allotted_w": _NUMBER,
            "exceeded": _BOOL,
            "shares": _LIST,
        }
    ),
    "Tariff": {
        "description": "OCPI Tariff",
        **_shape({"id": _TEXT, "currency": _TEXT, "elements": _LIST, "last_updated": _INSTANT}),
    },
    "Token": _shape(
        {
            "uid": _TEXT,
            "type": _TEXT,
            "contract_id": _TEXT,
            "valid": _BOOL,
            "whitelist": _TEXT,
            "partner": _MAYBE,
        },
        group_id=_MAYBE,
        issuer=_TEXT,
        visual_number=_MAYBE,
        expires_at=_INSTANT,
        country_code=_TEXT,
        party_id=_TEXT,
        last_updated=_INSTANT,
    ),
    "Partner": _shape(
        {
            "id": _TEXT,
            "name": _TEXT,
            "status": _TEXT,
            "version": _MAYBE,
            "roles": _LIST,
            "endpoints": _LIST,
            "last_error": _MAYBE,
        },
        versions_url=_MAYBE,
        hub_party=_MAYBE,
        quirks=_OBJECT,
        policy=_OBJECT,
        last_seen=_INSTANT,
        registered_at=_INSTANT,
        tokens_pulled_at=_INSTANT,
        token_pull={"type": ["object", "null"], "description": "how far a pull has come"},
        tokens_rotated_at=_INSTANT,
        sending=_OBJECT,
    ),
    "Mark": _shape(
        {
            "kind": _TEXT,
            "object": _TEXT,
            "since": _INSTANT,
            "attempts": {"type": "integer"},
            "last_error": _MAYBE,
            "parked": _BOOL,
        },
        partner=_TEXT,
        next_attempt_at=_INSTANT,
    ),
    "Session": _shape(
        {
            "id": _TEXT,
            "status": _TEXT,
            "start_date_time": _INSTANT,
            "kwh": _NUMBER,
            "currency": _TEXT,
            "total_cost": _MONEY,
        },
        end_date_time=_INSTANT,
        partner=_MAYBE,
        partners=_LIST,
        settlements=_LIST,
        location=_MAYBE,
        evse_uid=_MAYBE,
        cdr=_MAYBE,
        flags=_LIST,
        last_updated=_INSTANT,
    ),
    "MeterKey": _shape(
        {
            "name": _TEXT,
            "public_key": _TEXT,
            "source": {"enum": ["registered", "announced"]},
        },
        serial=_MAYBE,
        evse_id={"type": ["integer", "null"]},
    ),
    "Cdr": _shape(
        {
            "id": _TEXT,
            "session_id": _TEXT,
            "start_date_time": _INSTANT,
            "end_date_time": _INSTANT,
            "kwh": _NUMBER,
            "currency": _TEXT,
            "total_cost": _MONEY,
            "credit": _BOOL,
            "hold": _LIST,
        },
        partner=_MAYBE,
        partners=_LIST,
        credit_reference_id=_MAYBE,
        last_updated=_INSTANT,
    ),
    "Command": _shape(
        {
            "id": _TEXT,
            "kind": _TEXT,
            "station": _TEXT,
            "state": {"enum": ["queued", "sent", "done"]},
            "outcome": _MAYBE,
            "created_at": _INSTANT,
            "deadline": _INSTANT,
        },
        detail=_MAYBE,
        payload=_OBJECT,
        evse_uid=_MAYBE,
        requested_by=_TEXT,
        partner=_MAYBE,
        session_id=_MAYBE,
        finished_at=_INSTANT,
        start={
            "type": ["object", "null"],
            "description": "What became of an accepted remote start: `state` is awaited, started "
            "(with `session_id`) or missing",
        },
    ),
    "Job": _shape(
        {
            "id": _TEXT,
            "kind": {"enum": [str(kind) for kind in JobKind]},
            "station": _TEXT,
            "state": {
                "enum": [
                    "waiting",
                    "sent",
                    "running",
                    "done",
                    "failed",
                    "timed_out",
                    "cancelled",
                ]
            },
            "status": _MAYBE,
            "attempt": {"type": "integer"},
            "retries": {"type": "integer"},
            "history": _LIST,
            "created_at": _INSTANT,
        },
        parameters=_OBJECT,
        detail=_MAYBE,
        request_id={"type": ["integer", "null"]},
        timeout=_NUMBER,
        retry_interval=_NUMBER,
        due_at=_INSTANT,
        heard_at=_INSTANT,
        finished_at=_INSTANT,
        file=_MAYBE,
        answer={
            "type": ["object", "null"],
            "description": "What the station answered, where that is the result",
        },
        parts={"type": "integer", "description": "Parts of a report that have come"},
        result={
            "type": ["array", "null"],
            "description": "What the station has reported so far, in order; only where one job "
            "is shown",
        },
        requested_by=_TEXT,
    ),
    "StoredFile": _shape(
        {"id": _TEXT, "kind": _TEXT, "name": _TEXT, "size": {"type": "integer"}, "sha256": _TEXT},
        at=_INSTANT,
        station=_MAYBE,
        job=_MAYBE,
    ),
    "Orphan": _shape(
        {
            "at": _INSTANT,
            "station": _TEXT,
            "reason": _TEXT,
            "action": _TEXT,
            "payload": _TEXT,
        },
        transaction=_MAYBE,
    ),
    "Unplaced": _shape(
        {
            "transaction": _TEXT,
            "started_at": _INSTANT,
            "ended_at": _INSTANT,
            "kwh": _NUMBER,
        },
        evse_id={"type": ["integer", "null"]},
        connector_id={"type": ["integer", "null"]},
        id_token=_MAYBE,
    ),
    "Audit": _shape(
        {"at": _INSTANT, "actor": _TEXT, "action": _TEXT, "subject": _TEXT, "detail": _TEXT}
    ),
}

_MEANINGS = {
    400: "The body is not JSON",
    401: "No key, or an unknown one",
    403: "The key lacks the scope",
    404: "There is no such thing",
    409: "Its state does not allow this",
    413: "The file is longer than the settings allow",
    422: "A value cannot be used; `field` names it",
    429: "Too many wrong keys from this address",
    502: "The other side failed; `step` or `code` tells how",
    503: "The database does not take the write",
    507: "There is no room for the file",
}


def description(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the whole description."""
    schemas = dict(SCHEMAS)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(f"/api/v1{route.path}", {})[route.method.lower()] = _operation(
            route, schemas
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cpo operator API",
            "version": cpo.__version__,
            "description": "Errors are `application/problem+json`. Lists are paged with `limit` "
            "and `cursor`. Every change writes an audit row.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An operator key with scope `read`, `operate` or `admin`",
                }
            },
        },
    }


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    name = re.sub(r"[^a-z0-9]+", "_", f"{route.method} {route.path}".lower()).strip("_")
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": route.summary,
        "description": f"Scope: `{route.scope}`.",
        "tags": [route.tag],
        "responses": _responses(route),
    }
    parameters = [
        {"name": found, "in": "path", "required": True, "schema": {"type": "string"}}
        for found in re.findall(r"{(\w+)}", route.path)
    ]
    parameters += [
        {"name": p.name, "in": p.place, "description": p.meaning, "schema": dict(p.schema)}
        for p in route.parameters
    ]
    if parameters:
        operation["parameters"] = parameters
    if route.raw:
        operation["requestBody"] = {"required": True, "content": {_BYTES: {}}}
    if route.body is not None:
        operation["requestBody"] = {
            "required": not isinstance(route.body, type) or bool(_required(route.body)),
            "content": {"application/json": {"schema": _body(route.body, schemas)}},
        }
    return operation


def _required(model: type[BaseModel]) -> list[str]:
    return [name for name, info in model.model_fields.items() if info.is_required()]


def _body(body: type[BaseModel] | Mapping[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(body, type):
        return dict(body)
    made = body.model_json_schema(
        by_alias=True, mode="serialization", ref_template="#/components/schemas/{model}"
    )
    schemas.update(made.pop("$defs", {}))
    schemas[body.__name__] = made
    return {"$ref": f"#/components/schemas/{body.__name__}"}


def _responses(route: Route) -> dict[str, Any]:
    good: dict[str, Any] = {"description": route.summary}
    if route.answer is not None:
        form = _BYTES if route.answer.get("format") == "binary" else "application/json"
        good["content"] = {form: {"schema": dict(route.answer)}}
    responses: dict[str, Any] = {str(route.status): good}
    if route.method == "PUT":
        responses["201"] = good | {"description": f"{route.summary}: it is new"}
    common = {401, 403, 422, 429, *route.errors}
    if route.body is not None:
        common |= {400}
    if route.method != "GET":
        common |= {503}
    for status in sorted(common):
        responses[str(status)] = {
            "description": _MEANINGS[status],
            "content": {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            },
        }
    return responses
