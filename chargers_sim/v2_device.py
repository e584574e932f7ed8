"""Messages on the display, customers and costs of OCPP 2.x."""

from typing import TYPE_CHECKING

from chargers_sim.clock import iso
from chargers_sim.outbox import Outgoing, Payload
from chargers_sim.peer import Handler

if TYPE_CHECKING:
    from chargers_sim.live import Station


class Device2:
    """What the device model offers beside variables."""

    def __init__(self, station: "Station") -> None:
        self._station = station
        self.messages: dict[int, Payload] = {}
        self.handlers: dict[str, Handler] = {
            "ClearDisplayMessage": self._clear_message,
            "CostUpdated": self._cost_updated,
            "CustomerInformation": self._customer_information,
            "GetDisplayMessages": self._get_messages,
            "SetDisplayMessage": self._set_message,
        }

    def _set_message(self, request: Payload) -> Payload:
        message = request["message"]
        self.messages[message["id"]] = message
        return self._station.answer("SetDisplayMessage", request, "Accepted")

    def _get_messages(self, request: Payload) -> Payload:
        wanted = request.get("id")
        found = [m for n, m in self.messages.items() if not wanted or n in wanted]
        if not found:
            return self._station.answer("GetDisplayMessages", request, "Unknown")
        payload = {"requestId": request["requestId"], "messageInfo": found}
        self._station.send(Outgoing(action="NotifyDisplayMessages", payload=payload))
        return self._station.answer("GetDisplayMessages", request, "Accepted")

    def _clear_message(self, request: Payload) -> Payload:
        found = self.messages.pop(request["id"], None)
        return self._station.answer(
            "ClearDisplayMessage", request, "Accepted" if found else "Unknown"
        )

    def _customer_information(self, request: Payload) -> Payload:
        token = (request.get("idToken") or {}).get("idToken")
        if request["clear"] and token is not None:
            self._station.tokens.forget(token)
        data = "" if token is None else f"token {token}"
        payload = {
            "requestId": request["requestId"],
            "seqNo": 0,
            "generatedAt": iso(self._station.now),
            "data": data if request["report"] else "",
        }
        self._station.send(Outgoing(action="NotifyCustomerInformation", payload=payload))
        return self._station.answer("CustomerInformation", request, "Accepted")

    def _cost_updated(self, request: Payload) -> Payload:
        self._station.emit(
            "cost", transactionId=request["transactionId"], total_cost=request["totalCost"]
        )
        return {}
