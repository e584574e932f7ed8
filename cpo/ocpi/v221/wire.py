"""The objects of OCPI 2.2.1 as they stand in messages.

Field tables of the branch `release-2.2.1-bugfixes`; where 2.2.1-d2 has shorter texts, the longer
ones are accepted and sent.
"""

from decimal import Decimal
from typing import Annotated, Self

from annotated_types import Len
from pydantic import model_validator

from cpo.ocpi.fields import (
    CalendarDate,
    Ci3,
    Ci4,
    Ci36,
    Ci39,
    Ci48,
    CiText,
    ClockTime,
    Country,
    CountryCode,
    Currency,
    Instant,
    Integer,
    Language,
    Latitude,
    Longitude,
    Number,
    OneOf,
    Shape,
    Str10,
    Str45,
    Str64,
    Str255,
    Str512,
    Text,
    WebAddress,
    Wire,
    problem,
    strict_rule,
)
from cpo.ocpi.v221 import words

AllowedType = Annotated[str, OneOf(words.ALLOWED_TYPES)]
AuthMethod = Annotated[str, OneOf(words.AUTH_METHODS)]
Capability = Annotated[str, OneOf(words.CAPABILITIES, open=True)]
CdrDimensionType = Annotated[str, OneOf(words.CDR_DIMENSIONS)]
ChargingProfileResponseType = Annotated[str, OneOf(words.CHARGING_PROFILE_RESPONSES)]
ChargingProfileResultType = Annotated[str, OneOf(words.CHARGING_PROFILE_RESULTS)]
ChargingRateUnit = Annotated[str, OneOf(words.CHARGING_RATE_UNITS)]
CommandResponseType = Annotated[str, OneOf(words.COMMAND_RESPONSES)]
CommandResultType = Annotated[str, OneOf(words.COMMAND_RESULTS)]
ConnectionStatus = Annotated[str, OneOf(words.CONNECTION_STATUSES)]
ConnectorFormat = Annotated[str, OneOf(words.CONNECTOR_FORMATS)]
ConnectorType = Annotated[str, OneOf(words.CONNECTOR_TYPES, open=True)]
DayOfWeek = Annotated[str, OneOf(words.DAYS_OF_WEEK)]
EnergySourceCategory = Annotated[str, OneOf(words.ENERGY_SOURCES)]
EnvironmentalImpactCategory = Annotated[str, OneOf(words.ENVIRONMENTAL_IMPACTS, open=True)]
Facility = Annotated[str, OneOf(words.FACILITIES, open=True)]
ImageCategory = Annotated[str, OneOf(words.IMAGE_CATEGORIES, open=True)]
InterfaceRole = Annotated[str, OneOf(words.INTERFACE_ROLES)]
ModuleID = Annotated[str, OneOf(words.MODULES, open=True)]
ParkingRestriction = Annotated[str, OneOf(words.PARKING_RESTRICTIONS, open=True)]
ParkingType = Annotated[str, OneOf(words.PARKING_TYPES, open=True)]
PowerType = Annotated[str, OneOf(words.POWER_TYPES)]
ProfileType = Annotated[str, OneOf(words.PROFILE_TYPES)]
ReservationRestrictionType = Annotated[str, OneOf(words.RESERVATION_RESTRICTIONS)]
Role = Annotated[str, OneOf(words.ROLES)]
SessionStatus = Annotated[str, OneOf(words.SESSION_STATUSES)]
Status = Annotated[str, OneOf(words.STATUSES)]
TariffDimensionType = Annotated[str, OneOf(words.TARIFF_DIMENSIONS)]
TariffType = Annotated[str, OneOf(words.TARIFF_TYPES)]
TokenType = Annotated[str, OneOf(words.TOKEN_TYPES, open=True)]
VersionNumber = Annotated[str, OneOf(words.VERSIONS, open=True)]
WhitelistType = Annotated[str, OneOf(words.WHITELISTS)]

CredentialsToken = Annotated[
    str, Text(64), Shape(r"[\x21-\x7e]+", "a token of printable characters without space")
]


class DisplayText(Wire):
    """A text for drivers in one language."""

    language: Language
    text: Str512


class Image(Wire):
    """Where a picture is to be had."""

    url: WebAddress
    thumbnail: WebAddress | None = None
    category: ImageCategory
    type: Ci4
    width: Integer | None = None
    height: Integer | None = None


class BusinessDetails(Wire):
    """A company."""

    name: Annotated[str, Text(100)]
    website: WebAddress | None = None
    logo: Image | None = None


class Version(Wire):
    """A version that a platform speaks, and where."""

    version: VersionNumber
    url: WebAddress


class Endpoint(Wire):
    """Where a module is served."""

    identifier: ModuleID
    role: InterfaceRole
    url: WebAddress


class VersionDetails(Wire):
    """What a platform serves in one version."""

    version: VersionNumber
    endpoints: Annotated[list[Endpoint], Len(1)]


class CredentialsRole(Wire):
    """A party on a platform, in one role."""

    role: Role
    business_details: BusinessDetails
    party_id: Ci3
    country_code: CountryCode


class Credentials(Wire):
    """How to reach a platform, and who is on it."""

    token: CredentialsToken
    url: WebAddress
    roles: Annotated[list[CredentialsRole], Len(1)]


class GeoLocation(Wire):
    """A point, in WGS 84."""

    latitude: Latitude
    longitude: Longitude


class AdditionalGeoLocation(Wire):
    """A further point, such as an entrance."""

    latitude: Latitude
    longitude: Longitude
    name: DisplayText | None = None


class RegularHours(Wire):
    """A span that recurs each week, local time, 1 = Monday."""

    weekday: Integer
    period_begin: ClockTime
    period_end: ClockTime

    @strict_rule
    def _ends_after_it_begins(self) -> str | None:
        if not 1 <= self.weekday <= 7:
            return "weekday is not 1 to 7"
        if self.period_end <= self.period_begin:
            return "period_end is not later than period_begin"
        return None


class ExceptionalPeriod(Wire):
    """A span that occurs once, UTC."""

    period_begin: Instant
    period_end: Instant


class Hours(Wire):
    """When a location is open."""

    twentyfourseven: bool
    regular_hours: list[RegularHours] = []
    exceptional_openings: list[ExceptionalPeriod] = []
    exceptional_closings: list[ExceptionalPeriod] = []

    @strict_rule
    def _says_when(self) -> str | None:
        if not (self.twentyfourseven or self.regular_hours):
            return "regular_hours are required when twentyfourseven is false"
        return None


class StatusSchedule(Wire):
    """A status announced for a span."""

    period_begin: Instant
    period_end: Instant | None = None
    status: Status


class EnergySource(Wire):
    """The share of one source, in percent."""

    source: EnergySourceCategory
    percentage: Number


class EnvironmentalImpact(Wire):
    """An impact, in gram per kWh."""

    category: EnvironmentalImpactCategory
    amount: Number


class EnergyMix(Wire):
    """Where the energy comes from."""

    is_green_energy: bool
    energy_sources: list[EnergySource] = []
    environ_impact: list[EnvironmentalImpact] = []
    supplier_name: Str64 | None = None
    energy_product_name: Str64 | None = None


class PublishTokenType(Wire):
    """Tokens that may be shown a location that is not public."""

    uid: Ci36 | None = None
    type: TokenType | None = None
    visual_number: Str64 | None = None
    issuer: Str64 | None = None
    group_id: Ci36 | None = None

    @strict_rule
    def _names_somebody(self) -> str | None:
        named = self.group_id or (self.uid and self.type) or (self.visual_number and self.issuer)
        if not named:
            return "uid and type, visual_number and issuer, or group_id is required"
        return None


class Connector(Wire):
    """A socket or cable of an EVSE."""

    id: Ci36
    standard: ConnectorType
    format: ConnectorFormat
    power_type: PowerType
    max_voltage: Integer
    max_amperage: Integer
    max_electric_power: Integer | None = None
    tariff_ids: list[Ci36] = []
    terms_and_conditions: WebAddress | None = None
    last_updated: Instant


class Evse(Wire):
    """What charges one vehicle at a time."""

    uid: Ci36
    evse_id: Ci48 | None = None
    status: Status
    status_schedule: list[StatusSchedule] = []
    capabilities: list[Capability] = []
    connectors: Annotated[list[Connector], Len(1)]
    floor_level: Annotated[str, Text(4)] | None = None
    coordinates: GeoLocation | None = None
    physical_reference: Annotated[str, Text(16)] | None = None
    directions: list[DisplayText] = []
    parking_restrictions: list[ParkingRestriction] = []
    images: list[Image] = []
    last_updated: Instant


class Location(Wire):
    """A site with its EVSEs."""

    country_code: CountryCode
    party_id: Ci3
    id: Ci36
    publish: bool
    publish_allowed_to: list[PublishTokenType] = []
    name: Str255 | None = None
    address: Str255
    city: Str45
    postal_code: Str10 | None = None
    state: Str45 | None = None
    country: Country
    coordinates: GeoLocation
    related_locations: list[AdditionalGeoLocation] = []
    parking_type: ParkingType | None = None
    evses: list[Evse] = []
    directions: list[DisplayText] = []
    operator: BusinessDetails | None = None
    suboperator: BusinessDetails | None = None
    owner: BusinessDetails | None = None
    facilities: list[Facility] = []
    time_zone: Str255
    opening_times: Hours | None = None
    charging_when_closed: bool | None = None
    images: list[Image] = []
    energy_mix: EnergyMix | None = None
    last_updated: Instant

    @strict_rule
    def _restricts_only_what_is_not_public(self) -> str | None:
        if self.publish and self.publish_allowed_to:
            return "publish_allowed_to needs publish to be false"
        return None


class Price(Wire):
    """An amount without and with VAT."""

    excl_vat: Number
    incl_vat: Number | None = None

    @property
    def net(self) -> Decimal:
        """The amount without taxes."""
        return self.excl_vat


class PriceComponent(Wire):
    """The price of one dimension."""

    type: TariffDimensionType
    price: Number
    vat: Number | None = None
    step_size: Integer


class TariffRestrictions(Wire):
    """When an element is active during a session."""

    start_time: ClockTime | None = None
    end_time: ClockTime | None = None
    start_date: CalendarDate | None = None
    end_date: CalendarDate | None = None
    min_kwh: Number | None = None
    max_kwh: Number | None = None
    min_current: Number | None = None
    max_current: Number | None = None
    min_power: Number | None = None
    max_power: Number | None = None
    min_duration: Integer | None = None
    max_duration: Integer | None = None
    day_of_week: list[DayOfWeek] = []
    reservation: ReservationRestrictionType | None = None


class TariffElement(Wire):
    """Prices and when they hold."""

    price_components: Annotated[list[PriceComponent], Len(1)]
    restrictions: TariffRestrictions | None = None


class Tariff(Wire):
    """What a charge costs."""

    country_code: CountryCode
    party_id: Ci3
    id: Ci36
    currency: Currency
    type: TariffType | None = None
    tariff_alt_text: list[DisplayText] = []
    tariff_alt_url: WebAddress | None = None
    min_price: Price | None = None
    max_price: Price | None = None
    elements: Annotated[list[TariffElement], Len(1)]
    start_date_time: Instant | None = None
    end_date_time: Instant | None = None
    energy_mix: EnergyMix | None = None
    last_updated: Instant


class CdrToken(Wire):
    """The token of a charge, as it was."""

    country_code: CountryCode
    party_id: Ci3
    uid: Ci36
    type: TokenType
    contract_id: Ci36


class CdrDimension(Wire):
    """An amount of one dimension."""

    type: CdrDimensionType
    volume: Number


class ChargingPeriod(Wire):
    """A stretch of a session; it ends where the next begins."""

    start_date_time: Instant
    dimensions: Annotated[list[CdrDimension], Len(1)]
    tariff_id: Ci36 | None = None


class Session(Wire):
    """A charge while it runs."""

    country_code: CountryCode
    party_id: Ci3
    id: Ci36
    start_date_time: Instant
    end_date_time: Instant | None = None
    kwh: Number
    cdr_token: CdrToken
    auth_method: AuthMethod
    authorization_reference: Ci36 | None = None
    location_id: Ci36
    evse_uid: Ci36
    connector_id: Ci36
    meter_id: Str255 | None = None
    currency: Currency
    charging_periods: list[ChargingPeriod] = []
    total_cost: Price | None = None
    status: SessionStatus
    last_updated: Instant


class CdrLocation(Wire):
    """Where a charge took place, as it was."""

    id: Ci36
    name: Str255 | None = None
    address: Str45
    city: Str45
    postal_code: Str10 | None = None
    state: Annotated[str, Text(20)] | None = None
    country: Country
    coordinates: GeoLocation
    evse_uid: Ci36
    evse_id: Ci48
    connector_id: Ci36
    connector_standard: ConnectorType
    connector_format: ConnectorFormat
    connector_power_type: PowerType


class SignedValue(Wire):
    """A value as the meter signed it."""

    nature: Annotated[str, CiText(32)]
    plain_data: Annotated[str, Text(5000)]
    signed_data: Annotated[str, Text(5000)]


class SignedData(Wire):
    """What a driver needs to check the meter's signatures."""

    encoding_method: Ci36
    encoding_method_version: Integer | None = None
    public_key: Str512 | None = None
    signed_values: Annotated[list[SignedValue], Len(1)]
    url: Str512 | None = None


class Cdr(Wire):
    """A finished charge, to be billed."""

    country_code: CountryCode
    party_id: Ci3
    id: Ci39
    start_date_time: Instant
    end_date_time: Instant
    session_id: Ci36 | None = None
    cdr_token: CdrToken
    auth_method: AuthMethod
    authorization_reference: Ci36 | None = None
    cdr_location: CdrLocation
    meter_id: Str255 | None = None
    currency: Currency
    tariffs: list[Tariff] = []
    charging_periods: Annotated[list[ChargingPeriod], Len(1)]
    signed_data: SignedData | None = None
    total_cost: Price
    total_fixed_cost: Price | None = None
    total_energy: Number
    total_energy_cost: Price | None = None
    total_time: Number
    total_time_cost: Price | None = None
    total_parking_time: Number | None = None
    total_parking_cost: Price | None = None
    total_reservation_cost: Price | None = None
    remark: Str255 | None = None
    invoice_reference_id: Ci39 | None = None
    credit: bool | None = None
    credit_reference_id: Ci39 | None = None
    home_charging_compensation: bool | None = None
    last_updated: Instant

    @strict_rule
    def _bills_what_may_be_billed(self) -> str | None:
        if self.credit and not self.credit_reference_id:
            return "credit_reference_id is required in a credit CDR"
        if self.total_cost.net < 0 and not self.credit:
            return "total_cost is negative though this is no credit CDR"
        momentary = {
            dimension.type for period in self.charging_periods for dimension in period.dimensions
        } & words.SESSION_ONLY_DIMENSIONS
        if momentary:
            return f"{min(momentary)} belongs into a Session only"
        return None


class EnergyContract(Wire):
    """The driver's energy supplier."""

    supplier_name: Str64
    contract_id: Str64 | None = None


class Token(Wire):
    """What a driver identifies with."""

    country_code: CountryCode
    party_id: Ci3
    uid: Ci36
    type: TokenType
    contract_id: Ci36
    visual_number: Str64 | None = None
    issuer: Str64
    group_id: Ci36 | None = None
    valid: bool
    whitelist: WhitelistType
    language: Language | None = None
    default_profile_type: ProfileType | None = None
    energy_contract: EnergyContract | None = None
    last_updated: Instant


class LocationReferences(Wire):
    """EVSEs of a location."""

    location_id: Ci36
    evse_uids: list[Ci36] = []


class AuthorizationInfo(Wire):
    """Whether a token may charge, and where."""

    allowed: AllowedType
    token: Token
    location: LocationReferences | None = None
    authorization_reference: Ci36 | None = None
    info: DisplayText | None = None


class StartSession(Wire):
    """Command: start a charge."""

    response_url: WebAddress
    token: Token
    location_id: Ci36
    evse_uid: Ci36 | None = None
    connector_id: Ci36 | None = None
    authorization_reference: Ci36 | None = None

    @model_validator(mode="after")
    def _names_the_evse_of_the_connector(self) -> Self:
        if self.connector_id and not self.evse_uid:
            raise problem("evse_uid is required with connector_id")
        return self


class StopSession(Wire):
    """Command: stop a charge."""

    response_url: WebAddress
    session_id: Ci36


class ReserveNow(Wire):
    """Command: keep an EVSE for a driver."""

    response_url: WebAddress
    token: Token
    expiry_date: Instant
    reservation_id: Ci36
    location_id: Ci36
    evse_uid: Ci36 | None = None
    authorization_reference: Ci36 | None = None


class CancelReservation(Wire):
    """Command: give a reservation up."""

    response_url: WebAddress
    reservation_id: Ci36


class UnlockConnector(Wire):
    """Command: let go of a stuck cable."""

    response_url: WebAddress
    location_id: Ci36
    evse_uid: Ci36
    connector_id: Ci36


class CommandResponse(Wire):
    """Whether a command could be forwarded."""

    result: CommandResponseType
    timeout: Integer
    message: list[DisplayText] = []


class CommandResult(Wire):
    """What the station made of a command."""

    result: CommandResultType
    message: list[DisplayText] = []


class ChargingPreferences(Wire):
    """What a driver wants of a charge."""

    profile_type: ProfileType
    departure_time: Instant | None = None
    energy_need: Number | None = None
    discharge_allowed: bool | None = None


class ChargingProfilePeriod(Wire):
    """A limit, from so many seconds after the start of its profile."""

    start_period: Integer
    limit: Number


class ChargingProfile(Wire):
    """Limits over time."""

    start_date_time: Instant | None = None
    duration: Integer | None = None
    charging_rate_unit: ChargingRateUnit
    min_charging_rate: Number | None = None
    charging_profile_period: list[ChargingProfilePeriod] = []


class SetChargingProfile(Wire):
    """Request: limit a session."""

    charging_profile: ChargingProfile
    response_url: WebAddress


class ActiveChargingProfile(Wire):
    """The limits a session really has."""

    start_date_time: Instant
    charging_profile: ChargingProfile


class ChargingProfileResponse(Wire):
    """Whether a request could be forwarded."""

    result: ChargingProfileResponseType
    timeout: Integer


class ChargingProfileResult(Wire):
    """What the station made of a limit."""

    result: ChargingProfileResultType


class ClearProfileResult(Wire):
    """What the station made of the end of a limit."""

    result: ChargingProfileResultType


class ActiveChargingProfileResult(Wire):
    """The limits a session really has, if the station tells."""

    result: ChargingProfileResultType
    profile: ActiveChargingProfile | None = None


class ClientInfo(Wire):
    """A party behind a hub, and whether it can be reached."""

    party_id: Ci3
    country_code: CountryCode
    role: Role
    status: ConnectionStatus
    last_updated: Instant
