"""All that differs between OCPI versions, and between partners of one version.

A `Dialect` is one version: how tokens are coded, which modules and commands exist, and the codec
between the neutral domain and that version's messages. `Quirks` are the habits of one partner.
Everything else of OCPI is written once, in terms of these two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Protocol

from cpo.domain.cdr import Cdr
from cpo.domain.location import Location
from cpo.domain.partner import Endpoint, PartyRole
from cpo.domain.quirks import DateStyle, Quirks
from cpo.domain.session import Session
from cpo.domain.tariff import Tariff
from cpo.domain.tokens import Token
from cpo.errors import Invalid
from cpo.services.ports import RealTimeAnswer

__all__ = [
    "DEFAULT",
    "NOT_AVAILABLE",
    "ChargingPreferences",
    "ChargingProfile",
    "ClientInfo",
    "Codec",
    "CommandRequest",
    "Credentials",
    "DateStyle",
    "Dialect",
    "Quirks",
    "Rendered",
    "Stamps",
]

NOT_AVAILABLE = "#NA"


DEFAULT = Quirks()


@dataclass(frozen=True, slots=True)
class Rendered:
    """An object in the words of a version.

    `problems` names the fields for which it must not be sent (promise 7); then `text` is what it
    would have been, for the operator to look at. `left_out` names what this version cannot say and
    was left out or shortened.
    """

    text: bytes
    problems: tuple[Invalid, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def held_back(self) -> str | None:
        """Why it must not be sent, in one line; None when it may."""
        return "; ".join(str(problem) for problem in self.problems) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamps:
    """The last_updated of a location and its parts; what is not named has its parent's.

    EVSEs by uid, connectors by (uid, connector id).
    """

    location: datetime
    evses: Mapping[str, datetime] = field(default_factory=dict)
    connectors: Mapping[tuple[str, str], datetime] = field(default_factory=dict)

    def evse(self, uid: str) -> datetime:
        """Return the last_updated of an EVSE."""
        return self.evses.get(uid, self.location)

    def connector(self, uid: str, connector_id: str) -> datetime:
        """Return the last_updated of a connector."""
        return self.connectors.get((uid, connector_id)) or self.evse(uid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A platform's credentials; `hub_party` is country code and party id in one text."""

    token: str
    url: str
    roles: tuple[PartyRole, ...]
    hub_party: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRequest:
    """A command as a partner asked for it; what the command does not have is None."""

    name: str
    response_url: str
    token: Token | None = None
    location_id: str | None = None
    evse_uid: str | None = None
    connector_id: str | None = None
    authorization_reference: str | None = None
    session_id: str | None = None
    reservation_id: str | None = None
    expiry_date: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargingPreferences:
    """What a driver wants of a charge; `energy_need` in kWh."""

    profile_type: str
    departure_time: datetime | None = None
    energy_need: Decimal | None = None
    discharge_allowed: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargingProfile:
    """Limits over time: (seconds from the start, limit) in watt or ampere.

    Without `start_date_time` the profile is relative to the start of the session; without
    `duration` it holds until the end.
    """

    charging_rate_unit: str
    periods: tuple[tuple[int, Decimal], ...] = ()
    start_date_time: datetime | None = None
    duration: int | None = None
    min_charging_rate: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientInfo:
    """A party behind a hub, and whether it can be reached."""

    country_code: str
    party_id: str
    role: str
    status: str
    last_updated: datetime


class Codec(Protocol):
    """What a version says of the domain, and reads into it.

    Methods that render never fail: what a version cannot say is named in the result. Methods that
    return bytes write small messages of ours, which are valid by construction. Methods that read
    take parsed JSON (`exact_json.decode`) and raise `Invalid` with the field's path.
    """

    # --- what partners see of us

    def location(
        self,
        location: Location,
        *,
        statuses: Mapping[str, str],
        stamps: Stamps,
        tariff_ids: Mapping[tuple[str, str], Sequence[str]] | None = None,
        quirks: Quirks = DEFAULT,
    ) -> Rendered:
        """Render a location with its EVSEs.

        Args:
            location: the location.
            statuses: the status of each EVSE by uid; one that is missing is UNKNOWN.
            stamps: the last_updated of everything.
            tariff_ids: other tariffs than the public ones, by (uid, connector id) (LOC-22).
            quirks: the partner's habits.
        """
        ...

    def evse(
        self,
        location: Location,
        uid: str,
        *,
        statuses: Mapping[str, str],
        stamps: Stamps,
        tariff_ids: Mapping[tuple[str, str], Sequence[str]] | None = None,
        quirks: Quirks = DEFAULT,
    ) -> Rendered:
        """Render one EVSE of a location; raises NotFound."""
        ...

    def connector(
        self,
        location: Location,
        uid: str,
        connector_id: str,
        *,
        stamps: Stamps,
        tariff_ids: Mapping[tuple[str, str], Sequence[str]] | None = None,
        quirks: Quirks = DEFAULT,
    ) -> Rendered:
        """Render one connector of a location; raises NotFound."""
        ...

    def evse_status(self, status: str, last_updated: datetime, quirks: Quirks = DEFAULT) -> bytes:
        """Write the PATCH body of an EVSE whose status changed."""
        ...

    def session(self, session: Session, quirks: Quirks = DEFAULT) -> Rendered:
        """Render a session whole."""
        ...

    def session_patch(self, session: Session, quirks: Quirks = DEFAULT) -> Rendered:
        """Render the PATCH body of a running session: all that changes, but no periods (SES-7)."""
        ...

    def cdr(self, cdr: Cdr, quirks: Quirks = DEFAULT) -> Rendered:
        """Render a CDR."""
        ...

    def tariff(self, tariff: Tariff, quirks: Quirks = DEFAULT) -> Rendered:
        """Render a tariff."""
        ...

    def token(self, token: Token, quirks: Quirks = DEFAULT) -> Rendered:
        """Render a token as its owner gave it to us."""
        ...

    # --- small messages

    def versions(self, versions: Sequence[tuple[str, str]]) -> bytes:
        """Write the list of (version, URL)."""
        ...

    def version_details(self, endpoints: Sequence[Endpoint]) -> bytes:
        """Write the details of this version."""
        ...

    def write_credentials(self, credentials: Credentials) -> bytes:
        """Write credentials of ours; raises Invalid when the settings made them impossible."""
        ...

    def location_references(
        self, location_id: str, evse_uids: Sequence[str], connector_id: str | None = None
    ) -> bytes:
        """Write the body of a real-time authorization (TOK-21)."""
        ...

    def command_response(self, result: str, timeout: int, message: str | None = None) -> bytes:
        """Write the immediate answer to a command."""
        ...

    def command_result(self, result: str, message: str | None = None) -> bytes:
        """Write what the station made of a command; words a version lacks become its nearest."""
        ...

    def charging_profile_response(self, result: str, timeout: int) -> bytes:
        """Write the immediate answer to a request about charging profiles."""
        ...

    def charging_profile_result(
        self,
        result: str,
        profile: ChargingProfile | None = None,
    ) -> bytes:
        """Write the result of setting, clearing or (with profile) asking for a profile."""
        ...

    def active_charging_profile(self, profile: ChargingProfile) -> bytes:
        """Write the profile that is active now; its start is required."""
        ...

    def client_info(self, info: ClientInfo) -> bytes:
        """Write what we hold of a hub's party."""
        ...

    # --- what partners send

    def read_versions(self, data: Any) -> list[tuple[str, str]]:
        """Read the list of (version, URL)."""
        ...

    def read_version_details(self, data: Any) -> list[Endpoint]:
        """Read the endpoints; the role, where it is missing, from the module (V-8)."""
        ...

    def read_credentials(self, data: Any) -> Credentials:
        """Read a partner's credentials."""
        ...

    def read_token(
        self, data: Any, *, owner: tuple[str, str] | None = None, partner_id: str | None = None
    ) -> Token:
        """Read a token.

        Args:
            data: parsed JSON.
            owner: country code and party id from the URL, or the partner's only eMSP party: a
                token of 2.1.1 names no party itself.
            partner_id: the platform it came from.
        """
        ...

    def read_token_patch(self, data: Any, known: Token) -> Token:
        """Read a PATCH of a token on top of what we hold; last_updated is required (TRANS-18)."""
        ...

    def read_tokens(
        self, data: Any, *, owner: tuple[str, str] | None = None, partner_id: str | None = None
    ) -> tuple[list[Token], list[Invalid]]:
        """Read a page of tokens: the good ones, and what is wrong with the others (TRANS-26)."""
        ...

    def read_authorization_info(
        self, data: Any, *, partner_id: str | None = None
    ) -> RealTimeAnswer:
        """Read the answer to a real-time authorization."""
        ...

    def read_command(
        self,
        name: str,
        data: Any,
        *,
        owner: tuple[str, str] | None = None,
        partner_id: str | None = None,
    ) -> CommandRequest:
        """Read a command; raises NotFound for a name that this version does not have."""
        ...

    def read_charging_preferences(self, data: Any) -> ChargingPreferences:
        """Read charging preferences."""
        ...

    def read_set_charging_profile(self, data: Any) -> tuple[ChargingProfile, str]:
        """Read a request to set a profile: the profile and the response URL."""
        ...

    def read_client_info(self, data: Any) -> ClientInfo:
        """Read what a hub says of a party."""
        ...


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One OCPI version, or one partner's way of speaking it."""

    version: str
    codec: Codec
    modules: frozenset[str]
    commands: frozenset[str]
    session_statuses: frozenset[str]  # a Session in another state is not for this version
    base64_tokens: bool
    routing_headers: bool
    endpoint_roles: bool
    appending_patch: bool  # PATCH of charging_periods appends (SES-6)
    credit_cdrs: bool
    quirks: Quirks = DEFAULT

    @cached_property
    def form(self) -> tuple[Any, ...]:
        """What distinguishes texts of one object; equal forms share them (D20)."""
        return (self.version, *self.quirks.form)

    def for_partner(self, quirks: Quirks) -> "Dialect":
        """Return this dialect with a partner's habits in it."""
        coded = self.base64_tokens if quirks.base64_tokens is None else quirks.base64_tokens
        return replace(self, base64_tokens=coded, quirks=quirks)
