"""What the services need from the world, and what the adapters may call."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any, Protocol

import msgspec

from cpo.domain.command import Command, Reply, StationCommand
from cpo.domain.events import Sample
from cpo.domain.partner import Partner
from cpo.domain.station import ConnectorState, EvseStatus, Station
from cpo.domain.tokens import Token
from cpo.domain.transaction import Transaction
from cpo.domain.values import Value

# --- what is written ------------------------------------------------------------------------


class Kind(StrEnum):
    """The kinds of objects that partners are told of."""

    LOCATION = "location"
    EVSE = "evse"  # object id: "{location_id}/{evse_uid}"
    TARIFF = "tariff"
    SESSION = "session"
    CDR = "cdr"
    ACTIVE_PROFILE = "active_profile"  # object id: session id


class Mark(Value, frozen=True):
    """An object that a partner has not heard of in its newest form (design D4).

    Set with the fact, in the same transaction; the store gives it the next generation of
    (partner, kind, object).
    """

    partner_id: str
    kind: Kind
    object_id: str


class DirtyMark(Value, frozen=True):
    """A mark as the store keeps it."""

    partner_id: str
    kind: Kind
    object_id: str
    generation: int
    since: datetime
    attempts: int = 0
    next_attempt_at: datetime | None = None
    last_error: str | None = None
    parked: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a partner has confirmed of an object: PATCH is only for what it has (PUSH-4)."""

    partner_id: str
    kind: Kind
    object_id: str
    confirmed_at: datetime
    last_updated: datetime | None = None
    location: str | None = None  # the CDR's URL at the partner
    answer: str | None = None


class Frame(Value, frozen=True):
    """One exchange with a station in the frame log; `answer` is the text of the reply.

    `direction` is "in" for calls of the station, "out" for ours.
    """

    station: str
    at: datetime
    direction: str
    action: str
    message_id: str
    payload: str
    answer: str | None = None
    deviations: str | None = None


class Readings(Value, frozen=True):
    """Samples of a transaction as one message brought them; `event_key` as in transaction.seen."""

    transaction_id: str
    received_at: datetime
    samples: tuple[Sample, ...]
    event_key: str | None = None


class EvseState(Value, frozen=True):
    """The published status of one EVSE."""

    location_id: str
    evse_uid: str
    status: EvseStatus
    last_updated: datetime | None = None


@dataclass(frozen=True, slots=True)
class TokenAlias:
    """The 20-character idTag that stands for a longer token uid at 1.6 chargers (MAP-5)."""

    alias: str
    country_code: str
    party_id: str
    uid: str
    type: str


@dataclass(frozen=True, slots=True)
class Orphan:
    """A message that fits nothing we know; kept with its raw text for the operator."""

    station: str
    at: datetime
    reason: str
    action: str
    payload: str
    transaction: str | None = None


@dataclass(frozen=True, slots=True)
class StationDocument:
    """What a station says of itself beyond its status, by kind and key; never read per message."""

    station: str
    kind: str
    key: str
    document: dict[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class Audit:
    """Who did what, when (S28)."""

    at: datetime
    actor: str
    action: str
    subject: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class OperatorKey:
    """A key of the operator API that we made ourselves; only its hash is kept."""

    name: str
    hash: str
    scopes: tuple[str, ...]
    created_at: datetime


class Work(msgspec.Struct):
    """What one unit of work writes, in order; kept whole or not at all.

    `put` inserts or replaces by the object's key, `add` inserts and fails the unit with Conflict
    when the key is there. What `then` was given runs on the loop right after the commit, in
    order, with the commit's stamp: that is where memory learns what the disk knows.
    """

    ops: list[tuple[str, Any]] = []
    marks: list[Mark] = []
    callbacks: list[Callable[[datetime], object]] = []

    def put(self, row: object) -> None:
        """Insert or replace an object."""
        self.ops.append(("put", row))

    def add(self, row: object) -> None:
        """Insert an object that must not be there yet."""
        self.ops.append(("add", row))

    def delete(self, row: object) -> None:
        """Remove an object by its key."""
        self.ops.append(("delete", row))

    def fence(self, seat: "Seat") -> None:
        """Keep the unit only while nobody newer holds the station; else Conflict."""
        self.ops.append(("fence", seat))

    def touch(self, kind: Kind, object_id: str) -> None:
        """Give an object a new last_updated without changing anything else of it."""
        self.ops.append(("touch", (kind, object_id)))

    def mark(self, partner_ids: Iterable[str], kind: Kind, object_id: str) -> None:
        """Note that partners must hear of an object."""
        self.marks.extend(Mark(partner, kind, object_id) for partner in partner_ids)

    def then(self, callback: Callable[[datetime], object]) -> None:
        """Run something once the unit is on disk."""
        self.callbacks.append(callback)


# --- reading ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    """A page of objects: (object, last_updated) in the order of (last_updated, id)."""

    items: Sequence[Any]
    total: int
    next_cursor: str | None


class Listed(IntEnum):
    """In whose lists a session or CDR stands; a list shows what stands in it or in those before."""

    NEVER = 0  # a CDR that waits for the operator, or that a contract suppresses
    ALWAYS = 1
    LATER = 2  # credit CDRs and reservations: from OCPI 2.2.1 on


@dataclass(frozen=True, slots=True)
class TextPage:
    """A page of objects as partners get to see them.

    `joined` is their texts with commas between them; `count` counts those with nothing to show too.
    """

    joined: bytes
    count: int
    total: int
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a station's socket is: the epoch tells a newer holder from an older one (fencing)."""

    station: str
    epoch: int


@dataclass(frozen=True, slots=True)
class News:
    """What other nodes, and this one, wrote after a stamp and up to `stamp`.

    `changes` are (kind, key) of what nodes keep in memory; `marks` are new dirty marks.
    """

    stamp: datetime
    changes: tuple[tuple[str, str], ...]
    marks: tuple[DirtyMark, ...]


@dataclass(slots=True)
class StationPart:
    """A station as it is stored, and the node that answers for it.

    `online` is the OCPP version of its live connection there, empty without one.
    """

    record: Station
    node: str
    seat: Seat | None
    online: str
    connectors: list[ConnectorState] = field(default_factory=list)
    transactions: list[Transaction] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Beats:
    """The living nodes with how often they have shown it, and which of them leads.

    `alive` is whether the one that asks is among them; `connected` are those that hold a
    connection to the database.
    """

    alive: bool
    beats: dict[str, int]
    leader: str | None
    connected: frozenset[str] = frozenset()


class Store(Protocol):
    """The database, as the services see it.

    Objects read back carry `last_updated`. Errors: StoreUnavailable when the database does not
    answer or take a write (nothing of the unit was kept), Conflict for a key that is taken.
    """

    async def commit(self, work: Work) -> datetime:
        """Make a unit durable, run its callbacks, and return its stamp.

        The stamp is what every written object carries as last_updated; it rises strictly in
        commit order over the whole store (design D5).
        """
        ...

    def on_commit(self, listener: Callable[[Sequence[DirtyMark]], None]) -> None:
        """Call a listener on the loop with the marks of each commit that had any (D21)."""
        ...

    async def stations(self) -> list[Station]:
        """Return every registered station."""
        ...

    async def connector_states(self) -> list[ConnectorState]:
        """Return the newest status of every connector."""
        ...

    async def evse_states(self) -> list[EvseState]:
        """Return the published status of every EVSE."""
        ...

    async def open_transactions(self) -> list[Transaction]:
        """Return the transactions that have not ended, with their samples."""
        ...

    async def recent_transactions(self, station: str, limit: int) -> list[Transaction]:
        """Return a station's newest transactions, newest first, to know them again.

        Those whose books are closed have no readings, but the last at each EVSE has the register
        that it ended at where no stop told it.
        """
        ...

    async def unplaced_transactions(self, station: str, limit: int) -> list[Transaction]:
        """Return a station's ended transactions that no Location was known for, newest first."""
        ...

    async def transaction(self, id: str) -> Transaction | None:
        """Return a transaction with its samples."""
        ...

    async def transaction_by_key(self, station: str, key: str) -> Transaction | None:
        """Return a transaction by the station's own id."""
        ...

    async def locations(self) -> list[tuple[Any, datetime]]:
        """Return every location with its last_updated."""
        ...

    async def tariffs(self) -> list[tuple[Any, datetime]]:
        """Return every tariff with its last_updated."""
        ...

    async def partners(self) -> list[Partner]:
        """Return every partner."""
        ...

    async def token(
        self,
        country_code: str,
        party_id: str,
        uid: str,
        type: str,
    ) -> Token | None:
        """Return a token by its full key (TOK-2)."""
        ...

    async def tokens_by_uid(self, uid: str) -> list[Token]:
        """Return all tokens with that uid, compared without case, of any partner or our own."""
        ...

    async def tokens_held(
        self, partner_id: str, uids: Sequence[str]
    ) -> list[tuple[Token, datetime]]:
        """Return what we hold of a partner's tokens with these uids, and since when."""
        ...

    async def token_by_alias(self, alias: str) -> Token | None:
        """Return the token a 20-character 1.6 alias stands for (MAP-5)."""
        ...

    async def session(self, id: str) -> Any | None:
        """Return a session."""
        ...

    async def cdr(self, id: str) -> Any | None:
        """Return a CDR."""
        ...

    async def cdr_of_session(self, session_id: str) -> Any | None:
        """Return a session's CDR (not its credit)."""
        ...

    async def command(self, id: str) -> Command | None:
        """Return a command."""
        ...

    async def command_by_idempotency_key(self, key: str) -> Command | None:
        """Return the command that was made for an Idempotency-Key."""
        ...

    async def operator_keys(self) -> list[OperatorKey]:
        """Return the keys of the operator API that we made."""
        ...

    async def unfinished_commands(self) -> list[Command]:
        """Return the commands that are not done or not reported."""
        ...

    async def dirty(self) -> list[DirtyMark]:
        """Return every mark."""
        ...

    async def delivery(self, partner_id: str, kind: Kind, object_id: str) -> Delivery | None:
        """Return what a partner confirmed of an object."""
        ...

    async def page(
        self,
        kind: str,
        *,
        limit: int,
        cursor: str | None = None,
        offset: int = 0,
        date_from: datetime | None = None,
        date_to: datetime | None = None,
        partner_id: str | None = None,
        party: tuple[str, str] | None = None,
        newest_first: bool = False,
        held: bool = False,
    ) -> Page:
        """Return a page of locations, tariffs, sessions, cdrs, tokens, commands, audit or orphans.

        In the order of (last_updated, id); audit and orphans by when they happened. `held` leaves
        only those CDRs that wait for the operator.
        """
        ...

    async def page_texts(
        self,
        kind: str,
        form: str,
        render: Callable[[Any], str | None],
        *,
        limit: int,
        cursor: str | None = None,
        offset: int = 0,
        date_from: datetime | None = None,
        date_to: datetime | None = None,
        partner_id: str | None = None,
        party: tuple[str, str] | None = None,
        listed: Listed | None = None,
    ) -> TextPage:
        """Return a page of sessions or cdrs as text; what has none yet is rendered, and kept.

        `form` names what texts of one object differ by; `render` makes an object's text, which
        is empty for one that cannot be shown, and None for one that must be looked at again each
        time. `listed` says whose list it is: what does not stand
        in it is neither on a page nor in the total.
        """
        ...

    async def take_station(self, station: str, node: str, *, online: str = "") -> Seat:
        """Become the holder of a station; whoever held it before is fenced off."""
        ...

    async def show_online(self, seat: Seat, online: str) -> None:
        """Say whether the holder of a station has a connection, and in which OCPP version."""
        ...

    async def seat(self, station: str) -> Seat | None:
        """Return where a station's socket is, None when no node holds it."""
        ...

    async def leave_station(self, seat: Seat) -> None:
        """Stop being the holder of a station; a newer holder stays."""
        ...

    async def lease(self, name: str, owner: str, until: datetime) -> bool:
        """Take or renew a lease until an instant; False when another owner holds it."""
        ...

    async def document(self, station: str, kind: str, key: str) -> StationDocument | None:
        """Return a document about a station."""
        ...

    async def documents(
        self, station: str, kind: str | None = None, *, prefix: str = ""
    ) -> list[StationDocument]:
        """Return the documents about a station, ordered by kind and key."""
        ...

    async def documents_known(self, station: str, kind: str, keys: Sequence[str]) -> set[str]:
        """Return those of the keys that there are documents of."""
        ...

    async def documents_of_kind(self, kind: str) -> list[StationDocument]:
        """Return the documents of a kind about every station, ordered by station and key."""
        ...

    def frames(
        self,
        station: str,
        *,
        action: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = 100,
    ) -> AsyncIterator[Frame]:
        """Return the frame log, newest first; `limit` None is all of it."""
        ...


Answerer = Callable[[bytes], Awaitable[bytes]]


class Bus(Protocol):
    """Finds the holder of a station, in this process or on another node (design D14).

    A question is delivered at most once. Errors that the holder raises reach the asker.
    """

    @property
    def connected(self) -> bool:
        """Whether others can be reached now."""
        ...

    async def serve(self, seat: Seat, answer: Answerer) -> None:
        """Answer for a station until it is released."""
        ...

    async def release(self, seat: Seat) -> None:
        """Stop answering for a station."""
        ...

    async def ask(self, seat: Seat, question: bytes, *, timeout: float) -> bytes:
        """Ask the holder of a station.

        Raises StationOffline at once when nobody holds it, StationTimeout when no answer came:
        then the station may still do what it was asked.
        """
        ...

    async def tell(self, topic: str, news: bytes) -> None:
        """Tell all who listen to a topic, this node too; at most once, and not kept."""
        ...

    async def listen(self, topic: str, hear: Callable[[bytes], None]) -> None:
        """Hear what is told about a topic."""
        ...

    async def close(self) -> None:
        """Leave the bus."""
        ...


class StationLink(Protocol):
    """A live connection to one station, as the services see it (the OCPP adapter's side)."""

    identity: str
    version: str

    async def execute(self, command: StationCommand, *, timeout: float | None = None) -> Reply:
        """Send a neutral command once and return what the station made of it.

        Never raises for what a station may do: offline, silence and refusal are outcomes.
        """
        ...

    async def call(
        self, action: str, payload: dict[str, Any], *, timeout: float | None = None
    ) -> dict[str, Any]:
        """Send any request of the station's version, schema-checked, and return its answer.

        Raises Invalid (field named), StationOffline, StationTimeout, StationRefused.
        """
        ...

    async def close(self, code: int, reason: str) -> None:
        """Close the connection."""
        ...


class Authorizer(Protocol):
    """Asks an eMSP in real time (the OCPI adapter's side)."""

    async def ask(
        self,
        partner: Partner,
        token_uid: str,
        token_type: str,
        *,
        location_id: str | None,
        evse_uids: tuple[str, ...],
    ) -> "RealTimeAnswer | None":
        """Return the eMSP's answer, or None when there was none within the budget.

        `evse_uids` are those at which the driver may be, as the station did not always say.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RealTimeAnswer:
    """AuthorizationInfo; `allowed` None means that the eMSP does not know the token."""

    allowed: str | None
    token: Token | None = None
    authorization_reference: str | None = None
    evse_uids: tuple[str, ...] | None = None
    message: str | None = None


Now = Callable[[], datetime]
Locks = asyncio.Lock
