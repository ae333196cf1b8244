"""Ratings of many policies from comparisons between pairs of them, on the scale of Elo."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from assent.evaluation.logistic import fit_logistic

ELO = 400 / math.log(10)
"""Points of Elo in a logit: 400 points are odds of ten to one."""


@dataclass(frozen=True, slots=True)
class Game:
    """One comparison of two policies on one prompt; ``outcome`` 1 when ``first`` won, 0.5 for a tie, 0."""

    first: str
    second: str
    outcome: float
    prompt: Hashable


@dataclass(frozen=True, slots=True)
class Rating:
    """A policy's strength in points of Elo above the anchor, with its interval; the anchor's own is zero wide."""

    policy: str
    elo: float
    low: float
    high: float
    games: int


def bradley_terry(games: Sequence[Game], anchor: str, confidence: float = 0.95) -> tuple[Rating, ...]:
    """Strengths by the Bradley-Terry model, ``P(i beats j) = sigmoid(s_i - s_j)``, the strongest first.

    A tie is half a win to each side.  The strength of ``anchor`` is set to 0, and the interval of each other one is
    of its difference from it, clustered by prompt (the same prompt is shown to every pair).

    Raises ``ValueError`` for an anchor that did not play, and where the maximum is not finite: some group of policies
    never lost against the others, or never met them (Ford, 1957).

    Source: Bradley & Terry, "Rank analysis of incomplete block designs", Biometrika 39 (1952); for ratings of language
    models with such errors, Chiang et al., "Chatbot Arena", arXiv:2403.04132 (2024).
    """
    names = sorted({name for game in games for name in (game.first, game.second)})
    if anchor not in names:
        raise ValueError(f"'{anchor}' took part in no comparison")
    if any(game.first == game.second for game in games):
        raise ValueError("a policy is compared with others, not with itself")
    _refuse_unbounded(games, names)
    column = {name: place for place, name in enumerate(name for name in names if name != anchor)}
    features = np.zeros((len(games), len(column)))
    for row, game in enumerate(games):
        for name, sign in ((game.first, 1.0), (game.second, -1.0)):
            if name != anchor:
                features[row, column[name]] = sign
    outcomes = np.array([game.outcome for game in games])
    fit = fit_logistic(features, outcomes, [game.prompt for game in games], confidence)
    played = {name: sum(name in (game.first, game.second) for game in games) for name in names}
    ratings = [Rating(anchor, 0.0, 0.0, 0.0, played[anchor])]
    for name, place in column.items():
        value, low, high = (ELO * number for number in fit.interval(place))
        ratings.append(Rating(name, value, low, high, played[name]))
    return tuple(sorted(ratings, key=lambda rating: -rating.elo))


def _refuse_unbounded(games: Sequence[Game], names: Sequence[str]) -> None:
    """Each must be reachable from each by a chain of wins, or some strength is infinite."""
    place = {name: i for i, name in enumerate(names)}
    won = [(game.first, game.second) for game in games if game.outcome > 0]
    won += [(game.second, game.first) for game in games if game.outcome < 1]
    rows, columns = ([place[name] for name in side] for side in zip(*won, strict=True))
    graph = coo_array((np.ones(len(won)), (rows, columns)), shape=(len(names), len(names)))
    count, _ = connected_components(graph, directed=True, connection="strong")
    if count > 1:
        raise ValueError("some policies never lost to the others, or never met them: their strength has no bound")
