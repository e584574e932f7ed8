"""Kinds of chargers, repair rules as data, and what each station deviates in."""

import pytest
from waiting import looked

from tests.e2e.conftest import new_site
from tests.support.raw_charger import CallError

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def boot(charger, *, firmware, vendor="QuirkyCorp"):
    await charger.call(
        "BootNotification",
        {"chargePointVendor": vendor, "chargePointModel": "Q", "firmwareVersion": firmware},
    )


async def station(cpo, site):
    return await cpo.api("GET", f"/stations/{site.station}")


ODD = {"connectorId": 1, "status": "Available", "errorCode": "NoError", "colour": "red"}


async def test_a_kind_of_charger_is_known_by_its_boot_and_its_own_habits_win(cpo):
    """Quirk profiles by vendor, model and firmware; shown with where each came from."""
    site = await new_site(cpo, ocpp="1.6")
    async with site.charger() as charger:
        await boot(charger, firmware="1.7")
        strict = await station(cpo, site)
        with pytest.raises(CallError, match="FormationViolation"):
            await charger.call("StatusNotification", ODD)
        await boot(charger, firmware="2.0")
        later = await station(cpo, site)
        await charger.call("StatusNotification", ODD)
        long = {"idTag": "x" * 30}
        answer = await charger.call("Authorize", long)
        await boot(charger, firmware="1.8")
        with pytest.raises(CallError):
            await charger.call("Authorize", long)
        await cpo.api("PUT", f"/stations/{site.station}", {"habits": {"intake": "lenient"}})
        own = await station(cpo, site)
        await boot(charger, firmware="1.8")
        await charger.call("StatusNotification", ODD)

    assert strict["effective_habits"] == {
        "intake": {"value": "strict", "from": "profile first firmware"}
    }
    assert later["effective_habits"]["triggers"]["from"] == "profile later firmware"
    assert later["repairs"] == {"too_long": ["idTag"]}
    assert answer["idTagInfo"]["status"] == "Invalid"
    assert own["effective_habits"]["intake"] == {"value": "lenient", "from": "station"}


async def test_each_deviation_is_recorded_and_shown(cpo):
    """By action, place and kind, counted; places in lists are one place."""
    site = await new_site(cpo, ocpp="1.6")
    reading = {"timestamp": "2026-01-01T00:00:00Z", "sampledValue": [{"value": 12}, {"value": 13}]}
    async with site.charger() as charger:
        await boot(charger, firmware="9", vendor="Other")
        for _ in range(3):
            await charger.call("StatusNotification", ODD)
        await charger.call("MeterValues", {"connectorId": 1, "meterValue": [reading, reading]})

        async def counted():
            found = (await station(cpo, site))["deviations"]
            return {(d["action"], d["where"], d["what"]): d["count"] for d in found}

        seen = await looked(counted, lambda found: len(found) == 2)

    assert seen["StatusNotification", "", "additionalProperties"] == 3
    assert seen["MeterValues", "meterValue/*/sampledValue/*/value", "type"] == 4
