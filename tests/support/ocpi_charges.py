"""Charges of the domain to render: a location, a tariff, and what a session came to."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from cpo.domain.cdr import Cdr
from cpo.domain.location import Location, parse_location
from cpo.domain.periods import Activity, MeterSample, Record, StateChange
from cpo.domain.pricing import price
from cpo.domain.session import Session, SessionStatus
from cpo.domain.tariff import Tariff, parse_tariff
from cpo.domain.tokens import AuthMethod, Token, Whitelist
from cpo.domain.transaction import Snapshot
from cpo.domain.values import replace

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
STAMP = datetime(2026, 6, 1, 13, 30, 0, 250_000, tzinfo=UTC)


def location(**changes: Any) -> Location:
    return parse_location(
        {
            "id": "LOC-1",
            "country_code": "NL",
            "party_id": "CPO",
            "publish": True,
            "name": "Harbour",
            "address": "Wilhelminakade 123",
            "city": "Rotterdam",
            "postal_code": "3072 AP",
            "state": "Zuid-Holland",
            "country": "NLD",
            "coordinates": {"latitude": "51.904722", "longitude": "4.484722"},
            "time_zone": "Europe/Amsterdam",
            "parking_type": "ON_DRIVEWAY",
            "facilities": ["HOTEL", "TRAM_STOP"],
            "help_phone": "+31101234567",
            "operator": {"name": "Example CPO", "website": "https://cpo.example"},
            "opening_times": {"twentyfourseven": True},
            "energy_mix": {
                "is_green_energy": True,
                "environ_impact": [{"category": "CARBON_DIOXIDE", "amount": Decimal("12.5")}],
            },
            "parking_places": [
                {
                    "id": "P1",
                    "vehicle_types": ["DISABLED", "PERSONAL_VEHICLE"],
                    "restricted_to_type": False,
                    "reservation_required": False,
                    "max_vehicle_height": Decimal("210.5"),
                }
            ],
            "evses": [
                {
                    "uid": f"EVSE-{number}",
                    "evse_id": f"NL*CPO*E{number}",
                    "ocpp": {"station": "hidden-identity", "evse_id": number},
                    "capabilities": ["RFID_READER", "PED_TERMINAL"],
                    "parking": [{"parking_id": "P1"}],
                    "parking_restrictions": ["EV_ONLY", "TAXIS"],
                    "physical_reference": f"bay {number}",
                    "connectors": [
                        {
                            "id": "1",
                            "standard": "IEC_62196_T2_COMBO",
                            "format": "CABLE",
                            "power_type": "DC",
                            "max_voltage": 920,
                            "max_amperage": 200,
                            "max_electric_power": 150_000,
                            "tariff_ids": ["T-1", "T-2"],
                            "capabilities": ["ISO_15118_2_PLUG_AND_CHARGE"],
                        },
                        {
                            "id": "2",
                            "standard": "MCS" if number == 3 else "IEC_62196_T2",
                            "format": "SOCKET",
                            "power_type": "AC_2_PHASE" if number == 2 else "AC_3_PHASE",
                            "max_voltage": 230,
                            "max_amperage": 32,
                        },
                    ],
                }
                for number in (1, 2, 3)
            ],
        }
        | changes
    )


def tariff(**changes: Any) -> Tariff:
    return parse_tariff(
        {
            "country_code": "NL",
            "party_id": "CPO",
            "id": "T-1",
            "currency": "EUR",
            "type": "REGULAR",
            "tariff_alt_text": [{"language": "en", "text": "0.39 a kWh"}],
            "elements": [
                {
                    "price_components": [
                        {"type": "FLAT", "price": Decimal("0.50"), "vat": 21, "step_size": 1}
                    ]
                },
                {
                    "price_components": [
                        {"type": "ENERGY", "price": Decimal("0.39"), "vat": 21, "step_size": 1}
                    ],
                    "restrictions": {
                        "start_time": "00:00",
                        "end_time": "23:00",
                        "day_of_week": ["MONDAY", "SUNDAY"],
                        "max_kwh": Decimal("100.5"),
                    },
                },
                {
                    "price_components": [
                        {"type": "PARKING_TIME", "price": Decimal(3), "vat": 9, "step_size": 60}
                    ]
                },
            ],
            "last_updated": "2026-05-01T00:00:00Z",
        }
        | changes
    )


def token(**changes: Any) -> Token:
    known = Token(
        country_code="DE",
        party_id="EMP",
        uid="04A2B3C4",
        type="RFID",
        contract_id="DE-EMP-C12345678-X",
        issuer="Example eMSP",
        valid=True,
        whitelist=Whitelist.ALLOWED,
        partner_id="partner-1",
        group_id="DE-EMP-G1",
        visual_number="DF000-2001-8999",
        details={
            "language": "de",
            "default_profile_type": "GREEN",
            "energy_contract": {"supplier_name": "Greenpeace Energy", "contract_id": "0123"},
        },
        last_updated=NOON,
    )
    return replace(known, **changes)


def record(*, minutes: int = 90, parked: int = 31, energy_wh: str = "20123.456") -> Record:
    """Describe a charge of so many minutes, of which the last ones were parking."""
    end = NOON + timedelta(minutes=minutes)
    full = end - timedelta(minutes=parked)
    return Record(
        started_at=NOON,
        ended_at=end,
        meter=(MeterSample(NOON, Decimal(0)), MeterSample(full, Decimal(energy_wh))),
        states=(
            StateChange(NOON, Activity.CHARGING),
            *([StateChange(full, Activity.PARKING)] if parked else []),
        ),
    )


def snapshot(*, of: Location | None = None, priced_by: Tariff | None = None) -> Snapshot:
    return Snapshot(
        country_code="NL",
        party_id="CPO",
        location=of or location(),
        evse_uid="EVSE-1",
        connector_id="1",
        tariff=tariff() if priced_by is None else priced_by,
        currency="EUR",
    )


def session(**changes: Any) -> Session:
    charge, held = record(), snapshot()
    cost = price(charge, held.tariff, ZoneInfo(held.location.time_zone))
    known = Session(
        id="SESSION-1",
        country_code="NL",
        party_id="CPO",
        partner_id="partner-1",
        station="hidden-identity",
        start_date_time=charge.started_at,
        end_date_time=charge.ended_at,
        status=SessionStatus.COMPLETED,
        energy_wh=cost.energy_wh,
        token=token(),
        auth_method=AuthMethod.COMMAND,
        authorization_reference="ref-1",
        snapshot=held,
        currency="EUR",
        periods=cost.periods,
        cost=cost.breakdown(),
        last_updated=STAMP,
    )
    return replace(known, **changes)


def cdr(charge: Record | None = None, held: Snapshot | None = None, **changes: Any) -> Cdr:
    charge, held = charge or record(), held or snapshot()
    cost = price(charge, held.tariff, ZoneInfo(held.location.time_zone))
    known = Cdr(
        id="CDR-1",
        session_id="SESSION-1",
        country_code="NL",
        party_id="CPO",
        partner_id="partner-1",
        start_date_time=charge.started_at,
        end_date_time=charge.ended_at or NOON,
        token=token(),
        auth_method=AuthMethod.COMMAND,
        authorization_reference="ref-1",
        snapshot=held,
        currency="EUR",
        periods=cost.periods,
        cost=cost.breakdown(),
        energy_wh=cost.energy_wh,
        time_s=cost.time_s,
        parking_s=cost.parking_s,
        last_updated=STAMP,
    )
    return replace(known, **changes)
