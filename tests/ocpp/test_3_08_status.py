"""ocpp-conformance 3.8: status, and section 6: what partners see of it."""

import pytest

from cpo.domain.station import EvseStatus

TABLE_16 = {
    "Available": "AVAILABLE",
    "Preparing": "CHARGING",
    "Charging": "CHARGING",
    "SuspendedEV": "CHARGING",
    "SuspendedEVSE": "CHARGING",
    "Finishing": "CHARGING",
    "Reserved": "RESERVED",
    "Unavailable": "INOPERATIVE",
    "Faulted": "OUTOFORDER",
}
TABLE_2 = {
    "Available": "AVAILABLE",
    "Occupied": "CHARGING",
    "Reserved": "RESERVED",
    "Unavailable": "INOPERATIVE",
    "Faulted": "OUTOFORDER",
}


def evse(backend, number=1):
    return backend.memory.sites.status("L-CP1", f"CP1-uid-{number}-x")


async def say_2(charger, word, evse=1, connector=1, at="2026-06-01T11:00:00Z"):
    await charger.call(
        "StatusNotification",
        timestamp=at,
        connectorStatus=word,
        evseId=evse,
        connectorId=connector,
    )


async def notify(charger, word, at="2026-06-01T11:00:00Z"):
    await charger.call(
        "NotifyEvent",
        generatedAt=at,
        seqNo=0,
        eventData=[
            {
                "eventId": 1,
                "timestamp": at,
                "trigger": "Delta",
                "actualValue": word,
                "eventNotificationType": "HardWiredNotification",
                "component": {"name": "Connector", "evse": {"id": 1, "connectorId": 1}},
                "variable": {"name": "AvailabilityState"},
            }
        ],
    )


@pytest.mark.parametrize(("word", "status"), TABLE_16.items())
async def test_st01_every_status_of_16_as_partners_see_it(backend, charge, word, status):
    await charge.status(word, errorCode="NoError" if word != "Faulted" else "GroundFailure")

    assert evse(backend) is EvseStatus(status)


async def test_st01_one_change_is_one_mark(backend, charge):
    await charge.status("Available")
    backend.store.marks.clear()
    await charge.status("Charging")
    await charge.status("Charging")

    assert len([m for m in backend.store.marks if m.kind == "evse"]) == 1


@pytest.mark.parametrize(
    ("word", "status"), [("Unavailable", "INOPERATIVE"), ("Faulted", "OUTOFORDER")]
)
async def test_st02_the_stations_own_state_overlays_its_evses(backend, charge, word, status):
    await charge.status("Available")
    await charge.status(word, connector=0)
    assert evse(backend) is EvseStatus(status)

    await charge.status("Available", connector=0)
    assert evse(backend) is EvseStatus.AVAILABLE


@pytest.mark.parametrize(("word", "status"), TABLE_2.items())
async def test_st03_both_channels_of_2x_come_to_the_same(backend, word, status):
    charger = await backend.charger("2.0.1")
    await say_2(charger, word)
    assert evse(backend) is EvseStatus(status)

    await say_2(charger, "Available", at="2026-06-01T11:01:00Z")
    await notify(charger, word, at="2026-06-01T11:02:00Z")
    assert evse(backend) is EvseStatus(status)


async def test_st04_evse_0_connector_0_is_the_station(backend):
    charger = await backend.charger("2.0.1")
    await say_2(charger, "Available")
    await say_2(charger, "Faulted", evse=0, connector=0)

    assert evse(backend) is EvseStatus.OUTOFORDER


async def test_st05_an_older_status_does_not_win(backend, charge):
    await charge.status("Charging", timestamp=backend.at(minutes=-1))
    await charge.status("Available", timestamp=backend.at(minutes=-5))

    assert evse(backend) is EvseStatus.CHARGING


async def test_st07_q32_charging_without_a_transaction_is_no_session(backend, charge, books):
    await charge.status("Charging")

    assert evse(backend) is EvseStatus.CHARGING
    assert books.sessions == []


async def test_st08_available_leaves_an_open_transaction_open(backend, charge, books):
    await charge.start()
    await charge.status("Available")

    assert evse(backend) is EvseStatus.AVAILABLE
    assert books.transactions[0].open


async def test_st09_a_fault_leaves_the_session_active(backend, charge, books):
    await charge.start()
    await charge.status("Faulted", errorCode="OtherError")

    assert evse(backend) is EvseStatus.OUTOFORDER
    assert books.only_session.status == "ACTIVE"


async def test_st10_q17_unknown_words_are_kept(backend, charge):
    await charge.status("Dozing", errorCode="Error")

    assert evse(backend) is EvseStatus.UNKNOWN
    assert backend.memory.stations["CP1"].connectors[1, 1].error_code == "Error"


async def test_st13_vendor_codes_are_kept_for_the_operator(backend, charge):
    await charge.status("Faulted", errorCode="OtherError", vendorErrorCode="E42", info="door")

    state = backend.memory.stations["CP1"].connectors[1, 1]
    assert (state.vendor_error_code, state.info) == ("E42", "door")


async def test_st05_a_time_in_whole_seconds_is_not_older_than_an_arrival(backend, charge):
    backend.later(milliseconds=700)
    await charge.status("Available")

    await charge.status("Charging", timestamp=backend.at())

    state = backend.memory.stations["CP1"].connectors[1, 1]
    assert state.activity == "Charging"
