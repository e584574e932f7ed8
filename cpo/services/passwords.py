"""Charge points' passwords: kept as keyed hashes, compared in constant time."""

import hashlib
import hmac

from cpo.domain.station import Station

# Below this a password can be guessed at the rate at which logins are allowed.
STRONG_LENGTH = 16
LONGEST = 40


class Passwords:
    """Hashes and compares passwords with a key that is not in the database.

    A keyed fast hash, not a slow one: thousands of stations come back within seconds after a
    restart, and without the key a stolen database does not let anybody try passwords.
    """

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.blake2b(key, digest_size=32, person=b"cpo station pw").digest()

    def hash(self, password: str) -> str:
        """Return what is stored of a password."""
        return self._digest(password.encode()).hex()

    def matches(self, station: Station, presented: bytes) -> bool:
        """Tell whether a station may connect with what it presented.

        The previous password counts too while a rotation is under way. An OCPP 1.6
        AuthorizationKey of 40 hexadecimal digits may be sent as the 20 bytes it stands for
        (OCPP-J 1.6 security whitepaper, A00.FR.205).
        """
        spellings = (presented, presented.hex().encode(), presented.hex().upper().encode())
        digests = [self._digest(spelling) for spelling in spellings]
        found = False
        for stored in (station.password_hash, station.previous_password_hash):
            known = bytes.fromhex(stored) if stored else b"\0" * 32
            for digest in digests:
                # No short cut: the time must not tell which one was nearly right.
                found |= hmac.compare_digest(known, digest) and stored is not None
        return found

    def _digest(self, password: bytes) -> bytes:
        return hashlib.blake2b(password, digest_size=32, key=self._key).digest()
