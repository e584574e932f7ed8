"""Commands, charging profiles and preferences in the words of OCPI 2.2.1."""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from cpo.errors import Invalid, NotFound
from cpo.ocpi import exact_json
from cpo.ocpi.dialect import (
    ChargingPreferences,
    ChargingProfile,
    CommandRequest,
)
from cpo.ocpi.fields import Wire
from cpo.ocpi.rendering import (
    compact,
    message,
)
from cpo.ocpi.v221 import wire
from cpo.ocpi.v221.parties import read_by
from cpo.ocpi.v221.vocabulary import Chapter

# Words of our commands that no version has.
_RESULTS = {"OFFLINE": "FAILED", "SCHEDULED": "ACCEPTED"}


class Commands(Chapter):
    """What partners ask of stations, and what they are answered."""

    def command_response(self, result: str, timeout: int, message: str | None = None) -> bytes:
        """Write the immediate answer to a command."""
        return _message(
            wire.CommandResponse,
            {"result": str(result), "timeout": timeout, "message": display_texts(message)},
        )

    def command_result(self, result: str, message: str | None = None) -> bytes:
        """Write what the station made of a command (CMD-3)."""
        word = str(result)
        return _message(
            wire.CommandResult,
            {"result": _RESULTS.get(word, word), "message": display_texts(message)},
        )

    def read_command(
        self,
        name: str,
        data: Any,
        *,
        owner: tuple[str, str] | None = None,
        partner_id: str | None = None,
    ) -> CommandRequest:
        """Read a command; raises NotFound for a name that this version does not have."""
        match name:
            case "START_SESSION":
                start = self._words.start_session.read(data)
                return CommandRequest(
                    name=name,
                    response_url=start.response_url,
                    token=read_by(start.token, partner_id),
                    location_id=start.location_id,
                    evse_uid=start.evse_uid or None,
                    connector_id=start.connector_id or None,
                    authorization_reference=start.authorization_reference or None,
                )
            case "STOP_SESSION":
                stop = wire.StopSession.read(data)
                return CommandRequest(
                    name=name, response_url=stop.response_url, session_id=stop.session_id
                )
            case "RESERVE_NOW":
                reserve = self._words.reserve_now.read(data)
                return CommandRequest(
                    name=name,
                    response_url=reserve.response_url,
                    token=read_by(reserve.token, partner_id),
                    location_id=reserve.location_id,
                    evse_uid=reserve.evse_uid or None,
                    authorization_reference=reserve.authorization_reference or None,
                    reservation_id=reserve.reservation_id,
                    expiry_date=reserve.expiry_date,
                )
            case "CANCEL_RESERVATION":
                cancel = wire.CancelReservation.read(data)
                return CommandRequest(
                    name=name,
                    response_url=cancel.response_url,
                    reservation_id=cancel.reservation_id,
                )
            case "UNLOCK_CONNECTOR":
                unlock = wire.UnlockConnector.read(data)
                return CommandRequest(
                    name=name,
                    response_url=unlock.response_url,
                    location_id=unlock.location_id,
                    evse_uid=unlock.evse_uid,
                    connector_id=unlock.connector_id,
                )
            case _:
                raise NotFound("command", name)

    def charging_profile_response(self, result: str, timeout: int) -> bytes:
        """Write the immediate answer to a request about charging profiles."""
        return message(wire.ChargingProfileResponse, {"result": str(result), "timeout": timeout})

    def charging_profile_result(self, result: str, profile: ChargingProfile | None = None) -> bytes:
        """Write the result of setting, clearing or (with profile) asking for a profile."""
        document: dict[str, Any] = {"result": str(result)}
        if profile is None:
            return message(wire.ChargingProfileResult, document)
        document["profile"] = _active_profile(profile)
        return message(wire.ActiveChargingProfileResult, document)

    def active_charging_profile(self, profile: ChargingProfile) -> bytes:
        """Write the profile that is active now; its start is required (CP-3)."""
        return message(wire.ActiveChargingProfile, _active_profile(profile))

    def read_charging_preferences(self, data: Any) -> ChargingPreferences:
        """Read charging preferences."""
        read = wire.ChargingPreferences.read(data)
        return ChargingPreferences(
            profile_type=read.profile_type,
            departure_time=read.departure_time,
            energy_need=read.energy_need,
            discharge_allowed=read.discharge_allowed,
        )

    def read_set_charging_profile(self, data: Any) -> tuple[ChargingProfile, str]:
        """Read a request to set a profile: the profile and the response URL."""
        read = wire.SetChargingProfile.read(data)
        profile = read.charging_profile
        return (
            ChargingProfile(
                charging_rate_unit=profile.charging_rate_unit,
                periods=tuple(
                    (period.start_period, period.limit)
                    for period in profile.charging_profile_period
                ),
                start_date_time=profile.start_date_time,
                duration=profile.duration,
                min_charging_rate=profile.min_charging_rate,
            ),
            read.response_url,
        )


def display_texts(text: str | None) -> list[dict[str, str]]:
    """Render a remark of ours for drivers."""
    return [{"language": "en", "text": text[:512]}] if text else []


def _active_profile(profile: ChargingProfile) -> dict[str, Any]:
    if profile.start_date_time is None:
        raise Invalid("start_date_time", "required in an active profile")
    start = exact_json.instant(profile.start_date_time)
    return {
        "start_date_time": start,
        "charging_profile": compact(
            {
                "start_date_time": start,
                "duration": profile.duration,
                "charging_rate_unit": profile.charging_rate_unit,
                "min_charging_rate": profile.min_charging_rate,
                "charging_profile_period": [
                    {"start_period": start_s, "limit": _one_decimal(limit)}
                    for start_s, limit in profile.periods
                ],
            }
        ),
    }


def _one_decimal(limit: Decimal) -> Decimal | int:
    return exact_json.number(limit.quantize(Decimal("0.1"), ROUND_HALF_UP))


def _message(model: type[Wire], document: dict[str, Any]) -> bytes:
    return message(model, compact(document))
