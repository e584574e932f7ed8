"""Charging profiles, preferences and reserved sessions, from eMSPs to real sockets."""

from urllib.parse import quote

import pytest
from waiting import LONG, until

from tests.e2e.conftest import location, new_site, tariff, uid
from tests.e2e.test_ocpi_commands import newer, of, started
from tests.e2e.test_ocpi_hostile import met
from tests.support.raw_emsp import check

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_charging_profile_is_set_shown_and_cleared(cpo, emsp):
    """CP-1 to CP-3."""
    if not newer(emsp):
        return
    site = await new_site(cpo)
    profile = {
        "charging_rate_unit": "A",
        "charging_profile_period": [{"start_period": 0, "limit": 10}],
    }
    schedule = {
        "status": "Accepted",
        "connectorId": 1,
        "chargingSchedule": {
            "chargingRateUnit": "A",
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 10.0}],
        },
    }
    async with site.charger() as charger:
        charger.answers["GetCompositeSchedule"] = lambda _payload: (
            schedule | {"scheduleStart": charger.time()}
        )
        await charger.boot()
        session = await started(cpo, emsp, site)

        put = await emsp.charging_profile("PUT", session["id"], charging_profile=profile, wait=LONG)
        sent = await charger.wait_for("SetChargingProfile")
        got = await emsp.charging_profile("GET", session["id"], duration=900, wait=LONG)
        cleared = await emsp.charging_profile("DELETE", session["id"], wait=LONG)
        await charger.end(5)

    assert (put.outcome, got.outcome, cleared.outcome) == ("ACCEPTED",) * 3
    assert sent["csChargingProfiles"]["chargingProfilePurpose"] == "TxProfile"
    assert (
        got.results[0]["profile"]["charging_profile"]["charging_profile_period"][0]["limit"] == 10
    )
    assert charger.count("ClearChargingProfile") == 1


async def test_a_profile_of_an_unknown_session_is_refused(cpo, emsp):
    if not newer(emsp):
        return
    order = await emsp.charging_profile(
        "PUT", "NO-SUCH-SESSION",
        charging_profile={"charging_rate_unit": "W", "charging_profile_period": []},
    )  # fmt: skip

    assert order.response["result"] == "UNKNOWN_SESSION"


async def test_preferences_where_no_evse_takes_them_are_404_with_2001(cpo, emsp):
    """SES-18."""
    if not newer(emsp):
        return
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        session = await started(cpo, emsp, site)
        answer = await emsp.charging_preferences(session["id"], {"profile_type": "FAST"})
        await charger.end(5)

    assert (answer.status, answer.status_code) == (404, 2001)


def green(site):
    """A tariff for green charging: 0.30 per kWh instead of 0.40, and no price of time."""
    made = tariff(f"{site.tariff}-G", price="0.30") | {"type": "PROFILE_GREEN"}
    made["elements"][0]["price_components"].pop()
    return made


async def test_a_preferred_profile_prices_the_charge_from_then_on(cpo, emsp):
    """SES-18, TAR-43: 4 kWh at 0.40, 6 at 0.30; the CDR says so period by period."""
    if not newer(emsp):
        return
    site = await new_site(cpo, capabilities=["CHARGING_PREFERENCES_CAPABLE"])
    await cpo.api("PUT", f"/tariffs/{site.tariff}-G", green(site))
    place = location(
        site, capabilities=["CHARGING_PREFERENCES_CAPABLE", "REMOTE_START_STOP_CAPABLE"]
    )
    place["evses"][0]["connectors"][0]["tariff_ids"].append(f"{site.tariff}-G")
    await cpo.api("PUT", f"/locations/{site.location}", place)
    async with site.charger() as charger:
        await charger.boot()
        session = await started(cpo, emsp, site)

        async def prefer(**wanted):
            return (await emsp.charging_preferences(session["id"], wanted)).data

        soon = "2099-01-01T00:00:00Z"
        answers = [
            await prefer(profile_type="CHEAP", departure_time=soon, energy_need=10),
            await prefer(profile_type="GREEN"),
            await prefer(profile_type="GREEN", departure_time=soon),
            await prefer(
                profile_type="GREEN", departure_time="2020-01-01T00:00:00Z", energy_need=1
            ),
        ]
        await charger.meter(4000)
        answers.append(await prefer(profile_type="GREEN", departure_time=soon, energy_need=10))
        refused = await emsp.charging_preferences(session["id"], {"profile_type": "LAZY"})
        negative = await emsp.charging_preferences(
            session["id"], {"profile_type": "FAST", "energy_need": -1}
        )
        await charger.meter(4001)
        await charger.end(10_000)
    cdr = await emsp.wait_until(
        lambda: next((c for c in emsp.cdrs.values() if c["session_id"] == session["id"]), None)
    )
    over = await emsp.charging_preferences(session["id"], {"profile_type": "REGULAR"})

    assert answers == [
        "PROFILE_TYPE_NOT_SUPPORTED",
        "DEPARTURE_REQUIRED",
        "ENERGY_NEED_REQUIRED",
        "NOT_POSSIBLE",
        "ACCEPTED",
    ]
    assert (refused.status, refused.status_code) == (200, 2001)
    assert (negative.status, negative.status_code) == (200, 2001)
    assert over.data == "NOT_POSSIBLE"
    energy = {}
    for period in cdr["charging_periods"]:
        for dimension in period["dimensions"]:
            if dimension["type"] == "ENERGY":
                energy.setdefault(period["tariff_id"], []).append(dimension["volume"])
    assert [t["id"] for t in cdr["tariffs"]] == [site.tariff, f"{site.tariff}-G"]
    assert set(energy) == {site.tariff, f"{site.tariff}-G"}
    assert sum(map(sum, energy.values())) == cdr["total_energy"] == 10


async def test_a_reservation_is_a_session_until_it_is_cancelled(cpo, emsp):
    """SES-19."""
    if not newer(emsp):
        return
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        order = await emsp.command(
            "RESERVE_NOW", token=uid(emsp), location_id=site.location, evse_uid=site.evse,
            reservation_id=f"R-{site.location}", wait=LONG,
        )  # fmt: skip
        assert order.outcome == "ACCEPTED"
        await emsp.wait_until(
            lambda: [s["status"] for s in of(emsp.sessions, site)] == ["RESERVATION"]
        )

        await emsp.command("CANCEL_RESERVATION", reservation_id=f"R-{site.location}", wait=LONG)

        await emsp.wait_until(
            lambda: [s["status"] for s in of(emsp.sessions, site)] in (["COMPLETED"], ["INVALID"])
        )


COMPOSITE_201 = {
    "status": "Accepted",
    "schedule": {
        "evseId": 1,
        "duration": 900,
        "scheduleStart": "2026-11-22T00:00:00Z",
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 10.0}],
    },
}


async def test_a_profile_reaches_a_charger_of_2_0_1_and_its_change_the_emsp(cpo, emsp):
    """CP-2, CP-3 and CP-7."""
    if not newer(emsp):
        return
    site = await new_site(cpo, ocpp="2.0.1")
    profile = {
        "charging_rate_unit": "A",
        "charging_profile_period": [{"start_period": 0, "limit": 10}],
    }
    async with site.charger() as charger:
        charger.answers["GetCompositeSchedule"] = lambda _payload: COMPOSITE_201
        await charger.boot()
        session = await started(cpo, emsp, site)

        put = await emsp.charging_profile("PUT", session["id"], charging_profile=profile, wait=LONG)
        sent = await charger.wait_for("SetChargingProfile")

        assert put.outcome == "ACCEPTED"
        assert sent["chargingProfile"]["chargingProfilePurpose"] == "TxProfile"
        assert sent["chargingProfile"]["transactionId"] == charger.transaction
        await emsp.wait_until(lambda: emsp.books.active_profiles.get(session["id"]))
        await charger.end(5)


async def until_done(cpo, made):
    """Wait until a command of ours has ended well."""

    async def done():
        command = await cpo.api("GET", f"/commands/{made['id']}")
        return command if command["state"] == "done" else None

    command = await until(done)
    assert command["outcome"] == "ACCEPTED", command["detail"]


@pytest.mark.parametrize(
    ("version", "ocpp"), [("2.2.1", "1.6"), ("2.3.0", "2.0.1"), ("2.2.1", "2.1"), ("2.3.0", "1.6")]
)
async def test_what_holds_is_told_from_the_first_profile_on(cpo, version, ocpp):
    """CP-1 to CP-3, CP-5, CP-7, CMD-4: set, changed by the operator, asked for and cleared again."""
    holding = [16]

    def composite(_asked):
        if holding[0] is None:
            return {"status": "Rejected"}
        periods = [{"startPeriod": 0, "limit": float(holding[0])}]
        schedule = {"chargingRateUnit": "A", "chargingSchedulePeriod": periods}
        if ocpp == "1.6":
            return {"status": "Accepted", "connectorId": 1, "scheduleStart": charger.time(),
                    "chargingSchedule": schedule}  # fmt: skip
        more = {"evseId": 1, "duration": 600, "scheduleStart": charger.time()}
        return {"status": "Accepted", "schedule": schedule | more}

    site = await new_site(cpo, ocpp=ocpp)
    async with met(cpo, version) as raw, site.charger() as charger:

        def told():
            return [h.body for h in raw.of("chargingprofiles", "PUT")]

        def limits():
            return [
                body["charging_profile"]["charging_profile_period"][0]["limit"] for body in told()
            ]

        async def result(name, kind):
            heard = await raw.until(
                lambda: [h for h in raw.heard if h.path == f"/result/{name}"], name
            )
            assert check(version, kind, heard[0].body) == []
            assert len(heard) == 1
            return heard[0].body

        charger.answers["GetCompositeSchedule"] = composite
        await charger.boot()
        await raw.put_token("04LIMIT")
        assert await charger.begin("04LIMIT") == "Accepted"
        session = (await raw.until(lambda: raw.of("sessions", "PUT"), "the session"))[0].body["id"]
        url = raw.at("chargingprofiles", session)
        of_station = {
            "id": 900,
            "chargingProfilePurpose": "TxDefaultProfile",
            "chargingProfileKind": "Relative",
            "stackLevel": 0,
            "chargingSchedule": {
                "chargingRateUnit": "A",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 12}],
            },
        }
        by_us = f"/stations/{site.station}/set-charging-profile"
        made = await cpo.api("POST", by_us, {"evse_id": 1, "profile": of_station})
        await until_done(cpo, made)
        before = told()

        holding[0] = 10
        profile = {
            "charging_rate_unit": "A",
            "charging_profile_period": [{"start_period": 0, "limit": 10}],
        }
        body = {"charging_profile": profile, "response_url": f"{raw.url}/result/put"}
        assert (await raw.ask("PUT", url, body)).data["result"] == "ACCEPTED"
        assert await result("put", "ChargingProfileResult") == {"result": "ACCEPTED"}
        await raw.until(lambda: limits() == [10], "what holds")
        sent = charger.got_of("SetChargingProfile")[-1]

        holding[0] = 7
        await cpo.api("POST", by_us, {"evse_id": 1, "profile": of_station})
        await raw.until(lambda: limits() == [10, 7], "the change")

        back = quote(f"{raw.url}/result/get", safe="")
        await raw.ask("GET", f"{url}?duration=600&response_url={back}")
        got = await result("get", "ActiveChargingProfileResult")
        assert got["profile"]["charging_profile"]["charging_profile_period"][0]["limit"] == 7

        holding[0] = None
        back = quote(f"{raw.url}/result/delete", safe="")
        await raw.ask("DELETE", f"{url}?response_url={back}")
        assert await result("delete", "ClearProfileResult") == {"result": "ACCEPTED"}
        # Nothing is left: it is told what the EVSE can do.
        await raw.until(lambda: limits() == [10, 7, 16], "the end of it")
        cleared = charger.got_of("ClearChargingProfile")[-1]
        wrong = [p for body in told() for p in check(version, "ActiveChargingProfile", body)]
        await charger.end(5)

    assert before == wrong == []
    ours = sent["csChargingProfiles"] if ocpp == "1.6" else sent["chargingProfile"]
    number = ours["chargingProfileId" if ocpp == "1.6" else "id"]
    assert ours["chargingProfilePurpose"] == "TxProfile"
    assert "transactionId" in ours
    assert cleared["id" if ocpp == "1.6" else "chargingProfileId"] == number


async def test_a_session_of_another_emsp_takes_no_profile(cpo, doubles, emsp):
    """CP-4 and I8."""
    if not newer(emsp):
        return
    other = next(d for d in doubles.values() if d is not emsp and newer(d))
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        session = await started(cpo, emsp, site)
        order = await other.charging_profile(
            "PUT", session["id"],
            charging_profile={"charging_rate_unit": "A", "charging_profile_period": []},
        )  # fmt: skip

        assert order.response["result"] in {"UNKNOWN_SESSION", "REJECTED"}
        assert charger.count("SetChargingProfile") == 0
        await charger.end(5)


async def test_profiles_too_often_are_told_so(cpo, emsp):
    """CP-8."""
    if not newer(emsp):
        return
    site = await new_site(cpo)
    profile = {
        "charging_rate_unit": "W",
        "charging_profile_period": [{"start_period": 0, "limit": 5000}],
    }
    async with site.charger() as charger:
        await charger.boot()
        session = await started(cpo, emsp, site)
        said = []
        for _ in range(4):
            order = await emsp.charging_profile(
                "PUT", session["id"], charging_profile=profile, wait=LONG
            )
            said.append(order.response["result"])
        await charger.end(5)

    assert said[0] == "ACCEPTED"
    assert said[-1] == "TOO_OFTEN"


async def reserved(cpo, emsp, site):
    order = await emsp.command(
        "RESERVE_NOW", token=uid(emsp), location_id=site.location, evse_uid=site.evse,
        reservation_id=f"R{site.location}", wait=LONG,
    )  # fmt: skip
    assert order.outcome == "ACCEPTED"
    await emsp.wait_until(lambda: of(emsp.sessions, site))
    return order


async def test_a_reservation_becomes_the_charge_of_the_same_session(cpo, emsp):
    """SES-3 and SES-19."""
    if not newer(emsp):
        return
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        await reserved(cpo, emsp, site)
        await charger.begin(uid(emsp))
        await emsp.wait_until(lambda: [s["status"] for s in of(emsp.sessions, site)] == ["ACTIVE"])
        await charger.end(5)
        await emsp.wait_until(
            lambda: [s["status"] for s in of(emsp.sessions, site)] == ["COMPLETED"]
        )
        await emsp.wait_until(
            lambda: [c for c in emsp.cdrs.values() if c["cdr_location"]["id"] == site.location]
        )


async def test_a_reservation_taken_back_by_the_operator_is_told(cpo, emsp):
    """CMD-15: CANCELED_RESERVATION goes to the response_url of RESERVE_NOW."""
    if not newer(emsp):
        return
    site = await new_site(cpo)
    async with site.charger() as charger:
        await charger.boot()
        order = await reserved(cpo, emsp, site)

        number = (await charger.wait_for("ReserveNow"))["reservationId"]

        await cpo.api("POST", f"/evses/{site.evse}/cancel-reservation", {"reservation_id": number})

        await emsp.wait_until(lambda: len(order.results) == 2)
        assert order.results[1]["result"] == "CANCELED_RESERVATION"
        assert charger.count("CancelReservation") == 1


async def test_h04_a_reservation_that_its_station_drops_ends_and_is_told(cpo, emsp):
    """H04: ReservationStatusUpdate(Removed) of a 2.x station ends the Session; CMD-15."""
    if not newer(emsp):
        return
    site = await new_site(cpo, ocpp="2.0.1")
    async with site.charger() as charger:
        await charger.boot()
        order = await reserved(cpo, emsp, site)
        number = (await charger.wait_for("ReserveNow"))["id"]

        await charger.call(
            "ReservationStatusUpdate",
            {"reservationId": number, "reservationUpdateStatus": "Removed"},
        )

        await emsp.wait_until(lambda: len(order.results) == 2)
        assert order.results[1]["result"] == "CANCELED_RESERVATION"
        await emsp.wait_until(
            lambda: any(
                s["location_id"] == site.location and s["status"] != "RESERVATION"
                for s in emsp.sessions.values()
            )
        )
