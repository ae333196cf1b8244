"""Simulated annotators: programs that rank answers by a known utility, with human failings put in on purpose.

They are for tests, demonstrations and studies of the method, and never pass for people: every name begins with
``simulated:``, and the labelling app lets nobody sign in under such a name.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from assent.errors import DataError

PREFIX = "simulated:"


@dataclass(frozen=True, slots=True)
class SimulatedAnnotator:
    """An annotator who perceives each answer's utility with noise and position bias, and ranks by that.

    With Gumbel noise of scale ``noise`` an order of K answers follows the Plackett-Luce model, and one pair the
    Bradley-Terry model: P(i before j) = sigmoid((u_i - u_j) / noise) (Luce, 1959; Yellott, 1977).
    """

    name: str
    noise: float = 1.0
    """Scale of the noise, in units of utility; 0 is a perfect reader."""
    tie_width: float = 0.0
    """An answer no further than this below the best of the previous rank, as perceived, shares that rank."""
    fail_below: float = -math.inf
    """An answer perceived below this utility fails (rank ``None``)."""
    position_bias: float = 0.0
    """Utility added to the first answer shown, falling linearly to none for the last."""
    laziness: float = 0.0
    """Share of questions (0 to 1) answered without reading: a uniformly random order, no ties, nothing failed."""

    def __post_init__(self) -> None:
        if not self.name.startswith(PREFIX) or self.name == PREFIX:
            raise DataError(
                f"simulated annotator '{self.name}': the name must begin with '{PREFIX}', as in '{PREFIX}ann'"
            )
        if self.noise < 0 or self.tie_width < 0 or not 0 <= self.laziness <= 1:
            raise DataError(f"{self.name}: noise and tie_width must be at least 0, laziness between 0 and 1")

    def rank(self, question_id: str, utilities: Sequence[float], seed: int = 0) -> tuple[int | None, ...]:
        """Dense ranks [K], 1 best, for utilities [K] in the order shown; ``None`` is failed.

        A function of (seed, name, question id) and the utilities alone, whatever else was ranked before.
        """
        if not all(math.isfinite(u) for u in utilities):
            raise DataError(f"{self.name}, question {question_id}: a utility is not finite; score every answer first")
        draws = self._generator(question_id, seed)
        count = len(utilities)
        # Each kind of randomness is drawn whether used or not, so that changing one setting leaves the others' draws.
        lazy = draws.random() < self.laziness
        shuffled = draws.permutation(count)
        gumbel = draws.gumbel(size=count) - np.euler_gamma  # mean zero, so that fail_below keeps its meaning
        if lazy:
            return tuple(int(place) + 1 for place in shuffled)
        bias = np.linspace(1.0, 0.0, count) * self.position_bias
        perceived = np.asarray(utilities, dtype=np.float64) + self.noise * gumbel + bias
        return self._order(perceived)

    def _order(self, perceived: np.ndarray) -> tuple[int | None, ...]:
        ranks: list[int | None] = [None] * len(perceived)
        rank, best = 0, math.inf
        for index in np.argsort(-perceived, kind="stable"):
            utility = float(perceived[index])
            if utility < self.fail_below:
                break
            if rank == 0 or best - utility > self.tie_width:
                rank, best = rank + 1, utility
            ranks[index] = rank
        return tuple(ranks)

    def _generator(self, question_id: str, seed: int) -> np.random.Generator:
        digest = hashlib.sha256(f"{seed}\n{self.name}\n{question_id}".encode()).digest()
        return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))
