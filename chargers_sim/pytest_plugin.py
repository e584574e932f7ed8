"""Fixtures for tests of a central system: stations, an eMSP double, the virtual clock.

Name it in the root `conftest.py` (needs pytest-asyncio):

    pytest_plugins = ["chargers_sim.pytest_plugin"]

and say where the central system is: by a fixture `central_system` of your own, or by
the variables CHARGERS_SIM_URL, CHARGERS_SIM_IDENTITY, CHARGERS_SIM_PASSWORD, CHARGERS_SIM_OCPP.

PYTEST_DONT_REWRITE: it asserts nothing, and a conftest may import it before it is named.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from chargers_sim.clock import VirtualClock
from chargers_sim.emsp import Emsp
from chargers_sim.live import Station

MakeStation = Callable[..., Awaitable[Station]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CentralSystem:
    """Where the stations of the tests connect, and as whom; the url is without identity."""

    url: str
    identity: str = "SIM1"
    password: str | None = None
    ocpp: str = "1.6"


@pytest.fixture
def central_system() -> CentralSystem:
    """The central system under test; override it, or set CHARGERS_SIM_URL."""
    url = os.environ.get("CHARGERS_SIM_URL")
    if not url:
        pytest.fail(
            "chargers_sim: set CHARGERS_SIM_URL to the central system, such as "
            "ws://127.0.0.1:9000/ocpp, or write a fixture central_system",
            pytrace=False,
        )
    return CentralSystem(
        url=url,
        identity=os.environ.get("CHARGERS_SIM_IDENTITY", "SIM1"),
        password=os.environ.get("CHARGERS_SIM_PASSWORD"),
        ocpp=os.environ.get("CHARGERS_SIM_OCPP", "1.6"),
    )


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """The clock of the fixture `station`: it stands until told to move."""
    return VirtualClock()


@pytest_asyncio.fixture
async def new_station(central_system: CentralSystem) -> AsyncIterator[MakeStation]:
    """Make connected stations, as many as a test needs.

    `await new_station("CP2", ocpp="2.1", quirks=["q22"])` takes what `Station` takes; what is
    not given comes from `central_system`. All are closed after the test.
    """
    async with AsyncExitStack() as opened:

        async def make(identity: str | None = None, **options: Any) -> Station:
            given = {"ocpp": central_system.ocpp, "password": central_system.password, **options}
            url = given.pop("url", central_system.url)
            station = Station(url, identity or central_system.identity, **given)
            return await opened.enter_async_context(station)

        yield make


@pytest_asyncio.fixture
async def station(new_station: MakeStation, virtual_clock: VirtualClock) -> Station:
    """A connected and accepted station on the virtual clock."""
    return await new_station(clock=virtual_clock)


@pytest_asyncio.fixture
async def emsp() -> AsyncIterator[Emsp]:
    """An eMSP double that listens; `await emsp.register(versions_url, token_a)` connects it."""
    async with Emsp() as double:
        yield double
