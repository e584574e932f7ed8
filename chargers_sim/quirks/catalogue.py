"""The book of deviations: number, name, versions, and how to make one."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from chargers_sim.deviation import Deviation
from chargers_sim.errors import BadInput


@dataclass(frozen=True, slots=True)
class Quirk:
    """One entry of the catalogue."""

    number: int
    name: str
    does: str
    versions: tuple[str, ...]
    make: type[Deviation]


CATALOGUE: dict[str, Quirk] = {}
V16 = ("1.6",)
V2 = ("2.0.1", "2.1")
ALL = ("1.6", "2.0.1", "2.1")


def quirk(number: int, name: str, versions: tuple[str, ...] = ALL) -> Any:
    """Enter a deviation in the catalogue."""

    def enter(make: type[Deviation]) -> type[Deviation]:
        does = (make.__doc__ or "").splitlines()[0]
        CATALOGUE[name] = Quirk(number, name, does, versions, make)
        return make

    return enter


def make(names: Iterable[str], version: str, where: str = "--quirk") -> list[Deviation]:
    """Make the deviations of that name (or number: `q17`)."""
    numbered = {f"q{q.number}": q for q in CATALOGUE.values()}
    made = []
    for name in names:
        entry = CATALOGUE.get(name) or numbered.get(name.lower())
        if entry is None:
            known = ", ".join(sorted(CATALOGUE))
            raise BadInput(f"{where}: unknown quirk {name!r}; known are {known}")
        if version not in entry.versions:
            raise BadInput(f"{where}: {entry.name} is a quirk of OCPP {', '.join(entry.versions)}")
        made.append(entry.make())
    return made


def show() -> str:
    """Write the catalogue as a table."""
    rows = sorted(CATALOGUE.values(), key=lambda q: q.number)
    return "\n".join(
        f"q{q.number:<3} {q.name:<28} {'/'.join(q.versions):<14} {q.does}" for q in rows
    )
