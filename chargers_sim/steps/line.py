"""Steps at the line: cut it, bend it, send anything over it."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from chargers_sim.line import mute_pongs
from chargers_sim.live import Station
from chargers_sim.steps.book import step


@step
async def cut(station: Station) -> None:
    """Tear the line down and keep it down."""
    await station.cut()


@step
async def reconnect(station: Station, *, timeout: Decimal = Decimal(30)) -> None:
    """Let the line come up again and replay what waits."""
    await station.reconnect(timeout=float(timeout))


@step
async def call(
    station: Station, *, action: str, payload: dict[str, Any] | None = None, checked: bool = True
) -> dict[str, Any]:
    """Send any CALL and give its answer."""
    return await station.call(action, payload or {}, checked=checked)


@step
async def raw(station: Station, *, text: str) -> None:
    """Send any text as a frame."""
    await station.raw(text)


@step
async def cut_after(
    station: Station, *, action: str, times: int = 1, seconds: Decimal = Decimal("0.05")
) -> None:
    """Cut the line after the next such message left, its answer unread."""
    station.add_fault("cut-after-send", action=action, times=times, seconds=float(seconds))


@step
async def fault_rule(
    station: Station,
    *,
    kind: str,
    action: str | None = None,
    direction: str = "out",
    times: int | None = None,
    seconds: Decimal = Decimal(0),
    copies: int = 1,
    chance: Decimal = Decimal(1),
    payload: dict[str, Any] | None = None,
) -> None:
    """Put a fault in force on the line: drop, delay, repeat, corrupt, cut-after-send, ..."""
    station.add_fault(
        kind,
        action=action,
        direction=direction,
        times=times,
        seconds=float(seconds),
        copies=copies,
        chance=float(chance),
        payload=payload or {},
    )


@step
async def second_socket(station: Station, *, seconds: Decimal = Decimal("0.3")) -> None:
    """Connect anew while the old socket stays open for that long."""
    await station.link.abandon(close_after=float(seconds))
    await station.online()


@step
async def no_pong(station: Station) -> None:
    """Answer no ping on this connection any more."""
    if station.line is not None:
        mute_pongs(station.line.connection)


@step
async def deaf(station: Station) -> None:
    """Read nothing any more and believe to be connected."""
    await station.link.go_deaf()


@step
async def offer(station: Station, *, subprotocols: str) -> None:
    """Connect again offering these subprotocols, with commas: ocpp0.1 or ocpp2.0.1,ocpp1.6."""
    offered = tuple(s.strip() for s in subprotocols.split(",") if s.strip())
    station.address = replace(station.address, subprotocols=offered)
    await station.link.hang_up()


@step
async def end_faults(station: Station) -> None:
    """End all faults of the line."""
    station.faults.clear()
