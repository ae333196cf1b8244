"""Expert iteration: what comes into the buffer and what leaves it, by hand over several steps; it survives JSON."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from assent.algorithms.base import State
from assent.algorithms.batch import Batch, Outputs, Pairs
from assent.algorithms.expert_iteration import ExpertIterationSettings, initial_state, loss, prepare, weights
from assent.training.reduce import reduce_loss

Rollout = tuple[list[int], list[int], float]
"""Prompt, completion, score."""


def rollouts(*rows: Rollout, ended: Sequence[float] | None = None) -> Batch:
    """Rows padded on the right with token 99."""
    width = max(len(prompt) + len(completion) for prompt, completion, _ in rows) + 1
    tokens = torch.full((len(rows), width), 99)
    mask, completion_mask = torch.zeros(2, len(rows), width).bool()
    for i, (prompt, completion, _) in enumerate(rows):
        length = len(prompt) + len(completion)
        tokens[i, :length] = torch.tensor(prompt + completion)
        mask[i, :length] = True
        completion_mask[i, len(prompt) : length] = True
    return Batch(
        tokens=tokens,
        mask=mask,
        completion_mask=completion_mask,
        groups=torch.arange(len(rows)),
        pairs=Pairs.none(),
        columns={
            "old_logprobs": torch.zeros(len(rows), width),
            "ref_logprobs": torch.zeros(len(rows), width),
            "scores": torch.tensor([score for _, _, score in rows]),
            "ended": torch.tensor(ended or [1.0] * len(rows)),
        },
    )


def run(settings: ExpertIterationSettings, *steps: Sequence[Rollout]) -> tuple[Batch, State, dict[str, float]]:
    *before, last = steps
    state = initial_state(settings)
    for rows in before:
        _, state, _ = prepare(rollouts(*rows), settings, state)
    batch, state, figures = prepare(rollouts(*last), settings, state)
    return batch, state, dict(figures)


def texts(batch: Batch) -> list[tuple[list[int], list[int]]]:
    """Prompt and completion of each row."""
    both = zip(batch.tokens, batch.mask, batch.completion_mask, strict=True)
    return [(tokens[real & ~own].tolist(), tokens[own].tolist()) for tokens, real, own in both]


A, B = [1, 2], [3]
"""Two prompts."""


def test_the_top_share_of_the_batch_is_admitted_and_trained_on():
    settings = ExpertIterationSettings(top_share=0.5)
    batch, state, figures = run(settings, [(A, [5], 0.1), (A, [6, 7, 8], 0.9), (B, [5, 5], 0.4), (B, [4], 0.2)])
    assert texts(batch) == [(A, [6, 7, 8]), (B, [5, 5])]
    assert batch.tokens.tolist() == [[1, 2, 6, 7, 8], [3, 5, 5, 0, 0]]
    assert batch.mask.tolist() == [[True] * 5, [True] * 3 + [False] * 2]
    assert batch.groups.tolist() == [0, 1]
    assert state["experts"] == [
        {"tokens": [1, 2, 6, 7, 8], "completion": [0, 0, 1, 1, 1], "score": pytest.approx(0.9)},
        {"tokens": [3, 5, 5], "completion": [0, 1, 1], "score": pytest.approx(0.4)},
    ]
    assert figures["admitted_share"] == 0.5
    assert figures["experts"] == 2
    assert figures["expert_reward"] == pytest.approx(0.65)
    assert figures["reward_mean"] == pytest.approx(0.4)


def test_at_least_one_is_admitted_and_of_equal_scores_the_first():
    batch, _, _ = run(ExpertIterationSettings(top_share=0.01), [(A, [5], 1.0), (A, [6], 1.0)])
    assert texts(batch) == [(A, [5])]


def test_a_threshold_admits_what_reaches_it_and_may_admit_nothing():
    settings = ExpertIterationSettings(threshold=0.5)
    batch, _, figures = run(settings, [(A, [5], 0.5), (A, [6], 0.4), (B, [7], 2.0)])
    assert texts(batch) == [(A, [5]), (B, [7])]
    assert figures["admitted_share"] == pytest.approx(2 / 3)
    batch, state, figures = run(settings, [(A, [5], 0.1)])
    assert batch.rows == 0
    assert state == {"experts": []}
    assert figures["experts"] == 0
    assert float(weights(batch, settings)["nll"].count) == 0
    batch, _, _ = run(settings, [(A, [5], 0.6)], [(A, [6], 0.1)])
    assert texts(batch) == [(A, [5])]  # trained on again, though this step found nothing


def test_the_best_of_each_prompt_so_far_are_kept_and_of_equal_ones_the_newest():
    settings = ExpertIterationSettings(threshold=0.0, per_prompt=2)
    steps = [(A, [5], 1.0), (A, [6], 3.0), (B, [5], 0.5)], [(A, [7], 2.0), (A, [8], 0.5)], [(A, [9], 2.0)]
    assert texts(run(settings, *steps[:1])[0]) == [(A, [5]), (A, [6]), (B, [5])]
    assert texts(run(settings, *steps[:2])[0]) == [(A, [6]), (B, [5]), (A, [7])]
    assert texts(run(settings, *steps)[0]) == [(A, [6]), (B, [5]), (A, [9])]


def test_a_completion_found_again_is_there_once_and_counts_as_new():
    settings = ExpertIterationSettings(threshold=0.0, capacity=2)
    first = [(A, [5], 1.0), (B, [5], 1.0)]
    assert texts(run(settings, first, [(A, [5], 1.0)])[0]) == [(B, [5]), (A, [5])]
    assert texts(run(settings, first, [(A, [5], 1.0)], [(A, [6], 1.0)])[0]) == [(A, [5]), (A, [6])]


def test_the_same_tokens_are_another_expert_under_another_prompt():
    """[1, 2] + [3] and [1] + [2, 3]: equal rows, of which the policy wrote different parts."""
    batch, _, _ = run(ExpertIterationSettings(threshold=0.0, per_prompt=1), [(A, [3], 1.0), ([1], [2, 3], 1.0)])
    assert texts(batch) == [(A, [3]), ([1], [2, 3])]


def test_over_capacity_the_oldest_are_dropped():
    settings = ExpertIterationSettings(threshold=0.0, capacity=3)
    batch, state, _ = run(settings, [(A, [5], 9.0), (B, [5], 1.0)], [([4], [5], 1.0), ([7], [5], 1.0)])
    assert texts(batch) == [(B, [5]), ([4], [5]), ([7], [5])]
    assert len(state["experts"]) == 3


def test_a_completion_that_was_cut_off_loses_the_penalty():
    settings = ExpertIterationSettings(threshold=1.0, missing_eos_penalty=0.5)
    batch, state, figures = prepare(rollouts((A, [5], 1.2), (B, [6], 1.2), ended=[0.0, 1.0]), settings, {"experts": []})
    assert texts(batch) == [(B, [6])]
    assert state["experts"][0]["score"] == pytest.approx(1.2)
    assert figures["ended_share"] == 0.5


def test_an_empty_completion_is_no_expert():
    batch, _, _ = run(ExpertIterationSettings(threshold=0.0), [(A, [], 1.0), (A, [5], 0.5)])
    assert texts(batch) == [(A, [5])]


def test_the_buffer_survives_json_and_gives_the_same_next_batch():
    settings = ExpertIterationSettings(top_share=0.6, per_prompt=2, capacity=4)
    draw = torch.Generator().manual_seed(0)

    def step() -> list[Rollout]:
        drawn = torch.randint(1, 5, (6, 3), generator=draw).tolist()
        return [([row[0]], row[1:], float(torch.rand((), generator=draw))) for row in drawn]

    _, state, _ = run(settings, step(), step())
    last = rollouts(*step())
    kept = json.dumps(state)
    one, after, figures = prepare(last, settings, state)
    other, after_too, figures_too = prepare(last, settings, json.loads(kept))
    assert json.dumps(state) == kept  # unchanged by the step that follows
    assert after == after_too
    assert figures == figures_too
    for name in ("tokens", "mask", "completion_mask", "groups"):
        assert torch.equal(getattr(one, name), getattr(other, name))
    assert one.rows == 4


def test_the_loss_is_the_mean_over_the_tokens_of_the_experts():
    settings = ExpertIterationSettings(threshold=0.0)
    batch, _, _ = run(settings, [(A, [5, 6], 1.0), (B, [7], 2.0)])
    none: Any = torch.zeros(0)
    logprobs = torch.tensor([[8.0, 8.0, -0.5, -0.25], [8.0, -2.0, 8.0, 8.0]])
    found = loss(Outputs(logprobs, none, none, none), batch, settings)
    parts = weights(batch, settings)
    total = reduce_loss(found.terms, found.coefficients, parts, {name: part.count for name, part in parts.items()})
    assert float(total) == pytest.approx(2.75 / 3)
    assert float(found.metrics["loss"].total / found.metrics["loss"].count) == pytest.approx(2.75 / 3)
