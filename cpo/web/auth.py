"""Who may use the operator API: keys with scopes, kept as hashes."""

import hashlib
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from cpo.config import ApiKey, Scope
from cpo.errors import Refused
from cpo.services.ports import Audit, Now, OperatorKey, Store, Work
from cpo.web.problems import TooManyFailures, Unauthorized

log = structlog.get_logger()

# admin may do everything, operate may look too.
INCLUDED: dict[str, frozenset[str]] = {
    "read": frozenset({"read"}),
    "operate": frozenset({"read", "operate"}),
    "admin": frozenset({"read", "operate", "admin"}),
}
FIRST_KEY = "first"
FAILURES_PER_MINUTE = 20
MOST_ADDRESSES = 10_000
STRONG_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks; `name` stands in audit rows."""

    name: str
    scopes: frozenset[str]

    def require(self, scope: Scope) -> None:
        """Raise Refused unless this actor has a scope."""
        if scope not in self.scopes:
            raise Refused(f"the key {self.name!r} has no scope {scope!r}")


def fingerprint(key: str) -> str:
    """Return the hash under which a key is known."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


class Keys:
    """The keys of the operator API, by hash: looking one up takes the same time for any."""

    def __init__(
        self, keys: Iterable[ApiKey], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._actors: dict[str, Actor] = {}
        for key in keys:
            secret = key.key.get_secret_value()
            if len(secret) < STRONG_LENGTH:
                log.warning("operator.key_is_short", name=key.name, least=STRONG_LENGTH)
            self._add(key.name, fingerprint(secret), key.scopes)
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._trusted: set[tuple[str, str]] = set()

    def _add(self, name: str, hash_: str, scopes: Iterable[str]) -> None:
        granted = frozenset().union(*(INCLUDED[scope] for scope in scopes))
        self._actors[hash_] = Actor(f"key:{name}", granted)

    async def load(self, store: Store, *, now: Now) -> str | None:
        """Read the keys we made; at the first start without any, make one and return it."""
        made = await store.operator_keys()
        for key in made:
            self._add(key.name, key.hash, key.scopes)
        if self._actors:
            return None
        secret = secrets.token_urlsafe(32)
        work = Work()
        work.add(OperatorKey(FIRST_KEY, fingerprint(secret), ("admin",), now()))
        work.add(Audit(now(), "system", "operator_key.made", FIRST_KEY))
        await store.commit(work)
        self._add(FIRST_KEY, fingerprint(secret), ["admin"])
        return secret

    def actor(self, authorization: str | None, *, address: str) -> Actor:
        """Return who shows an Authorization header.

        After too many failures an address is not listened to for a while, except with a key that
        it used before: an attacker behind the same address must not lock the operator out.
        """
        scheme, _, key = (authorization or "").strip().partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            raise Unauthorized("send Authorization: Bearer KEY")
        return self.actor_of_key(key, address=address)

    def actor_of_key(self, key: str, *, address: str) -> Actor:
        """Return who shows a key; see `actor`."""
        digest = fingerprint(key)
        if (address, digest) in self._trusted:
            return self._actors[digest]
        self._check_failures(address)
        actor = self._actors.get(digest)
        if actor is None:
            self._failed(address)
            raise Unauthorized("the key is not known")
        self._trusted.add((address, digest))
        return actor

    def _level(self, address: str) -> float:
        level, at = self._failures.get(address, (0.0, 0.0))
        return max(0.0, level - (self._clock() - at) * FAILURES_PER_MINUTE / 60)

    def _check_failures(self, address: str) -> None:
        excess = self._level(address) - FAILURES_PER_MINUTE + 1
        if excess > 0:
            raise TooManyFailures(max(1, math.ceil(excess * 60 / FAILURES_PER_MINUTE)))

    def _failed(self, address: str) -> None:
        self._failures[address] = (self._level(address) + 1, self._clock())
        self._failures.move_to_end(address)
        if len(self._failures) > MOST_ADDRESSES:
            self._failures.popitem(last=False)
