"""The in-process engine against transformers' own decoding and the trainer's own log-probabilities."""

from pathlib import Path
from typing import Any

import pytest
import torch

from assent.errors import DataError
from assent.evaluation.tokens import perplexity, token_logprobs
from assent.models.causal import CausalModel
from assent.models.load import load_policy
from assent.rollout.engine import EncodedPrompt
from assent.rollout.local import LocalEngine
from assent.testing.engine import check_engine
from assent.testing.tiny import tiny_causal
from assent.types import SamplingSettings

MODELS = Path(__file__).resolve().parents[4] / "shared" / "models"
REAL = [name for name in ("stories260K",) if (MODELS / name).is_dir()]
EVERY = ["llama", "gpt2", "qwen2", "gpt_neox", "gemma2", "phi", *REAL]
PROMPTS = [
    EncodedPrompt("short", (1, 40)),
    EncodedPrompt("long", (1, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140)),
    EncodedPrompt("middle", (1, 200, 210, 220)),
    EncodedPrompt("eight", (1, 30, 31, 32, 33, 34, 35, 36)),
]


def load(name: str) -> CausalModel:
    return load_policy(MODELS / name) if name in REAL else tiny_causal(name)


@pytest.mark.parametrize("name", EVERY)
def test_greedy_equals_transformers_token_for_token(name: str):
    policy = load(name)
    found = LocalEngine(policy).generate(PROMPTS, SamplingSettings(max_new_tokens=16, temperature=0.0))
    distinct: set[int] = set()
    for prompt, completion in zip(PROMPTS, found, strict=True):
        model: Any = policy.model
        theirs = model.generate(
            input_ids=torch.tensor([prompt.token_ids]),
            attention_mask=torch.ones(1, len(prompt.token_ids), dtype=torch.long),
            max_new_tokens=16,
            do_sample=False,
            pad_token_id=policy.tokenizer.pad_token_id,
        )[0, len(prompt.token_ids) :]
        assert list(completion.token_ids) == theirs.tolist()
        distinct |= set(completion.token_ids)
    assert len(distinct) > 4


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("slots", [2, 128])
def test_the_engine_keeps_its_promises(name: str, slots: int):
    check_engine(LocalEngine(tiny_causal(name), slots=slots), PROMPTS)
    check_engine(
        LocalEngine(tiny_causal(name), slots=slots),
        PROMPTS,
        SamplingSettings(max_new_tokens=6, min_new_tokens=3, temperature=0.8, top_k=20, top_p=0.9),
    )


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_its_logprobs_are_the_trainers(name: str, temperature: float):
    policy = load(name)
    sampling = SamplingSettings(max_new_tokens=10, min_new_tokens=2, temperature=temperature, top_k=30, seed=3)
    found = LocalEngine(policy).generate(PROMPTS, sampling, 2)
    trainer = token_logprobs(policy, found, temperature)
    for completion, logprobs in zip(found, trainer, strict=True):
        assert list(completion.logprobs) == pytest.approx(logprobs, abs=1e-4)
    assert min(min(row) for row in trainer) < -1.0
    mean = sum(map(sum, trainer)) / sum(map(len, trainer))
    assert perplexity(trainer) == pytest.approx(2.718281828**-mean, rel=1e-6)


def ending(policy: CausalModel, bias: float) -> CausalModel:
    """The policy with its EOS more likely."""
    weight = policy.model.get_output_embeddings().weight
    head = torch.nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.zero_()
        head.bias[policy.tokenizer.eos_token_id] = bias
    policy.model.set_output_embeddings(head)
    return CausalModel(policy.model, policy.tokenizer)


def test_eos_is_part_of_the_completion_that_ended():
    policy = ending(tiny_causal(), 4.0)
    eos = policy.tokenizer.eos_token_id
    found = LocalEngine(policy).generate(PROMPTS, SamplingSettings(max_new_tokens=8, seed=1), 20)
    stopped = [c for c in found if c.finish_reason == "stop"]
    cut = [c for c in found if c.finish_reason == "length"]
    assert len(stopped) > 10
    assert len(cut) > 3
    for completion in stopped:
        assert completion.token_ids[-1] == eos
        assert completion.token_ids.count(eos) == 1
        assert completion.text == policy.tokenizer.decode(completion.token_ids[:-1], skip_special_tokens=True)
        assert len(completion.logprobs) == len(completion.token_ids)
    assert all(eos not in c.token_ids and len(c.token_ids) == 8 for c in cut)
    lengths = {len(c.token_ids) for c in stopped}
    assert len(lengths) > 3  # a row that ended waits for the others and is not extended


def test_no_eos_before_min_new_tokens_and_the_logprobs_stay_the_policys():
    policy = ending(tiny_causal(), 14.0)
    found = LocalEngine(policy).generate(PROMPTS, SamplingSettings(max_new_tokens=6, min_new_tokens=3), 4)
    assert {len(c.token_ids) for c in found} == {4}
    trainer = token_logprobs(policy, found, 1.0)
    for completion, logprobs in zip(found, trainer, strict=True):
        assert list(completion.logprobs) == pytest.approx(logprobs, abs=1e-4)
        assert all(a > b + 1.0 for a, b in zip(completion.sampling_logprobs[:3], completion.logprobs[:3], strict=True))


def test_any_of_several_tokens_ends():
    policy = tiny_causal()
    first = LocalEngine(policy).generate(PROMPTS[:1], SamplingSettings(max_new_tokens=6, temperature=0.0))[0]
    stop = first.token_ids[2]
    policy.model.generation_config.eos_token_id = [2, stop]
    again = LocalEngine(policy).generate(PROMPTS[:1], SamplingSettings(max_new_tokens=6, temperature=0.0))[0]
    assert again.token_ids == first.token_ids[: first.token_ids.index(stop) + 1]
    assert again.finish_reason == "stop"


def test_a_prompt_that_leaves_no_room_is_named():
    engine = LocalEngine(tiny_causal())
    long = EncodedPrompt("too-long", tuple(range(3, 63)))
    with pytest.raises(DataError, match="'too-long' has 60 tokens"):
        engine.generate([PROMPTS[0], long], SamplingSettings(max_new_tokens=8))
    assert len(engine.generate([long], SamplingSettings(max_new_tokens=4, min_new_tokens=4))[0].token_ids) == 4
    with pytest.raises(DataError, match="'nothing' has 0 tokens"):
        engine.generate([EncodedPrompt("nothing", ())], SamplingSettings(max_new_tokens=4))


def test_samples_come_from_the_newest_weights():
    policy = tiny_causal()
    engine = LocalEngine(policy)
    before = engine.generate(PROMPTS, SamplingSettings(max_new_tokens=8))
    policy.model.load_state_dict(tiny_causal(seed=1).model.state_dict())
    after = engine.generate(PROMPTS, SamplingSettings(max_new_tokens=8))
    assert [c.token_ids for c in before] != [c.token_ids for c in after]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_activation_recomputation_changes_no_sample(name: str):
    """transformers switches the cache off there; a decoder that goes on without one samples rubbish."""
    policy = tiny_causal(name)
    want = LocalEngine(policy).generate(PROMPTS, SamplingSettings(max_new_tokens=8))
    policy.model.activation_checkpointing_enable()
    policy.model.train()
    got = LocalEngine(policy).generate(PROMPTS, SamplingSettings(max_new_tokens=8))
    assert [c.token_ids for c in got] == [c.token_ids for c in want]
    assert policy.model.training


@pytest.mark.parametrize("name", REAL)
def test_a_real_model_tells_a_story(name: str):
    policy = load(name)
    prompt = EncodedPrompt("once", tuple(policy.tokenizer("Once upon a time").input_ids))
    engine = LocalEngine(policy)
    story = engine.generate([prompt, *PROMPTS], SamplingSettings(max_new_tokens=60, temperature=0.0))[0]
    assert story.text.lstrip().startswith((", there was", "there was"))
    words = story.text.split()
    assert len(words) > 20
    assert all(word.strip(".,!?\"'").isalpha() for word in words[:-1] if word.strip(".,!?\"'"))
