"""Telling partners what became of their commands: once, in time (CMD-2 to CMD-8)."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

import structlog

from cpo.domain.command import Command, CommandKind, Outcome
from cpo.domain.values import replace
from cpo.errors import CpoError
from cpo.ocpi.client import Answer, Client
from cpo.ocpi.delivery import Failure
from cpo.ocpi.dialect import Dialect
from cpo.ocpi.freight import Speaks
from cpo.services.partners import Partners
from cpo.services.ports import Now, Store, Work

log = structlog.get_logger()

TRIES = 3
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
# A result that comes after its time is worth nothing to the driver, but the eMSP may have waited
# for our restart.
LATEST = timedelta(minutes=5)
# How long a stop waits for results that are under way, in seconds.
LAST_WORDS = 3.0

RESULTS = {
    Outcome.SCHEDULED: "ACCEPTED",
    # The connection broke meanwhile: the station may have heard it.
    Outcome.OFFLINE: "TIMEOUT",
}

Party = tuple[str, str]


class Results:
    """Posts the results of commands to the URLs that partners named, none of them twice.

    That a result is about to leave is on disk before it does. After a restart one that had begun
    and whose end nobody knows is not posted again: the partner may have it (decision 0009).
    """

    def __init__(
        self,
        *,
        client: Client,
        speaks: Speaks,
        partners: Partners,
        store: Store,
        dialects: Mapping[str, Dialect],
        now: Now,
    ) -> None:
        self._client = client
        self._speaks = speaks
        self._partners = partners
        self._store = store
        self._dialects = dialects
        self._now = now
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self.before: list[Callable[[Command], Awaitable[None]]] = []
        self.body: dict[CommandKind, Callable[[Command], bytes]] = {}

    async def finished(self, command: Command) -> None:
        """Take note that a command ended; its partner is told in the background."""
        for listener in self.before:
            await listener(command)
        if command.response_url is None or command.partner_id is None:
            return
        # That it is offline was the immediate answer: there is no second one (CMD-2).
        if command.reported_at is not None or command.refused_at_once:
            return
        task = asyncio.create_task(self._report(command, command.response_url))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Let what is under way end; what has not begun is posted after the next start."""
        self._stopping.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST_WORDS)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def cancelled(
        self,
        partner_id: str,
        version: str,
        url: str,
        *,
        us: Party | None = None,
        them: Party | None = None,
    ) -> None:
        """Tell a partner that we cancelled its reservation (CMD-15); 2.1.1 has no word for it.

        In the name of the party whose location it was, to the one that made it behind a hub.
        """
        dialect = self._dialects[version]
        if "CANCEL_RESERVATION" not in dialect.commands:
            return
        body = dialect.codec.command_result("CANCELED_RESERVATION")
        for attempt in range(TRIES):
            if attempt and not await self._pause(attempt):
                return
            answer = await self._post(partner_id, version, url, body, us, them)
            if answer is None or not may_be_tried_again(answer):
                return

    async def _report(self, command: Command, url: str) -> None:
        try:
            if command.reporting_at is not None:
                log.warning(
                    "command.result_maybe_told", command=command.id, partner=command.partner_id
                )
            elif self._now() - command.deadline <= LATEST and not await self._tell(command, url):
                return
            await self._keep(replace(command, reported_at=self._now()))
        except CpoError as error:
            log.warning("command.result_not_noted", command=command.id, error=str(error))

    async def _tell(self, command: Command, url: str) -> bool:
        """Post a result; returns whether nothing more is to be done about it."""
        partner_id, version = command.partner_id or "", command.version or ""
        answer: Answer | None = None
        attempt = -1
        # As long as the eMSP waits for it, and TRIES times at least.
        while (attempt := attempt + 1) < TRIES or self._now() < command.deadline:
            if attempt and not await self._pause(attempt):
                return False
            if self._stopping.is_set():
                return False
            try:
                await self._keep(replace(command, reporting_at=self._now()))
            except CpoError as error:
                log.warning("command.result_waits", command=command.id, error=str(error))
                continue
            answer = await self._post(
                partner_id, version, url, self._body(command), command.asked_of, command.asked_by
            )
            if answer is None or not may_be_tried_again(answer):
                return True
            # It surely has not been taken: a restart from here on may post it.
            await self._keep(command)
        return answer is not None

    async def _post(
        self,
        partner_id: str,
        version: str,
        url: str,
        body: bytes,
        us: Party | None = None,
        them: Party | None = None,
    ) -> Answer | None:
        """Post a bare object to a URL that a partner named; an ordinary OCPI request (CMD-4).

        Behind a hub it is addressed to the party that asked. None when the partner is gone.
        """
        partner = self._partners.get(partner_id)
        if partner is None or partner.token_out is None:
            return None
        line = self._speaks.line(partner, us, them)
        answer = await self._client.request(line, "POST", url, body=body)
        if not answer.ok:
            log.warning(
                "command.result_not_taken",
                partner=partner_id,
                version=version,
                failure=answer.failure,
                detail=answer.detail,
            )
        return answer

    async def _pause(self, attempt: int) -> bool:
        """Wait before another attempt; returns False when the server stops meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)):
                await self._stopping.wait()
        return not self._stopping.is_set()

    async def _keep(self, command: Command) -> None:
        work = Work()
        work.put(command)
        await self._store.commit(work)

    def _body(self, command: Command) -> bytes:
        special = self.body.get(command.kind)
        if special is not None:
            return special(command)
        outcome = command.outcome or Outcome.FAILED
        codec = self._dialects[command.version or "2.2.1"].codec
        # How a station calls itself is not the partner's business (S4).
        detail = command.detail and command.detail.replace(command.station, "…")
        return codec.command_result(RESULTS.get(outcome, outcome), detail)


def may_be_tried_again(answer: Answer) -> bool:
    """Whether a result that was not confirmed may be posted again (CMD-8).

    Only when the partner surely has not taken it: no connection, or an answer that says so. One
    that was sent and never answered may have arrived.
    """
    if answer.ok or answer.failure in {Failure.REFUSED, Failure.MISSING}:
        return False
    return answer.unsent or answer.http_status is not None
