from textual.widgets import DataTable, Input

from chargers_sim.clock import Clock
from chargers_sim.live import Station
from chargers_sim.tui import Screen


async def test_keys_run_a_charge(system, settle) -> None:
    station = Station(system.url, "CP1", clock=Clock(speed=100), reconnect=(0.01, 0.1))
    screen = Screen(station, tag="TAG1")
    async with screen.run_test(size=(140, 40)) as pilot:
        await settle(lambda: station.is_online)
        await pilot.press("p")
        await settle(lambda: station.model.outlet(1).plugged)
        await pilot.press("s")
        await settle(lambda: system.of("StartTransaction"))
        table = screen.query_one(DataTable)
        await settle(lambda: table.row_count and table.get_row_at(0)[1] == "Charging")
        await pilot.press("x")
        await settle(lambda: system.of("StopTransaction"))
        await pilot.press("c")
        await settle(lambda: not station.is_online)
        await pilot.press("c")
        await settle(lambda: station.is_online)


async def test_a_line_of_steps_is_done_and_a_wrong_one_explained(system, settle) -> None:
    station = Station(system.url, "CP1", clock=Clock(speed=100))
    screen = Screen(station, tag="TAG1")
    async with screen.run_test(size=(140, 40)) as pilot:
        await settle(lambda: station.is_online)
        field = screen.query_one(Input)
        field.focus()
        field.value = "door open=true"
        await pilot.press("enter")
        await settle(lambda: system.of("SecurityEventNotification"))
        field.value = "fly"
        await pilot.press("enter")
        await settle(lambda: "unknown step 'fly'" in shown(screen))

    assert station.model.door_open


async def test_tab_goes_to_the_line_of_steps_and_escape_back_to_the_keys(system, settle) -> None:
    """Letters of a step that is typed are no keys: `call` must not cut the line."""
    station = Station(system.url, "CP1", clock=Clock(speed=100))
    screen = Screen(station, tag="TAG1")
    async with screen.run_test(size=(140, 40)) as pilot:
        await settle(lambda: station.is_online)
        await pilot.press("tab", *"call")
        field = screen.query_one(Input)
        assert field.value == "call"
        field.value = "call action=Heartbeat"
        await pilot.press("enter", "escape")
        await settle(lambda: system.of("Heartbeat"))
        await pilot.press("p")
        await settle(lambda: station.model.outlet(1).plugged)

    assert system.connections == 1


async def test_the_screen_tells_what_happens_in_full_lines(system, settle) -> None:
    """Nothing is clipped at 120 columns: events, the chosen connector, all keys, frames by name."""
    station = Station(system.url, "CP1", connectors=2, clock=Clock(speed=100))
    screen = Screen(station, tag="TAG1")
    async with screen.run_test(size=(120, 36)) as pilot:
        await settle(lambda: station.is_online)
        await pilot.press("n", "p")
        await settle(lambda: station.model.outlet(2).plugged)
        await pilot.press("s")
        await settle(lambda: system.of("StartTransaction"))
        wanted = ("StartTransaction {", "▶ 2", "status=Charging")
        await settle(lambda: all(word in shown(screen).replace("\n", "") for word in wanted))
        text = shown(screen)

    for key in (
        "plug",
        "unplug",
        "swipe",
        "stop",
        "line",
        "fault",
        "mains",
        "door",
        "next",
        "quit",
    ):
        assert key in text.splitlines()[-1]


def shown(screen: Screen) -> str:
    strips = screen.screen._compositor.render_strips()
    return "\n".join("".join(part.text for part in strip) for strip in strips)
