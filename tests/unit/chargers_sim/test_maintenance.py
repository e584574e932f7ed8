"""Firmware, logs, certificates, device model and what 2.1 adds."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import NameOID

from chargers_sim.live import Station
from chargers_sim.template import load_template

NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test root")])
ROOT_KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(public_key: Any, name: x509.Name = NAME) -> str:
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(NAME)
        .public_key(public_key)
        .serial_number(4711)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(ROOT_KEY, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.PEM).decode()


ROOT = certificate(ROOT_KEY.public_key())


async def ask(system: Any, settle: Any, action: str, payload: dict[str, Any]) -> dict[str, Any]:
    before = len(system.answered)
    await system.command(action, payload)
    await settle(lambda: len(system.answered) > before)
    frame = system.answered[-1]
    assert frame[0] == 3, frame
    return frame[2]


@pytest.mark.parametrize(
    ("version", "trigger", "kind"),
    [
        ("1.6", "ExtendedTriggerMessage", "SignChargePointCertificate"),
        ("2.0.1", "TriggerMessage", "SignChargingStationCertificate"),
        ("2.1", "TriggerMessage", "SignChargingStationCertificate"),
    ],
)
async def test_a_certificate_is_renewed(loose, settle, version, trigger, kind) -> None:
    """A02, A03; 074: trigger, CSR, signed chain, and a wrong chain refused with an event."""
    async with Station(loose.url, "CP1", ocpp=version) as station:
        await ask(loose, settle, trigger, {"requestedMessage": kind})
        await settle(lambda: loose.of("SignCertificate"))
        csr = x509.load_pem_x509_csr(loose.of("SignCertificate")[0]["csr"].encode())
        wrong = await ask(loose, settle, "CertificateSigned", {"certificateChain": ROOT})
        await settle(lambda: loose.of("SecurityEventNotification"))
        chain = certificate(csr.public_key(), csr.subject)
        good = await ask(loose, settle, "CertificateSigned", {"certificateChain": chain})
        await station.wait_for("certificate_installed")

    assert wrong == {"status": "Rejected"}
    assert good == {"status": "Accepted"}
    assert csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "CP1"


async def test_roots_are_installed_listed_and_deleted(loose, settle) -> None:
    """075_1, 076: InstallCertificate, GetInstalledCertificateIds, DeleteCertificate."""
    use = {"certificateType": "CentralSystemRootCertificate"}
    async with Station(loose.url, "CP1"):
        done = await ask(loose, settle, "InstallCertificate", {**use, "certificate": ROOT})
        bad = await ask(loose, settle, "InstallCertificate", {**use, "certificate": "no"})
        listed = await ask(loose, settle, "GetInstalledCertificateIds", use)
        found = listed["certificateHashData"][0]
        gone = await ask(loose, settle, "DeleteCertificate", {"certificateHashData": found})
        empty = await ask(loose, settle, "GetInstalledCertificateIds", use)

    assert [done["status"], bad["status"]] == ["Accepted", "Rejected"]
    assert found["serialNumber"] == "1267"
    assert [gone["status"], empty["status"]] == ["Accepted", "NotFound"]


async def test_monitors_messages_and_networks_2_0_1(loose, settle) -> None:
    """N04, N02, O01, O03, B09."""
    place = {"component": {"name": "EVSE", "evse": {"id": 1}}, "variable": {"name": "Power"}}
    monitor = {**place, "value": 1, "type": "UpperThreshold", "severity": 5}
    message = {"id": 3, "priority": "NormalCycle", "message": {"format": "UTF8", "content": "Hi"}}
    async with Station(loose.url, "CP1", ocpp="2.0.1") as station:
        set_ = await ask(loose, settle, "SetVariableMonitoring", {"setMonitoringData": [monitor]})
        await ask(loose, settle, "GetMonitoringReport", {"requestId": 1})
        await ask(loose, settle, "SetDisplayMessage", {"message": message})
        await ask(loose, settle, "GetDisplayMessages", {"requestId": 2})
        network = await ask(
            loose,
            settle,
            "SetNetworkProfile",
            {
                "configurationSlot": 1,
                "connectionData": {
                    "ocppVersion": "OCPP20",
                    "ocppTransport": "JSON",
                    "ocppCsmsUrl": "wss://x",
                    "messageTimeout": 30,
                    "securityProfile": 2,
                    "ocppInterface": "Wired0",
                },
            },
        )
        await station.settle()

    assert set_["setMonitoringResult"][0]["status"] == "Accepted"
    assert loose.of("NotifyMonitoringReport")
    assert loose.of("NotifyDisplayMessages")[0]["messageInfo"][0]["id"] == 3
    assert network["status"] == "Accepted"


async def test_a_dynamic_profile_follows_the_server_2_1(loose, settle) -> None:
    """2.1 K28: UpdateDynamicSchedule changes the limit while it runs."""
    profile = {
        "id": 6,
        "stackLevel": 0,
        "chargingProfilePurpose": "TxDefaultProfile",
        "chargingProfileKind": "Dynamic",
        "chargingSchedule": [
            {
                "id": 1,
                "chargingRateUnit": "W",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 5000}],
            }
        ],
    }
    async with Station(loose.url, "CP1", ocpp="2.1") as station:
        await station.plug()
        await station.swipe("TAG1")
        await ask(loose, settle, "SetChargingProfile", {"evseId": 1, "chargingProfile": profile})
        before = station.model.offer_w(station.model.outlet(1))
        update = {"chargingProfileId": 6, "scheduleUpdate": {"limit": 1500}}
        answer = await ask(loose, settle, "UpdateDynamicSchedule", update)
        after = station.model.offer_w(station.model.outlet(1))

    assert answer["status"] == "Accepted"
    assert (before, after) == (5000, 1500)


async def test_streams_are_sent_without_waiting_for_an_answer_2_1(loose, settle) -> None:
    """2.1 N: SEND NotifyPeriodicEventStream."""
    async with Station(loose.url, "CP1", ocpp="2.1") as station:
        await station.adapter.stream(1, ["10", "11"])  # type: ignore[attr-defined]
        await settle(lambda: any('"NotifyPeriodicEventStream"' in str(t) for t in loose.raw))

    frame = next(json.loads(t) for t in loose.raw if "NotifyPeriodicEventStream" in str(t))
    assert frame[0] == 6


def parts(blob: str) -> tuple[str, str]:
    _, payload, signature = blob.split("|")
    return payload, json.loads(signature)["SD"]


def verifies(signer: Any, blob: str) -> bool:
    payload, signature = parts(blob)
    key = serialization.load_der_public_key(bytes.fromhex(signer.public_key))
    try:
        key.verify(bytes.fromhex(signature), payload.encode(), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize(
    ("template", "good"), [("plug-and-charge", True), ("tampered-meter", False)]
)
async def test_readings_are_signed_and_spoilt_ones_do_not_verify(loose, template, good) -> None:
    async with Station(loose.url, "CP1", template=load_template(template)) as station:
        await station.plug()
        await station.swipe("TAG1")
        await station.charge(kwh=1, seconds=600)
        await station.stop()

        data = loose.of("StopTransaction")[0]["transactionData"]
        blobs = [s["value"] for d in data for s in d["sampledValue"] if s.get("format")]
        assert len(blobs) == 2
        assert [verifies(station.signer, b) for b in blobs] == [good, good]
        utils.decode_dss_signature(bytes.fromhex(parts(blobs[0])[1]))
