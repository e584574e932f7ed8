"""Faults on demand: which request is to go wrong, and how. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from random import Random
from typing import Any

NAMED = (
    "timeout",
    "reset",
    "slow",
    "apply-then-reset",
    "apply-then-timeout",
    "html",
    "redirect",
    "not-json",
    "empty",
    "huge",
    "gzip-bomb",
    "drip",
    "wrong-length",
)
"""Faults with a name. A number is one too: three digits an HTTP status, four an OCPI status."""

_MATCH_KEYS = ("module", "method", "path", "object")
_KEYS = ("match", "do", "times", "skip", "rate", "seconds", "retry_after", "location", "megabytes")


class BadFault(ValueError):
    """A fault was described in a way that cannot be understood."""


@dataclass(slots=True, kw_only=True)
class Fault:
    """One rule: requests that match go wrong, `times` times."""

    do: str
    match: dict[str, str] = field(default_factory=dict)
    times: int | None = 1
    """How often it strikes; None means always."""
    skip: int = 0
    """How many matching requests it lets pass first."""
    rate: float = 1.0
    """Which share of matching requests it strikes."""
    seconds: float | None = None
    retry_after: int = 1
    location: str | None = None
    megabytes: int = 64
    struck: int = 0

    @classmethod
    def read(cls, raw: Any) -> "Fault":
        """Read a fault from JSON.

        Raises:
            BadFault: a key or value is unknown; the message names it.
        """
        if not isinstance(raw, dict):
            raise BadFault("a fault is an object with match, do and times")
        unknown = [key for key in raw if key not in _KEYS]
        if unknown:
            raise BadFault(f"unknown key {unknown[0]!r}; known are {', '.join(_KEYS)}")
        do = str(raw.get("do", ""))
        if do not in NAMED and not (do.isdigit() and len(do) in {3, 4}):
            raise BadFault(f"unknown fault {do!r}; known are {', '.join(NAMED)}, or a status code")
        match = raw.get("match") or {}
        if not isinstance(match, dict) or any(key not in _MATCH_KEYS for key in match):
            raise BadFault(f"match is an object with some of {', '.join(_MATCH_KEYS)}")
        times = raw.get("times", 1)
        if times is not None and (not isinstance(times, int) or times < 1):
            raise BadFault("times is a number from 1, or null for always")
        return cls(
            do=do,
            match={key: str(value) for key, value in match.items()},
            times=times,
            skip=int(raw.get("skip", 0)),
            rate=float(raw.get("rate", 1)),
            seconds=None if raw.get("seconds") is None else float(raw["seconds"]),
            retry_after=int(raw.get("retry_after", 1)),
            location=raw.get("location"),
            megabytes=int(raw.get("megabytes", 64)),
        )

    @property
    def spent(self) -> bool:
        """Whether it has struck as often as it should."""
        return self.times is not None and self.struck >= self.times

    def as_json(self) -> dict[str, Any]:
        """Return it as an object for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


class Faults:
    """The rules in force, in the order they were given."""

    def __init__(self, *, seed: int = 0) -> None:
        self._random = Random(seed)
        self.rules: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Put a rule in force."""
        self.rules.append(fault)

    def clear(self) -> None:
        """Drop all rules."""
        self.rules.clear()

    def strike(
        self, *, module: str | None, method: str, path: str, ids: list[str], unread: bool = False
    ) -> Fault | None:
        """Return the fault that this request meets, if any, and count it.

        Args:
            module: OCPI module of the request.
            method: HTTP method.
            path: path of the URL.
            ids: ids in the path and the body, any of which a rule may name.
            unread: whether the body is still to be read; only "reset" strikes then.
        """
        facts = {"module": module or "", "method": method, "path": path}
        for fault in self.rules:
            if (
                (fault.do == "reset") is not unread
                or fault.spent
                or not _matches(fault.match, facts, ids)
            ):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.rate < 1 and self._random.random() >= fault.rate:
                continue
            fault.struck += 1
            return fault
        return None


def _matches(match: Mapping[str, str], facts: Mapping[str, str], ids: list[str]) -> bool:
    for key, wanted in match.items():
        if key == "object":
            if wanted not in ids:
                return False
        elif key == "path":
            if wanted not in facts["path"] and not fnmatchcase(facts["path"], wanted):
                return False
        elif facts[key].lower() != wanted.lower():
            return False
    return True
