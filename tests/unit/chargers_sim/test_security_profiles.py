"""Security profiles 0 to 3 against a TLS server, and a renewed certificate that is really shown."""

import contextlib
import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from websockets.asyncio.server import serve

from chargers_sim.certificates import tls_context
from chargers_sim.errors import Unreachable
from chargers_sim.live import Station
from tests.unit.chargers_sim.conftest import PACKAGES, LooseSystem, _any_or_none
from tests.unit.chargers_sim.test_maintenance import ask

PASSWORD = "a-password-of-16+"


class Guarded(LooseSystem):
    """Notes the serial number of the certificate that each station shows."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[int | None] = []

    async def handle(self, connection: Any) -> None:
        der = connection.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        found = None if not der else x509.load_der_x509_certificate(der).serial_number
        self.shown.append(found)
        await super().handle(connection)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture
def paths(authority, tmp_path):
    """The files of a technician: the CA, and a certificate of CP1 with its key."""
    own = authority.issue_cert(common_name="CP1", organization_name="Example CPO")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    own.private_key_pem.write_to_path(str(tmp_path / "own.key"))
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "own.pem"))
    return tmp_path


@contextlib.asynccontextmanager
async def guarded(authority, *, own: bool = False):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    if own:
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    central = Guarded()
    async with serve(
        central.handle,
        "127.0.0.1",
        0,
        ssl=context,
        subprotocols=list(PACKAGES),
        process_request=central.check,
        select_subprotocol=_any_or_none,
        close_timeout=0.2,
    ) as server:
        central.url = f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}/ocpp"
        yield central


def signed(authority, csr: str) -> str:
    """Sign a request as the authority of the operator does."""
    asked = x509.load_pem_x509_csr(csr.encode())
    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    key = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(asked.subject)
        .issuer_name(issuer.subject)
        .public_key(asked.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def shown_profile(station: Station) -> str:
    found = station.adapter.model.variables.find(
        {"component": {"name": "SecurityCtrlr"}, "variable": {"name": "SecurityProfile"}}
    )
    return station.adapter.model.present(found)


@pytest.mark.parametrize(("password", "level"), [(None, "0"), (PASSWORD, "1")])
async def test_profiles_without_tls(loose, password, level) -> None:
    """Profile 0 sends nothing, profile 1 a password."""
    if password is not None:
        loose.passwords["CP1"] = password
    async with Station(loose.url, "CP1", ocpp="2.0.1", password=password) as station:
        assert shown_profile(station) == level


async def test_profile_2_checks_the_server_and_sends_a_password(authority, paths) -> None:
    async with guarded(authority) as central:
        central.passwords["CP1"] = PASSWORD
        tls = tls_context(ca=paths / "ca.pem")
        async with Station(central.url, "CP1", ocpp="2.0.1", password=PASSWORD, tls=tls) as station:
            assert shown_profile(station) == "2"
        with pytest.raises(Unreachable, match="TLS failed"):
            await Station(
                central.url, "CP1", tls=tls_context(), connect_timeout=1, reconnect=(5, 5)
            ).open()

    assert central.shown == [None]


@pytest.mark.parametrize("ocpp", ["1.6", "2.0.1", "2.1"])
async def test_profile_3_shows_its_certificate_and_the_renewed_one_after_that(
    authority, paths, settle, ocpp
) -> None:
    """A02, A03: CertificateSigned is followed by a connection with the new certificate."""
    state = paths / "cp1.json"
    async with guarded(authority, own=True) as central:
        tls = tls_context(ca=paths / "ca.pem", certificate=paths / "own.pem", key=paths / "own.key")
        options: dict[str, Any] = {
            "ocpp": ocpp,
            "tls": tls,
            "ca": paths / "ca.pem",
            "state": state,
            "reconnect": (0.01, 0.1),
        }
        async with Station(central.url, "CP1", **options) as station:
            made = await station.call("SignCertificate", {"csr": station.certificates.request()})
            chain = signed(authority, central.of("SignCertificate")[0]["csr"])
            again = station.certificates.request()
            stale = await ask(central, settle, "CertificateSigned", {"certificateChain": chain})
            chain = signed(authority, again)
            taken = await ask(central, settle, "CertificateSigned", {"certificateChain": chain})
            await settle(lambda: len(central.shown) == 2 and station.is_online)
        # What was signed is kept over a restart of the simulator.
        async with Station(central.url, "CP1", **options):
            pass

    first = x509.load_pem_x509_certificate((paths / "own.pem").read_bytes()).serial_number
    renewed = x509.load_pem_x509_certificate(chain.encode()).serial_number
    assert (made["status"], stale["status"], taken["status"]) == (
        "Accepted",
        "Rejected",
        "Accepted",
    )
    assert central.shown == [first, renewed, renewed]


async def test_a_station_without_its_certificate_is_not_let_in(authority, paths) -> None:
    async with guarded(authority, own=True) as central:
        tls = tls_context(ca=paths / "ca.pem")
        with pytest.raises(Unreachable):
            await Station(central.url, "CP1", tls=tls, connect_timeout=1, reconnect=(5, 5)).open()

    assert not central.calls
