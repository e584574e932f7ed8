"""Every station type, start point and version is billed to the Wh by the real server."""

from decimal import Decimal

import pytest
import pytest_asyncio
from running import Cpo, password
from waiting import until

from chargers_sim import Emsp, Station
from chargers_sim.emsp.drivers import SAMPLE_TOKENS
from chargers_sim.template import load_template, templates

# What they say cannot all be true: tests of their own.
APART = {"tampered-meter", "bad-clock"}
DOUBTFUL = [(name, version) for name in sorted(APART) for version in ("1.6", "2.0.1", "2.1")]
CONTRACT = load_template("plug-and-charge").contract
TYPES = [
    pytest.param(name, version, id=f"{name}-{version}")
    for name in templates()
    for version in ("1.6", "2.0.1", "2.1")
    if name not in APART and not (version == "1.6" and name == "status-by-events")
]
POINTS = ["EVConnected", "Authorized", "PowerPathClosed", "EnergyTransfer", "ParkingBayOccupied"]
pytestmark = pytest.mark.asyncio(loop_scope="module")


def identity(name, version):
    return f"{name}-{version.replace('.', '')}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def roaming(tmp_path_factory):
    """The server as a process and a registered eMSP double."""
    stations = [identity(*run.values) for run in TYPES] + [f"point-{p}" for p in POINTS]
    stations += [identity(*run) for run in DOUBTFUL]
    contract = {"uid": CONTRACT, "type": "OTHER", "whitelist": "ALWAYS"}
    tokens = [*SAMPLE_TOKENS, contract]
    folder = tmp_path_factory.mktemp("stations")
    async with Cpo(folder) as cpo, Emsp(party=("NL", "MSP"), tokens=tokens) as emsp:
        await cpo.equip(stations, evses=2)
        await cpo.partner(emsp)
        tag = next(t for t in emsp.state()["tokens"] if t["whitelist"] == "ALWAYS")["uid"]
        yield cpo, emsp, tag, stations


async def bills(emsp, location, count):
    def found():
        return [
            Decimal(str(c["total_energy"]))
            for c in emsp.state()["cdrs"]
            if c["cdr_location"]["id"] == location
        ]

    await until(lambda: len(found()) >= count)
    return found()


@pytest.mark.parametrize(("name", "version"), TYPES)
async def test_a_station_type_is_billed_exactly(roaming, name, version):
    """MV-01..: units, multipliers, registers with history, phases, DC; S_STATUS by NotifyEvent."""
    cpo, emsp, tag, stations = roaming
    me = identity(name, version)
    template = load_template(name)
    async with Station(
        cpo.ocpp_url, me, ocpp=version, password=password(me), template=template, retry_seconds=0.1
    ) as station:
        await station.plug()
        # A contract that this server has no root for is refused: then the card counts.
        if not any(station.model.transactions()):
            await station.swipe(tag)
        await station.charge(kwh="5.2", seconds=3600)
        await station.stop()
        await station.unplug()
        refused = [e for e in station.events if e["event"] == "refused"]

    location = f"LOC-{stations.index(me)}"
    assert not refused
    assert await bills(emsp, location, 1) == [Decimal("5.2")]
    assert not emsp.violations


@pytest.mark.parametrize(("name", "version"), DOUBTFUL)
async def test_what_cannot_be_believed_is_held_or_right(roaming, name, version):
    """A meter that changes what it signed, a clock hours ahead: nobody gets a wrong bill."""
    cpo, emsp, tag, stations = roaming
    me = identity(name, version)
    location = f"LOC-{stations.index(me)}"
    template = load_template(name)
    async with Station(
        cpo.ocpp_url, me, ocpp=version, password=password(me), template=template, retry_seconds=0.1
    ) as station:
        await station.plug()
        await station.swipe(tag)
        await station.charge(kwh="5.2", seconds=3600)
        await station.stop()
        await station.unplug()

    async def held():
        _, page = await cpo.api("GET", "/cdrs?held=true&limit=200")
        return [c for c in page["items"] if location in str(c)]

    def billed():
        return [c for c in emsp.state()["cdrs"] if c["cdr_location"]["id"] == location]

    async def over():
        return billed() or await held()

    await until(over)
    for bill in billed():
        assert Decimal(str(bill["total_energy"])) == Decimal("5.2")
        assert Decimal("0.9") <= Decimal(str(bill["total_time"])) <= Decimal("1.1")


@pytest.mark.parametrize("point", POINTS)
async def test_a_transaction_may_start_at_any_point(roaming, point):
    """E01, TC_E_09 to TC_E_12: TxStartPoint."""
    cpo, emsp, tag, stations = roaming
    me = f"point-{point}"
    async with Station(cpo.ocpp_url, me, ocpp="2.0.1", password=password(me)) as station:
        station.adapter.load({"TxCtrlr.TxStartPoint": point})
        await station.plug()
        await station.advance(60)
        await station.swipe(tag)
        await station.charge(kwh=3, seconds=600)
        await station.stop()
        await station.unplug()

    location = f"LOC-{stations.index(me)}"
    assert await bills(emsp, location, 1) == [Decimal(3)]
    assert not emsp.violations
