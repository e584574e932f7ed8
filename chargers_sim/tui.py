"""The technician's screen: connectors, live power, frames and events; keys and a line for steps."""

import json
from collections import deque
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.events import Key
from textual.timer import Timer
from textual.widgets import DataTable, Footer, Header, Input, RichLog, Sparkline, Static

from chargers_sim.car import Car
from chargers_sim.clock import iso
from chargers_sim.errors import SimError
from chargers_sim.live import Station
from chargers_sim.steps import STEPS, parse_script, run_step


class Screen(App[None]):
    """One station on the screen."""

    TITLE = "chargers-sim"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #left { width: 2fr; }
    #right { width: 3fr; }
    #state { height: auto; padding: 0 1; }
    #connectors { height: auto; max-height: 10; }
    #peak { padding: 0 1; color: $text-muted; }
    #power { height: 5; margin: 0 1 1 1; }
    #events { height: 1fr; border-top: solid $primary; }
    #frames { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        ("p", "plug", "plug"),
        ("u", "step('unplug')", "unplug"),
        ("s", "swipe", "swipe"),
        ("x", "step('stop')", "stop"),
        ("c", "line", "line"),
        ("f", "fault", "fault"),
        ("l", "power", "mains"),
        ("d", "door", "door"),
        ("n", "connector", "next"),
        ("h", "help", "help"),
        ("q", "quit", "quit"),
        # The logs can be scrolled, but letters typed there are keys: one Tab is enough to be safe.
        Binding("tab", "type", "type a step", priority=True),
    ]

    def __init__(self, station: Station, *, tag: str) -> None:
        super().__init__()
        self._station = station
        self._tag = tag
        self._connector = 1
        self._curve: deque[float] = deque([0.0] * 60, maxlen=600)
        self._asked: dict[str, str] = {}
        self._events_shown = 0
        self._frames_shown = 0
        self._refreshing: Timer | None = None

    def compose(self) -> ComposeResult:
        """Lay the screen out."""
        yield Header(show_clock=True)
        with Horizontal():
            with Vertical(id="left"):
                yield Static(id="state")
                yield DataTable(id="connectors")
                yield Static(id="peak")
                yield Sparkline(list(self._curve), id="power")
                yield RichLog(id="events", wrap=True, max_lines=500, min_width=20)
            with Vertical(id="right"):
                yield RichLog(id="frames", wrap=False, max_lines=1000, markup=False, min_width=20)
        yield Input(
            placeholder="a step, such as: charge kwh=1 seconds=60   (Esc: back to the keys)"
        )
        yield Footer()

    async def on_mount(self) -> None:
        """Start the station and the clock of the screen."""
        self.sub_title = f"{self._station.identity} OCPP {self._station.version}"
        table = self.query_one(DataTable)
        table.add_columns("connector", "status", "power", "meter", "transaction")
        self.query_one(RichLog).focus()
        self._station.start()
        self._refreshing = self.set_interval(0.25, self.refresh_all)

    async def on_unmount(self) -> None:
        """End the station with the screen."""
        if self._refreshing is not None:
            self._refreshing.stop()
        await self._station.close()

    def refresh_all(self) -> None:
        """Show what is new."""
        if not self.is_running or not self.query("#state"):
            return
        station, model = self._station, self._station.model
        online = "[green]online[/]" if station.is_online else "[red]offline[/]"
        waiting = len(station.outbox)
        door = "  [red]door open[/]" if model.door_open else ""
        mains = "" if model.powered else "  [red]no mains[/]"
        self.query_one("#state", Static).update(
            f"{online}  {iso(station.now)[:19]}Z  waiting {waiting}{door}{mains}"
        )
        table = self.query_one(DataTable)
        table.clear()
        total = 0
        for outlet in model.outlets.values():
            power = model.power_w(outlet)
            total += power
            running = outlet.transaction if outlet.charging else None
            named = "" if running is None else str(running.number or running.ref)[:13]
            chosen = "▶" if outlet.number == self._connector else " "
            table.add_row(
                f"{chosen} {outlet.number}",
                model.status(outlet),
                f"{power} W",
                f"{outlet.meter.register_wh()} Wh",
                named,
            )
        self._curve.append(float(total))
        self.query_one(Sparkline).data = list(self._curve)
        peak = max(self._curve)
        self.query_one("#peak", Static).update(f"power now {total} W, highest shown {peak:.0f} W")
        self._show_events()
        self._show_frames()

    def _show_events(self) -> None:
        log = self.query_one("#events", RichLog)
        first = self._station.events_log.count - len(self._station.events)
        for number, event in enumerate(self._station.events, start=first + 1):
            if number <= self._events_shown or event["event"] == "metered":
                continue
            facts = {k: v for k, v in event.items() if k not in {"event", "at", "station"}}
            said = " ".join(f"{k}={v}" for k, v in facts.items() if v is not None)
            log.write(f"{event['at'][11:19]} {event['event']} {said}"[:300])
        self._events_shown = self._station.events_log.count

    def _show_frames(self) -> None:
        log, frames = self.query_one("#frames", RichLog), self._station.frames
        fresh = self._station.link.frame_count - self._frames_shown
        for _, direction, text in list(frames)[len(frames) - min(fresh, len(frames)) :]:
            log.write(f"{'>' if direction == 'out' else '<'} {self._in_short(text)}")
        self._frames_shown = self._station.link.frame_count

    def _in_short(self, text: str) -> str:
        """Write a frame in one line: what it is first, then its content."""
        try:
            frame = json.loads(text)
            kind, number = frame[0], frame[1]
            if kind in {2, 6}:
                self._asked[number] = frame[2]
                return f"{frame[2]} {json.dumps(frame[3])}"[:1000]
            about = self._asked.pop(number, "?")
            if kind == 3:
                return f"  {about}: {json.dumps(frame[2])}"[:1000]
            return f"  {about} ERROR {frame[2]} {frame[3]}"[:1000]
        except (ValueError, LookupError, TypeError):
            return text[:1000]

    def on_key(self, event: Key) -> None:
        """Leave the line of steps with Esc."""
        if event.key == "escape":
            self.query_one("#frames", RichLog).focus()

    async def on_input_submitted(self, entered: Input.Submitted) -> None:
        """Do the steps of the line."""
        text = entered.value.strip()
        entered.input.value = ""
        if text == "help":
            self.action_help()
            return
        try:
            script = parse_script(text, "line")
        except SimError as problem:
            self._say(str(problem))
            return
        for name, given in script:
            self.run_worker(self._do(name, given), exclusive=False)

    def _say(self, text: str) -> None:
        self.query_one("#events", RichLog).write(text)

    async def _do(self, name: str, given: dict[str, Any]) -> None:
        try:
            result = await run_step(self._station, name, given)
        except SimError as problem:
            self._say(f"{name}: {problem}")
        else:
            if result is not None:
                self._say(f"{name}: {json.dumps(result)[:300]}")

    # Keys

    def action_step(self, name: str) -> None:
        """Do a step at the chosen connector."""
        self.run_worker(self._do(name, {"connector": self._connector}), exclusive=False)

    def action_help(self) -> None:
        """List the steps that can be typed."""
        for name, step in sorted(STEPS.items()):
            self._say(f"{name}: {step.does}")

    def action_type(self) -> None:
        """Go to the line of steps."""
        self.query_one(Input).focus()

    def action_plug(self) -> None:
        """Plug in one of the cars that come along."""
        car = Car.random(self._station.random)
        given = {
            "connector": self._connector,
            "battery_wh": car.battery_wh,
            "soc": str(car.soc),
            "power_w": car.max_power_w,
        }
        self.run_worker(self._do("plug", given), exclusive=False)

    def action_swipe(self) -> None:
        """Swipe the token."""
        given = {"tag": self._tag, "connector": self._connector}
        self.run_worker(self._do("swipe", given), exclusive=False)

    def action_line(self) -> None:
        """Cut the line, or let it come up."""
        name = "cut" if self._station.line is not None else "reconnect"
        self.run_worker(self._do(name, {}), exclusive=False)

    def action_fault(self) -> None:
        """Break the connector, or mend it."""
        outlet = self._station.model.outlet(self._connector)
        name = "mend" if outlet.fault else "fault"
        self.action_step(name)

    def action_power(self) -> None:
        """Take the mains away, or give them back."""
        name = "power-loss" if self._station.model.powered else "power-back"
        self.run_worker(self._do(name, {}), exclusive=False)

    def action_door(self) -> None:
        """Open or close the door."""
        is_open = not self._station.model.door_open
        self.run_worker(self._do("door", {"open": is_open}), exclusive=False)

    def action_connector(self) -> None:
        """Choose the next connector."""
        numbers = list(self._station.model.outlets)
        self._connector = numbers[(numbers.index(self._connector) + 1) % len(numbers)]
