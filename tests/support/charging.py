"""The services wired together over a MemoryStore, with a clock that stands still."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from memory_store import MemoryStore

from cpo.config import HOLD_REASONS
from cpo.domain.partner import Endpoint, Partner, PartnerStatus, PartyRole
from cpo.domain.quality import QualityRules
from cpo.domain.station import Station, StatusRules
from cpo.domain.tokens import Token, Whitelist
from cpo.services.authorization import Authorizations
from cpo.services.billing import Billing
from cpo.services.commands import Commands
from cpo.services.memory import Memory
from cpo.services.ports import Work
from cpo.services.publishing import Publishing
from cpo.services.sites import SiteBook
from cpo.services.stations import Stations
from cpo.services.tokens import Tokens
from cpo.services.transactions import Transactions

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
PLACE = {
    "country_code": "NL",
    "party_id": "CPO",
    "publish": True,
    "address": "Street 1",
    "city": "Town",
    "country": "NLD",
    "coordinates": {"latitude": "52.100000", "longitude": "5.100000"},
    "time_zone": "Europe/Amsterdam",
}
"""A location as an operator enters it, without its EVSEs."""


class Partners:
    """The partner book: a dictionary."""

    def __init__(self):
        self.by_id = {}

    def all(self):
        return self.by_id.values()

    def get(self, partner_id):
        return self.by_id.get(partner_id)


class Emsp:
    """Answers real-time authorizations from a dictionary; remembers what it was asked."""

    def __init__(self):
        self.answers = {}
        self.asked = []

    async def ask(self, partner, token_uid, token_type, *, location_id, evse_uids):
        self.asked.append((partner.id, token_uid, location_id, evse_uids))
        return self.answers.get(token_uid)


class Charging:
    """Everything between the adapters."""

    def __init__(self, *, update_interval=60.0, settle_time=0.05, store=None, rules=None):
        self.clock = NOON
        self.store = store or MemoryStore()
        self.memory = Memory()
        self.partners = Partners()
        self.emsp = Emsp()
        now = lambda: self.clock  # noqa: E731
        self.publishing = Publishing(self.memory, self.partners, StatusRules(), now=now)
        self.billing = Billing(
            self.memory.sites,
            secret=uuid.UUID(int=7),
            currencies={("NL", "CPO"): "EUR"},
            rules=QualityRules(holding=frozenset(HOLD_REASONS)),
            tariffs_seen=lambda partner_id: self.partners.by_id[partner_id].policy.get("tariffs"),
        )
        self.authorizations = Authorizations(
            self.store, self.memory, self.partners, self.emsp, now=now, rules=rules
        )
        self.transactions = Transactions(
            self.memory,
            self.store,
            self.authorizations,
            self.billing,
            self.publishing,
            now=now,
            update_interval=update_interval,
            settle_time=settle_time,
        )
        self.stations = Stations(
            self.memory,
            self.store,
            self.authorizations,
            self.transactions,
            self.publishing,
            now=now,
            heartbeat_interval=300,
            offline_grace=300,
        )
        self.sites = SiteBook(
            self.memory, self.store, self.publishing, now=now, parties=[("NL", "CPO")]
        )
        self.tokens = Tokens(self.memory, self.store, now=now, party=("NL", "CPO"))
        self.commands = Commands(
            self.memory, self.store, self.stations, self.authorizations, now=now, call_timeout=30
        )

    def partner(self, id="P1", party=("NL", "MSP"), version="2.2.1"):
        endpoints = tuple(
            Endpoint(identifier=module, role="RECEIVER", url=f"http://{id}/{module}")
            for module in ("locations", "tariffs", "sessions", "cdrs")
        )
        self.partners.by_id[id] = Partner(
            id=id,
            name=id,
            status=PartnerStatus.CONNECTED,
            version=version,
            roles=(PartyRole(role="EMSP", country_code=party[0], party_id=party[1]),),
            endpoints=endpoints,
        )
        return self.partners.by_id[id]

    async def token(self, uid="TAG", *, partner_id="P1", whitelist="ALLOWED", **changes):
        token = Token(
            **{
                "country_code": "NL",
                "party_id": "MSP",
                "uid": uid,
                "type": "RFID",
                "contract_id": f"NL-MSP-{uid}",
                "issuer": "MSP",
                "valid": True,
                "whitelist": Whitelist(whitelist),
                "partner_id": partner_id,
                **changes,
            }
        )
        work = Work()
        self.tokens.write(work, token)
        await self.store.commit(work)
        return token

    async def site(self, station="CP1", *, kwh_price="0.30", evses=1):
        """A tariff and a location with EVSEs bound to a station's EVSEs 1 to n."""
        await self.sites.put_tariff(
            "T1",
            {
                "currency": "EUR",
                "elements": [
                    {
                        "price_components": [
                            {
                                "type": "ENERGY",
                                "price": Decimal(kwh_price),
                                "vat": Decimal(20),
                                "step_size": 1,
                            }
                        ]
                    }
                ],
            },
            actor="test",
        )
        await self.stations.register(Station(identity=station), actor="test")
        await self.sites.put_location(
            f"L-{station}",
            {
                **PLACE,
                "evses": [
                    {
                        "uid": f"{station}-uid-{n}-x",
                        "evse_id": f"NL*CPO*E{n:04}*{abs(hash(station)) % 1000}",
                        "ocpp": {"station": station, "evse_id": n},
                        "connectors": [
                            {
                                "id": "1",
                                "standard": "IEC_62196_T2",
                                "format": "SOCKET",
                                "power_type": "AC_3_PHASE",
                                "max_voltage": 230,
                                "max_amperage": 32,
                                "tariff_ids": ["T1"],
                            }
                        ],
                    }
                    for n in range(1, evses + 1)
                ],
            },
            actor="test",
        )

    async def told(self, event, station="CP1"):
        """Take a transaction event in as the adapter does: fold, commit, answer."""
        async with self.stations.lock(station):
            work = Work()
            answer = await self.stations.transaction(work, station, event, raw="raw")
            await self.store.commit(work)
        return answer

    async def metered(self, report, station="CP1"):
        async with self.stations.lock(station):
            work = Work()
            await self.stations.meter_values(work, station, report)
            await self.store.commit(work)

    async def status(self, report, station="CP1"):
        async with self.stations.lock(station):
            work = Work()
            await self.stations.status(work, station, report)
            await self.store.commit(work)

    def pass_time(self, **delta):
        self.clock += timedelta(**delta)
