"""What a version's adapter is made of: inbound handlers and outbound translations."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import msgspec

from cpo.domain.command import Reply, StationCommand
from cpo.services.authority import Authority
from cpo.services.contracts import Contracts
from cpo.services.equipment import Equipment
from cpo.services.intake import Intake
from cpo.services.issued_certificates import IssuedCertificates
from cpo.services.payments import Payments
from cpo.services.ports import Work
from cpo.services.vat_numbers import VatNumbers


class Arrival(msgspec.Struct, frozen=True):
    """One call of a station on its way through a handler, with the unit of work it belongs to."""

    identity: str
    action: str
    payload: dict[str, Any]
    text: str
    received_at: datetime
    work: Work


Caller = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Calls the station: action and payload in, the payload of its answer out."""

Followup = Callable[[Caller], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Desk:
    """The services that handlers hand things over to."""

    intake: Intake
    equipment: Equipment
    authorities: Mapping[str, Authority]
    """Who signs certificates, by CertificateSigningUseEnumType."""
    contracts: Contracts
    issued: IssuedCertificates
    payments: Payments
    vat_numbers: VatNumbers
    afterwards: Callable[[Followup], None]
    """Runs something with the station once its call has been answered."""


InboundHandler = Callable[[Desk, Arrival], Awaitable[dict[str, Any]]]
"""Reads a payload, hands it to the services, and returns the payload of the answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call of ours that a neutral command is made of."""

    action: str
    payload: dict[str, Any] = field(default_factory=dict)


class Outbound(Protocol):
    """Neutral commands in the words of a version. Pure."""

    def requests(self, command: StationCommand) -> list[Request]:
        """Return the calls that carry a command out, in order.

        Raises Invalid for what the version cannot say, naming the parameter.
        """
        ...

    def reply(self, command: StationCommand, answers: list[dict[str, Any]]) -> Reply:
        """Read the station's answers to them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """An OCPP version as the adapter sees it."""

    version: str
    handlers: Mapping[str, InboundHandler]
    outbound: Outbound
    inventory: Request
    """What a station is asked for all its settings with."""
    inventoried: tuple[str, str]
    """Kind and key of the document that says whether it told all of them."""
    status_of: Callable[[int, int], Request]
    """What it is asked for the status of a connector with, by (evse, connector)."""
    transaction_status: Callable[[str], Request] | None = None
    """What it is asked about a transaction with; None where the version cannot ask."""
    before_boot: frozenset[str] = frozenset({"BootNotification"})
    """What a station may send while it is not accepted."""
