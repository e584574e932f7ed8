"""Pages of a long list of CDRs: the first and the last, by Link and by computed offset, the total.

Fills a database with CDRs (once, kept between runs when --keep names a folder), then reads pages
through the store as the OCPI side does, alternating the kinds of access; medians.

    python benchmarks/pages.py --cdrs 1000000
    python benchmarks/pages.py --cdrs 1000000 --postgres postgresql://postgres@127.0.0.1/bench
"""

import argparse
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvloop
from sqlalchemy import insert, text

from cpo.db import migrate, rows
from cpo.db.store import SqlStore, open_store

START = datetime(2026, 1, 1, tzinfo=UTC)
TEXT = '{"id":"%s","currency":"EUR","charging_periods":[' + "x" * 830 + "]}"
BATCH = 20_000


async def fill(url: str, count: int) -> None:
    """Insert CDRs in the order of their stamps, each with its rendered text."""
    async with migrate._connected(migrate.Address.of(url)) as run:  # noqa: SLF001
        present = await run(lambda c: c.execute(text("SELECT count(*) FROM cdrs")).scalar_one())
        for start in range(present, count, BATCH):
            cdrs, texts = [], []
            for n in range(start, min(start + BATCH, count)):
                at = START + timedelta(milliseconds=n // 3)
                id_ = f"{(n * 2654435761) % 2**32:08x}-{n:08}"
                cdrs.append(
                    {
                        "id": id_,
                        "session_id": id_,
                        "credit": False,
                        "country_code": "NL",
                        "party_id": "EXA",
                        "partner_id": f"p{n % 2}",
                        "ended_at": at,
                        "last_updated": at,
                        "body": "{}",
                    }
                )
                texts.append(
                    {
                        "kind": "cdrs",
                        "form": "2.2.1",
                        "object_id": id_,
                        "object_updated_at": at,
                        "body": TEXT % id_,
                    }
                )
            await run(lambda c, v=cdrs: c.execute(insert(rows.CDRS), v))
            await run(lambda c, v=texts: c.execute(insert(rows.metadata.tables["wire_texts"]), v))
        # What autovacuum does by itself on a database that lives longer.
        await run(lambda c: c.execute(text("ANALYZE")))


async def measure(store: SqlStore, *, count: int, limit: int, rounds: int) -> None:
    def nothing(_: object) -> str:
        raise AssertionError("every text is there")

    async def page(**query: object) -> object:
        return await store.page_texts("cdrs", "2.2.1", nothing, limit=limit, **query)

    began = time.perf_counter()
    first = await page()
    print(f"first use: {(time.perf_counter() - began) * 1e3:.0f} ms, total {first.total}")
    began = time.perf_counter()
    await page(partner_id="p0")
    print(f"first use of a partner's list: {(time.perf_counter() - began) * 1e3:.0f} ms")
    half = START + timedelta(milliseconds=count // 6)
    last = (await page(offset=count - 2 * limit)).next_cursor
    queries = {
        "first page": {},
        "last page by Link": {"cursor": last},
        "offset 10,000": {"offset": 10_000},
        "offset in the middle": {"offset": count // 2},
        "last page by offset": {"offset": count - limit},
        "date_from in the middle": {"date_from": half},
        "date_from in the middle, offset": {"date_from": half, "offset": count // 3},
        "a partner's first page": {"partner_id": "p0"},
        "a partner's last page by offset": {"partner_id": "p0", "offset": count // 2 - limit},
        # Behind the end there is nothing to read but the total itself.
        "the total alone": {"offset": 2 * count},
        "the total alone, from the middle on": {"offset": 2 * count, "date_from": half},
        "the total alone, a partner's": {"offset": 2 * count, "partner_id": "p0"},
    }
    wall: dict[str, list[float]] = {name: [] for name in queries}
    cpu: dict[str, list[float]] = {name: [] for name in queries}
    for _ in range(rounds):
        for name, query in queries.items():
            cpu_began, began = time.process_time(), time.perf_counter()
            found = await page(**query)
            wall[name].append((time.perf_counter() - began) * 1e3)
            cpu[name].append((time.process_time() - cpu_began) * 1e3)
            assert found.count == (0 if "total" in name else limit)
    base = statistics.median(wall["first page"])
    print(f"{'page of ' + str(limit):36}{'ms':>8}{'CPU ms':>8}{'x first':>8}")
    for name, taken in wall.items():
        median = statistics.median(taken)
        print(f"{name:36}{median:8.2f}{statistics.median(cpu[name]):8.2f}{median / base:8.2f}")


async def run(arguments: argparse.Namespace, folder: Path) -> None:
    url = arguments.postgres or f"sqlite:///{folder}/pages.db"
    await migrate.check(url)
    await fill(url, arguments.cdrs)
    store = await open_store(url, vault_key=b"benchmark")
    await measure(store, count=arguments.cdrs, limit=arguments.limit, rounds=arguments.rounds)
    await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cdrs", type=int, default=1_000_000)
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=51)
    parser.add_argument("--keep", type=Path, help="folder to keep the filled database in")
    parser.add_argument("--postgres", help="address of a database that may be written to")
    arguments = parser.parse_args()
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        uvloop.run(run(arguments, arguments.keep))
        return
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(run(arguments, Path(folder)))


if __name__ == "__main__":
    main()
