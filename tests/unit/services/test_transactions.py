"""From a charger's messages to one Session and one CDR (promise 2)."""

import asyncio
import json
from datetime import timedelta
from decimal import Decimal

import pytest
from charging import NOON, Charging

from cpo.domain.cdr import Cdr
from cpo.domain.events import (
    Availability,
    EventKind,
    IdToken,
    MeterReport,
    Sample,
    StatusReport,
    TransactionEvent,
)
from cpo.domain.location import location_document
from cpo.domain.session import Session
from cpo.domain.tokens import Allowed, Verdict
from cpo.domain.transaction import Transaction
from cpo.domain.values import replace
from cpo.errors import StoreUnavailable
from cpo.ocpi.dialects import DIALECTS
from cpo.services.ports import Kind, Orphan, RealTimeAnswer

V211, V230 = DIALECTS["2.1.1"].codec, DIALECTS["2.3.0"].codec


def at(minutes):
    return NOON + timedelta(minutes=minutes)


def start(**changes):
    event = TransactionEvent(
        kind=EventKind.STARTED,
        at=NOON,
        received_at=NOON,
        evse_id=1,
        connector_id=1,
        id_token=IdToken("TAG"),
        meter_wh=Decimal(1000),
    )
    return replace(event, **changes)


def stop(transaction, wh=11_000, minutes=60, **changes):
    event = TransactionEvent(
        kind=EventKind.ENDED,
        at=at(minutes),
        received_at=at(minutes),
        transaction=transaction,
        meter_wh=Decimal(wh),
    )
    return replace(event, **changes)


def meter(minutes, wh, transaction=None, evse_id=1):
    return MeterReport(
        evse_id=evse_id,
        samples=(Sample(at(minutes), Decimal(wh)),),
        received_at=at(minutes),
        transaction=transaction,
    )


def step(seq, kind=EventKind.UPDATED, *, wh=None, transaction="TX", **changes):
    event = TransactionEvent(
        kind=kind,
        at=at(seq),
        received_at=at(seq),
        transaction=transaction,
        seq=seq,
        evse_id=1,
        connector_id=1,
        trigger="x",
        samples=() if wh is None else (Sample(at(seq), Decimal(wh)),),
    )
    return replace(event, **changes)


@pytest.fixture
async def charging():
    world = Charging()
    world.partner()
    await world.site(evses=2)
    await world.token()
    world.store.marks.clear()
    return world


async def test_a_charge_becomes_one_session_and_one_cdr(charging):
    """TX16-01, MAP-20: 10 kWh at 0.30 and 20 % VAT."""
    answer = await charging.told(start())
    charging.pass_time(minutes=30)
    await charging.metered(meter(30, 6000, answer.transaction))
    await charging.told(stop(answer.transaction))

    [session] = charging.store.all(Session)
    [cdr] = charging.store.all(Cdr)
    assert session.status == "COMPLETED"
    assert session.energy_wh == cdr.energy_wh == Decimal(10_000)
    assert cdr.cost.total.excl_vat == Decimal("3.0000")
    assert cdr.cost.total.incl_vat == Decimal("3.6000")
    assert sum(p.energy_wh for p in cdr.periods) == cdr.energy_wh
    assert cdr.session_id == session.id
    assert cdr.hold == ()
    kinds = [mark.kind for mark in charging.store.marks if mark.partner_id == "P1"]
    assert kinds[-2:] == [Kind.SESSION, Kind.CDR]


@pytest.mark.parametrize(
    ("owners", "compensated"),
    [((), None), (("NL-MSP-OTHER",), None), (("NL-MSP-OTHER", "nlmsptag"), True)],
)
async def test_who_charges_at_home_is_compensated(charging, owners, compensated):
    """CDR-15."""
    sites = charging.memory.sites
    place = sites.locations["L-CP1"]
    document = location_document(place)
    for evse in document["evses"]:
        evse["home_charger_of"] = list(owners)
    await charging.sites.put_location("L-CP1", document, actor="test")

    answer = await charging.told(start())
    await charging.told(stop(answer.transaction))

    [cdr] = charging.store.all(Cdr)
    assert cdr.home_charging_compensation is compensated
    told = {v: json.loads(codec.cdr(cdr).text) for v, codec in (("2.1.1", V211), ("2.3.0", V230))}
    assert told["2.3.0"].get("home_charging_compensation") is compensated
    assert ("compensated" in told["2.1.1"].get("remark", "")) is bool(compensated)
    assert "home_charger_of" not in str(told)


async def test_a_start_told_again_gets_the_same_id_and_makes_nothing(charging):
    """TX16-02, TX16-04, AU-05, P1."""
    first = await charging.told(start())
    again = await charging.told(start(received_at=at(3)))

    assert again == first
    assert len(charging.store.all(Transaction)) == 1


async def test_a_start_told_again_after_the_stop_reopens_nothing(charging):
    """TX16-03."""
    first = await charging.told(start())
    await charging.told(stop(first.transaction))

    assert (await charging.told(start())).transaction == first.transaction
    assert [t.open for t in charging.store.all(Transaction)] == [False]


async def test_a_start_told_again_after_a_restart_is_recognised(charging):
    """TX16-24, OF-02: the memory of a new process comes from the disk."""
    first = await charging.told(start())
    await charging.told(stop(first.transaction))
    charging.memory.stations["CP1"].transactions.clear()
    charging.memory.stations["CP1"].starts.clear()
    charging.memory.stations["CP1"].history_loaded = False

    assert (await charging.told(start())).transaction == first.transaction


async def test_ids_of_1_6_are_random_positive_31_bit(charging):
    """TX16-05, TX16-20, D10."""
    one = await charging.told(start())
    other = await charging.told(start(evse_id=2))

    numbers = {int(one.transaction), int(other.transaction)}
    assert len(numbers) == 2
    assert all(1 <= number < 2**31 for number in numbers)


async def test_a_second_start_on_a_busy_connector_ends_the_older(charging):
    """TX16-06: the older one is held, both are visible."""
    first = await charging.told(start())
    await charging.metered(meter(5, 3000, first.transaction))
    await charging.told(start(at=at(60), received_at=at(60), meter_wh=Decimal(4000)))

    older, newer = sorted(charging.store.all(Transaction), key=lambda t: t.started_at)
    assert not older.open
    assert newer.open
    [cdr] = charging.store.all(Cdr)
    assert "estimated_end" in cdr.hold
    assert not any(mark.kind is Kind.CDR for mark in charging.store.marks)


async def test_the_real_stop_after_an_assumed_end_is_billed(charging):
    """TX16-06."""
    first = await charging.told(start())
    await charging.told(start(at=at(60), received_at=at(60), meter_wh=Decimal(9000)))
    await charging.told(stop(first.transaction, wh=8000, minutes=50))

    cdr = next(c for c in charging.store.all(Cdr) if c.energy_wh == Decimal(7000))
    assert cdr.hold == ()
    assert [m.object_id for m in charging.store.marks if m.kind is Kind.CDR] == [cdr.id]


async def test_a_stop_told_twice_makes_one_cdr(charging):
    """TX16-07, I2."""
    answer = await charging.told(start())
    for _ in range(3):
        await charging.told(stop(answer.transaction))

    assert len(charging.store.all(Cdr)) == 1
    assert len([m for m in charging.store.marks if m.kind is Kind.CDR]) == 1


async def test_a_stop_of_an_unknown_transaction_is_kept_and_answered(charging):
    """TX16-08, TX16-17, P3."""
    answer = await charging.told(stop("12345", id_token=IdToken("TAG")))

    assert answer.token.verdict is Verdict.ACCEPTED
    [orphan] = charging.store.all(Orphan)
    assert orphan.payload == "raw"
    assert charging.store.all(Cdr) == []


@pytest.mark.parametrize("never_given", ["-1", "0", "2147483648", str(2**63 - 1), "9" * 5000])
async def test_a_stop_with_an_id_we_never_give_ends_the_only_open_transaction(
    charging, never_given
):
    """TX16-09, Q23: told again it changes nothing, and its readings belong to it."""
    await charging.told(start())
    charging.pass_time(minutes=2)
    await charging.metered(meter(1, 4000, never_given))
    for _ in range(2):
        await charging.told(stop(never_given))

    [cdr] = charging.store.all(Cdr)
    assert cdr.hold == ()
    [transaction] = charging.store.all(Transaction)
    assert "matched_without_id" in transaction.flags
    assert charging.store.all(Orphan) == []


async def test_the_largest_id_we_give_is_no_nameless_one(charging):
    """TX16-08, Q23: it may be of a charge we do not remember, and ends no other."""
    await charging.told(start())
    await charging.told(stop(str(2**31 - 1)))

    [transaction] = charging.store.all(Transaction)
    assert transaction.open
    [orphan] = charging.store.all(Orphan)
    assert f"it may be the end of {transaction.key} at EVSE 1" in orphan.reason


async def test_a_stop_of_nobody_names_no_charge_that_it_cannot_be_of(charging):
    """TX16-08: before its start, below its register, or of one of two that both fit."""
    await charging.told(start())
    await charging.told(stop(str(2**31 - 1), wh=500))
    await charging.told(stop(str(2**31 - 2), minutes=-5))
    await charging.told(start(evse_id=2))
    await charging.told(stop(str(2**31 - 3)))

    assert [o for o in charging.store.all(Orphan) if "may be the end" in o.reason] == []
    assert all(t.open for t in charging.store.all(Transaction))


async def test_a_stop_cannot_end_another_stations_transaction(charging):
    """TX16-10, S6, SEC-09."""
    await charging.site("CP2")
    answer = await charging.told(start())
    await charging.told(stop(answer.transaction), station="CP2")

    [transaction] = charging.store.all(Transaction)
    assert transaction.open
    assert len(charging.store.all(Orphan)) == 1


async def test_a_falling_meter_is_held_not_billed(charging):
    """TX16-14, I3, P11."""
    answer = await charging.told(start())
    await charging.told(stop(answer.transaction, wh=500))

    [cdr] = charging.store.all(Cdr)
    assert cdr.energy_wh == 0
    assert cdr.hold == ("meter_stop_below_start",)
    assert not any(mark.kind is Kind.CDR for mark in charging.store.marks)


async def test_an_offline_charge_told_late_is_billed_at_its_own_times(charging):
    """TX16-16, SES-20."""
    charging.pass_time(hours=5)
    answer = await charging.told(start(received_at=at(300)))
    await charging.told(stop(answer.transaction, received_at=at(300)))

    [cdr] = charging.store.all(Cdr)
    assert (cdr.start_date_time, cdr.end_date_time) == (NOON, at(60))


async def test_readings_after_the_stop_leave_the_cdr_alone(charging):
    """TX16-19, BR-05."""
    answer = await charging.told(start())
    await charging.told(stop(answer.transaction))
    [before] = charging.store.all(Cdr)
    await charging.metered(meter(59, 99_000, answer.transaction))

    assert charging.store.all(Cdr) == [before]


async def test_readings_without_an_id_belong_to_the_connectors_transaction(charging):
    """MV-09, MV-10, Q25."""
    await charging.told(start())
    charging.pass_time(minutes=2)
    await charging.metered(meter(1, 4000))
    await charging.metered(meter(2, 5000, "-1"))

    [transaction] = await charging.store.open_transactions()
    assert [s.register_wh for s in transaction.samples] == [Decimal(4000), Decimal(5000)]


async def test_a_refused_token_is_told_so_and_not_billed(charging):
    """AU-01, AU-06: the id is given all the same, the session is INVALID."""
    await charging.token("BAD", valid=False, whitelist="ALWAYS")
    answer = await charging.told(start(id_token=IdToken("BAD")))
    await charging.told(stop(answer.transaction, wh=1000, stopped_reason="DeAuthorized"))

    assert answer.token.verdict is Verdict.BLOCKED
    assert int(answer.transaction) > 0
    [session] = charging.store.all(Session)
    assert session.status == "INVALID"
    assert charging.store.all(Cdr) == []


async def test_id_tags_compare_without_case(charging):
    """AU-02."""
    assert (await charging.told(start(id_token=IdToken("tag")))).token.verdict is Verdict.ACCEPTED


async def test_a_group_is_told(charging):
    """AU-03: as it is; the mapping of 1.6 shortens it (TOK-29)."""
    await charging.token("G", group_id="A-GROUP-WITH-A-LONG-NAME-0001")
    answer = await charging.told(start(id_token=IdToken("G")))

    assert answer.token.group == "A-GROUP-WITH-A-LONG-NAME-0001"


async def test_the_emsp_is_asked_once_for_authorize_and_start(charging):
    """AU-04, TOK-24."""
    await charging.token("ASK", whitelist="NEVER")
    charging.emsp.answers["ASK"] = RealTimeAnswer(
        allowed=Allowed.ALLOWED, authorization_reference="REF"
    )
    answer = await charging.stations.authorize("CP1", IdToken("ASK"))
    await charging.told(start(id_token=IdToken("ASK")))

    assert answer.verdict is Verdict.ACCEPTED
    assert len(charging.emsp.asked) == 1
    [session] = charging.store.all(Session)
    assert session.authorization_reference == "REF"
    assert session.auth_method == "AUTH_REQUEST"


async def test_a_silent_emsp_fails_closed(charging):
    """AU-04, S36."""
    await charging.token("ASK", whitelist="NEVER")

    assert (await charging.stations.authorize("CP1", IdToken("ASK"))).verdict is Verdict.INVALID


async def test_a_tariff_edit_does_not_change_a_running_session(charging):
    """D11, TAR-43."""
    answer = await charging.told(start())
    await charging.site(kwh_price="9.99", evses=2)
    await charging.told(stop(answer.transaction))

    [cdr] = charging.store.all(Cdr)
    assert cdr.cost.total.excl_vat == Decimal("3.0000")


async def test_a_failed_commit_leaves_memory_as_it_was(charging):
    """RP-26: the charger gets an error, repeats, and there is one transaction."""
    charging.store.fail = StoreUnavailable("disk full")
    with pytest.raises(StoreUnavailable):
        await charging.told(start())
    assert charging.memory.stations["CP1"].transactions == {}

    await charging.told(start())

    assert len(charging.store.all(Transaction)) == 1


async def test_a_2x_charge_is_billed_the_same(charging):
    """TX20-01, TX20-23."""
    token = IdToken("TAG", "ISO14443")
    await charging.told(step(0, EventKind.STARTED, id_token=token, wh=1000))
    await charging.told(step(1, wh=4000))
    answer = await charging.told(step(2, EventKind.ENDED, wh=11_000))

    [cdr] = charging.store.all(Cdr)
    assert cdr.energy_wh == Decimal(10_000)
    assert answer.total_cost == Decimal("3.6000")


async def test_a_2x_start_without_a_token_waits_for_one(charging):
    """TX20-02, TX20-03, TX20-04."""
    await charging.told(step(0, EventKind.STARTED, evse_id=None, connector_id=None))
    assert charging.store.all(Session) == []

    answer = await charging.told(step(1, id_token=IdToken("TAG", "ISO14443")))

    assert answer.token.verdict is Verdict.ACCEPTED
    [session] = charging.store.all(Session)
    assert session.status == "ACTIVE"


async def test_a_gap_holds_the_cdr_until_it_is_filled(charging):
    """TX20-06, E_31, BR-04."""
    token = IdToken("TAG", "ISO14443")
    await charging.told(step(0, EventKind.STARTED, id_token=token, wh=1000))
    await charging.told(step(3, EventKind.ENDED, wh=11_000))
    assert charging.store.all(Cdr) == []

    await charging.told(step(1, wh=2000))
    await charging.told(step(2, wh=3000))

    [cdr] = charging.store.all(Cdr)
    assert cdr.energy_wh == Decimal(10_000)
    await charging.transactions.close()


async def test_a_gap_that_is_never_filled_is_billed_in_the_end(charging):
    """TX20-06: bounded."""
    token = IdToken("TAG", "ISO14443")
    await charging.told(step(0, EventKind.STARTED, id_token=token, wh=1000))
    await charging.told(step(3, EventKind.ENDED, wh=11_000))
    async with asyncio.timeout(30):
        while not charging.store.all(Cdr):
            await asyncio.sleep(0.01)

    [cdr] = charging.store.all(Cdr)
    assert "events_missing" in cdr.flags


async def test_an_id_used_again_later_is_another_transaction(charging):
    """TX20-21."""
    token = IdToken("TAG", "ISO14443")
    await charging.told(step(0, EventKind.STARTED, id_token=token, wh=1000))
    await charging.told(step(1, EventKind.ENDED, wh=2000))
    await charging.told(step(10, EventKind.STARTED, id_token=token, wh=2000))
    await charging.told(step(11, EventKind.ENDED, wh=5000))

    assert sorted(c.energy_wh for c in charging.store.all(Cdr)) == [Decimal(1000), Decimal(3000)]


async def charges_after(charging, number):
    """Let the station charge so many times more, hours later."""
    for n in range(1, number + 1):
        later = 600 * n
        event = start(at=at(later), received_at=at(later), meter_wh=Decimal(20_000 * n))
        answer = await charging.told(event)
        await charging.metered(meter(later + 1, 20_000 * n + 500, answer.transaction))
        await charging.told(stop(answer.transaction, 20_000 * n + 1000, later + 60))


async def test_of_ended_charges_only_the_newest_keep_their_readings_in_memory(charging):
    """TX16-03: what is told again of an older one is compared with what is stored."""
    first = await charging.told(start())
    await charging.metered(meter(1, 4000, first.transaction))
    await charging.told(stop(first.transaction))
    await charges_after(charging, 4)
    state = charging.memory.stations["CP1"]
    held = [t for t in state.transactions.values() if t.samples]
    assert (len(state.transactions), len(held)) == (5, 2)
    before = (charging.store.all(Transaction), charging.store.all(Session), charging.store.all(Cdr))
    readings = {key: list(kept) for key, kept in charging.store.readings.items()}

    again = await charging.told(start())
    await charging.metered(meter(1, 4000, first.transaction))
    await charging.told(stop(first.transaction))
    await charging.told(stop("-1"))

    assert again.transaction == first.transaction
    assert charging.store.all(Orphan) == []
    assert (
        charging.store.all(Transaction),
        charging.store.all(Session),
        charging.store.all(Cdr),
    ) == before
    assert {key: kept for key, kept in charging.store.readings.items() if kept} == readings


async def test_a_late_event_of_an_older_charge_is_taken_into_all_that_is_known_of_it(charging):
    """TX20-10, TX20-14: its CDR is held, so it may still change; the newer charges stay."""
    token = IdToken("TAG", "ISO14443")
    await charging.told(step(1, wh=4000, id_token=token))
    await charging.told(step(2, EventKind.ENDED, wh=11_000))
    state = charging.memory.stations["CP1"]
    async with asyncio.timeout(30):
        while "TX" not in state.transactions or not state.transactions["TX"].settled:
            await asyncio.sleep(0.01)
    for n in range(1, 4):
        charging.pass_time(hours=1)
        later = {"transaction": f"TX{n}", "id_token": token}
        await charging.told(step(100 * n, EventKind.STARTED, wh=20_000 * n, **later))
        await charging.told(step(100 * n + 1, EventKind.ENDED, wh=20_000 * n + 1000, **later))
    await charging.told(step(0, EventKind.STARTED, wh=1000, id_token=token))

    [whole] = [t for t in charging.store.all(Transaction) if t.key == "TX"]
    assert [s.register_wh for s in sorted(whole.samples, key=lambda s: s.at)] == [
        1000,
        4000,
        11_000,
    ]
    await charging.transactions.close()


async def test_a_session_is_published_at_once_then_once_a_window(charging):
    """SES-8, contract: the first change leaves at once, followers as the newest state."""
    answer = await charging.told(start())
    charging.store.marks.clear()
    for minute in range(1, 4):
        charging.clock += timedelta(seconds=5)
        await charging.metered(meter(minute, 1000 + 100 * minute, answer.transaction))
    assert charging.store.marks == []

    charging.pass_time(seconds=60)
    await charging.metered(meter(5, 2000, answer.transaction))

    # The timer of the window is still set: it publishes at the end of the window.
    assert len(charging.transactions._timers) == 1
    await charging.transactions.close()


async def test_the_end_of_the_window_publishes_the_newest_state():
    charging = Charging(update_interval=0.05)
    charging.partner()
    await charging.site()
    await charging.token()
    answer = await charging.told(start())
    await charging.metered(meter(1, 3000, answer.transaction))
    async with asyncio.timeout(30):
        while charging.store.all(Session)[0].energy_wh != Decimal(2000):
            await asyncio.sleep(0.01)


async def test_a_station_without_a_location_charges_unbilled(charging):
    """BR-09: nothing bound, nothing published, nothing lost."""
    from cpo.domain.station import Station

    await charging.stations.register(Station(identity="LONE"), actor="test")
    answer = await charging.told(start(), station="LONE")
    await charging.told(stop(answer.transaction), station="LONE")

    assert charging.store.all(Session) == []
    transactions = [t for t in charging.store.all(Transaction) if t.station == "LONE"]
    assert [t.open for t in transactions] == [False]


async def test_an_update_is_answered_with_the_cost_so_far(charging):
    """The totalCost in TransactionEventResponse, as it was last published."""
    charging.transactions._update_interval = 0
    token = IdToken("TAG", "ISO14443")
    await charging.told(step(0, EventKind.STARTED, id_token=token, wh=1000))
    first = await charging.told(step(1, wh=4000))
    again = await charging.told(step(1, wh=4000))

    assert first.total_cost == again.total_cost == Decimal("1.0800")
    await charging.transactions.close()


@pytest.mark.parametrize("year", [1970, 2099])
async def test_times_that_cannot_be_give_way_to_the_arrival(charging, year):
    """MAP-25, BO-18, SEC-11: the session has sane times, and its CDR waits for the operator."""
    wrong = NOON.replace(year=year)
    answer = await charging.told(start(at=wrong))
    again = await charging.told(start(at=wrong, received_at=at(1)))
    await charging.told(
        stop(answer.transaction, at=wrong + timedelta(minutes=30), received_at=at(30))
    )

    [cdr] = charging.store.all(Cdr)
    assert again.transaction == answer.transaction
    assert (cdr.start_date_time, cdr.end_date_time) == (NOON, at(30))
    assert "clock_implausible" in cdr.hold


async def offers(charging, *tariffs):
    """Let the connector offer tariffs: (id, type, price of a kWh)."""
    for name, kind, price in tariffs:
        component = {"type": "ENERGY", "price": Decimal(price), "step_size": 1}
        body = {"currency": "EUR", "elements": [{"price_components": [component]}]}
        if kind is not None:
            body["type"] = kind
        await charging.sites.put_tariff(name, body, actor="test")
    location = charging.memory.sites.locations["L-CP1"]
    ids = tuple(name for name, _, _ in tariffs)
    evses = tuple(
        replace(evse, connectors=tuple(replace(c, tariff_ids=ids) for c in evse.connectors))
        for evse in location.evses
    )
    charging.memory.sites.put(replace(location, evses=evses), NOON)


async def billed(charging, **changes):
    answer = await charging.told(start(**changes))
    await charging.told(stop(answer.transaction))
    return charging.store.all(Cdr)[-1].cost.total.excl_vat


async def test_a_partner_pays_the_tariff_of_its_contract(charging):
    """Several tariffs by partner; policy.tariffs names those a partner may see."""
    await offers(charging, ("LIST", None, "0.50"), ("DEAL", None, "0.40"))
    charging.partners.by_id["P1"].policy["tariffs"] = ["DEAL"]

    assert await billed(charging) == Decimal("4.0000")


async def test_who_pays_ad_hoc_pays_the_ad_hoc_tariff(charging):
    """TAR-5, TAR-6."""
    await offers(
        charging, ("SPOT", "AD_HOC_PAYMENT", "0.80"), ("REG", "REGULAR", "0.30"), ("ANY", None, "9")
    )
    await charging.token("GUEST", type="AD_HOC_USER")

    assert await billed(charging) == Decimal("3.0000")
    assert await billed(charging, at=at(90), id_token=IdToken("GUEST")) == Decimal("8.0000")


async def test_waiting_for_the_site_is_charging_time_and_waiting_for_the_car_is_parking(charging):
    """BR-10, MAP-23: SuspendedEVSE is no parking."""
    answer = await charging.told(start())
    for minutes, activity in ((10, "SuspendedEVSE"), (30, "SuspendedEV")):
        await charging.status(
            StatusReport(
                evse_id=1,
                connector_id=1,
                availability=Availability.OCCUPIED,
                activity=activity,
                at=at(minutes),
                received_at=at(minutes),
            )
        )
    await charging.told(stop(answer.transaction))

    [cdr] = charging.store.all(Cdr)
    assert (cdr.time_s, cdr.parking_s) == (3600, 1800)


@pytest.mark.parametrize(("parks", "parking_s"), [(None, 0), (False, 0), (True, 1800)])
async def test_whether_waiting_for_the_site_is_parking_is_a_partners_contract(
    charging, parks, parking_s
):
    """BR-10, MAP-23: the contract when it began counts."""
    charging.partners.by_id["P1"].policy["suspended_evse_is_parking"] = parks
    answer = await charging.told(start())
    charging.partners.by_id["P1"].policy["suspended_evse_is_parking"] = not parks
    await charging.status(
        StatusReport(
            evse_id=1,
            connector_id=1,
            availability=Availability.OCCUPIED,
            activity="SuspendedEVSE",
            at=at(30),
            received_at=at(30),
        )
    )
    await charging.told(stop(answer.transaction))

    [cdr] = charging.store.all(Cdr)
    assert (cdr.time_s, cdr.parking_s) == (3600, parking_s)


@pytest.mark.parametrize(("shown", "told"), [(None, 55), (True, 55), (False, None)])
async def test_whether_the_battery_is_shown_is_a_partners_contract(charging, shown, told):
    """MV-23: how full a car is may be nobody else's business."""
    charging.partners.by_id["P1"].policy["state_of_charge"] = shown
    answer = await charging.told(start())
    reading = Sample(at(10), Decimal(3000), soc_percent=Decimal(55))
    charging.pass_time(minutes=10)
    await charging.metered(replace(meter(10, 3000, answer.transaction), samples=(reading,)))
    await charging.told(stop(answer.transaction))

    [session] = charging.store.all(Session)
    assert session.soc_percent == told


async def test_a_charge_without_energy_is_billed_at_nothing_and_sent(charging):
    """BR-11, CDR-20, promise 2: zero-energy sessions have their CDR, too."""
    answer = await charging.told(start())
    await charging.told(stop(answer.transaction, wh=1000, minutes=1))

    [cdr] = charging.store.all(Cdr)
    assert cdr.cost.total.excl_vat == 0
    assert charging.store.marks[-1].object_id == cdr.id
