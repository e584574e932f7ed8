"""`chargers-sim send`: tell a running station to do something."""

import asyncio
import json

import click

from chargers_sim.ends import End, EndFailed
from chargers_sim.steps import parse_script
from chargers_sim.tls_cli import check_http


@click.command()
@click.argument("step", nargs=-1)
@click.option(
    "--control",
    envvar="CHARGERS_SIM_CONTROL",
    default="http://127.0.0.1:9200",
    show_default=True,
    help="Address of the station's control: `run --control PORT`.",
)
def send(step: tuple[str, ...], control: str) -> int:
    """Do a step at a running station: `send swipe tag=TAG1`; without a step show its state.

    Exits 0 when it was done, 1 when the station could not, 2 when the step is wrong.
    """
    check_http("--control", control)
    end = End("the station", control)
    try:
        if not step:
            click.echo(json.dumps(asyncio.run(end.ask("GET", "/")), indent=2))
            return 0
        quoted = [step[0], *(_quoted(word) for word in step[1:])]
        for name, given in parse_script(" ".join(quoted), "send"):
            answer = asyncio.run(end.ask("POST", f"/steps/{name}", given))
            click.echo(json.dumps(answer))
    except EndFailed as problem:
        click.echo(f"chargers-sim: {problem}", err=True)
        return 1
    return 0


def _quoted(word: str) -> str:
    name, equals, value = word.partition("=")
    return (
        f"{name}{equals}{json.dumps(value)}"
        if equals and "'" in value
        else f"{name}{equals}'{value}'"
    )
