"""Settings templates applied on each boot (BO-09, BO-10, BO-15, BO-17, Q11, Q12)."""

import asyncio

import pytest
from charging import Charging
from structlog.testing import capture_logs

from cpo.domain.command import CommandKind, Outcome, Reply
from cpo.domain.events import Boot
from cpo.errors import Conflict, NotFound
from cpo.services.equipment import Equipment, variable_key
from cpo.services.ports import Work
from cpo.services.templates import Templates


class Station:
    """A 2.x station with variables; `stubborn` ones say yes and stay as they are."""

    identity = "CP1"
    version = "2.0.1"

    def __init__(self, world):
        self.world = world
        self.values = {"C/A": "1", "C/B": "1", "C/C": "1"}
        self.answers = {}
        self.stubborn = set()
        self.read, self.written = [], []
        self.outcome = Outcome.ACCEPTED

    async def execute(self, command, *, timeout=None):
        if self.outcome is not Outcome.ACCEPTED:
            return Reply(outcome=self.outcome)
        items = command.parameters["variables"]
        names = [variable_key(item) for item in items]
        if command.kind is CommandKind.GET_VARIABLES:
            self.read.append(names)
            for item, name in zip(items, names, strict=True):
                await self.world.keep(item, self.values.get(name))
            return Reply(outcome=Outcome.ACCEPTED)
        self.written.append(names)
        results = []
        for item, name in zip(items, names, strict=True):
            status = self.answers.get(name, "Accepted")
            results.append({"attributeStatus": status})
            if status in ("Accepted", "RebootRequired"):
                await self.world.keep(item, item["value"])
                if name not in self.stubborn:
                    self.values[name] = item["value"]
        return Reply(outcome=Outcome.ACCEPTED, payload={"setVariableResult": results})


class World(Charging):
    def __init__(self):
        super().__init__()
        now = lambda: self.clock  # noqa: E731
        self.book = Templates(self.memory, self.store, self.stations, now=now, delay=0)
        self.stations.on_boot.append(self.book.booted)
        self.equipment = Equipment(self.store, now=now)

    async def keep(self, item, value):
        if value is None:
            return
        work = Work()
        part = {"component": item["component"], "variable": item["variable"]}
        await self.equipment.attribute(work, "CP1", part, value, kind="Actual", at=self.clock)
        await self.store.commit(work)

    async def boot_now(self):
        work = Work()
        await self.stations.boot(work, "CP1", Boot(vendor="V", model="M"), at=self.clock)
        await self.store.commit(work)

    async def boot(self, firmware="1"):
        work = Work()
        boot = Boot(vendor="V", model="M", firmware_version=firmware)
        await self.stations.boot(work, "CP1", boot, at=self.clock)
        await self.store.commit(work)
        await self.applied()
        self.pass_time(minutes=5)

    async def applied(self):
        while self.book._tasks:
            await asyncio.gather(*self.book._tasks.values())
            await asyncio.sleep(0)

    async def states(self):
        view = await self.book.view("CP1")
        return {item["name"]: str(item["state"]) for item in view["items"]}


WANTED = {
    "settings": [
        {"component": "C", "variable": name, "value": "2"} for name in ("A", "B", "C")
    ]
}  # fmt: skip


@pytest.fixture
async def world():
    made = World()
    await made.site("CP1")
    made.station = Station(made)
    made.memory.stations["CP1"].link = made.station
    await made.book.put("T", WANTED, actor="test")
    yield made
    await made.book.close()


async def test_q12_each_boot_restores_what_is_wanted(world):
    """Q12: configuration lost at a reboot is set again."""
    await world.boot()
    world.station.values["C/B"] = "lost"

    await world.boot()

    assert world.station.written == [["C/A", "C/B", "C/C"], ["C/B"]]
    assert (await world.book.view("CP1"))["drift"] == 0


async def test_bo09_nothing_is_asked_before_the_boot_is_answered(world):
    """BO-09: the boot's unit of work is on disk, and its answer under way, before we ask."""
    work = Work()
    await world.stations.boot(work, "CP1", Boot(vendor="V", model="M"), at=world.clock)
    await world.store.commit(work)

    assert world.station.read == []
    await world.applied()
    assert len(world.station.read) == 1


async def test_bo10_a_station_that_boots_all_the_time_is_left_alone(world):
    """BO-10, Q11: at most once per boot, and not at all in a loop of boots."""
    for _ in range(8):
        work = Work()
        await world.stations.boot(work, "CP1", Boot(vendor="V", model="M"), at=world.clock)
        await world.store.commit(work)
        await world.applied()
        world.pass_time(seconds=10)

    assert len(world.station.read) == 4
    assert (await world.book.view("CP1"))["often_booted"]


async def test_bo10_a_loop_of_boots_is_told_where_there_are_no_templates_too(world):
    await world.book.remove("T", actor="test")
    with capture_logs() as lines:
        for _ in range(5):
            await world.boot_now()
            world.pass_time(seconds=10)

    (told,) = [line for line in lines if line["event"] == "station.boots_often"]
    assert (told["station"], told["alarm"]) == ("CP1", True)
    assert (await world.book.view("CP1"))["often_booted"]


async def test_bo15_what_is_refused_is_not_asked_for_again(world):
    """BO-15: RebootRequired, Rejected and NotSupported are recorded, without a storm."""
    world.station.answers = {"C/A": "Rejected", "C/B": "RebootRequired"}
    await world.boot()
    first = await world.states()

    await world.boot()

    assert first == {"C/A": "refused", "C/B": "reboot-required", "C/C": "ok"}
    assert await world.states() == {"C/A": "refused", "C/B": "ok", "C/C": "ok"}
    assert world.station.written == [["C/A", "C/B", "C/C"]]


async def test_another_firmware_may_take_what_the_last_refused(world):
    world.station.answers = {"C/A": "Rejected"}
    await world.boot()
    world.station.answers = {}

    await world.boot(firmware="2")

    assert world.station.written[-1] == ["C/A"]
    assert (await world.states())["C/A"] == "ok"


async def test_what_a_station_says_yes_to_and_does_not_keep_is_given_up(world):
    """CM-24."""
    world.station.stubborn = {"C/A"}
    for _ in range(5):
        await world.boot()

    assert [names for names in world.station.written if "C/A" in names] == [
        ["C/A", "C/B", "C/C"], ["C/A"], ["C/A"],
    ]  # fmt: skip
    assert (await world.states())["C/A"] == "not-kept"


async def test_bo17_many_are_asked_for_in_parts(world):
    """BO-17: ItemsPerMessage 10 of 25 makes three messages."""
    await world.keep(
        {
            "component": {"name": "DeviceDataCtrlr"},
            "variable": {"name": "ItemsPerMessage", "instance": "GetVariables"},
        },
        "10",
    )
    many = [{"component": "C", "variable": f"V{n}", "value": "2"} for n in range(25)]
    await world.book.put("T", {"settings": many}, actor="test")

    await world.boot()

    assert [len(names) for names in world.station.read] == [10, 10, 5]
    assert [len(names) for names in world.station.written] == [10, 10, 5]


async def test_a_silent_station_is_tried_at_its_next_boot(world):
    world.station.outcome = Outcome.TIMEOUT
    await world.boot()
    world.station.outcome = Outcome.ACCEPTED

    await world.boot()

    assert (await world.book.view("CP1"))["drift"] == 0


async def test_the_operator_may_have_it_tried_again(world):
    world.station.answers = {"C/A": "Rejected"}
    await world.boot()
    world.station.answers = {}

    view = await world.book.apply_now("CP1", actor="test")

    assert view["drift"] == 0
    world.memory.stations["CP1"].link = None
    with pytest.raises(Conflict):
        await world.book.apply_now("CP1", actor="test")


async def test_templates_survive_a_restart_and_can_be_forgotten(world):
    again = Templates(world.memory, world.store, world.stations, now=lambda: world.clock)
    await again.load()
    assert again.all() == world.book.all()

    await world.book.remove("T", actor="test")

    await world.boot()
    assert world.station.read == []
    with pytest.raises(NotFound):
        world.book.get("T")


async def test_drift_shows_a_change_from_elsewhere_without_a_boot(world):
    """Somebody changes a setting at the station itself: it is read again, not written over."""
    await world.boot()
    assert (await world.book.view("CP1"))["drift"] == 0
    written = len(world.station.written)
    world.station.values["C/B"] = "9"
    assert (await world.book.view("CP1"))["drift"] == 0

    await world.book.look_again()

    view = await world.book.view("CP1")
    assert view["drift"] == 1
    assert {item["name"]: item["actual"] for item in view["items"]}["C/B"] == "9"
    assert len(world.station.written) == written
    world.station.outcome = Outcome.TIMEOUT
    await world.book.look_again()
    assert (await world.book.view("CP1"))["drift"] == 1


async def test_an_offline_station_is_not_asked_for_drift(world):
    await world.boot()
    asked = len(world.station.read)
    world.stations.disconnected(world.station)

    await world.book.look_again()

    assert len(world.station.read) == asked
