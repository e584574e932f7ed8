"""EVSEs and connectors are discovered, and offered for a location."""

import pytest

from tests.e2e.conftest import location, new_site

pytestmark = pytest.mark.asyncio(loop_scope="session")


def variable(component, name, value, evse, connector=None, **characteristics):
    place = {"id": evse} | ({"connectorId": connector} if connector else {})
    item = {
        "component": {"name": component, "evse": place},
        "variable": {"name": name},
        "variableAttribute": [{"type": "Actual", "value": value}],
    }
    if characteristics:
        item["variableCharacteristics"] = characteristics
    return item


async def test_bo14_a_base_report_offers_evses_that_a_location_takes(cpo):
    site = await new_site(cpo, ocpp="2.0.1")
    report = [
        variable("EVSE", "SupplyPhases", "3", 1),
        variable(
            "EVSE", "Power", "0", 2, dataType="decimal", supportsMonitoring=False, maxLimit=150000
        ),
        variable("Connector", "ConnectorType", "sType2", 1, 1),
        variable("Connector", "ConnectorType", "cCCS2", 2, 1),
        variable("Connector", "ConnectorType", "cG105", 2, 2),
    ]
    path = f"/stations/{site.station}/discovered"
    async with site.charger() as charger:
        await charger.boot()
        before = await cpo.api("GET", path)
        await charger.call(
            "NotifyReport",
            {
                "requestId": 1, "seqNo": 0, "tbc": False,
                "generatedAt": "2026-01-01T00:00:00Z", "reportData": report,
            },
        )  # fmt: skip
        found = await cpo.api("GET", path)
        # What is offered is bound, with what a charger cannot know filled in.
        body = location(site)
        offer = found["evses"][1]["offer"]
        for connector in offer["connectors"]:
            connector |= {"max_voltage": 500, "max_amperage": 300, "tariff_ids": [site.tariff]}
        body["evses"].append(
            offer | {"uid": f"{site.evse}-2", "evse_id": f"NL*CPO*E{site.evse[5:]}*2"}
        )
        await cpo.api("PUT", f"/locations/{site.location}", body)
        bound = await cpo.api("GET", path)

    assert not before["inventory"]
    assert [e["evse_id"] for e in before["evses"]] == [1]
    first, second = found["evses"]
    assert first["bound_to"]["evse_uid"] == site.evse
    assert first["offer"] == {
        "ocpp": {"station": site.station, "evse_id": 1},
        "connectors": [
            {"id": "1", "standard": "IEC_62196_T2", "format": "SOCKET", "power_type": "AC_3_PHASE"}
        ],
    }
    assert second["bound_to"] is None
    assert [(c["standard"], c["power_type"]) for c in offer["connectors"]] == [
        ("IEC_62196_T2_COMBO", "DC"),
        ("CHADEMO", "DC"),
    ]
    assert offer["connectors"][0]["max_electric_power"] == 150000
    assert bound["evses"][1]["bound_to"]["location"] == site.location
    assert bound["unknown"] == []


async def test_bo14_the_connectors_of_a_16_charger_are_offered(cpo):
    site = await new_site(cpo, ocpp="1.6")
    async with site.charger() as charger:
        await charger.boot()
        charger.answers["GetConfiguration"] = lambda _: {
            "configurationKey": [{"key": "NumberOfConnectors", "readonly": True, "value": "2"}]
        }
        call = {"action": "GetConfiguration", "payload": {}}
        await cpo.api("POST", f"/stations/{site.station}/call", call)
        found = await cpo.api("GET", f"/stations/{site.station}/discovered")

    assert [e["evse_id"] for e in found["evses"]] == [1, 2]
    assert [e["reported"] for e in found["evses"]] == [True, False]
    assert found["evses"][1]["offer"]["connectors"] == [{"id": "1"}]
