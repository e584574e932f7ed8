"""A Store that keeps everything in dictionaries: the port's fake for tests of the services."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta

from cpo.domain.cdr import Cdr
from cpo.domain.command import Command, CommandState
from cpo.domain.partner import Partner
from cpo.domain.session import Session
from cpo.domain.station import Station
from cpo.domain.tokens import Token
from cpo.domain.transaction import Transaction, restored, thinned
from cpo.domain.values import replace
from cpo.errors import Invalid
from cpo.services.ports import (
    Audit,
    Delivery,
    Frame,
    OperatorKey,
    Orphan,
    Page,
    Readings,
    StationDocument,
    TokenAlias,
)


class MemoryStore:
    """Commits at once, in order; `fail` makes the next commit fail whole."""

    def __init__(self):
        self.rows = defaultdict(dict)
        self.readings = defaultdict(list)
        self.marks = []
        self.log = []
        self.commits = 0
        self.fail = None
        self._stamp = datetime(2026, 1, 1, tzinfo=UTC)

    async def commit(self, work):
        if self.fail is not None:
            error, self.fail = self.fail, None
            raise error
        self._stamp += timedelta(milliseconds=1)
        self.commits += 1
        for op, row in work.ops:
            self.log.append((op, row))
            if isinstance(row, Readings):
                self.readings[row.transaction_id].append(row)
            elif op in ("put", "add"):
                self.rows[type(row)][self._key(row)] = row
            elif op == "delete":
                self.rows[type(row)].pop(self._key(row), None)
        self.marks.extend(work.marks)
        for callback in work.callbacks:
            callback(self._stamp)
        return self._stamp

    def _key(self, row):
        for names in (("id",), ("identity",), ("alias",)):
            if hasattr(row, names[0]):
                return getattr(row, names[0])
        if isinstance(row, StationDocument):
            return (row.station, row.kind, row.key)
        if isinstance(row, Token):
            return (row.country_code, row.party_id, row.uid.upper(), row.type)
        return repr(row)

    def all(self, kind):
        return list(self.rows[kind].values())

    def _with_readings(self, transaction):
        rows = self.readings[transaction.id]
        bare = replace(transaction, samples=(), seen=frozenset(), missing=frozenset())
        return restored(
            bare,
            [s for r in rows for s in r.samples],
            [r.event_key for r in rows if r.event_key is not None],
        )

    async def stations(self):
        return self.all(Station)

    async def connector_states(self):
        return []

    async def evse_states(self):
        return []

    async def open_transactions(self):
        return [
            self._with_readings(t)
            for t in self.all(Transaction)
            if t.open or "settled" not in t.flags
        ]

    async def recent_transactions(self, station, limit):
        found = [t for t in self.all(Transaction) if t.station == station]
        found.sort(key=lambda t: (t.started_at, t.id), reverse=True)
        whole = [self._with_readings(t) for t in found[:limit]]
        return [thinned(t) if t.settled else t for t in whole]

    async def unplaced_transactions(self, station, limit):
        found = [t for t in self.all(Transaction) if t.station == station]
        found.sort(key=lambda t: (t.started_at, t.id), reverse=True)
        missing = [t for t in found if not t.open and t.snapshot is None]
        return [self._with_readings(t) for t in missing[:limit]]

    async def transaction(self, id):
        found = self.rows[Transaction].get(id)
        return self._with_readings(found) if found else None

    async def transaction_by_key(self, station, key):
        found = [t for t in self.all(Transaction) if (t.station, t.key) == (station, key)]
        newest = max(found, key=lambda t: t.started_at, default=None)
        return self._with_readings(newest) if newest else None

    async def locations(self):
        return []

    async def tariffs(self):
        return []

    async def partners(self):
        return self.all(Partner)

    async def tokens_by_uid(self, uid):
        return [t for t in self.all(Token) if t.uid.upper() == uid.upper()]

    async def token_by_alias(self, alias):
        row = self.rows[TokenAlias].get(alias)
        tokens = await self.tokens_by_uid(row.uid) if row else []
        return tokens[0] if tokens else None

    async def session(self, id):
        return self.rows[Session].get(id)

    async def cdr(self, id):
        return self.rows[Cdr].get(id)

    async def cdr_of_session(self, session_id):
        found = [c for c in self.all(Cdr) if c.session_id == session_id and not c.credit]
        return found[-1] if found else None

    async def command(self, id):
        return self.rows[Command].get(id)

    async def command_by_idempotency_key(self, key):
        return next((c for c in self.all(Command) if c.idempotency_key == key), None)

    async def operator_keys(self):
        return self.all(OperatorKey)

    async def document(self, station, kind, key):
        return self.rows[StationDocument].get((station, kind, key))

    async def documents(self, station, kind=None, *, prefix=""):
        found = [
            d
            for d in self.all(StationDocument)
            if d.station == station and kind in (None, d.kind) and d.key.startswith(prefix)
        ]
        return sorted(found, key=lambda d: (d.kind, d.key))

    async def documents_known(self, station, kind, keys):
        return {d.key for d in await self.documents(station, kind)} & set(keys)

    async def documents_of_kind(self, kind):
        found = [d for d in self.all(StationDocument) if d.kind == kind]
        return sorted(found, key=lambda d: (d.station, d.key))

    async def dirty(self):
        return []

    async def delivery(self, partner_id, kind, object_id):
        wanted = (partner_id, kind, object_id)
        for row in self.all(Delivery):
            if (row.partner_id, row.kind, row.object_id) == wanted:
                return row
        return None

    async def page(
        self, kind, *, limit, cursor=None, offset=0, newest_first=False, held=False, **_
    ):
        kinds = {
            "sessions": Session,
            "cdrs": Cdr,
            "tokens": Token,
            "commands": Command,
            "audit": Audit,
            "orphans": Orphan,
        }
        if cursor is not None and not cursor.isdecimal():
            raise Invalid("cursor", "is none of ours")
        rows = self.all(kinds[kind])[:: -1 if newest_first else 1]
        if held:
            rows = [row for row in rows if row.hold]
        start = int(cursor) if cursor else offset
        end = start + limit
        return Page(
            [(row, self._stamp) for row in rows[start:end]],
            len(rows),
            str(end) if len(rows) > end else None,
        )

    async def frames(self, station, *, action=None, limit=100, since=None, until=None):
        found = [
            f
            for f in self.all(Frame)
            if f.station == station
            and action in (None, f.action)
            and (since is None or f.at >= since)
            and (until is None or f.at <= until)
        ]
        found.sort(key=lambda f: f.at, reverse=True)
        for frame in found[:limit]:
            yield frame

    async def unfinished_commands(self):
        return [c for c in self.all(Command) if c.state is not CommandState.DONE]
