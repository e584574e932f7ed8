"""Pages of Locations and CDRs as partners get them: CPU per page, first against last page.

Fills a database of its own, starts `cpo serve` on it and asks over HTTP as a registered partner,
beside a bare aiohttp handler that sends the stored text of the same page, and beside the PyPI
package `extrawest-ocpi` that serves the same CDRs from memory, where `--peer` names a Python that
has it.
Candidates alternate; medians over the rounds. CPU is the server's own, from the operating system.

    python benchmarks/ocpi_pages.py --keep /tmp/pages          # fills it once, 8 GB
    python -m venv /tmp/peer && /tmp/peer/bin/pip install extrawest-ocpi uvicorn
    python benchmarks/ocpi_pages.py --keep /tmp/pages --peer /tmp/peer/bin/python
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import uvloop
from backend import ROOT, Backend
from load import cpu_seconds

sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests" / "support"))

PARTNER = "benchmark-partner"
TOKEN = "benchmark-token-of-the-partner"  # noqa: S105 - loopback only

BARE = """
import sys
from pathlib import Path
from aiohttp import web
import uvloop, asyncio
body = Path(sys.argv[1]).read_bytes()
async def handler(request):
    return web.Response(body=body, content_type="application/json")
async def main():
    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()
uvloop.run(main())
"""


async def fill_cdrs(url: str, count: int) -> None:
    """Write a registered partner and its CDRs into the store, each with its own id and instant.

    What is there already stays: a filling that was cut off goes on.
    """
    import ocpi_charges  # noqa: PLC0415 - after the path to it is set

    from cpo.db.store import open_store  # noqa: PLC0415 - after the path to it is set
    from cpo.domain.partner import (  # noqa: PLC0415 - after the path to it is set
        Partner,
        PartnerStatus,
        PartyRole,
    )
    from cpo.services.cdr_chain import SHELF  # noqa: PLC0415 - after the path to it is set
    from cpo.services.partners import fingerprint  # noqa: PLC0415 - after the path to it is set
    from cpo.services.ports import (  # noqa: PLC0415 - after the path to it is set
        StationDocument,
        Work,
    )

    store = await open_store(url, vault_key=b"k" * 32)
    work = Work()
    work.put(
        Partner(
            id=PARTNER,
            name="AAA",
            status=PartnerStatus.CONNECTED,
            version="2.2.1",
            roles=(PartyRole(role="EMSP", country_code="NL", party_id="AAA", name="AAA"),),
            token_in_hashes=(fingerprint(TOKEN),),
        )
    )
    await store.commit(work)
    sample = ocpi_charges.cdr(partner_id=PARTNER)
    batch = 2000
    present = (await store.page("cdrs", limit=1, partner_id=PARTNER)).total
    for start in range(present, count, batch):
        works = []
        for n in range(start, min(start + batch, count)):
            work = Work()
            work.put(replace(sample, id=f"cdr-{n:09d}", session_id=f"session-{n:09d}"))
            works.append(store.commit(work))
        await asyncio.gather(*works)
    # A server that wrote them would have sealed them as they came. To do that to a million takes
    # minutes, so only the end of the chain is put where that server would have left it.
    newest = await store.page("cdrs", limit=1, newest_first=True)
    [(cdr, stamp)] = newest.items
    party = f"{cdr.country_code}/{cdr.party_id}"
    end = {"length": newest.total, "digest": "", "since": stamp.isoformat()}
    work = Work()
    work.put(StationDocument(SHELF, "head", party, end, datetime.now(UTC)))
    await store.commit(work)
    await store.close()


async def fill_locations(url: str, count: int) -> None:
    """Write locations with one EVSE each into a new database."""
    import ocpi_charges  # noqa: PLC0415 - after the path to it is set

    from cpo.db.store import open_store  # noqa: PLC0415 - after the path to it is set
    from cpo.services.ports import Work  # noqa: PLC0415 - after the path to it is set

    store = await open_store(url, vault_key=b"k" * 32)
    if len(await store.locations()) >= count:
        await store.close()
        return
    works = [Work()]
    works[0].put(ocpi_charges.tariff())
    sample = ocpi_charges.location()
    for n in range(count):
        evses = tuple(
            replace(evse, uid=f"uid-{n}-{i}", evse_id=f"NL*CPO*E{n}*{i}", binding=None)
            for i, evse in enumerate(sample.evses)
        )
        work = Work()
        work.put(replace(sample, id=f"location-{n:06d}", evses=evses))
        works.append(work)
    for start in range(0, len(works), 2000):
        await asyncio.gather(*(store.commit(w) for w in works[start : start + 2000]))
    await store.close()


class Asker:
    """Asks for pages with eight connections, and takes the server's CPU for it."""

    def __init__(self, session: aiohttp.ClientSession, pid: int) -> None:
        self.session = session
        self.pid = pid

    async def get(self, url: str) -> tuple[bytes, Any]:
        """Return one page's body and headers."""
        async with self.session.get(url) as response:
            body = await response.read()
            if response.status != 200:
                raise RuntimeError(f"{url}: {response.status} {body[:200]!r}")
            return body, response.headers

    async def cost(self, url: str, count: int, *, connections: int = 8) -> float:
        """Return the milliseconds of server CPU for one page."""

        async def some(n: int) -> None:
            for _ in range(n):
                await self.get(url)

        await some(connections)
        before = cpu_seconds(self.pid)
        await asyncio.gather(*(some(count // connections) for _ in range(connections)))
        return (cpu_seconds(self.pid) - before) / (count // connections * connections) * 1000

    async def latency(self, url: str, count: int) -> float:
        """Return the median milliseconds of one page, asked one after the other."""
        times = []
        for _ in range(count):
            started = time.perf_counter()
            await self.get(url)
            times.append((time.perf_counter() - started) * 1000)
        return statistics.median(times)


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Fill, ask, and return the figures."""
    async with AsyncExitStack() as stack:
        directory = args.keep or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="cpo-pages-"))
        )
        directory.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{directory / 'cpo.db'}"
        await fill_locations(url, args.locations)
        await fill_cdrs(url, args.cdrs)
        backend = Backend(
            database=url, CPO_OCPI__REQUESTS_PER_SECOND="0", CPO_OCPI__PUSH__DRAIN_RATE="0"
        )
        stack.callback(backend.close)
        base = backend.urls["ocpi"].replace("/versions", "/2.2.1")
        token = b64encode(TOKEN.encode()).decode()
        session = await stack.enter_async_context(
            aiohttp.ClientSession(headers={"Authorization": f"Token {token}"})
        )
        ask = Asker(session, backend.pid)
        report: dict[str, Any] = {
            "load": os.getloadavg()[0],
            "locations": await locations(ask, base, args, backend.directory, stack),
        }
        if args.cdrs:
            report["cdrs"] = await cdrs(ask, base, args)
            report["peer"] = await beside_peer(ask, base, args, stack)
        return report


async def beside_peer(
    ask: Asker, base: str, args: argparse.Namespace, stack: AsyncExitStack
) -> dict[str, Any] | str:
    """Compare requests a CPU-second with the peer library, both asked in turn."""
    if args.peer is None:
        return "left out: name a Python that has extrawest-ocpi and uvicorn with --peer"
    has = [args.peer, "-c", "import py_ocpi, uvicorn"]
    if (await asyncio.to_thread(subprocess.run, has, capture_output=True)).returncode:
        return f"left out: {args.peer} cannot import py_ocpi and uvicorn"
    body, _ = await ask.get(f"{base}/cdrs?limit=50")
    script = Path(__file__).with_name("peer_ocpi.py")
    page = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "cdrs.json"
    page.write_bytes(body)
    peer = subprocess.Popen(  # noqa: ASYNC220 - starting it may take its time
        [args.peer, str(script), str(page)], stdout=subprocess.PIPE, text=True
    )
    stack.callback(peer.terminate)
    assert peer.stdout is not None
    port = (await asyncio.to_thread(peer.stdout.readline)).strip()
    theirs = Asker(ask.session, peer.pid)
    theirs_url = f"http://127.0.0.1:{port}/ocpi/cpo/2.2.1/cdrs?limit=50"
    rounds: dict[str, list[float]] = {"ours": [], "extrawest-ocpi": []}
    for _ in range(args.rounds):
        rounds["ours"].append(await ask.cost(f"{base}/cdrs?limit=50", args.pages))
        rounds["extrawest-ocpi"].append(await theirs.cost(theirs_url, 16))
    cpu = {name: statistics.median(values) for name, values in rounds.items()}
    return {
        "cpu_ms_per_page": {name: round(value, 3) for name, value in cpu.items()},
        "times_the_requests_per_cpu_second": round(cpu["extrawest-ocpi"] / cpu["ours"], 1),
    }


async def locations(
    ask: Asker, base: str, args: argparse.Namespace, directory: Path, stack: AsyncExitStack
) -> dict[str, Any]:
    """Compare a page of locations with the bare handler."""
    url = f"{base}/locations?limit=50"
    last = f"{base}/locations?limit=50&offset={args.locations - 50}"
    body, headers = await ask.get(url)
    page = directory / "page.json"
    page.write_bytes(body)
    bare = subprocess.Popen(  # noqa: ASYNC220 - starting it may take its time
        [sys.executable, "-c", BARE, str(page)], stdout=subprocess.PIPE, text=True
    )
    stack.callback(bare.terminate)
    assert bare.stdout is not None
    port = await asyncio.to_thread(bare.stdout.readline)
    bare_ask = Asker(ask.session, bare.pid)
    bare_url = f"http://127.0.0.1:{port.strip()}/"
    rounds: dict[str, list[float]] = {"bare": [], "first page": [], "last page": []}
    for _ in range(args.rounds):
        rounds["bare"].append(await bare_ask.cost(bare_url, args.pages))
        rounds["first page"].append(await ask.cost(url, args.pages))
        rounds["last page"].append(await ask.cost(last, args.pages))
    return {
        "stored": int(headers["X-Total-Count"]),
        "page_bytes": len(body),
        "cpu_ms_per_page": {k: round(statistics.median(v), 3) for k, v in rounds.items()},
        "rounds": {k: [round(x, 3) for x in v] for k, v in rounds.items()},
    }


async def cdrs(ask: Asker, base: str, args: argparse.Namespace) -> dict[str, Any]:
    """Compare the first page of CDRs with the last, by link and by a computed offset."""
    first = f"{base}/cdrs?limit=50"
    body, headers = await ask.get(first)
    total = int(headers["X-Total-Count"])
    offset = f"{base}/cdrs?limit=50&offset={total - 50}"
    before_last = f"{base}/cdrs?limit=50&offset={total - 100}"
    _, near = await ask.get(before_last)
    link = near["Link"][1:].partition(">")[0]
    middle = (datetime.now(UTC) - timedelta(days=1)).isoformat().replace("+00:00", "Z")
    dated = f"{base}/cdrs?{urlencode({'limit': 50, 'date_from': middle})}"
    candidates = {"first": first, "last by link": link, "last by offset": offset, "dated": dated}
    cost: dict[str, list[float]] = {name: [] for name in candidates}
    wait: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(args.rounds):
        for name, url in candidates.items():
            cost[name].append(await ask.cost(url, args.pages))
            wait[name].append(await ask.latency(url, 50))
    cpu = {name: statistics.median(values) for name, values in cost.items()}
    return {
        "stored": total,
        "page_bytes": len(body),
        "cpu_ms_per_page": {name: round(value, 3) for name, value in cpu.items()},
        "median_ms_per_page": {n: round(statistics.median(v), 3) for n, v in wait.items()},
        "last_by_link_of_first": round(cpu["last by link"] / cpu["first"], 2),
        "last_by_offset_of_first": round(cpu["last by offset"] / cpu["first"], 2),
    }


def main() -> None:
    """Read the command line and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--locations", type=int, default=10_000)
    parser.add_argument("--cdrs", type=int, default=1_000_000)
    parser.add_argument("--pages", type=int, default=400, help="asked for in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="folder to keep the filled database in")
    parser.add_argument("--peer", help="a Python that has extrawest-ocpi and uvicorn")
    print(json.dumps(uvloop.run(measure(parser.parse_args())), indent=2))


if __name__ == "__main__":
    main()
