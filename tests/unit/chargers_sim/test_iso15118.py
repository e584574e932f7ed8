"""Plug and Charge and ISO 15118: contract, needs, schedule, certificates."""

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from chargers_sim.car import Car
from chargers_sim.contract import contract_for
from chargers_sim.errors import NotPossible
from chargers_sim.live import Station
from chargers_sim.steps import run_step
from chargers_sim.template import load_template
from tests.unit.chargers_sim.test_maintenance import ask, certificate

EMAID = "NLSIMC12345678X"
V2 = pytest.mark.parametrize("version", ["2.0.1", "2.1"])


def contract_station(system, version, **more) -> Station:
    template = load_template("plug-and-charge")
    return Station(system.url, "CP1", ocpp=version, template=template, **more)


def clean(station: Station) -> bool:
    wrong = [e for e in station.events if e["event"] in {"schema_violation", "refused"}]
    assert wrong == []
    return True


def test_a_contract_hangs_on_a_chain_and_its_hashes_are_those_of_ocsp() -> None:
    contract = contract_for(EMAID)
    leaf, sub, root = contract.chain
    data = contract.hash_data()

    leaf.verify_directly_issued_by(sub)
    sub.verify_directly_issued_by(root)
    bits = sub.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    assert data[0]["issuerKeyHash"] == hashlib.sha256(bits).hexdigest()
    assert data[0]["issuerNameHash"] == hashlib.sha256(leaf.issuer.public_bytes()).hexdigest()
    assert int(data[0]["serialNumber"], 16) == leaf.serial_number
    assert len(x509.load_pem_x509_certificates(contract.pem().encode())) == 2


@V2
async def test_the_car_authorizes_itself_says_its_needs_and_follows(loose, settle, version) -> None:
    """C07, K15, K16: Authorize, NotifyEVChargingNeeds, SetChargingProfile, NotifyEVChargingSchedule."""
    async with contract_station(loose, version) as station:
        await station.plug(car=Car(max_power_w=150_000))
        ref = loose.events()[0]["transactionInfo"]["transactionId"]
        profile = {
            "id": 3,
            "stackLevel": 0,
            "chargingProfilePurpose": "TxProfile",
            "chargingProfileKind": "Relative",
            "transactionId": ref,
            "chargingSchedule": [
                {
                    "id": 1,
                    "chargingRateUnit": "W",
                    "chargingSchedulePeriod": [
                        {"startPeriod": 0, "limit": 50_000},
                        {"startPeriod": 600, "limit": 400_000},
                    ],
                }
            ],
        }
        answer = await ask(
            loose, settle, "SetChargingProfile", {"evseId": 1, "chargingProfile": profile}
        )
        await settle(lambda: loose.of("NotifyEVChargingSchedule"))
        offered = station.model.offer_w(station.model.outlet(1))

        assert clean(station)
    (asked,) = loose.of("Authorize")
    assert asked["idToken"] == {"idToken": EMAID, "type": "eMAID"}
    assert len(asked["iso15118CertificateHashData"]) == 2
    assert "certificate" not in asked
    assert loose.events()[0]["idToken"]["type"] == "eMAID"
    (needs,) = loose.of("NotifyEVChargingNeeds")
    assert needs["chargingNeeds"]["requestedEnergyTransfer"] == "DC"
    assert needs["chargingNeeds"]["dcChargingParameters"]["energyAmount"] == 42_000
    assert (answer["status"], offered) == ("Accepted", 50_000)
    (schedule,) = loose.of("NotifyEVChargingSchedule")
    periods = schedule["chargingSchedule"]["chargingSchedulePeriod"]
    assert [p["limit"] for p in periods] == [50_000, 150_000]


@V2
async def test_the_server_may_want_the_whole_chain(loose, version) -> None:
    """C07.FR: CentralContractValidationAllowed."""
    async with contract_station(loose, version) as station:
        station.configure("ISO15118Ctrlr.CentralContractValidationAllowed", "true")
        await station.plug()

    (asked,) = loose.of("Authorize")
    assert len(x509.load_pem_x509_certificates(asked["certificate"].encode())) == 2


async def test_a_contract_that_is_refused_leaves_room_for_a_card(loose, monkeypatch) -> None:
    """C07: certificateStatus counts beside the token's status."""
    reply = loose.reply

    def refuse(action, payload):
        answer = reply(action, payload)
        if action == "Authorize" and payload["idToken"]["type"] == "eMAID":
            return {**answer, "certificateStatus": "CertificateRevoked"}
        return answer

    monkeypatch.setattr(loose, "reply", refuse)
    async with contract_station(loose, "2.0.1") as station:
        await station.plug()
        before = loose.events()
        await station.swipe("TAG1")
        told = [e for e in station.events if e["event"] == "contract"]

    assert before == []
    assert told[0]["certificate_status"] == "CertificateRevoked"
    assert loose.events()[0]["idToken"]["idToken"] == "TAG1"


@V2
async def test_the_car_asks_for_its_certificate_and_its_status(loose, version) -> None:
    """M01, M02, M06: Get15118EVCertificate, GetCertificateStatus."""
    async with contract_station(loose, version) as station:
        got = await run_step(station, "ev-certificate", {"action": "Update"})
        status = await run_step(station, "certificate-status", {"responder": "http://o.example/"})

        assert clean(station)
    assert (got["status"], status["status"]) == ("Accepted", "Accepted")
    assert loose.of("Get15118EVCertificate")[0]["action"] == "Update"
    (asked,) = loose.of("GetCertificateStatus")
    assert asked["ocspRequestData"]["responderURL"] == "http://o.example/"
    assert (
        asked["ocspRequestData"]["serialNumber"]
        == contract_for(EMAID).hash_data()[-1]["serialNumber"]
    )


async def test_the_status_of_a_chain_is_asked_at_once_2_1(loose) -> None:
    """M07: GetCertificateChainStatus."""
    async with contract_station(loose, "2.1") as station:
        answer = await run_step(station, "chain-status", {})

        assert clean(station)
    assert [s["status"] for s in answer["certificateStatus"]] == ["Good", "Good"]


@V2
async def test_the_certificate_for_cars_has_a_key_of_its_own(loose, settle, version) -> None:
    """A02, A03 for V2GCertificate: the line stays as it is."""
    async with contract_station(loose, version) as station:
        await run_step(station, "renew-certificate", {"kind": "V2GCertificate"})
        (asked,) = loose.of("SignCertificate")
        csr = x509.load_pem_x509_csr(asked["csr"].encode())
        chain = certificate(csr.public_key(), csr.subject)
        plain = await ask(loose, settle, "CertificateSigned", {"certificateChain": chain})
        kind = {"certificateChain": chain, "certificateType": "V2GCertificate"}
        right = await ask(loose, settle, "CertificateSigned", kind)

        assert station.certificates.v2g_chain_pem == chain
        assert station.certificates.chain_pem is None
    assert (plain["status"], right["status"]) == ("Rejected", "Accepted")
    assert loose.connections == 1


async def test_1_6_has_no_such_messages(loose) -> None:
    async with contract_station(loose, "1.6") as station:
        await station.plug()
        with pytest.raises(NotPossible, match=r"OCPP 1\.6 has no such message"):
            await run_step(station, "ev-certificate", {})

    assert not loose.of("Authorize")
