"""A partner's many tokens, pulled page by page while the server is killed in the middle.

Serves tokens as an eMSP of OCPI 2.2.1 does, registers with `cpo serve`, shows the progress that the
operator API tells, kills the server (-9) when the given share has been read, starts it again and
takes what was asked for twice. Then a charger's Authorize is timed beside it.

    python benchmarks/token_pull.py --tokens 1000000
"""

import argparse
import asyncio
import json
import os
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web
from backend import Backend
from load import cpu_seconds
from receiver import STAMP, Receiver

PAGE = 1000


class Issuer(Receiver):
    """A receiver that has tokens to give."""

    def __init__(self, party: str, count: int) -> None:
        super().__init__(party, lambda *_: None)
        self.count = count
        self.asked: Counter[int] = Counter()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/2.2.1":
            endpoints = [
                {"identifier": "credentials", "role": "SENDER", "url": f"{self.url}/credentials"},
                {"identifier": "tokens", "role": "SENDER", "url": f"{self.url}/tokens"},
            ]
            return _said({"version": "2.2.1", "endpoints": endpoints}, {})
        if request.path != "/tokens":
            return await super()._answer(request)
        offset = int(request.query.get("offset", "0"))
        limit = min(int(request.query.get("limit", str(PAGE))), PAGE)
        self.asked[offset] += 1
        page = [self._token(n) for n in range(offset, min(offset + limit, self.count))]
        headers = {"X-Total-Count": str(self.count), "X-Limit": str(PAGE)}
        if offset + limit < self.count:
            following = f"{self.url}/tokens?offset={offset + limit}&limit={limit}"
            headers["Link"] = f'<{following}>; rel="next"'
        return _said(page, headers)

    def _token(self, n: int) -> dict[str, Any]:
        return {
            "country_code": "NL",
            "party_id": self.party,
            "uid": f"{n * 2654435761 % 2**32:08X}{n:06X}",
            "type": "RFID",
            "contract_id": f"NL-{self.party}-C{n:09}",
            "issuer": "Bench",
            "valid": True,
            "whitelist": "ALLOWED",
            "last_updated": STAMP,
        }


def _said(data: Any, headers: dict[str, str]) -> web.Response:
    body = json.dumps({"status_code": 1000, "timestamp": STAMP, "data": data}).encode()
    return web.Response(body=body, content_type="application/json", headers=headers)


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run it and return the figures."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cpo-pull-")))
        url = f"sqlite:///{directory / 'cpo.db'}"
        issuer = await stack.enter_async_context(Issuer("TOK", args.tokens))
        backend = Backend(database=url)
        invited = await asyncio.to_thread(backend.api, "POST", "/partners", {"name": "TOK"})
        started = time.monotonic()
        await issuer.register(invited["versions_url"], invited["token_a"])
        shown = []
        while True:
            await asyncio.sleep(0.2)
            told = await asyncio.to_thread(backend.api, "GET", f"/partners/{invited['id']}")
            pull = told.get("token_pull")
            if pull is not None:
                shown.append((pull["count"], pull["total"]))
                if pull["count"] >= args.tokens * args.kill_at:
                    break
        cpu = cpu_seconds(backend.pid)
        os.kill(backend.pid, signal.SIGKILL)
        await asyncio.to_thread(backend.close)
        before_kill = dict(issuer.asked)
        issuer.asked.clear()
        backend = Backend(database=url)
        stack.callback(backend.close)
        deadline = time.monotonic() + args.limit
        while time.monotonic() < deadline:
            await asyncio.sleep(0.5)
            told = await asyncio.to_thread(backend.api, "GET", f"/partners/{invited['id']}")
            if told.get("token_pull") is None and told.get("tokens_pulled_at"):
                break
        took = time.monotonic() - started
        cpu += cpu_seconds(backend.pid)
        with closing(sqlite3.connect(directory / "cpo.db")) as found:
            (stored,) = found.execute("SELECT count(*) FROM tokens").fetchone()
    return {
        "tokens": args.tokens,
        "stored": stored,
        "load": os.getloadavg()[0],
        "progress_shown": [shown[0], shown[-1]],
        "killed_at": shown[-1][0],
        "pages_before_the_kill": len(before_kill),
        "pages_after_it": len(issuer.asked),
        "pages_asked_again": len(set(before_kill) & set(issuer.asked)),
        "seconds": round(took, 1),
        "server_cpu_us_a_token": round(cpu / args.tokens * 1e6),
    }


def main() -> None:
    """Read the command line and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--kill-at", type=float, default=0.5, help="share read before the kill")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds to wait at most")
    print(json.dumps(uvloop.run(measure(parser.parse_args())), indent=2))


if __name__ == "__main__":
    main()
