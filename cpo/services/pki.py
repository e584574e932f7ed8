"""Certificates as ISO 15118 uses them: chains, OCSP questions and answers, CRLs. No I/O."""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from cpo.errors import Invalid, Misconfigured

_ALGORITHMS: Final[dict[str, type[hashes.HashAlgorithm]]] = {
    "SHA256": hashes.SHA256,
    "SHA384": hashes.SHA384,
    "SHA512": hashes.SHA512,
}
_LONGEST_CHAIN: Final = 6
_CLOCK_SKEW: Final = timedelta(minutes=5)
_WITHOUT_END: Final = timedelta(days=1)
"""How long a statement holds that does not say so itself."""


class CertificateStatus(StrEnum):
    """What a station hears of a contract's certificate (AuthorizeCertificateStatusEnumType)."""

    ACCEPTED = "Accepted"
    SIGNATURE_ERROR = "SignatureError"
    EXPIRED = "CertificateExpired"
    REVOKED = "CertificateRevoked"
    NONE_AVAILABLE = "NoCertificateAvailable"
    CHAIN_ERROR = "CertChainError"
    CANCELLED = "ContractCancelled"


class Revocation(StrEnum):
    """What is known of a certificate's revocation (CertificateStatusEnumType of 2.1)."""

    GOOD = "Good"
    REVOKED = "Revoked"
    UNKNOWN = "Unknown"
    FAILED = "Failed"


class ChainFault(Exception):
    """A chain that is not accepted, and as what; never leaves the services."""

    def __init__(self, status: CertificateStatus, problem: str) -> None:
        super().__init__(problem)
        self.status = status


@dataclass(frozen=True, slots=True)
class HashData:
    """What names a certificate without showing it: hashes of its issuer, and its number."""

    algorithm: str
    issuer_name_hash: bytes
    issuer_key_hash: bytes
    serial: int

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "HashData":
        """Read OCSPRequestDataType or CertificateHashDataType; raises Invalid naming the field."""
        algorithm = str(given["hashAlgorithm"])
        if algorithm not in _ALGORITHMS:
            raise Invalid("hashAlgorithm", "is none of SHA256, SHA384, SHA512")
        size = _ALGORITHMS[algorithm]().digest_size
        try:
            serial = int(str(given["serialNumber"]), 16)
        except ValueError:
            raise Invalid("serialNumber", "is not hexadecimal") from None
        if serial < 0:
            raise Invalid("serialNumber", "is negative")
        return cls(
            algorithm,
            _digest(given, "issuerNameHash", size),
            _digest(given, "issuerKeyHash", size),
            serial,
        )

    @classmethod
    def of(cls, certificate: x509.Certificate, issuer: x509.Certificate) -> "HashData":
        """Name a certificate by its issuer."""
        return cls(
            "SHA256",
            hashlib.sha256(issuer.subject.public_bytes()).digest(),
            key_hash(issuer, "SHA256"),
            certificate.serial_number,
        )


def _digest(given: Mapping[str, Any], field: str, size: int) -> bytes:
    """Read a hash: hexadecimal as OCPP says, base64 as some stations write it."""
    text = str(given[field]).strip()
    try:
        if len(text) == size * 2:
            return bytes.fromhex(text)
        found = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        found = b""
    if len(found) != size:
        raise Invalid(field, f"is no hash of {size} bytes")
    return found


def key_hash(certificate: x509.Certificate, algorithm: str) -> bytes:
    """Hash a certificate's public key as OCSP does: the value, without tag and length."""
    return hashlib.new(algorithm.lower(), _key_bytes(certificate)).digest()


def _key_bytes(certificate: x509.Certificate) -> bytes:
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
    if isinstance(key, rsa.RSAPublicKey):
        return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


class Anchors:
    """The certificates that are believed by the operator's word: V2G and MO roots, sub-CAs."""

    def __init__(self, certificates: Iterable[x509.Certificate] = ()) -> None:
        self.certificates = tuple(certificates)

    def __bool__(self) -> bool:
        return bool(self.certificates)

    @classmethod
    def load(cls, file: Path) -> "Anchors":
        """Read a PEM file; raises Misconfigured."""
        try:
            return cls(x509.load_pem_x509_certificates(file.read_bytes()))
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            raise Misconfigured("ocpp.plug_and_charge.roots", str(error)) from None

    def issuer_of(
        self, named: HashData, more: Iterable[x509.Certificate] = ()
    ) -> x509.Certificate | None:
        """Find the certificate that issued what is named so."""
        for candidate in (*self.certificates, *more):
            if key_hash(candidate, named.algorithm) == named.issuer_key_hash:
                return candidate
        return None

    def path(
        self, leaf: x509.Certificate, more: Sequence[x509.Certificate], now: datetime
    ) -> tuple[x509.Certificate, ...]:
        """Return the certificates from a leaf to one that is believed.

        Raises ChainFault: a signature is wrong, a certificate is out of its time, or nothing leads
        to an anchor.
        """
        chain = [leaf]
        while True:
            current = chain[-1]
            if not current.not_valid_before_utc <= now <= current.not_valid_after_utc:
                raise ChainFault(CertificateStatus.EXPIRED, "a certificate is out of its time")
            if current in self.certificates:
                return tuple(chain)
            issuer = self._issuer(current, more)
            if issuer in chain or len(chain) == _LONGEST_CHAIN:
                raise ChainFault(CertificateStatus.CHAIN_ERROR, "the chain is too long")
            if not _may_issue(issuer, below=len(chain) - 1):
                raise ChainFault(CertificateStatus.CHAIN_ERROR, "an issuer is no authority")
            chain.append(issuer)

    def _issuer(
        self, certificate: x509.Certificate, more: Sequence[x509.Certificate]
    ) -> x509.Certificate:
        """Find who signed a certificate."""
        named = [c for c in (*self.certificates, *more) if c.subject == certificate.issuer]
        for candidate in named:
            if signed_by(certificate, candidate):
                return candidate
        if named:
            raise ChainFault(CertificateStatus.SIGNATURE_ERROR, "a signature is wrong")
        raise ChainFault(CertificateStatus.CHAIN_ERROR, "an issuer is not known")


def signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Tell whether a certificate was signed by another."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _may_issue(certificate: x509.Certificate, *, below: int) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        if not _signs_certificates(certificate):
            return False
    except (x509.ExtensionNotFound, ValueError):
        return False
    room = constraints.path_length
    return constraints.ca and (room is None or below <= room)


def _signs_certificates(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return usage.key_cert_sign


def read_chain(text: str) -> list[x509.Certificate]:
    """Read PEM certificates, the leaf first; raises ChainFault for what is none."""
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ChainFault(CertificateStatus.CHAIN_ERROR, "no PEM certificates") from None


def names_contract(certificate: x509.Certificate, emaid: str) -> bool:
    """Tell whether a certificate is for a contract: its common name is the eMAID."""
    wanted = _bare(emaid)
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return any(_bare(str(name.value)) == wanted for name in names)


def _bare(emaid: str) -> str:
    return emaid.replace("-", "").replace("*", "").upper()


def responder_url(certificate: x509.Certificate) -> str | None:
    """Return where a certificate says its status can be asked for."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except (x509.ExtensionNotFound, ValueError):
        return None
    for description in access.value:
        location = description.access_location
        if description.access_method == AuthorityInformationAccessOID.OCSP and isinstance(
            location, x509.UniformResourceIdentifier
        ):
            return str(location.value)
    return None


# --- OCSP and CRLs --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Statement:
    """What a responder says of a certificate, and until when."""

    revocation: Revocation
    next_update: datetime | None
    der: bytes = b""


def ocsp_question(named: HashData) -> bytes:
    """Return the OCSP request for a certificate (DER)."""
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        named.issuer_name_hash,
        named.issuer_key_hash,
        named.serial,
        _ALGORITHMS[named.algorithm](),
    )
    return builder.build().public_bytes(serialization.Encoding.DER)


def read_ocsp(der: bytes, named: HashData, anchors: Anchors, now: datetime) -> Statement:
    """Read an OCSP answer that is signed by who may sign it.

    Raises ChainFault with SIGNATURE_ERROR for a signature that is wrong or by a stranger, and with
    NONE_AVAILABLE for what is no answer about this certificate now.
    """
    try:
        answer = ocsp.load_der_ocsp_response(der)
        if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise _no_answer(f"the responder said {answer.response_status.name}")
        single = next((s for s in answer.responses if _about(s, named)), None)
        if single is None:
            raise _no_answer("the answer is about another certificate")
        _check_signer(answer, named, anchors, now)
        # One that names no end may be an old one, played again by whoever has recorded it.
        until = single.next_update_utc or single.this_update_utc + _WITHOUT_END
        if until + _CLOCK_SKEW < now or single.this_update_utc > now + _CLOCK_SKEW:
            raise _no_answer("the answer is out of its time")
        word = {
            ocsp.OCSPCertStatus.GOOD: Revocation.GOOD,
            ocsp.OCSPCertStatus.REVOKED: Revocation.REVOKED,
        }.get(single.certificate_status, Revocation.UNKNOWN)
        return Statement(word, single.next_update_utc, der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _no_answer(f"not an OCSP answer: {error}") from None


def _no_answer(problem: str) -> ChainFault:
    return ChainFault(CertificateStatus.NONE_AVAILABLE, problem)


def _about(single: ocsp.OCSPSingleResponse, named: HashData) -> bool:
    if single.serial_number != named.serial:
        return False
    same = single.hash_algorithm.name == named.algorithm.lower()
    # A responder may name the issuer by another hash; then the number has to do, and whoever
    # signs is the issuer's own.
    return not same or single.issuer_key_hash == named.issuer_key_hash


def _check_signer(
    answer: ocsp.OCSPResponse, named: HashData, anchors: Anchors, now: datetime
) -> None:
    embedded = list(answer.certificates)
    signer = next(
        (c for c in (*anchors.certificates, *embedded) if _signed(answer, c)),
        None,
    )
    if signer is None:
        raise ChainFault(CertificateStatus.SIGNATURE_ERROR, "the answer's signature is wrong")
    try:
        path = anchors.path(signer, embedded, now)
    except ChainFault as fault:
        raise ChainFault(CertificateStatus.SIGNATURE_ERROR, str(fault)) from None
    # Of the issuer, or by its own delegate: another authority's responder knows nothing of it
    # (RFC 6960, 4.2.2.2). A responder that the operator believes by name may speak for any.
    of_issuer = [key_hash(c, named.algorithm) == named.issuer_key_hash for c in path[:2]]
    by_delegate = _delegated(signer) and (signer in anchors.certificates or any(of_issuer[1:]))
    if not (of_issuer[0] or by_delegate):
        raise ChainFault(CertificateStatus.SIGNATURE_ERROR, "the answer is signed by a stranger")


def _delegated(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return ExtendedKeyUsageOID.OCSP_SIGNING in usage


def _signed(answer: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    key, algorithm = signer.public_key(), answer.signature_hash_algorithm
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and algorithm is not None:
            key.verify(answer.signature, answer.tbs_response_bytes, ec.ECDSA(algorithm))
        elif isinstance(key, rsa.RSAPublicKey) and algorithm is not None:
            key.verify(answer.signature, answer.tbs_response_bytes, padding.PKCS1v15(), algorithm)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def read_crl(data: bytes, named: HashData, anchors: Anchors, now: datetime) -> Statement:
    """Read what a revocation list says of a certificate; raises ChainFault as `read_ocsp` does."""
    try:
        return _read_crl(data, named, anchors, now)
    except (ValueError, UnsupportedAlgorithm):
        raise _no_answer("not a revocation list") from None


def _read_crl(data: bytes, named: HashData, anchors: Anchors, now: datetime) -> Statement:
    pem = data.lstrip().startswith(b"-----BEGIN")
    crl = x509.load_pem_x509_crl(data) if pem else x509.load_der_x509_crl(data)
    issuer = anchors.issuer_of(named)
    if issuer is None or crl.issuer != issuer.subject:
        raise _no_answer("the list is by another issuer")
    key = issuer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise _no_answer("the issuer's key is of no known kind")
    if not crl.is_signature_valid(key):
        raise ChainFault(CertificateStatus.SIGNATURE_ERROR, "the list's signature is wrong")
    until = crl.next_update_utc or crl.last_update_utc + _WITHOUT_END
    if until + _CLOCK_SKEW < now or crl.last_update_utc > now + _CLOCK_SKEW:
        raise _no_answer("the list is out of its time")
    revoked = crl.get_revoked_certificate_by_serial_number(named.serial) is not None
    word = Revocation.REVOKED if revoked else Revocation.GOOD
    return Statement(word, crl.next_update_utc)
