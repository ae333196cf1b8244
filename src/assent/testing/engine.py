"""A check for anyone's rollout engine: :func:`check_engine` tests the protocol and each promise that it makes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from assent.rollout.engine import EncodedPrompt, Engine
from assent.types import Completion, SamplingSettings

_SAMPLES = 3


def check_engine(engine: Engine, prompts: Sequence[EncodedPrompt], sampling: SamplingSettings | None = None) -> None:
    """Raise ``AssertionError``, in a sentence, if ``engine`` breaks the protocol or a promise of its own.

    ``prompts``: three or more, of different lengths.  ``sampling`` defaults to twelve tokens at temperature 1.
    """
    assert len(prompts) >= 3, "check_engine needs three prompts or more"
    sampling = sampling or SamplingSettings(max_new_tokens=12, seed=5)
    found = engine.generate(prompts, sampling, _SAMPLES)
    _check_order(prompts, found)
    for completion in found:
        if engine.promises.token_ids:
            _check_completion(completion, sampling)
        else:
            assert not completion.token_ids, f"completion '{completion.id}' has token ids that are not promised"
        if engine.promises.logprobs:
            _check_logprobs(completion, sampling)
    again = engine.generate(prompts, sampling, _SAMPLES)
    _same(found, again, "the same call gives other tokens the second time")
    other = engine.generate(prompts, replace(sampling, seed=sampling.seed + 1), _SAMPLES)
    if sampling.temperature > 0:
        changed = any(_drawn(a) != _drawn(b) for a, b in zip(found, other, strict=True))
        assert changed, "another seed gives the same tokens: the seed is not used"
        assert len({_drawn(c) for c in found}) > len(prompts), "the samples of a prompt are copies of one another"
    if engine.promises.batch_invariant:
        _check_company(engine, prompts, sampling, found)


def _check_order(prompts: Sequence[EncodedPrompt], found: Sequence[Completion]) -> None:
    want = [(prompt.id, index) for prompt in prompts for index in range(_SAMPLES)]
    got = [(completion.prompt_id, completion.sample_index) for completion in found]
    assert got == want, f"completions come as {got}, expected prompt by prompt, its samples together: {want}"
    assert len({completion.id for completion in found}) == len(found), "completions share an id"
    asked = [prompt for prompt in prompts for _ in range(_SAMPLES)]
    for prompt, completion in zip(asked, found, strict=True):
        assert completion.prompt_token_ids == prompt.token_ids, (
            f"completion '{completion.id}' does not carry the ids of its prompt"
        )


def _check_completion(completion: Completion, sampling: SamplingSettings) -> None:
    name, count = f"completion '{completion.id}'", len(completion.token_ids)
    assert 1 <= count <= sampling.max_new_tokens, (
        f"{name} has {count} tokens with max_new_tokens={sampling.max_new_tokens}"
    )
    assert completion.finish_reason in ("stop", "length"), f"{name} ended by '{completion.finish_reason}'"
    if completion.finish_reason == "length":
        assert count == sampling.max_new_tokens, f"{name} was cut off by length at {count} tokens, before the limit"
    else:
        assert count > sampling.min_new_tokens or not sampling.min_new_tokens, f"{name} ended before min_new_tokens"


def _check_logprobs(completion: Completion, sampling: SamplingSettings) -> None:
    name = f"completion '{completion.id}'"
    for field in ("logprobs", "sampling_logprobs"):
        values = getattr(completion, field)
        assert len(values) == len(completion.token_ids), f"{name}: {len(values)} {field} for its tokens"
        assert all(math.isfinite(v) and v <= 1e-6 for v in values), f"{name}: {field} that are no log-probabilities"
    pairs = zip(completion.logprobs, completion.sampling_logprobs, strict=True)
    assert sampling.logit_bias or all(drawn >= plain - 1e-4 for plain, drawn in pairs), (
        f"{name}: sampling_logprobs below logprobs: truncation can only add mass to what is left"
    )


def _check_company(
    engine: Engine, prompts: Sequence[EncodedPrompt], sampling: SamplingSettings, found: Sequence[Completion]
) -> None:
    backwards = engine.generate(prompts[::-1], sampling, _SAMPLES)
    by_id = {(c.prompt_id, c.sample_index): c for c in backwards}
    _same(found, [by_id[c.prompt_id, c.sample_index] for c in found], "the order of the prompts changes the tokens")
    for place, prompt in enumerate(prompts):
        alone = engine.generate([prompt], sampling, 1)
        _same(found[place * _SAMPLES : place * _SAMPLES + 1], alone, "a prompt by itself gets other tokens")


def _same(one: Sequence[Completion], other: Sequence[Completion], message: str) -> None:
    for a, b in zip(one, other, strict=True):
        assert _drawn(a) == _drawn(b), f"{message}: '{a.id}' {_drawn(a)} and {_drawn(b)}"


def _drawn(completion: Completion) -> tuple[int, ...] | str:
    """What was drawn: the ids, or the text where an engine gives no ids."""
    return completion.token_ids or completion.text
