"""Deviations that show only when something is done to them, and how the real server takes each."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import pytest_asyncio
from running import Cpo, evse_uid, password
from waiting import LONG, looked, until

from chargers_sim import Emsp, Station
from tests.e2e.test_quirks import charge

VERSIONS = ("1.6", "2.0.1")
PLACES = (
    "odd-url", "second-socket", "deaf", "boot-loop", "forgets", "trigger", "pending", "times",
    "power-cut", "below-minimum", "hex", "own-tag", "pongs", "no-pongs", "lost", "stays",
    "cut",
)  # fmt: skip
pytestmark = pytest.mark.asyncio(loop_scope="module")


def identity(place, version):
    return f"{place}-{version.replace('.', '')}"


STATIONS = [identity(place, version) for place in PLACES for version in VERSIONS]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def roaming(tmp_path_factory):
    """The server as a process, and a registered eMSP double."""
    settings = {
        "ocpp.refresh_delay": "1",
        "ocpp.settle_time": "1",
        "ocpp.ping_interval": "0.2",
        "ocpp.ping_timeout": "2",
    }
    async with (
        Cpo(tmp_path_factory.mktemp("provoked"), **settings) as cpo,
        Emsp(party=("NL", "MSP")) as emsp,
    ):
        await cpo.equip(STATIONS)
        await cpo.partner(emsp)
        tokens = [t["uid"] for t in emsp.state()["tokens"] if t["whitelist"] == "ALWAYS"]
        yield cpo, emsp, tokens[0]


def station(cpo, place, version, quirk, **more):
    me = identity(place, version)
    made = Station(
        cpo.ocpp_url,
        me,
        ocpp=version,
        password=password(me),
        quirks=[quirk] if quirk else [],
        reconnect=(0.05, 0.2),
        retry_seconds=0.05,
        message_timeout=1,
        settle_timeout=LONG,
        **more,
    )
    made.tokens.allow_offline_unknown = True
    return made


async def call(cpo, me, action, payload=None, *, timeout=LONG):
    """Send any OCPP request; returns the status of the API, and its answer."""
    body = {"action": action, "payload": payload or {}, "timeout": timeout}
    return await cpo.api("POST", f"/stations/{me}/call", body, ok=False)


async def beat(cpo, me):
    """Let a station be asked for a heartbeat; its answer."""
    _, answer = await call(cpo, me, "TriggerMessage", {"requestedMessage": "Heartbeat"})
    return answer


async def shown(cpo, me):
    return (await cpo.api("GET", f"/stations/{me}"))[1]


def names(made):
    return [event["event"] for event in made.events]


def place_of(me):
    return f"LOC-{STATIONS.index(me)}"


async def bills(emsp, me, count):
    """Return what the partner was billed, once there are so many bills."""

    async def there():
        found = [c for c in emsp.state()["cdrs"] if c["cdr_location"]["id"] == place_of(me)]
        return [Decimal(str(c["total_energy"])) for c in found]

    return await looked(there, lambda found: len(found) >= count)


async def sessions(cpo, me):
    """Return what is known of a station's sessions, the oldest first."""
    _, found = await cpo.api("GET", "/sessions?limit=500")
    ours = [s for s in found["items"] if s["location"] == place_of(me)]
    return sorted(ours, key=lambda s: s["start_date_time"])


@pytest.mark.parametrize("version", VERSIONS)
async def test_q3_every_odd_address_is_read(roaming, version):
    """A doubled slash, one at the end, a query, the identity twice."""
    cpo, _, _ = roaming
    async with station(cpo, "odd-url", version, "odd-url") as made:
        for _ in range(4):
            await made.call("Heartbeat")
            await made.cut()
            await made.reconnect()
        await made.call("Heartbeat")

    _, refused = await cpo.api("GET", "/refused-connections")
    assert not [one for one in refused["items"] if one["identity"] == made.identity]


@pytest.mark.parametrize("version", VERSIONS)
async def test_q4_the_late_close_of_an_old_line_ends_nothing(roaming, version):
    cpo, _, _ = roaming
    async with station(cpo, "second-socket", version, "second-socket") as made:
        await made.wait_for("old_socket_closed", timeout=LONG)

        assert (await shown(cpo, made.identity))["online"]
        assert (await beat(cpo, made.identity))["outcome"] == "result"


@pytest.mark.parametrize("version", VERSIONS)
async def test_q5_who_never_returns_after_a_close_has_its_line_cut(roaming, version):
    """Where the operator says so: it is back after a restart of ours, another one is not."""
    cpo, _, _ = roaming
    me = identity("cut", version)
    await cpo.api("PUT", f"/stations/{me}", {"habits": {"close": "cut"}})
    async with (
        station(cpo, "cut", version, "no-return-after-close") as back,
        station(cpo, "stays", version, "no-return-after-close") as away,
    ):
        await cpo.stop()
        await away.wait_for("stays_away", timeout=LONG)
        await back.wait_for("disconnected", timeout=LONG)
        await cpo.start()
        await looked(lambda: shown(cpo, me), lambda seen: seen["online"])

        assert "stays_away" not in names(back)
        assert not (await shown(cpo, away.identity))["online"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_q7_who_cannot_pong_is_left_alone_where_the_operator_says_so(roaming, version):
    """Any message counts as a sign of life; who neither speaks nor pongs is cut."""
    cpo, _, _ = roaming
    me = identity("no-pongs", version)
    await cpo.api("PUT", f"/stations/{me}", {"habits": {"pings": "off"}})
    async with (
        station(cpo, "no-pongs", version, "no-pong") as spared,
        station(cpo, "pongs", version, "no-pong") as cut,
    ):
        await cut.wait_for("disconnected", timeout=LONG)
        await spared.call("Heartbeat")

        assert "disconnected" not in names(spared)


@pytest.mark.parametrize("version", VERSIONS)
async def test_q10_a_line_on_which_calls_go_unanswered_is_ended(roaming, version):
    """Three times in a row; on the next line the station hears again."""
    cpo, _, _ = roaming
    async with station(cpo, "deaf", version, "deaf-to-calls") as made:
        for _ in range(3):
            _, answer = await call(cpo, made.identity, "ClearCache", timeout=0.3)
            assert answer["outcome"] == "timeout"
        await made.wait_for("disconnected", timeout=LONG)
        await made.online(timeout=LONG)

        assert (await beat(cpo, made.identity))["outcome"] == "result"
        assert names(made).count("disconnected") == 1


@pytest.mark.parametrize("version", VERSIONS)
async def test_q11_q12_q13_a_station_is_configured_after_each_boot_but_not_at_once(
    roaming, version
):
    """Q11: it never starts over; Q12: what it forgets at a reboot is set again."""
    cpo, _, _ = roaming
    wanted = [
        {"key": "HeartbeatInterval", "value": 77},
        {"component": "OCPPCommCtrlr", "variable": "HeartbeatInterval", "value": 77},
    ]
    await cpo.api("PUT", "/settings-templates/all", {"settings": wanted})

    async def asked(me):
        path = f"/stations/{me}/messages?limit=1000"
        found = (await cpo.api("GET", path))[1]["items"]
        writes = {"ChangeConfiguration", "SetVariables"}
        return sum(f["direction"] == "out" and f["action"] in writes for f in found)

    async with (
        station(cpo, "boot-loop", version, "boot-loop") as loops,
        station(cpo, "forgets", version, "forgets-configuration") as forgets,
    ):
        for made in (loops, forgets):
            await looked(lambda made=made: asked(made.identity), lambda count: count == 1)
        await forgets.reboot()
        await looked(lambda: asked(forgets.identity), lambda count: count == 2)

        assert "boot_loop" not in names(loops)
        assert "factory_settings" in names(forgets)
    await cpo.api("DELETE", "/settings-templates/all")


async def test_q14_who_reboots_when_asked_for_its_boot_is_not_asked_again(roaming):
    """A station of 2.x that is accepted refuses such a trigger anyway."""
    cpo, _, _ = roaming
    async with station(cpo, "trigger", "1.6", "trigger-boot-reboots") as made:
        trigger = {"requestedMessage": "BootNotification"}
        _, answer = await call(cpo, made.identity, "TriggerMessage", trigger)
        assert answer["payload"]["status"] == "Accepted"
        await until(lambda: names(made).count("booted") == 2)
        # Until the server has seen to what it wants to know of a station that came in.
        await until(lambda: any("Get" in text for _, to, text in made.frames if to == "in"))

        assert names(made).count("booted") == 2


@pytest.mark.parametrize("version", VERSIONS)
async def test_q15_what_a_station_tells_before_it_is_accepted_is_not_remembered(roaming, version):
    cpo, _, _ = roaming
    me = identity("pending", version)
    await cpo.api("PUT", f"/stations/{me}", {"approval": "waiting"})
    made = station(cpo, "pending", version, "status-while-pending")
    made.start()
    told = ("in", "StatusNotification")

    async def refusals():
        found = (await cpo.api("GET", f"/stations/{me}/messages?limit=100"))[1]["items"]
        return [f["answer_frame"] for f in found if (f["direction"], f["action"]) == told]

    seen = await looked(refusals, lambda found: len(found) >= 1)
    before = await shown(cpo, me)
    assert all("SecurityError" in str(answer) for answer in seen)
    assert before["connectors"] == []
    await cpo.api("PUT", f"/stations/{me}", {"approval": "approved"})
    await made.reboot()
    await looked(lambda: shown(cpo, me), lambda found: found["connectors"])
    await made.close()


@pytest.mark.parametrize("version", VERSIONS)
async def test_q19_every_time_of_ours_can_be_read_by_the_pickiest(roaming, version):
    """In answers and in requests: with Z, and milliseconds at most."""
    cpo, _, tag = roaming
    async with station(cpo, "times", version, "reads-only-z-times") as made:
        me, evse = made.identity, evse_uid(STATIONS.index(made.identity))
        until_then = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        body = {"token": {"uid": tag}, "expiry_date": until_then, "reservation_id": 7}
        await cpo.api("POST", f"/evses/{evse}/reserve", body)
        await cpo.api("POST", f"/stations/{me}/get-log", {"location": "http://127.0.0.1:9/x"})
        firmware = {"location": "http://127.0.0.1:9/x", "retries": 0}
        await cpo.api("POST", f"/stations/{me}/update-firmware", firmware)
        log = {"GetDiagnostics", "GetLog"}

        def heard(actions):
            return any(f'"{a}"' in text for a in actions for _, _, text in made.frames)

        await until(lambda: heard({"ReserveNow"}) and heard(log) and heard({"UpdateFirmware"}))
        await made.swipe(tag)
        await made.call("Heartbeat")

        assert not {"unreadable_time", "disconnected"} & set(names(made))


@pytest.mark.parametrize("version", VERSIONS)
async def test_q29_a_charge_whose_start_was_lost_waits_for_the_operator(roaming, version):
    """Its messages are answered, nothing is billed, and the evidence is shown."""
    cpo, emsp, tag = roaming
    async with station(cpo, "lost", version, "lost-start") as made:
        await charge(made, tag)
        me = made.identity

    async def evidence():
        _, orphans = await cpo.api("GET", "/orphans?limit=500")
        of_stops = [o for o in orphans["items"] if o["station"] == me]
        return of_stops or [s for s in await sessions(cpo, me) if s["flags"]]

    (kept,) = await looked(evidence, lambda found: len(found) == 1)
    assert "503000" in str(kept) or "events_missing" in kept["flags"]
    assert await bills(emsp, me, 0) == []


@pytest.mark.parametrize("version", VERSIONS)
async def test_q30_a_charge_that_a_power_cut_ended_in_silence_is_closed_by_the_next(
    roaming, version
):
    """The register of the next start tells what was drawn; the next bill is right."""
    cpo, emsp, tag = roaming
    async with station(cpo, "power-cut", version, "stop-lost-at-power-cut") as made:
        made.model.outlet(1).meter.set_register_wh(500_000)
        await made.plug()
        await made.swipe(tag)
        await made.charge(kwh=2, seconds=600)
        await made.lose_power()
        await made.regain_power(timeout=LONG)
        await made.unplug()
        await made.plug()
        await made.swipe(tag)
        await made.charge(kwh=3, seconds=300)
        await made.stop()
        await made.unplug()
        await made.settle()
        me = made.identity

        async def ended():
            return [s for s in await sessions(cpo, me) if s["status"] == "COMPLETED"]

        found = await looked(ended, lambda found: len(found) == 2)

    flags = {session["kwh"]: session["flags"] for session in found}
    assert "estimated_end" in flags[2]
    assert flags[3] == []
    # What was assumed waits for the operator.
    assert await bills(emsp, me, 1) == [Decimal(3)]


@pytest.mark.parametrize("version", VERSIONS)
async def test_q31_a_charge_that_a_limit_ended_is_an_end_like_any_other(roaming, version):
    """Billed once; it is not started again."""
    cpo, emsp, tag = roaming
    schedule = {
        "chargingRateUnit": "A",
        "startSchedule": "2020-01-01T00:00:00Z",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 0}],
    }
    common = {
        "stackLevel": 0,
        "chargingProfilePurpose": "TxDefaultProfile",
        "chargingProfileKind": "Absolute",
    }
    if version == "1.6":
        profile = {"chargingProfileId": 1, **common, "chargingSchedule": schedule}
        payload = {"connectorId": 1, "csChargingProfiles": profile}
    else:
        profile = {"id": 1, **common, "chargingSchedule": [{"id": 1, **schedule}]}
        payload = {"evseId": 1, "chargingProfile": profile}
    async with station(cpo, "below-minimum", version, "ends-below-minimum") as made:
        made.model.outlet(1).meter.set_register_wh(500_000)
        await made.plug()
        await made.swipe(tag)
        await made.charge(kwh=3, seconds=300)
        await call(cpo, made.identity, "SetChargingProfile", payload)
        await made.wait_for("transaction_ended", timeout=LONG)
        await made.settle()
        me = made.identity

        assert await bills(emsp, me, 1) == [Decimal(3)]
        assert [s["status"] for s in await sessions(cpo, me)] == ["COMPLETED"]


async def remote_start(cpo, me, uid):
    """Start remotely and wait for the outcome."""
    evse = evse_uid(STATIONS.index(me))
    _, command = await cpo.api("POST", f"/evses/{evse}/start", {"token": {"uid": uid}})

    async def done():
        return (await cpo.api("GET", f"/commands/{command['id']}"))[1]

    return await looked(done, lambda found: found["state"] == "done")


@pytest.mark.parametrize("version", VERSIONS)
async def test_q33_a_station_of_hexadecimal_tags_gets_one_that_stands_for_the_token(
    roaming, version
):
    """Without the habit it is refused; with it the session is the token's."""
    cpo, _, _ = roaming
    uid = f"DRIVER-{version}"
    await cpo.api("PUT", f"/tokens/{uid}", {"type": "RFID", "contract_id": "C", "valid": True})
    async with station(cpo, "hex", version, "hex-tags-only") as made:
        me = made.identity
        assert (await remote_start(cpo, me, uid))["outcome"] == "REJECTED"
        await cpo.api("PUT", f"/stations/{me}", {"habits": {"tags": "hex"}})
        assert (await remote_start(cpo, me, uid))["outcome"] == "ACCEPTED"
        await made.plug()
        await made.charge(kwh=1, seconds=300)
        await made.stop()
        await made.settle()

        async def session():
            return [s for s in await sessions(cpo, me) if s["status"] == "COMPLETED"]

        (found,) = await looked(session, lambda found: len(found) == 1)
    assert found["token"]["uid"] == uid
    assert (found["kwh"], found["flags"]) == (1, [])


@pytest.mark.parametrize("version", VERSIONS)
async def test_q33_a_station_with_a_tag_of_its_own_is_started_with_it(roaming, version):
    """Whoever it is for: the session is that token's, and the tag alone is worth nothing."""
    cpo, _, _ = roaming
    uid = f"RIDER-{version}"
    await cpo.api("PUT", f"/tokens/{uid}", {"type": "RFID", "contract_id": "C", "valid": True})
    me = identity("own-tag", version)
    await cpo.api("PUT", f"/stations/{me}", {"habits": {"fixed_tag": "ITS OWN"}})
    async with station(cpo, "own-tag", version, None) as made:
        assert (await remote_start(cpo, me, uid))["outcome"] == "ACCEPTED"
        await made.plug()
        await made.charge(kwh=1, seconds=300)
        await made.stop()
        await made.unplug()
        await made.settle()

        async def session():
            return [s for s in await sessions(cpo, me) if s["status"] == "COMPLETED"]

        (found,) = await looked(session, lambda found: len(found) == 1)
        asked = [text for _, _, text in made.frames if "StartTransaction" in text]
    assert "ITS OWN" in str(asked)
    assert uid not in str(asked)
    assert (found["token"]["uid"], found["flags"]) == (uid, [])
    status, problem = await cpo.api(
        "PUT", f"/stations/{me}", {"habits": {"fixed_tag": "x" * 21}}, ok=False
    )
    assert (status, problem["field"]) == (422, "habits.fixed_tag")
