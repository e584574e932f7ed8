"""A station that lives: the model, a clock, a line to the server and a protocol.

    async with Station(url="ws://127.0.0.1:9000/ocpp", identity="CP1", password="…") as station:
        await station.plug()
        await station.swipe("TAG1")
        await station.charge(kwh="12.345", seconds=3600)
        await station.stop()
        await station.unplug()

With a virtual clock (the default for the library) hours pass in milliseconds,
and meter readings and timestamps follow. Every action returns when the server
has answered everything it caused, unless the line is held down.
"""

import asyncio
import importlib
import json
import random
import ssl
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from chargers_sim.adapters import Adapter, make_adapter
from chargers_sim.admission import Admission
from chargers_sim.car import Battery, Car, Draw, Plan, Segment
from chargers_sim.certificates import CertificateStore
from chargers_sim.clock import Clock, VirtualClock, iso
from chargers_sim.contract import Contract
from chargers_sim.deviation import Deviation
from chargers_sim.errors import (
    BadInput,
    NotAnswered,
    NotPossible,
    SimError,
    StationOffline,
    Unreachable,
)
from chargers_sim.events import Event, Events
from chargers_sim.faults import Direction, Faults, Rule
from chargers_sim.happenings import Alarm, Charged, Happening, StatusChanged
from chargers_sim.journal import Journal
from chargers_sim.line import SUBPROTOCOLS, Address, Line, LinkSettings
from chargers_sim.link import Link
from chargers_sim.maintenance import Maintenance
from chargers_sim.ocmf import Signer
from chargers_sim.outbox import Outbox, Outgoing, Payload
from chargers_sim.outlet import Outlet, Token, Transaction
from chargers_sim.profiles import Profiles
from chargers_sim.sender import new_id
from chargers_sim.state import load as load_state
from chargers_sim.state import save as save_state
from chargers_sim.station import Model
from chargers_sim.tasks import end_all
from chargers_sim.template import Template, with_outlets
from chargers_sim.timer import Timer
from chargers_sim.tokens import TokenStore
from chargers_sim.v2_network import chosen


class Station:
    """A simulated charging station.

    Args:
        url: the server's address without the identity.
        identity: who the station says it is, also the user of HTTP Basic.
        ocpp: 1.6, 2.0.1 or 2.1.
        password: for HTTP Basic; None sends no credentials.
        clock: a Clock; by default a VirtualClock that stands at now.
        template: the type of station; `connectors` makes a plain one.
        link: what `LinkSettings` takes: `resend` (same, new or half of each message id),
            `reconnect` (shortest and longest pause), `message_timeout`, `retry_seconds`,
            `attempts`, `lean` (no checking of frames, for fleets), `on_frame`, ...
    """

    def __init__(
        self,
        url: str,
        identity: str,
        *,
        ocpp: str = "1.6",
        password: str | bytes | None = None,
        clock: Clock | None = None,
        seed: int | str = 0,
        template: Template | None = None,
        connectors: int = 1,
        quirks: Sequence[str] = (),
        faults: Faults | None = None,
        journal: Journal | str | Path | None = None,
        state: Path | None = None,
        on_event: Callable[[Event], None] | None = None,
        connect_timeout: float = 30,
        settle_timeout: float = 30,
        tls: ssl.SSLContext | None = None,
        ca: Path | None = None,
        address: Address | None = None,
        **link: Any,
    ) -> None:
        if ocpp not in SUBPROTOCOLS:
            raise BadInput(f"unknown OCPP version {ocpp!r}; known are {', '.join(SUBPROTOCOLS)}")
        self.identity = identity
        self.version = ocpp
        self.address = address or Address(
            url=url,
            identity=identity,
            password=password,
            subprotocols=(SUBPROTOCOLS[ocpp],),
            tls=tls,
        )
        self.random = random.Random(f"{seed} {identity}")
        self.template = template or with_outlets(connectors)
        self.clock = clock or VirtualClock()
        if self.template.clock_skew_seconds:
            self.clock.jump(self.template.clock_skew_seconds)
        self.serial = f"SN{uuid.uuid5(uuid.NAMESPACE_OID, identity).hex[:12].upper()}"
        self.firmware: str = self.template.firmware
        self.signer = _signer(self.template.signs, self.serial)
        sign = None if self.signer is None else self.signer.sign
        self.model = Model(self.template.build(self.serial, str(seed)), signer=sign)
        self.tokens: TokenStore = TokenStore()
        # What Authorize carries beside a car's eMAID: `certificate` or the hash data of a chain.
        self.contract: Payload | None = None
        # The chains of cars, by eMAID; a car that has none here has one that nobody vouches for.
        self.contracts: dict[str, Contract] = {}
        self.profiles: Profiles = Profiles(self.model.transactions)
        self.model.supply.limit_w = self.profiles.limit_w
        self.faults = faults or Faults(seed=f"{seed} {identity}")
        self.journal = journal if isinstance(journal, Journal) else Journal(journal)
        self.events_log = Events(on_event)
        named = (*self.template.quirks, *quirks)
        self.deviations: list[Deviation] = _deviations(named, ocpp) if named else []
        self.link = Link(self, LinkSettings(**link))
        self.certificates: CertificateStore = CertificateStore(identity)
        self.maintenance = Maintenance(self)
        self.admission = Admission(self)
        self.timer = Timer(self)
        self.adapter: Adapter = make_adapter(ocpp, self)
        self.boot_reason = "PowerUp"
        self.resume_after_power_loss = False
        self.settle_timeout = settle_timeout
        self._connect_timeout = connect_timeout
        self._state = state
        self.ca = ca
        self._at_close: list[Callable[[], Awaitable[None]]] = []
        self._owned: set[asyncio.Task[Any]] = set()
        self._fatal: BaseException | None = None

    # Life

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def start(self) -> None:
        """Begin to connect and to live, without waiting for it."""
        self.model.run_to(self.clock.now())
        self.model.schedule(self.now)
        if self._state is not None and load_state(self, self._state):
            self._show_own_chain()
            # The simulator was off: for the station that was a power cut.
            self.model.regain_power(self.now, resume=self.resume_after_power_loss)
            self._queue(self.model.drain())
        self._own(self.link.live(), fatal=True)
        self.timer.start()

    async def open(self) -> None:
        """Connect, boot and wait until the server has accepted the station."""
        self.start()
        try:
            await self.online(timeout=self._connect_timeout)
        except BaseException:
            await self.close()
            raise

    async def online(self, *, timeout: float = 30) -> None:
        """Wait until the station is connected and accepted."""
        try:
            async with asyncio.timeout(timeout):
                while not self.link.online:
                    if self._fatal is not None:
                        raise self._fatal
                    await self.events_log.next()
        except TimeoutError:
            raise self.link.problem or Unreachable(
                f"{self.address.uri}: not accepted within {timeout:g} s"
            ) from None
        await self.settle()

    async def close(self) -> None:
        """Leave: close the line, end all tasks, settle the journal."""
        self.timer.stop()
        await self.link.close()
        owned = [task for task in self._owned if task is not asyncio.current_task()]
        await end_all(owned)
        while self._at_close:
            await self._at_close.pop()()
        self.outbox.drop_volatile(StationOffline("the station was closed"))
        self.save()
        self.journal.close()

    def at_close(self, work: Callable[[], Awaitable[None]]) -> None:
        """Have something done when the station is closed, the last one first."""
        self._at_close.append(work)

    @property
    def now(self) -> int:
        """The station's time in milliseconds."""
        return self.clock.now()

    @property
    def security_profile(self) -> int:
        """The security profile in use: 0 no password, 1 a password, 2 TLS, 3 own certificate."""
        if self.address.tls is None:
            return 0 if self.address.password is None else 1
        own = self.certificates.chain_pem is not None or self.address.password is None
        return 3 if own else 2

    @property
    def is_online(self) -> bool:
        """Say whether the station is connected and accepted."""
        return self.link.online

    @property
    def outbox(self) -> Outbox:
        """The messages that are not answered yet."""
        return self.link.outbox

    @property
    def line(self) -> Line | None:
        """The open socket, if there is one."""
        return self.link.line

    @property
    def frames(self) -> deque[tuple[int, Direction, str]]:
        """The last frames: station time, direction, text."""
        return self.link.frames

    @property
    def events(self) -> deque[Event]:
        """The last events."""
        return self.events_log.kept

    # Hands

    async def plug(
        self, connector: int = 1, *, car: Car | None = None, draw: Draw | None = None
    ) -> None:
        """Connect a car; without `car` or `draw` it takes nothing until `charge` says so."""
        if draw is None and car is not None:
            draw = Battery(car)
        self.model.plug(connector, self.now, draw)
        await self.settled()
        if self.template.contract and self.version != "1.6" and self.is_online:
            # The car speaks first; if its contract is not accepted, a card may follow.
            await self.admission.present(self.template.contract, connector)

    async def plug_and_charge(
        self, emaid: str, connector: int = 1, *, contract: Contract | None = None
    ) -> str:
        """Connect a car that carries its contract (ISO 15118): the car itself is the token."""
        if contract is not None:
            self.contracts[emaid] = contract
        self.model.plug(connector, self.now, None)
        await self.settled()
        return await self.admission.present(emaid, connector)

    async def unplug(self, connector: int = 1) -> None:
        """Take the plug out; a running transaction ends with it."""
        self.model.unplug(connector, self.now)
        await self.settled()

    async def swipe(
        self, token: str, connector: int | None = None, *, kind: str = "ISO14443"
    ) -> str:
        """Hold a token to the reader: starts, or stops what it started. Returns the status."""
        return await self.admission.swipe(token, self._outlet_for(connector), kind)

    async def charge(
        self,
        *,
        kwh: str | Decimal | int,
        seconds: float | Decimal,
        idle_seconds: float | Decimal = 0,
        connector: int | None = None,
        stop: bool = False,
    ) -> None:
        """Deliver exactly that energy in that time, then let the car suspend.

        With `stop` the transaction ends at the very end of the plan.
        """
        outlet = self._outlet_for(connector, charging=True)
        began = self.now
        segments = [
            Segment(seconds=Decimal(str(seconds)), wh=Decimal(str(kwh)) * 1000),
            Segment(seconds=Decimal(str(idle_seconds)), state="SuspendedEV"),
        ]
        if not outlet.charging:
            raise NotPossible(f"no transaction is running on connector {outlet.number}")
        self.model.give(outlet.number, Plan(segments), began, then_stop=stop)
        self.dispatch()
        await self.timer.pass_until(began + round((float(seconds) + float(idle_seconds)) * 1000))

    async def idle(self, seconds: float, connector: int | None = None) -> None:
        """Let the car suspend for a while."""
        outlet = self._outlet_for(connector, charging=True)
        began = self.now
        plan = Plan([Segment(seconds=Decimal(str(seconds)), state="SuspendedEV")])
        self.model.give(outlet.number, plan, began)
        self.dispatch()
        await self.timer.pass_until(began + round(seconds * 1000))

    async def advance(self, seconds: float) -> None:
        """Let station time pass: at once with a virtual clock, else by waiting."""
        await self.timer.pass_until(self.now + round(seconds * 1000))

    async def stop(
        self, connector: int | None = None, *, reason: str = "Local", token: str | None = None
    ) -> None:
        """End the running transaction at the station."""
        outlet = self._outlet_for(connector, charging=True)
        card = None if token is None else Token(token)
        if token is None and reason == "Local" and outlet.transaction is not None:
            card = outlet.transaction.token
        self.model.stop(outlet.number, self.now, reason, token=card)
        await self.settled()

    async def fault(self, code: str | None = "OtherError", connector: int = 1) -> None:
        """Break a connector (0: the station), or mend it with None."""
        self.model.set_fault(connector, code, self.now)
        await self.settled()

    async def set_operative(self, *, operative: bool, connector: int = 0) -> None:
        """Take a connector (0: the station) out of service by hand, or back."""
        self.model.set_operative(connector, self.now, operative=operative)
        await self.settled()

    async def door(self, *, opened: bool) -> None:
        """Open or close the door of the cabinet: a tamper event, and no power while it is open."""
        self.model.door_open = opened
        if opened:
            self.security_event("TamperDetectionActivated", "door open")
        self.model.set_fault(0, "OtherError" if opened else None, self.now)
        for transaction in list(self.model.transactions()) if opened else ():
            self.model.stop(transaction.outlet, self.now, "EmergencyStop")
        await self.settled()

    def configure(self, name: str, value: str) -> None:
        """Change a configuration key (1.6) or `Component.Variable` (2.x) at the station itself."""
        self.adapter.configure(name, value)
        self.model.schedule(self.now)
        self.dispatch()

    def force_variable(self, name: str, value: str | None, *, evse: int | None = None) -> None:
        """Let `Component.Variable` of a 2.x station show a value; None lets it go again."""
        model = getattr(self.adapter, "model", None)
        if model is None:
            raise NotPossible("OCPP 1.6 has no variables; `configure` changes its keys")
        model.force(name, value, evse=evse)
        self.dispatch()

    # The line

    async def cut(self) -> None:
        """Tear the line down and keep it down until `reconnect`."""
        await self.link.hold_down()

    def allow_line(self) -> None:
        """Let the line come up again, without waiting for it."""
        self.link.wanted.set()

    async def reconnect(self, *, timeout: float = 30) -> None:
        """Let the line come up again and wait until the queue is replayed."""
        self.link.wanted.set()
        await self.online(timeout=timeout)

    async def lose_power(self) -> None:
        """The mains fail: line and state of the moment are gone, registers stay."""
        self.model.lose_power(self.now)
        await self.cut()
        self.emit("power_lost")

    async def regain_power(self, *, timeout: float = 30) -> None:
        """The mains are back: boot, tell how the transactions ended."""
        self.model.regain_power(self.now, resume=self.resume_after_power_loss)
        self._begin_boot("PowerUp")
        self.dispatch()
        await self.reconnect(timeout=timeout)

    async def reboot(self, reason: str = "HardReset", *, stop_reason: str | None = None) -> None:
        """Restart the station: end transactions, drop the line, boot."""
        for transaction in list(self.model.transactions()):
            self.model.stop(transaction.outlet, self.now, stop_reason or reason)
        self.dispatch()
        if reason != "HardReset":
            await self.settle()
        self._begin_boot(reason)
        await self.link.hang_up()

    def _begin_boot(self, reason: str) -> None:
        self.link.needs_boot, self.boot_reason = True, reason
        if (networks := chosen(self)) is not None:
            networks.booting()

    def security_event(self, kind: str, detail: str | None = None) -> None:
        """Tell a security event."""
        told = (detail or kind)[:255]
        payload: Payload = {"type": kind, "timestamp": iso(self.now), "techInfo": told}
        self.outbox.put(Outgoing(action="SecurityEventNotification", payload=payload, keep=True))

    async def use_certificate(self) -> None:
        """Connect again with the certificate just signed, where TLS is in use."""
        await self.settle()
        self.emit("certificate_installed")
        if self._show_own_chain():
            await self.link.hang_up()

    def _show_own_chain(self) -> bool:
        """Take the signed chain into TLS from the next connection on; False without TLS."""
        if self.address.tls is None or self.certificates.chain_pem is None:
            return False
        self.address = replace(self.address, tls=self.certificates.context(self.ca))
        return True

    async def send_unanswered(self, action: str, payload: Payload) -> None:
        """Send a message of type SEND (2.1), which nobody answers."""
        frame = [6, new_id(), action, payload]
        await self.raw(json.dumps(frame, separators=(",", ":")))

    def reboot_when_idle(self, reason: str) -> None:
        """Restart as soon as no transaction is running."""

        async def wait() -> None:
            while any(self.model.transactions()):
                await self.events_log.next()
            await self.reboot(reason)

        self.later(wait())

    async def call(
        self,
        action: str,
        payload: Payload | None = None,
        *,
        checked: bool = True,
        timeout: float | None = None,
    ) -> Payload:
        """Send any CALL and return its answer; unchecked ones may be wrong on purpose.

        Raises NotAnswered when no answer came in time, by default that of `settle`.
        """
        done: asyncio.Future[Payload] = asyncio.get_running_loop().create_future()
        message = Outgoing(action=action, payload=payload or {}, checked=checked, done=done)
        self.outbox.put(message)
        limit = self.settle_timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(limit):
                return await done
        except TimeoutError:
            raise NotAnswered(f"{action} was not answered in {limit:g} s") from None
        finally:
            self.outbox.remove(message)

    async def raw(self, text: str | bytes) -> None:
        """Send any text as a frame, past framing and faults."""
        if self.line is None:
            raise StationOffline(f"{self.identity} is offline")
        await self.line.send_raw(text)

    async def settle(self, *, timeout: float | None = None) -> None:
        """Wait until everything is answered; returns at once while the line is held down."""
        if not self.link.wanted.is_set() or (
            asyncio.current_task() in self._owned and not self.link.online
        ):
            return
        limit = self.settle_timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(limit):
                await self.outbox.emptied()
        except TimeoutError:
            left = ", ".join(m.action for m in self.outbox)
            raise NotAnswered(f"{self.identity}: after {limit:g} s still waiting: {left}") from None
        if self._fatal is not None:
            raise self._fatal

    # Events

    def emit(self, name: str, **facts: Any) -> None:
        """Tell an event to whoever listens."""
        self.events_log.add({"event": name, "at": iso(self.now), "station": self.identity, **facts})

    async def wait_for(self, name: str, *, timeout: float = 30, **match: Any) -> Event:
        """Wait for the next event of that name (or one not yet waited for) with these facts."""
        return await self.events_log.wait_for(name, timeout, match)

    # For the adapters

    def dispatch(self) -> None:
        """Turn what happened in the model into messages."""
        offline = not self.link.online
        for happening in self.model.drain():
            if isinstance(happening, StatusChanged):
                self.emit(
                    "status",
                    connector=happening.outlet,
                    status=happening.status,
                    error=happening.error,
                )
                queues = self.link.settings.queue_all and self.line is None
                if offline and not self.link.needs_boot and not queues:
                    self.link.missed_statuses.add(happening.outlet)
                    continue
                if offline and self.line is None and not queues:
                    continue
            if isinstance(happening, Charged) and happening.kind == "Ended":
                self.profiles.forget_transaction(happening.transaction)
            if isinstance(happening, Alarm) and happening.name.startswith("maintenance "):
                self.maintenance.alarm(happening.name)
            messages = self.adapter.render(happening)
            for deviation in self.deviations:
                messages = deviation.messages(self, happening, messages)
            for message in messages:
                self._post(message)
        self.adapter.observe()
        self.timer.arm()
        self.save()

    def _post(self, message: Outgoing) -> None:
        """Queue a message; without a line, only what is to be kept."""
        if self.line is None and not self.link.online:
            message.keep = message.keep or self.link.settings.queue_all
            if not message.keep:
                message.fail(StationOffline(f"{self.identity} is offline"))
                return
        self.outbox.put(message)

    def _queue(self, happenings: list[Happening]) -> None:
        for happening in happenings:
            if isinstance(happening, Charged):
                for message in self.adapter.render(happening):
                    self.outbox.put(message)

    def save(self) -> None:
        """Write the state file, if there is one."""
        if self._state is not None:
            save_state(self, self._state)

    def send(self, message: Outgoing) -> None:
        """Queue a message."""
        self.outbox.put(message)

    def later(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something after the present answer has gone out."""

        async def after() -> None:
            await asyncio.sleep(0)
            try:
                await work
            except SimError as problem:
                self.emit("problem", detail=str(problem))

        self._own(after())

    def answer(self, action: str, request: Payload, status: str) -> Payload:
        """Note what the server asked and make the answer, which is a status word."""
        self.emit("command", action=action, request=request, status=status)
        return {"status": status}

    def tell_status(self, number: int) -> None:
        """Tell the present status of an outlet (0: the station) once more."""
        for message in self.adapter.render(self.model.report(number, self.now)):
            self.outbox.put(message)

    def change_password(self, password: str) -> None:
        """Take a new password: the line drops and comes back with it."""

        async def again() -> None:
            await self.settle()
            self.address = replace(self.address, password=password)
            self.emit("password_changed")
            await self.link.hang_up()

        self.later(again())

    def change_limits(self, change: Callable[[], None]) -> None:
        """Change charging profiles: until now the old limits held, from now the new ones."""
        self.model.run_to(self.now)
        change()
        self.model.reconsider(self.now)
        self.dispatch()

    def remote_stop(self, transaction: Transaction) -> None:
        """Stop at the server's wish."""

        async def end() -> None:
            if transaction.running:
                self.model.stop(transaction.outlet, self.now, "Remote")
                self.dispatch()

        self.emit("remote_stop", connector=transaction.outlet)
        self.later(end())

    # Inside

    def _own(self, work: Coroutine[Any, Any, Any], *, fatal: bool = False) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._owned.add(task)

        def ended(done: asyncio.Task[Any]) -> None:
            self._owned.discard(done)
            if not done.cancelled() and (problem := done.exception()) is not None:
                self._fatal = problem
                self.emit("problem", detail=f"{type(problem).__name__}: {problem}")
                if fatal:
                    # Whoever waits for answers must learn that none will come.
                    self.link.wanted.clear()

        task.add_done_callback(ended)

    async def settled(self) -> None:
        """Tell what happened and wait until it is answered."""
        self.dispatch()
        await self.settle()

    def _outlet_for(self, connector: int | None, *, charging: bool = False) -> Outlet:
        if connector is not None:
            return self.model.outlet(connector)
        outlets = list(self.model.outlets.values())
        if charging:
            return next((o for o in outlets if o.charging), outlets[0])
        waiting = [o for o in outlets if o.plugged and not o.charging]
        busy = [o for o in outlets if o.charging]
        return (waiting or busy or outlets)[0]

    # What quirks do

    def factory_settings(self) -> None:
        """Forget the configuration."""
        self.adapter = make_adapter(self.version, self)
        self.emit("factory_settings")

    async def end(self, transaction: Transaction, reason: str) -> None:
        """End a transaction by itself."""
        if transaction.running:
            self.model.stop(transaction.outlet, self.now, reason)
            self.dispatch()

    def add_fault(self, do: str, **how: Any) -> Rule:
        """Put a fault in force on this station's line."""
        try:
            rule = Rule(do=do, **how)
        except TypeError as problem:
            raise BadInput(f"fault {do}: {problem}") from problem
        self.faults.add(rule)
        return rule


def _signer(signs: str | None, serial: str) -> Signer | None:
    return None if signs is None else Signer(serial, tampered=signs == "ocmf-tampered")


def _deviations(names: Sequence[str], version: str) -> list[Deviation]:
    # The catalogue is loaded only for a station that has quirks.
    made: list[Deviation] = importlib.import_module("chargers_sim.quirks").make(names, version)
    return made
