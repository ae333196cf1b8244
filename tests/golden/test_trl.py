"""assent's losses and gradients against those that TRL's trainers gave on the same numbers (see README.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from assent.algorithms.batch import Batch
from tests.golden.fixture import Rows, padded
from tests.golden.goldens import Result, Spoil, batch_of, distance, halves, loss_distance, prepared, run, scored_batch

GOLDENS = json.loads((Path(__file__).parent / "trl-1.16.0.json").read_text())
INPUTS, CASES = GOLDENS["inputs"], GOLDENS["cases"]

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5}
"""Both sides compute the same function of the same numbers, TRL in float64: in float64 only the order of sums differs,
and in float32 some tens of roundings of 6e-8 add up."""
ORPO_TOLERANCE = 1e-6
"""TRL's odds ratio is in float32 whatever comes in."""
NOTICED = 1e-3
"""What an error must at least move loss and gradient: a hundred times the widest tolerance."""


def sft(s: Mapping[str, Any]) -> dict[str, Any]:
    return {}


def dpo(s: Mapping[str, Any]) -> dict[str, Any]:
    """TRL names "ipo" and "sigmoid_norm" what divides log-ratios by lengths, and "aot_unpaired" conservative DPO."""
    kind = s["loss_types"][0]
    return {
        "beta": s["beta"],
        "loss": {"sigmoid_norm": "sigmoid", "aot_unpaired": "sigmoid"}.get(kind, kind),
        "length_normalised": kind in ("ipo", "sigmoid_norm"),
        "label_smoothing": s.get("label_smoothing", 0.0),
    }


def kto(s: Mapping[str, Any]) -> dict[str, Any]:
    weights = {"lambda_desirable": s["desirable_weight"], "lambda_undesirable": s["undesirable_weight"]}
    return {"beta": s["beta"], **weights}


def cpo(s: Mapping[str, Any]) -> dict[str, Any]:
    smoothing = s.get("label_smoothing", 0.0)
    return {"beta": s["beta"], "nll_coefficient": s["cpo_alpha"], "label_smoothing": smoothing}


def simpo(s: Mapping[str, Any]) -> dict[str, Any]:
    return {"beta": s["beta"], "gamma": s["simpo_gamma"], "label_smoothing": s.get("label_smoothing", 0.0)}


def orpo(s: Mapping[str, Any]) -> dict[str, Any]:
    return {"beta": s["beta"]}


def reward(s: Mapping[str, Any]) -> dict[str, Any]:
    return {"centre": s["center_rewards_coefficient"] or 0.0, "margin": float(s["margin"])}


def grpo(s: Mapping[str, Any]) -> dict[str, Any]:
    """TRL's KL term is k3; assent's is k2 unless asked.  "bnpo" and "dapo" are one on an optimiser batch."""
    return {
        "advantage_scale": s["scale_rewards"],
        "aggregation": {"grpo": "sequence", "bnpo": "token", "dapo": "token", "dr_grpo": "constant"}[s["loss_type"]],
        "length_normaliser": s["max_completion_length"],
        "ratio": s["importance_sampling_level"],
        "clip_low": s["epsilon_low"],
        "clip_high": s["epsilon_high"],
        "kl_coefficient": s["beta"],
        "kl_estimator": "k3",
    }


def rloo(s: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kl_coefficient": s["beta"],
        "clip_low": s["epsilon_low"],
        "clip_high": s["epsilon_high"],
        "normalize_advantages": s["normalize_advantages"],
        "reward_clip": s["reward_clip_range"] and s["reward_clip_range"][1],
    }


SETTINGS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "sft": sft,
    "dpo": dpo,
    "kto": kto,
    "cpo": cpo,
    "simpo": simpo,
    "orpo": orpo,
    "reward": reward,
    "grpo": grpo,
    "rloo": rloo,
}
"""By algorithm, from TRL's settings to assent's.  The first word of a case's name is the algorithm."""


def unspoilt(batch: Batch) -> Batch:
    return batch


def compute(name: str, dtype: torch.dtype, spoil: Spoil = unspoilt) -> Result:
    """assent on the inputs and settings of this golden."""
    golden = CASES[name]
    rows: Rows = INPUTS[golden["inputs"]]
    algorithm = name.split("-")[0]
    settings = SETTINGS[algorithm](golden["settings"])
    if algorithm == "reward":
        batch = prepared(algorithm, settings, spoil(scored_batch(rows, golden["settings"]["margin"], dtype)))
        return run(algorithm, settings, batch, scores=torch.tensor(rows["scores"], dtype=dtype)[:, None])
    logprobs = padded(rows, "logprobs").to(dtype)
    batch = prepared(algorithm, settings, spoil(token_batch(rows, logprobs)))
    return run(algorithm, settings, batch, logprobs=logprobs)


def token_batch(rows: Rows, logprobs: Tensor) -> Batch:
    given = [key for key in ("labels", "mismatched", "scores") if key in rows]
    columns = {key: torch.tensor(rows[key], dtype=torch.float64) for key in given}
    if "labels" in rows:
        columns["old_logprobs"] = logprobs  # what TRL measures KTO's baseline with: the policy as it is
    if "scores" in rows:
        columns["ended"] = torch.ones(len(logprobs))
    batch = batch_of(rows, logprobs.dtype, **columns)
    in_pairs = not columns and "ref_logprobs" in rows
    return replace(batch, pairs=halves(batch.rows, logprobs.dtype)) if in_pairs else batch


def golden_gradient(name: str) -> Tensor:
    golden = CASES[name]
    if name.startswith("reward"):
        return torch.tensor(golden["gradient"], dtype=torch.float64)[:, None]
    return padded({**INPUTS[golden["inputs"]], "gradient": golden["gradient"]}, "gradient", fill=0.0)


@pytest.mark.parametrize("dtype", list(TOLERANCES), ids=["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_are_those_of_trl(name: str, dtype: torch.dtype) -> None:
    result = compute(name, dtype)
    tolerance = max(TOLERANCES[dtype], ORPO_TOLERANCE if name.startswith("orpo") else 0.0)

    assert loss_distance(result, CASES[name]) < tolerance
    assert distance(result.gradient, golden_gradient(name)) < tolerance


@pytest.mark.parametrize("name", [name for name, golden in CASES.items() if "advantages" in golden])
def test_advantages_are_those_of_trl(name: str) -> None:
    golden = torch.tensor(CASES[name]["advantages"], dtype=torch.float64)

    assert distance(compute(name, torch.float64).batch["advantages"], golden) < 1e-9


@pytest.mark.parametrize("name", [name for name, golden in CASES.items() if "kl" in golden])
def test_the_baseline_of_kto_is_that_of_trl(name: str) -> None:
    found = compute(name, torch.float64).batch["kl_baseline"]

    assert found.tolist() == pytest.approx([CASES[name]["kl"]] * len(found), rel=1e-9)


def test_the_goldens_reach_both_sides_of_every_kink() -> None:
    """Clipped and unclipped tokens, active and inactive hinges, a baseline above zero and one cut off at zero."""
    for name in ("dpo-hinge", "grpo-no-kl", "grpo-dapo", "grpo-gspo", "rloo"):
        nothing = golden_gradient(name)[masked(name)] == 0
        assert 0 < int(nothing.sum()) < len(nothing), name
    assert CASES["kto"]["kl"] > 0 == CASES["kto-baseline-at-zero"]["kl"]
    clipped_higher = golden_gradient("grpo-dapo") != 0
    assert (clipped_higher & (golden_gradient("grpo-no-kl") == 0)).any(), "no token between the two upper clips"


def masked(name: str) -> Tensor:
    """Completion tokens of rows whose advantage, where they have one, is not zero."""
    golden = CASES[name]
    mask = batch_of(INPUTS[golden["inputs"]], torch.float64).completion_mask
    return mask & (torch.tensor(golden.get("advantages", [1.0] * len(mask))) != 0)[:, None]


def other_order(batch: Batch) -> Batch:
    """Rejected for chosen, bad for good, worst for best; where nothing is ordered, the last token lost."""
    if len(batch.pairs):
        return replace(batch, pairs=replace(batch.pairs, rows=batch.pairs.rows.flip(1)))
    if "labels" in batch.columns:
        return batch.with_columns(labels=1.0 - batch["labels"])
    if "scores" in batch.columns:
        return batch.with_columns(scores=-batch["scores"])
    last = batch.mask & ~torch.nn.functional.pad(batch.mask, (0, 1))[:, 1:]
    return replace(batch, completion_mask=batch.completion_mask & ~last)


@pytest.mark.parametrize("name", CASES)
def test_a_flipped_sign_is_noticed(name: str) -> None:
    result = compute(name, torch.float64).negated()

    assert loss_distance(result, CASES[name]) > NOTICED
    assert distance(result.gradient, golden_gradient(name)) > NOTICED


@pytest.mark.parametrize("name", CASES)
def test_a_flipped_order_is_noticed(name: str) -> None:
    result = compute(name, torch.float64, other_order)

    assert loss_distance(result, CASES[name]) > NOTICED
    assert distance(result.gradient, golden_gradient(name)) > NOTICED


def test_every_algorithm_that_trl_has_too_is_compared() -> None:
    assert {name.split("-")[0] for name in CASES} == set(SETTINGS)
