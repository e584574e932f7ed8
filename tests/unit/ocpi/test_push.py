"""The lanes, with a store and a partner that do as they are told and a freight of plain texts."""

import asyncio
from datetime import UTC, datetime

import pytest
from waiting import until

from cpo.domain.partner import Partner, PartnerStatus
from cpo.domain.values import replace
from cpo.ocpi.client import Answer, Line
from cpo.ocpi.delivery import Failure, Patience
from cpo.ocpi.envelope import Envelope
from cpo.ocpi.freight import NOTHING, HeldBack, Parcel
from cpo.ocpi.push import Pace, Push
from cpo.services.ports import Delivery, DirtyMark, Kind
from cpo.telemetry import Metrics

AT = datetime(2026, 1, 1, tzinfo=UTC)
OK = Answer(http_status=200, envelope=Envelope(1000))
NO_ANSWER = Answer(failure=Failure.NETWORK, detail="no answer")
REFUSED = Answer(
    http_status=200, envelope=Envelope(2001, "kwh"), failure=Failure.REFUSED, detail="2001 kwh"
)
BROKEN = Answer(http_status=500, failure=Failure.SERVER, detail="HTTP 500")
GONE = Answer(http_status=404, failure=Failure.MISSING, detail="HTTP 404")


class Store:
    """Keeps marks as the real one does: by generation."""

    def __init__(self):
        self.marks = {}
        self.deliveries = []
        self.listener = None

    def on_commit(self, listener):
        self.listener = listener

    async def dirty(self):
        return list(self.marks.values())

    def mark(self, kind, object_id, partner="p1"):
        key = (partner, kind, object_id)
        known = self.marks.get(key)
        mark = DirtyMark(partner, kind, object_id, (known.generation if known else 0) + 1, AT)
        self.marks[key] = mark
        if self.listener:
            self.listener([mark])

    async def commit(self, work):
        for op, row in work.ops:
            if isinstance(row, Delivery):
                self.deliveries.append(row)
                continue
            key = (row.partner_id, row.kind, row.object_id)
            if key in self.marks and self.marks[key].generation == row.generation:
                if op == "delete":
                    del self.marks[key]
                else:
                    self.marks[key] = row


class Partners:
    def __init__(self, *partners):
        self.by_id = {p.id: p for p in partners}

        self.learnt = []

    def get(self, partner_id):
        return self.by_id.get(partner_id)

    async def learn(self, partner_id, quirks, *, why):
        partner = self.by_id[partner_id]
        self.by_id[partner_id] = replace(partner, quirks={**partner.quirks, **quirks})
        self.learnt.append((quirks, why))


class Freight:
    """Packs the text an object has at the moment of packing."""

    def __init__(self):
        self.texts = {}
        self.special = {}
        self.after = {}
        self.evses = {}

    def unit(self, kind, object_id):
        if kind is Kind.EVSE:
            return f"location/{object_id.partition('/')[0]}"
        return f"{kind}/{object_id}"

    def parts(self, location_id):
        evses = self.evses.get(location_id, ())
        return [(Kind.LOCATION, location_id), *((Kind.EVSE, f"{location_id}/{e}") for e in evses)]

    async def pack(self, partner, item, *, confirmed, failed):
        kind, object_id = item
        if item in self.special:
            return self.special[item]
        unit = self.unit(kind, object_id)
        part = kind is Kind.EVSE and confirmed(unit) and not failed
        return Parcel(
            method="PATCH" if part else ("POST" if kind is Kind.CDR else "PUT"),
            url=object_id,
            body=self.texts.get(item, "1").encode(),
            us=("NL", "CPO"),
            full=not part,
            unit=unit,
            after=self.after.get(item, ()),
        )


class Client:
    """Answers from a list, then OK; notes what is under way and what was sent."""

    def __init__(self):
        self.sent = []
        self.answers = []
        self.under_way = []
        self.most = 0
        self.gate = None

    async def request(self, line, method, url, *, body=None):
        self.sent.append((method, url, body.decode() if body else None))
        self.under_way.append(url)
        self.most = max(self.most, len(self.under_way))
        await asyncio.sleep(0)
        if self.gate is not None:
            await self.gate.wait()
        self.under_way.remove(url)
        return self.answers.pop(0) if self.answers else OK


class Speaks:
    def line(self, partner, us=None, them=None):
        return Line(partner_id=partner.id, token="t", encoded_token=True)


class World:
    def __init__(self, policy=None, **pace):
        self.store = Store()
        self.partner = Partner(
            id="p1",
            name="one",
            status=PartnerStatus.CONNECTED,
            version="2.2.1",
            policy=policy or {},
        )
        self.partners = Partners(self.partner)
        self.freight = Freight()
        self.client = Client()
        shortest = pace.pop("shortest", 0.01)
        patience = Patience(shortest=shortest, longest=max(shortest, 0.05))
        self.refreshed = []

        async def refresh(partner):
            self.refreshed.append(partner.id)

        self.push = Push(
            store=self.store,
            partners=self.partners,
            client=self.client,
            freight=self.freight,
            speaks=Speaks(),
            pace=Pace(patience=patience, **{"status_debounce": 0.02, "drain_rate": 0, **pace}),
            now=lambda: AT,
            metrics=Metrics(),
            refresh=refresh,
            jitter=lambda: 1.0,
        )

    async def quiet(self):
        """Wait until nothing moves any more."""
        await asyncio.sleep(0.005)
        await until(self.at_rest)

    def at_rest(self):
        lane = self.push._lanes.get("p1")
        return lane is None or (
            not lane._notes.ops
            and not lane._writing
            and not lane._tasks
            and not lane._fresh
            and not lane._backlog
            and not lane._later
        )


@pytest.fixture
async def world():
    world = World()
    await world.push.start()
    yield world
    await world.push.stop()


async def test_D21_a_commit_wakes_the_lane_and_success_clears_the_mark(world):
    world.store.mark(Kind.SESSION, "S1")
    await world.quiet()

    assert world.client.sent == [("PUT", "S1", "1")]
    assert world.store.marks == {}


async def test_PUSH_1_what_changed_several_times_is_sent_in_its_newest_form(world):
    world.client.gate = asyncio.Event()
    world.store.mark(Kind.SESSION, "S1")
    await until(lambda: world.client.under_way)
    for text in "234":
        world.freight.texts[Kind.SESSION, "S1"] = text
        world.store.mark(Kind.SESSION, "S1")
    world.client.gate.set()
    await world.quiet()

    assert [body for _, _, body in world.client.sent] == ["1", "4"]


async def test_I7_PUSH_2_one_object_is_never_under_way_twice(world):
    world.client.gate = asyncio.Event()
    world.store.mark(Kind.SESSION, "S1")
    await until(lambda: world.client.under_way)
    world.store.mark(Kind.SESSION, "S1")
    await asyncio.sleep(0.01)

    assert world.client.under_way == ["S1"]


async def test_PUSH_2_a_partner_has_at_most_four_requests_under_way(world):
    for n in range(20):
        world.store.mark(Kind.SESSION, f"S{n}")
    await world.quiet()

    assert world.client.most == 4
    assert len(world.client.sent) == 20


async def test_PUSH_2_what_needs_no_request_does_not_keep_others_waiting(world):
    turns = 0

    async def others():
        nonlocal turns
        while world.push.backlog("p1"):
            turns += 1
            await asyncio.sleep(0)

    for n in range(100):
        world.freight.special[Kind.SESSION, f"S{n}"] = NOTHING
        world.store.mark(Kind.SESSION, f"S{n}")
    await others()

    assert world.client.sent == []
    assert turns > 20


async def test_a_mark_that_came_while_sending_is_not_cleared(world):
    world.client.gate = asyncio.Event()
    world.store.mark(Kind.SESSION, "S1")
    await until(lambda: world.client.under_way)
    world.store.mark(Kind.SESSION, "S1")
    world.client.answers = [OK, REFUSED]
    world.client.gate.set()
    await world.quiet()

    assert [m.generation for m in world.push.backlog("p1")] == [2]


async def test_PUSH_10_what_a_crash_left_behind_is_sent_at_the_start():
    world = World()
    world.store.mark(Kind.CDR, "C1")
    await world.push.start()
    await world.quiet()
    await world.push.stop()

    assert world.client.sent == [("POST", "C1", "1")]


async def test_CDR_2_the_address_of_a_cdr_is_kept(world):
    world.client.answers = [replace(OK, location="https://emsp.example/cdrs/C1")]
    world.store.mark(Kind.CDR, "C1")
    await world.quiet()

    assert world.store.deliveries[0].location == "https://emsp.example/cdrs/C1"


async def test_CDR_19_a_cdr_the_partner_has_already_is_delivered(world):
    world.client.answers = [replace(REFUSED, http_status=409)]
    world.store.mark(Kind.CDR, "C1")
    await world.quiet()

    assert world.store.marks == {}


async def test_PUSH_3_a_cdr_waits_for_its_session(world):
    world.freight.after[Kind.CDR, "C1"] = ((Kind.SESSION, "S1"),)
    world.client.answers = [NO_ANSWER]
    world.store.mark(Kind.SESSION, "S1")
    world.store.mark(Kind.CDR, "C1")
    await world.quiet()

    assert [url for _, url, _ in world.client.sent] == ["S1", "S1", "C1"]


async def test_PUSH_3_a_parked_session_does_not_hold_its_cdr_back(world):
    world.freight.after[Kind.CDR, "C1"] = ((Kind.SESSION, "S1"),)
    world.client.answers = [REFUSED]
    world.store.mark(Kind.SESSION, "S1")
    world.store.mark(Kind.CDR, "C1")
    await world.quiet()

    assert [url for _, url, _ in world.client.sent] == ["S1", "C1"]


async def test_PUSH_6_a_refused_object_is_parked_with_the_answer_and_survives_a_restart(world):
    world.client.answers = [REFUSED]
    world.store.mark(Kind.CDR, "C1")
    await world.quiet()

    stored = world.store.marks["p1", Kind.CDR, "C1"]
    assert (stored.parked, stored.last_error) == (True, "2001 kwh")
    again = World()
    again.store.marks = world.store.marks
    await again.push.start()
    await again.quiet()
    await again.push.stop()
    assert again.client.sent == []
    assert again.push.backlog("p1")[0].parked


async def test_a_parked_object_is_sent_again_once_it_changes_or_is_resent(world):
    world.client.answers = [REFUSED]
    world.store.mark(Kind.CDR, "C1")
    await world.quiet()
    world.store.mark(Kind.CDR, "C1")
    await world.quiet()

    assert len(world.client.sent) == 2
    assert world.store.marks == {}


async def test_one_poisonous_object_does_not_hold_the_others(world):
    world.client.answers = [BROKEN]
    for n in range(5):
        world.store.mark(Kind.SESSION, f"S{n}")
    await world.quiet()

    assert {url for _, url, _ in world.client.sent} == {f"S{n}" for n in range(5)}


async def test_an_outage_loses_nothing(world):
    world.client.answers = [NO_ANSWER] * 12
    for n in range(8):
        world.store.mark(Kind.SESSION, f"S{n}")
    await world.quiet()

    assert world.store.marks == {}


async def test_while_the_breaker_is_open_only_probes_leave():
    world = World(shortest=3600)
    await world.push.start()
    world.client.answers = [NO_ANSWER] * 50
    for n in range(50):
        world.store.mark(Kind.SESSION, f"S{n}")
    await until(lambda: world.push.state("p1")["breaker"] == "open")
    await asyncio.sleep(0.05)
    state = world.push.state("p1")
    await world.push.stop()

    # Three failures open it; up to four more were under way by then.
    assert len(world.client.sent) <= 7
    assert (state["breaker"], state["reason"], state["unheard"]) == ("open", Failure.NETWORK, 50)


async def test_PUSH_7_a_partner_that_calls_us_is_tried_at_once():
    world = World(shortest=3600)
    await world.push.start()
    world.client.answers = [NO_ANSWER] * 4
    for n in range(4):
        world.store.mark(Kind.SESSION, f"S{n}")
    await until(lambda: world.push.state("p1")["breaker"] == "open")
    lane = world.push._lanes["p1"]
    await until(lambda: not lane._tasks)
    assert len(world.client.sent) == 4
    lane._alive_at = -7200.0
    world.push.called("p1")
    await until(lambda: len(world.client.sent) > 4)
    await world.push.stop()


async def test_PUSH_7_what_was_tried_in_vain_leaves_as_soon_as_another_gets_through():
    world = World(shortest=3600)
    await world.push.start()
    world.client.answers = [NO_ANSWER] * 4
    for n in range(4):
        world.store.mark(Kind.SESSION, f"S{n}")
    await until(lambda: world.push.state("p1")["breaker"] == "open")
    lane = world.push._lanes["p1"]
    await until(lambda: not lane._tasks)
    lane._breaker = replace(lane._breaker, until=0.0)
    world.store.mark(Kind.SESSION, "S4")
    await world.quiet()
    await world.push.stop()

    assert [url for _, url, _ in world.client.sent[4:]] == ["S4", "S0", "S1", "S2", "S3"]
    assert world.store.marks == {}


async def test_what_waited_for_a_start_leaves_at_the_drain_rate():
    world, clock = World(drain_rate=20), asyncio.get_running_loop()
    for n in range(60):
        world.store.mark(Kind.SESSION, f"S{n}")
    began = clock.time()
    await world.push.start()
    await until(lambda: len(world.client.sent) >= 5)
    await asyncio.sleep(0.1)
    early, seconds = len(world.client.sent), clock.time() - began
    await world.push.stop()

    assert early <= 20 * (1 + seconds)


async def test_what_an_outage_piled_up_leaves_at_the_drain_rate():
    """Whether it changed before the outage was noticed or after it."""
    world, clock = World(drain_rate=20, shortest=3600), asyncio.get_running_loop()
    await world.push.start()
    world.client.answers = [NO_ANSWER] * 30
    for n in range(30):
        world.store.mark(Kind.SESSION, f"S{n}")
    await until(lambda: world.push.state("p1")["breaker"] == "open")
    lane = world.push._lanes["p1"]
    await until(lambda: not lane._tasks)
    world.client.answers.clear()
    for n in range(30):
        world.store.mark(Kind.SESSION, f"T{n}")
    began, before = clock.time(), len(world.client.sent)
    lane._alive_at = -7200.0
    world.push.called("p1")
    await until(lambda: len(world.client.sent) >= before + 5)
    await asyncio.sleep(0.1)
    early, seconds = len(world.client.sent) - before, clock.time() - began
    await world.push.stop()

    assert early <= 20 * (1 + seconds)


async def test_changes_and_backlog_take_turns_at_a_partner_slower_than_the_drain_rate():
    world = World(in_flight=1)
    for n in range(40):
        world.store.mark(Kind.TARIFF, f"T{n}")
    world.client.gate = asyncio.Event()
    await world.push.start()
    await until(lambda: world.client.under_way)
    for n in range(3):
        world.store.mark(Kind.SESSION, f"S{n}")
    world.client.gate.set()
    await world.quiet()
    await world.push.stop()

    assert [url for _, url, _ in world.client.sent[:8]] == [
        *("T0", "S0", "T1", "S1", "T2", "S2"),
        *("T3", "T4"),
    ]
    assert len(world.client.sent) == 43


async def test_a_pause_asked_for_parks_nothing(world):
    world.client.answers = [
        Answer(http_status=429, failure=Failure.BUSY, retry_after=0.02, detail="429")
    ]
    world.store.mark(Kind.SESSION, "S1")
    await world.quiet()

    assert len(world.client.sent) == 2
    assert world.store.marks == {}


async def test_LOC_31_a_status_of_a_confirmed_location_is_a_patch(world):
    world.freight.evses["L1"] = ("E1",)
    world.store.mark(Kind.LOCATION, "L1")
    await world.quiet()
    world.store.mark(Kind.EVSE, "L1/E1")
    await world.quiet()

    assert [method for method, _, _ in world.client.sent] == ["PUT", "PATCH"]


async def test_LOC_32_PUSH_5_a_patch_that_failed_is_followed_by_the_whole(world):
    world.freight.evses["L1"] = ("E1",)
    world.store.mark(Kind.LOCATION, "L1")
    await world.quiet()
    world.client.answers = [GONE]
    world.store.mark(Kind.EVSE, "L1/E1")
    await world.quiet()

    assert [method for method, _, _ in world.client.sent] == ["PUT", "PATCH", "PUT"]


async def test_a_location_sent_whole_settles_its_statuses(world):
    world.freight.evses["L1"] = ("E1", "E2")
    for item in ((Kind.LOCATION, "L1"), (Kind.EVSE, "L1/E1"), (Kind.EVSE, "L1/E2")):
        world.store.mark(*item)
    await world.quiet()

    assert [method for method, _, _ in world.client.sent] == ["PUT"]
    assert world.store.marks == {}


async def test_LOC_34_flapping_statuses_leave_as_the_first_and_the_last():
    world = World(status_debounce=0.5)
    await world.push.start()
    world.freight.evses["L1"] = ("E1",)
    world.store.mark(Kind.LOCATION, "L1")
    await world.quiet()
    world.client.sent.clear()
    for n in range(6):
        world.freight.texts[Kind.EVSE, "L1/E1"] = str(n)
        world.store.mark(Kind.EVSE, "L1/E1")
        await asyncio.sleep(0)
    await world.quiet()
    await world.push.stop()

    bodies = [body for _, _, body in world.client.sent]
    assert len(bodies) <= 3
    assert bodies[-1] == "5"


async def test_PUSH_6_an_address_that_is_gone_is_looked_up_once(world):
    world.client.answers = [GONE, GONE]
    world.store.mark(Kind.TARIFF, "T1")
    world.store.mark(Kind.TARIFF, "T2")
    await world.quiet()

    assert world.refreshed == ["p1"]


async def test_promise_7_what_is_not_valid_is_held_back_with_the_field(world):
    world.freight.special[Kind.SESSION, "S1"] = HeldBack("kwh: is negative")
    world.store.mark(Kind.SESSION, "S1")
    await world.quiet()

    assert world.client.sent == []
    assert world.push.backlog("p1")[0].last_error == "kwh: is negative"


async def test_what_has_nothing_to_send_is_settled(world):
    world.freight.special[Kind.LOCATION, "L1"] = NOTHING
    world.store.mark(Kind.LOCATION, "L1")
    await world.quiet()

    assert world.store.marks == {}


async def test_OFF_1_a_strict_partner_gets_nothing_twice_but_its_cdr_waits_for_a_person():
    world = World(policy={"strict": True})
    await world.push.start()
    world.client.answers = [NO_ANSWER, NO_ANSWER]
    world.store.mark(Kind.SESSION, "S1")
    world.store.mark(Kind.CDR, "C1")
    await world.quiet()
    await world.push.stop()

    assert len(world.client.sent) == 2
    assert [(m.kind, m.parked) for m in world.push.backlog("p1")] == [(Kind.CDR, True)]


@pytest.mark.parametrize("status", [PartnerStatus.SUSPENDED, PartnerStatus.DISCONNECTED])
async def test_HUB_2_nothing_is_sent_to_a_partner_that_is_not_connected(world, status):
    world.partners.by_id["p1"] = replace(world.partner, status=status)
    world.store.mark(Kind.SESSION, "S1")
    await asyncio.sleep(0.02)

    assert world.client.sent == []
    assert len(world.push.backlog("p1")) == 1


async def test_a_partner_that_comes_back_gets_what_it_missed(world):
    world.partners.by_id["p1"] = replace(world.partner, status=PartnerStatus.SUSPENDED)
    world.store.mark(Kind.SESSION, "S1")
    world.push.changed(world.partners.by_id["p1"])
    world.partners.by_id["p1"] = world.partner
    world.push.changed(world.partner)
    await world.quiet()

    assert world.store.marks == {}


async def test_P4_a_dead_partner_does_not_touch_another():
    world = World()
    other = replace(world.partner, id="p2")
    world.partners.by_id["p2"] = other
    await world.push.start()
    world.client.gate = asyncio.Event()
    for n in range(10):
        world.store.mark(Kind.SESSION, f"S{n}")
    await until(lambda: world.client.under_way)
    world.store.mark(Kind.SESSION, "T1", partner="p2")
    await until(lambda: "T1" in world.client.under_way)
    await world.push.stop()


async def test_PUSH_12_operators_see_how_sending_goes(world):
    world.client.answers = [REFUSED]
    world.store.mark(Kind.SESSION, "S1")
    await world.quiet()
    state = world.push.state("p1")

    assert (state["breaker"], state["parked"], state["last_error"]) == ("closed", 1, "2001 kwh")
    assert state["oldest_since"] == AT


async def test_PUSH_3_after_a_start_sessions_leave_before_cdrs():
    world = World()
    for n in range(3):
        world.store.mark(Kind.CDR, f"C{n}")
    for n in range(3):
        world.store.mark(Kind.SESSION, f"S{n}")
    world.store.mark(Kind.TARIFF, "T1")
    await world.push.start()
    await world.quiet()
    await world.push.stop()

    assert [url for _, url, _ in world.client.sent] == ["T1", "S0", "S1", "S2", "C0", "C1", "C2"]
