"""Partners: invited, registered, rotated, removed; what they have not got yet."""

from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, field_validator

from cpo.domain.partner import PartyRole
from cpo.domain.policy import check_policy
from cpo.domain.quirks import Quirks
from cpo.services.ports import Kind
from cpo.web.api import shapes
from cpo.web.body import write_json
from cpo.web.routes import PAGING, Answer, Call, Route, list_of, ref

Role = Literal["CPO", "EMSP", "HUB", "NAP", "NSP", "OTHER", "PTP", "SCSP"]


class RoleBody(BaseModel):
    """A role that the partner is expected to have."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    role: Role = "EMSP"
    country_code: str = Field(min_length=2, max_length=2, pattern=r"^[A-Za-z]{2}$")
    party_id: str = Field(min_length=3, max_length=3, pattern=r"^[A-Za-z0-9]{3}$")
    name: str = Field("", max_length=100)


class InviteBody(BaseModel):
    """A partner that may register with us; a role may be given by its name alone."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    name: str = Field(min_length=1, max_length=100)
    roles: list[Role | RoleBody] = []
    quirks: dict[str, Any] = {}
    policy: dict[str, Any] = {}

    @field_validator("roles", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [role.upper() if isinstance(role, str) else role for role in value]


class ConnectBody(BaseModel):
    """A partner that we register with."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    name: str = Field(min_length=1, max_length=100)
    versions_url: str = Field(min_length=8, max_length=255, pattern=r"^https?://")
    token_a: str = Field(min_length=1, max_length=255)
    quirks: dict[str, Any] = {}
    policy: dict[str, Any] = {}

    @field_validator("versions_url", "token_a")
    @classmethod
    def _printable(cls, value: str) -> str:
        if not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("must be printable ASCII without spaces")
        return value


class ChangeBody(BaseModel):
    """The OCPI habits of a partner and what its contract says; None leaves them as they are."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    quirks: dict[str, Any] | None = None
    policy: dict[str, Any] | None = None


class ResendBody(BaseModel):
    """One object that is to be sent again."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    kind: Kind
    object: str = Field(min_length=1, max_length=255)


class ReconcileBody(BaseModel):
    """`repair` sends again what differs."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    repair: bool = Field(True, strict=True)


def _shown(call: Call, partner_id: str) -> dict[str, Any]:
    partners = call.services.partners
    return shapes.partner(partners.known(partner_id), partners.sending(partner_id))


async def list_(call: Call) -> Answer:
    """Return a page of partners by id."""
    after, limit = call.cursor() or "", call.limit()
    ids = sorted(partner.id for partner in call.services.partners.all() if partner.id > after)
    return {
        "items": [_shown(call, id_) for id_ in ids[:limit]],
        "next_cursor": ids[limit - 1] if len(ids) > limit else None,
    }


def _check(quirks: dict[str, Any] | None, policy: dict[str, Any] | None) -> None:
    Quirks.of(quirks or {})
    check_policy(policy or {})


async def invite(call: Call) -> Answer:
    """Make a one-time token with which a partner registers with us."""
    body = call.body
    _check(body.quirks, body.policy)
    roles = tuple(
        PartyRole(
            role=given.role,
            country_code=given.country_code.upper(),
            party_id=given.party_id.upper(),
            name=given.name,
        )
        for given in body.roles
        if isinstance(given, RoleBody)
    )
    made = await call.services.partners.invite(
        body.name, roles=roles, quirks=body.quirks, policy=body.policy, actor=call.actor.name
    )
    return {
        "id": made.partner.id,
        "token_a": made.token_a,
        "versions_url": call.services.versions_url(),
    }


async def connect(call: Call) -> Answer:
    """Register with a partner."""
    body = call.body
    _check(body.quirks, body.policy)
    partner = await call.services.partners.connect(
        body.name,
        body.versions_url,
        body.token_a,
        quirks=body.quirks,
        policy=body.policy,
        actor=call.actor.name,
    )
    return _shown(call, partner.id)


async def get(call: Call) -> Answer:
    """Return a partner."""
    return _shown(call, call.path["id"])


async def change(call: Call) -> Answer:
    """Change a partner's habits or contract."""
    _check(call.body.quirks, call.body.policy)
    await call.services.partners.change(
        call.path["id"],
        quirks=call.body.quirks,
        policy=call.body.policy,
        actor=call.actor.name,
    )
    return _shown(call, call.path["id"])


async def delete(call: Call) -> Answer:
    """End the connection with a partner."""
    await call.services.partners.disconnect(call.path["id"], actor=call.actor.name)
    return None


async def rotate(call: Call) -> Answer:
    """Exchange the tokens with a partner for new ones."""
    await call.services.partners.rotate(call.path["id"], actor=call.actor.name)
    return _shown(call, call.path["id"])


async def resync(call: Call) -> Answer:
    """Note that a partner must get all its objects again."""
    count = await call.services.partners.resync(call.path["id"], actor=call.actor.name)
    return web.Response(
        body=write_json({"marked": count}), status=202, content_type="application/json"
    )


async def resend(call: Call) -> Answer:
    """Send one object again, a parked one too."""
    partner_id, body = call.path["id"], call.body
    call.services.partners.known(partner_id)
    await call.services.partners.resend(partner_id, body.kind, body.object, actor=call.actor.name)
    return {"kind": body.kind, "object": body.object}


async def probe(call: Call) -> Answer:
    """Measure a partner's habits and keep them."""
    return await call.services.partners.probe(call.path["id"], actor=call.actor.name)


async def reconcile(call: Call) -> Answer:
    """Compare what a partner holds with what we hold."""
    return await call.services.partners.compare(
        call.path["id"], repair=call.body.repair, actor=call.actor.name
    )


async def backlog(call: Call) -> Answer:
    """Return what a partner has not got yet, oldest first."""
    call.services.partners.known(call.path["id"])
    marks = call.services.partners.backlog(call.path["id"])
    return {"items": [shapes.mark(mark) for mark in marks], "next_cursor": None}


async def outbox(call: Call) -> Answer:
    """Return what all partners have not got yet."""
    partners = call.services.partners
    items = [
        {"partner": partner.id} | shapes.mark(mark)
        for partner in partners.all()
        for mark in partners.backlog(partner.id)
    ]
    start = int(cursor) if (cursor := call.cursor() or "0").isdecimal() else 0
    end = start + call.limit()
    return {
        "items": items[start:end],
        "next_cursor": str(end) if len(items) > end else None,
    }


INVITATION = {
    "type": "object",
    "required": ["id", "token_a", "versions_url"],
    "properties": {name: {"type": "string"} for name in ("id", "token_a", "versions_url")},
}
_ONE = "/partners/{id}"

ROUTES = (
    Route(
        method="GET",
        path="/partners",
        handler=list_,
        scope="read",
        tag="partners",
        summary="List partners",
        answer=list_of("Partner"),
        parameters=PAGING,
    ),
    Route(
        method="POST",
        path="/partners",
        handler=invite,
        scope="admin",
        tag="partners",
        summary="Invite a partner: it registers with us, once, with the token A",
        body=InviteBody,
        answer=INVITATION,
        status=201,
    ),
    Route(
        method="POST",
        path="/partners/connect",
        handler=connect,
        scope="admin",
        tag="partners",
        summary="Register with a partner that gave us its token A",
        body=ConnectBody,
        answer=ref("Partner"),
        status=201,
        errors=(502,),
    ),
    Route(
        method="GET",
        path=_ONE,
        handler=get,
        scope="read",
        tag="partners",
        summary="Show a partner",
        answer=ref("Partner"),
        errors=(404,),
    ),
    Route(
        method="PATCH",
        path=_ONE,
        handler=change,
        scope="admin",
        tag="partners",
        summary="Change a partner's habits (quirks) or contract (policy)",
        body=ChangeBody,
        answer=ref("Partner"),
        errors=(404,),
    ),
    Route(
        method="DELETE",
        path=_ONE,
        handler=delete,
        scope="admin",
        tag="partners",
        summary="End the connection with a partner",
        status=204,
        errors=(404,),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/rotate",
        handler=rotate,
        scope="admin",
        tag="partners",
        summary="Exchange the tokens for new ones",
        answer=ref("Partner"),
        errors=(404, 409, 502),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/resync",
        handler=resync,
        scope="operate",
        tag="partners",
        summary="Send all its objects again",
        answer={"type": "object", "properties": {"marked": {"type": "integer"}}},
        status=202,
        errors=(404, 409),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/resend",
        handler=resend,
        scope="operate",
        tag="partners",
        summary="Send one object again, a parked one too",
        body=ResendBody,
        answer={"type": "object"},
        status=202,
        errors=(404, 409),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/probe",
        handler=probe,
        scope="operate",
        tag="partners",
        summary="Measure its OCPI habits and keep them",
        answer={"type": "object"},
        errors=(404, 409, 502),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/reconcile",
        handler=reconcile,
        scope="operate",
        tag="partners",
        summary="Compare what it holds with what we hold",
        body=ReconcileBody,
        answer={"type": "object"},
        errors=(404, 409, 502),
    ),
    Route(
        method="GET",
        path=f"{_ONE}/backlog",
        handler=backlog,
        scope="read",
        tag="partners",
        summary="Show what it has not got yet, oldest first",
        answer=list_of("Mark"),
        errors=(404,),
    ),
    Route(
        method="GET",
        path="/outbox",
        handler=outbox,
        scope="read",
        tag="partners",
        summary="Show what all partners have not got yet",
        answer=list_of("Mark"),
        parameters=PAGING,
    ),
)
