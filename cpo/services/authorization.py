"""May this driver charge here: command, own list, whitelist, real-time question (design D12)."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from cpo.domain.events import IdToken
from cpo.domain.partner import Partner, PartnerStatus
from cpo.domain.tokens import (
    ID_TAG_LENGTH,
    OCPI_TYPES,
    Allowed,
    AuthMethod,
    Authorization,
    Token,
    Verdict,
    alias_of,
    decide,
    must_ask,
    question_type,
    spellings,
)
from cpo.domain.values import replace
from cpo.services.intake import TokenAnswer
from cpo.services.memory import Memory, StationState
from cpo.services.ports import Authorizer, RealTimeAnswer, Store
from cpo.services.publishing import PartnerBook

log = structlog.get_logger()

# A StartTransaction follows its Authorize: the eMSP is not asked twice within this time (TOK-28).
REMEMBERED = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRules:
    """What the operator sets about authorization.

    Tokens of `master_pass_group` stop every transaction and start none. Stations keep an accepted
    token in their cache for `cached` (None: as long as they like), one that its eMSP has to be
    asked about for `cached_if_asked`. Unless `concurrent`, who charges starts no second charge.
    """

    master_pass_group: str | None = None
    cached: timedelta | None = None
    cached_if_asked: timedelta = timedelta(minutes=15)
    concurrent: bool = True


@dataclass(frozen=True, slots=True)
class Expected:
    """A remote start that a transaction of this token at this station will answer.

    `transaction` is the station's own id of it, where the answer to the start named one. `tag` is
    what stands for the token at this station, where it is another one.
    """

    command_id: str
    token: Token
    authorization_reference: str | None
    until: datetime
    evse_id: int | None = None
    remote_start_id: int | None = None
    transaction: str | None = None
    tag: str | None = None


def _spoken(expected: Expected) -> set[str]:
    """Return what a station may call the token of a remote start."""
    uid = expected.token.uid
    return {name.upper() for name in (uid, alias_of(uid), expected.tag) if name is not None}


class Authorizations:
    """Decides about idTokens."""

    def __init__(
        self,
        store: Store,
        memory: Memory,
        partners: PartnerBook,
        authorizer: Authorizer,
        *,
        now: Callable[[], datetime],
        rules: AuthorizationRules | None = None,
    ) -> None:
        self._store = store
        self._memory = memory
        self._rules = rules or AuthorizationRules()
        self._sites = memory.sites
        self._partners = partners
        self._authorizer = authorizer
        self._now = now
        self._expected: dict[str, list[Expected]] = {}

    def expect(self, station: str, expected: Expected) -> None:
        """Remember a remote start, so that its transaction is known when it comes (CMD-12).

        One whose transaction has been named is known already, or has come meanwhile (CM-10).
        """
        entries = self._expected.setdefault(station, [])
        if expected.transaction is None:
            entries.append(expected)
            return
        for place, entry in enumerate(entries):
            if entry.command_id == expected.command_id:
                entries[place] = expected

    def expected(
        self,
        station: str,
        token: str | None,
        *,
        evse_id: int | None,
        remote_start_id: int | None,
        take: bool,
        transaction: str | None = None,
    ) -> Expected | None:
        """Find the remote start that a transaction, an idToken or remoteStartId answers."""
        entries = self._expected.get(station)
        if not entries:
            return None
        now = self._now()
        entries[:] = [entry for entry in entries if entry.until > now]
        for entry in entries:
            by_id = remote_start_id is not None and entry.remote_start_id == remote_start_id
            by_name = transaction is not None and entry.transaction == transaction
            by_token = (
                remote_start_id is None
                and token is not None
                and token.upper() in _spoken(entry)
                and (evse_id is None or entry.evse_id is None or evse_id == entry.evse_id)
            )
            if by_id or by_name or by_token:
                if take:
                    entries.remove(entry)
                return entry
        return None

    def passed_over(self, station: str, evse_id: int | None) -> bool:
        """Tell whether a remote start is still awaited at an EVSE (CM-05)."""
        now = self._now()
        return evse_id is not None and any(
            entry.until > now and entry.evse_id == evse_id
            for entry in self._expected.get(station) or ()
        )

    def answer(self, decision: Authorization) -> TokenAnswer:
        """Say a decision in what a station can be told, and how long it may rely on it (TOK-31)."""
        token = decision.token
        if token is None:
            return TokenAnswer(decision.verdict, message=decision.message)
        expires_at = token.expires_at
        if decision.verdict is Verdict.ACCEPTED:
            asked = must_ask(token) or decision.auth_method is not AuthMethod.WHITELIST
            lifetime = self._rules.cached_if_asked if asked else self._rules.cached
            if lifetime is not None:
                until = self._now() + lifetime
                expires_at = min(expires_at, until) if expires_at is not None else until
        return TokenAnswer(
            decision.verdict, token.group_id, expires_at=expires_at, message=decision.message
        )

    def is_master_pass(self, token: Token | None) -> bool:
        """Tell whether a token belongs to the group that may stop what others started (AU-11)."""
        group = self._rules.master_pass_group
        return group is not None and token is not None and token.group_id == group

    def may_stop(self, token: Token | None, started: Token | None) -> bool:
        """Tell whether a token may stop what another one started: same group, or master pass."""
        if token is None or started is None:
            return False
        same = (token.uid.upper(), token.partner_id) == (started.uid.upper(), started.partner_id)
        grouped = token.group_id is not None and token.group_id == started.group_id
        return same or grouped or self.is_master_pass(token)

    async def authorize_start(
        self, state: StationState, id_token: IdToken, *, evse_id: int | None
    ) -> Authorization:
        """Decide whether an idToken may start a transaction: a master pass may not.

        One that charges elsewhere may not where the operator says so, but by its eMSP's command
        (AU-05).
        """
        decision = await self.authorize(state, id_token, evse_id=evse_id, again=True)
        if decision.verdict is not Verdict.ACCEPTED:
            return decision
        if self.is_master_pass(decision.token):
            return replace(decision, verdict=Verdict.INVALID)
        by_command = decision.auth_method is AuthMethod.COMMAND
        if not self._rules.concurrent and not by_command and self._charges(decision.token):
            return replace(decision, verdict=Verdict.CONCURRENT)
        return decision

    def _charges(self, token: Token | None) -> bool:
        """Tell whether a token has a charge that runs, at whatever station."""
        return token is not None and any(
            one.running
            and one.verdict is Verdict.ACCEPTED
            and one.token is not None
            and (one.token.uid.upper(), one.token.partner_id)
            == (token.uid.upper(), token.partner_id)
            for state in self._memory.stations.values()
            for one in state.open_transactions()
        )

    async def authorize(
        self, state: StationState, id_token: IdToken, *, evse_id: int | None, again: bool = False
    ) -> Authorization:
        """Decide about an idToken at a station.

        Args:
            state: the station.
            id_token: who identifies.
            evse_id: the OCPP EVSE, where the message names one.
            again: True for a message that may follow an Authorize: a decision of the last
                minutes is used again instead of asking the eMSP once more.
        """
        now = self._now()
        identity = state.record.identity
        expected = self.expected(
            identity, id_token.value, evse_id=evse_id, remote_start_id=None, take=False
        )
        if expected is not None:
            return Authorization(
                verdict=Verdict.ACCEPTED,
                token=expected.token,
                auth_method=AuthMethod.COMMAND,
                authorization_reference=expected.authorization_reference,
            )
        key = f"{id_token.type}|{id_token.value.upper()}"
        remembered = state.authorizations.get(key)
        # A remote start is the eMSP's word already: the card is not asked about (TOK-28).
        if (
            remembered is not None
            and remembered[1] > now
            and (again or remembered[0].auth_method is AuthMethod.COMMAND)
        ):
            return remembered[0]
        decision = await self._decide(identity, id_token, evse_id, now)
        self.remember(state, id_token, decision)
        return decision

    def recent(self, state: StationState, id_token: IdToken) -> Authorization | None:
        """Return the last decision about an idToken at a station, while it is remembered."""
        known = state.authorizations.get(f"{id_token.type}|{id_token.value.upper()}")
        return known[0] if known is not None else None

    def remember(self, state: StationState, id_token: IdToken, decision: Authorization) -> None:
        """Keep a decision for the messages that follow it at this station."""
        if len(state.authorizations) > 32:
            state.authorizations.clear()
        key = f"{id_token.type}|{id_token.value.upper()}"
        state.authorizations[key] = (decision, self._now() + REMEMBERED)

    async def _decide(
        self, identity: str, id_token: IdToken, evse_id: int | None, now: datetime
    ) -> Authorization:
        if not id_token.value:
            return Authorization(verdict=Verdict.INVALID)
        tokens: list[Token] = []
        for uid in spellings(id_token.value, id_token.type):
            tokens = self._order(await self._tokens(uid), id_token)
            if tokens:
                break
        if not tokens and len(id_token.value) == ID_TAG_LENGTH:
            aliased = await self._store.token_by_alias(id_token.value)
            tokens = [aliased] if aliased is not None else []
        if not tokens:
            return await self._ask_everybody(identity, id_token, evse_id)
        if len(tokens) > 1:
            log.warning("token.held_twice", station=identity, count=len(tokens))
        token = tokens[0]
        if token.partner_id is None or not must_ask(token):
            return Authorization(verdict=decide(token, answer=None, now=now), token=token)
        answer = await self._ask(self._partners.get(token.partner_id), identity, token, evse_id)
        if answer is None:
            return Authorization(verdict=decide(token, answer=None, now=now), token=token)
        return self._answered(answer, token, now)

    async def _tokens(self, uid: str) -> tuple[Token, ...]:
        """Return the tokens of a uid, from memory where it was asked for before (design D2)."""
        known = self._memory.tokens.get(uid)
        if known is None:
            version = self._memory.tokens.version
            known = tuple(await self._store.tokens_by_uid(uid))
            self._memory.tokens.put(uid, known, version)
        return known

    def _order(self, tokens: Iterable[Token], id_token: IdToken) -> list[Token]:
        """Keep the tokens of a fitting type; valid ones first, then by contract order (TOK-5).

        Those of an eMSP that left count no more: nobody would pay for the charge (CRED-9).
        """
        wanted = OCPI_TYPES.get(id_token.type)
        fitting = [
            t for t in tokens if (wanted is None or t.type in wanted) and self._has_contract(t)
        ]
        return sorted(fitting, key=lambda t: (not t.valid, t.partner_id or ""))

    def _has_contract(self, token: Token) -> bool:
        if token.partner_id is None:
            return True
        partner = self._partners.get(token.partner_id)
        return partner is None or partner.status is not PartnerStatus.DISCONNECTED

    def _answered(self, answer: RealTimeAnswer, token: Token, now: datetime) -> Authorization:
        if answer.allowed is None:
            return Authorization(verdict=Verdict.INVALID, token=token)
        try:
            allowed = Allowed(answer.allowed)
        except ValueError:
            allowed = Allowed.NOT_ALLOWED
        return Authorization(
            verdict=decide(token, answer=allowed, now=now),
            token=answer.token or token,
            auth_method=AuthMethod.AUTH_REQUEST,
            authorization_reference=answer.authorization_reference,
            message=answer.message,
        )

    async def _ask(
        self, partner: Partner | None, identity: str, token: Token, evse_id: int | None
    ) -> RealTimeAnswer | None:
        if partner is None or partner.status is not PartnerStatus.CONNECTED:
            return None
        location_id, evse_uids = self._place(identity, evse_id)
        return await self._asked(partner, token.uid, token.type, location_id, evse_uids)

    async def _asked(
        self,
        partner: Partner,
        uid: str,
        token_type: str,
        location_id: str | None,
        evse_uids: tuple[str, ...],
    ) -> RealTimeAnswer | None:
        answer = await self._authorizer.ask(
            partner, uid, token_type, location_id=location_id, evse_uids=evse_uids
        )
        if (
            answer is not None
            and evse_uids
            and answer.evse_uids
            and {uid.lower() for uid in evse_uids}.isdisjoint(u.lower() for u in answer.evse_uids)
        ):
            # The eMSP allows it, but at another EVSE (TOK-22).
            return RealTimeAnswer(allowed=Allowed.NOT_ALLOWED, message=answer.message)
        return answer

    def _place(self, identity: str, evse_id: int | None) -> tuple[str | None, tuple[str, ...]]:
        """Return the location and the EVSEs at which a driver may be (TOK-21)."""
        place = self._sites.place(identity, evse_id)
        return (None, ()) if place is None else (place[0].id, tuple(e.uid for e in place[1]))

    async def _ask_everybody(
        self, identity: str, id_token: IdToken, evse_id: int | None
    ) -> Authorization:
        """Ask the partners about a token nobody gave us (TOK-26); the first that allows it wins.

        All at once: one that is silent must not keep the driver waiting for the others.
        """
        location_id, evse_uids = self._place(identity, evse_id)
        asked = [
            asyncio.create_task(self._asked(partner, id_token.value, kind, location_id, evse_uids))
            for partner, kind in self._to_be_asked(id_token)
        ]
        try:
            for finished in asyncio.as_completed(asked):
                answer = await finished
                if (
                    answer is not None
                    and answer.allowed == Allowed.ALLOWED
                    and answer.token is not None
                ):
                    return Authorization(
                        verdict=Verdict.ACCEPTED,
                        token=answer.token,
                        auth_method=AuthMethod.AUTH_REQUEST,
                        authorization_reference=answer.authorization_reference,
                    )
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        return Authorization(verdict=Verdict.INVALID)

    def _to_be_asked(self, id_token: IdToken) -> Iterator[tuple[Partner, str]]:
        """Yield who may know a token that we do not, and as what each of them knows it."""
        for partner in self._partners.all():
            kind = question_type(id_token.type, partner.version)
            if (
                kind is not None
                and partner.status is PartnerStatus.CONNECTED
                and partner.endpoint("tokens", "SENDER") is not None
                and partner.policy.get("authorize_unknown_tokens", True)
            ):
                yield partner, kind
