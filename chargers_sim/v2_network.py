"""Network profiles of OCPP 2.x: where to connect, in which order, and what to try next.

Slot 0 is the address the station was started with. The others come by SetNetworkProfile and
are used after the next boot, in the order of NetworkConfigurationPriority (use cases B09, B10).
"""

import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from chargers_sim.certificates import tls_context
from chargers_sim.outbox import Payload
from chargers_sim.peer import Handler
from chargers_sim.variables import SLOTS

if TYPE_CHECKING:
    from chargers_sim.live import Station
    from chargers_sim.v2_model import DeviceModel

SPOKEN = {"2.0.1": {"OCPP20", "OCPP201"}, "2.1": {"OCPP21"}}
TLS_FROM = 2
OWN_CERTIFICATE_FROM = 3


class Networks:
    """The network profiles of one station, and which of them is in use."""

    def __init__(self, station: "Station", model: "DeviceModel") -> None:
        self._station = station
        self._model = model
        self.profiles: dict[int, Payload] = {}
        self.active = 0
        self._first = station.address
        self._failures = 0
        self.handlers: dict[str, Handler] = {"SetNetworkProfile": self._set}

    @property
    def order(self) -> list[int]:
        """The slots to try, the first one first; those without a profile are passed over."""
        listed = [
            int(s) for s in self._model.listed("OCPPCommCtrlr", "NetworkConfigurationPriority")
        ]
        return [slot for slot in listed if slot == 0 or slot in self.profiles] or [0]

    def has(self, slots: str) -> bool:
        """Say whether every slot of a priority list has a profile."""
        named = [s.strip() for s in slots.split(",")]
        return all(s == "0" or (s.isdigit() and int(s) in self.profiles) for s in named)

    def booting(self) -> None:
        """Begin with the first of the order, as a boot does."""
        self._use(self.order[0])

    def failed(self) -> None:
        """Count an attempt that failed; after enough of them it is the next one's turn."""
        self._failures += 1
        order = self.order
        most = self._model.number("OCPPCommCtrlr", "NetworkProfileConnectionAttempts")
        if self._failures < max(1, most) or len(order) == 1:
            return
        place = order.index(self.active) if self.active in order else -1
        self._use(order[(place + 1) % len(order)])

    def connected(self) -> None:
        """Start to count afresh."""
        self._failures = 0

    def dump(self) -> dict[str, Any]:
        """Write the profiles down."""
        return {str(slot): profile for slot, profile in self.profiles.items()}

    def load(self, kept: dict[str, Any]) -> None:
        """Read the profiles back and begin with the first of the order."""
        self.profiles = {int(slot): profile for slot, profile in kept.items()}
        self.booting()

    def _use(self, slot: int) -> None:
        self._failures = 0
        if slot == self.active:
            return
        station, pings = self._station, self._station.address.ping_seconds
        if self.active == 0:
            # A password or certificate that the server changed belongs to this address.
            self._first = station.address
        self.active, station.link.needs_boot = slot, True
        if slot == 0:
            station.address = replace(self._first, ping_seconds=pings)
        else:
            profile = self.profiles[slot]
            station.address = replace(
                self._first,
                url=profile["ocppCsmsUrl"],
                identity=profile.get("identity", self._first.identity),
                password=profile.get("basicAuthPassword", self._first.password),
                tls=self._tls(profile),
                ping_seconds=pings,
            )
            station.link.settings.message_timeout = max(1, profile["messageTimeout"])
        station.emit("network_profile", slot=slot, url=station.address.url)

    def _tls(self, profile: Payload) -> ssl.SSLContext | None:
        level, station = profile["securityProfile"], self._station
        if level < TLS_FROM:
            return None
        if level >= OWN_CERTIFICATE_FROM and station.certificates.chain_pem is not None:
            return station.certificates.context(station.ca)
        own = self._first.tls
        return own if own is not None else tls_context(ca=station.ca)

    def _set(self, request: Payload) -> Payload:
        slot, profile = request["configurationSlot"], request["connectionData"]
        reason = self._problem(slot, profile)
        if reason is None:
            self.profiles[slot] = profile
        answer = self._station.answer(
            "SetNetworkProfile", request, "Accepted" if reason is None else "Rejected"
        )
        if reason is not None:
            answer["statusInfo"] = {"reasonCode": reason[0], "additionalInfo": reason[1]}
        return answer

    def _problem(self, slot: int, profile: Payload) -> tuple[str, str] | None:
        """Say why a profile cannot be taken: a reason code and a sentence."""
        level, url = profile["securityProfile"], urlsplit(profile["ocppCsmsUrl"])
        present = self._station.security_profile
        if str(slot) not in SLOTS or slot == 0:
            return "InvalidConfSlot", f"slots are {', '.join(SLOTS[1:])}"
        if slot == self.active:
            return "InvalidConfSlot", "this slot is in use"
        if profile["ocppTransport"] != "JSON":
            return "InvalidNetworkConf", "only JSON is spoken"
        spoken = SPOKEN[self._station.version]
        if profile.get("ocppVersion", min(spoken)) not in spoken:
            return "InvalidNetworkConf", f"{self._station.version} is spoken"
        if url.scheme != ("wss" if level >= TLS_FROM else "ws") or not _has_place(url):
            return "InvalidNetworkConf", f"not an address of security profile {level}"
        if level < present:
            return "NoSecurityDowngrade", f"security profile {present} is in use"
        if level >= OWN_CERTIFICATE_FROM and not self._own_certificate():
            return "InvalidNetworkConf", "there is no certificate of this station"
        return None

    def _own_certificate(self) -> bool:
        station = self._station
        return station.certificates.chain_pem is not None or station.security_profile == 3


def _has_place(url: SplitResult) -> bool:
    try:
        # A port out of range is found only when it is read.
        return bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        return False


def chosen(station: "Station") -> Networks | None:
    """Find the network profiles of a station; OCPP 1.6 has none."""
    found: Networks | None = getattr(station.adapter, "networks", None)
    return found
