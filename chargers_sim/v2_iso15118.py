"""Plug and Charge and ISO 15118 in OCPP 2.x: contract, needs, schedule, certificates of the car."""

import base64
import hashlib
from decimal import Decimal
from typing import TYPE_CHECKING

from chargers_sim.car import Car
from chargers_sim.clock import iso
from chargers_sim.contract import contract_for
from chargers_sim.outbox import Outgoing, Payload
from chargers_sim.outlet import Outlet, Token
from chargers_sim.profiles import Profile
from chargers_sim.tokens import Verdict
from chargers_sim.v2_model import DeviceModel
from chargers_sim.v2_words import id_token, read_verdict

if TYPE_CHECKING:
    from chargers_sim.live import Station

LONGEST_CERTIFICATE = {"2.0.1": 5_500, "2.1": 10_000}
SCHEMA = "urn:iso:15118:2:2013:MsgDef"


class Iso15118:
    """What a car with a communication line makes its station say."""

    def __init__(self, station: "Station", model: DeviceModel) -> None:
        self._station = station
        self._model = model

    async def authorize(self, token: Token) -> Verdict:
        """Send Authorize for a contract: eMAID, hashes, and the chain if the server checks it."""
        payload: Payload = {"idToken": id_token(token)}
        payload |= self._station.contract or self._contract(token.value)
        answer = await self._station.call("Authorize", payload)
        certificate = answer.get("certificateStatus", "Accepted")
        verdict = read_verdict(answer["idTokenInfo"])
        self._station.emit("contract", id_tag=token.value, certificate_status=certificate)
        return verdict if certificate == "Accepted" else Verdict(certificate)

    def _contract(self, emaid: str) -> Payload:
        contract = self._station.contracts.get(emaid) or contract_for(emaid)
        told: Payload = {"iso15118CertificateHashData": contract.hash_data()}
        if self._model.on("ISO15118Ctrlr", "CentralContractValidationAllowed"):
            pem = contract.pem()
            if len(pem) <= LONGEST_CERTIFICATE[self._station.version]:
                told["certificate"] = pem
        return told

    def needs(self, outlet: Outlet) -> Outgoing:
        """Make the NotifyEVChargingNeeds of the car at an outlet."""
        payload = {"evseId": outlet.evse, "chargingNeeds": self._needs(outlet)}

        def answered(answer: Payload) -> None:
            self._station.emit(
                "charging_needs", connector=outlet.number, status=answer.get("status")
            )

        return Outgoing(action="NotifyEVChargingNeeds", payload=payload, on_answer=answered)

    def _needs(self, outlet: Outlet) -> Payload:
        car: Car = getattr(outlet.draw, "car", None) or Car()
        soc = car.soc if outlet.draw is None else outlet.draw.soc or car.soc
        wanted_wh = max(0, int((car.target_soc - soc) * car.battery_wh / 100))
        departure = iso(self._station.now + 8 * 3_600_000)
        volts = outlet.meter.voltage_v
        if outlet.meter.direct_current:
            most_w = min(car.max_power_w, outlet.max_power_w)
            return {
                "requestedEnergyTransfer": "DC",
                "departureTime": departure,
                "dcChargingParameters": {
                    "evMaxCurrent": most_w // volts,
                    "evMaxVoltage": volts,
                    "evMaxPower": most_w,
                    "energyAmount": wanted_wh,
                    "stateOfCharge": int(soc),
                    "evEnergyCapacity": car.battery_wh,
                    "fullSoC": int(car.target_soc),
                    "bulkSoC": int(car.taper_from),
                },
            }
        phases = min(outlet.meter.phases, car.phases)
        return {
            "requestedEnergyTransfer": "AC_three_phase" if phases == 3 else "AC_single_phase",
            "departureTime": departure,
            "acChargingParameters": {
                "energyAmount": wanted_wh,
                "evMinCurrent": 6,
                "evMaxCurrent": max(6, car.max_power_w // (230 * phases)),
                "evMaxVoltage": 400 if phases == 3 else 230,
            },
        }

    def schedule(self, outlet: Outlet, profile: Profile) -> Outgoing:
        """Make the NotifyEVChargingSchedule by which the car follows a profile it was given."""
        car: Car = getattr(outlet.draw, "car", None) or Car()
        most_w = min(car.max_power_w, outlet.max_power_w)
        most = Decimal(most_w if profile.unit == "W" else most_w // (230 * min(car.phases, 3)))
        periods = [
            {
                "startPeriod": limit.start_s,
                "limit": float(most if limit.value is None else min(most, limit.value)),
            }
            for limit in profile.limits
        ]
        payload = {
            "timeBase": iso(self._station.now),
            "evseId": outlet.evse,
            "chargingSchedule": {
                "id": 1,
                "chargingRateUnit": profile.unit,
                "chargingSchedulePeriod": periods,
            },
        }

        def answered(answer: Payload) -> None:
            self._station.emit(
                "charging_schedule", connector=outlet.number, status=answer.get("status")
            )

        return Outgoing(action="NotifyEVChargingSchedule", payload=payload, on_answer=answered)

    async def ev_certificate(self, emaid: str, action: str = "Install") -> Payload:
        """Ask for the contract certificate of a car; its request is bytes nobody here reads."""
        body = hashlib.sha256(f"{action} {emaid}".encode()).digest() * 8
        payload = {
            "iso15118SchemaVersion": SCHEMA,
            "action": action,
            "exiRequest": base64.b64encode(body).decode(),
        }
        answer = await self._station.call("Get15118EVCertificate", payload)
        self._station.emit("ev_certificate", action=action, status=answer.get("status"))
        return answer

    async def certificate_status(self, emaid: str, responder: str | None = None) -> Payload:
        """Ask for the OCSP status of the contract's sub-CA."""
        contract = self._station.contracts.get(emaid) or contract_for(emaid)
        data = contract.hash_data(responder) if responder else contract.hash_data()
        answer = await self._station.call("GetCertificateStatus", {"ocspRequestData": data[-1]})
        self._station.emit("certificate_status", status=answer.get("status"))
        return answer

    async def chain_status(self, emaid: str, responder: str | None = None) -> Payload:
        """Ask for the status of the whole chain at once (2.1)."""
        contract = self._station.contracts.get(emaid) or contract_for(emaid)
        data = contract.hash_data(responder) if responder else contract.hash_data()
        requests = []
        for each in data:
            url = each.pop("responderURL")
            requests.append({"source": "OCSP", "urls": [url], "certificateHashData": each})
        answer = await self._station.call(
            "GetCertificateChainStatus", {"certificateStatusRequests": requests}
        )
        told = [s.get("status") for s in answer.get("certificateStatus", [])]
        self._station.emit("certificate_status", status=",".join(map(str, told)))
        return answer
