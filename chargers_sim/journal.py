"""What a station invoked at the server, and what it knows of the outcome.

One line of JSON per change. `invoked` means sent at least once or queued, `ok`
answered with a result, `refused` answered with an error, `unknown` given up
without an answer. Books compared after crashes start from the `ok` lines.
"""

import json
from pathlib import Path
from typing import IO, Any

from chargers_sim.errors import BadInput


class Journal:
    """The operations of one station, in memory and, if a path is given, in a file."""

    def __init__(self, path: str | Path | None = None) -> None:
        self.operations: list[dict[str, Any]] = []
        self._file: IO[str] | None = None
        if path is not None:
            try:
                self._file = Path(path).open("a")  # noqa: SIM115 - closed with the journal
            except OSError as problem:
                raise BadInput(f"--journal: {path}: {problem.strerror}") from problem

    def invoke(self, station: str, action: str, at: str, **facts: Any) -> dict[str, Any]:
        """Note a new operation and return its record."""
        operation = {
            "op": len(self.operations) + 1,
            "station": station,
            "action": action,
            "at": at,
            "outcome": "invoked",
            "message_ids": [],
            **facts,
        }
        self.operations.append(operation)
        self.write(operation)
        return operation

    def write(self, operation: dict[str, Any]) -> None:
        """Write an operation's present state."""
        if self._file is not None:
            self._file.write(json.dumps(operation, separators=(",", ":")) + "\n")
            self._file.flush()

    def of(self, *, action: str | None = None, outcome: str | None = None) -> list[dict[str, Any]]:
        """List operations by action and outcome."""
        return [
            o
            for o in self.operations
            if (action is None or o["action"] == action)
            and (outcome is None or o["outcome"] == outcome)
        ]

    def close(self) -> None:
        """Settle what is open as unknown and close the file."""
        for operation in self.operations:
            if operation["outcome"] == "invoked":
                operation["outcome"] = "unknown"
                self.write(operation)
        if self._file is not None:
            self._file.close()
            self._file = None
