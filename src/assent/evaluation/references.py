"""Answers against reference answers: BLEU, chrF, ROUGE, exact match and F1 of words."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from assent.errors import DataError, RecipeError
from assent.types import Prompt


@dataclass(frozen=True, slots=True)
class ReferenceScores:
    """What :func:`reference_scores` measures.  BLEU and chrF are of the corpus, on a scale to 100; the rest are means
    over answers, in [0, 1]."""

    bleu: float
    chrf: float
    rouge_1: float
    rouge_2: float
    rouge_l: float
    exact_match: float
    f1: float
    n: int


def reference_scores(texts: Sequence[str], references: Sequence[Sequence[str]]) -> ReferenceScores:
    """``references[i]`` are the acceptable answers to what ``texts[i]`` answers; each metric takes the best of them.

    BLEU and chrF by sacrebleu (13a tokens; Post 2018), ROUGE by rouge-score with stemming (F measure; Lin 2004), exact
    match and F1 as in SQuAD (Rajpurkar et al. 2016): without case, punctuation and English articles.

    Raises :class:`RecipeError` where the packages of the extra ``metrics`` are not installed, ``ValueError`` for no
    text or a text without a reference.
    """
    if not texts or len(texts) != len(references) or not all(references):
        raise ValueError("every text needs a reference, and there must be a text")
    sacrebleu, rouge = _package("sacrebleu"), _package("rouge_score.rouge_scorer")
    most = max(map(len, references))
    # sacrebleu wants one stream a place among the references; a shorter list repeats its first.
    streams = [[some[k] if k < len(some) else some[0] for some in references] for k in range(most)]
    names = ("rouge1", "rouge2", "rougeL")
    scorer = rouge.RougeScorer(names, use_stemmer=True)
    found = [scorer.score_multi(some, text) for text, some in zip(texts, references, strict=True)]
    means = [sum(each[name].fmeasure for each in found) / len(found) for name in names]
    return ReferenceScores(
        bleu=float(sacrebleu.corpus_bleu(texts, streams).score),
        chrf=float(sacrebleu.corpus_chrf(texts, streams).score),
        rouge_1=means[0],
        rouge_2=means[1],
        rouge_l=means[2],
        exact_match=_best_mean(_exact, texts, references),
        f1=_best_mean(_f1, texts, references),
        n=len(texts),
    )


def chrf(prompt: Prompt, text: str) -> float:
    """chrF of an answer against the reference in the prompt's metadata, up to 100: a judge of single answers."""
    return float(_package("sacrebleu").sentence_chrf(text.strip(), [_reference(prompt)]).score)


def rouge_l(prompt: Prompt, text: str) -> float:
    """ROUGE-L of an answer against the reference in the prompt's metadata, in [0, 1]: a judge of single answers."""
    scorer = _package("rouge_score.rouge_scorer").RougeScorer(("rougeL",), use_stemmer=True)
    return float(scorer.score(_reference(prompt), text)["rougeL"].fmeasure)


def _reference(prompt: Prompt) -> str:
    found = prompt.metadata.get("reference")
    if not isinstance(found, str):
        raise DataError(
            f"prompt '{prompt.id}' has no column 'reference' with a text that its answer is measured against"
        )
    return found


def _best_mean(metric: Any, texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    best = [max(metric(text, each) for each in some) for text, some in zip(texts, references, strict=True)]
    return sum(best) / len(best)


def _exact(text: str, reference: str) -> float:
    return float(_normal(text) == _normal(reference))


def _f1(text: str, reference: str) -> float:
    """Harmonic mean of precision and recall over words, each counted as often as it occurs."""
    ours, theirs = _normal(text).split(), _normal(reference).split()
    if not ours or not theirs:
        return float(ours == theirs)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * shared / (len(ours) + len(theirs))


def _normal(text: str) -> str:
    bare = "".join(" " if sign in string.punctuation else sign for sign in text.lower())
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise RecipeError(
            f"metrics against references need {name.partition('.')[0]}, which is not installed; "
            "pip install 'assent[metrics]'"
        ) from None
