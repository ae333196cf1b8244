"""Texts that are nearly the same: Jaccard similarity of their word trigrams, found by MinHash (Broder 1997)."""

from __future__ import annotations

from collections.abc import Sequence

from datasketch import MinHash, MinHashLSH

_PERMUTATIONS = 128


def shingles(text: str) -> frozenset[str]:
    """The text's word trigrams, case and punctuation apart; of fewer than three words, all of them together."""
    words = ["".join(c for c in word if c.isalnum()) for word in text.casefold().split()]
    words = [word for word in words if word]
    return frozenset(" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2)))


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Share of what both have in what either has, 0 to 1."""
    return len(one & other) / len(one | other)


def first_of_each(texts: Sequence[str], threshold: float) -> list[int]:
    """Places of the texts that are no near duplicate of one kept before: of Jaccard similarity at least ``threshold``.

    Candidates come from MinHash, asked for less than the threshold so that it misses few; each is compared exactly.
    """
    index = MinHashLSH(threshold=0.7 * threshold, num_perm=_PERMUTATIONS)
    sets = [shingles(text) for text in texts]
    kept: list[int] = []
    for place, found in enumerate(sets):
        sketch = MinHash(num_perm=_PERMUTATIONS, seed=1)
        sketch.update_batch([part.encode() for part in sorted(found)])
        if not any(jaccard(found, sets[int(str(other))]) >= threshold for other in index.query(sketch)):
            index.insert(str(place), sketch)
            kept.append(place)
    return kept
