"""The signature of a firmware image and the certificate it was made with. Pure."""

import base64
import binascii
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa


def check_certificate(pem: str, roots: Iterable[str]) -> str | None:
    """Check a signing certificate; the answer is None or what is wrong.

    Where the station trusts roots of its maker, one of them must have signed it.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        return "not a PEM certificate"
    now = datetime.now(UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        return "not valid now"
    trusted = [x509.load_pem_x509_certificate(root.encode()) for root in roots]
    if trusted and not any(_signed_by(certificate, root) for root in trusted):
        return "not signed by a root of the manufacturer"
    return None


def check_signature(image: bytes, signature: str, pem: str) -> bool:
    """Check a base64 signature over an image: ECDSA, RSA-PSS or RSA PKCS#1 v1.5, SHA-256."""
    try:
        made = base64.b64decode(signature, validate=True)
        key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    except (ValueError, binascii.Error):
        return False
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _verifies(lambda: key.verify(made, image, ec.ECDSA(hashes.SHA256())))
    if isinstance(key, rsa.RSAPublicKey):
        sha = hashes.SHA256()
        pss, plain = padding.PSS(padding.MGF1(sha), padding.PSS.AUTO), padding.PKCS1v15()
        return _verifies(lambda: key.verify(made, image, pss, sha)) or _verifies(
            lambda: key.verify(made, image, plain, sha)
        )
    return False


def _verifies(verify: Callable[[], None]) -> bool:
    try:
        verify()
    except InvalidSignature:
        return False
    return True


def _signed_by(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
