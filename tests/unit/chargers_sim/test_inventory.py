"""What a station says of itself when asked is valid, whatever type of station it is."""

import pytest

from chargers_sim.live import Station
from chargers_sim.template import load_template, templates

REPORTS = {
    "1.6": ("GetConfiguration", {}),
    "2.0.1": ("GetBaseReport", {"requestId": 1, "reportBase": "FullInventory"}),
    "2.1": ("GetBaseReport", {"requestId": 1, "reportBase": "FullInventory"}),
}


# A 1.6 station has no events to tell its status by.
TYPES = [
    pytest.param(name, version, id=f"{name}-{version}")
    for name in templates()
    for version in REPORTS
    if (name, version) != ("status-by-events", "1.6")
]


@pytest.mark.parametrize(("name", "version"), TYPES)
async def test_the_whole_inventory_is_told_and_valid(loose, settle, name, version) -> None:
    """B07, TC: all parts of the report leave; the public package checks each."""
    action, payload = REPORTS[version]
    station = Station(loose.url, "CP1", ocpp=version, template=load_template(name))
    async with station:
        await loose.command(action, payload)
        if version == "1.6":
            await settle(lambda: loose.answered)
        else:
            await settle(lambda: any(not p.get("tbc") for p in loose.of("NotifyReport")))
        await station.settle()
        refused = [e for e in station.events if e["event"] == "refused"]

    assert refused == []
    numbers = [part["seqNo"] for part in loose.of("NotifyReport")]
    assert numbers == list(range(len(numbers)))
