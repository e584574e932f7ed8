"""What the server asks of a station in OCPP 2.x, beside variables, security, smart charging."""

from typing import TYPE_CHECKING

from chargers_sim.clock import parse
from chargers_sim.outbox import Outgoing, Payload
from chargers_sim.outlet import Outlet, Reservation, Token
from chargers_sim.peer import Handler
from chargers_sim.v2_model import DeviceModel
from chargers_sim.v2_publish import publisher_of
from chargers_sim.v2_smart import read_profile
from chargers_sim.v2_words import meter_value, read_verdict

if TYPE_CHECKING:
    from chargers_sim.live import Station


class Commands2:
    """Start and stop, availability, reservations, lists, triggers."""

    def __init__(self, station: "Station", model: DeviceModel) -> None:
        self._station = station
        self._model = model
        self.handlers: dict[str, Handler] = {
            "CancelReservation": self._cancel_reservation,
            "ChangeAvailability": self._change_availability,
            "ClearCache": self._clear_cache,
            "DataTransfer": self._data_transfer,
            "GetLocalListVersion": self._get_local_list_version,
            "GetTransactionStatus": self._get_transaction_status,
            "RequestStartTransaction": self._request_start,
            "RequestStopTransaction": self._request_stop,
            "ReserveNow": self._reserve_now,
            "Reset": self._reset,
            "SendLocalList": self._send_local_list,
            "TriggerMessage": self._trigger,
            "UnlockConnector": self._unlock,
        }

    def _request_start(self, request: Payload) -> Payload:
        station = self._station
        outlet = self._outlet_to_start(request.get("evseId"))
        usable = outlet is not None and station.model.status(outlet) not in {
            "Faulted",
            "Unavailable",
        }
        transaction = None if outlet is None else outlet.transaction
        running = transaction if transaction is not None and transaction.running else None
        if outlet is None or not usable or (running is not None and running.token is not None):
            return self._station.answer("RequestStartTransaction", request, "Rejected")
        asked, group = request["idToken"], request.get("groupIdToken")
        token = Token(asked["idToken"], asked["type"])
        if station.model.reserved_against(outlet, token, group and group["idToken"]):
            return self._station.answer("RequestStartTransaction", request, "Rejected")
        if (sent := request.get("chargingProfile")) is not None:
            profile = read_profile(outlet.number, sent)
            station.change_limits(lambda: station.profiles.install(profile))
        station.admission.remote_start(
            outlet,
            token,
            remote_start_id=request["remoteStartId"],
            ask=self._model.on("AuthCtrlr", "AuthorizeRemoteStart"),
        )
        answer = self._station.answer("RequestStartTransaction", request, "Accepted")
        if running is not None:
            answer["transactionId"] = running.ref
        return answer

    def _outlet_to_start(self, evse: int | None) -> Outlet | None:
        model = self._station.model
        if evse is not None:
            return model.find(evse=evse)
        free = [o for o in model.outlets.values() if not o.charging]
        return next((o for o in free if o.plugged), free[0] if free else None)

    def _request_stop(self, request: Payload) -> Payload:
        transaction = self._station.model.running(ref=request["transactionId"])
        if transaction is None:
            return self._station.answer("RequestStopTransaction", request, "Rejected")
        self._station.remote_stop(transaction)
        return self._station.answer("RequestStopTransaction", request, "Accepted")

    def _reset(self, request: Payload) -> Payload:
        station = self._station
        if request["type"] == "OnIdle" and any(station.model.transactions()):
            station.reboot_when_idle("SoftReset")
            return self._station.answer("Reset", request, "Scheduled")
        station.later(
            station.reboot("HardReset" if request["type"] == "Immediate" else "SoftReset")
        )
        return self._station.answer("Reset", request, "Accepted")

    def _unlock(self, request: Payload) -> Payload:
        station = self._station
        outlet = station.model.find(evse=request["evseId"], connector=request["connectorId"])
        if outlet is None:
            return self._station.answer("UnlockConnector", request, "UnknownConnector")
        if outlet.charging:
            return self._station.answer("UnlockConnector", request, "OngoingAuthorizedTransaction")
        opened = station.model.unlock(outlet.number, station.now)
        return self._station.answer(
            "UnlockConnector", request, "Unlocked" if opened else "UnlockFailed"
        )

    def _change_availability(self, request: Payload) -> Payload:
        station = self._station
        operative = request["operationalStatus"] == "Operative"
        evse = request.get("evse")
        if evse is None:
            numbers = [0]
        else:
            numbers = [
                o.number
                for o in station.model.outlets.values()
                if o.evse == evse["id"] and evse.get("connectorId", o.connector) == o.connector
            ]
        if not numbers:
            return self._station.answer("ChangeAvailability", request, "Rejected")
        at_once = [
            station.model.set_operative(n, station.now, operative=operative) for n in numbers
        ]
        station.dispatch()
        status = "Accepted" if all(at_once) else "Scheduled"
        return self._station.answer("ChangeAvailability", request, status)

    def _get_transaction_status(self, request: Payload) -> Payload:
        station, ref = self._station, request.get("transactionId")
        waiting = any(
            m.action == "TransactionEvent"
            and (ref is None or m.payload["transactionInfo"]["transactionId"] == ref)  # type: ignore[index]
            for m in station.outbox
        )
        answer: Payload = {"messagesInQueue": waiting}
        if ref is not None:
            answer["ongoingIndicator"] = station.model.running(ref=ref) is not None
        station.emit("command", action="GetTransactionStatus", request=request)
        return answer

    def _clear_cache(self, request: Payload) -> Payload:
        self._station.tokens.forget()
        on = self._station.tokens.cache_enabled
        return self._station.answer("ClearCache", request, "Accepted" if on else "Rejected")

    def _data_transfer(self, request: Payload) -> Payload:
        return self._station.answer("DataTransfer", request, "UnknownVendorId")

    def _get_local_list_version(self, request: Payload) -> Payload:
        self._station.emit("command", action="GetLocalListVersion", request=request)
        return {"versionNumber": self._station.tokens.version}

    def _send_local_list(self, request: Payload) -> Payload:
        entries = [
            (
                e["idToken"]["idToken"],
                read_verdict(e["idTokenInfo"]) if "idTokenInfo" in e else None,
            )
            for e in request.get("localAuthorizationList") or []
        ]
        status = self._station.tokens.update(
            request["updateType"], request["versionNumber"], entries
        )
        status = "Failed" if status == "NotSupported" else status
        return self._station.answer("SendLocalList", request, status)

    def _reserve_now(self, request: Payload) -> Payload:
        station = self._station
        evse = request.get("evseId")
        outlet = None if evse is None else station.model.find(evse=evse)
        if evse is not None and outlet is None:
            return self._station.answer("ReserveNow", request, "Rejected")
        group = request.get("groupIdToken")
        reservation = Reservation(
            number=request["id"],
            token=request["idToken"]["idToken"],
            expires_ms=parse(request["expiryDateTime"]),
            group=None if group is None else group["idToken"],
        )
        number = 0 if outlet is None else outlet.number
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
        station, evse = self._station, request.get("evse")
        outlets = list(station.model.outlets.values())
        if evse is not None:
            outlets = [
                o
                for o in outlets
                if o.evse == evse["id"] and evse.get("connectorId", o.connector) == o.connector
            ]
            if not outlets:
                return self._station.answer("TriggerMessage", request, "Rejected")
        match request["requestedMessage"]:
            case "BootNotification":
                if station.is_online:
                    return self._station.answer("TriggerMessage", request, "Rejected")
                station.link.boot_again()
            case "Heartbeat":
                station.send(Outgoing(action="Heartbeat", payload={}))
            case "StatusNotification":
                for outlet in outlets:
                    station.tell_status(outlet.number)
            case "MeterValues":
                multiplier = station.template.multiplier
                for outlet in outlets:
                    reading = station.model.read(outlet.number, station.now, "Trigger")
                    payload = {
                        "evseId": outlet.evse,
                        "meterValue": [meter_value(reading, multiplier)],
                    }
                    station.send(Outgoing(action="MeterValues", payload=payload))
            case "TransactionEvent":
                for outlet in outlets:
                    station.model.trigger(outlet.number, station.now)
                station.dispatch()
            case "SignChargingStationCertificate" | "SignV2GCertificate" as wanted:
                kind = "V2GCertificate" if "V2G" in wanted else "ChargingStationCertificate"
                csr = station.certificates.request(kind)
                payload = {"csr": csr, "certificateType": kind}
                station.send(Outgoing(action="SignCertificate", payload=payload))
            case "FirmwareStatusNotification" as action:
                idle = Outgoing(action=action, payload={"status": "Idle"})
                station.send(station.maintenance.present_firmware() or idle)
            case "PublishFirmwareStatusNotification" if publisher := publisher_of(station):
                station.send(publisher.present())
            case "LogStatusNotification" as action:
                idle = Outgoing(action=action, payload={"status": "Idle"})
                station.send(station.maintenance.present_log() or idle)
            case _:
                return self._station.answer("TriggerMessage", request, "NotImplemented")
        return self._station.answer("TriggerMessage", request, "Accepted")
