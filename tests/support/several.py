"""Several nodes as processes, which look like one server to those who torture it; and a bus."""

import asyncio
import contextlib
import shutil
import subprocess
from pathlib import Path

import aiohttp
from running import Cpo, free_port
from waiting import LONG, until

from tests.support.cpo_process import CpoProcess


class NatsServer:
    """A bus of our own, which a test may take away without disturbing others."""

    def __init__(self):
        self.port = free_port()
        self._process = None

    @staticmethod
    def installed():
        """Whether there is a server to start."""
        return shutil.which("nats-server") is not None

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.port}"

    def start(self):
        self._process = subprocess.Popen(
            [shutil.which("nats-server"), "-a", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    async def started(self):
        """Wait until it takes connections."""
        async with asyncio.timeout(LONG):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                await asyncio.sleep(0.02)

    def stop(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Nodes:
    """Several nodes on one database; whoever connects or asks gets one of them by chance."""

    def __init__(self, folder, *, count, database, bus, dice):
        self.database = database
        self._dice = dice
        shared = {
            "bus.url": bus,
            "bus.node_timeout": "30",
            "bus.poll_interval": "0.2",
            "server.secret_key": "the-secret-that-all-nodes-share-0123456789",
        }
        self.nodes = []
        for number in range(count):
            place = Path(folder) / f"node{number}"
            place.mkdir()
            self.nodes.append(Cpo(place, database=database, **shared))
        for node in self.nodes:
            node.settings["ocpi.public_url"] = f"http://127.0.0.1:{self.nodes[0].ports['ocpi']}"
        self._dead = []

    @property
    def ocpp_url(self):
        return self._dice.choice(self.nodes).ocpp_url

    async def __aenter__(self):
        for node in self.nodes:
            await node.__aenter__()
        return self

    async def __aexit__(self, *_):
        for node in self.nodes:
            await node.__aexit__()

    async def kill(self):
        """Kill one of the nodes, whatever it does."""
        self._dead = [self._dice.choice(self.nodes)]
        await self._dead[0].kill()

    async def kill_all(self):
        """Kill them all."""
        self._dead = list(self.nodes)
        for node in self._dead:
            await node.kill()

    async def start(self):
        """Start again what was killed."""
        dead, self._dead = self._dead, []
        for node in dead:
            await node.start()

    async def stop(self):
        for node in self.nodes:
            await node.stop()

    def log(self):
        """Return what all of them wrote to standard error so far."""
        return "\n".join(node.log() for node in self.nodes)

    async def api(self, method, path, body=None, *, ok=True):
        """Ask any node; while another one takes over, ask again."""
        async with asyncio.timeout(LONG):
            while True:
                node = self._dice.choice(self.nodes)
                status, answer = await node.api(method, path, body, ok=False)
                if status != 503:
                    break
                await asyncio.sleep(0.1)
        if ok and status >= 400:
            raise AssertionError(f"{method} {path}: {status} {answer}")
        return status, answer

    equip = Cpo.equip
    partner = Cpo.partner


class Pair:
    """Two nodes; the first one that is started leads. `more` are variables of their environment."""

    def __init__(self, folder, database, bus, **more):
        environment = {
            "CPO_DATABASE__URL": database,
            "CPO_BUS__URL": bus.url,
            "CPO_BUS__NODE_TIMEOUT": "30",
            "CPO_SERVER__SECRET_KEY": "the-secret-that-all-nodes-share-0123456789",
            **more,
        }
        self.nodes = []
        for name in ("a", "b"):
            (folder / name).mkdir()
            self.nodes.append(CpoProcess(folder / name, environment=environment))

    async def start(self):
        await asyncio.gather(*(node.start() for node in self.nodes))

    async def stop(self):
        for node in self.nodes:
            await node.__aexit__()

    async def roles(self):
        """The node that leads, and the other one."""

        async def found():
            one, two = [await ready(node) for node in self.nodes]
            return one["leading"] != two["leading"] and one["leader"] == two["leader"]

        await until(found)
        leading = [(await ready(node))["leading"] for node in self.nodes]
        return self.nodes if leading[0] else self.nodes[::-1]


async def ready(node):
    """Return what a node's health says."""
    url = f"{node.urls['operator']}/health/ready"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return await answer.json()
