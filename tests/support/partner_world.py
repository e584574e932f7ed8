"""A partner side over a real store, with the services it needs and nothing of OCPP."""

import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal

import aiohttp

from cpo.config import Settings
from cpo.db.store import open_store
from cpo.domain.partner import Endpoint, PartnerStatus, PartyRole
from cpo.domain.station import EvseStatus, StatusRules
from cpo.domain.values import replace
from cpo.ocpi.access import authorization
from cpo.ocpi.assembly import partner_side
from cpo.services.memory import Memory
from cpo.services.partners import Partners, fingerprint
from cpo.services.ports import EvseState, Kind, Work
from cpo.services.publishing import Publishing
from cpo.services.sites import SiteBook
from cpo.services.tokens import Tokens
from cpo.telemetry import Metrics

PARTIES = [{"country_code": "NL", "party_id": "CPO", "business_details": {"name": "Example CPO"}}]


TOKEN = "the-token-of-the-partner"


def now():
    return datetime.now(UTC)


class World:
    """What a test touches: `books` is the operator's side, `side` the partners'."""

    def __init__(self, store, settings):
        self.store = store
        self.memory = Memory()
        self.partners = Partners(store, now)
        self.publishing = Publishing(self.memory, self.partners, StatusRules())
        parties = [(p.country_code, p.party_id) for p in settings.parties]
        self.sites = SiteBook(self.memory, store, self.publishing, now=now, parties=parties)
        self.tokens = Tokens(self.memory, store, now=now, party=parties[0])
        self.metrics = Metrics()
        self.side = partner_side(
            settings,
            store=store,
            memory=self.memory,
            publishing=self.publishing,
            partners=self.partners,
            tokens=self.tokens,
            metrics=self.metrics,
            now=now,
        )

    async def start(self):
        await self.memory.load(self.store)
        await self.partners.load()
        await self.side.start()

    async def tariff(self, tariff_id="T-1", price="0.45"):
        body = {
            "currency": "EUR",
            "elements": [
                {"price_components": [{"type": "ENERGY", "price": Decimal(price), "step_size": 1}]}
            ],
        }
        await self.sites.put_tariff(tariff_id, body, actor="test")

    async def location(self, location_id="L-1", *, evses=1, tariff=None, **changes):
        body = {
            "publish": True,
            "address": "Stationsplein 1",
            "city": "Utrecht",
            "postal_code": "3511ED",
            "country": "NLD",
            "coordinates": {"latitude": "52.089560", "longitude": "5.109720"},
            "time_zone": "Europe/Amsterdam",
            "evses": [
                {
                    "uid": f"{location_id}-E{n}",
                    "evse_id": f"NL*CPO*E{location_id.replace('-', '')}{n}",
                    "ocpp": {"station": f"CP-{location_id}", "evse_id": n},
                    "capabilities": ["REMOTE_START_STOP_CAPABLE"],
                    "connectors": [
                        {
                            "id": "1",
                            "standard": "IEC_62196_T2",
                            "format": "SOCKET",
                            "power_type": "AC_3_PHASE",
                            "max_voltage": 230,
                            "max_amperage": 16,
                            **({"tariff_ids": [tariff]} if tariff else {}),
                        }
                    ],
                }
                for n in range(1, evses + 1)
            ],
        } | changes
        await self.sites.put_location(location_id, body, actor="test")

    async def status(self, location_id, uid, status):
        """Publish an EVSE's status as a station's report would."""
        location = self.memory.sites.locations[location_id]
        work = Work()
        work.put(EvseState(location_id, uid, EvseStatus(status)))
        work.touch(Kind.LOCATION, location_id)
        audience = self.publishing.audience(location, Kind.EVSE)
        work.mark(audience, Kind.EVSE, f"{location_id}/{uid}")

        def remember(stamp):
            self.memory.sites.statuses[location_id, uid] = EvseState(
                location_id, uid, EvseStatus(status), stamp
            )
            self.memory.sites.stamps[location_id] = stamp

        work.then(remember)
        await self.store.commit(work)

    @property
    def url(self):
        return self.side.public_url

    def ask(self, token, version="2.2.1"):
        return Asker(self, token, version)


class Asker:
    """A partner that asks by hand."""

    def __init__(self, world, token, version):
        self.world = world
        self.token = token
        self.version = version

    async def __call__(self, method, path, body=None, *, headers=None, raw=None, encoded=True):
        url = path if path.startswith("http") else f"{self.world.url}/ocpi/{path}"
        sent = {"Authorization": authorization(self.token, encoded=encoded), **(headers or {})}
        data = raw if raw is not None else (None if body is None else json.dumps(body))
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, data=data, headers=sent) as response,
        ):
            text = await response.read()
            return Told(response.status, response.headers, json.loads(text) if text else None)


class Told:
    """What we answered."""

    def __init__(self, http, headers, body):
        self.http = http
        self.headers = headers
        self.body = body

    @property
    def code(self):
        return self.body["status_code"]

    @property
    def data(self):
        return self.body.get("data")

    @property
    def said(self):
        return self.http, self.code


@asynccontextmanager
async def partner_world(url="sqlite:///:memory:", *, store=None, parties=PARTIES, **ocpi):
    """Run a partner side on free ports; settings of `ocpi` may be given by name."""
    push = {"backoff_min": 0.05, "backoff_max": 0.4, "timeout": 30, "drain_rate": 0}
    push |= ocpi.pop("push", {})
    settings = Settings.model_validate(
        {
            "parties": parties,
            "ocpi": {
                "host": "127.0.0.1",
                "port": 0,
                "allow_private_urls": True,
                "status_debounce": 0.05,
                "requests_per_second": 0,
                "push": push,
            }
            | ocpi,
        }
    )
    opened = store or await open_store(url, vault_key=b"k" * 32)
    world = World(opened, settings)
    try:
        await world.start()
        yield world
    finally:
        await world.side.stop()
        if store is None:
            await opened.close()


async def registered(world, *, name="MSP", token=TOKEN, version="2.2.1", endpoints=(), **more):
    """Add a partner as a handshake would leave it."""
    invited = await world.partners.invite(name)
    return await world.partners.save(
        replace(
            invited.partner,
            status=PartnerStatus.CONNECTED,
            version=version,
            roles=(PartyRole(role="EMSP", country_code="NL", party_id=name, name=name),),
            endpoints=tuple(Endpoint(identifier=i, role=r, url=u) for i, r, u in endpoints),
            token_a_hash=None,
            token_in_hashes=(fingerprint(token),),
            token_out="their-token",
            **more,
        )
    )
