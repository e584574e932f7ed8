"""Steps of the car and the grid: ISO 15118, limits from outside, what OCPP 2.1 adds."""

from decimal import Decimal
from typing import Any

from chargers_sim.errors import NotPossible
from chargers_sim.live import Station
from chargers_sim.steps.book import step
from chargers_sim.v21 import V21
from chargers_sim.v201 import V201

CONTRACT = "NLSIMC12345678X"


def _v2(station: Station) -> V201:
    if not isinstance(station.adapter, V201):
        raise NotPossible(f"OCPP {station.version} has no such message")
    return station.adapter


def _v21(station: Station) -> V21:
    if not isinstance(station.adapter, V21):
        raise NotPossible(f"OCPP {station.version} has no such message")
    return station.adapter


@step
async def ev_certificate(
    station: Station, *, emaid: str = CONTRACT, action: str = "Install"
) -> dict[str, Any]:
    """Let the car ask for its contract certificate (Get15118EVCertificate): Install or Update."""
    return await _v2(station).iso15118.ev_certificate(emaid, action)


@step
async def certificate_status(
    station: Station, *, emaid: str = CONTRACT, responder: str | None = None
) -> dict[str, Any]:
    """Ask for the OCSP status of a contract's issuer (GetCertificateStatus)."""
    return await _v2(station).iso15118.certificate_status(emaid, responder)


@step
async def chain_status(
    station: Station, *, emaid: str = CONTRACT, responder: str | None = None
) -> dict[str, Any]:
    """Ask for the status of a contract's whole chain (2.1, GetCertificateChainStatus)."""
    return await _v21(station).iso15118.chain_status(emaid, responder)


@step
async def charging_needs(station: Station, *, connector: int = 1) -> dict[str, Any]:
    """Tell once more what the car needs, as when it renegotiates (NotifyEVChargingNeeds)."""
    message = _v2(station).iso15118.needs(station.model.outlet(connector))
    return await station.call(message.action, message.content())


@step
async def renew_certificate(station: Station, *, kind: str | None = None) -> dict[str, Any]:
    """Ask the server to sign a new certificate; 2.x: ChargingStationCertificate, V2GCertificate."""
    payload = {"csr": station.certificates.request(kind or "")}
    if kind is not None and station.version != "1.6":
        payload["certificateType"] = kind
    return await station.call("SignCertificate", payload)


@step
async def external_limit(
    station: Station, *, watts: Decimal | None = None, source: str = "EMS", connector: int = 0
) -> dict[str, Any]:
    """Let somebody else limit the station (NotifyChargingLimit); without watts lift it."""
    return await _v2(station).external_limit(source, watts, connector)


@step
async def pull_dynamic(station: Station, *, profile: int) -> dict[str, Any]:
    """Ask for the present limit of a dynamic profile, and obey it (2.1)."""
    return await _v21(station).pull_dynamic(profile)


@step
async def open_stream(
    station: Station, *, stream: int, monitor: int, interval: int = 10
) -> dict[str, Any]:
    """Offer the values of a periodic monitor as a stream (2.1)."""
    return await _v21(station).open_stream(stream, monitor, interval)


@step
async def der_alarm(
    station: Station, *, control: str, fault: str | None = None, ended: bool = False
) -> dict[str, Any]:
    """Tell that the grid did what a DER control reacts to, or that it is over (2.1)."""
    payload = _v21(station).grid.der_alarm(control, fault, ended=ended)
    return await station.call("NotifyDERAlarm", payload)


@step
async def battery_swap(
    station: Station, *, tag: str, event: str = "BatteryIn", connector: int = 1
) -> dict[str, Any]:
    """Put a battery in or take one out: BatteryIn, BatteryOut, BatteryOutTimeout (2.1)."""
    evse = station.model.outlet(connector).evse
    return await station.call("BatterySwap", _v21(station).grid.swap(event, tag, evse=evse))


@step
async def settle_payment(
    station: Station, *, amount: Decimal, status: str = "Settled", transaction: str | None = None
) -> dict[str, Any]:
    """Tell what became of a payment at the terminal: Settled, Canceled, Rejected, Failed (2.1)."""
    payload = _v21(station).grid.settlement(float(amount), status, transaction)
    return await station.call("NotifySettlement", payload)


@step
async def validate_vat(station: Station, *, number: str) -> dict[str, Any]:
    """Let the server check a VAT number that a driver typed (2.1)."""
    _v21(station)
    return await station.call("VatNumberValidation", {"vatNumber": number})


@step
async def web_payment(
    station: Station, *, connector: int = 1, timeout: int = 120
) -> dict[str, Any]:
    """Tell that somebody pays by the QR code of a connector (2.1)."""
    _v21(station)
    evse = station.model.outlet(connector).evse
    payload = {"evseId": evse, "timeout": timeout}
    return await station.call("NotifyWebPaymentStarted", payload)
