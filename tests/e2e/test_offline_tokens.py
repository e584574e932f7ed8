"""AU-06, 037_1, 037_3, OF-03: what was started offline with a token that is refused afterwards."""

from running import Cpo, password
from waiting import LONG, until

from chargers_sim import Station

VERSIONS = ("1.6", "2.0.1")


async def token(cpo, uid, *, valid):
    body = {"type": "RFID", "contract_id": uid, "valid": valid}
    await cpo.api("PUT", f"/tokens/{uid}", body)


async def test_au06_037_an_offline_start_is_billed_if_good_and_deauthorized_if_not(tmp_path):
    """The station stops by itself (StopTransactionOnInvalidId); nobody is billed for it."""
    async with Cpo(
        tmp_path, **{"ocpp.local_list.mode": "off", "ocpp.clear_caches": "false"}
    ) as cpo:
        names = {version: f"off-{version.replace('.', '')}" for version in VERSIONS}
        await cpo.equip(names.values())
        for uid in ("GOOD", "BAD"):
            await token(cpo, uid, valid=True)
        for version, name in names.items():
            async with Station(
                cpo.ocpp_url, name, ocpp=version, password=password(name), retry_seconds=0.1
            ) as station:
                for uid in ("GOOD", "BAD"):
                    # The server's word, into the station's cache.
                    await station.plug()
                    assert await station.swipe(uid) == "Accepted"
                    await station.charge(kwh=1, seconds=600)
                    await station.stop()
                    await station.unplug()
                await station.settle()
                await token(cpo, "BAD", valid=False)

                await station.cut()
                await station.plug()
                assert await station.swipe("GOOD") == "Accepted"
                await station.charge(kwh=1, seconds=600)
                await station.stop()
                await station.unplug()
                await station.plug()
                assert await station.swipe("BAD") == "Accepted"
                await station.reconnect(timeout=LONG)
                await station.wait_for("deauthorized", timeout=LONG)
                await station.settle()
            await token(cpo, "BAD", valid=True)

        async def ended():
            _, found = await cpo.api("GET", "/sessions?limit=100")
            items = found["items"]
            return len(items) == 8 and all(s["end_date_time"] for s in items) and items

        sessions = await until(ended)
        _, cdrs = await cpo.api("GET", "/cdrs?limit=100")

    statuses = sorted(s["status"] for s in sessions)
    assert statuses == ["COMPLETED"] * 6 + ["INVALID"] * 2
    assert len(cdrs["items"]) == 6
    assert {float(cdr["total_energy"]) for cdr in cdrs["items"]} == {1.0}
