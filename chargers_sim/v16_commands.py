"""What the server asks of a station in OCPP 1.6, beside security and smart charging."""

from typing import TYPE_CHECKING

from chargers_sim.clock import parse
from chargers_sim.outbox import Outgoing, Payload
from chargers_sim.outlet import Outlet, Reservation, Token
from chargers_sim.peer import Handler
from chargers_sim.v16_keys import Keys16
from chargers_sim.v16_smart import read_profile
from chargers_sim.v16_words import meter_value, read_verdict, transaction_number

if TYPE_CHECKING:
    from chargers_sim.live import Station


class Commands16:
    """Remote start and stop, availability, reservations, lists, triggers."""

    def __init__(self, station: "Station", keys: Keys16) -> None:
        self._station = station
        self._keys = keys
        self.handlers: dict[str, Handler] = {
            "CancelReservation": self._cancel_reservation,
            "ChangeAvailability": self._change_availability,
            "ClearCache": self._clear_cache,
            "DataTransfer": self._data_transfer,
            "GetLocalListVersion": self._get_local_list_version,
            "RemoteStartTransaction": self._remote_start,
            "RemoteStopTransaction": self._remote_stop,
            "ReserveNow": self._reserve_now,
            "Reset": self._reset,
            "SendLocalList": self._send_local_list,
            "TriggerMessage": self._trigger,
            "UnlockConnector": self._unlock,
        }

    def _remote_start(self, request: Payload) -> Payload:
        station = self._station
        number = request.get("connectorId")
        outlet = self._outlet_to_start(number)
        if outlet is None or station.model.status(outlet) in {"Faulted", "Unavailable"}:
            return self._station.answer("RemoteStartTransaction", request, "Rejected")
        if outlet.charging and outlet.transaction is not None and outlet.transaction.token:
            return self._station.answer("RemoteStartTransaction", request, "Rejected")
        token = Token(request["idTag"])
        if station.model.reserved_against(outlet, token):
            return self._station.answer("RemoteStartTransaction", request, "Rejected")
        ask = self._keys.on("AuthorizeRemoteTxRequests")
        if (sent := request.get("chargingProfile")) is not None:
            profile = read_profile(outlet.number, sent)
            station.change_limits(lambda: station.profiles.install(profile))
        station.admission.remote_start(outlet, token, remote_start_id=None, ask=ask)
        return self._station.answer("RemoteStartTransaction", request, "Accepted")

    def _outlet_to_start(self, number: int | None) -> Outlet | None:
        outlets = self._station.model.outlets
        if number is not None:
            return outlets.get(number)
        free = [o for o in outlets.values() if not o.charging]
        return next((o for o in free if o.plugged), free[0] if free else None)

    def _remote_stop(self, request: Payload) -> Payload:
        transaction = self._station.model.running(number=request["transactionId"])
        if transaction is None:
            return self._station.answer("RemoteStopTransaction", request, "Rejected")
        self._station.remote_stop(transaction)
        return self._station.answer("RemoteStopTransaction", request, "Accepted")

    def _reset(self, request: Payload) -> Payload:
        hard = request["type"] == "Hard"
        self._station.later(self._station.reboot("HardReset" if hard else "SoftReset"))
        return self._station.answer("Reset", request, "Accepted")

    def _unlock(self, request: Payload) -> Payload:
        station, number = self._station, request["connectorId"]
        if number not in station.model.outlets:
            return self._station.answer("UnlockConnector", request, "NotSupported")
        opened = station.model.unlock(number, station.now)
        station.dispatch()
        return self._station.answer(
            "UnlockConnector", request, "Unlocked" if opened else "UnlockFailed"
        )

    def _change_availability(self, request: Payload) -> Payload:
        station, number = self._station, request["connectorId"]
        if number != 0 and number not in station.model.outlets:
            return self._station.answer("ChangeAvailability", request, "Rejected")
        operative = request["type"] == "Operative"
        at_once = station.model.set_operative(number, station.now, operative=operative)
        station.dispatch()
        return self._station.answer(
            "ChangeAvailability", request, "Accepted" if at_once else "Scheduled"
        )

    def _clear_cache(self, request: Payload) -> Payload:
        self._station.tokens.forget()
        on = self._station.tokens.cache_enabled
        return self._station.answer("ClearCache", request, "Accepted" if on else "Rejected")

    def _data_transfer(self, request: Payload) -> Payload:
        return self._station.answer("DataTransfer", request, "UnknownVendorId")

    def _get_local_list_version(self, request: Payload) -> Payload:
        tokens = self._station.tokens
        self._station.emit("command", action="GetLocalListVersion", request=request)
        return {"listVersion": tokens.version if tokens.list_enabled else -1}

    def _send_local_list(self, request: Payload) -> Payload:
        entries = [
            (e["idTag"], read_verdict(e["idTagInfo"]) if "idTagInfo" in e else None)
            for e in request.get("localAuthorizationList") or []
        ]
        status = self._station.tokens.update(request["updateType"], request["listVersion"], entries)
        return self._station.answer("SendLocalList", request, status)

    def _reserve_now(self, request: Payload) -> Payload:
        station, number = self._station, request["connectorId"]
        if number and number not in station.model.outlets:
            return self._station.answer("ReserveNow", request, "Rejected")
        reservation = Reservation(
            number=request["reservationId"],
            token=request["idTag"],
            expires_ms=parse(request["expiryDate"]),
            group=request.get("parentIdTag"),
        )
        status = station.model.reserve(number, reservation, station.now)
        station.dispatch()
        return self._station.answer("ReserveNow", request, status)

    def _cancel_reservation(self, request: Payload) -> Payload:
        station = self._station
        found = station.model.cancel_reservation(request["reservationId"], station.now)
        station.dispatch()
        return self._station.answer(
            "CancelReservation", request, "Accepted" if found else "Rejected"
        )

    def _trigger(self, request: Payload) -> Payload:
        station, number = self._station, request.get("connectorId")
        numbers = list(station.model.outlets) if number is None else [number]
        if any(n != 0 and n not in station.model.outlets for n in numbers):
            return self._station.answer("TriggerMessage", request, "Rejected")
        match request["requestedMessage"]:
            case "BootNotification":
                station.link.boot_again()
            case "Heartbeat":
                station.send(Outgoing(action="Heartbeat", payload={}))
            case "StatusNotification":
                for each in [0, *numbers] if number is None else numbers:
                    station.tell_status(each)
            case "MeterValues":
                for each in numbers:
                    station.send(self._triggered_values(each))
            case "FirmwareStatusNotification" as action:
                idle = Outgoing(action=action, payload={"status": "Idle"})
                station.send(station.maintenance.present_firmware() or idle)
            case "DiagnosticsStatusNotification" as action:
                idle = Outgoing(action=action, payload={"status": "Idle"})
                station.send(station.maintenance.present_log() or idle)
            case _:
                return self._station.answer("TriggerMessage", request, "NotImplemented")
        return self._station.answer("TriggerMessage", request, "Accepted")

    def _triggered_values(self, number: int) -> Outgoing:
        station = self._station
        outlet = station.model.outlet(number)
        reading = station.model.read(number, station.now, "Trigger")
        payload: Payload = {"connectorId": number, "meterValue": [meter_value(reading)]}
        if outlet.charging and outlet.transaction is not None:
            payload["transactionId"] = transaction_number(outlet.transaction)
        return Outgoing(action="MeterValues", payload=payload)
