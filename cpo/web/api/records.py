"""Sessions, CDRs and the audit trail: our record, with its fate at each partner."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cpo.errors import Invalid, NotFound
from cpo.services.payments import Payments, Settlement
from cpo.services.ports import Kind
from cpo.web.api import shapes
from cpo.web.routes import ORDERED, PAGING, Answer, Call, Parameter, Route, list_of, ref


class CreditBody(BaseModel):
    """`corrected` bills the session anew from what is known now."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    corrected: bool = Field(False, strict=True)


async def list_sessions(call: Call) -> Answer:
    """Return a page of sessions, by their last change."""
    page = await call.services.store.page(
        "sessions", limit=call.limit(), cursor=call.cursor(), newest_first=call.newest_first()
    )
    items = [shapes.session(value) for value, _ in page.items]
    return {"items": items, "next_cursor": page.next_cursor}


async def get_session(call: Call) -> Answer:
    """Return a session and what its partner knows of it."""
    id_ = call.path["id"]
    value = await call.services.store.session(id_)
    if value is None:
        raise NotFound("session", id_)
    fates = await _fates(call, Kind.SESSION, id_, value.partner_id)
    cdr = await call.services.store.cdr_of_session(id_)
    settled = await Payments(call.services.store).of_session(id_)
    return shapes.session(value) | {
        "cdr": cdr.id if cdr else None,
        "partners": fates,
        "settlements": [_settlement(one) for one in settled],
    }


def _settlement(value: Settlement) -> dict[str, Any]:
    sent = value.document
    return {
        "station": value.station,
        "psp_ref": sent["pspRef"],
        "status": sent["status"],
        "amount": sent["settlementAmount"],
        "settled_at": sent["settlementTime"],
        "receipt_id": sent.get("receiptId"),
        "receipt_url": sent.get("receiptUrl"),
        "vat_number": sent.get("vatNumber"),
        "session": value.session_id,
        "cdr": value.cdr_id,
        "currency": value.currency,
        "billed": value.billed,
        "difference": value.difference,
        "at": value.at,
    }


async def list_settlements(call: Call) -> Answer:
    """Return a page of what payment terminals settled, newest first."""
    limit = call.limit()
    found = await Payments(call.services.store).all()
    start = int(cursor) if (cursor := call.cursor() or "0").isdecimal() else 0
    return {
        "items": [_settlement(one) for one in found[start : start + limit]],
        "next_cursor": str(start + limit) if len(found) > start + limit else None,
    }


async def list_cdrs(call: Call) -> Answer:
    """Return a page of CDRs, by their last change."""
    held = call.query.get("held", "false")
    if held not in {"true", "false"}:
        raise Invalid("held", "is true or false")
    page = await call.services.store.page(
        "cdrs",
        limit=call.limit(),
        cursor=call.cursor(),
        newest_first=call.newest_first(),
        held=held == "true",
    )
    items = [shapes.cdr(value) for value, _ in page.items]
    return {"items": items, "next_cursor": page.next_cursor}


async def get_cdr(call: Call) -> Answer:
    """Return a CDR and what its partner knows of it."""
    id_ = call.path["id"]
    value = await call.services.store.cdr(id_)
    if value is None:
        raise NotFound("cdr", id_)
    fates = await _fates(call, Kind.CDR, id_, value.partner_id)
    return shapes.cdr(value) | {"partners": fates}


async def chain(call: Call) -> Answer:
    """Check the hash chain over all CDRs that were billed."""
    return {"items": await call.services.chain.verify(), "next_cursor": None}


async def _fates(
    call: Call, kind: Kind, object_id: str, partner_id: str | None
) -> list[dict[str, Any]]:
    if partner_id is None or call.services.partners.get(partner_id) is None:
        return []
    marks = [
        mark
        for mark in call.services.partners.backlog(partner_id)
        if mark.kind == kind and mark.object_id == object_id
    ]
    delivery = await call.services.store.delivery(partner_id, kind, object_id)
    return [shapes.fate(partner_id, marks, delivery)]


async def explain(call: Call) -> Answer:
    """Return every line of a CDR's price and what is behind it."""
    return await call.services.cdrs.explain(call.path["id"])


async def credit(call: Call) -> Answer:
    """Issue a credit CDR, and a corrected one where that is asked for."""
    credited, corrected = await call.services.cdrs.credit(
        call.path["id"], actor=call.actor.name, corrected=call.body.corrected
    )
    return shapes.cdr(credited) | {"corrected": corrected.id if corrected else None}


async def release(call: Call) -> Answer:
    """Let a held CDR go to its partner."""
    return shapes.cdr(await call.services.cdrs.release(call.path["id"], actor=call.actor.name))


async def list_audit(call: Call) -> Answer:
    """Return a page of the audit trail."""
    page = await call.services.store.page(
        "audit", limit=call.limit(), cursor=call.cursor(), newest_first=call.newest_first()
    )
    return {"items": [shapes.audit(row) for row, _ in page.items], "next_cursor": page.next_cursor}


async def list_orphans(call: Call) -> Answer:
    """Return a page of messages that fit nothing we know."""
    page = await call.services.store.page(
        "orphans", limit=call.limit(), cursor=call.cursor(), newest_first=call.newest_first()
    )
    return {"items": [shapes.orphan(row) for row, _ in page.items], "next_cursor": page.next_cursor}


_SETTLEMENTS: dict[str, Any] = {
    "type": "object",
    "required": ["items", "next_cursor"],
    "properties": {
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["station", "psp_ref", "status", "amount", "session", "difference"],
            },
        },
        "next_cursor": {"type": ["string", "null"]},
    },
}


ROUTES = (
    Route(
        method="GET",
        path="/sessions",
        handler=list_sessions,
        scope="read",
        tag="sessions",
        summary="List sessions by their last change",
        answer=list_of("Session"),
        parameters=ORDERED,
    ),
    Route(
        method="GET",
        path="/sessions/{id}",
        handler=get_session,
        scope="read",
        tag="sessions",
        summary="Show a session and its fate at its partner",
        answer=ref("Session"),
        errors=(404,),
    ),
    Route(
        method="GET",
        path="/settlements",
        handler=list_settlements,
        scope="read",
        tag="sessions",
        summary="Show what payment terminals settled, beside what was billed (OCPP 2.1)",
        answer=_SETTLEMENTS,
        parameters=PAGING,
    ),
    Route(
        method="GET",
        path="/cdrs",
        handler=list_cdrs,
        scope="read",
        tag="cdrs",
        summary="List CDRs by their last change",
        answer=list_of("Cdr"),
        parameters=(
            *ORDERED,
            Parameter(
                name="held",
                meaning="`true`: only those that wait for the operator",
                schema={"type": "boolean", "default": False},
            ),
        ),
    ),
    Route(
        method="GET",
        path="/cdr-chain",
        handler=chain,
        scope="read",
        tag="cdrs",
        summary="Check the hash chain over CDRs; `broken` names the first that differs",
        answer={"type": "object"},
    ),
    Route(
        method="GET",
        path="/cdrs/{id}",
        handler=get_cdr,
        scope="read",
        tag="cdrs",
        summary="Show a CDR and its fate at its partner",
        answer=ref("Cdr"),
        errors=(404,),
    ),
    Route(
        method="GET",
        path="/cdrs/{id}/explain",
        handler=explain,
        scope="read",
        tag="cdrs",
        summary="Explain every line of the price",
        answer={"type": "object"},
        errors=(404,),
    ),
    Route(
        method="POST",
        path="/cdrs/{id}/credit",
        handler=credit,
        scope="admin",
        tag="cdrs",
        summary="Issue a credit CDR, with a corrected one on demand",
        body=CreditBody,
        answer=ref("Cdr"),
        status=201,
        errors=(404, 409),
    ),
    Route(
        method="POST",
        path="/cdrs/{id}/release",
        handler=release,
        scope="admin",
        tag="cdrs",
        summary="Let a held CDR go to its partner",
        answer=ref("Cdr"),
        errors=(404, 409),
    ),
    Route(
        method="GET",
        path="/audit",
        handler=list_audit,
        scope="admin",
        tag="audit",
        summary="List who changed what",
        answer=list_of("Audit"),
        parameters=ORDERED,
    ),
    Route(
        method="GET",
        path="/orphans",
        handler=list_orphans,
        scope="read",
        tag="audit",
        summary="List messages of stations that fit nothing we know, with their raw text",
        answer=list_of("Orphan"),
        parameters=ORDERED,
    ),
)
