"""TLS as the certification of charge points asks for it, on the charger port only."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

import structlog

from cpo.errors import Misconfigured
from cpo.services.authority import STATION_NAME, station_name

log = structlog.get_logger()

# The four suites of the certification (the two last have no forward secrecy, but old chargers
# know nothing else), and what better chargers prefer before them.
CIPHERS: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:"
    "AES128-GCM-SHA256:AES256-GCM-SHA384"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files. Several certificates (ECDSA and RSA) serve old and new chargers at once."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    client_crl: Path | None = None
    more: tuple[tuple[Path, Path], ...] = ()


class _Handshake(ssl.SSLObject):
    """One TLS connection, whose handshake may fail: loops tell nobody of that."""

    def do_handshake(self) -> None:
        """Take the next step of the handshake."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self._over(error.reason or "unknown")
            raise
        except OSError:
            self._over("connection lost")
            raise
        self._over(None)

    def _over(self, problem: str | None) -> None:
        context = self.context
        if isinstance(context, StationContext):
            context.over(self, problem)


class StationContext(ssl.SSLContext):
    """A context that knows the handshakes under way, and lets there be `most` of them.

    `on_failure` hears why a handshake failed (in OpenSSL's word), or that there were too many.
    """

    sslobject_class = _Handshake
    most: int | None = None
    on_failure: Callable[[str], None] | None = None

    def __init__(self, *_: Any) -> None:
        self.under_way: WeakSet[ssl.SSLObject] = WeakSet()

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """Begin a handshake; SSLError when there are too many."""
        if self.most is not None and len(self.under_way) >= self.most:
            self._failed("TOO_MANY_HANDSHAKES")
            raise ssl.SSLError("too many handshakes")
        begun = super().wrap_bio(*args, **options)
        self.under_way.add(begun)
        return begun

    def over(self, handshake: ssl.SSLObject, problem: str | None) -> None:
        """Learn that a handshake has ended, and why if badly."""
        self.under_way.discard(handshake)
        if problem is not None:
            self._failed(problem)

    def _failed(self, problem: str) -> None:
        if self.on_failure is not None:
            self.on_failure(problem)


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Build the context; `reload` renews its certificates while it is in use.

    Raises:
        Misconfigured: a file cannot be read or does not fit.
    """
    context = StationContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    reload(context, files)
    return context


def reload(context: ssl.SSLContext, files: TlsFiles) -> None:
    """Read the files again; new connections use them."""
    try:
        context.load_cert_chain(files.certificate, files.key)
        for certificate, key in files.more:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured("ocpp.tls.certificate", str(error)) from None
    if files.client_ca is not None:
        try:
            context.load_verify_locations(files.client_ca)
        except (OSError, ssl.SSLError) as error:
            raise Misconfigured("ocpp.tls.client_ca", str(error)) from None
        # Optional: stations of profile 2 come to the same port; who must show one is decided
        # per station, after the handshake.
        context.verify_mode = ssl.CERT_OPTIONAL
    if files.client_crl is not None:
        try:
            context.load_verify_locations(files.client_crl)
        except (OSError, ssl.SSLError) as error:
            raise Misconfigured("ocpp.tls.client_crl", str(error)) from None
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


class Renewal:
    """Reads the files of a context again when they have changed.

    Files that do not fit together, as in the middle of being replaced, change nothing: they are
    tried on a context of their own first.
    """

    def __init__(self, context: ssl.SSLContext, files: TlsFiles) -> None:
        self._context = context
        self._files = files
        self._seen = self._stamps()

    def _stamps(self) -> tuple[tuple[int, int] | None, ...]:
        found: list[tuple[int, int] | None] = []
        pairs = [path for pair in self._files.more for path in pair]
        for path in (
            self._files.certificate,
            self._files.key,
            self._files.client_ca,
            self._files.client_crl,
            *pairs,
        ):
            try:
                status = path.stat() if path is not None else None
            except OSError:
                status = None
            found.append((status.st_mtime_ns, status.st_size) if status is not None else None)
        return tuple(found)

    async def sweep(self) -> None:
        """Look at the files, and read them again if they are others."""
        stamps = self._stamps()
        if stamps == self._seen:
            return
        try:
            server_context(self._files)
        except Misconfigured as error:
            log.warning("tls.not_renewed", error=str(error))
            return
        reload(self._context, self._files)
        self._seen = stamps
        log.info("tls.renewed")


def certificate_is_of(identity: str, certificate: dict[str, Any]) -> bool:
    """Tell whether a verified client certificate is that of a station.

    One that our authority signed says whose it is: its common name may be a serial number, which
    is what a station says of itself, and so proves nothing (SEC-18). Of others the common name or
    a DNS name is the identity.
    """
    others = certificate.get("subjectAltName", ())
    named = {value for kind, value in others if kind == "URI" and value.startswith(STATION_NAME)}
    if named:
        return named == {station_name(identity)}
    names = {
        value
        for part in certificate.get("subject", ())
        for key, value in part
        if key == "commonName"
    }
    return identity in names | {value for kind, value in others if kind == "DNS"}


def certificate_serial(certificate: dict[str, Any]) -> str:
    """Return the serial number of a verified client certificate, in hex as the register has it."""
    return str(certificate.get("serialNumber", "")).lower().lstrip("0")
