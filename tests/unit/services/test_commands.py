"""Commands: once to the station, outcome kept, linked with the transaction that answers them."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from charging import NOON, Charging

from cpo.domain.command import Command, CommandKind, CommandState, Outcome, Reply
from cpo.domain.events import EventKind, IdToken, TransactionEvent
from cpo.domain.session import Session
from cpo.domain.tokens import alias_of
from cpo.errors import Conflict, Invalid, NotFound
from cpo.services.commands import Request

EVSE = "CP1-uid-1-x"


class Link:
    """A station that answers as it is told and remembers what it was asked."""

    def __init__(self, identity="CP1", version="1.6"):
        self.identity = identity
        self.version = version
        self.asked = []
        self.reply = Reply(outcome=Outcome.ACCEPTED)
        self.before = None

    async def execute(self, command, *, timeout=None):
        if self.before is not None:
            await self.before()
        self.asked.append(command)
        return self.reply

    async def call(self, action, payload, *, timeout=None):
        return {"action": action}

    async def close(self, code, reason):
        pass


@pytest.fixture
async def charging():
    world = Charging()
    world.partner()
    await world.site()
    return world


@pytest.fixture
def link(charging):
    link = Link()
    charging.memory.stations["CP1"].link = link
    return link


async def finished(charging, command):
    async with asyncio.timeout(30):
        return await charging.commands.wait(command)


async def start_request(charging, uid="U-REMOTE", **changes):
    token = await charging.token(uid)
    return Request(
        **{
            "kind": CommandKind.START_SESSION,
            "requested_by": "P1",
            "evse_uid": EVSE,
            "token": token,
            "authorization_reference": "REF-1",
            **changes,
        }
    )


def started(token, minutes=1):
    return TransactionEvent(
        kind=EventKind.STARTED,
        at=NOON + timedelta(minutes=minutes),
        received_at=NOON,
        evse_id=1,
        connector_id=1,
        id_token=IdToken(token),
        meter_wh=Decimal(0),
    )


async def test_an_accepted_start_is_kept_as_accepted(charging, link):
    """CM-01, CMD-11."""
    command = await charging.commands.request(await start_request(charging))
    assert command.state is CommandState.QUEUED

    done = await finished(charging, command)

    assert (done.state, done.outcome) == (CommandState.DONE, Outcome.ACCEPTED)
    [asked] = link.asked
    assert (asked.evse_id, asked.id_token) == (1, "U-REMOTE")


async def test_the_transaction_of_a_start_carries_its_reference(charging, link):
    """CMD-12, SES-14, N22: auth_method COMMAND, authorization_reference, token."""
    await finished(charging, await charging.commands.request(await start_request(charging)))
    await charging.told(started("U-REMOTE"))

    [session] = charging.store.all(Session)
    assert session.auth_method == "COMMAND"
    assert session.authorization_reference == "REF-1"
    assert session.token.uid == "U-REMOTE"


async def test_a_long_uid_reaches_the_1_6_charger_as_an_alias_and_is_known_by_it(charging, link):
    """CM-06, MAP-5, N21."""
    uid = "0123456789-0123456789-0123456789"
    await finished(charging, await charging.commands.request(await start_request(charging, uid)))
    await charging.told(started(alias_of(uid)))

    [session] = charging.store.all(Session)
    assert len(alias_of(uid)) == 20
    assert session.token.uid == uid


async def test_a_start_is_not_taken_for_another_tag(charging, link):
    """CM-05, #183."""
    await charging.token("OTHER")
    await finished(charging, await charging.commands.request(await start_request(charging)))
    await charging.told(started("OTHER"))

    [session] = charging.store.all(Session)
    assert session.authorization_reference is None
    assert session.auth_method == "WHITELIST"


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
@pytest.mark.parametrize(
    ("outcome", "linked"),
    [
        (Outcome.ACCEPTED, True),
        (Outcome.TIMEOUT, True),
        (Outcome.REJECTED, False),
        (Outcome.FAILED, False),
        (Outcome.NOT_SUPPORTED, False),
    ],
)
async def test_a_start_that_was_refused_is_not_taken_for_the_cards_own(
    charging, link, version, outcome, linked
):
    """CM-02, CM-03, #183: silence may be followed by a start, a no is not."""
    link.version = version
    link.reply = Reply(outcome=outcome)
    await finished(charging, await charging.commands.request(await start_request(charging)))
    await charging.told(started("U-REMOTE"))

    [session] = charging.store.all(Session)
    assert session.auth_method == ("COMMAND" if linked else "WHITELIST")
    assert session.authorization_reference == ("REF-1" if linked else None)


async def test_the_fact_that_a_command_was_sent_is_on_disk_before_it_leaves(charging, link):
    """Promise 5, P6."""
    states = []

    async def look():
        states.extend(c.state for c in charging.store.all(Command))

    link.before = look
    await finished(charging, await charging.commands.request(await start_request(charging)))

    assert states == [CommandState.SENT]


async def test_after_a_restart_a_command_is_reported_and_never_repeated(charging, link):
    """I15, CMD-7."""
    token = await charging.token("T")
    command = Command(
        id="c1",
        kind=CommandKind.START_SESSION,
        station="CP1",
        requested_by="P1",
        created_at=NOON,
        deadline=NOON,
        state=CommandState.SENT,
        token=token,
    )
    charging.store.rows[Command]["c1"] = command
    told = []

    async def listener(done):
        told.append(done.outcome)

    charging.commands.on_finished.append(listener)
    await charging.commands.recover()

    assert told == [Outcome.TIMEOUT]
    assert link.asked == []


async def test_an_offline_station_is_told_at_once(charging):
    """CM-21."""
    command = await charging.commands.request(await start_request(charging))

    assert (command.state, command.outcome) == (CommandState.DONE, Outcome.OFFLINE)


async def test_the_same_idempotency_key_is_one_call(charging, link):
    """CM-23."""
    request = await start_request(charging, idempotency_key="K")
    first = await charging.commands.request(request)
    await finished(charging, first)
    again = await charging.commands.request(request)

    assert again.id == first.id
    assert len(link.asked) == 1


async def test_a_stop_names_the_stations_own_transaction(charging, link):
    await charging.token("TAG")
    answer = await charging.told(started("TAG"))
    [session] = charging.store.all(Session)
    command = await charging.commands.request(
        Request(kind=CommandKind.STOP_SESSION, requested_by="op", session_id=session.id)
    )
    await finished(charging, command)

    assert link.asked[0].transaction == answer.transaction


async def test_a_stop_of_an_unknown_session_is_not_found(charging, link):
    with pytest.raises(NotFound, match="session"):
        await charging.commands.request(
            Request(kind=CommandKind.STOP_SESSION, requested_by="op", session_id="nope")
        )


async def test_an_unknown_evse_or_connector_is_named(charging, link):
    request = await start_request(charging, evse_uid="nope")
    with pytest.raises(NotFound, match="evse"):
        await charging.commands.request(request)
    request = await start_request(charging, connector_id="9")
    with pytest.raises(Invalid, match="connector_id"):
        await charging.commands.request(request)


async def test_a_call_to_an_offline_station_conflicts(charging):
    """Contract 4: 409."""
    with pytest.raises(Conflict, match="offline"):
        await charging.commands.call("CP1", "ClearCache", {}, actor="op")


async def test_a_rejected_start_on_a_busy_evse_says_so(charging, link):
    """MAP-30, CMD-18."""
    await charging.token("TAG")
    await charging.told(started("TAG"))
    link.reply = Reply(outcome=Outcome.REJECTED)
    command = await charging.commands.request(await start_request(charging))

    assert (await finished(charging, command)).outcome is Outcome.EVSE_OCCUPIED


async def test_a_started_card_is_not_asked_about_again(charging, link):
    """TOK-28: the START_SESSION was the eMSP's word; for fifteen minutes it is not asked."""
    token = await charging.token("CARD", whitelist="NEVER")
    request = await start_request(charging, "CARD")
    token = await charging.token("CARD", whitelist="NEVER")
    await finished(charging, await charging.commands.request(replace(request, token=token)))
    await charging.told(started("CARD"))
    answer = await charging.stations.authorize("CP1", IdToken("CARD"))

    assert answer.verdict == "Accepted"
    assert charging.emsp.asked == []


@pytest.mark.parametrize("given", [{}, {"reservation_id": "R-7"}])
async def test_a_reservation_without_an_id_goes_by_that_of_its_command(charging, link, given):
    """The operator may name one, and needs one to cancel it (CM-16, CM-17)."""
    request = replace(
        await start_request(charging), kind=CommandKind.RESERVE, parameters=dict(given)
    )
    command = await charging.commands.request(request)
    await finished(charging, command)

    [told] = link.asked
    assert told.parameters["reservation_id"] == given.get("reservation_id", command.id)
