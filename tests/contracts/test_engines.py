"""``check_engine`` passes engines that keep their word, and catches those that do not."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from assent.rollout.engine import EncodedPrompt
from assent.rollout.fake import FakeEngine
from assent.testing.engine import check_engine
from assent.types import Completion, SamplingSettings

PROMPTS = [EncodedPrompt("a", (5, 6)), EncodedPrompt("b", (7,)), EncodedPrompt("c", (5, 6, 7, 8))]


def test_the_fake_engine_keeps_its_promises():
    check_engine(FakeEngine(), PROMPTS)
    check_engine(FakeEngine(vocabulary=3), PROMPTS, SamplingSettings(max_new_tokens=5, min_new_tokens=2))


def test_the_script_of_the_fake_engine():
    engine = FakeEngine(script={"a": [[3, 4, 0], [5, 5, 5, 5]]})
    found = engine.generate(PROMPTS[:2], SamplingSettings(max_new_tokens=3), 3)
    assert [c.token_ids for c in found[:3]] == [(3, 4, 0), (5, 5, 5), (3, 4, 0)]
    assert [c.finish_reason for c in found[:2]] == ["stop", "length"]
    assert found[0].text == "3 4"
    assert engine.asked == [("a", "b")]


class Changed(FakeEngine):
    """A fake engine whose completions are changed on the way out."""

    def __init__(self, change: Callable[[list[Completion], SamplingSettings, int], list[Completion]]) -> None:
        super().__init__()
        self.change, self.calls = change, 0

    def generate(self, prompts: Sequence[EncodedPrompt], sampling: SamplingSettings, n: int = 1) -> list[Completion]:
        self.calls += 1
        return self.change(super().generate(prompts, sampling, n), sampling, self.calls)


def each(**fields: Any) -> Callable[..., list[Completion]]:
    def change(found: list[Completion], sampling: SamplingSettings, call: int) -> list[Completion]:
        return [replace(c, **{k: v(c) if callable(v) else v for k, v in fields.items()}) for c in found]

    return change


def seeded_by_call(found: list[Completion], sampling: SamplingSettings, call: int) -> list[Completion]:
    return FakeEngine().generate(
        [EncodedPrompt(c.prompt_id, c.prompt_token_ids) for c in found[::3]], replace(sampling, seed=call), 3
    )


def seed_ignored(found: list[Completion], sampling: SamplingSettings, call: int) -> list[Completion]:
    prompts = [EncodedPrompt(c.prompt_id, c.prompt_token_ids) for c in found if c.sample_index == 0]
    return FakeEngine().generate(prompts, replace(sampling, seed=0), len(found) // len(prompts))


def seeded_by_place(found: list[Completion], sampling: SamplingSettings, call: int) -> list[Completion]:
    out: list[Completion] = []
    for place, c in enumerate(found):
        drawn = FakeEngine().generate([EncodedPrompt(f"place {place}", ())], sampling, 1)[0]
        kept = {n: getattr(c, n) for n in ("id", "prompt_id", "sample_index", "prompt_token_ids")}
        out.append(replace(drawn, **kept))
    return out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found, sampling, call: found[::-1], "expected prompt by prompt"),
        (each(id="same"), "share an id"),
        (each(prompt_token_ids=()), "does not carry the ids of its prompt"),
        (each(token_ids=()), "has 0 tokens"),
        (each(token_ids=lambda c: c.token_ids * 20), "tokens with max_new_tokens"),
        (each(finish_reason="length"), "before the limit"),
        (each(logprobs=lambda c: c.logprobs[1:]), "logprobs for its tokens"),
        (each(logprobs=lambda c: tuple(-x for x in c.logprobs)), "no log-probabilities"),
        (each(sampling_logprobs=lambda c: tuple(x - 1 for x in c.logprobs)), "sampling_logprobs below logprobs"),
        (seeded_by_call, "the second time"),
        (seed_ignored, "the seed is not used"),
        (seeded_by_place, "the order of the prompts changes the tokens"),
    ],
)
def test_an_engine_that_breaks_its_word_is_caught(change: Any, message: str):
    with pytest.raises(AssertionError, match=message):
        check_engine(Changed(change), PROMPTS)
