"""The platforms the double is connected with, and what it knows of them."""

import base64
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from chargers_sim.emsp.editions import Edition


class NotConnected(Exception):
    """There is no registered CPO, or it does not offer the module."""


def new_token() -> str:
    """Return a credentials token: 32 random bytes, printable, no white space."""
    return secrets.token_urlsafe(32)


def encoded(token: str) -> str:
    """Return a token in Base64, as the Authorization header of 2.2.1 and later wants it."""
    return base64.b64encode(token.encode()).decode()


def decoded(value: str) -> str | None:
    """Read a token in Base64; None when it is none."""
    try:
        return base64.b64decode(value, validate=True).decode()
    except ValueError:
        return None


def below(url: str, *parts: str) -> str:
    """Return a URL below a module's, encoded, with exactly one slash between (URL-1, URL-2)."""
    return "/".join([url.rstrip("/"), *(quote(part, safe="") for part in parts)])


@dataclass(frozen=True, slots=True)
class Role:
    """One party on a platform, in one role."""

    role: str
    country_code: str
    party_id: str
    name: str = ""


@dataclass(slots=True, kw_only=True)
class Peer:
    """One registered (or invited) platform."""

    name: str
    tokens_in: list[str]
    """Tokens it may show to us; the newest first, older ones die on its first use."""
    renewing: bool = False
    """Whether our own PUT of credentials is open: both tokens are good until its answer."""
    registered: bool = False
    token_out: str | None = None
    versions_url: str | None = None
    edition: Edition | None = None
    endpoints: dict[tuple[str, str | None], str] = field(default_factory=dict)
    roles: list[Role] = field(default_factory=list)
    hub_party: str | None = None

    def endpoint(self, module: str, role: str) -> str | None:
        """Return the URL of a module exactly as it was published, slash at its end or not."""
        return self.endpoints.get((module, role)) or self.endpoints.get((module, None))

    @property
    def party(self) -> tuple[str, str]:
        """The party that requests without a better addressee go to."""
        for role in self.roles:
            if role.role == "CPO":
                return role.country_code, role.party_id
        return (self.roles[0].country_code, self.roles[0].party_id) if self.roles else ("", "")

    def owns(self, country: str, party: str) -> bool:
        """Whether it named this party among its roles."""
        wanted = country.casefold(), party.casefold()
        return any(
            wanted == (role.country_code.casefold(), role.party_id.casefold())
            for role in self.roles
        )

    def learn_credentials(self, credentials: dict[str, Any], edition: Edition) -> None:
        """Take over url, token and parties of a Credentials object."""
        self.token_out = str(credentials.get("token"))
        self.versions_url = str(credentials.get("url"))
        self.edition = edition
        raw_roles = credentials.get("roles") if edition.roles else [{**credentials, "role": "CPO"}]
        self.roles = [
            Role(
                str(raw.get("role")),
                str(raw.get("country_code")),
                str(raw.get("party_id")),
                str((raw.get("business_details") or {}).get("name", "")),
            )
            for raw in raw_roles or []
            if isinstance(raw, dict)
        ]
        hub = credentials.get("hub_party_id")
        self.hub_party = hub if isinstance(hub, str) else None

    def learn_endpoints(self, details: dict[str, Any]) -> None:
        """Take over the endpoints of a VersionDetails object."""
        self.endpoints = {
            (str(entry.get("identifier")), entry.get("role")): str(entry.get("url"))
            for entry in details.get("endpoints") or []
            if isinstance(entry, dict)
        }

    def as_json(self) -> dict[str, Any]:
        """Return it as an object for JSON, without its tokens."""
        return {
            "name": self.name,
            "registered": self.registered,
            "version": self.edition.version if self.edition else None,
            "versions_url": self.versions_url,
            "roles": [
                {"role": r.role, "country_code": r.country_code, "party_id": r.party_id}
                for r in self.roles
            ],
            "hub_party_id": self.hub_party,
            "endpoints": [
                {"identifier": module, "role": role, "url": url}
                for (module, role), url in self.endpoints.items()
            ],
        }
