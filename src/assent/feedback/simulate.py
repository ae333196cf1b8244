"""Simulated annotators: programs that judge answers by a known utility, with human failings put in on purpose.

They are for tests, demonstrations and studies of the method, and never pass for people: every name begins with
``simulated:``, and the labelling app lets nobody sign in under such a name.  What one says of a question is a function
of (seed, name, question id), the utilities and how much of the work is done; never of what was asked before.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from assent.errors import DataError
from assent.feedback.answers import SIMULATED

_SHARES = ("laziness", "contrariness", "spam", "tie_rate", "fail_rate")
_SCALES = ("noise", "tie_width", "drift", "step")


@dataclass(frozen=True, slots=True)
class Seen:
    """What else an annotator knows of a question than how good its answers are."""

    lengths: tuple[int, ...] = ()
    """[K] characters of the answers in the order shown, for ``length_bias``; empty: all of one length."""
    criterion: str = "overall"
    done: float = 0.0
    """Share of the annotator's work that was done before, for ``drift``."""


_PLAIN = Seen()


@dataclass(frozen=True, slots=True)
class SimulatedAnnotator:
    """An annotator who perceives each answer's utility with noise and bias, and judges by that.

    With Gumbel noise of scale ``noise`` an order of K answers follows the Plackett-Luce model, and one pair the
    Bradley-Terry model: P(i before j) = sigmoid((u_i - u_j) / noise) (Luce, 1959; Yellott, 1977).  On each question
    they first draw whether they read it at all (``laziness``, ``spam``) and whether they say the opposite of what they
    see (``contrariness``).
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
    length_bias: float = 0.0
    """Utility added for each doubling of an answer's length, counted from the question's mean."""
    contrariness: float = 0.0
    """Share of questions answered as if every utility had the other sign: 1 is an adversary."""
    spam: float = 0.0
    """Share of questions answered in the order shown, without reading."""
    drift: float = 0.0
    """By the end of the work the noise is larger by this factor plus one; it grows evenly."""
    tie_rate: float = 0.0
    """Share of neighbours in the order that are tied, the closest first, whatever ``tie_width`` ties."""
    fail_rate: float = 0.0
    """Share of answers that fail, the worst first, whatever ``fail_below`` fails."""
    step: float = 1.0
    """Utility that one point on a rating scale, or one grade of a preference, is worth to them."""
    severity: float = 0.0
    """Utility taken off every answer where it is rated or labelled; below 0 they are mild."""
    noise_on: Mapping[str, float] = field(default_factory=dict[str, float])
    """Criterion to the noise on it, where it is not ``noise``."""

    def __post_init__(self) -> None:
        if not self.name.startswith(SIMULATED) or self.name == SIMULATED:
            raise DataError(
                f"simulated annotator '{self.name}': the name must begin with '{SIMULATED}', as in '{SIMULATED}ann'"
            )
        for setting in _SHARES:
            if not 0.0 <= getattr(self, setting) <= 1.0:
                raise DataError(f"{self.name}: {setting} {getattr(self, setting)}; give a share between 0 and 1")
        for setting in _SCALES:
            if not 0.0 <= getattr(self, setting) < math.inf:
                raise DataError(f"{self.name}: {setting} {getattr(self, setting)}; give a number from 0")
        if self.step == 0.0 or any(not 0.0 <= noise < math.inf for noise in self.noise_on.values()):
            raise DataError(f"{self.name}: step must be above 0, and the noise on each criterion a number from 0")

    def rank(
        self, question_id: str, utilities: Sequence[float], seed: int = 0, seen: Seen = _PLAIN
    ) -> tuple[int | None, ...]:
        """Dense ranks [K], 1 best, for utilities [K] in the order shown; ``None`` is failed."""
        draws = self._generator(question_id, seed)
        perceived, how = self._perceive(question_id, utilities, draws, seen)
        if how != "read":
            return tuple(int(place) + 1 for place in -perceived)
        return self._order(perceived, draws)

    def best(self, question_id: str, utilities: Sequence[float], seed: int = 0, seen: Seen = _PLAIN) -> int | None:
        """Position of the best of K answers in the order shown; ``None`` where all failed."""
        ranks = self.rank(question_id, utilities, seed, seen)
        return ranks.index(1) if 1 in ranks else None

    def prefer(
        self, question_id: str, utilities: Sequence[float], seed: int = 0, seen: Seen = _PLAIN, strongest: int = 3
    ) -> int:
        """Of two answers, from -``strongest`` (the first is much better) by 0 (a tie) to ``strongest`` (the second is).

        A gap of up to ``tie_width`` is a tie; beyond it each ``step`` is a grade.  Without reading: any of these.
        """
        draws = self._generator(question_id, seed)
        perceived, how = self._perceive(question_id, utilities, draws, seen)
        if how == "lazy":
            return int(draws.integers(-strongest, strongest + 1))
        gap = float(perceived[1] - perceived[0])
        if abs(gap) <= self.tie_width and how == "read":
            return 0
        grade = min(strongest, 1 + int(max(0.0, abs(gap) - self.tie_width) / self.step)) if how == "read" else 1
        return grade if gap > 0 else -grade

    def rate(
        self,
        question_id: str,
        utilities: Sequence[float],
        seed: int = 0,
        seen: Seen = _PLAIN,
        low: int = 1,
        high: int = 5,
    ) -> tuple[int | None, ...]:
        """Whole numbers [K] from ``low`` to ``high``; utility 0 is the middle of the scale; ``None`` is failed.

        Without reading: any number, each as likely; a spammer always gives ``high``.
        """
        draws = self._generator(question_id, seed)
        perceived, how = self._perceive(question_id, utilities, draws, seen)
        if how == "lazy":
            return tuple(int(number) for number in draws.integers(low, high + 1, size=len(perceived)))
        if how == "spam":
            return (high,) * len(perceived)
        points = np.rint(0.5 * (low + high) + (perceived - self.severity) / self.step).clip(low, high)
        failed = self._failed(perceived, draws)
        return tuple(None if bad else int(point) for point, bad in zip(points, failed, strict=True))

    def label(
        self, question_id: str, utilities: Sequence[float], seed: int = 0, seen: Seen = _PLAIN
    ) -> tuple[int | None, ...]:
        """1 (good) or 0 (bad) for each answer [K]: whether it is perceived above ``severity``; ``None`` is failed."""
        return self.rate(question_id, utilities, seed, seen, low=0, high=1)

    def _perceive(
        self, question_id: str, utilities: Sequence[float], draws: np.random.Generator, seen: Seen
    ) -> tuple[np.ndarray, Literal["read", "lazy", "spam"]]:
        """What is seen of each answer [K]; where they do not read, minus the place that stands for it."""
        if not all(math.isfinite(u) for u in utilities):
            raise DataError(f"{self.name}, question {question_id}: a utility is not finite; score every answer first")
        count = len(utilities)
        # Each kind of randomness is drawn whether used or not, so that changing one setting leaves the others' draws.
        lazy = draws.random() < self.laziness
        shuffled = draws.permutation(count)
        gumbel = draws.gumbel(size=count) - np.euler_gamma  # mean zero, so that fail_below keeps its meaning
        contrary, spam = draws.random() < self.contrariness, draws.random() < self.spam
        if lazy:
            return -shuffled.astype(np.float64), "lazy"
        if spam:
            return -np.arange(count, dtype=np.float64), "spam"
        bias = np.linspace(1.0, 0.0, count) * self.position_bias
        if seen.lengths:
            doublings = np.log2(np.asarray(seen.lengths, dtype=np.float64) + 1.0)
            bias = bias + self.length_bias * (doublings - doublings.mean())
        noise = self.noise_on.get(seen.criterion, self.noise) * (1.0 + self.drift * seen.done)
        true = np.asarray(utilities, dtype=np.float64) * (-1.0 if contrary else 1.0)
        return true + noise * gumbel + bias, "read"

    def _failed(self, perceived: np.ndarray, draws: np.random.Generator) -> np.ndarray:
        """[K] bool."""
        worst = np.argsort(perceived, kind="stable")[: draws.binomial(len(perceived), self.fail_rate)]
        failed = perceived < self.fail_below
        failed[worst] = True
        return failed

    def _order(self, perceived: np.ndarray, draws: np.random.Generator) -> tuple[int | None, ...]:
        failed = self._failed(perceived, draws)
        order = [int(index) for index in np.argsort(-perceived, kind="stable") if not failed[index]]
        steps = -np.diff(perceived[order])
        tied = np.zeros(len(steps), dtype=bool)
        tied[np.argsort(steps, kind="stable")[: draws.binomial(len(steps), self.tie_rate)]] = True
        ranks: list[int | None] = [None] * len(perceived)
        rank, best = 0, math.inf
        for place, index in enumerate(order):
            utility = float(perceived[index])
            if rank == 0 or (best - utility > self.tie_width and not tied[place - 1]):
                rank, best = rank + 1, utility
            ranks[index] = rank
        return tuple(ranks)

    def _generator(self, question_id: str, seed: int) -> np.random.Generator:
        digest = hashlib.sha256(f"{seed}\n{self.name}\n{question_id}".encode()).digest()
        return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))
