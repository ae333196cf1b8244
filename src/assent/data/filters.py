"""What is left out of scored completions, and of the pairs they make; each filter says how much it removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from assent.data.near_duplicates import first_of_each, jaccard, shingles
from assent.data.scored import Pair, Scored, by_prompt, has_score, score_of

Measure = Callable[[Scored], int]
"""Length of a row's prompt, or of its completion."""


@dataclass(frozen=True)
class Removed:
    """What one filter did."""

    filter: str
    before: int
    removed: int
    of: str = "completions"


@dataclass
class Filtering:
    """Rows on their way through filters."""

    rows: list[Scored]
    report: list[Removed] = field(default_factory=list[Removed])

    def apply(self, name: str, keep: Callable[[list[Scored]], list[Scored]]) -> None:
        """Run one filter over all rows."""
        left = keep(self.rows)
        self.report.append(Removed(name, len(self.rows), len(self.rows) - len(left)))
        self.rows = left

    def apply_to_groups(self, name: str, keep: Callable[[list[Scored]], list[Scored]]) -> None:
        """Run one filter over the completions of each prompt."""
        self.apply(name, lambda rows: [row for group in by_prompt(rows) for row in keep(group)])


def no_longer(measure: Measure, most: int) -> Callable[[list[Scored]], list[Scored]]:
    """Rows of at most this length."""
    return lambda rows: [row for row in rows if measure(row) <= most]


def no_shorter(measure: Measure, least: int) -> Callable[[list[Scored]], list[Scored]]:
    """Rows of at least this length."""
    return lambda rows: [row for row in rows if measure(row) >= least]


def finished(rows: list[Scored]) -> list[Scored]:
    """Completions that ended by themselves."""
    return [row for row in rows if row[1].finish_reason == "stop"]


def not_empty(rows: list[Scored]) -> list[Scored]:
    """Completions that say something."""
    return [row for row in rows if row[1].text.strip()]


def scored(rows: list[Scored]) -> list[Scored]:
    """Completions that have a finite score."""
    return [row for row in rows if has_score(row[1])]


def exact_once(group: list[Scored]) -> list[Scored]:
    """Of one prompt's completions with the same text, but for white space at their ends, the first."""
    return list({row[1].text.strip(): row for row in reversed(group)}.values())[::-1]


def near_once(threshold: float) -> Callable[[list[Scored]], list[Scored]]:
    """Of one prompt's completions that are nearly the same, the first."""

    def keep(group: list[Scored]) -> list[Scored]:
        kept: list[tuple[frozenset[str], Scored]] = []
        for row in group:
            found = shingles(row[1].text)
            if all(jaccard(found, other) < threshold for other, _ in kept):
                kept.append((found, row))
        return [row for _, row in kept]

    return keep


def near_prompts_once(threshold: float) -> Callable[[list[Scored]], list[Scored]]:
    """Of prompts that are nearly the same, the completions of the first."""

    def keep(rows: list[Scored]) -> list[Scored]:
        groups = by_prompt(rows)
        places = first_of_each([group[0][0].shown() for group in groups], threshold)
        return [row for place in places for row in groups[place]]

    return keep


def extremes(best: int, worst: int) -> Callable[[list[Scored]], list[Scored]]:
    """Of one prompt's completions so many of the best and of the worst by score, in their order in the file."""

    def keep(group: list[Scored]) -> list[Scored]:
        ordered = sorted(range(len(group)), key=lambda place: (-score_of(group[place][1]), place))
        chosen = {*ordered[:best], *ordered[max(0, len(ordered) - worst) :]}
        return [row for place, row in enumerate(group) if place in chosen]

    return keep


def first(most: int) -> Callable[[list[Scored]], list[Scored]]:
    """The first so many of one prompt's completions."""
    return lambda group: group[:most]


# --- pairs -----------------------------------------------------------------------------------------------------------


def length_balanced(pairs: Sequence[Pair], length: Callable[[str], int]) -> list[Pair]:
    """As many pairs whose chosen answer is the longer as pairs whose rejected one is, so that length does not tell
    them apart; those that differ most in length go first, pairs of equal length stay."""

    def difference(pair: Pair) -> int:
        return length(pair.chosen.text) - length(pair.rejected.text)

    sides = [[i for i, pair in enumerate(pairs) if sign * difference(pair) > 0] for sign in (1, -1)]
    most, least = sorted(sides, key=len, reverse=True)
    spare = sorted(most, key=lambda i: (-abs(difference(pairs[i])), i))[: len(most) - len(least)]
    return [pair for i, pair in enumerate(pairs) if i not in set(spare)]


def widest(pairs: Sequence[Pair], most: int) -> list[Pair]:
    """Of each prompt the so many pairs whose scores differ most."""
    ranked = sorted(range(len(pairs)), key=lambda i: (-pairs[i].gap, i))
    taken: dict[str, int] = {}
    kept: set[int] = set()
    for i in ranked:
        name = pairs[i].prompt.id
        if taken.get(name, 0) < most:
            taken[name] = taken.get(name, 0) + 1
            kept.add(i)
    return [pair for i, pair in enumerate(pairs) if i in kept]
