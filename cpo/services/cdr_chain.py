"""The hash chain over our CDRs, per party: what was billed cannot be changed unseen (N25).

A job seals CDRs in the order in which they were committed. Each link holds the hash over the link
before it and the CDR's body, without what may still change (its hold, its instant of change).
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec

from cpo.domain.cdr import Cdr
from cpo.services.ports import StationDocument, Store, Work

SHELF = "\x1fcdr chain"
_HEAD = "head"
_PAGE = 50
MICROSECOND = timedelta(microseconds=1)
_encode = msgspec.json.Encoder(order="deterministic").encode


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a party's chain."""

    length: int
    digest: str


def digest(previous: str, cdr: Cdr) -> str:
    """Return a CDR's link: the hash over the link before it and the CDR's own content."""
    body = _encode(replace(cdr, hold=(), last_updated=None))
    return hashlib.sha256(previous.encode() + b"\x1f" + body).hexdigest()


class CdrChain:
    """Seals CDRs, and checks the seals."""

    def __init__(self, store: Store, *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._heads: dict[str, Head] | None = None
        self._since: datetime | None = None
        # Where the list ended when it was last read to its end: what is committed later is later.
        self._ended: datetime | None = None

    async def extend(self) -> int:
        """Seal what was committed since the last time; returns how many CDRs."""
        heads = await self._load()
        sealed, cursor = 0, None
        since = self._ended or self._since
        while True:
            page = await self._store.page(
                "cdrs", limit=_PAGE, cursor=cursor, date_from=since if cursor is None else None
            )
            work = Work()
            changed: dict[str, Head] = {}
            known = await self._sealed(cdr for cdr, _ in page.items)
            for cdr, stamp in page.items:
                party = _party(cdr)
                self._since = stamp
                if cdr.id in known or cdr.hold:
                    continue  # what is held may still change; it is sealed when it is released
                head = changed.get(party) or heads.get(party) or Head(0, "")
                link = Head(head.length + 1, digest(head.digest, cdr))
                changed[party] = link
                document = {"position": link.length, "digest": link.digest}
                work.add(StationDocument(SHELF, party, cdr.id, document, self._now()))
                sealed += 1
            for party, head in changed.items():
                heads[party] = head
                document = {
                    "length": head.length,
                    "digest": head.digest,
                    "since": self._since.isoformat() if self._since else None,
                }
                work.put(StationDocument(SHELF, _HEAD, party, document, self._now()))
            if work.ops:
                await self._store.commit(work)
            cursor = page.next_cursor
            if cursor is None:
                if self._since is not None:
                    self._ended = self._since + MICROSECOND
                return sealed

    async def _sealed(self, cdrs: Iterable[Cdr]) -> set[str]:
        """Return the ids of those CDRs that are links already."""
        ids: dict[str, list[str]] = defaultdict(list)
        for cdr in cdrs:
            ids[_party(cdr)].append(cdr.id)
        known = [await self._store.documents_known(SHELF, *of) for of in ids.items()]
        return set().union(*known)

    async def verify(self) -> list[dict[str, Any]]:
        """Check every party's chain from its start; `broken` names the first CDR that differs."""
        await self.extend()
        heads = await self._load()
        answers = []
        for party, head in sorted(heads.items()):
            links = await self._store.documents(SHELF, party)
            previous, broken = "", None
            for link in sorted(links, key=lambda one: int(one.document["position"])):
                cdr: Cdr | None = await self._store.cdr(link.key)
                if cdr is None or digest(previous, cdr) != link.document["digest"]:
                    broken = link.key
                    break
                previous = str(link.document["digest"])
            if broken is None and (len(links), previous) != (head.length, head.digest):
                broken = "(links are missing)"
            answers.append(
                {
                    "country_code": party.split("/")[0],
                    "party_id": party.split("/")[1],
                    "length": head.length,
                    "digest": head.digest,
                    "broken": broken,
                }
            )
        return answers

    async def _load(self) -> dict[str, Head]:
        if self._heads is None:
            heads = {}
            for found in await self._store.documents(SHELF, _HEAD):
                known = found.document
                heads[found.key] = Head(int(known["length"]), str(known["digest"]))
                since = datetime.fromisoformat(known["since"]) if known["since"] else None
                if since is not None:
                    self._since = since if self._since is None else max(self._since, since)
            self._heads = heads
        return self._heads


def _party(cdr: Cdr) -> str:
    return f"{cdr.country_code}/{cdr.party_id}"
