"""Bootstraps of prompts: what they draw, and that weights train as repeated rows do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from assent.algorithms import load_algorithm
from assent.algorithms.reward_model import ALGORITHM, RewardModelSettings
from assent.models.load import new_reward_model
from assent.models.save import save_model
from assent.pipeline.stage import NoProgress
from assent.testing.tiny import tiny_causal, tiny_reward
from assent.training.bootstrap import draw_bootstrap, for_heads, repeated
from assent.training.examples import comparison_examples, judgement_examples, labelled
from assent.training.roles import Roles
from assent.training.sources import Example, Pair, Row, collate
from assent.training.supervised import Task, train
from assent.types import Comparison, Judgement, Prompt
from tests.training.tiny_runs import examples, run_settings


def of_prompts(prompts: list[str]) -> list[Example]:
    row = Row([1, 2], [False, True])
    return [Example([row, row], [Pair(0, 1, 0.5, margin=float(i))], prompt=p) for i, p in enumerate(prompts)]


def test_prompts_are_drawn_whole_and_as_many_as_there_are():
    """What is expected of draws of n from n: each count is Binomial(n, 1/n), and the counts add up to n."""
    prompts = [f"p{i % 300}" for i in range(500)]
    found = draw_bootstrap(of_prompts(prompts), 7, range(1, 41))
    assert found.prompts == [f"p{i}" for i in range(300)]
    assert found.counts.shape == (40, 300)
    assert (found.counts.sum(1) == 300).all()
    assert (found.times()[:, :200] == found.times()[:, 300:]).all()  # both rankings of a prompt, or neither
    assert (found.counts == 0).mean() == pytest.approx((1 - 1 / 300) ** 300, abs=0.01)
    assert found.counts.var() == pytest.approx(1 - 1 / 300, abs=0.03)
    between = np.array(np.corrcoef(found.counts))[~np.eye(40, dtype=bool)]
    assert np.abs(between).max() < 0.25
    assert abs(between.mean()) < 0.02


def test_a_draw_is_of_the_seed_and_the_members_number():
    rows = of_prompts([f"p{i}" for i in range(20)])
    many, one = draw_bootstrap(rows, 3, range(1, 5)), draw_bootstrap(rows, 3, [2])
    assert (many.counts[1] == one.counts[0]).all()
    assert (many.counts[0] != one.counts[0]).any()
    assert (draw_bootstrap(rows, 4, [2]).counts != one.counts).any()
    record = one.record()
    assert record["prompts"] == [f"p{i}" for i in range(20)]
    assert sum(record["drawn"]["member-2"]) == 20


def test_what_answers_no_prompt_is_drawn_by_itself():
    tokenizer = tiny_reward().tokenizer
    alone = [Judgement(f"j{i}", Prompt("none", text=""), " good", 1.0) for i in range(4)]
    asked = [Judgement(f"k{i}", Prompt("film", text="The film"), " good", 1.0) for i in range(3)]
    rows, _ = judgement_examples(tokenizer, [*alone, *asked], 60, "error", "test")
    assert [row.prompt for row in rows] == ["", "", "", "", "film", "film", "film"]
    assert draw_bootstrap(rows, 0, [1]).prompts == ["example 1", "example 2", "example 3", "example 4", "film"]
    pairs = [Comparison(f"c{i}", Prompt("film", text="The film"), " good", " bad") for i in range(2)]
    compared, _ = comparison_examples(tokenizer, pairs, 60, "error", "test")
    assert {row.prompt for row in [*compared, *labelled(compared, "test")]} == {"film"}


def test_heads_weigh_and_models_repeat():
    rows = of_prompts(["a", "b", "c"])
    times = np.array([[2, 0, 1], [0, 0, 3]])
    assert [row.prompt for row in repeated(rows, times[0])] == ["a", "a", "c"]
    heads = for_heads(rows, times)
    assert [row.prompt for row in heads] == ["a", "c"]  # nobody drew b
    assert [(p.head, p.weight) for p in heads[0].pairs] == [(0, 1.0)]
    assert [(p.head, p.weight) for p in heads[1].pairs] == [(0, 0.5), (1, 1.5)]


def gradients(model: Any, rows: list[Example], share: float = 1.0) -> dict[str, torch.Tensor]:
    """Of ``share`` times the loss over all of the rows."""
    batch, settings = collate(rows, model.tokenizer.pad_token_id, torch.device("cpu")), RewardModelSettings(centre=0.1)
    model.zero_grad()
    loss = ALGORITHM.loss(Roles(reward=model).forward(batch, ALGORITHM.outputs), batch, settings)
    parts = ALGORITHM.weights(batch, settings)
    sums = [
        loss.coefficients.get(name, 1.0) * (parts[name].weights * term).sum() / parts[name].count
        for name, term in loss.terms.items()
    ]
    (share * torch.stack(sums).sum()).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_weights_give_the_gradient_of_repeated_rows(tmp_path: Path):
    """Over one trunk: the sum over heads of what repeated rows would give each, by the heads' shares of the weight."""
    save_model(tiny_causal(), tmp_path / "policy", method="none", base="none", settings={})
    model = new_reward_model(tmp_path / "policy", 0, members=3)
    rows = examples("reward", model.tokenizer)
    times = draw_bootstrap(rows, 5, range(1, 4)).times()
    weighted = gradients(model, for_heads(rows, times))
    expected: dict[str, torch.Tensor] = {}
    for head, counts in enumerate(times):
        again = repeated(rows, counts)
        own = [Example(row.rows, [pair._replace(head=head) for pair in row.pairs]) for row in again]
        for name, gradient in gradients(model, own, len(again) / int(times.sum())).items():
            expected[name] = expected.get(name, torch.zeros_like(gradient)) + gradient
    assert weighted.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(weighted[name], gradient, rtol=1e-4, atol=1e-7)
    assert max(float(gradient.abs().max()) for gradient in expected.values()) > 1e-3


def test_a_training_with_weights_is_one_on_repeated_rows(tmp_path: Path):
    """One member, all rows in every batch: the same model at the end."""
    made: list[dict[str, torch.Tensor]] = []
    for name in ("weights", "repeated", "all"):
        model = tiny_reward()
        rows = examples("reward", model.tokenizer)
        times = draw_bootstrap(rows, 5, [1]).times()
        learned = {"weights": for_heads(rows, times), "repeated": repeated(rows, times[0]), "all": rows}[name]
        settings = run_settings("reward", batch_size=20, max_steps=5, learning_rate=1e-2, adam_epsilon=1e-3)
        (tmp_path / name).mkdir()
        task = Task(Roles(reward=model), load_algorithm("reward"), learned, [], settings, model.tokenizer.pad_token_id,
                    tmp_path / name, 3, NoProgress(), lambda text: None)  # fmt: skip
        train(task)
        made.append(dict(model.named_parameters()))
    for name, weight in made[0].items():
        torch.testing.assert_close(weight, made[1][name], rtol=1e-4, atol=1e-5)
    assert max(float((weight - made[2][name]).detach().abs().max()) for name, weight in made[0].items()) > 1e-3
