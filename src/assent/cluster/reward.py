"""A source of rewards whose copies score in worker processes of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torch

from assent.cluster.pool import ONE_CORE, Needs, Pool
from assent.rewards.source import RewardSource, Scores, groups_of
from assent.types import Completion, Prompt


class RewardWorker:
    """Scores with a source of its own."""

    def __init__(self, open_source: Callable[..., RewardSource], given: Sequence[Any], threads: int) -> None:
        torch.set_num_threads(threads)
        self.source = open_source(*given)

    def score(self, portion: tuple[Sequence[Prompt], Sequence[Completion]]) -> Scores:
        return self.source.score(*portion)


class RayReward:
    """Scores on ``workers`` processes of the Ray cluster that this process is connected to.

    Each opens the source for itself, by ``open_source(*given)``.  The completions of one prompt stay together.
    """

    def __init__(
        self,
        open_source: Callable[..., RewardSource],
        given: Sequence[Any],
        workers: int,
        *,
        comparative: bool = False,
        portion: int = 64,
        needs: Needs = ONE_CORE,
        timeout: float = 300.0,
        say: Callable[[str], None] = print,
    ) -> None:
        """``comparative``: see :class:`assent.rewards.source.RewardSource`.  ``portion``: completions that a worker is
        handed at once, or a prompt's where it has more; it does not hang on the number of workers."""
        self.comparative, self.portion = comparative, portion
        opening = (open_source, tuple(given), needs.cpus)
        self.pool = Pool("reward worker", RewardWorker, opening, workers, needs=needs, timeout=timeout, say=say)

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        """See :class:`assent.rewards.source.RewardSource`.  Raises :class:`RunError` where no worker is left."""
        portions: list[list[int]] = [[]]
        for group in groups_of(completions):
            if portions[-1] and len(portions[-1]) + len(group) > self.portion:
                portions.append([])
            portions[-1] += group
        asked = [([prompts[i] for i in places], [completions[i] for i in places]) for places in portions if places]
        found: list[Scores] = self.pool.run("score", (), asked)
        order = list(chain(*portions))
        return Scores.joined(found).select(sorted(range(len(order)), key=order.__getitem__))

    def close(self) -> None:
        """End the workers."""
        self.pool.close()
