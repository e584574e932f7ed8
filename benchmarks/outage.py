"""A partner that was away for days: everything reaches it once, at its rate, and memory stays.

Registers a receiver with `cpo serve`, stops the server, writes charges (Session and CDR, both
unheard) into its database as an outage of days would leave them, starts it again while the receiver
cuts every connection, then lets the receiver come back and counts what arrives.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop
from backend import ROOT, Backend
from receiver import Receiver

sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests" / "support"))


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * 4096 / 2**20, 1)


async def fill(url: str, partner_id: str, count: int) -> None:
    """Write charges that the partner has not heard of."""
    import ocpi_charges  # noqa: PLC0415 - after the path to it is set

    from cpo.db.store import open_store  # noqa: PLC0415 - after the path to it is set
    from cpo.services.cdr_chain import CdrChain  # noqa: PLC0415 - after the path to it is set
    from cpo.services.ports import Kind, Work  # noqa: PLC0415 - after the path to it is set

    store = await open_store(url, vault_key=b"k" * 32)
    session = ocpi_charges.session(partner_id=partner_id)
    cdr = ocpi_charges.cdr(partner_id=partner_id)
    for start in range(0, count, 1000):
        works = []
        for n in range(start, min(start + 1000, count)):
            work = Work()
            work.put(replace(session, id=f"session-{n:06d}"))
            work.put(replace(cdr, id=f"cdr-{n:06d}", session_id=f"session-{n:06d}"))
            work.mark([partner_id], Kind.SESSION, f"session-{n:06d}")
            work.mark([partner_id], Kind.CDR, f"cdr-{n:06d}")
            works.append(store.commit(work))
        await asyncio.gather(*works)
    # A server that ran through the outage has sealed them as they came.
    await CdrChain(store, now=lambda: datetime.now(UTC)).extend()
    await store.close()


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run it and return the figures."""
    seen: Counter[str] = Counter()
    early_cdrs = 0

    def arrived(_: float, method: str, path: str, body: bytes) -> None:
        nonlocal early_cdrs
        if path.startswith("/sessions/"):
            seen[path.rpartition("/")[2]] += 1
        elif path == "/cdrs" and method == "POST":
            cdr = json.loads(body)
            seen[cdr["id"]] += 1
            early_cdrs += seen[cdr["session_id"]] == 0

    settings = {
        "CPO_OCPI__PUSH__DRAIN_RATE": str(args.rate),
        "CPO_OCPI__PUSH__BACKOFF_MIN": "0.2",
        "CPO_OCPI__PUSH__BACKOFF_MAX": "2",
    }
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cpo-outage-")))
        url = f"sqlite:///{directory / 'cpo.db'}"
        receiver = await stack.enter_async_context(Receiver("EMP", arrived))
        backend = Backend(database=url, **settings)
        invited = await asyncio.to_thread(backend.api, "POST", "/partners", {"name": "EMP"})
        await receiver.register(invited["versions_url"], invited["token_a"])
        await asyncio.sleep(1)
        before = rss_mib(backend.pid)
        await asyncio.to_thread(backend.close)
        await fill(url, invited["id"], args.charges)
        receiver.mode = "away"
        backend = Backend(database=url, **settings)
        stack.callback(backend.close)
        await asyncio.sleep(5)
        away, tried = rss_mib(backend.pid), receiver.refused
        receiver.mode = "ok"
        started = time.monotonic()
        deadline = started + args.limit
        while len(seen) < 2 * args.charges and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        took = time.monotonic() - started
        await asyncio.sleep(3)
        after = rss_mib(backend.pid)
    return {
        "charges": args.charges,
        "objects_arrived": len(seen),
        "arrived_more_than_once": sum(count > 1 for count in seen.values()),
        "cdrs_before_their_session": early_cdrs,
        "attempts_in_5_s_while_away": tried,
        "drained_in_s": round(took, 1),
        "objects_per_second": round(len(seen) / took),
        "drain_rate": args.rate,
        "rss_mib": {"before": before, "with the backlog": away, "after": after},
    }


def main() -> None:
    """Read the command line and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--charges", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=200.0, help="ocpi.push.drain_rate")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds to wait at most")
    print(json.dumps(uvloop.run(measure(parser.parse_args())), indent=2))


if __name__ == "__main__":
    main()
