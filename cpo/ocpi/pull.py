"""Fetching what partners own: their tokens, page by page, from where the last reading stopped."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from cpo.domain.partner import Partner, PartnerStatus, TokenPull
from cpo.domain.tokens import Token
from cpo.errors import Invalid
from cpo.ocpi.client import Client, PageFailed, PageRead
from cpo.ocpi.freight import Speaks
from cpo.services.partners import Partners
from cpo.services.ports import Now, Store, Work
from cpo.services.tokens import Tokens, older

log = structlog.get_logger()

# Tokens changed while the last pull ran are read again (TOK-11).
OVERLAP = timedelta(minutes=10)
# Now and then everything is read, so that what the partner dropped is found out (PAG-7).
FULL_EVERY = timedelta(days=7)
CHUNK = 500
# How many tokens of a page that cannot be read the log names.
MOST_NAMED = 20


class TokenPuller:
    """Pulls partners' tokens after registration and on schedule (TOK-10)."""

    def __init__(
        self,
        *,
        client: Client,
        speaks: Speaks,
        partners: Partners,
        store: Store,
        tokens: Tokens,
        now: Now,
        every: float,
    ) -> None:
        self._client = client
        self._speaks = speaks
        self._partners = partners
        self._store = store
        self._tokens = tokens
        self._now = now
        self._every = timedelta(seconds=every)
        self._running: dict[str, asyncio.Task[None]] = {}

    async def registered(self, partner: Partner) -> None:
        """Start a full pull in the background, from the beginning."""
        self.start(partner.id, anew=True)

    async def sweep(self) -> None:
        """Start the pulls that are due, and go on with those that stopped midway."""
        for partner in self._partners.all():
            at = partner.tokens_pulled_at
            due = at is None or partner.token_pull is not None or self._now() - at >= self._every
            if due and partner.status is PartnerStatus.CONNECTED:
                self.start(partner.id)

    def start(self, partner_id: str, *, anew: bool = False) -> None:
        """Pull a partner's tokens in the background, unless that is under way.

        `anew` forgets earlier pulls. Nothing is waited for: the handshake that calls this holds
        the partner's lock.
        """
        running = self._running.get(partner_id)
        if running is not None and not running.done():
            return
        self._running[partner_id] = asyncio.create_task(self._pull(partner_id, anew=anew))

    async def stop(self) -> None:
        """Stop; the next start goes on with the page that was to come."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _pull(self, partner_id: str, *, anew: bool) -> None:
        try:
            if anew:
                async with self._partners.lock(partner_id):
                    current = self._partners.known(partner_id)
                    if current.token_pull is not None or current.tokens_pulled_at is not None:
                        await self._partners.save(
                            replace(current, token_pull=None, tokens_pulled_at=None)
                        )
            await self.pull(partner_id)
        except PageFailed as error:
            log.warning("token.pull_interrupted", partner=partner_id, detail=error.answer.detail)
        except Exception:
            # A supervised task: nobody waits for it, so that its failure must be seen here.
            log.exception("token.pull_failed", partner=partner_id)

    async def pull(self, partner_id: str) -> int:
        """Pull a partner's tokens to the end; returns how many were read.

        Raises:
            PageFailed: a page could not be read; what was read is kept.
        """
        partner = self._partners.known(partner_id)
        url = partner.endpoint("tokens", "SENDER")
        if url is None or not partner.version or partner.status is not PartnerStatus.CONNECTED:
            return 0
        progress = partner.token_pull or self._begin(partner, url)
        again = partner.token_pull is not None
        pages = self._client.pages(
            self._speaks.line(partner),
            progress.next_url,
            since=None if again else progress.since,
        )
        asked_at = self._instant()
        async for page in pages:
            progress = await self._keep(partner, progress, page, asked_at)
            asked_at = self._instant()
        if progress.since is None and progress.blurred:
            log.warning(
                "token.nothing_withdrawn",
                partner=partner_id,
                detail="a token came without a uid, or a page without a list: it may be any of "
                "those that are missing",
            )
        elif progress.since is None:
            await self._invalidate(partner, progress)
        async with self._partners.lock(partner_id):
            await self._partners.save(
                replace(
                    self._partners.known(partner_id),
                    token_pull=None,
                    tokens_pulled_at=progress.started_at,
                )
            )
        log.info("token.pull_finished", partner=partner_id, count=progress.count)
        return progress.count

    def _begin(self, partner: Partner, url: str) -> TokenPull:
        now, last = self._instant(), partner.tokens_pulled_at
        full = last is None or (now - last) >= max(FULL_EVERY, 2 * self._every)
        return TokenPull(
            started_at=now, next_url=url, since=None if full or last is None else last - OVERLAP
        )

    def _instant(self) -> datetime:
        """Return the time as the store stamps it: what is stored from now on is not older."""
        now = self._now()
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    async def _keep(
        self, partner: Partner, progress: TokenPull, page: PageRead, asked_at: datetime
    ) -> TokenPull:
        good, bad = self._read(partner, page)
        for start in range(0, len(good), CHUNK):
            await self._take(partner, good[start : start + CHUNK], asked_at)
        unnamed = await self._leave(partner, page, bad)
        if unnamed or not page.listed:
            progress = replace(progress, blurred=True)
        progress = replace(
            progress,
            count=progress.count + len(good),
            total=page.total if page.total is not None else progress.total,
            next_url=page.next_url or progress.next_url,
        )
        if page.next_url is not None:
            async with self._partners.lock(partner.id):
                current = self._partners.known(partner.id)
                await self._partners.save(replace(current, token_pull=progress))
        return progress

    def _read(self, partner: Partner, page: PageRead) -> tuple[list[Token], list[Invalid]]:
        if partner.version is None:
            return [], []
        codec = self._speaks.dialect(partner, partner.version).codec
        emsp = next((r for r in partner.roles if r.role == "EMSP"), None)
        owner = (emsp.country_code, emsp.party_id) if emsp is not None else None
        tokens, problems = codec.read_tokens(page.items, owner=owner, partner_id=partner.id)
        # A platform speaks for its own parties; a hub for those behind it (OWN-5).
        may = self._partners.speaks_for
        own = [t for t in tokens if may(partner, t.country_code, t.party_id)]
        if len(own) < len(tokens):
            others = len(tokens) - len(own)
            log.warning("token.of_another_party", partner=partner.id, count=others, url=page.url)
        return own, problems

    async def _take(self, partner: Partner, tokens: list[Token], asked_at: datetime) -> None:
        """Store tokens of a page, unless we hold a newer state of one (S23).

        Where the instants of both do not tell, what the partner said after the page was asked for
        is newer than the page.
        """
        async with self._tokens.alone(token.uid for token in tokens):
            held = {
                _key(token): (token, since)
                for token, since in await self._store.tokens_held(
                    partner.id, [token.uid for token in tokens]
                )
            }
            newest: dict[tuple[str, ...], Token] = {}
            for token in tokens:
                known, since = held.get(_key(token), (None, asked_at))
                if known is not None and (
                    older(token, known) or (since >= asked_at and not older(known, token))
                ):
                    token = known  # noqa: PLW2901 - written again, so that it counts as present
                before = newest.get(_key(token))
                if before is None or not older(token, before):
                    newest[_key(token)] = token
            work = Work()
            self._tokens.write(work, *newest.values())
            await self._store.commit(work)

    async def _leave(self, partner: Partner, page: PageRead, bad: list[Invalid]) -> bool:
        """Leave tokens as we hold them that a page shows but nobody can read; they are there.

        Returns whether one of them has not even a uid: which one is there, nobody knows.
        """
        if not bad:
            return False
        shown = [(_uid_of(page.items[_index(problem)]), problem) for problem in bad]
        log.warning(
            "token.unreadable",
            partner=partner.id,
            count=len(bad),
            url=page.url,
            tokens=[
                {"uid": uid, "field": problem.field, "problem": problem.problem}
                for uid, problem in shown[:MOST_NAMED]
            ],
        )
        uids = [uid for uid, _ in shown if uid is not None]
        for start in range(0, len(uids), CHUNK):
            some = uids[start : start + CHUNK]
            async with self._tokens.alone(some):
                held = [token for token, _ in await self._store.tokens_held(partner.id, some)]
                if held:
                    work = Work()
                    self._tokens.write(work, *held)
                    await self._store.commit(work)
        return len(uids) < len(bad)

    async def _invalidate(self, partner: Partner, progress: TokenPull) -> None:
        """Let tokens that a full pull did not show no longer be valid (PAG-7, TOK-10)."""
        cursor: str | None = None
        while True:
            page = await self._store.page(
                "tokens",
                limit=CHUNK,
                cursor=cursor,
                date_to=progress.started_at,
                partner_id=partner.id,
            )
            missing = [token.uid for token, _ in page.items if token.valid]
            if missing:
                async with self._tokens.alone(missing):
                    # Again, for the partner may have put one meanwhile.
                    gone = [
                        replace(token, valid=False)
                        for token, since in await self._store.tokens_held(partner.id, missing)
                        if token.valid and since < progress.started_at
                    ]
                    if gone:
                        work = Work()
                        self._tokens.write(work, *gone)
                        await self._store.commit(work)
            cursor = page.next_cursor
            if cursor is None:
                return


def _key(token: Token) -> tuple[str, ...]:
    return (
        token.country_code.upper(),
        token.party_id.upper(),
        token.uid.upper(),
        token.type,
    )


def _index(problem: Invalid) -> int:
    """Return which item of a page a problem is of: its field begins with that (see read_all)."""
    return int(problem.field[1 : problem.field.index("]")])


def _uid_of(item: Any) -> str | None:
    """Return the uid of a token that cannot be read otherwise; None where it has none."""
    uid = item.get("uid") if isinstance(item, dict) else None
    return uid.strip() or None if isinstance(uid, str) else None
