"""One server, one eMSP double per OCPI version registered with it, and sites made on demand."""

import itertools
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio
from waiting import LONG, until

from chargers_sim.emsp import Emsp
from chargers_sim.emsp.invariants import journal_breaches
from tests.support.cpo_process import CpoProcess
from tests.support.raw_charger import CHARGERS, Charger

VERSIONS = ("2.1.1", "2.2.1", "2.3.0")
PARTIES = {"2.1.1": ("NL", "MA1"), "2.2.1": ("NL", "MB2"), "2.3.0": ("NL", "MC3")}
PASSWORD = "a-station-password-of-good-length"

Emsp.patience = LONG
_numbers = itertools.count(1)


@dataclass
class Site:
    """One location with one EVSE, its tariff and its station."""

    location: str
    evse: str
    tariff: str
    station: str
    cpo: CpoProcess
    ocpp: str = "1.6"
    chargers: list[Charger] = field(default_factory=list)

    def charger(self) -> Charger:
        """Return this site's charger, not yet connected."""
        return CHARGERS[self.ocpp](self.cpo.urls["ocpp"], self.station, PASSWORD)


async def new_site(cpo: CpoProcess, *, ocpp: str | None = "1.6", **evse: Any) -> Site:
    """Enter a station, a tariff and a location through the operator API.

    Without `ocpp` the EVSE has no station yet.
    """
    number = next(_numbers)
    site = Site(f"LOC-{number}", f"EVSE-{number}", f"TAR-{number}", f"CP-{number}", cpo, ocpp or "")
    await cpo.api("PUT", f"/stations/{site.station}", {"password": PASSWORD})
    await cpo.api("PUT", f"/tariffs/{site.tariff}", tariff(site.tariff))
    await cpo.api("PUT", f"/locations/{site.location}", location(site, **evse))
    return site


def tariff(id_: str, *, price: str = "0.40") -> dict[str, Any]:
    return {
        "country_code": "NL",
        "party_id": "CPO",
        "id": id_,
        "currency": "EUR",
        "elements": [
            {
                "price_components": [
                    {"type": "ENERGY", "price": Decimal(price), "vat": 21, "step_size": 1},
                    {"type": "TIME", "price": 2, "vat": 21, "step_size": 1},
                ]
            }
        ],
        "last_updated": "2026-01-01T00:00:00Z",
    }


def location(site: Site, **evse: Any) -> dict[str, Any]:
    return {
        "country_code": "NL",
        "party_id": "CPO",
        "id": site.location,
        "publish": True,
        "name": f"Site {site.location}",
        "address": "Stationsplein 1",
        "city": "Utrecht",
        "postal_code": "3511ED",
        "country": "NLD",
        "coordinates": {"latitude": "52.089560", "longitude": "5.109720"},
        "time_zone": "Europe/Amsterdam",
        "evses": [
            {
                "uid": site.evse,
                "evse_id": f"NL*CPO*E{site.evse[5:]}",
                "capabilities": [
                    "RFID_READER",
                    "REMOTE_START_STOP_CAPABLE",
                    "RESERVABLE",
                    "UNLOCK_CAPABLE",
                    "CHARGING_PROFILE_CAPABLE",
                ],
                "connectors": [
                    {
                        "id": "1",
                        "standard": "IEC_62196_T2",
                        "format": "SOCKET",
                        "power_type": "AC_3_PHASE",
                        "max_voltage": 230,
                        "max_amperage": 16,
                        "tariff_ids": [site.tariff],
                        "last_updated": "2026-01-01T00:00:00Z",
                    }
                ],
                "last_updated": "2026-01-01T00:00:00Z",
                **({"ocpp": {"station": site.station, "evse_id": 1}} if site.ocpp else {}),
                **evse,
            }
        ],
        "last_updated": "2026-01-01T00:00:00Z",
    }


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cpo(tmp_path_factory) -> AsyncIterator[CpoProcess]:
    async with CpoProcess(tmp_path_factory.mktemp("cpo")) as process:
        yield process
        assert process.tracebacks() == ""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def impatient(tmp_path_factory) -> AsyncIterator[CpoProcess]:
    """A server that gives stations and partners little time, for tests of those who take more."""
    folder = tmp_path_factory.mktemp("impatient")
    async with CpoProcess(folder, authorize_timeout=0.3, command_timeout=0.5) as process:
        yield process
        assert process.tracebacks() == ""


async def all_heard(cpo: CpoProcess, partner: str) -> None:
    """Wait until the server knows that a partner has taken all that there was for it."""

    async def nothing_left() -> bool:
        return (await cpo.api("GET", f"/partners/{partner}/backlog"))["items"] == []

    await until(nothing_left)


def double(version: str, party: tuple[str, str] | None = None, **options: Any) -> Emsp:
    """An eMSP of one version and of a party of its own; its tokens' uids name both."""
    party = party or ("NL", f"{next(_numbers):03}"[-3:])
    mark = f"04A{party[1]}"
    tokens = [
        {"uid": f"{mark}AAAA", "whitelist": "ALLOWED"},
        {"uid": f"{mark}BBBB", "whitelist": "ALWAYS"},
        {"uid": f"{mark}CCCC", "whitelist": "NEVER"},
        {"uid": f"{mark}DDDD", "whitelist": "ALWAYS", "valid": False},
        {"uid": f"{mark}EEEE", "whitelist": "ALLOWED_OFFLINE"},
    ]
    return Emsp(party, versions=[version], **({"tokens": tokens} | options))


def uid(emsp: Emsp, letter: str = "A") -> str:
    """A token of this eMSP: A ALLOWED, B ALWAYS, C NEVER, D invalid, E ALLOWED_OFFLINE."""
    return f"04A{emsp.parties[0][1]}{letter * 4}"


async def joined(cpo: CpoProcess, emsp: Emsp, *, by_us: bool = True) -> str:
    """Connect the two, started by the eMSP or by the CPO; return the partner's id."""
    name = f"partner-{next(_numbers)}"
    if by_us:
        invitation = await cpo.api("POST", "/partners", {"name": name})
        await emsp.register(invitation["versions_url"], invitation["token_a"])
        return str(invitation["id"])
    body = {"name": name, "versions_url": emsp.versions_url, "token_a": emsp.token_a}
    return str((await cpo.api("POST", "/partners/connect", body))["id"])


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def doubles(cpo) -> AsyncIterator[dict[str, Emsp]]:
    """One registered eMSP per version; in the end none of them may have seen a breach."""
    made: dict[str, Emsp] = {}
    for version in VERSIONS:
        made[version] = double(version, PARTIES[version])
        await made[version].start()
        await joined(cpo, made[version])
    yield made
    for emsp in made.values():
        await emsp.stop()
    for emsp in made.values():
        assert foreign_tokens(emsp, made.values()) == []


def foreign_tokens(emsp: Emsp, everybody: Iterable[Emsp]) -> list[str]:
    """I8: list where a token of another eMSP shows in anything that the CPO sent to this one."""
    others = [f"04A{other.parties[0][1]}" for other in everybody if other is not emsp]
    said = [
        (exchange, exchange.body if exchange.direction == "in" else exchange.response)
        for exchange in emsp.journal.exchanges
    ]
    return [
        f"#{exchange.number} {exchange.method} {exchange.path}: {mark}"
        for exchange, body in said
        for mark in others
        if mark in str(body) or (exchange.direction == "in" and mark in exchange.path)
    ]


@pytest.fixture(params=VERSIONS)
def emsp(request, doubles) -> Emsp:
    """The eMSP of each version in turn, without faults, and checked after the test."""
    emsp = doubles[request.param]
    emsp.faults.clear()
    seen = len(emsp.violations), len(emsp.journal.exchanges)
    yield emsp
    emsp.faults.clear()
    assert [str(violation) for violation in emsp.violations[seen[0] :]] == []
    assert [str(b) for b in journal_breaches(emsp.journal.exchanges[seen[1] :])] == []
