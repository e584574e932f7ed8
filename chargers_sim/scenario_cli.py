"""`chargers-sim scenario`: run scenarios against a server, the exit code is the verdict."""

import asyncio
import json
from pathlib import Path
from typing import Any

import click

from chargers_sim.clock import VirtualClock
from chargers_sim.ends import EmspEnd, EndFailed, OperatorEnd
from chargers_sim.errors import BadInput
from chargers_sim.files import check_writable
from chargers_sim.live import Station
from chargers_sim.recording import Trace
from chargers_sim.report import junit, markdown, word
from chargers_sim.runner import Runner, StepResult, Verdict
from chargers_sim.scenario import Scenario, load, shipped
from chargers_sim.template import load_template
from chargers_sim.tls_cli import check_http, read_tls, tls_options


@click.command()
@click.argument("files", nargs=-1)
@click.option("--url", help="Address without the identity: ws://HOST:9000/ocpp")
@click.option("--identity", default="SIM1", show_default=True, help="May contain {ocpp}.")
@click.option("--password", envvar="CHARGERS_SIM_PASSWORD")
@tls_options
@click.option("--ocpp", help="Only this version; else all that the scenario names.")
@click.option("--tag", default="TAG1", show_default=True, help="A token the server accepts.")
@click.option("--var", "variables", multiple=True, help="NAME=VALUE for the scenario.")
@click.option("--emsp", help="Address of the eMSP double, to look at and to send commands from.")
@click.option("--operator", help="Address of the operator API, to let the server send CALLs.")
@click.option("--operator-key", envvar="CHARGERS_SIM_OPERATOR_KEY")
@click.option("--junit", "junit_file", type=click.Path(path_type=Path), help="Write JUnit XML.")
@click.option("--markdown", "markdown_file", type=click.Path(path_type=Path))
@click.option("--trace", type=click.Path(path_type=Path), help="Write all frames as JSONL.")
@click.option(
    "--patience",
    type=click.FloatRange(0, min_open=True),
    default=5.0,
    show_default=True,
    help="Seconds for an expectation.",
)
@click.option("--list", "listing", is_flag=True, help="List the shipped scenarios.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per verdict.")
def scenario(files: tuple[str, ...], **options: Any) -> int:
    """Run scenarios: FILE.toml, or shipped ones by name.

    Exits 0 when all passed, 1 when one failed, 2 when a file or option is wrong or the
    server does not let the station in.
    """
    if options["listing"]:
        for name, path in shipped().items():
            click.echo(f"{name:<28} {load(str(path)).name}")
        return 0
    if not files:
        raise click.UsageError("name a FILE.toml or a shipped scenario; --list shows them")
    if not options["url"]:
        raise click.UsageError("--url is needed")
    options["tls"] = read_tls(options)
    read_variables(options["variables"])
    for name in ("emsp", "operator"):
        if options[name]:
            check_http(f"--{name}", options[name])
    check_writable("--junit", options["junit_file"])
    check_writable("--markdown", options["markdown_file"])
    scenarios = [load(name) for given in files for name in _expanded(given)]
    version = options["ocpp"]
    if version is not None and not any(version in s.versions for s in scenarios):
        raise BadInput(f"--ocpp: none of these scenarios is for {version!r}")
    verdicts = asyncio.run(_all(scenarios, options))
    if options["junit_file"]:
        options["junit_file"].write_text(junit(verdicts))
    if options["markdown_file"]:
        options["markdown_file"].write_text(markdown(verdicts))
    if any(v.problem is not None and not v.results for v in verdicts):
        # Nothing was tried: the server is not there, or does not let the station in.
        return 2
    return 0 if all(v.passed for v in verdicts) else 1


def read_variables(given: tuple[str, ...]) -> dict[str, Any]:
    """Read NAME=VALUE pairs."""
    variables: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals:
            raise BadInput(f"--var: {pair!r} is not NAME=VALUE")
        variables[name] = value
    return variables


def _expanded(name: str) -> list[str]:
    """A shipped name, a file, or the common beginning of several: commissioning."""
    known = shipped()
    if name in known or Path(name).exists():
        return [name]
    return [n for n in known if n.startswith(f"{name}-")] or [name]


async def _all(scenarios: list[Scenario], o: dict[str, Any]) -> list[Verdict]:
    verdicts: list[Verdict] = []
    await _look_at_ends(o)
    trace = None if o["trace"] is None else Trace.write_to(o["trace"])
    try:
        for each in scenarios:
            versions = [v for v in each.versions if o["ocpp"] in {None, v}]
            for version in versions:
                verdict = await _run(each, version, o, trace)
                verdicts.append(verdict)
                _show(verdict, as_json=o["as_json"])
                if verdict.problem is not None and not verdict.results:
                    # Nobody is there, or nobody lets the station in: the next would fare no better.
                    return verdicts
    finally:
        if trace is not None:
            trace.close()
    return verdicts


async def _look_at_ends(o: dict[str, Any]) -> None:
    """Make sure that the other ends are there before anything runs."""
    ends = [
        ("emsp", EmspEnd(o["emsp"]) if o["emsp"] else None, "/double/state"),
        (
            "operator",
            OperatorEnd(o["operator"], o["operator_key"]) if o["operator"] else None,
            "/api/v1/stations?limit=1",
        ),
    ]
    for name, end, path in ends:
        if end is not None:
            try:
                await end.ask("GET", path, timeout=20)
            except EndFailed as problem:
                raise BadInput(f"--{name}: {problem}") from problem


def station_for(
    scenario: Scenario, version: str, o: dict[str, Any], trace: Trace | None = None
) -> Station:
    """Make the station a scenario asks for."""
    asked = scenario.station
    identity = o["identity"].replace("{ocpp}", version)
    return Station(
        o["url"],
        identity,
        ocpp=version,
        password=o["password"],
        tls=o.get("tls"),
        ca=o.get("ca"),
        clock=VirtualClock(ends_in=scenario.seconds()),
        template=load_template(asked["template"]) if "template" in asked else None,
        connectors=asked.get("connectors", 1),
        quirks=asked.get("quirks", ()),
        resend=asked.get("resend", "same"),
        retry_seconds=asked.get("retry_seconds", 0.2),
        message_timeout=asked.get("message_timeout", 10),
        reconnect=(0.1, 1),
        connect_timeout=o["patience"] * 2,
        on_frame=None if trace is None else trace.recorder(identity, version),
    )


async def _run(scenario: Scenario, version: str, o: dict[str, Any], trace: Trace | None) -> Verdict:
    def tell(result: StepResult) -> None:
        if not o["as_json"]:
            mark = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}[result.outcome]
            detail = f": {result.detail}" if result.detail else ""
            click.echo(f"  {mark} {result.step.number:2} {result.title}{detail}")

    if not o["as_json"]:
        click.echo(f"{scenario.name} [{version}]")
    runner = Runner(
        scenario,
        station_for(scenario, version, o, trace),
        emsp=EmspEnd(o["emsp"]) if o["emsp"] else None,
        operator=OperatorEnd(o["operator"], o["operator_key"]) if o["operator"] else None,
        variables={"tag": o["tag"], **read_variables(o["variables"])},
        tell=tell,
        patience=o["patience"],
    )
    return await runner.run()


def _show(verdict: Verdict, *, as_json: bool) -> None:
    if as_json:
        failed = [r for r in verdict.results if r.outcome == "failed"]
        said = {
            "scenario": verdict.scenario.name,
            "ocpp": verdict.version,
            "passed": verdict.passed,
            "steps": len(verdict.results),
            "skipped": verdict.skipped,
            "seconds": round(verdict.seconds, 3),
            "problem": verdict.problem or (failed[0].detail if failed else None),
        }
        click.echo(json.dumps(said))
        return
    problem = f": {verdict.problem}" if verdict.problem else ""
    click.echo(f"{word(verdict)}{problem} ({verdict.seconds:.2f} s)")
