"""A reward model in ArmoRM's layout, made small: its score by hand, from a folder as it is published, and misuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig

from assent.errors import ModelError
from assent.models.gated import RewardModelWithGating
from assent.models.load import load_reward_model
from assent.rewards.model import ModelReward, load_models
from assent.testing.reward_source import check_reward_source
from assent.testing.tiny import tiny_tokenizer
from assent.types import Completion, Message, Prompt

TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}|{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
PROMPTS = [Prompt(id=str(i), messages=(Message("user", text),)) for i, text in enumerate(("A cat", "It was", "Once"))]
COMPLETIONS = [
    Completion(id=f"{i}/0", prompt_id=str(i), text=text, finish_reason="stop")
    for i, text in enumerate((" is good", " a long and slow film with a fine cast", "!"))
]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, tokenizer = tmp_path_factory.mktemp("armo"), tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    config: Any = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=128, pad_token_id=tokenizer.pad_token_id, num_objectives=3, gating_hidden_dim=16,
        gating_n_hidden=2, gating_temperature=5.0,
    )  # fmt: skip
    torch.manual_seed(0)
    model = RewardModelWithGating(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.config.architectures = ["LlamaForRewardModelWithGating"]
    model.save_pretrained(folder)
    config_file = folder / "config.json"
    config_file.write_text(
        config_file.read_text().replace('"RewardModelWithGating"', '"LlamaForRewardModelWithGating"')
    )
    tokenizer.save_pretrained(folder)
    return folder


@torch.no_grad()
def test_its_score_is_the_sum_of_gated_attributes_by_hand(published: Path):
    source = load_models(str(published))
    check_reward_source(source, PROMPTS, COMPLETIONS)
    found = source.score(PROMPTS, COMPLETIONS)
    assert tuple(found.parts) == ("gated", "attribute-1", "attribute-2", "attribute-3")
    assert found.values == pytest.approx(found.parts["gated"])
    model = load_reward_model(published)
    tokenizer, weights = model.tokenizer, load_file(published / "model.safetensors")
    assert {
        "regression_layer.weight",
        "reward_transform_matrix",
        "gating.layers.0.weight",
        "gating.logit_scale",
    } <= set(weights)
    for place, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        asked = f"<user>{prompt.messages[0].content}|"  # pyright: ignore[reportOptionalSubscript]
        whole = tokenizer(f"{asked}<assistant>{completion.text}", add_special_tokens=False).input_ids
        whole += [] if whole[-1] == tokenizer.eos_token_id else [tokenizer.eos_token_id]
        before = len(tokenizer(asked, add_special_tokens=False).input_ids) - 1
        hidden = model.trunk(input_ids=torch.tensor([whole])).last_hidden_state[0]
        rewards = weights["regression_layer.weight"] @ hidden[-1]
        gate = hidden[before]
        for layer in range(2):
            gate = F.relu(
                F.linear(gate, weights[f"gating.layers.{layer}.weight"], weights[f"gating.layers.{layer}.bias"])
            )
        gate = F.linear(gate, weights["gating.layers.2.weight"], weights["gating.layers.2.bias"])
        gate = (gate / 5.0).softmax(0) * weights["gating.logit_scale"][0]
        assert [found.parts[f"attribute-{i}"][place] for i in (1, 2, 3)] == pytest.approx(rewards.tolist(), abs=1e-5)
        assert found.values[place] == pytest.approx(
            float(gate @ (rewards @ weights["reward_transform_matrix"])), abs=1e-5
        )


def test_an_attribute_alone(published: Path):
    source = ModelReward(load_reward_model(published), weights={"attribute-2": 2.0})
    found = source.score(PROMPTS, COMPLETIONS)
    assert found.values == pytest.approx([2.0 * x for x in found.parts["attribute-2"]])


def test_a_missing_head_and_a_prompt_without_its_template(published: Path, tmp_path: Path):
    plain = Prompt(id="0", text="A cat")
    with pytest.raises(ModelError, match="gating head reads the prompt before its generation prompt"):
        load_models(str(published)).score([plain], COMPLETIONS[:1])
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / name).write_bytes((published / name).read_bytes())
    weights = load_file(published / "model.safetensors")
    del weights["gating.layers.1.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"'gating.layers.1.weight' is one"):
        load_reward_model(tmp_path)
