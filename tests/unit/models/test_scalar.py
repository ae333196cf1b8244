"""Reward models and critics: scored at the last real token, stored and loaded as they were."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from assent.errors import ModelError
from assent.models.load import load_reward_model, new_reward_model
from assent.models.save import save_model
from assent.models.scalar import Critic, RewardModel, ValueHead, init_scalar_head
from assent.rewards.model import ModelReward, score_rows
from assent.testing.tiny import tiny_causal, tiny_reward
from assent.types import Completion, Prompt

EVERY = ("llama", "gpt2", "qwen2", "gpt_neox", "bert")
ROWS = [[1, 40, 50, 60, 2], [1, 70, 2], [1, 40, 50, 60, 61, 62, 63, 2], [1, 9]]


def batch(rows: list[list[int]], width: int, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.full((len(rows), width), pad)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = True
    return tokens, mask


def save(model: Any, folder: Path) -> Path:
    save_model(model, folder, method="test", base="none", settings={})
    return folder


@pytest.mark.parametrize("architecture", EVERY)
@torch.no_grad()
def test_the_score_is_that_of_the_row_alone_whatever_the_padding(architecture: str):
    model = tiny_reward(architecture)
    alone = [float(model.scores(*batch([row], len(row), 0))[0, 0]) for row in ROWS]
    assert max(alone) - min(alone) > 0.1
    for width, pad in ((8, 0), (13, 0)):
        assert model.scores(*batch(ROWS, width, pad))[:, 0].tolist() == pytest.approx(alone, abs=1e-5)
    assert score_rows(model, ROWS, token_budget=10) == pytest.approx(alone, abs=1e-5)
    assert score_rows(model, ROWS[::-1], token_budget=1000) == pytest.approx(alone[::-1], abs=1e-5)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@torch.no_grad()
def test_the_last_real_token_counts_even_when_it_is_the_pad_id_or_no_eos(architecture: str):
    model = tiny_reward(architecture)
    ends = {last: float(model.scores(*batch([[1, 40, last]], 6, 0))) for last in (0, 2, 41)}
    assert len({round(score, 4) for score in ends.values()}) == 3
    hidden = model.model.base_model(input_ids=torch.tensor([[1, 40, 0]])).last_hidden_state
    assert ends[0] == pytest.approx(float(model.model.score(hidden[0, 2])), abs=1e-5)


@pytest.mark.parametrize("architecture", EVERY)
@torch.no_grad()
def test_saved_loaded_and_read_by_plain_transformers(architecture: str, tmp_path: Path):
    model = tiny_reward(architecture)
    model.config.assent_reward_offset = 0.75
    tokens, mask = batch(ROWS, 9, model.tokenizer.pad_token_id)
    before = model.scores(tokens, mask)
    folder = save(model, tmp_path / "reward")
    again = load_reward_model(folder)
    assert again.offset == 0.75
    assert torch.equal(again.scores(tokens, mask), before)
    for (name, one), other in zip(model.model.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    logits = plain(input_ids=tokens, attention_mask=mask.long()).logits
    assert logits.shape == (4, 1)
    torch.testing.assert_close(logits - 0.75, before, rtol=0, atol=1e-5)
    assert plain.config.pad_token_id == model.tokenizer.pad_token_id


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_language_model_is_not_taken_for_a_reward_model(architecture: str, tmp_path: Path):
    with pytest.raises(ModelError, match="the reward head is missing"):
        load_reward_model(save(tiny_causal(architecture), tmp_path / "policy"))


def test_a_classifier_of_three_labels_is_refused(tmp_path: Path):
    model = tiny_reward("bert")
    model.config.num_labels = 3
    model.model.classifier = torch.nn.Linear(32, 3)
    with pytest.raises(ModelError, match="has 3 labels"):
        load_reward_model(save(model, tmp_path / "three"))


def test_a_new_head_is_at_one_over_root_d_plus_one_and_follows_the_seed(tmp_path: Path):
    folder = save(tiny_causal("llama"), tmp_path / "policy")
    heads = [new_reward_model(folder, seed).model.score.weight.detach() for seed in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    wide = torch.nn.Linear(20_000, 1)
    init_scalar_head(wide, 0)
    assert float(wide.weight.detach().std()) * math.sqrt(20_001) == pytest.approx(1.0, abs=0.03)
    assert float(wide.bias.detach()) == 0.0


def test_a_new_reward_model_has_the_policys_trunk_and_can_be_saved(tmp_path: Path):
    policy = tiny_causal("gpt2")
    model = new_reward_model(save(policy, tmp_path / "policy"), 0)
    for name, value in policy.model.base_model.state_dict().items():
        assert torch.equal(model.model.base_model.state_dict()[name], value), name
    again = load_reward_model(save(model, tmp_path / "reward"))
    tokens, mask = batch(ROWS, 9, 0)
    assert torch.equal(again.scores(tokens, mask), model.scores(tokens, mask))
    # trained further, the head stays
    assert torch.equal(new_reward_model(tmp_path / "reward", 5).model.score.weight, model.model.score.weight)


def test_the_reward_of_a_completion_is_that_of_the_sampled_ids():
    model = tiny_reward()
    prompt = Prompt(id="p", text="The film")
    ids = tuple(model.tokenizer("The film").input_ids)
    completion = Completion(id="c", prompt_id="p", text="not these ids", token_ids=(77, 78, 2), prompt_token_ids=ids)
    cut = Completion(id="d", prompt_id="p", text=" is good", finish_reason="length")
    source = ModelReward(model, model.tokenizer)
    assert source.same_tokenizer
    got = source.score([prompt], [completion]).values
    with torch.no_grad():
        assert got[0] == pytest.approx(float(model.scores(*batch([[*ids, 77, 78, 2]], 20, 0))), abs=1e-5)
        # text with another tokenizer is tokenised again, with EOS only if the completion ended by itself
        whole = model.tokenizer("The film is good").input_ids
        want = float(model.scores(*batch([whole], len(whole), 0)))
        assert ModelReward(model).score([prompt], [cut]).values[0] == pytest.approx(want, abs=1e-5)
        ended = Completion(id="e", prompt_id="p", text=" is good")
        want = float(model.scores(*batch([[*whole, 2]], 30, 0)))
        assert ModelReward(model).score([prompt], [ended]).values[0] == pytest.approx(want, abs=1e-5)


def test_values_belong_to_the_state_before_the_token():
    trunk = tiny_causal().model.base_model
    critic = Critic(trunk, 32)
    tokens, mask = batch(ROWS, 9, 0)
    assert critic.values(tokens, mask, mask).abs().max() == 0.0  # a new critic knows nothing
    torch.nn.init.normal_(critic.head.out.weight)
    torch.nn.init.constant_(critic.head.out.bias, 0.3)
    values = critic.values(tokens, mask, mask)
    changed = tokens.clone()
    changed[:, 4] = 99
    after = critic.values(changed, mask, mask)
    assert torch.equal(values[:, :5], after[:, :5])
    assert (values[:, 5:] - after[:, 5:]).abs().min() > 0
    assert values[:, 0].abs().max() == 0.0
    hidden = trunk(input_ids=tokens).last_hidden_state
    want = hidden[:, 3] @ critic.head.out.weight[0] + 0.3
    torch.testing.assert_close(values[:, 4], want, rtol=1e-5, atol=1e-5)
    assert isinstance(critic.head, ValueHead)


def test_kinds():
    assert isinstance(tiny_reward(), RewardModel)
    assert tiny_reward("gpt2").is_causal
    assert not tiny_reward("bert").is_causal
