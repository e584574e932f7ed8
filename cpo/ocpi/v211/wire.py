"""The objects of OCPI 2.1.1 as they stand in messages.

Field tables of the branch `release-2.1.1-bugfixes`. Its `string` is printable ASCII by the text;
real partners send and take UTF-8, so only control characters are refused.
"""

from decimal import Decimal
from typing import Annotated

from annotated_types import Len

from cpo.ocpi.fields import (
    CalendarDate,
    Ci36,
    ClockTime,
    Country,
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
    Str36,
    Str39,
    Str45,
    Str64,
    Str255,
    Str512,
    Text,
    WebAddress,
    Wire,
    strict_rule,
)
from cpo.ocpi.v211 import words

Allowed = Annotated[str, OneOf(words.ALLOWED_TYPES)]
AuthMethod = Annotated[str, OneOf(words.AUTH_METHODS)]
Capability = Annotated[str, OneOf(words.CAPABILITIES, open=True)]
CdrDimensionType = Annotated[str, OneOf(words.CDR_DIMENSIONS)]
CommandResponseType = Annotated[str, OneOf(words.COMMAND_RESPONSES)]
ConnectorFormat = Annotated[str, OneOf(words.CONNECTOR_FORMATS)]
ConnectorType = Annotated[str, OneOf(words.CONNECTOR_TYPES, open=True)]
DayOfWeek = Annotated[str, OneOf(words.DAYS_OF_WEEK)]
EnergySourceCategory = Annotated[str, OneOf(words.ENERGY_SOURCES)]
EnvironmentalImpactCategory = Annotated[str, OneOf(words.ENVIRONMENTAL_IMPACTS, open=True)]
Facility = Annotated[str, OneOf(words.FACILITIES, open=True)]
ImageCategory = Annotated[str, OneOf(words.IMAGE_CATEGORIES, open=True)]
LocationType = Annotated[str, OneOf(words.LOCATION_TYPES, open=True)]
ModuleID = Annotated[str, OneOf(words.MODULES, open=True)]
ParkingRestriction = Annotated[str, OneOf(words.PARKING_RESTRICTIONS, open=True)]
PowerType = Annotated[str, OneOf(words.POWER_TYPES)]
SessionStatus = Annotated[str, OneOf(words.SESSION_STATUSES)]
Status = Annotated[str, OneOf(words.STATUSES)]
TariffDimensionType = Annotated[str, OneOf(words.TARIFF_DIMENSIONS)]
TokenType = Annotated[str, OneOf(words.TOKEN_TYPES, open=True)]
VersionNumber = Annotated[str, OneOf(words.VERSIONS, open=True)]
WhitelistType = Annotated[str, OneOf(words.WHITELISTS)]

CredentialsToken = Annotated[
    str, Text(64), Shape(r"[\x21-\x7e]+", "a token of printable characters without space")
]
CountryCode = Annotated[str, Text(2), Shape(r"[A-Z]{2}", "an ISO 3166 alpha-2 code")]


class DisplayText(Wire):
    """A text for drivers in one language."""

    language: Language
    text: Str512


class Image(Wire):
    """Where a picture is to be had."""

    url: WebAddress
    thumbnail: WebAddress | None = None
    category: ImageCategory
    type: Annotated[str, Text(4)]
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
    url: WebAddress


class VersionDetails(Wire):
    """What a platform serves in one version."""

    version: VersionNumber
    endpoints: Annotated[list[Endpoint], Len(1)]


class Credentials(Wire):
    """How to reach a platform, and whose it is."""

    token: CredentialsToken
    url: WebAddress
    business_details: BusinessDetails
    party_id: Annotated[str, Text(3)]
    country_code: CountryCode


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
    """When a location is open: either always, or at regular hours."""

    regular_hours: list[RegularHours] = []
    twentyfourseven: bool | None = None
    exceptional_openings: list[ExceptionalPeriod] = []
    exceptional_closings: list[ExceptionalPeriod] = []

    @strict_rule
    def _says_when_once(self) -> str | None:
        if bool(self.twentyfourseven) == bool(self.regular_hours):
            return "either twentyfourseven or regular_hours is required"
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

    source: EnvironmentalImpactCategory
    amount: Number


class EnergyMix(Wire):
    """Where the energy comes from."""

    is_green_energy: bool
    energy_sources: list[EnergySource] = []
    environ_impact: list[EnvironmentalImpact] = []
    supplier_name: Str64 | None = None
    energy_product_name: Str64 | None = None


class Connector(Wire):
    """A socket or cable of an EVSE."""

    id: Str36
    standard: ConnectorType
    format: ConnectorFormat
    power_type: PowerType
    voltage: Integer
    amperage: Integer
    tariff_id: Str36 | None = None
    terms_and_conditions: WebAddress | None = None
    last_updated: Instant


class Evse(Wire):
    """What charges one vehicle at a time."""

    uid: Str39
    evse_id: Annotated[str, Text(48)] | None = None
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

    id: Str39
    type: LocationType
    name: Str255 | None = None
    address: Str45
    city: Str45
    postal_code: Str10
    country: Country
    coordinates: GeoLocation
    related_locations: list[AdditionalGeoLocation] = []
    evses: list[Evse] = []
    directions: list[DisplayText] = []
    operator: BusinessDetails | None = None
    suboperator: BusinessDetails | None = None
    owner: BusinessDetails | None = None
    facilities: list[Facility] = []
    time_zone: Str255 | None = None
    opening_times: Hours | None = None
    charging_when_closed: bool | None = None
    images: list[Image] = []
    energy_mix: EnergyMix | None = None
    last_updated: Instant


class PriceComponent(Wire):
    """The price of one dimension, without VAT."""

    type: TariffDimensionType
    price: Number
    step_size: Integer


class TariffRestrictions(Wire):
    """When an element is active during a session."""

    start_time: ClockTime | None = None
    end_time: ClockTime | None = None
    start_date: CalendarDate | None = None
    end_date: CalendarDate | None = None
    min_kwh: Number | None = None
    max_kwh: Number | None = None
    min_power: Number | None = None
    max_power: Number | None = None
    min_duration: Integer | None = None
    max_duration: Integer | None = None
    day_of_week: list[DayOfWeek] = []


class TariffElement(Wire):
    """Prices and when they hold."""

    price_components: Annotated[list[PriceComponent], Len(1)]
    restrictions: TariffRestrictions | None = None


class Tariff(Wire):
    """What a charge costs, without VAT."""

    id: Str36
    currency: Currency
    tariff_alt_text: list[DisplayText] = []
    tariff_alt_url: WebAddress | None = None
    elements: Annotated[list[TariffElement], Len(1)]
    energy_mix: EnergyMix | None = None
    last_updated: Instant


class CdrDimension(Wire):
    """An amount of one dimension."""

    type: CdrDimensionType
    volume: Number


class ChargingPeriod(Wire):
    """A stretch of a session; it ends where the next begins."""

    start_date_time: Instant
    dimensions: Annotated[list[CdrDimension], Len(1)]


class Session(Wire):
    """A charge while it runs."""

    id: Str36
    start_datetime: Instant
    end_datetime: Instant | None = None
    kwh: Number
    auth_id: Str36
    auth_method: AuthMethod
    location: Location
    meter_id: Str255 | None = None
    currency: Currency
    charging_periods: list[ChargingPeriod] = []
    total_cost: Number | None = None
    status: SessionStatus
    last_updated: Instant


class Cdr(Wire):
    """A finished charge, to be billed; amounts without VAT."""

    id: Ci36
    start_date_time: Instant
    stop_date_time: Instant
    auth_id: Str36
    auth_method: AuthMethod
    location: Location
    meter_id: Str255 | None = None
    currency: Currency
    tariffs: list[Tariff] = []
    charging_periods: Annotated[list[ChargingPeriod], Len(1)]
    total_cost: Number
    total_energy: Number
    total_time: Number
    total_parking_time: Number | None = None
    remark: Str255 | None = None
    last_updated: Instant

    @strict_rule
    def _bills_what_may_be_billed(self) -> str | None:
        # 2.1.1 has no credit CDR: corrections are settled outside of OCPI (CDR-6).
        if self.total_cost < Decimal(0):
            return "total_cost is negative"
        return None


class Token(Wire):
    """What a driver identifies with."""

    uid: Str36
    type: TokenType
    auth_id: Str36
    visual_number: Str64 | None = None
    issuer: Str64
    valid: bool
    whitelist: WhitelistType
    language: Language | None = None
    last_updated: Instant


class LocationReferences(Wire):
    """EVSEs of a location."""

    location_id: Str39
    evse_uids: list[Str39] = []
    connector_ids: list[Str36] = []


class AuthorizationInfo(Wire):
    """Whether a token may charge, and where."""

    allowed: Allowed
    location: LocationReferences | None = None
    info: DisplayText | None = None


class StartSession(Wire):
    """Command: start a charge."""

    response_url: WebAddress
    token: Token
    location_id: Str39
    evse_uid: Str39 | None = None


class StopSession(Wire):
    """Command: stop a charge."""

    response_url: WebAddress
    session_id: Str36


class ReserveNow(Wire):
    """Command: keep an EVSE for a driver."""

    response_url: WebAddress
    token: Token
    expiry_date: Instant
    reservation_id: Integer
    location_id: Str39
    evse_uid: Str39 | None = None


class UnlockConnector(Wire):
    """Command: let go of a stuck cable."""

    response_url: WebAddress
    location_id: Str39
    evse_uid: Str39
    connector_id: Str36


class CommandResponse(Wire):
    """Whether a command could be forwarded; also what the station made of it."""

    result: CommandResponseType
