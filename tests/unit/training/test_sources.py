"""Batches: collated by hand, epochs whole, rollouts trained on as they were sampled."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch

from assent.errors import DataError
from assent.rewards.rule import FunctionReward
from assent.rollout.engine import EncodedPrompt
from assent.rollout.fake import FakeEngine
from assent.testing.tiny import tiny_tokenizer
from assent.training.examples import comparison_examples, labelled
from assent.training.rollouts import RolloutSource
from assent.training.sources import DatasetSource, Example, Pair, Row, collate
from assent.types import Comparison, SamplingSettings
from tests.training.tiny_runs import PROMPTS, examples

CPU = torch.device("cpu")


def one(token: int) -> Example:
    return Example([Row([token, 2], [False, True])])


def test_collate_by_hand():
    first = Example(
        [Row([1, 5, 2], [False, True, True]), Row([1, 2], [False, True])],
        [Pair(1, 0, 0.5, True)],
        {"labels": [0.25, 1]},
    )
    second = Example(
        [Row([1], [False]), Row([1, 6, 7, 2], [False, False, True, True])],
        [Pair(0, 1, margin=2.0, confidence=0.75)],
        {"labels": [3, 4]},
    )
    batch = collate([first, second], 9, CPU)
    assert batch.tokens.tolist() == [[1, 5, 2, 9], [1, 2, 9, 9], [1, 9, 9, 9], [1, 6, 7, 2]]
    assert batch.mask.sum(1).tolist() == [3, 2, 1, 4]
    assert batch.completion_mask.int().tolist() == [[0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]]
    assert batch.groups.tolist() == [0, 0, 1, 1]
    assert batch.pairs.rows.tolist() == [[1, 0], [2, 3]]
    assert batch.pairs.weights.tolist() == [0.5, 1.0]
    assert batch.pairs.margins.tolist() == [0.0, 2.0]
    assert batch.pairs.confidence.tolist() == [1.0, 0.75]
    assert batch.pairs.ties.tolist() == [True, False]
    assert batch["labels"].tolist() == [0.25, 1.0, 3.0, 4.0]


def test_a_batch_without_comparisons_has_no_pairs():
    batch = collate([one(3), one(4)], 0, CPU)
    assert batch.pairs.rows.shape == (0, 2)
    assert batch.groups.tolist() == [0, 1]


@pytest.mark.parametrize(("count", "size"), [(8, 4), (10, 4), (7, 3), (5, 9)])
def test_every_example_comes_once_an_epoch(count: int, size: int):
    source = DatasetSource([one(i) for i in range(count)], size, 1, 0, CPU)
    stream = [int(t) for step in range(3 * count) for t in source.batch(step)[0].tokens[:, 0]]
    orders: set[tuple[int, ...]] = set()
    for epoch in range(3):
        part = stream[epoch * count : (epoch + 1) * count]
        assert sorted(part) == list(range(count))
        orders.add(tuple(part))
    assert len(orders) == 3
    assert source.steps_per_epoch == max(1, count // min(size, count))
    assert source.batch(2)[1]["epoch"] == pytest.approx(2 * min(size, count) / count)


def test_a_batch_is_a_function_of_seed_and_step():
    made = [one(i) for i in range(20)]
    tokens = [DatasetSource(made, 4, seed, 0, CPU).batch(7)[0].tokens[:, 0].tolist() for seed in (1, 1, 2)]
    assert tokens[0] == tokens[1] != tokens[2]


def test_a_ranking_is_one_example_with_its_answers_once():
    tokenizer = tiny_tokenizer()
    made = examples("dpo", tokenizer)
    three = made[1]
    assert len(three.rows) == 3
    assert [pair[:2] for pair in three.pairs] == [(0, 1), (0, 2), (1, 2)]
    assert [pair[2] for pair in three.pairs] == [1 / 3] * 3
    assert [pair[3] for pair in three.pairs] == [False, True, True]
    for row in three.rows:
        assert row.token_ids[0] == tokenizer.bos_token_id
        assert row.token_ids[-1] == tokenizer.eos_token_id
        assert row.completion_mask[-1]
        assert not row.completion_mask[0]


def compared(*pairs: Comparison) -> list[Example]:
    return comparison_examples(tiny_tokenizer(), pairs, 60, "error", "test")[0]


def test_margin_and_confidence_reach_the_pairs():
    (example,) = compared(Comparison("1", PROMPTS[0], " a", " b", margin=2.0, weight=0.5, confidence=0.75))
    assert example.pairs == [Pair(0, 1, weight=0.5, margin=2.0, confidence=0.75)]
    batch = collate([example], 0, CPU)
    assert (batch.pairs.margins.item(), batch.pairs.confidence.item()) == (2.0, 0.75)


def labels(*pairs: Comparison) -> list[tuple[list[int], float]]:
    """Of each answer by itself, its tokens and label."""
    made = labelled(compared(*pairs), "test")
    assert all(len(example.rows) == 1 and not example.pairs for example in made)
    return [(list(example.rows[0].token_ids), example.columns["labels"][0]) for example in made]


def test_comparisons_become_judgements_of_single_answers():
    """A pair is a good and a bad answer; the middle one of three won half of its comparisons; ties say nothing."""
    prompt = PROMPTS[0]
    (pair,) = compared(Comparison("1", prompt, " good", " bad"))
    assert labels(Comparison("1", prompt, " good", " bad")) == [
        (list(pair.rows[0].token_ids), 1.0),
        (list(pair.rows[1].token_ids), 0.0),
    ]
    three = [(" a", " b", False), (" a", " c", False), (" b", " c", False)]
    ranking = [Comparison(f"{i}", prompt, x, y, tie=t, weight=1 / 3, group="g") for i, (x, y, t) in enumerate(three)]
    assert [label for _, label in labels(*ranking)] == [1.0, 0.5, 0.0]
    tied = [replace(ranking[0], tie=True), replace(ranking[1], tie=True), ranking[2]]
    assert [label for _, label in labels(*tied)] == [1.0, 0.0]
    doubted = Comparison("1", prompt, " good", " bad", confidence=0.75)
    assert [label for _, label in labels(doubted)] == [0.75, 0.25]


def test_ties_alone_are_no_judgements():
    with pytest.raises(DataError, match="test: all its comparisons are ties"):
        labels(Comparison("1", PROMPTS[0], " a", " b", tie=True))
    assert labelled([], "test") == []


def rollouts(prompts: int, engine: Any, **settings: Any) -> RolloutSource:
    given: dict[str, Any] = {"rollouts": 8, "samples_per_prompt": 2, **settings}
    return RolloutSource(
        PROMPTS[:prompts],
        [EncodedPrompt(p.id, (1, 10 + i)) for i, p in enumerate(PROMPTS[:prompts])],
        engine,
        FunctionReward(lambda prompt, text: float(len(text.split())) + 100 * int(prompt.id[1:])),
        SamplingSettings(max_new_tokens=4),
        pad=0,
        device=CPU,
        **given,
    )


def test_rollouts_carry_the_ids_scores_and_ends_of_what_was_sampled():
    engine = FakeEngine(script={p.id: [[5, 6, 0], [7, 7, 7, 7, 7]] for p in PROMPTS})
    batch, _ = rollouts(8, engine).batch(0)
    assert batch.rows == 8
    for row in range(0, 8, 2):
        prompt = int(batch.tokens[row, 1]) - 10
        assert batch.tokens[row].tolist() == [1, 10 + prompt, 5, 6, 0, 0]
        assert batch.tokens[row + 1].tolist() == [1, 10 + prompt, 7, 7, 7, 7]
        assert batch.completion_mask[row].tolist() == [False, False, True, True, True, False]
        assert batch["scores"][row : row + 2].tolist() == [2.0 + 100 * prompt, 4.0 + 100 * prompt]
        assert batch["ended"][row : row + 2].tolist() == [1.0, 0.0]
        assert int(batch.groups[row]) == int(batch.groups[row + 1]) == row // 2
    engine_logprobs = batch["engine_logprobs"]
    assert bool(((engine_logprobs != 0) == batch.completion_mask).all())
    assert float(engine_logprobs.min()) == pytest.approx(-2.0794, abs=1e-4)


def test_prompts_come_once_an_epoch_with_fresh_random_numbers():
    engine = FakeEngine()
    source = rollouts(8, engine)
    seen = {step: source.batch(step)[0] for step in range(4)}
    assert Counter(p for asked in engine.asked[:2] for p in asked) == {p.id: 1 for p in PROMPTS[:8]}
    by_prompt = [
        {int(b.tokens[r, 1]): b.tokens[r, 2:].tolist() for b in pair for r in range(0, b.rows, 2)}
        for pair in ((seen[0], seen[1]), (seen[2], seen[3]))
    ]
    assert by_prompt[0].keys() == by_prompt[1].keys()
    assert by_prompt[0] != by_prompt[1]
    again = rollouts(8, FakeEngine()).batch(3)[0]
    assert torch.equal(again.tokens, seen[3].tokens)
