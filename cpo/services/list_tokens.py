"""The tokens that stations may accept by themselves, in the order of their importance (TOK-30)."""

import asyncio
import heapq
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

from cpo.domain.local_list import may_be_listed
from cpo.domain.partner import PartnerStatus
from cpo.domain.tokens import Token
from cpo.services.ports import Store
from cpo.services.publishing import PartnerBook
from cpo.services.token_use import TokenUse

_PAGE: Final = 1_000
_Key = tuple[str, str, str, str]
_Rank = tuple[bool, float, str, str]


class ListTokens:
    """Keeps the best of all tokens in memory: our own drivers' first, then the last used.

    `limit` is how many it hands out at most. It follows changes; only when many of those that it
    knew have gone does it read the others again.
    """

    def __init__(
        self,
        store: Store,
        partners: PartnerBook,
        use: TokenUse,
        *,
        now: Callable[[], datetime],
        limit: int,
    ) -> None:
        self._store = store
        self._partners = partners
        self.use = use
        self._now = now
        self._limit = limit
        self._tokens: dict[_Key, Token] = {}
        self._loaded = False
        self._truncated = False
        # What changes while all are being read, to be taken in after it.
        self._meanwhile: list[Token] | None = None
        self.generation = 0

    async def refresh(self) -> None:
        """Read the tokens, the first time and when too few are left of too many."""
        if self._loaded and not (self._truncated and len(self._tokens) < self._limit):
            return
        self._loaded = True
        self._meanwhile = []
        try:
            await self._read()
        finally:
            meanwhile, self._meanwhile = self._meanwhile, None
        self.changed(meanwhile or ())

    async def _read(self) -> None:
        # One more half than needed, so that a few withdrawals bring no new reading.
        most = self._limit * 3 // 2
        best: list[Token] = []
        worst: _Rank | None = None
        count = 0
        cursor = None
        while True:
            began = time.monotonic()
            page = await self._store.page("tokens", limit=_PAGE, cursor=cursor)
            fitting = [t for t, _ in page.items if may_be_listed(t, self._now())]
            count += len(fitting)
            best += fitting if worst is None else [t for t in fitting if self._rank(t) < worst]
            cursor = page.next_cursor
            if cursor is None:
                break
            if len(best) > 2 * most:
                best = heapq.nsmallest(most, best, key=self._rank)
                worst = self._rank(best[-1]) if best else None
            # Of a million tokens it takes a minute, in which stations are to be answered.
            await asyncio.sleep(time.monotonic() - began)
        best = heapq.nsmallest(most, best, key=self._rank)
        self._tokens = {_key(token): token for token in best}
        self._truncated = count > len(best)
        self.generation += 1

    def changed(self, tokens: Iterable[Token]) -> bool:
        """Learn of tokens as they are now; tells whether one that was handed out may be no more."""
        withdrawn = False
        tokens = list(tokens)
        if self._meanwhile is not None:
            self._meanwhile.extend(tokens)
        for token in tokens:
            key = _key(token)
            known = self._tokens.get(key)
            if may_be_listed(token, self._now()):
                if known is not None and _same(known, token):
                    continue
                self._tokens[key] = token
            elif known is not None:
                del self._tokens[key]
                withdrawn = True
            else:
                continue
            self.generation += 1
        return withdrawn

    def ordered(self) -> Sequence[Token]:
        """Return the tokens, the most important first; of a uid that two have, the first."""
        now = self._now()
        connected = {p.id for p in self._partners.all() if p.status is PartnerStatus.CONNECTED}
        fitting = (
            token
            for token in self._tokens.values()
            if (token.partner_id is None or token.partner_id in connected)
            and may_be_listed(token, now)
        )
        return heapq.nsmallest(self._limit, fitting, key=self._rank)

    def standing(self) -> tuple[int, frozenset[str]]:
        """Return what the order depends on: equal standings give equal lists."""
        connected = {p.id for p in self._partners.all() if p.status is PartnerStatus.CONNECTED}
        return self.generation, frozenset(connected)

    def _rank(self, token: Token) -> _Rank:
        return (
            token.partner_id is not None,
            -self.use.last(token.uid),
            token.uid,
            token.partner_id or "",
        )


def _key(token: Token) -> _Key:
    return (token.country_code, token.party_id, token.uid.upper(), token.type)


def _same(one: Token, other: Token) -> bool:
    return (
        one.uid == other.uid
        and one.group_id == other.group_id
        and one.expires_at == other.expires_at
    )
