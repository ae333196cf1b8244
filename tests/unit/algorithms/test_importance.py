"""The truncated importance correction by hand: tokens and completions, prompts left alone, and what it logs."""

import math

import pytest
import torch

from assent.algorithms import load_algorithm
from assent.algorithms.batch import Batch, Pairs
from assent.algorithms.importance import corrected, importance

LIMIT = 2.0
OLD = [[-9.0, -1.0, -2.0], [-9.0, -1.0, 0.0]]
SAMPLED = [[-1.0, -1.0, -2.0 - math.log(3)], [-1.0, -1.0 + math.log(4), -7.0]]
"""Ratios 1 and 3; 1/4.  The first token is the prompt's and the last of the second row is padding."""


def batch() -> Batch:
    mask = torch.tensor([[True, True, True], [True, True, False]])
    written = mask & torch.tensor([False, True, True])
    tokens, groups = torch.ones(2, 3, dtype=torch.long), torch.arange(2)
    made = Batch(tokens=tokens, mask=mask, completion_mask=written, groups=groups, pairs=Pairs.none())
    columns = {"old_logprobs": OLD, "engine_logprobs": SAMPLED, "ref_logprobs": OLD, "advantages": [[0.0] * 3] * 2}
    scores = {"scores": torch.zeros(2), "ended": torch.ones(2)}
    return made.with_columns(**{name: torch.tensor(rows) for name, rows in columns.items()}, **scores)


def test_a_token_has_its_ratio_up_to_the_limit_and_a_prompt_none():
    assert importance(batch(), LIMIT).tolist() == [pytest.approx([1, 1, 2]), pytest.approx([1, 0.25, 1])]
    assert importance(batch(), 10.0)[0].tolist() == pytest.approx([1, 1, 3])


def test_a_completion_has_the_product_of_its_own_tokens():
    assert importance(batch(), 10.0, sequences=True).tolist() == pytest.approx([3, 0.25])
    assert importance(batch(), LIMIT, sequences=True).tolist() == pytest.approx([2, 0.25])


def test_weights_are_those_of_the_algorithm_times_the_ratio_over_its_own_denominator():
    plain = load_algorithm("kl-control")
    settings = plain.Settings()
    before = plain.weights(batch(), settings)["policy"]
    after = corrected(plain, LIMIT).weights(batch(), settings)["policy"]
    assert float(after.count) == float(before.count)
    assert torch.allclose(after.weights, before.weights * importance(batch(), LIMIT))
    assert after.weights[~batch().completion_mask].tolist() == [0.0, 0.0, 0.0]


def test_the_mean_weight_and_the_share_that_was_truncated_are_logged():
    algorithm = corrected(load_algorithm("kl-control"), LIMIT)
    settings = algorithm.Settings()
    _, _, figures = algorithm.prepare(batch(), settings, algorithm.initial_state(settings))
    assert figures["importance_weight"] == pytest.approx((1 + 2 + 0.25) / 3)
    assert figures["importance_truncated"] == pytest.approx(1 / 3)
    _, _, figures = corrected(load_algorithm("kl-control"), 3.5).prepare(
        batch(), settings, algorithm.initial_state(settings)
    )
    assert figures["importance_truncated"] == 0.0
