"""ocpp-conformance 3.2: the RPC layer, over real sockets."""

import asyncio
import json

import pytest
from structlog.testing import capture_logs
from waiting import LONG

from cpo.domain.command import CommandKind, Outcome
from cpo.domain.station import Approval
from cpo.errors import StationOffline, StationTimeout, StoreUnavailable
from cpo.ocpp import session, validation
from cpo.services.commands import Request
from tests.ocpp.conftest import Charge16, Charge201

FORMAT = {"1.6": "FormationViolation", "2.0.1": "FormatViolation", "2.1": "FormatViolation"}
OCCURRENCE = {
    "1.6": "OccurenceConstraintViolation",
    "2.0.1": "OccurrenceConstraintViolation",
    "2.1": "OccurrenceConstraintViolation",
}


def status(version, **fields):
    if version == "1.6":
        return {"connectorId": 1, "errorCode": "NoError", "status": "Available", **fields}
    return {
        "timestamp": "2026-06-01T10:00:00Z",
        "connectorStatus": "Available",
        "evseId": 1,
        "connectorId": 1,
        **fields,
    }


async def deviations(backend):
    await backend.notes.deviations.flush()
    rows = [row for _, row in backend.store.log if type(row).__name__ == "StationDocument"]
    return {
        (row.document["action"], row.document["what"], row.document["count"])
        for row in rows
        if row.kind == "deviation"
    }


async def alive(charger):
    assert "currentTime" in await charger.call("Heartbeat")


async def test_rp01_an_unknown_action_is_not_implemented(backend, version):
    charger = await backend.charger(version)

    assert await charger.error("FooBar") == "NotImplemented"


async def test_rp02_a_known_action_that_stations_do_not_send_is_not_supported(backend, version):
    charger = await backend.charger(version)

    assert await charger.error("ClearCache") == "NotSupported"


async def test_rp03_actions_are_case_sensitive(backend, version):
    charger = await backend.charger(version)

    assert await charger.error("heartbeat") == "NotImplemented"


async def test_rp04_malformed_json_leaves_a_16_connection_alone(backend):
    charger = await backend.charger("1.6")
    await charger.socket.send("{ not json")

    await alive(charger)


@pytest.mark.parametrize("text", ["{ not json", '[2,"x","Heartbeat",{]', "[]", '"x"', "7"])
async def test_rp05_what_cannot_be_read_is_answered_under_minus_one_in_2x(backend, text):
    charger = await backend.charger("2.0.1")

    answer = await charger.raw(text)

    assert answer[:3] == [4, "-1", "RpcFrameworkError"]
    await alive(charger)


@pytest.mark.parametrize("version", ["1.6", "2.1"])
async def test_rp06_message_type_9_is_ignored(backend, version):
    charger = await backend.charger(version)
    await charger.socket.send('[9,"x",{}]')

    await alive(charger)
    assert charger.strays == []


async def test_rp07_message_type_9_is_refused_in_201(backend):
    charger = await backend.charger("2.0.1")

    assert (await charger.frame(9, "x", {}))[2] == "MessageTypeNotSupported"


async def test_rp10_a_missing_field_is_named_in_the_versions_spelling(backend, version):
    charger = await backend.charger(version, boot=False)

    assert await charger.error("BootNotification") == OCCURRENCE[version]
    await charger.boot()


async def test_rp11_what_cannot_be_put_up_with_is_refused(backend, version):
    charger = await backend.charger(version)

    wrong = status(version, connectorId={"no": "number"})
    assert await charger.error("StatusNotification", **wrong) == "TypeConstraintViolation"


async def test_rp11_a_strict_station_is_held_to_the_schema(backend, version):
    await backend.register("CP1", settings={"intake": "strict"})
    charger = await backend.charger(version)

    assert (
        await charger.error("StatusNotification", **status(version, connectorId="1"))
        == "TypeConstraintViolation"
    )
    assert await charger.error("StatusNotification", **status(version, extra=1)) == FORMAT[version]


async def test_rp11_rp12_a_lenient_station_is_put_up_with_and_noted(backend, version):
    charger = await backend.charger(version)

    await charger.call("StatusNotification", **status(version, connectorId="1", extra=1))

    frames = [row for _, row in backend.store.log if type(row).__name__ == "Frame"]
    assert "connectorId: type" in frames[-1].deviations
    assert (1, 1) in backend.memory.stations["CP1"].connectors


def reading(version, **extra):
    value = "1500" if version == "1.6" else 1500
    return {
        "connectorId" if version == "1.6" else "evseId": 1,
        "meterValue": [
            {"timestamp": "2026-06-01T11:45:00Z", "sampledValue": [{"value": value, **extra}]}
        ],
    }


async def test_rp12_an_extra_property_in_meter_values_costs_no_reading(backend, version):
    """Strict: refused. Lenient, as all are by default: the reading counts."""
    charger = await backend.charger(version)
    charge = (Charge16 if version == "1.6" else Charge201)(backend, charger)
    await charge.start()
    assert await charger.call("MeterValues", **reading(version, extra=1)) == {}
    (transaction,) = backend.memory.stations["CP1"].transactions.values()
    assert [one.register_wh for one in transaction.samples][-1:] == [1500]
    await charger.close()

    await backend.register("CP1", settings={"intake": "strict"})
    charger = await backend.charger(version, boot=False)
    assert await charger.error("MeterValues", **reading(version, extra=1)) == FORMAT[version]


async def test_rp11_a_strict_station_is_told_what_is_too_long_and_what_no_word(backend, version):
    """A lenient one is put up with in both, and both are counted."""
    long = {"info": "i" * 51} if version == "1.6" else {}
    word = {"status" if version == "1.6" else "connectorStatus": "Dreaming"}
    told = [{**status(version), **fields} for fields in (long, word) if fields]
    charger = await backend.charger(version)
    for payload in told:
        await charger.call("StatusNotification", **payload)
    counted = {what for _, what, _ in await deviations(backend)}
    await charger.close()

    await backend.register("CP1", settings={"intake": "strict"})
    charger = await backend.charger(version, boot=False)
    codes = [await charger.error("StatusNotification", **payload) for payload in told]

    assert counted == ({"maxLength", "enum"} if long else {"enum"})
    assert set(codes) == {"PropertyConstraintViolation"}


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
async def test_rp13_custom_data_is_accepted(backend, version):
    """At any level, of a strict station too, and kept as it came."""
    await backend.register("CP1", settings={"intake": "strict"})
    charger = await backend.charger(version)
    own = {"vendorId": "x", "free": [1, {"deep": True}]}

    await charger.call("Heartbeat", customData=own)
    payload = reading(version, customData=own)
    payload["customData"] = own
    payload["meterValue"][0]["customData"] = own
    assert await charger.call("MeterValues", **payload) == {}

    (kept,) = [row for row in await frames_noted(backend) if row.action == "MeterValues"]
    assert kept.deviations is None
    assert kept.payload.count('"deep": true') == 3


async def test_rp14_payloads_that_are_no_objects(backend, version):
    charger = await backend.charger(version)

    assert (await charger.frame(2, "n", "Heartbeat", None))[0] == 3
    assert (await charger.frame(2, "l", "Heartbeat", []))[2] == FORMAT[version]
    assert (await charger.frame(2, "m", "Heartbeat"))[2] == FORMAT[version]


async def test_rp15_odd_message_ids(backend):
    old, new = await backend.charger("1.6"), None
    assert (await old.frame(2, 17, "Heartbeat", {}))[:2] == [3, 17]
    assert (await old.frame(2, "", "Heartbeat", {}))[:2] == [3, ""]
    assert (await old.frame(2, "x" * 64, "Heartbeat", {}))[0] == 3

    new = await backend.charger("2.0.1")
    assert (await new.raw('[2,17,"Heartbeat",{}]'))[1:3] == ["-1", "RpcFrameworkError"]


async def test_rp16_the_same_frame_twice_has_one_effect(backend):
    charger = await backend.charger("1.6")
    start = {
        "connectorId": 1,
        "idTag": "TAG",
        "meterStart": 10,
        "timestamp": backend.at(),
    }

    first = await charger.frame(2, "same", "StartTransaction", start)
    second = await charger.frame(2, "same", "StartTransaction", start)

    assert first == second
    assert len(backend.memory.stations["CP1"].transactions) == 1


async def test_rp09_a_result_that_the_station_refuses_is_told_and_changes_nothing(backend):
    charger = await backend.charger("2.1")
    with capture_logs() as lines:
        first = await charger.frame(2, "a", "Heartbeat", {})
        await charger.socket.send('[5,"a","FormatViolation","no such time",{}]')
        await charger.socket.send('[5,"unknown","GenericError","",{}]')
        await charger.socket.send("[5,{}]")
        assert (await charger.frame(2, "b", "Heartbeat", {}))[0] == 3

    told = [line for line in lines if line["event"] == "ocpp.result_refused"]
    assert first[0] == 3
    assert [(line["message_id"], line["code"]) for line in told] == [
        ("a", "FormatViolation"),
        ("unknown", "GenericError"),
    ]
    assert charger.strays == []


async def frames_noted(backend):
    await backend.notes.flush()
    return [row for _, row in backend.store.log if type(row).__name__ == "Frame"]


async def test_rp16_what_was_refused_is_looked_at_again(backend, version):
    """An error is no effect: the same frame is handled once its cause is gone."""
    await backend.register("CP1", approval=Approval.WAITING)
    charger = await backend.charger(version, boot=False)
    early = await charger.frame(2, "same", "Heartbeat", {})
    await backend.register("CP1", approval=Approval.APPROVED)
    await charger.boot()
    later = await charger.frame(2, "same", "Heartbeat", {})

    assert early[2] == "SecurityError"
    assert later[0] == 3


async def test_rp16_rp17_a_charger_whose_ids_are_all_alike_gets_the_time_of_now(
    backend, version, monkeypatch
):
    """Soon after it is a repeat; later it is the next heartbeat, told as a deviation."""
    charger = await backend.charger(version)
    first = await charger.frame(2, "1", "Heartbeat", {})
    backend.later(seconds=30)
    repeat = await charger.frame(2, "1", "Heartbeat", {})
    monkeypatch.setattr(session, "_RESENT_WITHIN", -1.0)
    backend.later(hours=1)
    later = await charger.frame(2, "1", "Heartbeat", {})

    assert repeat == first
    assert later[2] != first[2]
    assert (await frames_noted(backend))[-1].deviations == "message id used again"


async def test_rp17_an_id_that_is_used_again_for_something_else_is_a_new_call(backend, version):
    """And a warning: it is noted with the frame and counted for the station."""
    charger = await backend.charger(version)

    heartbeat = await charger.frame(2, "same", "Heartbeat", {})
    report = await charger.frame(2, "same", "StatusNotification", status(version))

    assert "currentTime" in heartbeat[2]
    assert report == [3, "same", {}]
    noted = {row.action: row.deviations for row in await frames_noted(backend)}
    assert noted["StatusNotification"] == "message id used again"
    assert noted["Heartbeat"] is None
    assert await deviations(backend) == {("StatusNotification", "message id used again", 1)}


async def test_rp18_answers_to_nothing_are_ignored(backend, version):
    """And counted."""
    charger = await backend.charger(version)
    for text in ('[3,"zz",{}]', '[4,"zz","InternalError","",{}]', '[4,"zz","InternalError"]'):
        await charger.socket.send(text)

    await alive(charger)
    assert await deviations(backend) == {("", "answer to no call", 3)}


async def test_rp19_an_answer_that_comes_too_late_is_ignored_and_recorded(backend, version):
    charger = await backend.charger(version)
    charger.silent = True
    link = backend.stations.link("CP1")
    with pytest.raises(StationTimeout):
        await link.call("ClearCache", {}, timeout=0.02)
    (asked,) = [row for row in await frames_noted(backend) if row.direction == "out"]
    charger.silent = False
    await charger.socket.send(json.dumps([3, asked.message_id, {"status": "Rejected"}]))

    assert await link.call("ClearCache", {}) == {"status": "Accepted"}
    (late,) = [row for row in await frames_noted(backend) if row.deviations]
    assert (late.direction, late.action, late.message_id) == ("in", "ClearCache", asked.message_id)
    assert "Rejected" in late.payload
    assert await deviations(backend) == {("ClearCache", "answer came too late", 1)}


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_rp19_a_start_whose_answer_came_too_late_is_still_the_remote_start(backend, version):
    """Its transaction is that of the command, however the command ended."""
    await backend.token("APP")
    charger = await backend.charger(version)
    charger.silent = True
    (token,) = await backend.store.tokens_by_uid("APP")
    command = await backend.commands.request(
        Request(
            kind=CommandKind.START_SESSION, requested_by="test", evse_uid="CP1-uid-1-x",
            token=token, timeout=0.05,
        )
    )  # fmt: skip
    done = await backend.commands.wait(command)
    charger.silent = False
    if version == "1.6":
        await Charge16(backend, charger).start(idTag="APP", timestamp=backend.at())
    else:
        info = {"remoteStartId": command.remote_start_id}
        await Charge201(backend, charger).start(
            minutes=0, idToken={"idToken": "APP", "type": "Central"}, info=info
        )

    (transaction,) = backend.memory.stations["CP1"].transactions.values()
    assert done.outcome is Outcome.TIMEOUT
    assert transaction.command_id == command.id
    assert transaction.auth_method == "COMMAND"


async def test_rp20_calls_without_waiting_are_answered_in_order(backend, version):
    charger = await backend.charger(version)
    for number in range(5):
        await charger.socket.send(json.dumps([2, f"q{number}", "Heartbeat", {}]))
    await alive(charger)

    assert [frame[1] for frame in charger.strays] == [f"q{number}" for number in range(5)]


async def test_rp21_commands_at_once_go_out_one_by_one(backend, version):
    charger = await backend.charger(version)
    link = backend.stations.link("CP1")

    answers = await asyncio.gather(*(link.call("ClearCache", {}) for _ in range(5)))

    assert answers == [{"status": "Accepted"}] * 5
    assert [action for action, _ in charger.asked] == ["ClearCache"] * 5


async def test_rp22_a_stations_call_is_answered_while_ours_is_open(backend, version):
    charger = await backend.charger(version)
    charger.silent = True
    link = backend.stations.link("CP1")
    ours = asyncio.create_task(link.call("ClearCache", {}, timeout=0.5))
    await backend.until(lambda: bool(charger.asked))

    await alive(charger)
    with pytest.raises(StationTimeout):
        await ours


async def test_rp24_a_dropped_socket_ends_our_calls_at_once(backend, version):
    charger = await backend.charger(version)
    charger.silent = True
    link = backend.stations.link("CP1")
    ours = asyncio.create_task(link.call("ClearCache", {}, timeout=10 * LONG))
    await backend.until(lambda: bool(charger.asked))
    charger.socket.transport.abort()

    async with asyncio.timeout(LONG):
        with pytest.raises(StationOffline):
            await ours


async def test_rp25_a_station_that_is_deaf_for_calls_is_made_to_reconnect(backend, version):
    charger = await backend.charger(version)
    charger.silent = True
    link = backend.stations.link("CP1")
    for _ in range(3):
        with pytest.raises(StationTimeout):
            await link.call("ClearCache", {}, timeout=0.02)

    async with asyncio.timeout(LONG):
        await charger.socket.wait_closed()
    assert charger.socket.close_code == 1012


async def test_rp26_a_store_that_is_down_is_no_result_and_the_retry_is_one_transaction(
    backend, version
):
    charger = await backend.charger(version)
    action = "StartTransaction"
    start = {"connectorId": 1, "idTag": "TAG", "meterStart": 10, "timestamp": backend.at()}
    if version != "1.6":
        action = "TransactionEvent"
        start = {
            "eventType": "Started", "timestamp": backend.at(), "triggerReason": "Authorized",
            "seqNo": 0, "transactionInfo": {"transactionId": "t"}, "evse": {"id": 1},
            "idToken": {"idToken": "TAG", "type": "ISO14443"},
        }  # fmt: skip
    backend.store.fail = StoreUnavailable("down")

    assert await charger.error(action, **start) == "InternalError"
    assert backend.memory.stations["CP1"].transactions == {}
    answer = await charger.call(action, **start)

    assert str(answer.get("transactionId", 1)) != "0"
    assert answer["idTagInfo" if version == "1.6" else "idTokenInfo"]["status"] == "Accepted"
    assert len(backend.memory.stations["CP1"].transactions) == 1


async def test_rp27_an_internal_error_tells_nothing_and_the_connection_lives(backend):
    charger = await backend.charger("1.6")
    backend.store.fail = ZeroDivisionError("internal detail")

    answer = await charger.frame(2, "x", "StatusNotification", status("1.6"))

    assert answer == [4, "x", "InternalError", "", {}]
    await alive(charger)


async def test_rp29_integers_as_text_are_read_as_integers(backend):
    charger = await backend.charger("1.6")

    await charger.call("StatusNotification", **status("1.6", connectorId="1"))
    await charger.socket.send(
        '[2,"f","StatusNotification",{"connectorId":1.0,"errorCode":"NoError","status":"Charging"}]'
    )
    await alive(charger)

    state = backend.memory.stations["CP1"].connectors[1, 1]
    assert state.activity == "Charging"


async def test_rp30_ids_of_our_calls_are_unique_over_connections(backend, version):
    for _ in range(2):
        charger = await backend.charger(version)
        link = backend.stations.link("CP1")
        await asyncio.gather(*(link.call("ClearCache", {}) for _ in range(3)))
        await charger.close()
    await backend.notes.flush()

    rows = [row for _, row in backend.store.log if type(row).__name__ == "Frame"]
    ids = [row.message_id for row in rows if row.direction == "out"]
    assert len(set(ids)) == 6
    assert all(0 < len(message_id) <= 36 for message_id in ids)


@pytest.mark.parametrize("action", sorted(validation.actions("2.1") - {"Heartbeat"}))
async def test_every_action_is_answered_even_when_it_is_empty(backend, action):
    """I12: every well-formed call on a live socket gets a reply."""
    charger = await backend.charger("2.1")

    answer = await charger.frame(2, "e", action, {})

    assert answer[0] in (3, 4)
    assert answer[0] == 3 or answer[2] != "InternalError"
