"""What a station of OCPP 2.x is told of our tariffs: texts for drivers, and for 2.1 whole tariffs.

A station that shows tariffs (`TariffCostCtrlr.Enabled[Tariff]`) gets what a driver will pay with
the answer about the driver's token. One of OCPP 2.1 also has the tariff of each EVSE as its
default, a driver's own where that differs, and is told when a session changes its tariff. A tariff
that OCPP cannot say (station_tariff.py) is told in words only.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as changed
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog

from cpo.domain.session import Session
from cpo.domain.station_tariff import station_tariff
from cpo.domain.tariff import Tariff
from cpo.domain.tokens import Token
from cpo.domain.transaction import Transaction
from cpo.errors import CpoError, Invalid, StationRefused
from cpo.services.billing import Billing
from cpo.services.displays import Displays
from cpo.services.intake import TokenAnswer
from cpo.services.memory import Memory
from cpo.services.ports import StationLink, Store

log = structlog.get_logger()

VERSION: Final = "2.1"
_KIND: Final = "default-tariff"
_ALL: Final = 0
_AT_ONCE: Final = 20
_MOST_DRIVERS: Final = 100
_encoder: Final = msgspec.json.Encoder(decimal_format="number")

Said = Mapping[str, Any]
"""A tariff as OCPP 2.1 writes it."""


@dataclass(slots=True)
class Standing:
    """What a station has over one connection.

    `brought` is the default of each EVSE (0: of all) that we gave it last, taken or not; `taken`
    those that it took; `drivers` the tariffs that went with answers about tokens; `sessions` the
    last tariff that a running transaction was given. `unable` is one that knows no tariffs.
    """

    link: StationLink
    brought: dict[int, Said] = field(default_factory=dict)
    taken: dict[int, Said] = field(default_factory=dict)
    drivers: dict[str, Said] = field(default_factory=dict)
    sessions: dict[str, Said] = field(default_factory=dict)
    unable: bool = False


class StationTariffs:
    """Keeps stations up to date about tariffs; nothing here delays or fails a charge."""

    def __init__(
        self,
        memory: Memory,
        store: Store,
        billing: Billing,
        displays: Displays,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._memory = memory
        self._store = store
        self._billing = billing
        self._displays = displays
        self._now = now
        self._standings: dict[str, Standing] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(_AT_ONCE)

    # --- with answers about tokens ----------------------------------------------------------------

    async def told(
        self,
        identity: str,
        token: Token | None,
        answer: TokenAnswer,
        *,
        evse_id: int | None,
        started: bool = False,
    ) -> TokenAnswer:
        """Add to an answer what the driver will pay, where the station shows it (I01, I08).

        Once a transaction has `started` the answer has no place for a tariff, only for words.
        """
        state = self._memory.stations.get(identity)
        link = state.link if state is not None else None
        if link is None or not (await self._displays.of(link)).tariffs:
            return answer
        if answer.message is None:
            text = self._billing.price_text(identity, token, self._now(), evse_id=evse_id)
            answer = changed(answer, message=text)
        standing = self._standings.get(identity)
        if started or token is None or standing is None or standing.link is not link:
            return answer
        if not standing.taken:
            return answer
        said = self._of_driver(identity, token, evse_id)
        standing.drivers.pop(token.uid.upper(), None)
        if said is None or all(said == default for default in standing.taken.values()):
            return answer
        if len(standing.drivers) >= _MOST_DRIVERS:
            standing.drivers.clear()
        standing.drivers[token.uid.upper()] = said
        return changed(answer, tariff=said)

    def _of_driver(self, identity: str, token: Token, evse_id: int | None) -> Said | None:
        offered = self._billing.offered(identity, token, self._now(), evse_id=evse_id)
        tariffs = {tariff.id: tariff for _, _, tariff in offered if tariff is not None}
        if len(tariffs) != 1 or any(tariff is None for _, _, tariff in offered):
            return None
        return _said(next(iter(tariffs.values())))

    # --- running sessions -------------------------------------------------------------------------

    def session(self, session: Session) -> None:
        """Give a running transaction the tariff it is billed by, where the station has another."""
        standing = self._standings.get(session.station)
        if standing is None or standing.unable:
            return
        state = self._memory.stations.get(session.station)
        if state is None or state.link is not standing.link:
            return
        transaction = next((t for t in state.transactions.values() if t.id == session.id), None)
        if transaction is None or not transaction.open:
            standing.sessions.pop(session.id, None)
            return
        snapshot = transaction.snapshot
        said = _said(snapshot.last_tariff) if snapshot is not None else None
        if said is None or said == self._has(standing, transaction):
            return
        standing.sessions[session.id] = said
        payload = {"transactionId": transaction.key, "tariff": said}
        self._spawn(self._call(standing.link, "ChangeTransactionTariff", payload))

    def _has(self, standing: Standing, transaction: Transaction) -> Said | None:
        """Return the tariff by which a station counts a transaction."""
        given = standing.sessions.get(transaction.id)
        if given is None and transaction.token is not None:
            given = standing.drivers.get(transaction.token.uid.upper())
        if given is None and transaction.evse_id is not None:
            given = standing.taken.get(transaction.evse_id)
        return given or standing.taken.get(_ALL)

    async def _call(self, link: StationLink, action: str, payload: dict[str, Any]) -> None:
        try:
            status = (await link.call(action, payload)).get("status")
        except CpoError as error:
            log.info("station_tariff.failed", station=link.identity, error=str(error))
            return
        if status != "Accepted":
            log.info("station_tariff.refused", station=link.identity, action=action, status=status)

    # --- defaults of EVSEs ------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Bring the defaults of every station up to date that is connected here."""
        links = [
            state.link
            for state in list(self._memory.stations.values())
            if state.link is not None
            and state.link.version == VERSION
            and self._memory.holds(state)
        ]
        live = {link.identity for link in links}
        for identity in [known for known in self._standings if known not in live]:
            del self._standings[identity]
        await asyncio.gather(*(self.bring(link) for link in links))

    async def bring(self, link: StationLink) -> None:
        """Give a station the tariffs of its EVSEs, as far as it has others."""
        async with self._turns:
            if not (await self._displays.of(link)).tariffs:
                return
            standing = self._standings.get(link.identity)
            if standing is None or standing.link is not link:
                standing = await self._first_seen(link)
                self._standings[link.identity] = standing
            wanted = self._wanted(link.identity)
            if standing.unable or wanted == standing.brought:
                return
            try:
                await self._bring(standing, wanted)
            except StationRefused as error:
                # A station that shows texts need not know tariffs (NotImplemented, NotSupported).
                standing.unable = True
                log.info("station_tariff.unable", station=link.identity, error=str(error))
            except CpoError as error:
                log.info("station_tariff.failed", station=link.identity, error=str(error))

    async def _first_seen(self, link: StationLink) -> Standing:
        standing = Standing(link)
        for kept in await self._store.documents(link.identity, _KIND):
            standing.taken[int(kept.key)] = _plain(kept.document["tariff"])
        standing.brought = dict(standing.taken)
        return standing

    def _wanted(self, identity: str) -> dict[int, Said]:
        """Return the tariff of each EVSE by its OCPP number, 0 where all have the same."""
        by_evse: dict[int, list[Tariff | None]] = {}
        for _, evse, tariff in self._billing.offered(identity, None, self._now()):
            if evse.binding is not None and evse.binding.evse_id is not None:
                by_evse.setdefault(evse.binding.evse_id, []).append(tariff)
        said = {
            number: _said(tariffs[0]) if all(t == tariffs[0] for t in tariffs) else None
            for number, tariffs in by_evse.items()
        }
        first = next(iter(said.values()), None)
        if first is not None and all(one == first for one in said.values()):
            return {_ALL: first}
        return {number: one for number, one in said.items() if one is not None}

    async def _bring(self, standing: Standing, wanted: Mapping[int, Said]) -> None:
        for number in [n for n in standing.brought if n not in wanted]:
            gone = standing.brought[number]
            request: dict[str, Any] = {"tariffIds": [gone["tariffId"]]}
            if number != _ALL:
                request["evseId"] = number
            await standing.link.call("ClearTariffs", request)
            standing.brought.pop(number, None)
            standing.taken.pop(number, None)
        for number, tariff in wanted.items():
            if standing.brought.get(number) == tariff:
                continue
            payload = {"evseId": number, "tariff": dict(tariff)}
            status = (await standing.link.call("SetDefaultTariff", payload)).get("status")
            if status == "DuplicateTariffId":
                # It has the tariff as it was before: only when that is gone can it be another.
                await standing.link.call("ClearTariffs", {"tariffIds": [tariff["tariffId"]]})
                status = (await standing.link.call("SetDefaultTariff", payload)).get("status")
            standing.brought[number] = tariff
            if status == "Accepted":
                standing.taken[number] = tariff
            else:
                standing.taken.pop(number, None)
                log.warning(
                    "station_tariff.refused",
                    station=standing.link.identity,
                    evse=number,
                    tariff=tariff["tariffId"],
                    status=status,
                )

    # --- life -------------------------------------------------------------------------------------

    def _spawn(self, job: Any) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._tasks:
            await asyncio.wait(self._tasks)


def _said(tariff: Tariff | None) -> Said | None:
    """Write a tariff as stations take it; None for one that they cannot be told."""
    if tariff is None:
        return None
    try:
        return _plain(station_tariff(tariff))
    except Invalid:
        return None


def _plain(said: Said) -> Said:
    """Return a tariff with its numbers as JSON has them, so that two of them can be compared."""
    plain: Said = msgspec.json.decode(_encoder.encode(said))
    return plain
