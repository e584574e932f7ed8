"""What becomes of a remote start that the station accepted, as a user of the API sees it."""

import pytest
from waiting import until

from tests.e2e.conftest import PASSWORD, new_site
from tests.support.cpo_process import CpoProcess
from tests.support.raw_charger import CHARGERS

pytestmark = pytest.mark.asyncio(loop_scope="session")
VERSIONS = ("1.6", "2.0.1")


async def start_of(cpo, command, state):
    """Wait until a command's start is in a state; returns it."""

    async def there():
        start = (await cpo.api("GET", f"/commands/{command['id']}"))["start"]
        return start and start["state"] == state and start

    return await until(there)


async def charged(cpo, session_id):
    """Return the CDR of a session, None as long as there is none."""
    found = (await cpo.api("GET", "/cdrs?limit=100"))["items"]
    return next((cdr for cdr in found if cdr["session_id"] == session_id), None)


async def remote_start(cpo, site):
    body = {"token": {"uid": "REMOTE1"}}
    return await cpo.api("POST", f"/evses/{site.evse}/start", body)


@pytest.mark.parametrize("version", VERSIONS)
async def test_cm02_cm11_a_start_that_never_comes_is_reported_and_a_late_one_still_linked(
    cpo, version
):
    """CM-02, CM-11, CM-24: accepted, nothing follows; the session that comes late is its own."""
    site = await new_site(cpo, ocpp=version)
    async with site.charger() as charger:
        await charger.boot()
        charger._after = lambda *_: None
        command = await remote_start(cpo, site)
        missing = await start_of(cpo, command, "missing")
        done = await cpo.api("GET", f"/commands/{command['id']}")
        asked = await charger.wait_for(
            "RemoteStartTransaction" if version == "1.6" else "RequestStartTransaction"
        )
        await charger.begin("REMOTE1", start_id=asked.get("remoteStartId"))
        started = await start_of(cpo, command, "started")

    assert done["outcome"] == "ACCEPTED"
    assert missing["session_id"] is None
    session = await cpo.api("GET", f"/sessions/{started['session_id']}")
    assert session["status"] == "ACTIVE"


@pytest.mark.parametrize("version", VERSIONS)
async def test_cm01_a_start_that_comes_names_its_session(cpo, version):
    site = await new_site(cpo, ocpp=version)
    async with site.charger() as charger:
        await charger.boot()
        command = await remote_start(cpo, site)
        started = await start_of(cpo, command, "started")

    assert started["session_id"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_cm05_a_station_that_starts_for_another_card_is_not_taken_for_ours(cpo, version):
    """The session is the card's, and noted; the start is missing, and names that session."""
    site = await new_site(cpo, ocpp=version)
    uid = f"OWN-{site.station}"
    await cpo.api("PUT", f"/tokens/{uid}", {"type": "RFID", "contract_id": "C1", "valid": True})
    async with site.charger() as charger:
        await charger.boot()
        charger._after = lambda *_: None
        command = await remote_start(cpo, site)
        await charger.wait_for(
            "RemoteStartTransaction" if version == "1.6" else "RequestStartTransaction"
        )
        assert await charger.begin(uid) == "Accepted"
        missing = await start_of(cpo, command, "missing")

        async def running():
            found = (await cpo.api("GET", "/sessions?limit=100"))["items"]
            return [one for one in found if uid in str(one)]

        (session,) = await until(running)
        await charger.end(5)
        cdr = await until(lambda: charged(cpo, session["id"]))

        async def named():
            start = (await cpo.api("GET", f"/commands/{command['id']}"))["start"]
            return start["other_session_id"]

        assert await until(named) == session["id"]

    assert "another_token_than_asked" in cdr["flags"]
    assert missing["session_id"] is None
    assert (session["status"], session["auth_method"]) == ("ACTIVE", "WHITELIST")


async def test_cm02_a_start_is_linked_over_a_crash_of_ours(tmp_path):
    """CM-02, P5: the command is never sent again; its transaction still is its answer."""
    async with CpoProcess(tmp_path) as cpo:
        site = await new_site(cpo, ocpp="1.6")
        async with site.charger() as charger:
            await charger.boot()
            charger._after = lambda *_: None
            command = await remote_start(cpo, site)
            await start_of(cpo, command, "missing")
        await cpo.kill()
        await cpo.start()
        async with CHARGERS["1.6"](cpo.urls["ocpp"], site.station, PASSWORD) as charger:
            await charger.boot()
            await charger.begin("REMOTE1")
            started = await start_of(cpo, command, "started")
            assert charger.count("RemoteStartTransaction") == 0

    assert started["session_id"]


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
async def test_cm11_a_start_whose_car_never_comes_is_one_session_without_energy(cpo, version):
    """CM-11: begun before the cable, ended by EVConnectTimeout; told twice it stays one charge.

    A Session and a CDR as of every transaction: that one without energy is not passed on is a
    partner's policy.
    """
    site = await new_site(cpo, ocpp=version)
    async with site.charger() as charger:
        await charger.boot()
        charger._after = lambda *_: None
        command = await remote_start(cpo, site)
        asked = await charger.wait_for("RequestStartTransaction")
        charger.transaction = f"{site.station}-waits"
        token = {"idToken": "REMOTE1", "type": "Central"}
        event = {
            "eventType": "Started", "timestamp": charger.time(), "triggerReason": "RemoteStart",
            "seqNo": 0, "idToken": token, "evse": {"id": 1},
            "transactionInfo": {
                "transactionId": charger.transaction, "remoteStartId": asked["remoteStartId"],
                "chargingState": "Idle",
            },
        }  # fmt: skip
        began = await charger.call("TransactionEvent", event)
        started = await start_of(cpo, command, "started")
        session_id = started["session_id"]
        waiting = await cpo.api("GET", f"/sessions/{session_id}")
        end = {
            "eventType": "Ended", "timestamp": charger.time(), "triggerReason": "EVConnectTimeout",
            "seqNo": 1, "evse": {"id": 1},
            "transactionInfo": {
                "transactionId": charger.transaction, "stoppedReason": "Timeout",
                "chargingState": "Idle",
            },
        }  # fmt: skip
        assert await charger.call("TransactionEvent", end) == {"totalCost": 0}
        await charger.call("TransactionEvent", end)
        cdr = await until(lambda: charged(cpo, session_id))

        async def ended():
            session = await cpo.api("GET", f"/sessions/{session_id}")
            return session["status"] != "ACTIVE" and session

        session = await until(ended)
        shown = await cpo.api("GET", f"/locations/{site.location}")
        cdrs = (await cpo.api("GET", "/cdrs?limit=100"))["items"]

    assert began["idTokenInfo"]["status"] == "Accepted"
    assert waiting["status"] == "ACTIVE"
    assert (session["status"], session["kwh"]) == ("COMPLETED", 0)
    assert (cdr["total_energy"], cdr["total_cost"]["excl_vat"]) == (0, 0)
    assert [c["session_id"] for c in cdrs].count(session_id) == 1
    assert [evse["status"] for evse in shown["evses"]] == ["AVAILABLE"]
