"""Scenarios: steps and expectations in a TOML file, read and checked before anything runs.

name = "Local start and stop"
ocpp = ["1.6", "2.0.1"]

[[steps]]
do = "swipe"
tag = "{tag}"

[[steps]]
expect = "event"
event = "transaction_started"
match = { status = "Accepted" }
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from chargers_sim.errors import BadInput
from chargers_sim.files import parse_toml, read_text
from chargers_sim.line import SUBPROTOCOLS
from chargers_sim.quirks import make as make_quirks
from chargers_sim.scenario_fields import EXPECTATIONS, SERVER, wrong_field
from chargers_sim.steps import bind
from chargers_sim.template import load_template

COMMON = {"do", "expect", "about", "save", "only", "fails"}
TOP = {"name", "about", "ocpp", "station", "vars", "steps"}
STATION: dict[str, type | tuple[type, ...]] = {
    "connectors": int,
    "template": str,
    "quirks": list,
    "retry_seconds": (int, float),
    "message_timeout": (int, float),
    "resend": str,
}
TOP_KINDS = {"name": str, "about": str, "ocpp": list, "station": dict, "vars": dict, "steps": list}
KIND_NAMES = {str: "text", list: "list", dict: "table", bool: "true or false"}
MOST_CONNECTORS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioStep:
    """One step as written, with the place it stands at."""

    number: int
    line: int
    kind: str
    word: str
    given: dict[str, Any]
    about: str
    save: dict[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    fails: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A checked scenario."""

    path: str
    name: str
    about: str
    versions: tuple[str, ...]
    station: dict[str, Any]
    variables: dict[str, Any]
    steps: tuple[ScenarioStep, ...]

    def seconds(self) -> float:
        """Add up the station time that the steps let pass."""
        total = Decimal(0)
        for step in self.steps:
            for name in ("seconds", "idle"):
                if step.word in {"charge", "idle", "advance"} and name in step.given:
                    value = str(step.given[name])
                    total += Decimal(value) if re.fullmatch(r"[0-9.]+", value) else 0
        return float(total)


def shipped() -> dict[str, Path]:
    """List the scenarios that come with the simulator, by name."""
    folder = Path(__file__).parent / "scenarios"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load(name: str) -> Scenario:
    """Read a scenario from a file, or a shipped one by its name."""
    path = Path(name)
    if not path.exists() and name in (known := shipped()):
        path = known[name]
    text = read_text(path, f"; shipped are {', '.join(shipped())}")
    return read(text, str(path))


def read(text: str, path: str) -> Scenario:
    """Check a scenario; an error names file, line and field."""
    sent = parse_toml(text, path)
    places = _Places(text, path)
    for key in sent:
        if key not in TOP:
            raise BadInput(f"{places.top(key)}: unknown field {key!r}; known are {_list(TOP)}")
    for key, kind in TOP_KINDS.items():
        if key in sent and not isinstance(sent[key], kind):
            raise BadInput(f"{places.top(key)}: {key}: not a {KIND_NAMES[kind]}: {sent[key]!r}")
    versions = tuple(sent.get("ocpp", SUBPROTOCOLS))
    for version in versions:
        if version not in SUBPROTOCOLS:
            listed = ", ".join(SUBPROTOCOLS)
            raise BadInput(
                f"{places.top('ocpp')}: ocpp: unknown version {version!r}; known are {listed}"
            )
    station = sent.get("station", {})
    _check_station(station, versions, places)
    steps = sent.get("steps")
    if not isinstance(steps, list) or not steps:
        raise BadInput(f"{places.top('steps')}: steps: a scenario needs [[steps]]")
    return Scenario(
        path=path,
        name=str(sent.get("name", Path(path).stem)),
        about=str(sent.get("about", "")).strip(),
        versions=versions,
        station=station,
        variables=sent.get("vars", {}),
        steps=tuple(_step(n, s, places) for n, s in enumerate(steps, start=1)),
    )


def _step(number: int, sent: dict[str, Any], places: "_Places") -> ScenarioStep:
    here = places.step(number)
    if not isinstance(sent, dict):
        raise BadInput(f"{here}: steps: step {number} is not a table")
    _check_common(sent, places, number)
    kinds = [k for k in ("do", "expect") if k in sent]
    if len(kinds) != 1:
        raise BadInput(f"{here}: step {number} needs either `do` or `expect`")
    kind, word = kinds[0], str(sent[kinds[0]])
    given = {k: v for k, v in sent.items() if k not in COMMON}
    if kind == "expect" or word in SERVER:
        table: Mapping[str, tuple[str, ...]] = EXPECTATIONS if kind == "expect" else SERVER
        if word not in table:
            where = places.step(number, kind)
            raise BadInput(f"{where}: {kind}: unknown {word!r}; known are {_list(table)}")
        found = wrong_field(word, given, table[word])
        if found is not None:
            field_name, said = found
            raise BadInput(f"{places.step(number, field_name or kind)}: {said}")
    else:
        plain = {k: v for k, v in given.items() if not (isinstance(v, str) and v.startswith("{"))}
        templated = set(given) - set(plain)
        bind_checked(word, given, templated, places, number)
    only = sent.get("only", ())
    return ScenarioStep(
        number=number,
        line=places.line_of(number),
        kind=kind,
        word=word,
        given=given,
        about=str(sent.get("about", "")),
        save=dict(sent.get("save", {})),
        only=(only,) if isinstance(only, str) else tuple(only),
        fails=bool(sent.get("fails", False)),
    )


def _check_common(sent: dict[str, Any], places: "_Places", number: int) -> None:
    """Check what every step may have."""
    for key, kind in (("do", str), ("expect", str), ("about", str), ("fails", bool)):
        if key in sent and not isinstance(sent[key], kind):
            where = places.step(number, key)
            raise BadInput(f"{where}: {key}: not a {KIND_NAMES[kind]}: {sent[key]!r}")
    saved = sent.get("save", {})
    if not isinstance(saved, dict) or not all(isinstance(p, str) for p in saved.values()):
        raise BadInput(f"{places.step(number, 'save')}: save: not a table of paths: {saved!r}")
    only = sent.get("only", [])
    for version in [only] if not isinstance(only, list) else only:
        if version not in SUBPROTOCOLS:
            where = places.step(number, "only")
            raise BadInput(f"{where}: only: unknown version {version!r}")


def _check_station(station: dict[str, Any], versions: tuple[str, ...], places: "_Places") -> None:
    """Check what a scenario wants of its station."""
    for key, value in station.items():
        where = places.top(key)
        if key not in STATION:
            raise BadInput(f"{where}: station: unknown field {key!r}; known are {_list(STATION)}")
        kind = STATION[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise BadInput(f"{where}: {key}: not of the right kind: {value!r}")
    if not 1 <= station.get("connectors", 1) <= MOST_CONNECTORS:
        raise BadInput(f"{places.top('connectors')}: connectors: 1 to {MOST_CONNECTORS}")
    if station.get("resend", "same") not in {"same", "new", "half"}:
        raise BadInput(f"{places.top('resend')}: resend: same, new or half")
    if "template" in station:
        load_template(station["template"])
    for version in versions:
        make_quirks(station.get("quirks", ()), version, f"{places.top('quirks')}: quirks")


def bind_checked(
    word: str, given: dict[str, Any], templated: set[str], places: "_Places", number: int
) -> None:
    """Check a station step's arguments; those with a variable in them only by name."""
    stand_in = {k: ("1" if k in templated else v) for k, v in given.items()}
    try:
        bind(word, stand_in, "")
    except BadInput as problem:
        said = str(problem).removeprefix(": ")
        named = next((k for k in given if f".{k}:" in said or f"{k!r}" in said), None)
        where = places.step(number, named or "do")
        raise BadInput(f"{where}: {said}") from problem


class _Places:
    """Finds the line of a field in the text."""

    def __init__(self, text: str, path: str) -> None:
        self._lines = text.splitlines()
        self._path = path
        self._heads = [
            n for n, line in enumerate(self._lines, start=1) if line.strip() == "[[steps]]"
        ]

    def line_of(self, step: int) -> int:
        """Tell the line of a step's head."""
        return self._heads[step - 1] if step <= len(self._heads) else 1

    def step(self, step: int, key: str | None = None) -> str:
        """Name the place of a field of a step."""
        start = self.line_of(step)
        end = self._heads[step] if step < len(self._heads) else len(self._lines) + 1
        if key is not None:
            for number in range(start, end):
                if re.match(rf"\s*{re.escape(key)}\s*=", self._lines[number - 1]):
                    return f"{self._path}:{number}"
        return f"{self._path}:{start}"

    def top(self, key: str) -> str:
        """Name the place of a field outside the steps."""
        for number, line in enumerate(self._lines, start=1):
            if re.match(rf"\s*\[?{re.escape(key)}\b", line):
                return f"{self._path}:{number}"
        return f"{self._path}:1"


def _list(names: Any) -> str:
    return ", ".join(sorted(names)) or "nothing"


def fill(value: Any, variables: Mapping[str, Any]) -> Any:
    """Put variables into texts: "{tag}" becomes the tag, whole values keep their type."""
    if isinstance(value, str):
        whole = re.fullmatch(r"\{([A-Za-z_]\w*)\}", value)
        if whole and whole[1] in variables:
            return variables[whole[1]]
        return re.sub(
            r"\{([A-Za-z_]\w*)\}",
            lambda m: str(variables.get(m[1], m[0])),
            value,
        )
    if isinstance(value, list):
        return [fill(v, variables) for v in value]
    if isinstance(value, dict):
        return {k: fill(v, variables) for k, v in value.items()}
    return value


def mismatch(wanted: Mapping[str, Any], got: Any) -> str | None:
    """Compare dotted paths with wanted values; the answer is the first difference.

    A wanted text may begin with >=, <=, >, <, != or ~ (a regular expression),
    or be * (present) or - (absent).
    """
    for path, value in wanted.items():
        found = _find(got, path.split("."))
        problem = _differs(value, found)
        if problem is not None:
            return f"{path} is {_short(found)}, {problem}"
    return None


_ABSENT = object()


def _find(got: Any, path: list[str]) -> Any:
    for name in path:
        if isinstance(got, dict) and name in got:
            got = got[name]
        elif isinstance(got, list) and re.fullmatch(r"-?\d+", name) and -len(got) <= int(name):
            if int(name) >= len(got):
                return _ABSENT
            got = got[int(name)]
        else:
            return _ABSENT
    return got


def _differs(wanted: Any, found: Any) -> str | None:
    if wanted == "-":
        return None if found is _ABSENT else "expected nothing"
    if found is _ABSENT:
        return f"expected {_short(wanted)}"
    if wanted == "*":
        return None
    if isinstance(wanted, str):
        sign = re.match(r"(>=|<=|!=|>|<|~)\s*(.*)", wanted, re.DOTALL)
        if sign:
            return _compares(sign[1], sign[2], found)
    if isinstance(wanted, dict) and isinstance(found, dict):
        return mismatch(wanted, found)
    return None if _equal(wanted, found) else f"expected {_short(wanted)}"


def _compares(sign: str, wanted: str, found: Any) -> str | None:
    if sign == "~":
        fits = re.search(wanted, str(found)) is not None
        return None if fits else f"expected something like {wanted}"
    if sign == "!=":
        return None if not _equal(wanted, found) else f"expected anything but {wanted}"
    try:
        left, right = Decimal(str(found)), Decimal(wanted)
    except ArithmeticError:
        left, right = str(found), wanted  # type: ignore[assignment]
    fits = {">=": left >= right, "<=": left <= right, ">": left > right, "<": left < right}[sign]
    return None if fits else f"expected {sign} {wanted}"


def _equal(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, bool) or isinstance(found, bool):
        return wanted is found or str(wanted).lower() == str(found).lower()
    try:
        return Decimal(str(wanted)) == Decimal(str(found))
    except ArithmeticError:
        return bool(wanted == found)


def _short(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
