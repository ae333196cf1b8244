"""Signs that a policy's text has gone wrong: refusals, loops, gibberish, answers without an end."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from assent.evaluation.diversity import words

_VERBS = "help|assist|provide|comply|answer|do|fulfil|create|write|engage|feel comfortable"
_NOT = "can(?:no|')?t|could ?n[o']t|won't|will not|must decline|refuse|do not|don't"
_REFUSALS = re.compile(
    rf"^\W*(?:i(?:'m| am) (?:sorry|afraid|unable|not able)|sorry,? (?:but )?i|i (?:{_NOT}) (?:to )?(?:{_VERBS})"
    r"|as an? (?:ai|artificial intelligence|language model)|i apologi[sz]e,? but|unfortunately,? i (?:can|am))",
    re.IGNORECASE,
)
LOOPED = 0.5
"""Share of a text's 3-grams that repeat an earlier one, above which it goes round in circles."""
SHORTEST = 8
"""Words below which a text cannot be said to loop."""


@dataclass(frozen=True, slots=True)
class TextHealth:
    """Shares of the texts, in [0, 1], but for ``repetition`` and ``entropy``."""

    refusal_rate: float
    """Texts that begin by refusing, by patterns of English."""
    repetition: float
    """Mean share of a text's 3-grams that repeat an earlier one of the same text."""
    looped_share: float
    """Texts that go round in circles: more than half of their 3-grams repeat."""
    degenerate_share: float
    """Texts that are empty, loop, or are mostly signs instead of letters."""
    entropy: float
    """Of the distribution of words over all texts, in bits; it falls when everything is said in the same words."""
    n: int


def text_health(texts: Sequence[str]) -> TextHealth:
    """Raises ``ValueError`` for no text.

    Source: Welleck et al., "Neural text generation with unlikelihood training", ICLR 2020, for seq-rep-n, the share of
    repeated n-grams.
    """
    if not texts:
        raise ValueError("the health of texts needs at least one text")
    split = [words(text) for text in texts]
    repeated = [_repetition(each) for each in split]
    looped = [len(each) >= SHORTEST and share > LOOPED for each, share in zip(split, repeated, strict=True)]
    degenerate = [loop or _is_noise(text) for text, loop in zip(texts, looped, strict=True)]
    count = len(texts)
    return TextHealth(
        refusal_rate=sum(map(is_refusal, texts)) / count,
        repetition=sum(repeated) / count,
        looped_share=sum(looped) / count,
        degenerate_share=sum(degenerate) / count,
        entropy=_entropy(split),
        n=count,
    )


def is_refusal(text: str) -> bool:
    """Whether a text begins by refusing to answer."""
    return _REFUSALS.search(text.strip()) is not None


def _repetition(split: Sequence[str]) -> float:
    grams = [tuple(split[i : i + 3]) for i in range(len(split) - 2)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _is_noise(text: str) -> bool:
    """Nothing, or fewer letters and digits than other signs."""
    shown = [sign for sign in text if not sign.isspace()]
    return 2 * sum(sign.isalnum() for sign in shown) < len(shown) or not shown


def _entropy(split: Sequence[Sequence[str]]) -> float:
    counts = Counter(word for text in split for word in text)
    total = sum(counts.values())
    return sum(-n / total * math.log2(n / total) for n in counts.values())
