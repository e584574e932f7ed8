"""Who may connect: identities in paths, and what the handshake must know of a station."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import unquote_to_bytes

IDENTITY: Final = re.compile(r"[A-Za-z0-9*\-_.:+|@= ]{1,48}")
"""What an identity may look like (S11)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StationCredentials:
    """What the handshake must know of a station, served from memory.

    `versions` are the OCPP versions it may speak. `assume_version` is for chargers that offer
    no subprotocol, `pings` off for those that cannot pong, `compression` off for those that break
    it, `strict` for those under test, `cuts` for those that never return after a WebSocket close.
    `revoked_certificates` are serial numbers in hex.
    """

    identity: str
    has_password: bool = True
    allow_without_password: bool = False
    security_profile: int = 0
    versions: tuple[str, ...] = ("1.6", "2.0.1", "2.1")
    assume_version: str | None = None
    pings: bool = True
    compression: bool = True
    strict: bool = False
    cuts: bool = False
    revoked_certificates: tuple[str, ...] = ()


class StationDirectory(Protocol):
    """Where the handshake finds stations. In memory: it is asked before every upgrade."""

    def find(self, identity: str) -> StationCredentials | None:
        """Return a station's credentials."""
        ...

    def matches(self, identity: str, password: bytes) -> bool:
        """Compare a password in constant time; an unknown identity takes as long."""
        ...

    def came_in(self, identity: str, password: bytes) -> None:
        """Learn with which password a station came in: of two, the old one ends with the new."""
        ...

    def secured(self, identity: str, profile: int) -> None:
        """Learn with which security profile a station came in: it is not let in below it again."""
        ...

    def showed(self, identity: str, serial: str) -> None:
        """Learn with which certificate a station came in: older ones of ours end with it."""
        ...

    async def fresh(self) -> bool:
        """Learn what other nodes know of stations; False where there are none."""
        ...

    async def register(self, identity: str, address: str) -> StationCredentials | None:
        """Take in a station nobody entered, or None when such are refused."""
        ...


def identity_from_path(path: str, prefix: str) -> str | None:
    """Read the identity off a request target; None for anything that is no identity (S11).

    A doubled or trailing slash and a query are forgiven, a segment between prefix and identity
    (as "/ocpp/1.6/CP1") too: the subprotocol decides about versions. So is an identity that a
    charger appends to an address that has it already (Q3). Decoded exactly once.
    """
    path = path.partition("?")[0]
    if not path.startswith(prefix):
        return None
    segments = [segment for segment in path[len(prefix) :].split("/") if segment]
    if not path[len(prefix) :].startswith("/") or not segments or len(segments) > 2:
        return None
    if len(segments) == 2 and segments[0] not in {*_VERSION_SEGMENTS, segments[1]}:
        return None
    try:
        identity = unquote_to_bytes(segments[-1]).decode("ascii")
    except UnicodeDecodeError:
        return None
    return identity if is_identity(identity) else None


_VERSION_SEGMENTS: Final = frozenset(
    {"1.6", "2.0.1", "2.1", "ocpp1.6", "ocpp2.0.1", "ocpp2.1", "ws", "16", "201", "21"}
)


def is_plain(path: str, prefix: str) -> bool:
    """Tell whether a target is prefix and identity and nothing else, as a strict station sends."""
    head, _, rest = path.rpartition("/")
    return head == prefix and bool(rest) and "?" not in rest


def is_identity(text: str) -> bool:
    """Tell whether a text can name a station."""
    return IDENTITY.fullmatch(text) is not None and text.strip(" .") == text


def basic_password(header: str | None, identity: str) -> bytes | None:
    """Return the password of a Basic Authorization header whose user is the identity.

    It stays bytes, as chargers send keys raw (Q40). The identity is compared whole: it may hold a
    colon itself.
    """
    if not header:
        return None
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        login = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    user = identity.encode() + b":"
    return login[len(user) :] if login.startswith(user) else None
