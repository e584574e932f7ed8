"""What OCPP 2.1 says of the grid: DER controls and signals; battery swap, payments."""

import uuid
from typing import TYPE_CHECKING, Any

from chargers_sim.clock import iso, parse
from chargers_sim.outbox import Outgoing, Payload
from chargers_sim.outlet import Token
from chargers_sim.peer import Handler
from chargers_sim.v2_words import id_token

if TYPE_CHECKING:
    from chargers_sim.live import Station

# The field of SetDERControl that carries a control, by its type; all others are curves.
FIELDS = {
    "EnterService": "enterService",
    "FixedPFAbsorb": "fixedPFAbsorb",
    "FixedPFInject": "fixedPFInject",
    "FixedVar": "fixedVar",
    "FreqDroop": "freqDroop",
    "Gradients": "gradient",
    "LimitMaxDischarge": "limitMaxDischarge",
}


class Grid21:
    """Controls of a distributed energy resource, swaps of batteries, payments at the station."""

    def __init__(self, station: "Station") -> None:
        self._station = station
        self.controls: dict[str, Payload] = {}
        self.handlers: dict[str, Handler] = {
            "AFRRSignal": self._frequency_signal,
            "ClearDERControl": self._clear,
            "GetDERControl": self._get,
            "NotifyWebPaymentStarted": self._web_payment,
            "RequestBatterySwap": self._request_swap,
            "SetDERControl": self._set,
        }

    def alarm(self, name: str) -> None:
        """The time of a scheduled control begins or ends."""
        what, _, number = name.partition(" ")
        if number in self.controls:
            self._station.send(self._started(number, started=what == "start"))
            if what == "end":
                self.controls.pop(number)

    def swap(
        self, event: str, tag: str, *, evse: int = 1, request_id: int | None = None
    ) -> Payload:
        """Make a BatterySwap: BatteryIn, BatteryOut or BatteryOutTimeout."""
        rng = self._station.random
        battery = {
            "evseId": evse,
            "serialNumber": f"BAT-{rng.randrange(1_000_000):06}",
            "soC": 20 if event == "BatteryIn" else 95,
            "soH": 97,
        }
        return {
            "eventType": event,
            "requestId": rng.randrange(1, 1_000_000) if request_id is None else request_id,
            "idToken": id_token(Token(tag)),
            "batteryData": [battery],
        }

    def der_alarm(self, control: str, fault: str | None, *, ended: bool = False) -> Payload:
        """Make a NotifyDERAlarm."""
        payload: Payload = {"controlType": control, "timestamp": iso(self._station.now)}
        if fault is not None:
            payload["gridEventFault"] = fault
        if ended:
            payload["alarmEnded"] = True
        return payload

    def settlement(self, amount: float, status: str, transaction: str | None) -> Payload:
        """Make a NotifySettlement of a payment terminal."""
        payload: Payload = {
            "pspRef": f"PSP-{uuid.uuid4().hex[:12]}",
            "status": status,
            "settlementAmount": amount,
            "settlementTime": iso(self._station.now),
        }
        return payload if transaction is None else {**payload, "transactionId": transaction}

    def _set(self, request: Payload) -> Payload:
        number, kind = request["controlId"], request["controlType"]
        body = request.get(FIELDS.get(kind, "curve"))
        if body is None:
            return self._station.answer("SetDERControl", request, "Rejected")
        superseded = [
            n
            for n, c in self.controls.items()
            if n != number
            and (c["controlType"], c["isDefault"]) == (kind, request["isDefault"])
            and c["body"]["priority"] >= body["priority"]
        ]
        for each in superseded:
            self.controls[each]["superseded"] = True
        self.controls[number] = {**request, "body": body, "superseded": False}
        self._schedule(number, body)
        answer = self._station.answer("SetDERControl", request, "Accepted")
        return {**answer, "supersededIds": superseded} if superseded else answer

    def _schedule(self, number: str, body: Payload) -> None:
        if "startTime" not in body:
            return
        station, alarms = self._station, self._station.model.alarms
        start_ms = max(parse(body["startTime"]), station.now + 1)
        alarms[f"der start {number}"] = start_ms
        if "duration" in body:
            alarms[f"der end {number}"] = start_ms + int(body["duration"] * 1000)
        station.later(self._wake())

    async def _wake(self) -> None:
        self._station.dispatch()

    def _started(self, number: str, *, started: bool) -> Outgoing:
        payload = {"controlId": number, "started": started, "timestamp": iso(self._station.now)}
        return Outgoing(action="NotifyDERStartStop", payload=payload)

    def _chosen(self, request: Payload) -> list[str]:
        return [
            n
            for n, c in self.controls.items()
            if request.get("controlId", n) == n
            and request.get("controlType", c["controlType"]) == c["controlType"]
            and request.get("isDefault", c["isDefault"]) == c["isDefault"]
        ]

    def _get(self, request: Payload) -> Payload:
        found = self._chosen(request)
        if not found:
            return self._station.answer("GetDERControl", request, "NotFound")
        for left, number in zip(range(len(found) - 1, -1, -1), found, strict=True):
            payload: dict[str, Any] = {"requestId": request["requestId"], "tbc": left > 0}
            name, line = self._report_line(number)
            payload[name] = [line]
            self._station.send(Outgoing(action="ReportDERControl", payload=payload))
        return self._station.answer("GetDERControl", request, "Accepted")

    def _report_line(self, number: str) -> tuple[str, Payload]:
        control = self.controls[number]
        kind = control["controlType"]
        name = FIELDS.get(kind, "curve")
        line = {"id": number, "fixedPF" if "fixedPF" in name else name: control["body"]}
        if kind not in {"EnterService", "Gradients"}:
            line |= {"isDefault": control["isDefault"], "isSuperseded": control["superseded"]}
        if name == "curve":
            line["curveType"] = kind
        return name, line

    def _clear(self, request: Payload) -> Payload:
        found = self._chosen(request)
        for number in found:
            del self.controls[number]
            for what in ("start", "end"):
                self._station.model.alarms.pop(f"der {what} {number}", None)
        status = "Accepted" if found else "NotFound"
        return self._station.answer("ClearDERControl", request, status)

    def _frequency_signal(self, request: Payload) -> Payload:
        self._station.emit("afrr_signal", signal=request["signal"])
        return self._station.answer("AFRRSignal", request, "Accepted")

    def _request_swap(self, request: Payload) -> Payload:
        tag, number = request["idToken"]["idToken"], request["requestId"]
        station = self._station

        async def hand_out() -> None:
            payload = self.swap("BatteryOut", tag, request_id=number)
            station.send(Outgoing(action="BatterySwap", payload=payload, keep=True))

        station.later(hand_out())
        return station.answer("RequestBatterySwap", request, "Accepted")

    def _web_payment(self, request: Payload) -> Payload:
        self._station.emit("web_payment", evse=request["evseId"], timeout=request["timeout"])
        self._station.emit("command", action="NotifyWebPaymentStarted", request=request)
        return {}
