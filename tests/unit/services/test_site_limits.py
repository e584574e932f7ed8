"""A power cap per location: shares that add up, whatever the stations do."""

import asyncio
import random
from datetime import timedelta
from decimal import Decimal

import pytest
from charging import NOON, Charging

from cpo.domain.command import CommandKind, Outcome, Reply
from cpo.domain.events import EventKind, IdToken, TransactionEvent
from cpo.domain.limits import Purpose, Supply, read_profile
from cpo.domain.sharing import Policy
from cpo.domain.values import replace
from cpo.errors import Conflict, Invalid, NotFound
from cpo.services.commands import Request
from cpo.services.limits import Limits
from cpo.services.ports import StationDocument, Work
from cpo.services.site_limits import SHELF, SiteLimits

FULL = Decimal(22080)
LEAST = Decimal(6 * 3 * 230)
SUPPLY = Supply(most_w=FULL)


class Charger:
    """A station of several EVSEs that obeys profiles, and knows what it may draw by them."""

    version = "1.6"

    def __init__(self, wall, identity):
        self.wall, self.identity = wall, identity
        self.refuses = set()
        self.silent = False
        self.obeys = lambda: False  # while it is silent
        self.silence = Outcome.TIMEOUT
        self.profiles = []
        self.sent = []

    async def execute(self, command, *, timeout=None):
        if command.kind is not CommandKind.SET_CHARGING_PROFILE:
            number = command.parameters["profile_id"]
            self.profiles = [p for p in self.profiles if p.id != number]
            return Reply(outcome=Outcome.ACCEPTED)
        sent = dict(command.parameters["profile"])
        if sent["chargingProfilePurpose"] in self.refuses:
            return Reply(outcome=Outcome.REJECTED)
        if command.transaction is not None:
            sent["transactionId"] = command.transaction
        profile = read_profile(sent, command.evse_id or 0)
        self.sent.append((profile.purpose, profile.evse_id, profile))
        if self.silent and not self.obeys():
            return Reply(outcome=self.silence)
        self.profiles = [p for p in self.profiles if not profile.replaces(p)] + [profile]
        work = Work()
        document = {"evse_id": profile.evse_id, "profile": sent}
        work.put(
            StationDocument(self.identity, "charging-profile", str(profile.id), document, NOON)
        )
        await self.wall.store.commit(work)
        self.wall.look()
        return Reply(outcome=self.silence if self.silent else Outcome.ACCEPTED)

    def may_draw(self, evse):
        """What a car at an EVSE may draw by the profiles the charger holds."""
        limits = {}
        for p in self.profiles:
            period, _ = p.at(self.wall.clock, self.wall.clock)
            if p.evse_id == evse and period is not None:
                watts = SUPPLY.watts(period.limit) if p.unit == "A" else period.limit
                limits[p.purpose, p.stack_level] = watts
        for purpose in (Purpose.TX, Purpose.TX_DEFAULT):
            found = [(level, w) for (p, level), w in limits.items() if p is purpose]
            if found:
                return max(found)[1]
        return FULL

    async def call(self, action, payload, *, timeout=None):
        return {}

    async def close(self, code, reason):
        pass


class Site(Charging):
    """A location of one station per EVSE, and a meter at its grid connection."""

    def __init__(self):
        super().__init__()
        now = lambda: self.clock  # noqa: E731
        self.limits = Limits(self.memory, self.store, self.commands, now=now)
        self.book = SiteLimits(
            self.memory, self.store, self.limits, now=now, call_timeout=30, boot_delay=0.01
        )
        self.transactions.on_session.append(self.book.session_changed)
        self.stations.on_boot.append(self.book.booted)
        self.commands.on_finished.append(self.book.command_finished)
        self.chargers = {}
        self.cap = None
        self.seen = []

    async def build(self, evses=3):
        self.partner()
        for name in ("TAG", "TAG2", "TAG3"):
            await self.token(name)
        await self.site("CP1", evses=evses)
        self.chargers["CP1"] = Charger(self, "CP1")
        self.memory.stations["CP1"].link = self.chargers["CP1"]
        return self.chargers["CP1"]

    async def restart(self):
        """Stop the server in the middle and start it again; the stations hear nothing of it."""
        self.transactions.on_session.remove(self.book.session_changed)
        self.stations.on_boot.remove(self.book.booted)
        self.commands.on_finished.remove(self.book.command_finished)
        await self.book.close()
        now = lambda: self.clock  # noqa: E731
        self.book = SiteLimits(
            self.memory, self.store, self.limits, now=now, call_timeout=30, boot_delay=0.01
        )
        await self.book.load()
        self.transactions.on_session.append(self.book.session_changed)
        self.stations.on_boot.append(self.book.booted)
        self.commands.on_finished.append(self.book.command_finished)

    async def swept(self):
        await self.book.sweep()
        await self.book.settled()

    def look(self):
        """Note what may be drawn in all, once every EVSE was told something."""
        charger = self.chargers["CP1"]
        evses = range(1, 1 + len(self.memory.sites.locations["L-CP1"].evses))
        if self.cap is not None:
            self.seen.append(sum(charger.may_draw(n) for n in evses))

    async def limit(self, watts, policy=Policy.EQUAL):
        await self.book.put("L-CP1", max_power_w=Decimal(watts), policy=policy, actor="test")
        await self.book.settled()
        self.cap = watts

    async def begins(self, evse, tag="TAG", minutes=0):
        answer = await self.told(
            TransactionEvent(
                kind=EventKind.STARTED, at=NOON + timedelta(minutes=minutes), received_at=NOON,
                evse_id=evse, connector_id=1, id_token=IdToken(tag), meter_wh=Decimal(0),
            )
        )  # fmt: skip
        await self.book.settled()
        return answer.transaction

    async def ends(self, transaction):
        await self.told(
            TransactionEvent(
                kind=EventKind.ENDED, at=NOON + timedelta(hours=1), received_at=NOON,
                transaction=transaction, meter_wh=Decimal(5000),
            )
        )  # fmt: skip
        self.chargers["CP1"].profiles = [
            p for p in self.chargers["CP1"].profiles if p.transaction != transaction
        ]
        await self.book.settled()

    def shares(self):
        view = self.book.view("L-CP1")
        return [share["share_w"] for share in view["shares"]]


@pytest.fixture
async def site():
    made = Site()
    yield made
    await made.book.close()


async def test_idle_evses_are_told_their_least_or_nothing(site):
    charger = await site.build()

    await site.limit(2 * LEAST)

    assert [charger.may_draw(n) for n in (1, 2, 3)] == [LEAST, LEAST, 0]
    assert site.shares() == [LEAST, LEAST, 0]


async def test_equal_shares_move_as_transactions_begin_and_end(site):
    charger = await site.build()
    await site.limit(24000)
    first = await site.begins(1, "TAG")
    alone = charger.may_draw(1)
    await site.begins(2, "TAG2", minutes=1)
    both = [charger.may_draw(n) for n in (1, 2)]

    await site.ends(first)

    assert alone > 18000
    assert both[0] == both[1] > 11_900 - 69
    assert charger.may_draw(2) > 18000
    assert max(site.seen) <= 24000


async def test_first_come_keeps_what_the_first_has(site):
    charger = await site.build()
    await site.limit(24000, Policy.FIRST_COME)
    first = await site.begins(1, "TAG")
    await site.begins(2, "TAG2", minutes=1)
    waiting = charger.may_draw(2)

    await site.ends(first)

    assert (charger.may_draw(1) < FULL, waiting) == (True, 0)
    assert charger.may_draw(2) == FULL
    assert max(site.seen) <= 24000


async def test_an_offline_station_keeps_its_share_reserved(site):
    """Kept when stations go offline."""
    charger = await site.build()
    await site.site("CP2")
    other = Charger(site, "CP2")
    site.memory.stations["CP2"].link = other
    location = site.memory.sites.locations["L-CP1"]
    evses = location.evses + site.memory.sites.locations["L-CP2"].evses
    site.memory.sites.drop("L-CP2")
    site.memory.sites.put(replace(location, evses=evses), NOON)
    await site.limit(24000)
    await site.begins(1, "TAG")
    share = charger.may_draw(1)
    site.memory.stations["CP1"].link = None

    await site.book.sweep()
    await site.book.settled()

    view = site.book.view("L-CP1")
    assert view["shares"][0]["share_w"] >= share - 69
    assert view["shares"][0]["state"] == "reserved"
    assert view["allotted_w"] <= 24000


async def test_who_is_silent_keeps_its_share_until_it_obeys(site):
    charger = await site.build()
    await site.limit(24000)
    await site.begins(1, "TAG")
    had = site.shares()[0]
    charger.silent = True

    await site.limit(12000)

    assert site.shares()[0] == had
    assert site.book.view("L-CP1")["exceeded"]
    charger.silent = False
    await site.book.sweep()
    await site.book.settled()
    assert sum(site.shares()) <= 12000
    assert not site.book.view("L-CP1")["exceeded"]


async def test_a_station_that_knows_no_tx_profiles_is_limited_by_its_default(site):
    charger = await site.build()
    charger.refuses = {"TxProfile"}
    await site.limit(24000)

    await site.begins(1, "TAG")
    sent = len(charger.sent)
    await site.book.sweep()
    await site.book.settled()

    assert charger.may_draw(1) > 11000
    assert len(charger.sent) == sent


async def test_a_station_that_refuses_profiles_counts_with_all_it_can_draw(site):
    charger = await site.build(evses=1)
    charger.refuses = {"TxProfile", "TxDefaultProfile"}

    await site.limit(10000)

    view = site.book.view("L-CP1")
    assert (view["exceeded"], view["shares"][0]["state"]) == (True, "refused")
    assert view["shares"][0]["share_w"] == FULL


async def test_a_partners_lower_limit_is_not_hidden_by_the_share(site):
    """CP-5 and CP-7: two limits on one transaction, the lower one counts."""
    charger = await site.build()
    await site.limit(24000)
    await site.begins(1, "TAG")
    session = site.book.view("L-CP1")["shares"][0]["session_id"]
    profile = {
        "id": 77, "stackLevel": 1, "chargingProfilePurpose": "TxProfile",
        "chargingProfileKind": "Relative",
        "chargingSchedule": {"chargingRateUnit": "W",
                             "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 5000}]},
    }  # fmt: skip

    await site.limits.asking.run(
        Request(kind=CommandKind.SET_CHARGING_PROFILE, requested_by="partner", session_id=session,
                parameters={"profile": profile})
    )  # fmt: skip
    await site.book.settled()

    assert 5000 - 69 <= charger.may_draw(1) <= 5000


async def test_a_restart_goes_on_with_the_same_books(site):
    await site.build()
    await site.limit(24000)
    await site.begins(1, "TAG")
    again = SiteLimits(
        site.memory, site.store, site.limits, now=lambda: site.clock, call_timeout=30
    )

    await again.load()

    assert again.view("L-CP1") == site.book.view("L-CP1")


async def test_taking_the_cap_off_clears_the_profiles(site):
    charger = await site.build()
    await site.limit(24000)

    await site.book.remove("L-CP1", actor="test")
    await site.book.settled()

    assert charger.profiles == []
    assert await site.store.documents(SHELF) == []
    with pytest.raises(NotFound):
        site.book.view("L-CP1")


async def test_a_station_that_booted_is_told_again(site):
    charger = await site.build()
    await site.limit(24000)
    charger.profiles = []

    site.book.booted("CP1")
    await site.book.settled()

    assert [charger.may_draw(n) for n in (1, 2, 3)] == [LEAST] * 3


async def test_a_negative_cap_is_refused(site):
    await site.build()
    with pytest.raises(Invalid):
        await site.limit(-1)


async def test_cm18_a_tx_profile_needs_a_live_transaction(site):
    """CM-18."""
    charger = await site.build()
    profile = {
        "id": 5, "stackLevel": 0, "chargingProfilePurpose": "TxProfile",
        "chargingProfileKind": "Relative",
        "chargingSchedule": {"chargingRateUnit": "W",
                             "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 5000}]},
    }  # fmt: skip
    wish = Request(
        kind=CommandKind.SET_CHARGING_PROFILE, requested_by="test", station="CP1",
        parameters={"evse_id": 1, "profile": profile},
    )  # fmt: skip
    with pytest.raises(Conflict):
        await site.commands.request(wish)
    transaction = await site.begins(1)

    await site.limits.asking.run(wish)

    assert [(p, n, made.transaction) for p, n, made in charger.sent] == [
        (Purpose.TX, 1, transaction)
    ]


async def test_bo09_a_station_that_booted_is_told_nothing_before_its_answer(site):
    """BO-09."""
    charger = await site.build()
    await site.limit(24000)
    told = len(charger.sent)

    site.book.booted("CP1")
    await site.book.sweep()
    await asyncio.sleep(0)

    assert len(charger.sent) == told
    await site.book.settled()
    assert len(charger.sent) > told


@pytest.mark.parametrize(
    ("name", "value", "level", "unit"),
    [
        ("ChargeProfileMaxStackLevel", "0", 0, "A"),
        ("ChargeProfileMaxStackLevel", "99", 2, "A"),
        ("ChargingScheduleAllowedChargingRateUnit", "Power", 2, "W"),
        ("ChargingScheduleAllowedChargingRateUnit", "Current,Power", 2, "A"),
    ],
)
async def test_profiles_are_as_the_station_says_it_takes_them(site, name, value, level, unit):
    charger = await site.build(evses=1)
    work = Work()
    document = {"attributes": [{"type": "Actual", "value": value}]}
    work.put(StationDocument("CP1", "variable", f"Configuration/{name}", document, NOON))
    await site.store.commit(work)

    await site.limit(24000)

    ((_, _, profile),) = charger.sent
    assert (profile.stack_level, profile.unit) == (level, unit)


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_no_more_than_the_cap_can_be_drawn(site, seed):
    """Charges begin and end, the line breaks, the station boots or is silent."""
    chance = random.Random(seed)
    charger = await site.build()
    charger.obeys = lambda: chance.random() < 0.5
    cap = 30_000
    await site.limit(cap, chance.choice(list(Policy)))
    running = {}
    for minute in range(40):
        site.pass_time(minutes=1)
        match chance.choice(["begin", "begin", "end", "end", "line", "boot", "silent", "sweep"]):
            case "begin" if len(running) < 3:
                evse = chance.choice([n for n in (1, 2, 3) if n not in running])
                running[evse] = await site.begins(evse, f"TAG{evse if evse > 1 else ''}", minute)
            case "end" if running:
                evse = chance.choice(list(running))
                await site.ends(running.pop(evse))
            case "line":
                state = site.memory.stations["CP1"]
                state.link = charger if state.link is None else None
            case "boot":
                site.book.booted("CP1")
            case "silent":
                charger.silent = not charger.silent
            case _:
                await site.book.sweep()
        await site.book.settled()

        assert sum(charger.may_draw(n) for n in (1, 2, 3)) <= cap


@pytest.mark.parametrize("silence", [Outcome.TIMEOUT, Outcome.OFFLINE])
async def test_a_raise_that_was_obeyed_without_a_word_is_counted(site, silence):
    """The line broke after the station had its new share: nobody else gets that power."""
    charger = await site.build(evses=1)
    await site.limit(24000)
    charger.silent, charger.obeys, charger.silence = True, lambda: True, silence

    await site.begins(1, "TAG")

    assert site.shares()[0] >= charger.may_draw(1) > LEAST


@pytest.mark.parametrize("silence", [Outcome.TIMEOUT, Outcome.OFFLINE])
async def test_a_raise_that_was_not_heard_is_told_again(site, silence):
    """A car does not stay at its least because one answer was lost."""
    charger = await site.build(evses=1)
    await site.limit(24000)
    charger.silent, charger.silence = True, silence
    await site.begins(1, "TAG")
    assert charger.may_draw(1) == LEAST
    charger.silent = False

    await site.swept()
    sent = len(charger.sent)
    await site.swept()

    assert charger.may_draw(1) > 15000
    assert len(charger.sent) == sent


async def test_a_raise_under_way_at_a_restart_is_told_again(site):
    charger = await site.build(evses=1)
    await site.limit(24000)
    charger.silent = True
    await site.begins(1, "TAG")
    await site.restart()
    charger.silent = False

    await site.swept()

    assert charger.may_draw(1) > 15000


async def test_a_station_in_anothers_place_was_told_nothing(site):
    """An exchanged charger does not obey what the one before it was told."""
    await site.build(evses=1)
    await site.limit(10_000)
    await site.site("CP2")
    other = site.chargers["CP2"] = Charger(site, "CP2")
    site.memory.stations["CP2"].link = other
    location = site.memory.sites.locations["L-CP1"]
    (evse,) = location.evses
    site.memory.sites.drop("L-CP2")
    moved = replace(evse, binding=replace(evse.binding, station="CP2"))
    site.memory.sites.put(replace(location, evses=(moved,)), NOON)
    site.cap = None
    assert site.shares() == [FULL]

    await site.swept()

    assert other.may_draw(1) == LEAST
    assert site.shares() == [LEAST]


async def test_a_restart_after_a_boot_does_not_believe_the_books_of_before(site):
    """The station lost its profiles and has not taken new ones when the server goes down."""
    charger = await site.build(evses=1)
    await site.limit(10_000)
    charger.profiles, charger.silent = [], True
    site.book.booted("CP1")
    await site.book.settled()

    await site.restart()

    assert charger.may_draw(1) == FULL
    assert site.shares() == [FULL]
    assert site.book.view("L-CP1")["exceeded"]


async def test_a_cap_taken_off_while_a_station_is_told_leaves_no_books(site):
    """What it was told meanwhile is cleared with the rest: a new cap begins anew."""
    charger = await site.build(evses=1)
    going, gate = asyncio.Event(), asyncio.Event()
    execute = charger.execute

    async def slow(command, *, timeout=None):
        if command.kind is CommandKind.SET_CHARGING_PROFILE:
            going.set()
            await gate.wait()
        return await execute(command, timeout=timeout)

    charger.execute = slow
    await site.book.put("L-CP1", max_power_w=Decimal(9000), policy=Policy.EQUAL, actor="test")
    await going.wait()
    await site.book.remove("L-CP1", actor="test")
    gate.set()
    await site.book.settled()
    assert (charger.profiles, await site.store.documents(SHELF)) == ([], [])
    charger.silent = True

    await site.limit(9000)

    assert charger.may_draw(1) == FULL
    assert site.shares() == [FULL]


async def test_a_charge_ended_on_assumption_keeps_its_share_reserved(site):
    """The watchdog closes the session of a silent station: its car may charge on all the same."""
    charger = await site.build()
    await site.limit(24000)
    transaction = await site.begins(1, "TAG")
    share = charger.may_draw(1)
    state = site.memory.stations["CP1"]
    state.link = None

    await site.transactions.end_assumed(state, transaction, reason="stale")
    await site.swept()

    assert charger.may_draw(1) == share
    assert site.shares()[0] >= share


async def test_a_default_that_one_of_two_connectors_took_is_counted(site):
    """An EVSE of two OCPP connectors: the first obeyed the raise, the second refused it."""
    charger = await site.build(evses=1)
    charger.refuses = {"TxProfile"}
    location = site.memory.sites.locations["L-CP1"]
    (evse,) = location.evses
    ids = {"1": 1, "2": 2}
    both = replace(evse, binding=replace(evse.binding, connector_ids=ids))
    site.memory.sites.put(replace(location, evses=(both,)), NOON)
    await site.limit(24000)
    execute = charger.execute

    async def second_refuses(command, *, timeout=None):
        if command.evse_id == 2:
            return Reply(outcome=Outcome.REJECTED)
        return await execute(command, timeout=timeout)

    charger.execute = second_refuses

    await site.begins(1, "TAG")

    assert charger.may_draw(1) > 15000
    assert site.shares()[0] >= charger.may_draw(1)


@pytest.mark.parametrize("seed", range(12))
async def test_the_books_never_say_less_than_a_station_may_draw(site, seed):
    """Power cuts, lost answers, refusals, a cap that moves or goes, restarts of the server."""
    chance = random.Random(seed)
    charger = await site.build()
    charger.obeys = lambda: chance.random() < 0.5
    await site.limit(30_000, chance.choice(list(Policy)))
    running, capped = {}, True
    for minute in range(40):
        site.pass_time(minutes=1)
        match chance.choice(
            ["begin", "begin", "end", "line", "boot", "forgets", "silent", "cap", "off", "restart",
             "refuses", "minutes"]
        ):  # fmt: skip
            case "begin" if len(running) < 3:
                evse = chance.choice([n for n in (1, 2, 3) if n not in running])
                running[evse] = await site.begins(evse, f"TAG{evse if evse > 1 else ''}", minute)
            case "end" if running:
                await site.ends(running.pop(chance.choice(list(running))))
            case "line":
                state = site.memory.stations["CP1"]
                state.link = charger if state.link is None else None
            case "boot":
                site.book.booted("CP1")
            case "forgets":
                charger.profiles = []
                site.book.booted("CP1")
            case "silent":
                charger.silent = not charger.silent
                charger.silence = chance.choice([Outcome.TIMEOUT, Outcome.OFFLINE])
            case "cap":
                await site.limit(chance.choice([9000, 30_000, 50_000]), chance.choice(list(Policy)))
                capped = True
            case "off" if capped and not charger.silent:
                await site.book.remove("L-CP1", actor="test")
                capped = False
            case "restart":
                await site.restart()
            case "refuses":
                words = [set(), {"TxProfile"}, {"TxProfile", "TxDefaultProfile"}]
                charger.refuses = chance.choice(words)
            case _:
                site.pass_time(minutes=11)
        await site.swept()

        if capped:
            drawn = [charger.may_draw(n) for n in (1, 2, 3)]
            view = site.book.view("L-CP1")
            assert all(d <= s for d, s in zip(drawn, site.shares(), strict=True)), minute
            assert view["exceeded"] or sum(drawn) <= view["max_power_w"]
