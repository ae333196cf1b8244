"""How far biased policy gradients are from the gradient they stand for, summed over every batch: no sampling error.

    python -m benchmarks.bias

prints, for each page of docs/algorithms, the rows of its table "Bias".  The world is like that of the exactness tests:
six sequences of one to five tokens, a random policy, critic and reference, random rewards.  ``factor`` is the multiple
of the true gradient that comes nearest, ``distance`` the norm of the difference over the norm of the truth, ``cosine``
that of the angle between them.  Means over tokens are multiplied by the mean length first, and GRPO's sum over a
constant length by that, so that an estimator that is right has factor 1 and distance 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from assent.algorithms import load_algorithm
from tests.exact.world import Tables, World, expected_gradient, gradients, step

WORLD = World(vocabulary=2, horizon=5)
BETA = 0.3
HEADER = ("| what | batch | factor | distance | cosine |", "|---|---|---|---|---|")


@dataclass(frozen=True)
class Case:
    """One estimator; ``draws`` completions of one prompt are its batch, 0 a batch without end."""

    page: str
    what: str
    draws: int
    settings: dict[str, Any] = field(default_factory=dict)
    beta: float = BETA
    """Of the objective J = E[r] - beta KL that it is held against; a KL setting of its own is in ``settings``."""
    later: bool = False
    """Whether the policy has moved since it sampled."""
    rewarded: bool = True
    """False leaves the KL alone."""
    unit: float | None = 1.0
    """What the gradient is multiplied by; ``None`` = the mean length."""

    @property
    def name(self) -> str:
        return self.page.replace("_", "-")


KL = {"kl_coefficient": BETA}
PPO = {**KL, "lam": 1.0, "whiten_advantages": False}
NO_KL = {"kl_coefficient": 0.0}
DR_GRPO = {**NO_KL, "advantage_scale": "none", "aggregation": "constant"}

CASES = [
    Case("ppo", "`lam` 1, `whiten_advantages` false", 0, PPO, unit=None),
    Case("ppo", "the same: a mean over the batch's tokens divides by a random number", 4, PPO, unit=None),
    Case("ppo", "`lam` 0.95 with an untrained critic", 0, {**PPO, "lam": 0.95}, unit=None),
    Case("ppo", "`lam` 0 with an untrained critic", 0, {**PPO, "lam": 0.0}, unit=None),
    Case("ppo", "`gamma` 0.95", 0, {**PPO, "gamma": 0.95}, unit=None),
    Case("ppo", "`whiten_advantages` true", 4, {**PPO, "whiten_advantages": True}, unit=None),
    Case("ppo", "`whiten_rewards` true", 4, {**PPO, "whiten_rewards": True}, unit=None),
    Case("ppo", "later updates, clipped", 0, {**PPO, **NO_KL}, 0.0, later=True, unit=None),
    Case("reinforce", "`baseline` none or running", 4, {**KL, "baseline": "none"}),
    Case("reinforce", "`baseline` batch", 2, {**KL, "baseline": "batch"}),
    Case("reinforce", "`baseline` batch", 4, {**KL, "baseline": "batch"}),
    Case("reinforce", "`whiten_advantages` true", 2, {**KL, "whiten_advantages": True}),
    Case("reinforce", "`whiten_advantages` true", 4, {**KL, "whiten_advantages": True}),
    Case("reinforce", "later updates, `importance_limit` 2", 0, {**NO_KL, "baseline": "none"}, 0.0, later=True),
    Case("rloo", "as it is by default", 4, KL),
    Case("rloo", "`normalize_advantages` true", 2, {**KL, "normalize_advantages": True}),
    Case("rloo", "`normalize_advantages` true", 4, {**KL, "normalize_advantages": True}),
    Case("rloo", "later updates, clipped", 4, NO_KL, 0.0, later=True),
    Case("grpo", "`advantage_scale` none, `aggregation` constant", 2, DR_GRPO, 0.0, unit=64.0),
    Case("grpo", "`advantage_scale` none, `aggregation` constant", 4, DR_GRPO, 0.0, unit=64.0),
    Case("grpo", "`advantage_scale` none, `aggregation` token", 4, {**DR_GRPO, "aggregation": "token"}, 0.0, unit=None),
    Case(
        "grpo",
        "`advantage_scale` none, `aggregation` sequence",
        4,
        {**DR_GRPO, "aggregation": "sequence"},
        0.0,
        unit=None,
    ),
    Case(
        "grpo",
        "`advantage_scale` group, `aggregation` constant",
        2,
        {**DR_GRPO, "advantage_scale": "group"},
        0.0,
        unit=64.0,
    ),
    Case(
        "grpo",
        "`advantage_scale` group, `aggregation` constant",
        4,
        {**DR_GRPO, "advantage_scale": "group"},
        0.0,
        unit=64.0,
    ),
    Case("grpo", "`advantage_scale` group, `aggregation` sequence: the paper's", 4, NO_KL, 0.0, unit=None),
    Case("grpo", "the KL term alone, k2", 2, {**DR_GRPO, **KL}, rewarded=False, unit=64.0),
    Case("grpo", "the KL term alone, k3", 2, {**DR_GRPO, **KL, "kl_estimator": "k3"}, rewarded=False, unit=64.0),
    Case("kl_control", "`baseline` none or leave-one-out", 4, KL),
    Case("kl_control", "`baseline` position", 2, {**KL, "baseline": "position"}),
    Case("kl_control", "`baseline` position", 4, {**KL, "baseline": "position"}),
    Case("kl_control", "`gamma` 0.95", 0, {**KL, "gamma": 0.95, "baseline": "none"}),
    Case("kl_control", "later updates, `importance_limit` 2", 0, {**NO_KL, "baseline": "none"}, 0.0, later=True),
    Case("ppo_sequence", "`baseline` none", 4, {"reward_weight": 1.0, "kl_weight": BETA}),
    Case("ppo_sequence", "`baseline` batch", 4, {"reward_weight": 1.0, "kl_weight": BETA, "baseline": "batch"}),
    Case("ppo_sequence", "later updates, clipped", 0, {"reward_weight": 1.0, "kl_weight": 0.0}, 0.0, later=True),
]


def setting() -> tuple[Tables, Tensor, Tensor]:
    """Policy and critic, reference, rewards."""
    return WORLD.tables(0), WORLD.tables(1).logits.detach(), WORLD.rewards(2, scale=2.0) + 0.5


def moved() -> Tensor:
    """Logits of a policy some updates away from the one that sampled: ratios of completions from 0.3 to 2.4."""
    return (setting()[0].logits + 0.7 * WORLD.tables(5).logits).detach().requires_grad_()


def measured(case: Case) -> tuple[Tensor, Tensor]:
    """The mean gradient of the estimator, ascending, and the gradient of J at the same policy."""
    tables, reference, rewards = setting()
    rewards = rewards if case.rewarded else torch.zeros_like(rewards)
    old = WORLD.log_probs(tables.logits).detach().exp()
    now = replace(tables, logits=moved()) if case.later else tables
    algorithm = load_algorithm(case.name)
    settings = algorithm.Settings(**case.settings)
    batch = WORLD.rollouts(tables, reference, rewards)
    if case.draws:
        found = expected_gradient(WORLD, algorithm, settings, now, batch, old, case.draws)
    else:
        found = gradients(step(WORLD, algorithm, settings, now, batch, often=old).loss, now)
    unit = float(WORLD.mean_length(old)) if case.unit is None else case.unit
    J = WORLD.objective(now.logits, reference, rewards, case.beta)
    return -found["logits"] * unit, torch.autograd.grad(J, now.logits)[0]


def row(case: Case) -> str:
    """The case as a row of its page's table."""
    found, true = (gradient.flatten() for gradient in measured(case))
    factor = float(torch.dot(found, true) / torch.dot(true, true))
    far = float((found - true).norm() / true.norm())
    cosine = float(torch.dot(found, true) / (found.norm() * true.norm()))
    # no "-0.000": what rounding leaves has either sign
    numbers = " | ".join(f"{round(x, 3) + 0.0:.3f}" for x in (factor, abs(far), cosine))
    return f"| {case.what} | {case.draws or 'no end'} | {numbers} |"


def tables() -> Iterator[tuple[str, list[str]]]:
    """(page, lines of its table)."""
    for page, cases in itertools.groupby(CASES, lambda case: case.page):
        yield page, [*HEADER, *map(row, cases)]


def main() -> None:
    for page, lines in tables():
        print(f"\ndocs/algorithms/{page}.md\n", *lines, sep="\n")


if __name__ == "__main__":
    main()
