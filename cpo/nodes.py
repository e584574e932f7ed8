"""What the composition root needs beyond its parts to be one of several nodes."""

import uuid
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from hashlib import sha256
from socket import socket
from typing import Any

import structlog
from aiohttp import web

from cpo.bus.choice import open_bus
from cpo.bus.relay import Door, Relay, inside_of, listen, sorry_operator, sorry_partner
from cpo.config import Settings
from cpo.db.members import Members
from cpo.db.store import SqlStore, open_store
from cpo.errors import Misconfigured
from cpo.services.memory import Memory
from cpo.services.nodes.membership import Membership
from cpo.services.nodes.node import MEMBERS, Node
from cpo.services.partners import Partners
from cpo.services.ports import Bus
from cpo.services.tokens import Tokens
from cpo.web.server import NodeApi, answered_here, end_after

log = structlog.get_logger()

FOREVER = datetime(9999, 1, 1, tzinfo=UTC)


class Nodes:
    """This node: its store, bus, and the doors that it keeps for the leader."""

    def __init__(
        self, settings: Settings, node: str, store: SqlStore, book: Members, bus: Bus
    ) -> None:
        self.id = node
        self.store = store
        self.memory = Memory()
        self.doors: dict[str, socket] = {}
        self.node: Node
        self._settings = settings
        self._book = book
        self._bus = bus
        self.membership = Membership(book, node, timeout=settings.bus.node_timeout)
        self._relay: Relay
        self._stamp = now()
        self._inside_port = 0

    @classmethod
    async def open(
        cls,
        settings: Settings,
        vault_key: bytes,
        stack: AsyncExitStack,
        *,
        lost: Callable[[str], None],
    ) -> "Nodes":
        """Open the store and the bus; Misconfigured for what several nodes cannot share."""
        if not settings.database.url.startswith(("postgresql:", "postgres:")):
            raise Misconfigured(
                "database.url", "several nodes (bus.url) need postgresql://…, which they share"
            )
        if settings.ocpi.public_url is None:
            log.warning("nodes.no_public_url", setting="ocpi.public_url")
        node = uuid.uuid4().hex
        store = await open_store(settings.database.url, vault_key=vault_key, now=now, node=node)
        stack.push_async_callback(store.close)
        book = Members(store.address, patience=settings.bus.node_timeout)
        stack.push_async_callback(book.close)
        bus = await open_bus(settings.bus.url)
        stack.push_async_callback(bus.close)
        nodes = cls(settings, node, store, book, bus)
        membership = nodes.membership
        membership.on_lost = lost
        await membership.start()
        stack.push_async_callback(nodes._leave)
        await nodes._check_secret(vault_key)
        # Everything up to here is in what is loaded next; what comes later is fed in.
        nodes._stamp = await store.newsroom.stamp()
        nodes.memory.share(fresh=nodes._fresh, agreed=nodes._agree)
        return nodes

    async def _check_secret(self, vault_key: bytes) -> None:
        """Refuse a node that could not read what the others seal."""
        fingerprint = sha256(b"secret" + vault_key).hexdigest()
        if not await self.store.lease("secret", fingerprint, FOREVER):
            raise Misconfigured(
                "server.secret_key", "is not that of the other nodes: all must have the same"
            )

    async def _leave(self) -> None:
        await self.membership.stop()
        await self._bus.tell(MEMBERS, self.id.encode())

    async def _fresh(self) -> None:
        await self.node.feed.catch_up()

    async def _agree(self) -> None:
        await self.node.feed.agree()

    def attach(self, partners: Partners, tokens: Tokens) -> None:
        """Say who is told what other nodes wrote."""
        self.node = Node(
            memory=self.memory,
            store=self.store,
            newsroom=self.store.newsroom,
            book=self._book,
            bus=self._bus,
            membership=self.membership,
            partners=partners,
            tokens=tokens,
            poll_interval=self._settings.bus.poll_interval,
        )
        feed = self.node.feed
        feed.begin(self._stamp)
        feed.moved = self.store.moved
        self.store.on_news(feed.written, fresh=feed.catch_up)

    def condition(self) -> Mapping[str, object]:
        """Return what is worth knowing of this node's state."""
        return {
            "node": self.id,
            "leading": self.membership.leading,
            "leader": self.membership.leader,
            "nodes": len(self.membership.alive),
            "database": "connected" if self.membership.sure() else "away",
            "bus": "connected" if self._bus.connected else "away",
        }

    # --- doors ------------------------------------------------------------------------------------

    async def open_doors(self, api: NodeApi, stack: AsyncExitStack) -> None:
        """Take partners' and operators' connections, for whoever leads."""
        settings = self._settings
        for name, section in (("ocpi", settings.ocpi), ("operator", settings.operator)):
            self.doors[name] = listen(section.host, section.port)
            stack.callback(self.doors[name].close)
        runner = web.AppRunner(api.application(), access_log=None, shutdown_timeout=2)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        health = runner.addresses[0]
        relay = self._relay = Relay(self.node.errands, leader=lambda: self.membership.leader)
        self.node.on_alive.append(relay.forget)
        stack.push_async_callback(relay.close)
        await relay.open(Door("ocpi", self.doors["ocpi"], sorry_partner))
        await relay.open(
            Door(
                "operator",
                self.doors["operator"],
                sorry_operator,
                own=lambda path: (health[0], health[1]) if answered_here(path) else None,
            )
        )

    async def close_doors(self) -> None:
        """Leave the doors to this node's own servers: it leads from now on."""
        await self._relay.close()
        self._relay.inside["ocpi"] = inside_of(self.doors["ocpi"])

    async def serve_operators(self, runner: web.AppRunner) -> None:
        """Let a server answer operators who connect here, and those whom other nodes hand over."""
        await web.SockSite(runner, self.doors["operator"].dup()).start()
        inside = listen("127.0.0.1", 0)
        self._inside_port = inside.getsockname()[1]
        await web.SockSite(runner, inside).start()
        self._relay.inside["operator"] = ("127.0.0.1", self._inside_port)

    async def one_answer_each(self, request: web.Request, answer: web.StreamResponse) -> None:
        """End connections that were handed over: what comes next may be for another node."""
        name = request.transport.get_extra_info("sockname") if request.transport else None
        if name is not None and name[1] == self._inside_port:
            end_after(answer)


def node_hooks(nodes: Nodes | None, what: str) -> list[list[Callable[..., Any]]]:
    """Return the lists of who hears of what happened at other nodes' stations."""
    if nodes is None:
        return []
    if what == "reservations":
        return [nodes.node.seats.on_reservation_gone]
    return [nodes.node.feed.on_sessions if what == "sessions" else nodes.node.seats.on_boot]


def now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)
