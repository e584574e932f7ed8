"""`chargers-sim run`: one station."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from chargers_sim.clock import Clock, VirtualClock
from chargers_sim.control import Control
from chargers_sim.errors import BadInput, NotAnswered, Unreachable
from chargers_sim.faults import Faults, Rule
from chargers_sim.files import read_text
from chargers_sim.live import Station
from chargers_sim.measurands import in_words
from chargers_sim.outbox import Resend
from chargers_sim.recording import Trace
from chargers_sim.steps import parse_script, run_step
from chargers_sim.template import load_template
from chargers_sim.tls_cli import read_tls, tls_options

KEYS: dict[str, tuple[str, dict[str, Any]]] = {
    # A car by itself: it draws by its own curve as soon as it may.
    "p": ("plug", {"battery_wh": 60_000}),
    "u": ("unplug", {}),
    "x": ("stop", {}),
    "c": ("cut", {}),
    "r": ("reconnect", {}),
    "f": ("fault", {}),
    "m": ("mend", {}),
    "l": ("power-loss", {}),
    "b": ("power-back", {}),
}
# What a shell reports of a command that Ctrl-C ended.
INTERRUPTED = 130
FAULT_FIELDS: dict[str, type] = {
    "do": str,
    "action": str,
    "direction": str,
    "times": int,
    "chance": float,
    "seconds": float,
    "copies": int,
    "skip": int,
}
HELP = (
    "p plug, u unplug, s swipe, x stop, c cut the line, r reconnect, f fault, m mend, "
    "l power loss, b power back, t status, q quit; or any step, such as "
    "charge kwh=1 seconds=60 (then Enter)"
)


@click.command()
@click.option("--url", required=True, help="Address without the identity: ws://HOST:9000/ocpp")
@click.option("--identity", required=True, help="Who the station says it is.")
@click.option("--password", envvar="CHARGERS_SIM_PASSWORD", help="For HTTP Basic.")
@click.option(
    "--ocpp", type=click.Choice(["1.6", "2.0.1", "2.1"]), default="1.6", show_default=True
)
@click.option("--offer", help="Subprotocols to offer instead, with commas, in that order.")
@click.option("--connectors", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option("--charge", help='One charge, then exit 0: "kwh=12.345,seconds=3600,idle=900".')
@click.option("--remote", is_flag=True, help="With --charge: plug in and wait for a remote start.")
@click.option("--tag", default="TAG1", show_default=True, help="The token swiped.")
@click.option("--connector", type=click.IntRange(1), default=1, show_default=True)
@click.option(
    "--wait", type=click.FloatRange(0), default=60, show_default=True, help="Seconds for --remote."
)
@click.option("--template", help="A shipped template or FILE.toml; `show templates` lists them.")
@click.option("--quirk", "quirks", multiple=True, help="By name or number (q22); repeatable.")
@click.option("--fault", "faults", multiple=True, help="do=drop,action=MeterValues,times=2")
@tls_options
@click.option("--script", help="Steps, or @FILE: 'plug; swipe tag=T1; stop; unplug'.")
@click.option("--stay", is_flag=True, help="Stay connected after --charge or --script.")
@click.option("--virtual", is_flag=True, help="Virtual clock: hours pass in no time.")
@click.option(
    "--speed",
    type=click.FloatRange(0, min_open=True),
    default=1,
    show_default=True,
    help="Run the clock faster.",
)
@click.option("--seed", default="0", show_default=True)
@click.option(
    "--resend",
    type=click.Choice(["same", "new", "half"]),
    default="same",
    show_default=True,
    help="Message id of a repeated message.",
)
@click.option(
    "--cut",
    type=click.FloatRange(0, 1),
    default=0,
    help="Chance that the line is cut after a send.",
)
@click.option("--journal", type=click.Path(path_type=Path), help="JSONL of all operations.")
@click.option("--trace", type=click.Path(path_type=Path), help="JSONL of all frames.")
@click.option(
    "--reconnect",
    type=click.FloatRange(0, min_open=True),
    default=1,
    show_default=True,
    help="First pause, seconds.",
)
@click.option(
    "--connect-timeout", type=click.FloatRange(0, min_open=True), default=10, show_default=True
)
@click.option("--state", type=click.Path(path_type=Path), help="File that keeps its state.")
@click.option("--control", type=click.IntRange(0, 65535), help="Port of the HTTP control; 0 picks.")
@click.option("--json", "as_json", is_flag=True, help="Events as JSON lines on standard output.")
def run(**options: Any) -> int:
    """One station: a script, exactly one charge, or by hand from the keyboard.

    Exits 0 when the charge or script is done and answered, 1 when the server did
    not answer or refused, 2 when the input is wrong or the server unreachable.
    """
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415 - not on every platform

        return uvloop.run(_run(**options))
    return asyncio.run(_run(**options))


def read_charge(text: str) -> dict[str, str]:
    """Read "kwh=..,seconds=..,idle=.."; the error names the field."""
    given: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.strip().partition("=")
        if not equals or key not in {"kwh", "seconds", "idle", "tag", "connector"}:
            raise BadInput(f"--charge: {part!r}: expected kwh=, seconds=, idle=, tag=, connector=")
        given[key] = value
    for needed in ("kwh", "seconds"):
        if needed not in given:
            raise BadInput(f"--charge needs {needed}=")
    words = [f"{k}={given[k]}" for k in ("kwh", "seconds", "idle", "connector") if k in given]
    parse_script(f"charge {' '.join(words)}", "--charge")
    return given


def read_fault(text: str) -> Rule:
    """Read "do=drop,action=MeterValues,times=2"; the error names the field."""
    given: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, value = part.strip().partition("=")
        kind = FAULT_FIELDS.get(key)
        if not equals or kind is None:
            raise BadInput(f"--fault: {part!r}: expected {', '.join(FAULT_FIELDS)} with =value")
        try:
            given[key] = kind(value)
        except ValueError as problem:
            raise BadInput(f"--fault: {key}: {value!r} is not a {kind.__name__}") from problem
    if "do" not in given:
        raise BadInput(f"--fault: {text!r}: do= is missing")
    if not 0 <= given.get("chance", 1) <= 1:
        raise BadInput(f"--fault: chance: {given['chance']} is not between 0 and 1")
    try:
        return Rule(**given)
    except BadInput as problem:
        raise BadInput(f"--fault: {problem}") from problem


async def _run(**o: Any) -> int:
    tls = read_tls(o)
    charge = None if o["charge"] is None else read_charge(o["charge"])
    script = None if o["script"] is None else _read_script(o["script"])
    lasts = {} if charge is None else charge
    ends_in = float(lasts.get("seconds", 0)) + float(lasts.get("idle", 0))
    clock = VirtualClock(ends_in=ends_in) if o["virtual"] else Clock(speed=o["speed"])
    trace = None if o["trace"] is None else Trace.write_to(o["trace"], mode="a")
    rules = [read_fault(text) for text in o["faults"]]
    if o["cut"]:
        rules.append(Rule(do="cut-after-send", chance=o["cut"], seconds=0.05))
    resend: Resend = o["resend"]

    def show(event: dict[str, Any]) -> None:
        if o["as_json"]:
            text = json.dumps(event, separators=(",", ":"))
        else:
            facts = {k: v for k, v in event.items() if k not in {"event", "at", "station"}}
            said = " ".join(f"{k}={in_words(v)}" for k, v in facts.items())
            text = f"{event['at']} {event['station']} {event['event']} {said}".rstrip()
        with contextlib.suppress(BrokenPipeError):
            print(text, flush=True)  # noqa: T201 - the events are this command's output

    record = None if trace is None else trace.recorder(o["identity"], o["ocpp"])

    offered = tuple(s.strip() for s in (o["offer"] or "").split(",") if s.strip())
    station = Station(
        o["url"],
        o["identity"],
        ocpp=o["ocpp"],
        password=o["password"],
        clock=clock,
        seed=o["seed"],
        connectors=o["connectors"],
        template=load_template(o["template"]) if o["template"] else None,
        quirks=o["quirks"],
        state=o["state"],
        tls=tls,
        ca=o["ca"],
        faults=Faults(rules, seed=o["seed"]),
        resend=resend,
        journal=o["journal"],
        on_event=show,
        on_frame=record,
        reconnect=(o["reconnect"], max(60.0, o["reconnect"])),
        connect_timeout=o["connect_timeout"],
    )
    if offered:
        station.address = replace(station.address, subprotocols=offered)
    ended = asyncio.Event()
    loop, work = asyncio.get_running_loop(), asyncio.current_task()
    by_hand = False

    def end() -> None:
        ended.set()
        if not by_hand and work is not None:
            work.cancel()  # it connects, or plays a charge: neither looks at `ended`

    for ending in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(ending, end)
    try:
        async with station, _control(station, o["control"]):
            if charge is not None:
                await _one_charge(station, charge, o)
            for number, (name, given) in enumerate(script or [], start=1):
                await run_step(station, name, given, f"--script: step {number}")
            if (charge is None and script is None) or o["stay"]:
                by_hand = True
                await _by_hand(station, ended, o["tag"])
    except Unreachable as problem:
        click.echo(f"chargers-sim: {problem}", err=True)
        return 2
    except asyncio.CancelledError:
        if not ended.is_set():
            raise
        return INTERRUPTED
    finally:
        if trace is not None:
            trace.close()
    return 0


@contextlib.asynccontextmanager
async def _control(station: Station, port: int | None) -> AsyncIterator[None]:
    if port is None:
        yield
        return
    control = Control(station, port=port)
    click.echo(f"control {await control.start()}", err=True)
    try:
        yield
    finally:
        await control.stop()


def _read_script(text: str) -> list[tuple[str, dict[str, Any]]]:
    if not text.startswith("@"):
        return parse_script(text)
    return parse_script(read_text(text[1:]), text[1:])


async def _one_charge(station: Station, charge: dict[str, str], o: dict[str, Any]) -> None:
    connector = int(charge.get("connector", o["connector"]))
    await station.plug(connector)
    if not o["remote"]:
        status = await station.swipe(charge.get("tag", o["tag"]), connector)
        if status != "Accepted":
            raise NotAnswered(f"the token was not accepted: {status}")
    started = await station.wait_for("transaction_started", timeout=o["wait"])
    if started["status"] not in {None, "Accepted"}:
        raise NotAnswered(f"the transaction was not accepted: {started['status']}")
    await station.charge(
        kwh=charge["kwh"],
        seconds=float(charge["seconds"]),
        idle_seconds=float(charge.get("idle", 0)),
        connector=connector,
        stop=True,
    )
    await station.wait_for("transaction_ended", timeout=o["wait"])
    await station.unplug(connector)


async def _by_hand(station: Station, ended: asyncio.Event, tag: str) -> None:
    reader = asyncio.create_task(_read_keys(station, ended, tag)) if sys.stdin.isatty() else None
    try:
        await ended.wait()
    finally:
        if reader is not None:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)


async def _read_keys(station: Station, ended: asyncio.Event, tag: str) -> None:
    click.echo(HELP, err=True)
    while not ended.is_set():
        typed = await asyncio.to_thread(sys.stdin.readline)
        line = typed.strip()
        if not typed or line in {"q", "quit"}:
            # Ctrl-D ends it too: nothing will be typed any more.
            ended.set()
            continue
        if not line:
            continue
        try:
            if line == "s":
                await station.swipe(tag)
            elif line == "t":
                _show_state(station)
            elif line in KEYS:
                name, given = KEYS[line]
                await run_step(station, name, given)
            else:
                for name, given in parse_script(line, "line"):
                    await run_step(station, name, given)
        except Exception as problem:  # noqa: BLE001 - a wrong key must not end the session
            click.echo(str(problem), err=True)


def _show_state(station: Station) -> None:
    for outlet in station.model.outlets.values():
        status, power = station.model.status(outlet), station.model.power_w(outlet)
        register = outlet.meter.register_wh()
        click.echo(f"connector {outlet.number}: {status}, {power} W, {register} Wh", err=True)
