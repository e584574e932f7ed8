"""Every template of the simulator charges at the real server, in each OCPP version."""

from decimal import Decimal

import pytest
import pytest_asyncio
from running import Cpo, password
from waiting import LONG, until

from chargers_sim import Emsp, Station
from chargers_sim.clock import VirtualClock
from chargers_sim.template import load_template, templates

VERSIONS = ("1.6", "2.0.1", "2.1")
RUNS = [pytest.param(t, v, id=f"{t}-{v}") for t in templates() for v in VERSIONS]
# In 1.6 a reading names no key: without one that is registered it cannot be found out.
TAMPERED = {("tampered-meter", "2.0.1"), ("tampered-meter", "2.1")}
pytestmark = pytest.mark.asyncio(loop_scope="module")


def identity(template, version):
    return f"{template}-{version.replace('.', '')}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def roaming(tmp_path_factory):
    stations = [identity(*run.values) for run in RUNS]
    async with Cpo(tmp_path_factory.mktemp("templates")) as cpo, Emsp(party=("NL", "MSP")) as emsp:
        await cpo.equip(stations, evses=2)
        await cpo.partner(emsp)
        tag = next(t for t in emsp.state()["tokens"] if t["whitelist"] == "ALWAYS")["uid"]
        yield cpo, emsp, tag, stations


@pytest.mark.parametrize(("template", "version"), RUNS)
async def test_a_template_charges_and_is_billed_for_the_energy_that_flowed(
    roaming, template, version
):
    """TX16-01, E01, E06: every message answered, one CDR with the very energy."""
    cpo, emsp, tag, stations = roaming
    me = identity(template, version)
    station = Station(
        cpo.ocpp_url,
        me,
        ocpp=version,
        password=password(me),
        template=load_template(template),
        clock=VirtualClock(ends_in=1800),
        retry_seconds=0.05,
        settle_timeout=LONG,
        connect_timeout=LONG,
    )
    async with station:
        await station.plug()
        assert await station.swipe(tag) == "Accepted"
        await station.charge(kwh="2.5", seconds=1200, idle_seconds=300)
        await station.stop()
        await station.unplug()
        await station.advance(1)
        await station.settle()

    lost = [o for o in station.journal.operations if o["outcome"] != "ok"]
    location = f"LOC-{stations.index(me)}"

    def energies():
        bills = [c for c in emsp.state()["cdrs"] if c["cdr_location"]["id"] == location]
        return [Decimal(str(bill["total_energy"])) for bill in bills]

    async def held():
        _, found = await cpo.api("GET", "/cdrs?held=true")
        return [(c["kwh"], c["hold"]) for c in found["items"] if c["location"] == location]

    assert not lost
    if (template, version) in TAMPERED:
        assert await until(held) == [(2.5, ["signed_invalid"])]
        assert energies() == []
    else:
        assert await until(energies) == [Decimal("2.5")]
    assert not emsp.violations
