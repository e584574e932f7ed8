"""Traces: one frame per line of JSON, written while a station lives, read to be replayed.

{"at": 1767225600000, "station": "CP1", "ocpp": "1.6", "dir": "out", "frame": "[2,...]"}
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Self

from chargers_sim.clock import now_ms
from chargers_sim.errors import BadInput
from chargers_sim.faults import Direction
from chargers_sim.files import read_text


@dataclass(frozen=True, slots=True)
class Traced:
    """One frame of a trace; `at_ms` is the wall clock."""

    at_ms: int
    station: str
    version: str
    direction: Direction
    frame: str


class Trace:
    """A trace file being written."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    @classmethod
    def write_to(cls, path: Path, *, mode: Literal["w", "a"] = "w") -> Self:
        """Open a file for a new trace, or to go on with one."""
        try:
            return cls(path.open(mode))
        except OSError as problem:
            raise BadInput(f"--trace: {path}: {problem.strerror}") from problem

    def recorder(self, station: str, version: str) -> Callable[[Direction, str], None]:
        """Give what a station calls for every frame."""

        def record(direction: Direction, text: str) -> None:
            line = {
                "at": now_ms(),
                "station": station,
                "ocpp": version,
                "dir": direction,
                "frame": text,
            }
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
            self._file.flush()

        return record

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


def read(path: Path) -> Iterator[Traced]:
    """Read a trace; an error names file, line and field."""
    for number, text in enumerate(read_text(path).splitlines(), start=1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except ValueError as problem:
            raise BadInput(f"{path}:{number}: not JSON: {problem}") from problem
        for name, kind in (("at", int), ("station", str), ("dir", str), ("frame", str)):
            if not isinstance(line, dict) or not isinstance(line.get(name), kind):
                raise BadInput(f"{path}:{number}: {name}: missing or not a {kind.__name__}")
        if line["dir"] not in {"in", "out"}:
            raise BadInput(f"{path}:{number}: dir: in or out, not {line['dir']!r}")
        version = line.get("ocpp") or _spoken_in(line["frame"])
        yield Traced(line["at"], line["station"], version, line["dir"], line["frame"])


def _spoken_in(frame: str) -> str:
    # Traces of others do not say the version. Both have BootNotification, with other fields.
    return "2.0.1" if '"chargingStation"' in frame else "1.6"
