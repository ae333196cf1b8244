"""Ensembles of reward models from few and noisy rankings, which a policy can exploit, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from assent.data.readers import read_comparisons
from benchmarks.evidence.small_reward import wrong as wrong_share
from benchmarks.rewards.shared import RUN, comparisons, groups, reward_model

RANKED, MEMBERS, NOISE, EPOCHS = 100, 4, 2.0, 4
KINDS: Mapping[str, Mapping[str, Any]] = {
    "seeds": {},
    "bootstrap": {"bootstrap": True},
    "heads": {"ensemble": "heads"},
}
"""How members come to differ: by head and order of the same rankings; besides by a bootstrap of them; as heads over
one trunk, each with its bootstrap.  A single model is one of the first."""


def rankings(seed: int) -> Path:
    """The folder of comparisons made of the rankings of a seed."""
    known = groups()
    asked = [known[i] for i in np.random.default_rng([seed, 11]).permutation(len(known))[:RANKED]]
    truth = "assent.data.movie_world:utility"
    return comparisons(asked, RUN / f"ensembles/reward-{seed}", seed, truth, held_out=0.0, noise=NOISE, tie_width=0.0)


def ensemble(kind: str, seed: int) -> Path:
    """The folder of an ensemble of a kind, from the rankings of a seed."""
    pairs, out = rankings(seed) / "train.jsonl", RUN / f"ensembles/reward-{seed}/{kind}"
    return reward_model(pairs, out, seed, members=MEMBERS, num_train_epochs=EPOCHS, **KINDS[kind])


@cache
def wrong(seed: int) -> float:
    """Share of the comparisons of a seed whose true order is the other one."""
    return wrong_share(read_comparisons(rankings(seed) / "train.jsonl"))
