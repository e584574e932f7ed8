"""The composition root: builds everything, starts and stops it in order."""

import asyncio
import logging
import os
import secrets
import signal
import ssl
import sys
import uuid
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from cpo import telemetry
from cpo.config import Ocpp, Settings
from cpo.db.store import SqlStore, open_store
from cpo.domain.command import Command, CommandKind, Outcome
from cpo.domain.quality import QualityRules
from cpo.domain.settings_template import Template, read_template
from cpo.domain.station import EvseStatus, StatusRules
from cpo.errors import CpoError, Misconfigured, StoreUnavailable
from cpo.nodes import Nodes, node_hooks
from cpo.ocpi.assembly import PartnerSide, partner_side
from cpo.ocpi.guard import UrlGuard
from cpo.ocpp.adapter import authorities_of, ocpp_server
from cpo.ocpp.limits import RefusedAttempts
from cpo.ocpp.quirk_profiles import quirk_profiles
from cpo.ocpp.relay import Relay, contracts_of
from cpo.ocpp.server import settle_memory, share_heaps
from cpo.ocpp.tls import Renewal, TlsFiles, server_context
from cpo.ocpp.transfers import PATH as TRANSFERS
from cpo.ocpp.transfers import TransferRules, TransferServer
from cpo.services.authorization import AuthorizationRules, Authorizations
from cpo.services.billing import Billing
from cpo.services.cdr_chain import CdrChain
from cpo.services.cdrs import Cdrs
from cpo.services.charging_needs import ChargingNeeds
from cpo.services.commands import Commands
from cpo.services.displays import Displays
from cpo.services.equipment import Equipment
from cpo.services.files import FileRules, Files
from cpo.services.jobs import JobRules, Jobs
from cpo.services.limits import Limits
from cpo.services.list_tokens import ListTokens
from cpo.services.local_lists import ListRules, LocalLists
from cpo.services.memory import Memory, StationState
from cpo.services.meter_keys import MeterKeys
from cpo.services.partners import Partners
from cpo.services.passwords import Passwords
from cpo.services.placing import Placing
from cpo.services.preferences import ChargingPreferences
from cpo.services.publishing import Publishing
from cpo.services.running_costs import RunningCosts
from cpo.services.site_limits import SiteLimits
from cpo.services.sites import SiteBook
from cpo.services.starts import Starts
from cpo.services.station_security import StationSecurity
from cpo.services.station_tariffs import StationTariffs
from cpo.services.stations import Stations
from cpo.services.templates import Templates
from cpo.services.token_use import TokenUse
from cpo.services.tokens import Tokens
from cpo.services.transactions import Transactions
from cpo.services.upkeep import Job, StaleTransactions, run_job
from cpo.services.vat_numbers import VatNumbers, VatRules
from cpo.services.withdrawals import Withdrawals
from cpo.telemetry import Metrics
from cpo.web.auth import Keys as OperatorKeys
from cpo.web.observing import Observer
from cpo.web.server import NodeApi, OperatorApi
from cpo.web.services import OperatorServices

log = structlog.get_logger()
# Its lines say when jobs were added, which nobody asked for.
logging.getLogger("apscheduler").setLevel(logging.WARNING)


def now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Keys:
    """What is derived from the instance's one secret; none of it is in the database."""

    ids: uuid.UUID
    passwords: bytes
    vault: bytes
    logs: bytes


def keys_of(settings: Settings) -> Keys:
    """Return the instance's keys.

    The secret is `server.secret_key`, else the file beside the SQLite file, else `cpo.key` in the
    working directory; the file is made at the first start.
    """
    if settings.server.secret_key is not None:
        secret = settings.server.secret_key.get_secret_value().encode()
    else:
        secret = _secret_file(settings.database.url)
    return Keys(
        ids=uuid.UUID(bytes=_derived(secret, b"ids")[:16]),
        passwords=_derived(secret, b"passwords"),
        vault=_derived(secret, b"vault"),
        logs=_derived(secret, b"logs"),
    )


def status_rules(settings: Ocpp) -> StatusRules:
    """Return which status of a charger is shown as which, as the settings say."""
    return StatusRules(
        available=EvseStatus(settings.available_status),
        preparing=EvseStatus(settings.preparing_status),
        charging=EvseStatus(settings.charging_status),
        suspended_ev=EvseStatus(settings.suspended_ev_status),
        suspended_evse=EvseStatus(settings.suspended_evse_status),
        finishing=EvseStatus(settings.finishing_status),
        reserved=EvseStatus(settings.reserved_status),
        unavailable=EvseStatus(settings.unavailable_status),
        faulted=EvseStatus(settings.faulted_status),
        blocked_after=timedelta(seconds=settings.blocked_after),
    )


def _blocking(rules: StatusRules, stations: Stations) -> list[Job]:
    """Return what notices that a cable blocks by now, where that is asked for."""
    if not rules.waits:
        return []
    every = min(60.0, max(0.05, rules.blocked_after.total_seconds() / 4))
    return [Job("blocked", every, stations.look_again)]


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return blake2b(secret, digest_size=32, person=purpose).digest()


def _secret_file(url: str) -> bytes:
    path = Path("cpo.key")
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///") + ".key")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    except OSError as error:
        raise Misconfigured("server.secret_key", f"cannot make {path}: {error}") from None
    secret = secrets.token_hex(32).encode()
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    return secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What every node has."""

    store: SqlStore
    memory: Memory
    metrics: Metrics
    parties: list[tuple[str, str]]
    partners: Partners
    publishing: Publishing
    tokens: Tokens
    side: PartnerSide
    authorizations: Authorizations
    billing: Billing
    transactions: Transactions
    stations: Stations
    commands: Commands
    equipment: Equipment
    limits: Limits
    preferences: ChargingPreferences
    passwords: Passwords
    placing: Placing


class App:
    """The running system. `start` brings it up in order, `stop` takes it down in the other."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._ready = False
        self.listening: dict[str, str] = {}
        self._refused = RefusedAttempts()
        self._files_url = ""
        self.operator_key: str | None = None
        self._context: ssl.SSLContext | None = None
        self._renewal: Renewal | None = None
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Open the store, load memory, open the three doors."""
        settings, stack = self._settings, self._stack
        keys = keys_of(settings)
        telemetry.configure_logs(level=settings.log.level, form=settings.log.format, key=keys.logs)
        metrics = Metrics()
        if settings.bus.url.startswith("local:"):
            store = await open_store(
                settings.database.url, vault_key=keys.vault, now=now, alone=True
            )
            stack.push_async_callback(store.close)
            parts = await self._build(store, keys, metrics)
            # Partners first: what recovery marks must find its lane.
            await self._lead(parts)
            await parts.stations.start()
            await parts.transactions.recover()
            await self._open_ocpp(parts)
        else:
            await self._start_node(keys, metrics)
        settle_memory()
        self._ready = True

    async def _build(
        self, store: SqlStore, keys: Keys, metrics: Metrics, *, memory: Memory | None = None
    ) -> "Parts":
        """Build what every node has, and load what it keeps in memory."""
        settings, stack = self._settings, self._stack
        store.observe(metrics.committed)
        memory = memory or Memory()
        await memory.load(store)
        partners = Partners(store, now)
        await partners.load()
        publishing = Publishing(memory, partners, status_rules(settings.ocpp), now=now)
        parties = [(party.country_code, party.party_id) for party in settings.parties]
        tokens = Tokens(memory, store, now=now, party=parties[0])
        side = partner_side(
            settings,
            store=store,
            memory=memory,
            publishing=publishing,
            partners=partners,
            tokens=tokens,
            metrics=metrics,
            now=now,
        )
        stack.push_async_callback(side.stop)
        authorizations = Authorizations(
            store,
            memory,
            partners,
            side.authorizer,
            now=now,
            rules=_authorization_rules(settings),
        )
        billing = Billing(
            memory.sites,
            secret=store.instance,
            currencies={(p.country_code, p.party_id): p.currency for p in settings.parties},
            tariffs_seen=lambda partner_id: _tariffs_seen(partners, partner_id),
            rules=QualityRules(
                holding=frozenset(settings.billing.hold),
                longest_gap=timedelta(seconds=settings.billing.longest_gap),
                power_margin=Decimal(str(settings.billing.power_margin)),
            ),
        )
        transactions = Transactions(
            memory,
            store,
            authorizations,
            billing,
            publishing,
            now=now,
            update_interval=settings.ocpi.session_update_interval,
            settle_time=settings.ocpp.settle_time,
        )
        stack.push_async_callback(transactions.close)
        placing = Placing(memory, store, transactions)
        stack.push_async_callback(placing.close)
        displays = Displays(memory, store, now=now)
        stack.push_async_callback(displays.close)
        costs = RunningCosts(memory, displays, billing, now=now)
        stack.push_async_callback(costs.close)
        tariffs = StationTariffs(memory, store, billing, displays, now=now)
        stack.push_async_callback(tariffs.close)
        transactions.on_session += [costs.session, tariffs.session]
        stations = Stations(
            memory,
            store,
            authorizations,
            transactions,
            publishing,
            now=now,
            heartbeat_interval=settings.ocpp.heartbeat_interval,
            offline_grace=settings.ocpp.offline_grace,
        )
        stations.quirk_profiles = quirk_profiles(settings.ocpp.quirk_profiles)
        stations.on_authorized.append(costs.authorized)
        stations.on_boot.append(displays.booted)
        stations.prices = tariffs
        stack.push_async_callback(stations.close)
        commands = Commands(
            memory,
            store,
            stations,
            authorizations,
            now=now,
            call_timeout=settings.ocpp.call_timeout,
        )
        stack.push_async_callback(commands.close)
        limits = Limits(memory, store, commands, now=now)
        equipment = Equipment(store, now=now)
        transactions.on_foreign.append(equipment.foreign_transaction)
        needs = ChargingNeeds(memory, store, limits, now=now)
        stack.push_async_callback(needs.close)
        equipment.on_needs = needs.asked
        equipment.on_limit.append(needs.limits_changed)
        equipment.on_schedule.append(needs.chosen)
        transactions.on_session.append(needs.session)
        commands.on_finished.append(needs.command_finished)
        stale = StaleTransactions(
            memory,
            transactions,
            now=now,
            after=settings.ocpp.stale_transaction_after,
            invalid=settings.ocpp.stale_sessions == "invalid",
        )
        self._start_jobs(
            [
                Job("stale-transactions", 60.0, stale.sweep),
                *_blocking(publishing.rules, stations),
                Job("station-tariffs", 60.0, tariffs.sweep),
                Job("tls", 10.0, self.renew_tls),
            ]
        )
        return Parts(
            store=store,
            memory=memory,
            metrics=metrics,
            parties=parties,
            partners=partners,
            publishing=publishing,
            tokens=tokens,
            side=side,
            authorizations=authorizations,
            billing=billing,
            transactions=transactions,
            stations=stations,
            commands=commands,
            equipment=equipment,
            limits=limits,
            preferences=ChargingPreferences(memory, store, billing, transactions, now=now),
            passwords=Passwords(keys.passwords),
            placing=placing,
        )

    async def _lead(self, parts: "Parts", node: Nodes | None = None) -> None:
        """Start what only one node does: partners, operators, jobs, what is about many stations.

        A single process does it at its start, one of several nodes when it becomes the leader.
        """
        settings, stack = self._settings, self._stack
        store, memory, commands = parts.store, parts.memory, parts.commands
        transactions, stations, side = parts.transactions, parts.stations, parts.side
        reserve = node.node.seats.reserve if node else partial(_keep_reservation, transactions)
        commands.on_finished.append(partial(_reservation_ended, reserve))
        side.attach_commands(commands)
        for on_gone in (stations.on_reservation_gone, *node_hooks(node, "reservations")):
            on_gone.append(side.commands.gone_at_station)
        side.attach_preferences(parts.preferences)
        starts = Starts(memory, store, commands, now=now, wait=settings.ocpp.start_timeout)
        await starts.load()
        commands.on_finished.append(starts.finished)
        limits = parts.limits
        site_limits = SiteLimits(
            memory, store, limits, now=now, call_timeout=settings.ocpp.call_timeout
        )
        await site_limits.load()
        stack.push_async_callback(site_limits.close)
        templates = Templates(
            memory, store, stations, now=now, built_in=_built_in_templates(settings)
        )
        await templates.load()
        stack.push_async_callback(templates.close)
        files, jobs = await self._jobs(parts)
        lists, withdrawals = await self._lists(
            store, memory, parts.partners, stations, templates, commands
        )
        parts.tokens.on_change += [lists.tokens_changed, withdrawals.tokens_changed]
        if node:
            node.node.feed.on_progress.append(jobs.progress)
            node.node.feed.on_report.append(jobs.reported)
        commands.on_finished.append(site_limits.command_finished)
        for on_session in (transactions.on_session, *node_hooks(node, "sessions")):
            on_session.append(starts.session)
            on_session.append(lists.used)
            on_session.append(site_limits.session_changed)
        for on_boot in (stations.on_boot, *node_hooks(node, "boots")):
            on_boot.append(site_limits.booted)
            on_boot.append(templates.booted)
            on_boot.append(jobs.booted)
            on_boot.append(lists.booted)
        security = StationSecurity(
            memory,
            store,
            now=now,
            own=_own_certificates(settings),
            renew_before=timedelta(days=settings.ocpp.tls.renew_before_days),
            issued=stations.certificates,
            authorities=authorities_of(settings.ocpp.tls, now),
            metrics=parts.metrics,
        )
        chain = CdrChain(store, now=now)
        sites = SiteBook(memory, store, parts.publishing, now=now, parties=parts.parties)
        sites.on_location.append(parts.placing.location_changed)

        if node:
            # Before what is unheard is loaded: nothing can come between the two.
            node.node.feed.on_marks.append(side.push.committed)
        port = await side.start(bound=node.doors["ocpi"] if node else None)
        self.listening["ocpi"] = side.versions_url.replace(
            side.public_url, f"http://{_shown(settings.ocpi.host)}:{port}"
        )
        await commands.recover()
        await self._start_operator(
            OperatorServices(
                store=store,
                memory=memory,
                parties=parts.parties,
                stations=stations,
                sites=sites,
                tokens=parts.tokens,
                transactions=transactions,
                placing=parts.placing,
                partners=parts.partners,
                commands=commands,
                cdrs=Cdrs(store, parts.billing, parts.publishing, now=now),
                chain=chain,
                limits=limits,
                site_limits=site_limits,
                templates=templates,
                starts=starts,
                jobs=jobs,
                files=files,
                local_lists=lists,
                security=security,
                meter_keys=MeterKeys(store, memory, now=now),
                hash_password=lambda _, password: parts.passwords.hash(password),
                versions_url=lambda: side.versions_url,
                readiness=lambda: self._readiness(store),
                condition=node.condition if node else dict,
                refused=lambda: [asdict(one) for one in self._refused.all()],
                now=now,
            ),
            parts.metrics,
            node,
        )
        self._start_jobs(
            [
                *side.jobs,
                Job("site-limits", 60.0, site_limits.sweep),
                Job("local-lists", 60.0, lists.sweep),
                *_settings_check(settings, templates),
                Job("certificates", 3600.0, security.sweep),
                Job("caches", 60.0, withdrawals.sweep),
                Job("cdr-chain", 10.0, chain.extend),
                Job("remote-starts", 1.0, starts.sweep),
                Job("old-remote-starts", 21_600.0, starts.forget),
                Job("station-jobs", 1.0, jobs.sweep),
                Job("old-jobs", 600.0, jobs.forget),
                Job("files", 60.0, files.sweep),
                Job("retention", 600.0, lambda: _forget_old(store, settings)),
                *([Job("changes", 3600.0, node.node.tidy)] if node else []),
            ]
        )

    async def _open_ocpp(self, parts: "Parts") -> None:
        settings, stack = self._settings, self._stack
        relay = Relay(UrlGuard(allow_private=settings.ocpi.allow_private_urls))
        stack.push_async_callback(relay.close)
        server, notes = ocpp_server(
            settings.ocpp,
            parts.stations,
            parts.store,
            parts.passwords,
            drain_timeout=settings.server.drain_timeout,
            tls=self._tls(),
            now=now,
            metrics=parts.metrics,
            equipment=parts.equipment,
            contracts=contracts_of(settings.ocpp.plug_and_charge, relay, now=now),
            vat_numbers=VatNumbers(relay, _vat_rules(settings)),
        )
        stack.push_async_callback(notes.close)
        self._refused = server.refused
        port = await server.start()
        stack.push_async_callback(server.stop)
        scheme = "ws" if settings.ocpp.tls.certificate is None else "wss"
        self.listening["ocpp"] = (
            f"{scheme}://{_shown(settings.ocpp.host)}:{port}{settings.ocpp.path}"
        )

    async def _jobs(self, parts: Parts) -> tuple[Files, Jobs]:
        """Build the jobs at stations, and open the door for their files."""
        settings = self._settings
        files = Files(
            parts.store,
            FileRules(
                directory=Path(settings.files.directory),
                max_upload_bytes=settings.files.max_upload_bytes,
                max_firmware_bytes=settings.files.max_firmware_bytes,
                max_total_bytes=settings.files.max_total_bytes,
                link_lifetime=settings.files.link_lifetime,
                keep_uploads=settings.files.keep_uploads,
            ),
            now=now,
        )
        await files.load()
        jobs = Jobs(
            parts.memory,
            parts.store,
            parts.stations,
            files,
            JobRules(**settings.jobs.model_dump()),
            now=now,
            base_url=lambda: self._files_url,
        )
        await jobs.load()
        self._stack.push_async_callback(jobs.close)
        parts.equipment.on_progress.append(jobs.progress)
        parts.equipment.on_report.append(jobs.reported)
        tls = self._tls()
        server = TransferServer(
            TransferRules(
                host=settings.files.host,
                port=settings.files.port,
                idle_timeout=settings.files.idle_timeout,
                most_at_once=settings.files.max_transfers,
                drain_timeout=settings.server.drain_timeout * 0.1,
            ),
            files,
            tls=tls,
        )
        port = await server.start()
        self._stack.push_async_callback(server.stop)
        scheme = "http" if tls is None else "https"
        base = settings.files.public_url or f"{scheme}://127.0.0.1:{port}"
        self._files_url = f"{base}{TRANSFERS}"
        log.info("files.listening", host=settings.files.host, port=port, public_url=base)
        return files, jobs

    async def _lists(
        self,
        store: SqlStore,
        memory: Memory,
        partners: Partners,
        stations: Stations,
        templates: Templates,
        commands: Commands,
    ) -> tuple[LocalLists, Withdrawals]:
        """Build what keeps the stations' own knowledge of tokens in step."""
        ocpp = self._settings.ocpp
        use = TokenUse(store)
        await use.load()
        lists = LocalLists(
            memory,
            store,
            stations,
            ListTokens(store, partners, use, now=now, limit=ocpp.local_list.max_entries),
            now=now,
            rules=_list_rules(self._settings),
            template_mode=lambda state: (
                templates.local_list_mode(state) or _of_kind(stations, state, "local_list")
            ),
        )
        await lists.load()
        self._stack.push_async_callback(lists.close)
        withdrawals = Withdrawals(
            memory,
            store,
            stations,
            use,
            commands,
            now=now,
            clear_caches=ocpp.clear_caches,
            stop_sessions=ocpp.stop_withdrawn,
        )
        await withdrawals.load()
        self._stack.push_async_callback(withdrawals.close)
        return lists, withdrawals

    async def _start_node(self, keys: Keys, metrics: Metrics) -> None:
        """Be one of several nodes: charge points here, the rest only while this one leads."""
        settings, stack = self._settings, self._stack
        nodes = await Nodes.open(settings, keys.vault, stack, lost=self._lose)
        parts = await self._build(nodes.store, keys, metrics, memory=nodes.memory)
        nodes.attach(parts.partners, parts.tokens)
        nodes.node.feed.on_place.append(parts.placing.location_changed)
        nodes.node.attach(
            parts.stations,
            parts.transactions,
            parts.authorizations,
            call_timeout=settings.ocpp.call_timeout,
        )
        parts.commands.expect_elsewhere = nodes.node.seats.expect
        nodes.node.seats.share_preferences(parts.preferences)
        nodes.node.seats.share_revocations(parts.stations.certificates)
        parts.side.push.may_send = nodes.node.membership.sure
        await parts.side.open()
        Observer(metrics, parts.memory, parts.transactions, parts.commands)
        stack.push_async_callback(nodes.node.stop)
        api = NodeApi(lambda: self._readiness(parts.store), nodes.condition, metrics)
        await nodes.open_doors(api, stack)
        for name, path in (("ocpi", "/ocpi/versions"), ("operator", "")):
            host = _shown(getattr(settings, name).host)
            port = nodes.doors[name].getsockname()[1]
            self.listening[name] = f"http://{host}:{port}{path}"

        async def lead() -> None:
            await nodes.close_doors()
            await self._lead(parts, nodes)

        nodes.node.lead = lead
        await nodes.node.begin()
        await self._open_ocpp(parts)

    def _lose(self, reason: str) -> None:
        """End: the other nodes gave this one up, and what it does is not kept any more."""
        self._ready = False
        if not self.lost.done():
            self.lost.set_result(reason)

    async def _start_operator(
        self, services: OperatorServices, metrics: Metrics, node: Nodes | None
    ) -> None:
        settings = self._settings
        keys = OperatorKeys(settings.operator.api_keys)
        self.operator_key = await keys.load(services.store, now=now)
        application = OperatorApi(services, keys, metrics, observe=node is None).application()
        patience = settings.server.drain_timeout * 0.08
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=patience)
        if node:
            application.on_response_prepare.append(node.one_answer_each)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        if node:
            await node.serve_operators(runner)
            return
        site = web.TCPSite(runner, settings.operator.host, settings.operator.port)
        await site.start()
        port = runner.addresses[0][1]
        self.listening["operator"] = f"http://{_shown(settings.operator.host)}:{port}"

    def _start_jobs(self, jobs: list[Job]) -> None:
        scheduler = AsyncIOScheduler(timezone=UTC)
        for job in jobs:
            scheduler.add_job(
                run_job, "interval", [job], seconds=job.every, coalesce=True, max_instances=1
            )
        scheduler.start()
        self._stack.callback(scheduler.shutdown, wait=False)

    async def _readiness(self, store: SqlStore) -> list[str]:
        if not self._ready:
            return ["not started, or draining"]
        try:
            await store.ping()
        except CpoError as error:
            return [f"database: {error}"]
        return []

    def _tls(self) -> ssl.SSLContext | None:
        """Return the one TLS context of the chargers' doors; None where there is none."""
        files = _tls_files(self._settings)
        if self._context is None and files is not None:
            self._context = server_context(files)
            self._renewal = Renewal(self._context, files)
        return self._context

    async def renew_tls(self) -> None:
        """Read the charger port's certificates again if they have changed."""
        if self._renewal is not None:
            await self._renewal.sweep()

    async def stop(self) -> None:
        """Take everything down: doors first, the store last."""
        self._ready = False
        await self._stack.aclose()


def _of_kind(stations: Stations, state: StationState, name: str) -> str | None:
    """Return what a station's kind says of a habit."""
    habit = stations.habits(state.record.identity).get(name)
    return habit.value if habit is not None else None


def _tariffs_seen(partners: Partners, partner_id: str) -> Collection[str] | None:
    """Return the tariffs that a partner's contract names; None is all of them."""
    partner = partners.get(partner_id)
    return partner.policy.get("tariffs") if partner is not None else None


async def _reservation_ended(keep: Callable[[Command], Awaitable[None]], command: Command) -> None:
    """Let an accepted reservation, or its end, become a Session."""
    reserving = command.kind in (CommandKind.RESERVE, CommandKind.CANCEL_RESERVATION)
    if command.outcome is Outcome.ACCEPTED and reserving:
        await keep(command)


async def _keep_reservation(transactions: Transactions, command: Command) -> None:
    if command.kind is CommandKind.RESERVE:
        await transactions.reserve(command)
    else:
        await transactions.cancel_reservation(command)


async def _forget_old(store: SqlStore, settings: Settings) -> None:
    """Delete what the settings say need not be kept any longer."""
    kept = settings.database
    lifetimes = {
        "messages": kept.keep_messages,
        "orphans": kept.keep_messages,
        "audit": kept.keep_audit,
    }
    for kind, seconds in lifetimes.items():
        if seconds:
            await store.forget(kind, now() - timedelta(seconds=seconds))


def _authorization_rules(settings: Settings) -> AuthorizationRules:
    ocpp = settings.ocpp
    return AuthorizationRules(
        master_pass_group=ocpp.master_pass_group,
        cached=timedelta(seconds=ocpp.token_cache) if ocpp.token_cache else None,
        cached_if_asked=timedelta(seconds=ocpp.asked_token_cache),
        concurrent=ocpp.concurrent_transactions,
    )


def _list_rules(settings: Settings) -> ListRules:
    ocpp = settings.ocpp
    return ListRules(
        mode=ocpp.local_list.mode,
        interval=ocpp.local_list.interval,
        delay=ocpp.refresh_delay,
        most_entries=ocpp.local_list.max_entries,
    )


def _settings_check(settings: Settings, templates: Templates) -> list[Job]:
    every = settings.ocpp.settings_check_interval
    return [Job("settings", every, templates.look_again)] if every else []


def _vat_rules(settings: Settings) -> VatRules:
    vat, key = settings.ocpp.vat_numbers, settings.ocpp.vat_numbers.key
    return VatRules(
        url=vat.url, key=key.get_secret_value() if key is not None else None, timeout=vat.timeout
    )


def _built_in_templates(settings: Settings) -> tuple[Template, ...]:
    """Return what every station is set to by our own settings; the operator's templates win."""
    wanted: list[dict[str, Any]] = []
    if (group := settings.ocpp.master_pass_group) is not None:
        wanted.append({"component": "AuthCtrlr", "variable": "MasterPassGroupId", "value": group})
    for name in settings.ocpp.tls.authority_organizations[:1]:
        wanted.append({"key": "CpoName", "value": name})
        wanted.append({"component": "SecurityCtrlr", "variable": "OrganizationName", "value": name})
    return (read_template("(settings)", {"settings": wanted}),) if wanted else ()


def _tls_files(settings: Settings) -> TlsFiles | None:
    """Return the files of the charger port's TLS context, when a certificate is configured."""
    tls = settings.ocpp.tls
    if tls.certificate is None or tls.key is None:
        return None
    second = tls.second_certificate is not None and tls.second_key is not None
    return TlsFiles(
        certificate=tls.certificate,
        key=tls.key,
        client_ca=tls.client_ca,
        client_crl=tls.client_crl,
        more=((tls.second_certificate, tls.second_key),) if second else (),  # type: ignore[arg-type]
    )


def _own_certificates(settings: Settings) -> dict[str, Path]:
    """Return the files whose certificates have an end that the operator must not miss."""
    tls = settings.ocpp.tls
    files = {
        "ocpp.tls.certificate": tls.certificate,
        "ocpp.tls.second_certificate": tls.second_certificate,
        "ocpp.tls.client_ca": tls.client_ca,
        "ocpp.tls.authority_certificate": tls.authority_certificate,
        "ocpp.tls.v2g_authority_certificate": tls.v2g_authority_certificate,
        "ocpp.plug_and_charge.roots": settings.ocpp.plug_and_charge.roots,
    }
    return {name: file for name, file in files.items() if file is not None}


def _shown(host: str) -> str:
    """Return a host that somebody on this machine can connect to."""
    return "127.0.0.1" if host in {"0.0.0.0", "::", ""} else host  # noqa: S104 - not a bind


async def serve(
    settings: Settings, *, announce: Callable[[dict[str, str], str | None], None]
) -> None:
    """Run the system until SIGTERM or SIGINT, then drain."""
    share_heaps()
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    app, code = App(settings), 1
    renewals: set[asyncio.Task[None]] = set()

    def renew() -> None:
        task = loop.create_task(app.renew_tls())
        renewals.add(task)
        task.add_done_callback(renewals.discard)

    loop.add_signal_handler(signal.SIGHUP, renew)
    try:
        await app.start()
        order = ("ocpp", "ocpi", "operator")
        announce({name: app.listening[name] for name in order}, app.operator_key)
        stopping = asyncio.ensure_future(stopped.wait())
        ends: set[asyncio.Future[Any]] = {stopping, app.lost}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if app.lost.done():
            raise StoreUnavailable(f"this node ends: {app.lost.result()}")
        log.info("server.stopping")
        code = 0
    finally:
        await wind_down(app.stop(), settings.server.drain_timeout, code)


async def wind_down(stopping: Coroutine[Any, Any, None], seconds: float, code: int) -> None:
    """Stop within the drain time; what has not ended by then is cut off, as kill -9 would.

    Nothing answered is lost by that: it is on disk before it is answered.
    """
    work = asyncio.create_task(stopping)
    # A little more than the parts have together: they end by themselves if they can.
    await asyncio.wait([work], timeout=seconds + 0.5)
    if not work.done():
        log.warning("server.drain_cut_short", seconds=seconds)
        sys.stderr.flush()
        os._exit(code)
    await work
