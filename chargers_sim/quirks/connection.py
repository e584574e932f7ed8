"""Deviations of the connection: handshake, sockets, pings, silence."""

# ruff: noqa: D102 - each method is a hook that `Deviation` describes

from dataclasses import replace
from typing import TYPE_CHECKING

from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame, Opcode

from chargers_sim.deviation import Deviation
from chargers_sim.line import Address, mute_pongs
from chargers_sim.outbox import Payload
from chargers_sim.quirks.catalogue import quirk

if TYPE_CHECKING:
    from chargers_sim.live import Station


@quirk(1, "no-subprotocol")
class NoSubprotocol(Deviation):
    """Offers no Sec-WebSocket-Protocol at all."""

    def address(self, address: Address) -> Address:
        return replace(address, subprotocols=())


@quirk(2, "no-connection-upgrade")
class NoConnectionUpgrade(Deviation):
    """Sends the handshake without `Connection: Upgrade`."""

    def address(self, address: Address) -> Address:
        return replace(address, drop_headers=("Connection",))


@quirk(3, "odd-url")
class OddUrl(Deviation):
    """Writes the address with the identity twice, a double slash or a slash at the end."""

    _tries = 0

    def address(self, address: Address) -> Address:
        self._tries += 1
        base, name = address.url.rstrip("/"), address.identity
        forms = (
            f"{base}//{name}",
            f"{base}/{name}/",
            f"{base}/{name}?x=1",
            f"{base}/{name}/{name}",
            f"{base}/{name}",
        )
        form = forms[(self._tries - 1) % len(forms)]
        return replace(address, url=form, append_identity=False)


@quirk(4, "second-socket")
class SecondSocket(Deviation):
    """Opens a new connection while the old one is open, and closes the old one later."""

    def online(self, station: "Station", times: int) -> None:
        if times == 1:
            station.later(station.link.abandon(close_after=0.3))


@quirk(5, "no-return-after-close")
class NoReturnAfterClose(Deviation):
    """Never connects again after a clean close by the server."""

    def comes_back(self, *, clean: bool) -> bool:
        return not clean


@quirk(6, "half-open")
class HalfOpen(Deviation):
    """Believes it is connected while nothing arrives: reads nothing, answers no ping."""

    def online(self, station: "Station", times: int) -> None:
        if times == 1:
            station.later(station.link.go_deaf())


@quirk(7, "no-pong")
class NoPong(Deviation):
    """Answers no ping, ever, and heartbeats happily."""

    def connection(self, connection: ClientConnection) -> None:
        mute_pongs(connection)


@quirk(8, "heartbeat-only")
class HeartbeatOnly(Deviation):
    """Is silent but for the heartbeat at exactly its interval: no pings of its own."""

    def address(self, address: Address) -> Address:
        return replace(address, ping_seconds=None)


@quirk(9, "compressed-frame")
class CompressedFrame(Deviation):
    """Sends a frame marked as compressed although nothing was negotiated."""

    def online(self, station: "Station", times: int) -> None:
        if times == 1 and station.line is not None:
            frame = bytearray(Frame(Opcode.TEXT, b"\xaa\x56\x4a\x2d").serialize(mask=True))
            frame[0] |= 0x40
            station.line.write_bytes(bytes(frame))


@quirk(10, "deaf-to-calls")
class DeafToCalls(Deviation):
    """Heartbeats fine but leaves every CALL unanswered until it reconnects."""

    _online = 0

    def online(self, station: "Station", times: int) -> None:
        del station
        self._online = times

    def call(self, station: "Station", action: str, payload: Payload) -> bool:
        del station, action, payload
        return self._online > 1
