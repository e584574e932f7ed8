"""`chargers-sim show`: what there is to choose from."""

import click

from chargers_sim.faults import KINDS
from chargers_sim.measurands import MEASURANDS
from chargers_sim.quirks import show as quirk_table
from chargers_sim.scenario import load, shipped
from chargers_sim.steps import STEPS
from chargers_sim.template import load_template, templates


@click.command()
@click.argument(
    "what",
    type=click.Choice(["templates", "quirks", "steps", "faults", "scenarios", "measurands"]),
)
def show(what: str) -> None:
    """List templates, quirks, steps, faults, scenarios or measurands."""
    if what == "quirks":
        click.echo(quirk_table())
    elif what == "steps":
        for name, step in sorted(STEPS.items()):
            click.echo(f"{name:<16} {step.does}")
    elif what == "faults":
        for name, does in KINDS.items():
            click.echo(f"{name:<18} {does}")
    elif what == "scenarios":
        for name, path in shipped().items():
            click.echo(f"{name:<28} {load(str(path)).name}")
    elif what == "measurands":
        click.echo("\n".join(MEASURANDS))
    else:
        for name, path in templates().items():
            made = load_template(str(path))
            click.echo(f"{name:<24} {made.vendor} {made.model}, {len(made.outlets)} outlets")
