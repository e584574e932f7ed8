"""The public keys of a station's meters."""

from dataclasses import asdict

from pydantic import BaseModel, ConfigDict, Field

from cpo.web.routes import Answer, Call, Route, list_of, ref


class MeterKeyBody(BaseModel):
    """A public key of an elliptic curve: PEM, or DER or a bare point in hex or base64.

    It is that of the meter with `serial`, else of the EVSE with `evse_id` (the connector of
    OCPP 1.6), else of every meter of the station.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)

    public_key: str = Field(min_length=1, max_length=10_000, strict=True)
    serial: str | None = Field(None, min_length=1, max_length=100, strict=True)
    evse_id: int | None = Field(None, ge=0, le=1_000_000, strict=True)


async def list_(call: Call) -> Answer:
    """Return the keys known of a station's meters."""
    found = await call.services.meter_keys.all(call.path["identity"])
    return {"items": [asdict(key) for key in found], "next_cursor": None}


async def put(call: Call) -> Answer:
    """Register a key, or replace it."""
    body = call.body
    key = await call.services.meter_keys.put(
        call.path["identity"],
        call.path["name"],
        public_key=body.public_key,
        serial=body.serial,
        evse_id=body.evse_id,
        actor=call.actor.name,
    )
    return asdict(key)


async def delete(call: Call) -> Answer:
    """Forget a key."""
    await call.services.meter_keys.delete(
        call.path["identity"], call.path["name"], actor=call.actor.name
    )
    return None


ROUTES = (
    Route(
        method="GET",
        path="/stations/{identity}/meter-keys",
        handler=list_,
        scope="read",
        tag="stations",
        summary="List the public keys of its meters: registered ones, and those it announces",
        answer=list_of("MeterKey"),
        errors=(404,),
    ),
    Route(
        method="PUT",
        path="/stations/{identity}/meter-keys/{name}",
        handler=put,
        scope="admin",
        tag="stations",
        summary="Register a meter's public key; signed readings are checked with it",
        body=MeterKeyBody,
        answer=ref("MeterKey"),
        errors=(404,),
    ),
    Route(
        method="DELETE",
        path="/stations/{identity}/meter-keys/{name}",
        handler=delete,
        scope="admin",
        tag="stations",
        summary="Forget a meter's public key",
        status=204,
        errors=(404,),
    ),
)
