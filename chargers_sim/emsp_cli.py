"""`chargers-sim emsp`: run the eMSP double until it is told to stop."""

import asyncio
import signal
import ssl
import sys
from typing import Any

import click

from chargers_sim.emsp import CallFailed, Dialect, Emsp, exact
from chargers_sim.emsp.dialect import BadDialect
from chargers_sim.emsp.editions import EDITIONS
from chargers_sim.errors import BadInput


class Party(click.ParamType[tuple[str, str]]):
    """COUNTRY/PARTY, such as NL/MSP."""

    name = "CC/PID"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Read one party."""
        if isinstance(value, tuple):
            return value[0], value[1]
        country, _, party = str(value).partition("/")
        if len(country) != 2 or len(party) != 3:
            self.fail(f"{value!r} is not like NL/MSP", param, ctx)
        return country, party


@click.command(name="emsp")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Port to listen on; 0 picks a free one.",
)
@click.option("--public-url", help="How the CPO reaches the double, when not by host and port.")
@click.option(
    "--tls",
    type=(click.Path(exists=True), click.Path(exists=True)),
    metavar="CERTIFICATE KEY",
    help="Serve https with these PEM files.",
)
@click.option("--party", "parties", type=Party(), multiple=True, help="A party of ours [NL/MSP].")
@click.option("--hub", type=Party(), help="Be a hub with this country and party.")
@click.option(
    "--ocpi",
    "versions",
    type=click.Choice(list(EDITIONS)),
    multiple=True,
    help="A version to offer; all when absent.",
)
@click.option("--token-a-for-me", help="The token a CPO is to register with; else made up.")
@click.option("--versions-url", help="Register with the CPO whose versions are here.")
@click.option("--token-a", help="The token that CPO handed out.")
@click.option("--pull", is_flag=True, help="After registering, pull all lists of the CPO.")
@click.option(
    "--dialect",
    "dialects",
    multiple=True,
    metavar="NAME=VALUE",
    help="Deviate from the book: token_coding=raw, trailing_slash=true, ...",
)
@click.option(
    "--tokens", default=0, show_default=True, help="How many generated tokens to have besides."
)
@click.option("--keep", type=int, help="How many exchanges to keep in the journal [all].")
@click.option("--seed", default=0, show_default=True, help="Of faults that strike by chance.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
def emsp(
    versions_url: str | None,
    token_a: str | None,
    pull: bool,
    as_json: bool,
    dialects: tuple[str, ...],
    **options: Any,
) -> None:
    """Run an eMSP double: it is registered with, or registers, and keeps what it gets.

    It is looked into and driven over HTTP below /double.
    """
    if (versions_url is None) is not (token_a is None):
        raise click.UsageError("--versions-url and --token-a belong together")
    try:
        dialect = Dialect.read(dict(_named_value(text) for text in dialects))
    except BadDialect as error:
        raise click.UsageError(str(error)) from error
    double = Emsp(
        host=options["host"],
        port=options["port"],
        public_url=options["public_url"],
        tls=_tls(options["tls"]),
        parties=options["parties"] or None,
        hub=options["hub"],
        versions=options["versions"] or tuple(EDITIONS),
        token_a=options["token_a_for_me"],
        dialect=dialect,
        generated_tokens=options["tokens"],
        keep=options["keep"],
        seed=options["seed"],
    )
    target = (versions_url, token_a) if versions_url and token_a else None
    try:
        asyncio.run(_run(double, target, pull=pull, as_json=as_json))
    except OSError as error:
        place = f"{options['host']} port {options['port']}"
        raise BadInput(f"--port: cannot listen on {place}: {error.strerror}") from error
    except CallFailed as error:
        click.echo(f"emsp: {error}", err=True)
        sys.exit(1)


def _tls(files: tuple[str, str] | None) -> ssl.SSLContext | None:
    if files is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(*files)
    except (OSError, ssl.SSLError) as error:
        raise click.UsageError(f"--tls: {' '.join(files)}: {error}") from error
    return context


def _named_value(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


async def _run(double: Emsp, target: tuple[str, str] | None, *, pull: bool, as_json: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    async with double:
        if not as_json:
            click.echo(f"listening emsp {double.url}")
            click.echo(f"versions {double.versions_url}")
            click.echo(f"token-a {double.token_a}")
        if target is not None:
            peer = await double.register(*target)
            if pull:
                await double.pull()
            if not as_json:
                version = peer.edition.version if peer.edition else "-"
                click.echo(f"registered {version} {'/'.join(peer.party)}")
        if as_json:
            facts = {
                "listening": double.url,
                "versions_url": double.versions_url,
                "token_a": double.token_a,
                "peers": [peer.as_json() for peer in double.peers if peer.registered],
            }
            click.echo(exact.dumps(facts).decode())
        else:
            click.echo("ready")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    emsp()
