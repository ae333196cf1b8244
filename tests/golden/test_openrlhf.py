"""assent's losses and gradients against OpenRLHF's, a second implementation (see README.md)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from assent.algorithms.batch import Batch
from assent.algorithms.kl import adapt_coefficient
from tests.golden.fixture import padded
from tests.golden.goldens import Result, batch_of, distance, halves, loss_distance, prepared, run, scored_batch

GOLDENS = json.loads((Path(__file__).parent / "openrlhf-0.11.2.json").read_text())
INPUTS, CASES = GOLDENS["inputs"], GOLDENS["cases"]

EXACT, ROUNDED = 1e-9, 1e-6
"""Float64 on both sides; and where OpenRLHF takes the KL, and whitens, in float32."""
NOTICED = 1e-3


def dpo_settings(s: Mapping[str, Any]) -> dict[str, Any]:
    kind = "ipo" if s.get("ipo") else "sigmoid"
    return {"beta": s["beta"], "loss": kind, "label_smoothing": s.get("label_smoothing", 0.0)}


def grpo_settings(s: Mapping[str, Any]) -> dict[str, Any]:
    """OpenRLHF's estimator "dr_grpo" takes the group's mean off and no more."""
    return {
        "advantage_scale": "none",
        "aggregation": "token" if s["token_level_loss"] else "sequence",
        "ratio": {"ppo": "token", "gspo": "sequence"}[s["policy_loss_type"]],
        "clip_high": s["clip_eps_high"],
        "kl_coefficient": s["kl"],
        "kl_estimator": "k2",
    }


def dpo(name: str) -> Result:
    rows = INPUTS["preferences"]
    batch = batch_of(rows, torch.float64)
    batch = replace(batch, pairs=halves(batch.rows, torch.float64))
    return run("dpo", dpo_settings(CASES[name]["settings"]), batch, logprobs=padded(rows, "logprobs"))


def reward(name: str) -> Result:
    rows = INPUTS["scored_preferences"]
    scores = torch.tensor(rows["scores"], dtype=torch.float64)[:, None]
    return run("reward", {"centre": 0.0, "margin": 1.0}, scored_batch(rows, margins=True), scores=scores)


def rollouts() -> Batch:
    rows = INPUTS["rollouts"]
    scores = torch.tensor(rows["scores"], dtype=torch.float64)
    values = padded(rows, "old_values", 0.0)
    return batch_of(rows, torch.float64, scores=scores, ended=torch.ones_like(scores), values=values)


def grpo(name: str) -> Result:
    settings = grpo_settings(CASES[name]["settings"])
    batch = prepared("grpo", settings, rollouts())
    return run("grpo", settings, batch, logprobs=padded(INPUTS["rollouts"], "logprobs"))


LOSSES: Mapping[str, Callable[[str], Result]] = {"dpo": dpo, "reward": reward, "grpo": grpo}
COMPARED = [name for name in CASES if name.split("-")[0] in LOSSES]


def golden_gradient(name: str) -> Tensor:
    golden = CASES[name]
    if name == "reward":
        return torch.tensor(golden["gradient"], dtype=torch.float64)[:, None]
    return golden_tokens(name, "gradient")


def golden_tokens(name: str, key: str) -> Tensor:
    golden = CASES[name]
    return padded({**INPUTS[golden["inputs"]], key: golden[key]}, key, fill=0.0)


@pytest.mark.parametrize("name", COMPARED)
def test_loss_and_gradient_are_those_of_openrlhf(name: str) -> None:
    result = LOSSES[name.split("-")[0]](name)
    tolerance = ROUNDED if CASES[name]["settings"].get("kl") else EXACT

    assert loss_distance(result, CASES[name]) < tolerance
    assert distance(result.gradient, golden_gradient(name)) < tolerance
    assert loss_distance(result.negated(), CASES[name]) > NOTICED
    assert distance(result.negated().gradient, golden_gradient(name)) > NOTICED


def test_ppo_is_that_of_openrlhf_up_to_its_whitening() -> None:
    """With the score on the last token of completions of unequal length.  OpenRLHF divides the variance of the
    advantages by N, assent, as TRL, by N - 1: the advantages differ by that constant."""
    golden, s = CASES["ppo"], CASES["ppo"]["settings"]
    settings = {"kl_coefficient": s["kl_coefficient"], "gamma": s["gamma"], "lam": s["lam"]}
    settings |= {"value_coefficient": 1.0, "value_clip": s["value_clip"], "clip_low": s["clip"], "clip_high": s["clip"]}
    batch = prepared("ppo", settings, rollouts())
    count = float(batch.completion_mask.sum())
    batch = batch.with_columns(advantages=batch["advantages"] * math.sqrt(count / (count - 1.0)))
    values = padded(INPUTS["rollouts"], "values", 0.0)
    result = run(
        "ppo", settings, batch, logprobs=padded(INPUTS["rollouts"], "logprobs"), values=values, entropy=0.0 * values
    )

    assert distance(batch["returns"], golden_tokens("ppo", "returns")) < ROUNDED
    assert distance(batch["advantages"], golden_tokens("ppo", "advantages")) < ROUNDED
    assert result.loss == pytest.approx(golden["policy_loss"] + golden["value_loss"], rel=ROUNDED)
    assert distance(result.gradient, golden_tokens("ppo", "gradient")) < ROUNDED
    assert distance(result.values, golden_tokens("ppo", "value_gradient")) < ROUNDED
    assert distance(-result.gradient, golden_tokens("ppo", "gradient")) > NOTICED
    assert distance(-result.values, golden_tokens("ppo", "value_gradient")) > NOTICED


def test_the_adaptive_kl_coefficient_is_that_of_openrlhf() -> None:
    golden, s = CASES["kl-controller"], CASES["kl-controller"]["settings"]
    coefficient, found = s["init_kl_coef"], []
    for kl, rows in golden["steps"]:
        coefficient = adapt_coefficient(coefficient, kl, s["target"], s["horizon"], rows)
        found.append(coefficient)

    assert found == pytest.approx(golden["values"], rel=1e-12)


def test_every_case_is_compared() -> None:
    assert {*COMPARED, "ppo", "kl-controller"} == set(CASES)
