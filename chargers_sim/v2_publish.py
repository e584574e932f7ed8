"""A local controller of OCPP 2.x: fetches firmware once and hands it to the stations around it.

What is published is really served over HTTP, from the address by which the station reaches its
server, until it is unpublished or the station is closed (use cases L03 and L04).
"""

import hashlib
from typing import TYPE_CHECKING

from aiohttp import web

from chargers_sim.outbox import Outgoing, Payload
from chargers_sim.peer import Handler

if TYPE_CHECKING:
    from chargers_sim.live import Station


class Publisher:
    """The firmware files a local controller offers, by their MD5 checksum."""

    def __init__(self, station: "Station") -> None:
        self._station = station
        self.files: dict[str, bytes] = {}
        self.status = "Idle"
        self._fetching: set[str] = set()
        self._request: int | None = None
        self._url: str | None = None
        self.handlers: dict[str, Handler] = {
            "PublishFirmware": self._publish,
            "UnpublishFirmware": self._unpublish,
        }

    def present(self) -> Outgoing:
        """Tell once more how far the last publication is."""
        return self._told(self.status, None)

    def _publish(self, request: Payload) -> Payload:
        self._request = request["requestId"]
        self._fetching.add(request["checksum"].casefold())
        self._station.later(self._run(request))
        return self._station.answer("PublishFirmware", request, "Accepted")

    def _unpublish(self, request: Payload) -> Payload:
        checksum = request["checksum"].casefold()
        if checksum in self._fetching:
            status = "DownloadOngoing"
        else:
            status = "NoFirmware" if self.files.pop(checksum, None) is None else "Unpublished"
        return self._station.answer("UnpublishFirmware", request, status)

    async def _run(self, request: Payload) -> None:
        checksum = request["checksum"].casefold()
        try:
            status, places = await self._steps_of(request, checksum)
        finally:
            self._fetching.discard(checksum)
        self._tell(status, places)
        self._station.emit("firmware_published", status=status, location=places)

    async def _steps_of(self, request: Payload, checksum: str) -> tuple[str, list[str]]:
        """Fetch, check, serve; the answer is the status that ends it and where the file is."""
        self._tell("Downloading")
        image = await self._station.maintenance.fetch(
            request["location"], request.get("retries", 0), request.get("retryInterval", 0)
        )
        if image is None:
            return "DownloadFailed", []
        self._tell("Downloaded")
        # The protocol says MD5: it guards against broken files, not against an attacker.
        if hashlib.md5(image, usedforsecurity=False).hexdigest() != checksum:
            return "InvalidChecksum", []
        self._tell("ChecksumVerified")
        try:
            url = await self._serve()
        except OSError:
            return "PublishFailed", []
        self.files[checksum] = image
        return "Published", [f"{url}/firmware/{checksum}"]

    async def _serve(self) -> str:
        """Open the HTTP server at the first file; its address without a path."""
        if self._url is not None:
            return self._url
        app = web.Application()
        app.router.add_get("/firmware/{checksum}", self._give)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        self._station.at_close(runner.cleanup)
        line = self._station.line
        host = "127.0.0.1" if line is None else line.connection.local_address[0]
        await web.TCPSite(runner, host, 0).start()
        self._url = f"http://{host}:{runner.addresses[0][1]}"
        return self._url

    async def _give(self, request: web.Request) -> web.Response:
        image = self.files.get(request.match_info["checksum"])
        if image is None:
            raise web.HTTPNotFound
        return web.Response(body=image, content_type="application/octet-stream")

    def _tell(self, status: str, places: list[str] | None = None) -> None:
        self.status = status
        message = self._told(status, places)
        message.keep = True
        self._station.send(message)

    def _told(self, status: str, places: list[str] | None) -> Outgoing:
        payload: Payload = {"status": status}
        if self._request is not None:
            payload["requestId"] = self._request
        if places:
            payload["location"] = places
        return Outgoing(action="PublishFirmwareStatusNotification", payload=payload)


def publisher_of(station: "Station") -> Publisher | None:
    """Find what a station publishes by; only a local controller has it."""
    found: Publisher | None = getattr(station.adapter, "publisher", None)
    return found
