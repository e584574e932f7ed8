"""Our own small certificate authority: signs what stations ask to have signed (FW-07)."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cpo.errors import Misconfigured, Refused

_MIN_RSA_BITS: Final = 2048
_MIN_EC_BITS: Final = 224
_CLOCK_SKEW: Final = timedelta(hours=1)
STATION_NAME: Final = "urn:x-ocpp-station:"
SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Authority:
    """Signs certificate requests of stations, each for its own identity only."""

    def __init__(
        self,
        certificate: x509.Certificate,
        key: SigningKey,
        *,
        validity: timedelta,
        now: Callable[[], datetime],
        organizations: Sequence[str] = (),
    ) -> None:
        """Build it; `organizations` are the names that a request may give as its organization.

        The first stands in what names none; without any, every organization will do.
        """
        self.certificate = certificate
        self._key = key
        self._validity = validity
        self._now = now
        self._organizations = organizations

    @classmethod
    def load(
        cls,
        certificate: Path,
        key: Path,
        *,
        validity: timedelta,
        now: Callable[[], datetime],
        organizations: Sequence[str] = (),
    ) -> "Authority":
        """Read the authority's certificate and key (PEM).

        Raises:
            Misconfigured: a file cannot be read, or is not what it should be.
        """
        try:
            signing_key = serialization.load_pem_private_key(key.read_bytes(), password=None)
            loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Misconfigured("ocpp.authority", str(error)) from None
        if not isinstance(signing_key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise Misconfigured("ocpp.authority", "the key is neither ECDSA nor RSA")
        return cls(loaded, signing_key, validity=validity, now=now, organizations=organizations)

    def sign(
        self, request: str, *, identity: str, names: frozenset[str], for_cars: bool = False
    ) -> str:
        """Sign a request (PEM) and return the chain (PEM), the station's certificate first.

        Args:
            request: the certificate signing request.
            identity: whose connection it came over.
            names: common names that this station may ask for (its identity, its serial number).
            for_cars: True for the certificate that it shows to cars (ISO 15118), where it is the
                server; False for the one it shows to us.

        Raises:
            Refused: the request is broken, weak, or for somebody else.
        """
        try:
            csr = x509.load_pem_x509_csr(request.encode())
            if not csr.is_signature_valid:
                raise Refused("the request is not signed with its own key")
        except (ValueError, UnsupportedAlgorithm, InvalidSignature):
            raise Refused("the request cannot be read") from None
        key = csr.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            weak = key.key_size < _MIN_RSA_BITS
        elif isinstance(key, ec.EllipticCurvePublicKey):
            weak = key.key_size < _MIN_EC_BITS
        else:
            weak = True
        if weak:
            raise Refused("the key is too weak")
        asked = {
            str(attribute.value)
            for attribute in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        }
        if not asked or not asked <= names | {identity}:
            raise Refused("the request is for another station")
        subject = self._of_ours(csr.subject)
        now = self._now()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_SKEW)
            .not_valid_after(now + self._validity)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [
                        ExtendedKeyUsageOID.SERVER_AUTH
                        if for_cars
                        else ExtendedKeyUsageOID.CLIENT_AUTH
                    ]
                ),
                critical=False,
            )
            # Whatever common name was asked for: this is whose certificate it is, and the handshake
            # of profile 3 goes by it.
            .add_extension(
                x509.SubjectAlternativeName(
                    [
                        x509.DNSName(_host_like(identity)),
                        x509.UniformResourceIdentifier(station_name(identity)),
                    ]
                ),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        chain = (certificate, self.certificate)
        return "".join(c.public_bytes(serialization.Encoding.PEM).decode() for c in chain)

    def _of_ours(self, subject: x509.Name) -> x509.Name:
        """Return a subject whose organization is one of ours; Refused for somebody else's."""
        named = {
            str(attribute.value)
            for attribute in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        }
        if not self._organizations:
            return subject
        if not named:
            ours = x509.NameAttribute(NameOID.ORGANIZATION_NAME, self._organizations[0])
            return x509.Name([*subject, ours])
        if not named <= set(self._organizations):
            raise Refused("the request is for another organization")
        return subject

    def revocation_list(
        self, revoked: Iterable[tuple[str, datetime, x509.ReasonFlags]], *, valid: timedelta
    ) -> str:
        """Return our revocation list (PEM) of (serial number in hex, since when, why)."""
        now = self._now()
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now - _CLOCK_SKEW)
            .next_update(now + valid)
            .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
        )
        for serial, since, reason in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(int(serial, 16))
                .revocation_date(since)
                .add_extension(x509.CRLReason(reason), critical=False)
                .build()
            )
        signed = builder.sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM).decode()


def station_name(identity: str) -> str:
    """Return the name that tells in a certificate of ours which station it is for."""
    return STATION_NAME + quote(identity, safe="")


def _host_like(identity: str) -> str:
    return identity.replace(" ", "-")


def expiry(chain: str) -> datetime:
    """Return when the first certificate of a chain (PEM) expires."""
    return x509.load_pem_x509_certificate(chain.encode()).not_valid_after_utc


def serial_of(chain: str) -> str:
    """Return the serial number (hex) of the first certificate of a chain (PEM)."""
    return f"{x509.load_pem_x509_certificate(chain.encode()).serial_number:x}"


def describe(pem: str) -> dict[str, str] | None:
    """Return a certificate's number, subject and end; None for what is none."""
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        return None
    return {
        "serial": f"{certificate.serial_number:x}",
        "subject": certificate.subject.rfc4514_string(),
        "expires_at": certificate.not_valid_after_utc.isoformat(),
    }
