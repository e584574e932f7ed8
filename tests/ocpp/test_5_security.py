"""ocpp-conformance section 5: security profiles, TLS, limits, as a charger and a stranger see them."""

import asyncio
import contextlib
import socket
import ssl
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs
from waiting import LONG, until
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.headers import build_authorization_basic

from cpo.ocpp.tls import Renewal, TlsFiles, reload, server_context
from cpo.ocpp.transport import Doorman
from tests.ocpp.conftest import PASSWORD

FOUR_SUITES = [
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "ec"),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "ec"),
    ("AES128-GCM-SHA256", "rsa"),
    ("AES256-GCM-SHA384", "rsa"),
]


class Pki:
    """A CA for the server, a CA for charge points, and files of both kinds of keys."""

    def __init__(self, folder):
        self.folder = folder
        self.server_ca = trustme.CA(key_type=trustme.KeyType.RSA)
        self.client_ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.server_ca.cert_pem.write_to_path(str(folder / "server-ca.pem"))
        self.client_ca.cert_pem.write_to_path(str(folder / "client-ca.pem"))
        pairs = [self.pair(kind) for kind in (trustme.KeyType.ECDSA, trustme.KeyType.RSA)]
        self.files = TlsFiles(
            certificate=pairs[0][0],
            key=pairs[0][1],
            client_ca=folder / "client-ca.pem",
            more=(pairs[1],),
        )

    def pair(self, kind, name="localhost"):
        issued = self.server_ca.issue_cert(name, "127.0.0.1", key_type=kind)
        chain = self.folder / f"{kind.name}-{name}.pem"
        key = self.folder / f"{kind.name}-{name}.key"
        issued.private_key_pem.write_to_path(str(key))
        chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        return chain, key

    def client(self, *, name=None, authority=None, maximum=None, ciphers=None, minimum=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.folder / "server-ca.pem")
        if name is not None:
            certificate = (authority or self.client_ca).issue_cert(common_name=name)
            certificate.configure_cert(context)
        if ciphers is not None:
            context.set_ciphers(ciphers)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        if maximum is not None:
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.maximum_version = maximum
        return context


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path)


@pytest.fixture
async def secure(open_backend, pki):
    backend = await open_backend(context=server_context(pki.files))
    await backend.register("CP1", security_profile=2)
    return backend


async def enter(backend, context, identity="CP1", *, user="CP1", password=PASSWORD, scheme="wss"):
    headers = {"Authorization": build_authorization_basic(user, password)} if user else {}
    return await connect(
        f"{scheme}://127.0.0.1:{backend.port}/ocpp/{identity}",
        ssl=context,
        subprotocols=["ocpp1.6"],
        additional_headers=headers,
        proxy=None,
        ping_interval=None,
    )


async def refused(*args, **options):
    with pytest.raises(InvalidStatus) as caught:
        await enter(*args, **options)
    return caught.value.response.status_code


async def test_a02_profile_2_is_basic_auth_inside_tls(secure, pki):
    socket = await enter(secure, pki.client())
    assert secure.server.online == 1
    await socket.close()

    assert await refused(secure, pki.client(), password="x" * 16) == 401
    assert await refused(secure, pki.client(), user=None) == 401
    assert await refused(secure, pki.client(), user="CP2") == 401


@pytest.mark.parametrize(("cipher", "kind"), FOUR_SUITES)
async def test_s8_086_the_four_suites_of_the_certification_are_spoken(secure, pki, cipher, kind):
    socket = await enter(secure, pki.client(ciphers=f"{cipher}:@SECLEVEL=0"))

    assert socket.transport.get_extra_info("cipher")[0] == cipher
    await socket.close()


EVERY_SUITE = {
    "ECDHE-ECDSA-AES128-GCM-SHA256": "ECDSA",
    "ECDHE-ECDSA-AES256-GCM-SHA384": "ECDSA",
    "ECDHE-RSA-AES128-GCM-SHA256": "RSA",
    "ECDHE-RSA-AES256-GCM-SHA384": "RSA",
    "AES128-GCM-SHA256": "RSA",
    "AES256-GCM-SHA384": "RSA",
}
WEAK = (
    "AES128-SHA", "AES256-SHA256", "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES256-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305", "PSK-AES128-GCM-SHA256", "AECDH-AES128-SHA",
)  # fmt: skip


@pytest.mark.parametrize("chains", [("ECDSA",), ("RSA",), ("ECDSA", "RSA"), ("RSA", "ECDSA")])
async def test_s8_086_each_suite_is_spoken_by_the_chain_that_it_needs(open_backend, pki, chains):
    """Whichever chain is the first; what no chain fits, and every weaker suite, is refused."""
    first, *more = [pki.pair(trustme.KeyType[kind]) for kind in chains]
    files = TlsFiles(certificate=first[0], key=first[1], more=tuple(more))
    backend = await open_backend(context=server_context(files))
    await backend.register("CP1", security_profile=2)
    spoken = {}
    for suite in (*EVERY_SUITE, *WEAK):
        try:
            socket = await enter(backend, pki.client(ciphers=f"{suite}:@SECLEVEL=0"))
        except (ssl.SSLError, ConnectionError):
            continue
        shown = socket.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        key = x509.load_der_x509_certificate(shown).public_key()
        assert socket.transport.get_extra_info("cipher")[:2] == (suite, "TLSv1.2")
        spoken[suite] = "RSA" if isinstance(key, rsa.RSAPublicKey) else "ECDSA"
        await socket.close()

    assert spoken == {suite: kind for suite, kind in EVERY_SUITE.items() if kind in chains}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_sec16_old_versions_of_tls_are_refused(secure, pki, version):
    """And the operator hears of it (A_06); what else fails, once a minute each."""
    with capture_logs() as logs:
        for _ in range(2):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await enter(secure, pki.client(maximum=version))
        await until(lambda: secure.metrics.ocpp_handshakes.value("tls") == 2)

    (told,) = [line for line in logs if line["event"] == "ocpp.handshakes_fail"]
    assert told["problem"] in {"UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW"}
    assert told["alarm"]


def test_sec16_neither_compression_nor_renegotiation_nor_weak_suites_are_offered(pki):
    context = server_context(pki.files)

    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    offered = {suite["name"] for suite in context.get_ciphers()}
    assert not [name for name in offered if "RC4" in name or "CBC" in name or "3DES" in name]


async def test_a03_profile_3_is_a_certificate_of_ones_own_name(secure, pki):
    await secure.register("CP1", security_profile=3)
    socket = await enter(secure, pki.client(name="CP1"), user=None)

    assert secure.server.online == 1
    await socket.close()


async def test_sec17_sec18_a_certificate_of_another_station_is_refused(secure, pki):
    await secure.register("CP1", security_profile=3)

    assert await refused(secure, pki.client(name="CP2"), user=None) == 401


async def test_sec17_a_certificate_of_a_foreign_ca_is_refused(secure, pki):
    await secure.register("CP1", security_profile=3)
    foreign = trustme.CA()

    with pytest.raises((ssl.SSLError, ConnectionError, InvalidHandshake)):
        await enter(secure, pki.client(name="CP1", authority=foreign), user=None)
    assert secure.server.online == 0


async def test_sec17_a_certificate_that_has_ended_is_refused(secure, pki):
    await secure.register("CP1", security_profile=3)
    ended = datetime.now(UTC) - timedelta(hours=1)
    context = pki.client()
    pki.client_ca.issue_cert(common_name="CP1", not_after=ended).configure_cert(context)

    with pytest.raises((ssl.SSLError, ConnectionError, InvalidHandshake)):
        await enter(secure, context, user=None)
    assert secure.server.online == 0


async def test_s5_sec17_a_station_of_profile_3_cannot_come_with_a_password(secure, pki):
    await secure.register("CP1", security_profile=3)

    assert await refused(secure, pki.client()) == 401


async def test_fw10_s5_a_station_of_profile_2_cannot_come_without_tls(open_backend):
    backend = await open_backend()
    await backend.register("CP1", security_profile=2)

    assert await refused(backend, None, scheme="ws") == 401


async def test_the_lowest_profile_for_all_is_a_setting(open_backend):
    backend = await open_backend(min_security_profile=1)
    await backend.register("CP1", security_profile=0, allow_without_password=True)

    assert await refused(backend, None, user=None, scheme="ws") == 401


async def test_certificates_are_renewed_without_a_restart(open_backend, pki):
    context = server_context(pki.files)
    backend = await open_backend(context=context)
    await backend.register("CP1", security_profile=2)
    client = pki.client(ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")
    before = await enter(backend, client)
    first = before.transport.get_extra_info("ssl_object").getpeercert()["serialNumber"]
    renewed = pki.pair(trustme.KeyType.ECDSA, "renewed")
    reload(context, TlsFiles(certificate=renewed[0], key=renewed[1]))

    after = await enter(backend, client)
    second = after.transport.get_extra_info("ssl_object").getpeercert()["serialNumber"]
    assert first != second
    await before.close()
    await after.close()


async def test_sec17_a_revoked_certificate_is_refused(open_backend, pki, tmp_path):
    """S8: by the revocation list of the CA; another of the same CA still gets in."""
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    now = dt.datetime.now(dt.UTC)
    good, bad = (pki.client_ca.issue_cert(common_name="CP1") for _ in range(2))
    revoked = x509.load_pem_x509_certificate(bad.cert_chain_pems[0].bytes())
    key = serialization.load_pem_private_key(pki.client_ca.private_key_pem.bytes(), None)
    issuer = x509.load_pem_x509_certificate(pki.client_ca.cert_pem.bytes())
    entry = (
        x509.RevokedCertificateBuilder()
        .serial_number(revoked.serial_number)
        .revocation_date(now - dt.timedelta(hours=1))
        .build()
    )
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(now - dt.timedelta(hours=1))
        .next_update(now + dt.timedelta(days=1))
        .add_revoked_certificate(entry)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "clients.crl"
    file.write_bytes(crl.public_bytes(serialization.Encoding.PEM))
    files = TlsFiles(
        certificate=pki.files.certificate,
        key=pki.files.key,
        client_ca=pki.files.client_ca,
        client_crl=file,
    )
    backend = await open_backend(context=server_context(files))
    await backend.register("CP1", security_profile=3)

    contexts = []
    for issued in (good, bad):
        context = pki.client()
        issued.configure_cert(context)
        contexts.append(context)
    socket = await enter(backend, contexts[0], user=None)
    await socket.close()
    with pytest.raises((ssl.SSLError, ConnectionError, InvalidHandshake)):
        await enter(backend, contexts[1], user=None)


@pytest.fixture
async def signed(open_backend, pki, tmp_path):
    """A backend that signs for its stations, and accepts what it signed."""
    pki.client_ca.private_key_pem.write_to_path(str(tmp_path / "client-ca.key"))
    backend = await open_backend(
        context=server_context(pki.files),
        tls={
            "authority_certificate": tmp_path / "client-ca.pem",
            "authority_key": tmp_path / "client-ca.key",
        },
    )
    await backend.register("CP1", security_profile=2)
    return backend


def request_of_its_own(name="CP1"):
    """Return a new key, and a request for a name that is signed with it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return key, csr.public_bytes(serialization.Encoding.PEM).decode()


async def certificate_of(backend, pki, name, *, serial=None):
    """Have a certificate signed as a station does; returns a client that shows it.

    It is for the station's serial number where it says one.
    """
    from cryptography.hazmat.primitives import serialization

    key, pem = request_of_its_own(serial or "CP1")
    charger = await backend.charger_over_tls("2.0.1", pki.client())
    if serial is not None:
        await introduce(charger, serial)
    assert await charger.call("SignCertificate", csr=pem) == {"status": "Accepted"}
    await backend.until(lambda: any(action == "CertificateSigned" for action, _ in charger.asked))
    chain = next(p["certificateChain"] for a, p in charger.asked if a == "CertificateSigned")
    await charger.close()
    (pki.folder / f"{name}.pem").write_text(chain)
    (pki.folder / f"{name}.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = pki.client()
    context.load_cert_chain(pki.folder / f"{name}.pem", pki.folder / f"{name}.key")
    return context


async def introduce(charger, serial):
    box = {"vendorName": "ACME", "model": "Two", "serialNumber": serial}
    await charger.call("BootNotification", reason="PowerUp", chargingStation=box)


async def test_fw07_sec18_no_station_gets_a_certificate_in_the_name_of_another(signed, pki):
    """A serial number is what a station says of itself: that of another's identity is refused."""
    await signed.register("CP2", security_profile=3)
    charger = await signed.charger_over_tls("2.0.1", pki.client())
    await introduce(charger, "CP2")
    _, pem = request_of_its_own("CP2")

    assert await charger.call("SignCertificate", csr=pem) == {"status": "Rejected"}


async def test_sec17_sec18_a_certificate_of_ours_is_good_for_its_station_only(signed, pki):
    """Also when its common name, a serial number, is some day the identity of another."""
    context = await certificate_of(signed, pki, "serial", serial="CP2")
    await signed.register("CP2", security_profile=3)

    assert await refused(signed, context, "CP2", user=None) == 401
    await (await enter(signed, context, user=None)).close()


async def test_sec17_an_older_certificate_ends_when_the_station_came_in_with_the_newer(signed, pki):
    """Until then both count: the station may fall back to the old one (A02)."""
    older, newer = [await certificate_of(signed, pki, name) for name in ("older", "newer")]
    before = signed.stations.find("CP1").certificates
    assert len(before) == 2

    await (await enter(signed, older, user=None)).close()
    assert signed.stations.find("CP1").revoked_certificates == ()
    await (await enter(signed, newer, user=None)).close()
    await signed.until(lambda: signed.stations.find("CP1").revoked_certificates == before[:1])

    assert await refused(signed, older, user=None) == 401
    await (await enter(signed, newer, user=None)).close()


async def test_sec17_certificates_of_a_removed_station_stay_revoked(signed, pki):
    """Also when a station of the same name is entered again."""
    context = await certificate_of(signed, pki, "removed")
    await (await enter(signed, context, user=None)).close()
    await signed.stations.remove("CP1", actor="test")
    assert await refused(signed, context, user=None) == 401

    await signed.register("CP1", security_profile=2)

    assert await refused(signed, context, user=None) == 401
    await (await enter(signed, pki.client())).close()


async def test_sec17_a_certificate_that_its_station_refused_is_revoked(signed, pki):
    charger = await signed.charger_over_tls("2.0.1", pki.client())
    charger.answers["CertificateSigned"] = {"status": "Rejected"}
    _, pem = request_of_its_own()
    assert await charger.call("SignCertificate", csr=pem) == {"status": "Accepted"}

    await signed.until(lambda: len(signed.stations.find("CP1").revoked_certificates) == 1)
    assert signed.stations.find("CP1").certificates == ()


async def test_certificates_are_read_again_when_their_files_have_changed(pki, tmp_path):
    """A renewal that is half written changes nothing, the whole one is used."""
    chain, key = tmp_path / "served.pem", tmp_path / "served.key"
    old, new = pki.pair(trustme.KeyType.ECDSA, "old"), pki.pair(trustme.KeyType.ECDSA, "new")
    chain.write_bytes(old[0].read_bytes())
    key.write_bytes(old[1].read_bytes())
    files = TlsFiles(certificate=chain, key=key)
    context = server_context(files)
    renewal = Renewal(context, files)

    async def served():
        server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=pki.client())
        names = writer.get_extra_info("ssl_object").getpeercert()["subjectAltName"]
        writer.close()
        server.close()
        return names[0][1]

    assert await served() == "old"
    chain.write_bytes(new[0].read_bytes())
    await renewal.sweep()
    assert await served() == "old"
    key.write_bytes(new[1].read_bytes())
    await renewal.sweep()
    assert await served() == "new"


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_fw10_083_a19_a_raised_profile_is_the_floor_once_the_station_used_it(
    open_backend, pki, version
):
    """And never lowered by a call: nothing is locked out by a raise that did not work."""
    from cpo.errors import Invalid

    backend = await open_backend(context=server_context(pki.files))
    await backend.register("CP1", security_profile=0)
    await backend.charger_over_tls(version, pki.client())
    link = backend.stations.link("CP1")

    def raised_to(profile):
        if version == "1.6":
            return "ChangeConfiguration", {"key": "SecurityProfile", "value": str(profile)}
        connection = {
            "ocppVersion": "OCPP20",
            "ocppTransport": "JSON",
            "ocppCsmsUrl": "wss://csms.example/ocpp",
            "messageTimeout": 30,
            "securityProfile": profile,
            "ocppInterface": "Wired0",
        }
        return "SetNetworkProfile", {"configurationSlot": 1, "connectionData": connection}

    await link.call(*raised_to(2))
    assert backend.stations.find("CP1").security_profile == 0
    await backend.charger_over_tls(version, pki.client())
    await backend.until(lambda: backend.stations.find("CP1").security_profile == 2)

    assert backend.stations.find("CP1").security_profile_asked is None
    with pytest.raises(Invalid):
        await backend.stations.link("CP1").call(*raised_to(1))


async def test_sec01_sec02_strangers_are_refused_before_the_upgrade(backend):
    assert await refused(backend, None, user=None, scheme="ws") == 401
    assert await refused(backend, None, user="CP2", scheme="ws") == 401
    assert await refused(backend, None, "NOBODY", user="NOBODY", scheme="ws") == 401


async def test_sec05_a_thousand_guesses_are_slowed_and_the_charger_gets_in(backend):
    clock = asyncio.get_running_loop()
    began = clock.time()
    with capture_logs() as logs:
        statuses = [
            await refused(backend, None, password=f"guess-number-{n:04}", scheme="ws")
            for n in range(1000)
        ]

    # Ten a minute, and those ten at once.
    assert statuses.count(401) <= 11 + (clock.time() - began) / 6
    assert statuses.count(429) > 0
    assert set(statuses) == {401, 429}
    charger = await backend.charger("1.6")
    assert "currentTime" in await charger.call("Heartbeat")
    told = [line for line in logs if line["event"] == "ocpp.guessing"]
    assert 1 <= len(told) <= 2 + (clock.time() - began) / 60
    assert (told[0]["station"], told[0]["address"], told[0]["alarm"]) == ("CP1", "127.0.0.1", True)


async def test_sec05_so_is_guessing_at_many_names_from_one_address(backend):
    clock = asyncio.get_running_loop()
    began = clock.time()
    statuses = [
        await refused(backend, None, f"CP-{n:04}", user=f"CP-{n:04}", scheme="ws")
        for n in range(300)
    ]

    assert statuses.count(401) <= 101 + (clock.time() - began) * 10 / 6
    assert set(statuses) == {401, 429}
    assert "currentTime" in await (await backend.charger("1.6")).call("Heartbeat")


async def test_sec07_slow_handshakes_do_not_disturb_live_stations(open_backend):
    backend = await open_backend(handshake_timeout=4)
    await backend.register("CP1")
    charger = await backend.charger("1.6")
    slow = [await asyncio.open_connection("127.0.0.1", backend.port) for _ in range(100)]
    for _, writer in slow:
        writer.write(b"GET /ocpp/CP1 HTTP/1.1\r\nHost:")
    assert "currentTime" in await charger.call("Heartbeat")

    for reader, writer in slow:
        with contextlib.suppress(ConnectionResetError):
            async with asyncio.timeout(LONG):
                assert await reader.read() == b""
        writer.close()
    assert "currentTime" in await charger.call("Heartbeat")


@pytest.mark.parametrize("said", [b"", b"GET /ocpp/CP1 HTTP/1.1\r\nHost:"])
async def test_sec07_a_crowd_at_the_door_is_bounded(open_backend, said):
    """Who says nothing, or not enough, makes room; live stations and newcomers feel nothing."""
    backend = await open_backend(max_handshakes=10)
    for identity in ("CP1", "CP2"):
        await backend.register(identity)
    charger = await backend.charger("1.6")
    crowd = []
    with capture_logs() as logs:
        for _ in range(200):
            reader, writer = await asyncio.open_connection("127.0.0.1", backend.port)
            writer.write(said)
            crowd.append((reader, writer))
        await until(lambda: backend.metrics.ocpp_handshakes.value("crowded") >= 170)

    assert "currentTime" in await charger.call("Heartbeat")
    assert "currentTime" in await (await backend.charger("1.6", "CP2")).call("Heartbeat")
    sent_away = [one for one in crowd if one[0].at_eof() or one[0].exception() is not None]
    assert 170 <= len(sent_away) < 200
    (told,) = [line for line in logs if line["event"] == "ocpp.handshakes_fail"]
    assert (told["reason"], told["alarm"]) == ("crowded", True)
    for _, writer in crowd:
        writer.close()


async def test_sec07_a_fleet_that_returns_at_once_is_no_crowd(open_backend):
    """Who says what it has to is let in, however many they are and however long it takes us."""
    backend = await open_backend(max_handshakes=3)
    fleet = [f"CP-{n}" for n in range(40)]
    for identity in fleet:
        await backend.register(identity)
    await asyncio.gather(*(backend.charger("1.6", identity) for identity in fleet))

    assert backend.server.online == 40
    assert backend.metrics.ocpp_handshakes.value("crowded") == 0


async def test_sec07_what_a_busy_server_has_not_read_is_held_against_nobody():
    """A fleet keeps the loop busy for seconds: who spoke in time is not taken for silent."""

    class Line:
        def __init__(self):
            self.ours, self.theirs = socket.socketpair()
            self.cut = False

        def get_extra_info(self, name):
            return {"socket": self.ours}[name]

        def abort(self):
            self.cut = True

    crowd = []
    door = Doorman(lambda _: None, patience=60, most=1, on_crowd=lambda: crowd.append(1))
    spoke, silent, slow = Line(), Line(), Line()
    for line in (spoke, silent, slow):
        door.arrived(line)
    door.spoke(slow)  # not all of its request
    spoke.theirs.send(b"GET /ocpp/CP1 HTTP/1.1")
    door._thin_out([slow, spoke, silent])

    assert [line.cut for line in (spoke, silent, slow)] == [False, True, True]
    assert len(crowd) == 2
    for line in (spoke, silent, slow):
        line.ours.close()
        line.theirs.close()


@pytest.mark.parametrize(
    "text", ["<img src=x onerror=alert(1)>", "a\r\nInjected: x", "\x1b[31mred", "=cmd()", "\u202e"]
)
async def test_sec12_s10_hostile_texts_are_data(backend, version, text):
    charger = await backend.charger(version, boot=False)
    if version == "1.6":
        answer = await charger.call(
            "BootNotification", chargePointVendor=text, chargePointModel=text
        )
    else:
        answer = await charger.call(
            "BootNotification",
            reason="PowerUp",
            chargingStation={"vendorName": text, "model": text},
        )

    assert answer["status"] == "Accepted"
    assert backend.stations.find("CP1").boot.vendor == text


async def test_sec19_no_url_of_a_charger_is_ever_fetched(backend):
    """Nothing here opens a connection: a server that must not be asked hears nothing."""
    asked = []
    server = await asyncio.start_server(lambda r, w: asked.append(1), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    charger = await backend.charger("2.0.1")
    await charger.call(
        "GetCertificateStatus",
        ocspRequestData={
            "hashAlgorithm": "SHA256",
            "issuerNameHash": "a",
            "issuerKeyHash": "b",
            "serialNumber": "1",
            "responderURL": url,
        },
    )
    await charger.call("DataTransfer", vendorId="x", data=url)
    server.close()

    assert asked == []


async def test_sec20_errors_tell_nothing_of_the_inside(backend, version):
    charger = await backend.charger(version)

    answer = await charger.frame(2, "x", "StatusNotification", {"connectorId": "<secret>"})

    assert "<secret>" not in str(answer)
    assert "Traceback" not in str(answer)


async def test_handshakes_and_messages_are_counted(backend):
    charger = await backend.charger("1.6")
    await charger.error("Nonsense")

    assert backend.metrics.ocpp_handshakes.value("accepted") == 1
    assert backend.metrics.ocpp_messages.value("1.6", "in", "BootNotification", "result") == 1
    assert backend.metrics.ocpp_messages.value("1.6", "in", "other", "error") == 1
