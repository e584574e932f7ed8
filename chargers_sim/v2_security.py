"""Certificates, firmware and logs of OCPP 2.0.1 and 2.1."""

from typing import TYPE_CHECKING

from chargers_sim.clock import parse
from chargers_sim.maintenance import Update, Upload, certificate_problem, told
from chargers_sim.outbox import Payload
from chargers_sim.peer import Handler

if TYPE_CHECKING:
    from chargers_sim.live import Station


class Security2:
    """Certificates, logs, firmware."""

    def __init__(self, station: "Station") -> None:
        self._station = station
        self.handlers: dict[str, Handler] = {
            "CertificateSigned": self._certificate_signed,
            "DeleteCertificate": self._delete,
            "GetInstalledCertificateIds": self._installed,
            "GetLog": self._get_log,
            "InstallCertificate": self._install,
            "UpdateFirmware": self._update,
        }

    def _certificate_signed(self, request: Payload) -> Payload:
        kind = request.get("certificateType", "")
        problem = self._station.certificates.accept(request["certificateChain"], kind)
        if problem is None and kind.startswith("V2G"):
            self._station.emit("certificate_installed", kind=kind)
        elif problem is None:
            self._station.later(self._station.use_certificate())
        else:
            self._station.security_event("InvalidChargingStationCertificate", problem)
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
        wanted = request.get("certificateType")
        found = [
            {"certificateType": i.use, "certificateHashData": i.hash_data}
            for i in self._station.certificates.installed
            if not wanted or i.use in wanted
        ]
        status = "Accepted" if found else "NotFound"
        answer = self._station.answer("GetInstalledCertificateIds", request, status)
        if found:
            answer["certificateHashDataChain"] = found
        return answer

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
            tells_cancelled=True,
        )
        replaced = self._station.maintenance.upload(job)
        status = "AcceptedCanceled" if replaced else "Accepted"
        return self._station.answer("GetLog", request, status) | {"filename": name}

    def _update(self, request: Payload) -> Payload:
        firmware = request["firmware"]
        certificate = firmware.get("signingCertificate")
        problem = None if certificate is None else certificate_problem(self._station, certificate)
        if problem is not None:
            self._station.security_event("InvalidFirmwareSigningCertificate", problem)
            return self._station.answer("UpdateFirmware", request, "InvalidCertificate")
        job = Update(
            address=firmware["location"],
            tell=told("FirmwareStatusNotification", requestId=request["requestId"]),
            retrieve_ms=_instant(firmware["retrieveDateTime"]),
            install_ms=_instant(firmware.get("installDateTime")),
            retries=request.get("retries", 0),
            retry_seconds=request.get("retryInterval", 0),
            certificate=certificate,
            signature=None if certificate is None else firmware.get("signature", ""),
        )
        replaced = self._station.maintenance.update(job)
        status = "AcceptedCanceled" if replaced else "Accepted"
        return self._station.answer("UpdateFirmware", request, status)


def _instant(text: str | None) -> int | None:
    return None if text is None else parse(text)
