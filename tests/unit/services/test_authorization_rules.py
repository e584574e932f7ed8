"""Groups, master pass, and how long a station may rely on an answer (AU-03, AU-11, TOK-31)."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from charging import NOON, Charging
from waiting import LONG

from cpo.domain.events import EventKind, IdToken, TransactionEvent
from cpo.domain.partner import Endpoint
from cpo.domain.tokens import Allowed, Token, Verdict, Whitelist
from cpo.services.authorization import AuthorizationRules
from cpo.services.ports import RealTimeAnswer


def event(kind, token, *, seq, **fields):
    return TransactionEvent(
        kind=kind,
        at=NOON,
        received_at=NOON,
        transaction="tx",
        seq=seq,
        evse_id=1,
        connector_id=1,
        id_token=IdToken(token, "ISO14443"),
        **fields,
    )


@pytest.fixture
async def charging():
    made = Charging(rules=AuthorizationRules(master_pass_group="GUARDS"))
    await made.site("CP1")
    made.partner()
    await made.token("TAG", group_id="FAMILY")
    await made.token("AUNT", group_id="FAMILY")
    await made.token("STRANGER")
    await made.token("GUARD", group_id="GUARDS")
    yield made
    await made.transactions.close()
    await made.stations.close()


async def stopped_by(charging, token):
    await charging.told(event(EventKind.STARTED, "TAG", seq=0))
    answer = await charging.told(event(EventKind.ENDED, token, seq=1))
    (transaction,) = charging.memory.stations["CP1"].transactions.values()
    assert not transaction.open
    return answer.token, transaction.flags


@pytest.mark.parametrize(("token", "group"), [("AUNT", "FAMILY"), ("GUARD", "GUARDS")])
async def test_au03_au11_one_of_the_group_and_a_master_pass_may_stop(charging, token, group):
    answer, flags = await stopped_by(charging, token)

    assert answer.verdict is Verdict.ACCEPTED
    assert answer.group == group
    assert "stopped_by_another_token" not in flags


async def test_tx16_12_a_stop_by_a_stranger_is_noted(charging):
    _, flags = await stopped_by(charging, "STRANGER")

    assert "stopped_by_another_token" in flags


async def test_au11_a_master_pass_starts_nothing_but_is_told_its_group(charging):
    asked = await charging.stations.authorize("CP1", IdToken("GUARD", "ISO14443"))
    started = await charging.told(event(EventKind.STARTED, "GUARD", seq=0))

    assert (asked.verdict, asked.group) == (Verdict.ACCEPTED, "GUARDS")
    assert started.token.verdict is Verdict.INVALID


async def test_au11_a_master_pass_does_not_start_by_answering_for_a_car_that_waits(charging):
    waiting = event(EventKind.STARTED, "x", seq=0)
    await charging.told(type(waiting)(**{**_fields(waiting), "id_token": None}))

    answer = await charging.told(event(EventKind.UPDATED, "GUARD", seq=1))

    assert answer.token.verdict is Verdict.INVALID


def _fields(value):
    return {name: getattr(value, name) for name in value.__struct_fields__}


async def test_tok31_what_was_asked_for_is_cached_for_a_while_only(charging):
    await charging.token("ASK", whitelist="NEVER")
    charging.emsp.answers["ASK"] = RealTimeAnswer(allowed=Allowed.ALLOWED)

    asked = await charging.stations.authorize("CP1", IdToken("ASK"))
    known = await charging.stations.authorize("CP1", IdToken("TAG"))

    assert asked.expires_at == NOON + timedelta(minutes=15)
    assert known.expires_at is None


async def test_tok31_the_cache_of_known_tokens_is_a_setting_and_never_outlives_the_token():
    charging = Charging(rules=AuthorizationRules(cached=timedelta(hours=1)))
    await charging.site("CP1")
    await charging.token("TAG")
    await charging.token("SHORT", expires_at=NOON + timedelta(minutes=5))

    whole = await charging.stations.authorize("CP1", IdToken("TAG"))
    short = await charging.stations.authorize("CP1", IdToken("SHORT"))

    assert whole.expires_at == NOON + timedelta(hours=1)
    assert short.expires_at == NOON + timedelta(minutes=5)
    await charging.stations.close()


@pytest.mark.parametrize("kind", ["NoAuthorization", "Local", "KeyCode", "DirectPayment"])
async def test_au09_no_partner_is_asked_about_what_only_we_can_know(charging, kind):
    answer = await charging.stations.authorize("CP1", IdToken("UNKNOWN-TO-ALL", kind))

    assert answer.verdict is Verdict.INVALID
    assert charging.emsp.asked == []


class Several:
    """Partners that answer each in its own way; one that is not named never does."""

    def __init__(self, **answers):
        self.answers = answers
        self.asked = []

    async def ask(self, partner, token_uid, token_type, *, location_id, evse_uids):
        self.asked.append(partner.id)
        if partner.id not in self.answers:
            await asyncio.Event().wait()
        return self.answers[partner.id]


def stranger(evse_uids=None):
    token = Token(
        country_code="DE",
        party_id="FAR",
        uid="FRESH",
        type="RFID",
        contract_id="DE-FAR-1",
        issuer="Far",
        valid=True,
        whitelist=Whitelist.NEVER,
        partner_id="P2",
    )
    return RealTimeAnswer(allowed=Allowed.ALLOWED, token=token, evse_uids=evse_uids)


def asked_of(charging, **answers):
    """Let P1, P2 and P3 be asked about tokens."""
    for number, id_ in enumerate(("P1", "P2", "P3")):
        partner = charging.partner(id_, party=("NL", f"MS{number}"))
        more = Endpoint(identifier="tokens", role="SENDER", url=f"http://{id_}/tokens")
        charging.partners.by_id[id_] = replace(partner, endpoints=(*partner.endpoints, more))
    charging.authorizations._authorizer = Several(**answers)
    return charging.authorizations._authorizer


async def test_tok26_tok24_a_silent_partner_keeps_no_driver_waiting(charging):
    """Promise 4: P1 never answers, and P2 knows the card."""
    emsps = asked_of(charging, P2=stranger(), P3=RealTimeAnswer(allowed=None))

    async with asyncio.timeout(LONG):
        told = await charging.stations.authorize("CP1", IdToken("FRESH", "ISO14443"))

    assert told.verdict is Verdict.ACCEPTED
    assert sorted(emsps.asked) == ["P1", "P2", "P3"]


async def test_tok22_a_card_that_nobody_gave_us_counts_where_its_emsp_allows_it(charging):
    nobody = RealTimeAnswer(allowed=None)
    place = charging.memory.sites.place("CP1", 1)
    words = {}
    for where in ("SOMEWHERE-ELSE", place[1][0].uid):
        asked_of(charging, P1=nobody, P2=stranger((where,)), P3=nobody)
        state = charging.memory.stations["CP1"]
        state.authorizations.clear()
        decision = await charging.authorizations.authorize(
            state, IdToken("FRESH", "ISO14443"), evse_id=1
        )
        words[where] = decision.verdict

    assert list(words.values()) == [Verdict.INVALID, Verdict.ACCEPTED]
