"""Commands of partners, with a station that is a function and an eMSP that listens."""

import asyncio

import pytest
from partner_world import TOKEN, now, registered
from waiting import LONG, until

from chargers_sim.emsp import Emsp
from cpo.domain.command import CommandKind, CommandState, Outcome, Reply
from cpo.domain.station import Station
from cpo.services.authorization import Authorizations
from cpo.services.commands import Commands
from cpo.services.memory import StationState


class Link:
    """A station's connection; answers as it is told, notes what it was asked."""

    identity = "CP-L-1"
    version = "2.0.1"

    def __init__(self):
        self.asked = []
        self.outcome = Outcome.ACCEPTED
        self.gate = None

    async def execute(self, command, *, timeout=None):
        self.asked.append(command)
        if self.gate is not None:
            await self.gate.wait()
        return Reply(outcome=self.outcome)


class Links:
    def __init__(self):
        self.by_identity = {}

    def link(self, identity):
        return self.by_identity.get(identity)

    def remote_tag(self, identity, uid):
        return uid


def commands_over(world, links):
    authorizations = Authorizations(
        world.store, world.memory, world.partners, world.side.authorizer, now=now
    )
    found = Commands(world.memory, world.store, links, authorizations, now=now, call_timeout=20)
    world.side.attach_commands(found)
    return found


@pytest.fixture
async def yard(world):
    """A world with a location, its station online, and a listening eMSP."""
    await world.location()
    links, link = Links(), Link()
    links.by_identity["CP-L-1"] = link
    state = StationState(Station(identity="CP-L-1"))
    state.link = link
    world.memory.stations["CP-L-1"] = state
    await world.status("L-1", "L-1-E1", "AVAILABLE")
    book = commands_over(world, links)
    async with Emsp(("NL", "MSP"), versions=["2.2.1"]) as emsp:
        await world.partners.connect("double", emsp.versions_url, emsp.invite())
        world.link, world.links, world.emsp, world.book = link, links, emsp, book
        yield world
        await book.close()


async def order(yard, name="START_SESSION", **fields):
    if name == "START_SESSION":
        fields.setdefault("location_id", "L-1")
        fields.setdefault("evse_uid", "L-1-E1")
        fields.setdefault("token", "04A1B2C3D4E5F6")
    return await yard.emsp.command(name, wait=LONG, **fields)


async def test_CMD_2_a_command_is_answered_at_once_and_its_result_is_posted_once(yard):
    done = await order(yard)

    assert done.response["result"] == "ACCEPTED"
    assert [r["result"] for r in done.results] == ["ACCEPTED"]
    assert [c.kind for c in yard.link.asked] == [CommandKind.START_SESSION]
    assert yard.emsp.violations == []


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        (Outcome.REJECTED, "REJECTED"),
        (Outcome.FAILED, "FAILED"),
        (Outcome.NOT_SUPPORTED, "NOT_SUPPORTED"),
        (Outcome.EVSE_OCCUPIED, "EVSE_OCCUPIED"),
        (Outcome.TIMEOUT, "TIMEOUT"),
    ],
)
async def test_MAP_30_what_the_station_says_becomes_the_result(yard, outcome, result):
    yard.link.outcome = outcome

    assert [r["result"] for r in (await order(yard)).results] == [result]


async def test_CMD_6_an_offline_station_is_rejected_at_once_and_nothing_follows(yard):
    yard.links.by_identity.clear()
    done = await order(yard)

    assert done.response["result"] == "REJECTED"
    assert done.results == []


async def test_S4_an_evse_whose_station_is_not_known_says_nothing_of_it(yard, asking):
    del yard.memory.stations["CP-L-1"]
    told = await asking("POST", "2.2.1/commands/START_SESSION", START)

    assert told.data["result"] == "REJECTED"
    assert "CP-L-1" not in str(told.body)


async def test_CMD_10_without_an_evse_a_free_one_is_chosen(yard):
    done = await order(yard, evse_uid=None)

    assert done.results[0]["result"] == "ACCEPTED"
    assert yard.link.asked[0].evse_id == 1


START = {
    "response_url": "http://127.0.0.1:1/result",
    "token": {
        "country_code": "NL",
        "party_id": "MSP",
        "uid": "ABC123",
        "type": "APP_USER",
        "contract_id": "NL-MSP-C1",
        "issuer": "MSP",
        "valid": True,
        "whitelist": "NEVER",
        "last_updated": "2026-01-01T00:00:00Z",
    },
    "location_id": "L-1",
    "evse_uid": "L-1-E1",
}


@pytest.fixture
async def asking(world, yard):
    partner = next(iter(world.partners.all()))
    await world.partners.disconnect(partner.id)
    await registered(world)
    return world.ask(TOKEN)


async def test_P6_a_repeated_command_is_answered_and_not_sent_again(yard, asking):
    first = await asking("POST", "2.2.1/commands/START_SESSION", START)
    again = await asking("POST", "2.2.1/commands/START_SESSION", START)
    await until(lambda: yard.link.asked)
    await asyncio.sleep(0.1)

    assert first.data == again.data
    assert first.data["result"] == "ACCEPTED"
    assert len(yard.link.asked) == 1


async def test_P6_a_repeated_command_is_not_sent_again_after_a_restart(yard, asking):
    await asking("POST", "2.2.1/commands/START_SESSION", START)
    await until(lambda: yard.link.asked)
    await yard.book.close()
    commands_over(yard, yard.links)
    again = await asking("POST", "2.2.1/commands/START_SESSION", START)
    await asyncio.sleep(0.1)

    assert again.data["result"] == "ACCEPTED"
    assert len(yard.link.asked) == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"response_url": "file:///etc/passwd"}, "response_url"),
        ({"response_url": "http://169.254.169.254/latest"}, "response_url"),
        ({"token": {**START["token"], "party_id": "XXX"}}, "token.party_id"),
        ({"evse_uid": None, "connector_id": "1"}, "evse_uid"),
        ({"connector_id": "7"}, "connector_id"),
        ({"location_id": None}, "location_id"),
    ],
)
async def test_S24_CMD_6_a_command_that_cannot_be_meant_is_2001_with_the_field(
    yard, asking, changes, field
):
    told = await asking("POST", "2.2.1/commands/START_SESSION", START | changes)

    assert told.said == (200, 2001)
    assert field in told.body["status_message"]
    assert yard.link.asked == []


@pytest.mark.parametrize("changes", [{"location_id": "nowhere"}, {"evse_uid": "none"}])
async def test_CMD_6_an_unknown_location_or_evse_is_2003_and_rejected(asking, changes):
    told = await asking("POST", "2.2.1/commands/START_SESSION", START | changes)

    assert told.said == (200, 2003)
    assert told.data["result"] == "REJECTED"


async def test_CMD_1_a_command_that_the_version_does_not_have_is_404(asking):
    assert (await asking("POST", "2.1.1/commands/CANCEL_RESERVATION", {})).http == 404
    assert (await asking("POST", "2.2.1/commands/EXPLODE", {})).http == 404


async def test_S16_a_hub_starts_nothing_for_a_party_that_is_connected_itself(yard):
    async with Emsp(parties=[("DE", "EMP")], hub=("NL", "HUB"), versions=["2.2.1"]) as hub:
        await yard.partners.connect("hub", hub.versions_url, hub.invite())
        url = f"{hub.endpoint('commands', 'RECEIVER')}/START_SESSION"
        told = [
            await hub.caller().request(
                "start", "POST", url, body=START | {"token": START["token"] | changes},
                module="commands", good_only=False,
            )
            for changes in ({}, {"country_code": "DE", "party_id": "EMP"})
        ]  # fmt: skip
        await until(lambda: yard.link.asked)

    assert [answer.status_code for answer in told] == [2001, 1000]
    assert "token.party_id" in told[0].message
    assert len(yard.link.asked) == 1


async def test_S24_one_start_at_a_time_goes_to_an_evse(yard, asking):
    """A thousand of them fill no station's queue; the next driver may as soon as it is settled."""
    yard.link.gate = asyncio.Event()

    async def start(number, **changes):
        body = START | {"response_url": f"http://127.0.0.1:1/{number}"} | changes
        told = await asking("POST", "2.2.1/commands/START_SESSION", body)
        return told.data["result"]

    first = await start(1)
    await until(lambda: yard.link.asked)
    others = [await start(number) for number in range(2, 12)]
    without = {k: v for k, v in START.items() if k != "evse_uid"}
    told = await asking("POST", "2.2.1/commands/START_SESSION", without)
    yard.link.gate.set()
    await until(lambda: not yard.side.commands._starting)
    later = await start(99)
    await until(lambda: len(yard.link.asked) == 2)

    assert (first, later) == ("ACCEPTED", "ACCEPTED")
    assert {*others, told.data["result"]} == {"REJECTED"}


async def test_CMD_13_an_unknown_session_cannot_be_stopped(asking):
    body = {"response_url": START["response_url"], "session_id": "none"}
    told = await asking("POST", "2.2.1/commands/STOP_SESSION", body)

    assert (told.said, told.data["result"]) == ((200, 1000), "UNKNOWN_SESSION")


async def test_CMD_16_unlocking_can_be_ruled_out_by_contract(yard, asking):
    partner = next(p for p in yard.partners.all() if p.name == "MSP")
    await yard.partners.change(partner.id, policy={"unlock": False})
    body = {
        "response_url": START["response_url"],
        "location_id": "L-1",
        "evse_uid": "L-1-E1",
        "connector_id": "1",
    }
    told = await asking("POST", "2.2.1/commands/UNLOCK_CONNECTOR", body)

    assert told.data["result"] == "NOT_SUPPORTED"
    assert yard.link.asked == []


async def test_I15_a_command_that_a_crash_cut_off_is_told_as_timed_out_and_never_repeated(yard):
    yard.link.gate = asyncio.Event()
    task = asyncio.create_task(order(yard))
    await until(lambda: yard.link.asked)
    await yard.book.close()
    again = commands_over(yard, yard.links)
    await again.recover()
    done = await task

    assert [r["result"] for r in done.results] == ["TIMEOUT"]
    assert len(yard.link.asked) == 1


async def test_I15_a_result_that_was_told_is_not_told_again_after_a_restart(yard):
    done = await order(yard)
    await asyncio.sleep(0.1)
    again = commands_over(yard, yard.links)
    await again.recover()
    await asyncio.sleep(0.1)

    assert len(done.results) == 1


async def test_CMD_8_a_result_is_tried_again_while_the_emsp_is_broken(yard):
    yard.emsp.fail("500", times=1, module="commands")
    done = await order(yard)
    await until(lambda: done.results)

    assert len(done.results) == 1


async def test_CMD_14_a_partners_reservation_id_never_reaches_the_charger(yard, asking):
    body = {
        "response_url": START["response_url"],
        "token": START["token"],
        "expiry_date": "2099-01-01T00:00:00Z",
        "reservation_id": "R-1",
        "location_id": "L-1",
        "evse_uid": "L-1-E1",
    }
    told = await asking("POST", "2.2.1/commands/RESERVE_NOW", body)
    await until(lambda: yard.link.asked)
    number = yard.link.asked[0].parameters["reservation_id"]
    cancel = {"response_url": START["response_url"], "reservation_id": "r-1"}
    await asking("POST", "2.2.1/commands/CANCEL_RESERVATION", cancel)
    await until(lambda: len(yard.link.asked) == 2)

    assert told.data["result"] == "ACCEPTED"
    assert isinstance(number, int)
    assert 0 < number < 2**31
    assert yard.link.asked[1].parameters["reservation_id"] == number


@pytest.mark.parametrize("how", ["refused", "offline"])
async def test_CMD_14_a_reservation_stands_when_its_replacement_is_not_taken(yard, asking, how):
    """The charger still holds the old one, so that it can be cancelled."""
    body = {
        "response_url": START["response_url"],
        "token": START["token"],
        "expiry_date": "2099-01-01T00:00:00Z",
        "reservation_id": "R-1",
        "location_id": "L-1",
        "evse_uid": "L-1-E1",
    }
    partner = next(p for p in yard.partners.all() if p.name == "MSP")
    held = yard.side.reservations
    await asking("POST", "2.2.1/commands/RESERVE_NOW", body)
    await until(lambda: yard.link.asked and held.find(partner.id, "R-1"))
    yard.link.outcome = Outcome.REJECTED
    if how == "offline":
        yard.links.by_identity.clear()
    longer = body | {"expiry_date": "2099-06-01T00:00:00Z"}
    told = await asking("POST", "2.2.1/commands/RESERVE_NOW", longer)
    await until(lambda: held.find(partner.id, "R-1").expires_at.month == 1)
    yard.links.by_identity["CP-L-1"], yard.link.outcome = yard.link, Outcome.ACCEPTED
    cancel = {"response_url": START["response_url"], "reservation_id": "R-1"}
    cancelled = await asking("POST", "2.2.1/commands/CANCEL_RESERVATION", cancel)
    await until(lambda: held.find(partner.id, "R-1") is None)

    assert told.data["result"] == ("ACCEPTED" if how == "refused" else "REJECTED")
    assert cancelled.data["result"] == "ACCEPTED"


async def test_CMD_14_a_reservation_that_no_station_was_asked_for_is_not_held(yard, asking):
    yard.links.by_identity.clear()
    body = {
        "response_url": START["response_url"],
        "token": START["token"],
        "expiry_date": "2099-01-01T00:00:00Z",
        "reservation_id": "R-2",
        "location_id": "L-1",
        "evse_uid": "L-1-E1",
    }
    told = await asking("POST", "2.2.1/commands/RESERVE_NOW", body)
    cancel = {"response_url": START["response_url"], "reservation_id": "R-2"}
    cancelled = await asking("POST", "2.2.1/commands/CANCEL_RESERVATION", cancel)

    assert told.data["result"] == cancelled.data["result"] == "REJECTED"
    assert cancelled.data["message"][0]["text"] == "unknown reservation"


RESERVE = {
    "response_url": START["response_url"],
    "token": START["token"],
    "expiry_date": "2099-01-01T00:00:00Z",
    "reservation_id": "R-3",
    "location_id": "L-1",
    "evse_uid": "L-1-E1",
}
CANCEL = {"response_url": START["response_url"], "reservation_id": "R-3"}


@pytest.mark.parametrize("outcome", [Outcome.TIMEOUT, Outcome.OFFLINE])
async def test_CMD_14_a_reservation_whose_answer_is_lost_can_be_cancelled(yard, asking, outcome):
    """The station may hold it: its EVSE would be blocked until the reservation expires."""
    partner = next(p for p in yard.partners.all() if p.name == "MSP")
    yard.link.outcome = outcome
    await asking("POST", "2.2.1/commands/RESERVE_NOW", RESERVE)
    await until(lambda: not yard.book._running)
    yard.link.outcome = Outcome.ACCEPTED
    told = await asking("POST", "2.2.1/commands/CANCEL_RESERVATION", CANCEL)
    await until(lambda: yard.side.reservations.find(partner.id, "R-3") is None)

    assert told.data["result"] == "ACCEPTED"
    assert [c.kind for c in yard.link.asked] == [
        CommandKind.RESERVE, CommandKind.CANCEL_RESERVATION,
    ]  # fmt: skip


async def elsewhere(yard):
    """A second location with a station of its own."""
    await yard.location("L-2")
    link = Link()
    link.identity = "CP-L-2"
    yard.links.by_identity["CP-L-2"] = link
    state = StationState(Station(identity="CP-L-2"))
    state.link = link
    yard.memory.stations["CP-L-2"] = state
    await yard.status("L-2", "L-2-E1", "AVAILABLE")
    return link


async def test_CMD_14_a_reservation_that_moves_is_let_go_where_it_was(yard, asking):
    """The same id at another station: the first one must not stay blocked."""
    other = await elsewhere(yard)
    await asking("POST", "2.2.1/commands/RESERVE_NOW", RESERVE)
    await until(lambda: yard.link.asked and not yard.book._running)

    moved = RESERVE | {"location_id": "L-2", "evse_uid": "L-2-E1"}
    await asking("POST", "2.2.1/commands/RESERVE_NOW", moved)
    await until(lambda: len(yard.link.asked) == 2)

    first, gone = yard.link.asked
    assert gone.kind is CommandKind.CANCEL_RESERVATION
    assert gone.parameters["reservation_id"] == first.parameters["reservation_id"]
    await until(lambda: not yard.book._running)
    partner = next(p for p in yard.partners.all() if p.name == "MSP")
    assert yard.side.reservations.find(partner.id, "R-3").station == "CP-L-2"
    assert len(other.asked) == 1


@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.TIMEOUT])
async def test_CMD_14_a_reservation_that_could_not_move_stays_where_it_was(yard, asking, outcome):
    other = await elsewhere(yard)
    await asking("POST", "2.2.1/commands/RESERVE_NOW", RESERVE)
    await until(lambda: yard.link.asked and not yard.book._running)
    other.outcome = outcome

    moved = RESERVE | {"location_id": "L-2", "evse_uid": "L-2-E1"}
    await asking("POST", "2.2.1/commands/RESERVE_NOW", moved)
    await until(lambda: other.asked and not yard.book._running)

    partner = next(p for p in yard.partners.all() if p.name == "MSP")
    assert yard.side.reservations.find(partner.id, "R-3").station == "CP-L-1"
    assert len(yard.link.asked) == 1


async def test_CMD_14_another_partner_cannot_cancel_a_reservation(yard, asking):
    await registered(yard, name="OTH", token="other-token")
    body = {"response_url": START["response_url"], "reservation_id": "R-1"}
    told = await yard.ask("other-token")("POST", "2.2.1/commands/CANCEL_RESERVATION", body)

    assert told.data["result"] == "REJECTED"


async def test_a_command_that_waits_is_kept_as_sent(yard):
    yard.link.gate = asyncio.Event()
    task = asyncio.create_task(order(yard))
    await until(lambda: yard.link.asked)
    waiting = await yard.store.unfinished_commands()
    yard.link.gate.set()
    await task

    assert [c.state for c in waiting] == [CommandState.SENT]
