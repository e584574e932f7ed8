"""The register of meters' public keys, with which signed readings are checked."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cpo.domain.transaction import Transaction
from cpo.errors import Invalid, NotFound
from cpo.services.memory import Memory
from cpo.services.ports import Audit, StationDocument, Store, Work

if TYPE_CHECKING:
    from cpo.domain.meter_keys import MeterKey

KIND = "meter-key"
# Where stations themselves say it: the OCA's note on signed values for 1.6, device model of 2.x.
_IN_1_6 = re.compile(r"Configuration/MeterPublicKey\[?(\d*)\]?$")
_IN_2 = re.compile(r"FiscalMetering[^/]*/PublicKey$")
_LONGEST_NAME = 100


class MeterKeys:
    """Keeps the keys that the operator registers."""

    def __init__(self, store: Store, memory: Memory, *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._memory = memory
        self._now = now

    async def all(self, station: str) -> "Sequence[MeterKey]":
        """Return the keys known of a station's meters, also those it announces itself."""
        self._check(station)
        return await known_keys(self._store, station)

    async def put(
        self,
        station: str,
        name: str,
        *,
        public_key: str,
        serial: str | None,
        evse_id: int | None,
        actor: str,
    ) -> "MeterKey":
        """Register a key under a name of the operator's choice, or replace it.

        Raises:
            Invalid: names what is wrong.
            NotFound: there is no such station.
        """
        from cpo.domain.meter_keys import check_key  # noqa: PLC0415 - keeps the memory low

        self._check(station)
        if not name.isprintable() or len(name) > _LONGEST_NAME:
            raise Invalid("name", f"has more than {_LONGEST_NAME} characters, or odd ones")
        check_key(public_key)
        document = {"public_key": public_key, "serial": serial, "evse_id": evse_id}
        kept = StationDocument(station, KIND, name, document, self._now())
        work = Work()
        work.put(kept)
        work.put(Audit(self._now(), actor, "meter-key.put", f"{station}/{name}", public_key[:500]))
        await self._store.commit(work)
        return _registered(kept)

    async def delete(self, station: str, name: str, *, actor: str) -> None:
        """Forget a registered key; NotFound when there is none of that name."""
        self._check(station)
        kept = await self._store.document(station, KIND, name)
        if kept is None:
            raise NotFound("meter key", name)
        work = Work()
        work.delete(kept)
        work.put(Audit(self._now(), actor, "meter-key.delete", f"{station}/{name}"))
        await self._store.commit(work)

    def _check(self, station: str) -> None:
        if station not in self._memory.stations:
            raise NotFound("station", station)


async def keys_behind(store: Store, transaction: Transaction) -> "Sequence[MeterKey]":
    """Return the keys that a transaction's signed readings may be checked with; none without."""
    if all(sample.signed is None for sample in transaction.samples):
        return ()
    return await known_keys(store, transaction.station)


async def known_keys(store: Store, station: str) -> "Sequence[MeterKey]":
    """Return a station's registered keys, then those it announces itself."""
    registered = [_registered(kept) for kept in await store.documents(station, KIND)]
    announced = [
        key
        for prefix in ("Configuration/MeterPublicKey", "FiscalMetering")
        for kept in await store.documents(station, "variable", prefix=prefix)
        if (key := _announced(kept)) is not None
    ]
    return (*registered, *announced)


def _registered(kept: StationDocument) -> "MeterKey":
    from cpo.domain.meter_keys import MeterKey  # noqa: PLC0415 - keeps the memory low

    return MeterKey(name=kept.key, **kept.document)


def _announced(kept: StationDocument) -> "MeterKey | None":
    from cpo.domain.meter_keys import KeySource, MeterKey  # noqa: PLC0415 - keeps the memory low

    evse_id: Any = None
    if found := _IN_1_6.match(kept.key):
        evse_id = int(found[1]) if found[1] else None
    elif _IN_2.match(kept.key):
        evse = kept.document.get("component", {}).get("evse")
        evse_id = evse.get("id") if evse else None
    else:
        return None
    value = next(
        (
            attribute.get("value")
            for attribute in kept.document.get("attributes", ())
            if attribute.get("type", "Actual") == "Actual"
        ),
        None,
    )
    if not value:
        return None
    return MeterKey(
        name=kept.key, public_key=str(value), source=KeySource.ANNOUNCED, evse_id=evse_id
    )
