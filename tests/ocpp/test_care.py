"""What stations are asked once they are there, and passwords that change under way."""

import asyncio
import contextlib

import pytest

from cpo.domain.command import CommandKind, Outcome, StationCommand
from cpo.domain.quirk_profiles import Habit
from cpo.domain.station import Approval
from cpo.errors import StationTimeout, StationUnclear
from cpo.services.ports import StationDocument
from tests.ocpp.conftest import PASSWORD

NEW = "a-new-password-0"
CHANGE = {
    "1.6": ("ChangeConfiguration", {"key": "AuthorizationKey", "value": NEW}),
    "2.0.1": (
        "SetVariables",
        {
            "setVariableData": [
                {
                    "component": {"name": "SecurityCtrlr"},
                    "variable": {"name": "BasicAuthPassword"},
                    "attributeValue": NEW,
                }
            ]
        },
    ),
}


def answer(version, status):
    if version == "1.6":
        return {"status": status}
    return {
        "setVariableResult": [
            {
                "attributeStatus": status,
                "component": {"name": "SecurityCtrlr"},
                "variable": {"name": "BasicAuthPassword"},
            }
        ]
    }


@pytest.fixture
async def caring(open_backend):
    backend = await open_backend(refresh_delay=0.05)
    await backend.site("CP1")
    await backend.register("CP1")
    return backend


@pytest.mark.parametrize(
    ("version", "action"), [("1.6", "GetConfiguration"), ("2.0.1", "GetBaseReport")]
)
async def test_bo14_bo16_q12_after_its_first_boot_a_station_is_asked_for_its_inventory(
    caring, version, action
):
    known = {"configurationKey": [{"key": "A", "readonly": False, "value": "1"}]}
    charger = await caring.charger(version, answers={"GetConfiguration": known})
    await caring.until(lambda: bool(charger.asked))

    assert charger.asked[0][0] == action
    if version == "1.6":
        await caring.until(lambda: bool(caring.store.rows[StationDocument]))
        again = await caring.charger(version, answers=charger.answers)
        await caring.until(lambda: len(caring.chargers) == 2)
        assert again.asked == []


async def test_bo09_q11_nothing_is_asked_before_the_boot_was_answered(caring):
    charger = await caring.charger("1.6", boot=False)
    await charger.boot()
    # On a slow machine the boot may take so long that it is asked for.
    asked_to = {payload.get("requestedMessage") for _, payload in charger.asked}
    assert asked_to <= {"BootNotification"}


async def test_st11_q13_lost_statuses_are_asked_for_after_a_reconnect_without_boot(caring):
    charger = await caring.charger("1.6")
    for connector in (0, 1, 2):
        await charger.call(
            "StatusNotification", connectorId=connector, errorCode="NoError", status="Available"
        )
    await charger.close()
    charger = await caring.charger("1.6", boot=False)
    await caring.until(lambda: len(charger.asked) >= 2)

    assert charger.asked == [
        ("TriggerMessage", {"requestedMessage": "StatusNotification", "connectorId": 1}),
        ("TriggerMessage", {"requestedMessage": "StatusNotification", "connectorId": 2}),
    ]


async def test_bo07_q14_a_station_that_never_booted_is_asked_to_once(caring):
    rejects = {"TriggerMessage": {"status": "Rejected"}}
    charger = await caring.charger("2.0.1", boot=False, answers=rejects)
    await caring.until(lambda: bool(charger.asked))

    assert charger.asked == [("TriggerMessage", {"requestedMessage": "BootNotification"})]
    assert "currentTime" in await charger.call("Heartbeat")


INVENTORY = {"1.6": "GetConfiguration", "2.0.1": "GetBaseReport", "2.1": "GetBaseReport"}
KEYS = {"configurationKey": [{"key": "A", "readonly": False, "value": "1"}]}


async def test_bo07_q14_a_charger_that_starts_anew_when_asked_to_boot_is_not_asked_again(
    caring, version
):
    """It comes back without a boot, as if nothing had been: no loop."""
    for _ in range(2):
        charger = await caring.charger(version, boot=False)
        await asyncio.sleep(0.3)
        await charger.close()

    asked = [action for charger in caring.chargers for action, _ in charger.asked]
    assert asked == ["TriggerMessage"]
    charger = await caring.charger(version, answers={"GetConfiguration": KEYS})
    await caring.until(lambda: bool(charger.asked))


async def test_bo07_bo14_bo16_a_first_boot_that_had_to_be_asked_for_brings_the_inventory(
    caring, version
):
    charger = await caring.charger(version, boot=False, answers={"GetConfiguration": KEYS})
    await caring.until(lambda: bool(charger.asked))
    await charger.boot()
    await caring.until(lambda: len(charger.asked) > 1)

    assert [action for action, _ in charger.asked][:2] == ["TriggerMessage", INVENTORY[version]]


def told(payload):
    """What a station answers that has what it is asked for."""
    if "key" in payload:
        keys = [{"key": key, "readonly": False, "value": "1"} for key in payload["key"]]
        return {"configurationKey": keys}
    return {
        "getVariableResult": [
            {**wanted, "attributeStatus": "Accepted", "attributeValue": "1"}
            for wanted in payload["getVariableData"]
        ]
    }


async def test_bo14_bo16_what_templates_and_lists_ask_for_is_not_the_inventory(caring, version):
    """They ask before it is asked for: single variables are known, the station is not."""
    charger = await caring.charger(
        version,
        answers={
            "GetVariables": told,
            "GetConfiguration": lambda payload: told(payload) if payload else KEYS,
        },
    )
    asked = StationCommand(
        kind=CommandKind.GET_VARIABLES,
        parameters={"variables": ["A.B"] if version != "1.6" else ["B"]},
    )
    reply = await caring.stations.link("CP1").execute(asked)
    assert reply.outcome is Outcome.ACCEPTED
    await caring.until(lambda: len(charger.asked) > 1)

    whole = {} if version == "1.6" else {"requestId": 0, "reportBase": "FullInventory"}
    assert (INVENTORY[version], whole) in charger.asked


@pytest.mark.parametrize("approval", [Approval.WAITING, Approval.REJECTED])
async def test_bo04_bo05_a_station_is_asked_for_its_inventory_once_it_is_accepted(
    caring, version, approval
):
    await caring.register("CP1", approval=approval)
    charger = await caring.charger(version, boot=False, answers={"GetConfiguration": KEYS})
    await charger.boot()
    await asyncio.sleep(0.3)
    assert charger.asked == []

    await caring.register("CP1", approval=Approval.APPROVED)
    assert (await charger.boot())["status"] == "Accepted"
    await caring.until(lambda: bool(charger.asked))

    assert charger.asked[0][0] == INVENTORY[version]


async def test_bo14_bo16_a_station_that_went_while_it_was_asked_is_asked_again(caring, version):
    charger = await caring.charger(version, answers={INVENTORY[version]: None})
    await caring.until(lambda: bool(charger.asked))
    await charger.close()
    charger = await caring.charger(version, answers={"GetConfiguration": KEYS})
    await caring.until(lambda: bool(charger.asked))

    assert charger.asked[0][0] == INVENTORY[version]


async def test_silence_to_such_questions_is_not_held_against_a_station(caring):
    charger = await caring.charger("1.6", boot=False)
    charger.silent = True
    link = caring.stations.link("CP1")
    for _ in range(4):
        with pytest.raises(StationTimeout):
            await link.call("ClearCache", {}, timeout=0.01, forgive_silence=True)

    assert "currentTime" in await charger.call("Heartbeat")


async def reach(backend, password):
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus
    from websockets.headers import build_authorization_basic

    try:
        async with connect(
            f"ws://127.0.0.1:{backend.port}/ocpp/CP1",
            subprotocols=["ocpp1.6"],
            additional_headers={"Authorization": build_authorization_basic("CP1", password)},
            proxy=None,
        ):
            return True
    except InvalidStatus:
        return False


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_fw09_a09_a_new_password_counts_and_ends_the_old_one_once_used(backend, version):
    charger = await backend.charger(version)
    action, payload = CHANGE[version]
    charger.answers[action] = answer(version, "Accepted")
    await backend.stations.link("CP1").call(action, payload)

    assert await reach(backend, PASSWORD)
    assert await reach(backend, NEW)
    await backend.until(lambda: backend.stations.find("CP1").previous_password_hash is None)
    assert not await reach(backend, PASSWORD)
    assert await reach(backend, NEW)


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_fw09_a10_a_refused_password_leaves_the_old_one(backend, version):
    charger = await backend.charger(version)
    action, payload = CHANGE[version]
    charger.answers[action] = answer(version, "Rejected")
    await backend.stations.link("CP1").call(action, payload)

    assert not await reach(backend, NEW)
    assert await reach(backend, PASSWORD)


async def test_sec15_when_the_answer_is_lost_both_passwords_count(backend):
    charger = await backend.charger("1.6")
    charger.silent = True
    action, payload = CHANGE["1.6"]
    with pytest.raises(StationTimeout):
        await backend.stations.link("CP1").call(action, payload, timeout=0.02)

    assert await reach(backend, PASSWORD)
    assert await reach(backend, NEW)


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
@pytest.mark.parametrize("garbage", [["yes"], {"a": 1}, None])
async def test_sec15_when_nobody_can_read_the_answer_both_passwords_count(
    backend, version, garbage
):
    charger = await backend.charger(version)
    action, payload = CHANGE[version]
    field = "status" if version == "1.6" else "setVariableResult"
    charger.answers[action] = {field: garbage} if garbage is not None else {}
    with contextlib.suppress(StationUnclear):
        await backend.stations.link("CP1").call(action, payload)

    assert await reach(backend, PASSWORD)
    assert await reach(backend, NEW)


@pytest.mark.parametrize(
    ("answer_", "open_after"),
    [
        ({"ongoingIndicator": False, "messagesInQueue": False}, False),
        ({"ongoingIndicator": False, "messagesInQueue": True}, True),
        ({"ongoingIndicator": True, "messagesInQueue": False}, True),
        ({"messagesInQueue": False}, True),
    ],
)
@pytest.mark.parametrize("of", ["2.0.1", "2.1"])
async def test_tx20_18_after_a_boot_open_transactions_are_asked_about(
    caring, answer_, open_after, of
):
    from tests.ocpp.conftest import Charge201

    caring.partner()
    await caring.token("TAG")
    charger = await caring.charger(of)
    await Charge201(caring, charger).start()
    await charger.close()
    charger = await caring.charger(of, answers={"GetTransactionStatus": answer_})
    asked = ("GetTransactionStatus", {"transactionId": "tx-1"})
    await caring.until(lambda: asked in charger.asked)
    await caring.until(lambda: any(action == "GetBaseReport" for action, _ in charger.asked))

    (transaction,) = caring.memory.stations["CP1"].transactions.values()
    assert transaction.open is open_after


def say(charger, connector, word, at="2026-06-01T12:00:00Z"):
    """Tell the status of a connector in the words of the charger's version."""
    if charger.version == "1.6":
        fields = {"connectorId": connector, "errorCode": "NoError", "status": word}
    else:
        fields = {"evseId": connector, "connectorId": 1, "connectorStatus": word}
    return charger.call("StatusNotification", timestamp=at, **fields)


def shown(backend, number):
    return str(backend.memory.sites.status("L-CP1", f"CP1-uid-{number}-x"))


@pytest.fixture
async def two_evses(open_backend):
    """A station with two EVSEs; how long it may be away, and when it is asked, as a test says."""

    async def make(**settings):
        backend = await open_backend(**settings)
        await backend.site("CP1", evses=2)
        await backend.register("CP1")
        return backend

    return make


async def away(backend, charger):
    """Be gone for longer than the grace time."""
    state = backend.memory.stations["CP1"]
    backend.stations._offline_grace = 0.01
    await charger.close()
    await backend.until(lambda: state.gone)
    assert (shown(backend, 1), shown(backend, 2)) == ("UNKNOWN", "UNKNOWN")


async def test_br02_a_station_that_comes_back_counts_by_what_it_tells_then(two_evses, version):
    """MAP-12: not by what it was when it went."""
    backend = await two_evses()
    charger = await backend.charger(version)
    await say(charger, 1, "Available")
    await say(charger, 2, "Available")
    await away(backend, charger)

    charger = await backend.charger(version, boot=False)
    await backend.until(lambda: not backend.memory.stations["CP1"].gone)
    assert (shown(backend, 1), shown(backend, 2)) == ("UNKNOWN", "UNKNOWN")
    await say(charger, 1, "Faulted", at="2026-06-01T12:05:00Z")
    assert (shown(backend, 1), shown(backend, 2)) == ("OUTOFORDER", "UNKNOWN")
    await say(charger, 2, "Available", at="2026-06-01T12:05:00Z")
    assert shown(backend, 2) == "AVAILABLE"


@pytest.mark.parametrize("refusal", [{"status": "Rejected"}, ("NotImplemented", "no"), "off"])
async def test_br02_a_station_that_cannot_be_asked_after_an_outage_is_what_it_was(
    two_evses, version, refusal
):
    """It tells what changed: as it says nothing, nothing did."""
    backend = await two_evses(refresh_delay=0.3)
    charger = await backend.charger(version)
    await say(charger, 1, "Available")
    await say(charger, 2, "Reserved")
    await away(backend, charger)
    if refusal == "off":
        habit = Habit(value="off", source="")
        backend.stations.habits = lambda identity: {"triggers": habit}
        refusal = None

    await backend.charger(version, boot=False, answers={"TriggerMessage": refusal})

    await backend.until(lambda: shown(backend, 1) == "AVAILABLE")
    await backend.until(lambda: shown(backend, 2) == "RESERVED")


async def test_st11_no_status_since_the_boot_is_asked_for_and_unknown_till_then(two_evses, version):
    """Of each connector that is silent, not only where all are."""
    backend = await two_evses(refresh_delay=0.05)
    charger = await backend.charger(version, answers={"GetConfiguration": {}})
    await say(charger, 1, "Available")
    await say(charger, 2, "Available")
    await charger.close()

    charger = await backend.charger(version, answers={"GetConfiguration": {}})
    await say(charger, 1, "Available")
    await backend.until(lambda: triggers(charger) == [2])

    await backend.until(lambda: shown(backend, 2) == "UNKNOWN")
    assert shown(backend, 1) == "AVAILABLE"
    await say(charger, 2, "Available")
    assert shown(backend, 2) == "AVAILABLE"


def triggers(charger):
    """Return the EVSE or connector numbers whose status a charger was asked for."""
    return [
        payload["connectorId"] if charger.version == "1.6" else payload["evse"]["id"]
        for action, payload in charger.asked
        if payload.get("requestedMessage") == "StatusNotification"
    ]


async def test_st11_a_station_that_never_told_a_status_is_asked_for_those_of_its_location(
    two_evses, version
):
    backend = await two_evses(refresh_delay=0.05)
    charger = await backend.charger(version, answers={"GetConfiguration": {}})

    await backend.until(lambda: triggers(charger) == [1, 2])
    assert (shown(backend, 1), shown(backend, 2)) == ("UNKNOWN", "UNKNOWN")


@pytest.mark.parametrize("refusal", [{"status": "NotImplemented"}, ("NotSupported", "no")])
async def test_cm15_a_station_that_knows_no_triggers_is_not_asked_again(
    two_evses, version, refusal
):
    backend = await two_evses(refresh_delay=0.05)
    answers = {"TriggerMessage": refusal, "GetConfiguration": {}}
    charger = await backend.charger(version, answers=answers)
    await backend.until(lambda: triggers(charger) == [1])
    await charger.close()

    passed_over = []

    async def refused(identity, connector, *, booted):
        passed_over.append(connector)

    backend.stations.status_refused = refused
    again = await backend.charger(version, answers=answers)
    await backend.until(lambda: passed_over == [(1, 1), (2, 1)])
    assert triggers(again) == []


async def test_st11_a_connector_that_a_station_has_no_more_does_not_hide_the_others(two_evses):
    """After a boot it tells one connector of two, and refuses to tell the other."""
    backend = await two_evses(refresh_delay=0.05)
    charger = await backend.charger("2.0.1")

    async def tell(connector, word):
        await charger.call(
            "StatusNotification", timestamp="2026-06-01T12:00:00Z",
            evseId=1, connectorId=connector, connectorStatus=word,
        )  # fmt: skip

    await tell(1, "Available")
    await tell(2, "Occupied")
    await charger.close()
    charger = await backend.charger("2.0.1", answers={"TriggerMessage": {"status": "Rejected"}})
    await tell(1, "Available")

    await backend.until(lambda: shown(backend, 1) == "AVAILABLE")


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("of", ["2.0.1", "2.1"])
async def test_tx20_06_after_a_reconnect_a_charge_with_gaps_is_asked_about(caring, of, ended):
    """Without a boot, too; others are not asked about."""
    from tests.ocpp.conftest import Books, Charge201

    caring.transactions._settle_time = 3600
    caring.partner()
    await caring.token("TAG")
    charger = await caring.charger(of)
    charge = Charge201(caring, charger)
    whole = Charge201(caring, charger)
    whole.id = "tx-2"
    await whole.start(evse={"id": 2, "connectorId": 1})
    await charge.start()
    charge.seq = 4
    await (charge.end() if ended else charge.update())
    await charger.close()

    answer = {"ongoingIndicator": not ended, "messagesInQueue": True}
    charge.charger = await caring.charger(of, boot=False, answers={"GetTransactionStatus": answer})
    told = charge.charger.asked
    await caring.until(lambda: any(action == "GetTransactionStatus" for action, _ in told))
    asked = [payload for action, payload in told if action == "GetTransactionStatus"]
    assert asked == [{"transactionId": "tx-1"}]

    charge.seq = 1
    for minutes in (-50, -40, -30):
        await charge.update(None, minutes)
    if ended:
        assert Books(caring).only_cdr.energy_wh == 2000
