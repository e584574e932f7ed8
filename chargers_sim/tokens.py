"""What a station knows of tokens by itself: local list and cache. Pure."""

from dataclasses import astuple, dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Verdict:
    """An authorization: the status word and the group, as the server or a list said."""

    status: str
    group: str | None = None
    expires_ms: int | None = None

    @property
    def accepted(self) -> bool:
        """Say whether charging is allowed."""
        return self.status == "Accepted"


@dataclass(slots=True, kw_only=True)
class TokenStore:
    """The local authorization list and the cache of one station.

    What the server gave an end is kept until then. What it gave none is kept in the cache for
    `lifetime_seconds` after it was last used (AuthCacheCtrlr.LifeTime); 0 keeps it for good.
    """

    version: int = 0
    listed: dict[str, Verdict] = field(default_factory=dict)
    cached: dict[str, Verdict] = field(default_factory=dict)
    used_ms: dict[str, int] = field(default_factory=dict)
    lifetime_seconds: int = 0
    list_enabled: bool = True
    cache_enabled: bool = True
    allow_offline_unknown: bool = False
    pre_authorize: bool = False
    authorize_offline: bool = True
    max_entries: int = 10_000
    max_sent: int = 1_000
    master_group: str | None = None

    def known(self, token: str, now_ms: int) -> Verdict | None:
        """Look a token up, the list before the cache; what is over its time is Expired."""
        key = token.casefold()
        if self.list_enabled and key in self.listed:
            return _in_time(self.listed[key], now_ms)
        if not self.cache_enabled or key not in self.cached:
            return None
        verdict, last_ms = self.cached[key], self.used_ms.get(key, now_ms)
        if verdict.expires_ms is None and self.lifetime_seconds:
            verdict = replace(verdict, expires_ms=last_ms + self.lifetime_seconds * 1000)
        verdict = _in_time(verdict, now_ms)
        if verdict.accepted:
            self.used_ms[key] = now_ms
        return verdict

    def offline(self, token: str, now_ms: int) -> Verdict:
        """Decide without the server."""
        known = self.known(token, now_ms) if self.authorize_offline else None
        if known is not None:
            return known
        return Verdict("Accepted" if self.allow_offline_unknown else "Invalid")

    def learn(self, token: str, verdict: Verdict, now_ms: int) -> None:
        """Keep what the server said in the cache."""
        if self.cache_enabled:
            self.cached[token.casefold()] = verdict
            self.used_ms[token.casefold()] = now_ms

    def forget(self, token: str | None = None) -> None:
        """Drop a token, or all, from the cache."""
        for key in [*self.cached] if token is None else [token.casefold()]:
            self.cached.pop(key, None)
            self.used_ms.pop(key, None)

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
            "listed": {k: astuple(v) for k, v in self.listed.items()},
            "cached": {k: astuple(v) for k, v in self.cached.items()},
            "used_ms": dict(self.used_ms),
        }

    def load(self, kept: dict[str, Any]) -> None:
        """Read list and cache back."""
        self.version = int(kept.get("version", 0))
        self.listed = {k: Verdict(*v) for k, v in kept.get("listed", {}).items()}
        self.cached = {k: Verdict(*v) for k, v in kept.get("cached", {}).items()}
        self.used_ms = {k: int(v) for k, v in kept.get("used_ms", {}).items()}


def _in_time(verdict: Verdict, now_ms: int) -> Verdict:
    over = verdict.expires_ms is not None and now_ms >= verdict.expires_ms
    return replace(verdict, status="Expired") if over and verdict.accepted else verdict
