"""The contract certificate in a car (ISO 15118), with the chain it hangs on. Pure."""

import functools
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

RESPONDER = "http://ocsp.example.com/"


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract: its chain from the leaf to the root, all signed for real."""

    emaid: str
    chain: tuple[x509.Certificate, ...]

    def pem(self) -> str:
        """Write leaf and intermediate, as a car sends them."""
        encoding = serialization.Encoding.PEM
        return "".join(c.public_bytes(encoding).decode() for c in self.chain[:-1])

    def root_pem(self) -> str:
        """Write the root, for a server that is to trust it."""
        return self.chain[-1].public_bytes(serialization.Encoding.PEM).decode()

    def hash_data(self, responder: str = RESPONDER) -> list[dict[str, str]]:
        """Identify each certificate but the root for OCSP, the leaf first."""
        pairs = zip(self.chain[:-1], self.chain[1:], strict=True)
        return [{**_hashes(c, issuer), "responderURL": responder} for c, issuer in pairs]


@functools.lru_cache(maxsize=256)
def contract_for(emaid: str) -> Contract:
    """Make the contract of an eMAID; the same one as long as the program runs."""
    root_key, sub_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    root_name, sub_name = _name("Example MO Root"), _name("Example MO Sub-CA")
    root = _certificate(root_name, root_name, root_key.public_key(), root_key, ca=True)
    sub = _certificate(sub_name, root_name, sub_key.public_key(), root_key, ca=True)
    leaf = _certificate(_name(emaid.replace("-", "")), sub_name, key.public_key(), sub_key)
    return Contract(emaid, (leaf, sub, root))


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    signing: ec.EllipticCurvePrivateKey,
    *,
    ca: bool = False,
) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(signing, hashes.SHA256())
    )


def _hashes(certificate: x509.Certificate, issuer: x509.Certificate) -> dict[str, str]:
    # As OCSP has it: the issuer's name, and the bits of its public key alone (RFC 6960, 4.1.1).
    key = issuer.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)  # noqa: S101 - we made it
    bits = key.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    return {
        "hashAlgorithm": "SHA256",
        "issuerNameHash": hashlib.sha256(issuer.subject.public_bytes()).hexdigest(),
        "issuerKeyHash": hashlib.sha256(bits).hexdigest(),
        "serialNumber": f"{certificate.serial_number:x}",
    }
