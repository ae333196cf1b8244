"""Steps recorded as graphs against the same steps launched one by one, on a GPU."""

from typing import Any

import pytest
import torch
from test_decoders import OwnForward, made, some_prompts

from assent.rollout.decoders.graphs import GraphedDecoder
from assent.rollout.engine import EncodedPrompt
from assent.rollout.local import LocalEngine
from assent.types import Completion, SamplingSettings

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
LONG = {"max_position_embeddings": 256}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {**LONG, "num_key_value_heads": 2},
    "qwen3": {**LONG, "num_key_value_heads": 2, "head_dim": 16},
    "gpt2": {"n_positions": 256},
    "gpt_neox": LONG,
}
SAMPLINGS = {
    "plain": {},
    "greedy": {"temperature": 0.0},
    "truncated": {"temperature": 0.8, "top_k": 50, "top_p": 0.9, "min_p": 0.01},
    "not yet ended": {"min_new_tokens": 70},
    "biased": {"logit_bias": ((5, 2.0),)},
}


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Rows and columns of each step that is recorded."""
    seen: list[tuple[int, int]] = []
    record = GraphedDecoder._recorded

    def watched(self: GraphedDecoder, work: Any) -> Any:
        step = record(self, work)
        seen.append((len(step.over), self.width))
        return step

    monkeypatch.setattr(GraphedDecoder, "_recorded", watched)
    return seen


def check_same(ours: list[Completion], theirs: list[Completion]) -> None:
    assert [c.token_ids for c in ours] == [c.token_ids for c in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
        assert one.sampling_logprobs == pytest.approx(other.sampling_logprobs, abs=1e-4)


def launched(
    engine: LocalEngine, prompts: list[EncodedPrompt], sampling: SamplingSettings, monkeypatch: pytest.MonkeyPatch
) -> list[Completion]:
    with monkeypatch.context() as patch:
        patch.setenv("ASSENT_KERNELS", "off")
        return engine.generate(prompts, sampling, 2)


@pytest.mark.parametrize("kind", FAMILIES)
def test_graphs_draw_what_launches_draw(
    kind: str, recorded: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more rows than slots, across several widths, and as rows end and the rest close ranks."""
    policy, prompts = made(kind, FAMILIES[kind]), some_prompts(30)
    policy.model.to("cuda")
    sampling = SamplingSettings(max_new_tokens=100, seed=1)
    engine = LocalEngine(policy, slots=24)
    theirs = launched(engine, prompts, sampling, monkeypatch)
    assert not recorded
    ours = engine.generate(prompts, sampling, 2)
    check_same(ours, theirs)
    check_same(ours, OwnForward(policy).generate(prompts, sampling, 2))
    assert {width for _, width in recorded} >= {64, 128}
    assert len(recorded) == len(set(recorded))


@pytest.mark.parametrize("name", SAMPLINGS)
def test_every_way_of_sampling(name: str, recorded: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    policy, prompts = made("llama", FAMILIES["llama"]), some_prompts(20, 20)
    policy.model.to("cuda")
    sampling = SamplingSettings(max_new_tokens=90, seed=2, **SAMPLINGS[name])
    engine = LocalEngine(policy, slots=40)
    theirs = launched(engine, prompts, sampling, monkeypatch)
    check_same(engine.generate(prompts, sampling, 2), theirs)
    assert recorded


def test_new_weights_are_seen(recorded: list[tuple[int, int]]) -> None:
    policy, prompts = made("gpt2", FAMILIES["gpt2"]), some_prompts(8)
    policy.model.to("cuda")
    sampling = SamplingSettings(max_new_tokens=20, seed=3)
    engine = LocalEngine(policy)
    before = engine.generate(prompts, sampling)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(1.1)
    after = engine.generate(prompts, sampling)
    assert [c.token_ids for c in before] != [c.token_ids for c in after]
    check_same(after, OwnForward(policy).generate(prompts, sampling))
    assert recorded


def test_deterministic_kernels_are_launched_one_by_one(recorded: list[tuple[int, int]]) -> None:
    policy, prompts = made("llama", FAMILIES["llama"]), some_prompts(8)
    policy.model.to("cuda")
    engine, sampling = LocalEngine(policy), SamplingSettings(max_new_tokens=20, seed=3)
    torch.use_deterministic_algorithms(True)
    try:
        one, other = engine.generate(prompts, sampling), engine.generate(prompts, sampling)
    finally:
        torch.use_deterministic_algorithms(False)
    assert one == other
    assert not recorded
