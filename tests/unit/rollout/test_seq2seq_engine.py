"""The in-process engine of encoder-decoder policies against transformers' decoding and the trainer's numbers."""

from typing import Any

import pytest
import torch

from assent.evaluation.tokens import token_logprobs
from assent.rollout.engine import EncodedPrompt
from assent.rollout.local import LocalEngine
from assent.rollout.plain import Seq2SeqEngine, local_engine
from assent.testing.engine import check_engine
from assent.testing.tiny import tiny_causal, tiny_seq2seq
from assent.types import SamplingSettings

PROMPTS = [
    EncodedPrompt("short", (40, 2)),
    EncodedPrompt("long", (50, 60, 70, 80, 90, 100, 110, 120, 130, 140, 2)),
    EncodedPrompt("middle", (200, 210, 220, 2)),
]


def test_greedy_equals_transformers_token_for_token():
    distinct: set[int] = set()
    for seed in range(3):
        policy = tiny_seq2seq(seed)
        model: Any = policy.model
        found = local_engine(policy).generate(PROMPTS, SamplingSettings(max_new_tokens=16, temperature=0.0))
        for prompt, completion in zip(PROMPTS, found, strict=True):
            ids = torch.tensor([prompt.token_ids])
            theirs = model.generate(input_ids=ids, max_new_tokens=16, do_sample=False)[0, 1:]
            assert list(completion.token_ids) == theirs.tolist()
            distinct |= set(completion.token_ids)
    assert len(distinct) > 4


@pytest.mark.parametrize("slots", [2, 128])
def test_the_engine_keeps_its_promises(slots: int):
    check_engine(local_engine(tiny_seq2seq(), slots), PROMPTS)
    sampling = SamplingSettings(max_new_tokens=6, min_new_tokens=3, temperature=0.8, top_k=20, top_p=0.9)
    check_engine(local_engine(tiny_seq2seq(), slots), PROMPTS, sampling)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_its_logprobs_are_the_trainers(temperature: float):
    policy = tiny_seq2seq()
    sampling = SamplingSettings(max_new_tokens=10, min_new_tokens=2, temperature=temperature, top_k=30, seed=3)
    found = local_engine(policy).generate(PROMPTS, sampling, 2)
    trainer = token_logprobs(policy, found, temperature)
    for completion, logprobs in zip(found, trainer, strict=True):
        assert list(completion.logprobs) == pytest.approx(logprobs, abs=1e-4)
    assert min(min(row) for row in trainer) < -2.0


def test_activation_recomputation_changes_no_sample():
    policy = tiny_seq2seq()
    want = local_engine(policy).generate(PROMPTS, SamplingSettings(max_new_tokens=8))
    policy.model.activation_checkpointing_enable()
    policy.model.train()
    got = local_engine(policy).generate(PROMPTS, SamplingSettings(max_new_tokens=8))
    assert [c.token_ids for c in got] == [c.token_ids for c in want]


def test_each_kind_of_policy_has_its_engine():
    assert type(local_engine(tiny_seq2seq())) is Seq2SeqEngine
    assert type(local_engine(tiny_causal())) is LocalEngine
