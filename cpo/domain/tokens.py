"""Tokens of drivers, and the decision whether one may charge."""

import base64
import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final


class Whitelist(StrEnum):
    """Whether a token may be accepted without asking its eMSP (OCPI WhitelistType)."""

    ALWAYS = "ALWAYS"
    ALLOWED = "ALLOWED"
    ALLOWED_OFFLINE = "ALLOWED_OFFLINE"
    NEVER = "NEVER"


class Allowed(StrEnum):
    """An eMSP's answer to a real-time authorization (OCPI AllowedType)."""

    ALLOWED = "ALLOWED"
    BLOCKED = "BLOCKED"
    EXPIRED = "EXPIRED"
    NO_CREDIT = "NO_CREDIT"
    NOT_ALLOWED = "NOT_ALLOWED"


class AuthMethod(StrEnum):
    """How a session was authorized (OCPI AuthMethod)."""

    AUTH_REQUEST = "AUTH_REQUEST"
    COMMAND = "COMMAND"
    WHITELIST = "WHITELIST"


class Verdict(StrEnum):
    """What the charger is told; the adapters spell it for their OCPP version."""

    ACCEPTED = "Accepted"
    BLOCKED = "Blocked"
    EXPIRED = "Expired"
    INVALID = "Invalid"
    CONCURRENT = "ConcurrentTx"
    NO_CREDIT = "NoCredit"
    NOT_ALLOWED_HERE = "NotAtThisLocation"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A driver's token; `partner_id` is None for our own drivers.

    `uid` keeps its spelling and is compared without case. `details` carries what OCPI says of a
    token beside (language, default_profile_type, energy_contract, visual_number …).
    """

    country_code: str
    party_id: str
    uid: str
    type: str
    contract_id: str
    issuer: str
    valid: bool
    whitelist: Whitelist
    partner_id: str | None = None
    group_id: str | None = None
    visual_number: str | None = None
    expires_at: datetime | None = None
    details: dict[str, Any] | None = None
    last_updated: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """The decision about one identification at one EVSE."""

    verdict: Verdict
    token: Token | None = None
    auth_method: AuthMethod = AuthMethod.WHITELIST
    authorization_reference: str | None = None
    message: str | None = None


def must_ask(token: Token) -> bool:
    """Tell whether the token's eMSP has to be asked in real time (TOK-20)."""
    match token.whitelist:
        case Whitelist.ALWAYS:
            return False
        case Whitelist.ALLOWED:
            return not token.valid
        case Whitelist.ALLOWED_OFFLINE | Whitelist.NEVER:
            return True


def decide(token: Token, *, answer: Allowed | None, now: datetime) -> Verdict:
    """Decide about a known token (TOK-20).

    Args:
        token: the token as the partner gave it.
        answer: the eMSP's real-time answer, or None when it was not asked or did not answer.
        now: the present time.
    """
    if answer is not None:
        return _ANSWERS[answer]
    if must_ask(token) and not (token.whitelist is Whitelist.ALLOWED_OFFLINE and token.valid):
        # Asked in vain: fails closed (S36). One that was withdrawn is told so (AU-01).
        return Verdict.INVALID if token.valid else Verdict.BLOCKED
    if not token.valid:
        return Verdict.BLOCKED
    if token.expires_at is not None and token.expires_at <= now:
        return Verdict.EXPIRED
    return Verdict.ACCEPTED


_ANSWERS = {
    Allowed.ALLOWED: Verdict.ACCEPTED,
    Allowed.BLOCKED: Verdict.BLOCKED,
    Allowed.EXPIRED: Verdict.EXPIRED,
    Allowed.NO_CREDIT: Verdict.NO_CREDIT,
    Allowed.NOT_ALLOWED: Verdict.INVALID,
}


# OCPP 2.x idToken types (those of 2.1 too) by what OCPI calls them, the likeliest first (AU-09).
OCPI_TYPES: Final = {
    "ISO14443": ("RFID",),
    "ISO15693": ("RFID",),
    "eMAID": ("EMAID", "OTHER"),
    "Central": ("APP_USER", "AD_HOC_USER", "OTHER", "RFID"),
    "DirectPayment": ("AD_HOC_USER",),
    "KeyCode": ("OTHER",),
    "Local": ("OTHER", "RFID"),
    "MacAddress": ("OTHER",),
    "VIN": ("OTHER",),
    "EVCCID": ("OTHER",),
}
# What only this operator can know: no eMSP is asked about it.
_OURS: Final = frozenset({"DirectPayment", "KeyCode", "Local", "NoAuthorization"})
# UIDs of ISO 15693 cards have eight bytes, the first always this one; no ISO 14443 card has both.
_ISO15693: Final = re.compile(r"E0[0-9A-F]{14}", re.IGNORECASE)


def question_type(id_token_type: str, version: str | None) -> str | None:
    """Return as what an unknown idToken is put to an eMSP, in its version's words; None for never.

    EMAID exists from OCPI 2.3.0 on; 2.1.1 knows no users of apps.
    """
    if id_token_type in _OURS:
        return None
    kind = OCPI_TYPES.get(id_token_type, ("RFID",))[0]
    return kind if kind in _KNOWN_TYPES.get(version or "", _TYPES_221) else "OTHER"


_TYPES_221: Final = frozenset({"RFID", "APP_USER", "AD_HOC_USER", "OTHER"})
_KNOWN_TYPES: Final = {
    "2.1.1": frozenset({"RFID", "OTHER"}),
    "2.3.0": _TYPES_221 | {"EMAID"},
}


def ocpp_type(kind: str | None, uid: str) -> str:
    """Return the OCPP 2.x idToken type of a token; what OCPP has no word for is Central."""
    if kind in OCPI_TYPES:
        return str(kind)
    if kind == "EMAID":
        return "eMAID"
    if kind == "RFID":
        return "ISO15693" if _ISO15693.fullmatch(uid) else "ISO14443"
    return "Central"


def spellings(value: str, kind: str) -> tuple[str, ...]:
    """Return how a token's uid may be written: contract ids come with and without separators."""
    if kind != "eMAID":
        return (value,)
    bare = value.replace("-", "").replace("*", "")
    dashed = [f"{bare[:2]}-{bare[2:5]}-{bare[5:14]}"]
    if len(bare) == _EMAID_WITH_CHECK:
        dashed.append(f"{dashed[0]}-{bare[14:]}")
    return tuple(dict.fromkeys((value, bare, *reversed(dashed))))


_EMAID_WITH_CHECK: Final = 15

# What an OCPP 1.6 idTag can carry.
ID_TAG_LENGTH = 20


def alias_of(uid: str) -> str:
    """Return the idTag that stands for a uid at 1.6 chargers: itself, or a 20-character alias.

    The alias is stable, printable and compares without case (MAP-5).
    """
    if len(uid) <= ID_TAG_LENGTH:
        return uid
    digest = hashlib.blake2b(uid.upper().encode(), digest_size=12).digest()
    return base64.b32encode(digest).decode().rstrip("=")[:ID_TAG_LENGTH]


def hex_alias_of(uid: str) -> str:
    """Return the idTag that stands for a uid at chargers that know hexadecimal ones only (Q33)."""
    if _HEX_TAG.fullmatch(uid):
        return uid
    return hashlib.blake2b(uid.upper().encode(), digest_size=ID_TAG_LENGTH // 2).hexdigest().upper()


_HEX_TAG: Final = re.compile(f"[0-9A-Fa-f]{{1,{ID_TAG_LENGTH}}}")
