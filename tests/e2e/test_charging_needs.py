"""K15 and what belongs to it: cars ask, get schedules within the limits that hold."""

import pytest
from waiting import until

from tests.e2e.conftest import PASSWORD, new_site
from tests.support.raw_charger import CHARGERS

pytestmark = pytest.mark.asyncio(loop_scope="session")
AC = {"energyAmount": 20_000, "evMinCurrent": 6, "evMaxCurrent": 32, "evMaxVoltage": 400}


def needs(transfer="AC_three_phase", **more):
    parameters = {"acChargingParameters": AC} if transfer.startswith("AC") else {}
    asked = {"requestedEnergyTransfer": transfer, **parameters, **more}
    return {"evseId": 1, "chargingNeeds": asked}


def schedules(charger):
    """The TxProfiles on the level of cars that the charger got, newest last."""
    profiles = [p["chargingProfile"] for a, p in charger.got if a == "SetChargingProfile"]
    return [p for p in profiles if p["stackLevel"] == 0]


async def schedule(charger, check=lambda profile: True):
    async def look():
        return [p for p in schedules(charger) if check(p)]

    return (await until(look))[-1]


def limit(profile):
    (only,) = profile["chargingSchedule"]
    periods = [p for p in only["chargingSchedulePeriod"] if p["startPeriod"] == 0]
    return only["chargingRateUnit"], periods[0]["limit"], periods[0].get("numberPhases")


async def test_k15_a_car_gets_what_its_connector_gives(cpo):
    """K15: Accepted, then a TxProfile for the running transaction; shown with the limits."""
    site = await new_site(cpo, ocpp="2.0.1")
    async with site.charger() as charger:
        await charger.boot()
        await charger.begin("CAR1")
        answer = await charger.call("NotifyEVChargingNeeds", needs())
        profile = await schedule(charger)

        async def plan():
            shown = await cpo.api("GET", f"/stations/{site.station}/limits?evse_id=1")
            return [p["document"] for p in shown["plans"] if p["document"]["outcome"]]

        (kept,) = await until(plan)
        shown = await cpo.api("GET", f"/stations/{site.station}/limits?evse_id=1")

    assert answer["status"] == "Accepted"
    assert profile["chargingProfilePurpose"] == "TxProfile"
    assert profile["transactionId"] == charger.transaction
    assert limit(profile) == ("A", 16, 3)
    assert kept["outcome"] == "ACCEPTED"
    assert shown["needs"][0]["document"]["chargingNeeds"]["requestedEnergyTransfer"]
    assert [step["limit_w"] for step in shown["composite"]] == [16 * 230 * 3]


async def test_k15_the_limits_of_others_hold_and_their_change_is_followed(cpo):
    """K12, K13, K15: an external limit lowers the schedule, its end raises it again."""
    site = await new_site(cpo, ocpp="2.0.1")
    external = {
        "evseId": 1,
        "chargingLimit": {"chargingLimitSource": "EMS"},
        "chargingSchedule": [
            {
                "id": 1,
                "chargingRateUnit": "A",
                "startSchedule": "2026-01-01T00:00:00Z",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 8}],
            }
        ],
    }
    async with site.charger() as charger:
        await charger.boot()
        await charger.begin("CAR1")
        await charger.call("NotifyChargingLimit", external)
        await charger.call("NotifyEVChargingNeeds", needs("AC_single_phase"))
        lowered = await schedule(charger)
        await charger.call("ClearedChargingLimit", {"chargingLimitSource": "EMS", "evseId": 1})
        raised = await schedule(charger, lambda p: limit(p)[1] != 8)

    assert limit(lowered) == ("A", 8, 1)
    assert limit(raised) == ("A", 16, 1)


async def test_k15_a_sites_cap_leads_and_is_never_exceeded(cpo):
    """The cap's share and the car's schedule, both within the cap."""
    site = await new_site(cpo, ocpp="2.0.1")
    await cpo.api("PUT", f"/locations/{site.location}/limit", {"max_power_w": 6900})
    async with site.charger() as charger:
        await charger.boot()
        await charger.begin("CAR1")

        async def share():
            view = await cpo.api("GET", f"/locations/{site.location}/limit")
            (only,) = view["shares"]
            return only["state"] == "charging" and only["share_w"] > 5000

        await until(share)
        await charger.call("NotifyEVChargingNeeds", needs())
        # The share may still be on its way to the station: then less came first.
        profile = await schedule(charger, lambda p: limit(p)[1] == 10)
        shown = await cpo.api("GET", f"/stations/{site.station}/limits?evse_id=1")

    assert all(limit(p)[1] <= 10 for p in schedules(charger))
    assert limit(profile) == ("A", 10, 3)
    assert all(step["limit_w"] <= 6900 for step in shown["composite"])


async def test_k15_needs_before_the_transaction_are_answered_when_it_begins(cpo):
    site = await new_site(cpo, ocpp="2.0.1")
    async with site.charger() as charger:
        await charger.boot()
        answer = await charger.call(
            "NotifyEVChargingNeeds",
            needs("DC", dcChargingParameters={"evMaxCurrent": 20, "evMaxVoltage": 400}),
        )
        assert schedules(charger) == []
        await charger.begin("CAR1")
        profile = await schedule(charger)

    assert answer["status"] == "Processing"
    assert limit(profile)[:2] == ("W", 8000)
    assert profile["transactionId"] == charger.transaction


async def test_k15_needs_that_say_nothing_are_rejected_and_kept(cpo):
    site = await new_site(cpo, ocpp="2.0.1")
    async with site.charger() as charger:
        await charger.boot()
        answer = await charger.call("NotifyEVChargingNeeds", needs("DC"))
        shown = await cpo.api("GET", f"/stations/{site.station}/limits?evse_id=1")
    assert answer["status"] == "Rejected"
    assert len(shown["needs"]) == 1


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_cm09_the_profile_of_a_remote_start_is_kept_and_tied_to_its_transaction(cpo, version):
    """CM-09, CM-18: shown with the limits, and gone with the transaction."""
    site = await new_site(cpo, ocpp=version)
    profile = {
        "stackLevel": 1,
        "chargingProfilePurpose": "TxProfile",
        "chargingProfileKind": "Relative",
        "chargingSchedule": {
            "chargingRateUnit": "A",
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 10}],
        },
    }
    path = f"/stations/{site.station}/limits?evse_id=1"
    async with CHARGERS[version](cpo.urls["ocpp"], site.station, PASSWORD) as charger:
        await charger.boot()
        body = {"token": {"uid": "REMOTE1"}, "profile": profile}
        command = await cpo.api("POST", f"/evses/{site.evse}/start", body)

        async def session():
            start = (await cpo.api("GET", f"/commands/{command['id']}"))["start"]
            return start and start["session_id"]

        running = await until(session)
        shown = await cpo.api("GET", path)
        (kept,) = shown["profiles"]
        await cpo.api("POST", f"/evses/{site.evse}/stop", {"session_id": running})

        async def gone():
            return (await cpo.api("GET", path))["profiles"] == []

        await until(gone)

    assert str(kept["document"]["profile"]["transactionId"]) == str(charger.transaction)
    assert [step["limit_w"] for step in shown["composite"]] == [10 * 230 * 3]
