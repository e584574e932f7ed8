"""What can go wrong in the simulator.

SimError
├── BadInput          a file, option or step is wrong: names file, line and field
├── Unreachable       the server could not be reached or refused the handshake
├── StationOffline    an action needs the server and the line is down
├── NotAnswered       the server gave no answer in time
├── AnsweredError     the server answered with a CALLERROR
└── NotPossible       the station cannot do this in its present state
"""

from typing import Any


class SimError(Exception):
    """The root of all errors of the simulator."""


class BadInput(SimError):
    """A file, option or step is wrong; the message names where."""


class Unreachable(SimError):
    """The server could not be reached or refused the handshake."""


class StationOffline(SimError):
    """The action needs the server and the line is down."""


class NotAnswered(SimError):
    """The server gave no answer in time."""


class AnsweredError(SimError):
    """The server answered with a CALLERROR."""

    def __init__(self, code: str, description: str = "", details: Any = None) -> None:
        super().__init__(f"{code}: {description}" if description else code)
        self.code = code
        self.description = description
        self.details = details


class NotPossible(SimError):
    """The station cannot do this in its present state."""
