"""A tariff of ours at a station of OCPP 2.1, kept as what the station has."""

import pytest

from chargers_sim import Station
from tests.e2e.conftest import PASSWORD, new_site
from tests.support.cpo_process import Refused

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_21_a_tariff_of_ours_becomes_a_stations_default(cpo):
    site = await new_site(cpo, ocpp="2.1")
    path = f"/stations/{site.station}/set-tariff"
    with pytest.raises(Refused, match="409"):
        await cpo.api("POST", path, {"tariff_id": site.tariff})
    async with Station(cpo.urls["ocpp"], site.station, ocpp="2.1", password=PASSWORD):
        answer = await cpo.api("POST", path, {"tariff_id": site.tariff})
        with pytest.raises(Refused, match="404"):
            await cpo.api("POST", path, {"tariff_id": "NOPE"})
        kept = await cpo.api("GET", f"/stations/{site.station}/documents?kind=default-tariff")

    assert answer["tariff"]["energy"]["prices"][0]["priceKwh"]
    assert answer["payload"]["status"] == "Accepted"
    assert kept["items"][0]["document"]["tariff"]["tariffId"] == site.tariff
