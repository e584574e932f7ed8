"""Several nodes whose stations come with certificates: what one revokes, all refuse."""

import asyncio
import json
import ssl

import pytest
import pytest_asyncio
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from several import NatsServer, Pair
from waiting import LONG, until
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.headers import build_authorization_basic

from tests.conftest import absent
from tests.e2e.conftest import PASSWORD

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.postgres,
    pytest.mark.nats,
]


class Door:
    """Two nodes with TLS, and what their stations trust and show."""

    def __init__(self, folder):
        self.folder = folder
        self.server_ca, self.authority = trustme.CA(), trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.pair = None

    def environment(self):
        issued = self.server_ca.issue_cert("localhost", "127.0.0.1")
        files = {"certificate": "server.pem", "key": "server.key", "client_ca": "authority.pem",
                 "authority_certificate": "authority.pem", "authority_key": "authority.key"}  # fmt: skip
        issued.private_key_pem.write_to_path(str(self.folder / "server.key"))
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        (self.folder / "server.pem").write_bytes(chain)
        self.authority.cert_pem.write_to_path(str(self.folder / "authority.pem"))
        self.authority.private_key_pem.write_to_path(str(self.folder / "authority.key"))
        return {f"CPO_OCPP__TLS__{n.upper()}": str(self.folder / f) for n, f in files.items()}

    def trusting(self):
        context = ssl.create_default_context()
        self.server_ca.configure_trust(context)
        return context

    def enter(self, node, identity, context, *, with_password):
        headers = {}
        if with_password:
            headers["Authorization"] = build_authorization_basic(identity, PASSWORD)
        return connect(
            f"{node.urls['ocpp']}/{identity}", ssl=context, subprotocols=["ocpp2.0.1"],
            additional_headers=headers, proxy=None, ping_interval=None, open_timeout=LONG,
        )  # fmt: skip

    async def certified(self, node, identity, name):
        """Have a node sign for a station that came with its password; returns who shows it."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity)])
        asked = x509.CertificateSigningRequestBuilder().subject_name(subject)
        csr = asked.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
        station = {"vendorName": "V", "model": "M"}
        async with self.enter(node, identity, self.trusting(), with_password=True) as socket:
            boot = {"reason": "PowerUp", "chargingStation": station}
            await socket.send(json.dumps([2, "b", "BootNotification", boot]))
            await socket.send(json.dumps([2, "s", "SignCertificate", {"csr": csr}]))
            chain = None
            async with asyncio.timeout(LONG):
                while chain is None:
                    frame = json.loads(await socket.recv())
                    if frame[0] == 2:
                        chain = frame[3].get("certificateChain")
                        await socket.send(json.dumps([3, frame[1], {"status": "Accepted"}]))
        (self.folder / f"{name}.pem").write_text(chain)
        (self.folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        context = self.trusting()
        context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        return context

    async def refused(self, node, identity, context):
        try:
            async with self.enter(node, identity, context, with_password=False):
                return None
        except InvalidStatus as refusal:
            return refusal.response.status_code


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(tmp_path_factory, module_postgres_url):
    if not NatsServer.installed():
        absent("nats", "there is no nats-server on the PATH")
    folder = tmp_path_factory.mktemp("tls")
    bus = NatsServer()
    bus.start()
    await bus.started()
    made = Door(folder)
    made.pair = Pair(folder, module_postgres_url, bus, **made.environment())
    await made.pair.start()
    yield made
    await made.pair.stop()
    bus.stop()
    for node in made.pair.nodes:
        assert node.tracebacks() == ""


@pytest.mark.parametrize("held_by", ["leader", "other"])
@pytest.mark.parametrize("revoked_at", ["leader", "other"])
async def test_sec17_what_is_revoked_at_one_node_is_refused_at_all(door, held_by, revoked_at):
    """By the word of an operator at any node, wherever the station is; a connection ends, too."""
    lead, other = await door.pair.roles()
    nodes = {"leader": lead, "other": other}
    here, there = nodes[held_by], nodes[revoked_at]
    identity = f"TLS-{held_by}-{revoked_at}"
    await lead.api("PUT", f"/stations/{identity}", {"password": PASSWORD, "security_profile": 2})
    shows = await door.certified(here, identity, identity)

    async with door.enter(here, identity, shows, with_password=False) as socket:
        await socket.send(json.dumps([2, "h", "Heartbeat", {}]))
        async with asyncio.timeout(LONG):
            assert json.loads(await socket.recv())[:2] == [3, "h"]
        said = await there.api("POST", f"/stations/{identity}/revoke-certificates", {})
        assert len(said["revoked"]) == 1

    for node in (lead, other):
        await until(lambda node=node: _is(door.refused(node, identity, shows), 401))
    listed = await there.api("GET", f"/stations/{identity}/issued-certificates")
    assert [one["revoked_at"] is not None for one in listed["items"]] == [True]


async def _is(asked, wanted):
    return await asked == wanted


async def test_sec17_a_newer_certificate_ends_the_older_one_at_all_nodes(door):
    """The station comes in with it at another node than the one that signed it."""
    lead, other = await door.pair.roles()
    identity = "TLS-RENEWED"
    await lead.api("PUT", f"/stations/{identity}", {"password": PASSWORD, "security_profile": 2})
    older = await door.certified(lead, identity, "older")
    newer = await door.certified(other, identity, "newer")
    assert await door.refused(other, identity, older) is None

    assert await door.refused(lead, identity, newer) is None
    for node in (lead, other):
        await until(lambda node=node: _is(door.refused(node, identity, older), 401))
        assert await door.refused(node, identity, newer) is None


async def test_sec17_the_certificates_of_a_removed_station_are_refused_at_all_nodes(door):
    lead, other = await door.pair.roles()
    identity = "TLS-REMOVED"
    await lead.api("PUT", f"/stations/{identity}", {"password": PASSWORD, "security_profile": 2})
    shows = await door.certified(other, identity, identity)
    await lead.api("DELETE", f"/stations/{identity}")
    await other.api("PUT", f"/stations/{identity}", {"password": PASSWORD, "security_profile": 2})

    for node in (lead, other):
        await until(lambda node=node: _is(door.refused(node, identity, shows), 401))
