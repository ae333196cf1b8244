"""Rankings as votes: what each annotator says of each pair of answers, as arrays for the statistics of this package."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assent.feedback.comparisons import judged_pairs, standings
from assent.types import Ranking

PairKey = tuple[str, str, str, str]
"""Prompt id, criterion, and two completion ids in alphabetical order: ``first`` and ``second``."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Votes:
    """N votes by A annotators on P pairs of answers to C prompts; a vote is of one annotator on one pair."""

    pairs: tuple[PairKey, ...]
    """[P], in alphabetical order."""
    annotators: tuple[str, ...]
    """[A], in alphabetical order."""
    prompts: tuple[str, ...]
    """[C], in alphabetical order."""
    pair: Ints
    """[N] index into ``pairs``, never falling."""
    annotator: Ints
    """[N] index into ``annotators``."""
    said: Ints
    """[N] 1: the first answer is better; -1: the second; 0: equal."""
    shown: Floats
    """[N] how far before the second the first answer was shown, of the way from first to last: -1 to 1."""
    longer: Floats
    """[N] log of the first answer's length over the second's, in characters plus one."""
    prompt: Ints
    """[P] index into ``prompts``: pairs of one prompt are not independent."""
    answers: Ints
    """[P] how many answers the largest ranking has that the pair is from."""

    def of_pairs(self, keep: NDArray[np.bool_]) -> Votes:
        """The votes on some pairs [P]; all annotators and prompts stay named."""
        number = np.cumsum(keep) - 1
        votes = keep[self.pair]
        return Votes(
            pairs=tuple(key for key, kept in zip(self.pairs, keep, strict=True) if kept),
            annotators=self.annotators,
            prompts=self.prompts,
            pair=number[self.pair[votes]],
            annotator=self.annotator[votes],
            said=self.said[votes],
            shown=self.shown[votes],
            longer=self.longer[votes],
            prompt=self.prompt[keep],
            answers=self.answers[keep],
        )

    def shared(self) -> Votes:
        """The votes on pairs that several annotators judged."""
        return self.of_pairs(np.bincount(self.pair, minlength=len(self.pairs)) > 1)


def votes_from_rankings(rankings: Iterable[Ranking]) -> Votes:
    """All pairs of all rankings.  Of two rankings of a question by one annotator the later counts (by ``created``, then
    by place in the sequence), so that the order of the rankings is of no account.
    """
    found: dict[PairKey, dict[str, tuple[int, float, float]]] = {}
    answers: dict[PairKey, int] = {}
    for ranking in sorted(rankings, key=lambda ranking: ranking.created):
        ids, place, count = ranking.completion_ids, standings(ranking), len(ranking.completion_ids)
        for one, other in judged_pairs(ranking):
            i, j = (one, other) if ids[one] <= ids[other] else (other, one)
            first, second = ids[i], ids[j]
            key = (ranking.prompt.id, ranking.criterion, first, second)
            longer = float(np.log((len(ranking.texts[i]) + 1) / (len(ranking.texts[j]) + 1)))
            vote = (int(np.sign(place[j] - place[i])), (j - i) / (count - 1), longer)
            found.setdefault(key, {})[ranking.annotator] = vote
            answers[key] = max(answers.get(key, 0), count)
    pairs = tuple(sorted(found))
    names = tuple(sorted({name for said in found.values() for name in said}))
    prompts = tuple(sorted({pair[0] for pair in pairs}))
    number, prompt = {name: i for i, name in enumerate(names)}, {name: i for i, name in enumerate(prompts)}
    rows = [(p, number[name], *found[pair][name]) for p, pair in enumerate(pairs) for name in sorted(found[pair])]
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    return Votes(
        pairs=pairs,
        annotators=names,
        prompts=prompts,
        pair=table[:, 0].astype(np.int64),
        annotator=table[:, 1].astype(np.int64),
        said=table[:, 2].astype(np.int64),
        shown=table[:, 3],
        longer=table[:, 4],
        prompt=np.array([prompt[pair[0]] for pair in pairs], dtype=np.int64),
        answers=np.array([answers[pair] for pair in pairs], dtype=np.int64),
    )
