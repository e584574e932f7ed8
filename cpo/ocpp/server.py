"""The charge points' door: who may in, in which version, one live connection each, and the way out.

Everything before the upgrade is decided from memory. An unknown identity and a wrong password get
the same answer, byte for byte.
"""

import asyncio
import ctypes
import gc
import math
import resource
import ssl
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Protocol, cast

import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from cpo.ocpp import frames
from cpo.ocpp.credentials import (
    StationCredentials,
    StationDirectory,
    basic_password,
    identity_from_path,
    is_plain,
)
from cpo.ocpp.limits import Buckets, RefusedAttempts, Turnstile
from cpo.ocpp.session import Handler, Session, SessionLimits
from cpo.ocpp.tls import StationContext, certificate_is_of, certificate_serial
from cpo.ocpp.transport import (
    Doorman,
    StationSocket,
    answer_http,
    header,
    is_encrypted,
    peer_address,
    peer_certificate,
)

log = structlog.get_logger()

SUBPROTOCOLS: Final = {"ocpp1.6": "1.6", "ocpp2.0.1": "2.0.1", "ocpp2.1": "2.1"}

_RESERVED_HANDLES: Final = 256
_MISSED_PINGS: Final = 2
_M_ARENA_MAX = -8  # of malloc.h
_GC_THRESHOLDS: Final = (50_000, 20, 50)
_TAKEOVERS_FOR_ALARM: Final = 10
_TAKEOVERS_WITHIN: Final = 60.0
_IDENTITIES_OF_AN_ADDRESS: Final = 10
"""How many identities' worth of wrong passwords may come from one address."""
# Each message stands for itself (RFC 7692, 7.1.1): no window to keep for every connection, and
# nothing that chargers with a broken context take-over could lose (Q9).
_DEFLATE: Final = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True,
    client_no_context_takeover=True,
    compress_settings={"memLevel": 5},
)


class StationHandler(Handler, Protocol):
    """What stands behind a session: acts on calls, and hears of the connection's life."""

    def connected(self) -> None:
        """Learn that the station is online."""
        ...

    def disconnected(self) -> None:
        """Learn that this connection is gone."""
        ...


HandlerFactory = Callable[[Session, StationCredentials], StationHandler]


@dataclass(frozen=True, slots=True, kw_only=True)
class OcppServerSettings:
    """The server's own settings. Durations in seconds; 0 of a rate means no limit."""

    host: str = "0.0.0.0"  # noqa: S104 - charge points come from outside
    port: int = 9000
    path: str = "/ocpp"
    unknown_stations: str = "reject"
    unknown_identity_status: int = 401
    min_security_profile: int = 0
    connects_per_minute: float = 10
    accepts_per_second: float = 200
    failed_logins_per_minute: float = 10
    max_connections: int = 0
    """0: as many as file handles allow."""
    max_handshakes: int = 4_000
    max_frame_bytes: int = 262_144
    handshake_timeout: float = 10
    ping_interval: float = 30
    ping_timeout: float = 30
    silence_timeout: float = 0
    """After how long a station that is not pinged is given up; 0: never."""
    drain_timeout: float = 10
    compression: bool = True
    limits: SessionLimits = field(default_factory=SessionLimits)


class OcppServer:
    """Accepts charge points and keeps the newest authenticated connection of each."""

    def __init__(
        self,
        settings: OcppServerSettings,
        directory: StationDirectory,
        handlers: HandlerFactory,
        *,
        tls: ssl.SSLContext | None = None,
        count: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Build it; `count` hears of each handshake's outcome: accepted, or why it was refused."""
        self.settings = settings
        self._count = count
        self._directory = directory
        self._handlers = handlers
        self._tls = tls
        self._sessions: dict[str, Session] = {}
        self._sockets: dict[Session, StationSocket] = {}
        self._servers: list[Server] = []
        self._draining = False
        self.refused = RefusedAttempts()
        self._keepalive: asyncio.Task[None] | None = None
        handles = _free_handles()
        most = min(settings.max_handshakes, handles // 4)
        self._cap = settings.max_connections or handles - most
        self._doorman = Doorman(
            self._too_busy,
            patience=settings.handshake_timeout,
            most=most,
            on_crowd=partial(self._disturbed, "crowded"),
        )
        if isinstance(tls, StationContext):
            tls.most = most
            tls.on_failure = self._handshake_failed

    # --- life ----------------------------------------------------------------------------------

    async def start(self) -> int:
        """Listen, and return the port."""
        loop = asyncio.get_running_loop()
        self._loop = loop
        settings = self.settings
        self._accepts = Turnstile(rate=settings.accepts_per_second, clock=loop.time)
        self._connects = Buckets(
            rate=settings.connects_per_minute / 60,
            burst=settings.connects_per_minute,
            clock=loop.time,
        )
        self._failures = Buckets(
            rate=settings.failed_logins_per_minute / 60,
            burst=settings.failed_logins_per_minute,
            clock=loop.time,
        )
        self._failures_from = Buckets(
            rate=settings.failed_logins_per_minute * _IDENTITIES_OF_AN_ADDRESS / 60,
            burst=settings.failed_logins_per_minute * _IDENTITIES_OF_AN_ADDRESS,
            clock=loop.time,
        )
        self._warnings = Buckets(rate=1 / 60, burst=1, clock=loop.time)
        # Of stations that we know, so there are not more of them than stations.
        self._takeovers: dict[str, deque[float]] = {}
        server = await serve(
            cast("Callable[[ServerConnection], Any]", self._converse),
            settings.host,
            settings.port,
            process_request=self._admit,
            select_subprotocol=self._choose,
            compression=None,
            extensions=[_DEFLATE] if settings.compression else None,
            server_header=None,
            open_timeout=settings.handshake_timeout,
            ping_interval=None,
            close_timeout=5,
            max_size=settings.max_frame_bytes,
            # A partial is as good as a class here.
            create_connection=cast(
                "type[ServerConnection]", partial(StationSocket, doorman=self._doorman)
            ),
            ssl=self._tls,
            backlog=4096,
        )
        self._servers.append(server)
        self._keepalive = loop.create_task(self._ping_all())
        return int(next(iter(server.sockets)).getsockname()[1])

    async def stop(self) -> None:
        """Drain: accept nobody, let answers out, close the sockets spread over the time we have."""
        self._draining = True
        for server in self._servers:
            server.close(close_connections=False)
        if self._keepalive is not None:
            self._keepalive.cancel()
            await asyncio.gather(self._keepalive, return_exceptions=True)
        for transport in list(self._doorman.entering):
            transport.abort()
        sessions = list(self._sessions.values())
        deadline = self._loop.time() + self.settings.drain_timeout * 0.65
        pause = self.settings.drain_timeout * 0.5 / max(len(sessions), 1)
        batch = max(1, math.ceil(0.005 / pause)) if pause else len(sessions)
        for index, session in enumerate(sessions):
            while session.busy and self._loop.time() < deadline - pause * (len(sessions) - index):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            session.close(1001, "server shutting down")
            if index % batch == batch - 1:
                await asyncio.sleep(min(pause * batch, 0.05))
        while self._sessions and self._loop.time() < deadline:  # noqa: ASYNC110 - a drain has one deadline for all
            await asyncio.sleep(0.01)
        for socket in list(self._sockets.values()):
            socket.cut()
        for server in self._servers:
            try:
                async with asyncio.timeout_at(max(deadline, self._loop.time() + 0.1)):
                    await server.wait_closed()
            except TimeoutError:
                # Handshakes that dawdle do not hold the way out.
                for task in list(server.handler_tasks):
                    task.cancel()
                await server.wait_closed()

    @property
    def online(self) -> int:
        """Return the number of live stations."""
        return len(self._sessions)

    def session(self, identity: str) -> Session | None:
        """Return the live session of a station."""
        return self._sessions.get(identity)

    def sessions(self) -> Iterator[Session]:
        """Return all live sessions."""
        return iter(list(self._sessions.values()))

    # --- before the upgrade --------------------------------------------------------------------

    async def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        socket = cast("StationSocket", connection)
        if "websocket" not in (header(request, "Upgrade") or "").lower():
            return None  # the library answers 426
        if request.headers.get_all("Origin"):
            # Browsers send it; charge points do not (S27).
            return self._refuse(socket, HTTPStatus.FORBIDDEN, "origin")
        identity = identity_from_path(request.path, self.settings.path)
        address = peer_address(socket)
        if identity is None:
            self._remember("", request, address, "path")
            return self._refuse(socket, HTTPStatus.NOT_FOUND, "path")
        if not any("upgrade" in v.lower() for v in request.headers.get_all("Connection")):
            # The library answers 426, and tells nobody why (Q2).
            if self._warnings.take("upgrade", address):
                log.warning("ocpp.no_upgrade", station=identity, address=address)
            self._remember(identity, request, address, "no Connection: Upgrade")
            self._count("upgrade")
            return None
        known = self._directory.find(identity)
        if known is None and self.settings.unknown_stations == "register":
            await self._directory.fresh()
            known = self._directory.find(identity)
            known = known or await self._directory.register(identity, address)
        allowed = self._authenticated(socket, request, identity, known)
        if not allowed and await self._directory.fresh():
            # Another node may have been told of the station, or of its password, just now.
            known = self._directory.find(identity)
            allowed = self._authenticated(socket, request, identity, known)
        if not allowed:
            within = self._failures.take(address, identity)
            if not self._failures_from.take(address) or not within:
                # Guessing is over for this address; the real charge point behind the same
                # address, which knows its secret, still gets in (SEC-05).
                if self._warnings.take("guessing", address):
                    log.warning("ocpp.guessing", station=identity, address=address, alarm=True)
                return self._refuse(
                    socket,
                    HTTPStatus.TOO_MANY_REQUESTS,
                    "failed_logins",
                    retry_after=max(
                        self._failures.wait(address, identity), self._failures_from.wait(address)
                    ),
                )
            log.info("ocpp.login_refused", station=identity, address=address)
            reason = "unknown identity" if known is None else "wrong or no credentials"
            self._remember(identity, request, address, reason)
            status = HTTPStatus.UNAUTHORIZED
            if known is None:
                status = HTTPStatus(self.settings.unknown_identity_status)
            return self._refuse(socket, status, "login")
        if known is not None and known.strict and not is_plain(request.path, self.settings.path):
            return self._refuse(socket, HTTPStatus.NOT_FOUND, "path")
        if not self._connects.take(identity):
            return self._refuse(
                socket,
                HTTPStatus.TOO_MANY_REQUESTS,
                "connects",
                retry_after=self._connects.wait(identity),
            )
        socket.credentials = known
        if known is not None and not known.compression:
            socket.protocol.available_extensions = None
        return None

    def _remember(self, identity: str, request: Request, address: str, reason: str) -> None:
        # A path may hold anything that HTTP lets through.
        path = request.path.encode("ascii", "backslashreplace").decode()
        self.refused.add(identity, path, address, reason, at=datetime.now(UTC))

    def _too_busy(self, target: str) -> int | None:
        """Return after how many seconds a charge point is to come back, None to let it in."""
        if self._draining:
            return self._turn_away("draining", 5)
        if len(self._sockets) >= self._cap:
            return self._turn_away("full", 30)
        identity = identity_from_path(target, self.settings.path) or ""
        if not self._accepts.take(identity, known=self._directory.find(identity) is not None):
            return self._turn_away("accepts", self._accepts.wait())
        return None

    def _handshake_failed(self, problem: str) -> None:
        self._disturbed("tls", problem)

    def _disturbed(self, reason: str, problem: str = "") -> None:
        """Count a handshake that came to nothing, and warn of such once a minute."""
        self._count(reason)
        if self._warnings.take(reason, problem):
            log.warning("ocpp.handshakes_fail", reason=reason, problem=problem, alarm=True)

    def _turn_away(self, reason: str, retry_after: float) -> int:
        self._count(reason)
        return max(1, math.ceil(retry_after))

    def _authenticated(
        self,
        socket: StationSocket,
        request: Request,
        identity: str,
        known: StationCredentials | None,
    ) -> bool:
        authorization = header(request, "Authorization")
        given = basic_password(authorization, identity)
        # The same work for an unknown identity, so that the time tells nothing either.
        matches = self._directory.matches(identity, given if given is not None else b"")
        if known is None:
            return False
        encrypted = is_encrypted(socket)
        floor = max(known.security_profile, self.settings.min_security_profile)
        certificate = peer_certificate(socket) if encrypted else None
        if certificate and certificate_is_of(identity, certificate):
            serial = certificate_serial(certificate)
            if serial not in known.revoked_certificates:
                self._directory.secured(identity, 3)
                self._directory.showed(identity, serial)
                return True  # profile 3: the certificate is the credential
            log.warning("ocpp.revoked_certificate", station=identity, serial=serial)
        if floor >= 3 or (floor >= 2 and not encrypted):
            return False
        if given is not None and matches:
            self._directory.came_in(identity, given)
            self._directory.secured(identity, 2 if encrypted else 1)
            return True
        # Profile 0: only where the operator said so for this very station. A password that was
        # never set cannot be wrong.
        allowed = (
            known.allow_without_password
            and self.settings.min_security_profile < 1
            and (authorization is None or not known.has_password)
        )
        if allowed:
            # Whoever knows the name of such a station is the station (SEC-03).
            log.warning("ocpp.not_authenticated", station=identity, address=peer_address(socket))
        return allowed

    def _refuse(
        self,
        socket: StationSocket,
        status: HTTPStatus,
        reason: str,
        *,
        retry_after: float | None = None,
    ) -> Response:
        self._count(reason)
        headers = {}
        if retry_after is not None:
            headers["Retry_After"] = str(max(1, math.ceil(retry_after)))
        if status == HTTPStatus.UNAUTHORIZED:
            headers["WWW_Authenticate"] = 'Basic realm="OCPP", charset="UTF-8"'
        return answer_http(socket, status, f"{status.phrase}\n", **headers)

    def _choose(
        self, connection: ServerConnection, offered: list[Subprotocol] | Any
    ) -> Subprotocol | None:
        known: StationCredentials = cast("StationSocket", connection).credentials
        for subprotocol in offered:
            version = SUBPROTOCOLS.get(subprotocol)
            if version is not None and version in known.versions:
                return cast("Subprotocol", subprotocol)
        return None

    # --- after the upgrade ---------------------------------------------------------------------

    async def _converse(self, socket: StationSocket) -> None:
        known: StationCredentials = socket.credentials
        version = SUBPROTOCOLS.get(socket.subprotocol or "", known.assume_version or "")
        if version not in frames.RULES:
            # OCPP-J: the handshake ends without the header, then the connection is closed.
            self._count("subprotocol")
            log.warning("ocpp.no_common_version", station=known.identity)
            if socket.request is not None:
                reason = "no common subprotocol"
                self._remember(known.identity, socket.request, peer_address(socket), reason)
            socket.close_soon(1002, "no common subprotocol")
            return
        self._count("accepted")
        session = Session(known.identity, frames.RULES[version], socket, self.settings.limits)
        session.handler = handler = self._handlers(session, known)
        self._take_over(session, peer_address(socket))
        self._sockets[session] = socket
        socket.receiver = session
        try:
            handler.connected()
            await session.run()
        finally:
            del self._sockets[session]
            # A newer connection may have taken the place meanwhile: leave that one (TR-23).
            if self._sessions.get(known.identity) is session:
                del self._sessions[known.identity]
            socket.receiver = None
            handler.disconnected()

    def _take_over(self, session: Session, address: str) -> None:
        older = self._sessions.get(session.identity)
        self._sessions[session.identity] = session
        if older is None:
            return
        self._count("replaced")
        old_socket = self._sockets.get(older)
        log.warning(
            "ocpp.connection_superseded",
            station=session.identity,
            address=address,
            before=peer_address(old_socket) if old_socket is not None else "",
            alarm=self._often_replaced(session.identity),
        )
        older.supersede()

    def _often_replaced(self, identity: str) -> bool:
        """Count a take-over; tell whether there were so many that two share an identity (TR-24).

        Counted by themselves: the limit on connections lets only few more than these through.
        """
        times = self._takeovers.setdefault(identity, deque(maxlen=_TAKEOVERS_FOR_ALARM))
        now = self._loop.time()
        times.append(now)
        return len(times) == _TAKEOVERS_FOR_ALARM and now - times[0] <= _TAKEOVERS_WITHIN

    async def _ping_all(self) -> None:
        """Ping every station that has been silent for an interval; cut those that stay silent.

        One that cannot answer pings is alive as long as its heartbeats come (TR-19, BO-13).
        """
        interval = self.settings.ping_interval
        step = interval / 4
        while True:
            await asyncio.sleep(step)
            now = self._loop.time()
            for session, socket in list(self._sockets.items()):
                if now - session.last_heard < interval:
                    continue
                if not socket.credentials.pings:
                    if 0 < self.settings.silence_timeout <= now - session.last_heard:
                        log.info("ocpp.silent_connection_cut", station=session.identity)
                        socket.cut()
                    continue
                patience = self.settings.ping_timeout * _MISSED_PINGS
                if socket.unanswered_pings and now - session.last_heard >= interval + patience:
                    log.info("ocpp.silent_connection_cut", station=session.identity)
                    socket.cut()
                elif socket.unanswered_pings * interval <= now - session.last_heard:
                    socket.ping_soon()


def _free_handles() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(64, soft - _RESERVED_HANDLES)


def share_heaps() -> None:
    """Let all threads allocate from two heaps; call before there are threads.

    glibc gives each thread a heap of its own, and each stays as large as it once was. Other C
    libraries have no such setting, and need none.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)


def settle_memory() -> None:
    """Tell the collector that what start-up made stays, and to look at the rest less often.

    Call once everything is built; measured, this keeps the cost of a message at 10,000
    connections near that at 100.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
