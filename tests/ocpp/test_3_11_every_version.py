"""ocpp-conformance 3.11 and 3.12 for each version: outages, replays, what comes late."""

import pytest

from cpo.errors import StoreUnavailable
from cpo.services.upkeep import StaleTransactions
from tests.ocpp.conftest import Charge16, Charge201

EVSE = {"id": 1, "connectorId": 1}
TAG = {"idToken": "TAG", "type": "ISO14443"}


class Driver:
    """Charges of any version, told at any time, over whatever connection there is."""

    def __init__(self, backend, charger):
        self.backend = backend
        self.charger = charger
        self.old = charger.version == "1.6"
        self._count = 0
        self.new()

    def new(self):
        """Begin with another transaction."""
        self._count += 1
        self.charge = (Charge16 if self.old else Charge201)(self.backend, self.charger)
        if not self.old:
            self.charge.id = f"tx-{self._count}"

    async def again(self):
        """Come back on a new connection."""
        self.charger.socket.transport.abort()
        self.charger = await self.backend.charger(self.charger.version, boot=False)
        self.charge.charger = self.charger

    def steps(self, begin=-60, wh=1000):
        """Return the messages of a charge, each as a call that says the same each time."""
        at = self.backend.at
        if self.old:
            return [
                lambda: self.charge.start(timestamp=at(minutes=begin), meterStart=wh),
                lambda: self.charge.meter(str(wh + 500), begin + 10),
                lambda: self.charge.meter(str(wh + 1000), begin + 20),
                lambda: self.charge.stop(timestamp=at(minutes=begin + 30), meterStop=wh + 2000),
            ]

        def event(seq, kind, minutes, register, **fields):
            async def tell():
                self.charge.seq = seq
                return await self.charge.event(
                    kind, begin + minutes, register, offline=True, **fields
                )

            return tell

        return [
            event(0, "Started", 0, wh, evse=EVSE, idToken=TAG, triggerReason="Authorized"),
            event(1, "Updated", 10, wh + 500),
            event(2, "Updated", 20, wh + 1000),
            event(3, "Ended", 30, wh + 2000, triggerReason="EVDeparted"),
        ]

    async def play(self, begin=-60, wh=1000):
        for step in self.steps(begin, wh):
            await step()

    async def say(self, word):
        if self.old:
            fields = {"connectorId": 1, "errorCode": "NoError", "status": word}
        else:
            fields = {"evseId": 1, "connectorId": 1, "connectorStatus": word}
            fields["timestamp"] = self.backend.at()
        await self.charger.call("StatusNotification", **fields)

    async def ask(self):
        if self.old:
            answer = await self.charger.call("Authorize", idTag="TAG")
            return answer["idTagInfo"]["status"]
        answer = await self.charger.call("Authorize", idToken=TAG)
        return answer["idTokenInfo"]["status"]

    @property
    def shown(self):
        return str(self.backend.memory.sites.status("L-CP1", "CP1-uid-1-x"))


@pytest.fixture
async def driver(backend, version):
    return Driver(backend, await backend.charger(version))


def facts(books):
    """Return what is billed, without what tells one charge from another."""
    return [
        (c.start_date_time, c.end_date_time, c.energy_wh, c.cost.total, c.flags, c.hold)
        for c in books.cdrs
    ]


async def test_of01_cut_after_each_message_the_books_are_those_of_the_uncut_charge(driver, books):
    """Each message is sent, its answer lost, and sent again on a new connection."""
    await driver.play(-120)
    uncut = facts(books)
    driver.backend.store.rows.clear()
    driver.backend.memory.stations["CP1"].transactions.clear()
    driver.backend.memory.stations["CP1"].starts.clear()
    driver.new()
    for step in driver.steps(-120):
        await step()
        await driver.again()
        await step()

    assert facts(books) == uncut
    assert len(books.sessions) == len(books.cdrs) == 1
    assert uncut[0][2] == 2000


async def test_of03_three_charges_of_eight_hours_offline_are_three_in_order(driver, books):
    for number, hours in enumerate((-8, -5, -2)):
        await driver.play(60 * hours, 1000 + 2000 * number)
        driver.new()

    assert [s.status for s in books.sessions] == ["COMPLETED"] * 3
    starts = [cdr.start_date_time for cdr in books.cdrs]
    assert starts == sorted(set(starts))
    assert [cdr.energy_wh for cdr in books.cdrs] == [2000] * 3
    assert [cdr.hold for cdr in books.cdrs] == [()] * 3
    assert len({cdr.session_id for cdr in books.cdrs}) == 3


async def test_of04_what_overtakes_the_queue_makes_no_wrong_state(driver, books):
    """The car has gone: the station says Available, and asks about the next card."""
    first, *others = driver.steps()
    await first()
    await driver.again()
    await driver.say("Available")
    assert await driver.ask() == "Accepted"
    assert [s.status for s in books.sessions] == ["ACTIVE"]
    for step in others:
        await step()

    assert driver.shown == "AVAILABLE"
    assert [s.status for s in books.sessions] == ["COMPLETED"]
    assert [cdr.energy_wh for cdr in books.cdrs] == [2000]


async def test_of07_of08_a_dropped_stop_is_assumed_and_what_it_hides_is_noted(driver, books):
    """Held for the operator; the next start says that more was drawn."""
    start, reading, *_ = driver.steps()
    await start()
    await reading()
    backend = driver.backend
    backend.later(hours=72)
    await StaleTransactions(
        backend.memory, backend.transactions, now=lambda: backend.clock, after=24 * 3600
    ).sweep()
    assert [(cdr.energy_wh, bool(cdr.hold)) for cdr in books.cdrs] == [(500, True)]

    driver.new()
    await driver.play(-60, 5000)
    noted = ["energy_missing_before" in one.flags for one in books.transactions]
    assert noted == [False, True]


@pytest.mark.parametrize(("begin", "noted"), [(3000, False), (3400, False), (4000, True)])
async def test_of08_energy_between_two_charges_is_noted(driver, books, begin, noted):
    """A charger draws a little for itself."""
    await driver.play(-120, 1000)
    driver.new()
    await driver.play(-60, begin)

    flags = [one.flags for one in books.transactions]
    assert ["energy_missing_before" in one for one in flags] == [False, noted]
    assert ["energy_missing_before" in cdr.flags for cdr in books.cdrs] == [False, noted]


async def test_of09_a_database_that_comes_back_takes_the_retries(driver, books):
    """Not one message is lost, and none counts twice."""
    for step in driver.steps():
        for _ in range(3):
            driver.backend.store.fail = StoreUnavailable("away")
            with pytest.raises(AssertionError, match="InternalError"):
                await step()
        await step()

    assert [cdr.energy_wh for cdr in books.cdrs] == [2000]
    assert [s.status for s in books.sessions] == ["COMPLETED"]


async def test_br05_what_comes_after_the_cdr_leaves_it_as_it_is(driver, books):
    """No second CDR, and no other amount."""
    await driver.play()
    before = facts(books)
    if driver.old:
        await driver.charge.meter("99000", -20)
        await driver.charge.stop(timestamp=driver.backend.at(minutes=-5), meterStop=9000)
    else:
        driver.charge.seq = 4
        await driver.charge.update(99_000, -20)

    assert facts(books) == before
    assert [s.status for s in books.sessions] == ["COMPLETED"]


async def test_br12_a_cdr_begins_and_ends_with_its_transaction(driver, books):
    await driver.play(-60)
    right = books.cdrs[0]
    transaction = books.transactions[0]
    assert (right.start_date_time, right.end_date_time) == (
        transaction.started_at,
        transaction.ended_at,
    )
    assert "clock_implausible" not in right.flags


NEVER_SET = ("1970-01-01T00:03:00Z", "yesterday", "2099-01-01T00:00:00Z", "9999-12-31T23:59:59Z")


@pytest.mark.parametrize("stamp", NEVER_SET)
async def test_br12_bo18_a_charge_of_a_clock_that_was_never_set_is_one_and_is_held(
    driver, books, stamp
):
    """However often it is told: it is known by the time that was told, and doubted for it."""
    if driver.old:
        steps = [
            lambda: driver.charge.start(timestamp=stamp),
            lambda: driver.charge.stop(timestamp=stamp),
        ]
    else:

        async def start():
            driver.charge.seq = 0
            await driver.charge.start(timestamp=stamp)

        async def stop():
            driver.charge.seq = 1
            await driver.charge.end(timestamp=stamp)

        steps = [start, stop]
    told = driver.backend.clock
    for step in steps:
        await step()
        driver.backend.later(minutes=10)
        await driver.again()
        await step()

    (cdr,) = books.cdrs
    assert len(books.transactions) == len(books.sessions) == 1
    assert cdr.energy_wh == 2000
    assert "clock_implausible" in cdr.hold
    assert "stop_repeated_differently" not in cdr.flags
    assert cdr.start_date_time == told


async def test_br12_a_clock_that_was_lost_during_a_charge_is_flagged(driver, books):
    """The end is its arrival: which may be hours late."""
    await driver.charge.start()
    stop = driver.charge.stop if driver.old else driver.charge.end
    await stop(timestamp="1970-01-01T00:00:09Z")

    assert "clock_implausible" in books.only_cdr.hold
    assert books.only_cdr.end_date_time == driver.backend.clock


async def test_tx20_21_an_id_used_again_by_a_clock_that_was_never_set_is_another_charge(
    backend, books
):
    charge = Charge201(backend, await backend.charger("2.0.1"))
    await charge.start()
    await charge.end()
    backend.later(hours=1)
    charge.seq = 10
    await charge.start(3000, timestamp="1970-01-01T00:00:01Z")
    await charge.end(4000, timestamp="1970-01-01T00:00:02Z")

    assert sorted(cdr.energy_wh for cdr in books.cdrs) == [1000, 2000]
