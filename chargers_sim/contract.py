"""The contract certificate in a car (ISO 15118), with the chain it hangs on."""

import functools
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID

from chargers_sim.errors import BadInput

RESPONDER = "http://ocsp.example.com/"
PEM = serialization.Encoding.PEM
EMAID = re.compile(r"[A-Z]{2}-?[A-Z0-9]{3}-?C?[A-Z0-9]{8,9}(-?[A-Z0-9])?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract: its chain from the leaf to the root, all signed for real."""

    emaid: str
    chain: tuple[x509.Certificate, ...]

    def pem(self) -> str:
        """Write leaf and intermediates, as a car sends them."""
        return pem_of(c for c in self.chain if c.issuer != c.subject)

    def root_pem(self) -> str:
        """Write the root, for a server that is to trust it."""
        return pem_of(self.chain[-1:])

    def hash_data(self, responder: str = RESPONDER) -> list[dict[str, str]]:
        """Identify each certificate whose issuer is in the chain for OCSP, the leaf first."""
        pairs = zip(self.chain[:-1], self.chain[1:], strict=True)
        return [{**_hashes(c, issuer), "responderURL": responder} for c, issuer in pairs]


def read_contract(path: str | Path, emaid: str = "") -> Contract:
    """Read a chain from a PEM file, the leaf first, best with the root at its end."""
    try:
        chain = x509.load_pem_x509_certificates(Path(path).read_bytes())
    except OSError as problem:
        raise BadInput(f"{path}: {problem.strerror}") from problem
    except ValueError as problem:
        raise BadInput(f"{path}: not a PEM certificate chain") from problem
    for lower, upper in itertools.pairwise(chain):
        if lower.issuer != upper.subject:
            raise BadInput(
                f"{path}: the chain is not in order: {lower.subject.rfc4514_string()} "
                f"is not issued by {upper.subject.rfc4514_string()}"
            )
    named = chain[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Contract(emaid or str(named[0].value if named else ""), tuple(chain))


@dataclass(frozen=True, slots=True)
class Authority:
    """A mobility operator's root and sub-CA with their keys."""

    root: x509.Certificate
    sub: x509.Certificate
    root_key: ec.EllipticCurvePrivateKey
    sub_key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls) -> Self:
        """Make a new one."""
        root_key, sub_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        root_name, sub_name = _name("Example MO Root"), _name("Example MO Sub-CA")
        root = _certificate(root_name, root_name, root_key.public_key(), root_key, ca=True)
        sub = _certificate(sub_name, root_name, sub_key.public_key(), root_key, ca=True)
        return cls(root, sub, root_key, sub_key)

    def sign(self, emaid: str, *, days: float = 365) -> tuple[Contract, ec.EllipticCurvePrivateKey]:
        """Make the contract of an eMAID, and the key that the car would have."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = _certificate(
            _name(emaid.replace("-", "")), self.sub.subject, key.public_key(), self.sub_key, days
        )
        return Contract(emaid, (leaf, self.sub, self.root)), key


class Folder:
    """A mobility operator on disk: `roots.pem` for the server, one chain for each contract.

    Made at its first use. `revoked.txt` lists the eMAIDs that the responder calls revoked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.roots = path / "roots.pem"
        self._keys = path / "authority.key"
        self._revoked = path / "revoked.txt"
        try:
            path.mkdir(parents=True, exist_ok=True)
            self.authority = self._read() if self._keys.exists() else self._make()
        except OSError as problem:
            raise BadInput(f"{path}: {problem.strerror}") from problem

    def contract(self, emaid: str, *, days: float = 365) -> Path:
        """Give the chain of a contract, made at the first time; next to it lies its key."""
        if not EMAID.fullmatch(emaid):
            raise BadInput(f"EMAID: {emaid!r} is not like NL-SIM-C12345678-X")
        name = emaid.replace("-", "").upper()
        path = self.path / f"{name}.pem"
        if not path.exists():
            contract, key = self.authority.sign(emaid, days=days)
            path.write_text(pem_of(contract.chain))
            (self.path / f"{name}.key").write_text(_key_pem(key))
        return path

    def revoke(self, emaid: str, *, revoked: bool = True) -> None:
        """Call a contract revoked from now on, or good again."""
        name = emaid.replace("-", "").upper()
        names = {*self._listed(), name} if revoked else {*self._listed()} - {name}
        self._revoked.write_text("".join(f"{n}\n" for n in sorted(names)))

    def respond(self, question: bytes) -> bytes:
        """Answer an OCSP request, DER to DER; raises ValueError for what is none."""
        asked = ocsp.load_der_ocsp_request(question)
        issued = self._issued()
        found = issued.get(asked.serial_number)
        if found is None:
            return ocsp.OCSPResponseBuilder.build_unsuccessful(
                ocsp.OCSPResponseStatus.UNAUTHORIZED
            ).public_bytes(serialization.Encoding.DER)
        certificate, issuer, key = found
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        revoked = common in self._listed()
        now = datetime.now(UTC)
        answer = (
            ocsp.OCSPResponseBuilder()
            .add_response(
                cert=certificate,
                issuer=issuer,
                algorithm=asked.hash_algorithm,
                cert_status=ocsp.OCSPCertStatus.REVOKED if revoked else ocsp.OCSPCertStatus.GOOD,
                this_update=now - timedelta(minutes=1),
                next_update=now + timedelta(minutes=1),
                revocation_time=now if revoked else None,
                revocation_reason=x509.ReasonFlags.unspecified if revoked else None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.NAME, issuer)
            .sign(key, hashes.SHA256())
        )
        return answer.public_bytes(serialization.Encoding.DER)

    def _issued(
        self,
    ) -> dict[int, tuple[x509.Certificate, x509.Certificate, ec.EllipticCurvePrivateKey]]:
        own = self.authority
        found = {own.sub.serial_number: (own.sub, own.root, own.root_key)}
        for path in self.path.glob("*.pem"):
            if path != self.roots:
                leaf = read_contract(path).chain[0]
                found[leaf.serial_number] = (leaf, own.sub, own.sub_key)
        return found

    def _listed(self) -> list[str]:
        return self._revoked.read_text().split() if self._revoked.exists() else []

    def _make(self) -> Authority:
        made = Authority.make()
        self._keys.write_text(_key_pem(made.root_key) + _key_pem(made.sub_key))
        self._keys.chmod(0o600)
        self.roots.write_text(pem_of((made.root, made.sub)))
        return made

    def _read(self) -> Authority:
        end = "-----END PRIVATE KEY-----\n"
        try:
            root, sub = x509.load_pem_x509_certificates(self.roots.read_bytes())
            first, second, _ = self._keys.read_text().split(end)
            root_key, sub_key = (
                serialization.load_pem_private_key((text + end).encode(), None)
                for text in (first, second)
            )
        except ValueError as problem:
            raise BadInput(f"{self.path}: not a folder of this command: {problem}") from problem
        if not isinstance(root_key, ec.EllipticCurvePrivateKey) or not isinstance(
            sub_key, ec.EllipticCurvePrivateKey
        ):
            raise BadInput(f"{self._keys}: not keys on an elliptic curve")
        return Authority(root, sub, root_key, sub_key)


@functools.lru_cache(maxsize=256)
def contract_for(emaid: str) -> Contract:
    """Make a contract of an authority nobody knows; the same as long as the program runs."""
    return Authority.make().sign(emaid)[0]


def pem_of(certificates: Iterable[x509.Certificate]) -> str:
    """Write certificates one after the other."""
    return "".join(c.public_bytes(PEM).decode() for c in certificates)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(PEM, form, plain).decode()


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    signing: ec.EllipticCurvePrivateKey,
    days: float = 365,
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
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(signing, hashes.SHA256())
    )


def _hashes(certificate: x509.Certificate, issuer: x509.Certificate) -> dict[str, str]:
    # The hashes are those of an OCSP request (RFC 6960, 4.1.1).
    question = (
        ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA256()).build()
    )
    return {
        "hashAlgorithm": "SHA256",
        "issuerNameHash": question.issuer_name_hash.hex(),
        "issuerKeyHash": question.issuer_key_hash.hex(),
        "serialNumber": f"{certificate.serial_number:x}",
    }
