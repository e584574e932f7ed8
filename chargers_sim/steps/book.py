"""The book of steps: every word with what it does."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

Action = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Step:
    """One word with what it does."""

    name: str
    does: str
    action: Action


STEPS: dict[str, Step] = {}


def step(action: Action) -> Action:
    """Register a function as a step; its name becomes the word, its docstring the help."""
    name = action.__name__.replace("_", "-").removesuffix("-")
    STEPS[name] = Step(name, (inspect.getdoc(action) or "").splitlines()[0], action)
    return action
