"""The commands of `cpo`. Whatever imports the server is imported when a command runs."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cpo import __version__, errors
from cpo.cli import nouns
from cpo.cli.client import quoted
from cpo.cli.output import FAILED, exit_code, print_list, print_object

if TYPE_CHECKING:
    from cpo.config import Loaded

FILE = click.Path(dir_okay=False, path_type=Path)

config_option = click.option(
    "--config", type=FILE, envvar="CPO_CONFIG", help="Settings file [default: ./config.toml]."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Commands(click.Group):
    """A group that turns our errors into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except errors.CpoError as error:
            click.echo(f"cpo: {error}", err=True)
            ctx.exit(exit_code(error))


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="cpo %(version)s")
def main() -> None:
    """A CPO backend that bridges OCPP charge points to OCPI partners.

    Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 refused.
    """


def settings_from(config: Path | None, overrides: tuple[str, ...] = ()) -> "Loaded":
    """Read the settings, with `key=value` texts of the command line on top."""
    from cpo.config import load  # noqa: PLC0415 - keeps the help quick

    given: dict[str, str] = {}
    for text in overrides:
        key, separator, value = text.partition("=")
        if not separator:
            raise click.UsageError(f"{text!r} is not KEY=VALUE")
        given[key.strip()] = value
    default = Path("config.toml")
    file = config or (default if default.is_file() else None)
    return load(file, overrides=given)


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run something asynchronous on the fastest loop there is."""
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if sys.platform != "win32":
        import uvloop  # noqa: PLC0415 - keeps the help quick

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(work())


@main.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    short_help="Run the server until SIGTERM.",
)
@config_option
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set one setting.")
@json_option
@click.pass_context
def serve(ctx: click.Context, config: Path | None, sets: tuple[str, ...], *, as_json: bool) -> None:
    """Run the server until SIGTERM.

    Prints where it listens and then a line that is exactly `ready`; with --json one object that
    says both. Logs go to standard error. `--ocpp.port 9001` is short for `--set ocpp.port=9001`.
    """
    overrides = (*sets, *_dotted_options(ctx.args))
    loaded = settings_from(config, overrides)
    # structlog would load `rich` for coloured tracebacks: 3 MiB that a server has no use for.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    from cpo import app  # noqa: PLC0415 - imports the server

    def announce(listening: dict[str, str], operator_key: str | None = None) -> None:
        if as_json:
            said = {"listening": listening, "operator_key": operator_key, "ready": True}
            print_object(said, as_json=True)
        else:
            if operator_key:
                click.echo(f"operator key: {operator_key}")
            for name, url in listening.items():
                click.echo(f"listening {name} {url}")
            click.echo("ready")
        sys.stdout.flush()

    try:
        run(lambda: app.serve(loaded.settings, announce=announce))
    except OSError as error:
        # A port that is taken, a host that is not ours, a certificate that cannot be read.
        click.echo(f"cpo: {error}", err=True)
        sys.exit(FAILED)


def _dotted_options(args: list[str]) -> tuple[str, ...]:
    found: list[str] = []
    rest = list(args)
    while rest:
        option = rest.pop(0)
        if not option.startswith("--") or "." not in option:
            raise click.UsageError(f"No such option or argument: {option}")
        if "=" not in option:
            if not rest:
                raise click.UsageError(f"Option {option} requires a value.")
            option += "=" + rest.pop(0)
        found.append(option.removeprefix("--"))
    return tuple(found)


@main.command("check-config")
@click.argument("file", required=False, type=FILE)
@config_option
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set one setting.")
@json_option
def check_config(
    file: Path | None, config: Path | None, sets: tuple[str, ...], *, as_json: bool
) -> None:
    """Show the effective settings and where each came from; secrets are masked."""
    effective = settings_from(file or config, sets).effective()
    if as_json:
        print_object({row.pop("key"): row for row in effective}, as_json=True)
    else:
        rows = [row | {"value": json.dumps(row["value"])} for row in effective]
        print_list(rows, ["key", "value", "source"], as_json=False)


@main.command()
@config_option
@nouns.api_options
@json_option
def health(config: Path | None, url: str | None, key_file: Path | None, *, as_json: bool) -> None:
    """Ask a running server whether it is ready; exit 1 when it is not."""
    api = nouns.operator_api(config, url, key_file, timeout=5)
    try:
        answer = api.get("/health/ready")
    except errors.CpoError as error:
        if as_json:
            print_object({"ready": False, "detail": str(error)}, as_json=True)
        else:
            click.echo(f"cpo: not ready: {error}", err=True)
        sys.exit(FAILED)
    print_object(answer, as_json=as_json)


@main.command()
@click.option("--station", help="With the last 200 messages of this station.")
@config_option
@nouns.api_options
@json_option
def dump(
    station: str | None,
    config: Path | None,
    url: str | None,
    key_file: Path | None,
    *,
    as_json: bool,
) -> None:
    """Print what a bug report needs: version, settings, stations, partners, what waits.

    Secrets are masked, tokens of drivers may stand in messages: read before you send it.
    """
    api = nouns.operator_api(config, url, key_file)
    told: dict[str, Any] = {
        "version": __version__,
        "python": sys.version.split()[0],
        "settings": {row.pop("key"): row for row in settings_from(config).effective()},
        "ready": api.get("/health/live"),
        "stations": list(api.pages(f"{nouns.API}/stations", most=1000)),
        "partners": list(api.pages(f"{nouns.API}/partners")),
        "outbox": list(api.pages(f"{nouns.API}/outbox", most=1000)),
        "orphans": list(api.pages(f"{nouns.API}/orphans", most=100)),
    }
    if station is not None:
        path = f"{nouns.API}/stations/{quoted(station)}/messages"
        told["messages"] = list(api.pages(path, most=200))
    print_object(told, as_json=as_json)


@main.command()
@click.argument("direction", type=click.Choice(["up", "down", "status"]))
@click.option("--revision", help="Go to this revision [default: up to the newest, down by one].")
@config_option
@json_option
def migrate(direction: str, revision: str | None, config: Path | None, *, as_json: bool) -> None:
    """Bring the database to the newest schema, back, or say where it is."""
    url = settings_from(config).settings.database.url
    from cpo.db import maintenance  # noqa: PLC0415 - imports SQLAlchemy

    match direction:
        case "up":
            maintenance.upgrade(url, revision or "head")
        case "down":
            maintenance.downgrade(url, revision or "-1")
    print_object(maintenance.status(url), as_json=as_json)


@main.command()
@click.argument("file", type=FILE)
@config_option
@json_option
def backup(file: Path, config: Path | None, *, as_json: bool) -> None:
    """Write a consistent copy of the SQLite database to FILE; the server may run meanwhile."""
    settings = settings_from(config).settings
    from cpo.db import maintenance  # noqa: PLC0415 - imports SQLAlchemy

    maintenance.backup(settings.database.url, file)
    print_object({"backup": str(file), "bytes": file.stat().st_size}, as_json=as_json)


@main.command()
@click.argument("file", type=FILE)
@config_option
@click.option("--discard", is_flag=True, help="Delete the present database.")
@json_option
def restore(file: Path, config: Path | None, *, discard: bool, as_json: bool) -> None:
    """Put a backup in the place of the SQLite database; the server must not run.

    The present database stays beside it as NAME.before-restore, unless --discard says otherwise.
    """
    settings = settings_from(config).settings
    from cpo.db import maintenance  # noqa: PLC0415 - imports SQLAlchemy

    if not file.is_file():
        raise errors.NotFound("backup", str(file))
    maintenance.restore(settings.database.url, file, overwrite=discard)
    print_object({"restored": str(file)}, as_json=as_json)


@main.command()
@click.argument("cases", nargs=-1, required=True, type=FILE, metavar="CASE.json...")
@json_option
def price(cases: tuple[Path, ...], *, as_json: bool) -> None:  # noqa: ARG001 - JSON is its only form
    """Price sessions by OCPI tariffs: one line of JSON for each case, no server needed."""
    from cpo.services import price_cases  # noqa: PLC0415 - keeps the help quick

    outcome = price_cases.run([str(case) for case in cases])
    for line in outcome.lines:
        click.echo(line)
    for error in outcome.errors:
        click.echo(f"cpo: {error}", err=True)
    sys.exit(outcome.exit_code)


@main.command()
@click.option("--once", is_flag=True, help="Play one charge for each OCPP version, then end.")
@json_option
def demo(*, once: bool, as_json: bool) -> None:
    """Run the CPO with simulated chargers and an eMSP double, over real sockets.

    Runs until Ctrl-C, or with --once until the eMSP has the CDR of one charge for each OCPP
    version; --json then prints one object whose `cdrs` are those the eMSP received.
    """
    from cpo.cli import demo as stage  # noqa: PLC0415 - keeps the help quick

    if as_json and not once:
        raise click.UsageError("--json needs --once: without it the demo never ends")
    stage.run(only_once=once, as_json=as_json)


nouns.add_to(main)
