"""ocpp-conformance 3.9: commands to stations."""

import asyncio

import pytest

from cpo.domain.command import CommandKind, CommandState, Outcome, StationCommand
from cpo.errors import CpoError, NotFound
from cpo.services.commands import Request

_BOTH = [
    "BootNotification",
    "FirmwareStatusNotification",
    "Heartbeat",
    "MeterValues",
    "StatusNotification",
]
_NEWER = [
    *_BOTH,
    "LogStatusNotification",
    "TransactionEvent",
    "SignChargingStationCertificate",
    "SignV2GCertificate",
    "PublishFirmwareStatusNotification",
]
TRIGGERS = {
    "1.6": [
        *_BOTH,
        "DiagnosticsStatusNotification",
        "LogStatusNotification",
        "SignChargePointCertificate",
    ],
    "2.0.1": _NEWER,
    "2.1": _NEWER,
}


async def run(backend, **fields):
    command = await backend.commands.request(Request(requested_by="test", **fields))
    async with asyncio.timeout(30):
        return await backend.commands.wait(command)


async def start(backend, **fields):
    token = await backend.token("TAG")
    return await run(
        backend,
        kind=CommandKind.START_SESSION,
        evse_uid="CP1-uid-1-x",
        location_id="L-CP1",
        token=token,
        **fields,
    )


@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
async def test_cm01_a_remote_start_is_tied_to_the_session_that_comes(backend, books, version):
    from tests.ocpp.conftest import Charge16, Charge201

    charger = await backend.charger(version)
    done = await start(backend)
    assert done.outcome is Outcome.ACCEPTED
    action, payload = charger.asked[-1]
    if version == "1.6":
        assert (action, payload["idTag"]) == ("RemoteStartTransaction", "TAG")
        await Charge16(backend, charger).start()
    else:
        assert action == "RequestStartTransaction"
        await Charge201(backend, charger).start(info={"remoteStartId": payload["remoteStartId"]})

    assert books.transactions[0].command_id == done.id


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"status": "Rejected"}, Outcome.REJECTED),
        (("InternalError", "no"), Outcome.FAILED),
        (("NotSupported", "no"), Outcome.NOT_SUPPORTED),
    ],
)
async def test_cm03_refusals_are_outcomes(backend, answer, outcome):
    charger = await backend.charger("1.6")
    charger.answers["RemoteStartTransaction"] = answer

    assert (await start(backend)).outcome is outcome


async def test_cm03_silence_is_a_timeout(backend):
    charger = await backend.charger("1.6")
    charger.silent = True

    assert (await start(backend, timeout=0.05)).outcome is Outcome.TIMEOUT


async def test_cm04_a_start_that_comes_before_the_answer_is_tied_too(backend, books):
    from tests.ocpp.conftest import Charge16

    charger = await backend.charger("1.6")
    charger.silent = True
    token = await backend.token("TAG")
    command = await backend.commands.request(
        Request(
            requested_by="test",
            kind=CommandKind.START_SESSION,
            evse_uid="CP1-uid-1-x",
            location_id="L-CP1",
            token=token,
            timeout=5,
        )
    )
    await backend.until(lambda: bool(charger.asked))
    await Charge16(backend, charger).start()

    assert books.transactions[0].command_id == command.id
    await backend.commands.wait(command)


async def test_cm06_a_long_token_is_told_by_its_alias_and_recognised(backend, books):
    from tests.ocpp.conftest import Charge16

    charger = await backend.charger("1.6")
    token = await backend.token("A-UID-OF-MORE-THAN-TWENTY-CHARACTERS")
    done = await run(
        backend,
        kind=CommandKind.START_SESSION,
        evse_uid="CP1-uid-1-x",
        location_id="L-CP1",
        token=token,
    )
    tag = charger.asked[-1][1]["idTag"]
    answer = await Charge16(backend, charger).start(idTag=tag)

    assert done.outcome is Outcome.ACCEPTED
    assert len(tag) <= 20
    assert answer["idTagInfo"]["status"] == "Accepted"
    assert books.transactions[0].token.uid == token.uid


async def test_cm07_a_remote_start_always_names_the_connector(backend):
    """So no charger can refuse one for want of it; the EVSE is always chosen before."""
    charger = await backend.charger("1.6")
    charger.answers["RemoteStartTransaction"] = lambda payload: {
        "status": "Accepted" if payload.get("connectorId") else "Rejected"
    }

    done = await start(backend)

    assert done.outcome is Outcome.ACCEPTED
    assert charger.asked[-1] == ("RemoteStartTransaction", {"idTag": "TAG", "connectorId": 1})
    with pytest.raises(CpoError):
        await run(backend, kind=CommandKind.START_SESSION, station="CP1")


async def test_cm08_a_remote_stop_names_the_stations_own_id(backend, charge, books):
    await charge.start()
    done = await run(backend, kind=CommandKind.STOP_SESSION, session_id=books.only_session.id)

    assert done.outcome is Outcome.ACCEPTED
    assert charge.charger.asked[-1] == ("RemoteStopTransaction", {"transactionId": charge.id})


async def test_cm08_a_finished_session_cannot_be_stopped(backend, charge, books):
    await charge.start()
    await charge.stop()

    with pytest.raises(NotFound):
        await run(backend, kind=CommandKind.STOP_SESSION, session_id=books.only_session.id)


@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
async def test_cm08_a_stop_that_the_station_refuses_leaves_the_session_as_it_is(
    backend, books, version
):
    """It may have ended there already; its own stop is what counts."""
    from tests.ocpp.conftest import Charge16, Charge201

    charger = await backend.charger(version)
    charge = (Charge16 if version == "1.6" else Charge201)(backend, charger)
    await charge.start()
    action = "RemoteStopTransaction" if version == "1.6" else "RequestStopTransaction"
    charger.answers[action] = {"status": "Rejected"}
    done = await run(backend, kind=CommandKind.STOP_SESSION, session_id=books.only_session.id)

    assert done.outcome is Outcome.REJECTED
    assert books.only_session.status == "ACTIVE"
    await (charge.stop() if version == "1.6" else charge.end())
    assert books.only_cdr.energy_wh == 2000


async def test_cm09_remote_start_ids_differ(backend):
    charger = await backend.charger("2.0.1")
    for _ in range(3):
        await start(backend)

    ids = {payload["remoteStartId"] for _, payload in charger.asked}
    assert len(ids) == 3


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
@pytest.mark.parametrize("plugged_in", [True, False])
async def test_cm10_the_transaction_that_the_answer_names_is_the_one_that_was_started(
    backend, books, version, plugged_in
):
    """Its events name neither the start nor a token; a car may have been there before."""
    from tests.ocpp.conftest import Charge201

    charger = await backend.charger(version)
    charge = Charge201(backend, charger)
    cable = {"evse": {"id": 1, "connectorId": 1}, "triggerReason": "CablePluggedIn"}
    if plugged_in:
        await charge.event("Started", -60, 1000, **cable)
        assert books.sessions == []
    charger.answers["RequestStartTransaction"] = {"status": "Accepted", "transactionId": charge.id}
    done = await start(backend)
    if plugged_in:
        await charge.update(triggerReason="ChargingStateChanged")
    else:
        await charge.event("Started", -60, 1000, **cable)

    assert [(t.key, t.command_id) for t in books.transactions] == [("tx-1", done.id)]
    assert len(books.sessions) == 1


@pytest.mark.parametrize("status", ["Accepted", "Rejected"])
async def test_cm10_a_transaction_that_no_answer_named_is_not_taken_for_it(backend, books, status):
    from tests.ocpp.conftest import Charge201

    charger = await backend.charger("2.0.1")
    named = "tx-1" if status == "Rejected" else "another"
    charger.answers["RequestStartTransaction"] = {"status": status, "transactionId": named}
    await start(backend)
    cable = {"evse": {"id": 1, "connectorId": 1}, "triggerReason": "CablePluggedIn"}
    await Charge201(backend, charger).event("Started", -60, 1000, **cable)

    assert [t.command_id for t in books.transactions] == [None]
    assert books.sessions == []


@pytest.mark.parametrize(
    ("version", "given", "sent"),
    [
        ("1.6", "Immediate", {"type": "Hard"}),
        ("1.6", "OnIdle", {"type": "Soft"}),
        ("2.0.1", "Immediate", {"type": "Immediate"}),
        ("2.0.1", "OnIdle", {"type": "OnIdle"}),
        ("2.1", "Immediate", {"type": "Immediate"}),
        ("2.1", "OnIdle", {"type": "OnIdle"}),
    ],
)
async def test_cm12_reset(backend, version, given, sent):
    charger = await backend.charger(version)

    done = await run(backend, kind=CommandKind.RESET, station="CP1", parameters={"type": given})

    assert done.outcome is Outcome.ACCEPTED
    assert charger.asked[-1] == ("Reset", sent)


@pytest.mark.parametrize("kind", ["Immediate", "OnIdle"])
async def test_cm12_a_reset_ends_the_transaction_and_the_boot_brings_it_back(
    backend, books, version, kind
):
    """At once, or scheduled for the end of the charge; with what was the reason."""
    from tests.ocpp.conftest import Charge16, Charge201

    charger = await backend.charger(version)
    charge = (Charge16 if version == "1.6" else Charge201)(backend, charger)
    await charge.start()
    scheduled = version != "1.6" and kind == "OnIdle"
    charger.answers["Reset"] = {"status": "Scheduled" if scheduled else "Accepted"}
    done = await run(backend, kind=CommandKind.RESET, station="CP1", parameters={"type": kind})
    hard = "HardReset" if kind == "Immediate" else "SoftReset"
    reason = hard if version == "1.6" else "ImmediateReset" if kind == "Immediate" else "Local"
    if version == "1.6":
        await charge.stop(reason=reason)
    else:
        await charge.end(triggerReason="ResetCommand", info={"stoppedReason": reason})
    await charge.charger.close()
    await backend.until(lambda: backend.stations.link("CP1") is None)
    await backend.charger(version)

    assert done.outcome is (Outcome.SCHEDULED if scheduled else Outcome.ACCEPTED)
    assert books.transactions[0].stopped_reason == reason
    assert books.only_session.status == "COMPLETED"
    assert books.only_cdr.energy_wh == 2000
    assert backend.stations.link("CP1") is not None


@pytest.mark.parametrize(
    ("version", "word", "outcome"),
    [
        ("1.6", "Unlocked", Outcome.ACCEPTED),
        ("1.6", "UnlockFailed", Outcome.FAILED),
        ("1.6", "NotSupported", Outcome.NOT_SUPPORTED),
        ("2.0.1", "Unlocked", Outcome.ACCEPTED),
        ("2.0.1", "UnlockFailed", Outcome.FAILED),
        ("2.0.1", "OngoingAuthorizedTransaction", Outcome.REJECTED),
        ("2.0.1", "UnknownConnector", Outcome.REJECTED),
        ("2.1", "Unlocked", Outcome.ACCEPTED),
        ("2.1", "UnlockFailed", Outcome.FAILED),
        ("2.1", "OngoingAuthorizedTransaction", Outcome.REJECTED),
        ("2.1", "UnknownConnector", Outcome.REJECTED),
    ],
)
async def test_cm13_unlock(backend, version, word, outcome):
    charger = await backend.charger(version)
    charger.answers["UnlockConnector"] = {"status": word}

    done = await run(backend, kind=CommandKind.UNLOCK, evse_uid="CP1-uid-1-x", location_id="L-CP1")

    assert done.outcome is outcome


async def test_cm14_a_scheduled_change_of_availability_is_its_own_outcome(backend, version):
    """The EVSE stays as it is until its status comes."""
    charger = await backend.charger(version)

    async def tell(word):
        if version == "1.6":
            fields = {"connectorId": 1, "errorCode": "NoError", "status": word}
        else:
            fields = {"evseId": 1, "connectorId": 1, "connectorStatus": word}
            fields["timestamp"] = backend.at()
        await charger.call("StatusNotification", **fields)

    def shown():
        (status,) = {str(s.status) for s in backend.memory.sites.statuses.values()}
        return status

    await tell("Available")
    charger.answers["ChangeAvailability"] = {"status": "Scheduled"}

    done = await run(
        backend,
        kind=CommandKind.AVAILABILITY,
        evse_uid="CP1-uid-1-x",
        parameters={"operational_status": "Inoperative"},
    )

    assert done.outcome is Outcome.SCHEDULED
    assert shown() == "AVAILABLE"
    await tell("Unavailable")
    assert shown() == "INOPERATIVE"


@pytest.mark.parametrize(
    ("version", "message"),
    [(version, message) for version, found in TRIGGERS.items() for message in found],
)
async def test_cm15_each_type_of_trigger(backend, version, message):
    """The words of 2.x; 1.6 has its own for some."""
    charger = await backend.charger(version)
    done = await run(
        backend,
        kind=CommandKind.TRIGGER,
        station="CP1",
        parameters={"requested_message": message},
    )

    extended = version == "1.6" and message in {
        "LogStatusNotification",
        "SignChargePointCertificate",
    }
    action = "ExtendedTriggerMessage" if extended else "TriggerMessage"
    assert charger.asked == [(action, {"requestedMessage": message})]
    assert done.outcome is Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("word", "outcome"),
    [
        ("Accepted", Outcome.ACCEPTED),
        ("Rejected", Outcome.REJECTED),
        ("NotImplemented", Outcome.NOT_SUPPORTED),
    ],
)
async def test_cm15_trigger(backend, version, word, outcome):
    charger = await backend.charger(version)
    charger.answers["TriggerMessage"] = {"status": word}

    done = await run(
        backend,
        kind=CommandKind.TRIGGER,
        station="CP1",
        parameters={"requested_message": "Heartbeat"},
    )

    assert done.outcome is outcome


@pytest.mark.parametrize(
    ("word", "outcome"),
    [
        ("Accepted", Outcome.ACCEPTED),
        ("Faulted", Outcome.EVSE_INOPERATIVE),
        ("Occupied", Outcome.EVSE_OCCUPIED),
        ("Rejected", Outcome.REJECTED),
        ("Unavailable", Outcome.EVSE_INOPERATIVE),
    ],
)
async def test_cm16_reserve(backend, version, word, outcome):
    charger = await backend.charger(version)
    charger.answers["ReserveNow"] = {"status": word}
    link = backend.stations.link("CP1")

    reply = await link.execute(
        StationCommand(
            kind=CommandKind.RESERVE,
            evse_id=1,
            id_token="TAG",
            parameters={"reservation_id": "R1", "expiry_date_time": backend.at(hours=1)},
        )
    )
    assert reply.outcome is outcome


@pytest.mark.parametrize(
    ("word", "outcome"),
    [("Accepted", Outcome.ACCEPTED), ("Rejected", Outcome.UNKNOWN_RESERVATION)],
)
async def test_cm17_cancel_a_reservation(backend, version, word, outcome):
    """By the number that the station was given."""
    charger = await backend.charger(version)
    link = backend.stations.link("CP1")
    parameters = {"reservation_id": "R1", "expiry_date_time": backend.at(hours=1)}
    await link.execute(
        StationCommand(kind=CommandKind.RESERVE, evse_id=1, id_token="TAG", parameters=parameters)
    )
    charger.answers["CancelReservation"] = {"status": word}
    reply = await link.execute(
        StationCommand(kind=CommandKind.CANCEL_RESERVATION, parameters={"reservation_id": "R1"})
    )
    assert reply.outcome is outcome
    reserve, cancel = (payload for _, payload in charger.asked[-2:])
    assert cancel["reservationId"] in reserve.values()


@pytest.mark.parametrize("word", ["Accepted", "Rejected"])
async def test_cm19_clear_cache(backend, version, word):
    charger = await backend.charger(version)
    charger.answers["ClearCache"] = {"status": word}

    done = await run(backend, kind=CommandKind.CLEAR_CACHE, station="CP1")

    assert done.outcome.value == word.upper()


async def test_cm20_data_transfer_from_an_unknown_vendor_is_not_accepted(backend, version):
    charger = await backend.charger(version)

    answer = await charger.call("DataTransfer", vendorId="nobody", messageId="x", data="y")

    assert answer["status"] == "UnknownVendorId"


async def test_cm20_a_1_6_charger_may_say_that_the_car_is_gone(backend):
    """The California pricing note: ConnectorUnplugged after a transaction; MAP-24."""
    charger = await backend.charger("1.6")
    vendor = "org.openchargealliance.costmsg"
    data = '{"transactionId": 1, "timestamp": "2026-01-05T10:00:00Z"}'

    gone = await charger.call(
        "DataTransfer", vendorId=vendor, messageId="ConnectorUnplugged", data=data
    )
    other = await charger.call("DataTransfer", vendorId=vendor, messageId="Strange")
    nothing = await charger.call("DataTransfer", vendorId=vendor)

    assert gone["status"] == "Accepted"
    assert other["status"] == nothing["status"] == "UnknownMessageId"


@pytest.mark.parametrize("kind", sorted(set(CommandKind) - {CommandKind.START_SESSION}))
async def test_cm21_a_command_to_an_offline_station_fails_at_once(backend, charge, books, kind):
    """Each of them, with a word of why; none is kept for later: jobs are what waits."""
    await charge.start()
    await charge.charger.close()
    await backend.until(lambda: backend.stations.link("CP1") is None)
    done = await backend.commands.request(
        Request(
            requested_by="test",
            kind=kind,
            station="CP1",
            session_id=books.only_session.id if kind is CommandKind.STOP_SESSION else None,
        )
    )

    assert (done.state, done.outcome) == (CommandState.DONE, Outcome.OFFLINE)
    assert "offline" in done.detail
    again = await backend.charger("1.6")
    await again.call("Heartbeat")
    assert again.asked == []


async def test_cm23_a_repeated_request_is_one_call(backend):
    charger = await backend.charger("1.6")
    first = await run(backend, kind=CommandKind.CLEAR_CACHE, station="CP1", idempotency_key="k1")
    second = await run(backend, kind=CommandKind.CLEAR_CACHE, station="CP1", idempotency_key="k1")

    assert first.id == second.id
    assert len(charger.asked) == 1


async def test_cm25_each_variables_status_is_shown(backend):
    charger = await backend.charger("2.0.1")
    result = {
        "getVariableResult": [
            {
                "attributeStatus": "UnknownComponent",
                "component": {"name": "Nope"},
                "variable": {"name": "X"},
            }
        ]
    }
    charger.answers["GetVariables"] = result

    done = await run(
        backend,
        kind=CommandKind.GET_VARIABLES,
        station="CP1",
        parameters={"variables": ["Nope.X"]},
    )

    assert done.payload == result
    assert done.outcome is Outcome.REJECTED
