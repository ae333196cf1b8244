"""Reward models and critics: scored at the last real token, stored and loaded as they were."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from assent.algorithms import reward_model, reward_ranking
from assent.errors import ModelError, RecipeError
from assent.models.load import load_reward_model, new_reward_model
from assent.models.save import save_model
from assent.models.scalar import Critic, RewardModel, ValueHead, init_scalar_head
from assent.rewards.model import ModelReward, score_rows
from assent.testing.reward_source import check_reward_source
from assent.testing.tiny import tiny_causal, tiny_reward
from assent.training.examples import comparison_examples
from assent.training.reduce import reduce_loss
from assent.training.roles import Roles
from assent.training.sources import collate
from assent.types import Comparison, Completion, Prompt

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
    assert score_rows(model, ROWS, token_budget=10)[:, 0].tolist() == pytest.approx(alone, abs=1e-5)
    assert score_rows(model, ROWS[::-1], token_budget=1000)[:, 0].tolist() == pytest.approx(alone[::-1], abs=1e-5)


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
    assert again.offsets == (0.75,)
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


def test_labels_of_another_trainer_are_a_reward_by_weights_alone(tmp_path: Path):
    model = tiny_reward("bert")
    model.config.num_labels = 3
    model.config.id2label = {0: "sad", 1: "neutral", 2: "glad"}
    model.model.classifier = torch.nn.Linear(32, 3)
    loaded = load_reward_model(folder := save(model, tmp_path / "three"))
    assert (loaded.criteria, loaded.offsets) == (("sad", "neutral", "glad"), (0.0, 0.0, 0.0))
    with pytest.raises(RecipeError, match="labels sad, neutral, glad, and nothing says what each counts"):
        ModelReward(loaded)
    row = [*loaded.tokenizer("It was good").input_ids, loaded.tokenizer.eos_token_id]
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = plain(input_ids=torch.tensor([row])).logits[0]
    scored = ModelReward(loaded, weights={"glad": 1.0, "sad": -0.5}).score(
        [Prompt(id="0", text="It was")], [Completion(id="0", prompt_id="0", text=" good")]
    )
    assert scored.values == pytest.approx([float(logits[2] - 0.5 * logits[0])], abs=1e-5)
    with pytest.raises(ModelError, match="has 3 labels"):
        new_reward_model(folder, 0)


CRITERIA = ("helpful", "harmless")


def two_heads(folder: Path, architecture: str = "llama") -> RewardModel:
    return new_reward_model(save(tiny_causal(architecture), folder / "policy"), 0, criteria=CRITERIA)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@torch.no_grad()
def test_two_criteria_are_two_heads_saved_loaded_and_read_by_plain_transformers(architecture: str, tmp_path: Path):
    model = two_heads(tmp_path, architecture)
    tokens, mask = batch(ROWS, 9, model.tokenizer.pad_token_id)
    raw = model.scores(tokens, mask)
    assert (raw[:, 0] - raw[:, 1]).abs().min() > 1e-3
    model.set_offsets([0.75, -0.5])
    centred = model.scores(tokens, mask)
    torch.testing.assert_close(centred, raw - torch.tensor([0.75, -0.5]), rtol=0, atol=0)
    folder = save(model, tmp_path / "reward")
    again = load_reward_model(folder)
    assert (again.criteria, again.offsets) == (CRITERIA, (0.75, -0.5))
    assert torch.equal(again.scores(tokens, mask), centred)
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert plain.config.id2label == {0: "helpful", 1: "harmless"}
    logits = plain(input_ids=tokens, attention_mask=mask.long()).logits
    torch.testing.assert_close(logits - torch.tensor([0.75, -0.5]), centred, rtol=0, atol=1e-5)


def test_heads_go_on_only_with_the_criteria_they_were_trained_on(tmp_path: Path):
    model = two_heads(tmp_path)
    folder = save(model, tmp_path / "reward")
    again = new_reward_model(folder, 5, criteria=CRITERIA)
    assert torch.equal(again.model.score.weight, model.model.score.weight)
    with pytest.raises(ModelError, match="criteria are helpful, harmless, and those wanted are harmless, helpful"):
        new_reward_model(folder, 5, criteria=CRITERIA[::-1])
    with pytest.raises(ModelError, match="those wanted are none"):
        new_reward_model(folder, 5)
    one = save(tiny_reward(), tmp_path / "one")
    with pytest.raises(ModelError, match="criteria are none, and those wanted are helpful, harmless"):
        new_reward_model(one, 5, criteria=CRITERIA)


def test_the_heads_are_parts_of_the_reward_and_its_value_their_mean_or_weighted_sum(tmp_path: Path):
    model = two_heads(tmp_path)
    model.set_offsets([0.1, 0.2])
    prompts = [Prompt(id=str(i), text=text) for i, text in enumerate(("The film", "It was", "Once"))]
    completions = [Completion(id=p.id, prompt_id=p.id, text=" is good") for p in prompts]
    check_reward_source(ModelReward(model), prompts, completions)
    found = ModelReward(model).score(prompts, completions)
    assert tuple(found.parts) == CRITERIA
    with torch.no_grad():
        rows = [[*model.tokenizer(f"{p.text} is good").input_ids, 2] for p in prompts]
        scores = model.scores(*batch(rows, 30, 0))
    assert found.parts["helpful"] == pytest.approx(scores[:, 0].tolist(), abs=1e-5)
    assert found.parts["harmless"] == pytest.approx(scores[:, 1].tolist(), abs=1e-5)
    assert found.values == pytest.approx(scores.mean(1).tolist(), abs=1e-5)
    weighed = ModelReward(model, weights={"helpful": 2.0, "harmless": -0.5})
    want = (2.0 * scores[:, 0] - 0.5 * scores[:, 1]).tolist()
    assert weighed.score(prompts, completions).values == pytest.approx(want, abs=1e-5)
    alone = ModelReward(model, weights={"harmless": 1.0}).score(prompts, completions)
    assert alone.values == pytest.approx(scores[:, 1].tolist(), abs=1e-5)
    with pytest.raises(RecipeError, match="name criterion 'kind'; the reward model's criteria are helpful, harmless"):
        ModelReward(model, weights={"kind": 1.0})
    with pytest.raises(RecipeError, match="one head without a name"):
        ModelReward(tiny_reward(), weights={"helpful": 1.0})


def test_each_head_is_trained_by_the_comparisons_of_its_criterion_alone(tmp_path: Path):
    model = two_heads(tmp_path)
    pairs = [Comparison("1", Prompt(id="p", text="The film"), " good", " bad", criterion="harmless", group="g")]
    heads = {name: head for head, name in enumerate(CRITERIA)}
    made, _ = comparison_examples(model.tokenizer, pairs, 60, "error", "test", heads=heads)
    whole = collate(made, 0, torch.device("cpu"))
    for algorithm in (reward_model.ALGORITHM, reward_ranking.ALGORITHM):
        model.zero_grad()
        outputs = Roles(reward=model).forward(whole, algorithm.outputs)
        parts = algorithm.weights(whole, algorithm.Settings())
        found = algorithm.loss(outputs, whole, algorithm.Settings())
        reduce_loss(found.terms, found.coefficients, parts, {n: p.count for n, p in parts.items()}).backward()
        assert model.model.score.weight.grad[0].abs().max() == 0.0
        assert model.model.score.weight.grad[1].abs().max() > 1e-3


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
    real = mask[:, 4:-1]  # places whose state before them is a real token's and has seen the change
    assert (values[:, 5:] - after[:, 5:])[real].abs().min() > 0
    assert values[:, 0].abs().max() == 0.0
    hidden = trunk(input_ids=tokens).last_hidden_state
    want = (hidden[:, 3] @ critic.head.out.weight[0] + 0.3)[mask[:, 3]]
    assert len(want) == 2
    torch.testing.assert_close(values[:, 4][mask[:, 3]], want, rtol=1e-5, atol=1e-5)
    assert isinstance(critic.head, ValueHead)


def test_kinds():
    assert isinstance(tiny_reward(), RewardModel)
    assert tiny_reward("gpt2").is_causal
    assert not tiny_reward("bert").is_causal
