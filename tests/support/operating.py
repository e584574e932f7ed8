"""The operator API over the services of `charging`, as a client with a key sees it."""

import json
import secrets
import tempfile
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from aiohttp.test_utils import TestClient, TestServer
from charging import Charging
from memory_store import MemoryStore

from cpo.config import ApiKey
from cpo.domain.command import Outcome, Reply
from cpo.domain.partner import Endpoint, Partner, PartnerStatus, PartyRole
from cpo.errors import PartnerUnreachable
from cpo.services.cdr_chain import CdrChain
from cpo.services.cdrs import Cdrs
from cpo.services.files import FileRules, Files
from cpo.services.jobs import JobRules, Jobs
from cpo.services.limits import Limits
from cpo.services.list_tokens import ListTokens
from cpo.services.local_lists import ListRules, LocalLists
from cpo.services.meter_keys import MeterKeys
from cpo.services.partners import Partners
from cpo.services.placing import Placing
from cpo.services.site_limits import SiteLimits
from cpo.services.starts import Starts
from cpo.services.station_security import StationSecurity
from cpo.services.templates import Templates
from cpo.services.token_use import TokenUse
from cpo.telemetry import Metrics
from cpo.web.auth import Keys
from cpo.web.server import OperatorApi
from cpo.web.services import OperatorServices

ADMIN, OPERATE, READ = "admin-key-0123456789", "operate-key-01234567", "read-key-0123456789a"


class Registrar:
    """Registers at once, or fails at the step it is told."""

    def __init__(self):
        self.fails_at = None
        self.told = []

    async def connect(self, partner, token_a):
        if self.fails_at is not None:
            raise PartnerUnreachable(self.fails_at, "the partner answered 500")
        self.told.append(("connect", partner.id, token_a))
        return partner

    async def rotate(self, partner):
        self.told.append(("rotate", partner.id))
        return partner

    async def disconnect(self, partner):
        self.told.append(("disconnect", partner.id))


class Lanes:
    """A backlog that a test fills."""

    def __init__(self):
        self.marks = {}

    def backlog(self, partner_id):
        return self.marks.get(partner_id, [])

    def state(self, partner_id):
        return {"breaker": "closed"}

    def changed(self, partner):
        pass


class Audience:
    """Nobody sees anything."""

    def everything(self, partner):
        return ()

    def contract(self, work, before, after):
        pass


@dataclass
class Link:
    """A live connection that answers what it is told."""

    identity: str
    version: str = "1.6"
    reply: Reply = field(default_factory=lambda: Reply(outcome=Outcome.ACCEPTED))
    answer: dict | Exception = field(default_factory=dict)
    executed: list = field(default_factory=list)
    closed: tuple | None = None

    async def execute(self, command, *, timeout=None):
        self.executed.append(command)
        return self.reply

    async def call(self, action, payload, *, timeout=None):
        self.executed.append((action, payload, timeout))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def close(self, code, reason):
        self.closed = (code, reason)


class Operating:
    """A world with the operator API on a free port."""

    def __init__(self, store=None):
        self.charging = Charging(store=store or MemoryStore())
        self.store = self.charging.store
        self.registrar, self.lanes = Registrar(), Lanes()
        now = lambda: self.charging.clock  # noqa: E731
        self.partners = Partners(self.store, now)
        self.partners.registrar = self.registrar
        self.partners.lanes = self.lanes
        self.partners.audience = Audience()
        self.reasons = []
        self.metrics = Metrics()
        self.time = 1000.0
        self.keys = Keys(
            [
                ApiKey(name="boss", key=ADMIN, scopes=["admin"]),
                ApiKey(name="duty", key=OPERATE, scopes=["operate"]),
                ApiKey(name="wall", key=READ, scopes=["read"]),
            ],
            clock=lambda: self.time,
        )
        self.limits = Limits(self.charging.memory, self.store, self.charging.commands, now=now)
        self.site_limits = SiteLimits(
            self.charging.memory, self.store, self.limits, now=now, call_timeout=30
        )
        self.templates = Templates(
            self.charging.memory, self.store, self.charging.stations, now=now, delay=0
        )
        folder = Path(tempfile.gettempdir()) / f"cpo-files-{secrets.token_hex(8)}"
        self.files = Files(
            self.store,
            FileRules(
                directory=folder, max_upload_bytes=1000, max_firmware_bytes=5000,
                max_total_bytes=20_000, link_lifetime=60, keep_uploads=0,
            ),
            now=now,
        )  # fmt: skip
        self.jobs = Jobs(
            self.charging.memory, self.store, self.charging.stations, self.files,
            JobRules(log_timeout=60, firmware_timeout=60, answer_timeout=60, retries=0,
                     retry_interval=1, keep=0),
            now=now, base_url=lambda: "http://files/transfer",
        )  # fmt: skip
        use = TokenUse(self.store)
        self.local_lists = LocalLists(
            self.charging.memory,
            self.store,
            self.charging.stations,
            ListTokens(self.store, self.charging.partners, use, now=now, limit=100),
            now=now,
            rules=ListRules(delay=0, interval=0.05),
            template_mode=self.templates.local_list_mode,
        )
        self.security = StationSecurity(
            self.charging.memory,
            self.store,
            now=now,
            own={},
            renew_before=timedelta(days=30),
            metrics=self.metrics,
        )
        self.services = OperatorServices(
            store=self.store,
            memory=self.charging.memory,
            parties=[("NL", "CPO")],
            stations=self.charging.stations,
            sites=self.charging.sites,
            tokens=self.charging.tokens,
            transactions=self.charging.transactions,
            placing=Placing(self.charging.memory, self.store, self.charging.transactions),
            partners=self.partners,
            commands=self.charging.commands,
            cdrs=Cdrs(self.store, self.charging.billing, self.charging.publishing, now=now),
            chain=CdrChain(self.store, now=now),
            limits=self.limits,
            site_limits=self.site_limits,
            templates=self.templates,
            starts=Starts(
                self.charging.memory, self.store, self.charging.commands, now=now, wait=60
            ),
            jobs=self.jobs,
            files=self.files,
            local_lists=self.local_lists,
            security=self.security,
            meter_keys=MeterKeys(self.store, self.charging.memory, now=now),
            hash_password=lambda identity, password: f"hash of {len(password)}",
            versions_url=lambda: "http://127.0.0.1:1/ocpi/versions",
            readiness=self.readiness,
            now=now,
        )
        api = OperatorApi(self.services, self.keys, self.metrics)
        self.client = TestClient(TestServer(api.application()))

    async def readiness(self):
        return self.reasons

    def connect(self, identity, **link):
        """Give a registered station a live connection."""
        made = Link(identity, **link)
        self.charging.memory.stations[identity].link = made
        return made

    async def partner(self):
        """A connected eMSP."""
        made = Partner(
            id="P1",
            name="MSP",
            status=PartnerStatus.CONNECTED,
            version="2.2.1",
            roles=(PartyRole(role="EMSP", country_code="NL", party_id="MSP"),),
            endpoints=(Endpoint(identifier="cdrs", role="RECEIVER", url="http://p1/cdrs"),),
            token_out="canary-token-out",
            token_in_hashes=("canary-hash",),
        )
        await self.partners.save(made)
        self.charging.partners.by_id["P1"] = made
        return made

    async def ask(self, method, path, body=None, *, key=ADMIN, headers=None, raw=None):
        """Return (status, parsed answer, headers)."""
        sent = {"Authorization": f"Bearer {key}"} if key else {}
        data = raw if raw is not None else (None if body is None else json.dumps(body))
        answer = await self.client.request(method, path, data=data, headers=sent | (headers or {}))
        text = await answer.read()
        is_json = "json" in answer.headers.get("Content-Type", "")
        parsed = json.loads(text) if text and is_json and b"\n{" not in text else text
        return answer.status, parsed, answer.headers
