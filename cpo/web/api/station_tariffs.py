"""Our tariffs at stations of OCPP 2.1, which show prices and running costs by them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cpo.domain.station_tariff import station_tariff
from cpo.errors import NotFound, StationRefused, StationTimeout
from cpo.web.routes import Answer, Call, Route


class StationTariff(BaseModel):
    """One of our tariffs: the default of an EVSE (0: of all), or for a running session."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    tariff_id: str = Field(min_length=1, max_length=60)
    evse_id: int = Field(0, ge=0, le=1_000_000)
    session_id: str | None = Field(None, min_length=1, max_length=64)


async def set_tariff(call: Call) -> Answer:
    """Give a station one of our tariffs, in OCPP's words."""
    identity, body = call.path["identity"], call.body
    state = call.services.stations.state(identity)
    tariff, _ = call.services.sites.tariff(body.tariff_id)
    action = "SetDefaultTariff"
    payload: dict[str, Any] = {"evseId": body.evse_id, "tariff": station_tariff(tariff)}
    if body.session_id is not None:
        running = next((t for t in state.open_transactions() if t.id == body.session_id), None)
        if running is None:
            raise NotFound("running session", body.session_id)
        action = "ChangeTransactionTariff"
        payload = {"transactionId": running.key, "tariff": payload["tariff"]}
    try:
        answer = await call.services.commands.call(identity, action, payload, actor=call.actor.name)
    except StationRefused as error:
        return {"outcome": "error", "code": error.code, "description": error.description}
    except StationTimeout:
        return {"outcome": "timeout"}
    return {"outcome": "result", "payload": answer, "tariff": payload["tariff"]}


ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/stations/{identity}/set-tariff",
        handler=set_tariff,
        scope="operate",
        tag="stations",
        summary="Give a station of OCPP 2.1 one of our tariffs: SetDefaultTariff, or "
        "ChangeTransactionTariff for a session",
        body=StationTariff,
        answer={"type": "object", "required": ["outcome"]},
        errors=(404, 409),
    ),
)
