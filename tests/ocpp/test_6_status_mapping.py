"""ocpp-conformance 6: which OCPI status each status of a charger is, row by row (ST-01 to ST-12)."""

import itertools
from datetime import timedelta

import pytest
from charging import PLACE

from cpo.app import status_rules
from cpo.config import Ocpp
from cpo.domain.command import CommandKind
from cpo.services.commands import Request
from cpo.services.ports import Frame
from cpo.services.upkeep import StaleTransactions
from cpo.web.api import shapes
from tests.ocpp.conftest import Charge16, Charge201

EVSE = {"id": 1, "connectorId": 1}
HOUR = timedelta(hours=1)
# Row (as in the settings), its default, and what its setting is changed to here.
ROWS = {
    "available": ("AVAILABLE", "INOPERATIVE"),
    "preparing": ("CHARGING", "AVAILABLE"),
    "charging": ("CHARGING", "OUTOFORDER"),
    "suspended_ev": ("CHARGING", "RESERVED"),
    "suspended_evse": ("CHARGING", "INOPERATIVE"),
    "finishing": ("CHARGING", "BLOCKED"),
    "reserved": ("RESERVED", "BLOCKED"),
    "unavailable": ("INOPERATIVE", "OUTOFORDER"),
    "faulted": ("OUTOFORDER", "INOPERATIVE"),
}
WORDS_16 = {
    "available": "Available",
    "preparing": "Preparing",
    "charging": "Charging",
    "suspended_ev": "SuspendedEV",
    "suspended_evse": "SuspendedEVSE",
    "finishing": "Finishing",
    "reserved": "Reserved",
    "unavailable": "Unavailable",
    "faulted": "Faulted",
}
WORDS_2 = {
    "available": "Available",
    "reserved": "Reserved",
    "unavailable": "Unavailable",
    "faulted": "Faulted",
}
# What the transaction of a cable that is in tells: 2.x says only Occupied of them all.
STATES_2 = {
    "charging": "Charging",
    "suspended_ev": "SuspendedEV",
    "suspended_evse": "SuspendedEVSE",
}


class Player:
    """A charger of any version that brings its EVSE into each row."""

    def __init__(self, backend, charger):
        self.backend = backend
        self.charger = charger
        self.charge = (Charge16 if charger.version == "1.6" else Charge201)(backend, charger)

    async def say(self, word, *, evse=1, connector=None):
        """Tell a status, now."""
        if self.charger.version == "1.6":
            error = "GroundFailure" if word == "Faulted" else "NoError"
            fields = {"connectorId": evse, "errorCode": error, "status": word}
        else:
            connector = connector if connector is not None else min(evse, 1)
            fields = {"evseId": evse, "connectorId": connector, "connectorStatus": word}
        await self.charger.call("StatusNotification", timestamp=self.backend.at(), **fields)

    async def play(self, row):
        """Bring the EVSE into a row."""
        if self.charger.version == "1.6":
            await self.say(WORDS_16[row])
        elif row in WORDS_2:
            await self.say(WORDS_2[row])
        else:
            await self.say("Occupied")
            await self.occupied(row)

    async def occupied(self, row):
        if row == "preparing":
            connected = {"chargingState": "EVConnected"}
            await self.charge.event(
                "Started", 0, 1000, evse=EVSE, triggerReason="CablePluggedIn", info=connected
            )
        else:
            state = STATES_2.get(row, "Charging")
            await self.charge.start(minutes=0, info={"chargingState": state})
        if row == "finishing":
            await self.charge.end(minutes=0)

    @property
    def shown(self):
        return str(self.backend.memory.sites.status("L-CP1", "CP1-uid-1-x"))


@pytest.fixture
async def player(backend, version):
    return Player(backend, await backend.charger(version))


def setting(**statuses):
    """Return the rules of settings."""
    return status_rules(Ocpp(**{f"{row}_status": status for row, status in statuses.items()}))


@pytest.mark.parametrize("row", ROWS)
async def test_st01_st03_map10_the_default_of_each_row(player, row):
    await player.play(row)

    assert player.shown == ROWS[row][0]


@pytest.mark.parametrize("row", ROWS)
async def test_st01_st03_map10_each_row_follows_its_own_setting(player, row):
    player.backend.publishing.rules = setting(**{row: ROWS[row][1]})
    await player.play(row)

    assert player.shown == ROWS[row][1]


@pytest.mark.parametrize("row", ROWS)
async def test_st01_st03_map10_no_row_follows_the_setting_of_another(player, row):
    others = {other: changed for other, (_, changed) in ROWS.items() if other != row}
    player.backend.publishing.rules = setting(**others)
    await player.play(row)

    assert player.shown == ROWS[row][0]


async def test_map10_a_transaction_of_2x_says_what_the_cable_is_in_for(backend):
    """Each step is another row, under one Occupied."""
    backend.publishing.rules = setting(**{row: changed for row, (_, changed) in ROWS.items()})
    player = Player(backend, await backend.charger("2.0.1"))
    charge, seen = player.charge, []

    async def step(doing):
        await doing
        seen.append(player.shown)

    await step(player.say("Occupied"))
    connected = {"chargingState": "EVConnected"}
    token = {"idToken": "TAG", "type": "ISO14443"}
    await step(charge.event("Started", 0, 1, evse=EVSE, triggerReason="CablePluggedIn",
                            info=connected))  # fmt: skip
    await step(charge.update(2, 0, triggerReason="Authorized", idToken=token, info=connected))
    for state in ("Charging", "SuspendedEV", "SuspendedEVSE", "EVConnected"):
        backend.later(seconds=10)
        await step(charge.update(3, 0, info={"chargingState": state}))
    backend.later(seconds=10)
    await step(charge.end(4, 0))
    await step(player.say("Available"))
    backend.later(seconds=10)
    await step(player.say("Occupied"))

    assert seen == [
        "AVAILABLE",  # preparing: nobody is authorised yet
        "AVAILABLE",
        "OUTOFORDER",  # charging: in use from the authorization on
        "OUTOFORDER",
        "RESERVED",
        "INOPERATIVE",
        "BLOCKED",  # finishing: stopped, and the cable still in
        "BLOCKED",
        "INOPERATIVE",  # available
        "AVAILABLE",  # the next car
    ]


@pytest.mark.parametrize("row", ["preparing", "finishing"])
async def test_map10_a_cable_blocks_after_a_while(player, row):
    """CHARGING / BLOCKED after n minutes; that it is told again does not begin it anew."""
    backend = player.backend
    backend.publishing.rules = status_rules(
        Ocpp(**{f"{row}_status": "BLOCKED", "blocked_after": 600})
    )
    await player.play(row)
    assert player.shown == "CHARGING"
    backend.later(minutes=9)
    await player.say(WORDS_16[row] if player.charger.version == "1.6" else "Occupied")
    await backend.stations.look_again()
    assert player.shown == "CHARGING"

    backend.later(minutes=1)
    await backend.stations.look_again()
    assert player.shown == "BLOCKED"
    await player.say("Available")
    assert player.shown == "AVAILABLE"


def test_a_cable_blocks_at_once_where_no_time_is_set():
    assert not setting(preparing="BLOCKED").waits
    assert status_rules(Ocpp(finishing_status="BLOCKED", blocked_after=60)).waits
    assert status_rules(Ocpp()).blocked_after == timedelta(0)
    assert not status_rules(Ocpp()).told_apart


@pytest.mark.parametrize(
    ("whole", "own", "shown"),
    [
        ("Unavailable", "Available", "INOPERATIVE"),
        ("Unavailable", "Occupied", "INOPERATIVE"),
        ("Unavailable", "Reserved", "INOPERATIVE"),
        ("Unavailable", "Unavailable", "INOPERATIVE"),
        ("Unavailable", "Faulted", "OUTOFORDER"),
        ("Faulted", "Available", "OUTOFORDER"),
        ("Faulted", "Occupied", "OUTOFORDER"),
        ("Faulted", "Unavailable", "OUTOFORDER"),
        ("Faulted", "Faulted", "OUTOFORDER"),
        ("Available", "Faulted", "OUTOFORDER"),
        ("Available", "Occupied", "CHARGING"),
    ],
)
async def test_st02_st04_map12_the_overlay_of_the_whole_station(player, whole, own, shown):
    """On every EVSE without a worse state of its own; removed on Available."""
    own_word = "Charging" if own == "Occupied" and player.charger.version == "1.6" else own
    await player.say(own_word)
    await player.say(whole, evse=0)
    assert player.shown == shown

    await player.say("Available", evse=0)
    alone = {"Available": "AVAILABLE", "Occupied": "CHARGING", "Reserved": "RESERVED",
             "Unavailable": "INOPERATIVE", "Faulted": "OUTOFORDER"}  # fmt: skip
    assert player.shown == alone[own]


@pytest.mark.parametrize("word", ["Available", "Charging", "Faulted"])
async def test_map13_the_operators_word_beats_every_status(player, word):
    """Decommissioned and planned: operator data beats charger data; no EVSE is deleted."""
    if player.charger.version != "1.6" and word == "Charging":
        word = "Occupied"
    await player.say(word)
    book = player.backend.sites
    for status in ("PLANNED", "INOPERATIVE", "BLOCKED", "REMOVED"):
        await book.put_location("L-CP1", body(status), actor="op")
        assert player.shown == status
        await player.say(word)
        assert player.shown == status


def body(status):
    return {
        **PLACE,
        "evses": [
            {
                "uid": "CP1-uid-1-x",
                "status": status,
                "evse_id": "NL*CPO*E0001*1",
                "ocpp": {"station": "CP1", "evse_id": 1},
                "connectors": [
                    {
                        "id": "1",
                        "standard": "IEC_62196_T2",
                        "format": "SOCKET",
                        "power_type": "AC_3_PHASE",
                        "max_voltage": 230,
                        "max_amperage": 32,
                    }
                ],
            }
        ],
    }


ALONE = {
    "Available": "AVAILABLE",
    "Occupied": "CHARGING",
    "Reserved": "RESERVED",
    "Unavailable": "INOPERATIVE",
    "Faulted": "OUTOFORDER",
}
# The first that any connector has is shown; OUTOFORDER only where all are.
PRECEDENCE = ["Occupied", "Reserved", "Available", "Unavailable", "Faulted"]


async def test_st12_map11_two_connectors_of_one_evse(backend, version):
    """One usable at a time: every pair of statuses, in either order."""
    united = body("AVAILABLE")
    (evse,) = united["evses"]
    del evse["status"]
    evse["connectors"].append({**evse["connectors"][0], "id": "2"})
    if version == "1.6":
        evse["ocpp"] = {"station": "CP1", "connector_ids": {"1": 1, "2": 2}}
    await backend.sites.put_location("L-CP1", united, actor="op")
    player = Player(backend, await backend.charger(version))

    async def say(connector, word):
        if version == "1.6":
            await player.say("Charging" if word == "Occupied" else word, evse=connector)
        else:
            await player.say(word, connector=connector)

    await say(1, "Faulted")
    assert player.shown == "OUTOFORDER"
    for one, other in itertools.product(ALONE, ALONE):
        await say(1, one)
        await say(2, other)
        first = min(one, other, key=PRECEDENCE.index)
        assert player.shown == ALONE[first], (one, other)


@pytest.mark.parametrize("row", ["charging", "reserved", "faulted"])
async def test_map10_offline_longer_than_the_grace_is_unknown(player, books, row):
    """0 = at once. The Session stays ACTIVE, and nothing is invented."""
    await player.play(row)
    if player.charger.version == "1.6" and row == "charging":
        await player.charge.start()
    backend, shown = player.backend, player.shown
    state = backend.memory.stations["CP1"]
    before = list(books.sessions)
    await player.charger.close()
    await backend.until(lambda: state.offline_timer is not None)
    assert player.shown == shown  # within the grace time

    backend.stations._offline_grace = Ocpp(offline_grace=0).offline_grace
    backend.stations.expect_back(state)
    await backend.until(lambda: player.shown == "UNKNOWN")
    assert books.sessions == before
    assert [session.status for session in before] == ["ACTIVE"] * (row == "charging")


def started(player, **fields):
    """Begin a charge half an hour ago."""
    if player.charger.version != "1.6" and "idTag" in fields:
        fields["idToken"] = {"idToken": fields.pop("idTag"), "type": "ISO14443"}
    return player.charge.start(**fields)


async def test_ses3_begun_and_accepted_is_active_and_stopped_is_completed(player, books):
    """The end is the time of the stop, whenever that comes."""
    await started(player)
    (session,) = books.sessions
    assert (session.status, session.end_date_time) == ("ACTIVE", None)

    stop = player.charge.stop if player.charger.version == "1.6" else player.charge.end
    player.backend.later(hours=5)
    ended_at = player.backend.at(hours=-3)
    await stop(timestamp=ended_at)
    (session,) = books.sessions
    assert session.status == "COMPLETED"
    assert session.end_date_time.strftime("%Y-%m-%dT%H:%M:%SZ") == ended_at
    assert session.partner_id == "P1"


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
async def test_ses3_a_transaction_of_2x_is_a_session_from_its_first_accepted_token_on(
    player, books
):
    """Nobody asked for it and no token is known: there is no Session to be PENDING (SES-4)."""
    await player.charge.event("Started", -60, 1000, evse=EVSE, triggerReason="CablePluggedIn")
    assert books.sessions == []

    await player.charge.update(1000, -50, idToken={"idToken": "TAG", "type": "ISO14443"})
    (session,) = books.sessions
    assert session.status == "ACTIVE"


async def test_ses3_a_refused_token_without_energy_is_invalid(player, books):
    await player.backend.token("BAD", valid=False, whitelist="ALWAYS")
    await started(player, idTag="BAD")
    if player.charger.version == "1.6":
        await player.charge.stop(meterStop=1000, reason="DeAuthorized")
    else:
        await player.charge.end(
            1000, triggerReason="Deauthorized", info={"stoppedReason": "DeAuthorized"}
        )

    assert [(s.status, s.partner_id) for s in books.sessions] == [("INVALID", None)]
    assert books.cdrs == []


@pytest.mark.parametrize("row", ["suspended_ev", "suspended_evse", "faulted", "unavailable"])
async def test_ses3_suspended_or_faulted_a_session_stays_active(player, books, row):
    await started(player)
    if player.charger.version != "1.6" and row in STATES_2:
        await player.charge.update(info={"chargingState": STATES_2[row]})
    else:
        await player.say((WORDS_16 if player.charger.version == "1.6" else WORDS_2)[row])

    assert [s.status for s in books.sessions] == ["ACTIVE"]
    assert books.transactions[0].open


@pytest.mark.parametrize(("invalid", "status"), [(False, "COMPLETED"), (True, "INVALID")])
async def test_ses3_stale_is_completed_or_invalid_by_setting_and_its_cdr_is_held(
    player, books, invalid, status
):
    """INVALID stays so when the stop comes after all: its CDR waits for the operator."""
    await started(player)
    backend = player.backend
    backend.later(hours=72)
    await StaleTransactions(
        backend.memory,
        backend.transactions,
        now=lambda: backend.clock,
        after=24 * 3600,
        invalid=invalid,
    ).sweep()

    assert [s.status for s in books.sessions] == [status]
    assert "estimated_end" in books.sessions[0].flags
    assert [bool(cdr.hold) for cdr in books.cdrs] == [True]
    if invalid:
        stop = player.charge.stop if player.charger.version == "1.6" else player.charge.end
        await stop(timestamp=backend.at(hours=-71))
        assert [s.status for s in books.sessions] == ["INVALID"]
        assert [cdr.hold for cdr in books.cdrs] == [("written_off",)]


async def test_ses3_ses19_a_reservation_becomes_active_with_its_charge(player, books):
    backend = player.backend
    await player.say("Available")
    command = await backend.commands.request(
        Request(
            kind=CommandKind.RESERVE,
            requested_by="test",
            evse_uid="CP1-uid-1-x",
            location_id="L-CP1",
            token=await backend.token("TAG"),
            reservation_id="R1",
            parameters={"reservation_id": "R1", "expiry_date_time": backend.clock + HOUR},
        )
    )
    await backend.transactions.reserve(await backend.commands.wait(command))
    (session,) = books.sessions
    assert session.status == "RESERVATION"
    await player.say("Reserved")
    assert player.shown == "RESERVED"

    await started(player)
    assert [(s.id, s.status) for s in books.sessions] == [(session.id, "ACTIVE")]


async def test_st07_charging_without_a_transaction_is_flagged(backend, books):
    """Q32: no session; the operator sees which EVSE it is."""
    player = Player(backend, await backend.charger("1.6"))
    state = backend.memory.stations["CP1"]

    def flagged():
        return shapes.station(state, backend.memory.sites)["charging_without_transaction"]

    for row in ("charging", "suspended_ev", "suspended_evse"):
        await player.play(row)
        assert (player.shown, flagged(), books.sessions) == ("CHARGING", [1], [])
    await player.play("preparing")
    assert flagged() == []
    await player.charge.start()
    await player.play("charging")
    assert flagged() == []


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
async def test_st13_technical_codes_of_2x_are_kept_for_the_operator(player):
    """N07: with the status they came with."""
    await player.charger.call(
        "NotifyEvent",
        generatedAt=player.backend.at(),
        seqNo=0,
        eventData=[
            {
                "eventId": 1,
                "timestamp": player.backend.at(),
                "trigger": "Delta",
                "actualValue": "Faulted",
                "techCode": "E42",
                "techInfo": "door",
                "eventNotificationType": "HardWiredNotification",
                "component": {"name": "Connector", "evse": EVSE},
                "variable": {"name": "AvailabilityState"},
            }
        ],
    )
    state = player.backend.memory.stations["CP1"]
    (shown,) = shapes.station(state, player.backend.memory.sites)["connectors"]

    assert (shown["vendor_error_code"], shown["info"]) == ("E42", "door")
    assert player.shown == "OUTOFORDER"


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
@pytest.mark.parametrize("trigger", ["Delta", "Alerting", "Periodic"])
@pytest.mark.parametrize("component", ["Connector", "EVSE", "ChargingStation"])
async def test_st03_notify_event_is_the_other_channel_of_each_status(player, trigger, component):
    """What triggered it makes no difference; of the whole station it is an overlay."""
    evse = {"Connector": EVSE, "EVSE": {"id": 1}, "ChargingStation": None}[component]
    for word, status in ALONE.items():
        await player.say("Available")
        event = {
            "eventId": 1,
            "timestamp": player.backend.at(),
            "trigger": trigger,
            "actualValue": word,
            "eventNotificationType": "HardWiredNotification",
            "component": {"name": component} | ({"evse": evse} if evse else {}),
            "variable": {"name": "AvailabilityState"},
        }
        await player.charger.call(
            "NotifyEvent", generatedAt=player.backend.at(), seqNo=0, eventData=[event]
        )
        overlaid = word in ("Unavailable", "Faulted")
        assert player.shown == (status if evse or overlaid else "AVAILABLE"), word


async def test_st05_an_older_status_is_ignored_for_the_state_and_kept(player):
    """Every frame is in the log, what it says or not."""
    backend = player.backend
    await player.say("Faulted")
    old = backend.at(minutes=-5)
    if player.charger.version == "1.6":
        fields = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
    else:
        fields = {"evseId": 1, "connectorId": 1, "connectorStatus": "Available"}
    await player.charger.call("StatusNotification", timestamp=old, **fields)
    assert player.shown == "OUTOFORDER"

    await backend.until(
        lambda: any(old in str(f.payload) for f in backend.store.rows[Frame].values())
    )


async def test_st08_available_while_a_transaction_is_open(player, books):
    """The EVSE follows the status, the Session its transaction."""
    await started(player)
    await player.say("Available")

    assert player.shown == "AVAILABLE"
    assert [s.status for s in books.sessions] == ["ACTIVE"]


async def test_st09_faulted_during_a_transaction(player, books):
    """OUTOFORDER, and the Session ends with its stop."""
    await started(player)
    await player.say("Faulted")
    assert (player.shown, [s.status for s in books.sessions]) == ("OUTOFORDER", ["ACTIVE"])

    await (player.charge.stop if player.charger.version == "1.6" else player.charge.end)()
    assert [s.status for s in books.sessions] == ["COMPLETED"]
    assert player.shown == "OUTOFORDER"


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
@pytest.mark.parametrize(
    ("level", "own", "shown"),
    [
        ("Unavailable", "Available", "INOPERATIVE"),
        ("Unavailable", "Occupied", "INOPERATIVE"),
        ("Unavailable", "Faulted", "OUTOFORDER"),
        ("Faulted", "Available", "OUTOFORDER"),
        ("Available", "Occupied", "CHARGING"),
        ("Occupied", "Available", "AVAILABLE"),
    ],
)
async def test_st04_map12_what_is_said_of_an_evse_lies_over_its_connectors(
    player, level, own, shown
):
    """EvseId 1, connectorId 0; removed on Available, and all there is where no connector tells."""
    await player.say(level, connector=0)
    assert player.shown == ALONE[level]
    await player.say(own, connector=1)
    assert player.shown == shown

    await player.say("Faulted", evse=0)
    assert player.shown == "OUTOFORDER"
    await player.say("Available", evse=0)
    await player.say("Available", connector=0)
    assert player.shown == ALONE[own]
