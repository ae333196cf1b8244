"""Sums in words with worked answers, in the layout of GSM8K (Cobbe et al. 2021): steps, then ``#### 9``."""

from __future__ import annotations

import random
import re

from assent.data.tasks.problem import Problem
from assent.types import Message, Prompt

_NAMES = ("Ann", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gita", "Hugo")
_THINGS = ("apples", "books", "coins", "shells", "cards", "stamps", "plums", "beads")
_GAINS = ("gets {n} more", "finds {n} more", "buys {n} more")
_LOSSES = ("loses {n}", "gives away {n}", "sells {n}")
_STEP = re.compile(r"(-?\d+) ([+-]) (\d+) = (-?\d+)")


def draw(rng: random.Random) -> Problem:
    """A number of things that changes twice."""
    start = rng.randint(2, 9)
    first = rng.randint(1, 5) * (1 if start < 4 or rng.random() < 0.5 else -1)
    first = max(first, 1 - start)
    second = rng.randint(1, 5) * (1 if start + first < 3 or rng.random() < 0.5 else -1)
    second = max(second, 1 - start - first)
    name, things = rng.choice(_NAMES), rng.choice(_THINGS)
    told = [rng.choice(_GAINS if n > 0 else _LOSSES).format(n=abs(n)) for n in (first, second)]
    question = f"{name} has {start} {things}, {told[0]} and {told[1]}. How many {things} are there now?"
    right = _worked(start, (first, second), (0, 0))
    slip = rng.choice((-2, -1, 1, 2))
    careless = _worked(start, (first, second), (slip, 0) if rng.random() < 0.5 else (0, slip))
    return Problem(
        key=f"{start} {first} {second}",
        prompt=(Message("user", question),),
        right=right,
        careless=careless,
        known={"answer": right, "changes": [start, first, second]},
    )


def sound(prompt: Prompt, text: str) -> float:
    """1 where every step of a worked answer is right and follows from the question, else 0.

    The rule that rewards an answer reads what stands behind ``####`` alone; this reads the way there.
    """
    total, *changes = prompt.metadata["changes"]
    *lines, last = text.strip().split("\n")
    if len(lines) != len(changes):
        return 0.0
    for line, change in zip(lines, changes, strict=True):
        step = _STEP.fullmatch(line.strip())
        after = total + change
        if step is None or step.groups() != (str(total), "+" if change > 0 else "-", str(abs(change)), str(after)):
            return 0.0
        total = after
    return float(last.strip() == f"#### {total}")


def _worked(start: int, changes: tuple[int, ...], slips: tuple[int, ...]) -> str:
    """The steps one below the other, each wrong by its slip."""
    lines, total = [], start
    for change, slip in zip(changes, slips, strict=True):
        after = total + change + slip
        lines.append(f"{total} {'+' if change > 0 else '-'} {abs(change)} = {after}")
        total = after
    return "\n".join([*lines, f"#### {total}"])
