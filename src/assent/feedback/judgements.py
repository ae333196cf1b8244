"""Labels and ratings of single answers: several annotators' to one, and a person's ratings to their ranking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from assent.feedback.answers import FAILED
from assent.feedback.dawid_skene import LabelModel, dawid_skene
from assent.feedback.votes import Floats
from assent.types import Judgement, Ranking, short_id

LabelAdjudication = Literal["all", "majority", "model"]

_Unit = tuple[str, str]
"""Prompt id and completion id, or the response where there is none."""


@dataclass(frozen=True)
class LabelFit:
    """The model of the labels of one criterion."""

    annotators: tuple[str, ...]
    values: tuple[float, ...]
    """[V] the labels there are, from the smallest."""
    model: LabelModel

    def right(self) -> dict[str, float]:
        """By annotator, the probability of giving the label that an answer should have."""
        kept = np.einsum("ajj,j->a", self.model.confusion, self.model.prevalence)
        return dict(zip(self.annotators, kept.tolist(), strict=True))


def fit_labels(judgements: Iterable[Judgement]) -> dict[str, LabelFit]:
    """Dawid and Skene's model, by criterion."""
    return {criterion: _fit(some) for criterion, some in sorted(_by_criterion(judgements).items())}


def adjudicate_labels(
    judgements: Iterable[Judgement], how: LabelAdjudication, fits: Mapping[str, LabelFit] | None = None
) -> list[Judgement]:
    """One label an answer and criterion, or all of them.

    ``majority``: the label that most gave; the mean of those that as many gave.  ``model``: the mean of the labels by
    their probability given who said what, which of labels 0 and 1 is the probability of 1 (:func:`dawid_skene`; each
    criterion has a model of its own, of these judgements unless ``fits`` are given).  What the fit does
    not know, an annotator or a label, it does not hear; an answer of which it hears nothing gets the majority's.
    """
    given = list(judgements)
    if how == "all":
        return given
    known = fit_labels(given) if fits is None and how == "model" else fits or {}
    made: list[Judgement] = []
    for criterion, some in _by_criterion(given).items():
        units = _units(some)
        fit = known.get(criterion)
        labels = _expected(units, fit) if how == "model" and fit is not None else [_most(u) for u in units.values()]
        made += [
            _merged(criterion, list(said.values()), label) for said, label in zip(units.values(), labels, strict=True)
        ]
    return made


def rankings_from_judgements(judgements: Iterable[Judgement]) -> list[Ranking]:
    """The order that one annotator's labels of a prompt's answers make, by criterion: higher is better, equal ties.

    An answer that they judged to have failed is ``None`` in each of their rankings of that prompt.  A person who judged
    a single answer to a prompt makes none.
    """
    groups: dict[tuple[str, str, str], dict[str, Judgement]] = {}
    failed: dict[tuple[str, str], dict[str, Judgement]] = {}
    for item in judgements:
        if item.criterion == FAILED:
            failed.setdefault((item.prompt.id, item.annotator), {})[_answer(item)] = item
        else:
            groups.setdefault((item.prompt.id, item.annotator, item.criterion), {})[_answer(item)] = item
    for prompt, annotator in failed:  # where all failed, there is no criterion that says so
        if not any(key[:2] == (prompt, annotator) for key in groups):
            groups[prompt, annotator, "overall"] = {}
    return [
        ranking
        for (prompt, annotator, criterion), good in groups.items()
        if (ranking := _ranking(annotator, criterion, good, failed.get((prompt, annotator), {})))
    ]


def _ranking(
    annotator: str, criterion: str, good: Mapping[str, Judgement], failed: Mapping[str, Judgement]
) -> Ranking | None:
    answers = {**good, **failed}
    if len(answers) < 2:
        return None
    order = sorted({item.label for item in good.values()}, reverse=True)
    some = next(iter(answers.values()))
    return Ranking(
        id=short_id("ranking", some.prompt.id, annotator, criterion, list(answers)),
        prompt=some.prompt,
        completion_ids=tuple(answers),
        texts=tuple(item.response for item in answers.values()),
        ranks=tuple(None if a in failed else 1 + order.index(item.label) for a, item in answers.items()),
        annotator=annotator,
        criterion=criterion,
        created=max(item.created for item in answers.values()),
    )


def _answer(item: Judgement) -> str:
    return item.completion_id or short_id(item.prompt.id, item.response)


def _by_criterion(judgements: Iterable[Judgement]) -> dict[str, list[Judgement]]:
    found: dict[str, list[Judgement]] = {}
    for item in sorted(judgements, key=lambda item: item.created):
        found.setdefault(item.criterion, []).append(item)
    return found


def _units(judgements: Sequence[Judgement]) -> dict[_Unit, dict[str, Judgement]]:
    """From answer to annotator to the judgement that counts: their latest."""
    found: dict[_Unit, dict[str, Judgement]] = {}
    for item in judgements:
        found.setdefault((item.prompt.id, _answer(item)), {})[item.annotator] = item
    return {unit: dict(sorted(found[unit].items())) for unit in sorted(found)}


def _fit(judgements: Sequence[Judgement]) -> LabelFit:
    units = _units(judgements)
    names = tuple(sorted({name for said in units.values() for name in said}))
    values = tuple(sorted({item.label for said in units.values() for item in said.values()}))
    return LabelFit(names, values, dawid_skene(_counts(units, names, values)))


def _counts(units: Mapping[_Unit, Mapping[str, Judgement]], names: Sequence[str], values: Sequence[float]) -> Floats:
    """[U, A, V]; what the names and values do not hold is left out."""
    who, what = {name: i for i, name in enumerate(names)}, {value: i for i, value in enumerate(values)}
    counts = np.zeros((len(units), len(names), len(values)))
    for u, said in enumerate(units.values()):
        for name, item in said.items():
            if name in who and item.label in what:
                counts[u, who[name], what[item.label]] += 1.0
    return counts


def _expected(units: Mapping[_Unit, Mapping[str, Judgement]], fit: LabelFit) -> list[float]:
    held = fit.model.posterior(_counts(units, fit.annotators, fit.values)) @ np.array(fit.values)
    told = [
        any(name in fit.annotators and item.label in fit.values for name, item in said.items())
        for said in units.values()
    ]
    return [float(e) if known else _most(said) for e, known, said in zip(held, told, units.values(), strict=True)]


def _most(said: Mapping[str, Judgement]) -> float:
    values, counts = np.unique([item.label for item in said.values()], return_counts=True)
    return float(values[counts == counts.max()].mean())


def _merged(criterion: str, said: Sequence[Judgement], label: float) -> Judgement:
    return Judgement(
        id=short_id("adjudicated", said[0].prompt.id, _answer(said[0]), criterion),
        prompt=said[0].prompt,
        response=said[0].response,
        label=label,
        criterion=criterion,
        created=max(item.created for item in said),
        completion_id=said[0].completion_id,
        sources=tuple(sorted(item.id for item in said)),
    )
