"""A million tokens: how fast they are taken in, and what one lookup costs.

python benchmarks/tokens.py --tokens 1000000
"""

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path

import uvloop
from load import token_uid

from cpo.db.store import SqlStore, open_store
from cpo.domain.tokens import Token, Whitelist
from cpo.domain.values import replace
from cpo.services.ports import Work

UNIT = 1000


async def fill(url: str, count: int) -> None:
    """Write tokens of our own into a new database."""
    store = await open_store(url, vault_key=b"benchmark")
    for start in range(0, count, UNIT):
        work = Work()
        for n in range(start, min(start + UNIT, count)):
            ours = {"country_code": "NL", "party_id": "CPO", "partner_id": None}
            work.put(replace(token(n), **ours))
        await store.commit(work)
    await store.close()


def token(n: int) -> Token:
    return Token(
        country_code="DE",
        party_id="MSP",
        uid=token_uid(n),
        type="RFID",
        contract_id=f"DE-MSP-C{n:09}",
        issuer="Msp",
        valid=True,
        whitelist=Whitelist.ALLOWED,
        partner_id="p1",
        visual_number=f"{n:012}",
    )


async def take_in(store: SqlStore, first: int, count: int) -> float:
    began = time.process_time()
    for start in range(first, first + count, UNIT):
        work = Work()
        for n in range(start, min(start + UNIT, first + count)):
            work.put(token(n))
        await store.commit(work)
    return time.process_time() - began


async def run(url: str, count: int) -> None:
    store = await open_store(url, vault_key=b"benchmark")
    began = time.perf_counter()
    cpu = await take_in(store, 0, count)
    wall = time.perf_counter() - began
    print(f"taken in: {count / wall:.0f} tokens/s, {cpu / count * 1e6:.0f} us CPU a token")
    again = min(count, 50_000)
    cpu = await take_in(store, count // 2, again)
    print(f"put again: {cpu / again * 1e6:.0f} us CPU a token")
    taken = {"token": [], "tokens_by_uid": [], "unknown": []}
    for _ in range(500):
        wanted = token(random.randrange(count))
        for name, found in taken.items():
            began = time.perf_counter()
            if name == "token":
                await store.token("DE", "MSP", wanted.uid, "RFID")
            else:
                await store.tokens_by_uid(wanted.uid if name == "tokens_by_uid" else "none")
            found.append((time.perf_counter() - began) * 1e3)
    for name, found in taken.items():
        found.sort()
        print(f"{name}: p50 {statistics.median(found):.2f} ms, p99 {found[494]:.2f} ms")
    await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cpo.db"
        uvloop.run(run(f"sqlite:///{file}", arguments.tokens))
        print(f"database: {file.stat().st_size / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
