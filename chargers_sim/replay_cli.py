"""`chargers-sim replay`: send a recorded trace to a server again."""

import asyncio
import difflib
import json
import re
from pathlib import Path
from typing import Any

import click

from chargers_sim.errors import BadInput, NotAnswered, StationOffline
from chargers_sim.faults import Faults
from chargers_sim.line import SUBPROTOCOLS, Address, Line, dial
from chargers_sim.recording import Traced, read
from chargers_sim.tls_cli import read_tls, tls_options


@click.command()
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--url", required=True, help="Address without the identity.")
@click.option("--identity", help="Replay as this station; else as the trace says.")
@click.option("--station", help="Which station of the trace, where it has several.")
@click.option("--password", envvar="CHARGERS_SIM_PASSWORD")
@tls_options
@click.option("--ocpp", type=click.Choice(sorted(SUBPROTOCOLS)), help="Else as the trace says.")
@click.option(
    "--speed",
    type=click.FloatRange(0, min_open=True),
    help="Keep the pauses of the trace, so many times faster.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=10,
    show_default=True,
    help="For each answer.",
)
@click.option("--strict", is_flag=True, help="Exit 1 if an answer differs in more than ids, times.")
@click.option("--json", "as_json", is_flag=True)
def replay(trace: Path, **options: Any) -> int:
    """Send the CALLs of a recorded trace to a server again and compare its answers.

    A 1.6 transaction id that the server gives anew replaces the recorded one in what
    follows. Exits 0 when everything was answered, 1 when not, 2 for wrong input.
    """
    frames = list(read(trace))
    stations = sorted({f.station for f in frames})
    chosen = options["station"] or (stations[0] if len(stations) == 1 else None)
    if chosen is None:
        listed = ", ".join(stations) or "none"
        raise BadInput(f"{trace}: --station is needed; the trace has {listed}")
    own = [f for f in frames if f.station == chosen]
    if not own:
        raise BadInput(f"{trace}: no frames of station {chosen!r}; it has {', '.join(stations)}")
    return asyncio.run(_replay(own, chosen, options))


async def _replay(frames: list[Traced], station: str, o: dict[str, Any]) -> int:
    version = o["ocpp"] or max(frame.version for frame in frames)
    address = Address(
        url=o["url"],
        identity=o["identity"] or station,
        password=o["password"],
        subprotocols=(SUBPROTOCOLS[version],),
        tls=read_tls(o),
    )
    line = Line(await dial(address), Faults(), lambda _direction, _text: None)
    replayer = _Replayer(line, frames, o["timeout"], o["speed"])
    try:
        await replayer.run()
    finally:
        await line.close()
    summary = {
        "sent": replayer.sent,
        "answered": replayer.answered,
        "differing": len(replayer.differences),
    }
    if o["as_json"]:
        click.echo(json.dumps({**summary, "differences": replayer.differences}))
    else:
        for difference in replayer.differences:
            click.echo(difference)
        click.echo(" ".join(f"{k}={v}" for k, v in summary.items()))
    unanswered = replayer.sent - replayer.answered
    return 1 if unanswered or (o["strict"] and replayer.differences) else 0


class _Replayer:
    """Sends one CALL after the other, answers what the server asks as the trace did."""

    def __init__(
        self, line: Line, frames: list[Traced], timeout: float, speed: float | None
    ) -> None:
        self._line = line
        self._frames = frames
        self._timeout = timeout
        self._speed = speed
        self._answers = self._recorded("in")
        self._own_answers = self._by_action()
        self._ids: dict[int, int] = {}
        self.sent = 0
        self.answered = 0
        self.differences: list[str] = []

    async def run(self) -> None:
        """Replay all of it."""
        before: int | None = None
        for traced in self._frames:
            frame = _json(traced.frame)
            if traced.direction != "out" or not isinstance(frame, list) or frame[:1] != [2]:
                continue
            if self._speed and before is not None:
                await asyncio.sleep((traced.at_ms - before) / 1000 / self._speed)
            before = traced.at_ms
            await self._call(frame)

    async def _call(self, frame: list[Any]) -> None:
        payload = frame[3]
        if isinstance(payload, dict) and payload.get("transactionId") in self._ids:
            payload["transactionId"] = self._ids[payload["transactionId"]]
        self.sent += 1
        await self._line.send(json.dumps(frame, separators=(",", ":")))
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._answer_to(frame[1])
        except (TimeoutError, StationOffline, NotAnswered):
            self.differences.append(f"{frame[2]} {frame[1]}: not answered")
            return
        self.answered += 1
        recorded = self._answers.get(frame[1])
        if recorded is None:
            return
        if frame[2] == "StartTransaction" and answer[0] == recorded[0] == 3:
            self._ids[recorded[2].get("transactionId")] = answer[2].get("transactionId")
        self._compare(frame[2], recorded, answer)

    async def _answer_to(self, message_id: str) -> list[Any]:
        while True:
            frame = _json(await self._line.recv())
            if not isinstance(frame, list) or len(frame) < 3:
                continue
            if frame[0] in {3, 4} and frame[1] == message_id:
                return frame
            if frame[0] == 2:
                known = self._own_answers.get(frame[2])
                reply = [3, frame[1], known] if known else [4, frame[1], "NotSupported", "", {}]
                await self._line.send(json.dumps(reply, separators=(",", ":")))

    def _recorded(self, direction: str) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for traced in self._frames:
            frame = _json(traced.frame)
            if traced.direction == direction and isinstance(frame, list) and frame[0] in {3, 4}:
                found[frame[1]] = frame
        return found

    def _by_action(self) -> dict[str, Any]:
        replies = self._recorded("out")
        found: dict[str, Any] = {}
        for traced in self._frames:
            frame = _json(traced.frame)
            if traced.direction == "in" and isinstance(frame, list) and frame[0] == 2:
                reply = replies.get(frame[1])
                if reply is not None and reply[0] == 3:
                    found[frame[2]] = reply[2]
        return found

    def _compare(self, action: str, recorded: list[Any], answer: list[Any]) -> None:
        before, now = _plain(recorded[2:]), _plain(answer[2:])
        if recorded[0] == answer[0] and before == now:
            return
        change = [
            text
            for text in difflib.ndiff(before.splitlines(), now.splitlines())
            if text[:1] in "+-"
        ]
        self.differences.append(f"{action}: " + " ".join(" ".join(c.split()) for c in change))


def _plain(answer: list[Any]) -> str:
    return json.dumps(_lasting(answer), indent=1, sort_keys=True)


def _lasting(value: Any) -> Any:
    """Leave out what differs at every run and says nothing: ids, times, the spread interval."""
    if isinstance(value, dict):
        return {
            k: _lasting(v)
            for k, v in value.items()
            if k not in {"transactionId", "interval"} and not _is_time(v)
        }
    return [_lasting(v) for v in value] if isinstance(value, list) else value


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d", value) is not None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
