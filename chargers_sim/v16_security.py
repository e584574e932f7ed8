"""Firmware, logs and the security extension of OCPP 1.6 (security whitepaper, edition 2)."""

from typing import TYPE_CHECKING

from chargers_sim.clock import parse
from chargers_sim.maintenance import Update, Upload, certificate_problem, told
from chargers_sim.outbox import Outgoing, Payload
from chargers_sim.peer import Handler

if TYPE_CHECKING:
    from chargers_sim.live import Station


class Security16:
    """Certificates, logs, firmware."""

    def __init__(self, station: "Station") -> None:
        self._station = station
        self.handlers: dict[str, Handler] = {
            "CertificateSigned": self._certificate_signed,
            "DeleteCertificate": self._delete,
            "ExtendedTriggerMessage": self._extended_trigger,
            "GetDiagnostics": self._get_diagnostics,
            "GetInstalledCertificateIds": self._installed,
            "GetLog": self._get_log,
            "InstallCertificate": self._install,
            "SignedUpdateFirmware": self._signed_update,
            "UpdateFirmware": self._update,
        }

    def _certificate_signed(self, request: Payload) -> Payload:
        problem = self._station.certificates.accept(request["certificateChain"])
        if problem is None:
            self._station.later(self._station.use_certificate())
        else:
            self._station.security_event("InvalidChargePointCertificate", problem)
        return self._station.answer(
            "CertificateSigned", request, "Rejected" if problem else "Accepted"
        )

    def _install(self, request: Payload) -> Payload:
        store = self._station.certificates
        status = store.install(request["certificateType"], request["certificate"])
        return self._station.answer("InstallCertificate", request, status)

    def _delete(self, request: Payload) -> Payload:
        status = self._station.certificates.delete(request["certificateHashData"])
        return self._station.answer("DeleteCertificate", request, status)

    def _installed(self, request: Payload) -> Payload:
        found = [
            i.hash_data
            for i in self._station.certificates.installed
            if i.use == request["certificateType"]
        ]
        status = "Accepted" if found else "NotFound"
        answer = self._station.answer("GetInstalledCertificateIds", request, status)
        if found:
            answer["certificateHashData"] = found
        return answer

    def _extended_trigger(self, request: Payload) -> Payload:
        station, wanted = self._station, request["requestedMessage"]
        if wanted == "SignChargePointCertificate":
            csr = station.certificates.request()
            station.send(Outgoing(action="SignCertificate", payload={"csr": csr}))
        elif wanted == "LogStatusNotification":
            present = station.maintenance.present_log()
            idle = told("LogStatusNotification", requestId=0)("Idle")
            station.send(present or idle)
        elif wanted == "FirmwareStatusNotification":
            present = station.maintenance.present_firmware()
            idle = told("SignedFirmwareStatusNotification", requestId=0)("Idle")
            station.send(present or idle)
        else:
            handle = station.adapter.handlers["TriggerMessage"]
            return handle(request)
        return self._station.answer("ExtendedTriggerMessage", request, "Accepted")

    def _get_diagnostics(self, request: Payload) -> Payload:
        name = f"{self._station.serial}.log"
        tell = told("DiagnosticsStatusNotification")
        job = Upload(
            address=request["location"],
            name=name,
            tell=lambda s: tell("UploadFailed" if s == "UploadFailure" else s),
            oldest_ms=_instant(request.get("startTime")),
            latest_ms=_instant(request.get("stopTime")),
            retries=request.get("retries", 0),
            retry_seconds=request.get("retryInterval", 0),
        )
        self._station.maintenance.upload(job)
        self._station.emit("command", action="GetDiagnostics", request=request)
        return {"fileName": name}

    def _get_log(self, request: Payload) -> Payload:
        name, log = f"{self._station.serial}-{request['requestId']}.log", request["log"]
        job = Upload(
            address=log["remoteLocation"],
            name=name,
            tell=told("LogStatusNotification", requestId=request["requestId"]),
            oldest_ms=_instant(log.get("oldestTimestamp")),
            latest_ms=_instant(log.get("latestTimestamp")),
            retries=request.get("retries", 0),
            retry_seconds=request.get("retryInterval", 0),
        )
        replaced = self._station.maintenance.upload(job)
        status = "AcceptedCanceled" if replaced else "Accepted"
        return self._station.answer("GetLog", request, status) | {"filename": name}

    def _update(self, request: Payload) -> Payload:
        job = Update(
            address=request["location"],
            tell=told("FirmwareStatusNotification"),
            retrieve_ms=_instant(request["retrieveDate"]),
            retries=request.get("retries", 0),
            retry_seconds=request.get("retryInterval", 0),
            many_words=False,
        )
        self._station.maintenance.update(job)
        self._station.emit("command", action="UpdateFirmware", request=request)
        return {}

    def _signed_update(self, request: Payload) -> Payload:
        firmware = request["firmware"]
        problem = certificate_problem(self._station, firmware["signingCertificate"])
        if problem is not None:
            self._station.security_event("InvalidFirmwareSigningCertificate", problem)
            return self._station.answer("SignedUpdateFirmware", request, "InvalidCertificate")
        job = Update(
            address=firmware["location"],
            tell=told("SignedFirmwareStatusNotification", requestId=request["requestId"]),
            retrieve_ms=_instant(firmware["retrieveDateTime"]),
            install_ms=_instant(firmware.get("installDateTime")),
            retries=request.get("retries", 0),
            retry_seconds=request.get("retryInterval", 0),
            certificate=firmware["signingCertificate"],
            signature=firmware["signature"],
        )
        replaced = self._station.maintenance.update(job)
        status = "AcceptedCanceled" if replaced else "Accepted"
        return self._station.answer("SignedUpdateFirmware", request, status)


def _instant(text: str | None) -> int | None:
    return None if text is None else parse(text)
