"""Smart charging in the words of OCPP 1.6."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from chargers_sim.clock import iso, parse
from chargers_sim.outbox import Payload
from chargers_sim.peer import Handler
from chargers_sim.profiles import Limit, Profile, Purpose

if TYPE_CHECKING:
    from chargers_sim.live import Station

PURPOSES: dict[str, Purpose] = {
    "ChargePointMaxProfile": "Station",
    "TxDefaultProfile": "TxDefault",
    "TxProfile": "Tx",
}


def read_profile(outlet: int, sent: Payload) -> Profile:
    """Read a ChargingProfile of 1.6."""
    schedule = sent["chargingSchedule"]
    return Profile(
        number=sent["chargingProfileId"],
        outlet=outlet,
        purpose=PURPOSES[sent["chargingProfilePurpose"]],
        stack=sent["stackLevel"],
        kind=sent["chargingProfileKind"],
        recurrence=sent.get("recurrencyKind"),
        valid_from_ms=_instant(sent.get("validFrom")),
        valid_to_ms=_instant(sent.get("validTo")),
        start_ms=_instant(schedule.get("startSchedule")),
        duration_s=schedule.get("duration"),
        unit=schedule["chargingRateUnit"],
        limits=[
            Limit(
                start_s=p["startPeriod"],
                value=Decimal(str(p["limit"])),
                phases=p.get("numberPhases"),
            )
            for p in schedule["chargingSchedulePeriod"]
        ],
        transaction=sent.get("transactionId"),
        source=dict(sent),
    )


class Smart16:
    """Profiles set, cleared and asked for."""

    def __init__(self, station: "Station") -> None:
        self._station = station
        self.handlers: dict[str, Handler] = {
            "SetChargingProfile": self._set,
            "ClearChargingProfile": self._clear,
            "GetCompositeSchedule": self._composite,
        }

    def _set(self, request: Payload) -> Payload:
        station, number = self._station, request["connectorId"]
        profile = read_profile(number, request["csChargingProfiles"])
        known = number == 0 or number in station.model.outlets
        if not known or (profile.purpose == "Station" and number != 0):
            return self._station.answer("SetChargingProfile", request, "Rejected")
        if profile.purpose == "Tx":
            outlet = station.model.outlets.get(number)
            running = None if outlet is None or not outlet.charging else outlet.transaction
            if running is None or profile.transaction not in {None, running.number}:
                return self._station.answer("SetChargingProfile", request, "Rejected")
        if profile.stack > 8 or len(profile.limits) > 48:
            # ChargeProfileMaxStackLevel, ChargingScheduleMaxPeriods.
            return station.answer("SetChargingProfile", request, "Rejected")
        station.change_limits(lambda: station.profiles.install(profile))
        return self._station.answer("SetChargingProfile", request, "Accepted")

    def _clear(self, request: Payload) -> Payload:
        station = self._station
        removed: list[int] = []

        def clear() -> None:
            removed.append(
                station.profiles.clear(
                    number=request.get("id"),
                    outlet=request.get("connectorId"),
                    purpose=PURPOSES.get(request.get("chargingProfilePurpose", "")),
                    stack=request.get("stackLevel"),
                )
            )

        station.change_limits(clear)
        status = "Accepted" if removed[0] else "Unknown"
        return self._station.answer("ClearChargingProfile", request, status)

    def _composite(self, request: Payload) -> Payload:
        station, number = self._station, request["connectorId"]
        outlets = station.model.outlets
        outlet = outlets.get(number) if number else next(iter(outlets.values()))
        if outlet is None:
            return self._station.answer("GetCompositeSchedule", request, "Rejected")
        unit = request.get("chargingRateUnit", "A")
        steps = station.profiles.composite(outlet, station.now, request["duration"], unit)
        answer: dict[str, Any] = self._station.answer("GetCompositeSchedule", request, "Accepted")
        answer["connectorId"] = number
        answer["scheduleStart"] = iso(station.now)
        answer["chargingSchedule"] = {
            "duration": request["duration"],
            "chargingRateUnit": unit,
            "chargingSchedulePeriod": [
                {"startPeriod": start, "limit": float(value)} for start, value in steps
            ],
        }
        return answer


def _instant(text: str | None) -> int | None:
    return None if text is None else parse(text)
