"""Local authorization lists, kept in step with the tokens at every station that has one (AU-12).

In the background, never on the path of a message. What a station has is known by its version: the
list of a version is on disk before anything builds on it; when the versions differ, all is sent.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Protocol

import structlog

from cpo.domain.command import CommandKind, Outcome, Reply, StationCommand
from cpo.domain.local_list import Capacity, Entry, digest_of, entries_of, plan
from cpo.domain.session import Session
from cpo.domain.tokens import Token
from cpo.errors import Conflict, CpoError, NotFound
from cpo.services.list_tokens import ListTokens
from cpo.services.memory import Memory, StationState
from cpo.services.ports import Audit, StationDocument, StationLink, Store, Work

log = structlog.get_logger()

KIND: Final = "local-list"
STATE: Final = "state"
# Contents are kept once, by their digest, under a name that no station can have.
SHELF: Final = "\x1flocal lists"
_AT_ONCE: Final = 20
_CONTENTS: Final = 64
_ATTEMPTS: Final = 5
_WITHDRAWN_AFTER: Final = 1.0
_FIRST_RETRY: Final = 60.0
_LAST_RETRY: Final = 3600.0
_DEFAULT_PER_MESSAGE: Final = 50
_DEFAULT_BYTES: Final = 16_000

_FEATURES = "Configuration/SupportedFeatureProfiles"
_ENABLED = {"1.6": "Configuration/LocalAuthListEnabled", "2": "LocalAuthListCtrlr/Enabled"}
# Where a station says how long its list, a message, and a message in bytes may be.
_LIMITS: Final = {
    "1.6": (
        "Configuration/LocalAuthListMaxLength",
        "Configuration/SendLocalListMaxLength",
        "",
    ),
    "2": (
        "LocalAuthListCtrlr/Entries#max",
        "LocalAuthListCtrlr/ItemsPerMessage",
        "LocalAuthListCtrlr/BytesPerMessage",
    ),
}
_QUESTIONS: Final = {
    "1.6": [
        {"key": key}
        for key in (
            "LocalAuthListEnabled",
            "LocalAuthListMaxLength",
            "SendLocalListMaxLength",
            "SupportedFeatureProfiles",
        )
    ],
    "2": [
        {"component": "LocalAuthListCtrlr", "variable": variable}
        for variable in ("Enabled", "ItemsPerMessage", "BytesPerMessage", "Entries")
    ],
}


class Links(Protocol):
    """Finds the live connection of a station."""

    def link(self, identity: str) -> StationLink | None:
        """Return the live connection of a station, or None when it is offline."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRules:
    """What the operator sets: `mode` is auto, on or off; `interval` and `delay` in seconds."""

    mode: str = "auto"
    interval: float = 60.0
    delay: float = 10.0
    most_entries: int = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a station's list stands, as it is kept.

    `list` is the digest of what the station has in `version`; None when that is not known.
    `most` is how many entries it takes, where it was found out by trying.
    """

    state: str = "unknown"
    version: int = 0
    list: str | None = None
    entries: int = 0
    synced_at: str | None = None
    error: str | None = None
    tries: int = 0
    most: int | None = None
    firmware: str | None = None


class LocalLists:
    """Brings lists up to date: after boots, after changes of tokens, when the operator asks."""

    def __init__(
        self,
        memory: Memory,
        store: Store,
        links: Links,
        tokens: ListTokens,
        *,
        now: Callable[[], datetime],
        rules: ListRules,
        template_mode: Callable[[StationState], str | None] = lambda _: None,
    ) -> None:
        self._memory = memory
        self._store = store
        self._links = links
        self._tokens = tokens
        self._now = now
        self._rules = rules
        self._template_mode = template_mode
        self._standings: dict[str, Standing] = {}
        # The connection over which a station's version was last seen to be the one we know.
        self._verified: dict[str, StationLink] = {}
        self._retry_at: dict[str, datetime] = {}
        self._asked: set[tuple[str, str | None]] = set()
        self._contents: OrderedDict[str, tuple[Entry, ...]] = OrderedDict()
        self._wanted: dict[tuple[str, int], tuple[Any, tuple[Entry, ...], str]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._sweeping: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Read how the lists stand, and forget contents that no station has any more."""
        for found in await self._store.documents_of_kind(KIND):
            if found.station != SHELF:
                self._standings[found.station] = Standing(**found.document)
        used = {standing.list for standing in self._standings.values()}
        work = Work()
        for content in await self._store.documents(SHELF):
            if content.key not in used:
                work.delete(content)
        if work.ops:
            await self._store.commit(work)

    # --- what happens -----------------------------------------------------------------------------

    def tokens_changed(self, tokens: Iterable[Token]) -> None:
        """Let changes reach the stations: gathered for a while, a withdrawal at once."""
        before = self._tokens.generation
        withdrawn = self._tokens.changed(tokens)
        if self._tokens.generation != before and self._rules.mode != "off":
            self._later(_WITHDRAWN_AFTER if withdrawn else self._rules.interval)

    def used(self, session: Session) -> None:
        """Learn which tokens charge, for those come first."""
        self._tokens.use.session(session)

    def booted(self, identity: str) -> None:
        """Look at a station's list again: it may have lost it."""
        self._verified.pop(identity, None)
        self._retry_at.pop(identity, None)
        self._later(self._rules.delay)

    def _later(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        if self._timer is not None and self._due is not None and self._due <= due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = loop.call_later(seconds, self._wake)

    def _wake(self) -> None:
        self._timer = None
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = asyncio.get_running_loop().create_task(self._swept())
        else:
            self._later(_WITHDRAWN_AFTER)

    async def _swept(self) -> None:
        try:
            await self.sweep()
        except CpoError as error:
            log.warning("local_list.sweep_failed", error=str(error))

    async def sweep(self) -> None:
        """Start on every station whose list is not known to be what it should be."""
        if self._rules.mode == "off" and not self._standings:
            return
        if not any(state.link is not None for state in self._memory.stations.values()):
            return
        await self._tokens.refresh()
        for identity, state in list(self._memory.stations.items()):
            if not self._needs(identity, state):
                continue
            if identity in self._tasks:
                # What is under way may have begun before the last change.
                self._later(_WITHDRAWN_AFTER)
            else:
                task = asyncio.get_running_loop().create_task(self._one(identity))
                self._tasks[identity] = task
                task.add_done_callback(partial(self._done, identity))

    def _needs(self, identity: str, state: StationState) -> bool:
        link = state.link
        standing = self._standings.get(identity, Standing())
        if link is None or state.record.boot is None:
            return False
        if self._mode(state) == "off" and not standing.entries:
            return False
        booted_at = state.record.booted_at
        if booted_at is not None and self._now() - booted_at < timedelta(seconds=self._rules.delay):
            self._later(self._rules.delay)
            return False
        retry_at = self._retry_at.get(identity)
        if retry_at is not None and retry_at > self._now():
            return False
        if standing.state in ("not-supported", "disabled") and standing.firmware == _firmware(
            state
        ):
            return False
        wanted, digest = self._list(state, _family(link), self._most(standing))
        if not standing.version and not wanted:
            return False
        return self._verified.get(identity) is not link or standing.list != digest

    async def _one(self, identity: str) -> None:
        async with self._turns:
            await self._sync(identity, whole=False)

    def _done(self, identity: str, task: "asyncio.Task[None]") -> None:
        self._tasks.pop(identity, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, CpoError):
                raise error
            log.warning("local_list.failed", station=identity, error=str(error))

    async def close(self) -> None:
        """Stop what is under way; the next boot or sweep does it."""
        if self._timer is not None:
            self._timer.cancel()
        tasks = [*self._tasks.values(), *([self._sweeping] if self._sweeping else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- one station ------------------------------------------------------------------------------

    async def _sync(self, identity: str, *, whole: bool) -> None:
        state = self._state(identity)
        link = self._links.link(identity)
        if link is None:
            return
        standing = self._standings.get(identity, Standing())
        ruled_out = await self._ruled_out(identity, state, link)
        if ruled_out is not None:
            await self._keep(identity, replace(standing, state=ruled_out, error=None))
            return
        version = standing.version
        if whole or self._verified.get(identity) is not link:
            reply = await link.execute(StationCommand(kind=CommandKind.GET_LOCAL_LIST_VERSION))
            found = _version_of(reply)
            if found is None or found < 0:
                await self._failed(identity, standing, _why_no_version(reply), reply.detail)
                return
            version = found
        await self._bring(identity, link, standing, version, whole=whole)

    async def _bring(
        self, identity: str, link: StationLink, standing: Standing, version: int, *, whole: bool
    ) -> None:
        """Send until the station has what it should have, or says that it will not."""
        known = None if whole or version != standing.version else await self._known(standing)
        for _ in range(_ATTEMPTS):
            capacity = await self._capacity(identity, link, standing)
            wanted, digest = self._list(self._state(identity), _family(link), capacity.entries)
            todo = plan(known, wanted, capacity)
            version = max(version, standing.version)
            status, detail = "Accepted", None
            for update_type, part in todo.messages():
                version += 1
                status, detail = await self._send(link, version, update_type, part)
                if status != "Accepted":
                    break
                standing = replace(standing, version=version, list=None)
            if status == "Accepted":
                self._verified[identity] = link
                await self._in_step(identity, standing, version, digest, wanted)
                return
            if status == "VersionMismatch":
                found = _version_of(
                    await link.execute(StationCommand(kind=CommandKind.GET_LOCAL_LIST_VERSION))
                )
                version, known = max(version, found or 0), None
            elif status == "Failed" and todo.update_type == "Differential":
                known = None
            elif status == "Failed" and len(wanted) > 1:
                # Perhaps it was too long: the more important half then.
                standing, known = replace(standing, most=len(wanted) // 2), None
            else:
                break
        states = {"NotSupported": "not-supported", "Offline": "pending"}
        await self._failed(identity, standing, states.get(status, "failed"), detail or status)

    async def _send(
        self, link: StationLink, version: int, update_type: str, part: Iterable[Mapping[str, Any]]
    ) -> tuple[str, str | None]:
        reply = await link.execute(
            StationCommand(
                kind=CommandKind.SEND_LOCAL_LIST,
                parameters={"version": version, "update_type": update_type, "entries": list(part)},
            )
        )
        if reply.outcome is Outcome.NOT_SUPPORTED:
            return "NotSupported", reply.detail
        if reply.outcome in (Outcome.OFFLINE, Outcome.TIMEOUT):
            return "Offline", reply.detail
        return str(reply.payload.get("status") or "Failed"), reply.detail

    async def _in_step(
        self,
        identity: str,
        standing: Standing,
        version: int,
        digest: str,
        wanted: tuple[Entry, ...],
    ) -> None:
        self._contents[digest] = wanted
        self._retry_at.pop(identity, None)
        done = replace(
            standing,
            state="in-step",
            version=version,
            list=digest,
            entries=len(wanted),
            synced_at=self._now().isoformat(),
            error=None,
            tries=0,
        )
        work = Work()
        if await self._store.document(SHELF, KIND, digest) is None:
            rows = [[e.id, e.type, e.group, e.expires_at] for e in wanted]
            work.put(StationDocument(SHELF, KIND, digest, {"entries": rows}, self._now()))
        await self._keep(identity, done, work)

    async def _failed(
        self, identity: str, standing: Standing, state: str, error: str | None
    ) -> None:
        tries = standing.tries + 1
        wait = min(_FIRST_RETRY * 2 ** min(tries - 1, 10), _LAST_RETRY)
        self._retry_at[identity] = self._now() + timedelta(seconds=wait)
        log.info("local_list.not_in_step", station=identity, state=state, error=error)
        await self._keep(identity, replace(standing, state=state, error=error, tries=tries))

    async def _keep(self, identity: str, standing: Standing, work: Work | None = None) -> None:
        standing = replace(standing, firmware=_firmware(self._state(identity)))
        if standing == self._standings.get(identity):
            return
        work = work or Work()
        work.put(StationDocument(identity, KIND, STATE, asdict(standing), self._now()))
        work.then(lambda _: self._standings.__setitem__(identity, standing))
        await self._store.commit(work)

    # --- what a station can, and what it should have ----------------------------------------------

    def _mode(self, state: StationState) -> str:
        own = (state.record.settings or {}).get("local_list")
        return own or self._template_mode(state) or self._rules.mode

    async def _ruled_out(self, identity: str, state: StationState, link: StationLink) -> str | None:
        """Return why a station gets no list: it has none, or it is switched off there."""
        if self._mode(state) in ("on", "off"):
            return None
        family = _family(link)
        values = await self._values(identity, family)
        question = (identity, _firmware(state))
        if _ENABLED[family] not in values and question not in self._asked:
            self._asked.add(question)
            await self._ask(link, family)
            values = await self._values(identity, family)
        enabled = values.get(_ENABLED[family])
        features = values.get(_FEATURES)
        if enabled is None and not (features and "LocalAuthListManagement" in features):
            return "not-supported"
        return "disabled" if enabled is not None and enabled.lower() == "false" else None

    async def _ask(self, link: StationLink, family: str) -> None:
        await link.execute(
            StationCommand(
                kind=CommandKind.GET_VARIABLES, parameters={"variables": _QUESTIONS[family]}
            )
        )

    async def _values(self, identity: str, family: str) -> dict[str, str]:
        found = {}
        prefix = _ENABLED[family].partition("/")[0] + "/"
        for kept in await self._store.documents(identity, "variable", prefix=prefix):
            for attribute in kept.document.get("attributes") or ():
                if attribute.get("value") is not None:
                    found[kept.key] = str(attribute["value"])
            limits = kept.document.get("characteristics") or {}
            if limits.get("maxLimit") is not None:
                found[f"{kept.key}#max"] = str(limits["maxLimit"])
        return found

    async def _capacity(self, identity: str, link: StationLink, standing: Standing) -> Capacity:
        family = _family(link)
        values = await self._values(identity, family)
        names = _LIMITS[family]
        entries, items, size = (_number(values.get(name)) for name in names)
        most = self._most(standing)
        return Capacity(
            entries=min(most, entries) if entries else most,
            per_message=items or _DEFAULT_PER_MESSAGE,
            bytes_per_message=size or (_DEFAULT_BYTES if items is None else 1 << 17),
        )

    def _most(self, standing: Standing) -> int:
        return min(standing.most or self._rules.most_entries, self._rules.most_entries)

    def _list(self, state: StationState, family: str, limit: int) -> tuple[tuple[Entry, ...], str]:
        """Return what a list of this length should hold, and its digest; nothing when it is off."""
        if self._mode(state) == "off":
            return (), digest_of(())
        standing = self._tokens.standing()
        known = self._wanted.get((family, limit))
        if known is None or known[0] != standing:
            entries = entries_of(self._tokens.ordered(), family, limit)
            known = self._wanted[family, limit] = (standing, entries, digest_of(entries))
            if len(self._wanted) > _CONTENTS:
                self._wanted.pop(next(iter(self._wanted)))
        return known[1], known[2]

    async def _known(self, standing: Standing) -> tuple[Entry, ...] | None:
        """Return what a station has, as far as that is known."""
        if standing.version == 0 or standing.list is None:
            return None
        if standing.list not in self._contents:
            kept = await self._store.document(SHELF, KIND, standing.list)
            if kept is None:
                return None
            self._contents[standing.list] = tuple(Entry(*row) for row in kept.document["entries"])
        while len(self._contents) > _CONTENTS:
            self._contents.popitem(last=False)
        return self._contents.get(standing.list)

    # --- the operator -----------------------------------------------------------------------------

    def view(self, identity: str) -> dict[str, Any]:
        """Return how a station's list stands; NotFound for no station."""
        state = self._state(identity)
        standing = self._standings.get(identity, Standing())
        mode = self._mode(state)
        return {
            "station": identity,
            "mode": mode,
            "state": "off" if mode == "off" else standing.state,
            "version": standing.version,
            "entries": standing.entries,
            "synced_at": standing.synced_at,
            "error": standing.error,
            "tries": standing.tries,
            "online": state.online,
        }

    def overview(self) -> dict[str, Any]:
        """Return every station's list, and how many stand how."""
        items = [self.view(identity) for identity in sorted(self._memory.stations)]
        return {"items": items, "states": dict(Counter(item["state"] for item in items))}

    async def sync_now(self, identity: str, *, whole: bool, actor: str) -> dict[str, Any]:
        """Bring a station's list up to date now, from scratch if asked.

        Raises NotFound, Conflict when the station is offline, or its list is switched off.
        """
        state = self._state(identity)
        if self._links.link(identity) is None:
            raise Conflict(f"station {identity!r} is offline")
        if self._mode(state) == "off":
            raise Conflict("local lists are switched off for this station")
        work = Work()
        work.put(Audit(self._now(), actor, "local-list.sync", identity))
        await self._store.commit(work)
        running = self._tasks.get(identity)
        if running is not None:
            await asyncio.wait([running])
        self._verified.pop(identity, None)
        self._asked.discard((identity, _firmware(state)))
        await self._tokens.refresh()
        await self._sync(identity, whole=whole)
        return self.view(identity)

    def _state(self, identity: str) -> StationState:
        state = self._memory.stations.get(identity)
        if state is None:
            raise NotFound("station", identity)
        return state


def _family(link: StationLink) -> str:
    return link.version if link.version in _QUESTIONS else "2"


def _firmware(state: StationState) -> str | None:
    return state.record.boot.firmware_version if state.record.boot is not None else None


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    number = text.strip().split(".")[0]
    return int(number) if number.isdecimal() and int(number) > 0 else None


def _version_of(reply: Reply) -> int | None:
    found = reply.payload.get("listVersion", reply.payload.get("versionNumber"))
    return found if isinstance(found, int) and reply.outcome is Outcome.ACCEPTED else None


def _why_no_version(reply: Reply) -> str:
    unsupported = reply.outcome in (Outcome.NOT_SUPPORTED, Outcome.ACCEPTED)
    return "not-supported" if unsupported else "pending"
