"""What a station knows of tokens by itself: local list and cache. Pure."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Verdict:
    """An authorization: the status word and the group, as the server or a list said."""

    status: str
    group: str | None = None

    @property
    def accepted(self) -> bool:
        """Say whether charging is allowed."""
        return self.status == "Accepted"


@dataclass(slots=True, kw_only=True)
class TokenStore:
    """The local authorization list and the cache of one station."""

    version: int = 0
    listed: dict[str, Verdict] = field(default_factory=dict)
    cached: dict[str, Verdict] = field(default_factory=dict)
    list_enabled: bool = True
    cache_enabled: bool = True
    allow_offline_unknown: bool = False
    pre_authorize: bool = False
    authorize_offline: bool = True
    max_entries: int = 10_000
    max_sent: int = 1_000
    master_group: str | None = None

    def known(self, token: str) -> Verdict | None:
        """Look a token up, the list before the cache."""
        key = token.casefold()
        if self.list_enabled and key in self.listed:
            return self.listed[key]
        return self.cached.get(key) if self.cache_enabled else None

    def offline(self, token: str) -> Verdict:
        """Decide without the server."""
        known = self.known(token) if self.authorize_offline else None
        if known is not None:
            return known
        return Verdict("Accepted" if self.allow_offline_unknown else "Invalid")

    def learn(self, token: str, verdict: Verdict) -> None:
        """Keep what the server said in the cache."""
        if self.cache_enabled:
            self.cached[token.casefold()] = verdict

    def update(self, kind: str, version: int, entries: list[tuple[str, Verdict | None]]) -> str:
        """Take a full or differential list; the answer is the protocol's status word."""
        if not self.list_enabled:
            return "NotSupported"
        if kind == "Differential" and version <= self.version:
            return "VersionMismatch"
        if len(entries) > self.max_sent:
            return "Failed"
        listed = {} if kind == "Full" else dict(self.listed)
        for token, verdict in entries:
            if verdict is None:
                listed.pop(token.casefold(), None)
            else:
                listed[token.casefold()] = verdict
        if len(listed) > self.max_entries:
            return "Failed"
        self.listed, self.version = listed, version
        return "Accepted"

    def dump(self) -> dict[str, Any]:
        """Write list and cache down for the state file."""
        return {
            "version": self.version,
            "listed": {k: [v.status, v.group] for k, v in self.listed.items()},
            "cached": {k: [v.status, v.group] for k, v in self.cached.items()},
        }

    def load(self, kept: dict[str, Any]) -> None:
        """Read list and cache back."""
        self.version = int(kept.get("version", 0))
        self.listed = {k: Verdict(*v) for k, v in kept.get("listed", {}).items()}
        self.cached = {k: Verdict(*v) for k, v in kept.get("cached", {}).items()}
