"""`chargers-sim tui`: a technician's screen for one station."""

from pathlib import Path
from typing import Any

import click

from chargers_sim.clock import Clock
from chargers_sim.live import Station
from chargers_sim.template import load_template
from chargers_sim.tls_cli import read_tls, tls_options
from chargers_sim.tui import Screen


@click.command()
@click.option("--url", required=True, help="Address without the identity: ws://HOST:9000/ocpp")
@click.option("--identity", required=True)
@click.option("--password", envvar="CHARGERS_SIM_PASSWORD")
@click.option(
    "--ocpp", type=click.Choice(["1.6", "2.0.1", "2.1"]), default="1.6", show_default=True
)
@click.option("--connectors", type=click.IntRange(1, 16), default=1, show_default=True)
@tls_options
@click.option("--template", help="A shipped template or FILE.toml.")
@click.option("--quirk", "quirks", multiple=True)
@click.option("--tag", default="TAG1", show_default=True, help="The token that `s` swipes.")
@click.option("--speed", type=click.FloatRange(0, min_open=True), default=1, show_default=True)
@click.option("--state", type=click.Path(path_type=Path), help="File that keeps its state.")
def tui(**o: Any) -> int:
    """A technician's screen: plug, swipe, break, cut, watch frames and the power curve."""
    station = Station(
        o["url"],
        o["identity"],
        ocpp=o["ocpp"],
        password=o["password"],
        clock=Clock(speed=o["speed"]),
        connectors=o["connectors"],
        template=load_template(o["template"]) if o["template"] else None,
        quirks=o["quirks"],
        state=o["state"],
        tls=read_tls(o),
        ca=o["ca"],
    )
    Screen(station, tag=o["tag"]).run()
    return 0
