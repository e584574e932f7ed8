"""One of each object that the store keeps, as tests want them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from cpo.domain.cdr import Cdr
from cpo.domain.events import ChargingState, IdToken, SignedReading
from cpo.domain.location import parse_location
from cpo.domain.periods import MeterSample, Record
from cpo.domain.pricing import price
from cpo.domain.session import Session, SessionStatus
from cpo.domain.tariff import parse_tariff
from cpo.domain.tokens import AuthMethod, Token, Whitelist
from cpo.domain.transaction import Phase, Snapshot, Transaction
from cpo.services.ports import Frame, Work

NOON = datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=UTC)
HOUR = timedelta(hours=1)


def work(*rows, add=()):
    unit = Work()
    for row in rows:
        unit.put(row)
    for row in add:
        unit.add(row)
    return unit


def location(id="LOC1"):
    return parse_location(
        {
            "country_code": "NL",
            "party_id": "EXA",
            "id": id,
            "publish": True,
            "address": "Kade 1",
            "city": "Gent",
            "country": "BEL",
            "coordinates": {"latitude": "51.047599", "longitude": "3.729944"},
            "time_zone": "Europe/Brussels",
            "energy_mix": {
                "is_green_energy": False,
                "energy_sources": [{"source": "WIND", "percentage": Decimal("33.3")}],
            },
            "evses": [
                {
                    "uid": "E1",
                    "evse_id": "BE*EXA*E1",
                    "ocpp": {"station": "CP1", "evse_id": 1},
                    "connectors": [
                        {
                            "id": "1",
                            "standard": "IEC_62196_T2",
                            "format": "SOCKET",
                            "power_type": "AC_3_PHASE",
                            "max_voltage": 230,
                            "max_amperage": 16,
                            "tariff_ids": ["T1"],
                        }
                    ],
                }
            ],
        }
    )


def tariff(id="T1"):
    return parse_tariff(
        {
            "country_code": "NL",
            "party_id": "EXA",
            "id": id,
            "currency": "EUR",
            "elements": [
                {
                    "price_components": [
                        {"type": "ENERGY", "price": Decimal("0.4567"), "vat": 21, "step_size": 1}
                    ]
                }
            ],
        }
    )


def token(uid="04A1b2", **changes):
    values = {
        "country_code": "DE",
        "party_id": "MSP",
        "uid": uid,
        "type": "RFID",
        "contract_id": "DE-MSP-C1",
        "issuer": "Msp",
        "valid": True,
        "whitelist": Whitelist.ALLOWED,
        "partner_id": "p1",
        "details": {"language": "de", "limit": Decimal("12.50")},
    }
    return Token(**(values | changes))


def snapshot():
    return Snapshot(
        country_code="NL",
        party_id="EXA",
        location=location(),
        evse_uid="E1",
        connector_id="1",
        tariff=tariff(),
        currency="EUR",
    )


def transaction(id="tx1", **changes):
    values = {
        "id": id,
        "station": "CP1",
        "key": "1234",
        "phase": Phase.ACTIVE,
        "started_at": NOON,
        "received_at": NOON,
        "evse_id": 1,
        "begin_wh": Decimal("1000.10"),
        "id_token": IdToken("04A1b2", "ISO14443"),
        "token": token(),
        "states": ((NOON, ChargingState.CHARGING),),
        "flags": frozenset({"odd"}),
        "snapshot": snapshot(),
    }
    return Transaction(**(values | changes))


def charged():
    record = Record(
        started_at=NOON,
        ended_at=NOON + HOUR,
        meter=(MeterSample(NOON, Decimal(0)), MeterSample(NOON + HOUR, Decimal("7654.321"))),
    )
    return price(record, tariff(), ZoneInfo("Europe/Brussels"))


def session(id="tx1", **changes):
    cost = charged()
    values = {
        "id": id,
        "country_code": "NL",
        "party_id": "EXA",
        "partner_id": "p1",
        "station": "CP1",
        "start_date_time": NOON,
        "status": SessionStatus.ACTIVE,
        "energy_wh": Decimal("7654.321"),
        "token": token(),
        "auth_method": AuthMethod.WHITELIST,
        "snapshot": snapshot(),
        "currency": "EUR",
        "periods": cost.periods,
        "cost": cost.breakdown(),
        "flags": frozenset({"estimated"}),
    }
    return Session(**(values | changes))


def cdr(id="cdr1", **changes):
    cost = charged()
    values = {
        "id": id,
        "session_id": "tx1",
        "country_code": "NL",
        "party_id": "EXA",
        "partner_id": "p1",
        "start_date_time": NOON,
        "end_date_time": NOON + HOUR,
        "token": token(),
        "auth_method": AuthMethod.COMMAND,
        "snapshot": snapshot(),
        "currency": "EUR",
        "periods": cost.periods,
        "cost": cost.breakdown(),
        "energy_wh": Decimal("7654.321"),
        "time_s": Decimal(3600),
        "parking_s": Decimal(0),
        "signed": (SignedReading("End", "OCMF|{}|{}", "OCMF", at=NOON),),
    }
    return Cdr(**(values | changes))


def frame(n=1, station="CP1", action="Heartbeat"):
    return Frame(station, NOON + n * timedelta(seconds=1), "in", action, str(n), "{}", "{}")
