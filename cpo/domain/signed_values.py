"""Signed meter values: read what the meter signed, check the signature, compare the energy.

What a charger sends is carried on untouched; this only looks at it. Read is OCMF (Open Charge
Metering Format 1.x), as text, or as base64 or hex of it. Other formats stay unverified.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from cpo.domain.events import SignedReading
from cpo.domain.meter_keys import KeySource, MeterKey, choose_key, key_point, read_key
from cpo.errors import Invalid

_CURVES: dict[str, ec.EllipticCurve] = {
    "secp192r1": ec.SECP192R1(),
    "secp256r1": ec.SECP256R1(),
    "secp256k1": ec.SECP256K1(),
    "secp384r1": ec.SECP384R1(),
    "brainpool256r1": ec.BrainpoolP256R1(),
    "brainpool384r1": ec.BrainpoolP384R1(),
}
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "SHA256": hashes.SHA256(),
    "SHA384": hashes.SHA384(),
    "SHA512": hashes.SHA512(),
}
_DEFAULT_ALGORITHM = "ECDSA-secp256r1-SHA256"
_WH = {"KWH": Decimal(1000), "WH": Decimal(1)}
_BEGINS = frozenset("B")
_ENDS = frozenset("ELRAP")
_MOST_CHARACTERS = 100_000


class Signature(StrEnum):
    """What is known of a signature."""

    VALID = "valid"
    INVALID = "invalid"
    UNVERIFIED = "unverified"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRegister:
    """One reading inside a signed data set.

    ``transaction`` is OCMF's TX: B begin, C during, E, L, R, A, P an end. ``good`` tells that the
    meter was in order (ST is G or absent). ``step_wh`` is the last digit that was written.
    """

    at: datetime | None
    transaction: str | None
    energy_wh: Decimal | None
    good: bool
    step_wh: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ocmf:
    """A signed data set, its payload as it was signed."""

    payload: str
    registers: tuple[SignedRegister, ...]
    meter_serial: str | None
    pagination: str | None
    algorithm: str
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheck:
    """What the signed values of a session say.

    ``key`` is whose key they were checked with, None without one. ``key_differs`` tells that the
    one sent along is another than that. ``energy_wh`` is the signed energy from begin to end, None
    when they do not tell it; it ``differs`` from what is billed, and ``contradicts`` it when the
    signature is good by a key that did not come along and no rounding explains it. ``problems``
    are sentences for the operator.
    """

    signature: Signature
    key: KeySource | None = None
    key_differs: bool = False
    energy_wh: Decimal | None = None
    differs: bool = False
    contradicts: bool = False
    problems: tuple[str, ...] = ()


def parse_ocmf(data: str) -> Ocmf:
    """Read an OCMF data set.

    Raises:
        Invalid: It is none.
    """
    text = _ocmf_text(data)
    try:
        _, length = _decoder.raw_decode(text, 5)
        payload = text[5:length]
        rest = text[length:]
        if not rest.startswith("|"):
            raise Invalid("signed_data", "there is no signature section")
        content = _decoder.decode(payload)
        signature, _ = _decoder.raw_decode(rest[1:].lstrip())
    except (ValueError, RecursionError) as broken:
        raise Invalid("signed_data", f"is not OCMF: {broken}") from None
    if not isinstance(content, dict) or not isinstance(signature, dict):
        raise Invalid("signed_data", "its sections are no objects")
    return Ocmf(
        payload=payload,
        registers=_registers(content.get("RD")),
        meter_serial=_text(content.get("MS")),
        pagination=_text(content.get("PG")),
        algorithm=_text(signature.get("SA")) or _DEFAULT_ALGORITHM,
        signature=_signature(signature),
    )


def check_signed(
    readings: Sequence[SignedReading],
    *,
    energy_wh: Decimal | None = None,
    keys: Sequence[MeterKey] = (),
    evse_id: int | None = None,
    tolerance_wh: Decimal = Decimal(1),
) -> SignedCheck:
    """Check a session's signed readings against their signatures and the energy billed.

    Args:
        readings: What the meter signed, in any order.
        energy_wh: The energy that is billed.
        keys: The keys that are known of the station's meters. Without one for this meter the key
            sent along is taken, which proves no more than that nothing was changed on the way.
        evse_id: Where the meter is.
        tolerance_wh: How far the two energies may be apart: registers round to their resolution.
    """
    verdicts: list[Signature] = []
    problems: list[str] = []
    registers: list[SignedRegister] = []
    sources: list[KeySource] = []
    sent = next((reading.public_key for reading in readings if reading.public_key), None)
    key_differs = False
    for reading in readings:
        ocmf = None
        try:
            ocmf = parse_ocmf(reading.data)
        except Invalid as unreadable:
            if (reading.method or "").upper() == "OCMF":
                problems.append(f"{reading.nature}: {unreadable.problem}")
        serial = ocmf.meter_serial if ocmf is not None else None
        known = choose_key(keys, serial=serial, evse_id=evse_id)
        along = reading.public_key or sent
        if known is not None and along is not None and not _same(known.public_key, along):
            key_differs = True
            problems.append(f"the key sent along is not the one {known.source}: {known.name}")
        if ocmf is None:
            verdicts.append(Signature.UNVERIFIED)
            continue
        registers += ocmf.registers
        verdict, problem = verify(ocmf, known.public_key if known is not None else along)
        verdicts.append(verdict)
        if verdict is not Signature.UNVERIFIED:
            sources.append(known.source if known is not None else KeySource.SENT)
        if problem is not None:
            problems.append(f"{reading.nature}: {problem}")
    if not all(register.good for register in registers):
        problems.append("the meter reported an error in a signed reading")
    worst = Signature.UNVERIFIED
    if Signature.INVALID in verdicts:
        worst = Signature.INVALID
    elif verdicts and all(verdict is Signature.VALID for verdict in verdicts):
        worst = Signature.VALID
    proven = worst is Signature.VALID and KeySource.SENT not in sources
    if worst is Signature.VALID and not proven:
        problems.append(
            "checked with the key sent along: nothing was changed on the way, but whose key it is "
            "nobody registered"
        )
    signed_wh = _energy(registers)
    apart = Decimal(0)
    if signed_wh is not None and energy_wh is not None:
        apart = abs(signed_wh - energy_wh)
        if apart > tolerance_wh:
            problems.append(
                f"the meter signed {signed_wh / 1000:f} kWh, billed are {energy_wh / 1000:f} kWh"
            )
    step = max((register.step_wh for register in registers), default=Decimal(0))
    return SignedCheck(
        signature=worst,
        key=max(sources, key=list(KeySource).index, default=None),
        key_differs=key_differs,
        energy_wh=signed_wh,
        differs=apart > tolerance_wh,
        contradicts=proven and apart > max(tolerance_wh, step),
        problems=tuple(dict.fromkeys(problems)),
    )


def _same(one: str, other: str) -> bool:
    try:
        return key_point(one) == key_point(other)
    except (ValueError, UnsupportedAlgorithm):
        return one.strip() == other.strip()


def verify(ocmf: Ocmf, public_key: str | None) -> tuple[Signature, str | None]:
    """Check the signature of a data set; answers why not, where it is not valid."""
    if public_key is None:
        return Signature.UNVERIFIED, None
    kind, _, rest = ocmf.algorithm.partition("-")
    curve_name, _, hash_name = rest.partition("-")
    curve, algorithm = _CURVES.get(curve_name), _HASHES.get(hash_name)
    if kind != "ECDSA" or curve is None or algorithm is None:
        return Signature.UNVERIFIED, f"the algorithm {ocmf.algorithm[:60]} is not known"
    try:
        key = read_key(public_key, curve)
    except (ValueError, UnsupportedAlgorithm):
        return Signature.UNVERIFIED, "the public key cannot be read"
    try:
        key.verify(ocmf.signature, ocmf.payload.encode(), ec.ECDSA(algorithm))
    except InvalidSignature:
        return Signature.INVALID, "the signature does not fit the data"
    except UnsupportedAlgorithm:
        return Signature.UNVERIFIED, f"the algorithm {ocmf.algorithm[:60]} is not supported here"
    return Signature.VALID, None


def _energy(registers: Sequence[SignedRegister]) -> Decimal | None:
    begins = [r.energy_wh for r in registers if r.transaction in _BEGINS]
    ends = [r.energy_wh for r in registers if r.transaction in _ENDS]
    if not begins or not ends or None in (*begins, *ends):
        return None
    return max(e for e in ends if e is not None) - min(b for b in begins if b is not None)


_decoder = json.JSONDecoder(parse_float=Decimal)


def _ocmf_text(data: str) -> str:
    if len(data) > _MOST_CHARACTERS:
        raise Invalid("signed_data", "is too long")
    text = data.strip()
    for decoded in (text, _from_json(text), _from_base64(text), _from_hex(text)):
        if decoded is not None and decoded.startswith("OCMF|"):
            return decoded
    raise Invalid("signed_data", "is not OCMF")


def _from_json(text: str) -> str | None:
    # OCPP 1.6 stations may put the whole signed value of 2.x into the sampled value.
    if not text.startswith("{"):
        return None
    try:
        inner = json.loads(text).get("signedMeterData")
    except (ValueError, RecursionError):
        return None
    if not isinstance(inner, str):
        return None
    return inner if inner.startswith("OCMF|") else _from_base64(inner)


def _from_base64(text: str) -> str | None:
    try:
        return base64.b64decode(text, validate=True).decode().strip()
    except (ValueError, UnicodeDecodeError):
        return None


def _from_hex(text: str) -> str | None:
    try:
        return bytes.fromhex(text).decode().strip()
    except (ValueError, UnicodeDecodeError):
        return None


def _registers(listed: Any) -> tuple[SignedRegister, ...]:
    if not isinstance(listed, list):
        return ()
    found = []
    # What a reading leaves out is as in the one before it.
    known: dict[str, Any] = {}
    for item in listed:
        if not isinstance(item, dict):
            continue
        known = known | item
        found.append(
            SignedRegister(
                at=_instant(known.get("TM")),
                transaction=_text(known.get("TX")),
                energy_wh=_energy_wh(known),
                good=known.get("ST") in (None, "G"),
                step_wh=_step_wh(known),
            )
        )
    return tuple(found)


def _energy_wh(reading: dict[str, Any]) -> Decimal | None:
    value, unit = reading.get("RV"), reading.get("RU")
    factor = _WH.get(unit.upper()) if isinstance(unit, str) else None
    if factor is None or isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    return Decimal(value) * factor


def _step_wh(reading: dict[str, Any]) -> Decimal:
    value = reading.get("RV")
    if not isinstance(value, Decimal) or not value.is_finite():
        return Decimal(0)
    return Decimal(1).scaleb(int(value.as_tuple().exponent)) * _WH.get(
        str(reading.get("RU")).upper(), Decimal(0)
    )


def _instant(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value.split(" ")[0].replace(",", "."))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _signature(section: dict[str, Any]) -> bytes:
    data, encoding = section.get("SD"), section.get("SE", "hex")
    try:
        if isinstance(data, str) and encoding == "hex":
            return bytes.fromhex(data)
        if isinstance(data, str) and encoding == "base64":
            return base64.b64decode(data, validate=True)
    except (ValueError, binascii.Error):
        pass
    raise Invalid("signed_data", "its signature cannot be read")
