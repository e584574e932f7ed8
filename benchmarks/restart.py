"""How long a start takes on a filled database: 10,000 stations, 100,000 CDRs, open transactions.

Fills a database through the store, then starts the server on it and waits for `ready`.

    python benchmarks/restart.py --stations 10000 --cdrs 100000 --open 2000
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import uvloop

from cpo.db.store import SqlStore, open_store
from cpo.domain.cdr import Cdr
from cpo.domain.events import Availability, Sample
from cpo.domain.location import parse_location
from cpo.domain.pricing import Breakdown, Price
from cpo.domain.station import ConnectorState, EvseStatus, Station
from cpo.domain.tokens import AuthMethod, Token, Whitelist
from cpo.domain.transaction import Phase, Snapshot, Transaction
from cpo.services.ports import EvseState, Readings, Work

NOW = datetime.now(UTC)
UNIT = 500
READINGS = 30

TOKEN = Token(
    country_code="DE",
    party_id="MSP",
    uid="04A1B2C3",
    type="RFID",
    contract_id="DE-MSP-C1",
    issuer="Msp",
    valid=True,
    whitelist=Whitelist.ALLOWED,
)


def location(n: int) -> object:
    return parse_location(
        {
            "country_code": "NL",
            "party_id": "EXA",
            "id": f"LOC{n:05}",
            "publish": True,
            "address": f"Kade {n}",
            "city": "Gent",
            "country": "BEL",
            "coordinates": {"latitude": "51.047599", "longitude": "3.729944"},
            "time_zone": "Europe/Brussels",
            "evses": [
                {
                    "uid": f"E{n:05}",
                    "evse_id": f"BE*EXA*E{n:05}",
                    "ocpp": {"station": f"CP{n:05}", "evse_id": 1},
                    "connectors": [
                        {
                            "id": "1",
                            "standard": "IEC_62196_T2",
                            "format": "SOCKET",
                            "power_type": "AC_3_PHASE",
                            "max_voltage": 230,
                            "max_amperage": 16,
                        }
                    ],
                }
            ],
        }
    )


def snapshot(n: int) -> Snapshot:
    return Snapshot(
        country_code="NL",
        party_id="EXA",
        location=location(n),
        evse_uid=f"E{n:05}",
        connector_id="1",
        tariff=None,
        currency="EUR",
    )


def station(n: int) -> list[object]:
    name = f"CP{n:05}"
    return [
        Station(identity=name, last_seen_at=NOW),
        location(n),
        ConnectorState(
            station=name,
            evse_id=1,
            connector_id=1,
            availability=Availability.AVAILABLE,
            at=NOW,
            received_at=NOW,
        ),
        EvseState(f"LOC{n:05}", f"E{n:05}", EvseStatus.AVAILABLE),
    ]


def charging(n: int) -> list[object]:
    id_ = f"tx{n:06}"
    began = Transaction(
        id=id_,
        station=f"CP{n:05}",
        key=str(n + 1),
        start_key=f"CP{n:05}|1|{n}",
        phase=Phase.ACTIVE,
        started_at=NOW - timedelta(hours=1),
        received_at=NOW,
        evse_id=1,
        begin_wh=Decimal(1000),
        token=TOKEN,
        snapshot=snapshot(n),
    )
    readings = [
        Readings(id_, NOW, (Sample(NOW + timedelta(minutes=k), Decimal(1000 + k * 120)),))
        for k in range(READINGS)
    ]
    return [began, *readings]


PRICE = Price(excl_vat=Decimal("1.23"), incl_vat=Decimal("1.49"))


def cdr(n: int, held: Snapshot) -> list[object]:
    return [
        Cdr(
            id=f"cdr{n:07}",
            session_id=f"old{n:07}",
            country_code="NL",
            party_id="EXA",
            partner_id="p1",
            start_date_time=NOW,
            end_date_time=NOW,
            token=TOKEN,
            auth_method=AuthMethod.WHITELIST,
            snapshot=held,
            currency="EUR",
            periods=(),
            cost=Breakdown(
                total=PRICE, fixed=None, energy=PRICE, time=None, parking=None, reservation=None
            ),
            energy_wh=Decimal(7000),
            time_s=Decimal(3600),
            parking_s=Decimal(0),
        )
    ]


async def put(store: SqlStore, found: list[list[object]]) -> None:
    for start in range(0, len(found), UNIT):
        work = Work()
        for rows in found[start : start + UNIT]:
            for row in rows:
                work.put(row)
        await store.commit(work)


async def fill(url: str, arguments: argparse.Namespace) -> None:
    store = await open_store(url, vault_key=b"benchmark")
    await put(store, [station(n) for n in range(arguments.stations)])
    await put(store, [charging(n) for n in range(arguments.open)])
    held = snapshot(0)
    await put(store, [cdr(n, held) for n in range(arguments.cdrs)])
    await store.close()


def start(folder: Path, url: str) -> dict[str, float]:
    environment = os.environ | {
        "CPO_DATABASE__URL": url,
        "CPO_OCPP__PORT": "0",
        "CPO_OCPI__PORT": "0",
        "CPO_OPERATOR__PORT": "0",
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
    }
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "cpo", "serve"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        for line in process.stdout:
            if line == "ready\n":
                break
        wall = time.perf_counter() - began
        ticks = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        cpu = (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        process.send_signal(signal.SIGKILL)
    return {"wall s": wall, "CPU s": cpu, "RSS MiB": pages * os.sysconf("SC_PAGE_SIZE") / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stations", type=int, default=10_000)
    parser.add_argument("--cdrs", type=int, default=100_000)
    parser.add_argument("--open", type=int, default=2_000, help="open transactions")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{folder}/cpo.db"
        began = time.perf_counter()
        uvloop.run(fill(url, arguments))
        print(f"filled in {time.perf_counter() - began:.1f} s")
        rounds = [start(folder, url) for _ in range(arguments.rounds)]
    for key in rounds[0]:
        print(f"{key:8} {statistics.median(r[key] for r in rounds):8.2f}")


if __name__ == "__main__":
    main()
