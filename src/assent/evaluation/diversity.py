"""How varied the samples of a policy are: distinct n-grams, self-BLEU, length, exact duplicates."""

from __future__ import annotations

import math
import re
from collections import Counter
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


def self_bleu(texts: Sequence[str], most: int = 100, seed: int = 0) -> float:
    """Mean BLEU-4 of each text against all others, in [0, 1]: 1 where all say the same; ``nan`` for fewer than two.

    Of at most ``most`` texts, drawn with ``seed``: the figure rises with their number, so compare on equal ones.

    Source: Zhu et al., "Texygen", SIGIR 2018; smoothed by adding one to the counts of 2- to 4-grams (Lin & Och 2004),
    without brevity penalty.
    """
    if len(texts) < 2:
        return float("nan")
    pick = np.random.Generator(np.random.Philox(seed)).permutation(len(texts))[:most]
    grams = [_grams_by_length(words(texts[int(i)])) for i in sorted(pick)]
    best, second, owner = _largest_counts(grams)
    scores = []
    for place, mine in enumerate(grams):
        logs = 0.0
        for n, counts in enumerate(mine, start=1):
            others = {g: second.get(g, 0) if owner[g] == place else best[g] for g in counts}
            hit, total = sum(min(c, others[g]) for g, c in counts.items()), sum(counts.values())
            smooth = 0 if n == 1 else 1
            logs += math.log(max(hit + smooth, 1e-9) / max(total + smooth, 1e-9)) / 4
        scores.append(math.exp(min(0.0, logs)))
    return sum(scores) / len(scores)


def _grams_by_length(split: Sequence[str]) -> list[Counter[tuple[str, ...]]]:
    return [Counter(tuple(split[i : i + n]) for i in range(len(split) - n + 1)) for n in range(1, 5)]


def _largest_counts(
    grams: Sequence[Sequence[Counter[tuple[str, ...]]]],
) -> tuple[dict[tuple[str, ...], int], dict[tuple[str, ...], int], dict[tuple[str, ...], int]]:
    """Of each n-gram: its largest count in a text, its second largest, and the text that holds the largest."""
    best: dict[tuple[str, ...], int] = {}
    second: dict[tuple[str, ...], int] = {}
    owner: dict[tuple[str, ...], int] = {}
    for place, text in enumerate(grams):
        for counts in text:
            for gram, count in counts.items():
                if count > best.get(gram, 0):
                    second[gram], best[gram], owner[gram] = best.get(gram, 0), count, place
                elif count > second.get(gram, 0):
                    second[gram] = count
    return best, second, owner


def _distinct(split: Sequence[Sequence[str]], n: int) -> float:
    grams = [tuple(text[i : i + n]) for text in split for i in range(len(text) - n + 1)]
    return len(set(grams)) / len(grams) if grams else float("nan")
