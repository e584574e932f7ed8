"""Real-time authorization at an eMSP, within a time the charger's driver would wait (TOK-21)."""

import asyncio
import random
from dataclasses import replace
from typing import Any

import structlog

from cpo.domain.partner import Partner
from cpo.errors import Invalid
from cpo.ocpi.client import Answer, Client, first_object
from cpo.ocpi.delivery import CLOSED, PARTNER_FAULTS, Breaker, Failure, Patience
from cpo.ocpi.envelope import Status, with_query
from cpo.ocpi.freight import Speaks
from cpo.services.ports import RealTimeAnswer

log = structlog.get_logger()


class RealTime:
    """Asks eMSPs; implements ports.Authorizer. A silent eMSP is not asked for a while."""

    def __init__(
        self, client: Client, speaks: Speaks, *, timeout: float, patience: Patience
    ) -> None:
        self._client = client
        self._speaks = speaks
        self._timeout = timeout
        self._patience = patience
        self._breakers: dict[str, Breaker] = {}

    async def ask(
        self,
        partner: Partner,
        token_uid: str,
        token_type: str,
        *,
        location_id: str | None,
        evse_uids: tuple[str, ...],
    ) -> RealTimeAnswer | None:
        """Return the eMSP's answer; None when it gave none in time, or nothing one can read.

        An answer that the token is unknown is an answer: HTTP 404 and status 2004 both mean it
        (TOK-22).
        """
        base = partner.endpoint("tokens", "SENDER")
        if base is None or partner.version is None or partner.token_out is None:
            return None
        loop = asyncio.get_running_loop()
        breaker = self._breakers.get(partner.id, CLOSED)
        if breaker.until is not None and loop.time() < breaker.until:
            return None
        dialect = self._speaks.dialect(partner, partner.version)
        line = self._speaks.line(partner)
        if partner.is_hub:
            # Who issued it is what the hub has to find out (HDR-6).
            line = replace(line, them=None)
        url = with_query(line.url(base, token_uid, "authorize"), {"type": token_type})
        body = (
            None
            if location_id is None
            else dialect.codec.location_references(location_id, evse_uids)
        )
        answer = await self._client.request(line, "POST", url, body=body, timeout=self._timeout)
        self._judge(partner.id, answer, loop.time())
        if _unknown(answer):
            return RealTimeAnswer(allowed=None)
        if not answer.ok:
            log.info("token.not_authorized_in_time", partner=partner.id, detail=answer.detail)
            return None
        return self._read(partner, dialect.codec, answer)

    def _read(self, partner: Partner, codec: Any, answer: Answer) -> RealTimeAnswer | None:
        try:
            found: RealTimeAnswer = codec.read_authorization_info(
                first_object(answer.data), partner_id=partner.id
            )
        except Invalid as error:
            log.warning("token.answer_not_readable", partner=partner.id, problem=str(error))
            return None
        token = found.token
        if token is not None and not partner.speaks_for(token.country_code, token.party_id):
            log.warning("token.answer_of_foreign_party", partner=partner.id)
            return None
        return found

    def _judge(self, partner_id: str, answer: Answer, now: float) -> None:
        if answer.failure in PARTNER_FAULTS and answer.failure is not None:
            self._breakers[partner_id] = self._breakers.get(partner_id, CLOSED).failed(
                answer.failure,
                now,
                self._patience,
                jitter=random.random(),
                asked=answer.retry_after,
            )
        else:
            self._breakers.pop(partner_id, None)


def _unknown(answer: Answer) -> bool:
    return (
        answer.failure is Failure.MISSING and answer.http_status == 404
    ) or answer.envelope.status_code == Status.UNKNOWN_TOKEN
