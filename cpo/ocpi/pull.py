"""Fetching what partners own: their tokens, page by page, from where the last reading stopped."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import structlog

from cpo.domain.partner import Partner, PartnerStatus, TokenPull
from cpo.domain.tokens import Token
from cpo.ocpi.client import Client, PageFailed, PageRead
from cpo.ocpi.freight import Speaks
from cpo.services.partners import Partners
from cpo.services.ports import Now, Store, Work
from cpo.services.tokens import Tokens

log = structlog.get_logger()

# Tokens changed while the last pull ran are read again (TOK-11).
OVERLAP = timedelta(minutes=10)
# Now and then everything is read, so that what the partner dropped is found out (PAG-7).
FULL_EVERY = timedelta(days=7)
CHUNK = 500


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
        if url is None or partner.status is not PartnerStatus.CONNECTED:
            return 0
        progress = partner.token_pull or self._begin(partner, url)
        again = partner.token_pull is not None
        pages = self._client.pages(
            self._speaks.line(partner),
            progress.next_url,
            since=None if again else progress.since,
        )
        async for page in pages:
            progress = await self._keep(partner, progress, page)
        if progress.since is None:
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
        now, last = self._now(), partner.tokens_pulled_at
        full = last is None or (now - last) >= max(FULL_EVERY, 2 * self._every)
        return TokenPull(
            started_at=now, next_url=url, since=None if full or last is None else last - OVERLAP
        )

    async def _keep(self, partner: Partner, progress: TokenPull, page: PageRead) -> TokenPull:
        good, bad = self._read(partner, page)
        if bad:
            log.warning("token.page_with_bad_ones", partner=partner.id, bad=bad, url=page.url)
        for start in range(0, len(good), CHUNK):
            work = Work()
            self._tokens.write(work, *good[start : start + CHUNK])
            await self._store.commit(work)
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

    def _read(self, partner: Partner, page: PageRead) -> tuple[list[Token], int]:
        if partner.version is None:
            return [], 0
        codec = self._speaks.dialect(partner, partner.version).codec
        emsp = next((r for r in partner.roles if r.role == "EMSP"), None)
        owner = (emsp.country_code, emsp.party_id) if emsp is not None else None
        tokens, problems = codec.read_tokens(page.items, owner=owner, partner_id=partner.id)
        # A platform speaks for its own parties; a hub for those behind it (OWN-5).
        may = self._partners.speaks_for
        own = [t for t in tokens if may(partner, t.country_code, t.party_id)]
        return own, len(problems) + len(tokens) - len(own)

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
            gone = [replace(token, valid=False) for token, _ in page.items if token.valid]
            if gone:
                work = Work()
                self._tokens.write(work, *gone)
                await self._store.commit(work)
            cursor = page.next_cursor
            if cursor is None:
                return
