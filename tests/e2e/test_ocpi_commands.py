"""Commands, charging profiles and preferences from eMSPs of every version to real sockets."""

import asyncio

import pytest
from waiting import LONG

from tests.e2e.conftest import VERSIONS, double, joined, new_site, uid

pytestmark = pytest.mark.asyncio(loop_scope="session")


def at_site(thing, site):
    place = thing.get("location") or {"id": thing.get("location_id")}
    return place["id"] == site.location


def of(things, site):
    return [thing for thing in things.values() if at_site(thing, site)]


def newer(emsp):
    return emsp.versions != ["2.1.1"]


async def started(cpo, emsp, site, **fields):
    order = await emsp.command(
        "START_SESSION", token=uid(emsp), location_id=site.location, evse_uid=site.evse, wait=LONG,
        **fields,
    )  # fmt: skip
    assert order.outcome == "ACCEPTED", order.as_json()
    session = await emsp.wait_until(
        lambda: next((s for s in of(emsp.sessions, site) if s["status"] == "ACTIVE"), None)
    )
    assert len(order.results) == 1
    return session


@pytest.mark.parametrize("ocpp", ["1.6", "2.0.1", "2.1"])
async def test_a_session_is_started_and_stopped_by_command(cpo, emsp, ocpp):
    """CMD-1, CMD-2, CMD-9, CMD-12, CMD-13, SES-14 and BR-06."""
    site = await new_site(cpo, ocpp=ocpp)
    reference = {"authorization_reference": f"REF-{site.location}"} if newer(emsp) else {}
    async with site.charger() as charger:
        await charger.boot()
        session = await started(cpo, emsp, site, **reference)

        order = await emsp.command("STOP_SESSION", session_id=session["id"], wait=LONG)
        assert order.outcome == "ACCEPTED"
        assert len(order.results) == 1
        await emsp.wait_until(
            lambda: [s["status"] for s in of(emsp.sessions, site)] == ["COMPLETED"]
        )
        cdr = await emsp.wait_until(
            lambda: next((c for c in emsp.cdrs.values() if site.location in str(c)), None)
        )

    action = "RemoteStartTransaction" if ocpp == "1.6" else "RequestStartTransaction"
    assert charger.count(action) == 1
    if newer(emsp):
        assert session["auth_method"] == cdr["auth_method"] == "COMMAND"
        assert session["authorization_reference"] == reference["authorization_reference"]
        assert cdr["authorization_reference"] == reference["authorization_reference"]
        assert cdr["cdr_token"]["uid"] == uid(emsp)


async def test_a_start_without_evse_finds_a_free_one(cpo, emsp):
    """CMD-10."""
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        order = await emsp.command(
            "START_SESSION", token=uid(emsp), location_id=site.location, wait=LONG
        )
        assert order.outcome == "ACCEPTED"
        await emsp.wait_until(lambda: of(emsp.sessions, site))
        await charger.end(5)


async def test_a_charger_that_refuses_is_a_rejected_result(cpo, emsp):
    """MAP-30."""
    site = await new_site(cpo)
    async with site.charger() as charger:
        charger.answers["RemoteStartTransaction"] = lambda _payload: {"status": "Rejected"}
        await charger.boot()
        order = await emsp.command(
            "START_SESSION",
            token=uid(emsp),
            location_id=site.location,
            evse_uid=site.evse,
            wait=LONG,
        )

    assert order.response["result"] == "ACCEPTED"
    assert order.outcome == "REJECTED"
    assert len(order.results) == 1


async def test_an_offline_charger_is_refused_at_once(cpo, emsp):
    """CMD-6."""
    site = await new_site(cpo)

    order = await emsp.command(
        "START_SESSION", token=uid(emsp), location_id=site.location, evse_uid=site.evse
    )

    assert order.response["result"] in {"REJECTED", "NOT_SUPPORTED"}
    assert order.results == []


async def test_an_unknown_location_is_2003_and_rejected(cpo, emsp):
    """CMD-6."""
    order = await emsp.command("START_SESSION", token=uid(emsp), location_id="NOWHERE")

    last = next(
        exchange
        for exchange in reversed(emsp.journal.exchanges)
        if exchange.direction == "out" and exchange.module == "commands"
    )
    assert last.status == 200
    assert last.status_code == 2003
    assert order.response["result"] == "REJECTED"


async def test_an_unknown_session_cannot_be_stopped(cpo, emsp):
    """CMD-13."""
    order = await emsp.command("STOP_SESSION", session_id="NO-SUCH-SESSION")

    assert order.response["result"] == "UNKNOWN_SESSION"


async def test_a_session_of_another_emsp_cannot_be_stopped(cpo, doubles, emsp):
    """CMD-6, BR-07 and I8."""
    other = next(double for double in doubles.values() if double is not emsp)
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        session = await started(cpo, emsp, site)

        order = await other.command("STOP_SESSION", session_id=session["id"], wait=1)

        assert order.response["result"] in {"REJECTED", "UNKNOWN_SESSION"}
        assert charger.count("RemoteStopTransaction") == 0
        await charger.end(5)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_charger_that_does_not_answer_is_a_timeout(impatient, version):
    """CMD-7: exactly one result, TIMEOUT."""
    site = await new_site(impatient)
    async with double(version) as emsp, site.charger() as charger:
        partner = await joined(impatient, emsp)
        await charger.boot()
        charger.mute = True
        order = await emsp.command(
            "START_SESSION",
            token=uid(emsp),
            location_id=site.location,
            evse_uid=site.evse,
            wait=LONG,
        )
        await asyncio.sleep(0.3)
        await impatient.api("DELETE", f"/partners/{partner}")

    assert [result["result"] for result in order.results] == ["TIMEOUT"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_connector_is_unlocked_for_partners_whose_contract_does_not_forbid_it(cpo, version):
    """CMD-16: it is for help desks, which the contract decides (decision 0009)."""
    site = await new_site(cpo)
    place = {"location_id": site.location, "evse_uid": site.evse, "connector_id": "1"}
    async with double(version) as emsp, site.charger() as charger:
        charger.answers["UnlockConnector"] = lambda _payload: {"status": "Unlocked"}
        partner = await joined(cpo, emsp)
        await charger.boot()
        unlocked = await emsp.command("UNLOCK_CONNECTOR", wait=LONG, **place)
        await cpo.api("PATCH", f"/partners/{partner}", {"policy": {"unlock": False}})
        refused = await emsp.command("UNLOCK_CONNECTOR", wait=LONG, **place)
        await cpo.api("DELETE", f"/partners/{partner}")

    assert unlocked.outcome == "ACCEPTED"
    assert refused.response["result"] == "NOT_SUPPORTED"
    assert charger.count("UnlockConnector") == 1


async def test_a_reservation_is_made_and_cancelled_by_the_emsp(cpo, emsp):
    """CMD-14 and MAP-6: the charger gets a number of ours, never the partner's id."""
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        order = await emsp.command(
            "RESERVE_NOW", token=uid(emsp), location_id=site.location, evse_uid=site.evse,
            reservation_id="4711", wait=LONG,
        )  # fmt: skip
        assert order.outcome == "ACCEPTED"
        reserved = await charger.wait_for("ReserveNow")
        assert reserved["reservationId"] != 4711
        if not newer(emsp):
            return

        cancelled = await emsp.command("CANCEL_RESERVATION", reservation_id="4711", wait=LONG)

        assert cancelled.outcome == "ACCEPTED"
        gone = await charger.wait_for("CancelReservation")
        assert gone["reservationId"] == reserved["reservationId"]


async def test_an_unknown_reservation_cannot_be_cancelled(cpo, emsp):
    if not newer(emsp):
        return
    order = await emsp.command("CANCEL_RESERVATION", reservation_id="nothing", wait=LONG)

    assert order.outcome in {"UNKNOWN_RESERVATION", "REJECTED"}


@pytest.mark.parametrize("command", ["START_SESSION", "STOP_SESSION", "RESERVE_NOW"])
async def test_a_broken_command_is_2001_with_the_field_named(cpo, emsp, command):
    """CMD-6 and TRANS-13."""
    caller = emsp.caller()
    url = f"{emsp.endpoint('commands', 'RECEIVER').rstrip('/')}/{command}"

    answer = await caller.request(
        command, "POST", url, body={"location_id": 5}, module="commands", good_only=False
    )

    assert (answer.status, answer.status_code) == (200, 2001)
    assert answer.message
