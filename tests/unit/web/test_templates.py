"""Settings templates at the operator API."""

import pytest
from operating import OPERATE, READ, Operating

API = "/api/v1"


@pytest.fixture
async def world():
    made = Operating()
    async with made.client:
        await made.charging.site("CP1")
        yield made
    await made.templates.close()


async def test_a_template_is_made_shown_listed_and_forgotten(world):
    path = f"{API}/settings-templates/abb"
    body = {"vendor": "ABB*", "settings": {"HeartbeatInterval": 300}}

    created = await world.ask("PUT", path, body)
    changed = await world.ask("PUT", path, body | {"model": "Terra"})
    shown = await world.ask("GET", path, key=READ)
    listed = await world.ask("GET", f"{API}/settings-templates", key=READ)
    gone = await world.ask("DELETE", path)

    assert (created[0], changed[0], gone[0]) == (201, 200, 204)
    assert shown[1]["settings"] == [{"key": "HeartbeatInterval", "value": "300"}]
    assert listed[1]["items"] == [shown[1]]
    assert (await world.ask("GET", path))[0] == 404


async def test_a_broken_template_names_its_field(world):
    status, problem, _ = await world.ask("PUT", f"{API}/settings-templates/x", {"settings": {}})

    assert (status, problem["field"]) == (422, "settings")
    assert (await world.ask("PUT", f"{API}/settings-templates/{'x' * 60}", {}))[0] == 422


async def test_a_stations_settings_are_shown(world):
    status, shown, _ = await world.ask("GET", f"{API}/stations/CP1/settings", key=READ)

    assert (status, shown["drift"], shown["items"]) == (200, 0, [])
    assert (await world.ask("GET", f"{API}/stations/NONE/settings"))[0] == 404


async def test_settings_are_applied_when_the_station_is_there(world):
    path = f"{API}/stations/CP1/apply-settings"
    assert (await world.ask("POST", path, key=OPERATE))[0] == 409
    world.connect("CP1")

    assert (await world.ask("POST", path, key=OPERATE))[0] == 200
