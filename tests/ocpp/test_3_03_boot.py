"""ocpp-conformance 3.3: boot, provisioning, time."""

import re
from datetime import timedelta

import pytest

from cpo.domain.station import Approval


async def test_bo01_boot_is_accepted_with_utc_time_and_an_interval(backend, version):
    charger = await backend.charger(version, boot=False)

    answer = await charger.boot()

    assert answer["status"] == "Accepted"
    assert answer["interval"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z", answer["currentTime"])


async def test_bo01_what_the_station_says_of_itself_is_kept(backend, version):
    await backend.charger(version)

    record = backend.stations.find("CP1")
    assert record.boot.vendor == "ACME"
    assert record.ocpp_version == version


@pytest.mark.parametrize(
    ("approval", "status"), [(Approval.WAITING, "Pending"), (Approval.REJECTED, "Rejected")]
)
async def test_bo02_bo03_a_station_that_is_not_approved_may_only_boot(
    backend, version, approval, status
):
    await backend.register("CP1", approval=approval)
    charger = await backend.charger(version, boot=False)

    first = await charger.boot()
    assert (first["status"], first["interval"] > 0) == (status, True)
    assert await charger.error("Heartbeat") == "SecurityError"
    assert (await charger.boot())["status"] == status


async def test_bo06_a_station_that_reconnects_need_not_boot_again(backend, version):
    charger = await backend.charger(version)
    await charger.close()
    charger = await backend.charger(version, boot=False)

    assert "currentTime" in await charger.call("Heartbeat")
    assert backend.stations.find("CP1").boot.vendor == "ACME"


async def test_bo08_boot_leaves_an_open_transaction_open(backend):
    charger = await backend.charger("1.6")
    start = await charger.call(
        "StartTransaction", connectorId=1, idTag="TAG", meterStart=0, timestamp=backend.at()
    )
    await charger.boot()

    assert backend.memory.stations["CP1"].transactions[str(start["transactionId"])].open


async def test_bo11_a_serial_number_that_is_too_long_is_kept_whole(backend, version):
    charger = await backend.charger(version, boot=False)
    told = {
        "chargePointVendor": "",
        "chargePointModel": "M" * 30,
        "chargePointSerialNumber": "S" * 30,
    }
    if version != "1.6":
        station = {"vendorName": "", "model": "M" * 30, "serialNumber": "S" * 30}
        told = {"reason": "PowerUp", "chargingStation": station}

    answer = await charger.call("BootNotification", **told)

    assert answer["status"] == "Accepted"
    assert backend.stations.find("CP1").boot.serial_number == "S" * 30


async def test_bo12_heartbeat_has_the_time_and_nothing_else(backend, version):
    charger = await backend.charger(version)

    assert list(await charger.call("Heartbeat")) == ["currentTime"]


@pytest.mark.parametrize(
    "stamp",
    [
        "2026-06-01T10:00:00",
        "2026-06-01T12:00:00+02",
        "2026-06-01T12:00:00+0200",
        "2026-06-01T10:00:00Z",
        "2026-06-01T10:00:00.1234567Z",
        "yesterday",
        "1970-01-01T00:00:00Z",
    ],
)
async def test_bo18_bo19_q18_no_spelling_of_a_time_is_refused_in_a_transaction(backend, stamp):
    charger = await backend.charger("1.6")

    start = await charger.call(
        "StartTransaction", connectorId=1, idTag="TAG", meterStart=0, timestamp=stamp
    )

    assert start["idTagInfo"]["status"] == "Accepted"


async def starts(backend, version, at):
    """A charge that a charger tells of with its own clock, live."""
    charger = await backend.charger(version)
    charge = (Charge16 if version == "1.6" else Charge201)(backend, charger)
    ahead = at - backend.clock
    stamp = lambda: (backend.clock + ahead).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: E731
    await charge.start(timestamp=stamp())
    backend.later(minutes=45)
    if version == "1.6":
        await charge.stop(timestamp=stamp())
    else:
        await charge.end(timestamp=stamp())


@pytest.mark.parametrize(
    ("ahead", "flagged"),
    [
        (timedelta(hours=3), True),
        (timedelta(minutes=20), True),
        (timedelta(days=365), True),
        (timedelta(seconds=20), False),
    ],
)
async def test_bo18_no_partner_sees_a_charge_of_the_future(backend, books, version, ahead, flagged):
    """A clock that runs ahead: times are clamped to the arrival, lengths stay, and it is said."""
    began = backend.clock
    await starts(backend, version, began + ahead)

    session, cdr = books.only_session, books.only_cdr
    slack = timedelta(0) if flagged else ahead
    assert session.start_date_time == began + slack
    assert session.end_date_time == backend.clock + slack
    assert (cdr.start_date_time, cdr.end_date_time) == (began + slack, backend.clock + slack)
    assert bool(books.transactions[0].flags & {"clock_implausible", "clock_ahead"}) is flagged
    assert books.transactions[0].received_at == began
