"""`chargers-sim fleet`: many stations in one process."""

import asyncio
import contextlib
from typing import Any

import click

from chargers_sim.tls_cli import read_tls, tls_options


@click.command()
@click.option("--url", required=True, help="Address without the identity: ws://HOST:9000/ocpp")
@click.option("--stations", type=click.IntRange(1, 100_000), required=True)
@click.option("--identity", default="SIM{n:05d}", show_default=True, help="Pattern with {n}.")
@click.option("--password", envvar="CHARGERS_SIM_PASSWORD", help="One for all; may contain {n}.")
@click.option(
    "--ocpp",
    default="1.6",
    show_default=True,
    help="One version, or several with commas, taken in turn.",
)
@tls_options
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=60,
    show_default=True,
    help="How long it runs.",
)
@click.option(
    "--ramp",
    type=click.FloatRange(0),
    default=10,
    show_default=True,
    help="To connect all; at most half the time.",
)
@click.option(
    "--charging",
    type=click.FloatRange(0, 1),
    default=0.3,
    show_default=True,
    help="Share charging.",
)
@click.option(
    "--duration",
    type=click.FloatRange(0, min_open=True),
    default=1800,
    show_default=True,
    help="Mean, seconds.",
)
@click.option(
    "--sample", type=click.IntRange(0), default=60, show_default=True, help="MeterValues, seconds."
)
@click.option("--tags", default="TAG{n:05d}", show_default=True, help="Pattern of tokens.")
@click.option(
    "--speed",
    type=click.FloatRange(0, min_open=True),
    default=1,
    show_default=True,
    help="Run the clocks faster.",
)
@click.option(
    "--blackout", type=click.FloatRange(0), help="After so many seconds all lines drop at once."
)
@click.option(
    "--dark",
    type=click.FloatRange(0),
    default=5,
    show_default=True,
    help="Seconds of the blackout.",
)
@click.option("--seed", default="0", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The summary as one JSON object.")
def fleet(**options: Any) -> int:
    """Many stations in one process, with seeded arrivals, durations and tokens."""
    from chargers_sim.fleet import Plan, drive  # noqa: PLC0415 - `--help` stays quick

    tls = read_tls(options)
    for name in ("ca", "certificate", "key", "insecure"):
        del options[name]
    plan = Plan(**options, tls=tls)
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415 - not on every platform

        return uvloop.run(drive(plan))
    return asyncio.run(drive(plan))
