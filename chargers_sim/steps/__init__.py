"""The words a technician, a script, a scenario and the HTTP control have in common.

A step is a name with arguments; every one is an action of a `Station`.
"""

import inspect
import json
import shlex
from decimal import Decimal, InvalidOperation
from typing import Any

from chargers_sim.errors import BadInput
from chargers_sim.live import Station
from chargers_sim.steps import charging, hands
from chargers_sim.steps import line as at_the_line
from chargers_sim.steps.book import STEPS, Step

# Arguments that are never below 0, wherever they are taken.
TIMES = {"seconds", "idle", "timeout"}
COUNTS = {"connector", "battery_wh", "power_w", "interval", "timeout"}

__all__ = ["STEPS", "at_the_line", "bind", "charging", "hands", "parse_script", "run_step"]


def bind(name: str, given: dict[str, Any], where: str) -> tuple[Step, dict[str, Any]]:
    """Check a step's name and arguments; the error names the place."""
    if not isinstance(given, dict):
        raise BadInput(f"{where}: the arguments must be an object")
    known = STEPS.get(name)
    if known is None:
        raise BadInput(f"{where}: unknown step {name!r}; known are {', '.join(sorted(STEPS))}")
    parameters = inspect.signature(known.action).parameters
    free = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    bound: dict[str, Any] = {}
    for key, value in given.items():
        parameter = parameters.get(key.replace("-", "_"))
        if parameter is None or parameter.kind is not parameter.KEYWORD_ONLY:
            if not free:
                takes = ", ".join(n for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY)
                raise BadInput(f"{where}: {name} takes no {key!r}; it takes {takes or 'nothing'}")
            bound[key] = value
        else:
            bound[parameter.name] = _fit(parameter.annotation, value, f"{where}: {name}.{key}")
    for parameter in parameters.values():
        missing = parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
        if missing and parameter.name not in bound:
            raise BadInput(f"{where}: {name} needs {parameter.name!r}")
    return known, bound


async def run_step(
    station: Station, name: str, given: dict[str, Any], where: str = "step"
) -> dict[str, Any] | None:
    """Do one step and give its result."""
    known, bound = bind(name, given, where)
    result: dict[str, Any] | None = await known.action(station, **bound)
    return result


def parse_script(text: str, where: str = "--script") -> list[tuple[str, dict[str, Any]]]:
    """Read `plug; swipe tag=T1; charge kwh=1 seconds=60`, one step per line or semicolon."""
    script = []
    for number, line in enumerate(text.replace(";", "\n").splitlines(), start=1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as problem:
            raise BadInput(f"{where}: step {number}: {problem}") from problem
        if not words:
            continue
        given: dict[str, Any] = {}
        for word in words[1:]:
            key, equals, value = word.partition("=")
            if not equals:
                raise BadInput(f"{where}: step {number}: {word!r} is not name=value")
            given[key] = value
        bind(words[0], given, f"{where}: step {number}")
        script.append((words[0], given))
    return script


def _fit(annotation: Any, value: Any, where: str) -> Any:
    wanted = str(annotation) if not isinstance(annotation, type) else annotation.__name__
    try:
        if "dict" in wanted:
            return json.loads(value) if isinstance(value, str) else value
        if "Decimal" in wanted:
            return _amount(value, where)
        if "bool" in wanted:
            return value if isinstance(value, bool) else _truth(str(value))
        if "int" in wanted:
            return None if value is None else _whole(value, where)
        if not isinstance(value, str):
            raise BadInput(f"{where}: not a text: {value!r}")
    except (InvalidOperation, ValueError) as problem:
        raise BadInput(f"{where}: not a {wanted}: {value!r}") from problem
    return value


def _amount(value: Any, where: str) -> Decimal:
    number = Decimal(str(value))
    if not number.is_finite():
        raise ValueError(value)
    if number < 0 and where.rpartition(".")[2] in TIMES:
        raise BadInput(f"{where}: below 0: {value!r}")
    return number


def _whole(value: Any, where: str) -> int:
    number = Decimal(str(value))
    if isinstance(value, bool) or not number.is_finite() or number != int(number):
        raise ValueError(value)
    if number < 0 and where.rpartition(".")[2] in COUNTS:
        raise BadInput(f"{where}: below 0: {value!r}")
    return int(number)


def _truth(text: str) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in words:
        raise ValueError(text)
    return words[text.lower()]
