"""Scores of one reward model by hand: another tokenizer, padding, company, an empty answer, NaN, length taken off."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from assent.errors import DataError
from assent.models.load import load_reward_model
from assent.models.save import save_model
from assent.rewards.combine import Combined, Named, Product
from assent.rewards.ensemble import Ensemble
from assent.rewards.model import ModelReward
from assent.rewards.source import score_all
from assent.testing.reward_source import check_reward_source
from assent.testing.tiny import tiny_reward, tiny_tokenizer
from assent.types import Completion, Prompt

TEXTS = (" is good.", " a long and slow film with a fine cast, and the girl saw a cat.", "", " saw", " upon a time")
PROMPTS = [Prompt(id=str(i), text=text) for i, text in enumerate(("The film", "It was", "Once", "The cat", "Once"))]
COMPLETIONS = [Completion(id=f"{i}/0", prompt_id=str(i), text=text) for i, text in enumerate(TEXTS)]


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "bert"])
@torch.no_grad()
def test_with_another_tokenizer_it_is_scored_as_by_hand(architecture: str):
    """Policy ids of another tokenizer are not looked at: the text is tokenised, closed with EOS and scored alone."""
    model = tiny_reward(architecture)
    other = tiny_tokenizer()
    other.add_tokens(["film"])
    foreign = [
        Completion(c.id, c.prompt_id, c.text, token_ids=(5, 6, 7), prompt_token_ids=(1, 9), finish_reason="stop")
        for c in COMPLETIONS
    ]
    source = ModelReward(model, other)
    assert not source.same_tokenizer
    found = source.score(PROMPTS, foreign).values
    for prompt, completion, value in zip(PROMPTS, foreign, found, strict=True):
        ids = [*model.tokenizer(f"{prompt.text}{completion.text}").input_ids, model.tokenizer.eos_token_id]
        raw = model.model(input_ids=torch.tensor([ids])).logits[0, 0]
        assert value == pytest.approx(float(raw), abs=1e-5)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2", "bert"])
def test_padding_and_company_change_no_score(architecture: str):
    """An empty completion among them, whatever the budget."""
    check_reward_source(ModelReward(tiny_reward(architecture)), PROMPTS, COMPLETIONS, tolerance=1e-5)
    whole = ModelReward(tiny_reward(architecture), token_budget=100000).score(PROMPTS, COMPLETIONS).values
    small = ModelReward(tiny_reward(architecture), token_budget=1).score(PROMPTS, COMPLETIONS).values
    assert whole == pytest.approx(small, abs=1e-5)


def test_what_length_is_worth_is_taken_off_and_kept_with_the_model(tmp_path: Path):
    model = tiny_reward()
    plain = ModelReward(model).score(PROMPTS, COMPLETIONS).values
    model.set_length_slopes([0.5], 3.0)
    source = ModelReward(model)
    check_reward_source(source, PROMPTS, COMPLETIONS)
    found = source.score(PROMPTS, COMPLETIONS).values
    expected = [v - 0.5 * (float(torch.tensor(len(t) + 1.0).log2()) - 3.0) for v, t in zip(plain, TEXTS, strict=True)]
    assert found == pytest.approx(expected, abs=1e-5)
    save_model(model, tmp_path, method="none", base="none", settings={})
    assert ModelReward(load_reward_model(tmp_path)).score(PROMPTS, COMPLETIONS).values == found  # bit for bit


def test_a_score_that_is_no_number_names_its_completion():
    model = tiny_reward()
    ids = model.tokenizer("cast").input_ids
    with torch.no_grad():
        model.model.base_model.embed_tokens.weight[ids[-1]] = float("nan")
    found = ModelReward(model).score(PROMPTS, COMPLETIONS)
    assert list(found.unscored) == [1]
    assert all(math.isfinite(value) for place, value in enumerate(found.values) if place != 1)
    pair = Combined({"one": Named(ModelReward(model)), "two": Named(ModelReward(tiny_reward(seed=1)))}, Product())
    for source in (ModelReward(model), pair, Ensemble([ModelReward(model), ModelReward(tiny_reward())])):
        assert list(source.score(PROMPTS, COMPLETIONS).unscored) == [1]
        with pytest.raises(DataError, match=r"completion '1/0' has no score: .*the reward model gave nan"):
            score_all(source, PROMPTS, COMPLETIONS)
