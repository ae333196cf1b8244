"""What each member of an ensemble learns from where all are not to learn the same: a bootstrap of its own.

Drawn are prompts, with replacement and as often as there are prompts, each with all that was said of its answers: two
rankings of one prompt are no independent witnesses.  A model of its own learns from its rows as often as they were
drawn; a head over a shared trunk gives its pairs that weight, at no cost (Breiman 1996, "Bagging predictors"; Osband
et al. 2016, arXiv:1602.04621, section 3, for the heads).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assent.training.sources import Example
from assent.types import short_id

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Bootstrap:
    """How often each of M members drew each of U prompts, which E examples are of."""

    members: Sequence[int]
    """[M] their numbers."""
    prompts: Sequence[str]
    """[U] ids, in the order of the data; an example that answers no prompt is a unit of its own."""
    counts: Counts
    """[M, U]"""
    places: Counts
    """[E] the prompt of each example."""

    def times(self) -> Counts:
        """[M, E] how often each member learns from each example."""
        return self.counts[:, self.places]

    def record(self) -> dict[str, Any]:
        """The draw in plain data."""
        drawn = {f"member-{number}": row for number, row in zip(self.members, self.counts.tolist(), strict=True)}
        return {"prompts": list(self.prompts), "drawn": drawn}


def draw_bootstrap(examples: Sequence[Example], seed: int, members: Sequence[int]) -> Bootstrap:
    """The draw of these ``members``.  Each hangs on the ``seed``, its number and how many prompts there are alone."""
    units = [example.prompt or f"example {place}" for place, example in enumerate(examples, 1)]
    prompts = list(dict.fromkeys(units))
    place = {prompt: number for number, prompt in enumerate(prompts)}
    counts = np.stack([_counts(len(prompts), seed, number) for number in members])
    return Bootstrap(tuple(members), prompts, counts, np.array([place[unit] for unit in units], dtype=np.int64))


def _counts(units: int, seed: int, member: int) -> Counts:
    """[U] how often as many draws as there are ``units``, with replacement, hit each."""
    drawn = np.random.Generator(np.random.Philox(key=int(short_id(seed, "bootstrap", member), 16)))
    return np.bincount(drawn.integers(units, size=units), minlength=units).astype(np.int64)


def repeated(examples: Sequence[Example], times: Counts) -> list[Example]:
    """Each example as often as ``times`` [E] says."""
    return [example for example, count in zip(examples, times.tolist(), strict=True) for _ in range(count)]


def for_heads(examples: Sequence[Example], times: Counts) -> list[Example]:
    """Each example once, its pairs once for each of M heads with ``times`` [M, E] their weight.

    A head that does not learn from an example has no pair there; an example that no head learns from is left out.
    """
    out: list[Example] = []
    for example, counts in zip(examples, times.T.tolist(), strict=True):
        pairs = [
            pair._replace(weight=pair.weight * count, head=head)
            for head, count in enumerate(counts)
            for pair in example.pairs
            if count
        ]
        if pairs:
            out.append(replace(example, pairs=pairs))
    return out
