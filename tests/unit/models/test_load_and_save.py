"""Folders that plain transformers loads; a PAD that is not EOS; mistakes in one sentence."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GPT2Config, GPT2LMHeadModel

from assent.errors import ModelError
from assent.models.load import load_policy, load_reward_model, new_reward_model
from assent.models.new import ShapeSettings, new_causal
from assent.models.save import save_critic, save_model
from assent.models.scalar import Critic
from assent.testing.tiny import CAUSAL, tiny_causal, tiny_reward, tiny_tokenizer

MODELS = Path(__file__).resolve().parents[4] / "shared" / "models"
TOKENS = torch.tensor([[1, 40, 50, 60]])
WITH_ANY_TOKENIZER = [name for name in CAUSAL if name != "qwen2"]
"""transformers reads any tokenizer of a Qwen 2 folder as Qwen's own, which adds a token."""
REAL = [name for name in ("stories260K", "reviews-6m") if (MODELS / name).is_dir()]


def save(model: Any, folder: Path, **settings: Any) -> Path:
    save_model(model, folder, method="sft", base="tiny", settings=settings)
    return folder


@pytest.mark.parametrize("architecture", WITH_ANY_TOKENIZER)
def test_plain_transformers_loads_what_was_saved(architecture: str, tmp_path: Path):
    policy = tiny_causal(architecture)
    policy.tokenizer.chat_template = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    folder = save(policy, tmp_path / "policy", learning_rate=0.5)
    plain: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        assert torch.equal(plain(input_ids=TOKENS).logits, policy.model(input_ids=TOKENS).logits)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.get_vocab() == policy.tokenizer.get_vocab()
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id) == (0, 2, 1)
    assert tokenizer("The film").input_ids[0] == 1
    shown = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert shown == "<user>Hi"
    generation = GenerationConfig.from_pretrained(folder)
    assert (generation.pad_token_id, generation.eos_token_id) == (0, 2)
    assert plain.config.pad_token_id == 0
    assert "| learning_rate | 0.5 |" in (folder / "README.md").read_text()
    assert {path.suffix for path in folder.iterdir()} <= {".json", ".safetensors", ".md", ".jinja"}


@pytest.mark.parametrize("architecture", WITH_ANY_TOKENIZER)
def test_our_loader_gives_the_same_weights_bit_for_bit(architecture: str, tmp_path: Path):
    policy = tiny_causal(architecture)
    again = load_policy(save(policy, tmp_path / "policy"))
    assert not again.model.training
    for (name, one), other in zip(policy.model.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_a_model_in_half_precision_is_trained_in_float32(tmp_path: Path):
    policy = tiny_causal()
    policy.model.bfloat16()
    again = load_policy(save(policy, tmp_path / "policy"))
    assert {parameter.dtype for parameter in again.parameters()} == {torch.float32}


def test_several_tokens_that_end_a_completion_are_kept(tmp_path: Path):
    policy = tiny_causal()
    policy.model.generation_config.eos_token_id = [2, 7]
    folder = save(policy, tmp_path / "policy")
    assert load_policy(folder).eos_token_ids == (2, 7)


def test_a_generation_config_that_transformers_itself_would_not_save(tmp_path: Path):
    """Published models carry `temperature` beside `do_sample: false`: that must not lose a trained model."""
    folder = save(tiny_causal(), tmp_path / "one")
    stored = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**stored, "do_sample": False, "temperature": 0.6}))
    again = save(load_policy(folder), tmp_path / "two")
    assert load_policy(again).eos_token_ids == (2,)


def gpt2_without_pad(folder: Path, tokenizer: Any) -> Path:
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=1,
        n_head=2,
        n_positions=64,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_gpt2(kind: str) -> Any:
    if kind == "tiny":
        tokenizer = tiny_tokenizer()
        tokenizer.pad_token = None
        tokenizer.bos_token = tokenizer.eos_token
        return tokenizer
    return AutoTokenizer.from_pretrained(MODELS / kind)


GPT2 = ["tiny", *(["gpt2-tokenizer"] if (MODELS / "gpt2-tokenizer").is_dir() else [])]


@pytest.mark.parametrize("kind", GPT2)
def test_a_tokenizer_without_pad_gets_one_that_is_not_eos(kind: str, tmp_path: Path):
    tokenizer = make_gpt2(kind)
    size = len(tokenizer)
    source = gpt2_without_pad(tmp_path / "gpt2", tokenizer)
    torch.manual_seed(1)
    one = load_policy(source)
    torch.manual_seed(2)
    drawn = torch.get_rng_state()
    two = load_policy(source)
    assert torch.equal(torch.get_rng_state(), drawn)
    pad = one.tokenizer.pad_token_id
    assert pad is not None
    assert pad != one.tokenizer.eos_token_id
    assert one.model.get_input_embeddings().weight.shape[0] == len(one.tokenizer) >= size
    # the reference of a resumed run is loaded again: it must be the same model, its new row too
    assert torch.equal(one.model.get_input_embeddings().weight, two.model.get_input_embeddings().weight)
    folder = save(one, tmp_path / "saved")
    plain: Any = AutoModelForCausalLM.from_pretrained(folder)
    assert plain.config.pad_token_id == pad
    assert AutoTokenizer.from_pretrained(folder).pad_token_id == pad


@pytest.mark.parametrize("name", REAL)
def test_real_models_load_and_are_sure_of_their_text(name: str):
    policy = load_policy(MODELS / name)
    ids = policy.tokenizer("Once upon a time there was a little girl" if "stories" in name else "a good film").input_ids
    tokens = torch.tensor([ids])
    with torch.no_grad():
        mask = torch.ones_like(tokens).bool()
        logprobs, _ = policy.token_logprobs(policy.hidden(tokens, mask, mask), tokens, mask, 1.0)
    assert -6.0 < float(logprobs[0, 1:].mean()) < 0.0
    assert policy.tokenizer.pad_token_id not in policy.eos_token_ids


def test_the_same_seed_gives_the_same_new_model():
    shape = ShapeSettings(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2)
    one, two, other = (new_causal(tiny_tokenizer(), shape, seed).model.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_a_critic_is_saved_whole(tmp_path: Path):
    from safetensors.torch import load_file

    critic = Critic(tiny_causal().model.base_model, 32)
    save_critic(critic, tmp_path)
    stored = load_file(tmp_path / "critic.safetensors")
    assert stored.keys() == critic.state_dict().keys()
    assert all(torch.equal(stored[name], value) for name, value in critic.state_dict().items())


def missing(folder: Path) -> None:
    shutil.rmtree(folder)


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut_weights(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def no_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (missing, "no such model folder"),
        (no_config, "no config.json"),
        (no_weights, "no model.safetensors"),
        (cut_weights, "the weights are damaged"),
        (no_tokenizer, "no tokenizer"),
    ],
)
def test_damaged_folders_are_explained(damage: Any, message: str, tmp_path: Path):
    folder = save(tiny_causal(), tmp_path / "policy")
    damage(folder)
    with pytest.raises(ModelError, match=message):
        load_policy(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("architectures", [None]),
        ("assent_reward_criteria", [1]),
        ("assent_reward_criteria", "helpful"),
        ("assent_reward_criteria", None),
        ("assent_reward_members", "two"),
        ("assent_reward_members", 0),
        ("assent_reward_members", None),
        ("assent_reward_offset", "1"),
        ("assent_reward_offset", [0.5, None]),
    ],
)
def test_a_configuration_that_transformers_takes_and_we_cannot_read_is_told(name: str, value: Any, tmp_path: Path):
    folder = save(tiny_reward(), tmp_path / "reward")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, name: value}))
    for load in (load_reward_model, lambda path: new_reward_model(path, 0)):
        with pytest.raises(ModelError, match=rf"reward: config\.json: {name}[.:]"):
            load(folder)
