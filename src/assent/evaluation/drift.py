"""Whether a reward model that was trained again still knows what it knew, and what the new answers were worth."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from assent.intervals import Estimate, clustered_interval, clustered_standard_error


@dataclass(frozen=True, slots=True)
class Drift:
    """A reward model on the ``n`` decided comparisons of one set, beside the one before it."""

    name: str
    n: int
    accuracy: Estimate
    before: Estimate | None
    """Accuracy of the reward model before; ``None`` without one."""
    change: Estimate | None
    """Accuracy now less accuracy before, on the same comparisons; ``None`` without one before."""

    @property
    def lost(self) -> bool:
        """Whether the new one is worse beyond chance."""
        return self.change is not None and self.change.high < 0.0


def drift(name: str, gaps: ArrayLike, before: ArrayLike | None, prompts: Sequence[Hashable]) -> Drift:
    """From the gaps [n] between the scores of chosen and rejected, now and before; ``prompts`` [n] are the clusters.

    An equal score is half right.  Raises ``ValueError`` without a comparison.
    """
    right = _right(gaps)
    if before is None:
        return Drift(name, len(right), Estimate(*clustered_interval(right, prompts)), None, None)
    then = _right(before)
    value = float((right - then).mean())
    error, groups = clustered_standard_error(right - then, prompts), len(set(prompts))
    half = float(stdtrit(groups - 1, 0.975)) * error if groups > 1 else 1.0
    return Drift(
        name,
        len(right),
        Estimate(*clustered_interval(right, prompts)),
        Estimate(*clustered_interval(then, prompts)),
        Estimate(value, value - half, value + half),
    )


def paid(found: Sequence[Drift], answers: int) -> float | None:
    """Accuracy that each hundred of the ``answers`` gained, over all comparisons of all sets; ``None`` without one
    before."""
    changes = [(item.change.value, item.n) for item in found if item.change is not None]
    if not changes or answers < 1:
        return None
    return 100.0 / answers * sum(change * n for change, n in changes) / sum(n for _, n in changes)


def _right(gaps: ArrayLike) -> NDArray[np.float64]:
    return (1.0 + np.sign(np.asarray(gaps, dtype=np.float64))) / 2.0
