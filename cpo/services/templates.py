"""Settings templates, applied on each boot: read what is, write what differs, show the drift.

Never before the answer to the boot is out and a second has passed (BO-09), once per boot (BO-10),
and nothing again that the station refused or does not keep (BO-15).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import structlog

from cpo.domain.command import CommandKind, Outcome, StationCommand
from cpo.domain.settings_template import (
    KEYS,
    VARIABLES,
    Attempt,
    Setting,
    Template,
    read_template,
    state_of,
    template_document,
    to_write,
    wanted,
)
from cpo.errors import Conflict, CpoError, NotFound
from cpo.services.memory import Memory, StationState
from cpo.services.ports import Audit, StationDocument, StationLink, Store, Work

log = structlog.get_logger()

# Kept beside the documents about stations, under a name that no station can have.
SHELF: Final = "\x1fsettings templates"
STATE: Final = "settings"
# Which form of setting a version knows; all but the first know variables.
_FORMS: Final = {"1.6": KEYS}
_AT_ONCE: Final = 10
_OFTEN: Final = 5
_WITHIN: Final = timedelta(minutes=10)
_DEFAULT_ITEMS: Final = 10
_ITEMS: Final = {
    CommandKind.GET_VARIABLES: (
        "DeviceDataCtrlr/ItemsPerMessage[GetVariables]",
        "Configuration/GetConfigurationMaxKeys",
    ),
    CommandKind.SET_VARIABLES: ("DeviceDataCtrlr/ItemsPerMessage[SetVariables]",),
}


class Links(Protocol):
    """Finds the live connection of a station."""

    def link(self, identity: str) -> StationLink | None:
        """Return the live connection of a station, or None when it is offline."""
        ...


class Templates:
    """Keeps the stations' settings as the operator wants them."""

    def __init__(
        self, memory: Memory, store: Store, links: Links, *, now: Callable[[], datetime],
        delay: float = 1.0, built_in: Sequence[Template] = (),
    ) -> None:  # fmt: skip
        self._memory = memory
        self._store = store
        self._links = links
        self._now = now
        self._delay = delay
        self._built_in = tuple(built_in)
        self._templates: dict[str, Template] = {}
        self._boots: dict[str, deque[datetime]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def load(self) -> None:
        """Read the templates."""
        for found in await self._store.documents(SHELF):
            self._templates[found.key] = read_template(found.key, found.document)

    # --- the operator -----------------------------------------------------------------------------

    def all(self) -> list[dict[str, Any]]:
        """Return every template, by id."""
        return [template_document(self._templates[i]) for i in sorted(self._templates)]

    def get(self, id: str) -> dict[str, Any]:
        """Return a template; NotFound for none."""
        if id not in self._templates:
            raise NotFound("settings template", id)
        return template_document(self._templates[id])

    async def put(self, id: str, body: Any, *, actor: str) -> bool:
        """Keep a template; tells whether it is new. It holds from each station's next boot on."""
        template = read_template(id, body)
        new = id not in self._templates
        work = Work()
        work.put(StationDocument(SHELF, "template", id, template_document(template), self._now()))
        work.put(Audit(self._now(), actor, "template.put", id))
        work.then(lambda _: self._templates.__setitem__(id, template))
        await self._store.commit(work)
        return new

    async def remove(self, id: str, *, actor: str) -> None:
        """Forget a template; what it set stays as it is."""
        self.get(id)
        work = Work()
        work.delete(StationDocument(SHELF, "template", id, {}, self._now()))
        work.put(Audit(self._now(), actor, "template.delete", id))
        work.then(lambda _: self._templates.pop(id, None) and None)
        await self._store.commit(work)

    async def view(self, identity: str) -> dict[str, Any]:
        """Return a station's settings as wanted and as they are; NotFound for no station."""
        state = self._state(identity)
        settings = self._wanted(state)
        actual = await self._actual(identity) if settings else {}
        attempts = await self._attempts(identity)
        firmware = _firmware(state)
        items = []
        for name, setting in sorted(settings.items()):
            attempt = attempts.get(name)
            items.append(
                {
                    "name": name,
                    "wanted": setting.value,
                    "actual": actual.get(name),
                    "state": state_of(setting, actual.get(name), attempt, firmware),
                    "answer": attempt.status if attempt is not None else None,
                    "tries": attempt.tries if attempt is not None else 0,
                }
            )
        boot = state.record.boot
        return {
            "station": identity,
            "templates": [i for i, t in sorted(self._templates.items()) if boot and t.fits(boot)],
            "drift": sum(item["state"] != "ok" for item in items),
            "often_booted": self._boots_often(identity),
            "items": items,
        }

    async def apply_now(self, identity: str, *, actor: str) -> dict[str, Any]:
        """Apply at once, also what was refused before; Conflict when the station is offline."""
        self._state(identity)
        if self._links.link(identity) is None:
            raise Conflict(f"station {identity!r} is offline")
        work = Work()
        work.put(Audit(self._now(), actor, "template.apply", identity))
        work.delete(StationDocument(identity, STATE, STATE, {}, self._now()))
        await self._store.commit(work)
        await self._apply(identity)
        return await self.view(identity)

    def local_list_mode(self, state: StationState) -> str | None:
        """Return what templates say of a station's local list; the one that says most wins."""
        boot = state.record.boot
        fitting = [t for t in self._templates.values() if boot is not None and t.fits(boot)]
        said = [t for t in sorted(fitting, key=lambda t: t.rank) if t.local_list is not None]
        return said[-1].local_list if said else None

    # --- boots ------------------------------------------------------------------------------------

    def booted(self, identity: str) -> None:
        """Apply what is wanted of a station once its boot was answered (BO-09, Q11, Q12)."""
        state = self._memory.stations.get(identity)
        if state is None:
            return
        boots = self._boots.setdefault(identity, deque(maxlen=_OFTEN))
        boots.append(self._now())
        if self._boots_often(identity):
            # Perhaps it is our settings that make it boot: leave it alone (BO-10).
            log.warning("station.boots_often", station=identity, count=len(boots), alarm=True)
            return
        if identity in self._tasks or not self._wanted(state):
            return
        task = asyncio.get_running_loop().create_task(self._later(identity))
        self._tasks[identity] = task
        task.add_done_callback(lambda done: self._done(identity, done))

    def _boots_often(self, identity: str) -> bool:
        boots = self._boots.get(identity)
        return boots is not None and len(boots) == _OFTEN and self._now() - boots[0] < _WITHIN

    async def _later(self, identity: str) -> None:
        await asyncio.sleep(self._delay)
        async with self._turns:
            await self._apply(identity)

    def _done(self, identity: str, task: "asyncio.Task[None]") -> None:
        self._tasks.pop(identity, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, CpoError):
                raise error
            log.warning("settings.not_applied", station=identity, error=str(error))

    async def close(self) -> None:
        """Stop what is under way; the next boot does it."""
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    # --- applying ---------------------------------------------------------------------------------

    async def _apply(self, identity: str) -> None:
        state, link = self._state(identity), self._links.link(identity)
        if link is None:
            return
        settings, firmware = self._wanted(state), _firmware(state)
        if not await self._read(identity, link, settings):
            return
        actual = await self._actual(identity)
        attempts = await self._attempts(identity)
        for name, attempt in list(attempts.items()):
            # It has rebooted since: what it kept is now in force, the rest is written again.
            if attempt.status == "RebootRequired":
                attempts[name] = Attempt(**{**asdict(attempt), "status": "Accepted"})
        differing = [
            setting
            for name, setting in settings.items()
            if to_write(state_of(setting, actual.get(name), attempts.get(name), firmware))
        ]
        for part in await self._parts(identity, CommandKind.SET_VARIABLES, differing):
            if not await self._write(link, part, attempts, firmware):
                break
        await self._keep_attempts(
            identity,
            {name: a for name, a in attempts.items() if name in settings},
        )
        left = [
            s.name for s in differing
            if s.name in attempts and attempts[s.name].status != "Accepted"
        ]  # fmt: skip
        log.info("settings.applied", station=identity, written=len(differing), open=left[:20])

    async def _read(
        self, identity: str, link: StationLink, settings: Mapping[str, Setting]
    ) -> bool:
        """Ask a station for what is wanted of it; tells whether it answered."""
        for part in await self._parts(identity, CommandKind.GET_VARIABLES, settings.values()):
            items = [setting.item for setting in part]
            reply = await link.execute(
                StationCommand(kind=CommandKind.GET_VARIABLES, parameters={"variables": items})
            )
            if reply.outcome in (Outcome.TIMEOUT, Outcome.OFFLINE):
                log.info("settings.not_read", station=identity, reason=reply.detail)
                return False
        return True

    async def look_again(self) -> None:
        """Read from every station that is here what is wanted of it, and tell of new drift.

        Somebody at the station, or another system, may have changed it since the boot. Nothing is
        written: what is wanted is written at the next boot, or when the operator says so.
        """
        for identity, state in list(self._memory.stations.items()):
            link, settings = self._links.link(identity), self._wanted(state)
            if link is None or not settings or identity in self._tasks:
                continue
            before = (await self.view(identity))["drift"]
            try:
                async with self._turns:
                    await self._read(identity, link, settings)
                drift = (await self.view(identity))["drift"]
            except CpoError as error:
                log.info("settings.not_read", station=identity, reason=str(error))
                continue
            if drift > before:
                log.warning("settings.drift", station=identity, settings=drift)

    async def _write(
        self, link: StationLink, part: Sequence[Setting],
        attempts: dict[str, Attempt], firmware: str | None,
    ) -> bool:  # fmt: skip
        items = [{**setting.item, "value": setting.value} for setting in part]
        reply = await link.execute(
            StationCommand(kind=CommandKind.SET_VARIABLES, parameters={"variables": items})
        )
        if reply.outcome in (Outcome.TIMEOUT, Outcome.OFFLINE):
            return False
        words = _statuses(reply.payload) or [reply.outcome.value] * len(part)
        for setting, word in zip(part, words, strict=False):
            known = attempts.get(setting.name)
            same = known is not None and (known.value, known.firmware) == (setting.value, firmware)
            tries = known.tries + 1 if known is not None and same else 1
            attempts[setting.name] = Attempt(
                value=setting.value, status=word, tries=tries, firmware=firmware
            )
        return True

    async def _parts(
        self, identity: str, kind: CommandKind, settings: Iterable[Setting]
    ) -> list[list[Setting]]:
        """Cut settings into what one message may hold by the station's own word (BO-17)."""
        rest = list(settings)
        if any(s.form == KEYS for s in rest) and kind is CommandKind.SET_VARIABLES:
            return [[setting] for setting in rest]
        size = _DEFAULT_ITEMS
        for name in _ITEMS[kind] if rest else ():
            known = await self._store.document(identity, "variable", name)
            text = _value(known.document) if known is not None else None
            if text is not None and text.isdecimal() and int(text) > 0:
                size = int(text)
        return [rest[start : start + size] for start in range(0, len(rest), size)]

    async def _actual(self, identity: str) -> dict[str, str]:
        found = {}
        for document in await self._store.documents(identity, "variable"):
            value = _value(document.document)
            if value is not None:
                found[document.key] = value
        return found

    async def _attempts(self, identity: str) -> dict[str, Attempt]:
        kept = await self._store.document(identity, STATE, STATE)
        given: Mapping[str, Any] = kept.document["attempts"] if kept is not None else {}
        return {name: Attempt(**attempt) for name, attempt in given.items()}

    async def _keep_attempts(self, identity: str, attempts: Mapping[str, Attempt]) -> None:
        document = {"attempts": {name: asdict(attempt) for name, attempt in attempts.items()}}
        work = Work()
        work.put(StationDocument(identity, STATE, STATE, document, self._now()))
        await self._store.commit(work)

    def _wanted(self, state: StationState) -> dict[str, Setting]:
        version = state.link.version if state.link is not None else state.record.ocpp_version
        form = _FORMS.get(version or "", VARIABLES)
        own = wanted(self._templates.values(), state.record.boot, form)
        return wanted(self._built_in, state.record.boot, form) | own

    def _state(self, identity: str) -> StationState:
        state = self._memory.stations.get(identity)
        if state is None:
            raise NotFound("station", identity)
        return state


def _firmware(state: StationState) -> str | None:
    return state.record.boot.firmware_version if state.record.boot is not None else None


def _statuses(payload: Mapping[str, Any]) -> list[str]:
    """Return the station's word on each variable, as either version says it."""
    words = payload.get("statuses")
    if words is not None:
        return [str(word) for word in words]
    return [str(r.get("attributeStatus", "")) for r in payload.get("setVariableResult") or ()]


def _value(document: Mapping[str, Any]) -> str | None:
    for attribute in document.get("attributes") or ():
        if attribute.get("type", "Actual") == "Actual" and attribute.get("value") is not None:
            return str(attribute["value"])
    return None
