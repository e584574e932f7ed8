"""The certificates of a station: its own key and chain, and the roots it trusts."""

import hashlib
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chargers_sim.errors import BadInput

HashData = dict[str, str]


@dataclass(frozen=True, slots=True)
class Installed:
    """A trusted root: for what, and what identifies it."""

    use: str
    pem: str
    hash_data: HashData


class CertificateStore:
    """Key, certificate signing requests, chains and roots of one station."""

    def __init__(self, identity: str, organization: str = "Example CPO") -> None:
        self._identity = identity
        self._organization = organization
        self._key: ec.EllipticCurvePrivateKey | None = None
        # A request does not change the key in use until its answer has come.
        self._asked_key: ec.EllipticCurvePrivateKey | None = None
        self._v2g_key: ec.EllipticCurvePrivateKey | None = None
        self.v2g_chain_pem: str | None = None
        self.chain_pem: str | None = None
        self.installed: list[Installed] = []

    def request(self, kind: str = "") -> str:
        """Make a fresh key and a certificate signing request for it, PEM.

        What is for cars (V2GCertificate) has a key of its own.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        if kind.startswith("V2G"):
            self._v2g_key = key
        else:
            self._asked_key = key
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, self._identity),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, self._organization),
            ]
        )
        made = x509.CertificateSigningRequestBuilder().subject_name(name)
        signed = made.sign(key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM).decode()

    def accept(self, chain_pem: str, kind: str = "") -> str | None:
        """Take a signed chain; the answer is None or why it was refused."""
        key = self._v2g_key if kind.startswith("V2G") else self._asked_key
        if key is None:
            return "nothing was requested"
        try:
            leaf = x509.load_pem_x509_certificates(chain_pem.encode())[0]
        except (ValueError, IndexError):
            return "not a PEM certificate chain"
        spki = serialization.PublicFormat.SubjectPublicKeyInfo
        der = serialization.Encoding.DER
        own = key.public_key().public_bytes(der, spki)
        if leaf.public_key().public_bytes(der, spki) != own:
            return "made for another key"
        now = datetime.now(UTC)
        if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
            return "not valid now"
        if kind.startswith("V2G"):
            self.v2g_chain_pem = chain_pem
        else:
            self.chain_pem, self._key = chain_pem, key
        return None

    def install(self, use: str, pem: str) -> str:
        """Trust a root for some use; the answer is the protocol's status word."""
        try:
            hash_data = hash_of(pem)
        except ValueError:
            return "Rejected"
        self.installed = [i for i in self.installed if i.hash_data != hash_data]
        self.installed.append(Installed(use, pem, hash_data))
        return "Accepted"

    def delete(self, hash_data: HashData) -> str:
        """Stop trusting a root; the answer is the protocol's status word."""
        wanted = {k: hash_data[k] for k in ("issuerNameHash", "issuerKeyHash", "serialNumber")}
        kept = [i for i in self.installed if {k: i.hash_data[k] for k in wanted} != wanted]
        found = len(kept) < len(self.installed)
        self.installed = kept
        return "Accepted" if found else "NotFound"

    def key_pem(self) -> str:
        """Write the private key, PEM without password."""
        if self._key is None:
            raise BadInput("the station has no key yet")
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()

    def dump(self) -> dict[str, Any]:
        """Write key, chain and roots down for the state file."""
        return {
            "key": None if self._key is None else self.key_pem(),
            "chain": self.chain_pem,
            "installed": [[i.use, i.pem] for i in self.installed],
        }

    def load(self, kept: dict[str, Any]) -> None:
        """Read key, chain and roots back."""
        if kept.get("key"):
            read = serialization.load_pem_private_key(kept["key"].encode(), None)
            if not isinstance(read, ec.EllipticCurvePrivateKey):
                raise ValueError("not a key on an elliptic curve")
            self._key = read
        self.chain_pem = kept.get("chain")
        for use, pem in kept.get("installed", []):
            self.install(use, pem)

    def context(self, ca: Path | None) -> ssl.SSLContext:
        """Make a TLS context that shows this station's chain (security profile 3)."""
        with tempfile.TemporaryDirectory() as folder:
            chain, key = Path(folder) / "chain.pem", Path(folder) / "key.pem"
            chain.write_text(self.chain_pem or "")
            key.write_text(self.key_pem())
            return tls_context(ca=ca, certificate=chain, key=key)


def tls_context(
    *,
    ca: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    insecure: bool = False,
) -> ssl.SSLContext:
    """Make a client context: profile 2 with a CA, profile 3 with certificate and key too."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if ca is not None:
            context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as problem:
        raise BadInput(f"{ca}: not a CA certificate: {problem}") from problem
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as problem:
            raise BadInput(f"{certificate}: not a certificate with its key: {problem}") from problem
    return context


def hash_of(pem: str) -> HashData:
    """Identify a certificate as OCPP does: hashes of issuer name and key, serial number."""
    certificate = x509.load_pem_x509_certificate(pem.encode())
    key = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return {
        "hashAlgorithm": "SHA256",
        "issuerNameHash": hashlib.sha256(certificate.issuer.public_bytes()).hexdigest(),
        "issuerKeyHash": hashlib.sha256(key).hexdigest(),
        "serialNumber": f"{certificate.serial_number:x}",
    }
