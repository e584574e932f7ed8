"""Tokens of our own drivers and of partners, and the short aliases that 1.6 chargers get."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from cpo.domain.tokens import Token, Whitelist, alias_of
from cpo.domain.values import replace
from cpo.errors import Invalid, NotFound
from cpo.services.memory import Memory
from cpo.services.ports import Audit, Store, TokenAlias, Work


class Tokens:
    """Keeps tokens."""

    def __init__(
        self,
        memory: Memory,
        store: Store,
        *,
        now: Callable[[], datetime],
        party: tuple[str, str],
    ) -> None:
        self._memory = memory
        self._store = store
        self._now = now
        self._party = party
        # Told after the commit of tokens as they now are; one that was removed is not valid.
        self.on_change: list[Callable[[Sequence[Token]], None]] = []
        self._busy: set[str] = set()
        self._freed = asyncio.Event()

    async def put_own(self, uid: str, body: Mapping[str, Any], *, actor: str) -> Token:
        """Add or change a token of one of our own drivers (contract 4).

        Raises Invalid naming the field.
        """
        token = own_token(uid, body, party=self._party)
        work = Work()
        self.write(work, token)
        work.put(Audit(self._now(), actor, "token.put", uid))
        await self._store.commit(work)
        return token

    async def own(self, uid: str) -> Token:
        """Return one of our own drivers' tokens; NotFound when there is none."""
        for token in await self._store.tokens_by_uid(uid):
            if token.partner_id is None:
                return token
        raise NotFound("token", uid)

    async def remove_own(self, uid: str, *, actor: str) -> None:
        """Remove one of our own drivers' tokens."""
        token = await self.own(uid)
        work = Work()
        work.delete(token)
        work.put(Audit(self._now(), actor, "token.delete", uid))
        work.then(lambda _: self._changed([replace(token, valid=False)]))
        await self._store.commit(work)

    @asynccontextmanager
    async def alone(self, uids: Iterable[str]) -> AsyncIterator[None]:
        """Keep other states of these tokens waiting: what is read here is what is replaced (S23).

        Whoever compares a state that came with the one we hold does so in here, up to its commit.
        """
        wanted = {uid.upper() for uid in uids}
        while not self._busy.isdisjoint(wanted):
            await self._freed.wait()
        self._busy |= wanted
        try:
            yield
        finally:
            self._busy -= wanted
            self._freed.set()
            self._freed = asyncio.Event()

    def write(self, work: Work, *tokens: Token) -> None:
        """Write tokens, and their aliases where 1.6 chargers cannot carry their uids (CM-06)."""
        for token in tokens:
            work.put(token)
            alias = alias_of(token.uid)
            if alias != token.uid:
                work.put(
                    TokenAlias(alias, token.country_code, token.party_id, token.uid, token.type)
                )
        work.then(lambda _: self._changed(tokens))

    def changed_elsewhere(self, uids: Sequence[str]) -> None:
        """Take note that another node changed tokens."""
        self._forget(uids)

    def _changed(self, tokens: Sequence[Token]) -> None:
        self._forget([token.uid for token in tokens])
        for listener in self.on_change:
            listener(tokens)

    def _forget(self, uids: Sequence[str]) -> None:
        """Let no remembered decision outlive a change of tokens (AU-13)."""
        self._memory.tokens.forget(uids)
        for state in self._memory.stations.values():
            if state.authorizations:
                state.authorizations.clear()


def older(token: Token, known: Token) -> bool:
    """Whether a state is older than the one we hold; it then changes nothing (S23)."""
    return (
        token.last_updated is not None
        and known.last_updated is not None
        and token.last_updated < known.last_updated
    )


def own_token(uid: str, body: Mapping[str, Any], *, party: tuple[str, str]) -> Token:
    """Read the operator's description of one of our own drivers' tokens.

    `type`, `contract_id` and `valid` are the contract's; the rest has defaults. Raises Invalid.
    """
    if not 1 <= len(uid) <= 36 or not uid.isprintable():
        raise Invalid("uid", "must be 1 to 36 printable characters")
    known = {
        "type", "contract_id", "valid", "group_id", "issuer", "whitelist", "visual_number",
        "expires_at", "language", "uid", "country_code", "party_id",
    }  # fmt: skip
    for name in body:
        if name not in known:
            raise Invalid(name, "is not a field of a token")
    valid = body.get("valid", True)
    if not isinstance(valid, bool):
        raise Invalid("valid", "must be true or false")
    texts: dict[str, str | None] = {}
    for name, limit in (
        ("type", 36), ("contract_id", 36), ("group_id", 36), ("issuer", 64), ("visual_number", 64),
        ("language", 2),
    ):  # fmt: skip
        value = body.get(name)
        if value is not None and (not isinstance(value, str) or not 1 <= len(value) <= limit):
            raise Invalid(name, f"must be a text of 1 to {limit} characters")
        texts[name] = value
    expires_at = None
    if body.get("expires_at") is not None:
        try:
            expires_at = datetime.fromisoformat(str(body["expires_at"]))
        except ValueError:
            raise Invalid("expires_at", "must be an instant like 2026-01-31T12:00:00Z") from None
        if expires_at.tzinfo is None:
            raise Invalid("expires_at", "must say its offset, for example Z")
    try:
        whitelist = Whitelist(body.get("whitelist") or Whitelist.ALWAYS)
    except ValueError:
        raise Invalid("whitelist", "must be ALWAYS, ALLOWED, ALLOWED_OFFLINE or NEVER") from None
    return Token(
        country_code=party[0],
        party_id=party[1],
        uid=uid,
        type=texts["type"] or "RFID",
        contract_id=texts["contract_id"] or uid,
        issuer=texts["issuer"] or "own",
        valid=valid,
        whitelist=whitelist,
        group_id=texts["group_id"],
        visual_number=texts["visual_number"],
        expires_at=expires_at,
        details={"language": texts["language"]} if texts["language"] else None,
    )
