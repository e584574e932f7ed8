"""The TLS options that every command which connects to a central system has."""

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from chargers_sim.certificates import tls_context
from chargers_sim.errors import BadInput

Command = TypeVar("Command", bound=Callable[..., Any])
OPTIONS = (
    click.option("--ca", type=click.Path(path_type=Path), help="CA of the server (wss://)."),
    click.option("--certificate", type=click.Path(path_type=Path), help="Own, security profile 3."),
    click.option("--key", type=click.Path(path_type=Path), help="Key of --certificate."),
    click.option("--insecure", is_flag=True, help="Do not check the server's certificate."),
)


def tls_options(command: Command) -> Command:
    """Add --ca, --certificate, --key and --insecure to a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def check_place(option: str, url: str) -> None:
    """Make sure that an address names a host, and a port only if there can be one."""
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise BadInput(f"{option}: not an address with host and port: {url!r}")


def check_http(option: str, url: str) -> None:
    """Make sure that an address is one of HTTP."""
    if not url.startswith(("http://", "https://")):
        raise BadInput(f"{option}: must start with http:// or https://, not {url!r}")
    check_place(option, url)


def read_tls(options: Mapping[str, Any]) -> ssl.SSLContext | None:
    """Make the context of a wss:// address, None for ws://; raises BadInput naming the option."""
    url = options["url"]
    if not url.startswith(("ws://", "wss://")):
        raise BadInput(f"--url: must start with ws:// or wss://, not {url!r}")
    check_place("--url", url)
    given = [name for name in ("ca", "certificate", "key", "insecure") if options[name]]
    if url.startswith("ws://"):
        if given:
            raise BadInput(f"--{given[0]}: only for wss://, and --url is {url}")
        return None
    if options["key"] and not options["certificate"]:
        raise BadInput("--key: belongs to --certificate, which is missing")
    return tls_context(
        ca=options["ca"],
        certificate=options["certificate"],
        key=options["key"],
        insecure=options["insecure"],
    )
