"""Dawid and Skene 1979 (Appl. Statist. 28, 20-28): the labels of units and the errors of annotators, together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from assent.feedback.votes import Floats


@dataclass(frozen=True)
class LabelModel:
    """U units, A annotators, V classes."""

    prevalence: Floats
    """[V] share of each class among the units."""
    confusion: Floats
    """[A, V, V] probability that an annotator says the second of a unit of the first."""
    log_likelihood: float

    def posterior(self, counts: Floats) -> Floats:
        """[U, V] probability of each class of units labelled ``counts`` [U, A, V] times (eq. 2.5)."""
        return _posterior(counts, self.prevalence, self.confusion)[0]


def dawid_skene(counts: Floats, smoothing: float = 1.0) -> LabelModel:
    """Fit by expectation-maximisation from the shares of each unit's labels, as in the paper.

    ``counts`` [U, A, V]: how often each annotator gave each unit each label; 0 where they did not judge it.
    ``smoothing``: labels that every annotator is taken to have given in each class besides, spread by that class's
    shares over all annotators, so that few labels say little; 0 is the paper's maximum likelihood.
    """
    said = counts.sum(axis=1)
    truth = said / np.maximum(1e-300, said.sum(axis=1, keepdims=True))
    prevalence, confusion = _errors(counts, truth, smoothing)
    before = -np.inf
    for _ in range(1000):
        truth, value = _posterior(counts, prevalence, confusion)
        prevalence, confusion = _errors(counts, truth, smoothing)
        if value - before < 1e-9 * max(1.0, abs(value)):
            break
        before = value
    return LabelModel(prevalence, confusion, _posterior(counts, prevalence, confusion)[1])


def _errors(counts: Floats, truth: Floats, smoothing: float) -> tuple[Floats, Floats]:
    """Prevalence [V] and confusion [A, V, V], given the class probabilities [U, V] (eq. 2.3 and 2.4)."""
    pooled = truth.T @ counts.sum(axis=1)
    pooled = pooled / np.maximum(1e-300, pooled.sum(axis=1, keepdims=True))
    confusion = np.einsum("uj,ual->ajl", truth, counts) + smoothing * pooled
    total = confusion.sum(axis=2, keepdims=True)
    confusion = np.divide(confusion, total, out=np.zeros_like(confusion), where=total > 0)
    return truth.mean(axis=0), confusion


def _posterior(counts: Floats, prevalence: Floats, confusion: Floats) -> tuple[Floats, float]:
    """Class probabilities [U, V] (eq. 2.5) and the log-likelihood (eq. 2.7)."""
    logs = np.log(np.maximum(confusion, 1e-300))
    joint = np.log(np.maximum(prevalence, 1e-300)) + np.einsum("ual,ajl->uj", counts, logs)
    top = joint.max(axis=1, keepdims=True)
    weights = np.exp(joint - top)
    total = weights.sum(axis=1, keepdims=True)
    return weights / total, float((top + np.log(total)).sum())
