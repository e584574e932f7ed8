"""A partner: another platform that we speak OCPI with."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class PartnerStatus(StrEnum):
    """How far the connection with a partner has come."""

    INVITED = "invited"  # we made a Token A for it and wait for its POST
    CONNECTING = "connecting"  # we are registering with it
    CONNECTED = "connected"
    SUSPENDED = "suspended"  # registered, but nothing is sent (401, operator, hub client info)
    DISCONNECTED = "disconnected"  # DELETE credentials, or removed by the operator


@dataclass(frozen=True, slots=True, kw_only=True)
class PartyRole:
    """One role that a partner's platform has (OCPI CredentialsRole)."""

    role: str
    country_code: str
    party_id: str
    name: str = ""
    details: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A module's URL at the partner; `role` is SENDER or RECEIVER."""

    identifier: str
    role: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPull:
    """How far a pull of a partner's tokens has come: it goes on at `next_url` after a restart.

    `since` is None for a full pull, after which what was not in it is no longer valid; unless it is
    `blurred`: then something in it could not even be named, and might be any of what is missing.
    """

    started_at: datetime
    next_url: str
    since: datetime | None = None
    count: int = 0
    total: int | None = None
    blurred: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    """A platform we are, or will be, connected with.

    `token_in_hashes` are hashes of the tokens it may show to us (two during a rotation);
    `token_a_hash` is the one-time token of an invitation. `token_out` is the token we show to it
    (kept encrypted in the database). `quirks` holds its OCPI habits (see cpo.ocpi.dialect).
    `policy` holds what the contract says: which sessions to suppress, strict or resync, …
    `tokens_pulled_at` is when the last complete pull of its tokens began.
    """

    id: str
    name: str
    status: PartnerStatus = PartnerStatus.INVITED
    version: str | None = None
    versions_url: str | None = None
    roles: tuple[PartyRole, ...] = ()
    hub_party: str | None = None
    endpoints: tuple[Endpoint, ...] = ()
    token_a_hash: str | None = None
    token_a_expires_at: datetime | None = None
    token_in_hashes: tuple[str, ...] = ()
    token_in_rotated_at: datetime | None = None
    token_out: str | None = None
    quirks: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    last_error: str | None = None
    last_seen_at: datetime | None = None
    registered_at: datetime | None = None
    tokens_pulled_at: datetime | None = None
    token_pull: TokenPull | None = None

    def endpoint(self, identifier: str, role: str) -> str | None:
        """Return the URL of a module at the partner, or None when it has none."""
        for endpoint in self.endpoints:
            if endpoint.identifier == identifier and endpoint.role == role:
                return endpoint.url
        return None

    @property
    def is_hub(self) -> bool:
        """Whether other parties are reached through this platform (CRED-13)."""
        return self.hub_party is not None or any(role.role == "HUB" for role in self.roles)

    def speaks_for(self, country_code: str, party_id: str) -> bool:
        """Tell whether a party may be behind this platform: its own, or anybody behind a hub."""
        return self.is_hub or self.has_party(country_code, party_id)

    def has_party(self, country_code: str, party_id: str) -> bool:
        """Tell whether a party is one of this platform's (TRANS-6)."""
        wanted = (country_code.upper(), party_id.upper())
        return any((r.country_code.upper(), r.party_id.upper()) == wanted for r in self.roles)
