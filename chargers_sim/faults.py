"""Faults on demand, applied to the frames of one line.

A rule says what to do with which frames, how often and with what chance; the
line asks the rules for every frame it sends or gets. Chances come from a seeded
source, so that a run can be repeated.
"""

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from chargers_sim.errors import BadInput

Direction = Literal["out", "in"]

KINDS = {
    "drop": "the frame vanishes",
    "delay": "the frame waits `seconds`",
    "repeat": "the frame is sent `copies` times more",
    "reorder": "the frame changes places with the next one",
    "corrupt": "some characters are replaced",
    "half": "only the first half of the text is sent",
    "half-frame": "only the first half of the frame's bytes is sent, then the socket is torn down",
    "cut-before-send": "the socket is torn down and the frame never leaves",
    "cut-after-send": "the socket is torn down `seconds` after the frame left, the answer unread",
    "wrong-answer": "an answer to the server is replaced by one to another question",
    "wrong-type": "the message type number is 9",
    "edit": "fields of the payload are replaced by `payload`",
}


@dataclass(slots=True, kw_only=True)
class Rule:
    """One fault: what, to which frames, how often."""

    do: str
    action: str | None = None
    direction: Direction = "out"
    times: int | None = None
    chance: float = 1.0
    seconds: float = 0.0
    copies: int = 1
    skip: int = 0
    payload: dict[str, Any] = field(default_factory=dict)
    only: dict[str, Any] = field(default_factory=dict)
    hits: int = 0

    def __post_init__(self) -> None:
        if self.do not in KINDS:
            raise BadInput(f"unknown fault {self.do!r}; known are {', '.join(KINDS)}")


@dataclass(slots=True)
class Verdict:
    """What becomes of one frame."""

    texts: list[str]
    delay: float = 0.0
    cut: Literal["before", "after", "half"] | None = None
    cut_delay: float = 0.0


class Faults:
    """The rules of one line."""

    def __init__(self, rules: Iterable[Rule] = (), *, seed: int | str = 0) -> None:
        self.rules = list(rules)
        self._random = random.Random(f"faults {seed}")
        self._held: dict[Direction, str] = {}

    def add(self, rule: Rule) -> None:
        """Put a rule in force."""
        self.rules.append(rule)

    def clear(self) -> None:
        """End all faults."""
        self.rules.clear()

    def judge(self, direction: Direction, text: str, action: str | None) -> Verdict:
        """Decide about one frame; `action` is that of the CALL, or of the CALL it answers."""
        verdict = Verdict(texts=[text])
        for rule in self.rules:
            if self._applies(rule, direction, action) and _meant(rule, text):
                self._apply(rule, direction, verdict)
        held = self._held.pop(direction, None) if verdict.texts else None
        if held is not None:
            verdict.texts.append(held)
        return verdict

    def _applies(self, rule: Rule, direction: Direction, action: str | None) -> bool:
        if rule.direction != direction or (rule.action is not None and rule.action != action):
            return False
        if rule.skip > 0:
            rule.skip -= 1
            return False
        if rule.times is not None and rule.hits >= rule.times:
            return False
        if rule.chance < 1 and self._random.random() >= rule.chance:
            return False
        rule.hits += 1
        return True

    def _apply(self, rule: Rule, direction: Direction, verdict: Verdict) -> None:
        match rule.do:
            case "drop":
                verdict.texts = []
            case "delay":
                verdict.delay += rule.seconds
            case "repeat":
                verdict.texts = verdict.texts * (1 + rule.copies)
            case "reorder":
                if direction not in self._held and verdict.texts:
                    self._held[direction] = verdict.texts[0]
                    verdict.texts = []
            case "corrupt":
                verdict.texts = [self._corrupted(t) for t in verdict.texts]
            case "half":
                verdict.texts = [t[: len(t) // 2] for t in verdict.texts]
            case "half-frame":
                verdict.cut = "half"
            case "cut-before-send":
                verdict.cut, verdict.texts = "before", []
            case "cut-after-send":
                verdict.cut = "after"
                verdict.cut_delay = rule.seconds * self._random.random()
            case _:
                verdict.texts = [self._rewritten(rule, t) for t in verdict.texts]

    def _corrupted(self, text: str) -> str:
        letters = list(text)
        for _ in range(max(1, len(letters) // 40)):
            letters[self._random.randrange(len(letters))] = self._random.choice('"{}[],:#x0')
        return "".join(letters)

    def _rewritten(self, rule: Rule, text: str) -> str:
        frame = json.loads(text)
        if rule.do == "wrong-type":
            frame[0] = 9
        elif rule.do == "wrong-answer" and frame[0] == 3:
            frame[2] = {"unexpected": "answer"}
        elif rule.do == "edit" and frame[0] in {2, 3}:
            frame[-1] = _merged(frame[-1], rule.payload)
        return json.dumps(frame, separators=(",", ":"))


def _meant(rule: Rule, text: str) -> bool:
    if not rule.only:
        return True
    payload = json.loads(text)[-1]
    return all(payload.get(name) == value for name, value in rule.only.items())


def _merged(payload: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(payload)
    for name, value in changes.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict) and isinstance(merged.get(name), dict):
            merged[name] = _merged(merged[name], value)
        else:
            merged[name] = value
    return merged
