"""Bradley-Terry with the competence of annotators: who is worth how much, and which of two answers is the better.

The model (Chen, Bennett, Collins-Thompson and Horvitz 2013, "Pairwise ranking aggregation in a crowdsourced setting",
WSDM, with ties).  The first answer of a pair is ahead of the second by a gap d in logits, d ~ N(0, spread^2) before
anything is said.  An annotator of reading share a reads the two answers with probability |a| (and, where a is negative,
says the opposite), and guesses otherwise:

    P(first | d) = |a| win(sign(a) d) + (1 - |a|) (1 - s) / 2        P(equal | d) = |a| tie(d) + (1 - |a|) s

with Rao and Kupper's ties (1967), win(d) = sigmoid(d - theta) and tie(d) = 1 - win(d) - win(-d), where theta is such
that the annotator calls a share s of the pairs equal, as they do.  Without ties P(first | d) = eta sigmoid(d) + (1 -
eta) sigmoid(-d) with eta = (1 + a) / 2, which is Chen's equation 2; as ``spread`` grows it becomes Dawid and Skene's
model with one number per annotator.  Departures: the gap is integrated out, since a pair has two or three votes and
Chen's point estimates of scores would be fitted to them; the spread is estimated; ties.

Pairs are taken as independent where the estimate is made (a composite likelihood, the C(K, 2) pairs of K answers
weighing K - 1: Varin, Reid and Firth 2011, Statistica Sinica 21, 5-42), and not in the intervals, which are Godambe's
(sandwich) over prompts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import coo_array, csr_array
from scipy.special import expit, ndtri

from assent.feedback.votes import Floats, Ints, Votes

NODES = 40
_PRIOR = (4.0, 1.0)
"""Right and wrong answers that everybody is taken to have given before: most people are right more often than not."""
_SPREAD = (3.0, 1.0)
"""Median and log-scale of the spread's lognormal prior."""
_START = 0.6
"""Reading share at the start, and that of an annotator of whom nothing is known."""
_LARGEST = 0.9995
_ROUNDS = 10
_BEND = 0.02
"""|a| is taken as sqrt(a^2 + bend^2), so that the likelihood has a derivative at 0."""


def nodes(spread: float) -> Floats:
    """[G] gaps that stand for N(0, spread^2), each as likely as another; an even number, symmetric, none 0."""
    return spread * ndtri((np.arange(NODES) + 0.5) / NODES)


@dataclass(frozen=True)
class Competence:
    """The model fitted to votes.  A annotators."""

    annotators: tuple[str, ...]
    reading: Floats
    """[A] a, -1 to 1: 1 reads every pair, 0 guesses, below 0 says the opposite of what is there."""
    tie_shares: Floats
    """[A] share of the pairs called equal."""
    thetas: Floats
    """[A] logits below which the annotator sees no difference."""
    spread: float
    """Standard deviation of gaps between answers, in logits."""
    covariance: Floats
    """[A + 1, A + 1] of (reading, log spread), by prompts."""
    pairs: tuple[int, ...]
    """[A] shared pairs that each judged."""
    prompts: int
    """How many prompts those pairs are of."""

    def competence(self, name: str) -> float:
        """The part of their votes that goes with the truth, -1 to 1; a middling one of an annotator not known."""
        reading = dict(zip(self.annotators, self.reading.tolist(), strict=True))
        return clearness(self.spread)[0] * reading.get(name, _START)

    @cached_property
    def outcomes(self) -> Floats:
        """[A, 3, G] probability of each vote (second, equal, first) at each node."""
        return _outcomes(self.reading, self.tie_shares, self.thetas, nodes(self.spread))

    def posterior(self, votes: Votes) -> Floats:
        """[P, G] probability of each node of the gap, given all votes on a pair.

        Annotators that the fit does not know are taken to be middling.
        """
        index = {name: i for i, name in enumerate(self.annotators)}
        known = np.array([index.get(name, -1) for name in votes.annotators], dtype=np.int64)
        share = float(self.tie_shares.mean()) if len(self.tie_shares) else 0.0
        grid = nodes(self.spread)
        theta = solve_thetas(np.array([share]), grid)
        stranger = _outcomes(np.array([_START]), np.array([share]), theta, grid)
        table = np.concatenate([self.outcomes, stranger])[known]
        logs = _log_likelihood(np.log(table), votes)
        weights = np.exp(logs - logs.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)


def fit_competence(votes: Votes) -> Competence:
    """Fit to the pairs that several annotators judged; annotators who share none are left out.

    The same whatever the order of the votes.  With two annotators alone only their agreement is known, and both get
    the same competence.
    """
    shared = votes.shared()
    judged = np.bincount(shared.annotator, minlength=len(votes.annotators))
    present = np.flatnonzero(judged)
    number = np.full(len(votes.annotators), -1)
    number[present] = np.arange(len(present))
    who = number[shared.annotator]
    ties = np.bincount(who[shared.said == 0], minlength=len(present))
    shares = (ties + 0.5 * _mean_share(shared)) / (judged[present] + 0.5) if len(present) else np.zeros(0)
    shares = np.clip(shares, 1e-6, 1.0 - 1e-6)
    a, spread, thetas, covariance = _fit(_Data.of(shared, who, shares))
    return Competence(
        annotators=tuple(votes.annotators[i] for i in present),
        reading=a,
        tie_shares=shares,
        thetas=thetas,
        spread=spread,
        covariance=covariance,
        pairs=tuple(int(n) for n in judged[present]),
        prompts=len(np.unique(shared.prompt)),
    )


def clearness(spread: float) -> tuple[float, float]:
    """Root mean square of 2 sigmoid(d) - 1 over gaps, and its derivative by log spread: 0 of equal answers, up to 1."""
    gaps = nodes(spread)
    seen = np.tanh(0.5 * gaps)
    root = float(np.sqrt((seen * seen).mean()))
    return root, float((seen * (1.0 - seen * seen) * 0.5 * gaps).mean()) / root


def solve_thetas(shares: Floats, gaps: Floats) -> Floats:
    """[A] theta of which the mean of tie(d) over the gaps [G] is the share of ties [A]; by bisection."""
    low, high = np.zeros_like(shares), np.full_like(shares, 60.0)
    for _ in range(50):
        middle = 0.5 * (low + high)
        ties = 1.0 - 2.0 * expit(gaps[None] - middle[:, None]).mean(axis=1)  # the gaps are symmetric
        low, high = np.where(ties < shares, middle, low), np.where(ties < shares, high, middle)
    return 0.5 * (low + high)


def _mean_share(votes: Votes) -> float:
    return float((votes.said == 0).mean()) if len(votes.said) else 0.0


def _outcomes(a: Floats, shares: Floats, thetas: Floats, gaps: Floats) -> Floats:
    """[A, 3, G]: second, equal, first."""
    read, against, guess = _modes(a, shares, thetas, gaps)
    size = np.sqrt(a * a + _BEND * _BEND).clip(max=1.0)[:, None, None]
    return 0.5 * (size + a[:, None, None]) * read + 0.5 * (size - a[:, None, None]) * against + (1.0 - size) * guess


def _modes(a: Floats, shares: Floats, thetas: Floats, gaps: Floats) -> tuple[Floats, Floats, Floats]:
    """What one who reads, one who reads and says the opposite, and one who guesses would say: [A, 3, G] each."""
    first = expit(gaps[None] - thetas[:, None])
    second = first[:, ::-1]
    read = np.stack([second, 1.0 - first - second, first], axis=1).clip(1e-12)
    guess = np.stack([0.5 * (1.0 - shares), shares, 0.5 * (1.0 - shares)], axis=1)[:, :, None]
    return read, read[:, ::-1], np.broadcast_to(guess, read.shape)


def _log_likelihood(logs: Floats, votes: Votes) -> Floats:
    """[P, G] log-probability of the votes on each pair, from the table [A, 3, G]."""
    rows = logs[votes.annotator, votes.said + 1]
    out = np.zeros((len(votes.pairs), logs.shape[-1]))
    starts = np.flatnonzero(np.diff(votes.pair, prepend=-1))
    if len(starts):
        out[votes.pair[starts]] = np.add.reduceat(rows, starts, axis=0)
    return out


@dataclass(frozen=True)
class _Data:
    """Shared votes, with pairs of the same votes put together as one of Q patterns: counting them once is enough."""

    votes: Votes
    """Of the patterns: ``pairs`` [Q] are examples of each, ``annotator`` is renumbered."""
    shares: Floats
    """[A] share of ties."""
    weight: Floats
    """[Q] of all pairs of the pattern together."""
    by_prompt: csr_array
    """[C, Q] the same by prompt."""

    @staticmethod
    def of(votes: Votes, who: Ints, shares: Floats) -> _Data:
        numbered = replace(votes, annotator=who)
        pattern, example = _patterns(numbered)
        weight = 2.0 / votes.answers.astype(np.float64)  # the C(K, 2) pairs of K answers weigh K - 1 together
        size = (len(votes.prompts), int(example.sum()))
        by_prompt = coo_array((weight, (votes.prompt, pattern)), shape=size).tocsr()
        return _Data(numbered.of_pairs(example), shares, by_prompt.sum(axis=0), by_prompt)


def _patterns(votes: Votes) -> tuple[Ints, NDArray[np.bool_]]:
    """The pattern of each pair [P], and which pairs [P] are the first of theirs."""
    known: dict[bytes, int] = {}
    code = votes.annotator * 3 + votes.said + 1
    ends = np.searchsorted(votes.pair, np.arange(len(votes.pairs) + 1))
    pattern = np.zeros(len(votes.pairs), dtype=np.int64)
    first = np.zeros(len(votes.pairs), dtype=bool)
    for pair in range(len(votes.pairs)):
        said = code[ends[pair] : ends[pair + 1]].tobytes()
        first[pair] = said not in known
        pattern[pair] = known.setdefault(said, len(known))
    return pattern, first


def _fit(data: _Data) -> tuple[Floats, float, Floats, Floats]:
    """Reading [A], spread, thetas [A] and the covariance [A + 1, A + 1] of (reading, log spread)."""
    count = len(data.shares)
    x = np.append(np.full(count, _START), np.log(_SPREAD[0]))
    thetas = solve_thetas(data.shares, nodes(_SPREAD[0]))
    if not count:
        return x[:0], _SPREAD[0], thetas, np.zeros((1, 1))
    limits = [(-_LARGEST, _LARGEST)] * count + [(np.log(0.1), np.log(30.0))]
    scale = float(data.weight.sum())
    for _ in range(_ROUNDS):

        def loss(x: Floats, thetas: Floats = thetas) -> tuple[float, Floats]:
            value, scores = _scores(x, thetas, data)
            prior, slope, _ = _log_prior(x)
            return -(float(data.weight @ value) + prior) / scale, -(data.weight @ scores + slope) / scale

        before, x = x, minimize(loss, x, jac=True, method="L-BFGS-B", bounds=limits).x
        turned = np.append(-x[:-1], x[-1])  # of equal likelihood: everybody says the opposite
        x = turned if _log_prior(turned)[0] > _log_prior(x)[0] else x
        thetas = solve_thetas(data.shares, nodes(float(np.exp(x[-1]))))
        if float(np.abs(x - before).max()) < 1e-4:
            break
    scores = _scores(x, thetas, data)[1]
    prior = _log_prior(x)[2]
    bread = np.linalg.inv((scores * data.weight[:, None]).T @ scores + prior)
    of_prompts = data.by_prompt @ scores
    of_prompts = of_prompts[np.diff(data.by_prompt.indptr) > 0]
    prompts = len(of_prompts)
    # The prior counts as observations, with their chance: so the interval is honest where there are few votes.
    meat = of_prompts.T @ of_prompts * (prompts / max(1, prompts - 1)) + prior
    covariance = bread @ meat @ bread
    return x[:-1], float(np.exp(x[-1])), thetas, covariance


def _log_prior(x: Floats) -> tuple[float, Floats, Floats]:
    """Log-density of (reading, log spread) [A + 1], its derivatives, and minus the expected second ones."""
    (up, down), (strength, slope) = _PRIOR, clearness(float(np.exp(x[-1])))
    eta = 0.5 * (1.0 + strength * x[:-1])
    away = (x[-1] - np.log(_SPREAD[0])) / _SPREAD[1]
    value = float((up * np.log(eta) + down * np.log(1.0 - eta)).sum() - 0.5 * away * away)
    by_eta = up / eta - down / (1.0 - eta)
    moved = np.concatenate([np.diag(np.full(len(eta), 0.5 * strength)), 0.5 * slope * x[None, :-1]])  # [A + 1, A]
    curved = (moved * (up / eta**2 + down / (1.0 - eta) ** 2)) @ moved.T
    curved[-1, -1] += 1.0 / _SPREAD[1] ** 2
    gradient = moved @ by_eta
    gradient[-1] -= away / _SPREAD[1]
    return value, gradient, curved


def _scores(x: Floats, thetas: Floats, data: _Data) -> tuple[Floats, Floats]:
    """Log-likelihood of each pattern [Q] and its derivatives [Q, A + 1] by (competence, log spread)."""
    a, gaps, votes = x[:-1], nodes(float(np.exp(x[-1]))), data.votes
    read, against, guess = _modes(a, data.shares, thetas, gaps)
    size = np.sqrt(a * a + _BEND * _BEND)[:, None, None]
    sign = a[:, None, None]
    chance = 0.5 * (size + sign) * read + 0.5 * (size - sign) * against + (1.0 - size) * guess
    by_a = 0.5 * (sign / size + 1.0) * read + 0.5 * (sign / size - 1.0) * against - sign / size * guess
    first = expit(gaps[None] - thetas[:, None])
    rise = first * (1.0 - first)  # of the first answer's win by d; the second's falls by the mirror image
    moved = np.stack([-rise[:, ::-1], rise[:, ::-1] - rise, rise], axis=1) * gaps
    by_spread = 0.5 * (size + sign) * moved + 0.5 * (size - sign) * moved[:, ::-1]
    logs = _log_likelihood(np.log(chance), votes)
    top = logs.max(axis=1, keepdims=True)
    weights = np.exp(logs - top)
    total = weights.sum(axis=1, keepdims=True)
    held = (weights / total)[votes.pair]
    at = (votes.annotator, votes.said + 1)
    slopes = np.zeros((len(votes.pairs), len(x)))
    np.add.at(slopes, (votes.pair, votes.annotator), (held * (by_a / chance)[at]).sum(axis=1))
    slopes[:, -1] = np.bincount(votes.pair, (held * (by_spread / chance)[at]).sum(axis=1), minlength=len(votes.pairs))
    return (top + np.log(total / len(gaps)))[:, 0], slopes
