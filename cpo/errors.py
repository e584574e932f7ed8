"""The errors that this package raises on purpose.

CpoError
├── Invalid              the caller sent something that can never work; names the field
├── NotFound             the named thing does not exist, or the caller may not see it
├── Conflict             the named thing is in a state that does not allow this
├── Refused              the caller may not do this
├── StationOffline       no live connection to the station
├── StationTimeout       the station did not answer in time; it may still carry the command out
├── StationRefused       the station answered a call with an error
│   └── StationUnclear   its answer cannot be read; it may have carried the command out
├── PartnerUnreachable   the partner did not answer, or not in OCPI
├── StoreUnavailable     the database did not take the write; nothing of it was kept
└── Misconfigured        a setting cannot be used; names the key
"""


class CpoError(Exception):
    """Base of every error that this package raises on purpose."""


class Invalid(CpoError):
    """The caller sent something that can never work."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field
        self.problem = problem


class NotFound(CpoError):
    """The named thing does not exist, or the caller may not see it."""

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(f"{kind} {id!r} not found")
        self.kind = kind
        self.id = id


class Conflict(CpoError):
    """The named thing is in a state that does not allow this."""


class Refused(CpoError):
    """The caller may not do this."""


class StationOffline(CpoError):
    """No live connection to the station."""

    def __init__(self, identity: str) -> None:
        super().__init__(f"station {identity!r} is offline")
        self.identity = identity


class StationTimeout(CpoError):
    """The station did not answer in time. It may still carry the command out."""


class StationRefused(CpoError):
    """The station answered a call with an error."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"{code}: {description}" if description else code)
        self.code = code
        self.description = description


class StationUnclear(StationRefused):
    """The station answered, and nobody can tell what: it may have done what it was asked."""


class PartnerUnreachable(CpoError):
    """The partner did not answer, or not in OCPI."""

    def __init__(self, step: str, detail: str) -> None:
        super().__init__(f"{step}: {detail}")
        self.step = step
        self.detail = detail


class StoreUnavailable(CpoError):
    """The database did not take the write; nothing of it was kept."""


class Misconfigured(CpoError):
    """A setting cannot be used."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem
