"""What a URL given by a partner may point at.

A partner names many addresses: its versions, endpoints, response URLs, next
pages. The scheme and literal addresses are refused when read; what counts is
the address a connection really goes to, looked at when the socket is made,
because a name may resolve to something else each time.
"""

import ipaddress
import socket
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from cpo.errors import Invalid

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

LONGEST_URL = 2048
# Where clouds tell a machine about itself, beside the link-local addresses; some look public.
METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google
    )
)
# Special since after the `ipaddress` of older Pythons was written.
NOT_PUBLIC = tuple(
    ipaddress.ip_network(text)
    for text in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "3fff::/20")
)
GLOBAL_6 = ipaddress.IPv6Network("2000::/3")
# Both hold an IPv4 address in their last 32 bits.
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
TRANSLATED = ipaddress.IPv6Network("::ffff:0:0:0/96")


class AddressRefused(OSError):
    """A partner's URL leads to an address that partners may not name."""

    def __init__(self, address: str) -> None:
        super().__init__(f"address {address} is not public")
        self.address = address


def is_public(text: str) -> bool:
    """Whether an IP address may be reached on a partner's word.

    Not public are loopback, private, link-local (with it the metadata services
    of clouds), shared, reserved and multicast addresses, also where IPv6 wraps
    an IPv4 address.
    """
    try:
        address: Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(_is_global(a) for a in _meanings(address))


def _is_global(address: Address) -> bool:
    if address in METADATA or any(address in network for network in NOT_PUBLIC):
        return False
    if address.version == 6 and address not in GLOBAL_6:
        return False
    return address.is_global and not address.is_multicast


def _meanings(address: Address) -> list[Address]:
    found = [address]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            # Only the inner address decides: the mapped form itself is never global.
            return [address.ipv4_mapped]
        if address in NAT64 or address in TRANSLATED:
            return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
        if address.sixtofour is not None:
            found.append(address.sixtofour)
        if address.teredo is not None:
            found.extend(address.teredo)
        if int(address) >> 32 == 0:
            found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return found


@dataclass(frozen=True, slots=True)
class UrlGuard:
    """Decides about partner-given URLs.

    `allow_private` lets them be plain http and point at this machine or a
    private network, as tests and a demonstration on one machine need; the
    metadata services of clouds stay out of reach even then.
    """

    allow_private: bool = False

    def check(self, url: object, field: str) -> str:
        """Return the URL when it may be used; raises Invalid with the field's name."""
        if not isinstance(url, str) or not url:
            raise Invalid(field, "is not a URL")
        if len(url) > LONGEST_URL:
            raise Invalid(field, f"is longer than {LONGEST_URL} characters")
        if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
            raise Invalid(field, "holds characters that no URL has")
        origin = "/".join(url.replace("?", "/").replace("#", "/").split("/", 3)[:3])
        problem = _problem(self, origin)
        if problem is not None:
            raise Invalid(field, problem)
        return url

    def socket(self, info: tuple[int, int, int, str, tuple[Any, ...]]) -> socket.socket:
        """Make the socket for one resolved address, or raise AddressRefused.

        Given to aiohttp's TCPConnector as `socket_factory`: the only place that
        sees every address connected to, literal ones included.
        """
        family, kind, protocol, _, where = info
        if not self.allows(str(where[0])):
            raise AddressRefused(str(where[0]))
        return socket.socket(family, kind, protocol)

    def allows(self, address: str) -> bool:
        """Whether an IP address may be connected to."""
        if self.allow_private:
            return not _is_metadata(address)
        return is_public(address)


@lru_cache(maxsize=1024)
def _problem(guard: UrlGuard, origin: str) -> str | None:
    """Say what is wrong with scheme, host and port; the same few come with every request."""
    try:
        parts = urlsplit(origin)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    schemes = ("http", "https") if guard.allow_private else ("https",)
    if parts.scheme.lower() not in schemes:
        return f"must be {' or '.join(schemes)}"
    if not host:
        return "names no host"
    if parts.username is not None or parts.password is not None:
        return "must not hold credentials"
    if _literal(host) and not guard.allows(host):
        return "points at an address that is not public"
    return None


def _is_metadata(text: str) -> bool:
    try:
        address: Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return True
    return any(a.is_link_local or a in METADATA for a in _meanings(address))


def _literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
