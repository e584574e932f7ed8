"""What an eMSP holds: locations, tariffs, sessions, CDRs, as the CPO sent them. Pure.

Objects are kept as parsed JSON, whether they are valid or not. Ids are compared without
case, as OCPI's CiString asks, and shown in the sender's spelling.
"""

from collections.abc import Iterator
from typing import Any

Owner = tuple[str, str]
"""Country code and party id of the party that owns an object."""

Thing = dict[str, Any]


class Unknown(Exception):
    """The named object is not held."""

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(f"unknown {kind} {id!r}")
        self.kind = kind
        self.id = id


class Shelf:
    """The objects of one module, by owner and id."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._held: dict[tuple[str, str, str], Thing] = {}
        self._owners: dict[tuple[str, str, str], Owner] = {}

    def put(self, owner: Owner, id: str, thing: Thing) -> bool:
        """Keep an object in place of an older one; say whether it is new."""
        key = _key(owner, id)
        fresh = key not in self._held
        self._held[key] = thing
        self._owners[key] = owner
        return fresh

    def get(self, owner: Owner, id: str) -> Thing:
        """Return an object.

        Raises:
            Unknown: it is not held.
        """
        try:
            return self._held[_key(owner, id)]
        except KeyError:
            raise Unknown(self.kind, id) from None

    def drop(self, owner: Owner, id: str) -> None:
        """Forget an object.

        Raises:
            Unknown: it is not held.
        """
        if self._held.pop(_key(owner, id), None) is None:
            raise Unknown(self.kind, id)
        del self._owners[_key(owner, id)]

    def replace_all(self, owner_things: list[tuple[Owner, str, Thing]]) -> None:
        """Keep exactly these, as after a complete pull (PAG-7)."""
        self._held.clear()
        self._owners.clear()
        for owner, id_, thing in owner_things:
            self.put(owner, id_, thing)

    def by_id(self) -> dict[str, Thing]:
        """Return all objects by their id alone."""
        return {_own_id(thing, key[2]): thing for key, thing in self._held.items()}

    def items(self) -> Iterator[tuple[Owner, Thing]]:
        """Yield owner and object, oldest first."""
        for key, thing in self._held.items():
            yield self._owners[key], thing

    def __len__(self) -> int:
        return len(self._held)


class Books:
    """All that one eMSP holds."""

    def __init__(self) -> None:
        self.locations = Shelf("location")
        self.tariffs = Shelf("tariff")
        self.sessions = Shelf("session")
        self.cdrs = Shelf("cdr")
        self.active_profiles: dict[str, Thing] = {}
        self.clients = Shelf("client")

    def put_evse(self, owner: Owner, location_id: str, uid: str, evse: Thing) -> bool:
        """Replace or add an EVSE of a location."""
        location = self.locations.get(owner, location_id)
        fresh = _replace(location.setdefault("evses", []), "uid", uid, evse)
        _touch(evse.get("last_updated"), location)
        return fresh

    def get_evse(self, owner: Owner, location_id: str, uid: str) -> Thing:
        """Return an EVSE."""
        location = self.locations.get(owner, location_id)
        return _find("evse", location.get("evses") or [], "uid", uid)

    def put_connector(
        self, owner: Owner, location_id: str, uid: str, id: str, connector: Thing
    ) -> bool:  # fmt: skip
        """Replace or add a connector of an EVSE."""
        evse = self.get_evse(owner, location_id, uid)
        fresh = _replace(evse.setdefault("connectors", []), "id", id, connector)
        _touch(connector.get("last_updated"), evse, self.locations.get(owner, location_id))
        return fresh

    def get_connector(self, owner: Owner, location_id: str, uid: str, id: str) -> Thing:
        """Return a connector."""
        evse = self.get_evse(owner, location_id, uid)
        return _find("connector", evse.get("connectors") or [], "id", id)

    def patch_place(self, owner: Owner, ids: list[str], changes: Thing) -> Thing:
        """Change fields of a location, an EVSE or a connector, and return it."""
        chain = [self.locations.get(owner, ids[0])]
        if len(ids) > 1:
            chain.append(self.get_evse(owner, ids[0], ids[1]))
        if len(ids) > 2:
            chain.append(self.get_connector(owner, ids[0], ids[1], ids[2]))
        chain[-1].update(changes)
        _touch(changes.get("last_updated"), *chain[:-1])
        return chain[-1]

    def patch_session(self, owner: Owner, id: str, changes: Thing, *, append: bool) -> Thing:
        """Change fields of a session; its periods are appended or replaced (SES-6)."""
        session = self.sessions.get(owner, id)
        changes = dict(changes)
        periods = changes.get("charging_periods")
        if append and isinstance(periods, list):
            changes["charging_periods"] = [*(session.get("charging_periods") or []), *periods]
        session.update(changes)
        return session


def _key(owner: Owner, id_: str) -> tuple[str, str, str]:
    return owner[0].casefold(), owner[1].casefold(), id_.casefold()


def _own_id(thing: Thing, fallback: str) -> str:
    own = thing.get("id")
    return own if isinstance(own, str) else fallback


def _find(kind: str, things: list[Any], field: str, id_: str) -> Thing:
    for thing in things:
        if isinstance(thing, dict) and str(thing.get(field)).casefold() == id_.casefold():
            return thing
    raise Unknown(kind, id_)


def _replace(things: list[Any], field: str, id_: str, thing: Thing) -> bool:
    for number, old in enumerate(things):
        if isinstance(old, dict) and str(old.get(field)).casefold() == id_.casefold():
            things[number] = thing
            return False
    things.append(thing)
    return True


def _touch(last_updated: Any, *parents: Thing) -> None:
    """Move the parents' last_updated along: a change below is a change of theirs (LOC-14)."""
    for parent in parents:
        if isinstance(last_updated, str) and str(parent.get("last_updated", "")) < last_updated:
            parent["last_updated"] = last_updated
