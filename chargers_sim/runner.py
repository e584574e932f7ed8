"""Running a scenario: each step in turn, expectations waited for, a verdict at the end."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from chargers_sim.clock import iso
from chargers_sim.ends import EmspEnd, End, EndFailed, OperatorEnd
from chargers_sim.errors import BadInput, SimError
from chargers_sim.live import Station
from chargers_sim.scenario import Scenario, ScenarioStep, fill, mismatch
from chargers_sim.scenario_fields import SERVER
from chargers_sim.steps import run_step
from chargers_sim.titles import title

Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What became of one step."""

    step: ScenarioStep
    outcome: Outcome
    title: str
    detail: str
    seconds: float


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What became of a scenario on one OCPP version."""

    scenario: Scenario
    version: str
    results: list[StepResult] = field(default_factory=list)
    seconds: float = 0.0
    problem: str | None = None

    @property
    def passed(self) -> bool:
        """Nothing failed; what could not be looked at is skipped."""
        return self.problem is None and all(r.outcome != "failed" for r in self.results)

    @property
    def skipped(self) -> int:
        """Count what could not be looked at."""
        return sum(r.outcome == "skipped" for r in self.results)


class Unmet(SimError):
    """An expectation was not met."""


class Skipped(SimError):
    """A step needs an end that was not given."""


class Runner:
    """Runs one scenario with one station."""

    def __init__(
        self,
        scenario: Scenario,
        station: Station,
        *,
        emsp: EmspEnd | None = None,
        operator: OperatorEnd | None = None,
        variables: dict[str, Any] | None = None,
        tell: Callable[[StepResult], None] | None = None,
        patience: float = 5,
    ) -> None:
        self._scenario = scenario
        self._station = station
        self._emsp = emsp
        self._operator = operator
        self._tell = tell
        self._patience = patience
        self._variables: dict[str, Any] = {
            "tag": "TAG1",
            **scenario.variables,
            "identity": station.identity,
            **(variables or {}),
        }
        self._places: dict[str, set[str]] = {
            name: {str(self._variables[name])} if name in self._variables else set()
            for name in ("location", "evse")
        }

    async def run(self) -> Verdict:
        """Connect, do the steps, stop at the first that fails."""
        verdict = Verdict(scenario=self._scenario, version=self._station.version)
        began = time.monotonic()
        try:
            if self._emsp is not None:
                await self._emsp.remember()
            async with self._station:
                await self._find_places()
                for step in self._scenario.steps:
                    if step.only and self._station.version not in step.only:
                        continue
                    result = await self._one(step)
                    verdict.results.append(result)
                    if self._tell is not None:
                        self._tell(result)
                    if result.outcome == "failed":
                        break
        except BadInput:
            raise
        except SimError as problem:
            verdict.problem = str(problem)
        verdict.seconds = time.monotonic() - began
        return verdict

    async def _one(self, step: ScenarioStep) -> StepResult:
        began = time.monotonic()
        outcome: Outcome = "passed"
        detail, given = "", self._given(step)
        try:
            await self._do(step, given)
            if step.fails:
                outcome, detail = "failed", "it was expected to fail"
        except BadInput as problem:
            raise BadInput(f"{self._scenario.path}:{step.line}: {problem}") from problem
        except Skipped as problem:
            outcome, detail = "skipped", str(problem)
        except SimError as problem:
            detail = str(problem)
            outcome = "passed" if step.fails else "failed"
        return StepResult(
            step=step,
            outcome=outcome,
            title=step.about or title(step.kind, step.word, given),
            detail=detail,
            seconds=time.monotonic() - began,
        )

    def _given(self, step: ScenarioStep) -> dict[str, Any]:
        """Put the variables into what a step is given."""
        now = self._station.now
        variables = {
            **self._variables,
            "now": iso(now),
            "in_a_minute": iso(now + 60_000),
            "in_an_hour": iso(now + 3_600_000),
            "ocpp": self._station.version,
        }
        filled: dict[str, Any] = fill(step.given, variables)
        return filled

    async def _do(self, step: ScenarioStep, given: dict[str, Any]) -> None:
        if step.kind == "expect":
            expectation: Callable[..., Awaitable[Any]] = getattr(
                self, "_expect_" + step.word.replace("-", "_")
            )
            result = await expectation(**given)
        elif step.word in SERVER:
            action: Callable[..., Awaitable[Any]] = getattr(
                self, "_do_" + step.word.replace("-", "_")
            )
            result = await action(**given)
        else:
            where = f"{self._scenario.path}:{step.line}"
            result = await run_step(self._station, step.word, given, where)
        for name, path in step.save.items():
            value = result
            for part in path.split("."):
                try:
                    value = value[int(part) if isinstance(value, list) else part]
                except (LookupError, TypeError, ValueError):
                    raise Unmet(f"save: there is no {path} in what came") from None
            self._variables[name] = value

    # What is expected

    async def _until(
        self, look: Callable[[], Awaitable[tuple[Any, str | None]]], within: float | None
    ) -> Any:
        limit = time.monotonic() + (self._patience if within is None else float(within))
        while True:
            result, problem = await look()
            if problem is None:
                return result
            if time.monotonic() >= limit:
                raise Unmet(problem)
            await asyncio.sleep(0.05)

    async def _expect_event(
        self, event: str, match: dict[str, Any] | None = None, within: float | None = None
    ) -> Any:
        async def look() -> tuple[Any, str | None]:
            return self._station.events_log.find(event, lambda e: mismatch(match or {}, e))

        return await self._until(look, within)

    def _frames(self, action: str, direction: str) -> list[tuple[dict[str, Any], Any]]:
        """List the CALLs of an action with their answers."""
        answers: dict[str, Any] = {}
        calls: list[tuple[str, dict[str, Any]]] = []
        for _, way, text in self._station.frames:
            try:
                frame = json.loads(text)
                if frame[0] == 2 and way == direction and frame[2] == action:
                    calls.append((frame[1], frame[3]))
                elif frame[0] in {3, 4} and way != direction:
                    answers[frame[1]] = (
                        frame[2] if frame[0] == 3 else {"error": frame[2], "description": frame[3]}
                    )
            except (ValueError, LookupError, TypeError):
                continue
        return [(payload, answers.get(key)) for key, payload in calls]

    async def _expect_frame(
        self,
        action: str,
        direction: str = "out",
        count: int | None = None,
        match: dict[str, Any] | None = None,
        within: float | None = None,
    ) -> Any:
        async def look() -> tuple[Any, str | None]:
            frames = [payload for payload, _ in self._frames(action, direction)]
            fitting = [f for f in frames if mismatch(match or {}, f) is None]
            if count is not None and len(fitting) != count:
                return None, f"{len(fitting)} {action} {direction}, expected {count}"
            if not fitting and count != 0:
                near = mismatch(match or {}, frames[-1]) if frames else "none was seen"
                return None, f"{action} {direction}: {near}"
            return (fitting[-1] if fitting else {}), None

        return await self._until(look, within)

    async def _expect_no_frame(
        self,
        action: str,
        direction: str = "out",
        match: dict[str, Any] | None = None,
        after: float = 0.2,
    ) -> None:
        await asyncio.sleep(after)
        frames = [p for p, _ in self._frames(action, direction) if not mismatch(match or {}, p)]
        if frames:
            raise Unmet(f"{len(frames)} {action} {direction}, expected none")

    async def _expect_answer(
        self, action: str, match: dict[str, Any] | None = None, within: float | None = None
    ) -> Any:
        async def look() -> tuple[Any, str | None]:
            calls = self._frames(action, "out")
            if not calls:
                return None, f"no {action} was sent"
            answer = calls[-1][1]
            if answer is None:
                return None, f"{action} is not answered"
            difference = mismatch(match or {}, answer)
            return answer, difference and f"the answer to {action}: {difference}"

        return await self._until(look, within)

    async def _expect_status(
        self, status: str, connector: int = 1, within: float | None = None
    ) -> None:
        model = self._station.model

        async def look() -> tuple[Any, str | None]:
            shown = model.status(model.outlet(connector))
            return None, None if shown == status else f"the status is {shown}, expected {status}"

        await self._until(look, within)

    async def _expect_meter(self, wh: Any, connector: int = 1) -> None:
        register = self._station.model.outlet(connector).meter.register_wh()
        problem = mismatch({"wh": wh}, {"wh": register})
        if problem:
            raise Unmet(f"the meter: {problem}")

    async def _expect_all_answered(self, within: float | None = None) -> None:
        station = self._station

        async def look() -> tuple[Any, str | None]:
            if len(station.outbox):
                left = ", ".join(m.action for m in station.outbox)
                return None, f"not answered yet: {left}"
            lost = [o for o in station.journal.operations if o["outcome"] != "ok"]
            if lost:
                said = ", ".join(f"{o['action']} {o['outcome']}" for o in lost)
                return None, f"lost: {said}"
            return None, None

        await self._until(look, within)

    async def _expect_waiting(self, count: Any) -> None:
        problem = mismatch({"count": count}, {"count": len(self._station.outbox)})
        if problem:
            raise Unmet(f"messages waiting: {problem}")

    async def _expect_emsp(
        self,
        holds: str,
        count: int | None = None,
        match: dict[str, Any] | None = None,
        within: float | None = None,
    ) -> Any:
        emsp = self._need(self._emsp, "an eMSP double (--emsp)")

        async def look() -> tuple[Any, str | None]:
            held = [h for h in await emsp.holds(holds) if self._ours(h)]
            fitting = [h for h in held if mismatch(match or {}, h) is None]
            wanted = 1 if count is None else count
            if len(fitting) == wanted:
                return (fitting[-1] if fitting else {}), None
            near = mismatch(match or {}, held[-1]) if held and not fitting else None
            said = f"the double holds {len(fitting)} fitting of {len(held)} new {holds}"
            return None, f"{said}, expected {wanted}" + (f": {near}" if near else "")

        return await self._until(look, within)

    async def _expect_operator(
        self, path: str, match: dict[str, Any], within: float | None = None
    ) -> Any:
        operator = self._need(self._operator, "the operator API (--operator)")

        async def look() -> tuple[Any, str | None]:
            answer = await operator.ask("GET", path)
            difference = mismatch(match, answer)
            return answer, difference and f"GET {path}: {difference}"

        return await self._until(look, within)

    async def _find_places(self) -> None:
        """Ask the operator where the station stands, so that its charges are known from others'."""
        if self._emsp is None or self._operator is None or all(self._places.values()):
            return
        limit = time.monotonic() + self._patience
        while time.monotonic() < limit:
            try:
                places = await self._operator.places(self._station.identity)
            except EndFailed:
                # Another central system, or one that knows no places.
                return
            if places is not None:
                for name, found in self._places.items():
                    if not found:
                        found.update(place[name] for place in places)
                return
            await asyncio.sleep(0.1)

    def _ours(self, held: Any) -> bool:
        """Leave out what other stations did meanwhile, where location or EVSE are known."""
        if not isinstance(held, dict):
            return True
        nested = held.get("cdr_location") or held.get("location") or {}
        evses = nested.get("evses") or [{}]
        found = {
            "location": held.get("location_id", nested.get("id")),
            "evse": held.get("evse_uid", nested.get("evse_uid", evses[0].get("uid"))),
        }
        return all(
            not self._places[name] or there in self._places[name]
            for name, there in found.items()
            if there is not None
        )

    # What the other ends are told to do

    def _need(self, end: End | None, what: str) -> Any:
        if end is None:
            raise Skipped(f"needs {what}")
        return end

    async def _do_note(self, text: str) -> None:
        """Only for the reader of the report."""

    async def _do_emsp_command(
        self, command: str, fields: dict[str, Any] | None = None, match: Any = None
    ) -> Any:
        emsp = self._need(self._emsp, "an eMSP double (--emsp)")
        result = await emsp.command(command, fields or {})
        self._check(command, match, result)
        return result

    async def _do_emsp_fault(self, fault: dict[str, Any]) -> None:
        emsp = self._need(self._emsp, "an eMSP double (--emsp)")
        await emsp.ask("POST", "/double/faults", fault)

    async def _do_operator(
        self, path: str, method: str = "POST", body: Any = None, match: Any = None
    ) -> Any:
        operator = self._need(self._operator, "the operator API (--operator)")
        result = await operator.ask(method, path, body)
        self._check(f"{method} {path}", match, result)
        return result

    async def _do_server_call(
        self, action: str, payload: dict[str, Any] | None = None, match: Any = None
    ) -> Any:
        operator = self._need(self._operator, "the operator API (--operator)")
        result = await operator.call(self._station.identity, action, payload or {})
        self._check(action, match, result)
        return result

    async def _do_server_start(self, tag: str, connector: int = 1) -> Any:
        if self._emsp is not None and "evse" in self._variables:
            fields = {
                "token": tag,
                "location_id": self._variables.get("location"),
                "evse_uid": self._variables["evse"],
            }
            return self._accepted(await self._emsp.command("START_SESSION", fields))
        if self._station.version == "1.6":
            payload: dict[str, Any] = {"idTag": tag, "connectorId": connector}
            return await self._do_server_call("RemoteStartTransaction", payload)
        payload = {
            "idToken": {"idToken": tag, "type": "Central"},
            "remoteStartId": int(time.time()) % 1_000_000,
            "evseId": self._station.model.outlet(connector).evse,
        }
        return await self._do_server_call("RequestStartTransaction", payload)

    async def _do_server_stop(self) -> Any:
        running = next(iter(self._station.model.transactions()), None)
        if running is None:
            raise Unmet("no transaction is running")
        if self._emsp is not None and "evse" in self._variables:
            sessions = await self._emsp.holds("sessions")
            live = [
                s for s in sessions if s.get("status") in {"ACTIVE", "PENDING"} and self._ours(s)
            ]
            if not live:
                raise Unmet("the double holds no running session")
            fields = {"session_id": live[-1]["id"]}
            return self._accepted(await self._emsp.command("STOP_SESSION", fields))
        if self._station.version == "1.6":
            payload = {"transactionId": running.number}
            return await self._do_server_call("RemoteStopTransaction", payload)
        return await self._do_server_call("RequestStopTransaction", {"transactionId": running.ref})

    @staticmethod
    def _accepted(result: Any) -> Any:
        if result.get("outcome") != "ACCEPTED":
            said = {k: result.get(k) for k in ("outcome", "response", "result")}
            raise Unmet(f"the command came to nothing: {json.dumps(said)}")
        return result

    def _check(self, what: str, match: dict[str, Any] | None, result: Any) -> None:
        difference = mismatch(match or {}, result)
        if difference is not None:
            raise Unmet(f"{what}: {difference}")
