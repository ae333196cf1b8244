"""How near an answer comes to the one expected of a gold question."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from assent.feedback.responses import Best, Labels, Preference, Ranks, Ratings, Response


def gold_score(expected: Response, given: Response) -> float | None:
    """0 (all wrong) to 1 (as expected), both in the store's order; ``None`` where there is nothing to compare.

    Rankings: the share of pairs that the expected answer decides (failed below all others) and the given one decides
    alike; a tie counts half.  Preferences the same, of their one pair, whatever the strength; an expected tie wants a
    tie.  Best of K: the same answer.  Ratings and labels: the mean over answers, a rating one step off counting half.
    """
    match expected, given:
        case Ranks(wanted), Ranks(said):
            return _pairs(_places(wanted), _places(said))
        case Preference(wanted), Preference(said):
            return 1.0 if _sign(wanted) == _sign(said) else 0.5 if said == 0 else 0.0
        case Best(wanted), Best(said):
            return float(wanted == said)
        case Labels(wanted), Labels(said):
            return _mean([float(a == b) for a, b in zip(wanted, said, strict=True)])
        case Ratings(wanted), Ratings(said):
            shares = [
                max(0.0, 1.0 - abs(value - there[name]) / 2) if there else 0.0
                for here, there in zip(wanted, said, strict=True)
                for name, value in (here or {}).items()
            ]
            failed = [float(there is None) for here, there in zip(wanted, said, strict=True) if here is None]
            return _mean(shares + failed)
        case _:
            return None


def _places(ranks: Sequence[int | None]) -> list[float]:
    return [float("inf") if rank is None else float(rank) for rank in ranks]


def _pairs(wanted: Sequence[float], said: Sequence[float]) -> float | None:
    decided = [(i, j) for i, j in combinations(range(len(wanted)), 2) if wanted[i] != wanted[j]]
    return _mean(
        [0.5 if said[i] == said[j] else float((said[i] < said[j]) == (wanted[i] < wanted[j])) for i, j in decided]
    )


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
