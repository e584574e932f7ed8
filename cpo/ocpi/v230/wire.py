"""The objects of OCPI 2.3.0 as they stand in messages: what differs from 2.2.1.

Field tables of the core document, edition 2; the shorter texts of edition 1 fit into them.
"""

from decimal import Decimal
from typing import Annotated

from annotated_types import Len

from cpo.ocpi.fields import (
    Ci3,
    Ci36,
    CiText,
    CountryCode,
    Instant,
    Number,
    OneOf,
    Shape,
    Text,
    Wire,
)
from cpo.ocpi.v221 import wire as v221
from cpo.ocpi.v221.wire import (
    ActiveChargingProfile,
    ActiveChargingProfileResult,
    AdditionalGeoLocation,
    BusinessDetails,
    CancelReservation,
    CdrDimension,
    ChargingPeriod,
    ChargingPreferences,
    ChargingProfile,
    ChargingProfilePeriod,
    ChargingProfileResponse,
    ChargingProfileResult,
    ClearProfileResult,
    CommandResponse,
    CommandResult,
    DisplayText,
    Endpoint,
    EnergyContract,
    EnergyMix,
    EnergySource,
    EnvironmentalImpact,
    ExceptionalPeriod,
    GeoLocation,
    Hours,
    Image,
    LocationReferences,
    PriceComponent,
    RegularHours,
    SetChargingProfile,
    SignedData,
    SignedValue,
    StatusSchedule,
    StopSession,
    TariffElement,
    TariffRestrictions,
    UnlockConnector,
)
from cpo.ocpi.v230 import words

__all__ = [  # what 2.2.1 and 2.3.0 share is reached through this module too
    "ActiveChargingProfile",
    "ActiveChargingProfileResult",
    "AdditionalGeoLocation",
    "AuthorizationInfo",
    "BusinessDetails",
    "CancelReservation",
    "Cdr",
    "CdrDimension",
    "CdrLocation",
    "CdrToken",
    "ChargingPeriod",
    "ChargingPreferences",
    "ChargingProfile",
    "ChargingProfilePeriod",
    "ChargingProfileResponse",
    "ChargingProfileResult",
    "ClearProfileResult",
    "ClientInfo",
    "CommandResponse",
    "CommandResult",
    "Connector",
    "Credentials",
    "CredentialsRole",
    "DisplayText",
    "Endpoint",
    "EnergyContract",
    "EnergyMix",
    "EnergySource",
    "EnvironmentalImpact",
    "Evse",
    "EvseParking",
    "ExceptionalPeriod",
    "GeoLocation",
    "Hours",
    "Image",
    "InvoiceReconciliationRecord",
    "Location",
    "LocationReferences",
    "Parking",
    "Price",
    "PriceComponent",
    "PriceLimit",
    "PublishTokenType",
    "RegularHours",
    "ReserveNow",
    "Session",
    "SetChargingProfile",
    "SignedData",
    "SignedValue",
    "StartSession",
    "StatusSchedule",
    "StopSession",
    "Tariff",
    "TariffElement",
    "TariffRestrictions",
    "TaxAmount",
    "Token",
    "UnlockConnector",
    "Version",
    "VersionDetails",
]

ConnectorCapability = Annotated[str, OneOf(words.CONNECTOR_CAPABILITIES, open=True)]
ConnectorType = Annotated[str, OneOf(words.CONNECTOR_TYPES, open=True)]
EvsePosition = Annotated[str, OneOf(words.EVSE_POSITIONS)]
ParkingDirection = Annotated[str, OneOf(words.PARKING_DIRECTIONS)]
ParkingRestriction = Annotated[str, OneOf(words.PARKING_RESTRICTIONS, open=True)]
Role = Annotated[str, OneOf(words.ROLES)]
TaxIncluded = Annotated[str, OneOf(words.TAX_INCLUDED)]
TokenType = Annotated[str, OneOf(words.TOKEN_TYPES, open=True)]
VehicleType = Annotated[str, OneOf(words.VEHICLE_TYPES, open=True)]
VersionNumber = Annotated[str, OneOf(words.VERSIONS, open=True)]


class Version(v221.Version):
    """A version that a platform speaks, and where."""

    version: VersionNumber


class VersionDetails(v221.VersionDetails):
    """What a platform serves in one version."""

    version: VersionNumber


class CredentialsRole(v221.CredentialsRole):
    """A party on a platform, in one role."""

    role: Role


class Credentials(v221.Credentials):
    """How to reach a platform, and who is on it or behind it."""

    roles: Annotated[list[CredentialsRole], Len(1)]  # type: ignore[assignment]
    hub_party_id: (
        Annotated[str, CiText(5), Shape("[A-Za-z]{2}[A-Za-z0-9]{3}", "country code and party id")]
        | None
    ) = None


class Parking(Wire):
    """A parking place; sizes in cm, weight in kg, time in minutes."""

    id: Ci36
    physical_reference: Annotated[str, Text(12)] | None = None
    vehicle_types: Annotated[list[VehicleType], Len(1)]
    max_vehicle_weight: Number | None = None
    max_vehicle_height: Number | None = None
    max_vehicle_length: Number | None = None
    max_vehicle_width: Number | None = None
    parking_space_length: Number | None = None
    parking_space_width: Number | None = None
    dangerous_goods_allowed: bool | None = None
    direction: ParkingDirection | None = None
    drive_through: bool | None = None
    restricted_to_type: bool
    reservation_required: bool
    time_limit: Number | None = None
    roofed: bool | None = None
    images: list[Image] = []
    lighting: bool | None = None
    refrigeration_outlet: bool | None = None
    standards: list[Ci36] = []
    apds_reference: Annotated[str, CiText()] | None = None


class EvseParking(Wire):
    """Which parking place an EVSE serves, and from where."""

    parking_id: Ci36
    evse_position: EvsePosition | None = None


class Connector(v221.Connector):
    """A socket or cable of an EVSE."""

    standard: ConnectorType
    capabilities: list[ConnectorCapability] = []


class Evse(v221.Evse):
    """What charges one vehicle at a time."""

    connectors: Annotated[list[Connector], Len(1)]  # type: ignore[assignment]
    parking_restrictions: list[ParkingRestriction] = []
    parking: list[EvseParking] = []
    accepted_service_providers: list[Annotated[str, Text(50)]] = []


class PublishTokenType(v221.PublishTokenType):
    """Tokens that may be shown a location that is not public."""

    type: TokenType | None = None


class Location(v221.Location):
    """A site with its EVSEs and parking places."""

    publish_allowed_to: list[PublishTokenType] = []  # type: ignore[assignment]
    evses: list[Evse] = []  # type: ignore[assignment]
    parking_places: list[Parking] = []
    help_phone: Annotated[str, CiText(25)] | None = None


class TaxAmount(Wire):
    """The amount of one tax."""

    name: Annotated[str, Text()]
    account_number: Annotated[str, Text()] | None = None
    percentage: Number | None = None
    amount: Number


class Price(Wire):
    """An amount without taxes, and the taxes on it."""

    before_taxes: Number
    taxes: list[TaxAmount] = []

    @property
    def net(self) -> Decimal:
        """The amount without taxes."""
        return self.before_taxes


class PriceLimit(Wire):
    """A lower or upper bound of a price."""

    before_taxes: Number
    after_taxes: Number | None = None


class Tariff(v221.Tariff):
    """What a charge costs."""

    min_price: PriceLimit | None = None  # type: ignore[assignment]
    max_price: PriceLimit | None = None  # type: ignore[assignment]
    tax_included: TaxIncluded


class CdrToken(v221.CdrToken):
    """The token of a charge, as it was."""

    type: TokenType


class Session(v221.Session):
    """A charge while it runs."""

    cdr_token: CdrToken
    total_cost: Price | None = None  # type: ignore[assignment]


class CdrLocation(v221.CdrLocation):
    """Where a charge took place, as it was."""

    connector_standard: ConnectorType


class Cdr(v221.Cdr):
    """A finished charge, to be billed."""

    cdr_token: CdrToken
    cdr_location: CdrLocation
    tariffs: list[Tariff] = []  # type: ignore[assignment]
    total_cost: Price  # type: ignore[assignment]
    total_fixed_cost: Price | None = None  # type: ignore[assignment]
    total_energy_cost: Price | None = None  # type: ignore[assignment]
    total_time_cost: Price | None = None  # type: ignore[assignment]
    total_parking_cost: Price | None = None  # type: ignore[assignment]
    total_reservation_cost: Price | None = None  # type: ignore[assignment]


class Token(v221.Token):
    """What a driver identifies with."""

    type: TokenType


class AuthorizationInfo(v221.AuthorizationInfo):
    """Whether a token may charge, and where."""

    token: Token


class StartSession(v221.StartSession):
    """Command: start a charge."""

    token: Token


class ReserveNow(v221.ReserveNow):
    """Command: keep an EVSE for a driver."""

    token: Token


class ClientInfo(v221.ClientInfo):
    """A party behind a hub, and whether it can be reached."""

    role: Role


class InvoiceReconciliationRecord(Wire):
    """Which CDRs an invoice settles (edition 2, optional module)."""

    country_code: CountryCode
    party_id: Ci3
    id: Ci36
    invoice_id: Annotated[str, CiText(255)]
    cdrs: Annotated[list[Ci36], Len(1)]
    last_updated: Instant
