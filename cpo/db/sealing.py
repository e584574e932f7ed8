"""Seals secrets that we have to use again, with a key that is not in the database (D13, S13)."""

import base64
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cpo.errors import Misconfigured

NONCE_BYTES = 12


class Seal:
    """Encrypts and authenticates short texts with AES-GCM."""

    def __init__(self, secret: bytes) -> None:
        key = HKDF(hashes.SHA256(), 32, salt=None, info=b"cpo tokens we use").derive(secret)
        self._cipher = AESGCM(key)

    def close(self, text: str) -> str:
        """Return a text sealed, as base64."""
        nonce = os.urandom(NONCE_BYTES)
        return base64.b64encode(nonce + self._cipher.encrypt(nonce, text.encode(), None)).decode()

    def open(self, sealed: str) -> str:
        """Return what was sealed; Misconfigured when it was with another key."""
        raw = base64.b64decode(sealed)
        try:
            return self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], None).decode()
        except InvalidTag as error:
            raise Misconfigured(
                "server.secret_key", "the tokens in the database were sealed with another key"
            ) from error
