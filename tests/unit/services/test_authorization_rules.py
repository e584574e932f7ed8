"""Groups, master pass, and how long a station may rely on an answer (AU-03, AU-11, TOK-31)."""

from datetime import timedelta

import pytest
from charging import NOON, Charging

from cpo.domain.events import EventKind, IdToken, TransactionEvent
from cpo.domain.tokens import Allowed, Verdict
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
