"""What one message costs: the same charging sessions against four servers, side by side.

(a) bare `websockets` with a canned answer, (b) the `ocpp` package as shipped with empty handlers
and no storage, (c) this backend, durable SQLite, everything on, (d) the same on PostgreSQL, (e) npm
`ocpp-rpc` in strict mode with empty handlers and no storage (--node-modules says where it is), (t)
as (c), with many tokens (--tokens) of which each session has another. All servers run for the
whole time; the rounds alternate between them; the figures are medians. CPU is what the operating
system charged to the server's process. The share of a core that the load client used is printed
too: well below 1, it is not what limits.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from backend import ROOT, Backend, wait_quiet

sys.path.insert(0, str(ROOT))

HERE = Path(__file__).resolve().parent
NAMES = {
    "a": "bare websockets, canned answer",
    "b": "ocpp package as shipped, nothing stored",
    "c": "cpo, SQLite, durable",
    "d": "cpo, PostgreSQL, durable",
    "e": "npm ocpp-rpc strict, nothing stored",
    "t": "cpo, SQLite, durable, many tokens",
}


class Peer:
    """One of the servers of peers.py."""

    def __init__(self, core: int | None, *command: str) -> None:
        prefix = ["taskset", "-c", str(core)] if core is not None else []
        self.process = subprocess.Popen(
            [*prefix, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.ocpp_port = int(self.process.stdout.readline().split()[1])
        self.pid = self.process.pid

    def close(self) -> None:
        """Stop it."""
        self.process.kill()
        self.process.wait()


def measure(
    server: Any,
    version: str,
    args: argparse.Namespace,
    *,
    rate: float = 0.0,
    round_: int = 0,
    tags: int = 0,
) -> dict[str, Any]:
    """Run the load client once against a server."""
    command = [
        sys.executable,
        str(HERE / "load.py"),
        f"--port={server.ocpp_port}",
        f"--version={version}",
        f"--connections={args.connections}",
        f"--seconds={args.seconds}",
        f"--server-pid={server.pid}",
        f"--prefix={'S' if version == '1.6' else 'T'}",
        f"--rate={rate}",
        # Every run happens at a time of its own, so that no message repeats an earlier one.
        f"--days-ago={900 - 10 * round_}",
        f"--tags={tags}",
    ]
    if args.client_core is not None:
        command.append(f"--core={args.client_core}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--candidates", default="abc", help="letters of a, b, c, d, e, t")
    parser.add_argument("--tokens", type=int, default=1_000_000, help="for (t)")
    parser.add_argument(
        "--node-modules",
        default=str(HERE.parent / "tests" / "ocpp" / "third_party" / "node_modules"),
        help="where ocpp-rpc is, for (e)",
    )
    parser.add_argument("--postgres", help="an empty database for (d)")
    parser.add_argument("--rate", type=float, default=600, help="messages a second for p99")
    parser.add_argument("--versions", default="1.6,2.0.1")
    parser.add_argument("--server-core", type=int, default=None)
    parser.add_argument("--client-core", type=int, default=None)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    servers: dict[str, Any] = {}
    stack = ExitStack()
    try:
        for letter in args.candidates:
            if letter in "ab":
                which = "bare" if letter == "a" else "package"
                servers[letter] = Peer(
                    args.server_core, sys.executable, str(HERE / "peers.py"), which
                )
            elif letter == "e":
                servers[letter] = Peer(
                    args.server_core, "node", str(HERE / "peer_rpc.js"), args.node_modules
                )
            else:
                database = args.postgres if letter == "d" else None
                if letter == "t":
                    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="cpo-tokens-"))
                    database = f"sqlite:///{folder}/cpo.db"
                    from tokens import fill  # noqa: PLC0415 - after the path to it is set

                    asyncio.run(fill(database, args.tokens))
                servers[letter] = Backend(database=database, core=args.server_core)
                for prefix in "ST":
                    servers[letter].furnish(prefix, args.connections)
        report = compare(servers, args)
    finally:
        for server in servers.values():
            server.close()
        stack.close()
    if args.json:
        print(json.dumps(report, indent=1))
    else:
        show(report)


def compare(servers: dict[str, Any], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one line per version and server."""
    report = []
    turn = 0
    for version in args.versions.split(","):
        runs: dict[str, list[dict[str, Any]]] = {letter: [] for letter in servers}
        paced: dict[str, list[dict[str, Any]]] = {letter: [] for letter in servers}
        for _ in range(args.rounds):
            for letter, server in servers.items():
                turn += 1
                tags = args.tokens if letter == "t" else 0
                runs[letter].append(measure(server, version, args, round_=turn, tags=tags))
                wait_quiet()
        for _ in range(min(3, args.rounds)):
            for letter, server in servers.items():
                turn += 1
                tags = args.tokens if letter == "t" else 0
                paced[letter].append(
                    measure(server, version, args, rate=args.rate, round_=turn, tags=tags)
                )
                wait_quiet()
        for letter in servers:
            report.append(
                {
                    "version": version,
                    "server": letter,
                    "name": NAMES[letter],
                    "us_per_message": median(runs[letter], "server_cpu_us_per_message"),
                    "messages_per_second": statistics.median(
                        run["messages"] / run["seconds"] for run in runs[letter]
                    ),
                    "server_busy": median(runs[letter], "server_busy"),
                    "client_busy": median(runs[letter], "client_busy"),
                    "errors": sum(run["errors"] for run in runs[letter] + paced[letter]),
                    "first_error": next(
                        (r["first_error"] for r in runs[letter] + paced[letter] if r["errors"]),
                        None,
                    ),
                    "p50_ms": median(paced[letter], "p50_ms"),
                    "p99_ms": median(paced[letter], "p99_ms"),
                    "rounds": [run["server_cpu_us_per_message"] for run in runs[letter]],
                }
            )
    return report


def median(runs: list[dict[str, Any]], key: str) -> float:
    """Return the median of one figure."""
    return statistics.median(run[key] for run in runs)


def show(report: list[dict[str, Any]]) -> None:
    """Print the table."""
    base = {row["version"]: row["us_per_message"] for row in report if row["server"] == "b"}
    print(
        f"{'':44} {'us/msg':>8} {'x (b)':>6} {'msg/s':>8} {'server':>7} {'client':>7}"
        f" {'p50 ms':>7} {'p99 ms':>7} {'errors':>6}"
    )
    for row in report:
        ratio = base.get(row["version"], row["us_per_message"]) / row["us_per_message"]
        print(
            f"{row['version']:6}({row['server']}) {row['name']:33} {row['us_per_message']:8.1f}"
            f" {ratio:6.1f} {row['messages_per_second']:8.0f} {row['server_busy']:7.2f}"
            f" {row['client_busy']:7.2f} {row['p50_ms']:7.2f} {row['p99_ms']:7.2f}"
            f" {row['errors']:6d}"
        )
        if row["first_error"]:
            print("       first error:", row["first_error"])


if __name__ == "__main__":
    main()
