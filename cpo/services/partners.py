"""Partners: invited, registered, rotated, disconnected; who a presented token belongs to."""

import asyncio
import contextlib
import hashlib
import secrets
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from cpo.domain.partner import Partner, PartnerStatus, PartyRole
from cpo.domain.quirks import Quirks
from cpo.domain.values import replace
from cpo.errors import Conflict, NotFound
from cpo.services.ports import Audit, DirtyMark, Kind, Now, Store, Work

log = structlog.get_logger()

INVITATION_LIFETIME = timedelta(days=14)
# How long a partner may go on with its old token after a rotation, unless set (CRED-8).
OVERLAP = timedelta(minutes=15)
# The newest token and those that a partner may still show while it counts as not received.
MOST_TOKENS = 3
RESYNC_CHUNK = 500


def new_token() -> str:
    """Make a token for a partner: 32 random bytes as url-safe text (CRED-11)."""
    return secrets.token_urlsafe(32)


def fingerprint(token: str) -> str:
    """Return what is stored of a token we issued (S13).

    A plain hash is enough: the token has 256 random bits, so nobody can try them.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


# How long a request waits for a partner that a handshake holds, in seconds.
_PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class Invitation:
    """A partner that may register with us, and the one-time token to do it with."""

    partner: Partner
    token_a: str


@dataclass(frozen=True, slots=True)
class Caller:
    """Who shows a token; `registering` when it is the one-time token of an invitation."""

    partner: Partner
    registering: bool
    hash: str


class Registrar(Protocol):
    """Speaks the credentials module with a partner (the OCPI adapter's side)."""

    async def connect(self, partner: Partner, token_a: str) -> Partner:
        """Register with a partner; raises PartnerUnreachable with the step that failed."""
        ...

    async def rotate(self, partner: Partner) -> Partner:
        """Give a partner a new token and take a new one; both old ones stay until it worked."""
        ...

    async def disconnect(self, partner: Partner) -> None:
        """Tell a partner that the connection ends; whether it hears that does not matter."""
        ...


class Lanes(Protocol):
    """What is being sent to partners (the push engine's side)."""

    def backlog(self, partner_id: str) -> list[DirtyMark]:
        """Return what a partner has not confirmed yet, oldest first."""
        ...

    def state(self, partner_id: str) -> dict[str, Any]:
        """Return how sending to a partner goes: breaker, next attempt, last error."""
        ...

    def changed(self, partner: Partner) -> None:
        """Take note that a partner's connection, endpoints or tokens changed."""
        ...


class Inspector(Protocol):
    """Looks at what a partner holds and how it behaves (the OCPI adapter's side)."""

    async def compare(self, partner: Partner, *, repair: bool) -> dict[str, Any]:
        """Compare what a partner holds with what we hold, and report."""
        ...

    async def probe(self, partner: Partner) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what was found of a partner's habits, and the quirks that follow."""
        ...


class Audience(Protocol):
    """What a partner may see."""

    def everything(self, partner: Partner) -> Iterable[tuple[Kind, str]]:
        """Yield the locations and tariffs that a partner is to hear of."""
        ...

    def contract(self, work: Work, before: Partner, after: Partner) -> None:
        """Note what a changed contract makes a partner see otherwise."""
        ...


class Partners:
    """The partners of this node, by id and by token; changes go to disk first."""

    def __init__(self, store: Store, now: Now) -> None:
        self._store = store
        self._now = now
        self._partners: dict[str, Partner] = {}
        self._by_hash: dict[str, str] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._rotating: set[str] = set()
        self.overlap = OVERLAP
        # Ours: nobody else speaks for them.
        self.parties: frozenset[tuple[str, str]] = frozenset()
        self.registrar: Registrar | None = None
        self.lanes: Lanes | None = None
        self.audience: Audience | None = None
        self.inspector: Inspector | None = None
        self.withheld: Callable[[str], list[DirtyMark]] = lambda _: []

    async def load(self) -> None:
        """Read all partners, once, at start."""
        for partner in await self._store.partners():
            self._remember(partner)

    def changed_elsewhere(self, wanted: Iterable[str], found: Iterable[Partner]) -> None:
        """Take note of partners that another node changed; those not found are gone."""
        by_id = {partner.id: partner for partner in found}
        for partner_id in wanted:
            if partner_id in by_id:
                self._remember(by_id[partner_id])
            else:
                self._drop(partner_id)

    def all(self) -> Iterable[Partner]:
        """Return every partner."""
        return list(self._partners.values())

    def get(self, partner_id: str) -> Partner | None:
        """Return one partner, None when there is none."""
        return self._partners.get(partner_id)

    def known(self, partner_id: str) -> Partner:
        """Return one partner; raises NotFound."""
        partner = self._partners.get(partner_id)
        if partner is None:
            raise NotFound("partner", partner_id)
        return partner

    def lock(self, partner_id: str) -> asyncio.Lock:
        """Return the lock under which a partner's credentials change."""
        return self._locks.setdefault(partner_id, asyncio.Lock())

    def of_party(self, country_code: str, party_id: str) -> Partner | None:
        """Return the connected partner whose own party this is; a hub only passes on."""
        for partner in self._partners.values():
            if (
                partner.status in _LIVE
                and not partner.is_hub
                and partner.has_party(country_code, party_id)
            ):
                return partner
        return None

    def speaks_for(self, partner: Partner, country_code: str, party_id: str) -> bool:
        """Tell whether a partner may act in the name of a party (TRANS-6, S16).

        A hub may for anybody behind it. That it is one is its own word: it may not for us, nor for
        those who are connected with us by themselves.
        """
        if not partner.speaks_for(country_code, party_id):
            return False
        if not partner.is_hub:
            return True
        ours = (country_code.upper(), party_id.upper()) in self.parties
        return not ours and self.of_party(country_code, party_id) is None

    def identify(self, tokens: Sequence[str]) -> Caller | None:
        """Tell who shows a token, given the readings of its header; None when nobody may.

        Found by hash, so that comparing takes no longer for a nearly right token (S14).
        """
        for token in tokens:
            digest = fingerprint(token)
            partner = self._partners.get(self._by_hash.get(digest, ""))
            if partner is None:
                continue
            if digest == partner.token_a_hash:
                expires = partner.token_a_expires_at
                if expires is not None and expires <= self._now():
                    return None
                return Caller(partner, registering=True, hash=digest)
            old = digest != partner.token_in_hashes[0]
            rotated = partner.token_in_rotated_at
            if old and rotated is not None and self._now() - rotated > self.overlap:
                return None
            return Caller(partner, registering=False, hash=digest)
        return None

    async def seen(self, caller: Caller) -> Partner:
        """Take note of a request; the first use of a new token ends the old one (CRED-8)."""
        partner = caller.partner
        hashes = partner.token_in_hashes
        newest = bool(hashes) and caller.hash == hashes[0]
        # While a rotation is under way the partner calls back with its new token, and the
        # rotation may still fail: then the old one has to live on.
        if len(hashes) > 1 and newest and partner.id not in self._rotating:
            with contextlib.suppress(TimeoutError):
                # A handshake may hold the partner for long; the next request tries again.
                async with asyncio.timeout(_PATIENCE), self.lock(partner.id):
                    current = self.known(partner.id)
                    if current.token_in_hashes == hashes:
                        partner = await self.save(replace(current, token_in_hashes=hashes[:1]))
        return partner

    async def save(
        self,
        partner: Partner,
        *,
        audit: str | None = None,
        actor: str = "",
        detail: str = "",
        work: Work | None = None,
    ) -> Partner:
        """Write a partner to disk, then to memory; in a unit of its own, or in `work`."""
        work = work or Work()
        work.put(partner)
        if audit is not None:
            work.put(
                Audit(at=self._now(), actor=actor, action=audit, subject=partner.id, detail=detail)
            )
        work.then(lambda _: self._remember(partner))
        await self._store.commit(work)
        if self.lanes is not None:
            self.lanes.changed(partner)
        return partner

    async def invite(
        self,
        name: str,
        *,
        roles: Sequence[PartyRole] = (),
        quirks: dict[str, Any] | None = None,
        policy: dict[str, Any] | None = None,
        actor: str = "",
    ) -> Invitation:
        """Make a partner that may register with us once, within two weeks."""
        token = new_token()
        partner = Partner(
            id=str(uuid.uuid4()),
            name=name,
            roles=tuple(roles),
            token_a_hash=fingerprint(token),
            token_a_expires_at=self._now() + INVITATION_LIFETIME,
            quirks=Quirks.of(quirks or {}).stored(),
            policy=policy or {},
        )
        await self.save(partner, audit="partner.invited", actor=actor)
        return Invitation(partner, token)

    async def invite_again(self, partner_id: str, *, actor: str = "") -> Invitation:
        """Give a partner that lost its registration a new one-time token (CRED-9)."""
        token = new_token()
        async with self.lock(partner_id):
            partner = replace(
                self.known(partner_id),
                status=PartnerStatus.INVITED,
                token_a_hash=fingerprint(token),
                token_a_expires_at=self._now() + INVITATION_LIFETIME,
                token_in_hashes=(),
                token_out=None,
                endpoints=(),
            )
            await self.save(partner, audit="partner.invited", actor=actor)
        return Invitation(partner, token)

    async def connect(
        self,
        name: str,
        versions_url: str,
        token_a: str,
        *,
        quirks: dict[str, Any] | None = None,
        policy: dict[str, Any] | None = None,
        actor: str = "",
    ) -> Partner:
        """Register with a partner that invited us.

        Raises:
            PartnerUnreachable: the handshake failed, with its step; nothing is kept of it.
        """
        partner = Partner(
            id=str(uuid.uuid4()),
            name=name,
            status=PartnerStatus.CONNECTING,
            versions_url=versions_url,
            quirks=Quirks.of(quirks or {}).stored(),
            policy=policy or {},
        )
        registrar = self._registrar()
        async with self.lock(partner.id):
            try:
                connected = await registrar.connect(partner, token_a)
            except BaseException:
                await self._forget(partner)
                raise
        await self._audit("partner.connected", partner.id, actor)
        return connected

    async def rotate(self, partner_id: str, *, actor: str = "") -> Partner:
        """Exchange both tokens with a partner (TRANS-7)."""
        async with self.lock(partner_id):
            partner = self.known(partner_id)
            if partner.status not in _LIVE:
                raise Conflict(f"partner {partner.name!r} is not connected")
            self._rotating.add(partner_id)
            try:
                rotated = await self._registrar().rotate(partner)
            finally:
                self._rotating.discard(partner_id)
        await self._audit("partner.rotated", partner_id, actor)
        return rotated

    async def disconnect(self, partner_id: str, *, actor: str = "") -> Partner:
        """End the connection with a partner; its sessions and CDRs are kept for billing."""
        async with self.lock(partner_id):
            partner = self.known(partner_id)
            if partner.status in _LIVE:
                await self._registrar().disconnect(partner)
            return await self.save(
                ended(partner), audit="partner.disconnected", actor=actor or "operator"
            )

    async def change(
        self,
        partner_id: str,
        *,
        quirks: dict[str, Any] | None = None,
        policy: dict[str, Any] | None = None,
        actor: str = "",
    ) -> Partner:
        """Set a partner's habits or what its contract says; None leaves as it is.

        Raises Invalid for a habit that there is not.
        """
        if quirks is not None:
            quirks = Quirks.of(quirks).stored()
        async with self.lock(partner_id):
            before = self.known(partner_id)
            partner = replace(
                before,
                quirks=before.quirks if quirks is None else quirks,
                policy=before.policy if policy is None else policy,
            )
            work = Work()
            if self.audience is not None:
                self.audience.contract(work, before, partner)
            return await self.save(partner, audit="partner.changed", actor=actor, work=work)

    async def learn(self, partner_id: str, quirks: dict[str, Any], *, why: str) -> None:
        """Take over habits that a partner's answers showed; the audit says why."""
        async with self.lock(partner_id):
            partner = self.known(partner_id)
            learnt = Quirks.of({**partner.quirks, **quirks}).stored()
            if learnt == partner.quirks:
                return
            log.info("partner.habit_learnt", partner=partner_id, quirks=quirks, why=why)
            await self.save(
                replace(partner, quirks=learnt),
                audit="partner.habit_learnt",
                actor="the partner's answers",
                detail=", ".join(f"{name}={value}" for name, value in quirks.items()),
            )

    async def resync(self, partner_id: str, *, actor: str = "") -> int:
        """Mark everything that concerns a partner as unheard; returns how many objects."""
        count = await self._mark_all(self.known(partner_id), delivered=True)
        await self._audit("partner.resynced", partner_id, actor)
        return count

    async def registered(self, partner: Partner) -> int:
        """Mark what a newly registered partner has to hear of (PUSH-11)."""
        return await self._mark_all(partner, delivered=False)

    async def resend(self, partner_id: str, kind: Kind, object_id: str, *, actor: str = "") -> None:
        """Send one object again, also when it was parked."""
        self.known(partner_id)
        work = Work()
        work.mark([partner_id], kind, object_id)
        work.put(
            Audit(
                at=self._now(),
                actor=actor,
                action="partner.resent",
                subject=partner_id,
                detail=f"{kind} {object_id}",
            )
        )
        await self._store.commit(work)

    async def compare(
        self, partner_id: str, *, repair: bool = True, actor: str = ""
    ) -> dict[str, Any]:
        """Compare what a partner holds with what we hold; what differs is sent again."""
        if self.inspector is None:
            raise Conflict("no OCPI side is running")
        report = await self.inspector.compare(self.known(partner_id), repair=repair)
        await self._audit("partner.compared", partner_id, actor)
        return report

    async def probe(self, partner_id: str, *, actor: str = "") -> dict[str, Any]:
        """Measure a partner's habits and keep them; returns what was found and the quirks."""
        if self.inspector is None:
            raise Conflict("no OCPI side is running")
        found, quirks = await self.inspector.probe(self.known(partner_id))
        await self.change(partner_id, quirks=quirks, actor=actor)
        return {"found": found, "quirks": quirks}

    def backlog(self, partner_id: str) -> list[DirtyMark]:
        """Return what a partner has not confirmed yet, oldest first."""
        self.known(partner_id)
        marks = [] if self.lanes is None else self.lanes.backlog(partner_id)
        pushed = {(mark.kind, mark.object_id) for mark in marks}
        # What it did not get when it asked, unless that is to be pushed as well.
        return marks + [m for m in self.withheld(partner_id) if (m.kind, m.object_id) not in pushed]

    def sending(self, partner_id: str) -> dict[str, Any]:
        """Return how sending to a partner goes."""
        self.known(partner_id)
        return {} if self.lanes is None else self.lanes.state(partner_id)

    async def _mark_all(self, partner: Partner, *, delivered: bool) -> int:
        objects: list[tuple[Kind, str]] = []
        if self.audience is not None:
            objects.extend(self.audience.everything(partner))
        for kind, module in ((Kind.SESSION, "sessions"), (Kind.CDR, "cdrs")):
            if partner.endpoint(module, "RECEIVER") is None:
                continue
            objects.extend([(kind, i) async for i in self._own(partner, kind, delivered)])
        for start in range(0, len(objects), RESYNC_CHUNK):
            work = Work()
            for kind, object_id in objects[start : start + RESYNC_CHUNK]:
                work.mark([partner.id], kind, object_id)
            await self._store.commit(work)
        return len(objects)

    async def _own(self, partner: Partner, kind: Kind, delivered: bool) -> Any:
        cursor: str | None = None
        while True:
            page = await self._store.page(
                f"{kind}s", limit=RESYNC_CHUNK, cursor=cursor, partner_id=partner.id
            )
            for found, stamp in page.items:
                if not delivered:
                    known = await self._store.delivery(partner.id, kind, found.id)
                    if known is not None and known.last_updated == stamp:
                        continue
                yield found.id
            cursor = page.next_cursor
            if cursor is None:
                return

    async def _audit(self, action: str, subject: str, actor: str) -> None:
        work = Work()
        work.put(Audit(at=self._now(), actor=actor, action=action, subject=subject))
        await self._store.commit(work)

    async def _forget(self, partner: Partner) -> None:
        if partner.id not in self._partners:
            return
        work = Work()
        work.delete(partner)
        work.then(lambda _: self._drop(partner.id))
        await self._store.commit(work)

    def _registrar(self) -> Registrar:
        if self.registrar is None:
            raise Conflict("no OCPI side is running")
        return self.registrar

    def _drop(self, partner_id: str) -> None:
        self._partners.pop(partner_id, None)
        for digest in [h for h, owner in self._by_hash.items() if owner == partner_id]:
            del self._by_hash[digest]

    def _remember(self, partner: Partner) -> None:
        known = self._partners.get(partner.id)
        if known is not None:
            for digest in _hashes(known):
                self._by_hash.pop(digest, None)
        self._partners[partner.id] = partner
        for digest in _hashes(partner):
            self._by_hash[digest] = partner.id


_LIVE = (PartnerStatus.CONNECTED, PartnerStatus.SUSPENDED)


def ended(partner: Partner) -> Partner:
    """Return a partner without tokens and endpoints (CRED-9)."""
    return replace(
        partner,
        status=PartnerStatus.DISCONNECTED,
        endpoints=(),
        token_a_hash=None,
        token_in_hashes=(),
        token_in_rotated_at=None,
        token_out=None,
    )


def issued(partner: Partner, token: str, *, at: datetime, shown: str | None = None) -> Partner:
    """Return a partner that may show a new token, and for a while still the ones before (CRED-8).

    The first use of a token ends those before it. So when there are two nobody has used the newer:
    the partner may never have got it, and the older one stays as well. `shown` is the hash of the
    one that the partner has just used; it stays in any case.
    """
    before = [h for h in partner.token_in_hashes if h != shown]
    kept = ([] if shown is None else [shown]) + before
    return replace(
        partner,
        token_in_hashes=(fingerprint(token), *kept[: MOST_TOKENS - 1]),
        token_in_rotated_at=at,
    )


def _hashes(partner: Partner) -> list[str]:
    own = list(partner.token_in_hashes)
    return own if partner.token_a_hash is None else [*own, partner.token_a_hash]
