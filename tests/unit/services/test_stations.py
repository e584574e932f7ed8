"""Stations: status to partners, online and offline, what the operator registers."""

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest
from charging import NOON, PLACE, Charging
from waiting import until

from cpo.domain.events import (
    Availability,
    Boot,
    EventKind,
    IdToken,
    StatusReport,
    TransactionEvent,
)
from cpo.domain.station import Approval, Station
from cpo.errors import Invalid
from cpo.services.ports import EvseState, Kind, Work

UID = "CP1-uid-1-x"


def report(availability=Availability.AVAILABLE, *, minutes=0, evse_id=1, activity=None):
    moment = NOON + timedelta(minutes=minutes)
    return StatusReport(
        evse_id=evse_id,
        connector_id=1 if evse_id else 0,
        availability=availability,
        activity=activity,
        at=moment,
        received_at=moment,
    )


@pytest.fixture
async def charging():
    world = Charging()
    world.partner()
    await world.site(evses=2)
    world.store.marks.clear()
    return world


def status(charging, uid=UID):
    return charging.memory.sites.status("L-CP1", uid)


async def test_a_changed_status_is_published_once(charging):
    """ST-01, BR-01."""
    await charging.status(report())
    await charging.status(report(minutes=1))

    assert status(charging) == "AVAILABLE"
    assert [(m.kind, m.object_id) for m in charging.store.marks] == [(Kind.EVSE, f"L-CP1/{UID}")]


async def test_an_older_status_changes_nothing(charging):
    """ST-05, OF-04."""
    await charging.status(report(Availability.OCCUPIED, minutes=5))
    await charging.status(report(minutes=4))

    assert status(charging) == "CHARGING"


async def test_the_whole_station_overlays_each_evse(charging):
    """ST-02."""
    for number in (1, 2):
        await charging.status(report(evse_id=number))
    await charging.status(report(Availability.UNAVAILABLE, minutes=1, evse_id=0))

    assert {status(charging), status(charging, "CP1-uid-2-x")} == {"INOPERATIVE"}


async def test_a_clock_that_ran_ahead_does_not_hide_later_reports(charging):
    """BO-18, ST-05."""
    ahead = report(Availability.OCCUPIED)
    ahead = StatusReport(
        evse_id=1,
        connector_id=1,
        availability=Availability.OCCUPIED,
        at=NOON + timedelta(days=1000),
        received_at=NOON,
    )
    await charging.status(ahead)
    await charging.status(report(minutes=1))

    assert status(charging) == "AVAILABLE"


async def test_a_station_that_stays_away_becomes_unknown_and_comes_back(charging):
    """BR-02, BO-13, MAP-10, MAP-12: after the grace time; back with what it tells then."""
    await charging.status(report())
    state = charging.memory.stations["CP1"]
    charging.stations._offline_grace = 0.01
    charging.stations.expect_back(state)
    async with asyncio.timeout(30):
        while status(charging) != "UNKNOWN":
            await asyncio.sleep(0.01)

    class Link:
        identity = "CP1"
        version = "1.6"

    charging.stations.connected(Link())
    await until(lambda: not state.gone)
    assert status(charging) == "UNKNOWN"
    await charging.status(report(Availability.OCCUPIED, minutes=9))

    assert status(charging) == "CHARGING"
    assert status(charging, "CP1-uid-2-x") == "UNKNOWN"


async def test_what_was_unknown_before_a_restart_has_to_be_told_anew(charging):
    """BR-02: over a restart of ours, too."""
    for number in (1, 2):
        await charging.status(report(evse_id=number))
    state = charging.memory.stations["CP1"]
    await charging.stations._went(state)
    state.gone = False  # a new process knows neither
    state.told.clear()
    await charging.stations.start()
    await charging.status(report(Availability.AVAILABLE, minutes=1, evse_id=0))
    await charging.status(report(Availability.OCCUPIED, minutes=1, evse_id=2))

    assert (status(charging), status(charging, "CP1-uid-2-x")) == ("UNKNOWN", "CHARGING")
    await charging.stations.close()


async def test_the_end_of_a_replaced_connection_changes_nothing(charging):
    """TR-21, TR-23."""

    class Link:
        identity = "CP1"
        version = "1.6"

    old, new = Link(), Link()
    charging.stations.connected(old)
    charging.stations.connected(new)
    charging.stations.disconnected(old)

    assert charging.stations.link("CP1") is new
    await charging.stations.close()


async def test_a_boot_is_answered_with_the_approval(charging):
    """BO-01, BO-02, BO-03."""
    boot = Boot(vendor="V", model="M")
    work = Work()
    answer = await charging.stations.boot(work, "CP1", boot, at=NOON)
    await charging.store.commit(work)
    assert answer.status == "Accepted"
    assert 270 <= answer.interval <= 330

    await charging.stations.register(Station(identity="CP1", approval=Approval.WAITING), actor="op")

    assert not charging.stations.accepts("CP1")
    assert charging.stations.find("CP1").boot == boot


async def test_an_identity_that_partners_can_see_is_refused(charging):
    """SEC-04, BR-08."""
    with pytest.raises(Invalid, match="identity"):
        await charging.stations.register(Station(identity=UID), actor="op")


@pytest.mark.parametrize("name", ["uid", "evse_id", "physical_reference"])
@pytest.mark.parametrize("identity", ["NL*CPO*E9", "nl*cpo*e9"])
async def test_sec04_no_id_that_partners_see_is_the_identity_of_any_station(
    charging, name, identity
):
    """Whichever of the two comes first, and wherever that station stands."""
    connector = {
        "id": "1", "standard": "IEC_62196_T2", "format": "SOCKET", "power_type": "AC_3_PHASE",
        "max_voltage": 230, "max_amperage": 32,
    }  # fmt: skip
    evse = {
        "uid": "E-1", "evse_id": "NL*CPO*E1", "ocpp": {"station": "CP1", "evse_id": 9},
        "connectors": [connector],
    }  # fmt: skip
    body = {
        **PLACE,
        "evses": [evse | {name: "NL*CPO*E9"}],
    }
    await charging.sites.put_location("L-9", body, actor="op")
    with pytest.raises(Invalid, match="identity"):
        await charging.stations.register(Station(identity=identity), actor="op")
    await charging.sites.put_location("L-9", body | {"evses": [evse | {"uid": "E-2"}]}, actor="op")
    del charging.memory.sites.locations["L-9"]

    await charging.stations.register(Station(identity=identity), actor="op")

    with pytest.raises(Invalid, match=name):
        await charging.sites.put_location("L-8", body, actor="op")


@pytest.mark.parametrize("identity", ["", "a/b", "ü", "x" * 49, "a\nb"])
async def test_an_identity_that_ocpp_cannot_carry_is_refused(charging, identity):
    """S11, TR-11."""
    with pytest.raises(Invalid, match="identity"):
        await charging.stations.register(Station(identity=identity), actor="op")


async def test_a_removed_station_leaves_its_evses_planned(charging):
    await charging.status(report())
    await charging.stations.remove("CP1", actor="op")

    assert status(charging) == "PLANNED"
    assert charging.stations.find("CP1") is None


async def test_an_evse_left_out_of_a_location_is_removed_not_deleted(charging):
    """LOC-10."""
    location = charging.memory.sites.locations["L-CP1"]
    body = {
        **PLACE,
        "evses": [],
    }
    await charging.sites.put_location("L-CP1", body, actor="op")

    view = charging.sites.view("L-CP1")
    assert {e.uid for e in view.location.evses} == {e.uid for e in location.evses}
    assert set(view.statuses.values()) == {"REMOVED"}
    assert {s.status for s in charging.store.all(EvseState)[-2:]} == {"REMOVED"}


async def test_a_station_that_registered_itself_is_served_but_not_published(charging):
    """TR-07, contract 3: `ocpp.unknown_stations = "register"`."""
    record = await charging.stations.admit("NEWCOMER")

    assert record.approval is Approval.PENDING
    assert charging.stations.accepts("NEWCOMER")
    evse = charging.memory.sites.locations["L-CP1"].evses[0]
    assert charging.publishing.status_of(evse, charging.memory.stations["NEWCOMER"]) == "PLANNED"


async def test_a_learned_offset_corrects_the_times_of_a_charge(charging):
    """Promise 6, BO-18: the charger's clock is an hour behind."""
    from cpo.domain.session import Session

    await charging.token()
    behind = timedelta(hours=1)
    for minute in range(5):
        moment = NOON + timedelta(minutes=minute)
        await charging.status(
            StatusReport(
                evse_id=1,
                connector_id=1,
                availability=Availability.AVAILABLE,
                at=moment - behind,
                received_at=moment,
            )
        )
    start = TransactionEvent(
        kind=EventKind.STARTED,
        at=NOON + timedelta(minutes=5) - behind,
        received_at=NOON + timedelta(minutes=5),
        evse_id=1,
        connector_id=1,
        id_token=IdToken("TAG"),
        meter_wh=Decimal(0),
    )
    first = await charging.told(start)
    again = await charging.told(start)

    [session] = charging.store.all(Session)
    assert session.start_date_time == NOON + timedelta(minutes=5)
    assert again.transaction == first.transaction
    assert charging.stations.find("CP1").clock_offset_s == 3600
