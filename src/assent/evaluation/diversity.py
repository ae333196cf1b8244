"""How varied the samples of a policy are: distinct n-grams, length, exact duplicates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


def words(text: str) -> list[str]:
    """Lower-case words and single punctuation marks, in order."""
    return _WORD.findall(text.lower())


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Distinct n-grams over all n-grams of the texts together, in (0, 1]; ``nan`` when no text has ``n`` words.

    N-grams do not cross from one text to the next.  The figure falls as more text is looked at, so compare policies
    on equal numbers of samples only (:func:`diversity_of_each`).

    Source: Li et al., "A diversity-promoting objective function for neural conversation models", NAACL 2016.
    """
    if n < 1:
        raise ValueError(f"n-grams have n >= 1, got {n}")
    return _distinct([words(text) for text in texts], n)


@dataclass(frozen=True, slots=True)
class Diversity:
    """What :func:`diversity` measures.  A share or mean that no text can give is ``nan``."""

    distinct_1: float
    distinct_2: float
    distinct_3: float
    words: float
    """Mean length in words, punctuation marks counted."""
    duplicates: float
    """Share of texts that repeat an earlier one exactly, surrounding white space aside."""
    n: int
    """Texts looked at."""


def diversity(texts: Sequence[str]) -> Diversity:
    """Distinct-1 to -3, mean length in words and share of exact duplicates.  Raises ``ValueError`` for no text."""
    if not texts:
        raise ValueError("diversity needs at least one text")
    split = [words(text) for text in texts]
    return Diversity(
        distinct_1=_distinct(split, 1),
        distinct_2=_distinct(split, 2),
        distinct_3=_distinct(split, 3),
        words=sum(map(len, split)) / len(split),
        duplicates=1 - len({text.strip() for text in texts}) / len(texts),
        n=len(texts),
    )


def diversity_of_each(texts: Mapping[str, Sequence[str]], seed: int = 0) -> dict[str, Diversity]:
    """The diversity of each policy's texts on equally many samples: the smallest policy's count, drawn with ``seed``.

    When all policies give the same number, nothing is drawn and the result is that of :func:`diversity`.
    """
    if not texts:
        return {}
    count = min(len(each) for each in texts.values())
    out: dict[str, Diversity] = {}
    for name, each in texts.items():
        # A generator of its own: adding a policy must not change another one's draw.
        pick = np.random.Generator(np.random.Philox(seed)).choice(len(each), size=count, replace=False)
        out[name] = diversity([each[i] for i in sorted(int(i) for i in pick)])
    return out


def _distinct(split: Sequence[Sequence[str]], n: int) -> float:
    grams = [tuple(text[i : i + n]) for text in split for i in range(len(text) - n + 1)]
    return len(set(grams)) / len(grams) if grams else float("nan")
