"""Limits and settings on the real server, with stations that obey them."""

from datetime import datetime

import pytest
import pytest_asyncio
from running import Cpo, password
from waiting import looked

from chargers_sim import Station

CAP = 15_000
VERSIONS = ("1.6", "2.0.1", "2.1")
pytestmark = pytest.mark.asyncio(loop_scope="module")


def identity(version, purpose):
    return f"{purpose}-{version.replace('.', '')}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cpo(tmp_path_factory):
    """The server with two stations of two EVSEs for each version, and drivers of our own."""
    async with Cpo(tmp_path_factory.mktemp("limits")) as made:
        names = [identity(v, purpose) for v in VERSIONS for purpose in ("cap", "set", "dyn", "off")]
        await made.equip(names, evses=2)
        for tag in ("TAG1", "TAG2"):
            body = {"type": "RFID", "contract_id": f"NL-CPO-{tag}", "valid": True}
            await made.api("PUT", f"/tokens/{tag}", body)
        made.locations = {name: f"LOC-{n}" for n, name in enumerate(names)}
        yield made


def station(cpo, name, version):
    return Station(cpo.ocpp_url, name, ocpp=version, password=password(name), connectors=2)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_location_stays_below_its_cap(cpo, version):
    """Equal shares over two EVSEs, obeyed by the station; CM-18 with live ids."""
    name = identity(version, "cap")
    path = f"/locations/{cpo.locations[name]}/limit"
    drawn = []

    async with station(cpo, name, version) as charger:

        async def shares():
            outlets = [charger.model.outlets[n] for n in (1, 2)]
            limits = [charger.profiles.limit_w(o, charger.now)[0] for o in outlets]
            if all(limit is not None for limit in limits):
                drawn.append(sum(limits))
            _, view = await cpo.api("GET", path)
            return [share["share_w"] for share in view["shares"]]

        await cpo.api("PUT", path, {"max_power_w": CAP, "policy": "equal"})
        await looked(shares, lambda found: sum(found) <= CAP)
        await charger.plug(1)
        await charger.swipe("TAG1", 1)
        await looked(shares, lambda found: found[0] > 10_000)
        await charger.plug(2)
        await charger.swipe("TAG2", 2)
        both = await looked(shares, lambda found: found[0] == found[1] > 7_000)
        _, compared = await cpo.api("POST", f"/stations/{name}/compare-limits", {"evse_id": 1})
        await charger.stop(1)
        await looked(shares, lambda found: found[1] > 10_000)

    assert sum(both) <= CAP
    assert drawn
    assert max(drawn) <= CAP
    assert compared["outcome"] == "ACCEPTED"
    assert compared["differences"] == []


async def test_an_offline_station_keeps_its_share_over_a_crash(cpo):
    """Kept when stations go offline; the books survive kill -9."""
    name = identity("1.6", "off")
    path = f"/locations/{cpo.locations[name]}/limit"

    async def first():
        _, view = await cpo.api("GET", path)
        return view["shares"][0]

    async with station(cpo, name, "1.6") as charger:
        await cpo.api("PUT", path, {"max_power_w": CAP, "policy": "first-come"})
        await looked(first, lambda share: share["share_w"] < CAP)
        await charger.plug(1)
        await charger.swipe("TAG1", 1)
        before = await looked(first, lambda share: share["share_w"] > 10_000)
        await charger.cut()
        await cpo.kill()
        await cpo.start()
        without = await first()
        await charger.reconnect()
        after = await looked(first, lambda share: share["online"])

    assert (before["state"], without["state"], after["state"]) == (
        "charging", "reserved", "charging",
    )  # fmt: skip
    assert before["share_w"] == without["share_w"] == after["share_w"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_station_is_set_by_its_template_after_its_boot(cpo, version):
    """BO-09, Q12: read and set on boot, a second after the answer at the earliest."""
    name = identity(version, "set")
    wanted = [
        {"key": "HeartbeatInterval", "value": 77},
        {"component": "OCPPCommCtrlr", "variable": "HeartbeatInterval", "value": 77},
    ]
    await cpo.api("PUT", "/settings-templates/all", {"settings": wanted})

    async with station(cpo, name, version):
        view = await looked(
            lambda: settings(cpo, name), lambda found: found["items"] and not found["drift"]
        )
        # Frames of ours are logged a moment later.
        log = await looked(lambda: frames(cpo, name), lambda found: "out" in found)

    assert [item["actual"] for item in view["items"]] == ["77"]
    assert (log["out"] - log["BootNotification"]).total_seconds() >= 1


async def frames(cpo, name):
    """Return when the station booted, and when we first called it."""
    _, log = await cpo.api("GET", f"/stations/{name}/messages?limit=1000")
    first = {}
    for frame in sorted(log["items"], key=lambda frame: frame["at"], reverse=True):
        kind = "out" if frame["direction"] == "out" else frame["action"]
        first[kind] = datetime.fromisoformat(frame["at"])
    return first


async def settings(cpo, name):
    _, view = await cpo.api("GET", f"/stations/{name}/settings")
    return view


async def test_a_dynamic_limit_is_sent_and_can_be_pulled(cpo):
    """OCPP 2.1 K28."""
    name = identity("2.1", "dyn")
    profile = {
        "id": 9,
        "stackLevel": 0,
        "chargingProfilePurpose": "TxDefaultProfile",
        "chargingProfileKind": "Dynamic",
        "chargingSchedule": [
            {
                "id": 1,
                "chargingRateUnit": "W",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 9000}],
            }
        ],
    }
    async with station(cpo, name, "2.1") as charger:
        await cpo.api(
            "POST", f"/stations/{name}/set-charging-profile", {"evse_id": 1, "profile": profile}
        )
        await looked(lambda: limits(cpo, name), lambda found: found["profiles"])
        _, answer = await cpo.api(
            "POST", f"/stations/{name}/dynamic-limit", {"profile_id": 9, "limit": 5000}
        )
        obeyed = [p.limits[0].value for p in charger.profiles.installed]
        pulled = await charger.adapter.pull_dynamic(9)
        shown = await limits(cpo, name)

    assert answer == {"status": "Accepted"}
    assert obeyed == [5000]
    assert pulled["scheduleUpdate"]["limit"] == 5000
    assert shown["composite"][0]["limit_w"] == 5000


async def limits(cpo, name):
    _, view = await cpo.api("GET", f"/stations/{name}/limits")
    return view
