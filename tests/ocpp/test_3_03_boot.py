"""ocpp-conformance 3.3: boot, provisioning, time."""

import re
from datetime import timedelta

import pytest

from cpo.domain.station import Approval
from tests.ocpp.conftest import Charge16, Charge201


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


async def test_bo03_what_a_station_tells_too_early_is_refused_and_remembered_nowhere(
    backend, version
):
    await backend.register("CP1", approval=Approval.WAITING)
    charger = await backend.charger(version, boot=False)
    assert (await charger.boot())["status"] == "Pending"
    at = backend.at()
    reading = {"timestamp": at, "sampledValue": [{"value": "5" if version == "1.6" else 5}]}
    if version == "1.6":
        told = {
            "StatusNotification": {"connectorId": 1, "errorCode": "NoError", "status": "Charging"},
            "MeterValues": {"connectorId": 1, "meterValue": [reading]},
            "StartTransaction": {
                "connectorId": 1, "idTag": "TAG", "meterStart": 0, "timestamp": at,
            },
        }  # fmt: skip
    else:
        status = {"timestamp": at, "connectorStatus": "Occupied", "evseId": 1, "connectorId": 1}
        told = {
            "StatusNotification": status,
            "MeterValues": {"evseId": 1, "meterValue": [reading]},
            "TransactionEvent": {
                "eventType": "Started", "timestamp": at, "triggerReason": "CablePluggedIn",
                "seqNo": 0, "transactionInfo": {"transactionId": "t"},
            },
        }  # fmt: skip
    refused = {action: await charger.error(action, **payload) for action, payload in told.items()}

    state = backend.memory.stations["CP1"]
    assert set(refused.values()) == {"SecurityError"}
    assert (state.connectors, state.transactions) == ({}, {})


@pytest.mark.parametrize("approval", [Approval.APPROVED, Approval.WAITING])
async def test_bo02_bo03_before_its_first_boot_an_approved_station_is_heard_another_is_not(
    backend, version, approval
):
    await backend.register("CP1", approval=approval)
    charger = await backend.charger(version, boot=False)

    answer = await charger.frame(2, "1", "Heartbeat", {})

    assert answer[0] == (3 if approval is Approval.APPROVED else 4)


async def test_bo13_a_station_without_pings_that_says_nothing_is_offline_then_unknown(
    open_backend, version
):
    """Half open: no FIN, no pong, no heartbeat."""
    backend = await open_backend(heartbeat_interval=0.2, ping_interval=0.1)
    backend.stations._offline_grace = 0.05
    await backend.site("CP1")
    await backend.register("CP1", settings={"pings": "off"})
    charger = await backend.charger(version)
    reported = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
    if version != "1.6":
        at = backend.at()
        reported = {
            "timestamp": at, "connectorStatus": "Available", "evseId": 1, "connectorId": 1,
        }  # fmt: skip
    await charger.call("StatusNotification", **reported)
    assert backend.memory.sites.status("L-CP1", "CP1-uid-1-x") == "AVAILABLE"
    charger.socket.transport.pause_reading()

    await backend.until(lambda: backend.stations.link("CP1") is None)
    await backend.until(lambda: backend.memory.sites.status("L-CP1", "CP1-uid-1-x") == "UNKNOWN")


async def test_bo06_a_station_that_reconnects_need_not_boot_again(backend, version):
    charger = await backend.charger(version)
    await charger.close()
    charger = await backend.charger(version, boot=False)

    assert "currentTime" in await charger.call("Heartbeat")
    assert backend.stations.find("CP1").boot.vendor == "ACME"


async def test_bo08_boot_leaves_an_open_transaction_open(backend, version):
    charger = await backend.charger(version)
    charge = (Charge16 if version == "1.6" else Charge201)(backend, charger)
    await charge.start()
    await charger.boot()

    (transaction,) = backend.memory.stations["CP1"].transactions.values()
    assert transaction.open
    await charge.stop() if version == "1.6" else await charge.end()
    (transaction,) = backend.memory.stations["CP1"].transactions.values()
    assert not transaction.open


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
