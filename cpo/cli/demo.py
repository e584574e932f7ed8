"""`cpo demo`: the CPO, charge points and an eMSP as processes of their own, over real sockets."""

import asyncio
import json
import os
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import msgspec

from cpo import errors
from cpo.cli.client import OperatorApi

START_SECONDS = 180
CHARGE_SECONDS = 240
STOP_SECONDS = 30

# What the eMSP received is shown digit by digit.
_exact = msgspec.json.Encoder(decimal_format="number")

TARIFF = "DEMO-TARIFF"
LOCATION = "DEMO-LOCATION"
PER_KWH, PER_HOUR_PARKED, VAT = 0.45, 6.00, 21


@dataclass(frozen=True, slots=True)
class Charger:
    """A simulated charge point: one EVSE, and the token that its driver swipes."""

    identity: str
    ocpp: str
    evse: str
    tag: str
    password: str = field(default_factory=lambda: secrets.token_hex(16))


CHARGERS = (
    Charger("DEMO-16", "1.6", "DEMO-EVSE-1", "04A1B2C3D4E5F6"),
    Charger("DEMO-201", "2.0.1", "DEMO-EVSE-2", "04A1B2C3D4E5F7"),
)


class Failed(errors.CpoError):
    """A part of the demo did not do what it is there for."""


class Process:
    """A child process, its lines as they come; ended by its own id and nothing else."""

    def __init__(self, name: str, child: asyncio.subprocess.Process, errors_to: Path) -> None:
        self.name = name
        self._child = child
        self._errors_to = errors_to

    async def line(self) -> str:
        """Return the next line of its standard output; raises Failed when it is gone."""
        if self._child.stdout is None:
            raise Failed(f"{self.name}: no output")
        raw = await self._child.stdout.readline()
        if not raw:
            code = await self._child.wait()
            raise Failed(f"{self.name} ended with code {code}: {self.said()}")
        return raw.decode(errors="replace").rstrip("\n")

    async def lines(self) -> AsyncIterator[str]:
        """Yield its lines until it ends."""
        try:
            while True:
                yield await self.line()
        except Failed:
            return

    async def ended(self) -> int:
        """Wait for its end and return its exit code."""
        return await self._child.wait()

    def said(self) -> str:
        """Return the last line it wrote to standard error."""
        lines = self._errors_to.read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-1] if lines else "nothing on standard error"

    async def stop(self) -> None:
        """End it: asked first, forced after a while."""
        if self._child.returncode is None:
            self._child.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._child.wait()
            except TimeoutError:
                self._child.kill()
        if self._child.stdout is not None:
            await self._child.stdout.read()
        await self._child.wait()


@asynccontextmanager
async def process(name: str, folder: Path, *args: str) -> AsyncIterator[Process]:
    """Run `python -m …` in a session of its own, so that Ctrl-C is ours to pass on."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CPO_")}
    environment["PYTHONUNBUFFERED"] = "1"
    errors_to = folder / f"{name}-{secrets.token_hex(3)}.log"
    with errors_to.open("wb") as log:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *args,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    running = Process(name, child, errors_to)
    try:
        yield running
    finally:
        await running.stop()


async def until_ready(running: Process) -> dict[str, str]:
    """Read what a process says of itself until it is ready: the first words, then the rest."""
    said: dict[str, str] = {}
    try:
        async with asyncio.timeout(START_SECONDS):
            while (line := await running.line()) != "ready":
                if line.startswith("listening "):
                    _, name, url = line.split(" ", 2)
                    said[name] = url
                elif line.startswith("operator key: "):
                    said["operator key"] = line.removeprefix("operator key: ")
                else:
                    name, _, value = line.partition(" ")
                    said[name] = value
    except TimeoutError:
        raise Failed(f"{running.name} was not ready in {START_SECONDS} s") from None
    return said


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs: where it is and how to talk to it."""

    api: OperatorApi
    double: OperatorApi
    ocpp_url: str
    folder: Path

    async def operator(self, method: str, path: str, body: Any = None) -> Any:
        """Call the operator API without holding up the loop."""
        return await asyncio.to_thread(self.api.request, method, f"/api/v1{path}", body)

    async def partner_state(self) -> dict[str, Any]:
        """Return what the eMSP holds; numbers exactly as they came."""
        raw = await asyncio.to_thread(self.double.raw, "GET", "/double/state")
        state: dict[str, Any] = json.loads(raw, parse_float=Decimal)
        return state


def settings_text(folder: Path, ports: tuple[int, int, int]) -> str:
    """Return the settings of the demo's server."""
    ocpp, ocpi, operator = ports
    return f"""\
[database]
url = "sqlite:///{folder / "demo.db"}"

[ocpp]
host = "127.0.0.1"
port = {ocpp}

[ocpi]
host = "127.0.0.1"
port = {ocpi}
allow_private_urls = true
status_debounce = 0.1
session_update_interval = 2

[operator]
port = {operator}

[log]
level = "warning"
"""


def location() -> dict[str, Any]:
    """Return the demo's location with an EVSE for each charger."""
    return {
        "publish": True,
        "name": "Demo street",
        "address": "Demo street 1",
        "city": "Utrecht",
        "postal_code": "3511AA",
        "country": "NLD",
        "coordinates": {"latitude": "52.090700", "longitude": "5.121400"},
        "time_zone": "Europe/Amsterdam",
        "evses": [
            {
                "uid": charger.evse,
                "evse_id": f"NL*EXA*E{number:06}",
                "capabilities": ["RFID_READER", "REMOTE_START_STOP_CAPABLE"],
                "ocpp": {"station": charger.identity, "evse_id": 1},
                "connectors": [
                    {
                        "id": "1",
                        "standard": "IEC_62196_T2",
                        "format": "SOCKET",
                        "power_type": "AC_3_PHASE",
                        "max_voltage": 230,
                        "max_amperage": 32,
                        "tariff_ids": [TARIFF],
                    }
                ],
            }
            for number, charger in enumerate(CHARGERS, 1)
        ],
    }


def tariff() -> dict[str, Any]:
    """Return the demo's tariff: energy, and time parked without charging."""
    components = [
        {"type": "ENERGY", "price": PER_KWH, "vat": VAT, "step_size": 1},
        {"type": "PARKING_TIME", "price": PER_HOUR_PARKED, "vat": VAT, "step_size": 1},
    ]
    return {"currency": "EUR", "elements": [{"price_components": components}]}


def free_ports(*wanted: int) -> tuple[int, ...]:
    """Return the wanted ports where they are free, else 0."""
    found = []
    for port in wanted:
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                port = 0  # noqa: PLW2901 - the port that is used
        found.append(port)
    return tuple(found)


@asynccontextmanager
async def stage(tell: Callable[[str], None], ports: tuple[int, int, int]) -> AsyncIterator[Stage]:
    """Start server and eMSP, introduce them to each other, and enter the site."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cpo-demo-")))
        config = folder / "config.toml"
        config.write_text(settings_text(folder, ports), encoding="utf-8")
        tell("starting the eMSP double")
        emsp = await stack.enter_async_context(
            process("emsp", folder, "chargers_sim", "emsp", "--port", "0", "--ocpi", "2.2.1")
        )
        tell("starting the CPO with an SQLite file of its own")
        server = await stack.enter_async_context(
            process("cpo", folder, "cpo", "serve", "--config", str(config))
        )
        partner, here = await asyncio.gather(until_ready(emsp), until_ready(server))
        made = Stage(
            api=OperatorApi(here["operator"], here["operator key"]),
            double=OperatorApi(partner["emsp"]),
            ocpp_url=here["ocpp"],
            folder=folder,
        )
        tell(f"console         {here['operator']}")
        tell(f"operator key    {here['operator key']}")
        tell(f"charge points   {here['ocpp']}/IDENTITY")
        tell(f"partners        {here['ocpi']}")
        tell(f"the eMSP holds  {partner['emsp']}/double/state")
        await made.operator("PUT", f"/tariffs/{TARIFF}", tariff())
        for charger in CHARGERS:
            body = {"password": charger.password, "ocpp_versions": [charger.ocpp]}
            await made.operator("PUT", f"/stations/{charger.identity}", body)
        await made.operator("PUT", f"/locations/{LOCATION}", location())
        body = {
            "name": "Demo eMSP",
            "versions_url": partner["versions"],
            "token_a": partner["token-a"],
        }
        joined = await made.operator("POST", "/partners/connect", body)
        tell(f"registered with the eMSP, OCPI {joined['version']}")
        await _tokens_known(made)
        yield made


async def _tokens_known(made: Stage) -> None:
    """Wait until the eMSP's tokens were pulled: the drivers are about to swipe them."""
    wanted = {charger.tag for charger in CHARGERS}
    for _ in _patience(START_SECONDS):
        known = await asyncio.to_thread(lambda: list(made.api.pages("/api/v1/tokens")))
        if wanted <= {token["uid"] for token in known}:
            return
        await asyncio.sleep(0.1)
    raise Failed("the eMSP's tokens did not arrive")


def _patience(seconds: float) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield


async def charge(
    made: Stage, charger: Charger, plan: str, tell: Callable[[str], None], *, virtual: bool
) -> None:
    """Let a charger play one charge; raises Failed unless every message was answered."""
    args = [
        *("run", "--url", made.ocpp_url, "--identity", charger.identity),
        *("--password", charger.password, "--ocpp", charger.ocpp),
        *("--charge", plan, "--tag", charger.tag, "--json"),
    ]
    if virtual:
        args.append("--virtual")
    async with process(charger.identity, made.folder, "chargers_sim", *args) as running:
        async for line in running.lines():
            if (told := _event(charger, line)) is not None:
                tell(told)
        code = await running.ended()
        if code != 0:
            raise Failed(f"charger {charger.identity} ended with code {code}: {running.said()}")


def _event(charger: Charger, line: str) -> str | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    who = f"{charger.identity} (OCPP {charger.ocpp})"
    match event.get("event"):
        case "booted":
            return f"{who} connected"
        case "transaction_started":
            return f"{who} charges for token {charger.tag}"
        case "transaction_ended":
            return f"{who} ended a charge of {Decimal(str(event['energy_wh'])) / 1000} kWh"
        case "problem":
            return f"{who} has a problem: {event}"
    return None


async def _cdrs(made: Stage, count: int) -> dict[str, Any]:
    """Wait until the eMSP has so many CDRs, and return all it holds."""
    for _ in _patience(CHARGE_SECONDS):
        state = await made.partner_state()
        if len(state["cdrs"]) >= count:
            return state
        await asyncio.sleep(0.1)
    backlog = await asyncio.to_thread(lambda: list(made.api.pages("/api/v1/outbox")))
    raise Failed(f"{count} CDRs were not received; still to be sent: {backlog}")


async def once(tell: Callable[[str], None]) -> dict[str, Any]:
    """Play exactly one charge for each OCPP version; return what the eMSP received."""
    begun = time.monotonic()
    async with stage(tell, (0, 0, 0)) as made:
        plans = ("kwh=12.345,seconds=3600,idle=900", "kwh=8.1,seconds=2700,idle=0")
        await asyncio.gather(
            *(
                charge(made, charger, plan, tell, virtual=True)
                for charger, plan in zip(CHARGERS, plans, strict=True)
            )
        )
        state = await _cdrs(made, len(CHARGERS))
        for cdr in state["cdrs"]:
            tell(_received(cdr))
    return {
        "cdrs": state["cdrs"],
        "sessions": state["sessions"],
        "seconds": round(time.monotonic() - begun, 1),
    }


def _received(cdr: dict[str, Any]) -> str:
    cost = cdr["total_cost"]
    gross = cost.get("incl_vat", cost) if isinstance(cost, dict) else cost
    return f"the eMSP has CDR {cdr['id']}: {cdr['total_energy']} kWh, {gross} {cdr['currency']}"


async def forever(tell: Callable[[str], None]) -> None:
    """Play charges until somebody stops it."""
    async with stage(tell, free_ports(9000, 8080, 8081)) as made:  # type: ignore[arg-type]
        tell("Ctrl-C ends the demo")

        async def drive(charger: Charger, pause: float) -> None:
            while True:
                await asyncio.sleep(pause)
                await charge(made, charger, "kwh=0.2,seconds=40,idle=10", tell, virtual=False)

        async def listen() -> None:
            seen: set[str] = set()
            while True:
                for cdr in (await made.partner_state())["cdrs"]:
                    if cdr["id"] not in seen:
                        seen.add(cdr["id"])
                        tell(_received(cdr))
                await asyncio.sleep(1)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(listen())
            for number, charger in enumerate(CHARGERS):
                tasks.create_task(drive(charger, 1 + 7 * number))


@contextmanager
def _stopping(task: asyncio.Task[Any]) -> Iterator[None]:
    """Let SIGTERM and Ctrl-C end a task, so that the children are ended in order."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def run(*, only_once: bool, as_json: bool) -> None:
    """Run the demo; with `as_json` what happens goes to standard error as it does."""

    def tell(text: str) -> None:
        click.echo(f"{time.strftime('%H:%M:%S')} {text}", err=as_json)

    async def work() -> None:
        task = asyncio.current_task()
        if task is None:
            return
        with _stopping(task):
            if not only_once:
                await forever(tell)
                return
            result = await once(tell)
            if as_json:
                click.echo(_exact.encode(result))

    try:
        asyncio.run(work())
    except asyncio.CancelledError:
        tell("stopped")
    except BaseExceptionGroup as group:
        failed = [error for error in group.exceptions if isinstance(error, errors.CpoError)]
        raise failed[0] if failed else group from None
