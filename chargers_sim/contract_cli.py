"""`chargers-sim contract`: certificates of cars for Plug and Charge, and who vouches for them."""

import asyncio
import signal
from pathlib import Path

import click
from aiohttp import web

from chargers_sim.contract import Folder
from chargers_sim.errors import BadInput


@click.command()
@click.argument("emaids", metavar="EMAID...", nargs=-1)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("contracts"),
    show_default=True,
    help="Where roots, contracts and keys are kept.",
)
@click.option("--days", type=click.FloatRange(-1), default=365, show_default=True)
@click.option("--revoke", is_flag=True, help="Call these contracts revoked from now on.")
@click.option("--restore", is_flag=True, help="Call them good again.")
@click.option(
    "--ocsp", type=click.IntRange(0, 65535), help="Answer OCSP requests on this port; 0 picks."
)
def contract(
    emaids: tuple[str, ...], folder: Path, days: float, ocsp: int | None, **fate: bool
) -> int:
    """Make contract certificates for test cars, and answer for them as an OCSP responder.

    `roots.pem` is for the server, EMAID.pem for `plug-and-charge contract=EMAID.pem`.
    """
    if not emaids and ocsp is None:
        raise click.UsageError("name an EMAID, or --ocsp PORT")
    kept = Folder(folder)
    click.echo(f"roots {kept.roots}")
    for emaid in emaids:
        click.echo(f"contract {kept.contract(emaid, days=days)}")
        if fate["revoke"] or fate["restore"]:
            kept.revoke(emaid, revoked=fate["revoke"])
    if ocsp is not None:
        asyncio.run(_answer(kept, ocsp))
    return 0


async def _answer(folder: Folder, port: int) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    runner = web.AppRunner(responder(folder), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        click.echo(f"ocsp http://127.0.0.1:{runner.addresses[0][1]}/")
        await stop.wait()
    except OSError as problem:
        raise BadInput(f"--ocsp: port {port}: {problem.strerror}") from problem
    finally:
        await runner.cleanup()


def responder(folder: Folder) -> web.Application:
    """Make the HTTP side of the OCSP responder (RFC 6960, appendix A.1: POST)."""

    async def answer(request: web.Request) -> web.Response:
        try:
            body = folder.respond(await request.read())
        except ValueError as problem:
            raise web.HTTPBadRequest(text=f"not an OCSP request: {problem}\n") from problem
        return web.Response(body=body, content_type="application/ocsp-response")

    app = web.Application()
    app.router.add_post("/", answer)
    return app
