"""Limits at the operator API: composite schedules, comparison, dynamic profiles, site caps."""

import pytest
from operating import READ, Operating

from cpo.domain.command import Outcome, Reply
from cpo.services.ports import StationDocument, Work

API = "/api/v1"
PROFILE = {
    "id": 5,
    "stackLevel": 0,
    "chargingProfilePurpose": "TxDefaultProfile",
    "chargingProfileKind": "Dynamic",
    "dynUpdateTime": "2026-06-01T12:00:00Z",
    "chargingSchedule": [
        {
            "id": 1,
            "chargingRateUnit": "W",
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 5000}],
        }
    ],
}


@pytest.fixture
async def world():
    made = Operating()
    async with made.client:
        await made.charging.site("CP1", evses=2)
        yield made
    await made.site_limits.close()


async def installed(world, profile=PROFILE, kind="charging-profile", key="5"):
    document = {"evse_id": 1, "profile": profile} if kind == "charging-profile" else profile
    work = Work()
    work.put(StationDocument("CP1", kind, key, document, world.charging.clock))
    await world.store.commit(work)


async def test_limits_of_a_station_are_shown_with_their_composite(world):
    """Profiles, external limits, charging needs and schedules are visible."""
    await installed(world)
    external = {
        "chargingLimit": {"chargingLimitSource": "SO"},
        "chargingSchedule": [
            {
                "chargingRateUnit": "W",
                "startSchedule": "2026-06-01T12:10:00Z",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 3000}],
            }
        ],
    }
    await installed(world, external, "charging-limit", "SO|0")
    await installed(world, {"evseId": 1}, "charging-needs", "1")
    await installed(world, PROFILE | {"chargingProfilePurpose": "NotYetInvented"}, key="6")

    status, shown, _ = await world.ask("GET", f"{API}/stations/CP1/limits", key=READ)

    assert status == 200
    assert [step["limit_w"] for step in shown["composite"]] == [5000, 3000]
    assert (len(shown["profiles"]), len(shown["external"]), len(shown["needs"])) == (2, 1, 1)


async def test_a_tx_profile_of_a_transaction_that_is_over_is_forgotten(world):
    over = PROFILE | {"chargingProfilePurpose": "TxProfile", "transactionId": "gone"}
    await installed(world, over)

    _, shown, _ = await world.ask("GET", f"{API}/stations/CP1/limits")

    assert shown["profiles"] == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/stations/NONE/limits", 404),
        ("/stations/CP1/limits?evse_id=x", 422),
        ("/stations/CP1/limits?duration=99999999", 422),
        ("/locations/NONE/limit", 404),
        ("/locations/L-CP1/limit", 404),
    ],
)
async def test_what_is_not_there_or_not_sound_is_refused(world, path, status):
    assert (await world.ask("GET", API + path))[0] == status


async def test_the_stations_schedule_is_put_beside_ours(world):
    await installed(world)
    answer = {
        "status": "Accepted",
        "scheduleStart": "2026-06-01T12:00:00Z",
        "chargingSchedule": {
            "chargingRateUnit": "W",
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 9000}],
        },
    }
    world.connect("CP1", reply=Reply(outcome=Outcome.ACCEPTED, payload=answer))

    _, shown, _ = await world.ask("POST", f"{API}/stations/CP1/compare-limits", {"evse_id": 1})

    (difference,) = shown["differences"]
    assert (difference["ours_w"], difference["station_w"]) == (5000, 9000)


async def test_an_offline_station_cannot_be_compared(world):
    _, shown, _ = await world.ask("POST", f"{API}/stations/CP1/compare-limits", {})

    assert (shown["outcome"], shown["differences"]) == ("OFFLINE", [])


async def test_a_dynamic_limit_is_sent_and_kept(world):
    """OCPP 2.1 K28."""
    await installed(world)
    link = world.connect("CP1", version="2.1", answer={"status": "Accepted"})
    body = {"profile_id": 5, "limit": 7000.5}

    status, shown, _ = await world.ask("POST", f"{API}/stations/CP1/dynamic-limit", body)
    _, limits, _ = await world.ask("GET", f"{API}/stations/CP1/limits")

    assert (status, shown) == (200, {"status": "Accepted"})
    assert link.executed[0][0] == "UpdateDynamicSchedule"
    assert limits["composite"][0]["limit_w"] == 7000.5


async def test_an_offline_stations_dynamic_limit_waits_to_be_pulled(world):
    await installed(world)

    _, shown, _ = await world.ask(
        "POST", f"{API}/stations/CP1/dynamic-limit", {"profile_id": 5, "limit": 1}
    )

    assert shown == {"status": "Offline"}


async def test_only_dynamic_profiles_have_a_dynamic_limit(world):
    await installed(world, PROFILE | {"chargingProfileKind": "Absolute"})
    path = f"{API}/stations/CP1/dynamic-limit"

    assert (await world.ask("POST", path, {"profile_id": 5, "limit": 1}))[0] == 409
    assert (await world.ask("POST", path, {"profile_id": 6, "limit": 1}))[0] == 404


async def test_a_site_cap_is_set_shown_changed_and_taken_off(world):
    """PUT, GET and DELETE /locations/{id}/limit."""
    path = f"{API}/locations/L-CP1/limit"

    created = await world.ask("PUT", path, {"max_power_w": 24000, "policy": "first-come"})
    changed = await world.ask("PUT", path, {"max_power_w": 12000.5})
    shown = await world.ask("GET", path, key=READ)
    removed = await world.ask("DELETE", path)

    assert (created[0], changed[0], removed[0]) == (201, 200, 204)
    assert (shown[1]["max_power_w"], shown[1]["policy"]) == (12000.5, "equal")
    assert len(shown[1]["shares"]) == 2
    assert (await world.ask("DELETE", path))[0] == 404


@pytest.mark.parametrize(
    "body", [{}, {"max_power_w": -1}, {"max_power_w": 1, "policy": "mine"}, {"max_power_w": "x"}]
)
async def test_a_broken_cap_names_its_field(world, body):
    status, problem, _ = await world.ask("PUT", f"{API}/locations/L-CP1/limit", body)

    assert (status, problem["field"]) == (422, "policy" if "policy" in body else "max_power_w")
