"""The local authorization list of a station: who is on it, and what brings it up to date. Pure."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cpo.domain.tokens import Token, Whitelist, alias_of, ocpp_type
from cpo.domain.values import Value

# What a driver holds to a reader or a car tells; an app's token never comes to a charger itself.
_PRESENTED: Final = frozenset({"RFID", "EMAID", "OTHER"})
_MAX_ID_TOKEN: Final = 36
# Where a token is an idTag without a type.
_TAGS_ONLY: Final = frozenset({"1.6"})
NEVER_SENT: Final = 0
"""1.6 and 2.x: the version of a list that is empty; ours begin at 1 (AU-12)."""


class Entry(Value, frozen=True):
    """One entry: the idTag or idToken with its type, its group, and when it ends."""

    id: str
    type: str
    group: str | None = None
    expires_at: str | None = None

    @property
    def key(self) -> str:
        """Return what a station knows the entry by."""
        return f"{self.type}|{self.id.upper()}"


def may_be_listed(token: Token, now: datetime) -> bool:
    """Tell whether a station may accept a token without asking anybody (TOK-30)."""
    return (
        token.valid
        and token.whitelist is not Whitelist.NEVER
        and token.type in _PRESENTED
        and (token.expires_at is None or token.expires_at > now)
    )


def entry_of(token: Token, version: str) -> Entry | None:
    """Return a token's entry in the words of an OCPP version; None where it has none for it."""
    expires = None if token.expires_at is None else token.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    if version in _TAGS_ONLY:
        if token.type == "EMAID":
            return None  # ISO 15118 is not in 1.6
        group = None if token.group_id is None else alias_of(token.group_id)
        return Entry(alias_of(token.uid), "", group, expires)
    if len(token.uid) > _MAX_ID_TOKEN:
        return None
    return Entry(token.uid, ocpp_type(token.type, token.uid), token.group_id, expires)


def entries_of(tokens: Iterable[Token], version: str, limit: int) -> tuple[Entry, ...]:
    """Return the first entries that fit, of tokens in the order of their importance."""
    found: dict[str, Entry] = {}
    for token in tokens:
        if len(found) >= limit:
            break
        entry = entry_of(token, version)
        if entry is not None:
            found.setdefault(entry.key, entry)
    return tuple(found.values())


def digest_of(entries: Iterable[Entry]) -> str:
    """Return a name for the content of a list, whatever its order."""
    text = json.dumps(sorted((e.id, e.type, e.group, e.expires_at) for e in entries), default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


# --- bringing a station's list up to date ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a station takes: entries in all, entries and bytes in one message."""

    entries: int
    per_message: int
    bytes_per_message: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The messages that make a list what it should be; the first is `update_type`.

    Those that follow a first full one add to it, so they are differential.
    """

    update_type: str
    parts: tuple[tuple[dict[str, Any], ...], ...]

    def messages(self) -> Iterator[tuple[str, tuple[dict[str, Any], ...]]]:
        """Yield (update type, entries) of each message."""
        for number, part in enumerate(self.parts):
            yield (self.update_type if number == 0 else "Differential"), part


def plan(known: Sequence[Entry] | None, wanted: Sequence[Entry], capacity: Capacity) -> Plan:
    """Plan how a list becomes what is wanted (AU-12).

    Differential when it is known what the station has and the difference needs no more messages
    than all of it; full otherwise. A plan without parts: nothing is to be sent.
    """
    full = _cut([_written(entry) for entry in wanted], capacity) or ((),)
    if known is None:
        return Plan("Full", full)
    changes = list(difference(known, wanted))
    if not changes:
        return Plan("Differential", ())
    parts = _cut(changes, capacity)
    if len(parts) <= len(full) and _fits(known, wanted, capacity):
        return Plan("Differential", parts)
    return Plan("Full", full)


def difference(known: Sequence[Entry], wanted: Sequence[Entry]) -> Iterator[dict[str, Any]]:
    """Yield what a station has to be told; what it shall forget first, so that there is room."""
    have: Mapping[str, Entry] = {entry.key: entry for entry in known}
    want: Mapping[str, Entry] = {entry.key: entry for entry in wanted}
    for key, entry in have.items():
        if key not in want:
            yield {"id_token": entry.id, "type": entry.type}
    for key, entry in want.items():
        if have.get(key) != entry:
            yield _written(entry)


def _fits(known: Sequence[Entry], wanted: Sequence[Entry], capacity: Capacity) -> bool:
    return len(known) <= capacity.entries and len(wanted) <= capacity.entries


def _written(entry: Entry) -> dict[str, Any]:
    written: dict[str, Any] = {"id_token": entry.id, "type": entry.type, "status": "Accepted"}
    if entry.group is not None:
        written["group_id"] = entry.group
    if entry.expires_at is not None:
        written["expires_at"] = entry.expires_at
    return written


# What an entry takes in a message of 2.x beyond its own texts, generously.
_FRAME_OF_ENTRY: Final = 160


def _cut(
    entries: Sequence[dict[str, Any]], capacity: Capacity
) -> tuple[tuple[dict[str, Any], ...], ...]:
    """Cut entries into what one message may hold."""
    parts: list[tuple[dict[str, Any], ...]] = []
    part: list[dict[str, Any]] = []
    size = 0
    for entry in entries:
        length = _FRAME_OF_ENTRY + sum(len(str(value)) for value in entry.values())
        if part and (
            len(part) >= capacity.per_message or size + length > capacity.bytes_per_message
        ):
            parts.append(tuple(part))
            part, size = [], 0
        part.append(entry)
        size += length
    if part:
        parts.append(tuple(part))
    return tuple(parts)
