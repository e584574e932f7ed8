"""A station in the words of OCPP 2.1: what 2.0.1 says, and what 2.1 adds."""

from decimal import Decimal
from typing import TYPE_CHECKING

from chargers_sim.clock import iso
from chargers_sim.outbox import Outgoing, Payload
from chargers_sim.profiles import Limit
from chargers_sim.v21_grid import Grid21
from chargers_sim.v201 import V201

if TYPE_CHECKING:
    from chargers_sim.live import Station


class V21(V201):
    """The 2.1 side of a station: dynamic profiles, streams of values, tariffs, priority."""

    def __init__(self, station: "Station") -> None:
        super().__init__(station)
        self.tariffs: dict[int, Payload] = {}
        self.streams: dict[int, Payload] = {}
        self.grid = Grid21(station)
        self.monitors.on_period = self._stream_period
        self.handlers |= {
            "AdjustPeriodicEventStream": self._adjust_stream,
            "ChangeTransactionTariff": self._change_tariff,
            "ClearTariffs": self._clear_tariffs,
            "ClosePeriodicEventStream": self._close_stream,
            "GetPeriodicEventStream": self._get_streams,
            "GetTariffs": self._get_tariffs,
            "NotifyAllowedEnergyTransfer": self._allowed_transfer,
            "SetDefaultTariff": self._set_tariff,
            "UpdateDynamicSchedule": self._update_dynamic,
            "UsePriorityCharging": self._use_priority,
            **self.grid.handlers,
        }

    def alarm(self, name: str) -> None:
        """An instant that this adapter asked to be told of has come."""
        kind, _, rest = name.partition(" ")
        if kind == "der":
            self.grid.alarm(rest)
        elif kind == "pull":
            self._station.later(self._pull_again(int(rest)))
        else:
            super().alarm(name)

    async def _pull_again(self, number: int) -> None:
        """Pull a dynamic profile whose interval is over, as long as it is installed."""
        station = self._station
        profile = next((p for p in station.profiles.installed if p.number == number), None)
        if profile is None or not station.is_online:
            return
        await self.pull_dynamic(number)
        seconds = profile.source.get("dynUpdateInterval")
        if isinstance(seconds, int):
            station.model.alarms[f"pull {number}"] = station.now + seconds * 1000
            station.dispatch()

    def _stream_period(self, monitor: int, value: str) -> bool:
        """Send the value of a periodic monitor over its stream; False if it has none."""
        for number, stream in self.streams.items():
            if stream["variableMonitoringId"] == monitor and self._station.is_online:
                self._station.later(self.stream(number, [value]))
                return True
        return False

    async def pull_dynamic(self, number: int) -> Payload:
        """Ask the server for the present limit of a dynamic profile, and obey it."""
        answer = await self._station.call(
            "PullDynamicScheduleUpdate", {"chargingProfileId": number}
        )
        if answer.get("status") == "Accepted" and "scheduleUpdate" in answer:
            self._apply_dynamic(number, answer["scheduleUpdate"])
        return answer

    async def stream(self, number: int, values: list[str]) -> None:
        """Send values of a stream: a message type of its own, never answered."""
        data = [{"t": n, "v": v} for n, v in enumerate(values)]
        payload = {"id": number, "pending": 0, "basetime": iso(self._station.now), "data": data}
        await self._station.send_unanswered("NotifyPeriodicEventStream", payload)

    async def open_stream(self, number: int, monitor: int, interval: int = 10) -> Payload:
        """Offer a stream of a monitored variable to the server."""
        stream = {"id": number, "variableMonitoringId": monitor, "params": {"interval": interval}}
        answer = await self._station.call("OpenPeriodicEventStream", {"constantStreamData": stream})
        if answer.get("status") == "Accepted":
            self.streams[number] = stream
        return answer

    def _update_dynamic(self, request: Payload) -> Payload:
        number = request["chargingProfileId"]
        found = any(
            p.number == number and p.kind == "Dynamic" for p in self._station.profiles.installed
        )
        if found:
            self._apply_dynamic(number, request["scheduleUpdate"])
        return self._station.answer(
            "UpdateDynamicSchedule", request, "Accepted" if found else "Rejected"
        )

    def _apply_dynamic(self, number: int, update: Payload) -> None:
        station, limit = self._station, update.get("setpoint", update.get("limit"))

        def change() -> None:
            for profile in station.profiles.installed:
                if profile.number == number:
                    value = None if limit is None else Decimal(str(limit))
                    profile.limits = [Limit(start_s=0, value=value)]

        station.change_limits(change)

    def _use_priority(self, request: Payload) -> Payload:
        found = self._station.model.running(ref=request["transactionId"]) is not None
        if found:
            ref, station = request["transactionId"], self._station

            def change() -> None:
                mine = station.profiles.priority
                (mine.add if request["activate"] else mine.discard)(ref)

            station.change_limits(change)
            payload = {"transactionId": request["transactionId"], "activated": request["activate"]}
            self._station.send(Outgoing(action="NotifyPriorityCharging", payload=payload))
        return self._station.answer(
            "UsePriorityCharging", request, "Accepted" if found else "Rejected"
        )

    def _set_tariff(self, request: Payload) -> Payload:
        self.tariffs[request["evseId"]] = request["tariff"]
        return self._station.answer("SetDefaultTariff", request, "Accepted")

    def _get_tariffs(self, request: Payload) -> Payload:
        wanted = request["evseId"]
        found = [
            {"tariffId": tariff["tariffId"], "tariffKind": "DefaultTariff", "evseIds": [evse]}
            for evse, tariff in self.tariffs.items()
            if wanted in {0, evse}
        ]
        answer = self._station.answer("GetTariffs", request, "Accepted" if found else "NoTariff")
        if found:
            answer["tariffAssignments"] = found
        return answer

    def _clear_tariffs(self, request: Payload) -> Payload:
        wanted = request.get("tariffIds")
        held = {evse: t["tariffId"] for evse, t in self.tariffs.items()}
        cleared = [t for t in held.values() if not wanted or t in wanted]
        self.tariffs = {e: t for e, t in self.tariffs.items() if t["tariffId"] not in cleared}
        unknown = [t for t in wanted or [] if t not in cleared]
        results = [{"tariffId": t, "status": "Accepted"} for t in cleared]
        results += [{"tariffId": t, "status": "NoTariff"} for t in unknown]
        self._station.emit("command", action="ClearTariffs", request=request)
        return {"clearTariffsResult": results or [{"status": "NoTariff"}]}

    def _change_tariff(self, request: Payload) -> Payload:
        found = self._station.model.running(ref=request["transactionId"]) is not None
        status = "Accepted" if found else "TxNotFound"
        return self._station.answer("ChangeTransactionTariff", request, status)

    def _adjust_stream(self, request: Payload) -> Payload:
        stream = self.streams.get(request["id"])
        if stream is not None:
            stream["params"] = request["params"]
        status = "Accepted" if stream is not None else "Rejected"
        return self._station.answer("AdjustPeriodicEventStream", request, status)

    def _get_streams(self, request: Payload) -> Payload:
        self._station.emit("command", action="GetPeriodicEventStream", request=request)
        return {"constantStreamData": list(self.streams.values())} if self.streams else {}

    def _close_stream(self, request: Payload) -> Payload:
        self.streams.pop(request["id"], None)
        self._station.emit("command", action="ClosePeriodicEventStream", request=request)
        return {}

    def _allowed_transfer(self, request: Payload) -> Payload:
        return self._station.answer("NotifyAllowedEnergyTransfer", request, "Accepted")
