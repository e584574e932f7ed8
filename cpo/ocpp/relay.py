"""The questions that the chargers' side puts to other servers: OCSP responders, providers.

Nothing else here opens a connection to the outside. No redirects, bounded answers.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Protocol

import aiohttp
import structlog

from cpo.config import PlugAndCharge
from cpo.services.contracts import ContractRules, Contracts, Fetcher
from cpo.services.pki import Anchors

log = structlog.get_logger()

_MOST_BYTES: Final = 1 << 20


class Guard(Protocol):
    """Decides which addresses may be connected to on somebody else's word."""

    def socket(self, info: tuple[int, int, int, str, tuple[Any, ...]]) -> socket.socket:
        """Make the socket for an address, or raise OSError."""
        ...


class Relay:
    """Implements `cpo.services.contracts.Fetcher`."""

    def __init__(self, guard: Guard | None) -> None:
        """Make it; without a guard no address that somebody else named is asked."""
        self._guard = guard
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    def _session(self, *, trusted: bool) -> aiohttp.ClientSession:
        session = self._sessions.get(trusted)
        if session is None:
            connector = (
                aiohttp.TCPConnector()
                if trusted or self._guard is None
                else aiohttp.TCPConnector(socket_factory=self._guard.socket)
            )
            # As it comes: a small answer may be a large one in disguise.
            session = aiohttp.ClientSession(
                connector=connector,
                trust_env=False,
                auto_decompress=False,
                headers={"Accept-Encoding": "identity"},
            )
            self._sessions[trusted] = session
        return session

    async def fetch(
        self,
        url: str,
        body: bytes | None,
        *,
        content_type: str,
        timeout: float,
        trusted: bool,
        headers: Mapping[str, str] | None = None,
    ) -> bytes | None:
        """Return the body of a 200, None for anything else."""
        if self._guard is None and not trusted:
            return None
        session = self._session(trusted=trusted)
        method = "GET" if body is None else "POST"
        sent = dict(headers or {})
        if body is not None:
            sent["Content-Type"] = content_type
        try:
            async with (
                asyncio.timeout(timeout),
                session.request(
                    method, url, data=body, headers=sent, allow_redirects=False
                ) as answer,
            ):
                if answer.status != 200:
                    log.info("relay.refused", host=answer.url.host, status=answer.status)
                    return None
                return await _bounded(answer)
        except (TimeoutError, OSError, aiohttp.ClientError, ValueError) as error:
            log.info("relay.failed", error=type(error).__name__)
            return None

    async def close(self) -> None:
        """Close the connections."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()


async def _bounded(answer: aiohttp.ClientResponse) -> bytes | None:
    found = bytearray()
    async for chunk in answer.content.iter_chunked(65_536):
        found += chunk
        if len(found) > _MOST_BYTES:
            return None
    return bytes(found)


def contracts_of(
    settings: PlugAndCharge, fetcher: Fetcher, *, now: Callable[[], datetime]
) -> Contracts:
    """Build what checks contracts from the settings; raises Misconfigured for a bad file."""
    key = settings.provider_key
    return Contracts(
        Anchors.load(settings.roots) if settings.roots is not None else Anchors(),
        fetcher,
        ContractRules(
            ocsp_responder=settings.ocsp_responder,
            ocsp_allowed=tuple(settings.ocsp_allowed),
            accept_unchecked=settings.ocsp_unreachable == "accept",
            ocsp_timeout=settings.ocsp_timeout,
            ocsp_cache=settings.ocsp_cache,
            provider_url=settings.provider_url,
            provider_key=key.get_secret_value() if key is not None else None,
            provider_timeout=settings.provider_timeout,
        ),
        now=now,
    )
