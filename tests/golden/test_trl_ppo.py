"""assent's PPO against one update of TRL's, on the same rollouts (see README.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from assent.algorithms.advantages import whiten
from assent.algorithms.base import token_mean
from assent.algorithms.batch import Batch
from assent.algorithms.surrogates import clipped_surrogate, clipped_value_loss, log_ratio
from tests.golden.fixture import Rows, masks, padded
from tests.golden.goldens import Result, Spoil, batch_of, distance, loss_distance, prepared, run

GOLDENS = json.loads((Path(__file__).parent / "trl-1.12.0.json").read_text())
INPUTS, CASES = GOLDENS["inputs"], GOLDENS["cases"]

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5}
"""As in test_trl.py: the same function of the same numbers, up to the order of sums and float32's rounding."""
NOTICED = 1e-3

FULL = [name for name, golden in CASES.items() if golden["inputs"] == "full"]
RAGGED = [name for name, golden in CASES.items() if golden["inputs"] == "ragged"]


def settings_of(golden: Mapping[str, Any]) -> dict[str, Any]:
    s = golden["settings"]
    return {
        "gamma": s["gamma"],
        "lam": s["lam"],
        "kl_coefficient": s["kl_coef"],
        "whiten_rewards": s["whiten_rewards"],
        "clip_low": s["cliprange"],
        "clip_high": s["cliprange"],
        "value_clip": s["cliprange_value"],
        "value_coefficient": s["vf_coef"],
        "missing_eos_penalty": s["missing_eos_penalty"] or 0.0,
    }


def rollouts(rows: Rows, dtype: torch.dtype) -> Batch:
    """Rows that are shorter than the longest ended by themselves, as the recorder has it."""
    lengths = torch.tensor(rows["completion_lengths"])
    return batch_of(
        rows,
        dtype,
        scores=torch.tensor(rows["scores"], dtype=torch.float64),
        ended=(lengths < lengths.max()).double(),
        values=padded(rows, "old_values", 0.0),
    )


def unspoilt(batch: Batch) -> Batch:
    return batch


def compute(name: str, dtype: torch.dtype, spoil: Spoil = unspoilt) -> Result:
    golden = CASES[name]
    rows = INPUTS[golden["inputs"]]
    logprobs, values = (padded(rows, key).to(dtype) for key in ("logprobs", "values"))
    settings = settings_of(golden)
    batch = prepared("ppo", settings, spoil(rollouts(rows, dtype)))
    return run("ppo", settings, batch, logprobs=logprobs, values=values, entropy=torch.ones_like(values))


def completions(name: str, key: str) -> Tensor:
    """[B, C] what TRL had of each token of the completions, which are as wide as the longest."""
    return torch.tensor(CASES[name][key], dtype=torch.float64)


def golden_gradient(name: str) -> Tensor:
    golden = CASES[name]
    return padded({**INPUTS[golden["inputs"]], "gradient": golden["gradient"]}, "gradient", fill=0.0)


def prompt_length(name: str) -> int:
    return INPUTS[CASES[name]["inputs"]]["prompt_lengths"][0]


@pytest.mark.parametrize("dtype", list(TOLERANCES), ids=["float64", "float32"])
@pytest.mark.parametrize("name", FULL)
def test_loss_gradients_advantages_and_returns_are_those_of_trl(name: str, dtype: torch.dtype) -> None:
    result, tolerance, prompt = compute(name, dtype), TOLERANCES[dtype], prompt_length(name)

    assert loss_distance(result, CASES[name]) < tolerance
    assert distance(result.gradient, golden_gradient(name)) < tolerance
    assert distance(result.values[:, prompt:], completions(name, "value_gradient")) < tolerance
    assert distance(result.batch["advantages"][:, prompt:], completions(name, "advantages")) < tolerance
    assert distance(result.batch["returns"][:, prompt:], completions(name, "returns")) < tolerance


def with_a_state_after_the_end(rows: Rows) -> Rows:
    """TRL gives a completion that ended one state more, after its last token: the score arrives there, and the critic
    learns its value.  assent gives the score to the last token, as the literature has it.  The same rows with that
    state as a token that the policies agree on (its KL is zero) and of value zero."""
    longest = max(rows["completion_lengths"])
    more = [n < longest for n in rows["completion_lengths"]]

    def longer(name: str) -> list[list[float]]:
        return [[*row, 0.0] if one else row for row, one in zip(rows[name], more, strict=True)]

    tokens = ("logprobs", "old_logprobs", "ref_logprobs", "values", "old_values")
    lengths = [n + one for n, one in zip(rows["completion_lengths"], more, strict=True)]
    return {**rows, "completion_lengths": lengths, **{name: longer(name) for name in tokens}}


@pytest.mark.parametrize("name", RAGGED)
def test_completions_that_ended_are_as_in_trl_once_they_have_its_state_after_the_end(name: str) -> None:
    golden, prompt = CASES[name], prompt_length(name)
    rows = INPUTS[golden["inputs"]]
    longer = with_a_state_after_the_end(rows)
    batch = rollouts(longer, torch.float64).with_columns(ended=rollouts(rows, torch.float64)["ended"])
    narrow, wide = masks(rows)[1], masks(longer)[1]
    logprobs, values = padded(longer, "logprobs"), padded(longer, "values").requires_grad_()
    logprobs.requires_grad_()

    # TRL whitens advantages over real tokens alone, so that assent's whitening comes after.
    settings = {**settings_of(golden), "whiten_advantages": False}
    batch = prepared("ppo", settings, batch)
    advantages = whiten(batch["advantages"], narrow)
    change = log_ratio(logprobs, batch["old_logprobs"])
    policy, _ = clipped_surrogate(change, advantages, settings["clip_low"], settings["clip_high"])
    value = clipped_value_loss(values, batch["values"], batch["returns"], settings["value_clip"])
    policy_loss, value_loss = (
        (terms * part.weights).sum() / part.count
        for terms, part in ((policy, token_mean(narrow)), (value, token_mean(wide)))
    )
    (policy_loss + settings["value_coefficient"] * value_loss).backward()

    assert batch["returns"][wide].tolist() == pytest.approx(completions(name, "returns")[wide[:, prompt:]].tolist())
    assert distance(advantages[:, prompt:], completions(name, "advantages")) < 1e-9
    assert policy_loss.item() == pytest.approx(golden["policy_loss"], rel=1e-9)
    assert value_loss.item() == pytest.approx(golden["value_loss"], rel=1e-9)
    assert distance(logprobs.grad, golden_gradient(name)) < 1e-9
    assert distance(values.grad[:, prompt:], completions(name, "value_gradient")) < 1e-9


def test_the_goldens_reach_both_sides_of_every_kink() -> None:
    for name in FULL:
        for gradient in (completions(name, "gradient"), completions(name, "value_gradient")):
            assert 0 < int((gradient == 0).sum()) < gradient.numel(), name


SPOILS: Mapping[str, Spoil] = {
    "scores turned round": lambda batch: batch.with_columns(scores=-batch["scores"]),
    "reference for policy": lambda batch: batch.with_columns(
        old_logprobs=batch["ref_logprobs"], ref_logprobs=batch["old_logprobs"]
    ),
    "values turned round": lambda batch: batch.with_columns(values=-batch["values"]),
}


@pytest.mark.parametrize("name", FULL)
def test_a_flipped_sign_is_noticed(name: str) -> None:
    result = compute(name, torch.float64).negated()

    assert loss_distance(result, CASES[name]) > NOTICED
    assert distance(result.gradient, golden_gradient(name)) > NOTICED
    assert distance(result.values[:, prompt_length(name) :], completions(name, "value_gradient")) > NOTICED


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("name", FULL)
def test_what_is_the_wrong_way_round_is_noticed(name: str, spoil: str) -> None:
    result = compute(name, torch.float64, SPOILS[spoil])

    assert loss_distance(result, CASES[name]) > NOTICED
    assert distance(result.gradient, golden_gradient(name)) > NOTICED
    assert distance(result.values[:, prompt_length(name) :], completions(name, "value_gradient")) > NOTICED
