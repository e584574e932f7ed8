"""`chargers-sim`: the commands; each is loaded when it is called."""

import importlib
import os
import signal
import sys
from typing import Any, TextIO

import click

COMMANDS = {
    "run": ("chargers_sim.run_cli:run", "One station: scripted, one charge, or by hand."),
    "fleet": ("chargers_sim.fleet_cli:fleet", "Many stations in one process."),
    "scenario": ("chargers_sim.scenario_cli:scenario", "Steps and expectations; a verdict."),
    "send": ("chargers_sim.send_cli:send", "Tell a station started with --control what to do."),
    "tui": ("chargers_sim.tui_cli:tui", "A technician's screen."),
    "replay": ("chargers_sim.replay_cli:replay", "Send a recorded trace to a server again."),
    "show": ("chargers_sim.show_cli:show", "List templates, quirks, steps, faults, scenarios."),
    "contract": ("chargers_sim.contract_cli:contract", "Contract certificates for test cars."),
    "emsp": ("chargers_sim.emsp_cli:emsp", "An eMSP double for OCPI 2.1.1, 2.2.1 and 2.3.0."),
}


class Lazy(click.Group):
    """A group that imports a command only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command; for the overview its one line is enough."""
        if cmd_name not in COMMANDS:
            return None
        where, does = COMMANDS[cmd_name]
        if ctx.resilient_parsing or ctx.obj == "overview":
            return click.Command(cmd_name, short_help=does)
        module, _, name = where.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the overview without loading anything."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, does) for name, (_, does) in COMMANDS.items()])


@click.command(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option("0.1.0", prog_name="chargers-sim")
def group() -> None:
    """Simulated charge points (OCPP 1.6, 2.0.1, 2.1) and an eMSP double (OCPI)."""


class Told:
    """An output whose reader may go away, as `| head` does: then the command ends as by Ctrl-C."""

    def __init__(self, stream: TextIO, other: "Told | None" = None) -> None:
        self.gone = False
        self._stream = stream
        self._other = other

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or nothing if nobody reads, here or at the other output."""
        if self.gone or (self._other is not None and self._other.gone):
            return len(text)
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._leave()
            return len(text)

    def flush(self) -> None:
        """Hand over what was written, if somebody reads."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._leave()

    def _leave(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        if not self.gone:
            self.gone = True
            signal.raise_signal(signal.SIGINT)


# What a shell says of a command that its reader has left (128 + SIGPIPE).
LEFT_BY_READER = 141


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: 0 done, 1 failed, 2 wrong input; never a traceback."""
    before = sys.stdout, sys.stderr
    sys.stdout = out = Told(sys.stdout)
    sys.stderr = err = Told(sys.stderr, out)
    try:
        code = _run(arguments)
        out.flush()
        err.flush()
    except KeyboardInterrupt:
        code = 130
    finally:
        sys.stdout, sys.stderr = before
    sys.exit(LEFT_BY_READER if out.gone or err.gone else code)


def _run(arguments: list[str] | None) -> int:
    try:
        result: Any = group.main(args=arguments, prog_name="chargers-sim", standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except click.ClickException as problem:
        click.echo(_usage(problem), err=True)
        return 2
    except KeyboardInterrupt:
        return 130
    except Exception as problem:  # noqa: BLE001 - the last line of defence: one line, no traceback
        click.echo(f"chargers-sim: {_line(problem)}", err=True)
        return 2 if type(problem).__name__ in {"BadInput", "Unreachable"} else 1
    return result if isinstance(result, int) else 0


def _usage(problem: click.ClickException) -> str:
    """Say in one line what is wrong with the command line, and where the help is."""
    context = getattr(problem, "ctx", None)
    command = "chargers-sim" if context is None else context.command_path
    said = " ".join(problem.format_message().split())
    return f"{command}: {said} ({command} --help)"


def _line(problem: BaseException) -> str:
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    first = (str(problem) or type(problem).__name__).splitlines()[0]
    home = type(problem).__module__
    return first if home.startswith("chargers_sim") else f"{type(problem).__name__}: {first}"
