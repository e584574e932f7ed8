"""Contracts of test cars: made once, kept, vouched for by a responder, refused when broken."""

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from click.testing import CliRunner
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp

from chargers_sim.cli import group
from chargers_sim.contract import Folder, contract_for, read_contract
from chargers_sim.contract_cli import responder
from chargers_sim.errors import BadInput
from chargers_sim.live import Station

EMAID = "NL-SIM-C12345678-X"


def question(contract, place: int = 0) -> bytes:
    certificate, issuer = contract.chain[place : place + 2]
    built = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA256()).build()
    return built.public_bytes(serialization.Encoding.DER)


def test_a_contract_is_made_once_and_its_key_lies_next_to_it(tmp_path) -> None:
    made = CliRunner().invoke(
        group, ["contract", EMAID, "--folder", str(tmp_path / "pki")], standalone_mode=False
    )
    path = tmp_path / "pki" / "NLSIMC12345678X.pem"
    first = path.read_bytes()
    again = Folder(tmp_path / "pki").contract(EMAID)

    contract = read_contract(path)
    key = serialization.load_pem_private_key(path.with_suffix(".key").read_bytes(), None)
    assert made.output.splitlines() == [
        f"roots {tmp_path / 'pki' / 'roots.pem'}",
        f"contract {path}",
    ]
    assert (again, path.read_bytes()) == (path, first)
    assert contract.emaid == "NLSIMC12345678X"
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == contract.chain[0].public_key()
    for lower, upper in zip(contract.chain[:-1], contract.chain[1:], strict=True):
        lower.verify_directly_issued_by(upper)
    assert len(contract.hash_data()) == 2
    assert contract.pem().count("BEGIN CERTIFICATE") == 2


async def test_the_responder_answers_good_revoked_and_not_mine(tmp_path) -> None:
    folder = Folder(tmp_path)
    contract = read_contract(folder.contract(EMAID))

    async def ask(body: bytes) -> ocsp.OCSPResponse:
        async with http.post(server.make_url("/"), data=body) as answer:
            assert answer.status == 200
            return ocsp.load_der_ocsp_response(await answer.read())

    async with TestServer(responder(folder)) as server, ClientSession() as http:
        good, sub = await ask(question(contract)), await ask(question(contract, 1))
        folder.revoke(EMAID)
        revoked = await ask(question(contract))
        folder.revoke(EMAID, revoked=False)
        restored = await ask(question(contract))
        stranger = await ask(question(contract_for("NLSIMC99999999X")))
        async with http.post(server.make_url("/"), data=b"no") as nonsense:
            status = nonsense.status

    kinds = [a.certificate_status for a in (good, sub, revoked, restored)]
    wanted = ocsp.OCSPCertStatus
    assert kinds == [wanted.GOOD, wanted.GOOD, wanted.REVOKED, wanted.GOOD]
    assert stranger.response_status is ocsp.OCSPResponseStatus.UNAUTHORIZED
    assert status == 400
    key = folder.authority.sub_key.public_key()
    key.verify(good.signature, good.tbs_response_bytes, ec.ECDSA(hashes.SHA256()))


async def test_a_car_shows_the_chain_of_its_file(loose, tmp_path) -> None:
    """C07: hashes of leaf and sub-CA; with CentralContractValidationAllowed the chain too."""
    contract = read_contract(Folder(tmp_path).contract(EMAID))
    async with Station(loose.url, "CP1", ocpp="2.0.1") as station:
        station.configure("ISO15118Ctrlr.CentralContractValidationAllowed", "true")
        await station.plug_and_charge(EMAID, contract=contract)

    (asked,) = loose.of("Authorize")
    shown = [h["serialNumber"] for h in asked["iso15118CertificateHashData"]]
    assert shown == [f"{c.serial_number:x}" for c in contract.chain[:2]]
    assert asked["certificate"] == contract.pem()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing", "not a PEM certificate chain"),
        ("reversed", "the chain is not in order"),
    ],
)
def test_a_chain_that_is_none_is_refused(tmp_path, text, said) -> None:
    path = tmp_path / "c.pem"
    good = Folder(tmp_path / "pki").contract(EMAID).read_text()
    end = "-----END CERTIFICATE-----\n"
    turned = end.join(reversed(good.split(end)[:-1])) + end
    path.write_text(turned if text == "reversed" else text)

    with pytest.raises(BadInput, match=said):
        read_contract(path)
