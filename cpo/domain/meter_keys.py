"""Public keys of meters: where one comes from, which one counts, and how they are written."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from cpo.errors import Invalid

_POINT = b"\x04"
_POINT_LENGTHS = frozenset({49, 57, 65, 97, 129, 133})
_LONGEST = 10_000


class KeySource(StrEnum):
    """Who says that a key is the meter's; the first one counts."""

    REGISTERED = "registered"  # the operator
    ANNOUNCED = "announced"  # the station's configuration or device model
    SENT = "sent along"  # the signed reading itself: proves only that nothing was changed since


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterKey:
    """A meter's public key; for one serial number, else one EVSE, else the whole station."""

    name: str
    public_key: str
    source: KeySource = KeySource.REGISTERED
    serial: str | None = None
    evse_id: int | None = None


def choose_key(
    keys: Sequence[MeterKey], *, serial: str | None, evse_id: int | None
) -> MeterKey | None:
    """Return the key of a meter: what the operator registered, and what names it best, first."""

    def rank(key: MeterKey) -> tuple[bool, bool, bool]:
        return key.source is not KeySource.REGISTERED, key.serial is None, key.evse_id is None

    fitting = [
        key for key in keys if key.serial in (None, serial) and key.evse_id in (None, evse_id)
    ]
    return min(fitting, key=rank, default=None)


def check_key(text: str) -> None:
    """Refuse what is no public key of an elliptic curve.

    Raises:
        Invalid: names `public_key`.
    """
    try:
        key_point(text)
    except (ValueError, UnsupportedAlgorithm):
        raise Invalid(
            "public_key",
            "is no public key of an elliptic curve: PEM, or DER or a point in hex or base64",
        ) from None


def read_key(text: str, curve: ec.EllipticCurve) -> ec.EllipticCurvePublicKey:
    """Read a key; `curve` is that of a bare point. ValueError when it is none."""
    raw = _raw(text)
    if isinstance(raw, bytes):
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, raw)
    return raw


def key_point(text: str) -> bytes:
    """Return a key as a bare point, the same however it is written. ValueError when it is none."""
    raw = _raw(text)
    if isinstance(raw, bytes):
        if len(raw) not in _POINT_LENGTHS:
            raise ValueError("not a point")
        return raw
    return raw.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _raw(text: str) -> bytes | ec.EllipticCurvePublicKey:
    """Read PEM, or DER or a bare point in hex or base64, also as OCPP writes it."""
    if len(text) > _LONGEST:
        raise ValueError("too long")
    key = text.strip()
    if key.startswith("-----"):
        return _elliptic(load_pem_public_key(key.encode()))
    for _ in range(2):
        # "oca:base16:asn1:3059…", often in base64 once more.
        key = re.sub(r"^oca:base(16|64):(asn1|DER|der):", "", key)
        if re.fullmatch(r"(?:[0-9A-Fa-f]{2})+", key):
            raw = bytes.fromhex(key)
            break
        raw = base64.b64decode(key, validate=True)
        if not raw.startswith(b"oca:"):
            break
        key = raw.decode()
    return raw if raw[:1] == _POINT else _elliptic(load_der_public_key(raw))


def _elliptic(key: Any) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("not a key of an elliptic curve")  # noqa: TRY004 - unreadable, like others
    return key
