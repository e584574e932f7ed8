"""A charger that was put to work before anybody entered its Location."""

import pytest

from tests.e2e.conftest import PASSWORD, Site, double, joined, location, tariff, uid
from tests.e2e.test_ocpi_charging import charge, of
from tests.support.cpo_process import Refused
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("ocpp", ["1.6", "2.0.1"])
async def test_a_charge_before_its_location_was_entered_is_shown_and_then_billed_once(cpo, ocpp):
    """I1 and CDR-22: nothing is lost, and what it costs is the operator's word."""
    site = Site(f"LOC-L{ocpp}", f"EVSE-L{ocpp}", f"TAR-L{ocpp}", f"CP-L{ocpp}", cpo, ocpp)
    await cpo.api("PUT", f"/stations/{site.station}", {"password": PASSWORD})
    async with double("2.2.1") as emsp:
        await joined(cpo, emsp)
        await emsp.send_token({"uid": uid(emsp)})
        assert await charge(site, uid(emsp)) == "Accepted"

        shown = await cpo.api("GET", f"/stations/{site.station}/unplaced")
        assert [(item["kwh"], item["id_token"]) for item in shown["items"]] == [(10, uid(emsp))]
        assert of(emsp.sessions, site) == []

        await cpo.api("PUT", f"/tariffs/{site.tariff}", tariff(site.tariff))
        place = location(site)
        await cpo.api("PUT", f"/locations/{site.location}", place)
        # The same Location again bills nothing twice.
        await cpo.api("PUT", f"/locations/{site.location}", place)

        async def held():
            found = await cpo.api("GET", "/cdrs?held=true&limit=500")
            return [cdr for cdr in found["items"] if cdr["location"] == site.location]

        (cdr,) = await until(held)
        assert "placed_later" in cdr["hold"]
        assert (await cpo.api("GET", f"/stations/{site.station}/unplaced"))["items"] == []
        await cpo.api("POST", f"/cdrs/{cdr['id']}/release")
        await emsp.wait_until(lambda: of(emsp.cdrs, site), timeout=40)
        assert [bill["total_energy"] for bill in of(emsp.cdrs, site)] == [10]
        assert [bill["status"] for bill in of(emsp.sessions, site)] == ["COMPLETED"]


async def test_unplaced_charges_of_an_unknown_station_are_404(cpo):
    with pytest.raises(Refused, match="404"):
        await cpo.api("GET", "/stations/NOBODY/unplaced")
