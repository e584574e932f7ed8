"""Smart charging in the words of OCPP 2.0.1 and 2.1."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from chargers_sim.clock import iso, parse
from chargers_sim.outbox import Outgoing, Payload
from chargers_sim.outlet import Outlet
from chargers_sim.peer import Handler
from chargers_sim.profiles import Limit, Profile, Purpose
from chargers_sim.v2_iso15118 import Iso15118

# As the variables of SmartChargingCtrlr say.
MOST_STACKED, MOST_PERIODS, MOST_PROFILES = 8, 48, 32

if TYPE_CHECKING:
    from chargers_sim.live import Station

PURPOSES: dict[str, Purpose] = {
    "ChargingStationMaxProfile": "Station",
    "ChargingStationExternalConstraints": "External",
    "TxDefaultProfile": "TxDefault",
    "TxProfile": "Tx",
    "PriorityCharging": "Priority",
    "LocalGeneration": "Local",
}


def read_profile(outlet: int, sent: Payload) -> Profile:
    """Read a ChargingProfile of 2.x; the first schedule counts."""
    schedule = sent["chargingSchedule"][0]
    return Profile(
        number=sent["id"],
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
                value=_limit(p),
                phases=p.get("numberPhases"),
            )
            for p in schedule["chargingSchedulePeriod"]
        ],
        transaction=sent.get("transactionId"),
        source=dict(sent),
    )


class Smart2:
    """Profiles set, cleared, asked for and reported."""

    def __init__(self, station: "Station", iso15118: Iso15118) -> None:
        self._station = station
        self._iso15118 = iso15118
        self.handlers: dict[str, Handler] = {
            "SetChargingProfile": self._set,
            "ClearChargingProfile": self._clear,
            "GetChargingProfiles": self._get,
            "GetCompositeSchedule": self._composite,
        }

    def _number(self, evse: int) -> int | None:
        if evse == 0:
            return 0
        outlet = self._station.model.find(evse=evse)
        return None if outlet is None else outlet.number

    def _set(self, request: Payload) -> Payload:
        station, sent = self._station, request["chargingProfile"]
        number = self._number(request["evseId"])
        if number is None or sent["chargingProfilePurpose"] not in PURPOSES:
            return self._station.answer("SetChargingProfile", request, "Rejected")
        profile = read_profile(number, sent)
        if profile.purpose == "External" or (profile.purpose == "Station" and number):
            return self._station.answer("SetChargingProfile", request, "Rejected")
        if profile.purpose == "Tx":
            outlet = station.model.outlets.get(number)
            running = None if outlet is None or not outlet.charging else outlet.transaction
            if running is None or profile.transaction != running.ref:
                return self._station.answer("SetChargingProfile", request, "Rejected")
        if not self._fits(profile):
            return station.answer("SetChargingProfile", request, "Rejected")
        station.change_limits(lambda: station.profiles.install(profile))
        if profile.purpose == "Tx" and station.template.iso15118:
            # The car follows, and says how.
            station.later(self._follow(station.model.outlet(number), profile))
        self._pull_later(profile)
        return station.answer("SetChargingProfile", request, "Accepted")

    def _fits(self, profile: Profile) -> bool:
        stacked = profile.stack <= MOST_STACKED and len(profile.limits) <= MOST_PERIODS
        known = any(p.number == profile.number for p in self._station.profiles.installed)
        return stacked and (known or len(self._station.profiles.installed) < MOST_PROFILES)

    async def _follow(self, outlet: Outlet, profile: Profile) -> None:
        self._station.send(self._iso15118.schedule(outlet, profile))

    def _pull_later(self, profile: Profile) -> None:
        seconds = profile.source.get("dynUpdateInterval")
        if profile.kind == "Dynamic" and isinstance(seconds, int) and seconds > 0:
            due_ms = self._station.now + seconds * 1000
            self._station.model.alarms[f"pull {profile.number}"] = due_ms

    def _clear(self, request: Payload) -> Payload:
        station, criteria = self._station, request.get("chargingProfileCriteria") or {}
        evse = criteria.get("evseId")
        removed: list[int] = []

        def clear() -> None:
            removed.append(
                station.profiles.clear(
                    number=request.get("chargingProfileId"),
                    outlet=None if evse is None else self._number(evse),
                    purpose=PURPOSES.get(criteria.get("chargingProfilePurpose", "")),
                    stack=criteria.get("stackLevel"),
                )
            )

        station.change_limits(clear)
        status = "Accepted" if removed[0] else "Unknown"
        return self._station.answer("ClearChargingProfile", request, status)

    def _get(self, request: Payload) -> Payload:
        station, wanted = self._station, request["chargingProfile"]
        evse = request.get("evseId")
        number = None if evse is None else self._number(evse)
        found = [
            p
            for p in station.profiles.installed
            if p.number >= 0
            and (number is None or p.outlet == number)
            and p.number in wanted.get("chargingProfileId", [p.number])
            and wanted.get("stackLevel", p.stack) == p.stack
            and PURPOSES.get(wanted.get("chargingProfilePurpose", ""), p.purpose) == p.purpose
        ]
        if not found:
            return self._station.answer("GetChargingProfiles", request, "NoProfiles")
        for left, profile in zip(range(len(found) - 1, -1, -1), found, strict=True):
            outlet = station.model.outlets.get(profile.outlet)
            payload = {
                "requestId": request["requestId"],
                "chargingLimitSource": "CSO",
                "tbc": left > 0,
                "evseId": 0 if outlet is None else outlet.evse,
                "chargingProfile": [profile.source],
            }
            station.send(Outgoing(action="ReportChargingProfiles", payload=payload))
        return self._station.answer("GetChargingProfiles", request, "Accepted")

    def _composite(self, request: Payload) -> Payload:
        station, evse = self._station, request["evseId"]
        outlets = station.model.outlets
        outlet = station.model.find(evse=evse) if evse else next(iter(outlets.values()))
        if outlet is None:
            return self._station.answer("GetCompositeSchedule", request, "Rejected")
        unit = request.get("chargingRateUnit", "W")
        steps = station.profiles.composite(outlet, station.now, request["duration"], unit)
        answer: dict[str, Any] = self._station.answer("GetCompositeSchedule", request, "Accepted")
        answer["schedule"] = {
            "evseId": evse,
            "duration": request["duration"],
            "scheduleStart": iso(station.now),
            "chargingRateUnit": unit,
            "chargingSchedulePeriod": [
                {"startPeriod": start, "limit": float(value)} for start, value in steps
            ],
        }
        return answer


def _limit(period: Payload) -> Decimal | None:
    """Give what a period allows; a setpoint (2.1) is as good as a limit, below 0 for V2G."""
    value = period.get("setpoint", period.get("limit"))
    return None if value is None else Decimal(str(value))


def _instant(text: str | None) -> int | None:
    return None if text is None else parse(text)
