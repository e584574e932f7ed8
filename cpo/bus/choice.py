"""Chooses the bus that the settings name."""

from urllib.parse import urlsplit

from cpo.bus.local import LocalBus
from cpo.errors import Misconfigured
from cpo.services.ports import Bus


async def open_bus(url: str) -> Bus:
    """Open `local:` or `nats://…`."""
    scheme = urlsplit(url).scheme
    if scheme == "local":
        return LocalBus()
    if scheme in ("nats", "tls"):
        from cpo.bus.nats import connect  # noqa: PLC0415 - one process needs no NATS

        return await connect(url)
    raise Misconfigured("bus.url", f"{scheme or url!r} is not known; use local: or nats://…")
