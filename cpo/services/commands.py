"""Commands to stations: sent at most once, their outcome kept as a resource (promise 5).

A command is on disk as SENT before its frame leaves. After a crash it is reported as timed out,
never repeated: whether it was carried out shows in the transaction that comes, or does not.
"""

import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from cpo.domain.command import (
    Command,
    CommandKind,
    CommandState,
    Outcome,
    Reply,
    StationCommand,
)
from cpo.domain.location import Evse, Location
from cpo.domain.station import EvseStatus
from cpo.domain.tokens import Token, alias_of, hex_alias_of
from cpo.domain.values import replace
from cpo.errors import Conflict, CpoError, Invalid, NotFound
from cpo.services.authorization import Authorizations, Expected
from cpo.services.memory import Memory
from cpo.services.ports import Audit, StationLink, Store, TokenAlias, Work

log = structlog.get_logger()

# What is meant for the transaction of a session, wherever that is.
_OF_SESSIONS = frozenset(
    {
        CommandKind.STOP_SESSION,
        CommandKind.SET_CHARGING_PROFILE,
        CommandKind.CLEAR_CHARGING_PROFILE,
        CommandKind.GET_COMPOSITE_SCHEDULE,
    }
)

# After these a remote start may still be carried out: silence is no refusal.
_MAY_FOLLOW = frozenset({Outcome.ACCEPTED, Outcome.TIMEOUT, Outcome.OFFLINE})
# How long after an accepted remote start its transaction may still come (CMD-12).
START_WINDOW = timedelta(minutes=10)


class Links(Protocol):
    """Finds the live connection of a station, on this node or another (design D14)."""

    def link(self, identity: str) -> StationLink | None:
        """Return the live connection of a station, or None when it is offline."""
        ...

    def remote_tag(self, identity: str, uid: str) -> str:
        """Return the tag that stands for a uid in a remote start at a station."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What somebody wants a station to do, before it is tied to a station's numbers."""

    kind: CommandKind
    requested_by: str
    station: str | None = None
    evse_uid: str | None = None
    location_id: str | None = None
    connector_id: str | None = None
    token: Token | None = None
    session_id: str | None = None
    authorization_reference: str | None = None
    reservation_id: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    partner_id: str | None = None
    response_url: str | None = None
    version: str | None = None
    asked_of: tuple[str, str] | None = None
    asked_by: tuple[str, str] | None = None
    idempotency_key: str | None = None
    timeout: float | None = None


class KeyedLocks:
    """A lock for each key, kept as long as somebody holds or awaits it."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        """Hold the lock of a key."""
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(key)
            if users > 1:
                self._locks[key] = (lock, users - 1)


class Commands:
    """Carries commands out."""

    def __init__(
        self,
        memory: Memory,
        store: Store,
        links: Links,
        authorizations: Authorizations,
        *,
        now: Callable[[], datetime],
        call_timeout: float,
    ) -> None:
        self._memory = memory
        self._store = store
        self._links = links
        self._authorizations = authorizations
        self._now = now
        self._call_timeout = call_timeout
        self._running: set[asyncio.Task[None]] = set()
        self._keys = KeyedLocks()
        self.on_finished: list[Callable[[Command], Awaitable[None]]] = []
        # With several nodes: has the node of a station remember a remote start.
        self.expect_elsewhere: Callable[[str, Expected], Awaitable[None]] | None = None

    async def request(self, request: Request) -> Command:
        """Take a command on and carry it out in the background.

        Returns the command as QUEUED, or as DONE when it could not even be sent (the station is
        offline). A repeat with the same idempotency key gets the command of the first time, also
        after a restart. Raises Invalid, NotFound or Conflict for what can never be sent.
        """
        key = request.idempotency_key
        if key is None:
            return await self._take_on(request)
        async with self._keys.of(key):
            known = await self._store.command_by_idempotency_key(key)
            return known if known is not None else await self._take_on(request)

    async def _take_on(self, request: Request) -> Command:
        command, station_command = self._resolve(request)
        link = self._links.link(command.station)
        work = Work()
        if link is None:
            command = replace(
                command, state=CommandState.DONE, outcome=Outcome.OFFLINE,
                finished_at=command.created_at, detail="the station is offline",
            )  # fmt: skip
        work.put(command)
        work.put(
            Audit(self._now(), request.requested_by, f"command.{command.kind}", command.station)
        )
        for alias, token in self._aliases(command):
            work.put(TokenAlias(alias, token.country_code, token.party_id, token.uid, token.type))
        await self._store.commit(work)
        if link is not None:
            task = asyncio.get_running_loop().create_task(
                self._run(command, station_command, link, request.timeout)
            )
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return command

    async def wait(self, command: Command) -> Command:
        """Wait for a command's end and return it as it then is."""
        while True:
            known = await self._store.command(command.id)
            if known is None or known.state is CommandState.DONE:
                return known or command
            await asyncio.sleep(0.05)

    async def _run(
        self, command: Command, station_command: StationCommand, link: StationLink,
        timeout: float | None,
    ) -> None:  # fmt: skip
        sent = replace(command, state=CommandState.SENT)
        work = Work()
        work.put(sent)
        try:
            await self._store.commit(work)
        except CpoError as error:
            log.warning("command.not_sent", command=command.id, error=str(error))
            return
        try:
            await self.let_expect(command)
        except CpoError as error:
            # Nothing was sent: the node that has the station cannot be reached.
            await self.finish(sent, Reply(outcome=Outcome.OFFLINE, detail=str(error)))
            return
        reply = await link.execute(station_command, timeout=timeout or self._call_timeout)
        if (named := reply.payload.get("transactionId")) and reply.outcome is Outcome.ACCEPTED:
            await self._named(command, str(named))
        if reply.outcome not in _MAY_FOLLOW:
            await self._not_expected(command)
        await self.finish(sent, self._interpreted(sent, reply))

    async def _not_expected(self, command: Command) -> None:
        """Have nothing taken for a start that its station said no to."""
        expected = self._expected(command)
        if expected is None:
            return
        try:
            await self._expect(
                command.station, replace(expected, transaction="", until=self._now())
            )
        except CpoError as error:
            log.warning("command.still_expected", command=command.id, error=str(error))

    async def _named(self, command: Command, transaction: str) -> None:
        """Have the transaction of a remote start known by the name its station gave it (CM-10)."""
        expected = self._expected(command)
        if expected is None:
            return
        try:
            await self._expect(command.station, replace(expected, transaction=transaction))
        except CpoError as error:
            log.warning("command.not_named", command=command.id, error=str(error))

    def expect(self, command: Command) -> None:
        """Remember a remote start, so that its transaction is known when it comes (CMD-12)."""
        expected = self._expected(command)
        if expected is not None:
            self._authorizations.expect(command.station, expected)

    async def let_expect(self, command: Command) -> None:
        """Have whoever answers for the station remember a remote start."""
        expected = self._expected(command)
        if expected is not None:
            await self._expect(command.station, expected)

    async def _expect(self, station: str, expected: Expected) -> None:
        if self.expect_elsewhere is not None:
            await self.expect_elsewhere(station, expected)
        else:
            self._authorizations.expect(station, expected)

    def _expected(self, command: Command) -> Expected | None:
        if command.kind is not CommandKind.START_SESSION or command.token is None:
            return None
        return Expected(
            command_id=command.id,
            token=command.token,
            authorization_reference=command.authorization_reference,
            until=command.created_at + START_WINDOW,
            evse_id=command.evse_id,
            remote_start_id=command.remote_start_id,
            tag=self._links.remote_tag(command.station, command.token.uid),
        )

    def _aliases(self, command: Command) -> list[tuple[str, Token]]:
        """Return the names of a command's token that nobody would know it by."""
        token = command.token
        if token is None:
            return []
        names = {alias_of(token.uid)}
        if command.kind is CommandKind.START_SESSION:
            tag = self._links.remote_tag(command.station, token.uid)
            # A tag of the station's own stands for anybody.
            names |= {tag} & {hex_alias_of(token.uid)}
        return [(name, token) for name in sorted(names - {token.uid})]

    def _interpreted(self, command: Command, reply: Reply) -> Reply:
        """Say REJECTED more precisely where the EVSE's status tells why (MAP-30)."""
        if command.kind is not CommandKind.START_SESSION or reply.outcome is not Outcome.REJECTED:
            return reply
        if command.location_id is None or command.evse_uid is None:
            return reply
        status = self._memory.sites.status(command.location_id, command.evse_uid)
        if status is EvseStatus.OUTOFORDER or status is EvseStatus.INOPERATIVE:
            return replace(reply, outcome=Outcome.EVSE_INOPERATIVE)
        state = self._memory.stations.get(command.station)
        if state is not None and state.open_at(command.evse_id) is not None:
            return replace(reply, outcome=Outcome.EVSE_OCCUPIED)
        return reply

    async def finish(self, command: Command, reply: Reply) -> None:
        """Note a command's outcome, once, and tell who asked for it."""
        done = replace(
            command,
            state=CommandState.DONE,
            outcome=reply.outcome,
            payload=reply.payload,
            detail=reply.detail,
            finished_at=self._now(),
        )
        work = Work()
        work.put(done)
        try:
            await self._store.commit(work)
        except CpoError as error:
            log.warning("command.outcome_not_kept", command=command.id, error=str(error))
        for listener in self.on_finished:
            await listener(done)

    async def recover(self) -> None:
        """After a start: what was under way ends as TIMEOUT and is never sent again (P6)."""
        for command in await self._store.unfinished_commands():
            if command.state is not CommandState.DONE:
                if command.state is CommandState.SENT:
                    # The station may have heard it: a transaction that comes is its answer.
                    self.expect(command)
                outcome = Outcome.TIMEOUT if command.state is CommandState.SENT else Outcome.FAILED
                await self.finish(command, Reply(outcome=outcome, detail="the server restarted"))
            else:
                for listener in self.on_finished:
                    await listener(command)

    async def call(
        self, identity: str, action: str, payload: dict[str, Any], *, actor: str,
        timeout: float | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Send any request of the station's version (contract 4).

        Raises NotFound, Conflict when the station is offline, Invalid naming the field,
        StationTimeout, StationRefused.
        """
        if identity not in self._memory.stations:
            raise NotFound("station", identity)
        link = self._links.link(identity)
        if link is None:
            raise Conflict(f"station {identity!r} is offline")
        work = Work()
        work.put(Audit(self._now(), actor, f"call.{action}", identity))
        await self._store.commit(work)
        return await link.call(action, payload, timeout=timeout or self._call_timeout)

    # --- from OCPI's words to the station's -------------------------------------------------------

    def _resolve(self, request: Request) -> tuple[Command, StationCommand]:
        now = self._now()
        station, evse_id, connector, found = self._target(request)
        state = self._memory.stations.get(station)
        if state is None:
            raise NotFound("station", station)
        remote_start_id = None
        transaction = None
        parameters = request.parameters
        if request.kind is CommandKind.START_SESSION:
            if request.token is None:
                raise Invalid("token", "is needed to start a session")
            remote_start_id = secrets.randbelow(2**31 - 1) + 1
            parameters = _with_start_profile(parameters, remote_start_id)
        if request.kind in _OF_SESSIONS and request.session_id is not None:
            open_one = next(
                (t for t in state.open_transactions() if t.id == request.session_id), None
            )
            if open_one is None:
                raise Conflict(f"session {request.session_id!r} is not running")
            transaction, evse_id = open_one.key, open_one.evse_id
        elif _for_a_transaction(request):
            # A TxProfile belongs to one transaction: without a live one it is refused (CM-18).
            there = state.open_at(evse_id)
            if there is None or not there.running:
                raise Conflict(f"no transaction runs at EVSE {evse_id} of {station!r}")
            transaction = there.key
        token = request.token
        tag = token.uid if token is not None else None
        if token is not None and request.kind is CommandKind.START_SESSION:
            tag = self._links.remote_tag(station, token.uid)
        seconds = request.timeout or self._call_timeout
        id_ = str(uuid.uuid4())
        if request.kind is CommandKind.RESERVE:
            # Who names none cancels it by the command's id.
            parameters = {"reservation_id": id_, **parameters}
        command = Command(
            id=id_,
            kind=request.kind,
            station=station,
            requested_by=request.requested_by,
            created_at=now,
            deadline=now + timedelta(seconds=seconds),
            evse_id=evse_id,
            connector_id=connector,
            evse_uid=found[1].uid if found else None,
            location_id=found[0].id if found else None,
            token=token,
            authorization_reference=request.authorization_reference,
            remote_start_id=remote_start_id,
            reservation_id=request.reservation_id,
            session_id=request.session_id,
            partner_id=request.partner_id,
            response_url=request.response_url,
            version=request.version,
            asked_of=request.asked_of,
            asked_by=request.asked_by,
            idempotency_key=request.idempotency_key,
            parameters=parameters,
        )
        return command, StationCommand(
            kind=request.kind,
            evse_id=evse_id,
            connector_id=connector,
            id_token=tag,
            id_token_type=token.type if token else None,
            group_id=token.group_id if token else None,
            remote_start_id=remote_start_id,
            transaction=transaction,
            parameters=parameters,
        )

    def _target(
        self, request: Request
    ) -> tuple[str, int | None, int | None, tuple[Location, Evse] | None]:
        """Return (station, OCPP evse, OCPP connector, EVSE) that a request is meant for."""
        if request.kind in _OF_SESSIONS and request.session_id is not None:
            for identity, state in self._memory.stations.items():
                if any(t.id == request.session_id for t in state.open_transactions()):
                    return identity, None, None, None
            raise NotFound("session", request.session_id)
        if request.evse_uid is None:
            if request.station is None:
                raise Invalid("station", "say which station or EVSE")
            evse_number = request.parameters.get("evse_id")
            return request.station, evse_number, request.parameters.get("connector_id"), None
        found = self._memory.sites.find_evse(request.evse_uid)
        if found is None or (
            request.location_id is not None and found[0].id.lower() != request.location_id.lower()
        ):
            raise NotFound("evse", request.evse_uid)
        location, evse = found
        if evse.binding is None:
            raise Conflict(f"EVSE {evse.uid!r} is not bound to a station")
        number, connector = ocpp_numbers(evse, request.connector_id)
        return evse.binding.station, number, connector, (location, evse)

    async def close(self) -> None:
        """Leave what is under way; the next start reports it."""
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


def _with_start_profile(parameters: dict[str, Any], number: int) -> dict[str, Any]:
    """Return a remote start's parameters with its profile as OCPP wants it there (CM-09)."""
    profile = parameters.get("profile")
    if profile is None:
        return parameters
    if profile.get("chargingProfilePurpose") != "TxProfile":
        raise Invalid("profile.chargingProfilePurpose", "is TxProfile in a remote start")
    if "transactionId" in profile:
        raise Invalid("profile.transactionId", "is not known before the start")
    return {**parameters, "profile": {"id": number, **profile}}


def _for_a_transaction(request: Request) -> bool:
    profile = request.parameters.get("profile")
    return (
        request.kind is CommandKind.SET_CHARGING_PROFILE
        and isinstance(profile, dict)
        and profile.get("chargingProfilePurpose") == "TxProfile"
    )


def ocpp_numbers(evse: Evse, connector_id: str | None) -> tuple[int | None, int | None]:
    """Return the OCPP evse and connector numbers of an EVSE (MAP-2).

    For OCPP 1.6 the first is the connectorId. Raises Invalid for a connector it does not have.
    """
    binding = evse.binding
    ids = [connector.id for connector in evse.connectors]
    if connector_id is not None and connector_id not in ids:
        raise Invalid("connector_id", f"EVSE {evse.uid!r} has no connector {connector_id!r}")
    if binding is None:
        return None, None
    if binding.connector_ids:
        chosen = connector_id or next(iter(binding.connector_ids))
        return binding.connector_ids[chosen], 1
    if connector_id is None:
        return binding.evse_id, None
    number = int(connector_id) if connector_id.isdecimal() else ids.index(connector_id) + 1
    return binding.evse_id, number
