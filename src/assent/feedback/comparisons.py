"""Rankings to comparisons: every pair of a ranking, ties and failures used and none dropped."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from assent.types import Comparison, Ranking


def comparisons_from_rankings(rankings: Iterable[Ranking]) -> list[Comparison]:
    """All K-choose-2 pairs of each ranking, as one group named after it, each of weight 1 / C(K, 2).

    So each ranking weighs 1 in all, however many answers it has (Ouyang et al., 2022, equation 1).  A failed answer
    stands one step below the worst rank given.  Two answers of equal standing are a tie with margin 0; two failed
    answers are one too: the annotator said of both that they are unusable and put neither above the other.
    ``margin`` is the difference of (dense) ranks, 1 for neighbours; of a preference with a strength, its strength.  Of
    the best of K only the pairs that were judged are made, those with the best or a failed answer, and weigh 1 in all.
    """
    return [pair for ranking in rankings for pair in _pairs(ranking)]


def standings(ranking: Ranking) -> tuple[int, ...]:
    """Ranks [K] with failed answers one below the worst rank given: (1, None, 2) becomes (1, 3, 2)."""
    failed = 1 + max((rank for rank in ranking.ranks if rank is not None), default=0)
    return tuple(failed if rank is None else rank for rank in ranking.ranks)


def judged_pairs(ranking: Ranking) -> list[tuple[int, int]]:
    """Positions (i, j), i < j, of the answers that were compared: all pairs, but not the rest of a best of K."""
    places = standings(ranking)
    return [
        (i, j)
        for i, j in combinations(range(len(places)), 2)
        if ranking.kind != "best" or places[i] != places[j] or ranking.ranks[i] is None
    ]


def _pairs(ranking: Ranking) -> list[Comparison]:
    places, judged = standings(ranking), judged_pairs(ranking)
    pairs: list[Comparison] = []
    for i, j in judged:
        best, worst = (i, j) if places[i] <= places[j] else (j, i)
        pairs.append(
            Comparison(
                id=f"{ranking.id}.{i}.{j}",
                prompt=ranking.prompt,
                chosen=ranking.texts[best],
                rejected=ranking.texts[worst],
                tie=places[i] == places[j],
                margin=float(places[worst] - places[best]) if ranking.strength is None else ranking.strength,
                weight=1.0 / len(judged),
                criterion=ranking.criterion,
                annotator=ranking.annotator,
                ranking=ranking.id,
                group=ranking.id,
            )
        )
    return pairs
