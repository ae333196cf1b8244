"""What a world of a task gives: problems, each with its right answer and what a careless writer makes of it.

A world is one function that draws a problem.  What is the same problem has the same key, and keys are split once for
all seeds: no problem of the evaluation occurs in any text that a model is trained on.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from assent.types import Demonstration, Message, Prompt

HELD_OUT = 5
"""One key in so many belongs to the evaluation."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A prompt, with what is known about it."""

    key: str
    prompt: str | tuple[Message, ...]
    right: str
    """An answer as it should be."""
    careless: str
    """An answer as hurried people give it."""
    known: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Metadata of the prompt: what rules and metrics read, such as the known answer or tests."""

    def asked(self, prompt_id: str) -> Prompt:
        if isinstance(self.prompt, str):
            return Prompt(prompt_id, text=self.prompt, metadata=self.known)
        return Prompt(prompt_id, messages=self.prompt, metadata=self.known)


Draw = Callable[[random.Random], Problem]

WORLDS: Mapping[str, str] = {
    "questions": "assent.data.tasks.questions",
    "code": "assent.data.tasks.functions",
    "dialogue": "assent.data.tasks.dialogue",
    "instructions": "assent.data.tasks.instructions",
    "translation": "assent.data.tasks.translation",
    "summaries": "assent.data.tasks.summaries",
}
"""Name -> the module whose ``draw`` it is."""


def load_world(name: str) -> Draw:
    """The function that draws a problem of a world in :data:`WORLDS`."""
    return import_module(WORLDS[name]).draw


def problems(draw: Draw, count: int, held_out: bool, seed: int, name: str) -> Iterator[Problem]:
    """``count`` problems of the evaluation, or of everything else; ``name`` tells the files of one seed apart."""
    rng = random.Random(f"{seed} {name}")
    while count:
        problem = draw(rng)
        if is_held_out(problem.key) == held_out:
            count -= 1
            yield problem


def demonstrations(draw: Draw, count: int, mistakes: float, seed: int, name: str) -> Iterator[Demonstration]:
    """``count`` answers by writers who are careless in a share ``mistakes`` of them."""
    rng = random.Random(f"{seed} {name} mistakes")
    for index, problem in enumerate(problems(draw, count, False, seed, name)):
        careless = rng.random() < mistakes
        yield Demonstration(
            problem.asked(f"{name}-{index}"), problem.careless if careless else problem.right, author="world"
        )


def is_held_out(key: str) -> bool:
    """Whether a problem belongs to the evaluation."""
    return hashlib.sha256(key.encode()).digest()[0] % HELD_OUT == 0
